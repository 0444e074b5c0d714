/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/config.h"

typedef struct Settings {
        char *url, *credentials, *id, *labels, *listen, *prefix, *inbox, *patterns;
        uint64_t limit;
        double factor;
        bool on;
        unsigned level;
} Settings;

static const char *const levels[] = { "low", "middle", "high", NULL };

static const ConfigKey keys[] = {
        { .section = "nats",
                .name = "url",
                .kind = CONFIG_STRING,
                .offset = offsetof(Settings, url),
                .fallback = "nats://x",
                .help = "Servers",
                .environment = "TEST_COMPOZY_URL" },
        { .section = "nats",
                .name = "credentials",
                .kind = CONFIG_SECRET,
                .offset = offsetof(Settings, credentials),
                .fallback = "",
                .help = "Credentials" },
        { .section = "nats",
                .name = "subject_prefix",
                .kind = CONFIG_SUBJECT,
                .offset = offsetof(Settings, prefix),
                .fallback = "compozy",
                .help = "Prefix" },
        { .section = "nats",
                .name = "inbox_prefix",
                .kind = CONFIG_INBOX,
                .offset = offsetof(Settings, inbox),
                .fallback = "",
                .help = "Inbox" },
        { .section = "topics",
                .name = "reply",
                .kind = CONFIG_PATTERNS,
                .offset = offsetof(Settings, patterns),
                .fallback = "",
                .help = "Patterns" },
        { .section = "runtime",
                .name = "id",
                .kind = CONFIG_ID,
                .offset = offsetof(Settings, id),
                .fallback = "",
                .help = "Id",
                .at_start = true },
        { .section = "runtime",
                .name = "labels",
                .kind = CONFIG_LABELS,
                .offset = offsetof(Settings, labels),
                .fallback = "",
                .help = "Labels" },
        { .section = "http",
                .name = "listen",
                .kind = CONFIG_LISTEN,
                .offset = offsetof(Settings, listen),
                .fallback = "127.0.0.1:0",
                .help = "Address" },
        { .section = "limits",
                .name = "queue_limit",
                .kind = CONFIG_U64,
                .offset = offsetof(Settings, limit),
                .fallback = "10",
                .help = "Limit",
                .min = 1,
                .max = 1000,
                .at_start = true },
        { .section = "liveness",
                .name = "dead_after",
                .kind = CONFIG_REAL,
                .offset = offsetof(Settings, factor),
                .fallback = "2.5",
                .help = "Factor",
                .min = 0,
                .max = 100 },
        { .section = "liveness",
                .name = "on",
                .kind = CONFIG_BOOL,
                .offset = offsetof(Settings, on),
                .fallback = "yes",
                .help = "Switch",
                .at_start = true },
        { .section = "log",
                .name = "level",
                .kind = CONFIG_CHOICE,
                .offset = offsetof(Settings, level),
                .fallback = "middle",
                .help = "Level",
                .choices = levels },
};

static const ConfigTable table = { keys, ELEMENTSOF(keys) };

typedef struct Fixture {
        char directory[64], file[128], drop_ins[160];
        Settings settings;
        ConfigError error;
} Fixture;

static void write_file(const char *path, const char *text) {
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void write_drop_in(const Fixture *f, const char *name, const char *text) {
        char path[256];

        (void)mkdir(f->drop_ins, 0700);
        (void)snprintf(path, sizeof(path), "%s/%s", f->drop_ins, name);
        write_file(path, text);
}

static int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        (void)snprintf(f->directory, sizeof(f->directory), "/tmp/compozy-config-XXXXXX");
        if (!mkdtemp(f->directory))
                return -1;
        (void)snprintf(f->file, sizeof(f->file), "%s/test.conf", f->directory);
        (void)snprintf(f->drop_ins, sizeof(f->drop_ins), "%s.d", f->file);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        Fixture *f = *state;
        char command[128];

        config_clear(&table, &f->settings);
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", f->directory);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

static int load(Fixture *f, const char *file, const char *const *options, size_t n_options) {
        config_clear(&table, &f->settings);
        f->settings = (Settings){ 0 };
        return config_load(&table, file, options, n_options, &f->settings, &f->error);
}

static void without_a_file_the_defaults_hold_and_the_environment_wins_over_them(void **state) {
        Fixture *f = *state;

        assert_int_equal(load(f, NULL, NULL, 0), 0);
        assert_string_equal(f->settings.url, "nats://x");
        assert_string_equal(f->settings.id, "");
        assert_int_equal(f->settings.limit, 10);
        assert_true(f->settings.factor == 2.5);
        assert_true(f->settings.on);
        assert_int_equal(f->settings.level, 1);

        assert_int_equal(setenv("TEST_COMPOZY_URL", "nats://environment", 1), 0);
        assert_int_equal(load(f, NULL, NULL, 0), 0);
        assert_string_equal(f->settings.url, "nats://environment");
        assert_int_equal(unsetenv("TEST_COMPOZY_URL"), 0);
}

static void the_file_then_drop_ins_by_name_then_options_win(void **state) {
        Fixture *f = *state;
        const char *option = "limits.queue_limit=5";

        write_file(f->file, "; comment\n# comment\n\n[nats]\nurl = nats://file ; why\n [limits] "
                            "\n\tqueue_limit=2\n[log]\nlevel=high\n");
        write_drop_in(f, "20.conf", "[limits]\nqueue_limit = 20\n[runtime]\nid = twenty\n");
        write_drop_in(f, "10.conf", "[limits]\nqueue_limit = 10\n[runtime]\nid = ten\nlabels = zone=a,kind=gpu\n");
        write_drop_in(f, "30.conf.bak", "rubbish\n");
        assert_int_equal(load(f, f->file, NULL, 0), 0);
        assert_string_equal(f->settings.url, "nats://file");
        assert_int_equal(f->settings.limit, 20);
        assert_string_equal(f->settings.id, "twenty");
        assert_string_equal(f->settings.labels, "zone=a,kind=gpu");
        assert_int_equal(f->settings.level, 2);
        assert_int_equal(load(f, f->file, &option, 1), 0);
        assert_int_equal(f->settings.limit, 5);
}

static void a_later_file_wins_and_may_be_missing_where_a_minus_says_so(void **state) {
        Fixture *f = *state;
        char optional[128], other[160];
        const char *files[] = { f->file, optional };

        (void)snprintf(optional, sizeof(optional), "-%s/other.conf", f->directory);
        write_file(f->file, "[limits]\nqueue_limit=2\n[log]\nlevel=high\n");
        assert_int_equal(config_load_files(&table, files, 2, NULL, 0, &f->settings, &f->error), 0);
        assert_int_equal(f->settings.limit, 2);

        (void)snprintf(other, sizeof(other), "%s.d", optional + 1);
        assert_int_equal(mkdir(other, 0700), 0);
        (void)snprintf(other, sizeof(other), "%s.d/10.conf", optional + 1);
        write_file(other, "[limits]\nqueue_limit=3\n");
        config_clear(&table, &f->settings);
        assert_int_equal(config_load_files(&table, files, 2, NULL, 0, &f->settings, &f->error), 0);
        assert_int_equal(f->settings.limit, 3);
        assert_int_equal(f->settings.level, 2);

        files[1] = optional + 1;
        config_clear(&table, &f->settings);
        assert_int_equal(config_load_files(&table, files, 2, NULL, 0, &f->settings, &f->error), CONFIG_E_INVALID);
        assert_non_null(strstr(f->error.text, "other.conf: No such file or directory"));
}

static void a_relative_secret_lies_where_the_service_manager_put_it(void **state) {
        Fixture *f = *state;
        const char *relative = "nats.credentials=a.creds", *absolute = "nats.credentials=/x/a.creds",
                   *none = "nats.credentials=";

        assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
        assert_int_equal(load(f, NULL, &relative, 1), 0);
        assert_string_equal(f->settings.credentials, "a.creds");
        assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x.service", 1), 0);
        assert_int_equal(load(f, NULL, &relative, 1), 0);
        assert_string_equal(f->settings.credentials, "/run/credentials/x.service/a.creds");
        assert_int_equal(load(f, NULL, &absolute, 1), 0);
        assert_string_equal(f->settings.credentials, "/x/a.creds");
        assert_int_equal(load(f, NULL, &none, 1), 0);
        assert_string_equal(f->settings.credentials, "");
        assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void what_is_wrong_is_named_by_file_line_and_key(void **state) {
        static const struct {
                const char *text, *says;
        } cases[] = {
                { "[liveness]\n\ndead_after = 2x\n", ":3: liveness.dead_after: \"2x\" is not a number (0 to 100)" },
                { "[liveness]\ndead_after = nan\n", ":2: liveness.dead_after: \"nan\" is not a number (0 to 100)" },
                { "[liveness]\ndead_after = 101\n", ":2: liveness.dead_after: 101 is out of range (0 to 100)" },
                { "[limits]\nqueue_limit = 0\n", ":2: limits.queue_limit: 0 is out of range (1 to 1000)" },
                { "[limits]\nqueue_limit = -1\n", ":2: limits.queue_limit: \"-1\" is not a whole number (1 to 1000)" },
                { "[limits]\nqueue_limit = 99999999999999999999\n", "is not a whole number" },
                { "[limits]\nqueue_limit =\n", "\"\" is not a whole number" },
                { "[limits]\nqueue_limits = 1\n",
                        ":2: unknown key limits.queue_limits; did you mean limits.queue_limit?" },
                { "[nats]\nqueue_limit = 1\n", ":2: unknown key nats.queue_limit; did you mean limits.queue_limit?" },
                { "[nats]\nsomething_else = 1\n", ":2: unknown key nats.something_else" },
                { "[natz]\n", ":1: unknown section [natz]" },
                { "[nats\n", ":1: a section's name ends with a ]" },
                { "url = x\n", ":1: a key before the first [section]" },
                { "[nats]\nurl\n", ":2: neither [section] nor key = value" },
                { "[liveness]\non = maybe\n", ":2: liveness.on: \"maybe\" is neither yes nor no" },
                { "[log]\nlevel = loud\n", ":2: log.level: \"loud\" is none of low, middle, high" },
                { "[runtime]\nid = a b\n", ":2: runtime.id: \"a b\" is not an id" },
                { "[runtime]\nlabels = a\n", ":2: runtime.labels: \"a\" is not a list of labels" },
                { "[runtime]\nlabels = a=1,\n", "is not a list of labels" },
                { "[http]\nlisten = 9090\n", ":2: http.listen: \"9090\" is not an address" },
                { "[http]\nlisten = 127.0.0.1:99999\n", "is not an address" },
                { "[nats]\nsubject_prefix = a.*\n", ":2: nats.subject_prefix: \"a.*\" is not a subject" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                write_file(f->file, cases[i].text);
                assert_int_equal(load(f, f->file, NULL, 0), CONFIG_E_INVALID);
                if (!strstr(f->error.text, cases[i].says) || strncmp(f->error.text, f->file, strlen(f->file)) != 0)
                        fail_msg("expected \"%s\", got \"%s\"", cases[i].says, f->error.text);
                assert_null(f->settings.url);
        }
}

static void addresses_to_listen_on_may_be_of_both_families_or_none(void **state) {
        static const char *const options[] = { "http.listen=none", "http.listen=[::1]:80",
                "http.listen=0.0.0.0:65535" };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                assert_int_equal(load(f, NULL, &options[i], 1), 0);
                assert_string_equal(f->settings.listen, strchr(options[i], '=') + 1);
        }
}

static void a_wrong_option_is_named_without_its_value(void **state) {
        static const char *const options[][2] = {
                { "nats.ulr=nats://geheim", "-o: unknown key nats.ulr; did you mean nats.url?" },
                { "nats.url=geheim\x01", "-o: nats.url: the value has a control character in it" },
                { "geheim", "must be section.key=value" },
                { "limits.queue_limit=x", "-o: limits.queue_limit: \"x\" is not a whole number (1 to 1000)" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                assert_int_equal(load(f, NULL, &options[i][0], 1), CONFIG_E_INVALID);
                assert_non_null(strstr(f->error.text, options[i][1]));
                assert_true(i == 2 || !strstr(f->error.text, "geheim"));
        }
}

static char reported[256];

static void note_key(const char *key) {
        (void)snprintf(reported + strlen(reported), sizeof(reported) - strlen(reported), "%s ", key);
}

static void a_reload_names_the_keys_that_it_cant_change(void **state) {
        static const char *const options[] = { "runtime.id=other", "limits.queue_limit=11", "log.level=high" };
        Fixture *f = *state;
        Settings old = { 0 };

        assert_int_equal(config_load(&table, NULL, NULL, 0, &old, &f->error), 0);
        assert_int_equal(load(f, NULL, options, ELEMENTSOF(options)), 0);
        config_report_fixed(&table, &old, &f->settings, note_key);
        assert_string_equal(reported, "runtime.id limits.queue_limit ");
        config_clear(&table, &old);
}

static void a_prefix_may_not_be_where_answers_come_or_the_servers_own(void **state) {
        static const char *const options[] = { "nats.subject_prefix=$SYS", "nats.subject_prefix=_INBOX.x" };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                assert_int_equal(load(f, NULL, &options[i], 1), CONFIG_E_INVALID);
}

static void a_list_of_subjects_is_checked_one_by_one(void **state) {
        static const struct {
                const char *option;
                bool good;
        } cases[] = {
                { "topics.reply=", true },
                { "topics.reply=a.>,b", true },
                { "topics.reply=a,,b", false },
                { "topics.reply=a,", false },
                { "topics.reply=a..b", false },
                { "topics.reply=>.a", false },
                { "topics.reply=a, b", false },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if ((load(f, NULL, &cases[i].option, 1) == 0) != cases[i].good)
                        fail_msg("%s: %s", cases[i].option, f->error.text);
}

static void answers_come_below_inbox_and_nowhere_else(void **state) {
        static const struct {
                const char *option;
                bool good;
        } cases[] = {
                { "nats.inbox_prefix=", true },
                { "nats.inbox_prefix=_INBOX", true },
                { "nats.inbox_prefix=_INBOX.web.alice", true },
                { "nats.inbox_prefix=_INBOXES.x", false },
                { "nats.inbox_prefix=web.alice", false },
                { "nats.inbox_prefix=_INBOX.", false },
                { "nats.inbox_prefix=_INBOX.*", false },
                { "nats.inbox_prefix=_INBOX.a b", false },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if ((load(f, NULL, &cases[i].option, 1) == 0) != cases[i].good)
                        fail_msg("%s: %s", cases[i].option, f->error.text);
}

static void a_line_that_is_too_long_is_refused_and_one_that_is_only_long_is_not_cut(void **state) {
        Fixture *f = *state;
        char text[10000] = "[nats]\nurl = ";
        const size_t n = strlen(text);

        memset(text + n, 'x', 5000);
        write_file(f->file, text);
        assert_int_equal(load(f, f->file, NULL, 0), 0);
        assert_int_equal(strlen(f->settings.url), 5000);

        memset(text + n, 'x', 9000);
        write_file(f->file, text);
        assert_int_equal(load(f, f->file, NULL, 0), CONFIG_E_INVALID);
        assert_non_null(strstr(f->error.text, ":2: the line is longer than"));
}

static void a_missing_file_is_an_error_and_a_broken_drop_in_too(void **state) {
        Fixture *f = *state;

        assert_int_equal(load(f, f->file, NULL, 0), CONFIG_E_INVALID);
        assert_non_null(strstr(f->error.text, "No such file"));
        write_file(f->file, "");
        write_drop_in(f, "a.conf", "[limits]\nqueue_limit = x\n");
        assert_int_equal(load(f, f->file, NULL, 0), CONFIG_E_INVALID);
        assert_non_null(strstr(f->error.text, "test.conf.d/a.conf:2: limits.queue_limit"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        without_a_file_the_defaults_hold_and_the_environment_wins_over_them, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_file_then_drop_ins_by_name_then_options_win, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_later_file_wins_and_may_be_missing_where_a_minus_says_so, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_relative_secret_lies_where_the_service_manager_put_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_wrong_is_named_by_file_line_and_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        addresses_to_listen_on_may_be_of_both_families_or_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_wrong_option_is_named_without_its_value, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_reload_names_the_keys_that_it_cant_change, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_list_of_subjects_is_checked_one_by_one, set_up, tear_down),
                cmocka_unit_test_setup_teardown(answers_come_below_inbox_and_nowhere_else, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_prefix_may_not_be_where_answers_come_or_the_servers_own, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_line_that_is_too_long_is_refused_and_one_that_is_only_long_is_not_cut, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_missing_file_is_an_error_and_a_broken_drop_in_too, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
