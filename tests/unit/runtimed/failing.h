/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Allocations that fail when a test wants them to. The allocator is interposed; under a sanitizer, which brings its
 * own, there is nothing to interpose and nothing fails.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILING_WORKS false
#else
#define FAILING_WORKS true
#endif

static size_t fail_at; /* allocations until one fails; 0: none does */

#if FAILING_WORKS
void *__libc_malloc(size_t size);
void *__libc_realloc(void *old, size_t size);

static bool fails_now(void) {
        return fail_at > 0 && --fail_at == 0;
}

void *malloc(size_t size) {
        return fails_now() ? NULL : __libc_malloc(size);
}

/* Not that of libc: gcc would make malloc() and memset() into calloc() again. */
void *calloc(size_t n, size_t size) {
        size_t bytes;
        void *place;

        if (fails_now() || __builtin_mul_overflow(n, size, &bytes))
                return NULL;
        place = __libc_malloc(bytes);
        if (place)
                memset(place, 0, bytes);
        return place;
}

void *realloc(void *old, size_t size) {
        return fails_now() ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size) {
        size_t bytes;

        return fails_now() || __builtin_mul_overflow(n, size, &bytes) ? NULL : __libc_realloc(old, bytes);
}
#endif
