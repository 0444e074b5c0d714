/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * PluginLibrary: one shared object that was loaded, checked, and whose table was copied.
 *
 * For the plugin host. Opening reads files and runs the constructors of the shared object; after that nothing in here
 * changes, so any thread may read it. Never unloads what it has accepted: a thread may be in its code.
 */

#include <sys/stat.h>

#include "compozy/behavior.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/wire_error.h"

typedef struct PluginLibrary PluginLibrary;

struct PluginLibrary {
        PluginLibrary *next; /* for the list that holds it */
        Id name;
        compozy_behavior table; /* blank where the plugin's own is shorter */
        dev_t device;           /* which file it was, and in which state */
        ino_t inode;
        off_t size;
        struct timespec changed;
};

/* DIRECTORY/NAME.so. Returns 0, WIRE_E_INVALID (the sentence says what is wrong with it), -ENOMEM. */
int plugin_library_open(const char *directory, const Id *name, PluginLibrary **ret, WireError *ret_error) _must_check_;

/* Frees our part of it; the code stays. */
PluginLibrary *plugin_library_free(PluginLibrary *library);

DEFINE_CLEANUP(PluginLibrary *, plugin_library_free);

/* Is the file still the one that was loaded? Returns 0 or WIRE_E_INVALID. */
int plugin_library_check_file(const PluginLibrary *library, const char *directory, WireError *ret_error);
