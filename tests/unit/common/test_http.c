/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http.h"
#include "common/instant.h"

typedef struct Fixture {
        struct event_base *base;
        HttpServer *server;
        bool is_good;
        size_t n_padding; /* lines before the answer */
        size_t n_troubles;
} Fixture;

static void metrics(Buffer *buffer, void *userdata) {
        const Fixture *f = userdata;

        for (size_t i = 0; i < f->n_padding; i++)
                buffer_append_slice(buffer, SLICE("# padding padding padding padding padding padding padding\n"));
        buffer_append_slice(buffer, SLICE("answer 42\n"));
}

static void page(Buffer *html, Slice query, void *userdata) {
        (void)userdata;

        buffer_printf(html, "<p>asked for (%.*s)", SLICE_ARG(query));
}

static bool health(Buffer *reason, void *userdata) {
        const Fixture *f = userdata;

        buffer_append_slice(reason, f->is_good ? SLICE("fine") : SLICE("no link to NATS"));
        return f->is_good;
}

static void trouble(const char *why, void *userdata) {
        Fixture *f = userdata;

        assert_string_equal(why, strerror(EMFILE));
        f->n_troubles++;
}

static int set_up(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        f->is_good = true;
        f->base = event_base_new();
        *state = f;
        return http_server_new(f->base, "127.0.0.1:0",
                &(HttpCallbacks){ .page = page,
                        .metrics = metrics,
                        .health = health,
                        .ready = health,
                        .trouble = trouble,
                        .userdata = f },
                &f->server);
}

static int tear_down(void **state) {
        Fixture *f = *state;

        (void)http_server_free(f->server);
        event_base_free(f->base);
        free(f);
        return 0;
}

/* `flags`: 0, or SOCK_NONBLOCK not to wait for a place in the backlog */
static int dial(const Fixture *f, int flags) {
        const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons((uint16_t)atoi(strchr(http_server_address(f->server), ':') + 1)),
        };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

        assert_true(fd >= 0);
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                assert_true(flags != 0 && errno == EINPROGRESS);
        return fd;
}

static void say(int fd, const char *text) {
        assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What the server says until it closes; runs its loop meanwhile. Closes `fd`. */
static void hear(const Fixture *f, int fd, char *ret, size_t size) {
        const uint64_t deadline = instant_now().usec + 30 * USEC_PER_SEC;
        size_t n = 0;

        for (;;) {
                ssize_t got;

                assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
                got = recv(fd, ret + n, size - 1 - n, MSG_DONTWAIT);
                if (got == 0)
                        break;
                if (got > 0)
                        n += (size_t)got;
                assert_true(instant_now().usec < deadline);
        }
        ret[n] = '\0';
        (void)close(fd);
}

static void a_request_gets_its_answer(void **state) {
        static const struct {
                const char *request, *head, *body;
        } cases[] = {
                { "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nanswer 42\n" },
                { "GET /metrics?x=1 HTTP/1.0\r\n\r\n", "version=0.0.4; charset=utf-8\r\n", "\r\n\r\nanswer 42\n" },
                { "HEAD /metrics HTTP/1.1\r\n\r\n", "Content-Length: 10\r\n", "\r\n\r\n" },
                { "GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nfine\n" },
                { "GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n", "no link to NATS\n" },
                { "GET / HTTP/1.1\r\n\r\n", "Content-Type: text/html; charset=utf-8\r\n", "\r\n\r\n<p>asked for ()" },
                { "GET /?sort=id HTTP/1.1\r\n\r\n", "\r\nContent-Security-Policy: default-src 'none';",
                        "<p>asked for (sort=id)" },
                { "GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "not found\n" },
                { "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 ", "GET or HEAD\n" },
                { "BREW /metrics HTTP/1.1\r\n\r\n", "\r\nAllow: GET, HEAD\r\n", "GET or HEAD\n" },
                { "HEAD /nothing HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "\r\n\r\n" },
                { "GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: close\r\n",
                        "\r\n\r\nanswer 42\n" },
                { "GET /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                        "\r\n\r\nfine\n" },
                { "rubbish\r\n\r\n", "HTTP/1.1 400 ", "" },
                { "\r\n\r\n", "HTTP/1.1 400 ", "" },
                { "GET /metrics\r\n\r\n", "HTTP/1.1 400 ", "" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[2048];
                int fd = dial(f, 0);

                f->is_good = !strstr(cases[i].body, "no link");
                say(fd, cases[i].request);
                hear(f, fd, text, sizeof(text));
                if (!strstr(text, cases[i].head) || strstr(text, "keep-alive") ||
                        strlen(text) < strlen(cases[i].body) ||
                        strcmp(text + strlen(text) - strlen(cases[i].body), cases[i].body) != 0)
                        fail_msg("%s -> %s", cases[i].request, text);
        }
}

static void a_request_in_pieces_with_an_early_end_is_answered_too(void **state) {
        Fixture *f = *state;
        char text[2048];
        int fd = dial(f, 0);

        say(fd, "GET /met");
        assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
        say(fd, "rics HTTP/1.1\r\n\r\n");
        (void)shutdown(fd, SHUT_WR);
        hear(f, fd, text, sizeof(text));
        assert_non_null(strstr(text, "answer 42\n"));
}

static void an_endless_head_is_refused(void **state) {
        Fixture *f = *state;
        char text[2048];
        int fd = dial(f, 0);

        say(fd, "GET /metrics HTTP/1.1\r\n");
        for (size_t i = 0; i < 400; i++)
                say(fd, "X-Padding: xxxxxxxxxxxxxxxxxxxx\r\n");
        hear(f, fd, text, sizeof(text));
        assert_non_null(strstr(text, "HTTP/1.1 400 "));
}

static void a_large_answer_reaches_a_client_that_has_ended_its_side(void **state) {
        const size_t size = 16 << 20;
        Fixture *f = *state;
        char *text = malloc(size);
        int fd = dial(f, 0);

        f->n_padding = 200000;
        say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
        (void)shutdown(fd, SHUT_WR);
        hear(f, fd, text, size);
        assert_true(strlen(text) > 8 << 20);
        assert_string_equal(text + strlen(text) - 10, "answer 42\n");
        free(text);
}

static void clients_that_hold_connections_open_keep_nobody_out(void **state) {
        Fixture *f = *state;
        char text[2048];
        int idle[100], fd;
        size_t n_open = 0;

        for (size_t i = 0; i < ELEMENTSOF(idle); i++) {
                idle[i] = dial(f, 0);
                say(idle[i], "GET /metrics HTTP/1.1\r\nX: ");
                assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
        }
        fd = dial(f, 0);
        say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
        hear(f, fd, text, sizeof(text));
        assert_non_null(strstr(text, "answer 42\n"));
        for (size_t i = 0; i < ELEMENTSOF(idle); i++) {
                if (recv(idle[i], text, sizeof(text), MSG_DONTWAIT) < 0 && errno == EAGAIN)
                        n_open++;
                (void)close(idle[i]);
        }
        assert_in_range(n_open, 1, 32);
}

static void a_request_among_many_new_connections_is_answered(void **state) {
        Fixture *f = *state;

        for (size_t place = 0; place < 16; place++) {
                char text[2048];
                int idle[320], fd = -1;
                size_t n = 0;

                for (size_t i = 0; i < 16; i++)
                        if (i == place) {
                                fd = dial(f, 0);
                                say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
                        } else
                                idle[n++] = dial(f, 0);
                for (size_t turn = 0; turn < 16; turn++) { /* more wait at each turn than are let in */
                        for (size_t i = 0; i < 16; i++)
                                idle[n++] = dial(f, SOCK_NONBLOCK);
                        assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
                }
                hear(f, fd, text, sizeof(text));
                if (!strstr(text, "answer 42\n"))
                        fail_msg("not when it is number %zu", place);
                while (n > 0)
                        (void)close(idle[--n]);
                for (size_t turn = 0; turn < 32; turn++)
                        assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
        }
}

static void an_address_in_use_or_nonsense_is_an_error(void **state) {
        Fixture *f = *state;
        HttpServer *server = NULL;
        const HttpCallbacks none = { 0 };

        assert_int_equal(http_server_new(f->base, http_server_address(f->server), &none, &server), -EADDRINUSE);
        assert_int_equal(http_server_new(f->base, "nonsense", &none, &server), -EINVAL);
        assert_null(server);
        assert_int_equal(http_server_new(f->base, "[::1]:0", &none, &server), 0);
        assert_memory_equal(http_server_address(server), "[::1]:", 6);
        (void)http_server_free(server);
}

/* It used to be found again at once and for ever: a loop that only wrote warnings. */
static void a_connection_that_cant_be_accepted_does_not_spin_the_loop(void **state) {
        Fixture *f = *state;
        struct rlimit before, none;
        int fd = dial(f, 0), spare;
        char text[2048];

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        spare = dup(fd);
        none = (struct rlimit){ .rlim_cur = (rlim_t)spare, .rlim_max = before.rlim_max };
        assert_int_equal(close(spare), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        for (size_t i = 0; i < 100; i++)
                assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(f->n_troubles, 1);

        say(fd, "GET /metrics HTTP/1.1\r\n\r\n");
        hear(f, fd, text, sizeof(text));
        assert_non_null(strstr(text, "answer 42"));
}

#define HTTP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                HTTP_TEST(a_request_gets_its_answer),
                HTTP_TEST(a_request_in_pieces_with_an_early_end_is_answered_too),
                HTTP_TEST(an_endless_head_is_refused),
                HTTP_TEST(a_large_answer_reaches_a_client_that_has_ended_its_side),
                HTTP_TEST(clients_that_hold_connections_open_keep_nobody_out),
                HTTP_TEST(a_request_among_many_new_connections_is_answered),
                HTTP_TEST(an_address_in_use_or_nonsense_is_an_error),
                HTTP_TEST(a_connection_that_cant_be_accepted_does_not_spin_the_loop),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
