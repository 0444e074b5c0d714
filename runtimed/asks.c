/* SPDX-License-Identifier: MIT */

/*
 * An Ask is in the table of numbers, in its agent's set and, unless it waits for ever, in the queue of deadlines from
 * asks_add() to asks_remove(), and never in one of them alone. Its texts are copied behind it: the message that it came
 * from may be long done when the answer arrives.
 *
 * The number decides whether an answer is wanted. An answer that comes late, twice or from a stranger finds none, or
 * finds the wrong number only by guessing both the sequence and the inbox that stands before it.
 */

#include "runtimed/asks.h"

void asks_init(Asks *asks, DeadlineQueue *deadlines, int deadline_kind, const AsksLimits *limits) {
        assert(deadlines);
        assert(limits);

        *asks = (Asks){ .deadlines = deadlines, .deadline_kind = deadline_kind, .limits = *limits };
        number_index_init(&asks->numbers);
}

void asks_done(Asks *asks) {
        size_t cursor = 0;
        Ask *ask;

        while ((ask = asks_next(asks, &cursor)))
                asks_remove(asks, ask);
        number_index_done(&asks->numbers);
}

void asks_set_limits(Asks *asks, const AsksLimits *limits) {
        asks->limits = *limits;
}

void ask_owner_init(AskOwner *owner) {
        *owner = (AskOwner){ .asks = LIST_HEAD_INITIALIZER(owner->asks) };
}

static Ask *ask_new(const Asks *asks, const AskWanted *wanted, size_t n_bytes) {
        Ask *ask = malloc(n_bytes);

        if (!ask)
                return NULL;
        *ask = (Ask){
                .kind = wanted->kind,
                .token = wanted->token,
                .message_id = wanted->message_id,
                .asked_usec = wanted->asked_usec,
                .target = { ask->storage, wanted->target.size },
                .n_bytes = n_bytes,
        };
        if (wanted->target.size > 0)
                memcpy(ask->storage, wanted->target.data, wanted->target.size);
        envelope_copy(wanted->envelope, ask->storage + wanted->target.size, &ask->envelope);
        deadline_init(&ask->deadline, asks->deadline_kind);
        return ask;
}

int asks_add(Asks *asks, AskOwner *owner, const AskWanted *wanted, Ask **ret) {
        const size_t n_bytes = sizeof(Ask) + wanted->target.size + envelope_text_size(wanted->envelope);
        Ask *ask;

        assert(wanted->kind == EFFECT_ASK || wanted->kind == EFFECT_INVOKE || wanted->kind == EFFECT_TRIGGER);

        if (owner->n >= asks->limits.per_agent_max)
                return ASKS_E_AGENT_LIMIT;
        if (asks->numbers.n >= MIN_OF(asks->limits.total_max, NUMBER_INDEX_MAX) ||
                asks->n_bytes + n_bytes > asks->limits.bytes_max)
                return ASKS_E_LIMIT;

        ask = ask_new(asks, wanted, n_bytes);
        if (!ask || number_index_add(&asks->numbers, &ask->number) < 0) {
                free(ask);
                return -ENOMEM;
        }
        ask->owner = owner;
        LIST_INSERT_HEAD(&owner->asks, ask, of_owner);
        owner->n++;
        asks->n_bytes += n_bytes;
        deadline_arm_in_line(asks->deadlines, &ask->deadline, wanted->deadline_usec);
        *ret = ask;
        return 0;
}

Ask *asks_find(const Asks *asks, uint64_t number) {
        Numbered *numbered = number_index_find(&asks->numbers, number);

        return numbered ? CONTAINER_OF(numbered, Ask, number) : NULL;
}

void asks_remove(Asks *asks, Ask *ask) {
        assert(!ask->invocation);

        deadline_disarm(asks->deadlines, &ask->deadline);
        number_index_remove(&asks->numbers, &ask->number);
        LIST_REMOVE(ask, of_owner);
        ask->owner->n--;
        asks->n_bytes -= ask->n_bytes;
        free(ask);
}

Ask *ask_owner_next(const AskOwner *owner, const Ask *previous) {
        return previous ? LIST_NEXT(previous, of_owner) : LIST_FIRST(&owner->asks);
}

Ask *asks_next(const Asks *asks, size_t *cursor) {
        Numbered *numbered = number_index_next(&asks->numbers, cursor);

        return numbered ? CONTAINER_OF(numbered, Ask, number) : NULL;
}

size_t asks_size(const Asks *asks) {
        return asks->numbers.n;
}

uint64_t asks_bytes(const Asks *asks) {
        return asks->n_bytes;
}

/* Is it in its agent's set, and does that count right? The first of each set stands for all of it. */
static const char *check_owner(const Ask *first) {
        const Ask *ask;
        uint32_t n = 0;

        LIST_FOREACH(ask, &first->owner->asks, of_owner) {
                if (ask->owner != first->owner)
                        return "an agent's set holds another's ask";
                n++;
        }
        return n == first->owner->n ? NULL : "an agent counts other asks than it has";
}

const char *asks_check(const Asks *asks) {
        size_t cursor = 0, n_listed = 0;
        uint64_t n_bytes = 0;
        const char *wrong = NULL;
        const Ask *ask;

        while (!wrong && (ask = asks_next(asks, &cursor))) {
                n_bytes += ask->n_bytes;
                if (ask != LIST_FIRST(&ask->owner->asks))
                        continue;
                wrong = check_owner(ask);
                n_listed += ask->owner->n;
        }
        if (wrong)
                return wrong;
        if (n_listed != asks->numbers.n)
                return "the agents have other asks than there are";
        return n_bytes == asks->n_bytes ? NULL : "the bytes of asks are counted wrong";
}
