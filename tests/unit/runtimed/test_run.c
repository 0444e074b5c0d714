/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/instant.h"
#include "common/rng.h"
#include "runtimed/agent.h"
#include "runtimed/execution.h"
#include "runtimed/letter.h"
#include "runtimed/run.h"

/* What a message asks its behaviour for, in its id. */
typedef enum TestAsk {
        ASK_NOTHING,
        ASK_OUTPUT,
        ASK_EFFECT,
        ASK_ERROR,
        ASK_DEFER,
        ASK_LARGE_OUTPUT,
        _ASK_MAX,
} TestAsk;

/* The state of one agent's behaviour: touched by one thread at a time, or ThreadSanitizer says so. */
typedef struct Record {
        uint64_t n, last; /* messages, and the token of the latest */
        bool out_of_order;
        BehaviorMessage message;
} Record;

static void record_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        static const char large[10000];
        Record *record = state;

        assert(reply->verdict == BEHAVIOR_NONE && reply->output.size == 0 && reply->effects.n == 0);

        record->n++;
        record->out_of_order = record->out_of_order || message->token <= record->last;
        record->last = message->token;
        record->message = *message;

        reply->verdict = message->id == ASK_DEFER ? BEHAVIOR_DEFER : BEHAVIOR_DONE;
        if (message->id == ASK_OUTPUT)
                buffer_append_slice(&reply->output, SLICE("output"));
        if (message->id == ASK_LARGE_OUTPUT)
                buffer_append(&reply->output, large, sizeof(large));
        if (message->id == ASK_EFFECT)
                (void)effects_add(&reply->effects, EFFECT_PUBLISH);
        if (message->id == ASK_ERROR)
                *reply = (BehaviorReply){ .verdict = BEHAVIOR_ERROR, .code = ERROR_INTERNAL, .output = reply->output };
}

static int record_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        if (!start->parameters.data) {
                (void)snprintf(ret_why, why_size, "no parameters");
                return BEHAVIOR_E_REFUSED;
        }
        *ret_state = calloc(1, sizeof(Record));
        return *ret_state ? 0 : -ENOMEM;
}

static void record_stop(void *state) {
        free(state);
}

static int record_checkpoint(void *state, Buffer *ret) {
        const Record *record = state;

        buffer_printf(ret, "%llu", (unsigned long long)record->n);
        return 0;
}

static const Behavior behavior_record = {
        .type = "record",
        .init = record_init,
        .stop = record_stop,
        .handle = record_handle,
        .checkpoint = record_checkpoint,
};

static Agent agent;

static Delivery *deliveries_new(size_t n) {
        Delivery *deliveries = calloc(n, sizeof(*deliveries));

        assert_non_null(deliveries);
        for (size_t i = 0; i < n; i++) {
                deliveries[i].token = i + 1;
                deliveries[i].mail.agent = &agent;
                deliveries[i].mail.kind = MAIL_TOPIC;
                deliveries[i].mail.lane = LANE_BATCHED;
                deliveries[i].mail.n_bytes = 10;
                deliveries[i].mail.late_usec = USEC_NEVER;
        }
        return deliveries;
}

/* Links n of them; returns the first. */
static Mail *chain(Delivery *deliveries, size_t n) {
        for (size_t i = 0; i < n; i++)
                deliveries[i].mail.next = i + 1 < n ? &deliveries[i + 1].mail : NULL;

        return &deliveries[0].mail;
}

static Run *open_run(Mail *mail, Record *record) {
        Run *run = run_new();

        assert_non_null(run);
        agent.id = id_of(SLICE("a"));
        run->agent = &agent;
        run->behavior = &behavior_record;
        run->behavior_state = record;
        run->quantum = 64;
        assert_true(run_open(run, mail));
        return run;
}

/* Frees an outcome that isn't embedded. */
static void drop(Outcome *outcome) {
        if (outcome && !outcome->is_embedded)
                (void)outcome_free(outcome);
}

static size_t count(const Mail *mail) {
        size_t n = 0;

        for (; mail; mail = mail->next)
                n++;
        return n;
}

static void what_ends_without_a_word_comes_back_as_a_chain(void **state) {
        Delivery *deliveries = deliveries_new(5);
        Record record = {};
        Run *run = open_run(chain(deliveries, 5), &record);
        Outcome *end;

        (void)state;

        deliveries[3].id = ASK_OUTPUT; /* nobody waits for it */
        for (int i = 0; i < 5; i++) {
                assert_false(run_close(run));
                assert_null(run_step(run, 1));
        }
        assert_null(run_take_returned(run));
        assert_true(run_close(run));
        end = run_end(run, NULL);
        assert_ptr_equal(end, &run->end);
        assert_null(end->mail);
        assert_true(end->run_ended && end->is_embedded);
        assert_int_equal(count(run_take_returned(run)), 5);
        assert_null(run_take_returned(run));
        assert_int_equal(record.n, 5);
        assert_false(record.out_of_order);
        (void)run_free(run);
        free(deliveries);
}

static void what_has_something_to_say_has_an_outcome_of_its_own(void **state) {
        static const struct {
                const char *why;
                TestAsk ask;
                bool wants_answer, has_outcome;
        } cases[] = {
                { "done", ASK_NOTHING, false, false },
                { "somebody waits", ASK_NOTHING, true, true },
                { "an answer for somebody", ASK_OUTPUT, true, true },
                { "output for nobody", ASK_OUTPUT, false, false },
                { "an effect", ASK_EFFECT, false, true },
                { "an error", ASK_ERROR, false, true },
                { "deferred", ASK_DEFER, false, true },
                { "large output for nobody", ASK_LARGE_OUTPUT, false, false },
                { "large output", ASK_LARGE_OUTPUT, true, true },
                { "done, after all that", ASK_NOTHING, false, false },
        };
        Delivery *deliveries = deliveries_new(ELEMENTSOF(cases));
        Record record = {};
        Run *run = open_run(chain(deliveries, ELEMENTSOF(cases)), &record);

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                deliveries[i].id = cases[i].ask;
                deliveries[i].mail.wants_answer = cases[i].wants_answer;
        }
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Outcome *outcome = run_step(run, 5);

                if (!!outcome != cases[i].has_outcome)
                        fail_msg("%s", cases[i].why);
                assert_non_null(run->spare);
                assert_true(run->spare->reply.output.capacity <= 4096 || i + 1 < ELEMENTSOF(cases));
                if (!outcome)
                        continue;
                assert_ptr_equal(outcome->mail, &deliveries[i].mail);
                assert_ptr_equal(outcome->run, run);
                assert_int_equal(outcome->started_usec, 5);
                assert_false(outcome->skipped || outcome->run_ended || outcome->is_embedded);
                assert_int_equal(outcome->reply.effects.n, cases[i].ask == ASK_EFFECT);
                assert_int_equal(outcome->reply.code, cases[i].ask == ASK_ERROR ? ERROR_INTERNAL : ERROR_NONE);
                drop(outcome);
        }
        assert_true(run_close(run));
        assert_int_equal(count(run_take_returned(run)), 4);
        (void)run_free(run);
        free(deliveries);
}

static void what_is_called_off_discarded_or_late_is_not_handled(void **state) {
        Delivery *deliveries = deliveries_new(5);
        Control control = { .mail = { .agent = &agent, .kind = MAIL_CHECKPOINT, .outcome = &control.outcome } };
        Record record = {};
        Run *run = open_run(chain(deliveries, 5), &record);
        Outcome *outcome;

        (void)state;

        atomic_store(&deliveries[0].mail.called_off, true);
        deliveries[1].mail.late_usec = 100;
        deliveries[2].mail.late_usec = 100;
        deliveries[2].mail.wants_answer = true;
        deliveries[3].mail.late_usec = 101;
        deliveries[4].mail.next = &control.mail;

        assert_null(run_step(run, 100));
        assert_null(run_step(run, 100));
        assert_true(deliveries[0].mail.skipped && !deliveries[0].mail.is_late);
        assert_true(deliveries[1].mail.skipped && deliveries[1].mail.is_late);
        outcome = run_step(run, 100);
        assert_true(outcome->skipped && outcome->is_late);
        drop(outcome);
        assert_null(run_step(run, 100));
        assert_int_equal(record.n, 1);

        run_wish(run, RUN_DISCARD);
        assert_false(run_close(run));
        assert_null(run_step(run, 100));
        assert_true(deliveries[4].mail.skipped);
        assert_int_equal(record.n, 1);
        outcome = run_step(run, 100); /* control is not discarded */
        assert_false(outcome->skipped);
        assert_true(slice_equal(buffer_slice(&outcome->reply.output), SLICE("1")));
        assert_true(run_close(run));
        buffer_done(&outcome->reply.output);
        (void)run_take_returned(run);
        (void)run_free(run);
        free(deliveries);
}

static void hooks_are_called_and_what_they_return_is_said(void **state) {
        Control control = { .mail = { .agent = &agent, .outcome = &control.outcome } };
        Run *run = open_run(&control.mail, NULL);
        Outcome *outcome;

        (void)state;

        control.mail.kind = MAIL_INIT;
        outcome = run_step(run, 1);
        assert_ptr_equal(outcome, &control.outcome);
        assert_true(outcome->is_embedded);
        assert_int_equal(outcome->result, BEHAVIOR_E_REFUSED);
        assert_true(slice_equal(buffer_slice(&outcome->reply.output), SLICE("no parameters")));
        assert_null(run->behavior_state);

        control.start.parameters = SLICE("{}");
        run->mail = &control.mail;
        assert_int_equal(run_step(run, 1)->result, 0);
        assert_non_null(run->behavior_state);
        assert_int_equal(control.outcome.reply.output.size, 0);

        control.mail.kind = MAIL_CHECKPOINT;
        run->mail = &control.mail;
        assert_int_equal(run_step(run, 1)->result, 0);
        assert_true(slice_equal(buffer_slice(&outcome->reply.output), SLICE("0")));

        control.mail.kind = MAIL_STOP;
        run->mail = &control.mail;
        assert_int_equal(run_step(run, 1)->result, 0);
        assert_null(run->behavior_state);
        assert_true(run_close(run));
        buffer_done(&control.outcome.reply.output);
        (void)run_free(run);
}

static void a_behavior_is_told_what_the_message_is(void **state) {
        const Envelope envelope = { .thread_id = SLICE("t1"), .ttl = 3 };
        Execution execution = {
                .mail = { .agent = &agent, .kind = MAIL_TRIGGER, .outcome = &execution.outcome },
                .id = id_of(SLICE("e1")),
                .input = SLICE("{}"),
                .attempt = 2,
                .message_id = 9,
                .envelope = envelope,
        };
        Letters letters = {};
        Letter *letter = letter_new(&letters, SLICE("a.topic"), SLICE("bytes"), &envelope);
        Delivery *delivery = delivery_new(&letters, &agent, MAIL_TOPIC, letter);
        Delivery *timer = delivery_new(&letters, &agent, MAIL_TIMER, NULL);
        BehaviorMessage message;

        (void)state;

        agent.id = id_of(SLICE("a"));
        mail_read(&execution.mail, &message);
        assert_int_equal(message.kind, MESSAGE_TRIGGER);
        assert_int_equal(message.id, 9);
        assert_int_equal(message.attempt, 2);
        assert_true(slice_equal(message.agent_id, SLICE("a")) && slice_equal(message.exec_id, SLICE("e1")));
        assert_true(slice_equal(message.input, SLICE("{}")));
        assert_null(message.topic.data);
        assert_int_equal(message.envelope->ttl, 3);

        delivery->id = 11;
        mail_read(&delivery->mail, &message);
        assert_int_equal(message.kind, MESSAGE_TOPIC);
        assert_int_equal(message.id, 11);
        assert_true(slice_equal(message.topic, SLICE("a.topic")) && slice_equal(message.input, SLICE("bytes")));
        assert_true(slice_equal(message.envelope->thread_id, SLICE("t1")));
        delivery->mail.is_resumed = true;
        mail_read(&delivery->mail, &message);
        assert_int_equal(message.kind, MESSAGE_RESUME);

        timer->token = 5;
        mail_read(&timer->mail, &message);
        assert_int_equal(message.kind, MESSAGE_TIMER);
        assert_int_equal(message.token, 5);
        assert_non_null(message.envelope);
        assert_null(message.input.data);

        letter_unref(&letters, letter);
        delivery_free(&letters, delivery);
        delivery_free(&letters, timer);
        letters_done(&letters);
}

static void what_is_added_while_a_run_is_out_is_handled_and_after_its_end_is_refused(void **state) {
        Delivery *deliveries = deliveries_new(6);
        Record record = {};
        Run *run = open_run(chain(deliveries, 2), &record);

        (void)state;

        assert_true(run_top_up(run, chain(deliveries + 2, 2)));
        assert_false(run_top_up(run, chain(deliveries + 4, 2))); /* the last one is still there */
        assert_null(run_step(run, 1));
        assert_null(run_step(run, 1));
        assert_false(run_close(run));
        assert_int_equal(count(run_take_returned(run)), 2); /* handed over meanwhile */
        assert_true(run_top_up(run, chain(deliveries + 4, 2)));
        for (int i = 0; i < 2; i++)
                assert_null(run_step(run, 1));
        assert_false(run_close(run));
        for (int i = 0; i < 2; i++)
                assert_null(run_step(run, 1));
        assert_true(run_close(run));
        assert_false(run_top_up(run, chain(deliveries, 1)));
        assert_int_equal(record.n, 6);
        assert_false(record.out_of_order);
        assert_int_equal(atomic_load(&run->n_begun), 6);
        assert_int_equal(atomic_load(&run->n_bytes_begun), 60);
        assert_int_equal(count(run_take_returned(run)), 4);

        assert_true(run_open(run, chain(deliveries, 1)));
        assert_int_equal(atomic_load(&run->n_begun), 0);
        assert_true(run_top_up(run, chain(deliveries + 1, 1)));
        run_abandon(run);
        (void)run_free(run);
        free(deliveries);
}

static void a_run_that_is_called_back_brings_the_rest_in_its_order(void **state) {
        Delivery *deliveries = deliveries_new(6);
        Record record = {};
        Run *run = open_run(chain(deliveries, 4), &record);
        uint64_t token = 2;

        (void)state;

        assert_true(run_top_up(run, chain(deliveries + 4, 2)));
        assert_null(run_step(run, 1));
        run_wish(run, RUN_RECALL);
        assert_true(run_close(run));
        assert_false(run_top_up(run, chain(deliveries, 1)));
        assert_int_equal(count(run->mail), 5);
        for (Mail *mail = run->mail; mail; mail = mail->next)
                assert_int_equal(delivery_of_mail(mail)->token, token++);
        assert_int_equal(count(run_take_returned(run)), 1);
        (void)run_free(run);
        free(deliveries);
}

static void without_memory_for_a_spare_outcome_a_run_ends_and_can_go_out_again(void **state) {
        Delivery *deliveries = deliveries_new(3);
        Record record = {};
        Run *run = open_run(chain(deliveries, 3), &record);
        Outcome *outcome;

        (void)state;

        deliveries[0].mail.wants_answer = true;
        outcome = run_step(run, 1);
        run->spare = outcome_free(run->spare); /* as if there had been none */
        assert_true(run_close(run));
        assert_ptr_equal(run_end(run, outcome), outcome);
        assert_true(outcome->run_ended);
        drop(outcome);

        assert_true(run_open(run, run->mail));
        assert_null(run_step(run, 1));
        assert_null(run_step(run, 1));
        assert_true(run_close(run));
        assert_int_equal(record.n, 3);
        (void)run_free(run);
        free(deliveries);
}

static void a_host_gets_the_mails_own_outcome_or_a_new_one(void **state) {
        Control control = { .mail = { .outcome = &control.outcome } };
        Delivery *deliveries = deliveries_new(1);
        Outcome *outcome;

        (void)state;

        buffer_append_slice(&control.outcome.reply.output, SLICE("old"));
        outcome = mail_outcome(&control.mail);
        assert_ptr_equal(outcome, &control.outcome);
        assert_true(outcome->is_embedded);
        assert_int_equal(outcome->reply.output.size, 0);
        buffer_done(&outcome->reply.output);

        outcome = mail_outcome(&deliveries[0].mail);
        assert_false(outcome->is_embedded);
        assert_ptr_equal(outcome->mail, &deliveries[0].mail);
        assert_null(outcome->run);
        (void)outcome_free(outcome);
        free(deliveries);
}

/* with threads */

typedef struct Worker {
        _Atomic(Run *) run; /* the one it is to work on; NULL: none, it gave it back */
        atomic_bool is_stopping;
        uint64_t abandon_one_in; /* runs that end early; 0: never */
        Outcome *outcomes;       /* handed over with the run */
} Worker;

static void *work(void *userdata) {
        Worker *worker = userdata;
        uint64_t n_looks = 0;
        Rng rng;

        rng_seed(&rng, 5);
        while (!atomic_load(&worker->is_stopping)) {
                Run *run = atomic_load_explicit(&worker->run, memory_order_acquire);
                bool ended = false;

                if (!run) {
                        if (++n_looks % 1024 == 0) /* the other may need this processor */
                                (void)sched_yield();
                        continue;
                }
                while (!ended) {
                        Outcome *outcome = run_step(run, 1);

                        if (worker->abandon_one_in > 0 && rng_below(&rng, worker->abandon_one_in) == 0) {
                                run_abandon(run);
                                ended = true;
                        } else {
                                ended = run_close(run);
                        }
                        if (outcome) {
                                outcome->next = worker->outcomes;
                                worker->outcomes = outcome;
                        }
                }
                atomic_store_explicit(&worker->run, NULL, memory_order_release);
        }
        return NULL;
}

/* Whoever calls a trigger off and then finds it not begun may rely on it: it does not run. */
static void what_is_called_off_before_it_has_begun_never_runs(void **state) {
        enum { N_ROUNDS = 20000 };
        static Execution execution;
        size_t n_in_time = 0, n_handled = 0;
        int pause = 0;
        Worker worker = {};
        Record record = {};
        Run *run = open_run(NULL, &record);
        pthread_t thread;

        (void)state;

        assert_int_equal(pthread_create(&thread, NULL, work, &worker), 0);
        for (int i = 0; i < N_ROUNDS; i++) {
                bool was_begun;

                execution = (Execution){ .mail = { .agent = &agent,
                                                 .kind = MAIL_TRIGGER,
                                                 .lane = LANE_BATCHED,
                                                 .late_usec = USEC_NEVER,
                                                 .outcome = &execution.outcome } };
                record = (Record){};
                assert_true(run_open(run, &execution.mail));
                atomic_store_explicit(&worker.run, run, memory_order_release);
                for (int k = 0; k < pause; k++)
                        (void)atomic_load_explicit(&worker.is_stopping, memory_order_relaxed);

                atomic_store(&execution.mail.called_off, true);
                was_begun = atomic_load(&run->n_begun) > 0;
                while (atomic_load_explicit(&worker.run, memory_order_acquire))
                        (void)sched_yield();

                if (!was_begun)
                        assert_int_equal(record.n, 0);
                n_in_time += !was_begun;
                pause = was_begun ? pause / 2 : pause + 16; /* hunts for the moment at which it begins */
                n_handled += record.n;
                assert_int_equal(execution.outcome.skipped, record.n == 0);
        }
        atomic_store(&worker.is_stopping, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        print_message("%zu called off in time, %zu handled\n", n_in_time, n_handled);
        buffer_done(&execution.outcome.reply.output);
        (void)run_free(run);
}

/* A core and its worker: mail is added while the run closes, it is called back and given up at random. */
static void each_message_is_handled_once_and_in_order_whenever_a_run_ends(void **state) {
        enum { N = 200000, CHAIN_MAX = 20 };
        Delivery *deliveries = deliveries_new(N);
        Worker worker = { .abandon_one_in = 300 };
        size_t n_given = 0, n_returned = 0, n_outcomes = 0, n_runs = 0, n_topped_up = 0;
        Record record = {};
        Run *run = open_run(NULL, &record);
        Mail *left = NULL;
        pthread_t thread;
        bool is_out = false;
        Rng rng;

        (void)state;

        rng_seed(&rng, 11);
        for (size_t i = 0; i < N; i++)
                deliveries[i].id = i % 7 == 0 ? ASK_EFFECT : ASK_NOTHING;
        assert_int_equal(pthread_create(&thread, NULL, work, &worker), 0);

        for (uint64_t n_looks = 1; n_returned + n_outcomes < N; n_looks++) {
                if (n_looks % 1024 == 0) /* as the worker does */
                        (void)sched_yield();
                if (is_out && !atomic_load_explicit(&worker.run, memory_order_acquire)) {
                        is_out = false;
                        left = run->mail;
                        while (worker.outcomes) {
                                Outcome *outcome = worker.outcomes;

                                worker.outcomes = outcome->next;
                                drop(outcome);
                                n_outcomes++;
                        }
                }
                n_returned += count(run_take_returned(run));
                if (!is_out && (left || n_given < N)) {
                        const size_t n_wanted = 1 + rng_below(&rng, CHAIN_MAX), n_rest = N - n_given;
                        const size_t n = left ? 0 : MIN_OF(n_wanted, n_rest);

                        assert_true(run_open(run, left ? left : chain(deliveries + n_given, n)));
                        n_given += n;
                        left = NULL;
                        is_out = true;
                        n_runs++;
                        atomic_store_explicit(&worker.run, run, memory_order_release);
                } else if (is_out && n_given < N) {
                        const size_t n_wanted = 1 + rng_below(&rng, CHAIN_MAX), n_rest = N - n_given;
                        const size_t n = MIN_OF(n_wanted, n_rest);

                        if (run_top_up(run, chain(deliveries + n_given, n))) {
                                n_given += n;
                                n_topped_up++;
                        } else if (rng_below(&rng, 1000) == 0) {
                                run_wish(run, RUN_RECALL);
                        }
                }
        }

        while (is_out && atomic_load_explicit(&worker.run, memory_order_acquire))
                (void)sched_yield();
        atomic_store(&worker.is_stopping, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        print_message("%zu runs, topped up %zu times\n", n_runs, n_topped_up);
        assert_int_equal(record.n, N);
        assert_false(record.out_of_order);
        assert_int_equal(n_outcomes, (N + 6) / 7);
        (void)run_free(run);
        free(deliveries);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_ends_without_a_word_comes_back_as_a_chain),
                cmocka_unit_test(what_has_something_to_say_has_an_outcome_of_its_own),
                cmocka_unit_test(what_is_called_off_discarded_or_late_is_not_handled),
                cmocka_unit_test(hooks_are_called_and_what_they_return_is_said),
                cmocka_unit_test(a_behavior_is_told_what_the_message_is),
                cmocka_unit_test(what_is_added_while_a_run_is_out_is_handled_and_after_its_end_is_refused),
                cmocka_unit_test(a_run_that_is_called_back_brings_the_rest_in_its_order),
                cmocka_unit_test(without_memory_for_a_spare_outcome_a_run_ends_and_can_go_out_again),
                cmocka_unit_test(a_host_gets_the_mails_own_outcome_or_a_new_one),
                cmocka_unit_test(what_is_called_off_before_it_has_begun_never_runs),
                cmocka_unit_test(each_message_is_handled_once_and_in_order_whenever_a_run_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
