/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define VERB "compozy.commands.agent_dispatcher.create_agent"
#define CREATE(id) "compozy.runtime." id ".control.create_agent"
#define ECHO "{\"agent_id\":\"x\",\"agent_type\":\"echo\"}"

static Bench *bench(void) {
        DispatcherOptions options = bench_options();

        return bench_new(&options);
}

typedef struct Host {
        const char *id;
        uint64_t epoch;
        const char *agents, *types, *labels;
        uint64_t max_agents;
} Host;

/* One that says what it can create. */
static void host(Bench *b, const Host *host) {
        Buffer agents = { 0 };
        char subject[128];

        agents_json(&agents, host->agents ? host->agents : "", "{\"agent_id\":", ",\"agent_type\":\"echo\"}");
        buffer_append_char(&agents, '\0');
        (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition.%s.registered", host->id);
        bench_sendf(b, subject, NULL,
                "{\"metadata\":{\"type\":\"AgentRuntimeRegistered\"},\"agent_runtime\":{\"runtime_id\":\"%s\","
                "\"epoch\":%" PRIu64
                ",\"revision\":0,\"hostname\":\"host\",\"labels\":%s,\"agent_types\":%s,\"agent_definitions\":%s,"
                "\"capacity\":{\"max_in_flight\":8,\"max_agents\":%" PRIu64 "},\"heartbeat_interval_ms\":1000},"
                "\"payload\":{}}",
                host->id, host->epoch ? host->epoch : 1, host->labels ? host->labels : "{}",
                host->types ? host->types : "[\"counter\",\"echo\"]", agents.data, host->max_agents);
        buffer_done(&agents);
}

static const Out *ask(Bench *b, const char *body) {
        bench_send(b, VERB, "op", body);
        return bench_take(b, "op");
}

static void answer(Bench *b, const Out *asked, const char *body) {
        char *reply = strdup(asked->reply);

        bench_send(b, reply, NULL, body);
        free(reply);
}

static void refuse(Bench *b, const Out *asked, const char *code) {
        char body[128];

        (void)snprintf(body, sizeof(body), "{\"ok\":false,\"error\":{\"code\":\"%s\",\"message\":\"no\"}}", code);
        answer(b, asked, body);
}

static void an_agent_is_created_and_the_answer_names_the_runtime(void **state) {
        static const char *const bodies[] = {
                "{\"agent_id\":\"x\",\"labels\":{\"zone\":\"a\"},\"agent_type\":\"echo\",\"parameters\":{\"a\":[1]}}",
                "{\"definition\":{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"parameters\":{\"a\":[1]}},\"labels\":{"
                "\"zone\":\"a\"}}",
                "{\"runtime_id\":\"r1\",\"agent_id\":\"x\",\"agent_type\":\"echo\",\"parameters\":{\"a\":[1]}}",
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                const Out *asked;

                host(b, &(Host){ .id = "r1", .labels = "{\"zone\":\"a\"}" });
                host(b, &(Host){ .id = "r2", .labels = "{\"zone\":\"b\"}" });
                assert_null(ask(b, bodies[i]));
                asked = bench_expect(b, CREATE("r1"), "");
                assert_string_equal(
                        asked->body, "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"parameters\":{\"a\":[1]}}");
                bench_expect_none(b, CREATE("r2"));

                answer(b, asked, "{\"ok\":true,\"result\":{\"agent_id\":\"x\",\"state\":\"running\"}}");
                assert_string_equal(bench_expect(b, "op", "")->body,
                        "{\"ok\":true,\"result\":{\"runtime_id\":\"r1\",\"agent_id\":\"x\",\"state\":\"running\"}}");
                answer(b, asked, "{\"ok\":true,\"result\":{}}");
                bench_expect_none(b, "op"); /* one answer */
                assert_int_equal(bench_metric(b, "compozy_dispatcher_agents_created_total"), 1);
        }
}

static void only_the_runtime_that_was_asked_answers(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char forged[256];
        const Out *asked;

        (void)state;

        host(b, &(Host){ .id = "r1" });
        assert_null(ask(b, ECHO));
        asked = bench_expect(b, CREATE("r1"), "");
        assert_true(strncmp(asked->reply, INBOX ".c.r1.", strlen(INBOX ".c.r1.")) == 0);
        (void)snprintf(forged, sizeof(forged), INBOX ".c.r2.%s", asked->reply + strlen(INBOX ".c.r1."));
        bench_send(b, forged, NULL, "{\"ok\":true,\"result\":{}}");
        bench_expect_none(b, "op");
        answer(b, asked, "{\"ok\":true,\"result\":{}}");
        bench_expect(b, "op", "\"ok\":true");
}

static void what_is_no_definition_is_refused_here(void **state) {
        static const struct {
                const char *body, *part;
        } table[] = {
                { "", "agent_id is missing" },
                { "{", "at byte" },
                { "{\"agent_type\":\"echo\"}", "agent_id is missing" },
                { "{\"agent_id\":\"x\"}", "agent_type is missing" },
                { "{\"agent_id\":\"a.b\",\"agent_type\":\"echo\"}", "agent_id" },
                { "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"labels\":{\"a\":1}}", "labels" },
                { "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"runtime_id\":\"a.b\"}", "runtime_id" },
                { "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"definition\":{}}", "agent_id is missing" },
        };
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        host(b, &(Host){ .id = "r1" });
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Out *out = ask(b, table[i].body);

                if (!out || !strstr(out->body, "INVALID_MESSAGE") || !strstr(out->body, table[i].part))
                        fail_msg("%s: %s", table[i].body, out ? out->body : "no answer");
        }
        bench_expect_none(b, CREATE("*"));
}

static void why_there_is_no_runtime_is_said_of_each(void **state) {
        static const struct {
                Host host;
                const char *body, *why;
        } table[] = {
                { { .id = "r1", .types = "[\"counter\"]" }, ECHO, "it does not have the agent's type" },
                { { .id = "r1", .types = "[]" }, ECHO, "it does not have the agent's type" },
                { { .id = "r1", .agents = "a b", .max_agents = 2 }, ECHO, "as many agents as its limit allows" },
                { { .id = "r1", .labels = "{\"zone\":\"b\"}" },
                        "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"labels\":{\"zone\":\"a\"}}",
                        "its labels do not match" },
                { { .id = "r1" }, "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"runtime_id\":\"r9\"}",
                        "no runtime r9 is registered" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                const Out *out;

                assert_non_null(strstr(ask(b, ECHO)->body, "no runtime is registered"));
                host(b, &table[i].host);
                out = ask(b, table[i].body);
                if (!out || !strstr(out->body, "NO_RUNTIME") || !strstr(out->body, table[i].why) ||
                        !strstr(out->body, "\"considered\":["))
                        fail_msg("%zu: %s", i, out ? out->body : "no answer");
                bench_expect_none(b, CREATE("*"));
        }
}

static void a_runtime_that_drains_is_not_asked_and_a_silent_one_only_when_nobody_else_can(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        host(b, &(Host){ .id = "r1" });
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        assert_non_null(strstr(ask(b, ECHO)->body, "it is draining"));
        bench_beat(b, "r1", 1, 0, ",\"draining\":false");
        bench_pass(b, 3 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        host(b, &(Host){ .id = "r2" });
        for (int i = 0; i < 20; i++) {
                char body[64];

                (void)snprintf(body, sizeof(body), "{\"agent_id\":\"x%d\",\"agent_type\":\"echo\"}", i);
                assert_null(ask(b, body));
                bench_expect(b, CREATE("r2"), "");
        }
        bench_beat(b, "r2", 1, 0, ",\"draining\":true");
        assert_null(ask(b, ECHO));
        bench_expect(b, CREATE("r1"), "");
}

static void an_agent_that_is_there_is_not_made_twice(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *first;

        (void)state;

        host(b, &(Host){ .id = "r1", .agents = "y" });
        host(b, &(Host){ .id = "r2" });
        assert_non_null(strstr(ask(b, "{\"agent_id\":\"y\",\"agent_type\":\"echo\"}")->body, "AGENT_EXISTS"));
        assert_null(ask(b, "{\"agent_id\":\"y\",\"agent_type\":\"echo\",\"runtime_id\":\"r2\"}"));
        bench_expect(b, CREATE("r2"), "\"y\""); /* in another place, if somebody says so */

        assert_null(ask(b, ECHO));
        first = bench_expect(b, CREATE("*"), "\"x\"");
        assert_non_null(strstr(ask(b, ECHO)->body, "is being created"));
        refuse(b, first, "INIT_FAILED");
        bench_expect(b, "op", "INIT_FAILED");
        assert_null(ask(b, ECHO)); /* it was not made, so it may be tried again */
}

static void one_that_is_only_on_a_runtime_that_drains_is_made_elsewhere(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        host(b, &(Host){ .id = "r1", .agents = "x" });
        host(b, &(Host){ .id = "r2" });
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        assert_null(ask(b, ECHO));
        bench_expect(b, CREATE("r2"), "");
}

static void another_runtime_is_asked_where_the_first_has_certainly_not_made_it(void **state) {
        static const struct {
                const char *code; /* NULL: nobody listened */
                bool goes_on;
        } table[] = {
                { NULL, true },
                { "RUNTIME_DRAINING", true },
                { "LIMIT_EXCEEDED", true },
                { "OVERLOADED", true },
                { "INIT_FAILED", false },
                { "AGENT_EXISTS", false },
                { "INVALID_MESSAGE", false },
                { "SOMETHING_NEW", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(bench_freep) Bench *b = bench();
                const Out *first, *second;

                host(b, &(Host){ .id = "r1" });
                host(b, &(Host){ .id = "r2" });
                assert_null(ask(b, ECHO));
                first = bench_expect(b, CREATE("*"), "");
                if (table[i].code)
                        refuse(b, first, table[i].code);
                else
                        bench_no_responders(b, first);
                second = bench_take(b, CREATE("*"));
                if (!second != !table[i].goes_on)
                        fail_msg("%s", table[i].code ? table[i].code : "unheard");
                if (!second) {
                        bench_expect(b, "op", table[i].code);
                        continue;
                }
                assert_string_not_equal(first->subject, second->subject);
                /* with nobody left, the last word is the answer */
                refuse(b, second, "LIMIT_EXCEEDED");
                bench_expect(b, "op", "LIMIT_EXCEEDED");
        }
}

static void a_runtime_that_was_named_is_the_only_one_asked(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        host(b, &(Host){ .id = "r1" });
        host(b, &(Host){ .id = "r2" });
        assert_null(ask(b, "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"runtime_id\":\"r1\"}"));
        bench_no_responders(b, bench_expect(b, CREATE("r1"), ""));
        bench_expect_none(b, CREATE("r2"));
        bench_expect(b, "op", "NO_RUNTIME");
}

static void whoever_waits_is_told_in_time(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        host(b, &(Host){ .id = "r1" });
        assert_null(ask(b, ECHO));
        bench_live(b, "r1", 29);
        bench_expect_none(b, "op");
        bench_live(b, "r1", 2);
        bench_expect(b, "op", "TIMEOUT");

        assert_null(ask(b, ECHO));
        host(b, &(Host){ .id = "r1", .epoch = 2 });
        bench_expect(b, "op", "RUNTIME_LOST");

        assert_null(ask(b, ECHO));
        dispatcher_drain(b->d, b->now.usec + SECOND, b->now);
        assert_false(dispatcher_is_drained(b->d));
        bench_pass(b, SECOND);
        assert_true(dispatcher_is_drained(b->d));
        bench_expect(b, "op", "this dispatcher is stopping");
}

static void what_is_being_created_counts_and_is_bounded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char body[64];

        (void)state;

        options.queue_limit = 5;
        b = bench_new(&options);
        host(b, &(Host){ .id = "r1", .max_agents = 3 });
        host(b, &(Host){ .id = "r2", .max_agents = 100 });
        for (unsigned i = 0; i < 5; i++) {
                (void)snprintf(body, sizeof(body), "{\"agent_id\":\"x%u\",\"agent_type\":\"echo\"}", i);
                assert_null(ask(b, body));
        }
        assert_true(bench_count(b, CREATE("r2")) >= 2);
        assert_non_null(strstr(ask(b, ECHO)->body, "OVERLOADED"));
}

/* Of two the less loaded is asked: with only two there is no luck in it. */
static void the_less_loaded_of_two_is_asked(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        char body[64];

        (void)state;

        host(b, &(Host){ .id = "r1", .max_agents = 10, .agents = "a b c" });
        host(b, &(Host){ .id = "r2", .max_agents = 100, .agents = "d e f g" });
        for (unsigned i = 0; i < 20; i++) {
                (void)snprintf(body, sizeof(body), "{\"agent_id\":\"x%u\",\"agent_type\":\"echo\"}", i);
                assert_null(ask(b, body));
        }
        assert_int_equal(bench_count(b, CREATE("r1")), 0);
        assert_int_equal(bench_count(b, CREATE("r2")), 20);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_agent_is_created_and_the_answer_names_the_runtime),
                cmocka_unit_test(only_the_runtime_that_was_asked_answers),
                cmocka_unit_test(what_is_no_definition_is_refused_here),
                cmocka_unit_test(why_there_is_no_runtime_is_said_of_each),
                cmocka_unit_test(a_runtime_that_drains_is_not_asked_and_a_silent_one_only_when_nobody_else_can),
                cmocka_unit_test(an_agent_that_is_there_is_not_made_twice),
                cmocka_unit_test(one_that_is_only_on_a_runtime_that_drains_is_made_elsewhere),
                cmocka_unit_test(another_runtime_is_asked_where_the_first_has_certainly_not_made_it),
                cmocka_unit_test(a_runtime_that_was_named_is_the_only_one_asked),
                cmocka_unit_test(whoever_waits_is_told_in_time),
                cmocka_unit_test(what_is_being_created_counts_and_is_bounded),
                cmocka_unit_test(the_less_loaded_of_two_is_asked),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
