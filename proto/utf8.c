/* SPDX-License-Identifier: MIT */

/*
 * The well-formed byte sequences are those of the Unicode standard, table 3-7: only the second byte's range depends on
 * the first one.
 */

#include "proto/utf8.h"

static bool is_continuation(unsigned char c) {
        return (c & 0xC0) == 0x80;
}

static bool second_is_valid(unsigned char first, unsigned char second) {
        switch (first) {
        case 0xE0:
                return second >= 0xA0 && second <= 0xBF; /* below: overlong */
        case 0xED:
                return second >= 0x80 && second <= 0x9F; /* above: surrogates */
        case 0xF0:
                return second >= 0x90 && second <= 0xBF; /* below: overlong */
        case 0xF4:
                return second >= 0x80 && second <= 0x8F; /* above: beyond U+10FFFF */
        default:
                return is_continuation(second);
        }
}

size_t utf8_size(const char *at, const char *end) {
        const unsigned char *p = (const unsigned char *)at;
        const size_t left = (size_t)(end - at);
        size_t size;

        if (left == 0)
                return 0;
        if (p[0] < 0x80)
                return 1;
        if (p[0] < 0xC2 || p[0] > 0xF4)
                return 0;

        size = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
        if (left < size || !second_is_valid(p[0], p[1]))
                return 0;
        for (size_t i = 2; i < size; i++)
                if (!is_continuation(p[i]))
                        return 0;
        return size;
}

/* U+0000..1F, U+007F, U+0080..9F, U+061C, U+200E, U+200F, U+2028..2E, U+2066..69 */
bool utf8_is_control(const char *at, size_t size) {
        const unsigned char *c = (const unsigned char *)at;

        if (size == 1)
                return c[0] < 0x20 || c[0] == 0x7F;
        if (size == 2)
                return (c[0] == 0xC2 && c[1] < 0xA0) || (c[0] == 0xD8 && c[1] == 0x9C);
        if (size != 3 || c[0] != 0xE2)
                return false;
        return (c[1] == 0x80 && (c[2] == 0x8E || c[2] == 0x8F || (c[2] >= 0xA8 && c[2] <= 0xAE))) ||
               (c[1] == 0x81 && c[2] >= 0xA6 && c[2] <= 0xA9);
}

size_t utf8_put(char *at, uint32_t code) {
        assert(code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF));

        if (code < 0x80) {
                at[0] = (char)code;
                return 1;
        }
        if (code < 0x800) {
                at[0] = (char)(0xC0 | code >> 6);
                at[1] = (char)(0x80 | (code & 0x3F));
                return 2;
        }
        if (code < 0x10000) {
                at[0] = (char)(0xE0 | code >> 12);
                at[1] = (char)(0x80 | (code >> 6 & 0x3F));
                at[2] = (char)(0x80 | (code & 0x3F));
                return 3;
        }
        at[0] = (char)(0xF0 | code >> 18);
        at[1] = (char)(0x80 | (code >> 12 & 0x3F));
        at[2] = (char)(0x80 | (code >> 6 & 0x3F));
        at[3] = (char)(0x80 | (code & 0x3F));
        return 4;
}
