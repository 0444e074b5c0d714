/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Spawns the process of an exec behaviour: its descriptors, its limits, its process group, and nothing of ours.
 *
 * Any thread that lives as long as the process: when it ends, the kernel kills what it has spawned. Blocks until the
 * new process runs its program. Reaps nothing but what failed.
 */

#include <sys/types.h>

#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/wire_error.h"
#include "runtimed/exec_settings.h"

typedef struct ExecProcess {
        pid_t pid;        /* also the number of its process group; 0: none */
        int pidfd;        /* readable when it has ended */
        int in, out, err; /* our ends, non-blocking: we write its stdin, we read its stdout and stderr; -1: closed */
} ExecProcess;

#define EXEC_PROCESS_NONE ((ExecProcess){ .pidfd = -1, .in = -1, .out = -1, .err = -1 })

/* Returns 0, WIRE_E_INVALID with the sentence that says why it can't run, -ENOMEM. On failure nothing is left behind.
 */
int exec_spawn(const ExecSettings *settings, Slice agent_id, int warden_fd, ExecProcess *ret, WireError *ret_error);

/* Closes what is open; the process itself is the caller's to end and to reap. */
void exec_process_close(ExecProcess *process);
