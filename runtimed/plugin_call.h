/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * PluginCall: one call of a plugin's hook, and what the plugin may do while it lasts: the functions of compozy_host,
 * which check everything and turn it into a verdict and effects.
 *
 * Embedded by value, on the stack of the thread that calls. Owns nothing: it writes to the buffer and the list that it
 * was given. No plugin can use it from another thread, or after its end: then each function refuses, without having
 * looked at what was handed to it.
 */

#include "compozy/behavior.h"
#include "proto/cc.h"
#include "runtimed/behavior.h"

typedef enum PluginHook {
        PLUGIN_HOOK_NONE,
        PLUGIN_HOOK_INIT,
        PLUGIN_HOOK_HANDLE,
        PLUGIN_HOOK_CHECKPOINT,
} PluginHook;

typedef struct PluginCall {
        compozy_call shown; /* first: its address is what the plugin gets */
        PluginHook hook;
        MessageKind kind;
        BehaviorVerdict verdict; /* BEHAVIOR_NONE: it said nothing */
        ErrorCode code;
        uint64_t defer_usec;
        Buffer *output;      /* the output, or the sentence */
        EffectList *effects; /* NULL: it may wish nothing */
} PluginCall;

/* From begin to end the functions work, on this thread. */
void plugin_call_begin(PluginCall *call);
void plugin_call_end(PluginCall *call);

static inline compozy_bytes bytes_of_slice(Slice slice) {
        return (compozy_bytes){ slice.data, slice.size };
}
