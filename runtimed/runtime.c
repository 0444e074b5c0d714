/* SPDX-License-Identifier: MIT */

/*
 * The front of the core: what the edge and the simulator call. Every entry that brings a `now` first lets the session
 * look at it (session.c, "Doubt"): after a stall the runtime must know that it stalled before it reads the first
 * message.
 *
 * Reports leave at most report_delay_usec after the first news, at the end of a turn or from runtime_on_time(),
 * whichever comes first.
 *
 * Stopping is a state of its own beside draining: draining refuses new work and can be taken back; stopping drains and,
 * once nothing is in flight or the deadline has come, says goodbye. What was never begun is handed back to its
 * dispatcher, what is begun is answered as cut short, what could not be said (no connection) is withheld.
 */

#include <stdio.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define MAX_PAYLOAD_DEFAULT (1024 * 1024) /* until the server has said */
#define ANSWERS_KEPT_MAX 4096             /* of capabilities, by their idempotency keys */
#define ANSWERS_KEPT_BYTES_MAX (8 * 1024 * 1024)
#define ANSWERS_KEPT_USEC (120 * USEC_PER_SEC)
#define HOOKS_USEC (5 * USEC_PER_SEC) /* beyond the stop's deadline: for checkpoints and stop hooks */
#define HEADER_ROOM 1024  /* NATS counts headers into the payload: error headers (at most 300 bytes) and the trace's */
#define FIRST_DISCOVERY 5 /* of our subscriptions */

/* construction */

static char *format_subject(const char *format, const char *a, const char *b) {
        char *text = NULL;

        return asprintf(&text, format, a, b) < 0 ? NULL : text;
}

static int make_subscriptions(Runtime *runtime) {
        const char *prefix = runtime->options.subject_prefix, *id = runtime->options.id;

        runtime->texts[0] = format_subject("%s.runtime.%s.trigger", prefix, id);
        runtime->texts[1] = format_subject("%s.runtime.%s.control.>", prefix, id);
        runtime->texts[2] = format_subject("%s.commands.agent_runtime.announce%s", prefix, "");
        runtime->texts[3] = format_subject("%s.events.agent.definition.%s.deregistered", prefix, id);
        runtime->texts[4] = format_subject("%s.>%s", runtime->options.inbox_prefix, "");

        for (unsigned i = 0; i < DISCOVERY_SUBJECTS; i++)
                (void)core_make_service_subject(runtime, i, &runtime->texts[FIRST_DISCOVERY + i]);

        for (size_t i = 0; i < ELEMENTSOF(runtime->texts); i++) {
                if (!runtime->texts[i])
                        return -ENOMEM;
                runtime->subscriptions[i] = (NatsLinkSubscription){ .subject = runtime->texts[i] };
                runtime->subscriptions[i].ordered = i >= FIRST_DISCOVERY; /* rare: no turn looks after them */
        }

        /* In one order with application messages: what was published before a request was is delivered before it is
         * carried out. */
        runtime->subscriptions[1].ordered = true;
        return 0;
}

static TopicsLimits topics_limits(const RuntimeOptions *options) {
        return (TopicsLimits){
                .per_agent_max = options->max_subscriptions_per_agent,
                .total_max = options->max_subscriptions,
        };
}

static AsksLimits asks_limits(const RuntimeOptions *options) {
        return (AsksLimits){
                .per_agent_max = options->max_asks_per_agent,
                .total_max = options->max_asks,
                .bytes_max = options->max_in_flight_bytes ? options->max_in_flight_bytes : UINT64_MAX,
        };
}

static int make_conversations(Runtime *runtime) {
        const TopicsLimits topics = topics_limits(&runtime->options);
        const AsksLimits asks = asks_limits(&runtime->options);
        const InvocationsLimits invocations = {
                .answers_max = ANSWERS_KEPT_MAX,
                .bytes_max = ANSWERS_KEPT_BYTES_MAX,
                .keep_usec = ANSWERS_KEPT_USEC,
        };

        asks_init(&runtime->asks, &runtime->deadlines, DEADLINE_ASK, &asks);
        invocations_init(&runtime->invocations, &invocations, rng_next(&runtime->rng));
        return topics_new(runtime->outbox, &topics, rng_next(&runtime->rng), &runtime->topics);
}

int runtime_new(const RuntimeOptions *options, Outbox *outbox, Instant now, Runtime **ret) {
        _cleanup_(runtime_freep) Runtime *runtime = calloc(1, sizeof(*runtime));
        int r;

        if (!runtime)
                return -ENOMEM;

        assert(id_is_valid(slice_of(options->id)));

        runtime->options = *options;
        if (!runtime->options.behaviors)
                runtime->options.behaviors = behaviors_builtin;
        runtime->id = slice_of(options->id);
        runtime->prefix = slice_of(options->subject_prefix);
        runtime->outbox = outbox;
        runtime->now = now;
        runtime->started_usec = now.usec;
        runtime->started_real_usec = now.real_usec;
        runtime->max_payload = MAX_PAYLOAD_DEFAULT;
        runtime->stop_usec = runtime->report_usec = runtime->parts.next_usec = USEC_NEVER;
        RB_INIT(&runtime->agents_by_name);
        deadline_queue_init(&runtime->deadlines);
        outbox_init(&runtime->answers);
        rng_seed(&runtime->rng, options->random_seed);
        id_index_init(&runtime->agents, rng_next(&runtime->rng));
        session_init(&runtime->session, runtime->id, options->epoch, options->heartbeat_interval_ms * USEC_PER_MSEC,
                &runtime->rng);
        runtime->reporters.outbox = outbox;
        runtime->reporters.runtime_id = runtime->id;
        runtime->reporters.epoch = options->epoch;
        runtime->reporters.bytes_max = core_payload_max(runtime);

        r = memory_new(options->memory_executions, options->memory_bytes, &runtime->memory);
        if (r == 0)
                r = memory_new(
                        MAX_OF(options->memory_executions / 4, UINT64_C(16)), /* max_bytes= */ 1, &runtime->refusals);
        if (r == 0)
                r = make_subscriptions(runtime);
        if (r == 0)
                r = make_conversations(runtime);
        if (r < 0)
                return r;

        core_sample(runtime, now);
        *ret = TAKE_PTR(runtime);
        return 0;
}

Runtime *runtime_free(Runtime *runtime) {
        if (!runtime)
                return NULL;

        runtime->options.tracer = NULL; /* what is freed here was not done */
        core_free_mail(runtime);
        core_free_agents(runtime);
        invocations_done(&runtime->invocations);
        asks_done(&runtime->asks);
        runtime->topics = topics_free(runtime->topics);
        letters_done(&runtime->letters);
        outbox_done(&runtime->answers);
        executions_done(&runtime->executions);
        reporters_done(&runtime->reporters);
        (void)memory_free(runtime->refusals);
        (void)memory_free(runtime->memory);
        for (size_t i = 0; i < ELEMENTSOF(runtime->texts); i++)
                free(runtime->texts[i]);
        core_drop_parts(runtime);
        free(runtime->changed);
        buffer_done(&runtime->names);
        buffer_done(&runtime->check);
        buffer_done(&runtime->scratch);
        arena_clear(&runtime->arena);
        free(runtime);
        return NULL;
}

const NatsLinkSubscription *runtime_subscriptions(const Runtime *runtime, size_t *ret_n) {
        *ret_n = ELEMENTSOF(runtime->subscriptions);
        return runtime->subscriptions;
}

void runtime_set_options(Runtime *runtime, const RuntimeOptions *options) {
        const bool is_news = runtime->options.max_in_flight != options->max_in_flight ||
                             runtime->options.max_agents != options->max_agents ||
                             runtime->options.heartbeat_interval_ms != options->heartbeat_interval_ms;
        TopicsLimits topics;
        AsksLimits asks;

        runtime->options.max_in_flight = options->max_in_flight;
        runtime->options.max_agents = options->max_agents;
        runtime->options.max_message_bytes = options->max_message_bytes;
        runtime->options.max_result_bytes = options->max_result_bytes;
        runtime->options.max_in_flight_bytes = options->max_in_flight_bytes;
        runtime->options.report_delay_usec = options->report_delay_usec;
        runtime->options.events = options->events;
        runtime->options.allow_forbidden_topics = options->allow_forbidden_topics;
        runtime->options.max_mail_bytes = options->max_mail_bytes;
        runtime->options.max_subscriptions = options->max_subscriptions;
        runtime->options.max_subscriptions_per_agent = options->max_subscriptions_per_agent;
        runtime->options.max_asks = options->max_asks;
        runtime->options.max_asks_per_agent = options->max_asks_per_agent;
        runtime->options.max_timers_per_agent = options->max_timers_per_agent;
        runtime->options.realtime_max_age_usec = options->realtime_max_age_usec;
        runtime->options.metrics_agents_max = options->metrics_agents_max;
        topics = topics_limits(&runtime->options);
        topics_set_limits(runtime->topics, &topics);
        asks = asks_limits(&runtime->options);
        asks_set_limits(&runtime->asks, &asks);
        if (runtime->options.heartbeat_interval_ms != options->heartbeat_interval_ms) {
                runtime->options.heartbeat_interval_ms = options->heartbeat_interval_ms;
                session_set_own_interval(&runtime->session, options->heartbeat_interval_ms * USEC_PER_MSEC);
        }

        if (is_news) /* dispatchers were told otherwise */
                core_apply(runtime,
                        session_on_announce(&runtime->session, &(Announce){ .register_again = true }, runtime->now),
                        runtime->now);
}

/* for the other files of the core */

RuntimeLoad core_load(const Runtime *runtime) {
        const uint64_t n = runtime->executions.n, max = runtime->options.max_in_flight;

        return (RuntimeLoad){
                .in_flight = n,
                .queued = runtime->n_queued,
                .agents = core_n_agents(runtime),
                .free_slots = n < max ? max - n : 0,
        };
}

uint64_t core_payload_max(const Runtime *runtime) {
        const uint64_t most = MIN_OF(runtime->max_payload, runtime->options.max_message_bytes);

        return most > 2 * HEADER_ROOM ? most - HEADER_ROOM : HEADER_ROOM;
}

static void flush_reports(Runtime *runtime, Instant now) {
        const RuntimeLoad load = core_load(runtime);

        runtime->report_usec = USEC_NEVER;
        if (!reporters_have_news(&runtime->reporters))
                return;

        if (runtime->is_up)
                reporters_flush(&runtime->reporters, &load, now);
        else
                reporters_discard(&runtime->reporters); /* dispatchers ask again for what they miss */
}

void core_arm_reports(Runtime *runtime, Instant now) {
        if (runtime->reporters.is_due_now)
                flush_reports(runtime, now);
        else if (runtime->report_usec == USEC_NEVER && reporters_have_news(&runtime->reporters))
                runtime->report_usec = now.usec + runtime->options.report_delay_usec;
}

void core_set_draining(Runtime *runtime, bool is_draining, Instant now) {
        if (runtime->is_draining == is_draining)
                return;

        runtime->is_draining = is_draining;
        if (!runtime->is_stopping) /* that has a line of its own */
                diag_draining(runtime->id, is_draining, runtime->executions.n);
        core_apply(runtime, session_speak(&runtime->session, now), now);
}

/* Everything that dispatchers asked for under the old epoch: they have answered it or placed it again. */
static void supersede(Runtime *runtime, Instant now) {
        Execution *execution, *next;
        size_t n = 0;

        /* What was answered under the old epoch is said before dispatchers hear of the new one, or they would place it
         * again. */
        flush_reports(runtime, now);
        for (execution = runtime->executions.first; execution; execution = next) {
                next = execution->next;
                if (!execution_is_relayed(execution))
                        continue;
                core_withhold(runtime, execution, "its epoch is over");
                n++;
        }

        reporters_discard(&runtime->reporters);
        if (n > 0)
                diag_superseded(runtime->id, n);
}

void core_apply(Runtime *runtime, unsigned todo, Instant now) {
        if (todo & SESSION_DO_SUPERSEDE) {
                supersede(runtime, now);
                runtime->counters.epochs++;
        }
        if (runtime->reporters.epoch != runtime->session.epoch) {
                reporters_discard(&runtime->reporters);
                runtime->reporters.epoch = runtime->session.epoch;
        }

        if (todo & SESSION_DO_REGISTER)
                core_publish_registration(runtime, now);
        if (todo & SESSION_DO_HEARTBEAT)
                core_publish_heartbeat(runtime, now);
        if (todo & SESSION_DO_SETTLE)
                core_release_held(runtime, now);
        if (todo & SESSION_DO_LEAVE) {
                runtime->was_replaced = true;
                core_set_draining(runtime, /* is_draining= */ true, now);
        }
}

/* stopping */

/* Has the worker begun it? Called off first, so the answer can't change any more (run.c). */
static bool was_begun(Execution *execution) {
        if (execution->phase != PHASE_OUT)
                return execution->phase != PHASE_QUEUED || execution->mail.is_resumed;

        atomic_store(&execution->mail.called_off, true);
        if (!execution->mail.agent->run) /* with a child process */
                return true;
        return atomic_load(&execution->mail.agent->run->n_begun) > execution->out_index;
}

static void cut_short(Runtime *runtime, Instant now) {
        Execution *execution, *next;

        for (execution = runtime->executions.first; execution; execution = next) {
                next = execution->next;
                if (execution->phase == PHASE_ABANDONED)
                        continue;

                if (core_must_hold(runtime, execution)) {
                        core_withhold(runtime, execution, "the runtime stopped while no answer could go out");
                } else if (!was_begun(execution) && execution_is_relayed(execution)) {
                        core_hand_back(runtime, execution, now);
                } else {
                        runtime->counters.cut_short++;
                        core_fail(runtime, execution, ERROR_RUNTIME_DRAINING,
                                "the runtime stopped before the agent had finished", now);
                }
        }
}

static void say_goodbye(Runtime *runtime, Instant now) {
        flush_reports(runtime, now);
        core_drop_parts(runtime);
        if (session_leave(&runtime->session))
                core_publish_deregistration(runtime, now);
        runtime->is_stopped = true;
}

/* Nothing is held any more, or what is was cut short: last checkpoints and stop hooks. */
static void stop_agents(Runtime *runtime, bool discards, Instant now) {
        Agent *agent, *next;

        for (agent = core_agent_after(runtime, SLICE_NONE); agent; agent = next) {
                next = core_next_agent(agent);
                if (agent_next_state(agent->state, AGENT_EV_STOP) != AGENT_INVALID)
                        (void)core_stop_agent(runtime, agent, discards, now);
                else if (discards && agent->state == AGENT_STOPPING)
                        core_discard_mail(runtime, agent, ERROR_RUNTIME_DRAINING, now);
        }
        core_settle_agents(runtime, now);
}

/* An agent that is deleted is gone, and that is answered, when the store has forgotten it. */
static bool is_storing(const Runtime *runtime) {
        return runtime->store_first || runtime->n_stored_out > 0;
}

/*
 * Three phases: what is held is worked off until the deadline; then, or when nothing is held, agents are stopped; when
 * they are, and the store owes nothing (or HOOKS_USEC beyond the deadline: what hangs must not keep us), we say
 * goodbye.
 */
static void check_stop(Runtime *runtime, Instant now) {
        const bool is_late = now.usec >= runtime->stop_usec;

        if (!runtime->is_stopping || runtime->is_stopped)
                return;

        if (is_late && !runtime->was_cut_short) {
                runtime->was_cut_short = true;
                cut_short(runtime, now);
        }
        if (!runtime->is_stopping_agents) {
                if (!is_late && (runtime->executions.n > runtime->n_abandoned || core_holds_mail(runtime)))
                        return;
                runtime->is_stopping_agents = true;
                stop_agents(runtime, /* discards= */ is_late, now);
        } else if (is_late && !runtime->were_discarded) {
                runtime->were_discarded = true;
                stop_agents(runtime, /* discards= */ true, now);
        }

        if (runtime->executions.n > runtime->n_abandoned)
                return;
        if ((runtime->n_alive > 0 || is_storing(runtime)) && now.usec < runtime->stop_usec + HOOKS_USEC)
                return;
        if (runtime->n_alive > 0) {
                diag_hooks_missed(runtime->id, runtime->n_alive);
                core_give_up_waiters(runtime);
        }
        say_goodbye(runtime, now);
}

void runtime_stop(Runtime *runtime, uint64_t deadline_usec, Instant now) {
        runtime->now = now;
        runtime->stop_usec = MIN_OF(runtime->stop_usec, deadline_usec);
        if (!runtime->is_stopping) {
                runtime->is_stopping = true;
                core_set_draining(runtime, /* is_draining= */ true, now);
                core_leave_topics(runtime);
        }
        check_stop(runtime, now);
}

/* what happened */

static void notice(Runtime *runtime, Instant now) {
        runtime->now = now;
        core_apply(runtime, session_notice(&runtime->session, now), now);
}

void runtime_on_link_up(Runtime *runtime, uint64_t max_payload, Instant now) {
        runtime->now = now;
        runtime->is_up = true;
        runtime->has_no_dispatcher = false;
        if (max_payload > 0)
                runtime->max_payload = max_payload;
        runtime->reporters.bytes_max = core_payload_max(runtime);
        if (runtime->is_stopped)
                return;

        core_apply(runtime, session_on_up(&runtime->session, now), now);
        core_release_held(runtime, now);
        core_arm_reports(runtime, now);
        check_stop(runtime, now);
}

void runtime_set_congested(Runtime *runtime, bool is_congested, Instant now) {
        if (runtime->is_congested == is_congested)
                return;

        runtime->is_congested = is_congested;
        diag_congested(runtime->id, is_congested);
        core_release_held(runtime, now);
        core_arm_reports(runtime, now);
}

void runtime_on_link_down(Runtime *runtime, Instant now) {
        runtime->now = now;
        runtime->is_up = false;
        reporters_discard(&runtime->reporters);
        runtime->report_usec = USEC_NEVER;
        topics_forget_refusals(runtime->topics);
        core_drop_parts(runtime);
        core_apply(runtime, session_on_down(&runtime->session, now), now);
}

static void on_trigger(Runtime *runtime, const InMessage *message, const SubjectMatch *match, Instant now) {
        (void)match;
        core_on_trigger(runtime, message, now);
}

static void on_control(Runtime *runtime, const InMessage *message, const SubjectMatch *match, Instant now) {
        core_on_request(runtime, message, match->second, now);
}

static void on_announce(Runtime *runtime, const InMessage *message, const SubjectMatch *match, Instant now) {
        (void)match;
        core_on_announce(runtime, message, now);
}

static void on_deregistered(Runtime *runtime, const InMessage *message, const SubjectMatch *match, Instant now) {
        (void)match;
        core_on_deregistered(runtime, message, now);
}

/* `for_id`: the first id of the subject is the runtime that it is for. */
static const struct {
        bool for_id;
        void (*handle)(Runtime *runtime, const InMessage *message, const SubjectMatch *match, Instant now);
} handlers[_SUBJECT_KIND_MAX] = {
        [SUBJECT_RUNTIME_TRIGGER] = { .for_id = true, .handle = on_trigger },
        [SUBJECT_RUNTIME_CONTROL] = { .for_id = true, .handle = on_control },
        [SUBJECT_ANNOUNCE] = { .for_id = false, .handle = on_announce },
        [SUBJECT_RUNTIME_DEREGISTERED] = { .for_id = true, .handle = on_deregistered },
};

static void on_inbox(Runtime *runtime, const InMessage *message, Instant now) {
        const Slice rest = slice_after(message->subject, strlen(runtime->options.inbox_prefix));

        if (slice_starts_with(rest, SLICE(ASK_TOKEN)))
                core_on_ask_answer(runtime, message, slice_after(rest, sizeof(ASK_TOKEN) - 1), now);
        else if (slice_starts_with(rest, SLICE(INVOKE_TOKEN)))
                core_on_call_answer(runtime, message, slice_after(rest, sizeof(INVOKE_TOKEN) - 1), now);
        else
                core_on_registration_answer(runtime, message, now);
}

static void handle(Runtime *runtime, const InMessage *message, Instant now) {
        SubjectMatch match;

        if (message->tag > 0) {
                core_on_letter(runtime, message, now);
                return;
        }
        if (slice_starts_with(message->subject, slice_of(runtime->options.inbox_prefix))) {
                on_inbox(runtime, message, now);
                return;
        }
        if (discovery_is_request(message->subject)) {
                core_on_discovery(runtime, message);
                return;
        }

        match = subject_parse(runtime->prefix, message->subject);
        if (!handlers[match.kind].handle || (handlers[match.kind].for_id && !slice_equal(match.first, runtime->id))) {
                runtime->counters.invalid++;
                diag_message_invalid(message->subject, "there is no such subject");
                return;
        }
        handlers[match.kind].handle(runtime, message, &match, now);
}

void runtime_on_message(Runtime *runtime, const InMessage *message, Instant now) {
        if (runtime->is_stopped)
                return;

        notice(runtime, now);
        handle(runtime, message, now);
        arena_clear(&runtime->arena);
        core_arm_reports(runtime, now);
}

static void publish_answers(Runtime *runtime) {
        for (size_t i = 0; i < outbox_size(&runtime->answers); i++) {
                const OutMessage message = outbox_get(&runtime->answers, i);

                outbox_put(runtime->outbox, &message);
        }
        outbox_clear(&runtime->answers);
}

void runtime_on_turn_end(Runtime *runtime, Instant now) {
        notice(runtime, now);
        core_settle_agents(runtime, now);
        check_stop(runtime, now);
        core_publish_changes(runtime, now);
        publish_answers(runtime);
        core_arm_reports(runtime, now);
        /* An answer without its report would be run again by whoever finds us dead; so the two leave together. */
        if (runtime->report_usec <= now.usec || runtime->reporters.has_outcomes)
                flush_reports(runtime, now);
        core_sample(runtime, now);
}

uint64_t runtime_next_deadline(const Runtime *runtime) {
        uint64_t next = deadline_queue_next(&runtime->deadlines);

        next = MIN_OF(next, session_next_deadline(&runtime->session));
        next = MIN_OF(next, runtime->report_usec);
        next = MIN_OF(next, runtime->parts.next_usec);
        next = MIN_OF(next, invocations_next_deadline(&runtime->invocations));
        if (runtime->is_stopped)
                return deadline_queue_next(&runtime->deadlines);
        if (runtime->unsettled || runtime->ready.first || runtime->ready_remote.first)
                return runtime->now.usec; /* there was more than a turn takes, or memory was out */
        return MIN_OF(next, runtime->was_cut_short ? runtime->stop_usec + HOOKS_USEC : runtime->stop_usec);
}

static void on_deadline(Runtime *runtime, Deadline *deadline, Instant now) {
        switch ((DeadlineKind)deadline->kind) {
        case DEADLINE_EXECUTION:
                core_on_execution_time(runtime, CONTAINER_OF(deadline, Execution, deadline), now);
                break;
        case DEADLINE_WATCH:
                core_on_watch(runtime, CONTAINER_OF(deadline, Run, watch), now);
                break;
        case DEADLINE_RESTART:
                core_on_restart_time(runtime, CONTAINER_OF(deadline, Supervision, due), now);
                break;
        case DEADLINE_CHECKPOINT:
                core_on_checkpoint_time(runtime, deadline, now);
                break;
        case DEADLINE_RESUME:
                core_on_resume(runtime, deadline, now);
                break;
        case DEADLINE_TIMER:
                core_on_timer(runtime, deadline, now);
                break;
        case DEADLINE_ASK:
                core_on_ask_time(runtime, deadline, now);
                break;
        }
}

void runtime_on_time(Runtime *runtime, Instant now) {
        Deadline *deadline;

        notice(runtime, now);
        while ((deadline = deadline_queue_pop(&runtime->deadlines, now.usec)))
                on_deadline(runtime, deadline, now);
        invocations_expire(&runtime->invocations, now.usec);

        core_apply(runtime, session_on_time(&runtime->session, now), now);
        if (runtime->parts.next_usec <= now.usec)
                core_publish_parts(runtime, now);
        runtime_on_turn_end(runtime, now);
}

/* what it knows */

bool runtime_is_stopped(const Runtime *runtime) {
        return runtime->is_stopped;
}

bool runtime_was_replaced(const Runtime *runtime) {
        return runtime->was_replaced;
}

bool runtime_is_registered(const Runtime *runtime) {
        return runtime->session.state == SESSION_REGISTERED;
}

bool runtime_has_heard(const Runtime *runtime) {
        return runtime_is_registered(runtime) || runtime->has_no_dispatcher || runtime->session.state == SESSION_QUIET;
}

uint64_t runtime_epoch(const Runtime *runtime) {
        return runtime->session.epoch;
}

size_t runtime_n_agents(const Runtime *runtime) {
        return core_n_agents(runtime);
}

size_t runtime_n_starting(const Runtime *runtime) {
        size_t n = 0;

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent))
                n += agent->state == AGENT_STARTING;
        return n;
}

size_t runtime_n_in_flight(const Runtime *runtime) {
        return runtime->executions.n;
}

void runtime_stop_counts(const Runtime *runtime, size_t *ret_handed_back, size_t *ret_cut_short) {
        *ret_handed_back = runtime->counters.handed_back;
        *ret_cut_short = runtime->counters.cut_short;
}
