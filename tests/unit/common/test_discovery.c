/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/discovery.h"

static EndpointStats stats;

static DiscoveryService service_of(void) {
        static const DiscoveryLabel metadata[] = { { "hostname", { "h\"1", 3 } }, { "http", { NULL, 0 } } };
        static DiscoveryEndpoint endpoints[1];

        endpoints[0] = (DiscoveryEndpoint){
                .name = "work", .subject = SLICE("a.*.b"), .queue_group = "group", .stats = &stats
        };
        return (DiscoveryService){
                .name = "compozy-test",
                .description = "A test",
                .version = "1.2.3",
                .id = SLICE("one"),
                .started_real_usec = UINT64_C(1700000000000000),
                .metadata = metadata,
                .n_metadata = ELEMENTSOF(metadata),
                .endpoints = endpoints,
                .n_endpoints = ELEMENTSOF(endpoints),
        };
}

#define HEAD(type)                                                                                               \
        "{\"type\":\"io.nats.micro.v1." type "_response\",\"name\":\"compozy-test\",\"id\":\"one\",\"version\":" \
        "\"1.2.3\",\"metadata\":{\"hostname\":\"h\\\"1\"}"
#define ENDPOINT "{\"name\":\"work\",\"subject\":\"a.*.b\",\"queue_group\":\"group\""

static void assert_answer(const char *subject, const char *wanted) {
        _cleanup_(buffer_done) Buffer buffer = {};
        const DiscoveryService service = service_of();

        assert_int_equal(discovery_answer(&service, slice_of(subject), &buffer), wanted != NULL);
        buffer_append_char(&buffer, '\0');
        assert_string_equal(buffer.data, wanted ? wanted : "");
}

static void each_verb_has_the_answer_that_adr_32_describes(void **state) {
        (void)state;

        stats = (EndpointStats){ .n_requests = 4, .n_errors = 1, .processing_usec = 10, .last_error = "TIMEOUT: why" };
        assert_answer("$SRV.PING", HEAD("ping") "}");
        assert_answer("$SRV.INFO", HEAD("info") ",\"description\":\"A test\",\"endpoints\":[" ENDPOINT "}]}");
        assert_answer("$SRV.STATS",
                HEAD("stats") ",\"started\":\"2023-11-14T22:13:20.000000Z\",\"endpoints\":[" ENDPOINT
                              ",\"num_requests\":4,\"num_errors\":1,\"last_error\":\"TIMEOUT: why\","
                              "\"processing_time\":10000,\"average_processing_time\":2500}]}");
}

static void only_who_is_meant_answers(void **state) {
        static const struct {
                const char *subject;
                bool answers;
        } cases[] = {
                { "$SRV.PING", true },
                { "$SRV.PING.compozy-test", true },
                { "$SRV.PING.compozy-test.one", true },
                { "$SRV.PING.compozy-tes", false },
                { "$SRV.PING.compozy-test2", false },
                { "$SRV.PING.compozy-test.two", false },
                { "$SRV.PING.other.one", false },
                { "$SRV.PING.compozy-test.one.more", false },
                { "$SRV.ping", false },
                { "$SRV.SCHEMA", false },
                { "$SRV.", false },
                { "$SRV", false },
                { "$SYS.PING", false },
                { "compozy.commands", false },
                { "", false },
        };
        const DiscoveryService service = service_of();

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer buffer = {};

                assert_int_equal(discovery_answer(&service, slice_of(cases[i].subject), &buffer), cases[i].answers);
                assert_int_equal(buffer.size > 0, cases[i].answers);
        }
}

static void a_service_listens_for_all_for_its_name_and_for_itself(void **state) {
        static const char *const wanted[DISCOVERY_SUBJECTS] = { "$SRV.*", "$SRV.*.svc", "$SRV.*.svc.me" };

        (void)state;

        for (unsigned i = 0; i < DISCOVERY_SUBJECTS; i++) {
                _cleanup_(buffer_done) Buffer buffer = {};

                discovery_subject(&buffer, i, "svc", SLICE("me"));
                assert_true(slice_equal(buffer_slice(&buffer), slice_of(wanted[i])));
        }
}

static void an_error_is_counted_and_the_last_one_is_kept_as_far_as_it_fits(void **state) {
        EndpointStats one = {};
        char text[1000];

        (void)state;

        memset(text, 'x', sizeof(text));
        endpoint_fail(&one, "FIRST", SLICE("a sentence"));
        assert_string_equal(one.last_error, "FIRST: a sentence");
        endpoint_fail(&one, "LONG", (Slice){ text, sizeof(text) });
        assert_int_equal(strlen(one.last_error), DISCOVERY_ERROR_MAX - 1);
        endpoint_fail(&one, "NONE", SLICE_NONE);
        assert_string_equal(one.last_error, "NONE: ");
        assert_int_equal(one.n_errors, 3);
}

static void nobody_has_an_average_without_requests(void **state) {
        (void)state;

        stats = (EndpointStats){};
        assert_answer("$SRV.STATS.compozy-test.one",
                HEAD("stats") ",\"started\":\"2023-11-14T22:13:20.000000Z\",\"endpoints\":[" ENDPOINT
                              ",\"num_requests\":0,\"num_errors\":0,\"last_error\":\"\","
                              "\"processing_time\":0,\"average_processing_time\":0}]}");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_verb_has_the_answer_that_adr_32_describes),
                cmocka_unit_test(only_who_is_meant_answers),
                cmocka_unit_test(a_service_listens_for_all_for_its_name_and_for_itself),
                cmocka_unit_test(an_error_is_counted_and_the_last_one_is_kept_as_far_as_it_fits),
                cmocka_unit_test(nobody_has_an_average_without_requests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
