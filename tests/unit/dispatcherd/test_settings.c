/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "common/config.h"
#include "dispatcherd/settings.h"
#include "proto/message.h"

static int load(const char *const *options, size_t n, DispatcherSettings *ret, ConfigError *error) {
        *ret = (DispatcherSettings){ 0 };
        return config_load(&dispatcher_config, NULL, options, n, ret, error);
}

static void the_defaults_fit_each_other(void **state) {
        DispatcherSettings settings;
        DispatcherOptions options = { 0 };
        ConfigError error = { 0 };

        (void)state;

        assert_int_equal(load(NULL, 0, &settings, &error), 0);
        assert_int_equal(dispatcher_settings_check(&settings, &error), 0);
        dispatcher_settings_apply(&settings, &options);
        assert_string_equal(options.subject_prefix, "compozy");
        assert_int_equal(options.default_deadline_ms, DEADLINE_MS_DEFAULT);
        assert_int_equal(options.max_message_bytes, MESSAGE_BYTES_MAX_DEFAULT);
        assert_int_equal(options.probe_timeout_usec, USEC_PER_SEC);
        assert_int_equal(options.check_usec, USEC_PER_SEC);
        assert_int_equal(options.rehost_wait_usec, 5 * USEC_PER_SEC);
        assert_int_equal(options.settle_usec, 750 * USEC_PER_MSEC);
        assert_int_equal(options.events_max_age_usec, UINT64_C(7) * 24 * 3600 * USEC_PER_SEC);
        assert_int_equal(options.events, EVENTS_ALL);
        assert_true(options.jetstream);
        assert_true(options.dead_after > options.suspect_after);
        assert_true(options.history_max > 0);
        config_clear(&dispatcher_config, &settings);
}

static void values_out_of_their_range_are_refused_by_name(void **state) {
        static const struct {
                const char *option;
                const char *part; /* of the error; NULL: accepted */
        } table[] = {
                { "liveness.suspect_after=1.5", NULL },
                { "liveness.suspect_after=0.5", "liveness.suspect_after" },
                { "liveness.probe_timeout_ms=9", "liveness.probe_timeout_ms" },
                { "liveness.heartbeats_per_second_max=0", "liveness.heartbeats_per_second_max" },
                { "dispatcher.queue_limit=0", NULL },
                { "dispatcher.queue_limit=-1", "dispatcher.queue_limit" },
                { "dispatcher.queue_bytes=1", "dispatcher.queue_bytes" },
                { "dispatcher.history=0", "dispatcher.history" },
                { "dispatcher.check_ms=0", "dispatcher.check_ms" },
                { "dispatcher.max_attempts=0", "dispatcher.max_attempts" },
                { "dispatcher.default_deadline_ms=86400001", "dispatcher.default_deadline_ms" },
                { "dispatcher.id=two words", "dispatcher.id" },
                { "events.executions=outcomes", NULL },
                { "events.executions=some", "events.executions" },
                { "jetstream.enabled=maybe", "jetstream.enabled" },
                { "limits.max_message_bytes=1", "limits.max_message_bytes" },
                { "dispatcher.no_such_key=1", "dispatcher.no_such_key" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                DispatcherSettings settings;
                ConfigError error = { 0 };
                int r = load(&table[i].option, 1, &settings, &error);

                if (table[i].part ? r != CONFIG_E_INVALID || !strstr(error.text, table[i].part) : r != 0)
                        fail_msg("%s: %d %s", table[i].option, r, error.text);
                if (r == 0)
                        config_clear(&dispatcher_config, &settings);
        }
}

static void nobody_is_dead_before_being_suspect(void **state) {
        static const char *const wrong[] = { "liveness.suspect_after=5", "liveness.dead_after=5" };
        static const char *const right[] = { "liveness.suspect_after=4.9", "liveness.dead_after=5" };
        DispatcherSettings settings;
        ConfigError error = { 0 };

        (void)state;

        assert_int_equal(load(wrong, 2, &settings, &error), 0);
        assert_int_equal(dispatcher_settings_check(&settings, &error), CONFIG_E_INVALID);
        assert_non_null(strstr(error.text, "liveness.dead_after is 5"));
        config_clear(&dispatcher_config, &settings);
        assert_int_equal(load(right, 2, &settings, &error), 0);
        assert_int_equal(dispatcher_settings_check(&settings, &error), 0);
        config_clear(&dispatcher_config, &settings);
}

static void what_is_configured_arrives_in_the_core(void **state) {
        static const char *const given[] = { "dispatcher.queue_limit=7", "dispatcher.queue_bytes=70000",
                "dispatcher.max_attempts=9", "dispatcher.check_ms=20", "dispatcher.settle_ms=30",
                "limits.max_runtimes=3", "limits.max_agents=4", "events.executions=none", "jetstream.enabled=no",
                "jetstream.events_max_age_hours=1", "nats.subject_prefix=acme" };
        DispatcherSettings settings;
        DispatcherOptions options = { 0 };
        ConfigError error = { 0 };

        (void)state;

        assert_int_equal(load(given, ELEMENTSOF(given), &settings, &error), 0);
        dispatcher_settings_apply(&settings, &options);
        assert_int_equal(options.queue_limit, 7);
        assert_int_equal(options.queue_bytes_limit, 70000);
        assert_int_equal(options.max_attempts, 9);
        assert_int_equal(options.check_usec, 20 * USEC_PER_MSEC);
        assert_int_equal(options.settle_usec, 30 * USEC_PER_MSEC);
        assert_int_equal(options.max_runtimes, 3);
        assert_int_equal(options.max_agents, 4);
        assert_int_equal(options.events, EVENTS_NONE);
        assert_false(options.jetstream);
        assert_int_equal(options.events_max_age_usec, UINT64_C(3600) * USEC_PER_SEC);
        assert_string_equal(options.subject_prefix, "acme");
        config_clear(&dispatcher_config, &settings);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_defaults_fit_each_other),
                cmocka_unit_test(values_out_of_their_range_are_refused_by_name),
                cmocka_unit_test(nobody_is_dead_before_being_suspect),
                cmocka_unit_test(what_is_configured_arrives_in_the_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
