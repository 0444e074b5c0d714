/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Diag: every sentence that compozy-runtimed logs.
 *
 * Any function may be called with the log closed (tests, simulator). What a peer can cause at will is debug, or
 * limited by kind. Executions have lines of their own (diag_execution.h), and so have child processes (diag_exec.h).
 */

#include "common/trace_export.h"
#include "common/log.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/slice.h"
#include "runtimed/agent.h"
#include "runtimed/session.h"

/* the runtime and its session */

void diag_starting(const char *runtime_id, const char *url, const char *http_address);
void diag_ready(const char *runtime_id, uint64_t epoch, size_t n_agents, size_t n_starting, bool is_registered,
        const char *http_address);
void diag_stopping(const char *runtime_id, size_t n_in_flight, uint64_t timeout_usec);
void diag_stopped(const char *runtime_id, size_t n_handed_back, size_t n_cut_short);
void diag_aborted(const char *runtime_id, size_t n_in_flight);
void diag_start_failed(int error, const char *why); /* `error`: -errno, or anything else for none */
void diag_workers_stuck(void);
void diag_session_state(Slice runtime_id, uint64_t epoch, SessionState from, SessionState to);
void diag_session_declared_dead(Slice runtime_id, uint64_t old_epoch, uint64_t epoch);
void diag_session_replaced(Slice runtime_id, uint64_t epoch, uint64_t other_epoch);
void diag_session_doubtful(Slice runtime_id, uint64_t silent_usec, uint64_t limit_usec);
void diag_superseded(Slice runtime_id, size_t n_withheld);
void diag_draining(Slice runtime_id, bool is_draining, size_t n_in_flight);
void diag_congested(Slice runtime_id, bool is_congested);
void diag_registration_refused(Slice runtime_id, Slice code, Slice message);

/* agents */

void diag_agent_state(Slice agent_id, AgentState from, AgentState to);
void diag_agent_replaced(Slice agent_id, bool is_again, const char *why_not);
void diag_agent_blocks(Slice agent_id, uint64_t usec);
void diag_agent_failed(Slice agent_id, ErrorCode code, Slice why);
void diag_agent_restarts(Slice agent_id, Slice why, uint64_t in_usec, size_t n);
void diag_agent_runs_again(Slice agent_id, size_t n);
void diag_agent_crashed(Slice agent_id, const char *why); /* with no restart to follow */
void diag_subscription_refused(Slice agent_id, Slice topic, const char *why);
void diag_restore_failed(Slice agent_id, Slice why, const char *policy);
void diag_checkpoint_failed(Slice agent_id, Slice why);
void diag_checkpoint_recovered(Slice agent_id, unsigned n_failures);
void diag_forget_failed(Slice agent_id, Slice why);
void diag_hooks_missed(Slice runtime_id, size_t n_agents);
void diag_definition_refused(const char *file, const char *why);
void diag_definition_changed(const char *file, Slice agent_id, const char *what);
void diag_agents_dir(const char *directory, int error);

/* messages */

void diag_message_invalid(Slice subject, const char *why);
void diag_message_failed(Slice agent_id, Slice topic, Slice correlation_id, Slice why);
void diag_effect_refused(
        Slice agent_id, Slice exec_id, Slice correlation_id, const char *kind, ErrorCode code, const char *why);
void diag_effects_incomplete(Slice agent_id, size_t n);

/* What an agent says itself, by `log` or on its stderr. */
typedef struct AgentWords {
        Slice agent_id;
        Slice exec_id, correlation_id; /* of what it handles; absent: nothing, or not known */
        Slice sentence, fields;
        uint64_t pid; /* 0: no process of its own */
        int level;
        bool is_cut;
} AgentWords;

/* `own`: the agent's; it ends before the agent's id does. NULL: only the limit of all agents counts. */
void diag_agent_says(const AgentWords *words, LogLimit *own);

/* the edge */

void diag_link_up(const char *url, const char *server_version, uint64_t max_payload);
void diag_link_down(const char *why);
void diag_link_error(const char *why);
void diag_publish_refused(uint64_t n);
void diag_reloaded(size_t n_created, size_t n_changed, size_t n_removed, size_t n_refused);
void diag_reload_refused(const char *why);
void diag_reload_ignored(const char *key);
void diag_tracing(const TraceExportNews *news); /* whether spans arrive has changed */
void diag_http_trouble(const char *why);
