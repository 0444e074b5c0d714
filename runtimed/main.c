/* SPDX-License-Identifier: MIT */

/*
 * compozy-runtimed: the edge. Everything that decides is in runtime.c and what it is made of; here are NATS, the worker
 * pool, the clock, files, HTTP, the service manager, and the order of starting and stopping.
 *
 * A turn of the loop is: messages, outcomes or the timer go into the core; then finish_turn() hands its runs to the
 * workers, its words to NATS, and asks it when to come back.
 */

#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/edge.h"
#include "common/link_metrics.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/nats_advice.h"
#include "runtimed/agents_dir.h"
#include "runtimed/diag.h"
#include "runtimed/exec_host.h"
#include "runtimed/host_metrics.h"
#include "runtimed/plugin_host.h"
#include "runtimed/pool.h"
#include "runtimed/runtime.h"
#include "runtimed/settings.h"
#include "runtimed/store.h"

#define WORKERS_TIMEOUT_USEC (2 * USEC_PER_SEC)

/* Ready without a dispatcher after so long: one that starts later calls the roll. */
#define SETTLE_USEC (2 * USEC_PER_SEC)

#define EXIT_REPLACED 3
#define ROUNDS_MAX 16 /* of a turn: agents that keep each other busy may not keep the loop */
#define BEHAVIORS_MAX 16
#define TURN_BYTES UINT64_C(1048576) /* said in a turn: one message on a topic may have 100,000 agents answer it */
#define CONGESTED_PAUSE_USEC (2 * USEC_PER_MSEC) /* until we look again whether NATS has caught up */

typedef struct App {
        const DaemonArguments *arguments;
        RuntimeSettings settings;
        RuntimeOptions options;
        Id id;
        EdgeNames names;
        char ip_address[NI_MAXHOST];

        Daemon *daemon;
        NatsLink *link;
        HttpServer *http;
        Runtime *core;
        TraceExporter *tracing; /* NULL: none */
        AgentsDir *agents_dir;  /* NULL: none configured */
        Pool *pool;
        Store *store; /* NULL: none */
        PluginHost *plugins;
        ExecHost *exec;
        const Behavior *behaviors[BEHAVIORS_MAX]; /* all that can be had; NULL ends the list */
        struct event *outcomes, *stored;
        Outbox outbox, events;
        uint64_t armed_usec;
        uint64_t settle_usec; /* when to be ready without a dispatcher; USEC_NEVER: not connected yet, or ready */
        char trouble[128];    /* the last word about NATS */
        bool is_ready, is_stopping, is_closing, reload_refused;
        int warden_fd; /* until the exec host takes it; -1 */
} App;

/* stopping */

static void on_closed(void *userdata) {
        App *app = userdata;
        size_t n_handed_back, n_cut_short;

        runtime_stop_counts(app->core, &n_handed_back, &n_cut_short);
        diag_stopped(app->id.text, n_handed_back, n_cut_short);
        daemon_exit(app->daemon, runtime_was_replaced(app->core) ? EXIT_REPLACED : EXIT_SUCCESS);
}

static void begin_stop(App *app, Instant now) {
        const uint64_t timeout_usec = app->settings.drain_timeout_ms * USEC_PER_MSEC;
        const size_t n = runtime_n_in_flight(app->core);

        if (app->is_stopping)
                return;

        app->is_stopping = true;
        diag_stopping(app->id.text, n, timeout_usec);
        daemon_notify_stopping(
                app->daemon, timeout_usec + EDGE_CLOSE_TIMEOUT_USEC + WORKERS_TIMEOUT_USEC + TRACE_EXPORT_FLUSH_USEC);
        runtime_stop(app->core, now.usec + timeout_usec, now);
}

/* the end of each turn */

/* Waking a worker and being woken costs more than all that a quick behaviour does. */
static void run_here(App *app, Run *run) {
        Instant now = instant_now();
        Outcome *outcome;
        bool ended;

        do {
                outcome = run_step(run, now.usec);
                ended = run_close(run);
                if (ended)
                        outcome = run_end(run, outcome);
                if (!outcome)
                        continue;

                now = instant_now();
                outcome->finished_usec = now.usec;
                runtime_on_outcome(app->core, outcome, now);
        } while (!ended);
}

/* At half of what the connection bears: what is said before anybody minds must still fit. */
static bool is_congested(const App *app) {
        return nats_link_n_unsent(app->link) > app->settings.daemon.pending_bytes_max / 2;
}

/* Work makes words. What is left has its turn when those are written; a stop waits for nobody who does not read. */
static bool has_room(const App *app) {
        const uint64_t bytes_max = MIN_OF(TURN_BYTES, app->settings.daemon.pending_bytes_max / 4);

        return app->outbox.bytes.size + app->events.bytes.size < bytes_max && (app->is_stopping || !is_congested(app));
}

/* Returns whether something was done here and now, so that there may be more. */
static bool hand_out_work(App *app) {
        Run *first = NULL, *last = NULL, *run;
        StoreRequest *requests;
        bool was_here = false;
        Mail *call;

        while ((call = runtime_take_call(app->core)))
                exec_host_call(app->exec, call);
        while (has_room(app) && (run = runtime_take_run(app->core))) {
                if (app->settings.run_inline && run->behavior->quick) {
                        run_here(app, run);
                        was_here = true;
                        continue;
                }
                if (last)
                        last->next = run;
                else
                        first = run;
                last = run;
        }
        pool_submit(app->pool, first);

        requests = runtime_take_store_requests(app->core);
        if (requests)
                store_submit(app->store, requests);
        return was_here;
}

static void arm(App *app, Instant now) {
        uint64_t next = MIN_OF(runtime_next_deadline(app->core), app->settle_usec);

        if (is_congested(app)) /* nothing tells when it is over, and what waits for that is due all the time */
                next = now.usec + CONGESTED_PAUSE_USEC;
        if (next == app->armed_usec)
                return;
        app->armed_usec = next;
        daemon_arm(app->daemon, next);
}

static void tell_ready(App *app, Instant now) {
        const bool is_registered = runtime_is_registered(app->core);

        if (app->is_ready || app->is_stopping || app->settle_usec == USEC_NEVER)
                return;
        if (!runtime_has_heard(app->core) && now.usec < app->settle_usec)
                return;

        app->is_ready = true;
        app->settle_usec = USEC_NEVER;
        diag_ready(app->id.text, runtime_epoch(app->core), runtime_n_agents(app->core), runtime_n_starting(app->core),
                is_registered, app->http ? http_server_address(app->http) : "none");
        daemon_notify_ready(app->daemon);
}

/* What systemctl status shows. */
static void on_status(Buffer *status, void *userdata) {
        const App *app = userdata;
        const bool is_up = app->link && nats_link_is_up(app->link);

        if (app->is_stopping)
                buffer_printf(status, "Draining");
        else if (!is_up)
                buffer_printf(status, "%s NATS at %s%s%s", app->is_ready ? "Cut off from" : "Connecting to",
                        app->names.shown_url, app->trouble[0] != '\0' ? ": " : "", app->trouble);
        else
                buffer_printf(status, "%s, %s", app->is_ready ? "Ready" : "Connected",
                        runtime_is_registered(app->core) ? "registered" : "no dispatcher has answered");
        buffer_printf(status, "; agents %zu, executions %zu%s", runtime_n_agents(app->core),
                runtime_n_in_flight(app->core), app->reload_refused ? "; the last reload was refused" : "");
}

static void close_when_stopped(App *app) {
        if (!app->is_stopping || app->is_closing || !runtime_is_stopped(app->core))
                return;

        app->is_closing = true;
        nats_link_close(app->link, EDGE_CLOSE_TIMEOUT_USEC, on_closed, app);
}

static void finish_turn(App *app, Instant now) {
        uint64_t n_refused = 0;
        unsigned n = 0;

        do {
                runtime_on_turn_end(app->core, now);
                if (runtime_was_replaced(app->core))
                        begin_stop(app, now);
        } while (hand_out_work(app) && ++n < ROUNDS_MAX);
        runtime_on_turn_end(app->core, now);

        nats_link_publish_outbox(app->link, &app->outbox, &n_refused);
        if (outbox_size(&app->events) > 0) {
                uint64_t n_events_refused = 0;

                /* nats-server parses a whole read before it delivers: answers that share it with events would wait for
                 * them. */
                nats_link_flush(app->link);
                nats_link_publish_outbox(app->link, &app->events, &n_events_refused);
                n_refused += n_events_refused;
        }
        if (n_refused > 0)
                diag_publish_refused(n_refused);
        trace_exporter_turn(app->tracing);
        runtime_set_congested(app->core, is_congested(app), now);
        exec_host_hold(app->exec, is_congested(app) && !app->is_stopping);

        tell_ready(app, now);
        arm(app, now);
        close_when_stopped(app);
}

/* NATS */

static void on_up(uint64_t max_payload, const char *server_version, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        diag_link_up(app->names.shown_url, server_version, max_payload);
        if (!app->is_ready && app->settle_usec == USEC_NEVER)
                app->settle_usec = now.usec + SETTLE_USEC;
        app->trouble[0] = '\0';
        runtime_on_link_up(app->core, max_payload, now);
        finish_turn(app, now);
        daemon_update_status(app->daemon);
}

static void on_down(const char *why, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        if (!app->is_closing)
                diag_link_down(why);
        (void)snprintf(app->trouble, sizeof(app->trouble), "%s", why);
        runtime_on_link_down(app->core, now);
        finish_turn(app, now);
        daemon_update_status(app->daemon);
}

static void on_message(const InMessage *message, Instant now, void *userdata) {
        App *app = userdata;
        const uint64_t n_requests = runtime_n_requests(app->core);

        runtime_on_message(app->core, message, now);
        if (runtime_n_requests(app->core) != n_requests)
                runtime_note_requests(app->core, instant_now().usec - now.usec);
}

static void on_turn_end(void *userdata) {
        finish_turn(userdata, instant_now());
}

static void on_link_error(const char *why, void *userdata) {
        App *app = userdata;
        Slice topic, queue;

        diag_link_error(why);
        if (nats_error_forbids_subscription(why, &topic, &queue))
                runtime_on_subscription_refused(app->core, topic, queue);
        if (!nats_link_is_up(app->link))
                (void)snprintf(app->trouble, sizeof(app->trouble), "%s", why);
}

/* the loop */

static void on_outcomes(evutil_socket_t fd, short what, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();
        Outcome *outcome, *next;

        (void)fd;
        (void)what;

        for (outcome = pool_take(app->pool); outcome; outcome = next) {
                next = outcome->next;
                runtime_on_outcome(app->core, outcome, now);
        }
        finish_turn(app, now);
}

static void on_stored(evutil_socket_t fd, short what, void *userdata) {
        App *app = userdata;
        Instant now = instant_now();
        StoreRequest *request, *next;

        (void)fd;
        (void)what;

        for (request = store_take(app->store); request; request = next) {
                next = request->next;
                runtime_on_stored(app->core, request, now);
        }
        finish_turn(app, now);
}

static void on_exec_outcome(Outcome *outcome, void *userdata) {
        App *app = userdata;

        runtime_on_outcome(app->core, outcome, instant_now());
}

static void on_exec_effects(Agent *agent, uint64_t message_id, EffectList *effects, void *userdata) {
        App *app = userdata;

        runtime_on_effects(app->core, agent, message_id, effects, instant_now());
}

static void on_exec_crash(Agent *agent, const char *why, void *userdata) {
        App *app = userdata;

        runtime_on_crash(app->core, agent, why, instant_now());
}

static void on_exec_turn_end(void *userdata) {
        finish_turn(userdata, instant_now());
}

static void on_time(void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        app->armed_usec = USEC_NEVER;
        runtime_on_time(app->core, now);
        finish_turn(app, now);
}

static void on_stop(void *userdata) {
        App *app = userdata;
        Instant now = instant_now();

        begin_stop(app, now);
        finish_turn(app, now);
}

static void on_abort(void *userdata) {
        const App *app = userdata;

        diag_aborted(app->id.text, runtime_n_in_flight(app->core));
}

/* configuration */

static void reload_agents(App *app, Instant now) {
        AgentsDirCounts counts = {};
        int r = app->agents_dir ? agents_dir_load(app->agents_dir, app->core, now, &counts) : 0;

        if (r < 0)
                diag_agents_dir(app->settings.agents_dir, r);
        diag_reloaded(counts.n_created, counts.n_changed, counts.n_removed, counts.n_refused);
}

static void on_reload(void *userdata) {
        App *app = userdata;
        RuntimeSettings settings = {};
        ConfigError error = {};
        Instant now = instant_now();

        daemon_notify_reloading(app->daemon);
        app->reload_refused = daemon_load(app->arguments, &runtime_config, &settings, &error) != 0;
        if (app->reload_refused) {
                diag_reload_refused(error.text);
        } else {
                RuntimeOptions options = app->options;

                config_report_fixed(&runtime_config, &app->settings, &settings, diag_reload_ignored);
                runtime_settings_apply(&settings, &options);
                runtime_set_options(app->core, &options);
                trace_exporter_set_sample(app->tracing, settings.daemon.trace_sample);
                log_set_level((int)settings.daemon.log_level);
                app->settings.drain_timeout_ms = settings.drain_timeout_ms;
                app->settings.run_inline = settings.run_inline;
                config_clear(&runtime_config, &settings);

                reload_agents(app, now);
        }
        finish_turn(app, now);
        if (app->is_ready)
                daemon_notify_ready(app->daemon);
}

/* What behaviours this process has: those of the list that every core knows, plugins, child processes. */
static void list_behaviors(App *app) {
        size_t n = 0;

        while (behaviors_builtin[n]) {
                app->behaviors[n] = behaviors_builtin[n];
                n++;
        }
        assert(n + 2 < BEHAVIORS_MAX);

        if (app->plugins)
                app->behaviors[n++] = plugin_host_behavior(app->plugins);
        if (app->exec)
                app->behaviors[n++] = exec_host_behavior(app->exec);
        app->options.behaviors = app->behaviors;
}

static int start_exec(App *app, struct event_base *base) {
        const ExecHostCallbacks callbacks = {
                .on_outcome = on_exec_outcome,
                .on_effects = on_exec_effects,
                .on_crash = on_exec_crash,
                .on_turn_end = on_exec_turn_end,
                .userdata = app,
        };

        int r = exec_host_new(base, app->warden_fd, &callbacks, &app->exec);

        if (r == 0)
                app->warden_fd = -1;
        return r;
}

static int check_agents(App *app, size_t *ret_n_good) {
        const char *path = app->settings.agents_dir;
        size_t n_bad = 0;
        int r;

        r = plugin_host_new(app->settings.plugins_dir, &app->plugins);
        if (r == 0)
                r = start_exec(app, /* base= */ NULL);
        if (r == 0) {
                list_behaviors(app);
                r = agents_dir_check(path, app->behaviors, ret_n_good, &n_bad);
        }
        app->exec = exec_host_free(app->exec);
        app->plugins = plugin_host_free(app->plugins);
        if (r < 0) {
                (void)fprintf(stderr, "compozy-runtimed: runtime.agents_dir: %s: %s\n", path, strerror(-r));
                return DAEMON_EXIT_CONFIG;
        }
        if (n_bad > 0) {
                (void)fprintf(stderr, "compozy-runtimed: %zu of %zu agent definitions were refused\n", n_bad,
                        *ret_n_good + n_bad);
                return DAEMON_EXIT_CONFIG;
        }
        return EXIT_SUCCESS;
}

/* The store is not opened: a check touches no state. */
static int check_store(const RuntimeSettings *settings, ConfigError *ret_error) {
        WireError error;

        if (strcmp(settings->state_store, "none") == 0 || store_where_is_valid(settings->state_store, &error))
                return 0;
        (void)snprintf(ret_error->text, sizeof(ret_error->text), "runtime.state_store: %s", error.text);
        return -EINVAL;
}

static int check_configuration(App *app) {
        size_t n_good = 0;
        ConfigError error;

        if ((app->arguments->check_credentials && edge_check(&app->settings.daemon, &error) != 0) ||
                check_store(&app->settings, &error) != 0) {
                (void)fprintf(stderr, "compozy-runtimed: %s\n", error.text);
                return DAEMON_EXIT_CONFIG;
        }
        if (app->settings.agents_dir[0] != '\0' && check_agents(app, &n_good) != EXIT_SUCCESS)
                return DAEMON_EXIT_CONFIG;

        (void)printf("compozy-runtimed: the configuration is good, with %zu agent definitions\n", n_good);
        return EXIT_SUCCESS;
}

/* HTTP */

static void on_metrics(Buffer *buffer, void *userdata) {
        App *app = userdata;

        runtime_metrics(app->core, buffer);
        host_metrics(buffer, app->pool, app->exec, app->store);
        link_metrics(buffer, app->link);
        trace_exporter_metrics(buffer, app->tracing);
        metrics_process(buffer, "compozy-runtimed");
}

static bool on_health(Buffer *reason, void *userdata) {
        const App *app = userdata;

        return edge_is_healthy(app->daemon, reason);
}

static bool on_ready(Buffer *reason, void *userdata) {
        App *app = userdata;
        const bool is_up = nats_link_is_up(app->link), is_registered = runtime_is_registered(app->core);

        buffer_printf(reason, "%s, %s, %zu agent%s%s", is_up ? "connected to NATS" : "not connected to NATS",
                is_registered ? "registered" : "no dispatcher has answered", runtime_n_agents(app->core),
                runtime_n_agents(app->core) == 1 ? "" : "s", app->is_stopping ? ", stopping" : "");
        return is_up && app->is_ready && !app->is_stopping;
}

static void on_page(Buffer *html, Slice query, void *userdata) {
        App *app = userdata;
        _cleanup_(buffer_done) Buffer reason = {};
        const bool is_ready = on_ready(&reason, app);

        runtime_page(app->core,
                (PageHead){ .is_ready = is_ready, .reason = buffer_slice(&reason), .url = app->names.shown_url }, query,
                html, instant_now());
        host_page(html, app->pool, app->exec, app->store, app->settings.state_store);
        page_link(html, app->link, app->names.shown_url);
        page_end(html);
}

static void on_http_trouble(const char *why, void *userdata) {
        (void)userdata;

        diag_http_trouble(why);
}

/* starting */

/* The first address that others could reach; for people to read, nothing connects to it. */
static void find_address(char *ret, size_t size) {
        struct ifaddrs *all = NULL;

        (void)snprintf(ret, size, "127.0.0.1");
        if (getifaddrs(&all) < 0)
                return;

        for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
                char text[NI_MAXHOST];

                if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET)
                        continue;
                if (getnameinfo(one->ifa_addr, sizeof(struct sockaddr_in), text, sizeof(text), NULL, 0,
                            NI_NUMERICHOST) != 0)
                        continue;
                if (strncmp(text, "127.", 4) == 0)
                        continue;
                (void)snprintf(ret, size, "%s", text);
                break;
        }
        freeifaddrs(all);
}

static void make_options(App *app, Instant now) {
        edge_names(&app->settings.daemon, &app->names);
        find_address(app->ip_address, sizeof(app->ip_address));
        if (app->settings.id[0] != '\0')
                app->id = id_of(slice_of(app->settings.id));
        else
                runtime_id_from_host(app->names.hostname, &app->id);
        edge_inbox(&app->settings.daemon, "runtime", app->id.text, &app->names);

        runtime_settings_apply(&app->settings, &app->options);
        app->options.id = app->id.text;
        app->options.inbox_prefix = app->names.inbox_prefix;
        app->options.hostname = app->names.hostname;
        app->options.ip_address = app->ip_address;
        app->options.version = COMPOZY_VERSION;
        app->options.pid = (uint64_t)getpid();
        app->options.epoch = now.real_usec / 1000;
        app->options.random_seed = app->names.random_seed;
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

static int start_pool(App *app) {
        long n = (long)app->settings.workers;
        int r;

        if (n == 0)
                n = sysconf(_SC_NPROCESSORS_ONLN);
        r = pool_new((size_t)MIN_OF(MAX_OF(n, 1L), (long)POOL_WORKERS_MAX), &app->pool);
        if (r < 0)
                return r;

        app->outcomes = event_new(daemon_base(app->daemon), pool_fd(app->pool), EV_READ | EV_PERSIST, on_outcomes, app);
        return app->outcomes && event_add(app->outcomes, NULL) == 0 ? 0 : -ENOMEM;
}

static int start_store(App *app, ConfigError *ret_error) {
        WireError error = {};
        int r;

        if (strcmp(app->settings.state_store, "none") == 0)
                return 0;

        r = store_new(app->settings.state_store, &app->store, &error);
        if (r < 0) {
                (void)snprintf(ret_error->text, sizeof(ret_error->text), "runtime.state_store: %s",
                        error.text[0] != '\0' ? error.text : strerror(-r));
                return r;
        }

        app->stored = event_new(daemon_base(app->daemon), store_fd(app->store), EV_READ | EV_PERSIST, on_stored, app);
        return app->stored && event_add(app->stored, NULL) == 0 ? 0 : -ENOMEM;
}

/* A file that can't be used costs its agent only; a directory that can't be read costs all of them, so it ends the
 * start. */
static int start_agents(App *app, Instant now, ConfigError *ret_error) {
        const char *path = app->settings.agents_dir;
        AgentsDirCounts counts;
        int r;

        if (path[0] == '\0')
                return 0;

        r = agents_dir_new(path, app->behaviors, &app->agents_dir);
        if (r == 0)
                r = agents_dir_load(app->agents_dir, app->core, now, &counts);
        if (r < 0)
                (void)snprintf(
                        ret_error->text, sizeof(ret_error->text), "runtime.agents_dir: %s: %s", path, strerror(-r));
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

        subscriptions = runtime_subscriptions(app->core, &n);
        return edge_start_link(
                app->daemon, &app->settings.daemon, app->id.text, &callbacks, subscriptions, n, &app->link, ret_error);
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
        const Instant now = instant_now();
        int r;

        make_options(app, now);
        r = daemon_new(&callbacks, &app->daemon);
        if (r == 0)
                r = start_http(app, ret_error);
        if (r == 0)
                r = edge_start_tracing(app->daemon, diag_tracing, &app->settings.daemon, &app->names, "compozy-runtime",
                        app->id.text, &app->tracing, ret_error);
        app->options.tracer = trace_exporter_tracer(app->tracing);
        if (r == 0)
                r = plugin_host_new(app->settings.plugins_dir, &app->plugins);
        if (r == 0)
                r = start_exec(app, daemon_base(app->daemon));
        if (r == 0) {
                list_behaviors(app);
                r = runtime_new(&app->options, &app->outbox, now, &app->core);
        }
        if (r == 0)
                r = start_store(app, ret_error);
        if (r == 0)
                r = start_pool(app);
        if (r < 0)
                return r;

        diag_starting(app->id.text, app->names.shown_url, edge_http_address(app->http));
        r = start_agents(app, now, ret_error);
        if (r < 0)
                return r;
        daemon_update_status(app->daemon);
        return start_link(app, ret_error);
}

/*
 * The workers end. What they have not begun is played to its end here, so that every stop hook runs: all of it was
 * called off by the stop. After an abort nothing was called off, and nobody waits for it.
 */
static bool stop_workers(App *app) {
        const Instant now = instant_now();
        Outcome *outcome, *next;
        Run *run;

        if (!app->pool)
                return true;
        if (!pool_stop(app->pool, WORKERS_TIMEOUT_USEC))
                return false;

        for (outcome = pool_take(app->pool); outcome; outcome = next) {
                next = outcome->next;
                runtime_on_outcome(app->core, outcome, now);
        }
        while ((run = pool_take_unstarted(app->pool))) {
                run_abandon(run);
                runtime_on_outcome(app->core, run_end(run, NULL), now);
        }
        runtime_on_turn_end(app->core, now);
        return true;
}

static void app_done(App *app) {
        if (app->outcomes)
                event_free(app->outcomes);
        app->agents_dir = agents_dir_free(app->agents_dir);
        app->http = http_server_free(app->http);
        app->link = nats_link_free(app->link);
        app->pool = pool_free(app->pool);
        if (app->stored)
                event_free(app->stored);
        app->exec = exec_host_free(app->exec);
        app->store = store_free(app->store);
        app->core = runtime_free(app->core);
        app->tracing = trace_exporter_free(app->tracing); /* with what is left to tell */
        app->plugins = plugin_host_free(app->plugins);
        if (app->warden_fd >= 0)
                (void)close(app->warden_fd);
        app->daemon = daemon_free(app->daemon);
        outbox_done(&app->outbox);
        outbox_done(&app->events);
        config_clear(&runtime_config, &app->settings);
}

/* Each child process takes four descriptors, and nothing here goes by their numbers. What the hard limit allows is the
 * operator's say; children get what their definition says. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(const DaemonArguments *arguments) {
        App app = { .arguments = arguments, .armed_usec = USEC_NEVER, .settle_usec = USEC_NEVER, .warden_fd = -1 };
        ConfigError error = {};
        int r, status;

        outbox_init(&app.outbox);
        outbox_init(&app.events);
        app.options.late_outbox = &app.events;
        log_open("compozy-runtimed", LOG_TARGET_AUTO, LOG_INFO);
        r = daemon_load(arguments, &runtime_config, &app.settings, &error);
        if (r != 0) {
                if (log_is_journal() && !arguments->check_config)
                        diag_start_failed(r, error.text);
                else
                        (void)fprintf(stderr, "compozy-runtimed: %s\n", error.text);
                return DAEMON_EXIT_CONFIG;
        }
        if (arguments->check_config) {
                status = check_configuration(&app);
                config_clear(&runtime_config, &app.settings);
                return status;
        }

        app.warden_fd = exec_warden_start(); /* while there is one thread only */
        if (app.warden_fd < 0) {
                (void)fprintf(stderr, "compozy-runtimed: the warden of child processes could not be started: %s\n",
                        strerror(-app.warden_fd));
                return EXIT_FAILURE;
        }
        raise_descriptor_limit();
        log_open("compozy-runtimed", (LogTarget)app.settings.daemon.log_target, (int)app.settings.daemon.log_level);
        log_set_owner("RUNTIME_ID", app.id.text);
        r = start(&app, &error);
        if (r != 0)
                diag_start_failed(r, error.text[0] != '\0' ? error.text : strerror(-r));
        status = r == 0 ? daemon_run(app.daemon) : EXIT_FAILURE;

        if (!stop_workers(&app)) {
                diag_workers_stuck();
                _exit(status);
        }
        app_done(&app);
        return status;
}

int main(int argc, char **argv) {
        return daemon_main(argc, argv, "Hosts agents and runs what dispatchers send them.", &runtime_config, run);
}
