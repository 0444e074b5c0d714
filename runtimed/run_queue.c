/* SPDX-License-Identifier: MIT */

/*
 * Strictly "higher first" starves the lower classes while a higher one is never empty. So a waiting class counts how
 * often it is passed over, and past its patience it takes one turn before all others. With all three always busy, of 45
 * turns background gets about one, batched five, realtime the rest: slowed, never starved, and the longest wait of the
 * first in line is known: its patience.
 *
 * The least patient (lowest) class is asked first: both can run out of patience in the same turn, and background's
 * comes up more rarely.
 */

#include "runtimed/run_queue.h"

const unsigned run_queue_patience[_AGENT_CLASS_MAX] = {
        [AGENT_CLASS_REALTIME] = 0,
        [AGENT_CLASS_BATCHED] = 8,     /* about 12 % of the turns under full load */
        [AGENT_CLASS_BACKGROUND] = 40, /* about 2 % */
};

void run_queue_push(RunQueue *queue, Run *run) {
        assert(run->agent_class < _AGENT_CLASS_MAX);

        run->next = NULL;
        if (queue->classes[run->agent_class].last)
                queue->classes[run->agent_class].last->next = run;
        else
                queue->classes[run->agent_class].first = run;
        queue->classes[run->agent_class].last = run;
        queue->n_runs++;
}

void run_queue_join(RunQueue *queue, RunQueue *more) {
        for (int c = 0; c < _AGENT_CLASS_MAX; c++) {
                if (!more->classes[c].first)
                        continue;
                if (queue->classes[c].last)
                        queue->classes[c].last->next = more->classes[c].first;
                else
                        queue->classes[c].first = more->classes[c].first;
                queue->classes[c].last = more->classes[c].last;
        }
        queue->n_runs += more->n_runs;
        *more = (RunQueue){};
}

static int choose(const RunQueue *queue) {
        for (int c = _AGENT_CLASS_MAX - 1; c > 0; c--)
                if (queue->classes[c].first && queue->classes[c].passed_over >= run_queue_patience[c])
                        return c;

        for (int c = 0; c < _AGENT_CLASS_MAX; c++)
                if (queue->classes[c].first)
                        return c;

        return -1;
}

Run *run_queue_pop(RunQueue *queue) {
        int chosen = choose(queue);
        Run *run;

        if (chosen < 0)
                return NULL;

        run = queue->classes[chosen].first;
        queue->classes[chosen].first = run->next;
        if (!run->next)
                queue->classes[chosen].last = NULL;
        queue->n_runs--;
        run->next = NULL;

        queue->classes[chosen].passed_over = 0;
        for (int c = 0; c < _AGENT_CLASS_MAX; c++)
                if (c != chosen && queue->classes[c].first)
                        queue->classes[c].passed_over++;
        return run;
}

void run_turn_begin(RunTurn *turn, const Run *run, uint64_t now_usec) {
        assert(run->quantum > 0);

        *turn = (RunTurn){ .end_usec = now_usec + RUN_TURN_USEC, .n_left = run->quantum };
}

bool run_turn_is_over(RunTurn *turn, uint64_t now_usec) {
        turn->n_left--;
        return turn->n_left == 0 || now_usec >= turn->end_usec;
}
