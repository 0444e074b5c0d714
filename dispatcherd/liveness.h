/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Liveness: what silence of one runtime means, given what this dispatcher itself could have heard.
 *
 * One pure function over plain values; the registry's owner acts on what it returns. All times in microseconds of
 * CLOCK_BOOTTIME.
 */

#include "proto/cc.h"

typedef struct LivenessRules {
        double suspect_after, dead_after; /* in the runtime's own heartbeat intervals */
        uint64_t probe_timeout_usec;
} LivenessRules;

/* The dispatcher and its fleet. */
typedef struct LivenessFleet {
        bool link_up;
        uint64_t observing_usec; /* since when nothing could have been missed: link up, loop not stalled */
        uint64_t link_up_usec;   /* since when the link is up */
        uint64_t grace_usec;     /* how long after that runtimes may take to be back themselves */
        uint64_t echo_usec;      /* when the last message to ourselves that came back was sent */
        size_t n_runtimes, n_silent;
        uint64_t verdict_usec; /* the last verdict; 0: none yet */
} LivenessFleet;

typedef struct LivenessSubject {
        uint64_t interval_usec;
        uint64_t heard_usec;
        uint64_t probe_usec;  /* when the probe that is out was sent; 0: none is */
        uint64_t failed_usec; /* when the last probe that found nobody was sent; 0: none since it was heard */
        bool silent;          /* already taken for suspect */
} LivenessSubject;

typedef enum LivenessAction {
        LIVENESS_WAIT,
        LIVENESS_SUSPECT, /* past suspect_after: mark it, then ask again */
        LIVENESS_PROBE,   /* send a probe now, and an echo to ourselves; a probe that is out has failed */
        LIVENESS_DEAF,    /* neither the probe nor the echo sent with it came back: it is us who hear nothing */
        LIVENESS_DEAD,    /* past dead_after, and a probe sent after that found nobody */
} LivenessAction;

typedef struct LivenessVerdict {
        LivenessAction action;
        uint64_t look_again_usec; /* with LIVENESS_WAIT; USEC_NEVER: when the link is up again */
} LivenessVerdict;

LivenessVerdict liveness_judge(
        const LivenessRules *rules, const LivenessFleet *fleet, const LivenessSubject *subject, uint64_t now);

/* More than a third of the fleet, and at least three, are silent together. */
bool liveness_is_mass_silence(const LivenessFleet *fleet);

/* Silence after which a verdict is possible, for a runtime with that interval. */
uint64_t liveness_window_usec(const LivenessRules *rules, uint64_t interval_usec);

/*
 * The heartbeat interval for a runtime that beats every `own_ms`: that, while a fleet of such stays under `rate_max`
 * heartbeats a second; else one with room for the fleet to grow by half until it has to be asked again.
 */
uint64_t liveness_interval_ms(size_t n_runtimes, uint64_t rate_max, uint64_t own_ms);
