/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Hints: what an operator does next about an error code.
 */

#include "ctl/ctl.h"

/* A sentence for `code`, naming the agent and the execution; NULL when there is none to give. Into `place`. */
const char *hint_for(const char *code, const char *agent_id, const char *exec_id, char *place, size_t size);

/* The same as a note on stderr. */
void hint_show(const Ctl *ctl, const char *code, const char *agent_id, const char *exec_id);
