/* SPDX-License-Identifier: MIT */

/* A dispatcher: registrations, triggers, reports, verbs, what is answered below its inbox, discovery. */

#include "dispatcherd/dispatcher.h"
#include "tests/fuzz/fuzz_core.h"

#define START_USEC (1000 * USEC_PER_SEC)

static const bool may[_SUBJECT_KIND_MAX] = {
        [SUBJECT_ANNOUNCE] = true,
        [SUBJECT_RUNTIME_DEREGISTERED] = true,
        [SUBJECT_RUNTIME_UPDATE] = true,
        [SUBJECT_EXECUTION_DISPATCHED] = true,
        [SUBJECT_EXECUTION_DISPATCH_FAILED] = true,
        [SUBJECT_RESULT] = true,
        [SUBJECT_RUNTIME_TRIGGER] = true,
        [SUBJECT_RUNTIME_CONTROL] = true,
};

static const bool own[_SUBJECT_KIND_MAX] = { [SUBJECT_RUNTIME_UPDATE] = true };

static const DispatcherOptions options = {
        .id = "d1",
        .subject_prefix = SUBJECT_PREFIX_DEFAULT,
        .inbox_prefix = "_INBOX.dispatcher.d1.x",
        .hostname = "host",
        .version = "fuzz",
        .pid = 1,
        .random_seed = 1,
        .queue_limit = 4,
        .queue_bytes_limit = 65536,
        .max_message_bytes = 8192,
        .max_runtimes = 4,
        .max_agents = 16,
        .suspect_after = 2,
        .dead_after = 5,
        .probe_timeout_usec = 500 * USEC_PER_MSEC,
        .reconnect_grace_usec = USEC_PER_SEC,
        .heartbeats_per_second_max = 1000,
        .default_deadline_ms = 5000,
        .max_attempts = 3,
        .check_usec = USEC_PER_SEC,
        .rehost_wait_usec = USEC_PER_SEC,
        .settle_usec = 500 * USEC_PER_MSEC,
        .events = EVENTS_VERBOSE,
        .events_max_age_usec = 3600 * USEC_PER_SEC,
        .history_max = 8,
};

static void settle(Dispatcher *dispatcher, Outbox *outbox, Instant now) {
        const char *broken;

        if (dispatcher_next_deadline(dispatcher) <= now.usec)
                dispatcher_on_time(dispatcher, now);
        dispatcher_on_turn_end(dispatcher, now);
        for (size_t i = 0; i < outbox_size(outbox); i++) {
                const OutMessage message = outbox_get(outbox, i);

                fuzz_check_published(&message, may, own, SLICE("d1"));
        }
        outbox_clear(outbox);
        broken = dispatcher_check(dispatcher, now);
        if (broken)
                fuzz_fail("its own check", slice_of(broken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Instant now = { .usec = START_USEC, .real_usec = START_USEC };
        Slice input = { (const char *)data, size };
        _cleanup_(buffer_done) Buffer headers = {};
        Dispatcher *dispatcher = NULL;
        InMessage message;
        Outbox outbox;

        log_set_level(LOG_EMERG);
        outbox_init(&outbox);
        if (dispatcher_new(&options, &outbox, now, &dispatcher) != 0)
                abort();
        dispatcher_on_link_up(dispatcher, 65536, now);
        settle(dispatcher, &outbox, now);
        for (unsigned n = 0; n < FUZZ_MESSAGES_MAX && fuzz_next(&input, &headers, &message); n++) {
                now.usec += USEC_PER_MSEC;
                dispatcher_on_message(dispatcher, &message, now);
                settle(dispatcher, &outbox, now);
        }
        for (unsigned i = 0; i < 4; i++) { /* whatever it has begun comes to an end */
                now.usec += 10 * USEC_PER_SEC;
                settle(dispatcher, &outbox, now);
        }
        (void)dispatcher_free(dispatcher);
        outbox_done(&outbox);
        return 0;
}
