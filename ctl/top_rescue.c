/* SPDX-License-Identifier: MIT */

/*
 * ncurses has endwin() for this, which is not safe in a signal handler: it may have crashed in the middle of itself. So
 * the bytes that it would write are made beforehand; write(2) and tcsetattr(3) are safe (signal-safety(7)).
 */

#include <curses.h>
#include <signal.h>
#include <string.h>
#include <term.h> /* its macros take common names, so nothing else of ours is here */
#include <termios.h>
#include <unistd.h>

#include "ctl/top_rescue.h"
#include "proto/cc.h"

#define STACK_BYTES (64 * 1024) /* for the handler: the crash may be that there is no stack left */

static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT, SIGHUP };

static struct {
        struct termios modes;
        bool has_modes, is_armed;
        char bytes[512];
        size_t n_bytes;
        struct sigaction before[ELEMENTSOF(fatal)];
        stack_t stack_before;
        char stack[STACK_BYTES];
} rescue;

static int take_byte(int byte) {
        if (rescue.n_bytes < sizeof(rescue.bytes))
                rescue.bytes[rescue.n_bytes++] = (char)byte;
        return byte;
}

static void add(const char *capability) {
        char name[16];
        char *text;

        (void)snprintf(name, sizeof(name), "%s", capability); /* tigetstr() takes no const */
        text = tigetstr(name);
        if (text && text != (char *)-1)
                (void)tputs(text, 1, take_byte);
}

/* A fault happens again as soon as the handler is left, with its address for the core; others have to be sent again. */
static bool is_fault(int number, const siginfo_t *info) {
        return info->si_code > 0 && (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL);
}

static void on_fatal(int number, siginfo_t *info, void *context) {
        ssize_t n = write(STDOUT_FILENO, rescue.bytes, rescue.n_bytes);

        (void)n;
        (void)context;
        if (rescue.has_modes)
                (void)tcsetattr(STDOUT_FILENO, TCSANOW, &rescue.modes);
        for (size_t i = 0; i < ELEMENTSOF(fatal); i++)
                if (fatal[i] == number)
                        (void)sigaction(number, &rescue.before[i], NULL);
        if (!is_fault(number, info))
                (void)raise(number); /* pending until the handler is left */
}

void top_rescue_prepare(void) {
        rescue.has_modes = tcgetattr(STDOUT_FILENO, &rescue.modes) == 0;
}

static void make_bytes(void) {
        rescue.n_bytes = 0;
        add("sgr0");
        add("rmkx");
        add("cnorm");
        add("rmcup");
        (void)take_byte('\r');
        (void)take_byte('\n');
}

void top_rescue_arm(void) {
        const stack_t stack = { .ss_sp = rescue.stack, .ss_size = sizeof(rescue.stack) };
        struct sigaction action = { .sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

        if (rescue.is_armed)
                return;
        rescue.is_armed = true;
        make_bytes();
        (void)sigaltstack(&stack, &rescue.stack_before);
        (void)sigemptyset(&action.sa_mask);
        for (size_t i = 0; i < ELEMENTSOF(fatal); i++) {
                (void)sigaction(fatal[i], &action, &rescue.before[i]);
                if (rescue.before[i].sa_handler == SIG_IGN) /* nohup: it will not end us */
                        (void)sigaction(fatal[i], &rescue.before[i], NULL);
        }
}

void top_rescue_disarm(void) {
        if (!rescue.is_armed)
                return;
        rescue.is_armed = false;
        for (size_t i = 0; i < ELEMENTSOF(fatal); i++)
                (void)sigaction(fatal[i], &rescue.before[i], NULL);
        (void)sigaltstack(&rescue.stack_before, NULL);
}
