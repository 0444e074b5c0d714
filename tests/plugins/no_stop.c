/* SPDX-License-Identifier: MIT */

#define NAME "no_stop"
#define STOP NULL
#include "tests/plugins/broken.h"
