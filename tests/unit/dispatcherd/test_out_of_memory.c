/* SPDX-License-Identifier: MIT */

/*
 * Each allocation of a dispatcher's life fails once: first the first, then the second, until a whole life passes
 * without one. Whatever fails, the invariants hold, nothing leaks, and a trigger sent afterwards is served.
 *
 * Sanitizers have an allocator of their own; with them the life is lived once, unharmed.
 */

#include "bench_core.h"

#include "common/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL false
#else
#define CAN_FAIL true
#endif

static uint64_t n_left = UINT64_MAX; /* allocations until the one that fails */
static bool failing;                 /* inside the dispatcher */

#if CAN_FAIL

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);

void __libc_free(void *memory);

static int64_t n_alive;

static bool is_out(void) {
        return failing && n_left-- == 0;
}

static void *counted(void *memory) {
        n_alive += memory != NULL;
        return memory;
}

void *malloc(size_t size) {
        return is_out() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size) {
        return is_out() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *memory, size_t size) {
        void *moved = is_out() ? NULL : __libc_realloc(memory, size);

        n_alive += moved && !memory;
        return moved;
}

void *reallocarray(void *memory, size_t n, size_t size) {
        assert_true(size == 0 || n <= SIZE_MAX / size);
        return realloc(memory, n * size);
}

void free(void *memory) {
        n_alive -= memory != NULL;
        __libc_free(memory);
}

#else

static int64_t n_alive;

#endif

#define R1(rest) "{\"runtime_id\":\"r1\",\"epoch\":1" rest "}"
#define EVENT(what) "compozy.events.agent.definition.r1." what
#define VERB(what) "compozy.commands.agent_dispatcher." what
#define TRIGGER(agent) "compozy.commands.agent.w.trigger." agent
#define REPORT "compozy.dispatcher.d1.report.r1"

static const struct {
        const char *subject, *body;
        bool no_responders;
} life[] = {
        { INBOX ".j.events", "{}", false },
        { INBOX ".j.runtimes", "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"st\\u0072eam\"}}",
                false },
        { INBOX ".j.runtimes", "{}", false },
        { INBOX ".j.sweep", "{\"state\":{\"subjects\":{\"$KV.compozy_runtimes.r\\u0039\":1}}}", false },
        { EVENT("registered"),
                "{\"agent_runtime\":" R1(
                        ",\"labels\":{\"zo\\u006ee\":\"x\"},\"agent_definitions\":[{\"agent_id\":\"a\",\"agent_type\":"
                        "\"t\"},"
                        "{\"agent_id\":\"b\"}],\"capacity\":{\"max_in_flight\":2}") ",\"payload\":{\"part\":{\"index\":"
                                                                                    "0,\"count\":2}}}",
                false },
        { EVENT("registered"),
                "{\"agent_runtime\":" R1(
                        ",\"labels\":{\"zo\\u006ee\":\"x\"},\"agent_types\":[\"t\\u0079pe\"],"
                        "\"agent_definitions\":[{\"agent_id\":\"c\"}],"
                        "\"capacity\":{\"max_in_flight\":2}") ",\"payload\":{\"part\":{\"index\":1,\"count\":2}}}",
                false },
        { EVENT("heartbeat"), "{\"agent_runtime\":" R1("") ",\"payload\":{\"interval_ms\":1000}}", false },
        { EVENT("updated"),
                "{\"agent_runtime\":" R1(",\"revision\":1") ",\"payload\":{\"base_revision\":0,\"added\":[{\"agent_"
                                                            "id\":\"d\"}],\"removed\":[\"\\u0063\"]}}",
                false },
        { TRIGGER("a"),
                "{\"agent\":{\"exec_id\":\"e1\"},\"payload\":{\"labels\":{\"zone\":\"\\u0078\"},\"reply_to_subject\":"
                "\"x.\\u0079\"}}",
                false },
        { TRIGGER("a"), "{\"agent\":{\"exec_id\":\"e1\"}}", false },
        { TRIGGER("a"), "{\"agent\":{\"exec_id\":\"e2\"}}", false },
        { TRIGGER("a"), "{\"agent\":{\"exec_id\":\"e3\"},\"payload\":{\"labels\":{\"zone\":\"x\"}}}", false },
        { TRIGGER("b"), "{\"agent\":{\"exec_id\":\"e4\"}}", false },
        { TRIGGER("z"), "{\"agent\":{\"exec_id\":\"e5\"}}", false },
        { TRIGGER("a"), "{", false },
        { VERB("explain"), "{\"agent_exec_id\":\"e3\"}", false },
        { VERB("get_runtime"), "{\"runtime_id\":\"r1\"}", false },
        { VERB("list_runtimes"), "{}", false },
        { VERB("list_agents"), "{}", false },
        { VERB("nonsense"), "{}", false },
        { VERB("create_agent"),
                "{\"agent_id\":\"new\",\"agent_type\":\"type\",\"labels\":{\"zone\":\"\\u0078\"},\"priorit\\u0079\":1}",
                false },
        { VERB("create_agent"), "{\"agent_id\":\"newer\",\"agent_type\":\"nothing\"}", false },
        { REPORT,
                "{\"agent_runtime\":" R1(
                        "") ",\"payload\":{\"executions\":[{\"exec_id\":\"e1\",\"attempt\":1,\"state\":\"do\\u006ee\","
                            "\"status\":\"SUCCESS\"},"
                            "{\"exec_id\":\"e2\",\"attempt\":1,\"state\":\"refused\",\"code\":\"OVERLOADED\"}]}}",
                false },
        { INBOX ".r.r1.e3.1.0", "", true },
        { INBOX ".p.r1", "{\"ok\":true,\"result\":{\"epoch\":1}}", false },
        { EVENT("registered"),
                "{\"agent_runtime\":{\"runtime_id\":\"r1\",\"epoch\":2,\"agent_definitions\":[{\"agent_id\":\"a\"}]}}",
                false },
        { EVENT("registered"), "{\"agent_runtime\":" R1("") "}", false },
        { VERB("drain_runtime"), "{\"runtime_id\":\"r1\"}", false },
        { VERB("deregister_runtime"), "{\"runtime_id\":\"r1\"}", false },
        { VERB("resume_runtime"), "{\"runtime_id\":\"r1\"}", false },
};

/* One message, from memory of its own, and all that follows from it. */
static void step(Bench *b, const char *subject, const char *body, bool no_responders) {
        InMessage message = { .subject = slice_of(subject),
                .reply = SLICE("caller"),
                .body = slice_of(body),
                .no_responders = no_responders };
        uint64_t until = b->now.usec + 200 * MS;

        failing = true;
        dispatcher_on_message(b->d, &message, b->now);
        dispatcher_on_turn_end(b->d, b->now);
        failing = false;
        bench_check(b);
        for (uint64_t next; (next = dispatcher_next_deadline(b->d)) <= until;) {
                b->now.usec = MAX_OF(next, b->now.usec);
                failing = true;
                dispatcher_on_time(b->d, b->now);
                dispatcher_on_turn_end(b->d, b->now);
                failing = false;
                bench_check(b);
        }
        b->now.usec = until;
        outbox_clear(&b->outbox);
}

/* Returns whether the n-th allocation was reached. */
static bool live(uint64_t n) {
        DispatcherOptions options = bench_options();
        int64_t n_before = n_alive;
        Bench *b = calloc(1, sizeof(*b));
        int r;

        assert_non_null(b);
        options.jetstream = true;
        b->options = options;
        b->now = (Instant){ .usec = 1000 * SECOND };
        outbox_init(&b->outbox);
        n_left = n;
        failing = true;
        r = dispatcher_new(&b->options, &b->outbox, b->now, &b->d);
        failing = false;
        assert_true(r == 0 || (r == -ENOMEM && !b->d));
        if (r == 0) {
                failing = true;
                dispatcher_on_link_up(b->d, 1024 * 1024, b->now);
                failing = false;
                for (size_t i = 0; i < ELEMENTSOF(life); i++)
                        step(b, life[i].subject, life[i].body, life[i].no_responders);

                /* Afterwards all is well. */
                bench_runtime(b, "r2", "y");
                bench_trigger(b, "y", "last", "caller", "\"labels\":{}");
                bench_expect(b, "compozy.runtime.r2.trigger", "\"last\"");
                bench_report_one(b, "r2", "last", 1, "done", DONE);
                bench_check(b);
        }
        dispatcher_free(b->d);
        outbox_done(&b->outbox);
        bench_forget(b);
        free(b);
        assert_int_equal(n_alive, n_before);
        return n_left > n; /* it went below zero: the allocation was reached, and failed */
}

static void no_allocation_that_fails_breaks_anything(void **state) {
        uint64_t n = 0;

        (void)state;

        if (!CAN_FAIL) {
                (void)live(UINT64_MAX / 2);
                return;
        }
        while (live(n))
                n++;
        assert_true(n > 50); /* about a hundred, some of them of libc, which differs */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_allocation_that_fails_breaks_anything),
        };

        log_set_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
