/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Subjects: every name that the daemons use on NATS, in one table, built and matched from it.
 *
 * Pure. A pattern is written without the prefix; "%1" and "%2" stand for its ids, one token each.
 */

#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"

#define SUBJECT_PREFIX_DEFAULT "compozy"
#define SUBJECT_MAX 1024 /* nats-server refuses control lines over 4 KiB; ours stay far below */
#define SUBJECT_PREFIX_MAX 128

#define SUBJECTS(X)                                                              \
        X(TRIGGER, "commands.agent.%1.trigger.%2")                               \
        X(CANCEL, "commands.agent.%1.cancel.%2")                                 \
        X(DURABLE_TRIGGER, "durable.agent.%1.trigger.%2")                        \
        X(DISPATCHER_VERB, "commands.agent_dispatcher.%1")                       \
        X(ANNOUNCE, "commands.agent_runtime.announce")                           \
        X(RUNTIME_REGISTERED, "events.agent.definition.%1.registered")           \
        X(RUNTIME_UPDATED, "events.agent.definition.%1.updated")                 \
        X(RUNTIME_DEREGISTERED, "events.agent.definition.%1.deregistered")       \
        X(RUNTIME_HEARTBEAT, "events.agent.definition.%1.heartbeat")             \
        X(RUNTIME_UPDATE, "events.agent_dispatcher.%1.runtime_update")           \
        X(EXECUTION_DISPATCHED, "events.agent.instance.%1.dispatched")           \
        X(EXECUTION_DISPATCH_FAILED, "events.agent.instance.%1.dispatch_failed") \
        X(EXECUTION_DEAD_LETTERED, "events.agent.instance.%1.dead_lettered")     \
        X(EXECUTION_STARTED, "events.agent.instance.%1.started")                 \
        X(EXECUTION_COMPLETED, "events.agent.instance.%1.completed")             \
        X(EXECUTION_FAILED, "events.agent.instance.%1.failed")                   \
        X(RESULT, "results.agent.%1")                                            \
        X(DISPATCHER_REPORT, "dispatcher.%1.report.%2")                          \
        X(DISPATCHER_CONTROL, "dispatcher.%1.control.%2")                        \
        X(RUNTIME_TRIGGER, "runtime.%1.trigger")                                 \
        X(RUNTIME_CONTROL, "runtime.%1.control.%2")

typedef enum SubjectKind {
        SUBJECT_NONE,
#define X(name, pattern) SUBJECT_##name,
        SUBJECTS(X) _SUBJECT_KIND_MAX,
#undef X
} SubjectKind;

typedef struct SubjectMatch {
        SubjectKind kind; /* SUBJECT_NONE: none of ours, or an id out of grammar */
        Slice first, second;
} SubjectMatch;

/* Subject rules of nats-server (no empty token, no white space or control character); without wildcards, and with. */
bool subject_is_valid(Slice subject);
bool subject_pattern_is_valid(Slice pattern);

/* Does `subject` match `pattern` with its * and > ? */
bool subject_matches(Slice pattern, Slice subject);

/* Appends prefix and pattern with its ids; pass "*" for a wildcard. `second` is ignored where the pattern has one id.
 */
void subject_build(Buffer *buffer, Slice prefix, SubjectKind kind, Slice first, Slice second);

/* The other way round; ids are borrowed from `subject` and checked. */
SubjectMatch subject_parse(Slice prefix, Slice subject);

/*
 * May a result be directed there? Refused: invalid subjects, wildcards, `$`..., everything below the prefix but
 * <prefix>.results.>.
 */
bool subject_may_receive_result(Slice prefix, Slice subject);

/* The same for a subject that is known to be valid. */
bool subject_is_open_to_results(Slice prefix, Slice subject);

/*
 * Whose is it, of those that the server's permissions keep apart (docs/security.md)? A number for the principal whose
 * inbox "_INBOX.<role>.<name>.<more>" or place for results "<prefix>.results.caller.<name>.<more>" it is; 0: anybody's.
 */
uint64_t subject_owner(Slice prefix, Slice subject);
