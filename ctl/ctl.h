/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Ctl: what every subcommand gets: the options that all of them have, the connection, and how to say something.
 *
 * A function that returns a CtlExit has told the user what went wrong when that is not CTL_EXIT_OK; the caller passes
 * it up. One thread.
 */

#include <jansson.h>

#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/screen.h"

typedef struct GlobalOptions {
        const char *context, *server;
        TextList settings; /* -o section.key=value */
        uint64_t timeout_usec;
        bool json, quiet;
        unsigned colour; /* ColourChoice */
} GlobalOptions;

extern const Option global_options[];

struct Ctl {
        GlobalOptions global;
        Screen screen;
        CtlSettings settings; /* of the connection; loaded with the first ctl_connect() */
        Client *client;       /* NULL: not connected yet */
};

/* Loads the settings without connecting (for what only shows or passes them on). */
CtlExit ctl_load_settings(Ctl *ctl);

/* Connects, unless it is connected. */
CtlExit ctl_connect(Ctl *ctl);

/*
 * Asks `peer` for `verb` and waits for --timeout. `body` may be NULL ({}) and is taken. On CTL_EXIT_OK *ret_result
 * is the `result` of its answer, the caller's to free; NULL: nobody wants it.
 */
CtlExit ctl_ask(Ctl *ctl, Peer peer, const char *verb, json_t *body, json_t **ret_result);

/*
 * All pages of a list: asks again with `after`, and returns the first answer with the elements of the array `key`
 * of all of them. At most `limit` elements; 0: all. `body` is taken.
 */
CtlExit ctl_list(Ctl *ctl, Peer peer, const char *verb, json_t *body, const char *key, size_t limit, json_t **ret);

/* An error when `id` is out of grammar, unless it is NULL; `where` is "AGENT", "--workflow" or the like. */
CtlExit ctl_check_id(const Ctl *ctl, const char *where, const char *id);

/* Where an agent is: asks a dispatcher. *ret_runtime_id is the caller's to free. More than one place is an error that
 * says to name one with --runtime. */
CtlExit ctl_locate(Ctl *ctl, const char *agent_id, const char *runtime_id, char **ret_runtime_id);

/* Prints `value` on stdout as --json prints it; a line of its own. `value` is borrowed. */
CtlExit ctl_print_json(const Ctl *ctl, const json_t *value);

/* The same of a JSON text, which is printed as it stands. */
CtlExit ctl_print_text(const Ctl *ctl, Slice text);

/* json_dumps() with real numbers as short as they can be; free() it. NULL: memory is out. */
char *ctl_json_text(const json_t *value, size_t flags);

/* The same for what was measured here: reals have nine digits, instead of the seventeen that keep every bit of them. */
CtlExit ctl_print_figures(const Ctl *ctl, const json_t *value);

/* "compozyctl: <sentence>" on stderr; with --json {"error":{"code","message"}}. Returns `status`. */
CtlExit ctl_fail(const Ctl *ctl, CtlExit status, const char *format, ...) _printf_(3, 4);

/* Says why a request failed and what to do next; returns the status that belongs to it. */
CtlExit ctl_fail_answer(const Ctl *ctl, const Answer *answer);

/* Nobody listens on `subject`, where `peer` should. */
CtlExit ctl_fail_nobody(const Ctl *ctl, Peer peer, const char *subject);

/* A line on stderr for a person, unless --quiet or --json; what strangers say is made harmless. */
void ctl_note(const Ctl *ctl, const char *format, ...) _printf_(2, 3);

/* A line of an answer on stdout, with what strangers say made harmless. */
void ctl_say(const char *format, ...) _printf_(1, 2);

/* Prints it on stdout, as wide as the terminal is. */
CtlExit ctl_print_table(const Ctl *ctl, const Table *table);

/* Reads "JSON", "@file" or "-" (stdin) as one JSON value. Errors name the place and what is wrong. */
CtlExit ctl_read_json(const Ctl *ctl, const char *word, json_t **ret);

/*
 * The same as it stands there, in *ret_text, which is the caller's to free. *ret is NULL where only numbers are beyond
 * what jansson has a place for, such as 12345678901234567890.
 */
CtlExit ctl_read_json_text(const Ctl *ctl, const char *word, json_t **ret, char **ret_text, size_t *ret_size);

/* The same as bytes, whatever they are. *ret is the caller's to free. */
CtlExit ctl_read_bytes(const Ctl *ctl, const char *word, char **ret, size_t *ret_size);

/* Ctrl-C asks a long command to end: it is checked in loops, and ends waits early. */
bool ctl_is_interrupted(void);
void ctl_catch_interrupts(void);

/* For what is to be cleaned up after one: it may wait again. The next Ctrl-C ends us at once. */
void ctl_forget_interrupt(void);
