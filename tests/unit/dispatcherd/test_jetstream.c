/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define INFO_EVENTS "$JS.API.STREAM.INFO.COMPOZY_EVENTS"
#define INFO_RUNTIMES "$JS.API.STREAM.INFO.KV_compozy_runtimes"
#define CREATE_EVENTS "$JS.API.STREAM.CREATE.COMPOZY_EVENTS"
#define CREATE_RUNTIMES "$JS.API.STREAM.CREATE.KV_compozy_runtimes"
#define RECORD(id) "$KV.compozy_runtimes." id

#define THERE "{\"type\":\"io.nats.jetstream.api.v1.stream_info_response\",\"config\":{},\"state\":{\"messages\":0}}"
#define NOT_FOUND "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}"
#define NOT_ENABLED \
        "{\"error\":{\"code\":503,\"err_code\":10039,\"description\":\"JetStream not enabled for account\"}}"
#define NAME_IN_USE                                                                                                  \
        "{\"error\":{\"code\":400,\"err_code\":10058,\"description\":\"stream name already in use with a different " \
        "configuration\"}}"
#define NO_SPACE \
        "{\"error\":{\"code\":500,\"err_code\":10047,\"description\":\"insufficient storage resources available\"}}"

/* A dispatcher that wants JetStream, just connected: it has asked for both streams. */
static Bench *bench(void) {
        DispatcherOptions options = bench_options();
        Bench *b;

        options.jetstream = true;
        options.events_max_age_usec = 3600 * SECOND;
        b = bench_new(&options);
        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        return b;
}

static void answer(Bench *b, const Out *request, const char *body) {
        char *reply = strdup(request->reply);

        bench_send(b, reply, NULL, body);
        free(reply);
}

static void both_there(Bench *b) {
        answer(b, bench_expect(b, INFO_EVENTS, ""), THERE);
        answer(b, bench_expect(b, INFO_RUNTIMES, ""), THERE);
        bench_ask(b, "status", "", "\"jetstream_events\":true,\"jetstream_runtimes\":true");
}

static void what_is_there_is_used_as_it_is(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        both_there(b);
        bench_expect_none(b, "$JS.API.STREAM.CREATE.>");
        bench_pass(b, 600 * SECOND);
        bench_expect_none(b, INFO_EVENTS);
}

static void what_is_not_there_is_created(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        answer(b, bench_expect(b, INFO_EVENTS, ""), NOT_FOUND);
        out = bench_expect(
                b, CREATE_EVENTS, "\"name\":\"COMPOZY_EVENTS\",\"retention\":\"limits\",\"storage\":\"file\"");
        assert_non_null(strstr(out->body, "\"compozy.events.agent.definition.*.registered\""));
        assert_null(strstr(out->body, "heartbeat\""));
        assert_non_null(strstr(out->body, "\"max_age\":3600000000000,\"no_ack\":true"));
        answer(b, out, "{\"type\":\"created\",\"did_create\":true}");

        answer(b, bench_expect(b, INFO_RUNTIMES, ""), NOT_FOUND);
        out = bench_expect(b, CREATE_RUNTIMES, "\"subjects\":[\"$KV.compozy_runtimes.>\"]");
        assert_non_null(strstr(out->body, "\"max_msgs_per_subject\":1"));
        answer(b, out, NAME_IN_USE); /* another dispatcher was faster */
        bench_ask(b, "status", "", "\"jetstream_events\":true,\"jetstream_runtimes\":true");
}

static void without_jetstream_everything_else_works_and_it_is_asked_for_again_later(void **state) {
        static const char *const bodies[] = { NULL, NOT_ENABLED, "no JSON", "{\"error\":{\"code\":\"x\"}}", "" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                _cleanup_(bench_freep) Bench *b = bench();

                for (unsigned k = 0; k < 2; k++) {
                        const Out *out = bench_expect(b, "$JS.API.STREAM.INFO.*", "");

                        if (bodies[i])
                                answer(b, out, bodies[i]);
                        else
                                bench_no_responders(b, out);
                }
                bench_expect_none(b, "$JS.API.>");
                bench_runtime(b, "r1", "a");
                bench_expect_none(b, "$KV.>");
                bench_ask(b, "status", "", "\"jetstream_events\":false,\"jetstream_runtimes\":false");
                bench_pass(b, 29 * SECOND);
                bench_expect_none(b, "$JS.API.>");
                bench_pass(b, SECOND);
                both_there(b);
        }
}

static void a_stream_that_can_not_be_created_is_tried_again_later(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        answer(b, bench_expect(b, INFO_RUNTIMES, ""), THERE);
        answer(b, bench_expect(b, INFO_EVENTS, ""), NOT_FOUND);
        answer(b, bench_expect(b, CREATE_EVENTS, ""), NO_SPACE);
        bench_ask(b, "status", "", "\"jetstream_events\":false,\"jetstream_runtimes\":true");
        assert_int_equal(bench_metric(b, "compozy_dispatcher_jetstream_errors_total"), 1);
        bench_pass(b, 30 * SECOND);
        bench_expect(b, INFO_EVENTS, "");
        bench_expect_none(b, INFO_EVENTS);
}

static void an_answer_that_does_not_come_is_asked_for_again(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_expect(b, INFO_EVENTS, "");
        bench_expect(b, INFO_RUNTIMES, "");
        bench_pass(b, 5 * SECOND);
        both_there(b);
        /* The first answer comes after all. */
        bench_send(b, INBOX ".j.events", NULL, NOT_FOUND);
        bench_send(b, INBOX ".j.unheard_of", NULL, NOT_FOUND);
        bench_expect_none(b, "$JS.API.STREAM.CREATE.>");
}

static void records_follow_the_runtimes(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_runtime(b, "r1", "a");
        bench_register(b, &(Spec){ .id = "r9", .epoch = 1, .agents = "a", .part = 0, .n_parts = 2 });
        bench_expect_none(b, "$KV.>");
        both_there(b);
        bench_expect(b, RECORD("r1"),
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"revision\":0,\"state\":\"live\"");
        bench_expect_none(b, RECORD("r9"));
        bench_runtime(b, "r2", "b");
        bench_expect(b, RECORD("r2"), "\"agent_definitions\":[{\"agent_id\":\"b\"");
        bench_pass(b, 2 * SECOND);
        bench_expect(b, RECORD("r1"), "\"state\":\"suspect\"");
        bench_ask(b, "deregister_runtime", "{\"runtime_id\":\"r2\"}", "\"ok\":true");
        bench_expect(b, RECORD("r2"), "\"state\":\"suspect\"");
        assert_string_equal(bench_expect(b, RECORD("r2"), "")->headers, "KV-Operation: DEL\r\n");
}

static void while_agents_come_and_go_a_record_is_written_once_a_second(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;
        char agents[256] = "a";

        (void)state;

        both_there(b);
        bench_runtime(b, "r1", agents);
        bench_expect(b, RECORD("r1"), "\"revision\":0");
        for (unsigned i = 1; i <= 20; i++) {
                (void)snprintf(agents + strlen(agents), sizeof(agents) - strlen(agents), " b%u", i);
                bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = i, .agents = agents });
                bench_pass(b, 10 * MS);
        }
        bench_expect_none(b, "$KV.>");
        bench_pass(b, SECOND);
        out = bench_expect(b, RECORD("r1"), "\"revision\":20");
        assert_non_null(strstr(out->body, "\"b20\""));
        bench_expect_none(b, "$KV.>");

        /* What state it is in, and that it started again, waits for nothing. */
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 21, .agents = "a" });
        bench_beat(b, "r1", 1, 21, ",\"draining\":true");
        bench_expect(b, RECORD("r1"), "\"state\":\"draining\"");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 2, .agents = "a" });
        bench_expect(b, RECORD("r1"), "\"epoch\":2");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 3, .agents = "a" });
        bench_expect(b, RECORD("r1"), "\"epoch\":3");

        /* One that has gone is not written again. */
        bench_register(b, &(Spec){ .id = "r1", .epoch = 3, .revision = 1, .agents = "a b" });
        bench_ask(b, "deregister_runtime", "{\"runtime_id\":\"r1\"}", "\"ok\":true");
        assert_string_equal(bench_expect(b, RECORD("r1"), "")->headers, "KV-Operation: DEL\r\n");
        bench_pass(b, 5 * SECOND);
        bench_expect_none(b, "$KV.>");
}

static void a_record_of_very_many_agents_fits_and_counts_the_rest(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char *agents = calloc(20000, 1);
        const Out *out;
        size_t size = 0;

        (void)state;

        options.jetstream = true;
        b = bench_new(&options);
        dispatcher_on_link_down(b->d, b->now);
        dispatcher_on_link_up(b->d, 16 * 1024, b->now);
        bench_turn_end(b);
        answer(b, bench_expect(b, INFO_RUNTIMES, ""), THERE);
        for (unsigned i = 0; i < 900; i++)
                size += (size_t)snprintf(agents + size, 20000 - size, "%sagent-%04u", i ? " " : "", i);
        bench_runtime(b, "r1", agents);
        out = bench_expect(b, RECORD("r1"), "\"agents_omitted\":");
        assert_true(strlen(out->body) <= 16 * 1024);
        free(agents);
}

static void records_of_runtimes_that_nobody_knows_are_swept(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();
        const Out *out;

        (void)state;

        both_there(b);
        bench_runtime(b, "r1", "a");
        bench_forget(b);
        bench_pass(b, SECOND);
        assert_true(dispatcher_is_settled(b->d));
        out = bench_expect(b, INFO_RUNTIMES, "\"subjects_filter\":\"$KV.compozy_runtimes.>\"");
        answer(b, out,
                "{\"state\":{\"messages\":4,\"subjects\":{\"$KV.compozy_runtimes.r1\":1,\"$KV.compozy_runtimes.r2\":1,"
                "\"$KV.compozy_runtimes.a.b\":1,\"elsewhere.r3\":1}}}");
        assert_string_equal(bench_expect(b, RECORD("r2"), "")->headers, "KV-Operation: DEL\r\n");
        bench_expect_none(b, "$KV.>");
}

/* After a reconnect the roll is called again; before it is answered, absence means nothing. */
static void nothing_is_swept_before_the_roll_call_is_answered(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        both_there(b);
        bench_pass(b, SECOND);
        bench_expect(b, INFO_RUNTIMES, "subjects_filter");
        dispatcher_on_link_down(b->d, b->now);
        bench_pass(b, SECOND);
        bench_link_up(b);
        both_there(b);
        bench_expect_none(b, INFO_RUNTIMES);
        bench_pass(b, SECOND);
        bench_expect(b, INFO_RUNTIMES, "subjects_filter");
}

static void while_the_link_is_down_nothing_is_asked(void **state) {
        _cleanup_(bench_freep) Bench *b = bench();

        (void)state;

        bench_forget(b);
        dispatcher_on_link_down(b->d, b->now);
        bench_pass(b, 120 * SECOND);
        bench_expect_none(b, "$JS.API.>");
        bench_link_up(b);
        both_there(b);
}

static void who_does_not_want_it_never_asks(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        bench_send(b, INBOX ".j.events", NULL, NOT_FOUND);
        bench_pass(b, 120 * SECOND);
        bench_expect_none(b, "$JS.>");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_there_is_used_as_it_is),
                cmocka_unit_test(what_is_not_there_is_created),
                cmocka_unit_test(without_jetstream_everything_else_works_and_it_is_asked_for_again_later),
                cmocka_unit_test(a_stream_that_can_not_be_created_is_tried_again_later),
                cmocka_unit_test(an_answer_that_does_not_come_is_asked_for_again),
                cmocka_unit_test(records_follow_the_runtimes),
                cmocka_unit_test(while_agents_come_and_go_a_record_is_written_once_a_second),
                cmocka_unit_test(a_record_of_very_many_agents_fits_and_counts_the_rest),
                cmocka_unit_test(records_of_runtimes_that_nobody_knows_are_swept),
                cmocka_unit_test(nothing_is_swept_before_the_roll_call_is_answered),
                cmocka_unit_test(while_the_link_is_down_nothing_is_asked),
                cmocka_unit_test(who_does_not_want_it_never_asks),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
