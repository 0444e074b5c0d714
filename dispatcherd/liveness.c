/* SPDX-License-Identifier: MIT */

/*
 * Liveness
 *
 * A timer that runs out says that *we* heard nothing, which is not yet news about the runtime. Three guards stand
 * between silence and a verdict, each against one way of being wrong:
 *
 *   - Silence counts from the later of the last sign of life and the moment since when this dispatcher has been
 * listening without a gap. A dispatcher that was paused, restarted, cut off, or whose NATS server was restarted gives
 * everyone a full window.
 *   - A probe sent after the window must have found nobody: no answer within its time-out, or the server's word that
 * nobody listens. With each probe goes an echo to ourselves, and a probe that was not answered says nothing unless its
 * echo came back: a dead link takes a while to be noticed as one.
 *   - When many fall silent together, the likelier cause is between them and us. Then the window is six times as long,
 * and at most one verdict falls per second; meanwhile they are probed, and any sign of life ends the doubt. As suspects
 * they get no work if anybody else can take it, so waiting costs little.
 *
 * Rejected: phi-accrual detectors (Hayashibara et al., 2004). They adapt to jitter of the network; what kills healthy
 * runtimes in practice is the observer's own absence, which no distribution of intervals knows about.
 */

#include "common/instant.h"
#include "dispatcherd/liveness.h"
#include "proto/registration.h"

#define MASS_MIN 3      /* two at once is weather in a small fleet */
#define MASS_SHARE 3    /* one in so many */
#define MASS_PATIENCE 6 /* windows instead of one: half a minute with the defaults, a server's restart */
#define MASS_VERDICT_USEC USEC_PER_SEC

bool liveness_is_mass_silence(const LivenessFleet *fleet) {
        return fleet->n_silent >= MASS_MIN && fleet->n_silent * MASS_SHARE > fleet->n_runtimes;
}

uint64_t liveness_window_usec(const LivenessRules *rules, uint64_t interval_usec) {
        return (uint64_t)(rules->dead_after * (double)interval_usec);
}

uint64_t liveness_interval_ms(size_t n_runtimes, uint64_t rate_max, uint64_t own_ms) {
        uint64_t needed = rate_max > 0 ? MIN_OF((uint64_t)n_runtimes * 1000 / rate_max, (uint64_t)INTERVAL_MS_MAX) : 0;

        if (needed <= own_ms)
                return MIN_OF(own_ms, (uint64_t)INTERVAL_MS_MAX);
        return MIN_OF(needed + needed / 2, (uint64_t)INTERVAL_MS_MAX);
}

static LivenessVerdict wait_until(uint64_t usec) {
        return (LivenessVerdict){ .action = LIVENESS_WAIT, .look_again_usec = usec };
}

static LivenessVerdict act(LivenessAction action) {
        return (LivenessVerdict){ .action = action };
}

/* NATS may have been away for all of us, and we are just the first to be back: who was not heard since gets the time of
 * his next attempt. */
static uint64_t listening_since(const LivenessFleet *fleet, const LivenessSubject *subject) {
        uint64_t since = MAX_OF(subject->heard_usec, fleet->observing_usec);

        return subject->heard_usec < fleet->link_up_usec ? MAX_OF(since, fleet->link_up_usec + fleet->grace_usec)
                                                         : since;
}

LivenessVerdict liveness_judge(
        const LivenessRules *rules, const LivenessFleet *fleet, const LivenessSubject *subject, uint64_t now) {
        uint64_t since = listening_since(fleet, subject);
        uint64_t suspect_at = since + (uint64_t)(rules->suspect_after * (double)subject->interval_usec);
        uint64_t window = liveness_window_usec(rules, subject->interval_usec);
        bool mass = liveness_is_mass_silence(fleet);
        uint64_t dead_at = since + (mass ? MASS_PATIENCE * window : window);
        uint64_t failed = subject->failed_usec;

        if (!fleet->link_up)
                return wait_until(USEC_NEVER);
        if (now < suspect_at)
                return wait_until(suspect_at);
        if (!subject->silent)
                return act(LIVENESS_SUSPECT);

        if (subject->probe_usec > 0) {
                uint64_t probe_ends = subject->probe_usec + rules->probe_timeout_usec;

                if (now < probe_ends)
                        return wait_until(probe_ends);
                if (fleet->echo_usec < subject->probe_usec)
                        return act(LIVENESS_DEAF);
                failed = subject->probe_usec;
        }

        /* The first probe goes out with the suspicion, since most doubts end with its answer; then one a window. */
        if (now < dead_at) {
                uint64_t again = failed + window;

                return failed == 0 || now >= again ? act(LIVENESS_PROBE) : wait_until(MIN_OF(again, dead_at));
        }
        /* The one that decides is sent when the window is over. */
        if (failed < dead_at)
                return act(LIVENESS_PROBE);
        if (mass && fleet->verdict_usec > 0 && now < fleet->verdict_usec + MASS_VERDICT_USEC)
                return wait_until(fleet->verdict_usec + MASS_VERDICT_USEC);
        return act(LIVENESS_DEAD);
}
