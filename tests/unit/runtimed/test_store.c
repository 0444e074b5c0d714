/* SPDX-License-Identifier: MIT */

#include <openssl/sha.h>
#include <sqlite3.h>

#include "runtimed/state_record.h"
#include "tests/unit/runtimed/test_store.h"

/* what it is told */

static void only_sqlite_with_a_path_is_a_store(void **state) {
        static const struct {
                const char *where, *says;
        } cases[] = {
                { "sqlite:", "sqlite:PATH" },
                { "jetstream:states", "\"jetstream:states\" is no state store: sqlite:PATH and none are" },
                { "", "sqlite:PATH" },
                { "/var/lib/x.db", "sqlite:PATH" },
                { "SQLITE:x", "sqlite:PATH" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WireError error = { "" };
                Store *store = NULL;

                assert_int_equal(store_new(cases[i].where, &store, &error), -EINVAL);
                assert_null(store);
                assert_non_null(strstr(error.text, cases[i].says));
        }
        for (size_t i = 0; i < _STORE_OUTCOME_MAX; i++)
                assert_non_null(store_outcome_names[i]);
}

static void what_was_saved_is_loaded_also_by_the_next_process(void **state) {
        struct stat st;
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_load_fails(place.store, "a", STORE_EMPTY, "");
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        assert_int_equal(save(place.store, "b", 7, ""), STORE_DONE);
        assert_loads(place.store, "a", 1, "one");
        place_close(&place);

        assert_int_equal(stat(place.file, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);

        place_open(&place);
        assert_loads(place.store, "a", 1, "one");
        assert_loads(place.store, "b", 7, "");
        assert_load_fails(place.store, "c", STORE_EMPTY, "");
        assert_int_equal(save(place.store, "a", 2, "two"), STORE_DONE);
        assert_int_equal(save(place.store, "a", 5, "five"), STORE_DONE);
        assert_loads(place.store, "a", 5, "five");
        place_done(&place);
}

static void a_forgotten_agent_is_as_if_never_saved(void **state) {
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(forget(place.store, "a"), STORE_DONE);
        assert_int_equal(save(place.store, "a", 8, "x"), STORE_DONE);
        assert_int_equal(save(place.store, "a", 9, "y"), STORE_DONE);
        assert_int_equal(save(place.store, "b", 1, "b"), STORE_DONE);
        assert_int_equal(forget(place.store, "a"), STORE_DONE);
        assert_load_fails(place.store, "a", STORE_EMPTY, "");
        assert_int_equal(save(place.store, "a", 1, "again"), STORE_DONE);
        assert_loads(place.store, "a", 1, "again");
        assert_loads(place.store, "b", 1, "b");
        place_done(&place);
}

static void a_generation_that_is_not_above_is_refused(void **state) {
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 8, "x"), STORE_DONE);
        assert_save_fails(place.store, "a", 7, "generation 7 is not above 8");
        place_done(&place);
}

static void large_states_and_the_limit(void **state) {
        StoreRequest *request;
        const size_t size = 9 * 1000 * 1000;
        char *bytes = malloc(STORE_STATE_BYTES_MAX + 1);
        Place place;

        (void)state;

        assert_non_null(bytes);
        for (size_t i = 0; i <= STORE_STATE_BYTES_MAX; i++)
                bytes[i] = (char)(i * 31 >> 3);
        place_init(&place);
        place_open(&place);
        request = ask(place.store, STORE_SAVE, "a", 1, (Slice){ bytes, size });
        assert_int_equal(request->outcome, STORE_DONE);
        (void)store_request_free(request);
        request = ask(place.store, STORE_SAVE, "a", 2, (Slice){ bytes, STORE_STATE_BYTES_MAX + 1 });
        assert_int_equal(request->outcome, STORE_UNWRITABLE);
        assert_non_null(strstr(request->error.text, "67108864"));
        (void)store_request_free(request);
        request = load(place.store, "a");
        assert_int_equal(request->outcome, STORE_DONE);
        assert_true(slice_equal(buffer_slice(&request->state), (Slice){ bytes, size }));
        (void)store_request_free(request);
        place_done(&place);
        free(bytes);
}

/* queue */

static void push(StoreRequest **list, StoreRequest *request) {
        while (*list)
                list = &(*list)->next;
        *list = request;
}

/* Until `n` are done; they are freed, after `check` saw them in the order of their ends. */
static void finish(Store *store, size_t n, void (*check)(StoreRequest *, size_t)) {
        for (size_t i = 0; i < n;) {
                StoreRequest *next;

                for (StoreRequest *request = wait_for_some(store); request; request = next) {
                        next = request->next;
                        check(request, i++);
                        (void)store_request_free(request);
                }
        }
}

static void check_story(StoreRequest *request, size_t i) {
        static const struct {
                StoreOutcome outcome;
                uint64_t generation;
                const char *state;
        } story[] = {
                { STORE_EMPTY, 0, "" }, { STORE_DONE, 1, "one" }, { STORE_DONE, 2, "two" },
                { STORE_DONE, 2, "two" },                                                 /* load */
                { STORE_DONE, 3, "three" }, { STORE_DONE, 0, "" },                        /* forget */
                { STORE_EMPTY, 0, "" }, { STORE_DONE, 1, "anew" }, { STORE_DONE, 0, "" }, /* forget */
                { STORE_DONE, 1, "and anew" }, { STORE_DONE, 1, "and anew" },             /* load */
        };

        assert_true(i < ELEMENTSOF(story));
        assert_int_equal(request->outcome, story[i].outcome);
        assert_int_equal(request->generation, story[i].generation);
        assert_true(slice_equal(buffer_slice(&request->state), slice_of(story[i].state)));
}

static void requests_of_one_agent_are_carried_out_in_their_order(void **state) {
        StoreRequest *list = NULL;
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        push(&list, request_new(STORE_LOAD, "a", 0, SLICE_NONE));
        push(&list, request_new(STORE_SAVE, "a", 1, SLICE("one")));
        push(&list, request_new(STORE_SAVE, "a", 2, SLICE("two")));
        push(&list, request_new(STORE_LOAD, "a", 0, SLICE_NONE));
        push(&list, request_new(STORE_SAVE, "a", 3, SLICE("three")));
        push(&list, request_new(STORE_FORGET, "a", 0, SLICE_NONE));
        push(&list, request_new(STORE_LOAD, "a", 0, SLICE_NONE));
        push(&list, request_new(STORE_SAVE, "a", 1, SLICE("anew")));
        push(&list, request_new(STORE_FORGET, "a", 0, SLICE_NONE));
        push(&list, request_new(STORE_SAVE, "a", 1, SLICE("and anew")));
        push(&list, request_new(STORE_LOAD, "a", 0, SLICE_NONE));
        store_submit(place.store, list);
        finish(place.store, 11, check_story);
        place_done(&place);
}

static void check_done(StoreRequest *request, size_t i) {
        (void)i;
        assert_int_equal(request->outcome, STORE_DONE);
}

static void saves_of_one_agent_that_wait_together_are_carried_out_as_the_last(void **state) {
        StoreRequest *list = NULL;
        StoreStats stats;
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        for (uint64_t i = 1; i <= 100; i++) {
                push(&list, request_new(STORE_SAVE, "a", i, i < 100 ? SLICE("early") : SLICE("last")));
                push(&list, request_new(STORE_SAVE, "b", i, SLICE("b")));
        }
        store_submit(place.store, list);
        finish(place.store, 200, check_done);
        store_stats(place.store, &stats);
        assert_int_equal(stats.n_saved, 200);
        assert_int_equal(stats.n_failed, 0);
        assert_int_equal(stats.n_batches, 1);
        assert_int_equal(stats.n_bytes, strlen("last") + strlen("b"));
        assert_loads(place.store, "a", 100, "last");
        assert_loads(place.store, "b", 100, "b");
        place_done(&place);
}

static void check_all_but_three(StoreRequest *request, size_t i) {
        assert_int_equal(request->outcome, i == 3 || i == 5 || i == 6 ? STORE_UNWRITABLE : STORE_DONE);
        assert_int_equal(request->error.text[0] != '\0', request->outcome != STORE_DONE);
}

static void a_save_that_fails_takes_no_other_with_it(void **state) {
        StoreRequest *list = NULL, *large = request_new(STORE_SAVE, "d", 1, SLICE_NONE);
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "c", 5, "five"), STORE_DONE);
        (void)buffer_reserve(&large->state, STORE_STATE_BYTES_MAX + 1);
        large->state.size = STORE_STATE_BYTES_MAX + 1;

        push(&list, request_new(STORE_SAVE, "a", 1, SLICE("a")));
        push(&list, request_new(STORE_SAVE, "b", 1, SLICE("b")));
        push(&list, request_new(STORE_SAVE, "d", 1, SLICE("not overtaken by what can't be saved")));
        push(&list, large);
        push(&list, request_new(STORE_SAVE, "e", 1, SLICE("e")));
        push(&list, request_new(STORE_SAVE, "c", 3, SLICE("overtaken by what is refused")));
        push(&list, request_new(STORE_SAVE, "c", 4, SLICE("four")));
        store_submit(place.store, list);
        finish(place.store, 7, check_all_but_three);
        assert_loads(place.store, "a", 1, "a");
        assert_loads(place.store, "c", 5, "five");
        assert_loads(place.store, "d", 1, "not overtaken by what can't be saved");
        assert_loads(place.store, "e", 1, "e");
        place_done(&place);
}

static void the_end_waits_for_what_was_submitted(void **state) {
        enum { N = 3000 };
        StoreRequest *list = NULL;
        char id[32];
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        for (int i = N; i > 0; i--) {
                StoreRequest *request;

                (void)snprintf(id, sizeof(id), "agent-%d", i);
                request = request_new(STORE_SAVE, id, 1, slice_of(id));
                request->next = list;
                list = request;
        }
        store_submit(place.store, list);
        place_close(&place);

        place_open(&place);
        for (int i = 1; i <= N; i += 7) {
                (void)snprintf(id, sizeof(id), "agent-%d", i);
                assert_loads(place.store, id, 1, id);
        }
        place_done(&place);
}

/* two generations */

static void sql(const Place *place, const char *text) {
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(place->file, &db), SQLITE_OK);
        if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
                fail_msg("%s: %s", text, sqlite3_errmsg(db));
        (void)sqlite3_close(db);
}

/* Generation 8 ("eight") is in slot 1, 9 ("nine") in slot 0; the store is closed. */
static void place_with_two_generations(Place *place) {
        place_init(place);
        place_open(place);
        assert_int_equal(save(place->store, "b", 1, "bystander"), STORE_DONE);
        assert_int_equal(save(place->store, "a", 7, "seven"), STORE_DONE);
        assert_int_equal(save(place->store, "a", 8, "eight"), STORE_DONE);
        assert_int_equal(save(place->store, "a", 9, "nine"), STORE_DONE);
        place_close(place);
}

static StoreRequest *load_below(Store *store, const char *agent_id, uint64_t generation) {
        StoreRequest *request = request_new(STORE_LOAD, agent_id, 0, SLICE_NONE);

        request->below_generation = generation;
        store_submit(store, request);
        return wait_for_some(store);
}

static void the_generation_before_can_be_asked_for(void **state) {
        static const struct {
                const char *agent_id;
                uint64_t below;
                StoreOutcome outcome;
                const char *content;
                uint64_t generation;
        } cases[] = {
                { "a", 10, STORE_DONE, "nine", 9 },
                { "a", 9, STORE_DONE, "eight", 8 },
                { "a", 8, STORE_EMPTY, "", 9 },
                { "b", 2, STORE_DONE, "bystander", 1 },
                { "b", 1, STORE_EMPTY, "", 1 }, /* the blank is none */
                { "c", 5, STORE_EMPTY, "", 0 },
        };
        StoreRequest *request;
        Place place;

        (void)state;

        place_with_two_generations(&place);
        place_open(&place);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                request = load_below(place.store, cases[i].agent_id, cases[i].below);
                assert_int_equal(request->outcome, cases[i].outcome);
                assert_int_equal(request->generation, cases[i].generation);
                assert_true(slice_equal(buffer_slice(&request->state), slice_of(cases[i].content)));
                (void)store_request_free(request);
        }
        place_close(&place);

        sql(&place, "UPDATE slot_1 SET record = x'' WHERE agent_id = 'a'");
        place_open(&place);
        request = load_below(place.store, "a", 9);
        assert_int_equal(request->outcome, STORE_DAMAGED);
        assert_false(request->has_previous);
        (void)store_request_free(request);
        place_done(&place);
}

static void a_damaged_newest_record_is_said_and_the_one_before_is_given(void **state) {
#define A "WHERE agent_id = 'a'"
        static const struct {
                const char *sql, *says;
                StoreOutcome outcome;
                bool has_previous;
        } cases[] = {
                { "UPDATE slot_0 SET record = substr(record, 1, 40) || x'00' || substr(record, 42) " A, "checksum",
                        STORE_DAMAGED, true },
                { "UPDATE slot_0 SET record = substr(record, 1, length(record) - 1) " A, "checksum", STORE_DAMAGED,
                        true },
                { "UPDATE slot_0 SET record = x'' " A, "0 bytes", STORE_DAMAGED, true },
                { "UPDATE slot_0 SET record = 'text' " A, "4 bytes", STORE_DAMAGED, true },
                { "UPDATE slot_0 SET record = (SELECT record FROM slot_0 WHERE agent_id = 'b') " A, "that of b",
                        STORE_DAMAGED, true },
                /* an index that leads to the row of another agent, which is older */
                { "UPDATE slot_0 SET (generation, record) = (SELECT generation, record FROM slot_0 WHERE agent_id = "
                  "'b') " A,
                        "that of b", STORE_DAMAGED, true },
                { "UPDATE slot_0 SET record = x'' " A "; UPDATE slot_1 SET record = x'' " A, "0 bytes", STORE_DAMAGED,
                        false },
                { "DELETE FROM slot_0 " A, "lost", STORE_DAMAGED, true },
                { "UPDATE slot_0 SET record = (SELECT record FROM slot_1 " A ") " A, "the same record", STORE_DAMAGED,
                        false },
                /* a row that says it is older, with a header that says it is not */
                { "UPDATE slot_0 SET generation = 3, record = substr(record, 1, 40) || x'00' || substr(record, 42) " A,
                        "checksum", STORE_DAMAGED, true },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                StoreRequest *request;
                Place place;

                place_with_two_generations(&place);
                sql(&place, cases[i].sql);
                place_open(&place);
                assert_load_fails(place.store, "a", cases[i].outcome, cases[i].says);
                request = load(place.store, "a");
                assert_int_equal(request->has_previous, cases[i].has_previous);
                if (request->has_previous) {
                        assert_int_equal(request->previous_generation, 8);
                        assert_true(slice_equal(buffer_slice(&request->previous), SLICE("eight")));
                }
                assert_loads(place.store, "b", 1, "bystander");

                /* whatever the core does about it, it can save again */
                assert_int_equal(save(place.store, "a", MAX_OF(request->generation, 9) + 1, "repaired"), STORE_DONE);
                assert_loads(place.store, "a", MAX_OF(request->generation, 9) + 1, "repaired");
                (void)store_request_free(request);
                place_done(&place);
        }
}

static void a_damaged_older_record_does_not_matter(void **state) {
        static const char *const cases[] = {
                "UPDATE slot_1 SET record = substr(record, 1, 40) || x'00' || substr(record, 42) " A,
                "UPDATE slot_1 SET record = substr(record, 1, 60) " A,
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Place place;

                place_with_two_generations(&place);
                sql(&place, cases[i]);
                place_open(&place);
                assert_loads(place.store, "a", 9, "nine");
                assert_int_equal(save(place.store, "a", 10, "ten"), STORE_DONE);
                assert_loads(place.store, "a", 10, "ten");
                place_done(&place);
        }
}

static void a_save_never_touches_the_newest_sound_record(void **state) {
        Place place;

        (void)state;

        /* the newest is damaged, so the one before is the newest sound one */
        place_with_two_generations(&place);
        sql(&place, "UPDATE slot_0 SET record = x'' " A);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 10, "ten"), STORE_DONE);
        place_close(&place);
        sql(&place, "UPDATE slot_0 SET record = x'' " A);
        place_open(&place);
        {
                _cleanup_(store_request_freep) StoreRequest *request = load(place.store, "a");

                assert_int_equal(request->outcome, STORE_DAMAGED);
                assert_true(request->has_previous);
                assert_int_equal(request->previous_generation, 8);
        }
        place_done(&place);
}

static void a_first_save_that_is_lost_is_missed(void **state) {
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        place_close(&place);
        sql(&place, "DELETE FROM slot_0");
        place_open(&place);
        assert_load_fails(place.store, "a", STORE_DAMAGED, "lost");
        {
                _cleanup_(store_request_freep) StoreRequest *request = load(place.store, "a");

                assert_false(request->has_previous); /* the blank is none */
        }
        place_done(&place);
}

static void a_newer_record_is_told_from_damage(void **state) {
        _cleanup_(store_request_freep) StoreRequest *request = NULL;
        _cleanup_(buffer_done) Buffer record = { 0 }, text = { 0 };
        const Id id = id_of(SLICE("a"));
        Place place;

        (void)state;

        assert_int_equal(state_record_encode(&id, 9, SLICE("nine, in a new way"), &record), 0);
        record.data[8] = STATE_RECORD_VERSION + 1;
        (void)SHA256((const unsigned char *)record.data, record.size - SHA256_DIGEST_LENGTH,
                (unsigned char *)record.data + record.size - SHA256_DIGEST_LENGTH);
        buffer_printf(&text, "UPDATE slot_0 SET record = x'");
        for (size_t i = 0; i < record.size; i++)
                buffer_printf(&text, "%02x", (unsigned char)record.data[i]);
        buffer_printf(&text, "' " A);
        buffer_append_char(&text, '\0');

        place_with_two_generations(&place);
        sql(&place, text.data);
        place_open(&place);
        assert_load_fails(place.store, "a", STORE_NEWER, "version 2, this program reads up to 1");
        request = load(place.store, "a");
        assert_int_equal(request->generation, 9);
        assert_true(request->has_previous);
        assert_int_equal(request->previous_generation, 8);
        place_done(&place);
}

/* files */

static void fails_with(Place *place, const char *why) {
        place_open(place);
        assert_load_fails(place->store, "a", STORE_UNREADABLE, why);
        assert_save_fails(place->store, "a", 10, why);
        place_close(place);
}

static void a_file_that_is_no_store_is_named_and_left_alone(void **state) {
        _cleanup_(buffer_done) Buffer before = { 0 }, after = { 0 };
        char text[4096];
        Place place;

        (void)state;

        place_init(&place);
        memset(text, 'x', sizeof(text));
        write_file(place.file, (Slice){ text, sizeof(text) });
        fails_with(&place, "no SQLite database");
        read_file(place.file, &after);
        assert_true(slice_equal(buffer_slice(&after), (Slice){ text, sizeof(text) }));

        write_file(place.file, SLICE(""));
        fails_with(&place, "cut off, it has only 0 bytes");
        write_file(place.file, SLICE("SQLite format 3"));
        fails_with(&place, "cut off, it has only 15 bytes");

        (void)unlink(place.file);
        sql(&place, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)");
        fails_with(&place, "some other program");
        (void)unlink(place.file);
        place_done(&place);

        place_with_two_generations(&place);
        sql(&place, "PRAGMA user_version = 2");
        read_file(place.file, &before);
        fails_with(&place, "later version of this program (schema 2, this one knows 1)");
        place_done(&place);
}

static void a_path_that_leads_nowhere_is_named(void **state) {
        Place place;

        (void)state;

        place_init(&place);
        assert_int_equal(mkdir(place.file, 0700), 0);
        fails_with(&place, "it is a directory");
        assert_int_equal(rmdir(place.file), 0);

        (void)snprintf(place.where, sizeof(place.where), "sqlite:%s/no/state.db", place.directory);
        fails_with(&place, "No such file or directory");

        assert_int_equal(mkfifo(place.file, 0600), 0);
        (void)snprintf(place.where, sizeof(place.where), "sqlite:%s", place.file);
        fails_with(&place, "no regular file");
        place_done(&place);
}

static void a_failed_store_recovers_when_the_cause_is_gone(void **state) {
        Place place;

        (void)state;

        place_init(&place);
        assert_int_equal(mkdir(place.file, 0700), 0);
        place_open(&place);
        assert_load_fails(place.store, "a", STORE_UNREADABLE, "it is a directory");
        assert_int_equal(rmdir(place.file), 0);
        assert_load_fails(place.store, "a", STORE_EMPTY, "");
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        place_done(&place);
}

static void names_that_sqlite_gives_a_meaning_are_plain_files(void **state) {
        static const char *const names[] = { ":memory:", "file:x?mode=memory" };
        char old[4096], path[128];
        Place place;

        (void)state;

        assert_non_null(getcwd(old, sizeof(old)));
        place_init(&place);
        assert_int_equal(chdir(place.directory), 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                WireError error;

                (void)snprintf(path, sizeof(path), "sqlite:%s", names[i]);
                assert_int_equal(store_new(path, &place.store, &error), 0);
                assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
                place_close(&place);
                assert_int_equal(unlink(names[i]), 0);
        }
        assert_int_equal(chdir(old), 0);
        place_done(&place);
}

static void a_second_runtime_on_the_same_file_is_told_so(void **state) {
        Place place, second;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        second = place;
        place_open(&second);
        assert_load_fails(second.store, "a", STORE_UNREADABLE, "in use by another process");
        assert_save_fails(second.store, "a", 2, "in use by another process");
        assert_int_equal(save(place.store, "a", 2, "two"), STORE_DONE);

        place_close(&place);
        assert_loads(second.store, "a", 2, "two");
        place_done(&second);
}

static void a_file_removed_in_use_is_noticed_and_not_made_anew(void **state) {
        char aside[128];
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        (void)snprintf(aside, sizeof(aside), "%s.aside", place.file);
        assert_int_equal(rename(place.file, aside), 0);
        assert_save_fails(place.store, "a", 2, "removed");
        assert_load_fails(place.store, "a", STORE_UNREADABLE, "removed");
        assert_int_equal(access(place.file, F_OK), -1);

        assert_int_equal(rename(aside, place.file), 0);
        assert_loads(place.store, "a", 1, "one");
        assert_int_equal(save(place.store, "a", 2, "two"), STORE_DONE);
        place_done(&place);
}

static void a_file_replaced_in_use_is_the_one_that_counts(void **state) {
        _cleanup_(buffer_done) Buffer backup = { 0 };
        char aside[128];
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        assert_int_equal(save(place.store, "a", 1, "one"), STORE_DONE);
        place_close(&place);
        read_file(place.file, &backup);

        place_open(&place);
        for (uint64_t i = 2; i < 50; i++)
                assert_int_equal(save(place.store, "a", i, "later"), STORE_DONE);
        (void)snprintf(aside, sizeof(aside), "%s.aside", place.file);
        write_file(aside, buffer_slice(&backup));
        assert_int_equal(rename(aside, place.file), 0);
        assert_loads(place.store, "a", 1, "one");
        assert_int_equal(save(place.store, "a", 2, "anew"), STORE_DONE);
        place_close(&place);
        place_open(&place);
        assert_loads(place.store, "a", 2, "anew");
        place_done(&place);
}

static void a_journal_removed_in_use_loses_nothing_acknowledged(void **state) {
        char wal[128];
        Place place;

        (void)state;

        place_init(&place);
        place_open(&place);
        (void)snprintf(wal, sizeof(wal), "%s-wal", place.file);
        for (uint64_t i = 1; i < 20; i++) {
                assert_int_equal(save(place.store, "a", i, "x"), STORE_DONE);
                if (i % 3 == 0)
                        assert_int_equal(unlink(wal), 0);
                if (i % 6 == 0)
                        assert_loads(place.store, "a", i, "x");
        }
        place_close(&place);
        place_open(&place);
        assert_loads(place.store, "a", 19, "x");
        place_done(&place);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_sqlite_with_a_path_is_a_store),
                cmocka_unit_test(what_was_saved_is_loaded_also_by_the_next_process),
                cmocka_unit_test(a_forgotten_agent_is_as_if_never_saved),
                cmocka_unit_test(a_generation_that_is_not_above_is_refused),
                cmocka_unit_test(large_states_and_the_limit),
                cmocka_unit_test(requests_of_one_agent_are_carried_out_in_their_order),
                cmocka_unit_test(saves_of_one_agent_that_wait_together_are_carried_out_as_the_last),
                cmocka_unit_test(a_save_that_fails_takes_no_other_with_it),
                cmocka_unit_test(the_end_waits_for_what_was_submitted),
                cmocka_unit_test(the_generation_before_can_be_asked_for),
                cmocka_unit_test(a_damaged_newest_record_is_said_and_the_one_before_is_given),
                cmocka_unit_test(a_damaged_older_record_does_not_matter),
                cmocka_unit_test(a_save_never_touches_the_newest_sound_record),
                cmocka_unit_test(a_first_save_that_is_lost_is_missed),
                cmocka_unit_test(a_newer_record_is_told_from_damage),
                cmocka_unit_test(a_file_that_is_no_store_is_named_and_left_alone),
                cmocka_unit_test(a_path_that_leads_nowhere_is_named),
                cmocka_unit_test(a_failed_store_recovers_when_the_cause_is_gone),
                cmocka_unit_test(names_that_sqlite_gives_a_meaning_are_plain_files),
                cmocka_unit_test(a_second_runtime_on_the_same_file_is_told_so),
                cmocka_unit_test(a_file_removed_in_use_is_noticed_and_not_made_anew),
                cmocka_unit_test(a_file_replaced_in_use_is_the_one_that_counts),
                cmocka_unit_test(a_journal_removed_in_use_loses_nothing_acknowledged),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
