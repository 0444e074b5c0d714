/* SPDX-License-Identifier: MIT */

/*
 * Dispatcher: joins registry, liveness, dispatch and verbs. Each message goes through one table by the kind of its
 * subject; each due deadline through another by its kind.
 *
 * The first thing every entry does is to notice whether this process itself has been away (paused, suspended, starved):
 * when it comes much later than the deadline it had asked to be woken for, nobody's silence before now means anything.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/state.h"

/* Later than this, and we were away. Scheduling noise on a loaded host stays well below; a window of 5 intervals of 100
 * ms is still twice of it. */
#define STALL_USEC (250 * USEC_PER_MSEC)

/* One look at the deadlines handles at most so many, so that messages and signals are not kept waiting. */
#define DUE_MAX 4096

/*
 * Settled means that the answers to the roll call are in: runtimes answer within a short spread, so after a first pause
 * we go on waiting only while registrations keep coming. An agent that is still unknown then is given
 * options.settle_usec all the same: a runtime far away answers later.
 */
#define SETTLE_FIRST_USEC (50 * USEC_PER_MSEC)
#define SETTLE_QUIET_USEC (25 * USEC_PER_MSEC)

LivenessRules dispatcher_liveness_rules(const Dispatcher *d) {
        return (LivenessRules){ .suspect_after = d->options.suspect_after,
                .dead_after = d->options.dead_after,
                .probe_timeout_usec = d->options.probe_timeout_usec };
}

void dispatcher_observe_from(Dispatcher *d, Instant now) {
        d->observing_usec = now.usec;
        for (Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime))
                runtime->probe_usec = runtime->failed_usec = 0; /* its answer may have been lost with the rest */
}

/* Messages that waited while we were away come before the overdue deadlines: a stall is one, not one for each of them.
 */
static void notice_stall(Dispatcher *d, Instant now) {
        uint64_t wanted = dispatcher_next_deadline(d), expected = MAX_OF(wanted, d->observing_usec);

        if (wanted == USEC_NEVER || now.usec < expected || now.usec - expected < STALL_USEC)
                return;
        d->n.stalls++;
        d->stalled_usec = now.usec;
        diag_stalled(now.usec - expected);
        dispatcher_observe_from(d, now);
}

/* messages */

static void on_trigger(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        dispatch_trigger(d, match->first, match->second, message, now);
}

static void on_verb(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        d->last_served = &d->verb_stats;
        verbs_on_request(d, match->first, message, now);
}

/* The same, of this dispatcher and no other: only it knows of its executions. */
static void on_own_verb(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        d->last_served = &d->control_stats;
        verbs_on_request(d, match->second, message, now);
}

static void on_report(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        dispatch_report(d, match->second, message, now);
}

static void on_registered(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        membership_on_registered(d, match->first, message, now);
}

static void on_updated(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        membership_on_updated(d, match->first, message, now);
}

static void on_heartbeat(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        membership_on_heartbeat(d, match->first, message, now);
}

static void on_deregistered(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now) {
        membership_on_deregistered(d, match->first, message, now);
}

/* In the order in which they are handled when several came with one read. */
enum {
        SUBSCRIPTION_DEFINITIONS,
        SUBSCRIPTION_VERBS,
        SUBSCRIPTION_TRIGGERS,
};

typedef struct Handler {
        void (*fn)(Dispatcher *d, const SubjectMatch *match, const InMessage *message, Instant now);
        bool limited; /* refused here when larger than limits.max_message_bytes; triggers do it themselves, with an
                         answer */
} Handler;

static const Handler handlers[_SUBJECT_KIND_MAX] = {
        [SUBJECT_TRIGGER] = { .fn = on_trigger },
        [SUBJECT_DISPATCHER_VERB] = { .fn = on_verb, .limited = true },
        [SUBJECT_DISPATCHER_CONTROL] = { .fn = on_own_verb, .limited = true },
        [SUBJECT_DISPATCHER_REPORT] = { .fn = on_report, .limited = true },
        [SUBJECT_RUNTIME_REGISTERED] = { .fn = on_registered, .limited = true },
        [SUBJECT_RUNTIME_UPDATED] = { .fn = on_updated, .limited = true },
        [SUBJECT_RUNTIME_HEARTBEAT] = { .fn = on_heartbeat, .limited = true },
        [SUBJECT_RUNTIME_DEREGISTERED] = { .fn = on_deregistered, .limited = true },
};

/* "<inbox>.<kind>.<token>"; of what a runtime answers to, its id is the first token: permissions go by subjects */
static void on_inbox(Dispatcher *d, Slice rest, const InMessage *message, Instant now) {
        Slice token;

        if (rest.size <= 2)
                return;
        token = slice_after(rest, 2);
        if (slice_starts_with(rest, SLICE("r.")))
                dispatch_relay_answer(d, token, message, now);
        else if (slice_starts_with(rest, SLICE("p.")))
                membership_on_probe_answer(d, token, message, now);
        else if (slice_starts_with(rest, SLICE("k.")))
                membership_on_control_answer(d, token, message, now);
        else if (slice_starts_with(rest, SLICE("e.")))
                membership_on_echo(d, token);
        else if (slice_starts_with(rest, SLICE("c.")))
                creations_on_answer(d, token, message, now);
        else if (slice_starts_with(rest, SLICE("j.")))
                jetstream_on_answer(d->jetstream, token, message, now);
}

/* Whoever asks may not make us publish commands: an answer goes where a result may go, or nowhere. */
static bool has_safe_reply(const Dispatcher *d, const InMessage *message) {
        return message->reply.size == 0 || subject_may_receive_result(d->prefix, message->reply);
}

/* A wildcard lets ids out of grammar through to us; whoever asked is told. */
static void refuse_subject(Dispatcher *d, const InMessage *message, Instant now) {
        static const char text[] = "the subject holds an id out of grammar: ids are 1-64 of A-Z a-z 0-9 _ -";

        d->n.invalid++;
        if (subject_matches(slice_of(d->subscriptions[SUBSCRIPTION_TRIGGERS].subject), message->subject)) {
                dispatch_refuse_subject(d, message, text, now);
                return;
        }
        diag_message_invalid(message->subject, text);
        if (!message->no_responders)
                verbs_answer_error(d, message->reply, ERROR_INVALID_MESSAGE, text);
}

void dispatcher_on_message(Dispatcher *d, const InMessage *received, Instant now) {
        const InMessage *message = received;
        InMessage safe;
        SubjectMatch match;
        const Handler *handler;

        if (!has_safe_reply(d, received)) {
                diag_result_forbidden(received->reply);
                safe = *received;
                safe.reply = SLICE_NONE;
                message = &safe;
        }
        notice_stall(d, now);
        arena_reset(&d->arena);
        if (message->subject.size > d->inbox.size && slice_starts_with(message->subject, d->inbox) &&
                message->subject.data[d->inbox.size] == '.') {
                on_inbox(d, slice_after(message->subject, d->inbox.size + 1), message, now);
                return;
        }

        if (discovery_is_request(message->subject)) {
                service_on_request(d, message);
                return;
        }

        match = subject_parse(d->prefix, message->subject);
        handler = &handlers[match.kind];
        if (!handler->fn) {
                refuse_subject(d, message, now);
                return;
        }
        if (handler->limited && message->body.size > d->options.max_message_bytes) {
                WireError error;

                (void)wire_error(&error, "the body has %zu bytes, the limit of limits.max_message_bytes is %" PRIu64,
                        message->body.size, d->options.max_message_bytes);
                d->n.invalid++;
                diag_message_invalid(message->subject, error.text);
                verbs_answer_error(d, message->reply, ERROR_INVALID_MESSAGE, error.text);
                return;
        }
        handler->fn(d, &match, message, now);
}

void dispatcher_on_turn_end(Dispatcher *d, Instant now) {
        if (d->pump_wanted)
                dispatch_pump(d, now);
        if (d->draining && !d->drained && execution_table_n_waiting(d->executions) == 0 &&
                execution_table_n_in_flight(d->executions) == 0 && d->creations.by_token.n == 0)
                d->drained = true;
        dispatcher_sample(d, now);
}

/* the link */

void dispatcher_on_link_up(Dispatcher *d, uint64_t max_payload, Instant now) {
        d->link_up = true;
        d->max_payload = max_payload;
        d->link_up_usec = now.usec;
        dispatcher_observe_from(d, now);
        d->settled = false;
        d->patience_usec = now.usec + d->options.settle_usec;
        d->n_registered_seen = d->n.registrations;
        deadline_arm(&d->deadlines, &d->settle, MIN_OF(now.usec + SETTLE_FIRST_USEC, d->patience_usec));
        membership_call_roll(d, now);
        jetstream_on_link_up(d->jetstream, max_payload, now);
        for (Runtime *runtime = registry_first(d->registry), *following; runtime; runtime = following) {
                following = registry_next(runtime);
                membership_look_at(d, runtime, now);
        }
        d->pump_wanted = true;
}

void dispatcher_on_link_down(Dispatcher *d, Instant now) {
        (void)now;

        d->link_up = false;
        deadline_disarm(&d->deadlines, &d->settle);
        jetstream_on_link_down(d->jetstream);
}

/* time */

static void on_agent_due(Dispatcher *d, Deadline *deadline, Instant now) {
        (void)now;
        registry_forget_agent(d->registry, CONTAINER_OF(deadline, Agent, deadline));
}

static void on_runtime_due(Dispatcher *d, Deadline *deadline, Instant now) {
        membership_look_at(d, CONTAINER_OF(deadline, Runtime, deadline), now);
}

static void on_execution_due(Dispatcher *d, Deadline *deadline, Instant now) {
        dispatch_execution_due(d, CONTAINER_OF(deadline, Execution, deadline), now);
}

static void on_settle_due(Dispatcher *d, Deadline *deadline, Instant now) {
        if (d->n.registrations != d->n_registered_seen && now.usec < d->patience_usec) {
                d->n_registered_seen = d->n.registrations;
                deadline_arm(&d->deadlines, deadline, MIN_OF(now.usec + SETTLE_QUIET_USEC, d->patience_usec));
                return;
        }
        d->settled = true;
        d->pump_wanted = true;
        diag_settled(registry_n_runtimes(d->registry), registry_n_agents(d->registry));
        jetstream_on_settled(d->jetstream, now);
}

static void on_jetstream_due(Dispatcher *d, Deadline *deadline, Instant now) {
        (void)deadline;
        jetstream_on_time(d->jetstream, now);
}

static void on_records_due(Dispatcher *d, Deadline *deadline, Instant now) {
        (void)deadline;
        jetstream_on_records_due(d->jetstream, now);
}

static void on_drain_due(Dispatcher *d, Deadline *deadline, Instant now) {
        (void)deadline;

        dispatch_answer_all_waiting(d, now);
        creations_answer_all(d, now);
        d->drained = true;
}

static void (*const due[])(Dispatcher *d, Deadline *deadline, Instant now) = {
        [DEADLINE_RUNTIME] = on_runtime_due,
        [DEADLINE_AGENT] = on_agent_due,
        [DEADLINE_EXECUTION] = on_execution_due,
        [DEADLINE_CREATION] = creations_on_due,
        [DEADLINE_SETTLE] = on_settle_due,
        [DEADLINE_JETSTREAM] = on_jetstream_due,
        [DEADLINE_RECORDS] = on_records_due,
        [DEADLINE_DRAIN] = on_drain_due,
};

uint64_t dispatcher_next_deadline(const Dispatcher *d) {
        return deadline_queue_next(&d->deadlines);
}

void dispatcher_on_time(Dispatcher *d, Instant now) {
        Deadline *deadline;

        notice_stall(d, now);
        for (unsigned n = 0; n < DUE_MAX && (deadline = deadline_queue_pop(&d->deadlines, now.usec)); n++)
                due[deadline->kind](d, deadline, now);
}

void dispatcher_drain(Dispatcher *d, uint64_t deadline_usec, Instant now) {
        if (d->draining)
                return;
        d->draining = true;
        deadline_arm(&d->deadlines, &d->drain, deadline_usec);
        dispatcher_on_turn_end(d, now);
}

bool dispatcher_is_drained(const Dispatcher *d) {
        return d->drained;
}

/* construction */

static int make_text(char **ret, Slice prefix, const char *rest) {
        return asprintf(ret, "%.*s%s", SLICE_ARG(prefix), rest) < 0 ? -ENOMEM : 0;
}

static int make_subject(char **ret, const Dispatcher *d, SubjectKind kind, Slice second) {
        _cleanup_(buffer_done) Buffer subject = {};

        subject_build(&subject, d->prefix, kind, d->id, second);
        *ret = subject.failed ? NULL : slice_dup(buffer_slice(&subject));
        return *ret ? 0 : -ENOMEM;
}

/*
 * Reports have a subject of their own, not one below the inbox: they are the hot ones among the answers. What one read
 * brings is handled in this order: whoever was told by a runtime that an agent is there, and triggers it, finds that we
 * know.
 */
static int make_subscriptions(Dispatcher *d) {
        static const struct {
                const char *rest, *queue;
        } wanted[] = {
                [SUBSCRIPTION_DEFINITIONS] = { ".events.agent.definition.*.*", NULL },
                [SUBSCRIPTION_VERBS] = { ".commands.agent_dispatcher.*", QUEUE_GROUP },
                [SUBSCRIPTION_TRIGGERS] = { ".commands.agent.*.trigger.*", QUEUE_GROUP },
        };
        size_t n = ELEMENTSOF(wanted);
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++) {
                r = make_text(&d->texts[i], d->prefix, wanted[i].rest);
                d->subscriptions[i] = (NatsLinkSubscription){ .subject = d->texts[i], .queue = wanted[i].queue };
        }
        if (r == 0)
                r = make_text(&d->texts[n], d->inbox, ".>");
        if (r == 0)
                r = make_subject(&d->texts[n + 1], d, SUBJECT_DISPATCHER_CONTROL, SLICE("*"));
        if (r == 0)
                r = make_subject(&d->texts[n + 2], d, SUBJECT_DISPATCHER_REPORT, SLICE("*"));
        for (unsigned i = 0; r == 0 && i < DISCOVERY_SUBJECTS; i++)
                r = service_make_subject(d, i, &d->texts[n + 3 + i]);
        for (size_t i = n; i < ELEMENTSOF(d->texts); i++) {
                d->subscriptions[i] = (NatsLinkSubscription){ .subject = d->texts[i] };
                d->subscriptions[i].ordered = i >= n + 3; /* rare: no turn looks after them */
        }
        return r;
}

static int make_parts(Dispatcher *d) {
        const RegistryOptions registry = {
                .max_runtimes = d->options.max_runtimes,
                .max_agents = d->options.max_agents,
                .forget_agent_usec = d->options.rehost_wait_usec * 2,
                .subject_prefix = d->options.subject_prefix,
                .deadlines = &d->deadlines,
                .runtime_deadline_kind = DEADLINE_RUNTIME,
                .agent_deadline_kind = DEADLINE_AGENT,
        };
        JetStreamOptions jetstream = {
                .wanted = d->options.jetstream,
                .prefix = d->prefix,
                .inbox = d->inbox,
                .events_max_age_usec = d->options.events_max_age_usec,
                .outbox = d->outbox,
                .deadlines = &d->deadlines,
                .deadline = &d->jetstream_deadline,
                .records = &d->records,
        };
        int r;

        r = registry_new(&registry, &d->registry);
        if (r < 0)
                return r;
        r = execution_table_new(
                &d->deadlines, DEADLINE_EXECUTION, d->options.history_max, d->options.random_seed, &d->executions);
        if (r < 0)
                return r;
        jetstream.registry = d->registry;
        return jetstream_new(&jetstream, &d->jetstream);
}

int dispatcher_new(const DispatcherOptions *options, Outbox *outbox, Instant now, Dispatcher **ret) {
        _cleanup_(dispatcher_freep) Dispatcher *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->options = *options;
        d->outbox = outbox;
        d->id = slice_of(options->id);
        d->prefix = slice_of(options->subject_prefix);
        d->inbox = slice_of(options->inbox_prefix);
        d->max_payload = MESSAGE_BYTES_MAX_DEFAULT;
        d->observing_usec = now.usec;
        d->started_usec = d->rate_start_usec = now.usec;
        dispatcher_sample(d, now);
        d->started_real_usec = now.real_usec;
        d->last_served = &d->verb_stats;
        rng_seed(&d->rng, options->random_seed);
        deadline_queue_init(&d->deadlines);
        deadline_init(&d->settle, DEADLINE_SETTLE);
        deadline_init(&d->drain, DEADLINE_DRAIN);
        deadline_init(&d->jetstream_deadline, DEADLINE_JETSTREAM);
        deadline_init(&d->records, DEADLINE_RECORDS);

        creations_init(&d->creations, &d->rng);

        r = make_subscriptions(d);
        if (r == 0)
                r = make_parts(d);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(d);
        return 0;
}

Dispatcher *dispatcher_free(Dispatcher *d) {
        if (!d)
                return NULL;
        d->jetstream = jetstream_free(d->jetstream);
        d->executions = execution_table_free(d->executions);
        d->registry = registry_free(d->registry);
        creations_done(&d->creations); /* their deadlines are in one tree with those before */
        buffer_done(&d->scratch);
        buffer_done(&d->verb_result);
        arena_clear(&d->arena);
        for (size_t i = 0; i < ELEMENTSOF(d->texts); i++)
                free(d->texts[i]);
        free(d);
        return NULL;
}

void dispatcher_set_options(Dispatcher *d, const DispatcherOptions *options) {
        DispatcherOptions old = d->options;

        d->options = *options;
        d->options.id = old.id;
        d->options.subject_prefix = old.subject_prefix;
        d->options.inbox_prefix = old.inbox_prefix;
        d->options.hostname = old.hostname;
        d->options.version = old.version;
        d->options.http_address = old.http_address;
        d->options.pid = old.pid;
        d->options.tracer = old.tracer;
        d->options.reconnect_grace_usec = old.reconnect_grace_usec;
        d->options.history_max = old.history_max;
        d->options.jetstream = old.jetstream;
        registry_set_limits(d->registry, options->max_runtimes, options->max_agents);
}

const NatsLinkSubscription *dispatcher_subscriptions(const Dispatcher *d, size_t *ret_n) {
        *ret_n = ELEMENTSOF(d->subscriptions);
        return d->subscriptions;
}

/* what it knows */

bool dispatcher_is_settled(const Dispatcher *d) {
        return d->settled;
}

size_t dispatcher_n_runtimes(const Dispatcher *d) {
        return registry_n_runtimes(d->registry);
}

size_t dispatcher_n_runtimes_live(const Dispatcher *d) {
        return registry_n_in_state(d->registry, RUNTIME_LIVE);
}

size_t dispatcher_n_agents(const Dispatcher *d) {
        return registry_n_agents(d->registry);
}

size_t dispatcher_n_waiting(const Dispatcher *d) {
        return execution_table_n_waiting(d->executions);
}

size_t dispatcher_n_in_flight(const Dispatcher *d) {
        return execution_table_n_in_flight(d->executions);
}

const char *dispatcher_runtime_state(const Dispatcher *d, const char *runtime_id, uint64_t *ret_epoch) {
        const Runtime *runtime = registry_find(d->registry, slice_of(runtime_id));

        if (!runtime)
                return NULL;
        *ret_epoch = runtime->epoch;
        return runtime_state_name(runtime->state);
}

const char *dispatcher_check(const Dispatcher *d, Instant now) {
        const char *broken = registry_check(d->registry);

        (void)now; /* what is overdue may be so because the simulator did not let us run */

        if (!broken)
                broken = execution_table_check(d->executions);
        if (!broken)
                broken = creations_check(d);
        if (broken)
                return broken;
        for (const Runtime *runtime = registry_first(d->registry); runtime; runtime = registry_next(runtime)) {
                const Execution *execution;
                size_t n = 0;

                LIST_FOREACH(execution, &runtime->executions, in_runtime)
                n++;
                if (n != runtime->own_in_flight)
                        return "a runtime's count of executions differs from its executions";
        }
        if (d->link_up && deadline_queue_next(&d->deadlines) == USEC_NEVER && registry_n_runtimes(d->registry) > 0)
                return "runtimes are registered and nobody will look at them";
        return NULL;
}
