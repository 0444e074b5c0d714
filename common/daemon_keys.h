/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The configuration keys that both daemons have: sections nats, http, log and tracing.
 *
 * A daemon embeds DaemonSettings in its own struct and begins its table with DAEMON_KEYS(), so that names, defaults and
 * help can't drift apart. A client needs NATS_KEYS() of them.
 */

#include "common/config.h"
#include "proto/cc.h"

typedef struct DaemonSettings {
        char *url;
        char *credentials, *nkey_seed_file;
        char *tls_ca, *tls_cert, *tls_key;
        char *subject_prefix, *inbox_prefix;
        uint64_t pending_bytes_max;
        char *http_listen;
        char *otlp_endpoint, *otlp_headers_file, *otlp_tls_ca; /* "": none */
        double trace_sample;
        uint64_t trace_queue_limit;
        unsigned log_level;  /* as in syslog(3): LOG_ERR … LOG_DEBUG */
        unsigned log_target; /* LogTarget */
} DaemonSettings;

/* The index is the level of syslog(3). */
#define DAEMON_LOG_LEVELS \
        ((const char *const[]){ "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", NULL })
#define DAEMON_LOG_TARGETS ((const char *const[]){ "auto", "journal", "stderr", NULL })

#define DAEMON_KEY(section_, name_, kind_, type, field, fallback_, help_, ...)                      \
        {                                                                                           \
                .section = section_, .name = name_, .kind = kind_, .offset = offsetof(type, field), \
                .fallback = fallback_, .help = help_, ##__VA_ARGS__                                 \
        }

/* Initialisers of ConfigKey for a struct `type` whose member `member` is a DaemonSettings. */
#define NATS_KEYS(type, member)                                                                                     \
        DAEMON_KEY("nats", "url", CONFIG_STRING, type, member.url, "nats://127.0.0.1:4222",                         \
                "Servers to connect to, separated by commas", .environment = "NATS_URL", .at_start = true),         \
                DAEMON_KEY("nats", "credentials", CONFIG_SECRET, type, member.credentials, "",                      \
                        "File with user JWT and nkey seed", .at_start = true),                                      \
                DAEMON_KEY("nats", "nkey_seed_file", CONFIG_SECRET, type, member.nkey_seed_file, "",                \
                        "File with an nkey seed", .at_start = true),                                                \
                DAEMON_KEY("nats", "tls_ca", CONFIG_SECRET, type, member.tls_ca, "",                                \
                        "CA certificates that the server's must come from; turns TLS on", .at_start = true),        \
                DAEMON_KEY("nats", "tls_cert", CONFIG_SECRET, type, member.tls_cert, "", "Our certificate",         \
                        .at_start = true),                                                                          \
                DAEMON_KEY("nats", "tls_key", CONFIG_SECRET, type, member.tls_key, "", "Its private key",           \
                        .at_start = true),                                                                          \
                DAEMON_KEY("nats", "subject_prefix", CONFIG_SUBJECT, type, member.subject_prefix, "compozy",        \
                        "First token (or tokens) of every subject; the same for all daemons of one system",         \
                        .at_start = true),                                                                          \
                DAEMON_KEY("nats", "inbox_prefix", CONFIG_INBOX, type, member.inbox_prefix, "",                     \
                        "Where answers to us come, below _INBOX; empty: _INBOX, what we are, and our id",           \
                        .at_start = true),                                                                          \
                DAEMON_KEY("nats", "pending_bytes_max", CONFIG_U64, type, member.pending_bytes_max, "16777216",     \
                        "Unsent bytes beyond which no new work is taken and publishing is refused", .min = 1048576, \
                        .max = UINT64_C(1) << 40, .at_start = true)

#define TRACING_KEYS(type, member)                                                                                     \
        DAEMON_KEY("tracing", "otlp_endpoint", CONFIG_STRING, type, member.otlp_endpoint, "",                          \
                "Collector that spans are sent to, by OTLP/HTTP: http://HOST:4318; empty: none are",                   \
                .environment = "OTEL_EXPORTER_OTLP_ENDPOINT", .at_start = true),                                       \
                DAEMON_KEY("tracing", "headers_file", CONFIG_SECRET, type, member.otlp_headers_file, "",               \
                        "File with a \"Name: value\" on each line, sent to the collector: a secret's place",           \
                        .at_start = true),                                                                             \
                DAEMON_KEY("tracing", "tls_ca", CONFIG_SECRET, type, member.otlp_tls_ca, "",                           \
                        "CAs that the collector's certificate must be of; empty: the system's", .at_start = true),     \
                DAEMON_KEY("tracing", "sample", CONFIG_REAL, type, member.trace_sample, "1",                           \
                        "Share, 0 to 1, of what comes without a traceparent that begins a trace", .min = 0, .max = 1), \
                DAEMON_KEY("tracing", "queue_limit", CONFIG_U64, type, member.trace_queue_limit, "8192",               \
                        "Spans that may wait for the collector; more are dropped", .min = 64, .max = 1000000,          \
                        .at_start = true)

#define DAEMON_KEYS(type, member)                                                                                      \
        NATS_KEYS(type, member),                                                                                       \
                DAEMON_KEY("http", "listen", CONFIG_LISTEN, type, member.http_listen, "127.0.0.1:0",                   \
                        "ADDRESS:PORT of the status page, /metrics, /healthz and /readyz (port 0 picks one), or none", \
                        .at_start = true),                                                                             \
                DAEMON_KEY("log", "level", CONFIG_CHOICE, type, member.log_level, "info",                              \
                        "Least urgent lines to write", .choices = DAEMON_LOG_LEVELS),                                  \
                DAEMON_KEY("log", "target", CONFIG_CHOICE, type, member.log_target, "auto",                            \
                        "auto: journal as a service, else stderr", .choices = DAEMON_LOG_TARGETS, .at_start = true),   \
                TRACING_KEYS(type, member)
