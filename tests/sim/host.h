/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a runtime node has beside its core in a world with apps: behaviours that tell the oracle what they see
 * (probe.c), a host of remote ones (exec.c), a disk with a store on it (store.c).
 *
 * A process's probes and children end with it; its disk is the machine's.
 */

#include "runtimed/behavior.h"
#include "runtimed/run.h"
#include "tests/sim/node.h"

#define PROBE_PENDING_MAX 8
#define PROBE_ASKS_MAX 8

typedef struct Probe {
        Sim *sim;
        Node *node;
        uint32_t agent;
        uint64_t state; /* number of the last message that changed it; 0: none */
        struct {
                uint64_t id;       /* of a message that it has left pending; 0: none */
                uint64_t due_usec; /* its timer, at the earliest */
                uint32_t message;  /* number of what was published; INDEX_NONE: nothing of ours */
        } pending[PROBE_PENDING_MAX];
        uint64_t asks[PROBE_ASKS_MAX]; /* tokens of what it has asked others and not been answered; 0: none */
} Probe;

/* A remote behaviour. */
struct ExecChild {
        bool is_alive;
        Agent *agent;
        Probe probe;
};

/* The types of this node; NULL ends the list. Borrowed until probes_free(). */
const Behavior *const *probes_new(Sim *sim, Node *node);
void probes_free(Node *node);

/* For both sorts, in this process and remote. */
int probe_begin(
        Sim *sim, Node *node, Slice agent_id, const BehaviorStart *start, Probe *ret, char *ret_why, size_t why_size);
void probe_handle(Probe *probe, const BehaviorMessage *message, BehaviorReply *reply);
void probe_write(const Probe *probe, Buffer *ret);
uint32_t probe_agent(Slice agent_id);
size_t probe_n_pending(const Probe *probe);

/* In its turn: takes the core's calls. */
void exec_take(Sim *sim, Node *node);
void exec_plan(Sim *sim);                        /* children that crash between calls */
bool exec_has(const Node *node, uint32_t agent); /* a message of it */
void exec_abandon(Sim *sim, Node *node, Instant now);

/* In its turn: takes the core's requests. */
void disk_take(Sim *sim, Node *node);
/* The process is gone: what it had asked for may have been done, from the first on. `all`: it waited for that. */
void disk_abandon(Sim *sim, Node *node, bool all);
void disk_free(Node *node);
bool disk_has(const Node *node, uint32_t agent); /* a record of its state */
