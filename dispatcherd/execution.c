/* SPDX-License-Identifier: MIT */

/*
 * Executions
 *
 * One index by agent_exec_id holds the waiting, the ones in flight and the history, so that a report, a repeat and
 * `explain` find an execution with one look-up. An Execution is what is remembered; what the trigger brought along is
 * its Parcel, given up when it ends.
 *
 * Both are used again. A spare parcel is the one given up last, so that a steady load goes on working in memory which
 * the caches hold; an Execution that fell out of the history has been cold for long, which is why everything bulky is
 * in the parcel.
 *
 * The queue is two levels of ordered trees: demands (agent and labels) by their first execution, and in each demand its
 * executions. When a slot frees up, each demand is tried once, however many executions wait behind it.
 *
 * Invariants: phase WAITING with a demand if and only if it is in that demand's tree; IN_FLIGHT if and only if it is in
 * its runtime's list; ENDED if and only if it is in the history.
 */

#include <string.h>
#include <strings.h>

#include "common/id_index.h"
#include "dispatcherd/execution.h"

/* Of what one report ends, as much is kept as the next turn's triggers may need: half a megabyte, and as much again
 * where triggers have labels. */
#define SPARE_MAX 256
#define PARCEL_BYTES 1024 /* what most triggers fit in; a larger parcel is allocated as large as it is, and freed */

struct ExecutionTable {
        DeadlineQueue *deadlines; /* borrowed */
        int deadline_kind;
        uint64_t history_max;

        IdIndex by_id;
        Demand *demands;
        RB_HEAD(DemandTree, Demand) by_order;
        TAILQ_HEAD(History, Execution) history; /* oldest first */
        struct History spare;                   /* fell out of the history */
        Parcel *spare_parcels;
        size_t n_history, n_spare, n_spare_parcels;
        size_t n_waiting, n_in_flight;
        uint64_t bytes;
        uint64_t sequence;
};

static const char *const end_meanings[_ATTEMPT_END_MAX] = {
#define X(name, meaning) [ATTEMPT_##name] = (meaning),
        ATTEMPT_ENDS(X)
#undef X
};

const char *attempt_end_meaning(AttemptEnd end) {
        assert(end < _ATTEMPT_END_MAX);
        return end_meanings[end];
}

static int compare(uint64_t order_a, uint64_t sequence_a, uint64_t order_b, uint64_t sequence_b) {
        if (order_a != order_b)
                return order_a < order_b ? -1 : 1;
        if (sequence_a != sequence_b)
                return sequence_a < sequence_b ? -1 : 1;
        return 0;
}

static int compare_waiting(const Execution *a, const Execution *b) {
        return compare(a->order, a->sequence, b->order, b->sequence);
}

static int compare_demands(const Demand *a, const Demand *b) {
        return compare(a->order, a->sequence, b->order, b->sequence);
}

/* RB_GENERATE_STATIC() leans on an attribute macro that glibc does not have. */
RB_GENERATE_INTERNAL(WaitingTree, Execution, in_demand, compare_waiting, static _unused_)
RB_GENERATE_INTERNAL(DemandTree, Demand, in_table, compare_demands, static _unused_)

uint64_t execution_order(uint64_t received_usec, uint64_t priority) {
        assert(priority <= PRIORITY_MAX);
        return received_usec + (PRIORITY_MAX - priority) * PRIORITY_STEP_USEC;
}

/* parcels */

static Parcel *parcel_alloc(ExecutionTable *table, size_t size) {
        Parcel *parcel = table->spare_parcels;
        size_t capacity = MAX_OF(size, (size_t)PARCEL_BYTES);

        if (size <= PARCEL_BYTES && parcel) {
                table->spare_parcels = parcel->next;
                table->n_spare_parcels--;
        } else {
                parcel = malloc(sizeof(*parcel) + capacity);
                if (!parcel)
                        return NULL;
                parcel->capacity = capacity;
                parcel->arena = (Arena){};
        }
        return parcel;
}

static Slice copy_part(Parcel *parcel, Slice part) {
        char *place = parcel->bytes + parcel->size;

        if (part.size == 0)
                return SLICE_NONE;
        memcpy(place, part.data, part.size);
        parcel->size += part.size;
        return (Slice){ place, part.size };
}

/* All that is to pass through. What marks an answer as an error has no business in a trigger: its events and relays
 * would carry the mark on. */
static Slice copy_headers(Parcel *parcel, Slice headers) {
        const size_t start = parcel->size;

        while (headers.size > 0) {
                const char *newline = memchr(headers.data, '\n', headers.size);
                const Slice line = { headers.data, newline ? (size_t)(newline - headers.data) + 1 : headers.size };

                headers = slice_after(headers, line.size);
                if (line.size < 5 || strncasecmp(line.data, "Nats-", 5) != 0)
                        (void)copy_part(parcel, line);
        }
        return parcel->size > start ? (Slice){ parcel->bytes + start, parcel->size - start } : SLICE_NONE;
}

Parcel *parcel_new(ExecutionTable *table, Slice body, Slice reply, Slice headers) {
        Parcel *parcel = parcel_alloc(table, body.size + reply.size + headers.size);

        if (!parcel)
                return NULL;
        parcel->size = 0;
        parcel->body = copy_part(parcel, body);
        parcel->reply = copy_part(parcel, reply);
        parcel->headers = copy_headers(parcel, headers);
        parcel->reply_to = SLICE_NONE;
        parcel->labels = NULL;
        parcel->span.is_recorded = false;
        return parcel;
}

Parcel *parcel_free(ExecutionTable *table, Parcel *parcel) {
        if (!parcel)
                return NULL;

        if (parcel->capacity > PARCEL_BYTES || table->n_spare_parcels >= SPARE_MAX) {
                arena_clear(&parcel->arena);
                free(parcel);
        } else {
                arena_reset(&parcel->arena);
                parcel->next = table->spare_parcels;
                table->spare_parcels = parcel;
                table->n_spare_parcels++;
        }
        return NULL;
}

void execution_own(ExecutionTable *table, Execution *execution, Parcel *parcel) {
        assert(!execution->parcel);
        execution->parcel = parcel;
        table->bytes += parcel->size;
}

static void give_up_parcel(ExecutionTable *table, Execution *execution) {
        Parcel *parcel = TAKE_PTR(execution->parcel);

        /* A late word about the callers of this life must not be taken for one about those of the next. */
        execution->ask_base += 1 + execution->n_followers;
        if (execution->ask_base + FOLLOWERS_MAX > ASK_MAX)
                execution->ask_base = 0;
        if (parcel) {
                table->bytes -= parcel->size;
                for (size_t i = 0; i < execution->n_followers; i++)
                        free((char *)parcel->followers[i].data);
        }
        execution->n_followers = execution->answered = 0;
        (void)parcel_free(table, parcel);
}

int execution_follow(Execution *execution, Slice reply_to) {
        char *copy;

        if (execution->n_followers >= FOLLOWERS_MAX)
                return -ENOSPC;
        copy = slice_dup(reply_to);
        if (!copy)
                return -ENOMEM;
        execution->parcel->followers[execution->n_followers++] = (Slice){ copy, reply_to.size };
        return 0;
}

/* the table */

static Execution *execution_alloc(ExecutionTable *table) {
        Execution *execution = TAILQ_FIRST(&table->spare);

        if (!execution)
                return calloc(1, sizeof(*execution));
        TAILQ_REMOVE(&table->spare, execution, in_history);
        table->n_spare--;
        memset(execution, 0, offsetof(Execution, exec_id));
        return execution;
}

static void execution_dealloc(ExecutionTable *table, Execution *execution) {
        if (table->n_spare >= SPARE_MAX) {
                free(execution);
                return;
        }
        TAILQ_INSERT_HEAD(&table->spare, execution, in_history);
        table->n_spare++;
}

int execution_add(ExecutionTable *table, Slice exec_id, Execution **ret) {
        Execution *execution = execution_alloc(table);

        if (!execution)
                return -ENOMEM;
        id_set(&execution->exec_id, exec_id);
        execution->sequence = ++table->sequence;
        execution->give_up_usec = USEC_NEVER;
        deadline_init(&execution->deadline, table->deadline_kind);
        if (id_index_add(&table->by_id, &execution->exec_id) < 0) {
                execution_dealloc(table, execution);
                return -ENOMEM;
        }
        *ret = execution;
        return 0;
}

static Execution *execution_of(const Id *id) {
        return id ? CONTAINER_OF(id, Execution, exec_id) : NULL;
}

Execution *execution_find(const ExecutionTable *table, Slice exec_id) {
        return execution_of(id_index_find(&table->by_id, exec_id));
}

void execution_drop(ExecutionTable *table, Execution *execution) {
        assert(!execution->demand && !execution->runtime);

        if (execution->phase == PHASE_ENDED) {
                TAILQ_REMOVE(&table->history, execution, in_history);
                table->n_history--;
        }
        deadline_disarm(table->deadlines, &execution->deadline);
        give_up_parcel(table, execution);
        id_index_remove(&table->by_id, &execution->exec_id);
        execution_dealloc(table, execution);
}

void execution_end(ExecutionTable *table, Execution *execution, unsigned status, ErrorCode code, uint64_t now) {
        assert(execution->phase != PHASE_ENDED && !execution->demand && !execution->runtime);

        deadline_disarm(table->deadlines, &execution->deadline);
        give_up_parcel(table, execution);
        execution->phase = PHASE_ENDED;
        execution->status = status;
        execution->code = code;
        execution->ended_usec = now;
        TAILQ_INSERT_TAIL(&table->history, execution, in_history);
        table->n_history++;
        if (table->n_history > table->history_max)
                execution_drop(table, TAILQ_FIRST(&table->history));
}

void execution_revive(ExecutionTable *table, Execution *execution) {
        assert(execution->phase == PHASE_ENDED);

        TAILQ_REMOVE(&table->history, execution, in_history);
        table->n_history--;
        execution->phase = PHASE_WAITING;
        execution->give_up_usec = USEC_NEVER;
        execution->status = STATUS_NONE;
        execution->code = ERROR_NONE;
}

/* the queue */

static Slice labels_key(const Execution *execution) {
        Slice labels = execution->parcel->trigger.labels;

        return labels.data ? labels : SLICE("");
}

/* "<agent id> <labels as they came>": two spellings of the same labels are two demands, which costs nothing but a
 * second look. */
static Demand *demand_get(ExecutionTable *table, const Execution *execution) {
        Slice labels = labels_key(execution);
        size_t size = execution->agent_id.size + 1 + labels.size;
        char *key = malloc(size + 1);
        Demand *demand = NULL;

        if (!key)
                return NULL;
        memcpy(key, execution->agent_id.text, execution->agent_id.size);
        key[execution->agent_id.size] = ' ';
        memcpy(key + execution->agent_id.size + 1, labels.data, labels.size);

        HASH_FIND(hh, table->demands, key, size, demand);
        if (demand) {
                free(key);
                return demand;
        }
        demand = calloc(1, sizeof(*demand));
        if (demand) {
                demand->key = key;
                demand->agent_id = execution->agent_id;
                demand->unfit_usec = USEC_NEVER;
                RB_INIT(&demand->waiting);
                HASH_ADD_KEYPTR(hh, table->demands, demand->key, size, demand);
        }
        if (!demand || !demand->hh.tbl) {
                free(key);
                free(demand);
                return NULL;
        }
        return demand;
}

static void demand_place(ExecutionTable *table, Demand *demand) {
        const Execution *head = demand_head(demand);

        assert(head); /* one that nobody waits in is gone */

        demand->order = head->order;
        demand->sequence = head->sequence;
        (void)RB_INSERT(DemandTree, &table->by_order, demand);
}

int execution_wait(ExecutionTable *table, Execution *execution) {
        Demand *demand = demand_get(table, execution);

        assert(execution->phase == PHASE_WAITING && !execution->demand);
        if (!demand)
                return -ENOMEM;

        if (demand->n_waiting > 0)
                (void)RB_REMOVE(DemandTree, &table->by_order, demand);
        (void)RB_INSERT(WaitingTree, &demand->waiting, execution);
        demand->n_waiting++;
        demand_place(table, demand);
        execution->demand = demand;
        table->n_waiting++;
        return 0;
}

void execution_unwait(ExecutionTable *table, Execution *execution) {
        Demand *demand = TAKE_PTR(execution->demand);

        if (!demand)
                return;
        (void)RB_REMOVE(DemandTree, &table->by_order, demand);
        (void)RB_REMOVE(WaitingTree, &demand->waiting, execution);
        demand->n_waiting--;
        table->n_waiting--;
        if (demand->n_waiting > 0) {
                demand_place(table, demand);
                return;
        }
        HASH_DEL(table->demands, demand);
        free(demand->key);
        free(demand);
}

Execution *demand_head(const Demand *demand) {
        return RB_MIN(WaitingTree, (struct WaitingTree *)&demand->waiting);
}

Demand *demand_first(const ExecutionTable *table) {
        return RB_MIN(DemandTree, (struct DemandTree *)&table->by_order);
}

Demand *demand_after(const ExecutionTable *table, uint64_t order, uint64_t sequence) {
        Demand key = { .order = order, .sequence = sequence + 1 };

        return RB_NFIND(DemandTree, (struct DemandTree *)&table->by_order, &key);
}

/* in flight */

void execution_attach(ExecutionTable *table, Execution *execution, Runtime *runtime) {
        assert(execution->phase == PHASE_WAITING && !execution->demand && !execution->runtime);

        execution->phase = PHASE_IN_FLIGHT;
        execution->runtime = runtime;
        LIST_INSERT_HEAD(&runtime->executions, execution, in_runtime);
        runtime->own_in_flight++;
        table->n_in_flight++;
}

void execution_detach(ExecutionTable *table, Execution *execution) {
        Runtime *runtime = TAKE_PTR(execution->runtime);

        assert(execution->phase == PHASE_IN_FLIGHT && runtime);
        LIST_REMOVE(execution, in_runtime);
        runtime->own_in_flight--;
        table->n_in_flight--;
        execution->phase = PHASE_WAITING;
}

size_t execution_table_n_waiting(const ExecutionTable *table) {
        return table->n_waiting;
}

size_t execution_table_n_in_flight(const ExecutionTable *table) {
        return table->n_in_flight;
}

uint64_t execution_table_bytes(const ExecutionTable *table) {
        return table->bytes;
}

void execution_table_visit(
        const ExecutionTable *table, void (*visitor)(const Execution *execution, void *userdata), void *userdata) {
        const Execution *execution;
        size_t cursor = 0;

        while ((execution = execution_of(id_index_next(&table->by_id, &cursor))))
                if (execution->phase != PHASE_ENDED)
                        visitor(execution, userdata);
}

/* construction */

int execution_table_new(
        DeadlineQueue *deadlines, int deadline_kind, uint64_t history_max, uint64_t seed, ExecutionTable **ret) {
        ExecutionTable *table = calloc(1, sizeof(*table));

        if (!table)
                return -ENOMEM;
        table->deadlines = deadlines;
        table->deadline_kind = deadline_kind;
        table->history_max = history_max;
        RB_INIT(&table->by_order);
        TAILQ_INIT(&table->history);
        TAILQ_INIT(&table->spare);
        id_index_init(&table->by_id, seed);
        *ret = table;
        return 0;
}

static void done_spare(ExecutionTable *table) {
        Execution *execution;

        while ((execution = TAILQ_FIRST(&table->spare))) {
                TAILQ_REMOVE(&table->spare, execution, in_history);
                free(execution);
        }
        while (table->spare_parcels) {
                Parcel *parcel = table->spare_parcels;

                table->spare_parcels = parcel->next;
                arena_clear(&parcel->arena);
                free(parcel);
        }
}

ExecutionTable *execution_table_free(ExecutionTable *table) {
        Execution *execution;
        size_t cursor = 0;

        if (!table)
                return NULL;

        while ((execution = execution_of(id_index_next(&table->by_id, &cursor)))) {
                if (execution->demand)
                        execution_unwait(table, execution);
                if (execution->runtime)
                        execution_detach(table, execution);
                deadline_disarm(table->deadlines, &execution->deadline);
                give_up_parcel(table, execution);
                free(execution);
        }
        id_index_done(&table->by_id);
        done_spare(table);
        free(table);
        return NULL;
}

const char *execution_table_check(const ExecutionTable *table) {
        size_t n_waiting = 0, n_in_flight = 0, n_ended = 0;
        uint64_t bytes = 0;
        const Execution *execution;
        size_t cursor = 0;

        while ((execution = execution_of(id_index_next(&table->by_id, &cursor)))) {
                bytes += execution->parcel ? execution->parcel->size : 0;
                n_ended += execution->phase == PHASE_ENDED;
                n_in_flight += execution->phase == PHASE_IN_FLIGHT;
                n_waiting += execution->demand != NULL;
                if ((execution->phase == PHASE_IN_FLIGHT) != (execution->runtime != NULL))
                        return "an execution is in flight without a runtime, or with one and not in flight";
                if (execution->phase != PHASE_ENDED && execution->deadline.usec == USEC_NEVER)
                        return "an execution that has not ended has no deadline armed";
                if ((execution->phase == PHASE_ENDED) != (execution->parcel == NULL))
                        return "an execution that ended still holds its body, or one that has not has none";
        }
        if (n_waiting != table->n_waiting || n_in_flight != table->n_in_flight || n_ended != table->n_history)
                return "the counts of executions differ from the executions";
        if (bytes != table->bytes)
                return "the count of the executions' bytes differs from their bytes";
        if (table->n_history > table->history_max)
                return "the history is longer than its limit";
        return NULL;
}
