/* SPDX-License-Identifier: MIT */

/*
 * What comes back from workers and child processes, and where it leads: an execution to its answer, an application
 * message to its end, a hook to the next step of its agent's life. What a behaviour wants later (deferred, pending) is
 * kept here until then.
 *
 * A message's effects are carried out when its outcome is read, before its answer leaves; one of them may end another
 * message, or this one, so nothing of a message is looked at behind them that they could have freed.
 */

#include "runtimed/core.h"
#include "runtimed/diag.h"
#include "runtimed/diag_execution.h"

/* outcomes */

/* Takes the first off the list of what is out: outcomes come in order. */
static void pop_out(Run *run, Execution *execution) {
        assert(run->out_first == execution);

        run->out_first = execution->next_out;
        if (!run->out_first)
                run->out_last = NULL;
        execution->next_out = NULL;
}

void core_arm_execution(Runtime *runtime, Execution *execution) {
        deadline_arm(&runtime->deadlines, &execution->deadline, MIN_OF(execution->expires_usec, execution->wake_usec));
}

static uint64_t defer_usec_of(const BehaviorReply *reply) {
        return MIN_OF(reply->defer_usec, (uint64_t)DEADLINE_MS_MAX * USEC_PER_MSEC);
}

void core_note_news(Runtime *runtime, Execution *execution) {
        for (Asker *asker = &execution->asker; asker; asker = asker->next)
                reporter_note(&runtime->reporters, asker);
}

static void defer(Runtime *runtime, Execution *execution, Instant now) {
        execution->phase = PHASE_DEFERRED;
        execution->mail.agent->n_deferred++;
        execution->wake_usec = now.usec + defer_usec_of(&execution->outcome.reply);
        core_arm_execution(runtime, execution);
        core_note_news(runtime, execution);
        diag_execution_step(execution, "deferred", "was put off by its agent, to be handled again");
}

/* Returns false when memory is out: that was its end. */
static bool leave_pending(Runtime *runtime, Execution *execution, Instant now) {
        if (core_open_message(runtime, execution->message_id, &execution->mail, /* is_pending= */ true) < 0) {
                core_fail(runtime, execution, ERROR_INTERNAL, "memory is out", now);
                return false;
        }
        execution->phase = PHASE_PENDING;
        execution->mail.agent->n_open++;
        core_note_news(runtime, execution);
        diag_execution_step(execution, "pending", "was left open by its agent, to be answered later");
        return true;
}

/* Its reply is final. It leaves now, or when it may. */
static void finish(Runtime *runtime, Execution *execution, Instant now) {
        Agent *agent = execution->mail.agent;

        agent->n_handled++;
        core_note_handled(runtime, agent, 1, now);
        if (core_must_wait_for_state(agent)) {
                if (core_hold_execution(runtime, execution) < 0) {
                        core_fail(runtime, execution, ERROR_STATE_ERROR, "memory is out for keeping its state", now);
                        return;
                }
        } else if (!core_must_hold(runtime, execution)) {
                core_finish(runtime, execution, now);
                return;
        }

        execution->phase = PHASE_HELD;
        runtime->n_held++;
        diag_execution_step(execution, "held",
                execution->held
                        ? "is done, and its answer waits until its agent's state is saved"
                        : "is done, and its answer waits for the connection to NATS or for a dispatcher's word");
        core_note_news(runtime, execution);
}

/* The list leaves the execution first: one of its effects may end it. */
static void apply_effects(Runtime *runtime, Execution *execution, Instant now) {
        EffectList effects = execution->outcome.reply.effects;
        const Id id = execution->id;
        Occasion occasion;

        if (effects.n == 0 && !effects.failed)
                return;
        execution->outcome.reply.effects = (EffectList){};
        occasion = (Occasion){ execution->message_id, id_slice(&id), &execution->envelope, execution->n_invoked };
        execution->n_invoked += effects_count(&effects, EFFECT_INVOKE);
        core_apply_effects(runtime, execution->mail.agent, &occasion, &effects, now);
        effects_clear(&effects);
}

/* Where the outcome of one message leads, when somebody still waits for it. */
static void settle_execution(Runtime *runtime, Execution *execution, Instant now) {
        const BehaviorReply *reply = &execution->outcome.reply;

        execution->phase = PHASE_SETTLING;
        execution->finished_usec = execution->outcome.finished_usec;
        core_note_started(runtime, execution, execution->outcome.started_usec, now);

        if (reply->verdict == BEHAVIOR_DEFER) {
                apply_effects(runtime, execution, now);
                defer(runtime, execution, now);
        } else if (reply->verdict == BEHAVIOR_PENDING) {
                if (leave_pending(runtime, execution, now))
                        apply_effects(runtime, execution, now);
        } else {
                apply_effects(runtime, execution, now);
                finish(runtime, execution, now);
        }
}

static ErrorCode why_discarded(const Agent *agent) {
        return agent->state == AGENT_FAILED ? ERROR_AGENT_FAILED : ERROR_AGENT_STOPPED;
}

static void on_execution_outcome(Runtime *runtime, Execution *execution, Run *run, Instant now) {
        if (run)
                pop_out(run, execution);

        if (execution->phase == PHASE_ABANDONED) {
                if (!execution->outcome.skipped) { /* its behaviour counts on what it wanted all the same */
                        runtime->counters.late++;
                        apply_effects(runtime, execution, now);
                }
                runtime->n_abandoned--;
                executions_remove(&runtime->executions, execution);
                return;
        }

        assert(execution->phase == PHASE_OUT);
        if (execution->outcome.skipped) {
                execution->phase = PHASE_SETTLING; /* it is with no worker any more */
                core_fail(runtime, execution, why_discarded(execution->mail.agent), NULL, now);
                return;
        }
        settle_execution(runtime, execution, now);
}

static void set_aside(Runtime *runtime, Delivery *delivery) {
        delivery->is_aside = true;
        delivery->previous_aside = NULL;
        delivery->next_aside = runtime->aside;
        if (runtime->aside)
                runtime->aside->previous_aside = delivery;
        runtime->aside = delivery;
}

static void take_from_aside(Runtime *runtime, Delivery *delivery) {
        if (delivery->previous_aside)
                delivery->previous_aside->next_aside = delivery->next_aside;
        else
                runtime->aside = delivery->next_aside;
        if (delivery->next_aside)
                delivery->next_aside->previous_aside = delivery->previous_aside;
        delivery->is_aside = false;

        if (delivery->deferred) {
                deadline_disarm(&runtime->deadlines, &delivery->deferred->due);
                free(TAKE_PTR(delivery->deferred));
                delivery->mail.agent->n_deferred--;
        } else {
                core_close_message(runtime, delivery->id);
                delivery->mail.agent->n_open--;
        }
}

void core_free_delivery(Runtime *runtime, Delivery *delivery) {
        if (delivery->is_aside)
                take_from_aside(runtime, delivery);
        if (delivery->mail.kind == MAIL_TIMER)
                delivery->mail.agent->n_fired--;
        if (delivery->trace)
                core_end_delivery_span(runtime, delivery);
        delivery_free(&runtime->letters, delivery);
}

static void defer_delivery(Runtime *runtime, Delivery *delivery, uint64_t usec, Instant now) {
        Deferred *deferred = calloc(1, sizeof(*deferred));

        if (!deferred) {
                core_drop_delivery(runtime, delivery, ERROR_INTERNAL, now);
                return;
        }
        deferred->delivery = delivery;
        deadline_init(&deferred->due, DEADLINE_RESUME);
        deadline_arm(&runtime->deadlines, &deferred->due, now.usec + usec);
        delivery->deferred = deferred;
        delivery->mail.agent->n_deferred++;
        set_aside(runtime, delivery);
}

static void leave_delivery_pending(Runtime *runtime, Delivery *delivery, Instant now) {
        if (core_open_message(runtime, delivery->id, &delivery->mail, /* is_pending= */ true) < 0) {
                core_drop_delivery(runtime, delivery, ERROR_INTERNAL, now);
                return;
        }
        delivery->mail.agent->n_open++;
        set_aside(runtime, delivery);
}

/* Handled to its end, with something to say or not. Takes the outcome. */
static void finish_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome, Instant now) {
        Agent *agent = delivery->mail.agent;
        const BehaviorReply *reply = &outcome->reply;
        const bool is_error = reply->verdict != BEHAVIOR_DONE || reply->output.failed;

        agent->n_handled++;
        runtime->counters.handled++;
        core_note_handled(runtime, agent, 1, now);
        if (is_error) {
                agent->n_failed++;
                runtime->counters.agent_errors++;
                diag_message_failed(agent_id_slice(agent), delivery->letter ? delivery->letter->topic : SLICE_NONE,
                        delivery->letter ? delivery->letter->envelope.correlation_id : SLICE_NONE,
                        buffer_slice(&reply->output));
        }
        if (delivery->mail.wants_answer && core_must_wait_for_state(agent)) {
                if (core_hold_delivery(runtime, delivery, outcome) == 0)
                        return;
                behavior_fail(&outcome->reply, ERROR_STATE_ERROR, "memory is out for keeping its state");
        }

        core_end_delivery(runtime, delivery, outcome, now);
}

void core_end_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome, Instant now) {
        const BehaviorReply *reply = &outcome->reply;
        ErrorCode code = ERROR_NONE;

        if (reply->verdict != BEHAVIOR_DONE || reply->output.failed)
                code = reply->code == ERROR_NONE ? ERROR_INTERNAL : reply->code;
        if (delivery->trace)
                delivery->trace->code = code;
        if (delivery->mail.wants_answer && delivery->letter)
                core_answer_letter(
                        runtime, delivery->mail.agent, delivery->letter, code, buffer_slice(&reply->output), now);
        core_free_delivery(runtime, delivery);
        (void)outcome_free(outcome);
}

static void apply_delivery_effects(
        Runtime *runtime, Agent *agent, Occasion *occasion, const EffectList *effects, Instant now) {
        Envelope none;

        if (effects->n == 0 && !effects->failed)
                return;
        envelope_init(&none);
        if (!occasion->envelope)
                occasion->envelope = &none;
        core_apply_effects(runtime, agent, occasion, effects, now);
        if (occasion->envelope == &none)
                occasion->envelope = NULL;
}

static void on_delivery_outcome(Runtime *runtime, Delivery *delivery, Outcome *outcome, Instant now) {
        Agent *agent = delivery->mail.agent;
        BehaviorReply *reply = &outcome->reply;
        Letter *letter = delivery->letter;
        Occasion occasion = { delivery->id, SLICE_NONE, letter ? &letter->envelope : NULL, delivery->n_invoked };
        DeliveryTrace trace; /* a copy: the delivery may end before its effects are carried out */
        const bool is_open = reply->verdict == BEHAVIOR_DEFER || reply->verdict == BEHAVIOR_PENDING;

        if (outcome->skipped) {
                core_drop_delivery(
                        runtime, delivery, outcome->is_late ? ERROR_DEADLINE_EXCEEDED : why_discarded(agent), now);
                (void)outcome_free(outcome);
                return;
        }

        delivery->n_invoked += effects_count(&reply->effects, EFFECT_INVOKE);
        if (delivery->trace) {
                trace = *delivery->trace;
                trace.envelope.traceparent.data = trace.traceparent;
                occasion.envelope = &trace.envelope;
        }
        if (letter)
                letter->n_refs++; /* one of its effects may end the message */
        if (reply->verdict == BEHAVIOR_DEFER)
                defer_delivery(runtime, delivery, defer_usec_of(reply), now);
        else if (reply->verdict == BEHAVIOR_PENDING)
                leave_delivery_pending(runtime, delivery, now);
        apply_delivery_effects(runtime, agent, &occasion, &reply->effects, now);
        if (letter)
                letter_unref(&runtime->letters, letter);

        if (is_open) {
                (void)outcome_free(outcome);
        } else {
                effects_clear(&reply->effects);
                finish_delivery(runtime, delivery, outcome, now);
        }
}

/* `outcome` may be gone when this returns. */
static void on_mail_outcome(Runtime *runtime, Outcome *outcome, Instant now) {
        Mail *mail = outcome->mail;
        Run *run = outcome->run;

        if (!run)
                core_end_call(runtime, mail->agent, mail);

        switch (mail->kind) {
        case MAIL_TRIGGER:
                on_execution_outcome(runtime, execution_of_mail(mail), run, now);
                break;
        case MAIL_TOPIC:
        case MAIL_ANSWER:
        case MAIL_TIMER:
                on_delivery_outcome(runtime, delivery_of_mail(mail), outcome, now);
                break;
        default:
                if (run)
                        mail->agent->behavior_state = run->behavior_state;
                core_on_control(runtime, control_of_mail(mail), now);
                break;
        }
}

void runtime_on_outcome(Runtime *runtime, Outcome *outcome, Instant now) {
        Agent *agent = outcome->run ? outcome->run->agent : outcome->mail->agent;
        const bool run_ended = outcome->run && outcome->run_ended, is_call = !outcome->run;

        runtime->now = now;
        core_apply(runtime, session_notice(&runtime->session, now), now);

        if (outcome->mail)
                on_mail_outcome(runtime, outcome, now);
        if (run_ended) {
                core_end_run(runtime, agent, now);
        } else if (is_call) {
                if (agent->is_discarding)
                        core_discard_mail(runtime, agent, ERROR_AGENT_STOPPED, now);
                core_after_handling(runtime, agent, now);
                core_make_ready(runtime, agent);
                core_note_unsettled(runtime, agent);
        }
        core_arm_reports(runtime, now);
}

bool core_end_pending(Runtime *runtime, Agent *agent, uint64_t message_id, BehaviorReply *reply, Instant now) {
        OpenMessage *open = core_find_open(runtime, message_id);
        Mail *mail = open ? open->mail : NULL;

        if (!open || !open->is_pending || mail->agent != agent)
                return false;

        if (mail->kind == MAIL_TRIGGER) {
                Execution *execution = execution_of_mail(mail);

                core_close_message(runtime, message_id);
                agent->n_open--;
                buffer_done(&execution->outcome.reply.output);
                execution->outcome.reply = *reply;
                *reply = (BehaviorReply){};
                execution->outcome.finished_usec = now.usec;
                execution->phase = PHASE_OUT;
                settle_execution(runtime, execution, now);
        } else {
                Outcome *outcome = mail_outcome(mail);

                take_from_aside(runtime, delivery_of_mail(mail));
                if (outcome) {
                        outcome->reply = *reply;
                        *reply = (BehaviorReply){};
                        finish_delivery(runtime, delivery_of_mail(mail), outcome, now);
                } else {
                        core_drop_delivery(runtime, delivery_of_mail(mail), ERROR_INTERNAL, now);
                }
        }
        core_after_handling(runtime, agent, now);
        core_make_ready(runtime, agent);
        core_note_unsettled(runtime, agent);
        return true;
}

/* time */

static void wake(Runtime *runtime, Execution *execution) {
        Agent *agent = execution->mail.agent;

        execution->wake_usec = USEC_NEVER;
        execution->phase = PHASE_QUEUED;
        execution->mail.is_resumed = true;
        execution->mail.lane = LANE_URGENT;
        if (core_push_mail(runtime, agent, &execution->mail) < 0) {
                execution->phase = PHASE_DEFERRED;
                execution->wake_usec = runtime->now.usec + USEC_PER_SEC; /* memory may be there by then */
        } else {
                agent->n_deferred--;
                runtime->n_queued++;
        }
        core_arm_execution(runtime, execution);
}

void core_on_execution_time(Runtime *runtime, Execution *execution, Instant now) {
        if (execution->expires_usec <= now.usec) {
                if (core_must_hold(runtime, execution))
                        core_expire_unsaid(runtime, execution, now);
                else
                        core_fail(runtime, execution, ERROR_DEADLINE_EXCEEDED, NULL, now);
                return;
        }

        if (execution->phase == PHASE_DEFERRED && execution->wake_usec <= now.usec)
                wake(runtime, execution);
}

void core_on_resume(Runtime *runtime, Deadline *deadline, Instant now) {
        Deferred *deferred = CONTAINER_OF(deadline, Deferred, due);
        Delivery *delivery = deferred->delivery;
        Agent *agent = delivery->mail.agent;

        delivery->mail.is_resumed = true;
        delivery->mail.lane = LANE_URGENT;
        delivery->mail.late_usec = USEC_NEVER; /* it was begun in time */
        if (core_push_mail(runtime, agent, &delivery->mail) < 0)
                deadline_arm(&runtime->deadlines, deadline, now.usec + USEC_PER_SEC); /* memory may be there by then */
        else
                take_from_aside(runtime, delivery);
}

/* discarding */

/* Its host ends it when the child is stopped; nobody waits for what it says by then. */
static bool is_with_child(const Execution *execution) {
        return execution->phase == PHASE_OUT && execution->mail.agent->definition->behavior->is_remote;
}

static void discard_executions(Runtime *runtime, const Agent *agent, ErrorCode code, Instant now) {
        Execution *execution, *next;

        for (execution = runtime->executions.first; execution; execution = next) {
                next = execution->next;
                if (execution->mail.agent != agent)
                        continue;
                if (execution->phase != PHASE_QUEUED && execution->phase != PHASE_DEFERRED &&
                        execution->phase != PHASE_PENDING && !is_with_child(execution))
                        continue;
                if (core_must_hold(runtime, execution))
                        core_withhold(runtime, execution, "its agent was stopped while no answer could go out");
                else
                        core_fail(runtime, execution, code, error_code_meaning(code), now);
        }
}

static void discard_aside(Runtime *runtime, const Agent *agent, ErrorCode code, Instant now) {
        Delivery *delivery, *next;

        for (delivery = runtime->aside; delivery; delivery = next) {
                next = delivery->next_aside;
                if (delivery->mail.agent == agent)
                        core_drop_delivery(runtime, delivery, code, now);
        }
}

void core_fail_pending(Runtime *runtime, Agent *agent, Instant now) {
        Execution *execution, *next_execution;
        Delivery *delivery, *next;

        if (agent->n_open == 0)
                return;
        for (execution = runtime->executions.first; execution; execution = next_execution) {
                next_execution = execution->next;
                if (execution->mail.agent != agent || execution->phase != PHASE_PENDING)
                        continue;
                if (core_must_hold(runtime, execution))
                        core_withhold(runtime, execution, "its agent crashed while no answer could go out");
                else
                        core_fail(
                                runtime, execution, ERROR_AGENT_CRASHED, error_code_meaning(ERROR_AGENT_CRASHED), now);
        }
        for (delivery = runtime->aside; delivery; delivery = next) {
                next = delivery->next_aside;
                if (delivery->mail.agent == agent && !delivery->deferred)
                        core_drop_delivery(runtime, delivery, ERROR_AGENT_CRASHED, now);
        }
}

void core_discard_mail(Runtime *runtime, Agent *agent, ErrorCode code, Instant now) {
        const uint32_t n_later = agent->n_deferred + agent->n_open;
        Mail *mail;

        if (agent->run)
                run_wish(agent->run, RUN_DISCARD);
        if (n_later > 0 || (agent->mailbox && agent->mailbox->n_triggers > 0)) /* there may be many of others' */
                discard_executions(runtime, agent, code, now);
        if (n_later > 0)
                discard_aside(runtime, agent, code, now);
        if (agent->mailbox)
                while ((mail = mailbox_pop(agent->mailbox, LANES_ALL & ~LANES_CONTROL)))
                        core_drop_delivery(runtime, delivery_of_mail(mail), code, now);
        core_note_unsettled(runtime, agent);
}
