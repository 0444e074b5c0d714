/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Oracle: sees every message and every fault, and knows what is true; says which promise (docs/design.md) is broken.
 *
 * It never asks a core what it believes in order to judge a message: it keeps its own record from what was published,
 * delivered and lost. README.md says what each check is and what excuses it.
 */

#include "tests/sim/node.h"
#include "tests/sim/sim.h"

Oracle *oracle_new(Sim *sim);
Oracle *oracle_free(Oracle *oracle);

/* processes */

void oracle_on_start(Sim *sim, Node *node);
void oracle_on_stop(Sim *sim, Node *node);
void oracle_on_restart(Sim *sim, Event *event); /* an exited process's successor is due */
void oracle_after_turn(Sim *sim, Node *node);
void oracle_on_work(Sim *sim, Node *node, const Mail *mail); /* a message is handed to a behaviour */

/* messages */

void oracle_on_publish(Sim *sim, Node *node, Message *message); /* reads its meaning */
void oracle_on_lost(
        Sim *sim, const Message *message, const Node *to, const char *why); /* `to` NULL: before the server had it */
void oracle_on_routed(Sim *sim, const Message *message);  /* it is on its way to all who have subscribed */
void oracle_on_unheard(Sim *sim, const Message *message); /* no subscription matched */
void oracle_before_delivery(Sim *sim, Node *node, const Message *message);
void oracle_after_delivery(Sim *sim, Node *node, const Message *message);

/* load */

typedef struct AskOptions {
        uint32_t agent;       /* index in Scenario.agents; INDEX_NONE: one that nobody hosts */
        unsigned retry;       /* RetryPolicy; NONE_GIVEN: the default holds */
        uint64_t deadline_ms; /* 0: not given */
        bool name_exec, wants_reply, labelled;
        bool invalid;        /* the body is JSON, but no TriggerAgent */
        uint32_t again_exec; /* ask for this execution again; INDEX_NONE: a new one */
} AskOptions;

/* Makes a record and returns its number; the exec id, if it is given, is "e<exec>". */
uint32_t oracle_ask(Sim *sim, const Node *caller, const AskOptions *options, uint32_t *ret_exec);

/* A random earlier execution whose id the caller gave; INDEX_NONE when there is none. */
uint32_t oracle_some_exec(Sim *sim, AskOptions *ret_options);

/* the end */

void oracle_on_leave(Sim *sim, Node *node); /* a process that was told to stop ends by itself */

void oracle_check_quiet(Sim *sim);                     /* nothing is left over, everybody knows everybody */
void oracle_check_answered(Sim *sim);                  /* every trigger that had to be answered was */
void oracle_check_fresh(Sim *sim, uint32_t first_ask); /* the last round of triggers and the last verb succeeded */
void oracle_forget_verbs(Sim *sim);                    /* the next one is the one that counts */
