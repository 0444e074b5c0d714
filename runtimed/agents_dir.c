/* SPDX-License-Identifier: MIT */

/*
 * An entry per file that made an agent: its name, the agent's id, and a hash of its text, so that a reload of 100,000
 * files touches only those that changed. A file that was renamed keeps its agent: an entry whose file is gone is
 * adopted by a new file that names the same agent.
 *
 * A file is not even read again when its inode is as it was: nothing changes a file without a new ctime. But two
 * changes within the same tick of the kernel's clock have one ctime, so what was read so soon after its last change is
 * read once more (git calls such an index entry racily clean). What was refused is read each time, and refused again by
 * name.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uthash.h>

#include "runtimed/agents_dir.h"
#include "runtimed/definition.h"
#include "runtimed/diag.h"

#define TICK_USEC USEC_PER_SEC /* many of the kernel's; some file systems have stamps of a second */

typedef struct Stamp {
        uint64_t changed_nsec; /* 0: not known */
        uint64_t inode, size;
} Stamp;

typedef struct Entry {
        UT_hash_handle hh;
        char *name;
        Id agent_id;
        uint64_t hash;
        Stamp stamp;   /* of its inode, when the agent was as it says */
        bool is_there; /* its file was seen in this load */
} Entry;

struct AgentsDir {
        char *path;
        const Behavior *const *behaviors;
        Entry *entries;
        size_t n_gone; /* entries whose file this load did not find */
};

static Entry *entry_free(Entry *entry) {
        if (!entry)
                return NULL;

        free(entry->name);
        free(entry);
        return NULL;
}

int agents_dir_new(const char *path, const Behavior *const *behaviors, AgentsDir **ret) {
        _cleanup_(agents_dir_freep) AgentsDir *dir = calloc(1, sizeof(*dir));

        if (!dir)
                return -ENOMEM;
        dir->behaviors = behaviors;
        dir->path = strdup(path);
        if (!dir->path)
                return -ENOMEM;

        *ret = TAKE_PTR(dir);
        return 0;
}

AgentsDir *agents_dir_free(AgentsDir *dir) {
        Entry *entry, *tmp;

        if (!dir)
                return NULL;

        HASH_ITER(hh, dir->entries, entry, tmp) {
                HASH_DEL(dir->entries, entry);
                (void)entry_free(entry);
        }
        free(dir->path);
        free(dir);
        return NULL;
}

/* FNV-1a, 64 bits. */
static uint64_t hash_of(Slice text) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < text.size; i++)
                hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static int is_definition(const struct dirent *entry) {
        size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

/* The names, sorted, in a list that name_list_free() frees. */
static int list_names(const char *path, struct dirent ***ret_names, size_t *ret_n) {
        int n = scandir(path, ret_names, is_definition, alphasort);

        if (n < 0)
                return -errno;
        *ret_n = (size_t)n;
        return 0;
}

static void name_list_free(struct dirent **names, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

static void close_fdp(int *fd) {
        if (*fd >= 0)
                (void)close(*fd);
}

/* Unknown where it may change yet and look the same. */
static Stamp stamp_of(const struct stat *st, Instant now) {
        const uint64_t changed_usec =
                (uint64_t)st->st_ctim.tv_sec * USEC_PER_SEC + (uint64_t)st->st_ctim.tv_nsec / 1000;

        if (changed_usec + TICK_USEC > now.real_usec)
                return (Stamp){};
        return (Stamp){
                .changed_nsec = (uint64_t)st->st_ctim.tv_sec * 1000000000 + (uint64_t)st->st_ctim.tv_nsec,
                .inode = st->st_ino,
                .size = (uint64_t)st->st_size,
        };
}

static bool stamp_equal(const Stamp *a, const Stamp *b) {
        return a->changed_nsec > 0 && a->changed_nsec == b->changed_nsec && a->inode == b->inode && a->size == b->size;
}

static char *full_path(const char *path, const char *name) {
        char *full = NULL;

        return asprintf(&full, "%s/%s", path, name) < 0 ? NULL : full;
}

static bool is_as_it_was(const AgentsDir *dir, const Entry *entry, Instant now) {
        _cleanup_(free_charp) char *full = entry->stamp.changed_nsec > 0 ? full_path(dir->path, entry->name) : NULL;
        struct stat st;
        Stamp stamp;

        if (!full || stat(full, &st) < 0)
                return false;
        stamp = stamp_of(&st, now);
        return stamp_equal(&stamp, &entry->stamp);
}

/* A named pipe without a writer would hold up its opener for ever, and the loop with it: O_NONBLOCK, and regular files
 * only. */
static int open_file(const char *path, const char *name) {
        _cleanup_(free_charp) char *full = full_path(path, name);
        int fd;

        if (!full)
                return -ENOMEM;
        fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

typedef struct File {
        Buffer text;
        struct stat st; /* from before it was read */
} File;

static void file_done(File *file) {
        buffer_done(&file->text);
}

/* Of one that grows meanwhile at most a little more than allowed is read; the parser refuses it then. */
static int read_file(const char *path, const char *name, File *file, WireError *ret_error) {
        _cleanup_(close_fdp) int fd = open_file(path, name);
        Buffer *text = &file->text;
        ssize_t n;

        if (fd < 0)
                return fd;
        if (fstat(fd, &file->st) < 0)
                return -errno;
        if (!S_ISREG(file->st.st_mode))
                return wire_error(ret_error, "this is no regular file");
        if (file->st.st_size > DEFINITION_BYTES_MAX)
                return wire_error(ret_error, "a definition of %lld bytes is over the limit of %d",
                        (long long)file->st.st_size, DEFINITION_BYTES_MAX);

        buffer_clear(text);
        while (text->size <= DEFINITION_BYTES_MAX) {
                if (buffer_reserve(text, 4096) < 0)
                        return -ENOMEM;
                n = read(fd, text->data + text->size, 4096);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                text->size += (size_t)n;
        }
        return 0;
}

/* The scanner reads messages, too, and counts bytes; who has the file open in an editor looks for a line. */
static void point_at_line(Slice text, WireError *error) {
        static const char place[] = "at byte ";
        const WireError said = *error;
        size_t line = 1, column = 1, at;
        char *what;

        if (strncmp(said.text, place, strlen(place)) != 0)
                return;

        at = strtoull(said.text + strlen(place), &what, 10);
        for (size_t i = 0; i < MIN_OF(at, text.size); i++) {
                column = text.data[i] == '\n' ? 1 : column + 1;
                line += text.data[i] == '\n';
        }
        (void)wire_error(error, "line %zu, column %zu%s", line, column, what);
}

/* Reads and parses; on failure writes why. */
static bool read_definition(
        const AgentsDir *dir, const char *name, File *file, Definition **ret, WireError *ret_error) {
        int r = read_file(dir->path, name, file, ret_error);

        if (r == 0) {
                r = definition_parse(buffer_slice(&file->text), dir->behaviors, ret, ret_error);
                if (r == WIRE_E_INVALID)
                        point_at_line(buffer_slice(&file->text), ret_error);
        }
        if (r < 0)
                (void)wire_error(ret_error, "%s", strerror(-r));
        return r == 0;
}

static Entry *find_entry(const AgentsDir *dir, const char *name) {
        Entry *entry;

        HASH_FIND_STR(dir->entries, name, entry);
        return entry;
}

static int add_entry(AgentsDir *dir, const char *name, const Id *agent_id, uint64_t hash) {
        Entry *entry = calloc(1, sizeof(*entry));

        if (!entry)
                return -ENOMEM;
        *entry = (Entry){ .name = strdup(name), .agent_id = *agent_id, .hash = hash, .is_there = true };
        if (!entry->name) {
                (void)entry_free(entry);
                return -ENOMEM;
        }

        HASH_ADD_KEYPTR(hh, dir->entries, entry->name, strlen(entry->name), entry);
        if (!entry->hh.tbl) {
                (void)entry_free(entry);
                return -ENOMEM;
        }
        return 0;
}

static void drop_entry(AgentsDir *dir, Entry *entry) {
        assert(dir->entries);

        HASH_DEL(dir->entries, entry);
        (void)entry_free(entry);
}

/* Takes over the entry of a file that is gone and named the same agent. Returns false when there is none. */
static bool adopt(AgentsDir *dir, const char *name, const Id *agent_id, uint64_t *ret_hash) {
        Entry *entry, *tmp;

        if (dir->n_gone == 0) /* nearly always; else each new file would look at all entries */
                return false;

        HASH_ITER(hh, dir->entries, entry, tmp) {
                if (entry->is_there || !id_equal(&entry->agent_id, id_slice(agent_id)))
                        continue;
                *ret_hash = entry->hash;
                drop_entry(dir, entry);
                dir->n_gone--;
                return add_entry(dir, name, agent_id, *ret_hash) == 0;
        }
        return false;
}

static void create(AgentsDir *dir, Runtime *runtime, const char *name, const Id *agent_id, Slice text, Instant now,
        AgentsDirCounts *counts) {
        ErrorCode code = ERROR_NONE;
        WireError error = {};
        int r = runtime_create_agent(runtime, text, now, &code, &error);

        if (r == 0)
                r = add_entry(dir, name, agent_id, hash_of(text));
        if (r != 0) {
                diag_definition_refused(name, r < 0 ? strerror(-r) : error.text);
                counts->n_refused++;
                return;
        }
        counts->n_created++;
}

static void change(Runtime *runtime, Entry *entry, Slice text, Instant now, AgentsDirCounts *counts) {
        ErrorCode code = ERROR_NONE;
        WireError error = {};
        int r = runtime_change_agent(runtime, text, now, &code, &error);

        if (r != 0) {
                diag_definition_refused(entry->name, r < 0 ? strerror(-r) : error.text);
                counts->n_refused++;
                return;
        }
        entry->hash = hash_of(text);
        counts->n_changed++;
}

/* A file that made an agent before: its agent changes, or goes when the file is about another one now. */
static void load_known(AgentsDir *dir, Runtime *runtime, Entry *entry, Instant now, AgentsDirCounts *counts) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(file_done) File file = {};
        WireError error = {};
        uint64_t hash;

        if (is_as_it_was(dir, entry, now))
                return;
        entry->stamp = (Stamp){};
        if (!read_definition(dir, entry->name, &file, &definition, &error)) {
                diag_definition_refused(entry->name, error.text);
                counts->n_refused++;
                return;
        }

        hash = hash_of(buffer_slice(&file.text));
        if (!id_equal(&entry->agent_id, id_slice(&definition->agent_id))) {
                (void)runtime_delete_agent(runtime, id_slice(&entry->agent_id), now);
                diag_definition_changed(entry->name, id_slice(&entry->agent_id), "removed");
                counts->n_removed++;
                drop_entry(dir, entry);
                return;
        }
        if (entry->hash != hash)
                change(runtime, entry, buffer_slice(&file.text), now, counts);
        if (entry->hash == hash)
                entry->stamp = stamp_of(&file.st, now);
}

static void load_new(AgentsDir *dir, Runtime *runtime, const char *name, Instant now, AgentsDirCounts *counts) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(file_done) File file = {};
        WireError error = {};
        uint64_t hash;
        Entry *entry;

        if (!read_definition(dir, name, &file, &definition, &error)) {
                diag_definition_refused(name, error.text);
                counts->n_refused++;
                return;
        }

        entry = adopt(dir, name, &definition->agent_id, &hash) ? find_entry(dir, name) : NULL;
        if (!entry)
                create(dir, runtime, name, &definition->agent_id, buffer_slice(&file.text), now, counts);
        else if (entry->hash != hash_of(buffer_slice(&file.text)))
                change(runtime, entry, buffer_slice(&file.text), now, counts);

        entry = find_entry(dir, name);
        if (entry && entry->hash == hash_of(buffer_slice(&file.text)))
                entry->stamp = stamp_of(&file.st, now);
}

static void remove_gone(AgentsDir *dir, Runtime *runtime, Instant now, AgentsDirCounts *counts) {
        Entry *entry, *tmp;

        HASH_ITER(hh, dir->entries, entry, tmp) {
                if (entry->is_there)
                        continue;
                (void)runtime_delete_agent(runtime, id_slice(&entry->agent_id), now);
                diag_definition_changed(entry->name, id_slice(&entry->agent_id), "removed");
                drop_entry(dir, entry);
                counts->n_removed++;
        }
}

int agents_dir_load(AgentsDir *dir, Runtime *runtime, Instant now, AgentsDirCounts *ret) {
        struct dirent **names = NULL;
        Entry *entry, *tmp;
        size_t n = 0, n_there = 0;
        int r;

        *ret = (AgentsDirCounts){};
        r = list_names(dir->path, &names, &n);
        if (r < 0)
                return r;

        HASH_ITER(hh, dir->entries, entry, tmp)
        entry->is_there = false;
        for (size_t i = 0; i < n; i++) {
                entry = find_entry(dir, names[i]->d_name);
                if (!entry)
                        continue;
                entry->is_there = true;
                n_there++;
        }
        dir->n_gone = HASH_COUNT(dir->entries) - n_there;

        /* Those that are known first: two files may have exchanged their agents, and each must be given up before it
         * can be had. */
        for (size_t i = 0; i < n; i++) {
                entry = find_entry(dir, names[i]->d_name);
                if (entry)
                        load_known(dir, runtime, entry, now, ret);
        }
        for (size_t i = 0; i < n; i++)
                if (!find_entry(dir, names[i]->d_name))
                        load_new(dir, runtime, names[i]->d_name, now, ret);
        remove_gone(dir, runtime, now, ret);
        name_list_free(names, n);
        return 0;
}

/* As a start would, where that costs nothing: its behaviour's init has the last word on the parameters. */
static bool try_init(const Definition *definition, WireError *ret_error) {
        const BehaviorStart start = definition_start(definition);
        char why[sizeof(ret_error->text)] = "";
        void *state = NULL;
        int r;

        if (!definition->behavior->quick)
                return true;

        r = definition->behavior->init(&start, &state, why, sizeof(why));
        if (r == 0)
                definition->behavior->stop(state);
        else
                (void)wire_error(ret_error, "init of agent %s failed: %s", definition->agent_id.text,
                        r < 0 ? strerror(-r) : why);
        return r == 0;
}

/* `seen`: an entry for each agent so far, named by its id; the hash is the number of its file. */
static bool check_file(AgentsDir *seen, struct dirent **names, size_t number, WireError *ret_error) {
        _cleanup_(definition_freep) Definition *definition = NULL;
        _cleanup_(file_done) File file = {};
        const Entry *other;

        if (!read_definition(seen, names[number]->d_name, &file, &definition, ret_error))
                return false;

        other = find_entry(seen, definition->agent_id.text);
        if (other) {
                (void)wire_error(ret_error, "agent_id: agent \"%s\" is defined by %s already",
                        definition->agent_id.text, names[other->hash]->d_name);
                return false;
        }
        if (!try_init(definition, ret_error))
                return false;
        if (add_entry(seen, definition->agent_id.text, &definition->agent_id, number) < 0) {
                (void)wire_error(ret_error, "%s", strerror(ENOMEM));
                return false;
        }
        return true;
}

int agents_dir_check(const char *path, const Behavior *const *behaviors, size_t *ret_n_good, size_t *ret_n_bad) {
        _cleanup_(agents_dir_freep) AgentsDir *seen = NULL;
        struct dirent **names = NULL;
        size_t n = 0, n_bad = 0;
        int r;

        r = agents_dir_new(path, behaviors, &seen);
        if (r == 0)
                r = list_names(path, &names, &n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n; i++) {
                WireError error = {};

                if (check_file(seen, names, i, &error))
                        continue;
                (void)fprintf(stderr, "%s/%s: %s\n", path, names[i]->d_name, error.text);
                n_bad++;
        }
        name_list_free(names, n);
        *ret_n_good = n - n_bad;
        *ret_n_bad = n_bad;
        return 0;
}
