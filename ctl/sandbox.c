/* SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "ctl/child.h"
#include "ctl/sandbox.h"

#define RESTART_USEC (1 * USEC_PER_SEC)
#define HOPELESS_USEC (1 * USEC_PER_SEC) /* what ends so soon after its first start will not get better */
#define RESTARTS_MAX 5
#define RESTART_WINDOW (30 * USEC_PER_SEC)
#define STOP_USEC (20 * USEC_PER_SEC) /* longer than a runtime's drain here; then it is killed */
#define ARGUMENTS_MAX (2 * (2 * TEXT_LIST_MAX + 16))

/* in the order in which they start; they end in the other */
typedef enum Tier {
        TIER_SERVER,
        TIER_DISPATCHER,
        TIER_RUNTIME,
        _TIER_MAX,
} Tier;

typedef struct Service {
        Sandbox *sandbox;
        char name[8];
        Tier tier;
        Child child;
        uint64_t start_usec;             /* when it is to be started; USEC_NEVER: it runs, or nobody wants it */
        uint64_t started_usec;           /* the first time */
        uint64_t restarts[RESTARTS_MAX]; /* when; a ring */
        size_t n_restarts;
        bool is_restarting; /* it was told to end, to be started again */
} Service;

struct Sandbox {
        const SandboxOptions *options;
        LogView *log;
        Service services[SANDBOX_FDS_MAX];
        size_t n_services;
        unsigned port, n_crashes;
        char url[64];
        char failure[512];
        bool is_stopping;
        Tier stopping;      /* who was asked to end last */
        uint64_t kill_usec; /* when patience with them ends */
};

int sandbox_new(const SandboxOptions *options, LogView *log, Sandbox **ret) {
        Sandbox *sandbox = calloc(1, sizeof(*sandbox));

        assert(options->n_runtimes <= SANDBOX_RUNTIMES_MAX);
        if (!sandbox)
                return -ENOMEM;
        sandbox->options = options;
        sandbox->log = log;
        sandbox->port = options->port;
        sandbox->n_services = options->n_runtimes + 2;
        for (size_t i = 0; i < sandbox->n_services; i++) {
                Service *service = &sandbox->services[i];

                *service = (Service){
                        .sandbox = sandbox,
                        .tier = MIN_OF((Tier)i, TIER_RUNTIME),
                        .child = CHILD_NONE,
                        .start_usec = i == TIER_SERVER ? 0 : USEC_NEVER, /* the others wait for its port */
                };
                if (service->tier == TIER_RUNTIME)
                        (void)snprintf(service->name, sizeof(service->name), "r%u", (unsigned)(i - 1) % 100);
                else
                        (void)snprintf(service->name, sizeof(service->name), "%s", i == TIER_SERVER ? "nats" : "d1");
        }
        *ret = sandbox;
        return 0;
}

Sandbox *sandbox_free(Sandbox *sandbox) {
        if (!sandbox)
                return NULL;
        sandbox_kill(sandbox);
        for (size_t i = 0; i < sandbox->n_services; i++) {
                Child *child = &sandbox->services[i].child;
                int status;

                if (child->pid > 0)
                        (void)waitpid(child->pid, &status, 0);
                child_read(child, NULL, NULL);
        }
        free(sandbox);
        return NULL;
}

size_t sandbox_fds(const Sandbox *sandbox, struct pollfd *ret) {
        size_t n = 0;

        for (size_t i = 0; i < sandbox->n_services; i++)
                if (sandbox->services[i].child.output >= 0)
                        ret[n++] = (struct pollfd){ .fd = sandbox->services[i].child.output, .events = POLLIN };
        return n;
}

const char *sandbox_url(const Sandbox *sandbox) {
        return sandbox->url[0] != '\0' ? sandbox->url : NULL;
}

const char *sandbox_failure(const Sandbox *sandbox) {
        return sandbox->failure[0] != '\0' ? sandbox->failure : NULL;
}

unsigned sandbox_n_crashes(const Sandbox *sandbox) {
        return sandbox->n_crashes;
}

/* command lines */

typedef struct Line {
        const char *arguments[ARGUMENTS_MAX + 1];
        size_t n_arguments;
        char texts[12][4200]; /* those that are made */
        size_t n_texts;
} Line;

static void add(Line *line, const char *text) {
        assert(line->n_arguments < ARGUMENTS_MAX);
        line->arguments[line->n_arguments++] = text;
}

static void add_made(Line *line, const char *format, ...) _printf_(2, 3);

static void add_made(Line *line, const char *format, ...) {
        va_list arguments;

        assert(line->n_texts < ELEMENTSOF(line->texts));
        va_start(arguments, format);
        (void)vsnprintf(line->texts[line->n_texts], sizeof(line->texts[0]), format, arguments);
        va_end(arguments);
        add(line, line->texts[line->n_texts++]);
}

#define ADD_SETTING(line, ...)                 \
        do {                                   \
                add((line), "-o");             \
                add_made((line), __VA_ARGS__); \
        } while (false)

static void add_server(const Sandbox *sandbox, Line *line) {
        const char *dir = sandbox->options->state_dir;

        add(line, sandbox->options->nats_server);
        add(line, "-a");
        add(line, "127.0.0.1");
        add(line, "-p");
        if (sandbox->port > 0)
                add_made(line, "%u", sandbox->port);
        else
                add(line, "-1");
        add(line, "--ports_file_dir");
        add(line, dir);
        add(line, "-js");
        add(line, "-sd");
        add_made(line, "%s/nats", dir);
}

static void add_daemon(const Sandbox *sandbox, const Service *service, Line *line) {
        const SandboxOptions *options = sandbox->options;
        const bool is_runtime = service->tier == TIER_RUNTIME;
        const TextList *settings = is_runtime ? &options->runtime_options : &options->dispatcher_options;

        add(line, is_runtime ? options->runtimed : options->dispatcherd);
        ADD_SETTING(line, "log.target=stderr");
        ADD_SETTING(line, "log.level=%s", options->log_level);
        ADD_SETTING(line, "http.listen=127.0.0.1:0");
        if (is_runtime) {
                ADD_SETTING(line, "runtime.id=%s", service->name);
                ADD_SETTING(line, "runtime.agents_dir=%s", options->agents_dir);
                ADD_SETTING(line, "runtime.state_store=sqlite:%s/%s.sqlite", options->state_dir, service->name);
                ADD_SETTING(line, "runtime.drain_timeout_ms=10000");
                if (options->plugins_dir)
                        ADD_SETTING(line, "runtime.plugins_dir=%s", options->plugins_dir);
        } else {
                ADD_SETTING(line, "dispatcher.id=%s", service->name);
        }
        for (size_t i = 0; i < settings->n_items; i++) {
                add(line, "-o");
                add(line, settings->items[i]);
        }
        ADD_SETTING(line, "nats.url=%s", sandbox->url);
}

static void fail(Sandbox *sandbox, const char *format, ...) _printf_(2, 3);

static void fail(Sandbox *sandbox, const char *format, ...) {
        va_list arguments;

        if (sandbox->failure[0] != '\0')
                return;
        va_start(arguments, format);
        (void)vsnprintf(sandbox->failure, sizeof(sandbox->failure), format, arguments);
        va_end(arguments);
}

static void start(Sandbox *sandbox, Service *service, uint64_t now_usec) {
        /* what is for us is not for them: a supervisor's socket, a server that somebody meant compozyctl to use */
        static const char *const environment[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "NATS_URL", NULL };
        Line *line = calloc(1, sizeof(*line));
        int r;

        service->start_usec = USEC_NEVER;
        if (service->started_usec == 0)
                service->started_usec = now_usec;
        if (!line) {
                fail(sandbox, "out of memory");
                return;
        }
        if (service->tier == TIER_SERVER)
                add_server(sandbox, line);
        else
                add_daemon(sandbox, service, line);
        r = child_start(&service->child, &(ChildOptions){
                                                 .arguments = line->arguments,
                                                 .environment = environment,
                                                 .death_signal = SIGKILL,
                                                 .is_daemon = true,
                                         });
        if (r < 0)
                fail(sandbox, "%s could not be started: %s", line->arguments[0], strerror(-r));
        free(line);
}

/* the server's port */

static bool read_port_file(const char *path, unsigned *ret) {
        json_t *root = json_load_file(path, 0, NULL);
        const char *url = json_string_value(json_array_get(json_object_get(root, "nats"), 0));
        const char *colon = url ? strrchr(url, ':') : NULL;

        *ret = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
        json_decref(root);
        return *ret > 0;
}

/* The server writes <its name>_<pid>.ports once it listens. */
static void look_for_port(Sandbox *sandbox) {
        const Service *server = &sandbox->services[TIER_SERVER];
        DIR *directory = opendir(sandbox->options->state_dir);
        struct dirent *entry;
        char wanted[32], path[4200];
        unsigned port;

        (void)snprintf(wanted, sizeof(wanted), "_%d.ports", (int)server->child.pid);
        while (directory && server->child.pid > 0 && (entry = readdir(directory)) != NULL) {
                const size_t size = strlen(entry->d_name);

                if (size < strlen(wanted) || strcmp(entry->d_name + size - strlen(wanted), wanted) != 0)
                        continue;
                (void)snprintf(path, sizeof(path), "%.3900s/%.255s", sandbox->options->state_dir, entry->d_name);
                if (!read_port_file(path, &port))
                        continue;
                sandbox->port = port;
                (void)snprintf(sandbox->url, sizeof(sandbox->url), "nats://127.0.0.1:%u", port);
                for (size_t i = TIER_DISPATCHER; i < sandbox->n_services; i++)
                        sandbox->services[i].start_usec = 0;
        }
        if (directory)
                (void)closedir(directory);
}

/* ends, wanted and unwanted */

static void on_line(const char *line, void *userdata) {
        Service *service = userdata;

        log_view_line(service->sandbox->log, service->name, (size_t)(service - service->sandbox->services), line);
}

/* Too often within the window? Otherwise it is noted. */
static bool restarts_too_often(Service *service, uint64_t now_usec) {
        uint64_t *oldest = &service->restarts[service->n_restarts % RESTARTS_MAX];

        if (service->n_restarts >= RESTARTS_MAX && now_usec - *oldest < RESTART_WINDOW)
                return true;
        *oldest = now_usec;
        service->n_restarts++;
        return false;
}

static void on_end(Sandbox *sandbox, Service *service, int status, uint64_t now_usec) {
        char how[64], line[160];

        if (sandbox->is_stopping)
                return;
        if (service->is_restarting) {
                service->is_restarting = false;
                service->start_usec = now_usec;
                return;
        }
        sandbox->n_crashes++;
        (void)child_show_status(how, sizeof(how), status);
        if (service->tier == TIER_SERVER && !sandbox->url[0]) {
                fail(sandbox, "nats-server %s before it listened", how);
        } else if (WIFEXITED(status) && now_usec - service->started_usec < HOPELESS_USEC) {
                fail(sandbox, "%s %s as soon as it was started", service->name, how);
        } else if (restarts_too_often(service, now_usec)) {
                fail(sandbox, "%s %s, for the %dth time in %d s", service->name, how, RESTARTS_MAX + 1,
                        (int)(RESTART_WINDOW / USEC_PER_SEC));
        } else {
                (void)snprintf(line, sizeof(line), "(%s %s; it is started again in a second)", service->name, how);
                on_line(line, service);
                service->start_usec = now_usec + RESTART_USEC;
        }
}

static bool any_runs(const Sandbox *sandbox, Tier tier) {
        for (size_t i = 0; i < sandbox->n_services; i++)
                if (sandbox->services[i].tier == tier && sandbox->services[i].child.pid > 0)
                        return true;
        return false;
}

static void signal_tier(Sandbox *sandbox, Tier tier, int signal_number) {
        for (size_t i = 0; i < sandbox->n_services; i++)
                if (sandbox->services[i].tier == tier)
                        child_signal(&sandbox->services[i].child, signal_number);
}

static void go_on_stopping(Sandbox *sandbox, uint64_t now_usec) {
        if (now_usec >= sandbox->kill_usec)
                signal_tier(sandbox, sandbox->stopping, SIGKILL);
        while (sandbox->stopping > TIER_SERVER && !any_runs(sandbox, sandbox->stopping)) {
                sandbox->stopping--;
                sandbox->kill_usec = now_usec + STOP_USEC;
                signal_tier(sandbox, sandbox->stopping, SIGTERM);
        }
}

void sandbox_turn(Sandbox *sandbox, uint64_t now_usec) {
        for (size_t i = 0; i < sandbox->n_services; i++) {
                Service *service = &sandbox->services[i];
                int status;

                child_read(&service->child, on_line, service);
                if (child_reap(&service->child, on_line, service, &status))
                        on_end(sandbox, service, status, now_usec);
                if (!sandbox->is_stopping && service->child.pid == 0 && service->start_usec <= now_usec)
                        start(sandbox, service, now_usec);
        }
        if (sandbox->is_stopping)
                go_on_stopping(sandbox, now_usec);
        else if (!sandbox->url[0])
                look_for_port(sandbox);
}

void sandbox_reload(Sandbox *sandbox) {
        signal_tier(sandbox, TIER_RUNTIME, SIGHUP);
}

void sandbox_restart_runtimes(Sandbox *sandbox) {
        for (size_t i = 0; i < sandbox->n_services; i++)
                if (sandbox->services[i].tier == TIER_RUNTIME && sandbox->services[i].child.pid > 0)
                        sandbox->services[i].is_restarting = true;
        signal_tier(sandbox, TIER_RUNTIME, SIGTERM);
}

void sandbox_stop(Sandbox *sandbox) {
        if (sandbox->is_stopping)
                return;
        sandbox->is_stopping = true;
        sandbox->stopping = TIER_RUNTIME;
        sandbox->kill_usec = instant_now().usec + STOP_USEC;
        signal_tier(sandbox, TIER_RUNTIME, SIGTERM);
}

bool sandbox_is_over(const Sandbox *sandbox) {
        return !any_runs(sandbox, TIER_RUNTIME) && !any_runs(sandbox, TIER_DISPATCHER) &&
               !any_runs(sandbox, TIER_SERVER);
}

void sandbox_kill(Sandbox *sandbox) {
        sandbox->is_stopping = true;
        for (Tier tier = TIER_SERVER; tier < _TIER_MAX; tier++)
                signal_tier(sandbox, tier, SIGKILL);
}
