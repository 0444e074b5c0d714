/* SPDX-License-Identifier: MIT */

/*
 * The thread takes all that is queued, so while one commit waits for the disk, what comes meanwhile gathers into the
 * next: the slower the disk, the larger the batches, and one fsync serves them all.
 *
 * A batch ends before a load of an agent that has a write in it; so its loads can all go first, outside the
 * transaction, and none sees what is not on the disk yet. The writes go in order, each a part of the transaction that
 * can be undone alone. When the transaction as a whole is lost (a full disk ends it), each is tried again in one of its
 * own: then what fails, fails for its own sake.
 *
 * A request has no room for what a batch must know of it, so a batch has a list of items beside.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/id_index.h"
#include "common/instant.h"
#include "runtimed/store.h"
#include "runtimed/store_slots.h"

#define SCHEME "sqlite:"
#define BATCH_MAX 1024 /* by then the commit is a small part of the work */
#define BATCH_BYTES_MAX \
        (8 * 1024 * 1024)             /* so that who waits for a small one does not wait for hundreds of large ones */
#define RECORD_KEPT_MAX (1024 * 1024) /* memory for one large state is given back after it */

typedef struct Item {
        Id agent_id; /* here as well, so that the index leads to the item */
        StoreRequest *request;
        const struct Item *overtaken_by; /* a later one of the same batch; NULL: it is carried out itself */
} Item;

typedef struct Batch {
        Item items[BATCH_MAX];
        size_t n, n_bytes;
        IdIndex written; /* the last write of each agent */
} Batch;

typedef struct Queue {
        StoreRequest *first, **last;
} Queue;

struct Store {
        pthread_mutex_t lock;
        pthread_cond_t has_work;
        Queue submitted;  /* under lock */
        Queue done;       /* under lock */
        bool is_stopping; /* under lock */
        int fd;

        pthread_t thread;
        bool is_running; /* created and not joined */

        /* of the thread */
        StoreSqlite *sqlite;
        Queue pending;
        Batch batch;
        Buffer record;
        uint64_t seed;

        _Atomic(uint64_t) n_batches, n_saved, n_failed, n_bytes, busy_usec;
};

const char *const store_outcome_names[_STORE_OUTCOME_MAX] = {
        [STORE_DONE] = "done",
        [STORE_EMPTY] = "empty",
        [STORE_DAMAGED] = "damaged",
        [STORE_NEWER] = "newer",
        [STORE_UNREADABLE] = "unreadable",
        [STORE_UNWRITABLE] = "unwritable",
};

StoreRequest *store_request_free(StoreRequest *request) {
        if (!request)
                return NULL;
        buffer_done(&request->state);
        buffer_done(&request->previous);
        free(request);
        return NULL;
}

/* queues */

static void queue_init(Queue *queue) {
        *queue = (Queue){ .last = &queue->first };
}

static void queue_push(Queue *queue, StoreRequest *request) {
        request->next = NULL;
        *queue->last = request;
        queue->last = &request->next;
}

static StoreRequest *queue_pop(Queue *queue) {
        StoreRequest *request = queue->first;

        if (!request)
                return NULL;
        queue->first = request->next;
        if (!queue->first)
                queue->last = &queue->first;
        request->next = NULL;
        return request;
}

static void queue_move(Queue *to, Queue *from) {
        if (!from->first)
                return;
        *to->last = from->first;
        to->last = from->last;
        queue_init(from);
}

static void queue_done(Queue *queue) {
        StoreRequest *request;

        while ((request = queue_pop(queue)))
                (void)store_request_free(request);
}

/* making a batch */

static Item *last_write_of(const Batch *batch, const Id *agent_id) {
        const Id *id = id_index_find(&batch->written, id_slice(agent_id));

        return id ? CONTAINER_OF(id, Item, agent_id) : NULL;
}

/* Returns whether anything may follow in this batch. */
static bool note_write(Batch *batch, Item *item) {
        Item *before = last_write_of(batch, &item->agent_id);

        if (before) {
                id_index_remove(&batch->written, &before->agent_id);
                if (before->request->operation == STORE_SAVE && item->request->operation == STORE_SAVE &&
                        item->request->state.size <= STORE_STATE_BYTES_MAX) {
                        before->overtaken_by = item;
                        batch->n_bytes -= before->request->state.size;
                }
        }
        return id_index_add(&batch->written, &item->agent_id) == 0;
}

/* Moves what may be carried out together from the front of the queue. */
static void take_batch(Batch *batch, Queue *queue, uint64_t seed) {
        bool may_follow = true;

        batch->n = batch->n_bytes = 0;
        id_index_done(&batch->written);
        id_index_init(&batch->written, seed);

        while (may_follow && queue->first && batch->n < BATCH_MAX && batch->n_bytes < BATCH_BYTES_MAX) {
                StoreRequest *request = queue->first;
                Item *item = &batch->items[batch->n];

                if (request->operation == STORE_LOAD && last_write_of(batch, &request->agent_id))
                        break;
                (void)queue_pop(queue);
                *item = (Item){ .agent_id = request->agent_id, .request = request };
                batch->n++;
                batch->n_bytes += request->state.size;
                if (request->operation != STORE_LOAD)
                        may_follow = note_write(batch, item);
        }
}

/* carrying it out */

static void fail(StoreRequest *request, const WireError *error) {
        request->outcome = request->operation == STORE_LOAD ? STORE_UNREADABLE : STORE_UNWRITABLE;
        request->error = *error;
}

/* One part of a transaction. Returns what is not 0 when the transaction is lost. */
static int write_part(Store *store, StoreRequest *request, WireError *ret_error) {
        int r;

        r = store_sqlite_begin_part(store->sqlite, ret_error);
        if (r != 0)
                return r;
        request->error.text[0] = '\0';
        if (request->operation == STORE_SAVE)
                store_slots_save(store->sqlite, request, &store->record);
        else
                store_slots_forget(store->sqlite, request);
        if (request->outcome == STORE_DONE)
                return store_sqlite_keep_part(store->sqlite, ret_error);
        *ret_error = request->error;
        return store_sqlite_undo_part(store->sqlite);
}

static bool is_written_itself(const Item *item) {
        return item->request->operation != STORE_LOAD && !item->overtaken_by;
}

/* All of them in one transaction. Unless 0 is returned, none was carried out, and `ret_error` says why. */
static int write_together(Store *store, const Item *items, size_t n, WireError *ret_error) {
        int r;

        r = store_sqlite_begin(store->sqlite, ret_error);
        for (size_t i = 0; i < n && r == 0; i++)
                if (is_written_itself(&items[i]))
                        r = write_part(store, items[i].request, ret_error);
        if (r == 0)
                r = store_sqlite_commit(store->sqlite, ret_error);
        store_sqlite_rollback(store->sqlite);
        return r;
}

static void write_alone(Store *store, const Item *item) {
        WireError error;
        int r;

        r = store_sqlite_ready(store->sqlite, &error);
        if (r == 0)
                r = write_together(store, item, 1, &error);
        if (r != 0)
                fail(item->request, &error);
}

static void write_all(Store *store, const Batch *batch) {
        size_t n_written = 0;
        WireError error;

        for (size_t i = 0; i < batch->n; i++)
                n_written += is_written_itself(&batch->items[i]);
        if (n_written == 0 || write_together(store, batch->items, batch->n, &error) == 0)
                return;
        for (size_t i = 0; i < batch->n; i++)
                if (is_written_itself(&batch->items[i]))
                        write_alone(store, &batch->items[i]);
}

static void carry_out(Store *store, const Batch *batch) {
        WireError error;

        if (store_sqlite_ready(store->sqlite, &error) != 0) {
                for (size_t i = 0; i < batch->n; i++)
                        fail(batch->items[i].request, &error);
                return;
        }

        for (size_t i = 0; i < batch->n; i++)
                if (batch->items[i].request->operation == STORE_LOAD)
                        store_slots_load(store->sqlite, batch->items[i].request);
        write_all(store, batch);
}

/* handing it back */

/* From the last to the first, so that who overtook has an outcome already. */
static void tell_overtaken(const Batch *batch) {
        for (size_t i = batch->n; i > 0; i--) {
                const Item *item = &batch->items[i - 1];

                if (!item->overtaken_by)
                        continue;
                item->request->outcome = item->overtaken_by->request->outcome;
                item->request->error = item->overtaken_by->request->error;
        }
}

static void count(Store *store, const Batch *batch, uint64_t busy_usec) {
        uint64_t n_saved = 0, n_failed = 0, n_bytes = 0;

        for (size_t i = 0; i < batch->n; i++) {
                const StoreRequest *request = batch->items[i].request;

                if (request->outcome != STORE_DONE) {
                        n_failed += request->outcome != STORE_EMPTY;
                } else if (request->operation == STORE_SAVE) {
                        n_saved++;
                        n_bytes += batch->items[i].overtaken_by ? 0 : request->state.size;
                }
        }
        (void)atomic_fetch_add_explicit(&store->n_batches, 1, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&store->n_saved, n_saved, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&store->n_failed, n_failed, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&store->n_bytes, n_bytes, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&store->busy_usec, busy_usec, memory_order_relaxed);
}

static void hand_back(Store *store, const Batch *batch) {
        static const uint64_t one = 1;
        Queue list;

        queue_init(&list);
        for (size_t i = 0; i < batch->n; i++)
                queue_push(&list, batch->items[i].request);

        (void)pthread_mutex_lock(&store->lock);
        if (!store->done.first)
                (void)!write(store->fd, &one, sizeof(one)); /* fails only when it is readable anyway */
        queue_move(&store->done, &list);
        (void)pthread_mutex_unlock(&store->lock);
}

static void work_off(Store *store) {
        while (store->pending.first) {
                const uint64_t begin_usec = instant_now().usec;

                take_batch(&store->batch, &store->pending, store->seed);
                carry_out(store, &store->batch);
                tell_overtaken(&store->batch);
                if (store->record.capacity > RECORD_KEPT_MAX)
                        buffer_done(&store->record);
                count(store, &store->batch, instant_now().usec - begin_usec);
                hand_back(store, &store->batch);
        }
}

/* the thread */

static bool wait_for_requests(Store *store) {
        (void)pthread_mutex_lock(&store->lock);
        while (!store->submitted.first && !store->is_stopping)
                (void)pthread_cond_wait(&store->has_work, &store->lock);
        queue_move(&store->pending, &store->submitted);
        (void)pthread_mutex_unlock(&store->lock);
        return store->pending.first != NULL;
}

static void *store_main(void *userdata) {
        Store *store = userdata;

        while (wait_for_requests(store))
                work_off(store);
        store->sqlite = store_sqlite_free(store->sqlite);
        return NULL;
}

/* the owner */

static int path_of(const char *where, const char **ret, WireError *ret_error) {
        const Slice text = slice_of(where);

        if (!slice_starts_with(text, SLICE(SCHEME))) {
                (void)wire_error(ret_error, "\"%s\" is no state store: sqlite:PATH and none are", where);
                return -EINVAL;
        }
        if (text.size == strlen(SCHEME)) {
                (void)wire_error(ret_error, "\"%s\" lacks the path of the file: sqlite:PATH", where);
                return -EINVAL;
        }
        *ret = where + strlen(SCHEME);
        return 0;
}

bool store_where_is_valid(const char *where, WireError *ret_error) {
        const char *path;

        return path_of(where, &path, ret_error) == 0;
}

int store_new(const char *where, Store **ret, WireError *ret_error) {
        _cleanup_(store_freep) Store *store = NULL;
        const char *path;
        int r;

        r = path_of(where, &path, ret_error);
        if (r < 0)
                return r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        (void)pthread_mutex_init(&store->lock, NULL);
        (void)pthread_cond_init(&store->has_work, NULL);
        queue_init(&store->submitted);
        queue_init(&store->done);
        queue_init(&store->pending);
        (void)!getrandom(&store->seed, sizeof(store->seed), GRND_NONBLOCK); /* ids come from operators: zero would do */
        store->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (store->fd < 0)
                return -errno;
        r = store_sqlite_new(path, &store->sqlite);
        if (r < 0)
                return r;

        r = pthread_create(&store->thread, NULL, store_main, store);
        if (r != 0)
                return -r;
        store->is_running = true;
        (void)pthread_setname_np(store->thread, "store");

        *ret = TAKE_PTR(store);
        return 0;
}

static void stop_thread(Store *store) {
        (void)pthread_mutex_lock(&store->lock);
        store->is_stopping = true;
        (void)pthread_cond_signal(&store->has_work);
        (void)pthread_mutex_unlock(&store->lock);
        if (store->is_running)
                (void)pthread_join(store->thread, NULL);
}

Store *store_free(Store *store) {
        if (!store)
                return NULL;

        stop_thread(store);
        queue_done(&store->submitted);
        queue_done(&store->done);
        id_index_done(&store->batch.written);
        buffer_done(&store->record);
        (void)store_sqlite_free(store->sqlite); /* the thread has done so, if there was one */
        if (store->fd >= 0)
                (void)close(store->fd);
        (void)pthread_cond_destroy(&store->has_work);
        (void)pthread_mutex_destroy(&store->lock);
        free(store);
        return NULL;
}

int store_fd(const Store *store) {
        return store->fd;
}

void store_submit(Store *store, StoreRequest *requests) {
        Queue list;
        StoreRequest *next;

        queue_init(&list);
        for (; requests; requests = next) {
                assert(requests->operation != STORE_NOTHING && requests->agent_id.size > 0);
                assert(requests->operation != STORE_SAVE || requests->generation > 0);
                next = requests->next;
                queue_push(&list, requests);
        }

        (void)pthread_mutex_lock(&store->lock);
        queue_move(&store->submitted, &list);
        (void)pthread_cond_signal(&store->has_work);
        (void)pthread_mutex_unlock(&store->lock);
}

StoreRequest *store_take(Store *store) {
        StoreRequest *first;
        uint64_t n;

        (void)pthread_mutex_lock(&store->lock);
        (void)!read(store->fd, &n, sizeof(n));
        first = store->done.first;
        queue_init(&store->done);
        (void)pthread_mutex_unlock(&store->lock);
        return first;
}

void store_stats(const Store *store, StoreStats *ret) {
        ret->n_batches = atomic_load_explicit(&store->n_batches, memory_order_relaxed);
        ret->n_saved = atomic_load_explicit(&store->n_saved, memory_order_relaxed);
        ret->n_failed = atomic_load_explicit(&store->n_failed, memory_order_relaxed);
        ret->n_bytes = atomic_load_explicit(&store->n_bytes, memory_order_relaxed);
        ret->busy_usec = atomic_load_explicit(&store->busy_usec, memory_order_relaxed);
}
