/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * StoreSqlite: one database file with two slots for each agent, as the thread of a store sees it.
 *
 * Owns the connection, and a lock on the file that keeps every other process out. One thread, whichever, and that may
 * wait for the disk. It opens the file when it must, notices that it was removed or replaced, and knows nothing of what
 * is in a slot.
 */

#include "proto/cc.h"
#include "proto/id.h"
#include "proto/slice.h"
#include "proto/wire_error.h"

#define STORE_SLOTS 2

/* Each but OK and ABSENT comes with a sentence that names the file. */
enum {
        STORE_SQLITE_E_OK,

        STORE_SQLITE_E_ABSENT,  /* there is nothing in this slot */
        STORE_SQLITE_E_DAMAGED, /* the file is damaged at this place; others may still be read */
        STORE_SQLITE_E_FAILED,  /* anything else: the disk, the file, another process, memory */
};

typedef struct StoreSqlite StoreSqlite;

/* Opens nothing yet. `path` is copied. */
int store_sqlite_new(const char *path, StoreSqlite **ret) _must_check_;
StoreSqlite *store_sqlite_free(StoreSqlite *store);

DEFINE_CLEANUP(StoreSqlite *, store_sqlite_free);

/* Before anything else below, and again after a failure: opens the file (makes it, the first time) if need be. */
int store_sqlite_ready(StoreSqlite *store, WireError *ret_error);

/* `ret_record` is borrowed until store_sqlite_release(), which must come before the slot is written. */
int store_sqlite_get(StoreSqlite *store, unsigned slot, const Id *agent_id, uint64_t *ret_generation, Slice *ret_record,
        WireError *ret_error);
void store_sqlite_release(StoreSqlite *store);

int store_sqlite_put(
        StoreSqlite *store, unsigned slot, const Id *agent_id, uint64_t generation, Slice record, WireError *ret_error);
int store_sqlite_remove(StoreSqlite *store, unsigned slot, const Id *agent_id, WireError *ret_error);

/* A transaction; after commit has returned OK it is on the disk. Rolling back is right in any state. */
int store_sqlite_begin(StoreSqlite *store, WireError *ret_error);
int store_sqlite_commit(StoreSqlite *store, WireError *ret_error);
void store_sqlite_rollback(StoreSqlite *store);

/* A part of it, that can fail alone: undo returns FAILED when the whole transaction is lost. */
int store_sqlite_begin_part(StoreSqlite *store, WireError *ret_error);
int store_sqlite_keep_part(StoreSqlite *store, WireError *ret_error);
int store_sqlite_undo_part(StoreSqlite *store);

/* "state store PATH: <sentence>" */
int store_sqlite_say(const StoreSqlite *store, WireError *ret_error, const char *sentence);
