/* SPDX-License-Identifier: MIT */

/* It says that it has more than there is. */
#define NAME "overlong_table"
#define SIZE 1048576
#include "tests/plugins/broken.h"
