/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Command: what describes one subcommand of compozyctl: its words, its options, its help, what it runs.
 *
 * Each is a const descriptor in a file of its own (ctl/cmd_*.c), named in the table of ctl/commands.c. Parsing, --help,
 * completion and the lint that holds the manual page to them all read the same descriptors, so an option exists when
 * its line is there, and not before.
 */

#include "proto/cc.h"

/* Exit statuses of compozyctl; compozyctl(1) lists them. Lower ones are more general. */
typedef enum CtlExit {
        CTL_EXIT_OK = 0,
        CTL_EXIT_FAILURE = 1,      /* anything that has no number of its own */
        CTL_EXIT_USAGE = 2,        /* an unknown option, a value out of its limits */
        CTL_EXIT_UNREACHABLE = 3,  /* no connection to NATS, or NATS refused it */
        CTL_EXIT_NOBODY = 4,       /* no dispatcher, or not that runtime, listens */
        CTL_EXIT_TIMEOUT = 5,      /* no answer in time */
        CTL_EXIT_REFUSED = 6,      /* the answer was an error; its code is printed */
        CTL_EXIT_AGENT_ERROR = 7,  /* the agent ran and reported an error */
        CTL_EXIT_INTERRUPTED = 130 /* Ctrl-C */
} CtlExit;

/* What a word stands for: how completion finds candidates for it. */
typedef enum WordKind {
        WORD_ANY,
        WORD_AGENT,   /* asked of a dispatcher */
        WORD_RUNTIME, /* likewise */
        WORD_CONTEXT,
        WORD_FILE,
        WORD_DIRECTORY,
        WORD_COMMAND,
} WordKind;

typedef enum OptionKind {
        OPTION_FLAG,     /* bool */
        OPTION_TEXT,     /* const char *, borrowed from the command line; NULL: not given */
        OPTION_LIST,     /* TextList: may be given again */
        OPTION_NUMBER,   /* uint64_t, `min` to `max` */
        OPTION_DURATION, /* uint64_t in microseconds: "500ms", "30s", "5m", "2h", a bare number is seconds */
        OPTION_CHOICE,   /* unsigned: index in `choices` */
} OptionKind;

#define TEXT_LIST_MAX 64

typedef struct TextList {
        const char *items[TEXT_LIST_MAX];
        size_t n_items;
} TextList;

typedef struct Option {
        const char *name; /* without its dashes; NULL ends a table */
        char letter;      /* 0: none */
        OptionKind kind;
        size_t offset;        /* of the value in the command's struct of options */
        const char *value;    /* what --help calls it: "DURATION" */
        const char *help;     /* one line, no full stop */
        const char *fallback; /* the default, as it would be typed; NULL: zeroes */
        uint64_t min, max;    /* OPTION_NUMBER and _DURATION (microseconds); max 0: no limit */
        const char *const *choices;
        WordKind words;
} Option;

typedef struct Argument {
        const char *name; /* "AGENT"; NULL ends a table */
        const char *help; /* one line */
        WordKind words;
        const char *const *choices; /* NULL: anything */
        bool is_optional;           /* only optional ones follow */
        bool is_repeated;           /* the last one */
} Argument;

typedef struct Ctl Ctl;
typedef struct Command Command;

/* Everything is borrowed, until main() returns. */
typedef struct Invocation {
        const Command *command;
        const char *const *words; /* the arguments, n_words of them; NULL where an optional one was left out */
        size_t n_words;
        size_t n_behind_dashes; /* so many of the last ones stood behind "--" */
        const void *options;    /* the command's struct */
} Invocation;

struct Command {
        const char *name;    /* "status", "agent create" */
        const char *summary; /* one line, no full stop */
        const char *details; /* paragraphs for --help and the manual; NULL: the summary says it all */
        const char *example; /* a line or more as one would type them, without a prompt; NULL: none */
        const Argument *arguments;
        const Option *options;
        size_t options_size;
        const char *timeout; /* the default of --timeout here, as it would be typed; NULL: that of all others */
        CtlExit (*run)(Ctl *ctl, const Invocation *invocation);
        bool is_hidden; /* for scripts of our own */
};

extern const Command *const commands[]; /* ends with NULL, in the order of `compozyctl help` */

/* Is it the first of two words of some command? */
bool command_begins(const char *word);

/* By its words, as far as they are one: "agent", "create" -> "agent create". Returns NULL when there is none. */
const Command *command_find(const char *const *words, size_t n_words, size_t *ret_n_used);
