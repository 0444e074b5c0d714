/* SPDX-License-Identifier: MIT */

#define FUZZ_TYPE "RegistrationRefused"

#include "tests/fuzz/fuzz_decoder.h"
