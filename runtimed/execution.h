/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Execution: one accepted trigger, from acceptance until it is answered (and, if that comes later, its worker lets go
 * of it); Executions: the table of them.
 *
 * The Mail inside belongs to the worker while phase is OUT; all else belongs to the loop thread. The table owns every
 * execution and recycles them, with their memory, through a bounded list.
 */

#include <uthash.h>

#include "common/deadline.h"
#include "common/instant.h"
#include "common/trace.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/message.h"
#include "proto/trigger.h"
#include "runtimed/run.h"

#define ASKERS_MAX 8 /* who may ask for one execution: dispatchers and callers that asked again */

typedef struct Asker Asker;
typedef struct Held Held;
typedef struct Reporter Reporter;

/* Whose moment has come, in the core's one queue of deadlines. */
typedef enum DeadlineKind {
        DEADLINE_EXECUTION,  /* an Execution: expires_usec or wake_usec, whichever is first */
        DEADLINE_WATCH,      /* a Run: what is its worker at? */
        DEADLINE_RESTART,    /* a Supervision */
        DEADLINE_CHECKPOINT, /* a Durable */
        DEADLINE_RESUME,     /* a Deferred: an application message that is due again */
        DEADLINE_TIMER,      /* a Timer of a behaviour */
        DEADLINE_ASK,        /* an Ask: no answer came */
} DeadlineKind;

typedef enum ExecutionPhase {
        PHASE_NONE,
        PHASE_QUEUED,    /* in its agent's mailbox */
        PHASE_OUT,       /* with a worker or a child process, or about to be */
        PHASE_SETTLING,  /* its outcome is here and being read */
        PHASE_DEFERRED,  /* the behaviour wants it back at wake_usec */
        PHASE_PENDING,   /* the behaviour ends it later, by a word of its own */
        PHASE_HELD,      /* done, and the reply waits: for the link, for a dispatcher's word that we are alive, or until
                            the agent's state is durable */
        PHASE_ABANDONED, /* answered or withheld; only its worker's return is awaited */
        _PHASE_MAX,
} ExecutionPhase;

/* Somebody who wants to hear of an execution. */
struct Asker {
        Asker *next;
        Asker *next_pending, *previous_pending; /* in the reporter's list of news */
        Execution *execution;
        Reporter *reporter; /* NULL: asked without a dispatcher */
        Slice reply_to;     /* absent: nowhere */
        uint64_t attempt;
        uint64_t ask; /* of its relay, repeated in reports */
        bool is_pending;
};

struct Execution {
        Mail mail;                  /* first of all: the worker's part */
        Outcome outcome;            /* the mail's own */
        UT_hash_handle hh;          /* by id; not when abandoned */
        Execution *next, *previous; /* all of them, oldest first */
        Execution *next_out;        /* in the order of its run */
        uint64_t out_index;

        Id id;
        uint64_t message_id;
        uint32_t n_invoked; /* calls of capabilities that its behaviour has made for it so far */
        ExecutionPhase phase;
        bool is_started; /* observers were told */
        uint64_t epoch;
        uint64_t accepted_usec, expires_usec, wake_usec, started_usec, finished_usec;
        Deadline deadline;
        Held *held;  /* PHASE_HELD: its place among those that wait for their agent's state; NULL: none */
        Asker asker; /* the first one; more are linked behind it */

        Slice workflow_id, workflow_exec_id, correlation_id, input;
        uint64_t attempt;
        Envelope envelope; /* what its agent's own messages inherit */
        Slice headers;     /* traceparent, tracestate */
        TraceSpan span;    /* that the headers and the envelope name */
        char *storage;
        size_t storage_size, n_stored;
};

typedef struct Executions {
        Execution *by_id;
        Execution *first, *last;
        Execution *recycled;
        size_t n, n_recycled;
        size_t n_bytes;
} Executions;

void executions_done(Executions *executions);

/*
 * A copy of what the trigger says, for `agent`, not yet in any mailbox. `trigger` needs agent_exec_id; deadline and
 * asker are the caller's to set. NULL when memory is out.
 */
Execution *executions_add(
        Executions *executions, Agent *agent, const Trigger *trigger, Slice headers, Slice reply_to, Instant now);

/* Off the table of ids: a repeat won't find it. */
void executions_forget(Executions *executions, Execution *execution);

/* The end of it; its deadline is disarmed and its askers are off their reporters already. */
void executions_remove(Executions *executions, Execution *execution);

Execution *executions_find(const Executions *executions, Slice exec_id);

/* One more asker. NULL: too many, or memory is out. */
Asker *execution_add_asker(Execution *execution, Slice reply_to, uint64_t attempt);

/* Was it asked for by a dispatcher (and not by hand)? */
static inline bool execution_is_relayed(const Execution *execution) {
        return execution->asker.reporter;
}

static inline Execution *execution_of_mail(Mail *mail) {
        return CONTAINER_OF(mail, Execution, mail);
}
