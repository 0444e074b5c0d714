/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, shared by the files that make it up and by nothing else:
 *
 *   runtime.c         what the edge calls, the table of handlers, stopping
 *   handle_trigger.c  what becomes of a trigger that arrives
 *   schedule.c        from mailbox to worker and back
 *   answer.c          how an execution ends: result, events, report, memory
 *   herald.c          what is said to dispatchers: registration, heartbeat, update, deregistration
 *   control.c         the control API
 *   hosted.c          the set of agents: creating, changing, deleting
 *   observe.c         metrics, and the check of what must always hold
 *
 * Loop thread only.
 */

#include "common/deadline.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/rng.h"
#include "proto/event.h"
#include "proto/result.h"
#include "proto/subject.h"
#include "proto/trigger.h"
#include "runtimed/agent.h"
#include "runtimed/execution.h"
#include "runtimed/memory.h"
#include "runtimed/reporter.h"
#include "runtimed/runtime.h"
#include "runtimed/session.h"

typedef enum EventsPublished {
        EVENTS_ALL,
        EVENTS_VERBOSE,
        EVENTS_OUTCOMES,
        EVENTS_NONE,
} EventsPublished;

typedef struct RuntimeCounters {
        uint64_t executions[_RESULT_STATUS_MAX];
        uint64_t refused[_ERROR_CODE_MAX];
        uint64_t withheld; /* answers that were not given */
        uint64_t late;     /* outcomes of what was answered already */
        uint64_t memory_hits;
        uint64_t heartbeats, registrations, updates;
        uint64_t invalid; /* messages that could not be read */
        uint64_t shed;    /* messages that a mailbox dropped for its overflow policy */
        uint64_t handed_back, cut_short;
        uint64_t epochs; /* taken after the first */
} RuntimeCounters;

/* A registration on its way out. Its agents as JSON arrays, each small enough for one message, one behind the other. */
typedef struct Parts {
        Buffer json;
        size_t *ends; /* of each part in `json` */
        size_t n_parts, n_allocated;
        size_t n_sent;
        uint64_t epoch, revision; /* that it is about */
        uint64_t next_usec;       /* when the next ones leave; USEC_NEVER: all have */
} Parts;

RB_HEAD(AgentTree, Agent);

struct Runtime {
        RuntimeOptions options;
        Slice id, prefix;
        Outbox *outbox;
        Rng rng;
        Session session;
        DeadlineQueue deadlines; /* of executions and watches */
        uint64_t started_usec;
        Instant now; /* of the latest call that brought one */

        uint64_t max_payload;
        bool is_up, is_congested;
        bool has_no_dispatcher; /* NATS says that nobody listened to our registration */

        bool is_draining, is_stopping, is_stopped, was_replaced;
        uint64_t stop_usec;   /* when what is left is cut short */
        uint64_t report_usec; /* when gathered reports leave; USEC_NEVER: none are */

        Agent *agents;
        struct AgentTree agents_by_name;
        Agent *ready_first, *ready_last; /* agents with something to hand out */
        Id *changed;                     /* agents whose change was not published */
        size_t n_changed, n_changed_allocated;
        bool is_all_changed; /* too many for a list */

        Executions executions;
        size_t n_queued, n_held, n_abandoned, n_out; /* messages in mailboxes, executions, executions, runs */
        Memory *memory;
        Memory *refusals; /* apart, so that a storm of refusals doesn't make us forget answers */
        Reporters reporters;

        Parts parts;

        Arena arena;    /* of the message being handled */
        Buffer scratch; /* of the message being written: n_scratch_headers of headers, then the body */
        size_t n_scratch_headers;
        bool has_unsettled; /* an agent may have become idle without an outcome */
        Buffer check;       /* of the output being checked */
        char *texts[4];     /* subjects of our subscriptions */
        NatsLinkSubscription subscriptions[4];

        RuntimeCounters counters;
        Histogram execution_seconds, queue_seconds;
        LogLimit invalid_limit, refused_limit, registration_limit;
};

/* runtime.c */

RuntimeLoad core_load(const Runtime *runtime);
uint64_t core_payload_max(const Runtime *runtime);    /* bytes of one message's body, with room for its headers */
void core_arm_reports(Runtime *runtime, Instant now); /* after anything that may have made news for dispatchers */
void core_apply(Runtime *runtime, unsigned todo, Instant now); /* SESSION_DO_… */
void core_set_draining(Runtime *runtime, bool is_draining, Instant now);

/* handle_trigger.c */

void core_on_trigger(Runtime *runtime, const InMessage *message, Instant now);

/* schedule.c */

void core_make_ready(Runtime *runtime, Agent *agent);
void core_after_change(
        Runtime *runtime, Agent *agent, Instant now); /* the agent may be idle now: stopped, replaced, deleted? */
void core_on_watch(Runtime *runtime, Agent *agent, Instant now);
void core_on_execution_time(Runtime *runtime, Execution *execution, Instant now);
void core_arm_execution(Runtime *runtime, Execution *execution);

/* answer.c: each ends the execution as far as the rest of the world is concerned */

void core_note_started(Runtime *runtime, Execution *execution, uint64_t started_usec, Instant now);
bool core_must_hold(const Runtime *runtime, const Execution *execution); /* may no answer go out now? */
void core_finish(Runtime *runtime, Execution *execution, Instant now);   /* with what its behaviour replied */
void core_fail(Runtime *runtime, Execution *execution, ErrorCode code, const char *why, Instant now);
void core_expire_unsaid(
        Runtime *runtime, Execution *execution, Instant now); /* withheld: the deadline passed, nothing could be said */
void core_withhold(Runtime *runtime, Execution *execution, const char *why);
void core_hand_back(Runtime *runtime, Execution *execution, Instant now);
void core_drop(Runtime *runtime, Execution *execution); /* never taken after all: no word to anybody */
void core_release_held(Runtime *runtime, Instant now);
/* A failure for a trigger that was not taken, straight to `reply_to`. */
void core_answer_refusal(
        Runtime *runtime, const Trigger *trigger, Slice reply_to, ErrorCode code, const char *why, Instant now);
void core_publish_copy(Runtime *runtime, Slice subject, Slice headers, Slice body);

/* herald.c */

void core_publish_registration(Runtime *runtime, Instant now);
void core_publish_parts(Runtime *runtime, Instant now); /* the next of a registration that is too large for one turn */
void core_drop_parts(Runtime *runtime);
void core_publish_heartbeat(Runtime *runtime, Instant now);
void core_publish_changes(Runtime *runtime, Instant now);
void core_publish_deregistration(Runtime *runtime, Instant now);
void core_on_registration_answer(Runtime *runtime, const InMessage *message, Instant now);
void core_on_announce(Runtime *runtime, const InMessage *message, Instant now);
void core_on_deregistered(Runtime *runtime, const InMessage *message, Instant now);

/* control.c */

void core_on_control(Runtime *runtime, const InMessage *message, Slice verb, Instant now);

/* hosted.c */

Agent *core_find_agent(const Runtime *runtime, Slice agent_id);
Agent *core_agent_after(const Runtime *runtime, Slice agent_id); /* in the order of ids; an empty id: the first */
Agent *core_next_agent(Agent *agent);
void core_remove_agent(Runtime *runtime, Agent *agent);
void core_note_changed(Runtime *runtime, Agent *agent);
void core_free_agents(Runtime *runtime);
