/* SPDX-License-Identifier: MIT */

/*
 * The loop is run one turn at a time (EVLOOP_ONCE), so that daemon_run() itself sees it come round. A tick once a
 * second bounds how long an idle turn lasts; from there the watchdog is fed: a handler that hangs keeps the tick
 * from coming. The log's limits go by it, too.
 *
 * The core's timer is a timerfd on CLOCK_BOOTTIME, as libevent's own timers stand still while the machine sleeps.
 * Cores arm it each turn, mostly for a later moment than before; then the descriptor is left alone, and when it
 * fires too early it is set again for what is wanted by then. So a system call happens only when the next moment
 * becomes earlier.
 */

#include <fcntl.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"

#define MSG_LIBEVENT "12353d45fba64c55acb6af3a6c94ac83"

#define TICK_USEC USEC_PER_SEC
#define EXTEND_USEC (5 * USEC_PER_SEC) /* asked for with each tick of a stop: a hang is noticed after so long */
#define STATUS_PAUSE_USEC (USEC_PER_SEC / 5)

struct Daemon {
        DaemonCallbacks callbacks;
        struct event_base *base;
        struct event *term_event, *int_event, *hup_event, *timer_event, *tick_event;
        int timer_fd;
        uint64_t wanted_usec; /* of daemon_arm() */
        uint64_t set_usec;    /* what the descriptor is set to: not after wanted_usec */
        uint64_t watchdog_usec, fed_usec;
        uint64_t last_turn_usec;
        uint64_t extend_until_usec; /* 0: no stop, or one that needs no time */
        uint64_t told_usec;         /* when it was sent last */
        Buffer told;                /* as it was sent last */
        bool is_stopping, is_exiting;
        int status;
};

/* command line */

static void print_help(const char *program, const char *summary, const ConfigTable *table) {
        (void)printf(
                "Usage: %s [-c FILE] [-o SECTION.KEY=VALUE]...\n"
                "\n"
                "%s\n"
                "\n"
                "  -c, --config FILE              read FILE, then FILE.d/*.conf in the order of their names; may be\n"
                "                                 repeated; with - before its name, FILE need not be there\n"
                "  -o, --option SECTION.KEY=VALUE set one key; wins over the files, may be repeated\n"
                "      --check-config             read the configuration, report what is wrong, and leave\n"
                "      --check-reload             the same, but for credentials and certificates, which a reload\n"
                "                                 leaves as they are\n"
                "      --version                  print the version\n"
                "  -h, --help                     print this\n"
                "\n"
                "Keys and their defaults; a new value takes effect on SIGHUP, [restart]: with the next start only\n",
                program, summary);
        (void)fflush(stdout);
        config_print_help(table, STDOUT_FILENO);
}

static int add(const char ***list, size_t *n, const char *text) {
        const char **longer = reallocarray(*list, *n + 1, sizeof(*longer));

        if (!longer)
                return -ENOMEM;
        longer[(*n)++] = text;
        *list = longer;
        return 0;
}

static void say_where_help_is(void) {
        (void)fprintf(stderr, "%s --help lists every option and key\n", program_invocation_short_name);
}

static int parse_arguments(
        int argc, char **argv, const char *summary, const ConfigTable *table, DaemonArguments *arguments) {
        enum { CHECK_CONFIG = 256, CHECK_RELOAD, VERSION };
        static const struct option known[] = {
                { "config", required_argument, NULL, 'c' },
                { "option", required_argument, NULL, 'o' },
                { "check-config", no_argument, NULL, CHECK_CONFIG },
                { "check-reload", no_argument, NULL, CHECK_RELOAD },
                { "version", no_argument, NULL, VERSION },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        int c, r;

        optind = 0; /* glibc: start over, so that tests can parse twice */
        while ((c = getopt_long(argc, argv, "c:o:h", known, NULL)) >= 0)
                switch (c) {
                case 'c':
                        r = add(&arguments->files, &arguments->n_files, optarg);
                        if (r < 0)
                                return r;
                        break;
                case 'o':
                        r = add(&arguments->options, &arguments->n_options, optarg);
                        if (r < 0)
                                return r;
                        break;
                case CHECK_CONFIG:
                        arguments->check_config = arguments->check_credentials = true;
                        break;
                case CHECK_RELOAD:
                        arguments->check_config = true;
                        break;
                case VERSION:
                        (void)printf("%s %s\n", program_invocation_short_name, COMPOZY_VERSION);
                        return fflush(stdout) == 0 ? DAEMON_E_EXIT : -EIO;
                case 'h':
                        print_help(program_invocation_short_name, summary, table);
                        return DAEMON_E_EXIT;
                default:
                        /* getopt_long() has said what it does not know. */
                        say_where_help_is();
                        return DAEMON_E_USAGE;
                }
        if (optind < argc) {
                (void)fprintf(stderr, "%s: unexpected argument \"%s\"\n", program_invocation_short_name, argv[optind]);
                say_where_help_is();
                return DAEMON_E_USAGE;
        }
        return 0;
}

int daemon_parse_arguments(int argc, char **argv, const char *summary, const ConfigTable *table, DaemonArguments *ret) {
        DaemonArguments arguments = { 0 };
        int r = parse_arguments(argc, argv, summary, table, &arguments);

        if (r != 0)
                daemon_arguments_done(&arguments);
        else
                *ret = arguments;
        return r;
}

void daemon_arguments_done(DaemonArguments *arguments) {
        free(arguments->files);
        free(arguments->options);
        *arguments = (DaemonArguments){ 0 };
}

const char *daemon_arguments_name(const DaemonArguments *arguments) {
        const char *file = arguments->n_files > 0 ? arguments->files[arguments->n_files - 1] : "the command line";

        return file[0] == '-' ? file + 1 : file;
}

/* Started with one of them closed, the next descriptor takes its number, and log lines go into a socket or worse. */
static void open_standard_streams(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                (void)close(fd);
}

int daemon_main(int argc, char **argv, const char *summary, const ConfigTable *table,
        int (*run)(const DaemonArguments *arguments)) {
        DaemonArguments arguments = { 0 };
        int r, status;

        open_standard_streams();
        /* Before anybody uses libcrypto: a thread that is still connecting when we end (nats_wire.c) may be in the
         * middle of a handshake, and OpenSSL would clean up beneath it. */
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
        r = daemon_parse_arguments(argc, argv, summary, table, &arguments);
        if (r == DAEMON_E_OK)
                status = run(&arguments);
        else
                status = r == DAEMON_E_EXIT ? EXIT_SUCCESS : r == DAEMON_E_USAGE ? 2 : EXIT_FAILURE;
        daemon_arguments_done(&arguments);
        return status;
}

int daemon_load(const DaemonArguments *arguments, const ConfigTable *table, void *ret, ConfigError *ret_error) {
        const int r = config_load_files(
                table, arguments->files, arguments->n_files, arguments->options, arguments->n_options, ret, ret_error);

        if (r < 0)
                (void)snprintf(ret_error->text, sizeof(ret_error->text), "configuration: %s", strerror(-r));
        return r;
}

/* events */

static void on_stop_signal(evutil_socket_t signal_number, short what, void *userdata) {
        Daemon *daemon = userdata;

        (void)signal_number;
        (void)what;

        if (daemon->is_stopping || !daemon->callbacks.on_stop) {
                if (daemon->callbacks.on_abort)
                        daemon->callbacks.on_abort(daemon->callbacks.userdata);
                daemon_exit(daemon, EXIT_FAILURE);
                return;
        }
        daemon->is_stopping = true;
        daemon->callbacks.on_stop(daemon->callbacks.userdata);
}

static void on_reload_signal(evutil_socket_t signal_number, short what, void *userdata) {
        Daemon *daemon = userdata;

        (void)signal_number;
        (void)what;

        if (daemon->callbacks.on_reload && !daemon->is_stopping)
                daemon->callbacks.on_reload(daemon->callbacks.userdata);
}

static void set_timer(Daemon *daemon, uint64_t usec) {
        struct itimerspec at = { 0 };
        int r;

        if (usec != USEC_NEVER) {
                /* zero would disarm it, and a moment long past fires at once as well */
                usec = MAX_OF(usec, UINT64_C(1));
                at.it_value.tv_sec = (time_t)(usec / USEC_PER_SEC);
                at.it_value.tv_nsec = (long)(usec % USEC_PER_SEC * 1000);
        }
        r = timerfd_settime(daemon->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
        assert(r == 0);
        (void)r;
        daemon->set_usec = usec;
}

static void on_timer(evutil_socket_t fd, short what, void *userdata) {
        Daemon *daemon = userdata;
        uint64_t n_expirations;

        (void)what;

        (void)!read(fd, &n_expirations, sizeof(n_expirations));
        daemon->set_usec = USEC_NEVER;
        if (daemon->wanted_usec > instant_now().usec) {
                if (daemon->wanted_usec != USEC_NEVER)
                        set_timer(daemon, daemon->wanted_usec);
                return;
        }
        daemon->wanted_usec = USEC_NEVER;
        if (daemon->callbacks.on_time)
                daemon->callbacks.on_time(daemon->callbacks.userdata);
}

void daemon_arm(Daemon *daemon, uint64_t usec) {
        assert(daemon);

        daemon->wanted_usec = usec;
        if (usec < daemon->set_usec)
                set_timer(daemon, usec);
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Daemon *daemon = userdata;
        const uint64_t now = instant_now().usec;

        (void)fd;
        (void)what;

        log_tick(now);
        if (now < daemon->extend_until_usec)
                (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)EXTEND_USEC);
        daemon_update_status(daemon);
        if (daemon->watchdog_usec == 0 || now - daemon->fed_usec < daemon->watchdog_usec / 2)
                return;
        daemon->fed_usec = now;
        (void)sd_notify(0, "WATCHDOG=1");
}

static void on_libevent_log(int severity, const char *text) {
        if (severity >= EVENT_LOG_WARN)
                log_limited(LOG_WARNING, MSG_LIBEVENT, "warnings of libevent", NO_FIELDS, "libevent: %s", text);
        else
                log_line(LOG_DEBUG, MSG_LIBEVENT, NO_FIELDS, "libevent: %s", text);
}

/* life */

static int add_events(Daemon *daemon) {
        const uint64_t usec = daemon->watchdog_usec > 0 ? MIN_OF(TICK_USEC, daemon->watchdog_usec / 4) : TICK_USEC;
        const struct timeval tick = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_usec = (suseconds_t)(usec % USEC_PER_SEC) };

        daemon->term_event = evsignal_new(daemon->base, SIGTERM, on_stop_signal, daemon);
        daemon->int_event = evsignal_new(daemon->base, SIGINT, on_stop_signal, daemon);
        daemon->hup_event = evsignal_new(daemon->base, SIGHUP, on_reload_signal, daemon);
        daemon->timer_event = event_new(daemon->base, daemon->timer_fd, EV_READ | EV_PERSIST, on_timer, daemon);
        daemon->tick_event = event_new(daemon->base, -1, EV_PERSIST, on_tick, daemon);
        if (!daemon->term_event || !daemon->int_event || !daemon->hup_event || !daemon->timer_event ||
                !daemon->tick_event)
                return -ENOMEM;
        if (event_add(daemon->term_event, NULL) < 0 || event_add(daemon->int_event, NULL) < 0 ||
                event_add(daemon->hup_event, NULL) < 0 || event_add(daemon->timer_event, NULL) < 0 ||
                event_add(daemon->tick_event, &tick) < 0)
                return -ENOMEM;
        return 0;
}

int daemon_new(const DaemonCallbacks *callbacks, Daemon **ret) {
        _cleanup_(daemon_freep) Daemon *daemon = NULL;
        int r;

        assert(callbacks);

        daemon = calloc(1, sizeof(*daemon));
        if (!daemon)
                return -ENOMEM;
        daemon->callbacks = *callbacks;
        daemon->timer_fd = -1;
        daemon->wanted_usec = daemon->set_usec = USEC_NEVER;
        daemon->last_turn_usec = instant_now().usec;
        log_tick(daemon->last_turn_usec);

        (void)signal(SIGPIPE, SIG_IGN);
        event_set_log_callback(on_libevent_log);
        if (sd_watchdog_enabled(0, &daemon->watchdog_usec) <= 0)
                daemon->watchdog_usec = 0;

        daemon->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        if (daemon->timer_fd < 0)
                return -errno;
        daemon->base = event_base_new();
        if (!daemon->base)
                return -ENOMEM;
        r = add_events(daemon);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(daemon);
        return 0;
}

Daemon *daemon_free(Daemon *daemon) {
        if (!daemon)
                return NULL;

        struct event *events[] = {
                daemon->tick_event,
                daemon->timer_event,
                daemon->hup_event,
                daemon->int_event,
                daemon->term_event,
        };

        for (size_t i = 0; i < ELEMENTSOF(events); i++)
                if (events[i])
                        event_free(events[i]);
        if (daemon->base)
                event_base_free(daemon->base);
        if (daemon->timer_fd >= 0)
                (void)close(daemon->timer_fd);
        buffer_done(&daemon->told);
        free(daemon);
        return NULL;
}

struct event_base *daemon_base(Daemon *daemon) {
        return daemon->base;
}

int daemon_run(Daemon *daemon) {
        assert(daemon);

        while (!daemon->is_exiting) {
                daemon->last_turn_usec = instant_now().usec;
                if (event_base_loop(daemon->base, EVLOOP_ONCE) < 0) {
                        daemon_exit(daemon, EXIT_FAILURE);
                        break;
                }
        }
        log_settle();
        return daemon->status;
}

void daemon_exit(Daemon *daemon, int status) {
        daemon->is_exiting = true;
        daemon->status = status;
        (void)event_base_loopbreak(daemon->base);
}

uint64_t daemon_last_turn_usec(const Daemon *daemon) {
        return daemon->last_turn_usec;
}

/* the service manager */

/* Sends `news`, and with it the status if it reads otherwise than the last one. */
static void notify(Daemon *daemon, const char *news) {
        Buffer status = { 0 };

        if (!getenv("NOTIFY_SOCKET"))
                return;
        if (daemon->callbacks.on_status)
                daemon->callbacks.on_status(&status, daemon->callbacks.userdata);
        for (size_t i = 0; i < status.size; i++)
                if (status.data[i] == '\n') /* would begin another assignment */
                        status.data[i] = ' ';

        if (status.size == 0 || slice_equal(buffer_slice(&status), buffer_slice(&daemon->told))) {
                if (news[0] != '\0')
                        (void)sd_notify(0, news);
                buffer_done(&status);
                return;
        }
        (void)sd_notifyf(0, "%sSTATUS=%.*s", news, SLICE_ARG(buffer_slice(&status)));
        buffer_done(&daemon->told);
        daemon->told = status;
        daemon->told_usec = instant_now().usec;
}

void daemon_update_status(Daemon *daemon) {
        if (instant_now().usec - daemon->told_usec >= STATUS_PAUSE_USEC)
                notify(daemon, "");
}

void daemon_notify_ready(Daemon *daemon) {
        notify(daemon, "READY=1\n");
}

void daemon_notify_reloading(Daemon *daemon) {
        struct timespec now = { 0 };

        (void)daemon;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                (unsigned long long)now.tv_sec * USEC_PER_SEC + (unsigned long long)now.tv_nsec / 1000);
}

void daemon_notify_stopping(Daemon *daemon, uint64_t extend_usec) {
        char news[80] = "STOPPING=1\n";

        if (extend_usec > 0) {
                daemon->extend_until_usec = instant_now().usec + extend_usec;
                (void)snprintf(
                        news, sizeof(news), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu\n", (unsigned long long)EXTEND_USEC);
        }
        notify(daemon, news);
}
