/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Invocations: calls of capabilities by their idempotency keys. Of calls with one capability and one key only one
 * request goes out at a time, and its answer is for all that wait; an answer that is final is kept for a while, so that
 * a repeat is answered without asking again.
 *
 * Owns every Invocation; borrows the asks that wait for it. Embedded by value. Loop thread only, pure, reads no clock.
 * The key alone says what is the same call: inputs are not compared.
 */

#include "common/hash_index.h"
#include "common/number_index.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"
#include "runtimed/asks.h"

#define INVOCATION_KEY_MAX 324        /* bytes: whose it is, and a key of 256 */
#define INVOCATION_CAPABILITY_MAX 255 /* bytes: it is part of a subject */

enum {
        INVOCATIONS_E_OK,

        INVOCATIONS_E_JOINED,   /* its request is out already: the ask waits with the others */
        INVOCATIONS_E_ANSWERED, /* from memory: the ask waits for nothing */
        INVOCATIONS_E_TOO_LONG, /* the capability or the key is, or is empty */
};

TAILQ_HEAD(InvocationLine, Invocation);

typedef struct InvocationAnswer {
        ErrorCode code; /* ERROR_NONE, or CAPABILITY_ERROR and so on */
        Slice body;     /* the output, or the sentence that says what is wrong */
} InvocationAnswer;

typedef struct InvocationsLimits {
        uint64_t answers_max, bytes_max; /* of answers that are kept, with their keys; 0: none are */
        uint64_t keep_usec;
} InvocationsLimits;

typedef struct InvocationsStats {
        size_t n_in_flight, n_kept;
        uint64_t n_bytes;                         /* of what is kept */
        uint64_t n_joined, n_answered, n_evicted; /* since the start */
} InvocationsStats;

typedef struct Invocations {
        InvocationsLimits limits;
        HashIndex keys; /* of both kinds: in flight and kept */
        NumberIndex numbers;
        struct InvocationLine by_use, by_age;
        InvocationsStats stats;
} Invocations;

/* May not move from then on. */
void invocations_init(Invocations *invocations, const InvocationsLimits *limits, uint64_t seed);

/* The asks that wait are let go: before they are freed. */
void invocations_done(Invocations *invocations);

/*
 * Returns 0 when the request is to be sent, with the number of `ret_invocation` in its reply subject; an outcome; or
 * -ENOMEM. With ANSWERED, `ret_answer` is borrowed until the next call that changes anything.
 */
int invocations_begin(Invocations *invocations, Ask *ask, Slice capability, Slice key, uint64_t now,
        Invocation **ret_invocation, InvocationAnswer *ret_answer);

uint64_t invocation_number(const Invocation *invocation);

/* One that is in flight; NULL: there is none of that number (any more). */
Invocation *invocations_find(const Invocations *invocations, uint64_t number);

/* Of those that wait for it; there is one. */
const Ask *invocation_first_waiting(const Invocation *invocation);

/*
 * It is over: with an answer, with nobody to ask, with a request that could not be sent. Returns those that waited, in
 * order, linked for ask_next_waiting(); each is free of it now, and the caller's to answer and to remove. The
 * invocation is gone or kept as an answer if `is_final`.
 */
Ask *invocations_settle(
        Invocations *invocations, Invocation *invocation, const InvocationAnswer *answer, bool is_final, uint64_t now);

/* Before it is removed; the same for each of a list. */
Ask *ask_next_waiting(const Ask *ask);

/* An ask gives up: its time is over, or its agent ends. When it was the last, what still comes is not waited for. */
void invocations_leave(Invocations *invocations, Ask *ask);

/*
 * May an answer stand for repeats? `service_code`: the number in Nats-Service-Error-Code, 0 when there was none.
 *
 * A success may, and an error that the capability reported of the call itself (4xx). What may pass may not: errors of
 * the capability's own state (5xx, 408, 409, 425, 429, or without a number), nobody there, and no answer in time. For
 * those the key is what makes another try harmless; if the first one did something after all, its provider can tell.
 */
bool invocation_is_final(ErrorCode code, unsigned service_code);

/* When answers are forgotten next; USEC_NEVER: none are kept. */
uint64_t invocations_next_deadline(const Invocations *invocations);
void invocations_expire(Invocations *invocations, uint64_t now);

void invocations_stats(const Invocations *invocations, InvocationsStats *ret);

/* Does everything agree? NULL: yes; else what does not. Visits all. */
const char *invocations_check(const Invocations *invocations);
