/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Programs: the files that the commands of exec agents name, and plugins, and which of them have changed.
 *
 * A runtime reads definitions again when it is told to, but has no reason to look at programs: whoever writes one
 * wants to see what he wrote.
 */

#include "proto/cc.h"

typedef struct Programs Programs;

/* Returns NULL when out of memory. */
Programs *programs_new(void);
Programs *programs_free(Programs *programs);

DEFINE_CLEANUP(Programs *, programs_free);

/* Reads the definitions in `directory` anew. What they name is unchanged from now on, but for what was known before.
 * `plugins_dir` is where plugins are. */
void programs_read(Programs *programs, const char *directory, const char *plugins_dir);

typedef void ProgramChanged(const char *agent_id, const char *path, bool is_plugin, void *userdata);

/* Hands over each agent with a file that is another than last time, once; a plugin when it stays so until the next
 * look, as linkers write for a while. */
void programs_look(Programs *programs, ProgramChanged *on_change, void *userdata);
