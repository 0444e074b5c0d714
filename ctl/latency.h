/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Latency: how long many things took, exact enough for percentiles: a quantile is off by less than 1.6 %.
 *
 * 18 KiB, however much is added; by value. common/histogram.h has few and round bounds, for metrics; this one is for
 * what one run measured itself.
 */

#include "proto/cc.h"

#define LATENCY_BUCKETS 2304 /* up to 2^41 microseconds, 25 days; what is longer counts as that */

typedef struct Latency {
        uint64_t count, sum_usec, max_usec;
        uint64_t buckets[LATENCY_BUCKETS];
} Latency;

void latency_add(Latency *latency, uint64_t usec);

/* So long took the fraction `q` (0 to 1) of them at most; never more than the longest. 0: there are none. */
uint64_t latency_quantile(const Latency *latency, double q);
uint64_t latency_mean(const Latency *latency);

/* What was added to `now` since it was `before`; the longest is that of its last bucket then. Into `before`. */
void latency_since(const Latency *now, Latency *before);
