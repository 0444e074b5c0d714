/* SPDX-License-Identifier: MIT */

#define NAME "unresolved"
#define INIT nobody_has_this
#include "compozy/behavior.h"

extern int nobody_has_this(compozy_call *call, const compozy_start *start, void **ret_agent);

#include "tests/plugins/broken.h"
