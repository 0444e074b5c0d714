/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Execution: one trigger from the moment a dispatcher took it until it is forgotten; ExecutionTable: all of them, by
 * agent_exec_id, with the queue of those that wait for a slot and the history of those that ended.
 *
 * The table owns every Execution. Owner thread only; no I/O, no clock. The struct is open for the files of the core.
 */

#include <bsd/sys/tree.h>
#include <sys/queue.h>
#include <uthash.h> /* of demands */

#include "common/deadline.h"
#include "common/instant.h"
#include "common/trace.h"
#include "dispatcherd/registry.h"
#include "proto/trigger.h"

/* What happened to one attempt. */
#define ATTEMPT_ENDS(X)                                            \
        X(RUNNING, "not ended")                                    \
        X(ANSWERED, "the runtime answered the caller")             \
        X(UNHEARD, "nobody listened")                              \
        X(REFUSED, "the runtime refused it")                       \
        X(LOST, "the runtime was declared dead, replaced or left") \
        X(EXPIRED, "the deadline passed")

typedef enum AttemptEnd {
#define X(name, meaning) ATTEMPT_##name,
        ATTEMPT_ENDS(X) _ATTEMPT_END_MAX,
#undef X
} AttemptEnd;

const char *attempt_end_meaning(AttemptEnd end);

/* More attempts than this are made, but only the last of them are remembered. */
#define ATTEMPTS_KEPT 4

typedef struct Attempt {
        Id runtime_id;
        Id runner_up; /* size 0: there was no choice */
        uint64_t epoch;
        uint64_t number;
        uint64_t sent_usec, ended_usec;
        AttemptEnd end;
        ErrorCode code;
        bool started;
} Attempt;

typedef enum ExecutionPhase {
        PHASE_WAITING,   /* in its demand's queue */
        PHASE_IN_FLIGHT, /* relayed to `runtime` */
        PHASE_ENDED,     /* in the history */
} ExecutionPhase;

typedef struct Demand Demand;

#define FOLLOWERS_MAX 4 /* further callers that asked for the same execution */
_Static_assert(FOLLOWERS_MAX <= ASK_MAX, "each follower has a number of its own in relays and reports");

/* What a trigger brought along, and what else is needed only until its execution ends. Made from a message, then owned
 * by the Execution. */
typedef struct Parcel {
        struct Parcel *next;        /* among the spare ones */
        Slice body, reply, headers; /* of the message; copies */
        Slice reply_to;             /* where the answer goes; absent: nowhere */
        Arena arena;
        Trigger trigger;                /* into this parcel and its execution */
        const Labels *labels;           /* in the arena; NULL: none */
        Slice followers[FOLLOWERS_MAX]; /* further reply addresses, each owned */
        TraceSpan span;                 /* of the execution; the headers name it */
        size_t size;
        size_t capacity;
        char bytes[];
} Parcel;

struct Execution {
        ExecutionPhase phase;
        bool started;   /* reported by the runtime of the current attempt */
        bool heard;     /* any report for the current attempt */
        Parcel *parcel; /* NULL once ended */

        Runtime *runtime; /* while in flight */
        LIST_ENTRY(Execution) in_runtime;
        uint64_t attempt;         /* the number of the last one; 0: none yet */
        uint64_t n_tries;         /* relays that somebody may have received */
        uint32_t n_sent, unheard; /* messages sent for the current attempt; which of the first 32 of them nobody
                                     listened to, a bit each */
        uint32_t n_followers;
        uint32_t answered; /* bit 0: reply_to, bit 1 + i: followers[i]; the runtime reported that it answered them */
        uint32_t ask_base; /* the number of reply_to in relays and reports; goes on counting when the execution is asked
                              for again */
        RetryPolicy retry;
        uint64_t priority;

        uint64_t received_usec, deadline_usec;
        uint64_t give_up_usec; /* while nobody can take it; USEC_NEVER: waits for a slot until its deadline */
        uint64_t order;        /* place in the queue: see execution_order() */
        uint64_t sequence;
        uint64_t sent_usec, check_usec, check_pause_usec;
        Deadline deadline;
        unsigned status; /* ResultStatus, when ended */
        ErrorCode code;
        uint64_t ended_usec;

        Demand *demand;
        RB_ENTRY(Execution) in_demand;
        TAILQ_ENTRY(Execution) in_history; /* or among the spare ones */

        /* From here on nothing is cleared when the memory is used again: ids are always set, and only the attempts that
         * `attempt` counts are valid. */
        Id exec_id, agent_id, workflow_id;
        Attempt attempts[ATTEMPTS_KEPT]; /* number n is at n % ATTEMPTS_KEPT */
};

RB_HEAD(WaitingTree, Execution);

/* Executions that the same runtimes could take: same agent, same labels. */
struct Demand {
        char *key;
        Id agent_id;
        struct WaitingTree waiting;
        size_t n_waiting;
        uint64_t order, sequence; /* of its first; where it stands among the demands */
        uint64_t unfit_usec;      /* dispatch's: since when nobody could take any of it; USEC_NEVER: somebody can */
        RB_ENTRY(Demand) in_table;
        UT_hash_handle hh;
};

typedef struct ExecutionTable ExecutionTable;

int execution_table_new(DeadlineQueue *deadlines, int deadline_kind, uint64_t history_max, uint64_t seed,
        ExecutionTable **ret) _must_check_;
ExecutionTable *execution_table_free(ExecutionTable *table);

DEFINE_CLEANUP(ExecutionTable *, execution_table_free);

/* With copies of body, reply and headers; the trigger is for the caller to decode. NULL when memory is out. */
Parcel *parcel_new(ExecutionTable *table, Slice body, Slice reply, Slice headers) _must_check_;
Parcel *parcel_free(ExecutionTable *table, Parcel *parcel);

/* In phase WAITING, in no queue yet. -ENOMEM. The id must not be in the table. */
int execution_add(ExecutionTable *table, Slice exec_id, Execution **ret);

/* Takes it out and frees it, whatever its phase; it must be in no queue and no runtime. */
void execution_drop(ExecutionTable *table, Execution *execution);

/* NULL when it is not known (any more). */
Execution *execution_find(const ExecutionTable *table, Slice exec_id);

/* Takes the parcel. */
void execution_own(ExecutionTable *table, Execution *execution, Parcel *parcel);

/* Waits in the queue of its demand. -ENOMEM. */
int execution_wait(ExecutionTable *table, Execution *execution);
void execution_unwait(ExecutionTable *table, Execution *execution);

/*
 * The place in the queue: the time of arrival, pushed back by what is missing to the highest priority. So a low
 * priority is slowed, and overtakes nobody, but is never starved: after PRIORITY_STEP_USEC times the difference it goes
 * before newcomers.
 */
#define PRIORITY_STEP_USEC (50 * USEC_PER_MSEC)
uint64_t execution_order(uint64_t received_usec, uint64_t priority);

/* Demands in the order of their first executions; NULL: none. The queue changes as executions leave: use demand_after()
 * with what the demand's place was. */
Demand *demand_first(const ExecutionTable *table);
Demand *demand_after(const ExecutionTable *table, uint64_t order, uint64_t sequence);
Execution *demand_head(const Demand *demand);

/* With its runtime: in flight there. */
void execution_attach(ExecutionTable *table, Execution *execution, Runtime *runtime);
void execution_detach(ExecutionTable *table, Execution *execution);

/* Frees what it holds and moves it to the history; the oldest there is forgotten. */
void execution_end(ExecutionTable *table, Execution *execution, unsigned status, ErrorCode code, uint64_t now);

/* Back from the history: the id was triggered again. */
void execution_revive(ExecutionTable *table, Execution *execution);

int execution_follow(Execution *execution, Slice reply_to); /* 0, -ENOMEM, -ENOSPC past FOLLOWERS_MAX */

static inline Attempt *execution_attempt(Execution *execution) {
        return &execution->attempts[execution->attempt % ATTEMPTS_KEPT];
}

size_t execution_table_n_waiting(const ExecutionTable *table);
size_t execution_table_n_in_flight(const ExecutionTable *table);
uint64_t execution_table_bytes(const ExecutionTable *table); /* of all that has not ended */

/* Visits those that have not ended, in no particular order; the visitor may not change the table. */
void execution_table_visit(
        const ExecutionTable *table, void (*visitor)(const Execution *execution, void *userdata), void *userdata);

const char *execution_table_check(const ExecutionTable *table);
