/* SPDX-License-Identifier: MIT */

/*
 * State records: any bytes are read without harm; what was encoded comes back; and with one bit of it changed, or its
 * end cut off, it is damaged.
 */

#include "runtimed/state_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int decode(Slice record, const Id *agent_id, StateRecord *ret) {
        WireError error = { "" };
        const int r = state_record_decode(record, agent_id, ret, &error);

        if ((r != 0) != (error.text[0] != '\0'))
                abort();
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Slice input = { (const char *)data, size };
        const Id id = id_of(size % 2 ? SLICE("counter") : SLICE("a"));
        StateRecord read = { 0 };
        Buffer record = { 0 };
        size_t at = 0;

        if (decode(input, &id, &read) == 0 && (read.state.size > size || read.version != STATE_RECORD_VERSION))
                abort();
        (void)state_record_claimed_generation(input, &id);

        if (state_record_encode(&id, size, input, &record) != 0 || decode(buffer_slice(&record), &id, &read) != 0 ||
                !slice_equal(read.state, input) || read.generation != size)
                abort();

        for (size_t i = 0; i < size; i++)
                at = at * 31 + data[i];
        at %= record.size * 8;
        record.data[at / 8] ^= (char)(1U << at % 8);
        if (decode(buffer_slice(&record), &id, &read) != STATE_RECORD_E_DAMAGED)
                abort();
        record.data[at / 8] ^= (char)(1U << at % 8);
        if (decode((Slice){ record.data, at / 8 }, &id, &read) != STATE_RECORD_E_DAMAGED)
                abort();
        buffer_done(&record);
        return 0;
}
