/* SPDX-License-Identifier: MIT */

/*
 * Two threads own a wire in turn, and `lock` guards only the hand-over: the connecting thread until `is_done`, then
 * the loop. When the loop can't wait for the first (`is_abandoned`), the thread frees the wire.
 *
 * nats.c calls attach on the connecting thread, with the connection locked; write from whoever publishes, and that
 * may also be nats.c's timer thread with a PING; detach from whoever closes, which is always the loop thread, since
 * reconnecting is off and the ping timer is not allowed to close (nats_settings.c). That matters: nats.c before 3.9.2
 * frees the TLS session and closes the descriptor without caring whether another thread is inside
 * natsConnection_ProcessReadEvent().
 *
 * The loop polls a duplicate of nats.c's descriptor: before 3.9.2 nats.c closes its own before the loop can remove its
 * event, and the number may be another file's by then.
 */

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/link_inbox.h"
#include "common/nats_wire.h"

#define KEEPALIVE_SECONDS \
        10 /* backstop where nats.c waits in the middle of a TLS record, out of reach of our own check */
#define BREAK_READS_MAX 4096

struct NatsWire {
        uintptr_t ticket;
        pthread_t loop_thread, thread;
        NatsSettings *settings;

        pthread_mutex_t lock;
        bool is_done, is_abandoned;

        natsConnection *connection; /* NULL: could not connect */
        int fd;
        natsSock nats_fd; /* nats.c's own */
        atomic_bool wants_write;
        bool is_detached;
        uint64_t n_reads;
        char why[256];
};

/*
 * A dead peer must not hold a read for ever. No TCP_USER_TIMEOUT: it would also end the connection to a server that
 * is only stopped, which the link wants to judge by itself.
 */
static void set_socket_limits(int fd) {
        const int on = 1, seconds = KEEPALIVE_SECONDS, probes = 2;

        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static natsStatus on_attach(void **userdata, void *loop, natsConnection *connection, natsSock fd) {
        NatsWire *wire = loop;

        (void)connection;

        wire->nats_fd = fd;
        wire->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (wire->fd < 0)
                return NATS_SYS_ERROR;
        set_socket_limits(wire->fd);
        *userdata = wire;
        return NATS_OK;
}

static natsStatus on_read_wanted(void *userdata, bool add) {
        (void)userdata; /* the link polls for reading as long as the wire is open */
        (void)add;
        return NATS_OK;
}

/* With the connection locked. On the loop thread the link knows that it has published and writes at the end of its
 * turn. */
static natsStatus on_write_wanted(void *userdata, bool add) {
        NatsWire *wire = userdata;

        atomic_store_explicit(&wire->wants_write, add, memory_order_relaxed);
        if (add && !pthread_equal(pthread_self(), wire->loop_thread))
                link_inbox_wake(wire->ticket);
        return NATS_OK;
}

static natsStatus on_detach(void *userdata) {
        NatsWire *wire = userdata;

#if NATS_VERSION_NUMBER >= 0x030902 /* from there on it leaves closing its descriptor to the owner of the loop */
        natsConnection_ProcessCloseEvent(&wire->nats_fd);
#endif
        wire->is_detached = true;
        return NATS_OK;
}

/* nats.c puts the place in its own source in front: "(conn.c:733): ". Not borrowed for longer than the next call of
 * nats.c. */
static const char *last_error(natsStatus status) {
        const char *text = nats_GetLastError(NULL);
        const char *end = text && text[0] == '(' ? strstr(text, "): ") : NULL;

        if (end)
                text = end + 3;
        return text && text[0] != '\0' ? text : natsStatus_GetText(status);
}

/* A nats.c thread. */
static void on_async_error(
        natsConnection *connection, natsSubscription *subscription, natsStatus status, void *ticket) {
        (void)connection;
        (void)subscription;

        (void)link_inbox_push_error(
                (uintptr_t)ticket, last_error(status)); /* full or gone: there are worse problems then */
}

static void wire_destroy(NatsWire *wire) {
        natsConnection_Destroy(wire->connection);
        if (wire->fd >= 0)
                (void)close(wire->fd);
        (void)nats_settings_unref(wire->settings);
        (void)pthread_mutex_destroy(&wire->lock);
        free(wire);
}

static void *connect_thread(void *userdata) {
        NatsWire *wire = userdata;
        const uintptr_t ticket = wire->ticket;
        const natsStatus s = nats_settings_connect(wire->settings, &wire->connection);
        bool is_abandoned;

        if (s != NATS_OK) {
                wire->connection = NULL;
                (void)snprintf(wire->why, sizeof(wire->why), "%s", last_error(s));
        }

        (void)pthread_mutex_lock(&wire->lock);
        wire->is_done = true;
        is_abandoned = wire->is_abandoned;
        (void)pthread_mutex_unlock(&wire->lock);

        if (is_abandoned)
                wire_destroy(wire);
        else
                link_inbox_wake(ticket);
        nats_ReleaseThreadMemory();
        return NULL;
}

static int prepare(NatsWire *wire) {
        natsOptions *options = nats_settings_options(wire->settings);
        natsStatus s = natsOptions_SetEventLoop(options, wire, on_attach, on_read_wanted, on_write_wanted, on_detach);

        if (s == NATS_OK)
                s = natsOptions_SetErrorHandler(options, on_async_error, (void *)wire->ticket);
        return s == NATS_OK ? 0 : -ENOMEM;
}

/* Starts the library's threads; see "Freeing" in nats_link.c. Where the policy may not be set, all works as well, a
 * little slower. */
void nats_wire_open_library(void) {
        const struct sched_param none = {};
        const bool is_ours = sched_getscheduler(0) == SCHED_OTHER && sched_setscheduler(0, SCHED_BATCH, &none) == 0;

        (void)nats_Open(-1);
        (void)nats_SetMessageDeliveryPoolSize(1);
        if (is_ours) /* another policy is the operator's choice (CPUSchedulingPolicy=) */
                (void)sched_setscheduler(0, SCHED_OTHER, &none);
}

int nats_wire_new(NatsSettings *settings, uintptr_t ticket, NatsWire **ret) {
        NatsWire *wire = calloc(1, sizeof(*wire));
        int r;

        if (!wire)
                return -ENOMEM;

        wire->fd = -1;
        wire->ticket = ticket;
        wire->loop_thread = pthread_self();
        wire->settings = nats_settings_ref(settings);
        (void)pthread_mutex_init(&wire->lock, NULL);

        r = prepare(wire);
        if (r == 0)
                r = -pthread_create(&wire->thread, NULL, connect_thread, wire);
        if (r < 0) {
                wire_destroy(wire);
                return r;
        }

        *ret = wire;
        return 0;
}

static bool is_done(NatsWire *wire) {
        bool done;

        (void)pthread_mutex_lock(&wire->lock);
        done = wire->is_done;
        (void)pthread_mutex_unlock(&wire->lock);
        return done;
}

NatsWire *nats_wire_free(NatsWire *wire) {
        bool done;

        if (!wire)
                return NULL;

        (void)pthread_mutex_lock(&wire->lock);
        done = wire->is_done;
        wire->is_abandoned = !done;
        (void)pthread_mutex_unlock(&wire->lock);
        if (!done) {
                (void)pthread_detach(wire->thread);
                return NULL;
        }

        (void)pthread_join(wire->thread, NULL);
        if (wire->connection && !wire->is_detached)
                nats_wire_break(wire, "closed");
        wire_destroy(wire);
        return NULL;
}

WireState nats_wire_state(NatsWire *wire) {
        if (!is_done(wire))
                return WIRE_CONNECTING;
        return wire->connection && !wire->is_detached ? WIRE_OPEN : WIRE_CLOSED;
}

const char *nats_wire_why(const NatsWire *wire) {
        return wire->why;
}

natsConnection *nats_wire_connection(const NatsWire *wire) {
        return wire->connection;
}

int nats_wire_fd(const NatsWire *wire) {
        return wire->fd;
}

uint64_t nats_wire_n_reads(const NatsWire *wire) {
        return wire->n_reads;
}

/* After each call into nats.c that may have closed the connection. */
static void note_end(NatsWire *wire) {
        const char *text = NULL;
        natsStatus s;

        if (!wire->is_detached || wire->why[0] != '\0')
                return;
        s = natsConnection_GetLastError(wire->connection, &text);
        if (s == NATS_OK || s == NATS_CONNECTION_CLOSED)
                text = "the server closed the connection";
        (void)snprintf(wire->why, sizeof(wire->why), "%s", text && text[0] != '\0' ? text : natsStatus_GetText(s));
}

void nats_wire_read(NatsWire *wire) {
        natsConnection_ProcessReadEvent(wire->connection);
        wire->n_reads++;
        note_end(wire);
}

bool nats_wire_write(NatsWire *wire) {
        if (!atomic_load_explicit(&wire->wants_write, memory_order_relaxed))
                return false;
        natsConnection_ProcessWriteEvent(wire->connection);
        note_end(wire);
        return !wire->is_detached && atomic_load_explicit(&wire->wants_write, memory_order_relaxed);
}

void nats_wire_half_close(NatsWire *wire) {
        (void)shutdown(wire->fd, SHUT_WR);
}

void nats_wire_break(NatsWire *wire, const char *why) {
        (void)snprintf(wire->why, sizeof(wire->why), "%s", why);

        /* natsConnection_Close() would wait for a PONG when something is unsent; the end of the stream has it close at
         * once */
        (void)shutdown(wire->fd, SHUT_RDWR);
        for (size_t i = 0; i < BREAK_READS_MAX && !wire->is_detached; i++)
                natsConnection_ProcessReadEvent(wire->connection);
}
