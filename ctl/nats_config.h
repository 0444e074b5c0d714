/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NatsConfig: the files that `compozyctl nats-config` makes of permissions: a server's configuration, and settings for
 * each principal. Pure: texts into buffers; the command puts them into files.
 */

#include "ctl/permissions.h"

typedef struct NatsConfig {
        Permissions permissions;
        const char *directory;                   /* absolute; where the files will be */
        const char *listen;                      /* ADDRESS:PORT of the server */
        const char *url;                         /* how the others reach it */
        const char *store_dir;                   /* of JetStream */
        const char *tls_cert, *tls_key, *tls_ca; /* absolute paths, or NULL: no TLS */
        bool tls_verify;                         /* clients show a certificate, too */
} NatsConfig;

/* "runtime-r1": the stem of the names of a principal's files. */
void nats_config_label(const Principal *principal, Buffer *buffer);

/* nats.conf: a whole server, that includes accounts.conf. */
void nats_config_write_server(const NatsConfig *config, Buffer *buffer);

/* accounts.conf: users and permissions. */
void nats_config_write_accounts(const NatsConfig *config, Buffer *buffer);

/* A daemon's configuration, or a context of compozyctl. */
void nats_config_write_settings(const NatsConfig *config, const Principal *principal, Buffer *buffer);
