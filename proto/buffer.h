/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Buffer: a growing run of bytes that encoders write into.
 *
 * Embedded by value. A failed allocation is remembered (`failed`) and makes every later append do
 * nothing, so that an encoder checks once, at its end. Not thread-safe.
 */

#include <string.h>

#include "proto/cc.h"
#include "proto/slice.h"

typedef struct Buffer {
        char *data;
        size_t size;
        size_t capacity;
        unsigned
                nesting; /* objects and arrays that emit.h has open: below the outermost value, commas put themselves */
        bool failed;     /* an allocation failed: the content is incomplete */
} Buffer;

/* Frees the memory; the buffer is empty and usable again. The form for _cleanup_(). */
void buffer_done(Buffer *buffer);

/* Forgets the content, the nesting and the failure, keeps the memory. */
void buffer_clear(Buffer *buffer);

/* Room for `more` bytes beyond the content: 0, or -ENOMEM (and failed is set). */
int buffer_reserve(Buffer *buffer, size_t more);

void buffer_append_slow(Buffer *buffer, const void *data, size_t size);
void buffer_printf(Buffer *buffer, const char *format, ...) _printf_(2, 3);

/* Does buffer_reserve() have nothing to do? */
static inline bool buffer_has_room(const Buffer *buffer, size_t more) {
        return !buffer->failed && buffer->capacity - buffer->size >= more;
}

static inline void buffer_append(Buffer *buffer, const void *data, size_t size) {
        if (!buffer_has_room(buffer, size)) {
                buffer_append_slow(buffer, data, size);
                return;
        }
        if (size > 0) {
                if (!buffer->data)
                        __builtin_unreachable(); /* there is data if and only if there is capacity: said for gcc's
                                                    analyzer */
                memcpy(buffer->data + buffer->size, data, size);
        }
        buffer->size += size;
}

static inline void buffer_append_slice(Buffer *buffer, Slice slice) {
        buffer_append(buffer, slice.data, slice.size);
}

static inline void buffer_append_char(Buffer *buffer, char c) {
        buffer_append(buffer, &c, 1);
}

/* Borrowed until the next append. */
static inline Slice buffer_slice(const Buffer *buffer) {
        return (Slice){ buffer->data ? buffer->data : "", buffer->size };
}
