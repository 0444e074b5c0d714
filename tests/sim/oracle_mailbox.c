/* SPDX-License-Identifier: MIT */

/*
 * Promise 9, mailboxes. Nobody looks into one: what was in it is known by what comes out.
 *
 * A copy that is begun was let in, so it found room: those that had come before it and were begun after it came were
 * all in there, and must have been fewer than the mailbox takes. The other way round, one that finds fewer than that
 * waiting, of which any may have been dropped, must be let in and stay, and with drop_oldest the last one always is.
 *
 * What agents ask each other takes room, too, and is not counted: in a world where they do, a small mailbox may drop
 * anything.
 */

#include <inttypes.h>

#include "runtimed/definition.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/sim.h"

#define MAILBOX_AMPLE 10000 /* a mailbox of more messages than a seed publishes */

static bool agents_ask(const Sim *sim) {
        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                if (sim->scenario.apps.agents[a].wish_per_mille > 0)
                        return true;
        return false;
}

static size_t count_waiting(const Host *host) {
        size_t n = 0;

        for (size_t i = 0; i < host->n_copies; i++)
                n += !host->copies[i].is_handled;
        return n;
}

/* How many of the newest stay when the longest waiting goes: one may be with a worker, and one comes. */
static size_t count_kept(const Host *host, uint64_t capacity, unsigned qos) {
        for (size_t i = 0; i < host->n_copies; i++)
                if (!host->copies[i].is_handled && (qos == QOS_NONE || host->copies[i].qos != qos))
                        return 0; /* others may go first */
        return capacity > 2 ? capacity - 2 : 0;
}

static void drop_oldest(Host *host, size_t n_kept) {
        for (size_t i = host->n_copies; i-- > 0;) {
                if (host->copies[i].is_handled)
                        continue;
                if (n_kept > 0)
                        n_kept--;
                else
                        host->copies[i].must_be_handled = false;
        }
}

bool mailbox_takes(const Sim *sim, uint32_t agent, Host *host, unsigned qos) {
        const ScenarioApps *apps = &sim->scenario.apps;
        const ScenarioApp *app = &apps->agents[agent];

        if (apps->realtime_max_age_usec < 60 * USEC_PER_SEC)
                return false; /* whatever the lane: what came too late is dropped */
        if (app->mailbox_capacity >= MAILBOX_AMPLE)
                return true;
        if (agents_ask(sim))
                return false;
        if (count_waiting(host) < app->mailbox_capacity)
                return true;

        if (strcmp(app->overflow, "drop_oldest") != 0)
                return false;
        drop_oldest(host, count_kept(host, app->mailbox_capacity, qos));
        return app->mailbox_capacity > 1; /* the only one may be with a worker, and stays */
}

void mailbox_check_counted(Sim *sim, Node *node) {
        static const char name[] = "\ncompozy_runtime_mailbox_sheds_total ";
        _cleanup_(buffer_done) Buffer text = {};
        const char *line;

        runtime_metrics(node->runtime.core, &text);
        buffer_append_char(&text, '\0');
        assert(!text.failed);
        line = strstr(text.data, name);
        if (!line || strtoull(line + sizeof(name) - 1, NULL, 10) < node->runtime.n_full)
                sim_break(sim, "P9", "%s said MAILBOX_FULL %" PRIu64 " times, and does not count that", node->name,
                        node->runtime.n_full);
}

static void check_room(Sim *sim, const Node *node, uint32_t agent, Host *host, const Copy *copy) {
        if (copy->is_twin)
                return; /* it may be the other one */
        if (copy->n_ahead >= sim->scenario.apps.agents[agent].mailbox_capacity)
                sim_break(sim, "P9",
                        "t%" PRIu32 " on %s was given message %" PRIu32 " while its mailbox of %" PRIu64
                        " had %" PRIu32,
                        agent, node->name, copy->message, sim->scenario.apps.agents[agent].mailbox_capacity,
                        copy->n_ahead);
        for (size_t i = 0; i < host->n_copies; i++)
                host->copies[i].n_ahead += !host->copies[i].is_handled && host->copies[i].order > copy->order;
}

void mailbox_on_begin(Sim *sim, Node *node, uint32_t agent, const Copy *copy, const Mail *mail) {
        static const Lane lanes[_QOS_MAX] = {
                [QOS_REALTIME] = LANE_REALTIME,
                [QOS_BATCHED] = LANE_BATCHED,
                [QOS_BACKGROUND] = LANE_BACKGROUND,
        };
        const uint64_t waited_usec = node_instant(sim, node).usec - copy->delivered_usec;

        check_room(sim, node, agent, apps_host(sim, node, agent), copy);
        if (copy->is_twin)
                return; /* it may be the other one */
        if (copy->qos != QOS_NONE && mail->lane != lanes[copy->qos])
                sim_break(sim, "P8", "t%" PRIu32 " on %s has message %" PRIu32 " in lane %u, its topic has QoS %u",
                        agent, node->name, copy->message, mail->lane, copy->qos);
        if (mail->lane == LANE_REALTIME && waited_usec >= sim->scenario.apps.realtime_max_age_usec)
                sim_break(sim, "P9", "t%" PRIu32 " on %s was given realtime message %" PRIu32 " after %" PRIu64 " us",
                        agent, node->name, copy->message, waited_usec);
}
