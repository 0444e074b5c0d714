/* SPDX-License-Identifier: MIT */

#include "tests/sim/schedule.h"

static bool is_before(const Event *a, const Event *b) {
        return a->usec != b->usec ? a->usec < b->usec : a->sequence < b->sequence;
}

void schedule_add(Schedule *schedule, const Event *event) {
        size_t i;

        if (schedule->n_items == schedule->n_allocated) {
                schedule->n_allocated = MAX_OF(schedule->n_allocated * 2, (size_t)256);
                schedule->items = realloc(schedule->items, schedule->n_allocated * sizeof(Event));
                assert(schedule->items);
        }
        i = schedule->n_items++;
        schedule->items[i] = *event;
        schedule->items[i].sequence = ++schedule->sequence;

        while (i > 0 && is_before(&schedule->items[i], &schedule->items[(i - 1) / 2])) {
                const Event up = schedule->items[i];

                schedule->items[i] = schedule->items[(i - 1) / 2];
                i = (i - 1) / 2;
                schedule->items[i] = up;
        }
}

static void sink(Schedule *schedule, size_t i) {
        for (;;) {
                size_t least = i;
                Event down;

                for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < schedule->n_items; child++)
                        if (is_before(&schedule->items[child], &schedule->items[least]))
                                least = child;
                if (least == i)
                        return;
                down = schedule->items[i];
                schedule->items[i] = schedule->items[least];
                schedule->items[least] = down;
                i = least;
        }
}

bool schedule_take(Schedule *schedule, uint64_t until, Event *ret) {
        if (schedule->n_items == 0 || schedule->items[0].usec > until)
                return false;
        *ret = schedule->items[0];
        schedule->items[0] = schedule->items[--schedule->n_items];
        sink(schedule, 0);
        return true;
}

void schedule_done(Schedule *schedule) {
        for (size_t i = 0; i < schedule->n_items; i++)
                if (schedule->items[i].object && schedule->items[i].drop)
                        schedule->items[i].drop(schedule->items[i].object);
        free(schedule->items);
        *schedule = (Schedule){ 0 };
}
