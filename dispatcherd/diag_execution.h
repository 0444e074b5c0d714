/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every sentence that compozy-dispatcherd logs about executions: `journalctl COMPOZY_EXEC_ID=…` shows them, and those
 * of the runtimes, as one story. Steps are at debug level; what an operator may act on is above, and limited.
 *
 * An execution must hold its parcel unless it has ended.
 */

#include "dispatcherd/execution.h"
#include "dispatcherd/placement.h"

void diag_execution_arrived(const Execution *execution, bool was_known, uint64_t now);
void diag_execution_repeated(const Execution *execution, bool is_new_caller);

/* `until`: while there is hope for somebody who can take it; USEC_NEVER: for a free slot, until its deadline. */
void diag_execution_waits(const Execution *execution, const char *why, uint64_t until, uint64_t now);

/* Just relayed, to execution->runtime. */
void diag_execution_relayed(const Execution *execution, const Placement *placement);
void diag_execution_asked(const Execution *execution, uint64_t now);
void diag_execution_reported(const Execution *execution, const char *what);
void diag_execution_moved(const Execution *execution, const char *why);
void diag_execution_ended(const Execution *execution, const char *status, ErrorCode code);

/* The dispatcher's own answer. */
void diag_execution_failed(const Execution *execution, ErrorCode code, const char *why);

/* What a runtime said of an attempt that is over. */
void diag_execution_stale(const Execution *execution, Slice runtime_id, uint64_t attempt, const char *what);

/* A trigger that did not become an execution. */
void diag_trigger_refused(Slice exec_id, Slice agent_id, Slice correlation_id, ErrorCode code, const char *why);
