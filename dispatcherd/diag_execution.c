/* SPDX-License-Identifier: MIT */

/*
 * The story of an execution, as the dispatcher knows it. Each line has the execution's ids, so that any of them finds
 * the rest; COMPOZY_STEP says which step it is, for programs.
 */

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "dispatcherd/diag_execution.h"

#define MSG_STEP "5af3b1ea1c4e4b1d9b8f2f6a9b6f0c27"
#define MSG_SHED "5a0d5f2b8c6e4b0f9c4b1c6f6f1f0a0d"
#define MSG_REFUSED "7647e899b0d649acab921427f5348b5e"
#define MSG_STALE "bc57d79a16294db4856ae470ca5d9e5c"

#define IDS                                                                                                     \
        F_SLICE("EXEC_ID", id_slice(&execution->exec_id)), F_SLICE("AGENT_ID", id_slice(&execution->agent_id)), \
                F_SLICE("CORRELATION_ID", correlation_of(execution))
#define RUNTIME_OF_ATTEMPT F_SLICE("RUNTIME_ID", last_runtime(execution)), F_U64("ATTEMPT", execution->attempt)
#define STEP(name) F_STR("STEP", name)

static Slice correlation_of(const Execution *execution) {
        return execution->parcel ? execution->parcel->trigger.metadata.correlation_id : SLICE_NONE;
}

static Slice last_runtime(const Execution *execution) {
        return execution->attempt > 0 ? id_slice(&execution->attempts[execution->attempt % ATTEMPTS_KEPT].runtime_id)
                                      : SLICE_NONE;
}

static uint64_t ms_until(uint64_t usec, uint64_t now) {
        return usec > now ? (usec - now) / USEC_PER_MSEC : 0;
}

void diag_execution_arrived(const Execution *execution, bool was_known, uint64_t now) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("arrived"), IDS),
                "Trigger %s for agent %s arrived%s: priority %" PRIu64 ", retry %s, %" PRIu64 " ms to its deadline, %s",
                execution->exec_id.text, execution->agent_id.text, was_known ? " again, after its end" : "",
                execution->priority, retry_policy_names[execution->retry], ms_until(execution->deadline_usec, now),
                execution->parcel->reply_to.size > 0 ? "an answer is wanted" : "no answer is wanted");
}

void diag_execution_repeated(const Execution *execution, bool is_new_caller) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("repeated"), IDS), "Trigger %s for agent %s came again while %s%s",
                execution->exec_id.text, execution->agent_id.text,
                execution->phase == PHASE_IN_FLIGHT ? "a runtime has it" : "it waits",
                is_new_caller ? "; another caller is answered, too" : "");
}

void diag_execution_waits(const Execution *execution, const char *why, uint64_t until, uint64_t now) {
        char limit[64];

        if (until == USEC_NEVER)
                (void)snprintf(limit, sizeof(limit), "until its deadline");
        else
                (void)snprintf(limit, sizeof(limit), "for at most %" PRIu64 " ms", ms_until(until, now));
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("queued"), IDS), "Trigger %s for agent %s waits %s: %s",
                execution->exec_id.text, execution->agent_id.text, limit, why);
}

void diag_execution_relayed(const Execution *execution, const Placement *placement) {
        char why[ID_MAX + 128];

        if (placement->runner_up)
                (void)snprintf(why, sizeof(why), "no more loaded than %s, the other of two picked at random",
                        placement->runner_up->id.text);
        else if (placement->best == FITNESS_LIVE)
                (void)snprintf(why, sizeof(why), "the only one that may be given it now");
        else
                (void)snprintf(why, sizeof(why), "nobody else can, though %s", fitness_meaning(placement->best));
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("relayed"), IDS, RUNTIME_OF_ATTEMPT),
                "Trigger %s for agent %s went to runtime %s, attempt %" PRIu64 ": %s", execution->exec_id.text,
                execution->agent_id.text, execution->runtime->id.text, execution->attempt, why);
}

void diag_execution_asked(const Execution *execution, uint64_t now) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("asked"), IDS, RUNTIME_OF_ATTEMPT),
                "Runtime %s was asked for attempt %" PRIu64 " of trigger %s, %" PRIu64 " ms after it was sent",
                execution->runtime->id.text, execution->attempt, execution->exec_id.text,
                (now - MIN_OF(execution->sent_usec, now)) / USEC_PER_MSEC);
}

void diag_execution_reported(const Execution *execution, const char *what) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP(what), IDS, RUNTIME_OF_ATTEMPT),
                "Runtime %s reported attempt %" PRIu64 " of trigger %s as %s", execution->runtime->id.text,
                execution->attempt, execution->exec_id.text, what);
}

void diag_execution_moved(const Execution *execution, const char *why) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("retried"), IDS, RUNTIME_OF_ATTEMPT),
                "Trigger %s for agent %s is to be placed again after attempt %" PRIu64 " with runtime %.*s: %s",
                execution->exec_id.text, execution->agent_id.text, execution->attempt,
                SLICE_ARG(last_runtime(execution)), why);
}

void diag_execution_ended(const Execution *execution, const char *status, ErrorCode code) {
        log_line(LOG_DEBUG, MSG_STEP,
                FIELDS(STEP("ended"), IDS, RUNTIME_OF_ATTEMPT, F_STR("STATUS", status),
                        F_STR("CODE", code == ERROR_NONE ? NULL : error_code_name(code))),
                "Trigger %s for agent %s was answered by runtime %.*s: %s%s%s", execution->exec_id.text,
                execution->agent_id.text, SLICE_ARG(last_runtime(execution)), status, code == ERROR_NONE ? "" : " ",
                code == ERROR_NONE ? "" : error_code_name(code));
}

#define FAILED_FIELDS FIELDS(STEP("failed"), IDS, RUNTIME_OF_ATTEMPT, F_STR("CODE", error_code_name(code)))

void diag_execution_failed(const Execution *execution, ErrorCode code, const char *why) {
        if (code == ERROR_OVERLOADED)
                log_limited(LOG_WARNING, MSG_SHED, "triggers that were answered OVERLOADED", FAILED_FIELDS,
                        "Trigger %s for agent %s was answered %s: %s", execution->exec_id.text,
                        execution->agent_id.text, error_code_name(code), why);
        else
                log_limited(LOG_INFO, MSG_SHED, "triggers that failed", FAILED_FIELDS,
                        "Trigger %s for agent %s was answered %s: %s", execution->exec_id.text,
                        execution->agent_id.text, error_code_name(code), why);
}

void diag_execution_stale(const Execution *execution, Slice runtime_id, uint64_t attempt, const char *what) {
        log_limited(LOG_INFO, MSG_STALE, "reports of attempts that are over",
                FIELDS(STEP("stale"), IDS, F_SLICE("RUNTIME_ID", runtime_id), F_U64("ATTEMPT", attempt)),
                "Runtime %.*s reported attempt %" PRIu64 " of trigger %s as %s, though attempt %" PRIu64
                " took its place; ignored",
                SLICE_ARG(runtime_id), attempt, execution->exec_id.text, what, execution->attempt);
}

void diag_trigger_refused(Slice exec_id, Slice agent_id, Slice correlation_id, ErrorCode code, const char *why) {
        log_limited(LOG_WARNING, MSG_REFUSED, "triggers that were refused",
                FIELDS(STEP("refused"), F_SLICE("EXEC_ID", exec_id), F_SLICE("AGENT_ID", agent_id),
                        F_SLICE("CORRELATION_ID", correlation_id), F_STR("CODE", error_code_name(code))),
                "A trigger for agent %.*s was refused with %s: %s", SLICE_ARG(agent_id), error_code_name(code), why);
}
