/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The C language, with the few helpers that every layer leans on.
 */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/* Gives the pointer away and leaves NULL: the only way an owning local leaves its scope alive. */
#define TAKE_PTR(p)                     \
        ({                              \
                __typeof__(p) _p = (p); \
                (p) = NULL;             \
                _p;                     \
        })

/* Defines func##p() for _cleanup_() from a destructor that takes NULL. */
#define DEFINE_CLEANUP(type, func)                     \
        static inline _unused_ void func##p(type *p) { \
                if (*p)                                \
                        (void)func(*p);                \
        }                                              \
        struct func##_needs_a_semicolon_

static inline void free_charp(char **p) {
        free(*p);
}
