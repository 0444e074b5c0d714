/* SPDX-License-Identifier: MIT */

/*
 * Making a process takes a tenth of a millisecond on an idle machine, and thirty on one whose processors are all taken:
 * whoever makes it stands still until the new process had its turn. That is no time for a loop to lose.
 *
 * One thread, since making processes side by side gains nothing when they wait for the same processors.
 */

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtimed/exec_spawner.h"

typedef struct JobList {
        ExecJob *first, **end;
} JobList;

struct ExecSpawner {
        int fd;
        bool has_thread; /* the loop's */
        pthread_t thread;

        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t has_work;
        JobList waiting, done;
        bool is_ending;
};

static void list_init(JobList *list) {
        *list = (JobList){ .end = &list->first };
}

static void list_put(JobList *list, ExecJob *job) {
        job->next = NULL;
        *list->end = job;
        list->end = &job->next;
}

static ExecJob *list_pop(JobList *list) {
        ExecJob *job = list->first;

        if (!job)
                return NULL;
        list->first = job->next;
        if (!list->first)
                list->end = &list->first;
        job->next = NULL;
        return job;
}

static void finish(ExecSpawner *spawner, ExecJob *job) {
        static const uint64_t one = 1;

        list_put(&spawner->done, job);
        (void)!write(spawner->fd, &one, sizeof(one));
}

static void *thread_main(void *userdata) {
        ExecSpawner *spawner = userdata;

        (void)pthread_mutex_lock(&spawner->lock);
        while (!spawner->is_ending) {
                ExecJob *job = list_pop(&spawner->waiting);

                if (!job) {
                        (void)pthread_cond_wait(&spawner->has_work, &spawner->lock);
                        continue;
                }
                (void)pthread_mutex_unlock(&spawner->lock);
                job->result = exec_spawn(job->settings, job->agent_id, job->warden_fd, &job->process, &job->error);
                (void)pthread_mutex_lock(&spawner->lock);
                finish(spawner, job);
        }
        (void)pthread_mutex_unlock(&spawner->lock);
        return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(ExecSpawner *spawner) {
        sigset_t all, before;
        int r;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&spawner->thread, NULL, thread_main, spawner);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        spawner->has_thread = r == 0;
        return -r;
}

int exec_spawner_new(ExecSpawner **ret) {
        _cleanup_(exec_spawner_freep) ExecSpawner *spawner = calloc(1, sizeof(*spawner));

        if (!spawner)
                return -ENOMEM;
        (void)pthread_mutex_init(&spawner->lock, NULL);
        (void)pthread_cond_init(&spawner->has_work, NULL);
        list_init(&spawner->waiting);
        list_init(&spawner->done);
        spawner->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (spawner->fd < 0)
                return -errno;

        *ret = TAKE_PTR(spawner);
        return 0;
}

ExecSpawner *exec_spawner_free(ExecSpawner *spawner) {
        if (!spawner)
                return NULL;

        if (spawner->has_thread) {
                (void)pthread_mutex_lock(&spawner->lock);
                spawner->is_ending = true;
                (void)pthread_cond_signal(&spawner->has_work);
                (void)pthread_mutex_unlock(&spawner->lock);
                (void)pthread_join(spawner->thread, NULL);
        }
        if (spawner->fd >= 0)
                (void)close(spawner->fd);
        (void)pthread_cond_destroy(&spawner->has_work);
        (void)pthread_mutex_destroy(&spawner->lock);
        free(spawner);
        return NULL;
}

int exec_spawner_fd(const ExecSpawner *spawner) {
        return spawner->fd;
}

int exec_spawner_submit(ExecSpawner *spawner, ExecJob *job) {
        const int r = spawner->has_thread ? 0 : start_thread(spawner);

        if (r < 0)
                return r;
        job->result = -ECANCELED; /* should it never be taken up */
        job->process = EXEC_PROCESS_NONE;
        (void)pthread_mutex_lock(&spawner->lock);
        list_put(&spawner->waiting, job);
        (void)pthread_cond_signal(&spawner->has_work);
        (void)pthread_mutex_unlock(&spawner->lock);
        return 0;
}

ExecJob *exec_spawner_take(ExecSpawner *spawner) {
        uint64_t n;
        ExecJob *done;

        (void)!read(spawner->fd, &n, sizeof(n));
        (void)pthread_mutex_lock(&spawner->lock);
        done = spawner->done.first;
        list_init(&spawner->done);
        (void)pthread_mutex_unlock(&spawner->lock);
        return done;
}
