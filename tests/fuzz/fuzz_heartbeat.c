/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentRuntimeHeartbeat"

#include "tests/fuzz/fuzz_decoder.h"
