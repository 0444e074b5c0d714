/* SPDX-License-Identifier: MIT */

/*
 * proto_tool samples   writes what the encoders make, one message per line: TYPE<TAB>JSON
 * proto_tool check     reads such lines, writes "ok<TAB>" with the message encoded again, or "refused<TAB>" with the
 * sentence
 *
 * What tests/lint/check-schemas.py compares with the schemas.
 */

#include <stdio.h>
#include <string.h>

#include "proto/emit.h"
#include "tests/tools/codecs.h"

static void print_sample(const char *type, Buffer *buffer) {
        if (buffer->failed || buffer->nesting != 0)
                exit(EXIT_FAILURE);
        (void)printf("%s\t%.*s\n", type, SLICE_ARG(buffer_slice(buffer)));
        buffer_clear(buffer);
}

static void sample_triggers(Buffer *b) {
        Trigger t = {
                .workflow_id = SLICE("adhoc"),
                .agent_id = SLICE("greeter"),
                .agent_exec_id = SLICE("e1"),
                .dispatch = { .present = true,
                        .runtime_id = SLICE("r1"),
                        .epoch = 1,
                        .dispatcher_id = SLICE("d1"),
                        .attempt = 1 },
        };

        trigger_encode_relay(b, &t);
        print_sample("TriggerAgent", b);

        t.metadata = (Metadata){ .request_id = SLICE("r\"1"),
                .correlation_id = SLICE("c\n1"),
                .source_component = SLICE("x"),
                .created_by = SLICE("caf\xc3\xa9") };
        t.workflow_exec_id = SLICE("w");
        t.task = SLICE("{\"id\":\"t\",\"exec_id\":\"t1\"}");
        t.payload = SLICE("{\"priority\":100,\"context\":{\"input\":null}}");
        t.dispatch.epoch = EPOCH_MAX;
        t.dispatch.deadline_ms = DEADLINE_MS_MAX;
        t.dispatch.age_ms = 5;
        t.dispatch.reply_to = SLICE("_INBOX.a.1");
        t.dispatch.report_to = SLICE("_INBOX.d.report");
        trigger_encode_relay(b, &t);
        print_sample("TriggerAgent", b);
}

static void sample_results(Buffer *b) {
        Result result = { .agent_exec_id = SLICE("e1"), .status = STATUS_SUCCESS };

        result_encode(b, &result, CODEC_NOW);
        print_sample("AgentExecutionResult", b);

        result = (Result){
                .metadata = { .result_id = SLICE("x"), .correlation_id = SLICE("c"), .source_component = SLICE("s") },
                .workflow_id = SLICE("w"),
                .workflow_exec_id = SLICE("we"),
                .agent_id = SLICE("greeter"),
                .agent_exec_id = SLICE("e1"),
                .runtime_id = SLICE("r1"),
                .epoch = 7,
                .status = STATUS_SUCCESS,
                .output = SLICE("[1,{}]"),
                .duration_ms = 1.25,
                .attempt = 2,
        };
        result_encode(b, &result, CODEC_NOW);
        print_sample("AgentExecutionResult", b);

        for (unsigned status = STATUS_AGENT_ERROR; status <= STATUS_FAILURE; status++) {
                result.status = status;
                result.error = (ErrorReply){ ERROR_OVERLOADED, SLICE("full"), SLICE("{\"retry_after_ms\":5}") };
                result_encode(b, &result, CODEC_NOW);
                print_sample("AgentExecutionResult", b);
        }
}

static void sample_registrations(Buffer *b) {
        Registration registration = { .runtime_id = SLICE("r1"),
                .epoch = 1,
                .max_in_flight = 64,
                .heartbeat_interval_ms = 1000,
                .part_count = 1 };
        Buffer agents = { 0 };

        registration_encode(b, &registration, SLICE("ev1"), CODEC_NOW);
        print_sample("AgentRuntimeRegistered", b);

        emit_array(&agents, NULL);
        agent_summary_emit(&agents, &(AgentSummary){ .agent_id = SLICE("a1") });
        agent_summary_emit(
                &agents, &(AgentSummary){ SLICE("a2"), SLICE("echo"), SLICE("[\"c\"]"), true, SLICE("running") });
        emit_array_end(&agents);
        registration = (Registration){
                .metadata.correlation_id = SLICE("c"),
                .runtime_id = SLICE("r1"),
                .epoch = EPOCH_MAX,
                .revision = 3,
                .hostname = SLICE("h"),
                .ip_address = SLICE("::1"),
                .version = SLICE("1"),
                .pid = 42,
                .labels = SLICE("{\"zone\":\"a\"}"),
                .agent_types = SLICE("[\"echo\"]"),
                .agent_definitions = buffer_slice(&agents),
                .trigger_subject = SLICE("x.trigger"),
                .control_subject = SLICE("x.control"),
                .max_in_flight = CAPACITY_MAX,
                .max_agents = 5,
                .heartbeat_interval_ms = INTERVAL_MS_MAX,
                .draining = true,
                .reason = SLICE("start"),
                .registration_timestamp = SLICE("2026-01-31T23:59:59.123456Z"),
                .part_index = REGISTRATION_PARTS_MAX - 1,
                .part_count = REGISTRATION_PARTS_MAX,
        };
        registration_encode(b, &registration, SLICE("ev1"), CODEC_NOW);
        print_sample("AgentRuntimeRegistered", b);

        runtime_updated_encode(b,
                &(RuntimeUpdated){ .runtime_id = SLICE("r1"),
                        .epoch = 1,
                        .revision = 2,
                        .base_revision = 1,
                        .added = buffer_slice(&agents),
                        .removed = SLICE("[\"gone\"]") },
                SLICE("ev"), CODEC_NOW);
        print_sample("AgentRuntimeUpdated", b);
        buffer_done(&agents);
}

static void sample_liveness(Buffer *b) {
        const RuntimeLoad load = { 3, 1, 2, 61 };

        heartbeat_encode(b,
                &(Heartbeat){ .runtime_id = SLICE("r1"), .epoch = 1, .load.free_slots = FREE_SLOTS_UNSTATED },
                SLICE("ev"), CODEC_NOW);
        print_sample("AgentRuntimeHeartbeat", b);
        heartbeat_encode(b,
                &(Heartbeat){ .runtime_id = SLICE("r1"),
                        .epoch = 1,
                        .revision = 9,
                        .sequence = 8,
                        .interval_ms = 10,
                        .draining = true,
                        .load = load },
                SLICE("ev"), CODEC_NOW);
        print_sample("AgentRuntimeHeartbeat", b);

        for (unsigned reason = DEREGISTER_NONE; reason < _DEREGISTER_REASON_MAX; reason++) {
                deregistration_encode(b,
                        &(Deregistration){ .runtime_id = SLICE("r1"),
                                .epoch = reason,
                                .reason = reason,
                                .seen_by = reason == DEREGISTER_SHUTDOWN ? SLICE("runtime") : SLICE("d1") },
                        SLICE("ev"), CODEC_NOW);
                print_sample("AgentRuntimeDeregistered", b);
        }

        announce_encode(b, &(Announce){ .register_again = true }, SLICE("ev"), CODEC_NOW);
        print_sample("AnnounceRuntimes", b);
        announce_encode(b, &(Announce){ .dispatcher_id = SLICE("d1"), .spread_ms = 100, .heartbeat_interval_ms = 5000 },
                SLICE("ev"), CODEC_NOW);
        print_sample("AnnounceRuntimes", b);
}

static void sample_report(Buffer *b) {
        report_encode_head(b, &(Report){ .runtime_id = SLICE("r1"), .epoch = 5 }, CODEC_NOW);
        for (unsigned state = EXECUTION_ACCEPTED; state < _EXECUTION_STATE_MAX; state++)
                report_encode_execution(b, &(ExecutionReport){
                                                   .exec_id = SLICE("e1"),
                                                   .attempt = 1,
                                                   .state = state,
                                                   .status = state == EXECUTION_DONE ? STATUS_FAILURE : STATUS_NONE,
                                                   .code = state >= EXECUTION_DONE ? ERROR_MAILBOX_FULL : ERROR_NONE,
                                           });
        report_encode_tail(b, &(RuntimeLoad){ 1, 2, 3, 4 });
        print_sample("AgentExecutionReport", b);

        report_encode_head(b, &(Report){ .runtime_id = SLICE("r1"), .epoch = 5 }, CODEC_NOW);
        report_encode_tail(b, &(RuntimeLoad){ .free_slots = FREE_SLOTS_UNSTATED });
        print_sample("AgentExecutionReport", b);
}

static void sample_events(Buffer *b) {
        for (unsigned kind = EXECUTION_EVENT_NONE + 1; kind < _EXECUTION_EVENT_KIND_MAX; kind++) {
                ExecutionEvent event = {
                        .kind = (ExecutionEventKind)kind,
                        .agent_exec_id = SLICE("e1"),
                };

                execution_event_encode(b, &event, SLICE("ev"), SLICE("compozy-runtimed"), CODEC_NOW);
                print_sample("AgentExecutionEvent", b);

                event.metadata.correlation_id = SLICE("c");
                event.workflow_id = SLICE("w");
                event.agent_id = SLICE("a");
                event.runtime_id = SLICE("r1");
                event.epoch = event.attempt = 1;
                event.status = STATUS_AGENT_ERROR;
                event.duration_ms = 0.125;
                event.error = (ErrorReply){ ERROR_AGENT_CRASHED, SLICE("it ended"), SLICE("{}") };
                execution_event_encode(b, &event, SLICE("ev"), SLICE("compozy-runtimed"), CODEC_NOW);
                print_sample("AgentExecutionEvent", b);
        }

        for (unsigned change = RUNTIME_CHANGE_NONE + 1; change < _RUNTIME_CHANGE_MAX; change++) {
                runtime_update_encode(b,
                        &(RuntimeUpdate){ .dispatcher_id = SLICE("d1"),
                                .change = change,
                                .runtimes_live = 3,
                                .reason = SLICE("heartbeat"),
                                .agent_runtime = SLICE("{\"runtime_id\":\"r1\"}") },
                        SLICE("ev"), CODEC_NOW);
                print_sample("DispatcherRuntimeUpdate", b);
        }
}

static void sample_answers(Buffer *b) {
        const RegistrationTaken taken = { SLICE("d1"), SLICE("r1"), 1, 2, true, 1000, 5000 };
        Buffer inner = { 0 };

        registration_taken_encode(b, &taken);
        print_sample("RegistrationTaken", b);
        registration_taken_encode(&inner, &taken);
        answer_encode_result(b, buffer_slice(&inner));
        print_sample("Answer", b);
        answer_encode_result(b, SLICE_NONE);
        print_sample("Answer", b);

        registration_refused_encode(b, &(RegistrationRefused){ DEREGISTER_REPLACED, 9 });
        print_sample("RegistrationRefused", b);
        buffer_clear(&inner);
        registration_refused_encode(&inner, &(RegistrationRefused){ DEREGISTER_HEARTBEAT_TIMEOUT, 9 });
        answer_encode_error(b, &(ErrorReply){ ERROR_RUNTIME_LOST, SLICE("declared dead"), buffer_slice(&inner) });
        print_sample("Answer", b);
        answer_encode_error(b, &(ErrorReply){ .code = ERROR_INTERNAL });
        print_sample("Answer", b);
        buffer_done(&inner);
}

static int print_samples(void) {
        Buffer buffer = { 0 };

        sample_triggers(&buffer);
        sample_results(&buffer);
        sample_registrations(&buffer);
        sample_liveness(&buffer);
        sample_report(&buffer);
        sample_events(&buffer);
        sample_answers(&buffer);
        buffer_done(&buffer);
        return EXIT_SUCCESS;
}

static void check_line(const Codec *codec, Slice body) {
        Arena arena = { 0 };
        Buffer again = { 0 };
        WireError error = { "out of memory" };

        if (codec->read(body, &arena, &error, &again) == 0)
                (void)printf("ok\t%.*s\n", SLICE_ARG(buffer_slice(&again)));
        else
                (void)printf("refused\t%s\n", error.text);
        buffer_done(&again);
        arena_clear(&arena);
}

static int check_lines(void) {
        char *line = NULL;
        size_t allocated = 0;
        ssize_t n;

        while ((n = getline(&line, &allocated, stdin)) > 0) {
                char *const tab = memchr(line, '\t', (size_t)n);
                const Codec *codec;

                if (line[n - 1] == '\n')
                        n--;
                if (!tab)
                        return EXIT_FAILURE;
                *tab = '\0';
                codec = codec_find(line);
                if (!codec)
                        return EXIT_FAILURE;
                check_line(codec, (Slice){ tab + 1, (size_t)(line + n - tab - 1) });
        }
        free(line);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "samples") == 0)
                return print_samples();
        if (argc == 2 && strcmp(argv[1], "check") == 0)
                return check_lines();

        (void)fprintf(stderr, "usage: proto_tool samples|check\n");
        return EXIT_FAILURE;
}
