/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the parts of the host of child processes share: for exec_host.c, exec_child.c and exec_talk.c alone.
 *
 * Loop thread only. The host owns its children, a child its calls and asks.
 */

#include <sys/queue.h>

#include <uthash.h>

#include "common/deadline.h"
#include "common/log.h"
#include "common/number_index.h"
#include "proto/id.h"
#include "runtimed/exec_host.h"
#include "runtimed/exec_line.h"
#include "runtimed/exec_spawner.h"

#define EXEC_STDERR_LINE_MAX 1024
#define EXEC_HELD_USEC (100 * USEC_PER_MSEC) /* that who was not listened to has at least to be heard */
#define EXEC_CHUNK_BYTES (64 * 1024)         /* what a pipe holds */
#define EXEC_SHOWN_MAX 80                    /* bytes of what it said, when that made no sense */

typedef struct ExecAsk ExecAsk;
typedef struct ExecCall ExecCall;
typedef struct ExecChild ExecChild;

typedef enum ExecState {
        EXEC_QUEUED,   /* waits for its turn to be spawned */
        EXEC_SPAWNING, /* its process is being made */
        EXEC_STARTING, /* has been asked to initialize */
        EXEC_RUNNING,
        EXEC_STOPPING, /* has been asked to shut down */
        EXEC_LEAVING,  /* has closed a pipe, so it is about to end */
        EXEC_KILLED,   /* a matter of time */
        EXEC_GONE,     /* reaped */
} ExecState;

typedef enum ExecDeadline {
        EXEC_DEADLINE_CHILD, /* what its state waits for */
        EXEC_DEADLINE_GATE,  /* takes so long to start that others need not wait for it */
        EXEC_DEADLINE_CALL,
        EXEC_DEADLINE_STARVED, /* calls wait for memory */
} ExecDeadline;

/* A request to the child that has no response yet. */
struct ExecCall {
        TAILQ_ENTRY(ExecCall) link;
        uint64_t id; /* what the child knows it by */
        ExecChild *child;
        Mail *mail;       /* NULL: shutdown, whose outcome is the child's end */
        Outcome *outcome; /* of the mail */
        MessageKind kind;
        uint64_t message_id; /* the core's name for it */
        Deadline deadline;
        bool has_timed_out;
};

TAILQ_HEAD(ExecCallList, ExecCall);

/* A request of the child's that has no response yet, or a notification that the core has not answered yet. */
struct ExecAsk {
        TAILQ_ENTRY(ExecAsk) link;
        Numbered token;
        ExecChild *child;
        uint8_t id_size; /* 0: nobody hears the answer */
        char id[EXEC_ID_MAX];
};

TAILQ_HEAD(ExecAskList, ExecAsk);

struct ExecChild {
        UT_hash_handle hh;
        Agent *agent; /* its key */
        ExecHost *host;
        TAILQ_ENTRY(ExecChild) in_queue, in_dirty;
        ExecChild *next_dead;
        Id agent_id;
        ExecSettings settings;
        ExecState state;
        bool is_dirty, holds_gate, is_initialized, is_checkpointless;
        unsigned stop_stage;
        Deadline deadline, gate;
        Mail *stop; /* its outcome is due when the process is gone */
        Outcome *stop_outcome;
        WireError why; /* we killed it, or how it ended */

        ExecJob job; /* EXEC_SPAWNING: with the spawner */
        ExecProcess process;
        struct event *on_exit, *on_output, *on_stderr, *on_writable;

        /* calls, by age and by id */
        struct ExecCallList calls;
        ExecCall **slots;
        size_t n_slots, n_calls;
        uint64_t sequence;
        struct ExecAskList asks;
        size_t n_asks;

        Buffer in;        /* the beginning of a line */
        Buffer out;       /* what its stdin has not taken yet, */
        size_t n_written; /* but for so much */
        bool closes_in;   /* its stdin is to be closed behind that */

        char words[EXEC_STDERR_LINE_MAX]; /* the beginning of a line of its stderr */
        size_t n_words;
        bool is_cut;
        char last_words[128];
        LogLimit stderr_limit;
};

TAILQ_HEAD(ExecChildList, ExecChild);

struct ExecHost {
        struct event_base *base;
        ExecHostCallbacks callbacks;
        int warden_fd; /* -1: it is gone */
        pid_t warden_pid;
        ExecSpawner *spawner;
        struct event *on_warden, *on_spawned, *on_timer, *on_soon;
        ExecHostStats stats;

        ExecChild *children; /* by agent */
        struct ExecChildList queue, dirty;
        ExecChild *dead; /* to be told of and freed */
        size_t n_at_gate, gate_size;
        DeadlineQueue deadlines;
        uint64_t armed_usec; /* when the timer runs; USEC_NEVER: it does not */
        NumberIndex asks;
        Outcome *outcomes, **outcomes_end; /* to be handed over */
        Mail *starved, **starved_end;      /* calls for whose outcome there was no memory */
        Deadline starved_retry;
        bool is_busy; /* below one of our events: host_leave() is to come */
        bool has_news;
        bool is_held; /* what children say is not read */

        uint64_t now; /* of this event */
        Arena arena;  /* of one line */
        char chunk[EXEC_CHUNK_BYTES];
};

/* exec_host.c */

void exec_host_soon(ExecHost *host); /* there is something to do: now, when below an event, else soon */
void exec_host_put(ExecHost *host, Outcome *outcome);

/* Glue of every event: what happens between is handed to the core at the end, all at once. */
void exec_host_enter(ExecHost *host);
void exec_host_leave(ExecHost *host);

/* exec_child.c: from a process to its end */

/* The child of an INIT. Returns 0; WIRE_E_INVALID with the sentence; -ENOMEM. It is in no list yet. */
int exec_child_new(ExecHost *host, Mail *mail, ExecChild **ret, WireError *ret_error);
ExecChild *exec_child_free(ExecChild *child); /* its process is gone or never was */

void exec_child_spawn(ExecChild *child);
void exec_child_spawned(ExecChild *child);
void exec_child_initialized(ExecChild *child, ExecCall *call, const ExecLine *line);
void exec_child_stop(ExecChild *child, Mail *mail, Outcome *outcome);
void exec_child_closed(ExecChild *child, const char *what); /* it has closed a pipe */
void exec_child_on_deadline(ExecChild *child);
void exec_child_leave_gate(ExecChild *child);
void exec_child_listen(ExecChild *child); /* to its stdout, or not while the host is held */

/* It is at fault: why, as in "it <why>". Its outcomes come when it is reaped. */
void exec_child_kill(ExecChild *child, const char *format, ...) _printf_(2, 3);
/* It did not answer <what> within that setting. */
void exec_child_kill_late(ExecChild *child, const char *what, uint64_t timeout_ms, const char *key);

/* exec_talk.c: what is said to it, and what it says */

/* Opens a call, with an id, whose request is then to be written. NULL: memory is out. `mail` NULL: shutdown. */
ExecCall *exec_call_open(ExecChild *child, Mail *mail, Outcome *outcome);

/* End it: the outcome is on its way, the call is freed. */
void exec_call_reply(ExecCall *call, BehaviorVerdict verdict, ErrorCode code, Slice output);
void exec_call_result(ExecCall *call, int result, Slice output);
void exec_call_drop(ExecCall *call); /* without an outcome */
void exec_ask_free(ExecAsk *ask);

/* What was written to `out` is to go, and not to grow beyond all limits. */
void exec_talk_written(ExecChild *child, size_t n_before);
void exec_talk_flush(ExecChild *child);

/* `all`: until there is nothing, for its process has ended; else as much as is fair. */
void exec_talk_read_output(ExecChild *child, bool all);
void exec_talk_read_stderr(ExecChild *child, bool all);
/* Its time is over: is that request still without an answer, after all that is in the pipe? Else the call is gone. */
bool exec_talk_is_late(ExecChild *child, uint64_t id);
void exec_talk_end_stderr(ExecChild *child);
