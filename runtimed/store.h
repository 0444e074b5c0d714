/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Store: where agents' states are kept. A StoreRequest goes out from the core, a thread of the store carries it out
 * (many in one transaction), and it comes back with its outcome; so a disk never holds up the loop.
 *
 * store_submit() and store_take() are for the loop thread; the descriptor of store_fd() becomes readable when requests
 * are done after there were none. Requests of one agent are carried out in the order of their submission. A request
 * belongs to the store from store_submit() until store_take() returns it. The core allocates requests with calloc()
 * and bounds how many are out; the store keeps them in no other way than until they are done.
 *
 * Two generations of each agent's record are kept, each with its own checksum: a save never touches the newest one.
 * When several saves of one agent wait, only the last is carried out and all are told what became of it: each asked
 * that this state of the agent's or a later one be kept, and the last is that for all of them.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/wire_error.h"

#define STORE_STATE_BYTES_MAX 67108864 /* of one agent's state: 64 MiB */

typedef enum StoreOperation {
        STORE_NOTHING,
        STORE_LOAD,
        STORE_SAVE,
        STORE_FORGET, /* both generations */
} StoreOperation;

typedef enum StoreOutcome {
        STORE_DONE,       /* saved durably; loaded; forgotten (also when there was nothing) */
        STORE_EMPTY,      /* LOAD: this agent was never saved */
        STORE_DAMAGED,    /* LOAD: the newest record is cut off, lost, or its checksum is wrong */
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

        /*
         * SAVE: above that of any save of this agent before, and above 0; with UNWRITABLE it becomes the one that is
         * there, when that is why. LOAD: the highest that is known of, with DONE
         * that of `state`: whatever the outcome was, later saves go on above it. 0: nothing is known.
         */
        uint64_t generation;
        uint64_t below_generation; /* LOAD: the newest that is older than this one, EMPTY: none is; 0: the newest */
        Buffer state;              /* SAVE: what to keep; LOAD, with STORE_DONE: the newest */

        /* LOAD, unless STORE_DONE or STORE_EMPTY: the generation before, when that one is sound */
        bool has_previous;
        uint64_t previous_generation;
        Buffer previous;

        StoreOutcome outcome;
        WireError error; /* a sentence for an operator when it is neither done nor empty */
        void *userdata;  /* the core's */
};

/* With its buffers, not what userdata leads to. */
StoreRequest *store_request_free(StoreRequest *request);

DEFINE_CLEANUP(StoreRequest *, store_request_free);

typedef struct Store Store;

/*
 * `where` is "sqlite:PATH". The file is made, for its owner alone, when its directory is there. One that can't be
 * opened is no error here: each request fails with the reason, and it is tried again with the next batch. Returns 0,
 * -EINVAL (`ret_error` says why), -ENOMEM.
 */
bool store_where_is_valid(const char *where, WireError *ret_error);
int store_new(const char *where, Store **ret, WireError *ret_error) _must_check_;

/* Carries out what was submitted, waits for that, ends the thread. Requests that were not taken are freed. */
Store *store_free(Store *store);

DEFINE_CLEANUP(Store *, store_free);

int store_fd(const Store *store);

/* Takes a list linked through `next`, in the order in which they are to be carried out. */
void store_submit(Store *store, StoreRequest *requests);

/* All that are done, linked through `next`, in the order of their end; NULL: none. */
StoreRequest *store_take(Store *store);

typedef struct StoreStats {
        uint64_t n_batches;
        uint64_t n_saved;   /* SAVE with DONE, whether written or overtaken by a later one */
        uint64_t n_failed;  /* of any kind: neither DONE nor EMPTY */
        uint64_t n_bytes;   /* of the states that were written */
        uint64_t busy_usec; /* from the beginning of batches to their ends */
} StoreStats;

/* Any thread. */
void store_stats(const Store *store, StoreStats *ret);

/* "done", "empty", ... */
extern const char *const store_outcome_names[_STORE_OUTCOME_MAX];
