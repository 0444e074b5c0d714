/* SPDX-License-Identifier: MIT */

/*
 * Files of a sound store are cut and changed at places all over them, and opened. A load may give what was saved last,
 * or say by an outcome and a sentence why it can't; it may never give anything else, and never that there was nothing.
 */

#include "common/rng.h"
#include "tests/unit/runtimed/test_store.h"

#define N_AGENTS 60
#define N_FLIPS 500
#define N_CUTS 120
#define N_WAL_CHANGES 120
#define PAGE 4096

/* Some agents are large, so that they have pages of their own. */
static void state_of_agent(int agent, uint64_t generation, Buffer *ret) {
        const size_t size = agent % 10 == 0 ? 20000 : (size_t)(20 + agent * 3);
        char line[64];

        buffer_clear(ret);
        while (ret->size < size) {
                (void)snprintf(line, sizeof(line), "agent %d, generation %d; ", agent, (int)generation);
                buffer_append_slice(ret, slice_of(line));
        }
        assert_false(ret->failed);
}

/* Agents have different numbers of saves behind them; the first was saved once. */
static uint64_t newest_of(int agent) {
        return (uint64_t)(1 + agent % 4);
}

static void name_of(int agent, char name[static 32]) {
        (void)snprintf(name, 32, "agent-%d", agent);
}

static void fill(Place *place) {
        _cleanup_(buffer_done) Buffer content = { 0 };
        char name[32];

        place_open(place);
        for (uint64_t generation = 1; generation <= 4; generation++)
                for (int agent = 0; agent < N_AGENTS; agent++) {
                        StoreRequest *request;

                        if (generation > newest_of(agent))
                                continue;
                        name_of(agent, name);
                        state_of_agent(agent, generation, &content);
                        request = ask(place->store, STORE_SAVE, name, generation, buffer_slice(&content));
                        assert_int_equal(request->outcome, STORE_DONE);
                        (void)store_request_free(request);
                }
}

typedef struct Tally {
        size_t n[_STORE_OUTCOME_MAX], n_previous;
        uint64_t lowest_done; /* generations below the newest that DONE may give: only for a cut journal */
} Tally;

static void check_state(int agent, uint64_t generation, const Buffer *state) {
        _cleanup_(buffer_done) Buffer expected = { 0 };

        state_of_agent(agent, generation, &expected);
        assert_true(slice_equal(buffer_slice(&expected), buffer_slice(state)));
}

static void check(const StoreRequest *request, int agent, Tally *tally) {
        const uint64_t newest = newest_of(agent);

        tally->n[request->outcome]++;
        if (request->outcome == STORE_DONE) {
                check_state(agent, request->generation, &request->state);
                assert_true(request->generation + tally->lowest_done >= newest && request->generation <= newest);
        } else if (request->outcome == STORE_EMPTY) {
                assert_true(tally->lowest_done >= newest);
        } else {
                assert_true(request->error.text[0] != '\0');
        }
        if (request->has_previous) {
                tally->n_previous++;
                check_state(agent, request->previous_generation, &request->previous);
                assert_true(request->previous_generation > 0 && request->previous_generation <= newest);
        }
}

/* All agents, from whatever the file is now. */
static void load_all(Place *place, Tally *tally) {
        StoreRequest *list = NULL, *next;
        int n_done = 0;
        char name[32];

        place_open(place);
        for (int agent = N_AGENTS - 1; agent >= 0; agent--) {
                StoreRequest *request;

                name_of(agent, name);
                request = request_new(STORE_LOAD, name, 0, SLICE_NONE);
                request->next = list;
                list = request;
        }
        store_submit(place->store, list);
        while (n_done < N_AGENTS)
                for (StoreRequest *request = wait_for_some(place->store); request; request = next) {
                        next = request->next;
                        check(request, n_done++, tally);
                        (void)store_request_free(request);
                }
        place_close(place);
}

static void put_file(const Place *place, const char *ending, Slice bytes) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", place->file, ending);
        (void)unlink(path);
        write_file(path, bytes);
}

static void remove_file(const Place *place, const char *ending) {
        char path[128];

        (void)snprintf(path, sizeof(path), "%s%s", place->file, ending);
        (void)unlink(path);
}

/* One bit, or a run of bytes that became zero, or a whole page. */
static void damage(Buffer *bytes, Rng *rng, size_t i) {
        const size_t at = i < 100 ? i : (size_t)rng_below(rng, bytes->size); /* the header is walked byte by byte */
        const size_t n = i % 5 == 3 ? 64 : PAGE;

        if (i % 5 < 3 || at < 100)
                bytes->data[at] ^= (char)(1U << rng_below(rng, 8));
        else if (i % 5 == 3)
                memset(bytes->data + at, 0, MIN_OF(n, bytes->size - at));
        else
                memset(bytes->data + at / PAGE * PAGE, (int)rng_below(rng, 256),
                        MIN_OF(n, bytes->size - at / PAGE * PAGE));
}

static void a_changed_file_gives_the_newest_or_a_reason(void **state) {
        _cleanup_(buffer_done) Buffer sound = { 0 }, changed = { 0 };
        const size_t n_flips = (size_t)N_FLIPS * test_factor();
        Tally tally = { .lowest_done = 0 };
        Place place;
        Rng rng;

        (void)state;

        rng_seed(&rng, 11);
        place_init(&place);
        fill(&place);
        place_close(&place);
        read_file(place.file, &sound);
        for (size_t i = 0; i < n_flips; i++) {
                buffer_clear(&changed);
                buffer_append_slice(&changed, buffer_slice(&sound));
                damage(&changed, &rng, i);
                remove_file(&place, "-wal");
                put_file(&place, "", buffer_slice(&changed));
                load_all(&place, &tally);
        }
        print_message("%zu changes, %zu loads: %zu newest, %zu damaged, %zu unreadable, %zu with the one before\n",
                n_flips, n_flips * N_AGENTS, tally.n[STORE_DONE], tally.n[STORE_DAMAGED], tally.n[STORE_UNREADABLE],
                tally.n_previous);
        assert_true(tally.n[STORE_DAMAGED] > 100 && tally.n_previous > 100);
        assert_true(tally.n[STORE_DONE] > n_flips * N_AGENTS / 2); /* who is not hit is served */
        place_done(&place);
}

static void a_cut_file_gives_the_newest_or_a_reason(void **state) {
        _cleanup_(buffer_done) Buffer sound = { 0 };
        Tally tally = { .lowest_done = 0 };
        Place place;
        Rng rng;

        (void)state;

        rng_seed(&rng, 12);
        place_init(&place);
        fill(&place);
        place_close(&place);
        read_file(place.file, &sound);
        for (size_t i = 0; i < N_CUTS; i++) {
                size_t size = (size_t)rng_below(&rng, sound.size);

                if (i % 2 == 0)
                        size = size / PAGE * PAGE;
                remove_file(&place, "-wal");
                put_file(&place, "", (Slice){ sound.data, i == 0 ? 0 : size });
                load_all(&place, &tally);
        }
        assert_int_equal(tally.n[STORE_DONE] + tally.n[STORE_UNREADABLE] + tally.n[STORE_DAMAGED], N_CUTS * N_AGENTS);
        assert_true(tally.n[STORE_UNREADABLE] > 0);
        place_done(&place);
}

/*
 * A journal that ends early is what a power cut leaves before a commit was acknowledged; nobody can tell that from one
 * that was damaged later. So here an older state may come back, but whole, and of that agent.
 */
static void a_changed_journal_gives_something_that_was_saved(void **state) {
        _cleanup_(buffer_done) Buffer sound = { 0 }, journal = { 0 }, changed = { 0 };
        Tally tally = { .lowest_done = 4 };
        char wal[128];
        Place place;
        Rng rng;

        (void)state;

        rng_seed(&rng, 13);
        place_init(&place);
        fill(&place);
        (void)snprintf(wal, sizeof(wal), "%s-wal", place.file);
        read_file(place.file, &sound); /* as it lies there in the middle, as after kill -9 */
        read_file(wal, &journal);
        place_close(&place);
        assert_true(journal.size > (size_t)10 * PAGE);

        for (size_t i = 0; i < N_WAL_CHANGES; i++) {
                buffer_clear(&changed);
                buffer_append_slice(&changed, buffer_slice(&journal));
                if (i % 3 == 0)
                        changed.size = (size_t)rng_below(&rng, changed.size);
                else
                        damage(&changed, &rng, 100 + i);
                put_file(&place, "-wal", buffer_slice(&changed));
                put_file(&place, "", buffer_slice(&sound));
                load_all(&place, &tally);
        }
        assert_int_equal(
                tally.n[STORE_DONE] + tally.n[STORE_EMPTY] + tally.n[STORE_UNREADABLE], N_WAL_CHANGES * N_AGENTS);
        assert_true(tally.n[STORE_DONE] > 0);
        place_done(&place);
}

static size_t save_over_damage(Place *place) {
        size_t n_saved = 0;
        char name[32];

        place_open(place);
        for (int agent = 0; agent < N_AGENTS; agent++) {
                name_of(agent, name);
                if (save(place->store, name, 100, "saved over the damage") != STORE_DONE)
                        continue;
                n_saved++;
                assert_loads(place->store, name, 100, "saved over the damage");
        }
        place_close(place);
        return n_saved;
}

/* What is damaged can't be loaded, and all else can; saving goes on, too. */
static void one_bad_page_takes_few_agents_down(void **state) {
        enum { N_ROOTS = 4 }; /* of two tables and their indexes: behind a bad one nothing of that table is found */
        _cleanup_(buffer_done) Buffer sound = { 0 };
        size_t n_roots = 0;
        Place place;

        (void)state;

        place_init(&place);
        fill(&place);
        place_close(&place);
        read_file(place.file, &sound);
        for (size_t page = 1; page < sound.size / PAGE; page++) {
                _cleanup_(buffer_done) Buffer changed = { 0 };
                Tally tally = { .lowest_done = 0 };

                buffer_append_slice(&changed, buffer_slice(&sound));
                memset(changed.data + page * PAGE, 0xA5, PAGE);
                remove_file(&place, "-wal");
                put_file(&place, "", buffer_slice(&changed));
                load_all(&place, &tally);
                assert_int_equal(tally.n[STORE_EMPTY] + tally.n[STORE_NEWER], 0);
                if (tally.n[STORE_DONE] < N_AGENTS * 2 / 3)
                        n_roots++;
                if (page % 4 == 1)
                        assert_true(save_over_damage(&place) >= tally.n[STORE_DONE] / 2);
        }
        assert_true(n_roots <= N_ROOTS);
        place_done(&place);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_changed_file_gives_the_newest_or_a_reason),
                cmocka_unit_test(a_cut_file_gives_the_newest_or_a_reason),
                cmocka_unit_test(a_changed_journal_gives_something_that_was_saved),
                cmocka_unit_test(one_bad_page_takes_few_agents_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
