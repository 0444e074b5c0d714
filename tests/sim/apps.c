/* SPDX-License-Identifier: MIT */

/*
 * The load: bursts of messages of one publisher, and control requests about random agents, some of them twice. Whoever
 * has read an answer publishes at once, most of the time: what the answer promised is then tried at its edge.
 */

#include "tests/sim/apps.h"

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/definition.h"
#include "tests/sim/host.h"
#include "tests/sim/load.h"
#include "tests/sim/oracle.h"

#define WARM_UP_USEC (200 * USEC_PER_MSEC)
#define BURST_MAX 6

static const struct {
        const char *pattern, *subject; /* one that it matches */
} patterns[PATTERNS_MAX] = {
        { "room.0", "room.0" },
        { "room.1", "room.1" },
        { "room.2", "room.2" },
        { "room.*", "room.1" },
        { "hall.>", "hall.1" },
        { "hall.*.x", "hall.0.x" },
        { "hall.0", "hall.0" },
        { "agent.t%u.replies", "agent.t%u.replies" },
};

static Rng *dice(Sim *sim) {
        return &sim->rng_apps;
}

const char *app_verb_name(AppVerb verb) {
        static const char *const names[_APP_VERB_MAX] = {
                [VERB_SUBSCRIBE] = "subscribe_agent",
                [VERB_UNSUBSCRIBE] = "unsubscribe_agent",
                [VERB_SUBSCRIPTIONS] = "get_agent_subscriptions",
                [VERB_CREATE] = "create_agent",
                [VERB_DELETE] = "delete_agent",
                [VERB_START] = "start_agent",
                [VERB_STOP] = "stop_agent",
                [VERB_PAUSE] = "pause_agent",
                [VERB_RESUME] = "resume_agent",
                [VERB_CHECKPOINT] = "checkpoint_agent",
        };

        return names[verb];
}

const char *app_pattern(uint32_t pattern, uint32_t agent, char ret[48]) {
        if (pattern == PATTERN_REPLIES)
                (void)snprintf(ret, 48, "agent.t%u.replies", agent);
        else
                (void)snprintf(ret, 48, "%s", patterns[pattern].pattern);
        return ret;
}

bool apps_hosts(const Sim *sim, const Node *node, uint32_t agent) {
        return sim->scenario.apps.hosted[node->runtime.spec] & (UINT32_C(1) << agent);
}

static void write_topics(const ScenarioApp *app, Buffer *out) {
        static const char *const qos[] = { "batched", "realtime", "batched", "background" };
        const char *comma = "";

        buffer_printf(out, ",\"subscribed_topics\":[");
        for (uint32_t p = 0; p < PATTERN_REPLIES; p++) {
                if (!(app->topics & (UINT32_C(1) << p)))
                        continue;
                buffer_printf(out, "%s{\"topic\":\"%s\",\"qos\":\"%s\"", comma, patterns[p].pattern, qos[app->qos]);
                if (app->queued & (UINT32_C(1) << p))
                        buffer_printf(out, ",\"queue\":\"workers\"");
                buffer_printf(out, "}");
                comma = ",";
        }
        buffer_printf(out, "]");
}

void apps_definition(Sim *sim, uint32_t agent, bool fails, Buffer *ret) {
        static const char *const types[] = {
                [APP_PROBE] = "probe",
                [APP_QUICK] = "probe-quick",
                [APP_REMOTE] = "probe-remote",
        };
        const ScenarioApp *app = &sim->scenario.apps.agents[agent];

        buffer_printf(ret,
                "{\"agent_id\":\"%s\",\"agent_type\":\"%s%s\",\"mailbox_capacity\":%" PRIu64
                ",\"priority\":%u,\"overflow\":\"%s\",\"quantum\":%" PRIu64 ",\"checkpoint_interval_ms\":%" PRIu64
                ",\"on_restore_error\":\"%s\",\"restart\":{\"max\":%" PRIu64 ",\"window_ms\":%" PRIu64
                ",\"backoff_ms\":%" PRIu64 "}",
                app->id, types[app->kind], app->is_durable ? "" : "-stateless", app->mailbox_capacity, app->priority,
                app->overflow, app->quantum, app->checkpoint_interval_ms, app->on_restore_error, app->restart_max,
                app->restart_window_ms, app->restart_backoff_ms);
        if (app->max_concurrency > 1)
                buffer_printf(ret, ",\"max_concurrency\":%" PRIu64, app->max_concurrency);
        if (fails)
                buffer_printf(ret, ",\"parameters\":{\"fail\":true}");
        write_topics(app, ret);
        buffer_printf(ret, "}");
}

/* publishing */

static AppMessage *new_message(Sim *sim, const Node *caller, const char *subject) {
        Apps *apps = sim->apps;
        AppMessage *message;

        if (apps->n_messages == apps->n_messages_allocated) {
                apps->n_messages_allocated = MAX_OF(apps->n_messages_allocated * 2, (size_t)64);
                apps->messages = reallocarray(apps->messages, apps->n_messages_allocated, sizeof(*apps->messages));
                assert(apps->messages);
        }
        message = &apps->messages[apps->n_messages++];
        *message = (AppMessage){
                .caller = caller->index - sim->n_dispatchers,
                .ttl = 16,
                .wants_answer = rng_chance(dice(sim), 300),
        };
        (void)snprintf(message->subject, sizeof(message->subject), "%s", subject);
        return message;
}

void apps_publish(Sim *sim, Node *caller, const char *subject) {
        AppMessage *message = new_message(sim, caller, subject);
        const size_t number = sim->apps->n_messages - 1;
        _cleanup_(buffer_done) Buffer headers = {}, body = {};
        char reply[80] = "";

        buffer_printf(&headers, "Compozy-Thread-Id: h%zu\r\n", number);
        if (rng_chance(dice(sim), 250)) {
                message->ttl = (unsigned)rng_below(dice(sim), 4);
                message->hop = (unsigned)rng_below(dice(sim), 5);
                buffer_printf(&headers, "Compozy-Ttl: %u\r\nCompozy-Hop: %u\r\n", message->ttl, message->hop);
        }
        buffer_printf(&body, "m%zu", number);
        if (message->wants_answer)
                (void)snprintf(reply, sizeof(reply), "%s.a%zu", caller->inbox_prefix, number);
        sim_count(sim, COUNT_APP_MESSAGES);
        net_publish(sim, caller,
                &(OutMessage){
                        .subject = slice_of(subject),
                        .reply = message->wants_answer ? slice_of(reply) : SLICE_NONE,
                        .headers = buffer_slice(&headers),
                        .body = buffer_slice(&body),
                });
}

static void publish_some(Sim *sim, Node *caller, const char *subject, unsigned n_max) {
        const uint64_t n = rng_between(dice(sim), 1, n_max);

        for (uint64_t i = 0; i < n; i++)
                apps_publish(sim, caller, subject);
}

static uint32_t some_agent(Sim *sim) {
        return (uint32_t)rng_below(dice(sim), sim->scenario.apps.n_agents);
}

static void subject_for(uint32_t pattern, uint32_t agent, char ret[48]) {
        if (pattern == PATTERN_REPLIES)
                (void)snprintf(ret, 48, "agent.t%u.replies", agent);
        else
                (void)snprintf(ret, 48, "%s", patterns[pattern].subject);
}

static void on_burst(Sim *sim, Event *event) {
        char subject[48];

        (void)event;
        subject_for((uint32_t)rng_below(dice(sim), PATTERNS_MAX), some_agent(sim), subject);
        publish_some(sim, load_some_caller(sim), subject, BURST_MAX);
}

/* control requests */

static uint32_t new_request(Sim *sim, const AppRequest *request) {
        Apps *apps = sim->apps;

        if (apps->n_requests == apps->n_requests_allocated) {
                apps->n_requests_allocated = MAX_OF(apps->n_requests_allocated * 2, (size_t)32);
                apps->requests = reallocarray(apps->requests, apps->n_requests_allocated, sizeof(*apps->requests));
                assert(apps->requests);
        }
        apps->requests[apps->n_requests] = *request;
        return (uint32_t)apps->n_requests++;
}

static void write_request(Sim *sim, const AppRequest *request, Buffer *body) {
        static const char *const qos[_QOS_MAX] = { "", "realtime", "batched", "background" };
        char pattern[48];

        if (request->verb == VERB_CREATE) {
                apps_definition(sim, request->agent, request->will_fail, body);
                return;
        }
        buffer_printf(body, "{\"agent_id\":\"t%u\"", request->agent);
        if (request->verb == VERB_SUBSCRIBE || request->verb == VERB_UNSUBSCRIBE)
                buffer_printf(body, ",\"topic\":\"%s\"", app_pattern(request->pattern, request->agent, pattern));
        if (request->verb == VERB_SUBSCRIBE)
                buffer_printf(body, ",\"qos\":\"%s\"", qos[request->qos]);
        if (request->is_queued)
                buffer_printf(body, ",\"queue\":\"workers\"");
        if (request->verb == VERB_DELETE || request->verb == VERB_STOP)
                buffer_printf(body, ",\"mode\":\"%s\"", request->discards ? "discard" : "drain");
        if (request->keeps_state)
                buffer_printf(body, ",\"keep_state\":true");
        buffer_printf(body, "}");
}

static void send_request(Sim *sim, Node *caller, AppRequest request) {
        _cleanup_(buffer_done) Buffer body = {};
        char subject[96], reply[80];
        uint32_t number;

        request.caller = caller->index - sim->n_dispatchers;
        number = new_request(sim, &request);
        write_request(sim, &request, &body);
        (void)snprintf(subject, sizeof(subject), "compozy.runtime.%s.control.%s", request.runtime_id,
                app_verb_name(request.verb));
        (void)snprintf(reply, sizeof(reply), "%s.q%u", caller->inbox_prefix, number);
        sim_count(sim, COUNT_APP_REQUESTS);
        net_publish(sim, caller,
                &(OutMessage){
                        .subject = slice_of(subject),
                        .reply = slice_of(reply),
                        .body = buffer_slice(&body),
                });
}

/* Of those that change the set less often: agents should live for a while. */
static AppVerb some_verb(Sim *sim) {
        static const AppVerb often[] = { VERB_SUBSCRIBE, VERB_UNSUBSCRIBE, VERB_SUBSCRIBE, VERB_UNSUBSCRIBE,
                VERB_SUBSCRIPTIONS, VERB_CHECKPOINT, VERB_CREATE };

        if (rng_chance(dice(sim), 600))
                return often[rng_below(dice(sim), ELEMENTSOF(often))];
        return (AppVerb)rng_below(dice(sim), _APP_VERB_MAX);
}

static AppRequest draw_request(Sim *sim) {
        const Node *runtime =
                sim->nodes[sim->n_dispatchers + sim->n_callers + rng_below(dice(sim), sim->scenario.n_runtimes)];
        AppRequest request = {
                .verb = some_verb(sim),
                .agent = some_agent(sim),
                .pattern = (uint32_t)rng_below(dice(sim), rng_chance(dice(sim), 50) ? PATTERNS_MAX : PATTERN_REPLIES),
                .discards = rng_chance(dice(sim), 400),
        };

        request.qos = (unsigned)rng_between(dice(sim), QOS_REALTIME, QOS_BACKGROUND);
        request.is_queued = request.verb == VERB_SUBSCRIBE && rng_chance(dice(sim), 200);
        request.keeps_state = request.verb == VERB_DELETE && rng_chance(dice(sim), 300);
        request.will_fail = request.verb == VERB_CREATE && rng_chance(dice(sim), 300);
        memcpy(request.runtime_id, runtime->runtime.id, sizeof(request.runtime_id));
        return request;
}

static void on_request_due(Sim *sim, Event *event) {
        AppRequest request = draw_request(sim);
        Node *caller = load_some_caller(sim);

        (void)event;
        send_request(sim, caller, request);
        if (rng_chance(dice(sim), 100))
                send_request(sim, rng_chance(dice(sim), 500) ? caller : load_some_caller(sim), request);
        if (rng_chance(dice(sim), 150)) { /* and something else while that is under way */
                request.verb = (AppVerb)rng_below(dice(sim), _APP_VERB_MAX);
                request.is_queued = request.keeps_state = request.will_fail = false;
                send_request(sim, caller, request);
        }
}

/* Whoever took one away brings another: else soon none would be left. */
static void bring_back(Sim *sim, Node *caller, const AppRequest *request) {
        AppRequest again = *request;

        again.n_reached = 0;
        again.will_fail = false;
        if (request->verb == VERB_DELETE)
                again.verb = VERB_CREATE;
        else if (request->verb == VERB_STOP)
                again.verb = VERB_START;
        else if (request->verb == VERB_PAUSE)
                again.verb = VERB_RESUME;
        else
                return;
        if (rng_chance(dice(sim), 600))
                send_request(sim, caller, again);
}

void apps_on_answer(Sim *sim, Node *caller, const Message *message) {
        const AppRequest request = sim->apps->requests[message->meaning.ask];
        char subject[48];

        life_on_request_read(sim, caller, message);
        subject_for(request.verb == VERB_CREATE || rng_chance(dice(sim), 200) ? PATTERN_REPLIES : request.pattern,
                request.agent, subject);
        if (rng_chance(dice(sim), 700))
                publish_some(sim, caller, subject, 3);
        bring_back(sim, caller, &request);
}

void apps_plan(Sim *sim) {
        const ScenarioApps *apps = &sim->scenario.apps;

        if (!apps->is_on)
                return;
        for (uint64_t i = 0; i < apps->n_bursts; i++)
                sim_after(sim, rng_between(dice(sim), WARM_UP_USEC, sim->scenario.load_usec), on_burst, NULL, 0);
        for (uint64_t i = 0; i < apps->n_requests; i++)
                sim_after(sim, rng_between(dice(sim), WARM_UP_USEC, sim->scenario.load_usec), on_request_due, NULL, 0);
        exec_plan(sim);
}

void apps_end(Sim *sim) {
        const ScenarioApps *apps = &sim->scenario.apps;
        AppRequest request = { .verb = VERB_RESUME };

        if (!apps->is_on)
                return;
        for (uint32_t r = 0; r < sim->scenario.n_runtimes; r++) {
                const Node *runtime = sim->nodes[sim->n_dispatchers + sim->n_callers + r];

                for (request.agent = 0; request.agent < apps->n_agents; request.agent++) {
                        memcpy(request.runtime_id, runtime->runtime.id, sizeof(request.runtime_id));
                        send_request(sim, load_some_caller(sim), request);
                }
        }
}

void apps_init(Sim *sim) {
        if (!sim->scenario.apps.is_on)
                return;
        sim->apps = calloc(1, sizeof(*sim->apps));
        assert(sim->apps);
}

void apps_done(Sim *sim) {
        Apps *apps = sim->apps;

        if (!apps)
                return;
        for (uint32_t n = 0; n < NODES_MAX; n++)
                for (uint32_t a = 0; a < APPS_MAX; a++)
                        free(apps->hosts[n][a].copies);
        free(apps->messages);
        free(apps->requests);
        free(apps);
        sim->apps = NULL;
}
