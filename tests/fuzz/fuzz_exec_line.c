/* SPDX-License-Identifier: MIT */

/*
 * A line from a child process: whatever is in it, it is refused with a sentence, or what was understood can be answered
 * with one line that is JSON, and makes an effect whose parts are in order.
 */

#include <stdio.h>

#include "proto/scan.h"
#include "runtimed/exec_line.h"
#include "runtimed/exec_payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_fail(const char *why, Slice text) {
        (void)fprintf(stderr, "%s: %.*s\n", why, SLICE_ARG(text));
        abort();
}

/* Our own reader takes 32 levels, and what is sent to a child lies two deeper than it came. */
static bool may_be_too_deep(Slice line) {
        size_t n = 0;

        for (size_t i = 0; i < line.size; i++)
                n += line.data[i] == '[' || line.data[i] == '{';
        return n + 2 > SCAN_DEPTH_MAX;
}

static void must_be_one_line(const Buffer *buffer, Slice line) {
        const Slice written = buffer_slice(buffer);

        if (written.size == 0 || written.data[written.size - 1] != '\n' ||
                memchr(written.data, '\n', written.size - 1) || memchr(written.data, '\r', written.size) ||
                (exec_encoding_of(written) != EXEC_JSON && !may_be_too_deep(line)) || buffer->nesting != 0)
                fuzz_fail("what was written is not one line of JSON", line);
}

/* The headers of a message are lines of a name and a value. */
static void check_headers(Slice block, Slice line) {
        while (block.size > 0) {
                const char *end = memmem(block.data, block.size, "\r\n", 2);
                const size_t n = end ? (size_t)(end - block.data) : 0;

                if (!end || !memchr(block.data, ':', n) || memchr(block.data, '\n', n) || memchr(block.data, '\r', n))
                        fuzz_fail("headers that are none", line);
                block = slice_after(block, n + 2);
        }
}

static void on_wish(const ExecLine *read, Slice line) {
        EffectList effects = {};
        WireError error = { "" };
        ExecWish wish;
        int r;

        r = exec_wish_read(read, &effects, &wish, &error);
        if (r == 0 && (effects.n != 1 || effects.failed))
                fuzz_fail("a wish that is no effect", line);
        if (r != 0 && effects.n != 0)
                fuzz_fail("an effect of a wish that was refused", line);
        if (r == WIRE_E_INVALID && error.text[0] == '\0')
                fuzz_fail("refused without a sentence", line);
        if (r == 0 && effects.first->kind != EFFECT_LOG)
                check_headers(effects.first->headers, line);
        effects_clear(&effects);

        if (read->id.data) {
                Buffer buffer = {};

                exec_put_result(&buffer, read->id, line);
                must_be_one_line(&buffer, line);
                buffer_clear(&buffer);
                exec_put_error(&buffer, read->id, EXEC_RPC_FAILED, ERROR_TIMEOUT, line);
                must_be_one_line(&buffer, line);
                buffer_done(&buffer);
        }
}

static void on_response(const ExecLine *read, Slice line) {
        WireError error = { "" };
        Arena arena = { 0 };
        Slice found;

        for (MessageKind kind = MESSAGE_TRIGGER; kind <= MESSAGE_TOPIC; kind++)
                if (exec_output_read(read, kind, &arena, &found, &error) == 0 && kind == MESSAGE_TRIGGER &&
                        exec_encoding_of(found) != EXEC_JSON)
                        fuzz_fail("an output of a trigger that is no JSON", line);
        if (exec_state_read(read, &arena, &found, &error) == 0 && exec_encoding_of(found) != EXEC_JSON)
                fuzz_fail("a state that is no JSON", line);
        arena_clear(&arena);
}

/* The same bytes as a message on their way to a child. */
static void as_a_message(Slice bytes) {
        const Envelope envelope = { .thread_id = bytes, .sender = bytes };
        const BehaviorMessage message = {
                .kind = MESSAGE_TOPIC, .topic = SLICE("t"), .input = bytes, .envelope = &envelope
        };
        Buffer buffer = {};

        exec_put_handle(&buffer, 1, &message);
        must_be_one_line(&buffer, bytes);
        buffer_done(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Slice line = { (const char *)data, size };
        WireError error = { "" };
        Arena arena = { 0 };
        ExecLine read;

        if (exec_line_read(line, &arena, &read, &error) != 0) {
                if (error.text[0] == '\0')
                        fuzz_fail("refused without a sentence", line);
        } else if (read.method.data)
                on_wish(&read, line);
        else
                on_response(&read, line);
        arena_clear(&arena);
        as_a_message(line);
        return 0;
}
