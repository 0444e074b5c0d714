/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/world.h"

/* triggers */

static void a_trigger_is_run_answered_and_reported_once(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .input = "{\"a\":1}");
        assert_int_equal(w.n_runs, 1);
        work(&w, 0);
        pass(&w, 2000);

        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"output\":{\"a\":1}"), 1);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller")), "SUCCESS");
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        assert_int_equal(count_sent(&w, REPORT, NULL), 1);
        assert_int_equal(count_sent(&w, PREFIX ".events.agent.instance.e1.started", NULL), 1);
        assert_int_equal(count_sent(&w, PREFIX ".events.agent.instance.e1.completed", NULL), 1);
        assert_int_equal(runtime_n_in_flight(w.runtime), 0);
        end_world(&w);
}

static void trace_headers_pass_through_to_results_and_events(void **state) {
        World w;
        InMessage message = {
                .subject = SLICE(TRIGGER),
                .reply = SLICE("_INBOX.caller"),
                .headers = SLICE("traceparent: 00-ab-cd-01\r\nX-Other: 1\r\n"),
                .body = SLICE("{\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e1\"}}"),
        };

        (void)state;

        begin(&w);
        w.plays_worker = true;
        runtime_on_message(w.runtime, &message, w.now);
        turn(&w);
        assert_string_equal(last_sent(&w, "_INBOX.caller")->headers, "traceparent: 00-ab-cd-01\r\n");
        assert_string_equal(
                last_sent(&w, PREFIX ".events.agent.instance.e1.completed")->headers, "traceparent: 00-ab-cd-01\r\n");
        end_world(&w);
}

/* Answers must fit a message with them. */
static void a_trace_that_is_too_long_to_carry_is_left_out(void **state) {
        char headers[2048];
        World w;
        InMessage message = {
                .subject = SLICE(TRIGGER),
                .reply = SLICE("_INBOX.caller"),
                .body = SLICE("{\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e1\"}}"),
        };

        (void)state;

        begin(&w);
        w.plays_worker = true;
        (void)snprintf(headers, sizeof(headers), "traceparent: 00-ab-cd-01\r\ntracestate: %01000d\r\n", 7);
        message.headers = slice_of(headers);
        runtime_on_message(w.runtime, &message, w.now);
        turn(&w);
        assert_string_equal(last_sent(&w, "_INBOX.caller")->headers, "traceparent: 00-ab-cd-01\r\n");
        end_world(&w);
}

/* "Refused" would have its dispatcher run it elsewhere as well. */
static void a_running_execution_is_never_refused_for_the_number_of_those_who_ask(void **state) {
        World w;

        (void)state;

        begin(&w);
        for (size_t i = 0; i < 2 * ASKERS_MAX; i++) {
                char reply_to[32];

                (void)snprintf(reply_to, sizeof(reply_to), "_INBOX.caller.%zu", i);
                relay(&w, .exec = "e1", .agent = "sleeper", .input = "{\"ms\":100}", .reply_to = reply_to);
                turn(&w);
                pass(&w, 1500);
                assert_string_equal(reported(&w, "e1"), "accepted");
        }

        w.plays_worker = true;
        turn(&w);
        pass(&w, 200 * USEC_PER_MSEC);
        relay(&w, .exec = "e1", .agent = "sleeper", .input = "{\"ms\":100}", .reply_to = "_INBOX.caller.15");
        turn(&w);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller.0")), "SUCCESS");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller.15")), "SUCCESS");
        end_world(&w);
}

static void accepted_started_and_done_are_told_as_they_happen(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .agent = "sleeper", .input = "{\"ms\":100}");
        relay(&w, .exec = "e2", .agent = "sleeper");
        pass(&w, 1500);
        assert_string_equal(reported(&w, "e1"), "accepted");
        work(&w, 0);
        turn(&w);
        pass(&w, 1500);
        assert_string_equal(reported(&w, "e1"), "started");
        w.plays_worker = true;
        turn(&w);
        pass(&w, 110 * USEC_PER_MSEC);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        assert_string_equal(reported(&w, "e2"), "done SUCCESS");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 2);
        end_world(&w);
}

static void a_message_that_holds_its_worker_is_reported_as_started(void **state) {
        World w;
        Outcome *outcome;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1");
        outcome = run_step(w.runs[0], w.now.usec); /* the worker has it and says nothing */
        pass(&w, 50 * USEC_PER_MSEC);
        assert_string_equal(reported(&w, "e1"), "started");
        assert_int_equal(count_sent(&w, PREFIX ".events.agent.instance.e1.started", NULL), 1);
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);

        w.n_runs = 0;
        runtime_on_outcome(w.runtime, outcome, w.now);
        turn(&w);
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 1);
        assert_int_equal(count_sent(&w, PREFIX ".events.agent.instance.e1.started", NULL), 1);
        end_world(&w);
}

static void triggers_that_cant_be_taken_are_refused_with_the_reason(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .epoch = EPOCH - 1);
        relay(&w, .exec = "e2", .agent = "nobody");
        for (unsigned i = 0; i < 64; i++) {
                char exec[16];

                (void)snprintf(exec, sizeof(exec), "f%u", i);
                relay(&w, .exec = exec, .agent = "sleeper", .input = "{\"ms\":1000}");
        }
        relay(&w, .exec = "e3");
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "refused RUNTIME_LOST");
        assert_string_equal(reported(&w, "e2"), "refused AGENT_NOT_FOUND");
        assert_string_equal(reported(&w, "e3"), "refused OVERLOADED");
        assert_string_equal(reported(&w, "f63"), "accepted");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        end_world(&w);
}

static void a_full_mailbox_does_what_its_policy_says(void **state) {
        static const struct {
                const char *overflow, *first, *third;
                size_t n_answers;
                const char *why;
        } cases[] = {
                { "reject", "accepted", "refused MAILBOX_FULL", 0, "the newcomer goes elsewhere" },
                { "drop_oldest", "done FAILURE MAILBOX_FULL", "accepted", 1, "the oldest makes room" },
                { "drop_newest", "accepted", "done FAILURE MAILBOX_FULL", 1, "the newcomer is answered" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char definition[256];
                World w;

                begin(&w);
                (void)snprintf(definition, sizeof(definition),
                        "{\"agent_id\":\"small\",\"agent_type\":\"echo\",\"mailbox_capacity\":3,\"overflow\":\"%s\"}",
                        cases[i].overflow);
                create(&w, definition);
                turn(&w);
                relay(&w, .exec = "e0",
                        .agent = "small"); /* goes out to the worker at once; until it is begun, it counts */
                relay(&w, .exec = "e1", .agent = "small");
                relay(&w, .exec = "e2", .agent = "small");
                relay(&w, .exec = "e3", .agent = "small");
                pass(&w, 2000);
                assert_string_equal(reported(&w, "e1"), cases[i].first);
                assert_string_equal(reported(&w, "e3"), cases[i].third);
                assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), cases[i].n_answers);
                end_world(&w);
        }
}

static void a_deadline_is_answered_by_the_runtime_exactly_once(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "running", .deadline_ms = 50, .reply_to = "_INBOX.c1"); /* with the worker */
        relay(&w, .exec = "queued", .deadline_ms = 50, .reply_to = "_INBOX.c2");
        relay(&w, .exec = "fine", .deadline_ms = 5000, .reply_to = "_INBOX.c3");
        pass(&w, 60 * USEC_PER_MSEC);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.c1")), "FAILURE DEADLINE_EXCEEDED");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.c2")), "FAILURE DEADLINE_EXCEEDED");
        assert_string_equal(reported(&w, "running"), "done FAILURE DEADLINE_EXCEEDED");
        assert_int_equal(runtime_n_in_flight(w.runtime), 3); /* the worker still has two */

        w.plays_worker = true;
        work(&w, 0);
        turn(&w);
        assert_int_equal(count_sent(&w, "_INBOX.c1", NULL), 1);
        assert_int_equal(count_sent(&w, "_INBOX.c2", NULL), 1);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.c3")), "SUCCESS");
        assert_int_equal(runtime_n_in_flight(w.runtime), 0);
        end_world(&w);
}

static void an_outcome_that_comes_after_the_deadline_is_withheld_and_counted(void **state) {
        World w;
        Outcome *outcome;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .deadline_ms = 50);
        outcome = run_step(w.runs[0], w.now.usec);
        w.n_runs = 0;
        pass(&w, 60 * USEC_PER_MSEC);
        runtime_on_outcome(w.runtime, outcome, w.now);
        turn(&w);
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 1);
        assert_int_equal(w.runtime->counters.late, 1);
        end_world(&w);
}

static void forbidden_reply_subjects_get_nothing(void **state) {
        static const char *const forbidden[] = {
                "compozy.commands.agent.w.trigger.a",
                "compozy.runtime.r1.control.drain",
                "$SYS.REQ.SERVER.PING",
                "compozy",
                "compozy.dispatcher.d1.report",
                "compozy.dispatcher.d1.report.r2", /* another runtime's */
                "compozy.dispatcher.d1.control.status",
        };
        World w;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        for (size_t i = 0; i < ELEMENTSOF(forbidden); i++) {
                relay(&w, .exec = "e1", .reply_to = forbidden[i]);
                relay(&w, .exec = "e2", .report_to = forbidden[i]);
                assert_int_equal(count_sent(&w, forbidden[i], NULL), 0);
        }
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "refused TOPIC_FORBIDDEN");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);

        relay(&w, .exec = "e3", .reply_to = "compozy.results.agent.e3");
        assert_int_equal(count_sent(&w, "compozy.results.agent.e3", "SUCCESS"), 1);
        end_world(&w);
}

static void where_there_is_a_list_results_go_there_and_to_inboxes_and_nowhere_else(void **state) {
        static const struct {
                const char *subject;
                bool is_open;
        } table[] = {
                { "_INBOX.x.1", true },
                { "compozy.results.agent.e", true },
                { "thread.1.reply", true },
                { "news", true },
                { "news.1", false },
                { "action.pay", false },
                { "agent.b.replies", false },
                { "compozy.commands.agent.w.trigger.a", false },
                { "$JS.API.INFO", false },
        };
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.reply_subjects = "thread.>,news";
        begin_with(&w, &options);
        w.plays_worker = true;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char exec_id[8];

                (void)snprintf(exec_id, sizeof(exec_id), "e%zu", i);
                relay(&w, .exec = exec_id, .reply_to = table[i].subject);
                pass(&w, 100);
                assert_int_equal(count_sent(&w, table[i].subject, NULL), table[i].is_open ? 1 : 0);
                if (!table[i].is_open)
                        assert_string_equal(reported(&w, exec_id), "refused TOPIC_FORBIDDEN");
        }
        end_world(&w);
}

/* Each makes a reporter; whoever names one after the other makes no more than so many. */
static void reports_go_to_so_many_places_at_a_time_and_no_more(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.max_in_flight = REPORTERS_MAX + 10;
        begin_with(&w, &options);
        for (unsigned i = 0; i < REPORTERS_MAX + 2; i++) {
                char exec_id[16], report_to[32];

                (void)snprintf(exec_id, sizeof(exec_id), "e%u", i);
                (void)snprintf(report_to, sizeof(report_to), "_INBOX.d%u.report", i);
                relay(&w, .exec = exec_id, .report_to = report_to);
        }
        assert_int_equal(runtime_n_in_flight(w.runtime), REPORTERS_MAX);
        pass(&w, 11 * USEC_PER_SEC); /* the end of all deadlines: idle ones make room */
        relay(&w, .exec = "later", .report_to = "_INBOX.later.report");
        pass(&w, 10 * USEC_PER_MSEC);
        assert_true(count_sent(&w, "_INBOX.later.report", "later") > 0);
        end_world(&w);
}

/* Permissions keep inboxes apart; an execution's id, which may be guessed, must not undo that. */
static void who_has_an_inbox_of_his_own_shares_no_answer_with_others(void **state) {
        World w;

        (void)state;

        for (unsigned is_done = 0; is_done < 2; is_done++) {
                begin(&w);
                w.plays_worker = is_done;
                relay(&w, .exec = "e1", .reply_to = "_INBOX.caller.web.x.1");
                relay(&w, .exec = "e1", .reply_to = "_INBOX.caller.batch.y.1", .report_to = "_INBOX.d2.report");
                relay(&w, .exec = "e1", .reply_to = "thread.open", .report_to = "_INBOX.d3.report");
                relay(&w, .exec = "e1", .reply_to = "_INBOX.caller.web.z.1");
                w.plays_worker = true;
                pass(&w, 2000);
                assert_int_equal(count_sent(&w, "_INBOX.caller.web.x.1", "SUCCESS"), 1);
                assert_int_equal(count_sent(&w, "_INBOX.caller.web.z.1", "SUCCESS"), 1);
                assert_int_equal(count_sent(&w, "_INBOX.caller.batch.y.1", NULL), 0);
                assert_int_equal(count_sent(&w, "thread.open", NULL), 0);
                assert_int_equal(count_sent(&w, "_INBOX.d2.report", "INVALID_MESSAGE"), 1);
                assert_int_equal(count_sent(&w, "_INBOX.d3.report", "INVALID_MESSAGE"), 1);
                end_world(&w);
        }
}

static void a_trigger_by_hand_is_answered_directly(void **state) {
        World w;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        say(&w, TRIGGER, "_INBOX.me", "{\"agent\":{\"id\":\"counter\"}}");
        assert_int_equal(count_sent(&w, "_INBOX.me", "\"count\":1"), 1);
        say(&w, TRIGGER, "_INBOX.me", "{\"agent\":{\"id\":\"nobody\"}}");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.me")), "FAILURE AGENT_NOT_FOUND");
        say(&w, TRIGGER, "_INBOX.me", "{\"agent\":{\"id\":\"counter\"},\"payload\":{\"reply_to_subject\":\"there\"}}");
        assert_int_equal(count_sent(&w, "there", "\"count\":2"), 1);
        assert_int_equal(count_sent(&w, REPORT, NULL), 0);
        end_world(&w);
}

static void messages_that_make_no_sense_are_refused_and_change_nothing(void **state) {
        static const char *const bodies[] = {
                "",
                "{",
                "[]",
                "{\"agent\":7}",
                "{\"agent\":{\"id\":\"a.b\"}}",
                "{\"agent\":{\"id\":\"greeter\",\"exec_id\":\"\"}}",
                "{\"agent\":{\"id\":\"greeter\"},\"dispatch\":{}}",
                "{\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e\"},\"dispatch\":{\"dispatcher_id\":\"d\",\"attempt\":0,"
                "\"deadline_ms\":1}}",
                "{\"agent\":{\"id\":\"greeter\"},\"payload\":{\"reply_to_subject\":\"a b\"}}",
                "\xff\xfe",
        };
        char *big = malloc(70001);
        World w;

        (void)state;

        assert_non_null(big);
        memset(big, ' ', 70000);
        big[70000] = '\0';

        begin(&w);
        for (size_t i = 0; i < ELEMENTSOF(bodies); i++) {
                say(&w, TRIGGER, "_INBOX.me", bodies[i]);
                say(&w, TRIGGER, NULL, bodies[i]);
                say(&w, TRIGGER, "compozy.commands.x", bodies[i]);
                say(&w, CONTROL "get_agent", "_INBOX.ctl", bodies[i]);
                say(&w, "compozy.commands.agent_runtime.announce", NULL, bodies[i]);
                say(&w, DEREGISTERED, NULL, bodies[i]);
                say(&w, "_INBOX.r1.register.1000", NULL, bodies[i]);
                say(&w, "_INBOX.r1.register.99999999999999999999", NULL, bodies[i]);
                say(&w, "_INBOX.r1", NULL, bodies[i]);
                say(&w, "compozy.runtime.r1.nonsense", "_INBOX.me", bodies[i]);
        }
        say(&w, TRIGGER, "_INBOX.me", big);
        assert_int_equal(w.n_runs, 0);
        assert_int_equal(runtime_n_in_flight(w.runtime), 0);
        assert_int_equal(count_sent(&w, "compozy.commands.x", NULL), 0);
        assert_int_equal(count_sent(&w, "_INBOX.me", "INVALID_MESSAGE"), ELEMENTSOF(bodies) + 1);
        assert_true(runtime_is_registered(w.runtime));
        assert_int_equal(runtime_epoch(w.runtime), EPOCH);
        end_world(&w);
        free(big);
}

/* repeats */

static void a_repeat_of_what_is_in_progress_is_told_where_it_stands(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .agent = "sleeper", .input = "{\"ms\":1000}");
        work(&w, 0);
        turn(&w);
        pass(&w, 2000);
        forget_sent(&w);
        relay(&w, .exec = "e1", .agent = "sleeper", .age_ms = 500);
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "started");
        assert_int_equal(runtime_n_in_flight(w.runtime), 1);
        assert_int_equal(w.n_runs, 0);
        end_world(&w);
}

static void a_finished_execution_is_answered_from_memory_and_not_run_again(void **state) {
        World w;
        char *first;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        relay(&w, .exec = "e1", .agent = "counter");
        pass(&w, 2000);
        first = strdup(last_sent(&w, "_INBOX.caller")->body);
        relay(&w, .exec = "e1", .agent = "counter", .age_ms = 500, .attempt = 2, .reply_to = "_INBOX.again");
        pass(&w, 2000);
        assert_string_equal(last_sent(&w, "_INBOX.again")->body, first);
        assert_int_equal(count_sent(&w, REPORT, "\"attempt\":2,\"state\":\"done\""), 1);
        assert_int_equal(w.runtime->counters.memory_hits, 1);
        relay(&w, .exec = "e2", .agent = "counter", .reply_to = "_INBOX.next");
        assert_int_equal(count_sent(&w, "_INBOX.next", "\"count\":2"), 1);
        free(first);
        end_world(&w);
}

static void a_caller_that_asks_again_elsewhere_is_answered_too(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .reply_to = "_INBOX.one");
        relay(&w, .exec = "e1", .reply_to = "_INBOX.two", .report_to = "_INBOX.d2.report");
        w.plays_worker = true;
        turn(&w);
        pass(&w, 2000);
        assert_int_equal(count_sent(&w, "_INBOX.one", "SUCCESS"), 1);
        assert_int_equal(count_sent(&w, "_INBOX.two", "SUCCESS"), 1);
        assert_int_equal(count_sent(&w, REPORT, "done"), 1);
        assert_int_equal(count_sent(&w, "_INBOX.d2.report", "done"), 1);
        end_world(&w);
}

static void a_refused_attempt_is_not_taken_when_it_comes_again(void **state) {
        World w;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        say(&w, CONTROL "drain", NULL, "");
        relay(&w, .exec = "e1");
        say(&w, CONTROL "resume", NULL, "");
        relay(&w, .exec = "e1", .age_ms = 100);
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "refused RUNTIME_DRAINING");
        relay(&w, .exec = "e1", .attempt = 2);
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        end_world(&w);
}

static void a_refusal_does_not_make_a_finished_execution_forgotten(void **state) {
        World w;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        relay(&w, .exec = "e1", .agent = "counter");
        relay(&w, .exec = "e1", .agent = "counter", .epoch = EPOCH - 1); /* a straggler of an older epoch: refused */
        relay(&w, .exec = "e1", .agent = "counter", .age_ms = 100);
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"count\":1}"), 2);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"count\":2}"), 0);
        end_world(&w);
}

static void a_repeat_older_than_the_memory_is_refused(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.memory_executions = 2;
        build(&w, &options);
        w.plays_worker = true;
        link_up(&w);
        take_registration(&w, 5000);
        relay(&w, .exec = "e1");
        pass(&w, 100 * USEC_PER_MSEC);
        relay(&w, .exec = "e2");
        relay(&w, .exec = "e3"); /* e1 is forgotten */
        relay(&w, .exec = "e1", .age_ms = 150, .attempt = 1, .reply_to = "_INBOX.again");
        relay(&w, .exec = "e4", .age_ms = 50);
        pass(&w, 2000);
        assert_int_equal(count_sent(&w, "_INBOX.again", NULL), 0);
        assert_string_equal(reported(&w, "e1"), "refused RUNTIME_LOST");
        assert_string_equal(reported(&w, "e4"), "done SUCCESS"); /* the memory reaches back so far */
        end_world(&w);
}

/* registration */

static void a_runtime_registers_until_a_dispatcher_takes_it(void **state) {
        RuntimeOptions options = default_options();
        WireError error;
        Registration registration;
        Arena arena = {};
        World w;

        (void)state;

        build(&w, &options);
        turn(&w);
        assert_int_equal(runtime_next_deadline(w.runtime), USEC_NEVER);
        link_up(&w);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 1);
        assert_string_equal(last_sent(&w, REGISTERED)->reply, "_INBOX.r1.register.1000");
        assert_int_equal(
                registration_decode(slice_of(last_sent(&w, REGISTERED)->body), &registration, &arena, &error), 0);
        assert_int_equal(registration.epoch, EPOCH);
        assert_true(slice_equal(registration.labels, SLICE("{\"zone\":\"a\",\"tier\":\"2\"}")));
        arena_clear(&arena);

        pass(&w, 1300 * USEC_PER_MSEC);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 2);
        pass(&w, 60 * USEC_PER_SEC);
        assert_in_range(count_sent(&w, REGISTERED, NULL), 5, 8); /* backs off */
        take_registration(&w, 5000);
        assert_true(runtime_is_registered(w.runtime));
        forget_sent(&w);
        pass(&w, 60 * USEC_PER_SEC);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 0);
        assert_in_range(count_sent(&w, HEARTBEAT, NULL), 54, 67);
        end_world(&w);
}

static void many_agents_register_in_parts_that_fit(void **state) {
        RuntimeOptions options = default_options();
        size_t n_agents = 0, n_parts = 0;
        Arena arena = {};
        World w;

        (void)state;

        options.max_agents = 3000;
        build(&w, &options);
        for (unsigned i = 0; i < 2000; i++) {
                char definition[128];

                (void)snprintf(
                        definition, sizeof(definition), "{\"agent_id\":\"agent-%u\",\"agent_type\":\"echo\"}", i);
                create(&w, definition);
        }
        runtime_on_link_up(w.runtime, 16384, w.now);
        turn(&w);
        for (size_t i = 0; i < w.n_sent; i++) {
                Registration registration;
                WireError error;
                Slice element;
                size_t cursor = 0;

                if (strcmp(w.sent[i].subject, REGISTERED) != 0)
                        continue;
                assert_true(strlen(w.sent[i].body) <= 16384);
                assert_int_equal(registration_decode(slice_of(w.sent[i].body), &registration, &arena, &error), 0);
                assert_int_equal(registration.part_index, n_parts++);
                assert_int_equal(registration.part_count, count_sent(&w, REGISTERED, NULL));
                while (scan_next(registration.agent_definitions, &cursor, &element))
                        n_agents++;
        }
        assert_true(n_parts > 2);
        assert_int_equal(n_agents, 2003);
        arena_clear(&arena);
        end_world(&w);
}

static void a_runtime_declared_dead_takes_a_new_epoch_and_withholds_what_it_had(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1");
        relay(&w, .exec = "e2", .agent = "sleeper", .input = "{\"ms\":10}");
        refuse_registration(&w, EPOCH, "heartbeat_timeout", EPOCH);
        assert_true(runtime_epoch(w.runtime) > EPOCH);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 1);
        w.plays_worker = true;
        turn(&w);
        pass(&w, 2 * USEC_PER_SEC);
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        assert_int_equal(count_sent(&w, REPORT, "done"), 0);
        assert_int_equal(w.runtime->counters.withheld, 2);
        assert_int_equal(runtime_n_in_flight(w.runtime), 0);

        take_registration(&w, 5000);
        relay(&w, .exec = "e1", .attempt = 2);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 1);
        end_world(&w);
}

static void a_late_verdict_about_an_older_epoch_is_ignored(void **state) {
        World w;
        uint64_t epoch;

        (void)state;

        begin(&w);
        refuse_registration(&w, EPOCH, "heartbeat_timeout", EPOCH);
        epoch = runtime_epoch(w.runtime);
        refuse_registration(&w, EPOCH, "replaced", epoch + 100);
        say(&w, DEREGISTERED, NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1000},\"payload\":{\"context\":{\"reason\":"
                "\"heartbeat_timeout\"}}}");
        assert_int_equal(runtime_epoch(w.runtime), epoch);
        assert_false(runtime_was_replaced(w.runtime));
        end_world(&w);
}

static void a_new_epoch_is_higher_even_when_the_clock_was_set_back(void **state) {
        World w;
        uint64_t before;

        (void)state;

        begin(&w);
        refuse_registration(&w, EPOCH, "heartbeat_timeout", EPOCH);
        before = runtime_epoch(w.runtime);
        w.now.real_usec = 1;
        refuse_registration(&w, before, "heartbeat_timeout", before + 5);
        assert_in_range(runtime_epoch(w.runtime), before + 6, before + 5 + 1000);
        end_world(&w);
}

static void a_newcomer_goes_above_the_epoch_it_finds_and_an_old_one_leaves(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        build(&w, &options);
        link_up(&w);
        refuse_registration(&w, EPOCH, "replaced", EPOCH + 7000000000000);
        assert_in_range(runtime_epoch(w.runtime), EPOCH + 7000000000001, EPOCH + 7000000001000);
        assert_false(runtime_was_replaced(w.runtime));
        take_registration(&w, 5000);
        relay(&w, .exec = "e1");

        refuse_registration(&w, runtime_epoch(w.runtime), "replaced", runtime_epoch(w.runtime) + 1);
        assert_true(runtime_was_replaced(w.runtime));
        w.plays_worker = true;
        runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
        turn(&w);
        assert_true(runtime_is_stopped(w.runtime));
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        assert_int_equal(count_sent(&w, DEREGISTERED, NULL), 0); /* the name is the other's now */
        end_world(&w);
}

static void a_runtime_taken_out_by_hand_is_silent_until_resumed(void **state) {
        World w;

        (void)state;

        begin(&w);
        say(&w, DEREGISTERED, NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1000},\"payload\":{\"context\":{\"reason\":"
                "\"operator\",\"seen_by\":\"d1\"}}}");
        pass(&w, 30 * USEC_PER_SEC);
        assert_int_equal(count_sent(&w, HEARTBEAT, NULL) + count_sent(&w, REGISTERED, NULL), 0);
        runtime_on_link_down(w.runtime, w.now);
        pass(&w, 1 * USEC_PER_SEC);
        link_up(&w);
        say(&w, "compozy.commands.agent_runtime.announce", NULL, "");
        pass(&w, 5 * USEC_PER_SEC);
        assert_int_equal(count_sent(&w, HEARTBEAT, NULL) + count_sent(&w, REGISTERED, NULL), 0);
        say(&w, CONTROL "resume", "_INBOX.ctl", "{}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "\"ok\":true"), 1);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 1);
        assert_true(runtime_epoch(w.runtime) > EPOCH);
        end_world(&w);
}

static void a_roll_call_is_answered_within_its_spread(void **state) {
        World w;

        (void)state;

        begin(&w);
        pass(&w, USEC_PER_SEC);
        say(&w, "compozy.commands.agent_runtime.announce", NULL,
                "{\"payload\":{\"dispatcher_id\":\"d2\",\"spread_ms\":500}}");
        pass(&w, 501 * USEC_PER_MSEC);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 1);
        assert_true(runtime_is_registered(w.runtime));

        take_registration(&w, 5000);
        forget_sent(&w);
        for (int i = 0; i < 1000; i++)
                say(&w, "compozy.commands.agent_runtime.announce", NULL, "{}");
        assert_true(count_sent(&w, REGISTERED, NULL) <= 1); /* a storm of them is not amplified */
        end_world(&w);
}

static void asked_for_intervals_hold_but_never_below_the_configured_one(void **state) {
        World w;

        (void)state;

        begin(&w);
        say(&w, CONTROL "announce", "_INBOX.ctl", "{\"payload\":{\"register\":false,\"heartbeat_interval_ms\":5000}}");
        forget_sent(&w);
        pass(&w, 60 * USEC_PER_SEC);
        assert_in_range(count_sent(&w, HEARTBEAT, NULL), 10, 15);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 0);
        say(&w, CONTROL "announce", NULL, "{\"payload\":{\"register\":false,\"heartbeat_interval_ms\":10}}");
        pass(&w, 6 * USEC_PER_SEC);
        forget_sent(&w);
        pass(&w, 10 * USEC_PER_SEC);
        assert_in_range(count_sent(&w, HEARTBEAT, NULL), 8, 12);
        end_world(&w);
}

/* stalls and lost connections */

static void after_a_stall_nothing_is_taken_or_answered_until_a_dispatcher_has_spoken(void **state) {
        World w;

        (void)state;

        begin(&w);
        pass(&w, 3 * USEC_PER_SEC);
        relay(&w, .exec = "e1", .deadline_ms = 60000);
        forget_sent(&w);
        stall(&w, 20 * USEC_PER_SEC);

        relay(&w, .exec = "e2"); /* it lay in the socket all the while */
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 1);
        work(&w, 0);
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e2"), "refused RUNTIME_LOST");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);

        take_registration(&w, 5000);
        w.plays_worker = true;
        relay(&w, .exec = "e3");
        pass(&w, 2000);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 2); /* e1, held back, and e3 */
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        end_world(&w);
}

static void in_doubt_the_oldest_makes_no_room_as_it_may_not_be_answered(void **state) {
        World w;

        (void)state;

        begin(&w);
        create(&w,
                "{\"agent_id\":\"small\",\"agent_type\":\"echo\",\"mailbox_capacity\":1,\"overflow\":\"drop_oldest\"}");
        relay(&w, .exec = "e0", .agent = "small", .deadline_ms = 60000); /* with the worker */
        relay(&w, .exec = "e1", .agent = "small", .deadline_ms = 60000);
        stall(&w, 20 * USEC_PER_SEC);
        say(&w, TRIGGER, "_INBOX.hand", "{\"agent\":{\"id\":\"small\",\"exec_id\":\"e2\"}}");
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.hand")), "FAILURE MAILBOX_FULL");
        end_world(&w);
}

static void after_a_stall_with_a_verdict_the_held_answer_is_withheld(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .deadline_ms = 60000);
        stall(&w, 20 * USEC_PER_SEC);
        work(&w, 0);
        turn(&w);
        refuse_registration(&w, EPOCH, "heartbeat_timeout", EPOCH);
        take_registration(&w, 5000);
        pass(&w, USEC_PER_SEC);
        assert_int_equal(count_sent(&w, "_INBOX.caller", NULL), 0);
        assert_int_equal(w.runtime->counters.withheld, 1);
        end_world(&w);
}

static void a_pause_shorter_than_the_window_changes_nothing(void **state) {
        World w;

        (void)state;

        begin(&w);
        w.plays_worker = true;
        stall(&w, 3 * USEC_PER_SEC);
        relay(&w, .exec = "e1");
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 1);
        end_world(&w);
}

static void answers_wait_for_the_connection_and_then_go_out_once(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1");
        runtime_on_link_down(w.runtime, w.now);
        work(&w, 0);
        turn(&w);
        pass(&w, USEC_PER_SEC);
        assert_int_equal(w.n_sent, 0);
        link_up(&w);
        take_registration(&w, 5000);
        pass(&w, 2000);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 1);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        end_world(&w);
}

/* draining and stopping */

static void draining_refuses_the_new_and_works_off_the_old(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1");
        say(&w, CONTROL "drain", "_INBOX.ctl", "");
        assert_int_equal(count_sent(&w, HEARTBEAT, "\"draining\":true"), 1);
        w.plays_worker = true;
        relay(&w, .exec = "e2");
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        assert_string_equal(reported(&w, "e2"), "refused RUNTIME_DRAINING");
        say(&w, CONTROL "resume", "_INBOX.ctl", "");
        relay(&w, .exec = "e3");
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e3"), "done SUCCESS");
        end_world(&w);
}

static void a_stop_finishes_what_it_holds_and_deregisters(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .agent = "sleeper", .input = "{\"ms\":200}");
        w.plays_worker = true;
        turn(&w);
        runtime_stop(w.runtime, w.now.usec + 5 * USEC_PER_SEC, w.now);
        turn(&w);
        assert_false(runtime_is_stopped(w.runtime));
        pass(&w, 300 * USEC_PER_MSEC);
        assert_true(runtime_is_stopped(w.runtime));
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 1);
        assert_string_equal(reported(&w, "e1"), "done SUCCESS");
        assert_int_equal(count_sent(&w, DEREGISTERED, "\"shutdown\""), 1);
        end_world(&w);
}

static void at_the_stops_deadline_the_unstarted_is_handed_back_and_the_rest_answered(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "waits", .agent = "sleeper", .input = "{\"ms\":9000}", .reply_to = "_INBOX.c1");
        work(&w, 0);
        turn(&w);
        relay(&w, .exec = "out", .reply_to = "_INBOX.c2");    /* handed out, not begun */
        relay(&w, .exec = "queued", .reply_to = "_INBOX.c3"); /* behind it */
        say(&w, TRIGGER, "_INBOX.hand", "{\"agent\":{\"id\":\"greeter\"}}");
        runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
        turn(&w);
        pass(&w, 7 * USEC_PER_SEC); /* the worker does not come back: no stop hook for that one */
        assert_true(runtime_is_stopped(w.runtime));
        assert_string_equal(reported(&w, "queued"), "refused RUNTIME_DRAINING");
        assert_string_equal(reported(&w, "out"), "refused RUNTIME_DRAINING");
        assert_string_equal(reported(&w, "waits"), "done FAILURE RUNTIME_DRAINING");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.c1")), "FAILURE RUNTIME_DRAINING");
        assert_string_equal(result_text(last_sent(&w, "_INBOX.hand")), "FAILURE RUNTIME_DRAINING");
        assert_int_equal(count_sent(&w, "_INBOX.c2", NULL) + count_sent(&w, "_INBOX.c3", NULL), 0);
        assert_string_equal(w.sent[w.n_sent - 1].subject, DEREGISTERED); /* the last word */

        work(&w, 0); /* what was handed back is not run after all */
        assert_int_equal(w.runtime->counters.late, 0);
        end_world(&w);
}

/* results */

static int bad_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        *ret_state = NULL;
        if (!start->parameters.data)
                return 0;
        (void)snprintf(ret_why, why_size, "no");
        return BEHAVIOR_E_REFUSED;
}

static void bad_stop(void *state) {
        (void)state;
}

/* Says whatever its input is a string of. */
static void bad_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        (void)state;

        buffer_append(&reply->output, message->input.data + 1, message->input.size - 2);
        reply->verdict = BEHAVIOR_DONE;
}

static const Behavior behavior_bad = {
        .type = "bad", .quick = true, .init = bad_init, .stop = bad_stop, .handle = bad_handle
};
static const Behavior *const with_bad[] = { &behavior_bad, &behavior_echo, &behavior_counter, &behavior_delay, NULL };

static void output_that_is_not_ours_is_checked_before_it_goes_out(void **state) {
        static const struct {
                const char *output;
                bool ok;
        } cases[] = {
                { "7", true },
                { "null", true },
                { " [1] ", true },
                { "{'a':1}", false },
                { "1,'v':2", false },
                { "1},{", false },
                { "", false },
                { "nul", false },
        };
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.behaviors = with_bad;
        build(&w, &options);
        create(&w, "{\"agent_id\":\"bad\",\"agent_type\":\"bad\"}");
        link_up(&w);
        w.plays_worker = true;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char exec[16], input[64];

                (void)snprintf(exec, sizeof(exec), "e%zu", i);
                (void)snprintf(input, sizeof(input), "\"%s\"", cases[i].output);
                relay(&w, .exec = exec, .agent = "bad", .input = input);
                assert_string_equal(
                        result_text(last_sent(&w, "_INBOX.caller")), cases[i].ok ? "SUCCESS" : "AGENT_ERROR INTERNAL");
        }
        end_world(&w);
}

static void a_result_over_a_limit_is_an_error_that_names_size_and_limit(void **state) {
        RuntimeOptions options = default_options();
        char input[2100];
        World w;

        (void)state;

        memset(input, 'x', sizeof(input));
        input[0] = input[2001] = '"';
        input[2002] = '\0';

        options.max_result_bytes = 1000;
        build(&w, &options);
        link_up(&w);
        w.plays_worker = true;
        relay(&w, .exec = "e1", .input = input);
        assert_string_equal(result_text(last_sent(&w, "_INBOX.caller")), "AGENT_ERROR LIMIT_EXCEEDED");
        assert_non_null(
                strstr(last_sent(&w, "_INBOX.caller")->body, "2002 bytes is over limits.max_result_bytes of 1000"));
        assert_non_null(strstr(last_sent(&w, "_INBOX.caller")->headers, "Nats-Service-Error-Code: 429"));
        end_world(&w);
}

static void an_agent_whose_init_fails_leaves_nothing_behind(void **state) {
        RuntimeOptions options = default_options();
        ErrorCode code = ERROR_NONE;
        WireError error;
        World w;

        (void)state;

        options.behaviors = with_bad;
        build(&w, &options);
        assert_int_equal(
                runtime_create_agent(w.runtime,
                        SLICE("{\"agent_id\":\"bad\",\"agent_type\":\"bad\",\"parameters\":{}}"), w.now, &code, &error),
                RUNTIME_E_REFUSED);
        assert_int_equal(code, ERROR_INIT_FAILED);
        assert_int_equal(runtime_n_agents(w.runtime), 3);
        assert_int_equal(runtime_create_agent(w.runtime, SLICE("{\"agent_id\":\"greeter\",\"agent_type\":\"bad\"}"),
                                 w.now, &code, &error),
                RUNTIME_E_REFUSED);
        assert_int_equal(code, ERROR_AGENT_EXISTS);
        end_world(&w);
}

/* changing the set of agents */

static void changes_of_one_turn_are_one_update(void **state) {
        World w;

        (void)state;

        begin(&w);
        create(&w, "{\"agent_id\":\"new1\",\"agent_type\":\"echo\"}");
        create(&w, "{\"agent_id\":\"new2\",\"agent_type\":\"echo\"}");
        assert_int_equal(runtime_delete_agent(w.runtime, SLICE("greeter"), w.now), 0);
        turn(&w);
        assert_int_equal(count_sent(&w, UPDATED, NULL), 1);
        assert_non_null(strstr(last_sent(&w, UPDATED)->body, "\"base_revision\":1"));
        assert_non_null(strstr(last_sent(&w, UPDATED)->body, "\"revision\":2"));
        assert_non_null(strstr(last_sent(&w, UPDATED)->body, "\"removed\":[\"greeter\"]"));
        assert_non_null(strstr(last_sent(&w, UPDATED)->body, "new2"));
        relay(&w, .exec = "e1");
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e1"), "refused AGENT_NOT_FOUND");
        end_world(&w);
}

static void a_deleted_agent_works_off_what_it_holds_first(void **state) {
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1");
        relay(&w, .exec = "e2");
        assert_int_equal(runtime_delete_agent(w.runtime, SLICE("greeter"), w.now), 0);
        turn(&w);
        relay(&w, .exec = "e3");
        pass(&w, 2000);
        assert_string_equal(reported(&w, "e3"), "refused AGENT_STOPPED");
        assert_int_equal(runtime_n_agents(w.runtime), 3);
        w.plays_worker = true;
        turn(&w);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "SUCCESS"), 2);
        assert_int_equal(runtime_n_agents(w.runtime), 2);
        end_world(&w);
}

static void a_changed_definition_keeps_the_mailbox_and_the_state(void **state) {
        ErrorCode code;
        WireError error;
        World w;

        (void)state;

        begin(&w);
        relay(&w, .exec = "e1", .agent = "counter"); /* with the worker */
        relay(&w, .exec = "e2", .agent = "counter"); /* in the mailbox */
        assert_int_equal(
                runtime_change_agent(w.runtime,
                        SLICE("{\"agent_id\":\"counter\",\"agent_type\":\"counter\",\"parameters\":{\"start\":100}}"),
                        w.now, &code, &error),
                0);
        w.plays_worker = true;
        turn(&w);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"count\":1}"), 1);
        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"count\":2}"), 1);

        assert_int_equal(runtime_change_agent(w.runtime, SLICE("{\"agent_id\":\"counter\",\"agent_type\":\"none\"}"),
                                 w.now, &code, &error),
                RUNTIME_E_REFUSED);
        relay(&w, .exec = "e3", .agent = "counter");
        assert_int_equal(count_sent(&w, "_INBOX.caller", "\"count\":3}"), 1);
        end_world(&w);
}

static void a_reload_that_changes_the_capacity_is_announced(void **state) {
        RuntimeOptions options;
        World w;

        (void)state;

        begin(&w);
        pass(&w, USEC_PER_SEC);
        options = w.options;
        options.events = EVENTS_NONE;
        runtime_set_options(w.runtime, &options);
        turn(&w);
        assert_int_equal(count_sent(&w, REGISTERED, NULL), 0);
        options.max_in_flight = 7;
        runtime_set_options(w.runtime, &options);
        turn(&w);
        assert_int_equal(count_sent(&w, REGISTERED, "\"max_in_flight\":7"), 1);
        end_world(&w);
}

/* control */

static void control_answers_and_names_its_verbs(void **state) {
        World w;

        (void)state;

        begin(&w);
        say(&w, CONTROL "status", "_INBOX.ctl", NULL);
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "\"state\":\"registered\""), 1);
        say(&w, CONTROL "list_agents", "_INBOX.ctl", "{\"limit\":2}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "\"next\":\"greeter\""), 1);
        say(&w, CONTROL "list_agents", "_INBOX.ctl", "{\"after\":\"greeter\"}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "\"agents\":[{\"agent_id\":\"sleeper\""), 1);
        say(&w, CONTROL "get_agent", "_INBOX.ctl", "{\"agent_id\":\"counter\"}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "\"class\":\"batched\""), 1);
        say(&w, CONTROL "get_agent", "_INBOX.ctl", "{\"agent_id\":\"nobody\"}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "AGENT_NOT_FOUND"), 1);
        say(&w, CONTROL "dance", "_INBOX.ctl", "{}");
        assert_int_equal(count_sent(&w, "_INBOX.ctl", "list_agents, pause_agent, restart_agent, resume"), 1);
        end_world(&w);
}

/* A hundred thousand random things in random order; what must always hold is checked after each. */
static void nothing_that_happens_at_random_breaks_an_invariant(void **state) {
        static const char *const agents[] = { "greeter", "counter", "sleeper", "small" };
        static const char *const reasons[] = { "heartbeat_timeout", "operator", "shutdown" };

        (void)state;

        for (uint64_t seed = 1; seed <= 60; seed++) {
                RuntimeOptions options = default_options();
                uint64_t n_answers_max;
                char exec[16], input[32], reply[32];
                Rng rng;
                World w;

                rng_seed(&rng, seed);
                options.random_seed = seed;
                options.max_in_flight = 8;
                options.memory_executions = 8;
                options.memory_bytes = 4000;
                build(&w, &options);
                create(&w, "{\"agent_id\":\"small\",\"agent_type\":\"delay\",\"mailbox_capacity\":2,\"overflow\":"
                           "\"drop_oldest\",\"quantum\":2}");
                link_up(&w);

                for (int i = 0; i < 1500; i++) {
                        (void)snprintf(exec, sizeof(exec), "e%llu", (unsigned long long)rng_below(&rng, 60));
                        (void)snprintf(input, sizeof(input), "{\"ms\":%llu}", (unsigned long long)rng_below(&rng, 60));
                        (void)snprintf(reply, sizeof(reply), "_INBOX.c%llu", (unsigned long long)rng_below(&rng, 3));

                        switch (rng_below(&rng, 24)) {
                        case 0:
                                stall(&w, rng_below(&rng, 8 * USEC_PER_SEC));
                                break;
                        case 1:
                                take_registration(&w, 5000);
                                break;
                        case 2:
                                if (rng_below(&rng, 8) == 0)
                                        refuse_registration(&w, runtime_epoch(w.runtime), reasons[rng_below(&rng, 3)],
                                                runtime_epoch(w.runtime));
                                break;
                        case 3:
                                runtime_on_link_down(w.runtime, w.now);
                                turn(&w);
                                break;
                        case 4:
                        case 5:
                                if (!w.runtime->is_up)
                                        link_up(&w);
                                break;
                        case 6:
                                say(&w, rng_below(&rng, 3) ? CONTROL "resume" : CONTROL "drain", NULL, "{}");
                                break;
                        case 7:
                                say(&w, "compozy.commands.agent_runtime.announce", NULL, "{}");
                                break;
                        case 8:
                        case 9:
                        case 10:
                                pass(&w, rng_below(&rng, 30 * USEC_PER_MSEC));
                                break;
                        case 11:
                        case 12:
                        case 13:
                        case 14:
                                if (w.n_runs > 0)
                                        work(&w, rng_below(&rng, 2));
                                turn(&w);
                                break;
                        default:
                                relay(&w, .exec = exec, .agent = agents[rng_below(&rng, 4)], .input = input,
                                        .reply_to = reply, .attempt = 1 + rng_below(&rng, 3),
                                        .age_ms = rng_below(&rng, 2) ? rng_below(&rng, 100) : 0,
                                        .deadline_ms = 1 + rng_below(&rng, 200));
                        }
                        check_world(&w);
                }

                runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
                turn(&w);
                pass(&w, 7 * USEC_PER_SEC);
                assert_true(runtime_is_stopped(w.runtime));
                n_answers_max =
                        w.runtime->counters.executions[STATUS_SUCCESS] + w.runtime->counters.executions[STATUS_FAILURE];
                assert_true(n_answers_max > 0);
                end_world(&w);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reports_go_to_so_many_places_at_a_time_and_no_more),
                cmocka_unit_test(where_there_is_a_list_results_go_there_and_to_inboxes_and_nowhere_else),
                cmocka_unit_test(who_has_an_inbox_of_his_own_shares_no_answer_with_others),
                cmocka_unit_test(a_trigger_is_run_answered_and_reported_once),
                cmocka_unit_test(trace_headers_pass_through_to_results_and_events),
                cmocka_unit_test(a_trace_that_is_too_long_to_carry_is_left_out),
                cmocka_unit_test(a_running_execution_is_never_refused_for_the_number_of_those_who_ask),
                cmocka_unit_test(accepted_started_and_done_are_told_as_they_happen),
                cmocka_unit_test(a_message_that_holds_its_worker_is_reported_as_started),
                cmocka_unit_test(triggers_that_cant_be_taken_are_refused_with_the_reason),
                cmocka_unit_test(a_full_mailbox_does_what_its_policy_says),
                cmocka_unit_test(a_deadline_is_answered_by_the_runtime_exactly_once),
                cmocka_unit_test(an_outcome_that_comes_after_the_deadline_is_withheld_and_counted),
                cmocka_unit_test(forbidden_reply_subjects_get_nothing),
                cmocka_unit_test(a_trigger_by_hand_is_answered_directly),
                cmocka_unit_test(messages_that_make_no_sense_are_refused_and_change_nothing),
                cmocka_unit_test(a_repeat_of_what_is_in_progress_is_told_where_it_stands),
                cmocka_unit_test(a_finished_execution_is_answered_from_memory_and_not_run_again),
                cmocka_unit_test(a_caller_that_asks_again_elsewhere_is_answered_too),
                cmocka_unit_test(a_refused_attempt_is_not_taken_when_it_comes_again),
                cmocka_unit_test(a_refusal_does_not_make_a_finished_execution_forgotten),
                cmocka_unit_test(a_repeat_older_than_the_memory_is_refused),
                cmocka_unit_test(a_runtime_registers_until_a_dispatcher_takes_it),
                cmocka_unit_test(many_agents_register_in_parts_that_fit),
                cmocka_unit_test(a_runtime_declared_dead_takes_a_new_epoch_and_withholds_what_it_had),
                cmocka_unit_test(a_late_verdict_about_an_older_epoch_is_ignored),
                cmocka_unit_test(a_new_epoch_is_higher_even_when_the_clock_was_set_back),
                cmocka_unit_test(a_newcomer_goes_above_the_epoch_it_finds_and_an_old_one_leaves),
                cmocka_unit_test(a_runtime_taken_out_by_hand_is_silent_until_resumed),
                cmocka_unit_test(a_roll_call_is_answered_within_its_spread),
                cmocka_unit_test(asked_for_intervals_hold_but_never_below_the_configured_one),
                cmocka_unit_test(after_a_stall_nothing_is_taken_or_answered_until_a_dispatcher_has_spoken),
                cmocka_unit_test(in_doubt_the_oldest_makes_no_room_as_it_may_not_be_answered),
                cmocka_unit_test(after_a_stall_with_a_verdict_the_held_answer_is_withheld),
                cmocka_unit_test(a_pause_shorter_than_the_window_changes_nothing),
                cmocka_unit_test(answers_wait_for_the_connection_and_then_go_out_once),
                cmocka_unit_test(draining_refuses_the_new_and_works_off_the_old),
                cmocka_unit_test(a_stop_finishes_what_it_holds_and_deregisters),
                cmocka_unit_test(at_the_stops_deadline_the_unstarted_is_handed_back_and_the_rest_answered),
                cmocka_unit_test(output_that_is_not_ours_is_checked_before_it_goes_out),
                cmocka_unit_test(a_result_over_a_limit_is_an_error_that_names_size_and_limit),
                cmocka_unit_test(an_agent_whose_init_fails_leaves_nothing_behind),
                cmocka_unit_test(changes_of_one_turn_are_one_update),
                cmocka_unit_test(a_deleted_agent_works_off_what_it_holds_first),
                cmocka_unit_test(a_changed_definition_keeps_the_mailbox_and_the_state),
                cmocka_unit_test(a_reload_that_changes_the_capacity_is_announced),
                cmocka_unit_test(control_answers_and_names_its_verbs),
                cmocka_unit_test(nothing_that_happens_at_random_breaks_an_invariant),
        };

        log_open("test", LOG_TARGET_STDERR, LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
