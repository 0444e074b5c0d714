/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. Pure.
 */

#include "proto/cc.h"

/* Bytes of the character at `at`, 1 to 4; 0 when there is no valid one before `end`. */
size_t utf8_size(const char *at, const char *end);

/* Writes the character of a code point that is no surrogate and not above U+10FFFF; returns 1 to 4. */
size_t utf8_put(char *at, uint32_t code);
