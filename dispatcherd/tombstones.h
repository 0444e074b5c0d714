/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Tombstones: epochs of runtimes that are over, and how they ended, so that their late messages are answered rightly.
 * One a runtime id, of its latest epoch.
 *
 * Embedded by value in the registry. Bounded: the oldest goes first.
 */

#include <uthash.h>

#include "proto/cc.h"
#include "proto/id.h"
#include "proto/registration.h"

typedef struct Tombstone {
        Id id;
        uint64_t epoch;
        DeregisterReason reason;
        UT_hash_handle hh;
} Tombstone;

typedef struct Tombstones {
        Tombstone *by_id;
} Tombstones;

void tombstones_done(Tombstones *tombstones);

/* Borrowed until the next change; NULL when there is none. */
const Tombstone *tombstones_find(const Tombstones *tombstones, Slice runtime_id);

/* Takes the place of an older one. Where memory is out there is none, which costs a late message its precise answer. */
void tombstones_put(Tombstones *tombstones, Slice runtime_id, uint64_t epoch, DeregisterReason reason);

void tombstones_drop(Tombstones *tombstones, Slice runtime_id);
