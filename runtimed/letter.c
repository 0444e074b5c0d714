/* SPDX-License-Identifier: MIT */

/*
 * Letters and deliveries are recycled, last in first out: what was used last is in the processor's cache. Letters come
 * in three sizes, so that any free one of a class serves; larger ones are rare and go back to the allocator at once.
 * The lists of free ones are bounded: after a flood, 28 MiB at most are kept, and the rest is given back as it comes.
 *
 * What hurts is moving cache lines between the loop's processor and the worker's. A worker only reads them, freeing a
 * delivery looks at its first line only, and the next free ones are fetched ahead. They are not aligned to lines: with
 * thousands under way, all that begin alike would fight for the same few sets of the cache (tried: twice the time).
 *
 * All texts of a letter lie behind one another in its storage, and no text is looked at twice.
 */

#include <string.h>

#include "common/instant.h"
#include "runtimed/letter.h"

#define NOT_KEPT LETTER_CLASSES /* the size class of large ones */

static const struct {
        size_t size;     /* of the storage */
        size_t kept_max; /* free ones */
} classes[LETTER_CLASSES] = { { 256, 32768 }, { 1024, 4096 }, { 4096, 1024 } };

#define DELIVERIES_KEPT_MAX 32768

static size_t class_of(size_t size) {
        size_t class = 0;

        while (class < LETTER_CLASSES && size > classes[class].size)
                class ++;

        return class;
}

/* The one after the next is written soon, and its first lines are in the worker's cache now: to be fetched meanwhile.
 * The next itself was fetched the last time. */
static void prefetch_letter(const Letter *next) {
        if (!next || !next->next)
                return;

        __builtin_prefetch(next->next, /* for writing: */ 1);
        __builtin_prefetch(next->next->storage, 1);
}

static void prefetch_delivery(const Mail *next) {
        if (!next || !next->next)
                return;

        __builtin_prefetch(next->next, /* for writing: */ 1);
        __builtin_prefetch(&delivery_of_mail(next->next)->trace, 1);
}

static Letter *letter_take(Letters *letters, size_t size) {
        const size_t class = class_of(size);
        Letter *letter;

        if (class == NOT_KEPT) {
                letter = malloc(sizeof(*letter) + size);
        } else if (letters->free_letters[class]) {
                letter = letters->free_letters[class];
                letters->free_letters[class] = letter->next;
                letters->n_free_letters[class]--;
                prefetch_letter(letter->next);
        } else {
                letter = malloc(sizeof(*letter) + classes[class].size);
        }

        if (letter)
                letter->size_class = (uint32_t) class;
        return letter;
}

static void letter_put_back(Letters *letters, Letter *letter) {
        const size_t class = letter->size_class;

        if (class == NOT_KEPT || letters->n_free_letters[class] >= classes[class].kept_max) {
                free(letter);
                return;
        }

        letter->next = letters->free_letters[class];
        letters->free_letters[class] = letter;
        letters->n_free_letters[class]++;
}

static size_t envelope_size(const Envelope *envelope) {
        return envelope->thread_id.size + envelope->correlation_id.size + envelope->sender.size +
               envelope->reply_to.size + envelope->timestamp.size + envelope->traceparent.size +
               envelope->tracestate.size;
}

/* Absent stays absent, empty stays empty. */
static Slice store(Letter *letter, Slice text) {
        char *place = letter->storage + letter->n_stored;

        if (!text.data)
                return SLICE_NONE;

        if (text.size > 0)
                memcpy(place, text.data, text.size);
        letter->n_stored += text.size;
        return (Slice){ place, text.size };
}

static void store_envelope(Letter *letter, const Envelope *envelope) {
        Envelope *own = &letter->envelope;

        own->thread_id = store(letter, envelope->thread_id);
        own->correlation_id = store(letter, envelope->correlation_id);
        own->sender = store(letter, envelope->sender);
        own->reply_to = store(letter, envelope->reply_to);
        own->is_request = envelope->is_request;
        own->ttl = envelope->ttl;
        own->hop = envelope->hop;
        own->timestamp = store(letter, envelope->timestamp);
        own->traceparent = store(letter, envelope->traceparent);
        own->tracestate = store(letter, envelope->tracestate);
}

Letter *letter_new(Letters *letters, Slice topic, Slice payload, const Envelope *envelope) {
        Letter *letter = letter_take(letters, topic.size + payload.size + envelope_size(envelope));

        if (!letter)
                return NULL;

        letter->next = NULL;
        letter->n_refs = 1;
        letter->n_stored = 0;
        letter->payload = store(letter, payload);
        letter->topic = store(letter, topic);
        store_envelope(letter, envelope);

        letters->n_letters++;
        letters->n_bytes += sizeof(*letter) + letter->n_stored;
        return letter;
}

void letter_unref(Letters *letters, Letter *letter) {
        assert(letter->n_refs > 0);

        if (--letter->n_refs > 0)
                return;

        letters->n_letters--;
        letters->n_bytes -= sizeof(*letter) + letter->n_stored;
        letter_put_back(letters, letter);
}

static Delivery *delivery_take(Letters *letters) {
        Mail *mail = letters->free_deliveries;

        if (!mail)
                return malloc(sizeof(Delivery));

        letters->free_deliveries = mail->next;
        letters->n_free_deliveries--;
        prefetch_delivery(mail->next);
        return delivery_of_mail(mail);
}

Delivery *delivery_new(Letters *letters, Agent *agent, MailKind kind, Letter *letter) {
        Delivery *delivery = delivery_take(letters);
        size_t n_bytes = sizeof(*delivery);

        assert(kind == MAIL_TOPIC || kind == MAIL_ANSWER || kind == MAIL_TIMER);

        if (!delivery)
                return NULL;

        if (letter) {
                letter->n_refs++;
                n_bytes += sizeof(*letter) + letter->n_stored;
        }
        *delivery = (Delivery){
                .mail = { .agent = agent,
                        .late_usec = USEC_NEVER,
                        .n_bytes = (uint32_t)MIN_OF(n_bytes, (size_t)UINT32_MAX),
                        .kind = kind,
                        .lane = kind == MAIL_TOPIC ? LANE_BATCHED : LANE_URGENT },
                .letter = letter,
        };
        atomic_init(&delivery->mail.called_off, false);
        letters->n_deliveries++;
        return delivery;
}

void delivery_free(Letters *letters, Delivery *delivery) {
        free(delivery->trace);
        if (delivery->letter)
                letter_unref(letters, delivery->letter);
        letters->n_deliveries--;

        if (letters->n_free_deliveries >= DELIVERIES_KEPT_MAX) {
                free(delivery);
                return;
        }

        delivery->mail.next = letters->free_deliveries;
        letters->free_deliveries = &delivery->mail;
        letters->n_free_deliveries++;
}

void letters_done(Letters *letters) {
        assert(letters->n_letters == 0 && letters->n_deliveries == 0);

        for (size_t class = 0; class < LETTER_CLASSES; class ++)
                while (letters->free_letters[class]) {
                        Letter *letter = letters->free_letters[class];

                        letters->free_letters[class] = letter->next;
                        free(letter);
                }

        while (letters->free_deliveries) {
                Mail *mail = letters->free_deliveries;

                letters->free_deliveries = mail->next;
                free(delivery_of_mail(mail));
        }
        *letters = (Letters){};
}
