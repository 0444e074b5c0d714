/* SPDX-License-Identifier: MIT */

/*
 * Promises 7 and 8, pauses, ttl, and answers to application messages.
 *
 * At each delivery to a runtime the model says which agents get a copy: those that have the pattern it came through.
 * Where that is certain (the subscription was answered, nobody has told the agent to stop, ...) the copy must be
 * handled and, if an answer is wanted, answered; where it is not, it may be. What a behaviour sees without such a copy
 * it was not subscribed to, or it sees it twice.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/definition.h"
#include "tests/sim/apps.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

Host *apps_host(Sim *sim, const Node *node, uint32_t agent) {
        return &sim->apps->hosts[node->index][agent];
}

static bool parse_number(Slice text, uint32_t *ret) {
        uint64_t number = 0;

        if (text.size == 0 || text.size > 9)
                return false;
        for (size_t i = 0; i < text.size; i++) {
                if (text.data[i] < '0' || text.data[i] > '9')
                        return false;
                number = number * 10 + (uint64_t)(text.data[i] - '0');
        }
        *ret = (uint32_t)number;
        return true;
}

/* "<anything>.<letter><number>" */
static bool subject_number(Slice subject, char letter, size_t n_max, uint32_t *ret) {
        const char *dot = subject.size > 0 ? memrchr(subject.data, '.', subject.size) : NULL;
        Slice last;

        if (!dot || !slice_starts_with(subject, SLICE("_INBOX.c")))
                return false;
        last = slice_after(subject, (size_t)(dot + 1 - subject.data));
        return last.size > 1 && last.data[0] == letter && parse_number(slice_after(last, 1), ret) && *ret < n_max;
}

static bool read_body(const Sim *sim, Slice body, uint32_t *ret) {
        return body.size > 1 && body.data[0] == 'm' && parse_number(slice_after(body, 1), ret) &&
               *ret < sim->apps->n_messages;
}

/* processes */

void apps_on_start(Sim *sim, Node *node) {
        for (uint32_t a = 0; sim->apps && a < sim->scenario.apps.n_agents; a++) {
                Host *host = apps_host(sim, node, a);
                const Host old = *host;

                *host = (Host){
                        .exists = apps_hosts(sim, node, a) ? YES : NO,
                        .serial = old.serial + 1,
                        .copies = old.copies,
                        .n_copies_allocated = old.n_copies_allocated,
                        .stored = old.stored,
                        .may_be_older = old.may_be_older,
                        .is_save_failed = old.is_save_failed,
                };
        }
}

/* While the link is down an answer goes nowhere. */
void apps_on_link(Sim *sim, Node *node) {
        node->link.noticed_usec = sim->now;
        for (uint32_t a = 0; sim->apps && node->kind == NODE_RUNTIME && a < sim->scenario.apps.n_agents; a++) {
                Host *host = apps_host(sim, node, a);

                host->n_emissions = 0;
                for (size_t i = 0; i < host->n_copies; i++)
                        host->copies[i].must_be_answered = false;
        }
}

/* copies */

static void copy_add(Host *host, Copy copy) {
        for (size_t i = 0; i < host->n_copies; i++)
                if (host->copies[i].message == copy.message)
                        host->copies[i].is_twin = copy.is_twin = true;
        copy.order = ++host->n_delivered;
        if (host->n_copies == host->n_copies_allocated) {
                host->n_copies_allocated = MAX_OF(host->n_copies_allocated * 2, (size_t)16);
                host->copies = reallocarray(host->copies, host->n_copies_allocated, sizeof(*host->copies));
                assert(host->copies);
        }
        host->copies[host->n_copies++] = copy;
}

static void copy_remove(Host *host, Copy *copy) {
        const size_t at = (size_t)(copy - host->copies);

        memmove(&host->copies[at], &host->copies[at + 1], (--host->n_copies - at) * sizeof(*host->copies));
}

/* The first of that message that was not handled, rather one that must be or that is nobody else's; NULL: none. */
static Copy *copy_to_handle(Host *host, uint32_t message) {
        Copy *found = NULL;

        for (size_t i = 0; i < host->n_copies; i++) {
                Copy *copy = &host->copies[i];
                const bool is_due = copy->must_be_handled || copy->must_be_answered;

                if (copy->message == message && !copy->is_handled &&
                        (!found || is_due || (found->group > 0 && copy->group == 0))) {
                        found = copy;
                        if (is_due)
                                break;
                }
        }
        return found;
}

/* Once one of a queue group has got it, it is nobody else's. */
static void take_from_group(Sim *sim, const Node *node, Copy *mine) {
        const uint64_t group = mine->group;

        mine->group = 0;
        for (uint32_t a = 0; group > 0 && a < sim->scenario.apps.n_agents; a++) {
                Host *host = apps_host(sim, node, a);

                for (size_t i = 0; i < host->n_copies; i++)
                        if (host->copies[i].group == group) {
                                copy_remove(host, &host->copies[i]);
                                break;
                        }
        }
}

typedef struct Route {
        uint32_t pattern;
        uint32_t message;
        uint64_t group;   /* 0: to each that has the pattern */
        bool is_only_one; /* ... or one has it alone */
        bool is_queued;
        uint64_t published_usec;
} Route;

/* Has it that pattern, or could it? */
static bool is_reached(const Host *host, const Route *route) {
        const HostTopic *topic = &host->topics[route->pattern];

        return host->exists != NO && topic->is_had != NO &&
               (topic->is_had == MAYBE || topic->is_queued == route->is_queued);
}

static void deliver_to(Sim *sim, Node *node, uint32_t agent, const Route *route) {
        const AppMessage *message = &sim->apps->messages[route->message];
        Host *host = apps_host(sim, node, agent);
        const HostTopic *topic = &host->topics[route->pattern];
        const unsigned qos = topic->is_had == YES ? topic->qos : QOS_NONE;
        bool is_certain, is_taken;

        if (message->ttl <= 1 || !is_reached(host, route))
                return;
        is_certain = topic->is_had == YES && route->published_usec > topic->asked_usec && host->exists == YES &&
                     host->is_up && (!route->is_queued || route->is_only_one) && !node->runtime.stopping;
        is_taken = mailbox_takes(sim, agent, host, qos);
        copy_add(host, (Copy){
                               .message = route->message,
                               .must_be_handled = is_certain && is_taken,
                               .must_be_answered = is_certain && message->wants_answer && node->link.up,
                               .serial = host->serial,
                               .group = route->group,
                               .delivered_usec = node_instant(sim, node).usec,
                               .qos = qos,
                       });
}

static void deliver(Sim *sim, Node *node, Route *route) {
        size_t n = 0;

        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                n += is_reached(apps_host(sim, node, a), route);
        route->is_only_one = n == 1;
        if (route->is_queued && n > 1)
                route->group = ++sim->apps->n_groups;
        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                deliver_to(sim, node, a, route);
}

void apps_on_delivery(Sim *sim, Node *node, const Message *message, const LinkSubscription *through) {
        Route route = { .message = message->meaning.ask, .published_usec = message->published_usec };
        char pattern[48];

        if (message->meaning.kind != MEANING_APP)
                return;
        if (sim->apps->messages[route.message].ttl <= 1)
                sim_count(sim, COUNT_APP_EXPIRED);
        route.is_queued = through->queue[0] != '\0';
        for (route.pattern = 0; route.pattern < PATTERN_REPLIES; route.pattern++)
                if (strcmp(app_pattern(route.pattern, 0, pattern), through->subject) == 0)
                        deliver(sim, node, &route);

        route.is_queued = false; /* an agent's own topic has a group, of that agent in other places */
        for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                if (strcmp(app_pattern(PATTERN_REPLIES, a, pattern), through->subject) == 0)
                        deliver_to(sim, node, a, &route);
}

/* publishing */

/* The copy that an output is about: it says the number of its handling. */
static Copy *find_by_output(Host *host, uint32_t message, Slice output) {
        const uint64_t handled = output.size > 2 ? strtoull(output.data + 2, NULL, 10) : 0;

        for (size_t i = 0; i < host->n_copies; i++)
                if (host->copies[i].message == message && host->copies[i].handled == handled)
                        return &host->copies[i];
        return NULL;
}

/* An error does not say which of two copies it is about: then neither has to come to anything any more. */
static Copy *find_by_error(Host *host, uint32_t message) {
        Copy *found = NULL;
        size_t n = 0;

        for (size_t i = 0; i < host->n_copies; i++)
                if (host->copies[i].message == message) {
                        found = &host->copies[i];
                        n++;
                }
        for (size_t i = 0; i < host->n_copies && n > 1; i++)
                if (host->copies[i].message == message)
                        host->copies[i].must_be_handled = host->copies[i].must_be_answered = false;
        if (found && n > 1)
                found->is_doubtful = true;
        return found;
}

static void on_answer(Sim *sim, const Node *node, const Message *message) {
        const Slice sender = headers_get(message->headers, SLICE("Compozy-Sender"));
        const Slice code = headers_get(message->headers, SLICE("Nats-Service-Error-Code"));
        const ScenarioApp *app;
        uint32_t agent;
        Copy *copy;
        Host *host;

        if (!slice_starts_with(sender, SLICE("agent.t")) || !parse_number(slice_after(sender, 7), &agent) ||
                agent >= sim->scenario.apps.n_agents) {
                sim_break(sim, "envelope", "%s answered in the name of \"%.*s\"", node->name, SLICE_ARG(sender));
                return;
        }
        host = apps_host(sim, node, agent);
        app = &sim->scenario.apps.agents[agent];
        copy = code.data ? find_by_error(host, message->meaning.ask)
                         : find_by_output(host, message->meaning.ask, message->body);
        sim->nodes[node->index]->runtime.n_full +=
                memmem(message->body.data, message->body.size, "\"MAILBOX_FULL\"", 14) != NULL;
        sim_count(sim, code.data ? COUNT_APP_ERRORS : COUNT_APP_ANSWERS);
        sim_trace(sim, node, "that was t%" PRIu32 "'s answer", agent);
        if (!copy) {
                sim_break(sim, "P8", "%s on %s answered message %" PRIu32 " (%s), which it %s", app->id, node->name,
                        message->meaning.ask, code.data ? "error" : "output",
                        code.data ? "did not get, or has answered" : "did not handle, or has answered");
                return;
        }
        if (!copy->is_handled && copy->must_be_handled && host->is_up && host->serial == copy->serial)
                sim_break(sim, "P8", "%s on %s did not handle message %" PRIu32 " and said %.*s", app->id, node->name,
                        copy->message, SLICE_ARG(message->body));
        if (!code.data && sim->scenario.apps.has_store && app->is_durable && app->checkpoint_interval_ms == 0 &&
                copy->handled > host->stored)
                sim_break(sim, "durability",
                        "%s on %s answered message %" PRIu32 " (number %" PRIu64 "), the store has %" PRIu64, app->id,
                        node->name, copy->message, copy->handled, host->stored);
        if (copy->is_doubtful)
                return;
        take_from_group(sim, node, copy);
        copy_remove(host, copy);
}

static void note_emission(Sim *sim, const Node *node, const Message *message) {
        const Slice sender = headers_get(message->headers, SLICE("Compozy-Sender"));
        uint32_t agent;

        sim_count(sim, COUNT_APP_EMITTED);
        if (slice_starts_with(sender, SLICE("agent.t")) && parse_number(slice_after(sender, 7), &agent) &&
                agent < sim->scenario.apps.n_agents && apps_host(sim, node, agent)->n_emissions > 0)
                apps_host(sim, node, agent)->n_emissions--;
}

/* What is emitted while a message is handled goes on with its thread, one hop further. */
static void on_emitted(Sim *sim, const Node *node, const Message *message) {
        const Slice thread = headers_get(message->headers, SLICE("Compozy-Thread-Id"));
        const Slice ttl = headers_get(message->headers, SLICE("Compozy-Ttl"));
        const Slice hop = headers_get(message->headers, SLICE("Compozy-Hop"));
        const AppMessage *first;
        uint32_t number, ttl_left, hops;

        if (!parse_number(slice_after(message->body, 1), &number) || number >= sim->apps->n_messages)
                return;
        first = &sim->apps->messages[number];
        note_emission(sim, node, message);
        if (!slice_starts_with(thread, SLICE("h")) || !parse_number(slice_after(thread, 1), &hops) || hops != number ||
                !parse_number(ttl, &ttl_left) || ttl_left != first->ttl - 1 || !parse_number(hop, &hops) ||
                hops != first->hop + 1)
                sim_break(sim, "envelope", "%s emitted for message %" PRIu32 ": %.*s", node->name, number,
                        SLICE_ARG(message->headers));
}

bool apps_on_publish(Sim *sim, const Node *node, Message *message) {
        Meaning *meaning = &message->meaning;
        uint32_t number;

        if (!sim->apps)
                return false;
        if (node->kind == NODE_CALLER && read_body(sim, message->body, &number))
                meaning->kind = MEANING_APP;
        else if (node->kind == NODE_CALLER && memmem(message->subject.data, message->subject.size, ".control.", 9) &&
                 subject_number(message->reply, 'q', sim->apps->n_requests, &number))
                meaning->kind = MEANING_REQUEST;
        else if (node->kind == NODE_RUNTIME && subject_number(message->subject, 'q', sim->apps->n_requests, &number))
                meaning->kind = MEANING_REQUEST_ANSWER;
        else if (node->kind == NODE_RUNTIME && subject_number(message->subject, 'a', sim->apps->n_messages, &number))
                meaning->kind = MEANING_APP_ANSWER;
        else if (node->kind == NODE_RUNTIME && slice_equal(message->subject, SLICE("emitted.by.apps"))) {
                on_emitted(sim, node, message);
                return true;
        } else
                return false;

        meaning->ask = number;
        message->is_single = true;
        if (meaning->kind == MEANING_REQUEST_ANSWER)
                life_on_request_answer(sim, node, message);
        else if (meaning->kind == MEANING_APP_ANSWER)
                on_answer(sim, node, message);
        return true;
}

/* Promise 8: what its publisher was told is subscribed is, at the server, now that the message is there. */
static void check_routed(Sim *sim, const Node *node, uint32_t agent, uint32_t pattern, const Message *message) {
        const LinkSubscriptions *list = &node->link.subscriptions;
        char text[48];

        (void)app_pattern(pattern, agent, text);
        if (!subject_matches(slice_of(text), message->subject))
                return;
        sim_count(sim, COUNT_APP_KNOWN);
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].tag > 0 && strcmp(list->items[i].subject, text) == 0 &&
                        (pattern == PATTERN_REPLIES) == (list->items[i].queue[0] != '\0'))
                        return;
        sim_break(sim, "P8",
                "message %" PRIu32 " was published after its publisher had read that t%" PRIu32
                " on %s has %s, and the server has no such subscription",
                message->meaning.ask, agent, node->name, text);
}

void apps_on_routed(Sim *sim, const Message *message) {
        uint32_t caller;

        if (message->meaning.kind != MEANING_APP)
                return;
        caller = sim->apps->messages[message->meaning.ask].caller;
        for (uint32_t n = sim->n_dispatchers + sim->n_callers; n < sim->n_nodes; n++) {
                const Node *node = sim->nodes[n];

                if (node->state == NODE_DOWN || !node->link.attached || node->link.black_hole)
                        continue;
                for (uint32_t a = 0; a < sim->scenario.apps.n_agents; a++)
                        for (uint32_t p = 0; p < PATTERNS_MAX; p++)
                                if (apps_host(sim, node, a)->topics[p].is_known[caller])
                                        check_routed(sim, node, a, p, message);
        }
}

/* handling */

static uint32_t subject_index(Slice subject) {
        static const char *const subjects[PATTERN_REPLIES] = { "room.0", "room.1", "room.2", "hall.0", "hall.1",
                "hall.0.x" };

        for (uint32_t i = 0; i < ELEMENTSOF(subjects) && subjects[i]; i++)
                if (slice_equal(subject, slice_of(subjects[i])))
                        return i;
        return PATTERN_REPLIES;
}

static void check_envelope(Sim *sim, const Node *node, uint32_t number, const BehaviorMessage *message) {
        const AppMessage *published = &sim->apps->messages[number];
        const Envelope *envelope = message->envelope;
        char thread[16];

        (void)snprintf(thread, sizeof(thread), "h%" PRIu32, number);
        if (envelope->ttl != published->ttl - 1 || envelope->hop != published->hop + 1 ||
                !slice_equal(envelope->thread_id, slice_of(thread)) ||
                !slice_equal(message->topic, slice_of(published->subject)) ||
                envelope->is_request != published->wants_answer)
                sim_break(sim, "envelope",
                        "%s got message %" PRIu32 " with ttl %" PRIu64 ", hop %" PRIu64 ", thread %.*s on %.*s",
                        node->name, number, envelope->ttl, envelope->hop, SLICE_ARG(envelope->thread_id),
                        SLICE_ARG(message->topic));
}

void apps_on_handle(Sim *sim, Node *node, uint32_t agent, const Mail *mail, const BehaviorMessage *message) {
        Host *host = apps_host(sim, node, agent);
        uint64_t *last;
        uint32_t number;
        Copy *copy;

        if (host->is_still && message->kind != MESSAGE_ANSWER) /* what it is handling may need that one to end */
                sim_break(sim, "lifecycle", "t%" PRIu32 " on %s is given a message while it is paused", agent,
                        node->name);
        if (message->kind != MESSAGE_TOPIC || (message->input.size > 0 && message->input.data[0] == 'k'))
                return; /* the latter is what another agent asks */
        if (!read_body(sim, message->input, &number)) {
                sim_break(sim, "content", "t%" PRIu32 " on %s got \"%.*s\"", agent, node->name,
                        SLICE_ARG(message->input));
                return;
        }
        sim_count(sim, COUNT_APP_COPIES);
        sim_trace(sim, node, "t%" PRIu32 " is given message %" PRIu32, agent, number);
        check_envelope(sim, node, number, message);

        copy = copy_to_handle(host, number);
        if (!copy) {
                sim_break(sim, "P8",
                        "t%" PRIu32 " on %s handled message %" PRIu32
                        " on %s, for which it was not subscribed, or twice",
                        agent, node->name, number, sim->apps->messages[number].subject);
                return;
        }
        copy->is_handled = true;
        mailbox_on_begin(sim, node, agent, copy, mail);
        take_from_group(sim, node, copy);
        if (!sim->apps->messages[number].wants_answer)
                copy_remove(host, copy);

        last = &host->last_seen[mail->lane][sim->apps->messages[number].caller][subject_index(message->topic)];
        if (number + 1 < *last)
                sim_break(sim, "P7", "t%" PRIu32 " on %s handled message %" PRIu32 " on %s after %" PRIu64, agent,
                        node->name, number, sim->apps->messages[number].subject, *last - 1);
        *last = number + 1;
}

uint32_t apps_message_of(const Sim *sim, Slice body) {
        uint32_t number;

        return read_body(sim, body, &number) ? number : INDEX_NONE;
}

void apps_on_handled(Sim *sim, Node *node, uint32_t agent, uint32_t message, uint64_t state) {
        Host *host = apps_host(sim, node, agent);

        host->state = state;
        for (size_t i = 0; i < host->n_copies; i++)
                if (host->copies[i].message == message && host->copies[i].is_handled && host->copies[i].handled == 0) {
                        host->copies[i].handled = state;
                        return;
                }
}

/* the end */

void apps_check_copies(Sim *sim, const Node *node, uint32_t agent, const char *when, bool answers_only) {
        const Host *host = apps_host(sim, node, agent);

        for (size_t i = 0; i < host->n_copies; i++) {
                const Copy *copy = &host->copies[i];

                if (copy->must_be_handled && !copy->is_handled && !answers_only)
                        sim_break(sim, "P8", "%s, t%" PRIu32 " on %s has not handled message %" PRIu32, when, agent,
                                node->name, copy->message);
                if (copy->must_be_answered)
                        sim_break(sim, "P10", "%s, t%" PRIu32 " on %s has not answered message %" PRIu32, when, agent,
                                node->name, copy->message);
        }
}

/* Where each message takes seconds, there may be some left. */
static bool is_at_work(const Node *node) {
        for (unsigned i = 0; i < WORKERS_MAX; i++)
                if (node->runtime.workers[i].run)
                        return true;
        return node->runtime.calls;
}

static void check_host(Sim *sim, const Node *node, uint32_t agent) {
        const Host *host = apps_host(sim, node, agent);

        apps_check_copies(sim, node, agent, "at the end", /* answers_only= */ false);
        if (host->is_up)
                state_check_saved(sim, node, agent, "at the end");
        if (host->is_up && host->n_pending > 0)
                sim_break(sim, "timers", "at the end, t%" PRIu32 " on %s waits for %" PRIu32 " timers", agent,
                        node->name, host->n_pending);
        if (host->is_up && host->n_emissions > 0)
                sim_break(sim, "effects", "t%" PRIu32 " on %s has published %" PRIu32 " messages that nobody saw",
                        agent, node->name, host->n_emissions);
        if (host->is_up && host->n_asks > 0)
                sim_break(sim, "asks", "at the end, t%" PRIu32 " on %s waits for %" PRIu32 " answers", agent,
                        node->name, host->n_asks);
}

void apps_check_end(Sim *sim) {
        for (uint32_t n = sim->n_dispatchers + sim->n_callers; sim->apps && n < sim->n_nodes; n++) {
                Node *node = sim->nodes[n];

                if (node->state == NODE_RUNNING)
                        mailbox_check_counted(sim, node);
                for (uint32_t a = 0; node->state == NODE_RUNNING && a < sim->scenario.apps.n_agents; a++)
                        if (!apps_host(sim, node, a)->is_paused && !is_at_work(node))
                                check_host(sim, node, a);
        }
        if (sim->apps)
                life_check_end(sim);
}
