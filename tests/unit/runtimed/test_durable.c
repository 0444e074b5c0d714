/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/world.h"

/* The three ways in which a behaviour is called. */
static const char *const types[] = { "quick", "slow", "remote" };

#define FOR_EACH_TYPE(type) for (size_t type = 0; type < ELEMENTSOF(types); type++)
#define FAILS ",\"on_checkpoint_error\":\"stop\""
#define AT_ONCE ",\"checkpoint_interval_ms\":0,\"subscribed_topics\":[\"news\"]"

/* Agent "a" plays by itself; the store waits for the test. */
static void make_waiting(World *world, const char *type, const char *more) {
        begin_scripted(world, /* has_store= */ true);
        make(world, type, more);
        world->plays_worker = world->plays_host = true;
        world->plays_store = false;
}

static void carry_all_out(World *world) {
        world->plays_store = true;
        turn(world);
        world->plays_store = false;
}

/* with an interval */

static void a_state_is_saved_once_per_interval_and_only_when_something_was_handled(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], ",\"checkpoint_interval_ms\":1000");
                w.plays_worker = w.plays_host = true;
                pass(&w, 10 * USEC_PER_SEC);
                assert_int_equal(script.n_checkpoints, 0);
                for (unsigned i = 0; i < 10; i++) {
                        char exec[16];

                        (void)snprintf(exec, sizeof(exec), "e%u", i);
                        trigger(&w, exec, "x");
                        assert_string_equal(result_of(&w, exec), "SUCCESS");
                }
                assert_string_equal(stored(&w, "a"), "");
                pass(&w, 1001 * USEC_PER_MSEC);
                assert_string_equal(stored(&w, "a"), "10");
                pass(&w, 10 * USEC_PER_SEC);
                assert_int_equal(script.n_checkpoints, 1);
                end_world(&w);
        }
}

static void a_stopped_agent_is_saved_and_starts_with_what_was_saved(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], "");
                w.plays_worker = w.plays_host = true;
                trigger(&w, "e1", "x");
                (void)ask_about(&w, "stop_agent", "a");
                assert_string_equal(state_of(&w, "a"), "stopped");
                assert_string_equal(stored(&w, "a"), "1");
                (void)ask_about(&w, "start_agent", "a");
                assert_string_equal(script.state, "1");
                (void)ask_about(&w, "stop_agent", "a");
                assert_int_equal(script.n_checkpoints, 1); /* nothing was handled since */
                end_world(&w);
        }
}

static void a_deleted_agents_record_goes_unless_it_is_to_be_kept(void **state) {
        (void)state;

        for (int keeps = 0; keeps < 2; keeps++) {
                size_t deleted;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, "slow", "");
                w.plays_worker = true;
                trigger(&w, "e1", "x");
                deleted = ask(&w, "delete_agent",
                        keeps ? "{\"agent_id\":\"a\",\"keep_state\":true}" : "{\"agent_id\":\"a\"}");
                assert_string_equal(answered(&w, deleted), "ok");
                assert_string_equal(stored(&w, "a"), keeps ? "1" : "");
                (void)ask_to_create(&w, "slow", "");
                assert_string_equal(script.state, keeps ? "1" : "none");
                end_world(&w);
        }
}

/* after every message */

static void an_answer_leaves_when_its_state_is_kept_and_not_before(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                make_waiting(&w, types[type], AT_ONCE);
                trigger(&w, "e1", "x");
                publish_with(&w, "news", "_INBOX.asker", NULL, "n");
                assert_string_equal(result_of(&w, "e1"), "");
                assert_int_equal(count_sent(&w, "_INBOX.asker", NULL), 0);
                assert_int_equal(w.n_requests, 1);
                carry_out(&w);
                turn(&w);
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                assert_int_equal(count_sent(&w, "_INBOX.asker", NULL), 0); /* the next save is for it */
                assert_int_equal(w.n_requests, 1);
                carry_out(&w);
                turn(&w);
                assert_int_equal(count_sent(&w, "_INBOX.asker", "2"), 1);
                assert_string_equal(stored(&w, "a"), "2");
                end_world(&w);
        }
}

static void one_save_is_for_all_that_was_handled_while_the_store_was_busy(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                make_waiting(&w, types[type], AT_ONCE);
                for (unsigned i = 0; i < 20; i++) {
                        char exec[16];

                        (void)snprintf(exec, sizeof(exec), "e%u", i);
                        trigger(&w, exec, "x");
                }
                assert_int_equal(w.n_requests, 1);
                carry_all_out(&w);
                assert_string_equal(result_of(&w, "e19"), "SUCCESS");
                assert_int_equal(script.n_checkpoints, 2);
                assert_int_equal(w.n_records, 2);
                end_world(&w);
        }
}

static void answers_of_an_agent_that_is_stopping_are_held_and_leave(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t stopped;
                World w;

                make_waiting(&w, types[type], AT_ONCE);
                w.plays_worker = w.plays_host = false;
                trigger(&w, "e1", "x");
                trigger(&w, "e2", "x");
                stopped = ask_about(&w, "stop_agent", "a");
                w.plays_worker = w.plays_host = true;
                turn(&w);
                assert_string_equal(result_of(&w, "e1"), "");
                assert_string_equal(state_of(&w, "a"), "stopping");
                carry_all_out(&w);
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                assert_string_equal(answered(&w, stopped), "ok");
                assert_string_equal(stored(&w, "a"), "2");
                end_world(&w);
        }
}

static void answers_that_wait_when_an_agent_is_changed_leave_without_another_message(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) for (int interval = 0; interval < 2; interval++) {
                World w;

                make_waiting(&w, types[type], AT_ONCE);
                trigger(&w, "e1", "x");
                trigger(&w, "e2", "x");
                change_to(&w, types[type], interval ? ",\"checkpoint_interval_ms\":1000" : AT_ONCE ",\"priority\":80");
                carry_out(&w);
                turn(&w);
                carry_all_out(&w);
                pass(&w, 1100 * USEC_PER_MSEC);
                carry_all_out(&w);
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                assert_string_equal(stored(&w, "a"), "2");
                end_world(&w);
        }
}

static void a_held_answer_whose_deadline_passes_is_an_error(void **state) {
        World w;

        (void)state;

        make_waiting(&w, "quick", AT_ONCE);
        trigger(&w, "e1", "x");
        pass(&w, 11 * USEC_PER_SEC);
        assert_string_equal(result_of(&w, "e1"), "FAILURE DEADLINE_EXCEEDED");
        assert_non_null(strstr(last_sent(&w, "_INBOX.e1")->body, "its state was not saved within the 10000 ms"));
        carry_all_out(&w);
        assert_string_equal(result_of(&w, "e1"), "FAILURE DEADLINE_EXCEEDED");
        end_world(&w);
}

static void a_held_answer_waits_for_the_connection_too(void **state) {
        World w;

        (void)state;

        make_waiting(&w, "quick", AT_ONCE);
        trigger(&w, "e1", "x");
        runtime_on_link_down(w.runtime, w.now);
        carry_all_out(&w);
        assert_string_equal(result_of(&w, "e1"), "");
        link_up(&w);
        assert_string_equal(result_of(&w, "e1"), "SUCCESS");
        end_world(&w);
}

/* what can't be saved */

static void a_failed_save_is_tried_again_with_growing_pauses_and_answers_leave_then(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], AT_ONCE);
                w.plays_worker = w.plays_host = true;
                w.save_outcome = STORE_UNWRITABLE;
                trigger(&w, "e1", "x");
                assert_int_equal(script.n_checkpoints, 1);
                pass(&w, 99 * USEC_PER_MSEC);
                trigger(&w, "e2", "x"); /* hurries nothing */
                assert_int_equal(script.n_checkpoints, 1);
                pass(&w, 2 * USEC_PER_MSEC);
                assert_int_equal(script.n_checkpoints, 2);
                pass(&w, 198 * USEC_PER_MSEC);
                assert_int_equal(script.n_checkpoints, 2);
                pass(&w, 2 * USEC_PER_MSEC);
                assert_int_equal(script.n_checkpoints, 3);
                assert_string_equal(state_of(&w, "a"), "running");
                assert_string_equal(result_of(&w, "e1"), "");
                w.save_outcome = STORE_DONE;
                pass(&w, 400 * USEC_PER_MSEC);
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                trigger(&w, "e3", "x"); /* at once, as before */
                assert_string_equal(result_of(&w, "e3"), "SUCCESS");
                end_world(&w);
        }
}

static void a_failed_checkpoint_of_nothing_keeps_no_later_answer(void **state) {
        size_t asked;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "quick", AT_ONCE);
        w.plays_worker = true;
        w.save_outcome = STORE_UNWRITABLE;
        asked = ask_about(&w, "checkpoint_agent", "a");
        assert_string_equal(answered(&w, asked), "STATE_ERROR");
        pass(&w, USEC_PER_SEC);
        w.save_outcome = STORE_DONE;
        trigger(&w, "e1", "x");
        assert_string_equal(result_of(&w, "e1"), "SUCCESS");
        end_world(&w);
}

static void an_agent_that_is_to_stop_when_it_cant_be_saved_fails_and_answers(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) for (int by_hook = 0; by_hook < 2; by_hook++) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, types[type], AT_ONCE FAILS);
                w.plays_worker = w.plays_host = true;
                w.save_outcome = by_hook ? STORE_DONE : STORE_UNWRITABLE;
                script.checkpoint_result = by_hook ? BEHAVIOR_E_REFUSED : 0;
                trigger(&w, "e1", "x");
                assert_string_equal(state_of(&w, "a"), "failed");
                assert_string_equal(result_of(&w, "e1"), "FAILURE STATE_ERROR");
                assert_int_equal(script.n_alive, 0);
                trigger(&w, "e2", "x");
                assert_string_equal(reported(&w, "e2"), "refused AGENT_FAILED");
                end_world(&w);
        }
}

/* Whatever a worker brings when its agent has failed meanwhile. */
static void what_comes_back_to_a_failed_agent_is_answered_and_holds_nothing_up(void **state) {
        static const char *const words[] = { "x", "defer", "pending", "fail" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                        size_t deleted;
                        World w;

                        make_waiting(
                                &w, types[type], type == 2 ? AT_ONCE FAILS ",\"max_concurrency\":4" : AT_ONCE FAILS);
                        trigger(&w, "e1", "x");
                        w.plays_worker = w.plays_host = false;
                        trigger(&w, "e2", words[i]);
                        publish_with(&w, "news", "_INBOX.asker", NULL, words[i]);
                        w.save_outcome = STORE_UNWRITABLE;
                        carry_out(&w);
                        turn(&w);
                        assert_string_equal(state_of(&w, "a"), "failed");
                        assert_string_equal(result_of(&w, "e1"), "FAILURE STATE_ERROR");
                        w.plays_worker = w.plays_host = true;
                        turn(&w);
                        assert_string_not_equal(result_of(&w, "e2"), "");
                        assert_int_equal(count_sent(&w, "_INBOX.asker", NULL), 1);
                        deleted = ask_about(&w, "delete_agent", "a");
                        carry_all_out(&w);
                        assert_string_equal(answered(&w, deleted), "ok");
                        assert_int_equal(runtime_n_in_flight(w.runtime), 0);
                        end_world(&w);
                }
}

static void a_failed_agent_is_started_when_nothing_of_it_is_left(void **state) {
        (void)state;

        for (size_t type = 1; type < ELEMENTSOF(types); type++) {
                size_t started;
                World w;

                make_waiting(&w, types[type], AT_ONCE FAILS);
                trigger(&w, "e1", "x");
                w.plays_worker = w.plays_host = false;
                trigger(&w, "e2", "x"); /* with the worker */
                w.save_outcome = STORE_UNWRITABLE;
                carry_out(&w);
                started = ask_about(&w, "start_agent", "a");
                assert_string_equal(answered(&w, started), "");
                w.save_outcome = STORE_DONE;
                w.plays_worker = w.plays_host = w.plays_store = true;
                turn(&w);
                assert_string_equal(answered(&w, started), "ok");
                assert_int_equal(script.n_alive, 1);
                trigger(&w, "e3", "x");
                assert_string_equal(result_of(&w, "e3"), "SUCCESS");
                end_world(&w);
        }
}

static void a_stop_is_not_kept_by_a_store_that_fails(void **state) {
        static const char *const policies[] = { "retry", "stop" };

        (void)state;

        FOR_EACH_TYPE(type)
        for (size_t p = 0; p < ELEMENTSOF(policies); p++)
                for (int is_busy = 0; is_busy < 2; is_busy++) {
                        char more[128];
                        size_t stopped;
                        World w;

                        (void)snprintf(more, sizeof(more), AT_ONCE ",\"on_checkpoint_error\":\"%s\"", policies[p]);
                        make_waiting(&w, types[type], more);
                        trigger(&w, "e1", "x"); /* its save is with the store */
                        w.save_outcome = STORE_UNWRITABLE;
                        w.plays_store = !is_busy;
                        if (p == 1 && !is_busy) { /* it would have failed */
                                end_world(&w);
                                continue;
                        }
                        turn(&w);
                        stopped = ask_about(&w, "stop_agent", "a");
                        w.plays_store = true;
                        turn(&w);
                        assert_string_equal(answered(&w, stopped), "ok");
                        assert_string_equal(result_of(&w, "e1"), "FAILURE STATE_ERROR");
                        assert_int_equal(script.n_alive, 0);
                        end_world(&w);
                }
}

static void a_checkpoint_by_hand_is_answered_when_all_before_it_is_kept(void **state) {
        (void)state;

        FOR_EACH_TYPE(type) {
                size_t first, second;
                World w;

                make_waiting(&w, types[type], "");
                trigger(&w, "e1", "x");
                first = ask_about(&w, "checkpoint_agent", "a");
                trigger(&w, "e2", "x");
                second = ask_about(&w, "checkpoint_agent", "a");
                assert_string_equal(answered(&w, first), "");
                carry_out(&w);
                turn(&w);
                assert_string_equal(answered(&w, first), "ok");
                assert_string_equal(answered(&w, second), "");
                carry_all_out(&w);
                assert_string_equal(answered(&w, second), "ok");
                assert_string_equal(stored(&w, "a"), "2");
                end_world(&w);
        }
}

static void without_a_store_or_a_state_nothing_is_held_and_a_checkpoint_is_refused(void **state) {
        static const struct {
                const char *type;
                bool has_store;
        } cases[] = {
                { "slow", false },
                { "stateless", true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t asked;
                World w;

                begin_scripted(&w, cases[i].has_store);
                make(&w, cases[i].type, AT_ONCE);
                w.plays_worker = true;
                trigger(&w, "e1", "x");
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                asked = ask_about(&w, "checkpoint_agent", "a");
                assert_string_equal(answered(&w, asked), "STATE_ERROR");
                asked = ask_about(&w, "delete_agent", "a");
                assert_string_equal(answered(&w, asked), "ok");
                assert_int_equal(w.n_requests, 0);
                end_world(&w);
        }
}

/* crashes */

static void a_crash_with_a_save_under_way_is_answered_by_what_becomes_of_the_save(void **state) {
        (void)state;

        for (int fails = 0; fails < 2; fails++) {
                World w;

                make_waiting(&w, "remote", AT_ONCE ",\"max_concurrency\":4,\"restart\":{\"backoff_ms\":1}");
                trigger(&w, "e1", "x"); /* its save is with the store */
                trigger(&w, "e2", "x"); /* handled, and in no save */
                crash(&w, "a");
                turn(&w);
                assert_string_equal(result_of(&w, "e1"), "");
                assert_string_equal(result_of(&w, "e2"), "FAILURE AGENT_CRASHED");
                w.save_outcome = fails ? STORE_UNWRITABLE : STORE_DONE;
                carry_out(&w);
                turn(&w);
                assert_string_equal(result_of(&w, "e1"), fails ? "FAILURE AGENT_CRASHED" : "SUCCESS");
                w.save_outcome = STORE_DONE;
                w.plays_store = true;
                pass(&w, USEC_PER_SEC);
                assert_string_equal(state_of(&w, "a"), "running");
                assert_string_equal(script.state, fails ? "none" : "1");
                trigger(&w, "e3", "x");
                assert_string_equal(result_of(&w, "e3"), "SUCCESS");
                end_world(&w);
        }
}

/* restoring */

static void what_cant_be_restored_is_treated_as_the_definition_says(void **state) {
        static const struct {
                StoreOutcome outcome;
                unsigned n_refused;
                const char *policy, *answer, *state;
                unsigned n_records;
        } cases[] = {
                { STORE_DONE, 0, "fail", "ok", "2", 2 },
                { STORE_DONE, 0, "previous", "ok", "2", 2 },
                { STORE_DONE, 0, "fail", "ok", "none", 0 },
                { STORE_DAMAGED, 0, "fail", "STATE_ERROR", "", 2 },
                { STORE_DAMAGED, 0, "fresh", "ok", "none", 2 },
                { STORE_DAMAGED, 0, "previous", "ok", "1", 2 },
                { STORE_DAMAGED, 0, "previous", "STATE_ERROR", "", 1 },
                { STORE_NEWER, 0, "fail", "STATE_ERROR", "", 2 },
                { STORE_NEWER, 0, "fresh", "ok", "none", 2 },
                { STORE_NEWER, 0, "previous", "ok", "1", 2 },
                { STORE_UNREADABLE, 0, "fail", "STATE_ERROR", "", 2 },
                { STORE_UNREADABLE, 0, "fresh", "ok", "none", 2 },
                { STORE_DONE, 1, "fail", "STATE_ERROR", "2", 2 },
                { STORE_DONE, 1, "fresh", "ok", "none", 2 },
                { STORE_DONE, 1, "previous", "ok", "1", 2 },
                { STORE_DONE, 1, "previous", "STATE_ERROR", "2", 1 },
                { STORE_DONE, 2, "previous", "STATE_ERROR", "1", 2 },
        };

        (void)state;

        FOR_EACH_TYPE(type) for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char more[64];
                size_t created;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                w.plays_worker = w.plays_host = true;
                if (cases[i].n_records > 0)
                        put_record(&w, "a", 10, cases[i].n_records > 1 ? SLICE("1") : SLICE("2"));
                if (cases[i].n_records > 1)
                        put_record(&w, "a", 20, SLICE("2"));
                w.load_outcome = cases[i].outcome;
                script.n_states_refused = cases[i].n_refused;
                (void)snprintf(more, sizeof(more), ",\"on_restore_error\":\"%s\"", cases[i].policy);
                created = ask_to_create(&w, types[type], more);
                assert_string_equal(answered(&w, created), cases[i].answer);
                assert_string_equal(script.state, cases[i].state);
                if (strcmp(cases[i].answer, "ok") != 0) {
                        assert_string_equal(state_of(&w, "a"), "none");
                        assert_int_equal(w.n_records, cases[i].n_records); /* nothing was made worse */
                } else {
                        trigger(&w, "e1", "x");
                        (void)ask_about(&w, "stop_agent", "a");
                        assert_int_equal(w.n_records, cases[i].n_records + 1);
                }
                end_world(&w);
        }
}

/* The first refusal may not be held against a later one. */
static void a_state_may_be_refused_after_each_restart(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        w.plays_host = true;
        put_record(&w, "a", 10, SLICE("1"));
        put_record(&w, "a", 20, SLICE("2"));
        script.n_states_refused = 1;
        make(&w, "remote", ",\"on_restore_error\":\"previous\",\"restart\":{\"backoff_ms\":1}");
        assert_string_equal(script.state, "1");
        w.plays_host = true;
        script.n_states_refused = 1;
        crash(&w, "a");
        turn(&w);
        pass(&w, USEC_PER_SEC);
        assert_string_equal(state_of(&w, "a"), "running");
        assert_string_equal(script.state, "1");
        end_world(&w);
}

static void saves_go_above_a_record_from_the_future(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        put_record(&w, "a", (uint64_t)1 << 62, SLICE("7")); /* the clock was wrong then */
        make(&w, "slow", "");
        w.plays_worker = true;
        trigger(&w, "e1", "x");
        (void)ask_about(&w, "stop_agent", "a"); /* the world's store insists on greater generations */
        assert_string_equal(stored(&w, "a"), "8");
        end_world(&w);
}

/* An agent whose type has changed has a state, too, from then on, and above what the old type left. */
static void an_agent_of_another_type_is_kept_from_then_on(void **state) {
        static const struct {
                const char *from, *to;
        } cases[] = {
                { "stateless", "slow" },
                { "slow", "quick" },
                { "quick", "remote" },
                { "remote", "slow" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                World w;

                begin_scripted(&w, /* has_store= */ true);
                put_record(&w, "a", (uint64_t)1 << 62, SLICE("7"));
                make(&w, cases[i].from, AT_ONCE);
                w.plays_worker = w.plays_host = true;
                trigger(&w, "e1", "x");
                assert_string_equal(result_of(&w, "e1"), "SUCCESS");
                change_to(&w, cases[i].to, AT_ONCE);
                assert_string_equal(script.state, "none");
                trigger(&w, "e2", "x");
                assert_string_equal(result_of(&w, "e2"), "SUCCESS");
                assert_string_equal(stored(&w, "a"), "1");
                end_world(&w);
        }
}

static void a_load_that_is_overtaken_by_a_stop_leads_to_the_stop(void **state) {
        size_t created, stopped;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        w.plays_store = false;
        created = ask_to_create(&w, "quick", "");
        stopped = ask_about(&w, "delete_agent", "a");
        assert_string_equal(answered(&w, stopped), "");
        carry_all_out(&w);
        assert_string_equal(answered(&w, created), "AGENT_STOPPED");
        assert_string_equal(answered(&w, stopped), "ok");
        assert_int_equal(script.n_inits, 0);
        end_world(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_state_is_saved_once_per_interval_and_only_when_something_was_handled),
                cmocka_unit_test(a_stopped_agent_is_saved_and_starts_with_what_was_saved),
                cmocka_unit_test(a_deleted_agents_record_goes_unless_it_is_to_be_kept),
                cmocka_unit_test(an_answer_leaves_when_its_state_is_kept_and_not_before),
                cmocka_unit_test(one_save_is_for_all_that_was_handled_while_the_store_was_busy),
                cmocka_unit_test(answers_of_an_agent_that_is_stopping_are_held_and_leave),
                cmocka_unit_test(answers_that_wait_when_an_agent_is_changed_leave_without_another_message),
                cmocka_unit_test(a_held_answer_whose_deadline_passes_is_an_error),
                cmocka_unit_test(a_held_answer_waits_for_the_connection_too),
                cmocka_unit_test(a_failed_save_is_tried_again_with_growing_pauses_and_answers_leave_then),
                cmocka_unit_test(a_failed_checkpoint_of_nothing_keeps_no_later_answer),
                cmocka_unit_test(an_agent_that_is_to_stop_when_it_cant_be_saved_fails_and_answers),
                cmocka_unit_test(what_comes_back_to_a_failed_agent_is_answered_and_holds_nothing_up),
                cmocka_unit_test(a_failed_agent_is_started_when_nothing_of_it_is_left),
                cmocka_unit_test(a_stop_is_not_kept_by_a_store_that_fails),
                cmocka_unit_test(a_checkpoint_by_hand_is_answered_when_all_before_it_is_kept),
                cmocka_unit_test(without_a_store_or_a_state_nothing_is_held_and_a_checkpoint_is_refused),
                cmocka_unit_test(a_crash_with_a_save_under_way_is_answered_by_what_becomes_of_the_save),
                cmocka_unit_test(what_cant_be_restored_is_treated_as_the_definition_says),
                cmocka_unit_test(a_state_may_be_refused_after_each_restart),
                cmocka_unit_test(saves_go_above_a_record_from_the_future),
                cmocka_unit_test(an_agent_of_another_type_is_kept_from_then_on),
                cmocka_unit_test(a_load_that_is_overtaken_by_a_stop_leads_to_the_stop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
