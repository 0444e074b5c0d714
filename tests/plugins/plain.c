/* SPDX-License-Identifier: MIT */

#define NAME "plain"
#include "tests/plugins/broken.h"
