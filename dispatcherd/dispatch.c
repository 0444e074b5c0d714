/* SPDX-License-Identifier: MIT */

/*
 * Dispatch: a trigger's way from its arrival to its one outcome.
 *
 * A relay carries a reply subject of our own, so that the server tells us at once when nobody listens; the caller's
 * address travels inside, and the runtime answers it directly. What we hear of it afterwards are reports, many in one
 * message. Reports can be lost (NATS delivers at most once), so a relay that stays silent is sent again as a question:
 * the same attempt, with its age. The runtime runs it if it never saw it and answers from memory if it did. That one
 * mechanism heals lost relays, lost reports and lost results.
 *
 * Every execution has one deadline armed as long as it has not ended: the earliest of its own deadline, the next
 * question, and the moment when waiting for somebody to host the agent has been long enough. So nothing can hang.
 *
 * What may be tried again: a relay that provably reached nobody (no responders, a refusal) always, whatever `retry`
 * says, since nothing ran. What was with a runtime that is gone: as `retry` says.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag_execution.h"
#include "dispatcherd/state.h"
#include "proto/result.h"

#define SOURCE SLICE("compozy-dispatcherd")

/* The runtime's own DEADLINE_EXCEEDED should come first, so that a caller gets one answer: it is told a little less. */
#define MARGIN_USEC_MAX (50 * USEC_PER_MSEC)

/* To read what has piled up during a stall. */
#define CATCH_UP_USEC (250 * USEC_PER_MSEC)

/* Relays that ran nowhere do not count as attempts, but a runtime that refuses for ever must not keep us busy for ever.
 */
#define MOVES_FACTOR 16

#define RETRY_AFTER_MS_MIN 50
#define RETRY_AFTER_MS_MAX 5000

/* answers */

void dispatch_put_result(Dispatcher *d, Slice reply_to, const Result *result, Slice headers, Instant now) {
        Buffer *buffer;

        if (reply_to.size == 0)
                return;
        buffer = outbox_begin(d->outbox);
        buffer_append_slice(buffer, reply_to);
        outbox_headers(d->outbox);
        error_reply_emit_headers(buffer, &result->error);
        buffer_append_slice(buffer, headers);
        outbox_body(d->outbox);
        result_encode(buffer, result, now.real_usec);
        outbox_end(d->outbox);
}

static bool is_answered(const Execution *execution, size_t ask) {
        return execution->answered & (UINT32_C(1) << ask);
}

/* The dispatcher's own answer: the execution ends with a named error. */
void dispatch_fail(Dispatcher *d, Execution *execution, ErrorCode code, const char *text, Slice details, Instant now) {
        const Attempt *attempt = execution->attempt > 0 ? execution_attempt(execution) : NULL;
        const Parcel *parcel = execution->parcel;
        Id id = rng_id(&d->rng);
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                        .correlation_id = parcel->trigger.metadata.correlation_id,
                        .source_component = SOURCE },
                .workflow_id = id_slice(&execution->workflow_id),
                .workflow_exec_id = parcel->trigger.workflow_exec_id,
                .agent_id = id_slice(&execution->agent_id),
                .agent_exec_id = id_slice(&execution->exec_id),
                .runtime_id = attempt ? id_slice(&attempt->runtime_id) : SLICE_NONE,
                .epoch = attempt ? attempt->epoch : 0,
                .status = STATUS_FAILURE,
                .error = { .code = code, .message = slice_of(text), .details = details },
                .duration_ms = (double)(now.usec - execution->received_usec) / 1000,
                .attempt = execution->attempt,
        };

        assert(execution->phase == PHASE_WAITING && !execution->demand);

        if (!is_answered(execution, 0))
                dispatch_put_result(d, parcel->reply_to, &result, parcel->headers, now);
        for (size_t i = 0; i < execution->n_followers; i++)
                if (!is_answered(execution, 1 + i))
                        dispatch_put_result(d, parcel->followers[i], &result, parcel->headers, now);
        observers_execution(d, EXECUTION_EVENT_DISPATCH_FAILED, execution, &result.error, now);
        diag_execution_failed(execution, code, text);
        d->n.by_status[STATUS_FAILURE]++;
        d->n.by_code[code]++;
        d->trigger_stats.processing_usec += now.usec - execution->received_usec;
        endpoint_fail(&d->trigger_stats, error_code_name(code), slice_of(text));
        if (parcel->span.is_recorded)
                spans_end(d, execution, STATUS_FAILURE, code, slice_of(text), now);
        execution_end(d->executions, execution, STATUS_FAILURE, code, now.usec);
}

static uint64_t retry_after_ms(const Dispatcher *d) {
        uint64_t waiting = execution_table_n_waiting(d->executions);
        uint64_t ms = d->rate_per_second > 0 ? waiting * 1000 / d->rate_per_second : RETRY_AFTER_MS_MAX;

        return MIN_OF(MAX_OF(ms, (uint64_t)RETRY_AFTER_MS_MIN), (uint64_t)RETRY_AFTER_MS_MAX);
}

void dispatch_fail_overloaded(Dispatcher *d, Execution *execution, const char *text, Instant now) {
        char details[64];

        (void)snprintf(details, sizeof(details), "{\"retry_after_ms\":%" PRIu64 "}", retry_after_ms(d));
        d->n.overloaded++;
        dispatch_fail(d, execution, ERROR_OVERLOADED, text, slice_of(details), now);
}

/* relays */

/*
 * After a stall its runtime's report may be among what is not read yet: the loop may look at the clock first (SIGCONT
 * ends its wait for messages without one), and reads in pieces what has piled up. Until this moment nothing is
 * concluded from silence.
 */
static uint64_t unread_until(const Dispatcher *d, const Execution *execution) {
        return execution->phase == PHASE_IN_FLIGHT && execution->sent_usec < d->stalled_usec
                       ? d->stalled_usec + CATCH_UP_USEC
                       : 0;
}

void dispatch_arm(Dispatcher *d, Execution *execution) {
        uint64_t when = execution->deadline_usec;

        if (execution->phase == PHASE_IN_FLIGHT)
                when = MAX_OF(MIN_OF(when, execution->check_usec), unread_until(d, execution));
        else
                when = MIN_OF(when, execution->give_up_usec);
        deadline_arm(&d->deadlines, &execution->deadline, when);
}

static void append_number(Buffer *buffer, uint64_t number) {
        char text[21], *c = text + sizeof(text);

        do
                *--c = (char)('0' + number % 10);
        while ((number /= 10) > 0);
        *--c = '.';
        buffer_append(buffer, c, (size_t)(text + sizeof(text) - c));
}

/* `ask` 0 is for the first caller, 1 + i for followers[i]. */
static void put_relay(Dispatcher *d, Execution *execution, size_t ask, bool is_check, Instant now) {
        const Runtime *runtime = execution->runtime;
        Parcel *parcel = execution->parcel;
        Trigger *trigger = &parcel->trigger;
        uint64_t left = execution->deadline_usec > now.usec ? execution->deadline_usec - now.usec : 0;
        Buffer *buffer = outbox_begin(d->outbox);

        buffer_clear(&d->scratch);
        subject_build(&d->scratch, d->prefix, SUBJECT_DISPATCHER_REPORT, d->id, id_slice(&runtime->id));
        left -= MIN_OF(left / 10, MARGIN_USEC_MAX);
        trigger->dispatch.present = true;
        trigger->dispatch.runtime_id = id_slice(&runtime->id);
        trigger->dispatch.epoch = runtime->epoch;
        trigger->dispatch.dispatcher_id = d->id;
        trigger->dispatch.attempt = execution->attempt;
        trigger->dispatch.deadline_ms = MAX_OF(left / USEC_PER_MSEC, UINT64_C(1));
        trigger->dispatch.age_ms = is_check ? (now.usec - execution->sent_usec) / USEC_PER_MSEC + 1 : 0;
        trigger->dispatch.reply_to = ask == 0 ? parcel->reply_to : parcel->followers[ask - 1];
        trigger->dispatch.ask = execution->ask_base + ask;
        trigger->dispatch.report_to = d->scratch.failed ? SLICE_NONE : buffer_slice(&d->scratch);

        buffer_append_slice(buffer, slice_of(runtime->trigger_subject));
        outbox_reply(d->outbox);
        buffer_append_slice(buffer, d->inbox);
        buffer_append_slice(buffer, SLICE(".r."));
        buffer_append_slice(buffer, id_slice(&runtime->id));
        buffer_append_char(buffer, '.');
        buffer_append_slice(buffer, id_slice(&execution->exec_id));
        append_number(buffer, execution->attempt);
        append_number(buffer, execution->n_sent++);
        if (parcel->headers.size > 0) {
                outbox_headers(d->outbox);
                buffer_append_slice(buffer, parcel->headers);
        }
        outbox_body(d->outbox);
        trigger_encode_relay(buffer, trigger);
        outbox_end(d->outbox);
}

/* One for each caller that an earlier attempt has not answered; all but the first are repeats of the first. */
static void put_relays(Dispatcher *d, Execution *execution, Instant now) {
        bool is_repeat = false;

        for (size_t ask = 0; ask <= execution->n_followers; ask++)
                if (!is_answered(execution, ask)) {
                        put_relay(d, execution, ask, is_repeat, now);
                        is_repeat = true;
                }
}

static void relay(Dispatcher *d, Execution *execution, const Placement *placement, Instant now) {
        Runtime *runtime = placement->hosting->runtime;
        Attempt *attempt;

        assert(runtime_free_slots(runtime) > 0);

        execution_attach(d->executions, execution, runtime);
        execution->attempt++;
        execution->n_tries++;
        execution->started = execution->heard = false;
        execution->n_sent = execution->unheard = 0;
        execution->give_up_usec = USEC_NEVER;
        execution->sent_usec = now.usec;
        execution->check_pause_usec = d->options.check_usec;
        execution->check_usec = now.usec + execution->check_pause_usec;

        attempt = execution_attempt(execution);
        *attempt = (Attempt){ .runtime_id = runtime->id,
                .epoch = runtime->epoch,
                .number = execution->attempt,
                .sent_usec = now.usec,
                .end = ATTEMPT_RUNNING };
        if (placement->runner_up)
                attempt->runner_up = placement->runner_up->id;
        if (execution->attempt == 1)
                histogram_add(&d->dispatch_duration, now.usec - execution->received_usec);
        else
                d->n.placed_again++;

        put_relays(d, execution, now);
        runtime->n_relayed++;
        d->n.relayed++;
        if (execution->check_usec <= execution->deadline_usec)
                deadline_arm_in_line(&d->deadlines, &execution->deadline, execution->check_usec);
        else
                dispatch_arm(d, execution);
        observers_execution(d, EXECUTION_EVENT_DISPATCHED, execution, NULL, now);
        diag_execution_relayed(execution, placement);
}

/* Sent again, as a question, for each caller that is not known to be answered. */
void dispatch_put_checks(Dispatcher *d, Execution *execution, Instant now) {
        diag_execution_asked(execution, now.usec);
        for (size_t ask = 0; ask <= execution->n_followers; ask++)
                if (!is_answered(execution, ask)) {
                        put_relay(d, execution, ask, /* is_check= */ true, now);
                        d->n.checked++;
                }
}

/* The attempt is over for us; the execution is in no list. */
void dispatch_end_attempt(Dispatcher *d, Execution *execution, AttemptEnd end, ErrorCode code, Instant now) {
        Attempt *attempt = execution_attempt(execution);

        attempt->end = end;
        attempt->code = code;
        attempt->ended_usec = now.usec;
        attempt->started = execution->started;
        execution_detach(d->executions, execution);
        d->pump_wanted = true;
}

/* placement */

Placement dispatch_choose(Dispatcher *d, const Execution *execution, const Runtime *avoid, Instant now) {
        const PlacementRequest request = {
                .agent = registry_find_agent(d->registry, id_slice(&execution->agent_id)),
                .labels = execution->parcel->labels,
                .avoid = avoid,
        };

        /* Cut off, we could tell nobody; what waits goes on when the link is back. */
        if (!d->link_up)
                return (Placement){ .outcome = PLACEMENT_WAIT };
        return placement_choose(&request, &d->rng, now.usec);
}

/* Why none of its hosts takes it, where that is the agent's own state: one that is stopped can be started, and one that
 * failed too, with more trouble. */
static ErrorCode refusal_of(const Agent *agent) {
        ErrorCode code = ERROR_AGENT_UNKNOWN;

        for (size_t i = 0; i < agent->n_hosts; i++) {
                if (agent->hosts[i]->refused == ERROR_AGENT_STOPPED)
                        return ERROR_AGENT_STOPPED;
                if (agent->hosts[i]->refused == ERROR_AGENT_FAILED)
                        code = ERROR_AGENT_FAILED;
        }
        return code;
}

static void fail_unplaced(Dispatcher *d, Execution *execution, const Placement *placement, Instant now) {
        const Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));
        ErrorCode code = ERROR_NO_RUNTIME;
        char text[256];

        if (!agent || (agent->n_hosts == 0 && execution->attempt == 0)) {
                (void)snprintf(text, sizeof(text), "no runtime hosts agent %s", execution->agent_id.text);
                dispatch_fail(d, execution, ERROR_AGENT_UNKNOWN, text, SLICE_NONE, now);
                return;
        }
        if (agent->n_hosts == 0)
                (void)snprintf(text, sizeof(text), "no runtime hosts agent %s any more", execution->agent_id.text);
        else
                (void)snprintf(text, sizeof(text), "%zu %s agent %s, none can take it; of the closest: %s",
                        agent->n_hosts, agent->n_hosts == 1 ? "runtime hosts" : "runtimes host",
                        execution->agent_id.text, fitness_meaning(placement->best));
        if (agent->n_hosts > 0 && placement->best == FITNESS_REFUSED)
                code = refusal_of(agent);
        dispatch_fail(d, execution, code, text, SLICE_NONE, now);
}

/*
 * Until when it is worth waiting for somebody who can take it at all: while the roll call is out, and for a while after
 * the last host went or stopped being usable (`unfit_usec`: since when nobody is). 0: not worth it.
 */
static uint64_t hope_of_return_usec(
        const Dispatcher *d, const Execution *execution, const Placement *placement, uint64_t unfit_usec, Instant now) {
        const Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));

        if (placement->outcome == PLACEMENT_UNKNOWN) {
                if (!agent || now.usec - agent->gone_usec >= d->options.rehost_wait_usec)
                        return 0;
                return agent->gone_usec + d->options.rehost_wait_usec;
        }
        if (placement->best == FITNESS_LABELS || placement->best == FITNESS_REFUSED)
                return 0;
        return unfit_usec + d->options.rehost_wait_usec;
}

static uint64_t hope_usec(
        const Dispatcher *d, const Execution *execution, const Placement *placement, uint64_t unfit_usec, Instant now) {
        const uint64_t hope = hope_of_return_usec(d, execution, placement, unfit_usec, now);

        return now.usec < d->patience_usec ? MAX_OF(hope, d->patience_usec) : hope;
}

void dispatch_wait(Dispatcher *d, Execution *execution, Instant now) {
        if (execution_wait(d->executions, execution) < 0) {
                dispatch_fail(d, execution, ERROR_INTERNAL, "the dispatcher is out of memory", SLICE_NONE, now);
                return;
        }
        dispatch_arm(d, execution);
}

static const char *why_waits(const Placement *placement) {
        if (placement->outcome == PLACEMENT_UNKNOWN)
                return "no runtime hosts the agent, and one may come";
        /* the link is down: nobody was looked at */
        return placement->best == FITNESS_NONE ? "NATS is away" : fitness_meaning(placement->best);
}

/* Nobody can take it now: wait with hope, or fail. In no queue when called. */
static void wait_or_fail(
        Dispatcher *d, Execution *execution, const Placement *placement, uint64_t unfit_usec, Instant now) {
        if (placement->outcome == PLACEMENT_WAIT) {
                execution->give_up_usec = USEC_NEVER;
                diag_execution_waits(execution, why_waits(placement), USEC_NEVER, now.usec);
                dispatch_wait(d, execution, now);
                return;
        }
        if (execution->give_up_usec == USEC_NEVER) {
                uint64_t hope = hope_usec(d, execution, placement, unfit_usec, now);

                if (hope <= now.usec) {
                        fail_unplaced(d, execution, placement, now);
                        return;
                }
                execution->give_up_usec = hope;
        }
        diag_execution_waits(execution, why_waits(placement), execution->give_up_usec, now.usec);
        dispatch_wait(d, execution, now);
}

void dispatch_place(Dispatcher *d, Execution *execution, Instant now) {
        Placement placement = dispatch_choose(d, execution, NULL, now);

        if (placement.outcome == PLACEMENT_CHOSEN)
                relay(d, execution, &placement, now);
        else
                wait_or_fail(d, execution, &placement, now.usec, now);
}

/*
 * The attempt ended without an answer and may be followed by another: as the next free slot allows. `provably_unrun`:
 * nothing of it ran, so even `never` allows another runtime, and it does not count as a try.
 */
void dispatch_place_again(
        Dispatcher *d, Execution *execution, bool provably_unrun, ErrorCode code, const char *why, Instant now) {
        bool allowed = provably_unrun || execution->retry == RETRY_ALWAYS ||
                       (execution->retry == RETRY_UNSTARTED && !execution->started);
        char text[256];

        if (provably_unrun)
                execution->n_tries--;
        if (allowed && execution->n_tries < d->options.max_attempts &&
                execution->attempt < d->options.max_attempts * MOVES_FACTOR) {
                execution->started = false;
                execution->give_up_usec = USEC_NEVER;
                diag_execution_moved(execution, why);
                dispatch_wait(d, execution, now);
                return;
        }
        (void)snprintf(text, sizeof(text), "%s (attempt %" PRIu64 ", %s, retry %s)", why, execution->attempt,
                execution->started ? "started" : "not reported started", retry_policy_names[execution->retry]);
        if (code == ERROR_OVERLOADED)
                dispatch_fail_overloaded(d, execution, text, now);
        else
                dispatch_fail(d, execution, code, text, SLICE_NONE, now);
}

void dispatch_runtime_lost(Dispatcher *d, Runtime *runtime, const char *why, Instant now) {
        Execution *execution;

        while ((execution = LIST_FIRST(&runtime->executions))) {
                d->n.lost++;
                dispatch_end_attempt(d, execution, ATTEMPT_LOST, ERROR_RUNTIME_LOST, now);
                dispatch_place_again(d, execution, /* provably_unrun= */ false, ERROR_RUNTIME_LOST, why, now);
        }
}

/* Tries the demands in their order, each until it can't be placed; so a demand nobody can take holds up no other. */
void dispatch_pump(Dispatcher *d, Instant now) {
        Demand *demand = demand_first(d->executions);

        d->pump_wanted = false;
        while (demand) {
                uint64_t order = demand->order, sequence = demand->sequence;
                Execution *execution = demand_head(demand);
                Placement placement = dispatch_choose(d, execution, NULL, now);

                bool fit = placement.outcome == PLACEMENT_CHOSEN || placement.outcome == PLACEMENT_WAIT;

                demand->unfit_usec = fit ? USEC_NEVER : MIN_OF(demand->unfit_usec, now.usec);
                if (placement.outcome == PLACEMENT_CHOSEN) {
                        execution_unwait(d->executions, execution);
                        relay(d, execution, &placement, now);
                } else if (fit && execution->give_up_usec != USEC_NEVER) {
                        execution->give_up_usec = USEC_NEVER;
                        dispatch_arm(d, execution);
                } else if (!fit && execution->give_up_usec == USEC_NEVER) {
                        uint64_t unfit_usec = demand->unfit_usec; /* the demand may go with its last execution */

                        execution_unwait(d->executions, execution);
                        wait_or_fail(d, execution, &placement, unfit_usec, now);
                }
                demand = demand_after(d->executions, order, sequence);
        }
}

/* time */

static void expire(Dispatcher *d, Execution *execution, Instant now) {
        char text[160];

        /* It did not wait for a slot, but for somebody to host the agent at all: that is what its caller should hear.
         */
        if (execution->phase == PHASE_WAITING && execution->give_up_usec != USEC_NEVER) {
                Placement placement = dispatch_choose(d, execution, NULL, now);

                execution_unwait(d->executions, execution);
                fail_unplaced(d, execution, &placement, now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT) {
                (void)snprintf(text, sizeof(text), "the deadline passed after %" PRIu64 " ms; runtime %s has it%s",
                        (now.usec - execution->received_usec) / USEC_PER_MSEC, execution->runtime->id.text,
                        execution->started ? ", started" : "");
                dispatch_end_attempt(d, execution, ATTEMPT_EXPIRED, ERROR_DEADLINE_EXCEEDED, now);
        } else {
                (void)snprintf(text, sizeof(text),
                        "the deadline passed after %" PRIu64 " ms of waiting for a free runtime",
                        (now.usec - execution->received_usec) / USEC_PER_MSEC);
                execution_unwait(d->executions, execution);
        }
        d->n.expired++;
        dispatch_fail(d, execution, ERROR_DEADLINE_EXCEEDED, text, SLICE_NONE, now);
}

static void ask_runtime(Dispatcher *d, Execution *execution, Instant now) {
        if (d->link_up && !execution->runtime->unreachable) {
                dispatch_put_checks(d, execution, now);
                execution->check_pause_usec = MIN_OF(execution->check_pause_usec * 2, DISPATCH_CHECK_PAUSE_MAX);
        }
        execution->check_usec = now.usec + execution->check_pause_usec;
        dispatch_arm(d, execution);
}

/* Heard again: what was with it may have been lost while nobody listened, and is asked for before long. */
void dispatch_runtime_back(Dispatcher *d, Runtime *runtime, Instant now) {
        Execution *execution;

        LIST_FOREACH(execution, &runtime->executions, in_runtime) {
                execution->check_pause_usec = d->options.check_usec;
                execution->check_usec = MIN_OF(execution->check_usec, now.usec + execution->check_pause_usec);
                dispatch_arm(d, execution);
        }
}

void dispatch_execution_due(Dispatcher *d, Execution *execution, Instant now) {
        Placement placement;

        if (now.usec < unread_until(d, execution)) {
                dispatch_arm(d, execution);
                return;
        }
        if (now.usec >= execution->deadline_usec) {
                expire(d, execution, now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT) {
                if (now.usec >= execution->check_usec)
                        ask_runtime(d, execution, now);
                else
                        dispatch_arm(d, execution);
                return;
        }
        if (now.usec < execution->give_up_usec) {
                dispatch_arm(d, execution);
                return;
        }
        /* A last look: somebody may have come whom the pump has not reached yet. */
        execution_unwait(d->executions, execution);
        placement = dispatch_choose(d, execution, NULL, now);
        if (placement.outcome == PLACEMENT_CHOSEN)
                relay(d, execution, &placement, now);
        else if (placement.outcome == PLACEMENT_WAIT)
                wait_or_fail(d, execution, &placement, now.usec, now);
        else
                fail_unplaced(d, execution, &placement, now);
        d->pump_wanted = true; /* whoever waits behind it for the same has waited as long */
}

void dispatch_answer_all_waiting(Dispatcher *d, Instant now) {
        Demand *demand;

        while ((demand = demand_first(d->executions))) {
                Execution *execution = demand_head(demand);

                execution_unwait(d->executions, execution);
                dispatch_fail(d, execution, ERROR_NO_RUNTIME,
                        "this dispatcher is stopping, and no runtime had a free slot in time", SLICE_NONE, now);
        }
}
