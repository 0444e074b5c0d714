/* SPDX-License-Identifier: MIT */
#pragma once

/* What both daemons tell Prometheus of their connection to NATS. */

#include "common/nats_link.h"
#include "proto/buffer.h"

void link_metrics(Buffer *buffer, const NatsLink *link);
