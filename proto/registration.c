/* SPDX-License-Identifier: MIT */

/*
 * Strict on what the receiver acts by, lenient on the rest: a runtime that somebody else wrote should be able to say
 * no more than its id, its epoch and its agents.
 */

#include "proto/check.h"
#include "proto/emit.h"
#include "proto/registration.h"
#include "proto/subject.h"

#define MAX_IN_FLIGHT_DEFAULT 64
#define HEARTBEAT_INTERVAL_MS_DEFAULT 1000
#define SOURCE_RUNTIME SLICE("compozy-runtimed")
#define SOURCE_DISPATCHER SLICE("compozy-dispatcherd")

const char *const deregister_reason_names[_DEREGISTER_REASON_MAX + 1] = {
        [DEREGISTER_NONE] = "",
        [DEREGISTER_SHUTDOWN] = "shutdown",
        [DEREGISTER_HEARTBEAT_TIMEOUT] = "heartbeat_timeout",
        [DEREGISTER_OPERATOR] = "operator",
        [DEREGISTER_REPLACED] = "replaced",
};

/* each message's head: which runtime */

#define RUNTIME_ID(type) \
        { .name = "runtime_id", .kind = SCAN_ID, .required = true, .offset = offsetof(type, runtime_id) }
#define EPOCH(type, is_required)                                                                             \
        {                                                                                                    \
                .name = "epoch", .kind = SCAN_U64, .required = is_required, .offset = offsetof(type, epoch), \
                .max = EPOCH_MAX                                                                             \
        }
#define NUMBER(type, member, limit) \
        { .name = #member, .kind = SCAN_U64, .offset = offsetof(type, member), .max = limit }
#define TEXT(type, member) \
        { .name = #member, .kind = SCAN_TEXT, .offset = offsetof(type, member), .max = TEXT_MAX }
#define METADATA \
        { .name = "metadata", .kind = SCAN_OBJECT, .fields = metadata_fields }

static void emit_runtime_head(Buffer *buffer, Slice runtime_id, uint64_t epoch) {
        emit_object(buffer, "agent_runtime");
        emit_text(buffer, "runtime_id", runtime_id);
        emit_u64(buffer, "epoch", epoch);
}

void runtime_load_emit(Buffer *buffer, const RuntimeLoad *load) {
        emit_object(buffer, "load");
        emit_u64(buffer, "in_flight", load->in_flight);
        emit_u64(buffer, "queued", load->queued);
        emit_u64(buffer, "agents", load->agents);
        if (load->free_slots != FREE_SLOTS_UNSTATED)
                emit_u64(buffer, "free_slots", load->free_slots);
        emit_object_end(buffer);
}

static int check_texts(const char *field, Slice array, Arena *arena, WireError *ret_error) {
        size_t cursor = 0;
        Slice element, text;

        for (size_t i = 0; scan_next(array, &cursor, &element); i++) {
                const int r = scan_text(element, arena, &text);

                if (r < 0)
                        return r;
                if (r == WIRE_E_INVALID)
                        return wire_error(ret_error, "%s[%zu] is not a text", field, i);
                if (text.size > TEXT_MAX)
                        return wire_error(
                                ret_error, "%s[%zu] is %zu bytes long, the limit is %d", field, i, text.size, TEXT_MAX);
        }
        return 0;
}

/* AgentRuntimeRegistered */

static const ScanField subjects_fields[] = {
        { .name = "trigger",
                .kind = SCAN_SUBJECT,
                .offset = offsetof(Registration, trigger_subject),
                .max = SUBJECT_MAX },
        { .name = "control",
                .kind = SCAN_SUBJECT,
                .offset = offsetof(Registration, control_subject),
                .max = SUBJECT_MAX },
        { 0 },
};

static const ScanField capacity_fields[] = {
        NUMBER(Registration, max_in_flight, CAPACITY_MAX),
        NUMBER(Registration, max_agents, CAPACITY_MAX),
        { 0 },
};

static const ScanField registered_runtime_fields[] = {
        RUNTIME_ID(Registration),
        EPOCH(Registration, true),
        NUMBER(Registration, revision, EPOCH_MAX),
        TEXT(Registration, hostname),
        TEXT(Registration, ip_address),
        NUMBER(Registration, pid, EPOCH_MAX),
        TEXT(Registration, version),
        { .name = "labels", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Registration, labels) },
        { .name = "agent_types", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Registration, agent_types) },
        { .name = "agent_definitions", .kind = SCAN_RAW_ARRAY, .offset = offsetof(Registration, agent_definitions) },
        { .name = "subjects", .kind = SCAN_OBJECT, .fields = subjects_fields },
        { .name = "capacity", .kind = SCAN_OBJECT, .fields = capacity_fields },
        NUMBER(Registration, heartbeat_interval_ms, INTERVAL_MS_MAX),
        { 0 },
};

static const ScanField registered_context_fields[] = {
        TEXT(Registration, reason),
        TEXT(Registration, registration_timestamp),
        { 0 },
};

static const ScanField part_fields[] = {
        { .name = "index",
                .kind = SCAN_U64,
                .required = true,
                .offset = offsetof(Registration, part_index),
                .max = REGISTRATION_PARTS_MAX - 1 },
        { .name = "count",
                .kind = SCAN_U64,
                .required = true,
                .offset = offsetof(Registration, part_count),
                .max = REGISTRATION_PARTS_MAX },
        { 0 },
};

static const ScanField registered_payload_fields[] = {
        { .name = "draining", .kind = SCAN_BOOL, .offset = offsetof(Registration, draining) },
        { .name = "context", .kind = SCAN_OBJECT, .fields = registered_context_fields },
        { .name = "part", .kind = SCAN_OBJECT, .fields = part_fields },
        { 0 },
};

static const ScanField registration_fields[] = {
        METADATA,
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .required = true, .fields = registered_runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .fields = registered_payload_fields },
        { 0 },
};

static int check_registration(Registration *registration, Arena *arena, WireError *ret_error) {
        Labels labels;
        int r;

        r = check_type(&registration->metadata, "AgentRuntimeRegistered", ret_error);
        if (r == 0)
                r = check_interval("agent_runtime.heartbeat_interval_ms", &registration->heartbeat_interval_ms,
                        HEARTBEAT_INTERVAL_MS_DEFAULT, ret_error);
        if (r == 0)
                r = labels_decode(registration->labels, "agent_runtime.labels", arena, &labels, ret_error);
        if (r == 0)
                r = check_texts("agent_runtime.agent_types", registration->agent_types, arena, ret_error);
        if (r != 0)
                return r;

        if (registration->part_index >= registration->part_count)
                return wire_error(ret_error, "payload.part.index is %llu, the limit is count - 1 with count %llu",
                        (unsigned long long)registration->part_index, (unsigned long long)registration->part_count);
        return 0;
}

int registration_decode(Slice body, Registration *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Registration){
                .max_in_flight = MAX_IN_FLIGHT_DEFAULT,
                .heartbeat_interval_ms = U64_UNSET,
                .part_count = 1,
        };
        r = scan_object(body, registration_fields, ret, arena, ret_error);
        if (r != 0)
                return r;
        return check_registration(ret, arena, ret_error);
}

static const ScanField agent_summary_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(AgentSummary, agent_id) },
        TEXT(AgentSummary, agent_type),
        { .name = "capabilities", .kind = SCAN_RAW_ARRAY, .offset = offsetof(AgentSummary, capabilities) },
        { .name = "exclusive", .kind = SCAN_BOOL, .offset = offsetof(AgentSummary, exclusive) },
        TEXT(AgentSummary, state),
        { 0 },
};

int agent_summary_decode(Slice element, size_t index, AgentSummary *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (AgentSummary){ 0 };
        r = scan_object(element, agent_summary_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_texts("capabilities", ret->capabilities, arena, ret_error);
        return r == WIRE_E_INVALID ? wire_error_within(ret_error, "agent definition", index) : r;
}

void agent_summary_emit(Buffer *buffer, const AgentSummary *agent) {
        emit_object(buffer, NULL);
        emit_text(buffer, "agent_id", agent->agent_id);
        emit_text(buffer, "agent_type", agent->agent_type);
        emit_raw(buffer, "capabilities", agent->capabilities);
        emit_bool(buffer, "exclusive", agent->exclusive);
        emit_text(buffer, "state", agent->state);
        emit_object_end(buffer);
}

static void emit_registered_runtime(Buffer *buffer, const Registration *registration) {
        emit_runtime_head(buffer, registration->runtime_id, registration->epoch);
        emit_u64(buffer, "revision", registration->revision);
        emit_text(buffer, "hostname", registration->hostname);
        emit_text(buffer, "ip_address", registration->ip_address);
        emit_u64(buffer, "pid", registration->pid);
        emit_text(buffer, "version", registration->version);
        emit_raw(buffer, "labels", registration->labels);
        emit_raw(buffer, "agent_types", registration->agent_types);
        emit_raw(buffer, "agent_definitions", registration->agent_definitions);
        if (registration->trigger_subject.data || registration->control_subject.data) {
                emit_object(buffer, "subjects");
                emit_text(buffer, "trigger", registration->trigger_subject);
                emit_text(buffer, "control", registration->control_subject);
                emit_object_end(buffer);
        }
        emit_object(buffer, "capacity");
        emit_u64(buffer, "max_in_flight", registration->max_in_flight);
        emit_u64(buffer, "max_agents", registration->max_agents);
        emit_object_end(buffer);
        emit_u64(buffer, "heartbeat_interval_ms", registration->heartbeat_interval_ms);
        emit_object_end(buffer);
}

static void emit_registered_payload(Buffer *buffer, const Registration *registration) {
        emit_object(buffer, "payload");
        emit_string(buffer, "status", "REGISTERED");
        emit_bool(buffer, "draining", registration->draining);
        emit_object(buffer, "context");
        emit_text(buffer, "reason", registration->reason);
        emit_text(buffer, "registration_timestamp", registration->registration_timestamp);
        emit_object_end(buffer);
        if (registration->part_count > 1) {
                emit_object(buffer, "part");
                emit_u64(buffer, "index", registration->part_index);
                emit_u64(buffer, "count", registration->part_count);
                emit_object_end(buffer);
        }
        emit_object_end(buffer);
}

void registration_encode(Buffer *buffer, const Registration *registration, Slice event_id, uint64_t real_usec) {
        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentRuntimeRegistered", METADATA_EVENT_ID, event_id,
                registration->metadata.correlation_id, real_usec, SOURCE_RUNTIME);
        emit_registered_runtime(buffer, registration);
        emit_registered_payload(buffer, registration);
        emit_object_end(buffer);
}

/* AgentRuntimeUpdated */

static const ScanField updated_runtime_fields[] = {
        RUNTIME_ID(RuntimeUpdated),
        EPOCH(RuntimeUpdated, true),
        { .name = "revision",
                .kind = SCAN_U64,
                .required = true,
                .offset = offsetof(RuntimeUpdated, revision),
                .max = EPOCH_MAX },
        { 0 },
};

static const ScanField updated_payload_fields[] = {
        { .name = "base_revision",
                .kind = SCAN_U64,
                .required = true,
                .offset = offsetof(RuntimeUpdated, base_revision),
                .max = EPOCH_MAX },
        { .name = "added", .kind = SCAN_RAW_ARRAY, .offset = offsetof(RuntimeUpdated, added) },
        { .name = "removed", .kind = SCAN_RAW_ARRAY, .offset = offsetof(RuntimeUpdated, removed) },
        { 0 },
};

static const ScanField updated_fields[] = {
        METADATA,
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .required = true, .fields = updated_runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .required = true, .fields = updated_payload_fields },
        { 0 },
};

int runtime_updated_decode(Slice body, RuntimeUpdated *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (RuntimeUpdated){ 0 };
        r = scan_object(body, updated_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "AgentRuntimeUpdated", ret_error);
        if (r == 0)
                r = check_texts("payload.removed", ret->removed, arena, ret_error);
        return r;
}

void runtime_updated_encode(Buffer *buffer, const RuntimeUpdated *updated, Slice event_id, uint64_t real_usec) {
        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentRuntimeUpdated", METADATA_EVENT_ID, event_id, updated->metadata.correlation_id,
                real_usec, SOURCE_RUNTIME);
        emit_runtime_head(buffer, updated->runtime_id, updated->epoch);
        emit_u64(buffer, "revision", updated->revision);
        emit_object_end(buffer);
        emit_object(buffer, "payload");
        emit_u64(buffer, "base_revision", updated->base_revision);
        emit_raw(buffer, "added", updated->added);
        emit_raw(buffer, "removed", updated->removed);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

/* AgentRuntimeHeartbeat */

static const ScanField heartbeat_runtime_fields[] = {
        RUNTIME_ID(Heartbeat),
        EPOCH(Heartbeat, true),
        NUMBER(Heartbeat, revision, EPOCH_MAX),
        { 0 },
};

static const ScanField heartbeat_load_fields[] = RUNTIME_LOAD_FIELDS(Heartbeat, load);

static const ScanField heartbeat_payload_fields[] = {
        NUMBER(Heartbeat, sequence, EPOCH_MAX),
        NUMBER(Heartbeat, interval_ms, INTERVAL_MS_MAX),
        { .name = "draining", .kind = SCAN_BOOL, .offset = offsetof(Heartbeat, draining) },
        { .name = "load", .kind = SCAN_OBJECT, .fields = heartbeat_load_fields },
        { 0 },
};

static const ScanField heartbeat_fields[] = {
        METADATA,
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .required = true, .fields = heartbeat_runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .fields = heartbeat_payload_fields },
        { 0 },
};

int heartbeat_decode(Slice body, Heartbeat *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Heartbeat){ .interval_ms = U64_UNSET, .load.free_slots = FREE_SLOTS_UNSTATED };
        r = scan_object(body, heartbeat_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "AgentRuntimeHeartbeat", ret_error);
        if (r == 0)
                r = check_interval("payload.interval_ms", &ret->interval_ms, 0, ret_error);
        return r;
}

void heartbeat_encode(Buffer *buffer, const Heartbeat *heartbeat, Slice event_id, uint64_t real_usec) {
        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentRuntimeHeartbeat", METADATA_EVENT_ID, event_id, heartbeat->metadata.correlation_id,
                real_usec, SOURCE_RUNTIME);
        emit_runtime_head(buffer, heartbeat->runtime_id, heartbeat->epoch);
        emit_u64(buffer, "revision", heartbeat->revision);
        emit_object_end(buffer);
        emit_object(buffer, "payload");
        emit_u64(buffer, "sequence", heartbeat->sequence);
        if (heartbeat->interval_ms > 0)
                emit_u64(buffer, "interval_ms", heartbeat->interval_ms);
        emit_bool(buffer, "draining", heartbeat->draining);
        runtime_load_emit(buffer, &heartbeat->load);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

/* AgentRuntimeDeregistered */

static const ScanField deregistered_runtime_fields[] = {
        RUNTIME_ID(Deregistration),
        EPOCH(Deregistration, false),
        { 0 },
};

static const ScanField deregistered_context_fields[] = {
        { .name = "reason",
                .kind = SCAN_NAME,
                .offset = offsetof(Deregistration, reason),
                .names = deregister_reason_names },
        TEXT(Deregistration, seen_by),
        { 0 },
};

static const ScanField deregistered_payload_fields[] = {
        { .name = "context", .kind = SCAN_OBJECT, .fields = deregistered_context_fields },
        { 0 },
};

static const ScanField deregistration_fields[] = {
        METADATA,
        { .name = "agent_runtime", .kind = SCAN_OBJECT, .required = true, .fields = deregistered_runtime_fields },
        { .name = "payload", .kind = SCAN_OBJECT, .fields = deregistered_payload_fields },
        { 0 },
};

int deregistration_decode(Slice body, Deregistration *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Deregistration){ 0 };
        r = scan_object(body, deregistration_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "AgentRuntimeDeregistered", ret_error);
        return r;
}

void deregistration_encode(Buffer *buffer, const Deregistration *deregistration, Slice event_id, uint64_t real_usec) {
        const bool by_itself = slice_equal(deregistration->seen_by, SLICE("runtime"));

        assert(deregistration->reason < _DEREGISTER_REASON_MAX);

        emit_object(buffer, NULL);
        metadata_emit(buffer, "AgentRuntimeDeregistered", METADATA_EVENT_ID, event_id,
                deregistration->metadata.correlation_id, real_usec, by_itself ? SOURCE_RUNTIME : SOURCE_DISPATCHER);
        emit_runtime_head(buffer, deregistration->runtime_id, deregistration->epoch);
        emit_object_end(buffer);
        emit_object(buffer, "payload");
        emit_object(buffer, "context");
        if (deregistration->reason != DEREGISTER_NONE)
                emit_string(buffer, "reason", deregister_reason_names[deregistration->reason]);
        emit_text(buffer, "seen_by", deregistration->seen_by);
        emit_object_end(buffer);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

/* AnnounceRuntimes */

static const ScanField announce_payload_fields[] = {
        { .name = "dispatcher_id", .kind = SCAN_ID, .offset = offsetof(Announce, dispatcher_id) },
        NUMBER(Announce, spread_ms, INTERVAL_MS_MAX),
        NUMBER(Announce, heartbeat_interval_ms, INTERVAL_MS_MAX),
        { .name = "register", .kind = SCAN_BOOL, .offset = offsetof(Announce, register_again) },
        { 0 },
};

static const ScanField announce_fields[] = {
        METADATA,
        { .name = "payload", .kind = SCAN_OBJECT, .fields = announce_payload_fields },
        { 0 },
};

int announce_decode(Slice body, Announce *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (Announce){ .register_again = true, .heartbeat_interval_ms = U64_UNSET };
        r = scan_object(body_or_empty_object(body), announce_fields, ret, arena, ret_error);
        if (r == 0)
                r = check_type(&ret->metadata, "AnnounceRuntimes", ret_error);
        if (r == 0)
                r = check_interval("payload.heartbeat_interval_ms", &ret->heartbeat_interval_ms, 0, ret_error);
        return r;
}

void announce_encode(Buffer *buffer, const Announce *announce, Slice event_id, uint64_t real_usec) {
        emit_object(buffer, NULL);
        metadata_emit(buffer, "AnnounceRuntimes", METADATA_EVENT_ID, event_id, announce->metadata.correlation_id,
                real_usec, SOURCE_DISPATCHER);
        emit_object(buffer, "payload");
        emit_text(buffer, "dispatcher_id", announce->dispatcher_id);
        emit_u64(buffer, "spread_ms", announce->spread_ms);
        if (announce->heartbeat_interval_ms > 0)
                emit_u64(buffer, "heartbeat_interval_ms", announce->heartbeat_interval_ms);
        emit_bool(buffer, "register", announce->register_again);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

/* the answer to a registration */

static const ScanField taken_fields[] = {
        { .name = "dispatcher_id",
                .kind = SCAN_ID,
                .required = true,
                .offset = offsetof(RegistrationTaken, dispatcher_id) },
        RUNTIME_ID(RegistrationTaken),
        EPOCH(RegistrationTaken, true),
        NUMBER(RegistrationTaken, revision, EPOCH_MAX),
        { .name = "complete", .kind = SCAN_BOOL, .required = true, .offset = offsetof(RegistrationTaken, complete) },
        NUMBER(RegistrationTaken, heartbeat_interval_ms, INTERVAL_MS_MAX),
        NUMBER(RegistrationTaken, dead_after_ms, EPOCH_MAX),
        { 0 },
};

int registration_taken_decode(Slice result, RegistrationTaken *ret, Arena *arena, WireError *ret_error) {
        int r;

        *ret = (RegistrationTaken){ .heartbeat_interval_ms = U64_UNSET };
        r = scan_object(result, taken_fields, ret, arena, ret_error);
        if (r != 0)
                return r;
        return check_interval("heartbeat_interval_ms", &ret->heartbeat_interval_ms, 0, ret_error);
}

void registration_taken_encode(Buffer *buffer, const RegistrationTaken *taken) {
        emit_object(buffer, NULL);
        emit_text(buffer, "dispatcher_id", taken->dispatcher_id);
        emit_text(buffer, "runtime_id", taken->runtime_id);
        emit_u64(buffer, "epoch", taken->epoch);
        emit_u64(buffer, "revision", taken->revision);
        emit_bool(buffer, "complete", taken->complete);
        if (taken->heartbeat_interval_ms > 0)
                emit_u64(buffer, "heartbeat_interval_ms", taken->heartbeat_interval_ms);
        emit_u64(buffer, "dead_after_ms", taken->dead_after_ms);
        emit_object_end(buffer);
}

static const ScanField refused_fields[] = {
        { .name = "reason",
                .kind = SCAN_NAME,
                .required = true,
                .offset = offsetof(RegistrationRefused, reason),
                .names = deregister_reason_names },
        EPOCH(RegistrationRefused, false),
        { 0 },
};

int registration_refused_decode(Slice details, RegistrationRefused *ret, Arena *arena, WireError *ret_error) {
        *ret = (RegistrationRefused){ 0 };
        return scan_object(details, refused_fields, ret, arena, ret_error);
}

void registration_refused_encode(Buffer *buffer, const RegistrationRefused *refused) {
        assert(refused->reason > DEREGISTER_NONE && refused->reason < _DEREGISTER_REASON_MAX);

        emit_object(buffer, NULL);
        emit_string(buffer, "reason", deregister_reason_names[refused->reason]);
        emit_u64(buffer, "epoch", refused->epoch);
        emit_object_end(buffer);
}
