/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NatsLink: one connection to NATS, on the libevent loop.
 *
 * nats.c is attached to the loop through our own callbacks; subscriptions are synchronous and drained on the loop thread after
 * each read, so messages are handled in the order of the wire, on one thread, and what a turn published is written once, at its end.
 * Connects in the background and for ever, with backoff and jitter; subscriptions survive reconnects (nats.c restores them).
 *
 * Publishing never blocks. Past `pending_bytes_max` of unsent bytes the link says so (nats_link_is_congested) and
 * nats_link_publish() refuses.
 *
 * Loop thread only, but for what the .c says of nats.c's own threads.
 */

#include <event2/event.h>

#include "common/outbox.h"
#include "proto/cc.h"

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
} NatsLinkSubscription;

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
        void (*on_up)(uint64_t max_payload, const char *server_version, void *userdata); /* each time it (re)connects */
        void (*on_down)(const char *why, void *userdata);
        void (*on_message)(const InMessage *message, void *userdata); /* borrowed until it returns */
        void (*on_turn_end)(void *userdata); /* after a batch of messages: publish now, the write follows */
        void (*on_error)(const char *why, void *userdata); /* asynchronous errors: permission violations, slow consumer */
        void *userdata;
} NatsLinkOptions;

/* Starts connecting; the first on_up tells when it has. Returns 0 or -errno (-EINVAL: bad url, unreadable credentials). */
int nats_link_new(struct event_base *base, const NatsLinkOptions *options, NatsLink **ret) _must_check_;
NatsLink *nats_link_free(NatsLink *link);

DEFINE_CLEANUP(NatsLink *, nats_link_free);

/* Takes effect now or with the next connect, and after each reconnect. Returns 0 or -errno. */
int nats_link_subscribe(NatsLink *link, const NatsLinkSubscription *subscription);

/* Queued; written at the end of the turn. Returns 0 or an outcome above. */
int nats_link_publish(NatsLink *link, const OutMessage *message);

/* Publishes what is in the outbox and clears it; `ret_refused` counts what was refused. */
void nats_link_publish_outbox(NatsLink *link, Outbox *outbox, uint64_t *ret_refused);

bool nats_link_is_up(const NatsLink *link);
bool nats_link_is_congested(const NatsLink *link);

/* Stops receiving, writes what is unsent (bounded by `timeout_usec`), then calls `on_closed` on the loop thread. */
void nats_link_close(NatsLink *link, uint64_t timeout_usec, void (*on_closed)(void *userdata), void *userdata);

typedef struct NatsLinkStats {
        uint64_t in_messages, in_bytes, out_messages, out_bytes, reconnects, dropped_messages, refused_messages, pending_bytes;
} NatsLinkStats;

void nats_link_stats(const NatsLink *link, NatsLinkStats *ret);
