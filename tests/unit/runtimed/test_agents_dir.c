/* SPDX-License-Identifier: MIT */

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtimed/agents_dir.h"
#include "runtimed/settings.h"
#include "tests/unit/runtimed/world.h"

static unsigned n_opened;

/* In place of the library's, so that it is seen which files are read. */
int open(const char *path, int flags, ...) {
        n_opened++;
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

typedef struct Place {
        char path[64];
} Place;

static void make_place(Place *place) {
        (void)snprintf(place->path, sizeof(place->path), "/tmp/compozy-agents-XXXXXX");
        assert_non_null(mkdtemp(place->path));
}

static void full_name(const Place *place, const char *name, char *ret, size_t size) {
        (void)snprintf(ret, size, "%s/%s", place->path, name);
}

static void put_file(const Place *place, const char *name, const char *text) {
        char path[128];
        FILE *file;

        full_name(place, name, path, sizeof(path));
        file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void drop_file(const Place *place, const char *name) {
        char path[128];

        full_name(place, name, path, sizeof(path));
        assert_int_equal(unlink(path), 0);
}

static void a_reload_brings_the_agents_in_line_with_the_files(void **state) {
        AgentsDirCounts counts;
        AgentsDir *dir = NULL;
        Place place;
        World w;

        (void)state;

        begin(&w);
        make_place(&place);
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        put_file(&place, "b.json", "{\"agent_id\":\"fb\",\"agent_type\":\"echo\"}");
        put_file(&place, "broken.json", "{\"agent_id\":");
        put_file(&place, "notes.txt", "not a definition");
        assert_int_equal(agents_dir_new(place.path, behaviors_builtin, &dir), 0);

        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_created, 2);
        assert_int_equal(counts.n_refused, 1);

        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"counter\"}");
        put_file(&place, "broken.json", "{\"agent_id\":\"fc\",\"agent_type\":\"echo\"}");
        drop_file(&place, "b.json");
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_created, 1);
        assert_int_equal(counts.n_changed, 1);
        assert_int_equal(counts.n_removed, 1);
        assert_int_equal(counts.n_refused, 0);
        turn(&w);
        assert_int_equal(count_sent(&w, UPDATED, NULL), 1);
        assert_null(core_find_agent(w.runtime, SLICE("fb")));

        put_file(&place, "a.json", "oops"); /* the old agent goes on */
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_refused, 1);
        assert_int_equal(core_find_agent(w.runtime, SLICE("fa"))->state, AGENT_RUNNING);

        drop_file(&place, "broken.json"); /* renamed: the agent stays */
        put_file(&place, "z.json", "{\"agent_id\":\"fc\",\"agent_type\":\"echo\"}");
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_created + counts.n_removed + counts.n_changed, 0);
        assert_non_null(core_find_agent(w.runtime, SLICE("fc")));

        drop_file(&place, "a.json");
        drop_file(&place, "z.json");
        drop_file(&place, "notes.txt");
        assert_int_equal(rmdir(place.path), 0);
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), -ENOENT);
        assert_non_null(core_find_agent(w.runtime, SLICE("fa"))); /* a directory that is gone removes nobody */
        (void)agents_dir_free(dir);
        end_world(&w);
}

static void what_has_not_changed_for_a_while_is_not_read_again(void **state) {
        AgentsDirCounts counts;
        AgentsDir *dir = NULL;
        Place place;
        World w;

        (void)state;

        begin(&w);
        make_place(&place);
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        assert_int_equal(agents_dir_new(place.path, behaviors_builtin, &dir), 0);
        w.now.real_usec = instant_now().real_usec;
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_created, 1);

        /* So soon after it was written it is read again: what is written within one tick has one time. */
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"coun\"}");
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_refused, 1);

        /* Later it is known by its time, size and inode: another content of the same size is noticed by the first. */
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        w.now.real_usec = instant_now().real_usec + 10 * USEC_PER_SEC;
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_refused + counts.n_changed, 0);
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"coun\"}");
        w.now.real_usec += 10 * USEC_PER_SEC;
        for (int i = 0; i < 2; i++) { /* and what was refused is refused each time */
                assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
                assert_int_equal(counts.n_refused, 1);
        }

        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        w.now.real_usec += 10 * USEC_PER_SEC;
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        n_opened = 0;
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(n_opened, 0);
        assert_int_equal(counts.n_refused + counts.n_changed + counts.n_removed, 0);

        drop_file(&place, "a.json");
        assert_int_equal(rmdir(place.path), 0);
        (void)agents_dir_free(dir);
        end_world(&w);
}

static void two_files_may_exchange_their_agents(void **state) {
        AgentsDirCounts counts;
        AgentsDir *dir = NULL;
        Place place;
        World w;

        (void)state;

        begin(&w);
        make_place(&place);
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        put_file(&place, "b.json", "{\"agent_id\":\"fb\",\"agent_type\":\"echo\"}");
        assert_int_equal(agents_dir_new(place.path, behaviors_builtin, &dir), 0);
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);

        put_file(&place, "a.json", "{\"agent_id\":\"fb\",\"agent_type\":\"echo\"}");
        put_file(&place, "b.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_refused, 0);
        assert_non_null(core_find_agent(w.runtime, SLICE("fa")));
        assert_non_null(core_find_agent(w.runtime, SLICE("fb")));

        drop_file(&place, "a.json");
        drop_file(&place, "b.json");
        assert_int_equal(rmdir(place.path), 0);
        (void)agents_dir_free(dir);
        end_world(&w);
}

/* Opening a pipe waits for its writer; that was the end of the loop. */
static void a_pipe_among_the_definitions_is_refused_and_waited_for_by_nobody(void **state) {
        AgentsDirCounts counts;
        AgentsDir *dir = NULL;
        char path[128];
        Place place;
        World w;

        (void)state;

        begin(&w);
        make_place(&place);
        full_name(&place, "pipe.json", path, sizeof(path));
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(agents_dir_new(place.path, behaviors_builtin, &dir), 0);
        assert_int_equal(agents_dir_load(dir, w.runtime, w.now, &counts), 0);
        assert_int_equal(counts.n_refused, 1);

        drop_file(&place, "pipe.json");
        assert_int_equal(rmdir(place.path), 0);
        (void)agents_dir_free(dir);
        end_world(&w);
}

static void the_check_refuses_what_a_start_would_refuse(void **state) {
        size_t n_good, n_bad;
        Place place;

        (void)state;

        make_place(&place);
        put_file(&place, "a.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}");
        put_file(&place, "b.json", "{\"agent_id\":\"fa\",\"agent_type\":\"echo\"}"); /* exists */
        put_file(&place, "c.json", "{\"agent_id\":\"fc\",\"agent_type\":\"counter\",\"parameters\":{\"start\":\"x\"}}");
        assert_int_equal(agents_dir_check(place.path, behaviors_builtin, &n_good, &n_bad), 0);
        assert_int_equal(n_good, 1);
        assert_int_equal(n_bad, 2);

        drop_file(&place, "a.json");
        drop_file(&place, "b.json");
        drop_file(&place, "c.json");
        assert_int_equal(rmdir(place.path), 0);
}

static void a_host_name_becomes_an_id(void **state) {
        static const struct {
                const char *host, *id;
        } cases[] = {
                { "web-1", "web-1" },
                { "web_1.example.org", "web_1" },
                { "a b\xc3\xa9", "a-b--" },
                { "", "runtime" },
                { ".x", "runtime" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Id id;

                runtime_id_from_host(cases[i].host, &id);
                assert_string_equal(id.text, cases[i].id);
                assert_true(id_is_valid(id_slice(&id)));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_reload_brings_the_agents_in_line_with_the_files),
                cmocka_unit_test(what_has_not_changed_for_a_while_is_not_read_again),
                cmocka_unit_test(two_files_may_exchange_their_agents),
                cmocka_unit_test(a_pipe_among_the_definitions_is_refused_and_waited_for_by_nobody),
                cmocka_unit_test(the_check_refuses_what_a_start_would_refuse),
                cmocka_unit_test(a_host_name_becomes_an_id),
        };

        log_open("test", LOG_TARGET_STDERR, LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
