/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LoadAnswer: what an answer says about the trigger that it answers.
 */

#include "common/outbox.h"
#include "ctl/tally.h"

/*
 * The output in a successful result, as it stands there: borrowed from the body. Absent: it has none, did not succeed
 * or is no result.
 */
Slice load_answer_output(Slice body);

/* Counts the answer to a trigger; a text that is no AgentExecutionResult is a FAILURE. */
void load_answer_tally(Tally *tally, const InMessage *message, uint64_t usec);
