/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What every decoder in proto/ returns besides 0 and -errno, and the sentence that goes with it.
 */

#include "proto/cc.h"

enum {
        WIRE_E_OK,

        WIRE_E_INVALID, /* refused; the WireError names the field, the value and the limit */
};

typedef struct WireError {
        char text[320];
} WireError;

/*
 * Writes the sentence (cut to fit, always NUL-terminated, always valid UTF-8 without control characters) and returns
 * WIRE_E_INVALID. `ret_error` may be NULL.
 */
int wire_error(WireError *ret_error, const char *format, ...) _printf_(2, 3);

/* Says where the sentence belongs: "<what> <index>: <sentence>". Returns WIRE_E_INVALID. */
int wire_error_within(WireError *ret_error, const char *what, size_t index);
