/* SPDX-License-Identifier: MIT */

/*
 * Service: what a dispatcher answers to NATS service discovery (common/discovery.h): what it serves, and how that went.
 *
 * A trigger is processed from its arrival to its outcome, whoever runs it; a verb as long as this process was at it,
 * which only the edge can tell (dispatcher_note_verbs).
 */

#include <stdio.h>

#include "dispatcherd/state.h"

#define SERVICE_NAME "compozy-dispatcher"

int service_make_subject(const Dispatcher *d, unsigned number, char **ret) {
        _cleanup_(buffer_done) Buffer subject = {};

        discovery_subject(&subject, number, SERVICE_NAME, d->id);
        *ret = subject.failed ? NULL : slice_dup(buffer_slice(&subject));
        return *ret ? 0 : -ENOMEM;
}

void service_on_request(Dispatcher *d, const InMessage *message) {
        _cleanup_(buffer_done) Buffer triggers = {}, verbs = {}, control = {};
        char pid[24];
        const int pid_size = snprintf(pid, sizeof(pid), "%llu", (unsigned long long)d->options.pid);
        DiscoveryEndpoint endpoints[] = {
                { .name = "trigger", .queue_group = QUEUE_GROUP, .stats = &d->trigger_stats },
                { .name = "verbs", .queue_group = QUEUE_GROUP, .stats = &d->verb_stats },
                { .name = "control", .stats = &d->control_stats },
        };
        const DiscoveryLabel metadata[] = {
                { "hostname", slice_of(d->options.hostname) },
                { "http", d->options.http_address ? slice_of(d->options.http_address) : SLICE_NONE },
                { "pid", (Slice){ pid, (size_t)pid_size } },
                { "subject_prefix", d->prefix },
        };
        const DiscoveryService service = {
                .name = SERVICE_NAME,
                .description = "Keeps the registry of agent runtimes and routes triggers to them",
                .version = d->options.version,
                .id = d->id,
                .started_real_usec = d->started_real_usec,
                .metadata = metadata,
                .n_metadata = ELEMENTSOF(metadata),
                .endpoints = endpoints,
                .n_endpoints = ELEMENTSOF(endpoints),
        };

        if (message->reply.size == 0)
                return;
        subject_build(&triggers, d->prefix, SUBJECT_TRIGGER, SLICE("*"), SLICE("*"));
        subject_build(&verbs, d->prefix, SUBJECT_DISPATCHER_VERB, SLICE("*"), SLICE_NONE);
        subject_build(&control, d->prefix, SUBJECT_DISPATCHER_CONTROL, d->id, SLICE("*"));
        endpoints[0].subject = buffer_slice(&triggers);
        endpoints[1].subject = buffer_slice(&verbs);
        endpoints[2].subject = buffer_slice(&control);

        buffer_clear(&d->scratch);
        if (!discovery_answer(&service, message->subject, &d->scratch) || d->scratch.failed)
                return;
        outbox_put(d->outbox, &(OutMessage){ .subject = message->reply, .body = buffer_slice(&d->scratch) });
}

uint64_t dispatcher_n_verbs(const Dispatcher *d) {
        return d->verb_stats.n_requests + d->control_stats.n_requests;
}

void dispatcher_note_verbs(Dispatcher *d, uint64_t usec) {
        d->last_served->processing_usec += usec;
}
