/* SPDX-License-Identifier: MIT */

/*
 * The host's events are the children's descriptors, one timer for all deadlines, and "soon": what a call from the core
 * left to do, run by the loop before it waits again. Each ends in settle(), which hands the core what there is, tells
 * it that the turn is over, and writes to the children what it said meanwhile. So a call never re-enters the core, and
 * however many messages a turn has for a child, they are one write.
 *
 * Starting is the one thing that takes long. The processes are made by another thread (exec_spawner.h), and only so
 * many at a time may be busy starting, as most programs need the processor for tens of milliseconds before they answer:
 * a thousand interpreters at once would all miss their start_timeout_ms, and take the processor from us. Whoever takes
 * longer than a moment is waiting for something else, and no longer counts.
 */

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtimed/diag_exec.h"
#include "runtimed/exec_child.h"
#include "runtimed/exec_payload.h"
#include "runtimed/exec_warden.h"

#define GATE_PER_PROCESSOR 2 /* children busy starting: more of them only make each other, and our loop, wait */
#define GATE_MIN 4
#define STARVED_RETRY_USEC (10 * USEC_PER_MSEC)
#define GATE_USEC USEC_PER_SEC /* after that it is not the processor that it waits for */

/* handing over */

void exec_host_put(ExecHost *host, Outcome *outcome) {
        outcome->next = NULL;
        *host->outcomes_end = outcome;
        host->outcomes_end = &outcome->next;
        exec_host_soon(host);
}

void exec_host_soon(ExecHost *host) {
        if (!host->is_busy)
                event_active(host->on_soon, EV_TIMEOUT, 0);
}

static void hand_over_outcomes(ExecHost *host) {
        Outcome *outcome = host->outcomes, *next;

        host->outcomes = NULL;
        host->outcomes_end = &host->outcomes;
        for (; outcome; outcome = next) {
                next = outcome->next;
                outcome->next = NULL;
                host->has_news = true;
                host->callbacks.on_outcome(outcome, host->callbacks.userdata);
        }
}

static void hand_over_dead(ExecHost *host) {
        ExecChild *child = host->dead, *next;

        host->dead = NULL;
        for (; child; child = next) {
                next = child->next_dead;
                if (child->is_initialized && !child->stop) {
                        host->has_news = true;
                        host->callbacks.on_crash(child->agent, child->why.text, host->callbacks.userdata);
                }
                (void)exec_child_free(child);
        }
}

static void spawn_some(ExecHost *host) {
        while (host->n_at_gate < host->gate_size && !TAILQ_EMPTY(&host->queue)) {
                ExecChild *child = TAILQ_FIRST(&host->queue);

                TAILQ_REMOVE(&host->queue, child, in_queue);
                child->holds_gate = true;
                host->n_at_gate++;
                deadline_arm(&host->deadlines, &child->gate, host->now + GATE_USEC);
                exec_child_spawn(child);
        }
}

static void flush_dirty(ExecHost *host) {
        ExecChild *child;

        while ((child = TAILQ_FIRST(&host->dirty))) {
                TAILQ_REMOVE(&host->dirty, child, in_dirty);
                child->is_dirty = false;
                if (child->state != EXEC_KILLED && child->state != EXEC_GONE)
                        exec_talk_flush(child);
        }
}

/* A moment that has moved further away is found out when the timer runs: mostly calls that were answered in time. */
static void arm_timer(ExecHost *host) {
        const uint64_t next = deadline_queue_next(&host->deadlines);
        uint64_t pause;

        if (next >= host->armed_usec)
                return;

        pause = next > host->now ? next - host->now : 0;
        (void)event_add(host->on_timer, &(struct timeval){ .tv_sec = (time_t)(pause / USEC_PER_SEC),
                                                .tv_usec = (suseconds_t)(pause % USEC_PER_SEC) });
        host->armed_usec = next;
}

static bool has_more(const ExecHost *host) {
        return host->outcomes || host->dead || !TAILQ_EMPTY(&host->dirty) ||
               (!TAILQ_EMPTY(&host->queue) && host->n_at_gate < host->gate_size);
}

void exec_host_enter(ExecHost *host) {
        assert(!host->is_busy);

        host->is_busy = true;
        host->now = instant_now().usec;
}

/* What the core's answers to all this lead to is done in the loop's next round: other events have their turn first. */
void exec_host_leave(ExecHost *host) {
        hand_over_outcomes(host);
        hand_over_dead(host);
        spawn_some(host);
        if (host->has_news)
                host->callbacks.on_turn_end(host->callbacks.userdata);
        host->has_news = false;
        flush_dirty(host);
        arm_timer(host);

        host->is_busy = false;
        if (has_more(host))
                exec_host_soon(host);
}

static void on_call_deadline(ExecCall *call) {
        ExecChild *child = call->child;

        if (child->host->is_held) { /* its answer may be there */
                deadline_arm(&child->host->deadlines, &call->deadline, child->host->now + EXEC_HELD_USEC);
                return;
        }
        if (!exec_talk_is_late(child, call->id))
                return;
        call->has_timed_out = true;
        child->host->stats.n_call_timeouts++;
        exec_child_kill_late(child, call->mail->kind == MAIL_CHECKPOINT ? "checkpoint" : "handle",
                child->settings.call_timeout_ms, "call_timeout_ms");
}

/* calls */

static ExecChild *child_of(const ExecHost *host, const Agent *agent) {
        ExecChild *child;

        HASH_FIND_PTR(host->children, &agent, child);
        return child;
}

static void end_at_once(ExecHost *host, Outcome *outcome, int result, const char *why) {
        outcome->result = result;
        outcome->started_usec = outcome->finished_usec = host->now;
        buffer_append_slice(&outcome->reply.output, slice_of(why));
        exec_host_put(host, outcome);
}

/* A message, or a hook, that no process gets to see. */
static void refuse(ExecHost *host, const Mail *mail, Outcome *outcome, ErrorCode code, const char *why) {
        outcome->reply.verdict = BEHAVIOR_LOST;
        outcome->reply.code = code;
        end_at_once(host, outcome, mail->kind == MAIL_CHECKPOINT ? BEHAVIOR_E_REFUSED : 0, why);
}

/* JSON is all that a child can be given back. */
static bool state_is_json(const BehaviorStart *start) {
        return !start->state.data || exec_encoding_of(start->state) == EXEC_JSON;
}

/* In the table, with INIT as its first open call. Returns 0, WIRE_E_INVALID, -ENOMEM. */
static int add_child(ExecHost *host, Mail *mail, Outcome *outcome, WireError *ret_error) {
        ExecChild *child = NULL;
        int r;

        r = exec_child_new(host, mail, &child, ret_error);
        if (r != 0)
                return r;
        if (exec_call_open(child, mail, outcome))
                HASH_ADD_PTR(host->children, agent, child);
        if (!child->hh.tbl) {
                (void)exec_child_free(child);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&host->queue, child, in_queue);
        exec_host_soon(host);
        return 0;
}

static void call_init(ExecHost *host, Mail *mail, Outcome *outcome) {
        WireError error = {};
        int r;

        if (child_of(host, mail->agent)) {
                end_at_once(host, outcome, BEHAVIOR_E_REFUSED, "its process is still there");
        } else if (!state_is_json(&control_of_mail(mail)->start)) {
                end_at_once(host, outcome, BEHAVIOR_E_STATE, "its state is no JSON, so no process has written it");
        } else {
                r = add_child(host, mail, outcome, &error);
                if (r < 0)
                        end_at_once(host, outcome, r, "out of memory");
                else if (r > 0)
                        end_at_once(host, outcome, BEHAVIOR_E_REFUSED, error.text);
        }
}

static void call_stop(ExecHost *host, Mail *mail, Outcome *outcome) {
        ExecChild *child = child_of(host, mail->agent);

        if (!child) {
                end_at_once(host, outcome, 0, "");
                return;
        }
        outcome->started_usec = host->now;
        exec_child_stop(child, mail, outcome);
}

static void respond(ExecAsk *ask, const BehaviorMessage *message) {
        const Slice id = { ask->id, ask->id_size };
        ExecChild *child = ask->child;
        const size_t before = child->out.size;

        if (id.size > 0 && message->code == ERROR_NONE)
                exec_put_result(&child->out, id, message->input);
        else if (id.size > 0)
                exec_put_error(&child->out, id, EXEC_RPC_FAILED, message->code, message->input);
        exec_ask_free(ask);
        if (child->out.size > before || child->out.failed)
                exec_talk_written(child, before);
}

/* The asker may be gone, or may not have wanted to hear. */
static void call_answer(ExecHost *host, Mail *mail, Outcome *outcome) {
        BehaviorMessage message;
        Numbered *found;

        mail_read(mail, &message);
        found = number_index_find(&host->asks, message.token);
        if (found)
                respond(CONTAINER_OF(found, ExecAsk, token), &message);
        outcome->reply.verdict = BEHAVIOR_DONE;
        end_at_once(host, outcome, 0, "");
}

static void put_request(ExecChild *child, ExecCall *call) {
        BehaviorMessage message;

        if (call->mail->kind == MAIL_CHECKPOINT) {
                exec_put_request(&child->out, call->id, "checkpoint");
                return;
        }
        mail_read(call->mail, &message);
        call->kind = message.kind;
        call->message_id = message.id;
        exec_put_handle(&child->out, call->id, &message);
}

/* A message or a checkpoint. A child that is about to be gone is not told of it: the call ends with it. */
static void call_child(ExecHost *host, ExecChild *child, Mail *mail, Outcome *outcome) {
        const size_t before = child->out.size;
        ExecCall *call;

        if (!child->is_initialized) {
                refuse(host, mail, outcome, ERROR_AGENT_CRASHED, "the agent's process is not initialized");
                return;
        }
        call = exec_call_open(child, mail, outcome);
        if (!call) {
                refuse(host, mail, outcome, ERROR_INTERNAL, "out of memory");
                return;
        }
        if (child->state != EXEC_RUNNING && child->state != EXEC_STOPPING)
                return;

        put_request(child, call);
        deadline_arm_in_line(
                &host->deadlines, &call->deadline, host->now + child->settings.call_timeout_ms * USEC_PER_MSEC);
        exec_talk_written(child, before);
}

static void call(ExecHost *host, Mail *mail, Outcome *outcome) {
        ExecChild *child = child_of(host, mail->agent);

        if (!child)
                refuse(host, mail, outcome, ERROR_AGENT_CRASHED, "the agent's process is gone");
        else if (mail->kind == MAIL_CHECKPOINT && child->is_checkpointless)
                end_at_once(host, outcome, 0, "null");
        else
                call_child(host, child, mail, outcome);
}

/* Each call has an outcome: while there is no memory even for that, it waits. */
static void starve(ExecHost *host, Mail *mail) {
        mail->next = NULL;
        *host->starved_end = mail;
        host->starved_end = &mail->next;
        deadline_arm(&host->deadlines, &host->starved_retry, host->now + STARVED_RETRY_USEC);
        exec_host_soon(host); /* for the timer */
}

void exec_host_call(ExecHost *host, Mail *mail) {
        Outcome *outcome;

        assert(host->base);

        if (!host->is_busy)
                host->now = instant_now().usec;
        outcome = mail_outcome(mail);
        if (!outcome) {
                starve(host, mail);
                return;
        }

        host->stats.n_calls++;
        switch ((MailKind)mail->kind) {
        case MAIL_INIT:
                call_init(host, mail, outcome);
                return;
        case MAIL_STOP:
                call_stop(host, mail, outcome);
                return;
        case MAIL_ANSWER:
                call_answer(host, mail, outcome);
                return;
        default:
                call(host, mail, outcome);
        }
}

static void retry_starved(ExecHost *host) {
        Mail *mail = host->starved, *next;

        host->starved = NULL;
        host->starved_end = &host->starved;
        for (; mail; mail = next) {
                next = mail->next;
                exec_host_call(host, mail);
        }
}

/* events */

static void on_timer_event(evutil_socket_t fd, short what, void *userdata) {
        ExecHost *host = userdata;
        Deadline *due;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        host->armed_usec = USEC_NEVER;
        while ((due = deadline_queue_pop(&host->deadlines, host->now)))
                switch ((ExecDeadline)due->kind) {
                case EXEC_DEADLINE_CHILD:
                        exec_child_on_deadline(CONTAINER_OF(due, ExecChild, deadline));
                        break;
                case EXEC_DEADLINE_GATE:
                        exec_child_leave_gate(CONTAINER_OF(due, ExecChild, gate));
                        break;
                case EXEC_DEADLINE_CALL:
                        on_call_deadline(CONTAINER_OF(due, ExecCall, deadline));
                        break;
                case EXEC_DEADLINE_STARVED:
                        retry_starved(host);
                        break;
                }
        exec_host_leave(host);
}

static void on_soon_event(evutil_socket_t fd, short what, void *userdata) {
        (void)fd;
        (void)what;

        exec_host_enter(userdata);
        exec_host_leave(userdata);
}

static void on_spawned_event(evutil_socket_t fd, short what, void *userdata) {
        ExecHost *host = userdata;
        ExecJob *job, *next;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        for (job = exec_spawner_take(host->spawner); job; job = next) {
                next = job->next;
                exec_child_spawned(CONTAINER_OF(job, ExecChild, job));
        }
        exec_host_leave(host);
}

/* The warden has nothing more to say: this is its end. Children that run are still killed with us, by the kernel, but
 * not what they have started. */
static void on_warden_event(evutil_socket_t fd, short what, void *userdata) {
        ExecHost *host = userdata;

        (void)what;

        (void)event_del(host->on_warden);
        exec_warden_end(fd, host->warden_pid);
        host->warden_fd = -1;
        diag_exec_warden_lost();
}

/* construction */

static int check_settings(const BehaviorStart *start, WireError *ret_error) {
        ExecSettings settings = {};
        int r;

        r = exec_settings_read(start->settings, &settings, ret_error);
        if (r == 0)
                exec_settings_done(&settings);
        return r;
}

/* Not the host's: definitions refer to it until the core is gone, and that goes later than the host. */
static const Behavior behavior = {
        .type = "exec",
        .help = "a child process that speaks JSON-RPC on its stdin and stdout",
        .is_remote = true,
        .is_durable = true,
        .trusted = true, /* each line is parsed before anything in it is used */
        .check = check_settings,
};

static int make_events(ExecHost *host) {
        host->on_timer = event_new(host->base, -1, 0, on_timer_event, host);
        host->on_soon = event_new(host->base, -1, 0, on_soon_event, host);
        host->on_warden = event_new(host->base, host->warden_fd, EV_READ, on_warden_event, host);
        host->on_spawned =
                event_new(host->base, exec_spawner_fd(host->spawner), EV_READ | EV_PERSIST, on_spawned_event, host);
        if (!host->on_timer || !host->on_soon || !host->on_warden || !host->on_spawned ||
                event_add(host->on_warden, NULL) < 0 || event_add(host->on_spawned, NULL) < 0)
                return -ENOMEM;
        return 0;
}

int exec_host_new(struct event_base *base, int warden_fd, const ExecHostCallbacks *callbacks, ExecHost **ret) {
        _cleanup_(exec_host_freep) ExecHost *host = calloc(1, sizeof(*host));
        int r;

        assert(callbacks->on_outcome && callbacks->on_effects && callbacks->on_crash && callbacks->on_turn_end);

        if (!host)
                return -ENOMEM;
        host->base = base;
        host->warden_fd = warden_fd;
        host->callbacks = *callbacks;
        host->armed_usec = USEC_NEVER;
        host->gate_size = (size_t)MAX_OF(GATE_PER_PROCESSOR * sysconf(_SC_NPROCESSORS_ONLN), (long)GATE_MIN);
        TAILQ_INIT(&host->queue);
        TAILQ_INIT(&host->dirty);
        host->outcomes_end = &host->outcomes;
        host->starved_end = &host->starved;
        deadline_queue_init(&host->deadlines);
        deadline_init(&host->starved_retry, EXEC_DEADLINE_STARVED);
        number_index_init(&host->asks);

        if (base) {
                r = exec_spawner_new(&host->spawner);
                if (r == 0)
                        r = make_events(host);
                if (r < 0) {
                        host->warden_fd = -1; /* still the caller's */
                        return r;
                }
        }

        if (base)
                host->warden_pid = exec_warden_pid(warden_fd);
        *ret = TAKE_PTR(host);
        return 0;
}

static void free_outcome(Outcome *outcome) {
        if (outcome && !outcome->is_embedded)
                (void)outcome_free(outcome);
}

static void free_outcomes(ExecChild *child) {
        ExecCall *call;

        TAILQ_FOREACH(call, &child->calls, link)
        free_outcome(call->outcome);
        free_outcome(child->stop_outcome);
}

/* All are killed before the first is waited for. */
static void kill_all(ExecHost *host) {
        ExecChild *child, *tmp;

        host->spawner = exec_spawner_free(host->spawner);
        HASH_ITER(hh, host->children, child, tmp) {
                if (child->state == EXEC_SPAWNING)
                        child->process = child->job.process; /* what came of it is of no matter any more */
                if (child->process.pid > 0)
                        (void)kill(-child->process.pid, SIGKILL);
        }
        HASH_ITER(hh, host->children, child, tmp) {
                HASH_DEL(host->children, child);
                if (child->process.pid > 0) {
                        (void)exec_warden_remove(host->warden_fd, child->process.pid);
                        (void)waitpid(child->process.pid, NULL, 0);
                }
                free_outcomes(child);
                (void)exec_child_free(child);
        }
}

ExecHost *exec_host_free(ExecHost *host) {
        Outcome *next;

        if (!host)
                return NULL;

        host->is_busy = true; /* nothing is to be done soon any more */
        kill_all(host);
        for (ExecChild *child = host->dead; child; child = host->dead) {
                host->dead = child->next_dead;
                (void)exec_child_free(child);
        }
        for (Outcome *outcome = host->outcomes; outcome; outcome = next) {
                next = outcome->next;
                free_outcome(outcome);
        }
        if (host->on_warden)
                event_free(host->on_warden);
        if (host->on_spawned)
                event_free(host->on_spawned);
        if (host->on_timer)
                event_free(host->on_timer);
        if (host->on_soon)
                event_free(host->on_soon);
        if (host->warden_fd >= 0)
                exec_warden_end(host->warden_fd, host->warden_pid);
        number_index_done(&host->asks);
        arena_clear(&host->arena);
        free(host);
        return NULL;
}

const Behavior *exec_host_behavior(const ExecHost *host) {
        (void)host;
        return &behavior;
}

void exec_host_hold(ExecHost *host, bool is_held) {
        ExecChild *child, *tmp;

        if (host->is_held == is_held)
                return;
        host->is_held = is_held;
        HASH_ITER(hh, host->children, child, tmp)
        exec_child_listen(child);
}

void exec_host_stats(const ExecHost *host, ExecHostStats *ret) {
        *ret = host->stats;
}
