/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Pool: the worker threads. Takes Runs from the loop thread and hands their Outcomes back.
 *
 * pool_submit(), pool_has_outcomes() and pool_take() are for the loop thread; the descriptor of pool_fd() becomes
 * readable when there are outcomes after there were none. Owns its threads; Runs and Mail are borrowed until their
 * outcomes are taken.
 *
 * A run keeps its worker as long as it has mail and nobody waits; else, after a turn (run_queue.h), it goes to the back
 * of its class, which the loop does not see.
 */

#include "proto/cc.h"
#include "runtimed/run.h"

#define POOL_WORKERS_MAX 256

typedef struct Pool Pool;

int pool_new(size_t n_workers, Pool **ret) _must_check_;

/*
 * Ends the threads after the message each one is at, waits for them at most `timeout_usec`. Returns false when one is
 * still inside a behaviour: then nothing is freed, and all that can be done is to leave the process.
 */
bool pool_stop(Pool *pool, uint64_t timeout_usec);

/* After pool_stop() has returned true: runs that are with no worker, one by one; NULL: no more. They are still open:
 * run_abandon() gets what was added. */
Run *pool_take_unstarted(Pool *pool);

/* As pool_stop() without a limit, then frees. Runs that are with no worker are dropped. */
Pool *pool_free(Pool *pool);

DEFINE_CLEANUP(Pool *, pool_free);

int pool_fd(const Pool *pool);
size_t pool_n_workers(const Pool *pool);

/* A list of runs linked through `next`, in order; wakes as many workers as there is work for. */
void pool_submit(Pool *pool, Run *runs);

/* Would pool_take() find any? Costs next to nothing: for a loop that is busy with other things. */
bool pool_has_outcomes(const Pool *pool);

/* All outcomes so far, linked through `next`, in the order of their finish (exact within one run); NULL: none. */
Outcome *pool_take(Pool *pool);
