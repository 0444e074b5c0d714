/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ExecSettings: what a definition says under "exec": docs/exec.md, "Settings".
 *
 * Pure. Owns its texts.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/wire_error.h"

#define EXEC_COMMAND_MAX 64       /* texts in a command line */
#define EXEC_ENV_MAX 64           /* variables */
#define EXEC_TEXT_MAX 4096        /* bytes of each text of either; PATH_MAX */
#define EXEC_UNLIMITED UINT64_MAX /* the runtime's own limit holds */
#define EXEC_ENV_OURS "COMPOZY_AGENT_ID"

typedef struct ExecSettings {
        char **command;          /* NULL-terminated; the first is a path when it has a slash in it */
        char *working_directory; /* NULL: the runtime's */
        char **env;              /* "NAME=value", NULL-terminated */
        uint64_t call_timeout_ms, start_timeout_ms, stop_timeout_ms;
        uint64_t max_line_bytes;
        struct {
                uint64_t memory_bytes, open_files, cpu_seconds, file_bytes;
        } limits;
        Arena arena; /* where the texts are */
} ExecSettings;

/* `raw`: the JSON value of the key, or absent, which is refused as well. Returns 0, WIRE_E_INVALID with a sentence that
 * names the key, -ENOMEM. */
int exec_settings_read(Slice raw, ExecSettings *ret, WireError *ret_error);

/* Frees the texts. The form for _cleanup_(). */
void exec_settings_done(ExecSettings *settings);
