/* SPDX-License-Identifier: MIT */

/*
 * One word, two questions: an agent's id asks where its next trigger could go; an execution's id asks what became of
 * that one. Agents are asked for first. An execution is known only to the dispatcher that took it, so all are asked.
 */

#include <string.h>

#include "ctl/commands.h"
#include "ctl/fields.h"

#define DISCOVERY_USEC (1 * USEC_PER_SEC)

static const Argument arguments[] = {
        { .name = "AGENT|EXEC_ID", .help = "An agent's id, or the agent_exec_id of a trigger", .words = WORD_AGENT },
        {},
};

static const Column candidates[] = {
        { .title = "RUNTIME", .may_shrink = true },
        { .title = "STATE" },
        { .title = "CHOSEN?" },
        { .title = "IN FLIGHT", .is_right = true },
        { .title = "FREE", .is_right = true },
        { .title = "WHY", .may_shrink = true },
};

static const Column attempts[] = {
        { .title = "ATTEMPT", .is_right = true },
        { .title = "RUNTIME", .may_shrink = true },
        { .title = "SENT", .is_right = true },
        { .title = "STARTED" },
        { .title = "END" },
        { .title = "CHOSEN BECAUSE", .may_shrink = true },
};

static void print_candidates(const Ctl *ctl, const json_t *result) {
        _cleanup_(table_freep) Table *table = table_new(candidates, ELEMENTSOF(candidates));
        json_t *one;
        size_t i;

        json_array_foreach(json_object_get(result, "considered"), i, one) {
                const bool eligible = field_is_true(one, "eligible");
                const char *state = field_text(one, "state");

                table_cell(table, COLOUR_STRONG, "%s", field_text(one, "runtime_id"));
                table_cell(table, screen_state_colour(state), "%s", state);
                table_cell(table, eligible ? COLOUR_GOOD : COLOUR_WARNING, "%s", eligible ? "possible" : "no");
                table_cell(table, COLOUR_NONE, "%" PRIu64, field_number(one, "in_flight"));
                table_cell(table, COLOUR_NONE, "%" PRIu64, field_number(one, "free_slots"));
                table_cell(table, COLOUR_NONE, "%s%s%s", field_text(one, "why"),
                        json_object_get(one, "code") ? ": " : "",
                        json_object_get(one, "code") ? field_text(one, "code") : "");
        }
        if (table_n_rows(table) == 0) {
                (void)printf("No runtime hosts it.\n");
                return;
        }
        (void)ctl_print_table(ctl, table);
        if (field_number(result, "n_considered") > table_n_rows(table))
                (void)printf("... and %" PRIu64 " more\n", field_number(result, "n_considered") - table_n_rows(table));
}

static void print_attempts(const Ctl *ctl, const json_t *result) {
        _cleanup_(table_freep) Table *table = table_new(attempts, ELEMENTSOF(attempts));
        json_t *one;
        size_t i;

        json_array_foreach(json_object_get(result, "attempts"), i, one) {
                char shown[SHOWN_MAX];

                table_cell(table, COLOUR_NONE, "%" PRIu64, field_number(one, "attempt"));
                table_cell(table, COLOUR_STRONG, "%s", field_text(one, "runtime_id"));
                table_cell(table, COLOUR_NONE, "%s ago",
                        show_duration(shown, field_scaled(one, "sent_ms_ago", USEC_PER_MSEC)));
                table_cell(table, COLOUR_NONE, "%s", field_is_true(one, "started") ? "yes" : "no");
                table_cell(table, COLOUR_NONE, "%s%s%s", field_text(one, "end"),
                        json_object_get(one, "code") ? ": " : "",
                        json_object_get(one, "code") ? field_text(one, "code") : "");
                table_cell(table, COLOUR_NONE, "%s", field_text(one, "chosen_because"));
        }
        if (table_n_rows(table) == 0)
                (void)printf("It was given to no runtime so far.\n");
        else
                (void)ctl_print_table(ctl, table);
}

static void print_agent(const Ctl *ctl, const json_t *result) {
        ctl_say("A trigger for %s goes to one %s.", field_text(result, "agent_id"), field_text(result, "rule"));
        (void)putchar('\n');
        print_candidates(ctl, result);
}

static void print_execution(const Ctl *ctl, const json_t *result) {
        const char *phase = field_text(result, "phase"), *status = field_text(result, "status");
        char shown[SHOWN_MAX];

        field_line(ctl, "Execution", COLOUR_STRONG, "%s", field_text(result, "agent_exec_id"));
        field_line(ctl, "Agent, workflow", COLOUR_NONE, "%s, %s", field_text(result, "agent_id"),
                field_text(result, "workflow_id"));
        field_line(ctl, "Dispatcher", COLOUR_NONE, "%s", field_text(result, "dispatcher_id"));
        if (strcmp(phase, "ended") == 0)
                field_line(ctl, "Ended", screen_state_colour(status), "%s%s%s", status,
                        json_object_get(result, "code") ? ": " : "",
                        json_object_get(result, "code") ? field_text(result, "code") : "");
        else
                field_line(ctl, "Now", COLOUR_NONE, "%s, deadline in %s",
                        strcmp(phase, "waiting") == 0 ? "waiting for a free slot" : "with a runtime",
                        show_duration(shown, field_scaled(result, "deadline_in_ms", USEC_PER_MSEC)));
        field_line(ctl, "Retry, priority", COLOUR_NONE, "%s, %" PRIu64, field_text(result, "retry"),
                field_number(result, "priority"));
        (void)putchar('\n');
        print_attempts(ctl, result);
        (void)printf("\nWhere it could go now:\n");
        print_candidates(ctl, result);
}

static bool has(const json_t *ids, const char *id) {
        const json_t *one;
        size_t i;

        json_array_foreach(ids, i, one) if (strcmp(json_string_value(one), id) == 0) return true;
        return false;
}

/* Asks `ids` but those in `asked`, until one knows it. `ret`: the best answer so far; no subject: there is none. */
static void ask_each(Ctl *ctl, const json_t *ids, const json_t *asked, const char *id, uint64_t until, Answer *ret) {
        const json_t *dispatcher;
        size_t i;

        json_array_foreach(ids, i, dispatcher) {
                const bool is_first = ret->subject[0] == '\0';
                Answer answer = {};

                if (!is_first && ret->kind == ANSWER_RESULT)
                        return;
                if (has(asked, json_string_value(dispatcher)))
                        continue;
                client_ask(ctl->client, THE_DISPATCHER(json_string_value(dispatcher)), "explain",
                        json_pack("{s:s}", "agent_exec_id", id), client_left(until), &answer);
                if (is_first || answer.kind == ANSWER_RESULT || ret->kind == ANSWER_ERROR) {
                        answer_done(ret);
                        *ret = answer;
                } else {
                        answer_done(&answer);
                }
        }
}

/*
 * The first dispatcher that knows it: ANSWER_RESULT; else the answer of one that did not say no, if there was one. That
 * nobody knows it is said only when those that are slow to answer the discovery were asked, too.
 */
static void find_execution(Ctl *ctl, const char *id, Answer *ret) {
        const uint64_t discovery_usec = MIN_OF(ctl->global.timeout_usec, DISCOVERY_USEC);
        json_t *quick = client_dispatchers(ctl->client, discovery_usec, CLIENT_QUIET_USEC), *all = NULL;
        const uint64_t until = instant_now().usec + ctl->global.timeout_usec; /* for all of them together */

        ask_each(ctl, quick, NULL, id, until, ret);
        if (json_array_size(quick) > 0 && ret->kind == ANSWER_ERROR) {
                all = client_dispatchers(ctl->client, discovery_usec, discovery_usec);
                ask_each(ctl, all, quick, id, until, ret);
        }
        if (json_array_size(quick) == 0) {
                answer_done(ret);
                client_ask(ctl->client, ANY_DISPATCHER, "explain", json_pack("{s:s}", "agent_exec_id", id),
                        ctl->global.timeout_usec, ret);
        }
        json_decref(quick);
        json_decref(all);
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(answer_done) Answer answer = {}, execution = {};
        const char *id = invocation->words[0];
        CtlExit status;

        status = ctl_check_id(ctl, "AGENT|EXEC_ID", id);
        if (status == CTL_EXIT_OK)
                status = ctl_connect(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        client_ask(ctl->client, ANY_DISPATCHER, "explain", json_pack("{s:s}", "agent_id", id), ctl->global.timeout_usec,
                &answer);
        if (answer.kind == ANSWER_RESULT) {
                if (ctl->global.json)
                        return ctl_print_json(ctl, answer.result);
                print_agent(ctl, answer.result);
                return CTL_EXIT_OK;
        }
        if (answer.kind != ANSWER_ERROR)
                return ctl_fail_answer(ctl, &answer);
        find_execution(ctl, id, &execution);
        if (execution.kind == ANSWER_ERROR)
                return ctl_fail(ctl, CTL_EXIT_REFUSED,
                        "%s is no agent that a live runtime hosts (`compozyctl agents`), and no execution that a "
                        "dispatcher remembers: they keep the last ones (dispatcher.history)",
                        id);
        if (execution.kind != ANSWER_RESULT)
                return ctl_fail_answer(ctl, &execution);
        if (ctl->global.json)
                return ctl_print_json(ctl, execution.result);
        print_execution(ctl, execution.result);
        return CTL_EXIT_OK;
}

const Command command_why = {
        .name = "why",
        .summary = "Explain where an agent's triggers go, or what became of one",
        .arguments = arguments,
        .run = run,
};
