/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/outbox.h"

static void messages_come_out_as_they_went_in(void **state) {
        static const OutMessage in[] = {
                { .subject = SLICE("a"), .reply = SLICE("r"), .headers = SLICE("X: 1\r\n"), .body = SLICE("body") },
                { .subject = SLICE("b"), .body = SLICE("only a body") },
                { .subject = SLICE("c") },
                { .subject = SLICE("d"), .reply = SLICE("r"), .body = SLICE("") },
                { .subject = SLICE("e"), .headers = SLICE("Y: 2\r\n") },
        };
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        for (size_t round = 0; round < 2; round++) {
                for (size_t i = 0; i < ELEMENTSOF(in); i++)
                        outbox_put(&outbox, &in[i]);
                assert_int_equal(outbox_size(&outbox), ELEMENTSOF(in));
                for (size_t i = 0; i < ELEMENTSOF(in); i++) {
                        const OutMessage out = outbox_get(&outbox, i);

                        assert_true(slice_equal(out.subject, in[i].subject));
                        assert_true(slice_equal(out.reply, in[i].reply));
                        assert_true(slice_equal(out.headers, in[i].headers));
                        assert_true(slice_equal(out.body, in[i].body));
                        assert_int_equal(!out.reply.data, !in[i].reply.data);
                        assert_int_equal(!out.body.data, !in[i].body.data);
                }
                outbox_clear(&outbox);
                assert_int_equal(outbox_size(&outbox), 0);
        }
        outbox_done(&outbox);
}

static void subscriptions_keep_their_place_among_what_is_published(void **state) {
        OutMessage out;
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        assert_int_equal(outbox_subscribe(&outbox, SLICE("topic"), SLICE_NONE, 7), 0);
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("topic"), .reply = SLICE("r") });
        assert_int_equal(outbox_unsubscribe(&outbox, 7), 0);
        assert_int_equal(outbox_subscribe(&outbox, SLICE("topic"), SLICE("group"), UINT64_MAX), 0);
        assert_int_equal(outbox_size(&outbox), 4);

        out = outbox_get(&outbox, 0);
        assert_true(out.kind == OUT_SUBSCRIBE && out.tag == 7 && !out.reply.data);
        assert_true(slice_equal(out.subject, SLICE("topic")));
        out = outbox_get(&outbox, 1);
        assert_true(out.kind == OUT_PUBLISH && out.tag == 0 && slice_equal(out.reply, SLICE("r")));
        out = outbox_get(&outbox, 2);
        assert_true(out.kind == OUT_UNSUBSCRIBE && out.tag == 7);
        out = outbox_get(&outbox, 3);
        assert_true(out.kind == OUT_SUBSCRIBE && out.tag == UINT64_MAX && slice_equal(out.reply, SLICE("group")));
        outbox_done(&outbox);
}

static void a_subscription_that_memory_had_no_room_for_is_told_and_not_counted_as_lost(void **state) {
        const Slice endless = { "topic", SIZE_MAX }; /* no buffer has room for it */
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        assert_int_equal(outbox_subscribe(&outbox, endless, SLICE_NONE, 1), -ENOMEM);
        assert_int_equal(outbox_size(&outbox), 0);
        assert_int_equal(outbox.n_lost, 0);
        outbox_done(&outbox);
}

static void an_aborted_message_leaves_nothing_behind(void **state) {
        Buffer *buffer;
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("first") });
        buffer = outbox_begin(&outbox);
        buffer_append_slice(buffer, SLICE("never"));
        outbox_body(&outbox);
        buffer_append_slice(buffer, SLICE("sent"));
        outbox_abort(&outbox);
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("second") });
        assert_int_equal(outbox_size(&outbox), 2);
        assert_true(slice_equal(outbox_get(&outbox, 0).subject, SLICE("first")));
        assert_true(slice_equal(outbox_get(&outbox, 1).subject, SLICE("second")));
        assert_int_equal(outbox.n_lost, 0);
        outbox_done(&outbox);
}

static void a_message_that_memory_had_no_room_for_is_counted_and_the_others_stay(void **state) {
        Buffer *buffer;
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("first"), .body = SLICE("1") });
        buffer = outbox_begin(&outbox);
        buffer_append_slice(buffer, SLICE("lost"));
        buffer->failed = true; /* what a failed allocation leaves */
        outbox_end(&outbox);
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("second"), .body = SLICE("2") });
        assert_int_equal(outbox.n_lost, 1);
        assert_int_equal(outbox_size(&outbox), 2);
        assert_true(slice_equal(outbox_get(&outbox, 1).body, SLICE("2")));
        outbox_done(&outbox);
}

static void a_turn_like_the_last_one_allocates_nothing_and_a_burst_is_given_back(void **state) {
        static char big[3 * 1024 * 1024];
        const char *data;
        Outbox outbox;

        (void)state;

        outbox_init(&outbox);
        for (size_t i = 0; i < 1000; i++)
                outbox_put(&outbox, &(OutMessage){ .subject = SLICE("subject"), .body = { big, 256 } });
        data = outbox.bytes.data;
        for (size_t turn = 0; turn < 3; turn++) {
                outbox_clear(&outbox);
                for (size_t i = 0; i < 1000; i++)
                        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("subject"), .body = { big, 256 } });
                assert_ptr_equal(outbox.bytes.data, data);
        }
        outbox_put(&outbox, &(OutMessage){ .subject = SLICE("big"), .body = { big, sizeof(big) } });
        outbox_clear(&outbox);
        assert_true(outbox.bytes.capacity <= 1024 * 1024);
        outbox_done(&outbox);
}

static void headers_are_found_by_any_case_and_without_their_blanks(void **state) {
        const Slice headers = SLICE("Traceparent:  00-x \r\nCompozy-Ttl: 3\r\nEmpty:\r\nCompozy-Ttl-More: 4\r\n");

        (void)state;

        assert_true(slice_equal(headers_get(headers, SLICE("traceparent")), SLICE("00-x")));
        assert_true(slice_equal(headers_get(headers, SLICE("COMPOZY-TTL")), SLICE("3")));
        assert_true(slice_equal(headers_get(headers, SLICE("compozy-ttl-more")), SLICE("4")));
        assert_non_null(headers_get(headers, SLICE("empty")).data);
        assert_int_equal(headers_get(headers, SLICE("empty")).size, 0);
        assert_null(headers_get(headers, SLICE("trace")).data);
        assert_null(headers_get(SLICE_NONE, SLICE("x")).data);
        assert_null(headers_get(SLICE(":"), SLICE("x")).data);
}

static void a_header_value_cannot_begin_another_header(void **state) {
        _cleanup_(buffer_done) Buffer buffer = { 0 };

        (void)state;

        headers_put(&buffer, SLICE("A"), SLICE("1\r\nB: 2"));
        assert_true(slice_equal(buffer_slice(&buffer), SLICE("A: 1  B: 2\r\n")));
        assert_null(headers_get(buffer_slice(&buffer), SLICE("B")).data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_come_out_as_they_went_in),
                cmocka_unit_test(subscriptions_keep_their_place_among_what_is_published),
                cmocka_unit_test(a_subscription_that_memory_had_no_room_for_is_told_and_not_counted_as_lost),
                cmocka_unit_test(an_aborted_message_leaves_nothing_behind),
                cmocka_unit_test(a_message_that_memory_had_no_room_for_is_counted_and_the_others_stay),
                cmocka_unit_test(a_turn_like_the_last_one_allocates_nothing_and_a_burst_is_given_back),
                cmocka_unit_test(headers_are_found_by_any_case_and_without_their_blanks),
                cmocka_unit_test(a_header_value_cannot_begin_another_header),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
