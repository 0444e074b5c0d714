/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/mailbox.h"

static const MailboxLimits wide = { .capacity = 1000, .bytes_max = 1000000 };

static void end(Mailbox *mailbox) {
        while (mailbox_pop(mailbox, LANES_ALL))
                ;
        (void)mailbox_free(mailbox);
}

static void a_mailbox_is_full_by_count_or_by_bytes(void **state) {
        const MailboxLimits limits = { .capacity = 3, .bytes_max = 100 };
        Mail mail[4] = {};
        Mailbox *mailbox = mailbox_new();

        (void)state;

        for (size_t i = 0; i < 4; i++) {
                mail[i].n_bytes = 10;
                mail[i].lane = (uint8_t)(LANE_REALTIME + i % 3);
        }
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[0]), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[1]), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[2]), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[3]), MAILBOX_E_FULL);
        assert_ptr_equal(mailbox_pop(mailbox, LANES_ALL), &mail[0]);
        mail[3].n_bytes = 81;
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[3]), MAILBOX_E_FULL);
        mail[3].n_bytes = 80;
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[3]), 0);
        assert_int_equal(mailbox->n_bytes, 100);
        end(mailbox);
}

static void an_empty_mailbox_takes_a_message_of_any_size(void **state) {
        const MailboxLimits limits = { .capacity = 1, .bytes_max = 100 };
        Mail mail = { .n_bytes = 1000, .lane = LANE_BATCHED };
        Mailbox *mailbox = mailbox_new();

        (void)state;

        assert_int_equal(mailbox_push(mailbox, &limits, &mail), 0);
        end(mailbox);
}

static void what_a_worker_has_not_begun_still_counts(void **state) {
        const MailboxLimits limits = { .capacity = 3, .bytes_max = 100 };
        Mail mail = { .n_bytes = 10, .lane = LANE_BATCHED };
        Mailbox *mailbox = mailbox_new();

        (void)state;

        mailbox->n_given = 3;
        assert_int_equal(mailbox_push(mailbox, &limits, &mail), MAILBOX_E_FULL);
        mailbox->n_given = 2;
        mailbox->n_bytes_given = 91;
        assert_int_equal(mailbox_push(mailbox, &limits, &mail), MAILBOX_E_FULL);
        mailbox->n_bytes_given = 90;
        assert_int_equal(mailbox_push(mailbox, &limits, &mail), 0);
        end(mailbox);
}

static void control_and_urgent_mail_is_taken_however_full_it_is(void **state) {
        const MailboxLimits limits = { .capacity = 1, .bytes_max = 100 };
        Mail batched = { .n_bytes = 1, .lane = LANE_BATCHED }, urgent = { .n_bytes = 500, .lane = LANE_URGENT },
             control = { .lane = LANE_CONTROL };
        Mailbox *mailbox = mailbox_new();

        (void)state;

        assert_int_equal(mailbox_push(mailbox, &limits, &batched), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &urgent), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &control), 0);
        assert_int_equal(mailbox_size(mailbox), 2);
        assert_int_equal(mailbox->n_bytes, 1);
        end(mailbox);
}

static void lanes_go_in_their_order_and_only_those_that_are_asked_for(void **state) {
        Mail mail[_LANE_MAX] = {};
        Mailbox *mailbox = mailbox_new();

        (void)state;

        for (int lane = _LANE_MAX - 1; lane >= 0; lane--) {
                mail[lane].lane = (uint8_t)lane;
                assert_int_equal(mailbox_push(mailbox, &wide, &mail[lane]), 0);
        }
        assert_ptr_equal(mailbox_pop(mailbox, LANES_CONTROL), &mail[LANE_CONTROL]);
        assert_null(mailbox_pop(mailbox, LANES_CONTROL));
        assert_true(mailbox_is_empty(mailbox, LANES_CONTROL));
        assert_false(mailbox_is_empty(mailbox, LANES_BEGUN));
        assert_ptr_equal(mailbox_pop(mailbox, LANES_BEGUN), &mail[LANE_URGENT]);
        assert_null(mailbox_pop(mailbox, LANES_BEGUN));
        for (int lane = LANE_REALTIME; lane < _LANE_MAX; lane++)
                assert_ptr_equal(mailbox_pop(mailbox, LANES_ALL), &mail[lane]);
        assert_null(mailbox_pop(mailbox, LANES_ALL));
        end(mailbox);
}

/* Each message that is taken comes in again: both lanes always have mail. */
static void background_mail_gets_one_turn_in_sixteen(void **state) {
        Mail high[2] = { { .lane = LANE_REALTIME }, { .lane = LANE_BATCHED } }, low[2] = {};
        Mailbox *mailbox = mailbox_new();
        unsigned n_low = 0, n_waited = 0, longest = 0;

        (void)state;

        for (size_t i = 0; i < 2; i++) {
                low[i].lane = LANE_BACKGROUND;
                assert_int_equal(mailbox_push(mailbox, &wide, &high[i]), 0);
                assert_int_equal(mailbox_push(mailbox, &wide, &low[i]), 0);
        }
        for (int i = 0; i < 1600; i++) {
                Mail *mail = mailbox_pop(mailbox, LANES_ALL);

                n_waited = mail->lane == LANE_BACKGROUND ? 0 : n_waited + 1;
                longest = MAX_OF(longest, n_waited);
                n_low += mail->lane == LANE_BACKGROUND;
                assert_int_equal(mailbox_push(mailbox, &wide, mail), 0);
        }
        assert_int_equal(n_low, 100);
        assert_int_equal(longest, 15);
        end(mailbox);
}

static void control_takes_no_turn_from_background_mail(void **state) {
        Mail low = { .lane = LANE_BACKGROUND }, control[20] = {};
        Mailbox *mailbox = mailbox_new();

        (void)state;

        assert_int_equal(mailbox_push(mailbox, &wide, &low), 0);
        for (size_t i = 0; i < 20; i++)
                assert_int_equal(mailbox_push(mailbox, &wide, &control[i]), 0);
        for (size_t i = 0; i < 20; i++)
                assert_ptr_equal(mailbox_pop(mailbox, LANES_ALL), &control[i]);
        assert_int_equal(mailbox->n_passed_over, 0);
        end(mailbox);
}

static void what_a_worker_left_is_first_again_in_its_order_and_lane(void **state) {
        const MailboxLimits limits = { .capacity = 2, .bytes_max = 100 };
        static const Lane lanes[] = { LANE_CONTROL, LANE_BATCHED, LANE_BATCHED, LANE_BATCHED, LANE_BATCHED };
        Mail mail[5] = {};
        Mailbox *mailbox = mailbox_new();

        (void)state;

        for (size_t i = 0; i < 5; i++)
                mail[i].lane = (uint8_t)lanes[i];
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[3]), 0);
        assert_int_equal(mailbox_push(mailbox, &limits, &mail[4]), 0);
        mail[1].next = &mail[0];
        mail[0].next = &mail[2];
        mailbox_return(mailbox, &mail[1]); /* beyond the capacity: it was taken before */
        assert_int_equal(mailbox->n_bounded, 4);
        for (size_t i = 0; i < 5; i++)
                assert_ptr_equal(mailbox_pop(mailbox, LANES_ALL), &mail[i]);
        end(mailbox);
}

static void a_message_leaves_from_anywhere(void **state) {
        (void)state;

        for (size_t gone = 0; gone < 3; gone++) {
                Mail mail[3] = {};
                Mailbox *mailbox = mailbox_new();

                for (size_t i = 0; i < 3; i++) {
                        mail[i].n_bytes = 5;
                        mail[i].lane = LANE_BATCHED;
                        assert_int_equal(mailbox_push(mailbox, &wide, &mail[i]), 0);
                }
                mailbox_remove(mailbox, &mail[gone]);
                assert_int_equal(mailbox->n_bytes, 10);
                for (size_t i = 0; i < 3; i++)
                        if (i != gone)
                                assert_ptr_equal(mailbox_pop(mailbox, LANES_ALL), &mail[i]);
                assert_null(mailbox_pop(mailbox, LANES_ALL));
                end(mailbox);
        }
}

static void the_oldest_is_the_first_of_the_least_important_lane_that_is_bounded(void **state) {
        static const Lane lanes[] = { LANE_URGENT, LANE_REALTIME, LANE_REALTIME, LANE_BATCHED, LANE_BACKGROUND };
        Mail mail[5] = {};
        Mailbox *mailbox = mailbox_new();

        (void)state;

        for (size_t i = 0; i < 5; i++) {
                mail[i].lane = (uint8_t)lanes[i];
                assert_int_equal(mailbox_push(mailbox, &wide, &mail[i]), 0);
        }
        static const size_t order[] = { 4, 3, 1, 2 };

        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                assert_ptr_equal(mailbox_oldest(mailbox), &mail[order[i]]);
                mailbox_remove(mailbox, &mail[order[i]]);
        }
        assert_null(mailbox_oldest(mailbox));
        end(mailbox);
}

static void a_lane_is_taken_as_a_whole_only_where_nothing_else_has_a_say(void **state) {
        static const struct {
                const char *why;
                Lane other;
                MailKind kind;
                uint32_t n_max;
                unsigned lanes;
                bool is_taken;
        } cases[] = {
                { "only that lane has mail", LANE_BATCHED, MAIL_TOPIC, 3, LANES_ALL, true },
                { "control goes first", LANE_CONTROL, MAIL_CHECKPOINT, 9, LANES_ALL, false },
                { "urgent mail goes first", LANE_URGENT, MAIL_TIMER, 9, LANES_ALL, false },
                { "another lane shares the turns", LANE_BACKGROUND, MAIL_TOPIC, 9, LANES_ALL, false },
                { "a trigger is noted", LANE_BATCHED, MAIL_TRIGGER, 9, LANES_ALL, false },
                { "there are too many", LANE_BATCHED, MAIL_TOPIC, 2, LANES_ALL, false },
                { "it isn't asked for", LANE_BATCHED, MAIL_TOPIC, 9, LANES_BEGUN, false },
        };

        (void)state;

        for (size_t c = 0; c < ELEMENTSOF(cases); c++) {
                Mail mail[3] = {}, *chain;
                Mailbox *mailbox = mailbox_new();
                uint64_t n_bytes = 0;
                uint32_t n = 0;

                for (size_t i = 0; i < 3; i++) {
                        mail[i].n_bytes = 10;
                        mail[i].kind = i == 1 ? cases[c].kind : MAIL_TOPIC;
                        mail[i].lane = i == 1 ? cases[c].other : LANE_BATCHED;
                        assert_int_equal(mailbox_push(mailbox, &wide, &mail[i]), 0);
                }
                chain = mailbox_pop_lane(mailbox, cases[c].lanes, cases[c].n_max, &n, &n_bytes);
                if (!!chain != cases[c].is_taken)
                        fail_msg("%s", cases[c].why);
                if (chain) {
                        assert_int_equal(n, 3);
                        assert_int_equal(n_bytes, 30);
                        assert_int_equal(mailbox->n_bytes, 0);
                        assert_true(mailbox_is_empty(mailbox, LANES_ALL));
                        for (size_t i = 0; i < 3; i++, chain = chain->next)
                                assert_ptr_equal(chain, &mail[i]);
                        assert_null(chain);
                        assert_int_equal(mailbox_push(mailbox, &wide, &mail[0]), 0);
                }
                end(mailbox);
        }
}

static void no_mailbox_is_an_empty_one(void **state) {
        (void)state;

        assert_int_equal(mailbox_size(NULL), 0);
        assert_true(mailbox_is_empty(NULL, LANES_ALL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_mailbox_is_full_by_count_or_by_bytes),
                cmocka_unit_test(an_empty_mailbox_takes_a_message_of_any_size),
                cmocka_unit_test(what_a_worker_has_not_begun_still_counts),
                cmocka_unit_test(control_and_urgent_mail_is_taken_however_full_it_is),
                cmocka_unit_test(lanes_go_in_their_order_and_only_those_that_are_asked_for),
                cmocka_unit_test(background_mail_gets_one_turn_in_sixteen),
                cmocka_unit_test(control_takes_no_turn_from_background_mail),
                cmocka_unit_test(what_a_worker_left_is_first_again_in_its_order_and_lane),
                cmocka_unit_test(a_message_leaves_from_anywhere),
                cmocka_unit_test(the_oldest_is_the_first_of_the_least_important_lane_that_is_bounded),
                cmocka_unit_test(a_lane_is_taken_as_a_whole_only_where_nothing_else_has_a_say),
                cmocka_unit_test(no_mailbox_is_an_empty_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
