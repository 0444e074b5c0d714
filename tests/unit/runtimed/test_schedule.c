/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/failing.h"
#include "tests/unit/runtimed/world.h"

#define NEWS ",\"subscribed_topics\":[\"news\"]"

static void publish_number(World *world, unsigned number) {
        char body[16];

        (void)snprintf(body, sizeof(body), "%u", number);
        publish(world, "news", body);
}

/* "0;1;2;...": the first n of it. */
static void assert_handled_in_order(unsigned n) {
        const char *rest = script.handled;

        for (unsigned i = 0; i < n; i++) {
                char wanted[16];

                (void)snprintf(wanted, sizeof(wanted), "%u;", i);
                if (strncmp(rest, wanted, strlen(wanted)) != 0)
                        fail_msg("%s is not where it belongs: %.40s", wanted, rest);
                rest += strlen(wanted);
        }
        assert_string_equal(rest, "");
}

/* The worker handles one message. Returns whether the run came back with it. */
static bool step(World *world) {
        Run *run = world->runs[0];
        Outcome *outcome = run_step(run, world->now.usec);
        const bool ended = run_close(run);

        if (ended) {
                outcome = run_end(run, outcome);
                world->n_runs--;
                memmove(world->runs, world->runs + 1, world->n_runs * sizeof(world->runs[0]));
        }
        if (outcome)
                runtime_on_outcome(world->runtime, outcome, world->now);
        check_world(world);
        return ended;
}

/* Paused, so that all of it is handed out together when it is resumed. */
static void queue_up(World *world, unsigned n) {
        (void)ask_about(world, "pause_agent", "a");
        play_once(world);
        for (unsigned i = 0; i < n; i++)
                publish_number(world, i);
        (void)ask_about(world, "resume_agent", "a");
}

static void order_is_kept_however_runs_are_topped_up_and_come_back(void **state) {
        (void)state;

        for (unsigned seed = 1; seed < 30; seed++) {
                unsigned n = 0;
                Rng rng;
                World w;

                rng_seed(&rng, seed);
                begin_scripted(&w, /* has_store= */ true);
                make(&w, "slow", NEWS ",\"quantum\":4");
                while (n < 300) {
                        switch (rng_below(&rng, 6)) {
                        case 0:
                                core_recall(agent_of(&w, "a"));
                                break;
                        case 1:
                                (void)ask_about(&w, "checkpoint_agent", "a");
                                break;
                        case 2:
                                pass(&w, rng_below(&rng, 3000));
                                break;
                        case 3:
                                if (w.n_runs > 0)
                                        (void)step(&w);
                                turn(&w);
                                break;
                        default:
                                publish_number(&w, n++);
                                break;
                        }
                }
                play_once(&w);
                assert_handled_in_order(n);
                end_world(&w);
        }
}

static void a_run_that_stays_out_gives_back_what_it_has_done(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, "slow", NEWS);
        publish_number(&w, 0);
        for (unsigned i = 1; i <= 1000; i++) {
                publish_number(&w, i);
                assert_false(step(&w));
                assert_true(w.runtime->letters.n_deliveries < 20);
        }
        assert_int_equal(w.n_runs, 1);
        assert_true(agent_of(&w, "a")->n_handled > 900);
        play_once(&w);
        end_world(&w);
}

static void control_does_not_wait_behind_messages(void **state) {
        static const struct { const char *verb; } cases[] = { { "checkpoint_agent" }, { "pause_agent" } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t asked;
                World w;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, "slow", NEWS);
                queue_up(&w, 20);
                asked = ask_about(&w, cases[i].verb, "a");
                assert_true(step(&w)); /* the one that it had, and back */
                turn(&w);
                if (i == 0)
                        (void)step(&w);
                turn(&w);
                assert_string_equal(answered(&w, asked), "ok");
                assert_string_equal(script.handled, "0;");
                if (i == 1)
                        (void)ask_about(&w, "resume_agent", "a");
                play_once(&w);
                assert_handled_in_order(20);
                end_world(&w);
        }
}

static void a_remote_behaviour_has_no_more_open_than_it_may(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", NEWS ",\"max_concurrency\":3");
        for (unsigned i = 0; i < 10; i++)
                publish_number(&w, i);
        assert_int_equal(w.n_calls, 3);
        end_call(&w, 2); /* in any order */
        turn(&w);
        assert_int_equal(w.n_calls, 3);
        end_call(&w, 0);
        end_call(&w, 0);
        turn(&w);
        assert_int_equal(w.n_calls, 3);
        play_once(&w);
        assert_int_equal(agent_of(&w, "a")->n_handled, 10);
        end_world(&w);
}

static void nothing_is_handled_beside_what_is_pending_with_a_worker(void **state) {
        BehaviorReply reply = { .verdict = BEHAVIOR_DONE };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", NEWS);
        (void)ask_about(&w, "pause_agent", "a");
        publish(&w, "news", "pending");
        publish(&w, "news", "1");
        (void)ask_about(&w, "resume_agent", "a");
        play_once(&w);
        assert_string_equal(script.handled, "pending;");
        assert_true(core_end_pending(w.runtime, agent_of(&w, "a"), script.pending, &reply, w.now));
        play_once(&w);
        assert_string_equal(script.handled, "pending;1;");
        end_world(&w);
}

static void grants_follow_how_long_messages_take(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", NEWS ",\"quantum\":64");
        queue_up(&w, 100);
        stall(&w, 640 * USEC_PER_MSEC); /* 10 ms each */
        work(&w, 0);
        assert_int_equal(agent_of(&w, "a")->grant, 1);
        turn(&w);
        for (unsigned grant = 2; grant <= 32; grant *= 2) {
                work(&w, 0); /* in no time */
                assert_int_equal(agent_of(&w, "a")->grant, grant);
                turn(&w);
        }
        play_once(&w);
        assert_handled_in_order(100);
        end_world(&w);
}

static void agents_take_turns(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        for (unsigned i = 0; i < 5; i++) {
                char text[128];

                (void)snprintf(text, sizeof(text),
                        "{\"agent_id\":\"f%u\",\"agent_type\":\"slow\",\"quantum\":1,\"subscribed_topics\":[\"news\"]}",
                        i);
                create(&w, text);
        }
        play_once(&w);
        for (unsigned i = 0; i < 8; i++)
                publish_number(&w, i);
        while (w.n_runs > 0) {
                assert_int_equal(w.n_runs, 5); /* each has one before any has its next */
                for (unsigned i = 0; i < 5; i++)
                        work(&w, 0);
                turn(&w);
        }
        for (unsigned i = 1; i < 5; i++) {
                char id[16];

                (void)snprintf(id, sizeof(id), "f%u", i);
                assert_int_equal(agent_of(&w, id)->n_handled, agent_of(&w, "f0")->n_handled);
        }
        play_once(&w);
        end_world(&w);
}

static void what_a_worker_skipped_takes_no_slot_for_ever(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", "");
        for (unsigned i = 0; i < 10; i++) {
                char exec[16];

                (void)snprintf(exec, sizeof(exec), "e%u", i);
                trigger(&w, exec, "x");
        }
        (void)ask(&w, "stop_agent", "{\"agent_id\":\"a\",\"mode\":\"discard\"}");
        play_once(&w);
        assert_string_equal(result_of(&w, "e0"), "FAILURE AGENT_STOPPED");
        assert_int_equal(runtime_n_in_flight(w.runtime), 0);
        end_world(&w);
}

/* memory */

typedef void (*Deed)(World *world);

static void request(World *world, const char *verb, const char *body) {
        InMessage message = { .subject = slice_of(verb), .reply = SLICE("_INBOX.ctl.oom"), .body = slice_of(body) };

        runtime_on_message(world->runtime, &message, world->now);
}

static void do_subscribe(World *world) {
        request(world, CONTROL "subscribe_agent", "{\"agent_id\":\"a\",\"topic\":\"more\",\"queue\":\"q\"}");
}

static void do_unsubscribe(World *world) {
        request(world, CONTROL "unsubscribe_agent", "{\"agent_id\":\"a\",\"topic\":\"news\"}");
}

static void do_delete(World *world) {
        request(world, CONTROL "delete_agent", "{\"agent_id\":\"a\"}");
}

static void do_stop(World *world) {
        request(world, CONTROL "stop_agent", "{\"agent_id\":\"a\",\"mode\":\"discard\"}");
}

static void do_pause(World *world) {
        request(world, CONTROL "pause_agent", "{\"agent_id\":\"a\"}");
}

static void do_checkpoint(World *world) {
        request(world, CONTROL "checkpoint_agent", "{\"agent_id\":\"a\"}");
}

static void do_trigger(World *world) {
        request(world, TRIGGER, "{\"agent\":{\"id\":\"a\"},\"payload\":{\"context\":{\"input\":\"oom\"}}}");
}

static void do_publish(World *world) {
        for (size_t i = 0; i < world->n_subscribed; i++) {
                InMessage message = { .subject = SLICE("news"),
                        .reply = SLICE("_INBOX.oom"),
                        .body = SLICE("oom"),
                        .tag = world->subscribed[i].tag };

                if (strcmp(world->subscribed[i].subject, "news") == 0)
                        runtime_on_message(world->runtime, &message, world->now);
        }
}

static void do_defer(World *world) {
        request(world, TRIGGER, "{\"agent\":{\"id\":\"a\"},\"payload\":{\"context\":{\"input\":\"defer\"}}}");
}

static void do_pending(World *world) {
        request(world, TRIGGER, "{\"agent\":{\"id\":\"a\"},\"payload\":{\"context\":{\"input\":\"pending\"}}}");
}

static void change_definition(World *world, const char *definition) {
        ErrorCode code;
        WireError error;

        (void)runtime_change_agent(world->runtime, slice_of(definition), world->now, &code, &error);
}

static void do_change(World *world) {
        const Behavior *behavior = agent_of(world, "a")->definition->behavior;
        char text[256];

        (void)snprintf(text, sizeof(text),
                "{\"agent_id\":\"a\",\"agent_type\":\"%s\",\"subscribed_topics\":[\"new\",\"newer\"]}", behavior->type);
        change_definition(world, text);
}

static void do_change_kind(World *world) {
        change_definition(world, "{\"agent_id\":\"a\",\"agent_type\":\"slow\",\"subscribed_topics\":[\"new\"]}");
}

static void do_create(World *world) {
        request(world, CONTROL "create_agent",
                "{\"agent_id\":\"b\",\"agent_type\":\"quick\",\"subscribed_topics\":[\"news\",\"x\"]}");
}

static void do_create_slowly(World *world) {
        request(world, CONTROL "create_agent",
                "{\"agent_id\":\"b\",\"agent_type\":\"slow\",\"subscribed_topics\":[\"news\",\"x\"]}");
}

/* Its process dies. */
static void do_crash(World *world) {
        if (agent_of(world, "a")->definition->behavior->is_remote)
                crash(world, "a");
}

/* The host and the store of the world always have memory. */
static void follow_calls(World *world) {
        while (world->n_calls > 0) {
                const size_t left = fail_at;
                Outcome *outcome;

                fail_at = 0;
                outcome = take_call_out(world, 0);
                carry_out_call(outcome->mail, outcome);
                fail_at = left;
                runtime_on_outcome(world->runtime, outcome, world->now);
                check_world(world);
        }
}

static void follow_requests(World *world) {
        while (world->n_requests > 0) {
                const size_t left = fail_at;
                StoreRequest *request;

                fail_at = 0;
                request = take_request_out(world);
                fail_at = left;
                runtime_on_stored(world->runtime, request, world->now);
                check_world(world);
        }
}

/* What follows from it. */
static void follow(World *world) {
        for (unsigned i = 0; i < 6; i++) {
                runtime_on_turn_end(world->runtime, world->now);
                take_work(world);
                while (world->n_runs > 0)
                        work(world, 0);
                follow_calls(world);
                follow_requests(world);
        }
        runtime_on_turn_end(world->runtime, world->now);
        check_world(world);
}

static void end_what_is_pending(World *world) {
        BehaviorReply reply = { .verdict = BEHAVIOR_DONE };

        if (script.pending > 0 && agent_of(world, "a"))
                (void)core_end_pending(world->runtime, agent_of(world, "a"), script.pending, &reply, world->now);
        behavior_reply_done(&reply);
}

/* Memory is there again: everything comes to an end, and everything works. */
static void assert_all_is_well(World *world, const char *type) {
        size_t asked;

        world->plays_worker = world->plays_host = world->plays_store = true;
        turn(world);
        end_what_is_pending(world);
        turn(world);
        pass(world, 35 * USEC_PER_SEC);
        assert_int_equal(runtime_n_in_flight(world->runtime), 0);
        if (!agent_of(world, "a"))
                (void)ask_to_create(world, type, "");
        if (strcmp(state_of(world, "a"), "paused") == 0)
                (void)ask_about(world, "resume_agent", "a");
        if (strcmp(state_of(world, "a"), "running") != 0)
                (void)ask_about(world, "start_agent", "a");
        assert_string_equal(state_of(world, "a"), "running");
        forget_sent(world);
        trigger(world, "last", "x");
        assert_string_equal(result_of(world, "last"), "SUCCESS");
        asked = ask_about(world, "checkpoint_agent", "a");
        assert_string_equal(answered(world, asked), "ok");
        asked = ask_about(world, "delete_agent", "a");
        assert_string_equal(answered(world, asked), "ok");
        if (agent_of(world, "b"))
                (void)ask_about(world, "delete_agent", "b");
        assert_null(agent_of(world, "b"));
        assert_int_equal(script.n_alive, 0);
        assert_int_equal(world->runtime->letters.n_deliveries, 0);
        assert_false(is_subscribed(world, "news") || is_subscribed(world, "new") || is_subscribed(world, "more") ||
                     is_subscribed(world, "x"));
}

static bool survives(const char *type, const char *more, Deed deed, size_t n) {
        bool has_failed;
        World w;

        begin_scripted(&w, /* has_store= */ true);
        make(&w, type, more);
        trigger(&w, "before", "x");
        fail_at = n;
        deed(&w);
        follow(&w);
        has_failed = fail_at == 0;
        fail_at = 0;
        assert_all_is_well(&w, type);
        end_world(&w);
        return has_failed;
}

static void whatever_memory_is_out_for_nothing_is_broken_and_nothing_stays_behind(void **state) {
        static const Deed deeds[] = { do_subscribe, do_unsubscribe, do_delete, do_stop, do_pause, do_checkpoint,
                do_trigger, do_publish, do_defer, do_pending, do_change, do_change_kind, do_create, do_create_slowly,
                do_crash };
        static const char *const types[] = { "quick", "slow", "remote" };
        static const char *const more[] = { NEWS, NEWS ",\"checkpoint_interval_ms\":0" };

        (void)state;

        if (!FAILING_WORKS)
                skip();
        log_set_level(LOG_CRIT);
        for (size_t i = 0; i < ELEMENTSOF(deeds); i++)
                for (size_t type = 0; type < ELEMENTSOF(types); type++)
                        for (size_t k = 0; k < ELEMENTSOF(more); k++)
                                for (size_t n = 1; survives(types[type], more[k], deeds[i], n); n++)
                                        ;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(order_is_kept_however_runs_are_topped_up_and_come_back),
                cmocka_unit_test(a_run_that_stays_out_gives_back_what_it_has_done),
                cmocka_unit_test(control_does_not_wait_behind_messages),
                cmocka_unit_test(a_remote_behaviour_has_no_more_open_than_it_may),
                cmocka_unit_test(nothing_is_handled_beside_what_is_pending_with_a_worker),
                cmocka_unit_test(grants_follow_how_long_messages_take),
                cmocka_unit_test(agents_take_turns),
                cmocka_unit_test(what_a_worker_skipped_takes_no_slot_for_ever),
                cmocka_unit_test(whatever_memory_is_out_for_nothing_is_broken_and_nothing_stays_behind),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
