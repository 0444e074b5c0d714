/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Bench: a Dispatcher on the bench. Messages go in as bytes, what it publishes comes out by subject, time is a number.
 *
 * Each message that goes in lies in memory of its own, exactly as long as it is and freed as soon as the dispatcher
 * returns: a slice kept too long is found by the sanitizer. After each step the dispatcher's own invariants are
 * checked. Echoes (what the dispatcher sends to itself) come back at once, unless `deaf`.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <inttypes.h>
#include <string.h>

#include "dispatcherd/dispatcher.h"
#include "proto/scan.h"
#include "proto/subject.h"

#define MS USEC_PER_MSEC
#define SECOND USEC_PER_SEC
#define INBOX "_INBOX.bench"

/* A message that the dispatcher published; texts are NUL-terminated, "" when absent. */
typedef struct Out {
        char *subject, *reply, *headers, *body;
        bool taken;
} Out;

typedef struct Bench {
        DispatcherOptions options;
        Dispatcher *d;
        Outbox outbox;
        Instant now;
        bool deaf; /* nothing comes back from the server, not even our own echo */
        Out outs[4096];
        size_t n_outs;
} Bench;

static inline _unused_ DispatcherOptions bench_options(void) {
        return (DispatcherOptions){
                .id = "d1",
                .subject_prefix = "compozy",
                .inbox_prefix = INBOX,
                .hostname = "bench",
                .version = "0",
                .random_seed = 1,
                .queue_limit = 100,
                .queue_bytes_limit = 1024 * 1024,
                .max_message_bytes = 64 * 1024,
                .max_runtimes = 100,
                .max_agents = 1000,
                .suspect_after = 2,
                .dead_after = 5,
                .probe_timeout_usec = SECOND,
                .heartbeats_per_second_max = 1000,
                .default_deadline_ms = 30000,
                .max_attempts = 3,
                .check_usec = SECOND,
                .rehost_wait_usec = 5 * SECOND,
                .settle_usec = 750 * MS,
                .events = EVENTS_ALL,
                .history_max = 100,
        };
}

static inline _unused_ void bench_check(Bench *b) {
        const char *broken = dispatcher_check(b->d, b->now);

        if (broken)
                fail_msg("%s", broken);
}

/* what comes out */

static inline void out_free(Out *out) {
        free(out->subject);
        free(out->reply);
        free(out->headers);
        free(out->body);
        *out = (Out){ 0 };
}

static inline void bench_deliver(
        Bench *b, const char *subject, const char *reply, const char *headers, Slice body, bool no_responders);

static inline void bench_check_json(const Out *out) {
        static const ScanField nothing[] = { { 0 } };
        Arena arena = { 0 };
        WireError error = { 0 };
        char none;

        if (out->body[0] == '{' && scan_object(slice_of(out->body), nothing, &none, &arena, &error) != 0)
                fail_msg("%s: %s: %s", out->subject, error.text, out->body);
        arena_clear(&arena);
}

/* Moves what the dispatcher published to `outs`, and brings back its echoes. */
static inline void bench_collect(Bench *b) {
        size_t first = b->n_outs;

        for (size_t i = 0; i < outbox_size(&b->outbox); i++) {
                OutMessage message = outbox_get(&b->outbox, i);
                Out *out = &b->outs[b->n_outs++];

                assert_true(b->n_outs < ELEMENTSOF(b->outs));
                *out = (Out){ .subject = slice_dup(message.subject),
                        .reply = slice_dup(message.reply),
                        .headers = slice_dup(message.headers),
                        .body = slice_dup(message.body) };
                assert_true(subject_is_valid(slice_of(out->subject)));
                bench_check_json(out);
        }
        outbox_clear(&b->outbox);
        for (size_t i = first, n = b->n_outs; i < n; i++)
                if (!b->deaf && strncmp(b->outs[i].subject, INBOX ".e.", strlen(INBOX ".e.")) == 0)
                        bench_deliver(b, b->outs[i].subject, NULL, NULL, SLICE_NONE, false);
}

/* Forgets what came out so far. */
static inline _unused_ void bench_forget(Bench *b) {
        for (size_t i = 0; i < b->n_outs; i++)
                out_free(&b->outs[i]);
        b->n_outs = 0;
}

/* The oldest message on a subject that was not taken yet; NULL when there is none. Borrowed until bench_forget(). */
static inline _unused_ const Out *bench_take(Bench *b, const char *pattern) {
        for (size_t i = 0; i < b->n_outs; i++)
                if (!b->outs[i].taken && subject_matches(slice_of(pattern), slice_of(b->outs[i].subject))) {
                        b->outs[i].taken = true;
                        return &b->outs[i];
                }
        return NULL;
}

/* The same, which must be there and have `part` in its body. */
static inline _unused_ const Out *bench_expect(Bench *b, const char *pattern, const char *part) {
        const Out *out = bench_take(b, pattern);

        if (!out)
                fail_msg("nothing was published on %s", pattern);
        else if (part[0] && !strstr(out->body, part))
                fail_msg("on %s, without %s: %s", out->subject, part, out->body);
        return out;
}

static inline _unused_ void bench_expect_none(Bench *b, const char *pattern) {
        const Out *out = bench_take(b, pattern);

        if (out)
                fail_msg("on %s: %s", out->subject, out->body);
}

/* How many there are that were not taken; takes them. */
static inline _unused_ size_t bench_count(Bench *b, const char *pattern) {
        size_t n = 0;

        while (bench_take(b, pattern))
                n++;
        return n;
}

/* what goes in */

static inline char *exact_copy(Slice text) {
        char *copy = malloc(text.size > 0 ? text.size : 1);

        assert_non_null(copy);
        if (text.size > 0)
                memcpy(copy, text.data, text.size);
        return copy;
}

/* Without the end of the turn. */
static inline void bench_deliver(
        Bench *b, const char *subject, const char *reply, const char *headers, Slice body, bool no_responders) {
        Slice parts[] = { slice_of(subject), slice_of(reply), slice_of(headers), body };
        char *copies[ELEMENTSOF(parts)];
        InMessage message;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                copies[i] = exact_copy(parts[i]);
                if (parts[i].data)
                        parts[i].data = copies[i];
        }
        message = (InMessage){ .subject = parts[0],
                .reply = parts[1],
                .headers = parts[2],
                .body = parts[3],
                .no_responders = no_responders };
        dispatcher_on_message(b->d, &message, b->now);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                free(copies[i]);
}

static inline void bench_turn_end(Bench *b) {
        dispatcher_on_turn_end(b->d, b->now);
        bench_check(b);
        bench_collect(b);
}

static inline _unused_ void bench_send_slice(Bench *b, const char *subject, const char *reply, Slice body) {
        bench_deliver(b, subject, reply, NULL, body, false);
        bench_turn_end(b);
}

static inline _unused_ void bench_send(Bench *b, const char *subject, const char *reply, const char *body) {
        bench_send_slice(b, subject, reply, slice_of(body));
}

static inline _unused_ _printf_(4, 5) void bench_sendf(
        Bench *b, const char *subject, const char *reply, const char *format, ...) {
        char *body;
        va_list list;

        va_start(list, format);
        assert_true(vasprintf(&body, format, list) >= 0);
        va_end(list);
        bench_send(b, subject, reply, body);
        free(body);
}

/* The server's word that nobody listens to what was published with that reply subject. */
static inline _unused_ void bench_no_responders(Bench *b, const Out *out) {
        char *reply = strdup(out->reply);

        bench_deliver(b, reply, NULL, NULL, SLICE_NONE, true);
        bench_turn_end(b);
        free(reply);
}

/* time */

/* Goes on for so long, waking the dispatcher when it asked for it. */
static inline _unused_ void bench_pass(Bench *b, uint64_t usec) {
        uint64_t until = b->now.usec + usec;

        for (uint64_t next; (next = dispatcher_next_deadline(b->d)) <= until;) {
                uint64_t step = next > b->now.usec ? next - b->now.usec : 0;

                b->now.usec += step;
                b->now.real_usec += step;
                dispatcher_on_time(b->d, b->now);
                bench_turn_end(b);
        }
        b->now.real_usec += until - b->now.usec;
        b->now.usec = until;
}

/* The process does not run for so long. */
static inline _unused_ void bench_stall(Bench *b, uint64_t usec) {
        b->now.usec += usec;
        b->now.real_usec += usec;
}

/* construction */

static inline _unused_ void bench_link_up(Bench *b) {
        dispatcher_on_link_up(b->d, 1024 * 1024, b->now);
        bench_turn_end(b);
}

/* A dispatcher that has called the roll and knows that nobody is there. */
static inline _unused_ Bench *bench_new(const DispatcherOptions *options) {
        Bench *b = calloc(1, sizeof(*b));

        assert_non_null(b);
        b->options = *options;
        b->now = (Instant){ .usec = 1000 * SECOND, .real_usec = UINT64_C(1763675000) * SECOND };
        outbox_init(&b->outbox);
        assert_int_equal(dispatcher_new(&b->options, &b->outbox, b->now, &b->d), 0);
        bench_link_up(b);
        bench_pass(b, SECOND);
        bench_forget(b);
        return b;
}

static inline _unused_ void bench_free(Bench *b) {
        bench_check(b);
        dispatcher_free(b->d);
        outbox_done(&b->outbox);
        bench_forget(b);
        free(b);
}

static inline _unused_ void bench_freep(Bench **b) {
        if (*b)
                bench_free(*b);
}

/* what it knows */

static inline _unused_ const char *bench_state(const Bench *b, const char *runtime_id) {
        uint64_t epoch;
        const char *name = dispatcher_runtime_state(b->d, runtime_id, &epoch);

        return name ? name : "gone";
}

/* A number of /metrics. */
static inline _unused_ uint64_t bench_metric(const Bench *b, const char *name) {
        Buffer buffer = { 0 };
        uint64_t value = UINT64_MAX;
        char line[256];
        const char *at;

        dispatcher_metrics(b->d, &buffer);
        buffer_append_char(&buffer, '\0');
        (void)snprintf(line, sizeof(line), "\n%s ", name);
        at = strstr(buffer.data, line);
        if (!at)
                fail_msg("no metric %s", name);
        else
                value = strtoull(at + strlen(line), NULL, 10);
        buffer_done(&buffer);
        return value;
}

/* runtimes */

typedef struct Spec {
        const char *id;
        uint64_t epoch, revision;
        const char *agents; /* ids with blanks between */
        const char *labels; /* raw object */
        uint64_t slots, interval_ms;
        uint64_t part, n_parts;
        bool draining;
        const char *reply;
} Spec;

/* `["a","b"]`, or agent definitions of "a b". */
static inline _unused_ void agents_json(Buffer *buffer, const char *agents, const char *before, const char *after) {
        const char *separator = "";

        buffer_append_char(buffer, '[');
        for (const char *at = agents; *at;) {
                size_t size = strcspn(at, " ");

                buffer_printf(buffer, "%s%s\"%.*s\"%s", separator, before, (int)size, at, after);
                separator = ",";
                at += size + (at[size] == ' ');
        }
        buffer_append_char(buffer, ']');
}

static inline _unused_ void bench_register(Bench *b, const Spec *spec) {
        Buffer agents = { 0 };
        char subject[256];

        agents_json(&agents, spec->agents ? spec->agents : "", "{\"agent_id\":", ",\"agent_type\":\"echo\"}");
        buffer_append_char(&agents, '\0');
        (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition.%s.registered", spec->id);
        bench_sendf(b, subject, spec->reply,
                "{\"metadata\":{\"type\":\"AgentRuntimeRegistered\"},\"agent_runtime\":{\"runtime_id\":\"%s\","
                "\"epoch\":%" PRIu64 ",\"revision\":%" PRIu64
                ",\"hostname\":\"host\",\"labels\":%s,\"agent_definitions\":%s,"
                "\"capacity\":{\"max_in_flight\":%" PRIu64 "},\"heartbeat_interval_ms\":%" PRIu64 "},"
                "\"payload\":{\"draining\":%s,\"part\":{\"index\":%" PRIu64 ",\"count\":%" PRIu64 "}}}",
                spec->id, spec->epoch, spec->revision, spec->labels ? spec->labels : "{}", agents.data,
                spec->slots ? spec->slots : 8, spec->interval_ms ? spec->interval_ms : 1000,
                spec->draining ? "true" : "false", spec->part, spec->n_parts ? spec->n_parts : 1);
        buffer_done(&agents);
}

/* One that is live, at epoch 1 and revision 0. */
static inline _unused_ void bench_runtime(Bench *b, const char *id, const char *agents) {
        bench_register(b, &(Spec){ .id = id, .epoch = 1, .agents = agents });
        assert_string_equal(bench_state(b, id), "live");
}

/* `rest` goes into the payload. */
static inline _unused_ void bench_beat(Bench *b, const char *id, uint64_t epoch, uint64_t revision, const char *rest) {
        char subject[256];

        (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition.%s.heartbeat", id);
        bench_sendf(b, subject, NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"%s\",\"epoch\":%" PRIu64 ",\"revision\":%" PRIu64
                "},\"payload\":{\"interval_ms\":1000%s}}",
                id, epoch, revision, rest);
}

/* Each of the runtimes ("r1 r2") beats every second for so many seconds. */
static inline _unused_ void bench_live(Bench *b, const char *ids, size_t seconds) {
        for (size_t i = 0; i < seconds; i++) {
                for (const char *at = ids; *at;) {
                        size_t size = strcspn(at, " ");
                        char id[65];

                        (void)snprintf(id, sizeof(id), "%.*s", (int)size, at);
                        bench_beat(b, id, 1, 0, "");
                        at += size + (at[size] == ' ');
                }
                bench_pass(b, SECOND);
        }
}

/* `executions`: the elements of the array; `rest` goes into the payload, e.g. ,"load":{…} */
static inline _unused_ void bench_report(
        Bench *b, const char *id, uint64_t epoch, const char *executions, const char *rest) {
        char subject[128];

        (void)snprintf(subject, sizeof(subject), "compozy.dispatcher.d1.report.%s", id);
        bench_sendf(b, subject, NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"%s\",\"epoch\":%" PRIu64 "},\"payload\":{\"executions\":[%s]%s}}",
                id, epoch, executions, rest);
}

static inline _unused_ void bench_report_one(
        Bench *b, const char *id, const char *exec_id, uint64_t attempt, const char *state, const char *rest) {
        char element[256];

        (void)snprintf(element, sizeof(element), "{\"exec_id\":\"%s\",\"attempt\":%" PRIu64 ",\"state\":\"%s\"%s}",
                exec_id, attempt, state, rest);
        bench_report(b, id, 1, element, "");
}

#define DONE ",\"status\":\"SUCCESS\""
#define REFUSED(name) ",\"code\":\"" name "\""

/* triggers, all of workflow w; `payload` are the members of payload */
static inline _unused_ void bench_trigger(
        Bench *b, const char *agent_id, const char *exec_id, const char *reply, const char *payload) {
        char subject[256];

        (void)snprintf(subject, sizeof(subject), "compozy.commands.agent.w.trigger.%s", agent_id);
        bench_sendf(b, subject, reply, "{\"agent\":{\"exec_id\":\"%s\"},\"payload\":{%s}}", exec_id, payload);
}

/* A request of an operator; the answer comes out on "op". */
static inline _unused_ const Out *bench_ask(Bench *b, const char *verb, const char *body, const char *part) {
        char subject[256];

        (void)snprintf(subject, sizeof(subject), "compozy.commands.agent_dispatcher.%s", verb);
        bench_send(b, subject, "op", body);
        return bench_expect(b, "op", part);
}
