/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctl/latency.h"

static void without_anything_all_is_zero(void **state) {
        static const Latency latency;

        (void)state;

        assert_int_equal(latency_quantile(&latency, 0.5), 0);
        assert_int_equal(latency_mean(&latency), 0);
}

static void small_values_are_exact(void **state) {
        Latency latency = { 0 };

        (void)state;

        for (uint64_t usec = 1; usec <= 100; usec++)
                latency_add(&latency, usec);
        assert_int_equal(latency_quantile(&latency, 0.5), 50);
        assert_int_equal(latency_quantile(&latency, 0.99), 99);
        assert_int_equal(latency_quantile(&latency, 1), 100);
        assert_int_equal(latency_quantile(&latency, 0), 1);
        assert_int_equal(latency_mean(&latency), 50);
        assert_int_equal(latency.max_usec, 100);
}

/* Alone, each value is its own longest; so a longer one is put beside it. */
static void a_quantile_is_never_below_the_value_and_off_by_less_than_a_sixtieth(void **state) {
        (void)state;

        for (uint64_t usec = 1; usec < UINT64_C(1) << 40; usec += usec / 37 + 1) {
                Latency latency = { 0 };
                uint64_t found;

                latency_add(&latency, usec);
                latency_add(&latency, UINT64_C(1) << 41);
                found = latency_quantile(&latency, 0.5);
                assert_true(found >= usec);
                assert_true(found - usec <= usec / 60);
        }
}

static void what_is_longer_than_the_last_bucket_counts_and_the_longest_is_exact(void **state) {
        Latency latency = { 0 };

        (void)state;

        latency_add(&latency, UINT64_MAX / 2);
        assert_int_equal(latency.count, 1);
        assert_true(latency_quantile(&latency, 0.5) >= UINT64_C(1) << 40);
        assert_true(latency.max_usec == UINT64_MAX / 2);
        latency_add(&latency, 777777);
        assert_true(latency_quantile(&latency, 0.01) >= 777777);
}

static void what_was_added_since_is_told_apart(void **state) {
        Latency now = { 0 }, before;

        (void)state;

        latency_add(&now, 1000000);
        before = now;
        for (uint64_t usec = 1; usec <= 100; usec++)
                latency_add(&now, usec);
        latency_since(&now, &before);
        assert_int_equal(before.count, 100);
        assert_int_equal(before.max_usec, 100);
        assert_int_equal(latency_quantile(&before, 0.5), 50);
        assert_int_equal(latency_mean(&before), 50);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(without_anything_all_is_zero),
                cmocka_unit_test(small_values_are_exact),
                cmocka_unit_test(a_quantile_is_never_below_the_value_and_off_by_less_than_a_sixtieth),
                cmocka_unit_test(what_was_added_since_is_told_apart),
                cmocka_unit_test(what_is_longer_than_the_last_bucket_counts_and_the_longest_is_exact),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
