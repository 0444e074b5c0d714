/* SPDX-License-Identifier: MIT */

/*
 * Promises 8 and 10: what control requests come to, states, hooks, restarts.
 *
 * A request is carried out on the model when it is delivered, and the answer, published later, must agree; where the
 * model was in doubt it learns from the answer.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/definition.h"
#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/host.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

static const ScenarioApp *app_of(const Sim *sim, uint32_t agent) {
        return &sim->scenario.apps.agents[agent];
}

/* What callers know of it may not be true any more. */
static void note_change(Host *host) {
        host->serial++;
        for (uint32_t p = 0; p < PATTERNS_MAX; p++)
                memset(host->topics[p].is_known, 0, sizeof(host->topics[p].is_known));
}

static void set_topic(HostTopic *topic, Tri is_had, bool is_queued, unsigned qos) {
        topic->is_had = topic->is_own ? MAYBE : is_had;
        topic->is_queued = is_queued;
        topic->qos = qos;
        topic->serial++;
        memset(topic->is_known, 0, sizeof(topic->is_known));
}

static void set_topics_from_definition(Sim *sim, Host *host, uint32_t agent) {
        const ScenarioApp *app = app_of(sim, agent);
        const unsigned qos = app->qos == QOS_NONE ? QOS_BATCHED : app->qos;

        for (uint32_t p = 0; p < PATTERN_REPLIES; p++)
                if (app->topics & (UINT32_C(1) << p))
                        set_topic(&host->topics[p], host->topics[p].is_had == NO ? YES : MAYBE,
                                app->queued & (UINT32_C(1) << p), qos);
        set_topic(&host->topics[PATTERN_REPLIES], YES, false, QOS_BATCHED);
}

static void set_no_topics(Host *host) {
        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                host->topics[p].is_own = false;
                set_topic(&host->topics[p], NO, false, QOS_NONE);
        }
}

void life_release(Host *host) {
        for (size_t i = 0; i < host->n_copies; i++)
                host->copies[i].must_be_handled = false;
}

static void go_down(Host *host) {
        note_change(host);
        host->is_up = false;
        host->is_told_to_stop = true;
}

/* A verb that may change its state has come: what answers to earlier ones have promised is over. */
static void note_life_verb(Host *host) {
        host->n_life_verbs++;
        host->known = KNOWN_NOTHING;
        host->is_still = false;
}

/* hooks */

/* Of those crashes that it was started again for, how many does the window of the last one hold? */
static bool may_be_restarted(const Sim *sim, uint32_t agent, const Host *host) {
        const ScenarioApp *app = app_of(sim, agent);
        const uint64_t last = host->n_crashes_kept > 0 ? host->crashes[host->n_crashes_kept - 1] : 0;
        size_t n = 0;

        for (size_t i = 0; i + 1 < host->n_crashes_kept; i++)
                n += host->crashes[i] + app->restart_window_ms * USEC_PER_MSEC >= last;
        return n < app->restart_max;
}

static void check_restart(Sim *sim, const Node *node, uint32_t agent) {
        const uint64_t backoff_usec = app_of(sim, agent)->restart_backoff_ms * USEC_PER_MSEC;
        const Host *host = apps_host(sim, node, agent);

        if (!host->is_lost || host->is_told_to_stop || host->n_crashes_kept == 0)
                return;
        sim_count(sim, COUNT_APP_RESTARTS);
        if (!may_be_restarted(sim, agent, host))
                sim_break(sim, "lifecycle", "t%" PRIu32 " on %s is started again, more often than restart.max", agent,
                        node->name);
        if (node_instant(sim, node).usec < host->crashes[host->n_crashes_kept - 1] + backoff_usec)
                sim_break(sim, "lifecycle", "t%" PRIu32 " on %s is started again, earlier than restart.backoff_ms",
                        agent, node->name);
}

void life_on_init(Sim *sim, Node *node, uint32_t agent, Slice state, uint64_t number, bool succeeded) {
        Host *host = apps_host(sim, node, agent);

        sim_count(sim, succeeded ? COUNT_APP_INITS : COUNT_APP_INITS_FAILED);
        if (state.data)
                sim_count(sim, COUNT_APP_RESTORED);
        if (!succeeded)
                return;
        state_check_init(sim, node, agent, state, number);
        check_restart(sim, node, agent);
        if (host->n_inits != host->n_stops + host->n_crashes)
                sim_break(sim, "P10", "t%" PRIu32 " on %s is started while it has a behaviour", agent, node->name);
        host->n_inits++;
        host->n_asks = host->n_pending = host->n_emissions = 0;
        host->wanted_saved = 0;
        host->state = host->n_done = number;
}

void life_on_ready(Sim *sim, Node *node, uint32_t agent) {
        Host *host = apps_host(sim, node, agent);

        host->is_lost = false;
        if (host->is_told_to_stop || host->exists == NO)
                return;
        if (!host->was_ready)
                set_topics_from_definition(sim, host, agent);
        host->was_ready = true;
        host->is_up = host->exists == YES;
}

void life_on_stop_hook(Sim *sim, Node *node, uint32_t agent) {
        Host *host = apps_host(sim, node, agent);

        if (node->state == NODE_DOWN)
                return; /* the process ends: memory is freed */
        if (++host->n_stops + host->n_crashes > host->n_inits)
                sim_break(sim, "P10", "the stop hook of t%" PRIu32 " on %s runs a second time", agent, node->name);
}

/* It does so when the core carries it out, which is not seen: from now on anything is possible. */
void life_on_own_topic(Sim *sim, Node *node, uint32_t agent, uint32_t pattern) {
        Host *host = apps_host(sim, node, agent);

        sim_trace(sim, node, "t%" PRIu32 " changes its topic %" PRIu32 " itself", agent, pattern);
        host->topics[pattern].is_own = true;
        set_topic(&host->topics[pattern], MAYBE, false, QOS_NONE);
}

static void keep_crash(Host *host, uint64_t usec) {
        if (host->n_crashes_kept == CRASHES_KEPT)
                memmove(host->crashes, host->crashes + 1, --host->n_crashes_kept * sizeof(host->crashes[0]));
        host->crashes[host->n_crashes_kept++] = usec;
}

void life_on_crash(Sim *sim, Node *node, uint32_t agent) {
        Host *host = apps_host(sim, node, agent);

        sim_count(sim, COUNT_APP_CRASHES);
        host->n_crashes++;
        host->is_lost = true;
        host->is_up = false;
        host->known = KNOWN_NOTHING;
        note_change(host);
        if (!host->is_told_to_stop)
                keep_crash(host, node_instant(sim, node).usec);
        if (host->is_told_to_stop || !may_be_restarted(sim, agent, host))
                life_release(host); /* there is nobody to work it off */
}

/* requests, delivered */

static Tri on_subscribe(const AppRequest *request, Host *host) {
        HostTopic *topic = &host->topics[request->pattern];
        const bool wants = request->verb == VERB_SUBSCRIBE;
        Tri result;

        if (!host->was_ready || request->pattern == PATTERN_REPLIES)
                return NO;
        if (host->exists == MAYBE || topic->is_had == MAYBE) {
                set_topic(topic, MAYBE, request->is_queued, QOS_NONE);
                return MAYBE;
        }
        result = (topic->is_had == YES) != wants ? YES : NO;
        if (result == YES)
                set_topic(topic, wants ? YES : NO, request->is_queued, request->qos);
        return result;
}

static Tri on_create(Host *host) {
        if (host->exists == YES)
                return host->is_told_to_stop ? MAYBE : NO;
        if (host->exists == NO)
                note_change(host);
        for (uint32_t p = 0; p < PATTERNS_MAX && host->was_ready; p++)
                set_topic(&host->topics[p], MAYBE, false, QOS_NONE); /* nobody heard that it was deleted, if it was */
        host->exists = MAYBE;                                        /* init is under way */
        return MAYBE;
}

static Tri on_stop(const AppRequest *request, Host *host) {
        const bool was_up = host->is_up, was_stopped = host->known == KNOWN_STOPPED;
        const Tri existed = host->exists;

        note_life_verb(host);
        go_down(host);
        if (request->discards || host->is_lost)
                life_release(host);
        if (request->verb == VERB_DELETE || !host->was_ready)
                host->exists = MAYBE;
        if (request->verb == VERB_DELETE)
                return existed;
        return was_up ? YES : was_stopped ? NO : MAYBE;
}

static Tri on_start(Host *host) {
        note_life_verb(host);
        if (host->is_up)
                return NO;
        host->n_crashes_kept = 0; /* an operator's start begins anew; unless it was refused */
        host->is_hampered = true;
        return MAYBE;
}

static Tri on_pause(Host *host) {
        const bool is_paused_or_stopped = host->known != KNOWN_NOTHING;

        note_life_verb(host);
        host->is_paused = true;
        host->n_pauses++;
        return is_paused_or_stopped ? NO : MAYBE;
}

static Tri on_resume(Host *host) {
        const Known known = host->known;

        note_life_verb(host);
        if (host->is_up && known == KNOWN_PAUSED)
                return YES;
        return known == KNOWN_STOPPED || (host->is_up && !host->is_paused) ? NO : MAYBE;
}

static Tri carry_out(const AppRequest *request, Host *host) {
        switch (request->verb) {
        case VERB_SUBSCRIBE:
        case VERB_UNSUBSCRIBE:
                return host->exists == NO ? NO : on_subscribe(request, host);
        case VERB_SUBSCRIPTIONS:
                return host->exists;
        case VERB_CREATE:
                note_life_verb(host);
                return on_create(host);
        case VERB_DELETE:
        case VERB_STOP:
                return host->exists == NO ? NO : on_stop(request, host);
        case VERB_START:
                return host->exists == NO ? NO : on_start(host);
        case VERB_PAUSE:
                return host->exists == NO ? NO : on_pause(host);
        case VERB_RESUME:
                return host->exists == NO ? NO : on_resume(host);
        default:
                return host->exists == NO || host->known == KNOWN_STOPPED ? NO : MAYBE;
        }
}

static void note_topics(const Host *host, Reached *reached) {
        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                if (host->topics[p].is_had == YES)
                        reached->had |= 1u << p;
                if (host->topics[p].is_had == MAYBE || host->exists != YES || !host->was_ready)
                        reached->in_doubt |= 1u << p;
        }
}

void life_on_request(Sim *sim, Node *node, const Message *message) {
        AppRequest *request = &sim->apps->requests[message->meaning.ask];
        Host *host = apps_host(sim, node, request->agent);
        Reached *reached;

        if (request->n_reached == REACHED_MAX)
                return;
        reached = &request->reached[request->n_reached++];
        *reached = (Reached){
                .node = node->index,
                .incarnation = node->incarnation,
                .link_generation = node->link.generation,
                .usec = sim->now,
                .done = host->n_done,
        };
        note_topics(host, reached);
        reached->is_wanted_ok = carry_out(request, host);
        if (request->verb == VERB_SUBSCRIBE)
                host->topics[request->pattern].asked_usec = sim->now;
        if (node->runtime.stopping)
                reached->is_wanted_ok = MAYBE;
        reached->serial = host->serial;
        reached->topic_serial = host->topics[request->pattern].serial;
        reached->n_pauses = host->n_pauses;
        reached->n_life_verbs = host->n_life_verbs;
}

/* answers, published */

static void check_gone(Sim *sim, const Node *node, uint32_t agent) {
        const Host *host = apps_host(sim, node, agent);

        if (host->n_inits != host->n_stops + host->n_crashes)
                sim_break(sim, "P10",
                        "t%" PRIu32 " on %s is gone with %" PRIu32 " inits, %" PRIu32 " stop hooks, %" PRIu32
                        " crashes",
                        agent, node->name, host->n_inits, host->n_stops, host->n_crashes);
}

static void become_gone(Host *host) {
        host->exists = NO;
        host->was_ready = host->is_up = host->is_told_to_stop = host->is_paused = host->is_lost = false;
        host->is_still = host->is_hampered = false;
        host->known = KNOWN_NOTHING;
        host->n_copies = host->n_crashes_kept = 0;
        host->state = host->n_done = 0;
        set_no_topics(host);
        note_change(host);
}

static void on_created(
        Sim *sim, Host *host, const AppRequest *request, const Reached *reached, bool is_ok, Slice body) {
        if (!is_ok && reached->serial == host->serial && host->exists == MAYBE && !host->was_ready &&
                !memmem(body.data, body.size, "AGENT_EXISTS", 12))
                become_gone(host);
        if (!is_ok || host->exists == NO || (host->is_told_to_stop && reached->serial != host->serial))
                return;
        host->exists = YES;
        host->is_told_to_stop = false;
        if (!host->was_ready)
                set_topics_from_definition(sim, host, request->agent);
        host->was_ready = host->is_up = true;
}

static void on_started(Sim *sim, Host *host, const AppRequest *request, const Reached *reached) {
        if (!host->was_ready)
                set_topics_from_definition(sim, host, request->agent);
        host->was_ready = true;
        if (reached->serial != host->serial)
                return;
        host->is_hampered = false;
        host->exists = YES;
        host->is_told_to_stop = false;
        host->is_up = true;
}

static void on_topic_answer(Host *host, const AppRequest *request, const Reached *reached, bool is_ok, Slice body) {
        HostTopic *topic = &host->topics[request->pattern];

        if (reached->is_wanted_ok != MAYBE || topic->serial != reached->topic_serial || host->exists != YES)
                return;
        if (is_ok && host->was_ready)
                set_topic(topic, request->verb == VERB_SUBSCRIBE ? YES : NO, request->is_queued, request->qos);
        else if (memmem(body.data, body.size, "NOT_SUBSCRIBED", 14))
                set_topic(topic, NO, false, QOS_NONE);
}

static void check_list(Sim *sim, const Node *node, const AppRequest *request, const Reached *reached, Slice body) {
        char pattern[48], text[64];

        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                const bool wanted = reached->had & (1u << p);

                (void)snprintf(text, sizeof(text), "\"topic\":\"%s\"", app_pattern(p, request->agent, pattern));
                if (reached->in_doubt & (1u << p) || !memmem(body.data, body.size, text, strlen(text)) != wanted)
                        continue;
                sim_break(sim, "P8", "%s says of t%" PRIu32 " that it %s %s", node->name, request->agent,
                        wanted ? "does not have" : "has", pattern);
        }
}

static bool is_cut_short(const Sim *sim, const Node *node) {
        return node->runtime.stopping && node_instant(sim, node).usec >= node->runtime.stop_usec;
}

/* A child that is stopped in the middle of a call takes with it what it did. */
static bool may_lose_calls(const Sim *sim, const AppRequest *request) {
        return request->discards && app_of(sim, request->agent)->kind == APP_REMOTE;
}

static void check_still(Sim *sim, const Node *node, uint32_t agent) {
        if (workers_have(node, agent) || exec_has(node, agent))
                sim_break(sim, "lifecycle", "t%" PRIu32 " on %s is said to be paused and handles a message", agent,
                        node->name);
}

static void on_stopped(Sim *sim, const Node *node, const AppRequest *request, const Reached *reached) {
        Host *host = apps_host(sim, node, request->agent);

        check_gone(sim, node, request->agent);
        if (host->n_life_verbs != reached->n_life_verbs)
                return;
        host->known = KNOWN_STOPPED;
        if (!may_lose_calls(sim, request))
                state_check_saved(sim, node, request->agent, "stopped");
}

static void on_deleted(Sim *sim, const Node *node, const AppRequest *request, const Reached *reached) {
        const Host *host = apps_host(sim, node, request->agent);

        if (host->n_life_verbs != reached->n_life_verbs || !host->was_ready)
                return;
        state_check_deleted(sim, node, request->agent, request->keeps_state);
        if (request->keeps_state && !may_lose_calls(sim, request))
                state_check_saved(sim, node, request->agent, "deleted");
}

static void apply_answer(
        Sim *sim, const Node *node, const AppRequest *request, Reached *reached, bool is_ok, Slice body) {
        Host *host = apps_host(sim, node, request->agent);

        switch (request->verb) {
        case VERB_SUBSCRIBE:
        case VERB_UNSUBSCRIBE:
                on_topic_answer(host, request, reached, is_ok, body);
                break;
        case VERB_SUBSCRIPTIONS:
                if (is_ok)
                        check_list(sim, node, request, reached, body);
                break;
        case VERB_CREATE:
                on_created(sim, host, request, reached, is_ok, body);
                break;
        case VERB_DELETE:
                if (!is_ok)
                        break;
                check_gone(sim, node, request->agent);
                on_deleted(sim, node, request, reached);
                apps_check_copies(sim, node, request->agent, "deleted", /* answers_only= */ is_cut_short(sim, node));
                become_gone(host);
                break;
        case VERB_START:
                if (is_ok)
                        on_started(sim, host, request, reached);
                break;
        case VERB_STOP:
                if (is_ok)
                        on_stopped(sim, node, request, reached);
                break;
        case VERB_PAUSE:
                if (is_ok && host->n_life_verbs == reached->n_life_verbs) {
                        check_still(sim, node, request->agent);
                        host->is_still = true;
                        host->known = KNOWN_PAUSED;
                }
                break;
        case VERB_RESUME:
                if (is_ok && host->n_pauses == reached->n_pauses)
                        host->is_paused = false;
                break;
        case VERB_CHECKPOINT:
                if (is_ok && host->stored < reached->done)
                        sim_break(sim, "durability",
                                "t%" PRIu32 " on %s is said to be saved with %" PRIu64 ", the store has %" PRIu64,
                                request->agent, node->name, reached->done, host->stored);
                break;
        default:
                break;
        }
        reached->was_up = host->is_up;
        reached->serial = host->serial;
        reached->topic_serial = host->topics[request->pattern].serial;
        for (uint32_t p = 0; p < PATTERNS_MAX; p++)
                reached->topic_serials[p] = host->topics[p].serial;
}

static Reached *find_reached(AppRequest *request, const Node *node) {
        for (size_t i = 0; i < request->n_reached; i++)
                if (request->reached[i].node == node->index && request->reached[i].incarnation == node->incarnation)
                        return &request->reached[i];
        return NULL;
}

void life_on_request_answer(Sim *sim, const Node *node, const Message *message) {
        AppRequest *request = &sim->apps->requests[message->meaning.ask];
        Reached *reached = find_reached(request, node);
        const bool is_ok = slice_starts_with(message->body, SLICE("{\"ok\":true"));

        if (!reached || reached->is_answered) {
                sim_break(sim, "control", "%s answers request %" PRIu32 " (%s), which it %s", node->name,
                        message->meaning.ask, app_verb_name(request->verb), reached ? "has answered" : "never got");
                return;
        }
        sim_count(sim, is_ok ? COUNT_APP_REQUESTS_OK : COUNT_APP_REQUESTS_REFUSED);
        reached->is_answered = true;
        if (reached->is_wanted_ok != MAYBE && is_ok != (reached->is_wanted_ok == YES))
                sim_break(sim, "control", "%s answers request %" PRIu32 " (%s of t%" PRIu32 "): %.*s, which is wrong",
                        node->name, message->meaning.ask, app_verb_name(request->verb), request->agent,
                        SLICE_ARG(message->body));
        apply_answer(sim, node, request, reached, is_ok, message->body);
}

/* answers, read */

/* After the answer to delete_agent, or to a create_agent that failed, nothing of it is left at the server. */
static void check_nothing_left(Sim *sim, const Node *node, const AppRequest *request) {
        const LinkSubscriptions *list = &node->link.subscriptions;
        char pattern[48];

        (void)app_pattern(PATTERN_REPLIES, request->agent, pattern);
        for (size_t i = 0; i < list->n; i++)
                if (strcmp(list->items[i].subject, pattern) == 0)
                        sim_break(sim, "P10", "t%" PRIu32 " on %s is gone, and the server still has %s", request->agent,
                                node->name, pattern);
}

/* The next of a queue group must not be kept waiting by one that handles nothing. */
static void check_suspended(Sim *sim, const Node *node, const AppRequest *request) {
        const LinkSubscriptions *list = &node->link.subscriptions;
        const Host *host = apps_host(sim, node, request->agent);
        char pattern[48];

        for (uint32_t p = 0; p < PATTERN_REPLIES; p++) {
                bool is_shared = host->topics[p].is_had != YES;

                for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                        is_shared |= a != request->agent && apps_host(sim, node, a)->topics[p].is_had != NO;
                (void)app_pattern(p, request->agent, pattern);
                for (size_t i = 0; i < list->n && !is_shared; i++)
                        if (list->items[i].tag > 0 && strcmp(list->items[i].subject, pattern) == 0)
                                sim_break(sim, "P8",
                                        "t%" PRIu32 " on %s is stopped, and the server still has %s for it",
                                        request->agent, node->name, pattern);
        }
}

static void learn(Host *host, const AppRequest *request, const Reached *reached) {
        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                HostTopic *topic = &host->topics[p];

                if (topic->is_had == YES && !topic->is_queued && topic->serial == reached->topic_serials[p])
                        topic->is_known[request->caller] = true;
        }
}

void life_on_request_read(Sim *sim, Node *caller, const Message *message) {
        AppRequest *request = &sim->apps->requests[message->meaning.ask];
        const Node *node = sim->nodes[message->from];
        const Reached *reached = find_reached(request, node);
        const bool is_ok = slice_starts_with(message->body, SLICE("{\"ok\":true"));
        Host *host = apps_host(sim, node, request->agent);

        (void)caller;
        if (!reached || node->state != NODE_RUNNING || reached->link_generation != node->link.generation ||
                !node->link.attached || node->runtime.stopping || reached->serial != host->serial)
                return;
        if (host->exists == NO && request->verb == (is_ok ? VERB_DELETE : VERB_CREATE))
                check_nothing_left(sim, node, request);
        if (is_ok && request->verb == VERB_STOP && host->known == KNOWN_STOPPED)
                check_suspended(sim, node, request);
        if (is_ok && reached->was_up && host->is_up && host->exists == YES)
                learn(host, request, reached);
}

/* the end */

void life_on_told_to_stop(Sim *sim, Node *node) {
        for (uint32_t a = 0; sim->apps && a < sim->scenario.apps.n_agents; a++) {
                Host *host = apps_host(sim, node, a);

                note_life_verb(host);
                go_down(host);
        }
}

static bool was_undisturbed(const Node *node, const Reached *reached) {
        return node->incarnation == reached->incarnation && node->link.up && node->link.attached &&
               node->link.generation == reached->link_generation && node->link.noticed_usec < reached->usec;
}

static void check_requests(Sim *sim, const Node *node, const char *when) {
        for (size_t i = 0; i < sim->apps->n_requests; i++) {
                const Reached *reached = find_reached(&sim->apps->requests[i], node);

                if (reached && !reached->is_answered && was_undisturbed(node, reached))
                        sim_break(sim, "control", "%s, %s has not answered request %zu (%s of t%" PRIu32 ")", when,
                                node->name, i, app_verb_name(sim->apps->requests[i].verb),
                                sim->apps->requests[i].agent);
        }
}

void life_on_leave(Sim *sim, Node *node) {
        bool is_busy = false;

        for (unsigned i = 0; i < WORKERS_MAX; i++)
                is_busy |= node->runtime.workers[i].run != NULL;
        if (!sim->apps || is_busy) /* it did not wait for a behaviour that holds its worker for seconds */
                return;
        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++) {
                check_gone(sim, node, a);
                if (apps_host(sim, node, a)->exists == YES &&
                        app_of(sim, a)->kind != APP_REMOTE) /* those may have been stopped in a call */
                        state_check_saved(sim, node, a, "stopped");
                if (node->link.up)
                        apps_check_copies(sim, node, a, "stopped", /* answers_only= */ is_cut_short(sim, node));
        }
        check_requests(sim, node, "stopped");
        for (size_t i = 0; i < node->link.kept.n; i++)
                if (node->link.kept.items[i].tag > 0)
                        sim_break(sim, "P10", "%s leaves, and is subscribed to %s", node->name,
                                node->link.kept.items[i].subject);
}

static void check_restarted(Sim *sim, const Node *node) {
        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++) {
                const Host *host = apps_host(sim, node, a);

                if (host->exists == YES && host->is_lost && !host->is_told_to_stop && !host->is_hampered &&
                        !node->runtime.stopping && may_be_restarted(sim, a, host))
                        sim_break(sim, "lifecycle", "at the end, t%" PRIu32 " on %s was not started again", a,
                                node->name);
        }
}

void life_check_end(Sim *sim) {
        for (uint32_t n = sim->n_dispatchers + sim->n_callers; n < sim->n_nodes; n++)
                if (sim->nodes[n]->state == NODE_RUNNING) {
                        check_requests(sim, sim->nodes[n], "at the end");
                        check_restarted(sim, sim->nodes[n]);
                }
}
