/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/edge.h"

static const DaemonSettings good = {
        .url = (char *)"nats://user:geheim@127.0.0.1:4222",
        .credentials = (char *)"",
        .nkey_seed_file = (char *)"",
        .tls_ca = (char *)"",
        .tls_cert = (char *)"",
        .tls_key = (char *)"",
        .subject_prefix = (char *)"compozy",
        .inbox_prefix = (char *)"",
        .pending_bytes_max = 1 << 20,
        .http_listen = (char *)"none",
        .otlp_endpoint = (char *)"",
        .otlp_headers_file = (char *)"",
        .otlp_tls_ca = (char *)"",
};

static void names_hold_no_secret_and_are_never_the_same_twice(void **state) {
        EdgeNames a, b;

        (void)state;

        edge_names(&good, &a);
        edge_names(&good, &b);
        edge_inbox(&good, "runtime", "r1", &a);
        edge_inbox(&good, "runtime", "r1", &b);
        assert_null(strstr(a.shown_url, "geheim"));
        assert_string_not_equal(a.inbox_prefix, b.inbox_prefix);
        assert_true(a.random_seed != b.random_seed);
}

static void an_inbox_lies_below_what_it_is_or_where_the_configuration_says(void **state) {
        char longest[SUBJECT_PREFIX_MAX + 1] = "_INBOX.";
        DaemonSettings settings = good;
        EdgeNames names;
        size_t n;

        (void)state;

        edge_names(&settings, &names);
        edge_inbox(&settings, "runtime", "r1", &names);
        assert_memory_equal(names.inbox_prefix, "_INBOX.runtime.r1.", strlen("_INBOX.runtime.r1."));
        assert_string_equal(names.inbox_prefix + strlen("_INBOX.runtime.r1."), names.unique.text);

        memset(longest + strlen(longest), 'x', sizeof(longest) - 1 - strlen(longest));
        settings.inbox_prefix = longest;
        edge_inbox(&settings, "runtime", "r1", &names);
        n = strlen(longest);
        assert_memory_equal(names.inbox_prefix, longest, n);
        assert_string_equal(names.inbox_prefix + n + 1, names.unique.text);
}

static void the_check_names_the_key_before_anything_is_started(void **state) {
        DaemonSettings settings = good;
        ConfigError error = { "" };

        (void)state;

        assert_int_equal(edge_check(&settings, &error), 0);
        settings.url = (char *)"http://user:geheim@x";
        assert_int_equal(edge_check(&settings, &error), CONFIG_E_INVALID);
        assert_non_null(strstr(error.text, "nats.url: "));
        assert_null(strstr(error.text, "geheim"));
        settings.url = good.url;
        settings.otlp_endpoint = (char *)"http://user:geheim@localhost:4318";
        assert_int_equal(edge_check(&settings, &error), CONFIG_E_INVALID);
        assert_non_null(strstr(error.text, "tracing.otlp_endpoint: "));
        assert_null(strstr(error.text, "geheim"));
        settings.otlp_endpoint = good.otlp_endpoint;
        settings.credentials = (char *)"/nonexistent/x.creds";
        assert_int_equal(edge_check(&settings, &error), CONFIG_E_INVALID);
        assert_string_equal(error.text, "nats.credentials: /nonexistent/x.creds: No such file or directory");
}

/* /readyz is false within 2 s of losing NATS; the link takes 2 intervals of silence, and half a one to look. */
static void a_dead_server_is_noticed_within_two_seconds(void **state) {
        const NatsLinkOptions options = edge_link_options(&good, "x", NULL);

        (void)state;

        assert_true(options.ping_interval_usec * 5 / 2 < 2 * USEC_PER_SEC);
}

static const ConfigTable no_keys = { 0 };

static int look_at_streams(const DaemonArguments *arguments) {
        (void)arguments;

        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                if (dup2(fd, fd) < 0)
                        return 40 + fd;
        return 0;
}

static void standard_streams_that_were_closed_are_not_given_away(void **state) {
        int status;
        pid_t pid;

        (void)state;

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                char name[] = "test", *argv[] = { name, NULL };

                for (int fd = 0; fd <= STDERR_FILENO; fd++)
                        (void)close(fd);
                _exit(daemon_main(1, argv, "Test", &no_keys, look_at_streams));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_hold_no_secret_and_are_never_the_same_twice),
                cmocka_unit_test(an_inbox_lies_below_what_it_is_or_where_the_configuration_says),
                cmocka_unit_test(the_check_names_the_key_before_anything_is_started),
                cmocka_unit_test(a_dead_server_is_noticed_within_two_seconds),
                cmocka_unit_test(standard_streams_that_were_closed_are_not_given_away),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
