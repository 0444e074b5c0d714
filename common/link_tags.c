/* SPDX-License-Identifier: MIT */

/*
 * A key is a place and a sequence number, so each message finds its subscription in one step into an array, and one
 * that was on its way when its subscription ended finds none: 16 million subscriptions would have to begin meanwhile
 * before one could get the same key.
 *
 * The index by tag, for subscribing and unsubscribing, is open addressing with linear probing, at most three quarters
 * full; deleting shifts back what follows, so there are no tombstones to collect. Tags are our own program's, which
 * multiplying by the golden ratio spreads well enough; nobody outside chooses them.
 */

#include "common/link_inbox.h"
#include "common/link_tags.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define PLACE_BITS 24
#define PLACES_MAX (UINT32_C(1) << PLACE_BITS)
#define SEQUENCE_MAX ((UINT32_C(1) << (LINK_INBOX_KEY_BITS - PLACE_BITS)) - 1)
#define SLOTS_FIRST 64
#define NO_PLACE UINT32_MAX

void link_tags_done(LinkTags *tags) {
        assert(tags);

        for (size_t i = 0; i < tags->n_places; i++)
                free(tags->places[i].texts);
        free(tags->places);
        free(tags->slots);
        *tags = (LinkTags){ .last_sequence = tags->last_sequence };
}

static size_t slot_of(const LinkTags *tags, uint64_t tag) {
        return (size_t)((tag * GOLDEN) >> 32) & tags->mask;
}

/* The slot of `tag` that holds `content`, or with 0 the first free one; there must be one. */
static size_t find_slot(const LinkTags *tags, uint64_t tag, uint32_t content) {
        size_t i = slot_of(tags, tag);

        while (tags->slots[i] != content)
                i = (i + 1) & tags->mask;
        return i;
}

static int set_slots(LinkTags *tags, size_t n_slots) {
        uint32_t *slots = calloc(n_slots, sizeof(*slots));

        if (!slots)
                return -ENOMEM;
        free(tags->slots);
        tags->slots = slots;
        tags->mask = n_slots - 1;
        for (size_t i = 0; i < tags->n_places; i++)
                if (tags->places[i].texts)
                        slots[find_slot(tags, tags->places[i].tag, 0)] = (uint32_t)i + 1;
        return 0;
}

static int reserve_place(LinkTags *tags) {
        const size_t n = tags->n_places + tags->n_places / 2 + SLOTS_FIRST;
        LinkTag *places;

        if (tags->n < tags->n_places || tags->n_places < tags->n_allocated)
                return 0;
        if (tags->n_places >= PLACES_MAX)
                return -ENOMEM;
        places = reallocarray(tags->places, n, sizeof(*places));
        if (!places)
                return -ENOMEM;
        tags->places = places;
        tags->n_allocated = n;
        return 0;
}

static int reserve_slot(LinkTags *tags) {
        const size_t n_slots = tags->mask > 0 ? tags->mask + 1 : 0;

        if ((tags->n + 1) * 4 <= n_slots * 3)
                return 0;
        return set_slots(tags, MAX_OF(n_slots * 2, (size_t)SLOTS_FIRST));
}

static LinkTag *take_place(LinkTags *tags) {
        LinkTag *place;

        if (tags->n == tags->n_places)
                return &tags->places[tags->n_places++];
        place = &tags->places[tags->first_free];
        tags->first_free = place->next_free;
        return place;
}

static char *join(Slice subject, Slice queue) {
        char *texts = calloc(1, subject.size + queue.size + 2);

        if (!texts)
                return NULL;
        memcpy(texts, subject.data, subject.size);
        if (queue.size > 0)
                memcpy(texts + subject.size + 1, queue.data, queue.size);
        return texts;
}

int link_tags_add(LinkTags *tags, uint64_t tag, Slice subject, Slice queue, LinkTag **ret) {
        LinkTag *place;
        char *texts;
        int r;

        assert(tags);
        assert(tag > 0);

        if (link_tags_find(tags, tag))
                return -EEXIST;
        r = reserve_place(tags);
        if (r == 0)
                r = reserve_slot(tags);
        if (r < 0)
                return r;
        texts = join(subject, queue);
        if (!texts)
                return -ENOMEM;

        place = take_place(tags);
        tags->last_sequence = tags->last_sequence % SEQUENCE_MAX + 1;
        *place = (LinkTag){ .tag = tag, .texts = texts, .sequence = tags->last_sequence };
        tags->slots[find_slot(tags, tag, 0)] = (uint32_t)(place - tags->places) + 1;
        tags->n++;
        *ret = place;
        return 0;
}

/* Frees slot `hole`: what follows it without a gap moves back, unless it would come before where it belongs. */
static void free_slot(LinkTags *tags, size_t hole) {
        for (size_t i = (hole + 1) & tags->mask; tags->slots[i] != 0; i = (i + 1) & tags->mask) {
                const size_t home = slot_of(tags, tags->places[tags->slots[i] - 1].tag);

                if (((i - home) & tags->mask) >= ((i - hole) & tags->mask)) {
                        tags->slots[hole] = tags->slots[i];
                        hole = i;
                }
        }
        tags->slots[hole] = 0;
}

void link_tags_remove(LinkTags *tags, LinkTag *gone) {
        const uint32_t place = (uint32_t)(gone - tags->places);

        assert(gone->texts);

        free_slot(tags, find_slot(tags, gone->tag, place + 1));
        free(gone->texts);
        *gone = (LinkTag){ .next_free = tags->n < tags->n_places ? tags->first_free : NO_PLACE };
        tags->first_free = place;
        tags->n--;
        if (tags->n == 0)
                link_tags_done(tags); /* what a crowd has needed goes back when all have left */
}

LinkTag *link_tags_find(const LinkTags *tags, uint64_t tag) {
        assert(tags);

        if (tags->n == 0)
                return NULL;
        for (size_t i = slot_of(tags, tag); tags->slots[i] != 0; i = (i + 1) & tags->mask)
                if (tags->places[tags->slots[i] - 1].tag == tag)
                        return &tags->places[tags->slots[i] - 1];
        return NULL;
}

LinkTag *link_tags_find_key(const LinkTags *tags, uint64_t key) {
        const size_t place = key & (PLACES_MAX - 1);

        if (place >= tags->n_places || tags->places[place].sequence != key >> PLACE_BITS)
                return NULL;
        return tags->places[place].texts ? &tags->places[place] : NULL;
}

uint64_t link_tag_key(const LinkTags *tags, const LinkTag *tag) {
        return (uint64_t)tag->sequence << PLACE_BITS | (uint64_t)(tag - tags->places);
}

const char *link_tag_queue(const LinkTag *tag) {
        const char *queue = tag->texts + strlen(tag->texts) + 1;

        return queue[0] != '\0' ? queue : NULL;
}
