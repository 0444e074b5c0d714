/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/behavior.h"

static const Envelope no_envelope;

/* What the behaviour, started anew with these parameters and this state, replies to one message. */
static BehaviorReply reply_of(const Behavior *behavior, const char *parameters, const char *state_text,
        const BehaviorMessage *message, Buffer *ret_state) {
        const BehaviorStart start = { .behavior = behavior,
                .agent_id = SLICE("a"),
                .parameters = slice_of(parameters),
                .state = slice_of(state_text) };
        BehaviorReply reply = {};
        void *behavior_state = NULL;
        char why[128] = "";

        if (behavior->init(&start, &behavior_state, why, sizeof(why)) != 0)
                fail_msg("%s: %s", behavior->type, why);
        behavior->handle(behavior_state, message, &reply);
        if (ret_state)
                assert_int_equal(behavior->checkpoint(behavior_state, ret_state), 0);
        behavior->stop(behavior_state);
        return reply;
}

static void behaviours_do_what_the_catalogue_says(void **state) {
        static const struct {
                const Behavior *behavior;
                const char *parameters;
                MessageKind kind;
                const char *input, *output;
                BehaviorVerdict verdict;
        } cases[] = {
                { &behavior_echo, NULL, MESSAGE_TRIGGER, "[1, 2]", "[1, 2]", BEHAVIOR_DONE },
                { &behavior_echo, NULL, MESSAGE_TOPIC, "\x01 any \xff", "\x01 any \xff", BEHAVIOR_DONE },
                { &behavior_counter, NULL, MESSAGE_TRIGGER, "null", "{\"count\":1}", BEHAVIOR_DONE },
                { &behavior_counter, "{\"start\":41}", MESSAGE_TOPIC, "x", "{\"count\":42}", BEHAVIOR_DONE },
                { &behavior_delay, NULL, MESSAGE_TRIGGER, "{\"ms\":0}", "{\"ms\":0}", BEHAVIOR_DONE },
                { &behavior_delay, NULL, MESSAGE_TRIGGER, "{\"ms\":5}", "", BEHAVIOR_DEFER },
                { &behavior_delay, NULL, MESSAGE_RESUME, "{\"ms\":5}", "{\"ms\":5}", BEHAVIOR_DONE },
                { &behavior_delay, "{\"ms\":7}", MESSAGE_TRIGGER, "null", "", BEHAVIOR_DEFER },
                { &behavior_delay, "{\"ms\":7}", MESSAGE_TOPIC, "\x01", "", BEHAVIOR_DEFER },
                { &behavior_delay, "{\"ms\":7}", MESSAGE_RESUME, "\x01", "{\"ms\":7}", BEHAVIOR_DONE },
                { &behavior_delay, NULL, MESSAGE_TOPIC, "{not JSON", NULL, BEHAVIOR_ERROR },
                { &behavior_delay, NULL, MESSAGE_TRIGGER, "{\"ms\":-5}", NULL, BEHAVIOR_ERROR },
                { &behavior_delay, NULL, MESSAGE_TRIGGER, "{\"ms\":99999999999}", NULL, BEHAVIOR_ERROR },
                { &behavior_relay, "{\"to\":\"x.y\"}", MESSAGE_TRIGGER, "{}", "{\"to\":\"x.y\",\"bytes\":2}",
                        BEHAVIOR_DONE },
                { &behavior_relay, "{\"to\":\"x.y\"}", MESSAGE_TOPIC, "payload", "", BEHAVIOR_DONE },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const BehaviorMessage message = {
                        .kind = cases[i].kind, .input = slice_of(cases[i].input), .envelope = &no_envelope
                };
                _cleanup_(behavior_reply_done) BehaviorReply reply =
                        reply_of(cases[i].behavior, cases[i].parameters, NULL, &message, NULL);

                assert_int_equal(reply.verdict, cases[i].verdict);
                if (cases[i].output && !slice_equal(buffer_slice(&reply.output), slice_of(cases[i].output)))
                        fail_msg("%s of %s: %.*s", cases[i].behavior->type, cases[i].input,
                                SLICE_ARG(buffer_slice(&reply.output)));
        }
}

/* Only who asks gets answers, and only who sets timers hears of them. */
static void what_a_builtin_never_asked_for_leaves_no_trace(void **state) {
        static const MessageKind kinds[] = { MESSAGE_ANSWER, MESSAGE_TIMER };

        (void)state;

        for (size_t i = 0; behaviors_builtin[i]; i++)
                for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                        const BehaviorMessage message = {
                                .kind = kinds[k], .input = SLICE("{}"), .code = ERROR_TIMEOUT, .envelope = &no_envelope
                        };
                        const Behavior *behavior = behaviors_builtin[i];
                        _cleanup_(buffer_done) Buffer kept = {};
                        _cleanup_(behavior_reply_done) BehaviorReply reply = reply_of(behavior,
                                "{\"to\":\"t\",\"ms\":5}", NULL, &message, behavior->checkpoint ? &kept : NULL);

                        assert_int_equal(reply.verdict, BEHAVIOR_DONE);
                        assert_int_equal(reply.output.size, 0);
                        assert_int_equal(reply.effects.n, 0);
                        if (behavior->checkpoint)
                                assert_true(slice_equal(buffer_slice(&kept), SLICE("counter 1 0")));
                }
}

static void a_counter_goes_on_from_its_state(void **state) {
        const BehaviorMessage message = { .kind = MESSAGE_TRIGGER, .input = SLICE("null"), .envelope = &no_envelope };
        _cleanup_(buffer_done) Buffer kept = {};
        _cleanup_(behavior_reply_done) BehaviorReply reply =
                reply_of(&behavior_counter, "{\"start\":100}", "counter 1 41", &message, &kept);

        (void)state;

        assert_true(slice_equal(buffer_slice(&reply.output), SLICE("{\"count\":42}")));
        assert_true(slice_equal(buffer_slice(&kept), SLICE("counter 1 42")));
}

static void a_counter_has_no_state_but_its_own(void **state) {
        static const char *const strange[] = { "", "42", "counter 1 ", "counter 1 42 ", "counter 1 042", "counter 1 -1",
                "counter 1 +1", "counter  1 1", "counter 2 42", "counter 1 99999999999999999999", "counter 1 1\n",
                "counter 1 00000000000000000000000000000000000000000000000000000001" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(strange); i++) {
                const BehaviorStart start = { .state = slice_of(strange[i]) };
                void *behavior_state = NULL;
                char why[128] = "";

                assert_int_equal(behavior_counter.init(&start, &behavior_state, why, sizeof(why)), BEHAVIOR_E_STATE);
                assert_null(behavior_state);
                assert_non_null(strstr(why, "state"));
        }
}

static void a_relay_publishes_what_it_gets(void **state) {
        const BehaviorMessage message = {
                .kind = MESSAGE_TOPIC, .topic = SLICE("in"), .input = SLICE("\0\xff bytes"), .envelope = &no_envelope
        };
        _cleanup_(behavior_reply_done) BehaviorReply reply =
                reply_of(&behavior_relay, "{\"to\":\"out\"}", NULL, &message, NULL);

        (void)state;

        assert_int_equal(reply.effects.n, 1);
        assert_int_equal(reply.effects.first->kind, EFFECT_PUBLISH);
        assert_true(slice_equal(reply.effects.first->target, SLICE("out")));
        assert_true(slice_equal(reply.effects.first->payload, message.input));
        assert_ptr_not_equal(reply.effects.first->payload.data, message.input.data);
        assert_false(reply.effects.first->wants_answer);
}

static void parameters_that_make_no_sense_are_refused(void **state) {
        static const struct {
                const Behavior *behavior;
                const char *parameters, *names;
        } cases[] = {
                { &behavior_counter, "{\"start\":\"x\"}", "start" },
                { &behavior_delay, "{\"ms\":1e99}", "ms" },
                { &behavior_relay, NULL, "to is missing" },
                { &behavior_relay, "{}", "to is missing" },
                { &behavior_relay, "{\"to\":\"a.>\"}", "to" },
                { &behavior_relay, "{\"to\":7}", "to" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const BehaviorStart start = { .parameters = slice_of(cases[i].parameters) };
                void *behavior_state = NULL;
                char why[128] = "";
                WireError error = {};

                assert_int_equal(
                        cases[i].behavior->init(&start, &behavior_state, why, sizeof(why)), BEHAVIOR_E_REFUSED);
                assert_null(behavior_state);
                assert_non_null(strstr(why, cases[i].names));
                if (cases[i].behavior->check)
                        assert_int_equal(cases[i].behavior->check(&start, &error), WIRE_E_INVALID);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(behaviours_do_what_the_catalogue_says),
                cmocka_unit_test(what_a_builtin_never_asked_for_leaves_no_trace),
                cmocka_unit_test(a_counter_goes_on_from_its_state),
                cmocka_unit_test(a_counter_has_no_state_but_its_own),
                cmocka_unit_test(a_relay_publishes_what_it_gets),
                cmocka_unit_test(parameters_that_make_no_sense_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
