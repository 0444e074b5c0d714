/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What decoders check besides the tables of scan.h. Each returns 0 or WIRE_E_INVALID. For proto/ itself.
 */

#include "proto/message.h"

#define INTERVAL_MS_MIN 10 /* faster heartbeats would be a load, not a sign of life */

/* A field left out, for members whose absence must be told from 0. */
#define U64_UNSET UINT64_MAX

/* A message may leave its type out, but not bear another one's. */
int check_type(const Metadata *metadata, const char *type, WireError *ret_error);

int check_at_least(const char *field, uint64_t value, uint64_t least, WireError *ret_error);

/* An interval, initialised to U64_UNSET: it becomes `fallback` when it was left out. */
int check_interval(const char *field, uint64_t *interval_ms, uint64_t fallback, WireError *ret_error);

/* An absent or empty body of a message that needs nothing stands for {}. */
Slice body_or_empty_object(Slice body);
