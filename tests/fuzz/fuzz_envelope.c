/* SPDX-License-Identifier: MIT */

/*
 * Envelopes. The input is taken as a header block that was received, and as one that a behaviour sends along. Whatever
 * it is, what comes out is what can be read again, says what it must, and holds no line that nobody checked.
 */

#include <stdio.h>
#include <strings.h>

#include "common/outbox.h"
#include "proto/subject.h"
#include "runtimed/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why, Slice block) {
        (void)fprintf(stderr, "%s: %.*s\n", why, SLICE_ARG(block));
        abort();
}

static void check_read(const Envelope *envelope, Slice block) {
        if (envelope->ttl < 1 || envelope->ttl >= ENVELOPE_TTL_MAX || envelope->hop < 1 ||
                envelope->hop > ENVELOPE_HOP_MAX + 1)
                fail("numbers out of their limits", block);
        if (envelope->thread_id.size > ENVELOPE_TEXT_MAX || envelope->correlation_id.size > ENVELOPE_TEXT_MAX ||
                envelope->sender.size > ENVELOPE_TEXT_MAX ||
                (envelope->thread_id.data && !envelope->correlation_id.data))
                fail("texts out of their limits", block);
        if (envelope->reply_to.data && !subject_is_valid(envelope->reply_to))
                fail("an answer that nobody could be sent", block);
        if (envelope->tracestate.data && !envelope->traceparent.data)
                fail("a state of no trace", block);
}

/* Each line that is written ends with CR LF, has a name, and holds no other control character. */
static void check_lines(Slice block) {
        bool has_colon = false, is_first = true;

        for (size_t i = 0; i < block.size; i++) {
                const char c = block.data[i];

                if (c == '\r' && i + 1 < block.size && block.data[i + 1] == '\n') {
                        if (!has_colon)
                                fail("a line that is no header", block);
                        has_colon = false;
                        is_first = true;
                        i++;
                        continue;
                }
                if ((unsigned char)c < ' ' || c == 0x7F || (is_first && (c == ':' || c == ' ')))
                        fail("a line that nobody checked", block);
                has_colon = has_colon || c == ':';
                is_first = false;
        }
        if (block.size == 0 || !is_first)
                fail("the last line has no end", block);
}

static size_t count(Slice block, const char *name) {
        size_t n = 0;

        for (size_t at = 0; at + strlen(name) <= block.size; at++)
                if ((at == 0 || block.data[at - 1] == '\n') && strncasecmp(block.data + at, name, strlen(name)) == 0)
                        n++;
        return n;
}

static void check_written(Slice block, const Envelope *inherited) {
        static const char *const once[] = { "Compozy-Sender:", "Compozy-Hop:", "Compozy-Ttl:", "Compozy-Timestamp:" };
        static const char *const at_most_once[] = {
                "Compozy-Thread-Id:", "Compozy-Correlation-Id:", "Compozy-Reply-To:", "traceparent:", "tracestate:"
        };
        Buffer scratch = { 0 };
        WireError error = { "" };
        Envelope again = { .ttl = 0 };
        int r;

        check_lines(block);
        for (size_t i = 0; i < ELEMENTSOF(once); i++)
                if (count(block, once[i]) != 1)
                        fail("a header of ours is not there once", block);
        for (size_t i = 0; i < ELEMENTSOF(at_most_once); i++)
                if (count(block, at_most_once[i]) > 1)
                        fail("a header of ours is there twice", block);
        if (count(block, "Nats-") > 0)
                fail("a header of the server's", block);
        if (!slice_equal(headers_get(block, SLICE("Compozy-Sender")), SLICE("agent.me")))
                fail("another sender", block);

        r = envelope_read(block, SLICE_NONE, &scratch, &again, &error);
        if (r != 0 && r != ENVELOPE_E_EXPIRED && inherited->hop <= ENVELOPE_HOP_MAX)
                fail(error.text, block);
        if (r == 0 && (again.ttl >= inherited->ttl || again.hop != inherited->hop + 1))
                fail("it can go on for ever", block);
        buffer_done(&scratch);
}

static void write_with(const Envelope *inherited, Slice overrides) {
        Buffer written = { 0 };
        WireError error = { "" };

        if (envelope_write(&written, inherited, SLICE("agent.me"), overrides, UINT64_C(1763675000123456), &error) == 0)
                check_written(buffer_slice(&written), inherited);
        else if (written.size > 0 || error.text[0] == '\0')
                fail("refused without a sentence, or with half a block", overrides);
        buffer_done(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Slice block = { (const char *)data, size };
        Envelope received, fresh;
        WireError error = { "" };
        Buffer scratch = { 0 };
        int r = envelope_read(block, SLICE_NONE, &scratch, &received, &error);

        if (r == WIRE_E_INVALID && error.text[0] == '\0')
                fail("refused without a sentence", block);
        if (r == 0) {
                check_read(&received, block);
                write_with(&received, SLICE_NONE);
                write_with(&received, block);
        }
        envelope_init(&fresh);
        write_with(&fresh, block);
        buffer_done(&scratch);
        return 0;
}
