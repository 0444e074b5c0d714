/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * RunQueue: which run a worker takes next. Three classes, each first in, first out; higher classes first, none starved.
 *
 * Embedded by value. Pure: whoever shares it between threads holds the lock. Owns nothing.
 */

#include "proto/cc.h"
#include "runtimed/run.h"

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

/* NULL when empty. */
Run *run_queue_pop(RunQueue *queue);
