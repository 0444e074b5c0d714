/* SPDX-License-Identifier: MIT */
#pragma once

/* What a runtime tells Prometheus, and shows on its status page, of what runs its agents and keeps their states:
 * workers, child processes, store. */

#include "proto/buffer.h"
#include "runtimed/exec_host.h"
#include "runtimed/pool.h"
#include "runtimed/store.h"

/* `store` may be NULL: there is none, and its metrics are 0. */
void host_metrics(Buffer *buffer, const Pool *pool, const ExecHost *exec, const Store *store);
void host_page(Buffer *html, const Pool *pool, const ExecHost *exec, const Store *store, const char *where);
