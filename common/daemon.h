/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Daemon: what both programs do around their core: command line, libevent loop, signals, service manager (sd_notify,
 * watchdog), the NATS keys of the configuration.
 *
 * One per process. Loop thread only.
 */

#include <event2/event.h>

#include "common/config.h"
#include "common/instant.h"
#include "proto/buffer.h"
#include "proto/cc.h"

#define COMPOZY_VERSION "0.1.0"

#define DAEMON_EXIT_CONFIG 78 /* EX_CONFIG of sysexits(3): trying again can't help */

typedef struct DaemonArguments {
        const char **files;   /* -c, n_files of them; the array is owned */
        const char **options; /* -o, n_options of them; the array is owned */
        size_t n_files, n_options;
        bool check_config, check_credentials; /* the second only with the first */
} DaemonArguments;

enum {
        DAEMON_E_OK,

        DAEMON_E_EXIT,  /* --help or --version was printed: leave with success */
        DAEMON_E_USAGE, /* an unknown option or argument, already reported on stderr: leave with status 2 */
};

/* -c, -o, --check-config, --check-reload, --version, --help. `summary` is one line for --help. */
int daemon_parse_arguments(int argc, char **argv, const char *summary, const ConfigTable *table, DaemonArguments *ret);
void daemon_arguments_done(DaemonArguments *arguments);

/* Where the configuration comes from, in a word for people: the last file, which wins. */
const char *daemon_arguments_name(const DaemonArguments *arguments);

/* All of main(): parses the arguments, calls `run` with them, and returns the status to leave with. */
int daemon_main(int argc, char **argv, const char *summary, const ConfigTable *table,
        int (*run)(const DaemonArguments *arguments));

/* config_load() of what the arguments name. Returns 0, CONFIG_E_INVALID or -errno, with the reason in `ret_error`
 * always. */
int daemon_load(const DaemonArguments *arguments, const ConfigTable *table, void *ret, ConfigError *ret_error);

typedef struct Daemon Daemon;

typedef struct DaemonCallbacks {
        void (*on_stop)(void *userdata);   /* first SIGTERM or SIGINT: drain */
        void (*on_abort)(void *userdata);  /* a second one: daemon_run() returns at once, with EXIT_FAILURE; NULL:
                                              nothing to say about it */
        void (*on_reload)(void *userdata); /* SIGHUP */
        void (*on_time)(void *userdata);   /* the moment of daemon_arm() has come */
        void (*on_status)(Buffer *status, void *userdata); /* one line: what goes on at this moment. Asked for once a
                                                              second, when there is a service manager; NULL: nothing */
        void *userdata;
} DaemonCallbacks;

int daemon_new(const DaemonCallbacks *callbacks, Daemon **ret) _must_check_;
Daemon *daemon_free(Daemon *daemon);

DEFINE_CLEANUP(Daemon *, daemon_free);

struct event_base *daemon_base(Daemon *daemon);

/* Arms the one timer of the core; USEC_NEVER disarms. */
void daemon_arm(Daemon *daemon, uint64_t usec);

/* sd_notify(3): READY=1 once, with a status; RELOADING, which daemon_notify_ready() ends. Nothing when there is no
 * manager. */
void daemon_notify_ready(Daemon *daemon);
void daemon_notify_reloading(Daemon *daemon);

/* STOPPING; then the manager is asked for a few seconds more once a second, for as long as the loop comes round and
 * `extend_usec` has not passed. */
void daemon_notify_stopping(Daemon *daemon, uint64_t extend_usec);

/* Something has changed that an operator wants to see: STATUS now, if it reads otherwise than the last one. When called
 * often, a moment later. */
void daemon_update_status(Daemon *daemon);

/* Runs until daemon_exit(); returns its status. The watchdog is fed from here, by turns that came round. */
int daemon_run(Daemon *daemon);
void daemon_exit(Daemon *daemon, int status);

/* When the loop last came round; for /healthz. */
uint64_t daemon_last_turn_usec(const Daemon *daemon);
