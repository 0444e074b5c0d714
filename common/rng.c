/* SPDX-License-Identifier: MIT */

/*
 * xoshiro256** and splitmix64 as their authors published them into the public domain (https://prng.di.unimi.it/); the
 * constants are theirs. rng_below() is Lemire's multiplication method ("Fast Random Integer Generation in an Interval",
 * 2019): no division in the usual case, and no bias.
 */

#include <sys/random.h>

#include "common/rng.h"

static uint64_t rotate_left(uint64_t x, unsigned n) {
        return (x << n) | (x >> (64 - n));
}

static uint64_t splitmix64(uint64_t *state) {
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

void rng_seed(Rng *rng, uint64_t seed) {
        assert(rng);

        /* splitmix64 never gives four zeroes in a row, the one state that xoshiro can't leave */
        for (size_t i = 0; i < ELEMENTSOF(rng->state); i++)
                rng->state[i] = splitmix64(&seed);
}

int rng_seed_from_system(Rng *rng) {
        uint64_t seed;

        assert(rng);

        for (;;) {
                ssize_t n = getrandom(&seed, sizeof(seed), 0);

                if (n == (ssize_t)sizeof(seed))
                        break;
                if (n < 0 && errno != EINTR)
                        return -errno;
        }
        rng_seed(rng, seed);
        return 0;
}

uint64_t rng_next(Rng *rng) {
        uint64_t *s = rng->state;
        const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
        const uint64_t t = s[1] << 17;

        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotate_left(s[3], 45);
        return result;
}

uint64_t rng_below(Rng *rng, uint64_t limit) {
        __extension__ typedef unsigned __int128 Wide;
        Wide product;

        assert(limit > 0);

        product = (Wide)rng_next(rng) * limit;
        if ((uint64_t)product < limit) {
                const uint64_t threshold = -limit % limit; /* 2^64 mod limit: what has to be thrown away */

                while ((uint64_t)product < threshold)
                        product = (Wide)rng_next(rng) * limit;
        }
        return (uint64_t)(product >> 64);
}

Id rng_id(Rng *rng) {
        const uint64_t high = rng_next(rng), low = rng_next(rng);

        return id_from_random(high, low);
}

uint64_t rng_jitter(Rng *rng, uint64_t value, unsigned percent) {
        uint64_t range;

        assert(percent <= 100);

        range = value / 100 * percent + value % 100 * percent / 100;
        if (range == 0)
                return value;
        if (value > UINT64_MAX - range)
                return value - rng_below(rng, range);
        return value - range + rng_below(rng, range * 2 + 1);
}
