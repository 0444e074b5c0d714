/* SPDX-License-Identifier: MIT */

/*
 * Grows by doubling, so that an encoder's appends cost amortised constant time and a buffer that is reused soon stops
 * allocating. After a failed allocation the content stays as it was: a reader that forgets to look at `failed` gets a
 * text that does not parse, never one that lies about memory.
 */

#include <stdarg.h>
#include <stdio.h>

#include "proto/buffer.h"

#define BUFFER_FIRST 512 /* most messages fit, so most buffers are allocated once */

void buffer_done(Buffer *buffer) {
        free(buffer->data);
        *buffer = (Buffer){ 0 };
}

void buffer_clear(Buffer *buffer) {
        buffer->size = 0;
        buffer->nesting = 0;
        buffer->failed = false;
}

int buffer_reserve(Buffer *buffer, size_t more) {
        size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_FIRST;
        char *data = NULL;

        if (buffer->failed)
                return -ENOMEM;
        if (buffer->capacity - buffer->size >= more)
                return 0;

        while (capacity - buffer->size < more && capacity <= SIZE_MAX / 2)
                capacity *= 2;
        if (capacity - buffer->size >= more)
                data = realloc(buffer->data, capacity);
        if (!data) {
                buffer->failed = true;
                return -ENOMEM;
        }

        buffer->data = data;
        buffer->capacity = capacity;
        return 0;
}

void buffer_append_slow(Buffer *buffer, const void *data, size_t size) {
        if (buffer_reserve(buffer, size) != 0 || size == 0)
                return;

        memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
}

void buffer_printf(Buffer *buffer, const char *format, ...) {
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (n < 0 || buffer_reserve(buffer, (size_t)n + 1) != 0) {
                buffer->failed = true;
                return;
        }

        va_start(args, format);
        (void)vsnprintf(buffer->data + buffer->size, (size_t)n + 1, format, args);
        va_end(args);
        buffer->size += (size_t)n;
}
