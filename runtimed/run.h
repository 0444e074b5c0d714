/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Run: a batch of messages for one agent on its way to a worker; Outcome: what became of one of them, on its way back.
 *
 * While a Run is out, its worker owns the agent's behaviour state and every Mail in `mail`, and nothing else does: the
 * core touches only the atomics. Outcomes of one run come back one by one and in order; the last one has `run_ended`
 * set and gives the agent back, with the messages that the worker left (`run->mail`, in order).
 *
 * Nothing here allocates: an Outcome is part of its Mail, a Run part of its agent.
 */

#include <stdatomic.h>

#include "proto/buffer.h"
#include "proto/cc.h"
#include "runtimed/behavior.h"

typedef struct Agent Agent;
typedef struct Mail Mail;
typedef struct Outcome Outcome;
typedef struct Run Run;

#define AGENT_CLASSES(X)        \
        X(REALTIME, "realtime") \
        X(BATCHED, "batched")   \
        X(BACKGROUND, "background")

typedef enum AgentClass {
#define X(name, text) AGENT_CLASS_##name,
        AGENT_CLASSES(X) /* from priority 70 on; 30 to 69; below */
#undef X
        _AGENT_CLASS_MAX,
} AgentClass;

struct Outcome {
        Outcome *next; /* for the list that holds it */
        Run *run;
        Mail *mail;                           /* what was handled */
        uint64_t started_usec, finished_usec; /* CLOCK_BOOTTIME, read by the worker */
        bool skipped;                         /* it was called off before the behaviour saw it: no reply */
        bool run_ended;                       /* the run goes back to the core, too */
};

struct Mail {
        Mail *next, *previous; /* in a mailbox; in a run only `next` */
        BehaviorMessage message;
        BehaviorReply reply;
        Outcome outcome;
        size_t n_bytes;         /* what it counts for in its mailbox */
        bool is_timer;          /* on_timer() is due instead of handle() */
        atomic_bool called_off; /* set by the core: don't begin it any more */
};

struct Run {
        Run *next; /* for the queue that holds it */
        Agent *agent;
        const Behavior *behavior;
        void *behavior_state;
        Mail *mail; /* what is left, singly linked */
        AgentClass agent_class;
        atomic_uint n_begun; /* how many of its messages the worker has taken up */
};

/*
 * The worker's part, the same for a thread and for the simulator's virtual workers: handles the first message that is
 * left. `run_ended` is set when it was the last one. A worker that stops earlier sets it itself; it may correct
 * `finished_usec` as well. After handing over an outcome with `run_ended`, hands off the run. The run must have mail.
 */
Outcome *run_step(Run *run, uint64_t now_usec);
