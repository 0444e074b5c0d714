/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The struct behind Dispatcher, for the files that make up the core: dispatcher.c, membership.c, intake.c, dispatch.c,
 * reports.c, verbs.c, creations.c, observers.c, jetstream.c, service.c, spans.c,
 * metrics.c. Nobody else includes this.
 */

#include "common/deadline.h"
#include "common/discovery.h"
#include "common/recent.h"
#include "common/rng.h"
#include "dispatcherd/creations.h"
#include "dispatcherd/dispatcher.h"
#include "dispatcherd/execution.h"
#include "dispatcherd/jetstream.h"
#include "dispatcherd/liveness.h"
#include "dispatcherd/placement.h"
#include "dispatcherd/registry.h"
#include "proto/event.h"
#include "proto/message.h"
#include "proto/result.h"
#include "proto/subject.h"

#define QUEUE_GROUP "compozy-dispatchers"

typedef enum DeadlineKind {
        DEADLINE_NONE,
        DEADLINE_RUNTIME,   /* in a Runtime: look at its liveness */
        DEADLINE_AGENT,     /* in an Agent: forget it */
        DEADLINE_EXECUTION, /* in an Execution: deadline, check, or giving up */
        DEADLINE_CREATION,  /* in a Creation: answer TIMEOUT */
        DEADLINE_SETTLE,    /* in the Dispatcher */
        DEADLINE_JETSTREAM,
        DEADLINE_RECORDS,
        DEADLINE_DRAIN,
} DeadlineKind;

typedef struct DispatcherCounters {
        uint64_t triggers, invalid, duplicates, overloaded;
        uint64_t relayed, checked;       /* relays sent, and sent again to ask */
        uint64_t unheard, refused, lost; /* attempts that ended so */
        uint64_t placed_again;
        uint64_t expired;
        uint64_t stale_reports, stale_messages;
        uint64_t reports, heartbeats, registrations, registrations_refused, announces_asked;
        uint64_t created, creations_failed; /* agents, by create_agent */
        uint64_t probes, probes_failed, suspicions, verdicts, stalls, deafnesses, mass_silences;
        uint64_t by_status[_RESULT_STATUS_MAX];
        uint64_t by_code[_ERROR_CODE_MAX];
        uint64_t removed[_DEREGISTER_REASON_MAX];
} DispatcherCounters;

struct Dispatcher {
        DispatcherOptions options;
        Outbox *outbox; /* borrowed */
        Slice id, prefix, inbox;
        char *texts[6 + DISCOVERY_SUBJECTS]; /* subjects of the subscriptions */
        NatsLinkSubscription subscriptions[6 + DISCOVERY_SUBJECTS];
        Rng rng;
        Arena arena;    /* of the message that is being handled */
        Buffer scratch; /* for encoding what does not go into the outbox directly */
        Buffer verb_result;

        DeadlineQueue deadlines;
        Registry *registry;
        ExecutionTable *executions;
        Creations creations;
        JetStream *jetstream;

        bool link_up;
        uint64_t started_usec;
        uint64_t max_payload;
        uint64_t link_up_usec;
        uint64_t observing_usec; /* since when we could have heard everything */
        uint64_t stalled_usec;   /* when the last stall was over; 0: there was none */
        uint64_t echo_sent_usec,
                echo_usec; /* the last echo to ourselves; the last one that came back, by when it was sent */
        uint64_t verdict_usec;
        bool mass_silence;
        bool settled;
        uint64_t patience_usec; /* until then, an unknown agent may still be announced */
        uint64_t n_registered_seen;
        Deadline settle, drain, jetstream_deadline, records;
        bool draining, drained;
        bool pump_wanted; /* a slot or a runtime came free: waiting triggers may be placed */

        uint64_t rate_start_usec, rate_done, rate_per_second; /* how fast executions end, for retry_after_ms */
        DispatcherCounters n;
        Histogram dispatch_duration;  /* from arrival to the first attempt */
        Histogram execution_duration; /* from the attempt to the report that it was done */
        Recent recent;
        uint64_t started_real_usec;
        EndpointStats trigger_stats, verb_stats, control_stats; /* `processing_usec` of the latter two is the edge's */
        EndpointStats *last_served;                             /* of the latter two */
};

/* metrics.c */

/* Per second, and how long things took, in the last seconds. */
typedef struct DispatcherRates {
        uint64_t window_usec;
        double triggers, attempts, ended, failed;
        Histogram dispatch_duration, execution_duration;
} DispatcherRates;

void dispatcher_sample(Dispatcher *d, Instant now); /* at the end of each turn */
DispatcherRates dispatcher_rates(const Dispatcher *d, Instant now);

enum { /* the counters of `recent` */
        RECENT_TRIGGERS,
        RECENT_ATTEMPTS,
        RECENT_ENDED,
        RECENT_FAILED,
};

typedef struct DispatcherSlots {
        uint64_t all, free;
} DispatcherSlots;

DispatcherSlots dispatcher_slots(const Dispatcher *d); /* of the runtimes that may be given work */
void dispatcher_emit_numbers(const Dispatcher *d, Buffer *buffer, Instant now); /* members of an open object */

LivenessRules dispatcher_liveness_rules(const Dispatcher *d);

/* Something may have been missed: nobody is judged by what came before now. */
void dispatcher_observe_from(Dispatcher *d, Instant now);

/* membership.c */

void membership_on_registered(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_on_updated(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_on_heartbeat(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_on_deregistered(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_on_probe_answer(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_on_control_answer(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void membership_heard(Dispatcher *d, Runtime *runtime, Instant now);
void membership_unheard(Dispatcher *d, Runtime *runtime, Instant now); /* the server says nobody listens */
void membership_look_at(Dispatcher *d, Runtime *runtime, Instant now);
void membership_remove(
        Dispatcher *d, Runtime *runtime, DeregisterReason reason, Slice seen_by, bool tell_others, Instant now);
void membership_want_drain(Dispatcher *d, Runtime *runtime, bool drain, Instant now);
void membership_draining(Dispatcher *d, Runtime *runtime, Instant now); /* it said so */
void membership_call_roll(Dispatcher *d, Instant now);
void membership_on_echo(Dispatcher *d, Slice token);
void membership_load(Runtime *runtime, const RuntimeLoad *load);

/* intake.c, reports.c */

void dispatch_trigger(Dispatcher *d, Slice workflow_id, Slice agent_id, const InMessage *message, Instant now);
void dispatch_refuse_subject(Dispatcher *d, const InMessage *message, const char *text, Instant now);
void dispatch_report(Dispatcher *d, Slice runtime_id, const InMessage *message, Instant now);
void dispatch_relay_answer(Dispatcher *d, Slice rest, const InMessage *message, Instant now);

/* The longest pause between questions about one execution. */
#define DISPATCH_CHECK_PAUSE_MAX (30 * USEC_PER_SEC)

/* dispatch.c; an execution that is in no list and has not ended is handed over by place, place_again, wait or fail */

void dispatch_put_result(Dispatcher *d, Slice reply_to, const Result *result, Slice headers, Instant now);
void dispatch_fail(Dispatcher *d, Execution *execution, ErrorCode code, const char *text, Slice details, Instant now);
void dispatch_fail_overloaded(Dispatcher *d, Execution *execution, const char *text, Instant now);
void dispatch_arm(Dispatcher *d, Execution *execution);
void dispatch_put_checks(Dispatcher *d, Execution *execution, Instant now);
void dispatch_end_attempt(Dispatcher *d, Execution *execution, AttemptEnd end, ErrorCode code, Instant now);
Placement dispatch_choose(Dispatcher *d, const Execution *execution, const Runtime *avoid, Instant now);
void dispatch_place(Dispatcher *d, Execution *execution, Instant now);
void dispatch_place_again(
        Dispatcher *d, Execution *execution, bool provably_unrun, ErrorCode code, const char *why, Instant now);
void dispatch_wait(Dispatcher *d, Execution *execution, Instant now);

void dispatch_runtime_lost(Dispatcher *d, Runtime *runtime, const char *why, Instant now);
void dispatch_runtime_back(Dispatcher *d, Runtime *runtime, Instant now);
void dispatch_execution_due(Dispatcher *d, Execution *execution, Instant now);
void dispatch_pump(Dispatcher *d, Instant now);
void dispatch_answer_all_waiting(Dispatcher *d, Instant now); /* the drain's deadline */

/* verbs.c */

void verbs_on_request(Dispatcher *d, Slice verb, const InMessage *message, Instant now);
void verbs_answer_error(Dispatcher *d, Slice reply, ErrorCode code, const char *text);
void verbs_answer_failure(Dispatcher *d, Slice reply, const ErrorReply *error);
void verbs_answer(Dispatcher *d, Slice reply, Slice result);

/* spans.c: what is told of executions to a tracer, which there is when one of these is called */

typedef struct Arrival Arrival;

void spans_begin(Dispatcher *d, Arrival *arrival);
void spans_end(Dispatcher *d, Execution *execution, unsigned status, ErrorCode code, Slice why, Instant now);
void spans_end_arrival(Dispatcher *d, const Arrival *arrival, const char *why, Instant now); /* no execution took it */

/* A trigger on its way in. */
struct Arrival {
        Slice workflow_id, agent_id;
        const InMessage *message;
        Slice headers;  /* of the message, or what stands for them */
        Parcel *parcel; /* owned until an execution takes it */
        TraceSpan span;
        ErrorCode code; /* why it was not taken */
};

/* service.c: what is answered to service discovery */

int service_make_subject(const Dispatcher *d, unsigned number, char **ret);
void service_on_request(Dispatcher *d, const InMessage *message);

/* observers.c: what is published for those who watch */

void observers_runtime_changed(Dispatcher *d, Runtime *runtime, RuntimeChange change, const char *reason, Instant now);
void observers_execution(
        Dispatcher *d, ExecutionEventKind kind, const Execution *execution, const ErrorReply *error, Instant now);
void observers_emit_runtime(Buffer *buffer, const char *key, const Runtime *runtime, Instant now);
void observers_emit_runtime_members(Buffer *buffer, const Runtime *runtime, Instant now); /* of an open object */
void observers_emit_agents(Buffer *buffer, const char *key, const Runtime *runtime, size_t bytes_max);
