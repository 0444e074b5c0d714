/* SPDX-License-Identifier: MIT */

/*
 * libevent's evhttp reads the requests and writes the answers: one per connection, then it closes. What it does not do
 * (2.1.12) is set an end to a connection: its time-outs start over with each byte, nothing counts its connections, and
 * a connection can't be told from outside before it has sent a whole request. It does end all connections of one evhttp
 * at once, so the connections live in two of them: `young` accepts, `old` only finishes. At each shift old is freed
 * with whatever it still holds, young becomes old, and a new young takes over the listening socket.
 *
 * A shift comes SHIFT_SECONDS after the last one, and early when young has accepted YOUNG_MAX connections, those that
 * are gone again included. So never more than 2 * YOUNG_MAX connections are open, none is older than 2 * SHIFT_SECONDS,
 * and whoever holds or opens connections in number displaces the oldest ones and keeps no newcomer out. An early shift
 * waits until the loop has come round once: then between two of them a request that is already here is both read and
 * answered, however many others come. A shift runs from its own event, never from a callback of evhttp or of a
 * listener, so it frees nothing on the stack.
 *
 * A connection that can't be accepted (no descriptor is left) stays in the backlog, where the loop would find it again
 * at once and for ever. So young stops accepting then, and a shift a moment later, which closes what it can, tries
 * again. The listener's error callback is told of the evhttp only, hence the list of living servers.
 *
 * Methods other than GET and HEAD are let through to on_request(), as evhttp's own answer to them is 501 without Allow.
 * What evhttp can't parse or finds too large it answers itself, 400 or 413 with a page of its own. When the client is
 * still sending then, a reset may overtake that page, as evhttp closes at once. The answer to a CONNECT leaves the
 * connection open until the shift.
 */

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/http.h"

#define YOUNG_MAX 16
#define SHIFT_SECONDS 5
#define PAUSE_SECONDS 1 /* after a connection could not be accepted */
#define HEAD_MAX 8192
#define BODY_MAX 8192            /* read to be ignored */
#define INPUT_MAX (2 * HEAD_MAX) /* unread bytes: more than either limit, or evhttp would not see it passed */

struct HttpServer {
        HttpServer *next; /* in `living` */
        struct event_base *base;
        HttpCallbacks callbacks;
        struct evconnlistener *socket; /* holds the listening socket, accepts nothing itself */
        struct evhttp *young, *old;
        struct evhttp_bound_socket *door; /* young's listener on `socket` */
        size_t n_accepted;                /* by young */
        bool is_paused;                   /* young could not accept and does not try */
        struct event *shift;
        char address[64];
};

DEFINE_CLEANUP(struct evhttp *, evhttp_free);

static HttpServer *living;

static const char text_plain[] = "text/plain; charset=utf-8";
static const char text_metrics[] = "text/plain; version=0.0.4; charset=utf-8";

static void answer(struct evhttp_request *request, int code, const char *type, Slice body) {
        struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
        struct bufferevent *stream = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
        const bool is_head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
        char size[24];

        /* Else a "keep-alive" of HTTP/1.0 is confirmed next to our "close". */
        (void)evhttp_remove_header(evhttp_request_get_input_headers(request), "Connection");
        (void)snprintf(size, sizeof(size), "%zu", body.size);
        if (evhttp_add_header(headers, "Content-Type", type) < 0 ||
                evhttp_add_header(headers, "Content-Length", size) < 0 ||
                evhttp_add_header(headers, "Cache-Control", "no-store") < 0 ||
                evhttp_add_header(headers, "Connection", "close") < 0 ||
                (!is_head && evbuffer_add(evhttp_request_get_output_buffer(request), body.data, body.size) < 0)) {
                evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL); /* may free the connection */
                return;
        }
        evhttp_send_reply(request, code, /* reason= */ NULL, /* databuf= */ NULL);
        /* A client that has ended its side still reads; evhttp would take that end for the end of all. */
        (void)bufferevent_disable(stream, EV_READ);
}

static void answer_health(
        HttpServer *server, struct evhttp_request *request, bool (*ask)(Buffer *reason, void *userdata)) {
        _cleanup_(buffer_done) Buffer reason = { 0 };
        const bool is_good = ask(&reason, server->callbacks.userdata);

        buffer_append_char(&reason, '\n');
        answer(request, is_good ? HTTP_OK : HTTP_SERVUNAVAIL, text_plain, buffer_slice(&reason));
}

static void answer_metrics(HttpServer *server, struct evhttp_request *request) {
        _cleanup_(buffer_done) Buffer text = { 0 };

        server->callbacks.metrics(&text, server->callbacks.userdata);
        if (text.failed)
                answer(request, HTTP_SERVUNAVAIL, text_plain, SLICE("out of memory\n"));
        else
                answer(request, HTTP_OK, text_metrics, buffer_slice(&text));
}

/* Nothing in the page may run, load or be framed, whatever a peer has put into a name. */
static void answer_page(HttpServer *server, struct evhttp_request *request, const char *query) {
        static const char *const more[][2] = {
                { "Content-Security-Policy",
                        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                        "frame-ancestors 'none'" },
                { "X-Content-Type-Options", "nosniff" },
                { "Referrer-Policy", "no-referrer" },
        };
        _cleanup_(buffer_done) Buffer html = {};

        server->callbacks.page(&html, slice_of(query ? query : ""), server->callbacks.userdata);
        for (size_t i = 0; i < ELEMENTSOF(more); i++)
                html.failed |=
                        evhttp_add_header(evhttp_request_get_output_headers(request), more[i][0], more[i][1]) < 0;
        if (html.failed)
                answer(request, HTTP_SERVUNAVAIL, text_plain, SLICE("out of memory\n"));
        else
                answer(request, HTTP_OK, "text/html; charset=utf-8", buffer_slice(&html));
}

static void on_request(struct evhttp_request *request, void *userdata) {
        HttpServer *server = userdata;
        const HttpCallbacks *callbacks = &server->callbacks;
        const char *path;

        if (!(evhttp_request_get_command(request) & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD))) {
                (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
                answer(request, HTTP_BADMETHOD, text_plain, SLICE("GET or HEAD\n"));
                return;
        }
        path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
        if (strcmp(path, "/") == 0 && callbacks->page)
                answer_page(server, request, evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request)));
        else if (strcmp(path, "/metrics") == 0 && callbacks->metrics)
                answer_metrics(server, request);
        else if (strcmp(path, "/healthz") == 0 && callbacks->health)
                answer_health(server, request, callbacks->health);
        else if (strcmp(path, "/readyz") == 0 && callbacks->ready)
                answer_health(server, request, callbacks->ready);
        else
                answer(request, HTTP_NOTFOUND, text_plain, SLICE("not found\n"));
}

/* Young has accepted a connection and asks for its stream. */
static struct bufferevent *on_accept(struct event_base *base, void *userdata) {
        static const struct timeval limit = { .tv_sec = SHIFT_SECONDS }, at_once = { 0 };
        HttpServer *server = userdata;
        struct bufferevent *stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

        server->n_accepted++;
        if (server->n_accepted >= YOUNG_MAX) {
                (void)evconnlistener_disable(evhttp_bound_socket_get_listener(server->door));
                (void)event_add(server->shift, &at_once);
        } else if (!event_pending(server->shift, EV_TIMEOUT, NULL))
                (void)event_add(server->shift, &limit);
        if (stream)
                bufferevent_setwatermark(stream, EV_READ, 0, INPUT_MAX);
        return stream;
}

static void on_accept_error(struct evconnlistener *listener, void *http) {
        static const struct timeval pause = { .tv_sec = PAUSE_SECONDS };
        const int error = EVUTIL_SOCKET_ERROR();
        HttpServer *server = living;

        while (server && server->young != http)
                server = server->next;
        (void)evconnlistener_disable(listener);
        if (!server)
                return;
        server->is_paused = true;
        (void)event_add(server->shift, &pause);
        if (server->callbacks.trouble)
                server->callbacks.trouble(strerror(error), server->callbacks.userdata);
}

static int start_young(HttpServer *server) {
        _cleanup_(evhttp_freep) struct evhttp *http = evhttp_new(server->base);
        struct evconnlistener *listener;

        if (!http)
                return -ENOMEM;
        evhttp_set_allowed_methods(http, UINT16_MAX);
        evhttp_set_max_headers_size(http, HEAD_MAX);
        evhttp_set_max_body_size(http, BODY_MAX);
        (void)evhttp_set_flags(http, EVHTTP_SERVER_LINGERING_CLOSE);
        evhttp_set_bevcb(http, on_accept, server);
        evhttp_set_gencb(http, on_request, server);

        listener = evconnlistener_new(server->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, /* backlog= */ 0,
                evconnlistener_get_fd(server->socket));
        if (!listener)
                return -ENOMEM;
        server->door = evhttp_bind_listener(http, listener);
        if (!server->door) {
                evconnlistener_free(listener);
                return -ENOMEM;
        }
        evconnlistener_set_error_cb(listener, on_accept_error);
        server->n_accepted = 0;
        server->is_paused = false;
        server->young = TAKE_PTR(http);
        return 0;
}

static void on_shift(evutil_socket_t fd, short what, void *userdata) {
        const struct timeval limit = { .tv_sec = SHIFT_SECONDS };
        HttpServer *server = userdata;

        (void)fd;
        (void)what;

        if (server->old)
                evhttp_free(server->old);
        server->old = NULL;
        if (server->young && server->n_accepted == 0 && !server->is_paused) /* nobody left whose time could run out */
                return;
        if (server->young)
                evhttp_del_accept_socket(server->young, server->door);
        server->old = TAKE_PTR(server->young);
        (void)start_young(server); /* no memory: clients wait in the backlog for the next try */
        (void)event_add(server->shift, &limit);
}

static void note_address(HttpServer *server) {
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } address = { .v6 = { 0 } };
        socklen_t size = sizeof(address);
        char host[INET6_ADDRSTRLEN] = "?";

        if (getsockname(evconnlistener_get_fd(server->socket), &address.any, &size) < 0)
                return;
        if (address.any.sa_family == AF_INET6) {
                (void)evutil_inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof(host));
                (void)snprintf(server->address, sizeof(server->address), "[%s]:%u", host, ntohs(address.v6.sin6_port));
        } else {
                (void)evutil_inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof(host));
                (void)snprintf(server->address, sizeof(server->address), "%s:%u", host, ntohs(address.v4.sin_port));
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
        server->next = living;
        living = server;
        server->base = base;
        server->callbacks = *callbacks;
        server->shift = evtimer_new(base, on_shift, server);
        if (!server->shift)
                return -ENOMEM;

        errno = 0;
        server->socket = evconnlistener_new_bind(base, NULL, NULL,
                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, /* backlog= */ 2 * YOUNG_MAX,
                (struct sockaddr *)&address, size);
        if (!server->socket)
                return errno != 0 ? -errno : -ENOMEM;
        note_address(server);
        r = start_young(server);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(server);
        return 0;
}

HttpServer *http_server_free(HttpServer *server) {
        HttpServer **p = &living;

        if (!server)
                return NULL;
        while (*p && *p != server)
                p = &(*p)->next;
        if (*p)
                *p = server->next;
        if (server->young)
                evhttp_free(server->young);
        if (server->old)
                evhttp_free(server->old);
        if (server->socket)
                evconnlistener_free(server->socket);
        if (server->shift)
                event_free(server->shift);
        free(server);
        return NULL;
}

const char *http_server_address(const HttpServer *server) {
        return server->address;
}
