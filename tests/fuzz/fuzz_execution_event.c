/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentExecutionEvent"

#include "tests/fuzz/fuzz_decoder.h"
