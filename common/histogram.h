/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Histogram: how long things took, counted by bounds that are the same for everything that is measured here, so that
 * histograms of several daemons can be added up. Embedded by value. Loop thread only.
 */

#include <stdint.h>

#include "proto/buffer.h"
#include "proto/cc.h"

#define HISTOGRAM_BUCKETS 20

typedef struct Histogram {
        uint64_t buckets[HISTOGRAM_BUCKETS]; /* what is longer than the last bound is in `count` alone */
        uint64_t count;
        uint64_t sum_usec;
} Histogram;

void histogram_add(Histogram *histogram, uint64_t usec);

/* Bucket i holds what took at most so long, and longer than the bound before it. */
uint64_t histogram_bound_usec(size_t i);

/* What was added to `now` since it was `before`. */
Histogram histogram_since(const Histogram *now, const Histogram *before);

/* So long took the fraction `q` (0 to 1) of them at most, in microseconds, taken to be evenly spread inside a bucket;
 * beyond the last bound it is that bound. 0: there are none. */
double histogram_quantile(const Histogram *histogram, double q);

/* {"count","sum_ms","buckets":[...]}: buckets as above, not cumulative. */
void histogram_emit(Buffer *buffer, const char *key, const Histogram *histogram);

/* [0.05,0.1,...]: the bounds in milliseconds. */
void histogram_emit_bounds(Buffer *buffer, const char *key);

/* {"p50","p95","p99"} in milliseconds. */
void histogram_emit_quantiles(Buffer *buffer, const char *key, const Histogram *histogram);
