/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/effect.h"

static void effects_come_in_the_order_they_were_added(void **state) {
        EffectList list = {};
        uint64_t n = 0;

        (void)state;

        for (uint64_t i = 0; i < 100; i++) {
                Effect *effect = effects_add(&list, EFFECT_PUBLISH);

                assert_non_null(effect);
                effect->token = i;
        }
        assert_int_equal(list.n, 100);
        for (const Effect *effect = list.first; effect; effect = effect->next) {
                assert_int_equal(effect->kind, EFFECT_PUBLISH);
                assert_int_equal(effect->token, n);
                n++;
        }
        assert_int_equal(n, 100);
        effects_clear(&list);
}

static void what_is_kept_outlives_what_it_was_copied_from(void **state) {
        char text[] = "payload";
        EffectList list = {};
        Slice kept, empty;

        (void)state;

        kept = effects_keep(&list, slice_of(text));
        empty = effects_keep(&list, SLICE(""));
        memset(text, 'x', sizeof(text));
        assert_true(slice_equal(kept, SLICE("payload")));
        assert_non_null(empty.data);
        assert_null(effects_keep(&list, SLICE_NONE).data);
        assert_int_equal(list.n_bytes, 7);
        assert_false(list.failed);
        effects_clear(&list);
}

static void a_list_takes_so_many_and_says_that_something_is_missing(void **state) {
        EffectList list = {};

        (void)state;

        for (size_t i = 0; i < EFFECTS_MAX; i++)
                assert_non_null(effects_add(&list, EFFECT_LOG));
        assert_false(list.failed);
        assert_null(effects_add(&list, EFFECT_LOG));
        assert_true(list.failed);
        assert_int_equal(list.n, EFFECTS_MAX);

        effects_clear(&list);
        assert_int_equal(list.n, 0);
        assert_false(list.failed);
        assert_non_null(effects_add(&list, EFFECT_LOG));
        effects_clear(&list);
}

static void every_kind_has_a_name(void **state) {
        (void)state;

        for (int kind = 0; kind < _EFFECT_KIND_MAX; kind++)
                assert_non_null(effect_kind_names[kind]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(effects_come_in_the_order_they_were_added),
                cmocka_unit_test(what_is_kept_outlives_what_it_was_copied_from),
                cmocka_unit_test(a_list_takes_so_many_and_says_that_something_is_missing),
                cmocka_unit_test(every_kind_has_a_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
