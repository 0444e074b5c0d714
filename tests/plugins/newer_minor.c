/* SPDX-License-Identifier: MIT */

#define NAME "newer_minor"
#define MINOR (COMPOZY_ABI_MINOR + 1)
#include "tests/plugins/broken.h"
