/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Progress: how far a long command is, on stderr: a bar that is drawn over itself on a terminal, now and then a line
 * elsewhere, nothing with --quiet or --json.
 *
 * Times are passed in. progress_line() is what is shown, as text, and does nothing else.
 */

#include "ctl/ctl.h"

typedef struct Progress {
        bool is_bar, is_silent;
        unsigned columns;    /* of the terminal */
        const char *noun;    /* borrowed: "triggers" */
        uint64_t total;      /* 0: not known: no bar, no percentage, no ETA */
        uint64_t until_usec; /* or the end is a moment; 0: it is not */
        uint64_t start_usec;
        uint64_t shown_usec; /* 0: not yet */
        uint64_t shown_done;
        double rate; /* per second, of late */
        bool is_drawn;
} Progress;

void progress_begin(Progress *progress, const Ctl *ctl, const char *noun, uint64_t total, uint64_t now_usec);

/* Is it time to show something again? */
bool progress_is_due(const Progress *progress, uint64_t now_usec);

/* Shows it, with what else is to be said. */
void progress_show(Progress *progress, uint64_t done, const char *rest, uint64_t now_usec);

/* Wipes the bar. */
void progress_end(Progress *progress);

/* The line without its line end; returns what snprintf() would. */
size_t progress_line(
        const Progress *progress, uint64_t done, const char *rest, uint64_t now_usec, char *place, size_t size);
