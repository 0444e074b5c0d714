/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/instant.h"
#include "ctl/progress.h"

#define START (1000 * USEC_PER_SEC)

static Progress progress_of(uint64_t total, unsigned columns) {
        return (Progress){
                .is_bar = columns > 0,
                .columns = columns,
                .noun = "triggers",
                .total = total,
                .start_usec = START,
                .rate = 1000,
        };
}

static void a_bar_tells_part_rate_and_time_left(void **state) {
        const Progress progress = progress_of(100000, 120);
        char line[512];

        (void)state;

        (void)progress_line(&progress, 50000, "p50 1.2 ms", START + USEC_PER_SEC, line, sizeof(line));
        assert_string_equal(line, "[===============>              ]  50%  50,000/100,000 triggers  1,000/s  ETA 50 s  "
                                  "p50 1.2 ms");
        (void)progress_line(&progress, 0, "", START, line, sizeof(line));
        assert_non_null(strstr(line, "[>       "));
        (void)progress_line(&progress, 100000, "", START, line, sizeof(line));
        assert_non_null(strstr(line, "=] 100%"));
        assert_null(strstr(line, "ETA"));
}

static void a_bar_shrinks_with_the_terminal_and_leaves_when_there_is_no_room(void **state) {
        Progress progress = progress_of(100, 20);
        char line[512];

        (void)state;

        for (progress.columns = 20; progress.columns < 120; progress.columns++) {
                (void)progress_line(&progress, 50, "", START, line, sizeof(line));
                assert_true(strchr(line, '[') != NULL || progress.columns < 60);
                assert_true(strchr(line, '[') == NULL || strlen(line) < progress.columns);
        }
}

static void without_a_terminal_there_is_no_bar(void **state) {
        const Progress progress = progress_of(100, 0);
        char line[512];

        (void)state;

        (void)progress_line(&progress, 25, "1 failed", START, line, sizeof(line));
        assert_string_equal(line, " 25%  25/100 triggers  1,000/s  ETA 1 s  1 failed");
}

static void where_the_end_is_a_moment_the_time_that_is_left_is_told(void **state) {
        Progress progress = progress_of(0, 0);
        char line[512];

        (void)state;

        progress.until_usec = START + 10 * USEC_PER_SEC;
        (void)progress_line(&progress, 4000, "", START + 4 * USEC_PER_SEC, line, sizeof(line));
        assert_string_equal(line, " 40%  4,000 triggers  1,000/s  6 s left");
}

static void with_neither_only_the_number_is_told(void **state) {
        const Progress progress = progress_of(0, 100);
        char line[512];

        (void)state;

        (void)progress_line(&progress, 7, "", START, line, sizeof(line));
        assert_string_equal(line, "7 triggers  1,000/s");
}

static void a_terminal_is_shown_more_often_than_a_file_and_a_long_run_less(void **state) {
        Progress progress = progress_of(100, 80);

        (void)state;

        assert_false(progress_is_due(&progress, START + USEC_PER_SEC / 20));
        assert_true(progress_is_due(&progress, START + USEC_PER_SEC / 10));
        progress.is_bar = false;
        assert_false(progress_is_due(&progress, START + USEC_PER_SEC / 10));
        assert_true(progress_is_due(&progress, START + USEC_PER_SEC));
        progress.shown_usec = START + 20 * USEC_PER_SEC;
        assert_false(progress_is_due(&progress, START + 25 * USEC_PER_SEC));
        assert_true(progress_is_due(&progress, START + 30 * USEC_PER_SEC));
        progress.is_silent = true;
        assert_false(progress_is_due(&progress, START + 300 * USEC_PER_SEC));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_bar_tells_part_rate_and_time_left),
                cmocka_unit_test(a_bar_shrinks_with_the_terminal_and_leaves_when_there_is_no_room),
                cmocka_unit_test(without_a_terminal_there_is_no_bar),
                cmocka_unit_test(where_the_end_is_a_moment_the_time_that_is_left_is_told),
                cmocka_unit_test(with_neither_only_the_number_is_told),
                cmocka_unit_test(a_terminal_is_shown_more_often_than_a_file_and_a_long_run_less),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
