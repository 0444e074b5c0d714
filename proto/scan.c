/* SPDX-License-Identifier: MIT */

/*
 * One pass over the text checks everything and stores what a table names. The tables are small and messages tend to list
 * members in the table's order, so a lookup starts where the last one ended and mostly hits at once.
 *
 * Recursion follows the nesting of the text and never goes beyond SCAN_DEPTH_MAX, nor below a table's own nesting with
 * fields. A cursor that finds a text broken stays where it is; the sentence is written at the place that knows why.
 *
 * A member that a table names may be there only once. With "the last one wins" the parts of two objects of the same name
 * would mix in the struct, and a decoder in another language would see another message than ours.
 */

#include <math.h>
#include <stdio.h>

#include "proto/id.h"
#include "proto/scan.h"
#include "proto/subject.h"
#include "proto/swar.h"
#include "proto/utf8.h"

#define SHOWN_MAX 48   /* bytes of a refused value that the sentence repeats */
#define PATH_MAX_SHOWN 128
#define NUMBER_MAX 128 /* characters of a number that is read as a double without asking the arena */
#define FIELDS_MAX 64  /* bits of the set of members seen */
#define KEY_MAX 64     /* names in tables are shorter */

/* The name of the object that is being read, and of those around it: for sentences. */
typedef struct Place {
        const struct Place *outside;
        const char *name;
} Place;

typedef struct Scanner {
        const char *start, *at, *end;
        unsigned depth;
        const Place *place; /* the innermost object that a table names */
        Arena *arena;
        char *ret;
        WireError *error;
} Scanner;

static int skip_value(Scanner *s);

static void skip_space(Scanner *s) {
        while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
                s->at++;
}

static bool at_char(const Scanner *s, char c) {
        return s->at < s->end && *s->at == c;
}

static bool take_char(Scanner *s, char c) {
        if (!at_char(s, c))
                return false;
        s->at++;
        return true;
}

/* sentences */

static int broken(const Scanner *s, const char *at, const char *what) {
        return wire_error(s->error, "at byte %zu: %s", (size_t)(at - s->start), what);
}

static size_t put_path(char *path, size_t size, const Place *place, const char *name) {
        size_t n = 0;

        if (place) {
                n = put_path(path, size, place->outside, place->name);
                if (n > 0 && n + 1 < size)
                        path[n++] = '.';
        }
        for (; *name && n + 1 < size; name++)
                path[n++] = *name;
        path[n] = '\0';
        return n;
}

/* "<path> <value> <complaint>", the value shortened. */
static int refused(const Scanner *s, const ScanField *field, Slice value, const char *complaint) {
        char path[PATH_MAX_SHOWN];
        size_t shown = value.size;

        (void)put_path(path, sizeof(path), s->place, field->name);
        if (shown <= SHOWN_MAX)
                return wire_error(s->error, "%s %.*s %s", path, SLICE_ARG(value), complaint);

        for (shown = SHOWN_MAX; shown > 0 && ((unsigned char)value.data[shown] & 0xC0) == 0x80; shown--)
                ; /* cut between characters */
        return wire_error(s->error, "%s %.*s... %s", path, (int)shown, value.data, complaint);
}

static int over_limit(const Scanner *s, const ScanField *field, const char *value) {
        char path[PATH_MAX_SHOWN];

        (void)put_path(path, sizeof(path), s->place, field->name);
        return wire_error(s->error, "%s is %s, the limit is %llu", path, value, (unsigned long long)field->max);
}

static int missing(const Scanner *s, const ScanField *field) {
        char path[PATH_MAX_SHOWN];

        (void)put_path(path, sizeof(path), s->place, field->name);
        return wire_error(s->error, "%s is missing", path);
}

static int twice(const Scanner *s, const ScanField *field) {
        char path[PATH_MAX_SHOWN];

        (void)put_path(path, sizeof(path), s->place, field->name);
        return wire_error(s->error, "%s is there twice", path);
}

static const char *const complaints[_SCAN_KIND_MAX] = {
        [SCAN_TEXT] = "is not a text",
        [SCAN_ID] = "is not an id (1-64 of A-Z a-z 0-9 _ -)",
        [SCAN_SUBJECT] = "is not a subject",
        [SCAN_U64] = "is not a whole number from 0 on",
        [SCAN_REAL] = "is not a number",
        [SCAN_BOOL] = "is neither true nor false",
        [SCAN_NAME] = "is not a text",
        [SCAN_OBJECT] = "is not an object",
        [SCAN_RAW_OBJECT] = "is not an object",
        [SCAN_RAW_ARRAY] = "is not an array",
};

/* The value that starts here is of another type than the table says: its text goes into the sentence. */
static int mistyped(Scanner *s, const ScanField *field) {
        const char *start = s->at;
        const int r = skip_value(s);

        if (r != 0)
                return r;
        return refused(s, field, (Slice){ start, (size_t)(s->at - start) }, complaints[field->kind]);
}

/* texts */

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

/* The escape at `at`: how many bytes it takes (0: it is none), and the code point it stands for. */
static size_t read_escape(const char *at, const char *end, uint32_t *ret_code) {
        static const char plain[256] = {
                ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r',
                ['t'] = '\t',
        };
        int32_t high, low;

        if (end - at < 2)
                return 0;
        if (at[1] != 'u') {
                *ret_code = (uint32_t)plain[(unsigned char)at[1]];
                return *ret_code ? 2 : 0;
        }

        high = read_hex(at + 2, end);
        if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
                return 0;
        if (high < 0xD800 || high > 0xDBFF) {
                *ret_code = (uint32_t)high;
                return 6;
        }

        /* the first half of a surrogate pair: the second one must follow */
        if (end - at < 12 || at[6] != '\\' || at[7] != 'u')
                return 0;
        low = read_hex(at + 8, end);
        if (low < 0xDC00 || low > 0xDFFF)
                return 0;
        *ret_code = 0x10000 + ((uint32_t)(high - 0xD800) << 10 | (uint32_t)(low - 0xDC00));
        return 12;
}

/* A string without its quotes, as it stood. */
typedef struct Raw {
        Slice text;
        bool escaped;
} Raw;

static int broken_string(const Scanner *s, const char *at) {
        if (at == s->end)
                return broken(s, at, "the text ends inside a string");
        if (*at == '\\')
                return broken(s, at, "an escape that JSON does not have, or half a surrogate pair");
        if ((unsigned char)*at < 0x20)
                return broken(s, at, "a control character in a string");
        return broken(s, at, "a byte that is not UTF-8");
}

/* `s->at` is at the opening quote. */
static int read_string(Scanner *s, Raw *ret) {
        const char *const first = s->at + 1;
        const char *p = first;
        bool escaped = false;

        for (;;) {
                uint32_t code;
                size_t n = 0;

                p += plain_run(p, s->end);
                if (p < s->end && *p == '"')
                        break;
                if (p < s->end && *p == '\\') {
                        n = read_escape(p, s->end, &code);
                        escaped = true;
                } else if (p < s->end && (unsigned char)*p >= 0x80)
                        n = utf8_size(p, s->end);
                if (n == 0)
                        return broken_string(s, p);
                p += n;
        }

        ret->text = (Slice){ first, (size_t)(p - first) };
        ret->escaped = escaped;
        s->at = p + 1;
        return 0;
}

/* `raw` has been read by read_string(). Decoding never makes it longer, so `place` needs raw.size bytes. */
static size_t decode_into(char *place, Slice raw) {
        const char *at = raw.data, *const end = raw.data + raw.size;
        char *p = place;

        while (at < end) {
                uint32_t code;
                size_t n;

                if (*at != '\\') {
                        *p++ = *at++;
                        continue;
                }
                n = read_escape(at, end, &code);
                assert(n > 0);
                p += utf8_put(p, code);
                at += n;
        }
        return (size_t)(p - place);
}

static int decode_string(Arena *arena, const Raw *raw, Slice *ret) {
        char *place;

        if (!raw->escaped) {
                *ret = raw->text;
                return 0;
        }

        place = arena_alloc(arena, raw->text.size);
        if (!place)
                return -ENOMEM;
        *ret = (Slice){ place, decode_into(place, raw->text) };
        return 0;
}

/* numbers, and the three words */

static size_t count_digits(const char *at, const char *end) {
        const char *p = at;

        while (p < end && *p >= '0' && *p <= '9')
                p++;
        return (size_t)(p - at);
}

static bool starts_number(const Scanner *s) {
        return s->at < s->end && (*s->at == '-' || (*s->at >= '0' && *s->at <= '9'));
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static int read_number(Scanner *s, Slice *ret, bool *ret_is_plain) {
        const char *const first = s->at;
        size_t n;

        *ret_is_plain = !take_char(s, '-');
        n = count_digits(s->at, s->end);
        if (n == 0)
                return broken(s, s->at, "expected a digit");
        if (n > 1 && *s->at == '0')
                return broken(s, s->at, "a number with a leading zero");
        s->at += n;

        if (take_char(s, '.')) {
                *ret_is_plain = false;
                n = count_digits(s->at, s->end);
                if (n == 0)
                        return broken(s, s->at, "expected a digit after the decimal point");
                s->at += n;
        }
        if (take_char(s, 'e') || take_char(s, 'E')) {
                *ret_is_plain = false;
                (void)(take_char(s, '+') || take_char(s, '-'));
                n = count_digits(s->at, s->end);
                if (n == 0)
                        return broken(s, s->at, "expected a digit in the exponent");
                s->at += n;
        }

        *ret = (Slice){ first, (size_t)(s->at - first) };
        return 0;
}

static int read_word(Scanner *s, Slice word) {
        if (!slice_starts_with((Slice){ s->at, (size_t)(s->end - s->at) }, word))
                return broken(s, s->at, "expected a value");
        s->at += word.size;
        return 0;
}

/* strtod() obeys the locale; the daemons never set one. */
static int number_to_double(Scanner *s, Slice number, double *ret) {
        char small[NUMBER_MAX], *text = small;

        if (number.size >= sizeof(small)) {
                text = arena_alloc(s->arena, number.size + 1);
                if (!text)
                        return -ENOMEM;
        }
        memcpy(text, number.data, number.size);
        text[number.size] = '\0';
        *ret = strtod(text, NULL);
        return 0;
}

/* containers */

static int enter(Scanner *s) {
        if (s->depth == SCAN_DEPTH_MAX)
                return wire_error(s->error, "nested deeper than %d", SCAN_DEPTH_MAX);
        s->depth++;
        s->at++;
        skip_space(s);
        return 0;
}

/* After a member or an element: is there another one? */
static int read_separator(Scanner *s, char close, bool *ret_more) {
        skip_space(s);
        *ret_more = take_char(s, ',');
        if (*ret_more) {
                skip_space(s);
                return 0;
        }
        if (!take_char(s, close))
                return broken(s, s->at, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        s->depth--;
        return 0;
}

static int read_key(Scanner *s, Raw *ret) {
        int r;

        if (!at_char(s, '"'))
                return broken(s, s->at, "expected a member's name in quotes");
        r = read_string(s, ret);
        if (r != 0)
                return r;

        skip_space(s);
        if (!take_char(s, ':'))
                return wire_error(s->error, "at byte %zu: expected ':' after \"%.*s\"", (size_t)(s->at - s->start),
                        (int)MIN_OF(ret->text.size, (size_t)SHOWN_MAX), ret->text.data);
        skip_space(s);
        return 0;
}

static int skip_object(Scanner *s) {
        bool more;
        int r = enter(s);

        if (r != 0)
                return r;
        more = !at_char(s, '}');
        if (!more) {
                s->at++;
                s->depth--;
        }
        while (more) {
                Raw key;

                r = read_key(s, &key);
                if (r == 0)
                        r = skip_value(s);
                if (r == 0)
                        r = read_separator(s, '}', &more);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int skip_array(Scanner *s) {
        bool more;
        int r = enter(s);

        if (r != 0)
                return r;
        more = !at_char(s, ']');
        if (!more) {
                s->at++;
                s->depth--;
        }
        while (more) {
                r = skip_value(s);
                if (r == 0)
                        r = read_separator(s, ']', &more);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int skip_value(Scanner *s) {
        Slice number;
        bool is_plain;
        Raw string;

        if (s->at == s->end)
                return broken(s, s->at, "the text ends where a value is due");

        switch (*s->at) {
        case '"':
                return read_string(s, &string);
        case '{':
                return skip_object(s);
        case '[':
                return skip_array(s);
        case 't':
                return read_word(s, SLICE("true"));
        case 'f':
                return read_word(s, SLICE("false"));
        case 'n':
                return read_word(s, SLICE("null"));
        default:
                if (!starts_number(s))
                        return broken(s, s->at, "expected a value");
                return read_number(s, &number, &is_plain);
        }
}

/* fields */

static int store_text(Scanner *s, const ScanField *field) {
        const char *const start = s->at;
        Slice text, shown;
        char size[32];
        Raw raw;
        int r;

        if (!at_char(s, '"'))
                return mistyped(s, field);
        r = read_string(s, &raw);
        if (r != 0)
                return r;
        r = decode_string(s->arena, &raw, &text);
        if (r != 0)
                return r;

        shown = (Slice){ start, (size_t)(s->at - start) };
        if (raw.escaped && memchr(text.data, '\0', text.size))
                return refused(s, field, shown, "has a NUL in it");
        if (field->kind == SCAN_ID && !id_is_valid(text))
                return refused(s, field, shown, complaints[SCAN_ID]);
        if (field->max > 0 && text.size > field->max) {
                (void)snprintf(size, sizeof(size), "%zu bytes long", text.size);
                return over_limit(s, field, size);
        }
        if (field->kind == SCAN_SUBJECT && !subject_is_valid(text))
                return refused(s, field, shown, complaints[SCAN_SUBJECT]);

        *(Slice *)(s->ret + field->offset) = text;
        return 0;
}

/* False when it does not fit. */
static bool digits_to_u64(Slice digits, uint64_t *ret) {
        uint64_t value = 0;

        for (size_t i = 0; i < digits.size; i++)
                if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
                        __builtin_add_overflow(value, (uint64_t)(digits.data[i] - '0'), &value))
                        return false;
        *ret = value;
        return true;
}

/* 30000.0 and 3e4 are whole numbers too, and some languages write them so; beyond 2^53 such a number is not exact. */
static int number_to_u64(Scanner *s, const ScanField *field, Slice number, bool is_plain, uint64_t *ret) {
        double real;
        int r;

        if (is_plain && digits_to_u64(number, ret))
                return 0;

        r = number_to_double(s, number, &real);
        if (r != 0)
                return r;
        if (real < 0 || (isfinite(real) && real != floor(real)))
                return refused(s, field, number, complaints[SCAN_U64]);
        *ret = real <= 0x1p53 ? (uint64_t)real : UINT64_MAX;
        if (*ret == UINT64_MAX && field->max == 0)
                return refused(s, field, number, "is too large");
        return 0;
}

static int store_u64(Scanner *s, const ScanField *field) {
        uint64_t value = 0;
        Slice number;
        bool is_plain;
        char shown[SHOWN_MAX];
        int r;

        if (!starts_number(s))
                return mistyped(s, field);
        r = read_number(s, &number, &is_plain);
        if (r == 0)
                r = number_to_u64(s, field, number, is_plain, &value);
        if (r != 0)
                return r;
        if (field->max > 0 && value > field->max) {
                (void)snprintf(shown, sizeof(shown), "%.*s", SLICE_ARG(number));
                return over_limit(s, field, shown);
        }

        *(uint64_t *)(s->ret + field->offset) = value;
        return 0;
}

static int store_real(Scanner *s, const ScanField *field) {
        double value;
        Slice number;
        bool is_plain;
        int r;

        if (!starts_number(s))
                return mistyped(s, field);
        r = read_number(s, &number, &is_plain);
        if (r == 0)
                r = number_to_double(s, number, &value);
        if (r != 0)
                return r;
        if (!isfinite(value))
                return refused(s, field, number, "is too large");

        *(double *)(s->ret + field->offset) = value;
        return 0;
}

static int store_bool(Scanner *s, const ScanField *field) {
        if (!at_char(s, 't') && !at_char(s, 'f'))
                return mistyped(s, field);

        *(bool *)(s->ret + field->offset) = *s->at == 't';
        return read_word(s, *s->at == 't' ? SLICE("true") : SLICE("false"));
}

static int name_unknown(const Scanner *s, const ScanField *field, Slice shown) {
        char complaint[128];
        size_t n = (size_t)snprintf(complaint, sizeof(complaint), "is none of");

        for (const char *const *name = field->names + 1; *name && n < sizeof(complaint); name++)
                n += (size_t)snprintf(complaint + n, sizeof(complaint) - n, "%s %s", name == field->names + 1 ? "" : ",", *name);
        return refused(s, field, shown, n < sizeof(complaint) ? complaint : "is not a name known here");
}

static int store_name(Scanner *s, const ScanField *field) {
        const char *const start = s->at;
        Slice text;
        Raw raw;
        int r;

        if (!at_char(s, '"'))
                return mistyped(s, field);
        r = read_string(s, &raw);
        if (r == 0)
                r = decode_string(s->arena, &raw, &text);
        if (r != 0)
                return r;

        for (unsigned i = 1; field->names[i]; i++)
                if (slice_equal(text, slice_of(field->names[i]))) {
                        *(unsigned *)(s->ret + field->offset) = i;
                        return 0;
                }
        return name_unknown(s, field, (Slice){ start, (size_t)(s->at - start) });
}

static int store_raw(Scanner *s, const ScanField *field) {
        const char *const start = s->at;
        int r;

        if ((field->kind == SCAN_RAW_OBJECT && !at_char(s, '{')) || (field->kind == SCAN_RAW_ARRAY && !at_char(s, '[')))
                return mistyped(s, field);
        r = skip_value(s);
        if (r != 0)
                return r;

        *(Slice *)(s->ret + field->offset) = (Slice){ start, (size_t)(s->at - start) };
        return 0;
}

static int store_members(Scanner *s, const ScanField *fields);

static int store_object(Scanner *s, const ScanField *field) {
        const Place place = { s->place, field->name };
        const char *const start = s->at;
        int r;

        if (!at_char(s, '{'))
                return mistyped(s, field);

        s->place = &place;
        r = store_members(s, field->fields);
        s->place = place.outside;
        if (r == 0 && field->raw_offset > 0)
                *(Slice *)(s->ret + field->raw_offset) = (Slice){ start, (size_t)(s->at - start) };
        return r;
}

typedef int Store(Scanner *s, const ScanField *field);

static Store *const stores[_SCAN_KIND_MAX] = {
        [SCAN_TEXT] = store_text,
        [SCAN_ID] = store_text,
        [SCAN_SUBJECT] = store_text,
        [SCAN_U64] = store_u64,
        [SCAN_REAL] = store_real,
        [SCAN_BOOL] = store_bool,
        [SCAN_NAME] = store_name,
        [SCAN_OBJECT] = store_object,
        [SCAN_RAW] = store_raw,
        [SCAN_RAW_OBJECT] = store_raw,
        [SCAN_RAW_ARRAY] = store_raw,
};

/* A key has no NUL in its bytes as they stand, so the comparison stops at the end of a shorter name. */
static bool name_is(const char *name, const char *key, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (name[i] != key[i])
                        return false;
        return name[size] == '\0';
}

/* `*hint` is where to look first. NULL: the table does not name it. */
static const ScanField *find_field(const ScanField *fields, const Raw *key, size_t *hint) {
        char decoded[6 * KEY_MAX];
        const char *name = key->text.data;
        size_t size = key->text.size;

        if (key->escaped) {
                if (size > sizeof(decoded))
                        return NULL;
                size = decode_into(decoded, key->text);
                name = decoded;
                if (memchr(name, '\0', size))
                        return NULL;
        }

        for (size_t i = *hint; fields[i].name; i++)
                if (name_is(fields[i].name, name, size)) {
                        *hint = i + 1;
                        return &fields[i];
                }
        for (size_t i = 0; i < *hint; i++)
                if (name_is(fields[i].name, name, size)) {
                        *hint = i + 1;
                        return &fields[i];
                }
        return NULL;
}

static int store_member(Scanner *s, const ScanField *field) {
        if (!field->required && at_char(s, 'n'))
                return read_word(s, SLICE("null"));
        return stores[field->kind](s, field);
}

static int check_required(const Scanner *s, const ScanField *fields, uint64_t seen) {
        for (size_t i = 0; fields[i].name; i++)
                if (fields[i].required && !(seen >> i & 1))
                        return missing(s, &fields[i]);
        return 0;
}

/* `s->at` is at the opening brace. */
static int store_members(Scanner *s, const ScanField *fields) {
        uint64_t seen = 0;
        size_t hint = 0;
        bool more;
        int r = enter(s);

        if (r != 0)
                return r;
        more = !at_char(s, '}');
        if (!more) {
                s->at++;
                s->depth--;
        }
        while (more) {
                const ScanField *field;
                uint64_t bit;
                Raw key;

                r = read_key(s, &key);
                if (r != 0)
                        return r;
                field = find_field(fields, &key, &hint);
                bit = field ? UINT64_C(1) << (field - fields) : 0;
                if (seen & bit)
                        return twice(s, field);
                seen |= bit;
                r = field ? store_member(s, field) : skip_value(s);
                if (r == 0)
                        r = read_separator(s, '}', &more);
                if (r != 0)
                        return r;
        }
        return check_required(s, fields, seen);
}

int scan_object(Slice text, const ScanField *fields, void *ret, Arena *arena, WireError *ret_error) {
        const char *const start = text.data ? text.data : "";
        Scanner s = { .start = start, .at = start, .end = start + text.size, .arena = arena, .ret = ret, .error = ret_error };
        int r;

        skip_space(&s);
        if (!at_char(&s, '{'))
                return broken(&s, s.at, "expected an object");
        r = store_members(&s, fields);
        if (r != 0)
                return r;

        skip_space(&s);
        if (s.at < s.end)
                return broken(&s, s.at, "something follows the object");
        return 0;
}

/* walking raw values */

static Scanner scanner_at(Slice text, size_t cursor) {
        return (Scanner){ .start = text.data, .at = text.data + cursor, .end = text.data + text.size };
}

/* Moves to the next element or member; false when there is none. */
static bool step(Scanner *s, size_t cursor, char open, char close) {
        skip_space(s);
        if (!take_char(s, cursor == 0 ? open : ','))
                return false;
        skip_space(s);
        return !at_char(s, close);
}

bool scan_next(Slice array, size_t *cursor, Slice *ret_element) {
        Scanner s;
        const char *start;

        if (!array.data)
                return false;
        s = scanner_at(array, *cursor);
        if (!step(&s, *cursor, '[', ']'))
                return false;

        start = s.at;
        if (skip_value(&s) != 0)
                return false;
        *ret_element = (Slice){ start, (size_t)(s.at - start) };
        *cursor = (size_t)(s.at - s.start);
        return true;
}

int scan_next_member(Slice object, size_t *cursor, Arena *arena, Slice *ret_key, Slice *ret_value) {
        const char *start;
        Slice decoded;
        Scanner s;
        Raw key;

        if (!object.data)
                return 0;
        s = scanner_at(object, *cursor);
        if (!step(&s, *cursor, '{', '}') || read_key(&s, &key) != 0)
                return 0;

        start = s.at;
        if (skip_value(&s) != 0)
                return 0;
        if (decode_string(arena, &key, &decoded) != 0)
                return -ENOMEM;
        *ret_key = decoded;
        *ret_value = (Slice){ start, (size_t)(s.at - start) };
        *cursor = (size_t)(s.at - s.start);
        return 1;
}

int scan_text(Slice raw, Arena *arena, Slice *ret) {
        Scanner s = scanner_at(raw, 0);
        Slice decoded;
        Raw string;

        if (!at_char(&s, '"') || read_string(&s, &string) != 0 || s.at != s.end)
                return WIRE_E_INVALID;
        if (decode_string(arena, &string, &decoded) != 0)
                return -ENOMEM;
        if (string.escaped && memchr(decoded.data, '\0', decoded.size))
                return WIRE_E_INVALID;

        *ret = decoded;
        return 0;
}
