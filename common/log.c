/* SPDX-License-Identifier: MIT */

/*
 * A line is formatted once, on the stack, and leaves in one system call, so threads need no lock between them. What
 * came from a peer may be in it anywhere: each control character, and each byte that is no UTF-8, becomes '?', so
 * nobody can forge a second line or speak to the operator's terminal.
 */

#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* the line of log_write() tells nobody anything */
#include <systemd/sd-journal.h>

#include "common/instant.h"
#include "common/log.h"
#include "proto/utf8.h"

#define TEXT_SIZE 4608    /* a sentence; those of agents have up to 4096 bytes */
#define RECORD_SIZE 16384 /* a sentence and its fields */
#define FIELDS_MAX 24
#define LIMIT_WINDOW_USEC (10 * USEC_PER_SEC)

typedef struct LevelLook {
        const char *name, *label, *colour;
} LevelLook;

static const LevelLook levels[] = {
        [LOG_EMERG] = { "emerg", "EMERG", "\033[1;31m" },
        [LOG_ALERT] = { "alert", "ALERT", "\033[1;31m" },
        [LOG_CRIT] = { "crit", "CRIT", "\033[1;31m" },
        [LOG_ERR] = { "err", "ERROR", "\033[1;31m" },
        [LOG_WARNING] = { "warning", "WARN", "\033[1;33m" },
        [LOG_NOTICE] = { "notice", "NOTICE", "\033[1m" },
        [LOG_INFO] = { "info", "INFO", "" },
        [LOG_DEBUG] = { "debug", "DEBUG", "\033[2m" },
};

/* Written by log_open() and log_set_sink() before other threads log; only the level changes later. */
static struct {
        const char *ident;
        bool to_journal;
        bool is_terminal;
        bool with_priority; /* "<6>" in front: stderr ends in the journal anyway */
        LogSink sink;
        void *sink_userdata;
        const char *owner_name, *owner_value;
} log_state = { .ident = "compozy" };

static atomic_int max_level = LOG_INFO;

/* The limits' own: loop thread only. */
static uint64_t ticked_usec;
static LIST_HEAD(, LogLimit) owing = LIST_HEAD_INITIALIZER(owing);

/* Is stderr the stream that the service manager connected? (systemd.exec(5), $JOURNAL_STREAM) */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *ident, LogTarget target, int level) {
        const bool connected = stderr_is_journal();

        assert(ident);

        log_state.ident = ident;
        log_state.to_journal = target == LOG_TARGET_JOURNAL || (target == LOG_TARGET_AUTO && connected);
        if (access("/run/systemd/journal/socket", W_OK) < 0) /* sd_journal_sendv() would report success */
                log_state.to_journal = false;
        log_state.is_terminal = isatty(STDERR_FILENO) == 1;
        log_state.with_priority = connected;
        log_set_level(level);
}

bool log_is_journal(void) {
        return log_state.to_journal;
}

void log_set_level(int level) {
        atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

int log_level(void) {
        return atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_owner(const char *name, const char *value) {
        log_state.owner_name = name;
        log_state.owner_value = value;
}

void log_set_sink(LogSink sink, void *userdata) {
        log_state.sink = sink;
        log_state.sink_userdata = userdata;
}

/* A run of bytes on the stack that lines are put together in; what does not fit is cut. */
typedef struct Line {
        char *data;
        size_t size, capacity;
} Line;

static void line_append(Line *line, const char *text, size_t size) {
        const size_t n = MIN_OF(size, line->capacity - line->size);

        memcpy(line->data + line->size, text, n);
        line->size += n;
}

static void line_text(Line *line, const char *text) {
        line_append(line, text, strlen(text));
}

/* How many bytes of a printable UTF-8 character begin at `text`; 0 when none does. */
static size_t printable_length(const char *text, size_t size) {
        const size_t n = utf8_size(text, text + size);

        return n > 0 && utf8_is_control(text, n) ? 0 : n;
}

static void line_clean(Line *line, Slice text) {
        while (text.size > 0) {
                const size_t n = printable_length(text.data, text.size);

                if (n > line->capacity - line->size)
                        return;
                if (n > 0)
                        line_append(line, text.data, n);
                else
                        line_append(line, "?", 1);
                text = slice_after(text, MAX_OF(n, (size_t)1));
        }
}

static void line_value(Line *line, const LogField *field) {
        char number[24];

        if (field->is_number) {
                (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)field->number);
                line_text(line, number);
        } else
                line_clean(line, field->text);
}

/* An iovec over what `line` grew by since `start`. */
static struct iovec line_since(const Line *line, size_t start) {
        return (struct iovec){ line->data + start, line->size - start };
}

/* One entry of the journal on its way: fields, one behind the other in `line`. */
typedef struct Entry {
        char record[RECORD_SIZE];
        Line line;
        struct iovec iov[FIELDS_MAX + 6];
        size_t n, start;
} Entry;

static void entry_begin(Entry *entry, const char *prefix, const char *name) {
        entry->start = entry->line.size;
        line_text(&entry->line, prefix);
        line_text(&entry->line, name);
        line_text(&entry->line, "=");
}

static void entry_end(Entry *entry) {
        entry->iov[entry->n++] = line_since(&entry->line, entry->start);
}

static void entry_add(Entry *entry, const char *prefix, const char *name, Slice value) {
        entry_begin(entry, prefix, name);
        line_clean(&entry->line, value);
        entry_end(entry);
}

static bool field_is_absent(const LogField *field) {
        return !field->is_number && !field->text.data;
}

static bool fields_name(LogFields fields, const char *name) {
        for (size_t i = 0; i < fields.n_items; i++)
                if (strcmp(fields.items[i].name, name) == 0 && !field_is_absent(&fields.items[i]))
                        return true;
        return false;
}

static int write_journal(int level, const char *message_id, LogFields fields, Slice text) {
        Entry entry;
        const char priority = (char)('0' + level);

        entry.line = (Line){ .data = entry.record, .capacity = sizeof(entry.record) };
        entry.n = 0;
        entry_add(&entry, "", "PRIORITY", (Slice){ &priority, 1 });
        entry_add(&entry, "", "SYSLOG_IDENTIFIER", fields.speaker.data ? fields.speaker : slice_of(log_state.ident));
        entry_add(&entry, "", "MESSAGE", text);
        if (message_id)
                entry_add(&entry, "", "MESSAGE_ID", slice_of(message_id));
        if (log_state.owner_name && log_state.owner_value[0] != '\0' && !fields_name(fields, log_state.owner_name))
                entry_add(&entry, "COMPOZY_", log_state.owner_name, slice_of(log_state.owner_value));
        for (size_t i = 0; i < fields.n_items && i < FIELDS_MAX && entry.line.size < entry.line.capacity; i++) {
                const LogField *field = &fields.items[i];

                if (field_is_absent(field))
                        continue;
                entry_begin(&entry, field->is_plain ? "" : "COMPOZY_", field->name);
                line_value(&entry.line, field);
                entry_end(&entry);
        }
        return sd_journal_sendv(entry.iov, (int)entry.n);
}

static void line_time(Line *line) {
        const uint64_t now = instant_now().real_usec;
        const time_t seconds = (time_t)(now / USEC_PER_SEC);
        char text[40];
        struct tm local;
        size_t n;

        if (!localtime_r(&seconds, &local))
                return;
        n = strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
        (void)snprintf(text + n, sizeof(text) - n, ".%03u ", (unsigned)(now % USEC_PER_SEC / 1000));
        line_text(line, text);
}

/* The fields that the sentence does not say already: " (trigger=x epoch=3)". */
static void line_fields(Line *line, LogFields fields, Slice text) {
        bool first = true;

        for (size_t i = 0; i < fields.n_items; i++) {
                char value_bytes[256], name[32];
                Line value = { .data = value_bytes, .capacity = sizeof(value_bytes) };
                size_t n = 0;

                if (fields.items[i].is_plain) /* the sentence has it in words */
                        continue;
                line_value(&value, &fields.items[i]);
                if (value.size == 0 || memmem(text.data, text.size, value.data, value.size) ||
                        (fields.speaker.data &&
                                memmem(fields.speaker.data, fields.speaker.size, value.data, value.size)))
                        continue;
                for (const char *c = fields.items[i].name; *c != '\0' && n < sizeof(name); c++)
                        name[n++] = (char)tolower((unsigned char)*c);
                line_text(line, first ? " (" : " ");
                line_append(line, name, n);
                line_text(line, "=");
                line_append(line, value.data, value.size);
                first = false;
        }
        if (!first)
                line_text(line, ")");
}

static void write_stderr(int level, LogFields fields, Slice text) {
        char record[RECORD_SIZE], label[16];
        Line line = { .data = record, .capacity = sizeof(record) - 8 }; /* the end always has room */
        const char *colour = log_state.is_terminal ? levels[level].colour : "";

        if (log_state.with_priority) {
                (void)snprintf(label, sizeof(label), "<%d>", level);
                line_text(&line, label);
        } else
                line_time(&line);
        line_text(&line, colour);
        (void)snprintf(label, sizeof(label), "%-6s ", levels[level].label);
        line_text(&line, label);
        if (fields.speaker.data) {
                line_clean(&line, fields.speaker);
                line_text(&line, ": ");
        }
        line_clean(&line, text);
        line_fields(&line, fields, text);

        line.capacity = sizeof(record);
        line_text(&line, colour[0] != '\0' ? "\033[0m\n" : "\n");
        (void)!write(STDERR_FILENO, line.data, line.size); /* nobody could be told */
}

void log_write(int level, const char *message_id, LogFields fields, const char *format, ...) {
        char text[TEXT_SIZE];
        const int saved_errno = errno;
        va_list arguments;
        int n;

        assert(level >= LOG_EMERG && level <= LOG_DEBUG);

        va_start(arguments, format);
        n = vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (n < 0)
                text[0] = '\0';

        if (log_state.sink)
                log_state.sink(level, message_id, fields, text, log_state.sink_userdata);
        else if (!log_state.to_journal || write_journal(level, message_id, fields, slice_of(text)) < 0)
                write_stderr(level, fields, slice_of(text));
        errno = saved_errno;
}

bool log_limit_pass(LogLimit *limit, uint32_t burst, uint64_t now, uint32_t *ret_left_out) {
        assert(limit);
        assert(ret_left_out);

        *ret_left_out = 0;
        if (limit->n_lines == 0 || now - limit->window_start >= LIMIT_WINDOW_USEC) {
                *ret_left_out = limit->n_left_out;
                limit->window_start = now;
                limit->n_lines = limit->n_left_out = 0;
        }
        if (limit->n_lines >= burst) {
                limit->n_left_out++;
                return false;
        }
        limit->n_lines++;
        return true;
}

static void say_left_out(const LogKind *kind, const LogField *whose, uint32_t n) {
        log_write(kind->level, kind->message_id, FIELDS(*whose, F_U64("LEFT_OUT", n)), "%u line%s left out: %s%s%.*s",
                n, n == 1 ? " was" : "s were", kind->about, whose->text.size > 0 ? " of " : "", SLICE_ARG(whose->text));
}

int log_limit_level(LogLimit *limit, const LogKind *kind, const LogField *whose) {
        const bool was_owing = limit->n_left_out > 0;
        uint32_t n_left_out;
        bool passes;

        passes = log_limit_pass(limit, kind->burst, ticked_usec, &n_left_out);
        if (was_owing && limit->n_left_out == 0)
                LIST_REMOVE(limit, owing);
        if (n_left_out > 0)
                say_left_out(limit->kind, &limit->whose, n_left_out);
        if (passes)
                return kind->level;

        if (!kind->is_strict && log_level() >= LOG_DEBUG) {
                limit->n_left_out--;
                return LOG_DEBUG;
        }
        if (limit->n_left_out == 1) {
                limit->kind = kind;
                limit->whose = whose ? *whose : (LogField){ .name = "WHOSE" };
                LIST_INSERT_HEAD(&owing, limit, owing);
        }
        return LOG_LEFT_OUT;
}

void log_limit_done(LogLimit *limit) {
        const uint32_t n = limit->n_left_out;

        if (n == 0)
                return;
        LIST_REMOVE(limit, owing);
        limit->n_left_out = 0;
        say_left_out(limit->kind, &limit->whose, n);
}

void log_tick(uint64_t now) {
        LogLimit *limit, *next;

        ticked_usec = now;
        for (limit = LIST_FIRST(&owing); limit; limit = next) {
                next = LIST_NEXT(limit, owing);
                if (now - limit->window_start >= LIMIT_WINDOW_USEC)
                        log_limit_done(limit);
        }
}

void log_settle(void) {
        while (!LIST_EMPTY(&owing))
                log_limit_done(LIST_FIRST(&owing));
}

int log_level_from_name(Slice name) {
        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (slice_equal(name, slice_of(levels[i].name)))
                        return (int)i;
        if (slice_equal(name, SLICE("error")))
                return LOG_ERR;
        return -EINVAL;
}
