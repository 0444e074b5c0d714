/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The daemons' HTTP listener: /, /metrics, /healthz, /readyz. On the loop; GET and HEAD only; slow or many clients can
 * hold up nobody but themselves.
 */

#include <event2/event.h>

#include "proto/buffer.h"
#include "proto/cc.h"

typedef struct HttpServer HttpServer;

typedef struct HttpCallbacks {
        void (*page)(Buffer *html, Slice query, void *userdata); /* at "/"; `query`: as it was sent, after the "?" */
        void (*metrics)(Buffer *buffer, void *userdata);
        /* true: healthy / ready. `reason` gets one line of text either way. */
        bool (*health)(Buffer *reason, void *userdata);
        bool (*ready)(Buffer *reason, void *userdata);
        void (*trouble)(const char *why,
                void *userdata); /* no connection can be accepted; told again while it lasts. NULL: nobody asks */
        void *userdata;
} HttpCallbacks;

/* `listen` is ADDRESS:PORT ([v6]:PORT), port 0 picks one. Returns 0 or -errno (-EADDRINUSE, …). */
int http_server_new(
        struct event_base *base, const char *listen, const HttpCallbacks *callbacks, HttpServer **ret) _must_check_;
HttpServer *http_server_free(HttpServer *server);

DEFINE_CLEANUP(HttpServer *, http_server_free);

/* "127.0.0.1:43211": where it really listens. */
const char *http_server_address(const HttpServer *server);
