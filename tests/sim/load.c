/* SPDX-License-Identifier: MIT */

#include "tests/sim/load.h"

#include <inttypes.h>
#include <stdio.h>

#define STORM_MAX 120
#define WARM_UP_USEC (200 * USEC_PER_MSEC) /* some triggers come before anybody is registered */

Node *load_some_caller(Sim *sim) {
        return sim->nodes[sim->n_dispatchers + rng_below(&sim->rng_load, sim->n_callers)];
}

static void write_body(Sim *sim, Buffer *body, const AskOptions *options, uint32_t exec, Slice reply_to) {
        const ScenarioAgent *agent = options->agent == INDEX_NONE ? NULL : &sim->scenario.agents[options->agent];

        buffer_printf(body, "{\"metadata\":{\"type\":\"TriggerAgent\",\"source_component\":\"sim\"},\"agent\":{");
        if (options->name_exec)
                buffer_printf(body, "\"exec_id\":\"e%u\"", exec);
        buffer_printf(body, "},\"payload\":{\"priority\":%u",
                (unsigned)rng_below(&sim->rng_load, 101) + (options->invalid ? 200 : 0));
        if (options->deadline_ms > 0)
                buffer_printf(body, ",\"deadline_ms\":%" PRIu64, options->deadline_ms);
        if (options->retry != RETRY_NONE_GIVEN)
                buffer_printf(body, ",\"retry\":\"%s\"", retry_policy_names[options->retry]);
        if (options->labelled)
                buffer_printf(body, ",\"labels\":{\"zone\":\"a\"}");
        if (reply_to.data)
                buffer_printf(body, ",\"reply_to_subject\":\"%.*s\"", SLICE_ARG(reply_to));
        buffer_printf(body, ",\"context\":{\"input\":{\"n\":%u", exec);
        if (agent && strcmp(agent->type, "delay") == 0 && rng_chance(&sim->rng_load, 300))
                buffer_printf(body, ",\"ms\":%u", (unsigned)rng_below(&sim->rng_load, 800));
        buffer_printf(body, "}}}}");
}

uint32_t load_trigger(Sim *sim, Node *caller, const AskOptions *options) {
        _cleanup_(buffer_done) Buffer body = {};
        const bool by_payload = options->wants_reply && !options->invalid && rng_chance(&sim->rng_load, 300);
        char subject[96], reply[96] = "";
        uint32_t exec, ask = oracle_ask(sim, caller, options, &exec);

        sim_count(sim, COUNT_TRIGGERS);
        (void)snprintf(subject, sizeof(subject), "compozy.commands.agent.w%u.trigger.%s", exec % 3,
                options->agent == INDEX_NONE ? "nobody" : sim->scenario.agents[options->agent].id);
        if (by_payload)
                (void)snprintf(reply, sizeof(reply), "compozy.results.agent.%s.k%u", caller->name, ask);
        else if (options->wants_reply)
                (void)snprintf(reply, sizeof(reply), "%s.k%u", caller->inbox_prefix, ask);

        write_body(sim, &body, options, exec, by_payload ? slice_of(reply) : SLICE_NONE);
        net_publish(sim, caller,
                &(OutMessage){
                        .subject = slice_of(subject),
                        .reply = options->wants_reply && !by_payload ? slice_of(reply) : SLICE_NONE,
                        .body = buffer_slice(&body),
                });
        return ask;
}

static AskOptions draw_ask(Sim *sim) {
        const Scenario *s = &sim->scenario;
        Rng *rng = &sim->rng_load;
        AskOptions options = {
                .agent = rng_chance(rng, s->unknown_agent_per_mille) ? INDEX_NONE
                                                                     : (uint32_t)rng_below(rng, s->n_agents),
                .deadline_ms = rng_chance(rng, 100) ? 0 : rng_between(rng, s->deadline_ms_min, s->deadline_ms_max),
                .name_exec = rng_chance(rng, 850),
                .wants_reply = rng_chance(rng, 970),
                .labelled = rng_chance(rng, 60),
                .invalid = rng_chance(rng, 15),
                .again_exec = INDEX_NONE,
        };

        if (rng_chance(rng, s->never_per_mille))
                options.retry = RETRY_NEVER;
        else if (rng_chance(rng, s->always_per_mille))
                options.retry = RETRY_ALWAYS;
        else
                options.retry = rng_chance(rng, 500) ? RETRY_UNSTARTED : RETRY_NONE_GIVEN;
        return options;
}

static void on_trigger_due(Sim *sim, Event *event) {
        AskOptions options = draw_ask(sim), again;

        (void)event;
        if (rng_chance(&sim->rng_load, sim->scenario.ask_again_per_mille)) {
                uint32_t exec = oracle_some_exec(sim, &again);

                if (exec != INDEX_NONE) {
                        again.again_exec = exec;
                        options = again;
                        sim_count(sim, COUNT_ASKED_AGAIN);
                }
        }
        (void)load_trigger(sim, load_some_caller(sim), &options);
}

void load_storm(Sim *sim) {
        AskOptions options = draw_ask(sim);
        unsigned n = (unsigned)rng_between(&sim->rng_load, 10, STORM_MAX);

        for (unsigned i = 0; i < n; i++) {
                options.retry = draw_ask(sim).retry;
                (void)load_trigger(sim, load_some_caller(sim), &options);
        }
}

void load_verb(Sim *sim, const char *verb, const char *runtime_id) {
        Node *caller = load_some_caller(sim);
        char subject[96], reply[96], body[96] = "{}";

        if (runtime_id)
                (void)snprintf(body, sizeof(body), "{\"runtime_id\":\"%s\"}", runtime_id);
        else if (strcmp(verb, "explain") == 0)
                (void)snprintf(
                        body, sizeof(body), "{\"agent_id\":\"a%u\"}", 1 + (unsigned)rng_below(&sim->rng_load, 9));
        (void)snprintf(subject, sizeof(subject), "compozy.commands.agent_dispatcher.%s", verb);
        (void)snprintf(reply, sizeof(reply), "%s.verb", caller->inbox_prefix);
        net_publish(sim, caller,
                &(OutMessage){
                        .subject = slice_of(subject),
                        .reply = slice_of(reply),
                        .body = slice_of(body),
                });
}

static void on_verb_due(Sim *sim, Event *event) {
        static const char *const verbs[] = { "list_runtimes", "get_runtime", "list_agents", "explain", "status" };
        const char *verb = verbs[rng_below(&sim->rng_load, ELEMENTSOF(verbs))];

        (void)event;
        load_verb(sim, verb, strcmp(verb, "get_runtime") == 0 ? "r1" : NULL);
}

void load_plan(Sim *sim) {
        const Scenario *s = &sim->scenario;
        unsigned n_verbs = (unsigned)rng_below(&sim->rng_load, 6);

        for (uint64_t i = 0; i < s->n_triggers; i++)
                sim_after(sim, rng_between(&sim->rng_load, WARM_UP_USEC, s->load_usec), on_trigger_due, NULL, 0);
        for (unsigned i = 0; i < n_verbs; i++)
                sim_after(sim, rng_between(&sim->rng_load, WARM_UP_USEC, s->load_usec), on_verb_due, NULL, 0);
}
