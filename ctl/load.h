/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Load: keeps many requests to one subject going, and tallies how they end.
 *
 * On a connection and an event loop of its own, the way that is fastest with nats.c (common/nats_link.h); returns when
 * all is over. A request that is not answered in time is counted as NO_ANSWER, one that nobody listened to as
 * NOBODY_LISTENS. While the connection is away nothing is sent, and what was under way may be lost with it.
 */

#include "ctl/client.h"
#include "ctl/tally.h"
#include "proto/buffer.h"
#include "proto/slice.h"

typedef struct LoadReport {
        Tally tally;
        uint64_t n_sent, n_outstanding;
        uint64_t start_usec, end_usec; /* from the first request to the last answer; end 0: not over */
        uint64_t n_disconnects;
        bool is_up, is_interrupted;
        char trouble[256]; /* what the server last complained of; "": nothing */
} LoadReport;

typedef struct LoadPlan {
        const CtlSettings *settings; /* borrowed, as all here */
        const char *subject;
        Slice headers;          /* a block: "Name: value\r\n" each */
        uint64_t count;         /* 0: until `duration_usec` are over */
        uint64_t duration_usec; /* 0: until `count` are answered */
        uint64_t concurrency;
        uint64_t rate; /* per second; 0: as fast as answers come */
        uint64_t timeout_usec;
        bool is_bare; /* answers are no results: whatever comes is a success */

        void (*write_body)(uint64_t number, Buffer *body, void *userdata);            /* numbers from 1 on */
        void (*on_tick)(const LoadReport *report, uint64_t now_usec, void *userdata); /* many times a second; NULL */
        void *userdata;
} LoadPlan;

/*
 * Ends early at Ctrl-C: then it waits for what is under way a second at most. Returns 0, or -errno with a sentence: it
 * could not connect within the plan's timeout, or the server does not allow what is wanted.
 */
int load_run(const LoadPlan *plan, LoadReport *ret, NatsReason *ret_why);
