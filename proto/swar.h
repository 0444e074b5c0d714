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
 * Bytes up to the first quote, backslash, control character or byte of a multi-byte character.
 *
 * Subtracting sets the high bit of a byte that is smaller. A borrow may set it in a byte above as well, but only above
 * one that is a hit itself; so the lowest bit set is exact, and with the first byte lowest that is the first hit.
 */
static inline size_t plain_run(const char *at, const char *end) {
        const char *p = at;

        while (end - p >= 8) {
                uint64_t w, hits;

                memcpy(&w, p, sizeof(w));
                w = le64toh(w);
                hits = w - SWAR_ONES * 0x20;
                hits |= (w ^ SWAR_ONES * '"') - SWAR_ONES;
                hits |= (w ^ SWAR_ONES * '\\') - SWAR_ONES;
                hits = (hits | w) & SWAR_HIGH;
                if (hits != 0)
                        return (size_t)(p - at) + (size_t)__builtin_ctzll(hits) / 8;
                p += 8;
        }
        while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
                p++;
        return (size_t)(p - at);
}
