/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentExecutionReport"

#include "tests/fuzz/fuzz_decoder.h"
