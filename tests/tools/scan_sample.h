/* SPDX-License-Identifier: MIT */
#pragma once

/* A struct and its table with a field of each kind, for what tries the scanner: its unit test and its fuzzer. */

#include "proto/scan.h"

typedef struct Sample {
        Slice text, id, subject, raw, object, array, inner_text, inner_raw;
        uint64_t number, limited, inner_number;
        double real;
        bool flag;
        unsigned name;
} Sample;

static const char *const colours[] = { "", "red", "green", NULL };

#define AT(member) offsetof(Sample, member)

static const ScanField deep_fields[] = {
        { .name = "need", .kind = SCAN_U64, .required = true, .offset = AT(inner_number) },
        { 0 },
};

static const ScanField inner_fields[] = {
        { .name = "text", .kind = SCAN_TEXT, .offset = AT(inner_text), .max = 8 },
        { .name = "deep", .kind = SCAN_OBJECT, .fields = deep_fields },
        { 0 },
};

static const ScanField fields[] = {
        { .name = "text", .kind = SCAN_TEXT, .offset = AT(text) },
        { .name = "id", .kind = SCAN_ID, .offset = AT(id) },
        { .name = "subject", .kind = SCAN_SUBJECT, .offset = AT(subject), .max = 32 },
        { .name = "number", .kind = SCAN_U64, .offset = AT(number) },
        { .name = "limited", .kind = SCAN_U64, .offset = AT(limited), .max = 100 },
        { .name = "real", .kind = SCAN_REAL, .offset = AT(real) },
        { .name = "flag", .kind = SCAN_BOOL, .offset = AT(flag) },
        { .name = "name", .kind = SCAN_NAME, .offset = AT(name), .names = colours },
        { .name = "raw", .kind = SCAN_RAW, .offset = AT(raw) },
        { .name = "object", .kind = SCAN_RAW_OBJECT, .offset = AT(object) },
        { .name = "array", .kind = SCAN_RAW_ARRAY, .offset = AT(array) },
        { .name = "inner", .kind = SCAN_OBJECT, .fields = inner_fields, .raw_offset = AT(inner_raw) },
        { 0 },
};
