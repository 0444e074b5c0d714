/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AgentRuntimeRegistered"

#include "tests/fuzz/fuzz_decoder.h"
