/* SPDX-License-Identifier: MIT */

/*
 * A process that saves is killed at any moment, and one runs out of disk: what was acknowledged is there.
 */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/rng.h"
#include "tests/unit/runtimed/test_store.h"

#define N_AGENTS 5
#define N_ROUNDS 50
#define STATE_MAX (200 * 1000)

static void name_of(unsigned agent, char name[static 32]) {
        (void)snprintf(name, 32, "agent-%u", agent);
}

/* All bytes of it depend on the generation. */
static void state_of(uint64_t generation, Buffer *ret) {
        const size_t size = generation % 17 == 0 ? STATE_MAX : (size_t)(generation * 37 % 3000);

        buffer_clear(ret);
        for (size_t i = 0; i < size; i += sizeof(generation)) {
                const uint64_t word = generation * 1000003 + i;

                buffer_append(ret, &word, sizeof(word));
        }
}

typedef struct Acknowledged {
        uint64_t agent, generation;
} Acknowledged;

/* in the process that is killed */

static void submit_some(Store *store, Rng *rng, uint64_t *generation) {
        StoreRequest *list = NULL;
        char name[32];

        for (uint64_t n = 1 + rng_below(rng, 4); n > 0; n--) {
                StoreRequest *request;
                const unsigned agent = (unsigned)rng_below(rng, N_AGENTS);

                name_of(agent, name);
                request = request_new(STORE_SAVE, name, 0, SLICE_NONE);
                request->generation = ++*generation;
                state_of(request->generation, &request->state);
                request->userdata = (void *)(uintptr_t)agent;
                request->next = NULL;
                if (list) {
                        StoreRequest *last = list;

                        while (last->next)
                                last = last->next;
                        last->next = request;
                } else
                        list = request;
        }
        store_submit(store, list);
}

static void save_until_killed(const Place *place, uint64_t generation, uint64_t seed, int fd) {
        WireError error;
        Store *store;
        Rng rng;

        rng_seed(&rng, seed);
        if (store_new(place->where, &store, &error) != 0)
                _exit(1);
        for (;;) {
                StoreRequest *next;

                submit_some(store, &rng, &generation);
                for (StoreRequest *request = wait_for_some(store); request; request = next) {
                        const Acknowledged record = { (uintptr_t)request->userdata, request->generation };

                        next = request->next;
                        if (request->outcome != STORE_DONE)
                                _exit(2);
                        if (write(fd, &record, sizeof(record)) != sizeof(record))
                                _exit(3);
                        (void)store_request_free(request);
                }
        }
}

/* in the process that kills */

/* Lets it get so far, then a little further, then kills it. What it acknowledged until then is in `last`. */
static void kill_after(pid_t pid, int fd, uint64_t n_records, int more_msec, uint64_t last[static N_AGENTS]) {
        Acknowledged record;
        int status;

        for (uint64_t i = 0; i < n_records && read(fd, &record, sizeof(record)) == sizeof(record); i++)
                last[record.agent] = record.generation;
        (void)poll(NULL, 0, more_msec); /* no wait for anything: the moment is to be any */
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fd, &record, sizeof(record)) == sizeof(record))
                last[record.agent] = record.generation;
}

static void what_it_acknowledged_is_there(Place *place, uint64_t last[static N_AGENTS]) {
        _cleanup_(buffer_done) Buffer expected = { 0 };
        char name[32];

        place_open(place);
        for (unsigned agent = 0; agent < N_AGENTS; agent++) {
                StoreRequest *request;

                name_of(agent, name);
                request = load(place->store, name);
                if (request->outcome == STORE_EMPTY) {
                        assert_int_equal(last[agent], 0);
                } else {
                        assert_int_equal(request->outcome, STORE_DONE);
                        assert_true(request->generation >= last[agent]);
                        state_of(request->generation, &expected);
                        assert_true(slice_equal(buffer_slice(&expected), buffer_slice(&request->state)));
                        last[agent] = request->generation;
                }
                (void)store_request_free(request);
        }
        place_close(place);
}

static void what_was_acknowledged_survives_kill_9(void **state) {
        uint64_t last[N_AGENTS] = { 0 };
        Place place;
        Rng rng;

        (void)state;

        assert_int_equal(rng_seed_from_system(&rng), 0);
        place_init(&place);
        for (unsigned round = 0; round < N_ROUNDS * test_factor(); round++) {
                int fds[2];
                pid_t pid;

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        save_until_killed(&place, (uint64_t)round * 1000000, rng_next(&rng), fds[1]);
                (void)close(fds[1]);
                kill_after(pid, fds[0], rng_below(&rng, 60), (int)rng_below(&rng, 8), last);
                (void)close(fds[0]);
                what_it_acknowledged_is_there(&place, last);
        }
        place_done(&place);
}

/* no room */

static void check_all(Store *store, uint64_t up_to) {
        char name[32];

        for (uint64_t generation = 1; generation <= up_to; generation++) {
                _cleanup_(buffer_done) Buffer expected = { 0 };
                _cleanup_(store_request_freep) StoreRequest *request = NULL;

                name_of((unsigned)generation, name);
                request = load(store, name);
                state_of(generation, &expected);
                assert_int_equal(request->outcome, STORE_DONE);
                assert_true(slice_equal(buffer_slice(&expected), buffer_slice(&request->state)));
        }
}

/* Saves agent after agent until one can't be; returns how many could. */
static uint64_t save_until_full(Store *store, const char *why) {
        _cleanup_(buffer_done) Buffer content = { 0 };
        uint64_t generation = 0;
        StoreOutcome outcome;
        char name[32];

        do {
                StoreRequest *request;

                generation++;
                name_of((unsigned)generation, name);
                state_of(generation, &content);
                request = ask(store, STORE_SAVE, name, generation, buffer_slice(&content));
                outcome = request->outcome;
                if (outcome != STORE_DONE) {
                        assert_int_equal(outcome, STORE_UNWRITABLE);
                        assert_non_null(strstr(request->error.text, "/state.db"));
                        if (!strstr(request->error.text, why))
                                fail_msg("\"%s\" is not in \"%s\"", why, request->error.text);
                }
                (void)store_request_free(request);
        } while (outcome == STORE_DONE);
        return generation - 1;
}

static void limit_files(rlim_t size) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int lift_limit(void **state) {
        (void)state;

        limit_files(RLIM_INFINITY);
        return 0;
}

static void a_file_that_may_not_grow_is_said_and_loses_nothing(void **state) {
        uint64_t n;
        Place place;

        (void)state;

        (void)signal(SIGXFSZ, SIG_IGN);
        limit_files((rlim_t)400 * 1000);
        place_init(&place);
        place_open(&place);
        n = save_until_full(place.store, "File too large");
        assert_true(n > 10);
        check_all(place.store, n);

        limit_files(RLIM_INFINITY);
        assert_int_equal(save(place.store, "late", 1, "there is room again"), STORE_DONE);
        place_close(&place);
        place_open(&place);
        check_all(place.store, n);
        assert_loads(place.store, "late", 1, "there is room again");
        place_done(&place);
}

static void write_text(const char *path, const char *text) {
        const int fd = open(path, O_WRONLY | O_CLOEXEC);

        (void)!write(fd, text, strlen(text));
        (void)close(fd);
}

/* Mounts that nobody else sees: as root, or where the kernel lets anybody be root for himself. */
static bool have_own_mounts(void) {
        char users[32], groups[32];

        if (unshare(CLONE_NEWNS) == 0)
                return true;
        (void)snprintf(users, sizeof(users), "0 %u 1", (unsigned)getuid());
        (void)snprintf(groups, sizeof(groups), "0 %u 1", (unsigned)getgid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
                return false;
        write_text("/proc/self/uid_map", users);
        write_text("/proc/self/setgroups", "deny"); /* else the next is not allowed */
        write_text("/proc/self/gid_map", groups);
        return true;
}

/* The last test: what it mounts goes with this process. */
static void a_full_disk_is_said_and_loses_nothing(void **state) {
        static char zeros[128 * 1024];
        char filler[128];
        Place place;
        uint64_t n;

        (void)state;

        place_init(&place);
        if (!have_own_mounts() || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
                mount("none", place.directory, "tmpfs", 0, "size=800k,mode=0700") != 0) {
                place_done(&place);
                print_message("left out: no small file system can be mounted here\n");
                skip();
        }

        (void)snprintf(filler, sizeof(filler), "%s/filler", place.directory);
        write_file(filler, (Slice){ zeros, sizeof(zeros) });
        place_open(&place);
        n = save_until_full(place.store, "the disk is full");
        assert_true(n > 10);
        check_all(place.store, n);
        assert_int_equal(unlink(filler), 0);
        assert_int_equal(save(place.store, "late", 1, "there is room again"), STORE_DONE);
        place_close(&place);
        place_open(&place);
        check_all(place.store, n);
        assert_loads(place.store, "late", 1, "there is room again");
        place_close(&place);
        assert_int_equal(umount2(place.directory, MNT_DETACH), 0);
        place_done(&place);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_acknowledged_survives_kill_9),
                cmocka_unit_test_teardown(a_file_that_may_not_grow_is_said_and_loses_nothing, lift_limit),
                cmocka_unit_test(a_full_disk_is_said_and_loses_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
