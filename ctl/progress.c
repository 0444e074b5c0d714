/* SPDX-License-Identifier: MIT */

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/instant.h"
#include "ctl/progress.h"

#define BAR_USEC (100 * USEC_PER_MSEC)
#define LINE_USEC (1 * USEC_PER_SEC)
#define LATER_USEC (10 * USEC_PER_SEC) /* lines of a run that has taken longer than this come as rarely */
#define BAR_COLUMNS_MAX 30
#define COLUMNS_ASSUMED 80
#define LINE_MAX_BYTES 512

void progress_begin(Progress *progress, const Ctl *ctl, const char *noun, uint64_t total, uint64_t now_usec) {
        struct winsize size = { 0 };

        *progress = (Progress){
                .is_bar = ctl->screen.error_is_terminal,
                .is_silent = ctl->global.quiet || ctl->global.json,
                .columns = COLUMNS_ASSUMED,
                .noun = noun,
                .total = total,
                .start_usec = now_usec,
        };
        if (progress->is_bar && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                progress->columns = size.ws_col;
}

bool progress_is_due(const Progress *progress, uint64_t now_usec) {
        const uint64_t last = MAX_OF(progress->shown_usec, progress->start_usec);
        const bool is_later = now_usec - progress->start_usec > LATER_USEC;

        if (progress->is_silent)
                return false;
        if (progress->is_bar)
                return now_usec - last >= BAR_USEC;
        return now_usec - last >= (is_later ? LATER_USEC : LINE_USEC);
}

/* Of late: half of it is what happened since the last look. */
static void update_rate(Progress *progress, uint64_t done, uint64_t now_usec) {
        const uint64_t since = MAX_OF(progress->shown_usec, progress->start_usec);
        double rate;

        if (now_usec <= since || done < progress->shown_done)
                return;
        rate = (double)(done - progress->shown_done) * (double)USEC_PER_SEC / (double)(now_usec - since);
        progress->rate = progress->shown_usec == 0 ? rate : (progress->rate + rate) / 2;
}

/* Whole seconds: more would only flicker. */
static const char *show_left(char *place, uint64_t usec) {
        if (usec >= 10 * USEC_PER_SEC)
                return show_duration(place, usec);
        (void)snprintf(place, SHOWN_MAX, "%llu s", (unsigned long long)((usec + USEC_PER_SEC - 1) / USEC_PER_SEC));
        return place;
}

static void append_bar(char *place, size_t size, size_t width, double fraction) {
        const size_t n = strlen(place), full = (size_t)((double)width * fraction);

        if (n + width + 3 > size)
                return;
        place[n] = '[';
        for (size_t i = 0; i < width; i++)
                place[n + 1 + i] = i < full ? '=' : i == full ? '>' : ' ';
        (void)snprintf(place + n + 1 + width, size - n - 1 - width, "]");
}

size_t progress_line(
        const Progress *progress, uint64_t done, const char *rest, uint64_t now_usec, char *place, size_t size) {
        char tail[LINE_MAX_BYTES], number[3][SHOWN_MAX], left[SHOWN_MAX + 8] = "", percent[16] = "";
        const uint64_t elapsed = now_usec - progress->start_usec;
        const uint64_t span = progress->until_usec - MIN_OF(progress->start_usec, progress->until_usec);
        double fraction = -1;

        if (progress->total > 0) {
                fraction = (double)MIN_OF(done, progress->total) / (double)progress->total;
                if (progress->rate > 0 && done < progress->total)
                        (void)snprintf(left, sizeof(left), "  ETA %s",
                                show_left(number[0], (uint64_t)((double)(progress->total - done) / progress->rate *
                                                                (double)USEC_PER_SEC)));
        } else if (progress->until_usec > 0) {
                fraction = span > 0 ? (double)MIN_OF(elapsed, span) / (double)span : 1;
                (void)snprintf(left, sizeof(left), "  %s left", show_left(number[0], span - MIN_OF(elapsed, span)));
        }
        if (fraction >= 0)
                (void)snprintf(percent, sizeof(percent), "%3.0f%%  ", fraction * 100);
        (void)snprintf(tail, sizeof(tail), "%s%s%s%s %s  %s/s%s%s%s", percent, show_number(number[1], done),
                progress->total > 0 ? "/" : "", progress->total > 0 ? show_number(number[0], progress->total) : "",
                progress->noun, show_rate(number[2], progress->rate), left, rest[0] ? "  " : "", rest);

        place[0] = '\0';
        if (progress->is_bar && fraction >= 0 && progress->columns > strlen(tail) + 8)
                append_bar(place, size, MIN_OF(BAR_COLUMNS_MAX, progress->columns - strlen(tail) - 5), fraction);
        return (size_t)snprintf(place + strlen(place), size - strlen(place), "%s%s", place[0] ? " " : "", tail);
}

void progress_show(Progress *progress, uint64_t done, const char *rest, uint64_t now_usec) {
        char line[LINE_MAX_BYTES];

        if (progress->is_silent)
                return;
        update_rate(progress, done, now_usec);
        progress->shown_usec = now_usec;
        progress->shown_done = done;
        (void)progress_line(progress, done, rest, now_usec, line, sizeof(line));
        if (progress->is_bar) /* cut, since a bar that wraps is not drawn over itself */
                (void)fprintf(stderr, "\r%.*s\033[K", (int)(progress->columns - 1), line);
        else
                (void)fprintf(stderr, "%s\n", line);
        (void)fflush(stderr);
        progress->is_drawn = progress->is_bar;
}

void progress_end(Progress *progress) {
        if (progress->is_drawn)
                (void)fputs("\r\033[K", stderr);
        progress->is_drawn = false;
}
