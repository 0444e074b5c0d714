/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Fields of answers, as a table wants them. What is missing, negative, or of another type, is 0 or "-": a daemon of
 * another version may not know it.
 */

#include <inttypes.h>
#include <jansson.h>

#include "ctl/ctl.h"

static inline uint64_t field_number(const json_t *object, const char *key) {
        const json_int_t value = json_integer_value(json_object_get(object, key));

        return value > 0 ? (uint64_t)value : 0;
}

/* Times `unit`: milliseconds as microseconds, say. */
static inline uint64_t field_scaled(const json_t *object, const char *key, uint64_t unit) {
        return whole_number(json_number_value(json_object_get(object, key)) * (double)unit);
}

static inline const char *field_text(const json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));

        return value ? value : "-";
}

static inline bool field_is_true(const json_t *object, const char *key) {
        return json_is_true(json_object_get(object, key));
}

/* "a=1,b=2" of an object of texts, "a, b" of an array of texts; into `place`, which is returned. */
const char *field_labels(char *place, size_t size, const json_t *object, const char *key);
const char *field_list(char *place, size_t size, const json_t *object, const char *key);

/* "name   value" lines of a detailed view. */
void field_line(const Ctl *ctl, const char *name, Colour colour, const char *format, ...) _printf_(4, 5);
