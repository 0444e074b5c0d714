/* SPDX-License-Identifier: MIT */

/*
 * Diag: the sentences. A line that an operator acts on has a MESSAGE_ID; what a peer can repeat at will is debug or
 * limited.
 */

#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "dispatcherd/diag.h"
#include "proto/message.h"

#define MSG_STARTING "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a01"
#define MSG_READY "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a02"
#define MSG_STOPPED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a03"
#define MSG_RELOADED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a04"
#define MSG_NATS_LINK "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a05"
#define MSG_FAILED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a06"
#define MSG_RUNTIME_STATE "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a07"
#define MSG_RUNTIME_JOINED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a08"
#define MSG_RUNTIME_REMOVED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a09"
#define MSG_REGISTRATION "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0a"
#define MSG_MASS_SILENCE "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0b"
#define MSG_STALLED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0c"
#define MSG_INVALID "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0e"
#define MSG_JETSTREAM "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0f"
#define MSG_CREATION "57d3467c46de427098f28ef3aea4b581"
#define MSG_HTTP "ff45af414ee6468ba57832612ff64f29"
#define MSG_TRACING "8d3f2a917c5e4b60a1de94c7f02b6e35"
#define MSG_DRAIN "105494421ba04263801dfdcbdfaf9afd"

/* the daemon */

void diag_starting(const char *id, const char *nats_url, const char *http_address) {
        log_line(LOG_NOTICE, MSG_STARTING, FIELDS(F_STR("DISPATCHER_ID", id), F_STR("HTTP", http_address)),
                "Dispatcher %s was started (NATS at %s, http %s)", id, nats_url, http_address);
}

void diag_ready(const char *id, size_t n_runtimes, size_t n_agents) {
        log_line(LOG_NOTICE, MSG_READY,
                FIELDS(F_STR("DISPATCHER_ID", id), F_U64("RUNTIMES", n_runtimes), F_U64("AGENTS", n_agents)),
                "Dispatcher %s was ready with %zu runtimes and %zu agents", id, n_runtimes, n_agents);
}

void diag_stopping(const char *id, size_t n_waiting, size_t n_in_flight) {
        log_line(LOG_NOTICE, MSG_STOPPED,
                FIELDS(F_STR("DISPATCHER_ID", id), F_U64("WAITING", n_waiting), F_U64("IN_FLIGHT", n_in_flight)),
                "Dispatcher %s was asked to stop with %zu triggers waiting for a runtime and %zu with one", id,
                n_waiting, n_in_flight);
}

void diag_stopped(const char *id, size_t n_left) {
        log_line(LOG_NOTICE, MSG_STOPPED, FIELDS(F_STR("DISPATCHER_ID", id), F_U64("LEFT", n_left)),
                "Dispatcher %s stopped and left %zu triggers to the runtimes that hold them", id, n_left);
}

void diag_aborted(const char *id, size_t n_waiting, size_t n_in_flight) {
        log_line(LOG_WARNING, MSG_STOPPED,
                FIELDS(F_STR("DISPATCHER_ID", id), F_U64("WAITING", n_waiting), F_U64("IN_FLIGHT", n_in_flight)),
                "Dispatcher %s was told twice to stop and left at once, with %zu triggers waiting and %zu with "
                "runtimes",
                id, n_waiting, n_in_flight);
}

void diag_start_failed(int error, const char *why) {
        log_line(LOG_ERR, MSG_FAILED, FIELDS(F_ERRNO(MIN_OF(error, 0))), "The start failed: %s", why);
}

void diag_reloaded(const char *file) {
        log_line(LOG_NOTICE, MSG_RELOADED, FIELDS(F_STR("FILE", file)), "Configuration was read again from %s", file);
}

void diag_reload_refused(const char *why) {
        log_line(LOG_ERR, MSG_RELOADED, NO_FIELDS, "Configuration kept its old values: %s", why);
}

void diag_reload_ignored(const char *key) {
        log_line(LOG_WARNING, MSG_RELOADED, FIELDS(F_STR("KEY", key)), "A new value of %s was left for the next start",
                key);
}

void diag_nats_up(const char *url, uint64_t max_payload) {
        log_line(LOG_NOTICE, MSG_NATS_LINK, FIELDS(F_STR("URL", url)), "NATS at %s was connected", url);
        if (max_payload < MESSAGE_BYTES_MIN)
                log_line(LOG_ERR, MSG_NATS_LINK, FIELDS(F_STR("URL", url), F_U64("MAX_PAYLOAD", max_payload)),
                        "NATS at %s takes messages of %llu bytes at most, and %d are needed", url,
                        (unsigned long long)max_payload, MESSAGE_BYTES_MIN);
}

void diag_nats_down(const char *why) {
        log_line(LOG_WARNING, MSG_NATS_LINK, NO_FIELDS, "NATS was lost: %s", why);
}

void diag_nats_error(const char *why) {
        log_limited(LOG_WARNING, MSG_NATS_LINK, "errors of the link to NATS", NO_FIELDS,
                "The link to NATS had an error: %s", why);
}

void diag_publish_refused(uint64_t n_refused) {
        log_limited(LOG_WARNING, MSG_NATS_LINK, "messages that could not be published",
                FIELDS(F_U64("MESSAGES", n_refused)),
                "%" PRIu64 " messages could not be published: NATS is away or reads too slowly", n_refused);
}

void diag_http_trouble(const char *why) {
        log_limited(LOG_WARNING, MSG_HTTP, "connections that HTTP could not accept", NO_FIELDS,
                "HTTP could not accept a connection: %s", why);
}

void diag_tracing(const TraceExportNews *news) {
        if (news->works)
                log_limited(LOG_NOTICE, MSG_TRACING, "changes of whether spans arrive",
                        FIELDS(F_U64("DROPPED", news->n_dropped)),
                        "Spans arrived at the collector again; %" PRIu64 " were lost so far", news->n_dropped);
        else
                log_limited(LOG_WARNING, MSG_TRACING, "changes of whether spans arrive",
                        FIELDS(F_U64("DROPPED", news->n_dropped), F_STR("ERROR", news->why)),
                        "Spans could not be sent to the collector: %s", news->why);
}

/* runtimes */

#define STATE_FIELDS FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_STR("FROM", f), F_STR("TO", t))

void diag_runtime_state(Slice runtime_id, uint64_t epoch, RuntimeState from, RuntimeState to, const char *event) {
        const char *f = runtime_state_name(from), *t = runtime_state_name(to);

        if (to == RUNTIME_SUSPECT)
                log_limited_fleet(LOG_WARNING, MSG_RUNTIME_STATE, "runtimes that became suspect", STATE_FIELDS,
                        "Runtime %.*s went from %s to %s: %s", SLICE_ARG(runtime_id), f, t, event);
        else
                log_limited_fleet(LOG_INFO, MSG_RUNTIME_STATE, "states of runtimes", STATE_FIELDS,
                        "Runtime %.*s went from %s to %s: %s", SLICE_ARG(runtime_id), f, t, event);
}

void diag_runtime_impossible(Slice runtime_id, const char *state, const char *event) {
        log_limited(LOG_WARNING, MSG_RUNTIME_STATE, "what runtimes can't be told",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id)),
                "Runtime %.*s was told \"%s\" while %s, which must not happen; ignored", SLICE_ARG(runtime_id), event,
                state);
}

void diag_runtime_complete(Slice runtime_id, uint64_t epoch, uint64_t revision, size_t n_agents, size_t n_swept) {
        log_line(LOG_DEBUG, NULL,
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_U64("REVISION", revision)),
                "Registration of runtime %.*s is complete: %zu agents, %zu are gone", SLICE_ARG(runtime_id), n_agents,
                n_swept);
}

void diag_runtime_registered(Slice runtime_id, uint64_t epoch, Slice hostname, size_t n_agents) {
        log_limited_fleet(LOG_INFO, MSG_RUNTIME_JOINED, "registrations of runtimes",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_SLICE("HOSTNAME", hostname),
                        F_U64("AGENTS", n_agents)),
                "Runtime %.*s on %.*s registered with %zu agents", SLICE_ARG(runtime_id), SLICE_ARG(hostname),
                n_agents);
}

#define REMOVED_FIELDS                                                                         \
        FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_STR("REASON", why), \
                F_SLICE("SEEN_BY", seen_by), F_U64("EXECUTIONS", n_held))
#define REMOVED_SENTENCE                                                        \
        "Runtime %.*s left the registry: %s, seen by %.*s; last heard %" PRIu64 \
        " ms ago, %zu executions were with it",                                 \
                SLICE_ARG(runtime_id), why, SLICE_ARG(seen_by), silent_usec / USEC_PER_MSEC, n_held

void diag_runtime_removed(
        Slice runtime_id, uint64_t epoch, DeregisterReason reason, Slice seen_by, size_t n_held, uint64_t silent_usec) {
        const char *why = deregister_reason_names[reason];

        if (reason == DEREGISTER_HEARTBEAT_TIMEOUT)
                log_limited_fleet(
                        LOG_WARNING, MSG_RUNTIME_REMOVED, "runtimes that were lost", REMOVED_FIELDS, REMOVED_SENTENCE);
        else
                log_limited_fleet(
                        LOG_INFO, MSG_RUNTIME_REMOVED, "runtimes that left", REMOVED_FIELDS, REMOVED_SENTENCE);
}

void diag_registration_refused(Slice runtime_id, uint64_t epoch, const char *why) {
        log_limited(LOG_WARNING, MSG_REGISTRATION, "registrations that were refused",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch)),
                "Registration of runtime %.*s was refused: %s", SLICE_ARG(runtime_id), why);
}

void diag_runtime_unheard(Slice runtime_id) {
        log_limited(LOG_WARNING, MSG_RUNTIME_STATE, "runtimes that nobody listens for",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id)),
                "Nobody listens for runtime %.*s; it gets no work until it is heard again", SLICE_ARG(runtime_id));
}

void diag_drain_wanted(Slice runtime_id, bool drain) {
        log_limited(LOG_NOTICE, MSG_DRAIN, "runtimes that were asked to drain or to take work again",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id)), "An operator asked runtime %.*s to %s",
                SLICE_ARG(runtime_id), drain ? "drain" : "take work again");
}

void diag_mass_silence(size_t n_silent, size_t n_runtimes, bool begins) {
        if (begins)
                log_limited(LOG_ERR, MSG_MASS_SILENCE, "mass silences",
                        FIELDS(F_U64("SILENT", n_silent), F_U64("RUNTIMES", n_runtimes)),
                        "%zu of %zu runtimes fell silent together; probing them, with patience before any verdict",
                        n_silent, n_runtimes);
        else
                log_limited(LOG_NOTICE, MSG_MASS_SILENCE, "ends of mass silences",
                        FIELDS(F_U64("SILENT", n_silent), F_U64("RUNTIMES", n_runtimes)),
                        "The mass silence is over: %zu of %zu runtimes are silent", n_silent, n_runtimes);
}

void diag_stalled(uint64_t late_usec) {
        log_line(LOG_WARNING, MSG_STALLED, FIELDS(F_U64("LATE_MS", late_usec / USEC_PER_MSEC)),
                "This dispatcher itself did not run for %" PRIu64 " ms; every runtime gets a full window from now",
                late_usec / USEC_PER_MSEC);
}

void diag_deaf(void) {
        log_limited(LOG_WARNING, MSG_STALLED, "echoes that did not come back", NO_FIELDS,
                "Neither a probe nor our own echo came back through NATS; every runtime gets a full window from now");
}

void diag_settled(size_t n_runtimes, size_t n_agents) {
        log_line(LOG_DEBUG, NULL, FIELDS(F_U64("RUNTIMES", n_runtimes)),
                "The roll call is answered: %zu runtimes, %zu agents", n_runtimes, n_agents);
}

/* messages */

void diag_message_invalid(Slice subject, const char *why) {
        log_limited(LOG_WARNING, MSG_INVALID, "messages that were refused", FIELDS(F_SLICE("SUBJECT", subject)),
                "A message on %.*s was refused: %s", SLICE_ARG(subject), why);
}

void diag_result_forbidden(Slice subject) {
        log_limited(LOG_WARNING, MSG_INVALID, "results that were wanted on reserved subjects",
                FIELDS(F_SLICE("SUBJECT", subject)),
                "Somebody wanted an answer on %.*s, which is reserved; nothing was published there",
                SLICE_ARG(subject));
}

void diag_report_stale(Slice runtime_id, uint64_t epoch) {
        log_limited(LOG_INFO, MSG_RUNTIME_STATE, "reports of epochs that are over",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch)),
                "Runtime %.*s reported under epoch %" PRIu64 ", which is over or not known; ignored",
                SLICE_ARG(runtime_id), epoch);
}

/* agents that operators create */

void diag_created(Slice agent_id, Slice runtime_id) {
        log_line(LOG_DEBUG, MSG_CREATION, FIELDS(F_SLICE("AGENT_ID", agent_id), F_SLICE("RUNTIME_ID", runtime_id)),
                "Agent %.*s was created at runtime %.*s", SLICE_ARG(agent_id), SLICE_ARG(runtime_id));
}

void diag_creation_failed(Slice agent_id, ErrorCode code, const char *why) {
        log_line(LOG_DEBUG, MSG_CREATION, FIELDS(F_SLICE("AGENT_ID", agent_id), F_STR("CODE", error_code_name(code))),
                "Agent %.*s was not created: %s", SLICE_ARG(agent_id), why);
}

/* JetStream */

void diag_jetstream(const char *what, bool works, const char *why) {
        if (works)
                log_line(LOG_INFO, MSG_JETSTREAM, FIELDS(F_STR("WHAT", what)), "JetStream: %s: %s", what, why);
        else
                log_line(LOG_NOTICE, MSG_JETSTREAM, FIELDS(F_STR("WHAT", what)), "JetStream: %s: %s", what, why);
}
