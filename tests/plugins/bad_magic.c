/* SPDX-License-Identifier: MIT */

#define NAME "bad_magic"
#define MAGIC 7
#include "tests/plugins/broken.h"
