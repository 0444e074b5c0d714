/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Rescue: a terminal that `top` has taken is given back also when a signal ends it: a crash, Ctrl-\, a hangup.
 *
 * What leads back is prepared while all is well; the handler writes it, and lets the signal do what it did before: a
 * core is dumped where it would have been. One terminal, standard output; main thread, but the handler runs in any.
 */

/* Remembers the modes of the terminal. Before ncurses takes it. */
void top_rescue_prepare(void);

/* From here on; after ncurses took it. */
void top_rescue_arm(void);

/* Before ncurses gives it back. */
void top_rescue_disarm(void);
