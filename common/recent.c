/* SPDX-License-Identifier: MIT */

#include "common/recent.h"

#define INTERVAL_USEC USEC_PER_SEC
#define WINDOW_USEC (10 * USEC_PER_SEC)

/* The i-th, counted back from the latest. */
static const RecentSample *sample_before(const Recent *recent, size_t i) {
        return &recent->samples[(recent->next + RECENT_SAMPLES - 1 - i) % RECENT_SAMPLES];
}

bool recent_is_due(const Recent *recent, uint64_t now_usec) {
        return recent->n == 0 || now_usec >= sample_before(recent, 0)->usec + INTERVAL_USEC;
}

void recent_add(Recent *recent, const RecentSample *sample) {
        recent->samples[recent->next] = *sample;
        recent->next = (recent->next + 1) % RECENT_SAMPLES;
        recent->n = MIN_OF(recent->n + 1, (size_t)RECENT_SAMPLES);
}

RecentSample recent_since(const Recent *recent, const RecentSample *latest) {
        const RecentSample *from = latest;
        RecentSample ret = {};

        for (size_t i = 0; i < recent->n; i++) {
                from = sample_before(recent, i);
                if (latest->usec - MIN_OF(from->usec, latest->usec) >= WINDOW_USEC)
                        break;
        }
        ret.usec = latest->usec - MIN_OF(from->usec, latest->usec);
        for (size_t i = 0; i < RECENT_COUNTERS; i++)
                ret.counters[i] = latest->counters[i] - from->counters[i];
        for (size_t i = 0; i < RECENT_HISTOGRAMS; i++)
                ret.histograms[i] = histogram_since(&latest->histograms[i], &from->histograms[i]);
        return ret;
}

double recent_rate(const RecentSample *difference, size_t counter) {
        if (difference->usec == 0)
                return 0;
        return (double)difference->counters[counter] * (double)USEC_PER_SEC / (double)difference->usec;
}

static double seconds_before(uint64_t usec, uint64_t now_usec) {
        return -(double)(now_usec - MIN_OF(usec, now_usec)) / (double)USEC_PER_SEC;
}

double recent_step(
        const Recent *recent, size_t i, size_t counter, uint64_t now_usec, double *ret_from, double *ret_to) {
        const RecentSample *to = sample_before(recent, i), *from = sample_before(recent, i + 1);

        assert(i + 1 < recent->n);

        *ret_from = seconds_before(from->usec, now_usec);
        *ret_to = seconds_before(to->usec, now_usec);
        if (to->usec <= from->usec)
                return 0;
        return (double)(to->counters[counter] - from->counters[counter]) * (double)USEC_PER_SEC /
               (double)(to->usec - from->usec);
}
