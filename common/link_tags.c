/* SPDX-License-Identifier: MIT */

/*
 * The entries lie one after the other, so that a reconnect walks them without holes, and one removed is replaced by the
 * last. An index of their places is kept beside them: open addressing, linear probing, at most three quarters full;
 * deleting shifts back what follows, so there are no tombstones to collect. Tags are our own and mostly in sequence,
 * which multiplying by the golden ratio spreads evenly; nobody outside chooses them.
 */

#include "common/link_tags.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define SLOTS_FIRST 64

static size_t slot_of(const LinkTags *tags, uint64_t tag) {
        return (size_t)((tag * GOLDEN) >> 32) & tags->mask;
}

void link_tags_done(LinkTags *tags) {
        assert(tags);

        for (size_t i = 0; i < tags->n; i++)
                free(tags->all[i].texts);
        free(tags->all);
        free(tags->slots);
        *tags = (LinkTags){ 0 };
}

/* The slot with `place` for `tag`, which must be there, or with place 0 the first free one. */
static size_t find_slot(const LinkTags *tags, uint64_t tag, uint32_t place) {
        size_t i = slot_of(tags, tag);

        while (tags->slots[i] != place)
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
        for (size_t i = 0; i < tags->n; i++)
                slots[find_slot(tags, tags->all[i].tag, 0)] = (uint32_t)i + 1;
        return 0;
}

static int reserve(LinkTags *tags) {
        const size_t n_slots = tags->mask > 0 ? tags->mask + 1 : 0;

        if (tags->n >= UINT32_MAX - 1)
                return -ENOMEM;
        if (tags->n == tags->n_allocated) {
                const size_t n = tags->n + tags->n / 2 + SLOTS_FIRST;
                LinkTag *all = reallocarray(tags->all, n, sizeof(*all));

                if (!all)
                        return -ENOMEM;
                tags->all = all;
                tags->n_allocated = n;
        }
        if ((tags->n + 1) * 4 > n_slots * 3)
                return set_slots(tags, MAX_OF(n_slots * 2, (size_t)SLOTS_FIRST));
        return 0;
}

/* After a crowd has left; without memory for it, things stay as they are. */
static void give_back(LinkTags *tags) {
        const size_t n_slots = tags->mask + 1, n = tags->n + tags->n / 2 + SLOTS_FIRST;
        LinkTag *all;

        if (n_slots <= SLOTS_FIRST || tags->n * 8 > n_slots)
                return;
        (void)set_slots(tags, n_slots / 2);
        all = reallocarray(tags->all, n, sizeof(*all));
        if (all) {
                tags->all = all;
                tags->n_allocated = n;
        }
}

int link_tags_add(LinkTags *tags, uint64_t tag, Slice subject, Slice queue) {
        char *texts;
        int r;

        assert(tags);
        assert(tag > 0);

        if (link_tags_find(tags, tag))
                return -EEXIST;
        r = reserve(tags);
        if (r < 0)
                return r;
        texts = malloc(subject.size + queue.size + 2);
        if (!texts)
                return -ENOMEM;
        memcpy(texts, subject.data, subject.size);
        texts[subject.size] = '\0';
        if (queue.size > 0)
                memcpy(texts + subject.size + 1, queue.data, queue.size);
        texts[subject.size + 1 + queue.size] = '\0';

        tags->slots[find_slot(tags, tag, 0)] = (uint32_t)tags->n + 1;
        tags->all[tags->n++] = (LinkTag){ .tag = tag, .texts = texts };
        return 0;
}

LinkTag *link_tags_find(const LinkTags *tags, uint64_t tag) {
        assert(tags);

        if (tags->n == 0)
                return NULL;
        for (size_t i = slot_of(tags, tag); tags->slots[i] != 0; i = (i + 1) & tags->mask)
                if (tags->all[tags->slots[i] - 1].tag == tag)
                        return &tags->all[tags->slots[i] - 1];
        return NULL;
}

/* Frees slot `hole`: what follows it without a gap moves back, unless it would come before where it belongs. */
static void free_slot(LinkTags *tags, size_t hole) {
        for (size_t i = (hole + 1) & tags->mask; tags->slots[i] != 0; i = (i + 1) & tags->mask) {
                const size_t home = slot_of(tags, tags->all[tags->slots[i] - 1].tag);

                if (((i - home) & tags->mask) >= ((i - hole) & tags->mask)) {
                        tags->slots[hole] = tags->slots[i];
                        hole = i;
                }
        }
        tags->slots[hole] = 0;
}

void link_tags_remove(LinkTags *tags, LinkTag *gone) {
        const uint32_t place = (uint32_t)(gone - tags->all) + 1, last = (uint32_t)tags->n;

        assert(place <= last);

        free_slot(tags, find_slot(tags, gone->tag, place));
        free(gone->texts);
        if (place != last) {
                tags->slots[find_slot(tags, tags->all[last - 1].tag, last)] = place;
                *gone = tags->all[last - 1];
        }
        tags->n--;
        give_back(tags);
}

const char *link_tag_queue(const LinkTag *tag) {
        const char *queue = tag->texts + strlen(tag->texts) + 1;

        return queue[0] != '\0' ? queue : NULL;
}
