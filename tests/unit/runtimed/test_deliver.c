/* SPDX-License-Identifier: MIT */

#include "tests/unit/runtimed/world.h"

#define NEWS ",\"subscribed_topics\":[\"news\"]"

/* Another agent beside "a". */
static void make_other(World *world, const char *id, const char *type, const char *more) {
        char body[512];

        (void)snprintf(body, sizeof(body), "{\"agent_id\":\"%s\",\"agent_type\":\"%s\"%s}", id, type, more);
        create(world, body);
        play_once(world);
        forget_sent(world);
}

static uint64_t undelivered(const World *world, ErrorCode code) {
        return world->runtime->counters.undelivered[code];
}

/* sharing */

static void agents_that_share_a_topic_share_its_subscription_and_each_gets_a_copy(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", NEWS);
        make_other(&w, "b", "slow", NEWS);
        make_other(&w, "c", "remote", NEWS);
        assert_int_equal(w.n_subscribed, 3 + 3 + 1); /* the reply topics of the world's agents and ours */
        publish(&w, "news", "n");
        play_once(&w);
        assert_string_equal(script.handled, "n;n;n;");
        assert_int_equal(w.runtime->counters.delivered, 3);
        assert_int_equal(w.runtime->counters.handled, 3);
        assert_int_equal(w.runtime->letters.n_letters, 0);

        (void)ask_about(&w, "delete_agent", "b");
        play_once(&w);
        assert_true(is_subscribed(&w, "news"));
        (void)ask_about(&w, "delete_agent", "a");
        (void)ask_about(&w, "delete_agent", "c");
        play_once(&w);
        assert_false(is_subscribed(&w, "news"));
        end_world(&w);
}

static void each_message_of_a_queue_group_reaches_one_of_its_agents(void **state) {
        static const char queue[] = ",\"subscribed_topics\":[{\"topic\":\"jobs\",\"queue\":\"workers\"}]";
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", queue);
        make_other(&w, "b", "quick", queue);
        make_other(&w, "c", "quick", queue);
        w.plays_worker = true;
        for (unsigned i = 0; i < 9; i++)
                publish(&w, "jobs", "j");
        assert_int_equal(agent_of(&w, "a")->n_handled, 3);
        assert_int_equal(agent_of(&w, "b")->n_handled, 3);
        (void)ask_about(&w, "stop_agent", "b");
        for (unsigned i = 0; i < 4; i++)
                publish(&w, "jobs", "j");
        assert_int_equal(agent_of(&w, "b")->n_handled, 3); /* others have its share */
        assert_int_equal(agent_of(&w, "c")->n_handled, 5);
        end_world(&w);
}

static void what_was_queued_is_handled_after_the_topic_is_gone(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", NEWS);
        publish(&w, "news", "1");
        publish(&w, "news", "2");
        publish(&w, "news", "3");
        (void)ask(&w, "unsubscribe_agent", "{\"agent_id\":\"a\",\"topic\":\"news\"}");
        assert_false(is_subscribed(&w, "news"));
        play_once(&w);
        assert_string_equal(script.handled, "1;2;3;");
        end_world(&w);
}

static void what_comes_for_a_subscription_that_has_ended_is_nobodys(void **state) {
        InMessage late = { .subject = SLICE("news"), .body = SLICE("x") };
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", NEWS);
        late.tag = w.subscribed[w.n_subscribed - 1].tag;
        (void)ask_about(&w, "delete_agent", "a");
        runtime_on_message(w.runtime, &late, w.now);
        turn(&w);
        assert_string_equal(script.handled, "");
        assert_int_equal(w.runtime->letters.n_letters, 0);
        end_world(&w);
}

/* lanes */

static void lanes_are_handled_in_their_order_and_late_realtime_messages_not_at_all(void **state) {
        static const char topics[] = ",\"subscribed_topics\":[{\"topic\":\"fast\",\"qos\":\"realtime\"},\"news\","
                                     "{\"topic\":\"slow\",\"qos\":\"background\"}]";

        (void)state;

        for (int is_remote = 0; is_remote < 2; is_remote++) {
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, is_remote ? "remote" : "slow", topics);
                (void)ask_about(&w, "pause_agent", "a");
                publish(&w, "slow", "s");
                publish(&w, "news", "n");
                publish(&w, "fast", "late");
                publish_with(&w, "fast", "_INBOX.asker", NULL, "late, too");
                pass(&w, 1001 * USEC_PER_MSEC);
                publish(&w, "fast", "f");
                (void)ask_about(&w, "resume_agent", "a");
                play_once(&w);
                assert_string_equal(script.handled, "f;n;s;");
                assert_int_equal(undelivered(&w, ERROR_DEADLINE_EXCEEDED), 2);
                assert_int_equal(count_sent(&w, "_INBOX.asker", "DEADLINE_EXCEEDED"), 1);
                end_world(&w);
        }
}

/* what a mailbox does not keep */

static void a_full_mailbox_sheds_messages_as_its_policy_says_and_answers_requests(void **state) {
        static const struct {
                const char *policy, *handled;
                bool is_oldest;
        } cases[] = {
                { "reject", "1;2;", false },
                { "drop_newest", "1;2;", false },
                { "drop_oldest", "2;3;", true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char more[128];
                World w;

                begin_scripted(&w, /* has_store= */ false);
                (void)snprintf(more, sizeof(more), NEWS ",\"mailbox_capacity\":2,\"overflow\":\"%s\"", cases[i].policy);
                make(&w, "slow", more);
                (void)ask_about(&w, "pause_agent", "a");
                publish_with(&w, "news", "_INBOX.one", NULL, "1");
                publish(&w, "news", "2");
                publish_with(&w, "news", "_INBOX.three", NULL, "3");
                assert_int_equal(count_sent(&w, cases[i].is_oldest ? "_INBOX.one" : "_INBOX.three", "MAILBOX_FULL"), 1);
                assert_int_equal(undelivered(&w, ERROR_MAILBOX_FULL), 1);
                assert_int_equal(agent_of(&w, "a")->n_shed, 1);
                (void)ask_about(&w, "resume_agent", "a");
                play_once(&w);
                assert_string_equal(script.handled, cases[i].handled);
                assert_int_equal(count_sent(&w, cases[i].is_oldest ? "_INBOX.three" : "_INBOX.one", NULL), 1);
                end_world(&w);
        }
}

static void a_full_mailbox_counts_what_its_worker_has_not_begun(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "slow", NEWS ",\"mailbox_capacity\":4");
        for (unsigned i = 0; i < 10; i++)
                publish(&w, "news", "n");
        assert_int_equal(undelivered(&w, ERROR_MAILBOX_FULL), 6);
        play_once(&w);
        assert_int_equal(agent_of(&w, "a")->n_handled, 4);
        publish(&w, "news", "n");
        play_once(&w);
        assert_int_equal(agent_of(&w, "a")->n_handled, 5);
        end_world(&w);
}

/* envelopes */

static void a_message_whose_ttl_is_used_up_is_dropped_and_counted(void **state) {
        static const struct {
                const char *headers;
                unsigned n_expired, n_invalid;
        } cases[] = {
                { "Compozy-Ttl: 1\r\n", 1, 0 },
                { "Compozy-Ttl: 0\r\n", 1, 0 },
                { "Compozy-Ttl: 2\r\n", 0, 0 },
                { "Compozy-Ttl: many\r\n", 0, 1 },
                { "Compozy-Thread-Id: t1\r\nCompozy-Hop: 15\r\n", 0, 0 },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const bool is_handled = cases[i].n_expired == 0 && cases[i].n_invalid == 0;
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, "quick", NEWS);
                w.plays_worker = true;
                publish_with(&w, "news", NULL, cases[i].headers, "n");
                assert_int_equal(w.runtime->counters.expired, cases[i].n_expired);
                assert_int_equal(w.runtime->counters.invalid, cases[i].n_invalid);
                assert_string_equal(script.handled, is_handled ? "n;" : "");
                end_world(&w);
        }
}

static void a_message_over_the_limit_is_refused_and_counted(void **state) {
        static char body[70000];
        World w;

        (void)state;

        memset(body, 'x', sizeof(body) - 1);
        begin_scripted(&w, /* has_store= */ false);
        make(&w, "quick", NEWS);
        publish(&w, "news", body);
        assert_int_equal(w.runtime->counters.invalid, 1);
        assert_int_equal(w.runtime->counters.delivered, 0);
        end_world(&w);
}

/* answers */

static void outputs_go_where_an_answer_is_wanted_and_failures_only_to_who_waits(void **state) {
        static const struct {
                const char *why, *reply, *headers, *body, *subject, *answer;
        } cases[] = {
                { "a request", "_INBOX.r", NULL, "x", "_INBOX.r", "1" },
                { "a request without an output", "_INBOX.r", NULL, "quiet", "_INBOX.r", "" },
                { "a request that fails", "_INBOX.r", NULL, "fail", "_INBOX.r", "CAPABILITY_ERROR" },
                { "a thread", NULL, "Compozy-Thread-Id: t1\r\n", "x", "thread.t1.reply", "1" },
                { "a thread without an output", NULL, "Compozy-Thread-Id: t1\r\n", "quiet", "thread.t1.reply", NULL },
                { "a thread, failing", NULL, "Compozy-Thread-Id: t1\r\n", "fail", "thread.t1.reply", NULL },
                { "a header over the request", "_INBOX.r", "Compozy-Reply-To: other\r\n", "x", "other", "1" },
                { "a forbidden subject", NULL, "Compozy-Reply-To: compozy.commands.x\r\n", "x", "compozy.commands.x",
                        NULL },
                { "nobody", NULL, NULL, "x", "thread.t1.reply", NULL },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (int is_remote = 0; is_remote < 2; is_remote++) {
                        World w;

                        begin_scripted(&w, /* has_store= */ false);
                        make(&w, is_remote ? "remote" : "slow", NEWS);
                        publish_with(&w, "news", cases[i].reply, cases[i].headers, cases[i].body);
                        play_once(&w);
                        if (count_sent(&w, cases[i].subject, NULL) != (cases[i].answer ? 1u : 0u))
                                fail_msg("%s: %zu answers", cases[i].why, count_sent(&w, cases[i].subject, NULL));
                        if (cases[i].answer)
                                assert_non_null(strstr(last_sent(&w, cases[i].subject)->body, cases[i].answer));
                        assert_int_equal(w.runtime->letters.n_deliveries, 0);
                        end_world(&w);
                }
}

static void who_asks_a_stopped_or_failed_agent_is_told_so(void **state) {
        World w;

        (void)state;

        begin_scripted(&w, /* has_store= */ false);
        make(&w, "remote", ",\"restart\":{\"max\":0}");
        crash(&w, "a");
        turn(&w);
        assert_string_equal(state_of(&w, "a"), "failed");
        publish_with(&w, "agent.a.replies", "_INBOX.one", NULL, "x");
        assert_int_equal(count_sent(&w, "_INBOX.one", "AGENT_FAILED"), 1);
        (void)ask_about(&w, "start_agent", "a");
        play_once(&w);
        (void)ask_about(&w, "stop_agent", "a");
        play_once(&w);
        publish_with(&w, "agent.a.replies", "_INBOX.two", NULL, "x");
        assert_int_equal(count_sent(&w, "_INBOX.two", "AGENT_STOPPED"), 1);
        end_world(&w);
}

/* later */

static void deferred_and_pending_messages_end_once_and_hold_nothing_afterwards(void **state) {
        (void)state;

        for (int is_remote = 0; is_remote < 2; is_remote++) {
                BehaviorReply reply = { .verdict = BEHAVIOR_DONE };
                World w;

                begin_scripted(&w, /* has_store= */ false);
                make(&w, is_remote ? "remote" : "slow", NEWS);
                w.plays_worker = w.plays_host = true;
                publish_with(&w, "news", "_INBOX.one", NULL, "defer");
                publish_with(&w, "news", "_INBOX.two", NULL, "x");
                assert_int_equal(count_sent(&w, "_INBOX.one", NULL), 0);
                assert_int_equal(count_sent(&w, "_INBOX.two", NULL), 1); /* others go on meanwhile */
                pass(&w, 1100 * USEC_PER_MSEC);
                assert_int_equal(count_sent(&w, "_INBOX.one", NULL), 1);

                publish_with(&w, "news", "_INBOX.three", NULL, "pending");
                publish_with(&w, "news", "_INBOX.four", NULL, "x");
                assert_int_equal(count_sent(&w, "_INBOX.four", NULL), 0); /* one at a time */
                buffer_append_slice(&reply.output, SLICE("at last"));
                assert_true(core_end_pending(w.runtime, agent_of(&w, "a"), script.pending, &reply, w.now));
                turn(&w);
                assert_int_equal(count_sent(&w, "_INBOX.three", "at last"), 1);
                assert_int_equal(count_sent(&w, "_INBOX.four", NULL), 1);
                assert_false(core_end_pending(w.runtime, agent_of(&w, "a"), script.pending, &reply, w.now));
                assert_int_equal(w.runtime->letters.n_deliveries, 0);
                end_world(&w);
        }
}

static void a_discarded_agent_ends_what_was_to_be_handled_later(void **state) {
        static const char *const words[] = { "defer", "pending" };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                for (int is_remote = 0; is_remote < 2; is_remote++)
                        for (int is_out = 0; is_out < 2; is_out++) {
                                size_t deleted;
                                World w;

                                begin_scripted(&w, /* has_store= */ false);
                                make(&w, is_remote ? "remote" : "slow", NEWS);
                                publish_with(&w, "news", "_INBOX.one", NULL, words[i]);
                                if (!is_out)
                                        play_once(&w);
                                deleted = ask(&w, "delete_agent", "{\"agent_id\":\"a\",\"mode\":\"discard\"}");
                                play_once(&w);
                                assert_string_equal(answered(&w, deleted), "ok");
                                assert_int_equal(count_sent(&w, "_INBOX.one", "AGENT_STOPPED"), 1);
                                assert_int_equal(w.runtime->letters.n_deliveries, 0);
                                end_world(&w);
                        }
}

/* A child that hangs holds whatever it was given. */
static void calls_that_are_out_at_the_end_are_freed(void **state) {
        static const MailKind kinds[] = { MAIL_TOPIC, MAIL_ANSWER, MAIL_TIMER };
        World w;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                Delivery *delivery;

                begin_scripted(&w, /* has_store= */ true);
                make(&w, "remote", NEWS);
                delivery = delivery_new(&w.runtime->letters, agent_of(&w, "a"), kinds[i], NULL);
                assert_non_null(delivery);
                assert_int_equal(core_push_mail(w.runtime, agent_of(&w, "a"), &delivery->mail), 0);
                (void)ask_about(&w, "checkpoint_agent", "a");
                assert_int_equal(w.n_calls, 2);
                end_world(&w);
        }
}

static void a_definition_cant_ask_for_the_reply_topic_that_it_has_anyway(void **state) {
        ErrorCode code = ERROR_NONE;
        WireError error = {};
        World w;

        (void)state;

        begin(&w);
        assert_int_equal(runtime_create_agent(w.runtime,
                                 SLICE("{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"subscribed_topics\":[\"agent.x."
                                       "replies\"]}"),
                                 w.now, &code, &error),
                RUNTIME_E_REFUSED);
        assert_int_equal(code, ERROR_REPLY_TOPIC_MANAGED);
        assert_null(core_find_agent(w.runtime, SLICE("x")));
        create(&w, "{\"agent_id\":\"x\",\"agent_type\":\"echo\",\"subscribed_topics\":[\"agent.y.replies\"]}");
        end_world(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(agents_that_share_a_topic_share_its_subscription_and_each_gets_a_copy),
                cmocka_unit_test(each_message_of_a_queue_group_reaches_one_of_its_agents),
                cmocka_unit_test(what_was_queued_is_handled_after_the_topic_is_gone),
                cmocka_unit_test(what_comes_for_a_subscription_that_has_ended_is_nobodys),
                cmocka_unit_test(lanes_are_handled_in_their_order_and_late_realtime_messages_not_at_all),
                cmocka_unit_test(a_full_mailbox_sheds_messages_as_its_policy_says_and_answers_requests),
                cmocka_unit_test(a_full_mailbox_counts_what_its_worker_has_not_begun),
                cmocka_unit_test(a_message_whose_ttl_is_used_up_is_dropped_and_counted),
                cmocka_unit_test(a_message_over_the_limit_is_refused_and_counted),
                cmocka_unit_test(outputs_go_where_an_answer_is_wanted_and_failures_only_to_who_waits),
                cmocka_unit_test(who_asks_a_stopped_or_failed_agent_is_told_so),
                cmocka_unit_test(deferred_and_pending_messages_end_once_and_hold_nothing_afterwards),
                cmocka_unit_test(a_discarded_agent_ends_what_was_to_be_handled_later),
                cmocka_unit_test(a_definition_cant_ask_for_the_reply_topic_that_it_has_anyway),
                cmocka_unit_test(calls_that_are_out_at_the_end_are_freed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
