/* SPDX-License-Identifier: MIT */

#define NAME "short_table"
#define SIZE offsetof(compozy_behavior, checkpoint)
#include "tests/plugins/broken.h"
