/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/run_queue.h"

static void within_a_class_the_first_in_is_the_first_out(void **state) {
        RunQueue queue = {};
        Run runs[3] = {};

        (void)state;

        assert_null(run_queue_pop(&queue));
        for (size_t i = 0; i < 3; i++) {
                runs[i].agent_class = AGENT_CLASS_BATCHED;
                run_queue_push(&queue, &runs[i]);
        }
        for (size_t i = 0; i < 3; i++)
                assert_ptr_equal(run_queue_pop(&queue), &runs[i]);
        assert_null(run_queue_pop(&queue));
        assert_int_equal(queue.n_runs, 0);
}

static void a_higher_class_goes_first(void **state) {
        RunQueue queue = {};
        Run low = { .agent_class = AGENT_CLASS_BACKGROUND }, middle = { .agent_class = AGENT_CLASS_BATCHED },
            high = { .agent_class = AGENT_CLASS_REALTIME };

        (void)state;

        run_queue_push(&queue, &low);
        run_queue_push(&queue, &middle);
        run_queue_push(&queue, &high);
        assert_ptr_equal(run_queue_pop(&queue), &high);
        assert_ptr_equal(run_queue_pop(&queue), &middle);
        assert_ptr_equal(run_queue_pop(&queue), &low);
}

/* Each class always has work: every turn, what was served comes back in. Time is counted in turns. */
static void no_class_starves_and_none_waits_beyond_its_patience(void **state) {
        RunQueue queue = {};
        Run runs[_AGENT_CLASS_MAX] = {};
        unsigned served[_AGENT_CLASS_MAX] = {}, waited[_AGENT_CLASS_MAX] = {}, longest[_AGENT_CLASS_MAX] = {};

        (void)state;

        for (unsigned c = 0; c < _AGENT_CLASS_MAX; c++) {
                runs[c].agent_class = (AgentClass)c;
                run_queue_push(&queue, &runs[c]);
        }
        for (int turn = 0; turn < 10000; turn++) {
                Run *run = run_queue_pop(&queue);

                for (unsigned c = 0; c < _AGENT_CLASS_MAX; c++) {
                        waited[c] = c == run->agent_class ? 0 : waited[c] + 1;
                        longest[c] = MAX_OF(longest[c], waited[c]);
                }
                served[run->agent_class]++;
                run_queue_push(&queue, run);
        }

        assert_true(served[AGENT_CLASS_REALTIME] > 8000);
        assert_in_range(served[AGENT_CLASS_BATCHED], 900, 1300);
        assert_in_range(served[AGENT_CLASS_BACKGROUND], 200, 300);
        assert_true(longest[AGENT_CLASS_BATCHED] <= run_queue_patience[AGENT_CLASS_BATCHED] + 1);
        assert_true(longest[AGENT_CLASS_BACKGROUND] <= run_queue_patience[AGENT_CLASS_BACKGROUND] + 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(within_a_class_the_first_in_is_the_first_out),
                cmocka_unit_test(a_higher_class_goes_first),
                cmocka_unit_test(no_class_starves_and_none_waits_beyond_its_patience),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
