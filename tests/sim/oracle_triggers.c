/* SPDX-License-Identifier: MIT */

/*
 * What becomes of a trigger: promises 2, 4, 5 and 9, and what `retry` allows.
 */

#include <inttypes.h>

#include "dispatcherd/dispatcher.h"
#include "proto/report.h"
#include "proto/wire_error.h"
#include "tests/sim/record.h"

#define AGAIN_USEC (100 * USEC_PER_MSEC) /* "at once" after "no responders" */
#define ASKED_AFTER 2                    /* times check_usec */

/* who asked whom */

static void on_deadline(Sim *sim, Event *event) {
        Oracle *oracle = sim->oracle;
        const Ask *ask = &oracle->asks[event->argument];
        const Exec *exec = oracle->execs[ask->exec];
        const Node *dispatcher = event->node;

        if (dispatcher->incarnation != ask->incarnation || !node_is_undisturbed_since(dispatcher, ask->reached_usec))
                return; /* P5 speaks of a dispatcher that was alive and reachable all the time */
        if (ask->dispatcher_usec > 0 || ask->n_received > 0)
                return;
        /* A runtime has answered, and the dispatcher was told that it has. */
        if (ask->runtime_usec > 0)
                for (size_t i = 0; i < exec->n_relays; i++)
                        if (exec->relays[i].dispatcher == dispatcher->index && exec->relays[i].word == WORD_DONE)
                                return;
        sim_break(sim, "P5",
                "%s got trigger %" PRIu64 " (%s, deadline %" PRIu64
                " ms) and has not seen to its answer by its deadline",
                dispatcher->name, event->argument, exec->id.text, ask->deadline_ms);
}

/* A life that is over by the dispatcher's clock has ended, or ends in this very turn. */
static void begin_life(Exec *exec, const Node *dispatcher, const Ask *ask, Instant now) {
        Reach *reach = record_reach(exec, dispatcher);
        const uint64_t deadline = now.usec + ask->deadline_ms * USEC_PER_MSEC;

        if (!reach && exec->n_reaches == REACHES_MAX)
                return;
        if (!reach) {
                reach = &exec->reaches[exec->n_reaches++];
                *reach = (Reach){
                        .dispatcher = dispatcher->index,
                        .incarnation = dispatcher->incarnation,
                        .usec = ask->asked_usec,
                        .deadline_local = deadline,
                };
                return;
        }
        /* where nobody wanted an answer, nothing was seen of the end of the one before */
        if (!reach->ended && exec->options.wants_reply && now.usec < reach->deadline_local)
                return;
        reach->life++;
        reach->ended = false;
        reach->deadline_local = deadline;
}

static void end_life(Exec *exec, const Node *dispatcher) {
        Reach *reach = record_reach(exec, dispatcher);

        if (reach)
                reach->ended = true;
}

void triggers_on_reach(Oracle *oracle, Node *dispatcher, const Message *message) {
        Sim *sim = oracle->sim;
        Ask *ask = &oracle->asks[message->meaning.ask];

        begin_life(oracle->execs[ask->exec], dispatcher, ask, node_instant(sim, dispatcher));
        if (ask->dispatcher != INDEX_NONE)
                return;
        ask->dispatcher = dispatcher->index;
        ask->incarnation = dispatcher->incarnation;
        ask->reached_usec = sim->now;
        ask->reached_local = node_instant(sim, dispatcher).usec;
        if (ask->wants_reply)
                sim_after(sim, ask->deadline_ms * USEC_PER_MSEC + PROMPT_USEC, on_deadline, dispatcher,
                        message->meaning.ask);
}

/* relays */

static Relay *add_relay(Exec *exec) {
        if (exec->n_relays == exec->n_relays_allocated) {
                exec->n_relays_allocated = MAX_OF(exec->n_relays_allocated * 2, (size_t)4);
                exec->relays = realloc(exec->relays, exec->n_relays_allocated * sizeof(Relay));
                assert(exec->relays);
        }
        return &exec->relays[exec->n_relays++];
}

void record_close(Oracle *oracle, Relay *relay) {
        View *view;

        if (!relay->holds_slot)
                return;
        relay->holds_slot = false;
        view = &oracle->views[relay->dispatcher][relay->runtime];
        if (view->epoch == relay->epoch && view->outstanding > 0)
                view->outstanding--;
}

/* What `retry` says about the relays of this dispatcher process before this one. */
static void check_retry(Oracle *oracle, const Node *dispatcher, Exec *exec, const Relay *relay) {
        Sim *sim = oracle->sim;
        const unsigned retry = exec->options.retry == RETRY_NONE_GIVEN ? RETRY_UNSTARTED : exec->options.retry;

        for (size_t i = 0; i < exec->n_relays; i++) {
                const Relay *before = &exec->relays[i];

                if (before == relay || before->dispatcher != relay->dispatcher || before->life != relay->life ||
                        before->dispatcher_incarnation != relay->dispatcher_incarnation)
                        continue;
                if (before->word == WORD_UNHEARD || before->word == WORD_REFUSED)
                        sim_count(sim, COUNT_PLACED_AFTER_503);
                else
                        sim_count(sim, COUNT_PLACED_AFTER_LOSS);
                if (retry == RETRY_NEVER && before->word != WORD_UNHEARD && before->word != WORD_REFUSED)
                        sim_break(sim, "retry",
                                "%s placed %s (never) again as attempt %" PRIu64 ", though %s may have it",
                                dispatcher->name, exec->id.text, relay->attempt, sim->nodes[before->runtime]->name);
                if (retry == RETRY_UNSTARTED && before->word >= WORD_STARTED)
                        sim_break(sim, "retry",
                                "%s placed %s (unstarted) again as attempt %" PRIu64 ", though %s had reported it %s",
                                dispatcher->name, exec->id.text, relay->attempt, sim->nodes[before->runtime]->name,
                                before->word == WORD_DONE ? "done" : "started");
                if (relay->attempt <= before->attempt)
                        sim_break(sim, "retry", "%s reused attempt %" PRIu64 " of %s", dispatcher->name, relay->attempt,
                                exec->id.text);
        }
}

/* What has passed its deadline is over for the dispatcher, though where nobody wants an answer nothing is seen of it.
 */
static void close_expired(Oracle *oracle, const Node *dispatcher, uint32_t runtime) {
        const uint64_t now = node_instant(oracle->sim, dispatcher).usec;

        for (size_t a = 0; a < oracle->n_asks; a++) {
                const Ask *ask = &oracle->asks[a];
                Exec *exec = oracle->execs[ask->exec];

                if (ask->dispatcher != dispatcher->index || now < ask->reached_local + ask->deadline_ms * USEC_PER_MSEC)
                        continue;
                for (size_t i = 0; i < exec->n_relays; i++)
                        if (exec->relays[i].dispatcher == dispatcher->index && exec->relays[i].runtime == runtime)
                                record_close(oracle, &exec->relays[i]);
        }
}

/* P9: never more out than the runtime has slots. */
static void count_relay(Oracle *oracle, const Node *dispatcher, const Exec *exec, Relay *relay) {
        View *view = &oracle->views[dispatcher->index][relay->runtime];

        if (!view->known || view->epoch != relay->epoch)
                return;
        relay->holds_slot = true;
        view->outstanding++;
        view->n_relayed_since_told++;
        if (view->outstanding > view->max_in_flight)
                close_expired(oracle, dispatcher, relay->runtime);
        if (view->outstanding > view->max_in_flight)
                sim_break(oracle->sim, "P9",
                        "%s gave %s to %s, which has %" PRIu64 " of its %" PRIu64 " slots taken by it",
                        dispatcher->name, exec->id.text, oracle->sim->nodes[relay->runtime]->name,
                        view->outstanding - 1, view->max_in_flight);
}

void triggers_on_relay(Oracle *oracle, Node *dispatcher, const Message *message) {
        const Meaning *meaning = &message->meaning;
        Exec *exec = meaning->exec == INDEX_NONE ? NULL : oracle->execs[meaning->exec];
        const Reach *reach = record_reach(exec, dispatcher);
        Relay *relay;

        if (meaning->age_ms > 0)
                sim_count(oracle->sim, COUNT_REPEAT);
        if (!exec || meaning->runtime == INDEX_NONE) {
                if (meaning->runtime != INDEX_NONE) { /* made up by the dispatcher, and nobody wants its answer */
                        oracle->views[dispatcher->index][meaning->runtime].n_relayed_since_told++;
                        oracle->views[dispatcher->index][meaning->runtime].n_unknown++;
                }
                return;
        }
        relay = record_relay(exec, dispatcher, meaning->attempt);
        if (relay && (meaning->age_ms > 0 || (reach && relay->life == reach->life))) {
                relay->n_sent++;
                if (relay->epoch != meaning->epoch)
                        sim_break(oracle->sim, "retry", "%s sent attempt %" PRIu64 " of %s to a second runtime",
                                dispatcher->name, meaning->attempt, exec->id.text);
                else if (!relay->holds_slot) /* asked for again after its end: it may count until the runtime repeats
                                                its answer */
                        oracle->views[dispatcher->index][relay->runtime].n_unknown++;
                return;
        }
        relay = add_relay(exec);
        *relay = (Relay){
                .dispatcher = dispatcher->index,
                .dispatcher_incarnation = dispatcher->incarnation,
                .life = reach ? reach->life : 0,
                .runtime = meaning->runtime,
                .runtime_incarnation = oracle->sim->nodes[meaning->runtime]->incarnation,
                .epoch = meaning->epoch,
                .attempt = meaning->attempt,
                .usec = oracle->sim->now,
                .n_sent = 1,
        };
        check_retry(oracle, dispatcher, exec, relay);
        liveness_on_relay(oracle, dispatcher, exec, message);
        count_relay(oracle, dispatcher, exec, relay);
}

static bool is_last_of(const Exec *exec, const Relay *relay) {
        for (const Relay *later = relay + 1; later < exec->relays + exec->n_relays; later++)
                if (later->dispatcher == relay->dispatcher &&
                        later->dispatcher_incarnation == relay->dispatcher_incarnation)
                        return false;
        return true;
}

/* P4: what nobody listened to is placed again at once. */
static void on_again_due(Sim *sim, Event *event) {
        Oracle *oracle = sim->oracle;
        Node *dispatcher = event->node;
        Exec *exec = oracle->execs[event->argument >> 8];
        const Relay *relay = record_relay(exec, dispatcher, event->argument & 255);
        const Reach *reach = record_reach(exec, dispatcher);

        if (!node_is_sound_since(dispatcher, sim->now - AGAIN_USEC) || dispatcher->dispatcher.draining)
                return;
        /* where nobody wants an answer, nothing is seen of the end that a dispatcher may have given it meanwhile */
        if (!relay || !reach || !exec->options.wants_reply || reach->ended || reach->life != relay->life ||
                relay->word != WORD_UNHEARD || !is_last_of(exec, relay))
                return;
        for (uint32_t i = 0; i < sim->n_nodes; i++)
                if (sim->nodes[i]->kind == NODE_RUNTIME && sim->nodes[i]->index != relay->runtime &&
                        view_could_take(oracle, dispatcher, sim->nodes[i], exec))
                        sim_break(sim, "P4",
                                "%s was told %.3f s ago that nobody listened to %s, and has not placed it again though "
                                "%s could "
                                "take it",
                                dispatcher->name, (double)AGAIN_USEC / 1e6, exec->id.text, sim->nodes[i]->name);
}

void triggers_on_unheard(Oracle *oracle, Node *dispatcher, Message *cause) {
        Exec *exec = cause->meaning.exec == INDEX_NONE ? NULL : oracle->execs[cause->meaning.exec];
        Relay *relay = record_relay(exec, dispatcher, cause->meaning.attempt);

        if (!relay || cause->unheard_told)
                return;
        cause->unheard_told = true;
        if (++relay->n_unheard < relay->n_sent || relay->word != WORD_NONE)
                return;
        relay->word = WORD_UNHEARD;
        record_close(oracle, relay);
        if (relay->attempt < 256)
                sim_after(
                        oracle->sim, AGAIN_USEC, on_again_due, dispatcher, (uint64_t)exec->index << 8 | relay->attempt);
}

/* reports */

static void on_word(Oracle *oracle, Node *dispatcher, const ExecutionReport *report) {
        static const Word words[_EXECUTION_STATE_MAX] = {
                [EXECUTION_ACCEPTED] = WORD_ACCEPTED,
                [EXECUTION_STARTED] = WORD_STARTED,
                [EXECUTION_DONE] = WORD_DONE,
                [EXECUTION_REFUSED] = WORD_REFUSED,
        };
        Exec *exec = record_find(oracle, report->exec_id);
        Relay *relay = record_relay(exec, dispatcher, report->attempt);
        Word word = words[report->state];

        if (!relay)
                return;
        if (word == WORD_REFUSED && relay->word != WORD_DONE) {
                sim_count(oracle->sim, COUNT_REFUSED);
                if (report->code == ERROR_OVERLOADED || report->code == ERROR_MAILBOX_FULL)
                        sim_count(oracle->sim, COUNT_REFUSED_FULL);
                else if (report->code == ERROR_RUNTIME_DRAINING)
                        sim_count(oracle->sim, COUNT_REFUSED_DRAINING);
                else if (report->code == ERROR_RUNTIME_LOST)
                        sim_count(oracle->sim, COUNT_REFUSED_LOST);
                oracle->views[dispatcher->index][relay->runtime].refused_usec = oracle->sim->now;
                /* "not taken, not run": but a repeat that is refused does not undo that the first was started */
                if (relay->word != WORD_STARTED)
                        relay->word = word;
        } else if (word > relay->word || relay->word == WORD_UNHEARD) {
                relay->word = word;
        }
        if (word == WORD_STARTED)
                sim_count(oracle->sim, COUNT_STARTED);
        if (word == WORD_DONE && is_last_of(exec, relay))
                end_life(exec, dispatcher);
        if (word == WORD_DONE || word == WORD_REFUSED)
                record_close(oracle, relay);
}

/* Calls `visit` for each execution in a report. */
static void walk_report(Oracle *oracle, Node *dispatcher, const Message *message,
        void (*visit)(Oracle *, Node *, const ExecutionReport *)) {
        _cleanup_(arena_clear) Arena arena = {};
        Report report = {};
        WireError error;
        size_t cursor = 0, index = 0;
        Slice element;

        if (report_decode(message->body, &report, &arena, &error) != 0)
                return;
        while (scan_next(report.executions, &cursor, &element)) {
                ExecutionReport execution = {};

                if (execution_report_decode(element, index++, &execution, &arena, &error) != 0)
                        return;
                visit(oracle, dispatcher, &execution);
        }
}

/* Words of an epoch that the dispatcher does not know (any more) are a zombie's: it must not go by them. */
void triggers_on_report(Oracle *oracle, Node *dispatcher, const Message *message) {
        const Node *runtime = oracle->sim->nodes[message->from];
        uint64_t epoch = 0;

        if (runtime->kind != NODE_RUNTIME)
                return;
        if (!dispatcher_runtime_state(dispatcher->dispatcher.core, runtime->runtime.id, &epoch) ||
                epoch != message->meaning.epoch)
                return;
        walk_report(oracle, dispatcher, message, on_word);
}

/* Has another process taken its id over? Then what it was given counts as lost. With the same epoch nobody can tell the
 * two apart. */
static bool is_superseded(const Sim *sim, const Node *runtime) {
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                const Node *node = sim->nodes[i];

                if (node != runtime && node->kind == NODE_RUNTIME &&
                        strcmp(node->runtime.id, runtime->runtime.id) == 0 &&
                        node->runtime.epoch >= runtime->runtime.epoch)
                        return true;
        }
        return false;
}

/* What a runtime has said that it is done with. The dispatcher is not looked at: any that gave it this attempt is told.
 */
static void on_said(Oracle *oracle, Node *runtime, const ExecutionReport *report) {
        Exec *exec = record_find(oracle, report->exec_id);

        if (report->state != EXECUTION_REFUSED && report->state != EXECUTION_DONE)
                return;
        for (size_t i = 0; exec && i < exec->n_relays; i++)
                if (exec->relays[i].runtime == runtime->index && exec->relays[i].attempt == report->attempt)
                        exec->relays[i].settled = true;
}

void triggers_on_report_published(Oracle *oracle, const Node *runtime, const Message *message) {
        walk_report(oracle, oracle->sim->nodes[runtime->index], message, on_said);
}

void triggers_on_relay_delivered(Oracle *oracle, const Node *runtime, const Message *message) {
        Exec *exec = message->meaning.exec == INDEX_NONE ? NULL : oracle->execs[message->meaning.exec];
        Relay *relay = !exec || message->from == INDEX_NONE
                               ? NULL
                               : record_relay(exec, oracle->sim->nodes[message->from], message->meaning.attempt);

        if (relay && relay->runtime == runtime->index && relay->runtime_incarnation == runtime->incarnation)
                relay->delivered_usec = relay->delivered ? relay->delivered_usec : oracle->sim->now,
                relay->delivered = true;
}

/* A relay that a fault ate is asked about when nothing was heard of it for a while. */
static void on_check_due(Sim *sim, Event *event) {
        Oracle *oracle = sim->oracle;
        const Node *dispatcher = event->node;
        Exec *exec = oracle->execs[event->argument >> 8];
        const Relay *relay = record_relay(exec, dispatcher, event->argument & 255);
        const Reach *reach = record_reach(exec, dispatcher);
        const Node *runtime;
        const char *state;
        uint64_t epoch;

        if (!relay || !reach || reach->ended || reach->life != relay->life || !exec->options.wants_reply ||
                !is_last_of(exec, relay))
                return;
        if (sim->now < relay->usec + ASKED_AFTER * sim->scenario.check_usec)
                return; /* the execution was asked for again meanwhile: this is about the relay before */
        if (relay->n_sent > 1 || relay->word != WORD_NONE || !node_is_sound_since(dispatcher, relay->usec))
                return;
        runtime = sim->nodes[relay->runtime];
        if (!node_is_undisturbed_since(runtime, relay->usec) ||
                runtime->link.spike_until + 2 * runtime->link.spike_usec > relay->usec)
                return;
        /* one that it takes for gone is not asked */
        state = dispatcher_runtime_state(dispatcher->dispatcher.core, runtime->runtime.id, &epoch);
        if (!state || strcmp(state, "live") != 0 || epoch != relay->epoch ||
                oracle->views[dispatcher->index][runtime->index].refused_usec >= relay->usec)
                return;
        sim_break(sim, "healing", "%s has not asked about %s for %.3f s, whose relay was lost", dispatcher->name,
                exec->id.text, (double)(sim->now - relay->usec) / 1e6);
}

void triggers_on_relay_lost(Oracle *oracle, const Message *message) {
        Exec *exec = oracle->execs[message->meaning.exec];

        exec->has_lost_word = true;
        if (message->meaning.age_ms == 0 && message->meaning.attempt < 256)
                sim_after(oracle->sim, ASKED_AFTER * oracle->sim->scenario.check_usec, on_check_due,
                        oracle->sim->nodes[message->from], (uint64_t)exec->index << 8 | message->meaning.attempt);
}

static void on_lost_word(Oracle *oracle, Node *dispatcher, const ExecutionReport *report) {
        Exec *exec = record_find(oracle, report->exec_id);

        (void)dispatcher;
        if (exec)
                exec->has_lost_word = true;
}

void triggers_on_report_lost(Oracle *oracle, const Message *message) {
        walk_report(oracle, NULL, message, on_lost_word);
}

/* work */

static bool has_twins(const Sim *sim, const Node *runtime) {
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                const Node *node = sim->nodes[i];

                if (node != runtime && node->kind == NODE_RUNTIME && node->runtime.epoch == runtime->runtime.epoch &&
                        strcmp(node->runtime.id, runtime->runtime.id) == 0)
                        return true;
        }
        return false;
}

/* Was something done to anybody who had a part in this execution? Then a second run may be nobody's fault. */
static bool has_excuse(const Oracle *oracle, const Exec *exec) {
        const Sim *sim = oracle->sim;

        if (exec->n_reaches > 1 || exec->has_lost_word || !exec->options.name_exec)
                return true;
        for (size_t i = 0; i < exec->n_reaches; i++)
                if (exec->reaches[i].life > 0 ||
                        !node_is_sound_since(sim->nodes[exec->reaches[i].dispatcher], exec->reaches[i].usec))
                        return true;
        for (size_t i = 0; i < exec->n_relays; i++) {
                const Node *runtime = sim->nodes[exec->relays[i].runtime];

                if (!node_is_sound_since(runtime, exec->relays[i].usec) || is_superseded(sim, runtime))
                        return true;
        }
        return false;
}

/*
 * P2: after a stall a runtime can't know whether it was declared dead, and takes nothing new until a dispatcher has
 * taken its registration. (In a fleet that is asked for longer intervals, its window is longer than ours: not judged.)
 */
static void check_stall(Oracle *oracle, const Node *node, const Exec *exec) {
        Sim *sim = oracle->sim;

        if (node->stalled_usec == 0 || node->runtime.taken_usec >= node->stalled_usec ||
                sim->scenario.heartbeats_per_second_max < 1000)
                return;
        for (size_t i = 0; i < exec->n_relays; i++)
                if (exec->relays[i].runtime == node->index &&
                        exec->relays[i].runtime_incarnation == node->incarnation && exec->relays[i].delivered &&
                        exec->relays[i].delivered_usec >= node->stalled_usec)
                        sim_break(sim, "P2",
                                "%s took %s after a stall, before any dispatcher had taken its registration again",
                                node->name, exec->id.text);
}

/* It was asked for at one dispatcher process at most, and not again after its end: its attempts are counted on. */
static bool has_one_life(const Exec *exec) {
        return exec->n_reaches == 0 || (exec->n_reaches == 1 && exec->reaches[0].life == 0);
}

void oracle_on_work(Sim *sim, Node *node, const Mail *mail) {
        Oracle *oracle = sim->oracle;
        BehaviorMessage message;
        Exec *exec;
        bool others = false;

        mail_read(mail, &message);
        exec = record_find(oracle, message.exec_id);

        sim_trace(sim, node, "begins %.*s attempt %" PRIu64 "%s", SLICE_ARG(message.exec_id), message.attempt,
                mail->is_resumed ? " (timer)" : "");
        if (!exec || mail->is_resumed)
                return;
        for (size_t i = 0; i < exec->n_handlings; i++) {
                const Handling *before = &exec->handlings[i];

                others |= before->runtime != node->index || before->incarnation != node->incarnation;
                /* under a new epoch, what the old one ran was withheld: `retry` allows it to be run again */
                if (before->runtime == node->index && before->incarnation == node->incarnation &&
                        (before->epoch == node->runtime.epoch ||
                                (before->attempt == message.attempt && has_one_life(exec))))
                        sim_break(sim, "memory", "%s ran %s twice, as attempt %" PRIu64 " and %" PRIu64, node->name,
                                exec->id.text, before->attempt, message.attempt);
        }
        check_stall(oracle, node, exec);
        /* One dispatcher process, one life: no fault excuses it. */
        if (others && exec->options.retry == RETRY_NEVER && !has_twins(sim, node) && has_one_life(exec))
                sim_break(sim, "retry", "%s (never) is run by a second runtime: %s", exec->id.text, node->name);
        else if (others && exec->options.retry != RETRY_ALWAYS && !has_excuse(oracle, exec))
                sim_break(sim, "retry", "%s is run by a second runtime, %s, though nothing was lost", exec->id.text,
                        node->name);
        if (exec->n_handlings < HANDLINGS_MAX)
                exec->handlings[exec->n_handlings++] = (Handling){
                        .runtime = node->index,
                        .incarnation = node->incarnation,
                        .attempt = message.attempt,
                        .epoch = node->runtime.epoch,
                };
}

/* answers */

/* Was the runtime given this execution under an epoch that counts? Then it may repeat, under its new epoch, what it
 * remembers. */
static bool was_given_again(const Exec *exec, const Node *runtime) {
        for (size_t i = 0; i < exec->n_relays; i++)
                if (exec->relays[i].runtime == runtime->index && exec->relays[i].epoch > runtime->runtime.dead_epoch)
                        return true;
        return false;
}

void triggers_on_result(Oracle *oracle, Node *from, const Message *message) {
        Ask *ask = &oracle->asks[message->meaning.ask];
        Exec *exec = oracle->execs[ask->exec];

        ask->n_published++;
        if (from->kind == NODE_DISPATCHER) {
                if (ask->dispatcher_usec == 0)
                        ask->dispatcher_usec = oracle->sim->now;
                end_life(exec, from);
                for (size_t i = 0; i < exec->n_relays; i++)
                        if (exec->relays[i].dispatcher == from->index)
                                record_close(oracle, &exec->relays[i]);
                return;
        }
        for (size_t i = 0; i < exec->n_relays; i++)
                if (exec->relays[i].runtime == from->index)
                        exec->relays[i].settled = true;
        if (ask->runtime_usec == 0)
                ask->runtime_usec = oracle->sim->now;
        else
                sim_count(oracle->sim, COUNT_FROM_MEMORY);
        if (message->meaning.epoch != 0 && message->meaning.epoch <= from->runtime.dead_epoch &&
                !was_given_again(exec, from))
                sim_break(oracle->sim, "P2",
                        "%s published a result of %s from epoch %" PRIu64 ", of whose end it had been told", from->name,
                        exec->id.text, message->meaning.epoch);
}

static void count_answer(Sim *sim, const Meaning *meaning) {
        static const struct {
                ErrorCode code;
                Count count;
        } counts[] = {
                { ERROR_DEADLINE_EXCEEDED, COUNT_DEADLINE },
                { ERROR_OVERLOADED, COUNT_OVERLOADED },
                { ERROR_RUNTIME_LOST, COUNT_RUNTIME_LOST },
                { ERROR_NO_RUNTIME, COUNT_NO_RUNTIME },
                { ERROR_AGENT_UNKNOWN, COUNT_AGENT_UNKNOWN },
                { ERROR_INVALID_MESSAGE, COUNT_INVALID },
        };

        if (meaning->status == STATUS_SUCCESS)
                sim_count(sim, COUNT_SUCCESS);
        for (size_t i = 0; i < ELEMENTSOF(counts); i++)
                if (meaning->code == counts[i].code)
                        sim_count(sim, counts[i].count);
}

void triggers_on_answer(Oracle *oracle, Node *caller, const Message *message) {
        Sim *sim = oracle->sim;
        Ask *ask = &oracle->asks[message->meaning.ask];
        const Exec *exec = oracle->execs[ask->exec];

        if (++ask->n_received == 2)
                sim_count(sim, COUNT_TWO_ANSWERS);
        count_answer(sim, &message->meaning);
        ask->last_code = message->meaning.code;
        if (message->meaning.status != STATUS_SUCCESS)
                return;
        /* The same attempt's success twice is a duplicate, or an answer from memory. */
        if (ask->success_runtime != INDEX_NONE &&
                (ask->success_runtime != message->from || ask->success_attempt != message->meaning.attempt) &&
                !has_excuse(oracle, exec))
                sim_break(sim, "P2", "%s received two successes of %s, from %s and %s, though nothing was lost",
                        caller->name, exec->id.text, sim->nodes[ask->success_runtime]->name,
                        sim->nodes[message->from]->name);
        ask->success_runtime = message->from;
        ask->success_incarnation = message->from_incarnation;
        ask->success_attempt = message->meaning.attempt;
}
