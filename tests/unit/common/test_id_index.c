/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/id_index.h"
#include "common/rng.h"

#define N 300

static void make(Id *id, unsigned i) {
        static const char filler[] = "-and-more-that-makes-it-a-long-id-of-sixty-four-characters-0123456789";
        char text[ID_MAX + 1];

        (void)snprintf(text, sizeof(text), "%u%.*s", i, (int)(i * 7 % 60), filler);
        id_set(id, slice_of(text));
}

static size_t count(const IdIndex *index, bool seen[N], const Id ids[N]) {
        size_t cursor = 0, n = 0;
        const Id *id;

        while ((id = id_index_next(index, &cursor))) {
                assert_false(seen[id - ids]);
                seen[id - ids] = true;
                n++;
        }
        return n;
}

static void an_empty_one_finds_nothing(void **state) {
        IdIndex index;
        size_t cursor = 0;

        (void)state;

        id_index_init(&index, 1);
        assert_null(id_index_find(&index, SLICE("a")));
        assert_null(id_index_next(&index, &cursor));
        id_index_done(&index);
}

/* Against the plainest model there is: a flag for each id. */
static void it_holds_what_was_added_and_not_removed(void **state) {
        static Id ids[N];
        static bool in[N];
        IdIndex index;
        Rng rng;

        (void)state;

        rng_seed(&rng, 7);
        id_index_init(&index, 7);
        for (unsigned i = 0; i < N; i++)
                make(&ids[i], i);
        for (unsigned step = 0; step < 20000; step++) {
                /* phases of growing and of shrinking */
                bool add = rng_below(&rng, 4) < (step / 1000 % 2 == 0 ? 3u : 1u);
                size_t i = rng_below(&rng, N);

                assert_ptr_equal(id_index_find(&index, id_slice(&ids[i])), in[i] ? &ids[i] : NULL);
                if (add && !in[i]) {
                        assert_int_equal(id_index_add(&index, &ids[i]), 0);
                        in[i] = true;
                } else if (!add && in[i]) {
                        id_index_remove(&index, &ids[i]);
                        in[i] = false;
                }
                if (step % 500 == 0) {
                        bool seen[N] = { 0 };

                        assert_int_equal(count(&index, seen, ids), index.n);
                        assert_memory_equal(seen, in, sizeof(in));
                }
        }
        id_index_done(&index);
        assert_null(id_index_find(&index, id_slice(&ids[0])));
}

/* What a peer could make collide under one seed is spread under another. */
static void the_seed_decides_the_order(void **state) {
        Id ids[2];
        unsigned n_swapped = 0;

        (void)state;

        make(&ids[0], 1);
        make(&ids[1], 2);
        for (uint64_t seed = 0; seed < 64; seed++) {
                IdIndex index;
                size_t cursor = 0;

                id_index_init(&index, seed);
                assert_int_equal(id_index_add(&index, &ids[0]), 0);
                assert_int_equal(id_index_add(&index, &ids[1]), 0);
                n_swapped += id_index_next(&index, &cursor) == &ids[1];
                id_index_done(&index);
        }
        assert_in_range(n_swapped, 16, 48);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_empty_one_finds_nothing),
                cmocka_unit_test(it_holds_what_was_added_and_not_removed),
                cmocka_unit_test(the_seed_decides_the_order),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
