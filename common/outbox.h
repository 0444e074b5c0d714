/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Messages in and out of the deciding cores.
 *
 * A core writes what it wants published into an Outbox; the edge (or the simulator) takes it out at the end of the
 * turn. Order is kept, also between what is published and what is subscribed: whoever publishes after a subscription
 * is heard by it. The bytes lie in one buffer that is reused turn after turn, so publishing costs no allocation.
 *
 * A header block is text: "Name: value\r\n" for each header, no status line, no empty line at the end.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

typedef struct InMessage {
        Slice subject;
        Slice reply;   /* absent: no answer wanted */
        Slice headers; /* a header block with what passes: traceparent, tracestate, Compozy-*, Nats-Service-Error and
                          its code; absent: none */
        Slice body;
        bool no_responders; /* the server's word that nobody listens to what we published with this reply subject */
        uint64_t tag;       /* of the subscription that it came through; 0: one without */
} InMessage;

typedef enum OutKind {
        OUT_PUBLISH,
        OUT_SUBSCRIBE,   /* `subject`; `reply` is the queue group, absent: none */
        OUT_UNSUBSCRIBE, /* only `tag` */
} OutKind;

typedef struct OutMessage {
        Slice subject;
        Slice reply;
        Slice headers;
        Slice body;
        OutKind kind;
        uint64_t tag; /* of the subscription, > 0; 0 with OUT_PUBLISH */
} OutMessage;

typedef struct OutboxEntry OutboxEntry;

typedef struct Outbox {
        Buffer bytes;
        OutboxEntry *entries;
        size_t n_entries, n_allocated;
        uint64_t n_lost; /* messages that memory had no room for; subscribing says so itself */
} Outbox;

void outbox_init(Outbox *outbox);
void outbox_done(Outbox *outbox);
void outbox_clear(Outbox *outbox); /* memory beyond a megabyte is given back */

/* The whole message at once. */
void outbox_put(Outbox *outbox, const OutMessage *message);

/*
 * In steps, for encoders: begin(), write the subject into the returned buffer, then each part in this order (skip
 * those that are absent), then end(). A message whose encoder ran out of memory is dropped and counted.
 */
Buffer *outbox_begin(Outbox *outbox);
void outbox_reply(Outbox *outbox);   /* what is written from here on is the reply subject */
void outbox_headers(Outbox *outbox); /* ... the header block */
void outbox_body(Outbox *outbox);    /* ... the body */
void outbox_end(Outbox *outbox);
void outbox_abort(Outbox *outbox); /* instead of end(): forget this message */

/* A subscription from here on, and its end. The tag, > 0, tells its messages from others'. Returns 0 or -ENOMEM. */
int outbox_subscribe(Outbox *outbox, Slice subject, Slice queue, uint64_t tag);
int outbox_unsubscribe(Outbox *outbox, uint64_t tag);

/* 0 to outbox_size() - 1; borrowed until the outbox changes. */
size_t outbox_size(const Outbox *outbox);
OutMessage outbox_get(const Outbox *outbox, size_t index);

/* The value of one header in a block, absent when it is not there. Names are compared without case. */
Slice headers_get(Slice headers, Slice name);
void headers_put(Buffer *buffer, Slice name, Slice value); /* CR and LF in the value become spaces */
