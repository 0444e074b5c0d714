/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ctl/load_answer.h"
#include "ctl/tally.h"

static void codes_are_counted_with_the_first_message_of_each(void **state) {
        Tally tally = { 0 };

        (void)state;

        tally_add(&tally, TALLY_SUCCESS, SLICE_NONE, SLICE_NONE, 10);
        tally_add(&tally, TALLY_FAILURE, SLICE("OVERLOADED"), SLICE("one"), 20);
        tally_add(&tally, TALLY_FAILURE, SLICE("OVERLOADED"), SLICE("two"), 20);
        tally_add(&tally, TALLY_FAILURE, SLICE("NO_ANSWER"), SLICE_NONE, UINT64_MAX);
        assert_int_equal(tally_total(&tally), 4);
        assert_int_equal(tally_n_errors(&tally), 3);
        assert_int_equal(tally.n_codes, 2);
        assert_int_equal(tally.codes[0].n, 2);
        assert_string_equal(tally.codes[0].example, "one");
        assert_int_equal(tally.latency.count, 3); /* what was not answered took no time */
}

static void codes_beyond_the_limit_are_counted_together(void **state) {
        Tally tally = { 0 };
        uint64_t n = 0;

        (void)state;

        for (int i = 0; i < 100; i++) {
                char code[80];
                int size = snprintf(code, sizeof(code), "CODE_%d_%040d", i, i);

                tally_add(&tally, TALLY_FAILURE, (Slice){ code, (size_t)size }, SLICE_NONE, 1);
        }
        assert_int_equal(tally.n_codes, TALLY_CODES_MAX);
        assert_string_equal(tally.codes[TALLY_CODES_MAX - 1].code, "other");
        for (size_t i = 0; i < tally.n_codes; i++)
                n += tally.codes[i].n;
        assert_int_equal(n, 100);
}

static void every_kind_of_answer_is_counted_as_what_it_is(void **state) {
        static const struct {
                const char *body, *code;
                TallyOutcome outcome;
                bool nobody;
        } cases[] = {
                { "{\"agent\":{\"id\":\"a\",\"exec_id\":\"e\"},\"payload\":{\"status\":\"SUCCESS\",\"result\":{"
                  "\"output\":1},\"duration_ms\":1,\"attempt\":1}}",
                        NULL, TALLY_SUCCESS, false },
                { "{\"agent\":{\"id\":\"a\",\"exec_id\":\"e\"},\"payload\":{\"duration_ms\":1,\"attempt\":1,\"status\":"
                  "\"AGENT_ERROR\",\"result\":{\"error\":{\"code\":\"INTERNAL\",\"message\":"
                  "\"m\"}}}}",
                        "INTERNAL", TALLY_AGENT_ERROR, false },
                { "{\"agent\":{\"id\":\"a\",\"exec_id\":\"e\"},\"payload\":{\"duration_ms\":1,\"attempt\":1,\"status\":"
                  "\"FAILURE\",\"result\":{\"error\":{\"code\":\"MADE_UP\",\"message\":\"m\"}}"
                  "}}",
                        "MADE_UP", TALLY_FAILURE, false },
                { "nonsense", "BAD_ANSWER", TALLY_FAILURE, false },
                { "", "NOBODY_LISTENS", TALLY_FAILURE, true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Tally tally = { 0 };
                const InMessage message = { .body = slice_of(cases[i].body), .no_responders = cases[i].nobody };

                load_answer_tally(&tally, &message, 5);
                assert_int_equal(tally.n[cases[i].outcome], 1);
                assert_int_equal(tally_total(&tally), 1);
                assert_int_equal(tally.n_codes, cases[i].code != NULL);
                if (cases[i].code)
                        assert_string_equal(tally.codes[0].code, cases[i].code);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(codes_are_counted_with_the_first_message_of_each),
                cmocka_unit_test(codes_beyond_the_limit_are_counted_together),
                cmocka_unit_test(every_kind_of_answer_is_counted_as_what_it_is),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
