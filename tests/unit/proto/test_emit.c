/* SPDX-License-Identifier: MIT */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/emit.h"

static void assert_buffer(const Buffer *buffer, const char *text) {
        assert_false(buffer->failed);
        assert_int_equal(buffer->size, strlen(text));
        assert_memory_equal(buffer->data, text, buffer->size);
}

static void commas_stand_between_members_and_elements_only(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        emit_object(&b, NULL);
        emit_array(&b, "a");
        emit_u64(&b, NULL, 1);
        emit_u64(&b, NULL, 2);
        emit_object(&b, NULL);
        emit_object_end(&b);
        emit_array_end(&b);
        emit_object(&b, "b");
        emit_bool(&b, "c", true);
        emit_bool(&b, "d", false);
        emit_object_end(&b);
        emit_raw(&b, "e", SLICE("[null]"));
        emit_object_end(&b);
        assert_buffer(&b, "{\"a\":[1,2,{}],\"b\":{\"c\":true,\"d\":false},\"e\":[null]}");
        assert_int_equal(b.nesting, 0);
}

static void an_outermost_value_has_no_comma_whatever_precedes_it(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        buffer_append_slice(&b, SLICE("some.subject"));
        emit_object(&b, NULL);
        emit_object_end(&b);
        emit_u64(&b, NULL, 7);
        assert_buffer(&b, "some.subject{}7");
}

static void an_absent_slice_leaves_its_member_out(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        emit_object(&b, NULL);
        emit_text(&b, "a", SLICE_NONE);
        emit_raw(&b, "b", SLICE_NONE);
        emit_string(&b, "c", NULL);
        emit_text(&b, "d", SLICE(""));
        emit_object_end(&b);
        assert_buffer(&b, "{\"d\":\"\"}");
}

static void what_json_demands_is_escaped_and_nothing_else(void **state) {
        static const struct {
                const char *text, *json;
        } cases[] = {
                { "plain", "\"plain\"" },
                { "0123456789abcdef\"", "\"0123456789abcdef\\\"\"" },
                { "\"\\/\b\f\n\r\t", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"" },
                { "\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"" },
                { "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80!", "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80!\"" },
                { "a\xff z", "\"a\xef\xbf\xbd z\"" },
                { "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
                { "cut\xe2\x82", "\"cut\xef\xbf\xbd\xef\xbf\xbd\"" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer b = { 0 };

                emit_string(&b, NULL, cases[i].text);
                assert_buffer(&b, cases[i].json);
        }
}

static void a_text_of_escapes_only_fits(void **state) {
        static const char zeros[1000];
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        emit_text(&b, NULL, (Slice){ zeros, sizeof(zeros) });
        assert_int_equal(b.size, 6 * sizeof(zeros) + 2);
}

static void whole_numbers_are_exact(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        emit_array(&b, NULL);
        emit_u64(&b, NULL, 0);
        emit_u64(&b, NULL, 9);
        emit_u64(&b, NULL, 10);
        emit_u64(&b, NULL, UINT64_MAX);
        emit_array_end(&b);
        assert_buffer(&b, "[0,9,10,18446744073709551615]");
}

static void reals_have_at_most_three_decimals(void **state) {
        static const struct {
                double value;
                const char *json;
        } cases[] = {
                { 0, "0" },
                { 1.25, "1.25" },
                { 1.5, "1.5" },
                { 2, "2" },
                { 0.0004, "0" },
                { 0.0006, "0.001" },
                { -0.0001, "0" },
                { -1.005, "-1.005" },
                { 0.9996, "1" },
                { 12.07, "12.07" },
                { 1e15, "1000000000000000" },
                { NAN, "0" },
                { INFINITY, "0" },
                { -INFINITY, "0" },
                { -2e15, "-2000000000000000" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer b = { 0 };

                emit_real(&b, NULL, cases[i].value);
                assert_buffer(&b, cases[i].json);
        }
}

static void timestamps_agree_with_gmtime(void **state) {
        (void)state;

        /* each day of 430 years: leap years, centuries and the day that ends 400 years */
        for (uint64_t seconds = 0; seconds < UINT64_C(430) * 366 * 86400; seconds += 86400 + 1) {
                _cleanup_(buffer_done) Buffer b = { 0 };
                const time_t t = (time_t)seconds;
                char expected[64];
                struct tm tm;

                assert_non_null(gmtime_r(&t, &tm));
                assert_true(strftime(expected, sizeof(expected), "\"%Y-%m-%dT%H:%M:%S.000042Z\"", &tm) > 0);
                emit_timestamp(&b, NULL, seconds * 1000000 + 42);
                assert_buffer(&b, expected);
        }
}

static void a_timestamp_out_of_range_is_still_a_timestamp(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        emit_timestamp(&b, NULL, UINT64_MAX);
        assert_int_equal(b.size, strlen("\"2026-01-31T23:59:59.123456Z\""));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(commas_stand_between_members_and_elements_only),
                cmocka_unit_test(an_outermost_value_has_no_comma_whatever_precedes_it),
                cmocka_unit_test(an_absent_slice_leaves_its_member_out),
                cmocka_unit_test(what_json_demands_is_escaped_and_nothing_else),
                cmocka_unit_test(a_text_of_escapes_only_fits),
                cmocka_unit_test(whole_numbers_are_exact),
                cmocka_unit_test(reals_have_at_most_three_decimals),
                cmocka_unit_test(timestamps_agree_with_gmtime),
                cmocka_unit_test(a_timestamp_out_of_range_is_still_a_timestamp),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
