/* SPDX-License-Identifier: MIT */

/*
 * Promises 8 and 10, and durability: what control requests come to, hooks, and what is in the store.
 *
 * A request is carried out on the model when it is delivered, and the answer, published later, must agree; where the
 * model was in doubt it learns from the answer.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/runtime.h"
#include "tests/sim/apps.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

static const ScenarioApp *app_of(const Sim *sim, uint32_t agent) {
        return &sim->scenario.apps.agents[agent];
}

static bool keeps_state(const Sim *sim, uint32_t agent) {
        return sim->scenario.apps.has_store && app_of(sim, agent)->is_durable;
}

/* What callers know of it may not be true any more. */
static void note_change(Host *host) {
        host->serial++;
        for (uint32_t p = 0; p < PATTERNS_MAX; p++)
                memset(host->topics[p].is_known, 0, sizeof(host->topics[p].is_known));
}

static void set_topic(HostTopic *topic, Tri is_had, bool is_queued) {
        topic->is_had = topic->is_own ? MAYBE : is_had;
        topic->is_queued = is_queued;
        topic->serial++;
        memset(topic->is_known, 0, sizeof(topic->is_known));
}

static void set_topics_from_definition(Sim *sim, Host *host, uint32_t agent) {
        const ScenarioApp *app = app_of(sim, agent);

        for (uint32_t p = 0; p < PATTERN_REPLIES; p++)
                if (app->topics & (UINT32_C(1) << p))
                        set_topic(&host->topics[p], host->topics[p].is_had == NO ? YES : MAYBE,
                                app->queued & (UINT32_C(1) << p));
        set_topic(&host->topics[PATTERN_REPLIES], YES, false);
}

static void set_no_topics(Host *host) {
        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                host->topics[p].is_own = false;
                set_topic(&host->topics[p], NO, false);
        }
}

/* What it holds may be dropped, but whoever waits for an answer gets one. */
static void release(Host *host) {
        for (size_t i = 0; i < host->n_copies; i++)
                host->copies[i].must_be_handled = false;
}

static void go_down(Host *host) {
        note_change(host);
        host->is_up = false;
        host->is_told_to_stop = true;
}

/* hooks */

static void check_state(Sim *sim, const Node *node, uint32_t agent, uint64_t number) {
        const Host *host = apps_host(sim, node, agent);

        if (keeps_state(sim, agent) && number < host->stored && !host->may_be_older)
                sim_break(sim, "durability",
                        "t%" PRIu32 " on %s is started with state %" PRIu64 ", the store has acknowledged %" PRIu64,
                        agent, node->name, number, host->stored);
}

void life_on_init(Sim *sim, Node *node, uint32_t agent, Slice state, uint64_t number, bool succeeded) {
        Host *host = apps_host(sim, node, agent);

        sim_count(sim, succeeded ? COUNT_APP_INITS : COUNT_APP_INITS_FAILED);
        if (state.data)
                sim_count(sim, COUNT_APP_RESTORED);
        if (!succeeded)
                return;
        check_state(sim, node, agent, number);
        if (host->n_inits != host->n_stops + host->n_crashes)
                sim_break(sim, "P10", "t%" PRIu32 " on %s is started while it has a behaviour", agent, node->name);
        host->n_inits++;
        host->n_asks = 0;
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
        set_topic(&host->topics[pattern], MAYBE, false);
}

void life_on_crash(Sim *sim, Node *node, uint32_t agent) {
        Host *host = apps_host(sim, node, agent);

        sim_count(sim, COUNT_APP_CRASHES);
        host->n_crashes++;
        host->is_lost = true;
        host->is_up = false;
        note_change(host);
        if (host->is_told_to_stop)
                release(host); /* there is nobody to work it off */
}

/* requests, delivered */

static Tri on_subscribe(const AppRequest *request, Host *host) {
        HostTopic *topic = &host->topics[request->pattern];
        const bool wants = request->verb == VERB_SUBSCRIBE;
        Tri result;

        if (!host->was_ready || request->pattern == PATTERN_REPLIES)
                return NO;
        if (host->exists == MAYBE || topic->is_had == MAYBE) {
                set_topic(topic, MAYBE, request->is_queued);
                return MAYBE;
        }
        result = (topic->is_had == YES) != wants ? YES : NO;
        if (result == YES)
                set_topic(topic, wants ? YES : NO, request->is_queued);
        return result;
}

static Tri on_create(Host *host) {
        if (host->exists == YES)
                return host->is_told_to_stop ? MAYBE : NO;
        if (host->exists == NO)
                note_change(host);
        host->exists = MAYBE; /* init is under way */
        return MAYBE;
}

static Tri on_stop(const AppRequest *request, Host *host) {
        const Tri existed = host->exists;

        go_down(host);
        if (request->discards || host->is_lost)
                release(host);
        if (request->verb == VERB_DELETE || !host->was_ready)
                host->exists = MAYBE;
        if (request->verb == VERB_STOP)
                return MAYBE;
        return existed;
}

static Tri carry_out(const AppRequest *request, Host *host) {
        switch (request->verb) {
        case VERB_SUBSCRIBE:
        case VERB_UNSUBSCRIBE:
                return host->exists == NO ? NO : on_subscribe(request, host);
        case VERB_SUBSCRIPTIONS:
                return host->exists;
        case VERB_CREATE:
                return on_create(host);
        case VERB_DELETE:
        case VERB_STOP:
                return host->exists == NO ? NO : on_stop(request, host);
        case VERB_PAUSE:
                host->is_paused = true;
                host->n_pauses++;
                return host->exists == NO ? NO : MAYBE;
        default:
                return host->exists == NO ? NO : MAYBE;
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
        if (node->runtime.stopping)
                reached->is_wanted_ok = MAYBE;
        reached->serial = host->serial;
        reached->topic_serial = host->topics[request->pattern].serial;
        reached->n_pauses = host->n_pauses;
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
        host->n_copies = 0;
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
        host->exists = YES;
        host->is_told_to_stop = false;
        host->is_up = true;
}

static void on_topic_answer(Host *host, const AppRequest *request, const Reached *reached, bool is_ok, Slice body) {
        HostTopic *topic = &host->topics[request->pattern];

        if (reached->is_wanted_ok != MAYBE || topic->serial != reached->topic_serial || host->exists != YES)
                return;
        if (is_ok && host->was_ready)
                set_topic(topic, request->verb == VERB_SUBSCRIBE ? YES : NO, request->is_queued);
        else if (memmem(body.data, body.size, "NOT_SUBSCRIBED", 14))
                set_topic(topic, NO, false);
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
                apps_check_copies(sim, node, request->agent, "deleted", /* answers_only= */ false);
                become_gone(host);
                break;
        case VERB_START:
                if (is_ok)
                        on_started(sim, host, request, reached);
                break;
        case VERB_STOP:
                if (is_ok)
                        check_gone(sim, node, request->agent);
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
        reached->serial = host->serial;
        reached->topic_serial = host->topics[request->pattern].serial;
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

static void learn(Host *host, const AppRequest *request, const Reached *reached) {
        for (uint32_t p = 0; p < PATTERNS_MAX; p++) {
                HostTopic *topic = &host->topics[p];

                if (topic->is_had != YES || topic->is_queued)
                        continue;
                if (request->verb == VERB_SUBSCRIBE &&
                        (p != request->pattern || topic->serial != reached->topic_serial))
                        continue;
                if (request->verb != VERB_SUBSCRIBE && topic->serial > 0 && p == request->pattern &&
                        topic->serial != reached->topic_serial)
                        continue;
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
        if (is_ok && host->is_up && host->exists == YES && request->verb == VERB_SUBSCRIBE)
                learn(host, request, reached);
        if (is_ok && host->is_up && host->exists == YES && request->verb == VERB_CREATE)
                host->topics[PATTERN_REPLIES].is_known[request->caller] = true;
}

/* the store */

void life_on_saved(Sim *sim, Node *node, uint32_t agent, uint64_t number) {
        Host *host = apps_host(sim, node, agent);

        sim_count(sim, COUNT_APP_SAVES);
        host->stored = number;
        host->may_be_older = false;
}

/* the end */

void life_on_told_to_stop(Sim *sim, Node *node) {
        for (uint32_t a = 0; sim->apps && a < sim->scenario.apps.n_agents; a++) {
                Host *host = apps_host(sim, node, a);

                go_down(host);
                release(host); /* there may not be time for it */
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
                if (node->link.up)
                        apps_check_copies(sim, node, a, "stopped", /* answers_only= */ true);
        }
        check_requests(sim, node, "stopped");
}

void life_check_end(Sim *sim) {
        for (uint32_t n = sim->n_dispatchers + sim->n_callers; n < sim->n_nodes; n++)
                if (sim->nodes[n]->state == NODE_RUNNING)
                        check_requests(sim, sim->nodes[n], "at the end");
}
