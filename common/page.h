/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Page: writes the status page at "/" of either daemon: one HTML document without scripts and outside assets, readable
 * in dark and light, narrow and wide, that loads itself anew.
 *
 * What others name (ids, hosts, labels, reasons) goes through page_text() and whatever takes a Slice; texts of type
 * const char * are our own words, and are escaped as well. Writes into the caller's buffer; loop thread only.
 */

#include "common/histogram.h"
#include "common/nats_link.h"
#include "common/recent.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

typedef enum PageTone {
        TONE_PLAIN,
        TONE_DIM,
        TONE_GOOD,
        TONE_WARN,
        TONE_BAD,
        _TONE_MAX,
} PageTone;

typedef struct PageHead {
        const char *kind; /* "dispatcher", "runtime" */
        Slice id, hostname;
        const char *version;
        bool is_ready;
        Slice reason;    /* why it is or is not */
        const char *url; /* of NATS, without secrets */
        uint64_t pid, uptime_usec;
} PageHead;

void page_begin(Buffer *buffer, const PageHead *head);
void page_end(Buffer *buffer);

/* Escaped for text and attributes; invalid UTF-8, control and direction characters become U+FFFD. */
void page_text(Buffer *buffer, Slice text);

/* numbers as people read them: "4,321", "12.5 ms", "2 h 5 min", "1.2 MiB", "3.4" */
void page_number(Buffer *buffer, uint64_t value);
void page_duration(Buffer *buffer, double usec);
void page_bytes(Buffer *buffer, uint64_t bytes);
void page_rate(Buffer *buffer, double per_second);

typedef struct PageNumber {
        char text[32];
} PageNumber;

PageNumber page_show(uint64_t value); /* as page_number(), for a note */

/* Tiles: a number that matters, with a word above and one below (`note`, printf; ""). */
void page_tiles(Buffer *buffer);
void page_tile(Buffer *buffer, const char *label, PageTone tone, uint64_t value, const char *note, ...) _printf_(5, 6);
/* A rate, with what it was in the last minute drawn below. */
void page_tile_rate(Buffer *buffer, const char *label, PageTone tone, double per_second, const Recent *recent,
        size_t counter, uint64_t now_usec);
void page_tiles_end(Buffer *buffer);

/* A heading and a table. A column that begins with ">" has numbers. */
void page_table(Buffer *buffer, const char *title, const char *const *columns);
void page_row(Buffer *buffer);
void page_cell(Buffer *buffer, Slice text);
void page_cell_long(Buffer *buffer, Slice text); /* a sentence: goes on in another line */
void page_cell_tone(Buffer *buffer, PageTone tone, const char *text);
void page_cell_number(Buffer *buffer, uint64_t value);
void page_cell_count(Buffer *buffer, PageTone tone, uint64_t value); /* in that tone, unless it is 0 */
void page_cell_duration(Buffer *buffer, double usec);
void page_cell_bar(Buffer *buffer, uint64_t value, uint64_t of); /* "12 of 64", and how full that is */
/* Closes row and table; `n_more`: rows that are not shown. `empty`: what to say when there was none. */
void page_table_end(Buffer *buffer, size_t n_rows, size_t n_more, const char *empty);

/* Two parts side by side, where there is room. */
void page_pair(Buffer *buffer);
void page_pair_next(Buffer *buffer);
void page_pair_end(Buffer *buffer);

/* "Agents by queued · handled": links to this page with another query, each "name=value" and shown as the value. */
void page_links(Buffer *buffer, const char *label, const char *query, const char *const *queries);

/* Rows "what | half | 95 % | 99 % | how many" of a table that page_latencies() begins. */
void page_latencies(Buffer *buffer);
void page_latency(Buffer *buffer, const char *what, const Histogram *histogram);

/* The connection to NATS, as a table of its own. */
void page_link(Buffer *buffer, const NatsLink *link, const char *url);
