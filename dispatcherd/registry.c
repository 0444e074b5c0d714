/* SPDX-License-Identifier: MIT */

/*
 * Registry
 *
 * Two hash tables, runtimes by id and agents by id, and between them one Hosting per (runtime, agent) pair. An agent
 * keeps its hosts in an array, so that placement can look at two random ones; a runtime keeps its hostings in a list,
 * so that a registration can sweep what it no longer names.
 *
 * A registration that comes in parts is applied as it arrives: each part stamps the hostings it names with the
 * runtime's generation, and when the last part is there, hostings of older generations are swept. Nothing has to be
 * staged, so nobody can make us hold half a registration in memory. A runtime whose new epoch is incomplete is JOINING
 * and gets no work; a known epoch that registers again stays what it is.
 *
 * Invariants: runtime->silent if and only if it is counted in n_silent; a silent runtime is never LIVE, and a SUSPECT
 * one is silent. agent->n_hosts == 0 if and only if its deadline is armed. A Runtime is never removed while executions
 * point at it.
 */

#include <inttypes.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/registry.h"
#include "dispatcherd/tombstones.h"
#include "proto/buffer.h"
#include "proto/subject.h"

/* A runtime's labels and agent types are kept as they came, blanks and all: more than this is no description of a
 * runtime. */
#define RAW_TEXT_MAX (64 * 1024)

/* Names of agent types are few in any sane fleet; a hostile one gets no more than this. */
#define TYPE_NAMES_MAX 1024

typedef struct TypeName {
        UT_hash_handle hh;
        char text[];
} TypeName;

struct Registry {
        RegistryOptions options;
        Runtime *runtimes;
        Agent *agents;
        Tombstones tombstones;
        TypeName *types;
        size_t n_in_state[_RUNTIME_STATE_MAX];
        size_t n_silent;
        size_t n_hostings, n_failed;
        size_t n_kept; /* runtimes that were there when the limit was lowered: it is for newcomers */
};

/* agents and hostings */

static const char *intern_type(Registry *registry, Slice type) {
        TypeName *name = NULL;

        if (type.size == 0)
                return "";
        HASH_FIND(hh, registry->types, type.data, type.size, name);
        if (name)
                return name->text;
        if (HASH_COUNT(registry->types) >= TYPE_NAMES_MAX)
                return "";

        name = calloc(1, sizeof(*name) + type.size + 1);
        if (!name)
                return "";
        memcpy(name->text, type.data, type.size);
        HASH_ADD_KEYPTR(hh, registry->types, name->text, type.size, name);
        if (!name->hh.tbl) {
                free(name);
                return "";
        }
        return name->text;
}

static Agent *agent_get(Registry *registry, Slice agent_id) {
        Agent *agent = registry_find_agent(registry, agent_id);

        if (agent)
                return agent;

        agent = calloc(1, sizeof(*agent));
        if (!agent)
                return NULL;
        agent->id = id_of(agent_id);
        deadline_init(&agent->deadline, registry->options.agent_deadline_kind);
        HASH_ADD_KEYPTR(hh, registry->agents, agent->id.text, agent->id.size, agent);
        if (!agent->hh.tbl) {
                free(agent);
                return NULL;
        }
        return agent;
}

void registry_forget_agent(Registry *registry, Agent *agent) {
        assert(agent->n_hosts == 0);

        deadline_disarm(registry->options.deadlines, &agent->deadline);
        HASH_DEL(registry->agents, agent);
        free(agent->hosts);
        free(agent);
}

/* Through the shorter of the two lists: a thousand runtimes may host one agent, and one runtime a thousand agents. */
Hosting *registry_find_hosting(const Agent *agent, const Runtime *runtime) {
        Hosting *hosting;

        if (agent->n_hosts > runtime->n_agents) {
                LIST_FOREACH(hosting, &runtime->hostings, in_runtime)
                if (hosting->agent == agent)
                        return hosting;
                return NULL;
        }
        for (size_t i = 0; i < agent->n_hosts; i++)
                if (agent->hosts[i]->runtime == runtime)
                        return agent->hosts[i];
        return NULL;
}

static int agent_reserve_host(Agent *agent) {
        size_t n = agent->n_allocated ? agent->n_allocated * 2 : 1;
        Hosting **hosts;

        if (agent->n_hosts < agent->n_allocated)
                return 0;
        hosts = reallocarray(agent->hosts, n, sizeof(*hosts));
        if (!hosts)
                return -ENOMEM;
        agent->hosts = hosts;
        agent->n_allocated = n;
        return 0;
}

static Hosting *hosting_new(Registry *registry, Runtime *runtime, Agent *agent) {
        Hosting *hosting;

        if (agent_reserve_host(agent) < 0)
                return NULL;
        hosting = calloc(1, sizeof(*hosting));
        if (!hosting)
                return NULL;

        hosting->agent = agent;
        hosting->runtime = runtime;
        hosting->agent_index = agent->n_hosts;
        agent->hosts[agent->n_hosts++] = hosting;
        deadline_disarm(registry->options.deadlines, &agent->deadline);
        LIST_INSERT_HEAD(&runtime->hostings, hosting, in_runtime);
        runtime->n_agents++;
        registry->n_hostings++;
        return hosting;
}

static void hosting_free(Registry *registry, Hosting *hosting, uint64_t now) {
        Agent *agent = hosting->agent;
        Hosting *last = agent->hosts[agent->n_hosts - 1];

        agent->hosts[hosting->agent_index] = last;
        last->agent_index = hosting->agent_index;
        agent->n_hosts--;
        if (agent->n_hosts == 0) {
                agent->gone_usec = now;
                deadline_arm(registry->options.deadlines, &agent->deadline, now + registry->options.forget_agent_usec);
        }
        LIST_REMOVE(hosting, in_runtime);
        hosting->runtime->n_agents--;
        registry->n_hostings--;
        registry->n_failed -= hosting->refused == ERROR_AGENT_FAILED;
        free(hosting);
}

void registry_note_refusal(Registry *registry, Hosting *hosting, ErrorCode code) {
        registry->n_failed -= hosting->refused == ERROR_AGENT_FAILED;
        hosting->refused = (uint8_t)code;
        registry->n_failed += hosting->refused == ERROR_AGENT_FAILED;
}

/* Of the states that a runtime announces; any other takes triggers, also one that this version does not know. */
static ErrorCode refusal_of(Slice state) {
        static const struct {
                Slice state;
                ErrorCode code;
        } refusals[] = {
                { SLICE("stopping"), ERROR_AGENT_STOPPED },
                { SLICE("stopped"), ERROR_AGENT_STOPPED },
                { SLICE("failed"), ERROR_AGENT_FAILED },
        };

        for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
                if (slice_equal(state, refusals[i].state))
                        return refusals[i].code;
        return ERROR_NONE;
}

static int host_agent(Registry *registry, Runtime *runtime, const AgentSummary *summary, WireError *ret_error) {
        Agent *agent = registry_find_agent(registry, summary->agent_id);
        Hosting *hosting = agent ? registry_find_hosting(agent, runtime) : NULL;

        if (!hosting) {
                if (registry->n_hostings >= registry->options.max_agents) {
                        (void)wire_error(ret_error,
                                "the registry holds %zu agents, the limit of limits.max_agents is %" PRIu64,
                                registry->n_hostings, registry->options.max_agents);
                        return REGISTRY_E_FULL;
                }
                agent = agent_get(registry, summary->agent_id);
                if (!agent)
                        return -ENOMEM;
                hosting = hosting_new(registry, runtime, agent);
                if (!hosting) {
                        if (agent->n_hosts == 0)
                                registry_forget_agent(registry, agent);
                        return -ENOMEM;
                }
        }

        hosting->generation = runtime->generation;
        hosting->exclusive = summary->exclusive;
        registry_note_refusal(registry, hosting, refusal_of(summary->state));
        hosting->type = intern_type(registry, summary->agent_type);
        return 0;
}

static int host_agents(Registry *registry, Runtime *runtime, Slice array, WireError *ret_error) {
        Arena arena = {};
        size_t cursor = 0, index = 0;
        Slice element;
        int r = 0;

        while (r == 0 && scan_next(array, &cursor, &element)) {
                AgentSummary summary;

                r = agent_summary_decode(element, index++, &summary, &arena, ret_error);
                if (r == WIRE_E_INVALID)
                        r = REGISTRY_E_INVALID;
                else if (r == 0)
                        r = host_agent(registry, runtime, &summary, ret_error);
        }
        arena_clear(&arena);
        return r;
}

static void sweep_hostings(Registry *registry, Runtime *runtime, uint64_t generation_min, uint64_t now) {
        Hosting *hosting = LIST_FIRST(&runtime->hostings);

        while (hosting) {
                Hosting *following = LIST_NEXT(hosting, in_runtime);

                if (hosting->generation < generation_min)
                        hosting_free(registry, hosting, now);
                hosting = following;
        }
}

/* runtimes */

Runtime *registry_find(const Registry *registry, Slice runtime_id) {
        Runtime *runtime = NULL;

        HASH_FIND(hh, registry->runtimes, runtime_id.data, runtime_id.size, runtime);
        return runtime;
}

Agent *registry_find_agent(const Registry *registry, Slice agent_id) {
        Agent *agent = NULL;

        HASH_FIND(hh, registry->agents, agent_id.data, agent_id.size, agent);
        return agent;
}

Runtime *registry_first(const Registry *registry) {
        return registry->runtimes;
}

Runtime *registry_next(const Runtime *runtime) {
        return runtime->hh.next;
}

Agent *registry_first_agent(const Registry *registry) {
        return registry->agents;
}

Agent *registry_next_agent(const Agent *agent) {
        return agent->hh.next;
}

size_t registry_n_runtimes(const Registry *registry) {
        return HASH_COUNT(registry->runtimes);
}

size_t registry_n_in_state(const Registry *registry, RuntimeState state) {
        return registry->n_in_state[state];
}

size_t registry_n_silent(const Registry *registry) {
        return registry->n_silent;
}

size_t registry_n_failed(const Registry *registry) {
        return registry->n_failed;
}

size_t registry_n_agents(const Registry *registry) {
        return HASH_COUNT(registry->agents);
}

size_t registry_n_hostings(const Registry *registry) {
        return registry->n_hostings;
}

bool runtime_set_state(Registry *registry, Runtime *runtime, RuntimeEvent event) {
        RuntimeState from = runtime->state, to = runtime_state_next(from, event);

        if (to == RUNTIME_INVALID) {
                diag_runtime_impossible(id_slice(&runtime->id), runtime_state_name(from), runtime_event_name(event));
                return false;
        }
        if (to == from)
                return false;

        registry->n_in_state[from]--;
        registry->n_in_state[to]++;
        runtime->state = to;
        diag_runtime_state(id_slice(&runtime->id), runtime->epoch, from, to, runtime_event_name(event));
        return true;
}

void runtime_set_silent(Registry *registry, Runtime *runtime, bool silent) {
        if (runtime->silent == silent)
                return;
        runtime->silent = silent;
        if (silent)
                registry->n_silent++;
        else
                registry->n_silent--;
}

static void runtime_free(Registry *registry, Runtime *runtime) {
        deadline_disarm(registry->options.deadlines, &runtime->deadline);
        free(runtime->hostname);
        free(runtime->ip_address);
        free(runtime->version);
        free(runtime->labels_json);
        free(runtime->types_json);
        free(runtime->trigger_subject);
        free(runtime->control_subject);
        free(runtime->parts.arrived);
        arena_clear(&runtime->labels_arena);
        free(runtime);
}

static int runtime_add(Registry *registry, Slice runtime_id, Runtime **ret) {
        Runtime *runtime = calloc(1, sizeof(*runtime));

        if (!runtime)
                return -ENOMEM;
        runtime->id = id_of(runtime_id);
        runtime->state = RUNTIME_JOINING;
        LIST_INIT(&runtime->hostings);
        LIST_INIT(&runtime->executions);
        deadline_init(&runtime->deadline, registry->options.runtime_deadline_kind);
        HASH_ADD_KEYPTR(hh, registry->runtimes, runtime->id.text, runtime->id.size, runtime);
        if (!runtime->hh.tbl) {
                free(runtime);
                return -ENOMEM;
        }
        registry->n_in_state[RUNTIME_JOINING]++;
        *ret = runtime;
        return 0;
}

void registry_restart(Registry *registry, Runtime *runtime) {
        assert(LIST_EMPTY(&runtime->executions));

        (void)runtime_set_state(registry, runtime, RUNTIME_EV_RESTART);
        runtime_set_silent(registry, runtime, false);
        runtime->parts.going = false;
        runtime->announced = false;
        runtime->leaving_usec = 0;
        runtime->foreign_in_flight = 0;
        runtime->probe_usec = 0;
        runtime->failed_usec = 0;
        runtime->unreachable = false;
        runtime->drain_wanted = false;
        runtime->asked_interval_ms = 0;
        runtime->sequence = 0;
        runtime->recorded_usec = 0; /* a new epoch is told at once */
        runtime->load = (RuntimeLoad){};
}

/* Without a trace. */
static void runtime_remove(Registry *registry, Runtime *runtime, Instant now) {
        assert(LIST_EMPTY(&runtime->executions));

        (void)runtime_set_state(registry, runtime, RUNTIME_EV_REMOVE);
        runtime_set_silent(registry, runtime, false);
        registry->n_in_state[RUNTIME_GONE]--;
        sweep_hostings(registry, runtime, UINT64_MAX, now.usec);
        HASH_DEL(registry->runtimes, runtime);
        runtime_free(registry, runtime);
}

void registry_remove(Registry *registry, Runtime *runtime, DeregisterReason reason, Instant now) {
        assert(reason > DEREGISTER_NONE && reason < _DEREGISTER_REASON_MAX);

        tombstones_put(&registry->tombstones, id_slice(&runtime->id), runtime->epoch, reason);
        runtime_remove(registry, runtime, now);
}

void registry_pardon(Registry *registry, Slice runtime_id) {
        tombstones_drop(&registry->tombstones, runtime_id);
}

bool registry_was_removed_by_hand(const Registry *registry, Slice runtime_id) {
        const Tombstone *tombstone = tombstones_find(&registry->tombstones, runtime_id);

        return tombstone && tombstone->reason == DEREGISTER_OPERATOR;
}

int registry_admits(const Registry *registry, Slice runtime_id, uint64_t epoch, RegistrationRefused *ret_refused) {
        const Runtime *runtime = registry_find(registry, runtime_id);
        const Tombstone *tombstone = tombstones_find(&registry->tombstones, runtime_id);

        if (runtime && epoch < runtime->epoch) {
                *ret_refused = (RegistrationRefused){ .reason = DEREGISTER_REPLACED, .epoch = runtime->epoch };
                return REGISTRY_E_STALE;
        }
        /* How an epoch ended is said to that epoch alone. A lower one is another process, whose clock is behind or
         * which was replaced. */
        if (tombstone && epoch <= tombstone->epoch) {
                *ret_refused = (RegistrationRefused){
                        .reason = epoch == tombstone->epoch ? tombstone->reason : DEREGISTER_REPLACED,
                        .epoch = tombstone->epoch,
                };
                return REGISTRY_E_STALE;
        }
        return 0;
}

static int set_text(char **text, Slice value, bool *changed) {
        char *copy;

        if (slice_equal(slice_of(*text), value))
                return 0;
        copy = slice_dup(value);
        if (!copy)
                return -ENOMEM;
        free(*text);
        *text = copy;
        *changed = true;
        return 0;
}

static int check_raw(const char *field, Slice raw, WireError *ret_error) {
        if (raw.size <= RAW_TEXT_MAX)
                return 0;
        (void)wire_error(ret_error, "%s has %zu bytes, the limit is %d", field, raw.size, RAW_TEXT_MAX);
        return REGISTRY_E_INVALID;
}

static int check_raws(const Registration *registration, WireError *ret_error) {
        int r = check_raw("agent_runtime.labels", registration->labels, ret_error);

        return r == 0 ? check_raw("agent_runtime.agent_types", registration->agent_types, ret_error) : r;
}

static int set_labels(Runtime *runtime, Slice raw, bool *changed, WireError *ret_error) {
        Arena arena = {};
        Labels labels = {};
        int r;

        if (runtime->labels_json && slice_equal(slice_of(runtime->labels_json), raw))
                return 0;
        /* Checked on the message first, so that a bad one leaves the old labels. */
        r = labels_decode(raw, "agent_runtime.labels", &arena, &labels, ret_error);
        arena_clear(&arena);
        if (r != 0)
                return r == WIRE_E_INVALID ? REGISTRY_E_INVALID : r;
        r = set_text(&runtime->labels_json, raw.data ? raw : SLICE("{}"), changed);
        if (r < 0)
                return r;
        arena_clear(&runtime->labels_arena);
        runtime->labels = (Labels){};
        r = labels_decode(slice_of(runtime->labels_json), "agent_runtime.labels", &runtime->labels_arena,
                &runtime->labels, ret_error);
        return r == WIRE_E_INVALID ? REGISTRY_E_INVALID : r;
}

/* Its own subjects, or any that a result may go to: nobody can make us publish commands, or into another runtime's ear.
 */
static bool may_listen_on(Slice prefix, Slice subject, Slice conventional) {
        return subject_may_receive_result(prefix, subject) || slice_equal(subject, conventional);
}

static int set_subject(Slice prefix, const char *field, char **text, Slice wanted, Slice conventional, bool *changed,
        WireError *ret_error) {
        if (wanted.size > 0 && !may_listen_on(prefix, wanted, conventional)) {
                (void)wire_error(ret_error,
                        "agent_runtime.subjects.%s \"%.*s\" is reserved: it may be %.*s, or a subject outside %.*s. "
                        "and $",
                        field, SLICE_ARG(wanted), SLICE_ARG(conventional), SLICE_ARG(prefix));
                return REGISTRY_E_INVALID;
        }
        return set_text(text, wanted.size > 0 ? wanted : conventional, changed);
}

static int set_subjects(const Registry *registry, Runtime *runtime, const Registration *registration, bool *changed,
        WireError *ret_error) {
        _cleanup_(buffer_done) Buffer trigger = {}, control = {};
        Slice prefix = slice_of(registry->options.subject_prefix);
        int r;

        subject_build(&trigger, prefix, SUBJECT_RUNTIME_TRIGGER, registration->runtime_id, SLICE_NONE);
        subject_build(&control, prefix, SUBJECT_RUNTIME_CONTROL, registration->runtime_id, SLICE("x"));
        if (trigger.failed || control.failed)
                return -ENOMEM;

        r = set_subject(prefix, "trigger", &runtime->trigger_subject, registration->trigger_subject,
                buffer_slice(&trigger), changed, ret_error);
        if (r != 0)
                return r;
        return set_subject(prefix, "control", &runtime->control_subject, registration->control_subject,
                (Slice){ control.data, control.size - strlen(".x") }, changed, ret_error);
}

static int set_head(const Registry *registry, Runtime *runtime, const Registration *registration, bool *changed,
        WireError *ret_error) {
        const struct {
                char **text;
                Slice value;
        } texts[] = {
                { &runtime->hostname, registration->hostname },
                { &runtime->ip_address, registration->ip_address },
                { &runtime->version, registration->version },
                { &runtime->types_json, registration->agent_types.data ? registration->agent_types : SLICE("[]") },
        };
        int r;

        r = check_raws(registration, ret_error);
        if (r != 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                r = set_text(texts[i].text, texts[i].value, changed);
                if (r < 0)
                        return r;
        }
        r = set_labels(runtime, registration->labels, changed, ret_error);
        if (r != 0)
                return r;
        r = set_subjects(registry, runtime, registration, changed, ret_error);
        if (r != 0)
                return r;

        if (runtime->max_in_flight != registration->max_in_flight || runtime->max_agents != registration->max_agents)
                *changed = true;
        runtime->pid = registration->pid;
        runtime->max_in_flight = registration->max_in_flight;
        runtime->max_agents = registration->max_agents;
        runtime->interval_usec = registration->heartbeat_interval_ms * USEC_PER_MSEC;
        return 0;
}

/* Begins a pass over all agents, unless this part belongs to the one that is going. */
static int begin_parts(Runtime *runtime, const Registration *registration) {
        if (runtime->parts.going && runtime->parts.revision == registration->revision &&
                runtime->parts.count == registration->part_count)
                return 0;

        free(runtime->parts.arrived);
        runtime->parts.arrived = calloc(registration->part_count / 8 + 1, 1);
        if (!runtime->parts.arrived) {
                runtime->parts.going = false;
                return -ENOMEM;
        }
        runtime->parts.going = true;
        runtime->parts.revision = registration->revision;
        runtime->parts.count = registration->part_count;
        runtime->parts.n_arrived = 0;
        runtime->parts.changed = false;
        runtime->generation++;
        return 0;
}

static void part_arrived(Runtime *runtime, uint64_t index) {
        uint8_t *byte = &runtime->parts.arrived[index / 8], bit = (uint8_t)(1u << (index % 8));

        if (!(*byte & bit)) {
                *byte |= bit;
                runtime->parts.n_arrived++;
        }
}

static void parts_complete(Registry *registry, Runtime *runtime, Instant now) {
        size_t n_before = runtime->n_agents;

        runtime->parts.going = false;
        free(runtime->parts.arrived);
        runtime->parts.arrived = NULL;
        sweep_hostings(registry, runtime, runtime->generation, now.usec);
        diag_runtime_complete(id_slice(&runtime->id), runtime->epoch, runtime->revision, runtime->n_agents,
                n_before - runtime->n_agents);
        (void)runtime_set_state(registry, runtime, RUNTIME_EV_COMPLETE);
}

static int runtime_take(Registry *registry, Runtime *runtime, const Registration *registration, Instant now,
        RegistryTaken *ret, WireError *ret_error) {
        bool changed = false;
        int r;

        r = set_head(registry, runtime, registration, &changed, ret_error);
        if (r == 0)
                r = begin_parts(runtime, registration);
        if (r == 0)
                r = host_agents(registry, runtime, registration->agent_definitions, ret_error);
        if (r != 0) {
                runtime->parts.going = false; /* the next one starts from the beginning */
                return r;
        }

        part_arrived(runtime, registration->part_index);
        if (changed || runtime->revision != registration->revision || runtime->state == RUNTIME_JOINING)
                runtime->parts.changed = true;
        ret->complete = runtime->parts.n_arrived == runtime->parts.count;
        if (ret->complete) {
                runtime->revision = registration->revision;
                parts_complete(registry, runtime, now);
        }
        ret->runtime = runtime;
        ret->changed = runtime->parts.changed && ret->complete;
        return 0;
}

int registry_vet(const Registration *registration, WireError *ret_error) {
        Arena arena = {};
        size_t cursor = 0, index = 0;
        Slice element;
        int r = check_raws(registration, ret_error);

        while (r == 0 && scan_next(registration->agent_definitions, &cursor, &element)) {
                AgentSummary summary;

                r = agent_summary_decode(element, index++, &summary, &arena, ret_error);
                if (r == WIRE_E_INVALID)
                        r = REGISTRY_E_INVALID;
        }
        arena_clear(&arena);
        return r;
}

int registry_register(
        Registry *registry, const Registration *registration, Instant now, RegistryTaken *ret, WireError *ret_error) {
        Runtime *runtime = registry_find(registry, registration->runtime_id);
        RegistryTaken taken = {};
        int r;

        if (!runtime) {
                if (registry_n_runtimes(registry) >= registry->options.max_runtimes) {
                        (void)wire_error(ret_error,
                                "the registry holds %zu runtimes, the limit of limits.max_runtimes is %" PRIu64,
                                registry_n_runtimes(registry), registry->options.max_runtimes);
                        return REGISTRY_E_FULL;
                }
                r = runtime_add(registry, registration->runtime_id, &runtime);
                if (r < 0)
                        return r;
                taken.is_new = true;
        }
        assert(registration->epoch >= runtime->epoch);
        if (taken.is_new || registration->epoch > runtime->epoch) {
                taken.is_new = true;
                runtime->epoch = registration->epoch;
                runtime->registered_real_usec = now.real_usec;
        }

        r = runtime_take(registry, runtime, registration, now, &taken, ret_error);
        if (r != 0) {
                /* A newcomer that can't be taken leaves nothing behind; a known one keeps what it had. */
                if (taken.is_new)
                        runtime_remove(registry, runtime, now);
                return r;
        }
        *ret = taken;
        return 0;
}

static void unhost_agents(Registry *registry, Runtime *runtime, Slice array, uint64_t now) {
        Arena arena = {};
        size_t cursor = 0;
        Slice element;

        while (scan_next(array, &cursor, &element)) {
                Agent *agent = NULL;
                Hosting *hosting;
                Slice agent_id;

                if (scan_text(element, &arena, &agent_id) == 0)
                        agent = registry_find_agent(registry, agent_id);
                hosting = agent ? registry_find_hosting(agent, runtime) : NULL;
                if (hosting)
                        hosting_free(registry, hosting, now);
        }
        arena_clear(&arena);
}

int registry_update(
        Registry *registry, Runtime *runtime, const RuntimeUpdated *updated, Instant now, WireError *ret_error) {
        int r;

        assert(updated->base_revision == runtime->revision);

        unhost_agents(registry, runtime, updated->removed, now.usec);
        r = host_agents(registry, runtime, updated->added, ret_error);
        if (r != 0)
                return r;
        runtime->revision = updated->revision;
        return 0;
}

/* construction */

int registry_new(const RegistryOptions *options, Registry **ret) {
        Registry *registry = calloc(1, sizeof(*registry));

        if (!registry)
                return -ENOMEM;
        registry->options = *options;
        *ret = registry;
        return 0;
}

Registry *registry_free(Registry *registry) {
        if (!registry)
                return NULL;

        for (Runtime *runtime = registry->runtimes, *following; runtime; runtime = following) {
                following = runtime->hh.next;
                sweep_hostings(registry, runtime, UINT64_MAX, 0);
                HASH_DEL(registry->runtimes, runtime);
                runtime_free(registry, runtime);
        }
        while (registry->agents)
                registry_forget_agent(registry, registry->agents);
        tombstones_done(&registry->tombstones);
        for (TypeName *name = registry->types, *following; name; name = following) {
                following = name->hh.next;
                HASH_DEL(registry->types, name);
                free(name);
        }
        free(registry);
        return NULL;
}

void registry_set_limits(Registry *registry, uint64_t max_runtimes, uint64_t max_agents) {
        registry->options.max_runtimes = max_runtimes;
        registry->options.max_agents = max_agents;
        registry->n_kept = registry_n_runtimes(registry);
}

const char *registry_check(const Registry *registry) {
        size_t n_in_state[_RUNTIME_STATE_MAX] = {}, n_silent = 0, n_hostings = 0, n_hosts = 0, n_failed = 0;

        for (const Runtime *runtime = registry->runtimes; runtime; runtime = runtime->hh.next) {
                n_in_state[runtime->state]++;
                n_silent += runtime->silent;
                n_hostings += runtime->n_agents;
                if (runtime->state == RUNTIME_INVALID || runtime->state == RUNTIME_GONE)
                        return "a runtime that is gone is still in the registry";
                if ((runtime->state == RUNTIME_LIVE && runtime->silent) ||
                        (runtime->state == RUNTIME_SUSPECT && !runtime->silent))
                        return "a runtime is live and silent, or suspect and not silent";
        }
        for (const Agent *agent = registry->agents; agent; agent = agent->hh.next) {
                n_hosts += agent->n_hosts;
                for (size_t i = 0; i < agent->n_hosts; i++)
                        n_failed += agent->hosts[i]->refused == ERROR_AGENT_FAILED;
                if ((agent->n_hosts == 0) != (agent->deadline.usec != USEC_NEVER))
                        return "an agent that nobody hosts is remembered for ever, or one that is hosted is about to "
                               "be forgotten";
        }
        for (size_t i = 0; i < _RUNTIME_STATE_MAX; i++)
                if (n_in_state[i] != registry->n_in_state[i])
                        return "the count of runtimes in a state differs from the runtimes in it";
        if (n_silent != registry->n_silent)
                return "the count of silent runtimes differs from the silent runtimes";
        if (n_hostings != registry->n_hostings || n_hosts != registry->n_hostings)
                return "the count of hostings differs from the runtimes' or the agents'";
        if (n_failed != registry->n_failed)
                return "the count of agents that have failed differs from those that have";
        if (registry_n_runtimes(registry) > MAX_OF(registry->options.max_runtimes, registry->n_kept))
                return "more runtimes than limits.max_runtimes";
        return NULL;
}
