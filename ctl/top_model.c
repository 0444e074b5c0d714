/* SPDX-License-Identifier: MIT */

/*
 * Sorted arrays of pointers: lists come in the order of their ids, so that new ones nearly always are appended.
 */

#include <string.h>

#include "common/instant.h"
#include "ctl/fields.h"
#include "ctl/top_model.h"

#define SILENT_USEC (10 * USEC_PER_SEC)    /* a dispatcher that is not heard of for so long is forgotten */
#define AGENT_USEC (10 * USEC_PER_SEC)     /* likewise an agent: nobody looks at it any more */
#define BOUND_MS_MAX 1e12                  /* so that sums of them are numbers */
#define RATE_SPAN_MIN (50 * USEC_PER_MSEC) /* two answers closer than this make no rate */

void top_rate_take(TopRate *rate, uint64_t total, uint64_t now_usec) {
        const bool has_begun_again = total < rate->total;

        if (rate->usec != 0 && now_usec - rate->usec < RATE_SPAN_MIN)
                return;
        if (rate->usec != 0) {
                rate->per_second = (double)(total - (has_begun_again ? 0 : rate->total)) * (double)USEC_PER_SEC /
                                   (double)(now_usec - rate->usec);
                rate->is_known = true;
        }
        rate->total = total;
        rate->usec = now_usec;
}

/* histograms */

static void read_histogram(const json_t *status, const char *key, TopHistogram *ret) {
        const json_t *bounds = json_object_get(status, "bucket_bounds_ms"), *histogram = json_object_get(status, key);
        const json_t *buckets = json_object_get(histogram, "buckets");
        uint64_t sum = 0;

        *ret = (TopHistogram){ .n_bounds = MIN_OF(json_array_size(bounds), (size_t)TOP_BOUNDS_MAX) };
        for (size_t i = 0; i < ret->n_bounds; i++) {
                ret->bounds_ms[i] = MIN_OF(MAX_OF(json_number_value(json_array_get(bounds, i)), 0.0), BOUND_MS_MAX);
                ret->buckets[i] = (uint64_t)MAX_OF(json_integer_value(json_array_get(buckets, i)), 0);
                sum += ret->buckets[i];
        }
        ret->count = field_number(histogram, "count");
        ret->buckets[ret->n_bounds] = ret->count > sum ? ret->count - sum : 0;
}

/* Adds what `newest` has more than `oldest`; other bounds than those of `sum` can't be added, and are left out. */
static void add_difference(TopHistogram *sum, const TopHistogram *newest, const TopHistogram *oldest) {
        if (sum->n_bounds == 0) {
                sum->n_bounds = newest->n_bounds;
                memcpy(sum->bounds_ms, newest->bounds_ms, sizeof(sum->bounds_ms));
        }
        if (sum->n_bounds != newest->n_bounds ||
                memcmp(sum->bounds_ms, newest->bounds_ms, sum->n_bounds * sizeof(sum->bounds_ms[0])) != 0)
                return;
        for (size_t i = 0; i <= sum->n_bounds; i++) {
                const uint64_t before = oldest && oldest->n_bounds == newest->n_bounds ? oldest->buckets[i] : 0;
                const uint64_t more = newest->buckets[i] > before ? newest->buckets[i] - before : 0;

                sum->buckets[i] += more;
                sum->count += more;
        }
}

double top_histogram_quantile(const TopHistogram *histogram, double q) {
        const double wanted = q * (double)histogram->count;
        double below = 0;

        if (histogram->count == 0 || histogram->n_bounds == 0)
                return 0;
        for (size_t i = 0; i < histogram->n_bounds; i++) {
                const double n = (double)histogram->buckets[i], low = i > 0 ? histogram->bounds_ms[i - 1] : 0;

                if (n > 0 && below + n >= wanted)
                        return low + (histogram->bounds_ms[i] - low) * (wanted - below) / n;
                below += n;
        }
        return histogram->bounds_ms[histogram->n_bounds - 1]; /* at least that long */
}

/* The first answer counts all from the start: the window of a rate begins with the second one. */
static void add_window(TopHistogram *sum, const TopDispatcher *d, const TopHistogram *ring) {
        if (d->n_samples > 0)
                add_difference(sum, &ring[(d->n_samples - 1) % TOP_WINDOW],
                        d->n_samples > 1 ? &ring[d->n_samples > TOP_WINDOW ? d->n_samples % TOP_WINDOW : 0] : NULL);
}

void top_model_histogram(const TopModel *model, const TopDispatcher *dispatcher, bool execution, TopHistogram *ret) {
        *ret = (TopHistogram){ 0 };
        for (size_t i = 0; i < model->n_dispatchers; i++) {
                const TopDispatcher *d = model->dispatchers[i];

                if (!dispatcher || dispatcher == d)
                        add_window(ret, d, execution ? d->execution : d->dispatch);
        }
}

/* objects in sorted arrays */

static int compare_pair(const char *a1, const char *a2, const char *b1, const char *b2) {
        const int r = strcmp(a1, b1);

        return r != 0 ? r : strcmp(a2, b2);
}

static size_t place_of_runtime(const TopModel *model, const char *id) {
        size_t low = 0, high = model->n_runtimes;

        if (high > 0 && strcmp(model->runtimes[high - 1]->id, id) < 0)
                return high;
        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (strcmp(model->runtimes[middle]->id, id) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static size_t place_of_agent(const TopModel *model, const char *runtime_id, const char *id) {
        size_t low = 0, high = model->n_agents;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;
                const TopAgent *agent = model->agents[middle];

                assert(agent);
                if (compare_pair(agent->runtime_id, agent->id, runtime_id, id) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

const TopRuntime *top_model_find_runtime(const TopModel *model, const char *id) {
        const size_t place = place_of_runtime(model, id);

        return place < model->n_runtimes && strcmp(model->runtimes[place]->id, id) == 0 ? model->runtimes[place] : NULL;
}

const TopAgent *top_model_find_agent(const TopModel *model, const char *runtime_id, const char *id) {
        const size_t place = place_of_agent(model, runtime_id, id);
        const TopAgent *agent = place < model->n_agents ? model->agents[place] : NULL;

        return agent && compare_pair(agent->runtime_id, agent->id, runtime_id, id) == 0 ? agent : NULL;
}

static size_t place_of_dispatcher(const TopModel *model, const char *id) {
        size_t place = 0;

        while (place < model->n_dispatchers && strcmp(model->dispatchers[place]->id, id) < 0)
                place++;
        return place;
}

const TopDispatcher *top_model_find_dispatcher(const TopModel *model, const char *id) {
        const size_t place = place_of_dispatcher(model, id);

        return place < model->n_dispatchers && strcmp(model->dispatchers[place]->id, id) == 0
                       ? model->dispatchers[place]
                       : NULL;
}

/* `items` with room for one pointer more than `n`; NULL: no memory, and `items` is as it was. */
static void *grown(void *items, size_t n, size_t *capacity) {
        const size_t wanted = *capacity > 0 ? *capacity * 2 : 64;
        void *more;

        if (n < *capacity)
                return items;
        more = reallocarray(items, wanted, sizeof(void *));
        if (more)
                *capacity = wanted;
        return more;
}

#define DEFINE_INSERT(name, Type, items, n_items, items_capacity)                                    \
        static Type *name(TopModel *model, size_t place) {                                           \
                Type **more = grown(model->items, model->n_items, &model->items_capacity);           \
                Type *item;                                                                          \
                                                                                                     \
                if (!more)                                                                           \
                        return NULL;                                                                 \
                model->items = more;                                                                 \
                item = calloc(1, sizeof(*item));                                                     \
                if (!item)                                                                           \
                        return NULL;                                                                 \
                memmove(&more[place + 1], &more[place], (model->n_items - place) * sizeof(more[0])); \
                more[place] = item;                                                                  \
                model->n_items++;                                                                    \
                return item;                                                                         \
        }

DEFINE_INSERT(insert_runtime, TopRuntime, runtimes, n_runtimes, runtimes_capacity)
DEFINE_INSERT(insert_agent, TopAgent, agents, n_agents, agents_capacity)

static void copy(char *place, size_t size, const char *text) {
        (void)screen_text(place, size, text);
}

/* dispatchers */

/* Which columns of TopRuntime.done belong to whom changes with the order of dispatchers: they begin again. */
static void forget_done(TopModel *model) {
        for (size_t i = 0; i < model->n_runtimes; i++)
                memset(model->runtimes[i]->done, 0, sizeof(model->runtimes[i]->done));
}

static TopDispatcher *find_or_add_dispatcher(TopModel *model, const char *id) {
        const size_t place = place_of_dispatcher(model, id);
        TopDispatcher *d;

        if (place < model->n_dispatchers && strcmp(model->dispatchers[place]->id, id) == 0)
                return model->dispatchers[place];
        if (model->n_dispatchers == TOP_DISPATCHERS_MAX) {
                model->has_more_dispatchers = true;
                return NULL;
        }
        d = calloc(1, sizeof(*d));
        if (!d)
                return NULL;
        (void)snprintf(d->id, sizeof(d->id), "%s", id);
        d->heard_usec = model->now_usec;
        memmove(&model->dispatchers[place + 1], &model->dispatchers[place],
                (model->n_dispatchers - place) * sizeof(model->dispatchers[0]));
        model->dispatchers[place] = d;
        model->n_dispatchers++;
        forget_done(model);
        return d;
}

static void free_dispatcher(TopDispatcher *d) {
        json_decref(d->status);
        free(d);
}

/* Only ids that can be asked. */
void top_model_found(TopModel *model, const char *dispatcher_id) {
        if (dispatcher_id && id_is_valid(slice_of(dispatcher_id)))
                (void)find_or_add_dispatcher(model, dispatcher_id);
}

void top_model_dispatcher(TopModel *model, const json_t *status, uint64_t waited_usec) {
        const json_t *runtimes = json_object_get(status, "runtimes"),
                     *ended = json_object_get(status, "triggers_ended");
        const char *id = json_string_value(json_object_get(status, "dispatcher_id"));
        TopDispatcher *d = id && id_is_valid(slice_of(id)) ? find_or_add_dispatcher(model, id) : NULL;

        if (!d)
                return;
        copy(d->host, sizeof(d->host), field_text(status, "hostname"));
        copy(d->version, sizeof(d->version), field_text(status, "version"));
        d->heard_usec = model->now_usec;
        d->answered_in_usec = waited_usec;
        d->is_settled = field_is_true(status, "settled");
        d->is_draining = field_is_true(status, "draining");
        d->is_mass_silent = field_is_true(status, "mass_silence");
        d->waiting = field_number(status, "waiting");
        d->queue_limit = field_number(status, "queue_limit");
        d->in_flight = field_number(status, "in_flight");
        d->agents = field_number(status, "agents");
        d->agents_failed = field_number(status, "agents_failed");
        d->slots = field_number(status, "slots");
        d->free_slots = field_number(status, "free_slots");
        d->uptime_s = field_scaled(status, "uptime_s", 1);
        d->joining = field_number(runtimes, "joining");
        d->live = field_number(runtimes, "live");
        d->suspect = field_number(runtimes, "suspect");
        d->draining = field_number(runtimes, "draining");
        top_rate_take(&d->triggers, field_number(json_object_get(status, "counters"), "triggers"), model->now_usec);
        top_rate_take(&d->ok, field_number(ended, "SUCCESS"), model->now_usec);
        top_rate_take(&d->agent_errors, field_number(ended, "AGENT_ERROR"), model->now_usec);
        top_rate_take(&d->failures, field_number(ended, "FAILURE"), model->now_usec);
        read_histogram(status, "dispatch_duration", &d->dispatch[d->n_samples % TOP_WINDOW]);
        read_histogram(status, "execution_duration", &d->execution[d->n_samples % TOP_WINDOW]);
        d->n_samples++;
        json_decref(d->status);
        d->status = json_deep_copy(status);
}

/* runtimes */

static void take_runtime(TopModel *model, size_t dispatcher, const json_t *record) {
        const uint64_t ago = field_scaled(record, "last_heartbeat_ms_ago", USEC_PER_MSEC);
        char id[TOP_ID_MAX], labels[512];
        TopRuntime *runtime;
        size_t place;

        copy(id, sizeof(id), field_text(record, "runtime_id"));
        place = place_of_runtime(model, id);
        if (place < model->n_runtimes && strcmp(model->runtimes[place]->id, id) == 0)
                runtime = model->runtimes[place];
        else if (model->n_runtimes < TOP_RUNTIMES_MAX)
                runtime = insert_runtime(model, place);
        else
                runtime = NULL;
        if (!runtime)
                return;
        top_rate_take(&runtime->done[dispatcher], field_number(record, "done"), model->now_usec);
        runtime->rate = 0;
        for (size_t i = 0; i < model->n_dispatchers; i++)
                runtime->rate += runtime->done[i].per_second;
        if (runtime->sweep == model->sweep + 1) /* another dispatcher's view of it was first */
                return;
        runtime->sweep = model->sweep + 1;
        (void)snprintf(runtime->id, sizeof(runtime->id), "%s", id);
        copy(runtime->host, sizeof(runtime->host), field_text(record, "hostname"));
        copy(runtime->version, sizeof(runtime->version), field_text(record, "version"));
        copy(runtime->state, sizeof(runtime->state), field_text(record, "state"));
        copy(runtime->labels, sizeof(runtime->labels), field_labels(labels, sizeof(labels), record, "labels"));
        runtime->agents = field_number(record, "agents");
        runtime->in_flight = field_number(record, "in_flight");
        runtime->slots = field_number(json_object_get(record, "capacity"), "max_in_flight");
        runtime->free_slots = field_number(record, "free_slots");
        runtime->queued = field_number(record, "queued");
        runtime->heartbeat_usec = model->now_usec > ago ? model->now_usec - ago : 0;
}

void top_model_runtimes(TopModel *model, size_t dispatcher, const json_t *page) {
        json_t *record;
        size_t i;

        if (dispatcher < TOP_DISPATCHERS_MAX)
                json_array_foreach(json_object_get(page, "runtimes"), i, record)
                        take_runtime(model, dispatcher, record);
}

void top_model_swept(TopModel *model) {
        size_t n_kept = 0;

        model->sweep++;
        for (size_t i = 0; i < model->n_runtimes; i++) {
                if (model->runtimes[i]->sweep == model->sweep)
                        model->runtimes[n_kept++] = model->runtimes[i];
                else
                        free(model->runtimes[i]);
        }
        model->n_runtimes = n_kept;
}

/* agents */

static void take_agent(TopModel *model, const char *runtime_id, const json_t *record) {
        char id[TOP_ID_MAX];
        TopAgent *agent;
        size_t place;

        copy(id, sizeof(id), field_text(record, "agent_id"));
        place = place_of_agent(model, runtime_id, id);
        agent = place < model->n_agents ? model->agents[place] : NULL;
        if (agent && compare_pair(agent->runtime_id, agent->id, runtime_id, id) != 0)
                agent = NULL;
        if (!agent && model->n_agents < TOP_AGENTS_MAX)
                agent = insert_agent(model, place);
        if (!agent)
                return;
        (void)snprintf(agent->runtime_id, sizeof(agent->runtime_id), "%s", runtime_id);
        (void)snprintf(agent->id, sizeof(agent->id), "%s", id);
        copy(agent->type, sizeof(agent->type), field_text(record, "agent_type"));
        copy(agent->state, sizeof(agent->state), field_text(record, "state"));
        agent->queued = field_number(record, "queued");
        agent->open = field_number(record, "open");
        agent->handled = field_number(record, "handled");
        agent->failed = field_number(record, "failed");
        agent->shed = field_number(record, "shed");
        agent->restarts = field_number(record, "restarts");
        agent->heard_usec = model->now_usec;
        top_rate_take(&agent->handled_rate, agent->handled, model->now_usec);
        top_rate_take(&agent->failed_rate, agent->failed, model->now_usec);
}

/* A page that says "total" as many as it has is the whole truth: agents of that runtime that it lacks are gone. */
void top_model_agents(TopModel *model, const char *runtime_id, const json_t *page) {
        const json_t *list = json_object_get(page, "agents");
        const uint64_t total = field_number(page, "total");
        json_t *record;
        size_t i, n_kept = 0;

        model->agents_total = total;
        json_array_foreach(list, i, record) take_agent(model, runtime_id, record);
        if (total > json_array_size(list))
                return;
        for (i = 0; i < model->n_agents; i++) {
                TopAgent *agent = model->agents[i];

                assert(agent);
                if (strcmp(agent->runtime_id, runtime_id) == 0 && agent->heard_usec != model->now_usec)
                        free(agent);
                else
                        model->agents[n_kept++] = agent;
        }
        model->n_agents = n_kept;
}

/* the whole */

void top_model_init(TopModel *model) {
        *model = (TopModel){ 0 };
}

void top_model_forget_focus(TopModel *model) {
        json_decref(model->runtime_status);
        json_decref(model->agent);
        json_decref(model->subscriptions);
        model->runtime_status = model->agent = model->subscriptions = NULL;
        model->agents_total = 0;
}

void top_model_done(TopModel *model) {
        for (size_t i = 0; i < model->n_dispatchers; i++)
                free_dispatcher(model->dispatchers[i]);
        for (size_t i = 0; i < model->n_runtimes; i++)
                free(model->runtimes[i]);
        for (size_t i = 0; i < model->n_agents; i++)
                free(model->agents[i]);
        free(model->runtimes);
        free(model->agents);
        top_model_forget_focus(model);
}

static void forget_dispatchers(TopModel *model) {
        size_t n_kept = 0;

        for (size_t i = 0; i < model->n_dispatchers; i++) {
                TopDispatcher *d = model->dispatchers[i];

                if (model->now_usec - d->heard_usec < SILENT_USEC)
                        model->dispatchers[n_kept++] = d;
                else
                        free_dispatcher(d);
        }
        if (n_kept != model->n_dispatchers)
                forget_done(model);
        model->n_dispatchers = n_kept;
}

static void forget_agents(TopModel *model) {
        size_t n_kept = 0;

        for (size_t i = 0; i < model->n_agents; i++) {
                if (model->now_usec - model->agents[i]->heard_usec < AGENT_USEC)
                        model->agents[n_kept++] = model->agents[i];
                else
                        free(model->agents[i]);
        }
        model->n_agents = n_kept;
}

void top_model_tick(TopModel *model, bool is_connected, uint64_t now_usec) {
        TopTotals totals;

        model->now_usec = now_usec;
        if (!is_connected) { /* nobody's silence means anything; they have a full window once it is over */
                for (size_t i = 0; i < model->n_dispatchers; i++)
                        model->dispatchers[i]->heard_usec = now_usec;
                for (size_t i = 0; i < model->n_agents; i++)
                        model->agents[i]->heard_usec = now_usec;
                return;
        }
        forget_dispatchers(model);
        forget_agents(model);
        top_model_totals(model, &totals);
        if (totals.n_dispatchers > 0)
                model->history[model->n_history++ % TOP_HISTORY_MAX] = totals.triggers;
}

/* The fleet is one, whoever looks: of what several dispatchers see, the largest number; what is theirs alone is added.
 */
void top_model_totals(const TopModel *model, TopTotals *ret) {
        TopHistogram dispatch, execution;

        *ret = (TopTotals){ 0 };
        for (size_t i = 0; i < model->n_dispatchers; i++) {
                const TopDispatcher *d = model->dispatchers[i];

                if (d->n_samples == 0)
                        continue;
                ret->n_dispatchers++;
                ret->joining = MAX_OF(ret->joining, d->joining);
                ret->live = MAX_OF(ret->live, d->live);
                ret->suspect = MAX_OF(ret->suspect, d->suspect);
                ret->draining = MAX_OF(ret->draining, d->draining);
                ret->agents = MAX_OF(ret->agents, d->agents);
                ret->agents_failed = MAX_OF(ret->agents_failed, d->agents_failed);
                ret->slots = MAX_OF(ret->slots, d->slots);
                ret->free_slots = MAX_OF(ret->free_slots, d->free_slots);
                ret->in_flight += d->in_flight;
                ret->waiting += d->waiting;
                ret->queue_limit += d->queue_limit;
                ret->triggers += d->triggers.per_second;
                ret->ok += d->ok.per_second;
                ret->agent_errors += d->agent_errors.per_second;
                ret->failures += d->failures.per_second;
                ret->answered_in_usec = MAX_OF(ret->answered_in_usec, d->answered_in_usec);
                ret->is_mass_silent |= d->is_mass_silent;
        }
        top_model_histogram(model, NULL, false, &dispatch);
        top_model_histogram(model, NULL, true, &execution);
        ret->dispatch_p50 = top_histogram_quantile(&dispatch, 0.5);
        ret->dispatch_p99 = top_histogram_quantile(&dispatch, 0.99);
        ret->execution_p50 = top_histogram_quantile(&execution, 0.5);
        ret->execution_p99 = top_histogram_quantile(&execution, 0.99);
}
