/* SPDX-License-Identifier: MIT */

/*
 * Spans are written as text when they end, not kept as records: what they say lies in memory of its owner that is about
 * to be freed, and a text is what is sent. The one that is open is undone when memory runs out in it; so what is there
 * is always whole.
 */

#include <stdio.h>
#include <strings.h>

#include "common/outbox.h"
#include "common/trace.h"
#include "proto/emit.h"

#define KEPT_BYTES (1024 * 1024)
#define TEXT_MAX 256  /* bytes of one attribute: ids and subjects are shorter, sentences are cut */
#define STATE_MAX 512 /* W3C asks to pass on at least so many; a longer one is left out of the span */
#define NAME_MAX_BYTES 160

/* traceparent */

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* capitals are not allowed */
}

static bool read_hex(const char *text, uint8_t *ret, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

                if (high < 0 || low < 0)
                        return false;
                ret[i] = (uint8_t)(high << 4 | low);
        }
        return true;
}

static char *write_hex(char *text, const uint8_t *bytes, size_t n) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                *text++ = digits[bytes[i] >> 4];
                *text++ = digits[bytes[i] & 15];
        }
        return text;
}

static bool is_zero(const uint8_t *bytes, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* https://www.w3.org/TR/trace-context/#versioning-of-traceparent: later versions begin like version 00. */
bool trace_parse(Slice text, TraceSpan *ret) {
        const char *p = text.data;
        TraceSpan span = {};
        uint8_t version;

        if (text.size < TRACEPARENT_SIZE || p[2] != '-' || p[35] != '-' || p[52] != '-')
                return false;
        if (!read_hex(p, &version, 1) || version == 0xff || (version == 0 && text.size != TRACEPARENT_SIZE) ||
                (text.size > TRACEPARENT_SIZE && p[TRACEPARENT_SIZE] != '-'))
                return false;
        if (!read_hex(p + 3, span.trace_id, sizeof(span.trace_id)) ||
                !read_hex(p + 36, span.parent_id, sizeof(span.parent_id)) || !read_hex(p + 53, &span.flags, 1))
                return false;
        if (is_zero(span.trace_id, sizeof(span.trace_id)) || is_zero(span.parent_id, sizeof(span.parent_id)))
                return false;
        *ret = span;
        return true;
}

Slice trace_format(const TraceSpan *span, char storage[static TRACEPARENT_SIZE]) {
        char *p = storage;

        memcpy(p, "00-", 3);
        p = write_hex(p + 3, span->trace_id, sizeof(span->trace_id));
        *p++ = '-';
        p = write_hex(p, span->span_id, sizeof(span->span_id));
        *p++ = '-';
        p = write_hex(p, &span->flags, 1);
        assert(p == storage + TRACEPARENT_SIZE);
        return (Slice){ storage, TRACEPARENT_SIZE };
}

/* the tracer */

void tracer_init(Tracer *tracer, uint64_t seed, double sample, size_t n_max) {
        *tracer = (Tracer){ .n_max = n_max };
        rng_seed(&tracer->rng, seed);
        tracer_set_sample(tracer, sample);
}

void tracer_set_sample(Tracer *tracer, double sample) {
        tracer->threshold = sample >= 1 ? UINT64_MAX : (uint64_t)(sample * 0x1p64);
}

void tracer_done(Tracer *tracer) {
        buffer_done(&tracer->spans);
}

void tracer_clear(Tracer *tracer) {
        assert(tracer->place == TRACER_OUTSIDE);

        if (tracer->spans.capacity > KEPT_BYTES)
                buffer_done(&tracer->spans);
        else
                buffer_clear(&tracer->spans);
        tracer->n_spans = 0;
}

static void fill_random(Rng *rng, uint8_t *bytes, size_t n_words) {
        for (size_t i = 0; i < n_words; i++) {
                const uint64_t word = rng_next(rng) | 1; /* zeroes mean "none" */

                memcpy(bytes + i * sizeof(word), &word, sizeof(word));
        }
}

bool tracer_begin(Tracer *tracer, Slice traceparent, TraceSpan *ret) {
        bool is_sampled;

        if (traceparent.size > 0 && trace_parse(traceparent, ret)) {
                ret->is_recorded = ret->flags & TRACE_SAMPLED;
                if (ret->is_recorded)
                        fill_random(&tracer->rng, ret->span_id, 1);
                return ret->is_recorded;
        }

        *ret = (TraceSpan){};
        if (tracer->threshold == 0)
                return false;
        fill_random(&tracer->rng, ret->trace_id, 2);
        fill_random(&tracer->rng, ret->span_id, 1);
        is_sampled = tracer->threshold == UINT64_MAX || rng_next(&tracer->rng) < tracer->threshold;
        ret->flags = is_sampled ? TRACE_SAMPLED : 0; /* passed on as well: nobody behind us decides otherwise */
        ret->is_recorded = is_sampled;
        return true;
}

static bool is_header(Slice line, Slice name) {
        return line.size > name.size && line.data[name.size] == ':' &&
               strncasecmp(line.data, name.data, name.size) == 0;
}

void trace_rewrite_headers(Buffer *buffer, Slice headers, const TraceSpan *span) {
        const bool is_first = is_zero(span->parent_id, sizeof(span->parent_id));
        char storage[TRACEPARENT_SIZE];

        headers_put(buffer, SLICE("traceparent"), trace_format(span, storage));
        while (headers.size > 0) {
                const char *end = memmem(headers.data, headers.size, "\r\n", 2);
                const size_t size = end ? (size_t)(end - headers.data) + 2 : headers.size;
                const Slice line = { headers.data, size };

                if (!is_header(line, SLICE("traceparent")) && !(is_first && is_header(line, SLICE("tracestate"))))
                        buffer_append_slice(buffer, line);
                headers = slice_after(headers, size);
        }
}

/* spans */

static Slice cut(Slice text, size_t max) {
        return (Slice){ text.data, MIN_OF(text.size, max) };
}

static void put_id(Buffer *buffer, const char *key, const uint8_t *bytes, size_t n) {
        char text[32];

        assert(n <= sizeof(text) / 2);
        (void)write_hex(text, bytes, n);
        emit_text(buffer, key, (Slice){ text, 2 * n });
}

/* 64-bit numbers are texts in JSON's mapping of Protocol Buffers. */
static void put_number(Buffer *buffer, const char *key, uint64_t number) {
        emit_key(buffer, key);
        buffer_append_char(buffer, '"');
        emit_u64_value(buffer, number);
        buffer_append_char(buffer, '"');
}

static void put_time(Buffer *buffer, const char *key, uint64_t real_usec) {
        put_number(buffer, key, real_usec * 1000);
}

static void put_status(Buffer *buffer, const SpanHead *head) {
        if (!head->error)
                return;
        emit_object(buffer, "status");
        emit_u64(buffer, "code", 2); /* STATUS_CODE_ERROR */
        emit_text(buffer, "message", cut(head->why, TEXT_MAX));
        emit_object_end(buffer);
}

bool tracer_open(Tracer *tracer, const SpanHead *head) {
        const TraceSpan *span = head->span;
        const Slice of = cut(head->of, NAME_MAX_BYTES);
        Buffer *buffer = &tracer->spans;
        char name[32 + NAME_MAX_BYTES];
        const int size = snprintf(name, sizeof(name), "%s %.*s", head->what, SLICE_ARG(of));

        assert(tracer->place == TRACER_OUTSIDE);

        if (tracer->n_spans >= tracer->n_max) {
                tracer->n_dropped++;
                return false;
        }

        tracer->start = buffer->size;
        if (tracer->n_spans > 0)
                buffer_append_char(buffer, ',');
        emit_object(buffer, NULL);
        put_id(buffer, "traceId", span->trace_id, sizeof(span->trace_id));
        put_id(buffer, "spanId", span->span_id, sizeof(span->span_id));
        if (!is_zero(span->parent_id, sizeof(span->parent_id)))
                put_id(buffer, "parentSpanId", span->parent_id, sizeof(span->parent_id));
        if (head->state.size > 0 && head->state.size <= STATE_MAX)
                emit_text(buffer, "traceState", head->state);
        emit_u64(buffer, "flags", span->flags);
        emit_text(buffer, "name", (Slice){ name, (size_t)size });
        emit_u64(buffer, "kind", head->kind);
        put_time(buffer, "startTimeUnixNano", head->start_real_usec);
        put_time(buffer, "endTimeUnixNano", MAX_OF(head->end_real_usec, head->start_real_usec));
        put_status(buffer, head);
        emit_array(buffer, "attributes");
        tracer->place = TRACER_ATTRIBUTES;
        if (head->error)
                tracer_text(tracer, "error.type", slice_of(head->error));
        return true;
}

void tracer_text(Tracer *tracer, const char *key, Slice value) {
        Buffer *buffer = &tracer->spans;

        assert(tracer->place != TRACER_OUTSIDE);

        if (value.size == 0)
                return;
        emit_object(buffer, NULL);
        emit_name(buffer, "key", key);
        emit_object(buffer, "value");
        emit_text(buffer, "stringValue", cut(value, TEXT_MAX));
        emit_object_end(buffer);
        emit_object_end(buffer);
}

void tracer_number(Tracer *tracer, const char *key, uint64_t value) {
        Buffer *buffer = &tracer->spans;

        assert(tracer->place != TRACER_OUTSIDE);

        emit_object(buffer, NULL);
        emit_name(buffer, "key", key);
        emit_object(buffer, "value");
        put_number(buffer, "intValue", value);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

void tracer_event(Tracer *tracer, const char *name, uint64_t real_usec) {
        Buffer *buffer = &tracer->spans;

        assert(tracer->place != TRACER_OUTSIDE);

        emit_array_end(buffer); /* of attributes: the span's, or the last event's */
        if (tracer->place == TRACER_ATTRIBUTES)
                emit_array(buffer, "events");
        else
                emit_object_end(buffer);
        emit_object(buffer, NULL);
        put_time(buffer, "timeUnixNano", real_usec);
        emit_name(buffer, "name", name);
        emit_array(buffer, "attributes");
        tracer->place = TRACER_EVENT;
}

void tracer_close(Tracer *tracer) {
        Buffer *buffer = &tracer->spans;

        assert(tracer->place != TRACER_OUTSIDE);

        emit_array_end(buffer);
        if (tracer->place == TRACER_EVENT) {
                emit_object_end(buffer);
                emit_array_end(buffer);
        }
        emit_object_end(buffer);
        tracer->place = TRACER_OUTSIDE;
        if (!buffer->failed) {
                tracer->n_spans++;
                return;
        }
        /* Memory is out: this one is lost, those before it are as they were. */
        buffer->size = tracer->start;
        buffer->nesting = 0;
        buffer->failed = false;
        tracer->n_dropped++;
}
