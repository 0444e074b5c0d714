/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/instant.h"
#include "ctl/watch.h"

#define REST_USEC (150 * USEC_PER_MSEC)      /* editors write, rename and touch within this */
#define PATIENCE_USEC (1000 * USEC_PER_MSEC) /* who writes all the time is heard all the same */

int watch_init(Watch *watch, const char *directory) {
        *watch = (Watch){ .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .due_usec = USEC_NEVER };
        if (watch->fd < 0)
                return -errno;
        if (inotify_add_watch(watch->fd, directory,
                    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_ONLYDIR) < 0) {
                const int error = errno;

                watch_done(watch);
                return -error;
        }
        return 0;
}

void watch_done(Watch *watch) {
        if (watch->fd >= 0)
                (void)close(watch->fd);
        watch->fd = -1;
}

/* What a runtime takes for a definition; not an editor's ".x.json.swp" or "x.json~". */
static bool is_definition(const char *name) {
        const size_t n = strlen(name);

        return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".json") == 0;
}

static void note(Watch *watch, const char *name, uint64_t now_usec) {
        if (watch->n_events++ == 0)
                watch->since_usec = now_usec;
        watch->due_usec = MIN_OF(now_usec + REST_USEC, watch->since_usec + PATIENCE_USEC);
        (void)snprintf(watch->name, sizeof(watch->name), "%s", name);
}

bool watch_turn(Watch *watch, uint64_t now_usec) {
        char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n;

        while (watch->fd >= 0 && (n = read(watch->fd, data, sizeof(data))) > 0)
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const struct inotify_event *)(data + at);

                        if (event->mask & IN_Q_OVERFLOW)
                                note(watch, "many files", now_usec);
                        else if (event->len > 0 && is_definition(event->name))
                                note(watch, event->name, now_usec);
                        at += (ssize_t)(sizeof(*event) + event->len);
                }
        if (now_usec < watch->due_usec)
                return false;
        watch->due_usec = USEC_NEVER;
        watch->n_events = 0;
        return true;
}
