/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Exchange: one message to any subject, and the first answer to it.
 *
 * For what is no verb of a daemon (ctl/client.h has those): triggers, application messages.
 */

#include "ctl/ctl.h"

typedef enum ExchangeKind {
        EXCHANGE_ANSWER,
        EXCHANGE_NOBODY,  /* no responders */
        EXCHANGE_SILENCE, /* none in time */
        EXCHANGE_INTERRUPTED,
        EXCHANGE_REFUSED, /* the server's permissions don't allow it */
        EXCHANGE_BROKEN,  /* the connection failed, or the message can't travel */
} ExchangeKind;

typedef struct ExchangeLetter {
        const char *subject;
        const TextList *headers;        /* "Name: value" or "Name:value" each; checked by exchange_check_headers() */
        const char *more_headers[8][2]; /* ours, up to one without a name; those without a value are left out */
        const void *body;
        size_t size;
} ExchangeLetter;

typedef struct Exchange {
        ExchangeKind kind;
        natsMsg *message; /* EXCHANGE_ANSWER: owned */
        char text[256];   /* otherwise: what is wrong */
        uint64_t waited_usec;
} Exchange;

void exchange_done(Exchange *exchange);

/* Are they "Name: value"? Says what is wrong with the first that is not. */
CtlExit exchange_check_headers(const Ctl *ctl, const TextList *headers);

/* Can --reply-to be published to? NULL: not given. */
CtlExit exchange_check_reply_to(const Ctl *ctl, const char *subject);

/* Publishes it with a reply subject of our own, and waits. */
void exchange(Client *client, const ExchangeLetter *letter, uint64_t timeout_usec, Exchange *ret);

/* Publishes it, with that reply subject (NULL: none), and waits until the server has taken it. */
void exchange_publish(
        Client *client, const ExchangeLetter *letter, const char *reply, uint64_t timeout_usec, Exchange *ret);

/* Says why there is no answer; for all kinds but EXCHANGE_ANSWER and EXCHANGE_NOBODY. */
CtlExit exchange_fail(const Ctl *ctl, const Exchange *exchange);
