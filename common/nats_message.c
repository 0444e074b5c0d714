/* SPDX-License-Identifier: MIT */

/*
 * nats.c wants texts that end with a NUL, and checks no subject that is published: a line break in one would end
 * the protocol line and begin a command of the sender's choice. So what is copied is checked on the way.
 */

#include <string.h>
#include <strings.h>

#include "common/nats_link.h"
#include "common/nats_message.h"

#define HEADER_OVERHEAD 12 /* "NATS/1.0\r\n" and the empty line count as payload */

/* The last of them mark the answer of a service as an error: Nats-Service-Error, Nats-Service-Error-Code. */
static bool header_passes(const char *name) {
        return strcasecmp(name, "traceparent") == 0 || strcasecmp(name, "tracestate") == 0 ||
               strncasecmp(name, "Compozy-", 8) == 0 || strncasecmp(name, "Nats-Service-Error", 18) == 0;
}

/* Costs one comparison inside nats.c when the message has no headers. */
static Slice read_headers(natsMsg *message, Buffer *headers) {
        const char **names = NULL, *value;
        int n = 0;

        if (natsMsgHeader_Keys(message, &names, &n) != NATS_OK)
                return SLICE_NONE;

        buffer_clear(headers);
        for (int i = 0; i < n; i++)
                if (header_passes(names[i]) && natsMsgHeader_Get(message, names[i], &value) == NATS_OK && value)
                        headers_put(headers, slice_of(names[i]), slice_of(value));
        free(names);
        return headers->size > 0 && !headers->failed ? buffer_slice(headers) : SLICE_NONE;
}

InMessage nats_message_read(natsMsg *message, Buffer *headers) {
        const char *data = natsMsg_GetData(message);

        return (InMessage){
                .subject = slice_of(natsMsg_GetSubject(message)),
                .reply = slice_of(natsMsg_GetReply(message)),
                .headers = read_headers(message, headers),
                .body = { data ? data : "", (size_t)natsMsg_GetDataLength(message) },
                .no_responders = natsMsg_IsNoResponders(message),
        };
}

size_t nats_message_payload(const OutMessage *message) {
        return message->body.size + message->headers.size + (message->headers.size > 0 ? HEADER_OVERHEAD : 0);
}

/* Eight bytes at a time: subjects are a hundred characters of each message. A byte below 0x21 borrows, and has no high
 * bit of its own. */
static bool has_blank_or_control(Slice text) {
        const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;

        for (; text.size >= sizeof(uint64_t); text = slice_after(text, sizeof(uint64_t))) {
                uint64_t word;

                memcpy(&word, text.data, sizeof(word));
                if ((word - ones * 0x21) & ~word & high)
                        return true;
        }
        for (size_t i = 0; i < text.size; i++)
                if ((unsigned char)text.data[i] <= ' ')
                        return true;
        return false;
}

/* Appends `text` and a NUL. */
static int append_subject(Buffer *buffer, Slice text) {
        if (text.size == 0 || has_blank_or_control(text))
                return -EINVAL;
        buffer_append_slice(buffer, text);
        buffer_append_char(buffer, '\0');
        return 0;
}

/* `line`: "Name: value"; one without a colon is left out. */
static natsStatus add_header(natsMsg *message, Slice line, Buffer *scratch) {
        const char *colon = memchr(line.data, ':', line.size);
        Slice value;
        size_t at;

        if (!colon)
                return NATS_OK;
        value = slice_after(line, (size_t)(colon - line.data) + 1);
        while (value.size > 0 && value.data[0] == ' ')
                value = slice_after(value, 1);

        buffer_clear(scratch);
        buffer_append(scratch, line.data, (size_t)(colon - line.data));
        buffer_append_char(scratch, '\0');
        at = scratch->size;
        buffer_append_slice(scratch, value);
        buffer_append_char(scratch, '\0');
        return scratch->failed ? NATS_NO_MEMORY : natsMsgHeader_Add(message, scratch->data, scratch->data + at);
}

static natsStatus add_headers(natsMsg *message, Slice headers, Buffer *scratch) {
        natsStatus s = NATS_OK;

        while (headers.size > 0 && s == NATS_OK) {
                const char *end = memmem(headers.data, headers.size, "\r\n", 2);
                const Slice line = { headers.data, end ? (size_t)(end - headers.data) : headers.size };

                s = add_header(message, line, scratch);
                headers = slice_after(headers, end ? line.size + 2 : line.size);
        }
        return s;
}

static natsStatus publish_with_headers(natsConnection *connection, const OutMessage *message, const char *subject,
        const char *reply, Buffer *scratch) {
        natsMsg *out = NULL;
        natsStatus s = natsMsg_Create(&out, subject, reply, message->body.data, (int)message->body.size);

        if (s == NATS_OK)
                s = add_headers(
                        out, message->headers, scratch); /* `subject` and `reply`, which lie there, were copied */
        if (s == NATS_OK)
                s = natsConnection_PublishMsg(connection, out);
        natsMsg_Destroy(out);
        return s;
}

static int result_of(natsStatus status) {
        switch (status) {
        case NATS_OK:
                return 0;
        case NATS_NO_MEMORY:
                return -ENOMEM;
        case NATS_MAX_PAYLOAD:
                return NATS_LINK_E_TOO_LARGE;
        case NATS_INVALID_ARG:
        case NATS_INVALID_SUBJECT:
        case NATS_NO_SERVER_SUPPORT: /* of headers */
                return -EINVAL;
        default:
                return NATS_LINK_E_DOWN;
        }
}

int nats_message_publish(natsConnection *connection, const OutMessage *message, Buffer *scratch) {
        const int size = (int)message->body.size;
        const char *subject, *reply;
        natsStatus s;

        buffer_clear(scratch);
        if (append_subject(scratch, message->subject) < 0 ||
                (message->reply.data && append_subject(scratch, message->reply) < 0))
                return -EINVAL;
        if (scratch->failed)
                return -ENOMEM;
        subject = scratch->data;
        reply = message->reply.data ? subject + message->subject.size + 1 : NULL;

        if (message->headers.size > 0)
                s = publish_with_headers(connection, message, subject, reply, scratch);
        else if (reply)
                s = natsConnection_PublishRequest(connection, subject, reply, message->body.data, size);
        else
                s = natsConnection_Publish(connection, subject, message->body.data, size);
        return result_of(s);
}
