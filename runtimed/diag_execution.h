/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every sentence that compozy-runtimed logs about executions: `journalctl COMPOZY_EXEC_ID=…` shows them, and those of
 * the dispatchers, as one story. Steps are at debug level; what an operator may act on is above, and limited.
 */

#include "common/log.h"
#include "runtimed/execution.h"

void diag_execution_accepted(const Execution *execution, uint64_t now);

/* `step`: one word for programs; `what`: the rest of the sentence "Execution x of agent a ...". */
void diag_execution_step(const Execution *execution, const char *step, const char *what);
void diag_execution_ended(const Execution *execution, unsigned status, ErrorCode code, Slice why);
void diag_execution_withheld(const Execution *execution, const char *why);

/* What was here before, or is. */
void diag_trigger_repeated(const Trigger *trigger, const char *what);
void diag_trigger_refused(const Trigger *trigger, ErrorCode code, const char *why);
