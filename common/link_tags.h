/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LinkTags: the subscriptions of a link that have a tag, by the hundred thousand. Embedded by value; owns the texts,
 * and borrows what nats.c made of each. Adding, finding and removing cost the same however many there are.
 *
 * Knows nothing of connections. Not thread-safe.
 */

#include <nats/nats.h>

#include "proto/cc.h"
#include "proto/slice.h"

typedef struct LinkTag {
        uint64_t tag;
        char *texts;              /* the subject, a NUL, the queue group or nothing, a NUL */
        natsSubscription *handle; /* NULL: not set up with the server; the caller's */
} LinkTag;

typedef struct LinkTags {
        LinkTag *all; /* in no order */
        size_t n, n_allocated;
        uint32_t *slots; /* an index into `all` and one; 0: free */
        size_t mask;     /* their number less one; 0: none yet */
} LinkTags;

void link_tags_done(LinkTags *tags);

/* It is tags->all[tags->n - 1] then. Returns 0, -EEXIST, -ENOMEM. `queue` absent or empty: none. */
int link_tags_add(LinkTags *tags, uint64_t tag, Slice subject, Slice queue);

/* Borrowed until the next add or remove; NULL when it is not there. */
LinkTag *link_tags_find(const LinkTags *tags, uint64_t tag);

/* The last of `all` takes its place. */
void link_tags_remove(LinkTags *tags, LinkTag *gone);

const char *link_tag_queue(const LinkTag *tag); /* NULL: none */
