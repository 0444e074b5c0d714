/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Many triggers of one agent: how they go, while they go and at the end.
 */

#include "ctl/ctl.h"
#include "ctl/trigger_body.h"

typedef struct TriggerMany {
        const char *subject, *agent_id;
        const char *exec_id; /* what the executions' ids begin with */
        const TriggerBody *body;
        const TextList *headers; /* checked */
        uint64_t count, concurrency;
        uint64_t rate; /* per second; 0: as fast as it goes */
} TriggerMany;

CtlExit trigger_many_run(Ctl *ctl, const TriggerMany *many);
