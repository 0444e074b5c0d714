/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Placement: which runtime gets a trigger.
 *
 * Among the live runtimes that host the agent, match the labels and have a free slot: the less loaded of two random
 * ones, by share of their capacity (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). Reads
 * the registry, changes nothing.
 */

#include "common/rng.h"
#include "dispatcherd/registry.h"

/* Why a runtime that hosts the agent was not chosen, or was. Ordered: the later, the closer it came. */
#define FITNESSES(X)                                                     \
        X(JOINING, "its registration is incomplete")                     \
        X(DRAINING, "it is draining")                                    \
        X(UNREACHABLE, "nobody listens on its subjects")                 \
        X(REFUSED, "the agent is stopped there, or has failed")          \
        X(LABELS, "its labels do not match")                             \
        X(SUSPECT_FULL, "it is suspect and has no free slot")            \
        X(MAILBOX, "the agent's mailbox there was full a moment ago")    \
        X(SUSPECT, "it is suspect: gets work only when nobody else can") \
        X(FULL, "it has no free slot")                                   \
        X(LIVE, "it may be given work")

typedef enum Fitness {
        FITNESS_NONE,
#define X(name, meaning) FITNESS_##name,
        FITNESSES(X) _FITNESS_MAX,
#undef X
} Fitness;

const char *fitness_meaning(Fitness fitness);

typedef struct PlacementRequest {
        const Agent *agent;   /* NULL: not known */
        const Labels *labels; /* NULL: any */
        const Runtime *avoid; /* not this one if there is another; NULL: none */
} PlacementRequest;

typedef enum PlacementOutcome {
        PLACEMENT_UNKNOWN, /* nobody hosts the agent */
        PLACEMENT_CHOSEN,
        PLACEMENT_WAIT,   /* the best that could take it has no free slot now */
        PLACEMENT_NOBODY, /* runtimes host it, none may take it; `best` says how close it was */
} PlacementOutcome;

typedef struct Placement {
        PlacementOutcome outcome;
        Hosting *hosting;         /* with PLACEMENT_CHOSEN; borrowed */
        const Runtime *runner_up; /* the other one of the two, if there was one */
        Fitness best;             /* otherwise: the closest that any host came */
} Placement;

uint64_t runtime_free_slots(const Runtime *runtime);

Fitness placement_fitness(const Hosting *hosting, const Labels *labels, uint64_t now);

Placement placement_choose(const PlacementRequest *request, Rng *rng, uint64_t now);
