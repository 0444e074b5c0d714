/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scan: validates one JSON text (RFC 8259, UTF-8 checked) in a single pass and picks out the fields that a
 * table names, straight into a struct. Everything else is checked and skipped, so a message body can be passed
 * on as bytes afterwards.
 *
 * No allocation, except in the arena for texts that carried escapes. No recursion on the input's nesting beyond
 * SCAN_DEPTH_MAX. A member that the table names and that is there twice is refused. An optional member that is null
 * counts as absent.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/wire_error.h"

#define SCAN_DEPTH_MAX 32

enum {
        SCAN_E_END = WIRE_E_INVALID + 1, /* there is no further element */
};

typedef enum ScanKind {
        SCAN_INVALID,

        SCAN_TEXT,    /* Slice: decoded text of at most `max` bytes */
        SCAN_ID,      /* Slice: 1-64 of A-Z a-z 0-9 _ - */
        SCAN_SUBJECT, /* Slice: a NATS subject without wildcards, at most `max` bytes */
        SCAN_U64,     /* uint64_t: an integer, 0 to `max` */
        SCAN_REAL,    /* double: any finite number */
        SCAN_BOOL,    /* bool */
        SCAN_NAME,    /* unsigned: index in `names`, a NULL-terminated list whose entry 0 is never matched; others are
                         refused, or `max` if it is set */
        SCAN_OBJECT,  /* descend with `fields` */
        SCAN_RAW,     /* Slice: any value, as it stood in the text */
        SCAN_RAW_OBJECT,
        SCAN_RAW_ARRAY,

        _SCAN_KIND_MAX,
} ScanKind;

typedef struct ScanField ScanField;

struct ScanField {
        const char *name; /* NULL ends a table */
        ScanKind kind;
        bool required; /* of an object inside an optional object: required once that object is there */
        size_t offset; /* in the struct handed to scan_object(), also for fields of nested objects */
        uint64_t max;  /* 0: no limit but the message's own */
        const ScanField *fields;
        const char *const *names;
        size_t raw_offset; /* SCAN_OBJECT only: where to put the object's own text (a Slice), 0: nowhere */
};

/*
 * `ret` must be initialised to the defaults: only members that are there are written. On WIRE_E_INVALID its
 * content is undefined. Slices are borrowed from `text` and `arena`.
 * Returns 0, WIRE_E_INVALID, -ENOMEM.
 */
int scan_object(Slice text, const ScanField *fields, void *ret, Arena *arena, WireError *ret_error);

/*
 * Walks an array that scan_object() handed out as SCAN_RAW_ARRAY (so already validated). `cursor` starts at 0.
 * Returns false after the last element.
 */
bool scan_next(Slice array, size_t *cursor, Slice *ret_element);

/*
 * The same for an array of objects, each read on the way as scan_object() would. WIRE_E_INVALID is about this element
 * alone: the cursor is behind it. Returns 0, WIRE_E_INVALID, SCAN_E_END, -ENOMEM.
 */
int scan_next_object(
        Slice array, size_t *cursor, const ScanField *fields, void *ret, Arena *arena, WireError *ret_error);

/* The same for the members of a SCAN_RAW_OBJECT; the key is decoded, the value as it stood. Returns 1, 0 at the end,
 * -ENOMEM. */
int scan_next_member(Slice object, size_t *cursor, Arena *arena, Slice *ret_key, Slice *ret_value);

/* Decodes one raw JSON string (with its quotes). Returns 0, WIRE_E_INVALID if it is no string or has a NUL in it,
 * -ENOMEM. */
int scan_text(Slice raw, Arena *arena, Slice *ret);
