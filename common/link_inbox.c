/* SPDX-License-Identifier: MIT */

/*
 * nats.c gives no word when the last of its callbacks for a connection has returned, so an inbox can't be kept
 * alive until then by counting. Instead all living inboxes are in one list, guarded by one lock that is held while
 * a callback pushes: after link_inbox_free() no thread can be inside. A process has one link, so sharing the lock
 * costs nothing.
 */

#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/link_inbox.h"

struct LinkInbox {
        LinkInbox *next; /* in `living` */
        uintptr_t ticket;
        int fd;
        LinkEvent *first, **last;
        size_t n_bytes, bytes_max;
        uint64_t n_dropped;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LinkInbox *living;
static uintptr_t last_ticket;

LinkEvent *link_event_free(LinkEvent *event) {
        if (!event)
                return NULL;
        natsMsg_Destroy(event->message);
        free(event);
        return NULL;
}

int link_inbox_new(size_t bytes_max, LinkInbox **ret) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;

        inbox = calloc(1, sizeof(*inbox));
        if (!inbox)
                return -ENOMEM;

        inbox->bytes_max = bytes_max;
        inbox->last = &inbox->first;
        inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (inbox->fd < 0)
                return -errno;

        (void)pthread_mutex_lock(&lock);
        inbox->ticket = ++last_ticket;
        inbox->next = living;
        living = inbox;
        (void)pthread_mutex_unlock(&lock);

        *ret = TAKE_PTR(inbox);
        return 0;
}

LinkInbox *link_inbox_free(LinkInbox *inbox) {
        LinkInbox **p;
        LinkEvent *event;

        if (!inbox)
                return NULL;

        (void)pthread_mutex_lock(&lock);
        for (p = &living; *p && *p != inbox; p = &(*p)->next)
                ;
        if (*p)
                *p = inbox->next;
        (void)pthread_mutex_unlock(&lock);

        while ((event = inbox->first)) {
                inbox->first = event->next;
                (void)link_event_free(event);
        }
        if (inbox->fd >= 0)
                (void)close(inbox->fd);
        free(inbox);
        return NULL;
}

uintptr_t link_inbox_ticket(const LinkInbox *inbox) {
        return inbox->ticket;
}

int link_inbox_fd(const LinkInbox *inbox) {
        return inbox->fd;
}

static size_t event_bytes(const LinkEvent *event) {
        return sizeof(*event) + (event->message ? (size_t)natsMsg_GetDataLength(event->message) : 0);
}

static LinkInbox *find(uintptr_t ticket) {
        LinkInbox *inbox = living;

        while (inbox && inbox->ticket != ticket)
                inbox = inbox->next;
        return inbox;
}

static void notify(const LinkInbox *inbox) {
        const uint64_t one = 1;

        (void)!write(inbox->fd, &one, sizeof(one)); /* fails only when it is readable anyway */
}

static int push_locked(uintptr_t ticket, LinkEvent *event) {
        LinkInbox *inbox = find(ticket);

        if (!inbox)
                return LINK_INBOX_E_GONE;
        if (inbox->n_bytes + event_bytes(event) > inbox->bytes_max) {
                inbox->n_dropped++;
                return LINK_INBOX_E_FULL;
        }
        if (!inbox->first)
                notify(inbox);
        *inbox->last = event;
        inbox->last = &event->next;
        inbox->n_bytes += event_bytes(event);
        return 0;
}

int link_inbox_push(uintptr_t ticket, natsMsg *message, const char *why) {
        LinkEvent *event = calloc(1, sizeof(*event));
        int r;

        if (!event)
                return -ENOMEM;
        event->message = message;
        (void)snprintf(event->why, sizeof(event->why), "%s", why ? why : "");

        (void)pthread_mutex_lock(&lock);
        r = push_locked(ticket, event);
        (void)pthread_mutex_unlock(&lock);
        if (r != 0)
                free(event); /* not the message: the caller still owns it */
        return r;
}

void link_inbox_wake(uintptr_t ticket) {
        const LinkInbox *inbox;

        (void)pthread_mutex_lock(&lock);
        inbox = find(ticket);
        if (inbox)
                notify(inbox);
        (void)pthread_mutex_unlock(&lock);
}

LinkEvent *link_inbox_take(LinkInbox *inbox) {
        LinkEvent *event;

        (void)pthread_mutex_lock(&lock);
        event = inbox->first;
        if (event) {
                inbox->first = event->next;
                if (!inbox->first)
                        inbox->last = &inbox->first;
                inbox->n_bytes -= event_bytes(event);
        }
        (void)pthread_mutex_unlock(&lock);
        return event;
}

void link_inbox_acknowledge(LinkInbox *inbox) {
        uint64_t n;

        (void)!read(inbox->fd, &n, sizeof(n));
}

uint64_t link_inbox_n_dropped(const LinkInbox *inbox) {
        uint64_t n;

        (void)pthread_mutex_lock(&lock);
        n = inbox->n_dropped;
        (void)pthread_mutex_unlock(&lock);
        return n;
}
