/* SPDX-License-Identifier: MIT */

/*
 * What dispatchers are told: registration (in parts when it is long), heartbeat, update, deregistration; and what they
 * say in return.
 *
 * The reply subject of a registration carries the epoch: `<inbox>.register.<epoch>`, so that a refusal that was about
 * an epoch we have left is recognised as late.
 */

#include <stdio.h>

#include "proto/emit.h"
#include "runtimed/core.h"
#include "runtimed/diag.h"

#define SOURCE SLICE("compozy-runtimed")
#define REGISTER_TOKEN ".register."
#define TURN_BYTES                                                                                                   \
        (2 * 1024 * 1024) /* of a registration in one turn: 100,000 agents are 12 MB, more than the connection bears \
                             at once */
#define TURN_PAUSE_USEC (2 * USEC_PER_MSEC)
#define HEAD_BYTES \
        4096 /* all of a registration but the agents: texts are limited, labels are at most 16 of 64 + 64 bytes */

static void parts_close(Parts *parts) {
        emit_array_end(&parts->json);
        if (parts->n_parts == parts->n_allocated) {
                size_t n = MAX_OF(parts->n_allocated * 2, (size_t)8);
                size_t *ends = reallocarray(parts->ends, n, sizeof(*ends));

                if (!ends) {
                        parts->json.failed = true;
                        return;
                }
                parts->ends = ends;
                parts->n_allocated = n;
        }
        parts->ends[parts->n_parts++] = parts->json.size;
}

static void parts_add_agents(Parts *parts, const Runtime *runtime, size_t bytes_max) {
        size_t start = parts->json.size;

        emit_array(&parts->json, NULL);
        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent && !parts->json.failed;
                agent = core_next_agent(agent)) {
                const AgentSummary summary = agent_summary(agent);

                if (!core_is_announced(agent))
                        continue;
                if (parts->json.size - start + 256 + summary.capabilities.size > bytes_max) {
                        parts_close(parts);
                        start = parts->json.size;
                        emit_array(&parts->json, NULL);
                }
                agent_summary_emit(&parts->json, &summary);
        }
        parts_close(parts);
}

static void emit_labels(Buffer *buffer, const char *labels) {
        emit_object(buffer, NULL);
        while (labels && *labels) {
                size_t n = strcspn(labels, ",");
                const char *equals = memchr(labels, '=', n);

                if (equals) {
                        char name[LABEL_TEXT_MAX + 1];

                        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - labels), labels);
                        emit_text(buffer, name, (Slice){ equals + 1, (size_t)(labels + n - equals - 1) });
                }
                labels += n + (labels[n] == ',');
        }
        emit_object_end(buffer);
}

static void emit_types(Buffer *buffer, const Behavior *const *behaviors) {
        emit_array(buffer, NULL);
        for (; *behaviors; behaviors++)
                emit_string(buffer, NULL, (*behaviors)->type);
        emit_array_end(buffer);
}

static void publish_part(Runtime *runtime, const Registration *registration, Instant now) {
        Id id = rng_id(&runtime->rng);
        Buffer *out = outbox_begin(runtime->outbox);

        subject_build(out, runtime->prefix, SUBJECT_RUNTIME_REGISTERED, runtime->id, SLICE_NONE);
        outbox_reply(runtime->outbox);
        buffer_printf(out, "%s" REGISTER_TOKEN "%llu", runtime->options.inbox_prefix,
                (unsigned long long)runtime->session.epoch);
        outbox_body(runtime->outbox);
        registration_encode(out, registration, id_slice(&id), now.real_usec);
        outbox_end(runtime->outbox);
}

static void forget_changes(Runtime *runtime) {
        for (size_t i = 0; i < runtime->n_changed; i++) {
                Agent *agent = core_find_agent(runtime, id_slice(&runtime->changed[i]));

                if (agent)
                        agent->is_changed = false;
        }
        runtime->n_changed = 0;
        runtime->is_all_changed = false;
}

static bool has_changes(const Runtime *runtime) {
        return runtime->n_changed > 0 || runtime->is_all_changed;
}

/* A registration says it all, so what waits to be published as an update is published with it. */
static void take_in_changes(Runtime *runtime) {
        if (!has_changes(runtime))
                return;

        if (runtime->counters.registrations > 0) /* else nobody was told of this revision yet */
                runtime->session.revision++;
        forget_changes(runtime);
}

void core_drop_parts(Runtime *runtime) {
        buffer_done(&runtime->parts.json);
        free(runtime->parts.ends);
        runtime->parts = (Parts){ .next_usec = USEC_NEVER };
}

static void publish_some_parts(Runtime *runtime, Registration *registration, Instant now) {
        Parts *parts = &runtime->parts;
        size_t n_bytes = 0;

        while (parts->n_sent < parts->n_parts && n_bytes < TURN_BYTES) {
                size_t start = parts->n_sent > 0 ? parts->ends[parts->n_sent - 1] : 0;

                registration->part_index = parts->n_sent;
                registration->agent_definitions =
                        (Slice){ parts->json.data + start, parts->ends[parts->n_sent] - start };
                publish_part(runtime, registration, now);
                n_bytes += registration->agent_definitions.size;
                parts->n_sent++;
        }
}

void core_publish_parts(Runtime *runtime, Instant now) {
        _cleanup_(buffer_done) Buffer labels = {}, types = {};
        Parts *parts = &runtime->parts;
        Registration registration = {
                .runtime_id = runtime->id,
                .epoch = parts->epoch,
                .revision = parts->revision,
                .hostname = slice_of(runtime->options.hostname),
                .ip_address = slice_of(runtime->options.ip_address),
                .version = slice_of(runtime->options.version),
                .pid = runtime->options.pid,
                .max_in_flight = runtime->options.max_in_flight,
                .max_agents = runtime->options.max_agents,
                .heartbeat_interval_ms = runtime->session.interval_usec / USEC_PER_MSEC,
                .draining = runtime->is_draining,
                .reason = SLICE("announce"),
                .part_count = parts->n_parts,
        };

        if (!runtime->is_up || !session_speaks(&runtime->session) || parts->epoch != runtime->session.epoch) {
                core_drop_parts(runtime);
                return;
        }
        parts->next_usec = now.usec + TURN_PAUSE_USEC;
        if (runtime->is_congested)
                return;

        emit_labels(&labels, runtime->options.labels);
        emit_types(&types, runtime->options.behaviors);
        registration.labels = buffer_slice(&labels);
        registration.agent_types = buffer_slice(&types);
        if (!labels.failed && !types.failed)
                publish_some_parts(runtime, &registration, now);
        if (parts->n_sent == parts->n_parts)
                core_drop_parts(runtime);
}

void core_publish_registration(Runtime *runtime, Instant now) {
        const uint64_t most = core_payload_max(runtime);
        Parts *parts = &runtime->parts;

        take_in_changes(runtime);
        if (parts->next_usec != USEC_NEVER && parts->epoch == runtime->session.epoch &&
                parts->revision == runtime->session.revision)
                return; /* it is still being said */

        core_drop_parts(runtime);
        parts_add_agents(parts, runtime, most > 2 * HEAD_BYTES ? most - HEAD_BYTES : HEAD_BYTES);
        if (parts->json.failed) {
                core_drop_parts(runtime); /* tried again when no answer comes */
                return;
        }

        parts->epoch = runtime->session.epoch;
        parts->revision = runtime->session.revision;
        runtime->counters.registrations++;
        core_publish_parts(runtime, now);
}

void core_publish_heartbeat(Runtime *runtime, Instant now) {
        Id id = rng_id(&runtime->rng);
        Heartbeat heartbeat = {
                .runtime_id = runtime->id,
                .epoch = runtime->session.epoch,
                .revision = runtime->session.revision,
                .sequence = runtime->session.sequence,
                .interval_ms = runtime->session.interval_usec / USEC_PER_MSEC,
                .draining = runtime->is_draining,
                .load = core_load(runtime),
        };
        Buffer *out = outbox_begin(runtime->outbox);

        subject_build(out, runtime->prefix, SUBJECT_RUNTIME_HEARTBEAT, runtime->id, SLICE_NONE);
        outbox_body(runtime->outbox);
        heartbeat_encode(out, &heartbeat, id_slice(&id), now.real_usec);
        outbox_end(runtime->outbox);
        runtime->counters.heartbeats++;
}

void core_publish_deregistration(Runtime *runtime, Instant now) {
        Id id = rng_id(&runtime->rng);
        Deregistration deregistration = {
                .runtime_id = runtime->id,
                .epoch = runtime->session.epoch,
                .reason = DEREGISTER_SHUTDOWN,
                .seen_by = SLICE("runtime"),
        };
        Buffer *out = outbox_begin(runtime->outbox);

        subject_build(out, runtime->prefix, SUBJECT_RUNTIME_DEREGISTERED, runtime->id, SLICE_NONE);
        outbox_body(runtime->outbox);
        deregistration_encode(out, &deregistration, id_slice(&id), now.real_usec);
        outbox_end(runtime->outbox);
}

/* changes */

static void emit_changes(const Runtime *runtime, Buffer *added, Buffer *removed) {
        emit_array(added, NULL);
        emit_array(removed, NULL);
        for (size_t i = 0; i < runtime->n_changed; i++) {
                Slice id = id_slice(&runtime->changed[i]);
                const Agent *agent = core_find_agent(runtime, id);

                if (agent && core_is_announced(agent)) {
                        const AgentSummary summary = agent_summary(agent);

                        agent_summary_emit(added, &summary);
                } else {
                        emit_text(removed, NULL, id);
                }
        }
        emit_array_end(added);
        emit_array_end(removed);
}

static bool publish_update(Runtime *runtime, uint64_t base_revision, Instant now) {
        _cleanup_(buffer_done) Buffer added = {}, removed = {};
        Id id = rng_id(&runtime->rng);
        RuntimeUpdated updated = {
                .runtime_id = runtime->id,
                .epoch = runtime->session.epoch,
                .revision = runtime->session.revision,
                .base_revision = base_revision,
        };
        Buffer *out;

        emit_changes(runtime, &added, &removed);
        if (added.failed || removed.failed || added.size + removed.size + HEAD_BYTES > core_payload_max(runtime))
                return false;

        updated.added = buffer_slice(&added);
        updated.removed = buffer_slice(&removed);
        out = outbox_begin(runtime->outbox);
        subject_build(out, runtime->prefix, SUBJECT_RUNTIME_UPDATED, runtime->id, SLICE_NONE);
        outbox_body(runtime->outbox);
        runtime_updated_encode(out, &updated, id_slice(&id), now.real_usec);
        outbox_end(runtime->outbox);
        runtime->counters.updates++;
        return true;
}

void core_publish_changes(Runtime *runtime, Instant now) {
        const uint64_t base_revision = runtime->session.revision;
        const bool is_registered = runtime->session.state == SESSION_REGISTERED;
        unsigned todo;

        if (!has_changes(runtime) || runtime->counters.registrations == 0)
                return; /* nobody was told anything yet: the first registration will have it all */

        todo = session_on_change(&runtime->session, now);
        if (is_registered && (runtime->is_all_changed || !publish_update(runtime, base_revision, now)))
                todo |= session_on_announce(&runtime->session, &(Announce){ .register_again = true }, now);
        forget_changes(runtime);
        core_apply(runtime, todo, now);
}

/* what dispatchers say */

static bool answered_epoch(const Runtime *runtime, Slice subject, uint64_t *ret_epoch) {
        Slice rest = slice_after(subject, strlen(runtime->options.inbox_prefix));
        uint64_t epoch = 0;

        if (!slice_starts_with(rest, SLICE(REGISTER_TOKEN)))
                return false;

        rest = slice_after(rest, sizeof(REGISTER_TOKEN) - 1);
        if (rest.size == 0 || rest.size > 16)
                return false;
        for (size_t i = 0; i < rest.size; i++) {
                if (rest.data[i] < '0' || rest.data[i] > '9')
                        return false;
                epoch = epoch * 10 + (uint64_t)(rest.data[i] - '0');
        }

        *ret_epoch = epoch;
        return true;
}

static unsigned on_refusal(Runtime *runtime, const Answer *answer, uint64_t epoch, Instant now) {
        RegistrationRefused refused;
        WireError error;

        if (slice_equal(answer->error_code, slice_of(error_code_name(ERROR_RUNTIME_LOST))) &&
                answer->error_details.data &&
                registration_refused_decode(answer->error_details, &refused, &runtime->arena, &error) == 0)
                return session_on_refused(
                        &runtime->session, (DeregisterReason)refused.reason, epoch, refused.epoch, now);

        diag_registration_refused(runtime->id, answer->error_code, answer->error_message);
        return session_on_full(&runtime->session, now);
}

void core_on_registration_answer(Runtime *runtime, const InMessage *message, Instant now) {
        RegistrationTaken taken;
        WireError error = {};
        uint64_t epoch;
        Answer answer;
        int r;

        if (!answered_epoch(runtime, message->subject, &epoch) || epoch != runtime->session.epoch)
                return; /* late, or not to this question */
        if (message->no_responders) {
                runtime->has_no_dispatcher = true;
                return;
        }

        runtime->has_no_dispatcher = false;
        r = answer_decode(message->body, &answer, &runtime->arena, &error);
        if (r == 0 && !answer.ok) {
                core_apply(runtime, on_refusal(runtime, &answer, epoch, now), now);
                return;
        }
        if (r == 0)
                r = registration_taken_decode(answer.result, &taken, &runtime->arena, &error);
        if (r != 0) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, r < 0 ? "memory is out" : error.text);
                return;
        }

        if (slice_equal(taken.runtime_id, runtime->id))
                core_apply(runtime, session_on_taken(&runtime->session, &taken, now), now);
}

static bool read_announce(Runtime *runtime, const InMessage *message, Announce *ret, WireError *ret_error) {
        int r = announce_decode(message->body, ret, &runtime->arena, ret_error);

        if (r == 0)
                return true;
        if (r < 0)
                (void)wire_error(ret_error, "memory is out");
        return false;
}

void core_on_announce(Runtime *runtime, const InMessage *message, Instant now) {
        WireError error;
        Announce announce;

        if (!read_announce(runtime, message, &announce, &error)) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, error.text);
                return;
        }

        core_apply(runtime, session_on_announce(&runtime->session, &announce, now), now);
}

void core_on_deregistered(Runtime *runtime, const InMessage *message, Instant now) {
        Deregistration deregistration;
        WireError error = {};
        int r;

        r = deregistration_decode(message->body, &deregistration, &runtime->arena, &error);
        if (r != 0) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, r < 0 ? "memory is out" : error.text);
                return;
        }

        if (!slice_equal(deregistration.runtime_id, runtime->id))
                return;
        core_apply(runtime,
                session_on_refused(&runtime->session, (DeregisterReason)deregistration.reason, deregistration.epoch,
                        deregistration.epoch, now),
                now);
}
