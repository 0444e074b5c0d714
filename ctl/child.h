/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Child: one process that compozyctl started, and the lines it writes.
 *
 * It ends with us whatever ends us: the kernel signals it when the thread that started it is gone (PR_SET_PDEATHSIG).
 * One thread, the main one.
 */

#include <stdio.h>
#include <sys/types.h>

#include "proto/cc.h"

#define CHILD_LINE_MAX 4096 /* longer lines are cut */

typedef struct ChildOptions {
        const char *const *arguments; /* ends with NULL; the first is the program, searched in PATH unless it has a / */
        const char *const *environment; /* NAME=VALUE to add, or NAME to take away; ends with NULL; NULL: ours */
        int death_signal;               /* what it gets when we are killed */
        bool is_daemon; /* a session of its own: Ctrl-C is for us; no input, and its output comes to us line by line */
} ChildOptions;

typedef struct Child {
        pid_t pid;  /* 0: not running */
        int output; /* what it writes; -1: not ours, or at its end */
        char line[CHILD_LINE_MAX + 1];
        size_t line_size;
} Child;

#define CHILD_NONE ((Child){ .output = -1 })

/* Embedded: starts as CHILD_NONE. Returns 0 or -errno: also when the program can't be executed. */
int child_start(Child *child, const ChildOptions *options);

typedef void ChildLine(const char *line, void *userdata);

/*
 * Reads what there is without waiting, and hands over each whole line without its end; at the end of output the rest.
 * `on_line` may be NULL here and below: nobody wants them.
 */
void child_read(Child *child, ChildLine *on_line, void *userdata);

/* SIGCHLD: has it ended? Then *ret_status is what waitpid() told, and the rest of its output is handed over. */
bool child_reap(Child *child, ChildLine *on_line, void *userdata, int *ret_status);

/* Nothing happens when it is not running. */
void child_signal(const Child *child, int signal_number);

/* "ended with status 1", "was killed by signal 9 (Killed)". Into `place`, which is returned. */
const char *child_show_status(char *place, size_t size, int status);

/* The status that a shell would tell: 128 + the signal's number. */
int child_exit_status(int status);

/*
 * Where a program is: `beside` our own binary, in PATH, or in `also` (NULL: none).
 * Returns 0 with its path, or -ENOENT.
 */
int program_find(const char *name, bool beside, const char *also, char *ret, size_t size);
