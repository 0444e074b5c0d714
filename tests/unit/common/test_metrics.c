/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/metrics.h"

static bool has(const Buffer *buffer, const char *line) {
        return memmem(buffer->data, buffer->size, line, strlen(line)) != NULL;
}

static void a_duration_lands_in_the_first_bucket_that_holds_it(void **state) {
        static const struct {
                uint64_t usec;
                int bucket; /* -1: only +Inf */
        } cases[] = {
                { 0, 0 },
                { 1, 0 },
                { 64, 0 },
                { 65, 1 },
                { 128, 1 },
                { 129, 2 },
                { 64 << 15, 15 },
                { (64 << 15) + 1, -1 },
                { UINT64_MAX, -1 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Histogram histogram = { 0 };

                histogram_add(&histogram, cases[i].usec);
                assert_int_equal(histogram.count, 1);
                for (int b = 0; b < HISTOGRAM_BUCKETS; b++)
                        assert_int_equal(histogram.buckets[b], b == cases[i].bucket);
        }
}

static void a_histogram_is_written_cumulative_in_seconds(void **state) {
        _cleanup_(buffer_done) Buffer buffer = { 0 };
        Histogram histogram = { 0 };

        (void)state;

        histogram_add(&histogram, 64);
        histogram_add(&histogram, 100);
        histogram_add(&histogram, 10000000);
        metrics_histogram(&buffer, "h_seconds", "Help", &histogram);
        assert_true(has(&buffer, "# HELP h_seconds Help\n# TYPE h_seconds histogram\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"6.4e-05\"} 1\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"0.000128\"} 2\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"2.097152\"} 2\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"+Inf\"} 3\n"));
        assert_true(has(&buffer, "h_seconds_sum 10.000164\nh_seconds_count 3\n"));
}

static void label_values_and_help_are_escaped(void **state) {
        _cleanup_(buffer_done) Buffer buffer = { 0 }, labels = { 0 };

        (void)state;

        metrics_label(&labels, "a", "x\"y\\z\n");
        metrics_label(&labels, "b", "2");
        buffer_append_char(&labels, '\0');
        assert_string_equal(labels.data, "a=\"x\\\"y\\\\z\\n\",b=\"2\"");
        metrics_gauge(&buffer, "g", "a \\ and a\nline with \"quotes\"");
        metrics_sample_real(&buffer, "g", labels.data, 0.1);
        assert_true(has(&buffer, "# HELP g a \\\\ and a\\nline with \"quotes\"\n"));
        assert_true(has(&buffer, "g{a=\"x\\\"y\\\\z\\n\",b=\"2\"} 0.1\n"));
}

static void the_process_tells_about_itself(void **state) {
        _cleanup_(buffer_done) Buffer buffer = { 0 };

        (void)state;

        metrics_process(&buffer, "test");
        metrics_counter_value(&buffer, "c_total", "Count", UINT64_MAX);
        assert_true(has(&buffer, "compozy_build_info{component=\"test\",version=\""));
        assert_true(has(&buffer, "# TYPE process_resident_memory_bytes gauge\n"));
        assert_true(has(&buffer, "# TYPE process_cpu_seconds_total counter\n"));
        assert_true(has(&buffer, "c_total 18446744073709551615\n"));
        assert_false(has(&buffer, "process_resident_memory_bytes 0\n"));
        assert_false(has(&buffer, "process_open_fds 0\n"));
        assert_false(has(&buffer, "process_start_time_seconds 0\n"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_duration_lands_in_the_first_bucket_that_holds_it),
                cmocka_unit_test(a_histogram_is_written_cumulative_in_seconds),
                cmocka_unit_test(label_values_and_help_are_escaped),
                cmocka_unit_test(the_process_tells_about_itself),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
