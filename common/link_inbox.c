/* SPDX-License-Identifier: MIT */

/*
 * nats.c gives no word when the last of its callbacks for a connection has returned, so an inbox can't be kept
 * alive until then by counting. Instead all living inboxes are in one list, guarded by one lock that is held while
 * a callback pushes: after link_inbox_free() no thread can be inside. A process has one link, so sharing the lock
 * costs nothing.
 *
 * Events lie in two lists: other threads add to `arrived`, the loop walks `taken`, and when it is through they change
 * places. So the loop takes the lock once for all that has come meanwhile, an event costs no allocation, and other
 * threads write to the descriptor only for the first event since the loop found nothing.
 */

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/link_inbox.h"

#define KEPT_EVENTS 16384 /* a list that a burst made longer is given back */
#define EVENTS_FIRST 256

_Static_assert(sizeof(uintptr_t) * CHAR_BIT >= 64, "ticket and key share a word");

typedef struct EventList {
        LinkEvent *events;
        size_t n, n_allocated, n_bytes;
} EventList;

struct LinkInbox {
        LinkInbox *next; /* in `living` */
        uintptr_t ticket;
        int fd;
        size_t bytes_max;

        /* under the lock */
        EventList arrived;
        bool is_noticed; /* the descriptor was written to since the loop found nothing */
        uint64_t n_dropped, n_fences;

        EventList taken; /* the loop's; its n_bytes changes under the lock */
        size_t n_handled;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LinkInbox *living;
static uintptr_t last_ticket;

void link_event_done(LinkEvent *event) {
        natsMsg_Destroy(event->message);
        free(event->why);
        *event = (LinkEvent){ 0 };
}

static LinkInbox *find(uintptr_t ticket) {
        LinkInbox *inbox = living;

        while (inbox && inbox->ticket != ticket)
                inbox = inbox->next;
        return inbox;
}

/* They come round after 65,535 inboxes; a process has one, and a test a few dozen. */
static uintptr_t next_ticket(void) {
        const uintptr_t ticket_max = UINTPTR_MAX >> LINK_INBOX_KEY_BITS;

        do
                last_ticket = last_ticket % ticket_max + 1;
        while (find(last_ticket));
        return last_ticket;
}

int link_inbox_new(size_t bytes_max, LinkInbox **ret) {
        _cleanup_(link_inbox_freep) LinkInbox *inbox = NULL;

        inbox = calloc(1, sizeof(*inbox));
        if (!inbox)
                return -ENOMEM;

        inbox->bytes_max = bytes_max;
        inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (inbox->fd < 0)
                return -errno;

        (void)pthread_mutex_lock(&lock);
        inbox->ticket = next_ticket();
        inbox->next = living;
        living = inbox;
        (void)pthread_mutex_unlock(&lock);

        *ret = TAKE_PTR(inbox);
        return 0;
}

static void list_done(EventList *list, size_t first) {
        for (size_t i = first; i < list->n; i++)
                link_event_done(&list->events[i]);
        free(list->events);
}

LinkInbox *link_inbox_free(LinkInbox *inbox) {
        LinkInbox **p;

        if (!inbox)
                return NULL;

        (void)pthread_mutex_lock(&lock);
        for (p = &living; *p && *p != inbox; p = &(*p)->next)
                ;
        if (*p)
                *p = inbox->next;
        (void)pthread_mutex_unlock(&lock);

        list_done(&inbox->taken, inbox->n_handled);
        list_done(&inbox->arrived, 0);
        if (inbox->fd >= 0)
                (void)close(inbox->fd);
        free(inbox);
        return NULL;
}

uintptr_t link_inbox_ticket(const LinkInbox *inbox) {
        return inbox->ticket;
}

void *link_inbox_closure(const LinkInbox *inbox, uint64_t key) {
        assert(key >> LINK_INBOX_KEY_BITS == 0);

        return (void *)(inbox->ticket << LINK_INBOX_KEY_BITS | (uintptr_t)key);
}

int link_inbox_fd(const LinkInbox *inbox) {
        return inbox->fd;
}

static void notify(const LinkInbox *inbox) {
        const uint64_t one = 1;

        (void)!write(inbox->fd, &one, sizeof(one)); /* fails only when it is readable anyway */
}

static int list_reserve(EventList *list) {
        const size_t n = MAX_OF(list->n_allocated * 2, (size_t)EVENTS_FIRST);
        LinkEvent *events;

        if (list->n < list->n_allocated)
                return 0;
        events = reallocarray(list->events, n, sizeof(*events));
        if (!events)
                return -ENOMEM;
        list->events = events;
        list->n_allocated = n;
        return 0;
}

static int push_locked(uintptr_t ticket, const LinkEvent *event, size_t cost) {
        LinkInbox *inbox = find(ticket);
        EventList *list;
        int r;

        if (!inbox)
                return LINK_INBOX_E_GONE;
        list = &inbox->arrived;
        r = list->n_bytes + inbox->taken.n_bytes + cost > inbox->bytes_max ? LINK_INBOX_E_FULL : list_reserve(list);
        if (r != 0) {
                inbox->n_dropped++;
                return r;
        }
        list->events[list->n++] = *event;
        list->n_bytes += cost;
        if (!inbox->is_noticed) {
                inbox->is_noticed = true;
                notify(inbox);
        }
        return 0;
}

static int push(uintptr_t ticket, const LinkEvent *event, size_t cost) {
        int r;

        (void)pthread_mutex_lock(&lock);
        r = push_locked(ticket, event, cost);
        (void)pthread_mutex_unlock(&lock);
        return r;
}

int link_inbox_push(void *closure, natsMsg *message) {
        const uintptr_t word = (uintptr_t)closure, key_max = ((uintptr_t)1 << LINK_INBOX_KEY_BITS) - 1;

        return push(word >> LINK_INBOX_KEY_BITS, &(LinkEvent){ .message = message, .key = word & key_max },
                (size_t)natsMsg_GetDataLength(message) + LINK_INBOX_MESSAGE_COST);
}

int link_inbox_push_error(uintptr_t ticket, const char *why) {
        LinkEvent event = { .why = strdup(why) };
        int r;

        if (!event.why)
                return -ENOMEM;
        r = push(ticket, &event, sizeof(event) + strlen(why));
        if (r != 0)
                link_event_done(&event);
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

void link_inbox_push_fence(uintptr_t ticket) {
        LinkInbox *inbox;

        (void)pthread_mutex_lock(&lock);
        inbox = find(ticket);
        if (inbox) {
                inbox->n_fences++;
                notify(inbox);
        }
        (void)pthread_mutex_unlock(&lock);
}

uint64_t link_inbox_n_fences(const LinkInbox *inbox) {
        uint64_t n;

        (void)pthread_mutex_lock(&lock);
        n = inbox->n_fences;
        (void)pthread_mutex_unlock(&lock);
        return n;
}

void link_inbox_acknowledge(LinkInbox *inbox) {
        uint64_t n;

        (void)!read(inbox->fd, &n, sizeof(n));
}

/* Returns false when nothing has arrived. */
static bool change_places(LinkInbox *inbox) {
        EventList spent = inbox->taken;

        if (spent.n_allocated > KEPT_EVENTS) {
                free(spent.events);
                spent = (EventList){ 0 };
        }
        spent.n = spent.n_bytes = 0;

        (void)pthread_mutex_lock(&lock);
        inbox->taken = inbox->arrived;
        inbox->arrived = spent;
        if (inbox->taken.n == 0)
                inbox->is_noticed = false;
        (void)pthread_mutex_unlock(&lock);

        inbox->n_handled = 0;
        return inbox->taken.n > 0;
}

bool link_inbox_take(LinkInbox *inbox, LinkEvent *ret) {
        if (inbox->n_handled == inbox->taken.n && !change_places(inbox))
                return false;
        *ret = inbox->taken.events[inbox->n_handled++];
        return true;
}

uint64_t link_inbox_n_dropped(const LinkInbox *inbox) {
        uint64_t n;

        (void)pthread_mutex_lock(&lock);
        n = inbox->n_dropped;
        (void)pthread_mutex_unlock(&lock);
        return n;
}
