/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a link needs to connect: server addresses, credentials, TLS, checked before anything is tried.
 */

#include <nats/nats.h>

#include "common/nats_link.h"

typedef struct NatsSettings NatsSettings;

/* Returns 0, -EINVAL (bad url, bad seed), -ENOENT, -EACCES, …: `ret_why` says what and where. */
int nats_settings_new(const NatsLinkOptions *options, NatsSettings **ret, NatsReason *ret_why) _must_check_;

/* Made again of the same texts: files are read again. Servers that were learned stay. Returns as before. */
int nats_settings_renew(const NatsSettings *old, NatsSettings **ret, NatsReason *ret_why) _must_check_;

NatsSettings *nats_settings_ref(NatsSettings *settings); /* any thread, as unref */
NatsSettings *nats_settings_unref(NatsSettings *settings);

DEFINE_CLEANUP(NatsSettings *, nats_settings_unref);

/* What they were made of, without callbacks; borrowed as long as the settings. */
const NatsLinkOptions *nats_settings_given(const NatsSettings *settings);

/* For the caller to set the event loop and the error handler. */
natsOptions *nats_settings_options(NatsSettings *settings);

/* natsConnection_Connect() with these options. The settings must stay as long as the connection. Any thread; waits. */
natsStatus nats_settings_connect(NatsSettings *settings, natsConnection **ret);

/* Servers that the cluster told of are tried besides those of the configuration. */
void nats_settings_learn(NatsSettings *settings, natsConnection *connection);
