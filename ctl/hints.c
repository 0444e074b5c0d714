/* SPDX-License-Identifier: MIT */

#include <stdio.h>
#include <string.h>

#include "ctl/hints.h"

/* %a stands for the agent's id, %e for the execution's. */
static const struct {
        const char *code, *text;
} hints[] = {
        { "AGENT_UNKNOWN", "`compozyctl agents` lists those that there are; `compozyctl agent create` makes one" },
        { "NO_RUNTIME", "`compozyctl why %a` says why none of its runtimes could take it" },
        { "OVERLOADED", "`compozyctl status` shows what waits; more runtimes, or fewer triggers at once" },
        { "MAILBOX_FULL", "`compozyctl agent show %a` shows its mailbox; its definition has mailbox_capacity" },
        { "DEADLINE_EXCEEDED", "--timeout or --deadline gives it longer; `compozyctl why %e` says where it was" },
        { "RUNTIME_LOST", "it may have run; --retry always has such triggers run again" },
        { "RUNTIME_DRAINING", "`compozyctl runtimes` shows which are draining; `compozyctl runtime resume` ends it" },
        { "AGENT_STOPPED", "`compozyctl agent start %a` starts it" },
        { "AGENT_FAILED", "`compozyctl agent show %a` says why; `compozyctl agent start %a` starts it again" },
        { "AGENT_CRASHED", "the journal of its runtime has what it wrote: journalctl COMPOZY_AGENT_ID=%a" },
        { "TOPIC_FORBIDDEN", "results may go to <prefix>.results.>, and to subjects that don't begin with <prefix>. "
                             "or $" },
};

static void expand(const char *text, const char *agent_id, const char *exec_id, char *place, size_t size) {
        size_t n = 0;

        for (const char *c = text; *c && n + 1 < size; c++) {
                const char *id = c[0] == '%' && c[1] == 'a' ? agent_id : c[0] == '%' && c[1] == 'e' ? exec_id : NULL;

                if (id)
                        n += (size_t)snprintf(place + n, size - n, "%s", id);
                else
                        place[n++] = *c;
                c += id != NULL;
                n = MIN_OF(n, size - 1);
        }
        place[n] = '\0';
}

const char *hint_for(const char *code, const char *agent_id, const char *exec_id, char *place, size_t size) {
        for (size_t i = 0; i < ELEMENTSOF(hints); i++)
                if (strcmp(hints[i].code, code) == 0) {
                        expand(hints[i].text, agent_id, exec_id, place, size);
                        return place;
                }
        return NULL;
}

void hint_show(const Ctl *ctl, const char *code, const char *agent_id, const char *exec_id) {
        char place[512];
        const char *hint = hint_for(code, agent_id, exec_id, place, sizeof(place));

        if (hint)
                ctl_note(ctl, "hint: %s", hint);
}
