/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Slice: a borrowed run of bytes. Never NUL-terminated, never owned; {NULL, 0} means absent, and
 * {non-NULL, 0} an empty text.
 */

#include <string.h>

#include "proto/cc.h"

typedef struct Slice {
        const char *data;
        size_t size;
} Slice;

#define SLICE(literal) ((Slice){ "" literal, sizeof(literal) - 1 })
#define SLICE_NONE ((Slice){ NULL, 0 })

/* For "%.*s". */
#define SLICE_ARG(slice) (int)(slice).size, (slice).data ? (slice).data : ""

static inline Slice slice_of(const char *text) {
        return (Slice){ text, text ? strlen(text) : 0 };
}

static inline bool slice_equal(Slice a, Slice b) {
        return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_starts_with(Slice a, Slice prefix) {
        return a.size >= prefix.size && (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

static inline Slice slice_after(Slice a, size_t n) {
        assert(n <= a.size);
        return (Slice){ a.data + n, a.size - n };
}

/* Allocates a NUL-terminated copy, NULL when memory is out. The caller frees it. */
static inline char *slice_dup(Slice a) {
        char *copy = malloc(a.size + 1);

        if (!copy)
                return NULL;
        if (a.size > 0)
                memcpy(copy, a.data, a.size);
        copy[a.size] = '\0';
        return copy;
}
