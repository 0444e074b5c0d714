/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "common/outbox.h"
#include "ctl/exchange.h"
#include "ctl/hints.h"
#include "ctl/load.h"
#include "ctl/progress.h"
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

static double rate_of(const LoadReport *report) {
        const uint64_t usec = report->end_usec - report->start_usec;

        return usec > 0 ? (double)tally_total(&report->tally) * (double)USEC_PER_SEC / (double)usec : 0;
}

static CtlExit print_json(const Many *many, const LoadReport *report) {
        json_t *summary = json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:I, s:b, s:s}", "agent_id",
                many->wanted->agent_id, "count", (json_int_t)many->wanted->count, "sent", (json_int_t)report->n_sent,
                "unanswered", (json_int_t)report->n_outstanding, "seconds",
                (double)(report->end_usec - report->start_usec) / (double)USEC_PER_SEC, "per_second", rate_of(report),
                "outcomes", tally_outcomes_json(&report->tally), "errors", tally_errors_json(&report->tally),
                "latency_ms", latency_json(&report->tally.latency), "disconnects", (json_int_t)report->n_disconnects,
                "interrupted", report->is_interrupted, "exec_id_prefix", many->wanted->exec_id);
        CtlExit status;

        if (!summary)
                return ctl_fail(many->ctl, CTL_EXIT_FAILURE, "out of memory");
        status = ctl_print_figures(many->ctl, summary);
        json_decref(summary);
        return status;
}

static CtlExit print_summary(const Many *many, const LoadReport *report) {
        const Ctl *ctl = many->ctl;
        const uint64_t done = tally_total(&report->tally);
        char shown[4][SHOWN_MAX];

        if (ctl->global.json)
                return print_json(many, report);
        (void)printf("%s%s triggers of %s in %s, %s/s%s\n", report->is_interrupted ? "Interrupted: " : "",
                show_number(shown[0], done), many->wanted->agent_id,
                show_duration(shown[1], report->end_usec - report->start_usec), show_rate(shown[2], rate_of(report)),
                report->n_disconnects > 0 ? "; the connection was lost meanwhile" : "");
        tally_print(&report->tally, &ctl->screen, stdout);
        if (report->n_outstanding > 0)
                (void)printf("%11s %s\n", "unanswered", show_number(shown[3], report->n_outstanding));
        return CTL_EXIT_OK;
}

/* The worst of them, and what to do about the most frequent error. */
static CtlExit judge(const Many *many, const LoadReport *report) {
        const Tally *tally = &report->tally;
        const TallyCode *most = NULL;
        bool is_nobody = tally->n[TALLY_FAILURE] > 0, is_silence = tally->n[TALLY_FAILURE] > 0;

        for (size_t i = 0; i < tally->n_codes; i++) {
                if (!most || tally->codes[i].n > most->n)
                        most = &tally->codes[i];
                is_nobody = is_nobody && strcmp(tally->codes[i].code, "NOBODY_LISTENS") == 0;
                is_silence = is_silence && strcmp(tally->codes[i].code, "NO_ANSWER") == 0;
        }
        if (is_nobody && tally->n[TALLY_SUCCESS] == 0)
                return ctl_fail_nobody(many->ctl, ANY_DISPATCHER, many->wanted->subject);
        if (most && tally->n[TALLY_FAILURE] > 0)
                hint_show(many->ctl, most->code, many->wanted->agent_id, "EXEC_ID");
        if (report->is_interrupted)
                return CTL_EXIT_INTERRUPTED;
        if (tally->n[TALLY_FAILURE] > 0)
                return is_silence ? CTL_EXIT_TIMEOUT : CTL_EXIT_REFUSED;
        return tally->n[TALLY_AGENT_ERROR] > 0 ? CTL_EXIT_AGENT_ERROR : CTL_EXIT_OK;
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
                return ctl_fail(ctl, r == -ETIMEDOUT || r == -EACCES ? CTL_EXIT_UNREACHABLE : CTL_EXIT_FAILURE, "%s",
                        why.text[0] ? why.text : strerror(-r));
        status = print_summary(&many, report);
        return status == CTL_EXIT_OK ? judge(&many, report) : status;
}
