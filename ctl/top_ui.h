/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the person at `top` looks at, and what each key does to that. Pure: keys and the model are passed in, and what
 * is to be asked of a daemon comes back as a TopAction.
 */

#include "ctl/top_columns.h"

typedef enum TopPage {
        TOP_PAGE_RUNTIMES,
        TOP_PAGE_AGENTS,
        TOP_PAGE_DISPATCHERS,
        TOP_PAGE_RUNTIME,    /* one: what it says of itself, and its agents */
        TOP_PAGE_AGENT,      /* one */
        TOP_PAGE_DISPATCHER, /* one */
        _TOP_PAGE_MAX,
} TopPage;

/* Keys that are no characters. */
enum {
        TOP_KEY_UP = 0x110000,
        TOP_KEY_DOWN,
        TOP_KEY_PAGE_UP,
        TOP_KEY_PAGE_DOWN,
        TOP_KEY_HOME,
        TOP_KEY_END,
        TOP_KEY_ENTER,
        TOP_KEY_ESCAPE,
        TOP_KEY_BACKSPACE,
        TOP_KEY_TAB,
};

typedef enum TopActionKind {
        TOP_ACTION_NONE,
        TOP_ACTION_DRAIN,
        TOP_ACTION_RESUME,
        TOP_ACTION_PAUSE_AGENT,
        TOP_ACTION_RESUME_AGENT,
        TOP_ACTION_QUIT,
        _TOP_ACTION_MAX,
} TopActionKind;

typedef struct TopAction {
        TopActionKind kind;
        char runtime_id[TOP_ID_MAX], agent_id[TOP_ID_MAX];
} TopAction;

/* Its verb, and "Drain", for questions and answers. */
const char *top_action_verb(TopActionKind kind);
const char *top_action_name(TopActionKind kind);

typedef struct TopTab {
        size_t sort; /* column of the page's table */
        bool is_reversed;
        size_t cursor, first; /* rows: selected, topmost on the screen; on pages without rows `first` is the line */
        char selected[TOP_KEY_SIZE]; /* the cursor stays with it while rows move; "": with its place */
        char filter[64];
} TopTab;

typedef struct TopUi {
        TopPage page, back[_TOP_PAGE_MAX];
        size_t n_back;
        TopTab tabs[_TOP_PAGE_MAX];
        char runtime_id[TOP_ID_MAX], agent_id[TOP_ID_MAX], dispatcher_id[TOP_ID_MAX]; /* what is looked at */
        bool is_filtering, is_help;
        TopAction question; /* waits for y or n */
        char message[300];
        Colour message_colour;
        uint64_t message_until_usec;
        TopRows rows;
        size_t n_visible; /* rows that the screen has room for; the view says */
} TopUi;

void top_ui_init(TopUi *ui);
void top_ui_done(TopUi *ui);

bool top_page_has_rows(TopPage page);
TopTable top_page_table(TopPage page);

/* Rows anew, and the cursor where it belongs; after whatever the model took. Returns 0 or -ENOMEM. */
int top_ui_refresh(TopUi *ui, const TopModel *model);

/* The page is left: forgets in the model what only it showed. */
TopAction top_ui_key(TopUi *ui, TopModel *model, int key);

/* The line at the foot that says something for a while. */
void top_ui_say(TopUi *ui, Colour colour, uint64_t until_usec, const char *format, ...) _printf_(4, 5);

/* What a question asks; into `place`, which is returned. */
const char *top_ui_question(const TopUi *ui, char *place, size_t size);
