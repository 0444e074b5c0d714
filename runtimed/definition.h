/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Definition: what an agent is, as written in the files of agents.d (docs/design.md).
 *
 * Every key, also those of what is planned, is known and checked. A key that asks for something this version can't do
 * is refused, and so is a key that nobody knows (it is a typing error more often than not): a definition never means
 * less than it says.
 */

#include "proto/arena.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/wire_error.h"
#include "runtimed/behavior.h"
#include "runtimed/run.h"

#define DEFINITION_BYTES_MAX (1024 * 1024)
#define MAILBOX_CAPACITY_MAX 1000000
#define MAILBOX_BYTES_MAX (UINT64_C(1) << 32)
#define QUANTUM_MAX 65536
#define CAPABILITIES_MAX 64
#define CAPABILITIES_BYTES_MAX 16384 /* as written, white space included: registrations carry it in one piece */

typedef enum Overflow {
        OVERFLOW_NONE,
        OVERFLOW_REJECT,      /* refuse the newcomer: MAILBOX_FULL */
        OVERFLOW_DROP_OLDEST, /* answer the longest waiting with MAILBOX_FULL and take the newcomer */
        OVERFLOW_DROP_NEWEST, /* answer the newcomer with MAILBOX_FULL as if it had been taken: not placed elsewhere */
        _OVERFLOW_MAX,
} Overflow;

extern const char *const overflow_names[_OVERFLOW_MAX + 1];

typedef struct Definition {
        Id agent_id;
        const Behavior *behavior;
        AgentClass agent_class;
        unsigned overflow; /* Overflow */
        uint64_t priority;
        uint64_t mailbox_capacity, mailbox_bytes;
        uint64_t quantum;
        char *parameters;   /* raw JSON object; NULL: none */
        char *capabilities; /* raw JSON array of texts; NULL: none */
} Definition;

/* `behaviors` is the NULL-terminated list of types that can be had. Returns 0, WIRE_E_INVALID, -ENOMEM. */
int definition_parse(Slice text, const Behavior *const *behaviors, Definition **ret, WireError *ret_error) _must_check_;
Definition *definition_free(Definition *definition);

DEFINE_CLEANUP(Definition *, definition_free);

AgentClass agent_class_of(uint64_t priority);
const char *agent_class_name(AgentClass agent_class);
