/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "RegistrationTaken"

#include "tests/fuzz/fuzz_decoder.h"
