/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The warden: a process of its own that is told which process groups exist, and kills them when the runtime is gone.
 *
 * Started by exec_warden_start() (exec_host.h). The functions here only send: they allocate nothing and may
 * be called between clone(2) and execve(2).
 */

#include <sys/types.h>

#include "proto/cc.h"

/* Return 0 or -errno; -EPIPE: the warden is gone. */
int exec_warden_add(int warden_fd, pid_t group);
int exec_warden_remove(int warden_fd, pid_t group);
