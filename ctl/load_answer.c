/* SPDX-License-Identifier: MIT */

/*
 * Apart from ctl/load.c since the daemons' decoders and ctl/client.h both have an Answer, and mean different things.
 */

#include "ctl/load_answer.h"
#include "proto/result.h"

Slice load_answer_output(Slice body) {
        _cleanup_(arena_clear) Arena arena = {};
        Result result;

        if (result_decode(body, &result, &arena, NULL) != 0 || result.status != STATUS_SUCCESS)
                return SLICE_NONE;
        return result.output;
}

void load_answer_tally(Tally *tally, const InMessage *message, uint64_t usec) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error;
        Result result;

        if (message->no_responders)
                tally_add(tally, TALLY_FAILURE, SLICE("NOBODY_LISTENS"), SLICE("no dispatcher was listening"),
                        UINT64_MAX);
        else if (result_decode(message->body, &result, &arena, &error) != 0)
                tally_add(tally, TALLY_FAILURE, SLICE("BAD_ANSWER"), slice_of(error.text), usec);
        else if (result.status == STATUS_SUCCESS)
                tally_add(tally, TALLY_SUCCESS, SLICE_NONE, SLICE_NONE, usec);
        else
                tally_add(tally, result.status == STATUS_AGENT_ERROR ? TALLY_AGENT_ERROR : TALLY_FAILURE,
                        result.error_code, result.error.message, usec);
}
