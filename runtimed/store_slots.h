/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * StoreSlots: what the two slots of an agent mean: which record is the newest, what a load gives, where a save goes.
 *
 * Owns nothing. The thread of the store, on a database that is ready; it neither opens it nor begins transactions.
 */

#include "runtimed/store.h"
#include "runtimed/store_sqlite.h"

/* Each sets the outcome, and unless it is DONE or EMPTY the error, of the request. */

void store_slots_load(StoreSqlite *sqlite, StoreRequest *request);

/* Within a transaction; DONE means: if it is committed. `record` is memory to work in. */
void store_slots_save(StoreSqlite *sqlite, StoreRequest *request, Buffer *record);
void store_slots_forget(StoreSqlite *sqlite, StoreRequest *request);
