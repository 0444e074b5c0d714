/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/page.h"

static const char *text_of(Buffer *buffer) {
        buffer_append_char(buffer, '\0');
        assert_false(buffer->failed);
        return buffer->data;
}

static void whatever_a_name_holds_it_is_text(void **state) {
        static const struct {
                const char *given, *wanted;
        } cases[] = {
                { "plain", "plain" },
                { "", "" },
                { "<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;" },
                { "\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;" },
                { "größe 名前", "größe 名前" },
                { "a\nb\tc\x7f", "a\xef\xbf\xbd"
                                 "b\xef\xbf\xbd"
                                 "c\xef\xbf\xbd" },
                { "bad \xff\xc3", "bad \xef\xbf\xbd\xef\xbf\xbd" },
                { "c1 \xc2\x85.", "c1 \xef\xbf\xbd." },
                { "turned \xe2\x80\xae"
                  "fdp.exe",
                        "turned \xef\xbf\xbd"
                        "fdp.exe" },
                { "isolated \xe2\x81\xa7.", "isolated \xef\xbf\xbd." },
                { "quoted “so” …", "quoted “so” …" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer buffer = {};

                page_text(&buffer, slice_of(cases[i].given));
                assert_string_equal(text_of(&buffer), cases[i].wanted);
        }
}

static void a_long_name_is_cut_between_two_characters(void **state) {
        _cleanup_(buffer_done) Buffer buffer = {};
        char name[1001] = "x";

        (void)state;

        for (size_t i = 1; i + 2 < sizeof(name); i += 2)
                memcpy(name + i, "ö", 3);
        page_cell(&buffer, slice_of(name));
        assert_true(strlen(text_of(&buffer)) < 160);
        assert_non_null(strstr(buffer.data, "ö…</bdi>"));
        assert_null(strstr(buffer.data, "\xef\xbf\xbd"));
}

static void numbers_are_written_as_people_read_them(void **state) {
        static const struct {
                char kind;
                double value;
                const char *wanted;
        } cases[] = {
                { 'n', 0, "0" },
                { 'n', 999, "999" },
                { 'n', 1000, "1,000" },
                { 'n', 1234567, "1,234,567" },
                { 'r', 0, "0.0" },
                { 'r', 0.01, "&lt;0.1" },
                { 'r', 12.34, "12.3" },
                { 'r', 1234.5, "1,235" },
                { 'd', 0, "0 µs" },
                { 'd', 42, "42 µs" },
                { 'd', 999, "999 µs" },
                { 'd', 1500, "1.5 ms" },
                { 'd', 45000, "45 ms" },
                { 'd', 1.5e6, "1.5 s" },
                { 'd', 90e6, "90 s" },
                { 'd', 150e6, "2.5 min" },
                { 'd', 3600e6, "1 h 0 min" },
                { 'd', 7500e6, "2 h 5 min" },
                { 'd', 90000e6, "1 d 1 h" },
                { 'b', 0, "0 B" },
                { 'b', 999, "999 B" },
                { 'b', 1024, "1.0 KiB" },
                { 'b', 1536.0 * 1024, "1.5 MiB" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer buffer = {};

                switch (cases[i].kind) {
                case 'n':
                        page_number(&buffer, (uint64_t)cases[i].value);
                        break;
                case 'r':
                        page_rate(&buffer, cases[i].value);
                        break;
                case 'd':
                        page_duration(&buffer, cases[i].value);
                        break;
                default:
                        page_bytes(&buffer, (uint64_t)cases[i].value);
                }
                assert_string_equal(text_of(&buffer), cases[i].wanted);
        }
}

static void the_last_minute_is_drawn_inside_its_picture(void **state) {
        _cleanup_(buffer_done) Buffer buffer = {};
        Recent recent = {};
        const char *at;
        size_t n = 0;

        (void)state;

        for (unsigned i = 1; i <= 200; i++) {
                RecentSample sample = { .usec = i * USEC_PER_SEC, .counters = { i * i } };

                recent_add(&recent, &sample);
        }
        page_tile_rate(&buffer, "Things", TONE_PLAIN, 3, &recent, 0, 200 * USEC_PER_SEC + 1);
        at = strstr(text_of(&buffer), "<polyline points=\"");
        assert_non_null(at);
        at += strlen("<polyline points=\"");
        for (double x, y; sscanf(at, "%lf,%lf", &x, &y) == 2; at = strchr(at, ' ') + 1, n++) {
                assert_true(x >= 0 && x <= 60);
                assert_true(y >= 0 && y <= 20);
        }
        assert_in_range(n, 118, 124); /* two points a second */
}

static void an_empty_table_says_so_and_a_full_one_how_much_is_left_out(void **state) {
        static const char *const columns[] = { "name", ">count", NULL };
        _cleanup_(buffer_done) Buffer empty = {}, full = {};

        (void)state;

        page_table(&empty, "Things", columns);
        page_table_end(&empty, 0, 0, "nothing is here");
        assert_non_null(strstr(text_of(&empty), "nothing is here"));
        page_table(&full, "Things", columns);
        page_row(&full);
        page_cell_number(&full, 7);
        page_table_end(&full, 1, 4321, "nothing is here");
        assert_non_null(strstr(text_of(&full), "and 4,321 more"));
        assert_null(strstr(full.data, "nothing is here"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_a_name_holds_it_is_text),
                cmocka_unit_test(a_long_name_is_cut_between_two_characters),
                cmocka_unit_test(numbers_are_written_as_people_read_them),
                cmocka_unit_test(the_last_minute_is_drawn_inside_its_picture),
                cmocka_unit_test(an_empty_table_says_so_and_a_full_one_how_much_is_left_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
