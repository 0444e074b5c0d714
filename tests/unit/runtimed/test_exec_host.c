/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/runtimed/exec_harness.h"

/* talking */

static void what_a_child_answers_is_the_outcome(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        harness_start(h, 0, "plain", "");
        seen = harness_wait(h, harness_send(h, 0, "{\"text\": \"h\\u00e4\\n\"}"));
        assert_int_equal(seen->verdict, BEHAVIOR_DONE);
        assert_string_equal(seen->text, "{\"text\":\"hä\\n\"}");
        harness_free(h);
}

static void a_message_is_told_with_all_that_is_known_of_it(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        harness_start(h, 0, "plain", "");
        seen = harness_wait(h, harness_send(h, 0, "{\"do\":\"params\"}"));
        assert_string_equal(seen->text,
                "{\"kind\":\"topic\",\"message_id\":2,\"topic\":\"some.topic\",\"input\":{\"do\":\"params\"},"
                "\"encoding\":"
                "\"json\",\"envelope\":{\"thread_id\":\"t1\",\"sender\":\"agent.other\",\"ttl\":7,\"hop\":2}}");
        harness_free(h);
}

static void a_trigger_is_told_with_its_execution_and_attempt(void **state) {
        Harness *h = harness_new();
        Execution execution = { .id = id_of(SLICE("e1")),
                .message_id = 5,
                .attempt = 3,
                .input = SLICE("{\n\"do\":\n\"params\"}"),
                .mail = { .agent = &h->agents[0], .kind = MAIL_TRIGGER } };
        const Seen *seen;

        (void)state;

        execution.mail.outcome = &execution.outcome;
        harness_start(h, 0, "plain", "");
        exec_host_call(h->host, &execution.mail);
        seen = harness_wait(h, &execution.mail);
        assert_string_equal(seen->text,
                "{\"kind\":\"trigger\",\"message_id\":2,\"exec_id\":\"e1\",\"attempt\":3,\"input\":{\"do\":\"params\"},"
                "\"encoding\":\"json\",\"envelope\":{\"ttl\":0,\"hop\":0}}");
        harness_free(h);
}

static void any_bytes_reach_a_child_and_come_back(void **state) {
        static const struct {
                const char *payload, *answer, *why;
        } cases[] = {
                { "plain text", "plain text", "not JSON, but UTF-8" },
                { "", "", "nothing" },
                { "\xff\x01", "/wE=", "neither" },
                { "[1,\n 2]", "[1,2]", "JSON on two lines" },
                { " 42 ", "42", "a bare number" },
        };
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Seen *seen = harness_wait(h, harness_send(h, 0, cases[i].payload));
                char quoted[64];

                (void)snprintf(quoted, sizeof(quoted), i < 3 ? "\"%s\"" : "%s", cases[i].answer);
                assert_string_equal(seen->text, quoted);
        }
        harness_free(h);
}

static void answers_may_come_in_any_order(void **state) {
        Harness *h = harness_new();
        Mail *mails[32], *last;

        (void)state;

        harness_start(h, 0, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(mails); i++)
                mails[i] = harness_send(h, 0, "{\"do\":\"hold\"}");
        last = harness_send(h, 0, "{\"do\":\"release\"}");
        for (size_t i = 0; i < ELEMENTSOF(mails); i++) {
                char id[16];

                (void)snprintf(id, sizeof(id), "%zu", i + 2);
                assert_string_equal(harness_wait(h, mails[i])->text, id);
        }
        assert_ptr_equal(h->seen[1]->mail, last); /* the latest was the first */
        harness_free(h);
}

static void outputs_are_what_the_kind_of_message_wants(void **state) {
        static const struct {
                const char *action;
                BehaviorVerdict verdict;
                ErrorCode code;
                const char *text;
        } cases[] = {
                { "{\"do\":\"raw\",\"result\":{}}", BEHAVIOR_DONE, ERROR_NONE, "" },
                { "{\"do\":\"raw\",\"result\":null}", BEHAVIOR_DONE, ERROR_NONE, "" },
                { "{\"do\":\"raw\",\"result\":{\"output_text\":\"hi\"}}", BEHAVIOR_DONE, ERROR_NONE, "hi" },
                { "{\"do\":\"raw\",\"result\":{\"output_base64\":\"aGk=\"}}", BEHAVIOR_DONE, ERROR_NONE, "hi" },
                { "{\"do\":\"raw\",\"result\":{\"output_base64\":\"aGk\"}}", BEHAVIOR_ERROR, ERROR_INTERNAL,
                        "the agent's output_base64 is no base64 with padding" },
                { "{\"do\":\"raw\",\"result\":5}", BEHAVIOR_ERROR, ERROR_INTERNAL,
                        "the agent's result is no object with the member \"output\"" },
                { "{\"do\":\"raw\",\"result\":{\"ouptut\":1,\"output_txt\":\"\"}}", BEHAVIOR_ERROR, ERROR_INTERNAL,
                        "the agent's result has no member \"output\", but \"ouptut\"" },
                { "{\"do\":\"raw\",\"result\":{\"note\":1,\"output\":null}}", BEHAVIOR_DONE, ERROR_NONE, "" },
                { "{\"do\":\"bare\"}", BEHAVIOR_ERROR, ERROR_INTERNAL,
                        "the agent's answer has neither a result nor an error" },
                { "{\"do\":\"error\",\"error\":{\"code\":1,\"message\":\"no\"}}", BEHAVIOR_ERROR, ERROR_NONE, "no" },
                { "{\"do\":\"error\",\"error\":{\"code\":1,\"message\":\"no\",\"data\":{\"code\":\"TIMEOUT\"}}}",
                        BEHAVIOR_ERROR, ERROR_TIMEOUT, "no" },
                { "{\"do\":\"error\",\"error\":{\"code\":1,\"message\":\"no\",\"data\":{\"code\":\"RUNTIME_LOST\"}}}",
                        BEHAVIOR_ERROR, ERROR_NONE, "no" },
        };
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Seen *seen = harness_wait(h, harness_send(h, 0, cases[i].action));

                assert_int_equal(seen->verdict, cases[i].verdict);
                assert_int_equal(seen->code, cases[i].code);
                assert_string_equal(seen->text, cases[i].text);
        }
        harness_free(h);
}

static void a_due_timer_is_a_message_with_its_token(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        harness_start(h, 0, "plain", "");
        seen = harness_wait(h, harness_deliver(h, 0, MAIL_TIMER, NULL, SLICE(""), 7, 42, ERROR_NONE));
        assert_int_equal(seen->verdict, BEHAVIOR_DONE);
        harness_free(h);
}

static void a_message_far_larger_than_a_pipe_comes_through(void **state) {
        const size_t size = 700 * 1000;
        Harness *h = harness_new();
        char *payload = malloc(size + 1);
        const Seen *seen;

        (void)state;

        assert_non_null(payload);
        memset(payload, 'x', size);
        payload[size] = '\0';
        harness_start(h, 0, "plain", "");
        seen = harness_wait(h, harness_send(h, 0, payload));
        assert_int_equal(seen->verdict, BEHAVIOR_DONE);
        assert_memory_equal(seen->text + 1, payload, 4000);
        assert_int_equal(seen->text[0], '"');
        free(payload);
        harness_free(h);
}

/* what children want */

static void requests_of_a_child_belong_to_the_message_and_get_their_answer(void **state) {
        Harness *h = harness_new();
        Mail *mail;

        (void)state;

        harness_start(h, 0, "plain", "");
        mail = harness_send(h, 0,
                "{\"do\":\"request\",\"method\":\"ask\",\"params\":{\"agent_id\":\"b\",\"payload\":[1],\"timeout_ms\":"
                "5}}");
        while (h->n_wishes == 0)
                harness_turn(h);
        assert_int_equal(h->wishes[0].kind, EFFECT_ASK);
        assert_int_equal(h->wishes[0].message_id, 1000);
        assert_int_equal(h->wishes[0].usec, 5000);
        assert_true(h->wishes[0].wants_answer);
        assert_string_equal(h->wishes[0].target, "b");
        assert_string_equal(h->wishes[0].payload, "[1]");
        (void)harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("{\"x\":\n1}"), 0, h->wishes[0].token, ERROR_NONE);
        assert_string_equal(harness_wait(h, mail)->text, "{\"jsonrpc\":\"2.0\",\"id\":\"r\",\"result\":{\"x\":1}}");
        harness_free(h);
}

static void an_answer_that_is_an_error_is_one_to_the_child(void **state) {
        Harness *h = harness_new();
        const Seen *answered;
        Mail *mail;

        (void)state;

        harness_start(h, 0, "plain", "");
        mail = harness_send(h, 0, "{\"do\":\"request\",\"method\":\"invoke\",\"params\":{\"capability\":\"tool.x\"}}");
        while (h->n_wishes == 0)
                harness_turn(h);
        assert_string_equal(h->wishes[0].payload, "null");
        answered = harness_wait(
                h, harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("too late"), 0, h->wishes[0].token, ERROR_TIMEOUT));
        assert_int_equal(answered->verdict, BEHAVIOR_DONE);
        assert_string_equal(harness_wait(h, mail)->text, "{\"jsonrpc\":\"2.0\",\"id\":\"r\",\"error\":{\"code\":-32000,"
                                                         "\"message\":\"too late\",\"data\":{\"code\":"
                                                         "\"TIMEOUT\"}}}");
        harness_free(h);
}

static void each_method_becomes_its_effect(void **state) {
        static const struct {
                const char *method, *params;
                EffectKind kind;
                const char *target, *payload, *key, *headers, *answer;
        } cases[] = {
                { "publish", "{\"topic\":\"a.b\",\"payload\":{\"x\":1},\"headers\":{\"A\":\"b\"}}", EFFECT_PUBLISH,
                        "a.b", "{\"x\":1}", "", "A: b\r\n", "\"result\":{\"x\":1}" },
                { "publish", "{\"topic\":\"a\",\"payload_text\":\"hi\"}", EFFECT_PUBLISH, "a", "hi", "", "",
                        "\"result\":{\"payload_text\":\"hi\"}" },
                { "publish", "{\"topic\":\"a\",\"payload_base64\":\"/w==\"}", EFFECT_PUBLISH, "a", "\xff", "", "",
                        "\"result\":{\"payload_base64\":\"/w==\"}" },
                { "trigger", "{\"agent_id\":\"b\",\"input\":\"i\"}", EFFECT_TRIGGER, "b", "\"i\"", "", "",
                        "\"result\":\"i\"" },
                { "invoke", "{\"capability\":\"c.d\",\"input\":1,\"idempotency_key\":\"k\"}", EFFECT_INVOKE, "c.d", "1",
                        "k", "", "\"result\":1" },
                { "subscribe", "{\"topic\":\"a.>\",\"queue\":\"q\",\"qos\":\"realtime\"}", EFFECT_SUBSCRIBE, "a.>", "",
                        "q", "", "\"result\":null" },
                { "unsubscribe", "{\"topic\":\"a.>\"}", EFFECT_UNSUBSCRIBE, "a.>", "", "", "", "\"result\":null" },
                { "set_timer", "{\"token\":5,\"ms\":10}", EFFECT_TIMER, "", "", "", "", "\"result\":null" },
                { "cancel_timer", "{\"token\":5}", EFFECT_CANCEL_TIMER, "", "", "", "", "\"result\":null" },
                { "checkpoint", "{}", EFFECT_CHECKPOINT, "", "", "", "", "\"result\":null" },
                { "stop", "{}", EFFECT_STOP, "", "", "", "", "\"result\":null" },
                { "log", "{\"level\":\"warning\",\"message\":\"m\",\"fields\":{\"k\":\"v\"}}", EFFECT_LOG, "", "m", "",
                        "{\"k\":\"v\"}", "\"result\":null" },
        };
        Harness *h = harness_new();

        (void)state;

        h->answers_at_once = true;
        harness_start(h, 0, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Wish *wish = &h->wishes[i];
                char text[1024];
                const Seen *seen;

                (void)snprintf(text, sizeof(text), "{\"do\":\"request\",\"method\":\"%s\",\"params\":%s}",
                        cases[i].method, cases[i].params);
                seen = harness_wait(h, harness_send(h, 0, text));
                assert_int_equal(wish->kind, cases[i].kind);
                assert_string_equal(wish->target, cases[i].target);
                assert_string_equal(wish->payload, cases[i].payload);
                assert_string_equal(wish->key, cases[i].key);
                assert_string_equal(wish->headers, cases[i].headers);
                if (!strstr(seen->text, cases[i].answer))
                        fail_msg("%s: %s", cases[i].method, seen->text);
        }
        assert_int_equal(h->wishes[7].token, 5);
        assert_int_equal(h->wishes[7].usec, 10000);
        harness_free(h);
}

static void what_makes_no_sense_is_refused_by_name(void **state) {
        static const struct {
                const char *method, *params, *part;
        } cases[] = {
                { "fly", "{}", "\"code\":-32601,\"message\":\"there is no method \\\"fly\\\"\"" },
                { "publish", "{}", "topic is missing" },
                { "publish", "{\"topic\":\"a b\"}", "topic" },
                { "publish", "{\"topic\":\"a\",\"payload\":1,\"payload_text\":\"x\"}", "exclude each other" },
                { "publish", "{\"topic\":\"a\",\"payload_base64\":\"=\"}", "base64" },
                { "publish", "{\"topic\":\"a\",\"headers\":{\"a b\":\"c\"}}", "headers.a b" },
                { "publish", "{\"topic\":\"a\",\"headers\":{\"a\":\"c\\r\\nd: e\"}}", "headers.a" },
                { "publish", "{\"topic\":\"a\",\"message_id\":77}", "message_id" },
                { "ask", "{\"agent_id\":\"not an id\"}", "agent_id" },
                { "subscribe", "{\"topic\":\"a..b\"}", "topic" },
                { "subscribe", "{\"topic\":\"a\",\"qos\":\"best\"}", "qos" },
                { "set_timer", "{\"token\":1}", "ms is missing" },
                { "log", "{\"message\":\"x\",\"level\":\"loud\"}", "level" },
        };
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[1024];
                const Seen *seen;

                (void)snprintf(text, sizeof(text), "{\"do\":\"request\",\"method\":\"%s\",\"params\":%s}",
                        cases[i].method, cases[i].params);
                seen = harness_wait(h, harness_send(h, 0, text));
                if (!strstr(seen->text, cases[i].part) || !strstr(seen->text, "\"error\""))
                        fail_msg("%s %s: %s", cases[i].method, cases[i].params, seen->text);
        }
        assert_int_equal(h->n_wishes, 0);
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void a_notification_is_granted_without_an_answer(void **state) {
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        (void)harness_wait(
                h, harness_send(h, 0, "{\"do\":\"notify\",\"method\":\"ask\",\"params\":{\"agent_id\":\"b\"}}"));
        assert_int_equal(h->n_wishes, 1);
        assert_false(h->wishes[0].wants_answer);
        /* the core answers nevertheless, once, and nobody hears it */
        assert_int_not_equal(h->wishes[0].token, 0);
        (void)harness_wait(h, harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("1"), 0, h->wishes[0].token, ERROR_NONE));
        assert_string_equal(harness_wait(h, harness_send(h, 0, "1"))->text, "1");
        harness_free(h);
}

static void notifications_past_1024_that_the_core_has_not_answered_are_refused_and_kill_nothing(void **state) {
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        (void)harness_wait(h, harness_send(h, 0,
                                      "{\"do\":\"notify\",\"method\":\"ask\",\"times\":1100,"
                                      "\"params\":{\"agent_id\":\"b\"}}"));
        assert_int_equal(h->n_wishes, EFFECTS_MAX);
        for (size_t i = 0; i < EFFECTS_MAX; i++)
                (void)harness_wait(
                        h, harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("1"), 0, h->wishes[i].token, ERROR_NONE));
        (void)harness_wait(
                h, harness_send(h, 0, "{\"do\":\"notify\",\"method\":\"ask\",\"params\":{\"agent_id\":\"b\"}}"));
        assert_int_equal(h->n_wishes, EFFECTS_MAX + 1);
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void who_is_held_is_heard_later_and_misses_no_time(void **state) {
        Harness *h = harness_new();
        const Mail *mail;
        uint64_t end;

        (void)state;

        harness_start(h, 0, "plain", ",\"call_timeout_ms\":50");
        exec_host_hold(h->host, true);
        mail = harness_send(h, 0, "1");
        end = instant_now().usec +
              200 * USEC_PER_MSEC; /* the loop turns at the time-out, and as often as it is put off */
        while (instant_now().usec < end)
                harness_turn(h);
        assert_null(harness_outcome(h, mail));
        exec_host_hold(h->host, false);
        assert_string_equal(harness_wait(h, mail)->text, "1");
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void with_two_messages_open_a_wish_belongs_to_the_one_it_names_or_to_none(void **state) {
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "plain", "");
        (void)harness_send(h, 0, "{\"do\":\"hold\"}");
        (void)harness_wait(
                h, harness_send(h, 0, "{\"do\":\"notify\",\"method\":\"publish\",\"params\":{\"topic\":\"a\"}}"));
        assert_int_equal(h->wishes[0].message_id, 0);
        (void)harness_wait(
                h, harness_send(h, 0,
                           "{\"do\":\"notify\",\"method\":\"publish\",\"params\":{\"topic\":\"a\",\"message_id\":2}}"));
        assert_int_equal(h->wishes[1].message_id, 1000);
        harness_free(h);
}

/* starting and stopping */

static void state_goes_out_with_a_checkpoint_and_comes_back_with_init(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        harness_start(h, 0, "plain", "");
        (void)harness_wait(h, harness_send(h, 0, "1"));
        (void)harness_wait(h, harness_send(h, 0, "2"));
        {
                Mail *checkpoint = harness_control(h, 0, MAIL_CHECKPOINT);

                exec_host_call(h->host, checkpoint);
                seen = harness_wait(h, checkpoint);
                assert_int_equal(seen->result, 0);
                assert_string_equal(seen->text, "{\"count\":2}");
        }
        assert_int_equal(
                harness_wait(h, harness_init(h, 1, harness_settings("plain", ""), "{\"count\":\n40}"))->result, 0);
        (void)harness_wait(h, harness_send(h, 1, "1"));
        {
                Mail *checkpoint = harness_control(h, 1, MAIL_CHECKPOINT);

                exec_host_call(h->host, checkpoint);
                assert_string_equal(harness_wait(h, checkpoint)->text, "{\"count\":41}");
        }
        harness_free(h);
}

static void a_state_that_was_not_wrapped_is_not_lost_in_silence(void **state) {
        Harness *h = harness_new();
        Mail *checkpoint;

        (void)state;

        harness_start(h, 0, "wraps nothing", "");
        checkpoint = harness_control(h, 0, MAIL_CHECKPOINT);
        exec_host_call(h->host, checkpoint);
        assert_int_equal(harness_wait(h, checkpoint)->result, BEHAVIOR_E_REFUSED);
        assert_string_equal(
                harness_wait(h, checkpoint)->text, "the agent's result has no member \"state\", but \"count\"");
        harness_free(h);
}

static void a_child_without_checkpoints_has_the_state_null(void **state) {
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 0, "stateless", "");
        for (int i = 0; i < 2; i++) {
                Mail *checkpoint = harness_control(h, 0, MAIL_CHECKPOINT);

                exec_host_call(h->host, checkpoint);
                assert_int_equal(harness_wait(h, checkpoint)->result, 0);
                assert_string_equal(harness_wait(h, checkpoint)->text, "null");
        }
        harness_free(h);
}

static void a_start_that_fails_says_why_and_leaves_nothing(void **state) {
        static const struct {
                const char *mode, *more, *settings;
                int result;
                const char *why;
        } cases[] = {
                { NULL, NULL, "{\"command\":[\"/no/such/program\"]}", BEHAVIOR_E_REFUSED,
                        "exec.command: /no/such/program: No such file or directory" },
                { NULL, NULL, "{\"command\":[\"no-such-program\"],\"env\":{\"PATH\":\"/bin\"}}", BEHAVIOR_E_REFUSED,
                        "exec.command: \"no-such-program\" is a program in no directory of PATH (/bin)" },
                { NULL, NULL, "{\"command\":[\"python3 agent.py\"]}", BEHAVIOR_E_REFUSED,
                        "exec.command: \"python3 agent.py\" is no program; no shell takes it apart: each word is a "
                        "text of "
                        "its own" },
                { NULL, NULL, "{\"command\":[\"./agent\"],\"working_directory\":\"/\"}", BEHAVIOR_E_REFUSED,
                        "exec.command: there is no ./agent in /" },
                { NULL, NULL, "{\"command\":[\"/\"]}", BEHAVIOR_E_REFUSED,
                        "exec.command: / may not be executed (Permission denied); chmod +x makes a file a program" },
                { "plain", ",\"working_directory\":\"/no/such\"", NULL, BEHAVIOR_E_REFUSED,
                        "exec.working_directory: /no/such: No such file or directory" },
                { "exits", "", NULL, BEHAVIOR_E_REFUSED,
                        "the agent's process exited with status 3 before it was initialized; its last words on stderr "
                        "were "
                        "\"no configuration\"" },
                { "mute", ",\"start_timeout_ms\":50", NULL, BEHAVIOR_E_REFUSED,
                        "the agent's process did not answer initialize within 50 ms (start_timeout_ms)" },
                { "refuse", "", NULL, BEHAVIOR_E_REFUSED, "the agent's process refused to be initialized: I won't" },
                { "refuse state", "", NULL, BEHAVIOR_E_STATE,
                        "the agent's process refused to be initialized: what is that?" },
                { NULL, NULL, "{}", BEHAVIOR_E_REFUSED, "exec: command is missing" },
        };
        Harness *h = harness_new();
        ExecHostStats stats;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *settings =
                        cases[i].settings ? cases[i].settings : harness_settings(cases[i].mode, cases[i].more);
                const Seen *seen = harness_wait(h, harness_init(h, 0, settings, NULL));

                assert_string_equal(seen->text, cases[i].why);
                assert_int_equal(seen->result, cases[i].result);
                exec_host_stats(h->host, &stats);
                assert_int_equal(stats.n_children, 0);
        }
        assert_int_equal(h->n_crashes, 0);
        harness_start(h, 0, "plain", "");
        harness_free(h);
}

static void a_state_that_is_no_json_is_not_given_to_a_process(void **state) {
        Harness *h = harness_new();

        (void)state;

        assert_int_equal(harness_wait(h, harness_init(h, 0, harness_settings("plain", ""), "\x01\x02"))->result,
                BEHAVIOR_E_STATE);
        harness_free(h);
}

static void a_stop_is_over_when_the_process_is_gone_and_is_no_crash(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP);
        const char *pid;

        (void)state;

        harness_start(h, 0, "plain", "");
        pid = strstr(harness_wait(h, harness_send(h, 0, "{\"do\":\"world\"}"))->text, "\"pid\":");
        assert_non_null(pid);
        exec_host_call(h->host, stop);
        assert_int_equal(harness_wait(h, stop)->result, 0);
        assert_false(process_is_there(atoi(pid + strlen("\"pid\":"))));
        assert_int_equal(h->n_crashes, 0);

        harness_start(h, 0, "plain", "");
        harness_free(h);
}

static void stopping_what_never_ran_is_done_at_once(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP), *init, *second = harness_control(h, 1, MAIL_STOP);

        (void)state;

        exec_host_call(h->host, stop);
        assert_int_equal(h->n_seen, 0); /* never from within a call */
        assert_int_equal(harness_wait(h, stop)->result, 0);

        init = harness_init(h, 1, harness_settings("plain", ""), NULL);
        exec_host_call(h->host, second);
        assert_int_equal(harness_wait(h, init)->result, BEHAVIOR_E_REFUSED);
        assert_int_equal(harness_wait(h, second)->result, 0);

        init = harness_init(h, 1, harness_settings("mute", ""), NULL);
        harness_turn(h); /* it runs, and is not initialized */
        second = harness_control(h, 1, MAIL_STOP);
        exec_host_call(h->host, second);
        assert_int_equal(harness_wait(h, second)->result, 0);
        assert_int_equal(harness_wait(h, init)->result, BEHAVIOR_E_REFUSED);
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void whoever_ignores_the_stop_is_terminated_and_then_killed(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP);
        const uint64_t before = instant_now().usec;
        uint64_t took;

        (void)state;

        harness_start(h, 0, "stubborn", ",\"stop_timeout_ms\":100");
        exec_host_call(h->host, stop);
        assert_int_equal(harness_wait(h, stop)->result, 0);
        took = instant_now().usec - before;
        assert_true(took >= 1100 * USEC_PER_MSEC); /* the pause before SIGKILL, too */
        harness_free(h);
}

/* A slow machine has time for one after the other; nobody may miss start_timeout_ms for want of a processor. */
static void two_hundred_children_start_at_once(void **state) {
        Harness *h = harness_new();
        Mail *inits[200], *messages[200];
        ExecHostStats stats;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                inits[i] = harness_init(h, i, harness_settings("plain", ",\"start_timeout_ms\":60000"), NULL);
        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                assert_int_equal(harness_wait(h, inits[i])->result, 0);
        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                messages[i] = harness_send(h, i, "1");
        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                assert_string_equal(harness_wait(h, messages[i])->text, "1");
        exec_host_stats(h->host, &stats);
        assert_int_equal(stats.n_children, 200);
        harness_free(h);
}

static void *keep_busy(void *userdata) {
        atomic_bool *is_over = userdata;
        size_t n = 1;

        while (!atomic_load(is_over)) {
                free(malloc(n));
                n = n * 5 % 10007;
        }
        return NULL;
}

static void children_start_while_other_threads_hold_locks(void **state) {
        Harness *h = harness_new();
        atomic_bool is_over = false;
        pthread_t threads[2];
        Mail *inits[50];

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, keep_busy, &is_over), 0);
        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                inits[i] = harness_init(h, i, harness_settings("plain", ",\"start_timeout_ms\":60000"), NULL);
        for (size_t i = 0; i < ELEMENTSOF(inits); i++)
                assert_int_equal(harness_wait(h, inits[i])->result, 0);
        atomic_store(&is_over, true);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        harness_free(h);
}

int main(int argc, char **argv) {
        static char self[4096];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_a_child_answers_is_the_outcome),
                cmocka_unit_test(a_message_is_told_with_all_that_is_known_of_it),
                cmocka_unit_test(a_trigger_is_told_with_its_execution_and_attempt),
                cmocka_unit_test(any_bytes_reach_a_child_and_come_back),
                cmocka_unit_test(answers_may_come_in_any_order),
                cmocka_unit_test(outputs_are_what_the_kind_of_message_wants),
                cmocka_unit_test(a_due_timer_is_a_message_with_its_token),
                cmocka_unit_test(a_message_far_larger_than_a_pipe_comes_through),
                cmocka_unit_test(requests_of_a_child_belong_to_the_message_and_get_their_answer),
                cmocka_unit_test(an_answer_that_is_an_error_is_one_to_the_child),
                cmocka_unit_test(each_method_becomes_its_effect),
                cmocka_unit_test(what_makes_no_sense_is_refused_by_name),
                cmocka_unit_test(a_notification_is_granted_without_an_answer),
                cmocka_unit_test(who_is_held_is_heard_later_and_misses_no_time),
                cmocka_unit_test(notifications_past_1024_that_the_core_has_not_answered_are_refused_and_kill_nothing),
                cmocka_unit_test(with_two_messages_open_a_wish_belongs_to_the_one_it_names_or_to_none),
                cmocka_unit_test(state_goes_out_with_a_checkpoint_and_comes_back_with_init),
                cmocka_unit_test(a_state_that_was_not_wrapped_is_not_lost_in_silence),
                cmocka_unit_test(a_child_without_checkpoints_has_the_state_null),
                cmocka_unit_test(a_start_that_fails_says_why_and_leaves_nothing),
                cmocka_unit_test(a_state_that_is_no_json_is_not_given_to_a_process),
                cmocka_unit_test(a_stop_is_over_when_the_process_is_gone_and_is_no_crash),
                cmocka_unit_test(stopping_what_never_ran_is_done_at_once),
                cmocka_unit_test(whoever_ignores_the_stop_is_terminated_and_then_killed),
                cmocka_unit_test(two_hundred_children_start_at_once),
                cmocka_unit_test(children_start_while_other_threads_hold_locks),
        };

        if (argc == 3 && strcmp(argv[1], "--child") == 0)
                return exec_child_main(argv[2]);
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                return 1;
        harness_self = self;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
