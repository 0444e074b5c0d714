/* SPDX-License-Identifier: MIT */

/*
 * A number holds the slot of its object in its lowest 24 bits and a sequence above, which grows with each number given:
 * at a million a second it comes around in twelve days, and then only a slot that has the same sequence again could
 * be taken for another. A look-up is one step into an array, without a hash; eight bytes a slot.
 *
 * A free slot holds the number of the next free one, shifted to the left with the lowest bit set: objects are aligned,
 * so no pointer has that bit.
 */

#include "common/number_index.h"

#define SLOT_BITS 24
#define FIRST_SLOTS 64
#define NO_SLOT UINT32_MAX

static bool slot_is_free(const NumberIndex *index, size_t slot) {
        return index->slots[slot] & 1;
}

void number_index_init(NumberIndex *index) {
        *index = (NumberIndex){ .first_free = NO_SLOT };
}

void number_index_done(NumberIndex *index) {
        free(index->slots);
        number_index_init(index);
}

/* By half, not to twice: with many thousands of objects that are there to stay, it is their number that counts. */
static int grow(NumberIndex *index) {
        const uint32_t n = MAX_OF(index->n_allocated + index->n_allocated / 2, FIRST_SLOTS);
        uintptr_t *slots;

        if (index->n_allocated == NUMBER_INDEX_MAX)
                return -ENOMEM;
        slots = reallocarray(index->slots, MIN_OF(n, NUMBER_INDEX_MAX), sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        index->slots = slots;
        index->n_allocated = MIN_OF(n, NUMBER_INDEX_MAX);
        return 0;
}

int number_index_add(NumberIndex *index, Numbered *object) {
        uint32_t slot = index->first_free;

        assert(((uintptr_t)object & 1) == 0);

        if (slot == NO_SLOT && index->n_slots == index->n_allocated && grow(index) < 0)
                return -ENOMEM;
        if (slot == NO_SLOT)
                slot = index->n_slots++;
        else
                index->first_free = (uint32_t)(index->slots[slot] >> 1);

        /* Never 0: the sequence starts at 1, and passes 0 over when it comes around. */
        index->sequence = MAX_OF((index->sequence + 1) & (UINT64_MAX >> SLOT_BITS), UINT64_C(1));
        object->number = index->sequence << SLOT_BITS | slot;
        index->slots[slot] = (uintptr_t)object;
        index->n++;
        return 0;
}

void number_index_remove(NumberIndex *index, Numbered *object) {
        const uint32_t slot = (uint32_t)(object->number & (NUMBER_INDEX_MAX - 1));

        assert(number_index_find(index, object->number) == object);

        index->slots[slot] = (uintptr_t)index->first_free << 1 | 1;
        index->first_free = slot;
        index->n--;
        object->number = 0;
}

Numbered *number_index_find(const NumberIndex *index, uint64_t number) {
        const size_t slot = number & (NUMBER_INDEX_MAX - 1);
        Numbered *object;

        if (number == 0 || slot >= index->n_slots || slot_is_free(index, slot))
                return NULL;
        object = (Numbered *)index->slots[slot]; /* NOLINT(performance-no-int-to-ptr): see above */
        return object->number == number ? object : NULL;
}

Numbered *number_index_next(const NumberIndex *index, size_t *cursor) {
        for (; *cursor < index->n_slots; (*cursor)++)
                if (!slot_is_free(index, *cursor))
                        return (Numbered *)index->slots[(*cursor)++]; /* NOLINT(performance-no-int-to-ptr) */
        return NULL;
}

uint64_t number_parse(Slice digits) {
        uint64_t number = 0;

        if (digits.size == 0 || digits.data[0] == '0')
                return 0;
        for (size_t i = 0; i < digits.size; i++) {
                const char c = digits.data[i];

                if (c < '0' || c > '9' || __builtin_mul_overflow(number, 10, &number) ||
                        __builtin_add_overflow(number, (uint64_t)(c - '0'), &number))
                        return 0;
        }
        return number;
}
