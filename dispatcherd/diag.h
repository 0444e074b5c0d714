/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every sentence that compozy-dispatcherd logs, but for those about executions (diag_execution.h). What a peer can
 * cause at will is limited, by kind.
 */

#include "common/instant.h"
#include "common/trace_export.h"
#include "dispatcherd/registry.h"
#include "proto/error_code.h"
#include "proto/slice.h"

/* the daemon */

void diag_starting(const char *id, const char *nats_url, const char *http_address);
void diag_ready(const char *id, size_t n_runtimes, size_t n_agents);
void diag_stopping(const char *id, size_t n_waiting, size_t n_in_flight);
void diag_stopped(const char *id, size_t n_left);
void diag_aborted(const char *id, size_t n_waiting, size_t n_in_flight);
void diag_start_failed(int error, const char *why); /* `error`: -errno, or anything else for none */
void diag_reloaded(const char *file);
void diag_reload_refused(const char *why);
void diag_reload_ignored(const char *key);
void diag_nats_up(const char *url, uint64_t max_payload);
void diag_nats_down(const char *why);
void diag_nats_error(const char *why);
void diag_publish_refused(uint64_t n_refused);
void diag_http_trouble(const char *why);

/* Whether spans arrive has changed. */
void diag_tracing(const TraceExportNews *news);

/* runtimes */

void diag_runtime_state(Slice runtime_id, uint64_t epoch, RuntimeState from, RuntimeState to, const char *event);
void diag_runtime_impossible(Slice runtime_id, const char *state, const char *event);
void diag_runtime_complete(Slice runtime_id, uint64_t epoch, uint64_t revision, size_t n_agents, size_t n_swept);
void diag_runtime_registered(Slice runtime_id, uint64_t epoch, Slice hostname, size_t n_agents);
void diag_runtime_removed(
        Slice runtime_id, uint64_t epoch, DeregisterReason reason, Slice seen_by, size_t n_held, uint64_t silent_usec);
void diag_registration_refused(Slice runtime_id, uint64_t epoch, const char *why);
void diag_runtime_unheard(Slice runtime_id);
void diag_drain_wanted(Slice runtime_id, bool drain);
void diag_mass_silence(size_t n_silent, size_t n_runtimes, bool begins);
void diag_stalled(uint64_t late_usec);
void diag_deaf(void);
void diag_settled(size_t n_runtimes, size_t n_agents);

/* messages */

void diag_message_invalid(Slice subject, const char *why);
void diag_result_forbidden(Slice subject);
void diag_report_stale(Slice runtime_id, uint64_t epoch); /* all of it */

/* agents that operators create; at debug level */

void diag_created(Slice agent_id, Slice runtime_id);
void diag_creation_failed(Slice agent_id, ErrorCode code, const char *why);

/* JetStream */

void diag_jetstream(const char *what, bool works, const char *why);
