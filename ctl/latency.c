/* SPDX-License-Identifier: MIT */

/*
 * Linear within each power of two, as HdrHistogram does it (http://hdrhistogram.org): 64 buckets between 2^n and
 * 2^(n+1), and one for each value below 128. The bucket of a value is found with a shift.
 */

#include "ctl/latency.h"

#define STEP_BITS 6 /* 64 buckets to a power of two */
#define EXACT (UINT64_C(2) << STEP_BITS)

static size_t bucket_of(uint64_t usec) {
        unsigned shift;
        size_t i;

        if (usec < EXACT)
                return (size_t)usec;
        shift = 63 - (unsigned)__builtin_clzll(usec) - STEP_BITS;
        i = ((size_t)shift << STEP_BITS) + (size_t)(usec >> shift);
        return MIN_OF(i, LATENCY_BUCKETS - 1);
}

/* The longest that falls into it. */
static uint64_t bucket_end(size_t i) {
        unsigned shift;

        if (i < EXACT)
                return i;
        shift = (unsigned)(i >> STEP_BITS) - 1;
        return ((((uint64_t)i & (EXACT / 2 - 1)) + EXACT / 2 + 1) << shift) - 1;
}

void latency_add(Latency *latency, uint64_t usec) {
        latency->count++;
        latency->sum_usec += usec;
        latency->max_usec = MAX_OF(latency->max_usec, usec);
        latency->buckets[bucket_of(usec)]++;
}

uint64_t latency_quantile(const Latency *latency, double q) {
        const double wanted = q * (double)latency->count;
        uint64_t n = 0;

        for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
                n += latency->buckets[i];
                if (n > 0 && (double)n >= wanted)
                        return MIN_OF(bucket_end(i), latency->max_usec);
        }
        return latency->max_usec;
}

uint64_t latency_mean(const Latency *latency) {
        return latency->count > 0 ? latency->sum_usec / latency->count : 0;
}

void latency_since(const Latency *now, Latency *before) {
        before->count = now->count - before->count;
        before->sum_usec = now->sum_usec - before->sum_usec;
        before->max_usec = 0;
        for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
                before->buckets[i] = now->buckets[i] - before->buckets[i];
                if (before->buckets[i] > 0)
                        before->max_usec = MIN_OF(bucket_end(i), now->max_usec);
        }
}
