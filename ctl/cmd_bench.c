/* SPDX-License-Identifier: MIT */

/*
 * Measures a system as it is, with what else goes on there: triggers of one agent, as many at once as wanted, for a
 * while. The bare pair for comparison is made the same way (ctl/load.h, ctl/load_echo.h), so what is left of the
 * difference is what dispatching costs: two more hops, and their work.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/rng.h"
#include "ctl/commands.h"
#include "ctl/fields.h"
#include "ctl/load.h"
#include "ctl/load_echo.h"
#include "ctl/summary.h"
#include "ctl/trigger_body.h"
#include "proto/subject.h"

#define CONCURRENCY_MAX 65535
#define DURATION_MAX_USEC (UINT64_C(86400) * USEC_PER_SEC)
#define SIZE_MAX_BYTES (16 * 1024 * 1024)
#define LINE_USEC (1 * USEC_PER_SEC)
#define CALM_PER_SECOND 1.0 /* more triggers than that are others' load */

typedef struct Options {
        const char *agent;
        uint64_t concurrency, duration_usec, size;
        bool compare;
} Options;

static const Option options[] = {
        { .name = "agent",
                .letter = 'a',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, agent),
                .value = "ID",
                .help = "Trigger that one; else an echo agent is made, and deleted at the end",
                .words = WORD_AGENT },
        { .name = "concurrency",
                .letter = 'n',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, concurrency),
                .value = "N",
                .help = "So many triggers at once",
                .fallback = "64",
                .min = 1,
                .max = CONCURRENCY_MAX },
        { .name = "duration",
                .letter = 'd',
                .kind = OPTION_DURATION,
                .offset = offsetof(Options, duration_usec),
                .value = "DURATION",
                .help = "For so long",
                .fallback = "10s",
                .min = 10 * USEC_PER_MSEC,
                .max = DURATION_MAX_USEC },
        { .name = "size",
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, size),
                .value = "BYTES",
                .help = "Of the input, a text",
                .fallback = "256",
                .max = SIZE_MAX_BYTES },
        { .name = "compare",
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, compare),
                .help = "Then also a bare NATS request and answer, and the ratio of the two" },
        {},
};

typedef struct Bench {
        Ctl *ctl;
        const Options *wanted;
        const char *agent_id;
        char own_agent[ID_MAX + 1]; /* "": none was made */
        char *runtime_id;           /* where */
        Id exec_id;
        TriggerBody body;
        Buffer subject;

        /* the line of each second */
        uint64_t line_usec, line_number, n_before, n_errors_before;
        Latency before;
} Bench;

static void bench_done(Bench *bench) {
        trigger_body_done(&bench->body);
        buffer_done(&bench->subject);
        free(bench->runtime_id);
}

/* the agent */

static CtlExit make_agent(Bench *bench) {
        Ctl *ctl = bench->ctl;
        json_t *result = NULL;
        CtlExit status;

        (void)snprintf(bench->own_agent, sizeof(bench->own_agent), "bench-%.20s", bench->exec_id.text);
        status = ctl_ask(ctl, ANY_DISPATCHER, "create_agent",
                json_pack("{s:s, s:s}", "agent_id", bench->own_agent, "agent_type", "echo"), &result);
        if (status != CTL_EXIT_OK) {
                bench->own_agent[0] = '\0';
                return status;
        }
        bench->runtime_id = strdup(field_text(result, "runtime_id"));
        bench->agent_id = bench->own_agent;
        json_decref(result);
        return bench->runtime_id ? CTL_EXIT_OK : ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
}

static CtlExit delete_agent(Bench *bench) {
        if (bench->own_agent[0] == '\0' || !bench->runtime_id)
                return CTL_EXIT_OK;
        ctl_forget_interrupt();
        return ctl_ask(bench->ctl, THE_RUNTIME(bench->runtime_id), "delete_agent",
                json_pack("{s:s, s:s}", "agent_id", bench->own_agent, "mode", "discard"), NULL);
}

/* Whoever measures a system that others use should know. */
static CtlExit look_at_others(Bench *bench) {
        json_t *result = NULL;
        CtlExit status = ctl_ask(bench->ctl, ANY_DISPATCHER, "status", NULL, &result);
        const json_t *recent = json_object_get(result, "recent");
        const double rate = json_number_value(json_object_get(recent, "triggers_per_s"));

        if (status == CTL_EXIT_OK && (rate > CALM_PER_SECOND || field_number(result, "in_flight") > 0))
                ctl_note(bench->ctl,
                        "note: others use this system: %.0f triggers/s of late, %" PRIu64 " in flight (dispatcher %s)",
                        rate, field_number(result, "in_flight"), field_text(result, "dispatcher_id"));
        json_decref(result);
        return status;
}

/* the load */

static CtlExit make_body(Bench *bench) {
        const uint64_t size = bench->wanted->size;
        _cleanup_(free_charp) char *text = malloc(size + 1);
        TriggerWish wish = {
                .agent_id = bench->agent_id,
                .workflow_id = "bench",
                .deadline_ms = MAX_OF(bench->ctl->global.timeout_usec / USEC_PER_MSEC, 1),
                .priority = 50,
        };
        CtlExit status;

        if (!text)
                return ctl_fail(bench->ctl, CTL_EXIT_FAILURE, "out of memory");
        for (uint64_t i = 0; i < size; i++)
                text[i] = (char)('a' + i % 26);
        text[size] = '\0';
        wish.input = json_string(text);
        status = trigger_body_init(&bench->body, bench->ctl, &wish);
        json_decref(wish.input);
        subject_build(&bench->subject, slice_of(client_prefix(bench->ctl->client)), SUBJECT_TRIGGER, SLICE("bench"),
                slice_of(bench->agent_id));
        buffer_append_char(&bench->subject, '\0');
        if (status == CTL_EXIT_OK && bench->subject.failed)
                return ctl_fail(bench->ctl, CTL_EXIT_FAILURE, "out of memory");
        return status;
}

static void write_body(uint64_t number, Buffer *body, void *userdata) {
        const Bench *bench = userdata;
        char id[ID_MAX + 1];
        const int n = snprintf(id, sizeof(id), "%.40s-%" PRIu64, bench->exec_id.text, number);

        trigger_body_write(&bench->body, (Slice){ id, (size_t)n }, number, body);
}

static void begin_lines(Bench *bench) {
        bench->line_usec = bench->line_number = bench->n_before = bench->n_errors_before = 0;
        bench->before = (Latency){ 0 };
}

static void show_line(Bench *bench, const LoadReport *report, uint64_t now) {
        const uint64_t n = tally_total(&report->tally), n_errors = tally_n_errors(&report->tally);
        const uint64_t since = bench->line_usec > 0 ? bench->line_usec : report->start_usec;
        char shown[4][SHOWN_MAX];

        latency_since(&report->tally.latency, &bench->before);
        ctl_note(bench->ctl, "%4" PRIu64 " s  %8s/s  p50 %-8s  p99 %-8s  %s errors%s", ++bench->line_number,
                show_rate(shown[0], (double)(n - bench->n_before) * USEC_PER_SEC / (double)(now - since)),
                show_duration(shown[1], latency_quantile(&bench->before, 0.5)),
                show_duration(shown[2], latency_quantile(&bench->before, 0.99)),
                show_number(shown[3], n_errors - bench->n_errors_before), report->is_up ? "" : ", no connection");
        bench->before = report->tally.latency;
        bench->line_usec = now;
        bench->n_before = n;
        bench->n_errors_before = n_errors;
}

static void on_tick(const LoadReport *report, uint64_t now, void *userdata) {
        Bench *bench = userdata;

        if (now >= MAX_OF(bench->line_usec, report->start_usec) + LINE_USEC)
                show_line(bench, report, now);
}

static CtlExit run_load(Bench *bench, const char *subject, bool is_bare, LoadReport *report) {
        const LoadPlan plan = {
                .settings = &bench->ctl->settings,
                .subject = subject,
                .duration_usec = bench->wanted->duration_usec,
                .concurrency = bench->wanted->concurrency,
                .timeout_usec = bench->ctl->global.timeout_usec,
                .is_bare = is_bare,
                .write_body = write_body,
                .on_tick = on_tick,
                .userdata = bench,
        };
        NatsReason why = {};
        int r;

        begin_lines(bench);
        r = load_run(&plan, report, &why);
        if (r == 0 && report->end_usec > MAX_OF(bench->line_usec, report->start_usec) + LINE_USEC / 2)
                show_line(bench, report, report->end_usec);
        return r < 0 ? summary_fail(bench->ctl, r, &why) : CTL_EXIT_OK;
}

static CtlExit run_bare(Bench *bench, LoadReport *report) {
        _cleanup_(load_echo_freep) LoadEcho *echo = NULL;
        NatsReason why = {};
        int r = load_echo_new(&bench->ctl->settings, bench->ctl->global.timeout_usec, &echo, &why);

        if (r < 0)
                return summary_fail(bench->ctl, r, &why);
        ctl_note(bench->ctl, "bare NATS request and answer, the same way:");
        return run_load(bench, load_echo_subject(echo), /* is_bare= */ true, report);
}

/* the summary */

static double ratio_of(const LoadReport *compozy, const LoadReport *bare) {
        return summary_rate(bare) > 0 ? summary_rate(compozy) / summary_rate(bare) : 0;
}

static CtlExit print_json(const Bench *bench, const LoadReport *compozy, const LoadReport *bare) {
        json_t *summary = json_pack("{s:s, s:I, s:I, s:o}", "agent_id", bench->agent_id, "concurrency",
                (json_int_t)bench->wanted->concurrency, "size", (json_int_t)bench->wanted->size, "compozy",
                summary_json(compozy));
        CtlExit status;

        if (!summary)
                return ctl_fail(bench->ctl, CTL_EXIT_FAILURE, "out of memory");
        if (bare) {
                (void)json_object_set_new(summary, "bare", summary_json(bare));
                (void)json_object_set_new(summary, "ratio", json_real(ratio_of(compozy, bare)));
        }
        status = ctl_print_figures(bench->ctl, summary);
        json_decref(summary);
        return status;
}

static CtlExit print(const Bench *bench, const LoadReport *compozy, const LoadReport *bare) {
        char what[128];

        if (bench->ctl->global.json)
                return print_json(bench, compozy, bare);
        (void)snprintf(what, sizeof(what), "triggers of %s", bench->agent_id);
        summary_print(bench->ctl, compozy, what);
        if (bare) {
                summary_print(bench->ctl, bare, "bare requests");
                (void)printf("ratio: %.2f of bare NATS\n", ratio_of(compozy, bare));
        }
        return CTL_EXIT_OK;
}

static CtlExit measure(Bench *bench) {
        LoadReport *reports = calloc(2, sizeof(*reports));
        const LoadReport *bare = NULL;
        char shown[2][SHOWN_MAX];
        CtlExit status;

        if (!reports)
                return ctl_fail(bench->ctl, CTL_EXIT_FAILURE, "out of memory");
        ctl_note(bench->ctl, "agent %s%s%s, %" PRIu64 " at once, %s each, %s", bench->agent_id,
                bench->runtime_id ? " on " : "", bench->runtime_id ? bench->runtime_id : "", bench->wanted->concurrency,
                show_bytes(shown[0], bench->wanted->size), show_duration(shown[1], bench->wanted->duration_usec));
        status = run_load(bench, bench->subject.data, /* is_bare= */ false, &reports[0]);
        if (status == CTL_EXIT_OK && bench->wanted->compare && !ctl_is_interrupted()) {
                status = run_bare(bench, &reports[1]);
                bare = &reports[1];
        }
        if (status == CTL_EXIT_OK)
                status = print(bench, &reports[0], bare);
        if (status == CTL_EXIT_OK)
                status = summary_judge(bench->ctl, &reports[0], bench->subject.data, bench->agent_id);
        if (status == CTL_EXIT_OK && ctl_is_interrupted())
                status = CTL_EXIT_INTERRUPTED;
        free(reports);
        return status;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        _cleanup_(bench_done) Bench bench = { .ctl = ctl, .wanted = wanted, .agent_id = wanted->agent };
        CtlExit status = ctl_check_id(ctl, "--agent", wanted->agent), deleted;
        Rng rng;

        if (status != CTL_EXIT_OK)
                return status;
        if (rng_seed_from_system(&rng) < 0)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "no randomness for an id");
        bench.exec_id = rng_id(&rng);
        status = look_at_others(&bench);
        if (status != CTL_EXIT_OK)
                return status;
        ctl_catch_interrupts();
        if (!wanted->agent)
                status = make_agent(&bench);
        if (status == CTL_EXIT_OK)
                status = make_body(&bench);
        if (status == CTL_EXIT_OK)
                status = measure(&bench);
        deleted = delete_agent(&bench);
        return status == CTL_EXIT_OK ? deleted : status;
}

const Command command_bench = {
        .name = "bench",
        .summary = "Measure how many triggers a running system takes, and how fast",
        .details = "It is a load like any other: triggers, events and all, beside whatever else goes on. Each second "
                   "has a line of\n"
                   "its own on stderr. An agent that it made is on one runtime, so runtime.max_in_flight of that one "
                   "counts.",
        .example = "  compozyctl bench --duration 5s --compare\n"
                   "  compozyctl bench --agent greeter --concurrency 512",
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
