/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * State record: the bytes in which a store keeps one state of one agent.
 *
 * Pure; any thread. Whatever bytes are given, decoding never reads beyond them and never takes a damaged record for a
 * sound one: a checksum covers every byte, and the record says whose state it is.
 */

#include "proto/buffer.h"
#include "proto/id.h"
#include "proto/wire_error.h"

#define STATE_RECORD_VERSION 1

enum {
        STATE_RECORD_E_OK,

        STATE_RECORD_E_DAMAGED, /* cut off, changed, another agent's: the sentence says which */
        STATE_RECORD_E_NEWER,   /* sound, but written by a later version of this program */
};

typedef struct StateRecord {
        uint32_t version;
        uint64_t generation;
        Slice state; /* borrowed from what was decoded; none with NEWER */
} StateRecord;

/* In the place of what `ret` holds. 0, -ENOMEM. */
int state_record_encode(const Id *agent_id, uint64_t generation, Slice state, Buffer *ret);

/* 0, an outcome above (then `ret_error` says why), -ENOMEM. `ret` is written with OK and NEWER. */
int state_record_decode(Slice record, const Id *agent_id, StateRecord *ret, WireError *ret_error);

/*
 * What damaged bytes say their generation is, unchecked; 0 when they do not say, or not even that they are this
 * agent's.
 */
uint64_t state_record_claimed_generation(Slice record, const Id *agent_id);
