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

/*
 * Copies as long as nothing is to be escaped, eight bytes at a time, and returns how many. Checking and copying in one
 * go costs a third of doing the one after the other: most texts are ids of sixteen bytes.
 */
static size_t copy_plain(char *to, Slice text) {
        size_t n = 0;

        for (uint64_t word; text.size - n >= sizeof(word); n += sizeof(word)) {
                memcpy(&word, text.data + n, sizeof(word));
                if (plain_hits(word) != 0)
                        break;
                memcpy(to + n, &word, sizeof(word));
        }
        for (; n < text.size && plain_byte(text.data[n]); n++)
                to[n] = text.data[n];
        return n;
}

void emit_text_value(Buffer *buffer, Slice text) {
        const size_t size = text.size + 2;
        size_t plain;
        char *p;

        if (!buffer_has_room(buffer, size) && buffer_reserve(buffer, size) != 0)
                return;

        p = buffer->data + buffer->size;
        *p++ = '"';
        plain = copy_plain(p, text);
        if (plain == text.size) {
                p[plain] = '"';
                buffer->size += size;
                return;
        }

        buffer->size += 1 + plain;
        append_special(buffer, text.data + plain, text.data + text.size);
        buffer_append_char(buffer, '"');
}

static char *put_pair(char *p, unsigned value) {
        static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                    "25262728293031323334353637383940414243444546474849"
                                    "50515253545556575859606162636465666768697071727374"
                                    "75767778798081828384858687888990919293949596979899";

        memcpy(p, pairs + 2 * (size_t)value, 2);
        return p + 2;
}

void emit_u64_value(Buffer *buffer, uint64_t value) {
        char digits[NUMBER_SIZE], *const end = digits + sizeof(digits), *p = end;

        for (; value >= 100; value /= 100) {
                p -= 2;
                (void)put_pair(p, (unsigned)(value % 100));
        }
        if (value >= 10) {
                p -= 2;
                (void)put_pair(p, (unsigned)value);
        } else {
                *--p = (char)('0' + value);
        }
        buffer_append(buffer, p, (size_t)(end - p));
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
        const uint64_t year = era * 400 + year_of_era + (month <= 2);

        p = put_pair(put_pair(p, (unsigned)(year / 100)), (unsigned)(year % 100));
        *p++ = '-';
        p = put_pair(p, (unsigned)month);
        *p++ = '-';
        return put_pair(p, (unsigned)day);
}

#define SECOND_SIZE 21 /* "2026-01-31T23:59:59. with the quote before it */

static void put_second(char *p, uint64_t second) {
        const unsigned in_day = (unsigned)(second % 86400);

        *p++ = '"';
        p = put_date(p, second / 86400 % 2932897); /* 9999-12-31 is the last date of four digits */
        *p++ = 'T';
        p = put_pair(p, in_day / 3600);
        *p++ = ':';
        p = put_pair(p, in_day / 60 % 60);
        *p++ = ':';
        p = put_pair(p, in_day % 60);
        *p = '.';
}

void emit_timestamp_value(Buffer *buffer, uint64_t real_usec) {
        /* Nearly all timestamps of a second follow each other. Of this state nothing can be seen, but that it makes
         * them three times as fast. */
        static _Thread_local struct {
                uint64_t second;
                char text[SECOND_SIZE];
        } latest = { .second = UINT64_MAX };
        const uint64_t second = real_usec / 1000000;
        const unsigned usec = (unsigned)(real_usec % 1000000);
        char text[SECOND_SIZE + sizeof("123456Z\"") - 1], *p = text + SECOND_SIZE;

        if (latest.second != second) {
                put_second(latest.text, second);
                latest.second = second;
        }

        memcpy(text, latest.text, SECOND_SIZE);
        p = put_pair(p, usec / 10000);
        p = put_pair(p, usec / 100 % 100);
        p = put_pair(p, usec % 100);
        *p++ = 'Z';
        *p = '"';
        buffer_append(buffer, text, sizeof(text));
}
