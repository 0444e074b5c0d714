/* SPDX-License-Identifier: MIT */

/* What bears the name of the table is code. */

void compozy_behavior_table(void);

__attribute__((visibility("default"))) void compozy_behavior_table(void) {
}
