/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "tests/unit/ctl/top_answers.h"

static void test_a_rate_is_the_difference_of_two_answers_and_begins_again_with_a_process(void **state) {
        TopRate rate = { 0 };

        (void)state;
        top_rate_take(&rate, 1000, 1 * SECOND);
        assert_false(rate.is_known);
        assert_true(rate.per_second == 0);
        top_rate_take(&rate, 1500, 3 * SECOND);
        assert_true(rate.per_second == 250);
        top_rate_take(&rate, 9999, 3 * SECOND + 1000); /* too close to tell anything */
        assert_true(rate.per_second == 250);
        top_rate_take(&rate, 20, 4 * SECOND);
        assert_true(rate.per_second == 20);
}

static void test_quantiles_lie_within_their_bucket(void **state) {
        TopHistogram histogram = { .n_bounds = 2, .bounds_ms = { 1, 3 }, .buckets = { 50, 50, 0 }, .count = 100 };

        (void)state;
        assert_true(top_histogram_quantile(&histogram, 0.5) == 1);
        assert_true(top_histogram_quantile(&histogram, 0.25) == 0.5);
        assert_true(top_histogram_quantile(&histogram, 0.75) == 2);
        histogram.buckets[2] = histogram.count = 1;
        histogram.buckets[0] = histogram.buckets[1] = 0;
        assert_true(top_histogram_quantile(&histogram, 0.5) == 3); /* at least */
        assert_true(top_histogram_quantile(&(TopHistogram){ 0 }, 0.5) == 0);
}

static void test_dispatchers_are_added_up_and_what_both_see_is_not(void **state) {
        TopModel model;
        TopTotals totals;

        (void)state;
        top_model_init(&model);
        for (uint64_t second = 1; second <= 2; second++) {
                top_model_tick(&model, true, second * SECOND);
                tell_dispatcher(&model, "d2", (int)second * 100, 0, 0);
                tell_dispatcher(&model, "d1", (int)second * 10, (int)second * 5, 0);
        }
        top_model_totals(&model, &totals);
        assert_int_equal(totals.n_dispatchers, 2);
        assert_string_equal(model.dispatchers[0]->id, "d1");
        assert_true(totals.triggers == 110 && totals.ok == 110 && totals.failures == 0);
        assert_int_equal(totals.live, 2);
        assert_int_equal(totals.draining, 1);
        assert_int_equal(totals.slots, 8);
        assert_int_equal(totals.waiting, 6);
        assert_true(totals.execution_p50 == 0.5);
        top_model_done(&model);
}

static void test_latencies_are_those_of_the_window_and_not_of_all_time(void **state) {
        TopModel model;
        TopHistogram histogram;

        (void)state;
        top_model_init(&model);
        for (int second = 0; second < 30; second++) {
                top_model_tick(&model, true, (uint64_t)(second + 1) * SECOND);
                tell_dispatcher(&model, "d1", 0, second < 15 ? second * 1000 : 15000, second < 15 ? 0 : second);
        }
        top_model_histogram(&model, NULL, true, &histogram);
        assert_int_equal(histogram.buckets[0], 0);
        assert_int_equal(histogram.count, TOP_WINDOW - 1);
        assert_true(top_histogram_quantile(&histogram, 0.5) == 2);
        top_model_done(&model);
}

static void test_a_silent_dispatcher_is_forgotten_unless_there_is_no_connection(void **state) {
        TopModel model;

        (void)state;
        top_model_init(&model);
        top_model_tick(&model, true, SECOND);
        tell_dispatcher(&model, "d1", 0, 0, 0);
        top_model_tick(&model, false, 100 * SECOND);
        assert_int_equal(model.n_dispatchers, 1);
        top_model_tick(&model, true, 109 * SECOND);
        assert_int_equal(model.n_dispatchers, 1);
        top_model_tick(&model, true, 111 * SECOND);
        assert_int_equal(model.n_dispatchers, 0);
        top_model_done(&model);
}

static void test_whoever_was_in_no_list_of_a_sweep_is_gone(void **state) {
        TopModel model;

        (void)state;
        top_model_init(&model);
        top_model_tick(&model, true, SECOND);
        tell_dispatcher(&model, "d1", 0, 0, 0);
        tell_dispatcher(&model, "d2", 0, 0, 0);
        tell_runtimes(&model, 0, 5, 10, "live", 0);
        tell_runtimes(&model, 1, 0, 10, "suspect", 0); /* sees some others, and some otherwise */
        top_model_swept(&model);
        assert_int_equal(model.n_runtimes, 15);
        assert_string_equal(top_model_find_runtime(&model, "r00007")->state, "live");
        assert_string_equal(top_model_find_runtime(&model, "r00002")->state, "suspect");
        for (size_t i = 1; i < model.n_runtimes; i++)
                assert_true(strcmp(model.runtimes[i - 1]->id, model.runtimes[i]->id) < 0);
        top_model_tick(&model, true, 2 * SECOND);
        tell_runtimes(&model, 0, 5, 1, "live", 30);
        tell_runtimes(&model, 1, 5, 1, "live", 12);
        top_model_swept(&model);
        assert_int_equal(model.n_runtimes, 1);
        assert_true(model.runtimes[0]->rate == 42); /* what each of them has given it */
        assert_int_equal(model.runtimes[0]->heartbeat_usec, 2 * SECOND - SECOND / 4);
        top_model_done(&model);
}

static void test_agents_that_a_whole_list_lacks_are_gone_and_others_after_a_while(void **state) {
        TopModel model;

        (void)state;
        top_model_init(&model);
        top_model_tick(&model, true, SECOND);
        tell_agent(&model, "r1", "a", 10, 2);
        tell_agent(&model, "r1", "b", 20, 2);
        tell_agent(&model, "r2", "a", 20, 1);
        assert_int_equal(model.n_agents, 3);
        top_model_tick(&model, true, 2 * SECOND);
        tell_agent(&model, "r1", "b", 25, 1); /* one of one */
        assert_null(top_model_find_agent(&model, "r1", "a"));
        assert_true(top_model_find_agent(&model, "r1", "b")->handled_rate.per_second == 5);
        assert_non_null(top_model_find_agent(&model, "r2", "a"));
        top_model_tick(&model, true, 11 * SECOND);
        assert_null(top_model_find_agent(&model, "r2", "a"));
        assert_non_null(top_model_find_agent(&model, "r1", "b"));
        top_model_done(&model);
}

static void test_what_strangers_say_is_harmless(void **state) {
        static const char *const answers[] = { "{}", "[]", "null", "{\"runtimes\":7,\"agents\":{},\"dispatcher_id\":4}",
                "{\"dispatcher_id\":\"a b\"}",
                "{\"dispatcher_id\":\"d1\",\"runtimes\":[],\"bucket_bounds_ms\":[\"x\",2,{}],"
                "\"execution_duration\":{\"count\":-5,\"buckets\":[-1,3]}}",
                "{\"runtimes\":[7,null,{},{\"runtime_id\":\"\\u001b[2J\",\"state\":[],\"last_heartbeat_ms_ago\":-1}]}",
                "{\"agents\":[7,null,{},{\"agent_id\":\"\\u009b2J\",\"handled\":\"many\"}]}" };
        TopModel model;
        TopTotals totals;

        (void)state;
        top_model_init(&model);
        top_model_tick(&model, true, SECOND);
        for (int round = 0; round < 3; round++)
                for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                        json_t *answer = json_loads(answers[i], JSON_DECODE_ANY, NULL);

                        assert_non_null(answer);
                        top_model_dispatcher(&model, answer, 1);
                        top_model_runtimes(&model, 0, answer);
                        top_model_agents(&model, "r1", answer);
                        json_decref(answer);
                }
        assert_int_equal(model.n_dispatchers, 1); /* an id that can't be asked is none */
        assert_non_null(top_model_find_runtime(&model, "\\x1b[2J"));
        assert_null(strpbrk(model.agents[0]->id, "\x9b"));
        top_model_totals(&model, &totals);
        top_model_done(&model);
}

static void test_more_dispatchers_than_can_be_asked_are_told(void **state) {
        TopModel model;
        char id[16];

        (void)state;
        top_model_init(&model);
        top_model_tick(&model, true, SECOND);
        for (int i = 0; i <= TOP_DISPATCHERS_MAX; i++) {
                (void)snprintf(id, sizeof(id), "d%02d", i);
                top_model_found(&model, id);
        }
        assert_int_equal(model.n_dispatchers, TOP_DISPATCHERS_MAX);
        assert_true(model.has_more_dispatchers);
        top_model_done(&model);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_rate_is_the_difference_of_two_answers_and_begins_again_with_a_process),
                cmocka_unit_test(test_quantiles_lie_within_their_bucket),
                cmocka_unit_test(test_dispatchers_are_added_up_and_what_both_see_is_not),
                cmocka_unit_test(test_latencies_are_those_of_the_window_and_not_of_all_time),
                cmocka_unit_test(test_a_silent_dispatcher_is_forgotten_unless_there_is_no_connection),
                cmocka_unit_test(test_whoever_was_in_no_list_of_a_sweep_is_gone),
                cmocka_unit_test(test_agents_that_a_whole_list_lacks_are_gone_and_others_after_a_while),
                cmocka_unit_test(test_what_strangers_say_is_harmless),
                cmocka_unit_test(test_more_dispatchers_than_can_be_asked_are_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
