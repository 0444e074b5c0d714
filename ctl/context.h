/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Context: a named set of NATS settings, so that nobody types addresses and credentials twice.
 *
 * Each is a file of the form of a daemon's configuration with the keys of its section nats, at
 * $XDG_CONFIG_HOME/compozy/contexts/NAME.conf (~/.config/...), mode 0600; the file `context` beside the directory holds
 * the name of the current one. Order, later wins: defaults, NATS_URL, the context, --server and -o. The current context
 * gives way to NATS_URL; one named by --context or COMPOZY_CONTEXT does not.
 */

#include "common/config.h"
#include "ctl/client.h"
#include "proto/id.h"

extern const ConfigTable ctl_config;

#define CONTEXT_PATH_MAX 4096

/* Where the file of a context is, or with NULL the directory of all. Returns 0 or -errno (-ENOENT: no home). */
int context_path(const char *name, char *ret, size_t size);

typedef struct ContextName {
        char text[ID_MAX + 1];
} ContextName;

/* All there are, sorted. *ret is the caller's to free. Returns 0 or -errno (none saved yet: 0 of them). */
int context_names(ContextName **ret, size_t *ret_n);

/* Returns 0, or CONFIG_E_INVALID with a sentence. */
int context_check_name(const char *name, ConfigError *ret_error);

/* The current context's name into `ret` of ID_MAX + 1; "" when there is none. */
void context_current(char *ret);
int context_set_current(const char *name); /* NULL: none. Returns 0 or -errno */

typedef struct ContextRequest {
        const char *context;        /* --context; NULL: COMPOZY_CONTEXT, else the current one */
        const char *server;         /* --server; NULL: not given */
        const char *const *options; /* -o */
        size_t n_options;
} ContextRequest;

/* Returns 0, CONFIG_E_INVALID or -errno, with a sentence in `ret_error` always. ctl_settings_done() is due on 0. */
int context_load(const ContextRequest *request, CtlSettings *ret, ConfigError *ret_error);
void ctl_settings_done(CtlSettings *settings);

/* Writes the settings that differ from the defaults. Returns 0 or -errno (-EEXIST unless `overwrite`;
 * -EINVAL: a value that no line of a file can hold). */
int context_save(const char *name, const CtlSettings *settings, bool overwrite);
int context_delete(const char *name); /* 0 or -errno */
