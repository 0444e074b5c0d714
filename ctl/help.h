/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Help: what --help prints, from the descriptors.
 */

#include <jansson.h>
#include <stdio.h>

#include "ctl/command.h"
#include "ctl/screen.h"

void help_overview(const Screen *screen, FILE *file);
/* Of the commands that begin with that word. */
void help_group(const Screen *screen, const char *word, FILE *file);
void help_command(const Screen *screen, const Command *command, FILE *file);

/* All of it for programs: completion, the lint of the manual. NULL: no memory. */
json_t *help_json(void);
