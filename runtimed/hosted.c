/* SPDX-License-Identifier: MIT */

/*
 * The set of agents. A hash finds one by id (each trigger asks), a tree has them in the order of their ids (so that a
 * list can be paged while agents come and go).
 *
 * Changes are gathered until the end of the turn and published as one update. Past CHANGED_MAX of them, the whole
 * registration is shorter to say than the difference is to keep.
 */

#include <stdio.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define CHANGED_MAX 4096

static int compare_agents(const Agent *a, const Agent *b) {
        int r = memcmp(a->id.text, b->id.text, MIN_OF(a->id.size, b->id.size));

        return r != 0 ? r : (int)a->id.size - (int)b->id.size;
}

RB_PROTOTYPE_INTERNAL(AgentTree, Agent, by_name, compare_agents, static _unused_);
RB_GENERATE_INTERNAL(AgentTree, Agent, by_name, compare_agents, static _unused_);

Agent *core_find_agent(const Runtime *runtime, Slice agent_id) {
        Agent *agent;

        HASH_FIND(hh, runtime->agents, agent_id.data, agent_id.size, agent);
        return agent;
}

Agent *core_agent_after(const Runtime *runtime, Slice agent_id) {
        struct AgentTree *tree = (struct AgentTree *)&runtime->agents_by_name;
        Agent key = {}, *found;

        if (agent_id.size == 0)
                return RB_MIN(AgentTree, tree);

        key.id = id_of(agent_id);
        found = RB_NFIND(AgentTree, tree, &key);
        if (found && id_equal(&found->id, agent_id))
                found = RB_NEXT(AgentTree, tree, found);
        return found;
}

Agent *core_next_agent(Agent *agent) {
        return RB_NEXT(AgentTree, NULL, agent);
}

void core_note_changed(Runtime *runtime, Agent *agent) {
        if (agent->is_changed || runtime->is_all_changed)
                return;

        if (runtime->n_changed == runtime->n_changed_allocated) {
                size_t n = MAX_OF(runtime->n_changed_allocated * 2, (size_t)16);
                Id *changed = n <= CHANGED_MAX ? reallocarray(runtime->changed, n, sizeof(*changed)) : NULL;

                if (!changed) {
                        runtime->is_all_changed = true;
                        return;
                }
                runtime->changed = changed;
                runtime->n_changed_allocated = n;
        }

        runtime->changed[runtime->n_changed++] = agent->id;
        agent->is_changed = true;
}

static int refuse(ErrorCode code, ErrorCode *ret_code) {
        *ret_code = code;
        return RUNTIME_E_REFUSED;
}

static int parse(Runtime *runtime, Slice text, Definition **ret, ErrorCode *ret_code, WireError *ret_error) {
        int r = definition_parse(text, runtime->options.behaviors, ret, ret_error);

        return r > 0 ? refuse(ERROR_INVALID_MESSAGE, ret_code) : r;
}

static int add(Runtime *runtime, Agent *agent) {
        HASH_ADD(hh, runtime->agents, id.text, agent->id.size, agent);
        if (!agent->hh.tbl)
                return -ENOMEM;

        (void)RB_INSERT(AgentTree, &runtime->agents_by_name, agent);
        return 0;
}

static int start(Agent *agent, ErrorCode *ret_code, WireError *ret_error) {
        char why[sizeof(ret_error->text)];
        int r = agent_start(agent, why, sizeof(why));

        if (r <= 0)
                return r;

        (void)wire_error(ret_error, "init of agent %s failed: %s", agent->id.text, why);
        return refuse(ERROR_INIT_FAILED, ret_code);
}

int runtime_create_agent(Runtime *runtime, Slice text, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(agent_freep) Agent *agent = NULL;
        int r;

        (void)now;

        r = parse(runtime, text, &definition, ret_code, ret_error);
        if (r != 0)
                return r;

        if (core_find_agent(runtime, id_slice(&definition->agent_id))) {
                (void)wire_error(ret_error, "agent_id: agent \"%s\" exists", definition->agent_id.text);
                return refuse(ERROR_AGENT_EXISTS, ret_code);
        }
        if (HASH_COUNT(runtime->agents) >= runtime->options.max_agents) {
                (void)wire_error(ret_error, "the limit of %llu agents is reached",
                        (unsigned long long)runtime->options.max_agents);
                return refuse(ERROR_LIMIT_EXCEEDED, ret_code);
        }

        r = agent_new(definition, &agent);
        if (r < 0)
                return r;
        (void)TAKE_PTR(definition);

        r = start(agent, ret_code, ret_error);
        if (r == 0)
                r = add(runtime, agent);
        if (r != 0)
                return r;

        core_note_changed(runtime, TAKE_PTR(agent));
        return 0;
}

static int refuse_unknown(Slice agent_id, ErrorCode *ret_code, WireError *ret_error) {
        (void)wire_error(ret_error, "agent_id: there is no agent \"%.*s\"", SLICE_ARG(agent_id));
        return refuse(ERROR_AGENT_NOT_FOUND, ret_code);
}

int runtime_change_agent(Runtime *runtime, Slice text, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        Agent *agent;
        int r;

        r = parse(runtime, text, &definition, ret_code, ret_error);
        if (r != 0)
                return r;

        agent = core_find_agent(runtime, id_slice(&definition->agent_id));
        if (!agent)
                return refuse_unknown(id_slice(&definition->agent_id), ret_code, ret_error);
        if (agent->state != AGENT_RUNNING) {
                (void)wire_error(
                        ret_error, "agent \"%s\" is %s, not running", agent->id.text, agent_state_name(agent->state));
                return refuse(ERROR_INVALID_TRANSITION, ret_code);
        }

        (void)definition_free(agent->successor);
        agent->successor = TAKE_PTR(definition);
        core_after_change(runtime, agent, now);
        return 0;
}

int runtime_delete_agent(Runtime *runtime, Slice agent_id, Instant now) {
        Agent *agent = id_is_valid(agent_id) ? core_find_agent(runtime, agent_id) : NULL;

        if (!agent || agent->is_leaving)
                return RUNTIME_E_REFUSED;

        agent->is_leaving = true;
        agent->successor = definition_free(agent->successor);
        (void)agent_stop(agent);
        core_note_changed(runtime, agent);
        core_make_ready(runtime, agent);
        core_after_change(runtime, agent, now);
        return 0;
}

static void unlink_ready(Runtime *runtime, const Agent *agent) {
        Agent *previous = NULL;

        for (Agent *a = runtime->ready_first; a; previous = a, a = a->next_ready) {
                if (a != agent)
                        continue;
                if (previous)
                        previous->next_ready = a->next_ready;
                else
                        runtime->ready_first = a->next_ready;
                if (runtime->ready_last == a)
                        runtime->ready_last = previous;
                return;
        }
}

void core_remove_agent(Runtime *runtime, Agent *agent) {
        assert(agent_is_idle(agent));

        (void)agent_delete(agent);
        if (agent->is_ready)
                unlink_ready(runtime, agent);
        deadline_disarm(&runtime->deadlines, &agent->watch);
        HASH_DEL(runtime->agents, agent);
        (void)RB_REMOVE(AgentTree, &runtime->agents_by_name, agent);
        (void)agent_free(agent);
}

void core_free_agents(Runtime *runtime) {
        Agent *agent, *tmp;

        HASH_ITER(hh, runtime->agents, agent, tmp) {
                HASH_DEL(runtime->agents, agent);
                (void)agent_free(agent);
        }
}
