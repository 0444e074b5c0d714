/* SPDX-License-Identifier: MIT */

/*
 * The three answers have a common head; each verb is a row of a table that says what comes behind it. Times are in
 * nanoseconds there, ours are in microseconds.
 */

#include <stdio.h>

#include "common/discovery.h"
#include "proto/emit.h"

#define NSEC_PER_USEC UINT64_C(1000)

void endpoint_fail(EndpointStats *stats, const char *code, Slice text) {
        stats->n_errors++;
        (void)snprintf(stats->last_error, sizeof(stats->last_error), "%s: %.*s", code,
                (int)MIN_OF(text.size, sizeof(stats->last_error)), text.data ? text.data : "");
}

void discovery_subject(Buffer *buffer, unsigned number, const char *name, Slice id) {
        assert(number < DISCOVERY_SUBJECTS);

        buffer_append_slice(buffer, SLICE("$SRV.*"));
        if (number > 0)
                buffer_printf(buffer, ".%s", name);
        if (number > 1)
                buffer_printf(buffer, ".%.*s", SLICE_ARG(id));
}

static void put_endpoint(Buffer *buffer, const DiscoveryEndpoint *endpoint) {
        emit_string(buffer, "name", endpoint->name);
        emit_text(buffer, "subject", endpoint->subject);
        if (endpoint->queue_group)
                emit_string(buffer, "queue_group", endpoint->queue_group);
}

static void put_info(Buffer *buffer, const DiscoveryService *service) {
        emit_string(buffer, "description", service->description);
        emit_array(buffer, "endpoints");
        for (size_t i = 0; i < service->n_endpoints; i++) {
                emit_object(buffer, NULL);
                put_endpoint(buffer, &service->endpoints[i]);
                emit_object_end(buffer);
        }
        emit_array_end(buffer);
}

static void put_stats(Buffer *buffer, const DiscoveryService *service) {
        emit_timestamp(buffer, "started", service->started_real_usec);
        emit_array(buffer, "endpoints");
        for (size_t i = 0; i < service->n_endpoints; i++) {
                const EndpointStats *stats = service->endpoints[i].stats;
                const uint64_t nsec = stats->processing_usec * NSEC_PER_USEC;

                emit_object(buffer, NULL);
                put_endpoint(buffer, &service->endpoints[i]);
                emit_u64(buffer, "num_requests", stats->n_requests);
                emit_u64(buffer, "num_errors", stats->n_errors);
                emit_string(buffer, "last_error", stats->last_error);
                emit_u64(buffer, "processing_time", nsec);
                emit_u64(buffer, "average_processing_time", stats->n_requests > 0 ? nsec / stats->n_requests : 0);
                emit_object_end(buffer);
        }
        emit_array_end(buffer);
}

static const struct {
        Slice verb;
        const char *type;
        void (*put)(Buffer *buffer, const DiscoveryService *service); /* NULL: the head is all */
} answers[] = {
        { { "PING", 4 }, "io.nats.micro.v1.ping_response", NULL },
        { { "INFO", 4 }, "io.nats.micro.v1.info_response", put_info },
        { { "STATS", 5 }, "io.nats.micro.v1.stats_response", put_stats },
};

static void put_head(Buffer *buffer, const DiscoveryService *service) {
        emit_string(buffer, "name", service->name);
        emit_text(buffer, "id", service->id);
        emit_string(buffer, "version", service->version);
        emit_object(buffer, "metadata");
        for (size_t i = 0; i < service->n_metadata; i++)
                emit_text(buffer, service->metadata[i].key, service->metadata[i].value);
        emit_object_end(buffer);
}

/* Takes the first token off, with the dot behind it. */
static Slice take_token(Slice *subject) {
        const char *dot = subject->size > 0 ? memchr(subject->data, '.', subject->size) : NULL;
        const Slice token = { subject->data, dot ? (size_t)(dot - subject->data) : subject->size };

        *subject = slice_after(*subject, dot ? token.size + 1 : token.size);
        return token;
}

bool discovery_answer(const DiscoveryService *service, Slice subject, Buffer *buffer) {
        Slice rest, verb, name, id;

        if (!discovery_is_request(subject))
                return false;
        rest = slice_after(subject, 5);
        verb = take_token(&rest);
        name = take_token(&rest);
        id = take_token(&rest);
        if (rest.size > 0 || (name.size > 0 && !slice_equal(name, slice_of(service->name))) ||
                (id.size > 0 && !slice_equal(id, service->id)))
                return false;

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                if (!slice_equal(verb, answers[i].verb))
                        continue;
                emit_object(buffer, NULL);
                emit_string(buffer, "type", answers[i].type);
                put_head(buffer, service);
                if (answers[i].put)
                        answers[i].put(buffer, service);
                emit_object_end(buffer);
                return true;
        }
        return false;
}
