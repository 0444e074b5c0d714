/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NatsWire: one connection to a server, from the attempt to its end. It never reconnects: the link makes a new one.
 *
 * natsConnection_Connect() waits (for DNS, TCP, TLS, the server's greeting), so it runs on a thread of its own;
 * when it has an outcome, the inbox behind `ticket` is woken. From then on the wire is the loop thread's.
 */

#include <nats/nats.h>

#include "common/nats_settings.h"
#include "proto/cc.h"

typedef enum WireState {
        WIRE_CONNECTING,
        WIRE_OPEN,
        WIRE_CLOSED, /* could not connect, or the connection has ended */
} WireState;

typedef struct NatsWire NatsWire;

/* Once at least, before anything else of nats.c. */
void nats_wire_open_library(void);

/* Keeps a reference to `settings`, which must not change until the state is no longer WIRE_CONNECTING. */
int nats_wire_new(NatsSettings *settings, uintptr_t ticket, NatsWire **ret) _must_check_;

/* Ends the connection without waiting for anything. While it still connects, its thread is left to clean up. */
NatsWire *nats_wire_free(NatsWire *wire);

DEFINE_CLEANUP(NatsWire *, nats_wire_free);

WireState nats_wire_state(NatsWire *wire);

/* Why it is closed; valid as long as the wire. */
const char *nats_wire_why(const NatsWire *wire);

natsConnection *nats_wire_connection(const NatsWire *wire);

/* For polling; stays valid until nats_wire_free(), whatever nats.c does with its own. */
int nats_wire_fd(const NatsWire *wire);

/* One read; the messages are then in the subscriptions. */
void nats_wire_read(NatsWire *wire);

/* Writes what is buffered, as far as the socket takes it. Returns true when something is left: poll for writing. */
bool nats_wire_write(NatsWire *wire);

/* Counts the reads that brought something, as signs of life. */
uint64_t nats_wire_n_reads(const NatsWire *wire);

/* No more will be written; the server answers with the end of the connection once it has read all. */
void nats_wire_half_close(NatsWire *wire);

/* Ends the connection now; `why` is what nats_wire_why() says then. */
void nats_wire_break(NatsWire *wire, const char *why);
