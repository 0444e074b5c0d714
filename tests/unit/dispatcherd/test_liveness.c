/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/instant.h"
#include "dispatcherd/liveness.h"
#include "proto/registration.h"

#define SECOND USEC_PER_SEC
#define NEVER USEC_NEVER

static const LivenessRules rules = { .suspect_after = 2, .dead_after = 5, .probe_timeout_usec = SECOND };

/* An interval of one second, times in seconds; the fleet is alone with this runtime unless said otherwise. */
typedef struct Case {
        const char *why;
        uint64_t heard, observing, link_up, grace, probe, failed, echo, now;
        bool silent, link_down;
        size_t n_runtimes, n_silent;
        uint64_t verdict;
        LivenessAction action;
        uint64_t again; /* with WAIT */
} Case;

static const Case cases[] = {
        { .why = "heard a moment ago: looked at again when it would be suspect",
                .heard = 100,
                .now = 101,
                .again = 102 },
        { .why = "suspect from two intervals on, not before", .heard = 100, .now = 102, .action = LIVENESS_SUSPECT },
        { .why = "the first probe goes out with the suspicion",
                .heard = 100,
                .now = 102,
                .silent = true,
                .action = LIVENESS_PROBE },
        { .why = "a probe has its time", .heard = 100, .now = 102, .silent = true, .probe = 102, .again = 103 },
        { .why = "a failed probe is no verdict before the window is over",
                .heard = 100,
                .now = 104,
                .silent = true,
                .probe = 103,
                .echo = 103,
                .again = 105 },
        { .why = "no verdict without a probe that was sent after the window",
                .heard = 100,
                .now = 105,
                .silent = true,
                .failed = 103,
                .action = LIVENESS_PROBE },
        { .why = "no verdict without any probe", .heard = 100, .now = 1000, .silent = true, .action = LIVENESS_PROBE },
        { .why = "the deciding probe has its time",
                .heard = 100,
                .now = 105,
                .silent = true,
                .probe = 105,
                .failed = 103,
                .again = 106 },
        { .why = "window over, and a probe sent after it found nobody",
                .heard = 100,
                .now = 106,
                .silent = true,
                .probe = 105,
                .echo = 105,
                .action = LIVENESS_DEAD },
        { .why = "the same by the server's word",
                .heard = 100,
                .now = 105,
                .silent = true,
                .failed = 105,
                .action = LIVENESS_DEAD },
        { .why = "a probe that failed before the window was over does not decide",
                .heard = 100,
                .now = 105,
                .silent = true,
                .probe = 104,
                .echo = 104,
                .action = LIVENESS_PROBE },
        { .why = "our own echo did not come back either",
                .heard = 100,
                .now = 106,
                .silent = true,
                .probe = 105,
                .echo = 104,
                .action = LIVENESS_DEAF },
        { .why = "no link, no judgement",
                .heard = 100,
                .now = 1000,
                .silent = true,
                .failed = 900,
                .link_down = true,
                .again = NEVER },
        { .why = "silence counts from when we began to listen",
                .heard = 100,
                .observing = 999,
                .now = 1000,
                .again = 1001 },
        { .why = "a full window from then, not only until suspicion",
                .heard = 100,
                .observing = 1000,
                .now = 1004,
                .silent = true,
                .failed = 1003,
                .again = 1005 },
        { .why = "after NATS was away, whoever was not heard since gets the time of his next attempt",
                .heard = 100,
                .observing = 1000,
                .link_up = 1000,
                .grace = 4,
                .now = 1005,
                .again = 1006 },
        { .why = "whoever was heard since is measured from then",
                .heard = 1001,
                .observing = 1000,
                .link_up = 1000,
                .grace = 4,
                .now = 1003,
                .action = LIVENESS_SUSPECT },
        { .why = "three of nine are silent: that is each one's own matter",
                .heard = 100,
                .now = 106,
                .silent = true,
                .failed = 105,
                .n_runtimes = 9,
                .n_silent = 3,
                .action = LIVENESS_DEAD },
        { .why = "two of two are weather",
                .heard = 100,
                .now = 106,
                .silent = true,
                .failed = 105,
                .n_runtimes = 2,
                .n_silent = 2,
                .action = LIVENESS_DEAD },
        { .why = "three of eight are silent: six windows of patience",
                .heard = 100,
                .now = 106,
                .silent = true,
                .failed = 105,
                .n_runtimes = 8,
                .n_silent = 3,
                .again = 110 },
        { .why = "meanwhile a probe each window",
                .heard = 100,
                .now = 110,
                .silent = true,
                .failed = 105,
                .n_runtimes = 8,
                .n_silent = 3,
                .action = LIVENESS_PROBE },
        { .why = "and one after them",
                .heard = 100,
                .now = 130,
                .silent = true,
                .failed = 127,
                .n_runtimes = 8,
                .n_silent = 3,
                .action = LIVENESS_PROBE },
        { .why = "then a verdict",
                .heard = 100,
                .now = 131,
                .silent = true,
                .failed = 130,
                .n_runtimes = 8,
                .n_silent = 3,
                .action = LIVENESS_DEAD },
        { .why = "but one a second",
                .heard = 100,
                .now = 131,
                .silent = true,
                .failed = 130,
                .n_runtimes = 8,
                .n_silent = 3,
                .verdict = 131,
                .again = 132 },
        { .why = "the pace binds only in a mass silence",
                .heard = 100,
                .now = 131,
                .silent = true,
                .failed = 130,
                .verdict = 131,
                .action = LIVENESS_DEAD },
};

static uint64_t seconds(uint64_t value) {
        return value == NEVER ? NEVER : value * SECOND;
}

static void a_verdict_needs_its_window_and_its_probe(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Case *c = &cases[i];
                const LivenessFleet fleet = {
                        .link_up = !c->link_down,
                        .link_up_usec = seconds(c->link_up),
                        .grace_usec = seconds(c->grace),
                        .observing_usec = seconds(c->observing),
                        .echo_usec = seconds(c->echo),
                        .n_runtimes = c->n_runtimes ? c->n_runtimes : 1,
                        .n_silent = c->n_silent,
                        .verdict_usec = seconds(c->verdict),
                };
                const LivenessSubject subject = {
                        .interval_usec = SECOND,
                        .heard_usec = seconds(c->heard),
                        .probe_usec = seconds(c->probe),
                        .failed_usec = seconds(c->failed),
                        .silent = c->silent,
                };
                LivenessVerdict verdict = liveness_judge(&rules, &fleet, &subject, seconds(c->now));

                if (verdict.action != c->action)
                        fail_msg("%s: action %d, expected %d", c->why, (int)verdict.action, (int)c->action);
                if (verdict.action == LIVENESS_WAIT && verdict.look_again_usec != seconds(c->again))
                        fail_msg("%s: looks again at %llu", c->why, (unsigned long long)verdict.look_again_usec);
        }
}

/* The moment of the next look is never now or before: the loop would spin. */
static void whatever_is_waited_for_lies_ahead(void **state) {
        (void)state;

        for (unsigned bits = 0; bits < 16; bits++)
                for (uint64_t now = 0; now < 80; now++)
                        for (uint64_t probe = 0; probe <= now; probe += 7)
                                for (uint64_t failed = 0; failed <= now; failed += 5) {
                                        const LivenessFleet fleet = { .link_up = true,
                                                .n_runtimes = bits & 1 ? 3 : 30,
                                                .n_silent = 3,
                                                .echo_usec = bits & 2 ? NEVER : 0,
                                                .verdict_usec = bits & 4 ? now * SECOND : 0 };
                                        const LivenessSubject subject = { .interval_usec = SECOND,
                                                .heard_usec = SECOND,
                                                .probe_usec = probe * SECOND,
                                                .failed_usec = failed * SECOND,
                                                .silent = bits & 8 };
                                        LivenessVerdict verdict =
                                                liveness_judge(&rules, &fleet, &subject, now * SECOND);

                                        if (verdict.action == LIVENESS_WAIT)
                                                assert_true(verdict.look_again_usec > now * SECOND);
                                }
}

static void a_mass_silence_is_more_than_a_third_and_at_least_three(void **state) {
        static const struct {
                size_t n_silent, n_runtimes;
                bool mass;
        } table[] = { { 0, 0, false }, { 2, 2, false }, { 3, 3, true }, { 3, 8, true }, { 3, 9, false },
                { 4, 11, true }, { 333, 1000, false }, { 334, 1000, true } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const LivenessFleet fleet = { .n_silent = table[i].n_silent, .n_runtimes = table[i].n_runtimes };

                assert_int_equal(liveness_is_mass_silence(&fleet), table[i].mass);
        }
}

static void a_large_fleet_beats_more_rarely(void **state) {
        static const struct {
                size_t n;
                uint64_t rate, own, expected;
        } table[] = {
                { 0, 1000, 1000, 1000 },
                { 1000, 1000, 1000, 1000 },
                { 10000, 1000, 1000, 15000 }, /* with room to grow */
                { 14999, 1000, 15000, 15000 },
                { 16000, 1000, 15000, 24000 },
                { 10000, 1000, 20000, 20000 },
                { 10000, 0, 1000, 1000 },
                { SIZE_MAX / 2000, 1, 1000, INTERVAL_MS_MAX },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                assert_int_equal(liveness_interval_ms(table[i].n, table[i].rate, table[i].own), table[i].expected);
        assert_int_equal(liveness_window_usec(&rules, SECOND), 5 * SECOND);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_verdict_needs_its_window_and_its_probe),
                cmocka_unit_test(whatever_is_waited_for_lies_ahead),
                cmocka_unit_test(a_mass_silence_is_more_than_a_third_and_at_least_three),
                cmocka_unit_test(a_large_fleet_beats_more_rarely),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
