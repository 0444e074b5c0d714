/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NumberIndex: gives objects numbers, never the same one twice, and finds them by it. Embedded by value; borrows the
 * objects, each of which embeds a Numbered.
 *
 * For what is named on the wire while it lasts: a number from a stranger, or of something that is over, finds nothing.
 */

#include "proto/cc.h"
#include "proto/slice.h"

#define NUMBER_INDEX_MAX (UINT32_C(1) << 24) /* objects at a time */

typedef struct Numbered {
        uint64_t number; /* 0: it has none */
} Numbered;

typedef struct NumberIndex {
        uintptr_t *slots; /* an object, or the next free slot */
        uint32_t n_slots, n_allocated, first_free;
        uint64_t sequence;
        size_t n;
} NumberIndex;

void number_index_init(NumberIndex *index);
void number_index_done(NumberIndex *index);

/* Gives it a number > 0. Returns 0 or -ENOMEM (also when there are NUMBER_INDEX_MAX). */
int number_index_add(NumberIndex *index, Numbered *object);

/* Takes its number away; it must have one. */
void number_index_remove(NumberIndex *index, Numbered *object);

/* NULL when nothing has that number now. */
Numbered *number_index_find(const NumberIndex *index, uint64_t number);

/* Each object once, in no order; `cursor` starts at 0; NULL after the last. Removing the one that was returned last is
 * allowed meanwhile, adding is not. */
Numbered *number_index_next(const NumberIndex *index, size_t *cursor);

/* As it stands in a subject: decimal digits without leading zeros, nothing else. 0: it is none. */
uint64_t number_parse(Slice digits);
