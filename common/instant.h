/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Instant: the moment at which a loop turn happens, read once at the edge and passed down to everything that decides.
 */

#include "proto/cc.h"

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_NEVER UINT64_MAX

typedef struct Instant {
        uint64_t usec;      /* CLOCK_BOOTTIME: goes on while the machine sleeps, is never set; for every deadline */
        uint64_t real_usec; /* CLOCK_REALTIME: may jump; only for what people read */
} Instant;

Instant instant_now(void);
