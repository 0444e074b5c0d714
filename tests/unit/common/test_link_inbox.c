/* SPDX-License-Identifier: MIT */

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "common/link_inbox.h"

static natsMsg *message_new(const char *body) {
        natsMsg *message = NULL;

        assert_int_equal(natsMsg_Create(&message, "subject", NULL, body, (int)strlen(body)), NATS_OK);
        return message;
}

static bool is_readable(const LinkInbox *inbox) {
        struct pollfd poll_fd = { .fd = link_inbox_fd(inbox), .events = POLLIN };

        return poll(&poll_fd, 1, 0) == 1;
}

static void messages_come_out_in_order_with_their_keys_and_errors_between_them(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;
        LinkEvent event;

        (void)state;

        assert_int_equal(link_inbox_new(1024 * 1024, &inbox), 0);
        for (uint64_t key = 0; key < 1000; key++) {
                assert_int_equal(link_inbox_push(link_inbox_closure(inbox, key), message_new("x")), 0);
                if (key == 500)
                        assert_int_equal(link_inbox_push_error(link_inbox_ticket(inbox), "went wrong"), 0);
        }
        for (uint64_t key = 0; key < 1000; key++) {
                assert_true(link_inbox_take(inbox, &event));
                assert_int_equal(event.key, key);
                assert_non_null(event.message);
                link_event_done(&event);
                if (key == 500) {
                        assert_true(link_inbox_take(inbox, &event));
                        assert_null(event.message);
                        assert_string_equal(event.why, "went wrong");
                        link_event_done(&event);
                }
        }
        assert_false(link_inbox_take(inbox, &event));
}

static void the_largest_key_does_not_reach_into_the_ticket(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;
        const uint64_t key_max = (UINT64_C(1) << LINK_INBOX_KEY_BITS) - 1;
        LinkEvent event;

        (void)state;

        assert_int_equal(link_inbox_new(1024, &inbox), 0);
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, key_max), message_new("x")), 0);
        assert_true(link_inbox_take(inbox, &event));
        assert_int_equal(event.key, key_max);
        link_event_done(&event);
}

static void what_does_not_fit_stays_with_the_caller_and_is_counted_until_the_rest_is_handled(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;
        natsMsg *third = message_new("three");
        LinkEvent event;

        (void)state;

        assert_int_equal(link_inbox_new(2 * LINK_INBOX_MESSAGE_COST + 10, &inbox), 0);
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), message_new("one")), 0);
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), message_new("two")), 0);
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), third), LINK_INBOX_E_FULL);
        for (size_t i = 0; i < 2; i++) {
                assert_true(link_inbox_take(inbox, &event));
                link_event_done(&event);
        }
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), third), LINK_INBOX_E_FULL); /* taken, not done */
        assert_false(link_inbox_take(inbox, &event));
        assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), third), 0);
        assert_int_equal(link_inbox_n_dropped(inbox), 2);
}

static void a_ticket_of_an_inbox_that_is_gone_leads_nowhere(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *other = NULL;
        LinkInbox *inbox = NULL;
        natsMsg *message = message_new("late");
        uintptr_t ticket;
        void *closure;

        (void)state;

        assert_int_equal(link_inbox_new(1024, &inbox), 0);
        ticket = link_inbox_ticket(inbox);
        closure = link_inbox_closure(inbox, 7);
        inbox = link_inbox_free(inbox);
        assert_int_equal(link_inbox_new(1024, &other), 0);
        assert_int_equal(link_inbox_push(closure, message), LINK_INBOX_E_GONE);
        assert_int_equal(link_inbox_push_error(ticket, "late"), LINK_INBOX_E_GONE);
        link_inbox_wake(ticket);
        link_inbox_push_fence(ticket);
        assert_false(is_readable(other));
        assert_int_equal(link_inbox_n_fences(other), 0);
        natsMsg_Destroy(message);
}

static void the_descriptor_tells_of_the_first_event_since_nothing_was_found(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;
        LinkEvent event;

        (void)state;

        assert_int_equal(link_inbox_new(1024 * 1024, &inbox), 0);
        for (size_t round = 0; round < 3; round++) {
                assert_false(is_readable(inbox));
                assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), message_new("x")), 0);
                assert_int_equal(link_inbox_push(link_inbox_closure(inbox, 1), message_new("x")), 0);
                assert_true(is_readable(inbox));
                link_inbox_acknowledge(inbox);
                while (link_inbox_take(inbox, &event))
                        link_event_done(&event);
        }
        link_inbox_wake(link_inbox_ticket(inbox));
        assert_true(is_readable(inbox));
        link_inbox_acknowledge(inbox);
        assert_false(is_readable(inbox));
        link_inbox_push_fence(link_inbox_ticket(inbox));
        assert_true(is_readable(inbox));
        assert_int_equal(link_inbox_n_fences(inbox), 1);
}

typedef struct Pusher {
        pthread_t thread;
        void *closure;
} Pusher;

enum { N_PUSHED = 50000 };

static void *push_many(void *userdata) {
        const Pusher *pusher = userdata;

        for (uint64_t i = 0; i < N_PUSHED; i++) {
                natsMsg *message = NULL;

                if (natsMsg_Create(&message, "s", NULL, (const char *)&i, sizeof(i)) == NATS_OK &&
                        link_inbox_push(pusher->closure, message) != 0)
                        natsMsg_Destroy(message);
        }
        nats_ReleaseThreadMemory();
        return NULL;
}

static void no_event_is_missed_by_a_reader_that_sleeps_when_it_finds_nothing(void **state) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;
        uint64_t next[2] = {}, number;
        Pusher pushers[2];
        LinkEvent event;

        (void)state;

        assert_int_equal(link_inbox_new(SIZE_MAX / 2, &inbox), 0);
        for (size_t i = 0; i < ELEMENTSOF(pushers); i++) {
                pushers[i].closure = link_inbox_closure(inbox, i);
                assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_many, &pushers[i]), 0);
        }
        while (next[0] + next[1] < 2 * N_PUSHED) {
                struct pollfd poll_fd = { .fd = link_inbox_fd(inbox), .events = POLLIN };

                assert_int_equal(poll(&poll_fd, 1, 20000), 1);
                link_inbox_acknowledge(inbox);
                while (link_inbox_take(inbox, &event)) {
                        memcpy(&number, natsMsg_GetData(event.message), sizeof(number));
                        assert_int_equal(number, next[event.key]++);
                        link_event_done(&event);
                }
        }
        for (size_t i = 0; i < ELEMENTSOF(pushers); i++)
                (void)pthread_join(pushers[i].thread, NULL);
}

/* nats.c frees messages on a thread of its own. */
static int open_library(void **state) {
        (void)state;
        return nats_Open(-1) == NATS_OK ? 0 : -1;
}

static int close_library(void **state) {
        (void)state;
        return nats_CloseAndWait(10000) == NATS_OK ? 0 : -1;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_come_out_in_order_with_their_keys_and_errors_between_them),
                cmocka_unit_test(the_largest_key_does_not_reach_into_the_ticket),
                cmocka_unit_test(what_does_not_fit_stays_with_the_caller_and_is_counted_until_the_rest_is_handled),
                cmocka_unit_test(a_ticket_of_an_inbox_that_is_gone_leads_nowhere),
                cmocka_unit_test(the_descriptor_tells_of_the_first_event_since_nothing_was_found),
                cmocka_unit_test(no_event_is_missed_by_a_reader_that_sleeps_when_it_finds_nothing),
        };

        return cmocka_run_group_tests(tests, open_library, close_library);
}
