/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/instant.h"
#include "common/rng.h"
#include "runtimed/agent.h"
#include "runtimed/letter.h"

static void a_letter_is_a_copy_of_all_that_it_was_made_of(void **state) {
        char text[] = "thread-1", payload[] = "bytes";
        const Envelope envelope = {
                .thread_id = { text, 8 },
                .sender = SLICE("agent.a"),
                .reply_to = SLICE(""),
                .is_request = true,
                .ttl = 15,
                .hop = 1,
        };
        Letters letters = {};
        Letter *letter = letter_new(&letters, SLICE("a.topic"), slice_of(payload), &envelope);

        (void)state;

        assert_non_null(letter);
        memset(text, 'x', sizeof(text));
        memset(payload, 'x', sizeof(payload));
        assert_true(slice_equal(letter->topic, SLICE("a.topic")));
        assert_true(slice_equal(letter->payload, SLICE("bytes")));
        assert_true(slice_equal(letter->envelope.thread_id, SLICE("thread-1")));
        assert_true(slice_equal(letter->envelope.sender, SLICE("agent.a")));
        assert_non_null(letter->envelope.reply_to.data);
        assert_null(letter->envelope.traceparent.data);
        assert_true(letter->envelope.is_request);
        assert_int_equal(letter->envelope.ttl, 15);
        assert_int_equal(letter->envelope.hop, 1);
        letter_unref(&letters, letter);
        letters_done(&letters);
}

static void a_letter_lives_until_its_last_delivery_is_freed(void **state) {
        const Envelope envelope = {};
        Agent agents[3] = {};
        Delivery *deliveries[3];
        Letters letters = {};
        Letter *letter = letter_new(&letters, SLICE("t"), SLICE("p"), &envelope);

        (void)state;

        for (size_t i = 0; i < 3; i++) {
                deliveries[i] = delivery_new(&letters, &agents[i], MAIL_TOPIC, letter);
                assert_non_null(deliveries[i]);
        }
        letter_unref(&letters, letter);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(letters.n_letters, 1);
                assert_true(slice_equal(deliveries[i]->letter->payload, SLICE("p")));
                delivery_free(&letters, deliveries[i]);
        }
        assert_int_equal(letters.n_letters, 0);
        assert_int_equal(letters.n_deliveries, 0);
        assert_int_equal(letters.n_bytes, 0);
        letters_done(&letters);
}

static void a_delivery_starts_blank_whatever_it_was_before(void **state) {
        Letters letters = {};
        Agent agent = {};
        Delivery *delivery = delivery_new(&letters, &agent, MAIL_TOPIC, NULL);

        (void)state;

        delivery->mail.wants_answer = delivery->mail.skipped = delivery->is_aside = true;
        delivery->token = 7;
        atomic_store(&delivery->mail.called_off, true);
        assert_int_equal(delivery->mail.lane, LANE_BATCHED);
        delivery_free(&letters, delivery);

        delivery = delivery_new(&letters, &agent, MAIL_TIMER, NULL);
        assert_int_equal(delivery->mail.lane, LANE_URGENT);
        assert_false(delivery->mail.wants_answer || delivery->mail.skipped || delivery->is_aside);
        assert_false(atomic_load(&delivery->mail.called_off));
        assert_int_equal(delivery->token, 0);
        assert_int_equal(delivery->mail.late_usec, USEC_NEVER);
        assert_ptr_equal(delivery->mail.agent, &agent);
        delivery_free(&letters, delivery);
        letters_done(&letters);
}

/* Sizes around the limits of the classes, in every order: no letter ever overwrites another. */
static void letters_that_are_used_again_never_mix(void **state) {
        static const size_t sizes[] = { 0, 1, 255, 256, 257, 1023, 1024, 1025, 4096, 4097, 20000 };
        enum { N = 64 };
        static char payload[20000];
        const Envelope envelope = {};
        Letter *kept[N] = {};
        Letters letters = {};
        Rng rng;

        (void)state;

        rng_seed(&rng, 3);
        for (int round = 0; round < 20000; round++) {
                const size_t i = rng_below(&rng, N), size = sizes[rng_below(&rng, ELEMENTSOF(sizes))];

                if (kept[i]) {
                        for (size_t b = 0; b < kept[i]->payload.size; b += 61)
                                assert_int_equal(kept[i]->payload.data[b], 'A' + (int)i % 26);
                        letter_unref(&letters, kept[i]);
                        kept[i] = NULL;
                        continue;
                }
                memset(payload, 'A' + (int)i % 26, size);
                kept[i] = letter_new(&letters, SLICE_NONE, (Slice){ payload, size }, &envelope);
                assert_int_equal(kept[i]->payload.size, size);
        }
        for (size_t i = 0; i < N; i++)
                if (kept[i])
                        letter_unref(&letters, kept[i]);
        assert_int_equal(letters.n_bytes, 0);
        letters_done(&letters);
}

static void after_a_flood_only_so_much_is_kept(void **state) {
        enum { N = 40000 };
        static const size_t sizes[] = { 100, 1000, 4000, 5000 };
        static char payload[5000];
        static Letter *flood[N];
        const Envelope envelope = {};
        Letters letters = {};
        size_t n_kept = 0;

        (void)state;

        for (size_t s = 0; s < ELEMENTSOF(sizes); s++) {
                for (size_t i = 0; i < N; i++)
                        flood[i] = letter_new(&letters, SLICE_NONE, (Slice){ payload, sizes[s] }, &envelope);
                assert_true(letters.n_bytes > N * sizes[s]);
                for (size_t i = 0; i < N; i++)
                        letter_unref(&letters, flood[i]);
        }
        for (size_t class = 0; class < LETTER_CLASSES; class ++)
                n_kept += letters.n_free_letters[class] * (sizeof(Letter) + sizes[class]);
        assert_true(n_kept <= (size_t)24 * 1024 * 1024);
        letters_done(&letters);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_letter_is_a_copy_of_all_that_it_was_made_of),
                cmocka_unit_test(a_letter_lives_until_its_last_delivery_is_freed),
                cmocka_unit_test(a_delivery_starts_blank_whatever_it_was_before),
                cmocka_unit_test(letters_that_are_used_again_never_mix),
                cmocka_unit_test(after_a_flood_only_so_much_is_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
