/* SPDX-License-Identifier: MIT */

/*
 * Numbers are little-endian:
 *
 *      magic (8)  version (4)  generation (8)  ...  SHA-256 of all before (32)
 *
 * That much is the same in every version to come: so a record of a later version is known as sound, and as later, by a
 * program that can't read the rest, and a version that was changed by damage is damage. Version 1 has in the middle:
 *
 *      size of the agent's id (1)  size of the state (8)  id  state
 *
 * SHA-256 and not a CRC: a CRC of 32 bits vouches for a few flipped bits in a short message, not for 64 MiB in which a
 * disk lost, swapped or repeated whole sectors; one damaged record in 2^32 would pass for a sound one, and there is no
 * reason to have to think about which. It costs some microseconds for a usual state, beside a commit that waits for the
 * disk.
 */

#include <openssl/sha.h>

#include "runtimed/state_record.h"

#define MAGIC "CzState\n"
#define MAGIC_SIZE (sizeof(MAGIC) - 1)
#define VERSION_AT MAGIC_SIZE
#define GENERATION_AT (VERSION_AT + 4)
#define ID_SIZE_AT (GENERATION_AT + 8)
#define STATE_SIZE_AT (ID_SIZE_AT + 1)
#define ID_AT (STATE_SIZE_AT + 8)
#define CHECKSUM_SIZE SHA256_DIGEST_LENGTH
#define SIZE_MIN (ID_SIZE_AT + CHECKSUM_SIZE) /* in any version */

static void append_number(Buffer *buffer, uint64_t number, size_t n_bytes) {
        unsigned char bytes[8];

        for (size_t i = 0; i < n_bytes; i++)
                bytes[i] = (unsigned char)(number >> 8 * i);
        buffer_append(buffer, bytes, n_bytes);
}

static uint64_t number_at(Slice record, size_t at, size_t n_bytes) {
        uint64_t number = 0;

        for (size_t i = 0; i < n_bytes; i++)
                number |= (uint64_t)(unsigned char)record.data[at + i] << 8 * i;
        return number;
}

static int checksum(Slice bytes, unsigned char ret[static CHECKSUM_SIZE]) {
        return SHA256((const unsigned char *)bytes.data, bytes.size, ret) ? 0 : -ENOMEM;
}

int state_record_encode(const Id *agent_id, uint64_t generation, Slice state, Buffer *ret) {
        unsigned char sum[CHECKSUM_SIZE];
        int r;

        assert(agent_id->size > 0);

        buffer_clear(ret);
        r = buffer_reserve(ret, ID_AT + agent_id->size + state.size + CHECKSUM_SIZE);
        if (r < 0)
                return r;

        buffer_append(ret, MAGIC, MAGIC_SIZE);
        append_number(ret, STATE_RECORD_VERSION, 4);
        append_number(ret, generation, 8);
        append_number(ret, agent_id->size, 1);
        append_number(ret, state.size, 8);
        buffer_append_slice(ret, id_slice(agent_id));
        buffer_append_slice(ret, state);
        r = checksum(buffer_slice(ret), sum);
        if (r < 0)
                return r;
        buffer_append(ret, sum, sizeof(sum));
        return 0;
}

/* Is it whole and unchanged, whatever its version? */
static int check_frame(Slice record, WireError *ret_error) {
        unsigned char sum[CHECKSUM_SIZE];
        int r;

        if (record.size < SIZE_MIN) {
                (void)wire_error(ret_error, "its record has %zu bytes, less than any record", record.size);
                return STATE_RECORD_E_DAMAGED;
        }
        if (memcmp(record.data, MAGIC, MAGIC_SIZE) != 0) {
                (void)wire_error(ret_error, "its record does not begin as records do");
                return STATE_RECORD_E_DAMAGED;
        }

        r = checksum((Slice){ record.data, record.size - CHECKSUM_SIZE }, sum);
        if (r < 0)
                return r;
        if (memcmp(record.data + record.size - CHECKSUM_SIZE, sum, CHECKSUM_SIZE) != 0) {
                (void)wire_error(ret_error, "the checksum of its record (%zu bytes) is wrong", record.size);
                return STATE_RECORD_E_DAMAGED;
        }
        return 0;
}

static int read_body(Slice record, const Id *agent_id, Slice *ret_state, WireError *ret_error) {
        const size_t size = record.size - CHECKSUM_SIZE;
        size_t id_size;

        if (size < ID_AT || (id_size = number_at(record, ID_SIZE_AT, 1)) > size - ID_AT ||
                number_at(record, STATE_SIZE_AT, 8) != size - ID_AT - id_size) {
                (void)wire_error(ret_error, "the sizes in its record do not add up to %zu bytes", record.size);
                return STATE_RECORD_E_DAMAGED;
        }
        if (!id_equal(agent_id, (Slice){ record.data + ID_AT, id_size })) {
                (void)wire_error(
                        ret_error, "its record is that of %.*s", (int)MIN_OF(id_size, ID_MAX), record.data + ID_AT);
                return STATE_RECORD_E_DAMAGED;
        }

        *ret_state = (Slice){ record.data + ID_AT + id_size, size - ID_AT - id_size };
        return 0;
}

int state_record_decode(Slice record, const Id *agent_id, StateRecord *ret, WireError *ret_error) {
        StateRecord read = { 0 };
        int r;

        r = check_frame(record, ret_error);
        if (r != 0)
                return r;

        read.version = (uint32_t)number_at(record, VERSION_AT, 4);
        read.generation = number_at(record, GENERATION_AT, 8);
        if (read.version > STATE_RECORD_VERSION) {
                (void)wire_error(ret_error, "its record has version %u, this program reads up to %u", read.version,
                        STATE_RECORD_VERSION);
                *ret = read;
                return STATE_RECORD_E_NEWER;
        }
        if (read.version == 0) {
                (void)wire_error(ret_error, "its record has version 0, which never was");
                return STATE_RECORD_E_DAMAGED;
        }

        r = read_body(record, agent_id, &read.state, ret_error);
        if (r == 0)
                *ret = read;
        return r;
}

uint64_t state_record_claimed_generation(Slice record, const Id *agent_id) {
        if (record.size < ID_AT + agent_id->size || number_at(record, VERSION_AT, 4) != STATE_RECORD_VERSION ||
                number_at(record, ID_SIZE_AT, 1) != agent_id->size ||
                !id_equal(agent_id, (Slice){ record.data + ID_AT, agent_id->size }))
                return 0;
        return number_at(record, GENERATION_AT, 8);
}
