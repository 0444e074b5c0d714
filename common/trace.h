/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Trace: W3C Trace Context (the header traceparent), and Tracer: the spans that a core has to tell of.
 *
 * A core begins a span when work comes in, passes its traceparent on, and records it when the work is done. Recording
 * writes the span as OTLP's JSON into the tracer, from which common/trace_export.h takes it. Pure: ids come from a
 * seeded generator, times are passed in. A core has a tracer or NULL; NULL is the one comparison that being off costs.
 *
 * Owner thread only. A Tracer is embedded by value.
 */

#include "common/rng.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

#define TRACEPARENT_SIZE 55 /* of version 00, which is what we write */
#define TRACE_SAMPLED 0x01  /* among the flags */

typedef struct TraceSpan {
        uint8_t trace_id[16];
        uint8_t span_id[8];
        uint8_t parent_id[8]; /* zeroes: it is the first of its trace */
        uint8_t flags;        /* as they came */
        bool is_recorded;     /* else there is nothing to tell of it */
} TraceSpan;

/* Trace id, parent id and flags of a traceparent, of any version. Returns false when it is bad. */
bool trace_parse(Slice traceparent, TraceSpan *ret);

/* The traceparent that makes what comes behind it a child of this span; lies in `storage`. */
Slice trace_format(const TraceSpan *span, char storage[static TRACEPARENT_SIZE]);

typedef enum SpanKind {
        SPAN_INTERNAL = 1, /* as OTLP numbers them */
        SPAN_SERVER,
        SPAN_CLIENT,
        SPAN_PRODUCER,
        SPAN_CONSUMER,
} SpanKind;

typedef enum TracerPlace {
        TRACER_OUTSIDE,
        TRACER_ATTRIBUTES, /* of the span that is open */
        TRACER_EVENT,      /* attributes of its last event */
} TracerPlace;

typedef struct Tracer {
        Rng rng;
        uint64_t threshold; /* of random numbers below it a trace is begun; UINT64_MAX: of all, 0: of none */
        Buffer spans;       /* n_spans JSON objects with commas between */
        size_t n_spans, n_max;
        size_t start; /* of the one that is open */
        TracerPlace place;
        uint64_t n_dropped; /* spans that there was no room for, or no memory */
} Tracer;

/* `sample`: the share, 0 to 1, of the work that comes without a traceparent of which a trace is begun. `n_max`: spans
 * kept until tracer_clear(). */
void tracer_init(Tracer *tracer, uint64_t seed, double sample, size_t n_max);
void tracer_set_sample(Tracer *tracer, double sample);
void tracer_done(Tracer *tracer);
void tracer_clear(Tracer *tracer); /* the spans were taken; memory beyond a megabyte is given back */

/*
 * A span for work that came with that traceparent; with none, or a bad one, the work begins a trace, sampled or not.
 * Returns whether what is passed on is to carry the span's own traceparent. What came with one that is not sampled is
 * passed on as it is, and so is what came without one where no trace is ever begun: the headers cost more than all
 * else.
 */
bool tracer_begin(Tracer *tracer, Slice traceparent, TraceSpan *ret);

/* The header block `headers` with the span's traceparent instead of the one in it, and without a tracestate that
 * belonged to none. */
void trace_rewrite_headers(Buffer *buffer, Slice headers, const TraceSpan *span);

/*
 * Records a span: open(), its attributes, for each event event() and its attributes, close(). open() returns false when
 * there is no room: then nothing else of it is to be called.
 */
typedef struct SpanHead {
        const TraceSpan *span;
        SpanKind kind;
        const char *what; /* "what of" is its name, such as "trigger greeter" */
        Slice of;
        uint64_t start_real_usec, end_real_usec;
        Slice state;       /* tracestate; absent: none */
        const char *error; /* the code of what went wrong; NULL: nothing */
        Slice why;         /* ... and the sentence */
} SpanHead;

bool tracer_open(Tracer *tracer, const SpanHead *head);
void tracer_text(Tracer *tracer, const char *key, Slice value); /* one that is absent or empty is left out */
void tracer_number(Tracer *tracer, const char *key, uint64_t value);
void tracer_event(Tracer *tracer, const char *name, uint64_t real_usec);
void tracer_close(Tracer *tracer);
