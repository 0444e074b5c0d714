/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * NatsLogin: who we are, to a server that asks: a user's nkey, or a user's JWT with its nkey, from a file that is read
 * again for each connection.
 *
 * nats.c signs well but can't send every signature: its base 64 (seen in version 3.4.1) takes one that begins with
 * a zero byte for an empty one, so with one nonce in 256 the server refuses a good key. Here such a nonce ends the
 * attempt before the server hears of it, and nats_login_connect() makes another, which gets another nonce.
 */

#include <nats/nats.h>

#include "common/nats_link.h"
#include "proto/cc.h"

typedef struct NatsLogin NatsLogin;

/*
 * `key` is the configuration's name for the file, borrowed for good. `has_jwt`: a file of credentials; else one with a
 * seed somewhere in it. Returns 0, -EINVAL (not in the file), -ENOENT, -EACCES, ...: `ret_why` says what and where.
 */
int nats_login_new(const char *path, const char *key, bool has_jwt, NatsLogin **ret, NatsReason *ret_why) _must_check_;
NatsLogin *nats_login_free(NatsLogin *login);

DEFINE_CLEANUP(NatsLogin *, nats_login_free);

/* Sets the handlers that nats.c asks. The login must live as long as connections that are made with the options. */
natsStatus nats_login_apply(NatsLogin *login, natsOptions *options);

/* natsConnection_Connect(), again while the signature is one that can't be sent. `login` may be NULL. Any thread. */
natsStatus nats_login_connect(NatsLogin *login, natsOptions *options, natsConnection **ret);

/* For tests: is it a signature that nats.c can send? */
bool nats_login_can_send(const unsigned char *signature);
