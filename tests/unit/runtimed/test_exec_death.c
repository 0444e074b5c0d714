/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include <cmocka.h>

#include "runtimed/exec_child.h"
#include "tests/unit/runtimed/exec_harness.h"

/* What was logged about one agent, newest last. */
static struct {
        size_t n;
        char last[512];
        size_t n_left_out;
} logged;

static void on_log(int level, const char *message_id, LogFields fields, const char *text, void *userdata) {
        (void)level;
        (void)message_id;
        (void)userdata;

        logged.n++;
        (void)snprintf(logged.last, sizeof(logged.last), "%s", text);
        for (size_t i = 0; i < fields.n_items; i++)
                if (!strcmp(fields.items[i].name, "LEFT_OUT"))
                        logged.n_left_out += fields.items[i].number;
}

static int setup(void **state) {
        (void)state;

        memset(&logged, 0, sizeof(logged));
        log_set_sink(on_log, NULL);
        return 0;
}

/* crashes */

static void a_crash_ends_what_was_held_and_only_that_child(void **state) {
        static const struct {
                const char *action, *why;
        } cases[] = {
                { "exit", "exited with status 7; its last words on stderr were \"my last words\"" },
                { "kill self", "was killed by signal 9 (Killed)" },
                { "garbage", "wrote a line that is not of the protocol: \"Hello?world!\"" },
                { "unknown id", "answered request 999999, which is not open" },
                { "endless", "wrote a line of more than 100000 bytes (max_line_bytes)" },
                { "close stdout", "closed its stdout and did not exit" },
                { "greedy", "had more than 1024 requests open" },
                { "hang", "did not answer handle within 300 ms (call_timeout_ms)" },
        };
        Harness *h = harness_new();

        (void)state;

        harness_start(h, 1, "plain", "");
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char action[64];
                const Seen *held, *last;
                Mail *mails[2];

                harness_start(h, 0, "plain",
                        strcmp(cases[i].action, "hang") == 0 ? ",\"call_timeout_ms\":300"
                                                             : ",\"max_line_bytes\":100000");
                (void)snprintf(action, sizeof(action), "{\"do\":\"%s\"}", cases[i].action);
                mails[0] = harness_send(h, 0, "{\"do\":\"hold\"}");
                mails[1] = harness_send(h, 0, action);
                harness_wait_crashes(h, i + 1);
                held = harness_outcome(h, mails[0]);
                last = harness_outcome(h, mails[1]);

                assert_ptr_equal(h->crashes[i].agent, &h->agents[0]);
                if (!strstr(h->crashes[i].why, cases[i].why))
                        fail_msg("%s: %s", cases[i].action, h->crashes[i].why);
                assert_true(h->crashes[i].n_seen == h->n_seen && held && last);
                assert_int_equal(held->verdict, BEHAVIOR_LOST);
                assert_int_equal(last->verdict, BEHAVIOR_LOST);
                assert_int_equal(held->code, strcmp(cases[i].action, "hang") ? ERROR_AGENT_CRASHED : ERROR_TIMEOUT);
                assert_non_null(strstr(held->text, h->crashes[i].why));
        }
        assert_string_equal(harness_wait(h, harness_send(h, 1, "1"))->text, "1");
        harness_free(h);
}

static void only_the_call_that_took_too_long_is_a_time_out(void **state) {
        Harness *h = harness_new();
        Mail *late, *innocent;
        uint64_t begun;

        (void)state;

        harness_start(h, 0, "plain", ",\"call_timeout_ms\":300");
        begun = instant_now().usec;
        late = harness_send(h, 0, "{\"do\":\"hold\"}");
        while (instant_now().usec < begun + 100 * USEC_PER_MSEC)
                (void)event_base_loop(h->base, EVLOOP_NONBLOCK);
        begun = instant_now().usec;
        innocent = harness_send(h, 0, "{\"do\":\"hold\"}");
        harness_wait_crashes(h, 1);
        assert_int_equal(harness_outcome(h, late)->code, ERROR_TIMEOUT);
        if (instant_now().usec < begun + 300 * USEC_PER_MSEC) /* else this machine stood still, and both were late */
                assert_int_equal(harness_outcome(h, innocent)->code, ERROR_AGENT_CRASHED);
        harness_free(h);
}

static void the_line_that_was_begun_when_the_time_was_up_is_shown(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        do { /* once, unless this machine stands still for all of the time-out */
                harness_start(h, 0, "plain", ",\"call_timeout_ms\":300");
                seen = harness_wait(h, harness_send(h, 0, "{\"do\":\"begin a line\"}"));
        } while (seen->code == ERROR_TIMEOUT);
        assert_int_equal(seen->verdict, BEHAVIOR_DONE);

        seen = harness_wait(h, harness_send(h, 0, "{\"do\":\"hang\"}"));
        assert_int_equal(seen->code, ERROR_TIMEOUT);
        assert_string_equal(seen->text,
                "the agent's process did not answer handle within 300 ms (call_timeout_ms); it has begun a line "
                "that has no end: \"{\"id\": 3, \"resu\"");
        harness_free(h);
}

/* As when this process was stopped for long: an answer is in the pipe, and the time-out is handled first. */
static void stand_still(Harness *h, const ExecChild *child, Deadline *deadline) {
        struct pollfd answer = { .fd = child->process.out, .events = POLLIN };

        assert_int_equal(poll(&answer, 1, HARNESS_LIMIT_USEC / USEC_PER_MSEC), 1);
        deadline_arm(&h->host->deadlines, deadline, 1);
        event_active(h->host->on_timer, EV_TIMEOUT, 0);
}

static void an_answer_that_was_there_in_time_is_not_late_though_this_process_stood_still(void **state) {
        Harness *h = harness_new();
        ExecChild *child;
        Mail *mail;

        (void)state;

        mail = harness_init(h, 0, harness_settings("plain", ""), NULL);
        child = h->host->children;
        while (child->state < EXEC_STARTING)
                (void)event_base_loop(h->base, EVLOOP_ONCE);
        assert_int_equal(child->state, EXEC_STARTING);
        stand_still(h, child, &child->deadline);
        assert_int_equal(harness_wait(h, mail)->result, 0);

        mail = harness_send(h, 0, "1");
        while (child->out.size > 0)
                (void)event_base_loop(h->base, EVLOOP_ONCE);
        stand_still(h, child, &TAILQ_FIRST(&child->calls)->deadline);
        assert_string_equal(harness_wait(h, mail)->text, "1");
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void an_answer_before_the_exit_counts(void **state) {
        Harness *h = harness_new();
        const Seen *seen;

        (void)state;

        harness_start(h, 0, "plain", "");
        seen = harness_wait(h, harness_send(h, 0, "{\"do\":\"answer and exit\"}"));
        assert_int_equal(seen->verdict, BEHAVIOR_DONE);
        assert_string_equal(seen->text, "\"done\"");
        harness_wait_crashes(h, 1);
        assert_string_equal(h->crashes[0].why, "exited with status 0");
        harness_free(h);
}

static void a_child_that_does_not_read_is_killed_before_it_fills_our_memory(void **state) {
        const size_t size = 1000 * 1000;
        char *payload = malloc(size + 1);
        Harness *h = harness_new();

        (void)state;

        assert_non_null(payload);
        memset(payload, 'x', size);
        payload[size] = '\0';
        harness_start(h, 0, "deaf", "");
        for (int i = 0; i < 20; i++)
                (void)harness_send(h, 0, payload);
        harness_wait_crashes(h, 1);
        assert_non_null(strstr(h->crashes[0].why, "did not read its stdin: "));
        for (size_t i = 0; i < 20; i++)
                assert_int_equal(harness_wait(h, &h->deliveries[i]->mail)->code, ERROR_AGENT_CRASHED);
        free(payload);
        harness_free(h);
}

static void a_crash_while_it_is_being_stopped_is_its_stop(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP), *mail;

        (void)state;

        harness_start(h, 0, "plain", "");
        mail = harness_send(h, 0, "{\"do\":\"garbage\"}");
        exec_host_call(h->host, stop);
        assert_int_equal(harness_wait(h, stop)->result, 0);
        assert_int_equal(harness_wait(h, mail)->code, ERROR_AGENT_CRASHED);
        assert_int_equal(h->n_crashes, 0);
        harness_free(h);
}

static void whatever_is_sent_to_an_agent_without_a_process_has_an_outcome(void **state) {
        Harness *h = harness_new();
        Mail *checkpoint = harness_control(h, 0, MAIL_CHECKPOINT);

        (void)state;

        assert_int_equal(harness_wait(h, harness_send(h, 0, "1"))->code, ERROR_AGENT_CRASHED);
        exec_host_call(h->host, checkpoint);
        assert_int_equal(harness_wait(h, checkpoint)->result, BEHAVIOR_E_REFUSED);
        (void)harness_wait(h, harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("1"), 0, 77, ERROR_NONE));
        harness_free(h);
}

static void an_answer_for_a_dead_child_is_not_given_to_its_successor(void **state) {
        Harness *h = harness_new();
        uint64_t token;

        (void)state;

        harness_start(h, 0, "plain", "");
        (void)harness_send(h, 0, "{\"do\":\"request\",\"method\":\"ask\",\"params\":{\"agent_id\":\"b\"}}");
        while (h->n_wishes == 0)
                harness_turn(h);
        token = h->wishes[0].token;
        (void)harness_send(h, 0, "{\"do\":\"exit\"}");
        harness_wait_crashes(h, 1);
        harness_start(h, 0, "plain", "");
        (void)harness_wait(h, harness_deliver(h, 0, MAIL_ANSWER, NULL, SLICE("1"), 0, token, ERROR_NONE));
        assert_string_equal(harness_wait(h, harness_send(h, 0, "5"))->text, "5");
        harness_free(h);
}

/* stderr */

static void a_flood_on_stderr_is_counted_and_does_not_hold_up_the_child(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP);

        (void)state;

        harness_start(h, 0, "plain", "");
        assert_int_equal(harness_wait(h, harness_send(h, 0, "{\"do\":\"flood\"}"))->verdict, BEHAVIOR_DONE);
        exec_host_call(h->host, stop);
        (void)harness_wait(h, stop);
        assert_true(logged.n >= 100 && logged.n < 250);
        assert_int_equal(logged.n + logged.n_left_out >= 100000, 1);
        harness_free(h);
}

/* confinement */

static void a_child_has_nothing_of_ours_and_is_confined(void **state) {
        Harness *h = harness_new();
        const int leaked = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
        const Seen *seen;
        json_t *world, *env, *status;
        bool has_agent = false, has_own = false;
        size_t i;
        json_t *variable;

        (void)state;

        assert_true(leaked >= 0);
        (void)setenv("A_SECRET_OF_OURS", "1", 1);
        harness_start(h, 0, "plain",
                ",\"env\":{\"OWN\":\"x=y\"},\"working_directory\":\"/usr\",\"limits\":{\"open_files\":64}");
        seen = harness_wait(h, harness_send(h, 0, "{\"do\":\"world\"}"));
        world = json_loads(seen->text, 0, NULL);
        assert_non_null(world);
        env = json_object_get(world, "env");
        status = json_object_get(world, "status");

        assert_int_equal(json_array_size(json_object_get(world, "fds")), 3);
        json_array_foreach(env, i, variable) {
                const char *text = json_string_value(variable);

                assert_null(strstr(text, "A_SECRET_OF_OURS"));
                has_agent = has_agent || !strcmp(text, "COMPOZY_AGENT_ID=agent-0");
                has_own = has_own || !strcmp(text, "OWN=x=y");
        }
        assert_true(has_agent && has_own);
        assert_string_equal(json_string_value(json_object_get(world, "cwd")), "/usr");
        assert_string_equal(json_string_value(json_object_get(status, "NoNewPrivs")), "1");
        assert_string_equal(json_string_value(json_object_get(status, "SigBlk")), "0000000000000000");
        assert_string_equal(json_string_value(json_object_get(status, "SigIgn")), "0000000000000000");
        assert_string_equal(json_string_value(json_object_get(status, "Umask")), "0077");
        assert_int_equal(json_integer_value(json_object_get(world, "files")), 64);
        assert_int_equal(json_integer_value(json_object_get(world, "core")), 0);
        assert_int_equal(
                json_integer_value(json_object_get(world, "sid")), json_integer_value(json_object_get(world, "pid")));
        json_decref(world);
        (void)close(leaked);
        harness_free(h);
}

static void what_a_child_has_started_ends_with_it(void **state) {
        Harness *h = harness_new();
        Mail *stop = harness_control(h, 0, MAIL_STOP);
        pid_t grandchild;

        (void)state;

        harness_start(h, 0, "plain", "");
        grandchild = atoi(harness_wait(h, harness_send(h, 0, "{\"do\":\"grandchild\"}"))->text);
        assert_true(grandchild > 0 && process_is_there(grandchild));
        exec_host_call(h->host, stop);
        (void)harness_wait(h, stop);
        while (process_is_there(grandchild)) /* killed, and about to be gone */
                (void)poll(NULL, 0, 1);
        harness_free(h);
}

/* A host in a process of its own, with a child and a grandchild; says the pids of both, and waits. */
static void host_until_killed(int out) {
        Harness *h = harness_new();
        const Seen *world, *grandchild;
        char text[64];

        harness_start(h, 0, "stubborn", "");
        world = harness_wait(h, harness_send(h, 0, "{\"do\":\"world\"}"));
        grandchild = harness_wait(h, harness_send(h, 0, "{\"do\":\"grandchild\"}"));
        (void)snprintf(text, sizeof(text), "%d %d\n", atoi(strstr(world->text, "\"pid\":") + strlen("\"pid\":")),
                atoi(grandchild->text));
        (void)!write(out, text, strlen(text));
        for (;;)
                harness_turn(h);
}

static void everything_is_gone_when_the_runtime_is_killed(void **state) {
        int fds[2];
        char text[64] = "", rest;
        int child, grandchild;
        pid_t pid;

        (void)state;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (pid == 0) {
                (void)close(fds[0]);
                host_until_killed(fds[1]);
        }
        (void)close(fds[1]);
        assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
        assert_int_equal(sscanf(text, "%d %d", &child, &grandchild), 2);
        assert_true(process_is_there(child) && process_is_there(grandchild));

        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (process_is_there(child) || process_is_there(grandchild))
                (void)poll(NULL, 0, 1);
        /* neither the warden nor a child has kept the pipe open */
        assert_int_equal(read(fds[0], &rest, 1), 0);
        (void)close(fds[0]);
}

static pid_t find_warden(void) {
        char path[64], name[64];
        DIR *directory = opendir("/proc");
        struct dirent *entry;
        pid_t found = 0;

        assert_non_null(directory);
        while (found == 0 && (entry = readdir(directory))) {
                const pid_t pid = atoi(entry->d_name);
                int parent = 0;
                FILE *file;

                (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
                file = pid > 0 ? fopen(path, "re") : NULL;
                if (!file)
                        continue;
                if (fscanf(file, "%*d (%63[^)]) %*c %d", name, &parent) == 2 && parent == getpid() &&
                        !strcmp(name, "compozy-warden") && process_is_there(pid))
                        found = pid;
                (void)fclose(file);
        }
        (void)closedir(directory);
        return found;
}

static void without_its_warden_a_host_starts_nothing_new(void **state) {
        Harness *h = harness_new();
        const Seen *seen;
        pid_t warden;

        (void)state;

        harness_start(h, 0, "plain", "");
        /* others may be about to end: those of earlier tests */
        while ((warden = find_warden()) != 0) {
                (void)kill(warden, SIGTERM); /* means nothing to it */
                (void)kill(warden, SIGKILL);
                (void)waitpid(warden, NULL, 0);
        }
        while (!strstr(logged.last, "warden"))
                harness_turn(h);
        seen = harness_wait(h, harness_init(h, 1, harness_settings("plain", ""), NULL));
        assert_int_equal(seen->result, BEHAVIOR_E_REFUSED);
        assert_string_equal(seen->text, "the warden that would kill it along with the runtime is gone");
        assert_string_equal(harness_wait(h, harness_send(h, 0, "1"))->text, "1");
        harness_free(h);
}

static void a_host_that_is_freed_leaves_nobody(void **state) {
        Harness *h = harness_new();
        pid_t grandchild;

        (void)state;

        harness_start(h, 0, "stubborn", "");
        grandchild = atoi(harness_wait(h, harness_send(h, 0, "{\"do\":\"grandchild\"}"))->text);
        (void)harness_send(h, 0, "{\"do\":\"hold\"}");
        (void)harness_init(h, 1, harness_settings("plain", ""), NULL);
        harness_free(h);
        while (process_is_there(grandchild))
                (void)poll(NULL, 0, 1);
}

int main(int argc, char **argv) {
        static char self[4096];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(a_crash_ends_what_was_held_and_only_that_child, setup),
                cmocka_unit_test_setup(only_the_call_that_took_too_long_is_a_time_out, setup),
                cmocka_unit_test_setup(the_line_that_was_begun_when_the_time_was_up_is_shown, setup),
                cmocka_unit_test_setup(
                        an_answer_that_was_there_in_time_is_not_late_though_this_process_stood_still, setup),
                cmocka_unit_test_setup(an_answer_before_the_exit_counts, setup),
                cmocka_unit_test_setup(a_child_that_does_not_read_is_killed_before_it_fills_our_memory, setup),
                cmocka_unit_test_setup(a_crash_while_it_is_being_stopped_is_its_stop, setup),
                cmocka_unit_test_setup(whatever_is_sent_to_an_agent_without_a_process_has_an_outcome, setup),
                cmocka_unit_test_setup(an_answer_for_a_dead_child_is_not_given_to_its_successor, setup),
                cmocka_unit_test_setup(a_flood_on_stderr_is_counted_and_does_not_hold_up_the_child, setup),
                cmocka_unit_test_setup(a_child_has_nothing_of_ours_and_is_confined, setup),
                cmocka_unit_test_setup(what_a_child_has_started_ends_with_it, setup),
                cmocka_unit_test_setup(everything_is_gone_when_the_runtime_is_killed, setup),
                cmocka_unit_test_setup(without_its_warden_a_host_starts_nothing_new, setup),
                cmocka_unit_test_setup(a_host_that_is_freed_leaves_nobody, setup),
        };

        if (argc == 3 && strcmp(argv[1], "--child") == 0)
                return exec_child_main(argv[2]);
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                return 1;
        harness_self = self;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
