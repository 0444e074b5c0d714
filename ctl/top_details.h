/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What `top` shows of one thing, as lines: a name, a value, perhaps a bar. Pure.
 */

#include "ctl/top_model.h"

#define TOP_LINES_MAX 160

typedef struct TopLine {
        char name[64];   /* "": goes on with the line before */
        char value[320]; /* "" with a name: a headline */
        Colour colour;   /* of the value */
        double bar;      /* 0 to 1: drawn behind the name; below 0: none */
} TopLine;

typedef struct TopLines {
        TopLine items[TOP_LINES_MAX];
        size_t n_items;
} TopLines;

/* What a runtime says of itself (model->runtime_status) and what dispatchers know of it. */
void top_details_runtime(const TopModel *model, const char *runtime_id, TopLines *ret);

/* model->agent and its subscriptions. */
void top_details_agent(const TopModel *model, const char *runtime_id, const char *agent_id, TopLines *ret);

/* Counters, outcomes, errors, and how long things took as bars. */
void top_details_dispatcher(const TopModel *model, const char *id, TopLines *ret);
