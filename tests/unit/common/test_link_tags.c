/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/link_inbox.h"
#include "common/link_tags.h"
#include "common/rng.h"

static void subject_and_queue_group_are_kept_as_texts_of_their_own(void **state) {
        LinkTag *added, *other;
        LinkTags tags = {};

        (void)state;

        assert_null(link_tags_find(&tags, 1));
        assert_int_equal(link_tags_add(&tags, 1, (Slice){ "subject and more", 7 }, (Slice){ "groups", 5 }, &added), 0);
        assert_int_equal(link_tags_add(&tags, UINT64_MAX, SLICE("alone"), SLICE_NONE, &added), 0);
        assert_int_equal(link_tags_add(&tags, 1, SLICE("other"), SLICE_NONE, &other), -EEXIST);
        assert_ptr_equal(link_tags_find(&tags, UINT64_MAX), added);
        assert_string_equal(link_tags_find(&tags, 1)->texts, "subject");
        assert_string_equal(link_tag_queue(link_tags_find(&tags, 1)), "group");
        assert_string_equal(added->texts, "alone");
        assert_null(link_tag_queue(added));
        assert_null(link_tags_find(&tags, 3));
        assert_int_equal(tags.n, 2);
        link_tags_done(&tags);
}

/* Compared with a plain array after each step, through growing, shrinking, and tags that collide. */
static void what_was_added_and_not_removed_is_found_by_tag_and_key_and_nothing_else(void **state) {
        enum { TAGS_MAX = 4096, N_STEPS = 200000 };
        static uint64_t keys[TAGS_MAX];
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
                assert_ptr_equal(link_tags_find_key(&tags, keys[i]), found);
                if (found && !is_growing) {
                        link_tags_remove(&tags, found);
                        is_there[i] = false;
                        n--;
                } else if (!found && is_growing) {
                        assert_int_equal(link_tags_add(&tags, tag, SLICE("s"), SLICE_NONE, &found), 0);
                        assert_int_not_equal(link_tag_key(&tags, found), keys[i]);
                        keys[i] = link_tag_key(&tags, found);
                        assert_true(keys[i] > 0 && keys[i] >> LINK_INBOX_KEY_BITS == 0);
                        is_there[i] = true;
                        n++;
                }
                assert_int_equal(tags.n, n);
        }
        link_tags_done(&tags);
}

static void the_memory_of_a_crowd_goes_back_and_its_keys_stay_unknown(void **state) {
        LinkTags tags = {};
        LinkTag *added;
        uint64_t key;

        (void)state;

        for (uint64_t tag = 1; tag <= 100000; tag++)
                assert_int_equal(link_tags_add(&tags, tag, SLICE("s"), SLICE_NONE, &added), 0);
        key = link_tag_key(&tags, link_tags_find(&tags, 1));
        for (uint64_t tag = 1; tag <= 100000; tag++)
                link_tags_remove(&tags, link_tags_find(&tags, tag));
        assert_null(tags.places);
        assert_null(tags.slots);
        assert_null(link_tags_find_key(&tags, key));
        assert_int_equal(link_tags_add(&tags, 1, SLICE("s"), SLICE_NONE, &added), 0); /* in the same place */
        assert_null(link_tags_find_key(&tags, key));
        link_tags_done(&tags);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(subject_and_queue_group_are_kept_as_texts_of_their_own),
                cmocka_unit_test(what_was_added_and_not_removed_is_found_by_tag_and_key_and_nothing_else),
                cmocka_unit_test(the_memory_of_a_crowd_goes_back_and_its_keys_stay_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
