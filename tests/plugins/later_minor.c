/* SPDX-License-Identifier: MIT */

/*
 * A plugin made with a later header, that has more members, but can do without them.
 */

#include "tests/plugins/broken.h"

typedef struct LaterBehavior {
        compozy_behavior known;
        void (*added)(void);
} LaterBehavior;

extern const LaterBehavior later __asm__("compozy_behavior_table");

COMPOZY_EXPORT const LaterBehavior later = {
        .known = { MAGIC, sizeof(LaterBehavior), MAJOR, MINOR, "later_minor", NULL, init, stop, handle, NULL },
};
