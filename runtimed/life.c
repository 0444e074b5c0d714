/* SPDX-License-Identifier: MIT */

/*
 * An agent's life, one step at a time. The state says what an operator sees; the step says what is awaited: a hook that
 * is with a worker or a child process, an answer of the store, the end of a pause. core_settle() looks at an agent that
 * awaits nothing and takes the next step, until there is none to take:
 *
 *   starting   load the state, init                         -> running, or failed
 *   running    a successor's turn: checkpoint, stop hook, then init of the new definition with the old one's state
 *   stopping   nothing held any more: checkpoint, stop hook -> stopped
 *   stopped    is it to go? forget its state, then it is removed
 *
 * A new definition must not cost an agent anything: when its state can't be had it keeps the old one, and when the new
 * one's init fails the old one starts again with that state. An agent that does not run takes a new definition at once.
 *
 * Hooks of behaviours that are quick are called at once, the others travel as control mail before all other mail. A
 * hook's outcome ends in core_on_control().
 *
 * An agent whose behaviour is lost (a child process that crashed) is started again after a pause that doubles with each
 * restart in the window; past the definition's limit it fails, so that an operator sees it instead of a loop.
 *
 * Agents are looked at when the turn ends, from a list, and removed only there: nobody holds one then.
 */

#include <stdio.h>

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define BACKOFF_MAX_USEC (60 * USEC_PER_SEC)
#define STEPS_MAX 16 /* more than any agent takes at a stretch */

/* waiters */

static int add_waiter(Agent *agent, WaitFor what, size_t n_bytes, Waiter **ret) {
        Waiter **end = &agent->waiters;
        Waiter *waiter;
        size_t n = 0;

        for (; *end; end = &(*end)->next)
                n++;
        if (n >= WAITERS_MAX)
                return WAIT_E_FULL;

        waiter = calloc(1, sizeof(*waiter) + n_bytes);
        if (!waiter)
                return -ENOMEM;

        waiter->what = what;
        waiter->sequence = core_durable_sequence(agent);
        *end = *ret = waiter;
        return 0;
}

int core_wait(Runtime *runtime, Agent *agent, WaitFor what, Slice reply) {
        Waiter *waiter;
        int r;

        (void)runtime;

        if (reply.size == 0)
                return 0;

        r = add_waiter(agent, what, reply.size, &waiter);
        if (r != 0)
                return r;

        memcpy(waiter->storage, reply.data, reply.size);
        waiter->reply = (Slice){ waiter->storage, reply.size };
        return 0;
}

int core_wait_with(Runtime *runtime, Agent *agent, uint64_t token, Letter *wish) {
        Waiter *waiter;
        int r = add_waiter(agent, WAIT_CHECKPOINT, 0, &waiter);

        (void)runtime;

        if (r != 0)
                return r;

        waiter->token = token;
        waiter->wish = wish;
        wish->n_refs++;
        return 0;
}

static void answer_waiter(Runtime *runtime, Agent *agent, const Waiter *waiter, ErrorCode code, Slice why) {
        WishAnswer answer = { .token = waiter->token, .code = code };

        if (!waiter->wish) {
                core_answer_request(runtime, agent, waiter->reply, code, why);
                return;
        }

        answer.envelope = &waiter->wish->envelope;
        if (code != ERROR_NONE)
                answer.body = why;
        if (core_answer_wish(runtime, agent, &answer) < 0)
                runtime->counters.undelivered[ERROR_INTERNAL]++;
        letter_unref(&runtime->letters, waiter->wish);
}

void core_forget_wish_waiters(Runtime *runtime, Agent *agent) {
        Waiter **place = &agent->waiters;

        while (*place) {
                Waiter *waiter = *place;

                if (!waiter->wish) {
                        place = &waiter->next;
                        continue;
                }
                *place = waiter->next;
                letter_unref(&runtime->letters, waiter->wish);
                free(waiter);
        }
}

void core_answer_waiters(Runtime *runtime, Agent *agent, WaitFor what, uint64_t sequence, ErrorCode code, Slice why) {
        Waiter **place = &agent->waiters;

        while (*place) {
                Waiter *waiter = *place;

                if (waiter->what != what || waiter->sequence > sequence) {
                        place = &waiter->next;
                        continue;
                }
                *place = waiter->next;
                answer_waiter(runtime, agent, waiter, code, why);
                free(waiter);
        }
}

static void answer_all(Runtime *runtime, Agent *agent, ErrorCode code, Slice why) {
        for (unsigned what = 0; what < _WAIT_FOR_MAX; what++)
                core_answer_waiters(runtime, agent, (WaitFor)what, UINT64_MAX, code, why);
}

void core_give_up_waiters(Runtime *runtime) {
        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent)) {
                core_forget_wish_waiters(runtime, agent);
                answer_all(
                        runtime, agent, ERROR_TIMEOUT, SLICE("the runtime leaves, and the behaviour has not returned"));
        }
}

/* looking at agents when the turn ends */

void core_note_unsettled(Runtime *runtime, Agent *agent) {
        if (agent->is_unsettled)
                return;

        agent->is_unsettled = true;
        agent->next_unsettled = runtime->unsettled;
        runtime->unsettled = agent;
}

/* hooks */

Control *core_control_new(Agent *agent, MailKind kind) {
        Control *control = calloc(1, sizeof(*control));

        if (!control)
                return NULL;

        control->mail.agent = agent;
        control->mail.kind = (uint8_t)kind;
        control->mail.lane = LANE_CONTROL;
        control->mail.late_usec = USEC_NEVER;
        control->mail.wants_answer = true;
        control->mail.outcome = &control->outcome;
        control->outcome.mail = &control->mail;
        control->outcome.is_embedded = true;
        return control;
}

void core_control_free(Control *control) {
        buffer_done(&control->state);
        buffer_done(&control->outcome.reply.output);
        effects_clear(&control->outcome.reply.effects);
        free(control);
}

/* Here and now, the way a worker does it. */
static int call_here(Agent *agent, Control *control) {
        Run *run = run_new();

        if (!run)
                return -ENOMEM;
        if (!run_open(run, &control->mail)) {
                (void)run_free(run);
                return -ENOMEM;
        }

        run->agent = agent;
        run->behavior = agent->definition->behavior;
        run->behavior_state = agent->behavior_state;
        (void)run_step(run, 0);
        agent->behavior_state = run->behavior_state;
        control->outcome.run = NULL;
        (void)run_free(run);
        return 0;
}

void core_call(Runtime *runtime, Agent *agent, Control *control, Instant now) {
        const Behavior *behavior = agent->definition->behavior;
        const bool is_here = behavior->quick && !behavior->is_remote && !agent->run;
        int r = is_here ? call_here(agent, control) : core_push_mail(runtime, agent, &control->mail);

        if (r < 0) {
                control->outcome.result = r;
                control->outcome.skipped = true;
        }
        if (r < 0 || is_here)
                core_on_control(runtime, control, now);
        else
                core_recall(agent);
}

/* Takes a step that is a hook; when memory is out it is tried again, in the next turn at the latest. */
static void call_hook(Runtime *runtime, Agent *agent, MailKind kind, AgentStep step, Instant now) {
        Control *control = core_control_new(agent, kind);

        if (!control) {
                core_note_unsettled(runtime, agent);
                return;
        }
        agent->step = (uint8_t)step;
        core_call(runtime, agent, control, now);
}

/* starting */

void core_send_init(Runtime *runtime, Agent *agent, Buffer *state, Instant now) {
        Control *control = core_control_new(agent, MAIL_INIT);

        if (!control) {
                if (state)
                        buffer_done(state);
                core_on_init_failed(runtime, agent, ERROR_INTERNAL, SLICE("memory is out"), now);
                return;
        }

        control->start = definition_start(agent->definition);
        if (state) {
                control->state = *state;
                *state = (Buffer){};
                control->start.state = buffer_slice(&control->state);
        }
        control->start.effects = &control->outcome.reply.effects;
        agent->step = STEP_INIT;
        core_call(runtime, agent, control, now);
}

static void begin_start(Runtime *runtime, Agent *agent, Instant now) {
        agent->step = STEP_NONE;
        if (agent_rarely(agent)->handover) {
                Buffer state = *agent->rarely->handover;

                free(TAKE_PTR(agent->rarely->handover));
                core_send_init(runtime, agent, &state, now);
        } else if (runtime->options.has_store && behavior_keeps_state(agent->definition->behavior)) {
                core_load_state(runtime, agent, now);
        } else {
                core_send_init(runtime, agent, NULL, now);
        }
}

/* Is there something that comes back by itself? */
static bool has_hook_out(const Agent *agent) {
        return core_is_storing(agent) || (agent->mailbox && !mailbox_is_empty(agent->mailbox, LANES_CONTROL));
}

/* It may have failed a moment ago: what a worker has of it comes back first, and the stop hook is run. */
static bool is_down(const Agent *agent) {
        return agent->step == STEP_NONE && !agent->has_behavior && !agent->run && !agent->calls && !has_hook_out(agent);
}

/* An operator's start begins anew. */
static void forget_failures(Agent *agent) {
        AgentRarely *rarely = agent->rarely;

        if (!rarely)
                return;
        if (rarely->supervision)
                rarely->supervision->n = 0;
        free(rarely->failure);
        rarely->failure = NULL;
}

void core_start_agent(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->state == AGENT_FAILED && !is_down(agent)) {
                agent->is_to_start = true;
                core_note_unsettled(runtime, agent);
                return;
        }
        if (agent_apply(agent, AGENT_EV_START) != 0)
                return;

        runtime->n_alive++;
        agent->is_discarding = agent->is_to_pause = agent->is_to_start = false;
        forget_failures(agent);
        core_note_changed(runtime, agent);
        begin_start(runtime, agent, now);
}

/* Whatever it was to handle is told so; it is alive no more. */
static void give_up(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now) {
        AgentRarely *rarely = agent_need_rarely(agent);

        if (agent_apply(agent, AGENT_EV_FAIL) != 0)
                return;
        runtime->n_alive--;
        agent->is_replacing = false;
        runtime->failure_code = code;
        (void)wire_error(&runtime->failure, "%.*s", SLICE_ARG(why));
        if (rarely && asprintf(&rarely->failure, "%s: %s", error_code_name(code), runtime->failure.text) < 0)
                rarely->failure = NULL;
        diag_agent_failed(agent_id_slice(agent), code, why);

        core_end_conversations(runtime, agent);
        core_suspend_topics(runtime, agent);
        core_discard_mail(runtime, agent, ERROR_AGENT_FAILED, now);
        answer_all(runtime, agent, code, slice_of(runtime->failure.text));
        if (!agent->was_ready && agent->is_provisional)
                agent->is_leaving = agent->keeps_record = true;
        core_note_changed(runtime, agent);
        core_note_unsettled(runtime, agent);
}

static bool note_restart(Agent *agent, Instant now) {
        const uint64_t window_usec = agent->definition->restart.window_ms * USEC_PER_MSEC;
        const size_t max = (size_t)agent->definition->restart.max;
        AgentRarely *rarely = agent_need_rarely(agent);
        Supervision *supervision = agent_rarely(agent)->supervision;
        size_t n_old = 0;

        if (!rarely)
                return false;
        if (!supervision || supervision->n_max < max) {
                supervision = calloc(1, sizeof(*supervision) + max * sizeof(supervision->times[0]));
                if (!supervision)
                        return false;
                deadline_init(&supervision->due, DEADLINE_RESTART);
                supervision->agent = agent;
                supervision->n_max = max;
                if (rarely->supervision) {
                        supervision->n = rarely->supervision->n;
                        memcpy(supervision->times, rarely->supervision->times,
                                supervision->n * sizeof(supervision->times[0]));
                }
                free(rarely->supervision); /* not armed: nothing waits while a restart is being noted */
                rarely->supervision = supervision;
        }

        while (n_old < supervision->n && supervision->times[n_old] + window_usec < now.usec)
                n_old++;
        supervision->n -= n_old;
        memmove(supervision->times, supervision->times + n_old, supervision->n * sizeof(supervision->times[0]));
        if (supervision->n >= max)
                return false;

        supervision->times[supervision->n++] = now.usec;
        return true;
}

size_t core_n_restarts(const Agent *agent) {
        const Supervision *supervision = agent_rarely(agent)->supervision;

        return supervision ? supervision->n : 0;
}

static uint64_t backoff_usec(const Agent *agent) {
        const uint64_t first = agent->definition->restart.backoff_ms * USEC_PER_MSEC;

        return MIN_OF(
                first << MIN_OF(core_n_restarts(agent) - 1, (size_t)20), MAX_OF(first, (uint64_t)BACKOFF_MAX_USEC));
}

/* In state starting: its behaviour is gone. */
static void restart_later(Runtime *runtime, Agent *agent, Slice why, Instant now) {
        uint64_t usec;

        if (!note_restart(agent, now)) {
                char text[384];

                (void)snprintf(text, sizeof(text), "%llu restarts within %llu ms were not enough; the last time: %.*s",
                        (unsigned long long)agent->definition->restart.max,
                        (unsigned long long)agent->definition->restart.window_ms, (int)MIN_OF(why.size, (size_t)280),
                        why.data);
                give_up(runtime, agent, ERROR_AGENT_FAILED, slice_of(text), now);
                return;
        }

        usec = backoff_usec(agent);
        runtime->counters.restarts++;
        diag_agent_restarts(agent_id_slice(agent), why, usec, core_n_restarts(agent));
        agent->step = STEP_BACKOFF;
        deadline_arm(&runtime->deadlines, &agent->rarely->supervision->due, now.usec + usec);
}

/* replacing, and falling back */

/* It may stand in another line from then on. The old one is the caller's. */
static Definition *set_definition(Runtime *runtime, Agent *agent, Definition *definition) {
        Definition *old = agent->definition;

        core_leave_line(runtime, agent);
        agent->definition = definition;
        agent->grant = (uint16_t)MIN_OF(definition->quantum, (uint64_t)UINT16_MAX);
        core_change_configured(runtime, agent, old);
        core_make_ready(runtime, agent);
        return old;
}

static void take_successor(Runtime *runtime, Agent *agent, Instant now) {
        agent->is_replacing = false;
        agent->rarely->predecessor = set_definition(runtime, agent, TAKE_PTR(agent->rarely->successor));
        if (agent->rarely->predecessor->behavior == agent->definition->behavior)
                begin_start(runtime, agent, now);
        else if (runtime->options.has_store && behavior_keeps_state(agent->definition->behavior))
                core_load_generation(runtime, agent, now);
        else
                core_send_init(runtime, agent, NULL, now);
}

/* One that does not run has nothing to hand over. */
static void adopt_successor(Runtime *runtime, Agent *agent) {
        if (!agent_rarely(agent)->successor)
                return;

        (void)definition_free(set_definition(runtime, agent, TAKE_PTR(agent->rarely->successor)));
        if (!agent->definition->is_again)
                diag_agent_replaced(agent_id_slice(agent), /* is_again= */ false, NULL);
        core_note_changed(runtime, agent);
}

static Buffer *free_state(Buffer *state) {
        if (state)
                buffer_done(state);
        free(state);
        return NULL;
}

static void forget_predecessor(Agent *agent) {
        agent->is_state_taken = false;
        if (!agent->rarely)
                return;
        agent->rarely->predecessor = definition_free(agent->rarely->predecessor);
        agent->rarely->spare_state = free_state(agent->rarely->spare_state);
}

static void say_not_replaced(const Agent *agent, bool is_again, Slice why) {
        char text[256];

        (void)snprintf(text, sizeof(text), "%.*s", SLICE_ARG(why));
        diag_agent_replaced(agent_id_slice(agent), is_again, text);
}

/* The old definition's turn again, with the state that it had. */
static void fall_back(Runtime *runtime, Agent *agent, Slice why, Instant now) {
        AgentRarely *rarely = agent->rarely;

        say_not_replaced(agent, agent->definition->is_again, why);
        (void)definition_free(set_definition(runtime, agent, TAKE_PTR(rarely->predecessor)));
        rarely->handover = free_state(rarely->handover);
        rarely->handover = TAKE_PTR(rarely->spare_state);
        agent->is_state_taken = false;
        begin_start(runtime, agent, now);
}

void core_on_restart_time(Runtime *runtime, Supervision *supervision, Instant now) {
        Agent *agent = supervision->agent;

        agent->step = STEP_NONE;
        if (agent->state != AGENT_STARTING)
                core_note_unsettled(runtime, agent);
        else if (agent_rarely(agent)->successor)
                take_successor(runtime, agent, now);
        else
                begin_start(runtime, agent, now);
}

void core_on_init_failed(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now) {
        agent->step = STEP_NONE;
        core_end_conversations(runtime, agent); /* a child process may have asked before it failed */
        if (agent->state != AGENT_STARTING)
                core_note_unsettled(runtime, agent); /* it was stopped, or has failed, meanwhile */
        else if (agent_rarely(agent)->predecessor)
                fall_back(runtime, agent, why, now);
        else if (agent->was_ready && core_n_restarts(agent) > 0)
                restart_later(runtime, agent, why, now);
        else
                give_up(runtime, agent, code, why, now);
}

/* becoming ready */

/* With its topics before the answer to whoever wanted it: from then on nothing is missed. */
static int open_topics(Runtime *runtime, Agent *agent) {
        if (!agent->was_ready)
                return core_subscribe_configured(runtime, agent);

        return core_resume_topics(runtime, agent);
}

/* It runs, or is paused as it was before. */
static void run_again(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->is_to_pause)
                (void)agent_apply(agent, AGENT_EV_PAUSE);
        agent->is_to_pause = agent->is_to_start = false;
        core_note_changed(runtime, agent);
        core_make_ready(runtime, agent);
        core_go_on_saving(runtime, agent, now);
        core_note_unsettled(runtime, agent);
}

static void become_ready(Runtime *runtime, Agent *agent, Instant now) {
        (void)agent_apply(agent, AGENT_EV_READY);
        if (open_topics(runtime, agent) < 0) {
                core_fail_agent(runtime, agent, ERROR_INTERNAL, SLICE("memory is out for its subscriptions"), now);
                return;
        }
        agent->was_ready = true;
        if (agent_rarely(agent)->predecessor)
                diag_agent_replaced(agent_id_slice(agent), agent->definition->is_again, NULL);
        if (core_n_restarts(agent) > 0)
                diag_agent_runs_again(agent_id_slice(agent), core_n_restarts(agent));
        forget_predecessor(agent);
        run_again(runtime, agent, now);
        if (!agent_rarely(agent)->successor) /* else who waits for that is not served by this one */
                core_answer_waiters(runtime, agent, WAIT_READY, UINT64_MAX, ERROR_NONE, SLICE_NONE);
}

static void on_init(Runtime *runtime, Agent *agent, const Control *control, Instant now) {
        const int r = control->outcome.result;
        Slice why = buffer_slice(&control->outcome.reply.output);
        Envelope envelope;

        agent->step = STEP_NONE;
        if (r == 0) {
                if (agent->definition->behavior->is_remote)
                        agent->behavior_state = control->outcome.behavior_state;
                agent->has_behavior = true;
                if (agent->state != AGENT_STARTING) {
                        core_note_unsettled(runtime, agent);
                        return;
                }
                become_ready(runtime, agent, now);
                if (agent->state == AGENT_FAILED)
                        return;
                envelope_init(&envelope);
                core_apply_effects(
                        runtime, agent, &(Occasion){ .envelope = &envelope }, &control->outcome.reply.effects, now);
                return;
        }

        if (r == BEHAVIOR_E_STATE && control->start.state.data)
                core_refuse_state(runtime, agent, why, now);
        else
                core_on_init_failed(runtime, agent, ERROR_INIT_FAILED, r < 0 ? slice_of(strerror(-r)) : why, now);
}

/* losing the behaviour */

void runtime_on_crash(Runtime *runtime, Agent *agent, const char *why, Instant now) {
        char text[sizeof(WireError) + 16];

        runtime->now = now;
        runtime->counters.crashes++;
        agent->has_behavior = false;
        agent->behavior_state = NULL;
        core_lose_state(runtime, agent, ERROR_AGENT_CRASHED, now);
        core_end_conversations(runtime, agent);
        core_fail_pending(runtime, agent, now);

        if (agent->state == AGENT_RUNNING || agent->state == AGENT_PAUSED) {
                agent->is_to_pause = agent->state == AGENT_PAUSED;
                (void)agent_apply(agent, AGENT_EV_RESTART);
                core_note_changed(runtime, agent);
                (void)snprintf(text, sizeof(text), "its process %s", why);
                restart_later(runtime, agent, slice_of(text), now);
        } else {
                diag_agent_crashed(agent_id_slice(agent), why);
                core_note_unsettled(runtime, agent);
        }
        core_arm_reports(runtime, now);
}

void core_fail_agent(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now) {
        if (agent_next_state(agent->state, AGENT_EV_FAIL) == AGENT_INVALID)
                return;
        core_lose_state(runtime, agent, code, now);
        give_up(runtime, agent, code, why, now);
}

/* replacing */

static bool is_free_to_replace(const Agent *agent) {
        return agent_rarely(agent)->successor && !agent->run && !agent->calls && agent->n_open == 0 &&
               agent->n_deferred == 0 && !core_is_storing(agent) &&
               (!agent->mailbox || mailbox_is_empty(agent->mailbox, LANES_BEGUN));
}

static void begin_replace(Runtime *runtime, Agent *agent) {
        agent->is_to_pause = agent->state == AGENT_PAUSED;
        (void)agent_apply(agent, AGENT_EV_RESTART);
        agent->is_replacing = true;
        agent->is_state_taken = !behavior_keeps_state(agent->definition->behavior);
        core_note_unsettled(runtime, agent);
}

/* It goes on as it was. */
static void give_up_replacing(Runtime *runtime, Agent *agent, Slice why, Instant now) {
        say_not_replaced(agent, agent->rarely->successor->is_again, why);
        agent->rarely->successor = definition_free(agent->rarely->successor);
        agent->is_replacing = false;
        (void)agent_apply(agent, AGENT_EV_READY);
        run_again(runtime, agent, now);
        core_answer_waiters(runtime, agent, WAIT_READY, UINT64_MAX, ERROR_STATE_ERROR, why);
}

/* What the successor starts with, if it is of the same kind; the other copy is for when that fails. */
static int hand_state_over(Agent *agent, Buffer *state) {
        AgentRarely *rarely = agent->rarely;
        const bool has_heir = rarely->successor && agent->definition->behavior == rarely->successor->behavior;
        Buffer *copy = calloc(1, sizeof(*copy)), *moved = has_heir ? calloc(1, sizeof(*moved)) : NULL;

        if (copy)
                buffer_append_slice(copy, buffer_slice(state));
        if (!copy || copy->failed || (has_heir && !moved)) {
                (void)free_state(copy);
                free(moved);
                return -ENOMEM;
        }

        (void)free_state(rarely->spare_state);
        rarely->spare_state = copy;
        rarely->handover = free_state(rarely->handover);
        if (has_heir) {
                *moved = *state;
                *state = (Buffer){};
                rarely->handover = moved;
        }
        return 0;
}

static void on_replacing_checkpoint(Runtime *runtime, Agent *agent, Control *control, Instant now) {
        Outcome *outcome = &control->outcome;
        Buffer *state = &outcome->reply.output;
        const Definition *successor = agent_rarely(agent)->successor;
        const bool is_other = successor && agent->definition->behavior != successor->behavior;

        agent->step = STEP_NONE;
        core_note_unsettled(runtime, agent);
        if (!agent->has_behavior || outcome->reply.code == ERROR_AGENT_CRASHED)
                return; /* the successor starts with what is stored */
        if (outcome->skipped)
                return; /* once more */
        if (outcome->result < 0 || state->failed || (outcome->result == 0 && hand_state_over(agent, state) < 0)) {
                give_up_replacing(runtime, agent, SLICE("memory is out for its state"), now);
        } else if (outcome->result > 0) {
                give_up_replacing(runtime, agent, buffer_slice(state), now);
        } else {
                agent->is_state_taken = true;
                if (is_other && core_has_undurable(agent)) { /* nobody will ask for it again */
                        agent->step = STEP_CHECKPOINT;
                        core_on_checkpoint(runtime, control, now);
                }
        }
}

/*
 * What runs is replaced by itself. One that waits for a restart, or has failed, has nothing to hand over: it begins
 * anew, as if an operator had started it. One that is being started has begun with what was there before; it is not
 * replaced but started once more if that fails.
 */
void core_restart_agent(Runtime *runtime, Agent *agent, Definition *again, Instant now) {
        AgentRarely *rarely = agent->rarely;

        if (agent->state == AGENT_FAILED || agent->step == STEP_BACKOFF || rarely->successor)
                (void)definition_free(again);
        else
                rarely->successor = again;
        if (agent->state == AGENT_FAILED) {
                core_start_agent(runtime, agent, now);
        } else if (agent->step == STEP_BACKOFF) {
                deadline_disarm(&runtime->deadlines, &rarely->supervision->due);
                forget_failures(agent);
                core_on_restart_time(runtime, rarely->supervision, now);
        } else {
                agent->is_to_start = agent->state == AGENT_STARTING;
                core_recall(agent);
                core_note_unsettled(runtime, agent);
        }
}

static void settle_starting(Runtime *runtime, Agent *agent, Instant now) {
        if (!agent->is_replacing)
                return;
        if (agent->has_behavior && !agent->is_state_taken)
                call_hook(runtime, agent, MAIL_CHECKPOINT, STEP_CHECKPOINT, now);
        else if (agent->has_behavior)
                call_hook(runtime, agent, MAIL_STOP, STEP_STOP, now);
        else
                take_successor(runtime, agent, now);
}

/* stopping */

int core_stop_agent(Runtime *runtime, Agent *agent, bool discards, Instant now) {
        int r = agent_apply(agent, AGENT_EV_STOP);

        if (r == 0 && agent->step == STEP_BACKOFF) {
                deadline_disarm(&runtime->deadlines, &agent->rarely->supervision->due);
                agent->step = STEP_NONE;
        }
        if (r == 0)
                agent->is_replacing = agent->is_to_start = false; /* a checkpoint for it becomes the last one */
        if (r == 0 && !agent->has_behavior && agent->step == STEP_NONE)
                discards = true; /* nobody is there to handle it any more */
        if (discards && agent->state == AGENT_STOPPING) {
                agent->is_discarding = true;
                core_discard_mail(runtime, agent, ERROR_AGENT_STOPPED, now);
        }
        if (r == 0)
                core_note_changed(runtime, agent);
        core_make_ready(runtime, agent);
        core_note_unsettled(runtime, agent);
        return r;
}

static void become_stopped(Runtime *runtime, Agent *agent, Instant now) {
        if (core_has_undurable(agent)) /* its child was stopped in the middle of a call */
                core_lose_state(runtime, agent, ERROR_AGENT_STOPPED, now);
        (void)agent_apply(agent, AGENT_EV_IDLE);
        runtime->n_alive--;
        agent->is_discarding = agent->is_to_pause = false;
        forget_predecessor(agent);
        if (agent->rarely)
                agent->rarely->handover = free_state(agent->rarely->handover);
        core_end_conversations(runtime, agent);
        core_suspend_topics(runtime, agent);
        adopt_successor(runtime, agent);
        core_note_changed(runtime, agent);
        core_answer_waiters(runtime, agent, WAIT_STOPPED, UINT64_MAX, ERROR_NONE, SLICE_NONE);
        core_answer_waiters(runtime, agent, WAIT_READY, UINT64_MAX, ERROR_AGENT_STOPPED,
                SLICE("the agent was stopped before it was running"));
        core_answer_waiters(runtime, agent, WAIT_PAUSED, UINT64_MAX, ERROR_AGENT_STOPPED,
                SLICE("the agent was stopped before it was paused"));
        core_answer_waiters(runtime, agent, WAIT_CHECKPOINT, UINT64_MAX, ERROR_NONE, SLICE_NONE); /* all is durable */
        core_note_unsettled(runtime, agent);
}

static void settle_stopping(Runtime *runtime, Agent *agent, Instant now) {
        /* Its behaviour was lost, or never came: what it holds can't be handled. */
        if (!agent->has_behavior && !agent->run && !agent->calls && !agent_is_idle(agent))
                core_discard_mail(runtime, agent, ERROR_AGENT_STOPPED, now);
        if (agent->is_discarding && agent->has_behavior && agent->calls && agent->definition->behavior->is_remote) {
                call_hook(runtime, agent, MAIL_STOP, STEP_STOP, now); /* it may hang, so nothing is waited for */
                return;
        }
        if (!agent_is_idle(agent) || has_hook_out(agent))
                return;
        core_end_conversations(runtime, agent); /* or one that lives by timers would never come to its end */
        if (agent->has_behavior && core_has_undurable(agent)) {
                call_hook(runtime, agent, MAIL_CHECKPOINT, STEP_CHECKPOINT, now);
                return;
        }
        if (agent->has_behavior) {
                call_hook(runtime, agent, MAIL_STOP, STEP_STOP, now);
                return;
        }
        if (!core_save_left_state(runtime, agent, now))
                become_stopped(runtime, agent, now);
}

/* What a worker has brought back since will not be handled either. */
static void drop_rest(Runtime *runtime, Agent *agent, Instant now) {
        if (!agent_is_idle(agent))
                core_discard_mail(runtime, agent, ERROR_AGENT_FAILED, now);
        core_lose_state(runtime, agent, ERROR_AGENT_FAILED, now);
}

static void settle_down(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->run || agent->calls || has_hook_out(agent))
                return;
        if (agent->state == AGENT_FAILED)
                drop_rest(runtime, agent, now);
        if (agent->has_behavior) {
                call_hook(runtime, agent, MAIL_STOP, STEP_STOP, now);
                return;
        }
        adopt_successor(runtime, agent);
        if (!agent->is_leaving) {
                if (agent->is_to_start)
                        core_start_agent(runtime, agent, now);
                return;
        }
        if (!agent->keeps_record && runtime->options.has_store && behavior_keeps_state(agent->definition->behavior)) {
                agent->keeps_record = true; /* asked for once */
                core_forget_state(runtime, agent, now);
                return;
        }
        core_remove_agent(runtime, agent);
}

static void settle(Runtime *runtime, Agent *agent, Instant now) {
        if (agent->step != STEP_NONE)
                return;

        switch ((AgentState)agent->state) {
        case AGENT_STARTING:
                settle_starting(runtime, agent, now);
                break;
        case AGENT_RUNNING:
        case AGENT_PAUSED:
                if (agent->state == AGENT_PAUSED && !agent->run && !agent->calls)
                        core_answer_waiters(runtime, agent, WAIT_PAUSED, UINT64_MAX, ERROR_NONE, SLICE_NONE);
                if (is_free_to_replace(agent))
                        begin_replace(runtime, agent);
                break;
        case AGENT_STOPPING:
                settle_stopping(runtime, agent, now);
                break;
        case AGENT_STOPPED:
        case AGENT_FAILED:
                settle_down(runtime, agent, now);
                break;
        default:
                break;
        }
}

/* A step taken may be followed by another at once; what memory is out for waits until the next turn. */
void core_settle_agents(Runtime *runtime, Instant now) {
        for (unsigned pass = 0; pass < STEPS_MAX && runtime->unsettled; pass++) {
                Agent *agent = TAKE_PTR(runtime->unsettled), *next;

                for (; agent; agent = next) {
                        next = agent->next_unsettled;
                        agent->is_unsettled = false;
                        settle(runtime, agent, now);
                }
        }
}

static void on_stop(Runtime *runtime, Agent *agent, const Control *control) {
        agent->step = STEP_NONE;
        core_note_unsettled(runtime, agent);
        if (control->outcome.skipped)
                return; /* for want of memory: once more */
        core_end_conversations(runtime, agent);
        agent->has_behavior = false;
        agent->behavior_state = NULL;
}

void core_on_control(Runtime *runtime, Control *control, Instant now) {
        Agent *agent = control->mail.agent;

        switch ((MailKind)control->mail.kind) {
        case MAIL_INIT:
                on_init(runtime, agent, control, now);
                break;
        case MAIL_STOP:
                on_stop(runtime, agent, control);
                break;
        default:
                if (agent->is_replacing)
                        on_replacing_checkpoint(runtime, agent, control, now);
                else
                        core_on_checkpoint(runtime, control, now);
                break;
        }
        core_control_free(control);
}
