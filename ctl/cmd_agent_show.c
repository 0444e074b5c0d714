/* SPDX-License-Identifier: MIT */

#include "ctl/agent_words.h"
#include "ctl/commands.h"
#include "ctl/fields.h"

typedef struct Options {
        const char *runtime;
} Options;

static const Option options[] = { AGENT_RUNTIME_OPTION(Options), {} };

static void print_failure(const Ctl *ctl, const json_t *agent) {
        const json_t *failure = json_object_get(agent, "failure");

        if (json_is_string(failure))
                field_line(ctl, "Failed because", COLOUR_BAD, "%s", json_string_value(failure));
}

/* Its worker thread does nothing else meanwhile: the log of the runtime says so from a second on, and so do we. */
static void print_work(const Ctl *ctl, const json_t *agent) {
        const uint64_t busy_usec = field_scaled(agent, "busy_ms", USEC_PER_MSEC);
        char shown[SHOWN_MAX];

        field_line(ctl, "Working on", busy_usec < USEC_PER_SEC ? COLOUR_NONE : COLOUR_WARNING,
                "%" PRIu64 " of at most %" PRIu64 "%s%s", field_number(agent, "open"),
                field_number(agent, "max_concurrency"), busy_usec < USEC_PER_SEC ? "" : "; it has held its worker for ",
                busy_usec < USEC_PER_SEC ? "" : show_duration(shown, busy_usec));
}

static void print(const Ctl *ctl, const char *runtime_id, const json_t *agent) {
        const json_t *mailbox = json_object_get(agent, "mailbox");
        const char *state = field_text(agent, "state");
        char shown[2][SHOWN_MAX];

        field_line(ctl, "Agent", COLOUR_STRONG, "%s", field_text(agent, "agent_id"));
        field_line(ctl, "Runtime", COLOUR_NONE, "%s", runtime_id);
        field_line(ctl, "State", screen_state_colour(state), "%s", state);
        print_failure(ctl, agent);
        field_line(ctl, "Type", COLOUR_NONE, "%s", field_text(agent, "agent_type"));
        field_line(ctl, "Mailbox", COLOUR_NONE,
                "%" PRIu64 " of %" PRIu64 " messages, %s of %s, %s when full, %" PRIu64 " shed",
                field_number(mailbox, "queued"), field_number(mailbox, "capacity"),
                show_bytes(shown[0], field_number(mailbox, "bytes")),
                show_bytes(shown[1], field_number(mailbox, "bytes_max")), field_text(mailbox, "overflow"),
                field_number(mailbox, "shed"));
        field_line(ctl, "Handled", COLOUR_NONE, "%s, %s of them failed",
                show_number(shown[0], field_number(agent, "handled")),
                show_number(shown[1], field_number(agent, "failed")));
        print_work(ctl, agent);
        field_line(ctl, "Restarts", COLOUR_NONE, "%" PRIu64, field_number(agent, "restarts"));
        field_line(ctl, "Scheduling", COLOUR_NONE, "priority %" PRIu64 " (%s), quantum %" PRIu64,
                field_number(agent, "priority"), field_text(agent, "class"), field_number(agent, "quantum"));
        if (!field_is_true(agent, "durable"))
                field_line(ctl, "State is durable", COLOUR_NONE, "no");
        else if (field_number(agent, "checkpoint_interval_ms") == 0)
                field_line(ctl, "State is durable", COLOUR_NONE, "yes, a checkpoint after each message");
        else
                field_line(ctl, "State is durable", COLOUR_NONE, "yes, a checkpoint every %s",
                        show_duration(shown[0], field_scaled(agent, "checkpoint_interval_ms", USEC_PER_MSEC)));
        field_line(ctl, "Subscriptions", COLOUR_NONE, "%" PRIu64 " beside its reply topic",
                field_number(agent, "subscriptions"));
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        const char *agent_id = invocation->words[0];
        char *runtime_id = NULL;
        json_t *result = NULL;
        CtlExit status = ctl_locate(ctl, agent_id, wanted->runtime, &runtime_id);

        if (status == CTL_EXIT_OK)
                status = ctl_ask(
                        ctl, THE_RUNTIME(runtime_id), "get_agent", json_pack("{s:s}", "agent_id", agent_id), &result);
        if (status == CTL_EXIT_OK && ctl->global.json) {
                (void)json_object_set_new(result, "runtime_id", json_string(runtime_id));
                status = ctl_print_json(ctl, result);
        } else if (status == CTL_EXIT_OK) {
                print(ctl, runtime_id, result);
        }
        json_decref(result);
        free(runtime_id);
        return status;
}

const Command command_agent_show = {
        .name = "agent show",
        .summary = "Show one agent: state, mailbox, counts",
        .arguments = agent_argument,
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
