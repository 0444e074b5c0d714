/* SPDX-License-Identifier: MIT */

/*
 * Drain and resume. Waiting for the end of a drain means asking again: a drain is over when nothing is in flight by
 * the runtime's own word.
 */

#include <time.h>

#include "ctl/commands.h"
#include "ctl/fields.h"

#define POLL_USEC (200 * USEC_PER_MSEC)

typedef struct Options {
        bool wait;
        uint64_t wait_timeout_usec;
} Options;

static const Option drain_options[] = {
        { .name = "wait",
                .letter = 'w',
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, wait),
                .help = "Until nothing is in flight any more" },
        { .name = "wait-timeout",
                .kind = OPTION_DURATION,
                .offset = offsetof(Options, wait_timeout_usec),
                .value = "DURATION",
                .help = "For how long at most",
                .fallback = "10m",
                .min = USEC_PER_MSEC },
        {},
};

static const Argument arguments[] = {
        { .name = "RUNTIME", .help = "Its id; several may be named", .words = WORD_RUNTIME, .is_repeated = true },
        {},
};

static void pause_for(uint64_t usec) {
        const struct timespec span = { (time_t)(usec / USEC_PER_SEC), (long)(usec % USEC_PER_SEC * 1000) };

        (void)nanosleep(&span, NULL);
}

/* `id` is drained when it says so, or is gone: a service that stops once it is drained. */
static CtlExit wait_for_drain(Ctl *ctl, const char *id, uint64_t timeout_usec) {
        const uint64_t until = instant_now().usec + timeout_usec;
        bool shown = false;

        ctl_catch_interrupts();
        for (;;) {
                _cleanup_(answer_done) Answer own = {};
                uint64_t n;

                client_ask(ctl->client, THE_RUNTIME(id), "status", NULL, ctl->global.timeout_usec, &own);
                if (own.kind == ANSWER_NOBODY)
                        return CTL_EXIT_OK;
                if (own.kind != ANSWER_RESULT && own.kind != ANSWER_TIMEOUT)
                        return ctl_fail_answer(ctl, &own);
                n = field_number(own.result, "in_flight");
                if (own.kind == ANSWER_RESULT && n == 0 && field_is_true(own.result, "draining"))
                        break;
                if (ctl_is_interrupted())
                        return CTL_EXIT_INTERRUPTED;
                if (instant_now().usec >= until)
                        return ctl_fail(ctl, CTL_EXIT_TIMEOUT,
                                "%s still has %" PRIu64 " executions; it goes on draining, --wait-timeout waits longer",
                                id, n);
                if (ctl->screen.error_is_terminal && !ctl->global.quiet && !ctl->global.json) {
                        (void)fprintf(stderr, "\r%s: %" PRIu64 " in flight \033[K", id, n);
                        shown = true;
                }
                pause_for(POLL_USEC);
        }
        if (shown)
                (void)fprintf(stderr, "\r\033[K");
        return CTL_EXIT_OK;
}

static CtlExit change(Ctl *ctl, const Invocation *invocation, const char *verb, const Options *wanted) {
        CtlExit worst = CTL_EXIT_OK;

        for (size_t i = 0; i < invocation->n_words; i++) {
                const char *id = invocation->words[i];
                json_t *result = NULL;
                CtlExit status = ctl_check_id(ctl, "RUNTIME", id);

                if (status == CTL_EXIT_OK)
                        status = ctl_ask(ctl, ANY_DISPATCHER, verb, json_pack("{s:s}", "runtime_id", id), &result);
                if (status == CTL_EXIT_OK && wanted->wait)
                        status = wait_for_drain(ctl, id, wanted->wait_timeout_usec);
                if (status != CTL_EXIT_OK)
                        worst = status;
                else if (ctl->global.json)
                        (void)ctl_print_json(ctl, result);
                else if (wanted->wait)
                        (void)printf("%s: drained\n", id);
                else
                        ctl_say("%s: %s, %" PRIu64 " in flight", id, field_text(result, "state"),
                                field_number(result, "in_flight"));
                json_decref(result);
                if (status == CTL_EXIT_INTERRUPTED || status == CTL_EXIT_UNREACHABLE)
                        break;
        }
        return worst;
}

static CtlExit run_drain(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "drain_runtime", invocation->options);
}

static CtlExit run_resume(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "resume_runtime", &(Options){ 0 });
}

const Command command_runtime_drain = {
        .name = "runtime drain",
        .summary = "Give runtimes no new work, and let them finish what they have",
        .details = "A drained runtime stays registered, and draining, until `runtime resume` or its restart. Its "
                   "agents go on\n"
                   "receiving application messages.",
        .example = "  compozyctl runtime drain r1 --wait && systemctl restart compozy-runtimed@r1",
        .arguments = arguments,
        .options = drain_options,
        .options_size = sizeof(Options),
        .run = run_drain,
};

const Command command_runtime_resume = {
        .name = "runtime resume",
        .summary = "Give drained runtimes work again, and let deregistered ones back in",
        .arguments = arguments,
        .run = run_resume,
};
