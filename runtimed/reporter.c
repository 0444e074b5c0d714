/* SPDX-License-Identifier: MIT */

/*
 * Each reporter has a body under construction, for what is final (done, refused), and a list of askers with news, for
 * what may still change before the report leaves. Flushing writes the latter behind the former and closes the body.
 */

#include "runtimed/agent.h"
#include "runtimed/reporter.h"

#define ENTRY_BYTES_MAX 256 /* an entry's size at most: an id of 64, names, numbers */
#define TAIL_BYTES_MAX 256

struct Reporter {
        UT_hash_handle hh; /* by subject; in the order of last use, oldest first */
        Reporter *next_dirty;
        bool is_dirty;
        uint32_t n_askers;
        Buffer body;
        size_t n_entries;
        Asker *pending, *pending_last;
        size_t n_pending;
        size_t n_subject;
        char subject[];
};

static void reporter_destroy(Reporter *reporter) {
        buffer_done(&reporter->body);
        free(reporter);
}

void reporters_done(Reporters *reporters) {
        Reporter *reporter, *tmp;

        HASH_ITER(hh, reporters->by_subject, reporter, tmp) {
                HASH_DEL(reporters->by_subject, reporter);
                reporter_destroy(reporter);
        }
        reporters->dirty = reporters->latest = NULL;
}

static bool is_busy(const Reporter *reporter) {
        return reporter->n_askers > 0 || reporter->is_dirty;
}

static bool evict_one(Reporters *reporters) {
        Reporter *reporter, *tmp;

        HASH_ITER(hh, reporters->by_subject, reporter, tmp) {
                if (is_busy(reporter))
                        continue;
                if (reporters->latest == reporter)
                        reporters->latest = NULL;
                HASH_DEL(reporters->by_subject, reporter);
                reporter_destroy(reporter);
                return true;
        }
        return false;
}

static Reporter *reporter_new(Reporters *reporters, Slice report_to) {
        Reporter *reporter;

        if (HASH_COUNT(reporters->by_subject) >= REPORTERS_MAX && !evict_one(reporters))
                return NULL;

        reporter = calloc(1, sizeof(*reporter) + report_to.size);
        if (!reporter)
                return NULL;

        memcpy(reporter->subject, report_to.data, report_to.size);
        reporter->n_subject = report_to.size;
        HASH_ADD_KEYPTR(hh, reporters->by_subject, reporter->subject, reporter->n_subject, reporter);
        if (!reporter->hh.tbl) {
                reporter_destroy(reporter);
                return NULL;
        }
        return reporter;
}

Reporter *reporters_get(Reporters *reporters, Slice report_to) {
        Reporter *reporter = reporters->latest;

        if (reporter && slice_equal((Slice){ reporter->subject, reporter->n_subject }, report_to))
                return reporter;

        HASH_FIND(hh, reporters->by_subject, report_to.data, report_to.size, reporter);
        if (!reporter)
                reporter = reporter_new(reporters, report_to);
        if (reporter)
                reporters->latest = reporter;
        return reporter;
}

static void mark_dirty(Reporters *reporters, Reporter *reporter) {
        if (reporter->is_dirty)
                return;

        reporter->is_dirty = true;
        reporter->next_dirty = reporters->dirty;
        reporters->dirty = reporter;
}

bool reporters_have_news(const Reporters *reporters) {
        return reporters->dirty;
}

static void unlink_pending(Reporter *reporter, Asker *asker) {
        if (!asker->is_pending)
                return;

        if (asker->previous_pending)
                asker->previous_pending->next_pending = asker->next_pending;
        else
                reporter->pending = asker->next_pending;
        if (asker->next_pending)
                asker->next_pending->previous_pending = asker->previous_pending;
        else
                reporter->pending_last = asker->previous_pending;
        asker->is_pending = false;
        reporter->n_pending--;
}

void reporter_hold(Reporter *reporter, Asker *asker) {
        assert(!asker->reporter);

        asker->reporter = reporter;
        reporter->n_askers++;
}

void reporter_release(Asker *asker) {
        if (!asker->reporter)
                return;

        unlink_pending(asker->reporter, asker);
        asker->reporter->n_askers--;
        asker->reporter = NULL;
}

static void note_size(Reporters *reporters, const Reporter *reporter) {
        size_t n = reporter->n_entries + reporter->n_pending;

        if (n >= REPORT_EXECUTIONS_MAX ||
                reporter->body.size + reporter->n_pending * ENTRY_BYTES_MAX + TAIL_BYTES_MAX + ENTRY_BYTES_MAX >=
                        reporters->bytes_max)
                reporters->is_due_now = true;
}

void reporter_note(Reporters *reporters, Asker *asker) {
        Reporter *reporter = asker->reporter;

        if (!reporter || asker->is_pending)
                return;

        asker->is_pending = true;
        asker->next_pending = NULL;
        asker->previous_pending = reporter->pending_last;
        if (reporter->pending_last)
                reporter->pending_last->next_pending = asker;
        else
                reporter->pending = asker;
        reporter->pending_last = asker;
        reporter->n_pending++;

        mark_dirty(reporters, reporter);
        note_size(reporters, reporter);
}

static void begin_body(const Reporters *reporters, Reporter *reporter, Instant now) {
        Report report = { .runtime_id = reporters->runtime_id, .epoch = reporters->epoch };

        if (reporter->n_entries == 0)
                report_encode_head(&reporter->body, &report, now.real_usec);
        reporter->n_entries++;
}

void reporter_add(Reporters *reporters, Reporter *reporter, const ExecutionReport *report, Instant now) {
        begin_body(reporters, reporter, now);
        report_encode_execution(&reporter->body, report);
        reporters->has_outcomes = true;
        mark_dirty(reporters, reporter);
        note_size(reporters, reporter);
}

static unsigned state_of(const Execution *execution) {
        const Run *run = execution->mail.agent->run;

        if (execution->is_started)
                return EXECUTION_STARTED;
        if (execution->phase == PHASE_OUT && run && atomic_load(&run->n_begun) > execution->out_index)
                return EXECUTION_STARTED;
        return EXECUTION_ACCEPTED;
}

static void send(Reporters *reporters, Reporter *reporter, const RuntimeLoad *load) {
        Buffer *out;

        if (reporter->n_entries > 0) {
                report_encode_tail(&reporter->body, load);

                out = outbox_begin(reporters->outbox);
                buffer_append(out, reporter->subject, reporter->n_subject);
                outbox_body(reporters->outbox);
                buffer_append_slice(out, buffer_slice(&reporter->body));
                if (reporter->body.failed)
                        outbox_abort(reporters->outbox);
                else
                        outbox_end(reporters->outbox);

                reporters->n_reports++;
                reporters->n_entries += reporter->n_entries;
        }

        buffer_clear(&reporter->body);
        reporter->n_entries = 0;
}

static void flush_one(Reporters *reporters, Reporter *reporter, const RuntimeLoad *load, Instant now) {
        Asker *asker;

        while ((asker = reporter->pending)) {
                const Execution *execution = asker->execution;
                ExecutionReport report = {
                        .exec_id = id_slice(&execution->id),
                        .attempt = asker->attempt,
                        .ask = asker->ask,
                        .state = state_of(execution),
                };

                unlink_pending(reporter, asker);
                begin_body(reporters, reporter, now);
                report_encode_execution(&reporter->body, &report);
                if (reporter->n_entries >= REPORT_EXECUTIONS_MAX ||
                        reporter->body.size + TAIL_BYTES_MAX + ENTRY_BYTES_MAX >= reporters->bytes_max)
                        send(reporters, reporter, load);
        }

        send(reporters, reporter, load);
}

void reporters_flush(Reporters *reporters, const RuntimeLoad *load, Instant now) {
        Reporter *reporter;

        while ((reporter = reporters->dirty)) {
                reporters->dirty = reporter->next_dirty;
                reporter->next_dirty = NULL;
                reporter->is_dirty = false;
                flush_one(reporters, reporter, load, now);
        }
        reporters->is_due_now = reporters->has_outcomes = false;
}

void reporters_discard(Reporters *reporters) {
        Reporter *reporter;

        while ((reporter = reporters->dirty)) {
                reporters->dirty = reporter->next_dirty;
                reporter->next_dirty = NULL;
                reporter->is_dirty = false;
                while (reporter->pending)
                        unlink_pending(reporter, reporter->pending);
                buffer_clear(&reporter->body);
                reporter->n_entries = 0;
        }
        reporters->is_due_now = reporters->has_outcomes = false;
}

size_t reporters_size(const Reporters *reporters) {
        return HASH_COUNT(reporters->by_subject);
}
