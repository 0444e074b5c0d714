/* SPDX-License-Identifier: MIT */

/* What a peer may put into a field: exactly so much, and one more is refused with the field's name and the limit. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "proto/arena.h"
#include "proto/id.h"
#include "proto/registration.h"
#include "proto/subject.h"
#include "proto/trigger.h"

typedef int (*Decode)(Slice json, Arena *arena, WireError *error);

static int as_trigger(Slice json, Arena *arena, WireError *error) {
        Trigger trigger = { 0 };
        int r = trigger_decode(json, &trigger, arena, error);
        Labels labels;

        if (r == 0 && trigger.labels.size > 0)
                r = labels_decode(trigger.labels, "payload.labels", arena, &labels, error);
        return r;
}

static int as_registration(Slice json, Arena *arena, WireError *error) {
        Registration registration = { 0 };

        return registration_decode(json, &registration, arena, error);
}

static int as_heartbeat(Slice json, Arena *arena, WireError *error) {
        Heartbeat heartbeat = { 0 };

        return heartbeat_decode(json, &heartbeat, arena, error);
}

#define RUNTIME "\"runtime_id\":\"r1\",\"epoch\":1"

/* `@` in the template is replaced by a text of that many x, or by the number. */
typedef struct Limit {
        const char *name; /* as the sentence says it */
        Decode decode;
        const char *template;
        bool is_text;
        uint64_t max;
} Limit;

static const Limit limits[] = {
        { "metadata.correlation_id", as_trigger, "{\"metadata\":{\"correlation_id\":\"@\"}}", true, TEXT_MAX },
        { "workflow.exec_id", as_trigger, "{\"workflow\":{\"exec_id\":\"@\"}}", true, TEXT_MAX },
        { "agent.exec_id", as_trigger, "{\"agent\":{\"exec_id\":\"@\"}}", true, ID_MAX },
        { "payload.reply_to_subject", as_trigger, "{\"payload\":{\"reply_to_subject\":\"@\"}}", true, SUBJECT_MAX },
        { "payload.deadline_ms", as_trigger, "{\"payload\":{\"deadline_ms\":@}}", false, DEADLINE_MS_MAX },
        { "payload.priority", as_trigger, "{\"payload\":{\"priority\":@}}", false, PRIORITY_MAX },
        { "payload.labels", as_trigger, "{\"payload\":{\"labels\":{\"@\":\"x\"}}}", true, LABEL_TEXT_MAX },
        { "payload.labels", as_trigger, "{\"payload\":{\"labels\":{\"x\":\"@\"}}}", true, LABEL_TEXT_MAX },

        { "agent_runtime.hostname", as_registration, "{\"agent_runtime\":{" RUNTIME ",\"hostname\":\"@\"}}", true,
                TEXT_MAX },
        { "agent_runtime.epoch", as_registration, "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":@}}", false,
                EPOCH_MAX },
        { "agent_runtime.heartbeat_interval_ms", as_registration,
                "{\"agent_runtime\":{" RUNTIME ",\"heartbeat_interval_ms\":@}}", false, INTERVAL_MS_MAX },
        { "agent_runtime.capacity.max_in_flight", as_registration,
                "{\"agent_runtime\":{" RUNTIME ",\"capacity\":{\"max_in_flight\":@}}}", false, CAPACITY_MAX },
        { "payload.part.count", as_registration,
                "{\"agent_runtime\":{" RUNTIME "},\"payload\":{\"part\":{\"index\":0,\"count\":@}}}", false,
                REGISTRATION_PARTS_MAX },
        { "agent_runtime.subjects.trigger", as_registration,
                "{\"agent_runtime\":{" RUNTIME ",\"subjects\":{\"trigger\":\"@\"}}}", true, SUBJECT_MAX },

        { "payload.interval_ms", as_heartbeat, "{\"agent_runtime\":{" RUNTIME "},\"payload\":{\"interval_ms\":@}}",
                false, INTERVAL_MS_MAX },
};

static char *fill(const Limit *limit, uint64_t amount) {
        const char *at = strchr(limit->template, '@');
        char *text = malloc(strlen(limit->template) + 32 + (limit->is_text ? amount : 0)), *to = text;

        to += sprintf(to, "%.*s", (int)(at - limit->template), limit->template);
        if (limit->is_text) {
                memset(to, 'x', amount);
                to += amount;
        } else {
                to += sprintf(to, "%llu", (unsigned long long)amount);
        }
        (void)strcpy(to, at + 1);
        return text;
}

static void each_field_takes_its_limit_and_refuses_one_more_by_name(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(limits); i++)
                for (unsigned more = 0; more < 2; more++) {
                        char *text = fill(&limits[i], limits[i].max + more);
                        WireError error = { "" };
                        Arena arena = {};
                        int r = limits[i].decode(slice_of(text), &arena, &error);

                        if (r != (more ? WIRE_E_INVALID : 0))
                                fail_msg("%s of %llu: %d %s", limits[i].name, (unsigned long long)limits[i].max + more,
                                        r, error.text);
                        if (more && !strstr(error.text, limits[i].name))
                                fail_msg("%s is not named: %s", limits[i].name, error.text);
                        arena_clear(&arena);
                        free(text);
                }
}

static void labels_are_so_many_and_no_more(void **state) {
        (void)state;

        for (unsigned more = 0; more < 2; more++) {
                char text[1024] = "{\"payload\":{\"labels\":{";
                WireError error = { "" };
                Arena arena = {};

                for (unsigned i = 0; i < LABELS_MAX + more; i++)
                        (void)sprintf(text + strlen(text), "%s\"l%u\":\"x\"", i > 0 ? "," : "", i);
                (void)strcat(text, "}}}");
                assert_int_equal(as_trigger(slice_of(text), &arena, &error), more ? WIRE_E_INVALID : 0);
                arena_clear(&arena);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_field_takes_its_limit_and_refuses_one_more_by_name),
                cmocka_unit_test(labels_are_so_many_and_no_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
