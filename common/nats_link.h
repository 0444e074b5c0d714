/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NatsLink: one connection to NATS, on the libevent loop.
 *
 * nats.c is attached to the loop through our own callbacks; messages are handled on the loop thread, and what a turn
 * published is written once, at its end. Connects in the background and for ever, with backoff and jitter;
 * subscriptions survive reconnects.
 *
 * Subscriptions are of two sorts. Plain ones, a few with much traffic, are the fastest; each keeps the order of its
 * own messages. Those with a tag, `ordered` ones and those below "_INBOX." all keep one order, that of the wire; there
 * may be hundreds of thousands, and making or ending one costs the same however many there are.
 *
 * Publishing never blocks. Past `pending_bytes_max` of unsent bytes the link says so (nats_link_is_congested) and
 * nats_link_publish() refuses.
 *
 * Loop thread only, but for what the .c says of nats.c's own threads. Not to be freed from its own callbacks,
 * on_closed excepted.
 */

#include <event2/event.h>

#include "common/instant.h"
#include "common/outbox.h"
#include "proto/cc.h"

/*
 * Both daemons use it, since it is a matter between them: after the server was away, a dispatcher must give runtimes
 * the time that their next attempt may take.
 */
#define NATS_LINK_RECONNECT_MAX_USEC (2 * USEC_PER_SEC)
#define NATS_LINK_RECONNECT_GRACE_USEC \
        (NATS_LINK_RECONNECT_MAX_USEC * 3 / 2 + USEC_PER_SEC / 2) /* with jitter, and to register */

enum {
        NATS_LINK_E_OK,

        NATS_LINK_E_DOWN,      /* not connected */
        NATS_LINK_E_CONGESTED, /* too much is unsent */
        NATS_LINK_E_TOO_LARGE, /* over the server's max_payload */
};

typedef struct NatsLink NatsLink;

typedef struct NatsLinkSubscription {
        const char *subject; /* with wildcards */
        const char *queue;   /* NULL: each subscriber gets its copy */
        uint64_t tag;        /* > 0: comes back with its messages; 0: none */
        bool ordered;        /* its messages keep the order of the wire with those of tagged subscriptions */
} NatsLinkSubscription;

typedef struct NatsReason {
        char text[256]; /* a sentence for an operator, without secrets */
} NatsReason;

typedef struct NatsLinkOptions {
        const char *url; /* comma-separated for several */
        const char *name;
        const char *credentials, *nkey_seed_file;
        const char *tls_ca, *tls_cert, *tls_key; /* "" or NULL: none */
        size_t pending_bytes_max;                /* unsent */
        size_t subscription_bytes_max;           /* received, not drained */
        uint64_t reconnect_max_usec;             /* longest pause between attempts */
        uint64_t ping_interval_usec;             /* two unanswered pings: the connection is dead */

        /* loop thread */
        /* each time it (re)connects; nats.c does not tell the server's version: "" */
        void (*on_up)(uint64_t max_payload, const char *server_version, void *userdata);
        void (*on_down)(const char *why, void *userdata);
        /* borrowed until it returns; `now`: one read of the clock for all of a turn. One with a tag may come after
         * on_down: it had arrived before */
        void (*on_message)(const InMessage *message, Instant now, void *userdata);
        void (*on_turn_end)(void *userdata); /* after a batch of messages: publish now, the write follows */
        /* asynchronous errors: permission violations, slow consumer; and why it can't connect, when that changes */
        void (*on_error)(const char *why, void *userdata);
        void *userdata;

        NatsReason *ret_why; /* NULL, or where nats_link_new() says why it failed */
} NatsLinkOptions;

/*
 * Starts connecting; the first on_up tells when it has. Texts in `options` are copied. Returns 0 or -errno
 * (-EINVAL: bad url, -ENOENT, -EACCES: unreadable credentials, ...) with the reason in options->ret_why.
 */
int nats_link_new(struct event_base *base, const NatsLinkOptions *options, NatsLink **ret) _must_check_;
NatsLink *nats_link_free(NatsLink *link);

DEFINE_CLEANUP(NatsLink *, nats_link_free);

/*
 * Takes effect now or with the next connect, and after each reconnect: always before on_up. Returns 0 or -errno
 * (-EEXIST: a subscription has that tag; -EINVAL: a subject or queue that can't be subscribed to).
 *
 * A subject below "_INBOX." is where answers come: it also gets the server's "no responders" (its messages take the
 * way over a thread of nats.c; see the .c). On other subjects that word would be lost.
 */
int nats_link_subscribe(NatsLink *link, const NatsLinkSubscription *subscription);

/* No new messages for it; those that the server had sent already still come. Unknown subjects are ignored. */
void nats_link_unsubscribe(NatsLink *link, const char *subject);

/*
 * No message comes with that tag from now on, also none that was on its way; the tag may be given to another
 * subscription at once. Unknown tags are ignored.
 */
void nats_link_unsubscribe_tag(NatsLink *link, uint64_t tag);

/* Queued; written at the end of the turn. Returns 0, an outcome above, -EINVAL (a subject that can't travel), -ENOMEM.
 */
int nats_link_publish(NatsLink *link, const OutMessage *message);

/*
 * Publishes, subscribes and unsubscribes what is in the outbox, in that order, and clears it; the server sees it in
 * that order. `ret_refused` counts what was refused; a subscription that was is also told by on_error.
 */
void nats_link_publish_outbox(NatsLink *link, Outbox *outbox, uint64_t *ret_refused);

/* Writes what was published so far now, instead of at the end of the turn: what comes after it will not hold it up. */
void nats_link_flush(NatsLink *link);

bool nats_link_is_up(const NatsLink *link);
bool nats_link_is_congested(const NatsLink *link);
size_t nats_link_n_unsent(const NatsLink *link); /* bytes, an estimate between two writes */

/* Stops receiving, writes what is unsent (bounded by `timeout_usec`), then calls `on_closed` on the loop thread. */
void nats_link_close(NatsLink *link, uint64_t timeout_usec, void (*on_closed)(void *userdata), void *userdata);

typedef struct NatsLinkStats {
        uint64_t in_messages, in_bytes, out_messages, out_bytes, reconnects, dropped_messages, refused_messages,
                pending_bytes, pending_bytes_max;
} NatsLinkStats;

void nats_link_stats(const NatsLink *link, NatsLinkStats *ret);

/* Appends an address (or several, with commas) as it may be shown: what stands before an @ becomes ***. */
void nats_url_redact(Slice urls, Buffer *buffer);
