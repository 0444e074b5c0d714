/* SPDX-License-Identifier: MIT */

#include "bench_core.h"

static const char *page_of(Bench *b, Buffer *html) {
        buffer_clear(html);
        dispatcher_page(b->d, (PageHead){ .is_ready = true, .reason = SLICE("fine"), .url = "nats://x" }, html, b->now);
        buffer_append_char(html, '\0');
        assert_false(html->failed);
        return html->data;
}

static void of_many_runtimes_those_are_shown_that_need_a_look(void **state) {
        _cleanup_(buffer_done) Buffer html = {};
        DispatcherOptions options = bench_options();
        _cleanup_(bench_freep) Bench *b = NULL;
        const char *page, *silent, *draining, *busy, *first;
        char id[16];

        (void)state;

        options.max_runtimes = 1000;
        b = bench_new(&options);
        bench_runtime(b, "the-silent", "s");
        bench_pass(b, 3 * SECOND);
        assert_string_equal(bench_state(b, "the-silent"), "suspect");
        for (int i = 0; i < 250; i++) {
                (void)snprintf(id, sizeof(id), "r%03d", i);
                bench_register(b, &(Spec){ .id = id, .epoch = 1, .agents = "a" });
        }
        bench_register(b, &(Spec){ .id = "z-busy", .epoch = 1, .agents = "z" });
        bench_trigger(b, "z", "e1", "caller", "");
        bench_register(b, &(Spec){ .id = "z-draining", .epoch = 1, .agents = "a", .draining = true });

        page = page_of(b, &html);
        silent = strstr(page, "the-silent");
        draining = strstr(page, "z-draining");
        busy = strstr(page, "z-busy");
        first = strstr(page, "r000");
        assert_true(silent && draining && busy && first);
        assert_true(silent < draining && draining < busy && busy < first);
        assert_non_null(strstr(page, "r096"));
        assert_null(strstr(page, "r097"));
        assert_non_null(strstr(page, "and 153 more"));
}

static void what_runtimes_say_of_themselves_is_text(void **state) {
        _cleanup_(buffer_done) Buffer html = {};
        _cleanup_(bench_freep) Bench *b = NULL;
        DispatcherOptions options = bench_options();

        (void)state;

        options.hostname = "<h>";
        b = bench_new(&options);
        assert_non_null(strstr(page_of(b, &html), "no runtime has registered"));
        bench_sendf(b, "compozy.events.agent.definition.r1.registered", "_INBOX.r1",
                "{\"metadata\":{\"type\":\"AgentRuntimeRegistered\"},\"agent_runtime\":{\"runtime_id\":\"r1\","
                "\"epoch\":"
                "1,\"revision\":0,\"hostname\":\"<img src=x onerror=alert(1)>\",\"version\":\"\\\"><b>\",\"labels\":{"
                "\"zone\":\"<i>\"},\"agent_definitions\":[],\"subjects\":{\"trigger\":\"compozy.runtime.r1.trigger\","
                "\"control\":\"compozy.runtime.r1.control\"},\"capacity\":{\"max_in_flight\":4},"
                "\"heartbeat_interval_ms\":1000},\"payload\":{\"status\":\"REGISTERED\"}}");
        assert_string_equal(bench_state(b, "r1"), "live");
        assert_non_null(strstr(page_of(b, &html), "&lt;img src=x onerror=alert(1)&gt;"));
        assert_non_null(strstr(html.data, "zone=&lt;i&gt;"));
        assert_non_null(strstr(html.data, "on <bdi>&lt;h&gt;</bdi>"));
        assert_null(strstr(html.data, "<img"));
        assert_null(strstr(html.data, "<i>"));
        assert_null(strstr(html.data, "\"><b>"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(of_many_runtimes_those_are_shown_that_need_a_look),
                cmocka_unit_test(what_runtimes_say_of_themselves_is_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
