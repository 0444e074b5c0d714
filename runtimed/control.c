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
#define SUMMARY_BYTES 512 /* of a list's element without its capabilities, at most */

typedef struct Request {
        const InMessage *message;
        Buffer result;
        ErrorCode code;
        WireError error;
} Request;

typedef struct Verb {
        const char *name;
        int (*run)(Runtime *runtime, Request *request,
                Instant now); /* 0, WIRE_E_INVALID with code and error set, -ENOMEM */
} Verb;

typedef struct ListArguments {
        Slice after;
        uint64_t limit;
} ListArguments;

static const ScanField list_fields[] = {
        { .name = "after", .kind = SCAN_ID, .offset = offsetof(ListArguments, after) },
        { .name = "limit", .kind = SCAN_U64, .offset = offsetof(ListArguments, limit), .max = LIST_LIMIT_MAX },
        { .name = NULL },
};

typedef struct AgentArguments {
        Slice agent_id;
} AgentArguments;

static const ScanField agent_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(AgentArguments, agent_id) },
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

static void emit_agent(Buffer *out, const Agent *agent) {
        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_string(out, "agent_type", agent->definition->behavior->type);
        emit_string(out, "state", agent_state_name(agent->state));
        emit_u64(out, "queued", mailbox_size(&agent->mailbox));
        emit_u64(out, "handled", agent->n_handled);
        emit_object_end(out);
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

        emit_object(out, NULL);
        emit_array(out, "agents");
        agent = core_agent_after(runtime, arguments.after);
        for (; agent && n < arguments.limit && out->size + SUMMARY_BYTES < most; n++, agent = core_next_agent(agent)) {
                emit_agent(out, agent);
                last = agent;
        }
        emit_array_end(out);
        emit_u64(out, "total", HASH_COUNT(runtime->agents));
        if (agent && last)
                emit_text(out, "next", agent_id_slice(last));
        emit_object_end(out);
        return 0;
}

static void emit_mailbox(Buffer *out, const Agent *agent) {
        emit_object(out, "mailbox");
        emit_u64(out, "queued", mailbox_size(&agent->mailbox));
        emit_u64(out, "bytes", agent->mailbox.n_bytes);
        emit_u64(out, "capacity", agent->definition->mailbox_capacity);
        emit_u64(out, "bytes_max", agent->definition->mailbox_bytes);
        emit_string(out, "overflow", overflow_names[agent->definition->overflow]);
        emit_u64(out, "shed", agent->n_shed);
        emit_object_end(out);
}

static int run_get_agent(Runtime *runtime, Request *request, Instant now) {
        AgentArguments arguments = {};
        Buffer *out = &request->result;
        const Agent *agent;
        int r;

        (void)now;

        r = read_arguments(runtime, request, agent_fields, &arguments);
        if (r != 0)
                return r;

        agent = core_find_agent(runtime, arguments.agent_id);
        if (!agent) {
                request->code = ERROR_AGENT_NOT_FOUND;
                return wire_error(&request->error, "runtime \"%s\" has no agent \"%.*s\"", runtime->options.id,
                        SLICE_ARG(arguments.agent_id));
        }

        emit_object(out, NULL);
        emit_text(out, "agent_id", agent_id_slice(agent));
        emit_string(out, "agent_type", agent->definition->behavior->type);
        emit_string(out, "state", agent_state_name(agent->state));
        emit_u64(out, "priority", agent->definition->priority);
        emit_string(out, "class", agent_class_name(agent->definition->agent_class));
        emit_u64(out, "quantum", agent->definition->quantum);
        emit_raw(out, "capabilities", slice_of(agent->definition->capabilities));
        emit_raw(out, "parameters", slice_of(agent->definition->parameters));
        emit_mailbox(out, agent);
        emit_u64(out, "with_worker", agent->n_out);
        emit_u64(out, "deferred", agent->n_deferred);
        emit_u64(out, "handled", agent->n_handled);
        emit_object_end(out);
        return 0;
}

static const Verb verbs[] = {
        { .name = "announce", .run = run_announce },
        { .name = "drain", .run = run_drain },
        { .name = "get_agent", .run = run_get_agent },
        { .name = "list_agents", .run = run_list_agents },
        { .name = "resume", .run = run_resume },
        { .name = "status", .run = run_status },
};

static const Verb *find_verb(Slice name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (slice_equal(slice_of(verbs[i].name), name))
                        return &verbs[i];

        return NULL;
}

static int refuse_verb(Request *request, Slice name) {
        char list[128] = "";
        size_t used = 0;

        for (size_t i = 0; i < ELEMENTSOF(verbs) && used < sizeof(list); i++)
                used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", verbs[i].name);

        request->code = ERROR_INVALID_MESSAGE;
        return wire_error(&request->error, "verb \"%.*s\" is none of %s", SLICE_ARG(name), list);
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

static void answer(Runtime *runtime, const Request *request, bool is_ok) {
        const ErrorReply error = { .code = request->code, .message = slice_of(request->error.text) };
        Buffer *out;

        if (!runtime->is_up)
                return;

        out = outbox_begin(runtime->outbox);
        buffer_append_slice(out, request->message->reply);
        if (!is_ok) {
                outbox_headers(runtime->outbox);
                error_reply_emit_headers(out, &error);
        }
        outbox_body(runtime->outbox);
        if (is_ok)
                answer_encode_result(out, buffer_slice(&request->result));
        else
                answer_encode_error(out, &error);
        outbox_end(runtime->outbox);
}

void core_on_control(Runtime *runtime, const InMessage *message, Slice verb, Instant now) {
        Request request = { .message = message };
        int r;

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
                diag_message_invalid(message->subject, request.error.text, &runtime->invalid_limit, now.usec);
        }
        if (message->reply.data && (runtime->options.allow_forbidden_topics ||
                                           subject_may_receive_result(runtime->prefix, message->reply)))
                answer(runtime, &request, r == 0);
        buffer_done(&request.result);
}
