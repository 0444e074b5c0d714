/* SPDX-License-Identifier: MIT */

/*
 * One table says who may do what. A line of it is a subject pattern for some roles, with placeholders:
 *
 *   %p the subject prefix       %t each topic            %c each capability of any service
 *   %n the principal's name     %a each of its agents    %o each of its own capabilities
 *
 * A line whose placeholder stands for nothing vanishes. Lines that belong together have their reason in the first one.
 *
 * Why it is so:
 *
 * - An inbox is _INBOX.<role>.<name>.<unique>...: everybody subscribes to his own. Who may publish into which is part
 *   of the table, since what comes there is believed: that a runtime may not answer in a dispatcher's place, or another
 *   runtime's, is what the tokens behind <unique> are for (dispatcher.c, core.h).
 * - No allow_responses: it lets a service publish wherever the reply subject of a request says. Whoever may ask it
 *   something could have it give commands.
 * - Runtimes answer callers themselves, so they may publish into the inboxes of all who can trigger.
 */

#include <stdio.h>
#include <string.h>

#include "ctl/permissions.h"

#define BIT(name) (1u << ROLE_##name)

#define DISPATCHER BIT(DISPATCHER)
#define RUNTIME BIT(RUNTIME)
#define OPERATOR BIT(OPERATOR)
#define CALLER BIT(CALLER)
#define OBSERVER BIT(OBSERVER)
#define SERVICE BIT(SERVICE)

const char *const role_names[_ROLE_MAX + 1] = {
#define X(name, text, meaning) [ROLE_##name] = text,
        ROLES(X)
#undef X
};

static const char *const role_meanings[_ROLE_MAX] = {
#define X(name, text, meaning) [ROLE_##name] = meaning,
        ROLES(X)
#undef X
};

typedef struct Rule {
        unsigned roles;
        const char *pattern;
        const char *why; /* NULL: as the line before */
} Rule;

static const Rule publish_rules[] = {
        { DISPATCHER, "%p.runtime.*.trigger", "work for runtimes" },
        { DISPATCHER, "%p.runtime.*.control.*", "questions to runtimes, and drains" },
        { DISPATCHER, "%p.commands.agent_runtime.announce", "the roll call" },
        { DISPATCHER, "%p.events.agent.definition.*.registered", "registrations passed on, and verdicts" },
        { DISPATCHER, "%p.events.agent.definition.*.deregistered", NULL },
        { DISPATCHER, "%p.events.agent_dispatcher.*.runtime_update", "events" },
        { DISPATCHER, "%p.events.agent.instance.*.dispatched", NULL },
        { DISPATCHER, "%p.events.agent.instance.*.dispatch_failed", NULL },
        { DISPATCHER, "%p.events.agent.instance.*.dead_lettered", NULL },
        { DISPATCHER, "_INBOX.>", "answers to whoever asked" },
        { DISPATCHER, "%p.results.>", NULL },
        { DISPATCHER, "$JS.API.STREAM.INFO.COMPOZY_EVENTS", "its stream and its bucket" },
        { DISPATCHER, "$JS.API.STREAM.CREATE.COMPOZY_EVENTS", NULL },
        { DISPATCHER, "$JS.API.STREAM.INFO.KV_compozy_runtimes", NULL },
        { DISPATCHER, "$JS.API.STREAM.CREATE.KV_compozy_runtimes", NULL },
        { DISPATCHER, "$JS.API.STREAM.PURGE.KV_compozy_runtimes", NULL },
        { DISPATCHER, "$KV.compozy_runtimes.*", NULL },

        { RUNTIME, "%p.events.agent.definition.%n.*", "what it says of itself" },
        { RUNTIME, "%p.dispatcher.*.report.%n", "its reports and answers to dispatchers" },
        { RUNTIME, "_INBOX.dispatcher.*.*.r.%n.>", NULL },
        { RUNTIME, "_INBOX.dispatcher.*.*.p.%n", NULL },
        { RUNTIME, "_INBOX.dispatcher.*.*.k.%n", NULL },
        { RUNTIME, "_INBOX.dispatcher.*.*.c.%n.*", NULL },
        { RUNTIME, "%p.events.agent.instance.*.started", "events of executions" },
        { RUNTIME, "%p.events.agent.instance.*.completed", NULL },
        { RUNTIME, "%p.events.agent.instance.*.failed", NULL },
        { RUNTIME, "_INBOX.caller.>", "results, and answers of agents, to whoever asked" },
        { RUNTIME, "_INBOX.operator.>", NULL },
        { RUNTIME, "_INBOX.runtime.*.*.a.*", NULL },
        { RUNTIME, "_INBOX.runtime.*.*.i.*", NULL },
        { RUNTIME, "%p.results.>", NULL },

        { OPERATOR, "%p.commands.agent_dispatcher.*", "verbs of dispatchers and runtimes" },
        { OPERATOR, "%p.dispatcher.*.control.*", NULL },
        { OPERATOR, "%p.runtime.*.control.*", NULL },
        { OPERATOR, "%p.commands.agent.*.trigger.*", "triggers, and questions to agents" },
        { OPERATOR, "agent.*.replies", NULL },
        { OPERATOR, "$SRV.>", "service discovery" },

        { RUNTIME | CALLER, "%p.commands.agent.*.trigger.%a", "agents that it may trigger and ask" },
        { RUNTIME | CALLER, "agent.%a.replies", NULL },
        { RUNTIME, "action.%c", "capabilities of services" },
        { SERVICE, "_INBOX.runtime.*.*.i.*", "answers to agents that invoke" },
        { RUNTIME | CALLER | OPERATOR, "%t", "topics" },

        { OPERATOR | OBSERVER, "$JS.API.STREAM.INFO.COMPOZY_EVENTS", "reading the stream of events and the records" },
        { OPERATOR | OBSERVER, "$JS.API.STREAM.INFO.KV_compozy_runtimes", NULL },
        { OPERATOR | OBSERVER, "$JS.API.STREAM.MSG.GET.COMPOZY_EVENTS", NULL },
        { OPERATOR | OBSERVER, "$JS.API.STREAM.MSG.GET.KV_compozy_runtimes", NULL },
        { OPERATOR | OBSERVER, "$JS.API.DIRECT.GET.COMPOZY_EVENTS", NULL },
        { OPERATOR | OBSERVER, "$JS.API.DIRECT.GET.COMPOZY_EVENTS.>", NULL },
        { OPERATOR | OBSERVER, "$JS.API.DIRECT.GET.KV_compozy_runtimes", NULL },
        { OPERATOR | OBSERVER, "$JS.API.DIRECT.GET.KV_compozy_runtimes.>", NULL },
        { OPERATOR, "$JS.API.CONSUMER.CREATE.COMPOZY_EVENTS", NULL },
        { OPERATOR, "$JS.API.CONSUMER.CREATE.COMPOZY_EVENTS.>", NULL },
        { OPERATOR, "$JS.API.CONSUMER.INFO.COMPOZY_EVENTS.*", NULL },
        { OPERATOR, "$JS.API.CONSUMER.DELETE.COMPOZY_EVENTS.*", NULL },
        { OPERATOR, "$JS.API.CONSUMER.MSG.NEXT.COMPOZY_EVENTS.*", NULL },
        { OPERATOR, "$JS.FC.COMPOZY_EVENTS.>", NULL },
        { OPERATOR, "_INBOX.%r.%n.>", "what it compares with: compozyctl bench --compare" },
        {},
};

static const Rule subscribe_rules[] = {
        { DISPATCHER, "_INBOX.dispatcher.>", "answers to it" },
        { RUNTIME | OPERATOR | CALLER | OBSERVER | SERVICE, "_INBOX.%r.%n.>", "answers to it" },

        { DISPATCHER, "%p.commands.agent.*.trigger.*", "triggers, and verbs" },
        { DISPATCHER, "%p.commands.agent_dispatcher.*", NULL },
        { DISPATCHER, "%p.dispatcher.*.control.*", NULL },
        { DISPATCHER, "%p.events.agent.definition.*.*", "what runtimes say of themselves" },
        { DISPATCHER, "%p.dispatcher.*.report.*", NULL },

        { RUNTIME, "%p.runtime.%n.>", "its work, its control, and what is said of it" },
        { RUNTIME, "%p.commands.agent_runtime.announce", NULL },
        { RUNTIME, "%p.events.agent.definition.%n.deregistered", NULL },
        { RUNTIME, "agent.*.replies", "messages to its agents" },

        { OPERATOR | OBSERVER, "%p.events.>", "events" },
        { CALLER, "%p.results.caller.%n.>", "results that it had sent there" },
        { SERVICE, "action.%o", "its capabilities" },
        { RUNTIME | CALLER | OPERATOR, "%t", "topics" },

        { DISPATCHER, "$SRV.*", "service discovery" },
        { DISPATCHER, "$SRV.*.compozy-dispatcher", NULL },
        { DISPATCHER, "$SRV.*.compozy-dispatcher.*", NULL },
        { RUNTIME, "$SRV.*", "service discovery" },
        { RUNTIME, "$SRV.*.compozy-runtime", NULL },
        { RUNTIME, "$SRV.*.compozy-runtime.*", NULL },
        {},
};

/* texts from the command line */

/* The next part between commas; false at the end. */
static bool next_part(Slice *rest, Slice *ret) {
        const char *comma;

        if (!rest->data)
                return false;
        comma = rest->size > 0 ? memchr(rest->data, ',', rest->size) : NULL;
        *ret = (Slice){ rest->data, comma ? (size_t)(comma - rest->data) : rest->size };
        *rest = comma ? slice_after(*rest, ret->size + 1) : SLICE_NONE;
        return true;
}

/* What needs no quoting in the server's configuration. */
static bool is_plain(Slice text) {
        for (size_t i = 0; i < text.size; i++)
                if (text.data[i] <= ' ' || text.data[i] > '~' || strchr("\"'\\,", text.data[i]))
                        return false;
        return true;
}

static int check_targets(Role role, Slice spec, Slice targets, WireError *ret_error) {
        const bool are_capabilities = role == ROLE_SERVICE;
        Slice rest = targets, target;
        size_t n = 0;

        while (next_part(&rest, &target)) {
                const bool is_good = are_capabilities ? subject_pattern_is_valid(target) && is_plain(target)
                                                      : slice_equal(target, SLICE("*")) || id_is_valid(target);

                if (!is_good)
                        return wire_error(ret_error, "--%s %.*s: \"%.*s\" is no %s", role_names[role], SLICE_ARG(spec),
                                SLICE_ARG(target),
                                are_capabilities ? "capability (tokens with dots between them)"
                                                 : "agent's id (1 to 64 of A-Z a-z 0-9 _ -), nor * for all");
                if (++n > TARGETS_MAX)
                        return wire_error(ret_error, "--%s %.*s: more than %d of them", role_names[role],
                                SLICE_ARG(spec), TARGETS_MAX);
        }
        return 0;
}

int principal_parse(Role role, const char *spec, Principal *ret, WireError *ret_error) {
        const Slice all = slice_of(spec);
        const char *colon = all.size > 0 ? memchr(all.data, ':', all.size) : NULL;
        const Slice name = { all.data, colon ? (size_t)(colon - all.data) : all.size };
        Slice targets = colon ? slice_after(all, name.size + 1) : SLICE_NONE;
        int r;

        if (!id_is_valid(name))
                return wire_error(ret_error, "--%s %.*s: \"%.*s\" is no name (1 to 64 of A-Z a-z 0-9 _ -)",
                        role_names[role], SLICE_ARG(all), SLICE_ARG(name));
        if (colon && role != ROLE_RUNTIME && role != ROLE_CALLER && role != ROLE_SERVICE)
                return wire_error(
                        ret_error, "--%s %.*s: nothing may follow the name", role_names[role], SLICE_ARG(all));
        if (!colon && role == ROLE_SERVICE)
                return wire_error(
                        ret_error, "--service %.*s: which capabilities? (NAME:CAPABILITY,...)", SLICE_ARG(all));
        r = check_targets(role, all, targets, ret_error);
        if (r != 0)
                return r;

        if (!colon && role == ROLE_CALLER)
                targets = SLICE("*");
        *ret = (Principal){ .role = role, .targets = targets };
        id_set(&ret->name, name);
        return 0;
}

static Slice first_token(Slice subject) {
        const char *dot = memchr(subject.data, '.', subject.size);

        return dot ? (Slice){ subject.data, (size_t)(dot - subject.data) } : subject;
}

int permissions_check_topic(Slice prefix, Slice topic, WireError *ret_error) {
        static const char *const reserved[] = { "_INBOX", "agent", "action" };
        const Slice token = topic.size > 0 ? first_token(topic) : SLICE("");

        if (!subject_pattern_is_valid(topic) || !is_plain(topic))
                return wire_error(
                        ret_error, "--topic %.*s: is no subject, nor a pattern of subjects", SLICE_ARG(topic));
        if (slice_equal(token, SLICE("*")) || slice_equal(token, SLICE(">")))
                return wire_error(ret_error,
                        "--topic %.*s: must begin with a word: a wildcard there would reach commands and inboxes",
                        SLICE_ARG(topic));
        if (token.data[0] == '$' || slice_equal(token, first_token(prefix)))
                return wire_error(ret_error, "--topic %.*s: is reserved (%.*s..., $...)", SLICE_ARG(topic),
                        SLICE_ARG(first_token(prefix)));
        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (slice_equal(token, slice_of(reserved[i])))
                        return wire_error(ret_error, "--topic %.*s: what begins with \"%s.\" has rules of its own (%s)",
                                SLICE_ARG(topic), reserved[i],
                                i == 0   ? "everybody has an inbox"
                                : i == 1 ? "--runtime ID:AGENT and --caller NAME:AGENT say who may ask which agent"
                                         : "--service NAME:CAPABILITY says who provides which capability");
        return 0;
}

/* the table, for one principal */

/* Calls `take` with each subject pattern of the rule. */
typedef bool (*TakePattern)(Slice pattern, void *userdata); /* returns false: enough */

typedef struct Expansion {
        const Permissions *permissions;
        const Principal *principal;
        const char *pattern;
        TakePattern take;
        void *userdata;
} Expansion;

static bool expand_with(const Expansion *expansion, Slice value) {
        _cleanup_(buffer_done) Buffer text = {};

        for (const char *p = expansion->pattern; *p; p++) {
                if (*p != '%') {
                        buffer_append_char(&text, *p);
                        continue;
                }
                switch (*++p) {
                case 'p':
                        buffer_append_slice(&text, expansion->permissions->prefix);
                        break;
                case 'n':
                        buffer_append_slice(&text, id_slice(&expansion->principal->name));
                        break;
                case 'r':
                        buffer_append_slice(&text, slice_of(role_names[expansion->principal->role]));
                        break;
                default:
                        buffer_append_slice(&text, value);
                        break;
                }
        }
        return expansion->take(buffer_slice(&text), expansion->userdata);
}

static bool expand_list(const Expansion *expansion, Slice list) {
        Slice value;

        while (next_part(&list, &value))
                if (!expand_with(expansion, value))
                        return false;
        return true;
}

static bool expand(const Expansion *expansion) {
        const Permissions *all = expansion->permissions;

        if (strstr(expansion->pattern, "%t")) {
                for (size_t i = 0; i < all->n_topics; i++)
                        if (!expand_with(expansion, slice_of(all->topics[i])))
                                return false;
                return true;
        }
        if (strstr(expansion->pattern, "%c")) {
                for (size_t i = 0; i < all->n_principals; i++)
                        if (all->principals[i].role == ROLE_SERVICE &&
                                !expand_list(expansion, all->principals[i].targets))
                                return false;
                return true;
        }
        if (strstr(expansion->pattern, "%a") || strstr(expansion->pattern, "%o"))
                return expand_list(expansion, expansion->principal->targets);
        return expand_with(expansion, SLICE_NONE);
}

static bool is_of_jetstream(const Rule *rule) {
        const Slice pattern = slice_of(rule->pattern);

        return slice_starts_with(pattern, SLICE("$JS.")) || slice_starts_with(pattern, SLICE("$KV."));
}

static void walk(const Permissions *permissions, const Principal *principal, const Rule *rules,
        void (*on_rule)(const char *why, void *userdata), TakePattern take, void *userdata) {
        const char *why = NULL;

        for (const Rule *rule = rules; rule->pattern; rule++) {
                const Expansion expansion = { permissions, principal, rule->pattern, take, userdata };

                if (rule->why)
                        why = rule->why;
                if (!(rule->roles & 1u << principal->role) || (is_of_jetstream(rule) && !permissions->has_jetstream))
                        continue;
                if (on_rule)
                        on_rule(why, userdata);
                if (!expand(&expansion))
                        return;
        }
}

/* writing */

typedef struct Writer {
        Buffer *buffer;
        const char *why, *written;
} Writer;

static void note_why(const char *why, void *userdata) {
        ((Writer *)userdata)->why = why;
}

static bool write_pattern(Slice pattern, void *userdata) {
        Writer *writer = userdata;

        if (writer->why != writer->written)
                buffer_printf(writer->buffer, "            # %s\n", writer->why);
        writer->written = writer->why;
        buffer_printf(writer->buffer, "            \"%.*s\"\n", SLICE_ARG(pattern));
        return true;
}

static void write_list(const Permissions *permissions, const Principal *principal, const char *verb, const Rule *rules,
        Buffer *buffer) {
        Writer writer = { .buffer = buffer };

        buffer_printf(buffer, "          %s: { allow: [\n", verb);
        walk(permissions, principal, rules, note_why, write_pattern, &writer);
        buffer_printf(buffer, "          ] }\n");
}

void permissions_write(const Permissions *permissions, Buffer *buffer) {
        buffer_printf(buffer, "accounts: {\n  COMPOZY: {\n");
        if (permissions->has_jetstream)
                buffer_printf(buffer, "    jetstream: enabled\n");
        buffer_printf(buffer, "    users: [\n");
        for (size_t i = 0; i < permissions->n_principals; i++) {
                const Principal *principal = &permissions->principals[i];

                buffer_printf(buffer, "      # %s %s: %s\n      {\n        nkey: %s\n        permissions: {\n",
                        role_names[principal->role], principal->name.text, role_meanings[principal->role],
                        principal->public_key);
                write_list(permissions, principal, "publish", publish_rules, buffer);
                write_list(permissions, principal, "subscribe", subscribe_rules, buffer);
                buffer_printf(buffer, "        }\n      }\n");
        }
        buffer_printf(buffer, "    ]\n  }\n}\n");
}

/* asking */

typedef struct Question {
        Slice subject;
        bool is_allowed;
} Question;

static bool match_pattern(Slice pattern, void *userdata) {
        Question *question = userdata;

        question->is_allowed = subject_matches(pattern, question->subject);
        return !question->is_allowed;
}

bool permissions_allow(const Permissions *permissions, const Principal *principal, bool is_publish, Slice subject) {
        Question question = { .subject = subject };

        walk(permissions, principal, is_publish ? publish_rules : subscribe_rules, NULL, match_pattern, &question);
        return question.is_allowed;
}
