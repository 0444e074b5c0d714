/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/instant.h"
#include "common/log.h"

typedef struct Seen {
        unsigned n;
        int level;
        char text[256];
} Seen;

static void sink(int level, const char *message_id, LogFields fields, const char *text, void *userdata) {
        Seen *seen = userdata;

        (void)message_id;
        (void)fields;
        seen->n++;
        seen->level = level;
        (void)snprintf(seen->text, sizeof(seen->text), "%s", text);
}

static unsigned n_evaluated;

static unsigned evaluate(void) {
        return ++n_evaluated;
}

static void a_line_above_the_level_is_neither_written_nor_evaluated(void **state) {
        Seen seen = { 0 };

        (void)state;

        log_open("test", LOG_TARGET_STDERR, LOG_INFO);
        log_set_sink(sink, &seen);
        log_line(LOG_DEBUG, NULL, NO_FIELDS, "%u", evaluate());
        assert_int_equal(seen.n, 0);
        assert_int_equal(n_evaluated, 0);
        log_line(LOG_INFO, NULL, FIELDS(F_STR("A", "b")), "number %u", evaluate());
        assert_int_equal(seen.n, 1);
        assert_string_equal(seen.text, "number 1");
        log_set_level(LOG_DEBUG);
        log_line(LOG_DEBUG, NULL, NO_FIELDS, "now");
        assert_int_equal(seen.level, LOG_DEBUG);
        log_set_sink(NULL, NULL);
}

/* Writes one line with stderr turned into a pipe; what came out. */
static void write_captured(char *ret, size_t size, LogFields fields, const char *text) {
        const int saved = dup(STDERR_FILENO);
        int ends[2];
        ssize_t n;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
        log_open("test", LOG_TARGET_AUTO, LOG_INFO);
        errno = ENOENT;
        log_line(LOG_WARNING, NULL, fields, "%s", text);
        assert_int_equal(errno, ENOENT);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        n = read(ends[0], ret, size - 1);
        assert_true(n > 0);
        ret[n] = '\0';
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)close(saved);
}

static void a_peer_can_neither_forge_a_line_nor_reach_the_terminal(void **state) {
        char line[4096];

        (void)state;

        write_captured(line, sizeof(line), FIELDS(F_SLICE("PEER", SLICE("\033[2J\n"))),
                "a\nforged \033[31m line \x7f, \xc2\x9b"
                "31m, \xe2\x80\xaeturned, \xff\xfe but gr\xc3\xbc\xc3\x9f"
                "e \xe2\x82\xac");
        assert_non_null(strstr(line, "WARN   a?forged ?[31m line ?, ??31m, ???turned, ?? but gr\xc3\xbc\xc3\x9f"
                                     "e \xe2\x82\xac (peer=?[2J?)\n"));
        assert_null(strchr(line, '\033'));
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void fields_that_the_sentence_names_are_not_repeated(void **state) {
        char line[4096];

        (void)state;

        write_captured(line, sizeof(line), FIELDS(F_STR("RUNTIME_ID", "rt-1"), F_U64("EPOCH", 77), F_STR("NONE", NULL)),
                "Runtime rt-1 went away");
        assert_non_null(strstr(line, "Runtime rt-1 went away (epoch=77)\n"));
}

static void words_of_others_begin_with_their_name_and_an_errno_is_not_repeated(void **state) {
        char line[4096];

        (void)state;

        write_captured(line, sizeof(line),
                FIELDS_SAID_BY(
                        SLICE("agent.greeter"), F_STR("AGENT_ID", "greeter"), F_STR("EXEC_ID", "x"), F_ERRNO(-2)),
                "hello");
        assert_non_null(strstr(line, "agent.greeter: hello (exec_id=x)\n"));
}

static void a_very_long_line_is_cut_but_ends(void **state) {
        static char text[20000], field[20000];
        char line[32768];

        (void)state;

        memset(text, 'x', sizeof(text) - 1);
        memset(field, 'y', sizeof(field) - 1);
        write_captured(line, sizeof(line), FIELDS(F_STR("A", field), F_STR("B", "last")), text);
        assert_true(strlen(line) < 17000);
        assert_int_equal(line[strlen(line) - 1], '\n');
}

static void a_limited_line_passes_so_often_per_window_and_the_rest_is_counted(void **state) {
        LogLimit limit = { 0 };
        uint32_t left_out = 9;

        (void)state;

        for (unsigned i = 0; i < 5; i++) {
                assert_int_equal(log_limit_pass(&limit, 3, 1000 + i, &left_out), i < 3);
                assert_int_equal(left_out, 0);
        }
        assert_true(log_limit_pass(&limit, 3, 1000 + 10 * USEC_PER_SEC, &left_out));
        assert_int_equal(left_out, 2);
        assert_true(log_limit_pass(&limit, 3, 1001 + 10 * USEC_PER_SEC, &left_out));
        assert_int_equal(left_out, 0);
}

/* limited lines */

static const LogKind chatter = { LOG_WARNING, "0123456789abcdef0123456789abcdef", "chatter", 3, false };

static void begin_limited(Seen *seen, int level) {
        *seen = (Seen){ 0 };
        log_open("test", LOG_TARGET_STDERR, level);
        log_set_sink(sink, seen);
        log_tick(USEC_PER_SEC);
}

static void chat(LogLimit *limit, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (log_limit_level(limit, &chatter, NULL) != LOG_LEFT_OUT)
                        log_write(LOG_WARNING, NULL, NO_FIELDS, "chat");
}

static void what_was_left_out_is_said_when_its_window_is_over_though_no_line_follows(void **state) {
        LogLimit limit = { 0 };
        Seen seen;

        (void)state;

        begin_limited(&seen, LOG_INFO);
        chat(&limit, 10);
        assert_int_equal(seen.n, 3);
        log_tick(10 * USEC_PER_SEC);
        assert_int_equal(seen.n, 3);
        log_tick(11 * USEC_PER_SEC);
        assert_int_equal(seen.n, 4);
        assert_string_equal(seen.text, "7 lines were left out: chatter");
        assert_int_equal(seen.level, LOG_WARNING);
        log_tick(40 * USEC_PER_SEC); /* once */
        assert_int_equal(seen.n, 4);
        log_set_sink(NULL, NULL);
}

static void what_was_left_out_is_said_with_the_next_line_at_the_end_and_when_the_object_goes(void **state) {
        LogLimit a = { 0 }, b = { 0 };
        Seen seen;

        (void)state;

        begin_limited(&seen, LOG_INFO);
        chat(&a, 4);
        chat(&b, 5);
        assert_int_equal(seen.n, 6);
        log_tick(11 * USEC_PER_SEC - 1);
        log_limit_done(&a);
        assert_string_equal(seen.text, "1 line was left out: chatter");
        log_settle();
        assert_string_equal(seen.text, "2 lines were left out: chatter");
        log_settle();
        assert_int_equal(seen.n, 8);

        chat(&b, 1); /* of the same window: the third is over */
        log_tick(USEC_PER_SEC);
        assert_int_equal(b.n_left_out, 1);
        log_limit_done(&b);
        log_limit_done(&b);
        assert_int_equal(seen.n, 9);
        log_set_sink(NULL, NULL);
}

static void the_next_windows_first_line_says_it_before_itself(void **state) {
        LogLimit limit = { 0 };
        Seen seen;

        (void)state;

        begin_limited(&seen, LOG_INFO);
        chat(&limit, 5);
        limit.window_start = 0; /* as if its tick were late */
        log_tick(9 * USEC_PER_SEC);
        assert_int_equal(seen.n, 3);
        limit.window_start -= 2 * USEC_PER_SEC;
        chat(&limit, 1);
        assert_int_equal(seen.n, 5);
        assert_string_equal(seen.text, "chat");
        assert_int_equal(limit.n_left_out, 0);
        log_tick(60 * USEC_PER_SEC);
        assert_int_equal(seen.n, 5);
        log_set_sink(NULL, NULL);
}

static void at_level_debug_nothing_is_left_out_unless_the_kind_is_strict(void **state) {
        const LogField whose = F_STR("AGENT_ID", "a");
        LogKind strict = chatter;
        LogLimit limit = { 0 };
        Seen seen;

        (void)state;

        strict.is_strict = true;
        begin_limited(&seen, LOG_DEBUG);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(log_limit_level(&limit, &chatter, NULL), LOG_WARNING);
        assert_int_equal(log_limit_level(&limit, &chatter, NULL), LOG_DEBUG);
        assert_int_equal(limit.n_left_out, 0);
        assert_int_equal(log_limit_level(&limit, &strict, &whose), LOG_LEFT_OUT);
        log_settle();
        assert_string_equal(seen.text, "1 line was left out: chatter of a");
        log_set_sink(NULL, NULL);
}

static void levels_are_known_by_name(void **state) {
        (void)state;

        assert_int_equal(log_level_from_name(SLICE("debug")), LOG_DEBUG);
        assert_int_equal(log_level_from_name(SLICE("err")), LOG_ERR);
        assert_int_equal(log_level_from_name(SLICE("error")), LOG_ERR);
        assert_int_equal(log_level_from_name(SLICE("emerg")), LOG_EMERG);
        assert_int_equal(log_level_from_name(SLICE("loud")), -EINVAL);
        assert_int_equal(log_level_from_name(SLICE_NONE), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_line_above_the_level_is_neither_written_nor_evaluated),
                cmocka_unit_test(a_peer_can_neither_forge_a_line_nor_reach_the_terminal),
                cmocka_unit_test(fields_that_the_sentence_names_are_not_repeated),
                cmocka_unit_test(a_very_long_line_is_cut_but_ends),
                cmocka_unit_test(a_limited_line_passes_so_often_per_window_and_the_rest_is_counted),
                cmocka_unit_test(what_was_left_out_is_said_when_its_window_is_over_though_no_line_follows),
                cmocka_unit_test(what_was_left_out_is_said_with_the_next_line_at_the_end_and_when_the_object_goes),
                cmocka_unit_test(the_next_windows_first_line_says_it_before_itself),
                cmocka_unit_test(at_level_debug_nothing_is_left_out_unless_the_kind_is_strict),
                cmocka_unit_test(words_of_others_begin_with_their_name_and_an_errno_is_not_repeated),
                cmocka_unit_test(levels_are_known_by_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
