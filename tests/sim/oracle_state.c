/* SPDX-License-Identifier: MIT */

/*
 * Durability: what an agent begins with is what the store gave, or what on_restore_error says when it gave nothing;
 * what it has done is in the store when it has stopped, and soon when it goes on; what is deleted is forgotten.
 */

#include <inttypes.h>

#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"

bool state_is_kept(const Sim *sim, uint32_t agent) {
        return sim->scenario.apps.has_store && sim->scenario.apps.agents[agent].is_durable;
}

void state_on_saved(Sim *sim, Node *node, uint32_t agent, uint64_t number, bool succeeded) {
        Host *host = apps_host(sim, node, agent);

        host->is_save_failed = !succeeded;
        if (!succeeded)
                return;
        sim_count(sim, COUNT_APP_SAVES);
        host->stored = number;
        host->may_be_older = false;
}

static void expect(Host *host, Restore restore, uint64_t number) {
        host->restore = restore;
        host->restore_number = number;
}

void state_on_loaded(Sim *sim, Node *node, uint32_t agent, bool is_there, uint64_t number) {
        expect(apps_host(sim, node, agent), is_there ? RESTORE_STATE : RESTORE_FRESH, number);
}

void state_on_load_failed(Sim *sim, Node *node, uint32_t agent, bool has_previous, uint64_t previous) {
        const char *policy = sim->scenario.apps.agents[agent].on_restore_error;
        Host *host = apps_host(sim, node, agent);

        host->may_be_older = host->is_hampered = true;
        if (strcmp(policy, "fresh") == 0)
                expect(host, RESTORE_FRESH, 0);
        else if (strcmp(policy, "previous") == 0 && has_previous)
                expect(host, RESTORE_STATE, previous);
        else
                expect(host, RESTORE_FORBIDDEN, 0);
        if (host->restore == RESTORE_FORBIDDEN && host->is_lost)
                life_release(host); /* that may have been its last chance */
}

void state_check_init(Sim *sim, const Node *node, uint32_t agent, Slice state, uint64_t number) {
        static const char *const wanted[] = {
                [RESTORE_UNKNOWN] = "what the store would have given",
                [RESTORE_STATE] = "another one",
                [RESTORE_FRESH] = "none",
                [RESTORE_FORBIDDEN] = "to fail",
        };
        Host *host = apps_host(sim, node, agent);
        const Restore restore = state_is_kept(sim, agent) ? host->restore : RESTORE_FRESH;

        host->restore = RESTORE_UNKNOWN;
        if (restore == RESTORE_STATE ? state.data && number == host->restore_number
                                     : restore == RESTORE_FRESH && !state.data)
                return;
        sim_break(sim, "durability",
                "t%" PRIu32 " on %s is started with \"%.*s\", it was to have %s (the newest is %" PRIu64 ")", agent,
                node->name, SLICE_ARG(state), wanted[restore], host->stored);
}

void state_check_saved(Sim *sim, const Node *node, uint32_t agent, const char *when) {
        const Host *host = apps_host(sim, node, agent);

        const bool is_due = sim->scenario.apps.agents[agent].checkpoint_interval_ms < 60000 || !host->is_up;
        const uint64_t number = is_due ? host->n_done : host->wanted_saved;

        if (state_is_kept(sim, agent) && !host->is_lost && !host->is_save_failed && host->stored < number)
                sim_break(sim, "durability", "%s, t%" PRIu32 " on %s has state %" PRIu64 ", the store has %" PRIu64,
                        when, agent, node->name, number, host->stored);
}

void state_check_deleted(Sim *sim, const Node *node, uint32_t agent, bool is_kept) {
        const Host *host = apps_host(sim, node, agent);

        if (!state_is_kept(sim, agent))
                return;
        if (!is_kept && disk_has(node, agent))
                sim_break(sim, "durability", "t%" PRIu32 " on %s is deleted, and the store still has its state", agent,
                        node->name);
        if (is_kept && host->stored > 0 && !disk_has(node, agent))
                sim_break(sim, "durability", "t%" PRIu32 " on %s was to leave its state, and the store has none", agent,
                        node->name);
}
