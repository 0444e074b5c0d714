/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Registry: which runtimes are known, in which state, and which agents each one hosts.
 *
 * Owns every Runtime, Agent and Hosting. Owner thread only. Does no I/O and reads no clock. The structs are open for
 * reading by the other files of the core; only registry.c changes them, but for the members marked otherwise.
 */

#include <sys/queue.h>
#include <uthash.h>

#include "common/deadline.h"
#include "common/instant.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/id.h"
#include "proto/registration.h"

#define RUNTIME_STATES(X)                                                    \
        X(JOINING, "joining", "parts of its registration are missing")       \
        X(LIVE, "live", "may be given work")                                 \
        X(SUSPECT, "suspect", "silent: gets work only when nobody else can") \
        X(DRAINING, "draining", "takes no new work; finishes what it holds") \
        X(GONE, "gone", "deregistered, declared dead or replaced")

typedef enum RuntimeState {
        RUNTIME_INVALID,
#define X(name, text, meaning) RUNTIME_##name,
        RUNTIME_STATES(X) _RUNTIME_STATE_MAX,
#undef X
} RuntimeState;

typedef enum RuntimeEvent {
        RUNTIME_EV_COMPLETE, /* all parts of its registration have arrived */
        RUNTIME_EV_HEARD,    /* any sign of life */
        RUNTIME_EV_SILENCE,  /* past suspect_after, or nobody listens */
        RUNTIME_EV_DRAIN,
        RUNTIME_EV_RESUME,
        RUNTIME_EV_RESTART, /* a new epoch, whose registration begins */
        RUNTIME_EV_REMOVE,
        _RUNTIME_EVENT_MAX,
} RuntimeEvent;

const char *runtime_state_name(RuntimeState state);
const char *runtime_event_name(RuntimeEvent event);

/* What the table says; RUNTIME_INVALID for an event that must not happen in that state. */
RuntimeState runtime_state_next(RuntimeState state, RuntimeEvent event);

typedef struct Registry Registry;
typedef struct Runtime Runtime;
typedef struct Agent Agent;
typedef struct Hosting Hosting;
typedef struct Execution Execution;

/* One agent id in one runtime. */
struct Hosting {
        Agent *agent;
        Runtime *runtime;
        size_t agent_index; /* its place in agent->hosts */
        LIST_ENTRY(Hosting) in_runtime;
        uint64_t generation; /* of the registration that last named it */
        bool exclusive;
        uint8_t refused; /* ErrorCode, set by registry_note_refusal() alone: why the agent takes nothing there, as the
                            runtime announced it, or told dispatch when it refused; NONE: it takes what comes, or keeps
                            it until it is resumed or restarted */
        uint64_t full_until_usec; /* dispatch's: its mailbox was full */
        const char *type;         /* agent_type, interned by the registry */
};

struct Agent {
        Id id;
        Hosting **hosts;
        size_t n_hosts, n_allocated;
        uint64_t gone_usec; /* when its last host went; meaningful while n_hosts is 0 */
        Deadline deadline;  /* then: when it is forgotten */
        UT_hash_handle hh;
};

LIST_HEAD(HostingList, Hosting);
LIST_HEAD(ExecutionList, Execution);

struct Runtime {
        Id id;
        uint64_t epoch, revision;
        RuntimeState state; /* written by runtime_set_state() alone */
        bool silent;        /* counted in registry->n_silent */
        bool announced;     /* membership's: observers were told of this epoch */

        char *hostname, *ip_address, *version;
        char *labels_json, *types_json; /* raw JSON */
        Arena labels_arena;
        Labels labels; /* into labels_json and labels_arena */
        char *trigger_subject, *control_subject;
        uint64_t pid;
        uint64_t max_in_flight, max_agents;
        uint64_t registered_real_usec;

        struct HostingList hostings;
        size_t n_agents;
        uint64_t generation;
        struct {
                bool going;
                bool changed; /* something that observers can see, so far */
                uint64_t revision, count, n_arrived;
                uint8_t *arrived; /* bitmap of `count` */
        } parts;

        /* jetstream's */
        uint64_t recorded_usec; /* when its record was last written, and what state that told of */
        RuntimeState recorded_state;
        bool record_is_due; /* something has changed since then */

        /* liveness */
        uint64_t interval_usec;   /* between its heartbeats, as it says */
        uint64_t sequence;        /* of the last heartbeat */
        uint64_t heard_usec;      /* last sign of life */
        uint64_t probe_usec;      /* when the probe that is out was sent; 0: none is */
        uint64_t failed_usec;     /* when the last probe that found nobody was sent; 0: none since it was heard */
        uint64_t full_until_usec; /* it refused with OVERLOADED a moment ago, whatever its load says */
        bool unreachable;         /* nobody listens on its subjects: gets nothing until it is heard again */
        uint64_t leaving_usec;    /* it said goodbye: removed then, or when its last reports are in; 0: it did not */
        Deadline deadline;        /* next look at it */
        uint64_t asked_usec;      /* when it was last asked to announce itself */
        uint64_t told_usec;       /* when a process of a lower epoch was last told that it was replaced */
        uint64_t asked_interval_ms;

        /* dispatch's */
        struct ExecutionList executions; /* relayed by us, not ended */
        uint64_t own_in_flight;          /* their number */
        uint64_t foreign_in_flight;      /* relayed by others, by its last word */
        RuntimeLoad load;                /* its last word */
        uint64_t reported_usec;          /* its last report */
        uint64_t n_relayed, n_done;
        uint64_t n_creating; /* creations': agents that it was asked to create and has not answered for */
        bool drain_wanted;   /* an operator's wish, repeated until it complies */
        uint64_t drain_asked_usec;

        UT_hash_handle hh;
};

typedef struct RegistryOptions {
        uint64_t max_runtimes, max_agents;
        uint64_t forget_agent_usec; /* how long an agent without hosts is remembered */
        const char *subject_prefix;
        DeadlineQueue *deadlines; /* borrowed */
        int runtime_deadline_kind, agent_deadline_kind;
} RegistryOptions;

enum {
        REGISTRY_E_OK,

        REGISTRY_E_STALE, /* a newer epoch of that runtime is known, or this one was declared dead: see `ret_refused` */
        REGISTRY_E_FULL,  /* the limit of runtimes or agents is reached; the WireError says which */
        REGISTRY_E_INVALID, /* the content is out of grammar; the WireError says where */
};

int registry_new(const RegistryOptions *options, Registry **ret) _must_check_;
Registry *registry_free(Registry *registry);

DEFINE_CLEANUP(Registry *, registry_free);

void registry_set_limits(Registry *registry, uint64_t max_runtimes, uint64_t max_agents);

/* NULL when there is none. Borrowed until it is removed. */
Runtime *registry_find(const Registry *registry, Slice runtime_id);
Agent *registry_find_agent(const Registry *registry, Slice agent_id);
Hosting *registry_find_hosting(const Agent *agent, const Runtime *runtime);

/* The agent takes nothing there, for this reason; NONE: it takes what comes. */
void registry_note_refusal(Registry *registry, Hosting *hosting, ErrorCode code);
Runtime *registry_first(const Registry *registry);
Runtime *registry_next(const Runtime *runtime);
Agent *registry_first_agent(const Registry *registry);
Agent *registry_next_agent(const Agent *agent);

size_t registry_n_runtimes(const Registry *registry);
size_t registry_n_in_state(const Registry *registry, RuntimeState state);
size_t registry_n_silent(const Registry *registry);
size_t registry_n_agents(const Registry *registry); /* different ids */
size_t registry_n_hostings(const Registry *registry);
size_t registry_n_failed(const Registry *registry); /* hostings whose agent has failed */

/* Would this registration be taken? STALE as below; changes nothing. */
int registry_admits(const Registry *registry, Slice runtime_id, uint64_t epoch, RegistrationRefused *ret_refused);

/* Is its content in grammar? Before a new epoch ends the one before it. REGISTRY_E_INVALID, -ENOMEM. */
int registry_vet(const Registration *registration, WireError *ret_error);

typedef struct RegistryTaken {
        Runtime *runtime;
        bool is_new;   /* runtime or epoch was not known */
        bool complete; /* no part is missing */
        bool changed;  /* something observers can see is different */
} RegistryTaken;

/* Takes a registration, or a part of one. A new epoch must have been prepared with registry_restart(). */
int registry_register(
        Registry *registry, const Registration *registration, Instant now, RegistryTaken *ret, WireError *ret_error);

/* Forgets what the old epoch of a known runtime was; its executions must be gone from it. */
void registry_restart(Registry *registry, Runtime *runtime);

/* Applies an update whose base revision is the runtime's. REGISTRY_E_FULL, REGISTRY_E_INVALID leave it half done: ask
 * for a registration. */
int registry_update(
        Registry *registry, Runtime *runtime, const RuntimeUpdated *updated, Instant now, WireError *ret_error);

/* Removes and frees; its executions must be gone from it. `reason`, never NONE, is remembered for that epoch. */
void registry_remove(Registry *registry, Runtime *runtime, DeregisterReason reason, Instant now);

/* Was it taken out by an operator, and not let back in? */
bool registry_was_removed_by_hand(const Registry *registry, Slice runtime_id);

/* Lets a removed epoch back in (an operator's resume). */
void registry_pardon(Registry *registry, Slice runtime_id);

void registry_forget_agent(Registry *registry, Agent *agent); /* without hosts */

/* The one writer of `state`: logs, keeps the counts. An impossible event is logged and dropped. Returns whether it
 * changed. */
bool runtime_set_state(Registry *registry, Runtime *runtime, RuntimeEvent event);
void runtime_set_silent(Registry *registry, Runtime *runtime, bool silent);

/* NULL, or which invariant is broken. */
const char *registry_check(const Registry *registry);
