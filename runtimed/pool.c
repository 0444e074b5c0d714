/* SPDX-License-Identifier: MIT */

/*
 * Runs go in under a mutex, once per loop turn for all of them; a worker takes one run (all its mail, and what is added
 * to it meanwhile) per lock. Outcomes come back over a lock-free stack: a worker pushes each with one compare-and-swap,
 * and only the push that finds the stack empty writes to the eventfd; the loop takes the whole stack with one exchange
 * and turns it round. So under load a message costs neither a lock nor a system call, and while idle the first outcome
 * wakes the loop at once.
 *
 * Each outcome is handed over as it happens, not gathered: nobody knows how long the next message will hold the worker.
 *
 * The stack has no ABA problem: nothing is ever popped but the whole.
 *
 * Workers without work lie on a stack, each with a condition variable of its own: so who is woken is off the stack at
 * once and isn't woken twice, and the one that worked last, whose caches are warm, is woken first.
 * None spins before it sleeps: tried on two processors with 5 and 25 us, that cost the loop 10 to 40 % more per message
 * and gained nothing, since a run that is topped up keeps its worker awake by itself.
 *
 * The time. An outcome is stamped with a precise clock, read once per message that has one. A message that ends without
 * a word only glances at the coarse clock, which is a load: it changes every few milliseconds (a tick of the kernel),
 * and when it has, or after QUIET_MAX such messages, the precise one is read. So a slow behaviour's turn ends when it
 * should, and a fast one does not pay for that.
 */

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/instant.h"
#include "runtimed/pool.h"
#include "runtimed/run_queue.h"

#define QUIET_MAX                                                                                           \
        32 /* messages without a precise clock: those of a tick that are not slow, so well under its length \
            */

typedef struct Worker Worker;

struct Worker {
        Pool *pool;
        pthread_t thread;
        bool is_running; /* created and not joined */

        /* under lock */
        pthread_cond_t woken;
        bool is_idle; /* on the stack of those */
        Worker *next_idle;
};

struct Pool {
        pthread_mutex_t lock;
        RunQueue queue;               /* under lock */
        Worker *idle;                 /* under lock */
        bool is_stopping;             /* under lock */
        atomic_bool is_stopping_soon; /* the same, for a worker in the middle of a run */
        atomic_size_t n_waiting;      /* as in the queue, for workers to glance at */

        _Alignas(64) _Atomic(Outcome *) outcomes;
        int fd;

        size_t n_workers;
        Worker workers[];
};

/* A worker's clock. */
typedef struct Clock {
        uint64_t usec; /* CLOCK_BOOTTIME */
        long tick;
        unsigned n_quiet; /* messages since it was read */
} Clock;

static long read_tick(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
        return t.tv_nsec;
}

static void clock_read(Clock *clock) {
        struct timespec t;

        (void)clock_gettime(CLOCK_BOOTTIME, &t);
        clock->usec = (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
        clock->n_quiet = 0;
}

/* After a message without a word. */
static void clock_glance(Clock *clock) {
        const long tick = read_tick();

        clock->n_quiet++;
        if (tick == clock->tick && clock->n_quiet < QUIET_MAX)
                return;

        clock->tick = tick;
        clock_read(clock);
}

static void push_outcome(Pool *pool, Outcome *outcome) {
        static const uint64_t one = 1;
        Outcome *head = atomic_load_explicit(&pool->outcomes, memory_order_relaxed);

        do
                outcome->next = head;
        while (!atomic_compare_exchange_weak_explicit(
                &pool->outcomes, &head, outcome, memory_order_acq_rel, memory_order_relaxed));

        if (!head) {
                ssize_t n = write(pool->fd, &one, sizeof(one));

                (void)n; /* the counter can't overflow: it is read whenever it is above zero */
        }
}

/* Is it known beforehand that there will be an outcome? Then it is to say when it began. */
static bool will_have_outcome(const Mail *mail) {
        return mail->outcome || mail->wants_answer;
}

static Outcome *step(Run *run, Clock *clock) {
        Outcome *outcome;

        if (clock->n_quiet > 0 && will_have_outcome(run->mail))
                clock_read(clock);

        outcome = run_step(run, clock->usec);
        if (!outcome) {
                clock_glance(clock);
                return NULL;
        }

        clock_read(clock);
        outcome->finished_usec = clock->usec;
        return outcome;
}

static bool is_over(const Pool *pool, Run *run) {
        if (atomic_load_explicit(&pool->is_stopping_soon, memory_order_relaxed)) {
                run_abandon(run);
                return true;
        }

        return run_close(run);
}

static Run *pop_run(Pool *pool) {
        Run *run = run_queue_pop(&pool->queue);

        atomic_store_explicit(&pool->n_waiting, pool->queue.n_runs, memory_order_relaxed);
        return run;
}

/* Its turn is over and others wait: to the back of its class with it. Returns the next, which may be the same. */
static Run *swap_run(Pool *pool, Run *run) {
        run_hand_over_done(run);

        (void)pthread_mutex_lock(&pool->lock);
        run_queue_push(&pool->queue, run);
        run = pop_run(pool);
        (void)pthread_mutex_unlock(&pool->lock);

        return run;
}

/* After the outcome with run_ended is pushed, the run is not ours any more: not even to look at. Returns the run that
 * took its place, if it has to wait for its next turn; NULL: it has ended. */
static Run *work_on(Pool *pool, Run *run) {
        Clock clock = { .tick = read_tick() };
        Outcome *outcome;
        RunTurn turn;
        bool ended;

        clock_read(&clock);
        run_turn_begin(&turn, run, clock.usec);
        do {
                outcome = step(run, &clock);
                ended = is_over(pool, run);
                if (ended) {
                        outcome = run_end(run, outcome);
                        outcome->finished_usec = clock.usec;
                }
                if (outcome)
                        push_outcome(pool, outcome);
                if (ended || !run_turn_is_over(&turn, clock.usec))
                        continue;
                if (atomic_load_explicit(&pool->n_waiting, memory_order_relaxed) > 0)
                        return swap_run(pool, run);
                run_turn_begin(&turn, run, clock.usec);
        } while (!ended);
        return NULL;
}

static void sleep_until_woken(Worker *worker) {
        Pool *pool = worker->pool;

        worker->is_idle = true;
        worker->next_idle = pool->idle;
        pool->idle = worker;
        while (worker->is_idle)
                (void)pthread_cond_wait(&worker->woken, &pool->lock);
}

/* Takes one off the stack; the lock is held. */
static Worker *pop_idle(Pool *pool) {
        Worker *worker = pool->idle;

        if (!worker)
                return NULL;

        pool->idle = worker->next_idle;
        worker->is_idle = false;
        return worker;
}

/* NULL: the end. */
static Run *wait_for_run(Worker *worker) {
        Pool *pool = worker->pool;
        Run *run = NULL;

        (void)pthread_mutex_lock(&pool->lock);
        while (!pool->is_stopping && !(run = pop_run(pool)))
                sleep_until_woken(worker);
        (void)pthread_mutex_unlock(&pool->lock);

        return run;
}

static void *worker_main(void *userdata) {
        Worker *worker = userdata;
        Run *run;

        while ((run = wait_for_run(worker)))
                while (run)
                        run = work_on(worker->pool, run);

        return NULL;
}

static int start_worker(Pool *pool, size_t index) {
        Worker *worker = &pool->workers[index];
        char name[16];
        int r;

        r = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (r != 0)
                return -r;

        worker->is_running = true;
        (void)snprintf(name, sizeof(name), "worker-%zu", index);
        (void)pthread_setname_np(worker->thread, name);
        return 0;
}

/* Held for some tens of nanoseconds: whoever finds it taken does better to spin than to go to sleep. */
static void init_lock(pthread_mutex_t *lock) {
        pthread_mutexattr_t attributes;

        (void)pthread_mutexattr_init(&attributes);
        (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
        (void)pthread_mutex_init(lock, &attributes);
        (void)pthread_mutexattr_destroy(&attributes);
}

static Pool *pool_alloc(size_t n_workers) {
        const size_t size = sizeof(Pool) + n_workers * sizeof(Worker), line = _Alignof(Pool);
        Pool *pool = aligned_alloc(line, (size + line - 1) / line * line);

        if (!pool)
                return NULL;

        memset(pool, 0, size);
        pool->fd = -1;
        pool->n_workers = n_workers;
        init_lock(&pool->lock);
        for (size_t i = 0; i < n_workers; i++) {
                pool->workers[i].pool = pool;
                (void)pthread_cond_init(&pool->workers[i].woken, NULL);
        }
        return pool;
}

int pool_new(size_t n_workers, Pool **ret) {
        _cleanup_(pool_freep) Pool *pool = NULL;
        int r;

        assert(n_workers > 0 && n_workers <= POOL_WORKERS_MAX);

        pool = pool_alloc(n_workers);
        if (!pool)
                return -ENOMEM;

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
        Worker *worker;

        atomic_store(&pool->is_stopping_soon, true);
        (void)pthread_mutex_lock(&pool->lock);
        pool->is_stopping = true;
        while ((worker = pop_idle(pool)))
                (void)pthread_cond_signal(&worker->woken);
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
        return pop_run(pool);
}

Pool *pool_free(Pool *pool) {
        if (!pool)
                return NULL;

        tell_workers_to_stop(pool);
        for (size_t i = 0; i < pool->n_workers; i++) {
                if (pool->workers[i].is_running)
                        (void)pthread_join(pool->workers[i].thread, NULL);
                (void)pthread_cond_destroy(&pool->workers[i].woken);
        }

        if (pool->fd >= 0)
                (void)close(pool->fd);
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
        Worker *woken[POOL_WORKERS_MAX];
        size_t n_runs, n_woken = 0;
        RunQueue queue = {};
        Run *next;

        if (!runs)
                return;

        for (; runs; runs = next) {
                next = runs->next;
                run_queue_push(&queue, runs);
        }
        n_runs = queue.n_runs;

        (void)pthread_mutex_lock(&pool->lock);
        run_queue_join(&pool->queue, &queue);
        while (n_woken < n_runs && pool->idle)
                woken[n_woken++] = pop_idle(pool);
        atomic_store_explicit(&pool->n_waiting, pool->queue.n_runs, memory_order_relaxed);
        (void)pthread_mutex_unlock(&pool->lock);

        /* outside the lock, so that who wakes doesn't run into it */
        for (size_t i = 0; i < n_woken; i++)
                (void)pthread_cond_signal(&woken[i]->woken);
}

bool pool_has_outcomes(const Pool *pool) {
        return atomic_load_explicit(&pool->outcomes, memory_order_relaxed);
}

Outcome *pool_take(Pool *pool) {
        Outcome *stack, *list = NULL, *next;
        uint64_t n;
        ssize_t n_read = read(pool->fd, &n, sizeof(n)); /* before the exchange: a later push writes again */

        (void)n_read;

        for (stack = atomic_exchange_explicit(&pool->outcomes, NULL, memory_order_acq_rel); stack; stack = next) {
                next = stack->next;
                stack->next = list;
                list = stack;
        }
        return list;
}
