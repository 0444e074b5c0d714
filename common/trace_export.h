/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * TraceExporter: sends the spans of a tracer to a collector by OTLP/HTTP with JSON, through libcurl.
 *
 * Owns the tracer and a thread that does all the sending, so nobody waits for a collector, whatever it does: one that
 * is down, slow or refuses costs spans, which are counted. Beyond queue_limit spans that wait, new ones are dropped.
 *
 * Loop thread, but for what the .c says of its own thread. Nothing here logs: on_news is for that.
 */

#include <event2/event.h>

#include "common/trace.h"
#include "proto/cc.h"

#define TRACE_EXPORT_FLUSH_USEC UINT64_C(2000000) /* for what is left when a daemon leaves */

typedef struct TraceExporter TraceExporter;

typedef struct TraceExportNews {
        bool works;         /* spans arrive again; else they don't, and `why` says why not */
        char why[256];      /* without secrets, nor anything that the collector said */
        uint64_t n_dropped; /* so far */
} TraceExportNews;

typedef struct TraceExportOptions {
        const char *endpoint;     /* http(s)://HOST[:PORT][/PATH]; "/v1/traces" is added unless it ends so */
        const char *headers_file; /* "Name: value" on each line, sent with each request; "": none */
        const char *tls_ca;       /* file of CAs in PEM that take the place of the system's; "": those */
        double sample;
        uint64_t queue_limit;
        uint64_t random_seed;

        struct event_base *base; /* of the loop on which on_news is called: whether spans arrive has changed */
        void (*on_news)(const TraceExportNews *news);

        const char *service, *instance_id, *version, *hostname, *subject_prefix; /* of the resource; borrowed until new
                                                                                   returns */
} TraceExportOptions;

/* Would trace_exporter_new() take them? Reads the file. Returns true, or false with key, value and reason. */
bool trace_export_check(const TraceExportOptions *options, char *ret_why, size_t size);

/* Returns 0 or -errno, with key, value and reason. Texts are copied. */
int trace_exporter_new(const TraceExportOptions *options, TraceExporter **ret, char *ret_why, size_t size) _must_check_;

/* Sends what is left, for TRACE_EXPORT_FLUSH_USEC at most. */
TraceExporter *trace_exporter_free(TraceExporter *exporter);

DEFINE_CLEANUP(TraceExporter *, trace_exporter_free);

/* What a reload brings. NULL: does nothing. */
void trace_exporter_set_sample(TraceExporter *exporter, double sample);

/* For the core; NULL for NULL. */
Tracer *trace_exporter_tracer(TraceExporter *exporter);

/* The end of a turn: hands over what the core has recorded. NULL: does nothing. */
void trace_exporter_turn(TraceExporter *exporter);

typedef struct TraceExportStats {
        uint64_t n_exported, n_dropped, n_requests, n_failed_requests;
        uint64_t n_waiting; /* spans */
} TraceExportStats;

void trace_exporter_stats(TraceExporter *exporter, TraceExportStats *ret);

/* compozy_tracing_...; nothing for NULL. */
void trace_exporter_metrics(Buffer *buffer, TraceExporter *exporter);
