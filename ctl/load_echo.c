/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "common/edge.h"
#include "common/nats_link.h"
#include "ctl/load_echo.h"

#define TICK_USEC (20 * USEC_PER_MSEC)

struct LoadEcho {
        char subject[sizeof(((EdgeNames *)0)->inbox_prefix) + 8];
        struct event_base *base; /* the thread's, while it runs; so is what follows */
        struct event *tick;
        NatsLink *link;
        pthread_t thread;
        bool has_thread;
        atomic_bool shall_end;
        sem_t is_up;
};

static void on_up(uint64_t max_payload, const char *server_version, void *userdata) {
        LoadEcho *echo = userdata;

        (void)max_payload;
        (void)server_version;
        (void)sem_post(&echo->is_up);
}

static void on_message(const InMessage *message, Instant now, void *userdata) {
        LoadEcho *echo = userdata;

        (void)now;
        if (message->reply.size > 0)
                (void)nats_link_publish(echo->link, &(OutMessage){ .subject = message->reply, .body = message->body });
}

static void on_nothing(void *userdata) {
        (void)userdata;
}

static void on_word(const char *why, void *userdata) {
        (void)why;
        (void)userdata;
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        LoadEcho *echo = userdata;

        (void)fd;
        (void)what;
        if (atomic_load(&echo->shall_end))
                (void)event_base_loopbreak(echo->base);
}

static void *run(void *userdata) {
        LoadEcho *echo = userdata;

        (void)event_base_dispatch(echo->base);
        return NULL;
}

static int make_link(LoadEcho *echo, const CtlSettings *settings, NatsReason *ret_why) {
        NatsLinkOptions options = edge_link_options(&settings->daemon, "compozyctl-echo", ret_why);
        EdgeNames names;
        int r;

        edge_names(&settings->daemon, &names);
        edge_inbox(&settings->daemon, "operator", "compozyctl", &names);
        (void)snprintf(echo->subject, sizeof(echo->subject), "%s.echo", names.inbox_prefix);
        options.on_up = on_up;
        options.on_down = on_word;
        options.on_message = on_message;
        options.on_turn_end = on_nothing;
        options.on_error = on_word;
        options.userdata = echo;
        r = nats_link_new(echo->base, &options, &echo->link);
        if (r == 0)
                r = nats_link_subscribe(echo->link, &(NatsLinkSubscription){ .subject = echo->subject });
        return r;
}

/* A semaphore's clock is CLOCK_REALTIME. */
static bool wait_until_up(LoadEcho *echo, uint64_t timeout_usec) {
        const uint64_t until = instant_now().real_usec + timeout_usec;
        const struct timespec moment = { (time_t)(until / USEC_PER_SEC), (long)(until % USEC_PER_SEC * 1000) };
        int r;

        do
                r = sem_timedwait(&echo->is_up, &moment);
        while (r < 0 && errno == EINTR);
        return r == 0;
}

int load_echo_new(const CtlSettings *settings, uint64_t timeout_usec, LoadEcho **ret, NatsReason *ret_why) {
        _cleanup_(load_echo_freep) LoadEcho *echo = calloc(1, sizeof(*echo));
        int r;

        if (!echo)
                return -ENOMEM;
        (void)sem_init(&echo->is_up, 0, 0);
        echo->base = event_base_new();
        echo->tick = echo->base ? event_new(echo->base, -1, EV_PERSIST, on_tick, echo) : NULL;
        if (!echo->tick || event_add(echo->tick, &(struct timeval){ .tv_usec = TICK_USEC }) < 0)
                return -ENOMEM;
        r = make_link(echo, settings, ret_why);
        if (r < 0)
                return r;
        r = pthread_create(&echo->thread, NULL, run, echo);
        if (r != 0)
                return -r;
        echo->has_thread = true;
        if (!wait_until_up(echo, timeout_usec)) {
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "no second connection to NATS");
                return -ETIMEDOUT;
        }
        *ret = TAKE_PTR(echo);
        return 0;
}

LoadEcho *load_echo_free(LoadEcho *echo) {
        if (!echo)
                return NULL;
        atomic_store(&echo->shall_end, true);
        if (echo->has_thread)
                (void)pthread_join(echo->thread, NULL);
        if (echo->tick)
                event_free(echo->tick);
        echo->link = nats_link_free(echo->link);
        if (echo->base)
                event_base_free(echo->base);
        (void)sem_destroy(&echo->is_up);
        free(echo);
        return NULL;
}

const char *load_echo_subject(const LoadEcho *echo) {
        return echo->subject;
}
