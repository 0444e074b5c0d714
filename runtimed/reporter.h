/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reporters: one per dispatcher (that is, per `report_to`), each gathering what is to be told of executions.
 *
 * News of an execution in progress is only noted; what is written is where it stands when the report leaves, so one
 * that is done by then is reported once. Bounded in number; idle ones make room for new ones. Loop thread only; reads
 * no clock.
 */

#include "common/instant.h"
#include "common/outbox.h"
#include "proto/cc.h"
#include "proto/report.h"
#include "runtimed/execution.h"

#define REPORTERS_MAX 256

typedef struct Reporters {
        Reporter *by_subject;
        Reporter *dirty;  /* those with something to say */
        Reporter *latest; /* the one asked for last: there is rarely more than one */
        Outbox *outbox;
        Slice runtime_id;
        uint64_t epoch;
        size_t bytes_max;  /* a report is sent at this size at the latest */
        bool is_due_now;   /* one is full */
        bool has_outcomes; /* something is done or refused: to leave with the answers, in the same write */
        uint64_t n_reports, n_entries;
} Reporters;

void reporters_done(Reporters *reporters);

/* The reporter for that subject. NULL: too many are busy, or memory is out. Borrowed while an asker holds it or it has
 * something to say. */
Reporter *reporters_get(Reporters *reporters, Slice report_to);

bool reporters_have_news(const Reporters *reporters);

/* Writes and clears all that is gathered. */
void reporters_flush(Reporters *reporters, const RuntimeLoad *load, Instant now);

/* Forgets all that is gathered: it was about an epoch that is over. */
void reporters_discard(Reporters *reporters);

void reporter_hold(Reporter *reporter, Asker *asker);
void reporter_release(Asker *asker); /* forgets its news, too */

/* Something about it has changed. */
void reporter_note(Reporters *reporters, Asker *asker);

/* The end of one: the last word on it, written now, sent with the next report. */
void reporter_add(Reporters *reporters, Reporter *reporter, const ExecutionReport *report, Instant now);

size_t reporters_size(const Reporters *reporters);
