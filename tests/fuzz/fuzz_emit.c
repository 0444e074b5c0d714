/* SPDX-License-Identifier: MIT */

/* Any bytes as a text: the JSON made of them is valid, and valid UTF-8 without NUL comes back as it was. */

#include <stdlib.h>

#include "proto/emit.h"
#include "proto/scan.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_plain_utf8(Slice text) {
        const char *at = text.data, *const end = text.data + text.size;

        while (at < end) {
                const size_t n = utf8_size(at, end);

                if (n == 0 || *at == '\0')
                        return false;
                at += n;
        }
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const ScanField fields[] = { { .name = "text", .kind = SCAN_RAW }, { 0 } };
        const Slice text = { (const char *)data, size };
        Slice raw = SLICE_NONE, back;
        Buffer buffer = { 0 };
        Arena arena = { 0 };
        int r;

        emit_object(&buffer, NULL);
        emit_text(&buffer, "text", text);
        emit_object_end(&buffer);
        if (scan_object(buffer_slice(&buffer), fields, &raw, &arena, NULL) != 0)
                abort();

        r = scan_text(raw, &arena, &back);
        if (r != 0 && !memchr(data, '\0', size))
                abort();
        if (is_plain_utf8(text) && (r != 0 || !slice_equal(text, back)))
                abort();
        buffer_done(&buffer);
        arena_clear(&arena);
        return 0;
}
