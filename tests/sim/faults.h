/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Faults: what the seed's schedule does to the world, and how it ends.
 */

#include "tests/sim/sim.h"

void faults_plan(Sim *sim);

/* No more faults: what is paused goes on, what was to come back comes back, delays and losses end. */
void faults_end(Sim *sim);
