/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Load: triggers from callers, verbs from an operator, and hostile messages (hostile.c).
 */

#include "tests/sim/oracle.h"
#include "tests/sim/sim.h"

/* Plans all triggers and verbs of the scenario. */
void load_plan(Sim *sim);

/* Publishes a trigger for the scenario's agent; returns its number in the oracle. */
uint32_t load_trigger(Sim *sim, Node *caller, const AskOptions *options);

/* A burst for one agent. */
void load_storm(Sim *sim);

/* A request to one dispatcher; `runtime_id` NULL: none. Answers are counted by the oracle. */
void load_verb(Sim *sim, const char *verb, const char *runtime_id);

Node *load_some_caller(Sim *sim);

/* Random bytes and mutated copies of real messages, to subjects of every kind. */
void hostile_burst(Sim *sim);
void hostile_remember(Sim *sim, Message *message); /* a real one, to be mutated later */
void hostile_done(Sim *sim);
