/* SPDX-License-Identifier: MIT */

/*
 * Verbs: what operators and runtimes ask of a dispatcher, by request to <prefix>.commands.agent_dispatcher.<verb>.
 *
 * One table: the verb, what it needs, who serves it. Lists come in pages, ordered by id, so that an answer fits one
 * message and a page can be asked for whatever came or went since the last.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/placement.h"
#include "dispatcherd/state.h"
#include "proto/emit.h"

#define PAGE_DEFAULT 1000
#define PAGE_MAX 10000

/* Room for the envelope of an answer, and for the headers. */
#define ANSWER_MARGIN 4096

typedef struct Request {
        Slice runtime_id, agent_id, agent_exec_id;
        Slice after;
        uint64_t limit;
        Slice state;
} Request;

static const ScanField request_fields[] = {
        { .name = "runtime_id", .kind = SCAN_ID, .offset = offsetof(Request, runtime_id) },
        { .name = "agent_id", .kind = SCAN_ID, .offset = offsetof(Request, agent_id) },
        { .name = "agent_exec_id", .kind = SCAN_ID, .offset = offsetof(Request, agent_exec_id) },
        { .name = "after", .kind = SCAN_ID, .offset = offsetof(Request, after) },
        { .name = "limit", .kind = SCAN_U64, .offset = offsetof(Request, limit), .max = PAGE_MAX },
        { .name = "state", .kind = SCAN_TEXT, .offset = offsetof(Request, state), .max = ID_MAX },
        {},
};

void verbs_answer(Dispatcher *d, Slice reply, Slice result) {
        Buffer *buffer;

        if (reply.size == 0)
                return;
        buffer = outbox_begin(d->outbox);
        buffer_append_slice(buffer, reply);
        outbox_body(d->outbox);
        answer_encode_result(buffer, result);
        outbox_end(d->outbox);
}

void verbs_answer_failure(Dispatcher *d, Slice reply, const ErrorReply *error) {
        Buffer *buffer;

        endpoint_fail(d->last_served, error_code_name(error->code), error->message);
        if (reply.size == 0)
                return;
        buffer = outbox_begin(d->outbox);
        buffer_append_slice(buffer, reply);
        outbox_headers(d->outbox);
        error_reply_emit_headers(buffer, error);
        outbox_body(d->outbox);
        answer_encode_error(buffer, error);
        outbox_end(d->outbox);
}

void verbs_answer_error(Dispatcher *d, Slice reply, ErrorCode code, const char *text) {
        verbs_answer_failure(d, reply, &(ErrorReply){ .code = code, .message = slice_of(text) });
}

/* pages: the first `limit` ids after `after`, in order */

typedef struct Page {
        struct PageItem {
                Slice id;
                const void *object;
        } * items;
        size_t n_items, limit;
        bool more;
} Page;

static void page_done(Page *page) {
        free(page->items);
}

static int compare_ids(Slice a, Slice b) {
        int r = memcmp(a.data, b.data, MIN_OF(a.size, b.size));

        return r != 0 ? r : (a.size > b.size) - (a.size < b.size);
}

static int page_init(Page *page, const Request *request) {
        *page = (Page){ .limit = request->limit > 0 ? request->limit : PAGE_DEFAULT };
        page->items = calloc(page->limit, sizeof(*page->items));
        return page->items ? 0 : -ENOMEM;
}

static size_t page_place(const Page *page, Slice id) {
        size_t low = 0, high = page->n_items;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (compare_ids(page->items[middle].id, id) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static void page_offer(Page *page, Slice after, Slice id, const void *object) {
        size_t place, n_move;

        if (after.size > 0 && compare_ids(id, after) <= 0)
                return;
        if (page->n_items == page->limit) {
                page->more = true;
                if (compare_ids(id, page->items[page->n_items - 1].id) > 0)
                        return;
                page->n_items--;
        }
        place = page_place(page, id);
        n_move = page->n_items - place;
        memmove(&page->items[place + 1], &page->items[place], n_move * sizeof(*page->items));
        page->items[place] = (struct PageItem){ id, object };
        page->n_items++;
}

/* How long d->verb_result may become: the answer is one message. */
static size_t result_bytes_max(const Dispatcher *d) {
        return d->max_payload > 2 * ANSWER_MARGIN ? d->max_payload - ANSWER_MARGIN : ANSWER_MARGIN;
}

/* Emits the page as far as one message allows; `next` is what to pass as `after`. */
static void page_emit(Dispatcher *d, const char *key, const Page *page,
        void (*emit)(Dispatcher *d, const void *object, Instant now), Instant now) {
        size_t bytes_max = result_bytes_max(d), i;

        emit_array(&d->verb_result, key);
        for (i = 0; i < page->n_items; i++) {
                size_t before = d->verb_result.size;

                emit(d, page->items[i].object, now);
                if (d->verb_result.size > bytes_max && i > 0) {
                        d->verb_result.size = before;
                        break;
                }
        }
        emit_array_end(&d->verb_result);
        if (i < page->n_items || page->more)
                emit_text(&d->verb_result, "next", page->items[i - 1].id);
}

/* verbs: each writes its result into d->verb_result, inside an object that is already open, or answers an error */

static ErrorCode no_such_runtime(const Request *request, char *text, size_t size) {
        (void)snprintf(text, size, "no runtime %.*s is registered", SLICE_ARG(request->runtime_id));
        return ERROR_NO_RUNTIME;
}

static void emit_listed_runtime(Dispatcher *d, const void *object, Instant now) {
        const Runtime *runtime = object;

        emit_object(&d->verb_result, NULL);
        observers_emit_runtime_members(&d->verb_result, runtime, now);
        emit_u64(&d->verb_result, "queued", runtime->load.queued);
        emit_u64(&d->verb_result, "relayed", runtime->n_relayed);
        emit_u64(&d->verb_result, "done", runtime->n_done);
        emit_object_end(&d->verb_result);
}

static ErrorCode on_list_runtimes(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        _cleanup_(page_done) Page page = {};

        if (page_init(&page, request) < 0)
                return ERROR_INTERNAL;
        (void)text;
        (void)size;
        for (const Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime))
                if (request->state.size == 0 ||
                        slice_equal(request->state, slice_of(runtime_state_name(runtime->state))))
                        page_offer(&page, request->after, id_slice(&runtime->id), runtime);
        emit_u64(&d->verb_result, "total", registry_n_runtimes(d->registry));
        page_emit(d, "runtimes", &page, emit_listed_runtime, now);
        return ERROR_NONE;
}

static ErrorCode on_get_runtime(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        const Runtime *runtime = registry_find(d->registry, request->runtime_id);

        if (!runtime)
                return no_such_runtime(request, text, size);
        observers_emit_runtime(&d->verb_result, "runtime", runtime, now);
        runtime_load_emit(&d->verb_result, &runtime->load);
        emit_u64(&d->verb_result, "relayed", runtime->n_relayed);
        emit_u64(&d->verb_result, "done", runtime->n_done);
        emit_u64(&d->verb_result, "heartbeat_sequence", runtime->sequence);
        observers_emit_agents(&d->verb_result, "agent_definitions", runtime, d->max_payload / 2);
        return ERROR_NONE;
}

static void emit_listed_agent(Dispatcher *d, const void *object, Instant now) {
        const Agent *agent = object;

        (void)now;

        emit_object(&d->verb_result, NULL);
        emit_text(&d->verb_result, "agent_id", id_slice(&agent->id));
        if (agent->n_hosts > 0) {
                emit_string(&d->verb_result, "agent_type", agent->hosts[0]->type);
                emit_bool(&d->verb_result, "exclusive", agent->hosts[0]->exclusive);
        }
        emit_array(&d->verb_result, "runtimes");
        for (size_t i = 0; i < agent->n_hosts && i < 100; i++)
                emit_text(&d->verb_result, NULL, id_slice(&agent->hosts[i]->runtime->id));
        emit_array_end(&d->verb_result);
        emit_u64(&d->verb_result, "n_runtimes", agent->n_hosts);
        emit_array(&d->verb_result, "failed_in");
        for (size_t i = 0; i < agent->n_hosts && i < 100; i++)
                if (agent->hosts[i]->refused == ERROR_AGENT_FAILED)
                        emit_text(&d->verb_result, NULL, id_slice(&agent->hosts[i]->runtime->id));
        emit_array_end(&d->verb_result);
        emit_object_end(&d->verb_result);
}

static ErrorCode on_list_agents(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        _cleanup_(page_done) Page page = {};
        size_t n = 0;

        if (request->runtime_id.size > 0 && !registry_find(d->registry, request->runtime_id))
                return no_such_runtime(request, text, size);
        if (page_init(&page, request) < 0)
                return ERROR_INTERNAL;
        if (request->runtime_id.size > 0) {
                const Hosting *hosting;

                LIST_FOREACH(hosting, &registry_find(d->registry, request->runtime_id)->hostings, in_runtime)
                page_offer(&page, request->after, id_slice(&hosting->agent->id), hosting->agent), n++;
        } else {
                for (const Agent *agent = registry_first_agent(d->registry); agent; agent = registry_next_agent(agent))
                        if (agent->n_hosts > 0)
                                page_offer(&page, request->after, id_slice(&agent->id), agent), n++;
        }
        emit_u64(&d->verb_result, "total", n);
        page_emit(d, "agents", &page, emit_listed_agent, now);
        return ERROR_NONE;
}

static ErrorCode on_drain_runtime(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        Runtime *runtime = registry_find(d->registry, request->runtime_id);

        if (!runtime)
                return no_such_runtime(request, text, size);
        membership_want_drain(d, runtime, /* drain= */ true, now);
        emit_text(&d->verb_result, "runtime_id", request->runtime_id);
        emit_string(&d->verb_result, "state", runtime_state_name(runtime->state));
        emit_u64(&d->verb_result, "in_flight", runtime->own_in_flight + runtime->foreign_in_flight);
        return ERROR_NONE;
}

static ErrorCode on_resume_runtime(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        Runtime *runtime = registry_find(d->registry, request->runtime_id);

        if (!runtime) {
                /* Deregistered by hand, it is silent but listens: let it back in, and tell it. */
                Buffer *buffer;

                if (!registry_was_removed_by_hand(d->registry, request->runtime_id))
                        return no_such_runtime(request, text, size);
                registry_pardon(d->registry, request->runtime_id);
                buffer = outbox_begin(d->outbox);
                subject_build(buffer, d->prefix, SUBJECT_RUNTIME_CONTROL, request->runtime_id, SLICE("resume"));
                outbox_body(d->outbox);
                buffer_append_slice(buffer, SLICE("{}"));
                outbox_end(d->outbox);
                emit_text(&d->verb_result, "runtime_id", request->runtime_id);
                emit_string(&d->verb_result, "state", "joining");
                return ERROR_NONE;
        }
        membership_want_drain(d, runtime, /* drain= */ false, now);
        emit_text(&d->verb_result, "runtime_id", request->runtime_id);
        emit_string(&d->verb_result, "state", runtime_state_name(runtime->state));
        return ERROR_NONE;
}

static ErrorCode on_deregister_runtime(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        Runtime *runtime = registry_find(d->registry, request->runtime_id);

        if (!runtime)
                return no_such_runtime(request, text, size);
        emit_text(&d->verb_result, "runtime_id", request->runtime_id);
        emit_u64(&d->verb_result, "epoch", runtime->epoch);
        membership_remove(d, runtime, DEREGISTER_OPERATOR, d->id, /* tell_others= */ true, now);
        return ERROR_NONE;
}

/* explain */

#define EXPLAINED_MAX 1000

static void emit_candidates(Dispatcher *d, const Agent *agent, const Labels *labels, Instant now) {
        emit_array(&d->verb_result, "considered");
        for (size_t i = 0;
                agent && i < agent->n_hosts && i < EXPLAINED_MAX && d->verb_result.size < result_bytes_max(d); i++) {
                const Hosting *hosting = agent->hosts[i];
                const Runtime *runtime = hosting->runtime;
                Fitness fitness = placement_fitness(hosting, labels, now.usec);

                emit_object(&d->verb_result, NULL);
                emit_text(&d->verb_result, "runtime_id", id_slice(&runtime->id));
                emit_string(&d->verb_result, "state", runtime_state_name(runtime->state));
                emit_bool(&d->verb_result, "eligible", fitness == FITNESS_LIVE);
                emit_string(&d->verb_result, "why", fitness_meaning(fitness));
                if (fitness == FITNESS_REFUSED)
                        emit_string(&d->verb_result, "code", error_code_name((ErrorCode)hosting->refused));
                emit_u64(&d->verb_result, "in_flight", runtime->own_in_flight + runtime->foreign_in_flight);
                emit_u64(&d->verb_result, "free_slots", runtime_free_slots(runtime));
                emit_object_end(&d->verb_result);
        }
        emit_array_end(&d->verb_result);
        emit_u64(&d->verb_result, "n_considered", agent ? agent->n_hosts : 0);
}

static const char *const phase_names[] = {
        [PHASE_WAITING] = "waiting",
        [PHASE_IN_FLIGHT] = "in_flight",
        [PHASE_ENDED] = "ended",
};

static void emit_attempts(Dispatcher *d, const Execution *execution, Instant now) {
        uint64_t first = execution->attempt > ATTEMPTS_KEPT ? execution->attempt - ATTEMPTS_KEPT + 1 : 1;

        emit_array(&d->verb_result, "attempts");
        for (uint64_t n = first; n <= execution->attempt; n++) {
                const Attempt *attempt = &execution->attempts[n % ATTEMPTS_KEPT];
                char why[192];

                if (attempt->runner_up.size > 0)
                        (void)snprintf(why, sizeof(why), "the less loaded of %s and %s", attempt->runtime_id.text,
                                attempt->runner_up.text);
                else
                        (void)snprintf(why, sizeof(why), "the only one that could take it");
                emit_object(&d->verb_result, NULL);
                emit_u64(&d->verb_result, "attempt", n);
                emit_text(&d->verb_result, "runtime_id", id_slice(&attempt->runtime_id));
                emit_u64(&d->verb_result, "epoch", attempt->epoch);
                emit_string(&d->verb_result, "chosen_because", why);
                emit_bool(&d->verb_result, "started", attempt->started);
                emit_string(&d->verb_result, "end", attempt_end_meaning(attempt->end));
                if (attempt->code != ERROR_NONE)
                        emit_string(&d->verb_result, "code", error_code_name(attempt->code));
                emit_u64(&d->verb_result, "sent_ms_ago", (now.usec - attempt->sent_usec) / USEC_PER_MSEC);
                emit_object_end(&d->verb_result);
        }
        emit_array_end(&d->verb_result);
}

static ErrorCode explain_execution(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        const Execution *execution = execution_find(d->executions, request->agent_exec_id);

        if (!execution) {
                (void)snprintf(text, size,
                        "agent_exec_id %.*s is not known to dispatcher %.*s: another one may have had it, or it is "
                        "long ended",
                        SLICE_ARG(request->agent_exec_id), SLICE_ARG(d->id));
                return ERROR_INVALID_MESSAGE;
        }
        emit_text(&d->verb_result, "agent_exec_id", id_slice(&execution->exec_id));
        emit_text(&d->verb_result, "agent_id", id_slice(&execution->agent_id));
        emit_text(&d->verb_result, "workflow_id", id_slice(&execution->workflow_id));
        emit_text(&d->verb_result, "dispatcher_id", d->id);
        emit_string(&d->verb_result, "phase", phase_names[execution->phase]);
        emit_string(&d->verb_result, "retry", retry_policy_names[execution->retry]);
        emit_u64(&d->verb_result, "priority", execution->priority);
        if (execution->phase == PHASE_ENDED) {
                emit_string(&d->verb_result, "status", result_status_names[execution->status]);
                if (execution->code != ERROR_NONE)
                        emit_string(&d->verb_result, "code", error_code_name(execution->code));
        } else {
                emit_u64(&d->verb_result, "deadline_in_ms",
                        execution->deadline_usec > now.usec ? (execution->deadline_usec - now.usec) / USEC_PER_MSEC
                                                            : 0);
        }
        emit_attempts(d, execution, now);
        emit_candidates(d, registry_find_agent(d->registry, id_slice(&execution->agent_id)),
                execution->parcel ? execution->parcel->labels : NULL, now);
        return ERROR_NONE;
}

static ErrorCode on_explain(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        const Agent *agent;

        if (request->agent_exec_id.size > 0)
                return explain_execution(d, request, now, text, size);
        if (request->agent_id.size == 0) {
                (void)snprintf(text, size, "agent_id or agent_exec_id is missing");
                return ERROR_INVALID_MESSAGE;
        }
        agent = registry_find_agent(d->registry, request->agent_id);
        if (!agent || agent->n_hosts == 0) {
                (void)snprintf(text, size, "no runtime hosts agent %.*s; registered runtimes: %zu",
                        SLICE_ARG(request->agent_id), registry_n_runtimes(d->registry));
                return ERROR_AGENT_UNKNOWN;
        }
        emit_text(&d->verb_result, "agent_id", request->agent_id);
        emit_string(&d->verb_result, "rule",
                "of the live runtimes that match and have a free slot: the less loaded of two random ones");
        emit_candidates(d, agent, NULL, now);
        return ERROR_NONE;
}

static ErrorCode on_status(Dispatcher *d, const Request *request, Instant now, char *text, size_t size) {
        JetStreamStatus js = jetstream_status(d->jetstream);

        (void)request;
        (void)text;
        (void)size;

        emit_text(&d->verb_result, "dispatcher_id", d->id);
        emit_string(&d->verb_result, "version", d->options.version);
        emit_string(&d->verb_result, "hostname", d->options.hostname);
        emit_bool(&d->verb_result, "settled", d->settled);
        emit_bool(&d->verb_result, "draining", d->draining);
        emit_u64(&d->verb_result, "pid", d->options.pid);
        emit_real(&d->verb_result, "uptime_s", (double)(now.usec - d->started_usec) / (double)USEC_PER_SEC);
        if (d->options.http_address)
                emit_string(&d->verb_result, "http", d->options.http_address);
        emit_bool(&d->verb_result, "mass_silence", d->mass_silence);
        emit_object(&d->verb_result, "runtimes");
        for (RuntimeState state = RUNTIME_JOINING; state < RUNTIME_GONE; state++)
                emit_u64(&d->verb_result, runtime_state_name(state), registry_n_in_state(d->registry, state));
        emit_object_end(&d->verb_result);
        emit_u64(&d->verb_result, "agents", registry_n_agents(d->registry));
        emit_u64(&d->verb_result, "agents_failed", registry_n_failed(d->registry));
        emit_u64(&d->verb_result, "waiting", execution_table_n_waiting(d->executions));
        emit_u64(&d->verb_result, "queue_limit", d->options.queue_limit);
        emit_u64(&d->verb_result, "in_flight", execution_table_n_in_flight(d->executions));
        emit_u64(&d->verb_result, "triggers", d->n.triggers);
        emit_u64(&d->verb_result, "creating", d->creations.by_token.n);
        emit_u64(&d->verb_result, "placed_again", d->n.placed_again);
        emit_u64(&d->verb_result, "verdicts", d->n.verdicts);
        emit_bool(&d->verb_result, "jetstream_events", js.events_ready);
        emit_bool(&d->verb_result, "jetstream_runtimes", js.runtimes_ready);
        emit_timestamp(&d->verb_result, "time", now.real_usec);
        dispatcher_emit_numbers(d, &d->verb_result, now);
        return ERROR_NONE;
}

/* Takes a registration by request; the other dispatchers hear of it as of any. */
static void register_runtime(Dispatcher *d, const InMessage *message, Instant now) {
        Registration registration = {};
        WireError error = {};
        const Runtime *runtime;
        Id id;

        if (registration_decode(message->body, &registration, &d->arena, &error) != 0) {
                verbs_answer_error(d, message->reply, ERROR_INVALID_MESSAGE, error.text);
                return;
        }
        id = id_of(registration.runtime_id);
        membership_on_registered(d, id_slice(&id), message, now);
        runtime = registry_find(d->registry, id_slice(&id));
        if (runtime && runtime->epoch == registration.epoch) {
                Buffer *buffer = outbox_begin(d->outbox);

                subject_build(buffer, d->prefix, SUBJECT_RUNTIME_REGISTERED, id_slice(&id), SLICE_NONE);
                outbox_body(d->outbox);
                buffer_append_slice(buffer, message->body);
                outbox_end(d->outbox);
        }
}

typedef struct Verb {
        const char *name;
        bool needs_runtime_id;
        ErrorCode (*fn)(Dispatcher *d, const Request *request, Instant now, char *text, size_t size);
        void (*take)(Dispatcher *d, const InMessage *message, Instant now); /* reads and answers it itself */
} Verb;

static const Verb verbs[] = {
        { .name = "register_runtime", .take = register_runtime },
        { .name = "list_runtimes", .fn = on_list_runtimes },
        { .name = "get_runtime", .needs_runtime_id = true, .fn = on_get_runtime },
        { .name = "list_agents", .fn = on_list_agents },
        { .name = "create_agent", .take = creations_on_request },
        { .name = "drain_runtime", .needs_runtime_id = true, .fn = on_drain_runtime },
        { .name = "resume_runtime", .needs_runtime_id = true, .fn = on_resume_runtime },
        { .name = "deregister_runtime", .needs_runtime_id = true, .fn = on_deregister_runtime },
        { .name = "explain", .fn = on_explain },
        { .name = "status", .fn = on_status },
};

static void answer_unknown(Dispatcher *d, Slice verb, Slice reply) {
        _cleanup_(buffer_done) Buffer text = {};

        buffer_printf(&text, "verb %.*s is not known; known are", SLICE_ARG(verb));
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                buffer_printf(&text, "%s %s", i > 0 ? "," : "", verbs[i].name);
        buffer_append_char(&text, '\0');
        verbs_answer_error(d, reply, ERROR_INVALID_MESSAGE, text.failed ? "verb is not known" : text.data);
}

static void serve(Dispatcher *d, const Verb *verb, const InMessage *message, Instant now) {
        Request request = {};
        WireError error = {};
        ErrorCode code = ERROR_NONE;
        Buffer *buffer;

        if (scan_object(message->body.size > 0 ? message->body : SLICE("{}"), request_fields, &request, &d->arena,
                    &error) != 0)
                code = ERROR_INVALID_MESSAGE;
        else if (verb->needs_runtime_id && request.runtime_id.size == 0) {
                (void)wire_error(&error, "runtime_id is missing");
                code = ERROR_INVALID_MESSAGE;
        }
        if (code == ERROR_NONE) {
                /* What a verb publishes on the way uses d->scratch; so the result has a buffer of its own. */
                (void)wire_error(&error, "the dispatcher is out of memory");
                buffer_clear(&d->verb_result);
                emit_object(&d->verb_result, NULL);
                code = verb->fn(d, &request, now, error.text, sizeof(error.text));
                emit_object_end(&d->verb_result);
        }
        if (code != ERROR_NONE || d->verb_result.failed) {
                verbs_answer_error(d, message->reply, code != ERROR_NONE ? code : ERROR_INTERNAL, error.text);
                return;
        }
        if (message->reply.size == 0)
                return;
        buffer = outbox_begin(d->outbox);
        buffer_append_slice(buffer, message->reply);
        outbox_body(d->outbox);
        answer_encode_result(buffer, buffer_slice(&d->verb_result));
        outbox_end(d->outbox);
}

void verbs_on_request(Dispatcher *d, Slice verb, const InMessage *message, Instant now) {
        d->last_served->n_requests++;
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (!slice_equal(verb, slice_of(verbs[i].name)))
                        continue;
                if (verbs[i].take)
                        verbs[i].take(d, message, now);
                else
                        serve(d, &verbs[i], message, now);
                return;
        }
        answer_unknown(d, verb, message->reply);
}
