/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "common/log.h"
#include "dispatcherd/placement.h"

#define HOSTS_MAX 1000

static const Instant now = { .usec = 100 * USEC_PER_SEC };

/* Agent "a" on so many runtimes r0, r1, …, each live with 10 slots. */
typedef struct Fixture {
        DeadlineQueue deadlines;
        Registry *registry;
        Agent *agent;
        Runtime *runtimes[HOSTS_MAX];
        Rng rng;
} Fixture;

static Fixture *fixture_new(size_t n) {
        Fixture *f = calloc(1, sizeof(*f));
        const RegistryOptions options = { .max_runtimes = HOSTS_MAX,
                .max_agents = HOSTS_MAX,
                .subject_prefix = "compozy",
                .deadlines = &f->deadlines };

        assert_non_null(f);
        deadline_queue_init(&f->deadlines);
        rng_seed(&f->rng, 7);
        assert_int_equal(registry_new(&options, &f->registry), 0);
        for (size_t i = 0; i < n; i++) {
                RegistryTaken taken;
                WireError error;
                char id[32], labels[64];
                Registration registration = { .epoch = 1,
                        .agent_definitions = SLICE("[{\"agent_id\":\"a\"}]"),
                        .max_in_flight = 10,
                        .heartbeat_interval_ms = 1000,
                        .part_count = 1 };

                (void)snprintf(id, sizeof(id), "r%zu", i);
                (void)snprintf(labels, sizeof(labels), "{\"n\":\"%zu\",\"odd\":\"%s\"}", i, i % 2 ? "yes" : "no");
                registration.runtime_id = slice_of(id);
                registration.labels = slice_of(labels);
                assert_int_equal(registry_register(f->registry, &registration, now, &taken, &error), 0);
                f->runtimes[i] = taken.runtime;
        }
        f->agent = registry_find_agent(f->registry, SLICE("a"));
        return f;
}

static void fixture_free(Fixture *f) {
        registry_free(f->registry);
        free(f);
}

static Placement choose(Fixture *f, const Labels *labels, const Runtime *avoid) {
        const PlacementRequest request = { .agent = f->agent, .labels = labels, .avoid = avoid };

        return placement_choose(&request, &f->rng, now.usec);
}

static Hosting *hosting_of(const Fixture *f, size_t i) {
        for (size_t k = 0; k < f->agent->n_hosts; k++)
                if (f->agent->hosts[k]->runtime == f->runtimes[i])
                        return f->agent->hosts[k];
        return NULL;
}

/* What stands against a runtime, by one letter each. */
static void afflict(Fixture *f, size_t i, char with) {
        Runtime *runtime = f->runtimes[i];

        switch (with) {
        case 'S':
                runtime_set_silent(f->registry, runtime, true);
                (void)runtime_set_state(f->registry, runtime, RUNTIME_EV_SILENCE);
                break;
        case 'B': /* both */
                afflict(f, i, 'S');
                afflict(f, i, 'F');
                break;
        case 'D':
                (void)runtime_set_state(f->registry, runtime, RUNTIME_EV_DRAIN);
                break;
        case 'J':
                registry_restart(f->registry, runtime);
                break;
        case 'U':
                runtime->unreachable = true;
                break;
        case 'R':
                hosting_of(f, i)->refused = ERROR_AGENT_STOPPED;
                break;
        case 'F':
                runtime->own_in_flight = 4;
                runtime->foreign_in_flight = 6;
                break;
        case 'M':
                hosting_of(f, i)->full_until_usec = now.usec + 1;
                break;
        default: /* L: live */
                break;
        }
}

static const struct {
        const char *why;
        const char *hosts; /* one letter each */
        PlacementOutcome outcome;
        const char *may; /* the hosts that may be chosen: their digits */
        Fitness best;
} cases[] = {
        { "nobody hosts it", "", PLACEMENT_UNKNOWN, "", FITNESS_NONE },
        { "the only one", "L", PLACEMENT_CHOSEN, "0", FITNESS_LIVE },
        { "any live one", "LL", PLACEMENT_CHOSEN, "01", FITNESS_LIVE },
        { "not the suspect while somebody else can", "SL", PLACEMENT_CHOSEN, "1", FITNESS_LIVE },
        { "the suspect when nobody else can", "SDUJ", PLACEMENT_CHOSEN, "0", FITNESS_SUSPECT },
        { "not the draining one", "DL", PLACEMENT_CHOSEN, "1", FITNESS_LIVE },
        { "draining alone", "D", PLACEMENT_NOBODY, "", FITNESS_DRAINING },
        { "joining alone", "J", PLACEMENT_NOBODY, "", FITNESS_JOINING },
        { "nobody listens there", "U", PLACEMENT_NOBODY, "", FITNESS_UNREACHABLE },
        { "it refused", "R", PLACEMENT_NOBODY, "", FITNESS_REFUSED },
        { "the closest one is named", "JDUR", PLACEMENT_NOBODY, "", FITNESS_REFUSED },
        { "full: wait", "F", PLACEMENT_WAIT, "", FITNESS_FULL },
        { "one of two is full", "FL", PLACEMENT_CHOSEN, "1", FITNESS_LIVE },
        { "wait for the full one rather than trust the suspect", "FS", PLACEMENT_WAIT, "", FITNESS_FULL },
        { "a suspect without slots holds up nothing", "BS", PLACEMENT_CHOSEN, "1", FITNESS_SUSPECT },
        { "nor does it before a full mailbox", "BM", PLACEMENT_CHOSEN, "1", FITNESS_MAILBOX },
        { "alone, it is waited for: its verdict is near", "B", PLACEMENT_WAIT, "", FITNESS_SUSPECT_FULL },
        { "another mailbox has room", "ML", PLACEMENT_CHOSEN, "1", FITNESS_LIVE },
        { "a full mailbox is better than no answer", "MD", PLACEMENT_CHOSEN, "0", FITNESS_MAILBOX },
};

static void only_the_fittest_get_work(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Fixture *f = fixture_new(strlen(cases[i].hosts));
                char seen[8] = "";

                for (size_t k = 0; cases[i].hosts[k]; k++)
                        afflict(f, k, cases[i].hosts[k]);
                for (unsigned n = 0; n < 50; n++) {
                        Placement placement = choose(f, NULL, NULL);

                        if (placement.outcome != cases[i].outcome || placement.best != cases[i].best)
                                fail_msg("%s: outcome %d, best: %s", cases[i].why, (int)placement.outcome,
                                        fitness_meaning(placement.best));
                        if (placement.outcome == PLACEMENT_CHOSEN) {
                                const char digit = placement.hosting->runtime->id.text[1];

                                if (!strchr(cases[i].may, digit))
                                        fail_msg("%s: r%c was chosen", cases[i].why, digit);
                                if (!strchr(seen, digit))
                                        seen[strlen(seen)] = digit;
                        }
                }
                if (strlen(seen) != strlen(cases[i].may))
                        fail_msg("%s: only r%s were chosen", cases[i].why, seen);
                fixture_free(f);
        }
}

static void labels_must_all_match(void **state) {
        static const struct {
                const char *labels;
                PlacementOutcome outcome;
        } table[] = {
                { "{}", PLACEMENT_CHOSEN },
                { "{\"n\":\"5\"}", PLACEMENT_CHOSEN },
                { "{\"n\":\"5\",\"odd\":\"yes\"}", PLACEMENT_CHOSEN },
                { "{\"n\":\"5\",\"odd\":\"no\"}", PLACEMENT_NOBODY },
                { "{\"n\":\"\"}", PLACEMENT_NOBODY },
                { "{\"zone\":\"5\"}", PLACEMENT_NOBODY },
        };
        Fixture *f = fixture_new(100);

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Arena arena = { 0 };
                Labels labels = { 0 };
                Placement placement;

                assert_int_equal(labels_decode(slice_of(table[i].labels), "labels", &arena, &labels, NULL), 0);
                placement = choose(f, &labels, NULL);
                assert_int_equal(placement.outcome, table[i].outcome);
                if (placement.outcome == PLACEMENT_CHOSEN && labels.n_items > 0)
                        assert_string_equal(placement.hosting->runtime->id.text, "r5");
                if (placement.outcome == PLACEMENT_NOBODY)
                        assert_int_equal(placement.best, FITNESS_LABELS);
                arena_clear(&arena);
        }
        fixture_free(f);
}

static void the_one_to_avoid_is_chosen_only_when_there_is_nobody_better(void **state) {
        Fixture *f = fixture_new(3);

        (void)state;

        for (unsigned n = 0; n < 100; n++)
                assert_ptr_not_equal(choose(f, NULL, f->runtimes[1]).hosting->runtime, f->runtimes[1]);
        afflict(f, 0, 'D');
        afflict(f, 2, 'S');
        assert_ptr_equal(choose(f, NULL, f->runtimes[1]).hosting->runtime, f->runtimes[1]);
        afflict(f, 1, 'D');
        assert_ptr_equal(choose(f, NULL, f->runtimes[1]).hosting->runtime, f->runtimes[2]);
        fixture_free(f);
}

static void of_two_the_less_loaded_by_share_of_its_capacity(void **state) {
        Fixture *f = fixture_new(2);

        (void)state;

        f->runtimes[0]->own_in_flight = 3;
        f->runtimes[1]->foreign_in_flight = 5;
        for (unsigned n = 0; n < 20; n++) {
                Placement placement = choose(f, NULL, NULL);

                assert_ptr_equal(placement.hosting->runtime, f->runtimes[0]);
                assert_ptr_equal(placement.runner_up, f->runtimes[1]);
        }
        f->runtimes[1]->max_in_flight = 100;
        for (unsigned n = 0; n < 20; n++)
                assert_ptr_equal(choose(f, NULL, NULL).hosting->runtime, f->runtimes[1]);
        fixture_free(f);
}

static void many_hosts_share_the_work_evenly(void **state) {
        Fixture *f = fixture_new(HOSTS_MAX);
        uint64_t most = 0;

        (void)state;

        for (size_t i = 0; i < HOSTS_MAX; i++)
                f->runtimes[i]->max_in_flight = 1000;
        for (size_t n = 0; n < 10 * HOSTS_MAX; n++)
                choose(f, NULL, NULL).hosting->runtime->own_in_flight++;
        for (size_t i = 0; i < HOSTS_MAX; i++)
                most = MAX_OF(most, f->runtimes[i]->own_in_flight);
        /* With one random choice the fullest of a thousand would hold about 22; with two, 12 or so. */
        assert_true(most <= 14);
        fixture_free(f);
}

static void one_fit_host_among_many_is_always_found(void **state) {
        Fixture *f = fixture_new(HOSTS_MAX);

        (void)state;

        for (size_t i = 0; i < HOSTS_MAX; i++)
                if (i != 700)
                        afflict(f, i, "DURF"[i % 4]);
        for (unsigned n = 0; n < 20; n++)
                assert_ptr_equal(choose(f, NULL, NULL).hosting->runtime, f->runtimes[700]);
        afflict(f, 700, 'F');
        assert_int_equal(choose(f, NULL, NULL).outcome, PLACEMENT_WAIT);
        fixture_free(f);
}

static void slots_taken_by_others_are_no_free_slots(void **state) {
        Fixture *f = fixture_new(1);
        static const struct {
                uint64_t own, foreign, max, free;
        } table[] = { { 0, 0, 10, 10 }, { 3, 4, 10, 3 }, { 5, 5, 10, 0 }, { 9, 9, 10, 0 }, { 0, 0, 0, 0 } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                f->runtimes[0]->own_in_flight = table[i].own;
                f->runtimes[0]->foreign_in_flight = table[i].foreign;
                f->runtimes[0]->max_in_flight = table[i].max;
                assert_int_equal(runtime_free_slots(f->runtimes[0]), table[i].free);
        }
        fixture_free(f);
}

static void every_fitness_has_its_sentence(void **state) {
        (void)state;

        for (Fitness fitness = FITNESS_NONE; fitness < _FITNESS_MAX; fitness++)
                assert_non_null(fitness_meaning(fitness));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_the_fittest_get_work),
                cmocka_unit_test(labels_must_all_match),
                cmocka_unit_test(the_one_to_avoid_is_chosen_only_when_there_is_nobody_better),
                cmocka_unit_test(of_two_the_less_loaded_by_share_of_its_capacity),
                cmocka_unit_test(many_hosts_share_the_work_evenly),
                cmocka_unit_test(one_fit_host_among_many_is_always_found),
                cmocka_unit_test(slots_taken_by_others_are_no_free_slots),
                cmocka_unit_test(every_fitness_has_its_sentence),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
