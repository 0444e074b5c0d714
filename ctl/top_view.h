/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The screen of `top`, with ncurses. It draws what the model and the ui hold, and decides nothing but what fits.
 *
 * One at a time, main thread.
 */

#include "ctl/top_ui.h"

typedef struct TopHead {
        const char *url, *context; /* the latter may be NULL */
        bool is_connected;
        uint64_t lost_usec; /* since when there is no connection */
        uint64_t interval_usec;
        char clock[16];
        size_t n_watched; /* of how many runtimes the agents are listed; 0: of all */
} TopHead;

/* Takes the terminal. Returns 0 or -errno, with a sentence in `ret_why`. */
int top_view_start(const Screen *screen, char *ret_why, size_t size);

/* Gives it back as it was. A signal that ends the process does so too (ctl/top_rescue.h). */
void top_view_stop(void);

/* Lends it to the shell that we are stopped from, and takes it again: whatever has become of it, all is drawn anew. */
void top_view_lend(void);
void top_view_take_again(void);

/* Sets ui->n_visible, and ui->tabs[].first where it was beyond the end. */
void top_view_draw(const TopHead *head, const TopModel *model, TopUi *ui);

/* The next key that was typed, without waiting; -1: none. */
int top_view_key(void);
