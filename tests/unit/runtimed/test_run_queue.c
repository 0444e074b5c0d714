/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/run_queue.h"

/* Runs are static here: AddressSanitizer's stack does not keep to the alignment they want. */

static void within_a_class_the_first_in_is_the_first_out(void **state) {
        RunQueue queue = {};
        static Run runs[3];

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
        static Run low = { .agent_class = AGENT_CLASS_BACKGROUND }, middle = { .agent_class = AGENT_CLASS_BATCHED },
                   high = { .agent_class = AGENT_CLASS_REALTIME };

        (void)state;

        run_queue_push(&queue, &low);
        run_queue_push(&queue, &middle);
        run_queue_push(&queue, &high);
        assert_ptr_equal(run_queue_pop(&queue), &high);
        assert_ptr_equal(run_queue_pop(&queue), &middle);
        assert_ptr_equal(run_queue_pop(&queue), &low);
}

static void what_is_joined_goes_behind_what_is_there_in_its_class(void **state) {
        static Run runs[6];
        static const size_t order[] = { 1, 3, 0, 2, 4, 5 };
        RunQueue queue = {}, more = {};

        (void)state;

        for (size_t i = 0; i < 6; i++) {
                runs[i].agent_class = i == 1 || i == 3 ? AGENT_CLASS_REALTIME : AGENT_CLASS_BATCHED;
                run_queue_push(i < 2 ? &queue : &more, &runs[i]);
        }
        run_queue_join(&queue, &more);
        assert_int_equal(queue.n_runs, 6);
        assert_null(run_queue_pop(&more));
        run_queue_join(&queue, &more);
        for (size_t i = 0; i < ELEMENTSOF(order); i++)
                assert_ptr_equal(run_queue_pop(&queue), &runs[order[i]]);
        assert_null(run_queue_pop(&queue));
}

/* Each class always has work: every turn, what was served comes back in. Time is counted in turns. */
static void no_class_starves_and_none_waits_beyond_its_patience(void **state) {
        RunQueue queue = {};
        static Run runs[_AGENT_CLASS_MAX];
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

/*
 * A worker in virtual time: it takes a run, works on it until its turn is over, and puts it back, as the pool does;
 * every run always has mail. What each message costs is the run's own.
 */
typedef struct Load {
        Run run;
        uint64_t message_usec;
        uint64_t busy_usec, n_handled, ready_usec, longest_wait_usec;
} Load;

static uint64_t work_a_turn(RunQueue *queue, uint64_t now) {
        Run *run = run_queue_pop(queue);
        Load *load = CONTAINER_OF(run, Load, run);
        RunTurn turn;

        load->longest_wait_usec = MAX_OF(load->longest_wait_usec, now - load->ready_usec);
        run_turn_begin(&turn, run, now);
        do {
                now += load->message_usec;
                load->busy_usec += load->message_usec;
                load->n_handled++;
        } while (!run_turn_is_over(&turn, now));
        load->ready_usec = now;
        run_queue_push(queue, run);
        return now;
}

static void work_until(RunQueue *queue, uint64_t end_usec) {
        for (uint64_t now = 0; now < end_usec;)
                now = work_a_turn(queue, now);
}

static void a_background_run_gets_its_turn_however_many_realtime_runs_there_are(void **state) {
        enum { N_REALTIME = 1000 };
        static Load loads[N_REALTIME + 1];
        Load *background = &loads[N_REALTIME];
        RunQueue queue = {};

        (void)state;

        for (size_t i = 0; i <= N_REALTIME; i++) {
                const AgentClass class = i < N_REALTIME ? AGENT_CLASS_REALTIME : AGENT_CLASS_BACKGROUND;

                loads[i] = (Load){ .run = { .agent_class = class, .quantum = 64 }, .message_usec = 1000 };
                run_queue_push(&queue, &loads[i].run);
        }
        work_until(&queue, 60 * UINT64_C(1000000));

        /* passed over so often, and each of those turns as long as a turn can be */
        assert_true(background->longest_wait_usec <=
                    (run_queue_patience[AGENT_CLASS_BACKGROUND] + 1) * (RUN_TURN_USEC + background->message_usec));
        assert_in_range(background->busy_usec, 60 * 1000000 / 50, 60 * 1000000 / 35); /* of its patience: one in 41 */
        for (size_t i = 0; i < N_REALTIME; i++)
                assert_true(loads[i].n_handled > 0);
}

static void runs_of_one_class_get_equal_shares_of_the_time(void **state) {
        enum { N = 20 };
        static const uint64_t costs[] = { 100, 300, 700, 1000 };
        static Load loads[N];
        RunQueue queue = {};

        (void)state;

        for (size_t i = 0; i < N; i++) {
                loads[i] = (Load){ .run = { .agent_class = AGENT_CLASS_BATCHED, .quantum = 1000 },
                        .message_usec = costs[i % ELEMENTSOF(costs)] };
                run_queue_push(&queue, &loads[i].run);
        }
        work_until(&queue, 100 * UINT64_C(1000000));
        for (size_t i = 0; i < N; i++)
                assert_in_range(loads[i].busy_usec, 4500000, 5500000);
}

static void with_equal_quanta_fast_runs_handle_equally_many_messages(void **state) {
        enum { N = 7 };
        static Load loads[N];
        RunQueue queue = {};

        (void)state;

        for (size_t i = 0; i < N; i++) {
                loads[i] =
                        (Load){ .run = { .agent_class = AGENT_CLASS_REALTIME, .quantum = 64 }, .message_usec = 1 + i };
                run_queue_push(&queue, &loads[i].run);
        }
        work_until(&queue, 10 * UINT64_C(1000000));
        for (size_t i = 1; i < N; i++)
                assert_true(
                        loads[i].n_handled + 64 >= loads[0].n_handled && loads[i].n_handled <= loads[0].n_handled + 64);
}

static void a_slow_run_keeps_its_worker_for_one_turn_and_one_message_at_most(void **state) {
        static Load slow = { .run = { .agent_class = AGENT_CLASS_BATCHED, .quantum = 65536 }, .message_usec = 4000 };
        static Load quick = { .run = { .agent_class = AGENT_CLASS_BATCHED, .quantum = 1 }, .message_usec = 1 };
        RunQueue queue = {};

        (void)state;

        run_queue_push(&queue, &slow.run);
        run_queue_push(&queue, &quick.run);
        work_until(&queue, 1000000);
        assert_true(quick.longest_wait_usec <= RUN_TURN_USEC + slow.message_usec);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(within_a_class_the_first_in_is_the_first_out),
                cmocka_unit_test(a_higher_class_goes_first),
                cmocka_unit_test(what_is_joined_goes_behind_what_is_there_in_its_class),
                cmocka_unit_test(no_class_starves_and_none_waits_beyond_its_patience),
                cmocka_unit_test(a_background_run_gets_its_turn_however_many_realtime_runs_there_are),
                cmocka_unit_test(runs_of_one_class_get_equal_shares_of_the_time),
                cmocka_unit_test(with_equal_quanta_fast_runs_handle_equally_many_messages),
                cmocka_unit_test(a_slow_run_keeps_its_worker_for_one_turn_and_one_message_at_most),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
