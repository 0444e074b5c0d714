/* SPDX-License-Identifier: MIT */

/*
 * The log of child processes, to be read as a text: subject first, past tense, ids as they stand on the wire.
 */

#include "runtimed/diag_exec.h"

/* What an operator acts on: each has a paragraph in systemd/compozy.catalog. */
#define MSG_EXEC_PROCESS "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d7e0"
#define MSG_EXEC_FORCED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d7e1"
#define MSG_EXEC_WARDEN_LOST "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d7e2"

#define MSG_EXEC_WISH_REFUSED "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d7e3"

#define AGENT_AND_PID F_SLICE("AGENT_ID", agent_id), F_U64("CHILD_PID", pid)

void diag_exec_started(Slice agent_id, uint64_t pid, const char *program) {
        log_line(LOG_DEBUG, MSG_EXEC_PROCESS, FIELDS(AGENT_AND_PID), "Process %llu of agent %.*s was started: %s",
                (unsigned long long)pid, SLICE_ARG(agent_id), program);
}

void diag_exec_ended(Slice agent_id, uint64_t pid, const char *how) {
        log_line(LOG_DEBUG, MSG_EXEC_PROCESS, FIELDS(AGENT_AND_PID), "Process %llu of agent %.*s %s",
                (unsigned long long)pid, SLICE_ARG(agent_id), how);
}

void diag_exec_forced(Slice agent_id, uint64_t pid, const char *signal, uint64_t waited_ms) {
        log_limited_fleet(LOG_WARNING, MSG_EXEC_FORCED, "processes that did not end when asked to",
                FIELDS(AGENT_AND_PID, F_STR("SIGNAL", signal)),
                "Process %llu of agent %.*s had not ended %llu ms after it was asked to and was sent %s",
                (unsigned long long)pid, SLICE_ARG(agent_id), (unsigned long long)waited_ms, signal);
}

void diag_exec_wish_refused(Slice agent_id, Slice method, const char *why) {
        log_limited(LOG_WARNING, MSG_EXEC_WISH_REFUSED, "notifications of agents that were refused",
                FIELDS(F_SLICE("AGENT_ID", agent_id)), "Agent %.*s was refused %.*s: %s", SLICE_ARG(agent_id),
                (int)MIN_OF(method.size, (size_t)64), method.data, why);
}

void diag_exec_warden_lost(void) {
        log_line(LOG_ERR, MSG_EXEC_WARDEN_LOST, NO_FIELDS,
                "The warden of the child processes ended, so no new ones are started until the runtime is restarted");
}
