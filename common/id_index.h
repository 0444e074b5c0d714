/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * IdIndex: finds objects by the Id that each embeds. Embedded by value; borrows the ids, whose text may not change
 * while they are in it.
 *
 * For tables of thousands that every message looks into: a look-up for an id that is not there, the usual answer for a
 * new one, reads the index alone and no object. What is found is the Id: CONTAINER_OF() leads to its object.
 */

#include "proto/cc.h"
#include "proto/id.h"

typedef struct IdIndexSlot {
        uint64_t hash;
        const Id *id; /* NULL: free */
} IdIndexSlot;

typedef struct IdIndex {
        IdIndexSlot *slots;
        size_t mask; /* their number less one; 0: none yet */
        size_t n;
        uint64_t seed, multiplier;
} IdIndex;

/* `seed`: peers choose ids; who does not know it can't choose such as collide. */
void id_index_init(IdIndex *index, uint64_t seed);
void id_index_done(IdIndex *index);

/* NULL when it is not there. */
const Id *id_index_find(const IdIndex *index, Slice id);

int id_index_add(IdIndex *index, const Id *id);     /* must not be there; 0, -ENOMEM */
void id_index_remove(IdIndex *index, const Id *id); /* must be there */

/* Each id once, in no order; `cursor` starts at 0; NULL after the last. The index may not change meanwhile. */
const Id *id_index_next(const IdIndex *index, size_t *cursor);
