/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * WatchStream: the events that JetStream keeps, read in their order from some place on, and on into those that come.
 *
 * Nothing is left out and nothing comes twice, also when the connection is lost meanwhile: a reader that the server
 * forgot is made again behind the last event that was seen.
 */

#include "ctl/client.h"

#define WATCH_STREAM "COMPOZY_EVENTS" /* dispatchers make it */

enum {
        WATCH_STREAM_E_OK,

        WATCH_STREAM_E_NONE, /* no JetStream, or no such stream; a sentence says which */
};

typedef struct WatchStream WatchStream;

/* Returns 0, an outcome above, or -errno, both with a sentence; here and below -EACCES: NATS does not allow it. */
int watch_stream_new(Client *client, uint64_t timeout_usec, WatchStream **ret, NatsReason *ret_why);
WatchStream *watch_stream_free(WatchStream *stream);

DEFINE_CLEANUP(WatchStream *, watch_stream_free);

/* The numbers of the first and the last event when it was made; last < first: there are none. */
uint64_t watch_stream_first(const WatchStream *stream);
uint64_t watch_stream_last(const WatchStream *stream);

/*
 * Reads from event `number` on, or when it is 0 from `real_usec` (CLOCK_REALTIME) on; again: from there on instead.
 * `filter`: a subject, "" for all. One with wildcards is for what lies near the end: each execution has
 * subjects of its own, and the server (2.9) looks at all of them; with two million it did nothing else for eight
 * seconds. Returns 0 or -errno with a sentence.
 */
int watch_stream_read(
        WatchStream *stream, uint64_t number, uint64_t real_usec, const char *filter, NatsReason *ret_why);

/*
 * The next event, the caller's; NULL: none within `timeout_usec`. `ret_number` is its number. Returns 0, or -errno with
 * a sentence (the stream is gone); a lost connection is no error.
 */
int watch_stream_next(
        WatchStream *stream, uint64_t timeout_usec, natsMsg **ret, uint64_t *ret_number, NatsReason *ret_why);

/* How many there are yet to read of those that are kept. */
uint64_t watch_stream_n_pending(const WatchStream *stream);

/* The numbers in the reply subject of a message that JetStream delivered. */
typedef struct WatchPlace {
        uint64_t number;  /* in the stream */
        uint64_t ordinal; /* of this reader, from 1 */
        uint64_t n_pending;
} WatchPlace;

/* Returns 0, or -EINVAL: it is none. */
int watch_place_parse(const char *reply, WatchPlace *ret);
