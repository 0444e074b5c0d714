/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "DispatcherRuntimeUpdate"

#include "tests/fuzz/fuzz_decoder.h"
