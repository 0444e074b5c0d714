/* SPDX-License-Identifier: MIT */

/*
 * bench_store: how many states a second the state store keeps, beside what SQLite does without it.
 *
 *     bench_store [-s SECONDS] [-b BYTES] [DIRECTORY]
 *
 * In turns, over several rounds: the store, given 1, 64 and 1024 saves at once (of as many agents) and waited for each
 * time; and bare SQLite, the same journal and syncs, one table, as many rows in each transaction. What both wait for is
 * the disk under DIRECTORY (default: the current one). A line per kind: saves per second, the median of the rounds.
 */

#include <getopt.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtimed/store.h"

#define ROUNDS 5
#define PATH_BYTES 4096

typedef struct Bench {
        double seconds; /* of one cell in one round */
        size_t state_bytes;
        char *state;
        char store_where[PATH_BYTES + 16], bare_path[PATH_BYTES];
        const char *store_path; /* in store_where */

        Store *store;
        uint64_t generation;

        sqlite3 *bare;
        sqlite3_stmt *put;
} Bench;

static double now_seconds(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void give_up(const char *what, const char *why) {
        (void)fprintf(stderr, "bench_store: %s: %s\n", what, why);
        exit(EXIT_FAILURE);
}

static void name_of(size_t agent, char name[static 32]) {
        (void)snprintf(name, 32, "agent-%zu", agent);
}

/* SQLite writes no page for a row that stays as it was. */
static void change_state(Bench *bench) {
        bench->generation++;
        (void)snprintf(bench->state, bench->state_bytes, "%llu", (unsigned long long)bench->generation);
}

/* ours */

static StoreRequest *make_requests(Bench *bench, size_t n) {
        StoreRequest *list = NULL;
        char name[32];

        for (size_t i = n; i > 0; i--) {
                StoreRequest *request = calloc(1, sizeof(*request));

                if (!request)
                        give_up("request", "memory is out");
                name_of(i, name);
                request->operation = STORE_SAVE;
                request->agent_id = id_of(slice_of(name));
                request->generation = bench->generation;
                buffer_append(&request->state, bench->state, bench->state_bytes);
                request->next = list;
                list = request;
        }
        return list;
}

static void save_with_store(Bench *bench, size_t n) {
        struct pollfd fd = { .fd = store_fd(bench->store), .events = POLLIN };
        StoreRequest *next;

        change_state(bench);
        store_submit(bench->store, make_requests(bench, n));
        while (n > 0) {
                (void)poll(&fd, 1, -1);
                for (StoreRequest *request = store_take(bench->store); request; request = next) {
                        next = request->next;
                        if (request->outcome != STORE_DONE)
                                give_up("save", request->error.text);
                        (void)store_request_free(request);
                        n--;
                }
        }
}

/* bare */

static void sql(Bench *bench, const char *text) {
        if (sqlite3_exec(bench->bare, text, NULL, NULL, NULL) != SQLITE_OK)
                give_up(text, sqlite3_errmsg(bench->bare));
}

static void open_bare(Bench *bench) {
        if (sqlite3_open(bench->bare_path, &bench->bare) != SQLITE_OK)
                give_up(bench->bare_path, sqlite3_errmsg(bench->bare));
        sql(bench, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                   "CREATE TABLE state (agent_id TEXT PRIMARY KEY, record BLOB)");
        if (sqlite3_prepare_v2(bench->bare,
                    "INSERT INTO state VALUES (?1, ?2) ON CONFLICT (agent_id) DO UPDATE SET record = excluded.record",
                    -1, &bench->put, NULL) != SQLITE_OK)
                give_up("prepare", sqlite3_errmsg(bench->bare));
}

static void save_bare(Bench *bench, size_t n) {
        char name[32];

        change_state(bench);
        sql(bench, "BEGIN IMMEDIATE");
        for (size_t i = 1; i <= n; i++) {
                name_of(i, name);
                (void)sqlite3_bind_text(bench->put, 1, name, -1, SQLITE_STATIC);
                (void)sqlite3_bind_blob(bench->put, 2, bench->state, (int)bench->state_bytes, SQLITE_STATIC);
                if (sqlite3_step(bench->put) != SQLITE_DONE)
                        give_up("put", sqlite3_errmsg(bench->bare));
                (void)sqlite3_reset(bench->put);
        }
        sql(bench, "COMMIT");
}

/* measuring */

static double rate(Bench *bench, void (*save)(Bench *, size_t), size_t n) {
        const double begin = now_seconds();
        double elapsed;
        size_t n_saved = 0;

        do {
                save(bench, n);
                n_saved += n;
                elapsed = now_seconds() - begin;
        } while (elapsed < bench->seconds);
        return (double)n_saved / elapsed;
}

static int compare(const void *a, const void *b) {
        const double *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static void measure(Bench *bench) {
        static const size_t sizes[] = { 1, 64, 1024 };

        (void)printf("%8s %16s %16s %8s\n", "at once", "store, saves/s", "bare SQLite", "ratio");
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                double ours[ROUNDS], bare[ROUNDS], ratios[ROUNDS];

                for (size_t round = 0; round < ROUNDS; round++) {
                        ours[round] = rate(bench, save_with_store, sizes[i]);
                        bare[round] = rate(bench, save_bare, sizes[i]);
                        ratios[round] = ours[round] / bare[round];
                }
                qsort(ours, ROUNDS, sizeof(ours[0]), compare);
                qsort(bare, ROUNDS, sizeof(bare[0]), compare);
                qsort(ratios, ROUNDS, sizeof(ratios[0]), compare);
                (void)printf(
                        "%8zu %16.0f %16.0f %8.2f\n", sizes[i], ours[ROUNDS / 2], bare[ROUNDS / 2], ratios[ROUNDS / 2]);
        }
}

static void remove_files(const char *path) {
        char wal[PATH_BYTES + 8];

        (void)snprintf(wal, sizeof(wal), "%s-wal", path);
        (void)unlink(path);
        (void)unlink(wal);
}

int main(int argc, char **argv) {
        Bench bench = { .seconds = 0.5, .state_bytes = 1024 };
        const char *directory = ".";
        WireError error;
        int option;

        while ((option = getopt(argc, argv, "s:b:")) != -1) {
                if (option == 's')
                        bench.seconds = strtod(optarg, NULL);
                else if (option == 'b')
                        bench.state_bytes = strtoul(optarg, NULL, 10);
                else
                        give_up("usage", "bench_store [-s SECONDS] [-b BYTES] [DIRECTORY]");
        }
        if (optind < argc)
                directory = argv[optind];

        (void)snprintf(bench.store_where, sizeof(bench.store_where), "sqlite:%.4000s/bench_store-%d.db", directory,
                (int)getpid());
        (void)snprintf(bench.bare_path, sizeof(bench.bare_path), "%.4000s/bench_bare-%d.db", directory, (int)getpid());
        bench.store_path = bench.store_where + strlen("sqlite:");
        bench.state = calloc(1, bench.state_bytes + 1);
        if (!bench.state)
                give_up("state", "memory is out");
        memset(bench.state, 's', bench.state_bytes);
        if (store_new(bench.store_where, &bench.store, &error) != 0)
                give_up(bench.store_where, error.text);
        open_bare(&bench);

        measure(&bench);

        bench.store = store_free(bench.store);
        (void)sqlite3_finalize(bench.put);
        (void)sqlite3_close(bench.bare);
        remove_files(bench.store_path);
        remove_files(bench.bare_path);
        free(bench.state);
        return EXIT_SUCCESS;
}
