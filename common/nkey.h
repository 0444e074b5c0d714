/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Nkey: the public key that belongs to an nkey seed (NATS ADR-14). nats.c signs with a seed but does not derive this.
 */

#include "proto/cc.h"
#include "proto/slice.h"

#define NKEY_PUBLIC_SIZE 57 /* 56 characters and the final NUL */

/* `seed` is the text "SU…". Returns 0, -EINVAL (no user seed, or damaged), -EIO (libcrypto refused). */
int nkey_public_from_seed(Slice seed, char ret[static NKEY_PUBLIC_SIZE]);
