/* SPDX-License-Identifier: MIT */

/*
 * Sentences quote what a peer sent, and end in logs, headers and JSON: so whatever is in them, they leave here as
 * UTF-8 on one line, cut between characters.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"
#include "proto/wire_error.h"

static void sanitise(char *text, size_t size) {
        for (size_t i = 0; i < size;) {
                const size_t n = utf8_size(text + i, text + size);

                if (n == 0 || utf8_is_control(text + i, n))
                        memset(text + i, '?', MAX_OF(n, (size_t)1));
                i += MAX_OF(n, (size_t)1);
        }
}

/* The size without the character that the cut at `size` went through, if it did. */
static size_t cut_between_characters(const char *text, size_t size) {
        for (size_t back = 1; back <= 3 && back <= size; back++) {
                const unsigned char c = (unsigned char)text[size - back];

                if (c < 0x80)
                        break;
                if (c >= 0xC0)
                        return utf8_size(text + size - back, text + size) == back ? size : size - back;
        }
        return size;
}

int wire_error(WireError *ret_error, const char *format, ...) {
        size_t size;
        va_list args;
        int n;

        if (!ret_error)
                return WIRE_E_INVALID;

        va_start(args, format);
        n = vsnprintf(ret_error->text, sizeof(ret_error->text), format, args);
        va_end(args);

        size = n < 0 ? 0 : (size_t)n;
        if (size >= sizeof(ret_error->text))
                size = cut_between_characters(ret_error->text, sizeof(ret_error->text) - 1);
        ret_error->text[size] = '\0';
        sanitise(ret_error->text, size);
        return WIRE_E_INVALID;
}

int wire_error_within(WireError *ret_error, const char *what, size_t index) {
        WireError inner;

        if (!ret_error)
                return WIRE_E_INVALID;

        inner = *ret_error;
        return wire_error(ret_error, "%s %zu: %s", what, index, inner.text);
}
