/* SPDX-License-Identifier: MIT */

#define NAME "somebody_else"
#include "tests/plugins/broken.h"
