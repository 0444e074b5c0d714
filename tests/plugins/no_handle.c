/* SPDX-License-Identifier: MIT */

#define NAME "no_handle"
#define HANDLE NULL
#include "tests/plugins/broken.h"
