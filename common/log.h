/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Log: one line per event, a sentence for a person and typed fields for a query.
 *
 * To the journal (native protocol) when the service manager connected us to it, else readable text on stderr; a
 * sink can take the place of both (tests, simulator). Any thread, but for what says otherwise. Lines above the level
 * cost one comparison: use log_line(), which checks before its arguments are evaluated.
 *
 * There are no CODE_FILE= and CODE_LINE= fields: a line is found by its MESSAGE_ID, and by its sentence in diag*.c.
 */

#include <sys/queue.h>
#include <syslog.h>

#include "proto/cc.h"
#include "proto/slice.h"

typedef enum LogTarget {
        LOG_TARGET_AUTO,
        LOG_TARGET_JOURNAL,
        LOG_TARGET_STDERR,
} LogTarget;

typedef struct LogField {
        const char *name; /* without COMPOZY_, unless is_plain */
        Slice text;
        uint64_t number;
        bool is_number;
        bool is_plain; /* one of systemd.journal-fields(7) */
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

/* Absent when 0. */
static inline LogField log_field_u64_if(const char *name, uint64_t number) {
        return (LogField){ .name = name, .number = number, .is_number = number > 0 };
}

#define F_U64_IF(name, number) log_field_u64_if("" name, number)

/* An errno, or its negative; 0: none. */
static inline LogField log_field_errno(int error) {
        return error == 0 ? (LogField){ .name = "ERRNO", .is_plain = true }
                          : (LogField){ .name = "ERRNO",
                                    .number = (uint64_t)(error < 0 ? -error : error),
                                    .is_number = true,
                                    .is_plain = true };
}

#define F_ERRNO(error) log_field_errno(error)

typedef struct LogFields {
        const LogField *items;
        size_t n_items;
        Slice speaker; /* whose words the line is: its SYSLOG_IDENTIFIER; absent: the program's */
} LogFields;

#define FIELDS(...) FIELDS_SAID_BY(SLICE_NONE, __VA_ARGS__)
#define FIELDS_SAID_BY(speaker, ...)                                                                                   \
        ((LogFields){ (const LogField[]){ __VA_ARGS__ }, sizeof((const LogField[]){ __VA_ARGS__ }) / sizeof(LogField), \
                (speaker) })
#define NO_FIELDS ((LogFields){ NULL, 0, SLICE_NONE })

/* `ident` is the program's name, borrowed for good. */
void log_open(const char *ident, LogTarget target, int level);
void log_set_level(int level);
int log_level(void);

/* Do lines go to the journal? Else somebody may be reading them on a terminal. */
bool log_is_journal(void);

/* Whose log it is: a field of every line in the journal that has none of that name. Both borrowed for good. */
void log_set_owner(const char *name, const char *value);

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
 * For lines that a peer can cause at will: at most so many of a kind in a window of 10 s. One object per kind of line,
 * or per kind and speaker. How many were left out is said with the next line, or when the window is over and no next
 * one came. At level debug nothing is left out: what is too much comes with priority debug, so that the story of each
 * execution is whole; unless the kind is strict.
 *
 * The clock of the windows is log_tick(), which the daemon calls every second. Loop thread only.
 */
typedef struct LogKind {
        int level;
        const char *message_id, *about; /* "refused messages" */
        uint32_t burst;
        bool is_strict;
} LogKind;

typedef struct LogLimit {
        uint64_t window_start;
        uint32_t n_lines, n_left_out;
        const LogKind *kind;        /* of what was left out */
        LogField whose;             /* likewise; absent: anybody's */
        LIST_ENTRY(LogLimit) owing; /* if and only if n_left_out > 0 */
} LogLimit;

#define LOG_BURST 5         /* enough to see the pattern, few enough to read */
#define LOG_BURST_FLEET 200 /* of what happens to each runtime or agent once, when all is well */

/* log_line() under a limit of its own: all that comes by this place in the code is one kind. The level is a constant.
 */
#define log_limited(level, message_id, about, fields, ...) \
        log_limited_to(LOG_BURST, level, message_id, about, fields, __VA_ARGS__)
#define log_limited_fleet(level, message_id, about, fields, ...) \
        log_limited_to(LOG_BURST_FLEET, level, message_id, about, fields, __VA_ARGS__)
#define log_limited_to(burst, level, message_id, about, fields, ...)                                               \
        do {                                                                                                       \
                static const LogKind kind_ = { (level), (message_id), (about), (burst), false };                   \
                static LogLimit limit_;                                                                            \
                const int level_ = (level) <= log_level() ? log_limit_level(&limit_, &kind_, NULL) : LOG_LEFT_OUT; \
                                                                                                                   \
                if (level_ != LOG_LEFT_OUT)                                                                        \
                        log_write(level_, (message_id), (fields), __VA_ARGS__);                                    \
        } while (0)

/* The level to write the next line of that kind at, LOG_LEFT_OUT: not at all. `kind` is borrowed for good. `whose`:
 * NULL, or a field that says whose lines these are, with a text that lasts until log_limit_done(). */
#define LOG_LEFT_OUT (-1)
int log_limit_level(LogLimit *limit, const LogKind *kind, const LogField *whose);

/* Before its memory goes: says what it owes. */
void log_limit_done(LogLimit *limit);

/* The time, and that what was left out of windows that are over is said. */
void log_tick(uint64_t now);

/* Before the program leaves: the same for all windows. */
void log_settle(void);

/* May a line be written at `now`? `ret_left_out`: how many of the last window were not. */
bool log_limit_pass(LogLimit *limit, uint32_t burst, uint64_t now, uint32_t *ret_left_out);

/* "debug", "info", ...; returns a syslog level or -EINVAL. */
int log_level_from_name(Slice name);
