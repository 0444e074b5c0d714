/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/outbox.h"
#include "runtimed/envelope.h"

#define REAL_USEC UINT64_C(1763675000123456) /* 2025-11-20T21:43:20.123456Z */

static const char full[] = "Compozy-Thread-Id: t1\r\n"
                           "compozy-correlation-id: c1\r\n"
                           "Compozy-Sender: agent.a\r\n"
                           "Compozy-Reply-To: answers.here\r\n"
                           "Compozy-Ttl: 9\r\n"
                           "Compozy-Hop: 3\r\n"
                           "Compozy-Timestamp: 2025-11-20T21:43:20.000000Z\r\n"
                           "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
                           "tracestate: v=1\r\n"
                           "Other: x\r\n";

static bool is(Slice text, const char *wanted) {
        return wanted ? slice_equal(text, slice_of(wanted)) : !text.data;
}

static void what_was_sent_is_read(void **state) {
        _cleanup_(buffer_done) Buffer scratch = { 0 };
        Envelope envelope;
        WireError error;

        (void)state;

        assert_int_equal(envelope_read(slice_of(full), SLICE("_INBOX.1"), &scratch, &envelope, &error), 0);
        assert_true(is(envelope.thread_id, "t1"));
        assert_true(is(envelope.correlation_id, "c1"));
        assert_true(is(envelope.sender, "agent.a"));
        assert_true(is(envelope.reply_to, "answers.here"));
        assert_true(envelope.is_request);
        assert_int_equal(envelope.ttl, 8);
        assert_int_equal(envelope.hop, 4);
        assert_true(is(envelope.timestamp, "2025-11-20T21:43:20.000000Z"));
        assert_true(is(envelope.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert_true(is(envelope.tracestate, "v=1"));
}

static void what_is_left_out_has_its_defaults(void **state) {
        static const struct {
                const char *headers, *nats_reply, *thread_id, *correlation_id, *reply_to;
                bool is_request;
        } cases[] = {
                { "", NULL, NULL, NULL, NULL, false },
                { "", "_INBOX.1", NULL, NULL, "_INBOX.1", true },
                { "Compozy-Thread-Id: t\r\n", NULL, "t", "t", "thread.t.reply", false },
                { "Compozy-Thread-Id: t\r\n", "_INBOX.1", "t", "t", "_INBOX.1", true },
                { "Compozy-Thread-Id: two words\r\n", NULL, "two words", "two words", NULL, false },
                { "Compozy-Thread-Id: *\r\n", NULL, "*", "*", NULL, false },
                { "Compozy-Thread-Id:\r\n", NULL, NULL, NULL, NULL, false },
                { "Compozy-Reply-To:\r\n", NULL, NULL, NULL, NULL, false },
                { "Compozy-Correlation-Id: c\r\n", NULL, NULL, "c", NULL, false },
                { "Compozy-Reply-To: r\r\nCompozy-Reply-To: s\r\n", NULL, NULL, NULL, "r", true },
                { "no colon\r\n: no name\r\n\r\nCompozy-Thread-Id: t", NULL, "t", "t", "thread.t.reply", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer scratch = { 0 };
                Envelope envelope;

                assert_int_equal(envelope_read(slice_of(cases[i].headers), slice_of(cases[i].nats_reply), &scratch,
                                         &envelope, NULL),
                        0);
                assert_true(is(envelope.thread_id, cases[i].thread_id));
                assert_true(is(envelope.correlation_id, cases[i].correlation_id));
                assert_true(is(envelope.reply_to, cases[i].reply_to));
                assert_int_equal(envelope.is_request, cases[i].is_request);
                assert_int_equal(envelope.ttl, ENVELOPE_TTL_DEFAULT - 1);
                assert_int_equal(envelope.hop, 1);
        }
}

static void a_ttl_used_up_is_not_handled(void **state) {
        static const struct {
                const char *headers;
                int outcome;
                uint64_t ttl, hop;
        } cases[] = {
                { "Compozy-Ttl: 0\r\n", ENVELOPE_E_EXPIRED, 0, 0 },
                { "Compozy-Ttl: 1\r\n", ENVELOPE_E_EXPIRED, 0, 0 },
                { "Compozy-Ttl: 2\r\n", 0, 1, 1 },
                { "Compozy-Ttl: 255\r\nCompozy-Hop: 65535\r\n", 0, 254, 65536 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer scratch = { 0 };
                Envelope envelope = { .ttl = 77 };

                assert_int_equal(envelope_read(slice_of(cases[i].headers), SLICE_NONE, &scratch, &envelope, NULL),
                        cases[i].outcome);
                assert_int_equal(envelope.ttl, cases[i].outcome == 0 ? cases[i].ttl : 77);
                if (cases[i].outcome == 0)
                        assert_int_equal(envelope.hop, cases[i].hop);
        }
}

static void what_is_out_of_its_grammar_is_refused_by_name(void **state) {
        static const struct {
                const char *headers, *nats_reply, *named;
        } cases[] = {
                { "Compozy-Ttl: 256\r\n", NULL, "Compozy-Ttl is \"256\", not a number from 0 to 255" },
                { "Compozy-Ttl: -1\r\n", NULL, "Compozy-Ttl is \"-1\"" },
                { "Compozy-Ttl: +1\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl: 1e1\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl: 0x10\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl: 5 5\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl:\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl: 18446744073709551617\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Ttl: 1\nCompozy-Hop: 2\r\n", NULL, "Compozy-Ttl" },
                { "Compozy-Hop: 65536\r\n", NULL, "Compozy-Hop" },
                { "Compozy-Hop: 99999999999999999999999999\r\n", NULL, "Compozy-Hop" },
                { "Compozy-Thread-Id: a\x01\r\n", NULL, "Compozy-Thread-Id is not UTF-8 without" },
                { "Compozy-Thread-Id: a\xff\r\n", NULL, "Compozy-Thread-Id" },
                { "Compozy-Sender: a\x7f\r\n", NULL, "Compozy-Sender" },
                { "Compozy-Reply-To: a.*\r\n", NULL, "Compozy-Reply-To is \"a.*\"" },
                { "Compozy-Reply-To: a..b\r\n", NULL, "Compozy-Reply-To" },
                { "Compozy-Reply-To: a b\r\n", NULL, "Compozy-Reply-To" },
                { "", "a.>", "the reply subject is \"a.>\"" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer scratch = { 0 };
                Envelope envelope;
                WireError error = { "" };

                assert_int_equal(envelope_read(slice_of(cases[i].headers), slice_of(cases[i].nats_reply), &scratch,
                                         &envelope, &error),
                        WIRE_E_INVALID);
                assert_int_equal(strncmp(error.text, cases[i].named, strlen(cases[i].named)), 0);
        }
}

static void texts_have_their_limits(void **state) {
        static const struct {
                const char *name;
                size_t max;
                bool is_refused; /* else it is left out */
        } cases[] = {
                { "Compozy-Thread-Id", ENVELOPE_TEXT_MAX, true },
                { "Compozy-Correlation-Id", ENVELOPE_TEXT_MAX, true },
                { "Compozy-Sender", ENVELOPE_TEXT_MAX, true },
                { "Compozy-Timestamp", ENVELOPE_TIMESTAMP_MAX, true },
                { "Compozy-Reply-To", 1024, true },
                { "traceparent", ENVELOPE_TRACEPARENT_MAX, false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (size_t over = 0; over <= 1; over++) {
                        _cleanup_(buffer_done) Buffer scratch = { 0 }, headers = { 0 };
                        Envelope envelope;
                        char value[2048];

                        memset(value, 'x', sizeof(value));
                        headers_put(&headers, slice_of(cases[i].name), (Slice){ value, cases[i].max + over });
                        assert_int_equal(envelope_read(buffer_slice(&headers), SLICE_NONE, &scratch, &envelope, NULL),
                                over && cases[i].is_refused ? WIRE_E_INVALID : 0);
                        if (!cases[i].is_refused)
                                assert_int_equal(envelope.traceparent.size, over ? 0 : cases[i].max);
                }
}

/* writing */

static void write_reads(const Envelope *inherited, const char *overrides, Envelope *ret, Buffer *headers) {
        static Buffer scratch;
        WireError error = { "" };

        buffer_clear(headers);
        if (envelope_write(headers, inherited, SLICE("agent.b"), slice_of(overrides), REAL_USEC, &error) != 0)
                fail_msg("%s", error.text);
        assert_int_equal(envelope_read(buffer_slice(headers), SLICE_NONE, &scratch, ret, &error), 0);
        buffer_done(&scratch); /* nobody looks at the default reply subject here */
        if (!ret->is_request)
                ret->reply_to = SLICE_NONE;
}

static void what_is_emitted_goes_on_from_what_was_handled(void **state) {
        _cleanup_(buffer_done) Buffer scratch = { 0 }, headers = { 0 };
        Envelope first, second;

        (void)state;

        assert_int_equal(envelope_read(slice_of(full), SLICE_NONE, &scratch, &first, NULL), 0);
        write_reads(&first, NULL, &second, &headers);
        assert_true(is(second.thread_id, "t1"));
        assert_true(is(second.correlation_id, "c1"));
        assert_true(is(second.sender, "agent.b"));
        assert_false(second.is_request);
        assert_int_equal(second.ttl, 7);
        assert_int_equal(second.hop, 5);
        assert_true(is(second.timestamp, "2025-11-20T21:43:20.123456Z"));
        assert_true(slice_equal(second.traceparent, first.traceparent));
        assert_true(slice_equal(second.tracestate, first.tracestate));
        assert_false(headers_get(buffer_slice(&headers), SLICE("Other")).data);
}

static void a_conversation_ends_when_its_ttl_does(void **state) {
        _cleanup_(buffer_done) Buffer headers = { 0 }, scratch = { 0 };
        Envelope envelope;
        int n = 0, r;

        (void)state;

        envelope_init(&envelope);
        do {
                buffer_clear(&headers);
                assert_int_equal(envelope_write(&headers, &envelope, SLICE("agent.a"), SLICE_NONE, 0, NULL), 0);
                r = envelope_read(buffer_slice(&headers), SLICE_NONE, &scratch, &envelope, NULL);
                n += r == 0;
                if (r == 0)
                        assert_int_equal(envelope.hop, n);
        } while (r == 0);
        assert_int_equal(r, ENVELOPE_E_EXPIRED);
        assert_int_equal(n, ENVELOPE_TTL_DEFAULT - 1);
}

static void a_behaviour_may_say_more_and_shorten_the_way(void **state) {
        _cleanup_(buffer_done) Buffer scratch = { 0 }, headers = { 0 };
        Envelope first, second;

        (void)state;

        assert_int_equal(envelope_read(slice_of(full), SLICE_NONE, &scratch, &first, NULL), 0);
        write_reads(&first,
                "compozy-thread-id: t2\r\nCompozy-Ttl: 4\r\nCompozy-Reply-To: r.s\r\nX-Mine: 1 2\r\nX-Mine: 3\r\n"
                "traceparent: new",
                &second, &headers);
        assert_true(is(second.thread_id, "t2"));
        assert_true(is(second.correlation_id, "c1"));
        assert_true(is(second.reply_to, "r.s"));
        assert_int_equal(second.ttl, 3);
        assert_true(is(second.traceparent, "new"));
        assert_true(is(second.tracestate, NULL));
        assert_true(is(headers_get(buffer_slice(&headers), SLICE("x-mine")), "1 2"));
}

static void what_a_behaviour_may_not_say_is_refused_and_nothing_written(void **state) {
        static const struct {
                const char *overrides, *why;
        } cases[] = {
                { "Compozy-Sender: agent.other\r\n", "not for an agent to set" },
                { "compozy-hop: 1\r\n", "not for an agent to set" },
                { "Compozy-Timestamp: x\r\n", "not for an agent to set" },
                { "nats-msg-id: 1\r\n", "not for an agent to set" },
                { "Compozy-Ttl: 9\r\n", "more than the 8 that are left" },
                { "Compozy-Ttl: x\r\n", "not a number" },
                { "Compozy-Ttl: 1\r\nCompozy-Ttl: 2\r\n", "twice" },
                { "Compozy-Reply-To: >\r\n", "not a subject" },
                { "A: b\nCompozy-Sender: c\r\n", "control characters" },
                { "A: b\rCompozy-Sender: c\r\n", "control characters" },
                { "A: b\r\n\r\nbody", "is no header" },
                { "A b\r\n", "is no header" },
                { ": b\r\n", "is no header" },
                { "A\nNats-X: b\r\n", "is no header" },
                { "A : b\r\n", "is no header" },
                { "\xc3\xa4: b\r\n", "is no header" },
                { "A: \xff\r\n", "not UTF-8" },
        };
        _cleanup_(buffer_done) Buffer scratch = { 0 }, headers = { 0 };
        Envelope first;

        (void)state;

        assert_int_equal(envelope_read(slice_of(full), SLICE_NONE, &scratch, &first, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WireError error = { "" };

                assert_int_equal(
                        envelope_write(&headers, &first, SLICE("agent.b"), slice_of(cases[i].overrides), 0, &error),
                        WIRE_E_INVALID);
                if (!strstr(error.text, cases[i].why))
                        fail_msg("\"%s\" and not \"%s\"", error.text, cases[i].why);
                assert_int_equal(headers.size, 0);
        }
}

static void too_many_headers_or_bytes_are_refused(void **state) {
        _cleanup_(buffer_done) Buffer headers = { 0 }, overrides = { 0 };
        Envelope envelope;
        char value[ENVELOPE_OVERRIDES_BYTES_MAX];

        (void)state;

        envelope_init(&envelope);
        for (int i = 0; i < ENVELOPE_OVERRIDES_MAX; i++)
                headers_put(&overrides, SLICE("A"), SLICE("b"));
        assert_int_equal(envelope_write(&headers, &envelope, SLICE("s"), buffer_slice(&overrides), 0, NULL), 0);
        headers_put(&overrides, SLICE("A"), SLICE("b"));
        assert_int_equal(
                envelope_write(&headers, &envelope, SLICE("s"), buffer_slice(&overrides), 0, NULL), WIRE_E_INVALID);

        buffer_clear(&overrides);
        memset(value, 'x', sizeof(value));
        headers_put(&overrides, SLICE("A"), (Slice){ value, sizeof(value) - 5 });
        assert_int_equal(envelope_write(&headers, &envelope, SLICE("s"), buffer_slice(&overrides), 0, NULL), 0);
        buffer_clear(&overrides);
        headers_put(&overrides, SLICE("A"), (Slice){ value, sizeof(value) - 4 });
        assert_int_equal(
                envelope_write(&headers, &envelope, SLICE("s"), buffer_slice(&overrides), 0, NULL), WIRE_E_INVALID);
}

static void a_copy_stands_by_itself(void **state) {
        _cleanup_(buffer_done) Buffer scratch = { 0 };
        Envelope first, copy;
        char block[sizeof(full)];
        char *storage;
        size_t size;

        (void)state;

        memcpy(block, full, sizeof(full));
        assert_int_equal(envelope_read(slice_of(block), SLICE_NONE, &scratch, &first, NULL), 0);
        size = envelope_text_size(&first);
        storage = malloc(size);
        assert_non_null(storage);
        envelope_copy(&first, storage, &copy);
        memset(block, 'x', sizeof(block));
        assert_true(is(copy.thread_id, "t1"));
        assert_true(is(copy.correlation_id, "c1"));
        assert_true(is(copy.sender, "agent.a"));
        assert_true(is(copy.reply_to, "answers.here"));
        assert_true(is(copy.tracestate, "v=1"));
        assert_int_equal(copy.ttl, 8);
        free(storage);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_sent_is_read),
                cmocka_unit_test(what_is_left_out_has_its_defaults),
                cmocka_unit_test(a_ttl_used_up_is_not_handled),
                cmocka_unit_test(what_is_out_of_its_grammar_is_refused_by_name),
                cmocka_unit_test(texts_have_their_limits),
                cmocka_unit_test(what_is_emitted_goes_on_from_what_was_handled),
                cmocka_unit_test(a_conversation_ends_when_its_ttl_does),
                cmocka_unit_test(a_behaviour_may_say_more_and_shorten_the_way),
                cmocka_unit_test(what_a_behaviour_may_not_say_is_refused_and_nothing_written),
                cmocka_unit_test(too_many_headers_or_bytes_are_refused),
                cmocka_unit_test(a_copy_stands_by_itself),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
