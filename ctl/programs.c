/* SPDX-License-Identifier: MIT */

/*
 * Looked at with stat() and not with inotify: editors replace files, and which directories matter changes with each
 * definition. A few files twice a second cost nothing.
 */

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/programs.h"
#include "proto/id.h"

#define FILES_MAX 512 /* more are not looked at */

typedef struct ProgramFile {
        char agent_id[ID_MAX + 1];
        char *path;
        bool is_plugin;
        struct stat seen;    /* all zero: it was not there */
        struct stat written; /* of a plugin: as it was at the last look */
} ProgramFile;

struct Programs {
        ProgramFile files[FILES_MAX];
        size_t n_files;
};

Programs *programs_new(void) {
        return calloc(1, sizeof(Programs));
}

static void forget(ProgramFile *files, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(files[i].path);
}

Programs *programs_free(Programs *programs) {
        if (!programs)
                return NULL;
        forget(programs->files, programs->n_files);
        free(programs);
        return NULL;
}

static bool is_same(const struct stat *a, const struct stat *b) {
        return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
               a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static const ProgramFile *find(const ProgramFile *files, size_t n, const char *agent_id, const char *path) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(files[i].agent_id, agent_id) == 0 && strcmp(files[i].path, path) == 0)
                        return &files[i];
        return NULL;
}

/* Takes file->path. */
static void add(Programs *programs, ProgramFile *file, const char *agent_id, const ProgramFile *known, size_t n_known) {
        const ProgramFile *before = find(known, n_known, agent_id, file->path);

        (void)snprintf(file->agent_id, sizeof(file->agent_id), "%s", agent_id);
        if (before)
                file->seen = before->seen;
        programs->files[programs->n_files++] = *file;
}

/* One that is not there yet is waited for. */
static void add_plugin(Programs *programs, const char *agent_id, const char *directory, const char *name,
        const ProgramFile *known, size_t n_known) {
        ProgramFile file = { .is_plugin = true };

        if (programs->n_files == FILES_MAX || !id_is_valid(slice_of(name)) ||
                asprintf(&file.path, "%s/%s.so", directory, name) < 0)
                return;
        if (stat(file.path, &file.seen) < 0)
                file.seen = (struct stat){ 0 };
        add(programs, &file, agent_id, known, n_known);
}

/* A word of a command may be a file, seen from the working directory: an interpreter found in PATH is none. */
static void add_word(Programs *programs, const char *agent_id, const char *directory, const char *word,
        const ProgramFile *known, size_t n_known) {
        ProgramFile file = { 0 };

        if (programs->n_files == FILES_MAX || word[0] == '-' || word[0] == '\0' ||
                asprintf(&file.path, "%s%s%s", word[0] == '/' ? "" : directory, word[0] == '/' ? "" : "/", word) < 0)
                return;
        if (stat(file.path, &file.seen) < 0 || !S_ISREG(file.seen.st_mode)) {
                free(file.path);
                return;
        }
        add(programs, &file, agent_id, known, n_known);
}

static void read_definition(
        Programs *programs, const char *path, const char *plugins_dir, const ProgramFile *known, size_t n_known) {
        json_t *definition = json_load_file(path, 0, NULL), *word;
        const json_t *exec = json_object_get(definition, "exec");
        const char *agent_id = json_string_value(json_object_get(definition, "agent_id"));
        const char *directory = json_string_value(json_object_get(exec, "working_directory"));
        const char *plugin = json_string_value(json_object_get(definition, "plugin"));
        size_t i;

        if (agent_id && id_is_valid(slice_of(agent_id)))
                json_array_foreach(json_object_get(exec, "command"), i, word) if (json_is_string(word)) add_word(
                        programs, agent_id, directory ? directory : ".", json_string_value(word), known, n_known);
        if (agent_id && id_is_valid(slice_of(agent_id)) && plugin)
                add_plugin(programs, agent_id, plugins_dir, plugin, known, n_known);
        json_decref(definition);
}

void programs_read(Programs *programs, const char *directory, const char *plugins_dir) {
        const size_t n_known = programs->n_files;
        ProgramFile *known = calloc(n_known + 1, sizeof(*known));
        DIR *entries = opendir(directory);
        struct dirent *entry;
        char path[4096];

        if (known && entries) {
                memcpy(known, programs->files, n_known * sizeof(*known));
                programs->n_files = 0;
                while ((entry = readdir(entries)) != NULL) {
                        const size_t n = strlen(entry->d_name);

                        if (entry->d_name[0] == '.' || n < 6 || strcmp(entry->d_name + n - 5, ".json") != 0)
                                continue;
                        (void)snprintf(path, sizeof(path), "%.3800s/%.255s", directory, entry->d_name);
                        read_definition(programs, path, plugins_dir, known, n_known);
                }
                forget(known, n_known);
        }
        if (entries)
                (void)closedir(entries);
        free(known);
}

void programs_look(Programs *programs, ProgramChanged *on_change, void *userdata) {
        for (size_t i = 0; i < programs->n_files; i++) {
                ProgramFile *file = &programs->files[i];
                struct stat now;

                /* one that is not there at the moment is being replaced */
                if (stat(file->path, &now) < 0 || now.st_size == 0 || is_same(&now, &file->seen))
                        continue;
                if (file->is_plugin && !is_same(&now, &file->written)) {
                        file->written = now;
                        continue;
                }
                file->seen = now;
                on_change(file->agent_id, file->path, file->is_plugin, userdata);
        }
}
