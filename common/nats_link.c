/* SPDX-License-Identifier: MIT */

/*
 * How nats.c is used, and why so (read in 3.4.1, compared with 3.10.1):
 *
 * - Messages. After each read on the loop thread, nats.c has put the messages into the synchronous subscriptions,
 *   and they are taken out to the last one before the next read. So the bytes of one read (128 KiB) bound what a
 *   turn does: timers and signals are never starved, nothing piles up in the process, and a server that sends
 *   faster than we handle meets TCP's back-pressure.
 *
 * - "No responders". natsSubscription_NextMsg() turns the server's 503 into a status and destroys the message, and
 *   with it the subject that says which request it was about. Only asynchronous subscriptions hand it out.
 *
 * - Order and number. Synchronous subscriptions are drained one after the other, which loses the order between them,
 * and each is looked at after each read. So what has a tag, is `ordered` or lies below "_INBOX." is asynchronous:
 * nats.c's one delivery thread walks one list of messages in the order of the wire and leaves them in the inbox
 *   (nats_SetMessageDeliveryPoolSize(1), which is the default, and natsOptions_UseGlobalMessageDelivery()). The
 *   callback's closure holds inbox and key, so nothing has to live until the last callback has returned. nats.c drops
 *   none of them; what bounds them is that reading stops (link_fence.c), and the size of the inbox.
 *
 * - Reconnecting is ours. nats.c gives up for good when a server refuses our credentials twice, blocks its caller
 *   in the first attempt, fills a buffer with stale messages meanwhile, and attaches from a thread of its own. One
 *   way for the first connection and all later ones (a new NatsWire, subscribed again before it is polled) is less
 *   than the two that its way would need.
 *
 * - Dead peers. nats.c's timer thread sends the PINGs but may not close (nats_wire.c). Here a silence of two
 *   intervals on the loop's own clock ends the wire; a PONG is as good a sign of life as any message. A process
 *   that was stopped counts no time.
 *
 * - Freeing. natsMsg_Destroy() only hands the message to a collecting thread and wakes it if it sleeps; handing over
 * one at a time as they are handled wakes it for each (measured: 42 % of a dispatcher's samples were thread switches).
 * So messages that were handled are kept until some hundreds can be given back in one go, after the write. The
 * library's own threads are started under SCHED_BATCH, so that being woken they don't preempt the loop.
 *
 * - Writing. nats.c appends what is published to a buffer and never refuses. The buffer is written once at the end
 *   of a turn; what the socket did not take is `n_unsent`, and past pending_bytes_max nothing more goes in. Long
 *   before that nothing more is read: what peers make us say can't push out what we have to say.
 */

#include <limits.h>
#include <nats/nats.h>
#include <stdio.h>

#include "common/link_fence.h"
#include "common/link_inbox.h"
#include "common/link_tags.h"
#include "common/nats_advice.h"
#include "common/nats_link.h"
#include "common/nats_message.h"
#include "common/nats_settings.h"
#include "common/nats_wire.h"
#include "common/rng.h"
#include "proto/subject.h"

#define RETRY_FIRST_USEC (50 * USEC_PER_MSEC)
#define RETRY_JITTER_PERCENT 50                /* a fleet that lost its server together must not come back together */
#define RETRY_SETTLED_USEC (10 * USEC_PER_SEC) /* a connection that lasted so long starts over with short pauses */
#define SAY_AGAIN_USEC (60 * USEC_PER_SEC)     /* why there is no connection; the log may have lost it the first time */
#define SILENT_TICKS_MAX 4                     /* of half a ping interval */
#define INBOX_BATCH 4096                       /* events of a turn; one read of small messages brings as many */
#define SET_UP_BATCH 4096                      /* subscriptions of a turn after a connect: some 10 ms */
#define SUBSCRIBE_BATCH 1024 /* subscriptions of an outbox, after which the server is given them to begin with */
#define SPENT_MAX 512        /* messages handled and not yet given back to nats.c ... */
#define SPENT_BYTES_MAX (256 * 1024)
#define UNSUBSCRIBE_TIMEOUT_MSEC 5000
#define PUBLISH_OVERHEAD 32 /* "HPUB", lengths, line ends: for the estimate of unsent bytes */

typedef enum LinkState {
        LINK_WAITING, /* until the retry timer */
        LINK_CONNECTING,
        LINK_SETTING_UP, /* connected, not all subscriptions are made; reads nothing */
        LINK_UP,
        LINK_CLOSING, /* writes what is left, discards what comes */
        LINK_CLOSED,
} LinkState;

typedef struct Subscription {
        char *subject, *queue;
        natsSubscription *handle; /* NULL while not connected */
        bool is_async;
        bool is_leaving;
} Subscription;

struct NatsLink {
        struct event_base *base;
        NatsLinkOptions options; /* numbers and callbacks; the texts are in `settings` */
        NatsSettings *settings;
        LinkInbox *inbox;
        NatsWire *wire; /* NULL while waiting */
        LinkState state;

        Subscription *subscriptions;
        size_t n_subscriptions, n_leaving;
        LinkTags tags;
        size_t n_set_up; /* places of tags, while setting up: those before it are */
        size_t n_opened; /* tags, by outboxes */
        LinkFence fence;

        struct event *inbox_event, *retry_timer, *pulse_timer, *close_timer, *flush_event;
        struct event *read_event, *write_event; /* of the wire */
        natsMsg *spent[SPENT_MAX];
        size_t n_spent, n_spent_bytes;
        Instant turn;         /* when it began */
        bool in_turn;         /* the end of the turn will write */
        bool flush_scheduled; /* nobody's turn, so an event will */
        bool write_pending;   /* the socket was full */
        bool is_paused;       /* reading, until what was read is handled, and what was said to it is written */
        bool is_inbox_full;
        bool is_choked;   /* the server takes too slowly what we say */
        bool is_dropping; /* said; until the inbox has been empty */

        uint64_t max_payload;
        size_t n_unsent; /* an estimate; exact after each write */
        unsigned n_attempts, n_silent_ticks;
        uint64_t n_signs_seen, n_messages_seen, n_dropped_seen, up_usec;
        char last_failure[512];
        uint64_t failure_usec; /* when it was reported */
        Rng rng;
        Buffer scratch, headers;

        void (*on_closed)(void *userdata);
        void *on_closed_userdata;

        NatsLinkStats stats;
};

static void link_retry_later(NatsLink *link);

/* What nats.c has put into its buffer goes out at the end of the turn, or, in nobody's turn, before the loop waits
 * again. */
static void schedule_flush(NatsLink *link) {
        if (link->in_turn || link->flush_scheduled || link->write_pending)
                return;
        link->flush_scheduled = true;
        event_active(link->flush_event, EV_TIMEOUT, 0);
}

/* subscriptions */

/* A nats.c thread. */
static void on_async_message(natsConnection *connection, natsSubscription *handle, natsMsg *message, void *closure) {
        (void)connection;
        (void)handle;

        if (link_inbox_push(closure, message) != 0)
                natsMsg_Destroy(message); /* counted by the inbox, if there still is one */
}

static natsStatus open_async(
        NatsLink *link, const char *subject, const char *queue, uint64_t key, natsSubscription **ret) {
        natsConnection *connection = nats_wire_connection(link->wire);
        void *closure = link_inbox_closure(link->inbox, key);
        natsStatus s;

        if (queue)
                s = natsConnection_QueueSubscribe(ret, connection, subject, queue, on_async_message, closure);
        else
                s = natsConnection_Subscribe(ret, connection, subject, on_async_message, closure);
        if (s == NATS_OK)
                (void)natsSubscription_SetPendingLimits(*ret, -1, -1); /* see "Order and number" */
        return s;
}

static natsStatus open_sync(NatsLink *link, const char *subject, const char *queue, natsSubscription **ret) {
        natsConnection *connection = nats_wire_connection(link->wire);
        const int bytes_max = (int)MIN_OF(link->options.subscription_bytes_max, (size_t)INT_MAX);
        natsStatus s;

        if (queue)
                s = natsConnection_QueueSubscribeSync(ret, connection, subject, queue);
        else
                s = natsConnection_SubscribeSync(ret, connection, subject);
        if (s == NATS_OK)
                (void)natsSubscription_SetPendingLimits(*ret, -1, bytes_max);
        return s;
}

/* A connection that has just ended is no failure: the next one sets up all that there is. */
static int result_of(natsStatus status) {
        if (status == NATS_OK || status == NATS_CONNECTION_CLOSED)
                return 0;
        return status == NATS_NO_MEMORY ? -ENOMEM : -EINVAL;
}

static int subscription_open(NatsLink *link, Subscription *subscription) {
        const char *subject = subscription->subject, *queue = subscription->queue;
        natsSubscription **handle = &subscription->handle;

        return result_of(subscription->is_async ? open_async(link, subject, queue, 0, handle)
                                                : open_sync(link, subject, queue, handle));
}

static uint64_t subscription_dropped(const Subscription *subscription) {
        int64_t n = 0;

        if (subscription->handle)
                (void)natsSubscription_GetDropped(subscription->handle, &n);
        return n > 0 ? (uint64_t)n : 0;
}

static void subscription_close(NatsLink *link, Subscription *subscription) {
        link->stats.dropped_messages += subscription_dropped(subscription);
        natsSubscription_Destroy(subscription->handle);
        subscription->handle = NULL;
}

static void subscription_remove(NatsLink *link, size_t index) {
        Subscription *subscription = &link->subscriptions[index];

        subscription_close(link, subscription);
        if (subscription->is_leaving)
                link->n_leaving--;
        free(subscription->subject);
        free(subscription->queue);
        *subscription = link->subscriptions[--link->n_subscriptions];
}

/* Those that were unsubscribed and have handed out their last message. */
static void sweep_subscriptions(NatsLink *link) {
        for (size_t i = link->n_subscriptions; i > 0 && link->n_leaving > 0; i--) {
                const Subscription *subscription = &link->subscriptions[i - 1];

                if (subscription->is_leaving &&
                        (!subscription->handle || !natsSubscription_IsValid(subscription->handle)))
                        subscription_remove(link, i - 1);
        }
}

static int subscribe_plain(NatsLink *link, const NatsLinkSubscription *wanted) {
        Subscription subscription = { 0 };
        Subscription *all;
        int r = 0;

        all = reallocarray(link->subscriptions, link->n_subscriptions + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        link->subscriptions = all;

        subscription.subject = strdup(wanted->subject);
        subscription.queue = wanted->queue ? strdup(wanted->queue) : NULL;
        subscription.is_async = wanted->ordered || slice_starts_with(slice_of(wanted->subject), SLICE("_INBOX."));
        if (!subscription.subject || (wanted->queue && !subscription.queue))
                r = -ENOMEM;
        else if (link->state == LINK_UP || link->state == LINK_SETTING_UP)
                r = subscription_open(link, &subscription);
        if (r < 0) {
                free(subscription.subject);
                free(subscription.queue);
                return r;
        }

        link->subscriptions[link->n_subscriptions++] = subscription;
        return 0;
}

static int tag_open(NatsLink *link, LinkTag *tag) {
        const uint64_t key = link_tag_key(&link->tags, tag);

        return result_of(open_async(link, tag->texts, link_tag_queue(tag), key, &tag->handle));
}

static int subscribe_tag(NatsLink *link, Slice subject, Slice queue, uint64_t tag) {
        LinkTag *added = NULL;
        int r;

        /* refused now, not when the link comes up and can't */
        if (!subject_pattern_is_valid(subject) || (queue.size > 0 && !subject_is_valid(queue)))
                return -EINVAL;
        r = link_tags_add(&link->tags, tag, subject, queue, &added);
        if (r < 0 || (link->state != LINK_UP && link->state != LINK_SETTING_UP))
                return r;
        r = tag_open(link, added);
        if (r < 0)
                link_tags_remove(&link->tags, added);
        return r;
}

int nats_link_subscribe(NatsLink *link, const NatsLinkSubscription *wanted) {
        int r;

        assert(link);
        assert(wanted && wanted->subject);

        if (wanted->tag > 0)
                r = subscribe_tag(link, slice_of(wanted->subject), slice_of(wanted->queue), wanted->tag);
        else
                r = subscribe_plain(link, wanted);
        if (r == 0)
                schedule_flush(link);
        return r;
}

void nats_link_unsubscribe(NatsLink *link, const char *subject) {
        assert(link);
        assert(subject);

        for (size_t i = link->n_subscriptions; i > 0; i--) {
                Subscription *subscription = &link->subscriptions[i - 1];

                if (subscription->is_leaving || strcmp(subscription->subject, subject) != 0)
                        continue;
                subscription->is_leaving = true;
                link->n_leaving++;
                if (subscription->handle)
                        (void)natsSubscription_DrainTimeout(subscription->handle, UNSUBSCRIBE_TIMEOUT_MSEC);
        }
        schedule_flush(link);
}

void nats_link_unsubscribe_tag(NatsLink *link, uint64_t tag) {
        LinkTag *gone;

        assert(link);

        gone = link_tags_find(&link->tags, tag);
        if (!gone)
                return;
        natsSubscription_Destroy(gone->handle); /* says so to the server, and waits for no answer */
        link_tags_remove(&link->tags, gone);
        schedule_flush(link);
}

/* writing */

static void on_wire_end(NatsLink *link);

/* With what was read: the inbox is not empty, or the delivery thread too far behind. */
static bool is_behind(NatsLink *link) {
        return link->is_inbox_full || !link_fence_is_open(&link->fence);
}

/* Whoever asks faster than the server takes our answers is not listened to meanwhile: at pending_bytes_max answers
 * would be lost, and heartbeats. */
static void update_reading(NatsLink *link) {
        bool is_paused;

        link->is_choked = link->n_unsent > link->options.pending_bytes_max / (link->is_choked ? 8 : 4);
        is_paused = link->is_choked || is_behind(link);
        if (is_paused == link->is_paused || link->state != LINK_UP)
                return;
        link->is_paused = is_paused;
        if (is_paused)
                (void)event_del(link->read_event);
        else
                (void)event_add(link->read_event, NULL);
}

static void link_write(NatsLink *link) {
        if (!link->wire || nats_wire_state(link->wire) != WIRE_OPEN)
                return;
        if (nats_wire_write(link->wire)) {
                const int n = natsConnection_Buffered(nats_wire_connection(link->wire));

                link->n_unsent = n > 0 ? (size_t)n : 0;
                link->write_pending = event_add(link->write_event, NULL) == 0;
                return;
        }
        link->n_unsent = 0;
        if (link->state == LINK_CLOSING)
                nats_wire_half_close(link->wire);
}

static void on_writable(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;

        (void)fd;
        (void)what;

        link->write_pending = false;
        link_write(link);
        update_reading(link);
        if (link->state == LINK_SETTING_UP && !link->write_pending)
                link_inbox_wake(link_inbox_ticket(link->inbox)); /* there is room to go on */
        on_wire_end(link);
}

static void on_flush(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;

        (void)fd;
        (void)what;

        link->flush_scheduled = false;
        if (!link->write_pending)
                link_write(link);
        update_reading(link);
        on_wire_end(link);
}

/* receiving */

static void free_spent(NatsLink *link) {
        for (size_t i = 0; i < link->n_spent; i++)
                natsMsg_Destroy(link->spent[i]);
        link->n_spent = link->n_spent_bytes = 0;
}

static void spend(NatsLink *link, natsMsg *message) {
        link->spent[link->n_spent++] = message;
        link->n_spent_bytes += (size_t)natsMsg_GetDataLength(message);
        if (link->n_spent == SPENT_MAX)
                free_spent(link);
}

/* What came through a tag is handled, also when the link is down by then; the rest of a connection ends with it. */
static bool is_wanted(const NatsLink *link, uint64_t key, uint64_t *ret_tag) {
        const LinkTag *tag;

        *ret_tag = 0;
        if (key == 0)
                return link->state == LINK_UP;
        tag = link_tags_find_key(&link->tags, key);
        if (tag)
                *ret_tag = tag->tag;
        return tag && link->state < LINK_CLOSING;
}

/* Takes the message. */
static void deliver(NatsLink *link, natsMsg *message, uint64_t key) {
        InMessage in = nats_message_read(message, &link->headers);

        link->stats.in_messages++;
        link->stats.in_bytes += in.body.size;
        if (is_wanted(link, key, &in.tag) && link->options.on_message)
                link->options.on_message(&in, link->turn, link->options.userdata);
        spend(link, message);
}

static uint64_t drain_subscription(NatsLink *link, size_t index) {
        uint64_t n_queued = 0, n = 0;

        if (natsSubscription_QueuedMsgs(link->subscriptions[index].handle, &n_queued) != NATS_OK)
                return 0;
        while (n < n_queued) {
                natsMsg *message = NULL;
                /* by index each time: a handler may subscribe, which moves the array */
                const natsStatus s = natsSubscription_NextMsg(&message, link->subscriptions[index].handle, 0);

                if (s == NATS_SLOW_CONSUMER) /* said once; the messages that are left come next */
                        continue;
                n++;
                if (s == NATS_OK)
                        deliver(link, message, 0);
                else if (s != NATS_NO_RESPONDERS)
                        break;
        }
        return n;
}

static void turn_begin(NatsLink *link) {
        link->turn = instant_now();
        link->in_turn = true;
}

static void turn_end(NatsLink *link, bool any_message) {
        if (any_message && link->state < LINK_CLOSING && link->options.on_turn_end)
                link->options.on_turn_end(link->options.userdata);
        link->in_turn = false;
        if (link->n_leaving > 0)
                sweep_subscriptions(link);
        if (!link->write_pending)
                link_write(link);
        update_reading(link);
        if (link->n_spent >= SPENT_MAX / 2 || link->n_spent_bytes >= SPENT_BYTES_MAX)
                free_spent(link);
        on_wire_end(link);
}

static void send_fence(NatsLink *link) {
        const char *subject = NULL;

        for (size_t i = 0; i < link->n_subscriptions && !subject; i++)
                if (link->subscriptions[i].is_async && !link->subscriptions[i].is_leaving)
                        subject = link->subscriptions[i].subject;
        for (size_t i = 0; i < link->tags.n_places && !subject; i++)
                subject = link->tags.places[i].texts;
        if (subject)
                link_fence_send(&link->fence, nats_wire_connection(link->wire), subject);
}

static void set_inbox_full(NatsLink *link, bool is_inbox_full) {
        link->is_inbox_full = is_inbox_full;
        update_reading(link);
}

static void on_readable(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;
        uint64_t n = 0;

        (void)fd;
        (void)what;

        turn_begin(link);
        nats_wire_read(link->wire);
        for (size_t i = 0; i < link->n_subscriptions; i++)
                if (link->subscriptions[i].handle && !link->subscriptions[i].is_async)
                        n += drain_subscription(link, i);
        if (link_fence_is_due(&link->fence, nats_wire_connection(link->wire)))
                send_fence(link);
        update_reading(link);
        turn_end(link, n > 0);
}

/* up and down */

static void report_error(NatsLink *link, const char *why) {
        if (link->options.on_error)
                link->options.on_error(why, link->options.userdata);
}

static int open_wire_events(NatsLink *link) {
        const int fd = nats_wire_fd(link->wire);

        link->read_event = event_new(link->base, fd, EV_READ | EV_PERSIST, on_readable, link);
        link->write_event = event_new(link->base, fd, EV_WRITE, on_writable, link);
        return link->read_event && link->write_event ? 0 : -ENOMEM;
}

static void free_event(struct event **event) {
        if (*event)
                event_free(*event);
        *event = NULL;
}

static void drop_wire(NatsLink *link) {
        free_spent(link);
        free_event(&link->read_event);
        free_event(&link->write_event);
        (void)event_del(link->pulse_timer);
        for (size_t i = 0; i < link->n_subscriptions; i++)
                subscription_close(link, &link->subscriptions[i]);
        for (size_t i = 0; i < link->tags.n_places; i++) {
                natsSubscription_Destroy(link->tags.places[i].handle);
                link->tags.places[i].handle = NULL;
        }
        sweep_subscriptions(link);
        link->wire = nats_wire_free(link->wire);
        link->write_pending = link->is_paused = link->is_inbox_full = link->is_choked = false;
        link->n_unsent = 0;
}

/* A server that takes subscriptions shows that it lives, as one that sends. */
static uint64_t n_signs_of_life(const NatsLink *link) {
        return nats_wire_n_reads(link->wire) + link->n_set_up;
}

static void start_pulse(NatsLink *link) {
        const uint64_t usec = link->options.ping_interval_usec / 2;
        const struct timeval tick = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(usec % USEC_PER_SEC) };

        link->n_silent_ticks = 0;
        link->n_signs_seen = n_signs_of_life(link);
        if (usec > 0)
                (void)event_add(link->pulse_timer, &tick);
}

static void could_not_set_up(NatsLink *link, int error) {
        nats_wire_break(link->wire, strerror(-error));
        on_wire_end(link);
}

/* The wire is open: what is subscribed comes first, and may take some turns. */
static void begin_set_up(NatsLink *link) {
        int r = open_wire_events(link);

        link->state = LINK_SETTING_UP;
        link->n_set_up = 0;
        link_fence_restart(&link->fence);
        sweep_subscriptions(link); /* what was unsubscribed meanwhile */
        nats_settings_learn(link->settings, nats_wire_connection(link->wire));
        for (size_t i = 0; i < link->n_subscriptions && r == 0; i++)
                r = subscription_open(link, &link->subscriptions[i]);
        if (r < 0)
                could_not_set_up(link, r);
        else
                start_pulse(link);
}

static void link_came_up(NatsLink *link) {
        if (event_add(link->read_event, NULL) < 0) {
                could_not_set_up(link, -ENOMEM);
                return;
        }
        if (link->up_usec > 0)
                link->stats.reconnects++;
        link->state = LINK_UP;
        link->n_set_up = 0;
        link->up_usec = instant_now().usec;
        link->last_failure[0] = '\0';
        link->max_payload = (uint64_t)natsConnection_GetMaxPayload(nats_wire_connection(link->wire));
        if (link->options.on_up)
                link->options.on_up(link->max_payload, "", link->options.userdata);
        schedule_flush(link);
}

/* As many as a turn may make; what they come to is written at its end, before the next ones. */
static void go_on_setting_up(NatsLink *link) {
        int r = 0;

        for (size_t n = 0; n < SET_UP_BATCH && link->n_set_up < link->tags.n_places && r == 0; link->n_set_up++) {
                LinkTag *tag = &link->tags.places[link->n_set_up];

                if (!tag->texts || tag->handle) /* free, or made meanwhile */
                        continue;
                r = tag_open(link, tag);
                n++;
        }
        if (r < 0)
                could_not_set_up(link, r);
        else if (link->n_set_up >= link->tags.n_places)
                link_came_up(link);
        else
                link_inbox_wake(link_inbox_ticket(link->inbox));
}

static void finish_close(NatsLink *link) {
        void (*on_closed)(void *userdata) = link->on_closed;

        link->state = LINK_CLOSED;
        (void)event_del(link->close_timer);
        (void)event_del(link->retry_timer);
        link->on_closed = NULL;
        if (on_closed)
                on_closed(link->on_closed_userdata); /* may free the link */
}

static void could_not_connect(NatsLink *link, const char *why) {
        char text[sizeof(link->last_failure)];

        nats_explain(nats_settings_given(link->settings), "could not connect: ", why, text, sizeof(text));
        if (strcmp(link->last_failure, text) == 0 && instant_now().usec < link->failure_usec + SAY_AGAIN_USEC)
                return;
        link->failure_usec = instant_now().usec;
        memcpy(link->last_failure, text, sizeof(text));
        report_error(link, text);
}

/* Where every connection ends, whoever noticed. Nothing is to be touched by the caller afterwards. */
static void on_wire_end(NatsLink *link) {
        const LinkState was = link->state;
        char why[256];

        if (!link->wire || nats_wire_state(link->wire) != WIRE_CLOSED)
                return;

        (void)snprintf(why, sizeof(why), "%s", nats_wire_why(link->wire));
        drop_wire(link);
        if (was == LINK_CLOSING) {
                finish_close(link);
                return;
        }

        if (was == LINK_UP && instant_now().usec - link->up_usec >= RETRY_SETTLED_USEC)
                link->n_attempts = 0;
        link_retry_later(link);
        if (was == LINK_UP && link->options.on_down)
                link->options.on_down(why, link->options.userdata);
        else if (was == LINK_CONNECTING || was == LINK_SETTING_UP)
                could_not_connect(link, why);
}

static void connect_now(NatsLink *link) {
        int r;

        assert(!link->wire);

        link->state = LINK_CONNECTING;
        r = nats_wire_new(link->settings, link_inbox_ticket(link->inbox), &link->wire);
        if (r < 0) {
                link_retry_later(link);
                could_not_connect(link, strerror(-r));
        }
}

/* Credentials and certificates may be others by now. */
static void on_retry(evutil_socket_t fd, short what, void *userdata) {
        NatsSettings *settings = NULL;
        NatsLink *link = userdata;
        NatsReason why;
        int r = nats_settings_renew(link->settings, &settings, &why);

        (void)fd;
        (void)what;

        if (r < 0) {
                link_retry_later(link);
                could_not_connect(link, why.text[0] != '\0' ? why.text : strerror(-r));
                return;
        }
        (void)nats_settings_unref(link->settings);
        link->settings = settings;
        connect_now(link);
}

static void link_retry_later(NatsLink *link) {
        const uint64_t longest = MAX_OF(link->options.reconnect_max_usec, RETRY_FIRST_USEC);
        const uint64_t doubled = RETRY_FIRST_USEC << MIN_OF(link->n_attempts, 20u);
        const uint64_t usec = rng_jitter(&link->rng, MIN_OF(doubled, longest), RETRY_JITTER_PERCENT);
        const struct timeval pause = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(usec % USEC_PER_SEC) };

        link->state = LINK_WAITING;
        link->n_attempts++;
        (void)event_add(link->retry_timer, &pause);
}

/* A pause in which nothing comes would last for ever. */
static void look_after_pause(NatsLink *link) {
        if (is_behind(link) && link->stats.in_messages == link->n_messages_seen) {
                link_fence_give_up(&link->fence);
                set_inbox_full(link, false);
        }
        link->n_messages_seen = link->stats.in_messages;
}

static void on_pulse(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;
        const uint64_t n_signs = n_signs_of_life(link);

        (void)fd;
        (void)what;

        free_spent(link);
        look_after_pause(link);
        link->n_silent_ticks = n_signs == link->n_signs_seen && !is_behind(link) ? link->n_silent_ticks + 1 : 0;
        link->n_signs_seen = n_signs;
        if (link->n_silent_ticks < SILENT_TICKS_MAX)
                return;
        nats_wire_break(link->wire, "the server answers no pings");
        on_wire_end(link);
}

static void report_drops(NatsLink *link, bool is_inbox_empty) {
        const uint64_t n_dropped = link_inbox_n_dropped(link->inbox);

        if (n_dropped != link->n_dropped_seen && !link->is_dropping)
                report_error(link, "too many messages are waiting to be handled: some were dropped");
        link->is_dropping = n_dropped != link->n_dropped_seen || (link->is_dropping && !is_inbox_empty);
        link->n_dropped_seen = n_dropped;
}

/* Returns false when there is nothing more. */
static bool take_events(NatsLink *link, uint64_t *ret_n_messages) {
        char why[sizeof(link->last_failure)];
        LinkEvent event;

        for (size_t i = 0; i < INBOX_BATCH; i++) {
                if (!link_inbox_take(link->inbox, &event))
                        return false;
                if (event.message) {
                        deliver(link, event.message, event.key);
                        ++*ret_n_messages;
                } else {
                        nats_explain(nats_settings_given(link->settings), "", event.why, why, sizeof(why));
                        report_error(link, why);
                        link_event_done(&event);
                }
        }
        return true;
}

/* What other threads left: messages, errors, "the attempt has an outcome", "there is a PING to write", "the delivery
 * thread has caught up". */
static void on_inbox(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;
        uint64_t n_messages = 0;
        bool any_left;

        (void)fd;
        (void)what;

        turn_begin(link);
        link_inbox_acknowledge(link->inbox);
        any_left = take_events(link, &n_messages);
        if (any_left) /* after whatever else is due, so not by event_active() */
                link_inbox_wake(link_inbox_ticket(link->inbox));
        report_drops(link, !any_left);
        set_inbox_full(link, any_left);
        if (link->state == LINK_CONNECTING && nats_wire_state(link->wire) == WIRE_OPEN)
                begin_set_up(link);
        if (link->state == LINK_SETTING_UP && !link->write_pending)
                go_on_setting_up(link);
        turn_end(link, n_messages > 0);
}

/* publishing */

int nats_link_publish(NatsLink *link, const OutMessage *message) {
        const size_t size = nats_message_payload(message);
        int r;

        assert(link);

        if (link->state != LINK_UP)
                r = NATS_LINK_E_DOWN;
        else if (nats_link_is_congested(link))
                r = NATS_LINK_E_CONGESTED;
        else if (size > link->max_payload || size > INT_MAX)
                r = NATS_LINK_E_TOO_LARGE;
        else
                r = nats_message_publish(nats_wire_connection(link->wire), message, &link->scratch);
        if (r != 0) {
                link->stats.refused_messages++;
                return r;
        }

        link->stats.out_messages++;
        link->stats.out_bytes += message->body.size;
        link->n_unsent += size + message->subject.size + message->reply.size + PUBLISH_OVERHEAD;
        schedule_flush(link);
        return 0;
}

static int subscribe_in_outbox(NatsLink *link, const OutMessage *message) {
        const int r = subscribe_tag(link, message->subject, message->reply, message->tag);
        char why[256];

        if (r < 0) {
                (void)snprintf(why, sizeof(why), "could not subscribe to \"%.*s\": %s",
                        (int)MIN_OF(message->subject.size, (size_t)128), message->subject.data, strerror(-r));
                report_error(link, why);
        }
        if (++link->n_opened % SUBSCRIBE_BATCH == 0)
                nats_link_flush(link);
        else
                schedule_flush(link);
        return r;
}

static int carry_out(NatsLink *link, const OutMessage *message) {
        switch (message->kind) {
        case OUT_SUBSCRIBE:
                return subscribe_in_outbox(link, message);
        case OUT_UNSUBSCRIBE:
                nats_link_unsubscribe_tag(link, message->tag);
                return 0;
        case OUT_PUBLISH:
                break;
        }
        return nats_link_publish(link, message);
}

void nats_link_publish_outbox(NatsLink *link, Outbox *outbox, uint64_t *ret_refused) {
        const size_t n = outbox_size(outbox);
        uint64_t n_refused = 0;

        for (size_t i = 0; i < n; i++) {
                const OutMessage message = outbox_get(outbox, i);

                n_refused += carry_out(link, &message) != 0;
        }
        outbox_clear(outbox);
        if (ret_refused)
                *ret_refused = n_refused;
}

void nats_link_flush(NatsLink *link) {
        if (!link->write_pending)
                link_write(link);
}

/* life */

static void on_close_timer(evutil_socket_t fd, short what, void *userdata) {
        NatsLink *link = userdata;

        (void)fd;
        (void)what;

        if (link->wire)
                drop_wire(link);
        finish_close(link);
}

static int make_events(NatsLink *link) {
        link->inbox_event = event_new(link->base, link_inbox_fd(link->inbox), EV_READ | EV_PERSIST, on_inbox, link);
        link->retry_timer = evtimer_new(link->base, on_retry, link);
        link->pulse_timer = event_new(link->base, -1, EV_PERSIST, on_pulse, link);
        link->close_timer = evtimer_new(link->base, on_close_timer, link);
        link->flush_event = event_new(link->base, -1, 0, on_flush, link);
        if (!link->inbox_event || !link->retry_timer || !link->pulse_timer || !link->close_timer || !link->flush_event)
                return -ENOMEM;
        return event_add(link->inbox_event, NULL) == 0 ? 0 : -ENOMEM;
}

/* The texts may be gone once nats_link_new() has returned. */
static void forget_texts(NatsLinkOptions *options) {
        options->url = options->name = options->credentials = options->nkey_seed_file = NULL;
        options->tls_ca = options->tls_cert = options->tls_key = NULL;
        options->ret_why = NULL;
}

int nats_link_new(struct event_base *base, const NatsLinkOptions *options, NatsLink **ret) {
        _cleanup_(nats_link_freep) NatsLink *link = NULL;
        NatsReason unread, *why = options->ret_why ? options->ret_why : &unread;
        int r;

        assert(base);

        link = calloc(1, sizeof(*link));
        if (!link)
                return -ENOMEM;
        link->base = base;
        link->options = *options;
        forget_texts(&link->options);

        nats_wire_open_library();
        r = nats_settings_new(options, &link->settings, why);
        if (r == 0)
                r = rng_seed_from_system(&link->rng);
        if (r == 0)
                r = link_inbox_new(options->subscription_bytes_max, &link->inbox);
        if (r == 0)
                r = link_fence_init(&link->fence, link->inbox, options->subscription_bytes_max / 4);
        if (r == 0)
                r = make_events(link);
        if (r < 0) {
                if (why->text[0] == '\0')
                        (void)snprintf(why->text, sizeof(why->text), "%s", strerror(-r));
                return r;
        }

        connect_now(link);
        *ret = TAKE_PTR(link);
        return 0;
}

NatsLink *nats_link_free(NatsLink *link) {
        if (!link)
                return NULL;

        if (link->pulse_timer)
                drop_wire(link);
        while (link->n_subscriptions > 0)
                subscription_remove(link, link->n_subscriptions - 1);
        free(link->subscriptions);
        link_tags_done(&link->tags);
        link_fence_done(&link->fence);
        free_event(&link->flush_event);
        free_event(&link->close_timer);
        free_event(&link->pulse_timer);
        free_event(&link->retry_timer);
        free_event(&link->inbox_event);
        link->inbox = link_inbox_free(link->inbox);
        link->settings = nats_settings_unref(link->settings);
        buffer_done(&link->scratch);
        buffer_done(&link->headers);
        free(link);
        return NULL;
}

bool nats_link_is_up(const NatsLink *link) {
        return link->state == LINK_UP;
}

bool nats_link_is_congested(const NatsLink *link) {
        return link->n_unsent > link->options.pending_bytes_max;
}

size_t nats_link_n_unsent(const NatsLink *link) {
        return link->n_unsent;
}

void nats_link_close(NatsLink *link, uint64_t timeout_usec, void (*on_closed)(void *userdata), void *userdata) {
        struct timeval timeout = { .tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC) };

        assert(link);

        if (link->state == LINK_CLOSING || link->state == LINK_CLOSED)
                return;
        link->on_closed = on_closed;
        link->on_closed_userdata = userdata;
        if (link->state != LINK_UP)
                timeout = (struct timeval){ 0 }; /* nothing to wait for, but never from within this call */
        (void)event_del(link->retry_timer);
        if (link->is_paused) /* the server's end of the connection is waited for */
                (void)event_add(link->read_event, NULL);
        link->state = LINK_CLOSING;
        (void)event_add(link->close_timer, &timeout);
        schedule_flush(link);
}

void nats_link_stats(const NatsLink *link, NatsLinkStats *ret) {
        *ret = link->stats;
        ret->pending_bytes = link->n_unsent;
        ret->pending_bytes_max = link->options.pending_bytes_max;
        ret->dropped_messages += link_inbox_n_dropped(link->inbox);
        for (size_t i = 0; i < link->n_subscriptions; i++)
                ret->dropped_messages += subscription_dropped(&link->subscriptions[i]);
}
