/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Agent: one hosted agent: its definition, its lifecycle, and where its mail, its run, its state and whoever waits for
 * it are kept. What it does next is decided in life.c and schedule.c.
 *
 * Loop thread only. The set of agents (hosted.c) owns them. Hosts have many agents, most of them idle: what only a busy
 * one needs (mailbox, run) or only some need (durable state, supervision) is allocated when it is needed.
 */

#include <bsd/sys/tree.h>

#include "common/deadline.h"
#include "common/instant.h"
#include "proto/cc.h"
#include "proto/registration.h"
#include "runtimed/asks.h"
#include "runtimed/definition.h"
#include "runtimed/mailbox.h"
#include "runtimed/run.h"
#include "runtimed/topics.h"

#define AGENT_STATES(X)                                                    \
        X(CREATED, "created", "known, its behaviour has no state yet")     \
        X(STARTING, "starting", "init is under way, or a restart is due")  \
        X(RUNNING, "running", "handles its mail")                          \
        X(PAUSED, "paused", "takes mail, and handles none")                \
        X(STOPPING, "stopping", "works off what it holds, takes no more")  \
        X(STOPPED, "stopped", "holds nothing; may be started again")       \
        X(FAILED, "failed", "could not be started or kept; takes nothing") \
        X(DELETED, "deleted", "about to be forgotten")

typedef enum AgentState {
        AGENT_INVALID,
#define X(name, text, meaning) AGENT_##name,
        AGENT_STATES(X) _AGENT_STATE_MAX,
#undef X
} AgentState;

#define AGENT_EVENTS(X)                                                                 \
        X(START, "start")                                                               \
        X(READY, "ready") /* init has succeeded */                                      \
        X(FAIL, "fail")   /* it can't be had: init failed, restarts used up */          \
        X(PAUSE, "pause")                                                               \
        X(RESUME, "resume")                                                             \
        X(RESTART, "restart") /* its behaviour is gone, or makes place for a new one */ \
        X(STOP, "stop")                                                                 \
        X(IDLE, "idle") /* nothing is held any more, the stop hook has run */           \
        X(DELETE, "delete")

typedef enum AgentEvent {
#define X(name, text) AGENT_EV_##name,
        AGENT_EVENTS(X) _AGENT_EVENT_MAX,
#undef X
} AgentEvent;

enum {
        AGENT_E_OK,

        AGENT_E_INVALID_TRANSITION, /* the state does not know that event */
};

/* What is awaited before the lifecycle goes on. */
typedef enum AgentStep {
        STEP_NONE,
        STEP_BACKOFF,    /* the pause before a restart */
        STEP_LOAD,       /* the store is to bring the state */
        STEP_INIT,       /* the hook is out */
        STEP_CHECKPOINT, /* the last one before the stop hook: the hook, then the store */
        STEP_STOP,       /* the hook is out */
        STEP_FORGET,     /* the store is to forget the state of an agent that goes */
} AgentStep;

typedef struct Durable Durable;
typedef struct OpenMessage OpenMessage;
typedef struct Supervision Supervision;
typedef struct Timer Timer;
typedef struct Waiter Waiter;

/* What few agents come to have: allocated with the first of it, and kept. */
typedef struct AgentRarely {
        Definition *successor;    /* takes the definition's place as soon as nothing is begun; NULL: none */
        Definition *predecessor;  /* what a successor that can't be started gives way to; NULL: none */
        Buffer *handover;         /* what the behaviour starts with instead of what is stored; NULL: nothing */
        Buffer *spare_state;      /* ... if it is the predecessor that is started in the end */
        Supervision *supervision; /* NULL: it never crashed */
        char *failure;            /* why it has failed, for who asks later; NULL: it has not, or memory was out */
        struct LogLimit *words;   /* of what it says itself; NULL: nothing yet */
} AgentRarely;

struct Agent {
        Id id;
        uint8_t state; /* AgentState */
        uint8_t step;  /* AgentStep */

        bool has_behavior : 1;   /* init has succeeded, and neither the stop hook ran nor did it crash */
        bool was_ready : 1;      /* has been running at least once */
        bool is_provisional : 1; /* is removed if its first init fails: whoever created it is told */
        bool is_leaving : 1;     /* is deleted as soon as it is stopped */
        bool keeps_record : 1;   /* ... and its durable state stays in the store */
        bool is_discarding : 1;  /* stops without handling what it holds */
        bool is_to_start : 1;    /* if it fails, or has, it starts as soon as nothing of it is left */
        bool is_to_pause : 1;    /* was paused when it crashed */
        bool is_replacing : 1;   /* the successor's turn has come: its predecessor is being stopped */
        bool is_state_taken : 1; /* ... and what the successor or, if that fails, the predecessor starts with is there
                                  */
        bool was_announced : 1;  /* dispatchers were told of it, or are about to be */
        bool is_changed : 1;     /* dispatchers were not told yet */

        RB_ENTRY(Agent) by_name; /* in the order of ids, for paging */
        Subscriber subscriber;   /* what it is subscribed to */
        AgentRarely *rarely;     /* NULL: none of it yet; read it through agent_rarely() */

        /* What the loop writes with each message. Workers read the id with each: so it keeps a cache line's distance
         * from that, and from the next agent's. */
        uint16_t grant;        /* messages to hand out at a time */
        bool is_ready : 1;     /* in a list of agents with something to hand out */
        bool is_unsettled : 1; /* in the list of agents to look at when the turn ends */
        uint32_t n_deferred;   /* messages that its behaviour wants back later */
        uint32_t n_open;       /* messages with a remote behaviour, or left pending: max_concurrency bounds them */
        uint32_t n_fired;      /* timers that were due and are not handled yet */
        Definition *definition;
        void *behavior_state; /* while a run is out: the run's */
        Mailbox *mailbox;     /* NULL: no mail */
        Run *run;             /* out with a worker; NULL: none is */
        Mail *calls;          /* out to a remote behaviour, linked through `previous` */
        Agent *next_ready, *next_unsettled;
        uint64_t n_handled, n_shed, n_failed;

        Durable *durable; /* NULL: keeps no state, or there is no store */
        Waiter *waiters;
        Timer *timers;
        AskOwner asks; /* what it waits for */
};

/* For looking at: all of it absent when there is none. */
const AgentRarely *agent_rarely(const Agent *agent);

/* For setting something; NULL: memory is out. */
AgentRarely *agent_need_rarely(Agent *agent);

/* Calls out to a remote behaviour. */
size_t agent_n_calls(const Agent *agent);

/* In state created. `definition` is taken on 0. */
int agent_new(Definition *definition, Agent **ret) _must_check_;

/* Must hold nothing. */
Agent *agent_free(Agent *agent);

DEFINE_CLEANUP(Agent *, agent_free);

/* The only writer of `state`: looks the table up, and logs. */
int agent_apply(Agent *agent, AgentEvent event);

/* Which mail may be handed out now: a set of 1 << Lane. */
unsigned agent_open_lanes(const Agent *agent);

/* Does it hold no message: no mail, nothing with a worker, deferred or open? Control mail is no message. */
bool agent_is_idle(const Agent *agent);

/* Messages that wait in its mailbox. */
uint32_t agent_n_queued(const Agent *agent);

AgentSummary agent_summary(const Agent *agent);
const char *agent_state_name(AgentState state);
const char *agent_event_name(AgentEvent event);

/* For tests that walk the whole table; AGENT_INVALID: not allowed. */
AgentState agent_next_state(AgentState state, AgentEvent event);

static inline Slice agent_id_slice(const Agent *agent) {
        return id_slice(&agent->id);
}
