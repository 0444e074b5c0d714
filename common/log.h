/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Log: one line per event, a sentence for a person and typed fields for a query.
 *
 * To the journal (native protocol) when the service manager connected us to it, else readable text on stderr; a
 * sink can take the place of both (tests, simulator). Any thread. Lines above the level cost one comparison: use
 * log_line(), which checks before its arguments are evaluated.
 */

#include <syslog.h>

#include "proto/cc.h"
#include "proto/slice.h"

typedef enum LogTarget {
        LOG_TARGET_AUTO,
        LOG_TARGET_JOURNAL,
        LOG_TARGET_STDERR,
} LogTarget;

typedef struct LogField {
        const char *name; /* without COMPOZY_ */
        Slice text;
        uint64_t number;
        bool is_number;
} LogField;

static inline LogField log_field_slice(const char *name, Slice text) {
        return (LogField){ .name = name, .text = text };
}

static inline LogField log_field_u64(const char *name, uint64_t number) {
        return (LogField){ .name = name, .number = number, .is_number = true };
}

#define F_STR(name, text) log_field_slice("" name, slice_of(text))
#define F_SLICE(name, slice) log_field_slice("" name, slice)
#define F_U64(name, number) log_field_u64("" name, number)

typedef struct LogFields {
        const LogField *items;
        size_t n_items;
} LogFields;

#define FIELDS(...) \
        ((LogFields){ (const LogField[]){ __VA_ARGS__ }, sizeof((const LogField[]){ __VA_ARGS__ }) / sizeof(LogField) })
#define NO_FIELDS ((LogFields){ NULL, 0 })

/* `ident` is the program's name, borrowed for good. */
void log_open(const char *ident, LogTarget target, int level);
void log_set_level(int level);
int log_level(void);

/* Takes over every line that passes the level; NULL gives it back. Not while other threads log. */
typedef void (*LogSink)(int level, const char *message_id, LogFields fields, const char *text, void *userdata);
void log_set_sink(LogSink sink, void *userdata);

/* `message_id`: 32 hexadecimal digits, or NULL. */
void log_write(int level, const char *message_id, LogFields fields, const char *format, ...) _printf_(4, 5);

#define log_line(level, message_id, fields, ...)                                 \
        do {                                                                     \
                if ((level) <= log_level())                                      \
                        log_write((level), (message_id), (fields), __VA_ARGS__); \
        } while (0)

/*
 * For lines that a peer can cause at will: at most `burst` of a kind in a window of 10 s. One object per kind of
 * line; the first line of the next window says how many were left out. Loop thread only.
 */
typedef struct LogLimit {
        uint64_t window_start;
        uint32_t n_lines, n_left_out;
} LogLimit;

/* log_line() under a LogLimit of LOG_BURST: what is left out is said with the next line that is written. */
#define LOG_BURST 5 /* enough to see the pattern, few enough to read */
#define log_limited(limit, now, level, message_id, fields, ...)                                      \
        do {                                                                                         \
                uint32_t left_out_ = 0;                                                              \
                                                                                                     \
                if ((level) > log_level() || !log_limit_pass((limit), LOG_BURST, (now), &left_out_)) \
                        break;                                                                       \
                if (left_out_ > 0)                                                                   \
                        log_write((level), (message_id), FIELDS(F_U64("LEFT_OUT", left_out_)),       \
                                "Lines like the next one were left out %u times", left_out_);        \
                log_write((level), (message_id), (fields), __VA_ARGS__);                             \
        } while (0)

/* May this line be written at `now`? `ret_left_out`: how many of the last window were not. */
bool log_limit_pass(LogLimit *limit, uint32_t burst, uint64_t now, uint32_t *ret_left_out);

/* "debug", "info", ...; returns a syslog level or -EINVAL. */
int log_level_from_name(Slice name);
