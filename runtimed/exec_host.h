/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ExecHost: behaviours that are child processes, in any language: docs/exec.md, "JSON-RPC on stdin and stdout".
 *
 * Part of the edge: starts and reaps the children, speaks with them over pipes on the loop, confines them, and kills
 * what does not keep to the protocol. Decides nothing about restarts: it hands outcomes, effects and crashes to the
 * core, which does. Loop thread only. Owns its children; a Mail is borrowed from exec_host_call() until its outcome is
 * handed over.
 *
 * A call MAIL_INIT starts a child and initializes it, MAIL_STOP shuts it down and is over when it is gone. Whatever
 * befalls a child, each call that was made has exactly one outcome.
 */

#include <event2/event.h>

#include "proto/cc.h"
#include "runtimed/run.h"

typedef struct ExecHost ExecHost;

typedef struct ExecHostCallbacks {
        /* Takes the outcome. Several may come from within one event; never from within exec_host_call(). */
        void (*on_outcome)(Outcome *outcome, void *userdata);
        /* What a child wants while it handles `message_id` (0: nothing in particular). The list is borrowed. */
        void (*on_effects)(Agent *agent, uint64_t message_id, EffectList *effects, void *userdata);
        /* It ended without being told to, or was killed for what it did. After the outcomes of all that it held
         * (AGENT_CRASHED; TIMEOUT for the call that took too long). It is forgotten: the next call is MAIL_INIT. */
        void (*on_crash)(Agent *agent, const char *why, void *userdata);
        /* After a batch of the above: the end of a turn. */
        void (*on_turn_end)(void *userdata);
        void *userdata;
} ExecHostCallbacks;

/*
 * To be called before the process has any thread but its first: forks the warden, a process that kills all children
 * when this one is gone, by SIGKILL even. Returns the warden's descriptor or -errno.
 */
int exec_warden_start(void);

/* Takes the warden's descriptor on 0. `base` NULL: there will be no calls, it is for exec_host_behavior() alone. */
int exec_host_new(
        struct event_base *base, int warden_fd, const ExecHostCallbacks *callbacks, ExecHost **ret) _must_check_;

/* Kills every child that is left, waits for it, and frees. Calls without an outcome get none. */
ExecHost *exec_host_free(ExecHost *host);

DEFINE_CLEANUP(ExecHost *, exec_host_free);

/* "exec", for the list of behaviours. Outlives the host. */
const Behavior *exec_host_behavior(const ExecHost *host);

/*
 * INIT, STOP, CHECKPOINT, TRIGGER, TOPIC, ANSWER, TIMER. A call that the core gives up on is not taken back: its
 * outcome still comes.
 */
void exec_host_call(ExecHost *host, Mail *mail);

typedef struct ExecHostStats {
        uint64_t n_children, n_started, n_crashed, n_calls, n_protocol_errors, n_call_timeouts;
} ExecHostStats;

/*
 * While it is held nothing is read from children that run, as what they want said finds no room; they wait at their
 * pipes, and their calls do not time out.
 */
void exec_host_hold(ExecHost *host, bool is_held);

void exec_host_stats(const ExecHost *host, ExecHostStats *ret);
