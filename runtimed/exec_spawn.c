/* SPDX-License-Identifier: MIT */

/*
 * The child is made like vfork(2) makes one: it borrows our memory, and this thread stands still until it has become
 * its program. A fork(2) would copy page tables, which takes milliseconds in a large process, and every other thread's
 * locks; posix_spawn(3) can set neither limits nor prctl(2). Borrowed memory also means that the child tells what went
 * wrong by writing it down, and no pipe is needed for that.
 *
 * Until execve(2) it may therefore only make system calls. All signals are blocked on the way, so that none of our
 * handlers runs in it. Signals and new descriptors are the business of bare system calls, because a sanitizer's
 * sigaction() and open() keep books, which are ours.
 *
 * Pipes, not a socket pair, for stdin and stdout: as fast (a ping-pong is dominated by the two wake-ups), and
 * /dev/stdin and /dev/stdout can't be opened when they are sockets, which shell scripts do.
 *
 * What is set, and why in this order: the parent-death signal first (then a look whether the parent is there still);
 * the group is reported to the warden before the program can start anything; descriptors are closed by number range,
 * since whoever opened them may have forgotten O_CLOEXEC; limits come last, so that they don't hit us.
 */

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtimed/exec_spawn.h"
#include "runtimed/exec_warden.h"

#define STACK_BYTES (64 * 1024)
#define PATH_FALLBACK "/usr/local/bin:/usr/bin:/bin"
#define OOM_SCORE_MORE \
        200 /* of 1000: a child goes before its runtime, a runaway process of a fifth of the memory too */

static const char *const inherited[] = { "PATH", "HOME", "LANG", "TZ" };

/*
 * clone(2) by libc's other name: ThreadSanitizer stands before the usual one, takes the child for a copy, and keeps the
 * books for it as for one from fork(2), in memory that is still ours; it then misses every lock that this thread takes.
 */
int __clone(int (*function)(void *), void *stack, int flags, void *userdata, ...);

typedef struct Start {
        const ExecSettings *settings;
        const char *path;
        char **env;
        char oom_score[16];
        int fds[3]; /* its ends */
        int warden_fd;
        pid_t parent;

        /* written by the child */
        bool is_known; /* to the warden */
        const char *failed_at;
        int error;
} Start;

/* in the child */

static void reset_signals(void) {
        static const char nothing[128]; /* a struct sigaction of the kernel's, whatever its layout: SIG_DFL, no flags */

        for (int i = 1; i <= 64; i++)
                (void)syscall(SYS_rt_sigaction, i, nothing, NULL, 8);
}

static void unblock_signals(void) {
        static const char none[8];

        (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, 8);
}

static int set_limit(int which, uint64_t value) {
        const struct rlimit limit = { value, value };

        return value == EXEC_UNLIMITED ? 0 : setrlimit(which, &limit);
}

/* SIGXCPU at the limit can be ignored; the second limit kills. */
static int set_cpu_limit(uint64_t seconds) {
        const struct rlimit limit = { seconds, seconds + 1 };

        return seconds == EXEC_UNLIMITED ? 0 : setrlimit(RLIMIT_CPU, &limit);
}

static int set_limits(const ExecSettings *settings) {
        if (set_limit(RLIMIT_CORE, 0) < 0 || set_limit(RLIMIT_NOFILE, settings->limits.open_files) < 0 ||
                set_limit(RLIMIT_FSIZE, settings->limits.file_bytes) < 0 ||
                set_cpu_limit(settings->limits.cpu_seconds) < 0)
                return -1;
        return set_limit(RLIMIT_AS, settings->limits.memory_bytes);
}

/* Where it is refused, nothing is lost but the order in which the kernel kills. */
static void raise_oom_score(const Start *start) {
        const int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        (void)syscall(SYS_write, fd, start->oom_score, strlen(start->oom_score));
        (void)syscall(SYS_close, fd);
}

static int become_orphan_proof(const Start *start) {
        if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -1;
        if (getppid() != start->parent) { /* it died in between */
                errno = ESRCH;
                return -1;
        }
        return 0;
}

static int report_to_warden(Start *start) {
        const int r = exec_warden_add(start->warden_fd, getpid());

        if (r < 0) {
                errno = -r;
                return -1;
        }
        start->is_known = true;
        return 0;
}

static int arrange_descriptors(const Start *start) {
        for (int i = 0; i < 3; i++)
                if (syscall(SYS_dup3, start->fds[i], i, 0) < 0)
                        return -1;
        return close_range(3, UINT_MAX, 0);
}

static int child_failed(Start *start, const char *at) {
        start->error = errno;
        start->failed_at = at;
        return 127;
}

static int child_main(void *userdata) {
        Start *start = userdata;
        const char *directory = start->settings->working_directory;

        reset_signals();
        if (become_orphan_proof(start) < 0)
                return child_failed(start, "a process group of its own");
        if (report_to_warden(start) < 0)
                return child_failed(start, "its registration with the warden, which kills it when the runtime dies,");
        if (arrange_descriptors(start) < 0)
                return child_failed(start, "its descriptors");
        raise_oom_score(start);
        (void)umask(077);
        if (directory && chdir(directory) < 0)
                return child_failed(start, directory);
        if (set_limits(start->settings) < 0)
                return child_failed(start, "exec.limits");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return child_failed(start, "no_new_privs");

        unblock_signals();
        (void)execve(start->path, start->settings->command, start->env);
        return child_failed(start, start->path);
}

/* in the runtime */

static char *format_variable(Arena *arena, const char *name, Slice value) {
        char *text = arena_alloc(arena, strlen(name) + value.size + 2);

        if (text)
                (void)sprintf(text, "%s=%.*s", name, SLICE_ARG(value));
        return text;
}

/* The value of a variable in a list of "NAME=value"; NULL: not in it. */
static const char *find_variable(char *const *env, const char *name) {
        const size_t size = strlen(name);

        for (; *env; env++)
                if (strncmp(*env, name, size) == 0 && (*env)[size] == '=')
                        return *env + size + 1;
        return NULL;
}

static int make_env(const ExecSettings *settings, Slice agent_id, Arena *arena, char ***ret) {
        char **env = arena_alloc(arena, (ELEMENTSOF(inherited) + EXEC_ENV_MAX + 2) * sizeof(char *));
        size_t n = 0;

        if (!env)
                return -ENOMEM;

        for (size_t i = 0; i < ELEMENTSOF(inherited); i++) {
                const char *value = getenv(inherited[i]);

                if (!value && i == 0)
                        value = PATH_FALLBACK;
                if (!value || find_variable(settings->env, inherited[i]))
                        continue;
                env[n] = format_variable(arena, inherited[i], slice_of(value));
                if (!env[n++])
                        return -ENOMEM;
        }
        for (char **own = settings->env; *own; own++)
                env[n++] = *own;
        env[n] = format_variable(arena, EXEC_ENV_OURS, agent_id);
        if (!env[n++])
                return -ENOMEM;
        env[n] = NULL;

        *ret = env;
        return 0;
}

static bool is_program(const char *path) {
        struct stat st;

        return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A name without a slash is looked up in the child's PATH; one with a slash is execve's to find, after chdir. */
static int find_program(const char *name, char *const *env, Arena *arena, const char **ret, WireError *ret_error) {
        const char *path = find_variable(env, "PATH");
        char *candidate;

        assert(path); /* make_env() sees to that */

        if (strchr(name, '/')) {
                *ret = name;
                return 0;
        }

        candidate = arena_alloc(arena, strlen(path) + strlen(name) + 2);
        if (!candidate)
                return -ENOMEM;
        while (*path) {
                const size_t size = strcspn(path, ":");

                if (path[0] == '/') { /* others depend on where somebody stands */
                        (void)sprintf(candidate, "%.*s/%s", (int)size, path, name);
                        if (is_program(candidate)) {
                                *ret = candidate;
                                return 0;
                        }
                }
                path += size + (path[size] == ':');
        }
        if (strchr(name, ' '))
                return wire_error(ret_error,
                        "exec.command: \"%s\" is no program; no shell takes it apart: each word is a text of its own",
                        name);
        return wire_error(ret_error, "exec.command: \"%s\" is a program in no directory of PATH (%s)", name,
                find_variable(env, "PATH"));
}

static void read_oom_score(char *ret, size_t size) {
        FILE *file = fopen("/proc/self/oom_score_adj", "re");
        int score = 0;

        if (file && fscanf(file, "%d", &score) != 1)
                score = 0;
        if (file)
                (void)fclose(file);
        (void)snprintf(ret, size, "%d", MIN_OF(score + OOM_SCORE_MORE, 1000));
}

static void close_pair(int fds[2]) {
        for (int i = 0; i < 2; i++)
                if (fds[i] >= 0)
                        (void)close(fds[i]);
}

/* Above 2 both of them: the child arranges 0 to 2 one after the other. */
static int make_pipe(int ret[2]) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        for (int i = 0; i < 2; i++)
                if (fds[i] < 3) {
                        const int above = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

                        if (above < 0) {
                                const int error = errno;

                                close_pair(fds);
                                return -error;
                        }
                        (void)close(fds[i]);
                        fds[i] = above;
                }

        ret[0] = fds[0];
        ret[1] = fds[1];
        return 0;
}

/* Three pipes; the ends that are ours never block us. */
static int make_pipes(ExecProcess *process, Start *start) {
        int *const ours[3] = { &process->in, &process->out, &process->err };

        for (int i = 0; i < 3; i++) {
                const int our_end = i == 0 ? 1 : 0;
                int fds[2] = { -1, -1 }, r;

                r = make_pipe(fds);
                if (r < 0)
                        return r;
                *ours[i] = fds[our_end];
                start->fds[i] = fds[1 - our_end];
                if (fcntl(*ours[i], F_SETFL, O_NONBLOCK) < 0)
                        return -errno;
        }
        return 0;
}

static int clone_child(Start *start, ExecProcess *process) {
        sigset_t all, before;
        char *stack;
        int pid, error;

        stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (stack == MAP_FAILED)
                return -ENOMEM;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        pid = __clone(child_main, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, start,
                &process->pidfd);
        error = errno;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void)munmap(stack, STACK_BYTES);

        if (pid < 0)
                return -error;
        process->pid = pid;
        return 0;
}

/* Of what newcomers meet, the errno alone says too little. */
static int refuse_program(const Start *start, WireError *ret_error) {
        const char *path = start->path, *directory = start->settings->working_directory;

        switch (start->error) {
        case ENOENT:
                if (path[0] == '/' && access(path, F_OK) == 0)
                        return wire_error(
                                ret_error, "exec.command: %s is there, but the interpreter that it names is not", path);
                if (path[0] != '/')
                        return wire_error(ret_error, "exec.command: there is no %s in %s", path,
                                directory ? directory : "the runtime's directory");
                break;
        case EACCES:
                return wire_error(ret_error,
                        "exec.command: %s may not be executed (%s); chmod +x makes a file a program", path,
                        strerror(start->error));
        case ENOEXEC:
                return wire_error(ret_error, "exec.command: %s is no program, and no script that begins with #!", path);
        default:
                break;
        }
        return wire_error(ret_error, "exec.command: %s: %s", path, strerror(start->error));
}

static int refuse_start(const Start *start, pid_t pid, WireError *ret_error) {
        if (start->is_known)
                (void)exec_warden_remove(start->warden_fd, pid);
        (void)waitpid(pid, NULL, 0); /* it has ended or is about to */

        if (start->failed_at == start->path)
                return refuse_program(start, ret_error);
        return wire_error(ret_error, "%s%s: %s",
                start->failed_at == start->settings->working_directory ? "exec.working_directory: " : "",
                start->failed_at, strerror(start->error));
}

static int spawn_prepared(Start *start, ExecProcess *process, WireError *ret_error) {
        int r;

        r = make_pipes(process, start);
        if (r == 0)
                r = clone_child(start, process);
        for (int i = 0; i < 3; i++)
                if (start->fds[i] >= 0)
                        (void)close(start->fds[i]);
        if (r < 0)
                return r == -ENOMEM ? r : wire_error(ret_error, "no process could be made: %s", strerror(-r));
        return start->failed_at ? refuse_start(start, process->pid, ret_error) : 0;
}

int exec_spawn(const ExecSettings *settings, Slice agent_id, int warden_fd, ExecProcess *ret, WireError *ret_error) {
        _cleanup_(arena_clear) Arena arena = {};
        ExecProcess process = EXEC_PROCESS_NONE;
        Start start = { .settings = settings, .fds = { -1, -1, -1 }, .warden_fd = warden_fd, .parent = getpid() };
        int r;

        r = make_env(settings, agent_id, &arena, &start.env);
        if (r == 0)
                r = find_program(settings->command[0], start.env, &arena, &start.path, ret_error);
        if (r != 0)
                return r;

        read_oom_score(start.oom_score, sizeof(start.oom_score));
        r = spawn_prepared(&start, &process, ret_error);
        if (r != 0) {
                exec_process_close(&process);
                return r;
        }

        *ret = process;
        return 0;
}

void exec_process_close(ExecProcess *process) {
        int *const fds[] = { &process->pidfd, &process->in, &process->out, &process->err };

        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                if (*fds[i] >= 0)
                        (void)close(*fds[i]);
                *fds[i] = -1;
        }
}
