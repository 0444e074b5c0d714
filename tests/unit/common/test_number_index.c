/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/number_index.h"
#include "common/rng.h"

#define N 500

/* Against the plainest model there is: each object's number, and all that are over. */
static void a_number_finds_its_object_and_is_never_used_twice(void **state) {
        static Numbered objects[N];
        static uint64_t over[20000];
        NumberIndex index;
        uint64_t latest = 0;
        size_t n = 0, n_over = 0, cursor = 0;
        Rng rng;

        (void)state;

        rng_seed(&rng, 3);
        number_index_init(&index);
        for (size_t i = 0; i < ELEMENTSOF(over); i++) {
                Numbered *object = &objects[rng_below(&rng, N)];

                if (object->number == 0) {
                        assert_int_equal(number_index_add(&index, object), 0);
                        assert_true(object->number >> 24 > latest >> 24);
                        latest = object->number;
                        n++;
                } else {
                        over[n_over++] = object->number;
                        number_index_remove(&index, object);
                        n--;
                }
                assert_int_equal(index.n, n);
                for (size_t k = 0; k < N; k += 7)
                        assert_ptr_equal(number_index_find(&index, objects[k].number),
                                objects[k].number > 0 ? &objects[k] : NULL);
                if (n_over > 0)
                        assert_null(number_index_find(&index, over[rng_below(&rng, n_over)]));
        }
        while (number_index_next(&index, &cursor))
                n--;
        assert_int_equal(n, 0);
        number_index_done(&index);
}

static void all_may_be_removed_while_they_are_walked(void **state) {
        static Numbered objects[N];
        NumberIndex index;
        size_t cursor = 0, n = 0;
        Numbered *object;

        (void)state;

        number_index_init(&index);
        for (size_t i = 0; i < N; i++)
                assert_int_equal(number_index_add(&index, &objects[i]), 0);
        while ((object = number_index_next(&index, &cursor))) {
                number_index_remove(&index, object);
                n++;
        }
        assert_int_equal(n, N);
        assert_int_equal(index.n, 0);
        number_index_done(&index);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_number_finds_its_object_and_is_never_used_twice),
                cmocka_unit_test(all_may_be_removed_while_they_are_walked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
