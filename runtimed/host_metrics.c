/* SPDX-License-Identifier: MIT */

#include "runtimed/host_metrics.h"
#include "common/instant.h"
#include "common/metrics.h"

void host_metrics(Buffer *buffer, const Pool *pool, const ExecHost *exec, const Store *store) {
        ExecHostStats children;
        StoreStats stored = {};

        metrics_gauge_value(
                buffer, "compozy_runtime_workers", "Threads that run behaviours", pool ? pool_n_workers(pool) : 0);

        exec_host_stats(exec, &children);
        metrics_gauge_value(buffer, "compozy_runtime_children", "Child processes of agents", children.n_children);
        metrics_counter_value(buffer, "compozy_runtime_children_started_total", "Child processes that were started",
                children.n_started);
        metrics_counter_value(buffer, "compozy_runtime_child_calls_total", "Calls made to them", children.n_calls);
        metrics_counter_value(buffer, "compozy_runtime_child_call_timeouts_total",
                "Calls that took too long, so that the child was killed", children.n_call_timeouts);
        metrics_counter_value(buffer, "compozy_runtime_child_protocol_errors_total",
                "Children killed for what they wrote", children.n_protocol_errors);

        if (store)
                store_stats(store, &stored);
        metrics_counter_value(
                buffer, "compozy_runtime_store_batches_total", "Transactions of the state store", stored.n_batches);
        metrics_counter(buffer, "compozy_runtime_store_busy_seconds_total", "Time spent in them");
        metrics_sample_real(buffer, "compozy_runtime_store_busy_seconds_total", "",
                (double)stored.busy_usec / (double)USEC_PER_SEC);
        metrics_counter_value(
                buffer, "compozy_runtime_store_written_bytes_total", "Bytes of states saved", stored.n_bytes);
        metrics_counter_value(buffer, "compozy_runtime_store_failures_total", "Requests of the state store that failed",
                stored.n_failed);
}
