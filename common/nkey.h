/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Nkey: new user keys, and the public key that belongs to a seed (NATS ADR-14). nats.c only signs with a seed.
 */

#include "proto/cc.h"
#include "proto/slice.h"

#define NKEY_PUBLIC_SIZE 57 /* 56 characters and the final NUL */
#define NKEY_SEED_SIZE 59   /* 58 and the final NUL */

/* `seed` is the text "SU…". Returns 0, -EINVAL (no user seed, or damaged), -EIO (libcrypto refused). */
int nkey_public_from_seed(Slice seed, char ret[static NKEY_PUBLIC_SIZE]);

/* A new user key: the seed, which is a secret, and its public key. Returns 0 or -EIO (libcrypto refused). */
int nkey_generate(char ret_seed[static NKEY_SEED_SIZE], char ret_public[static NKEY_PUBLIC_SIZE]);
