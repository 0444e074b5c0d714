/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * PluginHost: behaviours that are shared objects: docs/plugins.md and the public header compozy/behavior.h.
 *
 * Part of the edge: loads them from one directory, by name, when a definition first asks for one, checks their version,
 * and translates between their C ABI and ours. Loop thread only, but for the behaviour's functions. Owns what it has
 * loaded, until the end: code that a thread may be in is never unloaded.
 */

#include "proto/cc.h"
#include "runtimed/behavior.h"

typedef struct PluginHost PluginHost;

/* `directory`: "" for none: then each definition that asks for a plugin is refused. */
int plugin_host_new(const char *directory, PluginHost **ret) _must_check_;
PluginHost *plugin_host_free(PluginHost *host);

DEFINE_CLEANUP(PluginHost *, plugin_host_free);

/* "plugin", for the list of behaviours. Borrowed for the host's life. Its check() loads the plugin. */
const Behavior *plugin_host_behavior(const PluginHost *host);
