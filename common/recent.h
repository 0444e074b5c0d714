/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Recent: what happened lately, for rates and percentiles on a screen. A ring of samples of counters and histograms,
 * one a second, which the owner takes at the end of a turn; nothing is timed for it. So while nothing happens no sample
 * is taken, and the window reaches back further.
 *
 * Embedded by value. Loop thread only.
 */

#include "common/histogram.h"
#include "common/instant.h"

#define RECENT_SAMPLES 62 /* a minute, and its ends */
#define RECENT_COUNTERS 6
#define RECENT_HISTOGRAMS 2

typedef struct RecentSample {
        uint64_t usec; /* when it was taken; of a difference: how long it is */
        uint64_t counters[RECENT_COUNTERS];
        Histogram histograms[RECENT_HISTOGRAMS];
} RecentSample;

typedef struct Recent {
        RecentSample samples[RECENT_SAMPLES]; /* the latest is the one before `next` */
        size_t n, next;
} Recent;

/* Is it time for another? */
bool recent_is_due(const Recent *recent, uint64_t now_usec);

/* The first one is to be taken when its owner starts: all counts are from then on. */
void recent_add(Recent *recent, const RecentSample *sample);

/* The difference between `latest`, which is taken for the question, and the sample that is ten seconds old; if that one
 * is missing, the one that was last when these ten seconds began. */
RecentSample recent_since(const Recent *recent, const RecentSample *latest);

/* Of a difference: how often per second. 0: no time has passed. */
double recent_rate(const RecentSample *difference, size_t counter);

/* How often per second between the i-th sample, counted back from the latest, and the one before it, i + 1 < n; and
 * when that was, in seconds before `now_usec` (negative). */
double recent_step(const Recent *recent, size_t i, size_t counter, uint64_t now_usec, double *ret_from, double *ret_to);
