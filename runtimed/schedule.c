/* SPDX-License-Identifier: MIT */

/*
 * From mailbox to worker (or child process) and back.
 *
 * An agent is in a ready list if and only if it has mail that may be handed out now (agent_open_lanes) and was not
 * looked at since. It has at most one run out, so its messages are handled one at a time and in order, whatever the
 * number of workers. A run that is out is topped up (run.h); one that is needed back for a control call is recalled.
 *
 * How much is handed out at a time is learnt: as many messages as the agent handles in GRANT_USEC, within limits, so
 * that what is urgent never waits long behind what was handed out, and hand-overs cost little all the same.
 *
 * The watch. Workers say nothing when they begin a message, that would double the hand-overs; they only raise n_begun.
 * Most messages are done before anybody could have wanted to know. For a run that stays out, the watch looks at n_begun
 * after a millisecond and then ever more rarely, tells observers what has started, and finds the behaviour that blocks
 * its worker.
 */

#include "runtimed/core.h"
#include "runtimed/diag.h"

#define WATCH_FIRST_USEC (1 * USEC_PER_MSEC)
#define WATCH_LAST_USEC (100 * USEC_PER_MSEC)
#define BLOCKED_USEC (1 * USEC_PER_SEC)
#define GRANT_MAX 1024
#define GRANT_USEC (5 * USEC_PER_MSEC)
#define IDLE_RUNS_MAX 1024

/* ready lists */

static AgentQueue *queue_of(Runtime *runtime, const Agent *agent) {
        return agent->definition->behavior->is_remote ? &runtime->ready_remote : &runtime->ready;
}

void core_make_ready(Runtime *runtime, Agent *agent) {
        AgentQueue *queue = queue_of(runtime, agent);

        if (agent->is_ready || !agent->mailbox || mailbox_is_empty(agent->mailbox, agent_open_lanes(agent)))
                return;

        agent->is_ready = true;
        agent->next_ready = NULL;
        if (queue->last)
                queue->last->next_ready = agent;
        else
                queue->first = agent;
        queue->last = agent;
}

void core_leave_line(Runtime *runtime, Agent *agent) {
        AgentQueue *queue = queue_of(runtime, agent);
        Agent *previous = NULL;

        if (!agent->is_ready)
                return;

        for (Agent *a = queue->first; a != agent; a = a->next_ready)
                previous = a;
        if (previous)
                previous->next_ready = agent->next_ready;
        else
                queue->first = agent->next_ready;
        if (queue->last == agent)
                queue->last = previous;
        agent->is_ready = false;
        agent->next_ready = NULL;
}

static Agent *pop_ready(AgentQueue *queue) {
        Agent *agent = queue->first;

        if (!agent)
                return NULL;

        queue->first = agent->next_ready;
        if (!queue->first)
                queue->last = NULL;
        agent->is_ready = false;
        agent->next_ready = NULL;
        return agent;
}

/* mailboxes */

static Mailbox *need_mailbox(Runtime *runtime, Agent *agent) {
        if (!agent->mailbox)
                agent->mailbox = runtime->n_idle_mailboxes > 0 ? runtime->idle_mailboxes[--runtime->n_idle_mailboxes]
                                                               : mailbox_new();
        return agent->mailbox;
}

static void drop_mailbox(Runtime *runtime, Agent *agent) {
        if (!agent->mailbox || agent->run || !mailbox_is_empty(agent->mailbox, LANES_ALL))
                return;

        if (runtime->n_idle_mailboxes < ELEMENTSOF(runtime->idle_mailboxes))
                runtime->idle_mailboxes[runtime->n_idle_mailboxes++] = TAKE_PTR(agent->mailbox);
        else
                agent->mailbox = mailbox_free(agent->mailbox);
}

/* What a worker has begun since is not in the mailbox any more. */
static void note_begun(Agent *agent) {
        const Run *run = agent->run;

        agent->mailbox->n_given = run->n_given - atomic_load_explicit(&run->n_begun, memory_order_relaxed);
        agent->mailbox->n_bytes_given =
                run->n_bytes_given - atomic_load_explicit(&run->n_bytes_begun, memory_order_relaxed);
}

bool core_has_room(Runtime *runtime, Agent *agent, size_t n_bytes) {
        if (!need_mailbox(runtime, agent))
                return false;
        if (mailbox_has_room(agent->mailbox, &agent->definition->mailbox, n_bytes))
                return true;
        if (!agent->run)
                return false;

        note_begun(agent);
        return mailbox_has_room(agent->mailbox, &agent->definition->mailbox, n_bytes);
}

int core_push_mail(Runtime *runtime, Agent *agent, Mail *mail) {
        int r;

        if (!need_mailbox(runtime, agent))
                return -ENOMEM;

        r = mailbox_push(agent->mailbox, &agent->definition->mailbox, mail);
        if (r == MAILBOX_E_FULL && agent->run) {
                note_begun(agent);
                r = mailbox_push(agent->mailbox, &agent->definition->mailbox, mail);
        }
        if (r == 0)
                core_make_ready(runtime, agent);
        return r;
}

bool core_takes_mail(const Agent *agent) {
        return agent->state == AGENT_RUNNING || agent->state == AGENT_PAUSED ||
               (agent->state == AGENT_STARTING && !agent->is_leaving);
}

/* One that may not be answered now stays; then there is no room. */
void core_drop_oldest(Runtime *runtime, Agent *agent, size_t n_bytes, Instant now) {
        Mail *oldest;

        while (!core_has_room(runtime, agent, n_bytes)) {
                oldest = agent->mailbox ? mailbox_oldest(agent->mailbox) : NULL;
                if (!oldest || (oldest->kind == MAIL_TRIGGER && core_must_hold(runtime, execution_of_mail(oldest))))
                        return;

                runtime->counters.shed++;
                agent->n_shed++;
                if (oldest->kind == MAIL_TRIGGER) {
                        core_fail(runtime, execution_of_mail(oldest), ERROR_MAILBOX_FULL,
                                "dropped for newer messages: the mailbox is full", now);
                } else {
                        mailbox_remove(agent->mailbox, oldest);
                        core_drop_delivery(runtime, delivery_of_mail(oldest), ERROR_MAILBOX_FULL, now);
                }
        }
}

void core_recall(Agent *agent) {
        if (agent->run)
                run_wish(agent->run, RUN_RECALL);
}

/* runs */

static void watch(Runtime *runtime, Run *run, uint64_t in_usec) {
        run->watch_usec = in_usec;
        if (in_usec == WATCH_FIRST_USEC)
                deadline_arm_in_line(&runtime->deadlines, &run->watch, runtime->now.usec + in_usec);
        else
                deadline_arm(&runtime->deadlines, &run->watch, runtime->now.usec + in_usec);
}

static Run *take_blank_run(Runtime *runtime) {
        Run *run = runtime->idle_runs;

        if (!run) {
                run = run_new();
                if (run)
                        deadline_init(&run->watch, DEADLINE_WATCH);
                return run;
        }

        runtime->idle_runs = run->next;
        runtime->n_idle_runs--;
        return run;
}

static void give_back_run(Runtime *runtime, Run *run) {
        if (runtime->n_idle_runs >= IDLE_RUNS_MAX) {
                (void)run_free(run);
                return;
        }
        run->next = runtime->idle_runs;
        runtime->idle_runs = run;
        runtime->n_idle_runs++;
}

static void note_out(Runtime *runtime, Run *run, Mail *mail) {
        const uint64_t index = run->n_given++;
        Execution *execution;

        if (mail->lane >= LANE_REALTIME)
                run->n_bytes_given += mail->n_bytes;
        if (mail->kind != MAIL_TRIGGER)
                return;

        execution = execution_of_mail(mail);
        execution->phase = PHASE_OUT;
        execution->out_index = index;
        execution->next_out = NULL;
        if (run->out_last)
                run->out_last->next_out = execution;
        else
                run->out_first = execution;
        run->out_last = execution;
        runtime->n_queued--;
}

/* The next of its mail as a chain, noted as out. NULL: there is none. */
static Mail *take_chain(Runtime *runtime, Agent *agent, Run *run, uint32_t n_max) {
        const unsigned lanes = agent_open_lanes(agent);
        Mail *first, *last = NULL, *mail;
        uint64_t n_bytes;
        uint32_t n_all;

        first = mailbox_pop_lane(agent->mailbox, lanes, n_max, &n_all, &n_bytes);
        if (first) {
                run->n_given += n_all;
                run->n_bytes_given += n_bytes;
                return first;
        }

        for (uint32_t n = 0; n < n_max && (mail = mailbox_pop(agent->mailbox, lanes)); n++) {
                note_out(runtime, run, mail);
                mail->next = NULL;
                if (last)
                        last->next = mail;
                else
                        first = mail;
                last = mail;
        }
        return first;
}

/* One that drops the oldest keeps most of its mail where it can be dropped. */
static uint32_t grant_of(const Agent *agent) {
        const Definition *definition = agent->definition;

        if (definition->overflow != OVERFLOW_DROP_OLDEST)
                return agent->grant;
        return (uint32_t)MAX_OF(MIN_OF((uint64_t)agent->grant, definition->mailbox.capacity / 8), UINT64_C(1));
}

static bool may_top_up(const Agent *agent) {
        return agent->definition->overflow != OVERFLOW_DROP_OLDEST && !core_must_wait_for_state(agent) &&
               mailbox_is_empty(agent->mailbox, LANES_CONTROL) && !run_is_recalled(agent->run) &&
               !atomic_load_explicit(&agent->run->incoming, memory_order_relaxed);
}

/* What the worker did not get to goes back to the front of the mailbox; what was called off meanwhile is gone. */
static void take_back(Runtime *runtime, Agent *agent, Mail *chain) {
        Mail *first = NULL, *last = NULL, *next;

        for (Mail *mail = chain; mail; mail = next) {
                next = mail->next;
                mail->next = NULL;
                if (mail->kind == MAIL_TRIGGER) {
                        Execution *execution = execution_of_mail(mail);

                        execution->next_out = NULL;
                        if (execution->phase == PHASE_ABANDONED) {
                                runtime->n_abandoned--;
                                executions_remove(&runtime->executions, execution);
                                continue;
                        }
                        execution->phase = PHASE_QUEUED;
                        runtime->n_queued++;
                }
                if (last)
                        last->next = mail;
                else
                        first = mail;
                last = mail;
        }

        mailbox_return(agent->mailbox, first);
}

static void take_returned(Runtime *runtime, Agent *agent, Run *run, Instant now) {
        Mail *mail = run_take_returned(run), *next;
        uint64_t n = 0;

        for (; mail; mail = next) {
                next = mail->next;
                if (mail->skipped)
                        runtime->counters.undelivered[mail->is_late ? ERROR_DEADLINE_EXCEEDED : ERROR_AGENT_STOPPED]++;
                else
                        n++;
                core_free_delivery(runtime, delivery_of_mail(mail));
        }

        agent->n_handled += n;
        runtime->counters.handled += n;
        if (n > 0)
                core_note_handled(runtime, agent, n, now);
}

static void top_up(Runtime *runtime, Agent *agent) {
        Run *run = agent->run;
        Execution *last_out = run->out_last;
        uint64_t n_given = run->n_given, n_bytes_given = run->n_bytes_given;
        Mail *chain;

        if (!may_top_up(agent))
                return;

        chain = take_chain(runtime, agent, run, grant_of(agent));
        if (!chain)
                return;
        if (run_top_up(run, chain)) {
                note_begun(agent);
                take_returned(runtime, agent, run, runtime->now); /* it may stay out for ever */
                return;
        }

        /* It is on its way back: as if nothing had happened. */
        run->n_given = n_given;
        run->n_bytes_given = n_bytes_given;
        run->out_last = last_out;
        if (last_out)
                last_out->next_out = NULL;
        else
                run->out_first = NULL;
        take_back(runtime, agent, chain);
}

static Run *hand_out(Runtime *runtime, Agent *agent) {
        Run *run = take_blank_run(runtime);
        Mail *chain;

        if (!run) {
                core_make_ready(runtime, agent); /* the next turn may find memory */
                return NULL;
        }

        chain = take_chain(runtime, agent, run, grant_of(agent));
        if (!chain) {
                give_back_run(runtime, run);
                return NULL;
        }

        if (!run_open(run, chain)) {
                take_back(runtime, agent, chain);
                give_back_run(runtime, run);
                core_make_ready(runtime, agent);
                return NULL;
        }

        run->agent = agent;
        run->behavior = agent->definition->behavior;
        run->behavior_state = agent->behavior_state;
        run->agent_class = agent->definition->agent_class;
        run->quantum = (uint32_t)agent->definition->quantum;
        run->given_usec = runtime->now.usec;
        run->watched_begun = 0;
        run->report_usec = BLOCKED_USEC;
        agent->run = run;
        note_begun(agent);
        runtime->n_out++;
        watch(runtime, run, WATCH_FIRST_USEC);
        return run;
}

/* Not beyond those that are in line now: who is put back for want of memory has its turn later. */
Run *runtime_take_run(Runtime *runtime) {
        const Agent *last = runtime->ready.last; /* what gets ready meanwhile has its chance next turn */
        Agent *agent = NULL;
        Run *run;

        while (agent != last && (agent = pop_ready(&runtime->ready))) {
                if (agent->run) {
                        top_up(runtime, agent);
                        continue;
                }
                run = hand_out(runtime, agent);
                if (run)
                        return run;
        }
        return NULL;
}

/* Towards what GRANT_USEC are enough for; at most doubled, since one batch says little. */
static void learn_grant(Agent *agent, const Run *run, Instant now) {
        const uint64_t usec = MAX_OF(now.usec - MIN_OF(run->given_usec, now.usec), UINT64_C(1));
        const uint64_t n = atomic_load_explicit(&run->n_begun, memory_order_relaxed);
        const uint64_t fits = n * GRANT_USEC / usec;

        if (n < agent->grant && fits >= agent->grant)
                return; /* there was not that much mail */
        agent->grant =
                (uint16_t)MAX_OF(MIN_OF(MIN_OF(fits, 2 * (uint64_t)agent->grant), (uint64_t)GRANT_MAX), UINT64_C(1));
}

void core_end_run(Runtime *runtime, Agent *agent, Instant now) {
        Run *run = agent->run;

        take_returned(runtime, agent, run, now);
        take_back(runtime, agent, TAKE_PTR(run->mail));
        learn_grant(agent, run, now);
        agent->behavior_state = run->behavior_state;
        agent->run = NULL;
        agent->mailbox->n_given = agent->mailbox->n_bytes_given = 0;
        run->out_first = run->out_last = NULL;
        run->n_given = run->n_bytes_given = 0;
        runtime->n_out--;
        deadline_disarm(&runtime->deadlines, &run->watch);
        give_back_run(runtime, run);

        if (agent->is_discarding)
                core_discard_mail(runtime, agent, ERROR_AGENT_STOPPED, now);
        core_after_handling(runtime, agent, now);
        core_make_ready(runtime, agent);
        drop_mailbox(runtime, agent);
        core_note_unsettled(runtime, agent);
}

/* remote behaviours */

OpenMessage *core_find_open(const Runtime *runtime, uint64_t message_id) {
        OpenMessage *open;

        HASH_FIND(hh, runtime->open_messages, &message_id, sizeof(message_id), open);
        return open;
}

int core_open_message(Runtime *runtime, uint64_t message_id, Mail *mail, bool is_pending) {
        OpenMessage *open = calloc(1, sizeof(*open));

        if (!open)
                return -ENOMEM;

        *open = (OpenMessage){ .id = message_id, .mail = mail, .is_pending = is_pending };
        HASH_ADD(hh, runtime->open_messages, id, sizeof(open->id), open);
        if (!open->hh.tbl) {
                free(open);
                return -ENOMEM;
        }
        return 0;
}

void core_close_message(Runtime *runtime, uint64_t message_id) {
        OpenMessage *open = core_find_open(runtime, message_id);

        if (!open)
                return;
        HASH_DEL(runtime->open_messages, open);
        free(open);
}

static uint64_t message_id_of(Mail *mail) {
        if (mail->kind == MAIL_TRIGGER)
                return execution_of_mail(mail)->message_id;
        return mail->kind < MAIL_INIT ? delivery_of_mail(mail)->id : 0;
}

/* Does it count towards max_concurrency? */
static bool is_message(const Mail *mail) {
        return mail->kind == MAIL_TRIGGER || mail->kind == MAIL_TOPIC;
}

/* Workers look at this themselves, when they begin it. */
static bool is_too_late(const Runtime *runtime, const Mail *mail) {
        return mail->kind != MAIL_TRIGGER && mail->late_usec <= runtime->now.usec;
}

/* A paused agent handles nothing new. But a message that its child holds may wait for answers, and only ends with
 * them. */
static Mail *pop_while_paused(Agent *agent) {
        Mail *mail = mailbox_pop(agent->mailbox, LANES_CONTROL);

        if (mail || !agent->calls)
                return mail;

        for (mail = agent->mailbox->lanes[LANE_URGENT].first; mail; mail = mail->next)
                if (mail->kind == MAIL_ANSWER) {
                        mailbox_remove(agent->mailbox, mail);
                        return mail;
                }
        return NULL;
}

static Mail *pop_call(Agent *agent) {
        return agent->state == AGENT_PAUSED ? pop_while_paused(agent)
                                            : mailbox_pop(agent->mailbox, agent_open_lanes(agent));
}

/* 0 with NULL: there is nothing for it. */
static int hand_out_call(Runtime *runtime, Agent *agent, Mail **ret) {
        Mail *mail;

        while ((mail = pop_call(agent)) && is_too_late(runtime, mail)) {
                core_drop_delivery(runtime, delivery_of_mail(mail), ERROR_DEADLINE_EXCEEDED, runtime->now);
                core_note_unsettled(runtime, agent); /* it may have been the last that a stop waited for */
        }
        *ret = mail;
        if (!mail)
                return 0;

        mail->next = NULL;
        if (is_message(mail)) {
                if (core_open_message(runtime, message_id_of(mail), mail, /* is_pending= */ false) < 0) {
                        mailbox_return(agent->mailbox, mail);
                        return -ENOMEM;
                }
                agent->n_open++;
        }
        mail->previous = agent->calls;
        agent->calls = mail;
        if (mail->kind == MAIL_TRIGGER) {
                Execution *execution = execution_of_mail(mail);

                execution->phase = PHASE_OUT;
                runtime->n_queued--;
                core_note_started(runtime, execution, runtime->now.usec, runtime->now);
                core_note_news(runtime, execution);
        }
        return 0;
}

Mail *runtime_take_call(Runtime *runtime) {
        Agent *agent;
        Mail *mail;

        while ((agent = runtime->ready_remote.first)) {
                if (hand_out_call(runtime, agent, &mail) < 0)
                        return NULL; /* it stays in line: the next turn may find memory */
                if (mail)
                        return mail;
                (void)pop_ready(&runtime->ready_remote);
                drop_mailbox(runtime, agent);
        }
        return NULL;
}

void core_end_call(Runtime *runtime, Agent *agent, Mail *mail) {
        Mail **place = &agent->calls; /* there are few at a time */

        while (*place != mail)
                place = &(*place)->previous;
        *place = mail->previous;
        mail->previous = NULL;
        if (is_message(mail)) {
                core_close_message(runtime, message_id_of(mail));
                agent->n_open--;
        }
}

/* the watch */

static void note_begun_executions(Runtime *runtime, Run *run, uint64_t n_begun, Instant now) {
        for (Execution *execution = run->out_first; execution; execution = execution->next_out) {
                if (execution->out_index >= n_begun)
                        break;
                if (execution->is_started || execution->phase != PHASE_OUT)
                        continue;
                core_note_started(runtime, execution, now.usec, now);
                core_note_news(runtime, execution);
        }
}

void core_on_watch(Runtime *runtime, Run *run, Instant now) {
        const uint64_t n_begun = atomic_load(&run->n_begun);

        note_begun_executions(runtime, run, n_begun, now);
        if (n_begun != run->watched_begun) {
                run->watched_begun = n_begun;
                run->begun_usec = now.usec;
                run->report_usec = BLOCKED_USEC;
        } else if (n_begun > 0 && now.usec - run->begun_usec >= run->report_usec) {
                run->report_usec *= 2; /* after 1 s, 2, 4, ... */
                diag_agent_blocks(agent_id_slice(run->agent), now.usec - run->begun_usec);
        }
        take_returned(runtime, run->agent, run, now);

        watch(runtime, run, MIN_OF(run->watch_usec * 2, WATCH_LAST_USEC));
        core_arm_reports(runtime, now);
}

/* at the end of all */

bool core_holds_mail(const Runtime *runtime) {
        return runtime->letters.n_deliveries > 0;
}

static void free_chain(Runtime *runtime, Mail *mail) {
        Mail *next;

        for (; mail; mail = next) {
                next = mail->next;
                if (mail->kind >= MAIL_INIT)
                        core_control_free(control_of_mail(mail));
                else if (mail->kind != MAIL_TRIGGER) /* executions go with their table */
                        core_free_delivery(runtime, delivery_of_mail(mail));
        }
}

/* No worker is there any more. */
static void free_run_mail(Runtime *runtime, Agent *agent) {
        Run *run = agent->run;

        if (!run)
                return;
        deadline_disarm(&runtime->deadlines, &run->watch);
        if (!run->is_closed)
                run_abandon(run);
        free_chain(runtime, TAKE_PTR(run->mail));
        free_chain(runtime, run_take_returned(run));
}

/* Nor a child process. */
static void free_calls(Runtime *runtime, Agent *agent) {
        Mail *mail;

        while ((mail = agent->calls)) {
                agent->calls = mail->previous;
                mail->next = NULL;
                free_chain(runtime, mail);
        }
}

void core_free_mail(Runtime *runtime) {
        OpenMessage *open, *tmp;
        Mail *mail;

        for (Agent *agent = core_agent_after(runtime, SLICE_NONE); agent; agent = core_next_agent(agent)) {
                free_run_mail(runtime, agent);
                free_calls(runtime, agent);
                while (agent->mailbox && (mail = mailbox_pop(agent->mailbox, LANES_ALL))) {
                        mail->next = NULL;
                        free_chain(runtime, mail);
                }
        }
        while (runtime->aside)
                core_free_delivery(runtime, runtime->aside);
        HASH_ITER(hh, runtime->open_messages, open, tmp) {
                HASH_DEL(runtime->open_messages, open);
                free(open);
        }

        while (runtime->idle_runs) {
                Run *run = runtime->idle_runs;

                runtime->idle_runs = run->next;
                (void)run_free(run);
        }
        while (runtime->n_idle_mailboxes > 0)
                (void)mailbox_free(runtime->idle_mailboxes[--runtime->n_idle_mailboxes]);
}
