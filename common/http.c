/* SPDX-License-Identifier: MIT */

/*
 * One request per connection, answered and closed. Not evhttp: its time-outs start over with each byte, and it
 * can't be told how many connections are enough. Here each client has CLIENT_SECONDS for everything, and when too
 * many are there, the oldest gives its place to the newest, so whoever holds connections open can't keep a scraper
 * out.
 */

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "common/http.h"

#define CLIENTS_MAX 32
#define CLIENT_SECONDS 10
#define HEAD_MAX 8192

typedef struct Client Client;

struct Client {
        HttpServer *server;
        TAILQ_ENTRY(Client) others; /* of server->clients, the oldest first */
        struct bufferevent *stream;
        struct event *timer;
        bool is_answered;
        bool is_ended; /* the peer will send no more, but still reads */
};

struct HttpServer {
        struct event_base *base;
        HttpCallbacks callbacks;
        struct evconnlistener *listener;
        TAILQ_HEAD(, Client) clients;
        size_t n_clients;
        char address[64];
};

typedef enum Answer {
        ANSWER_OK,
        ANSWER_BAD_REQUEST,
        ANSWER_NOT_FOUND,
        ANSWER_METHOD_NOT_ALLOWED,
        ANSWER_HEAD_TOO_LARGE,
        ANSWER_UNAVAILABLE,
} Answer;

static const char *const answer_lines[] = {
        [ANSWER_OK] = "200 OK",
        [ANSWER_BAD_REQUEST] = "400 Bad Request",
        [ANSWER_NOT_FOUND] = "404 Not Found",
        [ANSWER_METHOD_NOT_ALLOWED] = "405 Method Not Allowed\r\nAllow: GET, HEAD",
        [ANSWER_HEAD_TOO_LARGE] = "431 Request Header Fields Too Large",
        [ANSWER_UNAVAILABLE] = "503 Service Unavailable",
};

static const char text_plain[] = "text/plain; charset=utf-8";
static const char text_metrics[] = "text/plain; version=0.0.4; charset=utf-8";

static Client *client_free(Client *client) {
        if (!client)
                return NULL;
        TAILQ_REMOVE(&client->server->clients, client, others);
        client->server->n_clients--;
        if (client->timer)
                event_free(client->timer);
        if (client->stream)
                bufferevent_free(client->stream);
        free(client);
        return NULL;
}

static void client_answer(Client *client, Answer answer, const char *type, Slice body, bool with_body) {
        struct evbuffer *out = bufferevent_get_output(client->stream);

        client->is_answered = true;
        if (evbuffer_add_printf(
                    out,
                    "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                    "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                    answer_lines[answer], type, body.size) < 0 ||
            (with_body && evbuffer_add(out, body.data, body.size) < 0))
                (void)evbuffer_drain(out, evbuffer_get_length(out)); /* out of memory: the client sees an empty answer */
}

static void answer_health(
        Client *client, bool (*ask)(Buffer *reason, void *userdata), bool with_body) {
        _cleanup_(buffer_done) Buffer reason = { 0 };
        const bool is_good = ask(&reason, client->server->callbacks.userdata);

        buffer_append_char(&reason, '\n');
        client_answer(client, is_good ? ANSWER_OK : ANSWER_UNAVAILABLE, text_plain, buffer_slice(&reason), with_body);
}

static void answer_metrics(Client *client, bool with_body) {
        _cleanup_(buffer_done) Buffer text = { 0 };

        client->server->callbacks.metrics(&text, client->server->callbacks.userdata);
        if (text.failed)
                client_answer(client, ANSWER_UNAVAILABLE, text_plain, SLICE("out of memory\n"), with_body);
        else
                client_answer(client, ANSWER_OK, text_metrics, buffer_slice(&text), with_body);
}

static void answer_path(Client *client, Slice path, bool with_body) {
        const HttpCallbacks *callbacks = &client->server->callbacks;

        if (slice_equal(path, SLICE("/metrics")) && callbacks->metrics)
                answer_metrics(client, with_body);
        else if (slice_equal(path, SLICE("/healthz")) && callbacks->health)
                answer_health(client, callbacks->health, with_body);
        else if (slice_equal(path, SLICE("/readyz")) && callbacks->ready)
                answer_health(client, callbacks->ready, with_body);
        else
                client_answer(client, ANSWER_NOT_FOUND, text_plain, SLICE("not found\n"), with_body);
}

/* Cuts off what stands before `end`, and `end`; absent when it is not there. */
static Slice take_word(Slice *text, char end) {
        const char *p = text->size > 0 ? memchr(text->data, end, text->size) : NULL;
        Slice word;

        if (!p)
                return SLICE_NONE;
        word = (Slice){ text->data, (size_t)(p - text->data) };
        *text = slice_after(*text, word.size + 1);
        return word;
}

/* `line`: "GET /metrics HTTP/1.1" */
static void answer_request(Client *client, Slice line) {
        const Slice method = take_word(&line, ' ');
        Slice target = take_word(&line, ' '), path;
        const bool is_head = slice_equal(method, SLICE("HEAD"));

        if (!method.data || !target.data || !slice_starts_with(line, SLICE("HTTP/1."))) {
                client_answer(client, ANSWER_BAD_REQUEST, text_plain, SLICE("bad request\n"), /* with_body= */ true);
                return;
        }
        if (!is_head && !slice_equal(method, SLICE("GET"))) {
                client_answer(client, ANSWER_METHOD_NOT_ALLOWED, text_plain, SLICE("GET or HEAD\n"), /* with_body= */ true);
                return;
        }
        path = take_word(&target, '?');
        answer_path(client, path.data ? path : target, !is_head);
}

static void on_client_data(struct bufferevent *stream, void *userdata) {
        Client *client = userdata;
        struct evbuffer *in = bufferevent_get_input(stream);
        const size_t size = evbuffer_get_length(in);
        struct evbuffer_ptr end;
        size_t line_size = 0;
        char *line;

        if (client->is_answered) { /* a body, or more requests: not wanted */
                (void)evbuffer_drain(in, size);
                return;
        }
        end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
        if (end.pos < 0 || end.pos > HEAD_MAX) {
                if (size >= HEAD_MAX)
                        client_answer(client, ANSWER_HEAD_TOO_LARGE, text_plain, SLICE("request too large\n"),
                                      /* with_body= */ true);
                return;
        }
        line = evbuffer_readln(in, &line_size, EVBUFFER_EOL_CRLF_STRICT);
        if (line)
                answer_request(client, (Slice){ line, line_size });
        free(line);
        (void)evbuffer_drain(in, evbuffer_get_length(in));
}

/* The answer is written. The client closes first, so that no reset overtakes the answer; the timer ends those that don't. */
static void on_client_written(struct bufferevent *stream, void *userdata) {
        Client *client = userdata;

        if (client->is_ended)
                (void)client_free(client);
        else if (client->is_answered)
                (void)shutdown(bufferevent_getfd(stream), SHUT_WR);
}

static void on_client_end(struct bufferevent *stream, short what, void *userdata) {
        Client *client = userdata;

        client->is_ended = true;
        if (!(what & BEV_EVENT_EOF) || evbuffer_get_length(bufferevent_get_output(stream)) == 0)
                (void)client_free(client);
}

static void on_client_timer(evutil_socket_t fd, short what, void *userdata) {
        (void)fd;
        (void)what;

        (void)client_free(userdata);
}

static int client_start(Client *client, evutil_socket_t fd) {
        const struct timeval limit = { .tv_sec = CLIENT_SECONDS };

        client->timer = evtimer_new(client->server->base, on_client_timer, client);
        if (!client->timer || event_add(client->timer, &limit) < 0)
                return -ENOMEM;
        client->stream = bufferevent_socket_new(client->server->base, fd, BEV_OPT_CLOSE_ON_FREE);
        if (!client->stream)
                return -ENOMEM;
        bufferevent_setcb(client->stream, on_client_data, on_client_written, on_client_end, client);
        bufferevent_setwatermark(client->stream, EV_READ, 0, HEAD_MAX + 4);
        return bufferevent_enable(client->stream, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

static void on_accept(
        struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int address_size, void *userdata) {
        HttpServer *server = userdata;
        Client *client;

        (void)listener;
        (void)address;
        (void)address_size;

        if (server->n_clients >= CLIENTS_MAX)
                (void)client_free(TAILQ_FIRST(&server->clients));
        client = calloc(1, sizeof(*client));
        if (!client) {
                (void)evutil_closesocket(fd);
                return;
        }
        client->server = server;
        TAILQ_INSERT_TAIL(&server->clients, client, others);
        server->n_clients++;
        if (client_start(client, fd) < 0) {
                if (!client->stream)
                        (void)evutil_closesocket(fd);
                (void)client_free(client);
        }
}

static void note_address(HttpServer *server) {
        struct sockaddr_storage storage = { 0 };
        socklen_t size = sizeof(storage);
        char host[INET6_ADDRSTRLEN] = "?";

        if (getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&storage, &size) < 0)
                return;
        if (storage.ss_family == AF_INET6) {
                const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&storage;

                (void)evutil_inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
                (void)snprintf(server->address, sizeof(server->address), "[%s]:%u", host, ntohs(v6->sin6_port));
        } else {
                const struct sockaddr_in *v4 = (const struct sockaddr_in *)&storage;

                (void)evutil_inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
                (void)snprintf(server->address, sizeof(server->address), "%s:%u", host, ntohs(v4->sin_port));
        }
}

/* evutil_parse_sockaddr_port() refuses port 0. */
static int parse_listen(const char *text, struct sockaddr_storage *ret, int *ret_size) {
        const char *colon = strrchr(text, ':');
        struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
        char host[INET6_ADDRSTRLEN + 2], *end;
        unsigned long port;
        size_t n;

        *ret = (struct sockaddr_storage){ 0 };
        if (!colon || colon[1] < '0' || colon[1] > '9')
                return -EINVAL;
        port = strtoul(colon + 1, &end, 10);
        n = (size_t)(colon - text);
        if (*end != '\0' || port > UINT16_MAX || n >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, n);
        host[n] = '\0';
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = '\0';
                v6->sin6_family = AF_INET6;
                v6->sin6_port = htons((uint16_t)port);
                *ret_size = sizeof(*v6);
                return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1 ? 0 : -EINVAL;
        }
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *ret_size = sizeof(*v4);
        return inet_pton(AF_INET, host, &v4->sin_addr) == 1 ? 0 : -EINVAL;
}

int http_server_new(struct event_base *base, const char *listen, const HttpCallbacks *callbacks, HttpServer **ret) {
        _cleanup_(http_server_freep) HttpServer *server = NULL;
        struct sockaddr_storage address;
        int size, r;

        assert(base);
        assert(listen);
        assert(callbacks);

        r = parse_listen(listen, &address, &size);
        if (r < 0)
                return r;
        server = calloc(1, sizeof(*server));
        if (!server)
                return -ENOMEM;
        server->base = base;
        server->callbacks = *callbacks;
        TAILQ_INIT(&server->clients);

        errno = 0;
        server->listener = evconnlistener_new_bind(
                base, on_accept, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, CLIENTS_MAX,
                (struct sockaddr *)&address, size);
        if (!server->listener)
                return errno != 0 ? -errno : -ENOMEM;
        note_address(server);

        *ret = TAKE_PTR(server);
        return 0;
}

HttpServer *http_server_free(HttpServer *server) {
        Client *client;

        if (!server)
                return NULL;
        while ((client = TAILQ_FIRST(&server->clients)))
                (void)client_free(client);
        if (server->listener)
                evconnlistener_free(server->listener);
        free(server);
        return NULL;
}

const char *http_server_address(const HttpServer *server) {
        return server->address;
}
