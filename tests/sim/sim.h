/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Sim: one seed's world. Virtual time, the server, the nodes, the faults and the oracle that watches them.
 */

#include "common/instant.h"
#include "common/rng.h"
#include "proto/cc.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/schedule.h"
#include "tests/sim/stats.h"

#define NODES_MAX 80
#define SIM_EPOCH_USEC (1000 * USEC_PER_SEC)                /* virtual boot time when a seed begins */
#define SIM_REAL_USEC (UINT64_C(1763675000) * USEC_PER_SEC) /* and its wall clock */

typedef struct Apps Apps;
typedef struct Oracle Oracle;

typedef struct SimOptions {
        uint64_t seed;
        bool trace;
} SimOptions;

struct Sim {
        SimOptions options;
        Stats *stats;
        Scenario scenario;
        Schedule schedule;
        uint64_t now;  /* true time, microseconds */
        uint64_t hash; /* of everything that was published */

        /* a stream for each use, so that a change of one does not shift the others */
        Rng rng_net, rng_nodes, rng_faults, rng_load, rng_apps;

        bool server_up;
        uint64_t n_published;
        uint64_t n_subscriptions; /* that ever were */
        uint64_t kv_sequence;

        Node *nodes[NODES_MAX];
        uint32_t n_nodes;
        uint32_t n_dispatchers; /* nodes 0 to n_dispatchers - 1 */
        uint32_t n_callers;     /* the next ones */
        uint64_t n_slots;       /* of all runtimes */
        bool faults_over;

        Message *remembered[8]; /* hostile.c: real messages, to be mutated */
        uint64_t n_remembered;

        Oracle *oracle;
        Apps *apps;  /* NULL: none in this world */
        bool broken; /* a promise is; the run ends */
        char broken_text[1024];
};

/*
 * Runs one seed to its end. Returns true when all promises held; else `ret_text` (of `size`) says which one did not.
 * `ret_hash`: of all that was published.
 */
bool sim_run(const SimOptions *options, Stats *stats, uint64_t *ret_hash, char *ret_text, size_t size);

/* A promise is broken: remembers the first one. */
void sim_break(Sim *sim, const char *promise, const char *format, ...) _printf_(3, 4);

/* Adds an event `delay_usec` from now. */
void sim_after(Sim *sim, uint64_t delay_usec, EventFn fn, Node *node, uint64_t argument);

/* `limit` in a thousand times true. */
bool rng_chance(Rng *rng, unsigned per_mille);
uint64_t rng_between(Rng *rng, uint64_t low, uint64_t high); /* both included */

/* One line of the trace; costs nothing without --trace. `node` NULL: the world. */
void sim_trace(const Sim *sim, const Node *node, const char *format, ...) _printf_(3, 4);

static inline void sim_count(Sim *sim, Count count) {
        sim->stats->counts[count]++;
}
