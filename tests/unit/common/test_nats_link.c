/* SPDX-License-Identifier: MIT */

#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/unit/common/nats_link_fixture.h"

static void a_message_arrives_with_all_its_parts_and_only_the_headers_that_pass(void **state) {
        Fixture *f = *state;

        two_ends(f, "topic.*");
        outbox_put(&f->b.outbox, &(OutMessage){
                                         .subject = SLICE("topic.x"),
                                         .reply = SLICE("back.to.me"),
                                         .body = SLICE("hello"),
                                         .headers = SLICE("traceparent: 00-ab\r\nCOMPOZY-Ttl: 3\r\nX-Other: no\r\n"
                                                          "Nats-Service-Error: bad\r\nNats-Msg-Id: 7\r\n"),
                                 });
        nats_link_publish_outbox(f->b.link, &f->b.outbox, NULL);
        wait_for(f, &f->a.n_messages, 1);
        assert_string_equal(f->a.subject, "topic.x");
        assert_string_equal(f->a.reply, "back.to.me");
        assert_string_equal(f->a.body, "hello");
        assert_true(slice_equal(headers_get(slice_of(f->a.headers), SLICE("Traceparent")), SLICE("00-ab")));
        assert_true(slice_equal(headers_get(slice_of(f->a.headers), SLICE("compozy-ttl")), SLICE("3")));
        assert_true(slice_equal(headers_get(slice_of(f->a.headers), SLICE("Nats-Service-Error")), SLICE("bad")));
        assert_null(headers_get(slice_of(f->a.headers), SLICE("Nats-Msg-Id")).data);
        assert_null(headers_get(slice_of(f->a.headers), SLICE("X-Other")).data);
        assert_true(f->a.n_turns > 0);
}

static void a_link_started_before_its_server_connects_when_the_server_comes(void **state) {
        Fixture *f = *state;
        int port;
        char url[64];

        server_start(&f->server, 0, NULL); /* for a port that is free */
        port = f->server.port;
        (void)snprintf(url, sizeof(url), "%s", f->server.url);
        server_kill(&f->server);

        link_start(f, &f->a, url);
        wait_for(f, &f->a.n_errors, 1);
        assert_false(nats_link_is_up(f->a.link));
        assert_int_equal(publish(&f->a, "x", "y"), NATS_LINK_E_DOWN);
        server_start(&f->server, port, NULL);
        wait_for(f, &f->a.n_up, 1);
        assert_int_equal(f->a.n_errors, 1); /* the same failure is told once */
}

static void a_restarted_server_gets_the_subscriptions_again(void **state) {
        Fixture *f = *state;
        NatsLinkStats stats;

        two_ends(f, "topic.x");
        server_kill(&f->server);
        wait_for(f, &f->a.n_down, 1);
        wait_for(f, &f->b.n_down, 1);
        subscribe(&f->a, "while.down", NULL);
        subscribe(&f->a, "not.any.more", NULL);
        nats_link_unsubscribe(f->a.link, "not.any.more");
        server_start(&f->server, f->server.port, NULL);
        wait_for(f, &f->a.n_up, 2);
        wait_for(f, &f->b.n_up, 2);
        assert_int_equal(publish(&f->a, "ready.a", "a is subscribed"), 0);
        wait_for(f, &f->a.n_messages, 1);
        assert_int_equal(publish(&f->b, "topic.x", "again"), 0);
        wait_for(f, &f->a.n_messages, 2);
        assert_int_equal(publish(&f->b, "not.any.more", "never heard"), 0);
        assert_int_equal(publish(&f->b, "while.down", "too"), 0);
        wait_for(f, &f->a.n_messages, 3);
        assert_string_equal(f->a.body, "too");
        nats_link_stats(f->a.link, &stats);
        assert_int_equal(stats.reconnects, 1);
}

static void a_burst_of_100000_messages_keeps_its_order(void **state) {
        Fixture *f = *state;
        NatsLinkStats stats;

        two_ends(f, "burst.*");
        for (uint64_t i = 0; i < 100000;) {
                const OutMessage message = {
                        .subject = i % 2 == 0 ? SLICE("burst.even") : SLICE("burst.odd"),
                        .body = { (const char *)&i, sizeof(i) },
                };
                const int r = nats_link_publish(f->b.link, &message);

                if (r == 0)
                        i++;
                else {
                        assert_int_equal(r, NATS_LINK_E_CONGESTED);
                        assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
                }
        }
        wait_for(f, &f->a.n_messages, 100000);
        assert_true(f->a.is_in_order);
        assert_int_equal(f->a.next_number, 100000);
        nats_link_stats(f->a.link, &stats);
        assert_int_equal(stats.dropped_messages, 0);
}

static void publishing_to_a_stopped_server_is_refused_at_the_limit_and_goes_on_afterwards(void **state) {
        static char body[65536];
        Fixture *f = *state;
        size_t n = 0, n_published;
        NatsLinkStats stats;

        memset(body, 'x', sizeof(body) - 1);
        two_ends(f, "big");
        (void)kill(f->server.pid, SIGSTOP);
        while (publish(&f->b, "big", body) == 0) {
                n++;
                assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
                assert_true(n < 10000);
        }
        assert_true(nats_link_is_congested(f->b.link));
        assert_int_equal(publish(&f->b, "big", body), NATS_LINK_E_CONGESTED);
        nats_link_stats(f->b.link, &stats);
        assert_true(stats.pending_bytes >= 4 * 1024 * 1024 && stats.pending_bytes < 5 * 1024 * 1024);
        assert_int_equal(stats.refused_messages, 2);
        n_published = n;
        (void)kill(f->server.pid, SIGCONT);
        wait_for(f, &f->a.n_messages, (unsigned)n_published);
        assert_false(nats_link_is_congested(f->b.link));
}

/* Says sixteen times what it was asked, at once. */
static void on_question(const InMessage *message, Instant now, void *userdata) {
        static char body[65536];
        End *end = userdata;

        (void)now;
        (void)message;

        memset(body, 'x', sizeof(body) - 1);
        assert_int_equal(publish(end, "nobody.listens", body), 0);
        end->n_messages++;
}

static void whoever_asks_faster_than_the_server_takes_the_answers_loses_none_of_them(void **state) {
        static char body[4096];
        Fixture *f = *state;
        NatsLinkOptions options;
        unsigned n = 0;

        memset(body, 'x', sizeof(body) - 1);
        server_start(&f->server, 0, NULL);
        options = options_for(f->server.url, &f->b);
        options.on_message = on_question;
        assert_int_equal(nats_link_new(f->base, &options, &f->b.link), 0);
        subscribe(&f->b, "question", NULL);
        link_start(f, &f->a, f->server.url);
        wait_for(f, &f->a.n_up, 1);
        wait_for(f, &f->b.n_up, 1);
        assert_int_equal(publish(&f->b, "question", body), 0); /* SUB and PUB of one connection keep their order */
        wait_for(f, &f->b.n_messages, 1);
        while (n < 2000) {
                if (publish(&f->a, "question", body) == 0)
                        n++;
                else
                        assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
        }
        wait_for(f, &f->b.n_messages, 2001);
}

static void a_server_that_answers_no_pings_is_left(void **state) {
        Fixture *f = *state;
        NatsLinkOptions options;
        uint64_t start;

        server_start(&f->server, 0, NULL);
        options = options_for(f->server.url, &f->a);
        options.ping_interval_usec = 400 * USEC_PER_MSEC;
        assert_int_equal(nats_link_new(f->base, &options, &f->a.link), 0);
        wait_for(f, &f->a.n_up, 1);
        for (unsigned i = 0; i < 2; i++)
                run_for(f, 900 * USEC_PER_MSEC); /* of pings that are answered */
        assert_int_equal(f->a.n_down, 0);
        start = instant_now().usec;
        (void)kill(f->server.pid, SIGSTOP);
        wait_for(f, &f->a.n_down, 1);
        assert_true(instant_now().usec - start < 10 * USEC_PER_SEC);
        assert_string_equal(f->a.error, "the server answers no pings");
        (void)kill(f->server.pid, SIGCONT);
        wait_for(f, &f->a.n_up, 2);
}

static void closing_first_writes_what_was_published(void **state) {
        static char body[1024];
        Fixture *f = *state;

        memset(body, 'x', sizeof(body) - 1);
        two_ends(f, "last.words");
        for (size_t i = 0; i < 3000; i++)
                assert_int_equal(publish(&f->b, "last.words", body), 0);
        nats_link_close(f->b.link, 10 * USEC_PER_SEC, on_closed, &f->b);
        assert_int_equal(publish(&f->b, "last.words", body), NATS_LINK_E_DOWN);
        wait_for(f, &f->b.n_closed, 1);
        f->b.link = nats_link_free(f->b.link);
        wait_for(f, &f->a.n_messages, 3000);
        assert_int_equal(f->b.n_down, 0);
}

static void closing_gives_up_on_a_stopped_server_in_time(void **state) {
        Fixture *f = *state;

        two_ends(f, "x");
        (void)kill(f->server.pid, SIGSTOP);
        assert_int_equal(publish(&f->b, "x", "never read"), 0);
        nats_link_close(f->b.link, 100 * USEC_PER_MSEC, on_closed, &f->b);
        assert_int_equal(f->b.n_closed, 0);
        wait_for(f, &f->b.n_closed, 1);
        (void)kill(f->server.pid, SIGCONT);
}

static void closing_before_it_was_ever_connected_works(void **state) {
        Fixture *f = *state;

        link_start(f, &f->a, "nats://127.0.0.1:1");
        nats_link_close(f->a.link, 10 * USEC_PER_SEC, on_closed, &f->a);
        wait_for(f, &f->a.n_closed, 1);
}

/* A listener that never says a word. */
static void freeing_a_link_that_still_connects_waits_for_nobody(void **state) {
        Fixture *f = *state;
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        uint64_t took = UINT64_MAX;
        char url[64];

        assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        (void)snprintf(url, sizeof(url), "nats://127.0.0.1:%u", ntohs(address.sin_port));
        for (unsigned i = 0; i < 3 && took > USEC_PER_SEC; i++) { /* once, unless this machine stands still */
                const uint64_t start = instant_now().usec;
                int accepted;

                link_start(f, &f->a, url);
                accepted = accept(fd, NULL, NULL); /* now its thread waits for the greeting */
                f->a.link = nats_link_free(f->a.link);
                took = instant_now().usec - start;
                (void)close(accepted);
        }
        assert_true(took <= USEC_PER_SEC);
        (void)close(fd);
}

static void nobody_listening_is_told_with_the_subject_that_asked(void **state) {
        Fixture *f = *state;

        two_ends(f, "_INBOX.me.>");
        assert_int_equal(nats_link_publish(f->a.link, &(OutMessage){ .subject = SLICE("nobody.there"),
                                                              .reply = SLICE("_INBOX.me.17"),
                                                              .body = SLICE("?") }),
                0);
        wait_for(f, &f->a.n_messages, 1);
        assert_int_equal(f->a.n_no_responders, 1);
        assert_string_equal(f->a.subject, "_INBOX.me.17");
        assert_int_equal(publish(&f->b, "_INBOX.me.18", "an answer"), 0);
        wait_for(f, &f->a.n_messages, 2);
        assert_int_equal(f->a.n_no_responders, 1);
        assert_string_equal(f->a.body, "an answer");
}

static void subscribing_and_unsubscribing_need_no_other_traffic_to_take_effect(void **state) {
        Fixture *f = *state;
        unsigned n = 0;

        two_ends(f, "x");
        subscribe(&f->a, "later", NULL);
        for (; f->a.n_messages == 0 && n < 500; n++) {
                assert_int_equal(publish(&f->b, "later", "?"), 0);
                run_for(f, 20 * USEC_PER_MSEC);
        }
        assert_in_range(f->a.n_messages, 1, 500);

        nats_link_unsubscribe(f->a.link, "later");
        for (n = 0; n < 500; n++) {
                const unsigned before = f->a.n_messages;

                run_for(f, 20 * USEC_PER_MSEC);
                assert_int_equal(publish(&f->b, "later", "?"), 0);
                run_for(f, 20 * USEC_PER_MSEC);
                if (f->a.n_messages == before)
                        break;
        }
        assert_in_range(n, 0, 499);
}

static void an_unsubscribed_subject_goes_quiet_without_losing_what_was_sent_before(void **state) {
        Fixture *f = *state;

        two_ends(f, "work");
        for (size_t i = 0; i < 500; i++)
                assert_int_equal(publish(&f->a, "work", "before"), 0);
        nats_link_unsubscribe(f->a.link, "work"); /* behind the messages on the wire */
        wait_for(f, &f->a.n_messages, 500);
        for (unsigned n = 0, before = 0; f->a.n_messages != before + 1; n++) { /* until it is quiet */
                assert_true(n < 500);
                run_for(f, 20 * USEC_PER_MSEC);
                before = f->a.n_messages;
                assert_int_equal(publish(&f->a, "work", "after"), 0);
                assert_int_equal(publish(&f->a, "ready.a", "fence"), 0);
                do
                        wait_for(f, &f->a.n_messages, f->a.n_messages + 1);
                while (strcmp(f->a.body, "fence") != 0);
        }
}

static void what_cannot_travel_is_refused(void **state) {
        static char body[2 * 1024 * 1024];
        Fixture *f = *state;

        memset(body, 'x', sizeof(body) - 1);
        two_ends(f, "x");
        assert_int_equal(publish(&f->b, "x", body), NATS_LINK_E_TOO_LARGE);
        assert_int_equal(publish(&f->b, "x y", "space"), -EINVAL);
        assert_int_equal(publish(&f->b, "x\r\nPUB y 1\r\n", "line"), -EINVAL);
        assert_int_equal(publish(&f->b, "", "empty"), -EINVAL);
        assert_int_equal(
                nats_link_publish(f->b.link, &(OutMessage){ .subject = SLICE("x"), .reply = SLICE("a b") }), -EINVAL);
        for (unsigned c = 1; c <= ' '; c++)
                for (size_t at = 0; at < 19; at++) {
                        char subject[] = "a.subject.of.\x7f.\xc3\xbc.x";

                        subject[at] = (char)c;
                        assert_int_equal(publish(&f->b, subject, "control"), -EINVAL);
                }
        assert_int_equal(publish(&f->b, "others.\x7f!\xc3\xbc.pass", "nobody listens"), 0);
        assert_int_equal(publish(&f->b, "x", "good"), 0);
        wait_for(f, &f->a.n_messages, 1);
        assert_string_equal(f->a.body, "good");
}

static void a_message_beyond_the_limit_of_what_is_kept_is_dropped_counted_and_reported(void **state) {
        static char body[200000];
        Fixture *f = *state;
        NatsLinkOptions options;
        NatsLinkStats stats;

        memset(body, 'x', sizeof(body) - 1);
        server_start(&f->server, 0, NULL);
        options = options_for(f->server.url, &f->a);
        options.subscription_bytes_max = 100000;
        assert_int_equal(nats_link_new(f->base, &options, &f->a.link), 0);
        subscribe(&f->a, "x", NULL);
        wait_for(f, &f->a.n_up, 1);
        assert_int_equal(publish(&f->a, "x", body), 0);
        assert_int_equal(publish(&f->a, "x", "small"), 0);
        wait_for(f, &f->a.n_errors, 1);
        wait_for(f, &f->a.n_messages, 1);
        assert_string_equal(f->a.body, "small");
        nats_link_stats(f->a.link, &stats);
        assert_int_equal(stats.dropped_messages, 1);
}

static void write_file(const char *path, const char *text) {
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void refused_credentials_are_tried_again_for_ever(void **state) {
        Fixture *f = *state;
        char config[128];

        server_start(&f->server, 0, NULL);
        server_kill(&f->server);
        (void)snprintf(config, sizeof(config), "%s.conf", f->server.directory);
        write_file(config, "authorization { user: a, password: b }\n");
        server_start(&f->server, f->server.port, config);
        link_start(f, &f->a, f->server.url);
        wait_for(f, &f->a.n_errors, 1);
        assert_non_null(strstr(f->a.error, "uthorization"));
        run_for(f, 900 * USEC_PER_MSEC); /* several attempts */
        assert_int_equal(f->a.n_up, 0);
        server_kill(&f->server);
        server_start(&f->server, f->server.port, NULL);
        wait_for(f, &f->a.n_up, 1);
        (void)unlink(config);
}

static void an_nkey_seed_file_is_enough_to_log_in(void **state) {
        Fixture *f = *state;
        NatsLinkOptions options;
        char config[128], seed[128];

        server_start(&f->server, 0, NULL);
        server_kill(&f->server);
        (void)snprintf(config, sizeof(config), "%s.conf", f->server.directory);
        (void)snprintf(seed, sizeof(seed), "%s.seed", f->server.directory);
        /* the pair of NATS's documentation */
        write_file(config,
                "authorization { users = [ { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } ] }\n");
        write_file(seed, "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n");
        server_start(&f->server, f->server.port, config);
        options = options_for(f->server.url, &f->a);
        options.nkey_seed_file = seed;
        assert_int_equal(nats_link_new(f->base, &options, &f->a.link), 0);
        wait_for(f, &f->a.n_up, 1);
        (void)unlink(config);
        (void)unlink(seed);
}

static void a_permission_violation_is_reported(void **state) {
        Fixture *f = *state;
        char config[128], url[96];

        server_start(&f->server, 0, NULL);
        server_kill(&f->server);
        (void)snprintf(config, sizeof(config), "%s.conf", f->server.directory);
        write_file(
                config, "authorization { users = [ { user: a, password: b, permissions: { publish: \"ok\" } } ] }\n");
        server_start(&f->server, f->server.port, config);
        (void)snprintf(url, sizeof(url), "nats://a:b@127.0.0.1:%d", f->server.port);
        link_start(f, &f->a, url);
        wait_for(f, &f->a.n_up, 1);
        assert_int_equal(publish(&f->a, "secret", "x"), 0);
        wait_for(f, &f->a.n_errors, 1);
        assert_non_null(strstr(f->a.error, "secret"));
        assert_true(nats_link_is_up(f->a.link));
        (void)unlink(config);
}

static void what_is_wrong_with_the_options_is_said_and_no_secret_shown(void **state) {
        static const struct {
                const char *url, *credentials, *seed_file, *tls_ca, *tls_cert, *says, *why;
        } cases[] = {
                { .url = "http://x", .says = "http", .why = "not a scheme of NATS" },
                { .url = "nats://user:geheim@:4222", .says = "address", .why = "no host" },
                { .url = "nats://user:geheim@host:99999", .says = "host:99999", .why = "port out of range" },
                { .url = "nats://a:1,,nats://b:2", .says = "empty", .why = "nothing between two commas" },
                { .url = "", .says = "empty", .why = "no server at all" },
                { .url = "nats://a b", .says = "address", .why = "a space" },
                { .url = "nats://a",
                        .credentials = "/nonexistent.creds",
                        .says = "/nonexistent.creds",
                        .why = "no such file" },
                { .url = "nats://a", .seed_file = "/dev/null", .says = "/dev/null", .why = "no seed in it" },
                { .url = "nats://a", .tls_ca = "/nonexistent.pem", .says = "/nonexistent.pem", .why = "no such file" },
                { .url = "nats://a", .tls_ca = "/dev/null", .says = "/dev/null", .why = "no certificate in it" },
                { .url = "nats://a", .tls_cert = "/dev/null", .says = "key", .why = "a certificate without its key" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                NatsReason why = { "" };
                NatsLinkOptions options = options_for(cases[i].url, &f->a);

                options.credentials = cases[i].credentials;
                options.nkey_seed_file = cases[i].seed_file;
                options.tls_ca = cases[i].tls_ca;
                options.tls_cert = cases[i].tls_cert;
                options.ret_why = &why;
                if (nats_link_new(f->base, &options, &f->a.link) >= 0 || !strstr(why.text, cases[i].says) ||
                        strstr(why.text, "geheim"))
                        fail_msg("%s: \"%s\"", cases[i].why, why.text);
                assert_null(f->a.link);
        }
}

static void a_shown_address_has_no_password(void **state) {
        static const char *const cases[][2] = {
                { "nats://127.0.0.1:4222", "nats://127.0.0.1:4222" },
                { "nats://user:p@ss@host:1,token@other", "nats://***@host:1,***@other" },
                { "tls://t0ken@h", "tls://***@h" },
                { "", "" },
        };

        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(buffer_done) Buffer buffer = { 0 };

                nats_url_redact(slice_of(cases[i][0]), &buffer);
                buffer_append_char(&buffer, '\0');
                assert_string_equal(buffer.data, cases[i][1]);
        }
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                LINK_TEST(a_message_arrives_with_all_its_parts_and_only_the_headers_that_pass),
                LINK_TEST(a_link_started_before_its_server_connects_when_the_server_comes),
                LINK_TEST(a_restarted_server_gets_the_subscriptions_again),
                LINK_TEST(a_burst_of_100000_messages_keeps_its_order),
                LINK_TEST(publishing_to_a_stopped_server_is_refused_at_the_limit_and_goes_on_afterwards),
                LINK_TEST(whoever_asks_faster_than_the_server_takes_the_answers_loses_none_of_them),
                LINK_TEST(a_server_that_answers_no_pings_is_left),
                LINK_TEST(closing_first_writes_what_was_published),
                LINK_TEST(closing_gives_up_on_a_stopped_server_in_time),
                LINK_TEST(closing_before_it_was_ever_connected_works),
                LINK_TEST(freeing_a_link_that_still_connects_waits_for_nobody),
                LINK_TEST(nobody_listening_is_told_with_the_subject_that_asked),
                LINK_TEST(subscribing_and_unsubscribing_need_no_other_traffic_to_take_effect),
                LINK_TEST(an_unsubscribed_subject_goes_quiet_without_losing_what_was_sent_before),
                LINK_TEST(what_cannot_travel_is_refused),
                LINK_TEST(a_message_beyond_the_limit_of_what_is_kept_is_dropped_counted_and_reported),
                LINK_TEST(refused_credentials_are_tried_again_for_ever),
                LINK_TEST(an_nkey_seed_file_is_enough_to_log_in),
                LINK_TEST(a_permission_violation_is_reported),
                LINK_TEST(what_is_wrong_with_the_options_is_said_and_no_secret_shown),
                cmocka_unit_test(a_shown_address_has_no_password),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
