/* SPDX-License-Identifier: MIT */

/*
 * What an execution keeps of its trigger is copied into one block that is recycled with it, so that accepting a trigger
 * costs, once warm, a few memcpy and a hash insert. Blocks above KEEP_BYTES are given back: one large message must not
 * be held on to for ever.
 */

#include "common/outbox.h"
#include "runtimed/execution.h"

#define RECYCLED_MAX 1024 /* the default of max_in_flight */
#define KEEP_BYTES 4096

/* Longer ones are not passed on: answers must leave room for them (runtime.c, HEADER_ROOM). W3C Trace Context wants at
 * least 512 of tracestate. */
#define TRACEPARENT_MAX 128
#define TRACESTATE_MAX 512

static void execution_destroy(Execution *execution) {
        buffer_done(&execution->outcome.reply.output);
        effects_clear(&execution->outcome.reply.effects);
        free(execution->storage);
        free(execution);
}

void executions_done(Executions *executions) {
        while (executions->first)
                executions_remove(executions, executions->first);

        while (executions->recycled) {
                Execution *execution = executions->recycled;

                executions->recycled = execution->next;
                execution_destroy(execution);
        }
        *executions = (Executions){};
}

static Execution *take_blank(Executions *executions) {
        Execution *execution = executions->recycled;

        if (!execution)
                return calloc(1, sizeof(*execution));

        executions->recycled = execution->next;
        executions->n_recycled--;
        return execution;
}

/* Everything but memory that can be used again. */
static void make_blank(Execution *execution) {
        Buffer output = execution->outcome.reply.output;
        char *storage = execution->storage;
        size_t storage_size = execution->storage_size;

        *execution = (Execution){ .storage = storage, .storage_size = storage_size };
        execution->outcome.reply.output = output;
        execution->outcome.is_embedded = true;
        execution->mail.outcome = &execution->outcome;
        execution->mail.kind = MAIL_TRIGGER;
        execution->mail.lane = LANE_BATCHED;
        execution->mail.late_usec = USEC_NEVER;
        execution->mail.wants_answer = true;
        atomic_init(&execution->mail.called_off, false);
        envelope_init(&execution->envelope);
        deadline_init(&execution->deadline, DEADLINE_EXECUTION);
        execution->asker.execution = execution;
}

static void recycle(Executions *executions, Execution *execution) {
        if (executions->n_recycled >= RECYCLED_MAX) {
                execution_destroy(execution);
                return;
        }

        if (execution->storage_size > KEEP_BYTES) {
                free(TAKE_PTR(execution->storage));
                execution->storage_size = 0;
        }
        if (execution->outcome.reply.output.capacity > KEEP_BYTES)
                buffer_done(&execution->outcome.reply.output);
        effects_clear(&execution->outcome.reply.effects);

        execution->next = executions->recycled;
        executions->recycled = execution;
        executions->n_recycled++;
}

static Slice store(Execution *execution, Slice text) {
        Slice copy = { execution->storage + execution->n_stored, text.size };

        if (!text.data)
                return SLICE_NONE;

        assert(execution->n_stored + text.size <= execution->storage_size);
        if (text.size > 0)
                memcpy(execution->storage + execution->n_stored, text.data, text.size);
        execution->n_stored += text.size;
        return copy;
}

static Slice trace_of(Slice headers, Slice name, size_t max) {
        const Slice value = headers_get(headers, name);

        return value.size <= max ? value : SLICE_NONE;
}

/* "Name: value\r\n" for what passes through; nothing else of the headers is kept. */
static size_t trace_size(Slice name, Slice value) {
        return value.data ? name.size + 2 + value.size + 2 : 0;
}

/* Returns where the value lies now. */
static Slice store_trace(Execution *execution, Slice name, Slice value) {
        Slice stored;

        if (!value.data)
                return SLICE_NONE;

        (void)store(execution, name);
        (void)store(execution, SLICE(": "));
        stored = store(execution, value);
        (void)store(execution, SLICE("\r\n"));
        return stored;
}

static int reserve(Execution *execution, size_t size) {
        char *storage;

        if (execution->storage_size >= size)
                return 0;

        size = MAX_OF(size, (size_t)512);
        storage = realloc(execution->storage, size);
        if (!storage)
                return -ENOMEM;

        execution->storage = storage;
        execution->storage_size = size;
        return 0;
}

static int copy_trigger(Execution *execution, const Trigger *trigger, Slice headers, Slice reply_to) {
        Slice input = trigger->input.data ? trigger->input : SLICE("null");
        Slice parent = SLICE_NONE, state = SLICE_NONE, thread_id = SLICE_NONE;
        size_t traces;
        int r;

        if (headers.size > 0) {
                parent = trace_of(headers, SLICE("traceparent"), TRACEPARENT_MAX);
                state = trace_of(headers, SLICE("tracestate"), TRACESTATE_MAX);
                thread_id = trace_of(headers, SLICE("Compozy-Thread-Id"), ENVELOPE_TEXT_MAX);
        }
        traces = trace_size(SLICE("traceparent"), parent) + trace_size(SLICE("tracestate"), state);

        r = reserve(execution, trigger->workflow_id.size + trigger->workflow_exec_id.size +
                                       trigger->metadata.correlation_id.size + reply_to.size + input.size + traces +
                                       thread_id.size);
        if (r < 0)
                return r;

        execution->workflow_id = store(execution, trigger->workflow_id);
        execution->workflow_exec_id = store(execution, trigger->workflow_exec_id);
        execution->correlation_id = store(execution, trigger->metadata.correlation_id);
        execution->asker.reply_to = store(execution, reply_to);
        execution->input = store(execution, input);
        execution->envelope.correlation_id = execution->correlation_id;
        execution->envelope.thread_id = store(execution, thread_id);

        if (traces > 0) {
                execution->headers = (Slice){ execution->storage + execution->n_stored, traces };
                execution->envelope.traceparent = store_trace(execution, SLICE("traceparent"), parent);
                execution->envelope.tracestate = store_trace(execution, SLICE("tracestate"), state);
        }
        return 0;
}

static void link_execution(Executions *executions, Execution *execution) {
        execution->previous = executions->last;
        if (executions->last)
                executions->last->next = execution;
        else
                executions->first = execution;
        executions->last = execution;
        executions->n++;
        executions->n_bytes += execution->mail.n_bytes;
}

Execution *executions_add(
        Executions *executions, Agent *agent, const Trigger *trigger, Slice headers, Slice reply_to, Instant now) {
        Execution *execution = take_blank(executions);

        if (!execution)
                return NULL;

        make_blank(execution);
        id_set(&execution->id, trigger->agent_exec_id);
        execution->accepted_usec = now.usec;
        execution->expires_usec = execution->wake_usec = USEC_NEVER;
        if (copy_trigger(execution, trigger, headers, reply_to) < 0) {
                recycle(executions, execution);
                return NULL;
        }

        execution->mail.agent = agent;
        execution->attempt = trigger->dispatch.attempt;
        execution->mail.n_bytes = (uint32_t)MIN_OF(execution->n_stored + sizeof(*execution), (size_t)UINT32_MAX);

        HASH_ADD(hh, executions->by_id, id.text, execution->id.size, execution);
        if (!execution->hh.tbl) {
                recycle(executions, execution);
                return NULL;
        }

        link_execution(executions, execution);
        return execution;
}

void executions_forget(Executions *executions, Execution *execution) {
        if (!execution->hh.tbl)
                return;

        HASH_DEL(executions->by_id, execution);
        execution->hh.tbl = NULL;
}

void executions_remove(Executions *executions, Execution *execution) {
        executions_forget(executions, execution);

        if (execution->previous)
                execution->previous->next = execution->next;
        else
                executions->first = execution->next;
        if (execution->next)
                execution->next->previous = execution->previous;
        else
                executions->last = execution->previous;
        executions->n--;
        executions->n_bytes -= execution->mail.n_bytes;

        while (execution->asker.next) {
                Asker *asker = execution->asker.next;

                execution->asker.next = asker->next;
                free(asker);
        }

        recycle(executions, execution);
}

Execution *executions_find(const Executions *executions, Slice exec_id) {
        Execution *execution;

        HASH_FIND(hh, executions->by_id, exec_id.data, exec_id.size, execution);
        return execution;
}

Asker *execution_add_asker(Execution *execution, Slice reply_to, uint64_t attempt) {
        Asker *last = &execution->asker;
        size_t n = 1;
        Asker *asker;

        for (; last->next; last = last->next)
                n++;
        if (n >= ASKERS_MAX)
                return NULL;

        asker = calloc(1, sizeof(*asker) + reply_to.size);
        if (!asker)
                return NULL;

        asker->execution = execution;
        asker->attempt = attempt;
        if (reply_to.data) {
                char *text = (char *)(asker + 1);

                memcpy(text, reply_to.data, reply_to.size);
                asker->reply_to = (Slice){ text, reply_to.size };
        }
        last->next = asker;
        return asker;
}
