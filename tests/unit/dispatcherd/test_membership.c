/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

#include "common/log.h"

#define REGISTERED "compozy.events.agent.definition.*.registered"
#define DEREGISTERED "compozy.events.agent.definition.*.deregistered"
#define UPDATE "compozy.events.agent_dispatcher.d1.runtime_update"
#define PROBE(id) "compozy.runtime." id ".control.status"
#define ANNOUNCE(id) "compozy.runtime." id ".control.announce"

/* coming */

static void a_registration_is_answered_and_told(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 7, .revision = 3, .agents = "a b", .reply = "asker" });
        bench_expect(b, "asker",
                "{\"ok\":true,\"result\":{\"dispatcher_id\":\"d1\",\"runtime_id\":\"r1\",\"epoch\":7,\"revision\":3,"
                "\"complete\":true,"
                "\"heartbeat_interval_ms\":1000,\"dead_after_ms\":5000}}");
        bench_expect(b, UPDATE, "\"change\":\"added\"");
        bench_expect_none(b, "compozy.>");
        assert_int_equal(dispatcher_n_agents(b->d), 2);

        bench_register(b, &(Spec){ .id = "r1", .epoch = 7, .revision = 3, .agents = "a b", .reply = "asker" });
        bench_expect(b, "asker", "\"complete\":true");
        bench_expect_none(b, UPDATE);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 7, .revision = 4, .agents = "a" });
        bench_expect(b, UPDATE, "\"change\":\"updated\"");
}

static void a_registration_in_parts_counts_when_it_is_whole(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .part = 0, .n_parts = 2, .reply = "asker" });
        bench_expect(b, "asker", "\"complete\":false");
        assert_string_equal(bench_state(b, "r1"), "joining");
        bench_expect_none(b, UPDATE);
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect_none(b, "compozy.runtime.r1.trigger");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "b", .part = 1, .n_parts = 2, .reply = "asker" });
        bench_expect(b, "asker", "\"complete\":true");
        bench_expect(b, UPDATE, "\"change\":\"added\"");
        bench_expect(b, "compozy.runtime.r1.trigger", "\"exec_id\":\"e1\"");
}

static void what_can_not_be_taken_is_refused_with_its_reason(void **state) {
        static const struct {
                const char *why, *body, *part;
        } table[] = {
                { "no JSON", "{", "INVALID_MESSAGE" },
                { "no body", "", "INVALID_MESSAGE" },
                { "no epoch", "{\"agent_runtime\":{\"runtime_id\":\"r2\"}}", "agent_runtime.epoch" },
                { "another id than the subject's", "{\"agent_runtime\":{\"runtime_id\":\"r3\",\"epoch\":1}}",
                        "the subject says \\\"r2\\\"" },
                { "agents that are none",
                        "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":1,\"agent_definitions\":[{}]}}",
                        "agent definition 0" },
                { "another type",
                        "{\"metadata\":{\"type\":\"AgentRuntimeHeartbeat\"},\"agent_runtime\":{\"runtime_id\":\"r2\","
                        "\"epoch\":1}}",
                        "INVALID_MESSAGE" },
                { "a part past the count",
                        "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":1},\"payload\":{\"part\":{\"index\":2,"
                        "\"count\":2}}}",
                        "payload.part.index" },
                { "no parts at all",
                        "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":1},\"payload\":{\"part\":{\"index\":0,"
                        "\"count\":0}}}",
                        "payload.part.index" },
                { "more parts than any registration has",
                        "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":1},\"payload\":{\"part\":{\"index\":0,"
                        "\"count\":5000}}}",
                        "payload.part.count" },
                { "one runtime too many", "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":1}}", "LIMIT_EXCEEDED" },
        };
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        options.max_runtimes = 2;
        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Out *out;

                if (i + 1 == ELEMENTSOF(table))
                        bench_runtime(b, "r3", "a");
                bench_send(b, "compozy.events.agent.definition.r2.registered", "asker", table[i].body);
                out = bench_take(b, "asker");
                if (!out || !strstr(out->body, "\"ok\":false") || !strstr(out->body, table[i].part))
                        fail_msg("%s: %s", table[i].why, out ? out->body : "no answer");
                assert_string_equal(bench_state(b, "r2"), "gone");
        }
        assert_int_equal(dispatcher_n_runtimes(b->d), 2);
}

static void an_epoch_that_is_over_is_told_so(void **state) {
        static const struct {
                const char *why, *deregistered, *part;
        } table[] = {
                { "declared dead", "\"reason\":\"heartbeat_timeout\"",
                        "{\"reason\":\"heartbeat_timeout\",\"epoch\":5}" },
                { "taken out by hand", "\"reason\":\"operator\"", "{\"reason\":\"operator\",\"epoch\":5}" },
                { "left", "\"reason\":\"shutdown\"", "{\"reason\":\"shutdown\",\"epoch\":5}" },
                { "left without a word why", "", "{\"reason\":\"shutdown\",\"epoch\":5}" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b = bench_new(&options);
                const Out *out;

                bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
                bench_pass(b, 3 * SECOND); /* long enough that we do not hear it ourselves */
                bench_sendf(b, "compozy.events.agent.definition.r1.deregistered", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":5},\"payload\":{\"context\":{%s}}}",
                        table[i].deregistered);
                bench_pass(b, SECOND);
                assert_string_equal(bench_state(b, "r1"), "gone");
                bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a", .reply = "asker" });
                out = bench_take(b, "asker");
                if (!out || !strstr(out->body, "RUNTIME_LOST") || !strstr(out->body, table[i].part))
                        fail_msg("%s: %s", table[i].why, out ? out->body : "no answer");
                bench_register(b, &(Spec){ .id = "r1", .epoch = 6, .agents = "a", .reply = "asker" });
                bench_expect(b, "asker", "\"ok\":true");
                bench_free(b);
        }
}

static void a_new_epoch_replaces_the_old_one(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
        bench_forget(b);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 6, .agents = "b" });
        bench_expect(
                b, DEREGISTERED, "\"epoch\":5},\"payload\":{\"context\":{\"reason\":\"replaced\",\"seen_by\":\"d1\"}");
        bench_expect(b, UPDATE, "\"change\":\"added\"");
        bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a", .reply = "asker" });
        bench_expect(b, "asker", "{\"reason\":\"replaced\",\"epoch\":6}");
        bench_ask(b, "get_runtime", "{\"runtime_id\":\"r1\"}", "\"agent_definitions\":[{\"agent_id\":\"b\"");
}

static void a_new_epoch_that_can_not_be_read_leaves_the_old_one_in_peace(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        uint64_t epoch = 0;

        (void)state;

        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
        bench_trigger(b, "a", "e1", "caller", "");
        bench_forget(b);
        bench_send(b, "compozy.events.agent.definition.r1.registered", "asker",
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":6,\"agent_definitions\":[{\"agent_id\":\"a\"},{"
                "\"agent_id\":7}]}}");
        bench_expect(b, "asker", "agent definition 1");
        bench_expect_none(b, ">");
        assert_string_equal(dispatcher_runtime_state(b->d, "r1", &epoch), "live");
        assert_int_equal(epoch, 5);
        assert_int_equal(dispatcher_n_in_flight(b->d), 1);
}

/* staying */

static void whoever_is_not_known_is_asked_to_announce_itself(void **state) {
        static const struct {
                const char *why;
                uint64_t epoch, revision;
                bool asked;
        } table[] = {
                { "as it registered", 5, 3, false },
                { "another revision", 5, 4, true },
                { "a newer epoch", 6, 0, true },
                { "an older epoch", 4, 3, false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b = bench_new(&options);

                bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .revision = 3, .agents = "a" });
                bench_beat(b, "r1", table[i].epoch, table[i].revision, "");
                if ((bench_take(b, ANNOUNCE("r1")) != NULL) != table[i].asked)
                        fail_msg("%s", table[i].why);
                /* Not more often than once a second. */
                bench_beat(b, "r1", table[i].epoch, table[i].revision, "");
                bench_expect_none(b, ANNOUNCE("r1"));
                bench_free(b);
        }
}

static void a_heartbeat_of_nobody_known_asks_for_a_registration(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_beat(b, "r9", 1, 0, "");
        bench_expect(b, ANNOUNCE("r9"), "\"register\":true");
}

static void a_heartbeat_that_states_no_interval_leaves_it_as_registered(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        for (unsigned i = 0; i < 20; i++) {
                bench_send(b, "compozy.events.agent.definition.r1.heartbeat", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1}}");
                bench_pass(b, SECOND);
                assert_string_equal(bench_state(b, "r1"), "live");
        }
        bench_expect_none(b, PROBE("r1"));
}

static void an_update_applies_to_the_revision_it_names(void **state) {
        static const struct {
                const char *why;
                uint64_t epoch, base, revision;
                const char *removed;
                uint64_t expected;
                bool asked;
        } table[] = {
                { "right", 1, 3, 4, "[]", 4, false },
                { "another base", 1, 2, 4, "[]", 3, true },
                { "known already", 1, 2, 3, "[]", 3, false },
                { "of another epoch", 2, 3, 4, "[]", 3, false },
                { "broken", 1, 3, 4, "[1]", 3, false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b = bench_new(&options);
                char revision[32];

                bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 3, .agents = "a" });
                bench_sendf(b, "compozy.events.agent.definition.r1.updated", NULL,
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":%" PRIu64 ",\"revision\":%" PRIu64
                        "},\"payload\":{\"base_revision\":%" PRIu64
                        ",\"added\":[{\"agent_id\":\"b\"}],\"removed\":%s}}",
                        table[i].epoch, table[i].revision, table[i].base, table[i].removed);
                if ((bench_take(b, ANNOUNCE("r1")) != NULL) != table[i].asked)
                        fail_msg("%s", table[i].why);
                (void)snprintf(revision, sizeof(revision), "\"revision\":%" PRIu64 ",", table[i].expected);
                bench_ask(b, "get_runtime", "{\"runtime_id\":\"r1\"}", revision);
                assert_int_equal(dispatcher_n_agents(b->d), table[i].expected == 4 ? 2 : 1);
                bench_free(b);
        }
}

static void an_update_past_the_limit_asks_for_a_registration(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        options.max_agents = 1;
        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .revision = 3, .agents = "a" });
        bench_send(b, "compozy.events.agent.definition.r1.updated", NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"revision\":4},\"payload\":{\"base_revision\":"
                "3,\"added\":[{\"agent_id\":\"b\"}]}}");
        bench_expect(b, ANNOUNCE("r1"), "\"register\":true");
        bench_ask(b, "get_runtime", "{\"runtime_id\":\"r1\"}", "\"revision\":3,");
}

static void a_large_fleet_is_asked_to_beat_more_rarely(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[8];

        (void)state;

        options.heartbeats_per_second_max = 2;
        b = bench_new(&options);
        for (unsigned i = 0; i < 8; i++) {
                (void)snprintf(id, sizeof(id), "r%u", i);
                bench_register(b, &(Spec){ .id = id, .epoch = 1, .agents = "a", .reply = "asker" });
        }
        assert_int_equal(bench_count(b, "asker"), 8);
        bench_register(b, &(Spec){ .id = "r0", .epoch = 1, .agents = "a", .reply = "asker" });
        bench_expect(b, "asker", "\"heartbeat_interval_ms\":6000,\"dead_after_ms\":30000");
        bench_beat(b, "r0", 1, 0, "");
        bench_expect(b, ANNOUNCE("r0"), "\"heartbeat_interval_ms\":6000,\"register\":false");
        bench_beat(b, "r0", 1, 0, "");
        bench_expect_none(b, ANNOUNCE("r0"));
        bench_send(b, "compozy.events.agent.definition.r0.heartbeat", NULL,
                "{\"agent_runtime\":{\"runtime_id\":\"r0\",\"epoch\":1},\"payload\":{\"interval_ms\":6000}}");
        bench_pass(b, 2 * SECOND);
        bench_expect_none(b, ANNOUNCE("r0"));
}

/* silence */

static void silence_makes_suspect_then_a_failed_probe_gone(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_forget(b);
        bench_pass(b, 2 * SECOND - 1);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_pass(b, 1);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_expect(b, UPDATE, "\"change\":\"suspect\"");
        bench_expect(b, PROBE("r1"), "{}");
        bench_pass(b, 3 * SECOND);
        bench_expect(b, PROBE("r1"), "{}");
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_pass(b, SECOND);
        assert_string_equal(bench_state(b, "r1"), "gone");
        bench_expect(b, DEREGISTERED, "\"reason\":\"heartbeat_timeout\",\"seen_by\":\"d1\"");
        bench_expect(b, UPDATE, "\"change\":\"removed\"");
        assert_int_equal(bench_metric(b, "compozy_dispatcher_verdicts_total"), 1);
}

static void any_sign_of_life_ends_the_doubt(void **state) {
        static const struct {
                const char *why, *subject, *body;
        } table[] = {
                { "a heartbeat", "compozy.events.agent.definition.r1.heartbeat",
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1}}" },
                { "an answered probe", INBOX ".p.r1", "{\"ok\":true,\"result\":{\"epoch\":1}}" },
                { "a report", "compozy.dispatcher.d1.report.r1",
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},\"payload\":{}}" },
                { "an update", "compozy.events.agent.definition.r1.updated",
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1,\"revision\":0},\"payload\":{\"base_"
                        "revision\":0}}" },
                { "a registration", "compozy.events.agent.definition.r1.registered",
                        "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1}}" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b = bench_new(&options);

                bench_runtime(b, "r1", "a");
                bench_pass(b, 5 * SECOND + 900 * MS);
                assert_string_equal(bench_state(b, "r1"), "suspect");
                bench_send(b, table[i].subject, NULL, table[i].body);
                if (strcmp(bench_state(b, "r1"), "live") != 0)
                        fail_msg("%s: %s", table[i].why, bench_state(b, "r1"));
                /* And a whole window begins. */
                bench_pass(b, 5 * SECOND);
                assert_string_equal(bench_state(b, "r1"), "suspect");
                bench_free(b);
        }
}

static void an_older_epoch_is_no_sign_of_life(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
        for (unsigned i = 0; i < 6; i++) {
                bench_beat(b, "r1", 4, 0, "");
                bench_report(b, "r1", 4, "", "");
                bench_pass(b, SECOND);
        }
        assert_string_equal(bench_state(b, "r1"), "gone");
        assert_true(bench_metric(b, "compozy_dispatcher_stale_reports_total") >= 6);
}

static void a_probe_that_nobody_listens_to_decides_at_once_when_the_window_is_over(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 2 * SECOND);
        bench_no_responders(b, bench_expect(b, PROBE("r1"), "{}"));
        bench_pass(b, 3 * SECOND - 1);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_pass(b, 1);
        bench_no_responders(b, bench_expect(b, PROBE("r1"), "{}"));
        bench_pass(b, 0);
        assert_string_equal(bench_state(b, "r1"), "gone");
}

/* The first probe was swallowed (a stopped process still has its subscriptions), the second one finds nobody. */
static void stopped_and_then_killed_is_gone_with_the_second_probe(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 5 * SECOND);
        bench_expect(b, PROBE("r1"), "{}");
        bench_no_responders(b, bench_expect(b, PROBE("r1"), "{}"));
        bench_pass(b, 0);
        assert_string_equal(bench_state(b, "r1"), "gone");
}

static void the_servers_word_for_an_old_probe_is_ignored(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 2 * SECOND);
        bench_beat(b, "r1", 1, 0, "");
        bench_no_responders(b, bench_expect(b, PROBE("r1"), "{}"));
        bench_pass(b, 0);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_deliver(b, INBOX ".p.r9", NULL, NULL, SLICE_NONE, true);
        bench_turn_end(b);
}

static void an_own_stall_gives_everyone_a_full_window(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_stall(b, 60 * SECOND);
        bench_pass(b, 2 * SECOND - 1);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_pass(b, 4 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_pass(b, SECOND);
        assert_string_equal(bench_state(b, "r1"), "gone");
        assert_int_equal(bench_metric(b, "compozy_dispatcher_stalls_total"), 1);
}

static void a_stall_is_one_stall_however_many_messages_wait_at_its_end(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_stall(b, 60 * SECOND);
        for (unsigned i = 0; i < 10; i++) {
                bench_stall(b, 1);
                bench_deliver(b, "compozy.events.agent.definition.r9.deregistered", NULL, NULL,
                        SLICE("{\"agent_runtime\":{\"runtime_id\":\"r9\"}}"), false);
        }
        bench_pass(b, 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_stalls_total"), 1);
}

static void a_probe_that_was_out_during_a_stall_did_not_fail(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 5 * SECOND);
        bench_stall(b, 10 * SECOND);
        bench_pass(b, 4 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_pass(b, 2 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "gone");
}

static void without_a_link_nobody_is_judged_and_with_it_everyone_has_a_full_window(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 3 * SECOND);
        dispatcher_on_link_down(b->d, b->now);
        bench_pass(b, 600 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_forget(b);
        bench_link_up(b);
        bench_expect(b, "compozy.commands.agent_runtime.announce", "\"register\":true");
        bench_pass(b, 5 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        bench_pass(b, SECOND);
        assert_string_equal(bench_state(b, "r1"), "gone");
}

static void when_our_own_echo_does_not_come_back_nobody_is_dead(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        b->deaf = true;
        bench_pass(b, 60 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
        assert_true(bench_metric(b, "compozy_dispatcher_deafnesses_total") > 0);
        b->deaf = false;
        bench_pass(b, 12 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "gone");
}

static void a_mass_silence_has_patience_and_then_one_verdict_a_second(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[8];

        (void)state;

        b = bench_new(&options);
        for (unsigned i = 0; i < 10; i++) {
                (void)snprintf(id, sizeof(id), "r%u", i);
                bench_runtime(b, id, "a");
        }
        for (unsigned second = 0; second < 29; second++) {
                bench_beat(b, "r0", 1, 0, "");
                bench_pass(b, SECOND);
        }
        assert_int_equal(dispatcher_n_runtimes(b->d), 10);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_mass_silences_total"), 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_mass_silence"), 1);
        assert_true(bench_count(b, "compozy.runtime.*.control.status") >= 9 * 5);
        for (size_t n = 10; n > 5;) {
                size_t before = n;

                bench_beat(b, "r0", 1, 0, "");
                bench_pass(b, SECOND);
                n = dispatcher_n_runtimes(b->d);
                assert_true(before - n <= 1);
                bench_forget(b);
        }
        assert_string_equal(bench_state(b, "r0"), "live");
        /* A third or less is left silent: the rest follows as usual. */
        for (unsigned second = 0; second < 10; second++) {
                bench_beat(b, "r0", 1, 0, "");
                bench_pass(b, SECOND);
                bench_forget(b);
        }
        assert_int_equal(dispatcher_n_runtimes(b->d), 1);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_mass_silence"), 0);
}

static void a_mass_silence_that_ends_costs_nobody_anything(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char id[8];

        (void)state;

        b = bench_new(&options);
        for (unsigned i = 0; i < 10; i++) {
                (void)snprintf(id, sizeof(id), "r%u", i);
                bench_runtime(b, id, "a");
        }
        bench_pass(b, 25 * SECOND);
        assert_int_equal(dispatcher_n_runtimes_live(b->d), 0);
        for (unsigned i = 0; i < 10; i++) {
                (void)snprintf(id, sizeof(id), "r%u", i);
                bench_beat(b, id, 1, 0, "");
        }
        assert_int_equal(dispatcher_n_runtimes_live(b->d), 10);
        assert_int_equal(bench_metric(b, "compozy_dispatcher_mass_silence"), 0);
}

/* leaving */

static void another_dispatchers_verdict_counts_only_where_nothing_is_heard(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        static const char *const verdict =
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":1},"
                "\"payload\":{\"context\":{\"reason\":\"heartbeat_timeout\",\"seen_by\":\"d2\"}}}";

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_live(b, "r1", 2);
        bench_forget(b);
        bench_send(b, "compozy.events.agent.definition.r1.deregistered", NULL, verdict);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_expect(b, PROBE("r1"), "{}");
        bench_pass(b, 2 * SECOND);
        bench_send(b, "compozy.events.agent.definition.r1.deregistered", NULL, verdict);
        assert_string_equal(bench_state(b, "r1"), "gone");
        bench_expect_none(b, DEREGISTERED);
}

static void a_deregistration_is_about_its_epoch(void **state) {
        static const struct {
                const char *why, *runtime, *context;
                const char *state;
        } table[] = {
                { "its shutdown", "\"runtime_id\":\"r1\",\"epoch\":5", "\"reason\":\"shutdown\"", "gone" },
                { "without an epoch: the current one", "\"runtime_id\":\"r1\"", "\"reason\":\"shutdown\"", "gone" },
                { "by an operator at another dispatcher", "\"runtime_id\":\"r1\",\"epoch\":5",
                        "\"reason\":\"operator\",\"seen_by\":\"d2\"", "gone" },
                { "of an older epoch", "\"runtime_id\":\"r1\",\"epoch\":4", "\"reason\":\"shutdown\"", "live" },
                { "our own word", "\"runtime_id\":\"r1\",\"epoch\":5", "\"reason\":\"operator\",\"seen_by\":\"d1\"",
                        "live" },
                { "replaced: its own registration tells", "\"runtime_id\":\"r1\",\"epoch\":5",
                        "\"reason\":\"replaced\",\"seen_by\":\"d2\"", "live" },
                { "of another runtime", "\"runtime_id\":\"r2\",\"epoch\":5", "\"reason\":\"shutdown\"", "live" },
                { "for a reason that is none", "\"runtime_id\":\"r1\",\"epoch\":5", "\"reason\":\"boredom\"", "live" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherOptions options = bench_options();
                Bench *b = bench_new(&options);

                bench_register(b, &(Spec){ .id = "r1", .epoch = 5, .agents = "a" });
                bench_sendf(b, "compozy.events.agent.definition.r1.deregistered", NULL,
                        "{\"agent_runtime\":{%s},\"payload\":{\"context\":{%s}}}", table[i].runtime, table[i].context);
                bench_pass(b, SECOND);
                if (strcmp(bench_state(b, "r1"), table[i].state) != 0)
                        fail_msg("%s: %s", table[i].why, bench_state(b, "r1"));
                bench_free(b);
        }
}

/* draining */

static void a_draining_runtime_gets_no_work_until_it_resumes(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        assert_string_equal(bench_state(b, "r1"), "draining");
        bench_trigger(b, "a", "e1", "caller", "");
        bench_expect_none(b, "compozy.runtime.r1.trigger");
        bench_beat(b, "r1", 1, 0, "");
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_expect(b, "compozy.runtime.r1.trigger", "e1");
        bench_register(b, &(Spec){ .id = "r2", .epoch = 1, .agents = "b", .draining = true });
        assert_string_equal(bench_state(b, "r2"), "draining");
}

static void an_operators_drain_is_repeated_until_it_is_heeded(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_ask(b, "drain_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"draining\"");
        bench_expect(b, "compozy.runtime.r1.control.drain", "{}");
        bench_beat(b, "r1", 1, 0, "");
        bench_expect(b, "compozy.runtime.r1.control.drain", "{}");
        assert_string_equal(bench_state(b, "r1"), "draining");
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        bench_expect_none(b, "compozy.runtime.r1.control.drain");
        /* once more, and then somebody lets it through another dispatcher before it has said anything else */
        bench_ask(b, "drain_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"draining\"");
        bench_expect(b, "compozy.runtime.r1.control.drain", "{}");
        bench_beat(b, "r1", 1, 0, "");
        bench_expect_none(b, "compozy.runtime.r1.control.drain");
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_ask(b, "drain_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"draining\"");
        bench_expect(b, "compozy.runtime.r1.control.drain", "{}");
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        /* Another dispatcher was told to resume it. */
        bench_beat(b, "r1", 1, 0, "");
        bench_expect_none(b, "compozy.runtime.r1.control.drain");
        assert_string_equal(bench_state(b, "r1"), "live");
}

static void a_resumed_runtime_that_is_silent_is_suspect(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_beat(b, "r1", 1, 0, ",\"draining\":true");
        bench_pass(b, 3 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "draining");
        bench_ask(b, "resume_runtime", "{\"runtime_id\":\"r1\"}", "\"state\":\"suspect\"");
        bench_expect(b, "compozy.runtime.r1.control.resume", "{}");
}

/* the dispatcher's own coming */

static void a_dispatcher_that_comes_up_calls_the_roll_and_settles_when_it_is_answered(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        assert_false(dispatcher_is_settled(b->d));
        assert_int_equal(bench_count(b, "compozy.commands.agent_runtime.announce"), 1);
        bench_pass(b, 40 * MS);
        bench_runtime(b, "r1", "a");
        bench_pass(b, 10 * MS);
        assert_false(dispatcher_is_settled(b->d));
        bench_pass(b, 25 * MS);
        assert_true(dispatcher_is_settled(b->d));
}

static void a_roll_call_that_never_ends_is_settled_all_the_same(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        dispatcher_on_link_down(b->d, b->now);
        bench_link_up(b);
        for (unsigned i = 0; i < 74; i++) {
                bench_runtime(b, "r1", "a");
                bench_pass(b, 10 * MS);
                assert_false(dispatcher_is_settled(b->d));
        }
        bench_pass(b, 10 * MS);
        assert_true(dispatcher_is_settled(b->d));
}

static void broken_messages_change_nothing_and_are_counted(void **state) {
        static const char *const subjects[] = { "registered", "updated", "heartbeat", "deregistered" };
        static const char *const bodies[] = { "", "{", "[]", "{}", "{\"agent_runtime\":1}",
                "{\"agent_runtime\":{\"runtime_id\":\"r2\",\"epoch\":\"1\"}}",
                "{\"agent_runtime\":{\"runtime_id\":\"r\\u0000\",\"epoch\":1}}", "\xff\xfe" };
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();
        char subject[128], *big;

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        for (size_t i = 0; i < ELEMENTSOF(subjects); i++) {
                (void)snprintf(subject, sizeof(subject), "compozy.events.agent.definition.r2.%s", subjects[i]);
                for (size_t k = 0; k < ELEMENTSOF(bodies); k++) {
                        uint64_t before = bench_metric(b, "compozy_dispatcher_invalid_messages_total");

                        bench_send(b, subject, NULL, bodies[k]);
                        assert_int_equal(bench_metric(b, "compozy_dispatcher_invalid_messages_total"), before + 1);
                }
                big = calloc(1, b->options.max_message_bytes + 1);
                memset(big, ' ', b->options.max_message_bytes + 1);
                bench_send_slice(b, subject, "asker", (Slice){ big, b->options.max_message_bytes + 1 });
                bench_expect(b, "asker", "limits.max_message_bytes");
                free(big);
        }
        bench_send(b, "compozy.events.agent.definition.no.such.registered", NULL, "{}");
        bench_send(b, "compozy.events.agent.definition.r1.unheard_of", NULL, "{}");
        bench_send(b, "elsewhere", NULL, "{}");
        bench_send(b, INBOX, NULL, "{}");
        bench_send(b, INBOX ".x", NULL, "{}");
        bench_send(b, INBOX ".r.", NULL, "{}");
        bench_deliver(b, INBOX ".r.", NULL, NULL, SLICE_NONE, true);
        bench_deliver(b, INBOX ".r.r1", NULL, NULL, SLICE_NONE, true);
        bench_deliver(b, INBOX ".r.r1.e1", NULL, NULL, SLICE_NONE, true);
        bench_deliver(b, INBOX ".r.r1.e1.99999999999999999999999", NULL, NULL, SLICE_NONE, true);
        bench_send(b, INBOX ".c.", NULL, "{}");
        bench_send(b, INBOX ".c.r1", NULL, "{}");
        bench_send(b, INBOX ".c.r1.", NULL, "{}");
        assert_int_equal(dispatcher_n_runtimes(b->d), 1);
        assert_string_equal(bench_state(b, "r1"), "live");
}

static void an_answer_is_not_sent_where_it_would_be_a_command(void **state) {
        static const char *const replies[] = { "compozy.commands.agent.w.trigger.a", "compozy.runtime.r1.control.drain",
                "$JS.API.STREAM.DELETE.X", "a.*" };
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_forget(b);
        for (size_t i = 0; i < ELEMENTSOF(replies); i++) {
                bench_register(b, &(Spec){ .id = "r1", .epoch = 1, .agents = "a", .reply = replies[i] });
                bench_register(b, &(Spec){ .id = "r1", .epoch = 0, .agents = "a", .reply = replies[i] });
                bench_send(b, "compozy.commands.agent_dispatcher.status", replies[i], "");
                bench_send(b, "compozy.commands.agent_dispatcher.nonsense", replies[i], "");
                bench_send(b, "compozy.commands.agent_dispatcher.status", replies[i], "{");
                bench_send(b, "compozy.commands.agent.w.trigger.a b", replies[i], "{");
                bench_expect_none(b, ">");
        }
}

/* a reload */

static void a_lowered_limit_is_for_newcomers(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        bench_runtime(b, "r2", "a");
        b->options.max_runtimes = 1;
        dispatcher_set_options(b->d, &b->options);
        bench_check(b);
        bench_register(b, &(Spec){ .id = "r3", .epoch = 1, .reply = "asker" });
        bench_expect(b, "asker", "LIMIT_EXCEEDED");
        bench_runtime(b, "r2", "a");
}

static void reloaded_windows_count_from_now_on(void **state) {
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        b = bench_new(&options);
        bench_runtime(b, "r1", "a");
        b->options.suspect_after = 4;
        dispatcher_set_options(b->d, &b->options);
        bench_pass(b, 3 * SECOND);
        assert_string_equal(bench_state(b, "r1"), "live");
        bench_pass(b, SECOND);
        assert_string_equal(bench_state(b, "r1"), "suspect");
}

/* Milliseconds are not fine enough to tell two machines apart. */
static void a_namesake_of_the_same_epoch_is_told_that_the_other_was_first(void **state) {
        static const char registration[] =
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":7,\"hostname\":\"%s\",\"pid\":%d}}";
        static const char subject[] = "compozy.events.agent.definition.r1.registered";
        DispatcherOptions options = bench_options();
        _cleanup_(bench_freep) Bench *b = bench_new(&options);

        (void)state;

        bench_sendf(b, subject, "asker", registration, "one", 11);
        bench_expect(b, "asker", "\"ok\":true");
        bench_sendf(b, subject, "asker", registration, "one", 12);
        bench_expect(b, "asker", "{\"reason\":\"replaced\",\"epoch\":7}");
        bench_sendf(b, subject, "asker", registration, "two", 11);
        bench_expect(b, "asker", "{\"reason\":\"replaced\",\"epoch\":7}");
        bench_sendf(b, subject, "asker", registration, "one", 11);
        bench_expect(b, "asker", "\"ok\":true");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_registration_is_answered_and_told),
                cmocka_unit_test(a_registration_in_parts_counts_when_it_is_whole),
                cmocka_unit_test(what_can_not_be_taken_is_refused_with_its_reason),
                cmocka_unit_test(an_epoch_that_is_over_is_told_so),
                cmocka_unit_test(a_new_epoch_replaces_the_old_one),
                cmocka_unit_test(a_namesake_of_the_same_epoch_is_told_that_the_other_was_first),
                cmocka_unit_test(a_new_epoch_that_can_not_be_read_leaves_the_old_one_in_peace),
                cmocka_unit_test(whoever_is_not_known_is_asked_to_announce_itself),
                cmocka_unit_test(a_heartbeat_of_nobody_known_asks_for_a_registration),
                cmocka_unit_test(a_heartbeat_that_states_no_interval_leaves_it_as_registered),
                cmocka_unit_test(an_update_applies_to_the_revision_it_names),
                cmocka_unit_test(an_update_past_the_limit_asks_for_a_registration),
                cmocka_unit_test(a_large_fleet_is_asked_to_beat_more_rarely),
                cmocka_unit_test(silence_makes_suspect_then_a_failed_probe_gone),
                cmocka_unit_test(any_sign_of_life_ends_the_doubt),
                cmocka_unit_test(an_older_epoch_is_no_sign_of_life),
                cmocka_unit_test(a_probe_that_nobody_listens_to_decides_at_once_when_the_window_is_over),
                cmocka_unit_test(stopped_and_then_killed_is_gone_with_the_second_probe),
                cmocka_unit_test(the_servers_word_for_an_old_probe_is_ignored),
                cmocka_unit_test(an_own_stall_gives_everyone_a_full_window),
                cmocka_unit_test(a_stall_is_one_stall_however_many_messages_wait_at_its_end),
                cmocka_unit_test(a_probe_that_was_out_during_a_stall_did_not_fail),
                cmocka_unit_test(without_a_link_nobody_is_judged_and_with_it_everyone_has_a_full_window),
                cmocka_unit_test(when_our_own_echo_does_not_come_back_nobody_is_dead),
                cmocka_unit_test(a_mass_silence_has_patience_and_then_one_verdict_a_second),
                cmocka_unit_test(a_mass_silence_that_ends_costs_nobody_anything),
                cmocka_unit_test(another_dispatchers_verdict_counts_only_where_nothing_is_heard),
                cmocka_unit_test(a_deregistration_is_about_its_epoch),
                cmocka_unit_test(a_draining_runtime_gets_no_work_until_it_resumes),
                cmocka_unit_test(an_operators_drain_is_repeated_until_it_is_heeded),
                cmocka_unit_test(a_resumed_runtime_that_is_silent_is_suspect),
                cmocka_unit_test(a_dispatcher_that_comes_up_calls_the_roll_and_settles_when_it_is_answered),
                cmocka_unit_test(a_roll_call_that_never_ends_is_settled_all_the_same),
                cmocka_unit_test(broken_messages_change_nothing_and_are_counted),
                cmocka_unit_test(an_answer_is_not_sent_where_it_would_be_a_command),
                cmocka_unit_test(a_lowered_limit_is_for_newcomers),
                cmocka_unit_test(reloaded_windows_count_from_now_on),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
