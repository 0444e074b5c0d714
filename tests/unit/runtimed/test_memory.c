/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/rng.h"
#include "runtimed/memory.h"

static void put(Memory *memory, const char *id, const char *body, uint64_t now) {
        memory_put(memory,
                &(Remembered){
                        .exec_id = id_of(slice_of(id)), .status = 1, .headers = SLICE("H"), .body = slice_of(body) },
                now);
}

static bool has(const Memory *memory, const char *id, const char *body) {
        Remembered found;

        if (!memory_find(memory, slice_of(id), &found))
                return false;
        assert_true(slice_equal(found.headers, SLICE("H")));
        assert_true(slice_equal(found.body, slice_of(body)));
        return true;
}

static void the_oldest_is_forgotten_first_and_that_is_known(void **state) {
        _cleanup_(memory_freep) Memory *memory = NULL;

        (void)state;

        assert_int_equal(memory_new(2, 10000, &memory), 0);
        put(memory, "a", "1", 10);
        put(memory, "b", "2", 20);
        assert_true(memory_reaches(memory, 0));
        put(memory, "c", "3", 30);
        assert_false(has(memory, "a", "1"));
        assert_true(has(memory, "b", "2"));
        assert_true(has(memory, "c", "3"));
        assert_false(memory_reaches(memory, 10));
        assert_true(memory_reaches(memory, 11));
}

static void the_same_id_is_remembered_once(void **state) {
        _cleanup_(memory_freep) Memory *memory = NULL;

        (void)state;

        assert_int_equal(memory_new(4, 10000, &memory), 0);
        put(memory, "a", "1", 10);
        put(memory, "a", "2", 20);
        assert_true(has(memory, "a", "2"));
        assert_int_equal(memory_size(memory), 1);
        for (int i = 0; i < 4; i++)
                put(memory, "b", "3", 30);
        assert_int_equal(memory_size(memory), 1);
}

static void an_answer_too_large_is_remembered_without_its_bytes(void **state) {
        _cleanup_(memory_freep) Memory *memory = NULL;
        char big[600] = "";
        Remembered found;

        (void)state;

        memset(big, 'x', sizeof(big) - 1);
        assert_int_equal(memory_new(4, 1000, &memory), 0);
        put(memory, "a", big, 10);
        assert_true(memory_find(memory, SLICE("a"), &found));
        assert_int_equal(found.status, 1);
        assert_null(found.body.data);
}

/* Random sizes around a small ring: what is found is what was put, and what is not found was old. */
static void bytes_never_mix_and_limits_always_hold(void **state) {
        _cleanup_(memory_freep) Memory *memory = NULL;
        char id[16], body[128];
        size_t n_found = 0;
        Rng rng;

        (void)state;

        rng_seed(&rng, 7);
        assert_int_equal(memory_new(20, 1000, &memory), 0);
        for (int i = 0; i < 20000; i++) {
                size_t size = rng_below(&rng, sizeof(body));

                (void)snprintf(id, sizeof(id), "e%d", i);
                memset(body, 'a' + i % 26, sizeof(body));
                body[size > 0 ? size - 1 : 0] = '\0';
                put(memory, id, body, (uint64_t)i + 1);
                assert_true(memory_size(memory) <= 20);
                assert_true(memory_bytes(memory) <= 1000);

                for (int k = MAX_OF(i - 25, 0); k <= i; k++) {
                        Remembered found;

                        (void)snprintf(id, sizeof(id), "e%d", k);
                        if (!memory_find(memory, slice_of(id), &found)) {
                                assert_false(memory_reaches(memory, (uint64_t)k + 1));
                                continue;
                        }
                        n_found++;
                        for (size_t b = 0; b < found.body.size; b++)
                                assert_int_equal(found.body.data[b], 'a' + k % 26);
                }
        }
        assert_true(n_found > 100000);
}

/* The same few ids over and over: the index loses and gains entries in every order. What is found is what the last puts
 * were. */
static void ids_that_come_again_are_found_as_they_were_put_last(void **state) {
        _cleanup_(memory_freep) Memory *memory = NULL;
        enum { N_IDS = 60, N_ENTRIES = 32 };
        int latest[N_IDS] = {}; /* the number of its latest put, from 1 */
        char id[80], body[16];
        Rng rng;

        (void)state;

        rng_seed(&rng, 8);
        assert_int_equal(memory_new(N_ENTRIES, 100000, &memory), 0);
        for (int i = 1; i <= 20000; i++) {
                const int k = (int)rng_below(&rng, N_IDS);
                size_t n_there = 0;

                (void)snprintf(
                        id, sizeof(id), "%.*s%d", k, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", k);
                (void)snprintf(body, sizeof(body), "%d", i);
                put(memory, id, body, (uint64_t)i);
                latest[k] = i;

                for (int j = 0; j < N_IDS; j++) {
                        const bool is_there = latest[j] > 0 && latest[j] > i - N_ENTRIES;

                        (void)snprintf(id, sizeof(id), "%.*s%d", j,
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", j);
                        (void)snprintf(body, sizeof(body), "%d", latest[j]);
                        assert_int_equal(has(memory, id, body), is_there);
                        n_there += is_there;
                }
                assert_int_equal(memory_size(memory), n_there);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_oldest_is_forgotten_first_and_that_is_known),
                cmocka_unit_test(the_same_id_is_remembered_once),
                cmocka_unit_test(an_answer_too_large_is_remembered_without_its_bytes),
                cmocka_unit_test(bytes_never_mix_and_limits_always_hold),
                cmocka_unit_test(ids_that_come_again_are_found_as_they_were_put_last),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
