/* SPDX-License-Identifier: MIT */

/*
 * Membership: how runtimes come, stay and go.
 *
 * Everything heals from any lost message: a heartbeat of an epoch or a revision that is not known makes us ask that
 * runtime to announce itself; a roll call goes out whenever our link comes up. Judging silence is liveness.c's; what
 * follows from the judgement is done here.
 *
 * Several dispatchers judge for themselves. One that hears of another's verdict acts on it only where it hears nothing
 * itself.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dispatcherd/diag.h"
#include "dispatcherd/state.h"

#define SOURCE SLICE("compozy-dispatcherd")

/* A roll call is answered at random moments within this: a little for each runtime we know of, so that a large fleet is
 * no storm. */
#define ROLL_CALL_SPREAD_MS_MIN 20
#define ROLL_CALL_SPREAD_MS_MAX 500
#define ROLL_CALL_PER_MS 20

/* Goodbye and the last reports come on different subjects, so the one may be handled before the others. */
#define LEAVING_USEC (250 * USEC_PER_MSEC)

/* Asking one runtime to announce itself more often than this would only fill its inbox. */
#define ASK_PAUSE_USEC USEC_PER_SEC

/* A drain that does not arrive is asked for again for so long. Not for ever: another dispatcher may have been told to
 * resume it. */
#define DRAIN_REPEAT_USEC (10 * USEC_PER_SEC)

/* What runtimes are configured to unless somebody chose otherwise. */
#define INTERVAL_MS_USUAL 1000

static Runtime *known(const Dispatcher *d, Slice runtime_id, uint64_t epoch) {
        Runtime *runtime = registry_find(d->registry, runtime_id);

        return runtime && runtime->epoch == epoch ? runtime : NULL;
}

/* asking */

static void put_announce(Dispatcher *d, Slice runtime_id, const Announce *announce, Instant now) {
        Buffer *buffer = outbox_begin(d->outbox);
        Id id = rng_id(&d->rng);

        if (runtime_id.size > 0)
                subject_build(buffer, d->prefix, SUBJECT_RUNTIME_CONTROL, runtime_id, SLICE("announce"));
        else
                subject_build(buffer, d->prefix, SUBJECT_ANNOUNCE, SLICE_NONE, SLICE_NONE);
        outbox_body(d->outbox);
        announce_encode(buffer, announce, id_slice(&id), now.real_usec);
        outbox_end(d->outbox);
}

static Announce announce_of(const Dispatcher *d) {
        return (Announce){ .metadata = { .source_component = SOURCE }, .dispatcher_id = d->id, .register_again = true };
}

void membership_call_roll(Dispatcher *d, Instant now) {
        Announce announce = announce_of(d);

        announce.spread_ms =
                MIN_OF(MAX_OF(registry_n_runtimes(d->registry) / ROLL_CALL_PER_MS, (size_t)ROLL_CALL_SPREAD_MS_MIN),
                        (size_t)ROLL_CALL_SPREAD_MS_MAX);
        put_announce(d, SLICE_NONE, &announce, now);
}

static void ask_to_announce(Dispatcher *d, Slice runtime_id, Runtime *runtime, Instant now) {
        Announce announce = announce_of(d);

        if (runtime && runtime->asked_usec > 0 && now.usec - runtime->asked_usec < ASK_PAUSE_USEC)
                return;
        if (runtime)
                runtime->asked_usec = now.usec;
        d->n.announces_asked++;
        put_announce(d, runtime_id, &announce, now);
}

/* From when it was asked to beat more rarely, its silence is measured so; its next heartbeat says what it really does.
 */
static void expect_interval(Runtime *runtime, uint64_t asked_ms) {
        runtime->interval_usec = MAX_OF(runtime->interval_usec, asked_ms * USEC_PER_MSEC);
}

/*
 * In a large fleet each runtime beats more rarely, and when it shrinks, more often again. Asked for only when it is far
 * off, so that a fleet that grows steadily is not asked steadily; and faster only once, since a runtime's own
 * configuration is its minimum.
 */
static void ask_for_interval(Dispatcher *d, Runtime *runtime, Instant now) {
        Announce announce = announce_of(d);
        uint64_t is = runtime->interval_usec / USEC_PER_MSEC;
        uint64_t rate_max = d->options.heartbeats_per_second_max;
        uint64_t slow = liveness_interval_ms(registry_n_runtimes(d->registry), rate_max, is);
        uint64_t fast = liveness_interval_ms(registry_n_runtimes(d->registry), rate_max, INTERVAL_MS_USUAL);
        bool too_fast = slow > is;
        bool too_slow = is > fast * 3 && (runtime->asked_interval_ms == 0 || runtime->asked_interval_ms > fast * 2);

        if (!too_fast && !too_slow)
                return;
        if (runtime->asked_usec > 0 && now.usec - runtime->asked_usec < ASK_PAUSE_USEC)
                return;
        runtime->asked_usec = now.usec;
        runtime->asked_interval_ms = too_fast ? slow : fast;
        announce.heartbeat_interval_ms = runtime->asked_interval_ms;
        announce.register_again = false;
        put_announce(d, id_slice(&runtime->id), &announce, now);
        expect_interval(runtime, runtime->asked_interval_ms);
}

static void put_control(Dispatcher *d, const Runtime *runtime, const char *verb, const char *inbox_kind, Slice body) {
        Buffer *buffer = outbox_begin(d->outbox);

        buffer_printf(buffer, "%s.%s", runtime->control_subject, verb);
        outbox_reply(d->outbox);
        buffer_append_slice(buffer, d->inbox);
        buffer_printf(buffer, ".%s.%s", inbox_kind, runtime->id.text);
        outbox_body(d->outbox);
        buffer_append_slice(buffer, body);
        outbox_end(d->outbox);
}

/* life and death */

static LivenessFleet fleet_of(const Dispatcher *d) {
        return (LivenessFleet){
                .link_up = d->link_up,
                .observing_usec = d->observing_usec,
                .link_up_usec = d->link_up_usec,
                .grace_usec = d->options.reconnect_grace_usec,
                .echo_usec = d->echo_usec,
                .n_runtimes = registry_n_runtimes(d->registry),
                .n_silent = registry_n_silent(d->registry),
                .verdict_usec = d->verdict_usec,
        };
}

static void note_mass_silence(Dispatcher *d) {
        LivenessFleet fleet = fleet_of(d);
        bool mass = liveness_is_mass_silence(&fleet);

        if (mass == d->mass_silence)
                return;
        d->mass_silence = mass;
        d->n.mass_silences += mass;
        diag_mass_silence(fleet.n_silent, fleet.n_runtimes, mass);
}

static void suspect(Dispatcher *d, Runtime *runtime, const char *why, Instant now) {
        d->n.suspicions++;
        runtime_set_silent(d->registry, runtime, true);
        note_mass_silence(d);
        if (runtime_set_state(d->registry, runtime, RUNTIME_EV_SILENCE))
                observers_runtime_changed(d, runtime, RUNTIME_CHANGE_SUSPECT, why, now);
}

/* To ourselves, by way of the server. */
static void put_echo(Dispatcher *d, Instant now) {
        Buffer *buffer;

        if (d->echo_sent_usec == now.usec)
                return;
        d->echo_sent_usec = now.usec;
        buffer = outbox_begin(d->outbox);
        buffer_append_slice(buffer, d->inbox);
        buffer_printf(buffer, ".e.%" PRIu64, now.usec);
        outbox_body(d->outbox);
        outbox_end(d->outbox);
}

void membership_on_echo(Dispatcher *d, Slice token) {
        uint64_t usec = 0;

        for (size_t i = 0; i < token.size && token.data[i] >= '0' && token.data[i] <= '9'; i++)
                usec = usec * 10 + (uint64_t)(token.data[i] - '0');
        if (usec <= d->echo_sent_usec)
                d->echo_usec = MAX_OF(d->echo_usec, usec);
}

static void probe(Dispatcher *d, Runtime *runtime, Instant now) {
        if (runtime->probe_usec > 0) {
                runtime->failed_usec = runtime->probe_usec;
                d->n.probes_failed++;
        }
        runtime->probe_usec = now.usec;
        d->n.probes++;
        put_echo(d, now);
        put_control(d, runtime, "status", "p", SLICE("{}"));
}

/* On behalf of a runtime that does not say it itself. */
static void put_deregistered(Dispatcher *d, Slice runtime_id, uint64_t epoch, DeregisterReason reason, Instant now) {
        Id event_id = rng_id(&d->rng);
        Deregistration deregistration = { .metadata = { .source_component = SOURCE },
                .runtime_id = runtime_id,
                .epoch = epoch,
                .reason = reason,
                .seen_by = d->id };
        Buffer *buffer = outbox_begin(d->outbox);

        subject_build(buffer, d->prefix, SUBJECT_RUNTIME_DEREGISTERED, runtime_id, SLICE_NONE);
        outbox_body(d->outbox);
        deregistration_encode(buffer, &deregistration, id_slice(&event_id), now.real_usec);
        outbox_end(d->outbox);
}

void membership_remove(
        Dispatcher *d, Runtime *runtime, DeregisterReason reason, Slice seen_by, bool tell_others, Instant now) {
        Id id = runtime->id;
        uint64_t epoch = runtime->epoch;
        char why[128];

        (void)snprintf(why, sizeof(why), "runtime %s left: %s", id.text, deregister_reason_names[reason]);
        diag_runtime_removed(id_slice(&id), epoch, reason, seen_by, runtime->own_in_flight,
                now.usec - MIN_OF(runtime->heard_usec, now.usec));
        d->n.removed[reason]++;
        runtime->unreachable = true;
        dispatch_runtime_lost(d, runtime, why, now);
        creations_runtime_lost(d, runtime, now);
        observers_runtime_changed(d, runtime, RUNTIME_CHANGE_REMOVED, deregister_reason_names[reason], now);
        registry_remove(d->registry, runtime, reason, now);
        note_mass_silence(d);
        d->pump_wanted = true;

        if (tell_others)
                put_deregistered(d, id_slice(&id), epoch, reason, now);
}

void membership_look_at(Dispatcher *d, Runtime *runtime, Instant now) {
        const LivenessRules rules = dispatcher_liveness_rules(d);

        if (runtime->leaving_usec > 0) {
                if (now.usec >= runtime->leaving_usec || runtime->own_in_flight == 0)
                        membership_remove(
                                d, runtime, DEREGISTER_SHUTDOWN, SLICE("runtime"), /* tell_others= */ false, now);
                else
                        deadline_arm(&d->deadlines, &runtime->deadline, runtime->leaving_usec);
                return;
        }
        for (;;) {
                LivenessFleet fleet = fleet_of(d);
                LivenessSubject subject = {
                        .interval_usec = runtime->interval_usec,
                        .heard_usec = runtime->heard_usec,
                        .probe_usec = runtime->probe_usec,
                        .failed_usec = runtime->failed_usec,
                        .silent = runtime->silent,
                };
                LivenessVerdict verdict = liveness_judge(&rules, &fleet, &subject, now.usec);

                switch (verdict.action) {
                case LIVENESS_WAIT:
                        deadline_arm(&d->deadlines, &runtime->deadline, verdict.look_again_usec);
                        return;
                case LIVENESS_SUSPECT:
                        suspect(d, runtime, "silence", now);
                        break;
                case LIVENESS_PROBE:
                        probe(d, runtime, now);
                        break;
                case LIVENESS_DEAF:
                        d->n.deafnesses++;
                        diag_deaf();
                        dispatcher_observe_from(d, now);
                        break;
                case LIVENESS_DEAD:
                        d->n.verdicts++;
                        d->verdict_usec = now.usec;
                        membership_remove(
                                d, runtime, DEREGISTER_HEARTBEAT_TIMEOUT, d->id, /* tell_others= */ true, now);
                        return;
                }
        }
}

void membership_heard(Dispatcher *d, Runtime *runtime, Instant now) {
        runtime->heard_usec = now.usec;
        runtime->probe_usec = 0;
        runtime->failed_usec = 0;
        if (!runtime->silent && !runtime->unreachable)
                return;

        runtime->unreachable = false;
        runtime_set_silent(d->registry, runtime, false);
        note_mass_silence(d);
        dispatch_runtime_back(d, runtime, now);
        /* While it was silent the next look was for the next probe; from here on it is for the next silence. */
        deadline_arm(&d->deadlines, &runtime->deadline,
                now.usec + (uint64_t)(d->options.suspect_after * (double)runtime->interval_usec));
        d->pump_wanted = true;
        if (runtime_set_state(d->registry, runtime, RUNTIME_EV_HEARD))
                observers_runtime_changed(d, runtime, RUNTIME_CHANGE_UPDATED, "heard again", now);
}

/* That nobody is there now does not mean dead. It gets no work until it is heard; silence decides the rest. */
void membership_unheard(Dispatcher *d, Runtime *runtime, Instant now) {
        if (runtime->unreachable)
                return;
        runtime->unreachable = true;
        diag_runtime_unheard(id_slice(&runtime->id));
        suspect(d, runtime, "nobody listens", now);
        /* The look itself may remove the runtime, which our caller still holds: it comes with the next turn. */
        deadline_arm(&d->deadlines, &runtime->deadline, now.usec);
}

/*
 * Is this the answer of that epoch? A second process under the same id listens on the same subjects, and whoever knows
 * our inbox can have any runtime answer an error there.
 */
static bool is_answer_of(Dispatcher *d, const Runtime *runtime, Slice body) {
        static const ScanField fields[] = {
                { .name = "epoch", .kind = SCAN_U64, .max = EPOCH_MAX },
                {},
        };
        Answer answer = {};
        WireError error;
        uint64_t epoch = 0;

        if (answer_decode(body, &answer, &d->arena, &error) != 0 || !answer.ok)
                return false;
        return scan_object(answer.result, fields, &epoch, &d->arena, &error) == 0 && epoch == runtime->epoch;
}

void membership_on_probe_answer(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Runtime *runtime = registry_find(d->registry, runtime_id);

        if (!runtime)
                return;
        if (!message->no_responders) {
                if (is_answer_of(d, runtime, message->body))
                        membership_heard(d, runtime, now);
                return;
        }
        if (runtime->probe_usec == 0)
                return;
        runtime->failed_usec = runtime->probe_usec;
        runtime->probe_usec = 0;
        d->n.probes_failed++;
        membership_unheard(d, runtime, now);
        membership_look_at(d, runtime, now);
}

/* To a drain or a resume. That nobody listened to one is news, but it is no probe: it was not sent because of silence.
 */
void membership_on_control_answer(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Runtime *runtime = registry_find(d->registry, runtime_id);

        if (runtime && message->no_responders)
                membership_unheard(d, runtime, now);
        else if (runtime && is_answer_of(d, runtime, message->body))
                membership_heard(d, runtime, now);
}

/* drain */

void membership_draining(Dispatcher *d, Runtime *runtime, Instant now) {
        if (runtime_set_state(d->registry, runtime, RUNTIME_EV_DRAIN))
                observers_runtime_changed(d, runtime, RUNTIME_CHANGE_DRAINING, "drain", now);
}

/* One that nobody has heard for a while is no more alive for an operator's word. */
static void resume(Dispatcher *d, Runtime *runtime, Instant now) {
        if (!runtime_set_state(d->registry, runtime, RUNTIME_EV_RESUME))
                return;
        if (runtime->silent)
                (void)runtime_set_state(d->registry, runtime, RUNTIME_EV_SILENCE);
        observers_runtime_changed(d, runtime, RUNTIME_CHANGE_UPDATED, "resumed", now);
        d->pump_wanted = true;
}

void membership_want_drain(Dispatcher *d, Runtime *runtime, bool drain, Instant now) {
        /* One that drains by its own word has nothing left to comply with. Were the wish kept until it says so again,
         * a resume meanwhile, through another dispatcher, would look as if it had not been heeded, and be undone. */
        const bool complies = runtime->state == RUNTIME_DRAINING && !runtime->drain_wanted;

        runtime->drain_wanted = drain && !complies;
        runtime->drain_asked_usec = now.usec;
        diag_drain_wanted(id_slice(&runtime->id), drain);
        put_control(d, runtime, drain ? "drain" : "resume", "k", SLICE("{}"));
        if (drain) {
                membership_draining(d, runtime, now);
        } else {
                resume(d, runtime, now);
        }
}

static void take_draining(Dispatcher *d, Runtime *runtime, bool draining, Instant now) {
        if (draining) {
                /* It complied. If it stops draining later, somebody let it: perhaps through another dispatcher. */
                runtime->drain_wanted = false;
                membership_draining(d, runtime, now);
        } else if (runtime->drain_wanted && now.usec < runtime->drain_asked_usec + DRAIN_REPEAT_USEC) {
                put_control(d, runtime, "drain", "k", SLICE("{}"));
        } else {
                runtime->drain_wanted = false;
                resume(d, runtime, now);
        }
}

void membership_load(Runtime *runtime, const RuntimeLoad *load) {
        uint64_t held = load->in_flight;

        runtime->load = *load;
        /* It may have room for less than its capacity says. */
        if (load->free_slots < runtime->max_in_flight)
                held = MAX_OF(held, runtime->max_in_flight - load->free_slots);
        /* What it holds beyond what we gave it, others gave it. Ours that are still on their way make this a little
         * low, and the runtime's own limit corrects that. */
        runtime->foreign_in_flight = held > runtime->own_in_flight ? held - runtime->own_in_flight : 0;
}

/* registration */

static void refuse(Dispatcher *d, const Registration *registration, Slice reply, ErrorCode code, const char *why,
        const RegistrationRefused *refused) {
        ErrorReply error = { .code = code, .message = slice_of(why) };
        OutMessage answer = { .subject = reply };

        d->n.registrations_refused++;
        diag_registration_refused(registration->runtime_id, registration->epoch, why);
        if (reply.size == 0)
                return;

        buffer_clear(&d->scratch);
        if (refused) {
                registration_refused_encode(&d->scratch, refused);
                error.details = buffer_slice(&d->scratch);
        }
        {
                _cleanup_(buffer_done) Buffer body = {};

                answer_encode_error(&body, &error);
                answer.body = buffer_slice(&body);
                if (!body.failed)
                        outbox_put(d->outbox, &answer);
        }
}

static void refuse_stale(
        Dispatcher *d, const Registration *registration, Slice reply, const RegistrationRefused *refused) {
        char why[160];

        (void)snprintf(why, sizeof(why), "epoch %" PRIu64 " is over: %s, epoch %" PRIu64 " is known",
                registration->epoch, deregister_reason_names[refused->reason], refused->epoch);
        refuse(d, registration, reply, ERROR_RUNTIME_LOST, why, refused);
}

static void answer_taken(Dispatcher *d, const Registration *registration, const RegistryTaken *taken, Slice reply) {
        const LivenessRules rules = dispatcher_liveness_rules(d);
        uint64_t interval_ms = liveness_interval_ms(registry_n_runtimes(d->registry),
                d->options.heartbeats_per_second_max, registration->heartbeat_interval_ms);
        RegistrationTaken answer = {
                .dispatcher_id = d->id,
                .runtime_id = registration->runtime_id,
                .epoch = registration->epoch,
                .revision = registration->revision,
                .complete = taken->complete,
                .heartbeat_interval_ms = interval_ms,
                .dead_after_ms = liveness_window_usec(&rules, interval_ms * USEC_PER_MSEC) / USEC_PER_MSEC,
        };

        d->n.registrations++;
        if (reply.size == 0)
                return;
        expect_interval(taken->runtime, interval_ms);
        buffer_clear(&d->scratch);
        registration_taken_encode(&d->scratch, &answer);
        verbs_answer(d, reply, buffer_slice(&d->scratch));
}

/* The epoch before this one is over: what it held is lost, and a process that still runs under it is told. */
static void supersede(Dispatcher *d, Runtime *runtime, Instant now) {
        char why[128];

        (void)snprintf(why, sizeof(why), "runtime %s started again", runtime->id.text);
        diag_runtime_removed(id_slice(&runtime->id), runtime->epoch, DEREGISTER_REPLACED, d->id, runtime->own_in_flight,
                now.usec - MIN_OF(runtime->heard_usec, now.usec));
        d->n.removed[DEREGISTER_REPLACED]++;
        runtime->unreachable = true;
        dispatch_runtime_lost(d, runtime, why, now);
        creations_runtime_lost(d, runtime, now);

        put_deregistered(d, id_slice(&runtime->id), runtime->epoch, DEREGISTER_REPLACED, now);
        registry_restart(d->registry, runtime);
}

static void registered(Dispatcher *d, const Registration *registration, const RegistryTaken *taken, Instant now) {
        Runtime *runtime = taken->runtime;

        membership_heard(d, runtime, now);
        membership_look_at(d, runtime, now);
        if (registration->draining || runtime->drain_wanted)
                membership_draining(d, runtime, now);
        if (!taken->complete)
                return;
        d->pump_wanted = true;
        if (!taken->changed)
                return;
        /* A newcomer is one that observers have not been told of: the first complete registration of its epoch. */
        if (!runtime->announced) {
                runtime->announced = true;
                diag_runtime_registered(
                        id_slice(&runtime->id), runtime->epoch, registration->hostname, runtime->n_agents);
                observers_runtime_changed(d, runtime, RUNTIME_CHANGE_ADDED, "registered", now);
        } else {
                observers_runtime_changed(d, runtime, RUNTIME_CHANGE_UPDATED, "registered", now);
        }
}

/* Two processes under one id, started in the same millisecond on two machines, or forked: equal epochs don't make them
 * one. */
static bool is_namesake(const Runtime *runtime, const Registration *registration) {
        Slice hostname = slice_of(runtime->hostname);

        return (runtime->pid > 0 && registration->pid > 0 && runtime->pid != registration->pid) ||
               (hostname.size > 0 && registration->hostname.size > 0 && !slice_equal(hostname, registration->hostname));
}

static bool is_stale(const Dispatcher *d, const Runtime *runtime, const Registration *registration,
        RegistrationRefused *ret_refused) {
        if (registry_admits(d->registry, registration->runtime_id, registration->epoch, ret_refused) ==
                REGISTRY_E_STALE)
                return true;
        if (!runtime || registration->epoch != runtime->epoch)
                return false;
        ret_refused->epoch = runtime->epoch;
        ret_refused->reason = runtime->leaving_usec > 0            ? DEREGISTER_SHUTDOWN
                              : is_namesake(runtime, registration) ? DEREGISTER_REPLACED
                                                                   : DEREGISTER_NONE;
        return ret_refused->reason != DEREGISTER_NONE;
}

void membership_on_registered(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Registration registration = {};
        RegistrationRefused refused;
        RegistryTaken taken;
        WireError error = {};
        Runtime *runtime;
        int r;

        r = registration_decode(message->body, &registration, &d->arena, &error);
        if (r == 0 && !slice_equal(registration.runtime_id, runtime_id))
                r = wire_error(&error, "agent_runtime.runtime_id is \"%.*s\", the subject says \"%.*s\"",
                        SLICE_ARG(registration.runtime_id), SLICE_ARG(runtime_id));
        if (r != 0) {
                d->n.invalid++;
                registration.runtime_id = runtime_id;
                refuse(d, &registration, message->reply, r < 0 ? ERROR_INTERNAL : ERROR_INVALID_MESSAGE, error.text,
                        NULL);
                return;
        }
        runtime = registry_find(d->registry, runtime_id);
        if (is_stale(d, runtime, &registration, &refused)) {
                d->n.stale_messages++;
                refuse_stale(d, &registration, message->reply, &refused);
                return;
        }
        if (runtime && registration.epoch > runtime->epoch) {
                r = registry_vet(&registration, &error);
                if (r == 0)
                        supersede(d, runtime, now);
        }
        if (r == 0)
                r = registry_register(d->registry, &registration, now, &taken, &error);
        if (r != 0) {
                refuse(d, &registration, message->reply,
                        r == REGISTRY_E_FULL ? ERROR_LIMIT_EXCEEDED
                        : r < 0              ? ERROR_INTERNAL
                                             : ERROR_INVALID_MESSAGE,
                        r < 0 ? strerror(-r) : error.text, NULL);
                return;
        }
        answer_taken(d, &registration, &taken, message->reply);
        registered(d, &registration, &taken, now);
}

void membership_on_updated(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        RuntimeUpdated updated = {};
        WireError error = {};
        Runtime *runtime;
        int r;

        r = runtime_updated_decode(message->body, &updated, &d->arena, &error);
        if (r != 0 || !slice_equal(updated.runtime_id, runtime_id)) {
                d->n.invalid++;
                diag_message_invalid(
                        message->subject, r == 0 ? "agent_runtime.runtime_id is not the subject's" : error.text);
                return;
        }
        runtime = known(d, runtime_id, updated.epoch);
        if (!runtime) {
                d->n.stale_messages++;
                return; /* its heartbeat will tell whether to ask */
        }
        membership_heard(d, runtime, now);
        if (updated.revision == runtime->revision)
                return;
        if (updated.base_revision != runtime->revision || runtime->state == RUNTIME_JOINING) {
                ask_to_announce(d, runtime_id, runtime, now);
                return;
        }
        r = registry_update(d->registry, runtime, &updated, now, &error);
        if (r != 0) {
                diag_message_invalid(message->subject, r < 0 ? strerror(-r) : error.text);
                ask_to_announce(d, runtime_id, runtime, now);
                return;
        }
        observers_runtime_changed(d, runtime, RUNTIME_CHANGE_UPDATED, "agents changed", now);
        d->pump_wanted = true;
}

void membership_on_heartbeat(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Heartbeat heartbeat = {};
        WireError error = {};
        Runtime *runtime;
        int r;

        d->n.heartbeats++;
        r = heartbeat_decode(message->body, &heartbeat, &d->arena, &error);
        if (r != 0 || !slice_equal(heartbeat.runtime_id, runtime_id)) {
                d->n.invalid++;
                diag_message_invalid(
                        message->subject, r == 0 ? "agent_runtime.runtime_id is not the subject's" : error.text);
                return;
        }
        runtime = registry_find(d->registry, runtime_id);
        if (runtime && heartbeat.epoch < runtime->epoch) {
                d->n.stale_messages++;
                /* A process that was replaced and missed the word of it would live on for ever. */
                if (runtime->told_usec == 0 || now.usec - runtime->told_usec >= ASK_PAUSE_USEC) {
                        runtime->told_usec = now.usec;
                        put_deregistered(d, runtime_id, heartbeat.epoch, DEREGISTER_REPLACED, now);
                }
                return;
        }
        if (!runtime || heartbeat.epoch > runtime->epoch) {
                ask_to_announce(d, runtime_id, runtime, now);
                return;
        }

        runtime->sequence = heartbeat.sequence;
        if (heartbeat.interval_ms > 0)
                if (heartbeat.interval_ms > 0)
                        runtime->interval_usec = heartbeat.interval_ms * USEC_PER_MSEC;
        membership_heard(d, runtime, now);
        /* Reports come on another subject, so a heartbeat may be older than the report handled just before it. */
        if (now.usec - runtime->reported_usec > runtime->interval_usec / 2)
                membership_load(runtime, &heartbeat.load);
        take_draining(d, runtime, heartbeat.draining, now);
        if (heartbeat.revision != runtime->revision || runtime->state == RUNTIME_JOINING)
                ask_to_announce(d, runtime_id, runtime, now);
        else
                ask_for_interval(d, runtime, now);
        if (runtime->own_in_flight < runtime->max_in_flight)
                d->pump_wanted = true;
}

/* Does this dispatcher itself hear the runtime? Then another's verdict is about that other's link. */
static bool hears(const Dispatcher *d, const Runtime *runtime, Instant now) {
        return !runtime->silent &&
               now.usec - runtime->heard_usec < (uint64_t)(d->options.suspect_after * (double)runtime->interval_usec);
}

void membership_on_deregistered(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now) {
        Deregistration deregistration = {};
        WireError error = {};
        Runtime *runtime;
        int r;

        r = deregistration_decode(message->body, &deregistration, &d->arena, &error);
        if (r != 0 || !slice_equal(deregistration.runtime_id, runtime_id)) {
                d->n.invalid++;
                diag_message_invalid(
                        message->subject, r == 0 ? "agent_runtime.runtime_id is not the subject's" : error.text);
                return;
        }
        runtime = registry_find(d->registry, runtime_id);
        if (!runtime || slice_equal(deregistration.seen_by, d->id))
                return;
        if (deregistration.epoch != 0 && deregistration.epoch != runtime->epoch) {
                d->n.stale_messages++;
                return;
        }
        /* Another epoch's start is told by that epoch's own registration. */
        if (deregistration.reason == DEREGISTER_REPLACED)
                return;
        if (deregistration.reason == DEREGISTER_HEARTBEAT_TIMEOUT && hears(d, runtime, now)) {
                probe(d, runtime, now);
                return;
        }
        if (deregistration.reason == DEREGISTER_NONE)
                deregistration.reason = DEREGISTER_SHUTDOWN;
        if (deregistration.reason == DEREGISTER_SHUTDOWN && runtime->own_in_flight > 0) {
                runtime->leaving_usec = now.usec + LEAVING_USEC;
                membership_draining(d, runtime, now);
                membership_look_at(d, runtime, now);
                return;
        }
        /* Whoever gives no reason speaks for itself: it leaves. */
        membership_remove(d, runtime,
                deregistration.reason == DEREGISTER_NONE ? DEREGISTER_SHUTDOWN
                                                         : (DeregisterReason)deregistration.reason,
                deregistration.seen_by.size > 0 ? deregistration.seen_by : SLICE("runtime"), /* tell_others= */ false,
                now);
}
