/* SPDX-License-Identifier: MIT */

#include "proto/json.h"
#include "proto/scan.h"
#include "proto/utf8.h"

int json_broken(const JsonReader *reader, const char *at, const char *what) {
        return wire_error(reader->error, "at byte %zu: %s", (size_t)(at - reader->start), what);
}

/* strings */

/* Four hex digits, or -1. */
static int32_t read_hex(const char *at, const char *end) {
        int32_t code = 0;

        if (end - at < 4)
                return -1;
        for (size_t i = 0; i < 4; i++) {
                const char c = at[i], lower = (char)(c | 0x20);

                if (c >= '0' && c <= '9')
                        code = code << 4 | (c - '0');
                else if (lower >= 'a' && lower <= 'f')
                        code = code << 4 | (lower - 'a' + 10);
                else
                        return -1;
        }
        return code;
}

/* The escape \u at `at`, which may be a surrogate pair. */
static size_t read_unicode_escape(const char *at, const char *end, uint32_t *ret_code) {
        const int32_t high = read_hex(at + 2, end);
        int32_t low;

        if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
                return 0;
        if (high < 0xD800 || high > 0xDBFF) {
                *ret_code = (uint32_t)high;
                return 6;
        }

        /* the first half of a pair: the second one must follow */
        if (end - at < 12 || at[6] != '\\' || at[7] != 'u')
                return 0;
        low = read_hex(at + 8, end);
        if (low < 0xDC00 || low > 0xDFFF)
                return 0;
        *ret_code = 0x10000 + ((uint32_t)(high - 0xD800) << 10 | (uint32_t)(low - 0xDC00));
        return 12;
}

/* How many bytes the escape at `at` takes (0: it is none), and the code point it stands for. */
static size_t read_escape(const char *at, const char *end, uint32_t *ret_code) {
        static const char meanings[256] = {
                ['"'] = '"',
                ['\\'] = '\\',
                ['/'] = '/',
                ['b'] = '\b',
                ['f'] = '\f',
                ['n'] = '\n',
                ['r'] = '\r',
                ['t'] = '\t',
        };

        if (end - at < 2)
                return 0;
        if (at[1] == 'u')
                return read_unicode_escape(at, end, ret_code);

        *ret_code = (uint32_t)meanings[(unsigned char)at[1]];
        return *ret_code != 0 ? 2 : 0;
}

static int broken_string(const JsonReader *reader, const char *at) {
        if (at == reader->end)
                return json_broken(reader, at, "the text ends inside a string");
        if (*at == '\\')
                return json_broken(reader, at, "an escape that JSON does not have, or half a surrogate pair");
        if ((unsigned char)*at < 0x20)
                return json_broken(reader, at, "a control character in a string");
        return json_broken(reader, at, "a byte that is not UTF-8");
}

int json_string_slow(JsonReader *reader, const char *first, JsonString *ret) {
        const char *p = first;
        bool escaped = false;

        for (;;) {
                uint32_t code;
                size_t n = 0;

                p += plain_run(p, reader->end);
                if (p < reader->end && *p == '"')
                        break;
                if (p < reader->end && *p == '\\') {
                        n = read_escape(p, reader->end, &code);
                        escaped = true;
                } else if (p < reader->end && (unsigned char)*p >= 0x80)
                        n = utf8_size(p, reader->end);
                if (n == 0)
                        return broken_string(reader, p);
                p += n;
        }

        *ret = (JsonString){ { first, (size_t)(p - first) }, escaped };
        reader->at = p + 1;
        return 0;
}

size_t json_decode_into(char *place, Slice string) {
        const char *at = string.data, *const end = string.data + string.size;
        char *p = place;

        while (at < end) {
                uint32_t code;
                size_t n;

                if (*at != '\\') {
                        *p++ = *at++;
                        continue;
                }
                n = read_escape(at, end, &code);
                assert(n > 0); /* it was read as a string before */
                p += utf8_put(p, code);
                at += n;
        }
        return (size_t)(p - place);
}

int json_decode_slow(const JsonString *string, Arena *arena, Slice *ret) {
        char *const place = arena_alloc(arena, string->text.size);

        if (!place)
                return -ENOMEM;
        *ret = (Slice){ place, json_decode_into(place, string->text) };
        return 0;
}

/* numbers and words */

static bool take_digits(JsonReader *reader) {
        const char *const first = reader->at;

        while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
                reader->at++;
        return reader->at > first;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
int json_number(JsonReader *reader, JsonNumber *ret) {
        const char *const first = reader->at;
        bool is_digits = !json_take(reader, '-');
        const bool leading_zero = json_at(reader, '0');
        const char *const digits = reader->at;

        if (!take_digits(reader))
                return json_broken(reader, reader->at, "expected a digit");
        if (leading_zero && reader->at - digits > 1)
                return json_broken(reader, digits, "a number with a leading zero");

        if (json_take(reader, '.')) {
                is_digits = false;
                if (!take_digits(reader))
                        return json_broken(reader, reader->at, "expected a digit after the decimal point");
        }
        if (json_take(reader, 'e') || json_take(reader, 'E')) {
                is_digits = false;
                (void)(json_take(reader, '+') || json_take(reader, '-'));
                if (!take_digits(reader))
                        return json_broken(reader, reader->at, "expected a digit in the exponent");
        }

        *ret = (JsonNumber){ json_since(reader, first), is_digits };
        return 0;
}

int json_word(JsonReader *reader, Slice word) {
        if (!slice_starts_with((Slice){ reader->at, (size_t)(reader->end - reader->at) }, word))
                return json_broken(reader, reader->at, "expected a value");
        reader->at += word.size;
        return 0;
}

/* objects and arrays */

int json_enter(JsonReader *reader, char close, bool *ret_more) {
        if (reader->depth == SCAN_DEPTH_MAX)
                return wire_error(reader->error, "nested deeper than %d", SCAN_DEPTH_MAX);

        reader->at++;
        json_space(reader);
        *ret_more = !json_take(reader, close);
        if (*ret_more)
                reader->depth++;
        return 0;
}

int json_broken_separator(const JsonReader *reader, char close) {
        return json_broken(reader, reader->at, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
}

int json_broken_colon(const JsonReader *reader, Slice key) {
        return wire_error(reader->error, "at byte %zu: expected ':' after \"%.*s\"",
                (size_t)(reader->at - reader->start), (int)MIN_OF(key.size, (size_t)JSON_SHOWN_MAX), key.data);
}

int json_key(JsonReader *reader, JsonString *ret) {
        int r;

        if (!json_at(reader, '"'))
                return json_broken(reader, reader->at, "expected a member's name in quotes");
        r = json_string(reader, ret);
        if (r != 0)
                return r;
        return json_colon(reader, ret->text);
}

/*
 * Skipping. Most bytes of most messages are only skipped, so here the position stays in a register: it is handed in and
 * returned, NULL when the text is broken, and the reader learns of it at the end.
 */

static const char *skip_any(JsonReader *reader, const char *p);

static inline const char *skip_space(const char *p, const char *end) {
        while (p < end && json_is_space(*p))
                p++;
        return p;
}

static inline const char *skip_string(JsonReader *reader, const char *p) {
        const char *const first = p + 1, *const last = first + plain_run(first, reader->end);
        JsonString string;

        if (last < reader->end && *last == '"')
                return last + 1;
        return json_string_slow(reader, first, &string) == 0 ? reader->at : NULL;
}

/* A member's name and colon, up to its value. */
static inline const char *skip_name(JsonReader *reader, const char *p) {
        const char *const first = p;

        if (p < reader->end && *p == '"')
                p = skip_string(reader, p);
        else
                p = NULL;
        if (p)
                p = skip_space(p, reader->end);
        if (p && p < reader->end && *p == ':')
                return skip_space(p + 1, reader->end);

        /* the slow way, for its sentence */
        reader->at = first;
        (void)json_key(reader, &(JsonString){ 0 });
        return NULL;
}

/* What is between the brackets, and the closing one. */
static const char *skip_members(JsonReader *reader, const char *p, bool named, char close) {
        const char *const end = reader->end;

        for (;;) {
                if (named)
                        p = skip_name(reader, p);
                if (p)
                        p = p < end && *p == '"' ? skip_string(reader, p) : skip_any(reader, p);
                if (!p)
                        return NULL;

                p = skip_space(p, end);
                if (p < end && *p == close)
                        return p + 1;
                if (p == end || *p != ',') {
                        reader->at = p;
                        (void)json_broken_separator(reader, close);
                        return NULL;
                }
                p = skip_space(p + 1, end);
        }
}

static const char *skip_container(JsonReader *reader, const char *p, bool named, char close) {
        bool more = false;

        reader->at = p;
        if (json_enter(reader, close, &more) != 0)
                return NULL;
        if (!more)
                return reader->at;
        p = skip_members(reader, reader->at, named, close);
        reader->depth--;
        return p;
}

/* A number or a word. */
static const char *skip_scalar(JsonReader *reader, const char *p) {
        JsonNumber number;
        int r;

        reader->at = p;
        if (p == reader->end)
                r = json_broken(reader, p, "the text ends where a value is due");
        else if (json_at_number(reader))
                r = json_number(reader, &number);
        else
                r = json_word(reader, *p == 't' ? SLICE("true") : *p == 'f' ? SLICE("false") : SLICE("null"));
        return r == 0 ? reader->at : NULL;
}

static const char *skip_any(JsonReader *reader, const char *p) {
        if (p < reader->end && *p == '"')
                return skip_string(reader, p);
        if (p < reader->end && *p == '{')
                return skip_container(reader, p, /* named= */ true, '}');
        if (p < reader->end && *p == '[')
                return skip_container(reader, p, /* named= */ false, ']');
        return skip_scalar(reader, p);
}

int json_skip(JsonReader *reader) {
        const char *const p = skip_any(reader, reader->at);

        if (!p)
                return WIRE_E_INVALID;
        reader->at = p;
        return 0;
}
