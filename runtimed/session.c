/* SPDX-License-Identifier: MIT */

/*
 * The rules of docs/protocol.md, "A runtime's life", as a state machine.
 *
 * Doubt. A runtime that was stopped (SIGSTOP, a suspended machine) or cut off can't know whether it was declared dead
 * meanwhile. What it can know is when it last spoke: more than dead_after ago means that a verdict is possible. From
 * then on, until a dispatcher has answered its registration, `is_doubtful` holds: relays are refused and answers held
 * back, so that work placed again elsewhere is not done and answered twice. Time is looked at before every message,
 * because the messages that piled up during a stop are handled before any timer gets its turn.
 *
 * Epochs. A new one is the wall clock in milliseconds, but always above the old one and above any that we were told of,
 * so a clock that was set back does no harm. Refusals about an epoch that is not the current one are late and ignored.
 *
 * Several dispatchers may ask for different intervals; the longest asked for in one round of registration wins, as each
 * heartbeat says its interval and every dispatcher goes by that. Never shorter than configured, never longer than a
 * minute (or what is configured).
 */

#include "runtimed/diag.h"
#include "runtimed/session.h"

#define ACK_WAIT_USEC (1 * USEC_PER_SEC) /* protocol.md: no answer within a second, register again */
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)
#define FULL_WAIT_USEC (10 * USEC_PER_SEC)      /* a full registry doesn't empty within a second */
#define ANNOUNCE_GAP_USEC (100 * USEC_PER_MSEC) /* a storm of roll calls is answered once in a while, not once each */
#define INTERVAL_MAX_USEC (60 * USEC_PER_SEC)
#define JITTER_PERCENT 10
#define EPOCH_SPREAD                                                                                    \
        1000 /* two processes that were given the same id by mistake must not arrive at the same number \
              */

static const SessionState next_state[_SESSION_STATE_MAX][_SESSION_EVENT_MAX] = {
        [SESSION_OFFLINE] = {
                [SESSION_EV_UP]       = SESSION_REGISTERING,
                [SESSION_EV_DOWN]     = SESSION_OFFLINE,
                [SESSION_EV_OPERATOR] = SESSION_OFFLINE,
                [SESSION_EV_RESUME]   = SESSION_OFFLINE,
                [SESSION_EV_REPLACED] = SESSION_REPLACED,
                [SESSION_EV_LEAVE]    = SESSION_LEFT,
        },
        [SESSION_REGISTERING] = {
                [SESSION_EV_UP]       = SESSION_REGISTERING,
                [SESSION_EV_DOWN]     = SESSION_OFFLINE,
                [SESSION_EV_TAKEN]    = SESSION_REGISTERED,
                [SESSION_EV_ANNOUNCE] = SESSION_REGISTERING,
                [SESSION_EV_DEAD]     = SESSION_REGISTERING,
                [SESSION_EV_OPERATOR] = SESSION_QUIET,
                [SESSION_EV_RESUME]   = SESSION_REGISTERING,
                [SESSION_EV_REPLACED] = SESSION_REPLACED,
                [SESSION_EV_LEAVE]    = SESSION_LEFT,
        },
        [SESSION_REGISTERED] = {
                [SESSION_EV_UP]       = SESSION_REGISTERING,
                [SESSION_EV_DOWN]     = SESSION_OFFLINE,
                [SESSION_EV_TAKEN]    = SESSION_REGISTERED,
                [SESSION_EV_ANNOUNCE] = SESSION_REGISTERED,
                [SESSION_EV_DEAD]     = SESSION_REGISTERING,
                [SESSION_EV_OPERATOR] = SESSION_QUIET,
                [SESSION_EV_RESUME]   = SESSION_REGISTERED,
                [SESSION_EV_REPLACED] = SESSION_REPLACED,
                [SESSION_EV_LEAVE]    = SESSION_LEFT,
        },
        [SESSION_QUIET] = {
                [SESSION_EV_UP]       = SESSION_QUIET,
                [SESSION_EV_DOWN]     = SESSION_OFFLINE,
                [SESSION_EV_OPERATOR] = SESSION_QUIET,
                [SESSION_EV_RESUME]   = SESSION_REGISTERING,
                [SESSION_EV_REPLACED] = SESSION_REPLACED,
                [SESSION_EV_LEAVE]    = SESSION_LEFT,
        },
        [SESSION_REPLACED] = {
                [SESSION_EV_UP]    = SESSION_REPLACED,
                [SESSION_EV_DOWN]  = SESSION_REPLACED,
        },
        [SESSION_LEFT] = {
                [SESSION_EV_UP]   = SESSION_LEFT,
                [SESSION_EV_DOWN] = SESSION_LEFT,
        },
};

SessionState session_next_state(SessionState state, SessionEvent event) {
        assert(state < _SESSION_STATE_MAX && event < _SESSION_EVENT_MAX);
        return next_state[state][event];
}

const char *session_state_name(SessionState state) {
        static const char *const names[_SESSION_STATE_MAX] = { [SESSION_INVALID] = "invalid",
#define X(name, text, meaning) [SESSION_##name] = text,
                SESSION_STATES(X)
#undef X
        };

        assert(state < _SESSION_STATE_MAX);
        return names[state];
}

/* The one writer of `state`. Returns false when the event means nothing in this state: it is late, and dropped. */
static bool session_set_state(Session *session, SessionEvent event) {
        SessionState from = session->state, to = session_next_state(from, event);

        if (to == SESSION_INVALID)
                return false;
        if (event == SESSION_EV_UP && session->is_quiet)
                to = SESSION_QUIET;

        session->state = to;
        if (!session_speaks(session))
                session->register_usec = session->heartbeat_usec = USEC_NEVER;
        if (to != from)
                diag_session_state(session->runtime_id, session->epoch, from, to);
        return true;
}

void session_init(Session *session, Slice runtime_id, uint64_t epoch, uint64_t interval_usec, Rng *rng) {
        *session = (Session){
                .runtime_id = runtime_id,
                .state = SESSION_OFFLINE,
                .rng = rng,
                .epoch = epoch,
                .revision = 1,
                .own_interval_usec = interval_usec,
                .interval_usec = interval_usec,
                .register_usec = USEC_NEVER,
                .heartbeat_usec = USEC_NEVER,
        };
}

/* When to register again if nobody answers: a second, then longer, so that a fleet without a dispatcher is quiet. */
static uint64_t retry_usec(Session *session) {
        uint64_t wait = ACK_WAIT_USEC << MIN_OF(session->n_tries, 5U);

        return rng_jitter(session->rng, MIN_OF(wait, RETRY_MAX_USEC), 2 * JITTER_PERCENT);
}

static void spoke(Session *session, Instant now) {
        session->spoken_usec = now.usec;
        session->heartbeat_usec = now.usec + rng_jitter(session->rng, session->interval_usec, JITTER_PERCENT);
}

static unsigned say_registration(Session *session, Instant now) {
        if (session->n_tries == 0)
                session->round_revision = session->revision;
        session->register_usec = now.usec + retry_usec(session);
        session->registered_usec = now.usec;
        session->n_tries++;
        spoke(session, now);
        return SESSION_DO_REGISTER;
}

static unsigned begin_registration(Session *session, Instant now) {
        session->n_tries = 0;
        return say_registration(session, now);
}

unsigned session_on_up(Session *session, Instant now) {
        (void)session_notice(session, now);
        if (!session_set_state(session, SESSION_EV_UP) || session->state != SESSION_REGISTERING)
                return SESSION_DO_NOTHING;

        return begin_registration(session, now);
}

unsigned session_on_down(Session *session, Instant now) {
        (void)now;

        (void)session_set_state(session, SESSION_EV_DOWN);
        return SESSION_DO_NOTHING;
}

/*
 * A dispatcher's window is so many intervals, and it goes by the interval that the heartbeats name: so the window is
 * kept as a multiple, or it would be wrong as soon as another interval is in force.
 */
static void set_interval(Session *session, uint64_t interval_usec) {
        session->interval_usec = interval_usec;
        session->dead_after_usec = (uint64_t)(session->dead_after_intervals * (double)interval_usec);
}

static void note_window(Session *session, const RegistrationTaken *taken, bool is_first) {
        const uint64_t asked_ms = taken->heartbeat_interval_ms > 0 ? taken->heartbeat_interval_ms
                                                                   : session->interval_usec / USEC_PER_MSEC;
        const double intervals =
                (double)MIN_OF(taken->dead_after_ms, (uint64_t)INTERVAL_MS_MAX) / (double)MAX_OF(asked_ms, UINT64_C(1));

        if (intervals > 0 &&
                (is_first || session->dead_after_intervals <= 0 || intervals < session->dead_after_intervals))
                session->dead_after_intervals = intervals;
}

static void ask_interval(Session *session, uint64_t asked_ms) {
        uint64_t most = MAX_OF(INTERVAL_MAX_USEC, session->own_interval_usec);
        uint64_t asked = MIN_OF(asked_ms, (uint64_t)INTERVAL_MS_MAX) * USEC_PER_MSEC;

        if (asked_ms > 0)
                set_interval(session, MIN_OF(MAX_OF(asked, session->own_interval_usec), most));
}

void session_set_own_interval(Session *session, uint64_t interval_usec) {
        session->own_interval_usec = interval_usec;
        set_interval(session, interval_usec);
}

/*
 * Once registered, changes are told by updates, whether a registration is under way or not: so the answer to what we
 * said some changes ago counts. Else a runtime whose agents come and go faster than dispatchers answer would be in
 * doubt for as long as they do. Until then nobody is told of changes but by another registration.
 */
static bool is_of_this_round(const Session *session, uint64_t revision) {
        return session->state == SESSION_REGISTERED
                       ? revision >= session->round_revision && revision <= session->revision
                       : revision == session->revision;
}

unsigned session_on_taken(Session *session, const RegistrationTaken *taken, Instant now) {
        const bool is_first = session->register_usec != USEC_NEVER; /* of this round */
        uint64_t before = session->interval_usec;

        if (taken->epoch != session->epoch || !taken->complete || !is_of_this_round(session, taken->revision))
                return SESSION_DO_NOTHING;
        if (!session_set_state(session, SESSION_EV_TAKEN))
                return SESSION_DO_NOTHING;

        session->was_accepted = true;
        session->n_tries = 0;
        session->register_usec = USEC_NEVER;

        note_window(session, taken, is_first);
        if (is_first)
                set_interval(session, session->own_interval_usec);
        if (taken->heartbeat_interval_ms * USEC_PER_MSEC > session->interval_usec)
                ask_interval(session, taken->heartbeat_interval_ms);
        else
                set_interval(session, session->interval_usec);
        if (session->interval_usec != before)
                session->heartbeat_usec = now.usec + rng_jitter(session->rng, session->interval_usec, JITTER_PERCENT);

        if (!session->is_doubtful)
                return SESSION_DO_NOTHING;
        session->is_doubtful = false;
        return SESSION_DO_SETTLE;
}

/* False when there is no room above. */
static bool take_new_epoch(Session *session, uint64_t above, Instant now) {
        uint64_t floor = MAX_OF(above, session->epoch);

        if (floor >= EPOCH_MAX)
                return false;

        session->epoch =
                MIN_OF(MAX_OF(now.real_usec / 1000, floor + 1 + rng_below(session->rng, EPOCH_SPREAD)), EPOCH_MAX);
        session->is_doubtful = false;
        return true;
}

static unsigned become_replaced(Session *session, uint64_t known_epoch) {
        if (!session_set_state(session, SESSION_EV_REPLACED))
                return SESSION_DO_NOTHING;

        diag_session_replaced(session->runtime_id, session->epoch, known_epoch);
        return SESSION_DO_SUPERSEDE | SESSION_DO_LEAVE;
}

static unsigned on_dead(Session *session, uint64_t known_epoch, Instant now) {
        const uint64_t old = session->epoch;

        if (session_next_state(session->state, SESSION_EV_DEAD) == SESSION_INVALID ||
                !take_new_epoch(session, known_epoch, now))
                return SESSION_DO_NOTHING;

        diag_session_declared_dead(session->runtime_id, old, session->epoch);
        (void)session_set_state(session, SESSION_EV_DEAD);
        return SESSION_DO_SUPERSEDE | begin_registration(session, now);
}

static unsigned on_replaced(Session *session, uint64_t known_epoch, Instant now) {
        if (known_epoch < session->epoch)
                return SESSION_DO_NOTHING; /* who has replaced us has our epoch or a higher one */
        if (session->was_accepted)
                return become_replaced(session, known_epoch);

        /* Never accepted: we are the newcomer, and the clock that made our epoch was behind the other's. */
        if (!session_set_state(session, SESSION_EV_ANNOUNCE) || !take_new_epoch(session, known_epoch, now))
                return SESSION_DO_NOTHING;
        return SESSION_DO_SUPERSEDE | begin_registration(session, now);
}

static unsigned on_operator(Session *session) {
        if (!session_set_state(session, SESSION_EV_OPERATOR))
                return SESSION_DO_NOTHING;

        session->is_quiet = true;
        return SESSION_DO_SUPERSEDE;
}

unsigned session_on_refused(
        Session *session, DeregisterReason reason, uint64_t epoch, uint64_t known_epoch, Instant now) {
        if (epoch != session->epoch)
                return SESSION_DO_NOTHING;

        switch (reason) {
        /* A goodbye that we did not say, or that we live on after: its epoch is over all the same, and a registration
         * of it would be refused for ever. After our own there is no transition, and nothing happens. */
        case DEREGISTER_SHUTDOWN:
        case DEREGISTER_HEARTBEAT_TIMEOUT:
                return on_dead(session, known_epoch, now);
        case DEREGISTER_REPLACED:
                return on_replaced(session, known_epoch, now);
        case DEREGISTER_OPERATOR:
                return on_operator(session);
        default:
                return SESSION_DO_NOTHING;
        }
}

unsigned session_on_full(Session *session, Instant now) {
        if (session->state == SESSION_REGISTERING)
                session->register_usec = now.usec + rng_jitter(session->rng, FULL_WAIT_USEC, 2 * JITTER_PERCENT);
        return SESSION_DO_NOTHING;
}

unsigned session_on_announce(Session *session, const Announce *announce, Instant now) {
        const uint64_t spread_usec = MIN_OF(announce->spread_ms, (uint64_t)INTERVAL_MS_MAX) * USEC_PER_MSEC;
        uint64_t at;

        if (!session_speaks(session))
                return SESSION_DO_NOTHING;

        ask_interval(session, announce->heartbeat_interval_ms);
        if (!announce->register_again)
                return SESSION_DO_NOTHING;

        at = now.usec + (spread_usec > 0 ? rng_below(session->rng, spread_usec) : 0);
        at = MAX_OF(at, session->registered_usec + ANNOUNCE_GAP_USEC);
        session->register_usec = MIN_OF(session->register_usec, at);
        session->n_tries = 0;
        return at <= now.usec ? session_on_time(session, now) : SESSION_DO_NOTHING;
}

unsigned session_on_resume(Session *session, Instant now) {
        const bool was_quiet = session->is_quiet;

        session->is_quiet = false;
        if (!was_quiet || !take_new_epoch(session, session->epoch, now) || session->state != SESSION_QUIET)
                return SESSION_DO_NOTHING;

        (void)session_set_state(session, SESSION_EV_RESUME);
        return begin_registration(session, now);
}

unsigned session_notice(Session *session, Instant now) {
        if (session->dead_after_usec == 0 || session->spoken_usec == 0 || session->is_doubtful || session->is_quiet)
                return SESSION_DO_NOTHING;
        if (now.usec <= session->spoken_usec || now.usec - session->spoken_usec <= session->dead_after_usec)
                return SESSION_DO_NOTHING;
        if (session->state == SESSION_REPLACED || session->state == SESSION_LEFT)
                return SESSION_DO_NOTHING;

        session->is_doubtful = true;
        diag_session_doubtful(session->runtime_id, now.usec - session->spoken_usec, session->dead_after_usec);
        if (!session_set_state(session, SESSION_EV_ANNOUNCE))
                return SESSION_DO_NOTHING;
        return begin_registration(session, now);
}

unsigned session_on_time(Session *session, Instant now) {
        if (session->register_usec <= now.usec)
                return say_registration(session, now);

        if (session->heartbeat_usec <= now.usec)
                return session_speak(session, now);

        return SESSION_DO_NOTHING;
}

unsigned session_on_change(Session *session, Instant now) {
        session->revision++;
        return session->state == SESSION_REGISTERING ? begin_registration(session, now) : SESSION_DO_NOTHING;
}

unsigned session_speak(Session *session, Instant now) {
        if (!session_speaks(session))
                return SESSION_DO_NOTHING;

        spoke(session, now);
        session->sequence++;
        return SESSION_DO_HEARTBEAT;
}

bool session_leave(Session *session) {
        const bool is_known = session_speaks(session);

        (void)session_set_state(session, SESSION_EV_LEAVE);
        return is_known;
}

uint64_t session_next_deadline(const Session *session) {
        return MIN_OF(session->register_usec, session->heartbeat_usec);
}
