/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/agent.h"

/* The whole table, written down once more by hand: a changed cell must be changed here, too. */
static void every_state_answers_every_event_as_documented(void **state) {
        static const AgentState expected[_AGENT_STATE_MAX][_AGENT_EVENT_MAX] = {
                /*                   START           READY          FAIL          STOP            IDLE DELETE */
                [AGENT_CREATED] = { AGENT_STARTING, 0, 0, 0, 0, AGENT_DELETED },
                [AGENT_STARTING] = { 0, AGENT_RUNNING, AGENT_FAILED, 0, 0, 0 },
                [AGENT_RUNNING] = { 0, 0, 0, AGENT_STOPPING, 0, 0 },
                [AGENT_STOPPING] = { 0, 0, 0, 0, AGENT_STOPPED, 0 },
                [AGENT_STOPPED] = { AGENT_STARTING, 0, 0, 0, 0, AGENT_DELETED },
                [AGENT_FAILED] = { AGENT_STARTING, 0, 0, 0, 0, AGENT_DELETED },
        };

        (void)state;

        for (unsigned s = 0; s < _AGENT_STATE_MAX; s++) {
                assert_non_null(agent_state_name((AgentState)s));
                for (unsigned e = 0; e < _AGENT_EVENT_MAX; e++)
                        assert_int_equal(agent_next_state((AgentState)s, (AgentEvent)e), expected[s][e]);
        }
}

static Agent *new_agent(const char *text) {
        Definition *definition = NULL;
        Agent *agent = NULL;
        WireError error;

        assert_int_equal(definition_parse(slice_of(text), behaviors_builtin, &definition, &error), 0);
        assert_int_equal(agent_new(definition, &agent), 0);
        return agent;
}

static void an_agent_starts_stops_and_starts_again(void **state) {
        _cleanup_(agent_freep) Agent *agent = new_agent("{\"agent_id\":\"a\",\"agent_type\":\"counter\"}");
        char why[64];

        (void)state;

        assert_int_equal(agent_stop(agent), AGENT_E_INVALID_TRANSITION);
        assert_int_equal(agent_start(agent, why, sizeof(why)), 0);
        assert_int_equal(agent_start(agent, why, sizeof(why)), AGENT_E_INVALID_TRANSITION);
        assert_false(agent_settle(agent));
        assert_int_equal(agent_stop(agent), 0);
        assert_true(agent_settle(agent));
        assert_int_equal(agent->state, AGENT_STOPPED);
        assert_int_equal(agent_start(agent, why, sizeof(why)), 0);
        assert_int_equal(agent_delete(agent), AGENT_E_INVALID_TRANSITION);
}

static void a_failed_init_is_told_and_leaves_the_agent_failed(void **state) {
        _cleanup_(agent_freep) Agent *agent =
                new_agent("{\"agent_id\":\"a\",\"agent_type\":\"counter\",\"parameters\":{\"start\":\"x\"}}");
        char why[64];

        (void)state;

        assert_int_equal(agent_start(agent, why, sizeof(why)), AGENT_E_INIT_FAILED);
        assert_non_null(strstr(why, "start"));
        assert_int_equal(agent->state, AGENT_FAILED);
        assert_null(agent_take_run(agent));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_state_answers_every_event_as_documented),
                cmocka_unit_test(an_agent_starts_stops_and_starts_again),
                cmocka_unit_test(a_failed_init_is_told_and_leaves_the_agent_failed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
