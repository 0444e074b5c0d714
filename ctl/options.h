/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Options: reads a command line by the descriptors of ctl/command.h.
 *
 * Options may stand anywhere behind the words of the command; "--" ends them. Errors are one sentence that names the
 * option, the value and the limit.
 */

#include "ctl/command.h"

typedef struct OptionsError {
        char text[512];
} OptionsError;

/* Fills a struct of zeroes with the defaults of a table. */
void options_defaults(const Option *table, void *ret);

typedef struct CommandLine {
        const Command *command; /* NULL: none was named, or only --help or --version */
        const char *group; /* "agent" of "agent --help", which is no command but begins some */
        bool wants_help, wants_version;
        void *options; /* the command's struct, owned */
        const char **words;
        size_t n_words; /* owned array of borrowed texts; as long as the command has arguments, or longer */
        size_t n_behind_dashes;
} CommandLine;

/*
 * `globals` is the struct of global_options, already with its defaults. Returns 0, CTL_EXIT_USAGE with a sentence in
 * `ret_error`, or -ENOMEM. command_line_done() is due in either case.
 */
int options_parse(int argc, char **argv, void *globals, CommandLine *ret, OptionsError *ret_error);
void command_line_done(CommandLine *line);

/* "500ms", "30s", "5m", "2h", "1.5" (seconds). Returns 0 or -EINVAL. */
int parse_duration(const char *text, uint64_t *ret_usec);
