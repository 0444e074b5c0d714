/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/recent.h"

static void a_duration_lands_in_the_first_bucket_that_holds_it(void **state) {
        static const struct {
                uint64_t usec;
                int bucket; /* -1: in none, only counted */
        } cases[] = {
                { 0, 0 },
                { 1, 0 },
                { 50, 0 },
                { 51, 1 },
                { 100, 1 },
                { 101, 2 },
                { 50000000, 18 },
                { 100000000, 19 },
                { 100000001, -1 },
                { UINT64_MAX, -1 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Histogram histogram = {};

                histogram_add(&histogram, cases[i].usec);
                assert_int_equal(histogram.count, 1);
                for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
                        assert_int_equal(histogram.buckets[b], b == cases[i].bucket);
        }
}

static void every_bound_is_above_the_one_before_it(void **state) {
        (void)state;

        for (size_t i = 1; i < HISTOGRAM_BUCKETS; i++)
                assert_true(histogram_bound_usec(i) > histogram_bound_usec(i - 1));
}

static void assert_near(double a, double b) {
        if (a - b > 0.001 || b - a > 0.001)
                fail_msg("%f is not %f", a, b);
}

static void a_quantile_lies_inside_the_bucket_where_that_many_are_reached(void **state) {
        Histogram histogram = {};

        (void)state;

        assert_near(histogram_quantile(&histogram, 0.5), 0);
        for (int i = 0; i < 10; i++)
                histogram_add(&histogram, 1500); /* from 1000 to 2000 */
        assert_near(histogram_quantile(&histogram, 0.5), 1500);
        assert_near(histogram_quantile(&histogram, 1), 2000);
        for (int i = 0; i < 90; i++)
                histogram_add(&histogram, 30000); /* from 20000 to 50000 */
        assert_near(histogram_quantile(&histogram, 0.1), 2000);
        assert_near(histogram_quantile(&histogram, 0.55), 35000);
        for (int i = 0; i < 900; i++)
                histogram_add(&histogram, UINT64_C(1000000000));
        assert_near(histogram_quantile(&histogram, 0.99), 100000000);
}

static void it_is_emitted_bucket_by_bucket(void **state) {
        _cleanup_(buffer_done) Buffer buffer = {};
        Histogram histogram = {};

        (void)state;

        histogram_add(&histogram, 70);
        histogram_add(&histogram, 80);
        histogram_emit(&buffer, NULL, &histogram);
        buffer_append_char(&buffer, '\0');
        assert_string_equal(
                buffer.data, "{\"count\":2,\"sum_ms\":0.15,\"buckets\":[0,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}");
}

/* recent */

/* One a second, whose counter grows by `per_second`. */
static void add_samples(Recent *recent, uint64_t *second, uint64_t *counter, unsigned n, uint64_t per_second) {
        for (unsigned i = 0; i < n; i++) {
                RecentSample sample = { .usec = ++*second * USEC_PER_SEC };

                sample.counters[0] = *counter += per_second;
                assert_true(recent_is_due(recent, sample.usec));
                recent_add(recent, &sample);
        }
}

static void a_rate_is_that_of_the_last_ten_seconds(void **state) {
        Recent recent = {};
        RecentSample latest = {}, since;
        uint64_t second = 0, counter = 0;

        (void)state;

        latest.usec = USEC_PER_SEC;
        latest.counters[0] = 5;
        since = recent_since(&recent, &latest); /* nothing to compare with */
        assert_near(recent_rate(&since, 0), 0);

        add_samples(&recent, &second, &counter, 3, 7);
        latest = (RecentSample){ .usec = second * USEC_PER_SEC + USEC_PER_SEC / 2, .counters[0] = counter };
        since = recent_since(&recent, &latest);
        assert_int_equal(since.usec, 2500 * USEC_PER_MSEC);
        assert_near(recent_rate(&since, 0), 14 / 2.5);

        add_samples(&recent, &second, &counter, 30, 100);
        latest = (RecentSample){ .usec = second * USEC_PER_SEC, .counters[0] = counter };
        latest.histograms[0].count = 12;
        since = recent_since(&recent, &latest);
        assert_int_equal(since.usec, 10 * USEC_PER_SEC);
        assert_near(recent_rate(&since, 0), 100);
        assert_int_equal(since.histograms[0].count, 12);
}

static void a_silence_makes_the_window_longer_and_not_the_rate_higher(void **state) {
        Recent recent = {};
        RecentSample latest, since;
        uint64_t second = 0, counter = 0;

        (void)state;

        add_samples(&recent, &second, &counter, 5, 10);
        assert_false(recent_is_due(&recent, second * USEC_PER_SEC + USEC_PER_SEC - 1));
        latest = (RecentSample){ .usec = (second + 100) * USEC_PER_SEC, .counters[0] = counter + 50 };
        since = recent_since(&recent, &latest);
        assert_int_equal(since.usec, 100 * USEC_PER_SEC);
        assert_near(recent_rate(&since, 0), 0.5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_duration_lands_in_the_first_bucket_that_holds_it),
                cmocka_unit_test(every_bound_is_above_the_one_before_it),
                cmocka_unit_test(a_quantile_lies_inside_the_bucket_where_that_many_are_reached),
                cmocka_unit_test(it_is_emitted_bucket_by_bucket),
                cmocka_unit_test(a_rate_is_that_of_the_last_ten_seconds),
                cmocka_unit_test(a_silence_makes_the_window_longer_and_not_the_rate_higher),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
