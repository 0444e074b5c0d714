/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, shared by the files that make it up and by nothing else:
 *
 *   runtime.c         what the edge calls, the table of handlers, stopping
 *   hosted.c          the set of agents: creating, changing, deleting
 *   life.c            an agent's life: init and stop hooks, restarts, replacement, what is done in which state
 *   durable.c         checkpoints and restores: docs/design.md, "State"
 *   handle_trigger.c  what becomes of a trigger that arrives
 *   deliver.c         what becomes of an application message that arrives
 *   subscribe.c       who is subscribed to what
 *   effects.c         what behaviours want done: publish, subscribe, reply, ...
 *   conversations.c   ... ask, invoke, trigger, and what comes of it
 *   timers.c          ... timers
 *   schedule.c        from mailbox to worker or child process
 *   outcome.c         what comes back, and where it leads
 *   answer.c          how an execution ends: result, events, report, memory
 *   herald.c          what is said to dispatchers: registration, heartbeat, update, deregistration
 *   control.c         the control API
 *   service.c         what is answered to NATS service discovery
 *   spans.c           what is told to a tracer
 *   metrics.c         numbers for operators
 *   page.c            ... and for their browsers
 *   check.c           what must always hold, for tests
 *
 * Loop thread only.
 */

#include "common/deadline.h"
#include "common/discovery.h"
#include "common/id_index.h"
#include "common/log.h"
#include "common/recent.h"
#include "common/rng.h"
#include "proto/event.h"
#include "proto/result.h"
#include "proto/subject.h"
#include "proto/trigger.h"
#include "runtimed/agent.h"
#include "runtimed/asks.h"
#include "runtimed/execution.h"
#include "runtimed/invocations.h"
#include "runtimed/letter.h"
#include "runtimed/memory.h"
#include "runtimed/reporter.h"
#include "runtimed/runtime.h"
#include "runtimed/session.h"
#include "runtimed/store.h"
#include "runtimed/topics.h"

/* Between our inbox and a number, in the reply subject of what was asked: of an ask, and of an invocation. */
#define ASK_TOKEN ".a."
#define INVOKE_TOKEN ".i."

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
        uint64_t epochs;                       /* taken after the first */
        uint64_t delivered, handled;           /* application messages: copies into mailboxes; worked off */
        uint64_t undelivered[_ERROR_CODE_MAX]; /* copies that no behaviour saw, by why not */
        uint64_t expired;                      /* messages whose ttl was used up */
        uint64_t agent_errors;                 /* application messages that a behaviour could not make sense of */
        uint64_t effects[_EFFECT_KIND_MAX], effects_refused;
        uint64_t crashes, restarts;
        uint64_t checkpoints, checkpoint_failures, restores, restore_failures;
} RuntimeCounters;

/* A message whose behaviour is to end it later, or a call to a remote behaviour: found by its id. */
struct OpenMessage {
        UT_hash_handle hh;
        uint64_t id;
        Mail *mail;
        bool is_pending; /* else it is with a remote behaviour, and its outcome comes */
};

/* An application message that is to be handled again. */
struct Deferred {
        Deadline due;
        Delivery *delivery;
};

/* How often an agent's behaviour was lost lately, and when it is started again. */
struct Supervision {
        Deadline due;
        Agent *agent;
        size_t n, n_max; /* restarts in `times`, oldest first; room for */
        uint64_t times[];
};

typedef enum WaitFor {
        WAIT_READY,  /* create_agent, start_agent, restart_agent */
        WAIT_PAUSED, /* nothing is with a worker any more */
        WAIT_STOPPED,
        WAIT_GONE,
        WAIT_CHECKPOINT, /* all that was handled when it was asked for is durable */
        _WAIT_FOR_MAX,
} WaitFor;

/* A request of the control API, or a wish of the agent itself, that is answered when the agent has come so far. */
struct Waiter {
        Waiter *next;
        WaitFor what;
        uint64_t sequence; /* WAIT_CHECKPOINT: of the last message that must be covered */
        Letter *wish;      /* a reference: the envelope of what the agent is answered; NULL: a request */
        uint64_t token;    /* of a wish */
        Slice reply;       /* of a request */
        char storage[];
};

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

typedef struct AgentQueue {
        Agent *first, *last;
} AgentQueue;

struct Runtime {
        RuntimeOptions options;
        Slice id, prefix;
        Outbox *outbox;
        Rng rng;
        Session session;
        DeadlineQueue deadlines; /* of executions and watches */
        uint64_t started_usec, started_real_usec;
        Instant now; /* of the latest call that brought one */

        uint64_t max_payload;
        bool is_up, is_congested;
        bool has_no_dispatcher; /* NATS says that nobody listened to our registration */

        bool is_draining, is_stopping, is_stopped, was_replaced;
        bool was_cut_short, is_stopping_agents, were_discarded; /* how far the stop has come */
        uint64_t stop_usec;                                     /* when what is left is cut short */
        uint64_t report_usec;                                   /* when gathered reports leave; USEC_NEVER: none are */

        IdIndex agents;
        struct AgentTree agents_by_name;
        AgentQueue ready, ready_remote; /* agents with something to hand out: to workers, to child processes */
        Agent *unsettled;               /* agents to look at when the turn ends */
        Id *changed;                    /* agents whose change was not published */
        size_t n_changed, n_changed_allocated;
        bool is_all_changed; /* too many for a list */
        size_t n_alive;      /* agents that are neither stopped nor failed: a stop waits for them */

        Topics *topics;
        Asks asks;
        Invocations invocations;
        Letters letters;
        Delivery *aside; /* that are deferred or pending */
        OpenMessage *open_messages;
        uint64_t n_messages;                    /* ids given to messages */
        StoreRequest *store_first, *store_last; /* for the edge to take */
        size_t n_stored_out;                    /* requests that are with the store */

        Run *idle_runs;
        Mailbox *idle_mailboxes[1024];
        size_t n_idle_runs, n_idle_mailboxes;

        Executions executions;
        size_t n_queued, n_held, n_abandoned, n_out; /* messages in mailboxes, executions, executions, runs */
        Memory *memory;
        Memory *refusals; /* apart, so that a storm of refusals doesn't make us forget answers */
        Reporters reporters;

        Parts parts;

        Arena arena;    /* of the message being handled */
        Buffer scratch; /* of the message being written: n_scratch_headers of headers, then the body */
        size_t n_scratch_headers;
        char traceparent[TRACEPARENT_SIZE];  /* of a message that came without one */
        Buffer check;                        /* of the output being checked */
        Buffer names;                        /* of a subject or a sender being made up */
        char *texts[5 + DISCOVERY_SUBJECTS]; /* subjects of our subscriptions */
        NatsLinkSubscription subscriptions[5 + DISCOVERY_SUBJECTS];

        Outbox answers; /* of the control API: leave when dispatchers have been told of what they are about */

        RuntimeCounters counters;
        Histogram queue_duration, execution_duration; /* from acceptance to the behaviour, and to the answer */
        Histogram checkpoint_duration;                /* from the hook's call until the state is durable */
        Recent recent;
        EndpointStats trigger_stats, control_stats; /* `processing_usec` of the latter is the edge's */
        WireError failure;                          /* why the last init failed */
        ErrorCode failure_code;
};

/* runtime.c */

RuntimeLoad core_load(const Runtime *runtime);
uint64_t core_payload_max(const Runtime *runtime);    /* bytes of one message's body, with room for its headers */
void core_arm_reports(Runtime *runtime, Instant now); /* after anything that may have made news for dispatchers */
void core_apply(Runtime *runtime, unsigned todo, Instant now); /* SESSION_DO_… */
void core_set_draining(Runtime *runtime, bool is_draining, Instant now);

#include "runtimed/core_agents.h"
#include "runtimed/core_messages.h"
#include "runtimed/core_numbers.h"
