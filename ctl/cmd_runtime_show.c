/* SPDX-License-Identifier: MIT */

/*
 * Two views of one runtime, the dispatcher's and its own: where they differ (it is up, but not registered) an operator
 * sees what is wrong.
 */

#include "ctl/commands.h"
#include "ctl/fields.h"

static const Argument arguments[] = {
        { .name = "RUNTIME", .help = "Its id", .words = WORD_RUNTIME },
        {},
};

static void print_registry(const Ctl *ctl, const json_t *result) {
        const json_t *runtime = json_object_get(result, "runtime");
        const json_t *capacity = json_object_get(runtime, "capacity");
        const char *state = field_text(runtime, "state");
        char list[1024], shown[SHOWN_MAX];

        field_line(ctl, "Runtime", COLOUR_STRONG, "%s", field_text(runtime, "runtime_id"));
        field_line(ctl, "State", screen_state_colour(state), "%s", state);
        field_line(ctl, "Host", COLOUR_NONE, "%s (%s), pid %" PRIu64, field_text(runtime, "hostname"),
                field_text(runtime, "ip_address"), field_number(runtime, "pid"));
        field_line(ctl, "Version", COLOUR_NONE, "%s", field_text(runtime, "version"));
        field_line(ctl, "Labels", COLOUR_NONE, "%s", field_labels(list, sizeof(list), runtime, "labels"));
        field_line(ctl, "Agent types", COLOUR_NONE, "%s", field_list(list, sizeof(list), runtime, "agent_types"));
        field_line(ctl, "Agents", COLOUR_NONE, "%" PRIu64 " of at most %" PRIu64, field_number(runtime, "agents"),
                field_number(capacity, "max_agents"));
        field_line(ctl, "Slots", COLOUR_NONE, "%" PRIu64 " in flight, %" PRIu64 " free of %" PRIu64,
                field_number(runtime, "in_flight"), field_number(runtime, "free_slots"),
                field_number(capacity, "max_in_flight"));
        field_line(ctl, "Relayed", COLOUR_NONE, "%" PRIu64 ", done %" PRIu64 " (by the dispatcher that answered)",
                field_number(result, "relayed"), field_number(result, "done"));
        field_line(ctl, "Epoch, revision", COLOUR_NONE, "%" PRIu64 ", %" PRIu64, field_number(runtime, "epoch"),
                field_number(runtime, "revision"));
        field_line(ctl, "Registered", COLOUR_NONE, "%s", field_text(runtime, "registered_at"));
        field_line(ctl, "Last heartbeat", COLOUR_NONE, "%s ago",
                show_duration(shown, field_scaled(runtime, "last_heartbeat_ms_ago", USEC_PER_MSEC)));
}

static void print_own(const Ctl *ctl, const Answer *own) {
        char shown[SHOWN_MAX];

        if (own->kind != ANSWER_RESULT) {
                field_line(ctl, "Says of itself", COLOUR_BAD, "nothing: %s", own->text);
                return;
        }
        field_line(ctl, "Says of itself", COLOUR_NONE, "%s%s, up for %s, %" PRIu64 " queued in mailboxes",
                field_text(own->result, "state"), field_is_true(own->result, "draining") ? ", draining" : "",
                show_duration(shown, field_scaled(own->result, "uptime_s", USEC_PER_SEC)),
                field_number(own->result, "queued"));
        field_line(ctl, "HTTP", COLOUR_NONE, "%s", field_text(own->result, "http"));
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(answer_done) Answer own = {};
        const char *id = invocation->words[0];
        json_t *result = NULL;
        CtlExit status = ctl_check_id(ctl, "RUNTIME", id);

        if (status == CTL_EXIT_OK)
                status = ctl_ask(ctl, ANY_DISPATCHER, "get_runtime", json_pack("{s:s}", "runtime_id", id), &result);
        if (status != CTL_EXIT_OK)
                return status;
        client_ask(ctl->client, THE_RUNTIME(id), "status", NULL, ctl->global.timeout_usec, &own);
        if (ctl->global.json) {
                (void)json_object_set(result, "status", own.result ? own.result : json_null());
                status = ctl_print_json(ctl, result);
        } else {
                print_registry(ctl, result);
                print_own(ctl, &own);
        }
        json_decref(result);
        return status;
}

const Command command_runtime_show = {
        .name = "runtime show",
        .summary = "Show one runtime, as dispatchers see it and as it sees itself",
        .arguments = arguments,
        .run = run,
};
