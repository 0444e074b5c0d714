/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Ids: 1-64 characters of A-Z a-z 0-9 _ -, so that each is one NATS token.
 */

#include "proto/cc.h"
#include "proto/slice.h"

#define ID_MAX 64
#define ID_GENERATED 16 /* base 62: 95 bits, so that 10^12 of them collide once in 10^5 tries */

typedef struct Id {
        char text[ID_MAX + 1];
        uint8_t size;
} Id;

bool id_is_valid(Slice text);

/* `text` must be valid. */
Id id_of(Slice text);

/*
 * The same in place, where it is hot: an Id built on the stack and returned is copied in wide words that must wait for
 * the narrow ones it was written in (4 % of a dispatcher's time), and what was decoded as an id need not be read again
 * to check it.
 */
static inline void id_set(Id *ret, Slice text) {
        assert(text.size > 0 && text.size <= ID_MAX);
        memcpy(ret->text, text.data, text.size);
        ret->text[text.size] = '\0';
        ret->size = (uint8_t)text.size;
}

static inline Slice id_slice(const Id *id) {
        return (Slice){ id->text, id->size };
}

static inline bool id_equal(const Id *id, Slice text) {
        return slice_equal(id_slice(id), text);
}

/* From two words of randomness; pure, so that a seeded run makes the same ids. */
Id id_from_random(uint64_t high, uint64_t low);
