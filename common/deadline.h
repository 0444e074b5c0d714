/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Deadlines: many absolute moments, of which the loop needs the earliest.
 *
 * Intrusive (a red-black tree): arming allocates nothing and can't fail. A Deadline is embedded by value in the
 * object it is about; `kind` tells the owner which object that is when several kinds share one queue.
 */

#include <bsd/sys/tree.h>
#include <sys/queue.h>

#include "common/instant.h"
#include "proto/cc.h"

typedef struct Deadline Deadline;

struct Deadline {
        union {
                RB_ENTRY(Deadline) node;
                TAILQ_ENTRY(Deadline) in_line;
        };
        uint64_t usec;     /* USEC_NEVER: not armed */
        uint64_t sequence; /* orders equal moments by when they were armed, so that a replay is exact */
        int kind;
        bool is_in_line; /* else in the tree */
};

RB_HEAD(DeadlineTree, Deadline);

TAILQ_HEAD(DeadlineLine, Deadline);

typedef struct DeadlineQueue {
        struct DeadlineTree tree;
        struct DeadlineLine line; /* each no earlier than the one before */
        uint64_t sequence;
} DeadlineQueue;

void deadline_queue_init(DeadlineQueue *queue);
void deadline_init(Deadline *deadline, int kind);

/* Moves it when it was armed already; USEC_NEVER disarms. */
void deadline_arm(DeadlineQueue *queue, Deadline *deadline, uint64_t usec);

/* The same, for many that are armed with one pause, so each after all before it: costs no search when that is so. */
void deadline_arm_in_line(DeadlineQueue *queue, Deadline *deadline, uint64_t usec);

void deadline_disarm(DeadlineQueue *queue, Deadline *deadline);

/* The earliest moment; USEC_NEVER when nothing is armed. */
uint64_t deadline_queue_next(const DeadlineQueue *queue);

/* Takes out the earliest one that is due; NULL when none is. Equal moments come out in the order they were armed. */
Deadline *deadline_queue_pop(DeadlineQueue *queue, uint64_t now);
