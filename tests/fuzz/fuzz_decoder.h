/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One fuzz target: the message that the macro FUZZ_TYPE names. A body that the decoder takes is encoded again, and what
 * the encoder wrote must be taken, too, and come out the same the second time.
 */

#include <stdio.h>

#include "tests/tools/codecs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_fail(const char *why, Slice text, const WireError *error) {
        (void)fprintf(stderr, FUZZ_TYPE ": %s (%s): %.*s\n", why, error->text, SLICE_ARG(text));
        abort();
}

static void fuzz_accepted(const Codec *codec, const Buffer *first) {
        WireError error = { "" };
        Arena arena = { 0 };
        Buffer second = { 0 };

        if (first->nesting != 0)
                fuzz_fail("a bracket was left open", buffer_slice(first), &error);
        if (codec->read(buffer_slice(first), &arena, &error, &second) != 0)
                fuzz_fail("its own decoder refused", buffer_slice(first), &error);
        if (!slice_equal(buffer_slice(first), buffer_slice(&second)))
                fuzz_fail("came out otherwise", buffer_slice(&second), &error);
        buffer_done(&second);
        arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Codec *const codec = codec_find(FUZZ_TYPE);
        WireError error = { "" };
        Arena arena = { 0 };
        Buffer again = { 0 };

        assert(codec);
        if (codec->read((Slice){ (const char *)data, size }, &arena, &error, &again) == 0)
                fuzz_accepted(codec, &again);
        else if (error.text[0] == '\0')
                fuzz_fail("refused without a sentence", (Slice){ (const char *)data, size }, &error);
        buffer_done(&again);
        arena_clear(&arena);
        return 0;
}
