/* SPDX-License-Identifier: MIT */

/*
 * Observers: what is published for those who watch: DispatcherRuntimeUpdate, the execution events a dispatcher knows
 * of, and the record of each runtime in the bucket compozy_runtimes.
 */

#include "dispatcherd/placement.h"
#include "dispatcherd/state.h"
#include "proto/emit.h"

#define SOURCE SLICE("compozy-dispatcherd")

void observers_emit_runtime_members(Buffer *buffer, const Runtime *runtime, Instant now) {
        emit_text(buffer, "runtime_id", id_slice(&runtime->id));
        emit_u64(buffer, "epoch", runtime->epoch);
        emit_u64(buffer, "revision", runtime->revision);
        emit_string(buffer, "state", runtime_state_name(runtime->state));
        emit_string(buffer, "hostname", runtime->hostname);
        emit_string(buffer, "ip_address", runtime->ip_address);
        emit_u64(buffer, "pid", runtime->pid);
        emit_string(buffer, "version", runtime->version);
        emit_raw(buffer, "labels", slice_of(runtime->labels_json));
        emit_raw(buffer, "agent_types", slice_of(runtime->types_json));
        emit_u64(buffer, "agents", runtime->n_agents);
        emit_object(buffer, "capacity");
        emit_u64(buffer, "max_in_flight", runtime->max_in_flight);
        emit_u64(buffer, "max_agents", runtime->max_agents);
        emit_object_end(buffer);
        emit_u64(buffer, "in_flight", runtime->own_in_flight + runtime->foreign_in_flight);
        emit_u64(buffer, "free_slots", runtime_free_slots(runtime));
        emit_u64(buffer, "heartbeat_interval_ms", runtime->interval_usec / USEC_PER_MSEC);
        emit_u64(buffer, "last_heartbeat_ms_ago", (now.usec - MIN_OF(runtime->heard_usec, now.usec)) / USEC_PER_MSEC);
        emit_timestamp(buffer, "registered_at", runtime->registered_real_usec);
}

void observers_emit_runtime(Buffer *buffer, const char *key, const Runtime *runtime, Instant now) {
        emit_object(buffer, key);
        observers_emit_runtime_members(buffer, runtime, now);
        emit_object_end(buffer);
}

/* Agents as they fit; `<key>_omitted` counts the rest. */
void observers_emit_agents(Buffer *buffer, const char *key, const Runtime *runtime, size_t bytes_max) {
        size_t start = buffer->size, n = 0;
        const Hosting *hosting;

        emit_array(buffer, key);
        LIST_FOREACH(hosting, &runtime->hostings, in_runtime) {
                if (buffer->size - start >= bytes_max)
                        break;
                emit_object(buffer, NULL);
                emit_text(buffer, "agent_id", id_slice(&hosting->agent->id));
                if (hosting->type[0] != '\0')
                        emit_string(buffer, "agent_type", hosting->type);
                emit_bool(buffer, "exclusive", hosting->exclusive);
                emit_object_end(buffer);
                n++;
        }
        emit_array_end(buffer);
        if (n < runtime->n_agents) {
                emit_u64(buffer, "agents_omitted", runtime->n_agents - n);
        }
}

void observers_runtime_changed(Dispatcher *d, Runtime *runtime, RuntimeChange change, const char *reason, Instant now) {
        RuntimeUpdate update = {
                .metadata = { .source_component = SOURCE },
                .dispatcher_id = d->id,
                .change = change,
                .runtimes_live = registry_n_in_state(d->registry, RUNTIME_LIVE) -
                                 (change == RUNTIME_CHANGE_REMOVED && runtime->state == RUNTIME_LIVE),
                .reason = slice_of(reason),
        };
        Id event_id = rng_id(&d->rng);
        Buffer *buffer;

        buffer_clear(&d->scratch);
        observers_emit_runtime(&d->scratch, NULL, runtime, now);
        update.agent_runtime = buffer_slice(&d->scratch);

        buffer = outbox_begin(d->outbox);
        subject_build(buffer, d->prefix, SUBJECT_RUNTIME_UPDATE, d->id, SLICE_NONE);
        outbox_body(d->outbox);
        runtime_update_encode(buffer, &update, id_slice(&event_id), now.real_usec);
        outbox_end(d->outbox);

        if (change == RUNTIME_CHANGE_REMOVED)
                jetstream_delete_runtime(d->jetstream, id_slice(&runtime->id), now);
        else
                jetstream_put_runtime(d->jetstream, runtime, now);
}

/* Which events are wanted at all, by the key events.executions. */
static bool is_wanted(const Dispatcher *d, ExecutionEventKind kind) {
        if (kind == EXECUTION_EVENT_DISPATCHED)
                return d->options.events == EVENTS_VERBOSE;
        return d->options.events != EVENTS_NONE;
}

void observers_execution(
        Dispatcher *d, ExecutionEventKind kind, const Execution *execution, const ErrorReply *error, Instant now) {
        static const SubjectKind subjects[_EXECUTION_EVENT_KIND_MAX] = {
                [EXECUTION_EVENT_DISPATCHED] = SUBJECT_EXECUTION_DISPATCHED,
                [EXECUTION_EVENT_DISPATCH_FAILED] = SUBJECT_EXECUTION_DISPATCH_FAILED,
        };
        const Attempt *attempt = &execution->attempts[execution->attempt % ATTEMPTS_KEPT];
        ExecutionEvent event;
        Id event_id;
        Buffer *buffer;

        if (!is_wanted(d, kind))
                return;
        event = (ExecutionEvent){
                .metadata = { .correlation_id = execution->parcel->trigger.metadata.correlation_id },
                .kind = kind,
                .workflow_id = id_slice(&execution->workflow_id),
                .workflow_exec_id = execution->parcel->trigger.workflow_exec_id,
                .agent_id = id_slice(&execution->agent_id),
                .agent_exec_id = id_slice(&execution->exec_id),
                .attempt = execution->attempt,
        };
        if (execution->attempt > 0) {
                event.runtime_id = id_slice(&attempt->runtime_id);
                event.epoch = attempt->epoch;
        }
        if (error) {
                event.error = *error;
                event.status = STATUS_FAILURE;
        }

        event_id = rng_id(&d->rng);
        buffer = outbox_begin(d->outbox);
        subject_build(buffer, d->prefix, subjects[kind], event.agent_exec_id, SLICE_NONE);
        if (execution->parcel->headers.size > 0) {
                outbox_headers(d->outbox);
                buffer_append_slice(buffer, execution->parcel->headers);
        }
        outbox_body(d->outbox);
        execution_event_encode(buffer, &event, id_slice(&event_id), SOURCE, now.real_usec);
        outbox_end(d->outbox);
}
