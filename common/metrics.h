/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Metrics: counters, gauges and histograms, written in the Prometheus text format (exposition format 0.0.4, also
 * valid for OpenMetrics readers of that format).
 *
 * A set is a table of families, declared once; values live in the modules, and a collector copies them in when
 * somebody asks, so that counting costs an addition. Loop thread only.
 */

#include "common/histogram.h"
#include "proto/buffer.h"
#include "proto/cc.h"

/* Each writes "# HELP" and "# TYPE" for a family, then its samples follow. */
void metrics_counter(Buffer *buffer, const char *name, const char *help);
void metrics_gauge(Buffer *buffer, const char *name, const char *help);

/* One sample; `labels` is "" or `name="value",…` (escape values with metrics_label). */
void metrics_sample(Buffer *buffer, const char *name, const char *labels, uint64_t value);
void metrics_sample_real(Buffer *buffer, const char *name, const char *labels, double value);
void metrics_label(Buffer *buffer, const char *name, const char *value);

/* A family of one sample without labels. */
void metrics_counter_value(Buffer *buffer, const char *name, const char *help, uint64_t value);
void metrics_gauge_value(Buffer *buffer, const char *name, const char *help, uint64_t value);
void metrics_histogram(Buffer *buffer, const char *name, const char *help, const Histogram *histogram);

/* process_* of this process (from /proc/self) and compozy_build_info. */
void metrics_process(Buffer *buffer, const char *component);
