/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/rng.h"
#include "runtimed/asks.h"
#include "tests/unit/runtimed/failing.h"

#define KIND 7

typedef struct Bench {
        DeadlineQueue deadlines;
        Asks asks;
        AskOwner a, b;
} Bench;

static void bench_init(Bench *bench, uint64_t per_agent, uint64_t total, uint64_t bytes) {
        deadline_queue_init(&bench->deadlines);
        asks_init(&bench->asks, &bench->deadlines, KIND, &(AsksLimits){ per_agent, total, bytes });
        ask_owner_init(&bench->a);
        ask_owner_init(&bench->b);
}

static void bench_done(Bench *bench) {
        assert_null(asks_check(&bench->asks));
        asks_done(&bench->asks);
        assert_true(deadline_queue_next(&bench->deadlines) == USEC_NEVER);
}

static int ask(Bench *bench, AskOwner *owner, uint64_t token, uint64_t deadline_usec, Ask **ret) {
        Envelope envelope;

        envelope_init(&envelope);
        envelope.thread_id = SLICE("t");
        return asks_add(&bench->asks, owner,
                &(AskWanted){
                        .kind = EFFECT_ASK,
                        .token = token,
                        .target = SLICE("other"),
                        .envelope = &envelope,
                        .deadline_usec = deadline_usec,
                },
                ret);
}

static void an_ask_is_found_by_its_number_until_it_is_over(void **state) {
        Ask *first, *second;
        uint64_t number;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10, 100000);
        assert_int_equal(ask(&bench, &bench.a, 1, 100, &first), 0);
        number = first->number.number;
        assert_true(number > 0);
        assert_ptr_equal(asks_find(&bench.asks, number), first);
        assert_null(asks_find(&bench.asks, 0));
        assert_null(asks_find(&bench.asks, number + 1));
        assert_null(asks_find(&bench.asks, UINT64_MAX));
        asks_remove(&bench.asks, first);
        assert_null(asks_find(&bench.asks, number));

        /* in the same place, with another number */
        assert_int_equal(ask(&bench, &bench.a, 2, 100, &second), 0);
        assert_int_not_equal(second->number.number, number);
        assert_null(asks_find(&bench.asks, number));
        bench_done(&bench);
}

static void what_the_answer_inherits_is_a_copy(void **state) {
        char thread[] = "thread", target[] = "cap";
        Envelope envelope;
        Bench bench;
        Ask *made;

        (void)state;

        bench_init(&bench, 10, 10, 100000);
        envelope_init(&envelope);
        envelope.thread_id = slice_of(thread);
        envelope.hop = 3;
        assert_int_equal(asks_add(&bench.asks, &bench.a,
                                 &(AskWanted){
                                         .kind = EFFECT_INVOKE,
                                         .token = 5,
                                         .message_id = 6,
                                         .target = slice_of(target),
                                         .envelope = &envelope,
                                         .asked_usec = 1,
                                         .deadline_usec = USEC_NEVER,
                                 },
                                 &made),
                0);
        memset(thread, 'x', sizeof(thread) - 1);
        memset(target, 'x', sizeof(target) - 1);
        assert_true(slice_equal(made->envelope.thread_id, SLICE("thread")));
        assert_true(slice_equal(made->target, SLICE("cap")));
        assert_false(made->envelope.reply_to.data);
        assert_int_equal(made->envelope.hop, 3);
        assert_int_equal(made->kind, EFFECT_INVOKE);
        assert_int_equal(made->token, 5);
        assert_int_equal(made->message_id, 6);
        bench_done(&bench);
}

static void the_earliest_deadline_comes_first(void **state) {
        Ask *asks[3];
        Deadline *due;
        Bench bench;

        (void)state;

        bench_init(&bench, 10, 10, 100000);
        assert_int_equal(ask(&bench, &bench.a, 1, 300, &asks[0]), 0);
        assert_int_equal(ask(&bench, &bench.a, 2, 100, &asks[1]), 0);
        assert_int_equal(ask(&bench, &bench.a, 3, 200, &asks[2]), 0);
        assert_int_equal(deadline_queue_next(&bench.deadlines), 100);
        due = deadline_queue_pop(&bench.deadlines, 150);
        assert_int_equal(due->kind, KIND);
        assert_ptr_equal(ask_of_deadline(due), asks[1]);
        asks_remove(&bench.asks, asks[1]);
        asks_remove(&bench.asks, asks[2]);
        assert_int_equal(deadline_queue_next(&bench.deadlines), 300);
        bench_done(&bench);
}

static void limits_hold_for_each_agent_for_all_and_for_bytes(void **state) {
        Bench bench;
        Ask *made;

        (void)state;

        bench_init(&bench, 2, 3, 100000);
        assert_int_equal(ask(&bench, &bench.a, 1, 1, &made), 0);
        assert_int_equal(ask(&bench, &bench.a, 2, 1, &made), 0);
        assert_int_equal(ask(&bench, &bench.a, 3, 1, &made), ASKS_E_AGENT_LIMIT);
        assert_int_equal(ask(&bench, &bench.b, 4, 1, &made), 0);
        assert_int_equal(ask(&bench, &bench.b, 5, 1, &made), ASKS_E_LIMIT);
        asks_remove(&bench.asks, ask_owner_next(&bench.a, NULL));
        assert_int_equal(ask(&bench, &bench.b, 5, 1, &made), 0);
        asks_set_limits(&bench.asks, &(AsksLimits){ 9, 9, asks_bytes(&bench.asks) });
        assert_int_equal(ask(&bench, &bench.b, 6, 1, &made), ASKS_E_LIMIT);
        bench_done(&bench);
}

/* Random asks, ends of single ones and of agents, and memory that is out now and then, against a plain list. */
static void whatever_happens_each_ask_is_there_until_it_is_removed(void **state) {
        enum { N = 40 };
        struct {
                uint64_t number, token;
        } model[N];
        size_t n = 0, cursor, n_failed = 0;
        Bench bench;
        Ask *made;
        Rng rng;

        (void)state;

        rng_seed(&rng, 5);
        bench_init(&bench, N, N, 1000000);
        for (uint64_t i = 1; i <= 50000; i++) {
                AskOwner *owner = rng_below(&rng, 2) ? &bench.a : &bench.b;
                const bool is_end = rng_below(&rng, 30) == 0;
                int r;

                if (n < N && rng_below(&rng, 2)) {
                        fail_at = rng_below(&rng, 4);
                        r = ask(&bench, owner, i, rng_below(&rng, 1000), &made);
                        fail_at = 0;
                        n_failed += r == -ENOMEM;
                        assert_true(r == 0 || r == -ENOMEM);
                        if (r == 0) {
                                model[n].number = made->number.number;
                                model[n++].token = i;
                        }
                }
                while (n > 0 && is_end && (made = ask_owner_next(owner, NULL))) {
                        size_t k = 0;

                        while (model[k].token != made->token)
                                k++;
                        model[k] = model[--n];
                        asks_remove(&bench.asks, made);
                }
                if (n > 0 && rng_below(&rng, 3) == 0) {
                        const size_t k = rng_below(&rng, n);

                        asks_remove(&bench.asks, asks_find(&bench.asks, model[k].number));
                        model[k] = model[--n];
                }
                for (size_t k = 0; k < n; k++)
                        assert_int_equal(asks_find(&bench.asks, model[k].number)->token, model[k].token);
                assert_int_equal(asks_size(&bench.asks), n);
                assert_null(asks_check(&bench.asks));
        }
        cursor = 0;
        while (asks_next(&bench.asks, &cursor))
                n--;
        assert_int_equal(n, 0);
        if (FAILING_WORKS)
                assert_true(n_failed > 100);
        bench_done(&bench);
}

static void only_plain_decimal_is_a_number(void **state) {
        static const struct {
                const char *text;
                uint64_t number;
        } cases[] = {
                { "1", 1 },
                { "16777216", 16777216 },
                { "18446744073709551615", UINT64_MAX },
                { "18446744073709551616", 0 },
                { "99999999999999999999999", 0 },
                { "", 0 },
                { "0", 0 },
                { "01", 0 },
                { "+1", 0 },
                { "-1", 0 },
                { "1 ", 0 },
                { "1a", 0 },
                { "0x1", 0 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_true(number_parse(slice_of(cases[i].text)) == cases[i].number);
        assert_true(number_parse(SLICE_NONE) == 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_ask_is_found_by_its_number_until_it_is_over),
                cmocka_unit_test(what_the_answer_inherits_is_a_copy),
                cmocka_unit_test(the_earliest_deadline_comes_first),
                cmocka_unit_test(limits_hold_for_each_agent_for_all_and_for_bytes),
                cmocka_unit_test(whatever_happens_each_ask_is_there_until_it_is_removed),
                cmocka_unit_test(only_plain_decimal_is_a_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
