/* SPDX-License-Identifier: MIT */

/*
 * A list of chunks. Chunks are never moved or shrunk, so what was handed out stays where it is. A text larger than a
 * chunk gets one of its own.
 */

#include <stdalign.h>

#include "proto/arena.h"

#define CHUNK_SIZE 2048 /* texts with escapes are rare and short; one chunk serves a message */

struct ArenaChunk {
        ArenaChunk *next;
        size_t size, used;
        alignas(max_align_t) char data[];
};

static ArenaChunk *chunk_new(size_t size) {
        ArenaChunk *chunk = NULL;

        if (size < CHUNK_SIZE)
                size = CHUNK_SIZE;
        if (size > PTRDIFF_MAX - sizeof(*chunk))
                return NULL;

        chunk = malloc(sizeof(*chunk) + size);
        if (!chunk)
                return NULL;

        chunk->next = NULL;
        chunk->size = size;
        chunk->used = 0;
        return chunk;
}

void *arena_alloc(Arena *arena, size_t size) {
        ArenaChunk *chunk = arena->chunks;
        size_t rounded;
        void *place;

        if (size > SIZE_MAX - alignof(max_align_t))
                return NULL;

        /* At least one unit, so that two places never share an address. */
        rounded = (MAX_OF(size, (size_t)1) + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
        if (!chunk || chunk->size - chunk->used < rounded) {
                chunk = chunk_new(rounded);
                if (!chunk)
                        return NULL;
                chunk->next = arena->chunks;
                arena->chunks = chunk;
        }

        place = chunk->data + chunk->used;
        chunk->used += rounded;
        return place;
}

void arena_reset(Arena *arena) {
        ArenaChunk *kept = NULL;

        while (arena->chunks) {
                ArenaChunk *chunk = arena->chunks;

                arena->chunks = chunk->next;
                if (!kept && chunk->size == CHUNK_SIZE)
                        kept = chunk;
                else
                        free(chunk);
        }
        if (kept) {
                kept->next = NULL;
                kept->used = 0;
        }
        arena->chunks = kept;
}

void arena_clear(Arena *arena) {
        while (arena->chunks) {
                ArenaChunk *chunk = arena->chunks;

                arena->chunks = chunk->next;
                free(chunk);
        }
}
