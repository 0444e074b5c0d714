/* SPDX-License-Identifier: MIT */

/*
 * Subscribe, unsubscribe, subscriptions: what an agent hears.
 */

#include "ctl/agent_words.h"
#include "ctl/commands.h"
#include "ctl/fields.h"

typedef struct Options {
        const char *runtime, *queue;
        unsigned qos;
} Options;

static const char *const qualities[] = { "batched", "realtime", "background", NULL };

static const Option options[] = { AGENT_RUNTIME_OPTION(Options), {} };
static const Option subscribe_options[] = {
        AGENT_RUNTIME_OPTION(Options),
        { .name = "queue",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, queue),
                .value = "GROUP",
                .help = "Share the topic with the others of that group" },
        { .name = "qos",
                .kind = OPTION_CHOICE,
                .offset = offsetof(Options, qos),
                .value = "QOS",
                .help = "How it is scheduled",
                .fallback = "batched",
                .choices = qualities },
        {},
};

static const Argument topic_arguments[] = {
        { .name = "AGENT", .help = "Its id", .words = WORD_AGENT },
        { .name = "TOPIC", .help = "A NATS subject, with wildcards if wanted" },
        {},
};

static const Column columns[] = { { .title = "TOPIC", .may_shrink = true }, { .title = "QUEUE" }, { .title = "QOS" },
        { .title = "MANAGED" }, { .title = "HEARD" } };

/* Asks and returns the result; `body` is taken. */
static CtlExit ask(Ctl *ctl, const Invocation *invocation, const char *verb, json_t *body, json_t **ret) {
        const Options *wanted = invocation->options;
        char *runtime_id = NULL;
        CtlExit status = ctl_locate(ctl, invocation->words[0], wanted->runtime, &runtime_id);

        if (status == CTL_EXIT_OK)
                status = ctl_ask(ctl, THE_RUNTIME(runtime_id), verb, json_incref(body), ret);
        json_decref(body);
        free(runtime_id);
        return status;
}

static CtlExit change(Ctl *ctl, const Invocation *invocation, const char *verb, json_t *body, const char *past) {
        json_t *result = NULL;
        CtlExit status = ask(ctl, invocation, verb, body, &result);

        if (status == CTL_EXIT_OK && ctl->global.json)
                status = ctl_print_json(ctl, result);
        else if (status == CTL_EXIT_OK)
                ctl_say("%s: %s %s", invocation->words[0], past, invocation->words[1]);
        json_decref(result);
        return status;
}

static CtlExit run_subscribe(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        json_t *body = json_pack("{s:s, s:s, s:s}", "agent_id", invocation->words[0], "topic", invocation->words[1],
                "qos", qualities[wanted->qos]);

        if (!body)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "TOPIC: no UTF-8");
        if (wanted->queue)
                (void)json_object_set_new(body, "queue", json_string(wanted->queue));
        return change(ctl, invocation, "subscribe_agent", body, "subscribed to");
}

static CtlExit run_unsubscribe(Ctl *ctl, const Invocation *invocation) {
        json_t *body = json_pack("{s:s, s:s}", "agent_id", invocation->words[0], "topic", invocation->words[1]);

        if (!body)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "TOPIC: no UTF-8");
        return change(ctl, invocation, "unsubscribe_agent", body, "unsubscribed from");
}

static CtlExit run_subscriptions(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(table_freep) Table *table = table_new(columns, ELEMENTSOF(columns));
        json_t *result = NULL, *one;
        CtlExit status = ask(ctl, invocation, "get_agent_subscriptions",
                json_pack("{s:s}", "agent_id", invocation->words[0]), &result);
        size_t i;

        if (status == CTL_EXIT_OK && ctl->global.json) {
                status = ctl_print_json(ctl, result);
        } else if (status == CTL_EXIT_OK) {
                json_array_foreach(json_object_get(result, "subscriptions"), i, one) {
                        table_cell(table, COLOUR_STRONG, "%s", field_text(one, "topic"));
                        table_cell(table, COLOUR_NONE, "%s", field_text(one, "queue"));
                        table_cell(table, COLOUR_NONE, "%s", field_text(one, "qos"));
                        table_cell(table, COLOUR_NONE, "%s", field_is_true(one, "managed") ? "by the runtime" : "-");
                        if (field_is_true(one, "refused"))
                                table_cell(table, COLOUR_BAD, "no: the NATS server's permissions forbid it");
                        else
                                table_cell(table, COLOUR_NONE, "yes");
                }
                status = ctl_print_table(ctl, table);
        }
        json_decref(result);
        return status;
}

const Command command_agent_subscribe = {
        .name = "agent subscribe",
        .summary = "Let an agent hear a topic",
        .details = "Whatever is published after this has ended well is delivered.",
        .arguments = topic_arguments,
        .options = subscribe_options,
        .options_size = sizeof(Options),
        .run = run_subscribe,
};

const Command command_agent_unsubscribe = {
        .name = "agent unsubscribe",
        .summary = "Let an agent hear a topic no more",
        .details = "What is in its mailbox already is still handled.",
        .arguments = topic_arguments,
        .options = options,
        .options_size = sizeof(Options),
        .run = run_unsubscribe,
};

const Command command_agent_subscriptions = {
        .name = "agent subscriptions",
        .summary = "List what an agent hears",
        .arguments = agent_argument,
        .options = options,
        .options_size = sizeof(Options),
        .run = run_subscriptions,
};
