/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * AgentExecutionResult: the answer to a trigger, from the runtime that ran it, or from a dispatcher that could not
 * have it run.
 */

#include "proto/message.h"

typedef struct Result {
        Metadata metadata;
        Slice workflow_id, workflow_exec_id;
        Slice agent_id, agent_exec_id;
        Slice runtime_id; /* absent when no runtime had it */
        uint64_t epoch;
        unsigned status;  /* ResultStatus */
        Slice output;     /* raw value; with STATUS_SUCCESS */
        ErrorReply error; /* otherwise */
        Slice error_code; /* decoding only: the name as it stood */
        double duration_ms;
        uint64_t attempt; /* 0: never placed */
} Result;

int result_decode(Slice body, Result *ret, Arena *arena, WireError *ret_error);
void result_encode(Buffer *buffer, const Result *result, uint64_t real_usec);
