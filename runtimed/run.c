/* SPDX-License-Identifier: MIT */

/*
 * What may be called off and when. n_begun is raised before called_off is looked at, and for triggers both are
 * sequentially consistent, as is what the core does the other way round (it sets called_off and then reads n_begun): so
 * of the two at least one sees the other, and a core that finds a trigger not begun knows for certain that it will not
 * run. For all other mail n_begun only says how much room there is, and relaxed will do: nothing is decided on the
 * grounds that a message has not begun. There is one writer, so no increment needs a locked instruction.
 *
 * Quiet mail. Most messages on topics end without a word: done, nothing to send, nobody who waits. Those are chained up
 * in `done` and cost neither an outcome nor a hand-over. Their `next` links are left as they came and written only
 * where the chain differs: so their cache lines are only read here, stay shared with the loop's processor, and cost it
 * no fetch when it frees them.
 *
 * The reply is written into the run's spare outcome, which is blank again if there is nothing to say, and else goes
 * out: a quiet message allocates nothing.
 *
 * The end. `incoming` holds NULL, a chain, or `closed`. Only the core puts a chain there, and only in the place of
 * NULL; only the worker puts anything else there. So whatever the core was told it has added is taken up or goes back
 * with the run.
 */

#include <string.h>

#include "common/instant.h"
#include "runtimed/agent.h"
#include "runtimed/execution.h"
#include "runtimed/letter.h"
#include "runtimed/run.h"

#define KEEP_BYTES 4096 /* of a spare outcome's output: a large one must not be held on to */
#define WHY_MAX 256

static Mail closed;

static bool is_control(const Mail *mail) {
        return mail->kind >= MAIL_INIT;
}

static Outcome *outcome_new(void) {
        return calloc(1, sizeof(Outcome));
}

Outcome *outcome_free(Outcome *outcome) {
        if (!outcome)
                return NULL;

        assert(!outcome->is_embedded);
        effects_clear(&outcome->reply.effects);
        buffer_done(&outcome->reply.output);
        free(outcome);
        return NULL;
}

/* Keeps the memory of the output, within limits. */
static void blank_reply(BehaviorReply *reply) {
        reply->verdict = BEHAVIOR_NONE;
        reply->code = ERROR_NONE;
        reply->defer_usec = 0;
        if (reply->output.capacity > KEEP_BYTES)
                buffer_done(&reply->output);
        else
                buffer_clear(&reply->output);
        if (reply->effects.arena.chunks || reply->effects.failed)
                effects_clear(&reply->effects);
}

Outcome *mail_outcome(Mail *mail) {
        Outcome *outcome = mail->outcome;

        if (!outcome) {
                outcome = outcome_new();
                if (!outcome)
                        return NULL;
        }

        blank_reply(&outcome->reply);
        *outcome = (Outcome){ .mail = mail, .reply = outcome->reply, .is_embedded = mail->outcome };
        return outcome;
}

static void read_trigger(const Mail *mail, BehaviorMessage *ret) {
        const Execution *execution = CONTAINER_OF(mail, Execution, mail);

        *ret = (BehaviorMessage){
                .kind = MESSAGE_TRIGGER,
                .id = execution->message_id,
                .exec_id = id_slice(&execution->id),
                .input = execution->input,
                .attempt = execution->attempt,
                .envelope = &execution->envelope,
        };
}

static void read_delivery(const Mail *mail, BehaviorMessage *ret) {
        static const Envelope nothing_known;
        static const MessageKind kinds[] = {
                [MAIL_TOPIC] = MESSAGE_TOPIC,
                [MAIL_ANSWER] = MESSAGE_ANSWER,
                [MAIL_TIMER] = MESSAGE_TIMER,
        };
        const Delivery *delivery = CONTAINER_OF(mail, Delivery, mail);
        const Letter *letter = delivery->letter;

        *ret = (BehaviorMessage){
                .kind = kinds[mail->kind],
                .id = delivery->id,
                .token = delivery->token,
                .code = delivery->code,
                .envelope = &nothing_known,
        };
        if (letter) {
                ret->topic = letter->topic;
                ret->input = letter->payload;
                ret->envelope = delivery_envelope(delivery);
        }
}

void mail_read(const Mail *mail, BehaviorMessage *ret) {
        assert(!is_control(mail));

        if (mail->kind == MAIL_TRIGGER)
                read_trigger(mail, ret);
        else
                read_delivery(mail, ret);
        if (mail->is_resumed)
                ret->kind = MESSAGE_RESUME;
        ret->agent_id = agent_id_slice(mail->agent);
}

/* construction */

Run *run_new(void) {
        Run *run = aligned_alloc(_Alignof(Run), sizeof(*run)); /* calloc() does not align so far */

        if (!run)
                return NULL;

        memset(run, 0, sizeof(*run));
        run->end.is_embedded = true;
        run->spare = outcome_new();
        if (!run->spare) {
                free(run);
                return NULL;
        }
        return run;
}

Run *run_free(Run *run) {
        if (!run)
                return NULL;

        (void)outcome_free(run->spare);
        free(run);
        return NULL;
}

bool run_open(Run *run, Mail *chain) {
        if (!run->spare)
                run->spare = outcome_new();
        if (!run->spare)
                return false;

        run->next = NULL;
        run->mail = chain;
        run->done = run->done_last = NULL;
        run->is_closed = false;
        atomic_store_explicit(&run->n_begun, 0, memory_order_relaxed);
        atomic_store_explicit(&run->n_bytes_begun, 0, memory_order_relaxed);
        atomic_store_explicit(&run->incoming, NULL, memory_order_relaxed);
        atomic_store_explicit(&run->wish, RUN_GO_ON, memory_order_relaxed);
        return true;
}

/* the core's side */

bool run_top_up(Run *run, Mail *chain) {
        Mail *none = NULL;

        assert(chain);

        return atomic_compare_exchange_strong_explicit(
                &run->incoming, &none, chain, memory_order_release, memory_order_relaxed);
}

void run_wish(Run *run, RunWish wish) {
        atomic_store_explicit(&run->wish, (unsigned char)wish, memory_order_relaxed);
}

Mail *run_take_returned(Run *run) {
        if (!atomic_load_explicit(&run->returned, memory_order_relaxed))
                return NULL;

        return atomic_exchange_explicit(&run->returned, NULL, memory_order_acquire);
}

/* the worker's side */

static void take_up(Run *run, const Mail *mail) {
        const uint64_t n = atomic_load_explicit(&run->n_begun, memory_order_relaxed) + 1;

        if (mail->lane >= LANE_REALTIME)
                atomic_store_explicit(&run->n_bytes_begun,
                        atomic_load_explicit(&run->n_bytes_begun, memory_order_relaxed) + mail->n_bytes,
                        memory_order_relaxed);
        if (mail->kind == MAIL_TRIGGER)
                atomic_store(&run->n_begun, n);
        else
                atomic_store_explicit(&run->n_begun, n, memory_order_relaxed);
}

static bool must_skip(const Run *run, Mail *mail, uint64_t now_usec) {
        bool is_off, is_late = false;

        is_off = atomic_load(&mail->called_off);
        if (!is_control(mail)) {
                is_off = is_off || atomic_load_explicit(&run->wish, memory_order_relaxed) == RUN_DISCARD;
                is_late = !is_off && now_usec >= mail->late_usec;
        }
        if (!is_off && !is_late)
                return false;

        mail->skipped = true;
        mail->is_late = is_late;
        return true;
}

static int call_init(Run *run, const Mail *mail, Buffer *output) {
        const Control *control = CONTAINER_OF(mail, Control, mail);
        char why[WHY_MAX] = "";
        void *state = NULL;
        int r;

        r = run->behavior->init(&control->start, &state, why, sizeof(why));
        if (r == 0)
                run->behavior_state = state;
        else
                buffer_append_slice(output, slice_of(why));
        return r;
}

static int call_hook(Run *run, const Mail *mail, Buffer *output) {
        switch ((MailKind)mail->kind) {
        case MAIL_INIT:
                return call_init(run, mail, output);
        case MAIL_CHECKPOINT:
                return run->behavior->checkpoint ? run->behavior->checkpoint(run->behavior_state, output) : 0;
        default:
                assert(mail->kind == MAIL_STOP);
                run->behavior->stop(run->behavior_state);
                run->behavior_state = NULL;
                return 0;
        }
}

static void call(Run *run, const Mail *mail, Outcome *outcome) {
        BehaviorMessage message;

        if (is_control(mail)) {
                outcome->result = call_hook(run, mail, &outcome->reply.output);
                return;
        }

        mail_read(mail, &message);
        run->behavior->handle(run->behavior_state, &message, &outcome->reply);
}

static bool is_quiet(const Mail *mail, const BehaviorReply *reply) {
        if (mail->outcome || mail->wants_answer)
                return false;

        return mail->skipped || (reply->verdict == BEHAVIOR_DONE && reply->effects.n == 0 && !reply->effects.failed &&
                                        !reply->output.failed);
}

static void chain_done(Run *run, Mail *mail) {
        if (!run->done)
                run->done = mail;
        else if (run->done_last->next != mail)
                run->done_last->next = mail;
        run->done_last = mail;
}

/* Whether it may have more while one is open is the core's to say. */
static void come_back(Run *run) {
        unsigned char wish = RUN_GO_ON;

        (void)atomic_compare_exchange_strong_explicit(
                &run->wish, &wish, RUN_RECALL, memory_order_relaxed, memory_order_relaxed);
}

/* What was written by the loop's processor is fetched while messages before it are handled: of the next one what its
 * behaviour is told, since its mail was fetched the last time, and the mail of the one after that. */
static void look_ahead(const Mail *next) {
        if (!next)
                return;

        __builtin_prefetch(next->next);
        if (next->kind == MAIL_TOPIC || next->kind == MAIL_ANSWER)
                letter_prefetch(CONTAINER_OF(next, Delivery, mail)->letter);
}

Outcome *run_step(Run *run, uint64_t now_usec) {
        Mail *mail = run->mail;
        Outcome *outcome;

        assert(mail && run->spare);

        run->mail = mail->next;
        look_ahead(run->mail);
        take_up(run, mail);
        outcome = mail->outcome ? mail->outcome : run->spare;
        outcome->result = 0;
        blank_reply(&outcome->reply);
        if (!must_skip(run, mail, now_usec))
                call(run, mail, outcome);

        if (is_quiet(mail, &outcome->reply)) {
                chain_done(run, mail);
                return NULL;
        }

        if (outcome->reply.verdict == BEHAVIOR_PENDING)
                come_back(run);
        if (outcome == run->spare)
                run->spare = outcome_new(); /* if there is none, run_close() ends the run */
        mail->next = NULL;
        outcome->run = run;
        outcome->mail = mail;
        outcome->started_usec = outcome->finished_usec = now_usec;
        outcome->skipped = mail->skipped;
        outcome->is_late = mail->is_late;
        outcome->run_ended = false;
        outcome->is_embedded = mail->outcome;
        return outcome;
}

void run_hand_over_done(Run *run) {
        Mail *top;

        if (!run->done)
                return;

        top = atomic_load_explicit(&run->returned, memory_order_relaxed);
        do
                if (run->done_last->next != top)
                        run->done_last->next = top;
        while (!atomic_compare_exchange_weak_explicit(
                &run->returned, &top, run->done, memory_order_release, memory_order_relaxed));
        run->done = run->done_last = NULL;
}

void run_abandon(Run *run) {
        Mail *added = atomic_exchange_explicit(&run->incoming, &closed, memory_order_acquire);
        Mail **end = &run->mail;

        assert(added != &closed);

        while (*end)
                end = &(*end)->next;
        *end = added;
        run->is_closed = true;
        run_hand_over_done(run);
}

bool run_close(Run *run) {
        Mail *added = NULL;

        if (run_is_recalled(run) || !run->spare) {
                run_abandon(run);
                return true;
        }
        if (run->mail)
                return false;

        run_hand_over_done(run);
        if (atomic_compare_exchange_strong_explicit(
                    &run->incoming, &added, &closed, memory_order_acquire, memory_order_acquire)) {
                run->is_closed = true;
                return true;
        }

        run->mail = added;
        atomic_store_explicit(&run->incoming, NULL, memory_order_relaxed);
        return false;
}

Outcome *run_end(Run *run, Outcome *outcome) {
        assert(run->is_closed);

        if (!outcome) {
                outcome = &run->end;
                outcome->run = run;
                outcome->mail = NULL;
        }
        outcome->run_ended = true;
        return outcome;
}
