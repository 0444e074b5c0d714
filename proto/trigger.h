/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * TriggerAgent: run an agent once. From a caller to a dispatcher, and, with the sections `agent_runtime` and
 * `dispatch` added, from a dispatcher to a runtime ("relayed").
 */

#include "proto/message.h"

#define ASK_MAX 31

typedef struct Trigger {
        Metadata metadata;
        Slice workflow_id, workflow_exec_id;
        Slice agent_id, agent_exec_id;
        Slice task;    /* raw object */
        Slice payload; /* raw object, passed on as it is */
        Slice reply_to_subject;
        uint64_t deadline_ms; /* 0: not given */
        unsigned retry;       /* RetryPolicy */
        uint64_t priority;
        Slice labels;     /* raw object */
        Slice context;    /* raw object */
        Slice not_before; /* raw value; for durable triggers */
        Slice input;      /* raw value: payload.context.input */

        struct {
                bool present;
                Slice runtime_id;
                uint64_t epoch;
                Slice dispatcher_id;
                uint64_t attempt;     /* from 1 */
                uint64_t deadline_ms; /* what is left when it was sent */
                uint64_t age_ms;      /* since this attempt was first sent; > 0 marks a repeat of the relay */
                Slice reply_to;       /* where the result goes; absent: nowhere */
                Slice report_to;      /* where reports go */
                uint64_t ask; /* which of several callers that wait for the execution this relay is for; repeated in
                                 reports */
        } dispatch;
} Trigger;

/*
 * Decodes either form. An empty body is an empty object. What the message leaves out keeps the defaults: priority
 * PRIORITY_DEFAULT, deadline 0, retry RETRY_NONE_GIVEN.
 */
int trigger_decode(Slice body, Trigger *ret, Arena *arena, WireError *ret_error);

/*
 * For one that trigger_decode() refused: whom to tell, as far as that can be made out. Fills in reply_to_subject,
 * agent_exec_id and metadata.correlation_id where they are valid, and leaves the rest as it is.
 */
void trigger_decode_sender(Slice body, Trigger *ret, Arena *arena);

/*
 * Writes the relayed form: every section, `task` and `payload` as they came. All slices but optional ones must be
 * there. Ids that are the same as agent.exec_id are left out (correlation_id: the same as request_id), and
 * trigger_decode() fills them in.
 */
void trigger_encode_relay(Buffer *buffer, const Trigger *trigger);
