/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "ctl/log_view.h"

static void test_lines_of_daemons_and_of_the_server_are_told_apart(void **state) {
        static const struct {
                const char *line, *time, *level, *text;
                Colour colour;
                bool is_server;
        } cases[] = {
                { "2026-11-21 04:41:21.903 INFO   Agent x took its new definition", "04:41:21.903", "INFO",
                        "Agent x took its new definition", COLOUR_NONE, false },
                { "2026-11-21 04:41:21.903 WARNING Slow", "04:41:21.903", "WARNING", "Slow", COLOUR_WARNING, false },
                { "[4994] 2026/11/21 04:38:56.604855 [INF] Server is ready", "04:38:56.604", "INF", "Server is ready",
                        COLOUR_NONE, true },
                { "[4994] 2026/11/21 04:38:56.604855 [FTL] no", "04:38:56.604", "FTL", "no", COLOUR_BAD, true },
                { "2026-11-21 04:41:21.903 INFORMAL", "04:41:21.903", "", "INFORMAL", COLOUR_NONE, false },
                { "no time at all", "", "", "no time at all", COLOUR_NONE, false },
                { "[12] 2026/11/21", "", "", "[12] 2026/11/21", COLOUR_NONE, false },
                { "[", "", "", "[", COLOUR_NONE, false },
                { "", "", "", "", COLOUR_NONE, false },
                { "2026-11-21 04:41:21.903", "04:41:21.903", "", "", COLOUR_NONE, false },
                { "2026-11-21 04:41:21.903 INFO", "04:41:21.903", "", "INFO", COLOUR_NONE, false },
                { "2026-11-21 04:41:21.903 [INF", "04:41:21.903", "", "[INF", COLOUR_NONE, false },
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                LogParts parts;

                log_parts(cases[i].line, &parts);
                assert_string_equal(parts.time, cases[i].time);
                assert_string_equal(parts.level, cases[i].level);
                assert_string_equal(parts.text, cases[i].text);
                assert_int_equal(parts.colour, cases[i].colour);
                assert_int_equal(parts.is_server, cases[i].is_server);
        }
}

static char *shown(LogChoice choice, const char *const *lines, bool with_kept) {
        const Screen screen = {};
        char *text = NULL;
        size_t size = 0;
        FILE *file = open_memstream(&text, &size);
        LogView *view = log_view_new(&screen, file, choice);

        for (size_t i = 0; lines[i]; i++)
                log_view_line(view, "r1", 1, lines[i]);
        if (with_kept)
                log_view_show_kept(view);
        (void)log_view_free(view);
        (void)fclose(file);
        return text;
}

static void test_what_was_not_shown_is_kept_for_when_something_fails(void **state) {
        static const char *const lines[] = { "[1] 2026/11/21 04:38:56.604855 [INF] fine",
                "[1] 2026/11/21 04:38:56.604855 [ERR] \033[2J", NULL };
        char *text;

        (void)state;
        text = shown(LOG_VIEW_AUTO, lines, false);
        assert_string_equal(text, "r1    04:38:56.604 ERR     \\x1b[2J\n");
        free(text);
        text = shown(LOG_VIEW_NONE, lines, false);
        assert_string_equal(text, "");
        free(text);
        text = shown(LOG_VIEW_NONE, lines, true);
        assert_string_equal(text, "r1    04:38:56.604 INF     fine\nr1    04:38:56.604 ERR     \\x1b[2J\n");
        free(text);
}

static void test_of_errors_only_those_of_daemons_are_shown(void **state) {
        static const char *const lines[] = { "[1] 2026/11/21 04:38:56.604855 [ERR] of nats-server",
                "2026-11-21 04:41:21.903 WARNING Slow", "2026-11-21 04:41:21.903 ERROR  Refused", NULL };
        char *text = shown(LOG_VIEW_ERRORS, lines, false);

        (void)state;
        assert_string_equal(text, "r1    04:41:21.903 ERROR   Refused\n");
        free(text);
}

static void test_only_the_last_lines_are_kept(void **state) {
        const char *lines[101];
        char texts[100][16], *text;

        (void)state;
        for (int i = 0; i < 100; i++) {
                (void)snprintf(texts[i], sizeof(texts[i]), "n%d", i);
                lines[i] = texts[i];
        }
        lines[100] = NULL;
        text = shown(LOG_VIEW_NONE, lines, true);
        assert_memory_equal(text, "r1    n60\n", 10);
        assert_non_null(strstr(text, "n99\n"));
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lines_of_daemons_and_of_the_server_are_told_apart),
                cmocka_unit_test(test_what_was_not_shown_is_kept_for_when_something_fails),
                cmocka_unit_test(test_of_errors_only_those_of_daemons_are_shown),
                cmocka_unit_test(test_only_the_last_lines_are_kept),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
