/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Configuration: an INI file, drop-ins, -o options, all through one table of keys.
 *
 * Order, later wins: the table's defaults (as text, through the parser), the environment variable of a key, FILE,
 * what ends in .conf in the directory FILE.d in the order of the names, the next FILE and its drop-ins, the -o options.
 * A FILE that begins with "-" need not be there ("-/etc/x.conf"), as in systemd's units. A key that the table does
 * not have, or a value that its parser refuses, is an error that names file, line and key. In a file, the rest of a
 * line from a ; or # that begins it or follows white space is a comment.
 */

#include "proto/cc.h"

typedef enum ConfigKind {
        CONFIG_STRING,  /* char *, owned by the struct */
        CONFIG_SECRET,  /* char *: path of a file with a credential. A relative one lies in $CREDENTIALS_DIRECTORY where
                           the service manager gives one (LoadCredential=), and the text says so */
        CONFIG_U64,     /* uint64_t, `min` to `max` */
        CONFIG_REAL,    /* double, `min` to `max` */
        CONFIG_BOOL,    /* bool: yes/no, true/false, on/off, 1/0 */
        CONFIG_CHOICE,  /* unsigned: index in `choices` (NULL-terminated) */
        CONFIG_ID,      /* char *: an id (proto/id.h), or "" */
        CONFIG_LABELS,  /* char *: "name=value,name=value", kept as text, checked */
        CONFIG_LISTEN,  /* char *: ADDRESS:PORT or none */
        CONFIG_SUBJECT, /* char *: NATS subject tokens, no wildcards, nothing reserved ($..., _INBOX...) */
        CONFIG_PATTERNS, /* char *: NATS subject patterns with commas between them, or "" */
        CONFIG_INBOX,    /* char *: the same, but _INBOX or below it; or "" */
} ConfigKind;

typedef struct ConfigKey {
        const char *section, *name;
        ConfigKind kind;
        bool at_start; /* a new value takes effect with the next start only: config_report_fixed() */
        size_t offset;
        const char *fallback; /* the default, as text */
        const char *help;     /* one line, for --help and the manual */
        uint64_t min, max;    /* max 0: no limit */
        const char *const *choices;
        const char *environment; /* a variable that takes the place of the default; NULL: none */
} ConfigKey;

typedef struct ConfigTable {
        const ConfigKey *keys;
        size_t n_keys;
} ConfigTable;

typedef struct ConfigError {
        char text[512]; /* "FILE:LINE: section.key: what is wrong" */
} ConfigError;

enum {
        CONFIG_E_OK,

        CONFIG_E_INVALID, /* refused; the ConfigError says where and why */
};

/*
 * Fills `ret` (a struct of zeroes). `file` NULL: only defaults and options. `options` are "section.key=value".
 * On failure nothing is left in `ret`. Returns 0, CONFIG_E_INVALID, -errno.
 */
int config_load(const ConfigTable *table, const char *file, const char *const *options, size_t n_options, void *ret,
        ConfigError *ret_error);

/* The same, of several files. */
int config_load_files(const ConfigTable *table, const char *const *files, size_t n_files, const char *const *options,
        size_t n_options, void *ret, ConfigError *ret_error);

/* Names each key marked at_start ("section.key") whose values in two structs differ: a reload can't change it. */
void config_report_fixed(const ConfigTable *table, const void *old, const void *new, void (*report)(const char *key));

/* Frees the strings and zeroes them. */
void config_clear(const ConfigTable *table, void *config);

/* The table as text: "section.key=DEFAULT  help (what it may be) [what else there is to know]", for --help. */
void config_print_help(const ConfigTable *table, int fd);
