/* SPDX-License-Identifier: MIT */

/*
 * Runs go in under a mutex, once per loop turn for all of them; a worker takes one run (up to a quantum of messages)
 * per lock. Outcomes come back over a lock-free stack: a worker pushes each with one compare-and-swap, and only the
 * push that finds the stack empty writes to the eventfd; the loop takes the whole stack with one exchange and turns it
 * round. So under load a message costs neither a lock nor a system call, and while idle the first outcome wakes the
 * loop at once.
 *
 * Each outcome is handed over as it happens, not gathered: nobody knows how long the next message will hold the worker.
 *
 * The stack has no ABA problem: nothing is ever popped but the whole.
 */

#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/instant.h"
#include "runtimed/pool.h"
#include "runtimed/run_queue.h"

typedef struct Worker {
        Pool *pool;
        pthread_t thread;
        bool is_running; /* created and not joined */
} Worker;

struct Pool {
        pthread_mutex_t lock;
        pthread_cond_t has_work;
        RunQueue queue;               /* under lock */
        unsigned n_asleep;            /* under lock */
        bool is_stopping;             /* under lock */
        atomic_bool is_stopping_soon; /* the same, for a worker in the middle of a run */

        _Atomic(Outcome *) outcomes;
        int fd;

        size_t n_workers;
        Worker workers[];
};

static uint64_t clock_usec(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_BOOTTIME, &t);
        return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void push_outcome(Pool *pool, Outcome *outcome) {
        static const uint64_t one = 1;
        Outcome *head = atomic_load_explicit(&pool->outcomes, memory_order_relaxed);

        do
                outcome->next = head;
        while (!atomic_compare_exchange_weak(&pool->outcomes, &head, outcome));

        if (!head) {
                ssize_t n = write(pool->fd, &one, sizeof(one));

                (void)n; /* the counter can't overflow: it is read whenever it is above zero */
        }
}

/* After the outcome with run_ended is pushed, the run is not ours any more: not even to look at. */
static void work_on(Pool *pool, Run *run) {
        const uint64_t begin_usec = clock_usec();
        uint64_t now = begin_usec;
        bool ended;

        do {
                Outcome *outcome = run_step(run, now);

                now = clock_usec();
                outcome->finished_usec = now;
                if (now - begin_usec >= POOL_QUANTUM_USEC ||
                        atomic_load_explicit(&pool->is_stopping_soon, memory_order_relaxed))
                        outcome->run_ended = true;
                ended = outcome->run_ended;
                push_outcome(pool, outcome);
        } while (!ended);
}

static Run *wait_for_run(Pool *pool) {
        Run *run = NULL;

        (void)pthread_mutex_lock(&pool->lock);
        while (!pool->is_stopping && !(run = run_queue_pop(&pool->queue))) {
                pool->n_asleep++;
                (void)pthread_cond_wait(&pool->has_work, &pool->lock);
                pool->n_asleep--;
        }
        (void)pthread_mutex_unlock(&pool->lock);

        return run;
}

static void *worker_main(void *userdata) {
        Worker *worker = userdata;
        Run *run;

        while ((run = wait_for_run(worker->pool)))
                work_on(worker->pool, run);

        return NULL;
}

static int start_worker(Pool *pool, size_t index) {
        Worker *worker = &pool->workers[index];
        char name[16];
        int r;

        worker->pool = pool;
        r = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (r != 0)
                return -r;

        worker->is_running = true;
        (void)snprintf(name, sizeof(name), "worker-%zu", index);
        (void)pthread_setname_np(worker->thread, name);
        return 0;
}

int pool_new(size_t n_workers, Pool **ret) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        int r;

        assert(n_workers > 0 && n_workers <= POOL_WORKERS_MAX);

        pool = calloc(1, sizeof(*pool) + n_workers * sizeof(pool->workers[0]));
        if (!pool)
                return -ENOMEM;

        pool->n_workers = n_workers;
        (void)pthread_mutex_init(&pool->lock, NULL);
        (void)pthread_cond_init(&pool->has_work, NULL);
        pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pool->fd < 0)
                return -errno;

        for (size_t i = 0; i < n_workers; i++) {
                r = start_worker(pool, i);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(pool);
        return 0;
}

static void tell_workers_to_stop(Pool *pool) {
        atomic_store(&pool->is_stopping_soon, true);
        (void)pthread_mutex_lock(&pool->lock);
        pool->is_stopping = true;
        (void)pthread_cond_broadcast(&pool->has_work);
        (void)pthread_mutex_unlock(&pool->lock);
}

bool pool_stop(Pool *pool, uint64_t timeout_usec) {
        struct timespec until;
        bool all = true;

        tell_workers_to_stop(pool);

        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)(timeout_usec / USEC_PER_SEC);
        until.tv_nsec += (long)(timeout_usec % USEC_PER_SEC) * 1000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }

        for (size_t i = 0; i < pool->n_workers; i++) {
                Worker *worker = &pool->workers[i];

                if (worker->is_running && pthread_timedjoin_np(worker->thread, NULL, &until) == 0)
                        worker->is_running = false;
                all = all && !worker->is_running;
        }
        return all;
}

Run *pool_take_unstarted(Pool *pool) {
        return run_queue_pop(&pool->queue);
}

Pool *pool_free(Pool *pool) {
        if (!pool)
                return NULL;

        tell_workers_to_stop(pool);
        for (size_t i = 0; i < pool->n_workers; i++)
                if (pool->workers[i].is_running)
                        (void)pthread_join(pool->workers[i].thread, NULL);

        if (pool->fd >= 0)
                (void)close(pool->fd);
        (void)pthread_cond_destroy(&pool->has_work);
        (void)pthread_mutex_destroy(&pool->lock);
        free(pool);
        return NULL;
}

int pool_fd(const Pool *pool) {
        return pool->fd;
}

size_t pool_n_workers(const Pool *pool) {
        return pool->n_workers;
}

void pool_submit(Pool *pool, Run *runs) {
        unsigned n_wake = 0;
        Run *next;

        if (!runs)
                return;

        (void)pthread_mutex_lock(&pool->lock);
        for (; runs; runs = next) {
                next = runs->next;
                run_queue_push(&pool->queue, runs);
                n_wake++;
        }
        n_wake = MIN_OF(n_wake, pool->n_asleep);
        (void)pthread_mutex_unlock(&pool->lock);

        /* outside the lock, so that who wakes doesn't run into it */
        while (n_wake-- > 0)
                (void)pthread_cond_signal(&pool->has_work);
}

Outcome *pool_take(Pool *pool) {
        Outcome *stack, *list = NULL, *next;
        uint64_t n;
        ssize_t n_read = read(pool->fd, &n, sizeof(n)); /* before the exchange: a later push writes again */

        (void)n_read;

        for (stack = atomic_exchange(&pool->outcomes, NULL); stack; stack = next) {
                next = stack->next;
                stack->next = list;
                list = stack;
        }
        return list;
}
