/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Mailbox: the messages that wait for one agent, by lane, bounded by count and by bytes.
 *
 * Owns nothing: it links Mail that others own. Loop thread only. Control and urgent mail never waits behind other mail
 * and is bounded by what was taken before; the other lanes share the limits. What was given to a worker and not begun
 * still counts: to its sender a message is in the mailbox until the behaviour sees it.
 *
 * An agent without mail has no mailbox (NULL): hosts have many agents, most of them idle.
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
        MailList lanes[_LANE_MAX];
        uint32_t n[_LANE_MAX];
        uint32_t n_bounded;     /* in the three lanes that are */
        uint32_t n_triggers;    /* in all lanes */
        uint64_t n_bytes;       /* of those */
        uint32_t n_passed_over; /* turns that the background lane did not get */

        /* given to a worker and not begun, as far as is known: of the lanes that are bounded */
        uint64_t n_given, n_bytes_given;
} Mailbox;

typedef struct MailboxLimits {
        uint64_t capacity, bytes_max;
} MailboxLimits;

Mailbox *mailbox_new(void);
Mailbox *mailbox_free(Mailbox *mailbox); /* must be empty */

/* Would it be full? An empty mailbox takes any one message, however large: a message over bytes_max could never be
 * handled otherwise. */
bool mailbox_has_room(const Mailbox *mailbox, const MailboxLimits *limits, size_t n_bytes);

/* At the end of its lane. Returns 0 or MAILBOX_E_FULL. */
int mailbox_push(Mailbox *mailbox, const MailboxLimits *limits, Mail *mail);

/* Puts back what a worker left, a singly linked list in order, each in front of its lane; the limits don't matter. */
void mailbox_return(Mailbox *mailbox, Mail *mail);

/* Takes out one that is in it, wherever it is. */
void mailbox_remove(Mailbox *mailbox, Mail *mail);

/* The next to be handled, from the lanes in `lanes` (a set of 1 << Lane); NULL when those are empty. */
Mail *mailbox_pop(Mailbox *mailbox, unsigned lanes);

/*
 * All at once, as a chain in order, without a look at each: when only one of those lanes has mail, that lane is one
 * that is bounded, it has no more than n_max, and no trigger is among them (those are noted one by one). NULL: pop
 * them.
 */
Mail *mailbox_pop_lane(Mailbox *mailbox, unsigned lanes, uint32_t n_max, uint32_t *ret_n, uint64_t *ret_n_bytes);

/* The one that drop_oldest drops: the longest waiting of the least important lane that is bounded; NULL: none. */
Mail *mailbox_oldest(const Mailbox *mailbox);

#define LANES_ALL ((1u << _LANE_MAX) - 1)
#define LANES_CONTROL (1u << LANE_CONTROL)
#define LANES_BEGUN (LANES_CONTROL | 1u << LANE_URGENT)

/* Messages in the lanes, control left out; and all that is not begun. */
uint32_t mailbox_size(const Mailbox *mailbox);
bool mailbox_is_empty(const Mailbox *mailbox, unsigned lanes);
