/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "ctl/screen.h"
#include "common/instant.h"
#include "proto/utf8.h"

#define COLUMN_GAP 2
#define SHRUNK_MIN 8 /* a cell is not cut below this */

/* in the order of Colour */
static const char *const colours[_COLOUR_MAX] = {
        [COLOUR_NONE] = "",
        [COLOUR_GOOD] = "\033[32m",
        [COLOUR_WARNING] = "\033[33m",
        [COLOUR_BAD] = "\033[1;31m",
        [COLOUR_FAINT] = "\033[2m",
        [COLOUR_STRONG] = "\033[1m",
};

static bool wants_colour(ColourChoice choice, bool is_terminal) {
        const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

        if (choice != COLOUR_AUTO)
                return choice == COLOUR_ALWAYS;
        return is_terminal && !(no_colour && no_colour[0] != '\0') && !(term && strcmp(term, "dumb") == 0);
}

void screen_init(Screen *ret, ColourChoice choice) {
        struct winsize size = { 0 };

        *ret = (Screen){
                .is_terminal = isatty(STDOUT_FILENO),
                .error_is_terminal = isatty(STDERR_FILENO),
        };
        ret->has_colour = wants_colour(choice, ret->is_terminal);
        if (ret->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
                ret->columns = size.ws_col;
}

const char *screen_on(const Screen *screen, Colour colour) {
        return screen->has_colour ? colours[colour] : "";
}

const char *screen_off(const Screen *screen, Colour colour) {
        return screen->has_colour && colour != COLOUR_NONE ? "\033[0m" : "";
}

/* Of a character that is not shown as it is: its bytes, and what is shown. Else 0. */
static size_t read_control(const char *at, const char *end, char *ret_shown, size_t shown_max) {
        const size_t size = utf8_size(at, end);
        const unsigned char *c = (const unsigned char *)at;

        if (size == 0 || !utf8_is_control(at, size))
                return 0;
        if (size == 1 || c[0] == 0xc2) /* C1 controls (U+0080 to U+009F) are escape sequences to some terminals */
                (void)snprintf(ret_shown, shown_max, "\\x%02x", c[size - 1]);
        else if (size == 2)
                (void)snprintf(ret_shown, shown_max, "\\u%04x", (c[0] & 0x1fu) << 6 | (c[1] & 0x3fu));
        else
                (void)snprintf(
                        ret_shown, shown_max, "\\u%04x", (c[0] & 0xfu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu));
        return size;
}

/* Of the sign that `n` bytes end with only the beginning is there: how many bytes of it. */
static size_t torn_sign(const char *text, size_t n) {
        size_t size = 0;

        while (size < n && size < 3 && ((unsigned char)text[n - 1 - size] & 0xc0) == 0x80)
                size++;
        return size < n && (unsigned char)text[n - 1 - size] >= 0xc0 ? size + 1 : 0;
}

size_t screen_text(char *place, size_t size, const char *text) {
        const char *stop = text + strlen(text);
        size_t n = 0, end = 0;

        for (const char *c = text; c < stop;) {
                char shown[8] = { *c };
                const size_t control = read_control(c, stop, shown, sizeof(shown)), shown_size = strlen(shown);

                if (place && end == n && n + shown_size < size) {
                        memcpy(place + n, shown, shown_size);
                        end += shown_size;
                } else if (place && end == n && size > 0 && ((unsigned char)*c & 0xc0) == 0x80) {
                        end -= torn_sign(place, end);
                }
                n += shown_size;
                c += control > 0 ? control : 1;
        }
        if (size > 0)
                place[end] = '\0';
        return n;
}

void screen_print_lines(FILE *file, const char *data, size_t size) {
        for (size_t i = 0; i < size;) {
                char shown[8];
                const size_t control = data[i] == '\n' || data[i] == '\t'
                                               ? 0
                                               : read_control(data + i, data + size, shown, sizeof(shown));

                if (control > 0)
                        (void)fputs(shown, file);
                else
                        (void)fputc(data[i], file);
                i += control > 0 ? control : 1;
        }
}

Colour screen_state_colour(const char *state) {
        static const struct {
                const char *state;
                Colour colour;
        } known[] = {
                { "live", COLOUR_GOOD },
                { "running", COLOUR_GOOD },
                { "SUCCESS", COLOUR_GOOD },
                { "yes", COLOUR_GOOD },
                { "joining", COLOUR_FAINT },
                { "starting", COLOUR_FAINT },
                { "created", COLOUR_FAINT },
                { "stopped", COLOUR_FAINT },
                { "suspect", COLOUR_WARNING },
                { "draining", COLOUR_WARNING },
                { "paused", COLOUR_WARNING },
                { "stopping", COLOUR_WARNING },
                { "failed", COLOUR_BAD },
                { "gone", COLOUR_BAD },
                { "FAILURE", COLOUR_BAD },
                { "AGENT_ERROR", COLOUR_BAD },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strcmp(known[i].state, state) == 0)
                        return known[i].colour;
        return COLOUR_NONE;
}

/* numbers */

/* Elsewhere two signs of our own have to be others. */
static bool speaks_utf8(void) {
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

uint64_t whole_number(double number) {
        if (!(number > 0))
                return 0;
        return number < 0x1p64 - 2048 ? (uint64_t)(number + 0.5) : UINT64_MAX;
}

const char *show_duration(char *place, uint64_t usec) {
        static const struct {
                uint64_t below, unit;
                const char *name;
        } scales[] = {
                { USEC_PER_MSEC, 1, "µs" },
                { 10 * USEC_PER_SEC, USEC_PER_MSEC, "ms" },
                { 120 * USEC_PER_SEC, USEC_PER_SEC, "s" },
                { UINT64_C(7200) * USEC_PER_SEC, 60 * USEC_PER_SEC, "min" },
                { UINT64_C(48) * 3600 * USEC_PER_SEC, UINT64_C(3600) * USEC_PER_SEC, "h" },
                { UINT64_MAX, UINT64_C(86400) * USEC_PER_SEC, "d" },
        };
        size_t i = 0;

        while (usec >= scales[i].below && i + 1 < ELEMENTSOF(scales))
                i++;
        if (scales[i].unit == USEC_PER_MSEC && usec < 10 * USEC_PER_MSEC)
                (void)snprintf(place, SHOWN_MAX, "%.1f ms", (double)usec / USEC_PER_MSEC);
        else
                (void)snprintf(place, SHOWN_MAX, "%llu %s", (unsigned long long)(usec / scales[i].unit),
                        i == 0 && !speaks_utf8() ? "us" : scales[i].name);
        return place;
}

const char *show_bytes(char *place, uint64_t bytes) {
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
        double value = (double)bytes;
        size_t i = 0;

        while (value >= 1024 && i + 1 < ELEMENTSOF(units)) {
                value /= 1024;
                i++;
        }
        (void)snprintf(place, SHOWN_MAX, value < 10 && i > 0 ? "%.1f %s" : "%.0f %s", value, units[i]);
        return place;
}

const char *show_number(char *place, uint64_t number) {
        char digits[24];
        size_t n = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number), at = 0;

        for (size_t i = 0; i < n; i++) {
                if (i > 0 && (n - i) % 3 == 0)
                        place[at++] = ',';
                place[at++] = digits[i];
        }
        place[at] = '\0';
        return place;
}

const char *show_rate(char *place, double per_second) {
        if (per_second < 10)
                (void)snprintf(place, SHOWN_MAX, "%.1f", per_second);
        else
                (void)show_number(place, whole_number(per_second));
        return place;
}

/* tables */

typedef struct Cell {
        char *text;
        size_t width; /* in columns of a terminal */
        Colour colour;
} Cell;

struct Table {
        const Column *columns;
        size_t n_columns;
        Cell *cells;
        size_t n_cells, capacity;
        bool failed;
};

Table *table_new(const Column *columns, size_t n_columns) {
        Table *table = calloc(1, sizeof(*table));

        if (!table)
                return NULL;
        table->columns = columns;
        table->n_columns = n_columns;
        return table;
}

Table *table_free(Table *table) {
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        free(table->cells);
        free(table);
        return NULL;
}

/* The bytes of the next character of `text`, and the columns it takes: 1 for what the locale doesn't know. */
static size_t measure_character(const char *text, size_t *ret_columns) {
        wchar_t wide;
        mbstate_t state = { 0 };
        size_t n = mbrtowc(&wide, text, strlen(text), &state);
        int columns;

        if (n == 0 || n > strlen(text)) {
                *ret_columns = 1;
                return 1;
        }
        columns = wcwidth(wide);
        *ret_columns = columns < 0 ? 1 : (size_t)columns;
        return n;
}

static size_t measure(const char *text) {
        size_t width = 0, columns;

        while (*text) {
                text += measure_character(text, &columns);
                width += columns;
        }
        return width;
}

static int make_room(Table *table) {
        size_t capacity = table->capacity > 0 ? table->capacity * 2 : 64;
        Cell *cells;

        if (table->n_cells < table->capacity)
                return 0;
        cells = reallocarray(table->cells, capacity, sizeof(*cells));
        if (!cells)
                return -ENOMEM;
        table->cells = cells;
        table->capacity = capacity;
        return 0;
}

void table_cell(Table *table, Colour colour, const char *format, ...) {
        char *raw = NULL, *text;
        va_list arguments;
        size_t size;
        int r;

        if (!table)
                return;
        va_start(arguments, format);
        r = vasprintf(&raw, format, arguments);
        va_end(arguments);
        if (r < 0 || make_room(table) < 0) {
                table->failed = true;
                if (r >= 0)
                        free(raw);
                return;
        }
        size = screen_text(NULL, 0, raw) + 1;
        text = malloc(size);
        if (text) {
                (void)screen_text(text, size, raw);
                table->cells[table->n_cells++] = (Cell){ text, measure(text), colour };
        }
        table->failed |= !text;
        free(raw);
}

size_t table_n_rows(const Table *table) {
        return table ? (table->n_cells + table->n_columns - 1) / table->n_columns : 0;
}

static void fit(const Table *table, const Screen *screen, size_t *widths) {
        size_t total = 0, over;

        for (size_t c = 0; c < table->n_columns; c++)
                total += widths[c] + (c > 0 ? COLUMN_GAP : 0);
        over = screen->columns > 0 && total > screen->columns ? total - screen->columns : 0;
        while (over > 0) { /* the widest of those that may, a column at a time */
                size_t widest = SIZE_MAX;

                for (size_t c = 0; c < table->n_columns; c++)
                        if (table->columns[c].may_shrink && widths[c] > SHRUNK_MIN &&
                                (widest == SIZE_MAX || widths[c] > widths[widest]))
                                widest = c;
                if (widest == SIZE_MAX)
                        return;
                widths[widest]--;
                over--;
        }
}

static void print_spaces(FILE *file, size_t n) {
        while (n-- > 0)
                (void)fputc(' ', file);
}

static void print_cut(FILE *file, const char *text, size_t width) {
        size_t used = 0, columns;

        while (*text) {
                size_t n = measure_character(text, &columns);

                if (used + columns + 1 > width)
                        break;
                (void)fwrite(text, 1, n, file);
                used += columns;
                text += n;
        }
        (void)fputs(speaks_utf8() ? "…" : ".", file);
        print_spaces(file, width - used - 1);
}

static void print_cell(
        FILE *file, const Screen *screen, const Column *column, const Cell *cell, size_t width, bool is_last) {
        const size_t padding = cell->width < width ? width - cell->width : 0;

        if (column->is_right)
                print_spaces(file, padding);
        (void)fputs(screen_on(screen, cell->colour), file);
        if (cell->width > width)
                print_cut(file, cell->text, width);
        else
                (void)fputs(cell->text, file);
        (void)fputs(screen_off(screen, cell->colour), file);
        if (!is_last)
                print_spaces(file, (column->is_right ? 0 : padding) + COLUMN_GAP);
}

int table_print(const Table *table, const Screen *screen, FILE *file) {
        size_t *widths = table ? calloc(table->n_columns, sizeof(*widths)) : NULL;

        if (!widths || table->failed) {
                free(widths);
                return -ENOMEM;
        }
        for (size_t c = 0; c < table->n_columns; c++)
                widths[c] = measure(table->columns[c].title);
        for (size_t i = 0; i < table->n_cells; i++)
                widths[i % table->n_columns] = MAX_OF(widths[i % table->n_columns], table->cells[i].width);
        fit(table, screen, widths);

        for (size_t c = 0; c < table->n_columns; c++) {
                const Cell title = { (char *)(uintptr_t)table->columns[c].title, measure(table->columns[c].title),
                        COLOUR_STRONG };

                print_cell(file, screen, &table->columns[c], &title, widths[c], c + 1 == table->n_columns);
        }
        (void)fputc('\n', file);
        for (size_t i = 0; i < table->n_cells; i++) {
                const size_t c = i % table->n_columns;

                print_cell(file, screen, &table->columns[c], &table->cells[i], widths[c], c + 1 == table->n_columns);
                if (c + 1 == table->n_columns)
                        (void)fputc('\n', file);
        }
        free(widths);
        return 0;
}
