/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Peer: one nats.c connection the fastest way nats.c allows, for the programs that measure.
 *
 * Deliberately not common/nats_link.c: this is what that one is compared with. One thread; a broken connection ends the
 * process, because a measurement that was interrupted is none.
 */

#include <event2/event.h>
#include <nats/nats.h>

#include "proto/cc.h"

#define PEER_INBOX_MAX 64

typedef struct Peer Peer;

typedef void (*PeerHandler)(natsMsg *msg, void *userdata); /* msg is borrowed until it returns */
typedef void (*PeerTurn)(void *userdata);

/* Connects and waits for it. Says on stderr what went wrong and ends the process, as everything here. */
Peer *peer_new(const char *url, const char *name);
Peer *peer_free(Peer *peer);

DEFINE_CLEANUP(Peer *, peer_free);

struct event_base *peer_base(Peer *peer);
const char *peer_inbox(const Peer *peer); /* "_INBOX.<unique>": the caller subscribes below it */

/* Handlers run in the order of the subscriptions, each draining its own. */
void peer_subscribe(Peer *peer, const char *subject, PeerHandler on_message, void *userdata);

/* After the handlers of a read, before what they published is written. */
void peer_on_turn(Peer *peer, PeerTurn on_turn, void *userdata);

void peer_publish(Peer *peer, const char *subject, const char *reply, const void *data, size_t size);

/* Runs the loop until the server has processed every subscription made so far. */
void peer_settle(Peer *peer);

/* Writes what was published outside a handler. */
void peer_write(Peer *peer);

void peer_run(Peer *peer); /* until peer_stop() */
void peer_stop(Peer *peer);

uint64_t peer_now_nsec(void); /* CLOCK_MONOTONIC */

/* CPU time that a process has used so far, all its threads, those that ended too. 0 when there is no such process. */
uint64_t peer_cpu_nsec(int pid);

/* Sentence on stderr, then exit(1). */
_Noreturn void peer_fail(const char *format, ...) _printf_(1, 2);
