/* SPDX-License-Identifier: MIT */

/*
 * Windows are short (heartbeats each 200 to 600 ms) so that a virtual half minute holds many of them. One seed in ten
 * is calm, one in twenty has a large fleet and few triggers, a few last longer.
 */

#include "tests/sim/scenario.h"

#include <stdio.h>

#include "tests/sim/sim.h"

uint64_t scenario_window_usec(const Scenario *s) {
        return (uint64_t)(s->dead_after * (double)s->heartbeat_interval_ms * 1000.0) + s->probe_timeout_usec;
}

static void draw_agents(Scenario *s, Rng *rng) {
        static const char *const types[] = { "echo", "counter", "delay" };
        static const char *const overflows[] = { "reject", "reject", "drop_oldest", "drop_newest" };

        s->n_agents = (uint32_t)rng_between(rng, 1, 8);
        for (uint32_t i = 0; i < s->n_agents; i++) {
                ScenarioAgent *agent = &s->agents[i];

                (void)snprintf(agent->id, sizeof(agent->id), "a%u", i + 1);
                agent->type = types[rng_below(rng, ELEMENTSOF(types))];
                agent->mailbox_capacity = rng_chance(rng, 150) ? rng_between(rng, 1, 4) : 1000;
                agent->priority = (unsigned)rng_below(rng, 101);
                agent->overflow = overflows[rng_below(rng, ELEMENTSOF(overflows))];
                agent->delay_ms = rng_chance(rng, 300) ? rng_between(rng, 100, 3000) : rng_between(rng, 0, 50);
                agent->quantum = rng_chance(rng, 300) ? rng_between(rng, 1, 4) : 64;
        }
}

static void draw_runtimes(Scenario *s, Rng *rng) {
        const bool tight = rng_chance(rng, 250);

        for (uint32_t i = 0; i < s->n_runtimes; i++) {
                ScenarioRuntime *runtime = &s->runtimes[i];

                for (uint32_t a = 0; a < s->n_agents; a++)
                        if (rng_chance(rng, 600) || i % s->n_agents == a)
                                runtime->agents |= UINT32_C(1) << a;
                runtime->max_in_flight = tight ? rng_between(rng, 1, 3) : rng_between(rng, 4, 64);
                runtime->n_workers = (unsigned)rng_between(rng, 1, WORKERS_MAX);
                runtime->labels = rng_chance(rng, 500) ? "zone=a" : rng_chance(rng, 500) ? "zone=b,disk=ssd" : "";
                runtime->many_agents = s->max_payload < 16384 && s->max_message_bytes > 16384 && rng_chance(rng, 300);
        }
}

static void draw_windows(Scenario *s, Rng *rng) {
        s->heartbeat_interval_ms = rng_between(rng, 200, 600);
        s->report_delay_usec = rng_chance(rng, 200) ? rng_between(rng, 0, 20000) : 1000;
        s->suspect_after = 2;
        s->dead_after = rng_chance(rng, 700) ? 5 : (double)rng_between(rng, 3, 8);
        s->probe_timeout_usec = rng_between(rng, 200, 500) * 1000;
        s->check_usec = rng_between(rng, 300, 1500) * 1000;
        s->rehost_wait_usec = rng_between(rng, 200, 2000) * 1000;
        s->settle_usec = rng_between(rng, 300, 800) * 1000;
        s->max_attempts = rng_between(rng, 2, 6);
        s->default_deadline_ms = rng_between(rng, 2000, 5000);
        s->reconnect_grace_usec = rng_below(rng, 500) * 1000; /* the virtual clients take up to 400 ms */
        s->heartbeats_per_second_max = rng_chance(rng, 50) ? rng_between(rng, 4, 12) : 1000;
}

static void draw_limits(Scenario *s, Rng *rng) {
        s->queue_limit = rng_chance(rng, 200) ? rng_between(rng, 1, 20) : 1000;
        s->queue_bytes_limit = rng_chance(rng, 50) ? rng_between(rng, 2000, 20000) : 64 << 20;
        s->max_message_bytes = rng_chance(rng, 100) ? 4096 : 1 << 20;
        s->history_max = rng_chance(rng, 200) ? rng_between(rng, 1, 20) : 1000;
        s->memory_executions = 10000;
        s->events = (unsigned)rng_below(rng, 4);
        s->max_payload = rng_chance(rng, 150) ? rng_between(rng, 8192, 12000) : 1 << 20;
        s->delay_usec = rng_chance(rng, 200) ? rng_between(rng, 500, 20000) : rng_between(rng, 50, 500);
        s->jetstream = rng_chance(rng, 300);
        s->work_usec_max = rng_chance(rng, 200) ? rng_between(rng, 20, 200) * 1000 : rng_between(rng, 1, 3000);
        s->run_inline = rng_chance(rng, 500);
        s->work_long_per_mille = rng_chance(rng, 100) ? 20 : 0;
}

static void draw_faults(Scenario *s, Rng *rng) {
        if (rng_chance(rng, 100))
                return;

        /* A few kinds at a time, so that each one is also seen without the noise of all others. */
        s->n_faults = (unsigned)rng_between(rng, 1, 12);
        for (unsigned i = 0; i < _FAULT_KIND_MAX; i++)
                s->fault_weights[i] = rng_chance(rng, 300) ? (unsigned)rng_between(rng, 1, 10) : 0;
        s->fault_weights[rng_below(rng, _FAULT_KIND_MAX)] += 5;
}

static void draw_load(Scenario *s, Rng *rng) {
        s->n_triggers = s->n_runtimes > 6 ? rng_between(rng, 10, 40) : rng_between(rng, 20, 120);
        s->deadline_ms_min = rng_chance(rng, 200) ? 20 : 300;
        s->deadline_ms_max = rng_between(rng, 1000, 6000);
        s->ask_again_per_mille = rng_chance(rng, 300) ? 150 : 0;
        s->never_per_mille = (unsigned)rng_between(rng, 50, 400);
        s->always_per_mille = (unsigned)rng_between(rng, 50, 400);
        s->unknown_agent_per_mille = rng_chance(rng, 300) ? 30 : 0;
}

static void draw_app(ScenarioApp *app, uint32_t number, Rng *rng) {
        static const char *const overflows[] = { "reject", "reject", "drop_oldest", "drop_newest" };
        static const char *const on_restore_errors[] = { "fail", "fresh", "previous" };

        (void)snprintf(app->id, sizeof(app->id), "t%u", number);
        app->kind = (AppKind)rng_below(rng, _APP_KIND_MAX);
        app->mailbox_capacity = rng_chance(rng, 150) ? rng_between(rng, 1, 4) : 100000;
        app->quantum = rng_chance(rng, 300) ? rng_between(rng, 1, 4) : 64;
        app->max_concurrency = app->kind == APP_REMOTE && rng_chance(rng, 500) ? rng_between(rng, 2, 4) : 1;
        app->checkpoint_interval_ms = rng_chance(rng, 500) ? 0 : rng_between(rng, 20, 2000);
        if (rng_chance(rng, 100))
                app->checkpoint_interval_ms = 3600000; /* only when it is asked for, and at the end */
        app->priority = (unsigned)rng_below(rng, 101);
        app->overflow = overflows[rng_below(rng, ELEMENTSOF(overflows))];
        app->on_restore_error = on_restore_errors[rng_below(rng, ELEMENTSOF(on_restore_errors))];
        app->topics = (uint32_t)(rng_next(rng) & rng_next(rng) & 0x7f);
        app->queued = rng_chance(rng, 300) ? (uint32_t)(rng_next(rng) & 0x7f) : 0;
        app->qos = (unsigned)rng_below(rng, 4);
        app->defer_per_mille = app->kind != APP_REMOTE && rng_chance(rng, 300) ? 100 : 0;
        app->error_per_mille = rng_chance(rng, 300) ? 100 : 0;
        app->pending_per_mille = rng_chance(rng, 300) ? 100 : 0;
        app->crash_per_mille = app->kind == APP_REMOTE && rng_chance(rng, 400) ? 30 : 0;
        app->is_durable = rng_chance(rng, 700);
        app->wish_per_mille = rng_chance(rng, 300) ? (unsigned)rng_between(rng, 20, 200) : 0;
        app->restart_max = rng_chance(rng, 400) ? rng_between(rng, 0, 3) : 64;
        app->restart_window_ms = rng_between(rng, 500, 2000);
        app->restart_backoff_ms = rng_between(rng, 1, 40);
}

/* From a stream of its own: seeds without such agents stay as they were. */
static void draw_apps(Scenario *s, uint64_t seed, bool is_long) {
        ScenarioApps *apps = &s->apps;
        Rng rng;

        rng_seed(&rng, seed ^ UINT64_C(0xa995a995));
        apps->is_on = seed % 4 == 1 && s->n_runtimes <= 6;
        if (!apps->is_on)
                return;
        apps->n_agents = (uint32_t)rng_between(&rng, 1, APPS_MAX);
        for (uint32_t i = 0; i < apps->n_agents; i++)
                draw_app(&apps->agents[i], i, &rng);
        for (uint32_t i = 0; i < s->n_runtimes; i++)
                apps->hosted[i] = (uint32_t)rng_next(&rng);
        apps->n_bursts = rng_between(&rng, 10, 80) * (is_long ? 4 : 1);
        apps->n_requests = rng_between(&rng, 5, 60) * (is_long ? 4 : 1);
        apps->realtime_max_age_usec =
                rng_chance(&rng, 300) ? rng_between(&rng, 1, 50) * USEC_PER_MSEC : USEC_PER_SEC * 3600;
        apps->has_store = rng_chance(&rng, 700);
        apps->store_usec_max = rng_chance(&rng, 200) ? 500 * USEC_PER_MSEC : 5 * USEC_PER_MSEC;
        apps->call_usec_max = rng_chance(&rng, 200) ? 200 * USEC_PER_MSEC : 3 * USEC_PER_MSEC;
        if (s->work_usec_max > 10000 || s->work_long_per_mille > 0 || apps->call_usec_max > 10000) {
                apps->n_bursts = MIN_OF(apps->n_bursts, UINT64_C(8)); /* or it would not be done by the end */
                apps->n_requests = MIN_OF(apps->n_requests, UINT64_C(20));
        }
        apps->save_fails_per_mille = rng_chance(&rng, 250) ? 150 : 0;
        apps->load_fails_per_mille = rng_chance(&rng, 250) ? 200 : 0;
}

void scenario_draw(Scenario *s, uint64_t seed) {
        const bool is_long = seed % 64 == 63;
        Rng rng;

        rng_seed(&rng, seed ^ UINT64_C(0x5ce9a410));
        *s = (Scenario){ 0 };
        s->n_dispatchers = (uint32_t)rng_between(&rng, 1, DISPATCHERS_MAX);
        s->n_callers = (uint32_t)rng_between(&rng, 1, CALLERS_MAX);
        s->n_runtimes = (uint32_t)(seed % 20 == 19 ? rng_between(&rng, 7, RUNTIMES_MAX) : rng_between(&rng, 1, 6));

        draw_windows(s, &rng);
        draw_limits(s, &rng);
        draw_agents(s, &rng);
        draw_runtimes(s, &rng);
        draw_load(s, &rng);
        draw_faults(s, &rng);
        if (is_long) {
                s->n_triggers *= 4;
                s->n_faults *= 3;
        }
        s->load_usec = rng_between(&rng, 4, 10) * USEC_PER_SEC * (is_long ? 4 : 1);
        s->faults_usec = s->load_usec + USEC_PER_SEC;
        s->check_each_turn = seed % 8 == 0 || seed % 16 == 1;
        draw_apps(s, seed, is_long);
}
