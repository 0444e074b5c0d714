/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/deadline.h"
#include "common/rng.h"

static void the_earliest_moment_comes_first_and_equal_ones_in_the_order_they_were_armed(void **state) {
        static const uint64_t moments[] = { 30, 10, 20, 10, 10 };
        static const int expected[] = { 1, 3, 4, 2, 0 };
        DeadlineQueue queue;
        Deadline deadlines[ELEMENTSOF(moments)];

        (void)state;

        deadline_queue_init(&queue);
        assert_true(deadline_queue_next(&queue) == USEC_NEVER);
        for (size_t i = 0; i < ELEMENTSOF(moments); i++) {
                deadline_init(&deadlines[i], (int)i);
                deadline_arm(&queue, &deadlines[i], moments[i]);
        }
        assert_int_equal(deadline_queue_next(&queue), 10);
        assert_null(deadline_queue_pop(&queue, 9));
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                const Deadline *deadline = deadline_queue_pop(&queue, 30);

                assert_non_null(deadline);
                assert_int_equal(deadline->kind, expected[i]);
                assert_true(deadline->usec == USEC_NEVER);
        }
        assert_null(deadline_queue_pop(&queue, USEC_NEVER));
}

static void arming_again_moves_it_behind_its_equals(void **state) {
        DeadlineQueue queue;
        Deadline a, b;

        (void)state;

        deadline_queue_init(&queue);
        deadline_init(&a, 0);
        deadline_init(&b, 1);
        deadline_arm(&queue, &a, 5);
        deadline_arm(&queue, &b, 5);
        deadline_arm(&queue, &a, 5);
        assert_ptr_equal(deadline_queue_pop(&queue, 5), &b);
        assert_ptr_equal(deadline_queue_pop(&queue, 5), &a);
}

static void never_disarms_and_disarming_twice_is_harmless(void **state) {
        DeadlineQueue queue;
        Deadline a;

        (void)state;

        deadline_queue_init(&queue);
        deadline_init(&a, 0);
        deadline_arm(&queue, &a, 5);
        deadline_arm(&queue, &a, USEC_NEVER);
        deadline_disarm(&queue, &a);
        assert_true(deadline_queue_next(&queue) == USEC_NEVER);
        assert_null(deadline_queue_pop(&queue, USEC_NEVER));
}

static void ten_thousand_random_moments_come_out_sorted(void **state) {
        enum { N = 10000 };
        static Deadline deadlines[N];
        DeadlineQueue queue;
        uint64_t last = 0;
        size_t n = 0;
        Rng rng;

        (void)state;

        rng_seed(&rng, 1);
        deadline_queue_init(&queue);
        for (size_t i = 0; i < N; i++) {
                deadline_init(&deadlines[i], 0);
                deadline_arm(&queue, &deadlines[i], rng_below(&rng, 1000));
        }
        for (size_t i = 0; i < N; i += 3)
                deadline_disarm(&queue, &deadlines[i]);
        for (uint64_t next; (next = deadline_queue_next(&queue)) != USEC_NEVER; n++) {
                assert_true(next >= last);
                last = next;
                assert_non_null(deadline_queue_pop(&queue, next));
        }
        assert_int_equal(n, N - (N + 2) / 3);
}

static void what_stands_in_line_comes_between_what_does_not(void **state) {
        static const struct {
                uint64_t usec;
                bool in_line;
        } armed[] = { { 30, true }, { 10, false }, { 20, true }, { 30, false }, { 30, true }, { 40, false },
                { 50, true } };
        static const int expected[] = { 1, 2, 0, 3, 4, 5, 6 };
        DeadlineQueue queue;
        Deadline deadlines[ELEMENTSOF(armed)];

        (void)state;

        deadline_queue_init(&queue);
        for (size_t i = 0; i < ELEMENTSOF(armed); i++) {
                deadline_init(&deadlines[i], (int)i);
                if (armed[i].in_line)
                        deadline_arm_in_line(&queue, &deadlines[i], armed[i].usec);
                else
                        deadline_arm(&queue, &deadlines[i], armed[i].usec);
        }
        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                assert_int_equal(deadline_queue_pop(&queue, 50)->kind, expected[i]);
        assert_true(deadline_queue_next(&queue) == USEC_NEVER);
        deadline_arm_in_line(&queue, &deadlines[0], USEC_NEVER);
        assert_true(deadline_queue_next(&queue) == USEC_NEVER);
}

/* The same steps for two queues, of which one never lets anything stand in line. */
static void a_line_changes_nothing_but_the_cost(void **state) {
        enum { N = 50 };
        Deadline mixed[N], plain[N];
        DeadlineQueue a, b;
        Rng rng;

        (void)state;

        rng_seed(&rng, 2);
        deadline_queue_init(&a);
        deadline_queue_init(&b);
        for (int i = 0; i < N; i++) {
                deadline_init(&mixed[i], i);
                deadline_init(&plain[i], i);
        }
        for (uint64_t now = 0; now < 20000; now++) {
                size_t i = rng_below(&rng, N);
                uint64_t usec = now + (rng_below(&rng, 4) == 0 ? rng_below(&rng, 100) : 30);
                const Deadline *due;

                if (rng_below(&rng, 5) == 0) {
                        deadline_disarm(&a, &mixed[i]);
                        deadline_disarm(&b, &plain[i]);
                } else {
                        if (rng_below(&rng, 3) > 0)
                                deadline_arm_in_line(&a, &mixed[i], usec);
                        else
                                deadline_arm(&a, &mixed[i], usec);
                        deadline_arm(&b, &plain[i], usec);
                }
                assert_true(deadline_queue_next(&a) == deadline_queue_next(&b));
                while ((due = deadline_queue_pop(&a, now)))
                        assert_int_equal(due->kind, deadline_queue_pop(&b, now)->kind);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_earliest_moment_comes_first_and_equal_ones_in_the_order_they_were_armed),
                cmocka_unit_test(arming_again_moves_it_behind_its_equals),
                cmocka_unit_test(never_disarms_and_disarming_twice_is_harmless),
                cmocka_unit_test(ten_thousand_random_moments_come_out_sorted),
                cmocka_unit_test(what_stands_in_line_comes_between_what_does_not),
                cmocka_unit_test(a_line_changes_nothing_but_the_cost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
