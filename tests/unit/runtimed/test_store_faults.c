/* SPDX-License-Identifier: MIT */

/*
 * A layer below SQLite (a VFS of its own) fails at will, and knows what would be on the disk if the power went now:
 * what was synced, and of the rest, sector by sector, some. A sync that fails is as bad as on Linux: what it should
 * have written counts as clean from then on and never reaches the disk, until it is written again.
 */

#include <sqlite3.h>
#include <stdatomic.h>

#include "common/rng.h"
#include "tests/unit/runtimed/test_store.h"

#define SECTOR 512
#define N_AGENTS 3
#define N_SAVES 24
#define N_RUNS 150

/* what is on the disk */

typedef struct Track {
        Buffer now, durable;
        Buffer dirty; /* a byte for each sector: written since it was synced last */
} Track;

typedef enum Fault {
        FAULT_NONE,
        FAULT_FULL,
        FAULT_IO,
        FAULT_SYNC,
        _FAULT_MAX,
} Fault;

/* Of the thread of the store while there is one, else of the test. */
static struct {
        char database[96]; /* whose file, and -wal file, are watched; "": none */
        Track tracks[2];
        uint64_t n_operations;

        Fault fault;
        uint64_t fail_first, fail_last; /* operations, counted from 1 */

        uint64_t removed_at; /* the operation before which the file is moved away; 0: never */
        char aside[112];

        uint64_t cut_at; /* the operation before which the power goes; 0: never */
        Rng rng;
        Buffer cut[2];
        uint64_t cut_acknowledged[N_AGENTS];
} disk;

static _Atomic(uint64_t) acknowledged[N_AGENTS];

static void resize(Buffer *buffer, size_t size) {
        if (size > buffer->size) {
                const size_t more = size - buffer->size;

                assert_int_equal(buffer_reserve(buffer, more), 0);
                memset(buffer->data + buffer->size, 0, more);
        }
        buffer->size = size;
}

static void track_write(Track *track, const void *data, size_t n, size_t at) {
        if (track->now.size < at + n)
                resize(&track->now, at + n);
        resize(&track->dirty, (track->now.size + SECTOR - 1) / SECTOR);
        memcpy(track->now.data + at, data, n);
        for (size_t sector = at / SECTOR; sector * SECTOR < at + n; sector++)
                track->dirty.data[sector] = 1;
}

static void put_sector(Buffer *to, const Track *track, size_t sector) {
        const size_t at = sector * SECTOR;

        if (at < track->now.size)
                memcpy(to->data + at, track->now.data + at, MIN_OF((size_t)SECTOR, track->now.size - at));
}

static void track_sync(Track *track, bool reaches_disk) {
        if (reaches_disk) {
                resize(&track->durable, track->now.size);
                for (size_t sector = 0; sector < track->dirty.size; sector++)
                        if (track->dirty.data[sector])
                                put_sector(&track->durable, track, sector);
        }
        if (track->dirty.size > 0)
                memset(track->dirty.data, 0, track->dirty.size);
}

static void track_truncate(Track *track, size_t size) {
        resize(&track->now, size);
        resize(&track->dirty, (size + SECTOR - 1) / SECTOR);
}

static void power_cut(void) {
        for (size_t i = 0; i < ELEMENTSOF(disk.tracks); i++) {
                Track *track = &disk.tracks[i];

                buffer_clear(&disk.cut[i]);
                buffer_append_slice(&disk.cut[i], buffer_slice(&track->durable));
                resize(&disk.cut[i], rng_below(&disk.rng, 2) ? track->now.size : track->durable.size);
                resize(&disk.cut[i], MAX_OF(disk.cut[i].size, track->now.size));
                for (size_t sector = 0; sector < track->dirty.size; sector++)
                        if (track->dirty.data[sector] && rng_below(&disk.rng, 2))
                                put_sector(&disk.cut[i], track, sector);
        }
        for (size_t agent = 0; agent < N_AGENTS; agent++)
                disk.cut_acknowledged[agent] = atomic_load(&acknowledged[agent]);
}

/* Before each write, sync or truncation. Returns what is to fail. */
static Fault next_operation(void) {
        disk.n_operations++;
        if (disk.n_operations == disk.cut_at)
                power_cut();
        if (disk.n_operations == disk.removed_at)
                (void)rename(disk.database, disk.aside);
        return disk.n_operations >= disk.fail_first && disk.n_operations <= disk.fail_last ? disk.fault : FAULT_NONE;
}

/* the layer */

typedef struct ShimFile {
        sqlite3_file base;
        Track *track; /* NULL: not watched */
        sqlite3_file *real;
} ShimFile;

static sqlite3_file *real_of(sqlite3_file *file) {
        return ((ShimFile *)file)->real;
}

static int shim_close(sqlite3_file *file) {
        return real_of(file)->pMethods->xClose(real_of(file));
}

static int shim_read(sqlite3_file *file, void *data, int n, sqlite3_int64 at) {
        return real_of(file)->pMethods->xRead(real_of(file), data, n, at);
}

static int shim_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 at) {
        Track *track = ((ShimFile *)file)->track;
        const Fault fault = track ? next_operation() : FAULT_NONE;

        if (fault == FAULT_FULL)
                return SQLITE_FULL;
        if (fault == FAULT_IO)
                return SQLITE_IOERR_WRITE;
        if (track)
                track_write(track, data, (size_t)n, (size_t)at);
        return real_of(file)->pMethods->xWrite(real_of(file), data, n, at);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
        Track *track = ((ShimFile *)file)->track;
        const Fault fault = track ? next_operation() : FAULT_NONE;

        if (fault == FAULT_IO)
                return SQLITE_IOERR_TRUNCATE;
        if (track)
                track_truncate(track, (size_t)size);
        return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int shim_sync(sqlite3_file *file, int flags) {
        Track *track = ((ShimFile *)file)->track;
        const Fault fault = track ? next_operation() : FAULT_NONE;

        (void)flags; /* the real disk needs no sync: ours is in memory */
        if (track)
                track_sync(track, fault != FAULT_SYNC);
        return fault == FAULT_SYNC ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *ret) {
        return real_of(file)->pMethods->xFileSize(real_of(file), ret);
}

static int shim_lock(sqlite3_file *file, int level) {
        return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int shim_unlock(sqlite3_file *file, int level) {
        return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int shim_reserved(sqlite3_file *file, int *ret) {
        return real_of(file)->pMethods->xCheckReservedLock(real_of(file), ret);
}

static int shim_control(sqlite3_file *file, int operation, void *argument) {
        return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}

static int shim_sector_size(sqlite3_file *file) {
        return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int shim_characteristics(sqlite3_file *file) {
        return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

/* Version 1: without shared memory, which the store is not to need. */
static const sqlite3_io_methods shim_methods = { 1, shim_close, shim_read, shim_write, shim_truncate, shim_sync,
        shim_size, shim_lock, shim_unlock, shim_reserved, shim_control, shim_sector_size, shim_characteristics, NULL,
        NULL, NULL, NULL, NULL, NULL };

static sqlite3_vfs *real_vfs, shim_vfs;

static Track *track_of(const char *name) {
        const size_t size = strlen(disk.database);

        if (!name || size == 0 || strncmp(name, disk.database, size) != 0)
                return NULL;
        return name[size] == '\0' ? &disk.tracks[0] : strcmp(name + size, "-wal") == 0 ? &disk.tracks[1] : NULL;
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags) {
        ShimFile *shim = (ShimFile *)file;
        int code;

        (void)vfs;
        shim->real = (sqlite3_file *)(shim + 1);
        shim->track = track_of(name);
        code = real_vfs->xOpen(real_vfs, name, shim->real, flags, ret_flags);
        shim->base.pMethods = shim->real->pMethods ? &shim_methods : NULL;
        return code;
}

static int install_shim(void **state) {
        (void)state;

        real_vfs = sqlite3_vfs_find(NULL);
        shim_vfs = *real_vfs;
        shim_vfs.zName = "shim";
        shim_vfs.szOsFile = (int)sizeof(ShimFile) + real_vfs->szOsFile;
        shim_vfs.xOpen = shim_open;
        return sqlite3_vfs_register(&shim_vfs, /* makeDflt= */ 1) == SQLITE_OK ? 0 : -1;
}

/* the story: saves, one after the other, with the store closed and opened once */

static void state_of(uint64_t generation, Buffer *ret) {
        const size_t size = generation % 5 == 0 ? 30000 : (size_t)(generation * 97 % 900);

        buffer_clear(ret);
        for (size_t i = 0; i < size; i++)
                buffer_append_char(ret, (char)(generation * 7 + i));
}

static void name_of(unsigned agent, char name[static 32]) {
        (void)snprintf(name, 32, "agent-%u", agent);
}

static size_t tell_story(Place *place) {
        _cleanup_(buffer_done) Buffer content = { 0 };
        size_t n_failed = 0;
        char name[32];

        for (uint64_t generation = 1; generation <= N_SAVES; generation++) {
                const unsigned agent = (unsigned)(generation % N_AGENTS);
                StoreRequest *request;

                name_of(agent, name);
                state_of(generation, &content);
                request = ask(place->store, STORE_SAVE, name, generation, buffer_slice(&content));
                if (request->outcome == STORE_DONE)
                        atomic_store(&acknowledged[agent], generation);
                else
                        n_failed++;
                (void)store_request_free(request);
                if (generation == N_SAVES / 2) {
                        place_close(place);
                        place_open(place);
                }
        }
        return n_failed;
}

static void is_as_acknowledged(Store *store, unsigned agent, uint64_t least) {
        _cleanup_(buffer_done) Buffer expected = { 0 };
        _cleanup_(store_request_freep) StoreRequest *request = NULL;
        char name[32];

        name_of(agent, name);
        request = load(store, name);
        if (request->outcome == STORE_EMPTY && least == 0)
                return;
        if (request->outcome != STORE_DONE || request->generation < least)
                fail_msg("%s: %s %s, generation %d, acknowledged %d; operations %d to %d, cut at %d", name,
                        store_outcome_names[request->outcome], request->error.text, (int)request->generation,
                        (int)least, (int)disk.fail_first, (int)disk.fail_last, (int)disk.cut_at);
        state_of(request->generation, &expected);
        assert_true(slice_equal(buffer_slice(&expected), buffer_slice(&request->state)));
}

/* A fresh store, that is being watched from now on. */
static void begin_story(Place *place, uint64_t seed) {
        place_init(place);
        disk.database[0] = '\0';
        place_open(place);
        (void)forget(place->store, "nobody"); /* makes the file */
        place_close(place);

        for (size_t i = 0; i < ELEMENTSOF(disk.tracks); i++) {
                track_truncate(&disk.tracks[i], 0);
                track_sync(&disk.tracks[i], /* reaches_disk= */ true);
                disk.cut[i].size = 0;
        }
        read_file(place->file, &disk.tracks[0].now);
        read_file(place->file, &disk.tracks[0].durable);
        for (size_t agent = 0; agent < N_AGENTS; agent++)
                atomic_store(&acknowledged[agent], 0);
        rng_seed(&disk.rng, seed);
        disk.n_operations = disk.fail_first = disk.fail_last = disk.cut_at = disk.removed_at = 0;
        disk.fault = FAULT_NONE;
        (void)snprintf(disk.database, sizeof(disk.database), "%s", place->file);
        (void)snprintf(disk.aside, sizeof(disk.aside), "%s.aside", place->file);
        place_open(place);
}

/* What the power cut left, under another name and unwatched. */
static void check_after_power_cut(void) {
        static const char *const endings[] = { "", "-wal" };
        char path[128];
        Place place;

        place_init(&place);
        for (size_t i = 0; i < ELEMENTSOF(endings); i++) {
                (void)snprintf(path, sizeof(path), "%s%s", place.file, endings[i]);
                if (disk.cut[i].size > 0)
                        write_file(path, buffer_slice(&disk.cut[i]));
        }
        place_open(&place);
        for (unsigned agent = 0; agent < N_AGENTS; agent++)
                is_as_acknowledged(place.store, agent, disk.cut_acknowledged[agent]);
        place_done(&place);
}

static uint64_t operations_of_a_story(void) {
        Place place;

        begin_story(&place, 0);
        assert_int_equal(tell_story(&place), 0);
        place_done(&place);
        return disk.n_operations;
}

static void what_was_acknowledged_survives_a_power_cut(void **state) {
        const uint64_t n_operations = operations_of_a_story();
        Rng rng;

        (void)state;

        assert_int_equal(rng_seed_from_system(&rng), 0);
        for (unsigned run = 0; run < N_RUNS * test_factor(); run++) {
                Place place;

                begin_story(&place, rng_next(&rng));
                disk.cut_at = 1 + rng_below(&rng, n_operations);
                assert_int_equal(tell_story(&place), 0);
                place_done(&place);
                assert_true(disk.n_operations >= disk.cut_at);
                check_after_power_cut();
        }
}

static void an_operation_that_fails_costs_nothing_acknowledged(void **state) {
        const uint64_t n_operations = operations_of_a_story();
        size_t n_failed = 0;
        Rng rng;

        (void)state;

        assert_int_equal(rng_seed_from_system(&rng), 0);
        for (unsigned run = 0; run < N_RUNS * test_factor(); run++) {
                Place place;

                begin_story(&place, rng_next(&rng));
                disk.fault = (Fault)(FAULT_FULL + run % (_FAULT_MAX - FAULT_FULL));
                disk.fail_first = 1 + rng_below(&rng, n_operations);
                disk.fail_last = disk.fail_first + (run % 2 ? rng_below(&rng, n_operations) : 0);
                n_failed += tell_story(&place);

                disk.fail_first = disk.fail_last = UINT64_MAX;
                place_close(&place);
                place_open(&place);
                for (unsigned agent = 0; agent < N_AGENTS; agent++)
                        is_as_acknowledged(place.store, agent, atomic_load(&acknowledged[agent]));
                place_done(&place);
        }
        assert_true(n_failed > 0);
}

/* The worst: a sync fails, is tried again and "succeeds", and then the power goes. */
static void what_was_acknowledged_after_a_failed_sync_survives_a_power_cut(void **state) {
        const uint64_t n_operations = operations_of_a_story();
        Rng rng;

        (void)state;

        assert_int_equal(rng_seed_from_system(&rng), 0);
        for (unsigned run = 0; run < N_RUNS * test_factor(); run++) {
                Place place;

                begin_story(&place, rng_next(&rng));
                disk.fault = FAULT_SYNC;
                disk.fail_first = 1 + rng_below(&rng, n_operations);
                disk.fail_last = disk.fail_first + rng_below(&rng, 8);
                disk.cut_at = disk.fail_first + rng_below(&rng, n_operations);
                (void)tell_story(&place);
                if (disk.n_operations < disk.cut_at)
                        power_cut();
                place_done(&place);
                check_after_power_cut();
        }
}

static void nothing_is_acknowledged_into_a_file_that_was_just_removed(void **state) {
        char name[32];
        Place place;

        (void)state;

        for (uint64_t operation = 1;; operation++) {
                StoreOutcome outcome;

                begin_story(&place, 0);
                name_of(0, name);
                assert_int_equal(save(place.store, name, 1, "one"), STORE_DONE);
                disk.removed_at = disk.n_operations + operation;
                outcome = save(place.store, name, 2, "two");
                if (disk.n_operations < disk.removed_at) {
                        disk.removed_at = 0;
                        assert_int_equal(outcome, STORE_DONE);
                        break;
                }
                assert_int_equal(outcome, STORE_UNWRITABLE);
                assert_save_fails(place.store, name, 3, "removed");

                assert_int_equal(rename(disk.aside, disk.database), 0);
                assert_int_equal(save(place.store, name, 4, "four"), STORE_DONE);
                place_close(&place);
                place_open(&place);
                assert_loads(place.store, name, 4, "four");
                place_done(&place);
        }
        place_done(&place);
}

static int remove_shim(void **state) {
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(disk.tracks); i++) {
                buffer_done(&disk.tracks[i].now);
                buffer_done(&disk.tracks[i].durable);
                buffer_done(&disk.tracks[i].dirty);
                buffer_done(&disk.cut[i]);
        }
        return sqlite3_vfs_unregister(&shim_vfs) == SQLITE_OK ? 0 : -1;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_acknowledged_survives_a_power_cut),
                cmocka_unit_test(an_operation_that_fails_costs_nothing_acknowledged),
                cmocka_unit_test(nothing_is_acknowledged_into_a_file_that_was_just_removed),
                cmocka_unit_test(what_was_acknowledged_after_a_failed_sync_survives_a_power_cut),
        };

        return cmocka_run_group_tests(tests, install_shim, remove_shim);
}
