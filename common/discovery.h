/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Discovery: answers to NATS service discovery, which `nats micro` and every client library speak: requests to
 * $SRV.PING, $SRV.INFO and $SRV.STATS, each also for one service (".<name>") and for one instance (".<name>.<id>").
 * ADR-32 of NATS, "Service API".
 *
 * Pure: takes the subject of a request and a description of the service, writes the answer.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

#define DISCOVERY_ERROR_MAX 160 /* bytes of a last error, its NUL included */

/* What is counted of an endpoint. Embedded by value; a struct of zeroes is a fresh one. */
typedef struct EndpointStats {
        uint64_t n_requests, n_errors;
        uint64_t processing_usec; /* of all requests together */
        char last_error[DISCOVERY_ERROR_MAX];
} EndpointStats;

/* One request ended with that error: "CODE: text", as far as it fits. */
void endpoint_fail(EndpointStats *stats, const char *code, Slice text);

typedef struct DiscoveryEndpoint {
        const char *name;
        Slice subject;           /* as it is subscribed to, wildcards included */
        const char *queue_group; /* NULL: each instance gets every request */
        const EndpointStats *stats;
} DiscoveryEndpoint;

typedef struct DiscoveryLabel {
        const char *key;
        Slice value; /* absent: left out */
} DiscoveryLabel;

/* Everything is borrowed. Name and id are ids (proto/id.h), the version is a semantic one. */
typedef struct DiscoveryService {
        const char *name, *description, *version;
        Slice id;
        uint64_t started_real_usec;
        const DiscoveryLabel *metadata;
        size_t n_metadata;
        const DiscoveryEndpoint *endpoints;
        size_t n_endpoints;
} DiscoveryService;

/* The subjects to subscribe to: "$SRV.*", "$SRV.*.<name>", "$SRV.*.<name>.<id>". Appends the one of that number. */
#define DISCOVERY_SUBJECTS 3
void discovery_subject(Buffer *buffer, unsigned number, const char *name, Slice id);

/* Might it be one? One comparison, for the way of all other messages. */
static inline bool discovery_is_request(Slice subject) {
        return subject.size > 5 && subject.data[0] == '$' && slice_starts_with(subject, SLICE("$SRV."));
}

/* Appends the answer. Returns false, and appends nothing, when there is none: another service, id or verb is meant. */
bool discovery_answer(const DiscoveryService *service, Slice subject, Buffer *buffer);
