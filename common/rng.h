/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Rng: xoshiro256** 1.0 (Blackman, Vigna: "Scrambled Linear Pseudorandom Number Generators", 2018), seeded through
 * splitmix64. Not for secrets. The same seed gives the same numbers, which is what the simulator replays.
 */

#include "proto/cc.h"
#include "proto/id.h"

typedef struct Rng {
        uint64_t state[4];
} Rng;

void rng_seed(Rng *rng, uint64_t seed);
int rng_seed_from_system(Rng *rng); /* getrandom(2); 0 or -errno */

uint64_t rng_next(Rng *rng);
uint64_t rng_below(Rng *rng, uint64_t limit); /* 0 to limit - 1, without bias; limit > 0 */
Id rng_id(Rng *rng);

/* `value` varied by up to `percent` either way. */
uint64_t rng_jitter(Rng *rng, uint64_t value, unsigned percent);
