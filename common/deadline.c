/* SPDX-License-Identifier: MIT */

/*
 * A red-black tree rather than a heap: disarming from the middle is as cheap as arming, nothing is allocated, and
 * the tree's leftmost node is found in the few steps that a loop turn can spare.
 *
 * Beside it stands a line for what comes in order anyway, such as the next look at each execution: in a tree of
 * thousands, arming and disarming each missed the caches at every level (5 % of a dispatcher's time). What would come
 * out of order there goes into the tree.
 */

#include "common/deadline.h"

static int deadline_compare(const Deadline *a, const Deadline *b) {
        if (a->usec != b->usec)
                return a->usec < b->usec ? -1 : 1;
        if (a->sequence != b->sequence)
                return a->sequence < b->sequence ? -1 : 1;
        return 0;
}

/* RB_GENERATE_STATIC() leans on an attribute macro that glibc does not have. */
RB_GENERATE_INTERNAL(DeadlineTree, Deadline, node, deadline_compare, static _unused_)

void deadline_queue_init(DeadlineQueue *queue) {
        assert(queue);

        *queue = (DeadlineQueue){ .tree = RB_INITIALIZER(&queue->tree), .line = TAILQ_HEAD_INITIALIZER(queue->line) };
}

void deadline_init(Deadline *deadline, int kind) {
        assert(deadline);

        *deadline = (Deadline){ .usec = USEC_NEVER, .kind = kind };
}

void deadline_arm(DeadlineQueue *queue, Deadline *deadline, uint64_t usec) {
        deadline_disarm(queue, deadline);
        if (usec == USEC_NEVER)
                return;

        deadline->usec = usec;
        deadline->sequence = queue->sequence++;
        deadline->is_in_line = false;
        (void)RB_INSERT(DeadlineTree, &queue->tree, deadline);
}

void deadline_arm_in_line(DeadlineQueue *queue, Deadline *deadline, uint64_t usec) {
        const Deadline *last;

        deadline_disarm(queue, deadline);
        last = TAILQ_LAST(&queue->line, DeadlineLine);
        if (usec == USEC_NEVER || (last && last->usec > usec)) {
                deadline_arm(queue, deadline, usec);
                return;
        }

        deadline->usec = usec;
        deadline->sequence = queue->sequence++;
        deadline->is_in_line = true;
        TAILQ_INSERT_TAIL(&queue->line, deadline, in_line);
}

void deadline_disarm(DeadlineQueue *queue, Deadline *deadline) {
        assert(queue);
        assert(deadline);

        if (deadline->usec == USEC_NEVER)
                return;
        if (deadline->is_in_line)
                TAILQ_REMOVE(&queue->line, deadline, in_line);
        else
                (void)RB_REMOVE(DeadlineTree, &queue->tree, deadline);
        deadline->usec = USEC_NEVER;
}

/* The macros of tree.h take no const head, though RB_MIN changes nothing. */
static Deadline *earliest(const DeadlineQueue *queue) {
        Deadline *of_tree = RB_MIN(DeadlineTree, (struct DeadlineTree *)&queue->tree),
                 *of_line = TAILQ_FIRST(&queue->line);

        if (!of_tree || !of_line)
                return of_tree ? of_tree : of_line;
        return deadline_compare(of_line, of_tree) < 0 ? of_line : of_tree;
}

uint64_t deadline_queue_next(const DeadlineQueue *queue) {
        const Deadline *first;

        assert(queue);

        first = earliest(queue);
        return first ? first->usec : USEC_NEVER;
}

Deadline *deadline_queue_pop(DeadlineQueue *queue, uint64_t now) {
        Deadline *first;

        assert(queue);

        first = earliest(queue);
        if (!first || first->usec > now)
                return NULL;
        deadline_disarm(queue, first);
        return first;
}
