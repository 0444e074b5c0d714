/* SPDX-License-Identifier: MIT */

/*
 * The two slots of an agent are rows of two tables, not of one: rows of one table share pages, and a page that the disk
 * lost would take both generations with it.
 *
 * Journal: WAL with synchronous=FULL, so a commit is one write and one fsync of the -wal file, and a commit that
 * returned is there after kill -9 and after a power cut, as far as the disk keeps its word. locking_mode=EXCLUSIVE, set
 * before the file is first read, takes an exclusive lock for as long as the connection lives; the WAL index is then on
 * the heap, there is no -shm file, and nobody else can so much as read the database while we run. The kernel drops the
 * lock when we die, whatever of. These are POSIX locks: any close() of the same file elsewhere in this process would
 * drop them too, so nothing here ever opens the file but SQLite; it is only asked about with stat(). (SQLite, "How To
 * Corrupt An SQLite Database File", 2.2.)
 *
 * A commit goes to the files that we have open, whatever has become of their names since. So before a transaction and
 * again after its commit, the names must still lead to the files that were opened: only then was it kept. A file that
 * disappeared while we had it open is not made anew: agents would find nothing where there had been something, and a
 * directory whose disk was unmounted would be written to. Somebody puts it back, or starts us again.
 *
 * The file is made under another name and linked to its own when it is complete. So a file with nothing in it, which
 * SQLite would take for a new database, is always one that was cut off.
 *
 * When fsync() fails, the kernel may drop what it could not write and say yes the next time, while a read still finds
 * it in memory (https://wiki.postgresql.org/wiki/Fsync_Errors). So what a -wal file holds when it is opened, after a
 * failure or by the successor of who failed, may never reach the disk: what is appended to it would be lost with it,
 * and moving it into the database would leave that half changed. So a database that was just opened is only read from
 * until all bytes of its -wal file have been written once more, in place (a full disk must not be in the way), and
 * synced.
 */

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "runtimed/store_sqlite.h"

#define APPLICATION_ID 0x437A5374 /* "CzSt": somebody else's database is left alone */
#define SCHEMA_VERSION 1
#define BUSY_MSEC 500       /* a predecessor that is just closing; longer would hold up what waits behind */
#define PATH_SHOWN_MAX 120  /* sentences have 255 bytes, and the reason comes last */
#define FILE_SIZE_MIN 512   /* the smallest page */
#define WAL_KEPT "16777216" /* bytes of the -wal file that outlive a large transaction */

typedef enum StatementKind {
        STATEMENT_GET,
        STATEMENT_PUT = STATEMENT_GET + STORE_SLOTS,
        STATEMENT_REMOVE = STATEMENT_PUT + STORE_SLOTS,
        STATEMENT_BEGIN = STATEMENT_REMOVE + STORE_SLOTS,
        STATEMENT_COMMIT,
        STATEMENT_ROLLBACK,
        STATEMENT_BEGIN_PART,
        STATEMENT_KEEP_PART,
        STATEMENT_UNDO_PART,
        _STATEMENT_MAX,
} StatementKind;

#define GET(slot) "SELECT generation, record FROM " slot " WHERE agent_id = ?1"
#define PUT(slot)                                                                  \
        "INSERT INTO " slot " (agent_id, generation, record) VALUES (?1, ?2, ?3) " \
        "ON CONFLICT (agent_id) DO UPDATE SET generation = excluded.generation, record = excluded.record"
#define REMOVE(slot) "DELETE FROM " slot " WHERE agent_id = ?1"
#define CREATE(slot)                                                                                               \
        "CREATE TABLE " slot " (agent_id TEXT PRIMARY KEY NOT NULL, generation INTEGER NOT NULL, record BLOB NOT " \
        "NULL);"

static const char *const statements[_STATEMENT_MAX] = {
        [STATEMENT_GET] = GET("slot_0"),
        [STATEMENT_GET + 1] = GET("slot_1"),
        [STATEMENT_PUT] = PUT("slot_0"),
        [STATEMENT_PUT + 1] = PUT("slot_1"),
        [STATEMENT_REMOVE] = REMOVE("slot_0"),
        [STATEMENT_REMOVE + 1] = REMOVE("slot_1"),
        [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
        [STATEMENT_COMMIT] = "COMMIT",
        [STATEMENT_ROLLBACK] = "ROLLBACK",
        [STATEMENT_BEGIN_PART] = "SAVEPOINT part",
        [STATEMENT_KEEP_PART] = "RELEASE part",
        [STATEMENT_UNDO_PART] = "ROLLBACK TO part",
};

static const char create_sql[] =
        "PRAGMA synchronous = EXTRA; BEGIN; " CREATE("slot_0") CREATE("slot_1") "PRAGMA application_id = " STRINGIFY(
                APPLICATION_ID) "; PRAGMA user_version = " STRINGIFY(SCHEMA_VERSION) "; COMMIT";

/* In this order: the lock, before the journal is looked at. */
static const char open_sql[] =
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; "
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = " WAL_KEPT;

typedef struct FileId {
        dev_t device;
        ino_t inode;
} FileId;

struct StoreSqlite {
        sqlite3 *db; /* NULL: not open */
        sqlite3_stmt *statements[_STATEMENT_MAX];
        FileId file, wal;       /* that are open */
        bool is_ready;          /* opened, and found to be ours */
        bool was_open;          /* was ready at any time */
        bool failed;            /* the connection is of no more use: open again */
        bool journal_is_unsure; /* see above: it must be written once more */
        const char *shown;      /* of the path, what fits a sentence */
        bool shown_is_tail;     /* and it is not all */
        char path[];
};

int store_sqlite_new(const char *path, StoreSqlite **ret) {
        /* SQLite gives names such as ":memory:" and "file:" a meaning of their own, but not "./:memory:" */
        const char *prefix = path[0] == '/' ? "" : "./";
        const size_t size = strlen(prefix) + strlen(path);
        StoreSqlite *store = calloc(1, sizeof(*store) + size + 1);

        if (!store)
                return -ENOMEM;
        (void)snprintf(store->path, size + 1, "%s%s", prefix, path);
        store->shown_is_tail = size > PATH_SHOWN_MAX;
        store->shown = store->path + (store->shown_is_tail ? size - PATH_SHOWN_MAX : 0);
        *ret = store;
        return 0;
}

/* sentences */

int store_sqlite_say(const StoreSqlite *store, WireError *ret_error, const char *sentence) {
        (void)wire_error(ret_error, "state store %s%s: %s", store->shown_is_tail ? "..." : "", store->shown, sentence);
        return STORE_SQLITE_E_FAILED;
}

static int say_errno(const StoreSqlite *store, WireError *ret_error, const char *what, int error) {
        char sentence[192];

        (void)snprintf(sentence, sizeof(sentence), "%s (%s)", what, strerror(error));
        return store_sqlite_say(store, ret_error, sentence);
}

static const char *meaning_of(int code) {
        switch (code & 0xFF) {
        case SQLITE_BUSY:
                return "is in use by another process";
        case SQLITE_CORRUPT:
                return "is damaged";
        case SQLITE_NOTADB:
                return "is no SQLite database";
        case SQLITE_FULL:
                return "has no room to grow, the disk is full";
        case SQLITE_READONLY:
        case SQLITE_PERM:
                return "may not be written";
        case SQLITE_CANTOPEN:
                return "can't be opened";
        case SQLITE_IOERR:
                return "can't be read or written";
        case SQLITE_NOMEM:
                return "needs more memory than there is";
        default:
                return "refused";
        }
}

static int errno_of(sqlite3_file *file) {
        int error = 0;

        if (file && file->pMethods)
                (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
        return error;
}

/* The kernel's reason: a quota, a limit, a broken disk. sqlite3_system_errno() has often lost it by now, files have
 * not. */
static int system_error(sqlite3 *db, int code) {
        sqlite3_file *file = NULL;
        int error = 0;

        if (!db || ((code & 0xFF) != SQLITE_IOERR && (code & 0xFF) != SQLITE_CANTOPEN))
                return 0;
        if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) == SQLITE_OK)
                error = errno_of(file);
        if (error == 0 && sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK)
                error = errno_of(file);
        return error != 0 ? error : sqlite3_system_errno(db);
}

/* What SQLite said on `db` last. */
static int say_sqlite(StoreSqlite *store, sqlite3 *db, int code, WireError *ret_error) {
        const int error = system_error(db, code);
        char sentence[192];

        store->failed = true;
        (void)snprintf(sentence, sizeof(sentence), "it %s (%s%s%s, SQLite's code %d)", meaning_of(code),
                error != 0 ? strerror(error) : "", error != 0 ? ", " : "", sqlite3_errstr(code), code);
        (void)store_sqlite_say(store, ret_error, sentence);
        return (code & 0xFF) == SQLITE_CORRUPT ? STORE_SQLITE_E_DAMAGED : STORE_SQLITE_E_FAILED;
}

/* files */

static bool same_file(const char *path, const FileId *id) {
        struct stat st;

        return stat(path, &st) == 0 && st.st_dev == id->device && st.st_ino == id->inode;
}

static int identify(const char *path, FileId *ret) {
        struct stat st;

        if (stat(path, &st) != 0)
                return -errno;
        *ret = (FileId){ st.st_dev, st.st_ino };
        return 0;
}

/* Do the names still lead to what we have open? */
static bool files_are_ours(const StoreSqlite *store) {
        return same_file(store->path, &store->file) &&
               same_file(sqlite3_filename_wal(sqlite3_db_filename(store->db, "main")), &store->wal);
}

static int say_replaced(StoreSqlite *store, WireError *ret_error) {
        store->failed = true;
        return store_sqlite_say(
                store, ret_error, "it, or its -wal file, was removed or replaced while this program had it open");
}

static int sync_directory(const char *path) {
        char directory[PATH_MAX];
        const char *slash = strrchr(path, '/'); /* there is one: paths are absolute or begin with ./ */
        int fd, r;

        (void)snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path) + 1, path);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = fsync(fd) < 0 ? -errno : 0;
        (void)close(fd);
        return r;
}

/* A complete and empty database in the file `path`, that exists and has no bytes. */
static int fill_new(StoreSqlite *store, const char *path, WireError *ret_error) {
        sqlite3 *db = NULL;
        int code;

        code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_exec(db, create_sql, NULL, NULL, NULL);
        if (code != SQLITE_OK)
                (void)say_sqlite(store, db, db ? sqlite3_extended_errcode(db) : code, ret_error);
        (void)sqlite3_close(db);
        return code == SQLITE_OK ? 0 : STORE_SQLITE_E_FAILED;
}

static int create_as(StoreSqlite *store, const char *path, WireError *ret_error) {
        int r;

        r = fill_new(store, path, ret_error);
        if (r != 0)
                return r;
        if (link(path, store->path) < 0 && errno != EEXIST) /* somebody else was faster: as good */
                return say_errno(store, ret_error, "it can't be made", errno);
        r = sync_directory(store->path);
        return r < 0 ? say_errno(store, ret_error, "its directory can't be synced", -r) : 0;
}

static int create(StoreSqlite *store, WireError *ret_error) {
        char path[PATH_MAX];
        int fd, r;

        if (store->was_open)
                return store_sqlite_say(store, ret_error,
                        "it was removed while this program had it open; put it back, or start again without it");
        if ((size_t)snprintf(path, sizeof(path), "%s.XXXXXX", store->path) >= sizeof(path))
                return say_errno(store, ret_error, "it can't be made", ENAMETOOLONG);
        fd = mkostemp(path, O_CLOEXEC); /* for its owner alone: states may hold secrets */
        if (fd < 0)
                return say_errno(store, ret_error, "it can't be made", errno);
        (void)close(fd);

        r = create_as(store, path, ret_error);
        (void)unlink(path);
        return r;
}

/* Is there a file that may be a database? Makes it when there is none. */
static int look_at_file(StoreSqlite *store, WireError *ret_error) {
        char sentence[96];
        struct stat st;
        int r;

        if (stat(store->path, &st) < 0 && errno == ENOENT) {
                r = create(store, ret_error);
                if (r != 0)
                        return r;
        }
        if (stat(store->path, &st) < 0)
                return say_errno(store, ret_error, "it can't be looked at", errno);
        if (!S_ISREG(st.st_mode))
                return store_sqlite_say(
                        store, ret_error, S_ISDIR(st.st_mode) ? "it is a directory" : "it is no regular file");
        if (st.st_size < FILE_SIZE_MIN) {
                (void)snprintf(
                        sentence, sizeof(sentence), "it is cut off, it has only %lld bytes", (long long)st.st_size);
                return store_sqlite_say(store, ret_error, sentence);
        }
        store->file = (FileId){ st.st_dev, st.st_ino };
        return 0;
}

/* closing */

/*
 * As a rule SQLite moves what is in the -wal file to where it belongs, and removes that file, by its name. When the
 * name of the database leads to another file by now, that must not happen to what lies beside that one; and our -wal,
 * if it still lies there, must not be taken for the other's.
 */
static void leave_replaced_file(StoreSqlite *store) {
        const char *wal = sqlite3_filename_wal(sqlite3_db_filename(store->db, "main"));

        if (!store->journal_is_unsure)
                (void)sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        if (same_file(wal, &store->wal))
                (void)unlink(wal);
}

static void close_database(StoreSqlite *store) {
        for (size_t i = 0; i < ELEMENTSOF(store->statements); i++) {
                (void)sqlite3_finalize(store->statements[i]);
                store->statements[i] = NULL;
        }
        if (store->is_ready && !same_file(store->path, &store->file))
                leave_replaced_file(store);
        (void)sqlite3_close(store->db);
        store->db = NULL;
        store->is_ready = store->failed = false;
}

StoreSqlite *store_sqlite_free(StoreSqlite *store) {
        if (!store)
                return NULL;
        close_database(store);
        free(store);
        return NULL;
}

/* opening */

static int ask_number(StoreSqlite *store, const char *sql, int64_t *ret, WireError *ret_error) {
        sqlite3_stmt *statement = NULL;
        int code;

        code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                *ret = sqlite3_column_int64(statement, 0);
        (void)sqlite3_finalize(statement);
        return code == SQLITE_ROW ? 0 : say_sqlite(store, store->db, code, ret_error);
}

static int check_whose_it_is(StoreSqlite *store, WireError *ret_error) {
        int64_t application_id, version;
        char sentence[128];
        int r;

        r = ask_number(store, "PRAGMA application_id", &application_id, ret_error);
        if (r == 0)
                r = ask_number(store, "PRAGMA user_version", &version, ret_error);
        if (r != 0)
                return r;

        if (application_id != APPLICATION_ID)
                return store_sqlite_say(store, ret_error, "it is the database of some other program");
        if (version > SCHEMA_VERSION) {
                (void)snprintf(sentence, sizeof(sentence),
                        "it was made by a later version of this program (schema %lld, this one knows %d)",
                        (long long)version, SCHEMA_VERSION);
                return store_sqlite_say(store, ret_error, sentence);
        }
        return 0;
}

static int prepare(StoreSqlite *store, WireError *ret_error) {
        for (size_t i = 0; i < ELEMENTSOF(statements); i++) {
                const int code = sqlite3_prepare_v3(
                        store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);

                if (code != SQLITE_OK)
                        return say_sqlite(store, store->db, code, ret_error);
        }
        return 0;
}

static int connect_to_file(StoreSqlite *store, WireError *ret_error) {
        int code;

        code = sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        if (code == SQLITE_OK) {
                (void)sqlite3_extended_result_codes(store->db, 1);
                (void)sqlite3_busy_timeout(store->db, BUSY_MSEC);
                (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* until it is sure */
                code = sqlite3_exec(store->db, open_sql, NULL, NULL, NULL);
        }
        if (code == SQLITE_OK && sqlite3_db_readonly(store->db, "main") != 0)
                code = SQLITE_READONLY;
        return code == SQLITE_OK ? 0 : say_sqlite(store, store->db, code, ret_error);
}

static int open_database(StoreSqlite *store, WireError *ret_error) {
        int r;

        r = look_at_file(store, ret_error);
        if (r == 0)
                r = connect_to_file(store, ret_error);
        if (r == 0)
                r = check_whose_it_is(store, ret_error);
        if (r == 0 && identify(sqlite3_filename_wal(sqlite3_db_filename(store->db, "main")), &store->wal) < 0)
                r = say_replaced(store, ret_error);
        if (r == 0)
                r = prepare(store, ret_error);
        if (r == 0 && !files_are_ours(store)) /* what was looked at, then, is what is open */
                r = say_replaced(store, ret_error);
        return r == 0 ? 0 : STORE_SQLITE_E_FAILED;
}

int store_sqlite_ready(StoreSqlite *store, WireError *ret_error) {
        int r;

        if (store->is_ready && !store->failed && files_are_ours(store))
                return 0;

        close_database(store);
        r = open_database(store, ret_error);
        if (r == 0)
                store->is_ready = store->was_open = store->journal_is_unsure = true;
        else
                close_database(store);
        return r;
}

/* slots */

/* Runs what gives no rows. */
static int run(StoreSqlite *store, unsigned which, WireError *ret_error) {
        sqlite3_stmt *statement = store->statements[which];
        const int code = sqlite3_step(statement);
        int r = 0;

        if (code != SQLITE_DONE)
                r = say_sqlite(store, store->db, code, ret_error);
        (void)sqlite3_reset(statement);
        (void)sqlite3_clear_bindings(statement);
        return r;
}

static sqlite3_stmt *bind_id(StoreSqlite *store, unsigned which, const Id *agent_id) {
        sqlite3_stmt *statement = store->statements[which];

        assert(which < STATEMENT_BEGIN); /* the slot is one that there is */

        /* borrowed, so it can't fail for want of memory */
        (void)sqlite3_bind_text(statement, 1, agent_id->text, agent_id->size, SQLITE_STATIC);
        return statement;
}

int store_sqlite_get(StoreSqlite *store, unsigned slot, const Id *agent_id, uint64_t *ret_generation, Slice *ret_record,
        WireError *ret_error) {
        sqlite3_stmt *statement = bind_id(store, STATEMENT_GET + slot, agent_id);
        const int code = sqlite3_step(statement);
        const void *record;

        if (code == SQLITE_DONE)
                return STORE_SQLITE_E_ABSENT;
        if (code != SQLITE_ROW)
                return say_sqlite(store, store->db, code, ret_error);

        /* whatever type it has: it must hold under its checksum */
        record = sqlite3_column_blob(statement, 1);
        if (!record && (sqlite3_errcode(store->db) & 0xFF) == SQLITE_NOMEM)
                return say_sqlite(store, store->db, SQLITE_NOMEM, ret_error);
        *ret_generation = (uint64_t)sqlite3_column_int64(statement, 0);
        *ret_record = (Slice){ record ? record : "", (size_t)sqlite3_column_bytes(statement, 1) };
        return 0;
}

void store_sqlite_release(StoreSqlite *store) {
        for (unsigned slot = 0; slot < STORE_SLOTS; slot++) {
                (void)sqlite3_reset(store->statements[STATEMENT_GET + slot]);
                (void)sqlite3_clear_bindings(store->statements[STATEMENT_GET + slot]);
        }
}

int store_sqlite_put(StoreSqlite *store, unsigned slot, const Id *agent_id, uint64_t generation, Slice record,
        WireError *ret_error) {
        sqlite3_stmt *statement = bind_id(store, STATEMENT_PUT + slot, agent_id);

        (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)generation);
        (void)sqlite3_bind_blob64(statement, 3, record.data, record.size, SQLITE_STATIC);
        return run(store, STATEMENT_PUT + slot, ret_error);
}

int store_sqlite_remove(StoreSqlite *store, unsigned slot, const Id *agent_id, WireError *ret_error) {
        (void)bind_id(store, STATEMENT_REMOVE + slot, agent_id);
        return run(store, STATEMENT_REMOVE + slot, ret_error);
}

/* transactions */

static int write_again(sqlite3_file *file) {
        char piece[65536];
        sqlite3_int64 size = 0;
        int code;

        if (!file->pMethods)
                return SQLITE_CANTOPEN;
        code = file->pMethods->xFileSize(file, &size);
        for (sqlite3_int64 at = 0; at < size && code == SQLITE_OK; at += (sqlite3_int64)sizeof(piece)) {
                const int n = (int)MIN_OF((sqlite3_int64)sizeof(piece), size - at);

                code = file->pMethods->xRead(file, piece, n, at);
                if (code == SQLITE_OK)
                        code = file->pMethods->xWrite(file, piece, n, at);
        }
        return code == SQLITE_OK ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) : code;
}

static int make_journal_sure(StoreSqlite *store, WireError *ret_error) {
        sqlite3_file *file = NULL;
        int code;

        code = sqlite3_file_control(store->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
        if (code == SQLITE_OK)
                code = write_again(file);
        if (code != SQLITE_OK)
                return say_sqlite(store, store->db, code, ret_error);

        (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        store->journal_is_unsure = false;
        return 0;
}

int store_sqlite_begin(StoreSqlite *store, WireError *ret_error) {
        int r = 0;

        if (store->journal_is_unsure)
                r = make_journal_sure(store, ret_error);
        return r != 0 ? r : run(store, STATEMENT_BEGIN, ret_error);
}

int store_sqlite_commit(StoreSqlite *store, WireError *ret_error) {
        const int r = run(store, STATEMENT_COMMIT, ret_error);

        if (r != 0)
                return r;
        return files_are_ours(store) ? 0 : say_replaced(store, ret_error);
}

void store_sqlite_rollback(StoreSqlite *store) {
        if (store->db && !sqlite3_get_autocommit(store->db))
                (void)run(store, STATEMENT_ROLLBACK, NULL);
}

int store_sqlite_begin_part(StoreSqlite *store, WireError *ret_error) {
        return run(store, STATEMENT_BEGIN_PART, ret_error);
}

int store_sqlite_keep_part(StoreSqlite *store, WireError *ret_error) {
        return run(store, STATEMENT_KEEP_PART, ret_error);
}

int store_sqlite_undo_part(StoreSqlite *store) {
        /* a full disk or a broken one ends the transaction, and its savepoints with it */
        if (sqlite3_get_autocommit(store->db) || run(store, STATEMENT_UNDO_PART, NULL) != 0)
                return STORE_SQLITE_E_FAILED;
        return run(store, STATEMENT_KEEP_PART, NULL) == 0 ? 0 : STORE_SQLITE_E_FAILED;
}
