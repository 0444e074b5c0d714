/* SPDX-License-Identifier: MIT */

/*
 * All dispatchers are asked, one by one: each has its own queue and its own view of the fleet, and where these differ
 * an operator wants to know.
 */

#include <string.h>

#include "ctl/commands.h"
#include "ctl/fields.h"

#define DISCOVERY_USEC (1 * USEC_PER_SEC)

static const Column columns[] = {
        { .title = "DISPATCHER", .may_shrink = true },
        { .title = "HOST", .may_shrink = true },
        { .title = "VERSION" },
        { .title = "SETTLED" },
        { .title = "RUNTIMES", .is_right = true },
        { .title = "AGENTS", .is_right = true },
        { .title = "WAITING", .is_right = true },
        { .title = "IN FLIGHT", .is_right = true },
        { .title = "TRIGGERS", .is_right = true },
        { .title = "EVENTS" },
};

/* A dispatcher that doesn't answer the discovery (an older one, or no permission for it) still takes verbs. */
static CtlExit collect(Ctl *ctl, json_t **ret) {
        json_t *ids =
                client_dispatchers(ctl->client, MIN_OF(ctl->global.timeout_usec, DISCOVERY_USEC), CLIENT_QUIET_USEC);
        const uint64_t until = instant_now().usec + ctl->global.timeout_usec; /* for all of them together */
        json_t *list = json_array(), *id, *result;
        CtlExit status = CTL_EXIT_OK;
        size_t i;

        json_array_foreach(ids, i, id) {
                _cleanup_(answer_done) Answer answer = {};

                client_ask(ctl->client, THE_DISPATCHER(json_string_value(id)), "status", NULL, client_left(until),
                        &answer);
                if (answer.kind == ANSWER_RESULT)
                        (void)json_array_append(list, answer.result);
                else if (answer.kind != ANSWER_NOBODY)
                        ctl_note(ctl, "dispatcher %s: %s", json_string_value(id), answer.text);
        }
        json_decref(ids);
        if (json_array_size(list) == 0) {
                status = ctl_ask(ctl, ANY_DISPATCHER, "status", NULL, &result);
                if (status == CTL_EXIT_OK)
                        (void)json_array_append_new(list, result);
        }
        if (status == CTL_EXIT_OK)
                *ret = list;
        else
                json_decref(list);
        return status;
}

static void add_row(Table *table, const json_t *d) {
        const json_t *runtimes = json_object_get(d, "runtimes");
        const bool settled = field_is_true(d, "settled");
        char shown[SHOWN_MAX];

        table_cell(table, COLOUR_STRONG, "%s", field_text(d, "dispatcher_id"));
        table_cell(table, COLOUR_NONE, "%s", field_text(d, "hostname"));
        table_cell(table, COLOUR_NONE, "%s", field_text(d, "version"));
        if (field_is_true(d, "draining"))
                table_cell(table, COLOUR_WARNING, "draining");
        else
                table_cell(table, settled ? COLOUR_GOOD : COLOUR_WARNING, "%s", settled ? "yes" : "no");
        table_cell(table, COLOUR_NONE, "%s",
                show_number(shown, field_number(runtimes, "live") + field_number(runtimes, "joining") +
                                           field_number(runtimes, "suspect") + field_number(runtimes, "draining")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(d, "agents")));
        table_cell(table, field_number(d, "waiting") > 0 ? COLOUR_WARNING : COLOUR_NONE, "%s",
                show_number(shown, field_number(d, "waiting")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(d, "in_flight")));
        table_cell(table, COLOUR_NONE, "%s", show_number(shown, field_number(d, "triggers")));
        table_cell(table, COLOUR_NONE, "%s", field_is_true(d, "jetstream_events") ? "kept in JetStream" : "not kept");
}

/* What an operator should look at, from any dispatcher's view. */
static bool say_problem(const Ctl *ctl, const json_t *d, const char *state, const char *meaning) {
        const uint64_t n = field_number(json_object_get(d, "runtimes"), state);

        if (n == 0)
                return false;
        (void)printf("%s%llu runtime%s %s%s: %s (compozyctl runtimes --state %s)\n",
                screen_on(&ctl->screen, COLOUR_WARNING), (unsigned long long)n, n == 1 ? " is" : "s are", state,
                screen_off(&ctl->screen, COLOUR_WARNING), meaning, state);
        return true;
}

static bool sees_the_same(const json_t *d, const json_t *other) {
        return json_equal(json_object_get(d, "runtimes"), json_object_get(other, "runtimes")) &&
               field_number(d, "agents_failed") == field_number(other, "agents_failed");
}

static void say_problems(const Ctl *ctl, const json_t *list) {
        bool any = false;
        json_t *d;
        size_t i;

        json_array_foreach(list, i, d) {
                if (field_is_true(d, "mass_silence")) {
                        (void)printf(
                                "%sMany runtimes are silent together%s: look at the network and at NATS; nobody is "
                                "declared dead meanwhile\n",
                                screen_on(&ctl->screen, COLOUR_BAD), screen_off(&ctl->screen, COLOUR_BAD));
                        ctl_say("  (so says dispatcher %s)", field_text(d, "dispatcher_id"));
                        any = true;
                }
                if (i > 0 && sees_the_same(d, json_array_get(list, 0)))
                        continue; /* said already */
                any |= say_problem(
                        ctl, d, "suspect", "silent for too long; probed, and given work only when nobody else can");
                any |= say_problem(ctl, d, "draining", "finishing what it has, and given nothing new");
                if (field_number(d, "agents_failed") > 0) {
                        const uint64_t n = field_number(d, "agents_failed");

                        (void)printf("%s%s failed%s in %llu place%s, and take%s no work there (compozyctl agents)\n",
                                screen_on(&ctl->screen, COLOUR_BAD), n == 1 ? "An agent has" : "Agents have",
                                screen_off(&ctl->screen, COLOUR_BAD), (unsigned long long)n, n == 1 ? "" : "s",
                                n == 1 ? "s" : "");
                        any = true;
                }
                if (field_number(json_object_get(d, "runtimes"), "live") == 0) {
                        (void)printf("%sNo runtime is live%s: triggers get NO_RUNTIME or AGENT_UNKNOWN. Is a "
                                     "compozy-runtimed running?\n",
                                screen_on(&ctl->screen, COLOUR_BAD), screen_off(&ctl->screen, COLOUR_BAD));
                        any = true;
                }
        }
        if (!any)
                (void)printf("%sAll is well.%s\n", screen_on(&ctl->screen, COLOUR_GOOD),
                        screen_off(&ctl->screen, COLOUR_GOOD));
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(table_freep) Table *table = table_new(columns, ELEMENTSOF(columns));
        json_t *list = NULL, *d, *all;
        int64_t rtt_nsec = 0;
        CtlExit status = ctl_connect(ctl);
        size_t i;

        (void)invocation;

        if (status == CTL_EXIT_OK)
                status = collect(ctl, &list);
        if (status != CTL_EXIT_OK)
                return status;
        (void)natsConnection_GetRTT(client_connection(ctl->client), &rtt_nsec);
        if (ctl->global.json) {
                all = json_pack("{s:s, s:I, s:s, s:O}", "nats", client_shown_url(ctl->client), "rtt_us",
                        (json_int_t)(rtt_nsec / 1000), "subject_prefix", client_prefix(ctl->client), "dispatchers",
                        list);
                status = ctl_print_json(ctl, all);
                json_decref(all);
        } else {
                char shown[SHOWN_MAX];

                (void)printf("NATS at %s, %s away%s%s\n\n", client_shown_url(ctl->client),
                        show_duration(shown, (uint64_t)rtt_nsec / 1000), ctl->settings.context ? ", context " : "",
                        ctl->settings.context ? ctl->settings.context : "");
                json_array_foreach(list, i, d) add_row(table, d);
                status = ctl_print_table(ctl, table);
                (void)putchar('\n');
                say_problems(ctl, list);
        }
        json_decref(list);
        return status;
}

const Command command_status = {
        .name = "status",
        .summary = "What runs, and whether all is well",
        .details =
                "Asks every dispatcher that answers the service discovery of NATS, and says what an operator should\n"
                "look at.",
        .run = run,
};
