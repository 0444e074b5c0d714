/* SPDX-License-Identifier: MIT */

/*
 * Fails the n-th allocation, for n from 1 until everything succeeds. The allocator is interposed; under a sanitizer,
 * which brings its own, there is nothing to interpose and nothing is tested.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tools/codecs.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INTERPOSED false
#else
#define INTERPOSED true
#endif

static size_t fail_at; /* allocations until one fails; 0: none does */

#if INTERPOSED
void *__libc_malloc(size_t size);
void *__libc_realloc(void *old, size_t size);

static bool fails_now(void) {
        return fail_at > 0 && --fail_at == 0;
}

void *malloc(size_t size) {
        return fails_now() ? NULL : __libc_malloc(size);
}

void *realloc(void *old, size_t size) {
        return fails_now() ? NULL : __libc_realloc(old, size);
}
#endif

/* Texts with escapes, so that decoding needs memory as well. */
static const char trigger[] =
        "{\"metadata\":{\"correlation_id\":\"\\u0061\",\"created_by\":\"\\u0062\"},\"agent\":{\"id\":\"\\u0061\"},"
        "\"payload\":{\"labels\":{\"\\u007a\":\"\\u0061\"},\"retry\":\"n\\u0065ver\",\"deadline_ms\":1."
        "000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000}}";

static const char registration[] =
        "{\"agent_runtime\":{\"runtime_id\":\"\\u0072\",\"epoch\":1,\"agent_types\":[\"\\u0065cho\"],\"labels\":{\"a\":"
        "\"\\u0061\"},"
        "\"agent_definitions\":[{\"agent_id\":\"\\u0061\",\"capabilities\":[\"\\u0063\"]}]}}";

static const char report[] = "{\"agent_runtime\":{\"runtime_id\":\"\\u0072\",\"epoch\":1},\"payload\":{\"executions\":["
                             "{\"exec_id\":\"\\u0065\",\"attempt\":1,\"state\":\"started\"}]}}";

static void try_with_little_memory(const char *type, const char *body) {
        const Codec *const codec = codec_find(type);

        for (size_t n = 1;; n++) {
                Arena arena = { 0 };
                Buffer again = { 0 };
                WireError error = { "" };
                bool hit, failed;
                int r;

                fail_at = n;
                r = codec->read(slice_of(body), &arena, &error, &again);
                hit = fail_at == 0;
                fail_at = 0;
                failed = again.failed;
                buffer_done(&again);
                arena_clear(&arena);

                /* A failure shows, and as nothing else. */
                if (!hit) {
                        assert_int_equal(r, 0);
                        assert_false(failed);
                        assert_true(n > 2);
                        return;
                }
                assert_true(r == -ENOMEM || (r == 0 && failed));
                assert_string_equal(error.text, "");
        }
}

static void failing_allocations_are_reported_as_such(void **state) {
        (void)state;

        if (!INTERPOSED)
                skip();
        try_with_little_memory("TriggerAgent", trigger);
        try_with_little_memory("AgentRuntimeRegistered", registration);
        try_with_little_memory("AgentExecutionReport", report);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(failing_allocations_are_reported_as_such),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
