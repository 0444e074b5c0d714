/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Envelope: what travels in the headers of an application message: docs/protocol.md, "Application messages".
 *
 * Pure. Slices are borrowed from the block that was read.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/wire_error.h"

#define ENVELOPE_TTL_DEFAULT 16
#define ENVELOPE_TTL_MAX 255
#define ENVELOPE_HOP_MAX 65535       /* of a message as it arrives; a chain of ours ends at ENVELOPE_TTL_MAX */
#define ENVELOPE_TEXT_MAX 256        /* of a thread id, a correlation id, a sender */
#define ENVELOPE_TIMESTAMP_MAX 64    /* RFC 3339 needs half of that */
#define ENVELOPE_TRACEPARENT_MAX 256 /* version 00 has 55; later ones may have more */
#define ENVELOPE_TRACESTATE_MAX 2048 /* W3C asks to pass on at least 512 */
#define ENVELOPE_OVERRIDES_MAX 64    /* headers that one message is given by its sender */
#define ENVELOPE_OVERRIDES_BYTES_MAX 16384

typedef struct Envelope {
        Slice thread_id;
        Slice correlation_id; /* default: the thread's */
        Slice sender;         /* "agent.<id>", or whatever the publisher says of himself */
        Slice reply_to;       /* where an answer is wanted; absent: nowhere */
        bool is_request;      /* the reply subject is NATS's own, or Compozy-Reply-To was given: an answer is awaited */
        uint64_t ttl, hop;
        Slice timestamp;
        Slice traceparent, tracestate;
} Envelope;

enum {
        ENVELOPE_E_OK,

        ENVELOPE_E_EXPIRED = WIRE_E_INVALID + 1, /* its ttl is used up: not to be handled */
};

/*
 * Reads what was received: hop is one more and ttl one less than in the headers. `nats_reply`: the NATS reply subject,
 * absent when there was none. The default reply_to, "thread.<thread_id>.reply", is written into `scratch` (which is
 * cleared), from which reply_to is then borrowed; there is none when that thread id makes no subject. A traceparent out
 * of its limits is left out, as W3C asks, and what is out of them in tracestate as well. Returns 0, WIRE_E_INVALID (a
 * header out of its grammar or limits, named), ENVELOPE_E_EXPIRED, -ENOMEM.
 */
int envelope_read(Slice headers, Slice nats_reply, Buffer *scratch, Envelope *ret, WireError *ret_error);

/* What a message carries that starts a conversation. */
void envelope_init(Envelope *ret);

/*
 * Appends the header block of a message that `sender` ("agent.<id>") emits while it handles one with `inherited`:
 * thread, correlation, ttl, hop and trace as there; `overrides` (a header block) wins, for Compozy-Thread-Id,
 * -Correlation-Id, -Reply-To, traceparent and tracestate, and may lower the ttl but not raise it, and may add headers
 * of other names (not Compozy-Sender, -Hop, -Timestamp, nor Nats-*). Whatever the bytes in it are, each header that
 * comes out is one that was checked. Returns 0 or WIRE_E_INVALID, then without having written.
 */
int envelope_write(Buffer *buffer, const Envelope *inherited, Slice sender, Slice overrides, uint64_t real_usec,
        WireError *ret_error);

/* A copy whose texts lie in `storage`, of envelope_text_size() bytes. */
size_t envelope_text_size(const Envelope *envelope);
void envelope_copy(const Envelope *envelope, char *storage, Envelope *ret);
