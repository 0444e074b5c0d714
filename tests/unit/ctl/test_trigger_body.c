/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "ctl/hints.h"
#include "ctl/trigger_body.h"

/* What the wish comes to, as one text; its error goes nowhere. */
static CtlExit write_wish(const TriggerWish *wish, uint64_t number, Buffer *ret) {
        _cleanup_(trigger_body_done) TriggerBody body = {};
        static const Ctl quiet = { .global = { .quiet = true } };
        CtlExit status = trigger_body_init(&body, &quiet, wish);

        if (status == CTL_EXIT_OK)
                trigger_body_write(&body, SLICE("e-1"), number, ret);
        buffer_append_char(ret, '\0');
        return status;
}

static void all_that_is_wished_is_in_the_message(void **state) {
        _cleanup_(buffer_done) Buffer text = {};
        json_auto_t *input = json_pack("{s:[i,b]}", "x", 1, 0);
        const TextList labels = { .items = { "zone=a", "b=" }, .n_items = 2 }, env = { .items = { "K=v=w" }, 1 };
        const TriggerWish wish = { .agent_id = "greeter",
                .workflow_id = "billing",
                .reply_to = "here",
                .deadline_ms = 1234,
                .retry = "always",
                .priority = 80,
                .labels = &labels,
                .env = &env,
                .input = input };

        (void)state;

        assert_int_equal(write_wish(&wish, 1, &text), CTL_EXIT_OK);
        assert_string_equal(text.data,
                "{\"metadata\":{\"type\":\"TriggerAgent\",\"source_component\":\"compozyctl\"},"
                "\"workflow\":{\"id\":\"billing\"},\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e-1\"},"
                "\"payload\":{\"reply_to_subject\":\"here\",\"deadline_ms\":1234,\"retry\":\"always\",\"priority\":80,"
                "\"labels\":{\"zone\":\"a\",\"b\":\"\"},"
                "\"context\":{\"env\":{\"K\":\"v=w\"},\"input\":{\"x\":[1,false]}}}}");
}

static void a_number_goes_into_the_input(void **state) {
        static const struct {
                const char *input, *ending;
        } cases[] = {
                { NULL, "\"context\":{\"input\":{\"n\":7}}}}" },
                { "{}", "\"context\":{\"input\":{\"n\":7}}}}" },
                { "{\"a\":1}", "\"context\":{\"input\":{\"a\":1,\"n\":7}}}}" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer text = {};
                json_auto_t *input = cases[i].input ? json_loads(cases[i].input, 0, NULL) : NULL;
                const TriggerWish wish = { .agent_id = "a", .workflow_id = "w", .input = input, .is_numbered = true };
                json_auto_t *whole = NULL;

                assert_int_equal(write_wish(&wish, 7, &text), CTL_EXIT_OK);
                assert_string_equal(text.data + strlen(text.data) - strlen(cases[i].ending), cases[i].ending);
                whole = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
                assert_non_null(whole);
        }
}

static void a_wish_that_makes_no_sense_is_a_usage_error(void **state) {
        json_auto_t *list = json_array(), *has_n = json_pack("{s:i}", "n", 1);
        const TextList labels = { .items = { "zone" }, .n_items = 1 }, env = { .items = { "=v" }, 1 };
        const TextList not_text = { .items = { "k=\xff" }, .n_items = 1 };
        const TriggerWish wishes[] = {
                { .agent_id = "a", .workflow_id = "w", .input = list, .is_numbered = true },
                { .agent_id = "a", .workflow_id = "w", .input = has_n, .is_numbered = true },
                { .agent_id = "a", .workflow_id = "w", .labels = &labels },
                { .agent_id = "a", .workflow_id = "w", .env = &env },
                { .agent_id = "a", .workflow_id = "w", .env = &not_text },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(wishes); i++) {
                _cleanup_(buffer_done) Buffer text = {};

                assert_int_equal(write_wish(&wishes[i], 1, &text), CTL_EXIT_USAGE);
        }
}

static void hints_name_agent_and_execution(void **state) {
        char place[512];

        (void)state;

        assert_non_null(strstr(hint_for("NO_RUNTIME", "tom", "e-1", place, sizeof(place)), "why tom`"));
        assert_non_null(strstr(hint_for("DEADLINE_EXCEEDED", "tom", "e-1", place, sizeof(place)), "why e-1`"));
        assert_null(hint_for("INTERNAL", "tom", "e-1", place, sizeof(place)));
        for (size_t size = 1; size < 40; size++)
                assert_true(strlen(hint_for("NO_RUNTIME", "tom", "e-1", place, size)) < size);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_that_is_wished_is_in_the_message),
                cmocka_unit_test(a_number_goes_into_the_input),
                cmocka_unit_test(a_wish_that_makes_no_sense_is_a_usage_error),
                cmocka_unit_test(hints_name_agent_and_execution),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
