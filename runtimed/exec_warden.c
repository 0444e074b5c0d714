/* SPDX-License-Identifier: MIT */

/*
 * Children have PR_SET_PDEATHSIG, so they die with the runtime; what they have started themselves does not. Nobody in
 * the runtime can kill that when the runtime gets a SIGKILL, so somebody else must: a process that only waits for the
 * end of a socket, which the kernel closes for whoever dies. Under systemd the unit's control group does the same; the
 * warden is for everywhere else.
 *
 * It holds that socket and /dev/null and nothing more: a descriptor of the runtime that it kept open (a log pipe, a
 * listening socket) would outlive the runtime. It is in a session of its own with all signals blocked, so what is meant
 * for the runtime (ctrl-C, a hangup, SIGTERM to the whole unit) does not end it before the runtime.
 *
 * A group is reported by the child itself, before it becomes its program, and reported gone before its leader is
 * reaped: until then its number can't be another's.
 */

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtimed/exec_host.h"
#include "runtimed/exec_warden.h"

#define SEND_LIMIT_SECONDS 1 /* the warden does nothing but read: longer, and it is stopped or stuck */

/* One record: the number of a group, negative when it is gone. It must arrive, or a number that became another's would
 * be killed; room for it is there at once but in theory. */
static int report(int warden_fd, int32_t record) {
        return send(warden_fd, &record, sizeof(record), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int exec_warden_add(int warden_fd, pid_t group) {
        return report(warden_fd, (int32_t)group);
}

int exec_warden_remove(int warden_fd, pid_t group) {
        return report(warden_fd, -(int32_t)group);
}

pid_t exec_warden_pid(int warden_fd) {
        int32_t pid;

        return recv(warden_fd, &pid, sizeof(pid), 0) == sizeof(pid) ? pid : 0;
}

void exec_warden_end(int warden_fd, pid_t pid) {
        (void)close(warden_fd);
        if (pid > 0)
                (void)waitpid(pid, NULL, 0);
}

/* in the warden */

typedef struct Groups {
        pid_t *items;
        size_t n, capacity;
} Groups;

static void groups_add(Groups *groups, pid_t group) {
        if (groups->n == groups->capacity) {
                const size_t capacity = groups->capacity > 0 ? groups->capacity * 2 : 64;
                pid_t *items = realloc(groups->items, capacity * sizeof(pid_t));

                if (!items)
                        return; /* still killed by PR_SET_PDEATHSIG, without what it has started */
                groups->items = items;
                groups->capacity = capacity;
        }
        groups->items[groups->n++] = group;
}

static void groups_remove(Groups *groups, pid_t group) {
        for (size_t i = 0; i < groups->n; i++)
                if (groups->items[i] == group) {
                        groups->items[i] = groups->items[--groups->n];
                        return;
                }
}

static void let_go_of_everything(int fd) {
        const int null = open("/dev/null", O_RDWR);
        sigset_t all;

        (void)sigfillset(&all);
        (void)sigprocmask(SIG_SETMASK, &all, NULL);
        (void)setsid();
        (void)!chdir("/");
        (void)prctl(PR_SET_NAME, "compozy-warden");
        for (int i = 0; i < 3; i++)
                (void)dup2(null, i);
        (void)dup2(fd, 3);
        (void)close_range(4, UINT_MAX, 0);
}

static void warden_main(int fd) {
        Groups groups = {};
        int32_t record;
        ssize_t n;

        fd = fcntl(fd, F_DUPFD, 4); /* above what is arranged now */
        let_go_of_everything(fd);
        (void)report(3, (int32_t)getpid()); /* for exec_warden_pid() */

        while ((n = recv(3, &record, sizeof(record), 0)) != 0) {
                if (n < 0 && errno != EINTR)
                        break;
                if (n != sizeof(record))
                        continue;
                if (record > 0)
                        groups_add(&groups, record);
                else
                        groups_remove(&groups, -record);
        }

        for (size_t i = 0; i < groups.n; i++)
                (void)kill(-groups.items[i], SIGKILL);
        _exit(0);
}

int exec_warden_start(void) {
        const struct timeval limit = { .tv_sec = SEND_LIMIT_SECONDS };
        int fds[2];
        pid_t pid;

        /* packets: a record is there as a whole or not at all */
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;

        pid = fork();
        if (pid == 0)
                warden_main(fds[1]);
        if (pid < 0) {
                const int error = errno;

                (void)close(fds[0]);
                (void)close(fds[1]);
                return -error;
        }

        (void)close(fds[1]);
        (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        return fds[0];
}
