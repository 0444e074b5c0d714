/* SPDX-License-Identifier: MIT */

/*
 * Either both slots of an agent hold a record or neither does: the first save puts a blank, a record of generation 0,
 * into the other slot. So a row that a damaged database has lost is missed, and an agent whose newest record is gone is
 * never handed an older one, or none, as if that were all there had been.
 *
 * A load trusts what is under a checksum. When one record is sound and the other is not, the sound one is the newest if
 * and only if the other one was older; that is believed when its row and its own header, two places that damage does
 * not change alike, both say so. Otherwise the newest record is the damaged one, and the sound one is what was before.
 *
 * A save reads both slots first and writes into the one that does not hold the newest sound record. Reading costs a
 * checksum of what was saved last; the commit that follows waits for the disk, so nobody notices.
 */

#include <inttypes.h>
#include <stdio.h>

#include "runtimed/state_record.h"
#include "runtimed/store_slots.h"

typedef enum SlotState {
        SLOT_ABSENT,
        SLOT_SOUND,
        SLOT_NEWER,
        SLOT_DAMAGED,
} SlotState;

typedef struct Slot {
        SlotState state;
        uint64_t generation; /* with SOUND, NEWER; with DAMAGED what it seems to be; 0: unknown */
        Slice content;       /* with SOUND; borrowed until the slots are released */
        WireError why;       /* unless SOUND: the sentence for when that is what a load finds */
} Slot;

/* 0, or STORE_SQLITE_E_FAILED: nothing can be said. */
static int decode_slot(
        StoreSqlite *sqlite, const Id *agent_id, uint64_t generation, Slice bytes, Slot *slot, WireError *ret_error) {
        StateRecord record = { 0 };
        WireError why;
        const int r = state_record_decode(bytes, agent_id, &record, &why);

        if (r < 0)
                return store_sqlite_say(sqlite, ret_error, "memory is out");
        if (r == 0) {
                *slot = (Slot){ .state = SLOT_SOUND, .generation = record.generation, .content = record.state };
                return 0;
        }

        (void)store_sqlite_say(sqlite, &slot->why, why.text);
        slot->state = r == STATE_RECORD_E_NEWER ? SLOT_NEWER : SLOT_DAMAGED;
        if (r == STATE_RECORD_E_NEWER)
                slot->generation = record.generation;
        else if (generation == state_record_claimed_generation(bytes, agent_id))
                slot->generation = generation;
        return 0;
}

static int read_slot(StoreSqlite *sqlite, unsigned index, const Id *agent_id, Slot *ret, WireError *ret_error) {
        uint64_t generation;
        Slice bytes;
        int r;

        *ret = (Slot){ .state = SLOT_ABSENT };
        r = store_sqlite_get(sqlite, index, agent_id, &generation, &bytes, ret_error);
        switch (r) {
        case STORE_SQLITE_E_OK:
                return decode_slot(sqlite, agent_id, generation, bytes, ret, ret_error);
        case STORE_SQLITE_E_ABSENT:
                (void)store_sqlite_say(sqlite, &ret->why, "one of the two records of this agent is lost");
                return 0;
        case STORE_SQLITE_E_DAMAGED:
                ret->state = SLOT_DAMAGED;
                ret->why = *ret_error;
                return 0;
        default:
                return r;
        }
}

static int read_slots(StoreSqlite *sqlite, const Id *agent_id, Slot slots[static STORE_SLOTS], WireError *ret_error) {
        int r = 0;

        for (unsigned i = 0; i < STORE_SLOTS && r == 0; i++)
                r = read_slot(sqlite, i, agent_id, &slots[i], ret_error);
        return r;
}

/* The newest sound one below a generation; NULL: none. */
static const Slot *newest_below(const Slot slots[static STORE_SLOTS], uint64_t generation) {
        const Slot *newest = NULL;

        for (unsigned i = 0; i < STORE_SLOTS; i++)
                if (slots[i].state == SLOT_SOUND && slots[i].generation < generation &&
                        (!newest || slots[i].generation > newest->generation))
                        newest = &slots[i];
        return newest;
}

static const Slot *newest_sound(const Slot slots[static STORE_SLOTS]) {
        return newest_below(slots, UINT64_MAX);
}

static uint64_t highest_generation(const Slot slots[static STORE_SLOTS]) {
        uint64_t highest = 0;

        for (unsigned i = 0; i < STORE_SLOTS; i++)
                highest = MAX_OF(highest, slots[i].generation);
        return highest;
}

/* Is this what was saved last, if not that is `sound`? NULL: `sound` was. */
static const Slot *unsound_newest(const Slot slots[static STORE_SLOTS], const Slot *sound) {
        const Slot *worst = NULL;

        for (unsigned i = 0; i < STORE_SLOTS; i++) {
                const Slot *slot = &slots[i];

                if (slot->state == SLOT_SOUND ||
                        (sound && slot->generation > 0 && slot->generation < sound->generation))
                        continue;
                if (!worst || slot->generation > worst->generation ||
                        (slot->generation == worst->generation && slot->state > worst->state))
                        worst = slot;
        }
        return worst;
}

static void refuse(const StoreSqlite *sqlite, StoreRequest *request, StoreOutcome outcome, const char *sentence) {
        (void)store_sqlite_say(sqlite, &request->error, sentence);
        request->outcome = outcome;
}

/* Gives `ret` the bytes, or says that memory is out. */
static bool copy_state(const StoreSqlite *sqlite, StoreRequest *request, const Slot *slot, Buffer *ret) {
        buffer_clear(ret);
        buffer_append_slice(ret, slot->content);
        if (ret->failed)
                refuse(sqlite, request, STORE_UNREADABLE, "memory is out");
        return !ret->failed;
}

static void give_damage(const StoreSqlite *sqlite, StoreRequest *request, const Slot *newest, const Slot *before) {
        request->outcome = newest->state == SLOT_NEWER ? STORE_NEWER : STORE_DAMAGED;
        request->error = newest->why;
        if (before && before->generation > 0 && copy_state(sqlite, request, before, &request->previous)) {
                request->has_previous = true;
                request->previous_generation = before->generation;
        }
}

static void decide_load(const StoreSqlite *sqlite, StoreRequest *request, const Slot slots[static STORE_SLOTS]) {
        const Slot *sound = newest_sound(slots), *unsound = unsound_newest(slots, sound);

        request->generation = highest_generation(slots);
        if (sound && slots[0].state == slots[1].state && slots[0].generation == slots[1].generation) {
                /* no save leaves this: a root or a pointer in the file leads twice to the same place */
                refuse(sqlite, request, STORE_DAMAGED, "both slots of this agent hold the same record");
                return;
        }
        if (slots[0].state == SLOT_ABSENT && slots[1].state == SLOT_ABSENT)
                request->outcome = STORE_EMPTY;
        else if (unsound)
                give_damage(sqlite, request, unsound, sound);
        else if (copy_state(sqlite, request, sound, &request->state))
                request->outcome = STORE_DONE;
}

/* The newest was of no use to the agent. What is damaged now may be what would have been. */
static void decide_load_below(const StoreSqlite *sqlite, StoreRequest *request, const Slot slots[static STORE_SLOTS]) {
        const Slot *older = newest_below(slots, request->below_generation);

        request->outcome = STORE_EMPTY;
        if (older && older->generation > 0) {
                request->generation = older->generation;
                if (copy_state(sqlite, request, older, &request->state))
                        request->outcome = STORE_DONE;
                return;
        }

        request->generation = highest_generation(slots);
        for (unsigned i = 0; i < STORE_SLOTS; i++)
                if (slots[i].state == SLOT_DAMAGED || slots[i].state == SLOT_NEWER)
                        give_damage(sqlite, request, &slots[i], NULL);
}

void store_slots_load(StoreSqlite *sqlite, StoreRequest *request) {
        Slot slots[STORE_SLOTS];

        request->outcome = STORE_UNREADABLE;
        if (read_slots(sqlite, &request->agent_id, slots, &request->error) == 0) {
                request->error.text[0] = '\0';
                if (request->below_generation > 0)
                        decide_load_below(sqlite, request, slots);
                else
                        decide_load(sqlite, request, slots);
        }
        store_sqlite_release(sqlite);
}

/* saving */

/* Where may this save go? Returns the slot, or STORE_SLOTS: nowhere, and the request is answered. */
static unsigned choose_slot(StoreSqlite *sqlite, StoreRequest *request, const Slot slots[static STORE_SLOTS]) {
        const Slot *sound = newest_sound(slots);
        char sentence[128];

        if (!sound)
                return 0;
        if (request->generation > sound->generation)
                return sound == &slots[0] ? 1 : 0;

        if (request->generation == sound->generation && slice_equal(sound->content, buffer_slice(&request->state))) {
                request->outcome = STORE_DONE; /* it got there, though its asker was told that it had not */
                return STORE_SLOTS;
        }
        (void)snprintf(sentence, sizeof(sentence), "generation %" PRIu64 " is not above %" PRIu64 ", which it holds",
                request->generation, sound->generation);
        request->generation = sound->generation;
        refuse(sqlite, request, STORE_UNWRITABLE, sentence);
        return STORE_SLOTS;
}

static int write_slot(StoreSqlite *sqlite, unsigned slot, const Id *agent_id, uint64_t generation, Slice state,
        Buffer *record, WireError *ret_error) {
        if (state_record_encode(agent_id, generation, state, record) < 0)
                return store_sqlite_say(sqlite, ret_error, "memory is out");
        return store_sqlite_put(sqlite, slot, agent_id, generation, buffer_slice(record), ret_error);
}

void store_slots_save(StoreSqlite *sqlite, StoreRequest *request, Buffer *record) {
        const Id *id = &request->agent_id;
        Slot slots[STORE_SLOTS];
        bool has_sound;
        unsigned slot;

        request->outcome = STORE_UNWRITABLE;
        if (request->state.size > STORE_STATE_BYTES_MAX) {
                refuse(sqlite, request, STORE_UNWRITABLE,
                        "a state may have " STRINGIFY(STORE_STATE_BYTES_MAX) " bytes, this one has more");
                return;
        }
        if (read_slots(sqlite, id, slots, &request->error) != 0) {
                store_sqlite_release(sqlite);
                return;
        }
        request->error.text[0] = '\0';
        has_sound = newest_sound(slots) != NULL;
        slot = choose_slot(sqlite, request, slots);
        store_sqlite_release(sqlite);
        if (slot == STORE_SLOTS)
                return;

        if (write_slot(sqlite, slot, id, request->generation, buffer_slice(&request->state), record, &request->error) ==
                        0 &&
                (has_sound || write_slot(sqlite, 1 - slot, id, 0, SLICE_NONE, record, &request->error) == 0))
                request->outcome = STORE_DONE;
}

void store_slots_forget(StoreSqlite *sqlite, StoreRequest *request) {
        request->outcome = STORE_DONE;
        for (unsigned slot = 0; slot < STORE_SLOTS; slot++)
                if (store_sqlite_remove(sqlite, slot, &request->agent_id, &request->error) != 0)
                        request->outcome = STORE_UNWRITABLE;
}
