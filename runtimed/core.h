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
 *   effects.c         what behaviours want done: publish, ask, timers, ...
 *   schedule.c        from mailbox to worker (or child process) and back
 *   answer.c          how an execution ends: result, events, report, memory
 *   herald.c          what is said to dispatchers: registration, heartbeat, update, deregistration
 *   control.c         the control API
 *   observe.c         metrics, and the check of what must always hold
 *
 * Loop thread only.
 */

#include "common/deadline.h"
#include "common/id_index.h"
#include "common/log.h"
#include "common/metrics.h"
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

#define ASK_TOKEN ".a." /* between our inbox and an ask's number, in the reply subject of what was asked */

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
        WAIT_READY,  /* create_agent, start_agent */
        WAIT_PAUSED, /* nothing is with a worker any more */
        WAIT_STOPPED,
        WAIT_GONE,
        WAIT_CHECKPOINT, /* all that was handled when it was asked for is durable */
        _WAIT_FOR_MAX,
} WaitFor;

/* A request of the control API that is answered when its agent has come so far. */
struct Waiter {
        Waiter *next;
        WaitFor what;
        uint64_t sequence; /* WAIT_CHECKPOINT: of the last message that must be covered */
        Slice reply;
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
        uint64_t started_usec;
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
        Mailbox *idle_mailboxes[16];
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
        Buffer check;   /* of the output being checked */
        Buffer names;   /* of a subject or a sender being made up */
        char *texts[5]; /* subjects of our subscriptions */
        NatsLinkSubscription subscriptions[5];

        Outbox answers; /* of the control API: leave when dispatchers have been told of what they are about */

        RuntimeCounters counters;
        Histogram execution_seconds, queue_seconds;
        Histogram checkpoint_seconds;
        LogLimit invalid_limit, refused_limit, registration_limit, message_limit, effect_limit, checkpoint_limit;
        WireError failure; /* why the last init failed */
        ErrorCode failure_code;
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

void core_make_ready(Runtime *runtime, Agent *agent); /* after anything that may have opened a lane or brought mail */
int core_push_mail(Runtime *runtime, Agent *agent, Mail *mail); /* into its mailbox: 0, MAILBOX_E_FULL, -ENOMEM */
bool core_has_room(Runtime *runtime, Agent *agent, size_t n_bytes);
bool core_takes_mail(const Agent *agent);
void core_drop_oldest(Runtime *runtime, Agent *agent, size_t n_bytes, Instant now); /* until there is room */
void core_recall(Agent *agent); /* its run, if one is out, comes back soon */
void core_on_watch(Runtime *runtime, Run *run, Instant now);
void core_on_execution_time(Runtime *runtime, Execution *execution, Instant now);
void core_on_resume(Runtime *runtime, Deadline *deadline, Instant now);
void core_arm_execution(Runtime *runtime, Execution *execution);
OpenMessage *core_find_open(const Runtime *runtime, uint64_t message_id);
void core_close_message(Runtime *runtime, uint64_t message_id); /* it is not open any more */
void core_end_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome, Instant now); /* takes both */
void core_free_delivery(Runtime *runtime, Delivery *delivery);
/* Ends one that was left pending; false: there is none such of that agent. */
bool core_end_pending(Runtime *runtime, Agent *agent, uint64_t message_id, BehaviorReply *reply, Instant now);
/* Answers or drops every message that it holds and no worker has begun, with `code`. */
void core_discard_mail(Runtime *runtime, Agent *agent, ErrorCode code, Instant now);
bool core_holds_mail(const Runtime *runtime); /* application messages that are to be handled yet */
void core_free_mail(Runtime *runtime);        /* at the end of all, without a word */

/* life.c */

void core_start_agent(Runtime *runtime, Agent *agent, Instant now);              /* it is created, stopped or failed */
int core_stop_agent(Runtime *runtime, Agent *agent, bool discards, Instant now); /* 0, AGENT_E_INVALID_TRANSITION */
void core_note_unsettled(Runtime *runtime, Agent *agent); /* something ended: look at it when the turn ends */
void core_settle_agents(Runtime *runtime, Instant now);
void core_call(Runtime *runtime, Agent *agent, Control *control, Instant now); /* takes it */
Control *core_control_new(Agent *agent, MailKind kind);
void core_control_free(Control *control);
void core_on_control(Runtime *runtime, Control *control, Instant now);           /* takes it: its outcome is here */
void core_send_init(Runtime *runtime, Agent *agent, Buffer *state, Instant now); /* takes the state; NULL: none */
void core_on_init_failed(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now);
void core_fail_agent(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now); /* while it runs */
void core_on_restart_time(Runtime *runtime, Supervision *supervision, Instant now);
int core_wait(Runtime *runtime, Agent *agent, WaitFor what, Slice reply); /* 0, -ENOMEM */
/* Those of that kind (and, for checkpoints, up to that sequence): code ERROR_NONE is good news. */
void core_answer_waiters(Runtime *runtime, Agent *agent, WaitFor what, uint64_t sequence, ErrorCode code, Slice why);

/* durable.c */

int core_durable_new(Runtime *runtime, Agent *agent);
void core_durable_free(Runtime *runtime, Agent *agent);
void core_load_state(
        Runtime *runtime, Agent *agent, Instant now); /* ends in core_send_init() or core_on_init_failed() */
void core_refuse_state(Runtime *runtime, Agent *agent, Slice why, Instant now); /* its behaviour will not have it */
void core_note_handled(Runtime *runtime, Agent *agent, uint64_t n, Instant now);
void core_after_handling(Runtime *runtime, Agent *agent, Instant now); /* a batch is over: is a checkpoint due? */
bool core_must_wait_for_state(const Agent *agent);                     /* may no answer leave before it is durable? */
/* The outcome is taken; the answer leaves when what was handled so far is durable. */
int core_hold_execution(Runtime *runtime, Execution *execution);
int core_hold_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome);
void core_drop_hold(Execution *execution);
void core_ask_checkpoint(Runtime *runtime, Agent *agent, Instant now);
void core_on_checkpoint(Runtime *runtime, Control *control, Instant now); /* takes it */
void core_on_checkpoint_time(Runtime *runtime, Deadline *due, Instant now);
/* The behaviour is gone: what was not durable never will be. */
void core_lose_state(Runtime *runtime, Agent *agent, ErrorCode code, Instant now);
void core_free_holds(Agent *agent); /* at the end of all */
void core_free_requests(Runtime *runtime);
bool core_has_undurable(const Agent *agent); /* handled something since the last checkpoint */
bool core_is_storing(const Agent *agent);    /* the store owes an answer about it */
void core_forget_state(Runtime *runtime, Agent *agent, Instant now);
uint64_t core_durable_sequence(const Agent *agent);

/* subscribe.c */

/* Would the definition's topics be allowed? Before anything is made. */
int core_check_topics(Runtime *runtime, const Definition *definition, ErrorCode *ret_code, WireError *ret_error);
int core_subscribe_configured(Runtime *runtime, Agent *agent); /* and its reply topic: 0, -ENOMEM */
void core_change_configured(Runtime *runtime, Agent *agent, const Definition *old);
void core_unsubscribe_all(Runtime *runtime, Agent *agent);
void core_suspend_topics(Runtime *runtime, Agent *agent); /* it gets nothing, and keeps its list */
void core_resume_topics(Runtime *runtime, Agent *agent);
void core_leave_topics(Runtime *runtime); /* the runtime stops: nothing new, and what the server has sent still comes */
int core_subscribe(
        Runtime *runtime, Agent *agent, const TopicWanted *wanted, ErrorCode *ret_code, WireError *ret_error);
int core_unsubscribe(Runtime *runtime, Agent *agent, Slice topic, ErrorCode *ret_code, WireError *ret_error);

/* deliver.c */

void core_on_letter(Runtime *runtime, const InMessage *message, Instant now); /* it came for a topic */
/* Answers whoever asked with it, if somebody did: with the output, or with `code` and the sentence. */
void core_answer_letter(
        Runtime *runtime, const Agent *agent, const Letter *letter, ErrorCode code, Slice output, Instant now);
/* A copy that no behaviour will see: counted, answered if somebody asked, freed. */
void core_drop_delivery(Runtime *runtime, Delivery *delivery, ErrorCode code, Instant now);

/* effects.c */

/* What the agent wants, while it handles a message with that envelope; the list stays the caller's. */
void core_apply_effects(Runtime *runtime, Agent *agent, uint64_t message_id, const Envelope *envelope, Slice exec_id,
        const EffectList *effects, Instant now);
void core_on_ask_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now); /* below the inbox */
void core_on_ask_time(Runtime *runtime, Deadline *deadline, Instant now);
void core_on_timer(Runtime *runtime, Deadline *deadline, Instant now);
void core_end_conversations(Runtime *runtime, Agent *agent); /* asks and timers of an agent that stops */

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
void core_release_execution(Runtime *runtime, Execution *execution, Instant now); /* if nothing else holds it */
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

/* Answers a request about that agent: ERROR_NONE with what it is now. */
void core_answer_request(Runtime *runtime, const Agent *agent, Slice reply, ErrorCode code, Slice why);

void core_on_request(Runtime *runtime, const InMessage *message, Slice verb, Instant now);

/* hosted.c */

Agent *core_find_agent(const Runtime *runtime, Slice agent_id);
Agent *core_agent_after(const Runtime *runtime, Slice agent_id); /* in the order of ids; an empty id: the first */
Agent *core_next_agent(Agent *agent);
void core_delete_agent(Runtime *runtime, Agent *agent, bool discards, bool keeps_record, Instant now);
void core_remove_agent(Runtime *runtime, Agent *agent);
bool core_is_announced(const Agent *agent);
void core_note_changed(Runtime *runtime, Agent *agent);
void core_free_agents(Runtime *runtime);
size_t core_n_agents(const Runtime *runtime);
int core_create_agent(Runtime *runtime, Slice definition, Slice reply, Instant now, ErrorCode *ret_code,
        WireError *ret_error); /* answers `reply` when it runs or could not be started; absent: nobody */
