/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LoadAnswer: what an answer says about the trigger that it answers.
 */

#include "common/outbox.h"
#include "ctl/tally.h"

/* Counts the answer to a trigger; a text that is no AgentExecutionResult is a FAILURE. */
void load_answer_tally(Tally *tally, const InMessage *message, uint64_t usec);
