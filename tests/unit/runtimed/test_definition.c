/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/definition.h"
#include "tests/unit/runtimed/failing.h"

/* Types that stand for what hosts provide. */
static int check_command(const BehaviorStart *start, WireError *ret_error) {
        return start->settings.data ? 0 : wire_error(ret_error, "exec: is missing");
}

static const Behavior fake_exec = { .type = "exec", .is_remote = true, .check = check_command };
static const Behavior fake_plugin = { .type = "plugin" };
static const Behavior *const all_types[] = { &behavior_counter, &behavior_delay, &behavior_echo, &behavior_relay,
        &fake_exec, &fake_plugin, NULL };

static Definition *parsed(const char *text) {
        Definition *definition = NULL;
        WireError error = {};

        if (definition_parse(slice_of(text), all_types, &definition, &error) != 0)
                fail_msg("%s: %s", text, error.text);
        return definition;
}

static void a_definition_means_what_it_says(void **state) {
        _cleanup_(definition_freep) Definition *definition =
                parsed(" \n{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"priority\":70,\"mailbox_capacity\":5,"
                       "\"mailbox_bytes\":6,\"quantum\":7,\"overflow\":\"drop_newest\",\"parameters\":{\"x\":[1]},"
                       "\"capabilities\":[\"search\"],\"subscribed_topics\":[\"t.>\"],\"exclusive\":false,"
                       "\"checkpoint_interval_ms\":0,\"restart\":{\"max\":0,\"window_ms\":9,\"backoff_ms\":8},"
                       "\"on_restore_error\":\"previous\",\"on_checkpoint_error\":\"stop\",\"idle_timeout_ms\":0}\n");

        (void)state;

        assert_true(id_equal(&definition->agent_id, SLICE("a")));
        assert_ptr_equal(definition->behavior, &behavior_echo);
        assert_int_equal(definition->agent_class, AGENT_CLASS_REALTIME);
        assert_int_equal(definition->overflow, OVERFLOW_DROP_NEWEST);
        assert_int_equal(definition->mailbox.capacity, 5);
        assert_int_equal(definition->mailbox.bytes_max, 6);
        assert_int_equal(definition->quantum, 7);
        assert_int_equal(definition->checkpoint_interval_ms, 0);
        assert_int_equal(definition->restart.max, 0);
        assert_int_equal(definition->restart.window_ms, 9);
        assert_int_equal(definition->restart.backoff_ms, 8);
        assert_int_equal(definition->on_restore_error, ON_RESTORE_ERROR_PREVIOUS);
        assert_int_equal(definition->on_checkpoint_error, ON_CHECKPOINT_ERROR_STOP);
        assert_string_equal(definition->parameters, "{\"x\":[1]}");
        assert_string_equal(definition->capabilities, "[\"search\"]");
        assert_string_equal(definition->subscribed_topics, "[\"t.>\"]");
}

static void what_is_left_out_has_the_documented_default(void **state) {
        _cleanup_(definition_freep) Definition *definition =
                parsed("{\"agent_id\":\"a\",\"agent_type\":\"delay\",\"restart\":{\"max\":null},\"exclusive\":null,"
                       "\"exec\":null}");

        (void)state;

        assert_int_equal(definition->agent_class, AGENT_CLASS_BATCHED);
        assert_int_equal(definition->overflow, OVERFLOW_REJECT);
        assert_int_equal(definition->mailbox.capacity, 1000);
        assert_int_equal(definition->mailbox.bytes_max, 4194304);
        assert_int_equal(definition->quantum, 64);
        assert_int_equal(definition->max_concurrency, 1);
        assert_int_equal(definition->checkpoint_interval_ms, 5000);
        assert_int_equal(definition->restart.max, 5);
        assert_int_equal(definition->restart.window_ms, 60000);
        assert_int_equal(definition->restart.backoff_ms, 200);
        assert_int_equal(definition->on_restore_error, ON_RESTORE_ERROR_FAIL);
        assert_int_equal(definition->on_checkpoint_error, ON_CHECKPOINT_ERROR_RETRY);
        assert_null(definition->parameters);
        assert_null(definition->settings);
        assert_null(definition->subscribed_topics);
}

static void the_key_named_like_the_type_is_its_settings(void **state) {
        _cleanup_(definition_freep) Definition *plugin =
                parsed("{\"agent_id\":\"a\",\"agent_type\":\"plugin\",\"plugin\":\"wordcount\"}");
        _cleanup_(definition_freep) Definition *exec =
                parsed("{\"agent_id\":\"a\",\"agent_type\":\"exec\",\"exec\":{\"command\":[\"x\"]},"
                       "\"parameters\":{\"y\":1},\"max_concurrency\":1024}");
        const BehaviorStart start = definition_start(exec);

        (void)state;

        assert_string_equal(plugin->settings, "\"wordcount\"");
        assert_int_equal(exec->max_concurrency, 1024);
        assert_ptr_equal(start.behavior, &fake_exec);
        assert_true(slice_equal(start.agent_id, SLICE("a")));
        assert_true(slice_equal(start.settings, SLICE("{\"command\":[\"x\"]}")));
        assert_true(slice_equal(start.parameters, SLICE("{\"y\":1}")));
        assert_int_equal(start.max_concurrency, 1024);
        assert_null(start.state.data);
}

static void a_topic_is_a_text_or_an_object(void **state) {
        _cleanup_(definition_freep) Definition *definition =
                parsed("{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"subscribed_topics\":[ \"news.*\" , "
                       "{\"topic\":\"jobs\",\"queue\":\"pool\",\"qos\":\"background\"},"
                       "{\"qos\":\"realtime\",\"topic\":\"caf\\u00e9.>\"} ]}");
        static const struct {
                const char *topic, *queue;
                Qos qos;
        } expected[] = {
                { "news.*", NULL, QOS_BATCHED },
                { "jobs", "pool", QOS_BACKGROUND },
                { "caf\xc3\xa9.>", NULL, QOS_REALTIME },
        };
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted wanted;
        size_t cursor = 0;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                assert_int_equal(definition_next_topic(definition, &cursor, &arena, &wanted), 1);
                assert_true(slice_equal(wanted.topic, slice_of(expected[i].topic)));
                assert_true(slice_equal(wanted.queue, slice_of(expected[i].queue)));
                assert_int_equal(!wanted.queue.data, !expected[i].queue);
                assert_int_equal(wanted.qos, expected[i].qos);
        }
        assert_int_equal(definition_next_topic(definition, &cursor, &arena, &wanted), 0);
}

static void the_number_of_topics_has_a_limit(void **state) {
        static char text[TOPICS_MAX * 16 + 256];

        (void)state;

        for (size_t n = TOPICS_MAX; n <= TOPICS_MAX + 1; n++) {
                _cleanup_(definition_freep) Definition *definition = NULL;
                WireError error = {};
                size_t used =
                        (size_t)sprintf(text, "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"subscribed_topics\":[");

                for (size_t i = 0; i < n; i++)
                        used += (size_t)sprintf(text + used, "%s\"t.%zu\"", i > 0 ? "," : "", i);
                (void)sprintf(text + used, "]}");
                assert_int_equal(definition_parse(slice_of(text), all_types, &definition, &error),
                        n > TOPICS_MAX ? WIRE_E_INVALID : 0);
                if (n > TOPICS_MAX)
                        assert_string_equal(error.text, "subscribed_topics: more than 1024");
        }
}

/* subscribe_agent has one more member, which is not the parser's business. */
static void the_arguments_of_subscribe_agent_are_read_the_same(void **state) {
        _cleanup_(arena_clear) Arena arena = {};
        TopicWanted wanted = {};
        WireError error = {};

        (void)state;

        assert_int_equal(topic_wanted_parse(SLICE("{\"agent_id\":\"a\",\"topic\":\"x\",\"queue\":\"q\"}"),
                                 "subscribe_agent", &arena, &wanted, &error),
                0);
        assert_true(slice_equal(wanted.topic, SLICE("x")));
        assert_true(slice_equal(wanted.queue, SLICE("q")));
        assert_int_equal(wanted.qos, QOS_BATCHED);
        assert_int_equal(topic_wanted_parse(SLICE("{\"agent_id\":\"a\"}"), "subscribe_agent", &arena, &wanted, &error),
                WIRE_E_INVALID);
        assert_string_equal(error.text, "subscribe_agent: topic is missing");
}

/* They are part of registrations, where one that fills a message leaves no room for the rest. */
static void capabilities_are_no_longer_than_a_registration_bears(void **state) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        static char text[CAPABILITIES_BYTES_MAX + 128];
        WireError error;

        (void)state;

        (void)snprintf(text, sizeof(text), "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"capabilities\":[%*s\"x\"]}",
                CAPABILITIES_BYTES_MAX, "");
        assert_int_equal(definition_parse(slice_of(text), behaviors_builtin, &definition, &error), WIRE_E_INVALID);
        assert_non_null(strstr(error.text, "capabilities"));
}

static void refused(const char *text, const char *says) {
        Definition *definition = NULL;
        WireError error = {};

        if (definition_parse(slice_of(text), all_types, &definition, &error) != WIRE_E_INVALID)
                fail_msg("accepted: %s", text);
        assert_null(definition);
        if (!strstr(error.text, says))
                fail_msg("%s: \"%s\" does not say: %s", text, error.text, says);
}

static void a_definition_never_means_less_than_it_says(void **state) {
        static const struct {
                const char *rest; /* of {"agent_id":"a","agent_type": */
                const char *says;
        } cases[] = {
                { "\"python\"", "agent_type: \"python\" is none of counter, delay, echo, relay, exec, plugin" },
                { "\"echo\",\"priority\":101", "priority is 101, the limit is 100" },
                { "\"echo\",\"priority\":-1", "priority" },
                { "\"echo\",\"quantum\":0", "quantum: 0 is below the limit of 1" },
                { "\"echo\",\"mailbox_capacity\":1000001", "1000000" },
                { "\"echo\",\"overflow\":\"block\"", "overflow \"block\" is none of reject, drop_oldest, drop_newest" },
                { "\"echo\",\"parameters\":[]", "parameters" },
                { "\"echo\",\"capabilities\":[7]", "capabilities[0]" },
                { "\"echo\",\"mailbox_capcity\":7", "mailbox_capcity: there is no such key" },
                { "\"echo\",\"exclusive\":true", "exclusive: exclusive agents are not supported in this version" },
                { "\"echo\",\"idle_timeout_ms\":5", "idle_timeout_ms" },
                { "\"echo\",\"checkpoint_interval_ms\":86400001", "the limit is 86400000" },
                { "\"echo\",\"restart\":{\"max\":65}", "restart.max is 65, the limit is 64" },
                { "\"echo\",\"restart\":{\"window_ms\":0}", "restart.window_ms: 0 is below the limit of 1" },
                { "\"echo\",\"restart\":{\"backoff_ms\":0}", "restart.backoff_ms: 0 is below the limit of 1" },
                { "\"echo\",\"restart\":{\"times\":3}", "restart.times: there is no such key" },
                { "\"echo\",\"restart\":5", "restart" },
                { "\"echo\",\"on_restore_error\":\"ignore\"", "is none of fail, fresh, previous" },
                { "\"echo\",\"on_checkpoint_error\":\"ignore\"", "is none of retry, stop" },
                { "\"echo\",\"max_concurrency\":1", "max_concurrency: an agent of the type \"echo\" gets one call" },
                { "\"plugin\",\"max_concurrency\":2", "max_concurrency" },
                { "\"exec\",\"max_concurrency\":0,\"exec\":{}", "max_concurrency: 0 is below the limit of 1" },
                { "\"exec\",\"max_concurrency\":1025,\"exec\":{}", "the limit is 1024" },
                { "\"exec\"", "exec: is missing" },
                { "\"echo\",\"exec\":{}",
                        "exec: is for agents of the type \"exec\", and this one is of the type \"echo\"" },
                { "\"exec\",\"exec\":{},\"plugin\":\"x\"", "plugin: is for agents of the type \"plugin\"" },
                { "\"relay\"", "parameters: to is missing" },
                { "\"relay\",\"parameters\":{\"to\":\"a.*\"}", "parameters: to \"a.*\" is not a subject" },
                { "\"echo\",\"subscribed_topics\":{}", "subscribed_topics" },
                { "\"echo\",\"subscribed_topics\":[\"a\",7]", "subscribed_topics[1]: must be a text, or an object" },
                { "\"echo\",\"subscribed_topics\":[\"a..b\"]", "subscribed_topics[0]: \"a..b\" is not a topic" },
                { "\"echo\",\"subscribed_topics\":[\"a.>.b\"]", "is not a topic" },
                { "\"echo\",\"subscribed_topics\":[\"\"]", "is not a topic" },
                { "\"echo\",\"subscribed_topics\":[\"a\\u0000\"]", "NUL" },
                { "\"echo\",\"subscribed_topics\":[{\"queue\":\"q\"}]", "subscribed_topics[0]: topic is missing" },
                { "\"echo\",\"subscribed_topics\":[{\"topic\":\"a\",\"queue\":\"b c\"}]",
                        "\"b c\" can't be the name of a" },
                { "\"echo\",\"subscribed_topics\":[{\"topic\":\"a\",\"qos\":\"fast\"}]",
                        "realtime, batched, background" },
                { "\"echo\",\"subscribed_topics\":[{\"topic\":\"a\",\"quue\":\"b\"}]",
                        "subscribed_topics[0].quue: there is no such key" },
                { "\"echo\",\"subscribed_topics\":[\"a\",\"b\",{\"topic\":\"a\",\"queue\":\"q\"}]",
                        "subscribed_topics: \"a\" is there twice" },
        };
        static const struct {
                const char *text, *says;
        } wholes[] = {
                { "", "" },
                { "[]", "" },
                { "{}", "agent_id" },
                { "{\"agent_id\":\"a\"}", "agent_type" },
                { "{\"agent_id\":\"a.b\",\"agent_type\":\"echo\"}", "agent_id" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\"} {}", "" },
        };
        char text[512];

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(wholes); i++)
                refused(wholes[i].text, wholes[i].says);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                (void)snprintf(text, sizeof(text), "{\"agent_id\":\"a\",\"agent_type\":%s}", cases[i].rest);
                refused(text, cases[i].says);
        }
}

static void a_topic_too_long_is_refused_with_the_limit(void **state) {
        char text[512];

        (void)state;

        (void)snprintf(text, sizeof(text),
                "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"subscribed_topics\":[\"%0256d\"]}", 7);
        refused(text, "subscribed_topics[0]: 256 bytes are over the limit of 255");
}

static void without_memory_there_is_no_definition(void **state) {
        static const char text[] = "{\"agent_id\":\"a\",\"agent_type\":\"exec\",\"exec\":{},\"parameters\":{},"
                                   "\"capabilities\":[\"\\u0041\"],"
                                   "\"subscribed_topics\":[\"\\u0041\",{\"topic\":\"\\u0042\"}]}";
        Definition *definition = NULL;
        WireError error;
        int r = -ENOMEM;

        (void)state;

        if (!FAILING_WORKS)
                skip();
        for (size_t n = 1; r == -ENOMEM; n++) {
                assert_null(definition);
                fail_at = n;
                r = definition_parse(slice_of(text), all_types, &definition, &error);
                assert_true(r == 0 || n < 50);
                fail_at = 0;
        }
        assert_int_equal(r, 0);
        (void)definition_free(definition);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_definition_means_what_it_says),
                cmocka_unit_test(what_is_left_out_has_the_documented_default),
                cmocka_unit_test(the_key_named_like_the_type_is_its_settings),
                cmocka_unit_test(a_topic_is_a_text_or_an_object),
                cmocka_unit_test(the_number_of_topics_has_a_limit),
                cmocka_unit_test(the_arguments_of_subscribe_agent_are_read_the_same),
                cmocka_unit_test(capabilities_are_no_longer_than_a_registration_bears),
                cmocka_unit_test(a_definition_never_means_less_than_it_says),
                cmocka_unit_test(a_topic_too_long_is_refused_with_the_limit),
                cmocka_unit_test(without_memory_there_is_no_definition),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
