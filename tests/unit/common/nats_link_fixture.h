/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Two ends of a conversation over a real nats-server, on one loop: what the tests of the link share.
 */

#include "common/nats_link.h"
#include "tests/unit/common/nats_server.h"

#define PATIENCE_USEC (30 * USEC_PER_SEC)

/* One end of a conversation: a link, and what it was told. */
typedef struct End {
        NatsLink *link;
        Outbox outbox;
        unsigned n_up, n_down, n_errors, n_messages, n_turns, n_no_responders, n_closed;
        uint64_t next_number, message_usec;
        bool is_in_order;
        char error[256], subject[128], reply[128], body[256], headers[512];
} End;

typedef struct Fixture {
        TestServer server;
        struct event_base *base;
        End a, b;
} Fixture;

static inline void on_up(uint64_t max_payload, const char *version, void *userdata) {
        End *end = userdata;

        (void)version;
        assert_true(max_payload > 0);
        end->n_up++;
}

static inline void on_down(const char *why, void *userdata) {
        End *end = userdata;

        (void)snprintf(end->error, sizeof(end->error), "%s", why);
        end->n_down++;
}

static inline void on_error(const char *why, void *userdata) {
        End *end = userdata;

        (void)snprintf(end->error, sizeof(end->error), "%s", why);
        end->n_errors++;
}

static inline void keep(char *to, size_t size, Slice text) {
        (void)snprintf(to, size, "%.*s", SLICE_ARG(text));
}

static inline void on_message(const InMessage *message, Instant now, void *userdata) {
        End *end = userdata;
        uint64_t number = 0;

        assert_true(now.usec >= end->message_usec && now.usec <= instant_now().usec);
        end->message_usec = now.usec;
        end->n_messages++;
        end->n_no_responders += message->no_responders;
        keep(end->subject, sizeof(end->subject), message->subject);
        keep(end->reply, sizeof(end->reply), message->reply);
        keep(end->headers, sizeof(end->headers), message->headers);
        keep(end->body, sizeof(end->body), message->body);
        if (message->body.size == sizeof(number)) {
                memcpy(&number, message->body.data, sizeof(number));
                end->is_in_order = end->is_in_order && number == end->next_number;
                end->next_number++;
        }
}

static inline void on_turn_end(void *userdata) {
        End *end = userdata;

        end->n_turns++;
        nats_link_publish_outbox(end->link, &end->outbox, NULL);
}

static inline void on_closed(void *userdata) {
        End *end = userdata;

        end->n_closed++;
}

static inline NatsLinkOptions options_for(const char *url, End *end) {
        return (NatsLinkOptions){
                .url = url,
                .name = "test",
                .pending_bytes_max = 4 * 1024 * 1024,
                .subscription_bytes_max = 64 * 1024 * 1024,
                .reconnect_max_usec = 200 * USEC_PER_MSEC,
                .ping_interval_usec = 2 * USEC_PER_SEC,
                .on_up = on_up,
                .on_down = on_down,
                .on_error = on_error,
                .on_message = on_message,
                .on_turn_end = on_turn_end,
                .userdata = end,
        };
}

static inline void on_patience(evutil_socket_t fd, short what, void *userdata) {
        (void)fd;
        (void)what;
        *(bool *)userdata = true;
}

/* Runs the loop until `*counter` reaches `wanted`. */
static inline void wait_for(Fixture *f, const unsigned *counter, unsigned wanted) {
        const struct timeval patience = { .tv_sec = PATIENCE_USEC / USEC_PER_SEC };
        bool is_late = false;
        struct event *timer = evtimer_new(f->base, on_patience, &is_late);

        assert_int_equal(event_add(timer, &patience), 0);
        while (*counter < wanted && !is_late)
                assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
        event_free(timer);
        assert_true(*counter >= wanted);
}

static inline void run_for(Fixture *f, uint64_t usec) {
        const struct timeval time = { .tv_usec = (suseconds_t)usec };
        bool is_over = false;
        struct event *timer = evtimer_new(f->base, on_patience, &is_over);

        assert_int_equal(event_add(timer, &time), 0);
        while (!is_over)
                assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
        event_free(timer);
}

static inline void link_start(Fixture *f, End *end, const char *url) {
        const NatsLinkOptions options = options_for(url, end);

        end->is_in_order = true;
        assert_int_equal(nats_link_new(f->base, &options, &end->link), 0);
}

static inline void subscribe(End *end, const char *subject, const char *queue) {
        assert_int_equal(
                nats_link_subscribe(end->link, &(NatsLinkSubscription){ .subject = subject, .queue = queue }), 0);
}

static inline int publish(End *end, const char *subject, const char *body) {
        return nats_link_publish(end->link, &(OutMessage){ .subject = slice_of(subject), .body = slice_of(body) });
}

/* Both are connected, and `a` has subscribed to `subject`, as far as the server is concerned too. */
static inline void two_ends(Fixture *f, const char *subject) {
        unsigned n;

        server_start(&f->server, 0, NULL);
        link_start(f, &f->a, f->server.url);
        subscribe(&f->a, subject, NULL);
        subscribe(&f->a, "ready.a", NULL);
        link_start(f, &f->b, f->server.url);
        wait_for(f, &f->a.n_up, 1);
        wait_for(f, &f->b.n_up, 1);
        n = f->a.n_messages;
        assert_int_equal(publish(&f->a, "ready.a", "SUB and PUB of one connection keep their order"), 0);
        wait_for(f, &f->a.n_messages, n + 1);
        f->a.n_messages = 0;
}

static inline int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        f->base = event_base_new();
        *state = f;
        return f->base ? 0 : -1;
}

static inline int tear_down(void **state) {
        Fixture *f = *state;

        (void)nats_link_free(f->a.link);
        (void)nats_link_free(f->b.link);
        outbox_done(&f->a.outbox);
        outbox_done(&f->b.outbox);
        server_done(&f->server);
        event_base_free(f->base);
        free(f);
        return 0;
}
