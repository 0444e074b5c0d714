/* SPDX-License-Identifier: MIT */

/*
 * One loop: signals come through a descriptor, what the children write through pipes, changes of files through inotify.
 * Until all are ready the daemons are asked every 100 ms how far they are; after that nothing is asked.
 */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/child.h"
#include "ctl/commands.h"
#include "ctl/context.h"
#include "ctl/fields.h"
#include "ctl/programs.h"
#include "ctl/sandbox.h"
#include "ctl/watch.h"

#define TURN_MSEC 100
#define QUESTION_USEC (200 * USEC_PER_MSEC)
#define PROGRAMS_USEC (500 * USEC_PER_MSEC) /* how often programs of agents are looked at */
#define RESTART_USEC (3 * USEC_PER_SEC)     /* how long it is waited for an agent that starts again */
#define STARTING_USEC (10 * USEC_PER_SEC)   /* how long agents may hold up the rest */
#define READY_USEC (30 * USEC_PER_SEC)
#define NAMES_SHOWN 8
#define AGENTS_LOOKED_AT 1000 /* for one to suggest */

typedef struct Options {
        uint64_t n_runtimes, port;
        const char *state, *plugins, *nats_server, *level;
        unsigned logs;
        TextList dispatcher_options, runtime_options;
} Options;

static const char *const log_choices[] = { "auto", "all", "none", NULL };

static const Option options[] = {
        { .name = "runtimes",
                .letter = 'n',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, n_runtimes),
                .value = "N",
                .help = "How many runtimes, each with all agents",
                .fallback = "1",
                .min = 1,
                .max = SANDBOX_RUNTIMES_MAX },
        { .name = "port",
                .letter = 'p',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, port),
                .value = "PORT",
                .help = "Of nats-server, on 127.0.0.1; 0: any free one",
                .fallback = "0",
                .max = 65535 },
        { .name = "state",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, state),
                .value = "DIR",
                .help = "Keep streams and agents' states there, instead of forgetting them at the end",
                .words = WORD_DIRECTORY },
        { .name = "plugins",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, plugins),
                .value = "DIR",
                .help = "Where plugins (NAME.so) are; default: DIRECTORY/plugins, if it is there",
                .words = WORD_DIRECTORY },
        { .name = "runtime-option",
                .kind = OPTION_LIST,
                .offset = offsetof(Options, runtime_options),
                .value = "KEY=VALUE",
                .help = "A setting of the runtimes; may be given again" },
        { .name = "dispatcher-option",
                .kind = OPTION_LIST,
                .offset = offsetof(Options, dispatcher_options),
                .value = "KEY=VALUE",
                .help = "A setting of the dispatcher; may be given again" },
        { .name = "log-level",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, level),
                .value = "LEVEL",
                .help = "log.level of both",
                .fallback = "info" },
        { .name = "logs",
                .kind = OPTION_CHOICE,
                .offset = offsetof(Options, logs),
                .value = "WHICH",
                .help = "Logs to show on stderr; auto leaves out what nats-server says when all is well, and shows "
                        "errors only of a sandbox that runs a COMMAND",
                .fallback = "auto",
                .choices = log_choices },
        { .name = "nats-server",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, nats_server),
                .value = "PROGRAM",
                .help = "Default: of PATH, or /usr/sbin/nats-server",
                .words = WORD_FILE },
        {},
};

static const Argument arguments[] = {
        { .name = "DIRECTORY",
                .help = "Of definitions (*.json), or with an agents.d; default: ./agents.d",
                .words = WORD_DIRECTORY,
                .is_optional = true },
        { .name = "COMMAND",
                .help = "Behind \"--\": what to run in the sandbox, with its words",
                .is_optional = true,
                .is_repeated = true },
        {},
};

typedef struct Up {
        Ctl *ctl;
        const Options *wanted;
        const char *const *command; /* its words; NULL: none */
        SandboxOptions sandbox_options;
        char nats_server[4096], dispatcherd[4096], runtimed[4096], agents_dir[4096], plugins_dir[4200], state_dir[4096];
        bool is_temporary, is_ready, is_stopping, is_plugin_changed;
        int state_lock, signals;
        Screen log_screen;
        LogView *log;
        Sandbox *sandbox;
        Watch watch;
        Programs *programs;
        uint64_t look_usec; /* when programs are looked at again */
        Child child;        /* the command */
        CtlExit status;
        uint64_t started_usec, known_usec; /* the latter: when the dispatcher knew all runtimes */
} Up;

/* what is needed, and where it is */

static CtlExit find_programs(Up *up) {
        const struct {
                const char *name, *also, *hint;
                bool beside;
                char *path;
        } programs[] = {
                { up->wanted->nats_server ? up->wanted->nats_server : "nats-server", "/usr/sbin",
                        "`apt install nats-server` installs it (and starts one as a service, which a sandbox does not "
                        "need), or name yours with --nats-server",
                        false, up->nats_server },
                { "compozy-dispatcherd", NULL, "it belongs beside compozyctl, or into PATH", true, up->dispatcherd },
                { "compozy-runtimed", NULL, "it belongs beside compozyctl, or into PATH", true, up->runtimed },
        };

        for (size_t i = 0; i < ELEMENTSOF(programs); i++)
                if (program_find(programs[i].name, programs[i].beside, programs[i].also, programs[i].path,
                            sizeof(up->nats_server)) < 0)
                        return ctl_fail(
                                up->ctl, CTL_EXIT_FAILURE, "%s was not found: %s", programs[i].name, programs[i].hint);
        return CTL_EXIT_OK;
}

static bool is_directory(const char *path) {
        struct stat about;

        return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* DIRECTORY itself, or its agents.d. */
static CtlExit find_agents(Up *up, const char *directory) {
        const char *base = directory ? directory : ".";

        if (directory && !is_directory(directory))
                return ctl_fail(up->ctl, CTL_EXIT_USAGE, "%s: %s", directory,
                        access(directory, F_OK) == 0 ? "that is no directory" : strerror(errno));
        (void)snprintf(up->agents_dir, sizeof(up->agents_dir), "%.4000s/agents.d", base);
        if (!is_directory(up->agents_dir) && !directory)
                return ctl_fail(up->ctl, CTL_EXIT_USAGE,
                        "there is no ./agents.d here: name a directory of definitions, or begin with one: mkdir "
                        "agents.d && echo '{\"agent_id\":\"hello\",\"agent_type\":\"echo\"}' >agents.d/hello.json");
        if (!is_directory(up->agents_dir))
                (void)snprintf(up->agents_dir, sizeof(up->agents_dir), "%.4000s", base);
        (void)snprintf(up->plugins_dir, sizeof(up->plugins_dir), "%.4000s/plugins", base);
        if (up->wanted->plugins)
                (void)snprintf(up->plugins_dir, sizeof(up->plugins_dir), "%.4000s", up->wanted->plugins);
        if (!is_directory(up->plugins_dir) && up->wanted->plugins)
                return ctl_fail(up->ctl, CTL_EXIT_USAGE, "--plugins: %s is no directory", up->wanted->plugins);
        return CTL_EXIT_OK;
}

static CtlExit make_state_dir(Up *up) {
        const char *temporary = getenv("TMPDIR");
        char path[4200];

        if (up->wanted->state) {
                (void)snprintf(up->state_dir, sizeof(up->state_dir), "%.4000s", up->wanted->state);
                if (mkdir(up->state_dir, 0700) < 0 && errno != EEXIST)
                        return ctl_fail(up->ctl, CTL_EXIT_FAILURE, "--state %s: %s", up->state_dir, strerror(errno));
        } else {
                (void)snprintf(up->state_dir, sizeof(up->state_dir), "%.4000s/compozy-up-XXXXXX",
                        temporary && temporary[0] == '/' ? temporary : "/tmp");
                if (!mkdtemp(up->state_dir))
                        return ctl_fail(up->ctl, CTL_EXIT_FAILURE, "%s: %s", up->state_dir, strerror(errno));
                up->is_temporary = true;
        }
        (void)snprintf(path, sizeof(path), "%s/lock", up->state_dir);
        up->state_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (up->state_lock < 0)
                return ctl_fail(up->ctl, CTL_EXIT_FAILURE, "%s: %s", path, strerror(errno));
        if (flock(up->state_lock, LOCK_EX | LOCK_NB) < 0)
                return ctl_fail(up->ctl, CTL_EXIT_FAILURE, "--state %s: another sandbox is using it", up->state_dir);
        return CTL_EXIT_OK;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *place) {
        (void)about;
        (void)kind;
        (void)place;
        (void)remove(path);
        return 0;
}

static CtlExit prepare(Up *up, const Invocation *invocation) {
        const GlobalOptions *global = &up->ctl->global;
        const size_t n_command = invocation->n_behind_dashes;
        size_t n = 0;
        CtlExit status;

        while (n < invocation->n_words && invocation->words[n])
                n++;
        if (global->server || global->context || global->settings.n_items > 0)
                return ctl_fail(up->ctl, CTL_EXIT_USAGE,
                        "up makes a server of its own: --server, --context and --option have no meaning here");
        if (n > n_command + 1)
                return ctl_fail(up->ctl, CTL_EXIT_USAGE,
                        "up takes one directory; a command stands behind \"--\": compozyctl up %s -- %s ...",
                        invocation->words[0], invocation->words[1]);
        up->command = n_command > 0 ? invocation->words + (n - n_command) : NULL;
        status = find_programs(up);
        if (status == CTL_EXIT_OK)
                status = find_agents(up, n > n_command ? invocation->words[0] : NULL);
        return status == CTL_EXIT_OK ? make_state_dir(up) : status;
}

/* signals */

static int block_signals(void) {
        sigset_t ours;

        (void)sigemptyset(&ours);
        (void)sigaddset(&ours, SIGINT);
        (void)sigaddset(&ours, SIGTERM);
        (void)sigaddset(&ours, SIGHUP);
        (void)sigaddset(&ours, SIGCHLD);
        (void)sigaddset(&ours, SIGPIPE); /* `up | head` ends in order too */
        (void)sigprocmask(SIG_BLOCK, &ours, NULL);
        return signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void stop(Up *up, CtlExit status) {
        if (up->is_stopping)
                return;
        up->is_stopping = true;
        up->status = status;
        sandbox_stop(up->sandbox);
}

/* A command has the terminal: it hears of Ctrl-C itself, and decides. */
static void on_interrupt(Up *up, const struct signalfd_siginfo *info) {
        if (up->child.pid > 0) {
                if (info->ssi_code != SI_KERNEL) /* not from the terminal, so nobody told it */
                        child_signal(&up->child, SIGINT);
        } else if (up->is_stopping) {
                ctl_note(up->ctl, "Killed; nobody finishes anything.");
                sandbox_kill(up->sandbox);
        } else {
                ctl_note(up->ctl, "Ending: the runtimes finish what they have. Once more ends all at once.");
                stop(up, CTL_EXIT_OK);
        }
}

static void on_signals(Up *up) {
        struct signalfd_siginfo info;

        while (read(up->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                if (info.ssi_signo == SIGINT) {
                        on_interrupt(up, &info);
                } else if (info.ssi_signo != SIGCHLD) { /* SIGTERM, or the terminal is gone */
                        child_signal(&up->child, SIGTERM);
                        if (up->child.pid == 0)
                                stop(up, CTL_EXIT_OK);
                }
        }
}

/* getting ready */

/* NULL: no answer yet. Otherwise the caller's to free. */
static json_t *ask_status(Client *client, Peer peer) {
        _cleanup_(answer_done) Answer answer = {};

        client_ask(client, peer, "status", NULL, QUESTION_USEC, &answer);
        return json_incref(answer.result);
}

/* A trigger for an agent that starts waits in its mailbox, but a message for its topics is for nobody yet. */
static uint64_t count_starting(const Up *up) {
        uint64_t n = 0;

        for (unsigned i = 1; i <= up->wanted->n_runtimes; i++) {
                char id[16];
                json_t *status, *states;

                (void)snprintf(id, sizeof(id), "r%u", i);
                status = ask_status(up->ctl->client, THE_RUNTIME(id));
                states = json_object_get(status, "agents_by_state");
                n += field_number(states, "created") + field_number(states, "starting") + (status ? 0 : 1);
                json_decref(status);
        }
        return n;
}

static bool make_client(Up *up) {
        const char *url = sandbox_url(up->sandbox);
        const ContextRequest request = { .server = url };
        ConfigError error = {};
        NatsReason why = {};

        if (!url)
                return false;
        if (!up->ctl->settings.daemon.url) {
                (void)setenv("NATS_URL", url, 1); /* and so no context has a say */
                (void)unsetenv("COMPOZY_CONTEXT");
                if (context_load(&request, &up->ctl->settings, &error) != 0)
                        return false;
        }
        return up->ctl->client ||
               client_new(&up->ctl->settings, QUESTION_USEC, /* stay= */ true, &up->ctl->client, &why) == 0;
}

/*
 * All is ready when the dispatcher knows all runtimes and their agents have started, or take too long for it; then
 * *ret is the dispatcher's status.
 */
static bool look_whether_ready(Up *up, uint64_t now_usec, json_t **ret) {
        json_t *status = make_client(up) ? ask_status(up->ctl->client, ANY_DISPATCHER) : NULL;
        bool is_ready = field_is_true(status, "settled") &&
                        field_number(json_object_get(status, "runtimes"), "live") == up->wanted->n_runtimes;

        if (is_ready) {
                const uint64_t n = count_starting(up);

                if (up->known_usec == 0)
                        up->known_usec = now_usec;
                is_ready = n == 0 || now_usec - up->known_usec > STARTING_USEC;
                if (is_ready && n > 0)
                        ctl_note(up->ctl, "%" PRIu64 " agents are still starting.", n);
        }
        if (is_ready)
                *ret = json_incref(status);
        json_decref(status);
        return is_ready;
}

/* It takes no work anywhere. */
static bool has_failed(const json_t *agent) {
        const size_t n = json_array_size(json_object_get(agent, "failed_in"));

        return n > 0 && n >= field_number(agent, "n_runtimes");
}

static const char *pick_agent(const json_t *list) {
        json_t *agent;
        size_t i;

        json_array_foreach(json_object_get(list, "agents"), i, agent) {
                if (!has_failed(agent))
                        return field_text(agent, "agent_id");
        }
        return "AGENT";
}

static void name_agents(char *place, size_t size, const json_t *list) {
        const uint64_t total = field_number(list, "total");
        json_t *agent;
        size_t i;

        (void)snprintf(place, size, "%" PRIu64 " agent%s", total, total == 1 ? "" : "s");
        json_array_foreach(json_object_get(list, "agents"), i, agent) {
                const size_t n = strlen(place);

                if (i == NAMES_SHOWN)
                        break;
                (void)snprintf(place + n, size - n, "%s%s%s", i == 0 ? ": " : ", ", field_text(agent, "agent_id"),
                        has_failed(agent) ? " (failed)" : "");
        }
        if (total > NAMES_SHOWN)
                (void)snprintf(place + strlen(place), size - strlen(place), ", …");
}

static void say_ready(const Up *up, const json_t *status, const json_t *agents) {
        const Screen *screen = &up->ctl->screen;
        const char *url = sandbox_url(up->sandbox), *bold = screen_on(screen, COLOUR_STRONG),
                   *plain = screen_off(screen, COLOUR_STRONG);
        char names[1024];

        name_agents(names, sizeof(names), agents);
        (void)printf("\n%sThe sandbox is ready%s: %s\n\n", screen_on(screen, COLOUR_GOOD),
                screen_off(screen, COLOUR_GOOD), names);
        (void)printf("  In another terminal:\n\n    %sexport NATS_URL=%s%s\n", bold, url, plain);
        (void)printf("    %scompozyctl trigger %s '\"hello\"' --wait%s\n", bold, pick_agent(agents), plain);
        (void)printf("    %scompozyctl top%s\n\n", bold, plain);
        (void)printf("  Dispatcher  http://%s/\n", field_text(status, "http"));
        (void)printf("  Agents      %s; what is written there takes effect at once\n", up->agents_dir);
        (void)printf("  State       %s%s\n", up->state_dir, up->is_temporary ? ", forgotten at the end" : "");
        (void)printf("  Ctrl-C      ends all\n\n");
}

static void announce(Up *up, json_t *status) {
        _cleanup_(answer_done) Answer answer = {};
        json_t *line;

        if (up->command && !up->ctl->global.json)
                return;
        client_ask(up->ctl->client, ANY_DISPATCHER, "list_agents", json_pack("{s:i}", "limit", AGENTS_LOOKED_AT),
                QUESTION_USEC * 10, &answer);
        if (up->ctl->global.json) {
                line = json_pack("{s:s, s:O?, s:s, s:s, s:I}", "nats_url", sandbox_url(up->sandbox), "http",
                        json_object_get(status, "http"), "agents_dir", up->agents_dir, "state_dir", up->state_dir,
                        "agents", (json_int_t)field_number(answer.result, "total"));
                (void)ctl_print_json(up->ctl, line);
                json_decref(line);
        } else if (!up->ctl->global.quiet) {
                say_ready(up, status, answer.result);
        }
        (void)fflush(stdout);
}

static void start_command(Up *up) {
        char url[128];
        const char *const environment[] = { url, "COMPOZY_CONTEXT", NULL };
        int r;

        (void)snprintf(url, sizeof(url), "NATS_URL=%s", sandbox_url(up->sandbox));
        r = child_start(&up->child,
                &(ChildOptions){ .arguments = up->command, .environment = environment, .death_signal = SIGTERM });
        if (r < 0)
                stop(up,
                        ctl_fail(up->ctl, (CtlExit)(r == -ENOENT ? 127 : 126), "%s: %s", up->command[0], strerror(-r)));
}

static void become_ready(Up *up, uint64_t now_usec) {
        json_t *status = NULL;

        if (look_whether_ready(up, now_usec, &status)) {
                up->is_ready = true;
                announce(up, status);
                if (up->command)
                        start_command(up);
        } else if (now_usec - up->started_usec > READY_USEC) {
                log_view_show_kept(up->log);
                stop(up, ctl_fail(up->ctl, CTL_EXIT_TIMEOUT, "the sandbox was not ready after %d s",
                                 (int)(READY_USEC / USEC_PER_SEC)));
        }
        json_decref(status);
}

/* what is edited */

/* In its own place: mail waits for what the program is now, the state is handed over, and nobody is refused. */
static void restart_agent(Up *up, const char *agent_id) {
        for (unsigned i = 1; i <= up->wanted->n_runtimes; i++) {
                _cleanup_(answer_done) Answer answer = {};
                char runtime_id[16];

                (void)snprintf(runtime_id, sizeof(runtime_id), "r%u", i);
                client_ask(up->ctl->client, THE_RUNTIME(runtime_id), "restart_agent",
                        json_pack("{s:s}", "agent_id", agent_id), RESTART_USEC, &answer);
                if (answer.kind == ANSWER_RESULT || up->command)
                        continue;
                if (answer.kind == ANSWER_TIMEOUT)
                        ctl_note(up->ctl, "agent %s on %s is started again once it has done what it has begun",
                                agent_id, runtime_id);
                else
                        ctl_note(up->ctl, "agent %s on %s: %s %s", agent_id, runtime_id, answer.code ? answer.code : "",
                                answer.text);
        }
}

/* A shared object that is loaded stays what it is until its process ends. */
static void on_program(const char *agent_id, const char *path, bool is_plugin, void *userdata) {
        Up *up = userdata;

        if (is_plugin) {
                if (!up->command && !up->is_plugin_changed)
                        ctl_note(up->ctl, "%s has changed: starting the runtimes again", path);
                up->is_plugin_changed = true;
                return;
        }
        if (!up->command)
                ctl_note(up->ctl, "%s has changed: starting agent %s again", path, agent_id);
        restart_agent(up, agent_id);
}

static void follow_files(Up *up, uint64_t now_usec) {
        /* what is edited before that stays in the queue: the runtimes may have read it already, or not */
        if (up->is_ready && watch_turn(&up->watch, now_usec)) {
                if (!up->command)
                        ctl_note(up->ctl, "%s has changed: reloading", up->watch.name);
                sandbox_reload(up->sandbox);
                programs_read(up->programs, up->agents_dir, up->plugins_dir);
        }
        if (up->is_ready && now_usec >= up->look_usec) {
                up->look_usec = now_usec + PROGRAMS_USEC;
                programs_look(up->programs, on_program, up);
                if (up->is_plugin_changed)
                        sandbox_restart_runtimes(up->sandbox);
                up->is_plugin_changed = false;
        }
}

/* the loop */

static void turn(Up *up) {
        const uint64_t now_usec = instant_now().usec;
        const char *failure;
        int status;

        sandbox_turn(up->sandbox, now_usec);
        if (child_reap(&up->child, NULL, NULL, &status))
                stop(up, (CtlExit)child_exit_status(status));
        failure = sandbox_failure(up->sandbox);
        if (failure && !up->is_stopping) {
                log_view_show_kept(up->log);
                child_signal(&up->child, SIGTERM);
                stop(up, ctl_fail(up->ctl, CTL_EXIT_FAILURE, "%s", failure));
        }
        if (!up->is_stopping)
                follow_files(up, now_usec);
        if (!up->is_ready && !up->is_stopping)
                become_ready(up, now_usec);
}

static void run_loop(Up *up) {
        up->started_usec = instant_now().usec;
        while (!up->is_stopping || !sandbox_is_over(up->sandbox) || up->child.pid > 0) {
                struct pollfd fds[SANDBOX_FDS_MAX + 2];
                size_t n;

                turn(up);
                n = sandbox_fds(up->sandbox, fds);
                fds[n++] = (struct pollfd){ .fd = up->signals, .events = POLLIN };
                fds[n++] = (struct pollfd){ .fd = up->watch.fd, .events = POLLIN };
                (void)poll(fds, (nfds_t)n, TURN_MSEC);
                on_signals(up);
        }
        sandbox_turn(up->sandbox, instant_now().usec); /* their last words */
}

static CtlExit run_sandbox(Up *up) {
        const LogChoice logs =
                up->wanted->logs == LOG_VIEW_AUTO && up->command ? LOG_VIEW_ERRORS : (LogChoice)up->wanted->logs;
        int r;

        up->sandbox_options = (SandboxOptions){
                .nats_server = up->nats_server,
                .dispatcherd = up->dispatcherd,
                .runtimed = up->runtimed,
                .state_dir = up->state_dir,
                .agents_dir = up->agents_dir,
                .plugins_dir = is_directory(up->plugins_dir) ? up->plugins_dir : NULL,
                .n_runtimes = (unsigned)up->wanted->n_runtimes,
                .port = (unsigned)up->wanted->port,
                .log_level = up->wanted->level,
                .dispatcher_options = up->wanted->dispatcher_options,
                .runtime_options = up->wanted->runtime_options,
        };
        up->log_screen = up->ctl->screen;
        up->log_screen.has_colour &= up->ctl->screen.error_is_terminal || up->ctl->global.colour == COLOUR_ALWAYS;
        up->log = log_view_new(&up->log_screen, stderr, logs);
        up->programs = programs_new();
        r = up->log && up->programs ? sandbox_new(&up->sandbox_options, up->log, &up->sandbox) : -ENOMEM;
        if (r == 0)
                r = watch_init(&up->watch, up->agents_dir);
        if (r < 0)
                return ctl_fail(up->ctl, CTL_EXIT_FAILURE, "%s: %s", up->agents_dir, strerror(-r));
        programs_read(up->programs, up->agents_dir, up->plugins_dir);
        run_loop(up);
        return up->status;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        Up *up = calloc(1, sizeof(*up));
        CtlExit status;

        if (!up)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        up->ctl = ctl;
        up->wanted = invocation->options;
        up->child = CHILD_NONE;
        up->watch.fd = up->state_lock = -1;
        up->signals = block_signals(); /* before nats.c starts threads, so that none of them gets any */
        status = up->signals < 0 ? ctl_fail(ctl, CTL_EXIT_FAILURE, "signalfd: %s", strerror(errno))
                                 : prepare(up, invocation);
        if (status == CTL_EXIT_OK)
                status = run_sandbox(up);
        (void)sandbox_free(up->sandbox);
        (void)log_view_free(up->log);
        (void)programs_free(up->programs);
        watch_done(&up->watch);
        if (up->is_temporary)
                (void)nftw(up->state_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        if (up->state_lock >= 0)
                (void)close(up->state_lock);
        if (up->signals >= 0)
                (void)close(up->signals);
        free(up);
        return status;
}

const Command command_up = {
        .name = "up",
        .summary = "A private sandbox: a NATS server, a dispatcher and runtimes, until Ctrl-C",
        .details = "Everything listens on 127.0.0.1 only, and ends when this does, whatever ends it. Runtimes take\n"
                   "the definitions in DIRECTORY, and read them again when files there change; an agent whose\n"
                   "program changes is started again, with its mail and its state, and when a plugin changes\n"
                   "the runtimes are. What ends by itself is started again after a second, as systemd would do\n"
                   "it.\n"
                   "\n"
                   "With a COMMAND, that runs with NATS_URL set once all is ready, and the sandbox ends when it\n"
                   "does, with its exit status (128 + N when signal N killed it).",
        .example = "  compozyctl up examples/exec\n"
                   "  compozyctl up agents.d -- compozyctl trigger greeter '\"hello\"' --wait",
        .arguments = arguments,
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
