/* SPDX-License-Identifier: MIT */

/*
 * A behaviour that does nothing but tell the oracle. Its state is the number of the last message that it has handled to
 * the end; numbers grow over the whole world, so an older state has a smaller one.
 */

#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"

#define STATE_FORM "probe 1 t%u %llu"
#define DEFER_USEC_MAX (300 * USEC_PER_MSEC)

struct Probes {
        Sim *sim;
        Node *node;
        Behavior types[6];
        const Behavior *list[16];
};

uint32_t probe_agent(Slice agent_id) {
        return (uint32_t)strtoul(agent_id.data + 1, NULL, 10);
}

static bool read_state(Slice state, uint32_t agent, uint64_t *ret) {
        char text[64], again[64];
        unsigned long long number;
        unsigned whose;

        (void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(state));
        if (sscanf(text, STATE_FORM, &whose, &number) != 2 || whose != agent)
                return false;
        (void)snprintf(again, sizeof(again), STATE_FORM, whose, number);
        *ret = number;
        return slice_equal(state, slice_of(again));
}

void probe_write(const Probe *probe, Buffer *ret) {
        buffer_printf(ret, STATE_FORM, probe->agent, (unsigned long long)probe->state);
}

int probe_begin(
        Sim *sim, Node *node, Slice agent_id, const BehaviorStart *start, Probe *ret, char *ret_why, size_t why_size) {
        Probe probe = { .sim = sim, .node = node, .agent = probe_agent(agent_id) };
        const bool fails = start->parameters.data && memmem(start->parameters.data, start->parameters.size, "fail", 4);

        if (start->state.data && !read_state(start->state, probe.agent, &probe.state))
                sim_break(sim, "durability", "t%" PRIu32 " on %s is started with \"%.*s\"", probe.agent, node->name,
                        SLICE_ARG(start->state));
        sim_trace(sim, node, "t%" PRIu32 " begins with \"%.*s\"%s", probe.agent, SLICE_ARG(start->state),
                fails ? ", and fails" : "");
        life_on_init(sim, node, probe.agent, start->state, probe.state, !fails);
        if (fails) {
                (void)snprintf(ret_why, why_size, "it was told to fail");
                return BEHAVIOR_E_REFUSED;
        }
        *ret = probe;
        return 0;
}

/* effects */

size_t probe_n_pending(const Probe *probe) {
        size_t n = 0;

        for (size_t i = 0; i < PROBE_PENDING_MAX; i++)
                n += probe->pending[i].id != 0;
        return n;
}

static uint64_t new_token(Probe *probe) {
        return ++probe->sim->apps->n_tokens;
}

static void keep_payload(Effect *effect, EffectList *list, const Buffer *payload) {
        effect->payload = effects_keep(list, buffer_slice(payload));
}

/* Left to a timer of its own, which says whose it is. */
static bool leave_pending(Probe *probe, const BehaviorMessage *message, BehaviorReply *reply) {
        for (size_t i = 0; i < PROBE_PENDING_MAX; i++) {
                Effect *effect;

                if (probe->pending[i].id != 0)
                        continue;
                probe->pending[i].id = message->id;
                probe->pending[i].message = apps_message_of(probe->sim, message->input);
                effect = effects_add(&reply->effects, EFFECT_TIMER);
                effect->token = message->id;
                effect->usec = rng_below(&probe->sim->rng_apps, DEFER_USEC_MAX);
                probe->pending[i].due_usec = node_instant(probe->sim, probe->node).usec + effect->usec;
                apps_host(probe->sim, probe->node, probe->agent)->n_pending++;
                reply->verdict = BEHAVIOR_PENDING;
                sim_count(probe->sim, COUNT_APP_PENDING);
                sim_trace(probe->sim, probe->node, "t%" PRIu32 " leaves message %" PRIu32 " pending (%" PRIu64 ")",
                        probe->agent, probe->pending[i].message, message->id);
                return true;
        }
        return false;
}

static void end_pending(Probe *probe, uint64_t id, BehaviorReply *reply) {
        _cleanup_(buffer_done) Buffer output = {};
        Effect *effect;
        size_t i = 0;

        while (i < PROBE_PENDING_MAX && probe->pending[i].id != id)
                i++;
        if (i == PROBE_PENDING_MAX) {
                sim_break(probe->sim, "timers", "t%" PRIu32 " on %s is told of a timer that it does not have",
                        probe->agent, probe->node->name);
                return;
        }
        if (node_instant(probe->sim, probe->node).usec < probe->pending[i].due_usec)
                sim_break(probe->sim, "timers", "t%" PRIu32 " on %s is told of a timer before its time", probe->agent,
                        probe->node->name);
        probe->state = ++probe->sim->apps->n_handled;
        apps_host(probe->sim, probe->node, probe->agent)->n_pending--;
        apps_on_handled(probe->sim, probe->node, probe->agent, probe->pending[i].message, probe->state);
        sim_trace(probe->sim, probe->node, "t%" PRIu32 " ends what was pending (%" PRIu64 ")", probe->agent, id);
        probe->pending[i].id = 0;
        buffer_printf(&output, "\"o%" PRIu64 "\"", probe->state);
        effect = effects_add(&reply->effects, EFFECT_REPLY);
        effect->message_id = id;
        keep_payload(effect, &reply->effects, &output);
}

/* Of another agent, or of itself. Always answered: by that one, with "no responders", or when its time is over. */
static void ask_somebody(Probe *probe, BehaviorReply *reply) {
        _cleanup_(buffer_done) Buffer body = {}, target = {};
        Effect *effect;
        size_t i = 0;

        while (i < PROBE_ASKS_MAX && probe->asks[i] != 0)
                i++;
        if (i == PROBE_ASKS_MAX)
                return;
        probe->asks[i] = new_token(probe);
        effect = effects_add(&reply->effects, EFFECT_ASK);
        effect->token = probe->asks[i];
        effect->usec = rng_between(&probe->sim->rng_apps, 1, 1000) * USEC_PER_MSEC;
        buffer_printf(&target, "t%" PRIu64, rng_below(&probe->sim->rng_apps, probe->sim->scenario.apps.n_agents));
        buffer_printf(&body, "k%" PRIu64, effect->token);
        effect->target = effects_keep(&reply->effects, buffer_slice(&target));
        keep_payload(effect, &reply->effects, &body);
        apps_host(probe->sim, probe->node, probe->agent)->n_asks++;
        sim_count(probe->sim, COUNT_APP_ASKS);
}

static void on_answer(Probe *probe, uint64_t token) {
        for (size_t i = 0; i < PROBE_ASKS_MAX; i++)
                if (probe->asks[i] == token) {
                        probe->asks[i] = 0;
                        apps_host(probe->sim, probe->node, probe->agent)->n_asks--;
                        return;
                }
        sim_break(probe->sim, "asks", "t%" PRIu32 " on %s is answered what it did not ask, or twice", probe->agent,
                probe->node->name);
}

static void publish(Probe *probe, const BehaviorMessage *message, BehaviorReply *reply) {
        const uint32_t number = apps_message_of(probe->sim, message->input);
        _cleanup_(buffer_done) Buffer body = {};
        Effect *effect;

        if (number == INDEX_NONE)
                return;
        buffer_printf(&body, "e%" PRIu32, number);
        effect = effects_add(&reply->effects, EFFECT_PUBLISH);
        effect->target = effects_keep(&reply->effects, SLICE("emitted.by.apps"));
        keep_payload(effect, &reply->effects, &body);
        apps_host(probe->sim, probe->node, probe->agent)->n_emissions += probe->node->link.up;
}

static void change_topic(Probe *probe, BehaviorReply *reply) {
        const bool adds = rng_chance(&probe->sim->rng_apps, 500);
        const uint32_t pattern = (uint32_t)rng_below(&probe->sim->rng_apps, PATTERN_REPLIES);
        Effect *effect = effects_add(&reply->effects, adds ? EFFECT_SUBSCRIBE : EFFECT_UNSUBSCRIBE);
        char text[48];

        effect->qos = (unsigned)rng_between(&probe->sim->rng_apps, 1, 3);
        effect->target = effects_keep(&reply->effects, slice_of(app_pattern(pattern, probe->agent, text)));
        life_on_own_topic(probe->sim, probe->node, probe->agent, pattern);
}

static void want_something(Probe *probe, const BehaviorMessage *message, BehaviorReply *reply) {
        switch (rng_below(&probe->sim->rng_apps, 8)) {
        case 0:
                change_topic(probe, reply);
                break;
        case 1:
                (void)effects_add(&reply->effects, EFFECT_CHECKPOINT);
                apps_host(probe->sim, probe->node, probe->agent)->wanted_saved = probe->state;
                break;
        case 2:
        case 3:
                publish(probe, message, reply);
                break;
        default:
                ask_somebody(probe, reply);
                break;
        }
}

/* The first sight of a message decides; one that comes again is done. */
void probe_handle(Probe *probe, const BehaviorMessage *message, BehaviorReply *reply) {
        Sim *sim = probe->sim;
        const ScenarioApp *app = &sim->scenario.apps.agents[probe->agent];

        reply->verdict = BEHAVIOR_DONE;
        if (message->kind == MESSAGE_TIMER) {
                end_pending(probe, message->token, reply);
                return;
        }
        if (message->kind == MESSAGE_ANSWER) {
                on_answer(probe, message->token);
                return;
        }
        if (rng_chance(&sim->rng_apps, app->wish_per_mille))
                want_something(probe, message, reply);
        if (message->kind != MESSAGE_RESUME && rng_chance(&sim->rng_apps, app->defer_per_mille)) {
                sim_count(sim, COUNT_DEFERRED);
                reply->verdict = BEHAVIOR_DEFER;
                reply->defer_usec = rng_below(&sim->rng_apps, DEFER_USEC_MAX);
                return;
        }
        if (rng_chance(&sim->rng_apps, app->pending_per_mille) && leave_pending(probe, message, reply))
                return;
        if (rng_chance(&sim->rng_apps, app->error_per_mille)) {
                behavior_fail(reply, ERROR_CAPABILITY_ERROR, "it did not want to");
                return;
        }
        probe->state = ++sim->apps->n_handled;
        apps_on_handled(sim, probe->node, probe->agent, apps_message_of(sim, message->input), probe->state);
        buffer_printf(&reply->output, "\"o%" PRIu64 "\"", probe->state);
}

static int probe_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        const Probes *probes = start->behavior->userdata;
        Probe *probe = calloc(1, sizeof(*probe));
        int r;

        assert(probe);
        r = probe_begin(probes->sim, probes->node, start->agent_id, start, probe, ret_why, why_size);
        if (r == 0)
                *ret_state = probe;
        else
                free(probe);
        return r;
}

/* On the loop's thread the core has the outcome as soon as it returns. */
static int probe_init_quick(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        const Probes *probes = start->behavior->userdata;
        int r = probe_init(start, ret_state, ret_why, why_size);

        if (r == 0)
                life_on_ready(probes->sim, probes->node, probe_agent(start->agent_id));
        return r;
}

static void probe_stop(void *state) {
        Probe *probe = state;

        life_on_stop_hook(probe->sim, probe->node, probe->agent);
        free(probe);
}

static void probe_call(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Probe *probe = state;

        /* what an agent asks itself is part of the message that it has begun, and does not wait */
        if (message->kind == MESSAGE_TOPIC && probe_n_pending(probe) > 0 && message->input.data[0] != 'k')
                sim_break(probe->sim, "P7", "t%" PRIu32 " on %s is given a message while one is pending", probe->agent,
                        probe->node->name);
        apps_on_handle(probe->sim, probe->node, probe->agent, probe->node->runtime.at_work, message);
        probe_handle(state, message, reply);
}

static int probe_checkpoint(void *state, Buffer *ret) {
        probe_write(state, ret);
        return ret->failed ? -ENOMEM : 0;
}

static void add_type(Probes *probes, size_t i, Behavior type) {
        type.help = "for the oracle";
        type.stop = type.is_remote ? NULL : probe_stop;
        type.handle = type.is_remote ? NULL : probe_call;
        type.userdata = probes;
        probes->types[i] = type;
}

const Behavior *const *probes_new(Sim *sim, Node *node) {
        Probes *probes = calloc(1, sizeof(*probes));
        size_t n = 0;

        assert(probes);
        probes->sim = sim;
        probes->node = node;
        add_type(probes, 0, (Behavior){ .type = "probe", .init = probe_init, .checkpoint = probe_checkpoint });
        add_type(probes, 1, (Behavior){ .type = "probe-stateless", .init = probe_init });
        add_type(probes, 2,
                (Behavior){ .type = "probe-quick",
                        .quick = true,
                        .init = probe_init_quick,
                        .checkpoint = probe_checkpoint });
        add_type(probes, 3, (Behavior){ .type = "probe-quick-stateless", .quick = true, .init = probe_init_quick });
        add_type(probes, 4, (Behavior){ .type = "probe-remote", .is_remote = true, .is_durable = true });
        add_type(probes, 5, (Behavior){ .type = "probe-remote-stateless", .is_remote = true });
        for (; behaviors_builtin[n]; n++)
                probes->list[n] = behaviors_builtin[n];
        for (size_t i = 0; i < ELEMENTSOF(probes->types); i++)
                probes->list[n++] = &probes->types[i];
        assert(n < ELEMENTSOF(probes->list));
        node->runtime.probes = probes;
        return probes->list;
}

void probes_free(Node *node) {
        free(node->runtime.probes);
        node->runtime.probes = NULL;
}
