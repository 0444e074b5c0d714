/* SPDX-License-Identifier: MIT */

/*
 * The log is not used: it takes a lock and allocates, and the thread may have crashed while it held either. A line on
 * stderr ends in the journal all the same.
 *
 * Only signals that nobody minds are watched: a sanitizer has handlers of its own, and more to say. A stack that
 * overflows leaves no room for the handler either; then there is the core alone.
 */

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "proto/cc.h"
#include "runtimed/plugin_crash.h"

static const struct {
        int number;
        const char *name;
} deadly[] = {
        { SIGSEGV, "SIGSEGV" },
        { SIGBUS, "SIGBUS" },
        { SIGFPE, "SIGFPE" },
        { SIGILL, "SIGILL" },
        { SIGABRT, "SIGABRT" },
};

static _Thread_local struct {
        const char *volatile hook; /* NULL: this thread is in none */
        const Id *plugin, *agent;
} inside;

static char *append(char *at, const char *end, const char *text) {
        const size_t size = MIN_OF(strlen(text), (size_t)(end - at));

        memcpy(at, text, size);
        return at + size;
}

/* Only what is safe in a handler. SA_RESETHAND: what is raised here ends the process as soon as we return. */
static void on_deadly_signal(int number) {
        const char *name = "a signal";
        char line[320], *at = line;

        for (size_t i = 0; i < ELEMENTSOF(deadly); i++)
                if (deadly[i].number == number)
                        name = deadly[i].name;
        if (inside.hook) {
                const char *const parts[] = { "compozy-runtimed: ", name, " in ", inside.hook, "() of the plugin \"",
                        inside.plugin->text, "\", agent \"", inside.agent->text, "\"\n" };

                for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                        at = append(at, line + sizeof(line), parts[i]);
                (void)!write(STDERR_FILENO, line, (size_t)(at - line));
        }
        (void)raise(number);
}

void plugin_crash_watch(void) {
        const struct sigaction watched = { .sa_handler = on_deadly_signal, .sa_flags = (int)SA_RESETHAND };
        struct sigaction now;

        for (size_t i = 0; i < ELEMENTSOF(deadly); i++)
                if (sigaction(deadly[i].number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
                        (void)sigaction(deadly[i].number, &watched, NULL);
}

void plugin_crash_enter(const char *hook, const Id *plugin, const Id *agent) {
        inside.plugin = plugin;
        inside.agent = agent;
        inside.hook = hook;
}

void plugin_crash_leave(void) {
        inside.hook = NULL;
}
