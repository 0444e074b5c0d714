/* SPDX-License-Identifier: MIT */

/*
 * An ordered consumer as ADR-17 has it (https://github.com/nats-io/nats-architecture-and-design), by the JetStream
 * API's own messages: ephemeral, in memory, without acknowledgements, with flow control and heartbeats. A gap in its
 * ordinals, a silence of three heartbeats or a new connection: it is given up, and another made behind the last number.
 *
 * nats.c has such consumers as well, but notices that the server forgot one (it does when it restarts) only by telling
 * of missed heartbeats, and leaves the rest to its user.
 */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/instant.h"
#include "ctl/exchange.h"
#include "ctl/fields.h"
#include "ctl/watch_stream.h"
#include "proto/emit.h"

#define HEARTBEAT_USEC (2 * USEC_PER_SEC)
#define SILENCE_USEC (3 * HEARTBEAT_USEC)
#define RETRY_USEC (500 * USEC_PER_MSEC)
#define SEEK_USEC (60 * USEC_PER_SEC) /* a server looks for the events of one kind among millions */
#define RENEW_USEC (2 * USEC_PER_SEC)
#define PENDING_MSGS_MAX (1024 * 1024) /* flow control stays far below */
#define PENDING_BYTES_MAX (512 * 1024 * 1024)

enum {
        JS_STREAM_NOT_FOUND = 10059,
        JS_NOT_ENABLED = 10076,
        JS_NOT_ENABLED_FOR_ACCOUNT = 10039,
};

struct WatchStream {
        Client *client;
        char filter[512];
        uint64_t timeout_usec;
        uint64_t first, last;

        natsSubscription *subscription; /* NULL: there is no reader */
        char consumer[128];
        uint64_t next_number, from_real_usec; /* where the next reader begins */
        uint64_t ordinal, n_pending;
        uint64_t heard_usec, retry_usec, n_reconnects;
};

/* the API */

/* *ret is the answer, the caller's. */
static int ask(WatchStream *stream, const char *verb, const Buffer *body, uint64_t timeout_usec, json_t **ret,
        NatsReason *ret_why) {
        _cleanup_(exchange_done) Exchange answer = {};
        json_t *root, *error;
        char subject[256];
        int64_t code;

        (void)snprintf(subject, sizeof(subject), "$JS.API.%s", verb);
        exchange(stream->client, &(ExchangeLetter){ .subject = subject, .body = body->data, .size = body->size },
                timeout_usec, &answer);
        if (answer.kind == EXCHANGE_NOBODY) {
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "NATS runs without JetStream (nats-server -js)");
                return WATCH_STREAM_E_NONE;
        }
        if (answer.kind != EXCHANGE_ANSWER) {
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "%.250s", answer.text);
                return answer.kind == EXCHANGE_INTERRUPTED ? -EINTR : answer.kind == EXCHANGE_REFUSED ? -EACCES : -EIO;
        }
        root = json_loadb(natsMsg_GetData(answer.message), (size_t)natsMsg_GetDataLength(answer.message), 0, NULL);
        error = json_object_get(root, "error");
        if (root && !error) {
                *ret = root;
                return 0;
        }
        code = json_integer_value(json_object_get(error, "err_code"));
        if (code == JS_STREAM_NOT_FOUND)
                (void)snprintf(ret_why->text, sizeof(ret_why->text),
                        "there is no stream " WATCH_STREAM
                        ": a dispatcher makes it when it connects (jetstream.enabled)");
        else
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "JetStream: %.200s",
                        error ? field_text(error, "description") : "no JSON");
        json_decref(root);
        return code == JS_STREAM_NOT_FOUND || code == JS_NOT_ENABLED || code == JS_NOT_ENABLED_FOR_ACCOUNT
                       ? WATCH_STREAM_E_NONE
                       : -EIO;
}

static int ask_state(WatchStream *stream, NatsReason *ret_why) {
        _cleanup_(buffer_done) Buffer empty = {};
        json_t *answer, *state;
        int r;

        r = ask(stream, "STREAM.INFO." WATCH_STREAM, &empty, stream->timeout_usec, &answer, ret_why);
        if (r != 0)
                return r;
        state = json_object_get(answer, "state");
        stream->first = (uint64_t)json_integer_value(json_object_get(state, "first_seq"));
        stream->last = (uint64_t)json_integer_value(json_object_get(state, "last_seq"));
        json_decref(answer);
        return 0;
}

/* readers */

static void drop_reader(WatchStream *stream) {
        char subject[256];

        if (!stream->subscription)
                return;
        client_unsubscribe(stream->client, stream->subscription);
        stream->subscription = NULL;
        /* the server would find out by itself, later */
        (void)snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE." WATCH_STREAM ".%s", stream->consumer);
        if (stream->consumer[0] != '\0')
                (void)natsConnection_PublishString(client_connection(stream->client), subject, "");
}

static void emit_config(Buffer *buffer, const WatchStream *stream, const char *inbox) {
        emit_object(buffer, NULL);
        emit_string(buffer, "stream_name", WATCH_STREAM);
        emit_object(buffer, "config");
        emit_string(buffer, "deliver_subject", inbox);
        if (stream->next_number > 0) {
                emit_string(buffer, "deliver_policy", "by_start_sequence");
                emit_u64(buffer, "opt_start_seq", stream->next_number);
        } else {
                emit_string(buffer, "deliver_policy", "by_start_time");
                emit_timestamp(buffer, "opt_start_time", stream->from_real_usec);
        }
        if (stream->filter[0] != '\0')
                emit_string(buffer, "filter_subject", stream->filter);
        emit_string(buffer, "ack_policy", "none");
        emit_u64(buffer, "max_deliver", 1);
        emit_string(buffer, "replay_policy", "instant");
        emit_bool(buffer, "flow_control", true);
        emit_u64(buffer, "idle_heartbeat", HEARTBEAT_USEC * 1000); /* nanoseconds */
        emit_bool(buffer, "mem_storage", true);
        emit_u64(buffer, "num_replicas", 1);
        emit_object_end(buffer);
        emit_object_end(buffer);
}

static uint64_t count_reconnects(const WatchStream *stream) {
        uint64_t n[5] = { 0 };
        natsStatistics *statistics = NULL;

        if (natsStatistics_Create(&statistics) == NATS_OK &&
                natsConnection_GetStats(client_connection(stream->client), statistics) == NATS_OK)
                (void)natsStatistics_GetCounts(statistics, &n[0], &n[1], &n[2], &n[3], &n[4]);
        natsStatistics_Destroy(statistics);
        return n[4];
}

static int make_reader(WatchStream *stream, uint64_t timeout_usec, NatsReason *ret_why) {
        _cleanup_(buffer_done) Buffer body = {};
        natsConnection *connection = client_connection(stream->client);
        json_t *answer;
        char inbox[512];
        natsStatus s;
        int r;

        drop_reader(stream);
        stream->n_reconnects = count_reconnects(stream);
        client_inbox(stream->client, inbox, sizeof(inbox));
        s = natsConnection_SubscribeSync(&stream->subscription, connection, inbox);
        if (s == NATS_OK)
                s = natsSubscription_SetPendingLimits(stream->subscription, PENDING_MSGS_MAX, PENDING_BYTES_MAX);
        if (s != NATS_OK) {
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "%s", natsStatus_GetText(s));
                return -EIO;
        }
        emit_config(&body, stream, inbox);
        if (body.failed)
                return -ENOMEM;
        stream->consumer[0] = '\0';
        r = ask(stream, "CONSUMER.CREATE." WATCH_STREAM, &body, timeout_usec, &answer, ret_why);
        if (r != 0) {
                drop_reader(stream);
                return r;
        }
        (void)snprintf(stream->consumer, sizeof(stream->consumer), "%s",
                json_string_value(json_object_get(answer, "name")) ? json_string_value(json_object_get(answer, "name"))
                                                                   : "");
        stream->n_pending = (uint64_t)json_integer_value(json_object_get(answer, "num_pending"));
        stream->ordinal = 0;
        stream->heard_usec = instant_now().usec;
        json_decref(answer);
        return 0;
}

/* construction */

int watch_stream_new(Client *client, uint64_t timeout_usec, WatchStream **ret, NatsReason *ret_why) {
        _cleanup_(watch_stream_freep) WatchStream *stream = calloc(1, sizeof(*stream));
        int r;

        if (!stream)
                return -ENOMEM;
        stream->client = client;
        stream->timeout_usec = timeout_usec;
        r = ask_state(stream, ret_why);
        if (r != 0)
                return r;
        *ret = TAKE_PTR(stream);
        return 0;
}

WatchStream *watch_stream_free(WatchStream *stream) {
        if (!stream)
                return NULL;
        drop_reader(stream);
        free(stream);
        return NULL;
}

uint64_t watch_stream_first(const WatchStream *stream) {
        return stream->first;
}

uint64_t watch_stream_last(const WatchStream *stream) {
        return stream->last;
}

uint64_t watch_stream_n_pending(const WatchStream *stream) {
        return stream->n_pending;
}

/* reading */

int watch_place_parse(const char *reply, WatchPlace *ret) {
        const char *tokens[16];
        size_t n = 0, at;
        char *end;

        if (!reply || strncmp(reply, "$JS.ACK.", 8) != 0)
                return -EINVAL;
        for (const char *c = reply; c && n < ELEMENTSOF(tokens); c = strchr(c, '.') ? strchr(c, '.') + 1 : NULL)
                tokens[n++] = c;
        /* $JS.ACK.<stream>.<consumer>.<delivered>.<number>.<ordinal>.<time>.<pending>; newer servers put
         * <domain>.<account> before the stream and may append one more */
        if (n != 9 && n < 11)
                return -EINVAL;
        at = n == 9 ? 5 : 7;
        ret->number = strtoull(tokens[at], &end, 10);
        if (*end != '.')
                return -EINVAL;
        ret->ordinal = strtoull(tokens[at + 1], &end, 10);
        if (*end != '.')
                return -EINVAL;
        ret->n_pending = strtoull(tokens[at + 3], &end, 10);
        return *end == '.' || *end == '\0' ? 0 : -EINVAL;
}

int watch_stream_read(
        WatchStream *stream, uint64_t number, uint64_t real_usec, const char *filter, NatsReason *ret_why) {
        int r;

        (void)snprintf(stream->filter, sizeof(stream->filter), "%s", filter);
        stream->next_number = number;
        stream->from_real_usec = real_usec;
        r = make_reader(stream, MAX_OF(stream->timeout_usec, SEEK_USEC), ret_why);
        return r > 0 ? -ENOENT : r;
}

/* Heartbeats and flow control: the server waits for a word at the subject that it names. */
static bool is_control(WatchStream *stream, natsMsg *msg) {
        const char *status = NULL, *stalled = NULL, *last = NULL, *reply = natsMsg_GetReply(msg);

        if (natsMsg_GetDataLength(msg) > 0 || natsMsgHeader_Get(msg, "Status", &status) != NATS_OK)
                return false;
        if (natsMsgHeader_Get(msg, "Nats-Last-Consumer", &last) == NATS_OK &&
                strtoull(last, NULL, 10) != stream->ordinal)
                stream->heard_usec = 0; /* the last ones got lost: a new reader */
        if (!reply && natsMsgHeader_Get(msg, "Nats-Consumer-Stalled", &stalled) == NATS_OK)
                reply = stalled;
        if (reply)
                (void)natsConnection_PublishString(client_connection(stream->client), reply, "");
        return true;
}

/* Is there a reader, and does the server know it? */
static int keep_reader(WatchStream *stream, NatsReason *ret_why) {
        const uint64_t now = instant_now().usec;
        const bool is_well = stream->subscription && now - stream->heard_usec < SILENCE_USEC &&
                             stream->n_reconnects == count_reconnects(stream);
        int r;

        if (is_well || now < stream->retry_usec)
                return 0;
        stream->retry_usec = now + RETRY_USEC;
        if (natsConnection_Status(client_connection(stream->client)) != NATS_CONN_STATUS_CONNECTED)
                return 0;
        r = make_reader(stream, RENEW_USEC, ret_why);
        /* after a restart JetStream needs a moment; until then it has neither stream nor API */
        return r == -EINTR || r >= 0 || r == -EIO ? 0 : r;
}

static void pause_for(uint64_t usec) {
        nats_Sleep((int64_t)MAX_OF(usec / USEC_PER_MSEC, 1));
}

int watch_stream_next(
        WatchStream *stream, uint64_t timeout_usec, natsMsg **ret, uint64_t *ret_number, NatsReason *ret_why) {
        natsMsg *msg = NULL;
        WatchPlace place;
        natsStatus s;
        int r = keep_reader(stream, ret_why);

        *ret = NULL;
        if (r < 0)
                return r;
        if (!stream->subscription) {
                pause_for(MIN_OF(timeout_usec, RETRY_USEC));
                return 0;
        }
        s = natsSubscription_NextMsg(&msg, stream->subscription, (int64_t)(timeout_usec / USEC_PER_MSEC));
        if (s == NATS_CONNECTION_CLOSED || s == NATS_CONNECTION_DISCONNECTED) {
                pause_for(timeout_usec);
                return 0;
        }
        if (s != NATS_OK)
                return 0; /* nothing yet; or dropped, which the next ordinal tells */
        stream->heard_usec = instant_now().usec;
        if (is_control(stream, msg) || watch_place_parse(natsMsg_GetReply(msg), &place) < 0) {
                natsMsg_Destroy(msg);
                return 0;
        }
        if (place.ordinal != stream->ordinal + 1) { /* something is missing: again from there */
                natsMsg_Destroy(msg);
                drop_reader(stream);
                stream->retry_usec = 0;
                return 0;
        }
        stream->ordinal = place.ordinal;
        stream->next_number = place.number + 1;
        stream->n_pending = place.n_pending;
        *ret = msg;
        *ret_number = place.number;
        return 0;
}
