/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Json: reads the tokens and values of a JSON text, checking all that RFC 8259 demands. For scan.c.
 *
 * A function that returns 0 has moved the reader behind what it read; after WIRE_E_INVALID (the sentence says at which
 * byte) or -ENOMEM the reader is of no further use.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/swar.h"
#include "proto/wire_error.h"

#define JSON_SHOWN_MAX 48 /* bytes of a peer's text that a sentence repeats */

typedef struct JsonReader {
        const char *start, *at, *end;
        unsigned depth; /* open objects and arrays */
        WireError *error;
} JsonReader;

/* A string without its quotes, as it stood. */
typedef struct JsonString {
        Slice text;
        bool escaped;
} JsonString;

typedef struct JsonNumber {
        Slice text;
        bool is_digits; /* neither sign, nor decimals, nor exponent */
} JsonNumber;

static inline bool json_is_space(char c) {
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline void json_space(JsonReader *reader) {
        const char *p = reader->at;

        while (p < reader->end && json_is_space(*p))
                p++;
        reader->at = p;
}

static inline bool json_at(const JsonReader *reader, char c) {
        return reader->at < reader->end && *reader->at == c;
}

static inline bool json_take(JsonReader *reader, char c) {
        if (!json_at(reader, c))
                return false;
        reader->at++;
        return true;
}

static inline bool json_at_number(const JsonReader *reader) {
        return reader->at < reader->end && (*reader->at == '-' || (*reader->at >= '0' && *reader->at <= '9'));
}

static inline Slice json_since(const JsonReader *reader, const char *first) {
        return (Slice){ first, (size_t)(reader->at - first) };
}

/* Writes "at byte N: <what>" and returns WIRE_E_INVALID. */
int json_broken(const JsonReader *reader, const char *at, const char *what);

int json_string_slow(JsonReader *reader, const char *first, JsonString *ret);

/* The reader is at the opening quote. */
static inline int json_string(JsonReader *reader, JsonString *ret) {
        const char *const first = reader->at + 1, *const p = first + plain_run(first, reader->end);

        if (p == reader->end || *p != '"')
                return json_string_slow(reader, first, ret);

        *ret = (JsonString){ { first, (size_t)(p - first) }, false };
        reader->at = p + 1;
        return 0;
}

/* Writes what a string stands for to `place` (never longer than the string), returns the size. */
size_t json_decode_into(char *place, Slice string);

int json_decode_slow(const JsonString *string, Arena *arena, Slice *ret);

/* Likewise into the arena, if need be. Returns 0 or -ENOMEM. */
static inline int json_decode(const JsonString *string, Arena *arena, Slice *ret) {
        if (string->escaped)
                return json_decode_slow(string, arena, ret);

        *ret = string->text;
        return 0;
}

int json_number(JsonReader *reader, JsonNumber *ret);
int json_word(JsonReader *reader, Slice word);

/*
 * Objects and arrays: enter at the opening bracket, then, while there is more, read a member or an element and the
 * separator after it.
 */
int json_enter(JsonReader *reader, char close, bool *ret_more);
int json_broken_separator(const JsonReader *reader, char close);
int json_broken_colon(const JsonReader *reader, Slice key);
int json_key(JsonReader *reader, JsonString *ret);

static inline int json_separator(JsonReader *reader, char close, bool *ret_more) {
        json_space(reader);
        *ret_more = json_take(reader, ',');
        if (*ret_more) {
                json_space(reader);
                return 0;
        }
        if (!json_take(reader, close))
                return json_broken_separator(reader, close);
        reader->depth--;
        return 0;
}

/* `key` is for the sentence. */
static inline int json_colon(JsonReader *reader, Slice key) {
        json_space(reader);
        if (!json_take(reader, ':'))
                return json_broken_colon(reader, key);
        json_space(reader);
        return 0;
}

/* Any value. Recursion follows the text's nesting, which json_enter() bounds. */
int json_skip(JsonReader *reader);
