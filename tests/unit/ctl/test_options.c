/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/ctl.h"
#include "ctl/options.h"

#define WORDS_MAX 16

typedef struct Parsed {
        CommandLine line;
        GlobalOptions globals;
        OptionsError error;
        int status;
} Parsed;

/* `text` is cut at spaces; "\"\"" stands for a word without characters. */
static void parse(const char *text, Parsed *ret) {
        static char copy[512];
        char *argv[WORDS_MAX + 1] = { (char *)(uintptr_t) "compozyctl" };
        int argc = 1;

        (void)snprintf(copy, sizeof(copy), "%s", text);
        for (char *word = strtok(copy, " "); word && argc < WORDS_MAX; word = strtok(NULL, " "))
                argv[argc++] = strcmp(word, "\"\"") == 0 ? word + 2 : word;
        *ret = (Parsed){ 0 };
        options_defaults(global_options, &ret->globals);
        ret->status = options_parse(argc, argv, &ret->globals, &ret->line, &ret->error);
}

static void parsed_done(Parsed *parsed) {
        command_line_done(&parsed->line);
}

static void global_options_may_stand_before_and_behind_the_command(void **state) {
        static const char *const lines[] = {
                "-j -t 2s runtime show r1",
                "--json runtime show r1 --timeout 2s",
                "runtime show --timeout=2s r1 -j",
                "runtime show -jt2s -- r1",
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                _cleanup_(parsed_done) Parsed parsed;

                parse(lines[i], &parsed);
                assert_int_equal(parsed.status, 0);
                assert_string_equal(parsed.line.command->name, "runtime show");
                assert_true(parsed.globals.json);
                assert_int_equal(parsed.globals.timeout_usec, 2 * USEC_PER_SEC);
                assert_string_equal(parsed.line.words[0], "r1");
                assert_int_equal(parsed.line.n_words, 1);
        }
}

static void what_is_left_out_has_its_default(void **state) {
        _cleanup_(parsed_done) Parsed parsed;

        (void)state;

        parse("agent create", &parsed);
        assert_int_equal(parsed.status, 0);
        assert_int_equal(parsed.globals.timeout_usec, 5 * USEC_PER_SEC);
        assert_false(parsed.globals.json);
        assert_int_equal(parsed.line.n_words, 1);
        assert_null(parsed.line.words[0]);
}

static void what_is_wrong_is_named(void **state) {
        static const struct {
                const char *line, *part;
        } table[] = {
                { "nonsense", "nonsense: no such command" },
                { "agent", "agent needs one of show" },
                { "agent nonsense", "agent nonsense: no such command; agent has show" },
                { "age", "age: no such command" },
                { "runtime show", "runtime show needs RUNTIME" },
                { "runtime show r1 r2", "takes no word \"r2\"" },
                { "status --nonsense", "--nonsense is not known here" },
                { "status -Z", "-Z is not known here" },
                { "runtimes --limit", "--limit needs a value" },
                { "runtimes --limit -1", "\"-1\" is no number" },
                { "runtimes --limit 1x", "\"1x\" is no number" },
                { "runtimes --limit 99999999999999999999", "is no number" },
                { "runtimes --state nonsense", "\"nonsense\" is none of all, joining, live" },
                { "status -t -5", "\"-5\" is no duration" },
                { "status -t 5x", "\"5x\" is no duration" },
                { "status -t 0", "0 is not within 1.0 ms to 24 h" },
                { "completion fish", "\"fish\" is none of bash, zsh" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(parsed_done) Parsed parsed;

                parse(table[i].line, &parsed);
                if (parsed.status != CTL_EXIT_USAGE || !strstr(parsed.error.text, table[i].part))
                        fail_msg("%s: %d %s", table[i].line, parsed.status, parsed.error.text);
        }
}

static void an_option_past_the_end_of_its_list_is_refused(void **state) {
        _cleanup_(parsed_done) Parsed parsed;
        GlobalOptions globals = {};
        char *argv[2 * TEXT_LIST_MAX + 8] = { (char *)(uintptr_t) "compozyctl" };
        OptionsError error = {};
        CommandLine line;
        int argc = 1;

        (void)state;
        (void)parsed;

        parse("status", &parsed);
        for (size_t i = 0; i <= TEXT_LIST_MAX; i++) {
                argv[argc++] = (char *)(uintptr_t) "-o";
                argv[argc++] = (char *)(uintptr_t) "nats.url=x";
        }
        assert_int_equal(options_parse(argc, argv, &globals, &line, &error), CTL_EXIT_USAGE);
        assert_non_null(strstr(error.text, "more than 64 times"));
        command_line_done(&line);
}

static void durations_have_units(void **state) {
        static const struct {
                const char *text;
                uint64_t usec;
        } table[] = {
                { "250us", 250 },
                { "10ms", 10 * USEC_PER_MSEC },
                { "1.5", 1500 * USEC_PER_MSEC },
                { "3s", 3 * USEC_PER_SEC },
                { "2m", 120 * USEC_PER_SEC },
                { "2min", 120 * USEC_PER_SEC },
                { "1h", 3600 * USEC_PER_SEC },
                { "1d", UINT64_C(86400) * USEC_PER_SEC },
        };
        static const char *const wrong[] = { "", "s", "-1", "1 s", "1sec", "nan", "inf", "1e300d", "0x10 " };
        uint64_t usec;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                assert_int_equal(parse_duration(table[i].text, &usec), 0);
                assert_int_equal(usec, table[i].usec);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (parse_duration(wrong[i], &usec) == 0)
                        fail_msg("\"%s\" is a duration", wrong[i]);
}

/* Descriptors are written by hand: what the reader relies on must hold for each. */
static void every_descriptor_is_sound(void **state) {
        (void)state;

        for (size_t i = 0; commands[i]; i++) {
                const Command *command = commands[i];
                size_t n_used = 0;
                const char *words[3] = { NULL };
                char copy[64];
                bool optional = false;

                (void)snprintf(copy, sizeof(copy), "%s", command->name);
                words[0] = strtok(copy, " ");
                words[1] = strtok(NULL, " ");
                assert_ptr_equal(command_find(words, words[1] ? 2 : 1, &n_used), command);
                assert_non_null(command->summary);
                assert_true(command->summary[strlen(command->summary) - 1] != '.');
                assert_non_null(command->run);
                for (const Argument *argument = command->arguments; argument && argument->name; argument++) {
                        assert_non_null(argument->help);
                        assert_false(optional && !argument->is_optional);
                        optional |= argument->is_optional;
                        assert_true(!argument->is_repeated || !argument[1].name);
                }
                for (const Option *option = command->options; option && option->name; option++) {
                        assert_non_null(option->help);
                        assert_true(option->offset < command->options_size);
                        assert_true(option->kind == OPTION_FLAG || option->value);
                        assert_true(option->kind != OPTION_CHOICE || option->choices);
                        for (const Option *other = command->options; other < option; other++)
                                if (strcmp(other->name, option->name) == 0 ||
                                        (other->letter && other->letter == option->letter))
                                        fail_msg("%s: two options --%s", command->name, option->name);
                        for (const Option *other = global_options; other->name; other++)
                                if (other->letter && other->letter == option->letter)
                                        fail_msg("%s: -%c is a global option's", command->name, option->letter);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(global_options_may_stand_before_and_behind_the_command),
                cmocka_unit_test(what_is_left_out_has_its_default),
                cmocka_unit_test(what_is_wrong_is_named),
                cmocka_unit_test(an_option_past_the_end_of_its_list_is_refused),
                cmocka_unit_test(durations_have_units),
                cmocka_unit_test(every_descriptor_is_sound),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
