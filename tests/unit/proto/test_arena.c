/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/arena.h"

static void what_is_allocated_never_moves(void **state) {
        static char *places[300];
        Arena arena = { 0 };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                size_t size = i % 50 == 0 ? 5000 : i;

                places[i] = arena_alloc(&arena, size);
                assert_non_null(places[i]);
                memset(places[i], (int)i, size);
        }
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                for (size_t at = 0; at < (i % 50 == 0 ? 5000 : i); at++)
                        assert_int_equal((unsigned char)places[i][at], i % 256);
        arena_clear(&arena);
        assert_null(arena.chunks);
}

static void after_a_reset_the_same_memory_serves_again(void **state) {
        Arena arena = { 0 };
        const void *first = arena_alloc(&arena, 10);

        (void)state;

        for (size_t round = 0; round < 3; round++) {
                arena_reset(&arena);
                assert_ptr_equal(arena_alloc(&arena, 10), first);
                assert_true(arena_alloc(&arena, 10) != first);
        }
        arena_clear(&arena);
        arena_reset(&arena);
        assert_null(arena.chunks);
}

/* Whatever a message needed, no more than one chunk is kept after it. */
static void a_reset_keeps_no_large_text(void **state) {
        Arena arena = { 0 };

        (void)state;

        assert_non_null(arena_alloc(&arena, 100000));
        arena_reset(&arena);
        assert_null(arena.chunks);
        for (size_t i = 0; i < 100; i++)
                assert_non_null(arena_alloc(&arena, i % 10 == 0 ? 10000 : 1000));
        arena_reset(&arena);
        assert_non_null(arena_alloc(&arena, 1000));
        arena_reset(&arena);
        arena_clear(&arena);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_allocated_never_moves),
                cmocka_unit_test(after_a_reset_the_same_memory_serves_again),
                cmocka_unit_test(a_reset_keeps_no_large_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
