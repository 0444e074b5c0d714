/* SPDX-License-Identifier: MIT */

#include "tests/plugins/broken.h"
