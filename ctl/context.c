/* SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/command.h"
#include "ctl/context.h"
#include "proto/buffer.h"

#define SUFFIX ".conf"

static const ConfigKey keys[] = {
        NATS_KEYS(CtlSettings, daemon),
};

const ConfigTable ctl_config = { keys, ELEMENTSOF(keys) };

static int config_directory(char *ret, size_t size) {
        const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        int n;

        if (base && base[0] == '/')
                n = snprintf(ret, size, "%s/compozy", base);
        else if (home && home[0] == '/')
                n = snprintf(ret, size, "%s/.config/compozy", home);
        else
                return -ENOENT;
        return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int context_path(const char *name, char *ret, size_t size) {
        char directory[CONTEXT_PATH_MAX - ID_MAX - 32];
        int n, r = config_directory(directory, sizeof(directory));

        if (r < 0)
                return r;
        n = name ? snprintf(ret, size, "%s/contexts/%s" SUFFIX, directory, name)
                 : snprintf(ret, size, "%s/contexts", directory);
        return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int context_check_name(const char *name, ConfigError *ret_error) {
        if (id_is_valid(slice_of(name)))
                return 0;
        (void)snprintf(ret_error->text, sizeof(ret_error->text),
                "context \"%.80s\": a name is 1-64 characters of A-Z a-z 0-9 _ -", name);
        return CONFIG_E_INVALID;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

/* What the name of a file says without its suffix; empty: it is no context's. */
static Slice name_of(const struct dirent *entry) {
        const size_t n = strlen(entry->d_name), n_suffix = strlen(SUFFIX);
        const Slice name = { entry->d_name, n > n_suffix ? n - n_suffix : 0 };

        return strcmp(entry->d_name + name.size, SUFFIX) == 0 && id_is_valid(name) ? name : SLICE("");
}

static int is_context(const struct dirent *entry) {
        return name_of(entry).size > 0;
}

int context_names(ContextName **ret, size_t *ret_n) {
        char directory[CONTEXT_PATH_MAX];
        struct dirent **entries = NULL;
        ContextName *names = NULL;
        int n, r = context_path(NULL, directory, sizeof(directory));

        if (r < 0)
                return r;
        n = scandir(directory, &entries, is_context, by_name);
        if (n < 0 && errno != ENOENT)
                return -errno;
        if (n > 0)
                names = calloc((size_t)n, sizeof(*names));
        for (int i = 0; i < n; i++) {
                if (names)
                        (void)snprintf(names[i].text, sizeof(names[i].text), "%.*s", SLICE_ARG(name_of(entries[i])));
                free(entries[i]);
        }
        free(entries);
        if (n > 0 && !names)
                return -ENOMEM;
        *ret = names;
        *ret_n = (size_t)MAX_OF(n, 0);
        return 0;
}

static int current_path(char *ret, size_t size) {
        char directory[CONTEXT_PATH_MAX - 32];
        int r = config_directory(directory, sizeof(directory));

        if (r == 0)
                (void)snprintf(ret, size, "%s/context", directory);
        return r;
}

void context_current(char *ret) {
        char path[CONTEXT_PATH_MAX];
        FILE *file = current_path(path, sizeof(path)) == 0 ? fopen(path, "re") : NULL;

        ret[0] = '\0';
        if (!file)
                return;
        if (!fgets(ret, ID_MAX + 1, file))
                ret[0] = '\0';
        (void)fclose(file);
        ret[strcspn(ret, "\r\n")] = '\0';
        if (!id_is_valid(slice_of(ret)))
                ret[0] = '\0';
}

/* Makes the directories that lead to `path`. */
static int make_directories(const char *path) {
        char part[CONTEXT_PATH_MAX];

        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
                if (mkdir(part, 0700) < 0 && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

/* Whole or not at all: a new file takes the old one's place, unless it must not be there. */
static int write_file(const char *path, const char *text, size_t size, bool overwrite) {
        char temporary[CONTEXT_PATH_MAX + 8];
        int fd, r = make_directories(path);

        if (r < 0)
                return r;
        if (!overwrite && access(path, F_OK) == 0)
                return -EEXIST;
        (void)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
        fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
        if (fd < 0)
                return -errno;
        if (write(fd, text, size) != (ssize_t)size)
                r = errno > 0 ? -errno : -EIO;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary);
        return r;
}

int context_set_current(const char *name) {
        char path[CONTEXT_PATH_MAX], text[ID_MAX + 2];
        int r = current_path(path, sizeof(path));

        if (r < 0)
                return r;
        if (!name)
                return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
        (void)snprintf(text, sizeof(text), "%s\n", name);
        return write_file(path, text, strlen(text), /* overwrite= */ true);
}

/* loading */

static const char *wanted_context(const ContextRequest *request, char *current) {
        const char *named = getenv("COMPOZY_CONTEXT"), *url = getenv("NATS_URL");

        if (request->context)
                return request->context;
        if (named && named[0] != '\0')
                return named;
        if (url && url[0] != '\0')
                return NULL;
        context_current(current);
        return current[0] != '\0' ? current : NULL;
}

int context_load(const ContextRequest *request, CtlSettings *ret, ConfigError *ret_error) {
        char current[ID_MAX + 1], path[CONTEXT_PATH_MAX];
        const char *name = wanted_context(request, current), *options[TEXT_LIST_MAX + 1];
        _cleanup_(buffer_done) Buffer server = {};
        size_t n = 0;
        int r;

        if (name && context_check_name(name, ret_error) != 0)
                return CONFIG_E_INVALID;
        if (name) {
                r = context_path(name, path, sizeof(path));
                if (r == 0 && access(path, R_OK) < 0)
                        r = -errno;
                if (r < 0) {
                        (void)snprintf(ret_error->text, sizeof(ret_error->text),
                                "context %s: %.300s: %s; `compozyctl context list` shows those there are", name, path,
                                strerror(-r));
                        return r;
                }
        }
        if (request->server) {
                buffer_printf(&server, "nats.url=%s", request->server);
                buffer_append_char(&server, '\0');
                if (server.failed)
                        return -ENOMEM;
                options[n++] = server.data;
        }
        for (size_t i = 0; i < request->n_options && n < ELEMENTSOF(options); i++)
                options[n++] = request->options[i];

        *ret = (CtlSettings){ 0 };
        r = config_load(&ctl_config, name ? path : NULL, options, n, ret, ret_error);
        if (r == 0 && name) {
                ret->context = strdup(name);
                if (!ret->context) {
                        ctl_settings_done(ret);
                        r = -ENOMEM;
                }
        }
        return r;
}

void ctl_settings_done(CtlSettings *settings) {
        free(settings->context);
        config_clear(&ctl_config, settings);
        *settings = (CtlSettings){ 0 };
}

/* saving */

/* Would a file with this value be read as it was written? (The configuration has no control characters.) */
static bool can_be_written(const char *value) {
        for (const char *c = value; *c; c++)
                if ((*c == ';' || *c == '#') && (c == value || c[-1] == ' ' || c[-1] == '\t'))
                        return false;
        return value[0] == '\0' || (value[0] != ' ' && value[strlen(value) - 1] != ' ');
}

int context_save(const char *name, const CtlSettings *settings, bool overwrite) {
        _cleanup_(buffer_done) Buffer text = {};
        char path[CONTEXT_PATH_MAX];
        int r = context_path(name, path, sizeof(path));

        if (r < 0)
                return r;
        buffer_printf(&text, "; compozyctl context %s\n[nats]\n", name);
        for (size_t i = 0; i < ctl_config.n_keys; i++) {
                const ConfigKey *key = &ctl_config.keys[i];
                const void *field = (const char *)settings + key->offset;

                if (key->kind == CONFIG_U64)
                        continue; /* limits of a connection are no property of a place */
                if (!can_be_written(*(char *const *)field))
                        return -EINVAL;
                if (strcmp(*(char *const *)field, key->fallback) != 0)
                        buffer_printf(&text, "%s = %s\n", key->name, *(char *const *)field);
        }
        return text.failed ? -ENOMEM : write_file(path, text.data, text.size, overwrite);
}

int context_delete(const char *name) {
        char path[CONTEXT_PATH_MAX], current[ID_MAX + 1];
        int r = context_path(name, path, sizeof(path));

        if (r == 0 && unlink(path) < 0)
                r = -errno;
        context_current(current);
        if (r == 0 && strcmp(current, name) == 0)
                r = context_set_current(NULL);
        return r;
}
