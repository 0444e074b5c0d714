/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A plugin with something wrong: whoever includes this defines what.
 */

#include "compozy/behavior.h"

#ifndef MAGIC
#define MAGIC COMPOZY_ABI_MAGIC
#endif
#ifndef SIZE
#define SIZE sizeof(compozy_behavior)
#endif
#ifndef MAJOR
#define MAJOR COMPOZY_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR COMPOZY_ABI_MINOR
#endif
#ifndef INIT
#define INIT init
#endif
#ifndef STOP
#define STOP stop
#endif
#ifndef HANDLE
#define HANDLE handle
#endif

#define UNUSED __attribute__((unused))

static UNUSED int init(compozy_call *call, const compozy_start *start, void **ret_agent) {
        (void)call;
        (void)start;
        (void)ret_agent;

        return COMPOZY_OK;
}

static UNUSED void stop(void *agent) {
        (void)agent;
}

static UNUSED void handle(void *agent, compozy_call *call, const compozy_message *message) {
        (void)agent;

        (void)call->host->output(call, message->input);
}

#ifdef NAME
const compozy_behavior compozy_behavior_table = { MAGIC, SIZE, MAJOR, MINOR, NAME, NULL, INIT, STOP, HANDLE, NULL };
#endif
