/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/world.h"

/* topics */

static size_t ask_topic(World *world, const char *verb, const char *agent_id, const char *topic, const char *more) {
        char body[512];

        (void)snprintf(body, sizeof(body), "{\"agent_id\":\"%s\",\"topic\":\"%s\"%s}", agent_id, topic, more);
        return ask(world, verb, body);
}

static void every_error_about_topics_has_its_own_code(void **state) {
        static const struct {
                const char *verb, *agent, *topic, *more, *answer;
        } steps[] = {
                { "subscribe_agent", "a", "news", "", "ok" },
                { "subscribe_agent", "a", "news", "", "ALREADY_SUBSCRIBED" },
                { "subscribe_agent", "a", "news", ",\"queue\":\"q\"", "ALREADY_SUBSCRIBED" },
                { "subscribe_agent", "a", "configured", "", "ALREADY_SUBSCRIBED" },
                { "subscribe_agent", "nobody", "news", "", "AGENT_NOT_FOUND" },
                { "subscribe_agent", "a", "agent.a.replies", "", "ALREADY_SUBSCRIBED" },
                { "subscribe_agent", "a", "agent.greeter.replies", "", "ok" },
                { "subscribe_agent", "a", "x.*.y.>", ",\"qos\":\"realtime\"", "ok" },
                { "subscribe_agent", "a", "jobs", ",\"queue\":\"workers\"", "ok" },
                { "subscribe_agent", "a", "z", ",\"qos\":\"soon\"", "INVALID_MESSAGE" },
                { "subscribe_agent", "a", "z", ",\"queue\":\"a b\"", "INVALID_MESSAGE" },
                { "subscribe_agent", "a", "z", ",\"queue\":\"w*\"", "INVALID_MESSAGE" },
                { "subscribe_agent", "a", "z..y", "", "INVALID_MESSAGE" },
                { "subscribe_agent", "a", "z.>.y", "", "INVALID_MESSAGE" },
                { "subscribe_agent", "a", "", "", "INVALID_MESSAGE" },
                { "unsubscribe_agent", "a", "never", "", "NOT_SUBSCRIBED" },
                { "unsubscribe_agent", "nobody", "news", "", "AGENT_NOT_FOUND" },
                { "unsubscribe_agent", "a", "agent.a.replies", "", "REPLY_TOPIC_MANAGED" },
                { "unsubscribe_agent", "a", "agent.greeter.replies", "", "ok" },
                { "unsubscribe_agent", "a", "news", "", "ok" },
                { "unsubscribe_agent", "a", "news", "", "NOT_SUBSCRIBED" },
                { "unsubscribe_agent", "a", "configured", "", "ok" },
                { "unsubscribe_agent", "a", "compozy.commands.x", "", "NOT_SUBSCRIBED" },
        };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", ",\"subscribed_topics\":[\"configured\"]");
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                size_t asked = ask_topic(&w, steps[i].verb, steps[i].agent, steps[i].topic, steps[i].more);

                if (strcmp(answered(&w, asked), steps[i].answer) != 0)
                        fail_msg("%s %s: %s, not %s", steps[i].verb, steps[i].topic, answer_text(&w, asked),
                                steps[i].answer);
        }
        end_world(&w);
}

static void no_pattern_that_could_match_a_reserved_subject_is_allowed(void **state) {
        static const struct {
                const char *prefix, *topic;
                bool is_forbidden;
        } cases[] = {
                { "compozy", "compozy.commands.x", true },
                { "compozy", "compozy.>", true },
                { "compozy", "compozy.*", true },
                { "compozy", "compozy.*.x", true },
                { "compozy", ">", true },
                { "compozy", "*", true },
                { "compozy", "*.x", true },
                { "compozy", "*.>", true },
                { "compozy", "$SYS.x", true },
                { "compozy", "$JS.API.>", true },
                { "compozy", "_INBOX.x", true },
                { "compozy", "_INBOX.>", true },
                { "compozy", "compozy2.x", false },
                { "compozy", "_INBOX2.x", false },
                { "compozy", "x.compozy.y", false },
                { "compozy", "x.>", false },
                { "compozy", "x.*.$SYS", false },
                { "team.blue", "team.blue.x", true },
                { "team.blue", "team.>", true },
                { "team.blue", "team.*.x", true },
                { "team.blue", "team.*.*", true },
                { "team.blue", "team.blue.>", true },
                { "team.blue", "*.blue.x", true },
                { "team.blue", "team.red.x", false },
                { "team.blue", "team.red.>", false },
                { "team.blue", "compozy.x", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RuntimeOptions options = default_options();
                TopicWanted wanted = { .topic = slice_of(cases[i].topic), .qos = QOS_BATCHED };
                ErrorCode code = ERROR_NONE;
                WireError error;
                World w;
                int r;

                options.subject_prefix = cases[i].prefix;
                build(&w, &options);
                turn(&w);
                r = core_subscribe(w.runtime, agent_of(&w, "greeter"), &wanted, &code, &error);
                if ((r != 0) != cases[i].is_forbidden)
                        fail_msg("%s with the prefix %s: %d", cases[i].topic, cases[i].prefix, r);
                if (r != 0)
                        assert_int_equal(code, ERROR_TOPIC_FORBIDDEN);
                end_world(&w);
        }
}

static void forbidden_topics_of_a_definition_are_refused_before_anything_is_made(void **state) {
        size_t created;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        created = ask_to_create(&w, "quick", ",\"subscribed_topics\":[\"fine\",\"compozy.>\"]");
        assert_string_equal(answered(&w, created), "TOPIC_FORBIDDEN");
        assert_string_equal(state_of(&w, "a"), "none");
        assert_int_equal(script.n_inits, 0);
        end_world(&w);
}

static void subscriptions_are_bounded_per_agent_and_in_all(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.max_subscriptions_per_agent = 2;
        options.max_subscriptions = 3;
        begin_with(&w, &options);
        make(&w, "quick", ",\"subscribed_topics\":[\"t1\"]");
        create(&w, "{\"agent_id\":\"b\",\"agent_type\":\"quick\",\"subscribed_topics\":[\"t1\"]}");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "a", "t2", "")), "ok");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "a", "t3", "")), "LIMIT_EXCEEDED");
        assert_non_null(strstr(answer_text(&w, w.n_asked), "max_subscriptions_per_agent"));
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "b", "t3", "")), "LIMIT_EXCEEDED");
        assert_non_null(strstr(answer_text(&w, w.n_asked), "limits.max_subscriptions of 3"));
        assert_string_equal(answered(&w, ask_topic(&w, "unsubscribe_agent", "a", "t1", "")), "ok");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "b", "t3", "")), "ok");
        assert_string_equal(
                answered(&w, ask(&w, "create_agent",
                                     "{\"agent_id\":\"c\",\"agent_type\":\"quick\",\"subscribed_topics\":[\"x\"]}")),
                "LIMIT_EXCEEDED");
        end_world(&w);
}

/* Before that, its list has not even its reply topic. */
static void topics_of_an_agent_that_never_ran_cant_be_changed(void **state) {
        size_t created;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        created = ask_to_create(&w, "slow", ",\"subscribed_topics\":[\"news\"]");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "a", "t", "")), "INVALID_TRANSITION");
        assert_string_equal(answered(&w, ask_topic(&w, "unsubscribe_agent", "a", "news", "")), "INVALID_TRANSITION");
        play_once(&w);
        assert_string_equal(answered(&w, created), "ok");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "a", "t", "")), "ok");
        end_world(&w);
}

static void subscriptions_can_be_changed_while_an_agent_is_stopped_and_are_there_when_it_starts(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", ",\"subscribed_topics\":[\"old\"]");
        (void)ask_about(&w, "stop_agent", "a");
        assert_string_equal(answered(&w, ask_topic(&w, "subscribe_agent", "a", "new", "")), "ok");
        assert_string_equal(answered(&w, ask_topic(&w, "unsubscribe_agent", "a", "old", "")), "ok");
        assert_false(is_subscribed(&w, "new"));
        (void)ask_about(&w, "start_agent", "a");
        assert_true(is_subscribed(&w, "new"));
        assert_false(is_subscribed(&w, "old"));
        end_world(&w);
}

static void a_subscription_stands_before_its_answer_and_ends_before_its_answer(void **state) {
        static const struct {
                const char *verb;
                OutKind kind;
        } cases[] = {
                { CONTROL "subscribe_agent", OUT_SUBSCRIBE },
                { CONTROL "unsubscribe_agent", OUT_UNSUBSCRIBE },
        };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                InMessage message = { .subject = slice_of(cases[i].verb),
                        .reply = SLICE("_INBOX.ctl.x"),
                        .body = SLICE("{\"agent_id\":\"a\",\"topic\":\"news\"}") };

                runtime_on_message(w.runtime, &message, w.now);
                runtime_on_turn_end(w.runtime, w.now);
                assert_int_equal(outbox_size(&w.outbox), 2);
                assert_int_equal(outbox_get(&w.outbox, 0).kind, cases[i].kind);
                assert_true(slice_equal(outbox_get(&w.outbox, 1).subject, SLICE("_INBOX.ctl.x")));
                collect(&w);
        }
        end_world(&w);
}

static void subscriptions_are_listed_with_queue_qos_and_what_is_managed(void **state) {
        size_t asked;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", ",\"subscribed_topics\":[{\"topic\":\"jobs\",\"queue\":\"w\",\"qos\":\"background\"}]");
        asked = ask_about(&w, "get_agent_subscriptions", "a");
        assert_non_null(strstr(answer_text(&w, asked),
                "\"subscriptions\":[{\"topic\":\"agent.a.replies\",\"queue\":null,\"qos\":\"batched\",\"managed\":true,"
                "\"refused\":false}"
                ","
                "{\"topic\":\"jobs\",\"queue\":\"w\",\"qos\":\"background\",\"managed\":false,\"refused\":false}]"));
        end_world(&w);
}

/* requests */

static void requests_that_make_no_sense_are_refused_with_the_field(void **state) {
        static const struct {
                const char *verb, *body, *code, *needle;
        } cases[] = {
                { "get_agent", "{}", "INVALID_MESSAGE", "agent_id" },
                { "get_agent", "{\"agent_id\":7}", "INVALID_MESSAGE", "agent_id" },
                { "get_agent", "{\"agent_id\":\"a b\"}", "INVALID_MESSAGE", "agent_id" },
                { "get_agent", "[]", "INVALID_MESSAGE", "" },
                { "get_agent", "{\"agent_id\":\"a\"", "INVALID_MESSAGE", "" },
                { "delete_agent", "{\"agent_id\":\"a\",\"mode\":\"now\"}", "INVALID_MESSAGE", "mode" },
                { "delete_agent", "{\"agent_id\":\"a\",\"keep_state\":1}", "INVALID_MESSAGE", "keep_state" },
                { "stop_agent", "", "INVALID_MESSAGE", "agent_id" },
                { "create_agent", "{\"agent_id\":\"b\"}", "INVALID_MESSAGE", "agent_type" },
                { "create_agent", "{\"agent_id\":\"b\",\"agent_type\":\"none\"}", "INVALID_MESSAGE", "none" },
                { "list_agents", "{\"limit\":100000}", "INVALID_MESSAGE", "limit" },
                { "list_agents", "{\"sort\":\"size\"}", "INVALID_MESSAGE", "sort" },
                { "list_agents", "{\"sort\":\"queued\",\"limit\":101}", "INVALID_MESSAGE", "limit 101 is over 100" },
                { "list_agents", "{\"sort\":\"failed\",\"after\":\"a\"}", "INVALID_MESSAGE", "after goes with sort" },
                { "fly", "{}", "INVALID_MESSAGE", "fly" },
        };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t asked = ask(&w, cases[i].verb, cases[i].body);

                assert_string_equal(answered(&w, asked), cases[i].code);
                if (!strstr(answer_text(&w, asked), cases[i].needle))
                        fail_msg("%s %s: %s", cases[i].verb, cases[i].body, answer_text(&w, asked));
        }
        assert_int_equal(w.runtime->counters.invalid, ELEMENTSOF(cases));
        end_world(&w);
}

static void a_request_without_a_reply_subject_is_carried_out_in_silence(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        say(&w, CONTROL "create_agent", NULL, "{\"agent_id\":\"a\",\"agent_type\":\"slow\"}");
        play_once(&w);
        assert_string_equal(state_of(&w, "a"), "running");
        say(&w, CONTROL "pause_agent", NULL, "{\"agent_id\":\"a\"}");
        assert_string_equal(state_of(&w, "a"), "paused");
        say(&w, CONTROL "delete_agent", NULL, "{\"agent_id\":\"a\"}");
        play_once(&w);
        assert_string_equal(state_of(&w, "a"), "none");
        for (size_t i = 0; i < w.n_sent; i++)
                assert_null(strstr(w.sent[i].body, "\"ok\""));
        end_world(&w);
}

static void a_runtime_that_stops_makes_no_more_agents(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", "");
        trigger(&w, "e1", "x");
        runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
        assert_string_equal(answered(&w, ask(&w, "create_agent", "{\"agent_id\":\"b\",\"agent_type\":\"quick\"}")),
                "RUNTIME_DRAINING");
        play_once(&w);
        assert_true(runtime_is_stopped(w.runtime));
        end_world(&w);
}

/* Which come first, as "b a ": those with one letter, the others are the world's own. */
static const char *order_of(World *world, const char *body) {
        static char text[64];
        const char *at = answer_text(world, ask(world, "list_agents", body));
        size_t n = 0;

        while ((at = strstr(at, "\"agent_id\":\"")) && n + 2 < sizeof(text)) {
                at += strlen("\"agent_id\":\"");
                if (at[1] != '"')
                        continue;
                text[n++] = *at;
                text[n++] = ' ';
        }
        text[n] = '\0';
        return text;
}

static void whoever_asks_who_is_busiest_gets_those_first(void **state) {
        static const struct {
                const char *agent;
                uint64_t n_handled, n_failed;
        } given[] = { { "a", 5, 0 }, { "b", 9, 1 }, { "c", 0, 7 }, { "d", 9, 0 } };
        char body[128];
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        for (size_t i = 0; i < ELEMENTSOF(given); i++) {
                (void)snprintf(body, sizeof(body), "{\"agent_id\":\"%s\",\"agent_type\":\"quick\"}", given[i].agent);
                (void)ask(&w, "create_agent", body);
        }
        play_once(&w);
        for (size_t i = 0; i < ELEMENTSOF(given); i++) {
                agent_of(&w, given[i].agent)->n_handled = given[i].n_handled;
                agent_of(&w, given[i].agent)->n_failed = given[i].n_failed;
        }
        assert_string_equal(order_of(&w, "{\"sort\":\"handled\"}"), "b d a c ");
        assert_string_equal(order_of(&w, "{\"sort\":\"handled\",\"limit\":1}"), "b ");
        assert_string_equal(order_of(&w, "{\"sort\":\"handled\",\"limit\":3}"), "b d a ");
        assert_string_equal(order_of(&w, "{\"sort\":\"failed\",\"limit\":2}"), "c b ");
        assert_string_equal(order_of(&w, "{\"sort\":\"id\",\"after\":\"b\"}"), "c d ");
        end_world(&w);
}

static char logged[256];

static void on_log(int level, const char *message_id, LogFields fields, const char *text, void *userdata) {
        (void)level;
        (void)message_id;
        (void)fields;
        (void)userdata;
        (void)snprintf(logged, sizeof(logged), "%s", text);
}

static void an_agent_that_holds_its_worker_is_named_with_the_time(void **state) {
        Outcome *outcome;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", "");
        trigger(&w, "e1", "x");
        trigger(&w, "e2", "x");
        turn(&w);
        assert_non_null(strstr(
                answer_text(&w, ask_about(&w, "get_agent", "a")), "\"with_worker\":2,\"open\":0,\"busy_ms\":0,"));

        outcome = run_step(w.runs[0], w.now.usec); /* the worker has begun the first and says nothing */
        pass(&w, 900 * USEC_PER_MSEC);
        log_set_sink(on_log, NULL);
        pass(&w, 200 * USEC_PER_MSEC);
        log_set_sink(NULL, NULL);
        assert_memory_equal(logged, "Agent a has held its worker for 10", 34);
        pass(&w, 900 * USEC_PER_MSEC);
        assert_non_null(strstr(
                answer_text(&w, ask_about(&w, "get_agent", "a")), "\"with_worker\":1,\"open\":1,\"busy_ms\":199"));
        assert_non_null(strstr(answer_text(&w, ask(&w, "list_agents", "")), "\"open\":1,"));

        logged[0] = '\0';
        log_set_sink(on_log, NULL);
        pass(&w, 1900 * USEC_PER_MSEC); /* 3.9 s: it was said at two, and is not again before four */
        assert_memory_equal(logged, "Agent a has held its worker for 2", 33);
        pass(&w, 200 * USEC_PER_MSEC);
        log_set_sink(NULL, NULL);
        assert_memory_equal(logged, "Agent a has held its worker for 4", 33);

        assert_false(run_close(w.runs[0])); /* there is the second */
        runtime_on_outcome(w.runtime, outcome, w.now);
        play_once(&w);
        assert_non_null(strstr(
                answer_text(&w, ask_about(&w, "get_agent", "a")), "\"with_worker\":0,\"open\":0,\"busy_ms\":0,"));
        end_world(&w);
}

static void status_tells_the_last_seconds_and_all_there_was(void **state) {
        const char *status;
        char id[16];
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", ",\"mailbox_capacity\":3");
        for (int i = 0; i < 6; i++) {
                (void)snprintf(id, sizeof(id), "e%d", i);
                trigger(&w, id, "x");
                play_once(&w);
        }
        assert_string_equal(answered(&w, ask(&w, "pause_agent", "{\"agent_id\":\"a\"}")), "ok");
        for (int i = 6; i < 11; i++) {
                (void)snprintf(id, sizeof(id), "e%d", i);
                trigger(&w, id, "x");
        }
        pass(&w, 2 * USEC_PER_SEC);
        status = answer_text(&w, ask(&w, "status", ""));
        assert_non_null(strstr(status,
                "\"agents_by_state\":{\"created\":0,\"starting\":0,\"running\":3,\"paused\":1,\"stopping\":0,"));
        assert_non_null(strstr(status, "\"mailbox_depth\":3,\"mailbox_depth_max\":3,\"mailboxes_full\":1,"));
        assert_non_null(strstr(status, "\"mailbox_sheds\":2,"));
        assert_non_null(strstr(status, "\"executions\":{\"SUCCESS\":6,\"AGENT_ERROR\":0,\"FAILURE\":0}"));
        assert_non_null(strstr(status, "\"triggers_refused\":{\"MAILBOX_FULL\":2}"));
        assert_non_null(strstr(status, "\"recent\":{\"window_ms\":2"));
        assert_non_null(strstr(status, "\"execution_duration\":{\"count\":6,"));
        assert_string_equal(order_of(&w, "{\"sort\":\"queued\"}"), "a ");
        end_world(&w);
}

static bool metrics_have(const World *world, const char *line) {
        _cleanup_(buffer_done) Buffer buffer = {};

        runtime_metrics(world->runtime, &buffer);
        assert_false(buffer.failed);
        return memmem(buffer.data, buffer.size, line, strlen(line)) != NULL;
}

static void agents_have_metrics_of_their_own_only_when_asked_and_only_so_many(void **state) {
        RuntimeOptions options;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", "");
        trigger(&w, "e1", "x");
        play_once(&w);
        assert_false(metrics_have(&w, "agent_id="));
        assert_true(metrics_have(&w, "compozy_runtime_agents_unlisted 4\n"));

        options = w.runtime->options;
        options.metrics_agents_max = 2;
        runtime_set_options(w.runtime, &options);
        assert_true(metrics_have(&w, "compozy_runtime_agent_handled_total{agent_id=\"a\"} 1\n"
                                     "compozy_runtime_agent_handled_total{agent_id=\"counter\"} 0\n"));
        assert_false(metrics_have(&w, "agent_id=\"greeter\""));
        assert_true(metrics_have(&w, "compozy_runtime_agents_unlisted 2\n"));
        end_world(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_error_about_topics_has_its_own_code),
                cmocka_unit_test(no_pattern_that_could_match_a_reserved_subject_is_allowed),
                cmocka_unit_test(forbidden_topics_of_a_definition_are_refused_before_anything_is_made),
                cmocka_unit_test(subscriptions_are_bounded_per_agent_and_in_all),
                cmocka_unit_test(topics_of_an_agent_that_never_ran_cant_be_changed),
                cmocka_unit_test(subscriptions_can_be_changed_while_an_agent_is_stopped_and_are_there_when_it_starts),
                cmocka_unit_test(a_subscription_stands_before_its_answer_and_ends_before_its_answer),
                cmocka_unit_test(subscriptions_are_listed_with_queue_qos_and_what_is_managed),
                cmocka_unit_test(requests_that_make_no_sense_are_refused_with_the_field),
                cmocka_unit_test(a_request_without_a_reply_subject_is_carried_out_in_silence),
                cmocka_unit_test(a_runtime_that_stops_makes_no_more_agents),
                cmocka_unit_test(whoever_asks_who_is_busiest_gets_those_first),
                cmocka_unit_test(agents_have_metrics_of_their_own_only_when_asked_and_only_so_many),
                cmocka_unit_test(an_agent_that_holds_its_worker_is_named_with_the_time),
                cmocka_unit_test(status_tells_the_last_seconds_and_all_there_was),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
