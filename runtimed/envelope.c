/* SPDX-License-Identifier: MIT */

/*
 * One walk over a block sorts its headers by a table; each is then checked against its own grammar. What strangers send
 * is refused where it would decide something (a thread, a ttl, a reply subject) and left out where it only would have
 * helped somebody else (a trace).
 *
 * What a behaviour sends along is bytes of a stranger, too, and ends between line breaks on a connection of ours: so a
 * block of overrides is first checked as a whole, byte for byte, and written only then. In what was checked, lines end
 * with CR LF and hold no other control character, so no value can begin another header.
 */

#include <strings.h>

#include "common/outbox.h"
#include "proto/emit.h"
#include "proto/subject.h"
#include "proto/utf8.h"
#include "runtimed/envelope.h"

typedef enum Name {
        NAME_THREAD_ID,
        NAME_CORRELATION_ID,
        NAME_SENDER,
        NAME_REPLY_TO,
        NAME_TTL,
        NAME_HOP,
        NAME_TIMESTAMP,
        NAME_TRACEPARENT,
        NAME_TRACESTATE,
        _NAME_MAX, /* any other */
} Name;

static const struct {
        Slice name;
        size_t max;
        bool is_ours; /* the runtime says it, no behaviour may */
} names[_NAME_MAX] = {
        [NAME_THREAD_ID] = { { "Compozy-Thread-Id", 17 }, ENVELOPE_TEXT_MAX, false },
        [NAME_CORRELATION_ID] = { { "Compozy-Correlation-Id", 22 }, ENVELOPE_TEXT_MAX, false },
        [NAME_SENDER] = { { "Compozy-Sender", 14 }, ENVELOPE_TEXT_MAX, true },
        [NAME_REPLY_TO] = { { "Compozy-Reply-To", 16 }, SUBJECT_MAX, false },
        [NAME_TTL] = { { "Compozy-Ttl", 11 }, ENVELOPE_TTL_MAX, false },
        [NAME_HOP] = { { "Compozy-Hop", 11 }, ENVELOPE_HOP_MAX, true },
        [NAME_TIMESTAMP] = { { "Compozy-Timestamp", 17 }, ENVELOPE_TIMESTAMP_MAX, true },
        [NAME_TRACEPARENT] = { { "traceparent", 11 }, ENVELOPE_TRACEPARENT_MAX, false },
        [NAME_TRACESTATE] = { { "tracestate", 10 }, ENVELOPE_TRACESTATE_MAX, false },
};

/* By name; absent where there was none. */
typedef struct Values {
        Slice of[_NAME_MAX];
} Values;

/* blocks */

static Name name_find(Slice text) {
        unsigned name = 0;

        while (name < _NAME_MAX &&
                !(names[name].name.size == text.size && strncasecmp(names[name].name.data, text.data, text.size) == 0))
                name++;
        return (Name)name;
}

static Slice trim(Slice text) {
        while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
                text = slice_after(text, 1);
        while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
                text.size--;
        return text;
}

/* The next line of the block without its end. */
static Slice take_line(Slice *block) {
        const char *end = memmem(block->data, block->size, "\r\n", 2);
        const Slice line = { block->data, end ? (size_t)(end - block->data) : block->size };

        *block = slice_after(*block, end ? line.size + 2 : line.size);
        return line;
}

/* False: it has no colon. */
static bool split_line(Slice line, Slice *ret_name, Slice *ret_value) {
        const char *colon = line.size > 0 ? memchr(line.data, ':', line.size) : NULL;

        if (!colon)
                return false;
        *ret_name = (Slice){ line.data, (size_t)(colon - line.data) };
        *ret_value = trim(slice_after(line, ret_name->size + 1));
        return true;
}

/* The first of each name counts, as with headers_get(). */
static void read_block(Slice block, Values *ret) {
        Slice key, value;

        *ret = (Values){ 0 };
        while (block.size > 0) {
                Name name = _NAME_MAX;

                if (split_line(take_line(&block), &key, &value))
                        name = name_find(key);
                if (name < _NAME_MAX && !ret->of[name].data)
                        ret->of[name] = value;
        }
}

/* values */

/* UTF-8 without control characters: it ends in JSON and in logs. */
static bool is_plain_text(Slice text) {
        for (size_t i = 0; i < text.size;) {
                const size_t n = utf8_size(text.data + i, text.data + text.size);

                if (n == 0 || (unsigned char)text.data[i] < ' ' || text.data[i] == 0x7F)
                        return false;
                i += n;
        }
        return true;
}

/* An empty text stands for none. */
static int check_text(Values *values, Name name, WireError *ret_error) {
        Slice *value = &values->of[name];

        if (value->size > names[name].max)
                return wire_error(ret_error, "%s has %zu bytes, the limit is %zu", names[name].name.data, value->size,
                        names[name].max);
        if (!is_plain_text(*value))
                return wire_error(ret_error, "%s is not UTF-8 without control characters", names[name].name.data);
        if (value->size == 0)
                *value = SLICE_NONE;
        return 0;
}

static int check_subject(Values *values, Name name, WireError *ret_error) {
        Slice *value = &values->of[name];

        if (value->size == 0)
                *value = SLICE_NONE;
        else if (!subject_is_valid(*value))
                return wire_error(ret_error, "%s is \"%.*s\", not a subject without wildcards", names[name].name.data,
                        SLICE_ARG(*value));
        return 0;
}

/* Digits only; `fallback` when it is absent. */
static int read_number(const Values *values, Name name, uint64_t fallback, uint64_t *ret, WireError *ret_error) {
        const Slice text = values->of[name];
        uint64_t number = 0;
        bool fits = text.size > 0;

        if (!text.data) {
                *ret = fallback;
                return 0;
        }
        for (size_t i = 0; i < text.size && fits; i++) {
                fits = text.data[i] >= '0' && text.data[i] <= '9';
                number = number * 10 + (uint64_t)(unsigned char)(text.data[i] - '0');
                fits = fits && number <= names[name].max; /* so that it never overflows */
        }
        if (!fits)
                return wire_error(ret_error, "%s is \"%.*s\", not a number from 0 to %zu", names[name].name.data,
                        SLICE_ARG(text), names[name].max);
        *ret = number;
        return 0;
}

/* A trace that can't be passed on is not: the message matters more. */
static void drop_bad_trace(Values *values) {
        const Name both[] = { NAME_TRACEPARENT, NAME_TRACESTATE };

        for (size_t i = 0; i < ELEMENTSOF(both); i++)
                if (check_text(values, both[i], NULL) != 0)
                        values->of[both[i]] = SLICE_NONE;
        if (!values->of[NAME_TRACEPARENT].data)
                values->of[NAME_TRACESTATE] = SLICE_NONE;
}

/* reading */

/* "thread.<thread_id>.reply", if that is a subject. */
static int default_reply(Slice thread_id, Buffer *scratch, Slice *ret) {
        buffer_clear(scratch);
        buffer_append_slice(scratch, SLICE("thread."));
        buffer_append_slice(scratch, thread_id);
        buffer_append_slice(scratch, SLICE(".reply"));
        if (scratch->failed)
                return -ENOMEM;
        *ret = subject_is_valid(buffer_slice(scratch)) ? buffer_slice(scratch) : SLICE_NONE;
        return 0;
}

static int read_reply_to(
        const Values *values, Slice nats_reply, Buffer *scratch, Envelope *envelope, WireError *ret_error) {
        const Slice given = values->of[NAME_REPLY_TO];

        if (!given.data && nats_reply.data && !subject_is_valid(nats_reply))
                return wire_error(ret_error, "the reply subject is \"%.*s\", not a subject without wildcards",
                        SLICE_ARG(nats_reply));
        envelope->is_request = given.data || nats_reply.data;
        envelope->reply_to = given.data ? given : nats_reply;
        return envelope->is_request || !envelope->thread_id.data
                       ? 0
                       : default_reply(envelope->thread_id, scratch, &envelope->reply_to);
}

static int check_received(Values *values, WireError *ret_error) {
        const Name texts[] = { NAME_THREAD_ID, NAME_CORRELATION_ID, NAME_SENDER, NAME_TIMESTAMP };
        int r = check_subject(values, NAME_REPLY_TO, ret_error);

        for (size_t i = 0; i < ELEMENTSOF(texts) && r == 0; i++)
                r = check_text(values, texts[i], ret_error);
        drop_bad_trace(values);
        return r;
}

int envelope_read(Slice headers, Slice nats_reply, Buffer *scratch, Envelope *ret, WireError *ret_error) {
        Envelope envelope;
        Values values;
        int r;

        assert(scratch);
        assert(ret);

        if (headers.size == 0 && !nats_reply.data) { /* the usual message of who knows nothing of envelopes */
                *ret = (Envelope){ .ttl = ENVELOPE_TTL_DEFAULT - 1, .hop = 1 };
                return 0;
        }

        read_block(headers, &values);
        r = check_received(&values, ret_error);
        if (r != 0)
                return r;

        envelope = (Envelope){
                .thread_id = values.of[NAME_THREAD_ID],
                .correlation_id = values.of[NAME_CORRELATION_ID],
                .sender = values.of[NAME_SENDER],
                .timestamp = values.of[NAME_TIMESTAMP],
                .traceparent = values.of[NAME_TRACEPARENT],
                .tracestate = values.of[NAME_TRACESTATE],
        };
        if (!envelope.correlation_id.data)
                envelope.correlation_id = envelope.thread_id;

        r = read_number(&values, NAME_TTL, ENVELOPE_TTL_DEFAULT, &envelope.ttl, ret_error);
        if (r == 0)
                r = read_number(&values, NAME_HOP, 0, &envelope.hop, ret_error);
        if (r == 0)
                r = read_reply_to(&values, nats_reply, scratch, &envelope, ret_error);
        if (r != 0)
                return r;
        if (envelope.ttl <= 1)
                return ENVELOPE_E_EXPIRED;

        envelope.ttl--;
        envelope.hop++;
        *ret = envelope;
        return 0;
}

/* writing */

void envelope_init(Envelope *ret) {
        *ret = (Envelope){ .ttl = ENVELOPE_TTL_DEFAULT };
}

static bool name_is_valid(Slice name) {
        for (size_t i = 0; i < name.size; i++)
                if (name.data[i] <= ' ' || name.data[i] >= 0x7F)
                        return false;
        return name.size > 0;
}

/* One line of the overrides; it goes into `values` when the table has it. */
static int check_override(Slice line, Values *values, WireError *ret_error) {
        Slice key, value;
        Name name;

        if (!split_line(line, &key, &value) || !name_is_valid(key))
                return wire_error(ret_error, "\"%.*s\" is no header", SLICE_ARG(line));
        if (!is_plain_text(value))
                return wire_error(ret_error, "header %.*s is not UTF-8 without control characters", SLICE_ARG(key));

        name = name_find(key);
        if ((name < _NAME_MAX && names[name].is_ours) || (key.size >= 5 && strncasecmp(key.data, "Nats-", 5) == 0))
                return wire_error(ret_error, "header %.*s is not for an agent to set", SLICE_ARG(key));
        if (name == _NAME_MAX)
                return 0;
        if (values->of[name].data)
                return wire_error(ret_error, "header %.*s is there twice", SLICE_ARG(key));
        values->of[name] = value;
        return 0;
}

static int check_overrides(Slice overrides, Values *ret, WireError *ret_error) {
        const Name texts[] = { NAME_THREAD_ID, NAME_CORRELATION_ID, NAME_TRACEPARENT, NAME_TRACESTATE };
        size_t n = 0;
        int r = 0;

        *ret = (Values){ 0 };
        if (overrides.size > ENVELOPE_OVERRIDES_BYTES_MAX)
                return wire_error(ret_error, "the headers have %zu bytes, the limit is %d", overrides.size,
                        ENVELOPE_OVERRIDES_BYTES_MAX);
        while (overrides.size > 0 && r == 0) {
                if (++n > ENVELOPE_OVERRIDES_MAX)
                        return wire_error(ret_error, "there are more than %d headers", ENVELOPE_OVERRIDES_MAX);
                r = check_override(take_line(&overrides), ret, ret_error);
        }
        for (size_t i = 0; i < ELEMENTSOF(texts) && r == 0; i++)
                r = check_text(ret, texts[i], ret_error);
        return r == 0 ? check_subject(ret, NAME_REPLY_TO, ret_error) : r;
}

static int choose_ttl(const Values *values, uint64_t inherited, uint64_t *ret, WireError *ret_error) {
        uint64_t ttl = 0;
        int r = read_number(values, NAME_TTL, inherited, &ttl, ret_error);

        if (r != 0)
                return r;
        if (ttl > inherited)
                return wire_error(ret_error, "Compozy-Ttl is %ju, more than the %ju that are left", (uintmax_t)ttl,
                        (uintmax_t)inherited);
        *ret = ttl;
        return 0;
}

static void put(Buffer *buffer, Name name, Slice value) {
        if (value.data)
                headers_put(buffer, names[name].name, value);
}

static void put_number(Buffer *buffer, Name name, uint64_t value) {
        buffer_printf(buffer, "%s: %ju\r\n", names[name].name.data, (uintmax_t)value);
}

/* The emitter writes a JSON text: its first quote becomes the space behind the colon, its last one goes. */
static void put_timestamp(Buffer *buffer, uint64_t real_usec) {
        size_t at;

        buffer_append_slice(buffer, names[NAME_TIMESTAMP].name);
        buffer_append_char(buffer, ':');
        at = buffer->size;
        emit_timestamp_value(buffer, real_usec);
        if (buffer->failed)
                return;
        buffer->data[at] = ' ';
        buffer->size--;
        buffer_append_slice(buffer, SLICE("\r\n"));
}

static void put_others(Buffer *buffer, Slice overrides) {
        Slice key, value;

        while (overrides.size > 0)
                if (split_line(take_line(&overrides), &key, &value) && name_find(key) == _NAME_MAX)
                        headers_put(buffer, key, value);
}

/* A new trace brings its own state along or has none. */
static void put_trace(Buffer *buffer, const Values *values, const Envelope *inherited) {
        const bool is_new = values->of[NAME_TRACEPARENT].data;
        Slice state = values->of[NAME_TRACESTATE];

        if (!state.data && !is_new)
                state = inherited->tracestate;
        put(buffer, NAME_TRACEPARENT, is_new ? values->of[NAME_TRACEPARENT] : inherited->traceparent);
        put(buffer, NAME_TRACESTATE, state);
}

int envelope_write(Buffer *buffer, const Envelope *inherited, Slice sender, Slice overrides, uint64_t real_usec,
        WireError *ret_error) {
        Slice thread_id, correlation_id;
        uint64_t ttl = 0;
        Values values;
        int r = check_overrides(overrides, &values, ret_error);

        assert(buffer);
        assert(inherited);

        if (r == 0)
                r = choose_ttl(&values, inherited->ttl, &ttl, ret_error);
        if (r != 0)
                return r;

        thread_id = values.of[NAME_THREAD_ID].data ? values.of[NAME_THREAD_ID] : inherited->thread_id;
        correlation_id = values.of[NAME_CORRELATION_ID];
        if (!correlation_id.data)
                correlation_id = inherited->correlation_id.data ? inherited->correlation_id : thread_id;

        put(buffer, NAME_THREAD_ID, thread_id);
        put(buffer, NAME_CORRELATION_ID, correlation_id);
        put(buffer, NAME_SENDER, sender);
        put(buffer, NAME_REPLY_TO, values.of[NAME_REPLY_TO]);
        put_number(buffer, NAME_TTL, ttl);
        put_number(buffer, NAME_HOP, inherited->hop);
        put_timestamp(buffer, real_usec);
        put_trace(buffer, &values, inherited);
        put_others(buffer, overrides);
        return 0;
}

/* copies */

static const size_t texts[] = {
        offsetof(Envelope, thread_id),
        offsetof(Envelope, correlation_id),
        offsetof(Envelope, sender),
        offsetof(Envelope, reply_to),
        offsetof(Envelope, timestamp),
        offsetof(Envelope, traceparent),
        offsetof(Envelope, tracestate),
};

size_t envelope_text_size(const Envelope *envelope) {
        size_t size = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                size += ((const Slice *)((const char *)envelope + texts[i]))->size;
        return size;
}

void envelope_copy(const Envelope *envelope, char *storage, Envelope *ret) {
        *ret = *envelope;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                Slice *text = (Slice *)((char *)ret + texts[i]);

                if (!text->data)
                        continue;
                memcpy(storage, text->data, text->size);
                text->data = storage;
                storage += text->size;
        }
}
