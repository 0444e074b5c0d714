/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Watch: tells when definitions (*.json) in a directory have changed, once somebody's editor has come to rest.
 */

#include "proto/cc.h"

typedef struct Watch {
        int fd;              /* to poll; -1: not watching */
        uint64_t due_usec;   /* when the change is to be told; USEC_NEVER: there is none */
        uint64_t since_usec; /* of its first event */
        char name[256];      /* of a file that has changed */
        unsigned n_events;
} Watch;

/* Embedded. Returns 0 or -errno. */
int watch_init(Watch *watch, const char *directory);
void watch_done(Watch *watch);

/* Reads events; returns true when all that changed is to be told now. Then watch->name is one of the files. */
bool watch_turn(Watch *watch, uint64_t now_usec);
