/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The oracle's record: every trigger that was asked for, every execution, every relay, and what each dispatcher process
 * has been told of each runtime. Only the oracle's files include this.
 */

#include <uthash.h>

#include "proto/id.h"
#include "proto/message.h"
#include "tests/sim/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

/* What a dispatcher was last told of a relay. */
typedef enum Word {
        WORD_NONE,
        WORD_UNHEARD, /* nobody listened */
        WORD_REFUSED,
        WORD_ACCEPTED,
        WORD_STARTED,
        WORD_DONE,
} Word;

/* One attempt. */
typedef struct Relay {
        uint32_t dispatcher, dispatcher_incarnation, life;
        uint32_t runtime, runtime_incarnation;
        uint64_t epoch, attempt, usec;
        Word word;
        bool holds_slot;            /* counts in View.outstanding */
        uint32_t n_sent, n_unheard; /* with its repeats: only when all were unheard did provably nobody get it */
        bool delivered;             /* to the runtime */
        uint64_t delivered_usec;    /* for the first time */
        bool settled;               /* the runtime has published its result, or its refusal */
} Relay;

/* A dispatcher process that was asked for the execution; a life ends with an answer, and asking again begins a new one.
 */
typedef struct Reach {
        uint32_t dispatcher, incarnation, life;
        bool ended;
        uint64_t deadline_local; /* of what began this life, by the dispatcher's clock */
        uint64_t usec;
} Reach;

typedef struct Handling {
        uint32_t runtime, incarnation;
        uint64_t attempt, epoch;
} Handling;

#define REACHES_MAX 8
#define HANDLINGS_MAX 8

typedef struct Exec {
        uint32_t index;
        Id id; /* size 0: made up by a dispatcher, not seen yet */
        AskOptions options;
        uint32_t n_asks;
        bool has_lost_word; /* a relay or report about it was lost */
        Relay *relays;
        size_t n_relays, n_relays_allocated;
        Reach reaches[REACHES_MAX];
        size_t n_reaches;
        Handling handlings[HANDLINGS_MAX];
        size_t n_handlings;
        UT_hash_handle hh;
} Exec;

typedef struct Ask {
        uint32_t exec, caller;
        bool wants_reply;
        uint64_t asked_usec, deadline_ms;

        uint32_t dispatcher, incarnation;       /* that it reached first; INDEX_NONE */
        uint64_t reached_usec, reached_local;   /* true time, and by the dispatcher's clock */
        bool answered_by_dispatcher;            /* published in time */
        uint64_t dispatcher_usec, runtime_usec; /* first answers published */
        uint32_t n_published, n_lost, n_received;
        uint32_t success_runtime, success_incarnation; /* INDEX_NONE */
        uint64_t success_attempt;
        ErrorCode last_code;
} Ask;

/* What one dispatcher process has been told of one runtime node. */
typedef struct View {
        bool known;
        uint32_t incarnation; /* of the process that registered */
        uint64_t epoch, heard_usec, interval_usec;
        uint64_t heard_local; /* the same by the dispatcher's clock */
        uint64_t probe_local; /* when the last probe since it was heard was sent, by the dispatcher's clock; 0 */
        bool probe_unheard;   /* "no responders" came for it */
        uint64_t lost_usec;   /* when a message between the two was last lost */
        uint64_t told_free, n_relayed_since_told, max_in_flight;
        uint64_t
                reported_local; /* by the dispatcher's clock, the last report: a heartbeat soon after it may be older */
        uint64_t outstanding;   /* relays without an end */
        uint64_t n_unknown;     /* relays of executions that the record can't tell apart: they may be open, too */
        uint64_t refused_usec;  /* when it last refused something */
        uint64_t removed_epoch; /* the highest that it was told, or said itself, is over */
        bool removal_told;      /* a deregistration about it was published by or delivered to the dispatcher */
} View;

struct Oracle {
        Sim *sim;
        Exec **execs;
        size_t n_execs, n_execs_allocated;
        Ask *asks;
        size_t n_asks, n_asks_allocated;
        Exec *by_id;
        uint32_t pending_ask; /* about to be published */
        View views[DISPATCHERS_MAX][NODES_MAX];
        uint64_t n_published;
        uint64_t n_verbs_answered;
};

/* How late a process may be with what it should do at once: loop turns and timers. */
#define PROMPT_USEC (20 * USEC_PER_MSEC)

Exec *record_find(const Oracle *oracle, Slice exec_id);
Reach *record_reach(Exec *exec, const Node *dispatcher);
Relay *record_relay(Exec *exec, const Node *dispatcher, uint64_t attempt);
const char *record_id(const Oracle *oracle, uint32_t exec, char *buffer, size_t size);
Node *record_runtime(const Sim *sim, Slice runtime_id, uint64_t epoch);
void record_close(Oracle *oracle, Relay *relay); /* it holds no slot any more */

/* Could this dispatcher, by what it was told, give the execution to this runtime now? */
bool view_could_take(const Oracle *oracle, const Node *dispatcher, const Node *runtime, const Exec *exec);

/* oracle_liveness.c: promises 3 and 4 */

void liveness_on_delivery(Oracle *oracle, Node *dispatcher, const Message *message);
void liveness_on_probe(Oracle *oracle, Node *dispatcher, const Message *message);
void liveness_on_verdict(Oracle *oracle, Node *dispatcher, const Message *message);
void liveness_on_relay(Oracle *oracle, Node *dispatcher, const Exec *exec, const Message *message);
void liveness_on_lost(Oracle *oracle, const Message *message, const Node *to);
void liveness_after_turn(Oracle *oracle, Node *dispatcher);

/* oracle_triggers.c: promises 2, 4, 5, 9 and what `retry` allows */

void triggers_on_reach(Oracle *oracle, Node *dispatcher, const Message *message);
void triggers_on_relay(Oracle *oracle, Node *dispatcher, const Message *message);
void triggers_on_unheard(Oracle *oracle, Node *dispatcher, Message *cause);
void triggers_on_report(Oracle *oracle, Node *dispatcher, const Message *message);
void triggers_on_report_published(Oracle *oracle, const Node *runtime, const Message *message);
void triggers_on_relay_delivered(Oracle *oracle, const Node *runtime, const Message *message);
void triggers_on_relay_lost(Oracle *oracle, const Message *message);
void triggers_on_report_lost(Oracle *oracle, const Message *message);
void triggers_on_result(Oracle *oracle, Node *from, const Message *message);
void triggers_on_answer(Oracle *oracle, Node *caller, const Message *message);
