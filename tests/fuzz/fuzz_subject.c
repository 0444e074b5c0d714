/* SPDX-License-Identifier: MIT */

/* Subjects: what is parsed is built again to the same bytes, and a valid subject matches itself. */

#include <stdlib.h>

#include "proto/subject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Slice text = { (const char *)data, size }, prefix = SLICE("compozy");
        const SubjectMatch match = subject_parse(prefix, text);
        const size_t half = size / 2;
        Buffer built = { 0 };

        if (match.kind != SUBJECT_NONE) {
                subject_build(&built, prefix, match.kind, match.first, match.second);
                if (!slice_equal(text, buffer_slice(&built)) || !subject_is_valid(text))
                        abort();
        }
        if (subject_is_valid(text) && (!subject_pattern_is_valid(text) || !subject_matches(text, text)))
                abort();
        if (subject_may_receive_result(prefix, text) && match.kind != SUBJECT_NONE && match.kind != SUBJECT_RESULT)
                abort();
        (void)subject_matches((Slice){ text.data, half }, slice_after(text, half));
        buffer_done(&built);
        return 0;
}
