/* SPDX-License-Identifier: MIT */

/*
 * The runtime answers to an inbox of ours, not to the caller: only so do we learn that nobody listened, or that it
 * won't, and can ask another one. Its final answer is passed on as it came, with the runtime's id added when it is
 * good.
 *
 * Another runtime is asked only where the first has certainly not created the agent: nobody listened, or it refused for
 * a reason of its own (it drains, it is full). An answer that does not come in time is TIMEOUT, and whoever asked has
 * to look: the agent may be there.
 *
 * Two requests for one id, one shortly after the other, would be sent to two runtimes before the registry knows of the
 * first: so what is being created counts as existing. Of two dispatchers each knows only its own; who cares names the
 * runtime.
 *
 * All runtimes are looked at: it is an operator's request, and why there is none is part of the answer.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/creations.h"
#include "dispatcherd/diag.h"
#include "dispatcherd/state.h"
#include "proto/emit.h"

#define TRIES_MAX 4
#define EXPLAINED_MAX 100

struct Creation {
        Id token; /* in its reply subject */
        Id agent_id;
        LIST_ENTRY(Creation) in_all;
        Deadline deadline;
        Id tried[TRIES_MAX]; /* runtimes, the last one has it */
        uint64_t epoch;      /* of the last one */
        size_t n_tries;
        bool is_named; /* the caller named the runtime */
        size_t n_bytes;
        Slice reply, type, labels, runtime_id, definition; /* all in `storage` */
        char storage[];
};

static const char *const obstacle_meanings[_OBSTACLE_MAX] = { [OBSTACLE_NONE] = "it may be asked",
#define X(name, meaning) [OBSTACLE_##name] = (meaning),
        OBSTACLES(X)
#undef X
};

/* what was asked */

typedef struct Wanted {
        Slice agent_id, agent_type;
        Slice runtime_id, labels;
        Slice definition;
} Wanted;

static const ScanField wanted_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .offset = offsetof(Wanted, agent_id) },
        { .name = "agent_type", .kind = SCAN_TEXT, .offset = offsetof(Wanted, agent_type) },
        { .name = "runtime_id", .kind = SCAN_ID, .offset = offsetof(Wanted, runtime_id) },
        { .name = "labels", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Wanted, labels) },
        { .name = "definition", .kind = SCAN_RAW_OBJECT, .offset = offsetof(Wanted, definition) },
        {},
};

static const ScanField definition_fields[] = {
        { .name = "agent_id", .kind = SCAN_ID, .required = true, .offset = offsetof(Wanted, agent_id) },
        { .name = "agent_type", .kind = SCAN_TEXT, .required = true, .offset = offsetof(Wanted, agent_type) },
        {},
};

/* As it stood in another object. */
static void emit_member(Buffer *buffer, Slice key, Slice value) {
        if (buffer->failed)
                return;
        if (buffer->data[buffer->size - 1] != '{')
                buffer_append_char(buffer, ',');
        emit_text_value(buffer, key);
        buffer_append_char(buffer, ':');
        buffer_append_slice(buffer, value);
}

/* A runtime refuses what it does not know in a definition: what is for us is left out. Into d->scratch. */
static int strip(Dispatcher *d, Slice body) {
        size_t cursor = 0;
        Slice key, value;
        int r;

        buffer_clear(&d->scratch);
        emit_object(&d->scratch, NULL);
        while ((r = scan_next_member(body, &cursor, &d->arena, &key, &value)) == 1) {
                if (!slice_equal(key, SLICE("runtime_id")) && !slice_equal(key, SLICE("labels")))
                        emit_member(&d->scratch, key, value);
        }
        emit_object_end(&d->scratch);
        return r < 0 || d->scratch.failed ? -ENOMEM : 0;
}

/* The definition is a member of its own, or what is for us stands among its members. */
static int read_wanted(Dispatcher *d, Slice body, Wanted *ret, WireError *ret_error) {
        Labels labels;
        int r = scan_object(body, wanted_fields, ret, &d->arena, ret_error);

        if (r == 0 && !ret->definition.data) {
                r = strip(d, body);
                ret->definition = buffer_slice(&d->scratch);
        }
        if (r == 0)
                r = scan_object(ret->definition, definition_fields, ret, &d->arena, ret_error);
        if (r == 0)
                r = labels_decode(ret->labels, "labels", &d->arena, &labels, ret_error);
        return r;
}

static Slice put(char **at, Slice text) {
        Slice copy = { *at, text.size };

        if (text.size > 0)
                *at = mempcpy(*at, text.data, text.size);
        return copy;
}

static Creation *creation_new(Dispatcher *d, const Wanted *wanted, Slice reply) {
        const size_t size = wanted->agent_type.size + wanted->labels.size + wanted->runtime_id.size +
                            wanted->definition.size + reply.size;
        Creation *creation = calloc(1, sizeof(*creation) + size);
        char *at;

        if (!creation)
                return NULL;

        at = creation->storage;
        creation->reply = put(&at, reply);
        creation->type = put(&at, wanted->agent_type);
        creation->labels = put(&at, wanted->labels);
        creation->runtime_id = put(&at, wanted->runtime_id);
        creation->definition = put(&at, wanted->definition);
        creation->agent_id = id_of(wanted->agent_id);
        creation->token = rng_id(&d->rng);
        creation->is_named = wanted->runtime_id.size > 0;
        creation->n_bytes = sizeof(*creation) + size;
        deadline_init(&creation->deadline, DEADLINE_CREATION);
        return creation;
}

/* the set of them */

void creations_init(Creations *creations, Rng *rng) {
        LIST_INIT(&creations->all);
        id_index_init(&creations->by_token, rng_next(rng));
        id_index_init(&creations->unnamed, rng_next(rng));
}

static int add(Dispatcher *d, Creation *creation) {
        int r = id_index_add(&d->creations.by_token, &creation->token);

        if (r == 0 && !creation->is_named) {
                r = id_index_add(&d->creations.unnamed, &creation->agent_id);
                if (r < 0)
                        id_index_remove(&d->creations.by_token, &creation->token);
        }
        if (r < 0)
                return r;
        LIST_INSERT_HEAD(&d->creations.all, creation, in_all);
        d->creations.n_bytes += creation->n_bytes;
        return 0;
}

static Runtime *holder(const Dispatcher *d, const Creation *creation) {
        Runtime *runtime;

        if (creation->n_tries == 0)
                return NULL;
        runtime = registry_find(d->registry, id_slice(&creation->tried[creation->n_tries - 1]));
        return runtime && runtime->epoch == creation->epoch ? runtime : NULL;
}

static void let_go(Dispatcher *d, const Creation *creation) {
        Runtime *runtime = holder(d, creation);

        if (runtime && runtime->n_creating > 0)
                runtime->n_creating--;
}

static void forget(Dispatcher *d, Creation *creation) {
        deadline_disarm(&d->deadlines, &creation->deadline);
        id_index_remove(&d->creations.by_token, &creation->token);
        if (!creation->is_named)
                id_index_remove(&d->creations.unnamed, &creation->agent_id);
        LIST_REMOVE(creation, in_all);
        d->creations.n_bytes -= creation->n_bytes;
        free(creation);
}

void creations_done(Creations *creations) {
        Creation *creation;

        while ((creation = LIST_FIRST(&creations->all))) {
                LIST_REMOVE(creation, in_all);
                free(creation);
        }
        id_index_done(&creations->by_token);
        id_index_done(&creations->unnamed);
}

/* ends */

static void fail(Dispatcher *d, Creation *creation, ErrorCode code, const char *text) {
        d->n.creations_failed++;
        diag_creation_failed(id_slice(&creation->agent_id), code, text);
        verbs_answer_error(d, creation->reply, code, text);
        forget(d, creation);
}

/* As it came. */
static void pass_on(Dispatcher *d, Creation *creation, const InMessage *message) {
        d->n.creations_failed++;
        if (creation->reply.size > 0)
                outbox_put(d->outbox,
                        &(OutMessage){
                                .subject = creation->reply, .headers = message->headers, .body = message->body });
        forget(d, creation);
}

static void answer_created(Dispatcher *d, Creation *creation, const Answer *answer) {
        const Id *runtime_id = &creation->tried[creation->n_tries - 1];
        size_t cursor = 0;
        Slice key, value;

        d->n.created++;
        diag_created(id_slice(&creation->agent_id), id_slice(runtime_id));
        buffer_clear(&d->verb_result);
        emit_object(&d->verb_result, NULL);
        emit_text(&d->verb_result, "runtime_id", id_slice(runtime_id));
        while (scan_next_member(answer->result, &cursor, &d->arena, &key, &value) == 1) {
                if (!slice_equal(key, SLICE("runtime_id")))
                        emit_member(&d->verb_result, key, value);
        }
        emit_object_end(&d->verb_result);
        verbs_answer(d, creation->reply, buffer_slice(&d->verb_result));
        forget(d, creation);
}

/* choosing */

static bool lists_type(const Runtime *runtime, Slice type, Arena *arena) {
        Slice types = slice_of(runtime->types_json), element, text;
        size_t cursor = 0;

        while (scan_next(types, &cursor, &element))
                if (scan_text(element, arena, &text) == 0 && slice_equal(text, type))
                        return true;
        return false;
}

static bool was_tried(const Creation *creation, const Runtime *runtime) {
        for (size_t i = 0; i < creation->n_tries; i++)
                if (id_equal(&creation->tried[i], id_slice(&runtime->id)))
                        return true;
        return false;
}

static uint64_t n_agents_of(const Runtime *runtime) {
        return runtime->n_agents + runtime->n_creating;
}

static Obstacle obstacle_of(Dispatcher *d, const Creation *creation, const Labels *labels, const Runtime *runtime) {
        if (runtime->state == RUNTIME_JOINING)
                return OBSTACLE_JOINING;
        if (runtime->state == RUNTIME_DRAINING)
                return OBSTACLE_DRAINING;
        if (was_tried(creation, runtime))
                return OBSTACLE_TRIED;
        if (runtime->unreachable)
                return OBSTACLE_UNREACHABLE;
        if (!lists_type(runtime, creation->type, &d->arena))
                return OBSTACLE_TYPE;
        if (!labels_match(labels, &runtime->labels))
                return OBSTACLE_LABELS;
        if (runtime->max_agents > 0 && n_agents_of(runtime) >= runtime->max_agents)
                return OBSTACLE_FULL;
        return runtime->state == RUNTIME_SUSPECT ? OBSTACLE_SUSPECT : OBSTACLE_NONE;
}

/* By share of what it may have; who states no limit counts as one that may have the most. */
static bool is_less_loaded(const Runtime *a, const Runtime *b) {
        const uint64_t a_max = a->max_agents > 0 ? a->max_agents : CAPACITY_MAX;
        const uint64_t b_max = b->max_agents > 0 ? b->max_agents : CAPACITY_MAX;

        return n_agents_of(a) * b_max < n_agents_of(b) * a_max;
}

static void read_labels(Dispatcher *d, const Creation *creation, Labels *ret) {
        WireError error;

        *ret = (Labels){};
        (void)labels_decode(creation->labels, "labels", &d->arena, ret, &error); /* was read before */
}

/*
 * The less loaded of two random ones among those that nothing speaks against, or that are merely suspect if there are
 * no others: as with triggers, a short silence of all is no reason to refuse. NULL: there is none.
 */
static Runtime *choose(Dispatcher *d, const Creation *creation) {
        Obstacle least = OBSTACLE_SUSPECT;
        Runtime *two[2] = {};
        Labels labels;
        size_t n = 0;

        read_labels(d, creation, &labels);
        for (Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime)) {
                Obstacle obstacle;

                if (creation->is_named && !id_equal(&runtime->id, creation->runtime_id))
                        continue;
                obstacle = obstacle_of(d, creation, &labels, runtime);
                if (obstacle == OBSTACLE_NONE && least != OBSTACLE_NONE) {
                        least = OBSTACLE_NONE;
                        n = 0;
                        two[0] = two[1] = NULL;
                }
                if (obstacle != least)
                        continue;
                if (n < 2)
                        two[n] = runtime;
                else if (rng_below(&d->rng, n + 1) < 2)
                        two[rng_below(&d->rng, 2)] = runtime;
                n++;
        }
        return two[1] && is_less_loaded(two[1], two[0]) ? two[1] : two[0];
}

/* What spoke against each, and in the sentence what against the closest. */
static Obstacle explain(Dispatcher *d, const Creation *creation, Buffer *details) {
        Obstacle closest = OBSTACLE_NONE;
        Labels labels;
        size_t n = 0;

        read_labels(d, creation, &labels);
        emit_object(details, NULL);
        emit_array(details, "considered");
        for (Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime)) {
                Obstacle obstacle;

                if (creation->is_named && !id_equal(&runtime->id, creation->runtime_id))
                        continue;
                obstacle = obstacle_of(d, creation, &labels, runtime);
                closest = MAX_OF(closest, obstacle);
                if (n++ >= EXPLAINED_MAX)
                        continue;
                emit_object(details, NULL);
                emit_text(details, "runtime_id", id_slice(&runtime->id));
                emit_string(details, "why", obstacle_meanings[obstacle]);
                emit_object_end(details);
        }
        emit_array_end(details);
        emit_u64(details, "n_considered", n);
        emit_object_end(details);
        return closest;
}

static void fail_unplaced(Dispatcher *d, Creation *creation) {
        _cleanup_(buffer_done) Buffer details = {};
        const Obstacle closest = explain(d, creation, &details);
        char text[384];

        if (creation->is_named && closest == OBSTACLE_NONE)
                (void)snprintf(text, sizeof(text), "no runtime %.*s is registered", SLICE_ARG(creation->runtime_id));
        else if (closest == OBSTACLE_NONE)
                (void)snprintf(text, sizeof(text), "no runtime is registered");
        else
                (void)snprintf(text, sizeof(text), "no runtime can have agent %s of type %.*s; of the closest: %s",
                        creation->agent_id.text, (int)MIN_OF(creation->type.size, (size_t)64), creation->type.data,
                        obstacle_meanings[closest]);
        d->n.creations_failed++;
        diag_creation_failed(id_slice(&creation->agent_id), ERROR_NO_RUNTIME, text);
        verbs_answer_failure(d, creation->reply,
                &(ErrorReply){ .code = ERROR_NO_RUNTIME,
                        .message = slice_of(text),
                        .details = details.failed ? SLICE_NONE : buffer_slice(&details) });
        forget(d, creation);
}

/* asking */

static void ask(Dispatcher *d, Creation *creation, Runtime *runtime) {
        Buffer *buffer = outbox_begin(d->outbox);

        creation->tried[creation->n_tries++] = runtime->id;
        creation->epoch = runtime->epoch;
        runtime->n_creating++;

        buffer_printf(buffer, "%s.create_agent", runtime->control_subject);
        outbox_reply(d->outbox);
        buffer_append_slice(buffer, d->inbox);
        buffer_printf(buffer, ".c.%s.%s", runtime->id.text, creation->token.text);
        outbox_body(d->outbox);
        buffer_append_slice(buffer, creation->definition);
        outbox_end(d->outbox);
}

static bool ask_next(Dispatcher *d, Creation *creation) {
        Runtime *runtime = creation->n_tries < TRIES_MAX ? choose(d, creation) : NULL;

        if (runtime)
                ask(d, creation, runtime);
        return runtime;
}

/* A runtime that is there and has it, or NULL. One that drains will not have it for long. */
static const Runtime *host_of(const Dispatcher *d, Slice agent_id) {
        const Agent *agent = registry_find_agent(d->registry, agent_id);

        for (size_t i = 0; agent && i < agent->n_hosts; i++) {
                const Runtime *runtime = agent->hosts[i]->runtime;

                if (runtime->state != RUNTIME_DRAINING && !runtime->unreachable)
                        return runtime;
        }
        return NULL;
}

/* ERROR_NONE, or why it is not even tried. */
static ErrorCode check(const Dispatcher *d, const Wanted *wanted, WireError *error) {
        const Runtime *host = wanted->runtime_id.size == 0 ? host_of(d, wanted->agent_id) : NULL;

        if (host) {
                (void)wire_error(error, "runtime %s has an agent \"%.*s\"; another place is asked for with runtime_id",
                        host->id.text, SLICE_ARG(wanted->agent_id));
                return ERROR_AGENT_EXISTS;
        }
        if (wanted->runtime_id.size == 0 && id_index_find(&d->creations.unnamed, wanted->agent_id)) {
                (void)wire_error(error, "agent \"%.*s\" is being created", SLICE_ARG(wanted->agent_id));
                return ERROR_AGENT_EXISTS;
        }
        if (d->creations.by_token.n >= d->options.queue_limit ||
                d->creations.n_bytes + wanted->definition.size > d->options.queue_bytes_limit) {
                (void)wire_error(error,
                        "%zu agents are being created, %" PRIu64 " bytes: the limits are those of triggers, "
                        "dispatcher.queue_limit %" PRIu64 " and dispatcher.queue_bytes %" PRIu64,
                        d->creations.by_token.n, d->creations.n_bytes, d->options.queue_limit,
                        d->options.queue_bytes_limit);
                return ERROR_OVERLOADED;
        }
        return ERROR_NONE;
}

void creations_on_request(Dispatcher *d, const InMessage *message, Instant now) {
        WireError error = {};
        Wanted wanted = {};
        Creation *creation;
        ErrorCode code;
        int r;

        r = read_wanted(d, message->body.size > 0 ? message->body : SLICE("{}"), &wanted, &error);
        if (r > 0) {
                verbs_answer_error(d, message->reply, ERROR_INVALID_MESSAGE, error.text);
                return;
        }
        code = r == 0 ? check(d, &wanted, &error) : ERROR_NONE;
        if (code != ERROR_NONE) {
                verbs_answer_error(d, message->reply, code, error.text);
                return;
        }

        creation = r == 0 ? creation_new(d, &wanted, message->reply) : NULL;
        if (!creation || add(d, creation) < 0) {
                free(creation);
                verbs_answer_error(d, message->reply, ERROR_INTERNAL, "the dispatcher is out of memory");
                return;
        }
        deadline_arm(&d->deadlines, &creation->deadline, now.usec + d->options.default_deadline_ms * USEC_PER_MSEC);
        if (!ask_next(d, creation))
                fail_unplaced(d, creation);
}

/* answers */

/* Has it certainly not created the agent, and may another one be able to? */
static bool is_for_another(const Creation *creation, const Answer *answer) {
        const ErrorCode code = error_code_from_name(answer->error_code);

        return !creation->is_named && !answer->ok &&
               (code == ERROR_RUNTIME_DRAINING || code == ERROR_LIMIT_EXCEEDED || code == ERROR_OVERLOADED);
}

/* "<runtime id>.<token>"; NULL: it is over, or waits for another runtime by now. */
static Creation *find_asked(const Dispatcher *d, Slice rest) {
        const char *dot = memrchr(rest.data, '.', rest.size);
        const Slice runtime_id = { rest.data, dot ? (size_t)(dot - rest.data) : 0 };
        const Slice token = dot ? slice_after(rest, runtime_id.size + 1) : SLICE_NONE;
        const Id *id = id_is_valid(token) ? id_index_find(&d->creations.by_token, token) : NULL;
        Creation *creation = id ? CONTAINER_OF(id, Creation, token) : NULL;

        return creation && id_equal(&creation->tried[creation->n_tries - 1], runtime_id) ? creation : NULL;
}

void creations_on_answer(Dispatcher *d, Slice rest, const InMessage *message, Instant now) {
        Creation *creation = find_asked(d, rest);
        WireError error = {};
        Answer answer = {};
        Runtime *runtime;

        if (!creation)
                return; /* late */
        runtime = holder(d, creation);
        if (message->no_responders) {
                let_go(d, creation);
                if (runtime)
                        membership_unheard(d, runtime, now);
                if (!ask_next(d, creation))
                        fail_unplaced(d, creation);
                return;
        }

        if (answer_decode(message->body, &answer, &d->arena, &error) != 0) {
                d->n.invalid++;
                diag_message_invalid(message->subject, error.text);
                return; /* the deadline ends it */
        }
        let_go(d, creation);
        if (is_for_another(creation, &answer) && ask_next(d, creation))
                return;
        if (answer.ok)
                answer_created(d, creation, &answer);
        else
                pass_on(d, creation, message);
}

void creations_on_due(Dispatcher *d, Deadline *deadline, Instant now) {
        Creation *creation = CONTAINER_OF(deadline, Creation, deadline);
        char text[192];

        (void)now;

        let_go(d, creation);
        (void)snprintf(text, sizeof(text), "runtime %s did not answer within %" PRIu64 " ms: it may have the agent",
                creation->tried[creation->n_tries - 1].text, d->options.default_deadline_ms);
        fail(d, creation, ERROR_TIMEOUT, text);
}

/* Ends all that wait for `runtime`, NULL: for any. */
static void fail_all(Dispatcher *d, const Runtime *runtime, ErrorCode code, const char *why) {
        Creation *creation, *next;
        char text[192];

        for (creation = LIST_FIRST(&d->creations.all); creation; creation = next) {
                next = LIST_NEXT(creation, in_all);
                if (runtime && holder(d, creation) != runtime)
                        continue;
                let_go(d, creation);
                (void)snprintf(text, sizeof(text), "%s: runtime %s may have the agent", why,
                        creation->tried[creation->n_tries - 1].text);
                fail(d, creation, code, text);
        }
}

void creations_runtime_lost(Dispatcher *d, Runtime *runtime, Instant now) {
        (void)now;

        if (runtime->n_creating > 0)
                fail_all(d, runtime, ERROR_RUNTIME_LOST, "the runtime was lost while it created the agent");
}

void creations_answer_all(Dispatcher *d, Instant now) {
        (void)now;
        fail_all(d, NULL, ERROR_TIMEOUT, "this dispatcher is stopping, and no answer came in time");
}

const char *creations_check(const Dispatcher *d) {
        uint64_t n_bytes = 0, n_unnamed = 0, n_creating = 0;
        const Creation *creation;
        size_t n = 0;

        LIST_FOREACH(creation, &d->creations.all, in_all) {
                n++;
                n_bytes += creation->n_bytes;
                n_unnamed += !creation->is_named;
                if (creation->deadline.usec == USEC_NEVER)
                        return "a creation has no deadline";
                if (!holder(d, creation))
                        return "a creation waits for a runtime that is gone";
        }
        for (const Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime))
                n_creating += runtime->n_creating;
        if (n != d->creations.by_token.n || n_bytes != d->creations.n_bytes || n_unnamed != d->creations.unnamed.n)
                return "the counts of creations differ from the creations";
        return n_creating == d->creations.by_token.n ? NULL : "runtimes count other creations than there are";
}
