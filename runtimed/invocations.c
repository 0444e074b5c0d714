/* SPDX-License-Identifier: MIT */

/*
 * An Invocation is in flight or kept. In flight if and only if it has a number, which stands in the reply subject of
 * its request, and if and only if asks wait for it: the number is its own and not that of the ask that began it, which
 * may give up before those that joined. When the last one gives up it is forgotten: a late answer would serve nobody,
 * and a repeat asks again under the same key.
 *
 * Kept ones are in two lines: by use, from which the limits take the one that was not asked for the longest, and by
 * age, from which time takes the oldest. Each is kept for the same time from its answer on, so that line needs no
 * sorting.
 */

#include "common/instant.h"
#include "runtimed/invocations.h"

struct Invocation {
        Numbered number; /* first of all: 0 when it is kept */
        HashEntry entry;
        ErrorCode code;
        struct AskLine waiting;
        TAILQ_ENTRY(Invocation) by_use, by_age; /* while it is kept */
        uint64_t expires_usec;
        char *body; /* while it is kept */
        size_t body_size;
        size_t capability_size, key_size;
        char text[]; /* capability, key */
};

typedef struct Key {
        Slice capability, key;
} Key;

void invocations_init(Invocations *invocations, const InvocationsLimits *limits, uint64_t seed) {
        assert(limits);

        *invocations = (Invocations){
                .limits = *limits,
                .by_use = TAILQ_HEAD_INITIALIZER(invocations->by_use),
                .by_age = TAILQ_HEAD_INITIALIZER(invocations->by_age),
        };
        hash_index_init(&invocations->keys, seed);
        number_index_init(&invocations->numbers);
}

static Slice capability_of(const Invocation *invocation) {
        return (Slice){ invocation->text, invocation->capability_size };
}

static Slice key_of(const Invocation *invocation) {
        return (Slice){ invocation->text + invocation->capability_size, invocation->key_size };
}

static bool matches(const HashEntry *entry, const void *key) {
        const Invocation *invocation = CONTAINER_OF(entry, Invocation, entry);
        const Key *wanted = key;

        return slice_equal(capability_of(invocation), wanted->capability) &&
               slice_equal(key_of(invocation), wanted->key);
}

/* What one that is kept counts for. */
static uint64_t bytes_of(const Invocation *invocation, size_t body_size) {
        return sizeof(*invocation) + invocation->capability_size + invocation->key_size + body_size;
}

static bool is_kept(const Invocation *invocation) {
        return invocation->number.number == 0;
}

static void forget(Invocations *invocations, Invocation *invocation) {
        hash_index_remove(&invocations->keys, &invocation->entry);
        if (is_kept(invocation)) {
                TAILQ_REMOVE(&invocations->by_use, invocation, by_use);
                TAILQ_REMOVE(&invocations->by_age, invocation, by_age);
                invocations->stats.n_kept--;
                invocations->stats.n_bytes -= bytes_of(invocation, invocation->body_size);
        } else {
                number_index_remove(&invocations->numbers, &invocation->number);
        }
        free(invocation->body);
        free(invocation);
}

void invocations_done(Invocations *invocations) {
        for (size_t i = 0; invocations->keys.slots && i <= invocations->keys.mask; i++) {
                Invocation *invocation;
                Ask *ask;

                if (!invocations->keys.slots[i])
                        continue;
                invocation = CONTAINER_OF(invocations->keys.slots[i], Invocation, entry);
                TAILQ_FOREACH(ask, &invocation->waiting, waiting)
                ask->invocation = NULL;
                free(invocation->body);
                free(invocation);
        }
        hash_index_done(&invocations->keys);
        number_index_done(&invocations->numbers);
}

/* beginning */

static Invocation *invocation_new(Invocations *invocations, const Key *key, uint32_t hash) {
        Invocation *invocation = malloc(sizeof(*invocation) + key->capability.size + key->key.size);

        if (!invocation)
                return NULL;
        *invocation = (Invocation){
                .entry.hash = hash,
                .waiting = TAILQ_HEAD_INITIALIZER(invocation->waiting),
                .capability_size = key->capability.size,
                .key_size = key->key.size,
        };
        memcpy(invocation->text, key->capability.data, key->capability.size);
        memcpy(invocation->text + key->capability.size, key->key.data, key->key.size);

        if (number_index_add(&invocations->numbers, &invocation->number) < 0)
                goto failed;
        if (hash_index_add(&invocations->keys, &invocation->entry) < 0) {
                number_index_remove(&invocations->numbers, &invocation->number);
                goto failed;
        }
        return invocation;

failed:
        free(invocation);
        return NULL;
}

static void join(Invocation *invocation, Ask *ask) {
        assert(!ask->invocation);

        ask->invocation = invocation;
        TAILQ_INSERT_TAIL(&invocation->waiting, ask, waiting);
}

static void recall(Invocations *invocations, Invocation *invocation, InvocationAnswer *ret) {
        TAILQ_REMOVE(&invocations->by_use, invocation, by_use);
        TAILQ_INSERT_TAIL(&invocations->by_use, invocation, by_use);
        invocations->stats.n_answered++;
        *ret = (InvocationAnswer){ invocation->code, { invocation->body, invocation->body_size } };
}

int invocations_begin(Invocations *invocations, Ask *ask, Slice capability, Slice key, uint64_t now,
        Invocation **ret_invocation, InvocationAnswer *ret_answer) {
        const Key wanted = { capability, key };
        HashEntry *entry;
        uint32_t hash;
        Invocation *invocation;

        if (capability.size == 0 || capability.size > INVOCATION_CAPABILITY_MAX || key.size == 0 ||
                key.size > INVOCATION_KEY_MAX)
                return INVOCATIONS_E_TOO_LONG;

        invocations_expire(invocations, now);
        hash = hash_index_hash(&invocations->keys, capability, key);
        entry = hash_index_find(&invocations->keys, hash, matches, &wanted);
        invocation = entry ? CONTAINER_OF(entry, Invocation, entry) : NULL;
        if (invocation && is_kept(invocation)) {
                recall(invocations, invocation, ret_answer);
                return INVOCATIONS_E_ANSWERED;
        }
        if (invocation) {
                join(invocation, ask);
                invocations->stats.n_joined++;
                return INVOCATIONS_E_JOINED;
        }
        invocation = invocation_new(invocations, &wanted, hash);
        if (!invocation)
                return -ENOMEM;
        join(invocation, ask);
        *ret_invocation = invocation;
        return 0;
}

uint64_t invocation_number(const Invocation *invocation) {
        return invocation->number.number;
}

Invocation *invocations_find(const Invocations *invocations, uint64_t number) {
        Numbered *numbered = number_index_find(&invocations->numbers, number);

        return numbered ? CONTAINER_OF(numbered, Invocation, number) : NULL;
}

const Ask *invocation_first_waiting(const Invocation *invocation) {
        return TAILQ_FIRST(&invocation->waiting);
}

/* ending */

bool invocation_is_final(ErrorCode code, unsigned service_code) {
        if (code == ERROR_NONE)
                return true;
        if (code != ERROR_CAPABILITY_ERROR)
                return false;
        switch (service_code) {
        case 408: /* it waited too long for us */
        case 409: /* another call is in its way, perhaps one with this key */
        case 425: /* too early */
        case 429: /* too many */
                return false;
        default:
                return service_code >= 400 && service_code <= 499;
        }
}

/* Makes room for one more of that size; false: there is none, or an answer is not to be kept at all. */
static bool make_room(Invocations *invocations, uint64_t n_bytes) {
        const InvocationsLimits *limits = &invocations->limits;

        if (limits->answers_max == 0 || n_bytes > limits->bytes_max || limits->keep_usec == 0)
                return false;
        while (invocations->stats.n_kept >= limits->answers_max ||
                invocations->stats.n_bytes + n_bytes > limits->bytes_max) {
                forget(invocations, TAILQ_FIRST(&invocations->by_use));
                invocations->stats.n_evicted++;
        }
        return true;
}

/* False: it can't be kept, for its size or for want of memory; then a repeat asks again. */
static bool keep(Invocations *invocations, Invocation *invocation, const InvocationAnswer *answer, uint64_t now) {
        const uint64_t n_bytes = bytes_of(invocation, answer->body.size);
        char *body;

        if (!make_room(invocations, n_bytes))
                return false;
        body = slice_dup(answer->body);
        if (!body)
                return false;

        number_index_remove(&invocations->numbers, &invocation->number);
        invocation->code = answer->code;
        invocation->body = body;
        invocation->body_size = answer->body.size;
        invocation->expires_usec = now + invocations->limits.keep_usec;
        TAILQ_INSERT_TAIL(&invocations->by_use, invocation, by_use);
        TAILQ_INSERT_TAIL(&invocations->by_age, invocation, by_age);
        invocations->stats.n_kept++;
        invocations->stats.n_bytes += n_bytes;
        return true;
}

Ask *invocations_settle(
        Invocations *invocations, Invocation *invocation, const InvocationAnswer *answer, bool is_final, uint64_t now) {
        Ask *first = TAILQ_FIRST(&invocation->waiting), *ask;

        assert(!is_kept(invocation));

        TAILQ_FOREACH(ask, &invocation->waiting, waiting)
        ask->invocation = NULL;
        TAILQ_INIT(&invocation->waiting);
        if (!is_final || !keep(invocations, invocation, answer, now))
                forget(invocations, invocation);
        return first;
}

Ask *ask_next_waiting(const Ask *ask) {
        return TAILQ_NEXT(ask, waiting);
}

void invocations_leave(Invocations *invocations, Ask *ask) {
        Invocation *invocation = ask->invocation;

        if (!invocation)
                return;
        TAILQ_REMOVE(&invocation->waiting, ask, waiting);
        ask->invocation = NULL;
        if (TAILQ_EMPTY(&invocation->waiting))
                forget(invocations, invocation);
}

uint64_t invocations_next_deadline(const Invocations *invocations) {
        const Invocation *oldest = TAILQ_FIRST(&invocations->by_age);

        return oldest ? oldest->expires_usec : USEC_NEVER;
}

void invocations_expire(Invocations *invocations, uint64_t now) {
        while (invocations_next_deadline(invocations) <= now)
                forget(invocations, TAILQ_FIRST(&invocations->by_age));
}

/* looking */

void invocations_stats(const Invocations *invocations, InvocationsStats *ret) {
        *ret = invocations->stats;
        ret->n_in_flight = invocations->numbers.n;
}

static const char *check_in_flight(const Invocation *invocation) {
        const Ask *ask;

        if (TAILQ_EMPTY(&invocation->waiting))
                return "nobody waits for an invocation that is in flight";
        TAILQ_FOREACH(ask, &invocation->waiting, waiting) {
                if (ask->invocation != invocation)
                        return "an ask waits for an invocation without knowing it";
        }
        return NULL;
}

const char *invocations_check(const Invocations *invocations) {
        const Invocation *invocation;
        size_t n_kept = 0, cursor = 0;
        uint64_t n_bytes = 0, latest = 0;
        const char *wrong = NULL;
        const Numbered *numbered;

        while (!wrong && (numbered = number_index_next(&invocations->numbers, &cursor)))
                wrong = check_in_flight(CONTAINER_OF(numbered, const Invocation, number));
        if (wrong)
                return wrong;

        TAILQ_FOREACH(invocation, &invocations->by_age, by_age) {
                if (!TAILQ_EMPTY(&invocation->waiting) || !is_kept(invocation))
                        return "an invocation is in flight and kept";
                if (invocation->expires_usec < latest)
                        return "the answers that are kept are not in the order of their age";
                latest = invocation->expires_usec;
                n_kept++;
                n_bytes += bytes_of(invocation, invocation->body_size);
        }
        if (n_kept != invocations->stats.n_kept || n_bytes != invocations->stats.n_bytes)
                return "the answers that are kept are counted wrong";
        if (n_kept + invocations->numbers.n != invocations->keys.n)
                return "there are other keys than invocations";
        return NULL;
}
