/* SPDX-License-Identifier: MIT */

/* A runtime with a few agents: relays, control requests, answers to what it asked, deregistrations, discovery. */

#include "runtimed/runtime.h"
#include "tests/fuzz/fuzz_core.h"

#define START_USEC (1000 * USEC_PER_SEC)

static const bool may[_SUBJECT_KIND_MAX] = {
        [SUBJECT_RUNTIME_REGISTERED] = true,
        [SUBJECT_RUNTIME_UPDATED] = true,
        [SUBJECT_RUNTIME_DEREGISTERED] = true,
        [SUBJECT_RUNTIME_HEARTBEAT] = true,
        [SUBJECT_EXECUTION_STARTED] = true,
        [SUBJECT_EXECUTION_COMPLETED] = true,
        [SUBJECT_EXECUTION_FAILED] = true,
        [SUBJECT_RESULT] = true,
        [SUBJECT_DISPATCHER_REPORT] = true,
};

static const bool own[_SUBJECT_KIND_MAX] = {
        [SUBJECT_RUNTIME_REGISTERED] = true,
        [SUBJECT_RUNTIME_UPDATED] = true,
        [SUBJECT_RUNTIME_DEREGISTERED] = true,
        [SUBJECT_RUNTIME_HEARTBEAT] = true,
};

static const RuntimeOptions options = {
        .id = "r1",
        .subject_prefix = SUBJECT_PREFIX_DEFAULT,
        .inbox_prefix = "_INBOX.runtime.r1.x",
        .hostname = "host",
        .ip_address = "127.0.0.1",
        .version = "fuzz",
        .labels = "zone=a",
        .pid = 1,
        .epoch = 1000,
        .random_seed = 1,
        .heartbeat_interval_ms = 1000,
        .max_in_flight = 4,
        .max_agents = 8,
        .max_message_bytes = 8192,
        .max_result_bytes = 8192,
        .memory_executions = 16,
        .memory_bytes = 65536,
        .report_delay_usec = 1000,
        .max_subscriptions = 16,
        .max_subscriptions_per_agent = 4,
        .max_asks = 16,
        .max_asks_per_agent = 4,
        .max_timers_per_agent = 4,
        .realtime_max_age_usec = USEC_PER_SEC,
};

static void create_agents(Runtime *runtime, Instant now) {
        static const char *const definitions[] = {
                "{\"agent_id\":\"a1\",\"agent_type\":\"echo\",\"subscribed_topics\":[\"room.1\"]}",
                "{\"agent_id\":\"a2\",\"agent_type\":\"counter\",\"mailbox_capacity\":2}",
                "{\"agent_id\":\"a3\",\"agent_type\":\"delay\",\"parameters\":{\"ms\":50}}",
                "{\"agent_id\":\"a4\",\"agent_type\":\"relay\",\"parameters\":{\"to\":\"room.2\"}}",
        };
        WireError error = {};
        ErrorCode code;

        for (size_t i = 0; i < ELEMENTSOF(definitions); i++)
                if (runtime_create_agent(runtime, slice_of(definitions[i]), now, &code, &error) != 0)
                        fuzz_fail("an agent can't be made", slice_of(error.text));
}

/* The worker: every run to its end. */
static void work(Runtime *runtime, Instant now) {
        Run *run;

        while ((run = runtime_take_run(runtime))) {
                bool ended;

                do {
                        Outcome *outcome = run_step(run, now.usec);

                        ended = run_close(run);
                        if (ended)
                                outcome = run_end(run, outcome);
                        if (outcome)
                                runtime_on_outcome(runtime, outcome, now);
                } while (!ended);
        }
}

static void settle(Runtime *runtime, Outbox *outbox, Instant now) {
        const char *broken;

        if (runtime_next_deadline(runtime) <= now.usec)
                runtime_on_time(runtime, now);
        for (unsigned i = 0; i < 3; i++) { /* what is handled may lead to more */
                work(runtime, now);
                runtime_on_turn_end(runtime, now);
        }
        for (size_t i = 0; i < outbox_size(outbox); i++) {
                const OutMessage message = outbox_get(outbox, i);

                fuzz_check_published(&message, may, own, SLICE("r1"));
        }
        outbox_clear(outbox);
        broken = runtime_check(runtime, now);
        if (broken)
                fuzz_fail("its own check", slice_of(broken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Instant now = { .usec = START_USEC, .real_usec = START_USEC };
        Slice input = { (const char *)data, size };
        _cleanup_(buffer_done) Buffer headers = {};
        Runtime *runtime = NULL;
        InMessage message;
        Outbox outbox;

        log_set_level(LOG_EMERG);
        outbox_init(&outbox);
        if (runtime_new(&options, &outbox, now, &runtime) != 0)
                abort();
        create_agents(runtime, now);
        runtime_on_link_up(runtime, 65536, now);
        settle(runtime, &outbox, now);
        for (unsigned n = 0; n < FUZZ_MESSAGES_MAX && fuzz_next(&input, &headers, &message); n++) {
                now.usec += USEC_PER_MSEC;
                runtime_on_message(runtime, &message, now);
                settle(runtime, &outbox, now);
        }
        for (unsigned i = 0; i < 4; i++) { /* whatever it has begun comes to an end */
                now.usec += 10 * USEC_PER_SEC;
                settle(runtime, &outbox, now);
        }
        (void)runtime_free(runtime);
        outbox_done(&outbox);
        return 0;
}
