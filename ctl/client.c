/* SPDX-License-Identifier: MIT */

/*
 * Servers, credentials and TLS are checked and set as for the daemons (common/nats_settings.c), so a context and a
 * daemon's configuration mean the same. Unlike them, a command of a few milliseconds may wait for its answers, so it
 * uses nats.c's own threads and its synchronous calls.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/edge.h"
#include "common/instant.h"
#include "common/nats_advice.h"
#include "common/nats_settings.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "proto/subject.h"

#define UNSUBSCRIBE_MSEC 2000
#define PING_USEC (10 * USEC_PER_SEC)
#define AGAIN_MSEC 50                        /* between two attempts to connect */
#define WAIT_STEP_USEC (100 * USEC_PER_MSEC) /* Ctrl-C ends a wait within this */

struct Client {
        natsConnection *connection;
        NatsSettings *made; /* asked when it reconnects */
        EdgeNames names;
        const CtlSettings *settings; /* borrowed */
        uint64_t n_inboxes;
};

void answer_done(Answer *answer) {
        json_decref(answer->result);
        json_decref(answer->error);
        *answer = (Answer){ 0 };
}

/* A watching command prints its own word about the connection. */
static void ignore_error(natsConnection *connection, natsSubscription *subscription, natsStatus status, void *closure) {
        (void)connection;
        (void)subscription;
        (void)status;
        (void)closure;
}

static natsStatus set_options(natsOptions *options, uint64_t timeout_usec, bool stay) {
        natsStatus s = natsOptions_SetTimeout(options, (int64_t)(timeout_usec / USEC_PER_MSEC));

        if (s == NATS_OK)
                s = natsOptions_SetErrorHandler(options, ignore_error, NULL);
        if (s == NATS_OK)
                s = natsOptions_UseGlobalMessageDelivery(options, false); /* subscriptions are synchronous */
        if (s == NATS_OK) /* a server that works on what we asked for answers no pings meanwhile */
                s = natsOptions_SetPingInterval(options, PING_USEC / USEC_PER_MSEC);
        if (s == NATS_OK)
                s = natsOptions_SetMaxPingsOut(options, 2);
        if (s == NATS_OK && stay)
                s = natsOptions_SetAllowReconnect(options, true);
        if (s == NATS_OK && stay)
                s = natsOptions_SetMaxReconnect(options, -1);
        if (s == NATS_OK && stay)
                s = natsOptions_SetReconnectWait(options, 500);
        return s;
}

/* What nats.c and the server call it, and which key to look at. */
static void explain_failure(natsStatus status, const NatsSettings *settings, const char *url, NatsReason *ret_why) {
        const char *text = nats_GetLastError(NULL), *end = text && text[0] == '(' ? strstr(text, "): ") : NULL;
        const char *why = end ? end + 3 : natsStatus_GetText(status);
        const char *advice = nats_advice(nats_settings_given(settings), why);

        if (status == NATS_NO_SERVER || status == NATS_IO_ERROR || status == NATS_TIMEOUT)
                advice = "is nats-server running there? Another address is given by --server, NATS_URL or --context";
        (void)snprintf(ret_why->text, sizeof(ret_why->text), "no connection to NATS at %.60s (%.60s)%s%.120s", url, why,
                advice ? ": " : "", advice ? advice : "");
}

/* The server's patience with a greeting ends sooner than ours (after 2 s, as a rule), and says nothing about the key.
 */
static bool was_too_slow(void) {
        const char *text = nats_GetLastError(NULL);

        return text && strstr(text, "Authentication Timeout");
}

int client_new(const CtlSettings *settings, uint64_t timeout_usec, bool stay, Client **ret, NatsReason *ret_why) {
        _cleanup_(client_freep) Client *client = calloc(1, sizeof(*client));
        NatsLinkOptions options = edge_link_options(&settings->daemon, "compozyctl", ret_why);
        const uint64_t deadline_usec = instant_now().usec + timeout_usec;
        natsStatus s;
        int r;

        if (!client)
                return -ENOMEM;
        client->settings = settings;
        edge_names(&settings->daemon, &client->names);
        edge_inbox(&settings->daemon, "operator", "compozyctl", &client->names);
        r = nats_settings_new(&options, &client->made, ret_why);
        if (r < 0)
                return r;
        s = set_options(nats_settings_options(client->made), timeout_usec, stay);
        if (s == NATS_OK)
                s = natsOptions_SetCustomInboxPrefix(nats_settings_options(client->made), client->names.inbox_prefix);
        if (s == NATS_OK)
                s = nats_settings_connect(client->made, &client->connection);
        while (s != NATS_OK && was_too_slow() && instant_now().usec < deadline_usec) {
                nats_Sleep(AGAIN_MSEC);
                s = nats_settings_connect(client->made, &client->connection);
        }
        if (s != NATS_OK) {
                explain_failure(s, client->made, client->names.shown_url, ret_why);
                return -ECONNREFUSED;
        }
        *ret = TAKE_PTR(client);
        return 0;
}

Client *client_free(Client *client) {
        if (!client)
                return NULL;
        natsConnection_Destroy(client->connection);
        (void)nats_settings_unref(client->made);
        free(client);
        return NULL;
}

natsConnection *client_connection(Client *client) {
        return client->connection;
}

/*
 * The thread of nats.c (3.4.1) that reads looks a message's subscription up, and locks it a moment later without
 * holding on to it: one that is destroyed in between is used after it was freed (seen as crashes at the end of `events`
 * while many came). So it is taken out first; once the server's answer to a PING has been read, that thread is past
 * all messages that it may have looked it up for. Where no answer comes it is left alone: the end of the process is
 * near, or the connection is away.
 */
void client_unsubscribe(Client *client, natsSubscription *subscription) {
        if (!subscription)
                return;
        (void)natsSubscription_Unsubscribe(subscription);
        if (natsConnection_Status(client->connection) == NATS_CONN_STATUS_CONNECTED &&
                natsConnection_FlushTimeout(client->connection, UNSUBSCRIBE_MSEC) == NATS_OK)
                natsSubscription_Destroy(subscription);
}

const char *client_shown_url(const Client *client) {
        return client->names.shown_url;
}

const char *client_prefix(const Client *client) {
        return client->settings->daemon.subject_prefix;
}

void client_inbox(Client *client, char *ret, size_t size) {
        (void)snprintf(ret, size, "%s.%llu", client->names.inbox_prefix, (unsigned long long)++client->n_inboxes);
}

/* requests */

int client_subject(const Client *client, Peer peer, const char *verb, char *ret, size_t size) {
        static const SubjectKind kinds[] = {
                [PEER_DISPATCHERS] = SUBJECT_DISPATCHER_VERB,
                [PEER_DISPATCHER] = SUBJECT_DISPATCHER_CONTROL,
                [PEER_RUNTIME] = SUBJECT_RUNTIME_CONTROL,
        };
        _cleanup_(buffer_done) Buffer buffer = {};
        const Slice prefix = slice_of(client_prefix(client));

        if (peer.kind == PEER_DISPATCHERS)
                subject_build(&buffer, prefix, kinds[peer.kind], slice_of(verb), SLICE_NONE);
        else
                subject_build(&buffer, prefix, kinds[peer.kind], slice_of(peer.id), slice_of(verb));
        if (buffer.failed)
                return -ENOMEM;
        (void)snprintf(ret, size, "%.*s", SLICE_ARG(buffer_slice(&buffer)));
        return 0;
}

static void fail(Answer *answer, AnswerKind kind, const char *format, ...) _printf_(3, 4);

static void fail(Answer *answer, AnswerKind kind, const char *format, ...) {
        va_list arguments;

        answer->kind = kind;
        va_start(arguments, format);
        (void)vsnprintf(answer->text, sizeof(answer->text), format, arguments);
        va_end(arguments);
}

void answer_read(Answer *answer, const char *data, size_t size) {
        json_error_t error;
        json_t *root = json_loadb(data, size, JSON_ALLOW_NUL, &error), *ok, *part;

        if (!root) {
                fail(answer, ANSWER_BROKEN, "the answer on %s is no JSON: %s", answer->subject, error.text);
                return;
        }
        ok = json_object_get(root, "ok");
        part = json_object_get(root, json_is_true(ok) ? "result" : "error");
        if (json_is_true(ok)) {
                answer->kind = ANSWER_RESULT;
                answer->result = part ? json_incref(part) : json_object();
        } else if (json_is_false(ok) && json_is_string(json_object_get(part, "code"))) {
                const char *message = json_string_value(json_object_get(part, "message"));

                answer->error = json_incref(part);
                answer->code = json_string_value(json_object_get(part, "code"));
                fail(answer, ANSWER_ERROR, "%s", message ? message : "");
        } else {
                fail(answer, ANSWER_BROKEN, "the answer on %s is neither {\"ok\":true,…} nor an error",
                        answer->subject);
        }
        json_decref(root);
}

/* Does the server not let us publish there? It says so some time later, and nats.c keeps it as its last error. */
static bool is_forbidden(const Client *client, const char *subject) {
        const char *text = NULL;

        return natsConnection_GetLastError(client->connection, &text) == NATS_NOT_PERMITTED && text &&
               strstr(text, subject);
}

/* NATS_NOT_PERMITTED: the server does not allow the question. */
static natsStatus ask(
        Client *client, const char *subject, const char *inbox, const char *body, uint64_t until, natsMsg **ret) {
        natsSubscription *subscription = NULL;
        natsStatus s = natsConnection_SubscribeSync(&subscription, client->connection, inbox);

        if (s == NATS_OK)
                s = natsConnection_PublishRequestString(client->connection, subject, inbox, body);
        while (s == NATS_OK && !*ret) {
                const uint64_t now = instant_now().usec;

                if (now >= until || ctl_is_interrupted()) {
                        s = NATS_TIMEOUT;
                        break;
                }
                s = natsSubscription_NextMsg(ret, subscription,
                        (int64_t)(MAX_OF(MIN_OF(until - now, WAIT_STEP_USEC), USEC_PER_MSEC) / USEC_PER_MSEC));
                if (s == NATS_TIMEOUT)
                        s = is_forbidden(client, subject) ? NATS_NOT_PERMITTED : NATS_OK;
        }
        client_unsubscribe(client, subscription);
        return s;
}

void client_ask(Client *client, Peer peer, const char *verb, json_t *body, uint64_t timeout_usec, Answer *ret) {
        char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("{}");
        const uint64_t start = instant_now().usec;
        char inbox[sizeof(client->names.inbox_prefix) + 24];
        natsMsg *msg = NULL;
        natsStatus s = NATS_NO_MEMORY;

        *ret = (Answer){ .peer = peer };
        json_decref(body);
        client_inbox(client, inbox, sizeof(inbox));
        if (text && client_subject(client, peer, verb, ret->subject, sizeof(ret->subject)) == 0)
                s = ask(client, ret->subject, inbox, text, start + timeout_usec, &msg);
        ret->waited_usec = instant_now().usec - start;
        if (s == NATS_OK)
                answer_read(ret, natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg));
        else if (s == NATS_NO_RESPONDERS)
                fail(ret, ANSWER_NOBODY, "nobody listens on %s", ret->subject);
        else if (s == NATS_TIMEOUT)
                fail(ret, ANSWER_TIMEOUT, "no answer on %s within %llu ms", ret->subject,
                        (unsigned long long)(timeout_usec / USEC_PER_MSEC));
        else if (s == NATS_NOT_PERMITTED)
                fail(ret, ANSWER_FORBIDDEN, "NATS does not allow us to ask %s: it takes the key of an operator",
                        ret->subject);
        else
                fail(ret, ANSWER_BROKEN, "%s: %s", ret->subject, natsStatus_GetText(s));
        natsMsg_Destroy(msg);
        free(text);
}

uint64_t client_left(uint64_t until_usec) {
        const uint64_t now = instant_now().usec;

        return until_usec > now ? until_usec - now : 0;
}

int client_gather(Client *client, const char *subject, const char *body, uint64_t timeout_usec, uint64_t quiet_usec,
        bool (*on_answer)(natsMsg *msg, void *userdata), void *userdata) {
        const uint64_t start = instant_now().usec;
        natsSubscription *subscription = NULL;
        char inbox[sizeof(client->names.inbox_prefix) + 24];
        uint64_t until = start + timeout_usec;
        natsStatus s;

        client_inbox(client, inbox, sizeof(inbox));
        s = natsConnection_SubscribeSync(&subscription, client->connection, inbox);
        if (s == NATS_OK)
                s = natsConnection_PublishRequestString(client->connection, subject, inbox, body);
        while (s == NATS_OK && !ctl_is_interrupted()) {
                const uint64_t now = instant_now().usec;
                natsMsg *msg = NULL;
                bool more;

                if (now >= until)
                        break;
                s = natsSubscription_NextMsg(&msg, subscription,
                        (int64_t)(MAX_OF(MIN_OF(until - now, WAIT_STEP_USEC), USEC_PER_MSEC) / USEC_PER_MSEC));
                if (s == NATS_TIMEOUT) {
                        s = NATS_OK;
                        continue;
                }
                if (s != NATS_OK)
                        break;
                if (natsMsg_IsNoResponders(msg)) {
                        natsMsg_Destroy(msg);
                        break;
                }
                more = on_answer(msg, userdata);
                natsMsg_Destroy(msg);
                if (!more)
                        break;
                until = MIN_OF(start + timeout_usec, instant_now().usec + quiet_usec);
        }
        client_unsubscribe(client, subscription);
        return s == NATS_OK || s == NATS_NO_RESPONDERS ? 0 : -EIO;
}

/* dispatchers */

typedef struct Found {
        json_t *ids;
        const char *prefix;
} Found;

static bool on_ping(natsMsg *msg, void *userdata) {
        Found *found = userdata;
        json_t *root = json_loadb(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), 0, NULL);
        const char *id = json_string_value(json_object_get(root, "id"));
        const char *prefix = json_string_value(json_object_get(json_object_get(root, "metadata"), "subject_prefix"));
        bool is_new = id && (!prefix || strcmp(prefix, found->prefix) == 0); /* several systems may share a server */
        json_t *known;
        size_t i;

        json_array_foreach(found->ids, i, known) if (id && strcmp(json_string_value(known), id) == 0) is_new = false;
        if (is_new && id_is_valid(slice_of(id)))
                (void)json_array_append_new(found->ids, json_string(id));
        json_decref(root);
        return json_array_size(found->ids) < CLIENT_DISPATCHERS_MAX;
}

static int compare_ids(const void *a, const void *b) {
        return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static json_t *sorted(json_t *ids) {
        const size_t n = json_array_size(ids);
        json_t **items = calloc(n > 0 ? n : 1, sizeof(*items)), *result = json_array();

        for (size_t i = 0; items && i < n; i++)
                items[i] = json_array_get(ids, i);
        if (items)
                qsort(items, n, sizeof(*items), compare_ids);
        for (size_t i = 0; items && result && i < n; i++)
                (void)json_array_append(result, items[i]);
        free(items);
        json_decref(ids);
        return result;
}

json_t *client_dispatchers(Client *client, uint64_t timeout_usec, uint64_t quiet_usec) {
        Found found = { .ids = json_array(), .prefix = client_prefix(client) };

        if (!found.ids)
                return NULL;
        (void)client_gather(client, "$SRV.PING.compozy-dispatcher", "", timeout_usec, quiet_usec, on_ping, &found);
        return sorted(found.ids);
}
