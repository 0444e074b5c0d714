/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Summary: how a load went (ctl/load.h), for people and for programs.
 */

#include "ctl/ctl.h"
#include "ctl/load.h"

/* Per second, from the first request to the last answer. */
double summary_rate(const LoadReport *report);

/* An object, the caller's; NULL: no memory. */
json_t *summary_json(const LoadReport *report);

/* "<n> <what> in 10 s, 42,000/s", latencies, outcomes, on stdout. */
void summary_print(const Ctl *ctl, const LoadReport *report, const char *what);

/*
 * The status to leave with, that of the worst answer; says what to do next. `subject`: where the triggers went;
 * `agent_id`: whose they were.
 */
CtlExit summary_judge(const Ctl *ctl, const LoadReport *report, const char *subject, const char *agent_id);

/* Says why load_run() failed. */
CtlExit summary_fail(const Ctl *ctl, int error, const NatsReason *why);
