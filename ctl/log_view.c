/* SPDX-License-Identifier: MIT */

#include <ctype.h>
#include <string.h>

#include "ctl/log_view.h"

#define KEPT_MAX 40 /* enough to see why something did not start */
#define SHOWN_LINE_MAX 8192

typedef struct KeptLine {
        const char *name;
        size_t index;
        char *line;
} KeptLine;

struct LogView {
        const Screen *screen;
        FILE *file;
        LogChoice choice;
        KeptLine kept[KEPT_MAX];
        size_t n_kept; /* of all times; the ring's place is the rest of its division */
};

/* Each process has one of its own: none is that of a warning or an error. */
static const char *const name_colours[] = { "\033[35m", "\033[36m", "\033[34m", "\033[32m" };

static const struct {
        const char *level;
        Colour colour;
} levels[] = {
        { "DEBUG", COLOUR_FAINT },
        { "INFO", COLOUR_NONE },
        { "NOTICE", COLOUR_STRONG },
        { "WARNING", COLOUR_WARNING },
        { "ERR", COLOUR_BAD },
        { "ERROR", COLOUR_BAD },
        { "CRIT", COLOUR_BAD },
        { "ALERT", COLOUR_BAD },
        { "EMERG", COLOUR_BAD },
        { "INF", COLOUR_NONE },
        { "DBG", COLOUR_FAINT },
        { "TRC", COLOUR_FAINT },
        { "WRN", COLOUR_WARNING },
        { "FTL", COLOUR_BAD },
};

/* "2026-11-21 04:41:21.903" or with slashes; returns its size, 0 when it is none. */
static size_t match_time(const char *line) {
        static const char form[] = "dddd-dd-dd dd:dd:dd.ddd";
        size_t n = 0;

        for (; form[n] != '\0'; n++) {
                if (form[n] == 'd' ? !isdigit((unsigned char)line[n])
                                   : line[n] != form[n] && !(form[n] == '-' && line[n] == '/'))
                        return 0;
        }
        while (isdigit((unsigned char)line[n]))
                n++;
        return n;
}

static size_t match_level(const char *line, LogParts *parts) {
        const size_t bracket = line[0] == '[';

        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
                const size_t n = strlen(levels[i].level);
                const char end = line[bracket + n <= strlen(line) ? bracket + n : 0];

                if (strncmp(line + bracket, levels[i].level, n) != 0 || end != (bracket ? ']' : ' '))
                        continue;
                (void)snprintf(parts->level, sizeof(parts->level), "%s", levels[i].level);
                parts->colour = levels[i].colour;
                parts->is_server = bracket == 1;
                return n + 2 * bracket;
        }
        return 0;
}

void log_parts(const char *line, LogParts *ret) {
        const char *at = line;
        size_t n;

        *ret = (LogParts){ .text = line };
        if (at[0] == '[') { /* nats-server's process id */
                n = 1 + strspn(at + 1, "0123456789");
                at += at[n] == ']' && at[n + 1] == ' ' ? n + 2 : 0;
        }
        n = match_time(at);
        if (n == 0)
                return;
        (void)snprintf(ret->time, sizeof(ret->time), "%.12s", at + 11);
        at += n + strspn(at + n, " ");
        n = match_level(at, ret);
        ret->text = at + n + strspn(at + n, " ");
}

LogView *log_view_new(const Screen *screen, FILE *file, LogChoice choice) {
        LogView *view = calloc(1, sizeof(*view));

        if (!view)
                return NULL;
        view->screen = screen;
        view->file = file;
        view->choice = choice;
        return view;
}

LogView *log_view_free(LogView *view) {
        if (!view)
                return NULL;
        for (size_t i = 0; i < KEPT_MAX; i++)
                free(view->kept[i].line);
        free(view);
        return NULL;
}

static void print(LogView *view, const char *name, size_t index, const LogParts *parts) {
        const Screen *screen = view->screen;
        char text[SHOWN_LINE_MAX];

        (void)screen_text(text, sizeof(text), parts->text);
        (void)fprintf(view->file, "%s%-5s%s ", screen->has_colour ? name_colours[index % ELEMENTSOF(name_colours)] : "",
                name, screen->has_colour ? "\033[0m" : "");
        if (parts->time[0] != '\0')
                (void)fprintf(view->file, "%s%s%s %s%-7s%s ", screen_on(screen, COLOUR_FAINT), parts->time,
                        screen_off(screen, COLOUR_FAINT), screen_on(screen, parts->colour), parts->level,
                        screen_off(screen, parts->colour));
        (void)fprintf(view->file, "%s\n", text);
        (void)fflush(view->file);
}

static void keep(LogView *view, const char *name, size_t index, const char *line) {
        KeptLine *kept = &view->kept[view->n_kept % KEPT_MAX];
        char *copy = strdup(line);

        if (!copy)
                return;
        free(kept->line);
        *kept = (KeptLine){ name, index, copy };
        view->n_kept++;
}

void log_view_line(LogView *view, const char *name, size_t index, const char *line) {
        LogParts parts;

        log_parts(line, &parts);
        if (view->choice == LOG_VIEW_ALL ||
                (view->choice == LOG_VIEW_ERRORS && !parts.is_server && parts.colour == COLOUR_BAD) ||
                (view->choice == LOG_VIEW_AUTO && !(parts.is_server && strcmp(parts.level, "INF") == 0)))
                print(view, name, index, &parts);
        else
                keep(view, name, index, line);
}

void log_view_show_kept(LogView *view) {
        for (size_t i = view->n_kept > KEPT_MAX ? view->n_kept - KEPT_MAX : 0; i < view->n_kept; i++) {
                const KeptLine *kept = &view->kept[i % KEPT_MAX];
                LogParts parts;

                log_parts(kept->line, &parts);
                print(view, kept->name, kept->index, &parts);
        }
        view->n_kept = 0;
}
