/* SPDX-License-Identifier: MIT */

#include <time.h>

#include "common/instant.h"

static uint64_t clock_usec(clockid_t clock) {
        struct timespec now;
        int r = clock_gettime(clock, &now);

        assert(r == 0); /* only a wrong clock id or a bad pointer fails */
        (void)r;

        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

Instant instant_now(void) {
        return (Instant){ .usec = clock_usec(CLOCK_BOOTTIME), .real_usec = clock_usec(CLOCK_REALTIME) };
}
