/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Store: where agents' states are kept. A StoreRequest goes out from the core, a thread of the store carries it out
 * (many in one transaction), and it comes back with its outcome; so a disk never holds up the loop.
 *
 * store_submit() and store_take() are for the loop thread; the descriptor of store_fd() becomes readable when requests
 * are done after there were none. Requests of one agent are carried out in the order of their submission. A request
 * belongs to the store from store_submit() until store_take() returns it. What it holds is one allocation of the core's.
 *
 * Two generations of each agent's record are kept, each with its own checksum: a save never touches the newest one.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/wire_error.h"

#define STORE_RECORD_VERSION 1
#define STORE_STATE_BYTES_MAX (64 * 1024 * 1024) /* of one agent's state */

typedef enum StoreOperation {
        STORE_NOTHING,
        STORE_LOAD,
        STORE_SAVE,
        STORE_FORGET, /* both generations */
} StoreOperation;

typedef enum StoreOutcome {
        STORE_DONE,       /* saved durably; loaded; forgotten (also when there was nothing) */
        STORE_EMPTY,      /* LOAD: this agent was never saved */
        STORE_DAMAGED,    /* LOAD: the newest record is cut off or its checksum is wrong */
        STORE_NEWER,      /* LOAD: the newest record was written by a later version of this program */
        STORE_UNREADABLE, /* LOAD: the database can't be opened or read */
        STORE_UNWRITABLE, /* SAVE, FORGET: the same, or the disk is full */
        _STORE_OUTCOME_MAX,
} StoreOutcome;

typedef struct StoreRequest StoreRequest;

struct StoreRequest {
        StoreRequest *next; /* for the list that holds it */
        StoreOperation operation;
        Id agent_id;
        uint64_t generation; /* SAVE: greater than that of any save of this agent before; LOAD: of `state` */
        Buffer state;        /* SAVE: what to keep; LOAD, with STORE_DONE: the newest */

        /* LOAD, unless STORE_DONE or STORE_EMPTY: the generation before, when that one is sound */
        bool has_previous;
        uint64_t previous_generation;
        Buffer previous;

        StoreOutcome outcome;
        WireError error; /* a sentence for an operator when it is neither done nor empty */
        void *userdata;  /* the core's */
};

typedef struct Store Store;

/*
 * `where` is "sqlite:PATH". A database that can't be opened is no error here: each request fails with the reason, and
 * it is tried again with the next batch. Returns 0, -EINVAL (`ret_error` says why), -ENOMEM.
 */
int store_new(const char *where, Store **ret, WireError *ret_error) _must_check_;

/* Carries out what was submitted, waits for that, ends the thread. Requests that were not taken are dropped. */
Store *store_free(Store *store);

DEFINE_CLEANUP(Store *, store_free);

int store_fd(const Store *store);

/* A list linked through `next`. */
void store_submit(Store *store, StoreRequest *requests);

/* All that are done, linked through `next`, in the order of their end; NULL: none. */
StoreRequest *store_take(Store *store);

typedef struct StoreStats {
        uint64_t n_batches, n_saved, n_failed, n_bytes, busy_usec;
} StoreStats;

void store_stats(const Store *store, StoreStats *ret);

/* "done", "empty", ... */
extern const char *const store_outcome_names[_STORE_OUTCOME_MAX];
