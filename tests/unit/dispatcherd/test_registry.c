/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "common/log.h"
#include "dispatcherd/registry.h"

#define FORGET_USEC (10 * USEC_PER_SEC)

typedef struct Fixture {
        DeadlineQueue deadlines;
        Registry *registry;
        WireError error;
} Fixture;

static const Instant now = { .usec = 100 * USEC_PER_SEC, .real_usec = 1000 * USEC_PER_SEC };

static void fixture_init(Fixture *f, uint64_t max_runtimes, uint64_t max_agents) {
        const RegistryOptions options = {
                .max_runtimes = max_runtimes,
                .max_agents = max_agents,
                .forget_agent_usec = FORGET_USEC,
                .subject_prefix = "compozy",
                .deadlines = &f->deadlines,
                .runtime_deadline_kind = 1,
                .agent_deadline_kind = 2,
        };

        *f = (Fixture){ 0 };
        deadline_queue_init(&f->deadlines);
        assert_int_equal(registry_new(&options, &f->registry), 0);
}

static void fixture_done(Fixture *f) {
        const char *broken = registry_check(f->registry);

        if (broken)
                fail_msg("%s", broken);
        registry_free(f->registry);
        assert_true(deadline_queue_next(&f->deadlines) == USEC_NEVER);
}

/* Agent definitions of one-letter ids. */
static const char *definitions(const char *letters) {
        static char text[8][1024];
        static size_t next;
        char *to = text[next++ % ELEMENTSOF(text)];
        size_t n = 0;

        n += (size_t)snprintf(to + n, sizeof(text[0]) - n, "[");
        for (const char *c = letters; *c; c++)
                n += (size_t)snprintf(to + n, sizeof(text[0]) - n, "%s{\"agent_id\":\"%c\",\"agent_type\":\"t\"}",
                        c == letters ? "" : ",", *c);
        (void)snprintf(to + n, sizeof(text[0]) - n, "]");
        return to;
}

static Registration part(
        const char *id, uint64_t epoch, uint64_t revision, const char *agents, uint64_t index, uint64_t count) {
        return (Registration){
                .runtime_id = slice_of(id),
                .epoch = epoch,
                .revision = revision,
                .hostname = SLICE("host"),
                .agent_definitions = slice_of(definitions(agents)),
                .max_in_flight = 4,
                .heartbeat_interval_ms = 1000,
                .part_index = index,
                .part_count = count,
        };
}

static Registration whole(const char *id, uint64_t epoch, uint64_t revision, const char *agents) {
        return part(id, epoch, revision, agents, 0, 1);
}

static RegistryTaken take(Fixture *f, const Registration *registration) {
        RegistryTaken taken = { 0 };

        assert_int_equal(registry_register(f->registry, registration, now, &taken, &f->error), 0);
        assert_null(registry_check(f->registry));
        return taken;
}

static RegistryTaken take_part(Fixture *f, const char *id, uint64_t epoch, uint64_t revision, const char *agents,
        uint64_t index, uint64_t count) {
        Registration registration = part(id, epoch, revision, agents, index, count);

        return take(f, &registration);
}

static RegistryTaken take_whole(Fixture *f, const char *id, uint64_t epoch, uint64_t revision, const char *agents) {
        return take_part(f, id, epoch, revision, agents, 0, 1);
}

/* The agents that a runtime hosts, as a sorted text of letters. */
static const char *hosted(const Fixture *f, const char *id) {
        static char text[128];
        const Runtime *runtime = registry_find(f->registry, slice_of(id));
        size_t n = 0;

        for (char c = 'a'; c <= 'z'; c++) {
                const char letter[2] = { c, '\0' };
                const Agent *agent = registry_find_agent(f->registry, slice_of(letter));

                for (size_t i = 0; agent && i < agent->n_hosts; i++)
                        if (agent->hosts[i]->runtime == runtime)
                                text[n++] = c;
        }
        text[n] = '\0';
        return text;
}

static RuntimeState state_of(const Fixture *f, const char *id) {
        const Runtime *runtime = registry_find(f->registry, slice_of(id));

        return runtime ? runtime->state : RUNTIME_GONE;
}

/* states */

static const RuntimeState expected_states[_RUNTIME_STATE_MAX][_RUNTIME_EVENT_MAX] = {
#define ROW(complete, heard, silence, drain, resume, restart, remove)                             \
        {                                                                                         \
                [RUNTIME_EV_COMPLETE] = RUNTIME_##complete, [RUNTIME_EV_HEARD] = RUNTIME_##heard, \
                [RUNTIME_EV_SILENCE] = RUNTIME_##silence, [RUNTIME_EV_DRAIN] = RUNTIME_##drain,   \
                [RUNTIME_EV_RESUME] = RUNTIME_##resume, [RUNTIME_EV_RESTART] = RUNTIME_##restart, \
                [RUNTIME_EV_REMOVE] = RUNTIME_##remove,                                           \
        }
        /*                    complete  heard     silence   drain     resume    restart  remove */
        [RUNTIME_JOINING] = ROW(LIVE, JOINING, JOINING, JOINING, JOINING, JOINING, GONE),
        [RUNTIME_LIVE] = ROW(LIVE, LIVE, SUSPECT, DRAINING, LIVE, JOINING, GONE),
        [RUNTIME_SUSPECT] = ROW(LIVE, LIVE, SUSPECT, DRAINING, SUSPECT, JOINING, GONE),
        [RUNTIME_DRAINING] = ROW(DRAINING, DRAINING, DRAINING, DRAINING, LIVE, JOINING, GONE),
};

static void every_living_state_answers_every_event_and_no_other_state_any(void **state) {
        (void)state;

        for (RuntimeState from = RUNTIME_INVALID; from < _RUNTIME_STATE_MAX; from++)
                for (RuntimeEvent event = 0; event < _RUNTIME_EVENT_MAX; event++) {
                        bool living = from >= RUNTIME_JOINING && from < RUNTIME_GONE;

                        assert_int_equal(runtime_state_next(from, event), expected_states[from][event]);
                        assert_int_equal(runtime_state_next(from, event) != RUNTIME_INVALID, living);
                        assert_non_null(runtime_event_name(event));
                        assert_non_null(runtime_state_name(from));
                }
}

static void the_counts_follow_the_states(void **state) {
        Fixture f;
        Runtime *runtime;

        (void)state;

        fixture_init(&f, 10, 100);
        runtime = take_whole(&f, "r1", 1, 0, "a").runtime;
        assert_int_equal(registry_n_in_state(f.registry, RUNTIME_LIVE), 1);
        assert_true(runtime_set_state(f.registry, runtime, RUNTIME_EV_DRAIN));
        assert_false(runtime_set_state(f.registry, runtime, RUNTIME_EV_DRAIN));
        runtime_set_silent(f.registry, runtime, true);
        runtime_set_silent(f.registry, runtime, true);
        assert_int_equal(registry_n_silent(f.registry), 1);
        assert_int_equal(registry_n_in_state(f.registry, RUNTIME_LIVE), 0);
        assert_int_equal(registry_n_in_state(f.registry, RUNTIME_DRAINING), 1);
        registry_remove(f.registry, runtime, DEREGISTER_SHUTDOWN, now);
        assert_int_equal(registry_n_in_state(f.registry, RUNTIME_DRAINING), 0);
        assert_int_equal(registry_n_silent(f.registry), 0);
        fixture_done(&f);
}

/* registrations in parts */

typedef struct PartStep {
        uint64_t index, count, revision;
        const char *agents;
        bool complete;
} PartStep;

static const struct {
        const char *why;
        PartStep steps[8];
        const char *hosted;
} part_cases[] = {
        { "in order", { { 0, 3, 1, "ab", false }, { 1, 3, 1, "c", false }, { 2, 3, 1, "d", true } }, "abcd" },
        { "out of order", { { 2, 3, 1, "d", false }, { 0, 3, 1, "ab", false }, { 1, 3, 1, "c", true } }, "abcd" },
        { "a repeated part counts once", { { 0, 2, 1, "a", false }, { 0, 2, 1, "a", false }, { 1, 2, 1, "b", true } },
                "ab" },
        { "a lost part: the next pass brings it",
                { { 0, 3, 1, "a", false }, { 2, 3, 1, "c", false }, { 0, 3, 1, "a", false }, { 1, 3, 1, "b", true } },
                "abc" },
        { "another count begins a new pass",
                { { 0, 3, 1, "ab", false }, { 0, 2, 1, "a", false }, { 1, 2, 1, "c", true } }, "ac" },
        { "another revision begins a new pass",
                { { 0, 2, 1, "ab", false }, { 1, 2, 2, "c", false }, { 0, 2, 2, "a", true } }, "ac" },
        { "a whole one ends the pass that was going", { { 0, 2, 1, "ab", false }, { 0, 1, 2, "z", true } }, "z" },
        { "what is no longer named is swept at the end of a pass",
                { { 0, 1, 1, "abc", true }, { 0, 2, 2, "a", false }, { 1, 2, 2, "d", true } }, "ad" },
};

static void a_registration_is_taken_when_all_its_parts_are_there(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(part_cases); i++) {
                Fixture f;
                bool was_complete = false;

                fixture_init(&f, 10, 100);
                for (const PartStep *step = part_cases[i].steps; step->count > 0; step++) {
                        RegistryTaken taken =
                                take_part(&f, "r1", 1, step->revision, step->agents, step->index, step->count);

                        if (taken.complete != step->complete)
                                fail_msg("%s: part %d", part_cases[i].why, (int)(step - part_cases[i].steps));
                        was_complete = was_complete || step->complete;
                        assert_int_equal(state_of(&f, "r1"), was_complete ? RUNTIME_LIVE : RUNTIME_JOINING);
                }
                if (strcmp(hosted(&f, "r1"), part_cases[i].hosted) != 0)
                        fail_msg("%s: hosts %s", part_cases[i].why, hosted(&f, "r1"));
                fixture_done(&f);
        }
}

static void nothing_is_swept_before_the_last_part(void **state) {
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        take_whole(&f, "r1", 1, 1, "abc");
        take_part(&f, "r1", 1, 2, "d", 0, 2);
        assert_string_equal(hosted(&f, "r1"), "abcd");
        assert_int_equal(registry_find(f.registry, SLICE("r1"))->revision, 1);
        assert_int_equal(state_of(&f, "r1"), RUNTIME_LIVE);
        take_part(&f, "r1", 1, 2, "e", 1, 2);
        assert_string_equal(hosted(&f, "r1"), "de");
        assert_int_equal(registry_find(f.registry, SLICE("r1"))->revision, 2);
        fixture_done(&f);
}

static void the_parts_of_an_old_epoch_do_not_complete_the_new_one(void **state) {
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        take_part(&f, "r1", 1, 0, "a", 0, 2);
        registry_restart(f.registry, registry_find(f.registry, SLICE("r1")));
        assert_false(take_part(&f, "r1", 2, 0, "b", 1, 2).complete);
        assert_int_equal(state_of(&f, "r1"), RUNTIME_JOINING);
        assert_true(take_part(&f, "r1", 2, 0, "c", 0, 2).complete);
        assert_string_equal(hosted(&f, "r1"), "bc");
        fixture_done(&f);
}

static void what_is_the_same_is_no_change(void **state) {
        Fixture f;
        RegistryTaken taken;
        Registration other;

        (void)state;

        fixture_init(&f, 10, 100);
        taken = take_whole(&f, "r1", 1, 0, "a");
        assert_true(taken.is_new && taken.complete && taken.changed);
        taken = take_whole(&f, "r1", 1, 0, "a");
        assert_true(!taken.is_new && taken.complete && !taken.changed);
        taken = take_whole(&f, "r1", 1, 1, "ab");
        assert_true(!taken.is_new && taken.changed);
        other = whole("r1", 1, 1, "ab");
        other.labels = SLICE("{\"zone\":\"a\"}");
        assert_true(take(&f, &other).changed);
        other.max_in_flight = 5;
        assert_true(take(&f, &other).changed);
        other.version = SLICE("2");
        assert_true(take(&f, &other).changed);
        assert_false(take(&f, &other).changed);
        fixture_done(&f);
}

static void a_head_that_changed_in_an_early_part_is_a_change(void **state) {
        Fixture f;
        Registration other;

        (void)state;

        fixture_init(&f, 10, 100);
        take_part(&f, "r1", 1, 0, "a", 0, 2);
        take_part(&f, "r1", 1, 0, "b", 1, 2);
        other = part("r1", 1, 0, "a", 0, 2);
        other.version = SLICE("2");
        assert_false(take(&f, &other).changed);
        other.part_index = 1;
        other.agent_definitions = slice_of(definitions("b"));
        assert_true(take(&f, &other).changed);
        fixture_done(&f);
}

static void a_runtime_of_epoch_zero_was_registered_now(void **state) {
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        assert_int_equal(take_whole(&f, "r1", 0, 0, "a").runtime->registered_real_usec, now.real_usec);
        fixture_done(&f);
}

static void subjects_are_the_conventional_ones_unless_stated(void **state) {
        Fixture f;
        Registration stated;
        Runtime *runtime;

        (void)state;

        fixture_init(&f, 10, 100);
        runtime = take_whole(&f, "r1", 1, 0, "").runtime;
        assert_string_equal(runtime->trigger_subject, "compozy.runtime.r1.trigger");
        assert_string_equal(runtime->control_subject, "compozy.runtime.r1.control");
        stated = whole("r1", 1, 0, "");
        stated.trigger_subject = SLICE("a.b");
        stated.control_subject = SLICE("a.c");
        take(&f, &stated);
        assert_string_equal(runtime->trigger_subject, "a.b");
        assert_string_equal(runtime->control_subject, "a.c");
        fixture_done(&f);
}

/* epochs and tombstones */

static void an_epoch_that_is_over_stays_over(void **state) {
        static const struct {
                const char *why;
                DeregisterReason removed; /* NONE: it is still there, at epoch 5 */
                uint64_t epoch;
                unsigned refused; /* NONE: admitted */
        } table[] = {
                { "the same epoch again", DEREGISTER_NONE, 5, DEREGISTER_NONE },
                { "a newer one", DEREGISTER_NONE, 6, DEREGISTER_NONE },
                { "an older one: replaced", DEREGISTER_NONE, 4, DEREGISTER_REPLACED },
                { "declared dead", DEREGISTER_HEARTBEAT_TIMEOUT, 5, DEREGISTER_HEARTBEAT_TIMEOUT },
                { "older than declared dead: another process", DEREGISTER_HEARTBEAT_TIMEOUT, 4, DEREGISTER_REPLACED },
                { "newer than declared dead", DEREGISTER_HEARTBEAT_TIMEOUT, 6, DEREGISTER_NONE },
                { "taken out by hand", DEREGISTER_OPERATOR, 5, DEREGISTER_OPERATOR },
                { "newer than taken out by hand", DEREGISTER_OPERATOR, 6, DEREGISTER_NONE },
                { "a late word after its shutdown", DEREGISTER_SHUTDOWN, 5, DEREGISTER_SHUTDOWN },
                { "replaced", DEREGISTER_REPLACED, 5, DEREGISTER_REPLACED },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                RegistrationRefused refused = { 0 };
                Fixture f;
                Runtime *runtime;
                int r;

                fixture_init(&f, 10, 100);
                runtime = take_whole(&f, "r1", 5, 0, "a").runtime;
                if (table[i].removed != DEREGISTER_NONE)
                        registry_remove(f.registry, runtime, table[i].removed, now);
                r = registry_admits(f.registry, SLICE("r1"), table[i].epoch, &refused);
                if (r != (table[i].refused != DEREGISTER_NONE ? REGISTRY_E_STALE : 0) ||
                        refused.reason != table[i].refused)
                        fail_msg("%s: %d, reason %u", table[i].why, r, refused.reason);
                if (r != 0)
                        assert_int_equal(refused.epoch, 5);
                assert_int_equal(
                        registry_was_removed_by_hand(f.registry, SLICE("r1")), table[i].removed == DEREGISTER_OPERATOR);
                fixture_done(&f);
        }
}

static void a_pardoned_epoch_may_come_back(void **state) {
        RegistrationRefused refused;
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        registry_remove(f.registry, take_whole(&f, "r1", 5, 0, "a").runtime, DEREGISTER_OPERATOR, now);
        registry_pardon(f.registry, SLICE("r1"));
        registry_pardon(f.registry, SLICE("never-seen"));
        assert_int_equal(registry_admits(f.registry, SLICE("r1"), 5, &refused), 0);
        assert_false(registry_was_removed_by_hand(f.registry, SLICE("r1")));
        fixture_done(&f);
}

static void of_very_many_that_left_the_oldest_are_forgotten_first(void **state) {
        RegistrationRefused refused;
        Fixture f;
        char id[32];

        (void)state;

        fixture_init(&f, 10, 100);
        for (unsigned i = 0; i < 8192 + 1; i++) {
                (void)snprintf(id, sizeof(id), "r%u", i);
                registry_remove(f.registry, take_whole(&f, id, 5, 0, "").runtime, DEREGISTER_SHUTDOWN, now);
        }
        assert_int_equal(registry_admits(f.registry, SLICE("r0"), 5, &refused), 0);
        assert_int_equal(registry_admits(f.registry, SLICE("r1"), 5, &refused), REGISTRY_E_STALE);
        fixture_done(&f);
}

/* limits */

static void a_runtime_past_the_limit_is_refused_and_leaves_nothing(void **state) {
        RegistryTaken taken;
        Registration third = whole("r3", 1, 0, "c");
        Fixture f;

        (void)state;

        fixture_init(&f, 2, 100);
        take_whole(&f, "r1", 1, 0, "a");
        take_whole(&f, "r2", 1, 0, "b");
        assert_int_equal(registry_register(f.registry, &third, now, &taken, &f.error), REGISTRY_E_FULL);
        assert_non_null(strstr(f.error.text, "limits.max_runtimes is 2"));
        assert_int_equal(registry_n_runtimes(f.registry), 2);
        assert_null(registry_find_agent(f.registry, SLICE("c")));
        take_whole(&f, "r1", 1, 1, "ac");
        fixture_done(&f);
}

static void agents_past_the_limit_are_refused_and_a_newcomer_leaves_nothing(void **state) {
        RegistryTaken taken;
        Registration too_many = whole("r2", 1, 0, "bcd");
        RegistrationRefused refused;
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 3);
        take_whole(&f, "r1", 1, 0, "a");
        assert_int_equal(registry_register(f.registry, &too_many, now, &taken, &f.error), REGISTRY_E_FULL);
        assert_non_null(strstr(f.error.text, "limits.max_agents is 3"));
        assert_null(registry_find(f.registry, SLICE("r2")));
        assert_int_equal(registry_n_hostings(f.registry), 1);
        assert_int_equal(registry_admits(f.registry, SLICE("r2"), 1, &refused), 0);
        take_whole(&f, "r2", 1, 0, "bc");
        fixture_done(&f);
}

static void a_refused_newcomer_does_not_wake_its_dead(void **state) {
        RegistryTaken taken;
        RegistrationRefused refused = { 0 };
        Registration bad = whole("r1", 6, 0, "");
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 3);
        registry_remove(f.registry, take_whole(&f, "r1", 5, 0, "a").runtime, DEREGISTER_HEARTBEAT_TIMEOUT, now);
        bad.agent_definitions = SLICE("[{\"agent_id\":1}]");
        assert_int_equal(registry_register(f.registry, &bad, now, &taken, &f.error), REGISTRY_E_INVALID);
        assert_int_equal(registry_admits(f.registry, SLICE("r1"), 5, &refused), REGISTRY_E_STALE);
        assert_int_equal(refused.reason, DEREGISTER_HEARTBEAT_TIMEOUT);
        fixture_done(&f);
}

static void a_known_runtime_that_can_not_be_taken_keeps_what_it_had(void **state) {
        RegistryTaken taken;
        Registration bad = whole("r1", 1, 1, "");
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        take_whole(&f, "r1", 1, 0, "ab");
        bad.agent_definitions = SLICE("[{\"agent_id\":\"a\"},{\"agent_id\":\"not an id\"}]");
        assert_int_equal(registry_register(f.registry, &bad, now, &taken, &f.error), REGISTRY_E_INVALID);
        assert_non_null(strstr(f.error.text, "agent definition 1"));
        bad = whole("r1", 1, 1, "");
        bad.labels = SLICE("{\"zone\":1}");
        assert_int_equal(registry_register(f.registry, &bad, now, &taken, &f.error), REGISTRY_E_INVALID);
        assert_string_equal(hosted(&f, "r1"), "ab");
        assert_int_equal(state_of(&f, "r1"), RUNTIME_LIVE);
        take_whole(&f, "r1", 1, 1, "b");
        assert_string_equal(hosted(&f, "r1"), "b");
        fixture_done(&f);
}

static void raw_texts_of_a_runtime_are_bounded(void **state) {
        static char blanks[200 * 1024];
        RegistryTaken taken;
        Registration big = whole("r1", 1, 0, "a");
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        memset(blanks, ' ', sizeof(blanks));
        blanks[0] = '{';
        blanks[sizeof(blanks) - 1] = '}';
        big.labels = (Slice){ blanks, sizeof(blanks) };
        assert_int_equal(registry_register(f.registry, &big, now, &taken, &f.error), REGISTRY_E_INVALID);
        assert_non_null(strstr(f.error.text, "agent_runtime.labels"));
        big = whole("r1", 1, 0, "a");
        blanks[0] = '[';
        blanks[sizeof(blanks) - 1] = ']';
        big.agent_types = (Slice){ blanks, sizeof(blanks) };
        assert_int_equal(registry_register(f.registry, &big, now, &taken, &f.error), REGISTRY_E_INVALID);
        assert_non_null(strstr(f.error.text, "agent_runtime.agent_types"));
        fixture_done(&f);
}

/* updates */

static int update(Fixture *f, uint64_t base, uint64_t revision, const char *added, const char *removed) {
        Runtime *runtime = registry_find(f->registry, SLICE("r1"));
        const RuntimeUpdated updated = { .runtime_id = SLICE("r1"),
                .epoch = 1,
                .base_revision = base,
                .revision = revision,
                .added = slice_of(definitions(added)),
                .removed = slice_of(removed) };
        int r = registry_update(f->registry, runtime, &updated, now, &f->error);

        assert_null(registry_check(f->registry));
        return r;
}

static void an_update_adds_and_removes(void **state) {
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 4);
        take_whole(&f, "r1", 1, 3, "abc");
        assert_int_equal(update(&f, 3, 4, "d", "[\"a\",\"never\"]"), 0);
        assert_string_equal(hosted(&f, "r1"), "bcd");
        assert_int_equal(registry_find(f.registry, SLICE("r1"))->revision, 4);
        assert_int_equal(update(&f, 4, 5, "b", "[]"), 0);
        assert_string_equal(hosted(&f, "r1"), "bcd");
        assert_int_equal(update(&f, 5, 6, "efg", "[]"), REGISTRY_E_FULL);
        assert_int_equal(registry_find(f.registry, SLICE("r1"))->revision, 5);
        assert_int_equal(registry_n_hostings(f.registry), 4);
        fixture_done(&f);
}

static void what_an_update_adds_survives_the_pass_that_was_going(void **state) {
        Fixture f;

        (void)state;

        fixture_init(&f, 10, 100);
        take_whole(&f, "r1", 1, 1, "a");
        take_part(&f, "r1", 1, 1, "a", 0, 2);
        assert_int_equal(update(&f, 1, 2, "x", "[]"), 0);
        take_part(&f, "r1", 1, 1, "b", 1, 2);
        assert_string_equal(hosted(&f, "r1"), "abx");
        fixture_done(&f);
}

/* agents */

static void an_agent_without_hosts_is_remembered_for_a_while(void **state) {
        Fixture f;
        Agent *agent;

        (void)state;

        fixture_init(&f, 10, 100);
        take_whole(&f, "r1", 1, 0, "a");
        take_whole(&f, "r2", 1, 0, "a");
        agent = registry_find_agent(f.registry, SLICE("a"));
        assert_int_equal(agent->n_hosts, 2);
        registry_remove(f.registry, registry_find(f.registry, SLICE("r1")), DEREGISTER_SHUTDOWN, now);
        assert_int_equal(agent->n_hosts, 1);
        assert_true(agent->deadline.usec == USEC_NEVER);
        registry_remove(f.registry, registry_find(f.registry, SLICE("r2")), DEREGISTER_SHUTDOWN, now);
        assert_int_equal(agent->n_hosts, 0);
        assert_int_equal(agent->gone_usec, now.usec);
        assert_true(agent->deadline.usec == now.usec + FORGET_USEC);
        take_whole(&f, "r3", 1, 0, "a");
        assert_ptr_equal(registry_find_agent(f.registry, SLICE("a")), agent);
        assert_true(agent->deadline.usec == USEC_NEVER);
        take_whole(&f, "r3", 1, 1, "");
        registry_forget_agent(f.registry, agent);
        assert_null(registry_find_agent(f.registry, SLICE("a")));
        fixture_done(&f);
}

static void hosts_keep_their_places_as_they_come_and_go(void **state) {
        Fixture f;
        const Agent *agent;
        char id[8];

        (void)state;

        fixture_init(&f, 100, 1000);
        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 50; i++) {
                        (void)snprintf(id, sizeof(id), "r%u", i);
                        take_whole(&f, id, round + 1, 0, i % 2 ? "ab" : "a");
                }
                agent = registry_find_agent(f.registry, SLICE("a"));
                assert_int_equal(agent->n_hosts, 50);
                for (unsigned i = round; i < 50; i += 3) {
                        (void)snprintf(id, sizeof(id), "r%u", i);
                        registry_remove(f.registry, registry_find(f.registry, slice_of(id)), DEREGISTER_SHUTDOWN, now);
                        for (size_t k = 0; k < agent->n_hosts; k++)
                                assert_int_equal(agent->hosts[k]->agent_index, k);
                }
        }
        fixture_done(&f);
}

static void a_registration_lets_a_refused_agent_be_tried_again(void **state) {
        Fixture f;
        Agent *agent;

        (void)state;

        fixture_init(&f, 10, 100);
        take_whole(&f, "r1", 1, 0, "a");
        agent = registry_find_agent(f.registry, SLICE("a"));
        agent->hosts[0]->refused = ERROR_AGENT_NOT_FOUND;
        take_whole(&f, "r1", 1, 0, "a");
        assert_int_equal(agent->hosts[0]->refused, ERROR_NONE);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_living_state_answers_every_event_and_no_other_state_any),
                cmocka_unit_test(the_counts_follow_the_states),
                cmocka_unit_test(a_registration_is_taken_when_all_its_parts_are_there),
                cmocka_unit_test(nothing_is_swept_before_the_last_part),
                cmocka_unit_test(the_parts_of_an_old_epoch_do_not_complete_the_new_one),
                cmocka_unit_test(what_is_the_same_is_no_change),
                cmocka_unit_test(a_head_that_changed_in_an_early_part_is_a_change),
                cmocka_unit_test(a_runtime_of_epoch_zero_was_registered_now),
                cmocka_unit_test(subjects_are_the_conventional_ones_unless_stated),
                cmocka_unit_test(an_epoch_that_is_over_stays_over),
                cmocka_unit_test(a_pardoned_epoch_may_come_back),
                cmocka_unit_test(of_very_many_that_left_the_oldest_are_forgotten_first),
                cmocka_unit_test(a_runtime_past_the_limit_is_refused_and_leaves_nothing),
                cmocka_unit_test(agents_past_the_limit_are_refused_and_a_newcomer_leaves_nothing),
                cmocka_unit_test(a_refused_newcomer_does_not_wake_its_dead),
                cmocka_unit_test(a_known_runtime_that_can_not_be_taken_keeps_what_it_had),
                cmocka_unit_test(raw_texts_of_a_runtime_are_bounded),
                cmocka_unit_test(an_update_adds_and_removes),
                cmocka_unit_test(what_an_update_adds_survives_the_pass_that_was_going),
                cmocka_unit_test(an_agent_without_hosts_is_remembered_for_a_while),
                cmocka_unit_test(hosts_keep_their_places_as_they_come_and_go),
                cmocka_unit_test(a_registration_lets_a_refused_agent_be_tried_again),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
