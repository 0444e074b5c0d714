/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The warden: a process of its own that is told which process groups exist, and kills them when the runtime is gone.
 *
 * Started by exec_warden_start() (exec_host.h). add and remove only send: they allocate nothing and may
 * be called between clone(2) and execve(2).
 */

#include <sys/types.h>

#include "proto/cc.h"

/* Return 0 or -errno; -EPIPE: the warden is gone. */
int exec_warden_add(int warden_fd, pid_t group);
int exec_warden_remove(int warden_fd, pid_t group);

/* The first thing that the warden says, so to be called once; 0: it has ended before. */
pid_t exec_warden_pid(int warden_fd);

/* Closes the descriptor, upon which the warden kills what it still knows of and ends, and reaps it. */
void exec_warden_end(int warden_fd, pid_t pid);
