/* SPDX-License-Identifier: MIT */

/*
 * What agents ask for and wait for: answers of other agents, of capabilities, of executions.
 *
 * Each question carries a reply subject below our inbox with a number in it, ".a.<number>" for what one agent asked
 * alone, ".i.<number>" for a call of a capability that several may wait for. So an answer needs no look at what it is
 * about, and one that is late, or a stranger's, finds nothing. What was asked is over when its answer, its time or its
 * agent's end comes; the behaviour gets exactly one of the first two.
 *
 * Calls of capabilities go through invocations.h: the same call is made once however many wait for it. The same call
 * is one of the same agent with the same key. Without a key of the behaviour's own it is made from the execution and
 * from how many calls that has made before, so an execution that is run again somewhere else repeats its keys as long
 * as its behaviour makes the same calls in the same order. A message that is no execution is never run again: its keys
 * are unlike any other.
 */

#include <stdio.h>

#include "proto/emit.h"
#include "runtimed/core_effects.h"

#define TIMEOUT_USEC (DEADLINE_MS_DEFAULT * USEC_PER_MSEC)
#define KEY_MAX 256              /* bytes of an idempotency key */
#define TRIGGER_MARGIN_MS_MAX 50 /* so that the named error of whoever gave up on it comes before our own time-out */

/* asking */

static uint64_t timeout_usec(const Effect *effect) {
        const uint64_t usec = effect->usec > 0 ? effect->usec : TIMEOUT_USEC;

        return MIN_OF(usec, (uint64_t)DEADLINE_MS_MAX * USEC_PER_MSEC);
}

static int begin(Wish *wish, Ask **ret) {
        const AskWanted wanted = {
                .kind = wish->effect->kind,
                .token = wish->effect->token,
                .message_id = wish->message_id,
                .target = wish->effect->target,
                .envelope = &wish->inherited,
                .asked_usec = wish->now.usec,
                .deadline_usec = wish->now.usec + timeout_usec(wish->effect),
        };
        Runtime *runtime = wish->runtime;
        int r = asks_add(&runtime->asks, &wish->agent->asks, &wanted, ret);

        switch (r) {
        case ASKS_E_AGENT_LIMIT:
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED, "the agent waits for limits.max_asks_per_agent of %llu",
                        (unsigned long long)runtime->options.max_asks_per_agent);
        case ASKS_E_LIMIT:
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED,
                        "all agents together wait for as much as limits.max_asks and limits.max_in_flight_bytes allow");
        default:
                break;
        }
        if (r == 0 && runtime->options.tracer)
                wish_begin_span(wish, *ret);
        return r;
}

/* The reply subject for that number, until the next one is written. */
static Slice reply_subject(Runtime *runtime, const char *token, uint64_t number) {
        buffer_clear(&runtime->names);
        buffer_printf(&runtime->names, "%s%s%llu", runtime->options.inbox_prefix, token, (unsigned long long)number);
        return buffer_slice(&runtime->names);
}

static int check_agent_id(Wish *wish) {
        const Slice target = wish->effect->target;

        if (id_is_valid(target))
                return 0;
        return wish_refuse(wish, ERROR_INVALID_MESSAGE, "\"%.*s\" is no agent_id",
                (int)MIN_OF(target.size, (size_t)ID_MAX), target.data ? target.data : "");
}

int wish_ask(Wish *wish) {
        Runtime *runtime = wish->runtime;
        char subject[sizeof("agent..replies") + ID_MAX];
        Ask *ask = NULL;
        Slice reply;
        int r = check_agent_id(wish);

        if (r == 0)
                r = begin(wish, &ask);
        if (r != 0)
                return r;

        (void)snprintf(subject, sizeof(subject), "agent.%.*s.replies", SLICE_ARG(wish->effect->target));
        reply = reply_subject(runtime, ASK_TOKEN, ask->number.number);
        buffer_clear(&runtime->scratch);
        headers_put(&runtime->scratch, SLICE("Compozy-Reply-To"), reply);
        r = runtime->names.failed || runtime->scratch.failed ? -ENOMEM : 0;
        if (r == 0)
                r = wish_post(wish, &(OutMessage){ .subject = slice_of(subject),
                                            .reply = reply,
                                            .headers = buffer_slice(&runtime->scratch),
                                            .body = wish->effect->payload });
        if (r != 0)
                asks_remove(&runtime->asks, ask);
        return r;
}

bool core_asks_itself(const Runtime *runtime, const Agent *agent, Slice reply_to) {
        const Slice inbox = slice_of(runtime->options.inbox_prefix);
        const Ask *ask;
        Slice rest;

        if (!slice_starts_with(reply_to, inbox))
                return false;
        rest = slice_after(reply_to, inbox.size);
        if (!slice_starts_with(rest, SLICE(ASK_TOKEN)))
                return false;
        ask = asks_find(&runtime->asks, number_parse(slice_after(rest, sizeof(ASK_TOKEN) - 1)));
        return ask && ask->kind == EFFECT_ASK && ask->owner == &agent->asks;
}

/* triggering */

/* Of the execution that wants it, if it is one: what belongs to a workflow stays in it. */
static void write_workflow(Buffer *out, const Execution *execution) {
        if (!execution || !execution->workflow_id.data)
                return;
        emit_object(out, "workflow");
        emit_text(out, "id", execution->workflow_id);
        emit_text(out, "exec_id", execution->workflow_exec_id);
        emit_object_end(out);
}

static void write_trigger(Wish *wish, Buffer *out, const Execution *execution) {
        const uint64_t ms = MAX_OF(timeout_usec(wish->effect) / USEC_PER_MSEC, UINT64_C(1));
        const uint64_t margin_ms = MIN_OF(ms / 10, (uint64_t)TRIGGER_MARGIN_MS_MAX);
        const Slice input = wish->effect->payload;
        const Id id = rng_id(&wish->runtime->rng);

        buffer_clear(out);
        emit_object(out, NULL);
        emit_object(out, "metadata");
        emit_name(out, "type", "TriggerAgent");
        emit_text(out, "request_id", id_slice(&id));
        emit_text(out, "correlation_id", wish->inherited.correlation_id);
        emit_object_end(out);
        write_workflow(out, execution);
        emit_object(out, "payload");
        emit_u64(out, "deadline_ms", ms - margin_ms);
        emit_object(out, "context");
        emit_raw(out, "input", input.size > 0 ? input : SLICE("null"));
        emit_object_end(out);
        emit_object_end(out);
        emit_object_end(out);
}

int wish_trigger(Wish *wish) {
        Runtime *runtime = wish->runtime;
        const Execution *execution = wish->exec_id.data ? executions_find(&runtime->executions, wish->exec_id) : NULL;
        const Slice workflow = execution && execution->workflow_id.data ? execution->workflow_id : SLICE("adhoc");
        _cleanup_(buffer_done) Buffer subject = {};
        Ask *ask = NULL;
        Slice reply;
        int r = check_agent_id(wish);

        if (r == 0)
                r = begin(wish, &ask);
        if (r != 0)
                return r;

        subject_build(&subject, runtime->prefix, SUBJECT_TRIGGER, workflow, wish->effect->target);
        reply = reply_subject(runtime, ASK_TOKEN, ask->number.number);
        write_trigger(wish, &runtime->scratch, execution);
        r = runtime->names.failed || runtime->scratch.failed || subject.failed ? -ENOMEM : 0;
        if (r == 0)
                r = wish_post(wish, &(OutMessage){ .subject = buffer_slice(&subject),
                                            .reply = reply,
                                            .body = buffer_slice(&runtime->scratch) });
        if (r != 0)
                asks_remove(&runtime->asks, ask);
        return r;
}

/* capabilities */

/* A definition without a list lets its agent call anything; an element may be a pattern. */
static int may_invoke(const Definition *definition, Slice capability) {
        const Slice list = slice_of(definition->capabilities);
        _cleanup_(arena_clear) Arena arena = {};
        Slice element, text;
        size_t cursor = 0;

        if (!list.data)
                return true;
        while (scan_next(list, &cursor, &element)) {
                if (scan_text(element, &arena, &text) < 0)
                        return -ENOMEM;
                if (slice_equal(text, capability) ||
                        (subject_pattern_is_valid(text) && subject_matches(text, capability)))
                        return true;
        }
        return false;
}

static int check_capability(Wish *wish) {
        const Slice capability = wish->effect->target;
        const int cut = (int)MIN_OF(capability.size, (size_t)64);
        int r;

        if (capability.size > INVOCATION_CAPABILITY_MAX || !subject_is_valid(capability))
                return wish_refuse(wish, ERROR_INVALID_MESSAGE, "\"%.*s\" is no capability of at most %d bytes", cut,
                        capability.data ? capability.data : "", INVOCATION_CAPABILITY_MAX);
        if (wish->effect->key.size > KEY_MAX)
                return wish_refuse(wish, ERROR_INVALID_MESSAGE,
                        "an idempotency key of %zu bytes is over the limit of %d", wish->effect->key.size, KEY_MAX);

        r = may_invoke(wish->agent->definition, capability);
        if (r < 0)
                return r;
        return r ? 0
                 : wish_refuse(wish, ERROR_CAPABILITY_NOT_FOUND,
                           "\"%.*s\" is not among the capabilities of the definition of agent \"%s\"", cut,
                           capability.data, wish->agent->id.text);
}

/* "<agent_id>.<key>": two agents may have the same key and mean two calls. `ret_key`: the part that goes out. */
static int write_key(Wish *wish, Buffer *out, Slice *ret_key) {
        Runtime *runtime = wish->runtime;
        const size_t start = wish->agent->id.size + 1;

        buffer_clear(out);
        buffer_append_slice(out, agent_id_slice(wish->agent));
        buffer_append_char(out, '.');
        if (wish->effect->key.size > 0) {
                buffer_append_slice(out, wish->effect->key);
        } else if (wish->exec_id.data) {
                buffer_append_slice(out, wish->exec_id);
                buffer_printf(out, ".%u", wish->n_invoked);
        } else { /* unlike any of another start or another runtime */
                const uint64_t message_id = wish->message_id > 0 ? wish->message_id : ++runtime->n_messages;

                buffer_append_slice(out, runtime->id);
                buffer_printf(out, ".%llu.%llu.%u", (unsigned long long)runtime->options.epoch,
                        (unsigned long long)message_id, wish->n_invoked);
        }
        if (out->failed)
                return -ENOMEM;
        *ret_key = slice_after(buffer_slice(out), start);
        return 0;
}

static int post_call(Wish *wish, const Invocation *invocation, Slice key) {
        Runtime *runtime = wish->runtime;
        char subject[sizeof("action.") + INVOCATION_CAPABILITY_MAX];
        const Slice reply = reply_subject(runtime, INVOKE_TOKEN, invocation_number(invocation));

        (void)snprintf(subject, sizeof(subject), "action.%.*s", SLICE_ARG(wish->effect->target));
        buffer_clear(&runtime->scratch);
        headers_put(&runtime->scratch, SLICE("Compozy-Idempotency-Key"), key);
        if (runtime->names.failed || runtime->scratch.failed)
                return -ENOMEM;
        return wish_post(wish, &(OutMessage){ .subject = slice_of(subject),
                                       .reply = reply,
                                       .headers = buffer_slice(&runtime->scratch),
                                       .body = wish->effect->payload });
}

static void settle(Runtime *runtime, Ask *ask, ErrorCode code, Slice body, Instant now);

/* Its request goes out, or it waits for one that is out, or is answered from memory. */
static int call(Wish *wish, Ask *ask) {
        Runtime *runtime = wish->runtime;
        _cleanup_(buffer_done) Buffer key = {};
        InvocationAnswer known = {};
        Invocation *invocation = NULL;
        Slice shown = SLICE_NONE;
        int r = write_key(wish, &key, &shown);

        if (r < 0)
                return r;

        r = invocations_begin(&runtime->invocations, ask, wish->effect->target, buffer_slice(&key), wish->now.usec,
                &invocation, &known);
        switch (r) {
        case INVOCATIONS_E_OK:
                return post_call(wish, invocation, shown);
        case INVOCATIONS_E_JOINED:
                return 0;
        case INVOCATIONS_E_ANSWERED:
                settle(runtime, ask, known.code, known.body, wish->now);
                return 0;
        case INVOCATIONS_E_TOO_LONG:
                return wish_refuse(wish, ERROR_INVALID_MESSAGE, "its capability or its key is too long");
        default:
                return r;
        }
}

int wish_invoke(Wish *wish) {
        Ask *ask = NULL;
        int r = check_capability(wish);

        if (r == 0)
                r = begin(wish, &ask);
        if (r != 0)
                return r;

        r = call(wish, ask);
        if (r != 0) {
                invocations_leave(&wish->runtime->invocations, ask);
                asks_remove(&wish->runtime->asks, ask);
        }
        return r;
}

/* answers */

/* The ask waits for no invocation any more. When memory is out for telling its agent, its time-out is told later. */
static void settle(Runtime *runtime, Ask *ask, ErrorCode code, Slice body, Instant now) {
        Agent *agent = CONTAINER_OF(ask->owner, Agent, asks);
        WishAnswer news = { .token = ask->token, .code = code, .body = body, .envelope = &ask->envelope };

        if (ask->span.is_recorded)
                core_end_ask_span(runtime, ask, code, code == ERROR_NONE ? SLICE_NONE : body, now);
        if (code == ERROR_NONE && !core_has_mail_room(runtime)) { /* no mailbox is too full for an answer, memory is */
                news.code = ERROR_OVERLOADED;
                news.body = SLICE("the answer could not be kept: limits.max_mail_bytes is reached");
        }
        if (core_answer_wish(runtime, agent, &news) < 0)
                deadline_arm(&runtime->deadlines, &ask->deadline, now.usec + USEC_PER_SEC);
        else
                asks_remove(&runtime->asks, ask);
}

/* Who marks his answer as an error by its headers may say more in its body, in the way of our own answers. */
static ErrorCode read_error(Runtime *runtime, const InMessage *message, Slice sentence, Slice *ret_body) {
        ErrorCode code = ERROR_NONE;
        Answer answer = {};

        *ret_body = sentence;
        if (answer_decode(message->body, &answer, &runtime->arena, NULL) == 0 && !answer.ok) {
                code = error_code_from_name(answer.error_code);
                if (answer.error_message.size > 0)
                        *ret_body = answer.error_message;
        }
        return code == ERROR_NONE ? ERROR_CAPABILITY_ERROR : code;
}

static ErrorCode read_result(Runtime *runtime, const InMessage *message, Slice sentence, Slice *ret_body) {
        Result result = {};

        if (result_decode(message->body, &result, &runtime->arena, NULL) != 0) {
                if (sentence.data)
                        return read_error(runtime, message, sentence, ret_body);
                *ret_body = SLICE("what was answered is no result of an execution");
                return ERROR_INTERNAL;
        }
        if (result.status == STATUS_SUCCESS) {
                *ret_body = result.output.data ? result.output : SLICE("null");
                return ERROR_NONE;
        }
        *ret_body = result.error.message;
        return result.error.code == ERROR_NONE ? ERROR_INTERNAL : result.error.code;
}

static ErrorCode read_answer(
        Runtime *runtime, const Ask *ask, const InMessage *message, WireError *scratch, Slice *ret_body) {
        const Slice sentence = headers_get(message->headers, SLICE("Nats-Service-Error"));

        if (message->no_responders) {
                (void)wire_error(scratch,
                        ask->kind == EFFECT_ASK ? "no agent \"%.*s\" is there to be asked"
                                                : "no dispatcher is there to trigger agent \"%.*s\"",
                        SLICE_ARG(ask->target));
                *ret_body = slice_of(scratch->text);
                return ask->kind == EFFECT_ASK ? ERROR_AGENT_NOT_FOUND : ERROR_NO_RUNTIME;
        }
        if (message->body.size > runtime->options.max_message_bytes) {
                (void)wire_error(scratch, "the answer of %zu bytes is over limits.max_message_bytes of %llu",
                        message->body.size, (unsigned long long)runtime->options.max_message_bytes);
                *ret_body = slice_of(scratch->text);
                return ERROR_LIMIT_EXCEEDED;
        }
        if (ask->kind == EFFECT_TRIGGER)
                return read_result(runtime, message, sentence, ret_body);
        if (sentence.data)
                return read_error(runtime, message, sentence, ret_body);
        *ret_body = message->body;
        return ERROR_NONE;
}

void core_on_ask_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now) {
        Ask *ask = asks_find(&runtime->asks, number_parse(token));
        WireError scratch;
        ErrorCode code;
        Slice body;

        if (!ask || ask->kind == EFFECT_INVOKE)
                return; /* over, or never asked */

        code = read_answer(runtime, ask, message, &scratch, &body);
        settle(runtime, ask, code, body, now);
}

static unsigned service_code(const InMessage *message) {
        const uint64_t number = number_parse(headers_get(message->headers, SLICE("Nats-Service-Error-Code")));

        return (unsigned)MIN_OF(number, UINT64_C(1000));
}

static InvocationAnswer read_call_answer(
        const Runtime *runtime, const InMessage *message, const Ask *any, WireError *scratch) {
        const Slice sentence = headers_get(message->headers, SLICE("Nats-Service-Error"));

        if (message->no_responders) {
                (void)wire_error(scratch, "nobody provides \"%.*s\"", (int)MIN_OF(any->target.size, (size_t)128),
                        any->target.data);
                return (InvocationAnswer){ ERROR_CAPABILITY_NOT_FOUND, slice_of(scratch->text) };
        }
        if (message->body.size > runtime->options.max_message_bytes) {
                (void)wire_error(scratch, "the output of %zu bytes is over limits.max_message_bytes of %llu",
                        message->body.size, (unsigned long long)runtime->options.max_message_bytes);
                return (InvocationAnswer){ ERROR_LIMIT_EXCEEDED, slice_of(scratch->text) };
        }
        if (sentence.data)
                return (InvocationAnswer){ ERROR_CAPABILITY_ERROR, sentence };
        return (InvocationAnswer){ ERROR_NONE, message->body };
}

void core_on_call_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now) {
        Invocation *invocation = invocations_find(&runtime->invocations, number_parse(token));
        InvocationAnswer answer;
        WireError scratch;
        Ask *ask, *next;

        if (!invocation)
                return;

        answer = read_call_answer(runtime, message, invocation_first_waiting(invocation), &scratch);
        ask = invocations_settle(&runtime->invocations, invocation, &answer,
                invocation_is_final(answer.code, service_code(message)), now.usec);
        for (; ask; ask = next) {
                next = ask_next_waiting(ask);
                settle(runtime, ask, answer.code, answer.body, now);
        }
}

/* time and ends */

void core_on_ask_time(Runtime *runtime, Deadline *deadline, Instant now) {
        Ask *ask = ask_of_deadline(deadline);
        char text[64];

        (void)snprintf(text, sizeof(text), "no answer within %llu ms",
                (unsigned long long)((now.usec - ask->asked_usec) / USEC_PER_MSEC));
        invocations_leave(&runtime->invocations, ask);
        settle(runtime, ask, ERROR_TIMEOUT, slice_of(text), now);
}

/* What was on its way to a behaviour that is gone; its successor gave other names to other matters. */
static void drop_queued(Runtime *runtime, Agent *agent) {
        Mail *mail, *next;

        if (!agent->mailbox)
                return;
        for (mail = agent->mailbox->lanes[LANE_URGENT].first; mail; mail = next) {
                next = mail->next;
                if (mail->kind != MAIL_ANSWER && mail->kind != MAIL_TIMER)
                        continue;
                mailbox_remove(agent->mailbox, mail);
                core_drop_delivery(runtime, delivery_of_mail(mail), ERROR_AGENT_STOPPED, runtime->now);
        }
}

void core_end_conversations(Runtime *runtime, Agent *agent) {
        Ask *ask;

        while ((ask = ask_owner_next(&agent->asks, NULL))) {
                if (ask->span.is_recorded)
                        core_end_ask_span(runtime, ask, ERROR_AGENT_STOPPED,
                                slice_of(error_code_meaning(ERROR_AGENT_STOPPED)), runtime->now);
                invocations_leave(&runtime->invocations, ask);
                asks_remove(&runtime->asks, ask);
        }
        core_end_timers(runtime, agent);
        core_forget_wish_waiters(runtime, agent);
        drop_queued(runtime, agent);
}
