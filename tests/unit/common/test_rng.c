/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/rng.h"

static void the_same_seed_gives_the_same_numbers(void **state) {
        Rng a, b, c;

        (void)state;

        rng_seed(&a, 42);
        rng_seed(&b, 42);
        rng_seed(&c, 43);
        for (size_t i = 0; i < 1000; i++)
                assert_true(rng_next(&a) == rng_next(&b));
        assert_true(rng_next(&a) != rng_next(&c));
}

/* The authors' C code, state {1, 2, 3, 4}. */
static void the_numbers_are_those_of_xoshiro256_star_star(void **state) {
        static const uint64_t expected[] = { 11520, 0, 1509978240, 1215971899390074240 };
        Rng rng = { { 1, 2, 3, 4 } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                assert_true(rng_next(&rng) == expected[i]);
}

static void below_stays_below_and_reaches_every_value_about_as_often(void **state) {
        unsigned counts[7] = { 0 };
        Rng rng;

        (void)state;

        rng_seed(&rng, 7);
        for (size_t i = 0; i < 70000; i++) {
                const uint64_t n = rng_below(&rng, ELEMENTSOF(counts));

                assert_true(n < ELEMENTSOF(counts));
                counts[n]++;
        }
        for (size_t i = 0; i < ELEMENTSOF(counts); i++)
                assert_in_range(counts[i], 9500, 10500);
        assert_int_equal(rng_below(&rng, 1), 0);
        assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

static void jitter_stays_within_its_percentage_and_never_overflows(void **state) {
        uint64_t low = UINT64_MAX, high = 0;
        Rng rng;

        (void)state;

        rng_seed(&rng, 7);
        for (size_t i = 0; i < 10000; i++) {
                const uint64_t n = rng_jitter(&rng, 1000, 20);

                low = MIN_OF(low, n);
                high = MAX_OF(high, n);
                assert_true(rng_jitter(&rng, UINT64_MAX, 50) >= UINT64_MAX / 2 - 100);
        }
        assert_in_range(low, 800, 810);
        assert_in_range(high, 1190, 1200);
        assert_int_equal(rng_jitter(&rng, 1000, 0), 1000);
        assert_int_equal(rng_jitter(&rng, 0, 50), 0);
}

static void the_system_seeds_differently_each_time(void **state) {
        Rng a, b;
        Id id;

        (void)state;

        assert_int_equal(rng_seed_from_system(&a), 0);
        assert_int_equal(rng_seed_from_system(&b), 0);
        assert_true(rng_next(&a) != rng_next(&b));
        id = rng_id(&a);
        assert_true(id_is_valid(id_slice(&id)));
        assert_int_equal(id.size, ID_GENERATED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_same_seed_gives_the_same_numbers),
                cmocka_unit_test(the_numbers_are_those_of_xoshiro256_star_star),
                cmocka_unit_test(below_stays_below_and_reaches_every_value_about_as_often),
                cmocka_unit_test(jitter_stays_within_its_percentage_and_never_overflows),
                cmocka_unit_test(the_system_seeds_differently_each_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
