/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Message: one published message on its way through the virtual server, shared by all who receive it; and queues of
 * them.
 */

#include "common/outbox.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/subject.h"

#define INDEX_NONE UINT32_MAX

typedef enum MeaningKind {
        MEANING_OTHER,
        MEANING_TRIGGER, /* caller to dispatcher */
        MEANING_RELAY,   /* dispatcher to runtime */
        MEANING_REPORT,  /* runtime to dispatcher */
        MEANING_RESULT,  /* runtime or dispatcher to caller */
        MEANING_REGISTERED,
        MEANING_HEARTBEAT,
        MEANING_UPDATED,
        MEANING_DEREGISTERED,
        MEANING_PROBE,        /* dispatcher to runtime: control.status */
        MEANING_PROBE_ANSWER, /* runtime to dispatcher */
        MEANING_APP,          /* application message; `ask` is its number */
        MEANING_APP_ANSWER,   /* `ask`: to which */
        MEANING_REQUEST,      /* caller to runtime: control API; `ask` is its number */
        MEANING_REQUEST_ANSWER,
} MeaningKind;

/* What the oracle read from a message when it was published: read once, used at each delivery. */
typedef struct Meaning {
        MeaningKind kind;
        uint32_t exec, ask; /* indices in the oracle; INDEX_NONE */
        uint32_t runtime;   /* node index of the runtime it is for or about; INDEX_NONE */
        uint64_t epoch, attempt, interval_ms, age_ms, free_slots, max_in_flight;
        unsigned status; /* of results: ResultStatus; of deregistrations: DeregisterReason */
        ErrorCode code;
} Meaning;

typedef struct Message Message;

struct Message {
        uint32_t n_refs;
        uint32_t from;                    /* node index; INDEX_NONE: the server itself */
        uint32_t from_incarnation;        /* which process of that node */
        bool no_responders, unheard_told; /* the latter: of a relay, its sender knows */
        bool is_single;                   /* the fault that duplicates leaves it alone */
        Message *cause;                   /* of a "no responders": what nobody listened to */
        uint64_t published_usec;
        Meaning meaning;
        Slice subject, reply, headers, body; /* in `bytes` */
        char bytes[];
};

/* Copies all of it; one reference. */
Message *message_new(const OutMessage *content);
Message *message_ref(Message *message);
Message *message_unref(Message *message);
void message_drop(void *message); /* message_unref() for Event.drop */

typedef enum ItemKind {
        ITEM_MESSAGE,
        ITEM_UP,          /* the link is up: first of what a connection delivers */
        ITEM_DOWN,        /* the client library noticed that it is down */
        ITEM_SUBSCRIBE,   /* to the server: the subscription `number`, of those that the process wants */
        ITEM_UNSUBSCRIBE, /* likewise */
} ItemKind;

typedef struct Item {
        ItemKind kind;
        Message *message;
        uint64_t ready_usec;
        uint64_t number; /* of a subscription: that a message came through, or that is begun or ended */
        uint64_t tag;    /* of the former */
        bool in_order;   /* of the former: not to be overtaken by, nor to overtake, others of which that is true */
} Item;

/* A ring. */
typedef struct Queue {
        Item *items;
        size_t head, n_items, n_allocated;
} Queue;

void queue_push(Queue *queue, Item item);   /* takes item.message */
const Item *queue_head(const Queue *queue); /* NULL: empty */
bool queue_pop(Queue *queue, Item *ret);    /* the caller owns ret->message */
void queue_done(Queue *queue);
