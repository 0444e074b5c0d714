/* SPDX-License-Identifier: MIT */

/*
 * What is written is gathered in the child's buffer and goes out once per loop turn, in one system call for all the
 * messages of that turn; what is read comes in chunks, each parsed where it lies. Only a line that a chunk cuts in two
 * is copied.
 *
 * What a child wants goes to the core at once, its answers to messages at the end of the event: so whatever it asked
 * for while it handled a message reaches the core before the end of that message.
 *
 * A child that says something that is not of the protocol is killed, and nothing else of what it has said is read.
 *
 * Ids of requests to it count from 1, and are found again in a table as large as a power of two, at their lowest bits;
 * one whose place is taken by an older, still open one is passed over. So a table of twice as many places as there
 * are open requests finds each with one look.
 */

#include <stdio.h>
#include <unistd.h>

#include "proto/json.h"
#include "runtimed/diag.h"
#include "runtimed/diag_exec.h"
#include "runtimed/exec_child.h"

#define SLOTS_MIN 8
#define READS_PER_EVENT 4                    /* chunks: then it is another child's turn */
#define READS_AT_END 1024                    /* of what an ended process has left in its pipe */
#define PENDING_BYTES_MAX (16 * 1024 * 1024) /* towards a child that does not read its stdin */
#define KEPT_BYTES_MAX (256 * 1024)          /* buffers that grew over that are not kept */

/* calls */

static bool slots_double(ExecChild *child) {
        const size_t n = child->n_slots > 0 ? child->n_slots * 2 : SLOTS_MIN;
        ExecCall **slots = calloc(n, sizeof(*slots));
        ExecCall *call;

        if (!slots)
                return false;
        TAILQ_FOREACH(call, &child->calls, link)
        slots[call->id & (n - 1)] = call;
        free(child->slots);
        child->slots = slots;
        child->n_slots = n;
        return true;
}

static ExecCall *call_find(const ExecChild *child, uint64_t id) {
        ExecCall *call = child->n_slots > 0 ? child->slots[id & (child->n_slots - 1)] : NULL;

        return call && call->id == id ? call : NULL;
}

ExecCall *exec_call_open(ExecChild *child, Mail *mail, Outcome *outcome) {
        ExecCall *call;

        if (child->n_calls * 2 >= child->n_slots && !slots_double(child))
                return NULL;
        call = calloc(1, sizeof(*call));
        if (!call)
                return NULL;

        do
                call->id = ++child->sequence;
        while (child->slots[call->id & (child->n_slots - 1)]);

        call->child = child;
        call->mail = mail;
        call->outcome = outcome;
        if (outcome)
                outcome->started_usec = child->host->now;
        deadline_init(&call->deadline, EXEC_DEADLINE_CALL);
        child->slots[call->id & (child->n_slots - 1)] = call;
        TAILQ_INSERT_TAIL(&child->calls, call, link);
        child->n_calls++;
        return call;
}

void exec_call_drop(ExecCall *call) {
        ExecChild *child = call->child;

        deadline_disarm(&child->host->deadlines, &call->deadline);
        child->slots[call->id & (child->n_slots - 1)] = NULL;
        TAILQ_REMOVE(&child->calls, call, link);
        child->n_calls--;
        free(call);
}

static void call_end(ExecCall *call, Slice output) {
        Outcome *outcome = call->outcome;
        ExecHost *host = call->child->host;

        exec_call_drop(call);
        if (!outcome)
                return;
        buffer_append_slice(&outcome->reply.output, output);
        outcome->finished_usec = host->now;
        exec_host_put(host, outcome);
}

void exec_call_reply(ExecCall *call, BehaviorVerdict verdict, ErrorCode code, Slice output) {
        if (call->outcome) {
                call->outcome->reply.verdict = verdict;
                call->outcome->reply.code = code;
        }
        call_end(call, output);
}

void exec_call_result(ExecCall *call, int result, Slice output) {
        if (call->outcome)
                call->outcome->result = result;
        call_end(call, output);
}

/* The message that a wish belongs to when it does not say: the only one that is open. */
static const ExecCall *only_message(const ExecChild *child) {
        const ExecCall *found = NULL, *call;

        TAILQ_FOREACH(call, &child->calls, link) {
                if (call->kind == MESSAGE_NONE)
                        continue;
                if (found)
                        return NULL;
                found = call;
        }
        return found;
}

/* to the child */

void exec_talk_written(ExecChild *child, size_t n_before) {
        ExecHost *host = child->host;
        const size_t n_pending = child->out.size - child->n_written;

        if (child->out.failed) {
                exec_child_kill(child, "could not be told anything more: out of memory");
                return;
        }
        /* one message alone, however large, is no sign of anything */
        if (n_before > child->n_written && n_pending > PENDING_BYTES_MAX) {
                exec_child_kill(child, "did not read its stdin: %zu bytes were waiting", n_pending);
                return;
        }
        if (!child->is_dirty) {
                child->is_dirty = true;
                TAILQ_INSERT_TAIL(&host->dirty, child, in_dirty);
        }
        exec_host_soon(host);
}

static void close_stdin(ExecChild *child) {
        (void)event_del(child->on_writable);
        (void)close(child->process.in);
        child->process.in = -1;
}

static void all_written(ExecChild *child) {
        child->n_written = 0;
        if (child->out.capacity > KEPT_BYTES_MAX)
                buffer_done(&child->out);
        else
                buffer_clear(&child->out);
        if (child->closes_in)
                close_stdin(child);
}

void exec_talk_flush(ExecChild *child) {
        if (child->process.in < 0) { /* nobody reads that any more */
                child->n_written = child->out.size;
                return;
        }

        while (child->n_written < child->out.size) {
                const ssize_t n = write(
                        child->process.in, child->out.data + child->n_written, child->out.size - child->n_written);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        (void)event_add(child->on_writable, NULL);
                        return;
                }
                if (n < 0) {
                        close_stdin(child);
                        exec_child_closed(child, "stdin");
                        return;
                }
                child->n_written += (size_t)n;
        }
        all_written(child);
}

static void answer(ExecChild *child, Slice id, int rpc_code, const char *why) {
        const size_t before = child->out.size;

        exec_put_error(&child->out, id, rpc_code,
                rpc_code == EXEC_RPC_INVALID_PARAMS ? ERROR_INVALID_MESSAGE : ERROR_NONE, slice_of(why));
        exec_talk_written(child, before);
}

/* from the child: what it wants */

void exec_ask_free(ExecAsk *ask) {
        ExecChild *child = ask->child;

        number_index_remove(&child->host->asks, &ask->token);
        TAILQ_REMOVE(&child->asks, ask, link);
        child->n_asks--;
        free(ask);
}

static ExecAsk *ask_new(ExecChild *child, Slice id) {
        ExecAsk *ask = malloc(sizeof(*ask));

        assert(id.size <= EXEC_ID_MAX);

        if (!ask)
                return NULL;
        ask->child = child;
        ask->id_size = (uint8_t)id.size;
        if (id.data && id.size > 0)
                memcpy(ask->id, id.data, id.size);
        if (number_index_add(&child->host->asks, &ask->token) < 0) {
                free(ask);
                return NULL;
        }
        TAILQ_INSERT_TAIL(&child->asks, ask, link);
        child->n_asks++;
        return ask;
}

static void refuse_wish(ExecChild *child, const ExecLine *line, int rpc_code, const char *why) {
        if (line->id.data)
                answer(child, line->id, rpc_code, why);
        else
                diag_exec_wish_refused(id_slice(&child->agent_id), line->method, why);
}

/* The message it belongs to, 0 for none. Returns false when it names one that is not open. */
static bool wish_message(const ExecChild *child, const ExecWish *wish, uint64_t *ret) {
        const ExecCall *call = wish->message_id > 0 ? call_find(child, wish->message_id) : only_message(child);

        *ret = call ? call->message_id : 0;
        return wish->message_id == 0 || (call && call->kind != MESSAGE_NONE);
}

/*
 * What the core answers in any case counts as open until it has, though nobody may wait for it: answers to a child that
 * asks faster than its agent may be given them (because it is paused, say) would pile up for ever. Returns false when
 * memory is out or it has too many open; a request too many is the child's end.
 */
static bool give_token(ExecChild *child, const ExecLine *line, const ExecWish *wish, Effect *effect) {
        ExecAsk *ask;

        effect->token = 0; /* nobody's */
        if (!line->id.data && !wish->is_awaited)
                return true;
        if (child->n_asks == EFFECTS_MAX && !line->id.data) {
                refuse_wish(child, line, 0, "too many requests are open");
                return false;
        }
        if (child->n_asks == EFFECTS_MAX) {
                exec_child_kill(child, "had more than %d requests open", EFFECTS_MAX);
                return false;
        }
        ask = ask_new(child, line->id);
        if (!ask) {
                exec_child_kill(child, "made a request for which there was no memory");
                return false;
        }
        effect->token = ask->token.number;
        return true;
}

static void grant_wish(ExecChild *child, const ExecLine *line, const ExecWish *wish, EffectList *effects) {
        const ExecHostCallbacks *callbacks = &child->host->callbacks;
        size_t before;
        uint64_t message_id;

        if (!wish_message(child, wish, &message_id)) {
                refuse_wish(child, line, EXEC_RPC_INVALID_PARAMS, "message_id is that of no message that is open");
                return;
        }
        if (wish->is_answered && !give_token(child, line, wish, effects->first))
                return;

        child->host->has_news = true;
        callbacks->on_effects(child->agent, message_id, effects, callbacks->userdata);
        if (!wish->is_answered && line->id.data) {
                before = child->out.size;
                exec_put_result(&child->out, line->id, SLICE_NONE);
                exec_talk_written(child, before);
        }
}

static void on_wish(ExecChild *child, const ExecLine *line) {
        EffectList effects = {};
        WireError error = {};
        ExecWish wish = {};

        switch (exec_wish_read(line, &effects, &wish, &error)) {
        case 0:
                grant_wish(child, line, &wish, &effects);
                break;
        case WIRE_E_INVALID:
                refuse_wish(child, line, EXEC_RPC_INVALID_PARAMS, error.text);
                break;
        case EXEC_WISH_E_METHOD:
                (void)wire_error(&error, "there is no method \"%.*s\"", (int)MIN_OF(line->method.size, (size_t)64),
                        line->method.data);
                refuse_wish(child, line, EXEC_RPC_METHOD_NOT_FOUND, error.text);
                break;
        default:
                exec_child_kill(child, "wanted something for which there was no memory");
        }
        effects_clear(&effects);
}

/* from the child: its answers */

static void on_output(ExecCall *call, const ExecLine *line) {
        WireError error = {};
        Slice output;
        int r;

        if (line->is_error) {
                exec_call_reply(call, BEHAVIOR_ERROR, line->code, line->message);
                return;
        }
        r = exec_output_read(line, call->kind, &call->child->host->arena, &output, &error);
        if (r == 0)
                exec_call_reply(call, BEHAVIOR_DONE, ERROR_NONE, output);
        else
                exec_call_reply(
                        call, BEHAVIOR_ERROR, ERROR_INTERNAL, r < 0 ? SLICE("out of memory") : slice_of(error.text));
}

static void on_state(ExecCall *call, const ExecLine *line) {
        WireError error = {};
        Slice state;
        int r;

        if (line->is_error && line->rpc_code == EXEC_RPC_METHOD_NOT_FOUND) {
                call->child->is_checkpointless = true;
                exec_call_result(call, 0, SLICE("null"));
                return;
        }
        if (line->is_error) {
                exec_call_result(call, BEHAVIOR_E_REFUSED, line->message);
                return;
        }
        r = exec_state_read(line, &call->child->host->arena, &state, &error);
        if (r == 0)
                exec_call_result(call, 0, state);
        else
                exec_call_result(call, r < 0 ? r : BEHAVIOR_E_REFUSED, slice_of(error.text));
}

static void on_shutdown_answer(ExecCall *call) {
        ExecChild *child = call->child;

        exec_call_drop(call);
        child->closes_in = true;
        exec_talk_written(child, 0);
}

static void on_response(ExecChild *child, const ExecLine *line) {
        ExecCall *call = call_find(child, line->response_to);

        if (!call)
                exec_child_kill(
                        child, "answered request %llu, which is not open", (unsigned long long)line->response_to);
        else if (!call->mail)
                on_shutdown_answer(call);
        else if (call->mail->kind == MAIL_INIT)
                exec_child_initialized(child, call, line);
        else if (call->mail->kind == MAIL_CHECKPOINT)
                on_state(call, line);
        else
                on_output(call, line);
}

/* from the child: lines */

static bool is_blank(Slice line) {
        for (size_t i = 0; i < line.size; i++)
                if (!json_is_space(line.data[i]))
                        return false;
        return true;
}

static void on_line(ExecChild *child, Slice line) {
        ExecHost *host = child->host;
        WireError error = {};
        ExecLine read = {};
        int r;

        if (is_blank(line))
                return;

        r = line.size <= child->settings.max_line_bytes
                    ? exec_line_read(line, &host->arena, &read, &error)
                    : wire_error(&error, "it has %zu bytes, the limit is max_line_bytes, %llu", line.size,
                              (unsigned long long)child->settings.max_line_bytes);
        if (r == 0 && read.method.data)
                on_wish(child, &read);
        else if (r == 0)
                on_response(child, &read);
        else if (r < 0)
                exec_child_kill(child, "wrote a line for which there was no memory");
        else
                exec_child_kill(child, "wrote a line that is not of the protocol: \"%.*s%s\" (%s)",
                        (int)MIN_OF(line.size, (size_t)EXEC_SHOWN_MAX), line.data,
                        line.size > EXEC_SHOWN_MAX ? "..." : "", error.text);
        arena_reset(&host->arena);
}

static bool is_listened_to(const ExecChild *child) {
        return child->state != EXEC_KILLED && child->state != EXEC_GONE;
}

/* Handles the whole lines; line ends before `from` are known not to be there. Returns how many bytes that took. */
static size_t take_lines(ExecChild *child, Slice text, size_t from) {
        size_t done = 0;

        while (is_listened_to(child)) {
                const char *end = memchr(text.data + from, '\n', text.size - from);

                if (!end)
                        break;
                from = (size_t)(end - text.data) + 1;
                on_line(child, (Slice){ text.data + done, from - done - 1 });
                done = from;
        }
        return done;
}

/* Drops what is done from the beginning of a line that is kept; what is left is not to grow for ever. */
static void drop_lines(ExecChild *child, size_t done) {
        Buffer *in = &child->in;

        if (in->failed)
                exec_child_kill(child, "wrote a line for which there was no memory");
        if (!is_listened_to(child) || (done == in->size && in->capacity > KEPT_BYTES_MAX)) {
                buffer_done(in);
                return;
        }
        if (done > 0) {
                memmove(in->data, in->data + done, in->size - done);
                in->size -= done;
        }
        if (in->size > child->settings.max_line_bytes)
                exec_child_kill(child, "wrote a line of more than %llu bytes (max_line_bytes)",
                        (unsigned long long)child->settings.max_line_bytes);
}

static void on_chunk(ExecChild *child, Slice chunk) {
        const size_t before = child->in.size;
        size_t done = 0;

        if (before == 0)
                chunk = slice_after(chunk, take_lines(child, chunk, 0));
        buffer_append_slice(&child->in, chunk);
        if (before > 0 && !child->in.failed)
                done = take_lines(child, buffer_slice(&child->in), before);
        drop_lines(child, done);
}

void exec_talk_read_output(ExecChild *child, bool all) {
        ExecHost *host = child->host;

        for (int i = 0; i < (all ? READS_AT_END : READS_PER_EVENT) && child->process.out >= 0; i++) {
                const ssize_t n = read(child->process.out, host->chunk, sizeof(host->chunk));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return;
                if (n == 0) {
                        (void)event_del(child->on_output);
                        (void)close(child->process.out);
                        child->process.out = -1;
                        exec_child_closed(child, "stdout");
                        return;
                }
                on_chunk(child, (Slice){ host->chunk, (size_t)n });
                if (!is_listened_to(child) || (!all && (size_t)n < sizeof(host->chunk)))
                        return;
        }
}

/* When this process stood still, what the child has said in time is still in the pipe. */
bool exec_talk_is_late(ExecChild *child, uint64_t id) {
        exec_talk_read_output(child, /* all= */ false);
        return is_listened_to(child) && call_find(child, id);
}

/* from the child: its stderr */

/* What it says belongs to the message that it handles, if that is one: a traceback is found by its execution. */
static void end_words(ExecChild *child) {
        const Slice line = { child->words, child->n_words };
        const ExecCall *call = only_message(child);
        BehaviorMessage message = {};

        child->n_words = 0;
        if (is_blank(line))
                return;

        (void)snprintf(child->last_words, sizeof(child->last_words), "%.*s", SLICE_ARG(line));
        if (call && call->mail)
                mail_read(call->mail, &message);
        diag_agent_says(
                &(AgentWords){
                        .agent_id = id_slice(&child->agent_id),
                        .exec_id = message.exec_id,
                        .correlation_id = message.envelope ? message.envelope->correlation_id : SLICE_NONE,
                        .sentence = line,
                        .pid = (uint64_t)child->process.pid,
                        .level = LOG_INFO,
                        .is_cut = child->is_cut,
                },
                &child->stderr_limit);
}

/* A line longer than there is room for is written as far as it goes, and its rest is skipped. */
static void on_words(ExecChild *child, Slice chunk) {
        while (chunk.size > 0) {
                const char *end = memchr(chunk.data, '\n', chunk.size);
                const size_t size = end ? (size_t)(end - chunk.data) : chunk.size;
                const size_t room = sizeof(child->words) - child->n_words;

                memcpy(child->words + child->n_words, chunk.data, MIN_OF(size, room));
                child->n_words += MIN_OF(size, room);
                child->is_cut = child->is_cut || size > room;
                if (end) {
                        end_words(child);
                        child->is_cut = false;
                }
                chunk = slice_after(chunk, size + (end != NULL));
        }
}

void exec_talk_read_stderr(ExecChild *child, bool all) {
        ExecHost *host = child->host;

        for (int i = 0; i < (all ? READS_AT_END : 1) && child->process.err >= 0; i++) {
                const ssize_t n = read(child->process.err, host->chunk, sizeof(host->chunk));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return;
                if (n == 0) {
                        (void)event_del(child->on_stderr);
                        (void)close(child->process.err);
                        child->process.err = -1;
                        return;
                }
                on_words(child, (Slice){ host->chunk, (size_t)n });
        }
}

void exec_talk_end_stderr(ExecChild *child) {
        if (child->n_words > 0)
                end_words(child);
        log_limit_done(&child->stderr_limit);
}
