/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Sandbox: a nats-server, a dispatcher and runtimes of our own, started in this order and ended in the other.
 *
 * What ends by itself is started again, as systemd would: after a second, and no more often than RESTARTS_MAX times in
 * RESTART_WINDOW; then the sandbox has failed. Whatever ends us ends them (ctl/child.h). Main thread; the caller polls
 * and calls sandbox_turn().
 */

#include <poll.h>

#include "common/instant.h"
#include "ctl/command.h"
#include "ctl/log_view.h"

#define SANDBOX_RUNTIMES_MAX 32
#define SANDBOX_FDS_MAX (SANDBOX_RUNTIMES_MAX + 2)

typedef struct SandboxOptions {
        const char *nats_server;                      /* path of the program */
        const char *dispatcherd, *runtimed;           /* likewise */
        const char *state_dir;                        /* exists */
        const char *agents_dir, *plugins_dir;         /* the latter may be NULL */
        unsigned n_runtimes;                          /* r1, r2, ... */
        unsigned port;                                /* of nats-server; 0: any free one */
        const char *log_level;                        /* of both daemons */
        TextList dispatcher_options, runtime_options; /* section.key=value, passed on with -o */
} SandboxOptions;

typedef struct Sandbox Sandbox;

/* `options` and `log` are borrowed until the sandbox is freed. Nothing is started yet. Returns 0 or -ENOMEM. */
int sandbox_new(const SandboxOptions *options, LogView *log, Sandbox **ret);

/* Kills whatever still runs, and waits for it. */
Sandbox *sandbox_free(Sandbox *sandbox);

DEFINE_CLEANUP(Sandbox *, sandbox_free);

/* What to wait for; returns how many of the SANDBOX_FDS_MAX. */
size_t sandbox_fds(const Sandbox *sandbox, struct pollfd *ret);

/* Shows what they wrote, buries who ended, starts whose time has come. Call it at least every 100 ms. */
void sandbox_turn(Sandbox *sandbox, uint64_t now_usec);

/* "nats://127.0.0.1:PORT"; NULL: the server has not said yet. */
const char *sandbox_url(const Sandbox *sandbox);

/* Why it can't go on, a sentence; NULL: all is well. */
const char *sandbox_failure(const Sandbox *sandbox);

/* All runtimes read their definitions again. */
void sandbox_reload(Sandbox *sandbox);

/* All runtimes finish what they have, and are started again. */
void sandbox_restart_runtimes(Sandbox *sandbox);

/* From now on: runtimes drain, then the dispatcher goes, then the server. sandbox_is_over() tells when all are gone. */
void sandbox_stop(Sandbox *sandbox);
bool sandbox_is_over(const Sandbox *sandbox);

/* At once: nobody finishes anything. */
void sandbox_kill(Sandbox *sandbox);

/* How often somebody has ended without being asked to. */
unsigned sandbox_n_crashes(const Sandbox *sandbox);
