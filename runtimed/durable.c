/* SPDX-License-Identifier: MIT */

/*
 * An agent's state on its way to the store and back.
 *
 * Every message that is handled gets a number in the agent's sequence. A checkpoint covers all numbers up to the one
 * that was reached when its hook was called, so what is handled while the hook or the store is busy is covered by the
 * next. One checkpoint of an agent is under way at a time; however many messages there were in the meantime, one is
 * taken for all of them. With `checkpoint_interval_ms: 0` each answer is held until its number is covered.
 *
 * Generations grow with the wall clock, so that a state whose newest record could not be read is still followed by a
 * greater one.
 *
 * What a store can't do is said (on_restore_error, on_checkpoint_error): there is no way through this file on which a
 * state is lost without a word.
 */

#include <stdio.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define RETRY_FIRST_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)

/* An answer that waits for its state: of an execution, or of an application message. */
struct Held {
        Held *next;
        uint64_t sequence;
        Execution *execution; /* NULL: it ended otherwise, or this is about a delivery */
        Delivery *delivery;
        Outcome *outcome; /* with a delivery */
};

struct Durable {
        Agent *agent;
        Deadline due;      /* of the next checkpoint, or of the next attempt */
        uint64_t sequence; /* of the last message that was handled */
        uint64_t covered;  /* ... that is in the checkpoint under way */
        uint64_t durable;  /* ... that is in the store */
        uint64_t generation;
        uint64_t begun_usec;
        unsigned n_failures;
        bool is_out;         /* the hook is with a worker, or about to be */
        unsigned n_storing;  /* requests about it that the store has */
        bool is_saving;      /* one of them is a checkpoint */
        bool is_lost;        /* ... of a behaviour that is gone meanwhile: there is no second attempt */
        bool is_wanted;      /* one more as soon as this one is done */
        bool is_load_second; /* the newest was refused: the one before is asked for */
        bool is_unwanted;    /* of what is loaded only the generation matters */
        Held *held_first, *held_last;
};

static void submit(Runtime *runtime, Durable *durable, StoreRequest *request) {
        request->agent_id = durable->agent->id;
        request->userdata = durable;
        request->next = NULL;
        if (runtime->store_last)
                runtime->store_last->next = request;
        else
                runtime->store_first = request;
        runtime->store_last = request;
        durable->n_storing++;
}

static StoreRequest *request_new(StoreOperation operation) {
        StoreRequest *request = calloc(1, sizeof(*request));

        if (request)
                request->operation = operation;
        return request;
}

StoreRequest *runtime_take_store_requests(Runtime *runtime) {
        StoreRequest *first = runtime->store_first;

        for (const StoreRequest *request = first; request; request = request->next)
                runtime->n_stored_out++;
        runtime->store_first = runtime->store_last = NULL;
        return first;
}

int core_durable_new(Runtime *runtime, Agent *agent) {
        Durable *durable;

        (void)runtime;

        if (agent->durable)
                return 0;
        durable = calloc(1, sizeof(*durable));
        if (!durable)
                return -ENOMEM;

        durable->agent = agent;
        deadline_init(&durable->due, DEADLINE_CHECKPOINT);
        agent->durable = durable;
        return 0;
}

void core_durable_free(Runtime *runtime, Agent *agent) {
        Durable *durable = agent->durable;

        if (!durable)
                return;

        assert(!durable->held_first);

        deadline_disarm(&runtime->deadlines, &durable->due);
        free(durable);
        agent->durable = NULL;
}

bool core_has_undurable(const Agent *agent) {
        return agent->durable && agent->durable->durable < agent->durable->sequence;
}

bool core_is_storing(const Agent *agent) {
        return agent->durable && (agent->durable->n_storing > 0 || agent->durable->is_out);
}

uint64_t core_durable_sequence(const Agent *agent) {
        return agent->durable ? agent->durable->sequence : 0;
}

bool core_must_wait_for_state(const Agent *agent) {
        return agent->durable && agent->definition->checkpoint_interval_ms == 0;
}

/* holding answers */

static int hold(Durable *durable, Execution *execution, Delivery *delivery, Outcome *outcome) {
        Held *held = calloc(1, sizeof(*held));

        if (!held)
                return -ENOMEM;

        *held = (Held){
                .sequence = durable->sequence, .execution = execution, .delivery = delivery, .outcome = outcome
        };
        if (durable->held_last)
                durable->held_last->next = held;
        else
                durable->held_first = held;
        durable->held_last = held;
        if (execution)
                execution->held = held;
        return 0;
}

int core_hold_execution(Runtime *runtime, Execution *execution) {
        (void)runtime;
        return hold(execution->mail.agent->durable, execution, NULL, NULL);
}

int core_hold_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome) {
        (void)runtime;
        return hold(delivery->mail.agent->durable, NULL, delivery, outcome);
}

void core_drop_hold(Execution *execution) {
        if (execution->held)
                execution->held->execution = NULL;
        execution->held = NULL;
}

static Held *pop_held(Durable *durable, uint64_t up_to) {
        Held *held = durable->held_first;

        if (!held || held->sequence > up_to)
                return NULL;

        durable->held_first = held->next;
        if (!durable->held_first)
                durable->held_last = NULL;
        if (held->execution)
                held->execution->held = NULL;
        return held;
}

static void release_held(Runtime *runtime, Durable *durable, Instant now) {
        Held *held;

        while ((held = pop_held(durable, durable->durable))) {
                if (held->execution)
                        core_release_execution(runtime, held->execution, now);
                else if (held->delivery)
                        core_end_delivery(runtime, held->delivery, held->outcome, now);
                free(held);
        }
}

/* What was handled and is not in the store will not be: whoever waits for an answer is told that. */
static void fail_held(Runtime *runtime, Durable *durable, ErrorCode code, Instant now) {
        const uint64_t kept = durable->is_saving ? durable->covered : durable->durable;
        Held *first = durable->held_first, *next;

        while (first && first->sequence <= kept)
                first = first->next;
        if (!first)
                return;

        if (first == durable->held_first) {
                durable->held_first = durable->held_last = NULL;
        } else {
                durable->held_last = durable->held_first;
                while (durable->held_last->next != first)
                        durable->held_last = durable->held_last->next;
                durable->held_last->next = NULL;
        }

        for (; first; first = next) {
                next = first->next;
                if (first->execution) {
                        first->execution->held = NULL;
                        core_fail(runtime, first->execution, code, error_code_meaning(code), now);
                } else if (first->delivery) {
                        core_drop_delivery(runtime, first->delivery, code, now);
                        (void)outcome_free(first->outcome);
                }
                free(first);
        }
}

/* taking checkpoints */

/* While it stops, too: it may have much to work off, and answers wait. */
static bool may_be_asked(const Agent *agent) {
        return agent->state == AGENT_RUNNING || agent->state == AGENT_PAUSED ||
               (agent->state == AGENT_STOPPING && agent->step == STEP_NONE);
}

static void take_checkpoint(Runtime *runtime, Durable *durable, Instant now) {
        Agent *agent = durable->agent;
        Control *control;

        if (!agent->has_behavior || !may_be_asked(agent))
                return;
        if (durable->is_out || durable->n_storing > 0) {
                if (durable->sequence > durable->covered)
                        durable->is_wanted = true;
                return;
        }

        control = core_control_new(agent, MAIL_CHECKPOINT);
        if (!control) {
                durable->is_wanted = true;
                deadline_arm(&runtime->deadlines, &durable->due, now.usec + USEC_PER_SEC);
                return;
        }
        deadline_disarm(&runtime->deadlines, &durable->due);
        durable->is_out = true;
        durable->is_wanted = false;
        durable->covered = durable->sequence;
        durable->begun_usec = now.usec;
        core_call(runtime, agent, control, now);
}

void core_note_handled(Runtime *runtime, Agent *agent, uint64_t n, Instant now) {
        const uint64_t interval_usec = agent->definition->checkpoint_interval_ms * USEC_PER_MSEC;
        Durable *durable = agent->durable;

        if (!durable)
                return;

        durable->sequence += n;
        if (interval_usec > 0 && durable->due.usec == USEC_NEVER)
                deadline_arm(&runtime->deadlines, &durable->due, now.usec + interval_usec);
}

void core_after_handling(Runtime *runtime, Agent *agent, Instant now) {
        const Durable *durable = agent->durable;

        if (!durable || !core_must_wait_for_state(agent) || !core_has_undurable(agent))
                return;
        if (durable->n_failures == 0 || durable->due.usec == USEC_NEVER) /* else the next attempt has its time */
                take_checkpoint(runtime, agent->durable, now);
}

void core_go_on_saving(Runtime *runtime, Agent *agent, Instant now) {
        Durable *durable = agent->durable;

        if (!durable)
                return;
        if (durable->is_wanted || (core_must_wait_for_state(agent) && core_has_undurable(agent)))
                take_checkpoint(runtime, durable, now);
        else if (core_has_undurable(agent))
                core_note_handled(runtime, agent, 0, now);
}

void core_ask_checkpoint(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->durable)
                take_checkpoint(runtime, agent->durable, now);
}

void core_on_checkpoint_time(Runtime *runtime, Deadline *due, Instant now) {
        Durable *durable = CONTAINER_OF(due, Durable, due);

        if (core_has_undurable(durable->agent) || durable->is_wanted)
                take_checkpoint(runtime, durable, now);
}

static uint64_t retry_usec(const Durable *durable) {
        return MIN_OF(RETRY_FIRST_USEC << MIN_OF(durable->n_failures - 1, 20u), (uint64_t)RETRY_MAX_USEC);
}

/* The last one, before the stop hook: what can't be kept is said, and the stop goes on. */
static void end_last_checkpoint(Runtime *runtime, Agent *agent, ErrorCode code, Instant now) {
        Durable *durable = agent->durable;

        agent->step = STEP_NONE;
        if (code != ERROR_NONE) {
                fail_held(runtime, durable, code, now);
                durable->durable = durable->sequence; /* no second attempt */
        }
        core_make_ready(runtime, agent); /* it was to be replaced, and is to work off what it holds instead */
        core_note_unsettled(runtime, agent);
}

/* There is nothing to be saved any more. */
static void lose_rest(Runtime *runtime, Durable *durable, ErrorCode code, Instant now) {
        fail_held(runtime, durable, code, now);
        durable->n_failures = 0;
        durable->durable = durable->sequence;
}

static void on_failure(Runtime *runtime, Durable *durable, Slice why, Instant now) {
        Agent *agent = durable->agent;

        durable->n_failures++;
        runtime->counters.checkpoint_failures++;
        diag_checkpoint_failed(agent_id_slice(agent), why);
        core_answer_waiters(runtime, agent, WAIT_CHECKPOINT, UINT64_MAX, ERROR_STATE_ERROR, why);

        core_note_unsettled(runtime, agent);
        if (agent->step == STEP_CHECKPOINT)
                end_last_checkpoint(runtime, agent, ERROR_STATE_ERROR, now);
        else if (durable->is_lost)
                lose_rest(runtime, durable, ERROR_AGENT_CRASHED, now);
        else if (agent->definition->on_checkpoint_error == ON_CHECKPOINT_ERROR_STOP && agent->state != AGENT_STOPPING)
                core_fail_agent(runtime, agent, ERROR_STATE_ERROR, why, now);
        else
                deadline_arm(&runtime->deadlines, &durable->due, now.usec + retry_usec(durable));
}

/* What the last checkpoint covers is as durable as it will be. */
static void become_durable(Runtime *runtime, Durable *durable, Instant now) {
        Agent *agent = durable->agent;

        durable->n_failures = 0;
        durable->durable = durable->covered;
        release_held(runtime, durable, now);
        core_answer_waiters(runtime, agent, WAIT_CHECKPOINT, durable->durable, ERROR_NONE, SLICE_NONE);

        if (agent->step == STEP_CHECKPOINT)
                end_last_checkpoint(runtime, agent, ERROR_NONE, now);
        else
                core_go_on_saving(runtime, agent, now);
        core_note_unsettled(runtime, agent);
}

static void save(Runtime *runtime, Durable *durable, Buffer *state, Instant now) {
        StoreRequest *request = request_new(STORE_SAVE);

        if (!request) {
                on_failure(runtime, durable, SLICE("memory is out"), now);
                return;
        }
        durable->generation = MAX_OF(durable->generation + 1, now.real_usec);
        request->generation = durable->generation;
        request->state = *state;
        *state = (Buffer){};
        durable->is_saving = true;
        submit(runtime, durable, request);
}

bool core_save_left_state(Runtime *runtime, Agent *agent, Instant now) {
        const AgentRarely *rarely = agent_rarely(agent);
        Buffer *state = rarely->handover ? rarely->handover : rarely->spare_state;

        if (!state || !core_has_undurable(agent))
                return false;

        agent->step = STEP_CHECKPOINT;
        agent->durable->covered = agent->durable->sequence;
        agent->durable->begun_usec = now.usec;
        save(runtime, agent->durable, state, now);
        return true;
}

void core_on_checkpoint(Runtime *runtime, Control *control, Instant now) {
        Agent *agent = control->mail.agent;
        Durable *durable = agent->durable;
        Buffer *state = &control->outcome.reply.output;
        const int r = control->outcome.result;

        if (!durable) { /* no store: nothing to keep it in */
                if (agent->step == STEP_CHECKPOINT)
                        agent->step = STEP_NONE;
                core_make_ready(runtime, agent);
                core_note_unsettled(runtime, agent);
                return;
        }

        if (agent->step == STEP_CHECKPOINT) /* life.c has called the hook */
                durable->covered = durable->sequence;
        durable->is_out = false;
        if (!agent->has_behavior || control->outcome.reply.code == ERROR_AGENT_CRASHED)
                core_note_unsettled(runtime, agent); /* a matter for restarts */
        else if (r < 0 || state->failed)
                on_failure(runtime, durable, SLICE("memory is out"), now);
        else if (r > 0)
                on_failure(runtime, durable, buffer_slice(state), now);
        else if (state->size > STORE_STATE_BYTES_MAX)
                on_failure(runtime, durable, SLICE("the state is larger than a store takes"), now);
        else if (state->size == 0)
                become_durable(runtime, durable, now); /* it has none to keep */
        else
                save(runtime, durable, state, now);
}

static void on_saved(Runtime *runtime, Durable *durable, const StoreRequest *request, Instant now) {
        durable->is_saving = false;
        if (request->outcome != STORE_DONE) {
                durable->generation =
                        MAX_OF(durable->generation, request->generation); /* the clock may be far behind */
                on_failure(runtime, durable, slice_of(request->error.text), now);
                durable->is_lost = false;
                return;
        }
        durable->is_lost = false;

        if (durable->n_failures > 0)
                diag_checkpoint_recovered(agent_id_slice(durable->agent), durable->n_failures);
        runtime->counters.checkpoints++;
        if (durable->begun_usec > 0)
                histogram_add(&runtime->checkpoint_duration, now.usec - MIN_OF(durable->begun_usec, now.usec));
        become_durable(runtime, durable, now);
}

void core_lose_state(Runtime *runtime, Agent *agent, ErrorCode code, Instant now) {
        Durable *durable = agent->durable;

        if (!durable)
                return;

        deadline_disarm(&runtime->deadlines, &durable->due);
        durable->is_wanted = false;
        if (durable->is_saving) {
                fail_held(runtime, durable, code, now);
                durable->sequence = durable->covered;
                durable->is_lost = true;
        } else {
                lose_rest(runtime, durable, code, now);
        }
        core_answer_waiters(runtime, agent, WAIT_CHECKPOINT, UINT64_MAX, code, slice_of(error_code_meaning(code)));
        if (agent->step == STEP_CHECKPOINT && !durable->is_saving)
                agent->step = STEP_NONE;
}

/* restoring */

static void load(Runtime *runtime, Agent *agent, uint64_t below_generation, Instant now) {
        StoreRequest *request = request_new(STORE_LOAD);

        if (!request || core_durable_new(runtime, agent) < 0) {
                free(request);
                core_on_init_failed(runtime, agent, ERROR_INTERNAL, SLICE("memory is out"), now);
                return;
        }
        request->below_generation = below_generation;
        agent->step = STEP_LOAD;
        submit(runtime, agent->durable, request);
}

void core_load_state(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->durable)
                agent->durable->is_load_second = agent->durable->is_unwanted = false;
        load(runtime, agent, 0, now);
}

void core_load_generation(Runtime *runtime, Agent *agent, Instant now) {
        if (core_durable_new(runtime, agent) < 0) {
                core_on_init_failed(runtime, agent, ERROR_INTERNAL, SLICE("memory is out"), now);
                return;
        }
        agent->durable->is_unwanted = true;
        load(runtime, agent, 0, now);
}

/* What the definition says for a state that can't be had. */
static void on_restore_error(Runtime *runtime, Agent *agent, StoreRequest *request, Slice why, Instant now) {
        const OnRestoreError wanted = (OnRestoreError)agent->definition->on_restore_error;
        char text[sizeof(((WireError *)0)->text)];

        runtime->counters.restore_failures++;
        diag_restore_failed(agent_id_slice(agent), why, on_restore_error_names[wanted]);
        if (wanted == ON_RESTORE_ERROR_FRESH) {
                core_send_init(runtime, agent, NULL, now);
        } else if (wanted == ON_RESTORE_ERROR_PREVIOUS && request && request->has_previous) {
                agent->durable->generation = MAX_OF(agent->durable->generation, request->previous_generation);
                core_send_init(runtime, agent, &request->previous, now);
        } else {
                (void)snprintf(text, sizeof(text), "its state could not be restored: %.*s", SLICE_ARG(why));
                core_on_init_failed(runtime, agent, ERROR_STATE_ERROR, slice_of(text), now);
        }
}

/* The behaviour refused the newest: the one before is read, if the definition wants it. */
void core_refuse_state(Runtime *runtime, Agent *agent, Slice why, Instant now) {
        const uint64_t generation = agent->durable ? agent->durable->generation : 0;

        if (agent->durable && agent->definition->on_restore_error == ON_RESTORE_ERROR_PREVIOUS &&
                !agent->durable->is_load_second) {
                runtime->counters.restore_failures++;
                diag_restore_failed(agent_id_slice(agent), why, "previous");
                agent->durable->is_load_second = true;
                load(runtime, agent, generation, now);
                return;
        }
        on_restore_error(runtime, agent, NULL, why, now);
}

static void on_loaded(Runtime *runtime, Durable *durable, StoreRequest *request, Instant now) {
        Agent *agent = durable->agent;

        agent->step = STEP_NONE;
        durable->generation =
                MAX_OF(durable->generation, request->generation); /* whatever came of it: saves go above */
        if (agent->state != AGENT_STARTING) {                     /* it is being stopped */
                core_note_unsettled(runtime, agent);
                return;
        }

        if (durable->is_unwanted) {
                core_send_init(runtime, agent, NULL, now);
                return;
        }
        switch (request->outcome) {
        case STORE_DONE:
                runtime->counters.restores++;
                core_send_init(runtime, agent, &request->state, now);
                break;
        case STORE_EMPTY:
                if (durable->is_load_second)
                        on_restore_error(runtime, agent, NULL, SLICE("there is no earlier record"), now);
                else
                        core_send_init(runtime, agent, NULL, now);
                break;
        default:
                on_restore_error(runtime, agent, request, slice_of(request->error.text), now);
                break;
        }
}

/* forgetting */

void core_forget_state(Runtime *runtime, Agent *agent, Instant now) {
        StoreRequest *request = request_new(STORE_FORGET);

        (void)now;

        if (!request || core_durable_new(runtime, agent) < 0) {
                free(request);
                diag_forget_failed(agent_id_slice(agent), SLICE("memory is out"));
                core_note_unsettled(runtime, agent);
                return;
        }
        agent->step = STEP_FORGET;
        submit(runtime, agent->durable, request);
}

static void on_forgotten(Runtime *runtime, Agent *agent, const StoreRequest *request) {
        agent->step = STEP_NONE;
        if (request->outcome != STORE_DONE)
                diag_forget_failed(agent_id_slice(agent), slice_of(request->error.text));
        core_note_unsettled(runtime, agent);
}

void runtime_on_stored(Runtime *runtime, StoreRequest *request, Instant now) {
        Durable *durable = request->userdata;

        runtime->now = now;
        runtime->n_stored_out--;
        durable->n_storing--;
        switch (request->operation) {
        case STORE_LOAD:
                on_loaded(runtime, durable, request, now);
                break;
        case STORE_SAVE:
                on_saved(runtime, durable, request, now);
                break;
        default:
                on_forgotten(runtime, durable->agent, request);
                break;
        }
        store_request_free(request);
        core_arm_reports(runtime, now);
}

/* at the end of all */

void core_free_holds(Runtime *runtime, Agent *agent) {
        Held *held, *next;

        if (!agent->durable)
                return;
        for (held = agent->durable->held_first; held; held = next) {
                next = held->next;
                if (held->execution)
                        held->execution->held = NULL;
                if (held->delivery)
                        core_free_delivery(runtime, held->delivery);
                if (held->outcome)
                        (void)outcome_free(held->outcome);
                free(held);
        }
        agent->durable->held_first = agent->durable->held_last = NULL;
}

void core_free_requests(Runtime *runtime) {
        StoreRequest *request;

        while ((request = runtime->store_first)) {
                runtime->store_first = request->next;
                store_request_free(request);
        }
}
