/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Dispatcher: the deciding core of compozy-dispatcherd. Registry, liveness, placement, dispatch and the verbs,
 * joined by one table of handlers.
 *
 * Takes messages, link changes and the time; answers by writing into its Outbox. Does no I/O, reads no clock, holds no
 * thread: tests/sim/ drives the same object in virtual time. Owner thread only.
 */

#include "common/instant.h"
#include "common/nats_link.h"
#include "common/outbox.h"
#include "common/page.h"
#include "common/trace.h"
#include "proto/cc.h"

typedef struct Dispatcher Dispatcher;

typedef enum EventsWanted {
        EVENTS_ALL, /* started, completed, failed, dispatch_failed, dead_lettered */
        EVENTS_VERBOSE,
        EVENTS_OUTCOMES,
        EVENTS_NONE,
} EventsWanted;

typedef struct DispatcherOptions {
        const char *id;             /* an id; borrowed for the dispatcher's life, as all texts here */
        const char *subject_prefix; /* "compozy" */
        const char *inbox_prefix;   /* "_INBOX.…": the dispatcher subscribes to everything below it */
        const char *hostname, *version;
        const char *http_address; /* as `status` and service discovery tell it; NULL: none */
        uint64_t pid;
        uint64_t random_seed;
        Tracer *tracer; /* borrowed; NULL: no spans are recorded, and traceparents pass as they are */

        uint64_t queue_limit;       /* triggers waiting for a slot */
        uint64_t queue_bytes_limit; /* their bytes and those of what is in flight */
        uint64_t max_message_bytes;
        uint64_t max_runtimes;
        uint64_t max_agents; /* of all runtimes together */

        double suspect_after, dead_after; /* in heartbeat intervals */
        uint64_t probe_timeout_usec;
        uint64_t reconnect_grace_usec;      /* how long runtimes may take to be back after NATS was away */
        uint64_t heartbeats_per_second_max; /* asked of the whole fleet */

        uint64_t default_deadline_ms;
        uint64_t max_attempts;
        uint64_t check_usec;       /* a relay that nobody reported on for so long is sent again */
        uint64_t rehost_wait_usec; /* how long a trigger waits for an agent whose last runtime has just gone */
        uint64_t settle_usec;      /* after the roll call, until absence means something */
        unsigned events;           /* EventsWanted */
        bool jetstream;            /* keep COMPOZY_EVENTS and compozy_runtimes when the server can */
        uint64_t events_max_age_usec;
        uint64_t history_max; /* finished executions that `explain` remembers */
} DispatcherOptions;

/* `outbox` is borrowed for the dispatcher's life. */
int dispatcher_new(const DispatcherOptions *options, Outbox *outbox, Instant now, Dispatcher **ret) _must_check_;
Dispatcher *dispatcher_free(Dispatcher *dispatcher);

DEFINE_CLEANUP(Dispatcher *, dispatcher_free);

/* The subscriptions its edge must hold; borrowed for the dispatcher's life. */
const NatsLinkSubscription *dispatcher_subscriptions(const Dispatcher *dispatcher, size_t *ret_n);

/* what happened */

void dispatcher_on_link_up(Dispatcher *dispatcher, uint64_t max_payload, Instant now);
void dispatcher_on_link_down(Dispatcher *dispatcher, Instant now);
void dispatcher_on_message(Dispatcher *dispatcher, const InMessage *message, Instant now);

/* After a batch of messages, and after on_time: places what waits. */
void dispatcher_on_turn_end(Dispatcher *dispatcher, Instant now);

/*
 * Requests of verbs so far. Where it grew by a message, the edge says how long that took: the core has no clock, and
 * service discovery tells it.
 */
uint64_t dispatcher_n_verbs(const Dispatcher *dispatcher);
void dispatcher_note_verbs(Dispatcher *dispatcher, uint64_t usec);

/* When to call dispatcher_on_time(); USEC_NEVER: not before something else happens. */
uint64_t dispatcher_next_deadline(const Dispatcher *dispatcher);
void dispatcher_on_time(Dispatcher *dispatcher, Instant now);

/* Takes no new triggers from its queue group's edge (which must unsubscribe) and answers what still waits at
 * `deadline_usec`. */
void dispatcher_drain(Dispatcher *dispatcher, uint64_t deadline_usec, Instant now);
bool dispatcher_is_drained(const Dispatcher *dispatcher);

/* A reload: what may change at run time (limits, liveness windows, events). Texts and ids keep their old values. */
void dispatcher_set_options(Dispatcher *dispatcher, const DispatcherOptions *options);

/* what it knows */

bool dispatcher_is_settled(const Dispatcher *dispatcher); /* the roll call's answers are in */
size_t dispatcher_n_runtimes(const Dispatcher *dispatcher);
size_t dispatcher_n_runtimes_live(const Dispatcher *dispatcher);
size_t dispatcher_n_agents(const Dispatcher *dispatcher);
size_t dispatcher_n_waiting(const Dispatcher *dispatcher);
size_t dispatcher_n_in_flight(const Dispatcher *dispatcher);
void dispatcher_metrics(const Dispatcher *dispatcher, Buffer *buffer);

/* Begins its status page; `head` says what only the edge knows (is_ready, reason, url), and page_end() ends it. */
void dispatcher_page(const Dispatcher *dispatcher, PageHead head, Buffer *html, Instant now);

/*
 * For the simulator and tests: checks every internal invariant that can be seen at rest (counts match lists, nothing
 * beyond its limit, whatever has not ended has a deadline). Returns NULL, or a sentence that says which one is broken.
 */
const char *dispatcher_check(const Dispatcher *dispatcher, Instant now);

/* The state of a runtime ("live", "suspect", …) in this dispatcher's registry; NULL when it is not there. */
const char *dispatcher_runtime_state(const Dispatcher *dispatcher, const char *runtime_id, uint64_t *ret_epoch);
