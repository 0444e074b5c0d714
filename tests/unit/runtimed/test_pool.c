/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "runtimed/pool.h"

/* An agent's state is touched by one thread at a time, so a plain counter is right; TSan would see it if it were not.
 */
typedef struct Count {
        uint64_t n;
        uint64_t last; /* number of the latest message */
        bool out_of_order;
} Count;

static uint64_t spin_usec; /* set before the threads start */

static void spin(uint64_t usec) {
        struct timespec a, b;

        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        do
                (void)clock_gettime(CLOCK_MONOTONIC, &b);
        while ((uint64_t)(b.tv_sec - a.tv_sec) * 1000000 + (uint64_t)b.tv_nsec / 1000 - (uint64_t)a.tv_nsec / 1000 <
                usec);
}

static void count_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Count *count = state;

        if (message->attempt <= count->last)
                count->out_of_order = true;
        count->last = message->attempt;
        count->n++;
        if (spin_usec > 0)
                spin(spin_usec);
        reply->verdict = BEHAVIOR_DONE;
}

static const Behavior behavior_count = { .type = "count", .handle = count_handle };

typedef struct Slot {
        Run run;
        Count count;
        Mail *mail;
        size_t n_mail, n_done;
} Slot;

static void fill(Slot *slot, size_t n, AgentClass agent_class) {
        slot->mail = calloc(n, sizeof(*slot->mail));
        assert_non_null(slot->mail);
        slot->n_mail = n;
        for (size_t i = 0; i < n; i++) {
                slot->mail[i].message.attempt = i + 1;
                slot->mail[i].next = i + 1 < n ? &slot->mail[i + 1] : NULL;
        }
        slot->run = (Run){ .behavior = &behavior_count,
                .behavior_state = &slot->count,
                .mail = slot->mail,
                .agent_class = agent_class };
}

static void wait_for_outcomes(Pool *pool) {
        struct pollfd fd = { .fd = pool_fd(pool), .events = POLLIN };

        assert_int_equal(poll(&fd, 1, 30000), 1);
}

/* Takes outcomes until all is done; a run that ended early goes back in. Returns how often one did. */
static size_t serve(Pool *pool, Slot *slots, size_t n_slots) {
        size_t n_total = 0, n_done = 0, n_again = 0;

        for (size_t i = 0; i < n_slots; i++)
                n_total += slots[i].n_mail;

        while (n_done < n_total) {
                Outcome *outcome, *next;

                wait_for_outcomes(pool);
                for (outcome = pool_take(pool); outcome; outcome = next) {
                        Slot *slot = CONTAINER_OF(outcome->run, Slot, run);

                        next = outcome->next;
                        assert_ptr_equal(outcome->mail, &slot->mail[slot->n_done]);
                        slot->n_done++;
                        n_done++;
                        if (outcome->run_ended && slot->run.mail) {
                                n_again++;
                                slot->run.next = NULL;
                                pool_submit(pool, &slot->run);
                        }
                }
        }
        return n_again;
}

static void every_message_comes_back_once_and_in_order(void **state) {
        enum { N_SLOTS = 50, N_MAIL = 400 };
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot *slots = calloc(N_SLOTS, sizeof(*slots));
        Run *runs = NULL;

        (void)state;

        spin_usec = 0;
        assert_non_null(slots);
        assert_int_equal(pool_new(4, &pool), 0);
        for (size_t i = 0; i < N_SLOTS; i++) {
                fill(&slots[i], N_MAIL, (AgentClass)(i % _AGENT_CLASS_MAX));
                slots[i].run.next = runs;
                runs = &slots[i].run;
        }
        pool_submit(pool, runs);
        (void)serve(pool, slots, N_SLOTS);
        for (size_t i = 0; i < N_SLOTS; i++) {
                assert_int_equal(slots[i].count.n, N_MAIL);
                assert_false(slots[i].count.out_of_order);
                free(slots[i].mail);
        }
        free(slots);
}

static void runs_that_come_one_by_one_are_all_served(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slot = {};

        (void)state;

        spin_usec = 0;
        assert_int_equal(pool_new(2, &pool), 0);
        for (int i = 0; i < 2000; i++) {
                slot = (Slot){};
                fill(&slot, 1, AGENT_CLASS_BATCHED);
                pool_submit(pool, &slot.run);
                (void)serve(pool, &slot, 1);
                free(slot.mail);
        }
}

static void a_run_longer_than_the_quantum_comes_back_with_what_is_left(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slot = {};

        (void)state;

        spin_usec = POOL_QUANTUM_USEC / 2;
        assert_int_equal(pool_new(1, &pool), 0);
        fill(&slot, 8, AGENT_CLASS_BATCHED);
        pool_submit(pool, &slot.run);
        assert_true(serve(pool, &slot, 1) >= 3); /* two messages fill a quantum */
        assert_int_equal(slot.count.n, 8);
        free(slot.mail);
}

static void what_is_called_off_before_it_begins_is_not_handled(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slot = {};

        (void)state;

        spin_usec = 0;
        assert_int_equal(pool_new(1, &pool), 0);
        fill(&slot, 3, AGENT_CLASS_BATCHED);
        atomic_store(&slot.mail[1].called_off, true);
        pool_submit(pool, &slot.run);
        (void)serve(pool, &slot, 1);
        assert_int_equal(slot.count.n, 2);
        assert_true(slot.mail[1].outcome.skipped);
        assert_false(slot.mail[2].outcome.skipped);
        free(slot.mail);
}

static void stopping_waits_for_the_message_at_hand_and_gives_the_rest_back(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slots[3] = {};
        size_t n_left = 0;
        Run *run;

        (void)state;

        spin_usec = 3000;
        assert_int_equal(pool_new(1, &pool), 0);
        for (size_t i = 0; i < 3; i++)
                fill(&slots[i], 10, AGENT_CLASS_BATCHED);
        slots[0].run.next = &slots[1].run;
        slots[1].run.next = &slots[2].run;
        pool_submit(pool, &slots[0].run);
        wait_for_outcomes(pool);
        assert_true(pool_stop(pool, 10 * 1000000));
        while ((run = pool_take_unstarted(pool)))
                n_left++;
        assert_in_range(n_left, 1, 2);
        for (size_t i = 0; i < 3; i++)
                free(slots[i].mail);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_message_comes_back_once_and_in_order),
                cmocka_unit_test(runs_that_come_one_by_one_are_all_served),
                cmocka_unit_test(a_run_longer_than_the_quantum_comes_back_with_what_is_left),
                cmocka_unit_test(what_is_called_off_before_it_begins_is_not_handled),
                cmocka_unit_test(stopping_waits_for_the_message_at_hand_and_gives_the_rest_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
