/* SPDX-License-Identifier: MIT */

/*
 * bench_mailbox: how many messages per second one sender gets through agents' mailboxes to their behaviours, in one
 * process, without NATS.
 *
 *     bench_mailbox [-s SECONDS per figure] [-r ROUNDS] [-w WORKERS] [-o RUNS out at a time]
 *
 * First what a bare queue in C does on this machine, between one sender and one worker, so that the other figures mean
 * something elsewhere: "naive" allocates, locks and wakes for each message; "batched" has the messages from a pool and
 * hands over hundreds at a time. Then the engine of the runtime: a letter and a delivery from their pools, the mailbox
 * with its limits, the grant to a worker, the behaviour, and back to the pools; the loop here does what the core's does
 * (runtimed/schedule.c). Nothing is lost: at a full mailbox the sender waits, and every message that was sent must have
 * been handled at the end.
 *
 * Then the same through the whole core, messages on agents' reply topics as they come from the link. At last, what an
 * agent without mail costs in memory, of 100,000.
 *
 * One line of JSON. "rate": millions of messages per second, the best of the rounds, since whatever else the machine
 * does only takes away. "loop_nsec" and "worker_nsec": processor time per message, the least of the rounds; 1000 over
 * the greater one is the rate with two processors to itself.
 */

#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "common/instant.h"
#include "common/log.h"
#include "common/outbox.h"
#include "runtimed/agent.h"
#include "runtimed/letter.h"
#include "runtimed/mailbox.h"
#include "runtimed/pool.h"
#include "runtimed/runtime.h"

#define PAYLOAD_BYTES 64
#define TURN_MESSAGES 512 /* what a loop reads from its socket before it looks at anything else */
#define AGENTS_MAX 100000
#define PAUSES 2000  /* of a full turn: a few microseconds without a look at what the worker writes */
#define WINDOW 16384 /* messages under way, at which the sender waits */

static uint64_t clock_nsec(clockid_t clock) {
        struct timespec t;

        (void)clock_gettime(clock, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *need(void *memory) {
        if (!memory) {
                (void)fprintf(stderr, "Out of memory\n");
                exit(1);
        }
        return memory;
}

/* the bare queue */

typedef struct Item Item;

struct Item {
        Item *next;
        size_t target;
        char payload[PAYLOAD_BYTES];
};

typedef struct Queue {
        pthread_mutex_t lock;
        pthread_cond_t has_items, has_room;
        Item *first, *last;
        size_t n;
        Item *handled; /* for the sender to use again */
        bool is_over;
        uint64_t *n_handled; /* by target */
} Queue;

#define QUEUE_MAX 4096

static void handle_items(Queue *queue, const Item *item) {
        for (; item; item = item->next)
                queue->n_handled[item->target] += (unsigned char)item->payload[0];
}

/* Takes the first, or all of them; NULL: it is over. */
static Item *take_items(Queue *queue, bool all) {
        Item *items;

        (void)pthread_mutex_lock(&queue->lock);
        while (!queue->first && !queue->is_over)
                (void)pthread_cond_wait(&queue->has_items, &queue->lock);
        items = queue->first;
        if (items) {
                queue->first = all ? NULL : items->next;
                queue->n = all ? 0 : queue->n - 1;
                if (!all)
                        items->next = NULL;
                (void)pthread_cond_signal(&queue->has_room);
        }
        (void)pthread_mutex_unlock(&queue->lock);
        return items;
}

static void *naive_worker(void *userdata) {
        Queue *queue = userdata;
        Item *item;

        while ((item = take_items(queue, /* all= */ false))) {
                handle_items(queue, item);
                free(item);
        }
        return NULL;
}

static void *batched_worker(void *userdata) {
        Queue *queue = userdata;
        Item *items, *last;

        while ((items = take_items(queue, /* all= */ true))) {
                handle_items(queue, items);
                for (last = items; last->next;)
                        last = last->next;
                (void)pthread_mutex_lock(&queue->lock);
                last->next = queue->handled;
                queue->handled = items;
                (void)pthread_mutex_unlock(&queue->lock);
        }
        return NULL;
}

static void put_items(Queue *queue, Item *first, Item *last, size_t n) {
        (void)pthread_mutex_lock(&queue->lock);
        while (queue->n >= QUEUE_MAX)
                (void)pthread_cond_wait(&queue->has_room, &queue->lock);
        if (queue->first)
                queue->last->next = first;
        else
                queue->first = first;
        queue->last = last;
        queue->n += n;
        (void)pthread_cond_signal(&queue->has_items);
        (void)pthread_mutex_unlock(&queue->lock);
}

static Item *fill_item(Item *item, size_t target) {
        static const char payload[PAYLOAD_BYTES] = { 1 };

        item->next = NULL;
        item->target = target;
        memcpy(item->payload, payload, PAYLOAD_BYTES);
        return item;
}

static void send_naive(Queue *queue, size_t target) {
        Item *item = fill_item(need(malloc(sizeof(*item))), target);

        put_items(queue, item, item, 1);
}

static Item *take_handled(Queue *queue) {
        Item *items;

        (void)pthread_mutex_lock(&queue->lock);
        items = TAKE_PTR(queue->handled);
        (void)pthread_mutex_unlock(&queue->lock);
        return items;
}

/* Sends `n`, from `target` on; `pool` is the sender's own. */
static void send_batch(Queue *queue, Item **pool, size_t target, size_t n_targets, size_t n) {
        Item *first = NULL, *last = NULL;

        for (size_t i = 0; i < n; i++) {
                Item *item;

                if (!*pool)
                        *pool = take_handled(queue);
                item = *pool;
                if (item)
                        *pool = item->next;
                else
                        item = need(malloc(sizeof(*item)));
                (void)fill_item(item, (target + i) % n_targets);
                if (last)
                        last->next = item;
                else
                        first = item;
                last = item;
        }
        put_items(queue, first, last, n);
}

static void free_items(Item *item) {
        while (item) {
                Item *next = item->next;

                free(item);
                item = next;
        }
}

static double bench_queue(bool is_batched, size_t n_targets, uint64_t seconds_nsec) {
        Queue queue = { .lock = PTHREAD_MUTEX_INITIALIZER,
                .has_items = PTHREAD_COND_INITIALIZER,
                .has_room = PTHREAD_COND_INITIALIZER,
                .n_handled = need(calloc(n_targets, sizeof(uint64_t))) };
        const uint64_t begin = clock_nsec(CLOCK_MONOTONIC);
        uint64_t n_sent = 0, n_handled = 0;
        Item *pool = NULL;
        pthread_t thread;

        if (pthread_create(&thread, NULL, is_batched ? batched_worker : naive_worker, &queue) != 0)
                exit(1);
        while (clock_nsec(CLOCK_MONOTONIC) - begin < seconds_nsec) {
                if (is_batched)
                        send_batch(&queue, &pool, n_sent % n_targets, n_targets, TURN_MESSAGES);
                for (size_t i = 0; !is_batched && i < TURN_MESSAGES; i++)
                        send_naive(&queue, (n_sent + i) % n_targets);
                n_sent += TURN_MESSAGES;
        }
        (void)pthread_mutex_lock(&queue.lock);
        queue.is_over = true;
        (void)pthread_cond_signal(&queue.has_items);
        (void)pthread_mutex_unlock(&queue.lock);
        (void)pthread_join(thread, NULL);
        for (size_t i = 0; i < n_targets; i++)
                n_handled += queue.n_handled[i];
        assert(n_handled == n_sent);
        free_items(pool);
        free_items(queue.handled);
        free(queue.n_handled);
        return (double)n_sent * 1e3 / (double)(clock_nsec(CLOCK_MONOTONIC) - begin);
}

/* the engine */

typedef struct Count {
        uint64_t n;
} Count;

static void count_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        Count *count = state;

        count->n += (unsigned char)message->input.data[0];
        reply->verdict = BEHAVIOR_DONE;
}

static const Behavior behavior_count = { .type = "count", .handle = count_handle };

#define QUANTUM 64
#define GRANT_MAX 1024
#define KEPT_MAX 1024

typedef struct Engine {
        Pool *pool;
        Letters letters;
        Agent *agents;
        size_t n_agents;
        Agent *ready_first, *ready_last;
        Run *runs; /* to be used again */
        Mailbox *mailboxes[KEPT_MAX];
        size_t n_mailboxes;
        size_t n_runs_kept, n_out;
        size_t out_max; /* runs that are with the pool: what is held back meanwhile comes in larger pieces */
} Engine;

static const MailboxLimits limits = { .capacity = 1000, .bytes_max = 4 * 1024 * 1024 };

static void make_ready(Engine *engine, Agent *agent) {
        if (agent->is_ready)
                return;

        agent->is_ready = true;
        agent->next_ready = NULL;
        if (engine->ready_last)
                engine->ready_last->next_ready = agent;
        else
                engine->ready_first = agent;
        engine->ready_last = agent;
}

static void free_chain(Engine *engine, Mail *mail) {
        while (mail) {
                Mail *next = mail->next;

                delivery_free(&engine->letters, delivery_of_mail(mail));
                mail = next;
        }
}

/* What the worker has begun no longer counts. */
static void note_begun(Agent *agent) {
        const Run *run = agent->run;

        agent->mailbox->n_given = run ? run->n_given - atomic_load_explicit(&run->n_begun, memory_order_relaxed) : 0;
        agent->mailbox->n_bytes_given =
                run ? run->n_bytes_given - atomic_load_explicit(&run->n_bytes_begun, memory_order_relaxed) : 0;
}

/* Returns false when it is full. */
static bool send_one(Engine *engine, Agent *agent) {
        static const char payload[PAYLOAD_BYTES] = { 1 };
        static const Envelope envelope = { .ttl = ENVELOPE_TTL_DEFAULT };
        Delivery *delivery;
        Letter *letter;

        if (!agent->mailbox)
                agent->mailbox =
                        engine->n_mailboxes > 0 ? engine->mailboxes[--engine->n_mailboxes] : need(mailbox_new());
        if (!mailbox_has_room(agent->mailbox, &limits, PAYLOAD_BYTES)) {
                note_begun(agent);
                if (!mailbox_has_room(agent->mailbox, &limits, PAYLOAD_BYTES))
                        return false;
        }

        letter = need(letter_new(&engine->letters, SLICE("bench.topic"), (Slice){ payload, PAYLOAD_BYTES }, &envelope));
        delivery = need(delivery_new(&engine->letters, agent, MAIL_TOPIC, letter));
        letter_unref(&engine->letters, letter);
        if (mailbox_push(agent->mailbox, &limits, &delivery->mail) != 0) {
                delivery_free(&engine->letters, delivery);
                return false;
        }
        make_ready(engine, agent);
        return true;
}

/* Up to n from the mailbox. */
static Mail *pop_chain(Agent *agent, size_t n, uint64_t *ret_n, uint64_t *ret_n_bytes) {
        Mail *first = NULL, *last = NULL, *mail;
        uint32_t n_all;

        mail = mailbox_pop_lane(agent->mailbox, LANES_ALL, (uint32_t)n, &n_all, ret_n_bytes);
        if (mail) {
                *ret_n = n_all;
                return mail;
        }

        *ret_n = *ret_n_bytes = 0;
        while (*ret_n < n && (mail = mailbox_pop(agent->mailbox, LANES_ALL))) {
                if (last)
                        last->next = mail;
                else
                        first = mail;
                last = mail;
                (*ret_n)++;
                *ret_n_bytes += mail->n_bytes;
        }
        return first;
}

static void count_given(Agent *agent, uint64_t n, uint64_t n_bytes) {
        agent->run->n_given += n;
        agent->run->n_bytes_given += n_bytes;
        agent->mailbox->n_given += n;
        agent->mailbox->n_bytes_given += n_bytes;
}

static Run *open_run(Engine *engine, Agent *agent) {
        Run *run = engine->runs;
        uint64_t n, n_bytes;
        Mail *chain;

        chain = pop_chain(agent, agent->grant, &n, &n_bytes);
        if (!chain)
                return NULL;

        if (run) {
                engine->runs = run->next;
                engine->n_runs_kept--;
        } else {
                run = need(run_new());
        }
        if (!run_open(run, chain))
                exit(1);
        run->agent = agent;
        run->behavior = &behavior_count;
        run->behavior_state = agent->behavior_state;
        run->agent_class = AGENT_CLASS_BATCHED;
        run->quantum = QUANTUM;
        run->n_given = run->n_bytes_given = 0;
        agent->run = run;
        count_given(agent, n, n_bytes);
        engine->n_out++;
        return run;
}

/* Returns false when the last one is still there. */
static bool top_up(Engine *engine, Agent *agent) {
        Run *run = agent->run;
        uint64_t n, n_bytes;
        Mail *chain;

        if (atomic_load_explicit(&run->incoming, memory_order_relaxed))
                return false;

        chain = pop_chain(agent, agent->grant, &n, &n_bytes);
        if (!chain)
                return true;
        if (!run_top_up(run, chain)) {
                mailbox_return(agent->mailbox, chain);
                return false;
        }
        count_given(agent, n, n_bytes);
        agent->grant = (uint16_t)MIN_OF(agent->grant * 2, GRANT_MAX);
        free_chain(engine, run_take_returned(run));
        return true;
}

static void hand_out(Engine *engine) {
        Agent *agent = engine->ready_first, *last = engine->ready_last, *next;
        Run *first = NULL, **end = &first;

        engine->ready_first = engine->ready_last = NULL;
        for (; agent && (agent->run || engine->n_out < engine->out_max); agent = next) {
                next = agent->next_ready;
                agent->is_ready = false;
                if (!agent->run) {
                        *end = open_run(engine, agent);
                        if (*end)
                                end = &(*end)->next;
                } else if (!top_up(engine, agent)) {
                        make_ready(engine, agent); /* again next turn, or when it comes back */
                }
        }
        if (agent) { /* the rest keeps its place */
                last->next_ready = engine->ready_first;
                if (!engine->ready_last)
                        engine->ready_last = last;
                engine->ready_first = agent;
        }
        pool_submit(engine->pool, first);
}

static void end_run(Engine *engine, Run *run) {
        Agent *agent = run->agent;

        free_chain(engine, run_take_returned(run));
        if (!mailbox_is_empty(agent->mailbox, LANES_ALL)) /* the last grant was too small */
                agent->grant = (uint16_t)MIN_OF(agent->grant * 2, GRANT_MAX);
        agent->run = NULL;
        agent->behavior_state = run->behavior_state;
        engine->n_out--;
        note_begun(agent);
        if (run->mail)
                mailbox_return(agent->mailbox, run->mail);
        if (engine->n_runs_kept < KEPT_MAX) {
                run->next = engine->runs;
                engine->runs = run;
                engine->n_runs_kept++;
        } else {
                (void)run_free(run);
        }

        if (!mailbox_is_empty(agent->mailbox, LANES_ALL))
                make_ready(engine, agent);
        else if (engine->n_mailboxes < KEPT_MAX)
                engine->mailboxes[engine->n_mailboxes++] = TAKE_PTR(agent->mailbox);
        else
                agent->mailbox = mailbox_free(agent->mailbox);
}

static void take_outcomes(Engine *engine) {
        Outcome *outcome, *next;

        if (!pool_has_outcomes(engine->pool))
                return;

        for (outcome = pool_take(engine->pool); outcome; outcome = next) {
                next = outcome->next;
                assert(outcome->run_ended && !outcome->mail);
                end_run(engine, outcome->run);
        }
}

static void turn(Engine *engine, uint64_t *n_sent, size_t n_messages) {
        bool is_full = false;

        for (size_t i = 0; i < n_messages && !is_full; i++) {
                is_full = engine->letters.n_deliveries >= WINDOW ||
                          !send_one(engine, &engine->agents[*n_sent % engine->n_agents]);
                *n_sent += !is_full;
        }
        hand_out(engine);
        take_outcomes(engine);
        for (int i = 0; is_full && i < PAUSES; i++)
                atomic_signal_fence(memory_order_seq_cst);
}

static void engine_done(Engine *engine) {
        (void)pool_free(engine->pool);
        while (engine->runs) {
                Run *run = engine->runs;

                engine->runs = run->next;
                (void)run_free(run);
        }
        while (engine->n_mailboxes > 0)
                (void)mailbox_free(engine->mailboxes[--engine->n_mailboxes]);
        letters_done(&engine->letters);
        free(engine->agents);
}

typedef struct Figures {
        double rate, loop_nsec, worker_nsec;
} Figures;

static Figures bench_engine(size_t n_agents, size_t n_workers, size_t out_max, uint64_t seconds_nsec) {
        Engine engine = { .agents = need(calloc(n_agents, sizeof(Agent))), .n_agents = n_agents, .out_max = out_max };
        Count *counts = need(calloc(n_agents, sizeof(*counts)));
        uint64_t begin, loop_begin, process_begin, n_sent = 0, n_handled = 0, nsec, loop_nsec, process_nsec;

        if (pool_new(n_workers, &engine.pool) != 0)
                exit(1);
        for (size_t i = 0; i < n_agents; i++) {
                engine.agents[i].id = id_of(SLICE("agent"));
                engine.agents[i].behavior_state = &counts[i];
                engine.agents[i].grant = QUANTUM;
        }

        begin = clock_nsec(CLOCK_MONOTONIC);
        loop_begin = clock_nsec(CLOCK_THREAD_CPUTIME_ID);
        process_begin = clock_nsec(CLOCK_PROCESS_CPUTIME_ID);
        while (clock_nsec(CLOCK_MONOTONIC) - begin < seconds_nsec)
                turn(&engine, &n_sent, TURN_MESSAGES);
        while (engine.n_out > 0 || engine.ready_first)
                turn(&engine, &n_sent, 0);
        nsec = clock_nsec(CLOCK_MONOTONIC) - begin;
        loop_nsec = clock_nsec(CLOCK_THREAD_CPUTIME_ID) - loop_begin;
        process_nsec = clock_nsec(CLOCK_PROCESS_CPUTIME_ID) - process_begin;

        for (size_t i = 0; i < n_agents; i++)
                n_handled += counts[i].n;
        assert(n_handled == n_sent);
        engine_done(&engine);
        free(counts);
        return (Figures){ (double)n_sent * 1e3 / (double)nsec, (double)loop_nsec / (double)n_sent,
                (double)(process_nsec - loop_nsec) / (double)n_sent };
}

/* the core */

static atomic_uint_fast64_t n_core_handled; /* the senders' window wants to know while it runs */

static int core_count_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        (void)start;
        (void)ret_why;
        (void)why_size;

        *ret_state = NULL;
        return 0;
}

static void core_count_stop(void *state) {
        (void)state;
}

static void core_count_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        (void)state;

        (void)atomic_fetch_add_explicit(&n_core_handled, (unsigned char)message->input.data[0], memory_order_relaxed);
        reply->verdict = BEHAVIOR_DONE;
}

static const Behavior behavior_core_count = {
        .type = "count",
        .trusted = true,
        .init = core_count_init,
        .stop = core_count_stop,
        .handle = core_count_handle,
};

#define SUBJECT_MAX 48

typedef struct Core {
        Runtime *runtime;
        Outbox outbox;
        Pool *pool;
        uint64_t *tags; /* of the agents' reply topics */
        char (*subjects)[SUBJECT_MAX];
        size_t n_agents;
        Instant now;
        uint64_t n_sent, window;
} Core;

static void core_note_tags(Core *core) {
        for (size_t i = 0; i < outbox_size(&core->outbox); i++) {
                const OutMessage message = outbox_get(&core->outbox, i);
                const Slice head = SLICE("agent.a");

                if (message.kind == OUT_SUBSCRIBE && slice_starts_with(message.subject, head))
                        core->tags[strtoul(slice_after(message.subject, head.size).data, NULL, 10)] = message.tag;
        }
        outbox_clear(&core->outbox);
}

/* What the edge does at the end of a turn. */
static void core_turn_end(Core *core) {
        Run *first = NULL, **end = &first, *run;
        Outcome *outcome, *next;

        if (pool_has_outcomes(core->pool))
                for (outcome = pool_take(core->pool); outcome; outcome = next) {
                        next = outcome->next;
                        runtime_on_outcome(core->runtime, outcome, core->now);
                }
        if (runtime_next_deadline(core->runtime) <= core->now.usec)
                runtime_on_time(core->runtime, core->now);
        runtime_on_turn_end(core->runtime, core->now);
        while ((run = runtime_take_run(core->runtime))) {
                run->next = NULL;
                *end = run;
                end = &run->next;
        }
        pool_submit(core->pool, first);
        core_note_tags(core);
}

static void core_create_agents(Core *core) {
        ErrorCode code;
        WireError error;
        char text[128];

        for (size_t i = 0; i < core->n_agents; i++) {
                (void)snprintf(core->subjects[i], SUBJECT_MAX, "agent.a%zu.replies", i);
                (void)snprintf(text, sizeof(text), "{\"agent_id\":\"a%zu\",\"agent_type\":\"count\"}", i);
                if (runtime_create_agent(core->runtime, slice_of(text), core->now, &code, &error) != 0) {
                        (void)fprintf(stderr, "No agent %zu\n", i);
                        exit(1);
                }
                if (i % TURN_MESSAGES == 0)
                        core_turn_end(core);
        }
        while (core_turn_end(core),
                runtime_next_deadline(core->runtime) <= core->now.usec || !core->tags[core->n_agents - 1])
                core->now = instant_now();
}

static void core_new(Core *core, size_t n_agents, size_t n_workers) {
        static const Behavior *const behaviors[] = { &behavior_core_count, NULL };
        const RuntimeOptions options = {
                .id = "bench",
                .subject_prefix = "compozy",
                .inbox_prefix = "_INBOX.bench",
                .hostname = "bench",
                .ip_address = "127.0.0.1",
                .version = "0",
                .labels = "",
                .epoch = 1,
                .random_seed = 1,
                .heartbeat_interval_ms = 1000,
                .max_in_flight = 1000,
                .max_agents = AGENTS_MAX,
                .max_message_bytes = 1048576,
                .max_result_bytes = 1048576,
                .memory_executions = 1000,
                .memory_bytes = 1000000,
                .report_delay_usec = 2000,
                .events = 3,
                .max_subscriptions = AGENTS_MAX,
                .max_subscriptions_per_agent = 100,
                .max_asks = 1000,
                .max_asks_per_agent = 100,
                .max_timers_per_agent = 100,
                .realtime_max_age_usec = USEC_PER_SEC,
                .behaviors = behaviors,
        };

        *core = (Core){ .n_agents = n_agents,
                .now = instant_now(),
                .tags = need(calloc(n_agents, sizeof(core->tags[0]))),
                .subjects = need(calloc(n_agents, sizeof(core->subjects[0]))) };
        core->window = MIN_OF((uint64_t)WINDOW, n_agents * limits.capacity);
        outbox_init(&core->outbox);
        if (runtime_new(&options, &core->outbox, core->now, &core->runtime) != 0 ||
                pool_new(n_workers, &core->pool) != 0)
                exit(1);
        runtime_on_link_up(core->runtime, 1048576, core->now);
        core_create_agents(core);
        atomic_store(&n_core_handled, 0);
}

static void core_done(Core *core) {
        (void)pool_stop(core->pool, 10 * USEC_PER_SEC);
        core_turn_end(core);
        (void)runtime_free(core->runtime);
        (void)pool_free(core->pool);
        outbox_done(&core->outbox);
        free(core->tags);
        free(core->subjects);
}

static void core_turn(Core *core, size_t n_messages) {
        static const char payload[PAYLOAD_BYTES] = { 1 };

        core->now = instant_now();
        for (size_t i = 0; i < n_messages; i++) {
                const size_t agent = core->n_sent % core->n_agents;
                const InMessage message = { .subject = slice_of(core->subjects[agent]),
                        .body = { payload, PAYLOAD_BYTES },
                        .tag = core->tags[agent] };

                if (core->n_sent - atomic_load_explicit(&n_core_handled, memory_order_relaxed) >= core->window)
                        break;
                runtime_on_message(core->runtime, &message, core->now);
                core->n_sent++;
        }
        core_turn_end(core);
}

static Figures bench_core(size_t n_agents, size_t n_workers, uint64_t seconds_nsec) {
        uint64_t begin, loop_begin, process_begin, nsec, loop_nsec, process_nsec;
        Core core;

        core_new(&core, n_agents, n_workers);
        begin = clock_nsec(CLOCK_MONOTONIC);
        loop_begin = clock_nsec(CLOCK_THREAD_CPUTIME_ID);
        process_begin = clock_nsec(CLOCK_PROCESS_CPUTIME_ID);
        while (clock_nsec(CLOCK_MONOTONIC) - begin < seconds_nsec)
                core_turn(&core, TURN_MESSAGES);
        while (atomic_load_explicit(&n_core_handled, memory_order_relaxed) < core.n_sent)
                core_turn(&core, 0);
        nsec = clock_nsec(CLOCK_MONOTONIC) - begin;
        loop_nsec = clock_nsec(CLOCK_THREAD_CPUTIME_ID) - loop_begin;
        process_nsec = clock_nsec(CLOCK_PROCESS_CPUTIME_ID) - process_begin;
        assert(atomic_load(&n_core_handled) == core.n_sent);
        core_done(&core);
        return (Figures){ (double)core.n_sent * 1e3 / (double)nsec, (double)loop_nsec / (double)core.n_sent,
                (double)(process_nsec - loop_nsec) / (double)core.n_sent };
}

static size_t used_bytes(void) {
        const struct mallinfo2 info = mallinfo2();

        return info.uordblks + info.hblkhd;
}

static double definition_bytes(void) {
        Definition *definition = NULL;
        WireError error;
        double bytes;

        if (definition_parse(
                    SLICE("{\"agent_id\":\"a\",\"agent_type\":\"echo\"}"), behaviors_builtin, &definition, &error) != 0)
                exit(1);
        bytes = (double)(malloc_usable_size(definition) + sizeof(size_t));
        (void)definition_free(definition);
        return bytes;
}

/*
 * Bytes on the heap that an agent costs that has no mail, with its reply topic, beyond its configuration (the
 * definition); its behaviour keeps none.
 */
static double idle_agent_bytes(size_t n_workers, double *ret_definition) {
        const size_t before = used_bytes();
        const double own = sizeof(uint64_t) + SUBJECT_MAX; /* of the bench */
        double bytes;
        Core core;

        *ret_definition = definition_bytes();
        core_new(&core, AGENTS_MAX, n_workers);
        runtime_on_link_down(core.runtime, core.now); /* the registration that is being said is no part of an agent */
        bytes = (double)(used_bytes() - before) / AGENTS_MAX - own - *ret_definition;
        core_done(&core);
        return bytes;
}

/* all of it */

typedef struct Options {
        uint64_t seconds_nsec;
        size_t n_rounds, n_workers, out_max;
} Options;

static double best_queue(const Options *options, bool is_batched, size_t n_targets) {
        double best = 0;

        for (size_t i = 0; i < options->n_rounds; i++) {
                const double rate = bench_queue(is_batched, n_targets, options->seconds_nsec);

                best = MAX_OF(best, rate);
        }
        return best;
}

static Figures best_of(const Options *options, bool is_core, size_t n_agents) {
        Figures best = { 0, 1e9, 1e9 };

        for (size_t i = 0; i < options->n_rounds; i++) {
                const Figures f =
                        is_core ? bench_core(n_agents, options->n_workers, options->seconds_nsec)
                                : bench_engine(n_agents, options->n_workers, options->out_max, options->seconds_nsec);

                best.rate = MAX_OF(best.rate, f.rate);
                best.loop_nsec = MIN_OF(best.loop_nsec, f.loop_nsec);
                best.worker_nsec = MIN_OF(best.worker_nsec, f.worker_nsec);
        }
        return best;
}

static void print_level(const Options *options, bool is_core) {
        static const size_t n_agents[] = { 1, 1000, AGENTS_MAX };

        (void)printf(", \"%s\": {", is_core ? "core" : "engine");
        for (size_t i = 0; i < ELEMENTSOF(n_agents); i++) {
                const Figures best = best_of(options, is_core, n_agents[i]);

                (void)printf("%s\"agents_%zu\": {\"rate\": %.2f, \"loop_nsec\": %.1f, \"worker_nsec\": %.1f}",
                        i > 0 ? ", " : "", n_agents[i], best.rate, best.loop_nsec, best.worker_nsec);
        }
        (void)printf("}");
}

static bool parse_options(int argc, char **argv, Options *ret) {
        int c;

        *ret = (Options){ .seconds_nsec = 200000000, .n_rounds = 10, .n_workers = 1, .out_max = 128 };
        while ((c = getopt(argc, argv, "s:r:w:o:")) >= 0)
                switch (c) {
                case 's':
                        ret->seconds_nsec = (uint64_t)(strtod(optarg, NULL) * 1e9);
                        break;
                case 'r':
                        ret->n_rounds = strtoul(optarg, NULL, 10);
                        break;
                case 'w':
                        ret->n_workers = strtoul(optarg, NULL, 10);
                        break;
                case 'o':
                        ret->out_max = strtoul(optarg, NULL, 10);
                        break;
                default:
                        return false;
                }

        return optind == argc && ret->seconds_nsec > 0 && ret->n_rounds > 0 && ret->n_workers > 0 && ret->out_max > 0;
}

int main(int argc, char **argv) {
        double idle, definition;
        Options options;

        if (!parse_options(argc, argv, &options)) {
                (void)fprintf(stderr, "usage: bench_mailbox [-s SECONDS] [-r ROUNDS] [-w WORKERS] [-o RUNS]\n");
                return 2;
        }

        log_open("bench", LOG_TARGET_STDERR, LOG_CRIT);
        (void)printf("{\"bare\": {\"naive_1\": %.2f, \"naive_1000\": %.2f, ", best_queue(&options, false, 1),
                best_queue(&options, false, 1000));
        (void)printf("\"batched_1\": %.2f, \"batched_1000\": %.2f}", best_queue(&options, true, 1),
                best_queue(&options, true, 1000));
        print_level(&options, /* is_core= */ false);
        print_level(&options, /* is_core= */ true);
        idle = idle_agent_bytes(options.n_workers, &definition);
        (void)printf(", \"idle_agent_bytes\": %.0f, \"definition_bytes\": %.0f}\n", idle, definition);
        return 0;
}
