/* SPDX-License-Identifier: MIT */

/*
 * scan.c against jansson: what one takes as a JSON object, the other does as well, and texts mean the same. Known
 * differences: nesting (ours ends at 32), numbers that overflow (jansson refuses them where nobody reads them), NUL in
 * a member's name, and a zero byte behind a number or a word, which jansson's stream loses when it puts the byte back.
 */

#include <stdio.h>

#include <jansson.h>

#include "proto/scan.h"
#include "tests/tools/scan_sample.h"

static const ScanField no_fields[] = { { 0 } };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why, Slice text, const char *ours, const char *theirs) {
        (void)fprintf(stderr, "%s: \"%s\", jansson: \"%s\": %.*s\n", why, ours, theirs, SLICE_ARG(text));
        abort();
}

static bool is_known_difference(const json_error_t *error) {
        return json_error_code(error) == json_error_numeric_overflow ||
               json_error_code(error) == json_error_null_byte_in_key;
}

static void same_text(json_t *root, const char *name, Slice ours, Slice whole) {
        json_t *theirs = json_object_get(root, name);

        if (!ours.data)
                return;
        if (!json_is_string(theirs) ||
                !slice_equal(ours, (Slice){ json_string_value(theirs), json_string_length(theirs) }))
                fail("another text", whole, name, "");
}

static void same_values(json_t *root, const Sample *sample, Slice whole) {
        json_t *array = json_object_get(root, "array");
        json_t *number = json_object_get(root, "number");
        size_t cursor = 0, n = 0;
        Slice element;

        same_text(root, "text", sample->text, whole);
        same_text(root, "id", sample->id, whole);
        same_text(root, "subject", sample->subject, whole);
        if (json_is_integer(number) && sample->number != (uint64_t)json_integer_value(number))
                fail("another number", whole, "number", "");
        if (json_is_true(json_object_get(root, "flag")) != sample->flag)
                fail("another truth", whole, "flag", "");
        while (scan_next(sample->array, &cursor, &element))
                n++;
        if (n != json_array_size(array))
                fail("another number of elements", whole, "array", "");
}

static void walk_members(Slice object, json_t *theirs, Slice whole) {
        Arena arena = { 0 };
        size_t cursor = 0;
        Slice key, value;

        while (scan_next_member(object, &cursor, &arena, &key, &value) > 0)
                if (!json_object_getn(theirs, key.data, key.size))
                        fail("a member that jansson does not see", whole, "object", "");
        arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Slice text = { (const char *)data, size };
        WireError error = { "" }, field_error = { "" };
        json_error_t their_error = { .text = "" };
        Arena arena = { 0 };
        Sample sample = { 0 };
        const bool ours = scan_object(text, no_fields, &sample, &arena, &error) == 0;
        const bool fits = scan_object(text, fields, &sample, &arena, &field_error) == 0;
        json_auto_t *root = json_loadb((const char *)data, size, JSON_ALLOW_NUL, &their_error);
        const bool theirs = json_is_object(root);

        if (fits && !ours)
                fail("only with fields", text, error.text, "");
        if (ours && !theirs && !is_known_difference(&their_error))
                fail("only we take it", text, "", their_error.text);
        if (!ours && theirs && !strstr(error.text, "nested deeper") && !memchr(text.data, '\0', text.size))
                fail("only jansson takes it", text, error.text, "");
        if (fits && theirs) {
                same_values(root, &sample, text);
                walk_members(sample.object, json_object_get(root, "object"), text);
        }
        arena_clear(&arena);
        return 0;
}
