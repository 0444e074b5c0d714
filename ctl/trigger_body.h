/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * TriggerBody: the TriggerAgent message of one command, made once and written many times: only the execution's id, and
 * a number in its input, differ from one trigger to the next.
 */

#include <jansson.h>

#include "ctl/command.h"
#include "ctl/ctl.h"
#include "proto/buffer.h"

typedef struct TriggerWish {
        const char *agent_id, *workflow_id;
        const char *reply_to; /* NULL: the NATS reply subject */
        uint64_t deadline_ms;
        const char *retry; /* NULL: the default */
        uint64_t priority;
        const TextList *labels, *env;
        json_t *input;    /* NULL: none; borrowed */
        Slice input_text; /* the same as it was written; absent: made from `input`. One that is numbered is, in any case
                           */
        bool is_numbered; /* input, an object, gets a member "n" */
} TriggerWish;

typedef struct TriggerBody {
        Buffer head, middle, tail; /* around the exec_id, around the number */
        bool is_numbered;
} TriggerBody;

/* Says what is wrong with the wish. trigger_body_done() is due in either case. */
CtlExit trigger_body_init(TriggerBody *body, const Ctl *ctl, const TriggerWish *wish);
void trigger_body_done(TriggerBody *body);

void trigger_body_write(const TriggerBody *body, Slice exec_id, uint64_t number, Buffer *ret);
