/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Words that all commands about one agent have: which, and where it is.
 */

#include "ctl/command.h"

/* AGENT and nothing else. */
extern const Argument agent_argument[];

/* --runtime of a struct whose member `runtime` is a const char *. */
#define AGENT_RUNTIME_OPTION(type)                                                                        \
        {                                                                                                 \
                .name = "runtime", .letter = 'r', .kind = OPTION_TEXT, .offset = offsetof(type, runtime), \
                .value = "ID", .help = "Where it is, if it is in several places", .words = WORD_RUNTIME,  \
        }
