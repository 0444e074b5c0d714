/* SPDX-License-Identifier: MIT */

/*
 * The control API: requests to `<prefix>.runtime.<id>.control.<verb>`, one function per verb, all in one table. Each
 * writes the `result` of its answer into a buffer, or says why not. A request without a reply subject is carried out in
 * silence.
 *
 * A list that would not fit a message ends early; `next` says where to go on.
 */

#include <stdio.h>

#include "proto/emit.h"
#include "runtimed/core.h"
#include "runtimed/diag.h"

#define LIST_LIMIT_DEFAULT 100
#define LIST_LIMIT_MAX 10000
#define LIST_SORTED_MAX 100 /* when not by id */
#define SUMMARY_BYTES 512   /* of a list's element without its capabilities, at most */

typedef struct Request {
        const InMessage *message;
        Slice reply; /* where the answer goes; absent: nowhere */
        Buffer result;
        ErrorCode code;
        WireError error;
        bool is_waiting; /* it is answered later */
} Request;

typedef struct Verb {
        const char *name;
        int (*run)(Runtime *runtime, Request *request,
                Instant now); /* 0, WIRE_E_INVALID with code and error set, -ENOMEM */
} Verb;

typedef struct ListArguments {
        Slice after;
        uint64_t limit;
        unsigned sort; /* AgentOrder */
} ListArguments;

static const char *const order_names[_ORDER_MAX + 1] = {
        [ORDER_NONE] = "",
        [ORDER_ID] = "id",
        [ORDER_ATTENTION] = "attention",
        [ORDER_QUEUED] = "queued",
        [ORDER_HANDLED] = "handled",
        [ORDER_FAILED] = "failed",
};

static const ScanField list_fields[] = {
        { .name = "after", .kind = SCAN_ID, .offset = offsetof(ListArguments, after) },
        { .name = "limit", .kind = SCAN_U64, .offset = offsetof(ListArguments, limit), .max = LIST_LIMIT_MAX },
        { .name = "sort", .kind = SCAN_NAME, .offset = offsetof(ListArguments, sort), .names = order_names },
        { .name = NULL },
};

static const char *const mode_names[] = { "", "drain", "discard", NULL };
static const char *const qos_argument_names[] = { "", "realtime", "batched", "background", NULL };

enum {
        MODE_DRAIN = 1,
        MODE_DISCARD,
};

/* Of all verbs about one agent; each takes what it knows. */
typedef struct AgentArguments {
        Slice agent_id;
        unsigned mode;
        bool keep_state;
        Slice topic, queue;
        unsigned qos;
} AgentArguments;

#define ARGUMENT(member, ...) \
        { .name = #member, .offset = offsetof(AgentArguments, member), __VA_ARGS__ }

static const ScanField agent_fields[] = {
        ARGUMENT(agent_id, .kind = SCAN_ID, .required = true),
        { .name = NULL },
};

static const ScanField stop_fields[] = {
        ARGUMENT(agent_id, .kind = SCAN_ID, .required = true),
        ARGUMENT(mode, .kind = SCAN_NAME, .names = mode_names),
        ARGUMENT(keep_state, .kind = SCAN_BOOL),
        { .name = NULL },
};

static const ScanField topic_fields[] = {
        ARGUMENT(agent_id, .kind = SCAN_ID, .required = true),
        ARGUMENT(topic, .kind = SCAN_TEXT, .required = true, .max = TOPIC_BYTES_MAX),
        ARGUMENT(queue, .kind = SCAN_TEXT, .max = TOPIC_BYTES_MAX),
        ARGUMENT(qos, .kind = SCAN_NAME, .names = qos_argument_names),
        { .name = NULL },
};

static Slice body_or_object(const InMessage *message) {
        return message->body.size > 0 ? message->body : SLICE("{}");
}

static int read_arguments(Runtime *runtime, Request *request, const ScanField *fields, void *ret) {
        int r = scan_object(body_or_object(request->message), fields, ret, &runtime->arena, &request->error);

        if (r > 0)
                request->code = ERROR_INVALID_MESSAGE;
        return r;
}

static int run_status(Runtime *runtime, Request *request, Instant now) {
        const RuntimeLoad load = core_load(runtime);
        Buffer *out = &request->result;

        emit_object(out, NULL);
        emit_text(out, "runtime_id", runtime->id);
        emit_u64(out, "epoch", runtime->session.epoch);
        emit_u64(out, "revision", runtime->session.revision);
        emit_string(out, "state", session_state_name(runtime->session.state));
        emit_bool(out, "draining", runtime->is_draining);
        emit_string(out, "hostname", runtime->options.hostname ? runtime->options.hostname : "");
        emit_u64(out, "pid", runtime->options.pid);
        emit_string(out, "version", runtime->options.version ? runtime->options.version : "");
        emit_real(out, "uptime_s", (double)(now.usec - runtime->started_usec) / 1e6);
        if (runtime->options.http_address)
                emit_string(out, "http", runtime->options.http_address);
        emit_u64(out, "heartbeat_interval_ms", runtime->session.interval_usec / USEC_PER_MSEC);
        emit_u64(out, "agents", load.agents);
        emit_u64(out, "in_flight", load.in_flight);
        emit_u64(out, "queued", load.queued);
        emit_u64(out, "free_slots", load.free_slots);
        emit_u64(out, "remembered", memory_size(runtime->memory));
        emit_u64(out, "withheld", runtime->counters.withheld);
        core_emit_numbers(runtime, out, now);
        emit_object_end(out);
        return 0;
}

static int run_announce(Runtime *runtime, Request *request, Instant now) {
        Announce announce;
        int r = announce_decode(request->message->body, &announce, &runtime->arena, &request->error);

        if (r != 0) {
                request->code = ERROR_INVALID_MESSAGE;
                return r;
        }

        core_apply(runtime, session_on_announce(&runtime->session, &announce, now), now);
        emit_object(&request->result, NULL);
        emit_u64(&request->result, "heartbeat_interval_ms", runtime->session.interval_usec / USEC_PER_MSEC);
        emit_object_end(&request->result);
        return 0;
}

static void write_drain(Runtime *runtime, Request *request) {
        emit_object(&request->result, NULL);
        emit_u64(&request->result, "epoch", runtime->session.epoch);
        emit_bool(&request->result, "draining", runtime->is_draining);
        emit_u64(&request->result, "in_flight", runtime->executions.n);
        emit_object_end(&request->result);
}

static int run_drain(Runtime *runtime, Request *request, Instant now) {
        core_set_draining(runtime, /* is_draining= */ true, now);
        write_drain(runtime, request);
        return 0;
}

static int run_resume(Runtime *runtime, Request *request, Instant now) {
        if (runtime->is_stopping || runtime->was_replaced) {
                request->code = ERROR_INVALID_TRANSITION;
                return wire_error(
                        &request->error, "runtime \"%s\" is stopping and can't be resumed", runtime->options.id);
        }

        core_set_draining(runtime, /* is_draining= */ false, now);
        core_apply(runtime, session_on_resume(&runtime->session, now), now);
        write_drain(runtime, request);
        return 0;
}

/* A worker that has begun a message of it is at that message, or about to hand the run back. */
static bool is_worked_on(const Agent *agent) {
        return agent->run && agent->run->n_begun > 0;
}

static void emit_agent(Buffer *out, const Agent *agent) {
        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_string(out, "agent_type", agent->definition->behavior->type);
        emit_string(out, "state", agent_state_name(agent->state));
        emit_u64(out, "queued", agent_n_queued(agent));
        emit_u64(out, "open", agent->n_open + agent->n_deferred + is_worked_on(agent));
        emit_u64(out, "handled", agent->n_handled);
        emit_u64(out, "failed", agent->n_failed);
        emit_u64(out, "shed", agent->n_shed);
        emit_u64(out, "restarts", core_n_restarts(agent));
        emit_object_end(out);
}

/* Whoever asks who is busiest wants a screenful: so no pages, whose order would change between them. */
static int list_sorted(const Runtime *runtime, Request *request, const ListArguments *arguments) {
        Agent *agents[LIST_SORTED_MAX];
        Buffer *out = &request->result;
        size_t n;

        if (arguments->after.size > 0 || arguments->limit > LIST_SORTED_MAX) {
                request->code = ERROR_INVALID_MESSAGE;
                if (arguments->after.size > 0)
                        return wire_error(&request->error, "after goes with sort \"id\" only, not with \"%s\"",
                                order_names[arguments->sort]);
                return wire_error(&request->error, "limit %llu is over %d, the limit with sort \"%s\"",
                        (unsigned long long)arguments->limit, LIST_SORTED_MAX, order_names[arguments->sort]);
        }
        n = core_first_agents(runtime, (AgentOrder)arguments->sort, agents, arguments->limit);
        emit_object(out, NULL);
        emit_array(out, "agents");
        for (size_t i = 0; i < n; i++)
                emit_agent(out, agents[i]);
        emit_array_end(out);
        emit_u64(out, "total", core_n_agents(runtime));
        emit_object_end(out);
        return 0;
}

static int run_list_agents(Runtime *runtime, Request *request, Instant now) {
        ListArguments arguments = { .limit = LIST_LIMIT_DEFAULT };
        const uint64_t most = core_payload_max(runtime) - SUMMARY_BYTES;
        Buffer *out = &request->result;
        const Agent *last = NULL;
        Agent *agent;
        uint64_t n = 0;
        int r;

        (void)now;

        r = read_arguments(runtime, request, list_fields, &arguments);
        if (r != 0)
                return r;
        if (arguments.sort > ORDER_ID)
                return list_sorted(runtime, request, &arguments);

        emit_object(out, NULL);
        emit_array(out, "agents");
        agent = core_agent_after(runtime, arguments.after);
        for (; agent && n < arguments.limit && out->size + SUMMARY_BYTES < most; n++, agent = core_next_agent(agent)) {
                emit_agent(out, agent);
                last = agent;
        }
        emit_array_end(out);
        emit_u64(out, "total", core_n_agents(runtime));
        if (agent && last)
                emit_text(out, "next", agent_id_slice(last));
        emit_object_end(out);
        return 0;
}

static void emit_mailbox(Buffer *out, const Agent *agent) {
        emit_object(out, "mailbox");
        emit_u64(out, "queued", agent_n_queued(agent));
        emit_u64(out, "bytes", agent->mailbox ? agent->mailbox->n_bytes : 0);
        emit_u64(out, "capacity", agent->definition->mailbox.capacity);
        emit_u64(out, "bytes_max", agent->definition->mailbox.bytes_max);
        emit_string(out, "overflow", overflow_names[agent->definition->overflow]);
        emit_u64(out, "shed", agent->n_shed);
        emit_object_end(out);
}

/* 0, or WIRE_E_INVALID with the request's error set. */
static int find_agent(
        Runtime *runtime, Request *request, const ScanField *fields, AgentArguments *ret_arguments, Agent **ret) {
        int r = read_arguments(runtime, request, fields, ret_arguments);

        if (r != 0)
                return r;

        *ret = core_find_agent(runtime, ret_arguments->agent_id);
        if (*ret)
                return 0;

        request->code = ERROR_AGENT_NOT_FOUND;
        return wire_error(&request->error, "runtime \"%s\" has no agent \"%.*s\"", runtime->options.id,
                SLICE_ARG(ret_arguments->agent_id));
}

static void emit_state(Buffer *out, const Agent *agent) {
        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_string(out, "state", agent_state_name(agent->state));
        emit_object_end(out);
}

/* INVALID_TRANSITION names both: what it is, and what it was to become. */
static int refuse_transition(Request *request, const Agent *agent, AgentState wanted) {
        request->code = ERROR_INVALID_TRANSITION;
        return wire_error(&request->error, "agent \"%s\" is %s and can't become %s", agent->id.text,
                agent_state_name(agent->state), agent_state_name(wanted));
}

static int wait_for(Runtime *runtime, Request *request, Agent *agent, WaitFor what) {
        int r = core_wait(runtime, agent, what, request->reply);

        request->is_waiting = true;
        if (r <= 0)
                return r;
        request->code = ERROR_LIMIT_EXCEEDED;
        return wire_error(&request->error, "the limit of %d requests that wait for agent \"%s\" is reached",
                WAITERS_MAX, agent->id.text);
}

/* What is started now would not be stopped any more. */
static int refuse_if_stopping(const Runtime *runtime, Request *request) {
        if (!runtime->is_stopping)
                return 0;

        request->code = ERROR_RUNTIME_DRAINING;
        return wire_error(&request->error, "runtime \"%s\" is stopping", runtime->options.id);
}

static int run_create_agent(Runtime *runtime, Request *request, Instant now) {
        int r;

        r = refuse_if_stopping(runtime, request);
        if (r != 0)
                return r;

        r = core_create_agent(runtime, request->message->body, request->reply, now, &request->code, &request->error);
        request->is_waiting = r == 0;
        return r > 0 ? WIRE_E_INVALID : r;
}

static int run_delete_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = { .mode = MODE_DRAIN };
        Agent *agent;
        int r = find_agent(runtime, request, stop_fields, &arguments, &agent);

        if (r == 0)
                r = wait_for(runtime, request, agent, WAIT_GONE);
        if (r == 0)
                core_delete_agent(runtime, agent, arguments.mode == MODE_DISCARD, arguments.keep_state, now);
        return r;
}

static int run_start_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        if (r != 0)
                return r;
        r = refuse_if_stopping(runtime, request);
        if (r != 0)
                return r;
        if (agent->is_leaving || agent_next_state(agent->state, AGENT_EV_START) == AGENT_INVALID)
                return refuse_transition(request, agent, AGENT_STARTING);

        r = wait_for(runtime, request, agent, WAIT_READY);
        if (r != 0)
                return r;
        core_start_agent(runtime, agent, now);
        if (agent->state == AGENT_RUNNING) /* it was quick; one that failed has answered */
                core_answer_waiters(runtime, agent, WAIT_READY, UINT64_MAX, ERROR_NONE, SLICE_NONE);
        return 0;
}

/* Mail is not refused meanwhile: it waits, for what its program or its plugin is by then. */
static int run_restart_agent(Runtime *runtime, Request *request, Instant now) {
        _cleanup_(definition_freep) Definition *again = NULL;
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        if (r == 0)
                r = refuse_if_stopping(runtime, request);
        if (r != 0)
                return r;
        if (agent->state == AGENT_STOPPED && !agent->is_leaving) {
                request->code = ERROR_INVALID_TRANSITION;
                return wire_error(&request->error,
                        "agent \"%s\" is stopped and can't become starting by restart_agent: start_agent is for that",
                        agent->id.text);
        }
        if (agent->is_leaving || agent->state == AGENT_STOPPING)
                return refuse_transition(request, agent, AGENT_STARTING);

        r = definition_copy(agent->definition, &again);
        if (r == 0 && !agent_need_rarely(agent))
                r = -ENOMEM;
        if (r == 0)
                r = wait_for(runtime, request, agent, WAIT_READY);
        if (r == 0)
                core_restart_agent(runtime, agent, TAKE_PTR(again), now);
        return r;
}

static int run_stop_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = { .mode = MODE_DRAIN };
        Agent *agent;
        int r = find_agent(runtime, request, stop_fields, &arguments, &agent);

        if (r != 0)
                return r;
        if (agent_next_state(agent->state, AGENT_EV_STOP) == AGENT_INVALID)
                return refuse_transition(request, agent, AGENT_STOPPED);

        r = wait_for(runtime, request, agent, WAIT_STOPPED);
        if (r == 0)
                (void)core_stop_agent(runtime, agent, arguments.mode == MODE_DISCARD, now);
        return r;
}

static int run_pause_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        (void)now;

        if (r != 0)
                return r;
        if (agent_next_state(agent->state, AGENT_EV_PAUSE) == AGENT_INVALID)
                return refuse_transition(request, agent, AGENT_PAUSED);

        r = wait_for(runtime, request, agent, WAIT_PAUSED);
        if (r != 0)
                return r;
        (void)agent_apply(agent, AGENT_EV_PAUSE);
        core_recall(agent);
        core_note_changed(runtime, agent);
        core_note_unsettled(runtime, agent);
        return 0;
}

static int run_resume_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        (void)now;

        if (r != 0)
                return r;
        if (agent_apply(agent, AGENT_EV_RESUME) != 0)
                return refuse_transition(request, agent, AGENT_RUNNING);

        core_answer_waiters(runtime, agent, WAIT_PAUSED, UINT64_MAX, ERROR_INVALID_TRANSITION,
                SLICE("the agent was resumed before it was paused"));
        core_note_changed(runtime, agent);
        core_make_ready(runtime, agent);
        emit_state(&request->result, agent);
        return 0;
}

static int run_checkpoint_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        if (r != 0)
                return r;
        if (!behavior_keeps_state(agent->definition->behavior) || !runtime->options.has_store) {
                request->code = ERROR_STATE_ERROR;
                return wire_error(&request->error, "agent \"%s\" has nothing to keep: %s", agent->id.text,
                        runtime->options.has_store ? "its type has no state" : "runtime.state_store is none");
        }
        if (!agent->has_behavior || (agent->state != AGENT_RUNNING && agent->state != AGENT_PAUSED)) {
                request->code = ERROR_INVALID_TRANSITION;
                return wire_error(&request->error, "agent \"%s\" is %s and can't be checkpointed", agent->id.text,
                        agent_state_name(agent->state));
        }
        if (!agent->durable) {
                r = core_durable_new(runtime, agent);
                if (r < 0)
                        return r;
        }

        r = wait_for(runtime, request, agent, WAIT_CHECKPOINT);
        if (r == 0)
                core_ask_checkpoint(runtime, agent, now);
        return r;
}

/* Since the watch has seen its worker take up the message that it is still at. */
static uint64_t busy_usec(const Agent *agent, Instant now) {
        const Run *run = agent->run;

        return is_worked_on(agent) && run->n_begun == run->watched_begun ? now.usec - run->begun_usec : 0;
}

static void emit_life(Buffer *out, const Agent *agent, Instant now) {
        emit_u64(out, "with_worker", agent->run ? agent->run->n_given - agent->run->n_begun : agent_n_calls(agent));
        emit_u64(out, "open", agent->n_open + is_worked_on(agent));
        emit_u64(out, "busy_ms", busy_usec(agent, now) / USEC_PER_MSEC);
        emit_u64(out, "deferred", agent->n_deferred);
        emit_u64(out, "handled", agent->n_handled);
        emit_u64(out, "failed", agent->n_failed);
        emit_u64(out, "restarts", core_n_restarts(agent));
        emit_u64(out, "subscriptions", agent->subscriber.n);
        emit_u64(out, "checkpoint_interval_ms", agent->definition->checkpoint_interval_ms);
        emit_bool(out, "durable", agent->durable);
}

static int run_get_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Buffer *out = &request->result;
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        if (r != 0)
                return r;

        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_string(out, "agent_type", agent->definition->behavior->type);
        emit_string(out, "state", agent_state_name(agent->state));
        if (agent_rarely(agent)->failure)
                emit_string(out, "failure", agent_rarely(agent)->failure);
        emit_u64(out, "priority", agent->definition->priority);
        emit_string(out, "class", agent_class_name(agent->definition->agent_class));
        emit_u64(out, "quantum", agent->definition->quantum);
        emit_u64(out, "max_concurrency", agent->definition->max_concurrency);
        emit_raw(out, "capabilities", slice_of(agent->definition->capabilities));
        emit_raw(out, "parameters", slice_of(agent->definition->parameters));
        emit_mailbox(out, agent);
        emit_life(out, agent, now);
        emit_object_end(out);
        return 0;
}

/* topics */

static int run_subscribe_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = { .qos = QOS_BATCHED };
        TopicWanted wanted;
        Agent *agent;
        int r = find_agent(runtime, request, topic_fields, &arguments, &agent);

        (void)now;

        if (r != 0)
                return r;

        wanted = (TopicWanted){ .topic = arguments.topic, .queue = arguments.queue, .qos = (Qos)arguments.qos };
        r = core_subscribe(runtime, agent, &wanted, &request->code, &request->error);
        if (r != 0)
                return r;

        emit_object(&request->result, NULL);
        emit_text(&request->result, "agent_id", agent_id_slice(agent));
        emit_text(&request->result, "topic", wanted.topic);
        emit_text(&request->result, "queue", wanted.queue);
        emit_string(&request->result, "qos", qos_names[wanted.qos]);
        emit_object_end(&request->result);
        return 0;
}

static int run_unsubscribe_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Agent *agent;
        int r = find_agent(runtime, request, topic_fields, &arguments, &agent);

        (void)now;

        if (r == 0)
                r = core_unsubscribe(runtime, agent, arguments.topic, &request->code, &request->error);
        if (r != 0)
                return r;

        emit_object(&request->result, NULL);
        emit_text(&request->result, "agent_id", agent_id_slice(agent));
        emit_text(&request->result, "topic", arguments.topic);
        emit_object_end(&request->result);
        return 0;
}

static int run_get_agent_subscriptions(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        const Subscription *subscription = NULL;
        Buffer *out = &request->result;
        char scratch[REPLY_TOPIC_MAX];
        SubscriptionInfo info;
        Agent *agent;
        int r = find_agent(runtime, request, agent_fields, &arguments, &agent);

        (void)now;

        if (r != 0)
                return r;

        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_array(out, "subscriptions");
        while ((subscription = subscriber_next(&agent->subscriber, subscription))) {
                subscription_read(subscription, scratch, &info);
                emit_object(out, NULL);
                emit_text(out, "topic", info.topic);
                emit_key(out, "queue");
                if (info.queue.size > 0 && !info.is_managed)
                        emit_text_value(out, info.queue);
                else
                        buffer_append_slice(out, SLICE("null"));
                emit_string(out, "qos", qos_names[info.qos]);
                emit_bool(out, "managed", info.is_managed);
                emit_bool(out, "refused", info.is_refused);
                emit_object_end(out);
        }
        emit_array_end(out);
        emit_object_end(out);
        return 0;
}

static const Verb verbs[] = {
        { .name = "announce", .run = run_announce },
        { .name = "checkpoint_agent", .run = run_checkpoint_agent },
        { .name = "create_agent", .run = run_create_agent },
        { .name = "delete_agent", .run = run_delete_agent },
        { .name = "drain", .run = run_drain },
        { .name = "get_agent", .run = run_get_agent },
        { .name = "get_agent_subscriptions", .run = run_get_agent_subscriptions },
        { .name = "list_agents", .run = run_list_agents },
        { .name = "pause_agent", .run = run_pause_agent },
        { .name = "restart_agent", .run = run_restart_agent },
        { .name = "resume", .run = run_resume },
        { .name = "resume_agent", .run = run_resume_agent },
        { .name = "start_agent", .run = run_start_agent },
        { .name = "status", .run = run_status },
        { .name = "stop_agent", .run = run_stop_agent },
        { .name = "subscribe_agent", .run = run_subscribe_agent },
        { .name = "unsubscribe_agent", .run = run_unsubscribe_agent },
};

static const Verb *find_verb(Slice name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (slice_equal(slice_of(verbs[i].name), name))
                        return &verbs[i];

        return NULL;
}

static int refuse_verb(Request *request, Slice name) {
        char list[384] = "";
        size_t used = 0;

        for (size_t i = 0; i < ELEMENTSOF(verbs) && used < sizeof(list); i++)
                used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", verbs[i].name);

        request->code = ERROR_INVALID_MESSAGE;
        return wire_error(
                &request->error, "verb \"%.*s\" is none of %s", (int)MIN_OF(name.size, (size_t)32), name.data, list);
}

static int run_verb(Runtime *runtime, Request *request, Slice name, Instant now) {
        const Verb *verb = find_verb(name);
        const size_t size = request->message->body.size;
        int r;

        if (!verb)
                return refuse_verb(request, name);
        if (size > runtime->options.max_message_bytes) {
                request->code = ERROR_INVALID_MESSAGE;
                return wire_error(&request->error, "a message of %zu bytes is over limits.max_message_bytes of %llu",
                        size, (unsigned long long)runtime->options.max_message_bytes);
        }
        if (size > 0) {
                static const ScanField nothing[] = { {} };

                r = scan_object(request->message->body, nothing, &(struct { char unused; }){ 0 }, &runtime->arena,
                        &request->error);
                if (r != 0) {
                        request->code = ERROR_INVALID_MESSAGE;
                        return r;
                }
        }
        return verb->run(runtime, request, now);
}

/* Into the answers, which leave when dispatchers have been told of what was changed: whoever acts upon an answer finds
 * that everybody knows. */
static void answer(Runtime *runtime, Slice reply, const ErrorReply *error, Slice result) {
        Buffer *out;

        if (error)
                endpoint_fail(&runtime->control_stats, error_code_name(error->code), error->message);
        if (!runtime->is_up || reply.size == 0)
                return;

        out = outbox_begin(&runtime->answers);
        buffer_append_slice(out, reply);
        if (error) {
                outbox_headers(&runtime->answers);
                error_reply_emit_headers(out, error);
        }
        outbox_body(&runtime->answers);
        if (error)
                answer_encode_error(out, error);
        else
                answer_encode_result(out, result);
        outbox_end(&runtime->answers);
}

void core_answer_request(Runtime *runtime, const Agent *agent, Slice reply, ErrorCode code, Slice why) {
        const ErrorReply error = { .code = code, .message = why };
        _cleanup_(buffer_done) Buffer result = {};

        if (code == ERROR_NONE)
                emit_state(&result, agent);
        answer(runtime, reply, code == ERROR_NONE ? NULL : &error, buffer_slice(&result));
}

void core_on_request(Runtime *runtime, const InMessage *message, Slice verb, Instant now) {
        Request request = { .message = message };
        ErrorReply error;
        int r;

        runtime->control_stats.n_requests++;
        if (message->reply.data && subject_is_valid(message->reply) && core_may_answer_to(runtime, message->reply))
                request.reply = message->reply;

        r = run_verb(runtime, &request, verb, now);
        if (r == 0 && (request.result.failed || request.result.size > core_payload_max(runtime))) {
                r = WIRE_E_INVALID;
                request.code = ERROR_LIMIT_EXCEEDED;
                (void)wire_error(
                        &request.error, "the answer of %zu bytes does not fit the server's limit", request.result.size);
        } else if (r < 0) {
                request.code = ERROR_INTERNAL;
                (void)wire_error(&request.error, "memory is out");
        }

        if (r > 0 && request.code == ERROR_INVALID_MESSAGE) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, request.error.text);
        }
        error = (ErrorReply){ .code = request.code, .message = slice_of(request.error.text) };
        if (r != 0 || !request.is_waiting)
                answer(runtime, request.reply, r != 0 ? &error : NULL, buffer_slice(&request.result));
        buffer_done(&request.result);
}
