/* SPDX-License-Identifier: MIT */

/*
 * natsConnection_RequestMsg() would do, but for two things: Ctrl-C shall end the wait with a word of ours, and a server
 * that does not let us publish says so in an error that nobody would look at until the time is over.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/exchange.h"
#include "proto/subject.h"

#define WAIT_STEP_USEC (50 * USEC_PER_MSEC) /* Ctrl-C and refusals are noticed within this */

void exchange_done(Exchange *exchange) {
        natsMsg_Destroy(exchange->message);
        *exchange = (Exchange){ 0 };
}

/* headers */

static bool is_name(Slice name) {
        for (size_t i = 0; i < name.size; i++)
                if (name.data[i] <= ' ' || name.data[i] >= 0x7f)
                        return false;
        return name.size > 0;
}

/* "Name: value" */
static bool split_header(const char *text, Slice *ret_name, const char **ret_value) {
        const char *colon = strchr(text, ':');

        if (!colon)
                return false;
        *ret_name = (Slice){ text, (size_t)(colon - text) };
        *ret_value = colon + 1 + strspn(colon + 1, " ");
        return is_name(*ret_name) && !strpbrk(*ret_value, "\r\n");
}

CtlExit exchange_check_headers(const Ctl *ctl, const TextList *headers) {
        for (size_t i = 0; i < headers->n_items; i++) {
                const char *value;
                Slice name;

                if (!split_header(headers->items[i], &name, &value))
                        return ctl_fail(ctl, CTL_EXIT_USAGE,
                                "--header: \"%.100s\" is not of the form \"Name: value\", in one line",
                                headers->items[i]);
        }
        return CTL_EXIT_OK;
}

CtlExit exchange_check_reply_to(const Ctl *ctl, const char *subject) {
        if (!subject || subject_is_valid(slice_of(subject)))
                return CTL_EXIT_OK;
        return ctl_fail(ctl, CTL_EXIT_USAGE, "--reply-to: \"%.100s\" is no subject", subject);
}

static natsStatus add_headers(natsMsg *msg, const ExchangeLetter *letter) {
        natsStatus s = NATS_OK;

        for (size_t i = 0; s == NATS_OK && i < ELEMENTSOF(letter->more_headers) && letter->more_headers[i][0]; i++)
                if (letter->more_headers[i][1])
                        s = natsMsgHeader_Set(msg, letter->more_headers[i][0], letter->more_headers[i][1]);
        for (size_t i = 0; s == NATS_OK && letter->headers && i < letter->headers->n_items; i++) {
                _cleanup_(free_charp) char *copy = NULL;
                const char *value;
                Slice name;

                if (!split_header(letter->headers->items[i], &name, &value))
                        return NATS_INVALID_ARG;
                copy = slice_dup(name);
                s = copy ? natsMsgHeader_Add(msg, copy, value) : NATS_NO_MEMORY;
        }
        return s;
}

/* the way there */

static void fail(Exchange *exchange, ExchangeKind kind, const char *format, ...) _printf_(3, 4);

static void fail(Exchange *exchange, ExchangeKind kind, const char *format, ...) {
        va_list arguments;

        exchange->kind = kind;
        va_start(arguments, format);
        (void)vsnprintf(exchange->text, sizeof(exchange->text), format, arguments);
        va_end(arguments);
}

/* What nats.c noted as its last error, when it is that the server refused something. */
static bool is_refused(Client *client, const char *subject, Exchange *exchange) {
        const char *text = NULL;

        if (natsConnection_GetLastError(client_connection(client), &text) != NATS_NOT_PERMITTED || !text ||
                !strcasestr(text, subject)) /* it may be about an earlier one */
                return false;
        fail(exchange, EXCHANGE_REFUSED, "NATS does not allow it: %.180s", text);
        return true;
}

static natsStatus publish(Client *client, const ExchangeLetter *letter, const char *reply) {
        natsMsg *msg = NULL;
        natsStatus s = natsMsg_Create(&msg, letter->subject, reply, letter->body, (int)letter->size);

        if (s == NATS_OK)
                s = add_headers(msg, letter);
        if (s == NATS_OK)
                s = natsConnection_PublishMsg(client_connection(client), msg);
        natsMsg_Destroy(msg);
        return s;
}

static void fail_publish(Client *client, const ExchangeLetter *letter, natsStatus s, Exchange *ret) {
        const int64_t most = natsConnection_GetMaxPayload(client_connection(client));

        if (s == NATS_MAX_PAYLOAD)
                fail(ret, EXCHANGE_BROKEN, "%zu bytes and headers are more than the server takes in a message: %lld",
                        letter->size, (long long)most);
        else
                fail(ret, EXCHANGE_BROKEN, "%.150s: %.80s", letter->subject, natsStatus_GetText(s));
}

/* and back */

static void wait_for_answer(Client *client, natsSubscription *subscription, const char *subject, uint64_t start,
        uint64_t timeout_usec, Exchange *ret) {
        natsStatus s = NATS_TIMEOUT;

        while (s == NATS_TIMEOUT) {
                const uint64_t waited = instant_now().usec - start;
                const uint64_t left = timeout_usec - MIN_OF(waited, timeout_usec);

                ret->waited_usec = waited;
                s = natsSubscription_NextMsg(
                        &ret->message, subscription, (int64_t)(MIN_OF(left, WAIT_STEP_USEC) / USEC_PER_MSEC));
                if (s != NATS_TIMEOUT)
                        break;
                if (is_refused(client, subject, ret))
                        return;
                if (ctl_is_interrupted())
                        return fail(ret, EXCHANGE_INTERRUPTED, "interrupted");
                if (left < USEC_PER_MSEC)
                        return fail(ret, EXCHANGE_SILENCE, "no answer on %.150s within %llu ms", subject,
                                (unsigned long long)(timeout_usec / USEC_PER_MSEC));
        }
        ret->waited_usec = instant_now().usec - start;
        if (s == NATS_NO_RESPONDERS || (s == NATS_OK && natsMsg_IsNoResponders(ret->message)))
                fail(ret, EXCHANGE_NOBODY, "nobody listens on %.180s", subject);
        else if (s != NATS_OK)
                fail(ret, EXCHANGE_BROKEN, "%.150s: %.80s", subject, natsStatus_GetText(s));
}

void exchange(Client *client, const ExchangeLetter *letter, uint64_t timeout_usec, Exchange *ret) {
        const uint64_t start = instant_now().usec;
        natsSubscription *subscription = NULL;
        char inbox[512];
        natsStatus s;

        *ret = (Exchange){ .kind = EXCHANGE_ANSWER };
        client_inbox(client, inbox, sizeof(inbox));
        s = natsConnection_SubscribeSync(&subscription, client_connection(client), inbox);
        if (s == NATS_OK)
                s = publish(client, letter, inbox);
        if (s == NATS_OK)
                wait_for_answer(client, subscription, letter->subject, start, timeout_usec, ret);
        else
                fail_publish(client, letter, s, ret);
        client_unsubscribe(client, subscription);
}

void exchange_publish(
        Client *client, const ExchangeLetter *letter, const char *reply, uint64_t timeout_usec, Exchange *ret) {
        natsStatus s;

        *ret = (Exchange){ .kind = EXCHANGE_ANSWER };
        s = publish(client, letter, reply);
        if (s == NATS_OK)
                s = natsConnection_FlushTimeout(
                        client_connection(client), (int64_t)MAX_OF(timeout_usec / USEC_PER_MSEC, 1));
        if (s == NATS_TIMEOUT)
                fail(ret, EXCHANGE_SILENCE, "NATS has not taken the message within %llu ms",
                        (unsigned long long)(timeout_usec / USEC_PER_MSEC));
        else if (s != NATS_OK)
                fail_publish(client, letter, s, ret);
        else
                (void)is_refused(client, letter->subject, ret);
}

CtlExit exchange_fail(const Ctl *ctl, const Exchange *exchange) {
        static const CtlExit statuses[] = {
                [EXCHANGE_ANSWER] = CTL_EXIT_OK,
                [EXCHANGE_NOBODY] = CTL_EXIT_NOBODY,
                [EXCHANGE_SILENCE] = CTL_EXIT_TIMEOUT,
                [EXCHANGE_INTERRUPTED] = CTL_EXIT_INTERRUPTED,
                [EXCHANGE_REFUSED] = CTL_EXIT_UNREACHABLE,
                [EXCHANGE_BROKEN] = CTL_EXIT_FAILURE,
        };

        return ctl_fail(ctl, statuses[exchange->kind], "%s%s", exchange->text,
                exchange->kind == EXCHANGE_SILENCE ? "; --timeout gives it longer" : "");
}
