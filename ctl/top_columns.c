/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/top_columns.h"

#define GAP 1 /* between columns */

/* how numbers look */

static const char *say(char *place, const char *text) {
        (void)snprintf(place, SHOWN_MAX, "%s", text);
        return place;
}

static const char *show_whole(char *place, double number) {
        return show_number(place, whole_number(number));
}

static const char *show_per_second(char *place, double number) {
        return number > 0 ? show_rate(place, number) : say(place, "-");
}

const char *top_show_rate(char *place, double per_second) {
        return per_second > 0 ? show_rate(place, per_second) : say(place, "0");
}

/* Heartbeats: less than a tenth of a second is no news. */
static const char *show_heard(char *place, double seconds) {
        if (seconds < 100)
                (void)snprintf(place, SHOWN_MAX, "%.1f s", seconds);
        else
                (void)show_duration(place, whole_number(seconds * (double)USEC_PER_SEC));
        return place;
}

static const char *show_age(char *place, double seconds) {
        return show_duration(place, whole_number(seconds * (double)USEC_PER_SEC));
}

const char *top_show_ms(char *place, double ms) {
        if (ms <= 0)
                return say(place, "-");
        if (ms < 10)
                (void)snprintf(place, SHOWN_MAX, "%.*f", ms < 1 ? 2 : 1, ms);
        else
                (void)show_number(place, whole_number(ms));
        return place;
}

/* getters */

#define RUNTIME(row) ((const TopRuntime *)(row))
#define AGENT(row) ((const TopAgent *)(row))
#define DISPATCHER(row) ((const TopDispatcher *)(row))

#define TEXT(name, expression)                                            \
        static const char *name(const TopModel *model, const void *row) { \
                (void)model;                                              \
                return expression;                                        \
        }
#define NUMBER(name, expression)                                     \
        static double name(const TopModel *model, const void *row) { \
                (void)model;                                         \
                return (double)(expression);                         \
        }
#define COLOUR(name, expression)                                     \
        static Colour name(const TopModel *model, const void *row) { \
                (void)model;                                         \
                return expression;                                   \
        }

TEXT(runtime_id, RUNTIME(row)->id)
TEXT(runtime_state, RUNTIME(row)->state)
TEXT(runtime_host, RUNTIME(row)->host)
TEXT(runtime_labels, RUNTIME(row)->labels)
TEXT(runtime_version, RUNTIME(row)->version)
NUMBER(runtime_in_flight, RUNTIME(row)->in_flight)
NUMBER(runtime_slots, RUNTIME(row)->slots)
NUMBER(runtime_queued, RUNTIME(row)->queued)
NUMBER(runtime_rate, RUNTIME(row)->rate)
NUMBER(runtime_agents, RUNTIME(row)->agents)
NUMBER(runtime_heartbeat,
        (double)(model->now_usec - MIN_OF(RUNTIME(row)->heartbeat_usec, model->now_usec)) / USEC_PER_SEC)
COLOUR(runtime_state_colour, screen_state_colour(RUNTIME(row)->state))
COLOUR(runtime_queued_colour, RUNTIME(row)->queued > 0 ? COLOUR_WARNING : COLOUR_NONE)
COLOUR(runtime_load_colour, RUNTIME(row)->free_slots == 0 && RUNTIME(row)->in_flight > 0 ? COLOUR_WARNING : COLOUR_GOOD)
COLOUR(heartbeat_colour, strcmp(RUNTIME(row)->state, "suspect") == 0 ? COLOUR_WARNING : COLOUR_NONE)

TEXT(agent_id, AGENT(row)->id)
TEXT(agent_runtime, AGENT(row)->runtime_id)
TEXT(agent_type, AGENT(row)->type)
TEXT(agent_state, AGENT(row)->state)
NUMBER(agent_queued, AGENT(row)->queued)
NUMBER(agent_open, AGENT(row)->open)
NUMBER(agent_rate, AGENT(row)->handled_rate.per_second)
NUMBER(agent_handled, AGENT(row)->handled)
NUMBER(agent_failed, AGENT(row)->failed)
NUMBER(agent_shed, AGENT(row)->shed)
NUMBER(agent_restarts, AGENT(row)->restarts)
COLOUR(agent_state_colour, screen_state_colour(AGENT(row)->state))
COLOUR(agent_queued_colour, AGENT(row)->queued > 0 ? COLOUR_WARNING : COLOUR_NONE)
COLOUR(agent_failed_colour, AGENT(row)->failed_rate.per_second > 0 ? COLOUR_BAD : COLOUR_NONE)
COLOUR(agent_shed_colour, AGENT(row)->shed > 0 ? COLOUR_WARNING : COLOUR_NONE)

static double quantile(const TopModel *model, const void *row, bool execution, double q) {
        TopHistogram histogram;

        top_model_histogram(model, row, execution, &histogram);
        return top_histogram_quantile(&histogram, q);
}

TEXT(dispatcher_id, DISPATCHER(row)->id)
TEXT(dispatcher_host, DISPATCHER(row)->host)
TEXT(dispatcher_version, DISPATCHER(row)->version)
TEXT(dispatcher_state, DISPATCHER(row)->n_samples == 0 ? "silent"
                       : DISPATCHER(row)->is_draining  ? "draining"
                       : DISPATCHER(row)->is_settled   ? "settled"
                                                       : "settling")
NUMBER(dispatcher_waiting, DISPATCHER(row)->waiting)
NUMBER(dispatcher_limit, DISPATCHER(row)->queue_limit)
NUMBER(dispatcher_in_flight, DISPATCHER(row)->in_flight)
NUMBER(dispatcher_triggers, DISPATCHER(row)->triggers.per_second)
NUMBER(dispatcher_bad, DISPATCHER(row)->agent_errors.per_second + DISPATCHER(row)->failures.per_second)
NUMBER(dispatcher_runtimes,
        DISPATCHER(row)->live + DISPATCHER(row)->joining + DISPATCHER(row)->suspect + DISPATCHER(row)->draining)
NUMBER(dispatcher_uptime, DISPATCHER(row)->uptime_s)
NUMBER(dispatcher_queue_p99, quantile(model, row, false, 0.99))
NUMBER(dispatcher_run_p50, quantile(model, row, true, 0.5))
NUMBER(dispatcher_run_p99, quantile(model, row, true, 0.99))
COLOUR(dispatcher_state_colour, DISPATCHER(row)->n_samples == 0                                ? COLOUR_BAD
                                : DISPATCHER(row)->is_settled && !DISPATCHER(row)->is_draining ? COLOUR_GOOD
                                                                                               : COLOUR_WARNING)
COLOUR(dispatcher_bad_colour, dispatcher_bad(model, row) > 0 ? COLOUR_BAD : COLOUR_NONE)
COLOUR(dispatcher_waiting_colour, DISPATCHER(row)->waiting > 0 ? COLOUR_WARNING : COLOUR_GOOD)

/* tables; the first column is the id */

static const TopColumn runtime_columns[] = {
        { .title = "RUNTIME", .width = 14, .grows = 30, .text = runtime_id, .is_searched = true },
        { .title = "STATE", .width = 8, .text = runtime_state, .colour = runtime_state_colour, .is_searched = true },
        { .title = "IN FLIGHT / SLOTS",
                .width = 21,
                .grows = 16,
                .number = runtime_in_flight,
                .full = runtime_slots,
                .colour = runtime_load_colour },
        { .title = "QUEUED", .width = 7, .rank = 2, .number = runtime_queued, .colour = runtime_queued_colour },
        { .title = "DONE/S", .width = 8, .number = runtime_rate, .show = show_per_second },
        { .title = "AGENTS", .width = 7, .rank = 1, .number = runtime_agents },
        { .title = "HEARD",
                .width = 7,
                .rank = 3,
                .number = runtime_heartbeat,
                .show = show_heard,
                .colour = heartbeat_colour },
        { .title = "HOST", .width = 10, .rank = 5, .grows = 14, .text = runtime_host, .is_searched = true },
        { .title = "LABELS", .width = 12, .rank = 4, .grows = 40, .text = runtime_labels, .is_searched = true },
        { .title = "VERSION", .width = 7, .rank = 6, .text = runtime_version },
};

static const TopColumn agent_columns[] = {
        { .title = "AGENT", .width = 16, .grows = 30, .text = agent_id, .is_searched = true },
        { .title = "RUNTIME", .width = 8, .rank = 1, .grows = 20, .text = agent_runtime, .is_searched = true },
        { .title = "TYPE", .width = 8, .rank = 5, .text = agent_type, .is_searched = true },
        { .title = "STATE", .width = 8, .text = agent_state, .colour = agent_state_colour, .is_searched = true },
        { .title = "QUEUED", .width = 7, .number = agent_queued, .colour = agent_queued_colour, .sort = "queued" },
        { .title = "OPEN", .width = 5, .rank = 4, .number = agent_open },
        { .title = "HANDLED/S", .width = 10, .number = agent_rate, .show = show_per_second, .sort = "handled" },
        { .title = "HANDLED", .width = 10, .rank = 2, .grows = 4, .number = agent_handled, .sort = "handled" },
        { .title = "FAILED", .width = 7, .number = agent_failed, .colour = agent_failed_colour, .sort = "failed" },
        { .title = "SHED", .width = 6, .rank = 3, .number = agent_shed, .colour = agent_shed_colour },
        { .title = "RESTARTS", .width = 8, .rank = 6, .number = agent_restarts },
};

static const TopColumn dispatcher_columns[] = {
        { .title = "DISPATCHER", .width = 12, .grows = 30, .text = dispatcher_id, .is_searched = true },
        { .title = "STATE", .width = 8, .text = dispatcher_state, .colour = dispatcher_state_colour },
        { .title = "WAITING / LIMIT",
                .width = 18,
                .grows = 12,
                .number = dispatcher_waiting,
                .full = dispatcher_limit,
                .colour = dispatcher_waiting_colour },
        { .title = "IN FLIGHT", .width = 9, .number = dispatcher_in_flight },
        { .title = "TRIGGERS/S", .width = 10, .number = dispatcher_triggers, .show = show_per_second },
        { .title = "ERRORS/S",
                .width = 8,
                .rank = 1,
                .number = dispatcher_bad,
                .show = show_per_second,
                .colour = dispatcher_bad_colour },
        { .title = "QUEUE p99", .width = 9, .rank = 4, .number = dispatcher_queue_p99, .show = top_show_ms },
        { .title = "RUN p50", .width = 8, .rank = 3, .number = dispatcher_run_p50, .show = top_show_ms },
        { .title = "RUN p99", .width = 8, .rank = 2, .number = dispatcher_run_p99, .show = top_show_ms },
        { .title = "RUNTIMES", .width = 8, .rank = 5, .number = dispatcher_runtimes },
        { .title = "UP", .width = 6, .rank = 6, .number = dispatcher_uptime, .show = show_age },
        { .title = "HOST", .width = 10, .rank = 7, .grows = 14, .text = dispatcher_host, .is_searched = true },
        { .title = "VERSION", .width = 7, .rank = 8, .text = dispatcher_version },
};

static const struct {
        const TopColumn *columns;
        size_t n_columns;
} tables[_TOP_TABLE_MAX] = {
        [TOP_TABLE_RUNTIMES] = { runtime_columns, ELEMENTSOF(runtime_columns) },
        [TOP_TABLE_AGENTS] = { agent_columns, ELEMENTSOF(agent_columns) },
        [TOP_TABLE_DISPATCHERS] = { dispatcher_columns, ELEMENTSOF(dispatcher_columns) },
};

const TopColumn *top_columns(TopTable table, size_t *ret_n) {
        *ret_n = tables[table].n_columns;
        return tables[table].columns;
}

void top_row_key(TopTable table, const void *row, char *ret) {
        if (table == TOP_TABLE_AGENTS)
                (void)snprintf(ret, TOP_KEY_SIZE, "%s/%s", AGENT(row)->runtime_id, AGENT(row)->id);
        else
                (void)snprintf(ret, TOP_KEY_SIZE, "%s", tables[table].columns[0].text(NULL, row));
}

void top_cell(const TopModel *model, const TopColumn *column, const void *row, char ret[TOP_CELL_MAX]) {
        char shown[SHOWN_MAX], full[SHOWN_MAX];

        if (column->text)
                (void)snprintf(ret, TOP_CELL_MAX, "%s", column->text(model, row));
        else if (column->full)
                (void)snprintf(ret, TOP_CELL_MAX, "%s/%s", show_whole(shown, column->number(model, row)),
                        show_whole(full, column->full(model, row)));
        else
                (void)snprintf(ret, TOP_CELL_MAX, "%s",
                        (column->show ? column->show : show_whole)(shown, column->number(model, row)));
}

/* rows */

typedef struct SortBy {
        const TopModel *model;
        const TopColumn *column, *id;
        bool is_reversed;
} SortBy;

static int compare_rows(const void *a, const void *b, void *userdata) {
        const SortBy *by = userdata;
        const void *first = *(const void *const *)a, *second = *(const void *const *)b;
        int r;

        if (by->column->text) {
                r = strcmp(by->column->text(by->model, first), by->column->text(by->model, second));
        } else {
                const double x = by->column->number(by->model, first), y = by->column->number(by->model, second);

                r = (x < y) - (x > y); /* the most first */
        }
        if (by->is_reversed)
                r = -r;
        return r != 0 ? r : strcmp(by->id->text(by->model, first), by->id->text(by->model, second));
}

static bool is_wanted(const TopModel *model, const TopQuery *query, const void *row) {
        if (query->table == TOP_TABLE_AGENTS && query->runtime_id &&
                strcmp(AGENT(row)->runtime_id, query->runtime_id) != 0)
                return false;
        if (query->filter[0] == '\0')
                return true;
        for (size_t i = 0; i < tables[query->table].n_columns; i++) {
                const TopColumn *column = &tables[query->table].columns[i];

                if (column->is_searched && strcasestr(column->text(model, row), query->filter))
                        return true;
        }
        return false;
}

static size_t n_rows(const TopModel *model, TopTable table) {
        return table == TOP_TABLE_RUNTIMES ? model->n_runtimes
               : table == TOP_TABLE_AGENTS ? model->n_agents
                                           : model->n_dispatchers;
}

static const void *row_at(const TopModel *model, TopTable table, size_t i) {
        return table == TOP_TABLE_RUNTIMES ? (const void *)model->runtimes[i]
               : table == TOP_TABLE_AGENTS ? (const void *)model->agents[i]
                                           : (const void *)model->dispatchers[i];
}

int top_rows(const TopModel *model, const TopQuery *query, TopRows *rows) {
        const size_t n = n_rows(model, query->table);
        SortBy by = {
                .model = model,
                .column = &tables[query->table].columns[MIN_OF(query->sort, tables[query->table].n_columns - 1)],
                .id = &tables[query->table].columns[0],
                .is_reversed = query->is_reversed,
        };

        if (n > rows->capacity) {
                const void **more = reallocarray(rows->items, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                rows->items = more;
                rows->capacity = n;
        }
        rows->n_items = 0;
        rows->n_all = n;
        for (size_t i = 0; i < n; i++) {
                const void *row = row_at(model, query->table, i);

                if (is_wanted(model, query, row))
                        rows->items[rows->n_items++] = row;
        }
        if (rows->n_items > 1)
                qsort_r(rows->items, rows->n_items, sizeof(rows->items[0]), compare_rows, &by);
        return 0;
}

void top_rows_done(TopRows *rows) {
        free(rows->items);
        *rows = (TopRows){ 0 };
}

/* widths */

void top_widths(TopTable table, unsigned columns, unsigned ret[TOP_COLUMNS_MAX]) {
        const size_t n = tables[table].n_columns;
        unsigned used = 0;

        for (size_t i = 0; i < n; i++) {
                ret[i] = tables[table].columns[i].width;
                used += ret[i] + (i > 0 ? GAP : 0);
        }
        while (used > columns) { /* the one with the highest rank goes */
                size_t last = SIZE_MAX;

                for (size_t i = 0; i < n; i++)
                        if (ret[i] > 0 && tables[table].columns[i].rank > 0 &&
                                (last == SIZE_MAX || tables[table].columns[i].rank > tables[table].columns[last].rank))
                                last = i;
                if (last == SIZE_MAX)
                        break;
                used -= ret[last] + GAP;
                ret[last] = 0;
        }
        for (bool is_more = true; is_more && used < columns;) { /* a column each, in turn */
                is_more = false;
                for (size_t i = 0; i < n && used < columns; i++)
                        if (ret[i] > 0 && ret[i] < tables[table].columns[i].width + tables[table].columns[i].grows) {
                                ret[i]++;
                                used++;
                                is_more = true;
                        }
        }
}
