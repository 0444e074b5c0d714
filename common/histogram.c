/* SPDX-License-Identifier: MIT */

/*
 * Bounds in steps of 1, 2 and 5, because people ask "how many took at most 100 ms" and not "at most 131.072 ms". From
 * 50 µs, which a trigger that finds a free slot stays below, to 100 s, which is long for an agent too.
 */

#include "common/histogram.h"
#include "common/instant.h"
#include "proto/emit.h"

/* clang-format off */
static const uint64_t bounds_usec[HISTOGRAM_BUCKETS] = {
                                   50,
              100,       200,      500,
             1000,      2000,     5000,
            10000,     20000,    50000,
           100000,    200000,   500000,
          1000000,   2000000,  5000000,
         10000000,  20000000, 50000000,
        100000000,
};
/* clang-format on */

uint64_t histogram_bound_usec(size_t i) {
        assert(i < HISTOGRAM_BUCKETS);
        return bounds_usec[i];
}

void histogram_add(Histogram *histogram, uint64_t usec) {
        size_t low = 0, high = HISTOGRAM_BUCKETS;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (bounds_usec[middle] < usec)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < HISTOGRAM_BUCKETS)
                histogram->buckets[low]++;
        histogram->count++;
        histogram->sum_usec += usec;
}

Histogram histogram_since(const Histogram *now, const Histogram *before) {
        Histogram ret = { .count = now->count - before->count, .sum_usec = now->sum_usec - before->sum_usec };

        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                ret.buckets[i] = now->buckets[i] - before->buckets[i];
        return ret;
}

double histogram_quantile(const Histogram *histogram, double q) {
        const double wanted = q * (double)histogram->count;
        uint64_t below = 0;

        if (histogram->count == 0)
                return 0;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
                const uint64_t n = histogram->buckets[i], from = i > 0 ? bounds_usec[i - 1] : 0;

                if (n > 0 && (double)(below + n) >= wanted)
                        return (double)from + (double)(bounds_usec[i] - from) * (wanted - (double)below) / (double)n;
                below += n;
        }
        return (double)bounds_usec[HISTOGRAM_BUCKETS - 1];
}

void histogram_emit(Buffer *buffer, const char *key, const Histogram *histogram) {
        emit_object(buffer, key);
        emit_u64(buffer, "count", histogram->count);
        emit_real(buffer, "sum_ms", (double)histogram->sum_usec / (double)USEC_PER_MSEC);
        emit_array(buffer, "buckets");
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                emit_u64(buffer, NULL, histogram->buckets[i]);
        emit_array_end(buffer);
        emit_object_end(buffer);
}

void histogram_emit_bounds(Buffer *buffer, const char *key) {
        emit_array(buffer, key);
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                emit_real(buffer, NULL, (double)bounds_usec[i] / (double)USEC_PER_MSEC);
        emit_array_end(buffer);
}

void histogram_emit_quantiles(Buffer *buffer, const char *key, const Histogram *histogram) {
        emit_object(buffer, key);
        emit_real(buffer, "p50", histogram_quantile(histogram, 0.5) / (double)USEC_PER_MSEC);
        emit_real(buffer, "p95", histogram_quantile(histogram, 0.95) / (double)USEC_PER_MSEC);
        emit_real(buffer, "p99", histogram_quantile(histogram, 0.99) / (double)USEC_PER_MSEC);
        emit_object_end(buffer);
}
