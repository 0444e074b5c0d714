/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentRuntimeDeregistered"

#include "tests/fuzz/fuzz_decoder.h"
