/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * DiagExec: every sentence that is logged about child processes. See diag.h.
 */

#include "common/log.h"
#include "proto/cc.h"
#include "proto/slice.h"

void diag_exec_started(Slice agent_id, uint64_t pid, const char *program);
void diag_exec_ended(Slice agent_id, uint64_t pid, const char *how);
void diag_exec_crashed(Slice agent_id, uint64_t pid, const char *why);
void diag_exec_forced(Slice agent_id, uint64_t pid, const char *signal, uint64_t waited_ms);
void diag_exec_wish_refused(Slice agent_id, Slice method, const char *why, LogLimit *limit, uint64_t now);

/* A line of its stderr, and how many were left out before it. */
void diag_exec_stderr(Slice agent_id, uint64_t pid, Slice line, bool is_cut);
void diag_exec_stderr_left_out(Slice agent_id, uint64_t pid, uint64_t n_lines);

void diag_exec_warden_lost(void);
