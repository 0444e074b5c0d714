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
                SLICE("{\"workflow\":{\"exec_id\":\"x1\"},\"metadata\":{\"request_id\":\"q\",\"correlation_id\":\"c\\u00e9\"},\"agent\":{\"exec_id\":\"e1\"},\"task\":{\"id\":\"t\"},"
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
        assert_non_null(strstr(relay->body, "\"dispatcher_id\":\"d1\",\"attempt\":1,\"deadline_ms\":9950,\"reply_to\":\"caller\""));
        assert_non_null(strstr(relay->body, "\"report_to\":\"compozy.dispatcher.d1.report\""));
        assert_non_null(strstr(relay->body, "\"payload\":{\"deadline_ms\":10000,\"context\":{\"input\":[1, 2]}}"));
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        bench_expect_none(b, "caller");
        bench_expect_none(b, FAILED);
}

/* The execution's id is made up; the others stand for it, and the relay leaves them out. */
static void what_a_trigger_leaves_out_is_filled_in(void **state) {
        static const char *const bodies[] = { "", "{}", "{\"payload\":{}}", "{\"agent\":{},\"workflow\":{},\"metadata\":{}}", "{\"payload\":null}" };

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
                { "another workflow than the subject's", "{\"workflow\":{\"id\":\"v\"}}", "INVALID_MESSAGE", "workflow.id is" },
                { "an id out of grammar", "{\"agent\":{\"exec_id\":\"a.b\"}}", "INVALID_MESSAGE", "agent.exec_id" },
                { "a deadline past the limit", "{\"payload\":{\"deadline_ms\":86400001}}", "INVALID_MESSAGE", "payload.deadline_ms" },
                { "a negative deadline", "{\"payload\":{\"deadline_ms\":-1}}", "INVALID_MESSAGE", "payload.deadline_ms" },
                { "a priority past the limit", "{\"payload\":{\"priority\":101}}", "INVALID_MESSAGE", "payload.priority" },
                { "a retry that is none", "{\"payload\":{\"retry\":\"perhaps\"}}", "INVALID_MESSAGE", "payload.retry" },
                { "labels that are no texts", "{\"payload\":{\"labels\":{\"a\":1}}}", "INVALID_MESSAGE", "payload.labels" },
                { "a payload that is no object", "{\"payload\":[]}", "INVALID_MESSAGE", "payload" },
                { "half a relay", "{\"dispatch\":{\"dispatcher_id\":\"d2\",\"attempt\":1,\"deadline_ms\":1}}", "INVALID_MESSAGE", "" },
                { "a reply subject below the prefix", "{\"payload\":{\"reply_to_subject\":\"compozy.commands.agent.w.trigger.a\"}}", "TOPIC_FORBIDDEN",
                        "payload.reply_to_subject" },
                { "a reply subject of the server", "{\"payload\":{\"reply_to_subject\":\"$JS.API.INFO\"}}", "TOPIC_FORBIDDEN",
                        "payload.reply_to_subject" },
                { "a reply subject with a wildcard", "{\"payload\":{\"reply_to_subject\":\"a.*\"}}", "INVALID_MESSAGE", "payload.reply_to_subject" },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Out *out;

                bench_send(b, "compozy.commands.agent.w.trigger.a", "caller", table[i].body);
                out = bench_take(b, "caller");
                if (!out || !strstr(out->body, table[i].code) || !strstr(out->body, table[i].part) || !strstr(out->body, "\"status\":\"FAILURE\""))
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
                "{\"metadata\":{\"correlation_id\":\"c1\"},\"agent\":{\"id\":\"b\",\"exec_id\":\"e1\"},\"payload\":{\"reply_to_subject\":\"compozy.results.agent.e1\"}}");
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

/* A relay is larger than the trigger: what would be more than the server takes is refused at once, not lost in silence. */
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

/* nobody there */

static void nobody_hosts_it_is_told_from_nobody_can_take_it(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "z", "e1", "caller", "");
        bench_expect(b, "caller", "\"code\":\"AGENT_UNKNOWN\",\"message\":\"no runtime hosts agent z\"");
        bench_expect(b, FAILED, "AGENT_UNKNOWN");
        bench_trigger(b, "a", "e2", "caller", "\"labels\":{\"zone\":\"x\"}");
        bench_expect(b, "caller", "\"code\":\"NO_RUNTIME\",\"message\":\"1 runtime hosts agent a, none can take it; of the closest: its labels do not match\"");
}

static void before_the_roll_call_is_over_an_unknown_agent_is_waited_for(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "z", "e2", "caller", "");
        bench_pass(b, 700 * MS);
        bench_expect_none(b, "caller");
        bench_runtime(b, "r1", "a");
        bench_expect(b, RELAY("r1"), "e1");
        bench_pass(b, 50 * MS);
        bench_expect(b, "caller", "AGENT_UNKNOWN");
}

static void an_agent_whose_last_runtime_has_just_gone_is_waited_for(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_send(b, "compozy.commands.agent_dispatcher.deregister_runtime", NULL, "{\"runtime_id\":\"r1\"}");
        bench_pass(b, SECOND);
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_pass(b, 3900 * MS);
        bench_expect_none(b, "caller");
        bench_pass(b, 100 * MS);
        bench_expect(b, "caller", "AGENT_UNKNOWN");
        bench_expect(b, "caller", "AGENT_UNKNOWN");
        bench_trigger(b, "a", "e3", "caller", "");
        bench_expect(b, "caller", "AGENT_UNKNOWN");
        bench_runtime(b, "r2", "a");
        bench_trigger(b, "a", "e4", "caller", "");
        bench_expect(b, RELAY("r2"), "e4");
}

static void who_comes_back_in_time_gets_what_waits(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_send(b, "compozy.commands.agent_dispatcher.deregister_runtime", NULL, "{\"runtime_id\":\"r1\"}");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_pass(b, 4 * SECOND);
        bench_runtime(b, "r2", "a");
        bench_expect(b, RELAY("r2"), "e1");
}

static void all_who_wait_for_a_runtime_that_is_of_no_use_are_told_in_time(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char id[8];

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .draining = true });
        for (unsigned i = 0; i < 10; i++) {
                (void)snprintf(id, sizeof(id), "e%u", i);
                bench_trigger(b, "a", id, "caller", "");
        }
        bench_pass(b, 4 * SECOND);
        bench_expect_none(b, "caller");
        bench_pass(b, 2 * SECOND);
        assert_int_equal(bench_count(b, "caller"), 10);
}

/* the queue */

static void what_does_not_fit_waits_and_goes_by_priority(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "first", "caller", "");
        bench_trigger(b, "a", "low", "caller", "\"priority\":0");
        bench_trigger(b, "a", "usual", "caller", "");
        bench_trigger(b, "a", "high", "caller", "\"priority\":100");
        bench_expect(b, RELAY("r1"), "\"first\"");
        bench_expect_none(b, RELAY("r1"));
        assert_int_equal(dispatcher_n_waiting(b->d), 3);
        bench_report_one(b, "r1", "first", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "\"high\"");
        bench_report_one(b, "r1", "high", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "\"usual\"");
        bench_report_one(b, "r1", "usual", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "\"low\"");
        bench_expect_none(b, RELAY("r1"));
}

static void a_low_priority_is_slowed_and_not_starved(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char id[8], before[8] = "first";
        unsigned n = 0;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", before, "caller", "");
        bench_trigger(b, "a", "low", "caller", "\"priority\":0");
        /* Every 100 ms one of the highest priority arrives and one ends. */
        for (; n < 100; n++) {
                const Out *relay;

                (void)snprintf(id, sizeof(id), "e%u", n);
                bench_trigger(b, "a", id, "caller", "\"priority\":100");
                bench_take(b, RELAY("r1"));
                bench_report_one(b, "r1", before, 1, "done", DONE);
                relay = bench_take(b, RELAY("r1"));
                assert_non_null(relay);
                if (strstr(relay->body, "\"low\""))
                        break;
                (void)snprintf(before, sizeof(before), "%s", id);
                bench_beat(b, "r1", 1, 0, "");
                bench_pass(b, 100 * MS);
        }
        assert_true(n >= 49 && n <= 52);
}

static void one_demand_does_not_hold_up_another(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1, .labels = "{\"zone\":\"x\"}" });
        bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "a b", .slots = 1, .labels = "{\"zone\":\"y\"}" });
        bench_trigger(b, "a", "x1", "caller", "\"labels\":{\"zone\":\"x\"}");
        bench_trigger(b, "a", "y1", "caller", "\"labels\":{\"zone\":\"y\"}");
        for (unsigned i = 0; i < 5; i++) {
                char id[8];

                (void)snprintf(id, sizeof(id), "x%u", i + 2);
                bench_trigger(b, "a", id, "caller", "\"labels\":{\"zone\":\"x\"},\"priority\":100");
        }
        bench_trigger(b, "b", "b1", "caller", "\"priority\":0");
        bench_expect(b, RELAY("r1"), "\"x1\"");
        bench_expect(b, RELAY("r2"), "\"y1\"");
        bench_report_one(b, "r2", "y1", 1, "done", DONE);
        bench_expect(b, RELAY("r2"), "\"b1\"");
        assert_int_equal(dispatcher_n_waiting(b->d), 5);
}

static void past_the_limit_of_the_queue_is_overloaded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        const Out *out;

        (void)state;

        options.queue_limit = 2;
        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_trigger(b, "a", "e3", "caller", "");
        bench_expect_none(b, "caller");
        bench_trigger(b, "a", "e4", "caller", "");
        out = bench_expect(b, "caller", "\"code\":\"OVERLOADED\"");
        assert_non_null(strstr(out->body, "dispatcher.queue_limit is 2"));
        assert_non_null(strstr(out->body, "\"details\":{\"retry_after_ms\":"));
        assert_non_null(strstr(out->headers, "Nats-Service-Error-Code: 429"));
        assert_int_equal(dispatcher_n_waiting(b->d), 2);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_overloaded_total"), 1);
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_trigger(b, "a", "e5", "caller", "");
        bench_expect_none(b, "caller");
}

static void without_a_queue_what_fits_goes_and_the_rest_is_overloaded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        options.queue_limit = 0;
        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r1"), "e1");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_expect(b, "caller", "OVERLOADED");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_trigger(b, "a", "e3", "caller", "");
        bench_expect(b, RELAY("r1"), "e3");
}

static void past_the_limit_of_bytes_is_overloaded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char payload[800];

        (void)state;

        options.queue_bytes_limit = 2000;
        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        (void)snprintf(payload, sizeof(payload), "\"context\":{\"input\":\"%0700d\"}", 1);
        bench_trigger(b, "a", "e1", "caller", payload);
        bench_trigger(b, "a", "e2", "caller", payload);
        bench_expect_none(b, "caller");
        bench_trigger(b, "a", "e3", "caller", payload);
        bench_expect(b, "caller", "dispatcher.queue_bytes is 2000");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_trigger(b, "a", "e4", "caller", payload);
        bench_expect_none(b, "caller");
}

/* deadlines */

static void a_deadline_is_met_with_an_answer_wherever_the_trigger_is(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "\"deadline_ms\":1500,\"reply_to_subject\":\"compozy.results.agent.e1\"");
        bench_trigger(b, "a", "e2", "caller", "\"deadline_ms\":1500");
        bench_report_one(b, "r1", "e1", 1, "started", "");
        bench_pass(b, 1499 * MS);
        bench_expect_none(b, "caller");
        bench_pass(b, MS);
        bench_expect(b, "compozy.results.agent.e1", "the deadline passed after 1500 ms; runtime r1 has it, started");
        bench_expect(b, "caller", "the deadline passed after 1500 ms of waiting for a free runtime");
        assert_int_equal(dispatcher_n_in_flight(b->d) + dispatcher_n_waiting(b->d), 0);
        /* Its late word changes nothing. */
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_expect_none(b, "caller");
}

/* what becomes of a relay */

static void nobody_listens_means_another_runtime_at_once(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"retry\":\"never\"");
        relay = bench_expect(b, RELAY("r1"), "\"attempt\":1");
        bench_runtime(b, "r2", "a");
        bench_no_responders(b, relay);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_expect(b, RELAY("r2"), "\"attempt\":2");
        /* It gets nothing until it is heard. */
        for (unsigned i = 0; i < 5; i++) {
                char id[8];

                (void)snprintf(id, sizeof(id), "f%u", i);
                bench_trigger(b, "a", id, "caller", "");
                bench_expect(b, RELAY("r2"), id);
        }
        bench_expect_none(b, RELAY("r1"));
        bench_no_responders(b, relay); /* again, and too late */
        assert_int_equal(dispatcher_n_in_flight(b->d), 6);
}

/* The probe's time is over at the very moment the server says that nobody listens for the relay. */
static void a_relay_that_nobody_hears_and_a_verdict_at_once(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *relay;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_pass(b, 5 * SECOND + 10 * MS);
        bench_trigger(b, "a", "e1", "caller", "");
        relay = bench_expect(b, RELAY("r1"), "e1");
        bench_stall(b, SECOND);
        bench_no_responders(b, relay);
        bench_pass(b, 0);
        assert_string_equal(bench_state(b, "r1"), "gone");
        bench_runtime(b, "r2", "a");
        bench_expect(b, RELAY("r2"), "\"attempt\":2");
}

static void a_question_that_nobody_hears_leaves_the_relay_before_it(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"retry\":\"never\"");
        bench_expect(b, RELAY("r1"), "e1");
        bench_beat(b, "r1", 1, 0, "");
        bench_pass(b, SECOND);
        bench_runtime(b, "r2", "a");
        bench_no_responders(b, bench_expect(b, RELAY("r1"), "\"age_ms\":1001"));
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        bench_expect_none(b, RELAY("r2"));
}

static void silence_about_a_relay_is_asked_about_ever_more_rarely(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"deadline_ms\":60000");
        assert_null(strstr(bench_expect(b, RELAY("r1"), "\"attempt\":1")->body, "\"age_ms\""));
        bench_live(b, "r1", 1);
        bench_expect(b, RELAY("r1"), "\"attempt\":1,\"deadline_ms\":58950,\"age_ms\":1001");
        bench_live(b, "r1", 1);
        bench_expect_none(b, RELAY("r1"));
        bench_live(b, "r1", 1);
        bench_expect(b, RELAY("r1"), "\"age_ms\":3001");
        bench_live(b, "r1", 4);
        bench_expect(b, RELAY("r1"), "\"age_ms\":7001");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_live(b, "r1", 30);
        bench_expect_none(b, RELAY("r1"));
}

static void once_reported_on_questions_are_rare(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r1"), "e1");
        bench_report_one(b, "r1", "e1", 1, "accepted", "");
        bench_live(b, "r1", 4);
        bench_expect_none(b, RELAY("r1"));
        bench_live(b, "r1", 1);
        bench_expect(b, RELAY("r1"), "\"age_ms\":5001");
}

/* refusals */

static const struct {
        const char *code;
        bool elsewhere; /* with another runtime that can take it: placed there; else answered at once */
        const char *alone; /* the answer when there is nobody else; NULL: waits */
} refusals[] = {
        { "RUNTIME_DRAINING", true, NULL },
        { "OVERLOADED", true, NULL },
        { "RUNTIME_LOST", true, NULL },
        { "MAILBOX_FULL", true, "MAILBOX_FULL" },
        { "AGENT_NOT_FOUND", true, "AGENT_NOT_FOUND" },
        { "AGENT_STOPPED", true, "AGENT_STOPPED" },
        { "AGENT_FAILED", true, "AGENT_FAILED" },
        { "TOPIC_FORBIDDEN", false, "TOPIC_FORBIDDEN" },
        { "INVALID_MESSAGE", false, "INVALID_MESSAGE" },
};

static void a_refusal_is_placed_elsewhere_or_is_the_answer(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(refusals) * 2; i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                const char *code = refusals[i / 2].code;
                bool alone = i % 2;
                char rest[64];
                const Out *out;

                bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
                bench_trigger(b, "a", "e1", "caller", "\"retry\":\"never\"");
                bench_expect(b, RELAY("r1"), "e1");
                if (!alone)
                        bench_runtime(b, "r2", "a");
                (void)snprintf(rest, sizeof(rest), ",\"code\":\"%s\"", code);
                bench_deliver(b, "compozy.dispatcher.d1.report", NULL, NULL, SLICE_NONE, false);
                bench_sendf(b, "compozy.dispatcher.d1.report", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_id\":\"e1\",\"attempt\":1,"
                        "\"state\":\"refused\"%s}],\"load\":{\"in_flight\":1}}}",
                        rest);
                if (alone ? !refusals[i / 2].alone : refusals[i / 2].elsewhere) {
                        out = bench_take(b, "caller");
                        if (out)
                                fail_msg("%s: answered %s", code, out->body);
                        if ((bench_take(b, RELAY("r2")) != NULL) == alone)
                                fail_msg("%s: not placed elsewhere", code);
                        continue;
                }
                out = bench_take(b, "caller");
                if (!out || !strstr(out->body, code) || !strstr(out->body, "runtime r1 refused it"))
                        fail_msg("%s: %s", code, out ? out->body : "no answer");
        }
}

static void a_runtime_that_refused_for_draining_is_draining(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("RUNTIME_DRAINING"));
        assert_string_equal(bench_state(b, "r1"), "draining");
}

static void an_agent_that_does_not_run_there_is_tried_again_after_a_registration(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r1"), "e1");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("AGENT_STOPPED"));
        bench_expect(b, "caller", "AGENT_STOPPED");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_expect(b, "caller", "it said that the agent does not run there");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 1, .agents = "a" });
        bench_trigger(b, "a", "e3", "caller", "");
        bench_expect(b, RELAY("r1"), "e3");
}

static void endless_refusals_come_to_an_end(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        uint64_t attempt = 0;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"retry\":\"always\"");
        while (bench_take(b, RELAY("r1")) && ++attempt < 1000)
                bench_report_one(b, "r1", "e1", attempt, "refused", REFUSED("OVERLOADED"));
        assert_int_equal(attempt, 3 * 16);
        bench_expect(b, "caller", "\"code\":\"OVERLOADED\"");
}

/* the runtime is lost */

static const struct {
        const char *retry, *state; /* what was reported before; "": nothing */
        bool again;
} losses[] = {
        { "never", "", false },
        { "never", "accepted", false },
        { "never", "started", false },
        { "unstarted", "", true },
        { "unstarted", "accepted", true },
        { "unstarted", "started", false },
        { "always", "", true },
        { "always", "accepted", true },
        { "always", "started", true },
        { NULL, "", true },
        { NULL, "started", false },
};

static void what_was_lost_with_its_runtime_goes_on_as_retry_says(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(losses); i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                char payload[64] = "";
                const Out *out;

                if (losses[i].retry)
                        (void)snprintf(payload, sizeof(payload), "\"retry\":\"%s\"", losses[i].retry);
                bench_runtime(b, "r1", "a");
                bench_trigger(b, "a", "e1", "caller", payload);
                bench_expect(b, RELAY("r1"), "e1");
                if (losses[i].state[0])
                        bench_report_one(b, "r1", "e1", 1, losses[i].state, "");
                bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "a", .interval_ms = 60000 });
                bench_pass(b, 7 * SECOND);
                assert_string_equal(bench_state(b, "r1"), "gone");
                out = bench_take(b, RELAY("r2"));
                if ((out != NULL) != losses[i].again)
                        fail_msg("retry %s after \"%s\"", losses[i].retry, losses[i].state);
                if (losses[i].again)
                        assert_non_null(strstr(out->body, "\"attempt\":2"));
                else
                        bench_expect(b, "caller", "\"code\":\"RUNTIME_LOST\"");
                bench_expect_none(b, "caller");
        }
}

static void a_new_epoch_loses_what_the_old_one_held(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_report_one(b, "r1", "e2", 1, "started", "");
        assert_int_equal(bench_count(b, RELAY("r1")), 2);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
        bench_expect(b, RELAY("r1"), "\"epoch\":2},\"dispatch\":{\"dispatcher_id\":\"d1\",\"attempt\":2");
        bench_expect(b, "caller", "runtime r1 started again");
        bench_expect_none(b, RELAY("r1"));
}

static void attempts_are_limited(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"retry\":\"always\"");
        for (uint64_t epoch = 2; epoch <= 4; epoch++) {
                bench_expect(b, RELAY("r1"), "e1");
                bench_expect_none(b, "caller");
                bench_register(b, &(Spec){ .id = "r1", .epoch = epoch, .agents = "a" });
        }
        bench_expect(b, "caller", "\"code\":\"RUNTIME_LOST\"");
        bench_expect_none(b, RELAY("r1"));
}

/* reports */

static void the_word_of_a_superseded_attempt_is_refused_and_counted(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r1"), "\"attempt\":1");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
        bench_expect(b, RELAY("r1"), "\"attempt\":2");
        bench_report(b, "r1", 1, "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"done\",\"status\":\"SUCCESS\"}", "");
        bench_report(b, "r1", 2, "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"done\",\"status\":\"SUCCESS\"}", "");
        bench_report(b, "r9", 1, "{\"exec_id\":\"e1\",\"attempt\":2,\"state\":\"done\",\"status\":\"SUCCESS\"}", "");
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_stale_reports_total"), 3);
        bench_report(b, "r1", 2, "{\"exec_id\":\"e1\",\"attempt\":2,\"state\":\"done\",\"status\":\"SUCCESS\"}", "");
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
}

static void a_report_of_another_runtime_is_not_believed(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_runtime(b, "r2", "a");
        bench_report_one(b, "r2", "e1", 1, "done", DONE);
        bench_report_one(b, "r2", "e1", 1, "refused", REFUSED("OVERLOADED"));
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
}

static void one_bad_element_of_a_report_costs_only_itself(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_trigger(b, "a", "e3", "caller", "");
        bench_report(b, "r1", 1,
                "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"done\",\"status\":\"SUCCESS\"},{\"exec_id\":\"e2\",\"attempt\":1,\"state\":\"thrilled\"},"
                "{\"exec_id\":\"e3\",\"attempt\":1,\"state\":\"done\",\"status\":\"AGENT_ERROR\",\"code\":\"INTERNAL\"}",
                "");
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_invalid_messages_total"), 1);
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e3\"}", "\"status\":\"AGENT_ERROR\",\"code\":\"INTERNAL\"");
}

static void slots_that_others_took_are_not_given_twice(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 4 });
        bench_report(b, "r1", 1, "", ",\"load\":{\"in_flight\":3}");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        assert_int_equal(bench_count(b, RELAY("r1")), 1);
        bench_report(b, "r1", 1, "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"started\"}", ",\"load\":{\"in_flight\":3}");
        bench_expect(b, RELAY("r1"), "e2");
}

/* A runtime may have fewer slots than its capacity says: what it states counts. */
static void no_more_than_the_free_slots_it_stated(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 4 });
        bench_report(b, "r1", 1, "", ",\"load\":{\"in_flight\":0,\"free_slots\":1}");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        assert_int_equal(bench_count(b, RELAY("r1")), 1);
}

static void a_capacity_that_shrinks_below_what_is_held_takes_nothing_more(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 2 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e3", "caller", "");
        assert_int_equal(bench_count(b, RELAY("r1")), 2);
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_expect_none(b, RELAY("r1"));
        bench_report_one(b, "r1", "e2", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "e3");
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
        assert_int_equal(bench_metric(b, "compozy_dispatcher_duplicates_total"), 3);
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
        bench_expect(b, "caller5", "LIMIT_EXCEEDED");
}

static void a_known_id_of_another_agent_or_workflow_is_refused(void **state) {
        static const char *const subjects[] = { "compozy.commands.agent.w.trigger.b", "compozy.commands.agent.v.trigger.a" };
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

/* the link, the drain, the history, events */

static void what_waits_goes_on_when_the_link_is_back(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_expect(b, RELAY("r1"), "e1");
        dispatcher_on_link_down(b->d, b->now);
        bench_pass(b, 10 * SECOND);
        bench_expect_none(b, RELAY("r1"));
        bench_link_up(b);
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_expect(b, RELAY("r1"), "e2");
}

static void a_drain_answers_what_still_waits_at_its_deadline(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        bench_trigger(b, "a", "e3", "caller", "");
        dispatcher_drain(b->d, b->now.usec + 2 * SECOND, b->now);
        bench_pass(b, SECOND);
        assert_false(dispatcher_is_drained(b->d));
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_expect_none(b, "caller");
        bench_pass(b, SECOND);
        bench_expect(b, "caller", "this dispatcher is stopping");
        assert_true(dispatcher_is_drained(b->d));
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
}

static void a_drain_with_nothing_left_is_over_at_once(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        dispatcher_drain(b->d, b->now.usec + 2 * SECOND, b->now);
        assert_false(dispatcher_is_drained(b->d));
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        assert_true(dispatcher_is_drained(b->d));
}

static void the_history_is_bounded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[8];

        (void)state;

        options.history_max = 16;
        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        for (unsigned i = 0; i < 40; i++) {
                (void)snprintf(id, sizeof(id), "e%u", i);
                bench_trigger(b, "a", id, "caller", "");
                bench_report_one(b, "r1", id, 1, "done", DONE);
        }
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e23\"}", "\"ok\":false");
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e24\"}", "\"phase\":\"ended\"");
}

/* One look at the queue answers more triggers than the history remembers, the newest first. */
static void many_answers_at_once_may_outrun_the_history(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[8];

        (void)state;

        options.history_max = 1;
        options.queue_limit = 20;
        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "first", "caller", "");
        for (unsigned i = 0; i < 20; i++) {
                (void)snprintf(id, sizeof(id), "e%u", i);
                bench_trigger(b, "a", id, "caller", "\"priority\":0");
        }
        bench_forget(b);
        /* Before the turn ends, the runtime says that it has no such agent, and one more arrives. */
        bench_deliver(b, "compozy.dispatcher.d1.report", NULL, NULL,
                SLICE("{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_id\":\"first\",\"attempt\":1,"
                      "\"state\":\"refused\",\"code\":\"AGENT_NOT_FOUND\"}]}}"),
                false);
        bench_trigger(b, "a", "last", "caller", "\"priority\":100");
        assert_int_equal(bench_count(b, "caller"), 22);
        assert_int_equal(dispatcher_n_waiting(b->d), 0);
}

static void events_are_published_as_configured(void **state) {
        static const struct {
                EventsWanted events;
                size_t dispatched, failed;
        } table[] = { { EVENTS_ALL, 0, 1 }, { EVENTS_VERBOSE, 1, 1 }, { EVENTS_OUTCOMES, 0, 1 }, { EVENTS_NONE, 0, 0 } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b;

                options.events = table[i].events;
                b = bench_new(&options);
                bench_runtime(b, "r1", "a");
                bench_trigger(b, "a", "e1", "caller", "");
                bench_trigger(b, "z", "e2", "caller", "");
                assert_int_equal(bench_count(b, "compozy.events.agent.instance.e1.dispatched"), table[i].dispatched);
                assert_int_equal(bench_count(b, "compozy.events.agent.instance.e2.dispatch_failed"), table[i].failed);
                bench_free(b);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_trigger_is_relayed_with_all_that_its_runtime_needs),
                cmocka_unit_test(what_a_trigger_leaves_out_is_filled_in),
                cmocka_unit_test(what_is_wrong_is_refused_by_name),
                cmocka_unit_test(a_trigger_that_contradicts_its_subject_is_answered_where_it_asked),
                cmocka_unit_test(ids_out_of_grammar_in_the_subject_are_refused),
                cmocka_unit_test(a_body_past_the_limit_is_refused_with_the_limit),
                cmocka_unit_test(a_trigger_whose_relay_the_server_would_not_take_is_refused),
                cmocka_unit_test(an_unsafe_reply_subject_gets_nothing),
                cmocka_unit_test(nobody_hosts_it_is_told_from_nobody_can_take_it),
                cmocka_unit_test(before_the_roll_call_is_over_an_unknown_agent_is_waited_for),
                cmocka_unit_test(an_agent_whose_last_runtime_has_just_gone_is_waited_for),
                cmocka_unit_test(who_comes_back_in_time_gets_what_waits),
                cmocka_unit_test(all_who_wait_for_a_runtime_that_is_of_no_use_are_told_in_time),
                cmocka_unit_test(what_does_not_fit_waits_and_goes_by_priority),
                cmocka_unit_test(a_low_priority_is_slowed_and_not_starved),
                cmocka_unit_test(one_demand_does_not_hold_up_another),
                cmocka_unit_test(past_the_limit_of_the_queue_is_overloaded),
                cmocka_unit_test(without_a_queue_what_fits_goes_and_the_rest_is_overloaded),
                cmocka_unit_test(past_the_limit_of_bytes_is_overloaded),
                cmocka_unit_test(a_deadline_is_met_with_an_answer_wherever_the_trigger_is),
                cmocka_unit_test(nobody_listens_means_another_runtime_at_once),
                cmocka_unit_test(a_relay_that_nobody_hears_and_a_verdict_at_once),
                cmocka_unit_test(a_question_that_nobody_hears_leaves_the_relay_before_it),
                cmocka_unit_test(silence_about_a_relay_is_asked_about_ever_more_rarely),
                cmocka_unit_test(once_reported_on_questions_are_rare),
                cmocka_unit_test(a_refusal_is_placed_elsewhere_or_is_the_answer),
                cmocka_unit_test(a_runtime_that_refused_for_draining_is_draining),
                cmocka_unit_test(an_agent_that_does_not_run_there_is_tried_again_after_a_registration),
                cmocka_unit_test(endless_refusals_come_to_an_end),
                cmocka_unit_test(what_was_lost_with_its_runtime_goes_on_as_retry_says),
                cmocka_unit_test(a_new_epoch_loses_what_the_old_one_held),
                cmocka_unit_test(attempts_are_limited),
                cmocka_unit_test(the_word_of_a_superseded_attempt_is_refused_and_counted),
                cmocka_unit_test(a_report_of_another_runtime_is_not_believed),
                cmocka_unit_test(one_bad_element_of_a_report_costs_only_itself),
                cmocka_unit_test(slots_that_others_took_are_not_given_twice),
                cmocka_unit_test(no_more_than_the_free_slots_it_stated),
                cmocka_unit_test(a_capacity_that_shrinks_below_what_is_held_takes_nothing_more),
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
                cmocka_unit_test(what_waits_goes_on_when_the_link_is_back),
                cmocka_unit_test(a_drain_answers_what_still_waits_at_its_deadline),
                cmocka_unit_test(a_drain_with_nothing_left_is_over_at_once),
                cmocka_unit_test(the_history_is_bounded),
                cmocka_unit_test(many_answers_at_once_may_outrun_the_history),
                cmocka_unit_test(events_are_published_as_configured),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
