/* SPDX-License-Identifier: MIT */

/*
 * The oracle's ears: reads each message once when it is published, follows it to where it is delivered or lost, and
 * passes it to the checks. The checks themselves are in oracle_liveness.c and oracle_triggers.c, the final ones in
 * oracle_end.c.
 */

#include <inttypes.h>
#include <stdio.h>

#include "dispatcherd/dispatcher.h"
#include "proto/registration.h"
#include "proto/report.h"
#include "proto/result.h"
#include "proto/trigger.h"
#include "proto/wire_error.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/load.h"
#include "tests/sim/record.h"

#define PREFIX SLICE(SUBJECT_PREFIX_DEFAULT)
#define REMEMBER_EVERY 7 /* messages: hostile.c gets a varied lot */

/* the record */

const char *record_id(const Oracle *oracle, uint32_t exec, char *buffer, size_t size) {
        const Exec *e = exec == INDEX_NONE ? NULL : oracle->execs[exec];

        (void)snprintf(buffer, size, "%s", !e ? "?" : e->id.size > 0 ? e->id.text : "(unnamed)");
        return buffer;
}

Exec *record_find(const Oracle *oracle, Slice exec_id) {
        Exec *exec = NULL;

        HASH_FIND(hh, oracle->by_id, exec_id.data, exec_id.size, exec);
        return exec;
}

static void record_name(Oracle *oracle, Exec *exec, Slice id) {
        if (exec->id.size > 0 || !id_is_valid(id) || record_find(oracle, id))
                return;
        exec->id = id_of(id);
        HASH_ADD_KEYPTR(hh, oracle->by_id, exec->id.text, exec->id.size, exec);
}

Reach *record_reach(Exec *exec, const Node *dispatcher) {
        for (size_t i = 0; exec && i < exec->n_reaches; i++)
                if (exec->reaches[i].dispatcher == dispatcher->index &&
                        exec->reaches[i].incarnation == dispatcher->incarnation)
                        return &exec->reaches[i];
        return NULL;
}

/* The latest of that number. */
Relay *record_relay(Exec *exec, const Node *dispatcher, uint64_t attempt) {
        for (size_t i = exec ? exec->n_relays : 0; i-- > 0;) {
                Relay *relay = &exec->relays[i];

                if (relay->dispatcher == dispatcher->index &&
                        relay->dispatcher_incarnation == dispatcher->incarnation && relay->attempt == attempt)
                        return relay;
        }
        return NULL;
}

Node *record_runtime(const Sim *sim, Slice runtime_id, uint64_t epoch) {
        for (uint32_t i = 0; i < sim->n_nodes; i++) {
                Node *node = sim->nodes[i];

                if (node->kind == NODE_RUNTIME && node->runtime.epoch == epoch &&
                        slice_equal(slice_of(node->runtime.id), runtime_id))
                        return node;
        }
        return sim_find_runtime(sim, runtime_id);
}

Oracle *oracle_new(Sim *sim) {
        Oracle *oracle = calloc(1, sizeof(*oracle));

        assert(oracle);
        oracle->sim = sim;
        oracle->pending_ask = INDEX_NONE;
        return oracle;
}

Oracle *oracle_free(Oracle *oracle) {
        if (!oracle)
                return NULL;
        HASH_CLEAR(hh, oracle->by_id);
        for (size_t i = 0; i < oracle->n_execs; i++) {
                free(oracle->execs[i]->relays);
                free(oracle->execs[i]);
        }
        free(oracle->execs);
        free(oracle->asks);
        free(oracle);
        return NULL;
}

static uint32_t exec_new(Oracle *oracle, const AskOptions *options) {
        Exec *exec = calloc(1, sizeof(*exec));
        char id[16];

        assert(exec);
        if (oracle->n_execs == oracle->n_execs_allocated) {
                oracle->n_execs_allocated = MAX_OF(oracle->n_execs_allocated * 2, (size_t)128);
                oracle->execs = realloc(oracle->execs, oracle->n_execs_allocated * sizeof(Exec *));
                assert(oracle->execs);
        }
        exec->index = (uint32_t)oracle->n_execs;
        exec->options = *options;
        oracle->execs[oracle->n_execs++] = exec;
        if (options->name_exec) {
                (void)snprintf(id, sizeof(id), "e%zu", oracle->n_execs - 1);
                record_name(oracle, exec, slice_of(id));
        }
        return (uint32_t)(oracle->n_execs - 1);
}

uint32_t oracle_ask(Sim *sim, const Node *caller, const AskOptions *options, uint32_t *ret_exec) {
        Oracle *oracle = sim->oracle;
        uint32_t exec = options->again_exec != INDEX_NONE ? options->again_exec : exec_new(oracle, options);

        if (oracle->n_asks == oracle->n_asks_allocated) {
                oracle->n_asks_allocated = MAX_OF(oracle->n_asks_allocated * 2, (size_t)128);
                oracle->asks = realloc(oracle->asks, oracle->n_asks_allocated * sizeof(Ask));
                assert(oracle->asks);
        }
        oracle->asks[oracle->n_asks++] = (Ask){
                .exec = exec,
                .caller = caller->index,
                .wants_reply = options->wants_reply,
                .asked_usec = sim->now,
                .deadline_ms = options->deadline_ms > 0 ? options->deadline_ms : sim->scenario.default_deadline_ms,
                .dispatcher = INDEX_NONE,
                .success_runtime = INDEX_NONE,
        };
        oracle->execs[exec]->n_asks++;
        oracle->pending_ask = (uint32_t)(oracle->n_asks - 1);
        *ret_exec = exec;
        return oracle->pending_ask;
}

uint32_t oracle_some_exec(Sim *sim, AskOptions *ret_options) {
        const Oracle *oracle = sim->oracle;

        for (unsigned i = 0; i < 8 && oracle->n_execs > 0; i++) {
                /* mostly a recent one, which may still be in flight */
                size_t back = rng_below(&sim->rng_load, rng_chance(&sim->rng_load, 700) ? 4 : oracle->n_execs);
                size_t at = oracle->n_execs - 1 - MIN_OF(back, oracle->n_execs - 1);

                if (!oracle->execs[at]->options.name_exec)
                        continue;
                *ret_options = oracle->execs[at]->options;
                ret_options->wants_reply = true;
                return (uint32_t)at;
        }
        return INDEX_NONE;
}

/* what a message means */

static uint32_t ask_of_subject(const Oracle *oracle, Slice subject) {
        const char *dot = subject.size > 0 ? memrchr(subject.data, '.', subject.size) : NULL;
        uint64_t number = 0;

        if (!dot || dot + 2 > subject.data + subject.size || dot[1] != 'k')
                return INDEX_NONE;
        for (const char *c = dot + 2; c < subject.data + subject.size; c++) {
                if (*c < '0' || *c > '9')
                        return INDEX_NONE;
                number = number * 10 + (uint64_t)(*c - '0');
        }
        return number < oracle->n_asks ? (uint32_t)number : INDEX_NONE;
}

static void read_relay(Oracle *oracle, Message *message, Slice runtime_id, Arena *arena) {
        Meaning *meaning = &message->meaning;
        Trigger trigger = {};
        WireError error;
        Node *runtime;
        Exec *exec;

        meaning->kind = MEANING_RELAY;
        if (trigger_decode(message->body, &trigger, arena, &error) != 0 || !trigger.dispatch.present) {
                sim_break(oracle->sim, "wire", "a relay does not decode: %s", error.text);
                return;
        }
        runtime = record_runtime(oracle->sim, runtime_id, trigger.dispatch.epoch);
        meaning->runtime = runtime ? runtime->index : INDEX_NONE;
        meaning->epoch = trigger.dispatch.epoch;
        meaning->attempt = trigger.dispatch.attempt;
        meaning->age_ms = trigger.dispatch.age_ms;
        meaning->ask = ask_of_subject(oracle, trigger.dispatch.reply_to);
        if (meaning->ask != INDEX_NONE)
                record_name(oracle, oracle->execs[oracle->asks[meaning->ask].exec], trigger.agent_exec_id);
        exec = record_find(oracle, trigger.agent_exec_id);
        if (exec)
                meaning->exec = exec->index;
}

static void read_result(Oracle *oracle, Message *message, Arena *arena) {
        Meaning *meaning = &message->meaning;
        Result result = {};
        WireError error;

        meaning->kind = MEANING_RESULT;
        meaning->ask = ask_of_subject(oracle, message->subject);
        if (result_decode(message->body, &result, arena, &error) != 0) {
                sim_break(oracle->sim, "wire", "an answer does not decode: %s", error.text);
                return;
        }
        meaning->exec = oracle->asks[meaning->ask].exec;
        meaning->status = result.status;
        meaning->attempt = result.attempt;
        meaning->epoch = result.epoch;
        meaning->code = error_code_from_name(result.error_code);
        if (result.status != STATUS_SUCCESS && meaning->code == ERROR_NONE)
                sim_break(oracle->sim, "P5", "an answer names no error: %.*s", SLICE_ARG(message->body));
        record_name(oracle, oracle->execs[meaning->exec], result.agent_exec_id);
        /* where the caller gave no id, a duplicated trigger becomes two executions */
        if (oracle->execs[meaning->exec]->options.name_exec && meaning->code != ERROR_INVALID_MESSAGE &&
                !id_equal(&oracle->execs[meaning->exec]->id, result.agent_exec_id))
                sim_break(oracle->sim, "P2", "the answer to %s is about %.*s", oracle->execs[meaning->exec]->id.text,
                        SLICE_ARG(result.agent_exec_id));
}

static void read_membership(Oracle *oracle, Message *message, SubjectKind kind, Slice runtime_id, Arena *arena) {
        Meaning *meaning = &message->meaning;
        Registration registration = {};
        Heartbeat heartbeat = {};
        RuntimeUpdated updated = {};
        Deregistration deregistration = {};
        WireError error;
        Node *runtime;

        if (kind == SUBJECT_RUNTIME_REGISTERED &&
                registration_decode(message->body, &registration, arena, &error) == 0) {
                meaning->kind = MEANING_REGISTERED;
                meaning->epoch = registration.epoch;
                meaning->interval_ms = registration.heartbeat_interval_ms;
                meaning->max_in_flight = meaning->free_slots = registration.max_in_flight;
                if (registration.part_count > 1)
                        sim_count(oracle->sim, COUNT_PARTS);
        } else if (kind == SUBJECT_RUNTIME_HEARTBEAT &&
                   heartbeat_decode(message->body, &heartbeat, arena, &error) == 0) {
                meaning->kind = MEANING_HEARTBEAT;
                meaning->epoch = heartbeat.epoch;
                meaning->interval_ms = heartbeat.interval_ms;
                meaning->free_slots = heartbeat.load.free_slots;
        } else if (kind == SUBJECT_RUNTIME_UPDATED &&
                   runtime_updated_decode(message->body, &updated, arena, &error) == 0) {
                meaning->kind = MEANING_UPDATED;
                meaning->epoch = updated.epoch;
        } else if (kind == SUBJECT_RUNTIME_DEREGISTERED &&
                   deregistration_decode(message->body, &deregistration, arena, &error) == 0) {
                meaning->kind = MEANING_DEREGISTERED;
                meaning->epoch = deregistration.epoch;
                meaning->status = deregistration.reason;
        } else {
                return;
        }
        runtime = record_runtime(oracle->sim, runtime_id, meaning->epoch);
        meaning->runtime = runtime ? runtime->index : INDEX_NONE;
}

static void read_report(Message *message, Arena *arena) {
        Report report = {};
        WireError error;

        if (report_decode(message->body, &report, arena, &error) != 0)
                return;
        message->meaning.kind = MEANING_REPORT;
        message->meaning.epoch = report.epoch;
        message->meaning.free_slots = report.load.free_slots;
}

static bool is_probe_answer(const Message *message) {
        return memmem(message->subject.data, message->subject.size, ".p.", 3) &&
               slice_starts_with(message->body, SLICE("{\"ok\":true"));
}

static void read_meaning(Oracle *oracle, const Node *node, Message *message) {
        const SubjectMatch match = subject_parse(PREFIX, message->subject);
        _cleanup_(arena_clear) Arena arena = {};

        if (apps_on_publish(oracle->sim, node, message))
                return;
        if (node->kind == NODE_CALLER) {
                if (match.kind == SUBJECT_TRIGGER && oracle->pending_ask != INDEX_NONE) {
                        message->meaning.kind = MEANING_TRIGGER;
                        message->meaning.ask = oracle->pending_ask;
                        message->meaning.exec = oracle->asks[oracle->pending_ask].exec;
                        oracle->pending_ask = INDEX_NONE;
                }
                return;
        }
        if (node->kind == NODE_RUNTIME && is_probe_answer(message)) {
                message->meaning.kind = MEANING_PROBE_ANSWER;
        } else if (match.kind == SUBJECT_RUNTIME_TRIGGER) {
                read_relay(oracle, message, match.first, &arena);
        } else if (ask_of_subject(oracle, message->subject) != INDEX_NONE) {
                read_result(oracle, message, &arena);
        } else if (match.kind == SUBJECT_RUNTIME_CONTROL && slice_equal(match.second, SLICE("status"))) {
                const Node *runtime = sim_find_runtime(oracle->sim, match.first);

                message->meaning.kind = MEANING_PROBE;
                message->meaning.runtime = runtime ? runtime->index : INDEX_NONE;
        } else if (match.kind == SUBJECT_ANNOUNCE) {
                sim_count(oracle->sim, COUNT_ROLL_CALL);
                if (slice_starts_with(message->body, SLICE("{\"ok\"")))
                        sim_break(oracle->sim, "forbidden", "%s was made to answer on %.*s", node->name,
                                SLICE_ARG(message->subject));
        } else if (node->kind == NODE_RUNTIME &&
                   (match.kind == SUBJECT_NONE || match.kind == SUBJECT_DISPATCHER_REPORT)) {
                read_report(message, &arena);
        } else if (match.kind != SUBJECT_NONE) {
                read_membership(oracle, message, match.kind, match.first, &arena);
        }
}

static uint64_t hash_bytes(uint64_t hash, Slice bytes) {
        size_t i = 0;
        uint64_t word;

        for (; i + 8 <= bytes.size; i += 8) {
                memcpy(&word, bytes.data + i, 8);
                hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
                hash ^= hash >> 29;
        }
        for (; i < bytes.size; i++)
                hash = (hash ^ (uint8_t)bytes.data[i]) * UINT64_C(0x100000001b3);
        return hash ^ bytes.size;
}

static void trace_message(const Sim *sim, const Node *node, const char *arrow, const Message *message) {
        if (sim->options.trace)
                sim_trace(sim, node, "%s %.*s%s%.*s  %.*s", arrow, SLICE_ARG(message->subject),
                        message->reply.size > 0 ? " reply " : "", SLICE_ARG(message->reply),
                        (int)MIN_OF(message->body.size, (size_t)700),
                        message->no_responders   ? "NO RESPONDERS"
                        : message->body.size > 0 ? message->body.data
                                                 : "");
}

void oracle_on_publish(Sim *sim, Node *node, Message *message) {
        Oracle *oracle = sim->oracle;

        sim->hash = hash_bytes(hash_bytes(sim->hash + sim->now, message->subject), message->body) + node->index;
        trace_message(sim, node, "->", message);
        if (node->kind != NODE_CALLER && !slice_starts_with(message->subject, SLICE("agent.")) &&
                ++oracle->n_published % REMEMBER_EVERY == 0)
                hostile_remember(sim, message);
        read_meaning(oracle, node, message);

        switch (message->meaning.kind) {
        case MEANING_RELAY:
                if (node->kind == NODE_DISPATCHER)
                        triggers_on_relay(oracle, node, message);
                break;
        case MEANING_RESULT:
                triggers_on_result(oracle, node, message);
                break;
        case MEANING_REPORT:
                triggers_on_report_published(oracle, node, message);
                break;
        case MEANING_PROBE:
                if (node->kind == NODE_DISPATCHER)
                        liveness_on_probe(oracle, node, message);
                break;
        case MEANING_DEREGISTERED:
                if (node->kind == NODE_DISPATCHER)
                        liveness_on_verdict(oracle, node, message);
                break;
        default:
                break;
        }
}

void oracle_on_lost(Sim *sim, const Message *message, const Node *to, const char *why) {
        Oracle *oracle = sim->oracle;

        if (sim->options.trace)
                sim_trace(sim, to, "LOST (%s) %.*s", why, SLICE_ARG(message->subject));
        switch (message->meaning.kind) {
        case MEANING_RESULT:
                oracle->asks[message->meaning.ask].n_lost++;
                break;
        case MEANING_RELAY:
                if (message->meaning.exec != INDEX_NONE)
                        triggers_on_relay_lost(oracle, message);
                break;
        case MEANING_REPORT:
                triggers_on_report_lost(oracle, message);
                break;
        default:
                break;
        }
        liveness_on_lost(oracle, message, to);
}

void oracle_on_routed(Sim *sim, const Message *message) {
        apps_on_routed(sim, message);
}

void oracle_on_unheard(Sim *sim, const Message *message) {
        if (message->meaning.kind == MEANING_RESULT)
                sim->oracle->asks[message->meaning.ask].n_lost++;
        if (message->meaning.kind == MEANING_REPORT)
                triggers_on_report_lost(sim->oracle, message);
}

void oracle_before_delivery(Sim *sim, Node *node, const Message *message) {
        Oracle *oracle = sim->oracle;

        trace_message(sim, node, "<-", message);
        if (node->kind == NODE_DISPATCHER) {
                liveness_on_delivery(oracle, node, message);
                if (message->no_responders && message->cause->meaning.kind == MEANING_RELAY)
                        triggers_on_unheard(oracle, node, message->cause);
                if (message->meaning.kind == MEANING_TRIGGER)
                        triggers_on_reach(oracle, node, message);
                if (message->meaning.kind == MEANING_REPORT)
                        triggers_on_report(oracle, node, message);
        } else if (node->kind == NODE_CALLER) {
                if (message->meaning.kind == MEANING_RESULT)
                        triggers_on_answer(oracle, node, message);
                else if (message->subject.size > 5 &&
                         memcmp(message->subject.data + message->subject.size - 5, ".verb", 5) == 0)
                        sim_count(sim, COUNT_VERB), oracle->n_verbs_answered++;
        } else if (message->meaning.kind == MEANING_REQUEST) {
                life_on_request(sim, node, message);
        } else if (message->meaning.kind == MEANING_RELAY) {
                triggers_on_relay_delivered(oracle, node, message);
        } else if (memmem(message->subject.data, message->subject.size, ".register.", 10) &&
                   slice_starts_with(message->body, SLICE("{\"ok\":true"))) {
                node->runtime.taken_usec = sim->now;
        }
}

void oracle_after_delivery(Sim *sim, Node *node, const Message *message) {
        (void)sim;
        if (node->kind == NODE_RUNTIME && message->meaning.kind == MEANING_DEREGISTERED &&
                message->meaning.status == DEREGISTER_HEARTBEAT_TIMEOUT && message->meaning.runtime == node->index)
                node->runtime.told_dead_epoch = MAX_OF(node->runtime.told_dead_epoch, message->meaning.epoch);
}

/* processes */

void oracle_on_start(Sim *sim, Node *node) {
        if (node->kind == NODE_DISPATCHER)
                memset(sim->oracle->views[node->index], 0, sizeof(sim->oracle->views[node->index]));
}

void oracle_on_stop(Sim *sim, Node *node) {
        (void)sim;
        (void)node;
}

void oracle_on_restart(Sim *sim, Event *event) {
        if (event->node->state == NODE_DOWN && event->node->restart_wanted)
                node_start(sim, event->node);
}

void oracle_after_turn(Sim *sim, Node *node) {
        const Scenario *s = &sim->scenario;

        if (node->kind == NODE_RUNTIME) {
                uint64_t epoch = runtime_epoch(node->runtime.core);
                uint64_t limit = s->runtimes[node->runtime.spec].max_in_flight;

                if (epoch != node->runtime.epoch)
                        sim_count(sim, COUNT_EPOCH_BUMP);
                if (epoch < node->runtime.epoch)
                        sim_break(sim, "epochs", "%s went from epoch %" PRIu64 " back to %" PRIu64, node->name,
                                node->runtime.epoch, epoch);
                node->runtime.epoch = epoch;
                node->runtime.dead_epoch =
                        node->runtime.told_dead_epoch; /* what this turn published was decided before or after it */
                if (runtime_n_in_flight(node->runtime.core) > limit)
                        sim_break(sim, "P9", "%s has %zu in flight, its limit is %" PRIu64, node->name,
                                runtime_n_in_flight(node->runtime.core), limit);
        } else if (node->kind == NODE_DISPATCHER) {
                /* what was placed before comes back into the queue beyond the limit that newcomers meet */
                if (dispatcher_n_waiting(node->dispatcher.core) > s->queue_limit + sim->n_slots)
                        sim_break(sim, "P9", "%s has %zu waiting, its limit is %" PRIu64, node->name,
                                dispatcher_n_waiting(node->dispatcher.core), s->queue_limit);
                liveness_after_turn(sim->oracle, node);
        }
}
