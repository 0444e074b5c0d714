/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * LinkTags: the subscriptions of a link that have a tag, by the hundred thousand. Embedded by value; owns the texts,
 * and keeps for the caller what nats.c made of each. Adding, finding and removing cost the same however many there are.
 *
 * A tag is the caller's and may be any number; the key is ours, fits beside a ticket into the one word that nats.c
 * calls back with (common/link_inbox.h), and is another one when the tag comes again. Knows nothing of connections. Not
 * thread-safe.
 */

#include <nats/nats.h>

#include "proto/cc.h"
#include "proto/slice.h"

typedef struct LinkTag {
        uint64_t tag;
        char *texts;              /* the subject, a NUL, the queue group or nothing, a NUL; NULL: a free place */
        natsSubscription *handle; /* NULL: not set up with the server; the caller's to destroy */
        uint32_t sequence;        /* of its key */
        uint32_t next_free;       /* of a free place */
} LinkTag;

typedef struct LinkTags {
        LinkTag *places; /* where each stays as long as it lasts, with free ones between */
        size_t n_places, n_allocated, n;
        uint32_t first_free, last_sequence;
        uint32_t *slots; /* of the index by tag: a place and one; 0: free */
        size_t mask;     /* their number less one; 0: none yet */
} LinkTags;

void link_tags_done(LinkTags *tags);

/* Returns 0, -EEXIST, -ENOMEM. `queue` absent or empty: none. `ret` is borrowed until the next add or remove. */
int link_tags_add(LinkTags *tags, uint64_t tag, Slice subject, Slice queue, LinkTag **ret);
void link_tags_remove(LinkTags *tags, LinkTag *gone);

/* NULL when it is not there; borrowed until the next add or remove. */
LinkTag *link_tags_find(const LinkTags *tags, uint64_t tag);
LinkTag *link_tags_find_key(const LinkTags *tags, uint64_t key);

uint64_t link_tag_key(const LinkTags *tags, const LinkTag *tag); /* > 0, below 1 << LINK_INBOX_KEY_BITS */
const char *link_tag_queue(const LinkTag *tag);                  /* NULL: none */
