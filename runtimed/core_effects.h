/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, continued (core.h): a Wish, which is one effect of a behaviour on its way to being carried
 * out or refused. Shared by effects.c, conversations.c and timers.c, and by nothing else.
 *
 * Each wish_...() returns 0, WIRE_E_INVALID (refused: wish_refuse() has written down why), -ENOMEM.
 */

#include "runtimed/core.h"

typedef struct Wish {
        Runtime *runtime;
        Agent *agent;
        const Effect *effect;
        Instant now;

        /* of the message in the course of which it is wanted */
        uint64_t message_id;
        Slice exec_id;
        Envelope inherited; /* only what its answer and what is emitted take over */
        uint32_t n_invoked; /* calls of capabilities that came before this effect */
        Letter *context;    /* the envelope, kept for what comes later; made when first wanted */
        bool is_traced;     /* what is posted for this effect carries `posted` instead of what is inherited */
        Envelope posted;
        char traceparent[TRACEPARENT_SIZE]; /* in it */

        ErrorCode code; /* why it is refused */
        WireError error;
} Wish;

int wish_refuse(Wish *wish, ErrorCode code, const char *format, ...) _printf_(3, 4);

/* A letter without a payload that holds the envelope. NULL: memory is out. Borrowed from the wish: take a reference. */
Letter *wish_context(Wish *wish);

/* Publishes a message in the agent's name; its headers are over what is inherited. */
int wish_post(Wish *wish, const OutMessage *message);

/* spans.c; there must be a tracer */

void wish_begin_span(Wish *wish, Ask *ask);

/* conversations.c */

int wish_ask(Wish *wish);
int wish_invoke(Wish *wish);
int wish_trigger(Wish *wish);

/* timers.c */

int wish_timer(Wish *wish);
int wish_cancel_timer(Wish *wish);
void core_end_timers(Runtime *runtime, Agent *agent);
