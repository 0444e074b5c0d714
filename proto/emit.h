/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Emit: writes JSON into a Buffer. Commas put themselves; a member whose slice is absent (data NULL) is left out.
 * With `key` NULL the value is an array element or the outermost value; before the outermost value there is never a
 * comma, whatever the buffer holds already.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

void emit_object(Buffer *buffer, const char *key); /* { */
void emit_array(Buffer *buffer, const char *key);  /* [ */
void emit_object_end(Buffer *buffer);
void emit_array_end(Buffer *buffer);

void emit_text(Buffer *buffer, const char *key, Slice text); /* invalid UTF-8 becomes U+FFFD */
void emit_string(Buffer *buffer, const char *key, const char *text);
void emit_u64(Buffer *buffer, const char *key, uint64_t value);
void emit_real(Buffer *buffer, const char *key, double value); /* at most 3 decimals; NaN and infinities are 0 */
void emit_bool(Buffer *buffer, const char *key, bool value);

/* `json` is one valid JSON value and is copied as it is. */
void emit_raw(Buffer *buffer, const char *key, Slice json);

/* RFC 3339, UTC, microseconds. */
void emit_timestamp(Buffer *buffer, const char *key, uint64_t real_usec);
