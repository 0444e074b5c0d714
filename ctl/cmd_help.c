/* SPDX-License-Identifier: MIT */

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/help.h"

static const Argument arguments[] = {
        { .name = "COMMAND",
                .help = "Of one command",
                .words = WORD_COMMAND,
                .is_optional = true,
                .is_repeated = true },
        {},
};

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Command *command;
        size_t n_words = 0, n_used;

        if (ctl->global.json) {
                json_t *all = help_json();
                CtlExit status = ctl_print_json(ctl, all);

                json_decref(all);
                return status;
        }
        while (n_words < invocation->n_words && invocation->words[n_words])
                n_words++;
        if (n_words == 0) {
                help_overview(&ctl->screen, stdout);
                return CTL_EXIT_OK;
        }
        command = command_find(invocation->words, n_words, &n_used);
        if (!command && n_words == 1 && command_begins(invocation->words[0])) {
                help_group(&ctl->screen, invocation->words[0], stdout);
                return CTL_EXIT_OK;
        }
        if (!command || n_used < n_words)
                return ctl_fail(
                        ctl, CTL_EXIT_USAGE, "%s: no such command; `compozyctl help` lists them", invocation->words[0]);
        help_command(&ctl->screen, command, stdout);
        return CTL_EXIT_OK;
}

const Command command_help = {
        .name = "help",
        .summary = "Help, of all or of one command; with --json for programs",
        .arguments = arguments,
        .run = run,
};
