/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Error codes of `result.error.code` and of the control API. The number goes into the header
 * Nats-Service-Error-Code (ADR-32 wants a number there); it follows HTTP's classes.
 */

#include "proto/cc.h"
#include "proto/slice.h"

#define ERROR_CODES(X)                                                                       \
        X(INVALID_MESSAGE, 400, "a field is missing, mistyped or out of its limit")          \
        X(AGENT_UNKNOWN, 404, "no runtime hosts the agent")                                  \
        X(NO_RUNTIME, 503, "runtimes host the agent, none can take the work")                \
        X(OVERLOADED, 429, "a queue is at its limit; retry after retry_after_ms")            \
        X(MAILBOX_FULL, 429, "the agent's mailbox_capacity or mailbox_bytes is reached")     \
        X(DEADLINE_EXCEEDED, 504, "the trigger was not done by its deadline")                \
        X(CANCELLED, 499, "the execution was cancelled")                                     \
        X(RUNTIME_LOST, 502, "the runtime that held the work was declared dead or replaced") \
        X(RUNTIME_DRAINING, 503, "the runtime takes no new work")                            \
        X(AGENT_STOPPED, 409, "the agent is not running")                                    \
        X(AGENT_FAILED, 503, "the agent failed and is not restarted")                        \
        X(AGENT_CRASHED, 502, "the agent's process ended while it handled the work")         \
        X(AGENT_EXISTS, 409, "an agent of that id exists")                                   \
        X(AGENT_NOT_FOUND, 404, "the runtime has no such agent")                             \
        X(INVALID_TRANSITION, 409, "the state does not allow it")                            \
        X(ALREADY_SUBSCRIBED, 409, "the agent is subscribed to that topic")                  \
        X(NOT_SUBSCRIBED, 404, "the agent is not subscribed to that topic")                  \
        X(REPLY_TOPIC_MANAGED, 409, "the reply topic comes and goes with the agent")         \
        X(TOPIC_FORBIDDEN, 403, "the subject is reserved")                                   \
        X(INIT_FAILED, 500, "the behaviour's init failed")                                   \
        X(STATE_ERROR, 500, "the agent's state could not be read or written")                \
        X(LEASE_LOST, 409, "the lease of an exclusive agent is held by another")             \
        X(LIMIT_EXCEEDED, 429, "a configured limit is reached")                              \
        X(CAPABILITY_NOT_FOUND, 404, "nobody provides the capability")                       \
        X(CAPABILITY_ERROR, 502, "the capability reported an error")                         \
        X(TIMEOUT, 504, "no answer in time")                                                 \
        X(INTERNAL, 500, "a defect of ours")

typedef enum ErrorCode {
        ERROR_NONE,
#define X(name, number, meaning) ERROR_##name,
        ERROR_CODES(X) _ERROR_CODE_MAX,
#undef X
} ErrorCode;

/* The name as it stands on the wire; NULL for ERROR_NONE. */
const char *error_code_name(ErrorCode code);
unsigned error_code_number(ErrorCode code);
const char *error_code_meaning(ErrorCode code);

/* ERROR_NONE when the name is none of ours. */
ErrorCode error_code_from_name(Slice name);

/* For SCAN_NAME: NULL-terminated, entry 0 is "". */
extern const char *const error_code_names[_ERROR_CODE_MAX + 1];
