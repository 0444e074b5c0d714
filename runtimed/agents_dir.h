/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * AgentsDir: the directory of agent definitions, and which file made which agent.
 *
 * Reads files; part of the edge. A file that can't be used is reported by name and changes nothing.
 */

#include "common/instant.h"
#include "proto/cc.h"
#include "runtimed/runtime.h"

typedef struct AgentsDir AgentsDir;

typedef struct AgentsDirCounts {
        size_t n_created, n_changed, n_removed, n_refused;
} AgentsDirCounts;

/* `behaviors` is the NULL-terminated list of types that can be had, borrowed. */
int agents_dir_new(const char *path, const Behavior *const *behaviors, AgentsDir **ret) _must_check_;
AgentsDir *agents_dir_free(AgentsDir *dir);

DEFINE_CLEANUP(AgentsDir *, agents_dir_free);

/*
 * Brings the runtime's agents in line with the files: at the start, and again on each reload. Returns 0 or -errno (the
 * directory can't be read: nothing was changed).
 */
int agents_dir_load(AgentsDir *dir, Runtime *runtime, Instant now, AgentsDirCounts *ret);

/* For --check-config: reads every file, tries every init that costs nothing, says on stderr what a start would refuse.
 * Returns 0 or -errno. */
int agents_dir_check(const char *path, const Behavior *const *behaviors, size_t *ret_n_good, size_t *ret_n_bad);
