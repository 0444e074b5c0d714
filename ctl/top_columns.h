/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The tables of `top`: their columns as data, and their rows sorted and filtered. Pure.
 */

#include "ctl/top_model.h"

typedef enum TopTable {
        TOP_TABLE_RUNTIMES,
        TOP_TABLE_AGENTS,
        TOP_TABLE_DISPATCHERS,
        _TOP_TABLE_MAX,
} TopTable;

#define TOP_CELL_MAX 256

/* One of `text` and `number`; `row` is a TopRuntime, TopAgent or TopDispatcher. */
typedef struct TopColumn {
        const char *title;
        unsigned width; /* of a narrow terminal; the title fits */
        unsigned rank;  /* left out the sooner the higher; 0: never */
        unsigned grows; /* up to so many more columns, where there is room */
        const char *(*text)(const TopModel *model, const void *row);
        double (*number)(const TopModel *model, const void *row);
        const char *(*show)(char *place, double number);        /* into SHOWN_MAX; NULL: as a whole number */
        double (*full)(const TopModel *model, const void *row); /* drawn as a bar: `number` of so many */
        Colour (*colour)(const TopModel *model, const void *row);
        bool is_searched;
        const char *sort; /* agents: what a runtime sorts by when it is asked for the first ones; NULL: by id */
} TopColumn;

#define TOP_COLUMNS_MAX 14

const TopColumn *top_columns(TopTable table, size_t *ret_n);

/* The row's key: what a selection sticks to; into TOP_KEY_SIZE. */
#define TOP_KEY_SIZE (2 * TOP_ID_MAX + 1)
void top_row_key(TopTable table, const void *row, char *ret);

/* What a cell says, without its bar. */
void top_cell(const TopModel *model, const TopColumn *column, const void *row, char ret[TOP_CELL_MAX]);

typedef struct TopRows {
        const void **items; /* borrowed from the model, until it takes anything */
        size_t n_items, capacity;
        size_t n_all; /* before the filter */
} TopRows;

typedef struct TopQuery {
        TopTable table;
        const char *runtime_id; /* TOP_TABLE_AGENTS: of that one only; NULL: all */
        const char *filter;     /* case does not matter; "": all */
        size_t sort;            /* column */
        bool is_reversed;       /* texts begin with Z, numbers with the smallest */
} TopQuery;

/* Returns 0 or -ENOMEM. Embedded rows start as zeroes, and are used again. */
int top_rows(const TopModel *model, const TopQuery *query, TopRows *rows);
void top_rows_done(TopRows *rows);

/* Which columns fit, and how wide each is; 0: left out. */
void top_widths(TopTable table, unsigned columns, unsigned ret[TOP_COLUMNS_MAX]);

/* "0.35", "12", "1,234" of milliseconds */
const char *top_show_ms(char *place, double ms);

/* Like show_rate(), with "0" for nothing at all. */
const char *top_show_rate(char *place, double per_second);
