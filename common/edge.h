/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Edge: what both daemons build around their core from the keys that they share (common/daemon_keys.h): names, the
 * options of the NATS link, the HTTP listener. The order of starting and stopping is each daemon's own, in its main.c.
 *
 * Loop thread only. Nothing here logs: what went wrong is a ConfigError, for the caller to print or to log.
 */

#include "common/daemon.h"
#include "common/daemon_keys.h"
#include "common/http.h"
#include "common/nats_link.h"
#include "common/trace_export.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/subject.h"

#define EDGE_CLOSE_TIMEOUT_USEC (2 * USEC_PER_SEC) /* for what is unsent when a daemon leaves */

typedef struct EdgeNames {
        char hostname[256];  /* as the system says it, whatever is in it */
        char shown_url[256]; /* nats.url without secrets */
        Id unique;           /* random: this process, and no other */
        uint64_t random_seed;
        char inbox_prefix[SUBJECT_PREFIX_MAX + ID_MAX + 2]; /* by edge_inbox() */
} EdgeNames;

void edge_names(const DaemonSettings *settings, EdgeNames *ret);

/*
 * Where answers come: "_INBOX.<role>.<id>.<unique>", so that the server's permissions can keep one principal out of the
 * inboxes of another (docs/security.md); nats.inbox_prefix takes the place of the first three. That nobody can guess
 * the last one is what protects inboxes where there are no permissions.
 */
void edge_inbox(const DaemonSettings *settings, const char *role, const char *id, EdgeNames *names);

/* Would edge_link_options() make a link? Reads credentials and certificates. Returns 0 or CONFIG_E_INVALID, with key
 * and reason. */
int edge_check(const DaemonSettings *settings, ConfigError *ret_error);

/* All but the callbacks; borrows from `settings`, `name` and `ret_why`. */
NatsLinkOptions edge_link_options(const DaemonSettings *settings, const char *name, NatsReason *ret_why);

/* Starts connecting, with the callbacks of `callbacks` and those subscriptions. Returns 0, or -errno with the reason.
 */
int edge_start_link(Daemon *daemon, const DaemonSettings *settings, const char *name, const NatsLinkOptions *callbacks,
        const NatsLinkSubscription *subscriptions, size_t n_subscriptions, NatsLink **ret, ConfigError *ret_error);

/* Listens on http.listen; none: *ret is NULL. Returns 0, or -errno with key, address and reason. */
int edge_start_http(Daemon *daemon, const DaemonSettings *settings, const HttpCallbacks *callbacks, HttpServer **ret,
        ConfigError *ret_error);

/*
 * The exporter of spans for tracing.otlp_endpoint; "": *ret is NULL, and all that takes one does nothing with that.
 * `service` and `id` name the resource. Returns 0, or -errno with key and reason.
 */
int edge_start_tracing(Daemon *daemon, void (*on_news)(const TraceExportNews *news), const DaemonSettings *settings,
        const EdgeNames *names, const char *service, const char *id, TraceExporter **ret, ConfigError *ret_error);

/* "127.0.0.1:43211", or "none". */
const char *edge_http_address(const HttpServer *server);

/* The answer to /healthz: does the loop come round? */
bool edge_is_healthy(const Daemon *daemon, Buffer *reason);
