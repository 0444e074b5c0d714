/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Client: compozyctl's connection to NATS, and requests over it.
 *
 * nats.c with its own threads; requests wait. Nothing is printed here: an Answer says what happened.
 */

#include <jansson.h>
#include <nats/nats.h>

#include "common/daemon_keys.h"
#include "common/nats_link.h"
#include "proto/cc.h"

typedef struct CtlSettings {
        DaemonSettings daemon;
        char *context; /* the context they came from; NULL: none */
} CtlSettings;

typedef enum PeerKind {
        PEER_DISPATCHERS, /* one of them, whichever takes it */
        PEER_DISPATCHER,
        PEER_RUNTIME,
} PeerKind;

typedef struct Peer {
        PeerKind kind;
        const char *id; /* borrowed; NULL for PEER_DISPATCHERS */
} Peer;

#define ANY_DISPATCHER ((Peer){ PEER_DISPATCHERS, NULL })
#define THE_DISPATCHER(id) ((Peer){ PEER_DISPATCHER, id })
#define THE_RUNTIME(id) ((Peer){ PEER_RUNTIME, id })

typedef enum AnswerKind {
        ANSWER_RESULT,
        ANSWER_ERROR,     /* {"ok":false,...} */
        ANSWER_NOBODY,    /* no responders */
        ANSWER_TIMEOUT,   /* or interrupted */
        ANSWER_FORBIDDEN, /* by the server's permissions */
        ANSWER_BROKEN,    /* not what the protocol says, or the connection failed */
} AnswerKind;

typedef struct Answer {
        AnswerKind kind;
        Peer peer;
        char subject[512];
        json_t *result;   /* ANSWER_RESULT: a reference of the caller's */
        json_t *error;    /* ANSWER_ERROR: likewise, an object with `code` and `message` */
        const char *code; /* of `error` */
        char text[512];   /* what is wrong, a sentence */
        uint64_t waited_usec;
} Answer;

void answer_done(Answer *answer);

/* Reads a message that answers a request to answer->subject: sets all but `peer`, `subject` and `waited_usec`. */
void answer_read(Answer *answer, const char *data, size_t size);

typedef struct Client Client;

/*
 * Connects (within `timeout_usec`). `stay`: reconnects for ever afterwards, for commands that watch. Returns 0, or
 * -errno with a sentence in `ret_why`.
 */
int client_new(const CtlSettings *settings, uint64_t timeout_usec, bool stay, Client **ret, NatsReason *ret_why);
Client *client_free(Client *client);

DEFINE_CLEANUP(Client *, client_free);

natsConnection *client_connection(Client *client);
const char *client_shown_url(const Client *client); /* without secrets */
const char *client_prefix(const Client *client);    /* nats.subject_prefix */

/*
 * Ends a synchronous subscription and frees it; NULL: nothing to do. natsSubscription_Destroy() alone is not safe while
 * messages may still come: see the .c.
 */
void client_unsubscribe(Client *client, natsSubscription *subscription);

/* A new subject below this connection's inbox. */
void client_inbox(Client *client, char *ret, size_t size);

/* Where a verb is asked for. Returns 0 or -ENOMEM. */
int client_subject(const Client *client, Peer peer, const char *verb, char *ret, size_t size);

/* One request, one answer. `body` is taken; NULL: {}. Never fails otherwise than in `ret`, which the caller clears. */
void client_ask(Client *client, Peer peer, const char *verb, json_t *body, uint64_t timeout_usec, Answer *ret);

/* How long from now to `until` (instant_now().usec): what several questions may take together. 0: it is over. */
uint64_t client_left(uint64_t until_usec);

/*
 * Publishes `body` (borrowed, "" for none) and hands over each answer until `timeout_usec` are over, or `quiet_usec`
 * after the last one, or `on_answer` returns false. Returns 0 or -errno.
 */
int client_gather(Client *client, const char *subject, const char *body, uint64_t timeout_usec, uint64_t quiet_usec,
        bool (*on_answer)(natsMsg *msg, void *userdata), void *userdata);

/*
 * The ids of the dispatchers that answer the service discovery, sorted: a JSON array of texts, CLIENT_DISPATCHERS_MAX
 * at most. NULL: no memory. How many there are is known to nobody: it ends `quiet_usec` after the last answer, or after
 * `timeout_usec`.
 */
#define CLIENT_DISPATCHERS_MAX 256
#define CLIENT_QUIET_USEC (250 * USEC_PER_MSEC) /* so far apart do they answer on busy hosts; one barely waits */
json_t *client_dispatchers(Client *client, uint64_t timeout_usec, uint64_t quiet_usec);
