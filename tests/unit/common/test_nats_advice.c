/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/nats_advice.h"

static void the_advice_names_the_key_that_was_tried(void **state) {
        static const struct {
                NatsLinkOptions options;
                const char *why, *part;
        } table[] = {
                { { .url = "nats://x" }, "Authorization Violation", "nats.credentials, nats.nkey_seed_file" },
                { { .url = "nats://a:b@x" }, "Authorization Violation", "in nats.url" },
                { { .url = "nats://a:b@x", .nkey_seed_file = "f" }, "Authorization Violation", "nats.nkey_seed_file" },
                { { .url = "nats://x", .credentials = "f" }, "Authorization Violation", "nats.credentials" },
                { { .url = "nats://x", .credentials = "f" }, "User Authentication Expired", "nats.credentials" },
                { { .url = "tls://x" }, "SSL handshake error: 18:self-signed certificate", "nats.tls_ca" },
                { { .url = "tls://x" }, "Expected 'PONG', got ''", "it wants nats.tls_cert" },
                { { .url = "nats://x", .tls_cert = "f" }, "Expected 'PONG', got ''", "does nats.tls_cert" },
                { { .url = "nats://x", .tls_ca = "f" }, "Connection Closed", "it wants nats.tls_cert" },
                { { .url = "nats://x", .tls_cert = "f" }, "Connection Closed", "does nats.tls_cert" },
                { { .url = "nats://x" }, "Expected 'PONG', got ''", NULL },
                { { .url = "nats://x" }, "Connection Closed", NULL },
                { { .url = "nats://x" }, "something else", NULL },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *advice = nats_advice(&table[i].options, table[i].why);

                if (!advice != !table[i].part || (advice && !strstr(advice, table[i].part)))
                        fail_msg("%s at %s: %s", table[i].why, table[i].options.url, advice ? advice : "none");
        }
}

static void an_explanation_is_cut_and_not_overrun(void **state) {
        const NatsLinkOptions options = { .url = "nats://x" };
        char text[64];

        (void)state;

        nats_explain(&options, "could not connect: ", "Authorization Violation", text, sizeof(text));
        assert_int_equal(strlen(text), sizeof(text) - 1);
        nats_explain(&options, "could not connect: ", "short", text, sizeof(text));
        assert_string_equal(text, "could not connect: short");
}

static void a_subscription_that_is_forbidden_is_read_from_what_the_server_says(void **state) {
        static const struct {
                const char *why, *subject, *queue;
        } cases[] = {
                { "Permissions Violation for Subscription to \"a.>\"", "a.>", "" },
                { "permissions violation for subscription to \"a.b\"", "a.b", "" },
                { "Permissions Violation for Subscription to \"a.b\" using queue \"g\"", "a.b", "g" },
                { "Permissions Violation for Subscription to \"a.b\" using queue \"g", "a.b", "" },
                { "Permissions Violation for Subscription to \"a.b", NULL, NULL },
                { "Permissions Violation for Subscription to \"\"", NULL, NULL },
                { "Permissions Violation for Publish to \"a.b\"", NULL, NULL },
                { "", NULL, NULL },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Slice subject, queue;

                assert_int_equal(nats_error_forbids_subscription(cases[i].why, &subject, &queue), !!cases[i].subject);
                if (!cases[i].subject)
                        continue;
                assert_true(slice_equal(subject, slice_of(cases[i].subject)));
                assert_true(slice_equal(queue, slice_of(cases[i].queue)));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_advice_names_the_key_that_was_tried),
                cmocka_unit_test(a_subscription_that_is_forbidden_is_read_from_what_the_server_says),
                cmocka_unit_test(an_explanation_is_cut_and_not_overrun),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
