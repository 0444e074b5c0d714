/* SPDX-License-Identifier: MIT */

#include "ctl/commands.h"
#include "ctl/fields.h"

#define FAILED_SHOWN_MAX 10 /* of these in words; --json has all */

typedef struct Options {
        const char *runtime;
        uint64_t limit;
} Options;

static const Option options[] = {
        { .name = "runtime",
                .letter = 'r',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, runtime),
                .value = "ID",
                .help = "Of that runtime only, as it sees them: with mailboxes and counts",
                .words = WORD_RUNTIME },
        { .name = "limit",
                .letter = 'n',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, limit),
                .value = "N",
                .help = "At most so many; 0: all",
                .fallback = "1000" },
        {},
};

static const Column everywhere[] = {
        { .title = "AGENT", .may_shrink = true },
        { .title = "TYPE" },
        { .title = "PLACES", .is_right = true },
        { .title = "RUNTIMES", .may_shrink = true },
};

static const Column in_runtime[] = {
        { .title = "AGENT", .may_shrink = true },
        { .title = "TYPE" },
        { .title = "STATE" },
        { .title = "QUEUED", .is_right = true },
        { .title = "HANDLED", .is_right = true },
};

static void add_agent(Table *table, const json_t *agent) {
        char list[2048];

        table_cell(table, COLOUR_STRONG, "%s", field_text(agent, "agent_id"));
        table_cell(table, COLOUR_NONE, "%s", field_text(agent, "agent_type"));
        table_cell(table, COLOUR_NONE, "%" PRIu64, field_number(agent, "n_runtimes"));
        table_cell(table, COLOUR_NONE, "%s", field_list(list, sizeof(list), agent, "runtimes"));
}

static void add_hosted(Table *table, const json_t *agent) {
        const char *state = field_text(agent, "state");
        char shown[SHOWN_MAX];

        table_cell(table, COLOUR_STRONG, "%s", field_text(agent, "agent_id"));
        table_cell(table, COLOUR_NONE, "%s", field_text(agent, "agent_type"));
        table_cell(table, screen_state_colour(state), "%s", state);
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(agent, "queued")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(agent, "handled")));
}

/* The fleet's table has a line for an agent, wherever it is; what is wrong in one place is said below it. */
static void say_failed(const Ctl *ctl, const json_t *agents) {
        size_t i, n = 0;
        json_t *agent;

        json_array_foreach(agents, i, agent) {
                const char *id = field_text(agent, "agent_id");
                char where[512];

                if (json_array_size(json_object_get(agent, "failed_in")) == 0 || ++n > FAILED_SHOWN_MAX)
                        continue;
                (void)printf("%s%s has %sfailed%s in %s: `compozyctl agent show %s --runtime %s` says why\n",
                        n == 1 ? "\n" : "", id, screen_on(&ctl->screen, COLOUR_BAD),
                        screen_off(&ctl->screen, COLOUR_BAD), field_list(where, sizeof(where), agent, "failed_in"), id,
                        json_string_value(json_array_get(json_object_get(agent, "failed_in"), 0)));
        }
        if (n > FAILED_SHOWN_MAX)
                (void)printf("... and %zu more have failed\n", n - FAILED_SHOWN_MAX);
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        _cleanup_(table_freep) Table *table = wanted->runtime ? table_new(in_runtime, ELEMENTSOF(in_runtime))
                                                              : table_new(everywhere, ELEMENTSOF(everywhere));
        json_t *result = NULL, *list, *agent;
        CtlExit status;
        size_t i;

        status = ctl_list(ctl, wanted->runtime ? THE_RUNTIME(wanted->runtime) : ANY_DISPATCHER, "list_agents", NULL,
                "agents", wanted->limit, &result);
        if (status != CTL_EXIT_OK)
                return status;
        list = json_object_get(result, "agents");
        if (ctl->global.json) {
                status = ctl_print_json(ctl, result);
        } else if (json_array_size(list) == 0) {
                ctl_note(ctl,
                        "No agents. A runtime takes them from runtime.agents_dir, or from `compozyctl agent create`.");
        } else {
                json_array_foreach(list, i, agent) {
                        if (wanted->runtime)
                                add_hosted(table, agent);
                        else
                                add_agent(table, agent);
                }
                status = ctl_print_table(ctl, table);
                say_failed(ctl, list);
                if (field_number(result, "total") > json_array_size(list))
                        ctl_note(ctl, "%zu of %" PRIu64 "; --limit 0 shows all", json_array_size(list),
                                field_number(result, "total"));
        }
        json_decref(result);
        return status;
}

const Command command_agents = {
        .name = "agents",
        .summary = "List agents, everywhere or of one runtime",
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
