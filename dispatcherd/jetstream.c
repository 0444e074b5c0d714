/* SPDX-License-Identifier: MIT */

/*
 * JetStream
 *
 * Two things to set up, each the same way: ask for the stream's INFO; if there is none, CREATE it; then it is ready. A
 * stream that exists is left as it is: its owner may have given it replicas, another age, another place. What matters
 * to us is checked and named in the log.
 *
 * The events stream takes every event but heartbeats: a thousand of those a second for a week would be all it holds,
 * and nobody replays them. `no_ack` because registrations carry a reply subject, and a stream's own acknowledgement
 * there would be taken for a dispatcher's answer.
 *
 * Writes to the bucket are not acknowledged: the record is written again with the next change, and a lost one is
 * repaired at the next connect. A record is whole, and with many agents as long as a message may be: while agents come
 * and go it is written once a second, not for each of them. Several dispatchers write the same records; the last one
 * wins, and all say the same but for what only they see.
 */

#include <inttypes.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/jetstream.h"
#include "dispatcherd/registry.h"
#include "dispatcherd/state.h"
#include "proto/emit.h"
#include "proto/scan.h"

#define ANSWER_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define RETRY_USEC (30 * USEC_PER_SEC) /* JetStream that is not there now may come: a cluster without a leader */

#define ERR_STREAM_NOT_FOUND 10059
#define ERR_STREAM_NAME_IN_USE 10058 /* another dispatcher created it first, a little differently */

/* A record leaves room for the envelope in one message. */
#define RECORD_BYTES_MAX (256 * 1024)

#define RECORD_PAUSE_USEC USEC_PER_SEC /* between two of a runtime that stays in its state */

typedef enum Step {
        STEP_OFF,    /* not asked yet, or no JetStream */
        STEP_INFO,   /* asked whether it is there */
        STEP_CREATE, /* asked to create it */
        STEP_READY,
} Step;

typedef enum What {
        WHAT_EVENTS,
        WHAT_RUNTIMES,
        _WHAT_MAX,
} What;

struct JetStream {
        JetStreamOptions options;
        Step steps[_WHAT_MAX];
        bool settled, swept;
        bool unavailable_logged;
        uint64_t max_payload;
        uint64_t n_puts, n_deletes, n_errors;
};

static const struct {
        const char *stream, *token;
} whats[_WHAT_MAX] = {
        [WHAT_EVENTS] = { JETSTREAM_EVENTS, "events" },
        [WHAT_RUNTIMES] = { "KV_" JETSTREAM_RUNTIMES, "runtimes" },
};

#define SWEEP_TOKEN "sweep"
#define PURGE_TOKEN "purge" /* nothing follows from its answer */

/* requests */

static Buffer *begin_request(JetStream *js, const char *verb, const char *stream, const char *token) {
        Buffer *buffer = outbox_begin(js->options.outbox);

        buffer_printf(buffer, "$JS.API.STREAM.%s.%s", verb, stream);
        outbox_reply(js->options.outbox);
        buffer_append_slice(buffer, js->options.inbox);
        buffer_printf(buffer, ".j.%s", token);
        outbox_body(js->options.outbox);
        return buffer;
}

static void await(JetStream *js, uint64_t usec, Instant now) {
        deadline_arm(js->options.deadlines, js->options.deadline, now.usec + usec);
}

static void ask_info(JetStream *js, What what, Instant now) {
        (void)begin_request(js, "INFO", whats[what].stream, whats[what].token);
        outbox_end(js->options.outbox);
        js->steps[what] = STEP_INFO;
        await(js, ANSWER_TIMEOUT_USEC, now);
}

static void emit_subject(Buffer *buffer, const JetStream *js, const char *rest) {
        _cleanup_(buffer_done) Buffer subject = {};

        buffer_append_slice(&subject, js->options.prefix);
        buffer_append_slice(&subject, slice_of(rest));
        emit_text(buffer, NULL, buffer_slice(&subject));
}

static void emit_events_config(Buffer *buffer, const JetStream *js) {
        static const char *const subjects[] = {
                ".events.agent.instance.>",
                ".events.agent_dispatcher.>",
                ".events.agent.definition.*.registered",
                ".events.agent.definition.*.updated",
                ".events.agent.definition.*.deregistered",
        };

        emit_array(buffer, "subjects");
        for (size_t i = 0; i < ELEMENTSOF(subjects); i++)
                emit_subject(buffer, js, subjects[i]);
        emit_array_end(buffer);
        emit_string(buffer, "description", "Events of agent dispatch, without heartbeats");
        emit_string(buffer, "discard", "old");
        emit_u64(buffer, "max_age", js->options.events_max_age_usec * 1000); /* nanoseconds */
        emit_bool(buffer, "no_ack", true);
        emit_bool(buffer, "allow_direct", true);
}

/* As ADR-8 wants a bucket's stream. */
static void emit_bucket_config(Buffer *buffer) {
        emit_array(buffer, "subjects");
        emit_string(buffer, NULL, "$KV." JETSTREAM_RUNTIMES ".>");
        emit_array_end(buffer);
        emit_string(buffer, "description", "The current record of each agent runtime");
        emit_string(buffer, "discard", "new");
        emit_u64(buffer, "max_msgs_per_subject", 1);
        emit_bool(buffer, "allow_rollup_hdrs", true);
        emit_bool(buffer, "deny_delete", true);
        emit_bool(buffer, "allow_direct", true);
}

static void ask_create(JetStream *js, What what, Instant now) {
        Buffer *buffer = begin_request(js, "CREATE", whats[what].stream, whats[what].token);

        emit_object(buffer, NULL);
        emit_string(buffer, "name", whats[what].stream);
        emit_string(buffer, "retention", "limits");
        emit_string(buffer, "storage", "file");
        emit_u64(buffer, "num_replicas", 1);
        if (what == WHAT_EVENTS)
                emit_events_config(buffer, js);
        else
                emit_bucket_config(buffer);
        emit_object_end(buffer);
        outbox_end(js->options.outbox);
        js->steps[what] = STEP_CREATE;
        await(js, ANSWER_TIMEOUT_USEC, now);
}

/* records */

static Buffer *begin_record(JetStream *js, Slice runtime_id) {
        Buffer *buffer = outbox_begin(js->options.outbox);

        buffer_append_slice(buffer, SLICE("$KV." JETSTREAM_RUNTIMES "."));
        buffer_append_slice(buffer, runtime_id);
        return buffer;
}

static void put_record(JetStream *js, Runtime *runtime, Instant now) {
        Buffer *buffer;

        js->n_puts++;
        runtime->record_is_due = false;
        runtime->recorded_usec = now.usec;
        runtime->recorded_state = runtime->state;
        buffer = begin_record(js, id_slice(&runtime->id));
        outbox_body(js->options.outbox);
        emit_object(buffer, NULL);
        observers_emit_runtime(buffer, "agent_runtime", runtime, now);
        observers_emit_agents(
                buffer, "agent_definitions", runtime, MIN_OF((size_t)RECORD_BYTES_MAX, js->max_payload / 2));
        emit_timestamp(buffer, "updated_at", now.real_usec);
        emit_object_end(buffer);
        outbox_end(js->options.outbox);
}

void jetstream_put_runtime(JetStream *js, Runtime *runtime, Instant now) {
        const uint64_t next_usec = runtime->recorded_usec + RECORD_PAUSE_USEC;

        if (js->steps[WHAT_RUNTIMES] != STEP_READY)
                return;
        if (runtime->recorded_state != runtime->state || now.usec >= next_usec) {
                put_record(js, runtime, now);
                return;
        }
        runtime->record_is_due = true;
        deadline_arm(js->options.deadlines, js->options.records, MIN_OF(js->options.records->usec, next_usec));
}

void jetstream_on_records_due(JetStream *js, Instant now) {
        uint64_t next_usec = USEC_NEVER;

        if (js->steps[WHAT_RUNTIMES] != STEP_READY)
                return;
        for (Runtime *runtime = registry_first(js->options.registry); runtime; runtime = registry_next(runtime)) {
                if (!runtime->record_is_due)
                        continue;
                if (now.usec >= runtime->recorded_usec + RECORD_PAUSE_USEC)
                        put_record(js, runtime, now);
                else
                        next_usec = MIN_OF(next_usec, runtime->recorded_usec + RECORD_PAUSE_USEC);
        }
        deadline_arm(js->options.deadlines, js->options.records, next_usec);
}

void jetstream_delete_runtime(JetStream *js, Slice runtime_id, Instant now) {
        Buffer *buffer;

        (void)now;

        if (js->steps[WHAT_RUNTIMES] != STEP_READY)
                return;
        js->n_deletes++;
        buffer = begin_record(js, runtime_id);
        outbox_headers(js->options.outbox);
        headers_put(buffer, SLICE("KV-Operation"), SLICE("DEL"));
        outbox_body(js->options.outbox);
        outbox_end(js->options.outbox);
}

static void ask_sweep(JetStream *js) {
        Buffer *buffer;

        if (js->swept || !js->settled || js->steps[WHAT_RUNTIMES] != STEP_READY)
                return;
        js->swept = true;
        buffer = begin_request(js, "INFO", whats[WHAT_RUNTIMES].stream, SWEEP_TOKEN);
        emit_object(buffer, NULL);
        emit_string(buffer, "subjects_filter", "$KV." JETSTREAM_RUNTIMES ".>");
        emit_object_end(buffer);
        outbox_end(js->options.outbox);
}

/* The marker of a deletion goes too, once those who watch have had it: a bucket of ids that are made up for each
 * container would grow for ever. */
static void purge(JetStream *js, Slice key) {
        Buffer *buffer = begin_request(js, "PURGE", whats[WHAT_RUNTIMES].stream, PURGE_TOKEN);

        emit_object(buffer, NULL);
        emit_text(buffer, "filter", key);
        emit_object_end(buffer);
        outbox_end(js->options.outbox);
}

/* Runtimes that vanished while no dispatcher was looking. */
static void sweep(JetStream *js, Slice subjects, Instant now) {
        const Slice prefix = SLICE("$KV." JETSTREAM_RUNTIMES ".");
        Arena arena = {};
        size_t cursor = 0;
        Slice key, value;

        while (scan_next_member(subjects, &cursor, &arena, &key, &value) == 1) {
                Slice id;

                if (!slice_starts_with(key, prefix))
                        continue;
                id = slice_after(key, prefix.size);
                if (!id_is_valid(id) || registry_find(js->options.registry, id))
                        continue;
                jetstream_delete_runtime(js, id, now);
                purge(js, key);
        }
        arena_clear(&arena);
}

/* answers */

typedef struct ApiAnswer {
        uint64_t code, err_code;
        Slice description;
        Slice subjects;
} ApiAnswer;

static const ScanField error_fields[] = {
        { .name = "code", .kind = SCAN_U64, .offset = offsetof(ApiAnswer, code) },
        { .name = "err_code", .kind = SCAN_U64, .offset = offsetof(ApiAnswer, err_code) },
        { .name = "description", .kind = SCAN_TEXT, .offset = offsetof(ApiAnswer, description) },
        {},
};

static const ScanField state_fields[] = {
        { .name = "subjects", .kind = SCAN_RAW_OBJECT, .offset = offsetof(ApiAnswer, subjects) },
        {},
};

static const ScanField answer_fields[] = {
        { .name = "error", .kind = SCAN_OBJECT, .fields = error_fields },
        { .name = "state", .kind = SCAN_OBJECT, .fields = state_fields },
        {},
};

static void ready(JetStream *js, What what, Instant now) {
        js->steps[what] = STEP_READY;
        diag_jetstream(whats[what].stream, true, "ready");
        if (what != WHAT_RUNTIMES)
                return;
        for (Runtime *runtime = registry_first(js->options.registry); runtime; runtime = registry_next(runtime))
                if (runtime->announced)
                        put_record(js, runtime, now);
        ask_sweep(js);
}

static void unavailable(JetStream *js, What what, const char *why, Instant now) {
        js->steps[what] = STEP_OFF;
        if (!js->unavailable_logged)
                diag_jetstream(whats[what].stream, false, why);
        js->unavailable_logged = true;
        await(js, RETRY_USEC, now);
}

static void on_stream_answer(JetStream *js, What what, const ApiAnswer *answer, Instant now) {
        char why[256];

        if (answer->code == 0) {
                ready(js, what, now);
                return;
        }
        if (js->steps[what] == STEP_INFO && answer->err_code == ERR_STREAM_NOT_FOUND) {
                ask_create(js, what, now);
                return;
        }
        if (js->steps[what] == STEP_CREATE && answer->err_code == ERR_STREAM_NAME_IN_USE) {
                ready(js, what, now);
                return;
        }
        js->n_errors++;
        (void)snprintf(why, sizeof(why), "%.*s (%" PRIu64 ", %" PRIu64 ")", SLICE_ARG(answer->description),
                answer->code, answer->err_code);
        unavailable(js, what, why, now);
}

void jetstream_on_answer(JetStream *js, Slice token, const InMessage *message, Instant now) {
        ApiAnswer answer = {};
        WireError error = {};
        Arena arena = {};
        bool sane = !message->no_responders && scan_object(message->body, answer_fields, &answer, &arena, &error) == 0;

        for (What what = 0; what < _WHAT_MAX; what++) {
                if (!slice_equal(token, slice_of(whats[what].token)))
                        continue;
                if (js->steps[what] != STEP_INFO && js->steps[what] != STEP_CREATE)
                        continue;
                if (sane)
                        on_stream_answer(js, what, &answer, now);
                else
                        unavailable(js, what, message->no_responders ? "the server has no JetStream" : error.text, now);
        }
        if (sane && slice_equal(token, SLICE(SWEEP_TOKEN)) && answer.subjects.size > 0)
                sweep(js, answer.subjects, now);
        arena_clear(&arena);
}

void jetstream_on_time(JetStream *js, Instant now) {
        for (What what = 0; what < _WHAT_MAX; what++)
                if (js->steps[what] != STEP_READY)
                        ask_info(js, what, now);
}

void jetstream_on_link_up(JetStream *js, uint64_t max_payload, Instant now) {
        js->max_payload = max_payload;
        js->unavailable_logged = false;
        if (!js->options.wanted)
                return;
        for (What what = 0; what < _WHAT_MAX; what++)
                ask_info(js, what, now);
}

void jetstream_on_link_down(JetStream *js) {
        for (What what = 0; what < _WHAT_MAX; what++)
                js->steps[what] = STEP_OFF;
        js->settled = js->swept = false;
        deadline_disarm(js->options.deadlines, js->options.deadline);
        deadline_disarm(js->options.deadlines, js->options.records);
}

void jetstream_on_settled(JetStream *js, Instant now) {
        (void)now;

        js->settled = true;
        ask_sweep(js);
}

JetStreamStatus jetstream_status(const JetStream *js) {
        return (JetStreamStatus){
                .available = js->steps[WHAT_EVENTS] == STEP_READY || js->steps[WHAT_RUNTIMES] == STEP_READY,
                .events_ready = js->steps[WHAT_EVENTS] == STEP_READY,
                .runtimes_ready = js->steps[WHAT_RUNTIMES] == STEP_READY,
                .n_puts = js->n_puts,
                .n_deletes = js->n_deletes,
                .n_errors = js->n_errors,
        };
}

int jetstream_new(const JetStreamOptions *options, JetStream **ret) {
        JetStream *js = calloc(1, sizeof(*js));

        if (!js)
                return -ENOMEM;
        js->options = *options;
        *ret = js;
        return 0;
}

JetStream *jetstream_free(JetStream *js) {
        free(js);
        return NULL;
}
