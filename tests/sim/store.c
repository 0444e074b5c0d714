/* SPDX-License-Identifier: MIT */

/*
 * A store without files: each node has a disk with two generations of each agent's state. Requests are carried out in
 * order, some virtual time later; in some seeds the disk fails now and then. What a process had asked for when it was
 * killed may have been done, or not, from the first request on.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/sim.h"

#define PAUSED_RETRY_USEC (20 * USEC_PER_MSEC)

typedef struct Record {
        bool is_there;
        uint64_t generation;
        char state[64];
} Record;

struct Disk {
        struct {
                Record newest, previous;
                uint64_t highest_asked; /* generation */
                bool is_known;          /* the process knows of all generations: no load has failed since its start */
        } agents[APPS_MAX];
        StoreRequest *first, *last; /* that wait */
        uint64_t last_usec;
};

static void on_disk_due(Sim *sim, Event *event);

static Disk *disk_of(Node *node) {
        if (!node->runtime.disk)
                node->runtime.disk = calloc(1, sizeof(*node->runtime.disk));
        assert(node->runtime.disk);
        return node->runtime.disk;
}

static uint64_t number_of(const Record *record) {
        unsigned long long number = 0;
        unsigned whose;

        return sscanf(record->state, "probe 1 t%u %llu", &whose, &number) == 2 ? number : 0;
}

static void put(Disk *disk, uint32_t agent, const StoreRequest *request) {
        Record record = { .is_there = true, .generation = request->generation };

        (void)snprintf(record.state, sizeof(record.state), "%.*s", SLICE_ARG(buffer_slice(&request->state)));
        disk->agents[agent].previous = disk->agents[agent].newest;
        disk->agents[agent].newest = record;
}

static void fail(StoreRequest *request, StoreOutcome outcome) {
        request->outcome = outcome;
        (void)wire_error(&request->error, "the disk has failed");
}

static void save(Sim *sim, Node *node, Disk *disk, uint32_t agent, StoreRequest *request) {
        const bool is_above = request->generation > disk->agents[agent].newest.generation;

        if (!sim->faults_over && rng_chance(&sim->rng_apps, sim->scenario.apps.save_fails_per_mille)) {
                sim_count(sim, COUNT_APP_SAVES_FAILED);
                state_on_saved(sim, node, agent, 0, /* succeeded= */ false);
                fail(request, STORE_UNWRITABLE);
                return;
        }
        if (!is_above && disk->agents[agent].is_known)
                sim_break(sim, "durability",
                        "t%" PRIu32 " on %s is saved as generation %" PRIu64 ", the store has %" PRIu64, agent,
                        node->name, request->generation, disk->agents[agent].newest.generation);
        if (!is_above) { /* as the real one does; else the next load would bring the other one */
                state_on_saved(sim, node, agent, 0, /* succeeded= */ false);
                fail(request, STORE_UNWRITABLE);
                request->generation = disk->agents[agent].newest.generation;
                return;
        }
        put(disk, agent, request);
        request->outcome = STORE_DONE;
        state_on_saved(sim, node, agent, number_of(&disk->agents[agent].newest), /* succeeded= */ true);
}

static void give(const Record *record, Buffer *ret) {
        buffer_append_slice(ret, slice_of(record->state));
}

static void load(Sim *sim, Node *node, Disk *disk, uint32_t agent, StoreRequest *request) {
        const Record *newest = &disk->agents[agent].newest, *previous = &disk->agents[agent].previous;
        const Record *wanted = newest;

        if (request->below_generation > 0 && newest->is_there && newest->generation >= request->below_generation)
                wanted = previous;
        if (newest->is_there && !sim->faults_over &&
                rng_chance(&sim->rng_apps, sim->scenario.apps.load_fails_per_mille)) {
                sim_count(sim, COUNT_APP_LOADS_FAILED);
                disk->agents[agent].is_known = false;
                if (rng_chance(&sim->rng_apps, 500)) {
                        state_on_load_failed(sim, node, agent, /* has_previous= */ false, 0);
                        fail(request, STORE_UNREADABLE);
                        return;
                }
                state_on_load_failed(sim, node, agent, previous->is_there, number_of(previous));
                fail(request, STORE_DAMAGED);
                request->generation = newest->generation;
                request->has_previous = previous->is_there;
                request->previous_generation = previous->generation;
                if (previous->is_there)
                        give(previous, &request->previous);
                return;
        }
        disk->agents[agent].is_known = true;
        state_on_loaded(sim, node, agent, wanted->is_there, number_of(wanted));
        request->outcome = wanted->is_there ? STORE_DONE : STORE_EMPTY;
        request->generation = wanted->generation;
        if (wanted->is_there)
                give(wanted, &request->state);
}

static void forget(Sim *sim, Node *node, Disk *disk, uint32_t agent, StoreRequest *request) {
        disk->agents[agent].newest = disk->agents[agent].previous = (Record){};
        request->outcome = STORE_DONE;
        apps_host(sim, node, agent)->stored = 0;
}

static void carry_out(Sim *sim, Node *node, Disk *disk, StoreRequest *request) {
        const uint32_t agent = probe_agent(id_slice(&request->agent_id));

        switch (request->operation) {
        case STORE_SAVE:
                save(sim, node, disk, agent, request);
                break;
        case STORE_LOAD:
                load(sim, node, disk, agent, request);
                break;
        default:
                forget(sim, node, disk, agent, request);
                break;
        }
}

static StoreRequest *pop(Disk *disk) {
        StoreRequest *request = disk->first;

        if (!request)
                return NULL;
        disk->first = request->next;
        if (!disk->first)
                disk->last = NULL;
        request->next = NULL;
        return request;
}

void disk_take(Sim *sim, Node *node) {
        StoreRequest *request = runtime_take_store_requests(node->runtime.core), *next;
        Disk *disk;

        for (; request; request = next) {
                next = request->next;
                request->next = NULL;
                disk = disk_of(node);
                /* for a built-in one that keeps a state: nobody looks at that */
                request->outcome = request->operation == STORE_LOAD ? STORE_EMPTY : STORE_DONE;
                if (disk->last)
                        disk->last->next = request;
                else
                        disk->first = request;
                disk->last = request;
                disk->last_usec = MAX_OF(
                        disk->last_usec, sim->now + rng_below(&sim->rng_apps, sim->scenario.apps.store_usec_max));
                schedule_add(&sim->schedule, &(Event){
                                                     .usec = disk->last_usec,
                                                     .fn = on_disk_due,
                                                     .node = node,
                                                     .argument = node->incarnation,
                                             });
        }
}

static void on_disk_due(Sim *sim, Event *event) {
        Node *node = event->node;
        const Instant now = node_instant(sim, node);
        StoreRequest *request;

        if (node->state == NODE_DOWN || event->argument != node->incarnation)
                return;
        if (node->state == NODE_PAUSED) {
                sim_after(sim, PAUSED_RETRY_USEC, on_disk_due, node, event->argument);
                return;
        }
        request = pop(node->runtime.disk);
        assert(request);
        if (request->agent_id.text[0] == 't')
                carry_out(sim, node, node->runtime.disk, request);
        runtime_on_stored(node->runtime.core, request, now);
        node->class->on_turn_end(sim, node, now);
        node_settle(sim, node);
}

void disk_abandon(Sim *sim, Node *node, bool all) {
        StoreRequest *request;
        bool goes_on = true;

        if (all && node->runtime.disk && node->runtime.disk->first &&
                node_instant(sim, node).usec < node->runtime.stop_usec)
                sim_break(sim, "P10", "%s leaves before the store has done what it was asked for", node->name);
        while (node->runtime.disk && (request = pop(node->runtime.disk))) {
                goes_on = goes_on && (all || rng_chance(&sim->rng_apps, 500));
                if (goes_on && request->agent_id.text[0] == 't')
                        carry_out(sim, node, node->runtime.disk, request);
                (void)store_request_free(request);
        }
}

void disk_free(Node *node) {
        free(node->runtime.disk);
        node->runtime.disk = NULL;
}

bool disk_has(const Node *node, uint32_t agent) {
        return node->runtime.disk && node->runtime.disk->agents[agent].newest.is_there;
}
