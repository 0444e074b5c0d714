/* SPDX-License-Identifier: MIT */

/*
 * compozyctl: finds the subcommand, gives it its options, passes on its status.
 */

#include <errno.h>
#include <locale.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/daemon.h"
#include "ctl/context.h"
#include "ctl/ctl.h"
#include "ctl/help.h"
#include "ctl/options.h"

/*
 * What could not be written is never a success. Whoever reads is gone, as in `compozyctl events | head`: then we end as
 * other tools do, quietly and by the signal, which nats.c had us ignore.
 */
static CtlExit check_output(const Ctl *ctl, CtlExit status) {
        struct pollfd output = { .fd = STDOUT_FILENO, .events = POLLOUT };
        const bool has_failed = fflush(stdout) != 0 || ferror(stdout);
        const int error = errno;

        if (!has_failed)
                return status;
        if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR)) {
                (void)signal(SIGPIPE, SIG_DFL);
                (void)raise(SIGPIPE);
        }
        return status == CTL_EXIT_OK
                       ? ctl_fail(ctl, CTL_EXIT_FAILURE, "can't write to standard output: %s", strerror(error))
                       : status;
}

static CtlExit run(Ctl *ctl, const CommandLine *line) {
        const Invocation invocation = {
                .command = line->command,
                .words = line->words,
                .n_words = line->n_words,
                .n_behind_dashes = line->n_behind_dashes,
                .options = line->options,
        };

        if (line->wants_version) {
                (void)printf("compozyctl %s\n", COMPOZY_VERSION);
                return CTL_EXIT_OK;
        }
        if (line->group) {
                help_group(&ctl->screen, line->group, stdout);
                return CTL_EXIT_OK;
        }
        if (line->command && line->wants_help) {
                help_command(&ctl->screen, line->command, stdout);
                return CTL_EXIT_OK;
        }
        if (line->command)
                return line->command->run(ctl, &invocation);
        help_overview(&ctl->screen, line->wants_help ? stdout : stderr);
        return line->wants_help ? CTL_EXIT_OK : CTL_EXIT_USAGE;
}

int main(int argc, char **argv) {
        _cleanup_(command_line_done) CommandLine line = {};
        OptionsError error = {};
        Ctl ctl = {};
        CtlExit status;
        int r;

        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL); /* as in daemon_main() */
        (void)setlocale(LC_CTYPE, "");
        options_defaults(global_options, &ctl.global);
        r = options_parse(argc, argv, &ctl.global, &line, &error);
        screen_init(&ctl.screen, (ColourChoice)ctl.global.colour);
        if (r != 0)
                return ctl_fail(
                        &ctl, r < 0 ? CTL_EXIT_FAILURE : CTL_EXIT_USAGE, "%s", r < 0 ? strerror(-r) : error.text);

        status = run(&ctl, &line);
        status = check_output(&ctl, status);
        ctl.client = client_free(ctl.client);
        if (ctl.settings.daemon.url)
                ctl_settings_done(&ctl.settings);
        /* No nats_Close(): it ends nats.c's collecting thread before its delivery thread has handed over the last
         * message, which is then lost (3.4.1), and the process ends here anyway. */
        return (int)status;
}
