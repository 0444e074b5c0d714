/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/hints.h"
#include "ctl/summary.h"

double summary_rate(const LoadReport *report) {
        const uint64_t usec = report->end_usec - report->start_usec;

        return usec > 0 ? (double)tally_total(&report->tally) * (double)USEC_PER_SEC / (double)usec : 0;
}

json_t *summary_json(const LoadReport *report) {
        return json_pack("{s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:I, s:b}", "sent", (json_int_t)report->n_sent,
                "unanswered", (json_int_t)report->n_outstanding, "seconds",
                (double)(report->end_usec - report->start_usec) / (double)USEC_PER_SEC, "per_second",
                summary_rate(report), "outcomes", tally_outcomes_json(&report->tally), "errors",
                tally_errors_json(&report->tally), "latency_ms", latency_json(&report->tally.latency), "disconnects",
                (json_int_t)report->n_disconnects, "interrupted", report->is_interrupted);
}

void summary_print(const Ctl *ctl, const LoadReport *report, const char *what) {
        char shown[4][SHOWN_MAX];

        (void)printf("%s%s %s in %s, %s/s%s\n", report->is_interrupted ? "Interrupted: " : "",
                show_number(shown[0], tally_total(&report->tally)), what,
                show_duration(shown[1], report->end_usec - report->start_usec),
                show_rate(shown[2], summary_rate(report)),
                report->n_disconnects > 0 ? "; the connection was lost meanwhile" : "");
        tally_print(&report->tally, &ctl->screen, stdout);
        if (report->n_outstanding > 0)
                (void)printf("%11s %s\n", "unanswered", show_number(shown[3], report->n_outstanding));
}

static bool all_failures_are(const Tally *tally, const char *code) {
        uint64_t n = 0;

        for (size_t i = 0; i < tally->n_codes; i++)
                if (strcmp(tally->codes[i].code, code) == 0)
                        n += tally->codes[i].n;
        return n > 0 && n == tally->n[TALLY_FAILURE];
}

CtlExit summary_judge(const Ctl *ctl, const LoadReport *report, const char *subject, const char *agent_id) {
        const Tally *tally = &report->tally;
        const TallyCode *most = NULL;

        if (tally->n[TALLY_SUCCESS] == 0 && all_failures_are(tally, "NOBODY_LISTENS"))
                return ctl_fail_nobody(ctl, ANY_DISPATCHER, subject);
        for (size_t i = 0; i < tally->n_codes; i++)
                if (!most || tally->codes[i].n > most->n)
                        most = &tally->codes[i];
        if (most && tally->n[TALLY_FAILURE] > 0)
                hint_show(ctl, most->code, agent_id, "EXEC_ID");
        if (report->is_interrupted)
                return CTL_EXIT_INTERRUPTED;
        if (tally->n[TALLY_FAILURE] > 0)
                return all_failures_are(tally, "NO_ANSWER") ? CTL_EXIT_TIMEOUT : CTL_EXIT_REFUSED;
        return tally->n[TALLY_AGENT_ERROR] > 0 ? CTL_EXIT_AGENT_ERROR : CTL_EXIT_OK;
}

CtlExit summary_fail(const Ctl *ctl, int error, const NatsReason *why) {
        return ctl_fail(ctl, error == -ETIMEDOUT || error == -EACCES ? CTL_EXIT_UNREACHABLE : CTL_EXIT_FAILURE, "%s",
                why->text[0] ? why->text : strerror(-error));
}
