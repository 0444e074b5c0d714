/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "compozy/behavior.h"
#include "tests/unit/runtimed/plugins.h"

#define PROBE "\"probe\""

/* What the probe replies to one message of that kind. */
static BehaviorReply probed(MessageKind kind, const char *input) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        void *agent = started(host, PROBE, NULL, SLICE_NONE, NULL);
        BehaviorReply reply = reply_to(host, agent, kind, slice_of(input));

        plugin_host_behavior(host)->stop(agent);
        return reply;
}

static void what_a_plugin_says_is_what_becomes_of_the_message(void **state) {
        static const struct {
                MessageKind kind;
                const char *input, *output;
                BehaviorVerdict verdict;
                ErrorCode code;
        } cases[] = {
                { MESSAGE_TRIGGER, "output", "{\"second\":2}", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TOPIC, "output", "{\"second\":2}", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_RESUME, "output", "{\"second\":2}", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_ANSWER, "output", "", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TIMER, "output", "", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TRIGGER, "nothing", "null", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_RESUME, "nothing", "null", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TOPIC, "nothing", "", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TIMER, "nothing", "", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TRIGGER, "fail", "it took too long", BEHAVIOR_ERROR, ERROR_TIMEOUT },
                { MESSAGE_TIMER, "fail", "it took too long", BEHAVIOR_ERROR, ERROR_TIMEOUT },
                { MESSAGE_TRIGGER, "fail_unknown", "the behaviour gave no reason", BEHAVIOR_ERROR, ERROR_INTERNAL },
                { MESSAGE_TRIGGER, "defer", "", BEHAVIOR_DEFER, ERROR_NONE },
                { MESSAGE_TIMER, "defer", "", BEHAVIOR_DONE, ERROR_NONE },
                { MESSAGE_TRIGGER, "keep_open", "", BEHAVIOR_PENDING, ERROR_NONE },
                { MESSAGE_ANSWER, "keep_open", "", BEHAVIOR_DONE, ERROR_NONE },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(behavior_reply_done) BehaviorReply reply = probed(cases[i].kind, cases[i].input);

                assert_said(&reply, cases[i].output);
                assert_int_equal(reply.verdict, cases[i].verdict);
                assert_int_equal(reply.code, cases[i].code);
                if (cases[i].verdict == BEHAVIOR_DEFER)
                        assert_int_equal(reply.defer_usec, 5000);
        }
}

/* Else it would have succeeded with the output null, if it did not look at what it was told. */
static void an_end_that_is_refused_fails_the_message(void **state) {
        static const struct {
                const char *input, *says;
                ErrorCode code;
        } cases[] = {
                { "huge_output", "limit", ERROR_LIMIT_EXCEEDED },
                { "lost_output", "nowhere", ERROR_INTERNAL },
                { "defer_for_ever", "year", ERROR_LIMIT_EXCEEDED },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, cases[i].input);
                _cleanup_(free_charp) char *said = slice_dup(buffer_slice(&reply.output));

                assert_int_equal(reply.verdict, BEHAVIOR_ERROR);
                assert_int_equal(reply.code, cases[i].code);
                assert_non_null(strstr(said, cases[i].says));
        }
}

static void a_long_sentence_is_cut_between_characters(void **state) {
        _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, "fail_long");

        (void)state;

        assert_int_equal(reply.verdict, BEHAVIOR_ERROR);
        assert_true(reply.output.size <= COMPOZY_SENTENCE_MAX);
        assert_true(reply.output.size > COMPOZY_SENTENCE_MAX - 4);
        assert_int_equal(reply.output.size % 3, 0);
}

static void a_plugin_is_told_all_that_is_known_of_a_message(void **state) {
        _cleanup_(plugin_host_freep) PluginHost *host = host_of(built_plugins());
        void *agent = started(host, PROBE, NULL, SLICE_NONE, NULL);
        const Envelope envelope = {
                .thread_id = SLICE("th"),
                .correlation_id = SLICE("co"),
                .sender = SLICE("se"),
                .reply_to = SLICE("re"),
                .is_request = true,
                .ttl = 14,
                .hop = 2,
                .traceparent = SLICE("00-tr"),
        };
        const BehaviorMessage message = {
                .kind = MESSAGE_ANSWER,
                .id = 11,
                .token = 12,
                .attempt = 13,
                .agent_id = SLICE("agent-7"),
                .exec_id = SLICE("ex"),
                .topic = SLICE("to.pic"),
                .input = SLICE("in"),
                .code = ERROR_TIMEOUT,
                .envelope = &envelope,
        };
        _cleanup_(behavior_reply_done) BehaviorReply reply = {};

        (void)state;

        plugin_host_behavior(host)->handle(agent, &message, &reply);
        assert_int_equal(reply.effects.n, 1);
        assert_int_equal(reply.effects.first->kind, EFFECT_LOG);
        assert_true(slice_equal(reply.effects.first->payload,
                SLICE("kind 3 id 11 token 12 attempt 13 agent agent-7 exec ex topic to.pic input in error TIMEOUT "
                      "thread th correlation co sender se reply_to re ttl 14 hop 2 request 1 trace 00-tr")));
        plugin_host_behavior(host)->stop(agent);
}

static void assert_effect(const Effect *effect, const Effect *expected) {
        assert_non_null(effect);
        assert_int_equal(effect->kind, expected->kind);
        assert_int_equal(effect->code, expected->code);
        assert_int_equal(effect->qos, expected->qos);
        assert_int_equal(effect->level, expected->level);
        assert_int_equal(effect->wants_answer, expected->wants_answer);
        assert_int_equal(effect->token, expected->token);
        assert_int_equal(effect->message_id, expected->message_id);
        assert_int_equal(effect->usec, expected->usec);
        assert_true(slice_equal(effect->target, expected->target));
        assert_true(slice_equal(effect->payload, expected->payload));
        assert_true(slice_equal(effect->headers, expected->headers));
        assert_true(slice_equal(effect->key, expected->key));
}

static void each_wish_becomes_its_effect(void **state) {
        const Effect expected[] = {
                { .kind = EFFECT_REPLY, .message_id = 71, .payload = SLICE("[7]") },
                { .kind = EFFECT_REPLY, .message_id = 72, .code = ERROR_CANCELLED, .payload = SLICE("no more") },
                { .kind = EFFECT_PUBLISH,
                        .target = SLICE("a.b"),
                        .payload = SLICE("\0\xff"),
                        .headers = SLICE("A: 1\r\nCompozy-Ttl: 3\r\n") },
                { .kind = EFFECT_PUBLISH, .target = SLICE("a.c"), .token = 31, .wants_answer = true },
                { .kind = EFFECT_ASK,
                        .target = SLICE("friend"),
                        .payload = SLICE("how?"),
                        .usec = 1000,
                        .token = 32,
                        .wants_answer = true },
                { .kind = EFFECT_INVOKE,
                        .target = SLICE("search"),
                        .payload = SLICE("{}"),
                        .key = SLICE("key"),
                        .usec = 2000,
                        .token = 33,
                        .wants_answer = true },
                { .kind = EFFECT_TRIGGER,
                        .target = SLICE("worker"),
                        .payload = SLICE("null"),
                        .usec = 3000,
                        .token = 34,
                        .wants_answer = true },
                { .kind = EFFECT_SUBSCRIBE, .target = SLICE("t.>"), .qos = QOS_BATCHED },
                { .kind = EFFECT_SUBSCRIBE,
                        .target = SLICE("t.*"),
                        .key = SLICE("q"),
                        .qos = QOS_REALTIME,
                        .token = 35,
                        .wants_answer = true },
                { .kind = EFFECT_UNSUBSCRIBE, .target = SLICE("t.>"), .token = 36, .wants_answer = true },
                { .kind = EFFECT_TIMER, .token = 37, .usec = 4000 },
                { .kind = EFFECT_CANCEL_TIMER, .token = 37 },
                { .kind = EFFECT_CHECKPOINT, .token = 38, .wants_answer = true },
                { .kind = EFFECT_STOP },
                { .kind = EFFECT_LOG, .level = 5, .payload = SLICE("said"), .headers = SLICE("{\"n\":1}") },
        };
        _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, "all_wishes");
        const Effect *effect = reply.effects.first;

        (void)state;

        assert_said(&reply, "\"all\"");
        assert_int_equal(reply.effects.n, ELEMENTSOF(expected));
        assert_false(reply.effects.failed);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++, effect = effect->next)
                assert_effect(effect, &expected[i]);
        assert_null(effect);
}

/* Absent is not empty: an effect's group is none, not one without a name. */
static void what_was_left_out_of_a_wish_is_absent(void **state) {
        _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, "all_wishes");

        (void)state;

        for (const Effect *effect = reply.effects.first; effect; effect = effect->next)
                if (effect->kind == EFFECT_SUBSCRIBE && effect->token == 0)
                        assert_null(effect->key.data);
                else if (effect->kind == EFFECT_PUBLISH && effect->token == 31)
                        assert_null(effect->headers.data);
}

static void a_senseless_wish_is_refused_and_leaves_nothing(void **state) {
        _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, "senseless_wishes");

        (void)state;

        /* 3: invalid, 4: over a limit; in the order of the probe's list */
        assert_said(&reply, "343343433334433434334333434334");
        assert_int_equal(reply.effects.n, 0);
        assert_false(reply.effects.failed);
}

static void the_number_of_wishes_has_a_limit(void **state) {
        _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, "too_many_wishes");

        (void)state;

        assert_said(&reply, "1");
        assert_int_equal(reply.effects.n, EFFECTS_MAX);
        assert_false(reply.effects.failed);
}

static void a_call_is_of_no_use_elsewhere_and_afterwards(void **state) {
        static const char *const tries[] = { "another_thread", "keep_call", "kept_call" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(tries); i++) {
                _cleanup_(behavior_reply_done) BehaviorReply reply = probed(MESSAGE_TRIGGER, tries[i]);

                assert_said(&reply, i == 1 ? "null" : "1");
                assert_int_equal(reply.effects.n, 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_a_plugin_says_is_what_becomes_of_the_message),
                cmocka_unit_test(an_end_that_is_refused_fails_the_message),
                cmocka_unit_test(a_long_sentence_is_cut_between_characters),
                cmocka_unit_test(a_plugin_is_told_all_that_is_known_of_a_message),
                cmocka_unit_test(each_wish_becomes_its_effect),
                cmocka_unit_test(what_was_left_out_of_a_wish_is_absent),
                cmocka_unit_test(a_senseless_wish_is_refused_and_leaves_nothing),
                cmocka_unit_test(the_number_of_wishes_has_a_limit),
                cmocka_unit_test(a_call_is_of_no_use_elsewhere_and_afterwards),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
