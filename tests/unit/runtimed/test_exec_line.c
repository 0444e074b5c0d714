/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/exec_line.h"
#include "runtimed/exec_payload.h"
#include "runtimed/exec_settings.h"

/* settings */

static void settings_have_the_documented_defaults(void **state) {
        ExecSettings settings;
        WireError error = {};

        (void)state;

        assert_int_equal(exec_settings_read(SLICE("{\"command\":[\"a\",\"b\"]}"), &settings, &error), 0);
        assert_string_equal(settings.command[0], "a");
        assert_string_equal(settings.command[1], "b");
        assert_null(settings.command[2]);
        assert_null(settings.working_directory);
        assert_null(settings.env[0]);
        assert_int_equal(settings.call_timeout_ms, 30000);
        assert_int_equal(settings.start_timeout_ms, 10000);
        assert_int_equal(settings.stop_timeout_ms, 5000);
        assert_int_equal(settings.max_line_bytes, 1024 * 1024);
        assert_true(settings.limits.memory_bytes == EXEC_UNLIMITED && settings.limits.open_files == EXEC_UNLIMITED);
        exec_settings_done(&settings);
}

static void settings_are_taken_as_written(void **state) {
        ExecSettings settings;
        WireError error = {};

        (void)state;

        assert_int_equal(exec_settings_read(SLICE("{\"command\":[\"a\\u00e4\"],\"working_directory\":\"/x\","
                                                  "\"env\":{\"A\":\"1\",\"B\":\"\"},\"call_timeout_ms\":1,"
                                                  "\"max_line_bytes\":1024,\"limits\":{\"memory_bytes\":1048576,"
                                                  "\"open_files\":8,\"cpu_seconds\":1,\"file_bytes\":0}}"),
                                 &settings, &error),
                0);
        assert_string_equal(settings.command[0], "a\xc3\xa4");
        assert_string_equal(settings.working_directory, "/x");
        assert_string_equal(settings.env[0], "A=1");
        assert_string_equal(settings.env[1], "B=");
        assert_null(settings.env[2]);
        assert_int_equal(settings.limits.file_bytes, 0);
        assert_int_equal(settings.limits.cpu_seconds, 1);
        exec_settings_done(&settings);
}

static void settings_that_make_no_sense_are_refused_by_key(void **state) {
        static const struct {
                const char *settings, *why;
        } cases[] = {
                { NULL, "exec: must be an object with at least the key command" },
                { "[]", "exec: must be an object with at least the key command" },
                { "{}", "exec: command is missing" },
                { "{\"command\":\"a\"}", "exec: command \"a\" is not an array" },
                { "{\"command\":[]}", "exec.command: the first text names the program, and there is none" },
                { "{\"command\":[\"\"]}", "exec.command: the first text names the program, and there is none" },
                { "{\"command\":[\"a\",1]}", "exec.command[1]: must be a text of at most 4096 bytes" },
                { "{\"command\":[\"a\"],\"comand\":1}", "exec.comand: there is no such key" },
                { "{\"command\":[\"a\"],\"limits\":{\"processes\":5}}", "exec.limits.processes: there is no such key" },
                { "{\"command\":[\"a\"],\"limits\":5}", "exec: limits 5 is not an object" },
                { "{\"command\":[\"a\"],\"limits\":{\"open_files\":3}}",
                        "exec.limits.open_files: 3 is below the least of 8" },
                { "{\"command\":[\"a\"],\"call_timeout_ms\":0}", "exec.call_timeout_ms: 0 is below the least of 1" },
                { "{\"command\":[\"a\"],\"max_line_bytes\":10}", "exec.max_line_bytes: 10 is below the least of 1024" },
                { "{\"command\":[\"a\"],\"env\":{\"A\":1}}", "exec.env.A: must be a text of at most 4096 bytes" },
                { "{\"command\":[\"a\"],\"env\":{\"A=B\":\"1\"}}", "exec.env: A=B is no name of a variable" },
                { "{\"command\":[\"a\"],\"env\":{\"COMPOZY_AGENT_ID\":\"1\"}}",
                        "exec.env: COMPOZY_AGENT_ID is set by the runtime" },
                { "{\"command\":[\"a\"],\"working_directory\":\"\"}", "exec.working_directory: is empty" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ExecSettings settings;
                WireError error = {};

                assert_int_equal(exec_settings_read(slice_of(cases[i].settings), &settings, &error), WIRE_E_INVALID);
                assert_string_equal(error.text, cases[i].why);
        }
}

static void a_command_has_at_most_64_texts(void **state) {
        char text[1024] = "{\"command\":[\"a\"";
        ExecSettings settings;
        WireError error = {};

        (void)state;

        for (int i = 1; i < 64; i++)
                (void)strcat(text, ",\"a\"");
        (void)strcat(text, "]}");
        assert_int_equal(exec_settings_read(slice_of(text), &settings, &error), 0);
        exec_settings_done(&settings);
        (void)strcpy(text + strlen(text) - 2, ",\"a\"]}");
        assert_int_equal(exec_settings_read(slice_of(text), &settings, &error), WIRE_E_INVALID);
        assert_string_equal(error.text, "exec.command: more than 64 texts");
}

/* payloads */

static void bytes_are_json_or_text_or_neither(void **state) {
        static const struct {
                const char *bytes;
                ExecEncoding encoding;
        } cases[] = {
                { "", EXEC_TEXT },
                { "{}", EXEC_JSON },
                { " [1, 2]\n", EXEC_JSON },
                { "null", EXEC_JSON },
                { "nul", EXEC_TEXT },
                { "{} {}", EXEC_TEXT },
                { "\"a", EXEC_TEXT },
                { "01", EXEC_TEXT },
                { "h\xc3\xa4", EXEC_TEXT },
                { "\"\xff\"", EXEC_BASE64 },
                { "\xc3", EXEC_BASE64 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(exec_encoding_of(slice_of(cases[i].bytes)), cases[i].encoding);
}

static void base64_comes_back_as_it_was(void **state) {
        char bytes[64];

        (void)state;

        for (size_t size = 0; size < sizeof(bytes); size++) {
                _cleanup_(buffer_done) Buffer buffer = {};
                _cleanup_(arena_clear) Arena arena = {};
                Slice back;

                for (size_t i = 0; i < size; i++)
                        bytes[i] = (char)(i * 37 + size * 101 + 200);
                exec_emit_bytes(&buffer, NULL, (Slice){ bytes, size }, EXEC_BASE64);
                assert_int_equal(exec_base64_decode((Slice){ buffer.data + 1, buffer.size - 2 }, &arena, &back), 0);
                assert_int_equal(back.size, size);
                assert_memory_equal(back.data, bytes, size);
        }
}

static void what_is_not_quite_base64_is_refused(void **state) {
        static const char *const cases[] = { "a", "ab", "abc", "ab=", "a===", "====", "ab==cd==", "a b=", "YQ=a",
                "YR==", "YWJ=", "ab\ncd" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(arena_clear) Arena arena = {};
                Slice back;

                assert_int_equal(exec_base64_decode(slice_of(cases[i]), &arena, &back), -EINVAL);
        }
}

/* lines */

static void a_line_is_a_request_a_notification_or_a_response(void **state) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        ExecLine line;

        (void)state;

        assert_int_equal(
                exec_line_read(SLICE("{\"id\":\"x\",\"method\":\"m\",\"params\":{}}"), &arena, &line, &error), 0);
        assert_true(slice_equal(line.method, SLICE("m")) && slice_equal(line.id, SLICE("\"x\"")));
        assert_int_equal(exec_line_read(SLICE("{\"id\":null,\"method\":\"m\"}"), &arena, &line, &error), 0);
        assert_true(line.method.data && !line.id.data && !line.params.data);
        assert_int_equal(exec_line_read(SLICE("{\"id\":7,\"result\":null}"), &arena, &line, &error), 0);
        assert_true(!line.method.data && line.response_to == 7 && !line.is_error);
        assert_true(slice_equal(line.result, SLICE("null")));
        assert_int_equal(
                exec_line_read(SLICE(" {\"id\":7,\"error\":null,\"x\":1,\"result\":null}"), &arena, &line, &error), 0);
        assert_true(slice_equal(line.result, SLICE("null")));
        assert_int_equal(exec_line_read(SLICE("{\"id\":7,\"output\":1}"), &arena, &line, &error), 0);
        assert_null(line.result.data);
        assert_int_equal(exec_line_read(SLICE("{\"id\":7,\"error\":{\"code\":-32601}}"), &arena, &line, &error), 0);
        assert_true(line.is_error && line.rpc_code == EXEC_RPC_METHOD_NOT_FOUND && line.message.size > 0);
}

static void what_is_no_line_of_the_protocol_is_refused(void **state) {
        static const char *const cases[] = {
                "hello",
                "[]",
                "1",
                "{}",
                "{\"id\":{}, \"method\":\"m\"}",
                "{\"id\":\"x\",\"result\":1}",
                "{\"id\":-1,\"result\":1}",
                "{\"id\":1.5,\"result\":1}",
                "{\"id\":12345678901234567890,\"result\":1}",
                "{\"id\":1,\"result\":1}{\"id\":2,\"result\":1}",
                "{\"id\":1,\"error\":5}",
                "{\"id\":1,\"method\":5}",
                "{\"id\":1,\"method\":\"m\",\"params\":[]}",
                "{\"id\":1,\"id\":2,\"result\":1}",
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(arena_clear) Arena arena = {};
                WireError error = {};
                ExecLine line;

                if (exec_line_read(slice_of(cases[i]), &arena, &line, &error) != WIRE_E_INVALID)
                        fail_msg("%s was taken", cases[i]);
                assert_true(error.text[0] != '\0');
        }
}

static void an_id_of_a_request_is_repeated_up_to_its_limit(void **state) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        char text[256];
        ExecLine line;

        (void)state;

        (void)snprintf(text, sizeof(text), "{\"id\":\"%0*d\",\"method\":\"m\"}", EXEC_ID_MAX - 2, 1);
        assert_int_equal(exec_line_read(slice_of(text), &arena, &line, &error), 0);
        (void)snprintf(text, sizeof(text), "{\"id\":\"%0*d\",\"method\":\"m\"}", EXEC_ID_MAX - 1, 1);
        assert_int_equal(exec_line_read(slice_of(text), &arena, &line, &error), WIRE_E_INVALID);
}

static void what_goes_out_is_one_line_whatever_is_in_it(void **state) {
        const Envelope envelope = { .sender = SLICE("a\nb") };
        const BehaviorMessage message = { .kind = MESSAGE_TOPIC,
                .topic = SLICE("t"),
                .input = SLICE("{\n\"a\":\r\n\"b\\n\"\n}"),
                .envelope = &envelope };
        const BehaviorStart start = { .agent_id = SLICE("a"), .parameters = SLICE("{\n}"), .state = SLICE("[\n]") };
        _cleanup_(buffer_done) Buffer buffer = {};

        (void)state;

        exec_put_handle(&buffer, 1, &message);
        exec_put_initialize(&buffer, 2, &start);
        exec_put_request(&buffer, 3, "checkpoint");
        exec_put_result(&buffer, SLICE("\"x\""), SLICE("a\nb\nc"));
        exec_put_error(&buffer, SLICE("4"), EXEC_RPC_FAILED, ERROR_TIMEOUT, SLICE("a\nb"));
        buffer_append_char(&buffer, '\0');
        assert_false(buffer.failed);
        assert_string_equal(buffer.data,
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"handle\",\"params\":{\"kind\":\"topic\",\"message_id\":1,"
                "\"topic\":\"t\",\"input\":{ \"a\":  \"b\\n\" "
                "},\"encoding\":\"json\",\"envelope\":{\"sender\":\"a\\nb\","
                "\"ttl\":0,\"hop\":0}}}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"initialize\",\"params\":{\"protocol\":1,\"agent_id\":\"a\","
                "\"parameters\":{ },\"state\":[ ],\"max_concurrency\":0}}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"checkpoint\",\"params\":{}}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"payload_text\":\"a\\nb\\nc\"}}\n"
                "{\"jsonrpc\":\"2.0\",\"id\":4,\"error\":{\"code\":-32000,\"message\":\"a\\nb\",\"data\":{\"code\":"
                "\"TIMEOUT\"}}}\n");
        assert_int_equal(buffer.nesting, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(settings_have_the_documented_defaults),
                cmocka_unit_test(settings_are_taken_as_written),
                cmocka_unit_test(settings_that_make_no_sense_are_refused_by_key),
                cmocka_unit_test(a_command_has_at_most_64_texts),
                cmocka_unit_test(bytes_are_json_or_text_or_neither),
                cmocka_unit_test(base64_comes_back_as_it_was),
                cmocka_unit_test(what_is_not_quite_base64_is_refused),
                cmocka_unit_test(a_line_is_a_request_a_notification_or_a_response),
                cmocka_unit_test(what_is_no_line_of_the_protocol_is_refused),
                cmocka_unit_test(an_id_of_a_request_is_repeated_up_to_its_limit),
                cmocka_unit_test(what_goes_out_is_one_line_whatever_is_in_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
