/* SPDX-License-Identifier: MIT */

#include "runtimed/host_metrics.h"
#include "common/instant.h"
#include "common/metrics.h"
#include "common/page.h"

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

void host_page(Buffer *html, const Pool *pool, const ExecHost *exec, const Store *store, const char *where) {
        static const char *const columns[] = { "state store", ">transactions", ">failures", ">workers",
                ">child processes", ">calls to them", ">too late", ">protocol errors", NULL };
        ExecHostStats children;
        StoreStats stored = {};

        exec_host_stats(exec, &children);
        if (store)
                store_stats(store, &stored);
        page_table(html, "State and workers", columns);
        page_row(html);
        page_cell(html, slice_of(where));
        page_cell_number(html, stored.n_batches);
        page_cell_count(html, TONE_BAD, stored.n_failed);
        page_cell_number(html, pool ? pool_n_workers(pool) : 0);
        page_cell_number(html, children.n_children);
        page_cell_number(html, children.n_calls);
        page_cell_count(html, TONE_BAD, children.n_call_timeouts);
        page_cell_count(html, TONE_BAD, children.n_protocol_errors);
        page_table_end(html, 1, 0, "");
}
