/* SPDX-License-Identifier: MIT */

/*
 * Whether bytes are JSON is decided by the same reader that reads everything else, so what we call JSON is what a child
 * can read: its limit of nesting holds here, too.
 */

#include "proto/emit.h"
#include "proto/json.h"
#include "proto/utf8.h"
#include "runtimed/exec_payload.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const char *const exec_encoding_names[_EXEC_ENCODING_MAX] = {
        [EXEC_JSON] = "json",
        [EXEC_TEXT] = "text",
        [EXEC_BASE64] = "base64",
};

static bool is_json(Slice bytes) {
        WireError error;
        JsonReader reader = { .start = bytes.data, .at = bytes.data, .end = bytes.data + bytes.size, .error = &error };

        json_space(&reader);
        if (json_skip(&reader) != 0)
                return false;
        json_space(&reader);
        return reader.at == reader.end;
}

static bool is_utf8(Slice bytes) {
        const char *const end = bytes.data + bytes.size;

        for (const char *p = bytes.data; p < end;) {
                const size_t n = utf8_size(p, end);

                if (n == 0)
                        return false;
                p += n;
        }
        return true;
}

ExecEncoding exec_encoding_of(Slice bytes) {
        if (bytes.size == 0)
                return EXEC_TEXT;
        if (is_json(bytes))
                return EXEC_JSON;
        return is_utf8(bytes) ? EXEC_TEXT : EXEC_BASE64;
}

static void replace_each(char *p, char *end, char from) {
        while ((p = memchr(p, from, (size_t)(end - p))))
                *p++ = ' ';
}

void exec_emit_json(Buffer *buffer, const char *key, Slice json) {
        size_t before;

        emit_key(buffer, key);
        before = buffer->size;
        buffer_append_slice(buffer, json);
        if (buffer->failed)
                return;

        /* In a text they would not be valid, so these are all white space between tokens. Many readers end a line at a
         * carriage return as well. */
        replace_each(buffer->data + before, buffer->data + buffer->size, '\n');
        replace_each(buffer->data + before, buffer->data + buffer->size, '\r');
}

static void append_base64(Buffer *buffer, Slice bytes) {
        const unsigned char *p = (const unsigned char *)bytes.data;

        for (size_t left = bytes.size; left > 0;) {
                const size_t n = MIN_OF(left, (size_t)3);
                const uint32_t word =
                        (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? (uint32_t)p[2] : 0);
                const char four[4] = { digits[word >> 18], digits[word >> 12 & 63],
                        n > 1 ? digits[word >> 6 & 63] : '=', n > 2 ? digits[word & 63] : '=' };

                buffer_append(buffer, four, sizeof(four));
                p += n;
                left -= n;
        }
}

void exec_emit_bytes(Buffer *buffer, const char *key, Slice bytes, ExecEncoding encoding) {
        switch (encoding) {
        case EXEC_JSON:
                exec_emit_json(buffer, key, bytes);
                return;
        case EXEC_TEXT:
                emit_text(buffer, key, bytes.data ? bytes : SLICE(""));
                return;
        default:
                assert(encoding == EXEC_BASE64);
                emit_key(buffer, key);
                buffer_append_char(buffer, '"');
                append_base64(buffer, bytes);
                buffer_append_char(buffer, '"');
        }
}

static int digit_value(char c) {
        const char *found = c != '\0' ? strchr(digits, c) : NULL;

        return found ? (int)(found - digits) : -1;
}

/* Four characters to `n` bytes, 1 to 3. Bits that the last byte leaves over must be 0: one text for one value. */
static int decode_four(const char *four, size_t n, char *ret) {
        uint32_t word = 0;

        for (size_t i = 0; i < 4; i++) {
                const int value = i <= n ? digit_value(four[i]) : 0;

                if (value < 0 || (i > n && four[i] != '='))
                        return -EINVAL;
                word = word << 6 | (uint32_t)value;
        }
        if ((word & (UINT32_C(0xFFFFFF) >> 8 * n)) != 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                ret[i] = (char)(word >> (16 - 8 * i));
        return 0;
}

int exec_base64_decode(Slice text, Arena *arena, Slice *ret) {
        char *bytes, *at;

        if (text.size % 4 != 0)
                return -EINVAL;
        at = bytes = arena_alloc(arena, text.size / 4 * 3 + 1);
        if (!bytes)
                return -ENOMEM;

        for (size_t i = 0; i < text.size; i += 4) {
                const char *four = text.data + i;
                const bool is_last = i + 4 == text.size;
                const size_t n = is_last && four[3] == '=' ? (four[2] == '=' ? 1 : 2) : 3;

                if (decode_four(four, n, at) < 0)
                        return -EINVAL;
                at += n;
        }

        *ret = (Slice){ bytes, (size_t)(at - bytes) };
        return 0;
}
