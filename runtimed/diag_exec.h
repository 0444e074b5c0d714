/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * DiagExec: every sentence that is logged about child processes. That one was lost is said where it is decided what
 * follows (diag_agent_restarts()). See diag.h.
 */

#include "common/log.h"
#include "proto/cc.h"
#include "proto/slice.h"

void diag_exec_started(Slice agent_id, uint64_t pid, const char *program);
void diag_exec_ended(Slice agent_id, uint64_t pid, const char *how);
void diag_exec_forced(Slice agent_id, uint64_t pid, const char *signal, uint64_t waited_ms);
void diag_exec_wish_refused(Slice agent_id, Slice method, const char *why);

void diag_exec_warden_lost(void);
