/* SPDX-License-Identifier: MIT */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/fields.h"

#define NAME_COLUMNS 22

const char *field_labels(char *place, size_t size, const json_t *object, const char *key) {
        const char *name;
        json_t *value;

        place[0] = '\0';
        json_object_foreach(json_object_get(object, key), name, value) {
                const size_t n = strlen(place);

                (void)snprintf(place + n, size - n, "%s%s=%s", n > 0 ? "," : "", name,
                        json_is_string(value) ? json_string_value(value) : "?");
        }
        if (place[0] == '\0')
                (void)snprintf(place, size, "-");
        return place;
}

const char *field_list(char *place, size_t size, const json_t *object, const char *key) {
        json_t *value;
        size_t i;

        place[0] = '\0';
        json_array_foreach(json_object_get(object, key), i, value) {
                const size_t n = strlen(place);

                (void)snprintf(place + n, size - n, "%s%s", n > 0 ? ", " : "",
                        json_is_string(value) ? json_string_value(value) : "?");
        }
        if (place[0] == '\0')
                (void)snprintf(place, size, "-");
        return place;
}

void field_line(const Ctl *ctl, const char *name, Colour colour, const char *format, ...) {
        char raw[1024], shown[2048];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments);
        va_end(arguments);
        (void)screen_text(shown, sizeof(shown), raw);
        (void)printf("%s%-*s%s%s%s%s\n", screen_on(&ctl->screen, COLOUR_FAINT), NAME_COLUMNS, name,
                screen_off(&ctl->screen, COLOUR_FAINT), screen_on(&ctl->screen, colour), shown,
                screen_off(&ctl->screen, colour));
}
