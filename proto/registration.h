/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How a runtime makes itself known, stays known, and leaves: AgentRuntimeRegistered, ...Updated,
 * ...Heartbeat, ...Deregistered, the roll call, and the answer to a registration.
 *
 * A registration too large for one message comes in parts (`payload.part`), each with the same epoch and revision and
 * the same head; the receiver acts once all have arrived.
 */

#include "proto/message.h"

#define REGISTRATION_PARTS_MAX 4096
#define CAPACITY_MAX 1000000

typedef struct AgentSummary {
        Slice agent_id;
        Slice agent_type;
        Slice capabilities; /* raw array of texts */
        bool exclusive;
        Slice state; /* an agent's lifecycle state; absent: running */
} AgentSummary;

/* free_slots when a message does not state it: no limit but the runtime's max_in_flight. */
#define FREE_SLOTS_UNSTATED UINT64_MAX

typedef struct RuntimeLoad {
        uint64_t in_flight, queued, agents, free_slots;
} RuntimeLoad;

/* For the `fields` of a SCAN_OBJECT "load". */
#define RUNTIME_LOAD_FIELD(type, load, member) \
        { .name = #member, .kind = SCAN_U64, .offset = offsetof(type, load.member), .max = EPOCH_MAX }
#define RUNTIME_LOAD_FIELDS(type, load)                                                                            \
        {                                                                                                          \
                RUNTIME_LOAD_FIELD(type, load, in_flight), RUNTIME_LOAD_FIELD(type, load, queued),                 \
                        RUNTIME_LOAD_FIELD(type, load, agents), RUNTIME_LOAD_FIELD(type, load, free_slots), { 0 }, \
        }

/* The member "load". */
void runtime_load_emit(Buffer *buffer, const RuntimeLoad *load);

typedef struct Registration {
        Metadata metadata;
        Slice runtime_id;
        uint64_t epoch, revision;
        Slice hostname, ip_address, version;
        uint64_t pid;
        Slice labels;                           /* raw object */
        Slice agent_types;                      /* raw array of texts: what the runtime can create */
        Slice agent_definitions;                /* raw array, for agent_summary_decode() */
        Slice trigger_subject, control_subject; /* absent: the conventional ones. control: "<subject>.<verb>" */
        uint64_t max_in_flight, max_agents;
        uint64_t heartbeat_interval_ms;
        bool draining;
        Slice reason, registration_timestamp; /* payload.context */
        uint64_t part_index, part_count;      /* 0 and 1: whole */
} Registration;

int registration_decode(Slice body, Registration *ret, Arena *arena, WireError *ret_error);

/* One element of agent_definitions, or of `added` in an update. `index` is for the error's sentence. */
int agent_summary_decode(Slice element, size_t index, AgentSummary *ret, Arena *arena, WireError *ret_error);

/* Emits one element of an array. */
void agent_summary_emit(Buffer *buffer, const AgentSummary *agent);

/* `agent_definitions`, `labels` and `agent_types` are raw JSON. */
void registration_encode(Buffer *buffer, const Registration *registration, Slice event_id, uint64_t real_usec);

typedef struct RuntimeUpdated {
        Metadata metadata;
        Slice runtime_id;
        uint64_t epoch, revision, base_revision; /* applies to exactly base_revision */
        Slice added;                             /* raw array of agent summaries; one that exists is replaced */
        Slice removed;                           /* raw array of agent ids */
} RuntimeUpdated;

int runtime_updated_decode(Slice body, RuntimeUpdated *ret, Arena *arena, WireError *ret_error);
void runtime_updated_encode(Buffer *buffer, const RuntimeUpdated *updated, Slice event_id, uint64_t real_usec);

typedef struct Heartbeat {
        Metadata metadata;
        Slice runtime_id;
        uint64_t epoch, revision;
        uint64_t sequence;
        uint64_t interval_ms; /* 0: not stated, as registered */
        bool draining;
        RuntimeLoad load;
} Heartbeat;

int heartbeat_decode(Slice body, Heartbeat *ret, Arena *arena, WireError *ret_error);
void heartbeat_encode(Buffer *buffer, const Heartbeat *heartbeat, Slice event_id, uint64_t real_usec);

typedef enum DeregisterReason {
        DEREGISTER_NONE,
        DEREGISTER_SHUTDOWN,
        DEREGISTER_HEARTBEAT_TIMEOUT,
        DEREGISTER_OPERATOR,
        DEREGISTER_REPLACED,
        _DEREGISTER_REASON_MAX,
} DeregisterReason;

extern const char *const deregister_reason_names[_DEREGISTER_REASON_MAX + 1];

typedef struct Deregistration {
        Metadata metadata;
        Slice runtime_id;
        uint64_t epoch;  /* 0: whichever is current */
        unsigned reason; /* DeregisterReason; DEREGISTER_NONE: not given */
        Slice seen_by;   /* "runtime", or the dispatcher's id: payload.context.seen_by */
} Deregistration;

int deregistration_decode(Slice body, Deregistration *ret, Arena *arena, WireError *ret_error);
void deregistration_encode(Buffer *buffer, const Deregistration *deregistration, Slice event_id, uint64_t real_usec);

/* The roll call, to all runtimes or (as the control verb `announce`) to one. */
typedef struct Announce {
        Metadata metadata;
        Slice dispatcher_id;
        uint64_t spread_ms;             /* answer at a random moment within */
        uint64_t heartbeat_interval_ms; /* asked for; 0: as it is */
        bool register_again;            /* payload.register, default true; false: only the interval */
} Announce;

/* An empty body is a roll call with the defaults. */
int announce_decode(Slice body, Announce *ret, Arena *arena, WireError *ret_error);
void announce_encode(Buffer *buffer, const Announce *announce, Slice event_id, uint64_t real_usec);

/*
 * `result` of the answer to a registration. A refusal is an error answer with code RUNTIME_LOST and
 * details {"reason": DeregisterReason, "epoch": the epoch the dispatcher knows}, or LIMIT_EXCEEDED, or INVALID_MESSAGE.
 */
typedef struct RegistrationTaken {
        Slice dispatcher_id;
        Slice runtime_id;
        uint64_t epoch, revision;
        bool complete;                  /* all parts are there */
        uint64_t heartbeat_interval_ms; /* asked for */
        uint64_t dead_after_ms;         /* silence after which this dispatcher probes and gives its verdict */
} RegistrationTaken;

int registration_taken_decode(Slice result, RegistrationTaken *ret, Arena *arena, WireError *ret_error);
void registration_taken_encode(Buffer *buffer, const RegistrationTaken *taken);

/* details of a refusal */
typedef struct RegistrationRefused {
        unsigned reason; /* DeregisterReason */
        uint64_t epoch;
} RegistrationRefused;

int registration_refused_decode(Slice details, RegistrationRefused *ret, Arena *arena, WireError *ret_error);
void registration_refused_encode(Buffer *buffer, const RegistrationRefused *refused);
