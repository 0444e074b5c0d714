/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Stats: what the seeds have exercised. A kind that never occurs in many seeds is a hole in the simulation.
 */

#include "proto/cc.h"

/* faults by kind; the order is that of the table in faults.c */
#define FAULT_KINDS(X)                                                                 \
        X(LOSS, "slow consumer: part of the deliveries to one node dropped")           \
        X(DUPLICATION, "deliveries duplicated")                                        \
        X(SPIKE, "delays of one link grow")                                            \
        X(DISPATCHER_CRASH, "dispatcher process killed, a new one later")              \
        X(DISPATCHER_STOP, "dispatcher drained and started again")                     \
        X(RUNTIME_CRASH, "runtime process killed, a new one later or never")           \
        X(POWER_CUT, "runtime's machine gone: the server notices late")                \
        X(RUNTIME_STOP, "runtime stopped by SIGTERM, a new one later or never")        \
        X(PAUSE, "process stopped (SIGSTOP), goes on later")                           \
        X(FREEZE, "virtual machine frozen: its clock stands still too")                \
        X(MASS_PAUSE, "more than a third of the runtimes paused together")             \
        X(PARTITION, "one node cut off from NATS")                                     \
        X(GROUP_PARTITION, "several nodes cut off from NATS")                          \
        X(LINK_RESET, "one connection reset")                                          \
        X(NATS_RESTART, "NATS gone and back")                                          \
        X(CLOCK_JUMP, "wall clock set forwards or backwards")                          \
        X(SUSPEND, "boot clock of one node jumps")                                     \
        X(DRAIN, "runtime drained by verb, later resumed")                             \
        X(REPLACE, "a second process under a runtime's id while the first is cut off") \
        X(HOSTILE, "random bytes and mutated messages on all subjects")                \
        X(STORM, "a burst of triggers")

/* what must have happened somewhere */
#define COVERAGE_KINDS(X)                                                                \
        X(PLACED_AFTER_503, "relays placed again after \"no responders\"")               \
        X(PLACED_AFTER_LOSS, "executions placed again after a loss")                     \
        X(PROBE, "probes sent")                                                          \
        X(PROBE_ANSWERED, "probes answered")                                             \
        X(VERDICT, "runtimes declared dead")                                             \
        X(MASS_SILENCE, "probes while a third of the fleet was silent")                  \
        X(ROLL_CALL, "roll calls")                                                       \
        X(PARTS, "registrations in parts")                                               \
        X(EPOCH_BUMP, "epochs renewed by a living runtime")                              \
        X(LOWER_EPOCH, "processes started with an epoch below the last one's")           \
        X(REPLACED, "processes that left because they were replaced")                    \
        X(STARTED, "started reports delivered")                                          \
        X(DEFERRED, "messages deferred by a behaviour")                                  \
        X(SUCCESS, "successes received")                                                 \
        X(DEADLINE, "DEADLINE_EXCEEDED received")                                        \
        X(OVERLOADED, "OVERLOADED received")                                             \
        X(RUNTIME_LOST, "RUNTIME_LOST received")                                         \
        X(NO_RUNTIME, "NO_RUNTIME received")                                             \
        X(AGENT_UNKNOWN, "AGENT_UNKNOWN received")                                       \
        X(INVALID, "INVALID_MESSAGE received")                                           \
        X(REFUSED, "relays refused by a runtime")                                        \
        X(REFUSED_FULL, "relays refused by a full runtime or mailbox")                   \
        X(REFUSED_DRAINING, "relays refused by a draining runtime")                      \
        X(REFUSED_LOST, "relays refused after a stall or for their epoch")               \
        X(REPEAT, "relays sent again (age > 0)")                                         \
        X(FROM_MEMORY, "repeats answered from memory")                                   \
        X(ASKED_AGAIN, "executions asked for again")                                     \
        X(TWO_ANSWERS, "triggers answered more than once")                               \
        X(EXCUSED, "unanswered triggers whose answer was lost, or whose dispatcher was") \
        X(NEVER_ARRIVED, "unanswered triggers that reached no dispatcher")               \
        X(VERB, "verbs answered")                                                        \
        X(JETSTREAM, "JetStream calls answered")                                         \
        X(APP_MESSAGES, "application messages published")                                \
        X(APP_COPIES, "copies of them handled by behaviours")                            \
        X(APP_EXPIRED, "of them with a ttl that was used up")                            \
        X(APP_ANSWERS, "of them answered")                                               \
        X(APP_ERRORS, "of them answered with an error")                                  \
        X(APP_KNOWN, "of them published after an answer that promised their delivery")   \
        X(APP_PENDING, "of them left pending")                                           \
        X(APP_ASKS, "questions of agents to agents")                                     \
        X(APP_EMITTED, "messages that agents emitted while they handled one")            \
        X(APP_REQUESTS, "control requests about agents")                                 \
        X(APP_REQUESTS_OK, "of them carried out")                                        \
        X(APP_REQUESTS_REFUSED, "of them refused")                                       \
        X(APP_INITS, "agents started")                                                   \
        X(APP_INITS_FAILED, "agents whose init failed")                                  \
        X(APP_RESTORED, "agents started with a state")                                   \
        X(APP_CRASHES, "remote behaviours lost")                                         \
        X(APP_RESTARTS, "of them started again")                                         \
        X(APP_SAVES, "states saved")                                                     \
        X(APP_SAVES_FAILED, "states that the store could not save")                      \
        X(APP_LOADS_FAILED, "states that the store could not bring")

typedef enum Count {
#define X(name, text) COUNT_FAULT_##name,
        FAULT_KINDS(X)
#undef X
#define X(name, text) COUNT_##name,
                COVERAGE_KINDS(X)
#undef X
                        COUNT_SEEDS,
        COUNT_SEEDS_TWICE, /* run twice to compare */
        COUNT_FAILED,
        COUNT_USEC, /* virtual time */
        COUNT_STEPS,
        COUNT_MESSAGES, /* published */
        COUNT_DELIVERIES,
        COUNT_TRIGGERS,
        _COUNT_MAX,
} Count;

typedef struct Stats {
        uint64_t counts[_COUNT_MAX];
} Stats;

void stats_add(Stats *sum, const Stats *more);

/* Prints the summary to stdout; returns the number of kinds that never occurred. */
unsigned stats_print(const Stats *stats);
