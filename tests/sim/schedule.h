/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Schedule: what will happen in virtual time, earliest first; equal moments in the order they were added, so that a
 * seed replays exactly. A binary heap by value.
 */

#include "proto/cc.h"

typedef struct Sim Sim;
typedef struct Node Node;
typedef struct Event Event;

typedef void (*EventFn)(Sim *sim, Event *event);

struct Event {
        uint64_t usec;
        uint64_t sequence; /* set by schedule_add() */
        EventFn fn;
        Node *node;
        uint64_t argument;
        void *object;               /* owned by the event until fn takes it (by setting it NULL) */
        void (*drop)(void *object); /* frees an object that nobody took */
};

typedef struct Schedule {
        Event *items;
        size_t n_items, n_allocated;
        uint64_t sequence;
} Schedule;

/* Takes event->object. Memory running out ends the program: this is a test. */
void schedule_add(Schedule *schedule, const Event *event);

/* Takes out the earliest event that is not after `until`; false when there is none. */
bool schedule_take(Schedule *schedule, uint64_t until, Event *ret);

/* Drops what is left, and the memory. */
void schedule_done(Schedule *schedule);
