/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Runtime: the deciding core of compozy-runtimed. Registration and heartbeats, agents with their mailboxes,
 * executions and their memory, reports, the control API, joined by one table of handlers.
 *
 * Takes messages, outcomes of behaviours, link changes and the time; answers by writing into its Outbox and by handing
 * out Runs (what a worker is to do next). Does no I/O, reads no clock, holds no thread: tests/sim/ drives the same
 * object in virtual time with virtual workers. Loop thread only; a Run that was handed out belongs to its worker until
 * it comes back.
 */

#include "common/instant.h"
#include "common/nats_link.h"
#include "common/outbox.h"
#include "common/page.h"
#include "common/trace.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/wire_error.h"
#include "runtimed/run.h"
#include "runtimed/store.h"

typedef struct Runtime Runtime;

typedef struct RuntimeOptions {
        const char *id; /* an id; borrowed for the runtime's life, as all texts here */
        const char *subject_prefix;
        const char *inbox_prefix; /* "_INBOX.…": the runtime subscribes to everything below it */
        const char *hostname, *ip_address, *version;
        const char *labels; /* "name=value,..." */
        uint64_t pid;
        uint64_t epoch; /* of this start: larger than any before, so the edge takes the wall clock in ms */
        uint64_t random_seed;
        Tracer *tracer; /* borrowed; NULL: no spans are recorded, and traceparents pass as they are */

        uint64_t heartbeat_interval_ms;
        uint64_t max_in_flight;
        uint64_t max_agents;
        uint64_t max_message_bytes;
        uint64_t max_result_bytes;
        uint64_t memory_executions, memory_bytes; /* finished executions whose answers are remembered */
        uint64_t report_delay_usec;               /* reports are gathered for at most so long */
        unsigned events;     /* as EventsWanted in the dispatcher: 0 all, 1 verbose, 2 outcomes, 3 none */
        Outbox *late_outbox; /* borrowed: execution events go here, to be written after the answers; NULL: in the same
                              */
        bool allow_forbidden_topics; /* results and agents' messages may go below the prefix */
        const char
                *reply_subjects; /* "a.>,b": besides inboxes, all that answers may go to; "": anywhere not reserved */
        uint64_t max_mail_bytes; /* held by application messages, in all mailboxes together; 0: no limit */
        uint64_t max_subscriptions, max_subscriptions_per_agent; /* reply topics apart */
        uint64_t max_asks, max_asks_per_agent;                   /* that wait for an answer */
        uint64_t max_timers_per_agent;
        uint64_t realtime_max_age_usec; /* a message of a realtime subscription that waited longer is dropped */
        bool has_store;                 /* requests for it are carried out */
        uint64_t metrics_agents_max;    /* agents with metrics of their own */

        uint64_t max_in_flight_bytes;     /* held by executions that are not answered; 0: no limit */
        const char *http_address;         /* for control.status; NULL: none */
        const Behavior *const *behaviors; /* NULL-terminated; NULL: the built-in ones */
} RuntimeOptions;

/* `outbox` is borrowed for the runtime's life. */
int runtime_new(const RuntimeOptions *options, Outbox *outbox, Instant now, Runtime **ret) _must_check_;
Runtime *runtime_free(Runtime *runtime);

DEFINE_CLEANUP(Runtime *, runtime_free);

/* The subscriptions its edge must hold; borrowed for the runtime's life. */
const NatsLinkSubscription *runtime_subscriptions(const Runtime *runtime, size_t *ret_n);

enum {
        RUNTIME_E_OK,

        RUNTIME_E_REFUSED, /* `ret_code` and `ret_error` say why */
};

/*
 * Creates and starts an agent from the text of its definition (docs/design.md). The error names field, value and limit.
 * One whose init fails leaves nothing behind. Returns 0, RUNTIME_E_REFUSED, -ENOMEM.
 */
int runtime_create_agent(Runtime *runtime, Slice definition, Instant now, ErrorCode *ret_code, WireError *ret_error);

/* A new definition for an agent that exists: takes effect when what its behaviour has begun is done; the mailbox stays.
 */
int runtime_change_agent(Runtime *runtime, Slice definition, Instant now, ErrorCode *ret_code, WireError *ret_error);

/* Takes no more work for it, works off what it holds, then forgets it; what the store has of it stays.
 * RUNTIME_E_REFUSED: there is no such agent. */
int runtime_delete_agent(Runtime *runtime, Slice agent_id, Instant now);

/* what happened */

void runtime_on_link_up(Runtime *runtime, uint64_t max_payload, Instant now);
void runtime_on_link_down(Runtime *runtime, Instant now);
/* The server's permissions forbid it; unknown ones are ignored. `queue` absent: none. */
void runtime_on_subscription_refused(Runtime *runtime, Slice topic, Slice queue);
void runtime_on_message(Runtime *runtime, const InMessage *message, Instant now);
void runtime_on_outcome(Runtime *runtime, Outcome *outcome, Instant now); /* takes it */
void runtime_on_turn_end(Runtime *runtime, Instant now);                  /* after a batch: reports that are due */

/*
 * Requests of the control API so far. Where it grew by a message, the edge says how long that took: the core has no
 * clock, and service discovery tells it.
 */
uint64_t runtime_n_requests(const Runtime *runtime);
void runtime_note_requests(Runtime *runtime, uint64_t usec);

/*
 * The connection takes less than we say: no new work is taken and answers wait, as without a connection. The edge says
 * so well before publishing is refused.
 */
void runtime_set_congested(Runtime *runtime, bool is_congested, Instant now);

/* When to call runtime_on_time(); USEC_NEVER: not before something else happens. */
uint64_t runtime_next_deadline(const Runtime *runtime);
void runtime_on_time(Runtime *runtime, Instant now);

/* What the workers are to do next, in the order of handing over; NULL: nothing. The receiver owes its outcomes. */
Run *runtime_take_run(Runtime *runtime);

/* What the host of remote behaviours is to do next, likewise; each call's outcome comes back alone, without a run. */
Mail *runtime_take_call(Runtime *runtime);

/* What it wants of its agent, outside of an outcome; `message_id`: while handling that one, 0: none. The list is
 * borrowed. */
void runtime_on_effects(Runtime *runtime, Agent *agent, uint64_t message_id, const EffectList *effects, Instant now);

/* A remote behaviour is gone; the outcomes of all calls it had were handed over before. */
void runtime_on_crash(Runtime *runtime, Agent *agent, const char *why, Instant now);

/* What the store is to do, linked through `next`, in order; NULL: nothing. Each comes back to runtime_on_stored(). */
StoreRequest *runtime_take_store_requests(Runtime *runtime);
void runtime_on_stored(Runtime *runtime, StoreRequest *request, Instant now); /* takes it */

/*
 * SIGTERM: takes no new work, finishes what it holds until `deadline_usec`, then hands back or answers the rest, and
 * deregisters. runtime_is_stopped() once all of that is in the outbox.
 */
void runtime_stop(Runtime *runtime, uint64_t deadline_usec, Instant now);
bool runtime_is_stopped(const Runtime *runtime);

/* Another process took over this id: the edge logs it, has stopped it, and leaves with an error. */
bool runtime_was_replaced(const Runtime *runtime);

/* what it knows */

bool runtime_is_registered(const Runtime *runtime); /* a dispatcher took the current registration */
bool runtime_has_heard(const Runtime *runtime);     /* ... or NATS said that there is no dispatcher to take it */
uint64_t runtime_epoch(const Runtime *runtime);
size_t runtime_n_agents(const Runtime *runtime);
size_t runtime_n_starting(const Runtime *runtime); /* of them, whose init is awaited; counted one by one */
size_t runtime_n_in_flight(const Runtime *runtime);

/* What a stop at its deadline could not finish: given back to dispatchers, and answered as cut short. */
void runtime_stop_counts(const Runtime *runtime, size_t *ret_handed_back, size_t *ret_cut_short);

/* A reload: limits, intervals and events may change; texts, ids and the memory's size keep their old values. */
void runtime_set_options(Runtime *runtime, const RuntimeOptions *options);
void runtime_metrics(const Runtime *runtime, Buffer *buffer);

/* Begins its status page; `head` says what only the edge knows (is_ready, reason, url), and page_end() ends it. `query`
 * is the URL's. */
void runtime_page(const Runtime *runtime, PageHead head, Slice query, Buffer *html, Instant now);

/* For the simulator and tests: NULL, or a sentence that says which internal invariant is broken. */
const char *runtime_check(const Runtime *runtime, Instant now);
