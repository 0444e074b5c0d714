/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "TriggerAgent"

#include "tests/fuzz/fuzz_decoder.h"
