/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Answers of daemons that do not exist, for the tests of `top`.
 */

#include <jansson.h>

#include "ctl/top_model.h"

#define SECOND UINT64_C(1000000)

static inline void tell_dispatcher(TopModel *model, const char *id, int triggers, int fast, int slow) {
        json_t *status = json_pack("{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:{s:i, s:i}, s:{s:i}, s:{s:i, s:i},"
                                   " s:[f, f], s:{s:i, s:[i, i]}}",
                "dispatcher_id", id, "hostname", "h", "settled", 1, "waiting", 3, "queue_limit", 10, "slots", 8,
                "free_slots", 6, "runtimes", "live", 2, "draining", 1, "counters", "triggers", triggers,
                "triggers_ended", "SUCCESS", triggers, "FAILURE", 0, "bucket_bounds_ms", 1.0, 2.0, "execution_duration",
                "count", fast + slow, "buckets", fast, 0);

        assert(status);
        top_model_dispatcher(model, status, 100);
        json_decref(status);
}

/* Of r<first> ... so many, in `state`, each having done `done`. */
static inline json_t *list_runtimes(unsigned first, unsigned n, const char *state, int done) {
        json_t *list = json_array();

        for (unsigned i = first; i < first + n; i++) {
                char id[32];

                (void)snprintf(id, sizeof(id), "r%05u", i);
                (void)json_array_append_new(
                        list, json_pack("{s:s, s:s, s:{s:s}, s:i, s:{s:i}, s:i, s:i, s:i}", "runtime_id", id, "state",
                                      state, "labels", "zone", i % 2 ? "a" : "b", "in_flight", (int)(i % 7), "capacity",
                                      "max_in_flight", 8, "free_slots", 4, "done", done, "last_heartbeat_ms_ago", 250));
        }
        return json_pack("{s:o, s:i}", "runtimes", list, "total", (int)n);
}

static inline void tell_runtimes(
        TopModel *model, size_t dispatcher, unsigned first, unsigned n, const char *state, int done) {
        json_t *page = list_runtimes(first, n, state, done);

        top_model_runtimes(model, dispatcher, page);
        json_decref(page);
}

static inline void tell_agent(TopModel *model, const char *runtime_id, const char *id, int handled, int total) {
        json_t *page = json_pack("{s:[{s:s, s:s, s:s, s:i}], s:i}", "agents", "agent_id", id, "agent_type", "echo",
                "state", "running", "handled", handled, "total", total);

        top_model_agents(model, runtime_id, page);
        json_decref(page);
}
