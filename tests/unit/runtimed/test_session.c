/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/log.h"
#include "runtimed/session.h"

#define SECOND USEC_PER_SEC

static Instant at(uint64_t usec) {
        return (Instant){ .usec = usec, .real_usec = usec };
}

static RegistrationTaken taken(const Session *session, uint64_t interval_ms, uint64_t dead_after_ms) {
        return (RegistrationTaken){
                .dispatcher_id = SLICE("d1"),
                .runtime_id = SLICE("r1"),
                .epoch = session->epoch,
                .revision = session->revision,
                .complete = true,
                .heartbeat_interval_ms = interval_ms,
                .dead_after_ms = dead_after_ms,
        };
}

static void registered(Session *session, Rng *rng) {
        RegistrationTaken answer;

        rng_seed(rng, 1);
        session_init(session, SLICE("r1"), 1000, SECOND, rng);
        assert_int_equal(session_on_up(session, at(SECOND)), SESSION_DO_REGISTER);
        answer = taken(session, 1000, 5000);
        (void)session_on_taken(session, &answer, at(SECOND));
        assert_int_equal(session->state, SESSION_REGISTERED);
}

#define OFF SESSION_OFFLINE
#define ING SESSION_REGISTERING
#define REG SESSION_REGISTERED
#define QUI SESSION_QUIET
#define REP SESSION_REPLACED
#define LEF SESSION_LEFT

static void every_state_answers_every_event_as_documented(void **state) {
        static const SessionState expected[_SESSION_STATE_MAX][_SESSION_EVENT_MAX] = {
                /*                        UP   DOWN TAKEN ANN  DEAD OPER RESU REPL LEAVE */
                [SESSION_OFFLINE] = { ING, OFF, 0, 0, 0, OFF, OFF, REP, LEF },
                [SESSION_REGISTERING] = { ING, OFF, REG, ING, ING, QUI, ING, REP, LEF },
                [SESSION_REGISTERED] = { ING, OFF, REG, REG, ING, QUI, REG, REP, LEF },
                [SESSION_QUIET] = { QUI, OFF, 0, 0, 0, QUI, ING, REP, LEF },
                [SESSION_REPLACED] = { REP, REP, 0, 0, 0, 0, 0, 0, 0 },
                [SESSION_LEFT] = { LEF, LEF, 0, 0, 0, 0, 0, 0, 0 },
        };

        (void)state;

        for (unsigned s = 0; s < _SESSION_STATE_MAX; s++) {
                assert_non_null(session_state_name((SessionState)s));
                for (unsigned e = 0; e < _SESSION_EVENT_MAX; e++)
                        assert_int_equal(session_next_state((SessionState)s, (SessionEvent)e), expected[s][e]);
        }
}

static void answers_to_another_epoch_revision_or_part_do_not_count(void **state) {
        RegistrationTaken answer;
        Session session;
        Rng rng;

        (void)state;

        rng_seed(&rng, 1);
        session_init(&session, SLICE("r1"), 1000, SECOND, &rng);
        (void)session_on_up(&session, at(SECOND));
        answer = taken(&session, 1000, 5000);
        answer.epoch = 999;
        (void)session_on_taken(&session, &answer, at(SECOND));
        answer = taken(&session, 1000, 5000);
        answer.revision = 7;
        (void)session_on_taken(&session, &answer, at(SECOND));
        answer = taken(&session, 1000, 5000);
        answer.complete = false;
        (void)session_on_taken(&session, &answer, at(SECOND));
        assert_int_equal(session.state, SESSION_REGISTERING);
}

static void silence_beyond_the_window_is_doubt_and_a_dispatchers_word_ends_it(void **state) {
        RegistrationTaken answer;
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        assert_int_equal(session_notice(&session, at(6 * SECOND)), SESSION_DO_NOTHING);
        assert_int_equal(session_notice(&session, at(6 * SECOND + 1)), SESSION_DO_REGISTER);
        assert_true(session.is_doubtful);
        answer = taken(&session, 1000, 5000);
        assert_int_equal(session_on_taken(&session, &answer, at(7 * SECOND)), SESSION_DO_SETTLE);
        assert_false(session.is_doubtful);
}

static void a_dispatchers_word_ends_the_doubt_of_a_runtime_whose_agents_come_and_go_meanwhile(void **state) {
        RegistrationTaken answer;
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        (void)session_on_change(&session, at(2 * SECOND));
        assert_int_equal(session_notice(&session, at(60 * SECOND)), SESSION_DO_REGISTER);
        answer = taken(&session, 1000, 5000);
        (void)session_on_change(&session, at(60 * SECOND));

        answer.revision--; /* to what was said before the silence */
        assert_int_equal(session_on_taken(&session, &answer, at(60 * SECOND)), SESSION_DO_NOTHING);
        assert_true(session.is_doubtful);
        assert_int_equal(session_on_time(&session, at(62 * SECOND)), SESSION_DO_REGISTER);
        answer.revision++; /* to the first that was said after it; the second one's answer is still to come */
        assert_int_equal(session_on_taken(&session, &answer, at(62 * SECOND)), SESSION_DO_SETTLE);
        assert_false(session.is_doubtful);
        assert_int_equal(session.register_usec, USEC_NEVER);
}

static void changes_while_nobody_has_taken_us_are_told_by_a_registration_of_their_own(void **state) {
        RegistrationTaken answer;
        Session session;
        Rng rng;

        (void)state;

        rng_seed(&rng, 1);
        session_init(&session, SLICE("r1"), 1000, SECOND, &rng);
        (void)session_on_up(&session, at(SECOND));
        answer = taken(&session, 1000, 5000);
        assert_int_equal(session_on_change(&session, at(SECOND)), SESSION_DO_REGISTER);
        (void)session_on_taken(&session, &answer, at(SECOND));
        assert_int_equal(session.state, SESSION_REGISTERING);
        answer = taken(&session, 1000, 5000);
        (void)session_on_taken(&session, &answer, at(SECOND));
        assert_int_equal(session.state, SESSION_REGISTERED);
}

static void without_a_window_there_is_no_doubt(void **state) {
        Session session;
        Rng rng;

        (void)state;

        rng_seed(&rng, 1);
        session_init(&session, SLICE("r1"), 1000, SECOND, &rng);
        (void)session_on_up(&session, at(SECOND));
        assert_int_equal(session_notice(&session, at(1000 * SECOND)), SESSION_DO_NOTHING);
}

static void being_cut_off_longer_than_the_window_is_doubt_too(void **state) {
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        (void)session_on_down(&session, at(2 * SECOND));
        assert_int_equal(session_on_up(&session, at(60 * SECOND)), SESSION_DO_REGISTER);
        assert_true(session.is_doubtful);
}

static void a_longer_interval_makes_a_longer_window(void **state) {
        Announce announce = { .heartbeat_interval_ms = 10000 };
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        (void)session_on_announce(&session, &announce, at(SECOND));
        assert_int_equal(session.interval_usec, 10 * SECOND);
        assert_int_equal(session.dead_after_usec, 50 * SECOND);
        assert_int_equal(session_notice(&session, at(50 * SECOND)), SESSION_DO_NOTHING);
}

static void of_several_dispatchers_the_longest_interval_and_the_shortest_window_hold(void **state) {
        RegistrationTaken answer;
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        answer = taken(&session, 3000, 9000);
        (void)session_on_taken(&session, &answer, at(SECOND));
        answer = taken(&session, 2000, 20000);
        (void)session_on_taken(&session, &answer, at(SECOND));
        assert_int_equal(session.interval_usec, 3 * SECOND);
        assert_int_equal(session.dead_after_usec, 9 * SECOND);
}

static void nobody_can_ask_for_silence(void **state) {
        Announce announce = { .heartbeat_interval_ms = INTERVAL_MS_MAX };
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        (void)session_on_announce(&session, &announce, at(SECOND));
        assert_true(session.interval_usec <= 60 * SECOND);
}

static void who_replaces_us_has_our_epoch_or_a_higher_one(void **state) {
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        assert_int_equal(
                session_on_refused(&session, DEREGISTER_REPLACED, 1000, 999, at(2 * SECOND)), SESSION_DO_NOTHING);
        assert_int_equal(session.state, SESSION_REGISTERED);
        assert_int_equal(session_on_refused(&session, DEREGISTER_REPLACED, 1000, 1001, at(2 * SECOND)),
                SESSION_DO_SUPERSEDE | SESSION_DO_LEAVE);
        assert_int_equal(session.state, SESSION_REPLACED);
}

static void there_is_no_epoch_above_the_highest(void **state) {
        Session session;
        Rng rng;

        (void)state;

        registered(&session, &rng);
        assert_int_equal(session_on_refused(&session, DEREGISTER_HEARTBEAT_TIMEOUT, 1000, EPOCH_MAX, at(2 * SECOND)),
                SESSION_DO_NOTHING);
        assert_int_equal(session.epoch, 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_state_answers_every_event_as_documented),
                cmocka_unit_test(answers_to_another_epoch_revision_or_part_do_not_count),
                cmocka_unit_test(silence_beyond_the_window_is_doubt_and_a_dispatchers_word_ends_it),
                cmocka_unit_test(a_dispatchers_word_ends_the_doubt_of_a_runtime_whose_agents_come_and_go_meanwhile),
                cmocka_unit_test(changes_while_nobody_has_taken_us_are_told_by_a_registration_of_their_own),
                cmocka_unit_test(without_a_window_there_is_no_doubt),
                cmocka_unit_test(being_cut_off_longer_than_the_window_is_doubt_too),
                cmocka_unit_test(a_longer_interval_makes_a_longer_window),
                cmocka_unit_test(of_several_dispatchers_the_longest_interval_and_the_shortest_window_hold),
                cmocka_unit_test(nobody_can_ask_for_silence),
                cmocka_unit_test(who_replaces_us_has_our_epoch_or_a_higher_one),
                cmocka_unit_test(there_is_no_epoch_above_the_highest),
        };

        log_open("test", LOG_TARGET_STDERR, LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
