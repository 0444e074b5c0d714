/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/world.h"

/* The three ways in which a behaviour is called. */
static const char *const types[] = { "quick", "slow", "remote" };

#define FOR_EACH_TYPE(type) for (size_t type = 0; type < ELEMENTSOF(types); type++)

static size_t place_of(const World *world, const char *subject, const char *needle) {
        for (size_t i = 0; i < world->n_sent; i++)
                if (strstr(world->sent[i].subject, subject) && strstr(world->sent[i].body, needle))
                        return i;
        fail_msg("nothing with %s was sent to %s", needle, subject);
        return 0;
}

/* creating */

static void a_create_is_answered_when_init_has_succeeded_and_not_before(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                const bool is_quick = type == 0;
                size_t created;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                created = ask_to_create(&w, types[type], ",\"subscribed_topics\":[\"news\"]");
                assert_string_equal(answered(&w, created), is_quick ? "ok" : "");
                assert_string_equal(state_of(&w, "a"), is_quick ? "running" : "starting");
                assert_int_equal(is_subscribed(&w, "news"), is_quick);
                assert_int_equal(is_subscribed(&w, "agent.a.replies"), is_quick);
                assert_int_equal(count_sent(&w, UPDATED, NULL), is_quick);

                play_once(&w);
                assert_string_equal(answered(&w, created), "ok");
                assert_true(is_subscribed(&w, "news") && is_subscribed(&w, "agent.a.replies"));
                assert_true(place_of(&w, UPDATED, "\"a\"") < place_of(&w, "_INBOX.ctl.1", "running"));
                end_world(&w);
                assert_int_equal(script.n_alive, 0);
        }
}

static void an_agent_whose_init_fails_leaves_nothing_behind(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t created;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                script.init_result = BEHAVIOR_E_REFUSED;
                created = ask_to_create(&w, types[type], ",\"subscribed_topics\":[\"news\"]");
                play_once(&w);
                assert_string_equal(answered(&w, created), "INIT_FAILED");
                assert_non_null(strstr(answer_text(&w, created), "the script says no"));
                assert_string_equal(state_of(&w, "a"), "none");
                assert_false(is_subscribed(&w, "news") || is_subscribed(&w, "agent.a.replies"));
                assert_int_equal(count_sent(&w, UPDATED, NULL), 0);
                assert_int_equal(w.n_records, 0);

                script.init_result = 0;
                created = ask_to_create(&w, types[type], "");
                play_once(&w);
                assert_string_equal(answered(&w, created), "ok");
                end_world(&w);
        }
}

static void a_second_create_is_refused_while_the_first_is_starting_and_takes_no_mail_from_it(void **state) {
        size_t first, second;
        World w;

        (void)state;

        FOR_EACH_TYPE(type) {
                begin_scripted(&w, /* has_store= */ true);
                first = ask_to_create(&w, types[type], "");
                trigger(&w, "e1", "x");
                second = ask_to_create(&w, "quick", "");
                assert_string_equal(answered(&w, second), "AGENT_EXISTS");
                play_once(&w);
                assert_string_equal(answered(&w, first), "ok");
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                second = ask_to_create(&w, types[type], "");
                assert_string_equal(answered(&w, second), "AGENT_EXISTS");
                end_world(&w);
        }
}

static void a_thousand_creates_of_one_turn_are_one_update(void **state) {
        RuntimeOptions options = default_options();
        World w;

        (void)state;

        options.max_agents = 2000;
        options.max_message_bytes = 1 << 20;
        begin_with(&w, &options);
        for (unsigned i = 0; i < 1000; i++) {
                char text[64];

                (void)snprintf(text, sizeof(text), "{\"agent_id\":\"many-%u\",\"agent_type\":\"quick\"}", i);
                create(&w, text);
        }
        turn(&w);
        assert_int_equal(count_sent(&w, UPDATED, NULL), 1);
        end_world(&w);
}

/* every verb in every state */

static const char *const matrix_states[] = { "starting", "running", "paused", "stopping", "stopped", "failed" };

static void reach(World *world, const char *type, const char *state) {
        char text[128];

        (void)snprintf(text, sizeof(text), "{\"agent_id\":\"a\",\"agent_type\":\"%s\"}", type);
        if (strcmp(state, "failed") == 0)
                script.init_result = BEHAVIOR_E_REFUSED;
        create(world, text);
        turn(world);
        if (strcmp(state, "starting") != 0)
                play_once(world);
        script.init_result = 0;
        if (strcmp(state, "paused") == 0)
                (void)ask_about(world, "pause_agent", "a");
        if (strcmp(state, "stopping") == 0 || strcmp(state, "stopped") == 0)
                (void)ask_about(world, "stop_agent", "a");
        if (strcmp(state, "stopped") == 0)
                play_once(world);
        assert_string_equal(state_of(world, "a"), state);
}

static void every_verb_is_answered_in_every_state_and_a_refusal_names_both(void **state) {
        static const struct {
                const char *verb, *wanted;
                bool is_allowed[ELEMENTSOF(matrix_states)];
        } rows[] = {
                /*                               starting running paused stopping stopped failed */
                { "start_agent", "starting", { false, false, false, false, true, true } },
                { "restart_agent", "starting", { true, true, true, false, false, true } },
                { "stop_agent", "stopped", { true, true, true, false, false, false } },
                { "pause_agent", "paused", { false, true, false, false, false, false } },
                { "resume_agent", "running", { false, false, true, false, false, false } },
                { "checkpoint_agent", "checkpointed", { false, true, true, false, false, false } },
                { "delete_agent", "none", { true, true, true, true, true, true } },
                { "get_agent", "", { true, true, true, true, true, true } },
                { "get_agent_subscriptions", "", { true, true, true, true, true, true } },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t s = 0; s < ELEMENTSOF(matrix_states); s++)
                        for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                                size_t asked;
                                World w;

                                begin_scripted(&w, /* has_store= */ true);
                                reach(&w, types[type], matrix_states[s]);
                                asked = ask_about(&w, rows[i].verb, "a");
                                if (!rows[i].is_allowed[s]) {
                                        assert_string_equal(answered(&w, asked), "INVALID_TRANSITION");
                                        assert_non_null(strstr(answer_text(&w, asked), matrix_states[s]));
                                        assert_non_null(strstr(answer_text(&w, asked), rows[i].wanted));
                                }
                                play_once(&w);
                                if (rows[i].is_allowed[s])
                                        assert_string_equal(answered(&w, asked), "ok");
                                end_world(&w);
                        }
}

static void a_quick_agent_answers_every_verb_at_once(void **state) {
        static const struct {
                const char *verb, *answer, *state;
        } steps[] = {
                { "start_agent", "INVALID_TRANSITION", "running" },
                { "resume_agent", "INVALID_TRANSITION", "running" },
                { "pause_agent", "ok", "paused" },
                { "pause_agent", "INVALID_TRANSITION", "paused" },
                { "checkpoint_agent", "ok", "paused" },
                { "restart_agent", "ok", "paused" },
                { "resume_agent", "ok", "running" },
                { "restart_agent", "ok", "running" },
                { "stop_agent", "ok", "stopped" },
                { "restart_agent", "INVALID_TRANSITION", "stopped" },
                { "stop_agent", "INVALID_TRANSITION", "stopped" },
                { "checkpoint_agent", "INVALID_TRANSITION", "stopped" },
                { "start_agent", "ok", "running" },
                { "delete_agent", "ok", "none" },
                { "delete_agent", "AGENT_NOT_FOUND", "none" },
                { "start_agent", "AGENT_NOT_FOUND", "none" },
        };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "quick", "");
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                size_t asked = ask_about(&w, steps[i].verb, "a");

                assert_string_equal(answered(&w, asked), steps[i].answer);
                assert_string_equal(state_of(&w, "a"), steps[i].state);
        }
        end_world(&w);
}

/* pausing */

static void a_paused_agent_keeps_its_mail_and_handles_it_in_order_when_resumed(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t paused;
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, types[type], "");
                trigger(&w, "e1", "1");
                trigger(&w, "e2", "2");
                paused = ask_about(&w, "pause_agent", "a");
                trigger(&w, "e3", "3");
                assert_string_equal(answered(&w, paused), ""); /* one is with the worker */
                play_once(&w);
                assert_string_equal(answered(&w, paused), "ok");
                assert_string_equal(result_of(&w, "e3"), "");
                assert_int_equal(ask_about(&w, "resume_agent", "a"), paused + 1);
                play_once(&w);
                assert_string_equal(script.handled, "\"1\";\"2\";\"3\";");
                end_world(&w);
        }
}

static void a_pause_that_is_overtaken_is_answered_all_the_same(void **state) {
        static const struct {
                const char *verb, *answer;
        } cases[] = {
                { "resume_agent", "INVALID_TRANSITION" },
                { "stop_agent", "AGENT_STOPPED" },
                { "delete_agent", "AGENT_STOPPED" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t paused;
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, "slow", "");
                trigger(&w, "e1", "1");
                paused = ask_about(&w, "pause_agent", "a");
                assert_string_equal(answered(&w, paused), "");
                (void)ask_about(&w, cases[i].verb, "a");
                play_once(&w);
                assert_string_equal(answered(&w, paused), cases[i].answer);
                end_world(&w);
        }
}

/* stopping and deleting */

static void a_delete_answers_for_all_that_the_agent_held_and_runs_the_stop_hook(void **state) {
        (void)state;

        FOR_EACH_TYPE(type)
        for (int discards = 0; discards < 2; discards++) {
                size_t deleted;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], ",\"subscribed_topics\":[\"news\"],\"mailbox_capacity\":100");
                trigger(&w, "e1", "1");
                trigger(&w, "e2", "2");
                publish_with(&w, "news", "_INBOX.asker", NULL, "3");
                deleted = ask(&w, "delete_agent",
                        discards ? "{\"agent_id\":\"a\",\"mode\":\"discard\"}" : "{\"agent_id\":\"a\"}");
                assert_string_equal(answered(&w, deleted), "");
                trigger(&w, "e4", "4");
                assert_string_equal(reported(&w, "e4"), "refused AGENT_STOPPED");
                play_once(&w);
                assert_string_equal(answered(&w, deleted), "ok");
                assert_string_equal(state_of(&w, "a"), "none");
                assert_string_equal(result_of(&w, "e2"), discards ? "FAILURE AGENT_STOPPED" : "SUCCESS");
                assert_int_equal(count_sent(&w, "_INBOX.asker", discards ? "AGENT_STOPPED" : "3"), 1);
                assert_int_equal(script.n_stops, 1);
                assert_false(is_subscribed(&w, "news") || is_subscribed(&w, "agent.a.replies"));
                assert_true(place_of(&w, UPDATED, "\"removed\":[\"a\"]") < place_of(&w, "_INBOX.ctl.2", "\"ok\":true"));
                assert_int_equal(w.n_records, 0);
                end_world(&w);
        }
}

static void unsubscriptions_leave_before_the_answer_to_a_delete(void **state) {
        InMessage message = { .subject = SLICE(CONTROL "delete_agent"),
                .reply = SLICE("_INBOX.ctl.9"),
                .body = SLICE("{\"agent_id\":\"a\"}") };
        size_t n_ended = 0;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", ",\"subscribed_topics\":[\"news\"]");
        runtime_on_message(w.runtime, &message, w.now);
        runtime_on_turn_end(w.runtime, w.now);
        for (size_t i = 0; i < outbox_size(&w.outbox); i++) {
                OutMessage out = outbox_get(&w.outbox, i);

                n_ended += out.kind == OUT_UNSUBSCRIBE;
                if (slice_equal(out.subject, SLICE("_INBOX.ctl.9")))
                        assert_int_equal(n_ended, 2);
        }
        assert_int_equal(n_ended, 2);
        collect(&w);
        end_world(&w);
}

static void a_stop_while_starting_is_answered_and_so_is_whoever_waits_for_the_start(void **state) {
        (void)state;

        for (size_t type = 1; type < ELEMENTSOF(types); type++)
                for (int fails = 0; fails < 2; fails++)
                        for (int deletes = 0; deletes < 2; deletes++) {
                                size_t created, stopped;
                                World w;

                                begin_scripted(&w, /* has_store= */ true);
                                script.init_result = fails ? BEHAVIOR_E_REFUSED : 0;
                                created = ask_to_create(&w, types[type], "");
                                trigger(&w, "e1", "1");
                                stopped = ask_about(&w, deletes ? "delete_agent" : "stop_agent", "a");
                                assert_string_equal(state_of(&w, "a"), "stopping");
                                play_once(&w);
                                assert_string_equal(answered(&w, created), "AGENT_STOPPED");
                                assert_string_equal(answered(&w, stopped), "ok");
                                assert_string_equal(result_of(&w, "e1"), fails ? "FAILURE AGENT_STOPPED" : "SUCCESS");
                                assert_int_equal(script.n_alive, 0);
                                assert_string_equal(state_of(&w, "a"), deletes ? "none" : "stopped");
                                end_world(&w);
                        }
}

static void a_stopped_agent_keeps_its_subscriptions_and_gets_nothing_of_them(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, types[type], ",\"subscribed_topics\":[\"news\"]");
                (void)ask(&w, "subscribe_agent", "{\"agent_id\":\"a\",\"topic\":\"more\"}");
                (void)ask_about(&w, "stop_agent", "a");
                play_once(&w);
                assert_false(is_subscribed(&w, "news") || is_subscribed(&w, "more"));
                assert_true(is_subscribed(&w, "agent.a.replies"));
                publish_with(&w, "agent.a.replies", "_INBOX.asker", NULL, "x");
                assert_int_equal(count_sent(&w, "_INBOX.asker", "AGENT_STOPPED"), 1);

                (void)ask_about(&w, "start_agent", "a");
                play_once(&w);
                assert_true(is_subscribed(&w, "news") && is_subscribed(&w, "more"));
                publish(&w, "more", "m");
                play_once(&w);
                assert_string_equal(script.handled, "m;");
                end_world(&w);
        }
}

/* One that never ran was suspended with nothing to suspend. */
static void an_agent_that_failed_at_first_gets_its_topics_when_it_is_started(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        script.init_result = BEHAVIOR_E_REFUSED;
        create(&w, "{\"agent_id\":\"a\",\"agent_type\":\"slow\",\"subscribed_topics\":[\"news\"]}");
        play_once(&w);
        assert_string_equal(state_of(&w, "a"), "failed");
        assert_int_equal(count_sent(&w, UPDATED, "\"failed\""), 1);
        script.init_result = 0;
        (void)ask_about(&w, "start_agent", "a");
        play_once(&w);
        assert_true(is_subscribed(&w, "news"));
        publish(&w, "news", "n");
        play_once(&w);
        assert_string_equal(script.handled, "n;");
        end_world(&w);
}

static void dispatchers_hear_of_the_end_of_an_agent_that_never_ran(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        script.init_result = BEHAVIOR_E_REFUSED;
        create(&w, "{\"agent_id\":\"a\",\"agent_type\":\"slow\"}");
        play_once(&w);
        assert_int_equal(count_sent(&w, UPDATED, "\"failed\""), 1);
        (void)ask_about(&w, "delete_agent", "a");
        assert_int_equal(count_sent(&w, UPDATED, "\"removed\":[\"a\"]"), 1);
        end_world(&w);
}

/* replacing */

static void a_new_definition_takes_over_state_mail_and_what_is_paused(void **state) {
        (void)state;

        FOR_EACH_TYPE(type)
        for (int is_paused = 0; is_paused < 2; is_paused++) {
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, types[type], ",\"subscribed_topics\":[\"old\",\"both\"]");
                trigger(&w, "e1", "1");
                if (is_paused)
                        (void)ask_about(&w, "pause_agent", "a");
                trigger(&w, "e2", "2");
                change_to(&w, types[type], ",\"subscribed_topics\":[\"both\",\"new\"]");
                play_once(&w);
                assert_string_equal(state_of(&w, "a"), is_paused ? "paused" : "running");
                assert_true(is_subscribed(&w, "new") && is_subscribed(&w, "both"));
                assert_false(is_subscribed(&w, "old"));
                assert_string_equal(script.state, "1");
                if (is_paused)
                        (void)ask_about(&w, "resume_agent", "a");
                play_once(&w);
                assert_string_equal(script.handled, "\"1\";\"2\";");
                assert_int_equal(script.n_alive, 1);
                end_world(&w);
        }
}

static void a_new_definition_that_fails_gives_way_to_the_old_one_with_its_state(void **state) {
        (void)state;

        FOR_EACH_TYPE(type)
        for (int has_store = 0; has_store < 2; has_store++) {
                World w;

                begin_scripted(&w, has_store);
                make(&w, types[type], ",\"subscribed_topics\":[\"old\"]");
                trigger(&w, "e1", "1");
                play_once(&w);
                change_to(&w, types[type], ",\"subscribed_topics\":[\"new\"],\"parameters\":{\"say\":\"refuse\"}");
                play_once(&w);
                assert_string_equal(state_of(&w, "a"), "running");
                assert_true(is_subscribed(&w, "old"));
                assert_false(is_subscribed(&w, "new"));
                assert_string_equal(script.state, "1");
                trigger(&w, "e2", "2");
                play_once(&w);
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                end_world(&w);
        }
}

/* From workers to a host of child processes and back, with mail that waits. */
static void a_new_definition_of_another_kind_gets_the_mail_that_waits(void **state) {
        (void)state;

        FOR_EACH_TYPE(from) FOR_EACH_TYPE(to) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[from], "");
                (void)ask_about(&w, "pause_agent", "a");
                trigger(&w, "e1", "1");
                trigger(&w, "e2", "2");
                {
                        InMessage message = { .subject = SLICE(CONTROL "resume_agent"),
                                .body = SLICE("{\"agent_id\":\"a\"}") };

                        runtime_on_message(w.runtime, &message, w.now); /* ready, and not handed out */
                }
                change_to(&w, types[to], "");
                play_once(&w);
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                assert_string_equal(state_of(&w, "a"), "running");
                end_world(&w);
        }
}

static void a_stop_overtakes_a_change_at_any_of_its_steps(void **state) {
        (void)state;

        FOR_EACH_TYPE(type)
        for (unsigned n_steps = 0; n_steps < 6; n_steps++)
                for (int deletes = 0; deletes < 2; deletes++) {
                        size_t stopped;
                        World w;

                        begin_scripted(&w, /* has_store= */ true);
                        make(&w, types[type], "");
                        trigger(&w, "e1", "1");
                        trigger(&w, "e2", "2");
                        change_to(&w, types[type], ",\"priority\":80");
                        for (unsigned i = 0; i < n_steps; i++) {
                                if (w.n_runs > 0)
                                        work(&w, 0);
                                if (w.n_calls > 0)
                                        end_call(&w, 0);
                                turn(&w);
                        }
                        stopped = ask_about(&w, deletes ? "delete_agent" : "stop_agent", "a");
                        play_once(&w);
                        assert_string_equal(answered(&w, stopped), "ok");
                        assert_string_not_equal(result_of(&w, "e1"), "");
                        assert_string_not_equal(result_of(&w, "e2"), "");
                        assert_int_equal(script.n_alive, 0);
                        assert_string_equal(state_of(&w, "a"), deletes ? "none" : "stopped");
                        if (!deletes) {
                                char handled[32];

                                (void)snprintf(
                                        handled, sizeof(handled), "%zu", strlen(script.handled) / strlen("\"1\";"));
                                assert_string_equal(stored(&w, "a"), handled);
                                (void)ask_about(&w, "start_agent", "a");
                                play_once(&w);
                                assert_string_equal(state_of(&w, "a"), "running");
                                assert_string_equal(script.state, handled);
                                assert_int_equal(agent_of(&w, "a")->definition->priority, 80);
                        }
                        end_world(&w);
                }
}

static void a_change_of_an_agent_that_does_not_run_is_there_when_it_starts(void **state) {
        static const char *const from[] = { "starting", "stopping", "stopped", "failed" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(from); i++)
                for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                        World w;

                        begin_scripted(&w, /* has_store= */ true);
                        reach(&w, types[type], from[i]);
                        change_to(&w, types[type], ",\"priority\":80,\"subscribed_topics\":[\"new\"]");
                        play_once(&w);
                        if (i > 0)
                                (void)ask_about(&w, "start_agent", "a");
                        play_once(&w);
                        assert_string_equal(state_of(&w, "a"), "running");
                        assert_int_equal(agent_of(&w, "a")->definition->priority, 80);
                        assert_true(is_subscribed(&w, "new"));
                        end_world(&w);
                }
}

static void a_change_whose_state_can_not_be_had_does_not_lose_it(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, types[type], "");
                trigger(&w, "e1", "1");
                play_once(&w);
                script.checkpoint_result = BEHAVIOR_E_REFUSED;
                change_to(&w, types[type], ",\"priority\":80");
                play_once(&w);
                assert_string_equal(state_of(&w, "a"), "running");
                assert_int_equal(agent_of(&w, "a")->definition->priority, 50);
                trigger(&w, "e2", "2");
                play_once(&w);
                assert_non_null(strstr(last_sent(&w, "_INBOX.e2")->body, "\"output\":2"));
                end_world(&w);
        }
}

/* starting again */

static void a_restart_takes_over_state_and_mail_and_refuses_nothing_meanwhile(void **state) {
        (void)state;

        FOR_EACH_TYPE(type)
        for (unsigned n_steps = 0; n_steps < 6; n_steps++) {
                size_t restarted;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], ",\"subscribed_topics\":[\"news\"]");
                trigger(&w, "e1", "1");
                play_once(&w);
                trigger(&w, "e2", "2");
                restarted = ask_about(&w, "restart_agent", "a");
                for (unsigned i = 0; i < n_steps; i++) {
                        char exec[8];

                        (void)snprintf(exec, sizeof(exec), "m%u", i);
                        trigger(&w, exec, "x");
                        if (w.n_runs > 0)
                                work(&w, 0);
                        if (w.n_calls > 0)
                                end_call(&w, 0);
                        turn(&w);
                }
                play_once(&w);
                assert_string_equal(answered(&w, restarted), "ok");
                assert_string_equal(state_of(&w, "a"), "running");
                assert_int_equal(script.n_inits, 2);
                assert_int_equal(script.n_alive, 1);
                assert_string_not_equal(script.state, "none");
                for (unsigned i = 0; i < n_steps; i++) {
                        char exec[8];

                        (void)snprintf(exec, sizeof(exec), "m%u", i);
                        assert_string_equal(result_of(&w, exec), "SUCCESS");
                }
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                assert_true(is_subscribed(&w, "news"));
                end_world(&w);
        }
}

static void a_restart_of_what_can_not_be_started_says_so_and_the_next_one_starts_it(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t restarted;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], "");
                trigger(&w, "e1", "1");
                play_once(&w);
                script.init_result = BEHAVIOR_E_REFUSED;
                restarted = ask_about(&w, "restart_agent", "a");
                play_once(&w);
                assert_string_equal(answered(&w, restarted), "INIT_FAILED");
                assert_non_null(strstr(answer_text(&w, restarted), "the script says no"));
                assert_string_equal(state_of(&w, "a"), "failed");
                script.init_result = 0;
                restarted = ask_about(&w, "restart_agent", "a");
                play_once(&w);
                assert_string_equal(answered(&w, restarted), "ok");
                assert_string_equal(state_of(&w, "a"), "running");
                end_world(&w);
        }
}

/* Of what there was before, that is: whoever has repaired a program waits for neither a time-out nor a pause. */
static void a_restart_meanwhile_starts_what_is_starting_once_more_even_if_it_fails(void **state) {
        (void)state;

        for (unsigned n_refused = 0; n_refused < 2; n_refused++)
                for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                        World w;

                        begin_scripted(&w, /* has_store= */ true);
                        make(&w, types[type], "");
                        (void)ask_about(&w, "stop_agent", "a");
                        play_once(&w);
                        (void)ask_about(&w, "start_agent", "a");
                        (void)ask_about(&w, "restart_agent", "a");
                        script.n_inits_refused = n_refused;
                        play_once(&w);
                        assert_string_equal(state_of(&w, "a"), "running");
                        assert_int_equal(script.n_inits, 3);
                        assert_int_equal(script.n_alive, 1);
                        end_world(&w);
                }
}

static void a_restart_ends_the_pause_after_a_crash(void **state) {
        size_t restarted;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"backoff_ms\":60000}");
        crash(&w, "a");
        play_once(&w);
        assert_string_equal(state_of(&w, "a"), "starting");
        restarted = ask_about(&w, "restart_agent", "a");
        play_once(&w);
        assert_string_equal(answered(&w, restarted), "ok");
        assert_string_equal(state_of(&w, "a"), "running");
        end_world(&w);
}

static void a_restart_whose_state_can_not_be_had_is_not_done(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t restarted;
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, types[type], "");
                script.checkpoint_result = BEHAVIOR_E_REFUSED;
                restarted = ask_about(&w, "restart_agent", "a");
                play_once(&w);
                assert_string_equal(answered(&w, restarted), "STATE_ERROR");
                assert_string_equal(state_of(&w, "a"), "running");
                assert_int_equal(script.n_inits, 1);
                end_world(&w);
        }
}

/* crashes */

static void what_a_crashed_behaviour_held_is_answered_and_what_waited_is_handled(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"backoff_ms\":100}");
        trigger(&w, "e1", "1");
        trigger(&w, "e2", "2");
        crash(&w, "a");
        turn(&w);
        assert_string_equal(result_of(&w, "e1"), "FAILURE AGENT_CRASHED");
        assert_string_equal(state_of(&w, "a"), "starting");
        trigger(&w, "e3", "3");
        pass(&w, 99 * USEC_PER_MSEC);
        assert_int_equal(w.n_calls, 0);
        w.plays_host = true;
        pass(&w, 2 * USEC_PER_MSEC);
        assert_string_equal(result_of(&w, "e2"), "SUCCESS");
        assert_string_equal(result_of(&w, "e3"), "SUCCESS");
        end_world(&w);
}

static void a_paused_child_gets_the_answers_that_its_open_message_waits_for_and_nothing_else(void **state) {
        Effect *effect;
        EffectList effects = {};
        size_t number;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", "");
        trigger(&w, "e1", "1"); /* with the child */
        trigger(&w, "e2", "2");
        number = ask_about(&w, "pause_agent", "a");
        assert_string_equal(answered(&w, number), "");
        effect = effects_add(&effects, EFFECT_PUBLISH);
        effect->target = SLICE("some.where");
        effect->wants_answer = true;
        runtime_on_effects(w.runtime, agent_of(&w, "a"), 0, &effects, w.now);
        effects_clear(&effects);
        turn(&w);
        assert_int_equal(w.n_calls, 2); /* the message and the answer, but not the next message */
        assert_int_equal(w.calls[1]->kind, MAIL_ANSWER);
        end_call(&w, 1);
        end_call(&w, 0);
        turn(&w);
        assert_string_equal(answered(&w, number), "ok");
        assert_int_equal(w.n_calls, 0);
        end_world(&w);
}

static void who_discards_does_not_wait_for_a_child_that_hangs(void **state) {
        size_t number;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", "");
        trigger(&w, "e1", "1"); /* with the child, for ever */
        trigger(&w, "e2", "2");
        number = ask(&w, "delete_agent", "{\"agent_id\":\"a\",\"mode\":\"discard\"}");
        assert_string_equal(result_of(&w, "e1"), "FAILURE AGENT_STOPPED");
        assert_string_equal(result_of(&w, "e2"), "FAILURE AGENT_STOPPED");
        assert_int_equal(w.n_calls, 2); /* the one that hangs, and the stop */
        end_call(&w, 0);                /* as the host does: what the child held, then the stop */
        end_call(&w, 0);
        turn(&w);
        assert_string_equal(answered(&w, number), "ok");
        assert_null(core_find_agent(w.runtime, SLICE("a")));
        end_world(&w);
}

static uint64_t time_until_restart(World *world) {
        const uint64_t begun_usec = world->now.usec;

        while (world->n_calls == 0) {
                pass(world, USEC_PER_MSEC);
                assert_true(world->now.usec - begun_usec < 3600 * USEC_PER_SEC);
        }
        play_once(world);
        return (world->now.usec - begun_usec) / USEC_PER_MSEC;
}

static void each_restart_in_the_window_waits_twice_as_long_until_the_agent_fails(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"max\":3,\"window_ms\":60000,\"backoff_ms\":100}");
        for (uint64_t ms = 100; ms <= 400; ms *= 2) {
                crash(&w, "a");
                turn(&w);
                assert_int_equal(time_until_restart(&w), ms);
                assert_string_equal(state_of(&w, "a"), "running");
        }
        (void)ask_about(&w, "pause_agent", "a");
        trigger(&w, "e1", "1");
        crash(&w, "a");
        turn(&w);
        assert_string_equal(state_of(&w, "a"), "failed");
        assert_string_equal(result_of(&w, "e1"), "FAILURE AGENT_FAILED");
        trigger(&w, "e2", "2");
        assert_string_equal(reported(&w, "e2"), "refused AGENT_FAILED");

        (void)ask_about(&w, "start_agent", "a");
        play_once(&w);
        assert_string_equal(state_of(&w, "a"), "running");
        crash(&w, "a");
        turn(&w);
        assert_int_equal(time_until_restart(&w), 100); /* an operator's start begins anew */
        end_world(&w);
}

static void restarts_before_the_window_do_not_count(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"max\":2,\"window_ms\":10000,\"backoff_ms\":10}");
        for (unsigned i = 0; i < 20; i++) {
                crash(&w, "a");
                turn(&w);
                (void)time_until_restart(&w);
                assert_string_equal(state_of(&w, "a"), "running");
                pass(&w, 6 * USEC_PER_SEC);
        }
        end_world(&w);
}

static void a_first_pause_beyond_a_minute_is_kept(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"max\":2,\"backoff_ms\":120000}");
        crash(&w, "a");
        turn(&w);
        assert_int_equal(time_until_restart(&w), 120000);
        end_world(&w);
}

static void a_paused_agent_is_paused_again_after_a_crash(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", "");
        (void)ask_about(&w, "pause_agent", "a");
        crash(&w, "a");
        turn(&w);
        w.plays_host = true;
        pass(&w, 10 * USEC_PER_SEC);
        assert_string_equal(state_of(&w, "a"), "paused");
        end_world(&w);
}

/* Whatever an agent is at when its process dies, it gets somewhere, and everybody is answered. */
static void a_crash_at_any_step_leads_somewhere(void **state) {
        static const char *const verbs[] = { "stop_agent", "delete_agent", "checkpoint_agent", "pause_agent",
                "change" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                for (unsigned n_steps = 0; n_steps < 6; n_steps++)
                        for (int interval = 0; interval < 2; interval++) {
                                size_t asked = 0;
                                World w;

                                begin_scripted(&w, /* has_store= */ true);
                                make(&w, "remote", interval ? "" : ",\"checkpoint_interval_ms\":0");
                                trigger(&w, "e1", "1");
                                trigger(&w, "e2", "2");
                                w.plays_store = false;
                                if (strcmp(verbs[i], "change") == 0)
                                        change_to(&w, "remote", ",\"priority\":80");
                                else
                                        asked = ask_about(&w, verbs[i], "a");
                                for (unsigned k = 0; k < n_steps; k++) {
                                        if (w.n_calls > 0)
                                                end_call(&w, 0);
                                        else if (w.n_requests > 0)
                                                carry_out(&w);
                                        turn(&w);
                                }
                                if (agent_of(&w, "a"))
                                        crash(&w, "a");
                                w.plays_store = true;
                                w.plays_host = true;
                                turn(&w);
                                pass(&w, 5 * USEC_PER_SEC);
                                if (asked > 0)
                                        assert_string_not_equal(answered(&w, asked), "");
                                if (strcmp(verbs[i], "pause_agent") != 0) {
                                        assert_string_not_equal(result_of(&w, "e1"), "");
                                        assert_string_not_equal(result_of(&w, "e2"), "");
                                }
                                if (agent_of(&w, "a") && strcmp(state_of(&w, "a"), "running") != 0 &&
                                        strcmp(state_of(&w, "a"), "paused") != 0)
                                        assert_int_equal(script.n_alive, 0);
                                if (strcmp(verbs[i], "stop_agent") == 0)
                                        assert_string_equal(state_of(&w, "a"), "stopped");
                                if (strcmp(verbs[i], "delete_agent") == 0)
                                        assert_string_equal(state_of(&w, "a"), "none");
                                if (strcmp(verbs[i], "change") == 0)
                                        assert_string_equal(state_of(&w, "a"), "running");
                                end_world(&w);
                        }
}

/* the runtime stops */

static void a_stop_of_the_runtime_runs_every_stop_hook_and_keeps_every_state(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        for (unsigned i = 0; i < 30; i++) {
                char text[128];

                (void)snprintf(text, sizeof(text),
                        "{\"agent_id\":\"s%u\",\"agent_type\":\"%s\",\"subscribed_topics\":[\"news\"]}", i,
                        types[i % 3]);
                create(&w, text);
        }
        play_once(&w);
        assert_int_equal(script.n_alive, 30);
        publish(&w, "news", "n");
        runtime_stop(w.runtime, w.now.usec + 10 * USEC_PER_SEC, w.now);
        turn(&w);
        assert_false(runtime_is_stopped(w.runtime));
        play_once(&w);
        assert_true(runtime_is_stopped(w.runtime));
        assert_int_equal(script.n_alive, 0);
        assert_int_equal(script.n_stops, 30);
        for (unsigned i = 0; i < 30; i++) {
                char id[16];

                (void)snprintf(id, sizeof(id), "s%u", i);
                assert_string_equal(stored(&w, id), "1");
        }
        assert_int_equal(count_sent(&w, DEREGISTERED, NULL), 1);
        end_world(&w);
}

static void a_hook_that_hangs_does_not_keep_the_runtime_from_stopping_nor_a_caller_waiting(void **state) {
        (void)state;

        for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                size_t deleted, created;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], "");
                deleted = ask_about(&w, "delete_agent", "a");
                created = ask_to_create(&w, types[type], "");
                assert_string_equal(answered(&w, created), "AGENT_EXISTS");
                assert_non_null(strstr(answer_text(&w, created), "is being deleted"));
                runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
                turn(&w);
                pass(&w, 5500 * USEC_PER_MSEC);
                assert_false(runtime_is_stopped(w.runtime));
                assert_string_equal(answered(&w, deleted), "");
                pass(&w, 600 * USEC_PER_MSEC);
                assert_true(runtime_is_stopped(w.runtime));
                assert_string_equal(answered(&w, deleted), "TIMEOUT");
                for (size_t i = 0; i < w.n_runs; i++)
                        (void)w.runs[i];
                end_world(&w);
        }
}

static void a_runtime_that_stops_with_an_agent_in_any_state_gets_there(void **state) {
        (void)state;

        for (size_t s = 0; s < ELEMENTSOF(matrix_states); s++)
                for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                        World w;

                        begin_scripted(&w, /* has_store= */ true);
                        reach(&w, types[type], matrix_states[s]);
                        runtime_stop(w.runtime, w.now.usec + USEC_PER_SEC, w.now);
                        play_once(&w);
                        assert_true(runtime_is_stopped(w.runtime));
                        assert_int_equal(script.n_alive, 0);
                        end_world(&w);
                }
}

/* A peer can ask without end. */
static void requests_that_wait_are_bounded(void **state) {
        size_t n_refused = 0;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "slow", "");
        for (unsigned i = 0; i < 1000; i++) {
                size_t asked = ask_about(&w, "checkpoint_agent", "a");

                n_refused += strcmp(answered(&w, asked), "LIMIT_EXCEEDED") == 0;
        }
        assert_true(n_refused > 500 && n_refused < 1000);
        play_once(&w);
        for (size_t i = 2; i <= 1001; i++)
                assert_string_not_equal(answered(&w, i), "");
        end_world(&w);
}

/* anything */

static const char *const random_ids[] = { "r0", "r1", "r2", "r3" };

static void random_definition(Rng *rng, const char *id, char *ret, size_t size) {
        static const char *const overflows[] = { "reject", "drop_oldest", "drop_newest" };
        const size_t type = (size_t)rng_below(rng, ELEMENTSOF(types));

        (void)snprintf(ret, size,
                "{\"agent_id\":\"%s\",\"agent_type\":\"%s\",\"checkpoint_interval_ms\":%u,\"overflow\":\"%s\","
                "\"on_checkpoint_error\":\"%s\",\"on_restore_error\":\"%s\",\"mailbox_capacity\":%u,\"quantum\":%u%s,"
                "\"restart\":{\"max\":2,\"window_ms\":20000,\"backoff_ms\":100},\"subscribed_topics\":[\"t%u\"]}",
                id, types[type], (unsigned)rng_below(rng, 2) * 500, overflows[rng_below(rng, 3)],
                rng_below(rng, 2) ? "retry" : "stop", rng_below(rng, 2) ? "fresh" : "previous",
                (unsigned)rng_below(rng, 8) + 1, (unsigned)rng_below(rng, 8) + 1,
                type == 2 ? ",\"max_concurrency\":3" : "", (unsigned)rng_below(rng, 2));
}

static void do_anything_to(World *world, Rng *rng, const char *id) {
        static const char *const verbs[] = { "start_agent", "stop_agent", "pause_agent", "resume_agent", "delete_agent",
                "checkpoint_agent", "get_agent", "get_agent_subscriptions", "resume_agent", "start_agent",
                "restart_agent", "restart_agent" };
        static const char *const words[] = { "x", "quiet", "fail", "defer", "pending" };
        char text[512], exec[32], topic[8];
        ErrorCode code;
        WireError error;

        switch (rng_below(rng, 12)) {
        case 0:
                random_definition(rng, id, text, sizeof(text));
                (void)ask(world, "create_agent", text);
                break;
        case 1:
                random_definition(rng, id, text, sizeof(text));
                (void)runtime_change_agent(world->runtime, slice_of(text), world->now, &code, &error);
                break;
        case 2:
        case 3:
                (void)ask_about(world, verbs[rng_below(rng, ELEMENTSOF(verbs))], id);
                break;
        case 4:
                (void)snprintf(text, sizeof(text), "{\"agent_id\":\"%s\",\"mode\":\"discard\"}", id);
                (void)ask(world, rng_below(rng, 2) ? "stop_agent" : "delete_agent", text);
                break;
        case 5:
                if (agent_of(world, id) && agent_of(world, id)->definition->behavior->is_remote &&
                        agent_of(world, id)->behavior_state)
                        crash(world, id);
                break;
        case 6:
                (void)snprintf(
                        text, sizeof(text), "{\"agent_id\":\"%s\",\"topic\":\"t%u\"}", id, (unsigned)rng_below(rng, 3));
                (void)ask(world, rng_below(rng, 2) ? "subscribe_agent" : "unsubscribe_agent", text);
                break;
        case 7:
        case 8:
                (void)snprintf(topic, sizeof(topic), "t%u", (unsigned)rng_below(rng, 3));
                publish_with(world, topic, rng_below(rng, 2) ? "_INBOX.asker" : NULL, NULL,
                        words[rng_below(rng, ELEMENTSOF(words))]);
                break;
        default:
                (void)snprintf(exec, sizeof(exec), "x%zu", world->n_asked++);
                (void)snprintf(text, sizeof(text), "\"%s\"", words[rng_below(rng, ELEMENTSOF(words))]);
                relay(world, .agent = id, .exec = exec, .input = text, .deadline_ms = 1000 + rng_below(rng, 20000));
                break;
        }
}

static void do_anything(World *world, Rng *rng) {
        BehaviorReply reply = { .verdict = BEHAVIOR_DONE };

        switch (rng_below(rng, 16)) {
        case 0:
                world->save_outcome = rng_below(rng, 2) ? STORE_UNWRITABLE : STORE_DONE;
                world->load_outcome = rng_below(rng, 4) ? STORE_DONE : STORE_DAMAGED;
                break;
        case 1:
                script.n_inits_refused = rng_below(rng, 4) ? 0 : 1;
                script.n_states_refused = rng_below(rng, 4) ? 0 : 1;
                script.checkpoint_result = rng_below(rng, 4) ? 0 : BEHAVIOR_E_REFUSED;
                break;
        case 2:
                for (size_t i = 0; script.pending > 0 && i < ELEMENTSOF(random_ids); i++)
                        if (agent_of(world, random_ids[i]))
                                (void)core_end_pending(world->runtime, agent_of(world, random_ids[i]), script.pending,
                                        &reply, world->now);
                behavior_reply_done(&reply);
                break;
        case 3:
        case 4:
                pass(world, rng_below(rng, 300 * USEC_PER_MSEC));
                break;
        case 5:
        case 6:
        case 7:
                if (world->n_runs > 0)
                        work(world, (size_t)rng_below(rng, 3));
                break;
        case 8:
        case 9:
                if (world->n_calls > 0)
                        end_call(world, (size_t)rng_below(rng, world->n_calls));
                break;
        case 10:
        case 11:
                if (world->n_requests > 0)
                        carry_out(world);
                break;
        default:
                do_anything_to(world, rng, random_ids[rng_below(rng, ELEMENTSOF(random_ids))]);
                break;
        }
        turn(world);
        script.handled[0] = '\0';
}

/* Every request is answered once, nothing is held, no behaviour is left. */
static void end_everything(World *world) {
        world->plays_worker = world->plays_host = world->plays_store = true;
        world->save_outcome = world->load_outcome = STORE_DONE;
        turn(world);
        for (size_t i = 0; i < ELEMENTSOF(random_ids); i++) {
                char text[128];

                (void)snprintf(text, sizeof(text), "{\"agent_id\":\"%s\",\"mode\":\"discard\"}", random_ids[i]);
                (void)ask(world, "delete_agent", text);
        }
        pass(world, 40 * USEC_PER_SEC);
        for (size_t i = 0; i < ELEMENTSOF(random_ids); i++)
                assert_string_equal(state_of(world, random_ids[i]), "none");
        assert_int_equal(runtime_n_in_flight(world->runtime), 0);
        assert_int_equal(world->runtime->letters.n_deliveries, 0);
        assert_int_equal(script.n_alive, 0);
}

static void nothing_that_happens_to_agents_at_random_breaks_anything(void **state) {
        const unsigned n_seeds = getenv("SEEDS") ? (unsigned)atoi(getenv("SEEDS")) : 60;

        (void)state;

        log_set_level(LOG_CRIT);
        for (unsigned seed = 1; seed <= n_seeds; seed++) {
                Rng rng;
                World w;

                rng_seed(&rng, seed);
                begin_scripted(&w, /* has_store= */ seed % 4 > 0);
                w.plays_store = false;
                for (unsigned i = 0; i < 400; i++) {
                        do_anything(&w, &rng);
                        if (w.n_records > 200)
                                forget_records(&w, SLICE_NONE);
                }
                end_everything(&w);
                end_world(&w);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_create_is_answered_when_init_has_succeeded_and_not_before),
                cmocka_unit_test(an_agent_whose_init_fails_leaves_nothing_behind),
                cmocka_unit_test(a_second_create_is_refused_while_the_first_is_starting_and_takes_no_mail_from_it),
                cmocka_unit_test(a_thousand_creates_of_one_turn_are_one_update),
                cmocka_unit_test(every_verb_is_answered_in_every_state_and_a_refusal_names_both),
                cmocka_unit_test(a_quick_agent_answers_every_verb_at_once),
                cmocka_unit_test(a_paused_agent_keeps_its_mail_and_handles_it_in_order_when_resumed),
                cmocka_unit_test(a_pause_that_is_overtaken_is_answered_all_the_same),
                cmocka_unit_test(a_delete_answers_for_all_that_the_agent_held_and_runs_the_stop_hook),
                cmocka_unit_test(unsubscriptions_leave_before_the_answer_to_a_delete),
                cmocka_unit_test(a_stop_while_starting_is_answered_and_so_is_whoever_waits_for_the_start),
                cmocka_unit_test(a_stopped_agent_keeps_its_subscriptions_and_gets_nothing_of_them),
                cmocka_unit_test(an_agent_that_failed_at_first_gets_its_topics_when_it_is_started),
                cmocka_unit_test(dispatchers_hear_of_the_end_of_an_agent_that_never_ran),
                cmocka_unit_test(a_new_definition_takes_over_state_mail_and_what_is_paused),
                cmocka_unit_test(a_new_definition_that_fails_gives_way_to_the_old_one_with_its_state),
                cmocka_unit_test(a_new_definition_of_another_kind_gets_the_mail_that_waits),
                cmocka_unit_test(a_stop_overtakes_a_change_at_any_of_its_steps),
                cmocka_unit_test(a_change_of_an_agent_that_does_not_run_is_there_when_it_starts),
                cmocka_unit_test(a_change_whose_state_can_not_be_had_does_not_lose_it),
                cmocka_unit_test(a_restart_takes_over_state_and_mail_and_refuses_nothing_meanwhile),
                cmocka_unit_test(a_restart_of_what_can_not_be_started_says_so_and_the_next_one_starts_it),
                cmocka_unit_test(a_restart_meanwhile_starts_what_is_starting_once_more_even_if_it_fails),
                cmocka_unit_test(a_restart_ends_the_pause_after_a_crash),
                cmocka_unit_test(a_restart_whose_state_can_not_be_had_is_not_done),
                cmocka_unit_test(what_a_crashed_behaviour_held_is_answered_and_what_waited_is_handled),
                cmocka_unit_test(each_restart_in_the_window_waits_twice_as_long_until_the_agent_fails),
                cmocka_unit_test(restarts_before_the_window_do_not_count),
                cmocka_unit_test(a_first_pause_beyond_a_minute_is_kept),
                cmocka_unit_test(a_paused_agent_is_paused_again_after_a_crash),
                cmocka_unit_test(a_crash_at_any_step_leads_somewhere),
                cmocka_unit_test(a_stop_of_the_runtime_runs_every_stop_hook_and_keeps_every_state),
                cmocka_unit_test(a_hook_that_hangs_does_not_keep_the_runtime_from_stopping_nor_a_caller_waiting),
                cmocka_unit_test(a_runtime_that_stops_with_an_agent_in_any_state_gets_there),
                cmocka_unit_test(requests_that_wait_are_bounded),
                cmocka_unit_test(who_discards_does_not_wait_for_a_child_that_hangs),
                cmocka_unit_test(a_paused_child_gets_the_answers_that_its_open_message_waits_for_and_nothing_else),
                cmocka_unit_test(nothing_that_happens_to_agents_at_random_breaks_anything),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
