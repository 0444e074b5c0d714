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

static void a_histogram_is_written_cumulative_in_seconds(void **state) {
        _cleanup_(buffer_done) Buffer buffer = { 0 };
        Histogram histogram = { 0 };

        (void)state;

        histogram_add(&histogram, 50);
        histogram_add(&histogram, 100);
        histogram_add(&histogram, 200000000);
        metrics_histogram(&buffer, "h_seconds", "Help", &histogram);
        assert_true(has(&buffer, "# HELP h_seconds Help\n# TYPE h_seconds histogram\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"5e-05\"} 1\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"0.0001\"} 2\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"100\"} 2\n"));
        assert_true(has(&buffer, "h_seconds_bucket{le=\"+Inf\"} 3\n"));
        assert_true(has(&buffer, "h_seconds_sum 200.00015\nh_seconds_count 3\n"));
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
                cmocka_unit_test(a_histogram_is_written_cumulative_in_seconds),
                cmocka_unit_test(label_values_and_help_are_escaped),
                cmocka_unit_test(the_process_tells_about_itself),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
