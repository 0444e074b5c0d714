/* SPDX-License-Identifier: MIT */

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "ctl/top_ui.h"

static const struct {
        bool has_rows;
        TopTable table;
        size_t sort; /* at the start */
} pages[_TOP_PAGE_MAX] = {
        [TOP_PAGE_RUNTIMES] = { true, TOP_TABLE_RUNTIMES, 0 },
        [TOP_PAGE_AGENTS] = { true, TOP_TABLE_AGENTS, 6 }, /* the busiest */
        [TOP_PAGE_DISPATCHERS] = { true, TOP_TABLE_DISPATCHERS, 0 },
        [TOP_PAGE_RUNTIME] = { true, TOP_TABLE_AGENTS, 6 },
        [TOP_PAGE_AGENT] = { false, TOP_TABLE_AGENTS, 0 },
        [TOP_PAGE_DISPATCHER] = { false, TOP_TABLE_DISPATCHERS, 0 },
};

static const struct {
        const char *verb, *name;
} actions[_TOP_ACTION_MAX] = {
        [TOP_ACTION_DRAIN] = { "drain_runtime", "Drain" },
        [TOP_ACTION_RESUME] = { "resume_runtime", "Resume" },
        [TOP_ACTION_PAUSE_AGENT] = { "pause_agent", "Pause" },
        [TOP_ACTION_RESUME_AGENT] = { "resume_agent", "Resume" },
};

const char *top_action_verb(TopActionKind kind) {
        return actions[kind].verb;
}

const char *top_action_name(TopActionKind kind) {
        return actions[kind].name;
}

bool top_page_has_rows(TopPage page) {
        return pages[page].has_rows;
}

TopTable top_page_table(TopPage page) {
        return pages[page].table;
}

void top_ui_init(TopUi *ui) {
        *ui = (TopUi){ .n_visible = 1 };
        for (size_t i = 0; i < _TOP_PAGE_MAX; i++)
                ui->tabs[i].sort = pages[i].sort;
}

void top_ui_done(TopUi *ui) {
        top_rows_done(&ui->rows);
}

void top_ui_say(TopUi *ui, Colour colour, uint64_t until_usec, const char *format, ...) {
        char raw[300];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments);
        va_end(arguments);
        (void)screen_text(ui->message, sizeof(ui->message), raw);
        ui->message_colour = colour;
        ui->message_until_usec = until_usec;
}

const char *top_ui_question(const TopUi *ui, char *place, size_t size) {
        const bool is_agent = ui->question.agent_id[0] != '\0';

        (void)snprintf(place, size, "%s %s %s%s%s? (y/n)", top_action_name(ui->question.kind),
                is_agent ? "agent" : "runtime", is_agent ? ui->question.agent_id : ui->question.runtime_id,
                is_agent ? " on " : "", is_agent ? ui->question.runtime_id : "");
        return place;
}

/* rows */

static void keep_in_sight(TopUi *ui, TopTab *tab) {
        const size_t n = ui->rows.n_items, visible = ui->n_visible > 0 ? ui->n_visible : 1;

        if (tab->cursor >= n)
                tab->cursor = n > 0 ? n - 1 : 0;
        if (tab->first > tab->cursor)
                tab->first = tab->cursor;
        if (tab->cursor - tab->first >= visible)
                tab->first = tab->cursor - visible + 1;
        if (tab->first + visible > n)
                tab->first = n > visible ? n - visible : 0;
}

static void follow_selected(TopUi *ui, TopTab *tab) {
        const TopTable table = pages[ui->page].table;
        char key[TOP_KEY_SIZE];

        for (size_t i = 0; tab->selected[0] != '\0' && i < ui->rows.n_items; i++) {
                top_row_key(table, ui->rows.items[i], key);
                if (strcmp(key, tab->selected) == 0) {
                        tab->cursor = i;
                        break;
                }
        }
}

int top_ui_refresh(TopUi *ui, const TopModel *model) {
        TopTab *tab = &ui->tabs[ui->page];
        const TopQuery query = {
                .table = pages[ui->page].table,
                .runtime_id = ui->page == TOP_PAGE_RUNTIME ? ui->runtime_id : NULL,
                .filter = tab->filter,
                .sort = tab->sort,
                .is_reversed = tab->is_reversed,
        };
        int r;

        if (!pages[ui->page].has_rows)
                return 0;
        r = top_rows(model, &query, &ui->rows);
        if (r < 0)
                return r;
        follow_selected(ui, tab);
        keep_in_sight(ui, tab);
        return 0;
}

static const void *selected_row(const TopUi *ui) {
        const TopTab *tab = &ui->tabs[ui->page];

        return pages[ui->page].has_rows && tab->cursor < ui->rows.n_items ? ui->rows.items[tab->cursor] : NULL;
}

/* Who stays at the top stays there, whoever that is by then; anyone else is followed. */
static void move_to(TopUi *ui, size_t place) {
        TopTab *tab = &ui->tabs[ui->page];

        tab->cursor = place;
        keep_in_sight(ui, tab);
        tab->selected[0] = '\0';
        if (tab->cursor > 0)
                top_row_key(pages[ui->page].table, ui->rows.items[tab->cursor], tab->selected);
}

static void move_by(TopUi *ui, long by) {
        TopTab *tab = &ui->tabs[ui->page];
        const long n = (long)ui->rows.n_items;
        long place = (long)tab->cursor + by;

        if (!pages[ui->page].has_rows) { /* lines: the view knows where they end */
                tab->first = (size_t)MAX_OF((long)tab->first + by, 0);
                return;
        }
        if (n > 0)
                move_to(ui, (size_t)(place < 0 ? 0 : place >= n ? n - 1 : place));
}

/* pages */

static void show_page(TopUi *ui, TopModel *model, TopPage page) {
        if (page == TOP_PAGE_RUNTIME || page == TOP_PAGE_AGENT || page == TOP_PAGE_DISPATCHER)
                top_model_forget_focus(model);
        ui->page = page;
        (void)top_ui_refresh(ui, model);
}

static void go_to(TopUi *ui, TopModel *model, TopPage page) {
        ui->n_back = 0;
        show_page(ui, model, page);
}

static void go_into(TopUi *ui, TopModel *model) {
        static const TopPage into[_TOP_PAGE_MAX] = {
                [TOP_PAGE_RUNTIMES] = TOP_PAGE_RUNTIME,
                [TOP_PAGE_AGENTS] = TOP_PAGE_AGENT,
                [TOP_PAGE_DISPATCHERS] = TOP_PAGE_DISPATCHER,
                [TOP_PAGE_RUNTIME] = TOP_PAGE_AGENT,
        };
        const void *row = selected_row(ui);
        const TopPage page = into[ui->page];

        if (!row)
                return;
        if (page == TOP_PAGE_RUNTIME) {
                (void)snprintf(ui->runtime_id, sizeof(ui->runtime_id), "%s", ((const TopRuntime *)row)->id);
        } else if (page == TOP_PAGE_AGENT) {
                (void)snprintf(ui->runtime_id, sizeof(ui->runtime_id), "%s", ((const TopAgent *)row)->runtime_id);
                (void)snprintf(ui->agent_id, sizeof(ui->agent_id), "%s", ((const TopAgent *)row)->id);
        } else {
                (void)snprintf(ui->dispatcher_id, sizeof(ui->dispatcher_id), "%s", ((const TopDispatcher *)row)->id);
        }
        ui->back[ui->n_back++] = ui->page;
        ui->tabs[page].cursor = ui->tabs[page].first = 0;
        ui->tabs[page].selected[0] = ui->tabs[page].filter[0] = '\0';
        show_page(ui, model, page);
}

static void go_back(TopUi *ui, TopModel *model) {
        if (ui->n_back > 0) {
                show_page(ui, model, ui->back[--ui->n_back]);
                return;
        }
        ui->tabs[ui->page].filter[0] = '\0';
        (void)top_ui_refresh(ui, model);
}

/* sorting */

static void sort_by(TopUi *ui, const TopModel *model, int step) {
        TopTab *tab = &ui->tabs[ui->page];
        size_t n;

        (void)top_columns(pages[ui->page].table, &n);
        tab->sort = (tab->sort + n + (size_t)(step + (int)n)) % n;
        tab->is_reversed = false;
        tab->selected[0] = '\0';
        tab->cursor = tab->first = 0;
        (void)top_ui_refresh(ui, model);
}

/* actions */

static TopAction about_runtime(const TopUi *ui, TopActionKind kind) {
        const TopRuntime *row = ui->page == TOP_PAGE_RUNTIMES ? selected_row(ui) : NULL;
        const char *id = row ? row->id : ui->page == TOP_PAGE_RUNTIME ? ui->runtime_id : NULL;
        TopAction action = { 0 };

        if (!id)
                return action;
        action.kind = kind;
        (void)snprintf(action.runtime_id, sizeof(action.runtime_id), "%s", id);
        return action;
}

static TopAction about_agent(const TopUi *ui, const TopModel *model) {
        const TopAgent *row = ui->page == TOP_PAGE_AGENTS || ui->page == TOP_PAGE_RUNTIME ? selected_row(ui)
                              : ui->page == TOP_PAGE_AGENT ? top_model_find_agent(model, ui->runtime_id, ui->agent_id)
                                                           : NULL;
        TopAction action = { 0 };

        if (!row)
                return action;
        action.kind = strcmp(row->state, "paused") == 0 ? TOP_ACTION_RESUME_AGENT : TOP_ACTION_PAUSE_AGENT;
        (void)snprintf(action.runtime_id, sizeof(action.runtime_id), "%s", row->runtime_id);
        (void)snprintf(action.agent_id, sizeof(action.agent_id), "%s", row->id);
        return action;
}

/* An id that had to be made harmless can't be asked for. */
static void ask(TopUi *ui, TopAction action) {
        if (action.kind != TOP_ACTION_NONE && id_is_valid(slice_of(action.runtime_id)) &&
                (action.agent_id[0] == '\0' || id_is_valid(slice_of(action.agent_id))))
                ui->question = action;
}

/* keys */

static void on_filter_key(TopUi *ui, const TopModel *model, int key) {
        TopTab *tab = &ui->tabs[ui->page];
        const size_t n = strlen(tab->filter);

        if (key == TOP_KEY_ENTER || key == TOP_KEY_DOWN || key == TOP_KEY_UP) {
                ui->is_filtering = false;
        } else if (key == TOP_KEY_ESCAPE) {
                ui->is_filtering = false;
                tab->filter[0] = '\0';
        } else if (key == TOP_KEY_BACKSPACE) {
                if (n == 0)
                        ui->is_filtering = false;
                else
                        tab->filter[n - 1] = '\0';
        } else if (key >= ' ' && key < 127 && n + 1 < sizeof(tab->filter)) {
                tab->filter[n] = (char)key;
                tab->filter[n + 1] = '\0';
        }
        tab->cursor = tab->first = 0;
        tab->selected[0] = '\0';
        (void)top_ui_refresh(ui, model);
}

static void on_move_key(TopUi *ui, int key) {
        const long page = (long)MAX_OF(ui->n_visible, (size_t)2) - 1;

        if (key == TOP_KEY_UP || key == 'k')
                move_by(ui, -1);
        else if (key == TOP_KEY_DOWN || key == 'j')
                move_by(ui, 1);
        else if (key == TOP_KEY_PAGE_UP)
                move_by(ui, -page);
        else if (key == TOP_KEY_PAGE_DOWN || key == ' ')
                move_by(ui, page);
        else if (key == TOP_KEY_HOME || key == 'g')
                move_by(ui, -1000000000);
        else if (key == TOP_KEY_END || key == 'G')
                move_by(ui, ui->page == TOP_PAGE_AGENT || ui->page == TOP_PAGE_DISPATCHER ? 1000 : 1000000000);
}

TopAction top_ui_key(TopUi *ui, TopModel *model, int key) {
        const TopAction none = { 0 }, quit = { .kind = TOP_ACTION_QUIT };
        const TopAction question = ui->question;

        if (question.kind != TOP_ACTION_NONE) {
                ui->question = none;
                return key == 'y' || key == 'Y' ? question : none;
        }
        if (ui->is_help) { /* any key closes it */
                ui->is_help = false;
                return key == 'q' ? quit : none;
        }
        if (ui->is_filtering) {
                on_filter_key(ui, model, key);
                return none;
        }
        switch (key) {
        case 'q':
                return quit;
        case '?':
        case 'h':
                ui->is_help = true;
                break;
        case '1':
        case '2':
        case '3':
                go_to(ui, model, (TopPage)(TOP_PAGE_RUNTIMES + (key - '1')));
                break;
        case TOP_KEY_TAB:
                go_to(ui, model, ui->page >= TOP_PAGE_DISPATCHERS ? TOP_PAGE_RUNTIMES : (TopPage)(ui->page + 1));
                break;
        case TOP_KEY_ENTER:
                go_into(ui, model);
                break;
        case TOP_KEY_ESCAPE:
        case TOP_KEY_BACKSPACE:
                go_back(ui, model);
                break;
        case '/':
                ui->is_filtering = pages[ui->page].has_rows;
                break;
        case 's':
        case '>':
        case '<':
                if (pages[ui->page].has_rows)
                        sort_by(ui, model, key == '<' ? -1 : 1);
                break;
        case 'S':
                ui->tabs[ui->page].is_reversed = !ui->tabs[ui->page].is_reversed;
                (void)top_ui_refresh(ui, model);
                break;
        case 'd':
                ask(ui, about_runtime(ui, TOP_ACTION_DRAIN));
                break;
        case 'r':
                ask(ui, about_runtime(ui, TOP_ACTION_RESUME));
                break;
        case 'p':
                ask(ui, about_agent(ui, model));
                break;
        default:
                on_move_key(ui, key);
        }
        return none;
}
