/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/rng.h"
#include "runtimed/invocations.h"
#include "tests/unit/runtimed/failing.h"

#define KEEP UINT64_C(1000)

typedef struct Bench {
        DeadlineQueue deadlines;
        Asks asks;
        AskOwner owner;
        Invocations invocations;
} Bench;

static void bench_init(Bench *bench, uint64_t answers_max, uint64_t bytes_max) {
        deadline_queue_init(&bench->deadlines);
        asks_init(&bench->asks, &bench->deadlines, 1, &(AsksLimits){ 1000, 1000, 1000000 });
        ask_owner_init(&bench->owner);
        invocations_init(&bench->invocations, &(InvocationsLimits){ answers_max, bytes_max, KEEP }, 1);
}

static void bench_done(Bench *bench) {
        assert_null(invocations_check(&bench->invocations));
        invocations_done(&bench->invocations);
        asks_done(&bench->asks);
}

static Ask *ask(Bench *bench, uint64_t token) {
        Envelope envelope;
        Ask *made;

        envelope_init(&envelope);
        assert_int_equal(asks_add(&bench->asks, &bench->owner,
                                 &(AskWanted){ .kind = EFFECT_INVOKE,
                                         .token = token,
                                         .envelope = &envelope,
                                         .deadline_usec = USEC_NEVER },
                                 &made),
                0);
        return made;
}

/* Begins with an ask of its own; removes that when it has nothing to wait for. */
static int begin(Bench *bench, uint64_t token, const char *key, uint64_t now, Invocation **ret, const char *answer) {
        InvocationAnswer found = { ERROR_INTERNAL, SLICE("") };
        Ask *made = ask(bench, token);
        int r = invocations_begin(&bench->invocations, made, SLICE("pay"), slice_of(key), now, ret, &found);

        if (r == INVOCATIONS_E_ANSWERED)
                assert_true(slice_equal(found.body, slice_of(answer)));
        assert_int_equal(made->invocation != NULL, r == 0 || r == INVOCATIONS_E_JOINED);
        if (!made->invocation)
                asks_remove(&bench->asks, made);
        return r;
}

/* Settles, and returns the tokens of those who waited: "1 2 ". */
static const char *settle(Bench *bench, Invocation *invocation, const char *answer, bool is_final, uint64_t now) {
        static char text[256];
        size_t n = 0;
        Ask *next;

        text[0] = '\0';
        for (Ask *a = invocations_settle(&bench->invocations, invocation,
                     &(InvocationAnswer){ ERROR_NONE, slice_of(answer) }, is_final, now);
                a; a = next) {
                next = ask_next_waiting(a);
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%ju ", (uintmax_t)a->token);
                asks_remove(&bench->asks, a);
        }
        return text;
}

static void calls_with_one_key_share_one_request_and_its_answer(void **state) {
        Invocation *first = NULL, *other = NULL;
        uint64_t number;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10000);
        assert_int_equal(begin(&bench, 1, "k", 0, &first, NULL), 0);
        assert_int_equal(begin(&bench, 2, "k", 0, NULL, NULL), INVOCATIONS_E_JOINED);
        assert_int_equal(begin(&bench, 3, "k2", 0, &other, NULL), 0);
        assert_int_equal(begin(&bench, 4, "k", 0, NULL, NULL), INVOCATIONS_E_JOINED);
        assert_null(invocations_check(&bench.invocations));

        number = invocation_number(first);
        assert_int_not_equal(number, invocation_number(other));
        assert_ptr_equal(invocations_find(&bench.invocations, number), first);
        assert_string_equal(settle(&bench, first, "done", true, 10), "1 2 4 ");
        assert_null(invocations_find(&bench.invocations, number));
        assert_int_equal(begin(&bench, 5, "k", 20, NULL, "done"), INVOCATIONS_E_ANSWERED);
        assert_string_equal(settle(&bench, other, "done too", true, 10), "3 ");
        assert_int_equal(begin(&bench, 6, "k2", 20, NULL, "done too"), INVOCATIONS_E_ANSWERED);
        bench_done(&bench);
}

static void capability_and_key_are_told_apart(void **state) {
        Invocation *first, *second;
        InvocationAnswer answer;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10000);
        assert_int_equal(
                invocations_begin(&bench.invocations, ask(&bench, 1), SLICE("a"), SLICE("bc"), 0, &first, &answer), 0);
        assert_int_equal(
                invocations_begin(&bench.invocations, ask(&bench, 2), SLICE("ab"), SLICE("c"), 0, &second, &answer), 0);
        bench_done(&bench);
}

static void what_may_pass_is_not_kept(void **state) {
        Invocation *invocation;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10000);
        assert_int_equal(begin(&bench, 1, "k", 0, &invocation, NULL), 0);
        assert_string_equal(settle(&bench, invocation, "busy", /* is_final= */ false, 10), "1 ");
        assert_int_equal(begin(&bench, 2, "k", 0, &invocation, NULL), 0);
        bench_done(&bench);
}

static void which_answers_stand_for_repeats(void **state) {
        static const struct {
                ErrorCode code;
                unsigned service_code;
                bool is_final;
        } cases[] = {
                { ERROR_NONE, 0, true },
                { ERROR_CAPABILITY_ERROR, 400, true },
                { ERROR_CAPABILITY_ERROR, 404, true },
                { ERROR_CAPABILITY_ERROR, 499, true },
                { ERROR_CAPABILITY_ERROR, 408, false },
                { ERROR_CAPABILITY_ERROR, 409, false },
                { ERROR_CAPABILITY_ERROR, 425, false },
                { ERROR_CAPABILITY_ERROR, 429, false },
                { ERROR_CAPABILITY_ERROR, 0, false },
                { ERROR_CAPABILITY_ERROR, 500, false },
                { ERROR_CAPABILITY_ERROR, 503, false },
                { ERROR_CAPABILITY_NOT_FOUND, 404, false },
                { ERROR_TIMEOUT, 504, false },
                { ERROR_LIMIT_EXCEEDED, 429, false },
                { ERROR_INTERNAL, 500, false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(invocation_is_final(cases[i].code, cases[i].service_code), cases[i].is_final);
}

static void the_request_lives_as_long_as_somebody_waits(void **state) {
        Invocation *invocation, *again;
        uint64_t number;
        Bench bench;
        Ask *first;

        (void)state;

        bench_init(&bench, 10, 10000);
        assert_int_equal(begin(&bench, 1, "k", 0, &invocation, NULL), 0);
        assert_int_equal(begin(&bench, 2, "k", 0, NULL, NULL), INVOCATIONS_E_JOINED);
        number = invocation_number(invocation);
        first = ask_owner_next(&bench.owner, ask_owner_next(&bench.owner, NULL));
        assert_int_equal(first->token, 1);
        invocations_leave(&bench.invocations, first);
        invocations_leave(&bench.invocations, first);
        asks_remove(&bench.asks, first);
        assert_ptr_equal(invocations_find(&bench.invocations, number), invocation);

        first = ask_owner_next(&bench.owner, NULL);
        invocations_leave(&bench.invocations, first);
        asks_remove(&bench.asks, first);
        assert_null(invocations_find(&bench.invocations, number));
        assert_int_equal(begin(&bench, 3, "k", 0, &again, NULL), 0);
        bench_done(&bench);
}

static void the_answer_that_was_not_asked_for_the_longest_goes_first(void **state) {
        static const char *const keys[] = { "a", "b", "c" };
        Invocation *invocation;
        InvocationsStats stats;
        Bench bench;

        (void)state;

        bench_init(&bench, 2, 100000);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(begin(&bench, i, keys[i], 0, &invocation, NULL), 0);
                (void)settle(&bench, invocation, keys[i], true, 0);
        }
        assert_int_equal(begin(&bench, 3, "a", 0, NULL, "a"), INVOCATIONS_E_ANSWERED);
        assert_int_equal(begin(&bench, 4, "c", 0, &invocation, NULL), 0);
        (void)settle(&bench, invocation, "c", true, 0);
        assert_int_equal(begin(&bench, 5, "a", 0, NULL, "a"), INVOCATIONS_E_ANSWERED);
        assert_int_equal(begin(&bench, 6, "b", 0, &invocation, NULL), 0);
        invocations_stats(&bench.invocations, &stats);
        assert_int_equal(stats.n_kept, 2);
        assert_int_equal(stats.n_evicted, 1);
        assert_int_equal(stats.n_in_flight, 1);
        bench_done(&bench);
}

static void answers_are_forgotten_in_time(void **state) {
        Invocation *invocation;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10000);
        assert_true(invocations_next_deadline(&bench.invocations) == USEC_NEVER);
        assert_int_equal(begin(&bench, 1, "a", 0, &invocation, NULL), 0);
        (void)settle(&bench, invocation, "a", true, 5);
        assert_int_equal(invocations_next_deadline(&bench.invocations), 5 + KEEP);
        assert_int_equal(begin(&bench, 2, "a", 4 + KEEP, NULL, "a"), INVOCATIONS_E_ANSWERED);
        assert_int_equal(begin(&bench, 3, "a", 5 + KEEP, &invocation, NULL), 0);
        assert_true(invocations_next_deadline(&bench.invocations) == USEC_NEVER);
        bench_done(&bench);
}

static void an_answer_too_large_is_given_and_not_kept(void **state) {
        Invocation *invocation;
        InvocationsStats stats;
        char big[2001];
        Bench bench;

        (void)state;

        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        bench_init(&bench, 10, 2000);
        assert_int_equal(begin(&bench, 1, "small", 0, &invocation, NULL), 0);
        (void)settle(&bench, invocation, "s", true, 0);
        assert_int_equal(begin(&bench, 2, "k", 0, &invocation, NULL), 0);
        assert_string_equal(settle(&bench, invocation, big, true, 0), "2 ");
        invocations_stats(&bench.invocations, &stats);
        assert_int_equal(stats.n_kept, 1); /* and takes no other's place */
        assert_int_equal(begin(&bench, 3, "k", 0, &invocation, NULL), 0);
        bench_done(&bench);
}

static void keys_have_their_limits(void **state) {
        char key[INVOCATION_KEY_MAX + 2];
        Invocation *invocation;
        Bench bench;

        (void)state;

        memset(key, 'k', sizeof(key));
        key[INVOCATION_KEY_MAX + 1] = '\0';
        bench_init(&bench, 10, 10000);
        assert_int_equal(begin(&bench, 1, key, 0, &invocation, NULL), INVOCATIONS_E_TOO_LONG);
        assert_int_equal(begin(&bench, 1, "", 0, &invocation, NULL), INVOCATIONS_E_TOO_LONG);
        key[INVOCATION_KEY_MAX] = '\0';
        assert_int_equal(begin(&bench, 1, key, 0, &invocation, NULL), 0);
        bench_done(&bench);
}

/* Random calls, answers, ends and failing allocations: nobody waits for nothing, and no limit is passed. */
static void whatever_happens_the_limits_hold_and_nobody_is_forgotten(void **state) {
        size_t n_failed = 0, n_answered = 0;
        uint64_t now = 0;
        Bench bench;
        Rng rng;

        (void)state;

        rng_seed(&rng, 9);
        bench_init(&bench, 12, 3000);
        for (uint64_t i = 0; i < 50000; i++) {
                InvocationAnswer answer;
                Invocation *invocation;
                InvocationsStats stats;
                char key[8], body[400];
                Ask *some;
                int r;

                now += rng_below(&rng, 50);
                (void)snprintf(key, sizeof(key), "%d", (int)rng_below(&rng, 30));
                if (asks_size(&bench.asks) < 50) {
                        some = ask(&bench, i);
                        fail_at = rng_below(&rng, 6);
                        r = invocations_begin(
                                &bench.invocations, some, SLICE("c"), slice_of(key), now, &invocation, &answer);
                        fail_at = 0;
                        if (r == INVOCATIONS_E_ANSWERED)
                                assert_true(slice_starts_with(answer.body, slice_of(key)));
                        some->token = strtoull(key, NULL, 10);
                        n_failed += r == -ENOMEM;
                        n_answered += r == INVOCATIONS_E_ANSWERED;
                        if (r != 0 && r != INVOCATIONS_E_JOINED)
                                asks_remove(&bench.asks, some);
                }
                some = ask_owner_next(&bench.owner, NULL);
                for (uint64_t skip = rng_below(&rng, 20); some && skip > 0; skip--)
                        some = ask_owner_next(&bench.owner, some);
                if (some && rng_below(&rng, 3) == 0) {
                        invocations_leave(&bench.invocations, some);
                        asks_remove(&bench.asks, some);
                } else if (some && rng_below(&rng, 2)) {
                        invocation = some->invocation;
                        (void)snprintf(body, sizeof(body), "%-*ju", (int)rng_below(&rng, sizeof(body)),
                                (uintmax_t)some->token);
                        fail_at = rng_below(&rng, 3);
                        for (Ask *a = invocations_settle(&bench.invocations, invocation,
                                     &(InvocationAnswer){ ERROR_NONE, slice_of(body) }, rng_below(&rng, 4) > 0, now);
                                a; a = some) {
                                some = ask_next_waiting(a);
                                asks_remove(&bench.asks, a);
                        }
                        fail_at = 0;
                }
                assert_null(invocations_check(&bench.invocations));
                invocations_stats(&bench.invocations, &stats);
                assert_true(stats.n_kept <= 12 && stats.n_bytes <= 3000);
                for (some = ask_owner_next(&bench.owner, NULL); some; some = ask_owner_next(&bench.owner, some))
                        assert_non_null(some->invocation);
        }
        assert_true(n_answered > 1000);
        if (FAILING_WORKS)
                assert_true(n_failed > 100);
        bench_done(&bench);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(calls_with_one_key_share_one_request_and_its_answer),
                cmocka_unit_test(capability_and_key_are_told_apart),
                cmocka_unit_test(what_may_pass_is_not_kept),
                cmocka_unit_test(which_answers_stand_for_repeats),
                cmocka_unit_test(the_request_lives_as_long_as_somebody_waits),
                cmocka_unit_test(the_answer_that_was_not_asked_for_the_longest_goes_first),
                cmocka_unit_test(answers_are_forgotten_in_time),
                cmocka_unit_test(an_answer_too_large_is_given_and_not_kept),
                cmocka_unit_test(keys_have_their_limits),
                cmocka_unit_test(whatever_happens_the_limits_hold_and_nobody_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
