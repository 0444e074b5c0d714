/* SPDX-License-Identifier: MIT */

/*
 * Keys are kept: a second run with --force, for one more runtime say, changes nobody's key but those named by
 * --rotate. Seeds are written once, into files that nobody else can read, and never shown.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/nats_config.h"

#define PATH_BYTES_MAX 4096

typedef struct Options {
        TextList principals[_ROLE_MAX];
        TextList topics, rotated;
        const char *output, *listen, *url, *prefix, *store_dir;
        const char *tls_cert, *tls_key, *tls_ca;
        bool tls_verify, no_jetstream, force;
} Options;

#define PRINCIPAL(role_, name_, value_, help_)                                        \
        {                                                                             \
                .name = name_, .kind = OPTION_LIST, .value = value_,                  \
                .offset = offsetof(Options, principals[ROLE_##role_]), .help = help_, \
        }

static const Option options_table[] = {
        PRINCIPAL(RUNTIME, "runtime", "ID[:AGENT,…]",
                "A runtime; the agents that its own agents may trigger and ask (none; *: any)"),
        PRINCIPAL(CALLER, "caller", "NAME[:AGENT,…]", "One that triggers agents (any), and asks them"),
        PRINCIPAL(OPERATOR, "operator", "NAME", "One that commands dispatchers and runtimes, and hears events"),
        PRINCIPAL(OBSERVER, "observer", "NAME", "One that hears events and reads their history"),
        PRINCIPAL(SERVICE, "service", "NAME:CAPABILITY,…", "One that provides what agents invoke"),
        PRINCIPAL(DISPATCHER, "dispatcher", "NAME", "Dispatchers; one key serves any number of them (main)"),
        { .name = "topic",
                .kind = OPTION_LIST,
                .offset = offsetof(Options, topics),
                .value = "PATTERN",
                .help = "Subjects that agents, callers and operators may publish and subscribe to" },
        { .name = "output",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, output),
                .value = "DIRECTORY",
                .fallback = "compozy-nats",
                .words = WORD_DIRECTORY,
                .help = "Where the files go" },
        { .name = "listen",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, listen),
                .value = "ADDRESS:PORT",
                .fallback = "127.0.0.1:4222",
                .help = "Where the server listens" },
        { .name = "url",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, url),
                .value = "URL",
                .help = "How the others reach it; nats://, and what --listen says" },
        { .name = "prefix",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, prefix),
                .value = "SUBJECT",
                .help = "nats.subject_prefix; that of the context or -o" },
        { .name = "store-dir",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, store_dir),
                .value = "DIRECTORY",
                .words = WORD_DIRECTORY,
                .help = "Where the server keeps JetStream's data; jetstream/ below --output" },
        { .name = "no-jetstream",
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, no_jetstream),
                .help = "A server without JetStream" },
        { .name = "tls-cert",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, tls_cert),
                .value = "FILE",
                .words = WORD_FILE,
                .help = "The server's certificate: turns TLS on" },
        { .name = "tls-key",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, tls_key),
                .value = "FILE",
                .words = WORD_FILE,
                .help = "Its private key" },
        { .name = "tls-ca",
                .kind = OPTION_TEXT,
                .offset = offsetof(Options, tls_ca),
                .value = "FILE",
                .words = WORD_FILE,
                .help = "The CA that certificates come from" },
        { .name = "tls-verify",
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, tls_verify),
                .help = "Clients show a certificate, too" },
        { .name = "rotate",
                .kind = OPTION_LIST,
                .offset = offsetof(Options, rotated),
                .value = "ROLE-NAME",
                .help = "A new key for that one (runtime-r1)" },
        { .name = "force",
                .letter = 'f',
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, force),
                .help = "Replace the configuration that is there, and keep its keys" },
        {},
};

typedef struct Job {
        Ctl *ctl;
        const Options *options;
        NatsConfig config;
        Principal principals[PRINCIPALS_MAX];
        char directory[PATH_BYTES_MAX], url[256], store_dir[PATH_BYTES_MAX + 16];
        char tls_cert[PATH_BYTES_MAX], tls_key[PATH_BYTES_MAX], tls_ca[PATH_BYTES_MAX];
        json_t *files;
} Job;

/* what was asked for */

static CtlExit add_principal(Job *job, Role role, const char *spec) {
        Principal *principal = &job->principals[job->config.permissions.n_principals];
        WireError error;

        if (job->config.permissions.n_principals == PRINCIPALS_MAX)
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "more than %d principals", PRINCIPALS_MAX);
        if (principal_parse(role, spec, principal, &error) != 0)
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "%s", error.text);
        for (const Principal *other = job->principals; other < principal; other++)
                if (other->role == role && id_equal(&other->name, id_slice(&principal->name)))
                        return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--%s %s is given twice", role_names[role],
                                principal->name.text);
        job->config.permissions.n_principals++;
        return CTL_EXIT_OK;
}

static CtlExit add_principals(Job *job) {
        CtlExit status = CTL_EXIT_OK;

        if (job->options->principals[ROLE_DISPATCHER].n_items == 0)
                status = add_principal(job, ROLE_DISPATCHER, "main");
        for (Role role = 0; role < _ROLE_MAX; role++)
                for (size_t i = 0; status == CTL_EXIT_OK && i < job->options->principals[role].n_items; i++)
                        status = add_principal(job, role, job->options->principals[role].items[i]);
        return status;
}

static CtlExit check_topics(const Job *job) {
        WireError error;

        for (size_t i = 0; i < job->options->topics.n_items; i++)
                if (permissions_check_topic(
                            job->config.permissions.prefix, slice_of(job->options->topics.items[i]), &error) != 0)
                        return ctl_fail(job->ctl, CTL_EXIT_USAGE, "%s", error.text);
        return CTL_EXIT_OK;
}

/* In a configuration, between quotes or at the end of a line. */
static bool is_plain(const char *text) {
        for (const char *p = text; *p; p++)
                if (*p == '"' || *p == '\\' || *p == '\'' || (unsigned char)*p < ' ')
                        return false;
        return true;
}

static CtlExit make_absolute(const Job *job, const char *option, const char *path, char *ret, size_t size) {
        char here[PATH_BYTES_MAX];
        int n;

        if (path[0] != '/' && !getcwd(here, sizeof(here)))
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "the working directory: %s", strerror(errno));
        n = path[0] == '/' ? snprintf(ret, size, "%s", path) : snprintf(ret, size, "%s/%s", here, path);
        if (n < 0 || (size_t)n >= size || !is_plain(ret))
                return ctl_fail(job->ctl, CTL_EXIT_USAGE,
                        "--%s %.200s: is too long, or has a quote, a backslash or a control character in it", option,
                        path);
        return CTL_EXIT_OK;
}

static CtlExit set_tls(Job *job) {
        const Options *options = job->options;
        const struct {
                const char *option, *given;
                char *place;
                const char **ret;
        } files[] = {
                { "tls-cert", options->tls_cert, job->tls_cert, &job->config.tls_cert },
                { "tls-key", options->tls_key, job->tls_key, &job->config.tls_key },
                { "tls-ca", options->tls_ca, job->tls_ca, &job->config.tls_ca },
        };

        if (!options->tls_cert != !options->tls_key)
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--tls-cert needs --tls-key, and the other way round");
        if (options->tls_verify && !(options->tls_cert && options->tls_ca))
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--tls-verify needs --tls-cert, --tls-key and --tls-ca");
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                if (!files[i].given)
                        continue;
                if (access(files[i].given, R_OK) < 0 && errno == ENOENT)
                        return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--%s %s: %s", files[i].option, files[i].given,
                                strerror(errno));
                if (make_absolute(job, files[i].option, files[i].given, files[i].place, PATH_BYTES_MAX) != CTL_EXIT_OK)
                        return CTL_EXIT_USAGE;
                *files[i].ret = files[i].place;
        }
        job->config.tls_verify = options->tls_verify;
        return CTL_EXIT_OK;
}

static CtlExit set_server(Job *job) {
        const Options *options = job->options;
        const char *text = options->prefix ? options->prefix : job->ctl->settings.daemon.subject_prefix;
        const Slice prefix = slice_of(text);
        CtlExit status;

        if (!subject_is_valid(prefix) || prefix.size > SUBJECT_PREFIX_MAX || !is_plain(text) || text[0] == '$')
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--prefix %s: is no subject", text);
        if (!is_plain(options->listen) || !strrchr(options->listen, ':'))
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--listen %s: is not ADDRESS:PORT", options->listen);
        if (options->url && !is_plain(options->url))
                return ctl_fail(job->ctl, CTL_EXIT_USAGE, "--url: has a quote or a control character in it");
        status = make_absolute(job, "output", options->output, job->directory, sizeof(job->directory));
        if (status != CTL_EXIT_OK)
                return status;
        if (options->store_dir)
                status = make_absolute(job, "store-dir", options->store_dir, job->store_dir, sizeof(job->store_dir));
        else
                (void)snprintf(job->store_dir, sizeof(job->store_dir), "%s/jetstream", job->directory);
        (void)snprintf(job->url, sizeof(job->url), "%s://%.200s", options->tls_cert ? "tls" : "nats", options->listen);
        job->config.permissions.prefix = prefix;
        job->config.permissions.has_jetstream = !options->no_jetstream;
        job->config.permissions.topics = options->topics.items;
        job->config.permissions.n_topics = options->topics.n_items;
        job->config.permissions.principals = job->principals;
        job->config.directory = job->directory;
        job->config.store_dir = job->store_dir;
        job->config.listen = options->listen;
        job->config.url = options->url ? options->url : job->url;
        return status;
}

/* files */

static CtlExit make_directory(const Job *job, const char *below, mode_t mode) {
        char path[PATH_BYTES_MAX + 32];

        (void)snprintf(path, sizeof(path), "%s%s", job->directory, below);
        if (mkdir(path, mode) < 0 && errno != EEXIST)
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "%s: %s", path, strerror(errno));
        return CTL_EXIT_OK;
}

static int write_all(int fd, const char *text, size_t size) {
        while (size > 0) {
                const ssize_t n = write(fd, text, size);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        text += n;
                        size -= (size_t)n;
                }
        }
        return 0;
}

/* Whole or not at all. */
static CtlExit write_file(const Job *job, const char *path, const char *text, size_t size, mode_t mode) {
        char temporary[PATH_BYTES_MAX + 160];
        int fd, r;

        (void)snprintf(temporary, sizeof(temporary), "%.*s.XXXXXX", PATH_BYTES_MAX + 140, path);
        fd = mkostemp(temporary, O_CLOEXEC); /* 0600 until it is written */
        if (fd < 0)
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "%s: %s", temporary, strerror(errno));
        r = write_all(fd, text, size);
        if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
                r = -errno;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlink(temporary);
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "%s: %s", path, strerror(-r));
        }
        return CTL_EXIT_OK;
}

static CtlExit put(Job *job, const char *name, Buffer *buffer) {
        char path[PATH_BYTES_MAX + 128];
        CtlExit status;

        if (buffer->failed)
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "memory is out");
        (void)snprintf(path, sizeof(path), "%s/%s", job->directory, name);
        status = write_file(job, path, buffer->data, buffer->size, 0644);
        if (status == CTL_EXIT_OK)
                (void)json_array_append_new(job->files, json_string(path));
        buffer_clear(buffer);
        return status;
}

/* keys */

/* Returns 0, or -errno: -ENOENT there is none, -EINVAL it is no seed. */
static int read_key(const char *path, char ret_public[static NKEY_PUBLIC_SIZE]) {
        char text[NKEY_SEED_SIZE + 8] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r;
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text) - 1);
        r = n < 0 ? -errno : 0;
        (void)close(fd);
        if (r == 0) {
                text[strcspn(text, " \r\n")] = '\0';
                r = nkey_public_from_seed(slice_of(text), ret_public);
        }
        explicit_bzero(text, sizeof(text));
        return r;
}

static CtlExit new_key(const Job *job, const char *path, char ret_public[static NKEY_PUBLIC_SIZE]) {
        char text[NKEY_SEED_SIZE + 1];
        CtlExit status;

        if (nkey_generate(text, ret_public) < 0)
                return ctl_fail(job->ctl, CTL_EXIT_FAILURE, "libcrypto could not make a key");
        text[NKEY_SEED_SIZE - 1] = '\n';
        status = write_file(job, path, text, NKEY_SEED_SIZE, 0600);
        explicit_bzero(text, sizeof(text));
        return status;
}

static bool is_rotated(const Job *job, const char *label) {
        for (size_t i = 0; i < job->options->rotated.n_items; i++)
                if (strcmp(job->options->rotated.items[i], label) == 0)
                        return true;
        return false;
}

static void label_of(const Principal *principal, char *ret, size_t size) {
        _cleanup_(buffer_done) Buffer label = {};

        nats_config_label(principal, &label);
        (void)snprintf(ret, size, "%.*s", SLICE_ARG(buffer_slice(&label)));
}

static CtlExit make_key(Job *job, Principal *principal) {
        char path[PATH_BYTES_MAX + 128], label[ID_MAX + 16];
        CtlExit status = CTL_EXIT_OK;
        int r = -ENOENT;

        label_of(principal, label, sizeof(label));
        (void)snprintf(path, sizeof(path), "%s/keys/%s.nk", job->directory, label);
        if (!is_rotated(job, label))
                r = read_key(path, principal->public_key);
        if (r == -ENOENT)
                status = new_key(job, path, principal->public_key);
        else if (r < 0)
                status = ctl_fail(job->ctl, CTL_EXIT_FAILURE, "%s: %s", path,
                        r == -EINVAL ? "holds no nkey seed of a user; --rotate makes a new one" : strerror(-r));
        if (status == CTL_EXIT_OK)
                (void)json_array_append_new(job->files, json_string(path));
        return status;
}

static CtlExit check_rotated(const Job *job) {
        char label[ID_MAX + 16];

        for (size_t i = 0; i < job->options->rotated.n_items; i++) {
                bool is_known = false;

                for (size_t j = 0; j < job->config.permissions.n_principals; j++) {
                        label_of(&job->principals[j], label, sizeof(label));
                        is_known = is_known || strcmp(label, job->options->rotated.items[i]) == 0;
                }
                if (!is_known)
                        return ctl_fail(job->ctl, CTL_EXIT_USAGE,
                                "--rotate %s: is none of the principals given (runtime-r1 for --runtime r1)",
                                job->options->rotated.items[i]);
        }
        return CTL_EXIT_OK;
}

/* all of it */

static CtlExit check_overwrite(const Job *job) {
        static const char *const names[] = { "nats.conf", "accounts.conf" };
        char path[PATH_BYTES_MAX + 32];

        for (size_t i = 0; !job->options->force && i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", job->directory, names[i]);
                if (access(path, F_OK) == 0)
                        return ctl_fail(job->ctl, CTL_EXIT_FAILURE,
                                "%s is there already; --force replaces the configuration, and keeps the keys", path);
        }
        return CTL_EXIT_OK;
}

static bool is_daemon(Role role) {
        return role == ROLE_DISPATCHER || role == ROLE_RUNTIME;
}

static CtlExit write_settings(Job *job, const Principal *principal) {
        _cleanup_(buffer_done) Buffer buffer = {};
        char label[ID_MAX + 16], name[ID_MAX + 32];

        label_of(principal, label, sizeof(label));
        (void)snprintf(name, sizeof(name), "%s%s.conf", is_daemon(principal->role) ? "" : "contexts/", label);
        nats_config_write_settings(&job->config, principal, &buffer);
        return put(job, name, &buffer);
}

static CtlExit write_everything(Job *job) {
        _cleanup_(buffer_done) Buffer buffer = {};
        CtlExit status = make_directory(job, "", 0755);

        if (status == CTL_EXIT_OK)
                status = make_directory(job, "/keys", 0700);
        if (status == CTL_EXIT_OK)
                status = make_directory(job, "/contexts", 0755);
        for (size_t i = 0; status == CTL_EXIT_OK && i < job->config.permissions.n_principals; i++)
                status = make_key(job, &job->principals[i]);
        for (size_t i = 0; status == CTL_EXIT_OK && i < job->config.permissions.n_principals; i++)
                status = write_settings(job, &job->principals[i]);
        if (status == CTL_EXIT_OK) {
                nats_config_write_accounts(&job->config, &buffer);
                status = put(job, "accounts.conf", &buffer);
        }
        if (status == CTL_EXIT_OK) {
                nats_config_write_server(&job->config, &buffer);
                status = put(job, "nats.conf", &buffer);
        }
        return status;
}

static void tell_file(const char *name, const char *what) {
        (void)printf("  %-32s %s\n", name, what);
}

static CtlExit tell(const Job *job) {
        const char *directory = job->directory;

        if (job->ctl->global.json) {
                json_t *all = json_pack("{s:s, s:O}", "directory", directory, "files", job->files);
                CtlExit status = ctl_print_json(job->ctl, all);

                json_decref(all);
                return status;
        }
        (void)printf("In %s:\n", directory);
        tell_file("nats.conf", "a whole server: nats-server -c");
        tell_file("accounts.conf", "its users; for a server of your own: include it in its configuration");
        for (size_t i = 0; i < job->config.permissions.n_principals; i++) {
                const Role role = job->principals[i].role;
                char label[ID_MAX + 16], name[ID_MAX + 48];

                label_of(&job->principals[i], label, sizeof(label));
                (void)snprintf(name, sizeof(name), "%s%s.conf", is_daemon(role) ? "" : "contexts/", label);
                tell_file(name, role == ROLE_DISPATCHER ? "compozy-dispatcherd -c, or a drop-in of its configuration"
                                : role == ROLE_RUNTIME  ? "compozy-runtimed -c, or a drop-in of its configuration"
                                                        : "compozyctl: copy it to ~/.config/compozy/contexts/");
        }
        tell_file("keys/*.nk", "secrets: each is for the one it is named after, and for nobody else");
        ctl_note(job->ctl, "A server that runs already takes changes over with nats-server --signal reload.");
        return CTL_EXIT_OK;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        Job *job = calloc(1, sizeof(*job));
        CtlExit status;

        if (!job)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "memory is out");
        job->ctl = ctl;
        job->options = invocation->options;
        job->files = json_array();
        status = ctl_load_settings(ctl);
        if (status == CTL_EXIT_OK)
                status = set_server(job);
        if (status == CTL_EXIT_OK)
                status = set_tls(job);
        if (status == CTL_EXIT_OK)
                status = add_principals(job);
        if (status == CTL_EXIT_OK)
                status = check_topics(job);
        if (status == CTL_EXIT_OK)
                status = check_rotated(job);
        if (status == CTL_EXIT_OK)
                status = check_overwrite(job);
        if (status == CTL_EXIT_OK)
                status = write_everything(job);
        if (status == CTL_EXIT_OK)
                status = tell(job);
        json_decref(job->files);
        free(job);
        return status;
}

const Command command_nats_config = {
        .name = "nats-config",
        .summary = "Make a nats-server configuration in which everybody may do what he must, and no more",
        .details =
                "Each principal gets an nkey of its own, and permissions for its role; what is not allowed is "
                "forbidden.\n"
                "Written are a server's configuration, the users by themselves for a server that is there already, a\n"
                "file with the secret of each principal, and settings for daemons and compozyctl. With --force an\n"
                "existing configuration is replaced; keys that are there are kept, but for those named by --rotate.",
        .example = "  compozyctl nats-config --runtime r1 --runtime 'r2:*' --operator alice --caller web:greeter "
                   "--topic 'thread.>'",
        .options = options_table,
        .options_size = sizeof(Options),
        .run = run,
};
