/* SPDX-License-Identifier: MIT */

/*
 * Dispatch: a trigger's way from its arrival to its one outcome.
 *
 * A relay carries a reply subject of our own, so that the server tells us at once when nobody listens; the caller's address travels inside,
 * and the runtime answers it directly. What we hear of it afterwards are reports, many in one message. Reports can be lost (NATS delivers
 * at most once), so a relay that stays silent is sent again as a question: the same attempt, with its age. The runtime runs it
 * if it never saw it and answers from memory if it did. That one mechanism heals lost relays, lost reports and lost results.
 *
 * Every execution has one deadline armed as long as it has not ended: the earliest of its own deadline, the next question, and the
 * moment when waiting for somebody to host the agent has been long enough. So nothing can hang.
 *
 * What may be tried again: a relay that provably reached nobody (no responders, a refusal) always, whatever `retry` says, since nothing ran. What was
 * with a runtime that is gone: as `retry` says.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/placement.h"
#include "dispatcherd/state.h"
#include "proto/report.h"
#include "proto/result.h"

#define SOURCE SLICE("compozy-dispatcherd")

/* The runtime's own DEADLINE_EXCEEDED should come first, so that a caller gets one answer: it is told a little less. */
#define MARGIN_USEC_MAX (50 * USEC_PER_MSEC)

/* Once a runtime has reported, questions are rarer. */
#define CHECK_FACTOR 5
#define CHECK_PAUSE_MAX (30 * USEC_PER_SEC)

/* After "mailbox full", other hosts of the agent are preferred for so long. */
#define MAILBOX_PAUSE_USEC (50 * USEC_PER_MSEC)

/* What a relay has beyond the trigger's own bytes: ids that were left out, the sections agent_runtime and dispatch. */
#define RELAY_MARGIN 2048

/* Relays that ran nowhere do not count as attempts, but a runtime that refuses for ever must not keep us busy for ever. */
#define MOVES_FACTOR 16

#define RETRY_AFTER_MS_MIN 50
#define RETRY_AFTER_MS_MAX 5000

/* answers */

static void put_result(Dispatcher *d, Slice reply_to, const Result *result, Slice headers, Instant now) {
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

/* A trigger that never became an execution: what is known of it is its subject and where the answer goes. */
static void refuse_message(Dispatcher *d, Slice workflow_id, Slice agent_id, const Trigger *sender, Slice reply_to, ErrorCode code,
        const char *text, Instant now) {
        Id id = rng_id(&d->rng);
        Slice exec_id = sender->agent_exec_id.size > 0 ? sender->agent_exec_id : id_slice(&id);
        Slice correlation_id = sender->metadata.correlation_id;
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                              .correlation_id = correlation_id.size > 0 ? correlation_id : exec_id,
                              .source_component = SOURCE },
                .workflow_id = workflow_id,
                .workflow_exec_id = exec_id,
                .agent_id = agent_id,
                .agent_exec_id = exec_id,
                .status = STATUS_FAILURE,
                .error = { .code = code, .message = slice_of(text) },
        };

        d->n.by_status[STATUS_FAILURE]++;
        d->n.by_code[code]++;
        put_result(d, reply_to, &result, SLICE_NONE, now);
}

static bool is_answered(const Execution *execution, size_t ask) {
        return execution->answered & (UINT32_C(1) << ask);
}

/* The dispatcher's own answer: the execution ends with a named error. */
static void fail(Dispatcher *d, Execution *execution, ErrorCode code, const char *text, Slice details, Instant now) {
        const Attempt *attempt = execution->attempt > 0 ? execution_attempt(execution) : NULL;
        Id id = rng_id(&d->rng);
        Result result = {
                .metadata = { .result_id = id_slice(&id),
                              .correlation_id = execution->trigger.metadata.correlation_id,
                              .source_component = SOURCE },
                .workflow_id = id_slice(&execution->workflow_id),
                .workflow_exec_id = execution->trigger.workflow_exec_id,
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
                put_result(d, execution->reply_to, &result, execution->headers, now);
        for (size_t i = 0; i < execution->n_followers; i++)
                if (!is_answered(execution, 1 + i))
                        put_result(d, execution->followers[i], &result, execution->headers, now);
        observers_execution(d, EXECUTION_EVENT_DISPATCH_FAILED, execution, &result.error, now);
        diag_execution_failed(result.agent_exec_id, result.agent_id, result.metadata.correlation_id, code, text, now.usec);
        d->n.by_status[STATUS_FAILURE]++;
        d->n.by_code[code]++;
        execution_end(d->executions, execution, STATUS_FAILURE, code, now.usec);
}

static uint64_t retry_after_ms(const Dispatcher *d) {
        uint64_t waiting = execution_table_n_waiting(d->executions);
        uint64_t ms = d->rate_per_second > 0 ? waiting * 1000 / d->rate_per_second : RETRY_AFTER_MS_MAX;

        return MIN_OF(MAX_OF(ms, (uint64_t)RETRY_AFTER_MS_MIN), (uint64_t)RETRY_AFTER_MS_MAX);
}

static void fail_overloaded(Dispatcher *d, Execution *execution, const char *text, Instant now) {
        char details[64];

        (void)snprintf(details, sizeof(details), "{\"retry_after_ms\":%" PRIu64 "}", retry_after_ms(d));
        d->n.overloaded++;
        diag_trigger_shed(id_slice(&execution->exec_id), id_slice(&execution->agent_id), text, now.usec);
        fail(d, execution, ERROR_OVERLOADED, text, slice_of(details), now);
}

static void count_done(Dispatcher *d, Instant now) {
        uint64_t elapsed = now.usec - d->rate_start_usec;

        d->rate_done++;
        if (elapsed >= USEC_PER_SEC) {
                d->rate_per_second = d->rate_done * USEC_PER_SEC / elapsed;
                d->rate_done = 0;
                d->rate_start_usec = now.usec;
        }
}

/* relays */

static void arm(Dispatcher *d, Execution *execution) {
        uint64_t when = execution->deadline_usec;

        if (execution->phase == PHASE_IN_FLIGHT)
                when = MIN_OF(when, execution->check_usec);
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
        Trigger *trigger = &execution->trigger;
        uint64_t left = execution->deadline_usec > now.usec ? execution->deadline_usec - now.usec : 0;
        Buffer *buffer = outbox_begin(d->outbox);

        left -= MIN_OF(left / 10, MARGIN_USEC_MAX);
        trigger->dispatch.present = true;
        trigger->dispatch.runtime_id = id_slice(&runtime->id);
        trigger->dispatch.epoch = runtime->epoch;
        trigger->dispatch.dispatcher_id = d->id;
        trigger->dispatch.attempt = execution->attempt;
        trigger->dispatch.deadline_ms = MAX_OF(left / USEC_PER_MSEC, UINT64_C(1));
        trigger->dispatch.age_ms = is_check ? (now.usec - execution->sent_usec) / USEC_PER_MSEC + 1 : 0;
        trigger->dispatch.reply_to = ask == 0 ? execution->reply_to : execution->followers[ask - 1];
        trigger->dispatch.ask = execution->ask_base + ask;
        trigger->dispatch.report_to = slice_of(d->report_subject);

        buffer_append_slice(buffer, slice_of(runtime->trigger_subject));
        outbox_reply(d->outbox);
        buffer_append_slice(buffer, d->inbox);
        buffer_append_slice(buffer, SLICE(".r."));
        buffer_append_slice(buffer, id_slice(&execution->exec_id));
        append_number(buffer, execution->attempt);
        append_number(buffer, execution->n_sent++);
        if (execution->headers.size > 0) {
                outbox_headers(d->outbox);
                buffer_append_slice(buffer, execution->headers);
        }
        outbox_body(d->outbox);
        trigger_encode_relay(buffer, trigger, now.real_usec);
        outbox_end(d->outbox);
}

static void relay(Dispatcher *d, Execution *execution, const Placement *placement, Instant now) {
        Runtime *runtime = placement->hosting->runtime;
        Attempt *attempt;

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
                histogram_add(&d->queue_time, now.usec - execution->received_usec);
        else
                d->n.placed_again++;

        put_relay(d, execution, 0, /* is_check= */ false, now);
        for (size_t i = 0; i < execution->n_followers; i++)
                put_relay(d, execution, 1 + i, /* is_check= */ true, now);
        runtime->n_relayed++;
        d->n.relayed++;
        arm(d, execution);
        observers_execution(d, EXECUTION_EVENT_DISPATCHED, execution, NULL, now);
        diag_execution_relayed(id_slice(&execution->exec_id), id_slice(&execution->agent_id), id_slice(&runtime->id),
                execution->attempt);
}

/* Sent again, as a question, for each caller that is not known to be answered. */
static void put_checks(Dispatcher *d, Execution *execution, Instant now) {
        for (size_t ask = 0; ask <= execution->n_followers; ask++)
                if (!is_answered(execution, ask)) {
                        put_relay(d, execution, ask, /* is_check= */ true, now);
                        d->n.checked++;
                }
}

/* The attempt is over for us; the execution is in no list. */
static void end_attempt(Dispatcher *d, Execution *execution, AttemptEnd end, ErrorCode code, Instant now) {
        Attempt *attempt = execution_attempt(execution);

        attempt->end = end;
        attempt->code = code;
        attempt->ended_usec = now.usec;
        attempt->started = execution->started;
        execution_detach(d->executions, execution);
        d->pump_wanted = true;
}

/* placement */

static Placement choose(Dispatcher *d, const Execution *execution, const Runtime *avoid, Instant now) {
        const PlacementRequest request = {
                .agent = registry_find_agent(d->registry, id_slice(&execution->agent_id)),
                .labels = execution->labels,
                .avoid = avoid,
        };

        /* Cut off, we could tell nobody; what waits goes on when the link is back. */
        if (!d->link_up)
                return (Placement){ .outcome = PLACEMENT_WAIT };
        return placement_choose(&request, &d->rng, now.usec);
}

static void fail_unplaced(Dispatcher *d, Execution *execution, const Placement *placement, Instant now) {
        const Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));
        char text[256];

        if (!agent || (agent->n_hosts == 0 && execution->attempt == 0)) {
                (void)snprintf(text, sizeof(text), "no runtime hosts agent %s", execution->agent_id.text);
                fail(d, execution, ERROR_AGENT_UNKNOWN, text, SLICE_NONE, now);
                return;
        }
        if (agent->n_hosts == 0)
                (void)snprintf(text, sizeof(text), "no runtime hosts agent %s any more", execution->agent_id.text);
        else
                (void)snprintf(text, sizeof(text), "%zu %s agent %s, none can take it; of the closest: %s", agent->n_hosts,
                        agent->n_hosts == 1 ? "runtime hosts" : "runtimes host", execution->agent_id.text,
                        fitness_meaning(placement->best));
        fail(d, execution, ERROR_NO_RUNTIME, text, SLICE_NONE, now);
}

/*
 * Until when it is worth waiting for somebody who can take it at all: while the roll call is out, and for a while after the last host went or
 * stopped being usable (`unfit_usec`: since when nobody is). 0: not worth it.
 */
static uint64_t hope_usec(
        const Dispatcher *d, const Execution *execution, const Placement *placement, uint64_t unfit_usec, Instant now) {
        const Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));

        if (now.usec < d->patience_usec)
                return d->patience_usec;
        if (placement->outcome == PLACEMENT_UNKNOWN) {
                if (!agent || now.usec - agent->gone_usec >= d->options.rehost_wait_usec)
                        return 0;
                return agent->gone_usec + d->options.rehost_wait_usec;
        }
        if (placement->best == FITNESS_LABELS || placement->best == FITNESS_REFUSED)
                return 0;
        return unfit_usec + d->options.rehost_wait_usec;
}

static void wait_in_queue(Dispatcher *d, Execution *execution, Instant now) {
        if (execution_wait(d->executions, execution) < 0) {
                fail(d, execution, ERROR_INTERNAL, "the dispatcher is out of memory", SLICE_NONE, now);
                return;
        }
        arm(d, execution);
}

/* Nobody can take it now: wait with hope, or fail. In no queue when called. */
static void wait_or_fail(Dispatcher *d, Execution *execution, const Placement *placement, uint64_t unfit_usec, Instant now) {
        if (placement->outcome == PLACEMENT_WAIT) {
                execution->give_up_usec = USEC_NEVER;
                wait_in_queue(d, execution, now);
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
        wait_in_queue(d, execution, now);
}

static void place(Dispatcher *d, Execution *execution, Instant now) {
        Placement placement = choose(d, execution, NULL, now);

        if (placement.outcome == PLACEMENT_CHOSEN)
                relay(d, execution, &placement, now);
        else
                wait_or_fail(d, execution, &placement, now.usec, now);
}

/*
 * The attempt ended without an answer and may be followed by another: as the next free slot allows. `provably_unrun`: nothing
 * of it ran, so even `never` allows another runtime, and it does not count as a try.
 */
static void place_again(Dispatcher *d, Execution *execution, bool provably_unrun, ErrorCode code, const char *why, Instant now) {
        bool allowed = provably_unrun || execution->retry == RETRY_ALWAYS ||
                       (execution->retry == RETRY_UNSTARTED && !execution->started);
        char text[256];

        diag_execution_moved(id_slice(&execution->exec_id), id_slice(&execution_attempt(execution)->runtime_id), why);
        if (provably_unrun)
                execution->n_tries--;
        if (allowed && execution->n_tries < d->options.max_attempts &&
                execution->attempt < d->options.max_attempts * MOVES_FACTOR) {
                execution->started = false;
                execution->give_up_usec = USEC_NEVER;
                wait_in_queue(d, execution, now);
                return;
        }
        (void)snprintf(text, sizeof(text), "%s (attempt %" PRIu64 ", %s, retry %s)", why, execution->attempt,
                execution->started ? "started" : "not reported started", retry_policy_names[execution->retry]);
        fail(d, execution, code, text, SLICE_NONE, now);
}

void dispatch_runtime_lost(Dispatcher *d, Runtime *runtime, const char *why, Instant now) {
        Execution *execution;

        while ((execution = LIST_FIRST(&runtime->executions))) {
                d->n.lost++;
                end_attempt(d, execution, ATTEMPT_LOST, ERROR_RUNTIME_LOST, now);
                place_again(d, execution, /* provably_unrun= */ false, ERROR_RUNTIME_LOST, why, now);
        }
}

/* Tries the demands in their order, each until it can't be placed; so a demand nobody can take holds up no other. */
void dispatch_pump(Dispatcher *d, Instant now) {
        Demand *demand = demand_first(d->executions);

        d->pump_wanted = false;
        while (demand) {
                uint64_t order = demand->order, sequence = demand->sequence;
                Execution *execution = demand_head(demand);
                Placement placement = choose(d, execution, NULL, now);

                bool fit = placement.outcome == PLACEMENT_CHOSEN || placement.outcome == PLACEMENT_WAIT;

                demand->unfit_usec = fit ? USEC_NEVER : MIN_OF(demand->unfit_usec, now.usec);
                if (placement.outcome == PLACEMENT_CHOSEN) {
                        execution_unwait(d->executions, execution);
                        relay(d, execution, &placement, now);
                } else if (fit && execution->give_up_usec != USEC_NEVER) {
                        execution->give_up_usec = USEC_NEVER;
                        arm(d, execution);
                } else if (!fit && execution->give_up_usec == USEC_NEVER) {
                        uint64_t unfit_usec = demand->unfit_usec; /* the demand may go with its last execution */

                        execution_unwait(d->executions, execution);
                        wait_or_fail(d, execution, &placement, unfit_usec, now);
                }
                demand = demand_after(d->executions, order, sequence);
        }
}

/* arrival */

static void fill_in(Execution *execution, Slice workflow_id, Slice agent_id) {
        Trigger *trigger = &execution->trigger;
        Slice id = id_slice(&execution->exec_id);

        execution->workflow_id = id_of(workflow_id);
        execution->agent_id = id_of(agent_id);
        trigger->workflow_id = id_slice(&execution->workflow_id);
        trigger->agent_id = id_slice(&execution->agent_id);
        trigger->agent_exec_id = id;
        if (trigger->workflow_exec_id.size == 0)
                trigger->workflow_exec_id = id;
        if (trigger->metadata.request_id.size == 0)
                trigger->metadata.request_id = id;
        if (trigger->metadata.correlation_id.size == 0)
                trigger->metadata.correlation_id = trigger->metadata.request_id;
        trigger->metadata.source_component = SOURCE;
        if (trigger->payload.size == 0)
                trigger->payload = SLICE("{}");
        execution->retry = trigger->retry == RETRY_NONE_GIVEN ? RETRY_UNSTARTED : (RetryPolicy)trigger->retry;
        execution->priority = trigger->priority;
}

/* What must be right before an execution exists. Returns 0 or why not. */
static ErrorCode check_trigger(const Dispatcher *d, Slice workflow_id, Slice agent_id, const Trigger *trigger, WireError *error) {
        if (trigger->workflow_id.size > 0 && !slice_equal(trigger->workflow_id, workflow_id)) {
                (void)wire_error(error, "workflow.id is \"%.*s\", the subject says \"%.*s\"", SLICE_ARG(trigger->workflow_id),
                        SLICE_ARG(workflow_id));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->agent_id.size > 0 && !slice_equal(trigger->agent_id, agent_id)) {
                (void)wire_error(error, "agent.id is \"%.*s\", the subject says \"%.*s\"", SLICE_ARG(trigger->agent_id),
                        SLICE_ARG(agent_id));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->not_before.size > 0) {
                (void)wire_error(error, "payload.not_before is %.*s: only durable triggers can wait for their time",
                        SLICE_ARG(trigger->not_before));
                return ERROR_INVALID_MESSAGE;
        }
        if (trigger->reply_to_subject.size > 0 && !subject_may_receive_result(d->prefix, trigger->reply_to_subject)) {
                (void)wire_error(error, "payload.reply_to_subject \"%.*s\" is reserved: a result may go to %.*s.results.> or outside %.*s. and $",
                        SLICE_ARG(trigger->reply_to_subject), SLICE_ARG(d->prefix), SLICE_ARG(d->prefix));
                return ERROR_TOPIC_FORBIDDEN;
        }
        return ERROR_NONE;
}

/* The id is known: a repeat by the network, a caller that asks again, or one that asks for something long done. */
static void repeat(Dispatcher *d, Execution *execution, Slice reply_to, Instant now) {
        bool known = reply_to.size == 0 || slice_equal(reply_to, execution->reply_to);

        d->n.duplicates++;
        for (size_t i = 0; i < execution->n_followers; i++)
                known = known || slice_equal(reply_to, execution->followers[i]);
        if (known)
                return;

        if (execution_follow(execution, reply_to) < 0) {
                refuse_message(d, id_slice(&execution->workflow_id), id_slice(&execution->agent_id), &execution->trigger, reply_to,
                        ERROR_LIMIT_EXCEEDED, "too many callers wait for that agent.exec_id", now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT)
                put_checks(d, execution, now);
}

/* An ended execution is asked for again. Its last runtime answers from memory, if it is still the same. */
static bool ask_again(Dispatcher *d, Execution *execution, Instant now) {
        const Attempt *attempt = execution_attempt(execution);
        Runtime *runtime = registry_find(d->registry, id_slice(&attempt->runtime_id));

        if (execution->attempt == 0 || !runtime || runtime->epoch != attempt->epoch || runtime->unreachable)
                return false;
        if (runtime_free_slots(runtime) == 0) {
                fail_overloaded(d, execution, "the runtime that could repeat its answer has no free slot", now);
                return true;
        }

        execution_attach(d->executions, execution, runtime);
        execution->n_tries = 1; /* if it does not remember, it runs it */
        execution->check_pause_usec = d->options.check_usec;
        execution->check_usec = now.usec + execution->check_pause_usec;
        put_checks(d, execution, now);
        arm(d, execution);
        return true;
}

/* New work, or an id that ended and is asked for again. In phase WAITING, in no queue. */
static void admit(Dispatcher *d, Execution *execution, bool was_known, Instant now) {
        Id id = execution->exec_id;
        bool did_run = execution->attempt > 0 &&
                       (execution_attempt(execution)->end == ATTEMPT_ANSWERED || execution->retry == RETRY_NEVER ||
                               (execution->retry == RETRY_UNSTARTED && execution_attempt(execution)->started));
        char text[160];

        if (was_known && ask_again(d, execution, now))
                return;
        if (was_known && did_run && execution->retry != RETRY_ALWAYS) {
                fail(d, execution, ERROR_RUNTIME_LOST,
                        "that agent.exec_id was run before, and the runtime that could repeat its answer is gone", SLICE_NONE, now);
                return;
        }

        execution->n_tries = 0;
        if (execution_table_bytes(d->executions) > d->options.queue_bytes_limit) {
                (void)snprintf(text, sizeof(text), "triggers hold %" PRIu64 " bytes, the limit of dispatcher.queue_bytes is %" PRIu64,
                        execution_table_bytes(d->executions), d->options.queue_bytes_limit);
                fail_overloaded(d, execution, text, now);
                return;
        }
        /* Nobody overtakes those who wait: behind them, the pump decides. */
        if (execution_table_n_waiting(d->executions) == 0) {
                place(d, execution, now);
        } else {
                d->pump_wanted = true;
                wait_in_queue(d, execution, now);
        }
        if (execution->phase == PHASE_WAITING && execution->demand &&
                execution_table_n_waiting(d->executions) > d->options.queue_limit) {
                dispatch_pump(d, now);
                /* The pump may have ended it, and so many others that the history has forgotten it. */
                execution = execution_find(d->executions, id_slice(&id));
                if (!execution || !execution->demand)
                        return;
                execution_unwait(d->executions, execution);
                (void)snprintf(text, sizeof(text), "%zu triggers wait, the limit of dispatcher.queue_limit is %" PRIu64,
                        execution_table_n_waiting(d->executions), d->options.queue_limit);
                fail_overloaded(d, execution, text, now);
        }
}

/* Where the answer goes: what the body says, else the NATS reply subject (which dispatcher_on_message() has checked). */
static Slice reply_target(const Trigger *trigger, Slice reply) {
        return trigger->reply_to_subject.size > 0 ? trigger->reply_to_subject : reply;
}

typedef struct Arrival {
        Slice workflow_id, agent_id;
        const InMessage *message;
        char *memory; /* owned until an execution takes it */
        size_t memory_size;
        Slice reply, headers;
        Trigger trigger;
        Arena arena;
        Labels *labels; /* in the arena; NULL: none */
} Arrival;

static void arrival_done(Arrival *arrival) {
        free(arrival->memory);
        arena_clear(&arrival->arena);
}

static ErrorCode arrival_decode(Dispatcher *d, Arrival *arrival, WireError *error) {
        const InMessage *message = arrival->message;
        Slice body;
        int r;

        if (message->body.size > d->options.max_message_bytes) {
                (void)wire_error(error, "the body has %zu bytes, the limit of limits.max_message_bytes is %" PRIu64,
                        message->body.size, d->options.max_message_bytes);
                return ERROR_INVALID_MESSAGE;
        }
        if (message->body.size + message->reply.size + message->headers.size + RELAY_MARGIN > d->max_payload) {
                (void)wire_error(error, "the body has %zu bytes: with what a relay adds, more than the server's max_payload of %" PRIu64,
                        message->body.size, d->max_payload);
                return ERROR_INVALID_MESSAGE;
        }
        arrival->memory = execution_memory(message->body, message->reply, message->headers, &arrival->memory_size);
        if (!arrival->memory) {
                (void)wire_error(error, "the dispatcher is out of memory");
                return ERROR_INTERNAL;
        }
        body = (Slice){ arrival->memory, message->body.size };
        if (message->reply.size > 0)
                arrival->reply = (Slice){ arrival->memory + body.size, message->reply.size };
        if (message->headers.size > 0)
                arrival->headers = (Slice){ arrival->memory + body.size + message->reply.size, message->headers.size };

        r = trigger_decode(body, &arrival->trigger, &arrival->arena, error);
        if (r == 0 && arrival->trigger.labels.size > 0) {
                arrival->labels = arena_alloc(&arrival->arena, sizeof(*arrival->labels));
                r = arrival->labels ? labels_decode(arrival->trigger.labels, "payload.labels", &arrival->arena, arrival->labels, error) :
                                      -ENOMEM;
        }
        if (r == WIRE_E_INVALID)
                return ERROR_INVALID_MESSAGE;
        if (r < 0) {
                (void)wire_error(error, "the dispatcher is out of memory");
                return ERROR_INTERNAL;
        }
        return check_trigger(d, arrival->workflow_id, arrival->agent_id, &arrival->trigger, error);
}

/* It could not be taken: still, whoever sent it is told, where it wanted to be told if that can be made out. */
static void refuse_unread(Dispatcher *d, Arrival *arrival, ErrorCode code, const char *text, Instant now) {
        Slice reply_to = arrival->message->reply;
        Trigger sender = {};

        if (arrival->message->body.size <= d->options.max_message_bytes)
                trigger_decode_sender(arrival->message->body, &sender, &arrival->arena);
        if (sender.reply_to_subject.size > 0 && subject_may_receive_result(d->prefix, sender.reply_to_subject))
                reply_to = sender.reply_to_subject;
        refuse_message(d, arrival->workflow_id, arrival->agent_id, &sender, reply_to, code, text, now);
}

/* A subject with ids out of grammar: there is no agent, and the answer carries "-" for what could not be read. */
void dispatch_refuse_subject(Dispatcher *d, const InMessage *message, const char *text, Instant now) {
        Arrival arrival = { .workflow_id = SLICE("-"), .agent_id = SLICE("-"), .message = message };

        d->n.triggers++;
        refuse_unread(d, &arrival, ERROR_INVALID_MESSAGE, text, now);
        arrival_done(&arrival);
}

/* Moves what was decoded into the execution. */
static void take_arrival(Dispatcher *d, Arrival *arrival, Execution *execution, Slice reply_to, Instant now) {
        uint64_t ms = arrival->trigger.deadline_ms > 0 ? arrival->trigger.deadline_ms : d->options.default_deadline_ms;

        execution->trigger = arrival->trigger;
        execution->labels = arrival->labels;
        execution->headers = arrival->headers;
        execution->reply_to = reply_to;
        execution->arena = arrival->arena;
        arrival->arena = (Arena){};
        execution_own(d->executions, execution, TAKE_PTR(arrival->memory), arrival->memory_size);
        fill_in(execution, arrival->workflow_id, arrival->agent_id);
        execution->received_usec = now.usec;
        execution->deadline_usec = now.usec + ms * USEC_PER_MSEC;
        execution->order = execution_order(now.usec, execution->priority);
}

void dispatch_trigger(Dispatcher *d, Slice workflow_id, Slice agent_id, const InMessage *message, Instant now) {
        Arrival arrival = { .workflow_id = workflow_id, .agent_id = agent_id, .message = message };
        Execution *execution = NULL;
        WireError error = {};
        ErrorCode code;
        Slice reply_to;
        Id id;

        d->n.triggers++;
        code = arrival_decode(d, &arrival, &error);
        if (code != ERROR_NONE) {
                d->n.invalid++;
                diag_message_invalid(message->subject, error.text, now.usec);
                refuse_unread(d, &arrival, code, error.text, now);
                arrival_done(&arrival);
                return;
        }

        reply_to = reply_target(&arrival.trigger, arrival.reply);
        id = arrival.trigger.agent_exec_id.size > 0 ? id_of(arrival.trigger.agent_exec_id) : rng_id(&d->rng);
        execution = execution_find(d->executions, id_slice(&id));
        if (execution && !(id_equal(&execution->agent_id, agent_id) && id_equal(&execution->workflow_id, workflow_id))) {
                d->n.invalid++;
                refuse_message(d, workflow_id, agent_id, &arrival.trigger, reply_to, ERROR_INVALID_MESSAGE,
                        "agent.exec_id was used for another agent or workflow", now);
        } else if (execution && execution->phase != PHASE_ENDED) {
                repeat(d, execution, reply_to, now);
        } else if (execution) {
                d->n.duplicates++;
                execution_revive(d->executions, execution);
                take_arrival(d, &arrival, execution, reply_to, now);
                admit(d, execution, /* was_known= */ true, now);
        } else if (execution_add(d->executions, id_slice(&id), &execution) < 0) {
                refuse_message(d, workflow_id, agent_id, &arrival.trigger, reply_to, ERROR_INTERNAL, "the dispatcher is out of memory", now);
        } else {
                take_arrival(d, &arrival, execution, reply_to, now);
                admit(d, execution, /* was_known= */ false, now);
        }
        arrival_done(&arrival);
}

/* what we hear of relays */

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

/* What comes to a relay's own reply subject, "<exec id>.<attempt>.<which message of it>": reports, or the server's word that nobody listens. */
void dispatch_relay_answer(Dispatcher *d, Slice token, const InMessage *message, Instant now) {
        const char *dot = memchr(token.data, '.', token.size);
        Execution *execution;
        int64_t attempt, n;
        size_t cursor;

        if (!message->no_responders) {
                dispatch_report(d, message, now);
                return;
        }
        if (!dot)
                return;
        cursor = (size_t)(dot - token.data);
        execution = execution_find(d->executions, (Slice){ token.data, cursor });
        attempt = read_number(token, &cursor);
        n = read_number(token, &cursor);
        if (!execution || execution->phase != PHASE_IN_FLIGHT || attempt < 0 || execution->attempt != (uint64_t)attempt || n < 0)
                return;

        membership_unheard(d, execution->runtime, now);
        if (n < 32)
                execution->unheard |= UINT32_C(1) << n;
        /* Where one was not heard another may have been: then the verdict on the runtime will tell. */
        if (execution->heard || !is_all_unheard(execution))
                return;
        d->n.unheard++;
        end_attempt(d, execution, ATTEMPT_UNHEARD, ERROR_NO_RUNTIME, now);
        place_again(d, execution, /* provably_unrun= */ true, ERROR_NO_RUNTIME, "nobody listened", now);
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
                 * Another caller waits for the same execution, and its relay may have been lost: the runtime answers from memory. Asked
                 * for after this turn, since the word about that caller is usually in the same report.
                 */
                execution->check_usec = now.usec;
                arm(d, execution);
                return;
        }
        execution->runtime->n_done++;
        histogram_add(&d->run_time, now.usec - execution->sent_usec);
        end_attempt(d, execution, ATTEMPT_ANSWERED, (ErrorCode)report->code, now);
        count_done(d, now);
        d->n.by_status[status]++;
        if (report->code != ERROR_NONE)
                d->n.by_code[report->code]++;
        diag_execution_ended(id_slice(&execution->exec_id), id_slice(&execution->agent_id), result_status_names[status],
                (ErrorCode)report->code);
        execution_end(d->executions, execution, status, (ErrorCode)report->code, now.usec);
}

/* A runtime that refuses says so for a reason, which tells where not to try next. */
static void learn_from_refusal(Dispatcher *d, const Execution *execution, ErrorCode code, Instant now) {
        Runtime *runtime = execution->runtime;
        Agent *agent = registry_find_agent(d->registry, id_slice(&execution->agent_id));
        Hosting *hosting = NULL;

        for (size_t i = 0; agent && i < agent->n_hosts; i++)
                if (agent->hosts[i]->runtime == runtime)
                        hosting = agent->hosts[i];

        switch (code) {
        case ERROR_RUNTIME_DRAINING:
                membership_draining(d, runtime, now);
                break;
        case ERROR_MAILBOX_FULL:
                if (hosting)
                        hosting->full_until_usec = now.usec + MAILBOX_PAUSE_USEC;
                break;
        case ERROR_AGENT_NOT_FOUND:
        case ERROR_AGENT_STOPPED:
        case ERROR_AGENT_FAILED:
                if (hosting)
                        hosting->refused = true;
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
        return code == ERROR_MAILBOX_FULL || code == ERROR_AGENT_NOT_FOUND || code == ERROR_AGENT_STOPPED ||
               code == ERROR_AGENT_FAILED;
}

static void on_refused(Dispatcher *d, Execution *execution, const ExecutionReport *report, Instant now) {
        ErrorCode code = report->code != ERROR_NONE ? (ErrorCode)report->code : ERROR_INTERNAL;
        const Runtime *runtime = execution->runtime;
        bool unrun = !execution->started && !(code == ERROR_RUNTIME_LOST && now.usec >= execution->sent_usec + d->options.check_usec);
        Placement placement;
        char text[160];

        d->n.refused++;
        learn_from_refusal(d, execution, code, now);
        (void)snprintf(text, sizeof(text), "runtime %s refused it: %s", runtime->id.text, error_code_meaning(code));
        end_attempt(d, execution, ATTEMPT_REFUSED, code, now);

        if (code == ERROR_TOPIC_FORBIDDEN || code == ERROR_INVALID_MESSAGE) {
                fail(d, execution, code, text, SLICE_NONE, now);
                return;
        }
        /* The agent can't take it there; if it can nowhere else, that is the answer. */
        if (is_about_agent(code)) {
                placement = choose(d, execution, runtime, now);
                if (placement.outcome != PLACEMENT_WAIT &&
                        (placement.outcome != PLACEMENT_CHOSEN || placement.best == FITNESS_MAILBOX)) {
                        fail(d, execution, code, text, SLICE_NONE, now);
                        return;
                }
        }
        place_again(d, execution, unrun, code, text, now);
}

static void on_execution_report(Dispatcher *d, Runtime *runtime, const ExecutionReport *report, Instant now) {
        Execution *execution = execution_find(d->executions, report->exec_id);

        if (!execution || execution->phase != PHASE_IN_FLIGHT || execution->attempt != report->attempt ||
                execution->runtime != runtime) {
                /* Of an attempt that was answered already it is a repeat; of another one it is a zombie's word. */
                if (execution && execution->attempt != report->attempt && report->state != EXECUTION_REFUSED) {
                        d->n.stale_reports++;
                        diag_stale_report(report->exec_id, id_slice(&runtime->id), report->attempt, now.usec);
                }
                return;
        }

        execution->check_pause_usec = MIN_OF(d->options.check_usec * CHECK_FACTOR, CHECK_PAUSE_MAX);
        execution->check_usec = now.usec + execution->check_pause_usec; /* the armed moment comes earlier, and looks again */
        switch ((ExecutionState)report->state) {
        case EXECUTION_ACCEPTED:
                execution->heard = true;
                break;
        case EXECUTION_STARTED:
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

void dispatch_report(Dispatcher *d, const InMessage *message, Instant now) {
        Arena arena = {};
        Report report = {};
        WireError error = {};
        Runtime *runtime;
        size_t cursor = 0, index = 0;
        Slice element;

        d->n.reports++;
        if (report_decode(message->body, &report, &d->arena, &error) != 0) {
                d->n.invalid++;
                diag_message_invalid(message->subject, error.text, now.usec);
                return;
        }
        runtime = registry_find(d->registry, report.runtime_id);
        if (!runtime || runtime->epoch != report.epoch) {
                d->n.stale_reports++;
                diag_stale_report(SLICE("executions"), report.runtime_id, 0, now.usec);
                return;
        }

        membership_heard(d, runtime, now);
        while (index < REPORT_EXECUTIONS_MAX && scan_next(report.executions, &cursor, &element)) {
                ExecutionReport execution = {};

                if (execution_report_decode(element, index++, &execution, &arena, &error) != 0) {
                        d->n.invalid++;
                        diag_message_invalid(message->subject, error.text, now.usec);
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

/* time */

static void expire(Dispatcher *d, Execution *execution, Instant now) {
        char text[160];

        /* It did not wait for a slot, but for somebody to host the agent at all: that is what its caller should hear. */
        if (execution->phase == PHASE_WAITING && execution->give_up_usec != USEC_NEVER) {
                Placement placement = choose(d, execution, NULL, now);

                execution_unwait(d->executions, execution);
                fail_unplaced(d, execution, &placement, now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT) {
                (void)snprintf(text, sizeof(text), "the deadline passed after %" PRIu64 " ms; runtime %s has it%s",
                        (now.usec - execution->received_usec) / USEC_PER_MSEC, execution->runtime->id.text,
                        execution->started ? ", started" : "");
                end_attempt(d, execution, ATTEMPT_EXPIRED, ERROR_DEADLINE_EXCEEDED, now);
        } else {
                (void)snprintf(text, sizeof(text), "the deadline passed after %" PRIu64 " ms of waiting for a free runtime",
                        (now.usec - execution->received_usec) / USEC_PER_MSEC);
                execution_unwait(d->executions, execution);
        }
        d->n.expired++;
        fail(d, execution, ERROR_DEADLINE_EXCEEDED, text, SLICE_NONE, now);
}

static void ask_runtime(Dispatcher *d, Execution *execution, Instant now) {
        execution->check_pause_usec = MIN_OF(execution->check_pause_usec * 2, CHECK_PAUSE_MAX);
        execution->check_usec = now.usec + execution->check_pause_usec;
        if (d->link_up && !execution->runtime->unreachable)
                put_checks(d, execution, now);
        arm(d, execution);
}

void dispatch_execution_due(Dispatcher *d, Execution *execution, Instant now) {
        Placement placement;

        if (now.usec >= execution->deadline_usec) {
                expire(d, execution, now);
                return;
        }
        if (execution->phase == PHASE_IN_FLIGHT) {
                if (now.usec >= execution->check_usec)
                        ask_runtime(d, execution, now);
                else
                        arm(d, execution);
                return;
        }
        if (now.usec < execution->give_up_usec) {
                arm(d, execution);
                return;
        }
        /* A last look: somebody may have come whom the pump has not reached yet. */
        execution_unwait(d->executions, execution);
        placement = choose(d, execution, NULL, now);
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
                fail(d, execution, ERROR_NO_RUNTIME, "this dispatcher is stopping, and no runtime had a free slot in time",
                        SLICE_NONE, now);
        }
}
