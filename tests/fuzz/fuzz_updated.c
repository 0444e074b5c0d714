/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentRuntimeUpdated"

#include "tests/fuzz/fuzz_decoder.h"
