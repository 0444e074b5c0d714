/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define RELAY(id) "compozy.runtime." id ".trigger"
#define FAILED "compozy.events.agent.instance.*.dispatch_failed"

static Bench *bench(void) {
        DispatcherOptions options = bench_options();

        return bench_new(&options);
}

/* the way of one trigger */

static void a_trigger_is_relayed_with_all_that_its_runtime_needs(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_deliver(b, "compozy.commands.agent.w.trigger.a", "caller", "traceparent: 00-x-y-01\r\n",
                SLICE("{\"workflow\":{\"exec_id\":\"x1\"},\"metadata\":{\"request_id\":\"q\",\"correlation_id\":"
                      "\"c\\u00e9\"},\"agent\":{\"exec_id\":\"e1\"},\"task\":{\"id\":\"t\"},"
                      "\"payload\":{\"deadline_ms\":10000,\"context\":{\"input\":[1, 2]}},\"unknown\":1}"),
                false);
        bench_turn_end(b);
        relay = bench_expect(b, RELAY("r1"), "\"workflow\":{\"id\":\"w\",\"exec_id\":\"x1\"}");
        assert_true(strncmp(relay->reply, INBOX ".", strlen(INBOX ".")) == 0);
        assert_string_equal(relay->headers, "traceparent: 00-x-y-01\r\n");
        assert_non_null(strstr(relay->body, "\"request_id\":\"q\",\"correlation_id\":\"cé\""));
        assert_non_null(strstr(relay->body, "\"agent\":{\"id\":\"a\",\"exec_id\":\"e1\"}"));
        assert_non_null(strstr(relay->body, "\"task\":{\"id\":\"t\"}"));
        assert_non_null(strstr(relay->body, "\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1}"));
        assert_non_null(strstr(
                relay->body, "\"dispatcher_id\":\"d1\",\"attempt\":1,\"deadline_ms\":9950,\"reply_to\":\"caller\""));
        assert_non_null(strstr(relay->body, "\"report_to\":\"compozy.dispatcher.d1.report.r1\""));
        assert_non_null(strstr(relay->body, "\"payload\":{\"deadline_ms\":10000,\"context\":{\"input\":[1, 2]}}"));
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        bench_expect_none(b, "caller");
        bench_expect_none(b, FAILED);
}

/* The execution's id is made up; the others stand for it, and the relay leaves them out. */
static void what_a_trigger_leaves_out_is_filled_in(void **state) {
        static const char *const bodies[] = { "", "{}", "{\"payload\":{}}",
                "{\"agent\":{},\"workflow\":{},\"metadata\":{}}", "{\"payload\":null}" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                const Out *relay;

                bench_runtime(b, "r1", "a");
                bench_send(b, "compozy.commands.agent.w.trigger.a", NULL, bodies[i]);
                relay = bench_expect(b, RELAY("r1"), "\"agent\":{\"id\":\"a\",\"exec_id\":\"");
                assert_non_null(strstr(relay->body, "\"workflow\":{\"id\":\"w\""));
                assert_non_null(strstr(relay->body, "\"payload\":{}"));
                assert_non_null(strstr(relay->body, "\"deadline_ms\":29950"));
                assert_null(strstr(relay->body, "\"reply_to\""));
        }
}

static void what_is_wrong_is_refused_by_name(void **state) {
        static const struct {
                const char *why, *body, *code, *part;
        } table[] = {
                { "no JSON", "{", "INVALID_MESSAGE", "" },
                { "an array", "[]", "INVALID_MESSAGE", "" },
                { "another agent than the subject's", "{\"agent\":{\"id\":\"b\"}}", "INVALID_MESSAGE", "agent.id is" },
                { "another workflow than the subject's", "{\"workflow\":{\"id\":\"v\"}}", "INVALID_MESSAGE",
                        "workflow.id is" },
                { "an id out of grammar", "{\"agent\":{\"exec_id\":\"a.b\"}}", "INVALID_MESSAGE", "agent.exec_id" },
                { "a deadline past the limit", "{\"payload\":{\"deadline_ms\":86400001}}", "INVALID_MESSAGE",
                        "payload.deadline_ms" },
                { "a negative deadline", "{\"payload\":{\"deadline_ms\":-1}}", "INVALID_MESSAGE",
                        "payload.deadline_ms" },
                { "a priority past the limit", "{\"payload\":{\"priority\":101}}", "INVALID_MESSAGE",
                        "payload.priority" },
                { "a retry that is none", "{\"payload\":{\"retry\":\"perhaps\"}}", "INVALID_MESSAGE", "payload.retry" },
                { "labels that are no texts", "{\"payload\":{\"labels\":{\"a\":1}}}", "INVALID_MESSAGE",
                        "payload.labels" },
                { "a payload that is no object", "{\"payload\":[]}", "INVALID_MESSAGE", "payload" },
                { "half a relay", "{\"dispatch\":{\"dispatcher_id\":\"d2\",\"attempt\":1,\"deadline_ms\":1}}",
                        "INVALID_MESSAGE", "" },
                { "a reply subject below the prefix",
                        "{\"payload\":{\"reply_to_subject\":\"compozy.commands.agent.w.trigger.a\"}}",
                        "TOPIC_FORBIDDEN", "payload.reply_to_subject" },
                { "a reply subject of the server", "{\"payload\":{\"reply_to_subject\":\"$JS.API.INFO\"}}",
                        "TOPIC_FORBIDDEN", "payload.reply_to_subject" },
                { "a reply subject with a wildcard", "{\"payload\":{\"reply_to_subject\":\"a.*\"}}", "INVALID_MESSAGE",
                        "payload.reply_to_subject" },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Out *out;

                bench_send(b, "compozy.commands.agent.w.trigger.a", "caller", table[i].body);
                out = bench_take(b, "caller");
                if (!out || !strstr(out->body, table[i].code) || !strstr(out->body, table[i].part) ||
                        !strstr(out->body, "\"status\":\"FAILURE\""))
                        fail_msg("%s: %s", table[i].why, out ? out->body : "no answer");
                assert_non_null(strstr(out->headers, "Nats-Service-Error-Code: 40"));
                assert_non_null(strstr(out->body, "\"workflow\":{\"id\":\"w\""));
                bench_expect_none(b, RELAY("r1"));
        }
        assert_int_equal(bench_metric(b, "compozy_dispatcher_invalid_messages_total"), ELEMENTSOF(table));
}

static void a_trigger_that_contradicts_its_subject_is_answered_where_it_asked(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_send(b, "compozy.commands.agent.w.trigger.a", NULL,
                "{\"metadata\":{\"correlation_id\":\"c1\"},\"agent\":{\"id\":\"b\",\"exec_id\":\"e1\"},\"payload\":{"
                "\"reply_to_subject\":\"compozy.results.agent.e1\"}}");
        bench_expect(b, "compozy.results.agent.e1", "INVALID_MESSAGE");
}

static void ids_out_of_grammar_in_the_subject_are_refused(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char subject[256];

        (void)state;

        (void)snprintf(subject, sizeof(subject), "compozy.commands.agent.w.trigger.%065d", 1);
        bench_send(b, subject, "caller", "{}");
        bench_expect(b, "caller", "INVALID_MESSAGE");
        bench_send(b, "compozy.commands.agent.w.trigger.a@b", "caller", "{}");
        bench_expect(b, "caller", "INVALID_MESSAGE");
}

static void a_body_past_the_limit_is_refused_with_the_limit(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        size_t size = b->options.max_message_bytes;
        char *body = malloc(size + 1);

        (void)state;

        bench_runtime(b, "r1", "a");
        memset(body, ' ', size + 1);
        memcpy(body, "{}", 2);
        bench_send_slice(b, "compozy.commands.agent.w.trigger.a", "caller", (Slice){ body, size + 1 });
        bench_expect(b, "caller", "limits.max_message_bytes is 65536");
        bench_send_slice(b, "compozy.commands.agent.w.trigger.a", "caller", (Slice){ body, size });
        bench_expect(b, RELAY("r1"), "\"attempt\":1");
        free(body);
}

/* A relay is larger than the trigger: what would be more than the server takes is refused at once, not lost in silence.
 */
static void a_trigger_whose_relay_the_server_would_not_take_is_refused(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        size_t size = 1024 * 1024 - 100;
        char *body = malloc(size);

        (void)state;

        options.max_message_bytes = 8 * 1024 * 1024;
        options.queue_bytes_limit = 64 * 1024 * 1024;
        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        memset(body, 'x', size);
        memcpy(body, "{\"payload\":{\"context\":{\"input\":\"", 32);
        memcpy(body + size - 4, "\"}}}", 4);
        bench_send_slice(b, "compozy.commands.agent.w.trigger.a", "caller", (Slice){ body, size });
        bench_expect(b, "caller", "INVALID_MESSAGE");
        bench_expect_none(b, RELAY("r1"));
        free(body);
}

static void an_unsafe_reply_subject_gets_nothing(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "compozy.runtime.r1.control.drain", "");
        relay = bench_expect(b, RELAY("r1"), "e1");
        assert_null(strstr(relay->body, "reply_to"));
        bench_trigger(b, "nobody", "e2", "compozy.runtime.r1.control.drain", "");
        bench_expect_none(b, "compozy.runtime.>");
}

/* repeats */

static void a_repeat_of_the_same_caller_is_one_execution(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e1", NULL, "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        assert_int_equal(bench_count(b, RELAY("r1")), 1);
        assert_int_equal(dispatcher_n_waiting(b->d), 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_triggers_duplicate_total"), 3);
}

/* The next relay to r1 for that caller; what is sent for others on the way is passed over. */
static const Out *expect_relay_for(Bench *b, const char *reply_to) {
        char part[64];
        const Out *relay;

        (void)snprintf(part, sizeof(part), "\"reply_to\":\"%s\"", reply_to);
        do {
                relay = bench_expect(b, RELAY("r1"), "\"attempt\":");
        } while (relay && !strstr(relay->body, part));
        return relay;
}

static void each_caller_of_one_execution_is_answered(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "");
        bench_expect(b, RELAY("r1"), "\"reply_to\":\"one\"");
        bench_trigger(b, "a", "e1", "two", "");
        relay = expect_relay_for(b, "two");
        assert_non_null(strstr(relay->body, "\"age_ms\":1,"));
        assert_non_null(strstr(relay->body, "\"attempt\":1"));
        /* The first is answered; whether the other relay arrived is not known yet. */
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_pass(b, 0);
        expect_relay_for(b, "two");
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        bench_report_one(b, "r1", "e1", 1, "done", DONE ",\"ask\":1");
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        bench_expect_none(b, "one");
        bench_expect_none(b, "two");
}

static void who_was_answered_is_not_answered_again_by_another_attempt(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "\"retry\":\"always\"");
        bench_trigger(b, "a", "e1", "two", "");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_pass(b, 0);
        bench_forget(b);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
        assert_non_null(strstr(bench_expect(b, RELAY("r1"), "\"attempt\":2")->body, "\"reply_to\":\"two\""));
        bench_expect_none(b, RELAY("r1"));
}

static void a_failure_is_told_to_all_who_asked_and_were_not_answered(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "\"deadline_ms\":3000");
        bench_trigger(b, "a", "e1", "two", "");
        bench_trigger(b, "a", "e1", "three", "");
        bench_report_one(b, "r1", "e1", 1, "done", DONE ",\"ask\":1");
        bench_live(b, "r1", 3);
        bench_expect(b, "one", "DEADLINE_EXCEEDED");
        bench_expect(b, "three", "DEADLINE_EXCEEDED");
        bench_expect_none(b, "two");
}

static void a_repeat_that_waits_is_answered_with_the_first(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e0", "zero", "");
        bench_trigger(b, "a", "e1", "one", "");
        bench_trigger(b, "a", "e1", "two", "");
        bench_expect(b, RELAY("r1"), "e0");
        bench_expect_none(b, RELAY("r1"));
        bench_report_one(b, "r1", "e0", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "\"reply_to\":\"one\"");
        bench_expect(b, RELAY("r1"), "\"reply_to\":\"two\"");
}

static void callers_of_one_execution_are_limited(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char reply[16];

        (void)state;

        bench_runtime(b, "r1", "a");
        for (unsigned i = 0; i < 5; i++) {
                (void)snprintf(reply, sizeof(reply), "caller%u", i);
                bench_trigger(b, "a", "e1", reply, "");
                bench_expect_none(b, reply);
        }
        bench_trigger(b, "a", "e1", "caller5", "");
        bench_expect(b, "caller5", "5 callers wait for that execution, the limit is 5");
}

static void a_known_id_of_another_agent_or_workflow_is_refused(void **state) {
        static const char *const subjects[] = { "compozy.commands.agent.w.trigger.b",
                "compozy.commands.agent.v.trigger.a" };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a b");
        bench_trigger(b, "a", "e1", "one", "");
        for (unsigned ended = 0; ended < 2; ended++) {
                for (size_t i = 0; i < ELEMENTSOF(subjects); i++) {
                        bench_send(b, subjects[i], "two", "{\"agent\":{\"exec_id\":\"e1\"}}");
                        bench_expect(b, "two", "INVALID_MESSAGE");
                }
                bench_report_one(b, "r1", "e1", 1, "done", DONE);
        }
}

static void what_ended_is_asked_of_the_runtime_that_ran_it(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "");
        bench_expect(b, RELAY("r1"), "e1");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_pass(b, SECOND);
        bench_trigger(b, "a", "e1", "two", "");
        relay = bench_expect(b, RELAY("r1"), "\"reply_to\":\"two\"");
        assert_non_null(strstr(relay->body, "\"attempt\":1,"));
        assert_non_null(strstr(relay->body, "\"age_ms\":1001"));
        assert_non_null(strstr(relay->body, "\"ask\":1"));
        /* A late word about the first caller is not one about this one. */
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        bench_report_one(b, "r1", "e1", 1, "done", DONE ",\"ask\":1");
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        bench_expect_none(b, "two");
}

static void what_ran_on_a_runtime_that_is_gone_is_not_run_again(void **state) {
        static const struct {
                const char *payload;
                bool again;
        } table[] = { { "", false }, { "\"retry\":\"never\"", false }, { "\"retry\":\"always\"", true } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bench_freep) Bench *b = bench();

                bench_runtime(b, "r1", "a");
                bench_trigger(b, "a", "e1", "one", "");
                bench_expect(b, RELAY("r1"), "e1");
                bench_report_one(b, "r1", "e1", 1, "done", DONE);
                bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
                bench_trigger(b, "a", "e1", "two", table[i].payload);
                if (table[i].again)
                        bench_expect(b, RELAY("r1"), "\"attempt\":2");
                else
                        bench_expect(b, "two", "RUNTIME_LOST");
        }
}

static void never_run_is_not_run_before_whatever_retry_says(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "\"retry\":\"never\"");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("AGENT_STOPPED"));
        bench_expect(b, "one", "AGENT_STOPPED");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
        bench_trigger(b, "a", "e1", "two", "\"retry\":\"never\"");
        bench_expect_none(b, "two");
        bench_forget(b);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 3, .agents = "a" });
        bench_expect(b, "two", "RUNTIME_LOST");
        bench_trigger(b, "a", "e1", "three", "\"retry\":\"never\"");
        bench_expect(b, "three", "RUNTIME_LOST");
}

/* Refused and never run: another runtime may have it when it is asked for again. */
static void what_never_ran_may_be_asked_for_again(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "one", "\"deadline_ms\":2000");
        bench_expect(b, RELAY("r1"), "e1");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("RUNTIME_DRAINING"));
        for (unsigned i = 0; i < 3; i++) {
                bench_beat(b, "r1", 1, 0, ",\"draining\":true");
                bench_pass(b, SECOND);
        }
        bench_expect(b, "one", "\"status\":\"FAILURE\"");
        bench_trigger(b, "a", "e1", "two", "");
        bench_expect(b, RELAY("r1"), "\"reply_to\":\"two\"");
        bench_runtime(b, "r2", "a");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("RUNTIME_DRAINING") ",\"ask\":1");
        bench_expect_none(b, "two");
        bench_expect(b, RELAY("r2"), "\"attempt\":2");
}

static void whoever_guesses_an_id_gets_no_share_in_the_answer(void **state) {
        static const struct {
                const char *reply;
                bool is_let_in;
        } table[] = {
                { "_INBOX.caller.batch.y.1", false },
                { "thread.open", false },
                { "_INBOX.x.1", false },
                { "_INBOX.caller.web.z.1", true },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "_INBOX.caller.web.x.1", "");
        bench_expect(b, RELAY("r1"), "e1");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                bench_trigger(b, "a", "e1", table[i].reply, "");
                if (table[i].is_let_in) {
                        bench_expect(b, RELAY("r1"), "_INBOX.caller.web.x.1"); /* is asked about as well */
                        bench_expect(b, RELAY("r1"), table[i].reply);
                } else {
                        bench_expect_none(b, RELAY("r1"));
                        bench_expect(b, table[i].reply, "agent.exec_id is another caller's");
                }
        }
        assert_int_equal(dispatcher_n_in_flight(b->d), 1); /* and the one whose it is has lost nothing */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whoever_guesses_an_id_gets_no_share_in_the_answer),
                cmocka_unit_test(a_trigger_is_relayed_with_all_that_its_runtime_needs),
                cmocka_unit_test(what_a_trigger_leaves_out_is_filled_in),
                cmocka_unit_test(what_is_wrong_is_refused_by_name),
                cmocka_unit_test(a_trigger_that_contradicts_its_subject_is_answered_where_it_asked),
                cmocka_unit_test(ids_out_of_grammar_in_the_subject_are_refused),
                cmocka_unit_test(a_body_past_the_limit_is_refused_with_the_limit),
                cmocka_unit_test(a_trigger_whose_relay_the_server_would_not_take_is_refused),
                cmocka_unit_test(an_unsafe_reply_subject_gets_nothing),
                cmocka_unit_test(a_repeat_of_the_same_caller_is_one_execution),
                cmocka_unit_test(each_caller_of_one_execution_is_answered),
                cmocka_unit_test(who_was_answered_is_not_answered_again_by_another_attempt),
                cmocka_unit_test(a_failure_is_told_to_all_who_asked_and_were_not_answered),
                cmocka_unit_test(a_repeat_that_waits_is_answered_with_the_first),
                cmocka_unit_test(callers_of_one_execution_are_limited),
                cmocka_unit_test(a_known_id_of_another_agent_or_workflow_is_refused),
                cmocka_unit_test(what_ended_is_asked_of_the_runtime_that_ran_it),
                cmocka_unit_test(what_ran_on_a_runtime_that_is_gone_is_not_run_again),
                cmocka_unit_test(never_run_is_not_run_before_whatever_retry_says),
                cmocka_unit_test(what_never_ran_may_be_asked_for_again),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
