/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * WatchLine: what an event is, and how it looks as a line.
 */

#include <jansson.h>
#include <stdio.h>

#include "ctl/screen.h"
#include "proto/slice.h"

/* The last token of an event's subject. */
#define WATCH_KINDS(X)     \
        X(dispatched)      \
        X(started)         \
        X(completed)       \
        X(failed)          \
        X(dispatch_failed) \
        X(dead_lettered)   \
        X(runtime_update)  \
        X(registered)      \
        X(updated)         \
        X(deregistered)    \
        X(heartbeat)

typedef enum WatchKind {
#define X(name) WATCH_##name,
        WATCH_KINDS(X) _WATCH_KIND_MAX,
#undef X
} WatchKind;

extern const char *const watch_kind_names[_WATCH_KIND_MAX + 1]; /* NULL-terminated */

#define WATCH_EXECUTIONS ((1U << WATCH_runtime_update) - 1) /* bits of kinds */
#define WATCH_DEFINITIONS \
        (1U << WATCH_registered | 1U << WATCH_updated | 1U << WATCH_deregistered | 1U << WATCH_heartbeat)

typedef struct WatchWish {
        unsigned kinds;                              /* bits */
        const char *agent_id, *runtime_id, *exec_id; /* NULL: all */
} WatchWish;

/* The subject, with wildcards, of all that can be wished for: as narrow as one subject can be. */
void watch_subject(const WatchWish *wish, const char *prefix, char *place, size_t size);

/* _WATCH_KIND_MAX: none of ours. */
WatchKind watch_kind(const char *subject);

/* May it be wished for, as far as its subject tells? */
bool watch_subject_is_wished(const WatchWish *wish, const char *subject);

/* Is it wished for? `event` may be NULL: no JSON. */
bool watch_is_wished(const WatchWish *wish, WatchKind kind, const json_t *event);

/* The line for a person, with its line end. `now_real_usec`: an event of another day is told with its date. */
void watch_print_line(FILE *file, const Screen *screen, WatchKind kind, const json_t *event, uint64_t now_real_usec);

/* Microseconds since 1970 of "2026-01-31T23:59:59.123456Z"; 0 when it is none. */
uint64_t watch_parse_time(const char *text);
