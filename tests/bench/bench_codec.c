/* SPDX-License-Identifier: MIT */

/*
 * bench_codec: what reading and writing each message of a trigger's life costs, in nanoseconds, on one line of JSON.
 *
 *     bench_codec [MILLISECONDS per figure]
 */

#include <inttypes.h>
#include <stdio.h>

#include "proto/event.h"
#include "proto/report.h"
#include "proto/result.h"
#include "proto/subject.h"
#include "proto/trigger.h"
#include "tests/bench/peer.h"

#define REAL_USEC UINT64_C(1763675000123456)
#define BATCH 256
#define BODY_BYTES 256
#define REPORT_EXECUTIONS 64

typedef struct Case {
        const char *name;
        void (*encode)(Buffer *buffer);
        bool (*decode)(Slice body, Arena *arena);
} Case;

/* A generated id, as the dispatcher makes them: what the caller of the bench leaves to it. */
static const Slice exec_id = { "x0123456789abcdef0123", 21 }, event_id = { "e0123456789abcdef0123", 21 };
static const Slice runtime_id = { "bench", 5 }, agent_id = { "echo", 4 }, dispatcher_id = { "d0123456789ab", 13 };

static void encode_trigger(Buffer *buffer) {
        static const char head[] = "{\"payload\":{\"context\":{\"input\":\"", tail[] = "\"}}}";

        buffer_append(buffer, head, strlen(head));
        for (size_t i = strlen(head) + strlen(tail); i < BODY_BYTES; i++)
                buffer_append_char(buffer, (char)('a' + i % 26));
        buffer_append(buffer, tail, strlen(tail));
}

static bool decode_trigger(Slice body, Arena *arena) {
        Trigger trigger;

        return trigger_decode(body, &trigger, arena, NULL) == 0;
}

static void encode_relay(Buffer *buffer) {
        static char text[BODY_BYTES];
        const Slice payload = { text, BODY_BYTES - strlen("{\"payload\":}") };
        Trigger trigger = {
                .metadata = { .request_id = exec_id, .correlation_id = exec_id },
                .workflow_id = SLICE("bench"),
                .workflow_exec_id = exec_id,
                .agent_id = agent_id,
                .agent_exec_id = exec_id,
                .payload = payload,
                .dispatch = {
                        .runtime_id = runtime_id,
                        .epoch = REAL_USEC / 1000,
                        .dispatcher_id = dispatcher_id,
                        .attempt = 1,
                        .deadline_ms = 29950,
                        .reply_to = SLICE("_INBOX.01234567.000000000001"),
                        .report_to = SLICE("_INBOX.0123456789abcdef.report"),
                },
        };

        if (!text[0]) {
                _cleanup_(buffer_done) Buffer whole = { 0 };

                encode_trigger(&whole);
                memcpy(text, whole.data + strlen("{\"payload\":"), payload.size);
        }
        trigger_encode_relay(buffer, &trigger);
}

static void encode_result(Buffer *buffer) {
        static const char output[] =
                "\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst"
                "uvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
                "mnopqrstuvwxyzabcdef\"";
        const Result result = {
                .metadata = { .result_id = exec_id, .correlation_id = exec_id, .source_component = SLICE("runtime") },
                .workflow_id = SLICE("bench"),
                .workflow_exec_id = exec_id,
                .agent_id = agent_id,
                .agent_exec_id = exec_id,
                .runtime_id = runtime_id,
                .epoch = REAL_USEC / 1000,
                .status = STATUS_SUCCESS,
                .output = { output, strlen(output) },
                .duration_ms = 0.125,
                .attempt = 1,
        };

        result_encode(buffer, &result, REAL_USEC);
}

static bool decode_result(Slice body, Arena *arena) {
        Result result;

        return result_decode(body, &result, arena, NULL) == 0;
}

static void encode_completed(Buffer *buffer) {
        const ExecutionEvent event = {
                .metadata = { .correlation_id = exec_id },
                .kind = EXECUTION_EVENT_COMPLETED,
                .workflow_id = SLICE("bench"),
                .workflow_exec_id = exec_id,
                .agent_id = agent_id,
                .agent_exec_id = exec_id,
                .runtime_id = runtime_id,
                .epoch = REAL_USEC / 1000,
                .attempt = 1,
                .status = STATUS_SUCCESS,
                .duration_ms = 0.125,
        };

        execution_event_encode(buffer, &event, event_id, SLICE("runtime"), REAL_USEC);
}

static bool decode_event(Slice body, Arena *arena) {
        ExecutionEvent event;

        return execution_event_decode(body, &event, arena, NULL) == 0;
}

static void encode_report(Buffer *buffer) {
        const Report report = { .runtime_id = runtime_id, .epoch = REAL_USEC / 1000 };
        const ExecutionReport execution = {
                .exec_id = exec_id,
                .attempt = 1,
                .state = EXECUTION_DONE,
                .status = STATUS_SUCCESS,
        };

        report_encode_head(buffer, &report, REAL_USEC);
        for (size_t i = 0; i < REPORT_EXECUTIONS; i++)
                report_encode_execution(buffer, &execution);
        report_encode_tail(buffer, &report.load);
}

static bool decode_report(Slice body, Arena *arena) {
        ExecutionReport execution;
        Report report;
        ReportCursor cursor = {};
        int r;

        if (report_decode(body, &report, arena, NULL) != 0)
                return false;
        while ((r = execution_report_next(report.executions, &cursor, &execution, arena, NULL)) == 0)
                ;
        return r == SCAN_E_END && cursor.index == REPORT_EXECUTIONS;
}

static void encode_subject(Buffer *buffer) {
        subject_build(buffer, SLICE(SUBJECT_PREFIX_DEFAULT), SUBJECT_TRIGGER, SLICE("bench"), agent_id);
}

static bool decode_subject(Slice body, Arena *arena) {
        (void)arena;
        return subject_parse(SLICE(SUBJECT_PREFIX_DEFAULT), body).kind == SUBJECT_TRIGGER;
}

static const Case cases[] = {
        { .name = "trigger", .encode = encode_trigger, .decode = decode_trigger },
        { .name = "relay", .encode = encode_relay, .decode = decode_trigger },
        { .name = "result", .encode = encode_result, .decode = decode_result },
        { .name = "completed event", .encode = encode_completed, .decode = decode_event },
        { .name = "report of 64", .encode = encode_report, .decode = decode_report },
        { .name = "subject", .encode = encode_subject, .decode = decode_subject },
};

static double nsec_each(const Case *c, Slice body, uint64_t budget_nsec) {
        _cleanup_(buffer_done) Buffer buffer = { 0 };
        _cleanup_(arena_clear) Arena arena = { 0 };
        const uint64_t start = peer_now_nsec();
        uint64_t n = 0, now;

        do {
                for (unsigned i = 0; i < BATCH; i++) {
                        if (!body.data) {
                                buffer_clear(&buffer);
                                c->encode(&buffer);
                        } else if (!c->decode(body, &arena))
                                peer_fail("A %s does not decode: %.*s", c->name, SLICE_ARG(body));
                        else
                                arena_clear(&arena);
                }
                n += BATCH;
                now = peer_now_nsec();
        } while (now - start < budget_nsec);
        return (double)(now - start) / (double)n;
}

int main(int argc, char **argv) {
        const uint64_t budget_nsec = (argc > 1 ? strtoull(argv[1], NULL, 10) : 50) * 1000000;

        (void)putchar('{');
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer body = { 0 };

                cases[i].encode(&body);
                (void)printf("%s\"%s\": {\"bytes\": %zu, \"encode_nsec\": %.0f, \"decode_nsec\": %.0f}", i ? ", " : "",
                        cases[i].name, body.size, nsec_each(&cases[i], SLICE_NONE, budget_nsec),
                        nsec_each(&cases[i], buffer_slice(&body), budget_nsec));
        }
        (void)puts("}");
        return 0;
}
