/* SPDX-License-Identifier: MIT */

/*
 * What a faulty or malicious peer might send: random bytes, and real messages with bytes changed, cut or doubled. A
 * mutated message that is still a well-formed one of its kind is not sent: it would be a forgery in somebody's name,
 * which nothing here claims to withstand (authentication is the server's), and the oracle would blame the cores for
 * obeying it.
 */

#include <stdio.h>

#include "proto/registration.h"
#include "proto/report.h"
#include "proto/trigger.h"
#include "tests/sim/load.h"

static const char *const subjects[] = {
        "compozy.commands.agent.w1.trigger.a1",
        "compozy.commands.agent.w1.trigger.a b",
        "compozy.commands.agent..trigger.a1",
        "compozy.commands.agent.w1.cancel.e1",
        "compozy.commands.agent_dispatcher.list_runtimes",
        "compozy.commands.agent_dispatcher.register_runtime",
        "compozy.commands.agent_dispatcher.explain",
        "compozy.commands.agent_dispatcher.no_such_verb",
        "compozy.commands.agent_runtime.announce",
        "compozy.events.agent.definition.r1.registered",
        "compozy.events.agent.definition.r1.updated",
        "compozy.events.agent.definition.r1.deregistered",
        "compozy.events.agent.definition.r1.heartbeat",
        "compozy.events.agent.definition.mallory.heartbeat",
        "compozy.runtime.r1.trigger",
        "compozy.runtime.r1.control.status",
        "compozy.runtime.r1.control.announce",
        "compozy.runtime.r1.control.get_agent",
        "compozy.runtime.r1.control.no_such_verb",
        "compozy.runtime.r1.nothing",
        "_INBOX.d1x1.report",
        "_INBOX.d1x1.x",
        "_INBOX.r1x1.x",
};

void hostile_remember(Sim *sim, Message *message) {
        Message **place = &sim->remembered[sim->n_remembered++ % ELEMENTSOF(sim->remembered)];

        (void)message_unref(*place);
        *place = message_ref(message);
}

void hostile_done(Sim *sim) {
        for (size_t i = 0; i < ELEMENTSOF(sim->remembered); i++)
                sim->remembered[i] = message_unref(sim->remembered[i]);
}

/* Would the receiver take it at its word? */
static bool is_well_formed(Slice subject, Slice body) {
        _cleanup_(arena_clear) Arena arena = {};
        WireError error;
        Registration registration = {};
        Heartbeat heartbeat = {};
        Deregistration deregistration = {};
        RuntimeUpdated updated = {};
        Report report = {};
        Trigger trigger = {};

        switch (subject_parse(SLICE(SUBJECT_PREFIX_DEFAULT), subject).kind) {
        case SUBJECT_RUNTIME_REGISTERED:
                return registration_decode(body, &registration, &arena, &error) == 0;
        case SUBJECT_RUNTIME_HEARTBEAT:
                return heartbeat_decode(body, &heartbeat, &arena, &error) == 0;
        case SUBJECT_RUNTIME_DEREGISTERED:
                return deregistration_decode(body, &deregistration, &arena, &error) == 0;
        case SUBJECT_RUNTIME_UPDATED:
                return runtime_updated_decode(body, &updated, &arena, &error) == 0;
        case SUBJECT_DISPATCHER_REPORT:
        case SUBJECT_NONE:
                return report_decode(body, &report, &arena, &error) == 0 ||
                       trigger_decode(body, &trigger, &arena, &error) == 0;
        default: /* all optional: whatever is JSON of the right types */
                return trigger_decode(body, &trigger, &arena, &error) == 0;
        }
}

static void mutate(Rng *rng, Buffer *body) {
        unsigned n = (unsigned)rng_between(rng, 1, 4);

        for (unsigned i = 0; i < n && body->size > 0; i++) {
                size_t at = rng_below(rng, body->size);

                switch (rng_below(rng, 4)) {
                case 0:
                        body->data[at] = (char)rng_below(rng, 256);
                        break;
                case 1:
                        body->size = at;
                        break;
                case 2:
                        body->data[at] = "{}[]\",:0-\\"[rng_below(rng, 10)];
                        break;
                default:
                        if (buffer_reserve(body, at) == 0)
                                buffer_append(body, body->data, at);
                        break;
                }
        }
}

static void random_bytes(Rng *rng, Buffer *body) {
        size_t n = rng_chance(rng, 50) ? rng_below(rng, 3000) : rng_below(rng, 40);

        if (rng_chance(rng, 300))
                buffer_append_char(body, '{');
        for (size_t i = 0; i < n; i++)
                buffer_append_char(
                        body, rng_chance(rng, 500) ? "{}[]\":,0"[rng_below(rng, 8)] : (char)rng_below(rng, 256));
}

static void send_one(Sim *sim, Node *from) {
        Rng *rng = &sim->rng_load;
        _cleanup_(buffer_done) Buffer body = {};
        const Message *real = sim->remembered[rng_below(rng, ELEMENTSOF(sim->remembered))];
        Slice subject = slice_of(subjects[rng_below(rng, ELEMENTSOF(subjects))]), reply = SLICE_NONE;

        if (real && rng_chance(rng, 700)) {
                subject = rng_chance(rng, 800) ? real->subject : subject;
                reply = real->reply;
                buffer_append_slice(&body, real->body);
                mutate(rng, &body);
        } else {
                random_bytes(rng, &body);
        }
        if (rng_chance(rng, 300))
                reply = SLICE("compozy.commands.agent_runtime.announce");
        if (body.failed || is_well_formed(subject, buffer_slice(&body)) || !subject_is_valid(subject))
                return;
        net_publish(sim, from, &(OutMessage){ .subject = subject, .reply = reply, .body = buffer_slice(&body) });
}

void hostile_burst(Sim *sim) {
        unsigned n = (unsigned)rng_between(&sim->rng_load, 5, 60);

        for (unsigned i = 0; i < n; i++)
                send_one(sim, load_some_caller(sim));
}
