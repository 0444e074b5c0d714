/* SPDX-License-Identifier: MIT */

/*
 * Placement
 *
 * With many hosts, two random picks that are both fit decide at once, whatever the number of hosts. When a few picks
 * find nobody fit, all hosts are looked at, which also tells why there is none. So the usual cost is constant and the
 * unusual one is linear, and an answer "nobody" is never a matter of luck.
 */

#include "dispatcherd/placement.h"

/* With a tenth of the hosts fit, 16 picks miss all of them once in five times; then the full look costs what it costs.
 */
#define PICKS_MAX 16

static const char *const meanings[_FITNESS_MAX] = { [FITNESS_NONE] = "it does not host the agent",
#define X(name, meaning) [FITNESS_##name] = (meaning),
        FITNESSES(X)
#undef X
};

const char *fitness_meaning(Fitness fitness) {
        assert(fitness < _FITNESS_MAX);
        return meanings[fitness];
}

static uint64_t runtime_in_flight(const Runtime *runtime) {
        return runtime->own_in_flight + runtime->foreign_in_flight;
}

uint64_t runtime_free_slots(const Runtime *runtime) {
        uint64_t in_flight = runtime_in_flight(runtime);

        return in_flight < runtime->max_in_flight ? runtime->max_in_flight - in_flight : 0;
}

Fitness placement_fitness(const Hosting *hosting, const Labels *labels, uint64_t now) {
        const Runtime *runtime = hosting->runtime;

        if (runtime->state == RUNTIME_JOINING)
                return FITNESS_JOINING;
        if (runtime->state == RUNTIME_DRAINING)
                return FITNESS_DRAINING;
        if (runtime->unreachable)
                return FITNESS_UNREACHABLE;
        if (hosting->refused != ERROR_NONE)
                return FITNESS_REFUSED;
        if (labels && !labels_match(labels, &runtime->labels))
                return FITNESS_LABELS;
        if (runtime_free_slots(runtime) == 0 || now < runtime->full_until_usec)
                return runtime->state == RUNTIME_SUSPECT ? FITNESS_SUSPECT_FULL : FITNESS_FULL;
        if (now < hosting->full_until_usec)
                return FITNESS_MAILBOX;
        return runtime->state == RUNTIME_SUSPECT ? FITNESS_SUSPECT : FITNESS_LIVE;
}

static bool is_less_loaded(const Runtime *a, const Runtime *b) {
        return runtime_in_flight(a) * b->max_in_flight < runtime_in_flight(b) * a->max_in_flight;
}

static Placement chosen_of(Hosting *a, Hosting *b) {
        if (!b)
                return (Placement){ .outcome = PLACEMENT_CHOSEN, .hosting = a, .best = FITNESS_LIVE };
        if (is_less_loaded(b->runtime, a->runtime))
                return (Placement){
                        .outcome = PLACEMENT_CHOSEN, .hosting = b, .runner_up = a->runtime, .best = FITNESS_LIVE
                };
        return (Placement){ .outcome = PLACEMENT_CHOSEN, .hosting = a, .runner_up = b->runtime, .best = FITNESS_LIVE };
}

/* Two different random hosts that are fit, or fewer when the picks run out. */
static size_t pick_two(const PlacementRequest *request, Rng *rng, uint64_t now, Hosting *ret[2]) {
        const Agent *agent = request->agent;
        size_t n = 0;

        for (unsigned i = 0; i < PICKS_MAX && n < 2; i++) {
                Hosting *hosting = agent->hosts[rng_below(rng, agent->n_hosts)];

                if (hosting->runtime == request->avoid || (n == 1 && hosting == ret[0]))
                        continue;
                if (placement_fitness(hosting, request->labels, now) == FITNESS_LIVE)
                        ret[n++] = hosting;
        }
        return n;
}

/* Looks at every host: reservoir sampling of up to two among the fittest. */
static Placement choose_of_all(const PlacementRequest *request, Rng *rng, uint64_t now) {
        Hosting *two[2] = {}, *avoided = NULL;
        Fitness best = FITNESS_NONE, avoided_fitness = FITNESS_NONE;
        size_t n_best = 0;

        for (size_t i = 0; i < request->agent->n_hosts; i++) {
                Hosting *hosting = request->agent->hosts[i];
                Fitness fitness = placement_fitness(hosting, request->labels, now);

                if (hosting->runtime == request->avoid) {
                        avoided = hosting;
                        avoided_fitness = fitness;
                        continue;
                }
                if (fitness < best)
                        continue;
                if (fitness > best) {
                        best = fitness;
                        n_best = 0;
                        two[0] = two[1] = NULL;
                }
                if (n_best < 2)
                        two[n_best] = hosting;
                else if (rng_below(rng, n_best + 1) < 2)
                        two[rng_below(rng, 2)] = hosting;
                n_best++;
        }
        if (avoided && avoided_fitness > best) {
                two[0] = avoided;
                two[1] = NULL;
                best = avoided_fitness;
        }

        /* A mailbox that was full a moment ago is still better than no answer: the refusal names it. */
        if (best == FITNESS_LIVE || best == FITNESS_SUSPECT || best == FITNESS_MAILBOX) {
                /* Of two that are equally loaded, either: an idle fleet of two shares its work. */
                bool swap = two[1] && rng_below(rng, 2) == 1;
                Placement placement = chosen_of(two[swap], two[1] ? two[!swap] : NULL);

                placement.best = best;
                return placement;
        }
        return (Placement){
                .outcome = best == FITNESS_FULL || best == FITNESS_SUSPECT_FULL ? PLACEMENT_WAIT : PLACEMENT_NOBODY,
                .best = best,
        };
}

Placement placement_choose(const PlacementRequest *request, Rng *rng, uint64_t now) {
        Hosting *two[2] = {};

        if (!request->agent || request->agent->n_hosts == 0)
                return (Placement){ .outcome = PLACEMENT_UNKNOWN };
        if (request->agent->n_hosts > 2 && pick_two(request, rng, now, two) == 2)
                return chosen_of(two[0], two[1]);
        return choose_of_all(request, rng, now);
}
