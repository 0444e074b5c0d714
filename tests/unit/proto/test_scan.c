/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/buffer.h"
#include "proto/scan.h"
#include "tests/tools/scan_sample.h"

static const ScanField required_fields[] = {
        { .name = "id", .kind = SCAN_ID, .required = true, .offset = AT(id) },
        { .name = "raw", .kind = SCAN_RAW, .required = true, .offset = AT(raw) },
        { 0 },
};

/* Exactly as large as the text, so that a sanitizer sees a read beyond its end. */
static int scan_exactly(Slice text, const ScanField *table, Sample *ret, Arena *arena, WireError *ret_error) {
        char *copy = malloc(text.size > 0 ? text.size : 1);
        int r;

        assert_non_null(copy);
        memcpy(copy, text.data, text.size);
        r = scan_object((Slice){ copy, text.size }, table, ret, arena, ret_error);
        free(copy);
        return r;
}

static void assert_text(Slice slice, const char *text) {
        assert_non_null(slice.data);
        assert_int_equal(slice.size, strlen(text));
        assert_memory_equal(slice.data, text, slice.size);
}

typedef struct Verdict {
        const char *text;
        const char *sentence; /* NULL: accepted */
} Verdict;

static void check_verdicts(const Verdict *verdicts, size_t n, const ScanField *table) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                WireError error = { "accepted" };
                Sample sample = { 0 };
                const int r = scan_exactly(slice_of(verdicts[i].text), table, &sample, &arena, &error);

                assert_string_equal(error.text, verdicts[i].sentence ? verdicts[i].sentence : "accepted");
                assert_int_equal(r, verdicts[i].sentence ? WIRE_E_INVALID : 0);
        }
}

static void each_kind_lands_in_its_member(void **state) {
        static const char text[] =
                " {\"text\":\"caf\xc3\xa9\", \"id\" : \"a-B_9\",\"subject\":\"a.b\",\"number\":18446744073709551615,\n"
                "\"limited\":100,\"real\":-1.5e2,\"flag\":true,\"name\":\"green\",\"raw\":[1, null],\"object\":{\"a\": "
                "1},"
                "\"array\":[ ],\"inner\":{\"text\":\"x\",\"deep\":{\"need\":7}},\"unknown\":{\"text\":[{}]}} \t\r\n";
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Sample s = { 0 };

        (void)state;

        assert_int_equal(scan_object(slice_of(text), fields, &s, &arena, &error), 0);
        assert_text(s.text, "caf\xc3\xa9");
        assert_text(s.id, "a-B_9");
        assert_text(s.subject, "a.b");
        assert_true(s.number == UINT64_MAX);
        assert_int_equal(s.limited, 100);
        assert_true(s.real == -150.0);
        assert_true(s.flag);
        assert_int_equal(s.name, 2);
        assert_text(s.raw, "[1, null]");
        assert_text(s.object, "{\"a\": 1}");
        assert_text(s.array, "[ ]");
        assert_text(s.inner_text, "x");
        assert_int_equal(s.inner_number, 7);
        assert_text(s.inner_raw, "{\"text\":\"x\",\"deep\":{\"need\":7}}");
        assert_null(arena.chunks);
}

static void what_is_left_out_or_null_keeps_its_default(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Sample s = { .number = 42, .flag = true, .name = 1 };

        (void)state;

        assert_int_equal(scan_object(SLICE("{\"number\":null,\"inner\":null,\"raw\":null,\"name\":null}"), fields, &s,
                                 &arena, &error),
                0);
        assert_int_equal(s.number, 42);
        assert_true(s.flag);
        assert_int_equal(s.name, 1);
        assert_null(s.raw.data);
        assert_null(s.inner_raw.data);
}

static void a_required_raw_value_may_be_null(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Sample s = { 0 };

        (void)state;

        assert_int_equal(scan_object(SLICE("{\"id\":\"a\",\"raw\":null}"), required_fields, &s, &arena, &error), 0);
        assert_text(s.raw, "null");
}

static void escapes_are_decoded_in_texts_and_in_names(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Sample s = { 0 };

        (void)state;

        assert_int_equal(
                scan_object(SLICE("{\"\\u0074ext\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00.\","
                                  "\"id\":\"\\u0061b\",\"raw\":\"\\u0000\"}"),
                        fields, &s, &arena, &error),
                0);
        assert_text(s.text, "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80.");
        assert_text(s.id, "ab");
        assert_text(s.raw, "\"\\u0000\"");
        assert_non_null(arena.chunks);
}

static void a_name_that_only_begins_like_a_field_is_another_one(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Sample s = { 0 };

        (void)state;

        assert_int_equal(scan_object(SLICE("{\"tex\":1,\"texts\":2,\"\":3,\"text\\u0000\":4,\"TEXT\":5}"), fields, &s,
                                 &arena, &error),
                0);
        assert_null(s.text.data);
}

/* Strings are read eight bytes at a time: so each byte is tried at each place of a word. */
static void every_byte_is_judged_alike_wherever_it_stands(void **state) {
        (void)state;

        for (unsigned c = 0; c < 256; c++)
                for (size_t at = 6; at < 26; at++) {
                        char text[] = "{\"a\":\"xxxxxxxxxxxxxxxxxxxx\"}";
                        Arena arena = { 0 };
                        WireError error;
                        Sample s = { 0 };
                        const bool valid = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

                        text[at] = (char)c;
                        assert_int_equal(scan_exactly((Slice){ text, sizeof(text) - 1 }, fields, &s, &arena, &error),
                                valid ? 0 : WIRE_E_INVALID);
                }
}

/* Found by tests/fuzz: the comparison with the expected name ran on behind its end. */
static void a_zero_byte_does_not_end_a_name(void **state) {
        static const char text[] = "{\"text\0\0\0\0\0\0\0\0\":1}";
        Arena arena = { 0 };
        WireError error;
        Sample s = { 0 };

        (void)state;

        assert_int_equal(scan_exactly((Slice){ text, sizeof(text) - 1 }, fields, &s, &arena, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "at byte 6: a control character in a string");
}

static void a_whole_number_may_be_written_with_decimals_or_an_exponent(void **state) {
        static const struct {
                const char *text;
                uint64_t value;
        } cases[] = {
                { "{\"number\":3e4}", 30000 },
                { "{\"number\":30000.0}", 30000 },
                { "{\"number\":-0}", 0 },
                { "{\"number\":1.5e1}", 15 },
                { "{\"number\":9007199254740992.0}", UINT64_C(1) << 53 },
                { "{\"number\":0}", 0 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                WireError error;
                Sample s = { .number = 1 };

                assert_int_equal(scan_exactly(slice_of(cases[i].text), fields, &s, &arena, &error), 0);
                assert_true(s.number == cases[i].value);
        }
}

static void what_rfc_8259_forbids_is_refused_with_its_place(void **state) {
        static const Verdict verdicts[] = {
                { "", "at byte 0: expected an object" },
                { "[]", "at byte 0: expected an object" },
                { "\xef\xbb\xbf{}", "at byte 0: expected an object" },
                { "{", "at byte 1: expected a member's name in quotes" },
                { "{}x", "at byte 2: something follows the object" },
                { "{} {}", "at byte 3: something follows the object" },
                { "{\"a\" 1}", "at byte 5: expected ':' after \"a\"" },
                { "{\"text\" 1}", "at byte 8: expected ':' after \"text\"" },
                { "{\"a\":1,}", "at byte 7: expected a member's name in quotes" },
                { "{\"a\":1 \"b\":2}", "at byte 7: expected ',' or '}'" },
                { "{\"a\":[1 2]}", "at byte 8: expected ',' or ']'" },
                { "{\"a\":[1,]}", "at byte 8: expected a value" },
                { "{\"a\":", "at byte 5: the text ends where a value is due" },
                { "{\"a\":tru}", "at byte 5: expected a value" },
                { "{\"a\":True}", "at byte 5: expected a value" },
                { "{\"a\":nul", "at byte 5: expected a value" },
                { "{a:1}", "at byte 1: expected a member's name in quotes" },
                { "{'a':1}", "at byte 1: expected a member's name in quotes" },
                { "{\"a\":01}", "at byte 5: a number with a leading zero" },
                { "{\"a\":-01}", "at byte 6: a number with a leading zero" },
                { "{\"a\":-}", "at byte 6: expected a digit" },
                { "{\"a\":+1}", "at byte 5: expected a value" },
                { "{\"a\":.5}", "at byte 5: expected a value" },
                { "{\"a\":1.}", "at byte 7: expected a digit after the decimal point" },
                { "{\"a\":1e}", "at byte 7: expected a digit in the exponent" },
                { "{\"a\":1e+}", "at byte 8: expected a digit in the exponent" },
                { "{\"a\":0x10}", "at byte 6: expected ',' or '}'" },
                { "{\"a\":NaN}", "at byte 5: expected a value" },
                { "{\"a\":\"x", "at byte 7: the text ends inside a string" },
                { "{\"a\":\"0123456789abcdef", "at byte 22: the text ends inside a string" },
                { "{\"a\":\"x\ny\"}", "at byte 7: a control character in a string" },
                { "{\"a\":\"0123456789abcdef\x1fy\"}", "at byte 22: a control character in a string" },
                { "{\"a\":\"\\x\"}", "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\\u12g4\"}", "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\\ud800\"}", "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\\ud800\\u0041\"}",
                        "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\\ud800\\ue000\"}",
                        "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\\udc00\"}", "at byte 6: an escape that JSON does not have, or half a surrogate pair" },
                { "{\"a\":\"\xc0\xaf\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\xe0\x80\xaf\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\xed\xa0\x80\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\xf4\x90\x80\x80\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\xf5\x80\x80\x80\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\xf0\x9f\x98\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":\"\x80\"}", "at byte 6: a byte that is not UTF-8" },
                { "{\"a\":1}\f", "at byte 7: something follows the object" },
                { "{\"a\":\"\x7f\xf4\x8f\xbf\xbf\xee\x80\x80\"}", NULL },
                { "{\"a\":[-0.0e-0,1E+9,0,[],{},\"\\udbff\\udfff\"]}", NULL },
        };

        (void)state;

        check_verdicts(verdicts, ELEMENTSOF(verdicts), fields);
}

static void a_refused_field_is_named_with_its_value_and_limit(void **state) {
        static const Verdict verdicts[] = {
                { "{\"limited\":101}", "limited is 101, the limit is 100" },
                { "{\"limited\":1e300}", "limited is 1e300, the limit is 100" },
                { "{\"limited\":1e999}", "limited is 1e999, the limit is 100" },
                { "{\"limited\":99999999999999999999999}", "limited is 99999999999999999999999, the limit is 100" },
                { "{\"limited\":-1}", "limited -1 is not a whole number from 0 on" },
                { "{\"limited\":1.5}", "limited 1.5 is not a whole number from 0 on" },
                { "{\"limited\":\"5\"}", "limited \"5\" is not a whole number from 0 on" },
                { "{\"number\":18446744073709551616}", "number 18446744073709551616 is too large" },
                { "{\"real\":1e999}", "real 1e999 is too large" },
                { "{\"real\":\"1\"}", "real \"1\" is not a number" },
                { "{\"flag\":1}", "flag 1 is neither true nor false" },
                { "{\"text\":7}", "text 7 is not a text" },
                { "{\"text\":\"a\\u0000b\"}", "text \"a\\u0000b\" has a NUL in it" },
                { "{\"id\":\"a b\"}", "id \"a b\" is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "{\"id\":\"\"}", "id \"\" is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "{\"id\":[1,\"x\"]}", "id [1,\"x\"] is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "{\"id\":\"a\\u0000\"}", "id \"a\\u0000\" has a NUL in it" },
                { "{\"subject\":\"a..b\"}", "subject \"a..b\" is not a subject" },
                { "{\"subject\":\"a.*\"}", "subject \"a.*\" is not a subject" },
                { "{\"subject\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "subject is 33 bytes long, the limit is 32" },
                { "{\"name\":\"blue\"}", "name \"blue\" is none of red, green" },
                { "{\"name\":\"\"}", "name \"\" is none of red, green" },
                { "{\"name\":\"red\\u0000\"}", "name \"red\\u0000\" is none of red, green" },
                { "{\"name\":1}", "name 1 is not a text" },
                { "{\"object\":[]}", "object [] is not an object" },
                { "{\"array\":{}}", "array {} is not an array" },
                { "{\"inner\":3}", "inner 3 is not an object" },
                { "{\"inner\":{\"text\":\"123456789\"}}", "inner.text is 9 bytes long, the limit is 8" },
                { "{\"inner\":{\"text\":\"12345678\"}}", NULL },
                { "{\"inner\":{\"deep\":{}}}", "inner.deep.need is missing" },
                { "{\"inner\":{\"deep\":{\"need\":null}}}", "inner.deep.need null is not a whole number from 0 on" },
                { "{\"inner\":{\"deep\":null}}", NULL },
                { "{\"text\":\"a\",\"text\":\"b\"}", "text is there twice" },
                { "{\"inner\":{},\"\\u0069nner\":null}", "inner is there twice" },
                { "{\"other\":1,\"other\":2}", NULL },
                { "{\"flag\":{\"a\":\"0123456789012345678901234567890123456789\xe2\x82\xac\xe2\x82\xac\"}}",
                        "flag {\"a\":\"0123456789012345678901234567890123456789... is neither true nor false" },
        };

        (void)state;

        check_verdicts(verdicts, ELEMENTSOF(verdicts), fields);
}

static void a_missing_required_field_is_named(void **state) {
        static const Verdict verdicts[] = {
                { "{}", "id is missing" },
                { "{\"id\":\"a\"}", "raw is missing" },
                { "{\"id\":null,\"raw\":1}", "id null is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "{\"raw\":0,\"id\":\"a\"}", NULL },
        };

        (void)state;

        check_verdicts(verdicts, ELEMENTSOF(verdicts), required_fields);
}

static void nesting_beyond_32_is_refused_and_32_is_not(void **state) {
        (void)state;

        for (size_t depth = 31; depth <= 34; depth++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                _cleanup_(buffer_done) Buffer text = { 0 };
                WireError error = { "" };
                Sample s = { 0 };
                int r;

                buffer_append_slice(&text, SLICE("{\"raw\":"));
                for (size_t i = 1; i < depth; i++)
                        buffer_append_char(&text, '[');
                for (size_t i = 1; i < depth; i++)
                        buffer_append_char(&text, ']');
                buffer_append_char(&text, '}');

                r = scan_exactly(buffer_slice(&text), fields, &s, &arena, &error);
                assert_int_equal(r, depth <= SCAN_DEPTH_MAX ? 0 : WIRE_E_INVALID);
                assert_string_equal(error.text, depth <= SCAN_DEPTH_MAX ? "" : "nested deeper than 32");
        }
}

static void a_million_brackets_need_no_stack(void **state) {
        const size_t n = 1000 * 1000;
        _cleanup_(free_charp) char *text = malloc(n);
        WireError error;
        Sample s = { 0 };
        Arena arena = { 0 };

        (void)state;

        assert_non_null(text);
        memset(text, '[', n);
        memcpy(text, "{\"a\":", 5);
        assert_int_equal(scan_object((Slice){ text, n }, fields, &s, &arena, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "nested deeper than 32");
}

static void every_prefix_of_a_message_is_refused(void **state) {
        static const char text[] =
                "{\"text\":\"\\ud83d\\ude00\xf0\x9f\x98\x80\",\"real\":-1.5e+3,\"inner\":{\"deep\":{\"need\":1}},"
                "\"array\":[true,false,null,{\"a\":[]}]}";

        (void)state;

        for (size_t size = 0; size < sizeof(text) - 1; size++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                WireError error;
                Sample s = { 0 };

                assert_int_equal(scan_exactly((Slice){ text, size }, fields, &s, &arena, &error), WIRE_E_INVALID);
        }
}

static void a_sentence_is_not_needed(void **state) {
        Arena arena = { 0 };
        Sample s = { 0 };

        (void)state;

        assert_int_equal(scan_object(SLICE("{\"limited\":101}"), fields, &s, &arena, NULL), WIRE_E_INVALID);
        assert_int_equal(scan_object(SLICE_NONE, fields, &s, &arena, NULL), WIRE_E_INVALID);
}

static void an_array_is_walked_element_by_element(void **state) {
        const Slice array = SLICE("[ 1 ,\"a,]\",[2,3] , {\"x\":[]}]");
        static const char *const expected[] = { "1", "\"a,]\"", "[2,3]", "{\"x\":[]}" };
        size_t cursor = 0, n = 0;
        Slice element;

        (void)state;

        while (scan_next(array, &cursor, &element))
                assert_text(element, expected[n++]);
        assert_int_equal(n, ELEMENTSOF(expected));
        assert_false(scan_next(array, &cursor, &element));

        cursor = 0;
        assert_false(scan_next(SLICE("[ ]"), &cursor, &element));
        assert_false(scan_next(SLICE_NONE, &cursor, &element));
}

static void an_object_is_walked_member_by_member(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        size_t cursor = 0;
        Slice key, value;

        (void)state;

        const Slice object = SLICE("{ \"a\" : 1, \"\\u0062\":\"x\" }");

        assert_int_equal(scan_next_member(object, &cursor, &arena, &key, &value), 1);
        assert_text(key, "a");
        assert_text(value, "1");
        assert_int_equal(scan_next_member(object, &cursor, &arena, &key, &value), 1);
        assert_text(key, "b");
        assert_text(value, "\"x\"");
        assert_int_equal(scan_next_member(object, &cursor, &arena, &key, &value), 0);

        cursor = 0;
        assert_int_equal(scan_next_member(SLICE("{}"), &cursor, &arena, &key, &value), 0);
        assert_int_equal(scan_next_member(SLICE_NONE, &cursor, &arena, &key, &value), 0);
}

static void a_raw_string_is_decoded_alone(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        Slice text = SLICE_NONE;

        (void)state;

        assert_int_equal(scan_text(SLICE("\"a\\nb\""), &arena, &text), 0);
        assert_text(text, "a\nb");
        assert_int_equal(scan_text(SLICE("\"\""), &arena, &text), 0);
        assert_text(text, "");
        assert_int_equal(scan_text(SLICE("1"), &arena, &text), WIRE_E_INVALID);
        assert_int_equal(scan_text(SLICE("\"a\" "), &arena, &text), WIRE_E_INVALID);
        assert_int_equal(scan_text(SLICE("\"\\u0000\""), &arena, &text), WIRE_E_INVALID);
        assert_int_equal(scan_text(SLICE_NONE, &arena, &text), WIRE_E_INVALID);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_kind_lands_in_its_member),
                cmocka_unit_test(what_is_left_out_or_null_keeps_its_default),
                cmocka_unit_test(a_required_raw_value_may_be_null),
                cmocka_unit_test(escapes_are_decoded_in_texts_and_in_names),
                cmocka_unit_test(a_name_that_only_begins_like_a_field_is_another_one),
                cmocka_unit_test(every_byte_is_judged_alike_wherever_it_stands),
                cmocka_unit_test(a_zero_byte_does_not_end_a_name),
                cmocka_unit_test(a_whole_number_may_be_written_with_decimals_or_an_exponent),
                cmocka_unit_test(what_rfc_8259_forbids_is_refused_with_its_place),
                cmocka_unit_test(a_refused_field_is_named_with_its_value_and_limit),
                cmocka_unit_test(a_missing_required_field_is_named),
                cmocka_unit_test(nesting_beyond_32_is_refused_and_32_is_not),
                cmocka_unit_test(a_million_brackets_need_no_stack),
                cmocka_unit_test(every_prefix_of_a_message_is_refused),
                cmocka_unit_test(a_sentence_is_not_needed),
                cmocka_unit_test(an_array_is_walked_element_by_element),
                cmocka_unit_test(an_object_is_walked_member_by_member),
                cmocka_unit_test(a_raw_string_is_decoded_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
