/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/daemon.h"

typedef struct Fixture {
        Daemon *daemon;
        unsigned n_stop, n_reload, n_time, n_status;
        uint64_t again_usec; /* armed by on_time */
} Fixture;

static void on_stop(void *userdata) {
        Fixture *f = userdata;

        f->n_stop++;
        (void)raise(SIGTERM); /* the second one leaves */
}

static void on_reload(void *userdata) {
        Fixture *f = userdata;

        f->n_reload++;
        (void)raise(SIGTERM);
}

static void on_time(void *userdata) {
        Fixture *f = userdata;

        f->n_time++;
        if (f->again_usec != 0) {
                daemon_arm(f->daemon, f->again_usec);
                f->again_usec = 0;
        } else
                daemon_exit(f->daemon, 7);
}

static void on_status(Buffer *status, void *userdata) {
        Fixture *f = userdata;

        buffer_printf(status, "%u runtimes\nREADY=1", f->n_status);
}

static int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        *state = f;
        return daemon_new(&(DaemonCallbacks){ .on_stop = on_stop,
                                  .on_reload = on_reload,
                                  .on_time = on_time,
                                  .on_status = on_status,
                                  .userdata = f },
                &f->daemon);
}

static int tear_down(void **state) {
        Fixture *f = *state;

        (void)daemon_free(f->daemon);
        free(f);
        return 0;
}

static void the_first_sigterm_stops_and_the_second_leaves(void **state) {
        Fixture *f = *state;

        (void)raise(SIGHUP);
        assert_int_equal(daemon_run(f->daemon), EXIT_FAILURE);
        assert_int_equal(f->n_reload, 1);
        assert_int_equal(f->n_stop, 1);
}

static void the_timer_comes_when_its_moment_has_come_and_not_before(void **state) {
        Fixture *f = *state;
        const uint64_t start = instant_now().usec;

        daemon_arm(f->daemon, start + 5 * USEC_PER_SEC);
        daemon_arm(f->daemon, start + 10 * USEC_PER_MSEC);
        daemon_arm(f->daemon, start + 80 * USEC_PER_MSEC); /* later again: fires early within, and is set anew */
        assert_int_equal(daemon_run(f->daemon), 7);
        assert_int_equal(f->n_time, 1);
        assert_in_range(instant_now().usec - start, 80 * USEC_PER_MSEC, 4 * USEC_PER_SEC);
}

static void a_moment_in_the_past_comes_at_once_also_when_armed_from_the_timer(void **state) {
        Fixture *f = *state;
        const uint64_t start = instant_now().usec;

        f->again_usec = 1;
        daemon_arm(f->daemon, 0);
        assert_int_equal(daemon_run(f->daemon), 7);
        assert_int_equal(f->n_time, 2);
        assert_true(instant_now().usec - start < 10 * USEC_PER_SEC);
}

static void a_disarmed_timer_does_not_come(void **state) {
        Fixture *f = *state;
        const struct timeval wait = { .tv_usec = 60000 };

        daemon_arm(f->daemon, instant_now().usec + 10 * USEC_PER_MSEC);
        daemon_arm(f->daemon, USEC_NEVER);
        (void)event_base_loopexit(daemon_base(f->daemon), &wait);
        assert_int_equal(event_base_dispatch(daemon_base(f->daemon)), 0);
        assert_int_equal(f->n_time, 0);
}

/* A socket in place of the service manager's. */
static int listen_as_manager(void) {
        const struct sockaddr_un any = { .sun_family = AF_UNIX };
        struct sockaddr_un address = { 0 };
        socklen_t size = sizeof(address);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        char name[120];

        assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof(any.sun_family)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        (void)snprintf(name, sizeof(name), "@%.*s", (int)(size - sizeof(any.sun_family) - 1), address.sun_path + 1);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        return fd;
}

static void expect_notified(int fd, const char *text) {
        char got[512] = "";

        assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
        assert_memory_equal(got, text, strlen(text));
}

static void the_service_manager_hears_of_every_step(void **state) {
        Fixture *f = *state;
        int fd = listen_as_manager();

        daemon_notify_ready(f->daemon);
        expect_notified(fd, "READY=1\nSTATUS=0 runtimes READY=1");
        daemon_notify_reloading(f->daemon);
        expect_notified(fd, "RELOADING=1\nMONOTONIC_USEC=");
        daemon_notify_ready(f->daemon); /* nothing new */
        expect_notified(fd, "READY=1\n");
        f->n_status = 1;
        daemon_notify_stopping(f->daemon, 2 * USEC_PER_SEC);
        expect_notified(fd, "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000\nSTATUS=1 runtimes");
        (void)unsetenv("NOTIFY_SOCKET");
        (void)close(fd);
}

/* Counts what the manager was told; its socket is not read empty by anybody else. */
static size_t count_notified(int fd, const char *text) {
        char got[512];
        ssize_t n;
        size_t count = 0;

        while ((n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT)) > 0) {
                got[n] = '\0';
                count += strstr(got, text) != NULL;
        }
        return count;
}

static void a_stop_asks_for_time_again_and_again_until_its_own_has_passed(void **state) {
        Fixture *f = *state;
        int fd = listen_as_manager();

        (void)daemon_free(f->daemon);
        assert_int_equal(setenv("WATCHDOG_USEC", "100000", 1), 0); /* a tick every 25 ms; few: the socket takes ten */
        assert_int_equal(daemon_new(&(DaemonCallbacks){ .on_time = on_time, .userdata = f }, &f->daemon), 0);
        daemon_notify_stopping(f->daemon, 10 * USEC_PER_SEC);
        daemon_arm(f->daemon, instant_now().usec + 90 * USEC_PER_MSEC);
        assert_int_equal(daemon_run(f->daemon), 7);
        assert_true(count_notified(fd, "EXTEND_TIMEOUT_USEC=") >= 2);

        daemon_notify_stopping(f->daemon, 1);
        daemon_arm(f->daemon, instant_now().usec + 90 * USEC_PER_MSEC);
        assert_int_equal(daemon_run(f->daemon), 7);
        assert_int_equal(count_notified(fd, "EXTEND_TIMEOUT_USEC="), 1);
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("NOTIFY_SOCKET");
        (void)close(fd);
}

static void a_status_that_changes_all_the_time_is_said_a_few_times_a_second(void **state) {
        Fixture *f = *state;
        int fd = listen_as_manager();
        const uint64_t start = instant_now().usec;
        uint64_t took = 0;
        size_t n = 0;

        while (took < 500 * USEC_PER_MSEC || n < 2) {
                f->n_status++;
                daemon_update_status(f->daemon);
                n += count_notified(fd, "STATUS=");
                took = instant_now().usec - start;
        }
        assert_true(n <= 1 + took / (USEC_PER_SEC / 5));
        (void)unsetenv("NOTIFY_SOCKET");
        (void)close(fd);
}

static void the_watchdog_is_fed_while_the_loop_comes_round(void **state) {
        Fixture *f = *state;
        int fd = listen_as_manager();

        (void)daemon_free(f->daemon);
        assert_int_equal(setenv("WATCHDOG_USEC", "100000", 1), 0);
        assert_int_equal(daemon_new(&(DaemonCallbacks){ .on_time = on_time, .userdata = f }, &f->daemon), 0);
        for (size_t n = 0, rounds = 0; n < 3; rounds++) { /* one, unless this machine stands still */
                assert_true(rounds < 20);
                daemon_arm(f->daemon, instant_now().usec + 300 * USEC_PER_MSEC);
                assert_int_equal(daemon_run(f->daemon), 7);
                n += count_notified(fd, "WATCHDOG=1");
        }
        assert_true(instant_now().usec - daemon_last_turn_usec(f->daemon) < 10 * USEC_PER_SEC);
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("NOTIFY_SOCKET");
        (void)close(fd);
}

static void arguments_are_taken_apart(void **state) {
        static const ConfigTable table = { NULL, 0 };
        char *argv[] = { (char *)"x", (char *)"-c", (char *)"file", (char *)"-c", (char *)"-other", (char *)"-o",
                (char *)"a.b=1", (char *)"-o", (char *)"c.d=2", (char *)"--check-config", NULL };
        char *surplus[] = { (char *)"x", (char *)"word", NULL },
             *unknown[] = { (char *)"x", (char *)"--nonsense", NULL };
        DaemonArguments arguments;

        (void)state;

        assert_int_equal(daemon_parse_arguments(ELEMENTSOF(argv) - 1, argv, "Test", &table, &arguments), 0);
        assert_int_equal(arguments.n_files, 2);
        assert_string_equal(arguments.files[0], "file");
        assert_string_equal(arguments.files[1], "-other");
        assert_int_equal(arguments.n_options, 2);
        assert_string_equal(arguments.options[1], "c.d=2");
        assert_true(arguments.check_config && arguments.check_credentials);
        daemon_arguments_done(&arguments);
        assert_int_equal(daemon_parse_arguments(2, surplus, "Test", &table, &arguments), DAEMON_E_USAGE);
        assert_int_equal(daemon_parse_arguments(2, unknown, "Test", &table, &arguments), DAEMON_E_USAGE);
}

#define DAEMON_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                DAEMON_TEST(the_first_sigterm_stops_and_the_second_leaves),
                DAEMON_TEST(the_timer_comes_when_its_moment_has_come_and_not_before),
                DAEMON_TEST(a_moment_in_the_past_comes_at_once_also_when_armed_from_the_timer),
                DAEMON_TEST(a_disarmed_timer_does_not_come),
                DAEMON_TEST(the_service_manager_hears_of_every_step),
                DAEMON_TEST(a_stop_asks_for_time_again_and_again_until_its_own_has_passed),
                DAEMON_TEST(a_status_that_changes_all_the_time_is_said_a_few_times_a_second),
                DAEMON_TEST(the_watchdog_is_fed_while_the_loop_comes_round),
                cmocka_unit_test(arguments_are_taken_apart),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
