/* SPDX-License-Identifier: MIT */

#include <arpa/inet.h>
#include <malloc.h>
#include <sys/socket.h>

#include "tests/unit/common/nats_link_fixture.h"

#define SEEN_MAX 200000
#define FENCE_TAG UINT64_MAX

/* What came, in order: the tag, and the number that the message carried. */
typedef struct Seen {
        uint64_t tag, number;
} Seen;

/* An end that keeps what it hears; `end` comes first, since the fixture's callbacks get the same pointer. */
typedef struct Listener {
        End end;
        Seen *seen;
        unsigned n_fences;
        char fence[32];
        const char *say_when_up;
} Listener;

static void on_tagged(const InMessage *message, Instant now, void *userdata) {
        Listener *l = userdata;
        Seen seen = { .tag = message->tag };

        (void)now;

        if (message->tag == FENCE_TAG) {
                l->n_fences++;
                return;
        }
        assert_true(l->end.n_messages < SEEN_MAX);
        if (message->body.size == sizeof(seen.number))
                memcpy(&seen.number, message->body.data, sizeof(seen.number));
        l->seen[l->end.n_messages++] = seen;
}

static int say(End *end, const char *subject, uint64_t number) {
        return nats_link_publish(end->link,
                &(OutMessage){ .subject = slice_of(subject), .body = { (const char *)&number, sizeof(number) } });
}

static int tag(Listener *l, const char *subject, const char *queue, uint64_t number) {
        return nats_link_subscribe(
                l->end.link, &(NatsLinkSubscription){ .subject = subject, .queue = queue, .tag = number });
}

static void on_listener_up(uint64_t max_payload, const char *version, void *userdata) {
        Listener *l = userdata;

        on_up(max_payload, version, &l->end);
        if (l->say_when_up)
                assert_int_equal(say(&l->end, l->say_when_up, 4711), 0);
}

static void listener_start(Fixture *f, Listener *l, size_t bytes_max) {
        NatsLinkOptions options = options_for(f->server.url, &l->end);

        *l = (Listener){ .seen = calloc(SEEN_MAX, sizeof(*l->seen)) };
        options.on_message = on_tagged;
        options.on_up = on_listener_up;
        options.subscription_bytes_max = bytes_max;
        assert_int_equal(nats_link_new(f->base, &options, &l->end.link), 0);
        (void)snprintf(l->fence, sizeof(l->fence), "fence.%p", (void *)l);
        assert_int_equal(tag(l, l->fence, NULL, FENCE_TAG), 0);
        wait_for(f, &l->end.n_up, 1);
}

static void listener_done(Listener *l) {
        (void)nats_link_free(l->end.link);
        outbox_done(&l->end.outbox);
        free(l->seen);
}

/* What this end has asked of the server is done, and what that brought has been heard. */
static void round_trip(Fixture *f, Listener *l) {
        const unsigned n = l->n_fences;

        assert_int_equal(say(&l->end, l->fence, 0), 0);
        wait_for(f, &l->n_fences, n + 1);
}

static void carry_out(Listener *l) {
        uint64_t n_refused;

        nats_link_publish_outbox(l->end.link, &l->end.outbox, &n_refused);
        assert_int_equal(n_refused, 0);
}

static void one_listener(Fixture *f, Listener *l) {
        server_start(&f->server, 0, NULL);
        listener_start(f, l, 64 * 1024 * 1024);
}

static void each_subscription_that_matches_delivers_a_copy_with_its_tag(void **state) {
        Fixture *f = *state;
        uint64_t tags = 0;
        Listener l;

        one_listener(f, &l);
        assert_int_equal(tag(&l, "x.y", NULL, 1), 0);
        assert_int_equal(tag(&l, "x.*", NULL, 2), 0);
        assert_int_equal(tag(&l, "x.>", NULL, 4), 0);
        assert_int_equal(tag(&l, "x.y", "group", 8), 0);
        assert_int_equal(tag(&l, "x.z", NULL, FENCE_TAG - 1), 0);
        subscribe(&l.end, "x.y", NULL);
        assert_int_equal(say(&l.end, "x.y", 1), 0);
        wait_for(f, &l.end.n_messages, 5);
        for (size_t i = 0; i < 5; i++)
                tags += l.seen[i].tag;
        assert_int_equal(tags, 1 + 2 + 4 + 8 + 0);
        assert_int_equal(say(&l.end, "x.z", 1), 0);
        round_trip(f, &l);
        assert_int_equal(l.end.n_messages, 8);
        for (size_t i = 5; i < 8; i++)
                assert_true(l.seen[i].tag == 2 || l.seen[i].tag == 4 || l.seen[i].tag == FENCE_TAG - 1);
        listener_done(&l);
}

/* The subject of the i-th: every kind that keeps the order. */
static const char *ordered_subject(int i, char text[static 32]) {
        (void)snprintf(text, 32, i % 2 == 0 ? "order.%d" : "_INBOX.order.%d", i);
        return text;
}

static void each_publisher_is_heard_in_its_order_across_64_subscriptions(void **state) {
        enum { N_SUBJECTS = 64, N_EACH = 20000 };
        Fixture *f = *state;
        End third = {}, *publishers[] = { &f->a, &f->b, &third };
        uint64_t next[ELEMENTSOF(publishers)] = {};
        char text[32];
        Listener l;

        one_listener(f, &l);
        for (int i = 1; i < N_SUBJECTS; i++)
                assert_int_equal(tag(&l, ordered_subject(i, text), i % 3 == 0 ? "group" : NULL, (uint64_t)i), 0);
        assert_int_equal(
                nats_link_subscribe(l.end.link, &(NatsLinkSubscription){ .subject = "order.0", .ordered = true }), 0);
        round_trip(f, &l);
        for (size_t p = 0; p < ELEMENTSOF(publishers); p++) {
                link_start(f, publishers[p], f->server.url);
                wait_for(f, &publishers[p]->n_up, 1);
        }

        for (uint64_t i = 0; i < N_EACH; i++)
                for (uint64_t p = 0; p < ELEMENTSOF(publishers); p++) {
                        const int to = (int)((i * 7 + p * 13) % N_SUBJECTS);

                        while (say(publishers[p], ordered_subject(to, text), p * N_EACH + i) == NATS_LINK_E_CONGESTED)
                                assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
                }
        wait_for(f, &l.end.n_messages, N_EACH * ELEMENTSOF(publishers));
        for (size_t i = 0; i < l.end.n_messages; i++) {
                const uint64_t p = l.seen[i].number / N_EACH;

                assert_int_equal(l.seen[i].number % N_EACH, next[p]);
                assert_int_equal(l.seen[i].tag, (next[p] * 7 + p * 13) % N_SUBJECTS);
                next[p]++;
        }
        (void)nats_link_free(third.link);
        listener_done(&l);
}

static void what_follows_a_subscription_in_an_outbox_is_heard_and_what_follows_its_end_is_not(void **state) {
        enum { N = 3000 };
        Fixture *f = *state;
        char subject[32];
        Listener l;

        one_listener(f, &l);
        for (uint64_t turn = 0; turn < 2; turn++) {
                for (uint64_t i = 1; i <= N; i++) {
                        const Slice body = { (const char *)&i, sizeof(i) };

                        (void)snprintf(subject, sizeof(subject), "just.made.%d", (int)i);
                        if (turn == 0)
                                assert_int_equal(outbox_subscribe(&l.end.outbox, slice_of(subject), SLICE_NONE, i), 0);
                        else
                                assert_int_equal(outbox_unsubscribe(&l.end.outbox, i), 0);
                        outbox_put(&l.end.outbox, &(OutMessage){ .subject = slice_of(subject), .body = body });
                }
                carry_out(&l);
                round_trip(f, &l);
                assert_int_equal(l.end.n_messages, N);
        }
        for (uint64_t i = 1; i <= N; i++) {
                assert_int_equal(l.seen[i - 1].number, i);
                assert_int_equal(l.seen[i - 1].tag, i);
        }
        listener_done(&l);
}

static void nothing_comes_with_a_tag_that_has_ended_not_even_what_was_on_its_way(void **state) {
        enum { N = 20000 };
        Fixture *f = *state;
        unsigned n_before, n_other = 0;
        Listener l;

        one_listener(f, &l);
        assert_int_equal(tag(&l, "work", NULL, 1), 0);
        assert_int_equal(tag(&l, "work", NULL, 2), 0);
        for (uint64_t i = 0; i < N; i++)
                assert_int_equal(say(&l.end, "work", i), 0);
        wait_for(f, &l.end.n_messages, 2);
        n_before = l.end.n_messages;
        nats_link_unsubscribe_tag(l.end.link, 1);
        nats_link_unsubscribe_tag(l.end.link, 1); /* nobody has it any more */
        round_trip(f, &l);
        for (size_t i = 0; i < l.end.n_messages; i++) {
                assert_true(i < n_before || l.seen[i].tag == 2);
                n_other += l.seen[i].tag == 2;
        }
        assert_int_equal(n_other, N);
        listener_done(&l);
}

static void a_subject_may_be_subscribed_again_under_a_new_tag_at_once(void **state) {
        Fixture *f = *state;
        Listener l;

        one_listener(f, &l);
        for (uint64_t i = 1; i <= 200; i++) {
                assert_int_equal(tag(&l, "again", NULL, i), 0);
                assert_int_equal(say(&l.end, "again", i), 0);
                wait_for(f, &l.end.n_messages, (unsigned)i);
                assert_int_equal(l.seen[i - 1].tag, i);
                assert_int_equal(l.seen[i - 1].number, i);
                nats_link_unsubscribe_tag(l.end.link, i);
        }
        round_trip(f, &l);
        assert_int_equal(l.end.n_messages, 200);
        listener_done(&l);
}

static void a_tag_that_is_used_again_gets_no_message_of_its_first_subscription(void **state) {
        Fixture *f = *state;
        unsigned n;
        Listener l;

        one_listener(f, &l);
        assert_int_equal(tag(&l, "first", NULL, 1), 0);
        for (uint64_t i = 0; i < 20000; i++)
                assert_int_equal(say(&l.end, "first", 1), 0);
        wait_for(f, &l.end.n_messages, 1);
        n = l.end.n_messages;
        nats_link_unsubscribe_tag(l.end.link, 1);
        assert_int_equal(tag(&l, "second", NULL, 1), 0);
        assert_int_equal(say(&l.end, "second", 2), 0);
        round_trip(f, &l);
        assert_int_equal(l.end.n_messages, n + 1);
        assert_int_equal(l.seen[n].number, 2);
        listener_done(&l);
}

static void subscriptions_made_and_ended_while_down_are_so_before_the_link_is_up(void **state) {
        Fixture *f = *state;
        Listener l;

        one_listener(f, &l);
        assert_int_equal(tag(&l, "ended.while.down", NULL, 1), 0);
        round_trip(f, &l);
        server_kill(&f->server);
        wait_for(f, &l.end.n_down, 1);

        assert_int_equal(outbox_subscribe(&l.end.outbox, SLICE("made.while.down"), SLICE_NONE, 2), 0);
        assert_int_equal(outbox_subscribe(&l.end.outbox, SLICE("made.while.down"), SLICE_NONE, 3), 0);
        assert_int_equal(outbox_unsubscribe(&l.end.outbox, 1), 0);
        assert_int_equal(outbox_unsubscribe(&l.end.outbox, 3), 0);
        carry_out(&l);
        l.say_when_up = "made.while.down";
        server_start(&f->server, f->server.port, NULL);
        wait_for(f, &l.end.n_messages, 1);
        assert_int_equal(say(&l.end, "ended.while.down", 0), 0);
        round_trip(f, &l);
        assert_int_equal(l.end.n_messages, 1);
        assert_int_equal(l.seen[0].tag, 2);
        assert_int_equal(l.seen[0].number, 4711);
        listener_done(&l);
}

static void a_restarted_server_gets_2000_subscriptions_with_their_queue_groups_again(void **state) {
        enum { N = 2000 };
        Fixture *f = *state;
        Listener one, other;
        char subject[32];

        one_listener(f, &one);
        listener_start(f, &other, 64 * 1024 * 1024);
        for (int i = 1; i <= N; i++) {
                const char *queue = i % 2 == 0 ? "group" : NULL;

                (void)snprintf(subject, sizeof(subject), "topic.%d", i);
                assert_int_equal(tag(&one, subject, queue, (uint64_t)i), 0);
                assert_int_equal(tag(&other, subject, queue, (uint64_t)i), 0);
        }
        for (unsigned round = 1; round <= 2; round++) {
                round_trip(f, &other);
                for (int i = 1; i <= N; i++) {
                        (void)snprintf(subject, sizeof(subject), "topic.%d", i);
                        assert_int_equal(say(&one.end, subject, (uint64_t)i), 0);
                }
                while (one.end.n_messages + other.end.n_messages < round * N * 3 / 2)
                        assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
                round_trip(f, &one);
                round_trip(f, &other);
                assert_int_equal(one.end.n_messages + other.end.n_messages, round * N * 3 / 2);
                assert_in_range(other.end.n_messages, round * N / 2 + 1, round * N - 1); /* its share of the groups' */
                if (round == 2)
                        break;
                server_kill(&f->server);
                wait_for(f, &one.end.n_down, 1);
                wait_for(f, &other.end.n_down, 1);
                server_start(&f->server, f->server.port, NULL);
                wait_for(f, &one.end.n_up, 2);
                wait_for(f, &other.end.n_up, 2);
        }
        for (size_t i = 0; i < other.end.n_messages; i++)
                assert_int_equal(other.seen[i].tag, other.seen[i].number);
        listener_done(&one);
        listener_done(&other);
}

static int listen_somewhere(char *url, size_t size) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t length = sizeof(address);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 8), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
        (void)snprintf(url, size, "nats://127.0.0.1:%d", ntohs(address.sin_port));
        return fd;
}

/* Greets as a server does, and reads nothing afterwards. */
static int greet_and_fall_silent(int listener) {
        static const char info[] = "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,"
                                   "\"max_payload\":1048576}\r\n";
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        char text[4096] = "";

        assert_true(fd >= 0);
        assert_int_equal(send(fd, info, sizeof(info) - 1, MSG_NOSIGNAL), sizeof(info) - 1);
        while (!strstr(text, "PING\r\n")) {
                const size_t n = strlen(text);

                assert_true(recv(fd, text + n, sizeof(text) - 1 - n, 0) > 0);
        }
        assert_int_equal(send(fd, "PONG\r\n", 6, MSG_NOSIGNAL), 6);
        return fd;
}

static void a_server_that_falls_silent_while_it_is_told_of_subscriptions_is_left(void **state) {
        enum { N = 100000 }; /* of 200 bytes: more than the sockets' buffers hold */
        Fixture *f = *state;
        NatsLinkOptions options;
        int listener, fd;
        char subject[256];

        listener = listen_somewhere(f->server.url, sizeof(f->server.url));
        options = options_for(f->server.url, &f->a);
        options.ping_interval_usec = 200 * USEC_PER_MSEC;
        assert_int_equal(nats_link_new(f->base, &options, &f->a.link), 0);
        fd = greet_and_fall_silent(listener); /* before its patience ends; the link hears of it on the loop, later */
        memset(subject, 'x', sizeof(subject));
        for (uint64_t i = 1; i <= N; i++) {
                (void)snprintf(subject + 200, sizeof(subject) - 200, ".%d", (int)i);
                assert_int_equal(
                        nats_link_subscribe(f->a.link, &(NatsLinkSubscription){ .subject = subject, .tag = i }), 0);
        }
        wait_for(f, &f->a.n_errors, 1);
        assert_non_null(strstr(f->a.error, "the server answers no pings"));
        assert_int_equal(f->a.n_up, 0);
        assert_int_equal(f->a.n_down, 0);
        (void)close(fd);
        (void)close(listener);
}

/* Bytes that malloc() has given out; AddressSanitizer, which does not tell, looks for leaks itself. */
static size_t n_allocated(void) {
        return mallinfo2().uordblks;
}

static void a_hundred_thousand_subscriptions_come_and_go_and_leave_no_memory(void **state) {
        enum { N = 100000, LEFT_MAX = 8 * 1024 * 1024 };
        Fixture *f = *state;
        char subject[32];
        size_t before = 0;
        Listener l;

        one_listener(f, &l);
        for (uint64_t round = 0; round < 2; round++) {
                for (uint64_t i = 1; i <= N; i++) {
                        (void)snprintf(subject, sizeof(subject), "agent.%d.replies", (int)i);
                        assert_int_equal(
                                outbox_subscribe(&l.end.outbox, slice_of(subject), SLICE_NONE, round * N + i), 0);
                }
                carry_out(&l);
                assert_int_equal(say(&l.end, "agent.77777.replies", 0), 0);
                round_trip(f, &l);
                assert_int_equal(l.end.n_messages, round + 1);
                assert_int_equal(l.seen[round].tag, round * N + 77777);
                for (uint64_t i = 1; i <= N; i++)
                        assert_int_equal(outbox_unsubscribe(&l.end.outbox, round * N + i), 0);
                carry_out(&l);
                round_trip(f, &l); /* behind it nats.c's delivery thread has freed them */
                if (round == 0)
                        before = n_allocated();
        }
        assert_true(n_allocated() < before + LEFT_MAX);
        listener_done(&l);
}

static void a_flood_of_small_messages_waits_in_the_server_and_none_is_dropped(void **state) {
        enum { N = 200000 };
        Fixture *f = *state;
        NatsLinkStats stats;
        Listener l;

        server_start(&f->server, 0, NULL);
        listener_start(f, &l, 8 * 1024 * 1024); /* the flood is six times as much */
        assert_int_equal(tag(&l, "flood", NULL, 1), 0);
        round_trip(f, &l);
        link_start(f, &f->b, f->server.url);
        wait_for(f, &f->b.n_up, 1);
        for (uint64_t i = 0; i < N; i++)
                while (say(&f->b, "flood", i) == NATS_LINK_E_CONGESTED)
                        assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
        wait_for(f, &l.end.n_messages, N);
        for (uint64_t i = 0; i < N; i++)
                assert_int_equal(l.seen[i].number, i);
        nats_link_stats(l.end.link, &stats);
        assert_int_equal(stats.dropped_messages, 0);
        assert_int_equal(l.end.n_errors, 0);
        assert_int_equal(l.end.n_down, 0);
        listener_done(&l);
}

static void messages_beyond_the_limit_are_dropped_counted_and_reported_once(void **state) {
        static char body[200000];
        Fixture *f = *state;
        NatsLinkStats stats;
        Listener l;

        memset(body, 'x', sizeof(body) - 1);
        server_start(&f->server, 0, NULL);
        listener_start(f, &l, 100000);
        assert_int_equal(tag(&l, "big", NULL, 1), 0);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(publish(&l.end, "big", body), 0);
        assert_int_equal(say(&l.end, "big", 1), 0);
        wait_for(f, &l.end.n_messages, 1);
        wait_for(f, &l.end.n_errors, 1);
        round_trip(f, &l);
        assert_int_equal(l.seen[0].number, 1);
        nats_link_stats(l.end.link, &stats);
        assert_int_equal(stats.dropped_messages, 3);
        assert_non_null(strstr(l.end.error, "dropped"));
        listener_done(&l);
}

static void a_link_may_go_while_its_messages_come(void **state) {
        Fixture *f = *state;

        server_start(&f->server, 0, NULL);
        for (uint64_t round = 0; round < 30; round++) {
                Listener l;

                listener_start(f, &l, 64 * 1024 * 1024);
                for (uint64_t i = 1; i <= 100; i++)
                        assert_int_equal(tag(&l, "crowd", NULL, i), 0);
                for (uint64_t i = 0; i < 100; i++)
                        assert_int_equal(say(&l.end, "crowd", i), 0);
                wait_for(f, &l.end.n_messages, 1 + (unsigned)round * 10);
                listener_done(&l);
        }
}

static void what_cannot_be_subscribed_to_is_refused_at_once(void **state) {
        Fixture *f = *state;
        uint64_t n_refused;
        Listener l;

        one_listener(f, &l);
        assert_int_equal(tag(&l, "x", NULL, 1), 0);
        assert_int_equal(tag(&l, "y", NULL, 1), -EEXIST);
        assert_int_equal(tag(&l, "", NULL, 2), -EINVAL);
        assert_int_equal(tag(&l, "a b", NULL, 2), -EINVAL);
        assert_int_equal(tag(&l, "a..b", NULL, 2), -EINVAL);
        assert_int_equal(tag(&l, "a.>.b", NULL, 2), -EINVAL);
        assert_int_equal(tag(&l, "a", "q\r\nPUB x 0\r\n", 2), -EINVAL);
        assert_int_equal(outbox_subscribe(&l.end.outbox, SLICE("a b"), SLICE_NONE, 2), 0);
        nats_link_publish_outbox(l.end.link, &l.end.outbox, &n_refused);
        assert_int_equal(n_refused, 1);
        assert_int_equal(l.end.n_errors, 1);
        assert_non_null(strstr(l.end.error, "\"a b\""));
        round_trip(f, &l);
        listener_done(&l);
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                LINK_TEST(each_subscription_that_matches_delivers_a_copy_with_its_tag),
                LINK_TEST(each_publisher_is_heard_in_its_order_across_64_subscriptions),
                LINK_TEST(what_follows_a_subscription_in_an_outbox_is_heard_and_what_follows_its_end_is_not),
                LINK_TEST(nothing_comes_with_a_tag_that_has_ended_not_even_what_was_on_its_way),
                LINK_TEST(a_subject_may_be_subscribed_again_under_a_new_tag_at_once),
                LINK_TEST(a_tag_that_is_used_again_gets_no_message_of_its_first_subscription),
                LINK_TEST(subscriptions_made_and_ended_while_down_are_so_before_the_link_is_up),
                LINK_TEST(a_restarted_server_gets_2000_subscriptions_with_their_queue_groups_again),
                LINK_TEST(a_server_that_falls_silent_while_it_is_told_of_subscriptions_is_left),
                LINK_TEST(a_hundred_thousand_subscriptions_come_and_go_and_leave_no_memory),
                LINK_TEST(a_flood_of_small_messages_waits_in_the_server_and_none_is_dropped),
                LINK_TEST(messages_beyond_the_limit_are_dropped_counted_and_reported_once),
                LINK_TEST(a_link_may_go_while_its_messages_come),
                LINK_TEST(what_cannot_be_subscribed_to_is_refused_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
