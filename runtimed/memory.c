/* SPDX-License-Identifier: MIT */

/*
 * Two rings, allocated once and touched only as they fill: one of entries, one of bytes. An entry's bytes lie in one
 * piece; where the end of the ring is too short for it, the rest is skipped. Entries go out in the order in which they
 * came, so the bytes in use are always one run (modulo the ring) from the oldest entry to the newest, and making room
 * is: forget the oldest.
 *
 * Positions in the byte ring are counted without wrapping, so that "how much is in use" is a subtraction.
 *
 * The index finds an entry by its id: open addressing with linear probing, eight bytes a slot, at most half full. A
 * slot holds the hash beside the position, so that the usual question, for an id that is not here, touches no entry:
 * one line of the index answers it. (A chained table walks entries that have long left the caches; that was a sixth of
 * what a trigger costs.) Removal moves what follows back (Knuth, 6.4 algorithm R), so there are no tombstones and
 * nothing ever has to be rebuilt.
 *
 * A malloc per answer was the other way; at 100,000 answers a second it cost more than the rest of the book-keeping.
 */

#include "common/rng.h"
#include "runtimed/memory.h"

typedef struct Entry {
        Id exec_id;
        bool used; /* is it in the index? A replaced one is not, but keeps its bytes until its turn comes */
        uint8_t status;
        uint16_t code;
        uint32_t hash;
        uint32_t n_headers, n_body;
        uint64_t start; /* of its bytes */
        uint64_t finished_usec;
        uint64_t owner, refused_attempt;
} Entry;

typedef struct Slot {
        uint32_t hash;
        uint32_t number; /* of the entry, from 1; 0: the slot is free */
} Slot;

struct Memory {
        Entry *entries;
        Slot *slots;
        size_t slot_mask, n_used;
        uint64_t secrets[2]; /* of the hash: peers choose ids, and must not be able to choose where they go */
        char *bytes;
        uint64_t max_entries, max_bytes;
        uint64_t first, end; /* entries, without wrapping: [first, end) */
        uint64_t bytes_first, bytes_end;
        uint64_t forgotten_usec; /* the latest finish among those forgotten; 0: none was */
};

static size_t n_slots_for(uint64_t max_entries) {
        size_t n = 2;

        while (n < 2 * max_entries)
                n *= 2;
        return n;
}

/* From the system and not from the core's numbers, which peers see. Where an entry lies is never seen, so a replay
 * stays exact. */
static int make_secrets(Memory *memory) {
        Rng rng;
        int r = rng_seed_from_system(&rng);

        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(memory->secrets); i++)
                memory->secrets[i] = rng_next(&rng);
        return 0;
}

int memory_new(uint64_t max_entries, uint64_t max_bytes, Memory **ret) {
        _cleanup_(memory_freep) Memory *memory = calloc(1, sizeof(*memory));
        size_t n_slots;
        int r;

        assert(max_entries < UINT32_MAX);

        if (!memory)
                return -ENOMEM;
        r = make_secrets(memory);
        if (r < 0)
                return r;

        memory->max_entries = MAX_OF(max_entries, UINT64_C(1));
        memory->max_bytes = MAX_OF(max_bytes, UINT64_C(1));

        memory->entries = calloc(memory->max_entries, sizeof(*memory->entries));
        n_slots = n_slots_for(memory->max_entries);
        memory->slots = calloc(n_slots, sizeof(*memory->slots));
        memory->slot_mask = n_slots - 1;
        memory->bytes = malloc(memory->max_bytes);
        if (!memory->entries || !memory->slots || !memory->bytes)
                return -ENOMEM;

        *ret = TAKE_PTR(memory);
        return 0;
}

Memory *memory_free(Memory *memory) {
        if (!memory)
                return NULL;

        free(memory->bytes);
        free(memory->slots);
        free(memory->entries);
        free(memory);
        return NULL;
}

static Entry *entry_at(const Memory *memory, uint64_t position) {
        return &memory->entries[position % memory->max_entries];
}

/* the index */

static uint64_t mix(uint64_t a, uint64_t b) {
        __extension__ typedef unsigned __int128 Wide;
        const Wide product = (Wide)a * b;

        return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_of(const Memory *memory, Slice id) {
        uint64_t hash = memory->secrets[0] ^ id.size, word;

        for (; id.size >= sizeof(word); id = slice_after(id, sizeof(word))) {
                memcpy(&word, id.data, sizeof(word));
                hash = mix(hash ^ word, memory->secrets[1]);
        }
        word = 0;
        if (id.size > 0)
                memcpy(&word, id.data, id.size);
        return (uint32_t)mix(hash ^ word, memory->secrets[1]);
}

/* The slot of that id, or the free one where it would be. */
static Slot *find_slot(const Memory *memory, Slice id, uint32_t hash) {
        for (size_t i = hash;; i++) {
                Slot *slot = &memory->slots[i & memory->slot_mask];

                if (slot->number == 0)
                        return slot;
                if (slot->hash == hash && id_equal(&memory->entries[slot->number - 1].exec_id, id))
                        return slot;
        }
}

/* Closes the gap: what comes behind moves into it, unless it would then stand before the place where its search begins.
 */
static void free_slot(Memory *memory, Slot *slot) {
        const size_t mask = memory->slot_mask;
        size_t gap = (size_t)(slot - memory->slots);

        for (size_t i = (gap + 1) & mask; memory->slots[i].number != 0; i = (i + 1) & mask) {
                const size_t home = memory->slots[i].hash & mask;

                if (((i - home) & mask) < ((i - gap) & mask))
                        continue;
                memory->slots[gap] = memory->slots[i];
                gap = i;
        }
        memory->slots[gap] = (Slot){};
        memory->n_used--;
}

/* the rings */

static void forget_oldest(Memory *memory) {
        Entry *entry = entry_at(memory, memory->first);

        assert(memory->first < memory->end);

        if (entry->used) {
                free_slot(memory, find_slot(memory, id_slice(&entry->exec_id), entry->hash));
                memory->forgotten_usec = MAX_OF(memory->forgotten_usec, entry->finished_usec);
        }
        memory->first++;
        memory->bytes_first = memory->first == memory->end ? memory->bytes_end : entry_at(memory, memory->first)->start;
}

/* Where `size` bytes can go in one piece; forgets what is in the way. `size` is at most max_bytes. */
static uint64_t make_room(Memory *memory, uint64_t size) {
        uint64_t start = memory->bytes_end;

        if (start % memory->max_bytes + size > memory->max_bytes)
                start += memory->max_bytes - start % memory->max_bytes;

        while (memory->first < memory->end && (start + size - memory->bytes_first > memory->max_bytes ||
                                                      memory->end - memory->first >= memory->max_entries))
                forget_oldest(memory);
        if (memory->first == memory->end)
                memory->bytes_first = start;

        return start;
}

static void copy_in(Memory *memory, uint64_t start, Slice headers, Slice body) {
        char *at = memory->bytes + start % memory->max_bytes;

        if (headers.size > 0)
                memcpy(at, headers.data, headers.size);
        if (body.size > 0)
                memcpy(at + headers.size, body.data, body.size);
}

static void drop_known(Memory *memory, Slice exec_id, uint32_t hash) {
        Slot *known = find_slot(memory, exec_id, hash);

        if (known->number == 0)
                return;

        memory->entries[known->number - 1].used = false;
        free_slot(memory, known);
}

void memory_put(Memory *memory, const Remembered *remembered, uint64_t now) {
        Slice headers = remembered->headers, body = remembered->body;
        const uint32_t hash = hash_of(memory, id_slice(&remembered->exec_id));
        uint64_t start;
        Entry *entry;

        drop_known(memory, id_slice(&remembered->exec_id), hash);

        if (headers.size + body.size > memory->max_bytes / 4) /* one answer may not sweep out all others */
                headers = body = SLICE_NONE;

        start = make_room(memory, headers.size + body.size);
        copy_in(memory, start, headers, body);

        entry = entry_at(memory, memory->end);
        *entry = (Entry){
                .exec_id = remembered->exec_id,
                .used = true,
                .status = (uint8_t)remembered->status,
                .code = (uint16_t)remembered->code,
                .hash = hash,
                .n_headers = (uint32_t)headers.size,
                .n_body = (uint32_t)body.size,
                .start = start,
                .finished_usec = now,
                .owner = remembered->owner,
                .refused_attempt = remembered->refused_attempt,
        };
        memory->end++;
        memory->bytes_end = start + headers.size + body.size;

        *find_slot(memory, id_slice(&entry->exec_id), hash) =
                (Slot){ .hash = hash, .number = (uint32_t)(entry - memory->entries) + 1 };
        memory->n_used++;
}

bool memory_find(const Memory *memory, Slice exec_id, Remembered *ret) {
        const Slot *slot = find_slot(memory, exec_id, hash_of(memory, exec_id));
        const Entry *entry;
        const char *bytes;

        if (slot->number == 0)
                return false;

        entry = &memory->entries[slot->number - 1];
        bytes = memory->bytes + entry->start % memory->max_bytes;
        *ret = (Remembered){
                .exec_id = entry->exec_id,
                .status = entry->status,
                .code = (ErrorCode)entry->code,
                .owner = entry->owner,
                .refused_attempt = entry->refused_attempt,
        };
        if (entry->n_headers > 0)
                ret->headers = (Slice){ bytes, entry->n_headers };
        if (entry->n_body > 0)
                ret->body = (Slice){ bytes + entry->n_headers, entry->n_body };
        return true;
}

bool memory_reaches(const Memory *memory, uint64_t usec) {
        return memory->forgotten_usec == 0 || usec > memory->forgotten_usec;
}

size_t memory_size(const Memory *memory) {
        return memory->n_used;
}

uint64_t memory_bytes(const Memory *memory) {
        return memory->bytes_end - memory->bytes_first;
}
