/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "Answer"

#include "tests/fuzz/fuzz_decoder.h"
