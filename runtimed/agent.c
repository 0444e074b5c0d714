/* SPDX-License-Identifier: MIT */

/*
 * The lifecycle is a table; agent_set_state() is its only reader that writes. Two facts lie beside the state because
 * they are about the future, not the present: is_leaving (forget it once stopped) and successor (replace the definition
 * once idle). While a successor waits, only urgent mail is handed out, so that "idle" comes; ordinary mail stays in the
 * mailbox for the successor.
 */

#include "runtimed/agent.h"
#include "runtimed/diag.h"
#include "runtimed/execution.h"

static const AgentState next_state[_AGENT_STATE_MAX][_AGENT_EVENT_MAX] = {
        [AGENT_CREATED] = {
                [AGENT_EV_START]  = AGENT_STARTING,
                [AGENT_EV_DELETE] = AGENT_DELETED,
        },
        [AGENT_STARTING] = {
                [AGENT_EV_READY] = AGENT_RUNNING,
                [AGENT_EV_FAIL]  = AGENT_FAILED,
        },
        [AGENT_RUNNING] = {
                [AGENT_EV_STOP] = AGENT_STOPPING,
        },
        [AGENT_STOPPING] = {
                [AGENT_EV_IDLE] = AGENT_STOPPED,
        },
        [AGENT_STOPPED] = {
                [AGENT_EV_START]  = AGENT_STARTING,
                [AGENT_EV_DELETE] = AGENT_DELETED,
        },
        [AGENT_FAILED] = {
                [AGENT_EV_START]  = AGENT_STARTING,
                [AGENT_EV_DELETE] = AGENT_DELETED,
        },
};

AgentState agent_next_state(AgentState state, AgentEvent event) {
        assert(state < _AGENT_STATE_MAX && event < _AGENT_EVENT_MAX);
        return next_state[state][event];
}

const char *agent_state_name(AgentState state) {
        static const char *const names[_AGENT_STATE_MAX] = { [AGENT_INVALID] = "invalid",
#define X(name, text, meaning) [AGENT_##name] = text,
                AGENT_STATES(X)
#undef X
        };

        assert(state < _AGENT_STATE_MAX);
        return names[state];
}

static int agent_set_state(Agent *agent, AgentEvent event) {
        AgentState to = agent_next_state(agent->state, event);

        if (to == AGENT_INVALID)
                return AGENT_E_INVALID_TRANSITION;

        diag_agent_state(agent_id_slice(agent), agent->state, to);
        agent->state = to;
        return 0;
}

int agent_new(Definition *definition, Agent **ret) {
        Agent *agent = calloc(1, sizeof(*agent));

        if (!agent)
                return -ENOMEM;

        agent->definition = definition;
        agent->id = definition->agent_id;
        agent->state = AGENT_CREATED;
        agent->run.agent = agent;
        atomic_init(&agent->run.n_begun, 0);
        deadline_init(&agent->watch, DEADLINE_WATCH);
        mailbox_init(&agent->mailbox, definition->mailbox_capacity, definition->mailbox_bytes);

        *ret = agent;
        return 0;
}

static bool has_behavior(const Agent *agent) {
        return agent->state == AGENT_RUNNING || agent->state == AGENT_STOPPING;
}

Agent *agent_free(Agent *agent) {
        if (!agent)
                return NULL;

        if (has_behavior(agent) && !agent->is_out)
                agent->definition->behavior->stop(agent->run.behavior_state);

        (void)definition_free(agent->successor);
        (void)definition_free(agent->definition);
        free(agent);
        return NULL;
}

static int init_behavior(const Definition *definition, void **ret_state, char *ret_why, size_t why_size) {
        assert(why_size > 0);

        ret_why[0] = '\0';
        return definition->behavior->init(
                id_slice(&definition->agent_id), slice_of(definition->parameters), ret_state, ret_why, why_size);
}

int agent_start(Agent *agent, char *ret_why, size_t why_size) {
        void *state = NULL;
        int r;

        r = agent_set_state(agent, AGENT_EV_START);
        if (r != 0)
                return r;

        r = init_behavior(agent->definition, &state, ret_why, why_size);
        if (r != 0) {
                (void)agent_set_state(agent, AGENT_EV_FAIL);
                return r < 0 ? r : AGENT_E_INIT_FAILED;
        }

        agent->run.behavior = agent->definition->behavior;
        agent->run.behavior_state = state;
        agent->run.agent_class = agent->definition->agent_class;
        return agent_set_state(agent, AGENT_EV_READY);
}

int agent_stop(Agent *agent) {
        return agent_set_state(agent, AGENT_EV_STOP);
}

bool agent_is_idle(const Agent *agent) {
        return !agent->is_out && agent->n_deferred == 0 && mailbox_size(&agent->mailbox) == 0;
}

bool agent_settle(Agent *agent) {
        if (agent->state != AGENT_STOPPING || !agent_is_idle(agent))
                return false;

        agent->definition->behavior->stop(agent->run.behavior_state);
        agent->run.behavior_state = NULL;
        return agent_set_state(agent, AGENT_EV_IDLE) == 0;
}

int agent_delete(Agent *agent) {
        return agent_set_state(agent, AGENT_EV_DELETE);
}

int agent_replace(Agent *agent, char *ret_why, size_t why_size) {
        Definition *old = agent->definition;
        void *state = NULL;
        int r;

        assert(agent->successor && agent->state == AGENT_RUNNING && !agent->is_out && agent->n_deferred == 0);

        r = init_behavior(agent->successor, &state, ret_why, why_size);
        if (r != 0) {
                agent->successor = definition_free(agent->successor);
                return r < 0 ? r : AGENT_E_INIT_FAILED;
        }

        old->behavior->stop(agent->run.behavior_state);
        agent->definition = TAKE_PTR(agent->successor);
        agent->run.behavior = agent->definition->behavior;
        agent->run.behavior_state = state;
        agent->run.agent_class = agent->definition->agent_class;
        agent->mailbox.capacity = (uint32_t)agent->definition->mailbox_capacity;
        agent->mailbox.bytes_max = agent->definition->mailbox_bytes;
        (void)definition_free(old);
        return 0;
}

static void note_out(Agent *agent, Execution *execution) {
        execution->next_out = NULL;
        if (agent->out_last)
                agent->out_last->next_out = execution;
        else
                agent->out_first = execution;
        agent->out_last = execution;
        execution->out_index = agent->n_out++;
}

Run *agent_take_run(Agent *agent) {
        const bool urgent_only = agent->successor;
        Mail *last = NULL, *mail;

        assert(!agent->is_out && agent->n_out == 0);

        if (!has_behavior(agent))
                return NULL;

        agent->run.mail = NULL;
        while (agent->n_out < agent->definition->quantum && (mail = mailbox_pop(&agent->mailbox, urgent_only))) {
                note_out(agent, execution_of_mail(mail));
                if (last)
                        last->next = mail;
                else
                        agent->run.mail = mail;
                last = mail;
        }
        if (!last)
                return NULL;

        atomic_store_explicit(&agent->run.n_begun, 0, memory_order_relaxed);
        agent->run.next = NULL;
        agent->is_out = true;
        agent->watched_begun = 0;
        agent->was_reported = false;
        return &agent->run;
}

AgentSummary agent_summary(const Agent *agent) {
        AgentSummary summary = {
                .agent_id = agent_id_slice(agent),
                .agent_type = slice_of(agent->definition->behavior->type),
                .capabilities = slice_of(agent->definition->capabilities),
        };

        if (agent->state != AGENT_RUNNING)
                summary.state = slice_of(agent_state_name(agent->state));
        return summary;
}
