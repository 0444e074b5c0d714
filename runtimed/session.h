/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Session: how the runtime stands with the dispatchers: is it registered, under which epoch, when does it speak next,
 * and may it believe that it is still thought alive.
 *
 * Embedded by value. Pure: takes what was heard and the time, tells what to do; herald.c writes the messages. Loop
 * thread only.
 */

#include "common/instant.h"
#include "common/rng.h"
#include "proto/cc.h"
#include "proto/registration.h"

#define SESSION_STATES(X)                                                              \
        X(OFFLINE, "offline", "no connection to NATS")                                 \
        X(REGISTERING, "registering", "has said who it is; no dispatcher took it yet") \
        X(REGISTERED, "registered", "a dispatcher took the current registration")      \
        X(QUIET, "quiet", "taken out by an operator: says nothing until resumed")      \
        X(REPLACED, "replaced", "another process has this id: leaves")                 \
        X(LEFT, "left", "has deregistered")

typedef enum SessionState {
        SESSION_INVALID,
#define X(name, text, meaning) SESSION_##name,
        SESSION_STATES(X) _SESSION_STATE_MAX,
#undef X
} SessionState;

typedef enum SessionEvent {
        SESSION_EV_UP,
        SESSION_EV_DOWN,
        SESSION_EV_TAKEN,    /* a dispatcher took the whole current registration */
        SESSION_EV_ANNOUNCE, /* to be said again: a roll call, a stall */
        SESSION_EV_DEAD,     /* this epoch was declared dead */
        SESSION_EV_OPERATOR, /* taken out by hand */
        SESSION_EV_RESUME,
        SESSION_EV_REPLACED,
        SESSION_EV_LEAVE,
        _SESSION_EVENT_MAX,
} SessionEvent;

/* What the caller must do now: flags. */
enum {
        SESSION_DO_NOTHING = 0,
        SESSION_DO_REGISTER = 1 << 0,  /* publish the registration */
        SESSION_DO_HEARTBEAT = 1 << 1, /* publish a heartbeat */
        SESSION_DO_SUPERSEDE = 1 << 2, /* the epoch is over: what was taken under it is nobody's any more */
        SESSION_DO_SETTLE = 1 << 3,    /* the doubt is over: what was held may go out */
        SESSION_DO_LEAVE = 1 << 4,     /* replaced: drain and leave */
};

typedef struct Session {
        Slice runtime_id; /* for log lines */
        SessionState state;
        Rng *rng;
        uint64_t epoch, revision;

        uint64_t own_interval_usec, interval_usec; /* of heartbeats: configured, and in force */
        double dead_after_intervals;               /* the shortest window that a dispatcher named; 0: none did */
        uint64_t dead_after_usec;                  /* the same at the interval in force */
        bool was_accepted;                         /* a dispatcher has taken this process once */
        bool is_doubtful;                          /* silent for so long that a dispatcher may have given its verdict */
        bool is_quiet;                             /* taken out by hand; outlives a lost connection */

        unsigned n_tries;                       /* registrations since the last that was taken */
        uint64_t round_revision;                /* the revision of the first of them */
        uint64_t register_usec, heartbeat_usec; /* when next; USEC_NEVER: not */
        uint64_t registered_usec;               /* when we last registered */
        uint64_t spoken_usec;                   /* when dispatchers last heard of us, as far as we know; 0: never */
        uint64_t sequence;                      /* of heartbeats */
} Session;

/* A reload: the configured interval, in force at once. */
void session_set_own_interval(Session *session, uint64_t interval_usec);

void session_init(Session *session, Slice runtime_id, uint64_t epoch, uint64_t interval_usec, Rng *rng);

/* Each returns SESSION_DO_… */

unsigned session_on_up(Session *session, Instant now);
unsigned session_on_down(Session *session, Instant now);
unsigned session_on_taken(Session *session, const RegistrationTaken *taken, Instant now);
/* `epoch`: the one that the refusal was about; `known_epoch`: the one the dispatcher knows. */
unsigned session_on_refused(
        Session *session, DeregisterReason reason, uint64_t epoch, uint64_t known_epoch, Instant now);
unsigned session_on_full(Session *session, Instant now); /* the registry is full */
unsigned session_on_announce(Session *session, const Announce *announce, Instant now);
unsigned session_on_resume(Session *session, Instant now);
unsigned session_on_time(Session *session, Instant now);

/* To be called first with every `now`: has too much time passed since we last spoke? */
unsigned session_notice(Session *session, Instant now);

/* The set of agents has changed: revision grows. The caller publishes an update when registered, else this registers
 * anew. */
unsigned session_on_change(Session *session, Instant now);

/* Something that dispatchers should know at once (draining). */
unsigned session_speak(Session *session, Instant now);

/* Nothing is said any more. Returns whether a deregistration is due. */
bool session_leave(Session *session);

uint64_t session_next_deadline(const Session *session);

static inline bool session_is_up(const Session *session) {
        return session->state == SESSION_REGISTERING || session->state == SESSION_REGISTERED ||
               session->state == SESSION_QUIET;
}

static inline bool session_speaks(const Session *session) {
        return session->state == SESSION_REGISTERING || session->state == SESSION_REGISTERED;
}

const char *session_state_name(SessionState state);

/* For tests that walk the table; SESSION_INVALID: not possible. */
SessionState session_next_state(SessionState state, SessionEvent event);
