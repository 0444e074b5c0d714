/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * HashIndex: finds objects by whatever makes them equal; each embeds a HashEntry. Embedded by value; borrows the
 * entries.
 *
 * For many small objects whose keys are no Ids (see id_index.h for those): costs eleven to twenty-one bytes each,
 * beside the four of the entry.
 */

#include "proto/cc.h"
#include "proto/slice.h"

typedef struct HashEntry {
        uint32_t hash;
} HashEntry;

typedef struct HashIndex {
        HashEntry **slots;
        size_t mask; /* their number less one; 0: none yet */
        size_t n;
        uint64_t seed, multiplier;
} HashIndex;

typedef bool (*HashMatches)(const HashEntry *entry, const void *key);

/* `seed`: peers choose keys; who does not know it can't choose such as collide. */
void hash_index_init(HashIndex *index, uint64_t seed);
void hash_index_done(HashIndex *index);

/* Of one text after the other: ("a", "bc") is not ("ab", "c"). */
uint32_t hash_index_hash(const HashIndex *index, Slice first, Slice second);

/* NULL when none of that hash matches. */
HashEntry *hash_index_find(const HashIndex *index, uint32_t hash, HashMatches matches, const void *key);

/* The entry's hash is set; it, or one equal to it, must not be there. Returns 0 or -ENOMEM. */
int hash_index_add(HashIndex *index, HashEntry *entry);
void hash_index_remove(HashIndex *index, const HashEntry *entry); /* must be there */
