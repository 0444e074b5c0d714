/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A host of child processes with a loop, and what a core would see of it.
 */

#include "common/instant.h"
#include "common/log.h"
#include "proto/emit.h"
#include "runtimed/agent.h"
#include "runtimed/exec_host.h"
#include "runtimed/execution.h"
#include "runtimed/letter.h"
#include "tests/unit/runtimed/exec_child.h"

#define HARNESS_LIMIT_USEC (30 * USEC_PER_SEC)
#define OUTCOMES_MAX 4096

typedef struct Seen {
        const Mail *mail;
        int result;
        BehaviorVerdict verdict;
        ErrorCode code;
        void *behavior_state;
        char text[4096];
} Seen;

typedef struct Wish {
        Agent *agent;
        uint64_t message_id;
        EffectKind kind;
        bool wants_answer;
        uint64_t token, usec;
        char target[128], payload[512], headers[512], key[128];
} Wish;

typedef struct Crash {
        const Agent *agent;
        char why[512];
        size_t n_seen; /* outcomes before it */
} Crash;

typedef struct Harness {
        struct event_base *base;
        int warden_fd;
        ExecHost *host;
        Letters letters;
        Agent agents[256];
        Control *controls[1024];
        size_t n_controls;
        Delivery *deliveries[4096];
        size_t n_deliveries;
        Seen *seen[OUTCOMES_MAX];
        size_t n_seen;
        Wish wishes[2048];
        size_t n_wishes;
        Crash crashes[64];
        size_t n_crashes, n_turns;
        bool answers_at_once; /* every wish, with its payload */
} Harness;

static char *harness_self; /* the test's own path */

static void harness_copy(char *ret, size_t size, Slice text) {
        (void)snprintf(ret, size, "%.*s", SLICE_ARG(text));
}

static void harness_on_outcome(Outcome *outcome, void *userdata) {
        Harness *h = userdata;
        Seen *seen = calloc(1, sizeof(*seen));

        assert_non_null(seen);
        assert_true(h->n_seen < OUTCOMES_MAX);
        *seen = (Seen){ .mail = outcome->mail,
                .result = outcome->result,
                .verdict = outcome->reply.verdict,
                .code = outcome->reply.code,
                .behavior_state = outcome->behavior_state };
        harness_copy(seen->text, sizeof(seen->text), buffer_slice(&outcome->reply.output));
        h->seen[h->n_seen++] = seen;
        if (outcome->is_embedded)
                buffer_done(&outcome->reply.output);
        else
                (void)outcome_free(outcome);
}

static Mail *harness_deliver(Harness *h, size_t agent, MailKind kind, const char *topic, Slice payload, uint64_t id,
        uint64_t token, ErrorCode code);

static void harness_on_effects(Agent *agent, uint64_t message_id, EffectList *effects, void *userdata) {
        Harness *h = userdata;

        for (const Effect *effect = effects->first; effect; effect = effect->next) {
                Wish *wish = &h->wishes[h->n_wishes++];

                assert_true(h->n_wishes <= ELEMENTSOF(h->wishes));
                *wish = (Wish){ .agent = agent,
                        .message_id = message_id,
                        .kind = effect->kind,
                        .wants_answer = effect->wants_answer,
                        .token = effect->token,
                        .usec = effect->usec };
                harness_copy(wish->target, sizeof(wish->target), effect->target);
                harness_copy(wish->payload, sizeof(wish->payload), effect->payload);
                harness_copy(wish->headers, sizeof(wish->headers), effect->headers);
                harness_copy(wish->key, sizeof(wish->key), effect->key);
                if (h->answers_at_once && effect->token != 0)
                        (void)harness_deliver(h, (size_t)(agent - h->agents), MAIL_ANSWER, NULL, effect->payload, 0,
                                effect->token, ERROR_NONE);
        }
}

static void harness_on_crash(Agent *agent, const char *why, void *userdata) {
        Harness *h = userdata;
        Crash *crash = &h->crashes[h->n_crashes++];

        assert_true(h->n_crashes <= ELEMENTSOF(h->crashes));
        crash->agent = agent;
        crash->n_seen = h->n_seen;
        (void)snprintf(crash->why, sizeof(crash->why), "%s", why);
}

static void harness_on_turn_end(void *userdata) {
        Harness *h = userdata;

        h->n_turns++;
}

static Harness *harness_new(void) {
        const ExecHostCallbacks callbacks = {
                .on_outcome = harness_on_outcome,
                .on_effects = harness_on_effects,
                .on_crash = harness_on_crash,
                .on_turn_end = harness_on_turn_end,
        };
        Harness *h = calloc(1, sizeof(*h));
        ExecHostCallbacks given = callbacks;

        assert_non_null(h);
        (void)signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; i < ELEMENTSOF(h->agents); i++) {
                char id[32];

                (void)snprintf(id, sizeof(id), "agent-%zu", i);
                h->agents[i].id = id_of(slice_of(id));
        }
        given.userdata = h;
        h->base = event_base_new();
        h->warden_fd = exec_warden_start();
        assert_true(h->warden_fd >= 0);
        assert_int_equal(exec_host_new(h->base, h->warden_fd, &given, &h->host), 0);
        return h;
}

static void harness_free(Harness *h) {
        (void)exec_host_free(h->host);
        event_base_free(h->base);
        for (size_t i = 0; i < h->n_controls; i++) {
                buffer_done(&h->controls[i]->state);
                buffer_done(&h->controls[i]->outcome.reply.output);
                free(h->controls[i]);
        }
        for (size_t i = 0; i < h->n_deliveries; i++)
                delivery_free(&h->letters, h->deliveries[i]);
        letters_done(&h->letters);
        for (size_t i = 0; i < h->n_seen; i++)
                free(h->seen[i]);
        free(h);
}

static const Seen *harness_outcome(const Harness *h, const Mail *mail) {
        const Seen *found = NULL;

        for (size_t i = 0; i < h->n_seen; i++)
                if (h->seen[i]->mail == mail) {
                        assert_null(found); /* exactly one */
                        found = h->seen[i];
                }
        return found;
}

/* One round of the loop; fails when the test takes too long. */
static void harness_turn(Harness *h) {
        static uint64_t limit;
        const struct timeval longest = { .tv_sec = 30 };

        if (limit == 0)
                limit = instant_now().usec + 4 * HARNESS_LIMIT_USEC;
        assert_true(instant_now().usec < limit);
        (void)event_base_loopexit(h->base, &longest);
        assert_int_equal(event_base_loop(h->base, EVLOOP_ONCE), 0);
}

static const Seen *harness_wait(Harness *h, const Mail *mail) {
        const Seen *seen;

        while (!(seen = harness_outcome(h, mail)))
                harness_turn(h);
        return seen;
}

static _unused_ void harness_wait_crashes(Harness *h, size_t n) {
        while (h->n_crashes < n)
                harness_turn(h);
}

static Mail *harness_control(Harness *h, size_t agent, MailKind kind) {
        Control *control = calloc(1, sizeof(*control));

        assert_non_null(control);
        assert_true(h->n_controls < ELEMENTSOF(h->controls));
        h->controls[h->n_controls++] = control;
        control->mail = (Mail){
                .agent = &h->agents[agent], .kind = (uint8_t)kind, .outcome = &control->outcome, .late_usec = USEC_NEVER
        };
        return &control->mail;
}

/* The settings' text must outlive the INIT. */
static Mail *harness_init(Harness *h, size_t agent, const char *settings, const char *state) {
        Mail *mail = harness_control(h, agent, MAIL_INIT);
        Control *control = control_of_mail(mail);

        if (state)
                buffer_append_slice(&control->state, slice_of(state));
        control->start = (BehaviorStart){ .behavior = exec_host_behavior(h->host),
                .agent_id = id_slice(&h->agents[agent].id),
                .parameters = SLICE("{\n\"a\": 1}"),
                .settings = slice_of(settings),
                .state = state ? buffer_slice(&control->state) : SLICE_NONE,
                .max_concurrency = 64 };
        exec_host_call(h->host, mail);
        return mail;
}

static Mail *harness_deliver(Harness *h, size_t agent, MailKind kind, const char *topic, Slice payload, uint64_t id,
        uint64_t token, ErrorCode code) {
        const Envelope envelope = { .thread_id = SLICE("t1"), .sender = SLICE("agent.other"), .ttl = 7, .hop = 2 };
        Letter *letter = letter_new(&h->letters, slice_of(topic), payload, &envelope);
        Delivery *delivery;

        assert_non_null(letter);
        delivery = delivery_new(&h->letters, &h->agents[agent], kind, letter);
        assert_non_null(delivery);
        letter_unref(&h->letters, letter);
        delivery->id = id;
        delivery->token = token;
        delivery->code = code;
        assert_true(h->n_deliveries < ELEMENTSOF(h->deliveries));
        h->deliveries[h->n_deliveries++] = delivery;
        exec_host_call(h->host, &delivery->mail);
        return &delivery->mail;
}

/* A message on a topic; its id for the core is 1000 and something. */
static Mail *harness_send(Harness *h, size_t agent, const char *payload) {
        return harness_deliver(
                h, agent, MAIL_TOPIC, "some.topic", slice_of(payload), 1000 + h->n_deliveries, 0, ERROR_NONE);
}

/* Settings that run this very program as a child in `mode`, with more keys, which begin with a comma. */
static const char *harness_settings(const char *mode, const char *more) {
        static char texts[16][2048];
        static size_t n;
        char *text = texts[n++ % ELEMENTSOF(texts)];

        (void)snprintf(
                text, sizeof(texts[0]), "{\"command\": [\"%s\", \"--child\", \"%s\"]%s}", harness_self, mode, more);
        return text;
}

/* A running child in `mode`. */
static void harness_start(Harness *h, size_t agent, const char *mode, const char *more) {
        const Seen *seen = harness_wait(h, harness_init(h, agent, harness_settings(mode, more), NULL));

        assert_string_equal(seen->text, "");
        assert_int_equal(seen->result, 0);
        assert_non_null(seen->behavior_state);
}

static _unused_ bool process_is_there(pid_t pid) {
        char path[64], line[256] = "";
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        file = fopen(path, "re");
        if (!file)
                return false;
        (void)!fgets(line, sizeof(line), file);
        (void)fclose(file);
        return !strstr(line, ") Z "); /* a zombie waits for its parent, not for us */
}
