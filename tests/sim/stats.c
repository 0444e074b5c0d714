/* SPDX-License-Identifier: MIT */

#include "tests/sim/stats.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
        Count count;
        const char *text;
        bool is_fault;
} rows[] = {
#define X(name, text) { COUNT_FAULT_##name, text, true },
        FAULT_KINDS(X)
#undef X
#define X(name, text) { COUNT_##name, text, false },
                COVERAGE_KINDS(X)
#undef X
};

void stats_add(Stats *sum, const Stats *more) {
        for (size_t i = 0; i < _COUNT_MAX; i++)
                sum->counts[i] += more->counts[i];
}

unsigned stats_print(const Stats *stats) {
        const uint64_t *c = stats->counts;
        unsigned n_holes = 0;

        for (int faults = 1; faults >= 0; faults--) {
                (void)printf("%s\n", faults ? "faults:" : "seen:");
                for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                        if (rows[i].is_fault != (faults == 1))
                                continue;
                        n_holes += c[rows[i].count] == 0;
                        (void)printf("%12" PRIu64 "  %s%s\n", c[rows[i].count], rows[i].text,
                                c[rows[i].count] == 0 ? "  <- a hole" : "");
                }
        }
        (void)printf("%" PRIu64 " seeds (%" PRIu64 " of them twice), %.1f virtual hours, %" PRIu64 " steps, %" PRIu64
                     " messages, %" PRIu64 " deliveries, %" PRIu64 " triggers\n",
                c[COUNT_SEEDS], c[COUNT_SEEDS_TWICE], (double)c[COUNT_USEC] / 3600e6, c[COUNT_STEPS], c[COUNT_MESSAGES],
                c[COUNT_DELIVERIES], c[COUNT_TRIGGERS]);
        return n_holes;
}
