/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What `top` knows: dispatchers, runtimes and agents as their answers tell them, and rates made of two answers each.
 *
 * Pure: answers and the time are passed in; no NATS, no terminal, no clock. All texts are of strangers, and are made
 * harmless (screen_text) when they are taken. What is missing in an answer, or of another type, is 0 or "-".
 */

#include <jansson.h>

#include "ctl/screen.h"
#include "proto/id.h"

#define TOP_DISPATCHERS_MAX 16  /* asked one by one; more are left out, and top says so */
#define TOP_RUNTIMES_MAX 200000 /* what a hostile peer can make us keep */
#define TOP_AGENTS_MAX 20000
#define TOP_HISTORY_MAX 240 /* samples of the rate of triggers */
#define TOP_BOUNDS_MAX 40
#define TOP_WINDOW 11               /* samples of histograms: their differences span ten intervals */
#define TOP_ID_MAX (4 * ID_MAX + 1) /* made harmless */

/* A rate of a cumulative counter. */
typedef struct TopRate {
        uint64_t total, usec; /* of the last answer */
        double per_second;
        bool is_known;
} TopRate;

/* A total below the last one is that of a process that has begun again: its rate counts from 0. */
void top_rate_take(TopRate *rate, uint64_t total, uint64_t now_usec);

typedef struct TopHistogram {
        double bounds_ms[TOP_BOUNDS_MAX];
        uint64_t buckets[TOP_BOUNDS_MAX + 1]; /* the last one: longer than all bounds */
        size_t n_bounds;
        uint64_t count;
} TopHistogram;

/* 0 to 1; in milliseconds, interpolated within its bucket. 0 when nothing was counted. */
double top_histogram_quantile(const TopHistogram *histogram, double q);

typedef struct TopDispatcher {
        char id[TOP_ID_MAX], host[128], version[32];
        uint64_t heard_usec, answered_in_usec; /* 0: never heard */
        bool is_settled, is_draining, is_mass_silent;
        uint64_t waiting, queue_limit, in_flight, agents, agents_failed, slots, free_slots, uptime_s;
        uint64_t joining, live, suspect, draining; /* runtimes */
        TopRate triggers, ok, agent_errors, failures;
        TopHistogram dispatch[TOP_WINDOW], execution[TOP_WINDOW]; /* rings: cumulative */
        size_t n_samples;
        json_t *status; /* all of it */
} TopDispatcher;

typedef struct TopRuntime {
        char id[TOP_ID_MAX], host[128], version[32], state[32], labels[256];
        uint64_t agents, in_flight, slots, free_slots, queued;
        uint64_t heartbeat_usec;           /* when it was heard of, by our clock */
        TopRate done[TOP_DISPATCHERS_MAX]; /* as each dispatcher counts */
        double rate;
        uint64_t sweep; /* the last one it was in */
} TopRuntime;

typedef struct TopAgent {
        char runtime_id[TOP_ID_MAX], id[TOP_ID_MAX], type[48], state[32];
        uint64_t queued, open, handled, failed, shed, restarts;
        TopRate handled_rate, failed_rate;
        uint64_t heard_usec;
} TopAgent;

/* Of all dispatchers together. */
typedef struct TopTotals {
        size_t n_dispatchers; /* that answer */
        uint64_t joining, live, suspect, draining, agents, agents_failed, slots, free_slots, in_flight, waiting,
                queue_limit;
        double triggers, ok, agent_errors, failures;                     /* a second */
        double dispatch_p50, dispatch_p99, execution_p50, execution_p99; /* ms */
        uint64_t answered_in_usec;                                       /* the slowest */
        bool is_mass_silent;
} TopTotals;

typedef struct TopModel {
        uint64_t now_usec;
        TopDispatcher *dispatchers[TOP_DISPATCHERS_MAX]; /* sorted by id */
        size_t n_dispatchers;
        bool has_more_dispatchers;
        TopRuntime **runtimes; /* sorted by id */
        size_t n_runtimes, runtimes_capacity;
        uint64_t sweep;
        TopAgent **agents; /* sorted by runtime and id */
        size_t n_agents, agents_capacity;
        double history[TOP_HISTORY_MAX]; /* triggers a second; a ring */
        size_t n_history;
        json_t *runtime_status, *agent, *subscriptions; /* of the one that is looked at; NULL: not known yet */
        uint64_t agents_total;                          /* of the runtime that is looked at */
        char trouble[256];                              /* why a question had no answer; "": all had one */
} TopModel;

void top_model_init(TopModel *model);
void top_model_done(TopModel *model);

/* Once an interval: forgets who was not heard of for long (while there is a connection), and notes the history. */
void top_model_tick(TopModel *model, bool is_connected, uint64_t now_usec);

/* Answers; `result` is borrowed. */
void top_model_dispatcher(TopModel *model, const json_t *status, uint64_t waited_usec);
void top_model_found(TopModel *model, const char *dispatcher_id);
void top_model_runtimes(TopModel *model, size_t dispatcher, const json_t *page);
void top_model_agents(TopModel *model, const char *runtime_id, const json_t *page);

/* A sweep over the lists of all dispatchers is complete: whoever was not in it is gone. */
void top_model_swept(TopModel *model);

/* Another one is looked at. */
void top_model_forget_focus(TopModel *model);

const TopDispatcher *top_model_find_dispatcher(const TopModel *model, const char *id);
const TopRuntime *top_model_find_runtime(const TopModel *model, const char *id);
const TopAgent *top_model_find_agent(const TopModel *model, const char *runtime_id, const char *id);

void top_model_totals(const TopModel *model, TopTotals *ret);

/* Of the last TOP_WINDOW answers: one dispatcher's, or with NULL those of all. `execution`: of runs, else of queueing.
 */
void top_model_histogram(const TopModel *model, const TopDispatcher *dispatcher, bool execution, TopHistogram *ret);
