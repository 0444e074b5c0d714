/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "ctl/top_plan.h"
#include "tests/unit/ctl/top_answers.h"

/* A fleet that answers what it is asked: dispatchers d1 ... and so many runtimes. */
typedef struct Fleet {
        TopPlan plan;
        TopModel model;
        TopUi ui;
        unsigned n_dispatchers, n_runtimes;
        unsigned n_pages, n_status, n_agents; /* questions that came */
        char last_body[256], last_id[ID_MAX + 1];
        const char *last_verb;
        uint64_t page_usec; /* how long a page takes */
        uint64_t now_usec;
        unsigned lost_page; /* the number of a page whose answer does not come; 0: none */
        bool is_dumb;       /* answers nothing */
} Fleet;

static void begin(Fleet *fleet, unsigned n_dispatchers, unsigned n_runtimes) {
        *fleet = (Fleet){ .n_dispatchers = n_dispatchers, .n_runtimes = n_runtimes, .now_usec = 100 * SECOND };
        top_plan_init(&fleet->plan, SECOND);
        top_model_init(&fleet->model);
        top_ui_init(&fleet->ui);
}

static void end(Fleet *fleet) {
        top_ui_done(&fleet->ui);
        top_model_done(&fleet->model);
}

static void answer(Fleet *fleet, uint64_t token, json_t *result) {
        json_t *root = json_pack("{s:b, s:o}", "ok", 1, "result", result);
        char *text = json_dumps(root, 0);

        top_plan_answer(&fleet->plan, &fleet->model, &fleet->ui, token, text, strlen(text), fleet->now_usec);
        free(text);
        json_decref(root);
}

static json_t *page_after(const Fleet *fleet, const char *body) {
        const char *after = strstr(body, "\"after\":\"r");
        const unsigned first = after ? (unsigned)strtoul(after + strlen("\"after\":\"r"), NULL, 10) + 1 : 0;
        const unsigned n = MIN_OF(1000U, fleet->n_runtimes - first);
        json_t *page = list_runtimes(first, n, "live", 0);
        char last[32];

        (void)snprintf(last, sizeof(last), "r%05u", first + n - 1);
        if (first + n < fleet->n_runtimes)
                (void)json_object_set_new(page, "next", json_string(last));
        return page;
}

static void reply(Fleet *fleet, const TopQuestion *asked) {
        const TopQuestion question = *asked;
        char text[64];

        fleet->last_verb = question.verb;
        (void)snprintf(fleet->last_body, sizeof(fleet->last_body), "%s", question.body);
        (void)snprintf(fleet->last_id, sizeof(fleet->last_id), "%s", question.id);
        fleet->n_pages += question.kind == TOP_ASK_LIST;
        fleet->n_status += question.kind == TOP_ASK_STATUS;
        fleet->n_agents += question.kind == TOP_ASK_AGENTS;
        if (fleet->is_dumb || (question.kind == TOP_ASK_LIST && fleet->n_pages == fleet->lost_page))
                return;
        switch (question.kind) {
        case TOP_ASK_PING:
                for (unsigned i = 1; i <= fleet->n_dispatchers; i++) {
                        (void)snprintf(text, sizeof(text), "{\"id\":\"d%u\"}", i);
                        top_plan_answer(&fleet->plan, &fleet->model, &fleet->ui, question.token, text, strlen(text),
                                fleet->now_usec);
                }
                break;
        case TOP_ASK_LIST:
                fleet->now_usec += fleet->page_usec;
                answer(fleet, question.token, page_after(fleet, question.body));
                break;
        case TOP_ASK_STATUS:
                answer(fleet, question.token, json_pack("{s:s}", "dispatcher_id", question.id));
                break;
        default:
                answer(fleet, question.token, json_pack("{s:s}", "state", "draining"));
        }
}

/* So many turns of 10 ms. */
static void run(Fleet *fleet, unsigned n) {
        const TopQuestion *question;

        for (unsigned i = 0; i < n; i++, fleet->now_usec += SECOND / 100) {
                (void)top_plan_turn(&fleet->plan, &fleet->model, &fleet->ui, true, fleet->now_usec);
                while (top_plan_next(&fleet->plan, fleet->now_usec, &question))
                        reply(fleet, question);
        }
}

static void test_all_dispatchers_are_found_and_asked_once_an_interval(void **state) {
        Fleet fleet;

        (void)state;
        begin(&fleet, 3, 10);
        run(&fleet, 20);
        assert_int_equal(fleet.model.n_dispatchers, 3);
        assert_int_equal(fleet.n_status, 3);
        run(&fleet, 1000);
        assert_in_range(fleet.n_status, 30, 33);
        assert_int_equal(fleet.model.n_runtimes, 10);
        assert_int_equal(fleet.n_agents, 0); /* nobody looks at any */
        end(&fleet);
}

static void test_a_large_fleet_is_read_in_pages_and_rarely(void **state) {
        Fleet fleet;

        (void)state;
        begin(&fleet, 2, 10000);
        fleet.page_usec = SECOND / 50; /* 20 pages: 0.4 s, so that 3.6 s of rest follow */
        run(&fleet, 100);
        assert_int_equal(fleet.model.n_runtimes, 10000);
        assert_int_equal(fleet.n_pages, 20);
        fleet.n_pages = 0;
        run(&fleet, 2000); /* 20 s and what the pages take */
        assert_in_range(fleet.n_pages, 60, 120);
        end(&fleet);
}

static void test_a_list_of_which_a_page_was_lost_is_read_again_soon(void **state) {
        Fleet fleet;

        (void)state;
        begin(&fleet, 1, 10000);
        fleet.lost_page = 7;
        run(&fleet, 100);
        assert_int_equal(fleet.model.n_runtimes, 6000);
        run(&fleet, 400); /* its two seconds, one of rest, and the next tick */
        assert_int_equal(fleet.model.n_runtimes, 10000);
        assert_int_equal(fleet.n_pages, 17);
        end(&fleet);
}

static void test_only_what_is_looked_at_is_asked_for(void **state) {
        Fleet fleet;

        (void)state;
        begin(&fleet, 1, 100);
        run(&fleet, 50);
        (void)top_ui_key(&fleet.ui, &fleet.model, '2');
        top_plan_look(&fleet.plan);
        run(&fleet, 1);
        assert_int_equal(fleet.n_agents, TOP_WATCHED_MAX); /* of a hundred, the busiest */
        (void)top_ui_key(&fleet.ui, &fleet.model, '1');
        (void)top_ui_key(&fleet.ui, &fleet.model, TOP_KEY_ENTER);
        fleet.n_agents = 0;
        top_plan_look(&fleet.plan);
        run(&fleet, 1);
        assert_int_equal(fleet.n_agents, 1);
        assert_string_equal(fleet.last_body, "{\"limit\":100,\"sort\":\"handled\"}");
        assert_non_null(fleet.model.runtime_status);
        end(&fleet);
}

static void test_whoever_does_not_answer_is_not_asked_twice_and_given_up(void **state) {
        Fleet fleet;

        (void)state;
        begin(&fleet, 1, 10);
        run(&fleet, 10);
        fleet.is_dumb = true;
        fleet.n_status = 0;
        run(&fleet, 390);
        assert_int_equal(fleet.n_status, 2); /* after its two seconds once more */
        run(&fleet, 1000);
        assert_int_equal(fleet.model.n_dispatchers, 0);
        assert_in_range(fleet.plan.n_asked, 0, 2); /* still looking for others */
        fleet.is_dumb = false;
        run(&fleet, 500);
        assert_int_equal(fleet.model.n_dispatchers, 1);
        assert_int_equal(fleet.model.n_runtimes, 10);
        end(&fleet);
}

static void test_a_lost_connection_forgets_questions_and_nothing_else(void **state) {
        Fleet fleet;
        const TopQuestion *question;

        (void)state;
        begin(&fleet, 2, 10);
        run(&fleet, 50);
        fleet.is_dumb = true;
        run(&fleet, 100);
        assert_true(fleet.plan.n_asked > 0);
        (void)top_plan_turn(&fleet.plan, &fleet.model, &fleet.ui, false, fleet.now_usec);
        assert_int_equal(fleet.plan.n_asked, 0);
        fleet.now_usec += 60 * SECOND;
        (void)top_plan_turn(&fleet.plan, &fleet.model, &fleet.ui, false, fleet.now_usec);
        assert_false(top_plan_next(&fleet.plan, fleet.now_usec, &question));
        assert_int_equal(fleet.model.n_dispatchers, 2);
        assert_int_equal(fleet.model.n_runtimes, 10);
        fleet.is_dumb = false;
        fleet.n_status = 0;
        run(&fleet, 1); /* at once */
        assert_int_equal(fleet.n_status, 2);
        end(&fleet);
}

static void test_an_action_is_asked_and_its_answer_told(void **state) {
        Fleet fleet;
        const TopAction drain = { .kind = TOP_ACTION_DRAIN, .runtime_id = "r00003" };

        (void)state;
        begin(&fleet, 1, 10);
        run(&fleet, 50);
        top_plan_act(&fleet.plan, &drain);
        run(&fleet, 1);
        assert_string_equal(fleet.ui.message, "Drain r00003: draining");
        end(&fleet);
}

static void test_a_list_that_never_ends_is_left(void **state) {
        Fleet fleet;
        const TopQuestion *question;

        (void)state;
        begin(&fleet, 1, 10);
        run(&fleet, 10);
        fleet.is_dumb = true;
        for (unsigned i = 0, n = 0; i < 1000; i++, fleet.now_usec += SECOND / 100) {
                (void)top_plan_turn(&fleet.plan, &fleet.model, &fleet.ui, true, fleet.now_usec);
                while (top_plan_next(&fleet.plan, fleet.now_usec, &question))
                        if (question->kind == TOP_ASK_LIST) {
                                const uint64_t token = question->token;

                                assert_true(n++ < 20);
                                answer(&fleet, token, json_pack("{s:[], s:s}", "runtimes", "next", "r1"));
                        }
        }
        end(&fleet);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_dispatchers_are_found_and_asked_once_an_interval),
                cmocka_unit_test(test_a_large_fleet_is_read_in_pages_and_rarely),
                cmocka_unit_test(test_a_list_of_which_a_page_was_lost_is_read_again_soon),
                cmocka_unit_test(test_only_what_is_looked_at_is_asked_for),
                cmocka_unit_test(test_whoever_does_not_answer_is_not_asked_twice_and_given_up),
                cmocka_unit_test(test_a_lost_connection_forgets_questions_and_nothing_else),
                cmocka_unit_test(test_an_action_is_asked_and_its_answer_told),
                cmocka_unit_test(test_a_list_that_never_ends_is_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
