/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "proto/id.h"

static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const bool in_id[256] = {
        ['0' ... '9'] = true,
        ['A' ... 'Z'] = true,
        ['a' ... 'z'] = true,
        ['_'] = true,
        ['-'] = true,
};

bool id_is_valid(Slice text) {
        if (text.size == 0 || text.size > ID_MAX)
                return false;

        for (size_t i = 0; i < text.size; i++)
                if (!in_id[(unsigned char)text.data[i]])
                        return false;
        return true;
}

Id id_of(Slice text) {
        Id id = { .size = (uint8_t)text.size };

        assert(id_is_valid(text));
        memcpy(id.text, text.data, text.size);
        return id;
}

/* 62^11 is a little more than 2^65: eleven digits hold each word whole, so different words make different ids. */
Id id_from_random(uint64_t high, uint64_t low) {
        Id id = { .size = ID_GENERATED };

        for (size_t i = 0; i < ID_GENERATED / 2; i++) {
                id.text[i] = alphabet[high % 62];
                id.text[ID_GENERATED / 2 + i] = alphabet[low % 62];
                high /= 62;
                low /= 62;
        }
        return id;
}
