/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "ctl/commands.h"
#include "ctl/fields.h"

typedef struct Options {
        const char *runtime;
        const char *id, *type;
        TextList labels;
} Options;

static const Option options[] = {
        { .name = "runtime",
                .letter = 'r',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, runtime),
                .value = "ID",
                .help = "On that runtime, instead of where there is room",
                .words = WORD_RUNTIME },
        { .name = "label",
                .letter = 'l',
                .kind = OPTION_LIST,
                .offset = offsetof(Options, labels),
                .value = "NAME=VALUE",
                .help = "Only on runtimes that have it; may be given again" },
        { .name = "id",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, id),
                .value = "AGENT",
                .help = "The agent_id, instead of the definition's" },
        { .name = "type",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, type),
                .value = "TYPE",
                .help = "The agent_type, instead of the definition's" },
        {},
};

static const Argument arguments[] = {
        { .name = "DEFINITION",
                .help = "JSON, @FILE, or - for standard input; {} when left out",
                .words = WORD_FILE,
                .is_optional = true },
        {},
};

static CtlExit add_labels(const Ctl *ctl, json_t *body, const TextList *labels) {
        json_t *object = json_object();

        for (size_t i = 0; i < labels->n_items; i++) {
                const char *equals = strchr(labels->items[i], '=');

                if (!equals || equals == labels->items[i] ||
                        json_object_setn_new(object, labels->items[i], (size_t)(equals - labels->items[i]),
                                json_string(equals + 1)) < 0) {
                        json_decref(object);
                        return ctl_fail(ctl, CTL_EXIT_USAGE, "--label: \"%.100s\" is not of the form NAME=VALUE",
                                labels->items[i]);
                }
        }
        if (labels->n_items > 0)
                (void)json_object_set(body, "labels", object);
        json_decref(object);
        return CTL_EXIT_OK;
}

/* What is no text (UTF-8) must not get lost on the way: the agent would be made elsewhere, or under another name. */
static CtlExit set_text(const Ctl *ctl, json_t *body, const char *key, const char *option, const char *value) {
        if (!value || json_object_set_new(body, key, json_string(value)) == 0)
                return CTL_EXIT_OK;
        return ctl_fail(ctl, CTL_EXIT_USAGE, "--%s: \"%.80s\" is no UTF-8", option, value);
}

static CtlExit make_body(const Ctl *ctl, const Invocation *invocation, json_t **ret) {
        const Options *wanted = invocation->options;
        json_t *body = NULL;
        CtlExit status = CTL_EXIT_OK;

        if (invocation->words[0])
                status = ctl_read_json(ctl, invocation->words[0], &body);
        else
                body = json_object();
        if (status == CTL_EXIT_OK && !json_is_object(body))
                status = ctl_fail(
                        ctl, CTL_EXIT_USAGE, "a definition is a JSON object: {\"agent_id\":…,\"agent_type\":…}");
        if (status == CTL_EXIT_OK)
                status = set_text(ctl, body, "agent_id", "id", wanted->id);
        if (status == CTL_EXIT_OK)
                status = set_text(ctl, body, "agent_type", "type", wanted->type);
        if (status == CTL_EXIT_OK)
                status = set_text(ctl, body, "runtime_id", "runtime", wanted->runtime);
        if (status == CTL_EXIT_OK)
                status = add_labels(ctl, body, &wanted->labels);
        if (status == CTL_EXIT_OK)
                *ret = body;
        else
                json_decref(body);
        return status;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        json_t *body = NULL, *result = NULL;
        CtlExit status = make_body(ctl, invocation, &body);

        if (status == CTL_EXIT_OK)
                status = ctl_ask(ctl, ANY_DISPATCHER, "create_agent", json_incref(body), &result);
        if (status == CTL_EXIT_OK && ctl->global.json)
                status = ctl_print_json(ctl, result);
        else if (status == CTL_EXIT_OK)
                ctl_say("%s on %s: %s", field_text(body, "agent_id"), field_text(result, "runtime_id"),
                        field_text(result, "state"));
        json_decref(result);
        json_decref(body);
        return status;
}

const Command command_agent_create = {
        .name = "agent create",
        .summary = "Create an agent where there is room for it",
        .details = "Answers when its init has succeeded or failed. It lives until `agent delete` or the end of its "
                   "runtime; one\n"
                   "that is to stay belongs into a file of runtime.agents_dir.",
        .example = "  compozyctl agent create '{\"agent_id\":\"greeter\",\"agent_type\":\"echo\"}'\n"
                   "  compozyctl agent create --id tally --type counter --label zone=a",
        .arguments = arguments,
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
