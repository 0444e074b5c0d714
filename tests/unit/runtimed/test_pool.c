/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "common/instant.h"
#include "common/rng.h"
#include "runtimed/agent.h"
#include "runtimed/letter.h"
#include "runtimed/pool.h"
#include "runtimed/run_queue.h"

/* An agent's state is touched by one thread at a time, so a plain counter is right; TSan would see it if it were not.
 */
typedef struct Count {
        uint64_t n;
        uint64_t last; /* token of the latest message */
        bool out_of_order;
        uint64_t spin_usec;
        uint64_t *order; /* shared by agents that are served by one worker: each turn's place */
        uint64_t first, latest;
} Count;

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

        if (message->token <= count->last)
                count->out_of_order = true;
        count->last = message->token;
        count->n++;
        if (count->order) {
                count->latest = ++*count->order;
                if (count->first == 0)
                        count->first = count->latest;
        }
        if (count->spin_usec > 0)
                spin(count->spin_usec);
        reply->verdict = BEHAVIOR_DONE;
}

static const Behavior behavior_count = { .type = "count", .handle = count_handle };

/* An agent and the core's part for it. */
typedef struct Slot {
        Agent agent;
        Run *run;
        Count count;
        Delivery *deliveries;
        size_t n_mail, n_given, n_outcomes, n_returned, n_skipped;
        bool is_out;
} Slot;

static void slot_init(Slot *slot, size_t n, AgentClass agent_class) {
        *slot = (Slot){ .run = run_new(), .deliveries = calloc(n, sizeof(*slot->deliveries)), .n_mail = n };
        assert_true(slot->run && slot->deliveries);

        slot->agent.id = id_of(SLICE("a"));
        slot->run->agent = &slot->agent;
        slot->run->behavior = &behavior_count;
        slot->run->agent_class = agent_class;
        slot->run->quantum = 64;
        for (size_t i = 0; i < n; i++) {
                slot->deliveries[i].token = i + 1;
                slot->deliveries[i].mail.agent = &slot->agent;
                slot->deliveries[i].mail.kind = MAIL_TOPIC;
                slot->deliveries[i].mail.lane = LANE_BATCHED;
                slot->deliveries[i].mail.late_usec = USEC_NEVER;
        }
}

static void slot_done(Slot *slot) {
        (void)run_free(slot->run);
        free(slot->deliveries);
}

/* The next n that were not given yet. */
static Mail *next_chain(Slot *slot, size_t n) {
        Delivery *first = &slot->deliveries[slot->n_given];

        assert(slot->n_given + n <= slot->n_mail);

        for (size_t i = 0; i < n; i++)
                first[i].mail.next = i + 1 < n ? &first[i + 1].mail : NULL;
        return &first->mail;
}

/* Makes it ready to go out with what was left, or else with n more. */
static Run *open_run(Slot *slot, size_t n) {
        Mail *left = slot->run->mail;

        assert_true(run_open(slot->run, left ? left : next_chain(slot, n)));
        slot->n_given += left ? 0 : n;
        slot->run->behavior_state = &slot->count;
        slot->is_out = true;
        return slot->run;
}

static void take_returned(Slot *slot) {
        for (Mail *mail = run_take_returned(slot->run); mail; mail = mail->next) {
                slot->n_returned++;
                slot->n_skipped += mail->skipped;
        }
}

static void take(Outcome *outcome) {
        Slot *slot = CONTAINER_OF(outcome->run->agent, Slot, agent);

        if (outcome->mail)
                slot->n_outcomes++;
        if (outcome->run_ended) {
                take_returned(slot);
                slot->is_out = false;
        }
        if (!outcome->is_embedded)
                (void)outcome_free(outcome);
}

static void take_all(Pool *pool) {
        Outcome *outcome, *next;

        for (outcome = pool_take(pool); outcome; outcome = next) {
                next = outcome->next;
                take(outcome);
        }
}

static void wait_for_outcomes(Pool *pool) {
        struct pollfd fd = { .fd = pool_fd(pool), .events = POLLIN };

        assert_int_equal(poll(&fd, 1, 30000), 1);
}

static bool is_done(const Slot *slot) {
        return !slot->is_out && slot->n_outcomes + slot->n_returned == slot->n_mail;
}

/* Gives all that each has in one run, and what comes back early goes in again. */
static void serve(Pool *pool, Slot *slots, size_t n_slots) {
        for (size_t n_done = 0; n_done < n_slots;) {
                Run *first = NULL, **end = &first;

                n_done = 0;
                for (size_t i = 0; i < n_slots; i++) {
                        if (is_done(&slots[i])) {
                                n_done++;
                        } else if (!slots[i].is_out) {
                                *end = open_run(&slots[i], slots[i].n_mail - slots[i].n_given);
                                end = &(*end)->next;
                        }
                }
                pool_submit(pool, first);
                if (n_done < n_slots) {
                        wait_for_outcomes(pool);
                        take_all(pool);
                }
        }
}

static void every_message_is_handled_once_and_in_order(void **state) {
        enum { N_SLOTS = 50, N_MAIL = 400 };
        _cleanup_(pool_freep) Pool *pool = NULL;
        static Slot slots[N_SLOTS];

        (void)state;

        assert_int_equal(pool_new(4, &pool), 0);
        for (size_t i = 0; i < N_SLOTS; i++) {
                slot_init(&slots[i], N_MAIL, (AgentClass)(i % _AGENT_CLASS_MAX));
                slots[i].deliveries[N_MAIL / 2].mail.wants_answer = i % 2;
        }
        serve(pool, slots, N_SLOTS);
        for (size_t i = 0; i < N_SLOTS; i++) {
                assert_int_equal(slots[i].count.n, N_MAIL);
                assert_int_equal(slots[i].n_outcomes, i % 2);
                assert_false(slots[i].count.out_of_order);
                slot_done(&slots[i]);
        }
}

static void runs_that_come_one_by_one_are_all_served(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slot;

        (void)state;

        assert_int_equal(pool_new(2, &pool), 0);
        slot_init(&slot, 2000, AGENT_CLASS_BATCHED);
        for (int i = 0; i < 2000; i++) {
                assert_false(pool_has_outcomes(pool));
                pool_submit(pool, open_run(&slot, 1));
                wait_for_outcomes(pool);
                assert_true(pool_has_outcomes(pool));
                take_all(pool);
        }
        assert_true(is_done(&slot));
        assert_int_equal(slot.count.n, 2000);
        slot_done(&slot);
}

static void outcomes_say_when_they_began_and_ended(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        uint64_t before, after;
        Outcome *outcomes;
        Slot slot;

        (void)state;

        assert_int_equal(pool_new(1, &pool), 0);
        slot_init(&slot, 3, AGENT_CLASS_BATCHED);
        slot.count.spin_usec = 2000;
        slot.deliveries[2].mail.wants_answer = true;
        before = instant_now().usec;
        pool_submit(pool, open_run(&slot, 3));
        wait_for_outcomes(pool);
        after = instant_now().usec;
        outcomes = pool_take(pool);
        assert_non_null(outcomes);
        assert_null(outcomes->next);
        assert_true(outcomes->run_ended);
        assert_true(outcomes->started_usec >= before + 4000); /* the two without a word came first */
        assert_true(outcomes->finished_usec >= outcomes->started_usec + 2000);
        assert_true(outcomes->finished_usec <= after);
        take(outcomes);
        slot_done(&slot);
}

/* One worker, two runs: the place of each message in the order of all tells whose turn it was. */
static void a_run_whose_turn_is_over_lets_others_go_first_and_then_goes_on(void **state) {
        enum { N = 640 };
        _cleanup_(pool_freep) Pool *pool = NULL;
        static Slot slots[2];
        uint64_t order = 0;
        Run *runs;

        (void)state;

        assert_int_equal(pool_new(1, &pool), 0);
        for (size_t i = 0; i < 2; i++) {
                slot_init(&slots[i], N, AGENT_CLASS_BATCHED);
                slots[i].count.order = &order;
        }
        runs = open_run(&slots[0], N);
        runs->next = open_run(&slots[1], N);
        pool_submit(pool, runs);
        while (!is_done(&slots[0]) || !is_done(&slots[1])) {
                wait_for_outcomes(pool);
                take_all(pool);
        }
        assert_int_equal(slots[0].count.first, 1);
        assert_in_range(slots[1].count.first, 2, 65);                 /* a quantum, or 5 ms if the machine was slow */
        assert_true(slots[0].count.latest > N + N / 2);               /* they took turns, */
        assert_int_equal(slots[0].count.n + slots[1].count.n, 2 * N); /* and neither came back before its end */
        for (size_t i = 0; i < 2; i++)
                slot_done(&slots[i]);
}

static void a_slow_run_keeps_its_worker_for_no_more_than_its_time(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        static Slot slots[2];
        uint64_t order = 0;
        Run *runs;

        (void)state;

        assert_int_equal(pool_new(1, &pool), 0);
        for (size_t i = 0; i < 2; i++) {
                slot_init(&slots[i], 20, AGENT_CLASS_BATCHED);
                slots[i].count.order = &order;
        }
        slots[0].count.spin_usec = RUN_TURN_USEC / 2;
        runs = open_run(&slots[0], 20);
        runs->next = open_run(&slots[1], 20);
        pool_submit(pool, runs);
        while (!is_done(&slots[0]) || !is_done(&slots[1])) {
                wait_for_outcomes(pool);
                take_all(pool);
        }
        /* Two messages fill its time; the coarse clock, with ticks of up to 10 ms, may notice two later. */
        assert_in_range(slots[1].count.first, 2, 6);
        for (size_t i = 0; i < 2; i++)
                slot_done(&slots[i]);
}

static void what_is_called_off_before_it_begins_is_not_handled(void **state) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        Slot slot;

        (void)state;

        assert_int_equal(pool_new(1, &pool), 0);
        slot_init(&slot, 3, AGENT_CLASS_BATCHED);
        atomic_store(&slot.deliveries[1].mail.called_off, true);
        serve(pool, &slot, 1);
        assert_int_equal(slot.count.n, 2);
        assert_int_equal(slot.n_skipped, 1);
        assert_true(slot.deliveries[1].mail.skipped);
        slot_done(&slot);
}

static void stopping_waits_for_the_message_at_hand_and_gives_the_rest_back(void **state) {
        enum { N = 3000 }; /* half a minute of work: who stops it is sooner */
        _cleanup_(pool_freep) Pool *pool = NULL;
        size_t n_left = 0, n_handled = 0;
        static Slot slots[3];
        Run *runs, *run;

        (void)state;

        assert_int_equal(pool_new(1, &pool), 0);
        for (size_t i = 0; i < 3; i++) {
                slot_init(&slots[i], N, AGENT_CLASS_BATCHED);
                slots[i].count.spin_usec = 3000;
        }
        slots[0].deliveries[0].mail.wants_answer = true;
        runs = open_run(&slots[0], N);
        runs->next = open_run(&slots[1], N);
        runs->next->next = open_run(&slots[2], N - 2);
        pool_submit(pool, runs);
        assert_true(run_top_up(slots[2].run, next_chain(&slots[2], 2)));
        slots[2].n_given += 2;
        wait_for_outcomes(pool);
        assert_true(pool_stop(pool, 10 * 1000000));
        take_all(pool);
        while ((run = pool_take_unstarted(pool))) {
                Slot *slot = CONTAINER_OF(run->agent, Slot, agent);

                run_abandon(run);
                take_returned(slot);
                slot->is_out = false;
        }
        for (size_t i = 0; i < 3; i++) {
                assert_false(slots[i].is_out);
                for (const Mail *mail = slots[i].run->mail; mail; mail = mail->next)
                        n_left++;
                n_handled += slots[i].count.n;
                assert_int_equal(slots[i].count.n, slots[i].n_outcomes + slots[i].n_returned);
                slot_done(&slots[i]);
        }
        assert_int_equal(n_left + n_handled, 3 * N);
        assert_true(n_left > 0 && n_handled > 0);
}

/* What a core does in one of its turns for one agent, at random. */
static Run *act(Slot *slot, Rng *rng) {
        const size_t n_wanted = 1 + rng_below(rng, 30), n_rest = slot->n_mail - slot->n_given;
        const size_t n = MIN_OF(n_wanted, n_rest);

        if (!slot->is_out)
                return n > 0 || slot->run->mail ? open_run(slot, n) : NULL;

        take_returned(slot);
        if (n > 0 && run_top_up(slot->run, next_chain(slot, n)))
                slot->n_given += n;
        else if (rng_below(rng, 200) == 0)
                run_wish(slot->run, RUN_RECALL);
        else if (slot->n_given > 0 && rng_below(rng, 50) == 0)
                atomic_store(&slot->deliveries[slot->n_given - 1].mail.called_off, true);
        return NULL;
}

static void nothing_is_lost_while_runs_are_topped_up_called_back_and_called_off(void **state) {
        enum { N_SLOTS = 12, N_MAIL = 8000 };
        _cleanup_(pool_freep) Pool *pool = NULL;
        size_t n_done = 0, n_handled = 0;
        static Slot slots[N_SLOTS];
        Rng rng;

        (void)state;

        rng_seed(&rng, 21);
        assert_int_equal(pool_new(3, &pool), 0);
        for (size_t i = 0; i < N_SLOTS; i++) {
                slot_init(&slots[i], N_MAIL, (AgentClass)(i % _AGENT_CLASS_MAX));
                for (size_t k = 0; k < N_MAIL; k += 1 + i)
                        slots[i].deliveries[k].mail.wants_answer = true;
        }

        while (n_done < N_SLOTS) {
                Run *runs = NULL;

                n_done = 0;
                for (size_t i = 0; i < N_SLOTS; i++) {
                        Run *run = is_done(&slots[i]) ? NULL : act(&slots[i], &rng);

                        n_done += is_done(&slots[i]);
                        if (run) {
                                run->next = runs;
                                runs = run;
                        }
                }
                pool_submit(pool, runs);
                if (pool_has_outcomes(pool))
                        take_all(pool);
        }

        for (size_t i = 0; i < N_SLOTS; i++) {
                assert_false(slots[i].count.out_of_order);
                assert_int_equal(slots[i].n_outcomes + slots[i].n_returned, N_MAIL);
                n_handled += slots[i].count.n;
                slot_done(&slots[i]);
        }
        print_message("%zu of %d handled, the rest called off\n", n_handled, N_SLOTS * N_MAIL);
        assert_true(n_handled > N_SLOTS * N_MAIL / 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_message_is_handled_once_and_in_order),
                cmocka_unit_test(runs_that_come_one_by_one_are_all_served),
                cmocka_unit_test(outcomes_say_when_they_began_and_ended),
                cmocka_unit_test(a_run_whose_turn_is_over_lets_others_go_first_and_then_goes_on),
                cmocka_unit_test(a_slow_run_keeps_its_worker_for_no_more_than_its_time),
                cmocka_unit_test(what_is_called_off_before_it_begins_is_not_handled),
                cmocka_unit_test(stopping_waits_for_the_message_at_hand_and_gives_the_rest_back),
                cmocka_unit_test(nothing_is_lost_while_runs_are_topped_up_called_back_and_called_off),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
