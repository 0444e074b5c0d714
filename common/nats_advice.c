/* SPDX-License-Identifier: MIT */

/*
 * nats.c hands on what OpenSSL and the server say, and a server that refuses a client's certificate says nothing, but
 * ends the connection. One table knows the words for each of them (as of nats.c 3.4 to 3.10, OpenSSL 3, nats-server 2.9
 * to 2.12); an operator is told which key to look at.
 */

#include <stdio.h>
#include <string.h>

#include "common/nats_advice.h"

/* What was tried with, as far as the advice depends on it. */
typedef enum Tried {
        TRIED_ANYTHING,
        TRIED_NO_CREDENTIALS,
        TRIED_CREDENTIALS_FILE,
        TRIED_NKEY,
        TRIED_PASSWORD, /* in the address */
        TRIED_TLS_WITH_CERTIFICATE,
        TRIED_TLS_WITHOUT_CERTIFICATE,
} Tried;

static const struct {
        const char *words;
        Tried tried;
        const char *advice;
} table[] = {
        { "Authorization Violation", TRIED_NO_CREDENTIALS,
                "the server wants to know who we are: nats.credentials, nats.nkey_seed_file, or user:password@ or "
                "token@ in nats.url" },
        { "Authorization Violation", TRIED_CREDENTIALS_FILE,
                "the server does not know the user of nats.credentials, or its JWT has expired or was revoked" },
        { "Authorization Violation", TRIED_NKEY, "the server does not know the key of nats.nkey_seed_file" },
        { "Authorization Violation", TRIED_PASSWORD,
                "the server does not know the user or token in nats.url, or the password is another one" },
        { "Authentication Expired", TRIED_ANYTHING, "the JWT in nats.credentials has expired: put a new file there" },
        { "Authentication Revoked", TRIED_ANYTHING,
                "the user of nats.credentials was revoked: put another file there" },
        { "certificate has expired", TRIED_ANYTHING, "the server's certificate must be renewed" },
        { "certificate is not yet valid", TRIED_ANYTHING, "look at the clocks of both hosts" },
        { "local issuer certificate", TRIED_ANYTHING,
                "the server's certificate does not come from a CA in nats.tls_ca" },
        { "self-signed certificate", TRIED_ANYTHING,
                "the server's certificate does not come from a CA in nats.tls_ca" },
        { "self signed certificate", TRIED_ANYTHING,
                "the server's certificate does not come from a CA in nats.tls_ca" },
        { "address mismatch", TRIED_ANYTHING, "the server's certificate is for another name than the one in nats.url" },
        { "ostname mismatch", TRIED_ANYTHING, "the server's certificate is for another name than the one in nats.url" },
        { "Secure Connection not available", TRIED_ANYTHING,
                "the server has no TLS, and nats.url (tls://) or a key nats.tls_... asks for it" },
        { "Expected 'PONG', got ''", TRIED_TLS_WITHOUT_CERTIFICATE,
                "the server hung up; if it verifies clients, it wants nats.tls_cert and nats.tls_key" },
        { "SSL_", TRIED_TLS_WITHOUT_CERTIFICATE,
                "the server hung up; if it verifies clients, it wants nats.tls_cert and nats.tls_key" },
        { "alert", TRIED_TLS_WITHOUT_CERTIFICATE,
                "the server hung up; if it verifies clients, it wants nats.tls_cert and nats.tls_key" },
        { "Connection Closed", TRIED_TLS_WITHOUT_CERTIFICATE, /* so does nats.c 3.10 say it */
                "the server hung up; if it verifies clients, it wants nats.tls_cert and nats.tls_key" },
        { "Expected 'PONG', got ''", TRIED_TLS_WITH_CERTIFICATE,
                "the server hung up; does nats.tls_cert come from a CA that it trusts, and is it still valid?" },
        { "SSL_", TRIED_TLS_WITH_CERTIFICATE,
                "the server hung up; does nats.tls_cert come from a CA that it trusts, and is it still valid?" },
        { "alert", TRIED_TLS_WITH_CERTIFICATE,
                "the server hung up; does nats.tls_cert come from a CA that it trusts, and is it still valid?" },
        { "Connection Closed", TRIED_TLS_WITH_CERTIFICATE,
                "the server hung up; does nats.tls_cert come from a CA that it trusts, and is it still valid?" },
        { "Permissions Violation", TRIED_ANYTHING, "the server does not allow it to our user (docs/security.md)" },
        { "No server available", TRIED_ANYTHING, "is nats-server running there? (nats.url)" },
};

static bool is_given(const char *text) {
        return text && text[0] != '\0';
}

static bool is_tls(const NatsLinkOptions *options) {
        return is_given(options->tls_ca) || is_given(options->tls_cert) || strstr(options->url, "tls://");
}

static bool was_tried(const NatsLinkOptions *options, Tried tried) {
        const bool has_file = is_given(options->credentials) || is_given(options->nkey_seed_file);

        switch (tried) {
        case TRIED_ANYTHING:
                return true;
        case TRIED_NO_CREDENTIALS:
                return !has_file && !strchr(options->url, '@');
        case TRIED_CREDENTIALS_FILE:
                return is_given(options->credentials);
        case TRIED_NKEY:
                return is_given(options->nkey_seed_file);
        case TRIED_PASSWORD:
                return !has_file && strchr(options->url, '@');
        case TRIED_TLS_WITH_CERTIFICATE:
                return is_tls(options) && is_given(options->tls_cert);
        case TRIED_TLS_WITHOUT_CERTIFICATE:
                return is_tls(options) && !is_given(options->tls_cert);
        }
        return false;
}

const char *nats_advice(const NatsLinkOptions *options, const char *why) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (strcasestr(why, table[i].words) && was_tried(options, table[i].tried))
                        return table[i].advice;
        return NULL;
}

void nats_explain(const NatsLinkOptions *options, const char *before, const char *why, char *ret, size_t size) {
        const char *advice = nats_advice(options, why);

        (void)snprintf(ret, size, "%s%.200s%s%s", before, why, advice ? ": " : "", advice ? advice : "");
}

/* `why` is behind its words; what stands between the next quotes. */
static bool read_quoted(const char **why, const char *words, Slice *ret) {
        const char *begin, *end;

        if (strncasecmp(*why, words, strlen(words)) != 0)
                return false;
        begin = *why + strlen(words);
        end = strchr(begin, '"');
        if (!end || end == begin)
                return false;
        *ret = (Slice){ begin, (size_t)(end - begin) };
        *why = end + 1;
        return true;
}

bool nats_error_forbids_subscription(const char *why, Slice *ret_subject, Slice *ret_queue) {
        if (!read_quoted(&why, "Permissions Violation for Subscription to \"", ret_subject))
                return false;
        if (!read_quoted(&why, " using queue \"", ret_queue))
                *ret_queue = SLICE_NONE;
        return true;
}
