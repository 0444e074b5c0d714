/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * World: a Runtime with nothing around it: what it publishes is kept, time is set by hand, its runs, its calls to
 * remote behaviours and its requests to the store wait until a test plays the worker, the host or the store. Behaviours
 * of the types in script.h can be had beside the built-in ones.
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
#include "tests/unit/runtimed/script.h"

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

/* What the store has of an agent, in the order of saving. */
typedef struct Record {
        Id agent_id;
        uint64_t generation;
        char *state;
} Record;

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
        Mail *calls[1024]; /* to remote behaviours, without an outcome yet */
        size_t n_calls;
        bool plays_host;
        StoreRequest *requests[1024]; /* not carried out */
        size_t n_requests;
        bool plays_store;
        StoreOutcome load_outcome, save_outcome; /* what comes of them */
        Record records[256];
        size_t n_records;
        size_t n_asked;
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

/* What the host of remote behaviours says to a call, as the script says. */
static inline void carry_out_call(const Mail *mail, Outcome *outcome) {
        Control *control = CONTAINER_OF(mail, Control, mail);
        BehaviorMessage message;
        char why[64] = "";

        if (mail->kind != MAIL_INIT && mail->kind != MAIL_STOP && !mail->agent->behavior_state) {
                outcome->result = BEHAVIOR_E_REFUSED;
                behavior_fail(&outcome->reply, ERROR_AGENT_CRASHED, "there is no process");
                outcome->reply.verdict = BEHAVIOR_LOST;
                return;
        }
        switch ((MailKind)mail->kind) {
        case MAIL_INIT:
                outcome->result = script_init(&control->start, &outcome->behavior_state, why, sizeof(why));
                buffer_append_slice(&outcome->reply.output, slice_of(why));
                break;
        case MAIL_STOP:
                script_stop(mail->agent->behavior_state);
                break;
        case MAIL_CHECKPOINT:
                outcome->result = script_checkpoint(mail->agent->behavior_state, &outcome->reply.output);
                break;
        default:
                mail_read(mail, &message);
                script_handle(mail->agent->behavior_state, &message, &outcome->reply);
                break;
        }
}

static inline Outcome *take_call_out(World *world, size_t index) {
        Mail *mail = world->calls[index];
        Outcome *outcome = mail_outcome(mail);

        assert_true(index < world->n_calls);
        assert_non_null(outcome);
        world->n_calls--;
        memmove(world->calls + index, world->calls + index + 1, (world->n_calls - index) * sizeof(world->calls[0]));
        outcome->started_usec = outcome->finished_usec = world->now.usec;
        return outcome;
}

/* The host has the outcome of one call. */
static inline void end_call(World *world, size_t index) {
        Outcome *outcome = take_call_out(world, index);

        carry_out_call(outcome->mail, outcome);
        runtime_on_outcome(world->runtime, outcome, world->now);
        check_world(world);
}

/* An agent's child process is gone, and every call that it had. */
static inline void crash(World *world, const char *agent_id) {
        Agent *agent = core_find_agent(world->runtime, slice_of(agent_id));
        void *state;

        assert_non_null(agent);
        state = agent->behavior_state;
        for (size_t i = 0; i < world->n_calls;) {
                Outcome *outcome;

                if (world->calls[i]->agent != agent) {
                        i++;
                        continue;
                }
                outcome = take_call_out(world, i);
                outcome->result = BEHAVIOR_E_REFUSED;
                behavior_fail(&outcome->reply, ERROR_AGENT_CRASHED, "it is gone");
                outcome->reply.verdict = BEHAVIOR_LOST;
                runtime_on_outcome(world->runtime, outcome, world->now);
        }
        script.n_alive -= state ? 1 : 0;
        free(state);
        runtime_on_crash(world->runtime, agent, "it was killed", world->now);
        check_world(world);
}

static inline void forget_records(World *world, Slice agent_id) {
        size_t n = 0;

        for (size_t i = 0; i < world->n_records; i++)
                if (agent_id.data && !id_equal(&world->records[i].agent_id, agent_id))
                        world->records[n++] = world->records[i];
                else
                        free(world->records[i].state);
        world->n_records = n;
}

/* The newest that is older than `below`, or the newest; NULL: there is none. */
static inline const Record *find_record(const World *world, const Id *agent_id, uint64_t below) {
        for (size_t i = world->n_records; i > 0; i--)
                if (id_equal(&world->records[i - 1].agent_id, id_slice(agent_id)) &&
                        (below == 0 || world->records[i - 1].generation < below))
                        return &world->records[i - 1];
        return NULL;
}

static inline void put_record(World *world, const char *agent_id, uint64_t generation, Slice state) {
        assert_true(world->n_records < ELEMENTSOF(world->records));
        world->records[world->n_records++] = (Record){ id_of(slice_of(agent_id)), generation, slice_dup(state) };
}

static inline void load_record(World *world, StoreRequest *request) {
        const Record *newest = find_record(world, &request->agent_id, request->below_generation), *previous;

        request->outcome = newest ? world->load_outcome : STORE_EMPTY;
        request->generation = newest ? newest->generation : 0;
        if (request->outcome == STORE_DONE) {
                buffer_append_slice(&request->state, slice_of(newest->state));
                return;
        }

        (void)wire_error(&request->error, "the store says no");
        previous = newest ? find_record(world, &request->agent_id, newest->generation) : NULL;
        if (previous) {
                request->has_previous = true;
                request->previous_generation = previous->generation;
                buffer_append_slice(&request->previous, slice_of(previous->state));
        }
}

static inline void put_or_forget(World *world, StoreRequest *request) {
        const Record *newest = find_record(world, &request->agent_id, 0);

        request->outcome = world->save_outcome;
        if (request->outcome != STORE_DONE) {
                (void)wire_error(&request->error, "the store says no");
        } else if (request->operation == STORE_SAVE) {
                assert_true(!newest || newest->generation < request->generation);
                put_record(world, request->agent_id.text, request->generation, buffer_slice(&request->state));
        } else {
                forget_records(world, id_slice(&request->agent_id));
        }
}

/* The store has carried out the first request. */
static inline StoreRequest *take_request_out(World *world) {
        StoreRequest *request = world->requests[0];

        assert_true(world->n_requests > 0);
        world->n_requests--;
        memmove(world->requests, world->requests + 1, world->n_requests * sizeof(world->requests[0]));
        if (request->operation == STORE_LOAD)
                load_record(world, request);
        else
                put_or_forget(world, request);
        return request;
}

static inline void carry_out(World *world) {
        runtime_on_stored(world->runtime, take_request_out(world), world->now);
        check_world(world);
}

/* What the store has of it; "" nothing. */
static inline const char *stored(const World *world, const char *agent_id) {
        const Id id = id_of(slice_of(agent_id));
        const Record *newest = find_record(world, &id, 0);

        return newest ? newest->state : "";
}

static inline bool play(World *world) {
        const bool has_work = (world->plays_worker && world->n_runs > 0) || (world->plays_host && world->n_calls > 0) ||
                              (world->plays_store && world->n_requests > 0);

        while (world->plays_worker && world->n_runs > 0)
                work(world, 0);
        while (world->plays_host && world->n_calls > 0)
                end_call(world, 0);
        while (world->plays_store && world->n_requests > 0)
                carry_out(world);
        return has_work;
}

static inline void take_work(World *world) {
        StoreRequest *request, *next;
        Mail *call;
        Run *run;

        while ((run = runtime_take_run(world->runtime))) {
                assert_true(world->n_runs < ELEMENTSOF(world->runs));
                world->runs[world->n_runs++] = run;
        }
        while ((call = runtime_take_call(world->runtime))) {
                assert_true(world->n_calls < ELEMENTSOF(world->calls));
                world->calls[world->n_calls++] = call;
        }
        for (request = runtime_take_store_requests(world->runtime); request; request = next) {
                next = request->next;
                assert_true(world->n_requests < ELEMENTSOF(world->requests));
                world->requests[world->n_requests++] = request;
        }
}

static inline void turn(World *world) {
        do {
                runtime_on_turn_end(world->runtime, world->now);
                take_work(world);
        } while (play(world));
        runtime_on_turn_end(world->runtime, world->now);
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

/* With the scripted behaviours, and nothing of the script before. */
static inline void begin_with(World *world, const RuntimeOptions *wanted) {
        RuntimeOptions options = *wanted;

        script = (Script){};
        options.behaviors = scripted_behaviors;
        build(world, &options);
        world->plays_store = options.has_store;
        turn(world);
        link_up(world);
        take_registration(world, 5000);
        forget_sent(world);
}

static inline void begin_scripted(World *world, bool has_store) {
        RuntimeOptions options = default_options();

        options.has_store = has_store;
        begin_with(world, &options);
}

static inline void end_world(World *world) {
        Agent *agent = core_agent_after(world->runtime, SLICE_NONE);

        while (world->n_runs > 0)
                work(world, 0);
        for (; agent; agent = core_next_agent(agent))
                if (agent->definition->behavior->is_remote)
                        script_stop(agent->behavior_state); /* its process goes with its host */
        (void)runtime_free(world->runtime);
        while (world->n_requests > 0)
                (void)store_request_free(world->requests[--world->n_requests]);
        forget_records(world, SLICE_NONE);
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

/* A request of the control API; its number is for answered(). */
static inline size_t ask(World *world, const char *verb, const char *body) {
        char subject[128], reply[64];

        (void)snprintf(subject, sizeof(subject), CONTROL "%s", verb);
        (void)snprintf(reply, sizeof(reply), "_INBOX.ctl.%zu", ++world->n_asked);
        say(world, subject, reply, body);
        return world->n_asked;
}

/* About one agent. */
static inline size_t ask_about(World *world, const char *verb, const char *agent_id) {
        char body[128];

        (void)snprintf(body, sizeof(body), "{\"agent_id\":\"%s\"}", agent_id);
        return ask(world, verb, body);
}

/* "" not yet; "ok", or the code of its error. Twice is once too much. */
static inline const char *answered(const World *world, size_t number) {
        static char code[64];
        const char *found = NULL;
        char reply[64];

        (void)snprintf(reply, sizeof(reply), "_INBOX.ctl.%zu", number);
        for (size_t i = 0; i < world->n_sent; i++) {
                if (strcmp(world->sent[i].subject, reply) != 0)
                        continue;
                if (found)
                        fail_msg("%s was answered twice: %s, %s", reply, found, world->sent[i].body);
                found = world->sent[i].body;
        }
        if (!found)
                return "";
        if (strstr(found, "\"ok\":true"))
                return "ok";
        assert_int_equal(sscanf(strstr(found, "\"code\":"), "\"code\":\"%63[A-Z_]", code), 1);
        return code;
}

/* The text of an answer. */
static inline const char *answer_text(const World *world, size_t number) {
        char reply[64];

        (void)snprintf(reply, sizeof(reply), "_INBOX.ctl.%zu", number);
        return last_sent(world, reply)->body;
}

static inline Agent *agent_of(const World *world, const char *agent_id) {
        return core_find_agent(world->runtime, slice_of(agent_id));
}

/* "running", ...; "none": there is no such agent. */
static inline const char *state_of(const World *world, const char *agent_id) {
        const Agent *agent = agent_of(world, agent_id);

        return agent ? agent_state_name(agent->state) : "none";
}

/* NATS delivers it through every subscription to that very subject. */
static inline void publish_with(
        World *world, const char *topic, const char *reply, const char *headers, const char *body) {
        for (size_t i = 0; i < world->n_subscribed; i++) {
                InMessage message = { .subject = slice_of(topic),
                        .reply = slice_of(reply),
                        .headers = slice_of(headers),
                        .body = slice_of(body),
                        .tag = world->subscribed[i].tag };

                if (strcmp(world->subscribed[i].subject, topic) == 0)
                        runtime_on_message(world->runtime, &message, world->now);
        }
        turn(world);
}

static inline void publish(World *world, const char *topic, const char *body) {
        publish_with(world, topic, NULL, NULL, body);
}

static inline bool is_subscribed(const World *world, const char *topic) {
        for (size_t i = 0; i < world->n_subscribed; i++)
                if (strcmp(world->subscribed[i].subject, topic) == 0)
                        return true;
        return false;
}

/* one agent, "a" */

static inline void play_all(World *world, bool plays) {
        world->plays_worker = world->plays_host = plays;
        turn(world);
}

/* Everything that was out is done, and nothing more is done by itself. */
static inline void play_once(World *world) {
        play_all(world, true);
        world->plays_worker = world->plays_host = false;
}

static inline size_t ask_to_create(World *world, const char *type, const char *more) {
        char body[512];

        (void)snprintf(body, sizeof(body), "{\"agent_id\":\"a\",\"agent_type\":\"%s\"%s}", type, more);
        return ask(world, "create_agent", body);
}

/* Agent "a", running. */
static inline void make(World *world, const char *type, const char *more) {
        size_t created = ask_to_create(world, type, more);

        play_once(world);
        assert_string_equal(answered(world, created), "ok");
        assert_string_equal(state_of(world, "a"), "running");
        forget_sent(world);
}

static inline void change_to(World *world, const char *type, const char *more) {
        char body[512];
        ErrorCode code = ERROR_NONE;
        WireError error = {};

        (void)snprintf(body, sizeof(body), "{\"agent_id\":\"a\",\"agent_type\":\"%s\"%s}", type, more);
        if (runtime_change_agent(world->runtime, slice_of(body), world->now, &code, &error) != 0)
                fail_msg("%s: %s", body, error.text);
        turn(world);
}

static inline void trigger(World *world, const char *exec, const char *word) {
        char input[64], reply_to[64];

        (void)snprintf(input, sizeof(input), "\"%s\"", word);
        (void)snprintf(reply_to, sizeof(reply_to), "_INBOX.%s", exec);
        relay(world, .agent = "a", .exec = exec, .input = input, .reply_to = reply_to);
}

/* "" when there is no answer yet, else the first word and the code. */
static inline const char *result_of(const World *world, const char *exec) {
        char subject[64];

        (void)snprintf(subject, sizeof(subject), "_INBOX.%s", exec);
        assert_true(count_sent(world, subject, NULL) <= 1);
        return count_sent(world, subject, NULL) == 0 ? "" : result_text(last_sent(world, subject));
}
