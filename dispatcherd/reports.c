/* SPDX-License-Identifier: MIT */

/*
 * Reports: what we hear of relays, from the runtimes (AgentExecutionReport) and from the server ("no responders").
 *
 * Of each message sent for an attempt the server may say that nobody listened; only when it said so of all of them has
 * nobody the attempt.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/diag_execution.h"
#include "dispatcherd/state.h"
#include "proto/report.h"

/* Once a runtime has reported, questions are rarer. */
#define CHECK_FACTOR 5

/* After "mailbox full", other hosts of the agent are preferred for so long. */
#define MAILBOX_PAUSE_USEC (50 * USEC_PER_MSEC)

/* After "overloaded", nothing for so long: its load as we know it was wrong, and asking again at once would only be
 * refused again. */
#define OVERLOAD_PAUSE_USEC (10 * USEC_PER_MSEC)

static void count_done(Dispatcher *d, Instant now) {
        uint64_t elapsed = now.usec - d->rate_start_usec;

        d->rate_done++;
        if (elapsed >= USEC_PER_SEC) {
                d->rate_per_second = d->rate_done * USEC_PER_SEC / elapsed;
                d->rate_done = 0;
                d->rate_start_usec = now.usec;
        }
}

/* ".NUMBER" at *cursor; -1 when there is none. */
static int64_t read_number(Slice text, size_t *cursor) {
        int64_t number = 0;
        size_t start = ++*cursor;

        while (*cursor < text.size && text.data[*cursor] >= '0' && text.data[*cursor] <= '9' && *cursor - start < 15)
                number = number * 10 + (text.data[(*cursor)++] - '0');
        return *cursor > start ? number : -1;
}

/* Each message sent for this attempt found nobody, so nobody has it. */
static bool is_all_unheard(const Execution *execution) {
        return execution->n_sent <= 32 && execution->unheard == (uint32_t)((UINT64_C(1) << execution->n_sent) - 1);
}

/* The bytes before the next dot; all, when there is none. */
static Slice first_token(Slice text) {
        const char *dot = memchr(text.data, '.', text.size);

        return (Slice){ text.data, dot ? (size_t)(dot - text.data) : text.size };
}

/* What comes to a relay's own reply subject, "<runtime id>.<exec id>.<attempt>.<which message of it>": reports, or the
 * server's word that nobody listens. */
void dispatch_relay_answer(Dispatcher *d, Slice rest, const InMessage *message, Instant now) {
        const Slice runtime_id = first_token(rest);
        Slice token, exec_id;
        Execution *execution;
        int64_t attempt, n;
        size_t cursor;

        if (!message->no_responders) {
                dispatch_report(d, runtime_id, message, now);
                return;
        }
        if (runtime_id.size == rest.size)
                return;
        token = slice_after(rest, runtime_id.size + 1);
        exec_id = first_token(token);
        cursor = exec_id.size;
        if (cursor == token.size)
                return;
        execution = execution_find(d->executions, exec_id);
        attempt = read_number(token, &cursor);
        n = read_number(token, &cursor);
        if (!execution || execution->phase != PHASE_IN_FLIGHT || attempt < 0 ||
                execution->attempt != (uint64_t)attempt || n < 0 || !id_equal(&execution->runtime->id, runtime_id))
                return;

        membership_unheard(d, execution->runtime, now);
        if (n < 32)
                execution->unheard |= UINT32_C(1) << n;
        /* Where one was not heard another may have been: then the verdict on the runtime will tell. */
        if (execution->heard || !is_all_unheard(execution))
                return;
        d->n.unheard++;
        dispatch_end_attempt(d, execution, ATTEMPT_UNHEARD, ERROR_NO_RUNTIME, now);
        dispatch_place_again(d, execution, /* provably_unrun= */ true, ERROR_NO_RUNTIME, "nobody listened", now);
}

static void on_done(Dispatcher *d, Execution *execution, const ExecutionReport *report, Instant now) {
        unsigned status = report->status != STATUS_NONE ? report->status : (unsigned)STATUS_SUCCESS;

        execution->started = execution->heard = true;
        execution_attempt(execution)->started = true;
        if (report->ask < execution->ask_base || report->ask > execution->ask_base + execution->n_followers)
                return;
        execution->answered |= UINT32_C(1) << (report->ask - execution->ask_base);
        if (execution->answered + UINT32_C(1) != UINT32_C(2) << execution->n_followers) {
                /*
                 * Another caller waits for the same execution, and its relay may have been lost: the runtime answers
                 * from memory. Asked for after this turn, since the word about that caller is usually in the same
                 * report.
                 */
                execution->check_usec = now.usec;
                dispatch_arm(d, execution);
                return;
        }
        execution->runtime->n_done++;
        histogram_add(&d->execution_duration, now.usec - execution->sent_usec);
        dispatch_end_attempt(d, execution, ATTEMPT_ANSWERED, (ErrorCode)report->code, now);
        count_done(d, now);
        d->n.by_status[status]++;
        if (report->code != ERROR_NONE)
                d->n.by_code[report->code]++;
        d->trigger_stats.processing_usec += now.usec - execution->received_usec;
        if (status == STATUS_FAILURE)
                endpoint_fail(&d->trigger_stats, error_code_name((ErrorCode)report->code),
                        slice_of(error_code_meaning((ErrorCode)report->code)));
        diag_execution_ended(execution, result_status_names[status], (ErrorCode)report->code);
        if (execution->parcel->span.is_recorded)
                spans_end(d, execution, status, (ErrorCode)report->code,
                        slice_of(error_code_meaning((ErrorCode)report->code)), now);
        execution_end(d->executions, execution, status, (ErrorCode)report->code, now.usec);
}

/* A runtime that refuses says so for a reason, which tells where not to try next. */
static void learn_from_refusal(Dispatcher *d, const Execution *execution, ErrorCode code, Instant now) {
        Runtime *runtime = execution->runtime;
        const Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));
        Hosting *hosting = agent ? registry_find_hosting(agent, runtime) : NULL;

        switch (code) {
        case ERROR_RUNTIME_DRAINING:
                membership_draining(d, runtime, now);
                break;
        case ERROR_OVERLOADED:
                runtime->full_until_usec = now.usec + OVERLOAD_PAUSE_USEC;
                break;
        case ERROR_MAILBOX_FULL:
                if (hosting)
                        hosting->full_until_usec = now.usec + MAILBOX_PAUSE_USEC;
                break;
        case ERROR_AGENT_NOT_FOUND:
        case ERROR_AGENT_STOPPED:
        case ERROR_AGENT_FAILED:
                if (hosting)
                        registry_note_refusal(d->registry, hosting, code);
                break;
        case ERROR_RUNTIME_LOST:
                /* It doubts that we still know it; its registration is on the way. */
                runtime->unreachable = true;
                break;
        default:
                break;
        }
}

static bool is_about_agent(ErrorCode code) {
        return code == ERROR_MAILBOX_FULL || code == ERROR_AGENT_UNKNOWN || code == ERROR_AGENT_STOPPED ||
               code == ERROR_AGENT_FAILED;
}

static void on_refused(Dispatcher *d, Execution *execution, const ExecutionReport *report, Instant now) {
        ErrorCode code = report->code != ERROR_NONE ? (ErrorCode)report->code : ERROR_INTERNAL;
        const Runtime *runtime = execution->runtime;
        bool unrun = !execution->started &&
                     !(code == ERROR_RUNTIME_LOST && now.usec >= execution->sent_usec + d->options.check_usec);
        Placement placement;
        char text[160];

        d->n.refused++;
        learn_from_refusal(d, execution, code, now);
        if (code == ERROR_AGENT_NOT_FOUND) /* callers know that as the word for what no runtime hosts */
                code = ERROR_AGENT_UNKNOWN;
        (void)snprintf(text, sizeof(text), "runtime %s refused it: %s", runtime->id.text, error_code_meaning(code));
        dispatch_end_attempt(d, execution, ATTEMPT_REFUSED, code, now);

        if (code == ERROR_TOPIC_FORBIDDEN || code == ERROR_INVALID_MESSAGE) {
                dispatch_fail(d, execution, code, text, SLICE_NONE, now);
                return;
        }
        /* The agent can't take it there; if it can nowhere else, that is the answer. */
        if (is_about_agent(code)) {
                placement = dispatch_choose(d, execution, runtime, now);
                if (placement.outcome != PLACEMENT_WAIT &&
                        (placement.outcome != PLACEMENT_CHOSEN || placement.best == FITNESS_MAILBOX)) {
                        dispatch_fail(d, execution, code, text, SLICE_NONE, now);
                        return;
                }
        }
        dispatch_place_again(d, execution, unrun, code, text, now);
}

static void on_execution_report(Dispatcher *d, Runtime *runtime, const ExecutionReport *report, Instant now) {
        Execution *execution = execution_find(d->executions, report->exec_id);

        if (!execution || execution->phase != PHASE_IN_FLIGHT || execution->attempt != report->attempt ||
                execution->runtime != runtime) {
                /* Of an attempt that was answered already it is a repeat; of another one it is a zombie's word. */
                if (execution && execution->attempt != report->attempt && report->state != EXECUTION_REFUSED) {
                        d->n.stale_reports++;
                        diag_execution_stale(execution, id_slice(&runtime->id), report->attempt,
                                execution_state_names[report->state]);
                }
                return;
        }

        execution->check_pause_usec = MIN_OF(d->options.check_usec * CHECK_FACTOR, DISPATCH_CHECK_PAUSE_MAX);
        execution->check_usec =
                now.usec + execution->check_pause_usec; /* the armed moment comes earlier, and looks again */
        switch ((ExecutionState)report->state) {
        case EXECUTION_ACCEPTED:
                if (!execution->heard)
                        diag_execution_reported(execution, "accepted");
                execution->heard = true;
                break;
        case EXECUTION_STARTED:
                if (!execution->started)
                        diag_execution_reported(execution, "started");
                execution->heard = execution->started = true;
                execution_attempt(execution)->started = true;
                break;
        case EXECUTION_DONE:
                on_done(d, execution, report, now);
                break;
        case EXECUTION_REFUSED:
                on_refused(d, execution, report, now);
                break;
        default:
                break;
        }
}

/* `runtime_id` is who may publish on the subject that it came on: nobody reports in another's name. */
void dispatch_report(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Arena arena = {};
        Report report = {};
        WireError error = {};
        Runtime *runtime;
        ReportCursor cursor = {};
        ExecutionReport execution;
        int r;

        d->n.reports++;
        if (report_decode(message->body, &report, &d->arena, &error) != 0) {
                d->n.invalid++;
                diag_message_invalid(message->subject, error.text);
                return;
        }
        if (!slice_equal(report.runtime_id, runtime_id)) {
                d->n.invalid++;
                diag_message_invalid(message->subject, "agent_runtime.runtime_id is not the subject's");
                return;
        }
        runtime = registry_find(d->registry, report.runtime_id);
        if (!runtime || runtime->epoch != report.epoch) {
                d->n.stale_reports++;
                diag_report_stale(report.runtime_id, report.epoch);
                return;
        }

        membership_heard(d, runtime, now);
        while ((r = execution_report_next(report.executions, &cursor, &execution, &arena, &error)) != SCAN_E_END) {
                if (r != 0) {
                        d->n.invalid++;
                        diag_message_invalid(message->subject, error.text);
                        continue; /* what the others say is no worse for it */
                }
                on_execution_report(d, runtime, &execution, now);
        }
        runtime->reported_usec = now.usec;
        membership_load(runtime, &report.load);
        if (runtime->leaving_usec > 0 && runtime->own_in_flight == 0)
                deadline_arm(&d->deadlines, &runtime->deadline, now.usec); /* its goodbye has waited for this */
        d->pump_wanted = true;
        arena_clear(&arena);
}
