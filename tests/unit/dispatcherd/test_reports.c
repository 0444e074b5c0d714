/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define RELAY(id) "compozy.runtime." id ".trigger"
#define FAILED "compozy.events.agent.instance.*.dispatch_failed"

static Bench *bench(void) {
        DispatcherOptions options = bench_options();

        return bench_new(&options);
}

/* refusals */

static const struct {
        const char *code;
        bool elsewhere;    /* with another runtime that can take it: placed there; else answered at once */
        const char *alone; /* the answer when there is nobody else; NULL: waits */
} refusals[] = {
        { "RUNTIME_DRAINING", true, NULL },
        { "OVERLOADED", true, NULL },
        { "RUNTIME_LOST", true, NULL },
        { "MAILBOX_FULL", true, "MAILBOX_FULL" },
        { "AGENT_NOT_FOUND", true, "AGENT_UNKNOWN" },
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
                bench_deliver(b, "compozy.dispatcher.d1.report.r1", NULL, NULL, SLICE_NONE, false);
                bench_sendf(b, "compozy.dispatcher.d1.report.r1", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_"
                        "id\":\"e1\",\"attempt\":1,"
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
                if (!out || !strstr(out->body, refusals[i / 2].alone) || !strstr(out->body, "runtime r1 refused it"))
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
        bench_expect(b, "caller", "AGENT_STOPPED");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 1, .agents = "a" });
        bench_trigger(b, "a", "e3", "caller", "");
        bench_expect(b, RELAY("r1"), "e3");
}

static void an_agent_gets_what_its_state_allows(void **state) {
        static const struct {
                const char *state, *code; /* NULL: it is relayed */
        } table[] = {
                { "created", NULL },
                { "starting", NULL }, /* its mail is kept until it runs */
                { "running", NULL },
                { "paused", NULL }, /* likewise */
                { "stopping", "AGENT_STOPPED" },
                { "stopped", "AGENT_STOPPED" },
                { "failed", "AGENT_FAILED" },
                { "of-a-later-version", NULL },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char exec_id[8];

                (void)snprintf(exec_id, sizeof(exec_id), "e%zu", i);
                bench_sendf(b, "compozy.events.agent.definition.r1.updated", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"revision\":%zu},\"payload\":{"
                        "\"base_revision\":%zu,\"added\":[{\"agent_id\":\"a\",\"state\":\"%s\"}],\"removed\":[]}}",
                        i + 1, i, table[i].state);
                bench_trigger(b, "a", exec_id, "caller", "");
                if (table[i].code) {
                        bench_expect_none(b, RELAY("r1"));
                        bench_expect(b, "caller", table[i].code);
                } else {
                        bench_expect(b, RELAY("r1"), exec_id);
                        bench_report_one(b, "r1", exec_id, 1, "done", DONE);
                }
        }

        /* with a host that is able to, nobody is told of the other one's state */
        bench_sendf(b, "compozy.events.agent.definition.r1.updated", NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"revision\":9},\"payload\":{"
                "\"base_revision\":8,\"added\":[{\"agent_id\":\"a\",\"state\":\"failed\"}],\"removed\":[]}}");
        bench_runtime(b, "r2", "a");
        bench_trigger(b, "a", "last", "caller", "");
        bench_expect(b, RELAY("r2"), "last");
        bench_ask(b, "explain", "{\"agent_id\":\"a\"}", "\"code\":\"AGENT_FAILED\"");
}

static void endless_refusals_come_to_an_end(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        uint64_t attempt = 0;

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"retry\":\"always\"");
        while (bench_take(b, RELAY("r1")) && ++attempt < 1000) {
                bench_report_one(b, "r1", "e1", attempt, "refused", REFUSED("OVERLOADED"));
                bench_pass(b, 20 * USEC_PER_MSEC);
                bench_report(b, "r1", 1, "", "");
        }
        assert_int_equal(attempt, 3 * 16);
        bench_expect(b, "caller", "\"details\":{\"retry_after_ms\":");
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
                "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"done\",\"status\":\"SUCCESS\"},{\"exec_id\":\"e2\","
                "\"attempt\":1,\"state\":\"thrilled\"},"
                "{\"exec_id\":\"e3\",\"attempt\":1,\"state\":\"done\",\"status\":\"AGENT_ERROR\",\"code\":"
                "\"INTERNAL\"}",
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
        bench_report(
                b, "r1", 1, "{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"started\"}", ",\"load\":{\"in_flight\":3}");
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

/* Its load said that a slot was free, and its refusal that none was: asked again at once, the two would go on talking
 * at each other. */
static void a_runtime_that_refuses_as_overloaded_is_left_alone_for_a_moment(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 5 });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r1"), "\"attempt\":1");
        bench_report_one(b, "r1", "e1", 1, "refused", REFUSED("OVERLOADED"));
        bench_expect_none(b, RELAY("r1"));
        bench_pass(b, 20 * USEC_PER_MSEC);
        bench_report(b, "r1", 1, "", "");
        bench_expect(b, RELAY("r1"), "\"attempt\":2");
}

/* Else its caller, who has his answer, would get another at the deadline. */
static void a_code_that_we_do_not_know_ends_the_execution_all_the_same(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_report_one(b, "r1", "e1", 1, "done", ",\"status\":\"AGENT_ERROR\",\"code\":\"OUT_OF_COFFEE\"");
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        bench_expect_none(b, "caller");
}

/* Whoever may publish on r2's subjects may not speak for r1: permissions go by subjects. */
static void a_runtime_reports_in_no_other_name(void **state) {
        static const struct {
                const char *subject;
                bool is_heard;
        } table[] = {
                { "compozy.dispatcher.d1.report.r2", false },
                { INBOX ".r.r2.e1.1.0", false },
                { INBOX ".r.r1.e1.1.0", true },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_runtime(b, "r2", "b");
        bench_trigger(b, "a", "e1", "caller", "");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                bench_send(b, table[i].subject, NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{\"executions\":[{"
                        "\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"done\",\"status\":\"SUCCESS\"}]}}");
                assert_int_equal(dispatcher_n_in_flight(b->d), table[i].is_heard ? 0 : 1);
        }
        assert_int_equal(bench_metric(b, "compozy_dispatcher_invalid_messages_total"), 2);
}

/* A message can be made to look like the server's "no responders". */
static void that_nobody_listens_is_heard_on_the_runtimes_own_subject(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_runtime(b, "r2", "b");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_deliver(b, INBOX ".r.r2.e1.1.0", NULL, NULL, SLICE_NONE, true);
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_deliver(b, INBOX ".r.r1.e1.1.0", NULL, NULL, SLICE_NONE, true);
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
        assert_string_equal(bench_state(b, "r1"), "suspect");
}

/* A process that was stopped looks at the clock first: SIGCONT ends its wait for messages without one. */
static void after_a_stall_what_was_reported_meanwhile_comes_before_what_is_overdue(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "\"deadline_ms\":60000");
        bench_trigger(b, "a", "e2", "caller", "\"deadline_ms\":2000");
        bench_trigger(b, "a", "e3", "caller", "\"deadline_ms\":2000");
        assert_int_equal(bench_count(b, RELAY("r1")), 3);
        bench_stall(b, 30 * SECOND);
        bench_pass(b, 10 * MS);
        bench_expect_none(b, RELAY("r1"));
        bench_expect_none(b, "caller");
        bench_report_one(b, "r1", "e1", 1, "done", DONE);
        bench_report_one(b, "r1", "e2", 1, "done", DONE);
        bench_pass(b, SECOND);
        bench_expect_none(b, RELAY("r1"));
        bench_expect(b, "caller", "DEADLINE_EXCEEDED"); /* of the third, which nobody reported on */
        bench_expect_none(b, "caller");
        assert_int_equal(dispatcher_n_in_flight(b->d), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_refusal_is_placed_elsewhere_or_is_the_answer),
                cmocka_unit_test(a_runtime_that_refused_for_draining_is_draining),
                cmocka_unit_test(an_agent_that_does_not_run_there_is_tried_again_after_a_registration),
                cmocka_unit_test(a_runtime_that_refuses_as_overloaded_is_left_alone_for_a_moment),
                cmocka_unit_test(a_code_that_we_do_not_know_ends_the_execution_all_the_same),
                cmocka_unit_test(an_agent_gets_what_its_state_allows),
                cmocka_unit_test(endless_refusals_come_to_an_end),
                cmocka_unit_test(the_word_of_a_superseded_attempt_is_refused_and_counted),
                cmocka_unit_test(a_report_of_another_runtime_is_not_believed),
                cmocka_unit_test(a_runtime_reports_in_no_other_name),
                cmocka_unit_test(that_nobody_listens_is_heard_on_the_runtimes_own_subject),
                cmocka_unit_test(after_a_stall_what_was_reported_meanwhile_comes_before_what_is_overdue),
                cmocka_unit_test(one_bad_element_of_a_report_costs_only_itself),
                cmocka_unit_test(slots_that_others_took_are_not_given_twice),
                cmocka_unit_test(no_more_than_the_free_slots_it_stated),
                cmocka_unit_test(a_capacity_that_shrinks_below_what_is_held_takes_nothing_more),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
