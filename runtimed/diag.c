/* SPDX-License-Identifier: MIT */

/*
 * The log of compozy-runtimed, to be read as a text: subject first, past tense, ids as they stand on the wire.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/message.h"
#include "runtimed/diag.h"

/* What an operator acts on: each has a paragraph in systemd/compozy.catalog. */
#define MSG_RUNTIME_STARTING "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d700"
#define MSG_RUNTIME_READY "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d701"
#define MSG_RUNTIME_STOPPING "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d702"
#define MSG_RUNTIME_STOPPED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d703"
#define MSG_RUNTIME_DECLARED_DEAD "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d704"
#define MSG_RUNTIME_REPLACED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d705"
#define MSG_RUNTIME_STALLED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d706"
#define MSG_RUNTIME_SESSION "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d707"
#define MSG_AGENT_DEFINITION_REFUSED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d708"
#define MSG_AGENT_FAILED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d709"
#define MSG_AGENT_BLOCKS_WORKER "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70a"
#define MSG_AGENT_RESTARTS "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d720"
#define MSG_AGENT_STATE_LOST "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d721"
#define MSG_AGENT_NOT_SAVED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d722"
#define MSG_AGENT_SUBSCRIPTION "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d723"
#define MSG_HOOKS_MISSED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d724"
#define MSG_LINK_UP "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70b"
#define MSG_LINK_DOWN "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70c"
#define MSG_CONFIG_RELOADED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70e"
#define MSG_RUNTIME_START_FAILED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70f"
#define MSG_LINK_TROUBLE "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d710"
#define MSG_RUNTIME_CONGESTED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d711"
#define MSG_WORKERS_STUCK "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d712"
#define MSG_RUNTIME_DRAINS "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d713"
#define MSG_REGISTRATION_REFUSED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d714"
#define MSG_HTTP "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d715"
#define MSG_TRACING "1e74c0b95d2f4836b8a3f6d10c9e57a2"
#define MSG_AGENT_STATE "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d725"
#define MSG_AGENT_REPLACED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d726"
#define MSG_MESSAGE_INVALID "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d727"
#define MSG_MESSAGE_FAILED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d728"
#define MSG_WISH_REFUSED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d729"
#define MSG_AGENT_SAYS "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d72a"

/* Lines in ten seconds: of one agent, so that it is read; of all, so that what the daemon has to say is. */
#define AGENT_LOG_BURST 100
#define AGENTS_LOG_BURST 2000

void diag_starting(const char *runtime_id, const char *url, const char *http_address) {
        log_line(LOG_NOTICE, MSG_RUNTIME_STARTING, FIELDS(F_STR("RUNTIME_ID", runtime_id), F_STR("HTTP", http_address)),
                "Runtime %s was started (NATS at %s, http %s)", runtime_id, url, http_address);
}

void diag_ready(const char *runtime_id, uint64_t epoch, size_t n_agents, size_t n_starting, bool is_registered,
        const char *http_address) {
        char starting[64] = "";

        if (n_starting > 0)
                (void)snprintf(starting, sizeof(starting), ", %zu of which are still starting", n_starting);
        log_line(LOG_NOTICE, MSG_RUNTIME_READY,
                FIELDS(F_STR("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_U64("AGENTS", n_agents),
                        F_U64("STARTING", n_starting), F_STR("HTTP", http_address)),
                "Runtime %s was ready with %zu agents%s (%s, http %s)", runtime_id, n_agents, starting,
                is_registered ? "registered" : "no dispatcher answered yet", http_address);
}

void diag_stopping(const char *runtime_id, size_t n_in_flight, uint64_t timeout_usec) {
        log_line(LOG_NOTICE, MSG_RUNTIME_STOPPING,
                FIELDS(F_STR("RUNTIME_ID", runtime_id), F_U64("IN_FLIGHT", n_in_flight)),
                "Runtime %s was asked to stop and had %zu executions to finish, at most %.1f s", runtime_id,
                n_in_flight, (double)timeout_usec / 1e6);
}

void diag_stopped(const char *runtime_id, size_t n_handed_back, size_t n_cut_short) {
        log_line(LOG_NOTICE, MSG_RUNTIME_STOPPED,
                FIELDS(F_STR("RUNTIME_ID", runtime_id), F_U64("HANDED_BACK", n_handed_back),
                        F_U64("CUT_SHORT", n_cut_short)),
                "Runtime %s stopped; %zu executions were handed back, %zu cut short", runtime_id, n_handed_back,
                n_cut_short);
}

void diag_aborted(const char *runtime_id, size_t n_in_flight) {
        log_line(LOG_WARNING, MSG_RUNTIME_STOPPED,
                FIELDS(F_STR("RUNTIME_ID", runtime_id), F_U64("IN_FLIGHT", n_in_flight)),
                "Runtime %s was told twice to stop and left at once, with %zu executions in flight", runtime_id,
                n_in_flight);
}

void diag_start_failed(int error, const char *why) {
        log_line(LOG_ERR, MSG_RUNTIME_START_FAILED, FIELDS(F_ERRNO(MIN_OF(error, 0))), "The start failed: %s", why);
}

void diag_workers_stuck(void) {
        log_line(LOG_WARNING, MSG_WORKERS_STUCK, NO_FIELDS,
                "A behaviour did not return, so the process left without it");
}

/* Coming and going of the connection has lines of its own. */
void diag_session_state(Slice runtime_id, uint64_t epoch, SessionState from, SessionState to) {
        const char *f = session_state_name(from), *t = session_state_name(to);

        if (to == SESSION_REGISTERED || to == SESSION_QUIET || to == SESSION_LEFT)
                log_limited(LOG_INFO, MSG_RUNTIME_SESSION, "changes of the session",
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_STR("FROM", f),
                                F_STR("TO", t)),
                        "Runtime %.*s went from %s to %s (epoch %llu)", SLICE_ARG(runtime_id), f, t,
                        (unsigned long long)epoch);
        else
                log_line(LOG_DEBUG, MSG_RUNTIME_SESSION,
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_STR("FROM", f),
                                F_STR("TO", t)),
                        "Runtime %.*s went from %s to %s (epoch %llu)", SLICE_ARG(runtime_id), f, t,
                        (unsigned long long)epoch);
}

void diag_session_declared_dead(Slice runtime_id, uint64_t old_epoch, uint64_t epoch) {
        log_limited(LOG_WARNING, MSG_RUNTIME_DECLARED_DEAD, "verdicts on this runtime",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("OLD_EPOCH", old_epoch), F_U64("EPOCH", epoch)),
                "Runtime %.*s was declared dead while alive and registered again with epoch %llu",
                SLICE_ARG(runtime_id), (unsigned long long)epoch);
}

void diag_session_replaced(Slice runtime_id, uint64_t epoch, uint64_t other_epoch) {
        log_line(LOG_ERR, MSG_RUNTIME_REPLACED,
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("EPOCH", epoch), F_U64("OTHER_EPOCH", other_epoch)),
                "Runtime %.*s was replaced: another process runs under this id with a higher epoch, ours was %llu; "
                "leaving",
                SLICE_ARG(runtime_id), (unsigned long long)epoch);
}

void diag_session_doubtful(Slice runtime_id, uint64_t silent_usec, uint64_t limit_usec) {
        log_limited(LOG_WARNING, MSG_RUNTIME_STALLED, "silences of this runtime",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("SILENT_MS", silent_usec / 1000)),
                "Runtime %.*s was silent for %.1f s (limit %.1f s) and takes no work until a dispatcher has answered",
                SLICE_ARG(runtime_id), (double)silent_usec / 1e6, (double)limit_usec / 1e6);
}

void diag_superseded(Slice runtime_id, size_t n_withheld) {
        log_limited(LOG_WARNING, MSG_RUNTIME_DECLARED_DEAD, "answers that were withheld",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("WITHHELD", n_withheld)),
                "Runtime %.*s withheld %zu executions of an epoch that is over", SLICE_ARG(runtime_id), n_withheld);
}

void diag_draining(Slice runtime_id, bool is_draining, size_t n_in_flight) {
        if (is_draining)
                log_limited(LOG_NOTICE, MSG_RUNTIME_DRAINS, "drains",
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("IN_FLIGHT", n_in_flight)),
                        "Runtime %.*s began to drain with %zu executions in flight", SLICE_ARG(runtime_id),
                        n_in_flight);
        else
                log_limited(LOG_NOTICE, MSG_RUNTIME_DRAINS, "ends of drains",
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("IN_FLIGHT", n_in_flight)),
                        "Runtime %.*s took work again with %zu executions in flight", SLICE_ARG(runtime_id),
                        n_in_flight);
}

void diag_congested(Slice runtime_id, bool is_congested) {
        if (is_congested)
                log_limited(LOG_WARNING, MSG_RUNTIME_CONGESTED, "congestions",
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id)),
                        "Runtime %.*s took no more work, as NATS takes too slowly what it says", SLICE_ARG(runtime_id));
        else
                log_limited(LOG_NOTICE, MSG_RUNTIME_CONGESTED, "ends of congestions",
                        FIELDS(F_SLICE("RUNTIME_ID", runtime_id)),
                        "Runtime %.*s took work again, as NATS has caught up", SLICE_ARG(runtime_id));
}

void diag_registration_refused(Slice runtime_id, Slice code, Slice message) {
        log_limited(LOG_WARNING, MSG_REGISTRATION_REFUSED, "registrations that were refused",
                FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_SLICE("CODE", code)),
                "Registration of %.*s was refused with %.*s: %.*s", SLICE_ARG(runtime_id), SLICE_ARG(code),
                SLICE_ARG(message));
}

/* Agents come by the hundred thousand: one line each only for who asks for it. */
void diag_agent_state(Slice agent_id, AgentState from, AgentState to) {
        const char *f = agent_state_name(from), *t = agent_state_name(to);

        log_line(LOG_DEBUG, MSG_AGENT_STATE, FIELDS(F_SLICE("AGENT_ID", agent_id), F_STR("FROM", f), F_STR("TO", t)),
                "Agent %.*s went from %s to %s", SLICE_ARG(agent_id), f, t);
}

void diag_agent_replaced(Slice agent_id, bool is_again, const char *why_not) {
        if (is_again && why_not)
                log_limited_fleet(LOG_ERR, MSG_AGENT_REPLACED, "agents that could not be started again",
                        FIELDS(F_SLICE("AGENT_ID", agent_id)), "Agent %.*s could not be started again: %s",
                        SLICE_ARG(agent_id), why_not);
        else if (is_again)
                log_limited_fleet(LOG_INFO, MSG_AGENT_REPLACED, "agents that were started again",
                        FIELDS(F_SLICE("AGENT_ID", agent_id)), "Agent %.*s was started again", SLICE_ARG(agent_id));
        else if (why_not)
                log_limited_fleet(LOG_ERR, MSG_AGENT_REPLACED, "definitions that failed",
                        FIELDS(F_SLICE("AGENT_ID", agent_id)),
                        "Agent %.*s kept its old definition, as the new one failed: %s", SLICE_ARG(agent_id), why_not);
        else
                log_limited_fleet(LOG_INFO, MSG_AGENT_REPLACED, "agents with a new definition",
                        FIELDS(F_SLICE("AGENT_ID", agent_id)), "Agent %.*s took its new definition",
                        SLICE_ARG(agent_id));
}

void diag_agent_blocks(Slice agent_id, uint64_t usec) {
        log_limited_fleet(LOG_WARNING, MSG_AGENT_BLOCKS_WORKER, "agents that hold their workers",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_U64("MS", usec / 1000)),
                "Agent %.*s has held its worker for %llu ms with one message", SLICE_ARG(agent_id),
                (unsigned long long)(usec / 1000));
}

void diag_agent_failed(Slice agent_id, ErrorCode code, Slice why) {
        log_limited_fleet(LOG_ERR, MSG_AGENT_FAILED, "agents that failed",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_STR("CODE", error_code_name(code))),
                "Agent %.*s has failed with %s: %.*s", SLICE_ARG(agent_id), error_code_name(code), SLICE_ARG(why));
}

void diag_agent_restarts(Slice agent_id, Slice why, uint64_t in_usec, size_t n) {
        log_limited_fleet(LOG_WARNING, MSG_AGENT_RESTARTS, "agents that will be restarted",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_U64("MS", in_usec / 1000), F_U64("RESTARTS", n)),
                "Agent %.*s was lost and will be restarted in %llu ms (restart %zu): %.*s", SLICE_ARG(agent_id),
                (unsigned long long)(in_usec / 1000), n, SLICE_ARG(why));
}

void diag_agent_runs_again(Slice agent_id, size_t n) {
        log_limited_fleet(LOG_INFO, MSG_AGENT_RESTARTS, "agents that run again",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_U64("RESTARTS", n)),
                "Agent %.*s runs again, after %zu restarts", SLICE_ARG(agent_id), n);
}

void diag_agent_crashed(Slice agent_id, const char *why) {
        log_limited_fleet(LOG_WARNING, MSG_AGENT_RESTARTS, "agents that were lost while they were being stopped",
                FIELDS(F_SLICE("AGENT_ID", agent_id)), "Agent %.*s was lost while it was being stopped: its process %s",
                SLICE_ARG(agent_id), why);
}

void diag_subscription_refused(Slice agent_id, Slice topic, const char *why) {
        log_limited_fleet(LOG_ERR, MSG_AGENT_SUBSCRIPTION, "agents that could not be subscribed",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_SLICE("SUBJECT", topic)),
                "Agent %.*s could not be subscribed to %.*s: %s", SLICE_ARG(agent_id), SLICE_ARG(topic), why);
}

void diag_restore_failed(Slice agent_id, Slice why, const char *policy) {
        log_limited_fleet(LOG_ERR, MSG_AGENT_STATE_LOST, "states that could not be restored",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_STR("POLICY", policy)),
                "State of agent %.*s could not be restored (on_restore_error: %s): %.*s", SLICE_ARG(agent_id), policy,
                SLICE_ARG(why));
}

void diag_checkpoint_failed(Slice agent_id, Slice why) {
        log_limited(LOG_ERR, MSG_AGENT_NOT_SAVED, "states that could not be saved",
                FIELDS(F_SLICE("AGENT_ID", agent_id)), "State of agent %.*s could not be saved: %.*s",
                SLICE_ARG(agent_id), SLICE_ARG(why));
}

void diag_checkpoint_recovered(Slice agent_id, unsigned n_failures) {
        log_limited(LOG_NOTICE, MSG_AGENT_NOT_SAVED, "states that were saved in the end",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_U64("ATTEMPTS", n_failures)),
                "State of agent %.*s was saved after %u failures", SLICE_ARG(agent_id), n_failures);
}

void diag_forget_failed(Slice agent_id, Slice why) {
        log_limited(LOG_ERR, MSG_AGENT_NOT_SAVED, "states that could not be removed",
                FIELDS(F_SLICE("AGENT_ID", agent_id)),
                "State of agent %.*s, which was deleted, could not be removed from the store: %.*s",
                SLICE_ARG(agent_id), SLICE_ARG(why));
}

void diag_hooks_missed(Slice runtime_id, size_t n_agents) {
        log_line(LOG_ERR, MSG_HOOKS_MISSED, FIELDS(F_SLICE("RUNTIME_ID", runtime_id), F_U64("AGENTS", n_agents)),
                "Runtime %.*s leaves though %zu agents have not come to their stop", SLICE_ARG(runtime_id), n_agents);
}

void diag_definition_refused(const char *file, const char *why) {
        log_limited_fleet(LOG_ERR, MSG_AGENT_DEFINITION_REFUSED, "definitions that were refused",
                FIELDS(F_STR("FILE", file)), "Agent definition %s was refused: %s", file, why);
}

void diag_definition_changed(const char *file, Slice agent_id, const char *what) {
        log_limited_fleet(LOG_INFO, MSG_AGENT_REPLACED, "agents that came and went with their files",
                FIELDS(F_STR("FILE", file), F_SLICE("AGENT_ID", agent_id)), "Agent %.*s was %s with %s",
                SLICE_ARG(agent_id), what, file);
}

void diag_agents_dir(const char *directory, int error) {
        log_line(LOG_ERR, MSG_AGENT_DEFINITION_REFUSED, FIELDS(F_STR("DIRECTORY", directory), F_ERRNO(error)),
                "Directory %s of agent definitions could not be read: %s", directory, strerror(-error));
}

void diag_message_invalid(Slice subject, const char *why) {
        log_limited(LOG_WARNING, MSG_MESSAGE_INVALID, "messages that were refused", FIELDS(F_SLICE("SUBJECT", subject)),
                "Message on %.*s was refused: %s", SLICE_ARG(subject), why);
}

void diag_message_failed(Slice agent_id, Slice topic, Slice correlation_id, Slice why) {
        log_limited(LOG_WARNING, MSG_MESSAGE_FAILED, "messages that agents could not handle",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_SLICE("SUBJECT", topic),
                        F_SLICE("CORRELATION_ID", correlation_id)),
                "Agent %.*s could not handle a message on %.*s: %.*s", SLICE_ARG(agent_id), SLICE_ARG(topic),
                SLICE_ARG(why));
}

void diag_effect_refused(
        Slice agent_id, Slice exec_id, Slice correlation_id, const char *kind, ErrorCode code, const char *why) {
        log_limited(LOG_WARNING, MSG_WISH_REFUSED, "wishes of agents that were refused",
                FIELDS(F_SLICE("AGENT_ID", agent_id), F_SLICE("EXEC_ID", exec_id),
                        F_SLICE("CORRELATION_ID", correlation_id), F_STR("CODE", error_code_name(code))),
                "Agent %.*s was refused %s with %s: %s", SLICE_ARG(agent_id), kind, error_code_name(code), why);
}

void diag_effects_incomplete(Slice agent_id, size_t n) {
        log_limited(LOG_ERR, MSG_WISH_REFUSED, "wishes of agents that memory was out for",
                FIELDS(F_SLICE("AGENT_ID", agent_id)),
                "Agent %.*s wanted more than the %zu things there was memory for", SLICE_ARG(agent_id), n);
}

/*
 * In the agent's own words; what it adds is one field, whatever names it chose. Its SYSLOG_IDENTIFIER is what it is
 * called as a sender of messages, so no agent can pass for a program that others' logs are read for.
 */
void diag_agent_says(const AgentWords *words, LogLimit *own) {
        static const LogKind kind = { LOG_WARNING, MSG_AGENT_SAYS, "own words", AGENT_LOG_BURST, true };
        static const LogKind kind_all = { LOG_WARNING, MSG_AGENT_SAYS, "agents' own words", AGENTS_LOG_BURST, true };
        static LogLimit all;
        const LogField whose = F_SLICE("AGENT_ID", words->agent_id);
        char speaker[ID_MAX + 8];

        if (words->level > log_level() || (own && log_limit_level(own, &kind, &whose) == LOG_LEFT_OUT) ||
                log_limit_level(&all, &kind_all, NULL) == LOG_LEFT_OUT)
                return;
        (void)snprintf(speaker, sizeof(speaker), "agent.%.*s", SLICE_ARG(words->agent_id));
        log_write(words->level, MSG_AGENT_SAYS,
                FIELDS_SAID_BY(slice_of(speaker), F_SLICE("AGENT_ID", words->agent_id),
                        F_SLICE("EXEC_ID", words->exec_id), F_SLICE("CORRELATION_ID", words->correlation_id),
                        F_U64_IF("CHILD_PID", words->pid), F_SLICE("FIELDS", words->fields)),
                "%.*s%s", SLICE_ARG(words->sentence), words->is_cut ? "..." : "");
}

void diag_link_up(const char *url, const char *server_version, uint64_t max_payload) {
        log_line(LOG_INFO, MSG_LINK_UP,
                FIELDS(F_STR("URL", url), F_STR("VERSION", server_version[0] ? server_version : NULL),
                        F_U64("MAX_PAYLOAD", max_payload)),
                server_version[0] ? "NATS at %s was connected (nats-server %s)" : "NATS at %s was connected%s", url,
                server_version);
        if (max_payload < MESSAGE_BYTES_MIN)
                log_line(LOG_ERR, MSG_LINK_TROUBLE, FIELDS(F_STR("URL", url), F_U64("MAX_PAYLOAD", max_payload)),
                        "NATS at %s takes messages of %llu bytes at most, and %d are needed", url,
                        (unsigned long long)max_payload, MESSAGE_BYTES_MIN);
}

void diag_link_down(const char *why) {
        log_line(LOG_WARNING, MSG_LINK_DOWN, NO_FIELDS, "NATS was lost: %s", why);
}

void diag_link_error(const char *why) {
        log_limited(LOG_WARNING, MSG_LINK_TROUBLE, "errors of the link to NATS", NO_FIELDS,
                "The link to NATS had an error: %s", why);
}

void diag_publish_refused(uint64_t n) {
        log_limited(LOG_WARNING, MSG_RUNTIME_CONGESTED, "messages that could not be published",
                FIELDS(F_U64("MESSAGES", n)), "The connection to NATS took %llu messages less than we had",
                (unsigned long long)n);
}

void diag_reloaded(size_t n_created, size_t n_changed, size_t n_removed, size_t n_refused) {
        log_line(LOG_NOTICE, MSG_CONFIG_RELOADED, NO_FIELDS,
                "Configuration was read again: %zu agents created, %zu changed, %zu removed, %zu definitions refused",
                n_created, n_changed, n_removed, n_refused);
}

void diag_reload_refused(const char *why) {
        log_line(LOG_ERR, MSG_CONFIG_RELOADED, NO_FIELDS, "Configuration kept its old values: %s", why);
}

void diag_reload_ignored(const char *key) {
        log_line(LOG_WARNING, MSG_CONFIG_RELOADED, FIELDS(F_STR("KEY", key)),
                "A new value of %s was left for the next start", key);
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

void diag_http_trouble(const char *why) {
        log_limited(LOG_WARNING, MSG_HTTP, "connections that HTTP could not accept", NO_FIELDS,
                "HTTP could not accept a connection: %s", why);
}
