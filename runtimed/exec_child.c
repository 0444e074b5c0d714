/* SPDX-License-Identifier: MIT */

/*
 * One child from INIT to its end. However that comes about, it is the descriptor of the process that tells, and
 * on_exit() that draws the conclusions, all of them at once: what is still in the pipes is read, the group is killed
 * (nothing that the child has started outlives it), the process is reaped, and everything that waited for it has its
 * outcome. So there is never a moment in which the core could believe that an agent runs whose process has ended, or
 * start it anew while the old one is there.
 *
 * When a child closes its stdin or stdout, it is most likely about to exit, and how it does says more than the closed
 * pipe: it gets a moment.
 *
 * Stopping: shutdown is asked for; with the answer, or after half of the time, stdin ends, which is what a simple
 * filter understands; after all of the time SIGTERM, and a moment later SIGKILL, both to the whole group.
 */

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtimed/diag_exec.h"
#include "runtimed/exec_child.h"
#include "runtimed/exec_payload.h"
#include "runtimed/exec_warden.h"

#define LEAVE_USEC USEC_PER_SEC /* from a closed pipe to the exit */
#define TERM_USEC USEC_PER_SEC  /* from SIGTERM to SIGKILL */

/* construction */

int exec_child_new(ExecHost *host, Mail *mail, ExecChild **ret, WireError *ret_error) {
        const BehaviorStart *start = &control_of_mail(mail)->start;
        ExecChild *child = calloc(1, sizeof(*child));
        int r;

        if (!child)
                return -ENOMEM;
        r = exec_settings_read(start->settings, &child->settings, ret_error);
        if (r != 0) {
                free(child);
                return r;
        }

        child->host = host;
        child->agent = mail->agent;
        child->agent_id = id_of(start->agent_id);
        child->process = EXEC_PROCESS_NONE;
        TAILQ_INIT(&child->calls);
        TAILQ_INIT(&child->asks);
        deadline_init(&child->deadline, EXEC_DEADLINE_CHILD);
        deadline_init(&child->gate, EXEC_DEADLINE_GATE);
        *ret = child;
        return 0;
}

static void free_events(ExecChild *child) {
        struct event **const events[] = { &child->on_exit, &child->on_output, &child->on_stderr, &child->on_writable };

        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                if (*events[i])
                        event_free(*events[i]);
                *events[i] = NULL;
        }
}

ExecChild *exec_child_free(ExecChild *child) {
        if (!child)
                return NULL;

        exec_child_leave_gate(child);
        deadline_disarm(&child->host->deadlines, &child->deadline);
        if (child->is_dirty)
                TAILQ_REMOVE(&child->host->dirty, child, in_dirty);
        while (!TAILQ_EMPTY(&child->calls))
                exec_call_drop(TAILQ_FIRST(&child->calls));
        while (!TAILQ_EMPTY(&child->asks))
                exec_ask_free(TAILQ_FIRST(&child->asks));
        free_events(child);
        exec_process_close(&child->process);
        free(child->slots);
        buffer_done(&child->in);
        buffer_done(&child->out);
        exec_settings_done(&child->settings);
        free(child);
        return NULL;
}

/* Starting many at once is bounded by the host; this one counts no longer. */
void exec_child_leave_gate(ExecChild *child) {
        deadline_disarm(&child->host->deadlines, &child->gate);
        if (!child->holds_gate)
                return;
        child->holds_gate = false;
        child->host->n_at_gate--;
        exec_host_soon(child->host);
}

/* its end */

static void end_call(ExecCall *call, const char *why) {
        char sentence[sizeof(WireError) + 32];

        (void)snprintf(sentence, sizeof(sentence), "the agent's process %s", why);
        switch ((MailKind)(call->mail ? call->mail->kind : MAIL_STOP)) {
        case MAIL_INIT:
        case MAIL_CHECKPOINT: /* an INIT may know better */
                exec_call_result(call, call->outcome->result != 0 ? call->outcome->result : BEHAVIOR_E_REFUSED,
                        slice_of(sentence));
                return;
        case MAIL_STOP:
                exec_call_drop(call);
                return;
        default:
                exec_call_reply(call, BEHAVIOR_LOST, call->has_timed_out ? ERROR_TIMEOUT : ERROR_AGENT_CRASHED,
                        slice_of(sentence));
        }
}

/* It is forgotten before anybody hears of it: the answer to the news may be to start it again. */
static void forget(ExecChild *child) {
        ExecHost *host = child->host;

        HASH_DEL(host->children, child);
        child->state = EXEC_GONE;
        exec_child_leave_gate(child);
        deadline_disarm(&host->deadlines, &child->deadline);
        while (!TAILQ_EMPTY(&child->calls))
                end_call(TAILQ_FIRST(&child->calls), child->why.text);
        if (child->stop) {
                child->stop_outcome->finished_usec = host->now;
                exec_host_put(host, child->stop_outcome);
        }
        child->next_dead = host->dead;
        host->dead = child;
        exec_host_soon(host);
}

static void say_how(ExecChild *child, int status) {
        const bool has_words = child->last_words[0] != '\0';
        char how[80];

        if (child->state == EXEC_KILLED) /* that is known already */
                return;
        if (WIFSIGNALED(status))
                (void)snprintf(how, sizeof(how), "was killed by signal %d (%s)", WTERMSIG(status),
                        strsignal(WTERMSIG(status)));
        else
                (void)snprintf(how, sizeof(how), "exited with status %d%s", WEXITSTATUS(status),
                        child->state == EXEC_STARTING ? " before it was initialized" : "");
        (void)wire_error(&child->why, "%s%s%s%s", how, has_words ? "; its last words on stderr were \"" : "",
                child->last_words, has_words ? "\"" : "");
}

static void on_exit_event(evutil_socket_t fd, short what, void *userdata) {
        ExecChild *child = userdata;
        ExecHost *host = child->host;
        const pid_t pid = child->process.pid;
        const Slice id = id_slice(&child->agent_id);
        int status = 0;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        /* while it is not reaped, the group's number is its own */
        (void)kill(-pid, SIGKILL);
        if (child->state != EXEC_KILLED)
                exec_talk_read_output(child, /* all= */ true);
        exec_talk_read_stderr(child, /* all= */ true);
        exec_talk_end_stderr(child);
        (void)exec_warden_remove(host->warden_fd, pid);
        (void)waitpid(pid, &status, 0);

        say_how(child, status);
        free_events(child);
        host->stats.n_children--;
        if (child->is_initialized && !child->stop)
                host->stats.n_crashed++;
        diag_exec_ended(id, (uint64_t)pid, child->why.text);
        forget(child);
        exec_host_leave(host);
}

void exec_child_kill(ExecChild *child, const char *format, ...) {
        char why[sizeof(WireError)];
        va_list args;

        if (child->state == EXEC_KILLED || child->state == EXEC_GONE)
                return;

        assert(child->process.pid > 0);

        va_start(args, format);
        (void)vsnprintf(why, sizeof(why), format, args);
        va_end(args);
        (void)wire_error(&child->why, "%s", why);

        (void)kill(-child->process.pid, SIGKILL);
        (void)event_del(child->on_output);
        (void)event_del(child->on_writable);
        deadline_disarm(&child->host->deadlines, &child->deadline);
        child->state = EXEC_KILLED;
}

/* What it has begun to say is most likely the answer, by somebody who does not know that a line has to end. */
void exec_child_kill_late(ExecChild *child, const char *what, uint64_t timeout_ms, const char *key) {
        const Slice begun = buffer_slice(&child->in);

        exec_child_kill(child, "did not answer %s within %llu ms (%s)%s%.*s%s", what, (unsigned long long)timeout_ms,
                key, begun.size > 0 ? "; it has begun a line that has no end: \"" : "",
                (int)MIN_OF(begun.size, (size_t)EXEC_SHOWN_MAX), begun.size > 0 ? begun.data : "",
                begun.size > EXEC_SHOWN_MAX ? "...\""
                : begun.size > 0            ? "\""
                                            : "");
}

void exec_child_closed(ExecChild *child, const char *what) {
        if (child->state != EXEC_RUNNING && child->state != EXEC_STARTING)
                return;
        if (child->state == EXEC_STARTING) /* its deadline stands */
                return;

        child->state = EXEC_LEAVING;
        (void)wire_error(&child->why, "closed its %s and did not exit", what);
        deadline_arm(&child->host->deadlines, &child->deadline, child->host->now + LEAVE_USEC);
}

/* its beginning */

static void on_output_event(evutil_socket_t fd, short what, void *userdata) {
        ExecChild *child = userdata;
        ExecHost *host = child->host;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        exec_talk_read_output(child, /* all= */ false);
        exec_host_leave(host);
}

static void on_stderr_event(evutil_socket_t fd, short what, void *userdata) {
        ExecChild *child = userdata;
        ExecHost *host = child->host;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        exec_talk_read_stderr(child, /* all= */ false);
        exec_host_leave(host);
}

static void on_writable_event(evutil_socket_t fd, short what, void *userdata) {
        ExecChild *child = userdata;
        ExecHost *host = child->host;

        (void)fd;
        (void)what;

        exec_host_enter(host);
        exec_talk_flush(child);
        exec_host_leave(host);
}

static int listen_to(ExecChild *child) {
        const ExecProcess *process = &child->process;
        struct event_base *base = child->host->base;

        child->on_exit = event_new(base, process->pidfd, EV_READ, on_exit_event, child);
        child->on_output = event_new(base, process->out, EV_READ | EV_PERSIST, on_output_event, child);
        child->on_stderr = event_new(base, process->err, EV_READ | EV_PERSIST, on_stderr_event, child);
        child->on_writable = event_new(base, process->in, EV_WRITE, on_writable_event, child);
        if (!child->on_exit || !child->on_output || !child->on_stderr || !child->on_writable ||
                event_add(child->on_exit, NULL) < 0 || event_add(child->on_output, NULL) < 0 ||
                event_add(child->on_stderr, NULL) < 0)
                return -ENOMEM;
        return 0;
}

void exec_child_listen(ExecChild *child) {
        if (!child->on_output || child->process.out < 0 || child->state == EXEC_KILLED || child->state == EXEC_GONE)
                return;
        if (child->host->is_held && (child->state == EXEC_RUNNING || child->state == EXEC_STARTING))
                (void)event_del(child->on_output);
        else
                (void)event_add(child->on_output, NULL);
}

/* The process can't be watched: away with it, here and now. */
static void undo_spawn(ExecChild *child) {
        (void)kill(-child->process.pid, SIGKILL);
        (void)exec_warden_remove(child->host->warden_fd, child->process.pid);
        (void)waitpid(child->process.pid, NULL, 0);
        free_events(child);
        exec_process_close(&child->process);
}

/* It never was: its INIT fails, and whoever wanted it stopped is told that it is. */
static void fail_start(ExecChild *child, int r, const char *why) {
        ExecCall *call = TAILQ_FIRST(&child->calls);

        exec_call_result(call, r < 0 ? r : BEHAVIOR_E_REFUSED, slice_of(r < 0 ? "out of memory" : why));
        (void)wire_error(&child->why, "%s", why);
        forget(child);
}

void exec_child_spawn(ExecChild *child) {
        ExecHost *host = child->host;
        int r;

        if (host->warden_fd < 0) {
                fail_start(child, BEHAVIOR_E_REFUSED, "the warden that would kill it along with the runtime is gone");
                return;
        }

        child->job = (ExecJob){
                .settings = &child->settings, .agent_id = id_slice(&child->agent_id), .warden_fd = host->warden_fd
        };
        r = exec_spawner_submit(host->spawner, &child->job);
        if (r < 0)
                fail_start(child, BEHAVIOR_E_REFUSED, "there can be no thread to start it");
        else
                child->state = EXEC_SPAWNING;
}

void exec_child_spawned(ExecChild *child) {
        ExecHost *host = child->host;
        ExecCall *call = TAILQ_FIRST(&child->calls); /* INIT: there is no other yet */
        int r = child->job.result;

        child->process = child->job.process;
        if (r == 0) {
                r = listen_to(child);
                if (r < 0)
                        undo_spawn(child);
        }
        if (r != 0) {
                fail_start(child, r, child->job.error.text);
                return;
        }

        host->stats.n_started++;
        host->stats.n_children++;
        child->state = EXEC_STARTING;
        exec_child_listen(child);
        diag_exec_started(id_slice(&child->agent_id), (uint64_t)child->process.pid, child->settings.command[0]);
        if (child->stop) {
                exec_child_kill(child, "was stopped before it was initialized");
                return;
        }
        call->outcome->started_usec = host->now;
        deadline_arm(&host->deadlines, &child->deadline, host->now + child->settings.start_timeout_ms * USEC_PER_MSEC);
        exec_put_initialize(&child->out, call->id, &control_of_mail(call->mail)->start);
        exec_talk_written(child, 0);
}

void exec_child_initialized(ExecChild *child, ExecCall *call, const ExecLine *line) {
        const int r = line->code == ERROR_STATE_ERROR ? BEHAVIOR_E_STATE : BEHAVIOR_E_REFUSED;

        exec_child_leave_gate(child);
        if (line->is_error) {
                exec_child_kill(child, "refused to be initialized: %.*s", (int)MIN_OF(line->message.size, (size_t)200),
                        line->message.data);
                call->outcome->result = r; /* its outcome waits for the end of the process */
                return;
        }

        child->state = EXEC_RUNNING;
        child->is_initialized = true;
        deadline_disarm(&child->host->deadlines, &child->deadline);
        call->outcome->behavior_state = child;
        exec_call_result(call, 0, SLICE(""));
}

/* its stop */

void exec_child_stop(ExecChild *child, Mail *mail, Outcome *outcome) {
        ExecHost *host = child->host;
        ExecCall *call;

        child->stop = mail;
        child->stop_outcome = outcome;
        switch (child->state) {
        case EXEC_QUEUED:
                TAILQ_REMOVE(&host->queue, child, in_queue);
                fail_start(child, BEHAVIOR_E_REFUSED, "it was stopped before it was started");
                return;
        case EXEC_STARTING:
                exec_child_kill(child, "was stopped before it was initialized");
                return;
        case EXEC_RUNNING:
                break;
        default: /* it ends as it is */
                return;
        }

        child->state = EXEC_STOPPING;
        exec_child_listen(child);
        deadline_arm(
                &host->deadlines, &child->deadline, host->now + child->settings.stop_timeout_ms * USEC_PER_MSEC / 2);
        call = exec_call_open(child, NULL, NULL);
        if (call) {
                const size_t before = child->out.size;

                exec_put_request(&child->out, call->id, "shutdown");
                exec_talk_written(child, before);
        }
}

static void force(ExecChild *child, int number, const char *name, uint64_t usec) {
        diag_exec_forced(id_slice(&child->agent_id), (uint64_t)child->process.pid, name,
                child->settings.stop_timeout_ms + (number == SIGKILL ? TERM_USEC / USEC_PER_MSEC : 0));
        (void)kill(-child->process.pid, number);
        deadline_arm(&child->host->deadlines, &child->deadline, usec);
}

static void stop_harder(ExecChild *child) {
        ExecHost *host = child->host;

        switch (child->stop_stage++) {
        case 0:
                child->closes_in = true;
                exec_talk_flush(child);
                deadline_arm(&host->deadlines, &child->deadline,
                        host->now + child->settings.stop_timeout_ms * USEC_PER_MSEC / 2);
                return;
        case 1:
                force(child, SIGTERM, "SIGTERM", host->now + TERM_USEC);
                return;
        default:
                force(child, SIGKILL, "SIGKILL", USEC_NEVER);
        }
}

void exec_child_on_deadline(ExecChild *child) {
        switch (child->state) {
        case EXEC_STARTING:
                if (child->host->is_held)
                        deadline_arm(&child->host->deadlines, &child->deadline, child->host->now + EXEC_HELD_USEC);
                else if (exec_talk_is_late(child, TAILQ_FIRST(&child->calls)->id)) /* INIT: there is no other yet */
                        exec_child_kill_late(child, "initialize", child->settings.start_timeout_ms, "start_timeout_ms");
                return;
        case EXEC_STOPPING:
                stop_harder(child);
                return;
        case EXEC_LEAVING:
                exec_child_kill(child, "%s", child->why.text);
                return;
        default:
                return;
        }
}
