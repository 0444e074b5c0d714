/* SPDX-License-Identifier: MIT */

/*
 * Two rings, allocated once and touched only as they fill: one of entries, one of bytes. An entry's bytes lie in one piece; where the
 * end of the ring is too short for it, the rest is skipped. Entries go out in the order in which they came, so the bytes
 * in use are always one run (modulo the ring) from the oldest entry to the newest, and making room is: forget the oldest.
 *
 * Positions in the byte ring are counted without wrapping, so that "how much is in use" is a subtraction.
 *
 * A malloc per answer was the other way; at 100,000 answers a second it cost more than the rest of the book-keeping.
 */

#include <uthash.h>

#include "runtimed/memory.h"

typedef struct Entry {
        UT_hash_handle hh;
        Id exec_id;
        bool used; /* is it in the hash? A replaced one is not, but keeps its bytes until its turn comes */
        uint8_t status;
        uint16_t code;
        uint32_t n_headers, n_body;
        uint64_t start; /* of its bytes */
        uint64_t finished_usec;
        uint64_t refused_attempt;
} Entry;

struct Memory {
        Entry *entries, *by_id;
        char *bytes;
        uint64_t max_entries, max_bytes;
        uint64_t first, end;           /* entries, without wrapping: [first, end) */
        uint64_t bytes_first, bytes_end;
        uint64_t forgotten_usec;       /* the latest finish among those forgotten; 0: none was */
};

int memory_new(uint64_t max_entries, uint64_t max_bytes, Memory **ret) {
        _cleanup_(memory_freep) Memory *memory = calloc(1, sizeof(*memory));

        if (!memory)
                return -ENOMEM;

        memory->max_entries = MAX_OF(max_entries, UINT64_C(1));
        memory->max_bytes = MAX_OF(max_bytes, UINT64_C(1));

        memory->entries = calloc(memory->max_entries, sizeof(*memory->entries));
        memory->bytes = malloc(memory->max_bytes);
        if (!memory->entries || !memory->bytes)
                return -ENOMEM;

        *ret = TAKE_PTR(memory);
        return 0;
}

Memory *memory_free(Memory *memory) {
        if (!memory)
                return NULL;

        HASH_CLEAR(hh, memory->by_id);
        free(memory->bytes);
        free(memory->entries);
        free(memory);
        return NULL;
}

static Entry *entry_at(const Memory *memory, uint64_t position) {
        return &memory->entries[position % memory->max_entries];
}

static void forget_oldest(Memory *memory) {
        Entry *entry = entry_at(memory, memory->first);

        assert(memory->first < memory->end);

        if (entry->used) {
                HASH_DEL(memory->by_id, entry);
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

        while (memory->first < memory->end &&
               (start + size - memory->bytes_first > memory->max_bytes || memory->end - memory->first >= memory->max_entries))
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

static void drop_known(Memory *memory, Slice exec_id) {
        Entry *known;

        HASH_FIND(hh, memory->by_id, exec_id.data, exec_id.size, known);
        if (!known)
                return;

        HASH_DEL(memory->by_id, known);
        known->used = false;
}

void memory_put(Memory *memory, const Remembered *remembered, uint64_t now) {
        Slice headers = remembered->headers, body = remembered->body;
        uint64_t start;
        Entry *entry;

        drop_known(memory, id_slice(&remembered->exec_id));

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
                .n_headers = (uint32_t)headers.size,
                .n_body = (uint32_t)body.size,
                .start = start,
                .finished_usec = now,
                .refused_attempt = remembered->refused_attempt,
        };
        memory->end++;
        memory->bytes_end = start + headers.size + body.size;

        HASH_ADD(hh, memory->by_id, exec_id.text, entry->exec_id.size, entry);
        if (!entry->hh.tbl) { /* memory is out: as good as forgotten */
                entry->used = false;
                memory->forgotten_usec = MAX_OF(memory->forgotten_usec, now);
        }
}

bool memory_find(const Memory *memory, Slice exec_id, Remembered *ret) {
        const char *bytes;
        Entry *entry;

        HASH_FIND(hh, memory->by_id, exec_id.data, exec_id.size, entry);
        if (!entry)
                return false;

        bytes = memory->bytes + entry->start % memory->max_bytes;
        *ret = (Remembered){
                .exec_id = entry->exec_id,
                .status = entry->status,
                .code = (ErrorCode)entry->code,
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
        return HASH_COUNT(memory->by_id);
}

uint64_t memory_bytes(const Memory *memory) {
        return memory->bytes_end - memory->bytes_first;
}
