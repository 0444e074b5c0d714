/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Eight bytes at a time (SIMD within a register): how many bytes from here on may stand in a JSON string as they are.
 */

#include <endian.h>
#include <string.h>

#include "proto/cc.h"

#define SWAR_ONES UINT64_C(0x0101010101010101)
#define SWAR_HIGH UINT64_C(0x8080808080808080)

/*
 * The high bits of bytes that are a quote, a backslash, a control character or part of a multi-byte character; 0: none
 * is.
 *
 * Subtracting sets the high bit of a byte that is smaller. A borrow may set it in a byte above as well, but only above
 * one that is a hit itself; so the lowest bit set is exact, and with the first byte lowest that is the first hit.
 */
static inline uint64_t plain_hits(uint64_t word) {
        uint64_t hits = word - SWAR_ONES * 0x20;

        hits |= (word ^ SWAR_ONES * '"') - SWAR_ONES;
        hits |= (word ^ SWAR_ONES * '\\') - SWAR_ONES;
        return (hits | word) & SWAR_HIGH;
}

static inline bool plain_byte(char c) {
        return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* Bytes up to the first such. */
static inline size_t plain_run(const char *at, const char *end) {
        const char *p = at;

        while (end - p >= 8) {
                uint64_t w, hits;

                memcpy(&w, p, sizeof(w));
                hits = plain_hits(le64toh(w));
                if (hits != 0)
                        return (size_t)(p - at) + (size_t)__builtin_ctzll(hits) / 8;
                p += 8;
        }
        while (p < end && plain_byte(*p))
                p++;
        return (size_t)(p - at);
}
