/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/subject.h"

#define PREFIX SLICE("compozy")

static void every_kind_is_parsed_back_from_what_was_built(void **state) {
        (void)state;

        for (unsigned kind = SUBJECT_NONE + 1; kind < _SUBJECT_KIND_MAX; kind++) {
                _cleanup_(buffer_done) Buffer b = { 0 };
                SubjectMatch match;

                subject_build(&b, PREFIX, (SubjectKind)kind, SLICE("first-1"), SLICE("second_2"));
                assert_true(subject_is_valid(buffer_slice(&b)));
                match = subject_parse(PREFIX, buffer_slice(&b));
                assert_int_equal(match.kind, kind);
                if (match.first.data)
                        assert_true(slice_equal(match.first, SLICE("first-1")));
                if (match.second.data)
                        assert_true(slice_equal(match.second, SLICE("second_2")));
        }
}

static void a_subject_is_built_as_the_contract_says(void **state) {
        _cleanup_(buffer_done) Buffer b = { 0 };

        (void)state;

        subject_build(&b, SLICE("my.prefix"), SUBJECT_RUNTIME_CONTROL, SLICE("r1"), SLICE("*"));
        assert_true(slice_equal(buffer_slice(&b), SLICE("my.prefix.runtime.r1.control.*")));
}

static void what_is_not_ours_is_parsed_as_none(void **state) {
        static const char *const subjects[] = {
                "",
                "compozy",
                "compozy.",
                "other.runtime.r1.trigger",
                "compozyx.runtime.r1.trigger",
                "compozy.runtime.r1",
                "compozy.runtime.r1.trigger.more",
                "compozy.runtime..trigger",
                "compozy.runtime.a b.trigger",
                "compozy.runtime.*.trigger",
                "compozy.runtime.r1.control",
                "compozy.runtime.r1.control.",
                "compozy.runtime.r1.control.a.b",
                "compozy.commands.agent_runtime.announce.x",
                "compozy.runtime.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.trigger",
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(subjects); i++)
                assert_int_equal(subject_parse(PREFIX, slice_of(subjects[i])).kind, SUBJECT_NONE);
        assert_int_equal(subject_parse(PREFIX, SLICE_NONE).kind, SUBJECT_NONE);
}

static void validity_is_what_nats_server_takes(void **state) {
        static const struct {
                const char *text;
                bool subject, pattern;
        } cases[] = {
                { "a", true, true },
                { "a.b.c", true, true },
                { "", false, false },
                { ".", false, false },
                { "a.", false, false },
                { ".a", false, false },
                { "a..b", false, false },
                { "a b", false, false },
                { "a\tb", false, false },
                { "a\x7f", false, false },
                { "*", false, true },
                { ">", false, true },
                { "a.*.b", false, true },
                { "a.>", false, true },
                { "a.>.b", false, false },
                { "a*.b>", true, true },
                { "caf\xc3\xa9", true, true },
                { "$JS.API", true, true },
                { "_INBOX.x.1", true, true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(subject_is_valid(slice_of(cases[i].text)), cases[i].subject);
                assert_int_equal(subject_pattern_is_valid(slice_of(cases[i].text)), cases[i].pattern);
        }
        assert_false(subject_is_valid(SLICE_NONE));
        assert_false(subject_is_valid((Slice){ "a\0b", 3 }));
}

static void a_subject_beyond_the_limit_is_invalid(void **state) {
        char text[SUBJECT_MAX + 1];

        (void)state;

        memset(text, 'a', sizeof(text));
        assert_true(subject_is_valid((Slice){ text, SUBJECT_MAX }));
        assert_false(subject_is_valid((Slice){ text, SUBJECT_MAX + 1 }));
}

static void wildcards_match_whole_tokens(void **state) {
        static const struct {
                const char *pattern, *subject;
                bool matches;
        } cases[] = {
                { "a.b", "a.b", true },
                { "a.b", "a.c", false },
                { "a.b", "a.b.c", false },
                { "a.b.c", "a.b", false },
                { "a.*", "a.b", true },
                { "a.*", "a", false },
                { "a.*", "a.b.c", false },
                { "*.b", "a.b", true },
                { "a.>", "a.b", true },
                { "a.>", "a.b.c", true },
                { "a.>", "a", false },
                { ">", "a", true },
                { "*", "a", true },
                { "*", "a.b", false },
                { "a*", "ab", false },
                { "*.>", "a.b.c", true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(
                        subject_matches(slice_of(cases[i].pattern), slice_of(cases[i].subject)), cases[i].matches);
}

static void a_result_goes_nowhere_that_commands_are_read(void **state) {
        static const struct {
                const char *subject;
                bool allowed;
        } cases[] = {
                { "_INBOX.a.1", true },
                { "my.topic", true },
                { "compozy.results.agent.x", true },
                { "compozy.results.anything", true },
                { "compozyx.commands", true },
                { "compozy.results", false },
                { "compozy.results.", false },
                { "compozy.resultsx.a", false },
                { "compozy.commands.agent.w.trigger.a", false },
                { "compozy.runtime.r.control.drain", false },
                { "compozy", false },
                { "$JS.API.STREAM.DELETE.X", false },
                { "$SYS", false },
                { "a.*", false },
                { ">", false },
                { "a b", false },
                { "", false },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(subject_may_receive_result(PREFIX, slice_of(cases[i].subject)), cases[i].allowed);
}

static void an_inbox_that_is_kept_for_somebody_is_his_and_others_are_anybodys(void **state) {
        static const char *const nobodys[] = { "_INBOX.x", "_INBOX.x.1", "_INBOX.caller.1", "_INBOX.caller.web",
                "_INBOX.other.web.x.1", "caller.web.x.1", "compozy.results.agent.e1", "compozy.results.caller.web",
                "compozy.results.operator.alice.1", "compozy", "" };
        static const char *const webs[] = { "_INBOX.caller.web.x", "_INBOX.caller.web.y.1",
                "compozy.results.caller.web.1" };
        static const char *const others[] = { "_INBOX.caller.batch.x.1", "_INBOX.operator.web.x.1",
                "_INBOX.runtime.web.x.a.1", "_INBOX.caller.webb.x.1" };
        const uint64_t web = subject_owner(SLICE("compozy"), SLICE("_INBOX.caller.web.x.1"));

        (void)state;

        assert_int_not_equal(web, 0);
        for (size_t i = 0; i < ELEMENTSOF(nobodys); i++)
                if (subject_owner(SLICE("compozy"), slice_of(nobodys[i])) != 0)
                        fail_msg("%s is somebody's", nobodys[i]);
        for (size_t i = 0; i < ELEMENTSOF(webs); i++)
                assert_true(subject_owner(SLICE("compozy"), slice_of(webs[i])) == web);
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                const uint64_t owner = subject_owner(SLICE("compozy"), slice_of(others[i]));

                assert_true(owner != 0 && owner != web);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_inbox_that_is_kept_for_somebody_is_his_and_others_are_anybodys),
                cmocka_unit_test(every_kind_is_parsed_back_from_what_was_built),
                cmocka_unit_test(a_subject_is_built_as_the_contract_says),
                cmocka_unit_test(what_is_not_ours_is_parsed_as_none),
                cmocka_unit_test(validity_is_what_nats_server_takes),
                cmocka_unit_test(a_subject_beyond_the_limit_is_invalid),
                cmocka_unit_test(wildcards_match_whole_tokens),
                cmocka_unit_test(a_result_goes_nowhere_that_commands_are_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
