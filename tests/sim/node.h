/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Node: one machine with its clocks, at most one process on it, and that process's connection.
 *
 * What all nodes share is here: turns (a batch of messages, then the timers' next moment), pausing, crashing, clocks.
 * What a process is comes as a NodeClass, one each in node_dispatcher.c, node_runtime.c and node_caller.c.
 */

#include "common/instant.h"
#include "common/outbox.h"
#include "common/trace.h"
#include "runtimed/run.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/schedule.h"

typedef struct Disk Disk;
typedef struct Dispatcher Dispatcher;
typedef struct ExecCall ExecCall;
typedef struct ExecChild ExecChild;
typedef struct Probes Probes;
typedef struct Runtime Runtime;
typedef struct Worker Worker;

typedef enum NodeKind {
        NODE_DISPATCHER,
        NODE_CALLER,
        NODE_RUNTIME,
} NodeKind;

typedef enum NodeState {
        NODE_DOWN, /* no process */
        NODE_RUNNING,
        NODE_PAUSED,
} NodeState;

typedef struct NodeClass {
        const char *letter;
        void (*start)(Sim *sim, Node *node, Instant now); /* a new process */
        void (*stop)(Sim *sim, Node *node);               /* frees it, whatever it was doing */
        void (*on_link_up)(Node *node, uint64_t max_payload, Instant now);
        void (*on_link_down)(Node *node, Instant now);
        void (*on_message)(Sim *sim, Node *node, const Message *message, uint64_t tag, Instant now);
        void (*on_turn_end)(Sim *sim, Node *node, Instant now);
        void (*on_time)(Node *node, Instant now);
        uint64_t (*next_deadline)(const Node *node);
        const char *(*check)(const Node *node, Instant now);
        bool (*wants_to_leave)(const Node *node); /* drained, stopped: the process ends by itself */
} NodeClass;

struct Worker {
        Run *run;         /* in its hands */
        Outcome *outcome; /* of the step that is going on */
};

struct Node {
        uint32_t index;
        NodeKind kind;
        const NodeClass *class;
        char name[32]; /* for the trace; of dispatchers also the id */
        NodeState state;
        uint32_t incarnation; /* counts its processes, from 1 */

        int64_t boot_offset, real_offset; /* of its clocks to true time */
        uint64_t paused_usec;
        bool frozen;              /* paused, and its clock stands still */
        uint64_t disturbed_until; /* the last moment at which a fault touched it; ongoing ones are seen in its state */
        uint64_t aware_usec,
                aware_local;   /* its last gap in hearing that its process must know of: true time, its clock */
        uint64_t stalled_usec; /* when it went on after a pause longer than any window, in which its clock went on; 0:
                                  never */
        uint64_t started_usec, crashed_usec;
        uint64_t restart_usec; /* after a crash: 0 never */
        bool restart_wanted;

        Link link;
        Queue inbox; /* arrived, not handled */
        Queue apart; /* likewise, what may overtake that and be overtaken by it */
        Outbox outbox;
        Tracer tracer; /* of a world with traces */
        bool turn_scheduled;
        uint64_t timer_usec, timer_generation; /* the timer event that counts */
        unsigned n_idle_timers;                /* timers in a row that left the next one in the past */
        uint64_t n_turns;

        char inbox_prefix[64];
        union {
                struct {
                        Dispatcher *core;
                        size_t n_runtimes; /* after the last turn */
                        bool draining;
                } dispatcher;
                struct {
                        Runtime *core;
                        char id[16];
                        uint32_t spec;                        /* index in Scenario.runtimes */
                        uint64_t epoch;                       /* after the last turn */
                        uint64_t epoch_started;               /* of the last process */
                        uint64_t dead_epoch, told_dead_epoch; /* the highest epoch of its own that it was told is dead;
                                                                 in this turn */
                        Worker workers[WORKERS_MAX];
                        Run *waiting[_AGENT_CLASS_MAX], *waiting_last[_AGENT_CLASS_MAX];
                        uint64_t taken_usec; /* when it last heard that a dispatcher took its registration */
                        bool drain_wanted, stopping;
                        uint64_t stop_usec;  /* by its clock: what it has not done by then is cut short */
                        uint64_t n_full;     /* answers of its process that say MAILBOX_FULL */
                        const Mail *at_work; /* with a worker, in the call that is going on */
                        Probes *probes;      /* host.h: only in a world with apps */
                        ExecChild *children; /* APPS_MAX of them */
                        ExecCall *calls;
                        uint64_t n_calls; /* that ever were */
                        Disk *disk;
                } runtime;
                struct {
                        uint64_t n_asked;
                } caller;
        };
};

extern const NodeClass node_class_dispatcher, node_class_runtime, node_class_caller;

Node *node_new(Sim *sim, NodeKind kind, const char *name);
Node *node_free(Sim *sim, Node *node);

Instant node_instant(const Sim *sim, const Node *node);

void node_start(Sim *sim, Node *node);
void node_kill(Sim *sim, Node *node, uint64_t unnoticed_usec, bool lose_sent);
void node_pause(Sim *sim, Node *node, bool freeze);
void node_resume(Sim *sim, Node *node);

/* A fault touches it now. */
void node_disturb(const Sim *sim, Node *node);

/* Its process knows from now on that it may have missed something. */
void node_aware(const Sim *sim, Node *node);

/* Running, connected, and no fault has touched it since `usec` or later. */
bool node_is_sound_since(const Node *node, uint64_t usec);

/* The same, but what it sends or receives may have been dropped or late: it could act all the time. */
bool node_is_undisturbed_since(const Node *node, uint64_t usec);

/* For its core: a third of the seeds have traces, NULL in the others. */
Tracer *node_tracer(const Sim *sim, Node *node);

/* What arrived; taken. */
void node_receive(Sim *sim, Node *node, Item item);

/* After anything was done to its core from outside: publishes, checks, sets the timer. */
void node_settle(Sim *sim, Node *node);

/* Runtime nodes: takes the runs of the core and runs at once what runs inline; hands the others to idle workers; takes
 * all of them back. */
void workers_take(Sim *sim, Node *node);
void workers_feed(Sim *sim, Node *node);
void workers_abandon(Sim *sim, Node *node, Instant now);
bool workers_have(const Node *node, uint32_t app); /* a message of that agent, in their hands */

/* The runtime node whose process now uses this id (a running one first), NULL. */
Node *sim_find_runtime(const Sim *sim, Slice runtime_id);
