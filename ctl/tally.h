/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Tally: how many of many triggers ended how, and how long their answers took.
 *
 * By value. Whatever a peer writes as its code is counted under that code, for the first TALLY_CODES_MAX of them; the
 * rest under "other".
 */

#include <jansson.h>

#include "ctl/latency.h"
#include "ctl/screen.h"
#include "proto/slice.h"

#define TALLY_CODES_MAX 16
#define TALLY_CODE_SIZE 40
#define TALLY_EXAMPLE_SIZE 160

typedef enum TallyOutcome {
        TALLY_SUCCESS,
        TALLY_AGENT_ERROR,
        TALLY_FAILURE, /* with its code; "NOBODY_LISTENS" and "NO_ANSWER" are ours */
        _TALLY_OUTCOME_MAX,
} TallyOutcome;

typedef struct TallyCode {
        char code[TALLY_CODE_SIZE];
        char example[TALLY_EXAMPLE_SIZE]; /* the first one's message */
        uint64_t n;
} TallyCode;

typedef struct Tally {
        uint64_t n[_TALLY_OUTCOME_MAX];
        TallyCode codes[TALLY_CODES_MAX];
        size_t n_codes;
        Latency latency; /* of answers, good and bad */
} Tally;

/* `code` and `message` are absent with TALLY_SUCCESS. Without an answer `usec` is UINT64_MAX. */
void tally_add(Tally *tally, TallyOutcome outcome, Slice code, Slice message, uint64_t usec);

uint64_t tally_total(const Tally *tally);
uint64_t tally_n_errors(const Tally *tally);

/* A member of the summary each; the caller's. NULL: no memory. */
json_t *tally_outcomes_json(const Tally *tally);
json_t *tally_errors_json(const Tally *tally);
json_t *latency_json(const Latency *latency);

/* "p50 1.2 ms  p99 4.0 ms", and how many failed. */
const char *tally_line(const Tally *tally, char *place, size_t size);

/* The lines of the summary: latencies, outcomes, errors by code with an example of each. */
void tally_print(const Tally *tally, const Screen *screen, FILE *file);
