/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/link_tags.h"
#include "common/rng.h"

static void subject_and_queue_group_are_kept_as_texts_of_their_own(void **state) {
        LinkTags tags = {};

        (void)state;

        assert_null(link_tags_find(&tags, 1));
        assert_int_equal(link_tags_add(&tags, 1, (Slice){ "subject and more", 7 }, (Slice){ "groups", 5 }), 0);
        assert_int_equal(link_tags_add(&tags, 2, SLICE("alone"), SLICE_NONE), 0);
        assert_int_equal(link_tags_add(&tags, 1, SLICE("other"), SLICE_NONE), -EEXIST);
        assert_string_equal(link_tags_find(&tags, 1)->texts, "subject");
        assert_string_equal(link_tag_queue(link_tags_find(&tags, 1)), "group");
        assert_string_equal(link_tags_find(&tags, 2)->texts, "alone");
        assert_null(link_tag_queue(link_tags_find(&tags, 2)));
        assert_null(link_tags_find(&tags, 3));
        assert_int_equal(tags.n, 2);
        link_tags_done(&tags);
}

/* Compared with a plain array after each step, through growing, shrinking, and tags that collide. */
static void what_was_added_and_not_removed_is_found_and_nothing_else(void **state) {
        enum { TAGS_MAX = 4096, N_STEPS = 200000 };
        static bool is_there[TAGS_MAX];
        LinkTags tags = {};
        size_t n = 0;
        Rng rng;

        (void)state;

        rng_seed(&rng, 1);
        for (size_t step = 0; step < N_STEPS; step++) {
                const bool is_growing = (step / 20000) % 2 == 0;
                const uint64_t i = rng_below(&rng, TAGS_MAX), tag = 1 + i * (i % 2 == 0 ? 1 : UINT64_C(1) << 32);
                LinkTag *found = link_tags_find(&tags, tag);

                assert_int_equal(found != NULL, is_there[i]);
                if (found && !is_growing) {
                        link_tags_remove(&tags, found);
                        is_there[i] = false;
                        n--;
                } else if (!found && is_growing) {
                        assert_int_equal(link_tags_add(&tags, tag, SLICE("s"), SLICE_NONE), 0);
                        is_there[i] = true;
                        n++;
                }
                assert_int_equal(tags.n, n);
                assert_true(n == 0 || link_tags_find(&tags, tags.all[n / 2].tag) == &tags.all[n / 2]);
        }
        link_tags_done(&tags);
}

static void memory_goes_back_when_a_crowd_has_left(void **state) {
        LinkTags tags = {};

        (void)state;

        for (uint64_t tag = 1; tag <= 100000; tag++)
                assert_int_equal(link_tags_add(&tags, tag, SLICE("s"), SLICE_NONE), 0);
        while (tags.n > 10)
                link_tags_remove(&tags, &tags.all[tags.n / 2]);
        assert_true(tags.mask < 256);
        assert_true(tags.n_allocated < 256);
        for (size_t i = 0; i < tags.n; i++)
                assert_ptr_equal(link_tags_find(&tags, tags.all[i].tag), &tags.all[i]);
        link_tags_done(&tags);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(subject_and_queue_group_are_kept_as_texts_of_their_own),
                cmocka_unit_test(what_was_added_and_not_removed_is_found_and_nothing_else),
                cmocka_unit_test(memory_goes_back_when_a_crowd_has_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
