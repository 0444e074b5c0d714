/* SPDX-License-Identifier: MIT */

/*
 * Everything goes through put(): it cuts at the width that it is given, and shows what the locale can't. A terminal of
 * any size gets what fits, from the top; below 20 columns or 6 rows it is asked to grow.
 */

#include <curses.h>
#include <langinfo.h>
#include <stdarg.h>
#include <string.h>
#include <wchar.h>

#include "common/instant.h"
#include "ctl/top_details.h"
#include "ctl/top_rescue.h"
#include "ctl/top_view.h"

#define COLUMNS_MIN 20
#define ROWS_MIN 6
#define HEAD_ROWS 4 /* what all pages have above their tabs, where there is room */
#define NAME_COLUMNS 22
#define BAR_COLUMNS 24
#define ESCAPE_MSEC 25 /* for the rest of a key's sequence; ssh sends it in one piece */

static struct {
        bool is_utf8, has_colour;
        SCREEN *screen;
        TopLines lines;
} view;

/* attributes */

static attr_t attribute(Colour colour) {
        static const attr_t plain[_COLOUR_MAX] = {
                [COLOUR_BAD] = A_BOLD,
                [COLOUR_FAINT] = A_DIM,
                [COLOUR_STRONG] = A_BOLD,
        };
        static const short pairs[_COLOUR_MAX] = {
                [COLOUR_GOOD] = 1,
                [COLOUR_WARNING] = 2,
                [COLOUR_BAD] = 3,
        };

        return plain[colour] | (view.has_colour && pairs[colour] > 0 ? COLOR_PAIR(pairs[colour]) : 0);
}

static void start_colours(void) {
        static const short foregrounds[] = { COLOR_GREEN, COLOR_YELLOW, COLOR_RED, COLOR_CYAN };

        (void)start_color();
        (void)use_default_colors();
        for (size_t i = 0; i < ELEMENTSOF(foregrounds); i++)
                (void)init_pair((short)(i + 1), foregrounds[i], -1);
}

int top_view_start(const Screen *screen, char *ret_why, size_t size) {
        const char *terminal = getenv("TERM");

        top_rescue_prepare();
        view.screen = newterm(NULL, stdout, stdin);
        if (!view.screen) {
                (void)snprintf(ret_why, size,
                        "TERM=%s is no terminal that can be drawn on; --iterations prints instead",
                        terminal ? terminal : "");
                return -ENODEV;
        }
        view.is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        view.has_colour = screen->has_colour && has_colors();
        if (view.has_colour)
                start_colours();
        (void)cbreak();
        (void)noecho();
        (void)nonl();
        (void)nodelay(stdscr, TRUE);
        (void)keypad(stdscr, TRUE);
        (void)set_escdelay(ESCAPE_MSEC);
        (void)curs_set(0);
        top_rescue_arm();
        return 0;
}

void top_view_stop(void) {
        if (!view.screen)
                return;
        top_rescue_disarm();
        (void)curs_set(1);
        (void)endwin();
        delscreen(view.screen);
        view.screen = NULL;
}

void top_view_lend(void) {
        top_rescue_disarm();
        (void)curs_set(1);
        (void)endwin();
}

void top_view_take_again(void) {
        (void)reset_prog_mode(); /* after SIGSTOP there was no endwin(), and shells set modes of their own */
        (void)clearok(curscr, TRUE);
        (void)refresh();
        (void)curs_set(0);
        top_rescue_arm();
}

/* text */

/* Without UTF-8 the few signs of our own have a sign of ASCII each; everything else is a question mark. */
static wchar_t plain_sign(const char *text) {
        static const struct {
                const char *sign;
                wchar_t plain;
        } known[] = {
                { "µ", L'u' },
                { "…", L'.' },
                { "▼", L'v' },
                { "▲", L'^' },
                { "●", L'*' },
                { "›", L'>' },
                { "█", L'#' },
                { "░", L'.' },
                { "│", L'|' },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strncmp(text, known[i].sign, strlen(known[i].sign)) == 0)
                        return known[i].plain;
        return L'?';
}

static size_t sign_size(const char *text) {
        size_t n = 1;

        while ((text[n] & 0xc0) == 0x80)
                n++;
        return n;
}

/* At most `width` columns from `x`; returns how many it took. */
static int put(int y, int x, int width, attr_t attributes, const char *text) {
        wchar_t shown[512];
        size_t n = 0;
        int used = 0;

        while (*text && n + 1 < ELEMENTSOF(shown)) {
                mbstate_t state = { 0 };
                wchar_t sign = L'?';
                size_t size = view.is_utf8 ? mbrtowc(&sign, text, strlen(text), &state) : sign_size(text);
                int columns;

                if (view.is_utf8 && size > strlen(text)) { /* not a whole sign */
                        sign = L'?';
                        size = 1;
                } else if (!view.is_utf8) {
                        sign = (unsigned char)text[0] < 0x80 ? (wchar_t)text[0] : plain_sign(text);
                }
                columns = view.is_utf8 ? wcwidth(sign) : 1;
                if (columns < 0) {
                        sign = L'?';
                        columns = 1;
                }
                if (used + columns > width) {
                        if (n > 0 && width > 1)
                                shown[n - 1] = view.is_utf8 ? L'…' : L'.';
                        break;
                }
                shown[n++] = sign;
                used += columns;
                text += size;
        }
        shown[n] = L'\0';
        if (n > 0) {
                (void)attrset(attributes);
                (void)mvaddnwstr(y, x, shown, (int)n);
                (void)attrset(A_NORMAL);
        }
        return used;
}

/* Goes on at *x, up to the right edge. */
static void say(int y, int *x, attr_t attributes, const char *format, ...) _printf_(4, 5);

static void say(int y, int *x, attr_t attributes, const char *format, ...) {
        char text[640];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (*x < COLS)
                *x += put(y, *x, COLS - *x, attributes, text);
}

static int text_columns(const char *text) {
        int n = 0;

        for (; *text; text++)
                n += (*text & 0xc0) != 0x80;
        return n;
}

/* bars: eighths of a cell, so that a little is seen as such */

static void put_bar(int y, int x, int width, double part, attr_t attributes) {
        static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
        const double bounded = part < 0 ? 0 : part > 1 ? 1 : part;
        int n = (int)(bounded * width * 8 + 0.5), at = 0;

        if (n == 0 && part > 0)
                n = 1;
        for (; at < n / 8; at++)
                (void)put(y, x + at, 1, attributes, "█");
        if (n % 8 > 0 && at < width) {
                (void)put(y, x + at, 1, attributes, view.is_utf8 ? eighths[n % 8] : "#");
                at++;
        }
        for (; at < width; at++)
                (void)put(y, x + at, 1, attribute(COLOUR_FAINT), "░");
}

static void put_history(int y, int x, int width, const TopModel *model) {
        static const char *const heights[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
        static const char *const plain[] = { "_", "_", ".", ".", "-", "-", "=", "#" };
        const size_t n = MIN_OF(MIN_OF(model->n_history, (size_t)TOP_HISTORY_MAX), (size_t)MAX_OF(width, 0));
        double most = 0;

        for (size_t i = 0; i < n; i++)
                most = MAX_OF(most, model->history[(model->n_history - n + i) % TOP_HISTORY_MAX]);
        for (size_t i = 0; i < n; i++) {
                const double value = model->history[(model->n_history - n + i) % TOP_HISTORY_MAX];
                const size_t height = most > 0 ? (size_t)(value / most * 7 + 0.5) : 0;

                (void)put(y, x + width - (int)n + (int)i, 1, view.has_colour ? COLOR_PAIR(4) : A_NORMAL,
                        (view.is_utf8 ? heights : plain)[MIN_OF(height, (size_t)7)]);
        }
}

/* the head */

static void draw_connection(const TopHead *head, const TopTotals *totals) {
        char shown[SHOWN_MAX];
        int x = 0;

        say(0, &x, A_REVERSE | A_BOLD, " compozy top ");
        say(0, &x, A_NORMAL, "  %s", head->url);
        if (head->context)
                say(0, &x, A_NORMAL, " (%s)", head->context);
        if (!head->is_connected) {
                say(0, &x, attribute(COLOUR_BAD), "  ● no connection for %s, trying again; what follows is old",
                        show_duration(shown, head->lost_usec));
        } else if (totals->n_dispatchers == 0) {
                say(0, &x, attribute(COLOUR_BAD), "  ● no dispatcher answers: is compozy-dispatcherd running?");
        } else {
                say(0, &x, attribute(COLOUR_GOOD), "  ●");
                say(0, &x, A_NORMAL, " answers in %s", show_duration(shown, totals->answered_in_usec));
        }
        if (x + 10 < COLS)
                (void)put(0, COLS - 9, 9, attribute(COLOUR_FAINT), head->clock);
}

static void say_count(int y, int *x, uint64_t n, const char *what, Colour colour) {
        char shown[SHOWN_MAX];

        if (n == 0)
                return;
        say(y, x, attribute(colour), "%s%s", show_number(shown, n), " ");
        say(y, x, attribute(colour), "%s  ", what);
}

static void draw_fleet(const TopModel *model, const TopTotals *totals) {
        const uint64_t known = totals->live + totals->joining + totals->suspect + totals->draining;
        char shown[SHOWN_MAX];
        int x = 1;

        say(1, &x, A_NORMAL, "Dispatchers ");
        say(1, &x, A_BOLD, "%zu%s", totals->n_dispatchers, model->has_more_dispatchers ? "+" : "");
        say(1, &x, A_NORMAL, "   Runtimes ");
        say(1, &x, A_BOLD, "%s  ", show_number(shown, known));
        say_count(1, &x, totals->live, "live", COLOUR_GOOD);
        say_count(1, &x, totals->joining, "joining", COLOUR_FAINT);
        say_count(1, &x, totals->suspect, "suspect", COLOUR_WARNING);
        say_count(1, &x, totals->draining, "draining", COLOUR_WARNING);
        say(1, &x, A_NORMAL, " Agents ");
        say(1, &x, A_BOLD, "%s  ", show_number(shown, totals->agents));
        say_count(1, &x, totals->agents_failed, "failed", COLOUR_BAD);
        if (totals->is_mass_silent)
                say(1, &x, attribute(COLOUR_BAD), " many are silent together");
}

static void draw_triggers(const TopModel *model, const TopTotals *totals) {
        char shown[SHOWN_MAX];
        int x = 1, width;

        say(2, &x, A_NORMAL, "Triggers ");
        say(2, &x, A_BOLD, "%6s/s ", top_show_rate(shown, totals->triggers));
        width = MIN_OF(MAX_OF(COLS - x - 46, 0), 100);
        put_history(2, x, width, model);
        x += width + (width > 0);
        say(2, &x, A_NORMAL, " ok ");
        say(2, &x, A_BOLD, "%s/s", top_show_rate(shown, totals->ok));
        say(2, &x, A_NORMAL, "  agent errors ");
        say(2, &x, totals->agent_errors > 0 ? attribute(COLOUR_WARNING) : A_BOLD, "%s/s",
                top_show_rate(shown, totals->agent_errors));
        say(2, &x, A_NORMAL, "  failed ");
        say(2, &x, totals->failures > 0 ? attribute(COLOUR_BAD) : A_BOLD, "%s/s",
                top_show_rate(shown, totals->failures));
}

static void draw_load(const TopTotals *totals) {
        const uint64_t taken = totals->slots > totals->free_slots ? totals->slots - totals->free_slots : 0;
        char a[SHOWN_MAX], b[SHOWN_MAX];
        int x = 1;

        say(3, &x, A_NORMAL, "Slots ");
        if (COLS >= 78) {
                const int width = MIN_OF(10 + (COLS - 78) / 3, 30);

                put_bar(3, x, width, totals->slots > 0 ? (double)taken / (double)totals->slots : 0,
                        attribute(totals->free_slots == 0 && taken > 0 ? COLOUR_WARNING : COLOUR_GOOD));
                x += width + 1;
        }
        say(3, &x, A_BOLD, "%s/%s", show_number(a, taken), show_number(b, totals->slots));
        say(3, &x, A_NORMAL, "  Waiting ");
        say(3, &x, totals->waiting > 0 ? attribute(COLOUR_WARNING) | A_BOLD : A_BOLD, "%s",
                show_number(a, totals->waiting));
        say(3, &x, A_NORMAL, "  ms p50/p99: queue ");
        say(3, &x, A_BOLD, "%s/%s", top_show_ms(a, totals->dispatch_p50), top_show_ms(b, totals->dispatch_p99));
        say(3, &x, A_NORMAL, " run ");
        say(3, &x, A_BOLD, "%s/%s", top_show_ms(a, totals->execution_p50), top_show_ms(b, totals->execution_p99));
}

static void draw_head(const TopHead *head, const TopModel *model) {
        TopTotals totals;

        top_model_totals(model, &totals);
        draw_connection(head, &totals);
        if (LINES < HEAD_ROWS + 6)
                return;
        draw_fleet(model, &totals);
        draw_triggers(model, &totals);
        draw_load(&totals);
}

/* the tabs */

static void draw_tabs(int y, const TopHead *head, const TopModel *model, const TopUi *ui) {
        static const char *const names[] = { "Runtimes", "Agents", "Dispatchers" };
        const TopPage root = ui->n_back > 0 ? ui->back[0] : ui->page;
        const TopTab *tab = &ui->tabs[ui->page];
        char note[160] = "";
        int x = 0;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                say(y, &x, (TopPage)i == root ? A_REVERSE : attribute(COLOUR_FAINT), " %zu %s ", i + 1, names[i]);
        if (ui->page == TOP_PAGE_RUNTIME || (ui->page == TOP_PAGE_AGENT && ui->n_back > 0))
                say(y, &x, A_BOLD, " › %s", ui->runtime_id);
        if (ui->page == TOP_PAGE_AGENT)
                say(y, &x, A_BOLD, " › %s", ui->agent_id);
        if (ui->page == TOP_PAGE_DISPATCHER)
                say(y, &x, A_BOLD, " › %s", ui->dispatcher_id);

        if (tab->filter[0] != '\0')
                (void)snprintf(note, sizeof(note), "/%s: %zu of %zu", tab->filter, ui->rows.n_items, ui->rows.n_all);
        else if (ui->page == TOP_PAGE_RUNTIME && model->agents_total > ui->rows.n_items)
                (void)snprintf(note, sizeof(note), "%zu of %llu agents", ui->rows.n_items,
                        (unsigned long long)model->agents_total);
        else if (ui->page == TOP_PAGE_AGENTS && head->n_watched > 0)
                (void)snprintf(note, sizeof(note), "of the %zu busiest runtimes", head->n_watched);
        else if (top_page_has_rows(ui->page))
                (void)snprintf(note, sizeof(note), "%zu", ui->rows.n_items);
        if (x + text_columns(note) + 1 < COLS)
                (void)put(y, COLS - text_columns(note) - 1, text_columns(note), attribute(COLOUR_FAINT), note);
}

/* tables */

static void draw_titles(int y, const TopUi *ui, const unsigned *widths) {
        const TopTab *tab = &ui->tabs[ui->page];
        size_t n;
        const TopColumn *columns = top_columns(top_page_table(ui->page), &n);
        int x = 0;

        for (int i = 0; i < COLS; i++)
                (void)put(y, i, 1, A_UNDERLINE, " ");
        for (size_t i = 0; i < n && x < COLS; i++) {
                const bool is_sorted = i == tab->sort;
                const bool is_down = (columns[i].text != NULL) == tab->is_reversed;
                char title[64];
                int pad;

                if (widths[i] == 0)
                        continue;
                (void)snprintf(title, sizeof(title), "%s%s", columns[i].title, !is_sorted ? "" : is_down ? "▼" : "▲");
                if (text_columns(title) > (int)widths[i] && is_sorted) /* the sign matters more */
                        (void)snprintf(title, sizeof(title), "%.*s%s", (int)widths[i] - 1, columns[i].title,
                                is_down ? "▼" : "▲");
                pad = columns[i].number && !columns[i].full ? (int)widths[i] - text_columns(title) : 0;
                (void)put(y, x + MAX_OF(pad, 0), MIN_OF((int)widths[i], COLS - x),
                        A_UNDERLINE | (is_sorted ? A_BOLD : 0), title);
                x += (int)widths[i] + 1;
        }
}

static void draw_cell(
        int y, int x, int width, const TopModel *model, const TopColumn *column, const void *row, attr_t selected) {
        char text[TOP_CELL_MAX];
        const attr_t attributes = column->colour ? attribute(column->colour(model, row)) : A_NORMAL;
        int columns;

        top_cell(model, column, row, text);
        columns = text_columns(text);
        if (column->full) {
                const double full = column->full(model, row);
                const int bar = width - 1 - MAX_OF(columns, 11);

                if (bar >= 3)
                        put_bar(y, x, bar, full > 0 ? column->number(model, row) / full : 0, attributes);
                (void)put(y, x + MAX_OF(width - columns, 0), width, selected, text);
        } else if (column->number) {
                (void)put(y, x + MAX_OF(width - columns, 0), width, attributes | selected, text);
        } else {
                (void)put(y, x, width, attributes | selected, text);
        }
}

static void draw_table(int y, int n_rows, const TopModel *model, TopUi *ui) {
        const TopTab *tab = &ui->tabs[ui->page];
        unsigned widths[TOP_COLUMNS_MAX];
        size_t n;
        const TopColumn *columns = top_columns(top_page_table(ui->page), &n);

        top_widths(top_page_table(ui->page), (unsigned)COLS, widths);
        draw_titles(y, ui, widths);
        for (int i = 0; i < n_rows && tab->first + (size_t)i < ui->rows.n_items; i++) {
                const void *row = ui->rows.items[tab->first + (size_t)i];
                const bool is_selected = tab->first + (size_t)i == tab->cursor;
                int x = 0;

                if (is_selected)
                        for (int c = 0; c < COLS; c++)
                                (void)put(y + 1 + i, c, 1, A_REVERSE, " ");
                for (size_t c = 0; c < n && x < COLS; c++) {
                        if (widths[c] == 0)
                                continue;
                        draw_cell(y + 1 + i, x, MIN_OF((int)widths[c], COLS - x), model, &columns[c], row,
                                is_selected ? A_REVERSE : 0);
                        x += (int)widths[c] + 1;
                }
        }
        if (ui->rows.n_items == 0 && n_rows > 1)
                (void)put(y + 2, 1, COLS - 1, attribute(COLOUR_FAINT),
                        tab->filter[0] != '\0'             ? "Nothing matches the filter; Esc forgets it."
                        : ui->page == TOP_PAGE_RUNTIMES    ? "No runtime is registered."
                        : ui->page == TOP_PAGE_DISPATCHERS ? "No dispatcher answers."
                                                           : "No agents.");
}

/* lines */

static void draw_line(int y, const TopLine *line) {
        int x = 1;

        if (line->value[0] == '\0') {
                (void)put(y, x, COLS - x, attribute(line->colour), line->name);
                return;
        }
        (void)put(y, x, NAME_COLUMNS, attribute(COLOUR_FAINT), line->name);
        x += NAME_COLUMNS + 1;
        if (line->bar >= 0 && COLS > 60) {
                put_bar(y, x, BAR_COLUMNS, line->bar,
                        line->colour == COLOUR_NONE ? attribute(COLOUR_GOOD) : attribute(line->colour));
                x += BAR_COLUMNS + 1;
        }
        if (x < COLS)
                (void)put(y, x, COLS - x, attribute(line->colour), line->value);
}

/* Returns how many it drew. */
static int draw_lines(int y, int n_rows, size_t first) {
        int n = 0;

        for (; n < n_rows && first + (size_t)n < view.lines.n_items; n++)
                draw_line(y + n, &view.lines.items[first + (size_t)n]);
        return n;
}

static void draw_page(int y, int n_rows, const TopModel *model, TopUi *ui) {
        TopTab *tab = &ui->tabs[ui->page];

        if (ui->page == TOP_PAGE_RUNTIME) {
                int n;

                top_details_runtime(model, ui->runtime_id, &view.lines);
                n = draw_lines(y, MAX_OF(n_rows - 4, 0), 0); /* a title and some agents */
                y += n + 1;
                n_rows -= n + 1;
        } else if (!top_page_has_rows(ui->page)) {
                if (ui->page == TOP_PAGE_AGENT)
                        top_details_agent(model, ui->runtime_id, ui->agent_id, &view.lines);
                else
                        top_details_dispatcher(model, ui->dispatcher_id, &view.lines);
                if (tab->first + (size_t)n_rows > view.lines.n_items)
                        tab->first = view.lines.n_items > (size_t)n_rows ? view.lines.n_items - (size_t)n_rows : 0;
                (void)draw_lines(y, n_rows, tab->first);
                ui->n_visible = (size_t)MAX_OF(n_rows, 1);
                return;
        }
        ui->n_visible = (size_t)MAX_OF(n_rows - 1, 1);
        (void)top_ui_refresh(ui, model); /* with what is visible now, the cursor is in sight */
        draw_table(y, n_rows - 1, model, ui);
}

/* the foot */

static void draw_foot(const TopHead *head, const TopModel *model, const TopUi *ui) {
        static const char *const keys[_TOP_PAGE_MAX] = {
                [TOP_PAGE_RUNTIMES] = "Enter look  d drain  r resume",
                [TOP_PAGE_AGENTS] = "Enter look  p pause/resume",
                [TOP_PAGE_DISPATCHERS] = "Enter look",
                [TOP_PAGE_RUNTIME] = "Esc back  Enter look  p pause/resume agent  d drain  r resume",
                [TOP_PAGE_AGENT] = "Esc back  p pause/resume  ↑↓ scroll",
                [TOP_PAGE_DISPATCHER] = "Esc back  ↑↓ scroll",
        };
        const int y = LINES - 1;
        char question[300];
        int x = 0;

        (void)head;
        if (ui->question.kind != TOP_ACTION_NONE) {
                say(y, &x, A_REVERSE | A_BOLD, " %s ", top_ui_question(ui, question, sizeof(question)));
        } else if (ui->is_filtering) {
                say(y, &x, A_BOLD, "/%s_", ui->tabs[ui->page].filter);
                say(y, &x, attribute(COLOUR_FAINT), "   Enter keeps the filter, Esc forgets it");
        } else if (ui->message[0] != '\0' && model->now_usec < ui->message_until_usec) {
                say(y, &x, attribute(ui->message_colour), " %s", ui->message);
        } else {
                say(y, &x, attribute(COLOUR_FAINT), " %s%s%s",
                        view.is_utf8 || top_page_has_rows(ui->page) ? keys[ui->page] : "Esc back",
                        top_page_has_rows(ui->page) ? "  <> sort  S reverse  / filter" : "", "  Tab  ? help  q quit");
        }
}

static void draw_help(void) {
        static const char *const lines[] = {
                "1 2 3, Tab        runtimes, agents, dispatchers",
                "up down, j k      select; also PgUp, PgDn, Home, End, g, G",
                "Enter             look into it: a runtime and its agents, an agent, a dispatcher",
                "Esc, Backspace    back",
                "< >, s            sort by another column",
                "S                 the other way round",
                "/                 show only what has that text in its id, state, host or labels",
                "d                 drain the runtime: it finishes what it has and gets nothing new",
                "r                 resume it",
                "p                 pause the agent, or resume a paused one",
                "q, Ctrl-C         quit",
                "",
                "Rates are differences of two answers. HEARD is how long ago the last heartbeat",
                "was. Queue is from a trigger's arrival to its first attempt, run from there to",
                "the report that it is done, both over the last ten intervals.",
        };
        const int width = MIN_OF(84, COLS - 2), x = (COLS - width) / 2;
        const int y = MAX_OF((LINES - (int)ELEMENTSOF(lines) - 2) / 2, 0);

        for (int i = 0; i < (int)ELEMENTSOF(lines) + 2 && y + i < LINES; i++) {
                for (int c = 0; c < width; c++)
                        (void)put(y + i, x + c, 1, A_REVERSE, " ");
                if (i > 0 && i <= (int)ELEMENTSOF(lines))
                        (void)put(y + i, x + 2, width - 3, A_REVERSE, lines[i - 1]);
        }
}

void top_view_draw(const TopHead *head, const TopModel *model, TopUi *ui) {
        const int first = LINES < HEAD_ROWS + 6 ? 1 : HEAD_ROWS;

        (void)erase();
        if (COLS < COLUMNS_MIN || LINES < ROWS_MIN) {
                (void)put(0, 0, COLS, A_BOLD, "too small");
        } else {
                draw_head(head, model);
                draw_tabs(first, head, model, ui);
                draw_page(first + 1, LINES - first - 2, model, ui);
                draw_foot(head, model, ui);
                if (ui->is_help)
                        draw_help();
        }
        (void)refresh();
}

int top_view_key(void) {
        static const struct {
                int theirs, ours;
        } keys[] = {
                { KEY_UP, TOP_KEY_UP },
                { KEY_DOWN, TOP_KEY_DOWN },
                { KEY_PPAGE, TOP_KEY_PAGE_UP },
                { KEY_NPAGE, TOP_KEY_PAGE_DOWN },
                { KEY_HOME, TOP_KEY_HOME },
                { KEY_END, TOP_KEY_END },
                { KEY_LEFT, '<' },
                { KEY_RIGHT, '>' },
                { KEY_ENTER, TOP_KEY_ENTER },
                { '\r', TOP_KEY_ENTER },
                { '\n', TOP_KEY_ENTER },
                { '\t', TOP_KEY_TAB },
                { 27, TOP_KEY_ESCAPE },
                { KEY_BACKSPACE, TOP_KEY_BACKSPACE },
                { 127, TOP_KEY_BACKSPACE },
                { '\b', TOP_KEY_BACKSPACE },
        };
        const int key = getch();

        if (key == ERR)
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (keys[i].theirs == key)
                        return keys[i].ours;
        return key < 256 ? key : 0; /* KEY_RESIZE and others: drawn anew, and that is all */
}
