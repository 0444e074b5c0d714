/* SPDX-License-Identifier: MIT */

#include "ctl/commands.h"
#include "ctl/fields.h"

typedef struct Options {
        unsigned state;
        uint64_t limit;
} Options;

static const char *const states[] = { "all", "joining", "live", "suspect", "draining", NULL };

static const Option options[] = {
        { .name = "state",
                .kind = OPTION_CHOICE,
                .offset = offsetof(Options, state),
                .value = "STATE",
                .help = "Only those",
                .fallback = "all",
                .choices = states },
        { .name = "limit",
                .letter = 'n',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, limit),
                .value = "N",
                .help = "At most so many; 0: all",
                .fallback = "0" },
        {},
};

static const Column columns[] = {
        { .title = "RUNTIME", .may_shrink = true },
        { .title = "STATE" },
        { .title = "HOST", .may_shrink = true },
        { .title = "LABELS", .may_shrink = true },
        { .title = "AGENTS", .is_right = true },
        { .title = "IN FLIGHT", .is_right = true },
        { .title = "FREE", .is_right = true },
        { .title = "HEARTBEAT", .is_right = true },
        { .title = "VERSION" },
};

static void add_row(Table *table, const json_t *runtime) {
        const char *state = field_text(runtime, "state");
        char labels[512], shown[SHOWN_MAX];

        table_cell(table, COLOUR_STRONG, "%s", field_text(runtime, "runtime_id"));
        table_cell(table, screen_state_colour(state), "%s", state);
        table_cell(table, COLOUR_NONE, "%s", field_text(runtime, "hostname"));
        table_cell(table, COLOUR_NONE, "%s", field_labels(labels, sizeof(labels), runtime, "labels"));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(runtime, "agents")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(runtime, "in_flight")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(runtime, "free_slots")));
        table_cell(table, COLOUR_NONE, "%s ago",
                show_duration(shown, field_scaled(runtime, "last_heartbeat_ms_ago", USEC_PER_MSEC)));
        table_cell(table, COLOUR_NONE, "%s", field_text(runtime, "version"));
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(table_freep) Table *table = table_new(columns, ELEMENTSOF(columns));
        const Options *wanted = invocation->options;
        json_t *body = wanted->state > 0 ? json_pack("{s:s}", "state", states[wanted->state]) : json_object();
        json_t *result = NULL, *runtime;
        CtlExit status = ctl_list(ctl, ANY_DISPATCHER, "list_runtimes", body, "runtimes", wanted->limit, &result);
        size_t i;

        if (status != CTL_EXIT_OK)
                return status;
        if (ctl->global.json) {
                status = ctl_print_json(ctl, result);
        } else if (json_array_size(json_object_get(result, "runtimes")) == 0) {
                ctl_note(ctl, "No runtime is registered%s%s. Is a compozy-runtimed running at %s?",
                        wanted->state > 0 ? " and " : "", wanted->state > 0 ? states[wanted->state] : "",
                        client_shown_url(ctl->client));
        } else {
                json_array_foreach(json_object_get(result, "runtimes"), i, runtime) add_row(table, runtime);
                status = ctl_print_table(ctl, table);
        }
        json_decref(result);
        return status;
}

const Command command_runtimes = {
        .name = "runtimes",
        .summary = "List the registered runtimes",
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
