/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "runtimed/state_record.h"

#define GENERATION UINT64_C(0x1122334455667788)

static int decode(const Buffer *record, const char *agent_id, StateRecord *ret) {
        const Id id = id_of(slice_of(agent_id));
        WireError error = { "" };
        const int r = state_record_decode(buffer_slice(record), &id, ret, &error);

        assert_int_equal(r != 0, error.text[0] != '\0');
        return r;
}

static void encode(Buffer *record, const char *agent_id, Slice state) {
        const Id id = id_of(slice_of(agent_id));

        assert_int_equal(state_record_encode(&id, GENERATION, state, record), 0);
}

/* So that what stands before the checksum can lie, and be vouched for. */
static void sign(Buffer *record) {
        (void)SHA256((const unsigned char *)record->data, record->size - SHA256_DIGEST_LENGTH,
                (unsigned char *)record->data + record->size - SHA256_DIGEST_LENGTH);
}

static void what_was_encoded_is_decoded(void **state) {
        static const Slice states[] = { { "", 0 }, { NULL, 0 }, { "x", 1 }, { "\0\xff\0", 3 } };
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                encode(&record, "counter", states[i]);
                assert_int_equal(decode(&record, "counter", &read), 0);
                assert_int_equal(read.version, STATE_RECORD_VERSION);
                assert_true(read.generation == GENERATION);
                assert_true(slice_equal(read.state, states[i]));
        }
}

static void every_flipped_bit_is_damage(void **state) {
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read = { .version = 77 };

        (void)state;

        encode(&record, "counter", SLICE("a state of some bytes"));
        for (size_t bit = 0; bit < record.size * 8; bit++) {
                record.data[bit / 8] ^= (char)(1U << bit % 8);
                assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
                record.data[bit / 8] ^= (char)(1U << bit % 8);
        }
        assert_int_equal(read.version, 77);
        assert_int_equal(decode(&record, "counter", &read), 0);
}

static void every_cut_is_damage(void **state) {
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read;

        (void)state;

        encode(&record, "counter", SLICE("a state of some bytes"));
        for (const size_t whole = record.size; record.size > 0;) {
                record.size--;
                assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
                assert_true(record.size < whole);
        }
        encode(&record, "counter", SLICE("a state of some bytes"));
        buffer_append_char(&record, '\0');
        assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
}

static void another_agents_record_is_damage(void **state) {
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read;

        (void)state;

        encode(&record, "counter", SLICE("7"));
        assert_int_equal(decode(&record, "counter2", &read), STATE_RECORD_E_DAMAGED);
        assert_int_equal(decode(&record, "counte", &read), STATE_RECORD_E_DAMAGED);
}

static void sizes_that_lie_are_damage_even_with_a_right_checksum(void **state) {
        static const struct {
                size_t at;
                unsigned char byte;
        } lies[] = { { 20, 0 }, { 20, 8 }, { 20, 255 }, { 21, 2 }, { 21, 0 }, { 28, 0xff } };
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read;

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(lies); i++) {
                encode(&record, "counter", SLICE("7"));
                record.data[lies[i].at] = (char)lies[i].byte;
                sign(&record);
                assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
        }

        /* a frame with nothing between */
        record.size = 20 + SHA256_DIGEST_LENGTH;
        sign(&record);
        assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
}

static void a_newer_version_is_told_from_damage(void **state) {
        _cleanup_(buffer_done) Buffer record = { 0 };
        StateRecord read = { 0 };

        (void)state;

        encode(&record, "counter", SLICE("7"));
        record.data[8] = STATE_RECORD_VERSION + 1;
        assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);

        record.data[25] ^= 1; /* what follows the generation may mean anything */
        sign(&record);
        assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_NEWER);
        assert_int_equal(read.version, STATE_RECORD_VERSION + 1);
        assert_true(read.generation == GENERATION);
        assert_null(read.state.data);

        record.data[8] = 0;
        sign(&record);
        assert_int_equal(decode(&record, "counter", &read), STATE_RECORD_E_DAMAGED);
}

static void what_is_damaged_may_still_say_its_generation(void **state) {
        const Id id = id_of(SLICE("counter")), other = id_of(SLICE("countes")), shorter = id_of(SLICE("counte"));
        _cleanup_(buffer_done) Buffer record = { 0 };

        (void)state;

        encode(&record, "counter", SLICE("a state of some bytes"));
        record.size -= 40;
        assert_true(state_record_claimed_generation(buffer_slice(&record), &id) == GENERATION);
        assert_true(state_record_claimed_generation(buffer_slice(&record), &other) == 0);
        assert_true(state_record_claimed_generation(buffer_slice(&record), &shorter) == 0);
        for (size_t size = 0; size < (size_t)29 + id.size; size++)
                assert_true(state_record_claimed_generation((Slice){ record.data, size }, &id) == 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_encoded_is_decoded),
                cmocka_unit_test(every_flipped_bit_is_damage),
                cmocka_unit_test(every_cut_is_damage),
                cmocka_unit_test(another_agents_record_is_damage),
                cmocka_unit_test(sizes_that_lie_are_damage_even_with_a_right_checksum),
                cmocka_unit_test(a_newer_version_is_told_from_damage),
                cmocka_unit_test(what_is_damaged_may_still_say_its_generation),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
