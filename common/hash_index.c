/* SPDX-License-Identifier: MIT */

/*
 * Open addressing with linear probing, at most three quarters full; removal moves what follows back, so no graves are
 * left behind. The hash lies in the object and not beside the slot: half the memory of id_index.c, for a miss of the
 * caches at each step. Right for what is looked up when something changes, not for what every message asks.
 *
 * The hash is that of id_index.c: 128-bit products folded with a secret seed and a secret multiplier.
 */

#include <string.h>

#include "common/hash_index.h"

#define FIRST_SLOTS 16

static uint64_t fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;

        return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_more(const HashIndex *index, uint64_t hash, Slice text) {
        uint64_t word;

        hash = fold(hash ^ text.size, index->multiplier);
        for (; text.size >= sizeof(word); text = slice_after(text, sizeof(word))) {
                memcpy(&word, text.data, sizeof(word));
                hash = fold(hash ^ word, index->multiplier);
        }
        if (text.size > 0) {
                word = 0;
                memcpy(&word, text.data, text.size);
                hash = fold(hash ^ word, index->multiplier);
        }
        return hash;
}

void hash_index_init(HashIndex *index, uint64_t seed) {
        /* Two different odd constants spread one seed over both words; a multiplier must be odd to lose nothing. */
        *index = (HashIndex){ .seed = fold(seed ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db)),
                .multiplier = fold(seed ^ UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3)) | 1 };
}

void hash_index_done(HashIndex *index) {
        free(index->slots);
        index->slots = NULL;
        index->mask = index->n = 0;
}

uint32_t hash_index_hash(const HashIndex *index, Slice first, Slice second) {
        uint64_t hash = hash_more(index, hash_more(index, index->seed, first), second);

        return (uint32_t)(hash ^ hash >> 32);
}

HashEntry *hash_index_find(const HashIndex *index, uint32_t hash, HashMatches matches, const void *key) {
        if (index->n == 0)
                return NULL;
        for (size_t at = hash & index->mask; index->slots[at]; at = (at + 1) & index->mask)
                if (index->slots[at]->hash == hash && matches(index->slots[at], key))
                        return index->slots[at];
        return NULL;
}

/* There are slots, and one is free. */
static void put(HashIndex *index, HashEntry *entry) {
        size_t at = entry->hash & index->mask;

        while (index->slots[at])
                at = (at + 1) & index->mask;
        index->slots[at] = entry;
}

static int grow(HashIndex *index) {
        const size_t n_old = index->slots ? index->mask + 1 : 0, n = n_old > 0 ? n_old * 2 : FIRST_SLOTS;
        HashEntry **old = index->slots, **slots = calloc(n, sizeof(HashEntry *));

        if (!slots)
                return -ENOMEM;
        index->slots = slots;
        index->mask = n - 1;
        for (size_t i = 0; i < n_old; i++)
                if (old[i])
                        put(index, old[i]);
        free(old);
        return 0;
}

int hash_index_add(HashIndex *index, HashEntry *entry) {
        if ((!index->slots || (index->n + 1) * 4 > (index->mask + 1) * 3) && grow(index) < 0)
                return -ENOMEM;
        put(index, entry);
        index->n++;
        return 0;
}

void hash_index_remove(HashIndex *index, const HashEntry *entry) {
        size_t hole = entry->hash & index->mask;

        assert(index->n > 0);
        for (; index->slots[hole] != entry; hole = (hole + 1) & index->mask)
                assert(index->slots[hole]); /* else it is not there */

        /* Whatever follows without a gap moves into the hole, unless that lies before the place where its probing
         * begins. */
        for (size_t at = (hole + 1) & index->mask; index->slots[at]; at = (at + 1) & index->mask) {
                const size_t wanted = index->slots[at]->hash & index->mask;

                if (((at - wanted) & index->mask) < ((at - hole) & index->mask))
                        continue;
                index->slots[hole] = index->slots[at];
                hole = at;
        }
        index->slots[hole] = NULL;
        index->n--;
}
