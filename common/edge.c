/* SPDX-License-Identifier: MIT */

/*
 * The numbers here are the same for both daemons on purpose: a dispatcher judges runtimes by how long their next
 * attempt to connect may take (common/nats_link.h), and both promise that /readyz notices a lost server within two
 * seconds.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/edge.h"
#include "common/nats_settings.h"
#include "common/rng.h"

#define PING_INTERVAL_USEC (650 * USEC_PER_MSEC) /* a dead link is noticed in 2.5 of these: 1.6 s */
#define SUBSCRIPTION_BYTES_MAX (256 * 1024 * 1024)
#define HEALTHY_TURN_USEC (10 * USEC_PER_SEC) /* a loop that did not come round for so long hangs */

void edge_names(const DaemonSettings *settings, EdgeNames *ret) {
        _cleanup_(buffer_done) Buffer shown = { 0 };
        Rng rng;

        *ret = (EdgeNames){ 0 };
        if (gethostname(ret->hostname, sizeof(ret->hostname) - 1) < 0)
                (void)snprintf(ret->hostname, sizeof(ret->hostname), "localhost");
        nats_url_redact(slice_of(settings->url), &shown);
        (void)snprintf(ret->shown_url, sizeof(ret->shown_url), "%.*s", SLICE_ARG(buffer_slice(&shown)));

        if (rng_seed_from_system(&rng) < 0)
                rng_seed(&rng, instant_now().real_usec ^ (uint64_t)getpid());
        ret->unique = rng_id(&rng);
        ret->random_seed = rng_next(&rng);
}

void edge_inbox(const DaemonSettings *settings, const char *role, const char *id, EdgeNames *names) {
        if (settings->inbox_prefix[0] != '\0')
                (void)snprintf(names->inbox_prefix, sizeof(names->inbox_prefix), "%s.%s", settings->inbox_prefix,
                        names->unique.text);
        else
                (void)snprintf(names->inbox_prefix, sizeof(names->inbox_prefix), "_INBOX.%s.%s.%s", role, id,
                        names->unique.text);
}

NatsLinkOptions edge_link_options(const DaemonSettings *settings, const char *name, NatsReason *ret_why) {
        return (NatsLinkOptions){
                .url = settings->url,
                .name = name,
                .credentials = settings->credentials,
                .nkey_seed_file = settings->nkey_seed_file,
                .tls_ca = settings->tls_ca,
                .tls_cert = settings->tls_cert,
                .tls_key = settings->tls_key,
                .pending_bytes_max = settings->pending_bytes_max,
                .subscription_bytes_max = SUBSCRIPTION_BYTES_MAX,
                .reconnect_max_usec = NATS_LINK_RECONNECT_MAX_USEC,
                .ping_interval_usec = PING_INTERVAL_USEC,
                .ret_why = ret_why,
        };
}

static TraceExportOptions trace_options(const DaemonSettings *settings) {
        return (TraceExportOptions){
                .endpoint = settings->otlp_endpoint,
                .headers_file = settings->otlp_headers_file,
                .tls_ca = settings->otlp_tls_ca,
                .sample = settings->trace_sample,
                .queue_limit = settings->trace_queue_limit,
                .version = COMPOZY_VERSION,
                .subject_prefix = settings->subject_prefix,
        };
}

int edge_check(const DaemonSettings *settings, ConfigError *ret_error) {
        const TraceExportOptions tracing = trace_options(settings);

        _cleanup_(nats_settings_unrefp) NatsSettings *made = NULL;
        NatsReason why = { 0 };
        const NatsLinkOptions options = edge_link_options(settings, "check", &why);
        int r = nats_settings_new(&options, &made, &why);

        if (r == 0)
                return settings->otlp_endpoint[0] == '\0' ||
                                       trace_export_check(&tracing, ret_error->text, sizeof(ret_error->text))
                               ? 0
                               : CONFIG_E_INVALID;
        (void)snprintf(ret_error->text, sizeof(ret_error->text), "%s", why.text[0] != '\0' ? why.text : strerror(-r));
        return CONFIG_E_INVALID;
}

int edge_start_link(Daemon *daemon, const DaemonSettings *settings, const char *name, const NatsLinkOptions *callbacks,
        const NatsLinkSubscription *subscriptions, size_t n_subscriptions, NatsLink **ret, ConfigError *ret_error) {
        _cleanup_(nats_link_freep) NatsLink *link = NULL;
        NatsReason why = {};
        NatsLinkOptions options = edge_link_options(settings, name, &why);
        int r;

        options.on_up = callbacks->on_up;
        options.on_down = callbacks->on_down;
        options.on_message = callbacks->on_message;
        options.on_turn_end = callbacks->on_turn_end;
        options.on_error = callbacks->on_error;
        options.userdata = callbacks->userdata;
        r = nats_link_new(daemon_base(daemon), &options, &link);
        if (r < 0)
                (void)snprintf(ret_error->text, sizeof(ret_error->text), "%s", why.text);
        for (size_t i = 0; r == 0 && i < n_subscriptions; i++)
                r = nats_link_subscribe(link, &subscriptions[i]);
        if (r == 0)
                *ret = TAKE_PTR(link);
        return r;
}

int edge_start_http(Daemon *daemon, const DaemonSettings *settings, const HttpCallbacks *callbacks, HttpServer **ret,
        ConfigError *ret_error) {
        int r;

        if (strcmp(settings->http_listen, "none") == 0) {
                *ret = NULL;
                return 0;
        }

        r = http_server_new(daemon_base(daemon), settings->http_listen, callbacks, ret);
        if (r < 0)
                (void)snprintf(ret_error->text, sizeof(ret_error->text), "http.listen: %s: %s", settings->http_listen,
                        strerror(-r));
        return r;
}

int edge_start_tracing(Daemon *daemon, void (*on_news)(const TraceExportNews *news), const DaemonSettings *settings,
        const EdgeNames *names, const char *service, const char *id, TraceExporter **ret, ConfigError *ret_error) {
        TraceExportOptions options = trace_options(settings);

        *ret = NULL;
        if (settings->otlp_endpoint[0] == '\0')
                return 0;
        options.random_seed = names->random_seed ^ UINT64_C(0x7472616365); /* not the core's own numbers */
        options.base = daemon_base(daemon);
        options.on_news = on_news;
        options.service = service;
        options.instance_id = id;
        options.hostname = names->hostname;
        return trace_exporter_new(&options, ret, ret_error->text, sizeof(ret_error->text));
}

const char *edge_http_address(const HttpServer *server) {
        return server ? http_server_address(server) : "none";
}

bool edge_is_healthy(const Daemon *daemon, Buffer *reason) {
        const uint64_t idle_usec = instant_now().usec - daemon_last_turn_usec(daemon);

        buffer_printf(reason, "the loop last came round %llu ms ago", (unsigned long long)(idle_usec / USEC_PER_MSEC));
        return idle_usec < HEALTHY_TURN_USEC;
}
