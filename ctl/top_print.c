/* SPDX-License-Identifier: MIT */

#include "common/instant.h"
#include "ctl/top_columns.h"
#include "ctl/top_print.h"

static int print_table(const Screen *screen, TopTable table, const TopModel *model, FILE *file) {
        const TopQuery query = { .table = table, .filter = "" };
        size_t n;
        const TopColumn *columns = top_columns(table, &n);
        Column titles[TOP_COLUMNS_MAX];
        TopRows rows = {};
        Table *printed;
        int r;

        for (size_t c = 0; c < n; c++)
                titles[c] = (Column){
                        .title = columns[c].title,
                        .is_right = columns[c].number != NULL,
                        .may_shrink = columns[c].text != NULL,
                };
        printed = table_new(titles, n);
        r = printed ? top_rows(model, &query, &rows) : -ENOMEM;
        for (size_t i = 0; r == 0 && i < rows.n_items; i++)
                for (size_t c = 0; c < n; c++) {
                        char text[TOP_CELL_MAX];

                        top_cell(model, &columns[c], rows.items[i], text);
                        table_cell(printed, columns[c].colour ? columns[c].colour(model, rows.items[i]) : COLOUR_NONE,
                                "%s", text);
                }
        if (r == 0)
                r = table_print(printed, screen, file);
        top_rows_done(&rows);
        (void)table_free(printed);
        return r;
}

int top_print_text(const Screen *screen, const char *url, const TopModel *model, FILE *file) {
        char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX], d[SHOWN_MAX];
        TopTotals totals;
        int r;

        top_model_totals(model, &totals);
        (void)fprintf(file, "NATS at %s\n", url);
        (void)fprintf(file, "Triggers %s/s: ok %s/s, agent errors %s/s, failed %s/s\n",
                top_show_rate(a, totals.triggers), top_show_rate(b, totals.ok), top_show_rate(c, totals.agent_errors),
                top_show_rate(d, totals.failures));
        (void)fprintf(file, "In flight %s, waiting %s, free slots %s of %s\n", show_number(a, totals.in_flight),
                show_number(b, totals.waiting), show_number(c, totals.free_slots), show_number(d, totals.slots));
        (void)fprintf(file, "Milliseconds p50/p99: queue %s/%s, run %s/%s\n\n", top_show_ms(a, totals.dispatch_p50),
                top_show_ms(b, totals.dispatch_p99), top_show_ms(c, totals.execution_p50),
                top_show_ms(d, totals.execution_p99));
        r = print_table(screen, TOP_TABLE_DISPATCHERS, model, file);
        (void)fputc('\n', file);
        if (r == 0)
                r = print_table(screen, TOP_TABLE_RUNTIMES, model, file);
        return r;
}

static json_t *dispatcher_json(const TopModel *model, const TopDispatcher *d) {
        TopHistogram dispatch, execution;

        top_model_histogram(model, d, false, &dispatch);
        top_model_histogram(model, d, true, &execution);
        return json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}",
                "dispatcher_id", d->id, "hostname", d->host, "version", d->version, "settled", (int)d->is_settled,
                "draining", (int)d->is_draining, "waiting", (json_int_t)d->waiting, "queue_limit",
                (json_int_t)d->queue_limit, "in_flight", (json_int_t)d->in_flight, "triggers_per_s",
                d->triggers.per_second, "success_per_s", d->ok.per_second, "agent_error_per_s",
                d->agent_errors.per_second, "failure_per_s", d->failures.per_second, "dispatch_ms_p50",
                top_histogram_quantile(&dispatch, 0.5), "dispatch_ms_p99", top_histogram_quantile(&dispatch, 0.99),
                "execution_ms_p50", top_histogram_quantile(&execution, 0.5), "execution_ms_p99",
                top_histogram_quantile(&execution, 0.99), "uptime_s", (json_int_t)d->uptime_s);
}

static json_t *runtime_json(const TopModel *model, const TopRuntime *runtime) {
        const uint64_t ago = model->now_usec - MIN_OF(model->now_usec, runtime->heartbeat_usec);

        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "runtime_id", runtime->id,
                "state", runtime->state, "hostname", runtime->host, "labels", runtime->labels, "version",
                runtime->version, "agents", (json_int_t)runtime->agents, "in_flight", (json_int_t)runtime->in_flight,
                "slots", (json_int_t)runtime->slots, "free_slots", (json_int_t)runtime->free_slots, "queued",
                (json_int_t)runtime->queued, "done_per_s", runtime->rate, "last_heartbeat_ms_ago",
                (json_int_t)(ago / USEC_PER_MSEC));
}

static json_t *totals_json(const TopTotals *totals) {
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
                "live", (json_int_t)totals->live, "joining", (json_int_t)totals->joining, "suspect",
                (json_int_t)totals->suspect, "draining", (json_int_t)totals->draining, "agents",
                (json_int_t)totals->agents, "agents_failed", (json_int_t)totals->agents_failed, "slots",
                (json_int_t)totals->slots, "free_slots", (json_int_t)totals->free_slots, "in_flight",
                (json_int_t)totals->in_flight, "waiting", (json_int_t)totals->waiting, "triggers_per_s",
                totals->triggers, "success_per_s", totals->ok, "agent_error_per_s", totals->agent_errors,
                "failure_per_s", totals->failures, "dispatch_ms_p50", totals->dispatch_p50, "dispatch_ms_p99",
                totals->dispatch_p99, "execution_ms_p50", totals->execution_p50, "execution_ms_p99",
                totals->execution_p99);
}

json_t *top_print_json(const char *url, const TopModel *model) {
        json_t *dispatchers = json_array(), *runtimes = json_array();
        TopTotals totals;

        top_model_totals(model, &totals);
        for (size_t i = 0; i < model->n_dispatchers; i++)
                (void)json_array_append_new(dispatchers, dispatcher_json(model, model->dispatchers[i]));
        for (size_t i = 0; i < model->n_runtimes; i++)
                (void)json_array_append_new(runtimes, runtime_json(model, model->runtimes[i]));
        return json_pack("{s:s, s:o, s:o, s:o}", "nats", url, "totals", totals_json(&totals), "dispatchers",
                dispatchers, "runtimes", runtimes);
}
