/* SPDX-License-Identifier: MIT */

/*
 * Timers that behaviours set. Each fires once, as a message in the urgent lane: a paused agent finds it when it goes
 * on. It carries the envelope of the message that set it, so a conversation that goes on by timers stays one. A timer
 * ends with the behaviour that set it: what starts after it sets its own.
 *
 * The limit of timers is one of those that are set and of those that have fired and are not handled yet: a child
 * process can set new ones while its agent handles nothing.
 */

#include "proto/message.h"
#include "runtimed/core_effects.h"

struct Timer {
        Timer *next; /* of its agent's */
        Deadline due;
        Agent *agent;
        uint64_t token;
        Letter *context; /* a reference */
};

/* Where the one of that token is linked; at the end of the list when there is none. `ret_n`: those before it. */
static Timer **find(Agent *agent, uint64_t token, uint64_t *ret_n) {
        Timer **place = &agent->timers;

        *ret_n = 0;
        for (; *place && (*place)->token != token; place = &(*place)->next)
                (*ret_n)++;
        return place;
}

static void end(Runtime *runtime, Timer **place) {
        Timer *timer = *place;

        assert(timer);

        *place = timer->next;
        deadline_disarm(&runtime->deadlines, &timer->due);
        letter_unref(&runtime->letters, timer->context);
        free(timer);
}

static Timer *timer_new(Agent *agent, uint64_t token) {
        Timer *timer = calloc(1, sizeof(*timer));

        if (!timer)
                return NULL;

        deadline_init(&timer->due, DEADLINE_TIMER);
        timer->agent = agent;
        timer->token = token;
        return timer;
}

int wish_timer(Wish *wish) {
        const uint64_t usec = MIN_OF(wish->effect->usec, (uint64_t)DEADLINE_MS_MAX * USEC_PER_MSEC);
        const uint64_t max = wish->runtime->options.max_timers_per_agent;
        Letters *letters = &wish->runtime->letters;
        uint64_t n;
        Timer **place = find(wish->agent, wish->effect->token, &n);

        if (!*place && n + wish->agent->n_fired >= max)
                return wish_refuse(wish, ERROR_LIMIT_EXCEEDED, "it has limits.max_timers_per_agent of %llu already",
                        (unsigned long long)max);
        if (!wish_context(wish))
                return -ENOMEM;
        if (!*place)
                *place = timer_new(wish->agent, wish->effect->token);
        if (!*place)
                return -ENOMEM;

        if ((*place)->context)
                letter_unref(letters, (*place)->context);
        (*place)->context = wish->context;
        wish->context->n_refs++;
        deadline_arm(&wish->runtime->deadlines, &(*place)->due, wish->now.usec + usec);
        return 0;
}

/* One that fired already is no error: the two cross each other. */
int wish_cancel_timer(Wish *wish) {
        uint64_t n;
        Timer **place = find(wish->agent, wish->effect->token, &n);

        if (*place)
                end(wish->runtime, place);
        return 0;
}

void core_on_timer(Runtime *runtime, Deadline *deadline, Instant now) {
        Timer *timer = CONTAINER_OF(deadline, Timer, due);
        Agent *agent = timer->agent;
        Delivery *delivery = delivery_new(&runtime->letters, agent, MAIL_TIMER, timer->context);
        uint64_t n;

        if (delivery) {
                if (runtime->options.tracer)
                        core_begin_delivery_span(runtime, delivery, now);
                agent->n_fired++;
                delivery->id = ++runtime->n_messages;
                delivery->token = timer->token;
                if (core_push_mail(runtime, agent, &delivery->mail) < 0) {
                        core_free_delivery(runtime, delivery);
                        delivery = NULL;
                }
        }
        if (delivery)
                end(runtime, find(agent, timer->token, &n));
        else
                deadline_arm(&runtime->deadlines, deadline, now.usec + USEC_PER_SEC); /* memory may be there by then */
}

void core_end_timers(Runtime *runtime, Agent *agent) {
        while (agent->timers)
                end(runtime, &agent->timers);
}
