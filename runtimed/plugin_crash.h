/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * PluginCrash: a plugin that crashes takes the runtime along; its last words say which plugin it was, of which agent.
 *
 * Any thread. What is noted is the thread's own.
 */

#include "proto/id.h"

/* From now on, once: a deadly signal in a hook is written to stderr. It ends the process as before, with its core. */
void plugin_crash_watch(void);

/* Around each hook; both ids are borrowed until plugin_crash_leave(). */
void plugin_crash_enter(const char *hook, const Id *plugin, const Id *agent);
void plugin_crash_leave(void);
