/* SPDX-License-Identifier: MIT */

#define NAME "other_major"
#define MAJOR 2
#include "tests/plugins/broken.h"
