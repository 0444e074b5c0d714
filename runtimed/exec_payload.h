/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Payloads on their way to and from a child process, which speaks JSON by the line while messages are any bytes:
 * as the JSON value that they are, else as a text, else in base64.
 *
 * Pure.
 */

#include "proto/arena.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

typedef enum ExecEncoding {
        EXEC_JSON,
        EXEC_TEXT,
        EXEC_BASE64,
        _EXEC_ENCODING_MAX,
} ExecEncoding;

/* "json", "text", "base64" */
extern const char *const exec_encoding_names[_EXEC_ENCODING_MAX];

ExecEncoding exec_encoding_of(Slice bytes);

/* One valid JSON value, as one line: the white space in it may hold line ends. */
void exec_emit_json(Buffer *buffer, const char *key, Slice json);

/* The value that stands for the bytes in that encoding, which must be theirs. */
void exec_emit_bytes(Buffer *buffer, const char *key, Slice bytes, ExecEncoding encoding);

/* With padding, without white space. Returns 0, -EINVAL, -ENOMEM. */
int exec_base64_decode(Slice text, Arena *arena, Slice *ret);
