/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Log view: lines of several processes on one terminal, each under its name; and the last ones kept, for when nobody
 * wanted to see them and then something failed.
 */

#include "ctl/screen.h"

/* What a line of a daemon of ours or of nats-server is made of; parts that it doesn't have are empty. */
typedef struct LogParts {
        char time[16];    /* "04:41:21.903" */
        char level[10];   /* "INFO", "ERR" */
        const char *text; /* borrowed from the line */
        Colour colour;    /* of the level */
        bool is_server;   /* nats-server's form */
} LogParts;

void log_parts(const char *line, LogParts *ret);

typedef enum LogChoice {
        LOG_VIEW_AUTO, /* all but what nats-server says when all is well */
        LOG_VIEW_ALL,
        LOG_VIEW_NONE,
        LOG_VIEW_ERRORS, /* what the daemons say at ERROR and above: the default beside a COMMAND */
} LogChoice;

typedef struct LogView LogView;

/* `screen` is borrowed; lines go to `file`. Returns NULL when out of memory. */
LogView *log_view_new(const Screen *screen, FILE *file, LogChoice choice);
LogView *log_view_free(LogView *view);

DEFINE_CLEANUP(LogView *, log_view_free);

/* `name` has the `index`th colour. Both are borrowed until the view is freed. */
void log_view_line(LogView *view, const char *name, size_t index, const char *line);

/* Those of the last lines that were not shown. */
void log_view_show_kept(LogView *view);
