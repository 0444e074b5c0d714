/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>
#include <time.h>

#include "common/instant.h"
#include "ctl/watch_line.h"
#include "ctl/watch_stream.h"

#define ALL ((1U << _WATCH_KIND_MAX) - 1)

static void a_subject_is_as_narrow_as_one_can_be(void **state) {
        static const struct {
                WatchWish wish;
                const char *subject;
        } cases[] = {
                { { .kinds = ALL }, "c.events.>" },
                { { .kinds = ALL, .agent_id = "a" }, "c.events.agent.instance.*.*" },
                { { .kinds = ALL, .exec_id = "e" }, "c.events.agent.instance.e.*" },
                { { .kinds = 1U << WATCH_failed }, "c.events.agent.instance.*.failed" },
                { { .kinds = 1U << WATCH_failed, .exec_id = "e" }, "c.events.agent.instance.e.failed" },
                { { .kinds = 1U << WATCH_failed | 1U << WATCH_started }, "c.events.agent.instance.*.*" },
                { { .kinds = 1U << WATCH_runtime_update }, "c.events.agent_dispatcher.*.runtime_update" },
                { { .kinds = 1U << WATCH_heartbeat, .runtime_id = "r" }, "c.events.agent.definition.r.heartbeat" },
                { { .kinds = 1U << WATCH_heartbeat | 1U << WATCH_updated }, "c.events.agent.definition.*.*" },
                { { .kinds = 1U << WATCH_heartbeat | 1U << WATCH_failed }, "c.events.>" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char subject[128];

                watch_subject(&cases[i].wish, "c", subject, sizeof(subject));
                assert_string_equal(subject, cases[i].subject);
        }
}

static void only_what_is_wished_for_is_shown(void **state) {
        static const char subject[] = "c.events.agent.instance.e-1.failed";
        static const struct {
                WatchWish wish;
                bool by_subject, whole;
        } cases[] = {
                { { .kinds = ALL }, true, true },
                { { .kinds = 1U << WATCH_started }, false, false },
                { { .kinds = ALL, .exec_id = "e-1" }, true, true },
                { { .kinds = ALL, .exec_id = "-1" }, false, false },
                { { .kinds = ALL, .exec_id = "e-11" }, false, false },
                { { .kinds = ALL, .agent_id = "greeter", .runtime_id = "r1" }, true, true },
                { { .kinds = ALL, .agent_id = "other" }, true, false },
                { { .kinds = ALL, .runtime_id = "r2" }, true, false },
        };
        json_auto_t *event = json_loads("{\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e-1\"},"
                                        "\"agent_runtime\":{\"runtime_id\":\"r1\"}}",
                0, NULL);

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(watch_subject_is_wished(&cases[i].wish, subject), cases[i].by_subject);
                assert_int_equal(watch_is_wished(&cases[i].wish, watch_kind(subject), event), cases[i].whole);
        }
        assert_false(watch_subject_is_wished(&cases[0].wish, "c.events.agent.instance.e-1.made_up"));
        assert_false(watch_subject_is_wished(&cases[0].wish, ""));
        assert_false(watch_subject_is_wished(&cases[2].wish, "failed"));
}

static void times_are_read_to_the_microsecond(void **state) {
        (void)state;

        assert_int_equal(watch_parse_time("1970-01-02T00:00:01.123456Z"), 86401123456);
        assert_int_equal(watch_parse_time("1970-01-02T00:00:01Z"), 86401000000);
        assert_int_equal(watch_parse_time("1970-01-02T00:00:01.5+01:00"), 0);
        assert_int_equal(watch_parse_time("yesterday"), 0);
        assert_int_equal(watch_parse_time(NULL), 0);
}

static char *line_of(WatchKind kind, const char *text, uint64_t now) {
        static char line[4096];
        const Screen screen = { .has_colour = false };
        json_auto_t *event = json_loads(text, 0, NULL);
        FILE *file = fmemopen(line, sizeof(line), "w");

        watch_print_line(file, &screen, kind, event, now);
        (void)fclose(file);
        return line;
}

static void a_line_tells_when_what_whom_and_how(void **state) {
        static const char event[] =
                "{\"metadata\":{\"event_timestamp\":\"2026-01-31T23:59:59.123456Z\"},"
                "\"agent\":{\"id\":\"greeter\",\"exec_id\":\"e-1\"},\"agent_runtime\":{\"runtime_id\":\"r1\"},"
                "\"payload\":{\"attempt\":2,\"status\":\"AGENT_ERROR\",\"duration_ms\":1.5,"
                "\"error\":{\"code\":\"INTERNAL\",\"message\":\"no \\u001b[31mname\"}}}";
        const uint64_t then = watch_parse_time("2026-01-31T23:59:59.5Z");

        (void)state;

        assert_string_equal(line_of(WATCH_failed, event, then),
                "23:59:59.123 failed          greeter              r1               e-1                1.5 ms  "
                "AGENT_ERROR INTERNAL: no \\x1b[31mname  attempt 2\n");
        assert_non_null(strstr(line_of(WATCH_failed, event, then + USEC_PER_SEC), "2026-01-31 23:59:59.123 "));
}

static void no_event_is_too_strange_to_be_shown(void **state) {
        static const char *const events[] = { "{}", "[]", "{\"agent\":1,\"payload\":[],\"metadata\":\"x\"}",
                "{\"payload\":{\"error\":true,\"duration_ms\":\"x\"},\"agent\":{\"id\":2}}" };

        (void)state;

        for (unsigned kind = 0; kind < _WATCH_KIND_MAX; kind++)
                for (size_t i = 0; i < ELEMENTSOF(events); i++)
                        assert_non_null(strstr(line_of((WatchKind)kind, events[i], 0), watch_kind_names[kind]));
}

static void places_of_old_and_new_servers_are_read(void **state) {
        static const struct {
                const char *reply;
                int r;
        } cases[] = {
                { "$JS.ACK.COMPOZY_EVENTS.x1.1.42.7.1690000000000000000.99", 0 },
                { "$JS.ACK._.account.COMPOZY_EVENTS.x1.1.42.7.1690000000000000000.99", 0 },
                { "$JS.ACK.hub.account.COMPOZY_EVENTS.x1.1.42.7.1690000000000000000.99.token", 0 },
                { "$JS.ACK.COMPOZY_EVENTS.x1.1.42.7.1690000000000000000", -EINVAL },
                { "$JS.ACK.COMPOZY_EVENTS.x1.1.b.7.1690000000000000000.99", -EINVAL },
                { "$JS.FC.COMPOZY_EVENTS.x1.abc", -EINVAL },
                { "_INBOX.1", -EINVAL },
                { "", -EINVAL },
                { NULL, -EINVAL },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WatchPlace place = { 0 };

                assert_int_equal(watch_place_parse(cases[i].reply, &place), cases[i].r);
                if (cases[i].r == 0) {
                        assert_int_equal(place.number, 42);
                        assert_int_equal(place.ordinal, 7);
                        assert_int_equal(place.n_pending, 99);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_subject_is_as_narrow_as_one_can_be),
                cmocka_unit_test(only_what_is_wished_for_is_shown),
                cmocka_unit_test(times_are_read_to_the_microsecond),
                cmocka_unit_test(a_line_tells_when_what_whom_and_how),
                cmocka_unit_test(no_event_is_too_strange_to_be_shown),
                cmocka_unit_test(places_of_old_and_new_servers_are_read),
        };

        (void)setenv("TZ", "UTC", 1);
        tzset();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
