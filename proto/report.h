/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * AgentExecutionReport: what became of relayed triggers, many in one message, from a runtime to the dispatcher that
 * relayed them (to `dispatch.report_to`).
 */

#include "proto/message.h"
#include "proto/registration.h"
#include "proto/trigger.h"

#define REPORT_EXECUTIONS_MAX 1024

typedef enum ExecutionState {
        EXECUTION_NONE,
        EXECUTION_ACCEPTED, /* in the mailbox */
        EXECUTION_STARTED,  /* the behaviour has it */
        EXECUTION_DONE,     /* answered: the result is on its way to the caller */
        EXECUTION_REFUSED,  /* not taken, not run: `code` says why */
        _EXECUTION_STATE_MAX,
} ExecutionState;

extern const char *const execution_state_names[_EXECUTION_STATE_MAX + 1];

typedef struct ExecutionReport {
        Slice exec_id;
        uint64_t attempt;
        unsigned state;  /* ExecutionState */
        unsigned status; /* ResultStatus; with EXECUTION_DONE */
        unsigned code;   /* ErrorCode, INTERNAL for one that we don't know; with a refusal, or a status that is not
                            SUCCESS */
        uint64_t ask;    /* of the relay it is about */
} ExecutionReport;

typedef struct Report {
        Metadata metadata;
        Slice runtime_id;
        uint64_t epoch;
        RuntimeLoad load;
        Slice executions; /* raw array, for execution_report_next() */
} Report;

int report_decode(Slice body, Report *ret, Arena *arena, WireError *ret_error);

/* One element, whose place in the array is `index`. */
int execution_report_decode(Slice element, size_t index, ExecutionReport *ret, Arena *arena, WireError *ret_error);

/* How far a walk has come; zero at the beginning. */
typedef struct ReportCursor {
        size_t position, index;
} ReportCursor;

/*
 * The next of `executions`, read and decoded in one go: reports hold hundreds. WIRE_E_INVALID is about this one alone,
 * the walk may go on; it ends behind the first that is over the limit, which is refused. Returns 0, WIRE_E_INVALID,
 * SCAN_E_END, -ENOMEM.
 */
int execution_report_next(
        Slice executions, ReportCursor *cursor, ExecutionReport *ret, Arena *arena, WireError *ret_error);

/* A report is written in three steps, so that it can grow while a loop turn lasts. */
void report_encode_head(Buffer *buffer, const Report *report, uint64_t real_usec);
void report_encode_execution(Buffer *buffer, const ExecutionReport *execution);
void report_encode_tail(Buffer *buffer, const RuntimeLoad *load);
