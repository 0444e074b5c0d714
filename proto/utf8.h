/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. Pure.
 */

#include "proto/cc.h"

/* Bytes of the character at `at`, 1 to 4; 0 when there is no valid one before `end`. */
size_t utf8_size(const char *at, const char *end);

/*
 * Nothing for a line that people read: control characters, the separators of lines and paragraphs, and what turns the
 * direction of the text behind it, so that it seems to say something else. `size` is what utf8_size() gave.
 */
bool utf8_is_control(const char *at, size_t size);

/* Writes the character of a code point that is no surrogate and not above U+10FFFF; returns 1 to 4. */
size_t utf8_put(char *at, uint32_t code);
