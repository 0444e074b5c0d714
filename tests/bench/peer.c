/* SPDX-License-Identifier: MIT */

/*
 * The loop owns the socket: nats.c parses in ProcessReadEvent(), synchronous subscriptions are drained right after it,
 * and what that made us publish leaves in one write at the end of the turn, without a round through epoll.
 *
 * nats.c asks for a write only once, when its buffer was empty (`write_wanted`), and takes that back in
 * ProcessWriteEvent() when all is out. Only what the socket did not take waits for EV_WRITE.
 *
 * Messages are given back many at a time, after a write: natsMsg_Destroy() leaves them to a thread of nats.c's and
 * wakes it whenever it sleeps, so one at a time costs a switch of threads for every message or two, and the allocator's
 * lock.
 *
 * The client's pings are off: they come from nats.c's timer thread and would be the only thing here that is not on
 * ours.
 */

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/peer.h"

#define SUBSCRIPTIONS_MAX 8
#define IO_BUFFER_BYTES (128 * 1024) /* 32 KiB by default: four times the turns, at 512 outstanding */
#define SPENT_MAX 1024               /* messages that wait to be given back */
#define PENDING_MSGS_MAX (4 * 1024 * 1024)
#define PENDING_BYTES_MAX (1024 * 1024 * 1024)

typedef struct PeerSubscription {
        natsSubscription *subscription;
        PeerHandler on_message;
        void *userdata;
} PeerSubscription;

struct Peer {
        struct event_base *base;
        struct event *read_event, *write_event;
        natsOptions *options;
        natsConnection *connection;
        bool write_wanted, write_armed;

        PeerSubscription subscriptions[SUBSCRIPTIONS_MAX];
        size_t n_subscriptions;
        natsMsg *spent[SPENT_MAX];
        size_t n_spent;
        PeerTurn on_turn;
        void *on_turn_userdata;
        char inbox[PEER_INBOX_MAX];
};

void peer_fail(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)vfprintf(stderr, format, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
        exit(1);
}

static void must(natsStatus s, const char *what) {
        if (s != NATS_OK)
                peer_fail("%s: %s", what, natsStatus_GetText(s));
}

uint64_t peer_now_nsec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t peer_cpu_nsec(int pid) {
        struct timespec ts;
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
                return 0;
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void give_back(Peer *peer) {
        for (size_t i = 0; i < peer->n_spent; i++)
                natsMsg_Destroy(peer->spent[i]);
        peer->n_spent = 0;
}

static void drain(Peer *peer, PeerSubscription *subscription) {
        natsMsg *msg;

        while (natsSubscription_NextMsg(&msg, subscription->subscription, 0) == NATS_OK) {
                subscription->on_message(msg, subscription->userdata);
                peer->spent[peer->n_spent++] = msg;
                if (peer->n_spent == SPENT_MAX)
                        give_back(peer);
        }
        if (natsConnection_IsClosed(peer->connection))
                peer_fail("The connection to the server was lost");
}

void peer_write(Peer *peer) {
        if (!peer->write_wanted)
                return;

        natsConnection_ProcessWriteEvent(peer->connection);
        if (peer->write_wanted == peer->write_armed)
                return;
        if (peer->write_wanted)
                (void)event_add(peer->write_event, NULL);
        else
                (void)event_del(peer->write_event);
        peer->write_armed = peer->write_wanted;
}

static void on_readable(evutil_socket_t fd, short what, void *userdata) {
        Peer *peer = userdata;

        (void)fd;
        (void)what;

        natsConnection_ProcessReadEvent(peer->connection);
        for (size_t i = 0; i < peer->n_subscriptions; i++)
                drain(peer, &peer->subscriptions[i]);
        if (peer->on_turn)
                peer->on_turn(peer->on_turn_userdata);
        peer_write(peer);
        if (peer->n_spent >= SPENT_MAX / 2)
                give_back(peer);
}

static void on_writable(evutil_socket_t fd, short what, void *userdata) {
        (void)fd;
        (void)what;

        peer_write(userdata);
}

static natsStatus on_attach(void **data, void *loop, natsConnection *connection, natsSock fd) {
        Peer *peer = loop;

        peer->connection = connection;
        peer->read_event = event_new(peer->base, fd, EV_READ | EV_PERSIST, on_readable, peer);
        peer->write_event = event_new(peer->base, fd, EV_WRITE | EV_PERSIST, on_writable, peer);
        if (!peer->read_event || !peer->write_event || event_add(peer->read_event, NULL) < 0)
                return NATS_NO_MEMORY;
        *data = peer;
        return NATS_OK;
}

static natsStatus on_read_wanted(void *data, bool add) {
        Peer *peer = data;

        (void)(add ? event_add(peer->read_event, NULL) : event_del_noblock(peer->read_event));
        return NATS_OK;
}

static natsStatus on_write_wanted(void *data, bool add) {
        Peer *peer = data;

        peer->write_wanted = add;
        return NATS_OK;
}

static natsStatus on_detach(void *data) {
        (void)data;
        return NATS_OK;
}

/* Threads inherit the policy of who starts them. */
static void open_library(void) {
        const struct sched_param none = { 0 };

        (void)sched_setscheduler(0, SCHED_BATCH, &none);
        must(nats_Open(-1), "nats_Open");
        (void)sched_setscheduler(0, SCHED_OTHER, &none);
}

Peer *peer_new(const char *url, const char *name) {
        _cleanup_(peer_freep) Peer *peer = calloc(1, sizeof(*peer));
        char unique[9];

        if (!peer)
                peer_fail("Out of memory");
        peer->base = event_base_new();
        if (!peer->base)
                peer_fail("No event loop");

        open_library();
        must(natsOptions_Create(&peer->options), "options");
        must(natsOptions_SetURL(peer->options, url), url);
        must(natsOptions_SetName(peer->options, name), name);
        must(natsOptions_SetSendAsap(peer->options, true), "options");
        must(natsOptions_SetAllowReconnect(peer->options, false), "options");
        must(natsOptions_SetIOBufSize(peer->options, IO_BUFFER_BYTES), "options");
        must(natsOptions_SetPingInterval(peer->options, 0), "options");
        must(natsOptions_SetEventLoop(peer->options, peer, on_attach, on_read_wanted, on_write_wanted, on_detach),
                "options");
        must(natsConnection_Connect(&peer->connection, peer->options), url);

        (void)snprintf(unique, sizeof(unique), "%08x", (unsigned)peer_now_nsec() ^ (unsigned)getpid() << 12);
        (void)snprintf(peer->inbox, sizeof(peer->inbox), "_INBOX.%s", unique);
        return TAKE_PTR(peer);
}

Peer *peer_free(Peer *peer) {
        if (!peer)
                return NULL;

        /* nats.c hands the socket back on a thread of its own; a program that is about to end need not wait for that.
         */
        give_back(peer);
        for (size_t i = 0; i < peer->n_subscriptions; i++)
                natsSubscription_Destroy(peer->subscriptions[i].subscription);
        free(peer);
        return NULL;
}

struct event_base *peer_base(Peer *peer) {
        return peer->base;
}

const char *peer_inbox(const Peer *peer) {
        return peer->inbox;
}

void peer_subscribe(Peer *peer, const char *subject, PeerHandler on_message, void *userdata) {
        PeerSubscription *subscription = &peer->subscriptions[peer->n_subscriptions];

        assert(peer->n_subscriptions < SUBSCRIPTIONS_MAX);
        must(natsConnection_SubscribeSync(&subscription->subscription, peer->connection, subject), subject);
        must(natsSubscription_SetPendingLimits(subscription->subscription, PENDING_MSGS_MAX, PENDING_BYTES_MAX),
                subject);
        subscription->on_message = on_message;
        subscription->userdata = userdata;
        peer->n_subscriptions++;
}

void peer_on_turn(Peer *peer, PeerTurn on_turn, void *userdata) {
        peer->on_turn = on_turn;
        peer->on_turn_userdata = userdata;
}

void peer_publish(Peer *peer, const char *subject, const char *reply, const void *data, size_t size) {
        natsStatus s;

        s = reply ? natsConnection_PublishRequest(peer->connection, subject, reply, data, (int)size)
                  : natsConnection_Publish(peer->connection, subject, data, (int)size);
        must(s, subject);
}

static void on_settled(natsMsg *msg, void *userdata) {
        (void)msg;
        peer_stop(userdata);
}

void peer_settle(Peer *peer) {
        char subject[PEER_INBOX_MAX + sizeof("-settle")];

        (void)snprintf(subject, sizeof(subject), "%s-settle", peer->inbox);
        peer_subscribe(peer, subject, on_settled, peer);
        peer_publish(peer, subject, NULL, "", 0);
        peer_run(peer);
        peer->n_subscriptions--;
        natsSubscription_Destroy(peer->subscriptions[peer->n_subscriptions].subscription);
        peer_write(peer);
}

void peer_run(Peer *peer) {
        peer_write(peer);
        (void)event_base_dispatch(peer->base);
}

void peer_stop(Peer *peer) {
        (void)event_base_loopbreak(peer->base);
}
