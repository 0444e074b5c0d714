/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define RELAY(id) "compozy.runtime." id ".trigger"

static Bench *bench(void) {
        DispatcherOptions options = bench_options();

        return bench_new(&options);
}

static void what_is_asked_wrongly_is_answered_by_name(void **state) {
        static const struct {
                const char *verb, *body, *code, *part;
        } table[] = {
                { "no_such_verb", "{}", "INVALID_MESSAGE",
                        "verb no_such_verb is not known; known are register_runtime, list_runtimes" },
                { "get_runtime", "{", "INVALID_MESSAGE", "at byte" },
                { "get_runtime", "", "INVALID_MESSAGE", "runtime_id is missing" },
                { "get_runtime", "{\"runtime_id\":\"a.b\"}", "INVALID_MESSAGE", "runtime_id" },
                { "get_runtime", "{\"runtime_id\":\"r9\"}", "NO_RUNTIME", "no runtime r9 is registered" },
                { "drain_runtime", "{\"runtime_id\":\"r9\"}", "NO_RUNTIME", "r9" },
                { "resume_runtime", "{\"runtime_id\":\"r9\"}", "NO_RUNTIME", "r9" },
                { "deregister_runtime", "{\"runtime_id\":\"r9\"}", "NO_RUNTIME", "r9" },
                { "list_agents", "{\"runtime_id\":\"r9\"}", "NO_RUNTIME", "r9" },
                { "list_runtimes", "{\"limit\":10001}", "INVALID_MESSAGE", "limit" },
                { "list_runtimes", "{\"after\":\"\"}", "INVALID_MESSAGE", "after" },
                { "explain", "{}", "INVALID_MESSAGE", "agent_id or agent_exec_id is missing" },
                { "explain", "{\"agent_id\":\"z\"}", "AGENT_UNKNOWN",
                        "no runtime hosts agent z; registered runtimes: 1" },
                { "explain", "{\"agent_exec_id\":\"e9\"}", "INVALID_MESSAGE",
                        "agent_exec_id e9 is not known to dispatcher d1" },
                { "register_runtime", "{}", "INVALID_MESSAGE", "agent_runtime is missing" },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Out *out = bench_ask(b, table[i].verb, table[i].body, "\"ok\":false");

                if (!strstr(out->body, table[i].code) || !strstr(out->body, table[i].part))
                        fail_msg("%s %s: %s", table[i].verb, table[i].body, out->body);
                assert_non_null(strstr(out->headers, "Nats-Service-Error-Code: "));
        }
}

static void each_dispatcher_can_be_asked_alone(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_send(b, "compozy.dispatcher.d1.control.status", "op", "{}");
        (void)bench_expect(b, "op", "\"dispatcher_id\":\"d1\"");
        bench_send(b, "compozy.dispatcher.d1.control.no_such_verb", "op", "{}");
        (void)bench_expect(b, "op", "verb no_such_verb is not known");
}

static void an_oversize_request_is_refused(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        size_t size = b->options.max_message_bytes + 1;
        char *body = malloc(size);

        (void)state;

        memset(body, ' ', size);
        memcpy(body, "{}", 2);
        bench_send_slice(b, "compozy.commands.agent_dispatcher.status", "op", (Slice){ body, size });
        bench_expect(b, "op", "limits.max_message_bytes");
        bench_send_slice(b, "compozy.commands.agent_dispatcher.status", "op", (Slice){ body, size - 1 });
        bench_expect(b, "op", "\"ok\":true");
        free(body);
}

static void a_request_without_reply_is_served_in_silence(void **state) {
        static const char *const verbs[] = { "status", "list_runtimes", "list_agents", "explain", "get_runtime",
                "no_such_verb" };
        _cleanup_(bench_freep) Bench *b = bench();
        char subject[128];

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                (void)snprintf(subject, sizeof(subject), "compozy.commands.agent_dispatcher.%s", verbs[i]);
                bench_send(b, subject, NULL, "");
                bench_send(b, subject, NULL, "{");
        }
        bench_expect_none(b, ">");
}

/* pages */

static void lists_come_in_order_page_by_page(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char id[8], body[64] = "{\"limit\":7}";
        unsigned n = 0, pages = 0;

        (void)state;

        for (unsigned i = 0; i < 23; i++) {
                (void)snprintf(id, sizeof(id), "r%02u", (i * 7) % 23);
                bench_runtime(b, id, "a");
        }
        for (;;) {
                const Out *out = bench_ask(b, "list_runtimes", body, "\"total\":23");
                const char *next = strstr(out->body, "\"next\":\"");

                pages++;
                for (const char *at = out->body; (at = strstr(at, "{\"runtime_id\":\""));) {
                        at += strlen("{\"runtime_id\":\"");
                        (void)snprintf(id, sizeof(id), "r%02u", n++);
                        assert_memory_equal(at, id, 3);
                }
                if (!next)
                        break;
                (void)snprintf(body, sizeof(body), "{\"limit\":7,\"after\":\"%.3s\"}", next + strlen("\"next\":\""));
        }
        assert_int_equal(n, 23);
        assert_int_equal(pages, 4);
        assert_null(strstr(bench_ask(b, "list_runtimes", "{\"after\":\"r22\"}", "\"runtimes\":[]")->body, "\"next\""));
        bench_ask(b, "list_runtimes", "{\"state\":\"suspect\"}", "\"runtimes\":[]");
}

static void a_page_never_exceeds_what_the_server_takes(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[65], body[128] = "{}";
        size_t n = 0;

        (void)state;

        b = bench_new(&options);
        for (unsigned i = 0; i < 90; i++) {
                (void)snprintf(id, sizeof(id), "%064u", i);
                bench_runtime(b, id, "a");
        }
        dispatcher_on_link_down(b->d, b->now);
        dispatcher_on_link_up(b->d, 12 * 1024, b->now);
        bench_forget(b);
        for (;;) {
                const Out *out = bench_ask(b, "list_runtimes", body, "\"total\":90");
                const char *next = strstr(out->body, "\"next\":\"");

                assert_true(strlen(out->body) <= 12 * 1024);
                for (const char *at = out->body; (at = strstr(at, "{\"runtime_id\":\"")); at++)
                        n++;
                if (!next)
                        break;
                (void)snprintf(body, sizeof(body), "{\"after\":\"%.64s\"}", next + strlen("\"next\":\""));
        }
        assert_int_equal(n, 90);
        /* Neither does one whose hosts are many. */
        assert_true(strlen(bench_ask(b, "explain", "{\"agent_id\":\"a\"}", "\"n_considered\":90")->body) <= 12 * 1024);
        assert_true(strlen(bench_ask(b, "list_agents", "{}", "\"n_runtimes\":90")->body) <= 12 * 1024);
}

static void agents_are_listed_of_all_or_of_one_runtime(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "b a");
        bench_runtime(b, "r2", "c b");
        bench_ask(b, "list_agents", "",
                "\"total\":3,\"agents\":[{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"exclusive\":false,\"runtimes\":["
                "\"r1\"],\"n_runtimes\":1,\"failed_in\":[]},"
                "{\"agent_id\":\"b\",\"agent_type\":\"echo\",\"exclusive\":false,\"runtimes\":[\"r1\",\"r2\"],\"n_"
                "runtimes\":2,\"failed_in\":[]},");
        bench_ask(b, "list_agents", "{\"runtime_id\":\"r2\"}", "\"total\":2,\"agents\":[{\"agent_id\":\"b\"");
        bench_ask(b, "list_agents", "{\"limit\":2}", "\"next\":\"b\"");
        bench_ask(b, "list_agents", "{\"after\":\"b\"}", "\"agents\":[{\"agent_id\":\"c\"");
        /* One that nobody hosts any more is not listed, though remembered. */
        bench_ask(b, "deregister_runtime", "{\"runtime_id\":\"r1\"}", "\"ok\":true");
        bench_ask(b, "list_agents", "", "\"total\":2,");
}

/* runtimes */

static void a_runtime_is_told_in_full(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1",
                                  .epoch = 4,
                                  .revision = 2,
                                  .agents = "a",
                                  .labels = "{\"zone\":\"x\"}",
                                  .slots = 3 });
        out = bench_ask(b, "get_runtime", "{\"runtime_id\":\"r1\"}",
                "\"runtime\":{\"runtime_id\":\"r1\",\"epoch\":4,\"revision\":2,\"state\":\"live\",\"hostname\":"
                "\"host\"");
        assert_non_null(strstr(out->body, "\"labels\":{\"zone\":\"x\"}"));
        assert_non_null(strstr(out->body, "\"capacity\":{\"max_in_flight\":3,"));
        assert_non_null(strstr(
                out->body, "\"agent_definitions\":[{\"agent_id\":\"a\",\"agent_type\":\"echo\",\"exclusive\":false}]"));
        bench_beat(b, "r1", 4, 2, ",\"load\":{\"in_flight\":1,\"queued\":2}");
        out = bench_ask(
                b, "get_runtime", "{\"runtime_id\":\"r1\"}", "\"load\":{\"in_flight\":1,\"queued\":2,\"agents\":0}");
        assert_non_null(strstr(out->body, "\"in_flight\":1,\"free_slots\":2,"));
}

static void deregistered_by_hand_stays_out_until_resumed(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_ask(b, "deregister_runtime", "{\"runtime_id\":\"r1\"}", "\"result\":{\"runtime_id\":\"r1\",\"epoch\":1}");
        bench_expect(
                b, "compozy.events.agent.definition.r1.deregistered", "\"reason\":\"operator\",\"seen_by\":\"d1\"");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .reply = "asker" });
        bench_expect(b, "asker", "{\"reason\":\"operator\",\"epoch\":1}");
        assert_string_equal(bench_state(b, "r1"), "gone");
        bench_ask(b, "resume_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"joining\"");
        bench_expect(b, "compozy.runtime.r1.control.resume", "{}");
        bench_runtime(b, "r1", "a");
}

static void draining_and_resuming_by_hand(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_ask(b, "drain_runtime", "{\"runtime_id\":\"r1\"}",
                "{\"runtime_id\":\"r1\",\"state\":\"draining\",\"in_flight\":1}");
        bench_expect(b, "compozy.runtime.r1.control.drain", "{}");
        bench_ask(b, "resume_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"live\"");
        bench_expect(b, "compozy.runtime.r1.control.resume", "{}");
        bench_beat(b, "r1", 1, 0, "");
        assert_string_equal(bench_state(b, "r1"), "live");
}

static void a_runtime_that_is_still_joining_is_drained_when_it_is_complete(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .part = 0, .n_parts = 2 });
        bench_ask(b, "drain_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"joining\"");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "b", .part = 1, .n_parts = 2 });
        assert_string_equal(bench_state(b, "r1"), "draining");
}

static void a_registration_by_request_is_passed_on_to_the_others(void **state) {
        static const char *const body =
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"agent_definitions\":[{\"agent_id\":\"a\"}]}}";
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_ask(b, "register_runtime", body, "\"complete\":true");
        bench_expect(b, "compozy.events.agent.definition.r1.registered", "\"agent_id\":\"a\"");
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_ask(b, "deregister_runtime", "{\"runtime_id\":\"r1\"}", "\"ok\":true");
        bench_ask(b, "register_runtime", body, "RUNTIME_LOST");
        bench_expect_none(b, "compozy.events.agent.definition.r1.registered");
}

static void a_refused_registration_by_request_is_not_passed_on(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
        bench_ask(b, "register_runtime", "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":4}}", "RUNTIME_LOST");
        bench_expect_none(b, "compozy.events.agent.definition.r1.registered");
}

/* explain */

static void explain_tells_why_each_runtime_was_or_was_not_chosen(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "a", .draining = true });
        bench_trigger(b, "a", "e1", "caller", "");
        out = bench_ask(b, "explain", "{\"agent_id\":\"a\"}", "\"rule\":\"of the live runtimes");
        assert_non_null(strstr(out->body, "{\"runtime_id\":\"r1\",\"state\":\"live\",\"eligible\":false,\"why\":\"it "
                                          "has no free slot\",\"in_flight\":1,\"free_slots\":0}"));
        assert_non_null(strstr(out->body,
                "{\"runtime_id\":\"r2\",\"state\":\"draining\",\"eligible\":false,\"why\":\"it is draining\""));
        assert_non_null(strstr(out->body, "\"n_considered\":2"));
}

static void explain_tells_the_story_of_an_execution(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1, .labels = "{\"zone\":\"x\"}" });
        bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "a", .slots = 1, .labels = "{\"zone\":\"y\"}" });
        bench_trigger(b, "a", "e1", "caller",
                "\"labels\":{\"zone\":\"x\"},\"retry\":\"always\",\"priority\":7,\"deadline_ms\":60000");
        out = bench_ask(b, "explain", "{\"agent_exec_id\":\"e1\"}",
                "\"phase\":\"in_flight\",\"retry\":\"always\",\"priority\":7,\"deadline_in_ms\":60000");
        assert_non_null(strstr(out->body,
                "\"chosen_because\":\"the only one that could take it\",\"started\":false,\"end\":\"not ended\""));
        assert_non_null(strstr(out->body, "\"why\":\"its labels do not match\""));
        bench_trigger(b, "a", "e2", "caller", "\"labels\":{\"zone\":\"x\"},\"priority\":0");
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e2\"}", "\"phase\":\"waiting\"");
        for (uint64_t epoch = 2; epoch <= 3; epoch++)
                bench_register(b,
                        &(Spec){ .id = "r1", .epoch = epoch, .agents = "a", .slots = 1, .labels = "{\"zone\":\"x\"}" });
        out = bench_ask(
                b, "explain", "{\"agent_exec_id\":\"e1\"}", "{\"attempt\":1,\"runtime_id\":\"r1\",\"epoch\":1,");
        assert_non_null(strstr(
                out->body, "\"end\":\"the runtime was declared dead, replaced or left\",\"code\":\"RUNTIME_LOST\""));
        assert_non_null(strstr(out->body, "{\"attempt\":3,\"runtime_id\":\"r1\",\"epoch\":3,"));
        bench_report(b, "r1", 3,
                "{\"exec_id\":\"e1\",\"attempt\":3,\"state\":\"done\",\"status\":\"FAILURE\",\"code\":\"CANCELLED\"}",
                "");
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e1\"}",
                "\"phase\":\"ended\",\"retry\":\"always\",\"priority\":7,\"status\":\"FAILURE\",\"code\":"
                "\"CANCELLED\"");
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e2\"}", "\"phase\":\"in_flight\"");
}

static void only_the_last_attempts_are_told(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .slots = 1 });
        bench_trigger(b, "a", "e1", "caller", "");
        for (uint64_t attempt = 1; attempt <= 9; attempt++) {
                bench_report_one(b, "r1", "e1", attempt, "refused", REFUSED("OVERLOADED"));
                bench_pass(b, 20 * USEC_PER_MSEC); /* it is left alone for a moment */
                bench_report(b, "r1", 1, "", "");
        }
        out = bench_ask(b, "explain", "{\"agent_exec_id\":\"e1\"}", "{\"attempt\":10,");
        assert_null(strstr(out->body, "{\"attempt\":6,"));
        assert_non_null(strstr(out->body, "{\"attempt\":7,"));
}

static void the_less_loaded_of_two_is_named_with_the_other(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_runtime(b, "r2", "a");
        bench_beat(b, "r1", 1, 0, ",\"load\":{\"in_flight\":5}");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect(b, RELAY("r2"), "e1");
        bench_ask(b, "explain", "{\"agent_exec_id\":\"e1\"}", "\"chosen_because\":\"the less loaded of r2 and r1\"");
}

static void status_counts(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a b", .slots = 1 });
        bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "a", .draining = true });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_trigger(b, "a", "e2", "caller", "");
        out = bench_ask(b, "status", "",
                "\"dispatcher_id\":\"d1\",\"version\":\"0\",\"hostname\":\"bench\",\"settled\":true,\"draining\":"
                "false");
        assert_non_null(
                strstr(out->body, "\"runtimes\":{\"joining\":0,\"live\":1,\"suspect\":0,\"draining\":1},\"agents\":2,"
                                  "\"agents_failed\":0,\"waiting\":1,"));
        assert_non_null(strstr(out->body, "\"in_flight\":1,\"triggers\":2,"));
        assert_non_null(strstr(out->body, "\"jetstream_events\":false"));
        assert_non_null(strstr(out->body, "\"slots\":1,\"free_slots\":0,\"counters\":{\"triggers\":2,"));
        assert_non_null(strstr(out->body, "\"attempts\":1,\"retries\":0,"));
        assert_non_null(strstr(out->body, "\"attempts_failed\":{\"unheard\":0,\"refused\":0,\"lost\":0}"));
}

/* A screen that shows rates and latencies asks once a second, of several dispatchers, and adds up. */
static void status_tells_the_last_seconds_and_all_there_was(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char id[16];
        const Out *out;

        (void)state;

        bench_runtime(b, "r1", "a");
        for (int i = 0; i < 30; i++) {
                (void)snprintf(id, sizeof(id), "e%d", i);
                bench_trigger(b, "a", id, "caller", "");
                bench_pass(b, 30 * MS);
                bench_report_one(
                        b, "r1", id, 1, "done", i % 3 == 0 ? ",\"status\":\"FAILURE\",\"code\":\"CANCELLED\"" : DONE);
                bench_pass(b, 470 * MS);
                bench_beat(b, "r1", 1, 0, "");
        }
        out = bench_ask(b, "status", "", "\"recent\":{");
        /* Ten seconds at two a second; the first five are over. */
        assert_non_null(strstr(out->body, "\"triggers_per_s\":2,\"attempts_per_s\":2,\"ended_per_s\":2,"));
        assert_non_null(strstr(out->body, "\"triggers_ended\":{\"SUCCESS\":20,\"AGENT_ERROR\":0,\"FAILURE\":10}"));
        assert_non_null(strstr(out->body, "\"execution_duration_ms\":{\"p50\":35,\"p95\":48.5,"));
        assert_non_null(strstr(bench_ask(b, "list_runtimes", "", "\"runtime_id\":\"r1\"")->body,
                "\"queued\":0,\"relayed\":30,\"done\":30}"));
        out = bench_ask(b, "status", "", "\"recent\":{");
        assert_non_null(strstr(out->body, "\"bucket_bounds_ms\":[0.05,0.1,"));
        assert_non_null(strstr(out->body, "\"dispatch_duration\":{\"count\":30,\"sum_ms\":0,\"buckets\":[30,0,"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_asked_wrongly_is_answered_by_name),
                cmocka_unit_test(an_oversize_request_is_refused),
                cmocka_unit_test(a_request_without_reply_is_served_in_silence),
                cmocka_unit_test(lists_come_in_order_page_by_page),
                cmocka_unit_test(a_page_never_exceeds_what_the_server_takes),
                cmocka_unit_test(agents_are_listed_of_all_or_of_one_runtime),
                cmocka_unit_test(a_runtime_is_told_in_full),
                cmocka_unit_test(deregistered_by_hand_stays_out_until_resumed),
                cmocka_unit_test(draining_and_resuming_by_hand),
                cmocka_unit_test(a_runtime_that_is_still_joining_is_drained_when_it_is_complete),
                cmocka_unit_test(a_registration_by_request_is_passed_on_to_the_others),
                cmocka_unit_test(a_refused_registration_by_request_is_not_passed_on),
                cmocka_unit_test(explain_tells_why_each_runtime_was_or_was_not_chosen),
                cmocka_unit_test(explain_tells_the_story_of_an_execution),
                cmocka_unit_test(only_the_last_attempts_are_told),
                cmocka_unit_test(the_less_loaded_of_two_is_named_with_the_other),
                cmocka_unit_test(status_counts),
                cmocka_unit_test(status_tells_the_last_seconds_and_all_there_was),
                cmocka_unit_test(each_dispatcher_can_be_asked_alone),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
