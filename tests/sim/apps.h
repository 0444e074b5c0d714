/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Apps: agents in full. Publishers and control clients (the callers are both), the topics they use, and what the oracle
 * knows of each agent on each runtime node: whether it is there, what it is subscribed to, what it must still handle
 * and answer, what of its state is durable.
 *
 * The oracle carries out each control request itself, on its own model, when the request is delivered; the answer must
 * be what the model says. Where a fault or a race leaves it in doubt, it says MAYBE and demands nothing.
 */

#include "runtimed/behavior.h"
#include "runtimed/run.h"
#include "tests/sim/node.h"
#include "tests/sim/sim.h"

#define PATTERNS_MAX 8 /* the last one is the agent's own reply topic */
#define PATTERN_REPLIES (PATTERNS_MAX - 1)

typedef enum AppVerb {
        VERB_SUBSCRIBE,
        VERB_UNSUBSCRIBE,
        VERB_SUBSCRIPTIONS,
        VERB_CREATE,
        VERB_DELETE,
        VERB_START,
        VERB_STOP,
        VERB_PAUSE,
        VERB_RESUME,
        VERB_CHECKPOINT,
        _APP_VERB_MAX,
} AppVerb;

typedef enum Tri {
        NO,
        YES,
        MAYBE,
} Tri;

/* One published message; its number is its index, so that those of one publisher grow. */
typedef struct AppMessage {
        uint32_t caller;
        char subject[48];
        unsigned ttl, hop; /* as published */
        bool wants_answer;
} AppMessage;

/* One process that a request has reached. */
typedef struct Reached {
        uint32_t node, incarnation;
        uint64_t link_generation;
        uint64_t usec;
        bool is_answered, was_up; /* the latter: when it was answered */
        Tri is_wanted_ok;         /* what the model says */
        uint64_t serial;       /* of the host when it was carried out, and from its answer on, when it was answered */
        uint64_t topic_serial; /* likewise */
        uint64_t topic_serials[PATTERNS_MAX]; /* of all, when it was answered */
        uint64_t n_pauses, n_life_verbs;
        uint64_t done;          /* the number of the last message whose outcome the core had */
        unsigned had, in_doubt; /* sets of patterns */
} Reached;

#define REACHED_MAX 4

typedef struct AppRequest {
        AppVerb verb;
        uint32_t caller, agent, pattern;
        bool is_queued, discards, keeps_state, will_fail;
        unsigned qos; /* Qos */
        char runtime_id[16];
        Reached reached[REACHED_MAX]; /* several under one id */
        size_t n_reached;
} AppRequest;

/* A copy of a message on its way to an agent's behaviour, and to an answer. */
typedef struct Copy {
        uint32_t message;
        bool must_be_handled, must_be_answered, is_handled;
        bool is_doubtful;        /* which of several copies an error was about */
        uint64_t handled;        /* the number that its handling had; 0: it did not change the state */
        uint64_t serial;         /* of the host at its delivery */
        uint64_t order;          /* of its delivery to the host */
        uint64_t group;          /* copies of which one agent gets its own; 0: none */
        uint64_t delivered_usec; /* by the node's clock */
        uint32_t n_ahead;        /* that waited when it came, and were begun since */
        unsigned qos;            /* Qos; 0: not known */
        bool is_twin;            /* there was another copy of that message */
} Copy;

typedef struct HostTopic {
        Tri is_had;
        bool is_queued;
        unsigned qos;               /* Qos; 0: not known */
        bool is_own;                /* the agent changes it itself, unseen: always in doubt */
        bool is_known[CALLERS_MAX]; /* this caller has read that it is had */
        uint64_t serial;            /* counts its changes */
        uint64_t asked_usec;        /* when its process was last asked for it */
} HostTopic;

/* The state that a verb's answer has promised, until the next verb. */
typedef enum Known {
        KNOWN_NOTHING,
        KNOWN_PAUSED,
        KNOWN_STOPPED,
} Known;

/* What the store's last answer and on_restore_error leave an agent to begin with. */
typedef enum Restore {
        RESTORE_UNKNOWN, /* the store was not asked since its last init */
        RESTORE_STATE,   /* this one, and no other */
        RESTORE_FRESH,
        RESTORE_FORBIDDEN, /* it must fail */
} Restore;

#define CRASHES_KEPT 16

/* One agent on one runtime node. */
typedef struct Host {
        /* of the process */
        Tri exists;
        bool was_ready;
        bool is_up;           /* it takes mail, for certain */
        bool is_told_to_stop; /* and was not started again */
        bool is_paused;       /* or may be */
        bool is_lost;         /* its behaviour crashed, and there is no new one yet */
        bool is_still;        /* pause_agent was answered, and nothing that could end the pause has come since */
        Known known;
        uint64_t serial; /* changes with all that may end what callers know of it */
        uint64_t n_pauses, n_life_verbs;
        uint64_t n_delivered;           /* copies */
        uint64_t crashes[CRASHES_KEPT]; /* by the node's clock, since an operator has started it */
        size_t n_crashes_kept;
        bool is_hampered; /* it may have used up restarts otherwise: the store could not bring its state, ... */
        HostTopic topics[PATTERNS_MAX];
        Copy *copies; /* that are not settled, in the order of their delivery */
        size_t n_copies, n_copies_allocated;
        uint64_t last_seen[_LANE_MAX][CALLERS_MAX][PATTERNS_MAX]; /* message number plus one */
        uint32_t n_inits, n_stops, n_crashes;                     /* that succeeded; hooks called; behaviours lost */
        uint32_t n_asks;                                          /* of others, not answered yet */
        uint32_t n_pending;                                       /* messages that its behaviour will end by a timer */
        uint32_t n_emissions;                                     /* wanted and not seen yet */
        uint64_t wanted_saved;                                    /* what its behaviour last asked to be saved */
        uint64_t state;  /* number of the last message that changed what its behaviour holds */
        uint64_t n_done; /* the same, of what the core has heard the outcome of */

        /* of the machine: what its disk holds */
        uint64_t stored;   /* the number in the newest record that was acknowledged */
        bool may_be_older; /* a load failed since: then what is restored depends on on_restore_error */
        bool is_save_failed;
        Restore restore;
        uint64_t restore_number;
} Host;

struct Apps {
        AppMessage *messages;
        size_t n_messages, n_messages_allocated;
        AppRequest *requests;
        size_t n_requests, n_requests_allocated;
        uint64_t n_handled; /* numbers given to handled messages, all over the world */
        uint64_t n_tokens;
        uint64_t n_groups;
        Host hosts[NODES_MAX][APPS_MAX];
};

/* apps.c: the load */

void apps_init(Sim *sim);
void apps_done(Sim *sim);
void apps_plan(Sim *sim);
void apps_end(Sim *sim); /* the faults are over: what was paused goes on */
const char *app_verb_name(AppVerb verb);
void apps_publish(Sim *sim, Node *caller, const char *subject);
void apps_definition(Sim *sim, uint32_t agent, bool fails, Buffer *ret);
bool apps_hosts(const Sim *sim, const Node *node, uint32_t agent);
const char *app_pattern(uint32_t pattern, uint32_t agent, char ret[48]);
void apps_on_answer(Sim *sim, Node *caller, const Message *message); /* to a control request, received */

/* oracle_apps.c: what is published, and who gets it */

void apps_on_start(Sim *sim, Node *node); /* before its core is made */
void apps_on_link(Sim *sim, Node *node);
bool apps_on_publish(Sim *sim, const Node *node, Message *message); /* reads its meaning; false: it is none of ours */
void apps_on_routed(Sim *sim, const Message *message);
void apps_on_delivery(Sim *sim, Node *node, const Message *message, const LinkSubscription *through);
void apps_on_handle(Sim *sim, Node *node, uint32_t agent, const Mail *mail, const BehaviorMessage *message);
void apps_on_handled(Sim *sim, Node *node, uint32_t agent, uint32_t message, uint64_t number);
uint32_t apps_message_of(const Sim *sim, Slice body); /* its number; INDEX_NONE: it is none */
void apps_check_copies(Sim *sim, const Node *node, uint32_t agent, const char *when, bool answers_only);
void apps_check_end(Sim *sim);
Host *apps_host(Sim *sim, const Node *node, uint32_t agent);

/* oracle_mailbox.c: promise 9: what a mailbox keeps, and what it sheds */

bool mailbox_takes(const Sim *sim, uint32_t agent, Host *host,
        unsigned qos);                            /* a copy that is about to be delivered; for certain */
void mailbox_check_counted(Sim *sim, Node *node); /* what was shed */
void mailbox_on_begin(
        Sim *sim, Node *node, uint32_t agent, const Copy *copy, const Mail *mail); /* a behaviour has it */

/* oracle_state.c: what is saved, restored and forgotten */

bool state_is_kept(const Sim *sim, uint32_t agent);
void state_on_saved(Sim *sim, Node *node, uint32_t agent, uint64_t number, bool succeeded);
void state_on_loaded(Sim *sim, Node *node, uint32_t agent, bool is_there, uint64_t number);
void state_on_load_failed(Sim *sim, Node *node, uint32_t agent, bool has_previous, uint64_t previous);
void state_check_init(Sim *sim, const Node *node, uint32_t agent, Slice state, uint64_t number);
void state_check_saved(Sim *sim, const Node *node, uint32_t agent, const char *when); /* all that it did */
void state_check_deleted(Sim *sim, const Node *node, uint32_t agent, bool is_kept);

/* oracle_life.c: what agents come to */

void life_on_request(Sim *sim, Node *node, const Message *message);              /* delivered to a runtime */
void life_on_request_answer(Sim *sim, const Node *node, const Message *message); /* published by it */
void life_on_request_read(Sim *sim, Node *caller, const Message *message);       /* received */
void life_on_init(Sim *sim, Node *node, uint32_t agent, Slice state, uint64_t number, bool succeeded);
void life_on_ready(Sim *sim, Node *node, uint32_t agent); /* the core has the outcome of init */
void life_on_stop_hook(Sim *sim, Node *node, uint32_t agent);
void life_on_own_topic(Sim *sim, Node *node, uint32_t agent, uint32_t pattern); /* it changes that itself */
void life_on_crash(Sim *sim, Node *node, uint32_t agent);
void life_on_told_to_stop(Sim *sim, Node *node);
void life_on_leave(Sim *sim, Node *node);
void life_release(Host *host); /* what it holds may be dropped, but whoever waits for an answer gets one */
void life_check_end(Sim *sim);
