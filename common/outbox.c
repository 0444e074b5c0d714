/* SPDX-License-Identifier: MIT */

/*
 * All parts of all messages lie one after the other in `bytes`; an entry holds where each part begins, since the
 * buffer may move while it grows. The message under construction is entries[n_entries], which is there if and only
 * if n_allocated > n_entries; when memory was out for it, `bytes.failed` keeps its encoder from writing anything.
 */

#include <strings.h>

#include "common/outbox.h"

#define KEPT_BYTES (1024 * 1024) /* of one turn's messages; a burst's memory beyond that goes back */
#define KEPT_ENTRIES (KEPT_BYTES / sizeof(OutboxEntry))
#define ABSENT SIZE_MAX

struct OutboxEntry {
        size_t subject;
        size_t reply, headers, body; /* where it begins, or ABSENT */
        size_t end;
        uint64_t tag;
        OutKind kind;
};

void outbox_init(Outbox *outbox) {
        assert(outbox);

        *outbox = (Outbox){ 0 };
}

void outbox_done(Outbox *outbox) {
        assert(outbox);

        buffer_done(&outbox->bytes);
        free(outbox->entries);
        *outbox = (Outbox){ .n_lost = outbox->n_lost };
}

void outbox_clear(Outbox *outbox) {
        assert(outbox);

        outbox->n_entries = 0;
        if (outbox->bytes.capacity > KEPT_BYTES)
                buffer_done(&outbox->bytes);
        else
                buffer_clear(&outbox->bytes);
        if (outbox->n_allocated > KEPT_ENTRIES) {
                free(outbox->entries);
                outbox->entries = NULL;
                outbox->n_allocated = 0;
        }
}

static bool entry_reserve(Outbox *outbox) {
        size_t n = MAX_OF(outbox->n_allocated * 2, (size_t)64);
        OutboxEntry *entries;

        if (outbox->n_entries < outbox->n_allocated)
                return true;

        entries = reallocarray(outbox->entries, n, sizeof(*entries));
        if (!entries)
                return false;
        outbox->entries = entries;
        outbox->n_allocated = n;
        return true;
}

Buffer *outbox_begin(Outbox *outbox) {
        assert(outbox);

        outbox->bytes.nesting = 0; /* an encoder that was given up half-way may have left it open */
        if (entry_reserve(outbox))
                outbox->entries[outbox->n_entries] = (OutboxEntry){
                        .subject = outbox->bytes.size,
                        .reply = ABSENT,
                        .headers = ABSENT,
                        .body = ABSENT,
                };
        else
                outbox->bytes.failed = true;
        return &outbox->bytes;
}

static OutboxEntry *entry_open(Outbox *outbox) {
        return outbox->n_entries < outbox->n_allocated ? &outbox->entries[outbox->n_entries] : NULL;
}

void outbox_reply(Outbox *outbox) {
        OutboxEntry *entry = entry_open(outbox);

        if (entry)
                entry->reply = outbox->bytes.size;
}

void outbox_headers(Outbox *outbox) {
        OutboxEntry *entry = entry_open(outbox);

        if (entry)
                entry->headers = outbox->bytes.size;
}

void outbox_body(Outbox *outbox) {
        OutboxEntry *entry = entry_open(outbox);

        if (entry)
                entry->body = outbox->bytes.size;
}

void outbox_end(Outbox *outbox) {
        OutboxEntry *entry = entry_open(outbox);

        if (outbox->bytes.failed || !entry) {
                outbox->n_lost++;
                outbox_abort(outbox);
                return;
        }
        entry->end = outbox->bytes.size;
        outbox->n_entries++;
}

void outbox_abort(Outbox *outbox) {
        const OutboxEntry *entry = entry_open(outbox);

        if (entry)
                outbox->bytes.size = entry->subject;
        outbox->bytes.failed = false;
}

void outbox_put(Outbox *outbox, const OutMessage *message) {
        Buffer *buffer = outbox_begin(outbox);
        OutboxEntry *entry = entry_open(outbox);

        if (entry) {
                entry->kind = message->kind;
                entry->tag = message->tag;
        }
        buffer_append_slice(buffer, message->subject);
        if (message->reply.data) {
                outbox_reply(outbox);
                buffer_append_slice(buffer, message->reply);
        }
        if (message->headers.data) {
                outbox_headers(outbox);
                buffer_append_slice(buffer, message->headers);
        }
        if (message->body.data) {
                outbox_body(outbox);
                buffer_append_slice(buffer, message->body);
        }
        outbox_end(outbox);
}

/* What is lost here is told, so it does not count as lost. */
static int put_told(Outbox *outbox, const OutMessage *message) {
        const uint64_t n_lost = outbox->n_lost;

        assert(message->tag > 0);

        outbox_put(outbox, message);
        if (outbox->n_lost == n_lost)
                return 0;
        outbox->n_lost = n_lost;
        return -ENOMEM;
}

int outbox_subscribe(Outbox *outbox, Slice subject, Slice queue, uint64_t tag) {
        return put_told(outbox, &(OutMessage){ .kind = OUT_SUBSCRIBE, .subject = subject, .reply = queue, .tag = tag });
}

int outbox_unsubscribe(Outbox *outbox, uint64_t tag) {
        return put_told(outbox, &(OutMessage){ .kind = OUT_UNSUBSCRIBE, .tag = tag });
}

size_t outbox_size(const Outbox *outbox) {
        return outbox->n_entries;
}

/* Takes the part that begins at `begin` off the end of what is left. */
static Slice take_part(const Outbox *outbox, size_t begin, size_t *end) {
        Slice part = SLICE_NONE;

        if (begin == ABSENT)
                return part;
        part = (Slice){ outbox->bytes.data ? outbox->bytes.data + begin : "", *end - begin };
        *end = begin;
        return part;
}

OutMessage outbox_get(const Outbox *outbox, size_t index) {
        const OutboxEntry *entry;
        OutMessage message;
        size_t end;

        assert(index < outbox->n_entries);

        entry = &outbox->entries[index];
        end = entry->end;
        message.kind = entry->kind;
        message.tag = entry->tag;
        message.body = take_part(outbox, entry->body, &end);
        message.headers = take_part(outbox, entry->headers, &end);
        message.reply = take_part(outbox, entry->reply, &end);
        message.subject = take_part(outbox, entry->subject, &end);
        return message;
}

static Slice trim(Slice text) {
        while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
                text = slice_after(text, 1);
        while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
                text.size--;
        return text;
}

Slice headers_get(Slice headers, Slice name) {
        while (headers.size > 0) {
                const char *newline = memchr(headers.data, '\n', headers.size);
                Slice line = { headers.data, newline ? (size_t)(newline - headers.data) : headers.size };

                headers = slice_after(headers, newline ? line.size + 1 : line.size);
                if (line.size > 0 && line.data[line.size - 1] == '\r')
                        line.size--;
                if (line.size > name.size && line.data[name.size] == ':' &&
                        strncasecmp(line.data, name.data, name.size) == 0)
                        return trim(slice_after(line, name.size + 1));
        }
        return SLICE_NONE;
}

void headers_put(Buffer *buffer, Slice name, Slice value) {
        buffer_append_slice(buffer, name);
        buffer_append(buffer, ": ", 2);
        for (size_t i = 0; i < value.size; i++) {
                const char c = value.data[i];

                buffer_append_char(buffer, c == '\r' || c == '\n' || c == '\0' ? ' ' : c);
        }
        buffer_append(buffer, "\r\n", 2);
}
