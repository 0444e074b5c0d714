/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * World: a Runtime with nothing around it: what it publishes is kept, time is set by hand, its runs wait until a test
 * plays the worker.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/registration.h"
#include "proto/report.h"
#include "proto/result.h"
#include "runtimed/core.h"

#define PREFIX "compozy"
#define TRIGGER PREFIX ".runtime.r1.trigger"
#define CONTROL PREFIX ".runtime.r1.control."
#define REGISTERED PREFIX ".events.agent.definition.r1.registered"
#define HEARTBEAT PREFIX ".events.agent.definition.r1.heartbeat"
#define DEREGISTERED PREFIX ".events.agent.definition.r1.deregistered"
#define UPDATED PREFIX ".events.agent.definition.r1.updated"
#define REPORT "_INBOX.d1.report"
#define EPOCH 1000

typedef struct Sent {
        char *subject, *reply, *headers, *body;
} Sent;

#define SUBSCRIBED_MAX 4096

typedef struct Subscribed {
        uint64_t tag;
        char *subject, *queue;
} Subscribed;

typedef struct World {
        Subscribed subscribed[SUBSCRIBED_MAX];
        size_t n_subscribed;
        RuntimeOptions options;
        Runtime *runtime;
        Outbox outbox;
        Instant now;
        Sent *sent;
        size_t n_sent;
        Run *runs[1024]; /* handed out, not worked on */
        size_t n_runs;
        bool plays_worker; /* runs are worked off at once */
} World;

static inline char *copy_of(Slice slice) {
        char *copy = slice.data ? slice_dup(slice) : NULL;

        assert_true(copy || !slice.data);
        return copy;
}

static inline void forget_sent(World *world) {
        for (size_t i = 0; i < world->n_sent; i++) {
                free(world->sent[i].subject);
                free(world->sent[i].reply);
                free(world->sent[i].headers);
                free(world->sent[i].body);
        }
        free(world->sent);
        world->sent = NULL;
        world->n_sent = 0;
}

/* What NATS would have been told. */
static inline void note_subscription(World *world, const OutMessage *message) {
        size_t i = 0;

        while (i < world->n_subscribed && world->subscribed[i].tag != message->tag)
                i++;
        if (message->kind == OUT_SUBSCRIBE) {
                assert_true(i == world->n_subscribed && i < SUBSCRIBED_MAX);
                world->subscribed[world->n_subscribed++] =
                        (Subscribed){ message->tag, copy_of(message->subject), copy_of(message->reply) };
        } else if (i < world->n_subscribed) {
                free(world->subscribed[i].subject);
                free(world->subscribed[i].queue);
                world->subscribed[i] = world->subscribed[--world->n_subscribed];
        }
}

static inline void collect(World *world) {
        for (size_t i = 0; i < outbox_size(&world->outbox); i++) {
                OutMessage message = outbox_get(&world->outbox, i);

                if (message.kind != OUT_PUBLISH) {
                        note_subscription(world, &message);
                        continue;
                }
                world->sent = reallocarray(world->sent, world->n_sent + 1, sizeof(*world->sent));
                assert_non_null(world->sent);
                world->sent[world->n_sent++] = (Sent){ copy_of(message.subject), copy_of(message.reply),
                        copy_of(message.headers), copy_of(message.body) };
        }
        outbox_clear(&world->outbox);
}

static inline void check_world(World *world) {
        const char *broken = runtime_check(world->runtime, world->now);

        if (broken)
                fail_msg("%s", broken);
}

/* One worker takes one run and works it off, or all but `leave` of its messages. */
static inline void work(World *world, size_t leave) {
        Run *run;
        Outcome *outcome;
        size_t n = 0;
        bool ended;

        assert_true(world->n_runs > 0);
        run = world->runs[0];
        world->n_runs--;
        memmove(world->runs, world->runs + 1, world->n_runs * sizeof(world->runs[0]));

        for (Mail *mail = run->mail; mail; mail = mail->next)
                n++;
        do {
                outcome = run_step(run, world->now.usec);
                n--;
                if (n > 0 && n <= leave)
                        run_abandon(run);
                ended = run->is_closed || run_close(run);
                if (ended)
                        outcome = run_end(run, outcome);
                if (outcome)
                        runtime_on_outcome(world->runtime, outcome, world->now);
                check_world(world);
        } while (!ended);
}

static inline void turn(World *world) {
        Run *run;

        do {
                runtime_on_turn_end(world->runtime, world->now);
                while ((run = runtime_take_run(world->runtime)))
                        world->runs[world->n_runs++] = run;
                if (world->plays_worker)
                        while (world->n_runs > 0)
                                work(world, 0);
                runtime_on_turn_end(world->runtime, world->now);
        } while (world->plays_worker && (world->runtime->ready.first || world->runtime->unsettled));
        check_world(world);
        collect(world);
}

/* Lets time pass, with every deadline on the way served. */
static inline void pass(World *world, uint64_t usec) {
        const uint64_t until = world->now.usec + usec;

        for (;;) {
                uint64_t next = runtime_next_deadline(world->runtime);

                if (next > until)
                        break;
                if (next > world->now.usec) {
                        world->now.real_usec += next - world->now.usec;
                        world->now.usec = next;
                }
                runtime_on_time(world->runtime, world->now);
                turn(world);
        }
        world->now.real_usec += until - world->now.usec;
        world->now.usec = until;
}

/* The process stands still: time passes, nobody is called. */
static inline void stall(World *world, uint64_t usec) {
        world->now.usec += usec;
        world->now.real_usec += usec;
}

static inline void say(World *world, const char *subject, const char *reply, const char *body) {
        InMessage message = { .subject = slice_of(subject), .reply = slice_of(reply), .body = slice_of(body) };

        runtime_on_message(world->runtime, &message, world->now);
        turn(world);
}

static inline void create(World *world, const char *definition) {
        ErrorCode code = ERROR_NONE;
        WireError error = {};
        int r = runtime_create_agent(world->runtime, slice_of(definition), world->now, &code, &error);

        if (r != 0)
                fail_msg("%s: %s", definition, error.text);
}

static inline RuntimeOptions default_options(void) {
        return (RuntimeOptions){
                .id = "r1",
                .subject_prefix = PREFIX,
                .inbox_prefix = "_INBOX.r1",
                .hostname = "h1",
                .version = "0",
                .labels = "zone=a,tier=2",
                .pid = 1,
                .epoch = EPOCH,
                .random_seed = 1,
                .heartbeat_interval_ms = 1000,
                .max_in_flight = 64,
                .max_agents = 1000,
                .max_message_bytes = 65536,
                .max_result_bytes = 32768,
                .memory_executions = 256,
                .memory_bytes = 65536,
                .report_delay_usec = 1000,
                .max_subscriptions = 10000,
                .max_subscriptions_per_agent = 100,
                .max_asks = 1000,
                .max_asks_per_agent = 100,
                .max_timers_per_agent = 100,
                .realtime_max_age_usec = USEC_PER_SEC,
        };
}

static inline void build(World *world, const RuntimeOptions *options) {
        *world = (World){ .options = *options,
                .now = { .usec = 5 * USEC_PER_SEC, .real_usec = 1700000000 * USEC_PER_SEC } };
        outbox_init(&world->outbox);
        assert_int_equal(runtime_new(&world->options, &world->outbox, world->now, &world->runtime), 0);
        create(world, "{\"agent_id\":\"greeter\",\"agent_type\":\"echo\"}");
        create(world, "{\"agent_id\":\"counter\",\"agent_type\":\"counter\"}");
        create(world, "{\"agent_id\":\"sleeper\",\"agent_type\":\"delay\"}");
}

static inline void link_up(World *world) {
        runtime_on_link_up(world->runtime, 1048576, world->now);
        turn(world);
}

/* The answer of dispatcher `d1` to the current registration. */
static inline void take_registration(World *world, uint64_t dead_after_ms) {
        char subject[64], body[256];

        (void)snprintf(
                subject, sizeof(subject), "_INBOX.r1.register.%llu", (unsigned long long)runtime_epoch(world->runtime));
        (void)snprintf(body, sizeof(body),
                "{\"ok\":true,\"result\":{\"dispatcher_id\":\"d1\",\"runtime_id\":\"r1\",\"epoch\":%llu,\"revision\":%"
                "llu,"
                "\"complete\":true,\"heartbeat_interval_ms\":1000,\"dead_after_ms\":%llu}}",
                (unsigned long long)runtime_epoch(world->runtime), (unsigned long long)world->runtime->session.revision,
                (unsigned long long)dead_after_ms);
        say(world, subject, NULL, body);
}

static inline void refuse_registration(World *world, uint64_t about_epoch, const char *reason, uint64_t known_epoch) {
        char subject[64], body[256];

        (void)snprintf(subject, sizeof(subject), "_INBOX.r1.register.%llu", (unsigned long long)about_epoch);
        (void)snprintf(body, sizeof(body),
                "{\"ok\":false,\"error\":{\"code\":\"RUNTIME_LOST\",\"message\":\"no\",\"details\":{\"reason\":\"%s\","
                "\"epoch\":%llu}}}",
                reason, (unsigned long long)known_epoch);
        say(world, subject, NULL, body);
}

static inline void begin(World *world) {
        RuntimeOptions options = default_options();

        build(world, &options);
        link_up(world);
        take_registration(world, 5000);
        assert_true(runtime_is_registered(world->runtime));
        forget_sent(world);
}

static inline void end_world(World *world) {
        while (world->n_runs > 0)
                work(world, 0);
        (void)runtime_free(world->runtime);
        for (size_t i = 0; i < world->n_subscribed; i++) {
                free(world->subscribed[i].subject);
                free(world->subscribed[i].queue);
        }
        forget_sent(world);
        outbox_done(&world->outbox);
}

typedef struct Relay {
        const char *agent, *exec;
        const char *input;    /* "1" when left out */
        const char *reply_to; /* "_INBOX.caller" when left out */
        const char *report_to;
        uint64_t attempt, epoch, age_ms;
        uint64_t deadline_ms; /* 10,000 when left out */
} Relay;

static inline void relay_from(World *world, Relay relay) {
        char body[4096];

        (void)snprintf(body, sizeof(body),
                "{\"metadata\":{\"type\":\"TriggerAgent\",\"correlation_id\":\"c1\"},\"workflow\":{\"id\":\"w1\","
                "\"exec_id\":\"we1\"},"
                "\"agent\":{\"id\":\"%s\",\"exec_id\":\"%s\"},\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":%llu},"
                "\"dispatch\":{\"dispatcher_id\":\"d1\",\"attempt\":%llu,\"deadline_ms\":%llu,\"age_ms\":%llu,\"reply_"
                "to\":\"%s\",\"report_to\":\"%s\"},"
                "\"payload\":{\"context\":{\"input\":%s}}}",
                relay.agent ? relay.agent : "greeter", relay.exec,
                (unsigned long long)(relay.epoch ? relay.epoch : runtime_epoch(world->runtime)),
                (unsigned long long)(relay.attempt ? relay.attempt : 1),
                (unsigned long long)(relay.deadline_ms ? relay.deadline_ms : 10000), (unsigned long long)relay.age_ms,
                relay.reply_to ? relay.reply_to : "_INBOX.caller", relay.report_to ? relay.report_to : REPORT,
                relay.input ? relay.input : "1");
        say(world, TRIGGER, "_INBOX.d1.relay", body);
}

#define relay(world, ...) relay_from(world, (Relay){ __VA_ARGS__ })

/* looking at what was said */

static inline size_t count_sent(const World *world, const char *subject, const char *needle) {
        size_t n = 0;

        for (size_t i = 0; i < world->n_sent; i++)
                if (strcmp(world->sent[i].subject, subject) == 0 && (!needle || strstr(world->sent[i].body, needle)))
                        n++;
        return n;
}

static inline const Sent *last_sent(const World *world, const char *subject) {
        for (size_t i = world->n_sent; i > 0; i--)
                if (strcmp(world->sent[i - 1].subject, subject) == 0)
                        return &world->sent[i - 1];
        fail_msg("nothing was sent to %s", subject);
        return NULL;
}

/* "accepted", "done SUCCESS", "refused MAILBOX_FULL", …: the last that was reported of an execution; "" when nothing
 * was. */
static inline const char *reported(const World *world, const char *exec) {
        static char text[128];
        Arena arena = {};

        text[0] = '\0';
        for (size_t i = 0; i < world->n_sent; i++) {
                WireError error;
                Report report;
                Slice element;
                size_t cursor = 0;

                if (!strstr(world->sent[i].subject, ".report"))
                        continue;
                if (report_decode(slice_of(world->sent[i].body), &report, &arena, &error) != 0)
                        fail_msg("%s: %s", error.text, world->sent[i].body);
                for (size_t k = 0; scan_next(report.executions, &cursor, &element); k++) {
                        ExecutionReport entry;

                        assert_int_equal(execution_report_decode(element, k, &entry, &arena, &error), 0);
                        if (!slice_equal(entry.exec_id, slice_of(exec)))
                                continue;
                        (void)snprintf(text, sizeof(text), "%s%s%s", execution_state_names[entry.state],
                                entry.status ? " " : "", entry.status ? result_status_names[entry.status] : "");
                        if (entry.code)
                                (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s",
                                        error_code_names[entry.code]);
                }
        }
        arena_clear(&arena);
        return text;
}

/* "SUCCESS", "FAILURE DEADLINE_EXCEEDED", … of a result. */
static inline const char *result_text(const Sent *sent) {
        static char text[128];
        Arena arena = {};
        WireError error;
        Result result;

        if (result_decode(slice_of(sent->body), &result, &arena, &error) != 0)
                fail_msg("%s: %s", error.text, sent->body);
        (void)snprintf(text, sizeof(text), "%s%s%.*s", result_status_names[result.status],
                result.error_code.size > 0 ? " " : "", SLICE_ARG(result.error_code));
        arena_clear(&arena);
        return text;
}
