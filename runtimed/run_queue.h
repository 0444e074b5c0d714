/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * RunQueue: which run a worker takes next. Three classes, each first in, first out; higher classes first, none starved.
 * RunTurn: how long the worker may then go on with it while others wait.
 *
 * Embedded by value. Pure: whoever shares the queue between threads holds the lock. Owns nothing.
 */

#include "proto/cc.h"
#include "runtimed/run.h"

#define RUN_TURN_USEC 5000 /* a turn that lasts longer is over, however few messages it had */

typedef struct RunQueue {
        struct {
                Run *first, *last;
                unsigned passed_over; /* turns given to higher classes while this one waited */
        } classes[_AGENT_CLASS_MAX];
        size_t n_runs;
} RunQueue;

/* A class that was passed over so often gets the next turn. */
extern const unsigned run_queue_patience[_AGENT_CLASS_MAX];

void run_queue_push(RunQueue *queue, Run *run);

/* All of `more`, behind what is there; `more` is empty then. */
void run_queue_join(RunQueue *queue, RunQueue *more);

/* NULL when empty. */
Run *run_queue_pop(RunQueue *queue);

typedef struct RunTurn {
        uint64_t end_usec;
        uint32_t n_left; /* messages */
} RunTurn;

void run_turn_begin(RunTurn *turn, const Run *run, uint64_t now_usec);

/* After each message: is it somebody else's turn? */
bool run_turn_is_over(RunTurn *turn, uint64_t now_usec);
