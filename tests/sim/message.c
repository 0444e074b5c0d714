/* SPDX-License-Identifier: MIT */

#include "tests/sim/message.h"

static Slice copy_part(char **place, Slice part) {
        Slice copy = SLICE_NONE;

        if (!part.data)
                return copy;
        copy = (Slice){ *place, part.size };
        memcpy(*place, part.data, part.size);
        *place += part.size;
        return copy;
}

Message *message_new(const OutMessage *content) {
        const size_t size = content->subject.size + content->reply.size + content->headers.size + content->body.size;
        Message *message = calloc(1, sizeof(*message) + size + 1);
        char *place;

        assert(message);
        place = message->bytes;
        message->n_refs = 1;
        message->from = INDEX_NONE;
        message->subject = copy_part(&place, content->subject);
        message->reply = copy_part(&place, content->reply);
        message->headers = copy_part(&place, content->headers);
        message->body = copy_part(&place, content->body);
        message->meaning = (Meaning){ .exec = INDEX_NONE, .ask = INDEX_NONE, .runtime = INDEX_NONE };
        return message;
}

Message *message_ref(Message *message) {
        message->n_refs++;
        return message;
}

Message *message_unref(Message *message) {
        if (!message || --message->n_refs > 0)
                return NULL;
        (void)message_unref(message->cause);
        free(message);
        return NULL;
}

void message_drop(void *message) {
        (void)message_unref(message);
}

void queue_push(Queue *queue, Item item) {
        if (queue->n_items == queue->n_allocated) {
                const size_t n = MAX_OF(queue->n_allocated * 2, (size_t)16);
                Item *items = calloc(n, sizeof(*items));

                assert(items);
                for (size_t i = 0; i < queue->n_items; i++)
                        items[i] = queue->items[(queue->head + i) % queue->n_allocated];
                free(queue->items);
                queue->items = items;
                queue->head = 0;
                queue->n_allocated = n;
        }
        queue->items[(queue->head + queue->n_items++) % queue->n_allocated] = item;
}

const Item *queue_head(const Queue *queue) {
        return queue->n_items > 0 ? &queue->items[queue->head] : NULL;
}

bool queue_pop(Queue *queue, Item *ret) {
        if (queue->n_items == 0)
                return false;
        *ret = queue->items[queue->head];
        queue->head = (queue->head + 1) % queue->n_allocated;
        queue->n_items--;
        return true;
}

void queue_done(Queue *queue) {
        Item item;

        while (queue_pop(queue, &item))
                (void)message_unref(item.message);
        free(queue->items);
        *queue = (Queue){ 0 };
}
