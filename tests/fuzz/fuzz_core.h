/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * For targets that are a whole core: the input is the messages that it gets, each of four lines: subject ("!" in front:
 * the server's word that nobody listens), reply subject, one header, body. Whatever they are, what the core publishes
 * goes where it may: nobody can have it give commands, or speak for others.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/outbox.h"
#include "proto/subject.h"

#define FUZZ_MESSAGES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_fail(const char *why, Slice text) {
        (void)fprintf(stderr, "%s: %.*s\n", why, SLICE_ARG(text));
        abort();
}

static inline Slice fuzz_line(Slice *input) {
        const char *end = input->size > 0 ? memchr(input->data, '\n', input->size) : NULL;
        const Slice line = { input->data, end ? (size_t)(end - input->data) : input->size };

        *input = slice_after(*input, end ? line.size + 1 : line.size);
        return line;
}

/* What a server would take as a subject between two spaces. */
static inline bool fuzz_is_word(Slice text) {
        for (size_t i = 0; i < text.size; i++)
                if (strchr(" \t\r\n", text.data[i])) /* NUL as well */
                        return false;
        return text.size > 0;
}

/* False: there are no more. `headers` holds its header block; it is borrowed by `ret`, as is the input. */
static inline bool fuzz_next(Slice *input, Buffer *headers, InMessage *ret) {
        Slice header;

        while (input->size > 0) {
                *ret = (InMessage){ .subject = fuzz_line(input), .reply = fuzz_line(input) };
                header = fuzz_line(input);
                ret->body = fuzz_line(input);
                if (ret->subject.size > 0 && ret->subject.data[0] == '!') {
                        ret->no_responders = true;
                        ret->subject = slice_after(ret->subject, 1);
                }
                if (!fuzz_is_word(ret->subject) || (ret->reply.size > 0 && !fuzz_is_word(ret->reply)))
                        continue;
                if (ret->reply.size == 0)
                        ret->reply = SLICE_NONE;
                buffer_clear(headers);
                if (header.size > 0) {
                        buffer_append_slice(headers, header);
                        buffer_append_slice(headers, SLICE("\r\n"));
                        ret->headers = buffer_slice(headers);
                }
                return true;
        }
        return false;
}

/* `may` says of each kind of subject whether this core publishes to it; `own`: of which its own id is the first. */
static inline void fuzz_check_published(const OutMessage *message, const bool *may, const bool *own, Slice id) {
        const Slice prefix = SLICE(SUBJECT_PREFIX_DEFAULT);
        const SubjectMatch match = subject_parse(prefix, message->subject);

        if (message->kind != OUT_PUBLISH) {
                if (message->kind == OUT_SUBSCRIBE && !subject_pattern_is_valid(message->subject))
                        fuzz_fail("subscribed to what is no subject", message->subject);
                if (message->kind == OUT_SUBSCRIBE && subject_matches(message->subject, SLICE("compozy.results.x")))
                        fuzz_fail("subscribed to what is others'", message->subject);
                return;
        }
        if (!subject_is_valid(message->subject))
                fuzz_fail("published to what is no subject", message->subject);
        if (message->reply.data && !subject_is_valid(message->reply))
                fuzz_fail("published with a reply subject that is none", message->reply);
        if (match.kind == SUBJECT_NONE ? !subject_is_open_to_results(prefix, message->subject) : !may[match.kind])
                fuzz_fail("published where it may not", message->subject);
        if (own[match.kind] && !slice_equal(match.first, id))
                fuzz_fail("spoke for another", message->subject);
}
