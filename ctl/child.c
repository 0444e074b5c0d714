/* SPDX-License-Identifier: MIT */

/*
 * Between fork() and execve() only what is safe after a fork of a process with threads is called: nats.c may have
 * started some by the time a child is started again. The pipe `failure`, closed by a successful exec, brings back why
 * it did not succeed.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/child.h"

extern char **environ;

#define READ_BYTES_MAX (256 * 1024) /* in one go: who floods must not keep us from the others */

static void close_fd(int *fd) {
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
}

/* Runs in the new process; returns only on failure. */
static void become(const ChildOptions *options, const char *path, char **environment, int output, pid_t parent) {
        struct sigaction standard = { .sa_handler = SIG_DFL };
        sigset_t none;

        if (prctl(PR_SET_PDEATHSIG, options->death_signal) < 0)
                return;
        if (getppid() != parent) /* we were killed before the kernel knew */
                _exit(127);
        if (options->is_daemon) {
                const int input = open("/dev/null", O_RDONLY);

                (void)setsid();
                if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
                        dup2(output, STDERR_FILENO) < 0)
                        return;
        }
        for (int i = 1; i < NSIG; i++)
                (void)sigaction(i, &standard, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)execve(path, (char *const *)(uintptr_t)options->arguments, environment);
}

/* The environment that the child gets: a new array of borrowed texts. */
static char **make_environment(const char *const *changes) {
        size_t n = 0, n_changes = 0, n_kept = 0;
        char **result;

        while (environ[n])
                n++;
        while (changes && changes[n_changes])
                n_changes++;
        result = calloc(n + n_changes + 1, sizeof(*result));
        if (!result)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                bool is_changed = false;

                for (size_t c = 0; c < n_changes; c++) {
                        const size_t size = strcspn(changes[c], "=");

                        is_changed |= strncmp(environ[i], changes[c], size) == 0 && environ[i][size] == '=';
                }
                if (!is_changed)
                        result[n_kept++] = environ[i];
        }
        for (size_t c = 0; c < n_changes; c++)
                if (strchr(changes[c], '='))
                        result[n_kept++] = (char *)(uintptr_t)changes[c];
        return result;
}

int child_start(Child *child, const ChildOptions *options) {
        char **environment = make_environment(options->environment);
        int pipes[2] = { -1, -1 }, failure[2] = { -1, -1 }, r = 0, error = 0;
        const pid_t parent = getpid();
        char path[4096];
        pid_t pid = -1;

        if (!environment)
                return -ENOMEM;
        r = program_find(options->arguments[0], /* beside= */ false, NULL, path, sizeof(path));
        if (r == 0 && ((options->is_daemon && pipe2(pipes, O_CLOEXEC) < 0) || pipe2(failure, O_CLOEXEC) < 0))
                r = -errno;
        if (r == 0) {
                pid = fork();
                if (pid == 0) {
                        become(options, path, environment, pipes[1], parent);
                        error = errno;
                        (void)!write(failure[1], &error, sizeof(error));
                        _exit(127);
                }
                r = pid < 0 ? -errno : 0;
        }
        close_fd(&failure[1]);
        close_fd(&pipes[1]);
        if (r == 0 && read(failure[0], &error, sizeof(error)) == (ssize_t)sizeof(error)) {
                (void)waitpid(pid, NULL, 0);
                r = -error;
        }
        close_fd(&failure[0]);
        free(environment);
        if (r != 0) {
                close_fd(&pipes[0]);
                return r;
        }
        close_fd(&child->output);
        if (pipes[0] >= 0)
                (void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
        *child = (Child){ .pid = pid, .output = pipes[0] };
        return 0;
}

static void take(Child *child, const char *data, size_t size, ChildLine *on_line, void *userdata) {
        for (size_t i = 0; i < size; i++) {
                if (data[i] == '\n') {
                        child->line[child->line_size] = '\0';
                        if (on_line)
                                on_line(child->line, userdata);
                        child->line_size = 0;
                } else if (data[i] != '\0' && child->line_size < CHILD_LINE_MAX) {
                        child->line[child->line_size++] = data[i];
                }
        }
}

void child_read(Child *child, ChildLine *on_line, void *userdata) {
        char data[16384];

        for (size_t total = 0; child->output >= 0 && total < READ_BYTES_MAX;) {
                const ssize_t n = read(child->output, data, sizeof(data));

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0) {
                        close_fd(&child->output);
                        if (child->line_size > 0)
                                take(child, "\n", 1, on_line, userdata);
                        return;
                }
                take(child, data, (size_t)n, on_line, userdata);
                total += (size_t)n;
        }
}

bool child_reap(Child *child, ChildLine *on_line, void *userdata, int *ret_status) {
        if (child->pid == 0 || waitpid(child->pid, ret_status, WNOHANG) != child->pid)
                return false;
        child->pid = 0;
        child_read(child, on_line, userdata);
        if (child->line_size > 0)
                take(child, "\n", 1, on_line, userdata);
        close_fd(&child->output); /* a grandchild may still hold the other end */
        return true;
}

void child_signal(const Child *child, int signal_number) {
        if (child->pid > 0)
                (void)kill(child->pid, signal_number);
}

const char *child_show_status(char *place, size_t size, int status) {
        if (WIFSIGNALED(status))
                (void)snprintf(
                        place, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                (void)snprintf(place, size, "ended with status %d", WEXITSTATUS(status));
        return place;
}

int child_exit_status(int status) {
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* finding programs */

static bool is_program(const char *path) {
        return access(path, X_OK) == 0;
}

int program_find(const char *name, bool beside, const char *also, char *ret, size_t size) {
        const char *place = getenv("PATH");
        char own[4096] = "";
        char *slash;

        if (strchr(name, '/')) {
                (void)snprintf(ret, size, "%s", name);
                return is_program(ret) ? 0 : -errno;
        }
        if (beside && readlink("/proc/self/exe", own, sizeof(own) - 1) > 0 && (slash = strrchr(own, '/')) != NULL) {
                (void)snprintf(ret, size, "%.*s/%s", (int)(slash - own), own, name);
                if (is_program(ret))
                        return 0;
        }
        while (place && *place) {
                const size_t n = strcspn(place, ":");

                (void)snprintf(ret, size, "%.*s/%s", (int)(n > 0 ? n : 1), n > 0 ? place : ".", name);
                if (is_program(ret))
                        return 0;
                place += n + (place[n] == ':');
        }
        if (also) {
                (void)snprintf(ret, size, "%s/%s", also, name);
                if (is_program(ret))
                        return 0;
        }
        return -ENOENT;
}
