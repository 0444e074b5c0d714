/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Run: a batch of messages for one agent on its way to a worker; Outcome: what became of each, on its way back.
 *
 * While a Run is out, its worker owns the agent's behaviour state and the messages in the batch, and nothing else does. Outcomes of one run
 * come back in order; the last one has `run_ended` set and gives the agent (and unhandled messages, at the front of the
 * mailbox) back.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "runtimed/behavior.h"

typedef struct Agent Agent;
typedef struct Mail Mail; /* one message in a mailbox: runtimed/mailbox.h */

typedef enum AgentClass {
        AGENT_CLASS_REALTIME,   /* priority 70 and above */
        AGENT_CLASS_BATCHED,    /* 30 to 69 */
        AGENT_CLASS_BACKGROUND, /* below */
        _AGENT_CLASS_MAX,
} AgentClass;

typedef struct Run Run;

struct Run {
        Run *next; /* for the queue that holds it */
        Agent *agent;
        AgentClass agent_class;
        const Behavior *behavior;
        void *behavior_state;
        Mail *mail; /* singly linked through mail->next */
        size_t n_mail;
};

typedef struct Outcome Outcome;

struct Outcome {
        Outcome *next;
        Run *run;
        Mail *mail;        /* what was handled; NULL in a last outcome that only ends the run */
        BehaviorReply reply;
        uint64_t started_usec, finished_usec; /* CLOCK_BOOTTIME, read by the worker */
        bool run_ended;
        Mail *unhandled; /* with run_ended: what the quantum left over, in order */
};
