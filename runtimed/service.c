/* SPDX-License-Identifier: MIT */

/*
 * What a runtime answers to NATS service discovery (common/discovery.h): what it serves, and how that went. A trigger
 * is processed from its acceptance to its answer, a control verb as long as the loop was at it.
 */

#include <stdio.h>

#include "runtimed/core.h"

#define SERVICE_NAME "compozy-runtime"
#define NUMBER_MAX 24

int core_make_service_subject(const Runtime *runtime, unsigned number, char **ret) {
        _cleanup_(buffer_done) Buffer subject = {};

        discovery_subject(&subject, number, SERVICE_NAME, runtime->id);
        *ret = subject.failed ? NULL : slice_dup(buffer_slice(&subject));
        return *ret ? 0 : -ENOMEM;
}

static Slice format_number(char *text, uint64_t number) {
        return (Slice){ text, (size_t)snprintf(text, NUMBER_MAX, "%llu", (unsigned long long)number) };
}

static Slice optional(const char *text) {
        return text ? slice_of(text) : SLICE_NONE;
}

void core_on_discovery(Runtime *runtime, const InMessage *message) {
        const RuntimeOptions *options = &runtime->options;
        char epoch[NUMBER_MAX], pid[NUMBER_MAX];
        const DiscoveryEndpoint endpoints[] = {
                { .name = "trigger", .subject = slice_of(runtime->texts[0]), .stats = &runtime->trigger_stats },
                { .name = "control", .subject = slice_of(runtime->texts[1]), .stats = &runtime->control_stats },
        };
        const DiscoveryLabel metadata[] = {
                { "epoch", format_number(epoch, runtime->session.epoch) },
                { "state", optional(session_state_name(runtime->session.state)) },
                { "hostname", optional(options->hostname) },
                { "ip_address", optional(options->ip_address) },
                { "labels", optional(options->labels) },
                { "http", optional(options->http_address) },
                { "pid", format_number(pid, options->pid) },
                { "subject_prefix", runtime->prefix },
        };
        const DiscoveryService service = {
                .name = SERVICE_NAME,
                .description = "Hosts agents and runs what dispatchers send them",
                .version = options->version ? options->version : "0.0.0",
                .id = runtime->id,
                .started_real_usec = runtime->started_real_usec,
                .metadata = metadata,
                .n_metadata = ELEMENTSOF(metadata),
                .endpoints = endpoints,
                .n_endpoints = ELEMENTSOF(endpoints),
        };

        if (message->reply.size == 0 || !runtime->is_up || !subject_may_receive_result(runtime->prefix, message->reply))
                return;

        buffer_clear(&runtime->scratch);
        if (discovery_answer(&service, message->subject, &runtime->scratch) && !runtime->scratch.failed)
                core_publish_copy(runtime, message->reply, SLICE_NONE, buffer_slice(&runtime->scratch));
}

uint64_t runtime_n_requests(const Runtime *runtime) {
        return runtime->control_stats.n_requests;
}

void runtime_note_requests(Runtime *runtime, uint64_t usec) {
        runtime->control_stats.processing_usec += usec;
}
