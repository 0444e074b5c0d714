/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "common/trace.h"
#include "common/trace_export.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define UNSAMPLED "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

static void a_traceparent_is_taken_if_and_only_if_w3c_says_so(void **state) {
        static const struct {
                const char *text;
                bool good;
                const char *why;
        } cases[] = {
                { PARENT, true, "the example of the specification" },
                { UNSAMPLED, true, "not sampled" },
                { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true, "flags that nobody knows yet" },
                { "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true, "a later version" },
                { "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true, "... which has more" },
                { "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", false, "... not set off" },
                { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false, "version 0 has no more" },
                { "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false, "version 255 is none" },
                { "00-00000000000000000000000000000000-b7ad6b7169203331-01", false, "no trace id" },
                { "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false, "no parent id" },
                { "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false, "capitals" },
                { "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false, "no hexadecimal digit" },
                { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false, "too short" },
                { "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", false, "no dash" },
                { "", false, "nothing" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                TraceSpan span = { .flags = 0xee };

                if (trace_parse(slice_of(cases[i].text), &span) != cases[i].good)
                        fail_msg("%s: %s", cases[i].text, cases[i].why);
                if (!cases[i].good)
                        assert_int_equal(span.flags, 0xee);
        }
        assert_false((trace_parse(SLICE_NONE, &(TraceSpan){})));
}

static void a_span_goes_on_with_the_trace_and_the_flags_that_came(void **state) {
        char storage[TRACEPARENT_SIZE];
        TraceSpan span, child;
        Tracer tracer;

        (void)state;

        tracer_init(&tracer, 1, 0, 10);
        assert_true(tracer_begin(&tracer, SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"), &span));
        assert_true(span.is_recorded);
        assert_true(trace_parse(trace_format(&span, storage), &child));
        assert_memory_equal(child.trace_id, span.trace_id, sizeof(span.trace_id));
        assert_memory_equal(child.parent_id, span.span_id, sizeof(span.span_id));
        assert_memory_not_equal(child.parent_id, span.parent_id, sizeof(span.parent_id));
        assert_int_equal(child.flags, 3);

        assert_false(tracer_begin(&tracer, SLICE(UNSAMPLED), &span));
        assert_false(span.is_recorded);
        assert_false(tracer_begin(&tracer, SLICE_NONE, &span)); /* its share is 0 */
        assert_false(span.is_recorded);
        tracer_done(&tracer);
}

static void a_share_of_what_comes_without_a_trace_begins_one(void **state) {
        static const struct {
                double sample;
                unsigned least, most;
        } cases[] = { { 1, 10000, 10000 }, { 0.5, 4700, 5300 }, { 0.01, 50, 160 } };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned n = 0;
                Tracer tracer;

                tracer_init(&tracer, 7, cases[i].sample, 10);
                for (unsigned k = 0; k < 10000; k++) {
                        char storage[TRACEPARENT_SIZE];
                        TraceSpan span, read;

                        assert_true(tracer_begin(&tracer, k % 2 ? SLICE_NONE : SLICE("00-bad"), &span));
                        assert_int_equal(span.is_recorded, span.flags == TRACE_SAMPLED);
                        assert_true(trace_parse(trace_format(&span, storage), &read)); /* no id is all zeroes */
                        n += span.is_recorded;
                }
                assert_in_range(n, cases[i].least, cases[i].most);
        }
}

static void headers_get_the_spans_traceparent_and_keep_the_rest(void **state) {
        static const char others[] = "Compozy-Ttl: 3\r\nTraceParent-Not: x\r\n";
        _cleanup_(buffer_done) Buffer in = {}, out = {};
        TraceSpan span;
        Tracer tracer;

        (void)state;

        tracer_init(&tracer, 1, 1, 10);
        buffer_printf(&in, "TRACEPARENT: " PARENT "\r\ntracestate: a=1\r\n%straceparent: twice", others);
        for (unsigned is_first = 0; is_first < 2; is_first++) {
                char storage[TRACEPARENT_SIZE], wanted[256];

                (void)tracer_begin(&tracer, is_first ? SLICE_NONE : SLICE(PARENT), &span);
                buffer_clear(&out);
                trace_rewrite_headers(&out, buffer_slice(&in), &span);
                (void)snprintf(wanted, sizeof(wanted), "traceparent: %.*s\r\n%s%s",
                        SLICE_ARG(trace_format(&span, storage)), is_first ? "" : "tracestate: a=1\r\n", others);
                buffer_append_char(&out, '\0');
                assert_string_equal(out.data, wanted);
        }
        tracer_done(&tracer);
}

/* One span with everything; `text` is in all places where a stranger's may be. */
static bool record(Tracer *tracer, const char *text) {
        TraceSpan span;
        const SpanHead head = {
                .span = &span,
                .kind = SPAN_SERVER,
                .what = "trigger",
                .of = slice_of(text),
                .start_real_usec = UINT64_C(1700000000000001),
                .end_real_usec = UINT64_C(1700000000000000), /* the clock was set back */
                .state = SLICE("a=1"),
                .error = "TIMEOUT",
                .why = slice_of(text),
        };

        (void)tracer_begin(tracer, SLICE(PARENT), &span);
        if (!tracer_open(tracer, &head))
                return false;
        tracer_text(tracer, "key", slice_of(text));
        tracer_text(tracer, "absent", SLICE_NONE);
        tracer_number(tracer, "number", UINT64_MAX);
        tracer_event(tracer, "first", 1);
        tracer_text(tracer, "key", slice_of(text));
        tracer_event(tracer, "second", 2);
        tracer_close(tracer);
        return true;
}

static json_t *parse(const Tracer *tracer) {
        _cleanup_(buffer_done) Buffer text = {};
        json_error_t error;
        json_t *spans;

        buffer_printf(&text, "[%.*s]", SLICE_ARG(buffer_slice(&tracer->spans)));
        spans = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &error);
        if (!spans)
                fail_msg("%s in %.*s", error.text, SLICE_ARG(buffer_slice(&text)));
        assert_int_equal(json_array_size(spans), tracer->n_spans);
        return spans;
}

static void what_is_recorded_is_json_whatever_strangers_have_put_into_it(void **state) {
        static const char *const texts[] = { "plain", "\"\\/\b\n\t{}[],", "\xff\xfe\xc3", "é€", "" };
        json_t *spans, *span;
        char longest[4000];
        Tracer tracer;

        (void)state;

        memset(longest, '"', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        tracer_init(&tracer, 1, 1, 100);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_true(record(&tracer, texts[i]));
        assert_true(record(&tracer, longest));
        spans = parse(&tracer);
        span = json_array_get(spans, 0);
        assert_string_equal(json_string_value(json_object_get(span, "traceId")), "0af7651916cd43dd8448eb211c80319c");
        assert_string_equal(json_string_value(json_object_get(span, "parentSpanId")), "b7ad6b7169203331");
        assert_string_equal(json_string_value(json_object_get(span, "name")), "trigger plain");
        assert_string_equal(json_string_value(json_object_get(span, "startTimeUnixNano")), "1700000000000001000");
        assert_string_equal(json_string_value(json_object_get(span, "endTimeUnixNano")), "1700000000000001000");
        assert_int_equal(json_array_size(json_object_get(span, "attributes")), 3); /* error.type among them */
        assert_int_equal(json_array_size(json_object_get(span, "events")), 2);
        json_decref(spans);

        tracer_clear(&tracer);
        assert_int_equal(tracer.spans.size, 0);
        assert_true(record(&tracer, "again"));
        json_decref(parse(&tracer));
        tracer_done(&tracer);
}

static void what_there_is_no_room_for_is_dropped_and_counted(void **state) {
        Tracer tracer;

        (void)state;

        tracer_init(&tracer, 1, 1, 3);
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(record(&tracer, "x"), i < 3);
        assert_int_equal(tracer.n_spans, 3);
        assert_int_equal(tracer.n_dropped, 7);
        json_decref(parse(&tracer));
        tracer_done(&tracer);
}

static void a_span_that_memory_is_out_for_leaves_those_before_it_whole(void **state) {
        Tracer tracer;

        (void)state;

        tracer_init(&tracer, 1, 1, 10);
        assert_true(record(&tracer, "whole"));
        tracer.spans.failed = true; /* as a failed allocation leaves it */
        (void)record(&tracer, "lost");
        assert_int_equal(tracer.n_dropped, 1);
        json_decref(parse(&tracer));
        assert_true(record(&tracer, "whole again"));
        json_decref(parse(&tracer));
        assert_int_equal(tracer.n_spans, 2);
        tracer_done(&tracer);
}

static TraceExportNews news;
static unsigned n_news;

static void on_news(const TraceExportNews *what) {
        news = *what;
        n_news++;
}

static void an_exporter_that_reaches_nobody_keeps_its_bounds_and_says_so_once(void **state) {
        struct event_base *base = event_base_new();
        const TraceExportOptions options = {
                .base = base,
                .on_news = on_news,
                .endpoint = "http://127.0.0.1:1",
                .headers_file = "",
                .tls_ca = "",
                .sample = 1,
                .queue_limit = 100,
                .service = "compozy-test",
                .instance_id = "t1",
                .version = "1.0.0",
                .hostname = "h",
                .subject_prefix = "compozy",
        };
        _cleanup_(trace_exporter_freep) TraceExporter *exporter = NULL;
        TraceExportStats stats = {};
        char why[256];

        (void)state;

        assert_int_equal(trace_exporter_new(&options, &exporter, why, sizeof(why)), 0);
        for (unsigned i = 0; i < 30; i++) {
                for (unsigned k = 0; k < 10; k++)
                        (void)record(trace_exporter_tracer(exporter), "x");
                trace_exporter_turn(exporter);
        }
        for (n_news = 0; n_news == 0;)
                assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
        trace_exporter_stats(exporter, &stats);
        assert_int_equal(n_news, 1);
        assert_false(news.works);
        assert_true(news.why[0]);
        assert_int_equal(stats.n_exported, 0);
        assert_int_equal(stats.n_waiting, 100);
        assert_int_equal(stats.n_dropped, 200);
        trace_exporter_turn(NULL);
        assert_null(trace_exporter_tracer(NULL));
        exporter = trace_exporter_free(exporter); /* before the loop that its news come on */
        event_base_free(base);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_traceparent_is_taken_if_and_only_if_w3c_says_so),
                cmocka_unit_test(a_span_goes_on_with_the_trace_and_the_flags_that_came),
                cmocka_unit_test(a_share_of_what_comes_without_a_trace_begins_one),
                cmocka_unit_test(headers_get_the_spans_traceparent_and_keep_the_rest),
                cmocka_unit_test(what_is_recorded_is_json_whatever_strangers_have_put_into_it),
                cmocka_unit_test(what_there_is_no_room_for_is_dropped_and_counted),
                cmocka_unit_test(a_span_that_memory_is_out_for_leaves_those_before_it_whole),
                cmocka_unit_test(an_exporter_that_reaches_nobody_keeps_its_bounds_and_says_so_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
