/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Emit: writes JSON into a Buffer. Commas put themselves; a member whose slice is absent (data NULL) is left out.
 * With `key` NULL the value is an array element or the outermost value; before the outermost value there is never a
 * comma, whatever the buffer holds already.
 *
 * Keys are literals: what depends on them is worked out by the compiler, which is why it stands in this header.
 * Encoders of what is written a hundred thousand times a second put down constant runs with buffer_append_slice()
 * instead, brackets and all; emit_...() with a key may follow, but elements of an array need the emit_array() around
 * them.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

/* Is a comma due? A member has at least its object's bracket before it; of any other value that is not certain. */
static inline bool emit_wants_comma(const Buffer *buffer, const char *key) {
        const char *end = buffer->data + buffer->size;

        if (key)
                return end[-1] != '{';
        return buffer->nesting > 0 && end[-1] != '[' && end[-1] != ':';
}

/* The comma and the key before a value. `key` is copied as it is: plain ASCII, nothing to escape. */
static inline void emit_key(Buffer *buffer, const char *key) {
        const size_t size = key ? strlen(key) : 0;
        char *p;

        if (!buffer_has_room(buffer, size + 4) && buffer_reserve(buffer, size + 4) != 0)
                return;

        p = buffer->data + buffer->size;
        if (buffer->size > 0 && emit_wants_comma(buffer, key))
                *p++ = ',';
        if (key) {
                *p++ = '"';
                memcpy(p, key, size);
                p += size;
                *p++ = '"';
                *p++ = ':';
        }
        buffer->size = (size_t)(p - buffer->data);
}

/* Values alone, for after emit_key(). */
void emit_text_value(Buffer *buffer, Slice text);
void emit_u64_value(Buffer *buffer, uint64_t value);
void emit_real_value(Buffer *buffer, double value);
void emit_timestamp_value(Buffer *buffer, uint64_t real_usec);

/* { */
static inline void emit_object(Buffer *buffer, const char *key) {
        emit_key(buffer, key);
        buffer_append_char(buffer, '{');
        buffer->nesting++;
}

/* [ */
static inline void emit_array(Buffer *buffer, const char *key) {
        emit_key(buffer, key);
        buffer_append_char(buffer, '[');
        buffer->nesting++;
}

static inline void emit_object_end(Buffer *buffer) {
        assert(buffer->nesting > 0);
        buffer->nesting--;
        buffer_append_char(buffer, '}');
}

static inline void emit_array_end(Buffer *buffer) {
        assert(buffer->nesting > 0);
        buffer->nesting--;
        buffer_append_char(buffer, ']');
}

/* Invalid UTF-8 becomes U+FFFD. */
static inline void emit_text(Buffer *buffer, const char *key, Slice text) {
        if (!text.data)
                return;
        emit_key(buffer, key);
        emit_text_value(buffer, text);
}

/* One of our own names: nothing in it is to be escaped. */
static inline void emit_name(Buffer *buffer, const char *key, const char *name) {
        emit_key(buffer, key);
        buffer_append_char(buffer, '"');
        buffer_append(buffer, name, strlen(name));
        buffer_append_char(buffer, '"');
}

static inline void emit_string(Buffer *buffer, const char *key, const char *text) {
        emit_text(buffer, key, slice_of(text));
}

static inline void emit_u64(Buffer *buffer, const char *key, uint64_t value) {
        emit_key(buffer, key);
        emit_u64_value(buffer, value);
}

/* At most 3 decimals; NaN and infinities are 0. */
static inline void emit_real(Buffer *buffer, const char *key, double value) {
        emit_key(buffer, key);
        emit_real_value(buffer, value);
}

static inline void emit_bool(Buffer *buffer, const char *key, bool value) {
        emit_key(buffer, key);
        buffer_append_slice(buffer, value ? SLICE("true") : SLICE("false"));
}

/* `json` is one valid JSON value and is copied as it is. */
static inline void emit_raw(Buffer *buffer, const char *key, Slice json) {
        if (!json.data)
                return;
        emit_key(buffer, key);
        buffer_append_slice(buffer, json);
}

/* RFC 3339, UTC, microseconds. */
static inline void emit_timestamp(Buffer *buffer, const char *key, uint64_t real_usec) {
        emit_key(buffer, key);
        emit_timestamp_value(buffer, real_usec);
}
