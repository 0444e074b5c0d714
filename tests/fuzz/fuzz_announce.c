/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "AnnounceRuntimes"

#include "tests/fuzz/fuzz_decoder.h"
