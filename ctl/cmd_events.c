/* SPDX-License-Identifier: MIT */

/*
 * Where JetStream keeps the events, all of them are read from there, those to come as well: so there is one order, and
 * no seam between past and present. Elsewhere there is only a subscription, and no past.
 *
 * The last N of a kind may be far back. So the search begins near the end and goes back in longer and longer steps, and
 * gives up at some point; what it reads is kept in a ring. It reads all and looks for itself: a search by subject is
 * one line for us, and much work for the server (ctl/watch_stream.h).
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/fields.h"
#include "ctl/watch_line.h"
#include "ctl/watch_stream.h"
#include "proto/id.h"

#define LAST_DEFAULT 20
#define LAST_MAX 100000
#define STEP_USEC (50 * USEC_PER_MSEC) /* Ctrl-C, heartbeats and the connection are looked at so often */
#define STUCK_USEC (10 * USEC_PER_SEC) /* nothing comes of what is known to be there */
#define WINDOW_MIN 1000
#define WINDOW_FACTOR 16
#define SEARCH_MAX 500000 /* some seconds */
#define SINCE_MAX_USEC (UINT64_C(10) * 365 * 86400 * USEC_PER_SEC)

typedef struct Options {
        bool follow, all;
        const char *agent, *runtime, *exec_id, *last;
        uint64_t since_usec;
        TextList kinds;
} Options;

static const Option options[] = {
        { .name = "follow",
                .letter = 'f',
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, follow),
                .help = "Go on with those that come, until Ctrl-C" },
        { .name = "lines",
                .letter = 'n',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, last),
                .value = "N",
                .help = "The last N, or all (" STRINGIFY(LAST_DEFAULT) "; all with --since)" },
        { .name = "since",
                .kind = OPTION_DURATION,
                .offset = offsetof(Options, since_usec),
                .value = "DURATION",
                .help = "Not older than that",
                .max = SINCE_MAX_USEC },
        { .name = "agent",
                .letter = 'a',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, agent),
                .value = "ID",
                .help = "Only of that agent's executions",
                .words = WORD_AGENT },
        { .name = "runtime",
                .letter = 'r',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, runtime),
                .value = "ID",
                .help = "Only of that runtime, and of what it executes",
                .words = WORD_RUNTIME },
        { .name = "exec-id",
                .letter = 'e',
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, exec_id),
                .value = "ID",
                .help = "Only of that execution" },
        { .name = "kind",
                .letter = 'k',
                .kind = OPTION_LIST,
                .offset = offsetof(Options, kinds),
                .value = "KIND",
                .help = "Only of that kind; may be given again",
                .choices = watch_kind_names },
        { .name = "all",
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, all),
                .help = "Heartbeats too; they are not kept, so only with --follow" },
        {},
};

typedef struct Watch {
        Ctl *ctl;
        const Options *options;
        WatchWish wish;
        char filter[512];       /* of what comes through the stream; "": all */
        uint64_t last;          /* UINT64_MAX: all */
        WatchStream *stream;    /* NULL: nothing is kept */
        natsSubscription *live; /* NULL: all comes from the stream */
        json_t *ring;           /* [subject, event] of the last ones; NULL: they are printed at once */
        uint64_t n_printed, n_dropped;
        bool was_up, failed;
} Watch;

/* what is wanted */

static CtlExit read_kinds(const Ctl *ctl, const Options *wanted, unsigned *ret) {
        unsigned kinds = 0;

        for (size_t i = 0; i < wanted->kinds.n_items; i++) {
                char known[256] = "";
                unsigned kind = 0;

                for (; kind < _WATCH_KIND_MAX && strcmp(watch_kind_names[kind], wanted->kinds.items[i]) != 0; kind++)
                        (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
                                kind > 0 ? ", " : "", watch_kind_names[kind]);
                if (kind == _WATCH_KIND_MAX)
                        return ctl_fail(
                                ctl, CTL_EXIT_USAGE, "--kind: \"%.80s\" is none of %s", wanted->kinds.items[i], known);
                kinds |= 1U << kind;
        }
        if (kinds == 0)
                kinds = ((1U << _WATCH_KIND_MAX) - 1) & ~(wanted->all ? 0 : 1U << WATCH_heartbeat);
        *ret = kinds | (wanted->all ? 1U << WATCH_heartbeat : 0);
        return CTL_EXIT_OK;
}

static CtlExit read_last(const Ctl *ctl, const Options *wanted, uint64_t *ret) {
        char *end = NULL;

        *ret = wanted->since_usec > 0 ? UINT64_MAX : LAST_DEFAULT;
        if (!wanted->last)
                return CTL_EXIT_OK;
        *ret = strcmp(wanted->last, "all") == 0 ? UINT64_MAX : strtoull(wanted->last, &end, 10);
        if (end && (*end != '\0' || wanted->last[0] < '0' || wanted->last[0] > '9' || *ret > LAST_MAX))
                return ctl_fail(ctl, CTL_EXIT_USAGE, "--lines: \"%.40s\" is neither a number up to %d nor all",
                        wanted->last, LAST_MAX);
        return CTL_EXIT_OK;
}

static CtlExit watch_init(Watch *watch, Ctl *ctl, const Options *wanted) {
        CtlExit status;

        watch->ctl = ctl;
        watch->options = wanted;
        watch->wish = (WatchWish){
                .agent_id = wanted->agent,
                .runtime_id = wanted->runtime,
                .exec_id = wanted->exec_id,
        };
        status = ctl_check_id(ctl, "--agent", wanted->agent);
        if (status == CTL_EXIT_OK)
                status = ctl_check_id(ctl, "--runtime", wanted->runtime);
        if (status == CTL_EXIT_OK)
                status = ctl_check_id(ctl, "--exec-id", wanted->exec_id);
        if (status == CTL_EXIT_OK)
                status = read_kinds(ctl, wanted, &watch->wish.kinds);
        if (status == CTL_EXIT_OK)
                status = read_last(ctl, wanted, &watch->last);
        return status;
}

static void watch_done(Watch *watch) {
        if (watch->live)
                client_unsubscribe(watch->ctl->client, watch->live);
        watch->stream = watch_stream_free(watch->stream);
        json_decref(watch->ring);
}

/* events */

static void print_event(Watch *watch, const char *subject, const json_t *event) {
        const Ctl *ctl = watch->ctl;
        _cleanup_(free_charp) char *text = NULL;

        watch->n_printed++;
        if (!ctl->global.json) {
                watch_print_line(stdout, &ctl->screen, watch_kind(subject), event, instant_now().real_usec);
                return;
        }
        text = ctl_json_text(event, JSON_COMPACT); /* a line, whatever it was written like */
        if (text && ctl->screen.is_terminal)
                screen_print_lines(stdout, text, strlen(text));
        else if (text)
                (void)fputs(text, stdout);
        (void)putchar('\n');
}

static void keep_event(Watch *watch, const char *subject, json_t *event) {
        json_t *pair = json_pack("[s, O]", subject, event);

        if (!pair || json_array_append_new(watch->ring, pair) < 0)
                watch->failed = true;
        /* twice as many at most, so that each is moved at most once */
        if (json_array_size(watch->ring) >= 2 * watch->last) {
                json_t *rest = json_array();

                for (size_t i = json_array_size(watch->ring) - watch->last; i < json_array_size(watch->ring); i++)
                        (void)json_array_append(rest, json_array_get(watch->ring, i));
                json_decref(watch->ring);
                watch->ring = rest;
                watch->failed |= !rest;
        }
}

static void take_event(Watch *watch, natsMsg *msg) {
        const char *subject = natsMsg_GetSubject(msg);
        json_t *event = NULL;

        if (watch_subject_is_wished(&watch->wish, subject)) /* most are not */
                event = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), JSON_ALLOW_NUL, NULL);
        if (event && watch_is_wished(&watch->wish, watch_kind(subject), event)) {
                if (watch->ring)
                        keep_event(watch, subject, event);
                else
                        print_event(watch, subject, event);
        }
        json_decref(event);
}

static void print_ring(Watch *watch) {
        const size_t n = json_array_size(watch->ring), skipped = n > watch->last ? n - watch->last : 0;

        for (size_t i = skipped; i < n; i++) {
                const json_t *pair = json_array_get(watch->ring, i);

                print_event(watch, json_string_value(json_array_get(pair, 0)), json_array_get(pair, 1));
        }
        json_decref(watch->ring);
        watch->ring = NULL;
}

/* the past */

static CtlExit fail_stream(const Watch *watch, int r, const NatsReason *why) {
        if (r == -EINTR)
                return CTL_EXIT_INTERRUPTED;
        return ctl_fail(watch->ctl, r == -EACCES ? CTL_EXIT_UNREACHABLE : CTL_EXIT_FAILURE, "%s",
                why->text[0] ? why->text : strerror(-r));
}

/* Ctrl-C, or nobody reads any more (main() says so). */
static bool is_over(void) {
        return ctl_is_interrupted() || ferror(stdout);
}

/* All from `number` (or a moment) on that was there when the stream was opened. */
static CtlExit read_past(Watch *watch, uint64_t number, uint64_t real_usec) {
        const uint64_t last = watch_stream_last(watch->stream);
        uint64_t seen = 0, heard_usec;
        NatsReason why = {};
        int r = watch_stream_read(watch->stream, number, real_usec, /* filter= */ "", &why);

        heard_usec = instant_now().usec;
        while (r == 0 && !is_over() && seen < last && watch_stream_n_pending(watch->stream) > 0) {
                natsMsg *msg = NULL;

                r = watch_stream_next(watch->stream, STEP_USEC, &msg, &seen, &why);
                if (msg) {
                        heard_usec = instant_now().usec;
                        if (seen <= last)
                                take_event(watch, msg);
                        natsMsg_Destroy(msg);
                } else if (instant_now().usec > heard_usec + STUCK_USEC) {
                        return ctl_fail(watch->ctl, CTL_EXIT_TIMEOUT, "the stream " WATCH_STREAM " sends nothing more");
                }
        }
        if (r < 0)
                return fail_stream(watch, r, &why);
        return watch->failed ? ctl_fail(watch->ctl, CTL_EXIT_FAILURE, "out of memory") : CTL_EXIT_OK;
}

static CtlExit read_last_ones(Watch *watch) {
        const uint64_t first = watch_stream_first(watch->stream), last = watch_stream_last(watch->stream);
        uint64_t window = MAX_OF(watch->last * 2, WINDOW_MIN);
        size_t n_before = 0;

        for (;; window *= WINDOW_FACTOR) {
                const uint64_t total = last - first + 1, size = MIN_OF(window, SEARCH_MAX);
                CtlExit status;

                json_decref(watch->ring);
                watch->ring = json_array();
                status = read_past(watch, MAX_OF(size < total ? last - size + 1 : first, 1), 0);
                if (status != CTL_EXIT_OK || size >= total || json_array_size(watch->ring) >= watch->last ||
                        ctl_is_interrupted())
                        return status;
                if (watch->wish.exec_id && n_before > 0 && json_array_size(watch->ring) == n_before)
                        return status; /* its events lie close together: there are no more of them */
                n_before = json_array_size(watch->ring);
                if (size < window) {
                        ctl_note(watch->ctl, "-- among the last %d events; --since or --lines all look further back",
                                SEARCH_MAX);
                        return status;
                }
        }
}

static CtlExit print_past(Watch *watch) {
        const uint64_t since = watch->options->since_usec, first = watch_stream_first(watch->stream);
        CtlExit status = CTL_EXIT_OK;

        if (watch->last == 0 || watch_stream_last(watch->stream) < first)
                return status;
        if (since > 0) {
                watch->ring = watch->last == UINT64_MAX ? NULL : json_array();
                status = read_past(watch, 0, instant_now().real_usec - since);
        } else if (watch->last == UINT64_MAX) {
                status = read_past(watch, MAX_OF(first, 1), 0);
        } else {
                status = read_last_ones(watch);
        }
        if (status == CTL_EXIT_OK && watch->ring)
                print_ring(watch);
        return status;
}

/* what comes */

static void tell_connection(Watch *watch) {
        const bool is_up = natsConnection_Status(client_connection(watch->ctl->client)) == NATS_CONN_STATUS_CONNECTED;

        if (is_up == watch->was_up)
                return;
        watch->was_up = is_up;
        if (!is_up)
                ctl_note(watch->ctl, "-- the connection to NATS is lost; trying to get it back");
        else
                ctl_note(watch->ctl, "-- connected again; %s",
                        watch->stream ? "what happened meanwhile follows" : "what happened meanwhile is not known");
}

static void tell_drops(Watch *watch) {
        int64_t n = 0;

        if (!watch->live || natsSubscription_GetDropped(watch->live, &n) != NATS_OK || (uint64_t)n == watch->n_dropped)
                return;
        ctl_note(watch->ctl, "-- %" PRIu64 " events came faster than they could be printed, and are left out",
                (uint64_t)n - watch->n_dropped);
        watch->n_dropped = (uint64_t)n;
}

static void take_live(Watch *watch, uint64_t wait_usec) {
        natsMsg *msg = NULL;
        natsStatus s = natsSubscription_NextMsg(&msg, watch->live, (int64_t)(wait_usec / USEC_PER_MSEC));

        while (s == NATS_OK) {
                take_event(watch, msg);
                natsMsg_Destroy(msg);
                s = ctl_is_interrupted() ? NATS_TIMEOUT : natsSubscription_NextMsg(&msg, watch->live, 0);
        }
        if (s != NATS_TIMEOUT && s != NATS_SLOW_CONSUMER && wait_usec > 0)
                nats_Sleep((int64_t)(wait_usec / USEC_PER_MSEC)); /* not connected */
}

static CtlExit subscribe(Watch *watch, const char *subject) {
        natsConnection *connection = client_connection(watch->ctl->client);
        natsStatus s = natsConnection_SubscribeSync(&watch->live, connection, subject);
        const char *text = NULL;

        if (s == NATS_OK)
                s = natsConnection_FlushTimeout(connection, (int64_t)(watch->ctl->global.timeout_usec / USEC_PER_MSEC));
        if (s != NATS_OK)
                return ctl_fail(watch->ctl, CTL_EXIT_FAILURE, "%s: %s", subject, natsStatus_GetText(s));
        /* what it says of publishing is about the stream, and has been told */
        if (natsConnection_GetLastError(connection, &text) == NATS_NOT_PERMITTED && text &&
                strcasestr(text, "subscription"))
                return ctl_fail(watch->ctl, CTL_EXIT_UNREACHABLE, "NATS does not allow it: %s", text);
        return CTL_EXIT_OK;
}

static CtlExit follow(Watch *watch) {
        uint64_t n_flushed = watch->n_printed;
        NatsReason why = {};
        int r = 0;

        watch->was_up = true;
        (void)fflush(stdout);
        if (watch->stream)
                r = watch_stream_read(watch->stream, watch_stream_last(watch->stream) + 1, 0, watch->filter, &why);
        while (r == 0 && !is_over()) {
                if (watch->stream) {
                        natsMsg *msg = NULL;
                        uint64_t number;

                        r = watch_stream_next(watch->stream, STEP_USEC, &msg, &number, &why);
                        if (msg)
                                take_event(watch, msg);
                        natsMsg_Destroy(msg);
                }
                if (watch->live)
                        take_live(watch, watch->stream ? 0 : STEP_USEC);
                tell_connection(watch);
                tell_drops(watch);
                if (watch->n_printed != n_flushed && (!watch->stream || watch_stream_n_pending(watch->stream) == 0)) {
                        (void)fflush(stdout);
                        n_flushed = watch->n_printed;
                }
        }
        return r < 0 ? fail_stream(watch, r, &why) : ctl_is_interrupted() ? CTL_EXIT_INTERRUPTED : CTL_EXIT_OK;
}

/* Opens the stream, if there is one. */
static CtlExit open_stream(Watch *watch) {
        const Ctl *ctl = watch->ctl;
        const bool only_heartbeats = watch->wish.kinds == 1U << WATCH_heartbeat;
        NatsReason why = {};
        int r;

        if (only_heartbeats && !watch->options->follow)
                return ctl_fail(ctl, CTL_EXIT_USAGE, "heartbeats are not kept; --follow shows those that come");
        if (only_heartbeats)
                return CTL_EXIT_OK;
        r = watch_stream_new(ctl->client, ctl->global.timeout_usec, &watch->stream, &why);
        if (r == 0) /* may we read it, too? */
                r = watch_stream_read(watch->stream, watch_stream_last(watch->stream) + 1, 0, watch->filter, &why);
        if (r == 0)
                return CTL_EXIT_OK;
        watch->stream = watch_stream_free(watch->stream);
        if (r == -EACCES && !watch->options->follow)
                return ctl_fail(ctl, CTL_EXIT_UNREACHABLE, "%s", why.text);
        if (!watch->options->follow)
                return ctl_fail(ctl, r == WATCH_STREAM_E_NONE ? CTL_EXIT_NOBODY : CTL_EXIT_FAILURE,
                        "no events are kept at %s: %s; --follow shows those that come", client_shown_url(ctl->client),
                        why.text[0] ? why.text : strerror(-r));
        ctl_note(ctl, "-- only events that come, none of the past: %s", why.text);
        return CTL_EXIT_OK;
}

/* Heartbeats don't go through the stream. */
static CtlExit open_live(Watch *watch) {
        const bool has_heartbeats = (watch->wish.kinds & 1U << WATCH_heartbeat) != 0;
        WatchWish wish = watch->wish;
        char subject[512];

        if (!watch->options->follow || (watch->stream && !has_heartbeats))
                return CTL_EXIT_OK;
        if (watch->stream)
                wish.kinds = 1U << WATCH_heartbeat;
        watch_subject(&wish, client_prefix(watch->ctl->client), subject, sizeof(subject));
        return subscribe(watch, subject);
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        _cleanup_(watch_done) Watch watch = {};
        CtlExit status = watch_init(&watch, ctl, invocation->options);

        if (status == CTL_EXIT_OK)
                status = ctl_connect(ctl);
        if (status != CTL_EXIT_OK)
                return status;
        ctl_catch_interrupts();
        watch_subject(&watch.wish, client_prefix(ctl->client), watch.filter, sizeof(watch.filter));
        if (watch.filter[strlen(watch.filter) - 1] == '>') /* wider than the stream's subjects */
                watch.filter[0] = '\0';
        status = open_stream(&watch);
        if (status == CTL_EXIT_OK)
                status = open_live(&watch);
        if (status == CTL_EXIT_OK && watch.stream)
                status = print_past(&watch);
        if (status == CTL_EXIT_OK && watch.options->follow)
                status = follow(&watch);
        else if (status == CTL_EXIT_OK && ctl_is_interrupted())
                status = CTL_EXIT_INTERRUPTED;
        else if (status == CTL_EXIT_OK && watch.n_printed == 0)
                ctl_note(ctl, "no such events are kept");
        return status;
}

const Command command_events = {
        .name = "events",
        .summary = "Show what has happened, and what happens",
        .details = "Past ones come from the stream " WATCH_STREAM ", which dispatchers keep where NATS has JetStream, "
                   "for a week by default\n"
                   "(jetstream.events_max_age_hours). Which events of executions there are is said by "
                   "events.executions. With --json\n"
                   "each is printed as it came, one a line.",
        .example = "  compozyctl events --follow --agent greeter\n"
                   "  compozyctl events --since 1h --kind failed --kind dispatch_failed",
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
