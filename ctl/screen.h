/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Screen: how things look: colours, tables, and texts of strangers made harmless.
 *
 * Whatever came over the network may hold escape sequences; screen_text() and table cells show control characters as
 * "\x1b" instead of sending them to a terminal.
 */

#include <stdio.h>

#include "proto/cc.h"

typedef enum Colour {
        COLOUR_NONE,
        COLOUR_GOOD,
        COLOUR_WARNING,
        COLOUR_BAD,
        COLOUR_FAINT,
        COLOUR_STRONG,
        _COLOUR_MAX,
} Colour;

typedef enum ColourChoice {
        COLOUR_AUTO, /* on a terminal, unless NO_COLOR is set (https://no-color.org) */
        COLOUR_ALWAYS,
        COLOUR_NEVER,
} ColourChoice;

typedef struct Screen {
        bool is_terminal; /* stdout */
        bool has_colour;
        bool error_is_terminal; /* stderr: progress is shown there */
        unsigned columns;       /* 0: as wide as need be */
} Screen;

void screen_init(Screen *ret, ColourChoice choice);

/* What switches a colour on, and back to normal; "" without colours. */
const char *screen_on(const Screen *screen, Colour colour);
const char *screen_off(const Screen *screen, Colour colour);

/* Appends `text` made harmless; returns what snprintf() would. */
size_t screen_text(char *place, size_t size, const char *text);

/* Prints bytes of strangers, made harmless but for line ends and tabs. */
void screen_print_lines(FILE *file, const char *data, size_t size);

/* The colour of a state of a runtime or an agent, of a status of an execution. */
Colour screen_state_colour(const char *state);

/* The nearest whole number that there is: 0 for what is below, UINT64_MAX for what is beyond all. */
uint64_t whole_number(double number);

#define SHOWN_MAX 32
/* "850 ms", "2.5 s", "3 min", "4 h", "5 d"; "1.2 MiB"; "12,345". Into `place` of SHOWN_MAX, which is returned. */
const char *show_duration(char *place, uint64_t usec);
const char *show_bytes(char *place, uint64_t bytes);
const char *show_number(char *place, uint64_t number);
const char *show_rate(char *place, double per_second);

/* tables */

typedef struct Column {
        const char *title;
        bool is_right;   /* numbers */
        bool may_shrink; /* cut with … where the terminal is too narrow */
} Column;

typedef struct Table Table;

/* `columns` is borrowed. Returns NULL when out of memory: the others take it, and table_print() tells. */
Table *table_new(const Column *columns, size_t n_columns);
Table *table_free(Table *table);

DEFINE_CLEANUP(Table *, table_free);

/* One cell after the other; a full row begins the next. Out of memory is remembered and told by table_print(). */
void table_cell(Table *table, Colour colour, const char *format, ...) _printf_(3, 4);
size_t table_n_rows(const Table *table);

/* Returns 0 or -ENOMEM. */
int table_print(const Table *table, const Screen *screen, FILE *file);
