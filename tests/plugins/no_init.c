/* SPDX-License-Identifier: MIT */

#define NAME "no_init"
#define INIT NULL
#include "tests/plugins/broken.h"
