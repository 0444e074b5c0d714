/* SPDX-License-Identifier: MIT */

/*
 * The story of an execution, as the runtime knows it: the part between being relayed and being answered. COMPOZY_STEP
 * says which step a line is, for programs.
 */

#include "proto/result.h"
#include "runtimed/agent.h"
#include "runtimed/diag_execution.h"

#define MSG_STEP "e0b8f0a8d2a94f1d8f0a3c5be6d1a7f4"
#define MSG_RUNTIME_SHEDS "5f1f9b1c6a0e4a7fb6d2c3f0a4e1d70d"

#define STEP(name) F_STR("STEP", name)
#define IDS                                                                                                      \
        F_SLICE("EXEC_ID", id_slice(&execution->id)), F_SLICE("AGENT_ID", id_slice(&execution->mail.agent->id)), \
                F_SLICE("CORRELATION_ID", execution->correlation_id), F_U64("ATTEMPT", execution->attempt)
#define IDS_OF_TRIGGER                                                                      \
        F_SLICE("EXEC_ID", trigger->agent_exec_id), F_SLICE("AGENT_ID", trigger->agent_id), \
                F_SLICE("CORRELATION_ID", trigger->metadata.correlation_id), F_U64("ATTEMPT", attempt_of(trigger))

static uint64_t attempt_of(const Trigger *trigger) {
        return trigger->dispatch.present ? trigger->dispatch.attempt : 0;
}

static const char *agent_of(const Execution *execution) {
        return execution->mail.agent->id.text;
}

void diag_execution_accepted(const Execution *execution, uint64_t now) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("accepted"), IDS),
                "Execution %s of agent %s was accepted as attempt %llu, with %llu ms to its deadline",
                execution->id.text, agent_of(execution), (unsigned long long)execution->attempt,
                (unsigned long long)((execution->expires_usec - MIN_OF(now, execution->expires_usec)) / USEC_PER_MSEC));
}

void diag_execution_step(const Execution *execution, const char *step, const char *what) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP(step), IDS), "Execution %s of agent %s %s", execution->id.text,
                agent_of(execution), what);
}

/* Why it failed in the agent's own words may hold what it was given: that is for its caller alone. */
void diag_execution_ended(const Execution *execution, unsigned status, ErrorCode code, Slice why) {
        const Slice shown = status == STATUS_FAILURE ? why : SLICE("");
        const char *name = code == ERROR_NONE ? NULL : error_code_name(code);

        log_line(LOG_DEBUG, MSG_STEP,
                FIELDS(STEP("done"), IDS, F_STR("STATUS", result_status_names[status]), F_STR("CODE", name)),
                "Execution %s of agent %s was answered: %s%s%s%s%.*s", execution->id.text, agent_of(execution),
                result_status_names[status], name ? " " : "", name ? name : "", shown.size > 0 ? ": " : "",
                SLICE_ARG(shown));
}

void diag_execution_withheld(const Execution *execution, const char *why) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("withheld"), IDS),
                "Answer of execution %s of agent %s was withheld: %s", execution->id.text, agent_of(execution), why);
}

void diag_trigger_repeated(const Trigger *trigger, const char *what) {
        log_line(LOG_DEBUG, MSG_STEP, FIELDS(STEP("repeated"), IDS_OF_TRIGGER),
                "Execution %.*s of agent %.*s was asked for again: %s", SLICE_ARG(trigger->agent_exec_id),
                SLICE_ARG(trigger->agent_id), what);
}

void diag_trigger_refused(const Trigger *trigger, ErrorCode code, const char *why) {
        log_limited(LOG_INFO, MSG_RUNTIME_SHEDS, "triggers that were refused",
                FIELDS(STEP("refused"), IDS_OF_TRIGGER, F_STR("CODE", error_code_name(code))),
                "Execution %.*s of agent %.*s was refused with %s: %s", SLICE_ARG(trigger->agent_exec_id),
                SLICE_ARG(trigger->agent_id), error_code_name(code), why ? why : error_code_meaning(code));
}
