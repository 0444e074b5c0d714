/* SPDX-License-Identifier: MIT */

/*
 * Whether a comma is due is read off the last byte written: none after an opening bracket or a colon. That needs no
 * stack, only the number of open brackets, which tells an outermost value (no comma, the buffer may hold anything
 * before it) from an element.
 */

#include <math.h>

#include "proto/emit.h"
#include "proto/swar.h"
#include "proto/utf8.h"

#define NUMBER_SIZE 20 /* digits of UINT64_MAX */
#define ESCAPED_SIZE 6 /* the longest form of one byte: \u001f */

/* One byte that may not stand for itself: a quote, a backslash or a control character. */
static size_t put_escaped(char *p, unsigned char c) {
        static const char short_forms[256] = {
                ['"'] = '"',
                ['\\'] = '\\',
                ['\b'] = 'b',
                ['\f'] = 'f',
                ['\n'] = 'n',
                ['\r'] = 'r',
                ['\t'] = 't',
        };
        static const char hex[] = "0123456789abcdef";

        p[0] = '\\';
        if (short_forms[c]) {
                p[1] = short_forms[c];
                return 2;
        }
        memcpy(p + 1, "u00", 3);
        p[4] = hex[c >> 4];
        p[5] = hex[c & 15];
        return ESCAPED_SIZE;
}

/* What plain_run() stopped at: written to `p`; returns the bytes written, and the bytes read in `ret_read`. */
static size_t put_special(char *p, const char *at, const char *end, size_t *ret_read) {
        const unsigned char c = (unsigned char)*at;
        size_t n;

        *ret_read = 1;
        if (c < 0x80)
                return put_escaped(p, c);

        n = utf8_size(at, end);
        if (n == 0)
                return utf8_put(p, 0xFFFD);
        *ret_read = n;
        memcpy(p, at, n);
        return n;
}

/* The part of a text from `at` on, where something is to be escaped or replaced. */
static void append_special(Buffer *buffer, const char *at, const char *end) {
        while (at < end && buffer_reserve(buffer, ESCAPED_SIZE) == 0) {
                size_t n_read, plain;

                buffer->size += put_special(buffer->data + buffer->size, at, end, &n_read);
                at += n_read;
                plain = plain_run(at, end);
                buffer_append(buffer, at, plain);
                at += plain;
        }
}

void emit_text_value(Buffer *buffer, Slice text) {
        const size_t plain = plain_run(text.data, text.data + text.size);
        char *p;

        if (buffer_reserve(buffer, plain + 2) != 0)
                return;

        p = buffer->data + buffer->size;
        *p = '"';
        memcpy(p + 1, text.data, plain);
        buffer->size += plain + 1;
        if (plain < text.size)
                append_special(buffer, text.data + plain, text.data + text.size);
        buffer_append_char(buffer, '"');
}

void emit_u64_value(Buffer *buffer, uint64_t value) {
        char digits[NUMBER_SIZE], *p = digits + sizeof(digits);

        do {
                *--p = (char)('0' + value % 10);
                value /= 10;
        } while (value > 0);
        buffer_append(buffer, p, (size_t)(digits + sizeof(digits) - p));
}

void emit_real_value(Buffer *buffer, double value) {
        uint64_t thousandths;

        if (!isfinite(value))
                value = 0;
        if (fabs(value) >= 1e15) {
                buffer_printf(buffer, "%.0f", value); /* three decimals are beyond a double's precision up there */
                return;
        }

        thousandths = (uint64_t)(fabs(value) * 1000 + 0.5);
        if (value < 0 && thousandths > 0)
                buffer_append_char(buffer, '-');
        emit_u64_value(buffer, thousandths / 1000);
        thousandths %= 1000;
        if (thousandths > 0) {
                const char decimals[] = { '.', (char)('0' + thousandths / 100), (char)('0' + thousandths / 10 % 10),
                        (char)('0' + thousandths % 10) };

                buffer_append(buffer, decimals, thousandths % 10 ? 4 : thousandths % 100 ? 3 : 2);
        }
}

static char *put_digits(char *p, uint64_t value, size_t n) {
        for (size_t i = n; i-- > 0; value /= 10)
                p[i] = (char)('0' + value % 10);
        return p + n;
}

/*
 * Days since 1970-01-01 to a date: Howard Hinnant's civil_from_days
 * (https://howardhinnant.github.io/date_algorithms.html), for days that are not negative. Years begin in March there,
 * so that the leap day is the last one.
 */
static char *put_date(char *p, uint64_t days) {
        const uint64_t shifted = days + 719468; /* since 0000-03-01 */
        const uint64_t era = shifted / 146097, day_of_era = shifted % 146097;
        const uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
        const uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        const uint64_t month_from_march = (5 * day_of_year + 2) / 153;
        const uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
        const uint64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;

        p = put_digits(p, era * 400 + year_of_era + (month <= 2), 4);
        *p++ = '-';
        p = put_digits(p, month, 2);
        *p++ = '-';
        return put_digits(p, day, 2);
}

void emit_timestamp_value(Buffer *buffer, uint64_t real_usec) {
        const uint64_t seconds = real_usec / 1000000, in_day = seconds % 86400;
        char text[sizeof("\"2026-01-31T23:59:59.123456Z\"")], *p = text;

        *p++ = '"';
        p = put_date(p, seconds / 86400 % 2932897); /* 9999-12-31 is the last date of four digits */
        *p++ = 'T';
        p = put_digits(p, in_day / 3600, 2);
        *p++ = ':';
        p = put_digits(p, in_day / 60 % 60, 2);
        *p++ = ':';
        p = put_digits(p, in_day % 60, 2);
        *p++ = '.';
        p = put_digits(p, real_usec % 1000000, 6);
        *p++ = 'Z';
        *p++ = '"';

        buffer_append(buffer, text, (size_t)(p - text));
}
