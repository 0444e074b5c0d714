/* SPDX-License-Identifier: MIT */

/*
 * An nkey is base 32 (RFC 4648, no padding) of: prefix, 32 bytes, CRC-16/XMODEM in little endian. A seed has two
 * bytes of prefix, that say "seed" and what for, in five bits each; the public key has one.
 */

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "common/nkey.h"

#define KEY_SIZE 32
#define SEED_SIZE (2 + KEY_SIZE + 2)
#define PUBLIC_SIZE (1 + KEY_SIZE + 2)
#define PREFIX_SEED (18 << 3) /* 'S' */
#define PREFIX_USER (20 << 3) /* 'U' */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static uint16_t crc16(const uint8_t *data, size_t size) {
        uint16_t crc = 0;

        for (size_t i = 0; i < size; i++) {
                crc = (uint16_t)(crc ^ data[i] << 8);
                for (unsigned bit = 0; bit < 8; bit++)
                        crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
        }
        return crc;
}

/* `ret_size` bytes and no more, no less. */
static int base32_decode(Slice text, uint8_t *ret, size_t ret_size) {
        uint32_t bits = 0;
        unsigned n_bits = 0;
        size_t n = 0;

        for (size_t i = 0; i < text.size; i++) {
                const char *p = text.data[i] != '\0' ? strchr(alphabet, text.data[i]) : NULL;

                if (!p)
                        return -EINVAL;
                bits = bits << 5 | (uint32_t)(p - alphabet);
                n_bits += 5;
                if (n_bits < 8)
                        continue;
                n_bits -= 8;
                if (n == ret_size)
                        return -EINVAL;
                ret[n++] = (uint8_t)(bits >> n_bits);
        }
        return n == ret_size ? 0 : -EINVAL;
}

static void base32_encode(const uint8_t *data, size_t size, char *ret) {
        uint32_t bits = 0;
        unsigned n_bits = 0;

        for (size_t i = 0; i < size; i++) {
                bits = bits << 8 | data[i];
                n_bits += 8;
                while (n_bits >= 5) {
                        n_bits -= 5;
                        *ret++ = alphabet[bits >> n_bits & 31];
                }
        }
        if (n_bits > 0)
                *ret++ = alphabet[bits << (5 - n_bits) & 31];
        *ret = '\0';
}

static int derive_public(const uint8_t seed[static KEY_SIZE], uint8_t ret[static KEY_SIZE]) {
        EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, KEY_SIZE);
        size_t size = KEY_SIZE;
        int r;

        if (!key)
                return -EIO;
        r = EVP_PKEY_get_raw_public_key(key, ret, &size) == 1 && size == KEY_SIZE ? 0 : -EIO;
        EVP_PKEY_free(key);
        return r;
}

static void put_crc(uint8_t *raw, size_t size) {
        const uint16_t crc = crc16(raw, size - 2);

        raw[size - 2] = (uint8_t)(crc & 0xff);
        raw[size - 1] = (uint8_t)(crc >> 8);
}

static int encode_public(const uint8_t seed[static KEY_SIZE], char ret[static NKEY_PUBLIC_SIZE]) {
        uint8_t public[PUBLIC_SIZE] = { PREFIX_USER };
        int r = derive_public(seed, public + 1);

        if (r < 0)
                return r;
        put_crc(public, sizeof(public));
        base32_encode(public, sizeof(public), ret);
        return 0;
}

int nkey_public_from_seed(Slice seed, char ret[static NKEY_PUBLIC_SIZE]) {
        uint8_t raw[SEED_SIZE];
        uint16_t crc;
        int r;

        r = base32_decode(seed, raw, sizeof(raw));
        if (r < 0)
                return r;
        crc = crc16(raw, sizeof(raw) - 2);
        if ((raw[0] & 0xf8) != PREFIX_SEED || ((raw[0] & 7) << 5 | raw[1] >> 3) != PREFIX_USER ||
                raw[sizeof(raw) - 2] != (crc & 0xff) || raw[sizeof(raw) - 1] != crc >> 8)
                r = -EINVAL;
        else
                r = encode_public(raw + 2, ret);
        explicit_bzero(raw, sizeof(raw));
        return r;
}

int nkey_generate(char ret_seed[static NKEY_SEED_SIZE], char ret_public[static NKEY_PUBLIC_SIZE]) {
        uint8_t raw[SEED_SIZE] = { PREFIX_SEED | PREFIX_USER >> 5, (PREFIX_USER & 31) << 3 };
        int r = RAND_priv_bytes(raw + 2, KEY_SIZE) == 1 ? encode_public(raw + 2, ret_public) : -EIO;

        if (r == 0) {
                put_crc(raw, sizeof(raw));
                base32_encode(raw, sizeof(raw), ret_seed);
        }
        explicit_bzero(raw, sizeof(raw));
        return r;
}
