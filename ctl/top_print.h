/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What `top` shows, for those without a terminal: as text and as JSON. Pure but for the printing.
 */

#include "ctl/ctl.h"
#include "ctl/top_model.h"

/* Returns 0 or -ENOMEM. */
int top_print_text(const Screen *screen, const char *url, const TopModel *model, FILE *file);

/* A new reference; NULL: no memory. */
json_t *top_print_json(const char *url, const TopModel *model);
