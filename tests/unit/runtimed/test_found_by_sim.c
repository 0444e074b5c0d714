/* SPDX-License-Identifier: MIT */

/*
 * What tests/sim/ has found, each as short as it could be made.
 */

#include "tests/unit/runtimed/world.h"

#define AT_ONCE ",\"checkpoint_interval_ms\":0,\"subscribed_topics\":[\"news\"]"

static void end_pending_message(World *world, const char *agent_id) {
        EffectList effects = {};
        Effect *effect = effects_add(&effects, EFFECT_REPLY);

        assert_non_null(effect);
        effect->message_id = script.pending;
        effect->payload = SLICE("1");
        runtime_on_effects(world->runtime, agent_of(world, agent_id), 0, &effects, world->now);
        effects_clear(&effects);
        turn(world);
}

static void an_end_with_an_answer_that_waits_for_the_store_leaves_nothing_behind(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "slow", AT_ONCE);
        w.plays_worker = true;
        w.plays_store = false;
        publish_with(&w, "news", "_INBOX.one", NULL, "x");
        assert_int_equal(count_sent(&w, "_INBOX.one", NULL), 0);
        end_world(&w); /* asserts that every letter is back */
}

/* Of one the restart is due, of the other a checkpoint: both are deadlines in one tree. */
static void an_end_with_an_agent_that_is_to_be_restarted_touches_nothing_that_is_gone(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "remote", "");
        create(&w, "{\"agent_id\":\"b\",\"agent_type\":\"slow\"}");
        w.plays_host = w.plays_worker = true;
        turn(&w);
        relay(&w, .agent = "b", .exec = "e1");
        crash(&w, "a");
        assert_string_equal(state_of(&w, "a"), "starting");
        end_world(&w);
}

static void a_realtime_message_that_was_begun_in_time_is_not_late_when_it_is_resumed(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", ",\"subscribed_topics\":[{\"topic\":\"fast\",\"qos\":\"realtime\"}]");
        w.plays_worker = true;
        publish_with(&w, "fast", "_INBOX.one", NULL, "defer");
        pass(&w, 3 * USEC_PER_SEC);
        assert_string_equal(script.handled, "defer;defer;");
        assert_string_equal(last_sent(&w, "_INBOX.one")->body, "1");
        end_world(&w);
}

static void an_agent_is_not_started_while_its_runtime_stops(void **state) {
        size_t started;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", "");
        w.plays_worker = true;
        (void)ask_about(&w, "stop_agent", "a");
        relay(&w, .agent = "sleeper", .exec = "e1", .input = "{\"ms\":500}"); /* keeps it from stopping at once */
        runtime_stop(w.runtime, w.now.usec + 10 * USEC_PER_SEC, w.now);
        turn(&w);
        started = ask_about(&w, "start_agent", "a");
        assert_string_equal(answered(&w, started), "RUNTIME_DRAINING");
        pass(&w, USEC_PER_SEC);
        assert_true(runtime_is_stopped(w.runtime));
        assert_int_equal(script.n_alive, 0);
        end_world(&w);
}

static void who_deletes_an_agent_is_answered_before_a_runtime_that_stops_is_gone(void **state) {
        size_t deleted;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "quick", "");
        w.plays_store = false;
        deleted = ask_about(&w, "delete_agent", "a");
        runtime_stop(w.runtime, w.now.usec + 10 * USEC_PER_SEC, w.now);
        turn(&w);
        assert_false(runtime_is_stopped(w.runtime));
        w.plays_store = true;
        turn(&w);
        assert_string_equal(answered(&w, deleted), "ok");
        assert_true(runtime_is_stopped(w.runtime));
        end_world(&w);
}

/* Its record could not be read, so nobody knew of its generation; and the clock was set back. */
static void a_save_that_is_refused_for_its_generation_is_tried_again_above_the_one_that_is_there(void **state) {
        StoreRequest *request;
        uint64_t above;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "quick", AT_ONCE);
        w.plays_worker = true;
        w.plays_store = false;
        trigger(&w, "e1", "x");
        assert_int_equal(w.n_requests, 1);
        request = w.requests[--w.n_requests];
        above = request->generation + 1000 * USEC_PER_SEC;
        request->generation = above;
        request->outcome = STORE_UNWRITABLE;
        runtime_on_stored(w.runtime, request, w.now);
        turn(&w);
        pass(&w, USEC_PER_SEC);
        assert_int_equal(w.n_requests, 1);
        assert_true(w.requests[0]->generation > above);
        end_world(&w);
}

static void a_stop_does_not_wait_for_a_message_that_came_too_late_for_a_remote_agent(void **state) {
        size_t stopped;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"subscribed_topics\":[{\"topic\":\"fast\",\"qos\":\"realtime\"}]");
        w.plays_host = true;
        publish_with(&w, "fast", NULL, NULL, "pending");
        publish_with(&w, "fast", "_INBOX.one", NULL, "x"); /* waits behind that */
        stopped = ask_about(&w, "stop_agent", "a");
        pass(&w, 2 * USEC_PER_SEC);
        assert_string_equal(answered(&w, stopped), "");
        end_pending_message(&w, "a");
        pass(&w, 0);
        assert_string_equal(script.handled, "pending;");
        assert_string_equal(answered(&w, stopped), "ok");
        end_world(&w);
}

static void what_a_remote_behaviour_has_left_pending_ends_with_it(void **state) {
        size_t stopped;
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"max_concurrency\":2,\"subscribed_topics\":[\"news\"]");
        w.plays_host = true;
        publish_with(&w, "news", "_INBOX.one", NULL, "pending");
        trigger(&w, "e1", "pending");
        crash(&w, "a");
        turn(&w);
        assert_non_null(strstr(last_sent(&w, "_INBOX.one")->body, "AGENT_CRASHED"));
        assert_string_equal(result_text(last_sent(&w, "_INBOX.e1")), "FAILURE AGENT_CRASHED");
        pass(&w, USEC_PER_SEC);
        assert_string_equal(state_of(&w, "a"), "running");
        stopped = ask_about(&w, "stop_agent", "a");
        assert_string_equal(answered(&w, stopped), "ok");
        end_world(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_end_with_an_answer_that_waits_for_the_store_leaves_nothing_behind),
                cmocka_unit_test(an_end_with_an_agent_that_is_to_be_restarted_touches_nothing_that_is_gone),
                cmocka_unit_test(a_realtime_message_that_was_begun_in_time_is_not_late_when_it_is_resumed),
                cmocka_unit_test(an_agent_is_not_started_while_its_runtime_stops),
                cmocka_unit_test(who_deletes_an_agent_is_answered_before_a_runtime_that_stops_is_gone),
                cmocka_unit_test(a_save_that_is_refused_for_its_generation_is_tried_again_above_the_one_that_is_there),
                cmocka_unit_test(a_stop_does_not_wait_for_a_message_that_came_too_late_for_a_remote_agent),
                cmocka_unit_test(what_a_remote_behaviour_has_left_pending_ends_with_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
