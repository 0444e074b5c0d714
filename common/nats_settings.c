/* SPDX-License-Identifier: MIT */

/*
 * nats.c reads addresses and credentials only when it connects, and then reports little. An operator should hear at
 * the start which file or address is wrong, so everything is looked at here first.
 *
 * Of all files only those of the login are read for each connection, and of those not the public key that we derived
 * from the seed. So for each attempt settings are made anew from the texts: whatever was rotated meanwhile takes effect
 * with the next connection, without a restart.
 */

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/instant.h"
#include "common/nats_settings.h"
#include "common/nats_login.h"

#define SERVERS_MAX 64
#define IO_BUFFER_BYTES \
        (128 * 1024) /* at 512 requests outstanding the usual 32 KiB means four times the system calls */
#define CONNECT_TIMEOUT_MSEC                                                                    \
        5000 /* a TLS handshake across the world; it holds up a thread of its own, not the loop \
              */

struct NatsSettings {
        atomic_uint n_refs;
        natsOptions *options;
        NatsLogin *login;           /* NULL: none but what the addresses say */
        char *servers[SERVERS_MAX]; /* first those of the configuration, then learned ones */
        size_t n_servers, n_configured;
        NatsLinkOptions given; /* what it was made of: its texts are ours, and it has no callbacks */
};

/* The texts among the options. */
static const size_t texts[] = {
        offsetof(NatsLinkOptions, url),
        offsetof(NatsLinkOptions, name),
        offsetof(NatsLinkOptions, credentials),
        offsetof(NatsLinkOptions, nkey_seed_file),
        offsetof(NatsLinkOptions, tls_ca),
        offsetof(NatsLinkOptions, tls_cert),
        offsetof(NatsLinkOptions, tls_key),
};

static int refuse(NatsReason *ret_why, int error, const char *format, ...) _printf_(3, 4);

static int refuse(NatsReason *ret_why, int error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(ret_why->text, sizeof(ret_why->text), format, arguments);
        va_end(arguments);
        return error;
}

static int refuse_status(NatsReason *ret_why, natsStatus status, const char *what) {
        return refuse(
                ret_why, status == NATS_NO_MEMORY ? -ENOMEM : -EINVAL, "%s: %s", what, natsStatus_GetText(status));
}

/* What nats.c had to say of it, or OpenSSL behind it. */
static int refuse_file(NatsReason *ret_why, natsStatus status, const char *key, const char *path) {
        const char *text = nats_GetLastError(NULL), *end = text ? strstr(text, "): ") : NULL;

        if (end && text[0] == '(') /* the place in its source */
                text = end + 3;
        return refuse(ret_why, status == NATS_NO_MEMORY ? -ENOMEM : -EINVAL, "%s: %s: %s", key, path,
                text && text[0] != '\0' ? text : natsStatus_GetText(status));
}

/* What comes after the scheme and, when there is one, "user:password@". */
static Slice url_place(Slice url) {
        const char *scheme = memmem(url.data, url.size, "://", 3);
        const char *at;

        if (scheme)
                url = slice_after(url, (size_t)(scheme - url.data) + 3);
        at = memrchr(url.data, '@', url.size);
        return at ? slice_after(url, (size_t)(at - url.data) + 1) : url;
}

void nats_url_redact(Slice urls, Buffer *buffer) {
        while (urls.size > 0) {
                const char *comma = memchr(urls.data, ',', urls.size);
                const Slice url = { urls.data, comma ? (size_t)(comma - urls.data) : urls.size };
                const Slice place = url_place(url);
                const char *scheme = memmem(url.data, url.size, "://", 3);

                if (scheme)
                        buffer_append(buffer, url.data, (size_t)(scheme - url.data) + 3);
                if (scheme ? place.data > scheme + 3 : place.data > url.data)
                        buffer_append(buffer, "***@", 4);
                buffer_append_slice(buffer, place);
                if (comma)
                        buffer_append_char(buffer, ',');
                urls = slice_after(urls, comma ? url.size + 1 : url.size);
        }
}

static bool port_is_valid(Slice port) {
        unsigned long value = 0;

        if (port.size == 0 || port.size > 5)
                return false;
        for (size_t i = 0; i < port.size; i++) {
                if (!isdigit((unsigned char)port.data[i]))
                        return false;
                value = value * 10 + (unsigned long)(port.data[i] - '0');
        }
        return value > 0 && value <= 65535;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT */
static bool place_is_valid(Slice place) {
        const char *bracket = place.size > 0 && place.data[0] == '[' ? memchr(place.data, ']', place.size) : NULL;
        const char *colon = bracket ? bracket + 1 : memchr(place.data, ':', place.size);
        const char *end = place.data + place.size;

        for (size_t i = 0; i < place.size; i++)
                if ((unsigned char)place.data[i] <= ' ' || strchr("/?#\"'<>", place.data[i]))
                        return false;
        if (bracket && colon == end)
                colon = NULL;
        if (place.size == 0 || colon == place.data || (bracket && colon && *colon != ':'))
                return false;
        return !colon || port_is_valid((Slice){ colon + 1, (size_t)(end - colon - 1) });
}

static int add_url(NatsSettings *settings, Slice url, bool *is_secure, NatsReason *ret_why) {
        const char *scheme = memmem(url.data, url.size, "://", 3);
        const Slice name = { url.data, scheme ? (size_t)(scheme - url.data) : 0 };
        const Slice place = url_place(url);

        if (scheme && !slice_equal(name, SLICE("nats")) && !slice_equal(name, SLICE("tls")))
                return refuse(ret_why, -EINVAL,
                        "nats.url: \"%.*s://\" is not understood in a server's address (nats:// or tls://)",
                        SLICE_ARG(name));
        if (!place_is_valid(place))
                return refuse(ret_why, -EINVAL, "nats.url: \"%.*s\" is not a server's address (nats://HOST:PORT)",
                        SLICE_ARG(place));
        if (settings->n_servers == SERVERS_MAX)
                return refuse(ret_why, -EINVAL, "nats.url: more than %d server addresses", SERVERS_MAX);

        settings->servers[settings->n_servers] = slice_dup(url);
        if (!settings->servers[settings->n_servers])
                return -ENOMEM;
        settings->n_servers++;
        if (slice_equal(name, SLICE("tls")))
                *is_secure = true;
        return 0;
}

/* What stands before the @ of an address; absent: nothing. */
static Slice url_user(Slice url) {
        const char *scheme = memmem(url.data, url.size, "://", 3);
        const Slice place = url_place(url);
        const size_t begin = scheme ? (size_t)(scheme - url.data) + 3 : 0;

        return place.data > url.data + begin ? (Slice){ url.data + begin, (size_t)(place.data - url.data) - begin - 1 }
                                             : SLICE_NONE;
}

/* Percent-encoded, as in any address (RFC 3986). NULL: memory is out. */
static char *url_decode(Slice text) {
        char *decoded = malloc(text.size + 1);
        size_t n = 0;

        if (!decoded)
                return NULL;
        for (size_t i = 0; i < text.size; i++) {
                unsigned code;

                if (text.data[i] == '%' && i + 2 < text.size && isxdigit((unsigned char)text.data[i + 1]) &&
                        isxdigit((unsigned char)text.data[i + 2]) && sscanf(text.data + i + 1, "%2x", &code) == 1) {
                        decoded[n++] = (char)code;
                        i += 2;
                } else {
                        decoded[n++] = text.data[i];
                }
        }
        decoded[n] = '\0';
        return decoded;
}

static void forget_text(char **text) {
        if (*text)
                explicit_bzero(*text, strlen(*text));
        free(*text);
}

/* "user:password", or a token. */
static int set_user(NatsSettings *settings, Slice user) {
        const char *colon = memchr(user.data, ':', user.size);
        const Slice name = { user.data, colon ? (size_t)(colon - user.data) : user.size };
        _cleanup_(forget_text) char *decoded = url_decode(name), *password = NULL;
        natsStatus s = NATS_NO_MEMORY;

        if (colon)
                password = url_decode(slice_after(user, name.size + 1));
        if (decoded && colon && password)
                s = natsOptions_SetUserInfo(settings->options, decoded, password);
        else if (decoded && !colon)
                s = natsOptions_SetToken(settings->options, decoded);
        return s == NATS_OK ? 0 : -ENOMEM;
}

/*
 * nats.c takes a password out of an address as it stands there, and knows none for servers that it learns of. So where
 * all addresses have the same, or none, it is told to nats.c for all of them, and taken out.
 */
static int take_users(NatsSettings *settings) {
        Slice user = SLICE_NONE;
        int r;

        for (size_t i = 0; i < settings->n_servers; i++) {
                const Slice one = url_user(slice_of(settings->servers[i]));

                if (one.data && user.data && !slice_equal(one, user))
                        return 0;
                if (one.data)
                        user = one;
        }
        if (!user.data)
                return 0;
        r = set_user(settings, user);
        for (size_t i = 0; r == 0 && i < settings->n_servers; i++) {
                const Slice one = url_user(slice_of(settings->servers[i]));
                char *after = one.data ? (char *)one.data + one.size + 1 : NULL;

                if (!after)
                        continue;
                memmove((char *)one.data, after, strlen(after) + 1);
        }
        return r;
}

static int add_urls(NatsSettings *settings, const char *urls, bool *is_secure, NatsReason *ret_why) {
        Slice rest = slice_of(urls);

        for (;;) {
                const char *comma = rest.size > 0 ? memchr(rest.data, ',', rest.size) : NULL;
                Slice url = { rest.data, comma ? (size_t)(comma - rest.data) : rest.size };
                int r;

                while (url.size > 0 && isspace((unsigned char)url.data[0]))
                        url = slice_after(url, 1);
                while (url.size > 0 && isspace((unsigned char)url.data[url.size - 1]))
                        url.size--;
                if (url.size == 0)
                        return refuse(ret_why, -EINVAL, "nats.url: an empty server address");
                r = add_url(settings, url, is_secure, ret_why);
                if (r < 0)
                        return r;
                if (!comma)
                        break;
                rest = (Slice){ comma + 1, (size_t)(rest.data + rest.size - comma - 1) };
        }
        settings->n_configured = settings->n_servers;
        return 0;
}

static bool is_given(const char *text) {
        return text && text[0] != '\0';
}

static int check_file(const char *path, const char *key, NatsReason *ret_why) {
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = fd < 0 ? -errno : 0;

        if (fd >= 0) {
                r = fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
                (void)close(fd);
        }
        return r < 0 ? refuse(ret_why, r, "%s: %s: %s", key, path, strerror(-r)) : 0;
}

static int set_credentials(NatsSettings *settings, const NatsLinkOptions *options, NatsReason *ret_why) {
        const bool has_jwt = is_given(options->credentials);
        const char *path = has_jwt ? options->credentials : options->nkey_seed_file;
        const char *key = has_jwt ? "nats.credentials" : "nats.nkey_seed_file";
        natsStatus s;
        int r;

        if (has_jwt && is_given(options->nkey_seed_file))
                return refuse(ret_why, -EINVAL,
                        "nats.credentials and nats.nkey_seed_file are both given; one of them must go");
        if (!is_given(path))
                return 0;
        r = check_file(path, key, ret_why);
        if (r == 0)
                r = nats_login_new(path, key, has_jwt, &settings->login, ret_why);
        if (r < 0)
                return r;
        s = nats_login_apply(settings->login, settings->options);
        return s == NATS_OK ? 0 : refuse_file(ret_why, s, key, path);
}

static int set_tls(NatsSettings *settings, const NatsLinkOptions *options, bool is_secure, NatsReason *ret_why) {
        const bool with_certificate = is_given(options->tls_cert) || is_given(options->tls_key);
        natsStatus s = NATS_OK;
        int r;

        if (is_given(options->tls_cert) != is_given(options->tls_key))
                return refuse(ret_why, -EINVAL, "nats.tls_cert needs nats.tls_key, and the other way round");
        if (is_given(options->tls_ca)) {
                r = check_file(options->tls_ca, "nats.tls_ca", ret_why);
                if (r < 0)
                        return r;
                s = natsOptions_LoadCATrustedCertificates(settings->options, options->tls_ca);
                if (s != NATS_OK)
                        return refuse_file(ret_why, s, "nats.tls_ca", options->tls_ca);
        }
        if (with_certificate) {
                r = check_file(options->tls_cert, "nats.tls_cert", ret_why);
                if (r == 0)
                        r = check_file(options->tls_key, "nats.tls_key", ret_why);
                if (r < 0)
                        return r;
                s = natsOptions_LoadCertificatesChain(settings->options, options->tls_cert, options->tls_key);
                if (s != NATS_OK)
                        return refuse_file(ret_why, s, "nats.tls_cert and nats.tls_key", options->tls_cert);
        }
        if (is_secure || is_given(options->tls_ca) || with_certificate)
                s = natsOptions_SetSecure(settings->options, true);
        return s == NATS_OK ? 0 : refuse_status(ret_why, s, "TLS");
}

static int set_servers(NatsSettings *settings, NatsReason *ret_why) {
        const char *servers[SERVERS_MAX];
        natsStatus s;

        for (size_t i = 0; i < settings->n_servers; i++)
                servers[i] = settings->servers[i];
        s = natsOptions_SetServers(settings->options, servers, (int)settings->n_servers);
        return s == NATS_OK ? 0 : refuse_status(ret_why, s, "nats.url");
}

static int set_behaviour(NatsSettings *settings, const NatsLinkOptions *options, NatsReason *ret_why) {
        natsOptions *o = settings->options;
        natsStatus s = natsOptions_SetName(o, options->name);

        if (s == NATS_OK)
                s = natsOptions_SetTimeout(o, CONNECT_TIMEOUT_MSEC);
        if (s == NATS_OK)
                s = natsOptions_SetSendAsap(o, true); /* no flusher thread */
        if (s == NATS_OK)
                s = natsOptions_UseGlobalMessageDelivery(
                        o, true); /* one thread for all, so one order; not one for each */
        if (s == NATS_OK)
                s = natsOptions_SetIOBufSize(o, IO_BUFFER_BYTES);
        if (s == NATS_OK)
                s = natsOptions_SetAllowReconnect(o, false); /* see nats_link.c */
        if (s == NATS_OK)
                s = natsOptions_SetPingInterval(o, (int64_t)(options->ping_interval_usec / USEC_PER_MSEC));
        if (s == NATS_OK)
                s = natsOptions_SetMaxPingsOut(o, INT_MAX); /* see nats_link.c: its timer may ping, but not close */
        return s == NATS_OK ? 0 : refuse_status(ret_why, s, "connection options");
}

static const char **text_of(NatsLinkOptions *options, size_t index) {
        return (const char **)((char *)options + texts[index]);
}

static int keep_options(NatsSettings *settings, const NatsLinkOptions *options) {
        NatsLinkOptions borrowed = *options;

        settings->given = (NatsLinkOptions){ .ping_interval_usec = options->ping_interval_usec };
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                const char *text = *text_of(&borrowed, i);

                *text_of(&settings->given, i) = text ? strdup(text) : NULL;
                if (text && !*text_of(&settings->given, i))
                        return -ENOMEM;
        }
        return 0;
}

int nats_settings_new(const NatsLinkOptions *options, NatsSettings **ret, NatsReason *ret_why) {
        _cleanup_(nats_settings_unrefp) NatsSettings *settings = NULL;
        bool is_secure = false;
        int r;

        assert(options);
        assert(options->url);
        assert(ret_why);

        ret_why->text[0] = '\0';
        settings = calloc(1, sizeof(*settings));
        if (!settings)
                return -ENOMEM;
        settings->n_refs = 1;
        if (natsOptions_Create(&settings->options) != NATS_OK)
                return -ENOMEM;

        r = keep_options(settings, options);
        if (r == 0)
                r = add_urls(settings, options->url, &is_secure, ret_why);
        if (r == 0)
                r = take_users(settings);
        if (r == 0)
                r = set_servers(settings, ret_why);
        if (r == 0)
                r = set_behaviour(settings, options, ret_why);
        if (r == 0)
                r = set_credentials(settings, options, ret_why);
        if (r == 0)
                r = set_tls(settings, options, is_secure, ret_why);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(settings);
        return 0;
}

int nats_settings_renew(const NatsSettings *old, NatsSettings **ret, NatsReason *ret_why) {
        _cleanup_(nats_settings_unrefp) NatsSettings *settings = NULL;
        int r = nats_settings_new(&old->given, &settings, ret_why);

        for (size_t i = old->n_configured; r == 0 && i < old->n_servers && settings->n_servers < SERVERS_MAX; i++) {
                char *server = strdup(old->servers[i]);

                if (!server)
                        r = -ENOMEM;
                else
                        settings->servers[settings->n_servers++] = server;
        }
        if (r == 0)
                r = set_servers(settings, ret_why);
        if (r == 0)
                *ret = TAKE_PTR(settings);
        return r;
}

NatsSettings *nats_settings_ref(NatsSettings *settings) {
        (void)atomic_fetch_add(&settings->n_refs, 1);
        return settings;
}

NatsSettings *nats_settings_unref(NatsSettings *settings) {
        if (!settings || atomic_fetch_sub(&settings->n_refs, 1) > 1)
                return NULL;
        for (size_t i = 0; i < settings->n_servers; i++)
                free(settings->servers[i]);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                free((char *)*text_of(&settings->given, i));
        natsOptions_Destroy(settings->options);
        (void)nats_login_free(settings->login);
        free(settings);
        return NULL;
}

const NatsLinkOptions *nats_settings_given(const NatsSettings *settings) {
        return &settings->given;
}

natsOptions *nats_settings_options(NatsSettings *settings) {
        return settings->options;
}

natsStatus nats_settings_connect(NatsSettings *settings, natsConnection **ret) {
        return nats_login_connect(settings->login, settings->options, ret);
}

void nats_settings_learn(NatsSettings *settings, natsConnection *connection) {
        char **found = NULL;
        int n = 0;
        NatsReason why;

        if (natsConnection_GetDiscoveredServers(connection, &found, &n) != NATS_OK)
                return;
        while (settings->n_servers > settings->n_configured)
                free(settings->servers[--settings->n_servers]);
        for (int i = 0; i < n; i++) {
                if (settings->n_servers < SERVERS_MAX)
                        settings->servers[settings->n_servers++] = found[i];
                else
                        free(found[i]);
        }
        free(found);
        (void)set_servers(settings, &why); /* without them, those of the configuration are still tried */
}
