/* SPDX-License-Identifier: MIT */

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/instant.h"
#include "ctl/fields.h"
#include "ctl/watch_line.h"

#define KIND_COLUMNS 15
#define AGENT_COLUMNS 20
#define RUNTIME_COLUMNS 16
#define EXEC_COLUMNS 18

const char *const watch_kind_names[_WATCH_KIND_MAX + 1] = {
#define X(name) #name,
        WATCH_KINDS(X)
#undef X
};

static const Colour colours[_WATCH_KIND_MAX] = {
        [WATCH_dispatched] = COLOUR_FAINT,
        [WATCH_started] = COLOUR_FAINT,
        [WATCH_completed] = COLOUR_GOOD,
        [WATCH_failed] = COLOUR_BAD,
        [WATCH_dispatch_failed] = COLOUR_BAD,
        [WATCH_dead_lettered] = COLOUR_BAD,
        [WATCH_registered] = COLOUR_GOOD,
        [WATCH_deregistered] = COLOUR_WARNING,
        [WATCH_heartbeat] = COLOUR_FAINT,
};

/* what is wished for */

static bool is_one(unsigned kinds) {
        return kinds != 0 && (kinds & (kinds - 1)) == 0;
}

static const char *only_kind(unsigned kinds) {
        return is_one(kinds) ? watch_kind_names[__builtin_ctz(kinds)] : "*";
}

void watch_subject(const WatchWish *wish, const char *prefix, char *place, size_t size) {
        const unsigned kinds = wish->agent_id || wish->exec_id ? wish->kinds & WATCH_EXECUTIONS : wish->kinds;

        if (kinds == 0 || (kinds & ~WATCH_EXECUTIONS) == 0)
                (void)snprintf(place, size, "%s.events.agent.instance.%s.%s", prefix,
                        wish->exec_id ? wish->exec_id : "*", only_kind(kinds));
        else if (kinds == 1U << WATCH_runtime_update)
                (void)snprintf(place, size, "%s.events.agent_dispatcher.*.runtime_update", prefix);
        else if ((kinds & ~WATCH_DEFINITIONS) == 0)
                (void)snprintf(place, size, "%s.events.agent.definition.%s.%s", prefix,
                        wish->runtime_id ? wish->runtime_id : "*", only_kind(kinds));
        else
                (void)snprintf(place, size, "%s.events.>", prefix);
}

WatchKind watch_kind(const char *subject) {
        const char *last = strrchr(subject, '.');
        unsigned kind = 0;

        while (kind < _WATCH_KIND_MAX && strcmp(last ? last + 1 : subject, watch_kind_names[kind]) != 0)
                kind++;
        return (WatchKind)kind;
}

bool watch_subject_is_wished(const WatchWish *wish, const char *subject) {
        const WatchKind kind = watch_kind(subject);
        const size_t size = wish->exec_id ? strlen(wish->exec_id) : 0;
        const char *last = strrchr(subject, '.');

        if (!last || kind == _WATCH_KIND_MAX || (wish->kinds & 1U << kind) == 0)
                return false;
        if (!wish->exec_id)
                return true;
        /* "....<exec_id>.<kind>" */
        return (size_t)(last - subject) > size && strncmp(last - size, wish->exec_id, size) == 0 &&
               last[-(ptrdiff_t)size - 1] == '.';
}

static const char *text_of(const json_t *event, const char *section, const char *key) {
        return json_string_value(json_object_get(json_object_get(event, section), key));
}

static bool matches(const char *wanted, const char *given) {
        return !wanted || (given && strcmp(wanted, given) == 0);
}

bool watch_is_wished(const WatchWish *wish, WatchKind kind, const json_t *event) {
        return kind < _WATCH_KIND_MAX && (wish->kinds & 1U << kind) != 0 &&
               matches(wish->agent_id, text_of(event, "agent", "id")) &&
               matches(wish->exec_id, text_of(event, "agent", "exec_id")) &&
               matches(wish->runtime_id, text_of(event, "agent_runtime", "runtime_id"));
}

/* time */

uint64_t watch_parse_time(const char *text) {
        struct tm tm = { 0 };
        const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
        uint64_t usec = 0, unit = USEC_PER_SEC;
        time_t seconds;

        if (!rest)
                return 0;
        if (*rest == '.')
                for (rest++; *rest >= '0' && *rest <= '9'; rest++) {
                        unit /= 10;
                        usec += unit * (uint64_t)(*rest - '0');
                }
        seconds = timegm(&tm);
        return strcmp(rest, "Z") == 0 && seconds > 0 ? (uint64_t)seconds * USEC_PER_SEC + usec : 0;
}

static void show_time(char *place, size_t size, const char *text, uint64_t now_real_usec) {
        const uint64_t usec = watch_parse_time(text);
        const time_t then = (time_t)(usec / USEC_PER_SEC), now = (time_t)(now_real_usec / USEC_PER_SEC);
        struct tm tm, today;
        size_t n;

        if (usec == 0 || !localtime_r(&then, &tm) || !localtime_r(&now, &today)) {
                (void)snprintf(place, size, "%s", "            ");
                return;
        }
        n = strftime(place, size,
                tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
        (void)snprintf(place + n, size - n, ".%03u", (unsigned)(usec % USEC_PER_SEC / USEC_PER_MSEC));
}

/* what it has to say */

static const char *or_dash(const char *text) {
        return text ? text : "-";
}

static void describe_execution(const json_t *payload, char *place, size_t size) {
        const json_t *error = json_object_get(payload, "error"), *duration = json_object_get(payload, "duration_ms");
        const char *status = json_string_value(json_object_get(payload, "status"));
        const uint64_t attempt = field_number(payload, "attempt");
        char shown[SHOWN_MAX];
        size_t n = 0;

        place[0] = '\0';
        if (duration)
                n += (size_t)snprintf(
                        place, size, "%s  ", show_duration(shown, field_scaled(payload, "duration_ms", USEC_PER_MSEC)));
        if (error)
                n += (size_t)snprintf(place + n, size - n, "%s%s%s: %s",
                        status && strcmp(status, "FAILURE") != 0 ? status : "",
                        status && strcmp(status, "FAILURE") != 0 ? " " : "",
                        or_dash(json_string_value(json_object_get(error, "code"))),
                        or_dash(json_string_value(json_object_get(error, "message"))));
        if (attempt > 1 && n < size)
                (void)snprintf(place + n, size - n, "%sattempt %" PRIu64, error ? "  " : "", attempt);
}

static void describe_update(const json_t *event, const json_t *payload, char *place, size_t size) {
        (void)snprintf(place, size, "%s: %s; %s, %" PRIu64 " live, says %s",
                or_dash(json_string_value(json_object_get(payload, "change"))),
                or_dash(json_string_value(json_object_get(payload, "reason"))),
                or_dash(text_of(event, "agent_runtime", "state")), field_number(payload, "runtimes_live"),
                or_dash(json_string_value(json_object_get(payload, "dispatcher_id"))));
}

static void describe_definition(WatchKind kind, const json_t *event, const json_t *payload, char *place, size_t size) {
        const json_t *runtime = json_object_get(event, "agent_runtime"), *load = json_object_get(payload, "load");
        const json_t *context = json_object_get(payload, "context"), *part = json_object_get(payload, "part");

        if (kind == WATCH_heartbeat)
                (void)snprintf(place, size,
                        "%" PRIu64 " in flight, %" PRIu64 " queued, %" PRIu64 " free, %" PRIu64 " agents%s",
                        field_number(load, "in_flight"), field_number(load, "queued"), field_number(load, "free_slots"),
                        field_number(load, "agents"),
                        json_is_true(json_object_get(payload, "draining")) ? ", draining" : "");
        else if (kind == WATCH_updated)
                (void)snprintf(place, size, "%zu agents added or changed, %zu removed",
                        json_array_size(json_object_get(payload, "added")),
                        json_array_size(json_object_get(payload, "removed")));
        else if (kind == WATCH_deregistered)
                (void)snprintf(place, size, "%s, says %s",
                        or_dash(json_string_value(json_object_get(context, "reason"))),
                        or_dash(json_string_value(json_object_get(context, "seen_by"))));
        else
                (void)snprintf(place, size, "%s; %zu agents%s, epoch %" PRIu64,
                        or_dash(json_string_value(json_object_get(context, "reason"))),
                        json_array_size(json_object_get(runtime, "agent_definitions")), part ? " in this part" : "",
                        field_number(runtime, "epoch"));
}

/* A cell of strangers' text: made harmless, and filled up with spaces. */
static void put(FILE *file, const Screen *screen, Colour colour, int columns, const char *text) {
        char shown[512];

        (void)screen_text(shown, sizeof(shown), text);
        (void)fprintf(file, "%s%-*s%s ", screen_on(screen, colour), columns, shown, screen_off(screen, colour));
}

void watch_print_line(FILE *file, const Screen *screen, WatchKind kind, const json_t *event, uint64_t now_real_usec) {
        const json_t *payload = json_object_get(event, "payload");
        const char *agent = text_of(event, "agent", "id"), *exec_id = text_of(event, "agent", "exec_id");
        char when[64], what[1024], shown[2048];

        show_time(when, sizeof(when), text_of(event, "metadata", "event_timestamp"), now_real_usec);
        put(file, screen, COLOUR_FAINT, 12, when);
        put(file, screen, colours[kind], KIND_COLUMNS, watch_kind_names[kind]);
        put(file, screen, COLOUR_STRONG, AGENT_COLUMNS, or_dash(agent));
        put(file, screen, COLOUR_NONE, RUNTIME_COLUMNS, or_dash(text_of(event, "agent_runtime", "runtime_id")));
        put(file, screen, COLOUR_FAINT, EXEC_COLUMNS, or_dash(exec_id));
        if (kind < WATCH_runtime_update)
                describe_execution(payload, what, sizeof(what));
        else if (kind == WATCH_runtime_update)
                describe_update(event, payload, what, sizeof(what));
        else
                describe_definition(kind, event, payload, what, sizeof(what));
        (void)screen_text(shown, sizeof(shown), what);
        (void)fprintf(file, "%s\n", shown);
}
