/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentExecutionResult"

#include "tests/fuzz/fuzz_decoder.h"
