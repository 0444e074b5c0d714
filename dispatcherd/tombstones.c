/* SPDX-License-Identifier: MIT */

#include "dispatcherd/tombstones.h"

/* Some hours of a busy fleet's comings and goings, in 1.5 MB at most. */
#define TOMBSTONES_MAX 8192

static void drop(Tombstones *tombstones, Tombstone *tombstone) {
        HASH_DEL(tombstones->by_id, tombstone);
        free(tombstone);
}

const Tombstone *tombstones_find(const Tombstones *tombstones, Slice runtime_id) {
        Tombstone *tombstone = NULL;

        HASH_FIND(hh, tombstones->by_id, runtime_id.data, runtime_id.size, tombstone);
        return tombstone;
}

void tombstones_drop(Tombstones *tombstones, Slice runtime_id) {
        Tombstone *tombstone = NULL;

        HASH_FIND(hh, tombstones->by_id, runtime_id.data, runtime_id.size, tombstone);
        if (tombstone)
                drop(tombstones, tombstone);
}

void tombstones_put(Tombstones *tombstones, Slice runtime_id, uint64_t epoch, DeregisterReason reason) {
        Tombstone *tombstone;

        tombstones_drop(tombstones, runtime_id);
        if (HASH_COUNT(tombstones->by_id) >= TOMBSTONES_MAX)
                drop(tombstones, tombstones->by_id); /* uthash keeps the order of insertion */

        tombstone = calloc(1, sizeof(*tombstone));
        if (!tombstone)
                return;
        tombstone->id = id_of(runtime_id);
        tombstone->epoch = epoch;
        tombstone->reason = reason;
        HASH_ADD_KEYPTR(hh, tombstones->by_id, tombstone->id.text, tombstone->id.size, tombstone);
        if (!tombstone->hh.tbl)
                free(tombstone);
}

void tombstones_done(Tombstones *tombstones) {
        while (tombstones->by_id)
                drop(tombstones, tombstones->by_id);
}
