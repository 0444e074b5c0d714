/* SPDX-License-Identifier: MIT */

/*
 * The file format, in full: one "key = value" a line below a "[section]"; white space around each is nothing; a
 * line that begins with ; or # is a comment, and so is the rest of a line from a ; or # that follows white space.
 * No quoting, no continuation lines. (inih was left out: it cuts lines at 200 bytes, takes an indented line for a
 * continuation, and does not tell line numbers.)
 *
 * Every value comes through config_set(), defaults too, so that none of them escapes its parser.
 */

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/config.h"
#include "proto/buffer.h"
#include "proto/id.h"
#include "proto/message.h"
#include "proto/slice.h"
#include "proto/subject.h"

#define LINE_MAX_BYTES 8192
#define SHOWN_MAX 64 /* bytes of a refused value that are repeated to the operator */
#define KEY_MAX 128

/* Where a value stands: for the front of an error. */
typedef struct Place {
        const char *source; /* a file, "-o" or "environment variable NATS_URL" */
        unsigned line;      /* 0: has none */
} Place;

typedef struct Load {
        const ConfigTable *table;
        void *config;
        ConfigError *error;
} Load;

static int refuse(const Load *load, const Place *place, const char *key, const char *format, ...) _printf_(4, 5);

static int refuse(const Load *load, const Place *place, const char *key, const char *format, ...) {
        char *text = load->error->text;
        const size_t size = sizeof(load->error->text);
        va_list arguments;
        int n;

        n = place->line > 0 ? snprintf(text, size, "%s:%u: ", place->source, place->line)
                            : snprintf(text, size, "%s: ", place->source);
        if (key && n >= 0 && (size_t)n < size)
                n += snprintf(text + n, size - (size_t)n, "%s: ", key);
        if (n < 0 || (size_t)n >= size)
                return CONFIG_E_INVALID;

        va_start(arguments, format);
        (void)vsnprintf(text + n, size - (size_t)n, format, arguments);
        va_end(arguments);
        return CONFIG_E_INVALID;
}

/* " (1 to 10)", " (at least 1)", or nothing. */
static void describe_range(const ConfigKey *key, char *ret, size_t size) {
        ret[0] = '\0';
        if (key->max > 0)
                (void)snprintf(
                        ret, size, " (%llu to %llu)", (unsigned long long)key->min, (unsigned long long)key->max);
        else if (key->min > 0)
                (void)snprintf(ret, size, " (at least %llu)", (unsigned long long)key->min);
        else if (key->kind == CONFIG_BOOL)
                (void)snprintf(ret, size, " (yes or no)");
}

/* " (a, b, c)" */
static void describe_choices(const ConfigKey *key, char *ret, size_t size) {
        size_t n = 0;

        for (size_t i = 0; key->choices && key->choices[i] && n < size; i++)
                n += (size_t)snprintf(ret + n, size - n, "%s%s%s", i == 0 ? " (" : ", ", key->choices[i],
                        key->choices[i + 1] ? "" : ")");
}

static bool parse_u64(Slice text, uint64_t *ret) {
        uint64_t value = 0;

        if (text.size == 0)
                return false;
        for (size_t i = 0; i < text.size; i++) {
                if (!isdigit((unsigned char)text.data[i]) || __builtin_mul_overflow(value, 10, &value) ||
                        __builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value))
                        return false;
        }
        *ret = value;
        return true;
}

static bool parse_real(Slice text, double *ret) {
        char copy[64], *end;

        if (text.size == 0 || text.size >= sizeof(copy))
                return false;
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
        if (strspn(copy, "0123456789.eE+-") != text.size) /* strtod() also takes "nan", "0x10" and " 1" */
                return false;
        *ret = strtod(copy, &end);
        return *end == '\0' && isfinite(*ret);
}

static bool parse_bool(Slice text, bool *ret) {
        static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (slice_equal(text, slice_of(words[i]))) {
                        *ret = i % 2 == 1;
                        return true;
                }
        return false;
}

static bool label_text_is_valid(Slice text) {
        if (text.size == 0 || text.size > LABEL_TEXT_MAX)
                return false;
        for (size_t i = 0; i < text.size; i++)
                if ((unsigned char)text.data[i] <= ' ' || text.data[i] == 0x7f)
                        return false;
        return true;
}

static bool labels_are_valid(Slice text) {
        size_t n = 0;

        while (text.size > 0) {
                const char *comma = memchr(text.data, ',', text.size);
                const Slice label = { text.data, comma ? (size_t)(comma - text.data) : text.size };
                const char *equals = memchr(label.data, '=', label.size);

                if (!equals || ++n > LABELS_MAX)
                        return false;
                if (!label_text_is_valid((Slice){ label.data, (size_t)(equals - label.data) }) ||
                        !label_text_is_valid(slice_after(label, (size_t)(equals - label.data) + 1)))
                        return false;
                if (!comma)
                        return true;
                text = slice_after(text, label.size + 1);
                if (text.size == 0) /* a comma at the end */
                        return false;
        }
        return true;
}

/* none, 127.0.0.1:8080, [::1]:8080 */
static bool listen_is_valid(Slice text) {
        const char *colon = memrchr(text.data, ':', text.size);
        char address[INET6_ADDRSTRLEN];
        struct in6_addr parsed;
        uint64_t port;
        size_t n;
        bool is_v6;

        if (slice_equal(text, SLICE("none")))
                return true;
        if (!colon || !parse_u64((Slice){ colon + 1, (size_t)(text.data + text.size - colon - 1) }, &port) ||
                port > 65535)
                return false;
        n = (size_t)(colon - text.data);
        is_v6 = n > 2 && text.data[0] == '[' && text.data[n - 1] == ']';
        if (is_v6)
                n -= 2;
        if (n >= sizeof(address))
                return false;
        memcpy(address, text.data + is_v6, n);
        address[n] = '\0';
        return inet_pton(is_v6 ? AF_INET6 : AF_INET, address, &parsed) == 1;
}

static int set_text(Load *load, const ConfigKey *key, Slice value) {
        char **place = (char **)((char *)load->config + key->offset);
        char *copy = slice_dup(value);

        if (!copy)
                return -ENOMEM;
        free(*place);
        *place = copy;
        return 0;
}

static int set_secret(Load *load, const ConfigKey *key, Slice value) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_(free_charp) char *path = NULL;

        if (!directory || directory[0] != '/' || value.size == 0 || value.data[0] == '/')
                return set_text(load, key, value);
        if (asprintf(&path, "%s/%.*s", directory, SLICE_ARG(value)) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        return set_text(load, key, slice_of(path));
}

static int set_choice(Load *load, const ConfigKey *key, const Place *place, const char *name, Slice value) {
        char known[256] = "";

        for (unsigned i = 0; key->choices[i]; i++) {
                const size_t n = strlen(known);

                if (slice_equal(value, slice_of(key->choices[i]))) {
                        *(unsigned *)((char *)load->config + key->offset) = i;
                        return 0;
                }
                (void)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", key->choices[i]);
        }
        return refuse(load, place, name, "\"%.*s\" is none of %s", (int)MIN_OF(value.size, (size_t)SHOWN_MAX),
                value.data, known);
}

static int set_number(Load *load, const ConfigKey *key, const Place *place, const char *name, Slice value) {
        void *to = (char *)load->config + key->offset;
        const int shown = (int)MIN_OF(value.size, (size_t)SHOWN_MAX);
        char range[64];
        uint64_t number;
        double real;

        describe_range(key, range, sizeof(range));
        if (key->kind == CONFIG_U64) {
                if (!parse_u64(value, &number))
                        return refuse(load, place, name, "\"%.*s\" is not a whole number%s", shown, value.data, range);
                if (number < key->min || (key->max > 0 && number > key->max))
                        return refuse(load, place, name, "%.*s is out of range%s", shown, value.data, range);
                *(uint64_t *)to = number;
                return 0;
        }
        if (!parse_real(value, &real))
                return refuse(load, place, name, "\"%.*s\" is not a number%s", shown, value.data, range);
        if (real < (double)key->min || (key->max > 0 && real > (double)key->max))
                return refuse(load, place, name, "%.*s is out of range%s", shown, value.data, range);
        *(double *)to = real;
        return 0;
}

static bool text_is_clean(Slice text) {
        for (size_t i = 0; i < text.size; i++)
                if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f)
                        return false;
        return true;
}

static bool patterns_are_valid(Slice list) {
        while (list.size > 0) {
                const char *comma = memchr(list.data, ',', list.size);
                const Slice pattern = { list.data, comma ? (size_t)(comma - list.data) : list.size };

                if (!subject_pattern_is_valid(pattern) || (comma && pattern.size + 1 == list.size))
                        return false;
                list = comma ? slice_after(list, pattern.size + 1) : SLICE_NONE;
        }
        return true;
}

/* What is wrong with a text of that kind; NULL: nothing. */
static const char *text_problem(ConfigKind kind, Slice value) {
        if (!text_is_clean(value))
                return "has a control character in it";
        if (kind == CONFIG_ID && value.size > 0 && !id_is_valid(value))
                return "is not an id (1 to 64 of A-Z a-z 0-9 _ -)";
        if (kind == CONFIG_LABELS && !labels_are_valid(value))
                return "is not a list of labels (name=value,name=value; at most " STRINGIFY(LABELS_MAX) ")";
        if (kind == CONFIG_LISTEN && !listen_is_valid(value))
                return "is not an address to listen on (127.0.0.1:8080, [::1]:8080 or none)";
        if (kind == CONFIG_SUBJECT && (value.size > SUBJECT_PREFIX_MAX || !subject_is_valid(value)))
                return "is not a subject (tokens with dots between them, at most " STRINGIFY(
                        SUBJECT_PREFIX_MAX) " bytes)";
        if (kind == CONFIG_SUBJECT && (value.data[0] == '$' || slice_starts_with(value, SLICE("_INBOX"))))
                return "is the server's own ($...) or a place for answers (_INBOX...)";
        if (kind == CONFIG_PATTERNS && !patterns_are_valid(value))
                return "is not a list of subjects (a.>,b.*.c)";
        if (kind == CONFIG_INBOX && value.size > 0 &&
                (value.size > SUBJECT_PREFIX_MAX || !subject_is_valid(value) ||
                        !(slice_equal(value, SLICE("_INBOX")) || slice_starts_with(value, SLICE("_INBOX.")))))
                return "is not a place for answers: _INBOX, or tokens below it (_INBOX.web.alice), at most " STRINGIFY(
                        SUBJECT_PREFIX_MAX) " bytes";
        return NULL;
}

static int config_set(Load *load, const ConfigKey *key, const Place *place, Slice value) {
        char name[KEY_MAX];
        const char *problem;

        (void)snprintf(name, sizeof(name), "%s.%s", key->section, key->name);
        switch (key->kind) {
        case CONFIG_U64:
        case CONFIG_REAL:
                return set_number(load, key, place, name, value);
        case CONFIG_CHOICE:
                return set_choice(load, key, place, name, value);
        case CONFIG_BOOL:
                if (!parse_bool(value, (bool *)((char *)load->config + key->offset)))
                        return refuse(load, place, name, "\"%.*s\" is neither yes nor no",
                                (int)MIN_OF(value.size, (size_t)SHOWN_MAX), value.data);
                return 0;
        default:
                problem = text_problem(key->kind, value);
                if (problem && key->kind == CONFIG_STRING) /* it may be a secret: not repeated */
                        return refuse(load, place, name, "the value %s", problem);
                if (problem)
                        return refuse(load, place, name, "\"%.*s\" %s", (int)MIN_OF(value.size, (size_t)SHOWN_MAX),
                                value.data, problem);
                return key->kind == CONFIG_SECRET ? set_secret(load, key, value) : set_text(load, key, value);
        }
}

static Slice trim(Slice text) {
        while (text.size > 0 && isspace((unsigned char)text.data[0]))
                text = slice_after(text, 1);
        while (text.size > 0 && isspace((unsigned char)text.data[text.size - 1]))
                text.size--;
        return text;
}

/* Levenshtein's distance. */
static unsigned text_distance(Slice a, Slice b) {
        unsigned row[KEY_MAX + 1];

        if (a.size > KEY_MAX || b.size > KEY_MAX)
                return UINT32_MAX;
        for (unsigned j = 0; j <= b.size; j++)
                row[j] = j;
        for (unsigned i = 1; i <= a.size; i++) {
                unsigned diagonal = row[0];

                row[0] = i;
                for (unsigned j = 1; j <= b.size; j++) {
                        const unsigned replaced = diagonal + (a.data[i - 1] != b.data[j - 1]);

                        diagonal = row[j];
                        row[j] = MIN_OF(replaced, MIN_OF(row[j], row[j - 1]) + 1);
                }
        }
        return row[b.size];
}

static int refuse_unknown(const Load *load, const Place *place, Slice section, Slice name) {
        char given[KEY_MAX + 1], known[KEY_MAX], best[KEY_MAX] = "";
        unsigned distance, nearest = UINT32_MAX;
        int n = snprintf(given, sizeof(given), "%.*s.%.*s", SLICE_ARG(section), SLICE_ARG(name));

        for (size_t i = 0; i < load->table->n_keys && n >= 0 && (size_t)n < sizeof(given); i++) {
                const ConfigKey *key = &load->table->keys[i];

                (void)snprintf(known, sizeof(known), "%s.%s", key->section, key->name);
                distance = slice_equal(name, slice_of(key->name)) ? 1 : text_distance(slice_of(given), slice_of(known));
                if (distance < nearest) {
                        nearest = distance;
                        (void)snprintf(best, sizeof(best), "%s", known);
                }
        }
        if (nearest <= 2 + name.size / 3)
                return refuse(load, place, NULL, "unknown key %.100s; did you mean %s?", given, best);
        return refuse(load, place, NULL, "unknown key %.100s", given);
}

static int set_by_name(Load *load, const Place *place, Slice section, Slice name, Slice value) {
        for (size_t i = 0; i < load->table->n_keys; i++) {
                const ConfigKey *key = &load->table->keys[i];

                if (slice_equal(section, slice_of(key->section)) && slice_equal(name, slice_of(key->name)))
                        return config_set(load, key, place, value);
        }
        return refuse_unknown(load, place, section, name);
}

static bool section_is_known(const ConfigTable *table, Slice section) {
        for (size_t i = 0; i < table->n_keys; i++)
                if (slice_equal(section, slice_of(table->keys[i].section)))
                        return true;
        return false;
}

/* Cuts off what begins with a ; or # after white space. */
static Slice without_comment(Slice text) {
        for (size_t i = 1; i < text.size; i++)
                if ((text.data[i] == ';' || text.data[i] == '#') && isspace((unsigned char)text.data[i - 1]))
                        return (Slice){ text.data, i };
        return text;
}

/* `section` is the one that holds before the line and after it; it has KEY_MAX bytes. */
static int load_line(Load *load, const Place *place, Slice line, char *section) {
        const char *equals;

        line = trim(line);
        if (line.size == 0 || line.data[0] == ';' || line.data[0] == '#')
                return 0;
        line = trim(without_comment(line));

        if (line.data[0] == '[') {
                if (line.data[line.size - 1] != ']')
                        return refuse(load, place, NULL, "a section's name ends with a ]");
                line = trim((Slice){ line.data + 1, line.size - 2 });
                if (line.size >= KEY_MAX || !section_is_known(load->table, line))
                        return refuse(load, place, NULL, "unknown section [%.*s]",
                                (int)MIN_OF(line.size, (size_t)SHOWN_MAX), line.data);
                (void)snprintf(section, KEY_MAX, "%.*s", SLICE_ARG(line));
                return 0;
        }

        equals = memchr(line.data, '=', line.size);
        if (!equals)
                return refuse(load, place, NULL, "neither [section] nor key = value");
        if (section[0] == '\0')
                return refuse(load, place, NULL, "a key before the first [section]");
        return set_by_name(load, place, slice_of(section), trim((Slice){ line.data, (size_t)(equals - line.data) }),
                trim(slice_after(line, (size_t)(equals - line.data) + 1)));
}

static int load_stream(Load *load, FILE *stream, const char *path) {
        _cleanup_(free_charp) char *line = NULL;
        char section[KEY_MAX] = "";
        Place place = { .source = path };
        size_t capacity = 0;
        ssize_t n;
        int r = 0;

        while (r == 0 && (n = getline(&line, &capacity, stream)) >= 0) {
                place.line++;
                if (n > LINE_MAX_BYTES)
                        return refuse(load, &place, NULL, "the line is longer than %d bytes", LINE_MAX_BYTES);
                if (memchr(line, '\0', (size_t)n))
                        return refuse(load, &place, NULL, "a zero byte; this is not a configuration file");
                r = load_line(load, &place, (Slice){ line, (size_t)n }, section);
        }
        return r != 0 ? r : ferror(stream) ? -EIO : 0;
}

static int load_file(Load *load, const char *path, bool is_optional) {
        const Place place = { .source = path };
        FILE *stream = fopen(path, "re");
        int r;

        if (!stream && errno == ENOENT && is_optional)
                return 0;
        if (!stream)
                return refuse(load, &place, NULL, "%s", strerror(errno));
        errno = 0;
        r = load_stream(load, stream, path);
        if (r == -EIO)
                r = refuse(load, &place, NULL, "%s", strerror(errno != 0 ? errno : EIO));
        (void)fclose(stream);
        return r;
}

static int is_drop_in(const struct dirent *entry) {
        const size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

/* By bytes, not by the locale's order: every machine must read them the same way. */
static int compare_names(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_drop_ins(Load *load, const char *file) {
        _cleanup_(free_charp) char *directory = NULL;
        struct dirent **entries = NULL;
        int n, r = 0;

        if (asprintf(&directory, "%s.d", file) < 0) {
                directory = NULL;
                return -ENOMEM;
        }
        n = scandir(directory, &entries, is_drop_in, compare_names);
        if (n < 0 && errno == ENOENT)
                return 0;
        if (n < 0)
                return refuse(load, &(Place){ .source = directory }, NULL, "%s", strerror(errno));

        for (int i = 0; i < n; i++) {
                char *path = NULL;

                if (r == 0 && asprintf(&path, "%s/%s", directory, entries[i]->d_name) < 0)
                        r = -ENOMEM;
                else if (r == 0) {
                        r = load_file(load, path, /* is_optional= */ false);
                        free(path);
                }
                free(entries[i]);
        }
        free(entries);
        return r;
}

static int load_defaults(Load *load) {
        for (size_t i = 0; i < load->table->n_keys; i++) {
                const ConfigKey *key = &load->table->keys[i];
                const char *value = key->environment ? getenv(key->environment) : NULL;
                char source[KEY_MAX] = "built-in default";
                int r;

                if (value && value[0] != '\0')
                        (void)snprintf(source, sizeof(source), "environment variable %s", key->environment);
                else
                        value = key->fallback;
                r = config_set(load, key, &(Place){ .source = source }, slice_of(value));
                if (r != 0)
                        return r;
        }
        return 0;
}

static int load_option(Load *load, const char *option) {
        const Place place = { .source = "-o" };
        const char *equals = strchr(option, '='), *dot;

        dot = equals ? memchr(option, '.', (size_t)(equals - option)) : NULL;
        if (!dot) /* what follows the = may be a secret */
                return refuse(load, &place, NULL, "\"%.*s\" must be section.key=value",
                        (int)MIN_OF(equals ? (size_t)(equals - option) : strlen(option), (size_t)SHOWN_MAX), option);
        return set_by_name(load, &place, trim((Slice){ option, (size_t)(dot - option) }),
                trim((Slice){ dot + 1, (size_t)(equals - dot - 1) }), trim(slice_of(equals + 1)));
}

static int load_with_drop_ins(Load *load, const char *file) {
        const bool is_optional = file[0] == '-';
        int r;

        if (is_optional)
                file++;
        r = load_file(load, file, is_optional);
        return r == 0 ? load_drop_ins(load, file) : r;
}

int config_load_files(const ConfigTable *table, const char *const *files, size_t n_files, const char *const *options,
        size_t n_options, void *ret, ConfigError *ret_error) {
        Load load = { .table = table, .config = ret, .error = ret_error };
        int r;

        assert(table);
        assert(ret);
        assert(ret_error);

        ret_error->text[0] = '\0';
        r = load_defaults(&load);
        for (size_t i = 0; i < n_files && r == 0; i++)
                r = load_with_drop_ins(&load, files[i]);
        for (size_t i = 0; i < n_options && r == 0; i++)
                r = load_option(&load, options[i]);
        if (r != 0)
                config_clear(table, ret);
        return r;
}

int config_load(const ConfigTable *table, const char *file, const char *const *options, size_t n_options, void *ret,
        ConfigError *ret_error) {
        return config_load_files(table, &file, file ? 1 : 0, options, n_options, ret, ret_error);
}

static bool is_text(ConfigKind kind) {
        return kind != CONFIG_U64 && kind != CONFIG_REAL && kind != CONFIG_BOOL && kind != CONFIG_CHOICE;
}

static bool values_differ(const ConfigKey *key, const void *a, const void *b) {
        const char *const p = (const char *)a + key->offset, *const q = (const char *)b + key->offset;

        switch (key->kind) {
        case CONFIG_U64:
                return *(const uint64_t *)p != *(const uint64_t *)q;
        case CONFIG_REAL:
                return *(const double *)p < *(const double *)q || *(const double *)p > *(const double *)q;
        case CONFIG_BOOL:
                return *(const bool *)p != *(const bool *)q;
        case CONFIG_CHOICE:
                return *(const unsigned *)p != *(const unsigned *)q;
        default:
                return strcmp(*(const char *const *)p, *(const char *const *)q) != 0;
        }
}

void config_report_fixed(const ConfigTable *table, const void *old, const void *new, void (*report)(const char *key)) {
        for (size_t i = 0; i < table->n_keys; i++) {
                const ConfigKey *key = &table->keys[i];
                char name[KEY_MAX];

                if (!key->at_start || !values_differ(key, old, new))
                        continue;
                (void)snprintf(name, sizeof(name), "%s.%s", key->section, key->name);
                report(name);
        }
}

void config_clear(const ConfigTable *table, void *config) {
        for (size_t i = 0; i < table->n_keys; i++) {
                char **place = (char **)((char *)config + table->keys[i].offset);

                if (!is_text(table->keys[i].kind))
                        continue;
                free(*place);
                *place = NULL;
        }
}

void config_print_help(const ConfigTable *table, int fd) {
        for (size_t i = 0; i < table->n_keys; i++) {
                const ConfigKey *key = &table->keys[i];
                char setting[KEY_MAX * 2], range[160];

                (void)snprintf(setting, sizeof(setting), "%s.%s=%s", key->section, key->name, key->fallback);
                describe_range(key, range, sizeof(range));
                describe_choices(key, range, sizeof(range));
                if (dprintf(fd, "  %-40s %s%s%s%s%s%s%s\n", setting, key->help, range, key->environment ? " [$" : "",
                            key->environment ? key->environment : "", key->environment ? "]" : "",
                            key->kind == CONFIG_SECRET ? " [relative: in $CREDENTIALS_DIRECTORY]" : "",
                            key->at_start ? " [restart]" : "") < 0)
                        return;
        }
}
