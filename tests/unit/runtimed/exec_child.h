/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The child's side of the tests of exec behaviours: an agent in C that does what its input's "do" says. A test program
 * is its own child: main() calls exec_child_main() when its first argument is "--child".
 */

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

static json_t *child_held[64]; /* ids of messages that are to be answered later */
static size_t n_child_held;
static json_int_t child_count;
static const char *child_mode;
static json_t *child_waiting; /* the id of the message whose answer is that to our request "r" */

static void child_say(json_t *line) {
        char *text = json_dumps(line, JSON_COMPACT);

        (void)printf("%s\n", text);
        (void)fflush(stdout);
        free(text);
        json_decref(line);
}

static void child_answer(json_t *id, json_t *output) {
        child_say(json_pack("{s:s, s:O, s:{s:o}}", "jsonrpc", "2.0", "id", id, "result", "output", output));
}

static void child_release(void) {
        while (n_child_held > 0) {
                json_t *id = child_held[--n_child_held];

                child_answer(id, json_incref(id));
                json_decref(id);
        }
}

static json_t *child_descriptors(void) {
        json_t *list = json_array();
        DIR *directory = opendir("/proc/self/fd");
        struct dirent *entry;

        while (directory && (entry = readdir(directory)))
                if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
                        (void)json_array_append_new(list, json_integer(atoi(entry->d_name)));
        if (directory)
                (void)closedir(directory);
        return list;
}

static json_t *child_status(void) {
        json_t *status = json_object();
        FILE *file = fopen("/proc/self/status", "re");
        char line[256];

        while (file && fgets(line, sizeof(line), file)) {
                char *value = strchr(line, ':');

                if (!value)
                        continue;
                *value++ = '\0';
                value += strspn(value, " \t");
                value[strcspn(value, "\n")] = '\0';
                (void)json_object_set_new(status, line, json_string(value));
        }
        if (file)
                (void)fclose(file);
        return status;
}

static json_t *child_world(void) {
        json_t *env = json_array();
        struct rlimit files = { 0 }, core = { 0 };
        char directory[4096] = "";

        for (char **variable = environ; *variable; variable++)
                (void)json_array_append_new(env, json_string(*variable));
        (void)getrlimit(RLIMIT_NOFILE, &files);
        (void)getrlimit(RLIMIT_CORE, &core);
        return json_pack("{s:o, s:o, s:o, s:i, s:i, s:I, s:I, s:s}", "env", env, "fds", child_descriptors(), "status",
                child_status(), "pid", (int)getpid(), "sid", (int)getsid(0), "files", (json_int_t)files.rlim_cur,
                "core", (json_int_t)core.rlim_cur, "cwd", getcwd(directory, sizeof(directory)) ? directory : "");
}

static int child_grandchild(void) {
        const pid_t pid = fork();

        if (pid == 0) {
                (void)signal(SIGHUP, SIG_IGN);
                (void)signal(SIGTERM, SIG_IGN);
                for (;;)
                        (void)pause();
        }
        return (int)pid;
}

static void child_flood(FILE *file, size_t n) {
        for (size_t i = 0; i < n; i++)
                (void)fprintf(file, "line %zu of a flood\n", i);
        (void)fflush(file);
}

static void child_endless(void) {
        for (;;)
                (void)!write(STDOUT_FILENO, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 32);
}

/* A request of its own; the message is answered with whatever comes back. */
static void child_request(json_t *id, json_t *input) {
        child_waiting = json_incref(id);
        child_say(json_pack("{s:s, s:s, s:O, s:O}", "jsonrpc", "2.0", "id", "r", "method",
                json_object_get(input, "method"), "params", json_object_get(input, "params")));
}

static void child_die(const char *how, json_t *id) {
        if (!strcmp(how, "kill self"))
                (void)kill(getpid(), SIGKILL);
        if (!strcmp(how, "exit")) {
                (void)fprintf(stderr, "these are\nmy last words\n");
                _exit(7);
        }
        if (!strcmp(how, "answer and exit")) {
                child_answer(id, json_string("done"));
                _exit(0);
        }
        if (!strcmp(how, "garbage")) {
                (void)printf("Hello\tworld!\n");
                (void)fflush(stdout);
        }
        if (!strcmp(how, "unknown id"))
                child_say(json_pack("{s:i, s:n}", "id", 999999, "result"));
        if (!strcmp(how, "endless"))
                child_endless();
        if (!strcmp(how, "close stdout"))
                (void)close(STDOUT_FILENO);
        for (;;)
                (void)pause();
}

static void child_handle(json_t *id, json_t *params) {
        json_t *input = json_object_get(params, "input");
        const char *action = json_string_value(json_object_get(input, "do"));

        child_count++;
        if (!action || !strcmp(action, "echo"))
                child_answer(id, json_incref(input ? input : json_null()));
        else if (!strcmp(action, "params"))
                child_answer(id, json_incref(params));
        else if (!strcmp(action, "hold"))
                child_held[n_child_held++] = json_incref(id);
        else if (!strcmp(action, "release")) {
                child_held[n_child_held++] = json_incref(id);
                child_release();
        } else if (!strcmp(action, "raw")) {
                child_say(json_pack("{s:O, s:O}", "id", id, "result", json_object_get(input, "result")));
        } else if (!strcmp(action, "bare")) {
                child_say(json_pack("{s:O, s:i}", "id", id, "output", 1));
        } else if (!strcmp(action, "error")) {
                child_say(json_pack("{s:O, s:O}", "id", id, "error", json_object_get(input, "error")));
        } else if (!strcmp(action, "world"))
                child_answer(id, child_world());
        else if (!strcmp(action, "grandchild"))
                child_answer(id, json_integer(child_grandchild()));
        else if (!strcmp(action, "begin a line")) { /* in one piece with the answer */
                (void)printf("{\"id\":%lld,\"result\":null}\n{\"id\": 3, \"resu", json_integer_value(id));
                (void)fflush(stdout);
        } else if (!strcmp(action, "flood")) {
                child_flood(stderr, 100000);
                child_answer(id, json_null());
        } else if (!strcmp(action, "request"))
                child_request(id, input);
        else if (!strcmp(action, "notify")) {
                const json_int_t times = json_integer_value(json_object_get(input, "times"));

                for (json_int_t i = 0; i < (times > 0 ? times : 1); i++)
                        child_say(json_pack("{s:O, s:O}", "method", json_object_get(input, "method"), "params",
                                json_object_get(input, "params")));
                child_answer(id, json_null());
        } else if (!strcmp(action, "greedy")) {
                for (int i = 0; i < 2000; i++)
                        child_say(
                                json_pack("{s:i, s:s, s:{s:s}}", "id", i, "method", "ask", "params", "agent_id", "x"));
        } else if (!strcmp(action, "hang"))
                for (;;)
                        (void)pause();
        else
                child_die(action, id);
}

static void child_initialize(json_t *id, json_t *params) {
        json_t *state = json_object_get(params, "state");

        child_count = json_integer_value(json_object_get(state, "count"));
        if (!strcmp(child_mode, "refuse"))
                child_say(json_pack("{s:O, s:{s:i, s:s}}", "id", id, "error", "code", 1, "message", "I won't"));
        else if (!strcmp(child_mode, "refuse state"))
                child_say(json_pack("{s:O, s:{s:i, s:s, s:{s:s}}}", "id", id, "error", "code", 1, "message",
                        "what is that?", "data", "code", "STATE_ERROR"));
        else if (strcmp(child_mode, "mute") != 0)
                child_say(json_pack("{s:O, s:{}}", "id", id, "result"));
        if (!strcmp(child_mode, "deaf"))
                for (;;)
                        (void)pause();
}

static void child_on_request(json_t *line, json_t *id, const char *method) {
        json_t *params = json_object_get(line, "params");

        if (!strcmp(method, "initialize"))
                child_initialize(id, params);
        else if (!strcmp(method, "handle"))
                child_handle(id, params);
        else if (!strcmp(method, "checkpoint") && !strcmp(child_mode, "stateless"))
                child_say(json_pack("{s:O, s:{s:i, s:s}}", "id", id, "error", "code", -32601, "message", "no"));
        else if (!strcmp(method, "checkpoint") && !strcmp(child_mode, "wraps nothing"))
                child_say(json_pack("{s:O, s:{s:I}}", "id", id, "result", "count", child_count));
        else if (!strcmp(method, "checkpoint"))
                child_say(json_pack("{s:O, s:{s:{s:I}}}", "id", id, "result", "state", "count", child_count));
        else if (strcmp(child_mode, "stubborn") != 0)
                child_say(json_pack("{s:O, s:n}", "id", id, "result"));
}

static void child_on_line(json_t *line) {
        json_t *id = json_object_get(line, "id");
        const char *method = json_string_value(json_object_get(line, "method"));

        if (method) {
                child_on_request(line, id, method);
        } else if (child_waiting) {
                child_answer(child_waiting, json_incref(line));
                json_decref(child_waiting);
                child_waiting = NULL;
        }
}

static int exec_child_main(const char *mode) {
        char *text = NULL;
        size_t size = 0;

        child_mode = mode;
        if (!strcmp(mode, "exits")) {
                (void)fprintf(stderr, "no configuration\n");
                return 3;
        }
        if (!strcmp(mode, "stubborn"))
                (void)signal(SIGTERM, SIG_IGN);

        while (getline(&text, &size, stdin) > 0) {
                json_t *line = json_loads(text, JSON_DECODE_ANY, NULL);

                child_on_line(line);
                json_decref(line);
        }
        free(text);
        while (!strcmp(mode, "stubborn"))
                (void)pause();
        return 0;
}
