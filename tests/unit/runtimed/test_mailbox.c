/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/mailbox.h"

static void a_mailbox_is_full_by_count_or_by_bytes(void **state) {
        Mail mail[4] = {};
        Mailbox mailbox;

        (void)state;

        mailbox_init(&mailbox, 3, 100);
        for (size_t i = 0; i < 4; i++)
                mail[i].n_bytes = 10;
        assert_int_equal(mailbox_push(&mailbox, &mail[0]), 0);
        assert_int_equal(mailbox_push(&mailbox, &mail[1]), 0);
        assert_int_equal(mailbox_push(&mailbox, &mail[2]), 0);
        assert_int_equal(mailbox_push(&mailbox, &mail[3]), MAILBOX_E_FULL);
        assert_ptr_equal(mailbox_pop(&mailbox, false), &mail[0]);
        mail[3].n_bytes = 81;
        assert_int_equal(mailbox_push(&mailbox, &mail[3]), MAILBOX_E_FULL);
        mail[3].n_bytes = 80;
        assert_int_equal(mailbox_push(&mailbox, &mail[3]), 0);
        assert_int_equal(mailbox.n_bytes, 100);
}

static void an_empty_mailbox_takes_a_message_of_any_size(void **state) {
        Mail mail = { .n_bytes = 1000 };
        Mailbox mailbox;

        (void)state;

        mailbox_init(&mailbox, 1, 100);
        assert_int_equal(mailbox_push(&mailbox, &mail), 0);
}

static void urgent_mail_goes_first_and_never_counts(void **state) {
        Mail ordinary = { .n_bytes = 1 }, urgent = { .is_timer = true, .n_bytes = 1 };
        Mailbox mailbox;

        (void)state;

        mailbox_init(&mailbox, 1, 100);
        assert_int_equal(mailbox_push(&mailbox, &ordinary), 0);
        mailbox_push_urgent(&mailbox, &urgent);
        assert_int_equal(mailbox_size(&mailbox), 2);
        assert_ptr_equal(mailbox_pop(&mailbox, true), &urgent);
        assert_null(mailbox_pop(&mailbox, true));
        assert_ptr_equal(mailbox_pop(&mailbox, false), &ordinary);
}

static void what_a_worker_left_is_first_again_in_its_order(void **state) {
        Mail mail[4] = {};
        Mailbox mailbox;

        (void)state;

        mailbox_init(&mailbox, 2, 100);
        assert_int_equal(mailbox_push(&mailbox, &mail[2]), 0);
        assert_int_equal(mailbox_push(&mailbox, &mail[3]), 0);
        mail[0].next = &mail[1];
        mailbox_return(&mailbox, &mail[0]); /* beyond the capacity: it was taken before */
        for (size_t i = 0; i < 4; i++)
                assert_ptr_equal(mailbox_pop(&mailbox, false), &mail[i]);
}

static void a_message_leaves_from_anywhere(void **state) {
        (void)state;

        for (size_t gone = 0; gone < 3; gone++) {
                Mail mail[3] = {};
                Mailbox mailbox;

                mailbox_init(&mailbox, 3, 100);
                for (size_t i = 0; i < 3; i++) {
                        mail[i].n_bytes = 5;
                        assert_int_equal(mailbox_push(&mailbox, &mail[i]), 0);
                }
                mailbox_remove(&mailbox, &mail[gone]);
                assert_int_equal(mailbox.n_bytes, 10);
                for (size_t i = 0; i < 3; i++)
                        if (i != gone)
                                assert_ptr_equal(mailbox_pop(&mailbox, false), &mail[i]);
                assert_null(mailbox_pop(&mailbox, false));
                assert_null(mailbox_oldest(&mailbox));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_mailbox_is_full_by_count_or_by_bytes),
                cmocka_unit_test(an_empty_mailbox_takes_a_message_of_any_size),
                cmocka_unit_test(urgent_mail_goes_first_and_never_counts),
                cmocka_unit_test(what_a_worker_left_is_first_again_in_its_order),
                cmocka_unit_test(a_message_leaves_from_anywhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
