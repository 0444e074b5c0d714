/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Letter: an application message as it was received, once, however many agents get it; Delivery: one agent's copy on
 * its way through that agent's mailbox. Letters: the pools of both.
 *
 * Loop thread only, but for reading a letter's content while its delivery is with a worker. A letter lives until its
 * last delivery is freed.
 */

#include "common/trace.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "runtimed/envelope.h"
#include "runtimed/run.h"

typedef struct Deferred Deferred;
typedef struct Letter Letter;
typedef struct Delivery Delivery;

struct Letter {
        Letter *next; /* in the pool */
        uint32_t n_refs;
        uint32_t size_class;
        size_t n_stored; /* bytes */
        Slice topic;     /* the subject it was published on; absent for timers and answers */
        Slice payload;   /* any bytes */
        Envelope envelope;
        char storage[];
};

/* Of a delivery that is a span: what its behaviour is told instead of the letter's envelope. */
typedef struct DeliveryTrace {
        TraceSpan span;
        Envelope envelope; /* the letter's, but for the traceparent */
        uint64_t began_usec;
        ErrorCode code; /* why it was not handled */
        char traceparent[TRACEPARENT_SIZE];
} DeliveryTrace;

struct Delivery {
        Mail mail;            /* first of all: the worker's part */
        Letter *letter;       /* NULL: a timer */
        DeliveryTrace *trace; /* NULL: none */
        bool is_aside;        /* the core's: its behaviour wants it later */
        uint32_t n_invoked;   /* calls of capabilities that its behaviour has made for it so far */
        uint64_t id;          /* of the message, for a behaviour that answers later */
        uint64_t token;       /* TIMER, ANSWER: the behaviour's own name for it */
        ErrorCode code;       /* ANSWER: why there is none; then the payload is the sentence that says so */

        /* while it is aside */
        Delivery *next_aside, *previous_aside;
        Deferred *deferred; /* when it is due; NULL: its behaviour has left it pending */
};

#define LETTER_CLASSES 3 /* what is larger than the largest is not kept */

typedef struct Letters {
        Letter *free_letters[LETTER_CLASSES];
        Mail *free_deliveries;
        size_t n_free_letters[LETTER_CLASSES], n_free_deliveries;
        size_t n_letters, n_deliveries; /* in use */
        size_t n_bytes;                 /* of the letters in use */
} Letters;

/* Frees the pools; all letters and deliveries are back in them. */
void letters_done(Letters *letters);

/* Has what a behaviour is told of it fetched into this processor's cache. */
static inline void letter_prefetch(const Letter *letter) {
        if (!letter)
                return;
        __builtin_prefetch(letter);
        __builtin_prefetch(letter->storage); /* the payload comes first */
}

/* A copy of all that is given, with one reference. NULL: memory is out. */
Letter *letter_new(Letters *letters, Slice topic, Slice payload, const Envelope *envelope);
void letter_unref(Letters *letters, Letter *letter);

/*
 * One for `agent`, with a reference to the letter, in the lane of its kind (a topic: batched), never late. NULL: memory
 * is out.
 */
Delivery *delivery_new(Letters *letters, Agent *agent, MailKind kind, Letter *letter);
void delivery_free(Letters *letters, Delivery *delivery);

/* What its behaviour is told and what it emits inherits; there must be a letter. */
static inline const Envelope *delivery_envelope(const Delivery *delivery) {
        return delivery->trace ? &delivery->trace->envelope : &delivery->letter->envelope;
}

static inline Delivery *delivery_of_mail(Mail *mail) {
        return CONTAINER_OF(mail, Delivery, mail);
}
