/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Memory: the answers of finished executions, so that a repeat is answered and not run again.
 *
 * Bounded by count and by bytes; the oldest are forgotten first. Knows until when it has forgotten, so that a repeat
 * that is older than that is recognised as one it can't judge. Loop thread only; reads no clock.
 */

#include "common/instant.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/id.h"
#include "proto/slice.h"

typedef struct Memory Memory;

typedef struct Remembered {
        Id exec_id;
        unsigned status; /* ResultStatus */
        ErrorCode code;
        Slice headers, body;      /* the result as it was published; both absent: too large to be kept */
        uint64_t owner;           /* subject_owner() of where it went */
        uint64_t refused_attempt; /* 0: it ended. Else this attempt and those before were refused: not to be taken when
                                     sent again */
} Remembered;

int memory_new(uint64_t max_entries, uint64_t max_bytes, Memory **ret) _must_check_;
Memory *memory_free(Memory *memory);

DEFINE_CLEANUP(Memory *, memory_free);

/* Copies it. One that is there already is replaced. */
void memory_put(Memory *memory, const Remembered *remembered, uint64_t now);

/* Slices are borrowed until the next memory_put(). */
bool memory_find(const Memory *memory, Slice exec_id, Remembered *ret);

/* Is everything that finished after `usec` still remembered? */
bool memory_reaches(const Memory *memory, uint64_t usec);

size_t memory_size(const Memory *memory);
uint64_t memory_bytes(const Memory *memory);
