/* SPDX-License-Identifier: MIT */

/*
 * The dispatcher's part of its status page. Bounded: however many runtimes there are, it shows RUNTIMES_SHOWN of them,
 * those first that someone would look for: silent ones, ones that join or leave, then the busiest.
 */

#include "common/page.h"
#include "dispatcherd/placement.h"
#include "dispatcherd/state.h"

#define RUNTIMES_SHOWN 100
#define LABELS_SHOWN 8

static const PageTone state_tones[_RUNTIME_STATE_MAX] = {
        [RUNTIME_JOINING] = TONE_DIM,
        [RUNTIME_LIVE] = TONE_GOOD,
        [RUNTIME_SUSPECT] = TONE_BAD,
        [RUNTIME_DRAINING] = TONE_WARN,
};

static uint64_t in_flight(const Runtime *runtime) {
        return runtime->own_in_flight + runtime->foreign_in_flight;
}

/* Does `a` stand before `b`? */
static bool is_before(const Runtime *a, const Runtime *b) {
        static const int ranks[_RUNTIME_STATE_MAX] = {
                [RUNTIME_SUSPECT] = 0,
                [RUNTIME_DRAINING] = 1,
                [RUNTIME_JOINING] = 2,
                [RUNTIME_LIVE] = 3,
                [RUNTIME_GONE] = 4,
        };

        if (ranks[a->state] != ranks[b->state])
                return ranks[a->state] < ranks[b->state];
        if (in_flight(a) != in_flight(b))
                return in_flight(a) > in_flight(b);
        return strcmp(a->id.text, b->id.text) < 0;
}

static size_t first_runtimes(const Dispatcher *d, const Runtime **ret) {
        size_t n = 0;

        for (const Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime)) {
                size_t place;

                if (n == RUNTIMES_SHOWN && !is_before(runtime, ret[n - 1]))
                        continue;
                n = MIN_OF(n + 1, (size_t)RUNTIMES_SHOWN);
                for (place = n - 1; place > 0 && is_before(runtime, ret[place - 1]); place--)
                        ret[place] = ret[place - 1];
                ret[place] = runtime;
        }
        return n;
}

static void write_tiles(const Dispatcher *d, const DispatcherRates *rates, Buffer *html, Instant now) {
        const size_t n_waiting = execution_table_n_waiting(d->executions),
                     n_live = registry_n_in_state(d->registry, RUNTIME_LIVE),
                     n_suspect = registry_n_in_state(d->registry, RUNTIME_SUSPECT);
        const DispatcherSlots slots = dispatcher_slots(d);

        page_tiles(html);
        page_tile_rate(html, "Triggers/s", TONE_PLAIN, rates->triggers, &d->recent, RECENT_TRIGGERS, now.usec);
        page_tile_rate(html, "Ended/s", TONE_PLAIN, rates->ended, &d->recent, RECENT_ENDED, now.usec);
        page_tile_rate(html, "Failed/s", rates->failed > 0 ? TONE_BAD : TONE_GOOD, rates->failed, &d->recent,
                RECENT_FAILED, now.usec);
        page_tile(html, "Waiting for a slot", n_waiting > d->options.queue_limit / 2 ? TONE_BAD : TONE_PLAIN, n_waiting,
                "of %s at most", page_show(d->options.queue_limit).text);
        page_tile(html, "With runtimes", TONE_PLAIN, execution_table_n_in_flight(d->executions), "triggers of ours");
        page_tile(html, "Free slots", slots.free == 0 ? TONE_WARN : TONE_PLAIN, slots.free, "of %s",
                page_show(slots.all).text);
        page_tile(html, "Live runtimes", n_live == 0 ? TONE_BAD : TONE_PLAIN, n_live, "%zu silent, %zu draining",
                n_suspect, registry_n_in_state(d->registry, RUNTIME_DRAINING));
        page_tile(html, "Agents", TONE_PLAIN, registry_n_agents(d->registry), "different ids");
        page_tiles_end(html);
}

/* "zone=a gpu=yes" */
static Slice labels_text(const Runtime *runtime, Buffer *scratch) {
        buffer_clear(scratch);
        for (size_t i = 0; i < runtime->labels.n_items && i < LABELS_SHOWN; i++) {
                if (i > 0)
                        buffer_append_char(scratch, ' ');
                buffer_append_slice(scratch, runtime->labels.items[i].name);
                buffer_append_char(scratch, '=');
                buffer_append_slice(scratch, runtime->labels.items[i].value);
        }
        return buffer_slice(scratch);
}

static void write_runtimes(const Dispatcher *d, Buffer *html, Instant now) {
        static const char *const columns[] = { "runtime", "state", ">in flight", ">free", ">queued there", ">done",
                ">agents", ">last heard", "host", "version", "labels", NULL };
        const Runtime *shown[RUNTIMES_SHOWN];
        const size_t n = first_runtimes(d, shown);
        _cleanup_(buffer_done) Buffer scratch = {};

        page_table(html, "Runtimes", columns);
        for (size_t i = 0; i < n; i++) {
                const Runtime *runtime = shown[i];

                page_row(html);
                page_cell(html, id_slice(&runtime->id));
                page_cell_tone(html, state_tones[runtime->state], runtime_state_name(runtime->state));
                page_cell_bar(html, in_flight(runtime), runtime->max_in_flight);
                page_cell_number(html, runtime_free_slots(runtime));
                page_cell_number(html, runtime->load.queued);
                page_cell_number(html, runtime->n_done);
                page_cell_number(html, runtime->n_agents);
                page_cell_duration(html, (double)(now.usec - MIN_OF(runtime->heard_usec, now.usec)));
                page_cell(html, slice_of(runtime->hostname));
                page_cell(html, slice_of(runtime->version));
                page_cell(html, labels_text(runtime, &scratch));
        }
        page_table_end(html, n, registry_n_runtimes(d->registry) - n, "no runtime has registered");
}

static void write_latencies(const DispatcherRates *rates, Buffer *html) {
        page_latencies(html);
        page_latency(html, "From arrival to a runtime", &rates->dispatch_duration);
        page_latency(html, "From there until it is done", &rates->execution_duration);
        page_table_end(html, 2, 0, "");
}

static void write_outcomes(const Dispatcher *d, Buffer *html) {
        static const char *const columns[] = { "how triggers ended", ">since the start", NULL };
        size_t n = 0;

        page_table(html, "Outcomes", columns);
        for (ResultStatus status = STATUS_SUCCESS; status < _RESULT_STATUS_MAX; status++, n++) {
                page_row(html);
                page_cell(html, slice_of(result_status_names[status]));
                page_cell_count(html, status == STATUS_SUCCESS ? TONE_GOOD : TONE_WARN, d->n.by_status[status]);
        }
        for (ErrorCode code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++) {
                if (d->n.by_code[code] == 0)
                        continue;
                page_row(html);
                page_cell_tone(html, TONE_DIM, error_code_name(code));
                page_cell_count(html, TONE_DIM, d->n.by_code[code]);
        }
        page_row(html);
        page_cell(html, SLICE("attempts after the first"));
        page_cell_count(html, TONE_WARN, d->n.placed_again);
        page_table_end(html, n, 0, "");
}

void dispatcher_page(const Dispatcher *d, PageHead head, Buffer *html, Instant now) {
        const DispatcherRates rates = dispatcher_rates(d, now);

        head.kind = "dispatcher";
        head.id = d->id;
        head.hostname = slice_of(d->options.hostname);
        head.version = d->options.version;
        head.pid = d->options.pid;
        head.uptime_usec = now.usec - d->started_usec;
        page_begin(html, &head);
        write_tiles(d, &rates, html, now);
        write_runtimes(d, html, now);
        page_pair(html);
        write_latencies(&rates, html);
        page_pair_next(html);
        write_outcomes(d, html);
        page_pair_end(html);
}
