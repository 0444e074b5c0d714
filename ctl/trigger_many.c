/* SPDX-License-Identifier: MIT */

#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "common/outbox.h"
#include "ctl/exchange.h"
#include "ctl/load.h"
#include "ctl/progress.h"
#include "ctl/summary.h"
#include "ctl/trigger_many.h"
#include "proto/id.h"

typedef struct Many {
        const Ctl *ctl;
        const TriggerMany *wanted;
        Progress progress;
} Many;

static void free_reportp(LoadReport **report) {
        free(*report);
}

static void write_body(uint64_t number, Buffer *body, void *userdata) {
        const Many *many = userdata;
        char id[ID_MAX + 1];
        const int n = snprintf(id, sizeof(id), "%.40s-%llu", many->wanted->exec_id, (unsigned long long)number);

        trigger_body_write(many->wanted->body, (Slice){ id, (size_t)n }, number, body);
}

static void on_tick(const LoadReport *report, uint64_t now, void *userdata) {
        Many *many = userdata;
        char rest[320];

        if (!progress_is_due(&many->progress, now))
                return;
        if (!report->is_up)
                (void)snprintf(rest, sizeof(rest), "no connection: %s", report->trouble);
        else
                (void)tally_line(&report->tally, rest, sizeof(rest));
        progress_show(&many->progress, tally_total(&report->tally), rest, now);
}

static CtlExit print_summary(const Many *many, const LoadReport *report) {
        const Ctl *ctl = many->ctl;
        json_t *summary;
        CtlExit status;
        char what[128];

        if (!ctl->global.json) {
                (void)snprintf(what, sizeof(what), "triggers of %s", many->wanted->agent_id);
                summary_print(ctl, report, what);
                return CTL_EXIT_OK;
        }
        summary = summary_json(report);
        if (!summary)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        (void)json_object_set_new(summary, "agent_id", json_string(many->wanted->agent_id));
        (void)json_object_set_new(summary, "count", json_integer((json_int_t)many->wanted->count));
        (void)json_object_set_new(summary, "exec_id_prefix", json_string(many->wanted->exec_id));
        status = ctl_print_figures(ctl, summary);
        json_decref(summary);
        return status;
}

/* "Name: value" texts as a block. */
static void put_headers(Buffer *block, const TextList *headers) {
        for (size_t i = 0; i < headers->n_items; i++) {
                const char *colon = strchr(headers->items[i], ':'), *value = colon + 1 + strspn(colon + 1, " ");

                headers_put(block, (Slice){ headers->items[i], (size_t)(colon - headers->items[i]) }, slice_of(value));
        }
}

CtlExit trigger_many_run(Ctl *ctl, const TriggerMany *wanted) {
        Many many = { .ctl = ctl, .wanted = wanted };
        _cleanup_(free_reportp) LoadReport *report = calloc(1, sizeof(*report));
        _cleanup_(buffer_done) Buffer headers = {};
        NatsReason why = {};
        CtlExit status;
        int r;

        put_headers(&headers, wanted->headers);
        if (!report || headers.failed)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        progress_begin(&many.progress, ctl, "triggers", wanted->count, instant_now().usec);
        r = load_run(&(LoadPlan){ .settings = &ctl->settings,
                             .subject = wanted->subject,
                             .headers = headers.size > 0 ? buffer_slice(&headers) : SLICE_NONE,
                             .count = wanted->count,
                             .concurrency = wanted->concurrency,
                             .rate = wanted->rate,
                             .timeout_usec = ctl->global.timeout_usec,
                             .write_body = write_body,
                             .on_tick = on_tick,
                             .userdata = &many },
                report, &why);
        progress_end(&many.progress);
        if (r < 0)
                return summary_fail(ctl, r, &why);
        status = print_summary(&many, report);
        return status == CTL_EXIT_OK ? summary_judge(ctl, report, wanted->subject, wanted->agent_id) : status;
}
