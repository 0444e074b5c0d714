/* SPDX-License-Identifier: MIT */

/*
 * compozy-dispatcherd: the edge. Everything that decides is in dispatcher.c and below; here are NATS, the clock, HTTP, the service
 * manager, and the order of starting and stopping.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/http.h"
#include "common/link_metrics.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/nats_link.h"
#include "common/rng.h"
#include "dispatcherd/diag.h"
#include "dispatcherd/dispatcher.h"
#include "dispatcherd/settings.h"

#define PING_INTERVAL_USEC (700 * USEC_PER_MSEC) /* a dead link is noticed in 2.5 of these: /readyz is honest within 2 s */
#define SUBSCRIPTION_BYTES_MAX (256 * 1024 * 1024)
#define CLOSE_TIMEOUT_USEC (2 * USEC_PER_SEC)

/* /healthz: a loop that did not come round for this long hangs. */
#define HEALTHY_TURN_USEC (10 * USEC_PER_SEC)

typedef struct App {
        const DaemonArguments *arguments;
        DispatcherSettings settings;
        DispatcherOptions options;
        char hostname[ID_MAX + 1];
        char id[ID_MAX + 1];
        char inbox[ID_MAX + 16];
        char shown_url[256];

        Daemon *daemon;
        NatsLink *link;
        HttpServer *http;
        Dispatcher *core;
        Outbox outbox;
        bool is_ready, is_stopping, is_closing;
        uint64_t armed_usec;
} App;

static App *app_done(App *app) {
        app->http = http_server_free(app->http);
        app->link = nats_link_free(app->link);
        app->core = dispatcher_free(app->core);
        app->daemon = daemon_free(app->daemon);
        outbox_done(&app->outbox);
        config_clear(&dispatcher_config, &app->settings);
        return NULL;
}

static void app_donep(App *app) {
        (void)app_done(app);
}

/* stopping */

static void on_closed(void *userdata) {
        App *app = userdata;

        diag_stopped(dispatcher_n_in_flight(app->core));
        daemon_exit(app->daemon, EXIT_SUCCESS);
}

static void close_when_drained(App *app) {
        if (!app->is_stopping || app->is_closing || !dispatcher_is_drained(app->core))
                return;
        app->is_closing = true;
        nats_link_close(app->link, CLOSE_TIMEOUT_USEC, on_closed, app);
}

/* the end of each turn: publish what the core wants, re-arm its timer, tell the service manager what changed */

static void tell_ready(App *app) {
        if (app->is_ready || app->is_stopping || !dispatcher_is_settled(app->core))
                return;
        app->is_ready = true;
        diag_ready(dispatcher_n_runtimes(app->core), dispatcher_n_agents(app->core));
        daemon_notify_ready(app->daemon);
        daemon_notify_status(app->daemon, "Ready: %zu runtimes, %zu agents", dispatcher_n_runtimes(app->core),
                dispatcher_n_agents(app->core));
}

static void finish_turn(App *app, Instant now) {
        uint64_t n_refused = 0, next;

        dispatcher_on_turn_end(app->core, now);
        nats_link_publish_outbox(app->link, &app->outbox, &n_refused);
        if (n_refused > 0)
                diag_publish_refused(n_refused, now.usec);

        next = dispatcher_next_deadline(app->core);
        if (next != app->armed_usec) {
                app->armed_usec = next;
                daemon_arm(app->daemon, next);
        }
        tell_ready(app);
        close_when_drained(app);
}

/* NATS */

static void on_up(uint64_t max_payload, const char *server_version, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        (void)server_version; /* nats.c does not know it */
        diag_nats_up(app->shown_url);
        dispatcher_on_link_up(app->core, max_payload, now);
        finish_turn(app, now);
}

static void on_down(const char *why, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        if (!app->is_closing)
                diag_nats_down(why);
        dispatcher_on_link_down(app->core, now);
        finish_turn(app, now);
}

static void on_message(const InMessage *message, Instant now, void *userdata) {
        App *app = userdata;

        dispatcher_on_message(app->core, message, now);
}

static void on_turn_end(void *userdata) {
        finish_turn(userdata, instant_now());
}

static void on_link_error(const char *why, void *userdata) {
        (void)userdata;
        diag_nats_error(why, instant_now().usec);
}

/* the daemon */

static void on_time(void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        app->armed_usec = USEC_NEVER;
        dispatcher_on_time(app->core, now);
        finish_turn(app, now);
}

static void on_stop(void *userdata) {
        App *app = userdata;
        uint64_t timeout_usec = app->settings.drain_timeout_ms * USEC_PER_MSEC;
        Instant now = instant_now();
        const NatsLinkSubscription *subscriptions;
        size_t n;

        app->is_stopping = true;
        diag_stopping(dispatcher_n_waiting(app->core), dispatcher_n_in_flight(app->core));
        daemon_notify_stopping(app->daemon, timeout_usec + CLOSE_TIMEOUT_USEC);
        daemon_notify_status(app->daemon, "Stopping: %zu triggers wait, %zu are with runtimes", dispatcher_n_waiting(app->core),
                dispatcher_n_in_flight(app->core));
        /* The queue groups are how new work comes; other dispatchers have it from now on. */
        subscriptions = dispatcher_subscriptions(app->core, &n);
        for (size_t i = 0; i < n; i++)
                if (subscriptions[i].queue)
                        nats_link_unsubscribe(app->link, subscriptions[i].subject);
        dispatcher_drain(app->core, now.usec + timeout_usec, now);
        finish_turn(app, now);
}

static int load_settings(const App *app, DispatcherSettings *ret, ConfigError *ret_error) {
        const DaemonArguments *arguments = app->arguments;
        int r;

        r = config_load(&dispatcher_config, arguments->file, arguments->options, arguments->n_options, ret, ret_error);
        if (r < 0)
                (void)snprintf(ret_error->text, sizeof(ret_error->text), "%s: %s",
                        arguments->file ? arguments->file : "configuration", strerror(-r));
        if (r == 0) {
                r = dispatcher_settings_check(ret, ret_error);
                if (r != 0)
                        config_clear(&dispatcher_config, ret);
        }
        return r;
}

/* What needs a new connection or a new listener keeps its old value until a restart; the rest is taken at once. */
static void on_reload(void *userdata) {
        App *app = userdata;
        DispatcherSettings settings = {};
        ConfigError error = {};

        daemon_notify_reloading(app->daemon);
        if (load_settings(app, &settings, &error) != 0) {
                diag_reload_refused(error.text);
        } else {
                DispatcherOptions options = app->options;

                log_set_level((int)settings.daemon.log_level);
                dispatcher_settings_apply(&settings, &options);
                dispatcher_set_options(app->core, &options);
                app->settings.drain_timeout_ms = settings.drain_timeout_ms;
                config_clear(&dispatcher_config, &settings);
                diag_reloaded(app->arguments->file ? app->arguments->file : "the command line");
        }
        daemon_notify_ready(app->daemon);
}

/* HTTP */

static void on_metrics(Buffer *buffer, void *userdata) {
        App *app = userdata;

        dispatcher_metrics(app->core, buffer);
        link_metrics(buffer, app->link);
        metrics_process(buffer, "compozy-dispatcherd");
}

static bool on_health(Buffer *reason, void *userdata) {
        App *app = userdata;
        uint64_t idle_usec = instant_now().usec - daemon_last_turn_usec(app->daemon);

        buffer_printf(reason, "the loop last came round %llu ms ago", (unsigned long long)(idle_usec / USEC_PER_MSEC));
        return idle_usec < HEALTHY_TURN_USEC;
}

static bool on_ready(Buffer *reason, void *userdata) {
        App *app = userdata;
        bool up = nats_link_is_up(app->link), settled = dispatcher_is_settled(app->core);

        buffer_printf(reason, "%s, %s, %zu runtimes%s", up ? "connected to NATS" : "not connected to NATS",
                settled ? "settled" : "the roll call is not answered yet", dispatcher_n_runtimes(app->core),
                app->is_stopping ? ", stopping" : "");
        return up && settled && !app->is_stopping;
}

/* starting */

static void make_names(App *app) {
        char host[256] = "host";
        size_t n = 0;
        Id unique;
        Rng rng;

        (void)gethostname(host, sizeof(host) - 1);
        (void)snprintf(app->hostname, sizeof(app->hostname), "%.64s", host);
        if (app->settings.id[0] != '\0') {
                (void)snprintf(app->id, sizeof(app->id), "%s", app->settings.id);
        } else {
                for (const char *c = host; *c && *c != '.' && n < 48; c++)
                        app->id[n++] = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ? *c : '-';
                (void)snprintf(app->id + n, sizeof(app->id) - n, "-%d", (int)getpid());
        }

        if (rng_seed_from_system(&rng) < 0)
                rng_seed(&rng, instant_now().real_usec ^ (uint64_t)getpid());
        unique = rng_id(&rng);
        (void)snprintf(app->inbox, sizeof(app->inbox), "_INBOX.%s", unique.text);
        app->options.random_seed = rng_next(&rng);
        app->options.id = app->id;
        app->options.inbox_prefix = app->inbox;
        app->options.hostname = app->hostname;
        app->options.version = COMPOZY_VERSION;
        app->options.reconnect_grace_usec = NATS_LINK_RECONNECT_GRACE_USEC;
}

static int start_http(App *app) {
        const HttpCallbacks callbacks = { .metrics = on_metrics, .health = on_health, .ready = on_ready, .userdata = app };
        int r;

        if (strcmp(app->settings.daemon.http_listen, "none") == 0)
                return 0;
        r = http_server_new(daemon_base(app->daemon), app->settings.daemon.http_listen, &callbacks, &app->http);
        if (r < 0)
                diag_failed(app->settings.daemon.http_listen, r);
        return r;
}

static int start_link(App *app) {
        const DaemonSettings *settings = &app->settings.daemon;
        NatsReason why = {};
        const NatsLinkOptions options = {
                .url = settings->url,
                .name = app->id,
                .credentials = settings->credentials,
                .nkey_seed_file = settings->nkey_seed_file,
                .tls_ca = settings->tls_ca,
                .tls_cert = settings->tls_cert,
                .tls_key = settings->tls_key,
                .pending_bytes_max = settings->pending_bytes_max,
                .subscription_bytes_max = SUBSCRIPTION_BYTES_MAX,
                .reconnect_max_usec = NATS_LINK_RECONNECT_MAX_USEC,
                .ping_interval_usec = PING_INTERVAL_USEC,
                .on_up = on_up,
                .on_down = on_down,
                .on_message = on_message,
                .on_turn_end = on_turn_end,
                .on_error = on_link_error,
                .userdata = app,
                .ret_why = &why,
        };
        const NatsLinkSubscription *subscriptions;
        size_t n;
        int r;

        r = nats_link_new(daemon_base(app->daemon), &options, &app->link);
        if (r < 0) {
                diag_failed(why.text[0] ? why.text : "Connecting to NATS", r);
                return r;
        }
        subscriptions = dispatcher_subscriptions(app->core, &n);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = nats_link_subscribe(app->link, &subscriptions[i]);
        return r;
}

static int start(App *app) {
        const DaemonCallbacks callbacks = { .on_stop = on_stop, .on_reload = on_reload, .on_time = on_time, .userdata = app };
        _cleanup_(buffer_done) Buffer shown = {};
        int r;

        make_names(app);
        dispatcher_settings_apply(&app->settings, &app->options);
        nats_url_redact(slice_of(app->settings.daemon.url), &shown);
        (void)snprintf(app->shown_url, sizeof(app->shown_url), "%.*s", SLICE_ARG(buffer_slice(&shown)));

        r = daemon_new(&callbacks, &app->daemon);
        if (r < 0)
                return r;
        r = dispatcher_new(&app->options, &app->outbox, instant_now(), &app->core);
        if (r < 0)
                return r;
        r = start_http(app);
        if (r < 0)
                return r;
        diag_starting(app->id, app->shown_url, app->http ? http_server_address(app->http) : "none");
        daemon_notify_status(app->daemon, "Connecting to NATS at %s", app->shown_url);
        return start_link(app);
}

static int run(const DaemonArguments *arguments) {
        _cleanup_(app_donep) App app = { .arguments = arguments, .armed_usec = USEC_NEVER };
        ConfigError error = {};
        int r;

        outbox_init(&app.outbox);
        if (load_settings(&app, &app.settings, &error) != 0) {
                (void)fprintf(stderr, "compozy-dispatcherd: %s\n", error.text);
                return EXIT_FAILURE;
        }
        if (arguments->check_config) {
                (void)printf("compozy-dispatcherd: the configuration is good\n");
                return EXIT_SUCCESS;
        }

        log_open("compozy-dispatcherd", (LogTarget)app.settings.daemon.log_target, (int)app.settings.daemon.log_level);
        r = start(&app);
        if (r != 0) {
                diag_failed("Starting", r < 0 ? r : -EINVAL);
                return EXIT_FAILURE;
        }
        return daemon_run(app.daemon);
}

int main(int argc, char **argv) {
        DaemonArguments arguments = {};
        int r, status;

        r = daemon_parse_arguments(
                argc, argv, "Keeps the registry of agent runtimes and routes triggers to them.", &dispatcher_config, &arguments);
        if (r == DAEMON_E_OK)
                status = run(&arguments);
        else
                status = r == DAEMON_E_EXIT ? EXIT_SUCCESS : r == DAEMON_E_USAGE ? 2 : EXIT_FAILURE;
        daemon_arguments_done(&arguments);
        return status;
}
