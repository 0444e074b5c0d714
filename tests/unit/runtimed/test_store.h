/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the tests of the store share: a directory of their own, a store in it, requests one by one or in lists.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtimed/store.h"

typedef struct Place {
        char directory[64], file[80], where[96];
        Store *store;
} Place;

static inline void place_init(Place *place) {
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(place->directory, sizeof(place->directory), "%.40s/store-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(place->directory));
        (void)snprintf(place->file, sizeof(place->file), "%s/state.db", place->directory);
        (void)snprintf(place->where, sizeof(place->where), "sqlite:%s", place->file);
        place->store = NULL;
}

static inline void place_open(Place *place) {
        WireError error = { "" };

        assert_int_equal(store_new(place->where, &place->store, &error), 0);
}

static inline void place_close(Place *place) {
        place->store = store_free(place->store);
}

static inline void place_done(Place *place) {
        static const char *const endings[] = { "", "-wal", "-journal" };
        char path[128];

        place_close(place);
        for (size_t i = 0; i < ELEMENTSOF(endings); i++) {
                (void)snprintf(path, sizeof(path), "%s%s", place->file, endings[i]);
                (void)unlink(path);
        }
        assert_int_equal(rmdir(place->directory), 0); /* nothing else was left behind */
}

static inline StoreRequest *request_new(
        StoreOperation operation, const char *agent_id, uint64_t generation, Slice state) {
        StoreRequest *request = calloc(1, sizeof(*request));

        assert_non_null(request);
        request->operation = operation;
        request->agent_id = id_of(slice_of(agent_id));
        request->generation = generation;
        if (operation == STORE_SAVE)
                buffer_append_slice(&request->state, state);
        return request;
}

/* The next that are done, as a list; waits for them. */
static inline StoreRequest *wait_for_some(Store *store) {
        struct pollfd fd = { .fd = store_fd(store), .events = POLLIN };
        StoreRequest *list;

        do {
                assert_int_equal(poll(&fd, 1, 60000), 1);
                list = store_take(store);
        } while (!list);
        return list;
}

/* One request from its submission to its end. The caller frees it. */
static inline StoreRequest *ask(
        Store *store, StoreOperation operation, const char *agent_id, uint64_t generation, Slice state) {
        StoreRequest *request = request_new(operation, agent_id, generation, state);

        store_submit(store, request);
        assert_ptr_equal(wait_for_some(store), request);
        assert_null(request->next);
        assert_int_equal(
                request->error.text[0] == '\0', request->outcome == STORE_DONE || request->outcome == STORE_EMPTY);
        return request;
}

static inline StoreOutcome save(Store *store, const char *agent_id, uint64_t generation, const char *state) {
        _cleanup_(store_request_freep) StoreRequest *request =
                ask(store, STORE_SAVE, agent_id, generation, slice_of(state));

        return request->outcome;
}

static inline StoreOutcome forget(Store *store, const char *agent_id) {
        _cleanup_(store_request_freep) StoreRequest *request = ask(store, STORE_FORGET, agent_id, 0, SLICE_NONE);

        return request->outcome;
}

static inline StoreRequest *load(Store *store, const char *agent_id) {
        return ask(store, STORE_LOAD, agent_id, 0, SLICE_NONE);
}

static inline void assert_loads(Store *store, const char *agent_id, uint64_t generation, const char *state) {
        _cleanup_(store_request_freep) StoreRequest *request = load(store, agent_id);

        if (request->outcome != STORE_DONE)
                print_error("%s: %s\n", store_outcome_names[request->outcome], request->error.text);
        assert_int_equal(request->outcome, STORE_DONE);
        assert_int_equal(request->generation, generation);
        assert_true(slice_equal(buffer_slice(&request->state), slice_of(state)));
}

/* An outcome with a sentence that names the file and, with `why`, the reason. */
static inline void assert_load_fails(Store *store, const char *agent_id, StoreOutcome outcome, const char *why) {
        _cleanup_(store_request_freep) StoreRequest *request = load(store, agent_id);

        assert_int_equal(request->outcome, outcome);
        if (outcome != STORE_EMPTY)
                assert_non_null(strstr(request->error.text, "/state.db"));
        if (!strstr(request->error.text, why))
                print_error("\"%s\" is not in \"%s\"\n", why, request->error.text);
        assert_non_null(strstr(request->error.text, why));
}

static inline void assert_save_fails(Store *store, const char *agent_id, uint64_t generation, const char *why) {
        _cleanup_(store_request_freep) StoreRequest *request = ask(store, STORE_SAVE, agent_id, generation, SLICE("x"));

        assert_int_equal(request->outcome, STORE_UNWRITABLE);
        assert_non_null(strstr(request->error.text, "/state.db"));
        if (!strstr(request->error.text, why))
                print_error("\"%s\" is not in \"%s\"\n", why, request->error.text);
        assert_non_null(strstr(request->error.text, why));
}

/* STORE_TEST_FACTOR=n: so many times the rounds, each with other numbers. */
static inline unsigned test_factor(void) {
        const char *text = getenv("STORE_TEST_FACTOR");

        return text ? (unsigned)strtoul(text, NULL, 10) : 1;
}

/* Files as bytes. */

static inline void read_file(const char *path, Buffer *ret) {
        FILE *file = fopen(path, "rb");
        char piece[65536];
        size_t n;

        assert_non_null(file);
        buffer_clear(ret);
        while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
                buffer_append(ret, piece, n);
        (void)fclose(file);
        assert_false(ret->failed);
}

static inline void write_file(const char *path, Slice bytes) {
        const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes.data, bytes.size), (ssize_t)bytes.size);
        (void)close(fd);
}
