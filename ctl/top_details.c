/* SPDX-License-Identifier: MIT */

#include <stdarg.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/fields.h"
#include "ctl/top_columns.h"
#include "ctl/top_details.h"

#define SILENCE_USEC (3 * USEC_PER_SEC) /* a dispatcher that has not answered for longer is said to be silent */

static TopLine *add_raw(TopLines *lines, const char *name, Colour colour) {
        TopLine *line;

        if (lines->n_items == TOP_LINES_MAX)
                return NULL;
        line = &lines->items[lines->n_items++];
        *line = (TopLine){ .colour = colour, .bar = -1 };
        (void)screen_text(line->name, sizeof(line->name), name);
        return line;
}

static void add(TopLines *lines, const char *name, Colour colour, const char *format, ...) _printf_(4, 5);

static void add(TopLines *lines, const char *name, Colour colour, const char *format, ...) {
        TopLine *line = add_raw(lines, name, colour);
        char raw[320];
        va_list arguments;

        if (!line)
                return;
        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments);
        va_end(arguments);
        (void)screen_text(line->value, sizeof(line->value), raw);
}

static void add_headline(TopLines *lines, const char *name) {
        if (lines->n_items > 0)
                (void)add_raw(lines, "", COLOUR_NONE);
        (void)add_raw(lines, name, COLOUR_STRONG);
}

/* "p50 0.1  p95 0.5  p99 2.1 ms" of a member of `recent` */
static void add_quantiles(TopLines *lines, const char *name, const json_t *recent, const char *key) {
        const json_t *quantiles = json_object_get(recent, key);
        char p50[SHOWN_MAX], p95[SHOWN_MAX], p99[SHOWN_MAX];

        add(lines, name, COLOUR_NONE, "p50 %s   p95 %s   p99 %s ms",
                top_show_ms(p50, json_number_value(json_object_get(quantiles, "p50"))),
                top_show_ms(p95, json_number_value(json_object_get(quantiles, "p95"))),
                top_show_ms(p99, json_number_value(json_object_get(quantiles, "p99"))));
}

static double field_real(const json_t *object, const char *key) {
        return json_number_value(json_object_get(object, key));
}

/* "SUCCESS 12   FAILURE 3": members of an object of numbers, without those that are 0; `bad`: any is news */
static void add_numbers(TopLines *lines, const char *name, const json_t *object, Colour bad) {
        char text[320] = "", shown[SHOWN_MAX];
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)(uintptr_t)object, key, value) {
                const size_t n = strlen(text);

                if (json_is_integer(value) && json_integer_value(value) > 0)
                        (void)snprintf(text + n, sizeof(text) - n, "%s%s %s", n > 0 ? "   " : "", key,
                                show_number(shown, (uint64_t)json_integer_value(value)));
        }
        add(lines, name, text[0] != '\0' ? bad : COLOUR_NONE, "%s", text[0] != '\0' ? text : "none");
}

/* runtimes */

void top_details_runtime(const TopModel *model, const char *runtime_id, TopLines *ret) {
        const TopRuntime *runtime = top_model_find_runtime(model, runtime_id);
        const json_t *status = model->runtime_status, *recent = json_object_get(status, "recent");
        const uint64_t slots = field_number(status, "slots"), in_flight = field_number(status, "in_flight");
        char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX], d[SHOWN_MAX];

        ret->n_items = 0;
        if (runtime)
                add(ret, "State", screen_state_colour(runtime->state), "%s%s%s", runtime->state,
                        runtime->labels[0] != '-' ? ", " : "", runtime->labels[0] != '-' ? runtime->labels : "");
        else
                add(ret, "State", COLOUR_BAD, "no dispatcher knows it (any more)");
        if (!status) {
                add(ret, "Itself", COLOUR_WARNING, "%s",
                        model->trouble[0] != '\0' ? model->trouble : "asked; no answer yet");
                return;
        }
        add(ret, "Process", COLOUR_NONE, "%s, pid %" PRIu64 ", version %s, up %s, http %s",
                field_text(status, "hostname"), field_number(status, "pid"), field_text(status, "version"),
                show_duration(a, field_scaled(status, "uptime_s", USEC_PER_SEC)), field_text(status, "http"));
        add(ret, "In flight", COLOUR_NONE, "%s of %s slots, %s not begun", show_number(a, in_flight),
                show_number(b, slots), show_number(c, field_number(status, "queued")));
        if (ret->n_items > 0 && slots > 0)
                ret->items[ret->n_items - 1].bar = (double)in_flight / (double)slots;
        add(ret, "Executions", field_real(recent, "failed_per_s") > 0 ? COLOUR_BAD : COLOUR_NONE, "%s/s, %s/s failed",
                top_show_rate(a, field_real(recent, "executions_per_s")),
                top_show_rate(b, field_real(recent, "failed_per_s")));
        add_quantiles(ret, "  until begun", recent, "queue_duration_ms");
        add_quantiles(ret, "  until answered", recent, "execution_duration_ms");
        add(ret, "Messages", field_number(status, "mailboxes_full") > 0 ? COLOUR_WARNING : COLOUR_NONE,
                "%s/s, %s in mailboxes (%s in the fullest), %s mailboxes full",
                top_show_rate(a, field_real(recent, "messages_per_s")),
                show_number(b, field_number(status, "mailbox_depth")),
                show_number(c, field_number(status, "mailbox_depth_max")),
                show_number(d, field_number(status, "mailboxes_full")));
        add_numbers(ret, "Refused", json_object_get(status, "triggers_refused"), COLOUR_WARNING);
        add_numbers(ret, "Agents", json_object_get(status, "agents_by_state"),
                field_number(json_object_get(status, "agents_by_state"), "failed") > 0 ? COLOUR_BAD : COLOUR_NONE);
}

/* agents */

static void add_value(TopLines *lines, const char *name, const json_t *value) {
        char *text = json_is_string(value) ? strdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);

        add(lines, name, COLOUR_NONE, "%s", text ? text : "-");
        free(text);
}

static void add_mailbox(TopLines *lines, const json_t *mailbox) {
        const uint64_t queued = field_number(mailbox, "queued"), capacity = field_number(mailbox, "capacity");
        char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX], d[SHOWN_MAX];

        add(lines, "Mailbox", queued > 0 ? COLOUR_WARNING : COLOUR_NONE,
                "%s of %s, %s of %s; at the limit: %s, %" PRIu64 " shed", show_number(a, queued),
                show_number(b, capacity), show_bytes(c, field_number(mailbox, "bytes")),
                show_bytes(d, field_number(mailbox, "bytes_max")), field_text(mailbox, "overflow"),
                field_number(mailbox, "shed"));
        if (lines->n_items > 0 && capacity > 0)
                lines->items[lines->n_items - 1].bar = (double)queued / (double)capacity;
}

void top_details_agent(const TopModel *model, const char *runtime_id, const char *agent_id, TopLines *ret) {
        static const char *const shown_above[] = { "agent_id", "state", "mailbox", "handled", "failed" };
        const TopAgent *agent = top_model_find_agent(model, runtime_id, agent_id);
        const json_t *about = model->agent;
        char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX], d[SHOWN_MAX];
        const char *key;
        json_t *value;
        size_t i;

        ret->n_items = 0;
        if (!about) {
                add(ret, "State", COLOUR_WARNING, "%s",
                        model->trouble[0] != '\0' ? model->trouble : "asked; no answer yet");
                return;
        }
        add(ret, "State", screen_state_colour(field_text(about, "state")), "%s", field_text(about, "state"));
        add_mailbox(ret, json_object_get(about, "mailbox"));
        add(ret, "Handled", COLOUR_NONE, "%s, %s/s", show_number(a, field_number(about, "handled")),
                top_show_rate(b, agent ? agent->handled_rate.per_second : 0));
        add(ret, "Failed", agent && agent->failed_rate.per_second > 0 ? COLOUR_BAD : COLOUR_NONE, "%s, %s/s",
                show_number(c, field_number(about, "failed")),
                top_show_rate(d, agent ? agent->failed_rate.per_second : 0));
        json_object_foreach((json_t *)(uintptr_t)about, key, value) {
                bool is_shown = false;

                for (i = 0; i < ELEMENTSOF(shown_above); i++)
                        is_shown |= strcmp(shown_above[i], key) == 0;
                if (!is_shown)
                        add_value(ret, key, value);
        }
        if (json_array_size(json_object_get(model->subscriptions, "subscriptions")) > 0)
                add_headline(ret, "Subscriptions");
        json_array_foreach(json_object_get(model->subscriptions, "subscriptions"), i, value) {
                const char *queue = json_string_value(json_object_get(value, "queue"));

                add(ret, field_text(value, "qos"), field_is_true(value, "refused") ? COLOUR_BAD : COLOUR_NONE,
                        "%s%s%s%s%s", field_text(value, "topic"), queue ? ", queue " : "", queue ? queue : "",
                        field_is_true(value, "managed") ? ", its own" : "",
                        field_is_true(value, "refused") ? ", refused by the NATS server" : "");
        }
}

/* dispatchers */

/* Without the buckets at either end in which nothing is. */
static void add_histogram(TopLines *lines, const char *title, const TopHistogram *histogram) {
        uint64_t most = 0;
        size_t first = SIZE_MAX, last = 0;
        char name[32], p50[SHOWN_MAX], p99[SHOWN_MAX], shown[SHOWN_MAX];

        add_headline(lines, title);
        if (histogram->count == 0) {
                add(lines, "", COLOUR_FAINT, "nothing in the last %d intervals", TOP_WINDOW - 1);
                return;
        }
        for (size_t i = 0; i <= histogram->n_bounds; i++) {
                most = MAX_OF(most, histogram->buckets[i]);
                if (histogram->buckets[i] > 0) {
                        first = MIN_OF(first, i);
                        last = i;
                }
        }
        for (size_t i = first; i <= last; i++) {
                if (i < histogram->n_bounds)
                        (void)snprintf(name, sizeof(name), "%9g ms", histogram->bounds_ms[i]);
                else
                        (void)snprintf(name, sizeof(name), "   longer");
                add(lines, name, COLOUR_NONE, "%s", show_number(shown, histogram->buckets[i]));
                if (lines->n_items > 0)
                        lines->items[lines->n_items - 1].bar = (double)histogram->buckets[i] / (double)most;
        }
        add(lines, "", COLOUR_NONE, "p50 %s   p99 %s ms, of %s",
                top_show_ms(p50, top_histogram_quantile(histogram, 0.5)),
                top_show_ms(p99, top_histogram_quantile(histogram, 0.99)), show_number(shown, histogram->count));
}

static void add_runtimes(TopLines *lines, const TopDispatcher *d) {
        add(lines, "Runtimes", d->suspect > 0 ? COLOUR_WARNING : COLOUR_NONE,
                "%" PRIu64 " live   %" PRIu64 " joining   %" PRIu64 " suspect   %" PRIu64 " draining%s", d->live,
                d->joining, d->suspect, d->draining, d->is_mass_silent ? "; many are silent together" : "");
}

void top_details_dispatcher(const TopModel *model, const char *id, TopLines *ret) {
        const TopDispatcher *d = top_model_find_dispatcher(model, id);
        const uint64_t used = d && d->slots > d->free_slots ? d->slots - d->free_slots : 0;
        char a[SHOWN_MAX], b[SHOWN_MAX], c[SHOWN_MAX];
        TopHistogram histogram;

        ret->n_items = 0;
        if (!d || !d->status) {
                add(ret, "State", COLOUR_BAD, "no answer (any more)");
                return;
        }
        add(ret, "State", d->is_settled && !d->is_draining ? COLOUR_GOOD : COLOUR_WARNING, "%s",
                d->is_draining  ? "draining"
                : d->is_settled ? "settled"
                                : "settling: it calls the roll");
        if (model->now_usec > d->heard_usec + SILENCE_USEC)
                add(ret, "Silent", COLOUR_BAD, "for %s", show_duration(a, model->now_usec - d->heard_usec));
        add(ret, "Process", COLOUR_NONE, "%s, pid %" PRIu64 ", version %s, up %s, http %s", d->host,
                field_number(d->status, "pid"), d->version, show_duration(b, d->uptime_s * USEC_PER_SEC),
                field_text(d->status, "http"));
        add_runtimes(ret, d);
        add(ret, "Slots", COLOUR_NONE, "%s of %s taken", show_number(a, used), show_number(b, d->slots));
        if (d->slots > 0)
                ret->items[ret->n_items - 1].bar = (double)used / (double)d->slots;
        add(ret, "Waiting", d->waiting > 0 ? COLOUR_WARNING : COLOUR_NONE, "%s of %s, %s with what is in flight",
                show_number(a, d->waiting), show_number(b, d->queue_limit),
                show_bytes(c, field_number(d->status, "trigger_bytes")));
        if (d->queue_limit > 0)
                ret->items[ret->n_items - 1].bar = (double)d->waiting / (double)d->queue_limit;
        add(ret, "Triggers", COLOUR_NONE, "%s/s, %s in flight", top_show_rate(a, d->triggers.per_second),
                show_number(b, d->in_flight));
        add_numbers(ret, "Ended", json_object_get(d->status, "triggers_ended"), COLOUR_NONE);
        add_numbers(ret, "Errors", json_object_get(d->status, "trigger_errors"), COLOUR_BAD);
        add_numbers(ret, "Attempts failed", json_object_get(d->status, "attempts_failed"), COLOUR_WARNING);
        add_numbers(ret, "Counters", json_object_get(d->status, "counters"), COLOUR_NONE);
        top_model_histogram(model, d, true, &histogram);
        add_histogram(ret, "Runs: from the attempt to the report of its end", &histogram);
        top_model_histogram(model, d, false, &histogram);
        add_histogram(ret, "Queueing: from arrival to the first attempt", &histogram);
}
