/* SPDX-License-Identifier: MIT */

/*
 * compozy-dispatcherd: the edge. Everything that decides is in dispatcher.c and below; here are NATS, the clock, HTTP,
 * the service manager, and the order of starting and stopping.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/edge.h"
#include "common/link_metrics.h"
#include "common/log.h"
#include "common/metrics.h"
#include "dispatcherd/diag.h"
#include "dispatcherd/dispatcher.h"
#include "dispatcherd/settings.h"

typedef struct App {
        const DaemonArguments *arguments;
        DispatcherSettings settings;
        DispatcherOptions options;
        EdgeNames names;
        char hostname[ID_MAX + 1];
        char id[ID_MAX + 1];

        Daemon *daemon;
        NatsLink *link;
        HttpServer *http;
        Dispatcher *core;
        TraceExporter *tracing; /* NULL: none */
        Outbox outbox;
        char trouble[128]; /* the last word about NATS */
        bool is_ready, is_stopping, is_closing, reload_refused;
        uint64_t armed_usec;
} App;

static App *app_done(App *app) {
        app->http = http_server_free(app->http);
        app->link = nats_link_free(app->link);
        app->core = dispatcher_free(app->core);
        app->tracing = trace_exporter_free(app->tracing); /* with what is left to tell */
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

        diag_stopped(app->id, dispatcher_n_in_flight(app->core));
        daemon_exit(app->daemon, EXIT_SUCCESS);
}

static void close_when_drained(App *app) {
        if (!app->is_stopping || app->is_closing || !dispatcher_is_drained(app->core))
                return;
        app->is_closing = true;
        nats_link_close(app->link, EDGE_CLOSE_TIMEOUT_USEC, on_closed, app);
}

/* the end of each turn: publish what the core wants, re-arm its timer, tell the service manager what changed */

static void tell_ready(App *app) {
        if (app->is_ready || app->is_stopping || !dispatcher_is_settled(app->core))
                return;
        app->is_ready = true;
        diag_ready(app->id, dispatcher_n_runtimes(app->core), dispatcher_n_agents(app->core));
        daemon_notify_ready(app->daemon);
}

/* What systemctl status shows. */
static void on_status(Buffer *status, void *userdata) {
        const App *app = userdata;
        const size_t n_waiting = dispatcher_n_waiting(app->core), n_in_flight = dispatcher_n_in_flight(app->core);
        const bool is_up = app->link && nats_link_is_up(app->link);

        if (app->is_stopping)
                buffer_printf(status, "Stopping");
        else if (!is_up)
                buffer_printf(status, "%s NATS at %s%s%s", app->is_ready ? "Cut off from" : "Connecting to",
                        app->names.shown_url, app->trouble[0] != '\0' ? ": " : "", app->trouble);
        else if (!dispatcher_is_settled(app->core))
                buffer_printf(status, "Connected to NATS at %s, calling the roll", app->names.shown_url);
        else
                buffer_printf(status, "Ready");
        buffer_printf(status, "; runtimes %zu of %zu live, agents %zu; triggers waiting %zu, with runtimes %zu%s",
                dispatcher_n_runtimes_live(app->core), dispatcher_n_runtimes(app->core), dispatcher_n_agents(app->core),
                n_waiting, n_in_flight, app->reload_refused ? "; the last reload was refused" : "");
}

static void finish_turn(App *app, Instant now) {
        uint64_t n_refused = 0, next;

        dispatcher_on_turn_end(app->core, now);
        nats_link_publish_outbox(app->link, &app->outbox, &n_refused);
        if (n_refused > 0)
                diag_publish_refused(n_refused);
        trace_exporter_turn(app->tracing);

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
        diag_nats_up(app->names.shown_url, max_payload);
        app->trouble[0] = '\0';
        dispatcher_on_link_up(app->core, max_payload, now);
        finish_turn(app, now);
        daemon_update_status(app->daemon);
}

static void on_down(const char *why, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        if (!app->is_closing)
                diag_nats_down(why);
        (void)snprintf(app->trouble, sizeof(app->trouble), "%s", why);
        dispatcher_on_link_down(app->core, now);
        finish_turn(app, now);
        daemon_update_status(app->daemon);
}

static void on_message(const InMessage *message, Instant now, void *userdata) {
        App *app = userdata;
        const uint64_t n_verbs = dispatcher_n_verbs(app->core);

        dispatcher_on_message(app->core, message, now);
        if (dispatcher_n_verbs(app->core) != n_verbs)
                dispatcher_note_verbs(app->core, instant_now().usec - now.usec);
}

static void on_turn_end(void *userdata) {
        finish_turn(userdata, instant_now());
}

static void on_link_error(const char *why, void *userdata) {
        App *app = userdata;

        diag_nats_error(why);
        if (!nats_link_is_up(app->link))
                (void)snprintf(app->trouble, sizeof(app->trouble), "%s", why);
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
        diag_stopping(app->id, dispatcher_n_waiting(app->core), dispatcher_n_in_flight(app->core));
        daemon_notify_stopping(app->daemon, timeout_usec + EDGE_CLOSE_TIMEOUT_USEC + TRACE_EXPORT_FLUSH_USEC);
        /* The queue groups are how new work comes; other dispatchers have it from now on. */
        subscriptions = dispatcher_subscriptions(app->core, &n);
        for (size_t i = 0; i < n; i++)
                if (subscriptions[i].queue)
                        nats_link_unsubscribe(app->link, subscriptions[i].subject);
        dispatcher_drain(app->core, now.usec + timeout_usec, now);
        finish_turn(app, now);
}

static void on_abort(void *userdata) {
        const App *app = userdata;

        diag_aborted(app->id, dispatcher_n_waiting(app->core), dispatcher_n_in_flight(app->core));
}

static int load_settings(const App *app, DispatcherSettings *ret, ConfigError *ret_error) {
        int r = daemon_load(app->arguments, &dispatcher_config, ret, ret_error);

        if (r == 0)
                r = dispatcher_settings_check(ret, ret_error);
        if (r != 0)
                config_clear(&dispatcher_config, ret);
        return r;
}

/* What needs a new connection or a new listener keeps its old value until a restart; the rest is taken at once. */
static void on_reload(void *userdata) {
        App *app = userdata;
        DispatcherSettings settings = {};
        ConfigError error = {};

        daemon_notify_reloading(app->daemon);
        app->reload_refused = load_settings(app, &settings, &error) != 0;
        if (app->reload_refused) {
                diag_reload_refused(error.text);
        } else {
                DispatcherOptions options = app->options;

                config_report_fixed(&dispatcher_config, &app->settings, &settings, diag_reload_ignored);
                log_set_level((int)settings.daemon.log_level);
                dispatcher_settings_apply(&settings, &options);
                dispatcher_set_options(app->core, &options);
                trace_exporter_set_sample(app->tracing, settings.daemon.trace_sample);
                app->settings.drain_timeout_ms = settings.drain_timeout_ms;
                config_clear(&dispatcher_config, &settings);
                diag_reloaded(daemon_arguments_name(app->arguments));
        }
        if (app->is_ready)
                daemon_notify_ready(app->daemon);
}

/* HTTP */

static void on_metrics(Buffer *buffer, void *userdata) {
        App *app = userdata;

        dispatcher_metrics(app->core, buffer);
        link_metrics(buffer, app->link);
        trace_exporter_metrics(buffer, app->tracing);
        metrics_process(buffer, "compozy-dispatcherd");
}

static bool on_health(Buffer *reason, void *userdata) {
        const App *app = userdata;

        return edge_is_healthy(app->daemon, reason);
}

static bool on_ready(Buffer *reason, void *userdata) {
        App *app = userdata;
        bool up = nats_link_is_up(app->link), settled = dispatcher_is_settled(app->core);

        buffer_printf(reason, "%s, %s, %zu runtime%s%s", up ? "connected to NATS" : "not connected to NATS",
                settled ? "settled" : "the roll call is not answered yet", dispatcher_n_runtimes(app->core),
                dispatcher_n_runtimes(app->core) == 1 ? "" : "s", app->is_stopping ? ", stopping" : "");
        return up && settled && !app->is_stopping;
}

static void on_page(Buffer *html, Slice query, void *userdata) {
        App *app = userdata;
        _cleanup_(buffer_done) Buffer reason = {};
        const bool is_ready = on_ready(&reason, app);

        (void)query;

        dispatcher_page(app->core,
                (PageHead){ .is_ready = is_ready, .reason = buffer_slice(&reason), .url = app->names.shown_url }, html,
                instant_now());
        page_link(html, app->link, app->names.shown_url);
        page_end(html);
}

static void on_http_trouble(const char *why, void *userdata) {
        (void)userdata;

        diag_http_trouble(why);
}

/* starting */

/* "<host>-<pid>", as far as it fits the grammar of ids: several dispatchers on one host need no configuration. */
static void make_id(App *app) {
        size_t n = 0;

        if (app->settings.id[0] != '\0') {
                (void)snprintf(app->id, sizeof(app->id), "%s", app->settings.id);
                return;
        }
        for (const char *c = app->names.hostname; *c && *c != '.' && n < 48; c++)
                app->id[n++] = id_is_valid((Slice){ c, 1 }) ? *c : '-';
        (void)snprintf(app->id + n, sizeof(app->id) - n, "-%d", (int)getpid());
}

static void make_options(App *app) {
        edge_names(&app->settings.daemon, &app->names);
        (void)snprintf(app->hostname, sizeof(app->hostname), "%.64s", app->names.hostname);
        make_id(app);
        edge_inbox(&app->settings.daemon, "dispatcher", app->id, &app->names);

        dispatcher_settings_apply(&app->settings, &app->options);
        app->options.random_seed = app->names.random_seed;
        app->options.id = app->id;
        app->options.inbox_prefix = app->names.inbox_prefix;
        app->options.hostname = app->hostname;
        app->options.version = COMPOZY_VERSION;
        app->options.pid = (uint64_t)getpid();
        app->options.reconnect_grace_usec = NATS_LINK_RECONNECT_GRACE_USEC;
}

static int start_http(App *app, ConfigError *ret_error) {
        const HttpCallbacks callbacks = {
                .page = on_page,
                .metrics = on_metrics,
                .health = on_health,
                .ready = on_ready,
                .trouble = on_http_trouble,
                .userdata = app,
        };
        int r;

        r = edge_start_http(app->daemon, &app->settings.daemon, &callbacks, &app->http, ret_error);
        if (r == 0 && app->http)
                app->options.http_address = http_server_address(app->http);
        return r;
}

static int start_link(App *app, ConfigError *ret_error) {
        const NatsLinkOptions callbacks = {
                .on_up = on_up,
                .on_down = on_down,
                .on_message = on_message,
                .on_turn_end = on_turn_end,
                .on_error = on_link_error,
                .userdata = app,
        };
        const NatsLinkSubscription *subscriptions;
        size_t n;

        subscriptions = dispatcher_subscriptions(app->core, &n);
        return edge_start_link(
                app->daemon, &app->settings.daemon, app->id, &callbacks, subscriptions, n, &app->link, ret_error);
}

/* `ret_error` stays empty where only the errno says why. */
static int start(App *app, ConfigError *ret_error) {
        const DaemonCallbacks callbacks = {
                .on_stop = on_stop,
                .on_abort = on_abort,
                .on_reload = on_reload,
                .on_time = on_time,
                .on_status = on_status,
                .userdata = app,
        };
        int r;

        make_options(app);
        r = daemon_new(&callbacks, &app->daemon);
        if (r == 0)
                r = start_http(app, ret_error); /* nobody is served before the loop runs */
        if (r == 0)
                r = edge_start_tracing(app->daemon, diag_tracing, &app->settings.daemon, &app->names,
                        "compozy-dispatcher", app->id, &app->tracing, ret_error);
        app->options.tracer = trace_exporter_tracer(app->tracing);
        if (r == 0)
                r = dispatcher_new(&app->options, &app->outbox, instant_now(), &app->core);
        if (r < 0)
                return r;

        diag_starting(app->id, app->names.shown_url, edge_http_address(app->http));
        daemon_update_status(app->daemon);
        return start_link(app, ret_error);
}

static int run(const DaemonArguments *arguments) {
        _cleanup_(app_donep) App app = { .arguments = arguments, .armed_usec = USEC_NEVER };
        ConfigError error = {};
        int r;

        outbox_init(&app.outbox);
        log_open("compozy-dispatcherd", LOG_TARGET_AUTO, LOG_INFO);
        r = load_settings(&app, &app.settings, &error);
        if (r == 0 && arguments->check_credentials)
                r = edge_check(&app.settings.daemon, &error);
        if (r != 0) {
                if (log_is_journal() && !arguments->check_config)
                        diag_start_failed(r, error.text);
                else
                        (void)fprintf(stderr, "compozy-dispatcherd: %s\n", error.text);
                return r < 0 ? EXIT_FAILURE : DAEMON_EXIT_CONFIG;
        }
        if (arguments->check_config) {
                (void)printf("compozy-dispatcherd: the configuration is good\n");
                return EXIT_SUCCESS;
        }

        log_open("compozy-dispatcherd", (LogTarget)app.settings.daemon.log_target, (int)app.settings.daemon.log_level);
        log_set_owner("DISPATCHER_ID", app.id);
        r = start(&app, &error);
        if (r != 0) {
                diag_start_failed(r, error.text[0] != '\0' ? error.text : strerror(-r));
                return EXIT_FAILURE;
        }
        return daemon_run(app.daemon);
}

int main(int argc, char **argv) {
        return daemon_main(argc, argv, "Keeps the registry of agent runtimes and routes triggers to them.",
                &dispatcher_config, run);
}
