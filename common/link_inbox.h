/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LinkInbox: where threads of nats.c (and the thread that connects) leave what they have for the loop thread.
 *
 * Those threads may call back at any time, even after the link they belong to is gone. So they hold no pointer but a
 * ticket, a number that is looked up: when its inbox is gone, the push fails and the caller keeps what it had.
 * link_inbox_push() and link_inbox_wake() from any thread, the rest on the loop thread.
 */

#include <nats/nats.h>

#include "proto/cc.h"

enum {
        LINK_INBOX_E_OK,

        LINK_INBOX_E_GONE, /* the inbox of that ticket is no more */
        LINK_INBOX_E_FULL, /* too many bytes are waiting; counted */
};

typedef struct LinkEvent LinkEvent;

/* Either a message, or what went wrong, as text. */
struct LinkEvent {
        LinkEvent *next;
        natsMsg *message;
        char why[256];
};

LinkEvent *link_event_free(LinkEvent *event);

DEFINE_CLEANUP(LinkEvent *, link_event_free);

typedef struct LinkInbox LinkInbox;

int link_inbox_new(size_t bytes_max, LinkInbox **ret) _must_check_;
LinkInbox *link_inbox_free(LinkInbox *inbox);

DEFINE_CLEANUP(LinkInbox *, link_inbox_free);

uintptr_t link_inbox_ticket(const LinkInbox *inbox);

/* Readable when something was pushed, or somebody called link_inbox_wake(). */
int link_inbox_fd(const LinkInbox *inbox);

/* Takes the event on 0. Returns 0, an outcome above, -ENOMEM. `why` and `message`: one of them, the other NULL. */
int link_inbox_push(uintptr_t ticket, natsMsg *message, const char *why);
void link_inbox_wake(uintptr_t ticket);

/* The oldest event, owned by the caller; NULL when there is none. */
LinkEvent *link_inbox_take(LinkInbox *inbox);

/* Makes the descriptor unreadable; before the events are taken. */
void link_inbox_acknowledge(LinkInbox *inbox);

uint64_t link_inbox_n_dropped(const LinkInbox *inbox);
