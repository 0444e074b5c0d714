/* SPDX-License-Identifier: MIT */

/*
 * A plugin has all the rights of the runtime, so whoever can write the file or the directory can do what the runtime
 * can: one that everybody can write is refused, as sshd refuses such keys. Owners are not looked at: they differ from
 * the runtime's user wherever packages install files.
 *
 * The table is data, not a function, so that its version is known before any of the plugin's hooks has run. Its first
 * four members are the same in all versions; how far it may be read is what the symbol table of the shared object and
 * the table itself both say.
 *
 * Within a major version a plugin's table is only ever shorter than ours (then the rest is blank) or longer (then we
 * know none of the rest); one that needs what we don't have says so by its minor version.
 *
 * What was refused is unloaded again, so that a corrected file is taken without a restart. What was accepted never is.
 */

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "runtimed/plugin_library.h"

#define TABLE_SYMBOL "compozy_behavior_table"
#define HEAD_SIZE offsetof(compozy_behavior, name)

/* What version 1.0 had, which every table of version 1 has. It stays as it is when members are added. */
#define TABLE_SIZE_MIN (offsetof(compozy_behavior, checkpoint) + sizeof(((compozy_behavior *)NULL)->checkpoint))

static void close_handle(void **handle) {
        if (*handle)
                (void)dlclose(*handle);
}

/* the file */

static int make_path(const char *directory, const Id *name, char *ret, size_t size, WireError *ret_error) {
        const int n = snprintf(ret, size, "%s/%.*s.so", directory, SLICE_ARG(id_slice(name)));

        if (n < 0 || (size_t)n >= size)
                return wire_error(ret_error, "plugin: the path of %.*s.so is too long", SLICE_ARG(id_slice(name)));
        return 0;
}

static int look_at(const char *path, struct stat *ret, WireError *ret_error) {
        if (stat(path, ret) != 0)
                return errno == ENOENT ? wire_error(ret_error, "plugin: there is no file %s", path)
                                       : wire_error(ret_error, "plugin: %s: %s", path, strerror(errno));
        return 0;
}

static int check_access(const char *directory, const char *path, struct stat *ret, WireError *ret_error) {
        struct stat place;
        int r;

        r = look_at(directory, &place, ret_error);
        if (r == 0)
                r = look_at(path, ret, ret_error);
        if (r != 0)
                return r;

        if (!S_ISREG(ret->st_mode))
                return wire_error(ret_error, "plugin: %s is not a file", path);
        if (place.st_mode & S_IWOTH)
                return wire_error(ret_error, "plugin: everybody can write to %s; chmod o-w it", directory);
        if (ret->st_mode & S_IWOTH)
                return wire_error(ret_error, "plugin: everybody can write to %s; chmod o-w it", path);
        return 0;
}

/* the table */

/* How many bytes of it there are, by the symbol table; 0: it can't be told, or it is no data. */
static size_t symbol_size(const void *address) {
        const ElfW(Sym) *symbol = NULL;
        Dl_info info;

        if (dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || !symbol)
                return 0;
        return ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT ? symbol->st_size : 0;
}

static int check_version(const compozy_behavior *table, const char *path, WireError *ret_error) {
        if (table->abi_major != COMPOZY_ABI_MAJOR)
                return wire_error(ret_error,
                        "plugin: %s was built for version %u of the interface, this runtime has version %d; build it "
                        "with this one's compozy/behavior.h",
                        path, table->abi_major, COMPOZY_ABI_MAJOR);
        if (table->abi_minor > COMPOZY_ABI_MINOR)
                return wire_error(ret_error,
                        "plugin: %s needs version %u.%u of the interface, this runtime has %d.%d; it needs a newer "
                        "runtime",
                        path, table->abi_major, table->abi_minor, COMPOZY_ABI_MAJOR, COMPOZY_ABI_MINOR);
        return 0;
}

static int read_table(const void *address, const char *path, compozy_behavior *ret, WireError *ret_error) {
        const size_t size = symbol_size(address);
        compozy_behavior table = {};
        int r;

        if (size >= HEAD_SIZE)
                memcpy(&table, address, HEAD_SIZE);
        if (size < HEAD_SIZE || table.magic != COMPOZY_ABI_MAGIC)
                return wire_error(ret_error,
                        "plugin: " TABLE_SYMBOL " in %s is no table that starts with COMPOZY_BEHAVIOR_HEAD", path);

        r = check_version(&table, path, ret_error);
        if (r != 0)
                return r;
        if (table.size < TABLE_SIZE_MIN || table.size > size)
                return wire_error(ret_error,
                        "plugin: the table in %s has %zu bytes and says %u; at least %zu are needed", path, size,
                        table.size, TABLE_SIZE_MIN);

        memcpy(&table, address, MIN_OF((size_t)table.size, sizeof(table)));
        *ret = table;
        return 0;
}

static int check_table(const compozy_behavior *table, const Id *name, const char *path, WireError *ret_error) {
        const struct {
                const char *hook;
                bool is_there;
        } hooks[] = {
                { "init", table->init },
                { "stop", table->stop },
                { "handle", table->handle },
        };

        for (size_t i = 0; i < ELEMENTSOF(hooks); i++)
                if (!hooks[i].is_there)
                        return wire_error(ret_error, "plugin: %s has no %s()", path, hooks[i].hook);

        if (!table->name || !slice_equal(slice_of(table->name), id_slice(name)))
                return wire_error(
                        ret_error, "plugin: %s says that its name is \"%.64s\"", path, table->name ? table->name : "");
        return 0;
}

int plugin_library_open(const char *directory, const Id *name, PluginLibrary **ret, WireError *ret_error) {
        _cleanup_(plugin_library_freep) PluginLibrary *library = calloc(1, sizeof(*library));
        _cleanup_(close_handle) void *handle = NULL;
        struct stat file = {};
        char path[PATH_MAX];
        const void *address;
        int r;

        if (!library)
                return -ENOMEM;

        r = make_path(directory, name, path, sizeof(path), ret_error);
        if (r == 0)
                r = check_access(directory, path, &file, ret_error);
        if (r != 0)
                return r;

        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
                return wire_error(ret_error, "plugin: could not be loaded: %s", dlerror());
        address = dlsym(handle, TABLE_SYMBOL);
        if (!address)
                return wire_error(ret_error, "plugin: %s does not export " TABLE_SYMBOL, path);

        r = read_table(address, path, &library->table, ret_error);
        if (r == 0)
                r = check_table(&library->table, name, path, ret_error);
        if (r != 0)
                return r;

        library->name = *name;
        library->device = file.st_dev;
        library->inode = file.st_ino;
        library->size = file.st_size;
        library->changed = file.st_mtim;
        handle = NULL; /* never closed */
        *ret = TAKE_PTR(library);
        return 0;
}

PluginLibrary *plugin_library_free(PluginLibrary *library) {
        free(library);
        return NULL;
}

int plugin_library_check_file(const PluginLibrary *library, const char *directory, WireError *ret_error) {
        struct stat file = {};
        char path[PATH_MAX];
        int r;

        r = make_path(directory, &library->name, path, sizeof(path), ret_error);
        if (r == 0)
                r = check_access(directory, path, &file, ret_error);
        if (r != 0)
                return r;

        if (file.st_dev != library->device || file.st_ino != library->inode || file.st_size != library->size ||
                file.st_mtim.tv_sec != library->changed.tv_sec || file.st_mtim.tv_nsec != library->changed.tv_nsec)
                return wire_error(ret_error,
                        "plugin: %s has changed since it was loaded; restart the runtime to load the new one", path);
        return 0;
}
