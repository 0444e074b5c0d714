/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/hash_index.h"
#include "common/rng.h"

#define N 400

typedef struct Item {
        HashEntry entry;
        uint64_t key;
        bool is_in;
} Item;

static bool matches(const HashEntry *entry, const void *key) {
        return CONTAINER_OF(entry, Item, entry)->key == *(const uint64_t *)key;
}

static const HashEntry *find(const HashIndex *index, const Item *item) {
        return hash_index_find(index, item->entry.hash, matches, &item->key);
}

/* `n_hashes`: few, so that many collide. */
static void try_with(uint32_t n_hashes) {
        static Item items[N];
        HashIndex index;
        size_t n = 0;
        Rng rng;

        rng_seed(&rng, n_hashes);
        hash_index_init(&index, 1);
        for (size_t i = 0; i < N; i++)
                items[i] = (Item){ .key = i, .entry.hash = (uint32_t)rng_below(&rng, n_hashes) };
        for (int i = 0; i < 20000; i++) {
                Item *item = &items[rng_below(&rng, N)];

                if (item->is_in)
                        hash_index_remove(&index, &item->entry);
                else
                        assert_int_equal(hash_index_add(&index, &item->entry), 0);
                n = item->is_in ? n - 1 : n + 1;
                item->is_in = !item->is_in;
                assert_int_equal(index.n, n);
                assert_true(index.n * 4 <= (index.mask + 1) * 3);
                for (size_t k = 0; k < N; k += 11)
                        assert_ptr_equal(find(&index, &items[k]), items[k].is_in ? &items[k].entry : NULL);
        }
        hash_index_done(&index);
}

static void it_holds_what_was_added_and_not_removed(void **state) {
        (void)state;

        try_with(UINT32_MAX);
        try_with(40);
        try_with(2);
}

static void two_texts_are_not_their_sum(void **state) {
        HashIndex index, other;

        (void)state;

        hash_index_init(&index, 1);
        hash_index_init(&other, 2);
        assert_int_equal(
                hash_index_hash(&index, SLICE("a"), SLICE("bc")), hash_index_hash(&index, SLICE("a"), SLICE("bc")));
        assert_int_not_equal(
                hash_index_hash(&index, SLICE("a"), SLICE("bc")), hash_index_hash(&index, SLICE("ab"), SLICE("c")));
        assert_int_not_equal(
                hash_index_hash(&index, SLICE("a"), SLICE_NONE), hash_index_hash(&index, SLICE("a\0"), SLICE_NONE));
        assert_int_not_equal(
                hash_index_hash(&index, SLICE("a"), SLICE("bc")), hash_index_hash(&other, SLICE("a"), SLICE("bc")));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_holds_what_was_added_and_not_removed),
                cmocka_unit_test(two_texts_are_not_their_sum),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
