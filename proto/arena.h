/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Arena: scratch memory for one decoded message. Embedded by value.
 *
 * Decoded slices point into the message itself; only a text that carried escapes needs a place of
 * its own, and it lives here until arena_clear(). What is allocated never moves.
 */

#include "proto/cc.h"

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
        ArenaChunk *chunks;
} Arena;

/* Borrowed until arena_clear(); NULL when memory is out. */
void *arena_alloc(Arena *arena, size_t size);

/* Forgets what was allocated and keeps memory for the next few texts: for an arena that is used message after message.
 */
void arena_reset(Arena *arena);

/* Frees what was allocated; the arena is usable again. The form for _cleanup_(). */
void arena_clear(Arena *arena);
