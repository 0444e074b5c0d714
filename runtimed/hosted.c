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
        const Id *id = id_index_find(&runtime->agents, agent_id);

        return id ? CONTAINER_OF(id, Agent, id) : NULL;
}

size_t core_n_agents(const Runtime *runtime) {
        return runtime->agents.n;
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

/* Dispatchers hear of those that have come to something, and not of those that are about to go. */
bool core_is_announced(const Agent *agent) {
        return !agent->is_leaving && (agent->was_ready || agent->state == AGENT_FAILED || !agent->is_provisional);
}

void core_note_changed(Runtime *runtime, Agent *agent) {
        if (!agent->was_announced && !core_is_announced(agent))
                return;
        agent->was_announced = true;
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
        int r = id_index_add(&runtime->agents, &agent->id);

        if (r == 0)
                (void)RB_INSERT(AgentTree, &runtime->agents_by_name, agent);
        return r;
}

static int check_new(Runtime *runtime, const Definition *definition, ErrorCode *ret_code, WireError *ret_error) {
        const Agent *there = core_find_agent(runtime, id_slice(&definition->agent_id));

        if (there) {
                (void)wire_error(ret_error, "agent_id: agent \"%s\" exists%s", definition->agent_id.text,
                        there->is_leaving ? ", and is being deleted: it has not come to its end yet" : "");
                return refuse(ERROR_AGENT_EXISTS, ret_code);
        }
        if (core_n_agents(runtime) >= runtime->options.max_agents) {
                (void)wire_error(ret_error, "%zu agents are hosted, the limit of runtime.max_agents is %llu",
                        core_n_agents(runtime), (unsigned long long)runtime->options.max_agents);
                return refuse(ERROR_LIMIT_EXCEEDED, ret_code);
        }
        return core_check_topics(runtime, definition, ret_code, ret_error);
}

/* It has failed at once: nothing of it is left behind, and whoever called is told. */
static int take_away(Runtime *runtime, const Id *agent_id, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        const Id id = *agent_id;

        core_settle_agents(runtime, now);
        (void)wire_error(ret_error, "%s of agent %s failed: %s",
                runtime->failure_code == ERROR_INIT_FAILED ? "init" : "start", id.text, runtime->failure.text);
        return refuse(runtime->failure_code, ret_code);
}

/* In the table, with nobody told of it yet. */
static int make_agent(Runtime *runtime, Slice text, Agent **ret, ErrorCode *ret_code, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(agent_freep) Agent *agent = NULL;
        int r;

        r = parse(runtime, text, &definition, ret_code, ret_error);
        if (r == 0)
                r = check_new(runtime, definition, ret_code, ret_error);
        if (r == 0)
                r = agent_new(definition, &agent);
        if (r != 0)
                return r;
        (void)TAKE_PTR(definition);

        r = add(runtime, agent);
        if (r == 0)
                *ret = TAKE_PTR(agent);
        return r;
}

int core_create_agent(
        Runtime *runtime, Slice text, Slice reply, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        Agent *agent = NULL;
        int r;

        r = make_agent(runtime, text, &agent, ret_code, ret_error);
        if (r != 0)
                return r;

        agent->is_provisional = true;
        core_start_agent(runtime, agent, now);
        if (agent->state == AGENT_FAILED)
                return take_away(runtime, &agent->id, now, ret_code, ret_error);

        agent->is_provisional = reply.size > 0;
        r = core_wait(runtime, agent, WAIT_READY, reply);
        if (r != 0) { /* whoever is told that it could not be made must not find it */
                core_delete_agent(runtime, agent, /* discards= */ true, /* keeps_record= */ true, now);
                return -ENOMEM;
        }
        if (agent->state != AGENT_STARTING)
                core_answer_waiters(runtime, agent, WAIT_READY, UINT64_MAX, ERROR_NONE, SLICE_NONE);
        return 0;
}

int runtime_create_agent(Runtime *runtime, Slice text, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        return core_create_agent(runtime, text, SLICE_NONE, now, ret_code, ret_error);
}

static int refuse_unknown(Slice agent_id, ErrorCode *ret_code, WireError *ret_error) {
        (void)wire_error(ret_error, "agent_id: there is no agent \"%.*s\"", SLICE_ARG(agent_id));
        return refuse(ERROR_AGENT_NOT_FOUND, ret_code);
}

int runtime_change_agent(Runtime *runtime, Slice text, Instant now, ErrorCode *ret_code, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        AgentRarely *rarely;
        Agent *agent;
        int r;

        r = parse(runtime, text, &definition, ret_code, ret_error);
        if (r != 0)
                return r;

        agent = core_find_agent(runtime, id_slice(&definition->agent_id));
        if (!agent)
                return refuse_unknown(id_slice(&definition->agent_id), ret_code, ret_error);
        if (agent->is_leaving) {
                (void)wire_error(ret_error, "agent \"%s\" is being deleted", agent->id.text);
                return refuse(ERROR_INVALID_TRANSITION, ret_code);
        }
        r = core_check_topics(runtime, definition, ret_code, ret_error);
        if (r != 0)
                return r;

        rarely = agent_need_rarely(agent);
        if (!rarely)
                return -ENOMEM;
        (void)definition_free(rarely->successor);
        rarely->successor = TAKE_PTR(definition);
        core_recall(agent);
        core_note_unsettled(runtime, agent);
        core_settle_agents(runtime, now);
        return 0;
}

/* Whatever state it is in, it goes as soon as it is stopped. */
void core_delete_agent(Runtime *runtime, Agent *agent, bool discards, bool keeps_record, Instant now) {
        agent->is_leaving = true;
        agent->keeps_record = keeps_record;
        if (agent->rarely)
                agent->rarely->successor = definition_free(agent->rarely->successor);
        core_stop_agent(runtime, agent, discards, now);
        core_note_changed(runtime, agent);
        core_note_unsettled(runtime, agent);
}

int runtime_delete_agent(Runtime *runtime, Slice agent_id, Instant now) {
        Agent *agent = id_is_valid(agent_id) ? core_find_agent(runtime, agent_id) : NULL;

        if (!agent || agent->is_leaving)
                return RUNTIME_E_REFUSED;

        core_delete_agent(runtime, agent, /* discards= */ false, /* keeps_record= */ true, now);
        core_settle_agents(runtime, now);
        return 0;
}

static void unlink_unsettled(Runtime *runtime, const Agent *agent) {
        Agent **place = &runtime->unsettled;

        while (*place && *place != agent)
                place = &(*place)->next_unsettled;
        if (*place)
                *place = agent->next_unsettled;
}

void core_remove_agent(Runtime *runtime, Agent *agent) {
        assert(agent_is_idle(agent));

        (void)agent_apply(agent, AGENT_EV_DELETE);
        core_end_conversations(runtime, agent);
        core_unsubscribe_all(runtime, agent);
        core_note_changed(runtime, agent);
        core_answer_waiters(runtime, agent, WAIT_GONE, UINT64_MAX, ERROR_NONE, SLICE_NONE);
        for (unsigned what = 0; what < _WAIT_FOR_MAX; what++)
                core_answer_waiters(runtime, agent, (WaitFor)what, UINT64_MAX, ERROR_AGENT_NOT_FOUND,
                        SLICE("the agent was deleted meanwhile"));

        core_leave_line(runtime, agent);
        if (agent->is_unsettled)
                unlink_unsettled(runtime, agent);
        if (agent_rarely(agent)->supervision)
                deadline_disarm(&runtime->deadlines, &agent->rarely->supervision->due);
        core_durable_free(runtime, agent);
        id_index_remove(&runtime->agents, &agent->id);
        (void)RB_REMOVE(AgentTree, &runtime->agents_by_name, agent);
        (void)agent_free(agent);
}

/* At the end of all. The states of behaviours in this process are freed by their stop hook, if it did not run. */
static void end_agent(Runtime *runtime, Agent *agent) {
        Waiter *waiter;

        core_end_conversations(runtime, agent);
        while ((waiter = agent->waiters)) {
                agent->waiters = waiter->next;
                free(waiter);
        }
        core_free_holds(runtime, agent);
        if (agent->has_behavior && agent->behavior_state && !agent->run && agent->definition->behavior->stop)
                agent->definition->behavior->stop(agent->behavior_state);
        agent->has_behavior = false;
        agent->run = run_free(agent->run);
        if (agent_rarely(agent)->supervision)
                deadline_disarm(&runtime->deadlines, &agent->rarely->supervision->due);
        core_durable_free(runtime, agent);
        (void)agent_free(agent);
}

void core_free_agents(Runtime *runtime) {
        Agent *agent, *next;

        for (agent = core_agent_after(runtime, SLICE_NONE); agent; agent = next) {
                next = core_next_agent(agent);
                (void)RB_REMOVE(AgentTree, &runtime->agents_by_name, agent);
                end_agent(runtime, agent);
        }
        id_index_done(&runtime->agents);
        core_free_requests(runtime);
}
