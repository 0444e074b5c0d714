/* SPDX-License-Identifier: MIT */

/*
 * One pass over the text checks everything (json.c) and stores what a table names. The tables are small and messages
 * tend to list members in the table's order, so a lookup starts where the last one ended and mostly hits at once.
 *
 * Recursion follows the nesting of the text, which SCAN_DEPTH_MAX bounds.
 *
 * A member that a table names may be there only once. With "the last one wins", the parts of two objects of the same
 * name would mix in the struct, and a decoder in another language would see another message than ours.
 */

#include <math.h>
#include <stdio.h>

#include "proto/id.h"
#include "proto/json.h"
#include "proto/scan.h"
#include "proto/subject.h"

#define PATH_SHOWN_MAX 128
#define NUMBER_MAX 128 /* characters of a number that is read as a double without asking the arena */
#define FIELDS_MAX 64  /* bits of the set of members seen */
#define KEY_MAX 64     /* names in tables are shorter */

/* The name of the object that is being read, and of those around it: for sentences. */
typedef struct Place {
        const struct Place *outside;
        const char *name;
} Place;

typedef struct Scanner {
        JsonReader json;
        const Place *place; /* the innermost object that a table names; NULL: the outermost one */
        Arena *arena;
        char *ret;
} Scanner;

/* sentences */

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
        char path[PATH_SHOWN_MAX];
        size_t shown = JSON_SHOWN_MAX;

        (void)put_path(path, sizeof(path), s->place, field->name);
        if (value.size <= shown)
                return wire_error(s->json.error, "%s %.*s %s", path, SLICE_ARG(value), complaint);

        while (shown > 0 && ((unsigned char)value.data[shown] & 0xC0) == 0x80)
                shown--; /* cut between characters */
        return wire_error(s->json.error, "%s %.*s... %s", path, (int)shown, value.data, complaint);
}

static int over_limit(const Scanner *s, const ScanField *field, const char *value) {
        char path[PATH_SHOWN_MAX];

        (void)put_path(path, sizeof(path), s->place, field->name);
        return wire_error(s->json.error, "%s is %s, the limit is %llu", path, value, (unsigned long long)field->max);
}

/* "<path> is <what>" */
static int complain(const Scanner *s, const ScanField *field, const char *what) {
        char path[PATH_SHOWN_MAX];

        (void)put_path(path, sizeof(path), s->place, field->name);
        return wire_error(s->json.error, "%s is %s", path, what);
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
        const char *const first = s->json.at;
        const int r = json_skip(&s->json);

        if (r != 0)
                return r;
        return refused(s, field, json_since(&s->json, first), complaints[field->kind]);
}

/* texts */

static int check_text(const Scanner *s, const ScanField *field, Slice text, Slice shown) {
        char size[32];

        if (field->kind == SCAN_ID)
                return id_is_valid(text) ? 0 : refused(s, field, shown, complaints[SCAN_ID]);

        if (field->max > 0 && text.size > field->max) {
                (void)snprintf(size, sizeof(size), "%zu bytes long", text.size);
                return over_limit(s, field, size);
        }
        if (field->kind == SCAN_SUBJECT && !subject_is_valid(text))
                return refused(s, field, shown, complaints[SCAN_SUBJECT]);
        return 0;
}

static int store_text(Scanner *s, const ScanField *field) {
        const char *const first = s->json.at;
        JsonString string;
        Slice text;
        int r;

        if (!json_at(&s->json, '"'))
                return mistyped(s, field);
        r = json_string(&s->json, &string);
        if (r == 0)
                r = json_decode(&string, s->arena, &text);
        if (r != 0)
                return r;
        if (string.escaped && memchr(text.data, '\0', text.size))
                return refused(s, field, json_since(&s->json, first), "has a NUL in it");
        r = check_text(s, field, text, json_since(&s->json, first));
        if (r != 0)
                return r;

        *(Slice *)(s->ret + field->offset) = text;
        return 0;
}

static int name_unknown(const Scanner *s, const ScanField *field, Slice shown) {
        const char *const *const names = field->names + 1;
        char complaint[128];
        size_t n = (size_t)snprintf(complaint, sizeof(complaint), "is none of");

        for (size_t i = 0; names[i] && n < sizeof(complaint); i++)
                n += (size_t)snprintf(complaint + n, sizeof(complaint) - n, "%s %s", i > 0 ? "," : "", names[i]);
        return refused(s, field, shown, n < sizeof(complaint) ? complaint : "is not a name known here");
}

/* `text` has no NUL in it, so the comparison stops at the end of a shorter name. */
static bool name_is(const char *name, Slice text) {
        for (size_t i = 0; i < text.size; i++)
                if (name[i] != text.data[i])
                        return false;
        return name[text.size] == '\0';
}

static int store_name(Scanner *s, const ScanField *field) {
        const char *const first = s->json.at;
        JsonString string;
        Slice text;
        int r;

        if (!json_at(&s->json, '"'))
                return mistyped(s, field);
        r = json_string(&s->json, &string);
        if (r == 0)
                r = json_decode(&string, s->arena, &text);
        if (r != 0)
                return r;

        if (string.escaped && memchr(text.data, '\0', text.size))
                return name_unknown(s, field, json_since(&s->json, first));
        for (unsigned i = 1; field->names[i]; i++)
                if (name_is(field->names[i], text)) {
                        *(unsigned *)(s->ret + field->offset) = i;
                        return 0;
                }
        if (field->max > 0) {
                *(unsigned *)(s->ret + field->offset) = (unsigned)field->max;
                return 0;
        }
        return name_unknown(s, field, json_since(&s->json, first));
}

/* numbers, true and false */

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
static int number_to_u64(Scanner *s, const ScanField *field, const JsonNumber *number, uint64_t *ret) {
        double real;
        int r;

        if (number->is_digits && digits_to_u64(number->text, ret))
                return 0;

        r = number_to_double(s, number->text, &real);
        if (r != 0)
                return r;
        if (real < 0 || (isfinite(real) && real != floor(real)))
                return refused(s, field, number->text, complaints[SCAN_U64]);
        if (real > 0x1p53 && field->max == 0)
                return refused(s, field, number->text, "is too large");
        *ret = real <= 0x1p53 ? (uint64_t)real : UINT64_MAX;
        return 0;
}

static int store_u64(Scanner *s, const ScanField *field) {
        char shown[JSON_SHOWN_MAX];
        uint64_t value = 0;
        JsonNumber number;
        int r;

        if (!json_at_number(&s->json))
                return mistyped(s, field);
        r = json_number(&s->json, &number);
        if (r == 0)
                r = number_to_u64(s, field, &number, &value);
        if (r != 0)
                return r;
        if (field->max > 0 && value > field->max) {
                (void)snprintf(shown, sizeof(shown), "%.*s", SLICE_ARG(number.text));
                return over_limit(s, field, shown);
        }

        *(uint64_t *)(s->ret + field->offset) = value;
        return 0;
}

static int store_real(Scanner *s, const ScanField *field) {
        JsonNumber number;
        double value;
        int r;

        if (!json_at_number(&s->json))
                return mistyped(s, field);
        r = json_number(&s->json, &number);
        if (r == 0)
                r = number_to_double(s, number.text, &value);
        if (r != 0)
                return r;
        if (!isfinite(value))
                return refused(s, field, number.text, "is too large");

        *(double *)(s->ret + field->offset) = value;
        return 0;
}

static int store_bool(Scanner *s, const ScanField *field) {
        if (!json_at(&s->json, 't') && !json_at(&s->json, 'f'))
                return mistyped(s, field);

        *(bool *)(s->ret + field->offset) = *s->json.at == 't';
        return json_word(&s->json, *s->json.at == 't' ? SLICE("true") : SLICE("false"));
}

/* objects and raw values */

static int store_raw(Scanner *s, const ScanField *field) {
        const char *const first = s->json.at;
        int r;

        if ((field->kind == SCAN_RAW_OBJECT && !json_at(&s->json, '{')) ||
                (field->kind == SCAN_RAW_ARRAY && !json_at(&s->json, '[')))
                return mistyped(s, field);
        r = json_skip(&s->json);
        if (r != 0)
                return r;

        *(Slice *)(s->ret + field->offset) = json_since(&s->json, first);
        return 0;
}

static int store_members(Scanner *s, const ScanField *fields);

static int store_object(Scanner *s, const ScanField *field) {
        const Place place = { s->place, field->name };
        const char *const first = s->json.at;
        int r;

        if (!json_at(&s->json, '{'))
                return mistyped(s, field);

        s->place = &place;
        r = store_members(s, field->fields);
        s->place = place.outside;
        if (r == 0 && field->raw_offset > 0)
                *(Slice *)(s->ret + field->raw_offset) = json_since(&s->json, first);
        return r;
}

static int store_value(Scanner *s, const ScanField *field) {
        if (!field->required && json_at(&s->json, 'n'))
                return json_word(&s->json, SLICE("null"));

        switch (field->kind) {
        case SCAN_TEXT:
        case SCAN_ID:
        case SCAN_SUBJECT:
                return store_text(s, field);
        case SCAN_U64:
                return store_u64(s, field);
        case SCAN_REAL:
                return store_real(s, field);
        case SCAN_BOOL:
                return store_bool(s, field);
        case SCAN_NAME:
                return store_name(s, field);
        case SCAN_OBJECT:
                return store_object(s, field);
        case SCAN_RAW:
        case SCAN_RAW_OBJECT:
        case SCAN_RAW_ARRAY:
                return store_raw(s, field);
        case SCAN_INVALID:
        case _SCAN_KIND_MAX:
                break;
        }
        assert(!"a table names a kind that does not exist");
        return WIRE_E_INVALID;
}

/* members */

/* NULL: the table does not name it. */
static const ScanField *find_field(const ScanField *fields, const JsonString *key) {
        char decoded[6 * KEY_MAX]; /* each character may stand there as \uXXXX */
        Slice name = key->text;

        if (key->escaped) {
                if (name.size > sizeof(decoded))
                        return NULL;
                name = (Slice){ decoded, json_decode_into(decoded, key->text) };
                if (memchr(name.data, '\0', name.size))
                        return NULL;
        }

        for (const ScanField *field = fields; field->name; field++)
                if (name_is(field->name, name))
                        return field;
        return NULL;
}

/* The hot path: is `"name"` what stands here? Then the reader is behind it. */
static bool take_name(JsonReader *json, const char *name, Slice *ret_key) {
        const char *const first = json->at + 1;
        size_t size;

        if (!name || !json_at(json, '"'))
                return false;
        size = strlen(name);
        if ((size_t)(json->end - first) <= size || first[size] != '"' || memcmp(first, name, size) != 0)
                return false;
        *ret_key = (Slice){ first, size };
        json->at = first + size + 1;
        return true;
}

/* Reads a member's name and colon. `guess` is the field that would be next in the table's order. */
static int read_member(Scanner *s, const ScanField *fields, const ScanField *guess, const ScanField **ret) {
        JsonString key;
        int r;

        if (take_name(&s->json, guess->name, &key.text)) {
                *ret = guess;
                return json_colon(&s->json, key.text);
        }

        r = json_key(&s->json, &key);
        if (r == 0)
                *ret = find_field(fields, &key);
        return r;
}

static int check_required(const Scanner *s, const ScanField *fields, uint64_t seen) {
        for (size_t i = 0; fields[i].name; i++)
                if (fields[i].required && !(seen >> i & 1))
                        return complain(s, &fields[i], "missing");
        return 0;
}

/* The reader is at the opening brace. */
static int store_members(Scanner *s, const ScanField *fields) {
        const ScanField *guess = fields, *field;
        uint64_t seen = 0;
        bool more;
        int r;

        r = json_enter(&s->json, '}', &more);
        while (r == 0 && more) {
                r = read_member(s, fields, guess, &field);
                if (r != 0)
                        break;
                if (field) {
                        assert(field - fields < FIELDS_MAX);
                        if (seen >> (field - fields) & 1)
                                return complain(s, field, "there twice");
                        seen |= UINT64_C(1) << (field - fields);
                        guess = field + 1;
                }
                r = field ? store_value(s, field) : json_skip(&s->json);
                if (r == 0)
                        r = json_separator(&s->json, '}', &more);
        }
        return r == 0 ? check_required(s, fields, seen) : r;
}

int scan_object(Slice text, const ScanField *fields, void *ret, Arena *arena, WireError *ret_error) {
        const char *const start = text.data ? text.data : "";
        Scanner s = {
                .json = { .start = start, .at = start, .end = start + text.size, .error = ret_error },
                .arena = arena,
                .ret = ret,
        };
        int r;

        json_space(&s.json);
        if (!json_at(&s.json, '{'))
                return json_broken(&s.json, s.json.at, "expected an object");
        r = store_members(&s, fields);
        if (r != 0)
                return r;

        json_space(&s.json);
        if (s.json.at < s.json.end)
                return json_broken(&s.json, s.json.at, "something follows the object");
        return 0;
}

/* walking raw values: they were read before, so nothing in them is news; what is not as it should be ends the walk */

static JsonReader reader_at(Slice text, size_t cursor) {
        return (JsonReader){ .start = text.data, .at = text.data + cursor, .end = text.data + text.size };
}

/* Moves to the next element or member; false when there is none. */
static bool step(JsonReader *reader, size_t cursor, char open, char close) {
        json_space(reader);
        if (!json_take(reader, cursor == 0 ? open : ','))
                return false;
        json_space(reader);
        return !json_at(reader, close);
}

bool scan_next(Slice array, size_t *cursor, Slice *ret_element) {
        JsonReader reader;
        const char *first;

        if (!array.data)
                return false;
        reader = reader_at(array, *cursor);
        if (!step(&reader, *cursor, '[', ']'))
                return false;

        first = reader.at;
        if (json_skip(&reader) != 0)
                return false;
        *ret_element = json_since(&reader, first);
        *cursor = (size_t)(reader.at - reader.start);
        return true;
}

int scan_next_object(
        Slice array, size_t *cursor, const ScanField *fields, void *ret, Arena *arena, WireError *ret_error) {
        JsonReader reader;
        Scanner s;
        int r;

        if (!array.data)
                return SCAN_E_END;
        reader = reader_at(array, *cursor);
        if (!step(&reader, *cursor, '[', ']'))
                return SCAN_E_END;

        s = (Scanner){
                .json = { .start = reader.at, .at = reader.at, .end = reader.end, .error = ret_error },
                .arena = arena,
                .ret = ret,
        };
        r = json_at(&s.json, '{') ? store_members(&s, fields) : json_broken(&s.json, s.json.at, "expected an object");
        if (r == 0)
                reader.at = s.json.at;
        else if (json_skip(&reader) != 0)
                return SCAN_E_END;
        *cursor = (size_t)(reader.at - reader.start);
        return r;
}

int scan_next_member(Slice object, size_t *cursor, Arena *arena, Slice *ret_key, Slice *ret_value) {
        JsonReader reader;
        JsonString key;
        const char *first;
        Slice name;

        if (!object.data)
                return 0;
        reader = reader_at(object, *cursor);
        if (!step(&reader, *cursor, '{', '}') || json_key(&reader, &key) != 0)
                return 0;

        first = reader.at;
        if (json_skip(&reader) != 0)
                return 0;
        if (json_decode(&key, arena, &name) != 0)
                return -ENOMEM;
        *ret_key = name;
        *ret_value = json_since(&reader, first);
        *cursor = (size_t)(reader.at - reader.start);
        return 1;
}

int scan_text(Slice raw, Arena *arena, Slice *ret) {
        JsonReader reader;
        JsonString string;
        Slice text;

        if (!raw.data)
                return WIRE_E_INVALID;
        reader = reader_at(raw, 0);
        if (!json_at(&reader, '"') || json_string(&reader, &string) != 0 || reader.at != reader.end)
                return WIRE_E_INVALID;
        if (json_decode(&string, arena, &text) != 0)
                return -ENOMEM;
        if (string.escaped && memchr(text.data, '\0', text.size))
                return WIRE_E_INVALID;

        *ret = text;
        return 0;
}
