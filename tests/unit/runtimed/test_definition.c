/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/definition.h"

static void a_definition_means_what_it_says(void **state) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        WireError error;

        (void)state;

        assert_int_equal(
                definition_parse(
                        SLICE(" \n{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"priority\":70,\"mailbox_capacity\":5,"
                              "\"mailbox_bytes\":6,\"quantum\":7,\"overflow\":\"drop_newest\",\"parameters\":{\"x\":[1]"
                              "},"
                              "\"capabilities\":[\"search\"],\"subscribed_topics\":[],\"exclusive\":false}\n"),
                        behaviors_builtin, &definition, &error),
                0);
        assert_true(id_equal(&definition->agent_id, SLICE("a")));
        assert_ptr_equal(definition->behavior, &behavior_echo);
        assert_int_equal(definition->agent_class, AGENT_CLASS_REALTIME);
        assert_int_equal(definition->overflow, OVERFLOW_DROP_NEWEST);
        assert_int_equal(definition->mailbox_capacity, 5);
        assert_int_equal(definition->mailbox_bytes, 6);
        assert_int_equal(definition->quantum, 7);
        assert_string_equal(definition->parameters, "{\"x\":[1]}");
        assert_string_equal(definition->capabilities, "[\"search\"]");
}

static void what_is_left_out_has_the_documented_default(void **state) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        WireError error;

        (void)state;

        assert_int_equal(definition_parse(SLICE("{\"agent_id\":\"a\",\"agent_type\":\"delay\"}"), behaviors_builtin,
                                 &definition, &error),
                0);
        assert_int_equal(definition->agent_class, AGENT_CLASS_BATCHED);
        assert_int_equal(definition->overflow, OVERFLOW_REJECT);
        assert_int_equal(definition->mailbox_capacity, 1000);
        assert_int_equal(definition->mailbox_bytes, 4194304);
        assert_int_equal(definition->quantum, 64);
        assert_null(definition->parameters);
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

static void a_definition_never_means_less_than_it_says(void **state) {
        static const struct {
                const char *text, *names;
        } cases[] = {
                { "", "" },
                { "[]", "" },
                { "{}", "agent_id" },
                { "{\"agent_id\":\"a\"}", "agent_type" },
                { "{\"agent_id\":\"a.b\",\"agent_type\":\"echo\"}", "agent_id" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"python\"}", "counter, delay, echo" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"priority\":101}", "100" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"priority\":-1}", "priority" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"quantum\":0}", "quantum" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"mailbox_capacity\":1000001}", "1000000" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"overflow\":\"block\"}", "overflow" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"parameters\":[]}", "parameters" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"capabilities\":[7]}", "capabilities[0]" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"mailbox_capcity\":7}", "mailbox_capcity" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"subscribed_topics\":[\"x\"]}", "subscribed_topics" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"exclusive\":true}", "exclusive" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"checkpoint_interval_ms\":0}",
                        "checkpoint_interval_ms" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"idle_timeout_ms\":5}", "idle_timeout_ms" },
                { "{\"agent_id\":\"a\",\"agent_type\":\"echo\"} {}", "" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Definition *definition = NULL;
                WireError error = {};

                if (definition_parse(slice_of(cases[i].text), behaviors_builtin, &definition, &error) != WIRE_E_INVALID)
                        fail_msg("accepted: %s", cases[i].text);
                assert_null(definition);
                if (!strstr(error.text, cases[i].names))
                        fail_msg("%s: \"%s\" does not name %s", cases[i].text, error.text, cases[i].names);
        }
}

static void behaviours_do_what_the_catalogue_says(void **state) {
        static const struct {
                const Behavior *behavior;
                const char *parameters, *input, *output;
                BehaviorVerdict verdict;
        } cases[] = {
                { &behavior_echo, NULL, "[1, 2]", "[1, 2]", BEHAVIOR_DONE },
                { &behavior_counter, NULL, "null", "{\"count\":1}", BEHAVIOR_DONE },
                { &behavior_counter, "{\"start\":41}", "null", "{\"count\":42}", BEHAVIOR_DONE },
                { &behavior_delay, NULL, "{\"ms\":0}", "{\"ms\":0}", BEHAVIOR_DONE },
                { &behavior_delay, NULL, "{\"ms\":5}", "", BEHAVIOR_DEFER },
                { &behavior_delay, "{\"ms\":7}", "null", "", BEHAVIOR_DEFER },
                { &behavior_delay, NULL, "{\"ms\":-5}", NULL, BEHAVIOR_ERROR },
                { &behavior_delay, NULL, "{\"ms\":99999999999}", NULL, BEHAVIOR_ERROR },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                BehaviorMessage message = { .agent_id = SLICE("a"), .input = slice_of(cases[i].input) };
                BehaviorReply reply = {};
                void *behavior_state = NULL;
                char why[64];

                assert_int_equal(cases[i].behavior->init(
                                         SLICE("a"), slice_of(cases[i].parameters), &behavior_state, why, sizeof(why)),
                        0);
                cases[i].behavior->handle(behavior_state, &message, &reply);
                assert_int_equal(reply.verdict, cases[i].verdict);
                if (cases[i].output)
                        assert_true(slice_equal(buffer_slice(&reply.output), slice_of(cases[i].output)));
                cases[i].behavior->stop(behavior_state);
                buffer_done(&reply.output);
        }
}

static void parameters_that_make_no_sense_are_refused(void **state) {
        void *behavior_state = NULL;
        char why[64] = "";

        (void)state;

        assert_int_equal(
                behavior_counter.init(SLICE("a"), SLICE("{\"start\":\"x\"}"), &behavior_state, why, sizeof(why)),
                BEHAVIOR_E_REFUSED);
        assert_non_null(strstr(why, "start"));
        assert_int_equal(behavior_delay.init(SLICE("a"), SLICE("{\"ms\":1e99}"), &behavior_state, why, sizeof(why)),
                BEHAVIOR_E_REFUSED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_definition_means_what_it_says),
                cmocka_unit_test(what_is_left_out_has_the_documented_default),
                cmocka_unit_test(capabilities_are_no_longer_than_a_registration_bears),
                cmocka_unit_test(a_definition_never_means_less_than_it_says),
                cmocka_unit_test(behaviours_do_what_the_catalogue_says),
                cmocka_unit_test(parameters_that_make_no_sense_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
