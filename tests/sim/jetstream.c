/* SPDX-License-Identifier: MIT */

/*
 * As much of JetStream as a core without durable work asks for: in seeds with JetStream, calls to create or update a
 * stream succeed and puts into a bucket are acknowledged. In the others nobody listens there, as on a server without
 * it.
 */

#include <inttypes.h>

#include "tests/sim/net.h"
#include "tests/sim/sim.h"

bool net_jetstream(Sim *sim, Message *message, const Node *from) {
        _cleanup_(buffer_done) Buffer body = {};
        Slice api = SLICE("$JS.API."), kv = SLICE("$KV.");

        if (!from || !sim->scenario.jetstream)
                return false;
        if (slice_starts_with(message->subject, kv)) {
                buffer_printf(&body, "{\"stream\":\"KV_compozy_runtimes\",\"seq\":%" PRIu64 "}", ++sim->kv_sequence);
        } else if (slice_starts_with(message->subject, SLICE("$JS.API.STREAM.CREATE.")) ||
                   slice_starts_with(message->subject, SLICE("$JS.API.STREAM.UPDATE."))) {
                buffer_printf(&body,
                        "{\"type\":\"io.nats.jetstream.api.v1.stream_create_response\",\"config\":%.*s,"
                        "\"created\":\"2025-11-20T00:00:00Z\",\"state\":{\"messages\":0,\"bytes\":0,\"first_seq\":0,"
                        "\"last_seq\":0,\"consumer_count\":0},\"did_create\":true}",
                        SLICE_ARG(message->body));
        } else if (slice_starts_with(message->subject, api)) {
                buffer_printf(&body, "{\"type\":\"io.nats.jetstream.api.v1.error\",\"error\":{\"code\":404,"
                                     "\"err_code\":10059,\"description\":\"stream not found\"}}");
        } else {
                return false;
        }
        sim_count(sim, COUNT_JETSTREAM);
        if (message->reply.size > 0)
                net_answer(sim, message, buffer_slice(&body));
        return true;
}
