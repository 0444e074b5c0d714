/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/screen.h"

static const Column columns[] = {
        { .title = "NAME", .may_shrink = true },
        { .title = "N", .is_right = true },
        { .title = "TEXT", .may_shrink = true },
};

static char *printed(const Table *table, const Screen *screen) {
        char *text = NULL;
        size_t size = 0;
        FILE *file = open_memstream(&text, &size);

        assert_int_equal(table_print(table, screen, file), 0);
        assert_int_equal(fclose(file), 0);
        return text;
}

static void columns_are_as_wide_as_what_is_in_them(void **state) {
        _cleanup_(table_freep) Table *table = table_new(columns, 3);
        const Screen screen = {};
        char *text;

        (void)state;

        table_cell(table, COLOUR_BAD, "a");
        table_cell(table, COLOUR_NONE, "%d", 1);
        table_cell(table, COLOUR_NONE, "x");
        table_cell(table, COLOUR_NONE, "bcdef");
        table_cell(table, COLOUR_NONE, "%d", 1234);
        table_cell(table, COLOUR_NONE, "äöü");
        text = printed(table, &screen);
        assert_string_equal(text, "NAME      N  TEXT\na         1  x\nbcdef  1234  äöü\n");
        free(text);
}

static void what_does_not_fit_is_cut_where_it_may_be(void **state) {
        _cleanup_(table_freep) Table *table = table_new(columns, 3);
        const Screen screen = { .columns = 30 };
        char *text;

        (void)state;

        table_cell(table, COLOUR_NONE, "name");
        table_cell(table, COLOUR_NONE, "123456789");
        table_cell(table, COLOUR_NONE, "äöü and so on, for ever");
        text = printed(table, &screen);
        assert_non_null(strstr(text, "123456789  äöü and so o…\n"));
        free(text);
}

static void colours_are_written_only_where_they_are_wanted(void **state) {
        _cleanup_(table_freep) Table *table = table_new(columns, 1);
        const Screen with = { .has_colour = true }, without = {};
        char *text;

        (void)state;

        table_cell(table, COLOUR_BAD, "x");
        text = printed(table, &with);
        assert_non_null(strstr(text, "\033[1;31mx\033[0m"));
        free(text);
        text = printed(table, &without);
        assert_null(strchr(text, '\033'));
        free(text);
}

static void no_stranger_s_text_reaches_the_terminal_as_it_is(void **state) {
        char place[64];

        (void)state;

        assert_int_equal(
                screen_text(place, sizeof(place), "a\x1b[31m\n\x7f\xc2\x9bz"), strlen("a\\x1b[31m\\x0a\\x7f\\x9bz"));
        assert_string_equal(place, "a\\x1b[31m\\x0a\\x7f\\x9bz");
        assert_int_equal(screen_text(place, sizeof(place), "\u202e\u061cx\u2066\u20ac"), 2 * 6 + 1 + 6 + 3);
        assert_string_equal(place, "\\u202e\\u061cx\\u2066\u20ac"); /* what turns the text behind it */
        assert_int_equal(screen_text(place, 4, "abcdef"), 6);
        assert_string_equal(place, "abc");
        assert_int_equal(screen_text(place, 1, "\n"), 4);
        assert_string_equal(place, "");
}

static void numbers_are_shown_as_people_say_them(void **state) {
        char place[SHOWN_MAX];

        (void)state;

        assert_string_equal(show_number(place, 0), "0");
        assert_string_equal(show_number(place, 999), "999");
        assert_string_equal(show_number(place, 1000), "1,000");
        assert_string_equal(show_number(place, UINT64_MAX), "18,446,744,073,709,551,615");
        assert_string_equal(show_bytes(place, 512), "512 B");
        assert_string_equal(show_bytes(place, 1536), "1.5 KiB");
        assert_string_equal(show_bytes(place, UINT64_C(64) << 20), "64 MiB");
        assert_string_equal(show_duration(place, 12), "12 µs");
        assert_string_equal(show_duration(place, 1500), "1.5 ms");
        assert_string_equal(show_duration(place, 850 * USEC_PER_MSEC), "850 ms");
        assert_string_equal(show_duration(place, 90 * USEC_PER_SEC), "90 s");
        assert_string_equal(show_duration(place, 600 * USEC_PER_SEC), "10 min");
        assert_string_equal(show_duration(place, UINT64_C(72) * 3600 * USEC_PER_SEC), "3 d");
        assert_string_equal(show_rate(place, 0.25), "0.2");
        assert_string_equal(show_rate(place, 1234.5), "1,235");
}

static void what_is_no_number_of_that_kind_is_the_nearest_one(void **state) {
        char place[SHOWN_MAX];

        (void)state;

        assert_true(whole_number(-1e300) == 0);
        assert_true(whole_number(__builtin_nan("")) == 0);
        assert_true(whole_number(0.6) == 1);
        assert_true(whole_number(1e300) == UINT64_MAX);
        assert_true(whole_number(0x1p64) == UINT64_MAX);
        assert_true(whole_number(1e15) == UINT64_C(1000000000000000));
        assert_string_equal(show_rate(place, 1e300), "18,446,744,073,709,551,615");
}

static void a_text_that_is_cut_ends_with_a_whole_sign_and_nothing_else(void **state) {
        char place[8];

        (void)state;

        for (size_t size = 1; size <= sizeof(place); size++) {
                memset(place, 'X', sizeof(place));
                assert_int_equal(screen_text(place, size, "\033\033\033"), 12);
                assert_int_equal(strlen(place), (size - 1) / 4 * 4);
                assert_null(strchr(place, 'X'));
                assert_int_equal(screen_text(place, size, "äöüß"), 8);
                assert_int_equal(strlen(place), (size - 1) / 2 * 2);
                assert_int_equal(screen_text(place, size, "€€€"), 9);
                assert_int_equal(strlen(place), (size - 1) / 3 * 3);
        }
        assert_int_equal(screen_text(place, sizeof(place), "a€bcdefg"), 10);
        assert_string_equal(place, "a€bcd");
}

static void without_UTF_8_our_own_signs_are_ASCII(void **state) {
        _cleanup_(table_freep) Table *table = table_new(columns, 1);
        const Screen screen = { .columns = 8 };
        char place[SHOWN_MAX], *text;

        (void)state;

        (void)setlocale(LC_CTYPE, "C");
        assert_string_equal(show_duration(place, 12), "12 us");
        table_cell(table, COLOUR_NONE, "%s", "123456789");
        text = printed(table, &screen);
        (void)setlocale(LC_CTYPE, "C.UTF-8");
        assert_string_equal(text, "NAME\n1234567.\n");
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(columns_are_as_wide_as_what_is_in_them),
                cmocka_unit_test(what_does_not_fit_is_cut_where_it_may_be),
                cmocka_unit_test(colours_are_written_only_where_they_are_wanted),
                cmocka_unit_test(no_stranger_s_text_reaches_the_terminal_as_it_is),
                cmocka_unit_test(what_is_no_number_of_that_kind_is_the_nearest_one),
                cmocka_unit_test(a_text_that_is_cut_ends_with_a_whole_sign_and_nothing_else),
                cmocka_unit_test(without_UTF_8_our_own_signs_are_ASCII),
                cmocka_unit_test(numbers_are_shown_as_people_say_them),
        };

        (void)setlocale(LC_CTYPE, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
