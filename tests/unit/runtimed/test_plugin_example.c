/* SPDX-License-Identifier: MIT */

/*
 * The example that authors start from does what it says. With an argument, a directory, it is tried as it was built
 * there.
 */

#include <string.h>

#include "tests/unit/runtimed/plugins.h"

#define WORDCOUNT "\"wordcount\""

static const char *directory;

static void assert_replied(PluginHost *host, void *agent, MessageKind kind, const char *input, const char *output) {
        _cleanup_(behavior_reply_done) BehaviorReply reply = reply_to(host, agent, kind, slice_of(input));

        assert_said(&reply, output);
        assert_int_equal(reply.effects.n, 0);
}

static void words_are_counted_and_the_count_outlives_the_agent(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(directory);
        const Behavior *behavior = plugin_host_behavior(host);
        void *agent = started(host, WORDCOUNT, NULL, SLICE_NONE, NULL);
        _cleanup_(buffer_done) Buffer kept = {};

        (void)state;

        assert_replied(host, agent, MESSAGE_TRIGGER, "{\"text\":\"to be  or not\\tto be\"}",
                "{\"words\":6,\"total_words\":6,\"total_texts\":1}");
        assert_replied(host, agent, MESSAGE_TOPIC, " two words\n", "{\"words\":2,\"total_words\":8,\"total_texts\":2}");
        assert_replied(host, agent, MESSAGE_TRIGGER, "[]", "input: text must be there, and a text");
        assert_replied(host, agent, MESSAGE_TIMER, "", "");
        assert_int_equal(behavior->checkpoint(agent, &kept), 0);
        behavior->stop(agent);

        agent = started(host, WORDCOUNT, NULL, buffer_slice(&kept), NULL);
        assert_replied(host, agent, MESSAGE_TOPIC, "", "{\"words\":0,\"total_words\":8,\"total_texts\":3}");
        behavior->stop(agent);
}

static void the_count_is_published_if_the_parameters_say_so(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(directory);
        void *agent = started(host, WORDCOUNT, "{\"publish_to\":\"words.counted\"}", SLICE_NONE, NULL);
        _cleanup_(behavior_reply_done) BehaviorReply reply = reply_to(host, agent, MESSAGE_TOPIC, SLICE("one"));

        (void)state;

        assert_int_equal(reply.effects.n, 1);
        assert_int_equal(reply.effects.first->kind, EFFECT_PUBLISH);
        assert_true(slice_equal(reply.effects.first->target, SLICE("words.counted")));
        assert_true(slice_equal(reply.effects.first->payload, buffer_slice(&reply.output)));
        plugin_host_behavior(host)->stop(agent);
}

static void what_makes_no_sense_to_it_is_refused(void **state) {
        static const struct {
                const char *parameters, *saved;
                int result;
        } cases[] = {
                { "{\"publish_to\":7}", NULL, BEHAVIOR_E_REFUSED },
                { NULL, "", BEHAVIOR_E_STATE },
                { NULL, "{\"version\":2,\"words\":1,\"texts\":1}", BEHAVIOR_E_STATE },
                { NULL, "{\"version\":1,\"words\":1}", BEHAVIOR_E_STATE },
        };
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(directory);
        WireError error;

        (void)state;

        assert_int_equal(check_plugin(host, WORDCOUNT, &error), 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const BehaviorStart start = {
                        .agent_id = SLICE("agent-7"),
                        .behavior = plugin_host_behavior(host),
                        .settings = SLICE(WORDCOUNT),
                        .parameters = slice_of(cases[i].parameters),
                        .state = slice_of(cases[i].saved),
                };
                void *agent = NULL;
                char why[128] = "";

                assert_int_equal(start.behavior->init(&start, &agent, why, sizeof(why)), cases[i].result);
                assert_true(why[0] != '\0');
        }
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(words_are_counted_and_the_count_outlives_the_agent),
                cmocka_unit_test(the_count_is_published_if_the_parameters_say_so),
                cmocka_unit_test(what_makes_no_sense_to_it_is_refused),
        };

        directory = argc > 1 ? argv[1] : built_plugins();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
