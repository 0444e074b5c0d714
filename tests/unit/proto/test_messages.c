/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/emit.h"
#include "tests/tools/codecs.h"

#define NOW CODEC_NOW

static void assert_text(Slice slice, const char *text) {
        assert_non_null(slice.data);
        assert_int_equal(slice.size, strlen(text));
        assert_memory_equal(slice.data, text, slice.size);
}

typedef struct Refusal {
        const char *type;
        const char *body;
        const char *sentence; /* NULL: accepted */
} Refusal;

static void what_a_receiver_needs_and_does_not_get_is_named(void **state) {
        static const Refusal cases[] = {
                { "TriggerAgent", "", NULL },
                { "TriggerAgent", "{}", NULL },
                { "TriggerAgent", "{\"payload\":{\"context\":{\"input\":\"hi\"}}}", NULL },
                { "TriggerAgent", "{\"payload\":{\"priority\":101}}", "payload.priority is 101, the limit is 100" },
                { "TriggerAgent", "{\"payload\":{\"deadline_ms\":86400001}}",
                        "payload.deadline_ms is 86400001, the limit is 86400000" },
                { "TriggerAgent", "{\"payload\":{\"retry\":\"often\"}}",
                        "payload.retry \"often\" is none of never, unstarted, always" },
                { "TriggerAgent", "{\"payload\":{\"reply_to_subject\":\"a.>\"}}",
                        "payload.reply_to_subject \"a.>\" is not a subject" },
                { "TriggerAgent", "{\"payload\":{\"labels\":{\"zone\":7}}}", "payload.labels.zone is not a text" },
                { "TriggerAgent", "{\"payload\":{\"context\":[]}}", "payload.context [] is not an object" },
                { "TriggerAgent", "{\"agent\":{\"id\":\"a b\"}}",
                        "agent.id \"a b\" is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "TriggerAgent", "{\"agent\":{\"exec_id\":\"a.b\"}}",
                        "agent.exec_id \"a.b\" is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "TriggerAgent", "{\"workflow\":{\"exec_id\":\"a b/c\"}}", NULL },
                { "TriggerAgent", "{\"metadata\":{\"type\":\"Other\"}}",
                        "metadata.type \"Other\" is not TriggerAgent" },
                { "TriggerAgent", "{\"agent_runtime\":{}}", NULL },
                { "TriggerAgent", "{\"dispatch\":{}}", "dispatch.dispatcher_id is missing" },
                { "TriggerAgent", "{\"dispatch\":{\"dispatcher_id\":\"d\",\"attempt\":1,\"deadline_ms\":1}}",
                        "agent.id is missing" },
                { "TriggerAgent",
                        "{\"agent\":{\"id\":\"a\",\"exec_id\":\"e\"},\"dispatch\":{\"dispatcher_id\":\"d\",\"attempt\":"
                        "1,\"deadline_ms\":1}}",
                        "agent_runtime.runtime_id is missing" },
                { "TriggerAgent",
                        "{\"agent\":{\"id\":\"a\",\"exec_id\":\"e\"},\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":"
                        "0},"
                        "\"dispatch\":{\"dispatcher_id\":\"d\",\"attempt\":0,\"deadline_ms\":1}}",
                        "dispatch.attempt is 0, the least is 1" },
                { "AgentExecutionResult", "{\"agent\":{\"exec_id\":\"e\"},\"payload\":{\"status\":\"SUCCESS\"}}",
                        NULL },
                { "AgentExecutionResult", "{\"agent\":{\"exec_id\":\"e\"},\"payload\":{\"status\":\"FAILURE\"}}",
                        "payload.result.error is missing" },
                { "AgentExecutionResult", "{\"agent\":{},\"payload\":{\"status\":\"SUCCESS\"}}",
                        "agent.exec_id is missing" },
                { "AgentExecutionResult", "{\"agent\":{\"exec_id\":\"e\"}}", "payload is missing" },
                { "AgentRuntimeRegistered", "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1}}", NULL },
                { "AgentRuntimeRegistered", "{\"agent_runtime\":{\"runtime_id\":\"r\"}}",
                        "agent_runtime.epoch is missing" },
                { "AgentRuntimeRegistered", "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":9007199254740992}}",
                        "agent_runtime.epoch is 9007199254740992, the limit is 9007199254740991" },
                { "AgentRuntimeRegistered",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1,\"heartbeat_interval_ms\":9}}",
                        "agent_runtime.heartbeat_interval_ms is 9, the least is 10" },
                { "AgentRuntimeRegistered",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"part\":{\"index\":3,"
                        "\"count\":3}}}",
                        "payload.part.index is 3, the limit is count - 1 with count 3" },
                { "AgentRuntimeRegistered",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1,\"agent_types\":[\"a\",7]}}",
                        "agent_runtime.agent_types[1] is not a text" },
                { "AgentRuntimeRegistered",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1,\"agent_definitions\":[{\"agent_id\":"
                        "\"a\"},{}]}}",
                        "agent definition 1: agent_id is missing" },
                { "AgentRuntimeUpdated",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1,\"revision\":2},\"payload\":{}}",
                        "payload.base_revision is missing" },
                { "AgentRuntimeHeartbeat", "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1}}", NULL },
                { "AgentRuntimeHeartbeat",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"interval_ms\":0}}",
                        "payload.interval_ms is 0, the least is 10" },
                { "AgentRuntimeDeregistered", "{\"agent_runtime\":{\"runtime_id\":\"r\"}}", NULL },
                { "AgentRuntimeDeregistered", "{\"agent_runtime\":{\"epoch\":1}}",
                        "agent_runtime.runtime_id is missing" },
                { "AnnounceRuntimes", "", NULL },
                { "AgentExecutionReport", "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{}}",
                        NULL },
                { "AgentExecutionReport",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_"
                        "id\":\"e\",\"attempt\":1,"
                        "\"state\":\"done\"}]}}",
                        "execution 0: status is missing" },
                { "AgentExecutionReport",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_"
                        "id\":\"e\",\"attempt\":1,"
                        "\"state\":\"refused\"}]}}",
                        "execution 0: code is missing" },
                { "AgentExecutionReport",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"executions\":[{\"exec_"
                        "id\":\"e\",\"attempt\":1,"
                        "\"state\":\"done\",\"status\":\"FAILURE\"}]}}",
                        "execution 0: code is missing" },
                { "AgentExecutionReport",
                        "{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":1},\"payload\":{\"executions\":[7]}}",
                        "execution 0: at byte 0: expected an object" },
                { "AgentExecutionEvent", "{\"metadata\":{},\"agent\":{\"exec_id\":\"e\"}}",
                        "metadata.type is missing" },
                { "AgentExecutionEvent", "{\"metadata\":{\"type\":\"X\"},\"agent\":{\"exec_id\":\"e\"}}",
                        "metadata.type \"X\" is no event of an execution" },
                { "DispatcherRuntimeUpdate", "{\"agent_runtime\":{},\"payload\":{\"change\":\"lost\"}}",
                        "payload.change \"lost\" is none of added, updated, suspect, draining, removed" },
                { "Answer", "{\"ok\":true}", NULL },
                { "Answer", "{\"ok\":false}", "error is missing" },
                { "Answer", "{}", "ok is missing" },
                { "RegistrationTaken", "{\"dispatcher_id\":\"d\",\"runtime_id\":\"r\",\"epoch\":1}",
                        "complete is missing" },
                { "RegistrationRefused", "{\"reason\":\"bored\"}",
                        "reason \"bored\" is none of shutdown, heartbeat_timeout, operator, replaced" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                WireError error = { "accepted" };
                const int r = codec_find(cases[i].type)->read(slice_of(cases[i].body), &arena, &error, NULL);

                assert_string_equal(error.text, cases[i].sentence ? cases[i].sentence : "accepted");
                assert_int_equal(r, cases[i].sentence ? WIRE_E_INVALID : 0);
        }
}

static void what_a_message_leaves_out_has_its_default(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        const Slice head = SLICE("{\"agent_runtime\":{\"runtime_id\":\"r\",\"epoch\":5}}");
        Registration registration;
        Deregistration deregistration;
        Heartbeat heartbeat;
        Announce announce;
        Trigger trigger;
        WireError error;

        (void)state;

        assert_int_equal(trigger_decode(SLICE(""), &trigger, &arena, &error), 0);
        assert_int_equal(trigger.priority, PRIORITY_DEFAULT);
        assert_int_equal(trigger.deadline_ms, 0);
        assert_int_equal(trigger.retry, RETRY_NONE_GIVEN);
        assert_false(trigger.dispatch.present);
        assert_int_equal(trigger.dispatch.epoch, 0);
        assert_null(trigger.payload.data);

        assert_int_equal(registration_decode(head, &registration, &arena, &error), 0);
        assert_int_equal(registration.max_in_flight, 64);
        assert_int_equal(registration.heartbeat_interval_ms, 1000);
        assert_int_equal(registration.part_index, 0);
        assert_int_equal(registration.part_count, 1);

        assert_int_equal(heartbeat_decode(head, &heartbeat, &arena, &error), 0);
        assert_int_equal(heartbeat.interval_ms, 0);
        assert_true(heartbeat.load.free_slots == FREE_SLOTS_UNSTATED);

        assert_int_equal(deregistration_decode(
                                 SLICE("{\"agent_runtime\":{\"runtime_id\":\"r\"}}"), &deregistration, &arena, &error),
                0);
        assert_int_equal(deregistration.epoch, 0);
        assert_int_equal(deregistration.reason, DEREGISTER_NONE);

        assert_int_equal(announce_decode(SLICE(""), &announce, &arena, &error), 0);
        assert_true(announce.register_again);
        assert_int_equal(announce.heartbeat_interval_ms, 0);
}

static void a_relay_carries_task_and_payload_as_they_came(void **state) {
        static const char body[] =
                "{\"task\":{\"id\" :\"t\"},\"payload\":{ \"unknown\": [1 ,2],\"priority\":7,\"retry\":\"never\","
                "\"reply_to_subject\":\"a.b\",\"deadline_ms\":5,\"labels\":{\"zone\":\"a\"},"
                "\"context\":{\"input\": {\"x\":\"\\u00e9\"}}}, \"metadata\":{\"created_by\":\"me\"}}";
        _cleanup_(arena_clear) Arena arena = { 0 };
        _cleanup_(buffer_done) Buffer relay = { 0 };
        Trigger t, back;
        WireError error;

        (void)state;

        assert_int_equal(trigger_decode(slice_of(body), &t, &arena, &error), 0);
        assert_text(t.input, "{\"x\":\"\\u00e9\"}");
        assert_text(t.labels, "{\"zone\":\"a\"}");
        t.metadata.request_id = t.metadata.correlation_id = t.agent_exec_id = t.workflow_exec_id = SLICE("generated");
        t.workflow_id = SLICE("adhoc");
        t.agent_id = SLICE("greeter");
        t.dispatch.runtime_id = SLICE("r1");
        t.dispatch.epoch = UINT64_C(1763675000000);
        t.dispatch.dispatcher_id = SLICE("d1");
        t.dispatch.attempt = 2;
        t.dispatch.deadline_ms = 29950;
        t.dispatch.reply_to = SLICE("_INBOX.caller.1");
        t.dispatch.report_to = SLICE("_INBOX.d1x.report");
        trigger_encode_relay(&relay, &t);
        assert_text(buffer_slice(&relay),
                "{\"metadata\":{\"type\":\"TriggerAgent\",\"created_by\":\"me\"},"
                "\"workflow\":{\"id\":\"adhoc\"},\"task\":{\"id\" :\"t\"},"
                "\"agent\":{\"id\":\"greeter\",\"exec_id\":\"generated\"},\"agent_runtime\":{\"runtime_id\":\"r1\","
                "\"epoch\":1763675000000},"
                "\"dispatch\":{\"dispatcher_id\":\"d1\",\"attempt\":2,\"deadline_ms\":29950,"
                "\"reply_to\":\"_INBOX.caller.1\",\"report_to\":\"_INBOX.d1x.report\"},"
                "\"payload\":{ \"unknown\": [1 "
                ",2],\"priority\":7,\"retry\":\"never\",\"reply_to_subject\":\"a.b\",\"deadline_ms\":5,"
                "\"labels\":{\"zone\":\"a\"},\"context\":{\"input\": {\"x\":\"\\u00e9\"}}}}");

        assert_int_equal(trigger_decode(buffer_slice(&relay), &back, &arena, &error), 0);
        assert_true(back.dispatch.present);
        assert_int_equal(back.dispatch.attempt, 2);
        assert_true(back.dispatch.epoch == t.dispatch.epoch);
        /* left out, and filled in again */
        assert_text(back.metadata.request_id, "generated");
        assert_text(back.metadata.correlation_id, "generated");
        assert_text(back.workflow_exec_id, "generated");
        assert_text(back.dispatch.reply_to, "_INBOX.caller.1");
        assert_true(slice_equal(back.payload, t.payload));
        assert_int_equal(back.priority, 7);
        assert_int_equal(back.retry, RETRY_NEVER);
        assert_int_equal(back.deadline_ms, 5);
}

static void a_result_comes_back_as_it_was_sent(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        _cleanup_(buffer_done) Buffer b = { 0 };
        Result back;
        WireError error;

        (void)state;

        result_encode(&b,
                &(Result){ .metadata = { .result_id = SLICE("x"), .correlation_id = SLICE("c") },
                        .agent_id = SLICE("a"),
                        .agent_exec_id = SLICE("e"),
                        .runtime_id = SLICE("r"),
                        .epoch = 3,
                        .status = STATUS_FAILURE,
                        .error = { ERROR_MAILBOX_FULL, SLICE("1000 \"messages\""), SLICE("{\"limit\":1000}") },
                        .duration_ms = 1.25,
                        .attempt = 2 },
                NOW);
        assert_int_equal(result_decode(buffer_slice(&b), &back, &arena, &error), 0);
        assert_int_equal(back.status, STATUS_FAILURE);
        assert_int_equal(back.error.code, ERROR_MAILBOX_FULL);
        assert_text(back.error_code, "MAILBOX_FULL");
        assert_text(back.error.message, "1000 \"messages\"");
        assert_text(back.error.details, "{\"limit\":1000}");
        assert_true(back.duration_ms == 1.25);
        assert_int_equal(back.attempt, 2);
        assert_int_equal(back.epoch, 3);
        assert_null(back.output.data);
}

static void a_code_that_is_none_of_ours_keeps_its_name(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        WireError error;
        Result result;

        (void)state;

        assert_int_equal(
                result_decode(SLICE("{\"agent\":{\"exec_id\":\"e\"},\"payload\":{\"status\":\"AGENT_ERROR\",\"result\":"
                                    "{\"error\":{\"code\":\"E_MINE\"}}}}"),
                        &result, &arena, &error),
                0);
        assert_int_equal(result.error.code, ERROR_NONE);
        assert_text(result.error_code, "E_MINE");
}

static void a_registration_comes_back_as_it_was_sent(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        _cleanup_(buffer_done) Buffer b = { 0 }, agents = { 0 };
        size_t cursor = 0, n = 0;
        AgentSummary agent;
        Registration back;
        WireError error;
        Slice element;

        (void)state;

        emit_array(&agents, NULL);
        agent_summary_emit(&agents,
                &(AgentSummary){ .agent_id = SLICE("a1"), .exclusive = true, .capabilities = SLICE("[\"c\"]") });
        agent_summary_emit(&agents, &(AgentSummary){ .agent_id = SLICE("a2"), .state = SLICE("paused") });
        emit_array_end(&agents);
        registration_encode(&b,
                &(Registration){ .runtime_id = SLICE("r1"),
                        .epoch = 7,
                        .revision = 8,
                        .hostname = SLICE("h"),
                        .pid = 42,
                        .labels = SLICE("{\"zone\":\"a\"}"),
                        .agent_definitions = buffer_slice(&agents),
                        .trigger_subject = SLICE("x.t"),
                        .max_in_flight = 5,
                        .max_agents = 6,
                        .heartbeat_interval_ms = 250,
                        .draining = true,
                        .reason = SLICE("start"),
                        .part_index = 1,
                        .part_count = 3 },
                SLICE("ev"), NOW);
        assert_int_equal(registration_decode(buffer_slice(&b), &back, &arena, &error), 0);
        assert_text(back.metadata.event_id, "ev");
        assert_text(back.runtime_id, "r1");
        assert_int_equal(back.epoch, 7);
        assert_int_equal(back.revision, 8);
        assert_int_equal(back.pid, 42);
        assert_text(back.trigger_subject, "x.t");
        assert_null(back.control_subject.data);
        assert_int_equal(back.max_in_flight, 5);
        assert_int_equal(back.heartbeat_interval_ms, 250);
        assert_true(back.draining);
        assert_int_equal(back.part_index, 1);
        assert_int_equal(back.part_count, 3);

        while (scan_next(back.agent_definitions, &cursor, &element)) {
                assert_int_equal(agent_summary_decode(element, n, &agent, &arena, &error), 0);
                assert_text(agent.agent_id, n == 0 ? "a1" : "a2");
                assert_int_equal(agent.exclusive, n == 0);
                n++;
        }
        assert_int_equal(n, 2);
}

static void a_report_beyond_its_limit_is_refused(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        const Slice element = SLICE("{\"exec_id\":\"e\",\"attempt\":1,\"state\":\"started\"}");
        ExecutionReport execution;
        WireError error;

        (void)state;

        assert_int_equal(execution_report_decode(element, REPORT_EXECUTIONS_MAX - 1, &execution, &arena, &error), 0);
        assert_int_equal(
                execution_report_decode(element, REPORT_EXECUTIONS_MAX, &execution, &arena, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "payload.executions has more than 1024 elements, the limit");
}

static void a_walk_through_a_report_ends_at_its_limit(void **state) {
        _cleanup_(buffer_done) Buffer executions = { 0 };
        _cleanup_(arena_clear) Arena arena = { 0 };
        ExecutionReport execution;
        ReportCursor cursor = { 0 };
        WireError error;

        (void)state;

        buffer_append_slice(&executions, SLICE("["));
        for (size_t i = 0; i < REPORT_EXECUTIONS_MAX + 3; i++)
                buffer_printf(
                        &executions, "%s{\"exec_id\":\"e\",\"attempt\":1,\"state\":\"started\"}", i > 0 ? "," : "");
        buffer_append_slice(&executions, SLICE("]"));

        for (size_t i = 0; i < REPORT_EXECUTIONS_MAX; i++)
                assert_int_equal(
                        execution_report_next(buffer_slice(&executions), &cursor, &execution, &arena, &error), 0);
        assert_int_equal(
                execution_report_next(buffer_slice(&executions), &cursor, &execution, &arena, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "payload.executions has more than 1024 elements, the limit");
        assert_int_equal(
                execution_report_next(buffer_slice(&executions), &cursor, &execution, &arena, &error), SCAN_E_END);
}

/* What the others say is no worse for one that makes no sense. */
static void a_walk_through_a_report_goes_on_behind_an_execution_that_is_refused(void **state) {
        static const struct {
                const char *why, *executions, *ids, *sentence;
        } cases[] = {
                { "none", "[]", "", "" },
                { "none, with space", "[ \n]", "", "" },
                { "all are good",
                        "[{\"exec_id\":\"a\",\"attempt\":1,\"state\":\"started\"} , "
                        "{\"exec_id\":\"b\",\"attempt\":1,\"state\":\"accepted\"}]",
                        "ab", "" },
                { "an id is wrong",
                        "[{\"exec_id\":\"a.\",\"attempt\":1,\"state\":\"started\"},{\"exec_id\":\"b\",\"attempt\":1,"
                        "\"state\":\"accepted\"}]",
                        "?b", "execution 0: exec_id \"a.\" is not an id (1-64 of A-Z a-z 0-9 _ -)" },
                { "the status is missing",
                        "[{\"exec_id\":\"a\",\"attempt\":1,\"state\":\"done\"},{\"exec_id\":\"b\",\"attempt\":1,"
                        "\"state\":\"accepted\"}]",
                        "?b", "execution 0: status is missing" },
                { "no object", "[[1,{\"a\":2}],{\"exec_id\":\"b\",\"attempt\":1,\"state\":\"accepted\"},7]", "?b?",
                        "execution 2: at byte 0: expected an object" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                ExecutionReport execution;
                ReportCursor cursor = { 0 };
                WireError error = { 0 };
                char ids[8] = "";
                size_t n = 0;
                int r;

                while ((r = execution_report_next(
                                slice_of(cases[i].executions), &cursor, &execution, &arena, &error)) != SCAN_E_END)
                        ids[n++] = r == 0 ? execution.exec_id.data[0] : '?';
                assert_string_equal(ids, cases[i].ids);
                assert_int_equal(cursor.index, n);
                assert_string_equal(error.text, cases[i].sentence);
        }
}

static void labels_are_unique_texts_and_match_as_subsets(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        Labels given, wanted, none;
        WireError error;

        (void)state;

        assert_int_equal(
                labels_decode(SLICE("{\"zone\":\"a\",\"gpu\":\"y\\u0065s\"}"), "labels", &arena, &given, &error), 0);
        assert_int_equal(labels_decode(SLICE("{\"gpu\":\"yes\"}"), "labels", &arena, &wanted, &error), 0);
        assert_int_equal(labels_decode(SLICE_NONE, "labels", &arena, &none, &error), 0);
        assert_true(labels_match(&wanted, &given));
        assert_false(labels_match(&given, &wanted));
        assert_true(labels_match(&none, &wanted));

        assert_int_equal(
                labels_decode(SLICE("{\"a\":\"1\",\"a\":\"2\"}"), "labels", &arena, &given, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "labels.a is there twice");
        assert_int_equal(
                labels_decode(SLICE("{\"a\\u0000\":\"1\"}"), "labels", &arena, &given, &error), WIRE_E_INVALID);
        assert_int_equal(labels_decode(SLICE("{\"a\":0}"), "labels", &arena, &given, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "labels.a is not a text");
}

static void a_seventeenth_label_is_refused(void **state) {
        (void)state;

        for (unsigned n = LABELS_MAX; n <= LABELS_MAX + 1; n++) {
                _cleanup_(arena_clear) Arena arena = { 0 };
                _cleanup_(buffer_done) Buffer b = { 0 };
                WireError error = { "" };
                Labels labels;

                emit_object(&b, NULL);
                for (unsigned i = 0; i < n; i++)
                        emit_string(&b, (char[]){ (char)('a' + i), '\0' }, "v");
                emit_object_end(&b);
                assert_int_equal(labels_decode(buffer_slice(&b), "labels", &arena, &labels, &error),
                        n > LABELS_MAX ? WIRE_E_INVALID : 0);
                assert_string_equal(error.text, n > LABELS_MAX ? "labels has more than 16 members, the limit" : "");
        }
}

static void error_headers_stay_on_their_lines(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        error_reply_emit_headers(
                &b, &(ErrorReply){ .code = ERROR_OVERLOADED, .message = SLICE("full\r\nInjected: yes") });
        error_reply_emit_headers(&b, &(ErrorReply){ 0 });
        assert_text(buffer_slice(&b), "Nats-Service-Error: full  Injected: yes\r\nNats-Service-Error-Code: 429\r\n"
                                      "Nats-Service-Error: a defect of ours\r\nNats-Service-Error-Code: 500\r\n");
}

static void answers_tell_results_from_errors(void **state) {
        _cleanup_(arena_clear) Arena arena = { 0 };
        _cleanup_(buffer_done) Buffer b = { 0 };
        WireError error;
        Answer answer;

        (void)state;

        answer_encode_result(&b, SLICE("{\"a\":1}"));
        assert_int_equal(answer_decode(buffer_slice(&b), &answer, &arena, &error), 0);
        assert_true(answer.ok);
        assert_text(answer.result, "{\"a\":1}");

        buffer_clear(&b);
        answer_encode_error(&b, &(ErrorReply){ ERROR_AGENT_EXISTS, SLICE("agent a exists"), SLICE_NONE });
        assert_int_equal(answer_decode(buffer_slice(&b), &answer, &arena, &error), 0);
        assert_false(answer.ok);
        assert_text(answer.error_code, "AGENT_EXISTS");
        assert_text(answer.error_message, "agent a exists");
        assert_null(answer.error_details.data);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_a_receiver_needs_and_does_not_get_is_named),
                cmocka_unit_test(what_a_message_leaves_out_has_its_default),
                cmocka_unit_test(a_relay_carries_task_and_payload_as_they_came),
                cmocka_unit_test(a_result_comes_back_as_it_was_sent),
                cmocka_unit_test(a_code_that_is_none_of_ours_keeps_its_name),
                cmocka_unit_test(a_registration_comes_back_as_it_was_sent),
                cmocka_unit_test(a_report_beyond_its_limit_is_refused),
                cmocka_unit_test(a_walk_through_a_report_ends_at_its_limit),
                cmocka_unit_test(a_walk_through_a_report_goes_on_behind_an_execution_that_is_refused),
                cmocka_unit_test(labels_are_unique_texts_and_match_as_subsets),
                cmocka_unit_test(a_seventeenth_label_is_refused),
                cmocka_unit_test(error_headers_stay_on_their_lines),
                cmocka_unit_test(answers_tell_results_from_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
