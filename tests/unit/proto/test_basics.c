/* SPDX-License-Identifier: MIT */

/* buffer, arena, id, error_code, wire_error, utf8 */

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/arena.h"
#include "proto/buffer.h"
#include "proto/error_code.h"
#include "proto/id.h"
#include "proto/utf8.h"
#include "proto/wire_error.h"

static void a_buffer_grows_and_keeps_its_content(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        for (size_t i = 0; i < 10000; i++)
                buffer_append_char(&b, (char)('a' + i % 26));
        buffer_printf(&b, "%d-%s", 42, "x");
        assert_int_equal(b.size, 10004);
        assert_memory_equal(b.data + 9999, "p42-x", 5);

        buffer_clear(&b);
        assert_int_equal(buffer_slice(&b).size, 0);
        assert_true(b.capacity >= 10004);
}

static void an_impossible_size_fails_the_buffer_and_later_appends_do_nothing(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        buffer_append_slice(&b, SLICE("kept"));
        assert_int_equal(buffer_reserve(&b, SIZE_MAX - 2), -ENOMEM);
        assert_true(b.failed);
        buffer_append_slice(&b, SLICE("lost"));
        buffer_printf(&b, "%s", "lost");
        assert_true(slice_equal(buffer_slice(&b), SLICE("kept")));

        buffer_clear(&b);
        buffer_append_slice(&b, SLICE("again"));
        assert_false(b.failed);
        assert_true(slice_equal(buffer_slice(&b), SLICE("again")));
}

static void what_an_arena_gave_never_moves_or_overlaps(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        char *places[200];

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                places[i] = arena_alloc(&arena, i * 17);
                assert_non_null(places[i]);
                assert_int_equal((uintptr_t)places[i] % _Alignof(max_align_t), 0);
                memset(places[i], (int)i, i * 17);
        }
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                for (size_t j = 0; j < i * 17; j++)
                        assert_int_equal((unsigned char)places[i][j], i);

        assert_null(arena_alloc(&arena, SIZE_MAX));
        assert_null(arena_alloc(&arena, SIZE_MAX - 64));
        arena_clear(&arena);
        assert_non_null(arena_alloc(&arena, 0));
}

static void an_id_is_one_to_64_of_its_alphabet(void **state) {
        static const char longest[] = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABC-_Z";

        (void)state;

        assert_true(id_is_valid(SLICE("a")));
        assert_true(id_is_valid(slice_of(longest)));
        assert_false(id_is_valid(SLICE("0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABC-_Zx")));
        assert_false(id_is_valid(SLICE("")));
        assert_false(id_is_valid(SLICE_NONE));
        for (unsigned c = 0; c < 256; c++) {
                const char text[] = { 'a', (char)c, 'b' };
                const bool expected =
                        c != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", (int)c);

                assert_int_equal(id_is_valid((Slice){ text, 3 }), expected);
        }
        assert_true(id_equal(&(Id){ .text = "ab", .size = 2 }, id_slice(&(Id){ .text = "ab", .size = 2 })));
}

static void generated_ids_are_valid_and_differ_where_the_words_do(void **state) {
        const Id zero = id_from_random(0, 0), one = id_from_random(0, 1), high = id_from_random(1, 0);
        const Id most = id_from_random(UINT64_MAX, UINT64_MAX), less = id_from_random(UINT64_MAX, UINT64_MAX - 1);
        Id again = id_from_random(UINT64_MAX, UINT64_MAX);

        (void)state;

        assert_int_equal(most.size, ID_GENERATED);
        assert_true(id_is_valid(id_slice(&most)) && id_is_valid(id_slice(&zero)));
        assert_false(id_equal(&zero, id_slice(&one)));
        assert_false(id_equal(&one, id_slice(&high)));
        assert_false(id_equal(&most, id_slice(&less)));
        assert_true(id_equal(&most, id_slice(&again)));
        assert_int_equal(most.text[ID_GENERATED], '\0');
        assert_true(id_equal(&zero, SLICE("0000000000000000")));
        again = id_from_random(61, 62 * 62 + 10);
        assert_true(id_equal(&again, SLICE("z0000000A0100000"))); /* digits of base 62, the lowest first */
}

static void every_error_code_is_found_by_its_name(void **state) {
        (void)state;

        for (unsigned code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++) {
                assert_int_equal(error_code_from_name(slice_of(error_code_name((ErrorCode)code))), code);
                assert_true(error_code_number((ErrorCode)code) >= 400 && error_code_number((ErrorCode)code) < 600);
                assert_non_null(error_code_meaning((ErrorCode)code));
                assert_string_equal(error_code_names[code], error_code_name((ErrorCode)code));
        }
        assert_int_equal(error_code_from_name(SLICE("NO_SUCH")), ERROR_NONE);
        assert_int_equal(error_code_from_name(SLICE("")), ERROR_NONE);
        assert_int_equal(error_code_from_name(SLICE_NONE), ERROR_NONE);
        assert_null(error_code_name(ERROR_NONE));
        assert_null(error_code_names[_ERROR_CODE_MAX]);
}

static bool is_utf8(const char *text) {
        const char *at = text, *const end = text + strlen(text);

        while (at < end) {
                const size_t n = utf8_size(at, end);

                if (n == 0)
                        return false;
                at += n;
        }
        return true;
}

static void a_sentence_is_cut_between_characters(void **state) {
        WireError error;
        char text[400];

        (void)state;

        for (size_t shift = 0; shift < 5; shift++) {
                memset(text, 'x', sizeof(text));
                for (size_t i = shift; i + 4 < sizeof(text); i += 4)
                        memcpy(text + i, "\xf0\x9f\x98\x80", 4);
                text[sizeof(text) - 1] = '\0';
                assert_int_equal(wire_error(&error, "%s", text), WIRE_E_INVALID);
                assert_true(is_utf8(error.text));
                assert_true(strlen(error.text) > sizeof(error.text) - 5);
                assert_null(strchr(error.text, '?'));
        }
}

static void a_sentence_has_no_control_characters_and_no_broken_utf8(void **state) {
        WireError error;

        (void)state;

        (void)wire_error(&error, "%s", "a\r\nb\x1b[1m\xff caf\xc3\xa9 \xc3");
        assert_string_equal(error.text, "a??b?[1m? caf\xc3\xa9 ?");
        assert_int_equal(wire_error_within(&error, "execution", 3), WIRE_E_INVALID);
        assert_string_equal(error.text, "execution 3: a??b?[1m? caf\xc3\xa9 ?");
        assert_int_equal(wire_error(NULL, "nobody reads this"), WIRE_E_INVALID);
}

static void every_code_point_is_read_as_it_was_put(void **state) {
        (void)state;

        for (uint32_t code = 0; code <= 0x10FFFF; code++) {
                char text[4];
                size_t n;

                if (code >= 0xD800 && code <= 0xDFFF)
                        continue;
                n = utf8_put(text, code);
                if (utf8_size(text, text + n) != n || (n > 1 && utf8_size(text, text + n - 1) != 0))
                        fail_msg("U+%04X", code);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_buffer_grows_and_keeps_its_content),
                cmocka_unit_test(an_impossible_size_fails_the_buffer_and_later_appends_do_nothing),
                cmocka_unit_test(what_an_arena_gave_never_moves_or_overlaps),
                cmocka_unit_test(an_id_is_one_to_64_of_its_alphabet),
                cmocka_unit_test(generated_ids_are_valid_and_differ_where_the_words_do),
                cmocka_unit_test(every_error_code_is_found_by_its_name),
                cmocka_unit_test(a_sentence_is_cut_between_characters),
                cmocka_unit_test(a_sentence_has_no_control_characters_and_no_broken_utf8),
                cmocka_unit_test(every_code_point_is_read_as_it_was_put),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
