/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtimed/agent.h"

/* The whole table, written down once more by hand: a changed cell must be changed here, too. */
static void every_state_answers_every_event_as_documented(void **state) {
        static const struct {
                AgentState from;
                AgentEvent event;
                AgentState to;
        } allowed[] = {
                { AGENT_CREATED, AGENT_EV_START, AGENT_STARTING },
                { AGENT_CREATED, AGENT_EV_DELETE, AGENT_DELETED },
                { AGENT_STARTING, AGENT_EV_READY, AGENT_RUNNING },
                { AGENT_STARTING, AGENT_EV_FAIL, AGENT_FAILED },
                { AGENT_STARTING, AGENT_EV_STOP, AGENT_STOPPING },
                { AGENT_RUNNING, AGENT_EV_PAUSE, AGENT_PAUSED },
                { AGENT_RUNNING, AGENT_EV_RESTART, AGENT_STARTING },
                { AGENT_RUNNING, AGENT_EV_FAIL, AGENT_FAILED },
                { AGENT_RUNNING, AGENT_EV_STOP, AGENT_STOPPING },
                { AGENT_PAUSED, AGENT_EV_RESUME, AGENT_RUNNING },
                { AGENT_PAUSED, AGENT_EV_RESTART, AGENT_STARTING },
                { AGENT_PAUSED, AGENT_EV_FAIL, AGENT_FAILED },
                { AGENT_PAUSED, AGENT_EV_STOP, AGENT_STOPPING },
                { AGENT_STOPPING, AGENT_EV_IDLE, AGENT_STOPPED },
                { AGENT_STOPPED, AGENT_EV_START, AGENT_STARTING },
                { AGENT_STOPPED, AGENT_EV_DELETE, AGENT_DELETED },
                { AGENT_FAILED, AGENT_EV_START, AGENT_STARTING },
                { AGENT_FAILED, AGENT_EV_DELETE, AGENT_DELETED },
        };
        AgentState expected[_AGENT_STATE_MAX][_AGENT_EVENT_MAX] = {};

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(allowed); i++)
                expected[allowed[i].from][allowed[i].event] = allowed[i].to;
        for (unsigned s = 0; s < _AGENT_STATE_MAX; s++) {
                assert_non_null(agent_state_name((AgentState)s));
                for (unsigned e = 0; e < _AGENT_EVENT_MAX; e++) {
                        assert_non_null(agent_event_name((AgentEvent)e));
                        assert_int_equal(agent_next_state((AgentState)s, (AgentEvent)e), expected[s][e]);
                }
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

static void a_transition_that_the_table_lacks_changes_nothing(void **state) {
        _cleanup_(agent_freep) Agent *agent = new_agent("{\"agent_id\":\"a\",\"agent_type\":\"counter\"}");

        (void)state;

        assert_int_equal(agent_apply(agent, AGENT_EV_STOP), AGENT_E_INVALID_TRANSITION);
        assert_int_equal(agent->state, AGENT_CREATED);
        assert_int_equal(agent_apply(agent, AGENT_EV_START), 0);
        assert_int_equal(agent_apply(agent, AGENT_EV_START), AGENT_E_INVALID_TRANSITION);
        assert_int_equal(agent->state, AGENT_STARTING);
}

static void only_control_mail_goes_to_an_agent_whose_behaviour_is_not_there(void **state) {
        _cleanup_(agent_freep) Agent *agent = new_agent("{\"agent_id\":\"a\",\"agent_type\":\"echo\"}");

        (void)state;

        assert_int_equal(agent_open_lanes(agent), LANES_CONTROL);
        assert_int_equal(agent_apply(agent, AGENT_EV_START), 0);
        assert_int_equal(agent_open_lanes(agent), LANES_CONTROL);
        assert_int_equal(agent_apply(agent, AGENT_EV_READY), 0);
        agent->has_behavior = true;
        assert_int_equal(agent_open_lanes(agent), LANES_ALL);
        agent->n_open = 1; /* as many as max_concurrency says */
        assert_int_equal(agent_open_lanes(agent), LANES_BEGUN);
        agent->n_open = 0;
        assert_int_equal(agent_apply(agent, AGENT_EV_PAUSE), 0);
        assert_int_equal(agent_open_lanes(agent), LANES_CONTROL);
        agent->has_behavior = false;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_state_answers_every_event_as_documented),
                cmocka_unit_test(a_transition_that_the_table_lacks_changes_nothing),
                cmocka_unit_test(only_control_mail_goes_to_an_agent_whose_behaviour_is_not_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
