/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Mail: one call that an agent's behaviour is to get. Run: a batch of them on its way to a worker, and what may be
 * added while it is there. Outcome: what became of one, on its way back.
 *
 * While a Run is out, its worker owns the agent's behaviour state and every Mail that was handed over, and nothing else
 * does: the core touches only the atomics. A worker hands back an Outcome for each Mail that has something to say, in
 * order; what was handled without a word goes back as a chain through `returned`. The last outcome of a run has
 * `run_ended` set and gives the agent back, with the messages that the worker left.
 *
 * Handing over is what costs (a wake-up and back: 18 us), so a run is topped up while it is out: the core puts a chain
 * into `incoming` when that is empty, the worker takes it when it has nothing left, and closes the run when there is
 * nothing. So one sender and one agent keep two processors busy without a lock or a wake-up.
 *
 * Calls to remote behaviours (child processes) travel alone, without a Run, and come back in any order.
 */

#include <stdatomic.h>

#include "common/deadline.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "runtimed/behavior.h"

typedef struct Agent Agent;
typedef struct Execution Execution;
typedef struct Mail Mail;
typedef struct Outcome Outcome;
typedef struct Run Run;

#define AGENT_CLASSES(X)        \
        X(REALTIME, "realtime") \
        X(BATCHED, "batched")   \
        X(BACKGROUND, "background")

typedef enum AgentClass {
#define X(name, text) AGENT_CLASS_##name,
        AGENT_CLASSES(X) /* from priority 70 on; 30 to 69; below */
#undef X
        _AGENT_CLASS_MAX,
} AgentClass;

typedef enum MailKind {
        MAIL_TRIGGER, /* in an Execution */
        MAIL_TOPIC,   /* this and the next two in a Delivery (letter.h) */
        MAIL_ANSWER,
        MAIL_TIMER,
        MAIL_INIT, /* this and the next two in a Control */
        MAIL_CHECKPOINT,
        MAIL_STOP,
} MailKind;

/* The order in which an agent's mail is handed out. */
typedef enum Lane {
        LANE_CONTROL,  /* init, checkpoint, stop */
        LANE_URGENT,   /* what belongs to messages that were begun: resumed ones, answers, timers */
        LANE_REALTIME, /* topics with that QoS */
        LANE_BATCHED,  /* triggers, topics */
        LANE_BACKGROUND,
        _LANE_MAX,
} Lane;

/* What every outcome has comes first: the end of a run then moves one cache line between processors. */
struct Outcome {
        Outcome *next;                        /* for the list that holds it */
        Run *run;                             /* NULL: of a call to a remote behaviour */
        Mail *mail;                           /* what was handled; NULL: only the end of the run */
        uint64_t started_usec, finished_usec; /* CLOCK_BOOTTIME, read by the worker */
        int result;     /* INIT, CHECKPOINT: what the hook returned; then reply.output is the sentence, or the state */
        bool skipped;   /* the behaviour did not see it: no reply */
        bool is_late;   /* skipped, since its late_usec had passed */
        bool run_ended; /* the run goes back to the core, too */
        bool is_embedded;     /* part of its mail or its run; else it is freed when it was read */
        void *behavior_state; /* INIT of a remote one: the host's name for the child */
        BehaviorReply reply;
};

struct Mail {
        Mail *next, *previous; /* in a mailbox; in a run only `next` */
        Agent *agent;
        Outcome *outcome;       /* its own; NULL: lent when there is something to say */
        uint64_t late_usec;     /* not to be handled from then on; USEC_NEVER: always */
        uint32_t n_bytes;       /* what it counts for in its mailbox */
        uint8_t kind;           /* MailKind */
        uint8_t lane;           /* Lane */
        bool is_resumed;        /* it was deferred, and is due */
        bool wants_answer;      /* somebody waits for an answer: its outcome is news, whatever it is */
        bool skipped, is_late;  /* as in Outcome, for those that come back without a word; else false */
        atomic_bool called_off; /* set by the core: don't begin it any more */
};

typedef struct Control {
        Mail mail;
        Outcome outcome;
        BehaviorStart start; /* INIT; borrowed from the definition, but for `state` */
        Buffer state;        /* INIT: what `start.state` points to */
} Control;

typedef enum RunWish {
        RUN_GO_ON,
        RUN_RECALL,  /* come back after this message, with the rest */
        RUN_DISCARD, /* begin nothing more but control: the rest is skipped */
} RunWish;

/* In cache lines by who writes them: handing over costs little but the moves of these between processors. */
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): by lines, not by size */
struct Run {
        Run *next; /* for the queue that holds it */
        Agent *agent;
        const Behavior *behavior;
        void *behavior_state; /* the agent's, while it is out */
        AgentClass agent_class;
        uint32_t quantum; /* messages until it goes to the back of its class */

        /* the worker's */
        _Alignas(64) Mail *mail; /* what is left, singly linked */
        Mail *done, *done_last;
        Outcome *spare; /* for the next that has something to say and no outcome of its own */
        bool is_closed;

        /* from the worker to the loop */
        atomic_uint_fast64_t n_begun;       /* messages taken up, skipped ones included */
        atomic_uint_fast64_t n_bytes_begun; /* of those in the lanes that are bounded */
        _Atomic(Mail *) returned;           /* handled without a word; a stack of chains, linked through `next` */

        _Alignas(64) Outcome end; /* for when only the end is to be told */

        /* from the loop to the worker */
        _Alignas(64) _Atomic(Mail *) incoming;
        atomic_uchar wish; /* RunWish */

        /* the loop's */
        Execution *out_first, *out_last; /* executions that it carries, in order */
        uint64_t n_given, n_bytes_given, given_usec;
        Deadline watch;         /* when to look what the worker is at */
        uint64_t begun_usec;    /* when the watch last saw the worker take up a message */
        uint64_t watch_usec;    /* pause until the next look */
        uint64_t watched_begun; /* what it saw */
        uint64_t report_usec;   /* once it has held its worker for so long, that is said */
};

/* the core's side */

/* Blank but for its spare outcome. NULL: memory is out. */
Run *run_new(void);
Run *run_free(Run *run); /* not while it is out */

/* Before it goes out, each time: nothing begun, no wish, a spare outcome, that chain. The rest is the core's to set.
 * Returns false when memory is out. */
bool run_open(Run *run, Mail *chain) _must_check_;

/* A chain, in order, for a run that is out. Returns false when it can't be taken now (the last one is still there, or
 * the run is about to end): the caller keeps it, and gets its chance when the run comes back. */
bool run_top_up(Run *run, Mail *chain);

void run_wish(Run *run, RunWish wish);

/* What was handled without a word since the last call, linked through `next`, in no particular order. */
Mail *run_take_returned(Run *run);

Outcome *outcome_free(Outcome *outcome); /* one that is not embedded, with its reply */

/* the worker's side: the same for a thread, for the loop thread and for the simulator's virtual workers */

/*
 * Handles the first message that is left; there must be one. Returns its outcome, or NULL when there is nothing to say.
 * `now_usec` is the time, for what is late; when the outcome is not NULL the caller sets finished_usec.
 */
Outcome *run_step(Run *run, uint64_t now_usec);

/*
 * After each step: is the run over? First takes over what was added. When true the run is closed: hand over what
 * run_end() makes of the last outcome (or of none), and then hands off the run. It is over when nothing is left, when
 * the core wants it back, and when there was no memory for a spare outcome.
 */
bool run_close(Run *run);

/* Closes it with messages left: they go back in order with the end. */
void run_abandon(Run *run);

/* The outcome that ends the run: `outcome`, or the run's own when that is NULL. */
Outcome *run_end(Run *run, Outcome *outcome);

/* What was handled without a word so far, for the core to free: for a run that stays out for long. */
void run_hand_over_done(Run *run);

/* Did the core ask for the run back? */
static inline bool run_is_recalled(const Run *run) {
        return atomic_load_explicit(&run->wish, memory_order_relaxed) == RUN_RECALL;
}

/* for hosts of remote behaviours */

/* What the behaviour is to be told of a trigger, a topic message, an answer, a timer. Borrowed while the mail is. */
void mail_read(const Mail *mail, BehaviorMessage *ret);

/* Its own outcome, or a new one, blank but for its mail. NULL: memory is out. */
Outcome *mail_outcome(Mail *mail);

static inline Control *control_of_mail(Mail *mail) {
        return CONTAINER_OF(mail, Control, mail);
}
