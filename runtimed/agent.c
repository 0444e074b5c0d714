/* SPDX-License-Identifier: MIT */

/*
 * The lifecycle is a table; agent_apply() is its only reader that writes. What is about the future or about the hook
 * that is awaited lies beside the state (is_leaving, successor, step, ...), so that the states an operator sees stay
 * the few of docs/design.md.
 *
 * While a successor waits, only what belongs to messages that were begun is handed out, so that "idle" comes; other
 * mail stays in the mailbox for the successor.
 */

#include "common/log.h"
#include "runtimed/agent.h"
#include "runtimed/diag.h"

static const AgentState next_state[_AGENT_STATE_MAX][_AGENT_EVENT_MAX] = {
        [AGENT_CREATED] = {
                [AGENT_EV_START]  = AGENT_STARTING,
                [AGENT_EV_DELETE] = AGENT_DELETED,
        },
        [AGENT_STARTING] = {
                [AGENT_EV_READY]  = AGENT_RUNNING,
                [AGENT_EV_FAIL]   = AGENT_FAILED,
                [AGENT_EV_STOP]   = AGENT_STOPPING,
        },
        [AGENT_RUNNING] = {
                [AGENT_EV_PAUSE]   = AGENT_PAUSED,
                [AGENT_EV_RESTART] = AGENT_STARTING,
                [AGENT_EV_FAIL]    = AGENT_FAILED,
                [AGENT_EV_STOP]    = AGENT_STOPPING,
        },
        [AGENT_PAUSED] = {
                [AGENT_EV_RESUME]  = AGENT_RUNNING,
                [AGENT_EV_RESTART] = AGENT_STARTING,
                [AGENT_EV_FAIL]    = AGENT_FAILED,
                [AGENT_EV_STOP]    = AGENT_STOPPING,
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

const char *agent_event_name(AgentEvent event) {
        static const char *const names[_AGENT_EVENT_MAX] = {
#define X(name, text) [AGENT_EV_##name] = text,
                AGENT_EVENTS(X)
#undef X
        };

        assert(event < _AGENT_EVENT_MAX);
        return names[event];
}

int agent_apply(Agent *agent, AgentEvent event) {
        const AgentState to = agent_next_state(agent->state, event);

        if (to == AGENT_INVALID)
                return AGENT_E_INVALID_TRANSITION;

        diag_agent_state(agent_id_slice(agent), agent->state, to);
        agent->state = (uint8_t)to;
        return 0;
}

const AgentRarely *agent_rarely(const Agent *agent) {
        static const AgentRarely none;

        return agent->rarely ? agent->rarely : &none;
}

AgentRarely *agent_need_rarely(Agent *agent) {
        if (!agent->rarely)
                agent->rarely = calloc(1, sizeof(*agent->rarely));
        return agent->rarely;
}

size_t agent_n_calls(const Agent *agent) {
        size_t n = 0;

        for (const Mail *mail = agent->calls; mail; mail = mail->previous)
                n++;
        return n;
}

int agent_new(Definition *definition, Agent **ret) {
        Agent *agent = calloc(1, sizeof(*agent));

        if (!agent)
                return -ENOMEM;

        agent->definition = definition;
        agent->id = definition->agent_id;
        agent->state = AGENT_CREATED;
        subscriber_init(&agent->subscriber, &agent->id);
        ask_owner_init(&agent->asks);
        agent->grant = (uint16_t)MIN_OF(definition->quantum, (uint64_t)UINT16_MAX);

        *ret = agent;
        return 0;
}

static void free_rarely(AgentRarely *rarely) {
        if (rarely->handover)
                buffer_done(rarely->handover);
        free(rarely->handover);
        if (rarely->spare_state)
                buffer_done(rarely->spare_state);
        free(rarely->spare_state);
        free(rarely->failure);
        if (rarely->words)
                log_limit_done(rarely->words);
        free(rarely->words);
        free(rarely->supervision);
        (void)definition_free(rarely->predecessor);
        (void)definition_free(rarely->successor);
        free(rarely);
}

Agent *agent_free(Agent *agent) {
        if (!agent)
                return NULL;

        assert(!agent->run && !agent->has_behavior && !agent->waiters && !agent->timers && !agent->durable);

        (void)mailbox_free(agent->mailbox);
        if (agent->rarely)
                free_rarely(agent->rarely);
        (void)definition_free(agent->definition);
        free(agent);
        return NULL;
}

unsigned agent_open_lanes(const Agent *agent) {
        if (!agent->has_behavior || agent->step != STEP_NONE)
                return LANES_CONTROL;
        if (agent->state == AGENT_PAUSED && agent->calls)
                return LANES_BEGUN; /* what it holds may wait for answers; nothing else is handed out (schedule.c) */
        if (agent->state != AGENT_RUNNING && agent->state != AGENT_STOPPING)
                return LANES_CONTROL;
        if (agent->state == AGENT_RUNNING && agent_rarely(agent)->successor)
                return LANES_BEGUN;
        if (agent->n_open >= agent->definition->max_concurrency)
                return LANES_BEGUN;
        return LANES_ALL;
}

uint32_t agent_n_queued(const Agent *agent) {
        return agent->mailbox ? mailbox_size(agent->mailbox) : 0;
}

bool agent_is_idle(const Agent *agent) {
        return !agent->run && !agent->calls && agent->n_open == 0 && agent->n_deferred == 0 &&
               agent_n_queued(agent) == 0;
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
