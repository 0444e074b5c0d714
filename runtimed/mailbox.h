/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Mailbox: the messages that wait for one agent, in order, bounded by count and by bytes.
 *
 * Embedded by value in the agent. Owns nothing: it links Mail that others own. Loop thread only. Two lanes: ordinary
 * mail, bounded; and urgent mail (timers of messages that were taken long ago; later control messages), which never
 * waits behind ordinary mail and is bounded by what was taken before.
 */

#include "proto/cc.h"
#include "runtimed/run.h"

enum {
        MAILBOX_E_OK,

        MAILBOX_E_FULL, /* count or bytes are at the limit */
};

typedef struct MailList {
        Mail *first, *last;
} MailList;

typedef struct Mailbox {
        MailList urgent, ordinary;
        uint32_t n_urgent, n_ordinary;
        uint64_t n_bytes; /* of ordinary mail */
        uint32_t capacity;
        uint64_t bytes_max;
} Mailbox;

void mailbox_init(Mailbox *mailbox, uint64_t capacity, uint64_t bytes_max);

/* Would it be full? An empty mailbox takes any one message, however large: a message over bytes_max could never be
 * handled otherwise. */
bool mailbox_has_room(const Mailbox *mailbox, size_t n_bytes);

/* At the end of the ordinary lane. Returns 0 or MAILBOX_E_FULL. */
int mailbox_push(Mailbox *mailbox, Mail *mail);

void mailbox_push_urgent(Mailbox *mailbox, Mail *mail);

/* Puts back what a worker left, a singly linked list in order, in front of everything; the limits don't matter. */
void mailbox_return(Mailbox *mailbox, Mail *mail);

/* Takes out one that is in it, wherever it is. */
void mailbox_remove(Mailbox *mailbox, Mail *mail);

/* The next to be handled; NULL when empty. `urgent_only`: leave ordinary mail where it is. */
Mail *mailbox_pop(Mailbox *mailbox, bool urgent_only);

/* The longest waiting ordinary one; NULL when there is none. */
Mail *mailbox_oldest(const Mailbox *mailbox);

static inline uint32_t mailbox_size(const Mailbox *mailbox) {
        return mailbox->n_urgent + mailbox->n_ordinary;
}
