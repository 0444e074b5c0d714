/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * JetStream: the stream COMPOZY_EVENTS and the key-value bucket compozy_runtimes, when the server has JetStream.
 *
 * Speaks the JetStream API with plain asynchronous messages (ADR-1, ADR-8 for buckets): requests go into the outbox,
 * answers come back through jetstream_on_answer(). Without JetStream it finds out once per connection and is quiet.
 * Owner thread only; no I/O, no clock.
 */

#include "common/deadline.h"
#include "common/instant.h"
#include "common/outbox.h"
#include "common/rng.h"
#include "proto/cc.h"

typedef struct JetStream JetStream;
typedef struct Registry Registry;
typedef struct Runtime Runtime;

#define JETSTREAM_EVENTS "COMPOZY_EVENTS"
#define JETSTREAM_RUNTIMES "compozy_runtimes"

typedef struct JetStreamOptions {
        bool wanted;
        Slice prefix; /* of subjects */
        Slice inbox;  /* answers come to <inbox>.j.<what> */
        uint64_t events_max_age_usec;
        Outbox *outbox; /* borrowed, as the rest */
        const Registry *registry;
        DeadlineQueue *deadlines;
        Deadline *deadline; /* armed while an answer is awaited */
        Deadline *records;  /* armed while a record is to be written that was written a moment ago */
} JetStreamOptions;

int jetstream_new(const JetStreamOptions *options, JetStream **ret) _must_check_;
JetStream *jetstream_free(JetStream *jetstream);

DEFINE_CLEANUP(JetStream *, jetstream_free);

void jetstream_on_link_up(JetStream *jetstream, uint64_t max_payload, Instant now);
void jetstream_on_link_down(JetStream *jetstream);

/* `what` is the last token of the reply subject. */
void jetstream_on_answer(JetStream *jetstream, Slice what, const InMessage *message, Instant now);
void jetstream_on_time(JetStream *jetstream, Instant now);

/* The fleet is known: records of runtimes that are not in the registry are deleted. */
void jetstream_on_settled(JetStream *jetstream, Instant now);

/* Nothing happens while the bucket is not there; when it comes, all records are written. */
void jetstream_put_runtime(JetStream *jetstream, Runtime *runtime, Instant now);
void jetstream_on_records_due(JetStream *jetstream, Instant now);
void jetstream_delete_runtime(JetStream *jetstream, Slice runtime_id, Instant now);

typedef struct JetStreamStatus {
        bool available;
        bool events_ready, runtimes_ready;
        uint64_t n_puts, n_deletes, n_errors;
} JetStreamStatus;

JetStreamStatus jetstream_status(const JetStream *jetstream);
