/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define RELAY(id) "compozy.runtime." id ".trigger"
#define FAILED "compozy.events.agent.instance.*.dispatch_failed"

static Bench *bench(void) {
        DispatcherOptions options = bench_options();

        return bench_new(&options);
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
        bench_expect(b, "caller",
                "\"code\":\"NO_RUNTIME\",\"message\":\"1 runtime hosts agent a, none can take it; of the closest: its "
                "labels do not match\"");
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

/* Found by an upgrade under load: the dispatcher was restarted, and its only runtime right after it. */
static void a_runtime_that_goes_while_the_roll_call_is_out_is_waited_for_as_long(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 100 * MS);
        bench_send(b, "compozy.commands.agent_dispatcher.deregister_runtime", NULL, "{\"runtime_id\":\"r1\"}");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_pass(b, 4 * SECOND);
        bench_expect_none(b, "caller");
        bench_runtime(b, "r2", "a");
        bench_expect(b, RELAY("r2"), "e1");
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
        assert_int_equal(bench_metric(b, "compozy_dispatcher_triggers_overloaded_total"), 1);
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

/* Found by the simulator: the pauses had grown while nobody could have answered. */
static void a_runtime_that_is_heard_again_is_soon_asked_about_what_it_held(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"deadline_ms\":60000,\"retry\":\"always\"");
        bench_expect(b, RELAY("r1"), "\"attempt\":1");
        bench_live(b, "r1", 8);
        bench_forget(b);
        bench_pass(b, 3 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_forget(b);
        bench_live(b, "r1", 2);
        bench_expect(b, RELAY("r1"), "\"age_ms\"");
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
        bench_deliver(b, "compozy.dispatcher.d1.report.r1", NULL, NULL,
                SLICE("{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_"
                      "id\":\"first\",\"attempt\":1,"
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
        } table[] = { { EVENTS_ALL, 0, 1 }, { EVENTS_VERBOSE, 1, 1 }, { EVENTS_OUTCOMES, 0, 1 },
                { EVENTS_NONE, 0, 0 } };

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
                cmocka_unit_test(nobody_hosts_it_is_told_from_nobody_can_take_it),
                cmocka_unit_test(before_the_roll_call_is_over_an_unknown_agent_is_waited_for),
                cmocka_unit_test(an_agent_whose_last_runtime_has_just_gone_is_waited_for),
                cmocka_unit_test(a_runtime_that_goes_while_the_roll_call_is_out_is_waited_for_as_long),
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
                cmocka_unit_test(a_runtime_that_is_heard_again_is_soon_asked_about_what_it_held),
                cmocka_unit_test(once_reported_on_questions_are_rare),
                cmocka_unit_test(what_was_lost_with_its_runtime_goes_on_as_retry_says),
                cmocka_unit_test(a_new_epoch_loses_what_the_old_one_held),
                cmocka_unit_test(attempts_are_limited),
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
