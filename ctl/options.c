/* SPDX-License-Identifier: MIT */

/*
 * getopt_long(3) does the reading; its tables are made from the descriptors. The words of a command come first, but for
 * global options before them: "compozyctl --json agent show greeter".
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/ctl.h"
#include "ctl/options.h"

#define OPTIONS_MAX 64
#define CODE_FIRST 256 /* above every letter */
#define COMMAND_WORDS_MAX 2

int parse_duration(const char *text, uint64_t *ret_usec) {
        static const struct {
                const char *name;
                double usec;
        } units[] = {
                { "us", 1 },
                { "ms", USEC_PER_MSEC },
                { "s", USEC_PER_SEC },
                { "", USEC_PER_SEC },
                { "m", 60.0 * USEC_PER_SEC },
                { "min", 60.0 * USEC_PER_SEC },
                { "h", 3600.0 * USEC_PER_SEC },
                { "d", 86400.0 * USEC_PER_SEC },
        };
        char *end;
        double value;

        if (text[0] < '0' || text[0] > '9')
                return -EINVAL;
        value = strtod(text, &end);
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strcmp(end, units[i].name) == 0 && value * units[i].usec < (double)(UINT64_MAX / 2)) {
                        *ret_usec = (uint64_t)(value * units[i].usec);
                        return 0;
                }
        return -EINVAL;
}

static int refuse(OptionsError *error, const char *format, ...) _printf_(2, 3);

static int refuse(OptionsError *error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
        va_end(arguments);
        return CTL_EXIT_USAGE;
}

static int set_number(const Option *option, void *field, const char *text, OptionsError *error) {
        char *end;
        unsigned long long value;

        errno = 0;
        value = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
                return refuse(error, "--%s: \"%s\" is no number", option->name, text);
        if (value < option->min || (option->max > 0 && value > option->max))
                return option->max > 0
                               ? refuse(error, "--%s: %llu is not within %" PRIu64 " to %" PRIu64, option->name, value,
                                         option->min, option->max)
                               : refuse(error, "--%s: %llu is below %" PRIu64, option->name, value, option->min);
        *(uint64_t *)field = value;
        return 0;
}

static int set_duration(const Option *option, void *field, const char *text, OptionsError *error) {
        char shown[2][SHOWN_MAX];
        uint64_t usec;

        if (parse_duration(text, &usec) < 0)
                return refuse(error, "--%s: \"%s\" is no duration: 500ms, 30s, 5m or 2h are", option->name, text);
        if (usec < option->min || (option->max > 0 && usec > option->max))
                return refuse(error, "--%s: %s is not within %s to %s", option->name, text,
                        show_duration(shown[0], option->min), show_duration(shown[1], option->max));
        *(uint64_t *)field = usec;
        return 0;
}

static int set_choice(const Option *option, void *field, const char *text, OptionsError *error) {
        char known[256] = "";

        for (unsigned i = 0; option->choices[i]; i++) {
                if (strcmp(option->choices[i], text) == 0) {
                        *(unsigned *)field = i;
                        return 0;
                }
                (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i > 0 ? ", " : "",
                        option->choices[i]);
        }
        return refuse(error, "--%s: \"%s\" is none of %s", option->name, text, known);
}

static int add_to_list(const Option *option, void *field, const char *text, OptionsError *error) {
        TextList *list = field;

        if (list->n_items == TEXT_LIST_MAX)
                return refuse(error, "--%s: more than %d times", option->name, TEXT_LIST_MAX);
        list->items[list->n_items++] = text;
        return 0;
}

static int set(const Option *option, void *options, const char *text, OptionsError *error) {
        void *field = (char *)options + option->offset;

        switch (option->kind) {
        case OPTION_FLAG:
                *(bool *)field = true;
                return 0;
        case OPTION_TEXT:
                *(const char **)field = text;
                return 0;
        case OPTION_LIST:
                return add_to_list(option, field, text, error);
        case OPTION_NUMBER:
                return set_number(option, field, text, error);
        case OPTION_DURATION:
                return set_duration(option, field, text, error);
        case OPTION_CHOICE:
                return set_choice(option, field, text, error);
        }
        return 0;
}

void options_defaults(const Option *table, void *ret) {
        OptionsError error;

        for (const Option *option = table; option && option->name; option++)
                if (option->fallback) {
                        int r = set(option, ret, option->fallback, &error);

                        assert(r == 0);
                        (void)r;
                }
}

/* one round of getopt over a part of the command line */

typedef struct Reader {
        const Option *options[OPTIONS_MAX]; /* by code - CODE_FIRST */
        void *structs[OPTIONS_MAX];
        bool is_given[OPTIONS_MAX];
        size_t n_options;
        struct option known[OPTIONS_MAX + 3];
        char letters[OPTIONS_MAX * 2 + 4];
        bool wants_help, wants_version;
} Reader;

static void reader_add(Reader *reader, const Option *table, void *options) {
        for (const Option *option = table; option && option->name; option++) {
                const size_t i = reader->n_options++, n = strlen(reader->letters);

                assert(i < OPTIONS_MAX);
                reader->options[i] = option;
                reader->structs[i] = options;
                reader->known[i] = (struct option){ option->name,
                        option->kind == OPTION_FLAG ? no_argument : required_argument, NULL, CODE_FIRST + (int)i };
                if (option->letter)
                        (void)snprintf(reader->letters + n, sizeof(reader->letters) - n, "%c%s", option->letter,
                                option->kind == OPTION_FLAG ? "" : ":");
        }
}

static int reader_find(const Reader *reader, int code) {
        if (code >= CODE_FIRST)
                return code - CODE_FIRST;
        for (size_t i = 0; i < reader->n_options; i++)
                if (reader->options[i]->letter == code)
                        return (int)i;
        return -1;
}

static int complain(const char *word, int code, OptionsError *error) {
        if (code == ':')
                return refuse(error, "option %s needs a value", word);
        return refuse(error, "option %s is not known here; --help lists those that are", word);
}

static int reader_set(Reader *reader, size_t i, const char *text, OptionsError *error) {
        reader->is_given[i] = true;
        return set(reader->options[i], reader->structs[i], text, error);
}

/* What a command has as its own default of a global option, unless that was given before the command's name. */
static int reader_default(Reader *reader, const char *name, const char *text, OptionsError *error) {
        for (size_t i = 0; text && i < reader->n_options; i++)
                if (strcmp(reader->options[i]->name, name) == 0 && !reader->is_given[i])
                        return set(reader->options[i], reader->structs[i], text, error);
        return 0;
}

/* Leaves optind at the first word that is no option. */
static int reader_run(Reader *reader, int argc, char **argv, OptionsError *error) {
        int c, r = 0;

        optind = 0; /* glibc: start over */
        opterr = 0;
        while (r == 0 && (c = getopt_long(argc, argv, reader->letters, reader->known, NULL)) >= 0) {
                if (c == 'h')
                        reader->wants_help = true;
                else if (c == 'V')
                        reader->wants_version = true;
                else if (c == '?' || c == ':')
                        r = complain(argv[optind - 1], c, error);
                else
                        r = reader_set(reader, (size_t)reader_find(reader, c), optarg, error);
        }
        return r;
}

static void reader_init(Reader *reader, const char *mode, const Option *table, void *options, void *globals) {
        *reader = (Reader){ 0 };
        (void)snprintf(reader->letters, sizeof(reader->letters), "%shV", mode);
        reader_add(reader, global_options, globals);
        reader_add(reader, table, options);
        reader->known[reader->n_options] = (struct option){ "help", no_argument, NULL, 'h' };
        reader->known[reader->n_options + 1] = (struct option){ "version", no_argument, NULL, 'V' };
}

/* commands */

static bool is_help(const char *word) {
        return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0;
}

static int unknown_command(char **words, int n_words, OptionsError *error) {
        char known[256] = "";
        const size_t size = strlen(words[0]);

        for (size_t i = 0; commands[i]; i++)
                if (strncmp(commands[i]->name, words[0], size) == 0 && commands[i]->name[size] == ' ')
                        (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                                known[0] ? ", " : "", commands[i]->name + size + 1);
        if (known[0] && n_words == 1)
                return refuse(error, "%s needs one of %s", words[0], known);
        if (known[0])
                return refuse(error, "%s %s: no such command; %s has %s", words[0], words[1], words[0], known);
        return refuse(error, "%s: no such command; `compozyctl help` lists them", words[0]);
}

/* The text that follows a failed look for a choice. */
static int check_choice(const Argument *argument, const char *word, OptionsError *error) {
        char known[256] = "";

        for (size_t i = 0; argument->choices && argument->choices[i]; i++) {
                if (strcmp(argument->choices[i], word) == 0)
                        return 0;
                (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i > 0 ? ", " : "",
                        argument->choices[i]);
        }
        return argument->choices ? refuse(error, "%s: \"%s\" is none of %s", argument->name, word, known) : 0;
}

static int take_words(CommandLine *line, char **words, size_t n_words, OptionsError *error) {
        const Argument *argument = line->command->arguments;
        size_t n = 0, n_arguments = 0;
        int r = 0;

        while (argument && argument[n_arguments].name)
                n_arguments++;
        line->words = calloc(MAX_OF(n_words, n_arguments) + 1, sizeof(*line->words));
        if (!line->words)
                return -ENOMEM;
        for (; r == 0 && n < n_words; n++) {
                const bool is_more = n_arguments > 0 && argument[n_arguments - 1].is_repeated && n >= n_arguments;

                if (n >= n_arguments && !is_more)
                        return refuse(error, "%s takes no word \"%s\"%s", line->command->name, words[n],
                                n_arguments > 0 ? " behind its others" : "");
                r = check_choice(&argument[is_more ? n_arguments - 1 : n], words[n], error);
                line->words[n] = words[n];
        }
        if (r == 0 && n < n_arguments && !argument[n].is_optional)
                return refuse(error, "%s needs %s; `compozyctl %s --help` says more", line->command->name,
                        argument[n].name, line->command->name);
        line->n_words = MAX_OF(n, n_arguments);
        return r;
}

/* Before getopt moves the words: it forgets which of them stood before "--". */
static size_t count_behind_dashes(int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (strcmp(argv[i], "--") == 0)
                        return (size_t)(argc - i - 1);
        return 0;
}

int options_parse(int argc, char **argv, void *globals, CommandLine *ret, OptionsError *ret_error) {
        Reader reader;
        size_t n_used = 0, n_behind_dashes;
        int r, first;

        *ret = (CommandLine){ 0 };
        reader_init(&reader, "+:", NULL, NULL, globals);
        r = reader_run(&reader, argc, argv, ret_error);
        ret->wants_help = reader.wants_help;
        ret->wants_version = reader.wants_version;
        if (r != 0 || ret->wants_version || optind == argc)
                return r;

        first = optind;
        ret->command = command_find((const char *const *)argv + first, (size_t)(argc - first), &n_used);
        if (!ret->command && command_begins(argv[first]) &&
                (ret->wants_help || (argc - first == 2 && is_help(argv[first + 1])))) {
                ret->group = argv[first];
                ret->wants_help = true;
        }
        if (!ret->command)
                return ret->wants_help ? 0 : unknown_command(argv + first, argc - first, ret_error);
        ret->options = calloc(1, ret->command->options_size + 1);
        if (!ret->options)
                return -ENOMEM;
        options_defaults(ret->command->options, ret->options);
        r = reader_default(&reader, "timeout", ret->command->timeout, ret_error);
        assert(r == 0);

        /* getopt takes the word before the first for the program's name */
        first += (int)n_used;
        reader_init(&reader, ":", ret->command->options, ret->options, globals);
        n_behind_dashes = count_behind_dashes(argc - first, argv + first);
        r = reader_run(&reader, argc - first + 1, argv + first - 1, ret_error);
        if (optind > 1 && strcmp(argv[first - 1 + optind - 1], "--") == 0)
                ret->n_behind_dashes = n_behind_dashes;
        ret->wants_help |= reader.wants_help;
        if (r != 0 || ret->wants_help)
                return r;
        return take_words(ret, argv + first - 1 + optind, (size_t)(argc - first + 1 - optind), ret_error);
}

void command_line_done(CommandLine *line) {
        free(line->options);
        free(line->words);
        *line = (CommandLine){ 0 };
}
