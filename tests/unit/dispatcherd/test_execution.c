/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "common/rng.h"
#include "dispatcherd/execution.h"

#define HISTORY_MAX 4
#define KIND 3

typedef struct Fixture {
        DeadlineQueue deadlines;
        ExecutionTable *table;
        Runtime runtime; /* only its list and its count are used */
} Fixture;

static void fixture_init(Fixture *f) {
        *f = (Fixture){ 0 };
        deadline_queue_init(&f->deadlines);
        LIST_INIT(&f->runtime.executions);
        assert_int_equal(execution_table_new(&f->deadlines, KIND, HISTORY_MAX, /* seed= */ 1, &f->table), 0);
}

static void check(const Fixture *f) {
        const char *broken = execution_table_check(f->table);

        if (broken)
                fail_msg("%s", broken);
}

static void fixture_done(Fixture *f) {
        check(f);
        execution_table_free(f->table);
        assert_true(LIST_EMPTY(&f->runtime.executions));
        assert_int_equal(f->runtime.own_in_flight, 0);
        assert_true(deadline_queue_next(&f->deadlines) == USEC_NEVER);
}

static Execution *add(Fixture *f, const char *exec_id, const char *agent_id, const char *labels, uint64_t priority,
        uint64_t received) {
        Execution *execution;
        Parcel *parcel = parcel_new(f->table, SLICE("body"), SLICE("reply"), SLICE("headers"));

        assert_non_null(parcel);
        parcel->trigger = (Trigger){ .labels = slice_of(labels) };
        assert_int_equal(execution_add(f->table, slice_of(exec_id), &execution), 0);
        execution->agent_id = id_of(slice_of(agent_id));
        execution->priority = priority;
        execution->order = execution_order(received, priority);
        execution_own(f->table, execution, parcel);
        deadline_arm(&f->deadlines, &execution->deadline, received + USEC_PER_SEC);
        return execution;
}

static Execution *waiting(Fixture *f, const char *exec_id, const char *agent_id, const char *labels, uint64_t priority,
        uint64_t received) {
        Execution *execution = add(f, exec_id, agent_id, labels, priority, received);

        assert_int_equal(execution_wait(f->table, execution), 0);
        check(f);
        return execution;
}

static void a_parcel_holds_copies_of_the_parts(void **state) {
        char text[] = "body";
        Fixture f;
        Parcel *parcel;

        (void)state;

        fixture_init(&f);
        parcel = parcel_new(f.table, slice_of(text), SLICE_NONE, SLICE("headers"));
        text[0] = 'x';
        assert_int_equal(parcel->size, 11);
        assert_true(slice_equal(parcel->body, SLICE("body")));
        assert_null(parcel->reply.data);
        assert_true(slice_equal(parcel->headers, SLICE("headers")));
        assert_null(parcel_free(f.table, parcel));

        parcel = parcel_new(f.table, SLICE_NONE, SLICE_NONE, SLICE_NONE);
        assert_int_equal(parcel->size, 0);
        assert_null(parcel_free(f.table, parcel));
        assert_int_equal(execution_table_bytes(f.table), 0);
        fixture_done(&f);
}

/* Small ones are used again, the last first and with nothing of their former life; large ones go back to the system. */
static void parcels_are_used_again(void **state) {
        static char large[100000];
        Fixture f;
        Parcel *parcels[600];

        (void)state;

        fixture_init(&f);
        for (size_t round = 0; round < 3; round++) {
                for (size_t i = 0; i < ELEMENTSOF(parcels); i++) {
                        size_t size = i % 3 == 0 ? sizeof(large) : i;

                        memset(large, (int)i, size);
                        parcels[i] = parcel_new(f.table, (Slice){ large, size }, SLICE_NONE, SLICE("h"));
                        assert_non_null(parcels[i]);
                        assert_null(parcels[i]->labels);
                        assert_null(parcels[i]->reply_to.data);
                        assert_non_null(arena_alloc(&parcels[i]->arena, 10));
                }
                for (size_t i = 0; i < ELEMENTSOF(parcels); i++) {
                        for (size_t at = 0; at < parcels[i]->body.size; at += 97)
                                assert_int_equal((unsigned char)parcels[i]->body.data[at], i % 256);
                        assert_null(parcel_free(f.table, parcels[i]));
                }
        }
        parcels[0] = parcel_new(f.table, SLICE("a"), SLICE_NONE, SLICE_NONE);
        assert_null(parcel_free(f.table, parcels[0]));
        assert_ptr_equal(parcel_new(f.table, SLICE("b"), SLICE_NONE, SLICE_NONE), parcels[0]);
        assert_null(parcel_free(f.table, parcels[0]));
        assert_null(parcel_free(f.table, NULL));
        fixture_done(&f);
}

static void the_queue_goes_by_priority_and_then_by_arrival(void **state) {
        static const struct {
                const char *exec_id;
                uint64_t priority, received_ms;
        } in[] = { { "late", 50, 1000 }, { "low", 0, 0 }, { "high", 100, 2000 }, { "early", 50, 999 },
                { "twin", 50, 1000 }, { "older-low", 0, 2000 } };
        /* A low priority costs 5 s to the highest: "low" of 0 ms counts like a "high" of 5000 ms. */
        static const char *const out[] = { "high", "early", "late", "twin", "low", "older-low" };
        Fixture f;

        (void)state;

        fixture_init(&f);
        for (size_t i = 0; i < ELEMENTSOF(in); i++)
                waiting(&f, in[i].exec_id, "a", NULL, in[i].priority, in[i].received_ms * USEC_PER_MSEC);
        for (size_t i = 0; i < ELEMENTSOF(out); i++) {
                Execution *execution = demand_head(demand_first(f.table));

                assert_string_equal(execution->exec_id.text, out[i]);
                execution_unwait(f.table, execution);
                execution_end(f.table, execution, STATUS_SUCCESS, ERROR_NONE, 0);
                check(&f);
        }
        assert_null(demand_first(f.table));
        fixture_done(&f);
}

static void the_lowest_priority_is_never_starved_by_newcomers(void **state) {
        uint64_t low = execution_order(0, 0);

        (void)state;

        assert_true(low > execution_order(0, 100));
        assert_true(low > execution_order(4999 * USEC_PER_MSEC, 100));
        assert_true(low < execution_order(5001 * USEC_PER_MSEC, 100));
}

static void demands_come_in_the_order_of_their_first(void **state) {
        Fixture f;
        Demand *demand;
        Execution *first_of_a, *of_b;

        (void)state;

        fixture_init(&f);
        first_of_a = waiting(&f, "a1", "a", NULL, 50, 10);
        waiting(&f, "a2", "a", NULL, 50, 40);
        of_b = waiting(&f, "b1", "b", NULL, 50, 20);
        waiting(&f, "la", "a", "{\"zone\":\"x\"}", 50, 30);

        demand = demand_first(f.table);
        assert_ptr_equal(demand_head(demand), first_of_a);
        assert_int_equal(demand->n_waiting, 2);
        demand = demand_after(f.table, demand->order, demand->sequence);
        assert_ptr_equal(demand_head(demand), of_b);
        demand = demand_after(f.table, demand->order, demand->sequence);
        assert_string_equal(demand_head(demand)->exec_id.text, "la");
        assert_null(demand_after(f.table, demand->order, demand->sequence));

        execution_unwait(f.table, first_of_a);
        assert_ptr_equal(demand_head(demand_first(f.table)), of_b);
        assert_int_equal(execution_wait(f.table, first_of_a), 0);
        assert_ptr_equal(demand_head(demand_first(f.table)), first_of_a);
        fixture_done(&f);
}

static void what_ended_is_remembered_as_long_as_the_history_reaches(void **state) {
        Fixture f;
        char id[8];

        (void)state;

        fixture_init(&f);
        for (unsigned i = 0; i < 10; i++) {
                Execution *execution;

                (void)snprintf(id, sizeof(id), "e%u", i);
                execution = add(&f, id, "a", NULL, 50, 0);
                assert_true(execution_table_bytes(f.table) > 0);
                execution_end(f.table, execution, STATUS_FAILURE, ERROR_NO_RUNTIME, i);
                check(&f);
        }
        assert_int_equal(execution_table_bytes(f.table), 0);
        for (unsigned i = 0; i < 10; i++) {
                (void)snprintf(id, sizeof(id), "e%u", i);
                assert_int_equal(execution_find(f.table, slice_of(id)) != NULL, i >= 10 - HISTORY_MAX);
        }
        fixture_done(&f);
}

static void a_recycled_execution_remembers_nothing(void **state) {
        Fixture f;
        Execution *execution;

        (void)state;

        fixture_init(&f);
        for (unsigned i = 0; i < 2 * HISTORY_MAX; i++) {
                char id[8];

                (void)snprintf(id, sizeof(id), "e%u", i);
                execution = add(&f, id, "a", "{}", 100, 1);
                assert_int_equal(
                        execution->attempt + execution->n_tries + execution->n_followers + execution->answered, 0);
                assert_false(execution->started || execution->heard);
                assert_int_equal(execution->phase, PHASE_WAITING);
                assert_int_equal(execution_follow(execution, SLICE("reply.2")), 0);
                execution->attempt = execution->n_tries = 7;
                execution->started = execution->heard = true;
                execution->answered = 3;
                execution_end(f.table, execution, STATUS_SUCCESS, ERROR_NONE, 0);
        }
        fixture_done(&f);
}

static void a_revived_execution_keeps_its_attempts_and_nothing_else(void **state) {
        Fixture f;
        Execution *execution;
        Parcel *parcel;

        (void)state;

        fixture_init(&f);
        execution = add(&f, "e", "a", "{}", 50, 1);
        execution->attempt = 2;
        assert_int_equal(execution_follow(execution, SLICE("reply.2")), 0);
        execution_end(f.table, execution, STATUS_FAILURE, ERROR_RUNTIME_LOST, 9);
        assert_null(execution->parcel);
        execution_revive(f.table, execution);
        assert_int_equal(execution->phase, PHASE_WAITING);
        assert_int_equal(execution->attempt, 2);
        assert_int_equal(execution->n_followers, 0);
        assert_int_equal(execution->status, STATUS_NONE);
        parcel = parcel_new(f.table, SLICE("again"), SLICE_NONE, SLICE_NONE);
        parcel->trigger = (Trigger){};
        execution_own(f.table, execution, parcel);
        deadline_arm(&f.deadlines, &execution->deadline, 1);
        assert_int_equal(execution_wait(f.table, execution), 0);
        check(&f);
        fixture_done(&f);
}

static void no_more_followers_than_the_limit(void **state) {
        Fixture f;
        Execution *execution;

        (void)state;

        fixture_init(&f);
        execution = add(&f, "e", "a", NULL, 50, 1);
        for (unsigned i = 0; i < FOLLOWERS_MAX; i++)
                assert_int_equal(execution_follow(execution, SLICE("reply")), 0);
        assert_int_equal(execution_follow(execution, SLICE("reply")), -ENOSPC);
        assert_int_equal(execution->n_followers, FOLLOWERS_MAX);
        fixture_done(&f);
}

/* Anything in any order, with the invariants checked after each step, and freed from wherever it got to. */
static void the_counts_hold_whatever_happens(void **state) {
        static const char *const agents[] = { "a", "b", "c" };
        Fixture f;
        Rng rng;

        (void)state;

        rng_seed(&rng, 3);
        fixture_init(&f);
        for (unsigned step = 0; step < 5000; step++) {
                char id[8];
                Execution *execution;

                (void)snprintf(id, sizeof(id), "e%u", (unsigned)rng_below(&rng, 20));
                execution = execution_find(f.table, slice_of(id));
                if (!execution) {
                        execution = add(&f, id, agents[rng_below(&rng, 3)], NULL, rng_below(&rng, 101), step);
                        assert_int_equal(execution_wait(f.table, execution), 0);
                } else if (execution->phase == PHASE_ENDED) {
                        execution_drop(f.table, execution);
                } else if (execution->phase == PHASE_IN_FLIGHT) {
                        execution_detach(f.table, execution);
                        if (rng_below(&rng, 2) == 0)
                                execution_end(f.table, execution, STATUS_SUCCESS, ERROR_NONE, step);
                        else
                                assert_int_equal(execution_wait(f.table, execution), 0);
                } else {
                        execution_unwait(f.table, execution);
                        execution_attach(f.table, execution, &f.runtime);
                }
                check(&f);
                assert_int_equal(f.runtime.own_in_flight, execution_table_n_in_flight(f.table));
        }
        fixture_done(&f);
}

static void what_marks_an_answer_as_an_error_is_not_passed_on_with_a_trigger(void **state) {
        Fixture f;
        Parcel *parcel;

        (void)state;
        fixture_init(&f);
        parcel = parcel_new(f.table, SLICE("{}"), SLICE_NONE,
                SLICE("traceparent: 00-a\r\nNats-Service-Error: no\r\nCompozy-Ttl: 3\r\nnats-service-error-code: "
                      "5\r\n"));
        assert_non_null(parcel);
        assert_true(slice_equal(parcel->headers, SLICE("traceparent: 00-a\r\nCompozy-Ttl: 3\r\n")));
        (void)parcel_free(f.table, parcel);

        parcel = parcel_new(f.table, SLICE("{}"), SLICE_NONE, SLICE("Nats-Service-Error: no\r\n"));
        assert_non_null(parcel);
        assert_null(parcel->headers.data);
        (void)parcel_free(f.table, parcel);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_parcel_holds_copies_of_the_parts),
                cmocka_unit_test(what_marks_an_answer_as_an_error_is_not_passed_on_with_a_trigger),
                cmocka_unit_test(parcels_are_used_again),
                cmocka_unit_test(the_queue_goes_by_priority_and_then_by_arrival),
                cmocka_unit_test(the_lowest_priority_is_never_starved_by_newcomers),
                cmocka_unit_test(demands_come_in_the_order_of_their_first),
                cmocka_unit_test(what_ended_is_remembered_as_long_as_the_history_reaches),
                cmocka_unit_test(a_recycled_execution_remembers_nothing),
                cmocka_unit_test(a_revived_execution_keeps_its_attempts_and_nothing_else),
                cmocka_unit_test(no_more_followers_than_the_limit),
                cmocka_unit_test(the_counts_hold_whatever_happens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
