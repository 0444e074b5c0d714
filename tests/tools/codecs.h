/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every message of proto/ as one function: decode as its receiver would (elements of arrays too), and encode again what
 * was decoded. For tests/tools/proto_tool.c and the fuzzers.
 */

#include "proto/event.h"
#include "proto/registration.h"
#include "proto/report.h"
#include "proto/result.h"
#include "proto/trigger.h"

#define CODEC_NOW UINT64_C(1763675000123456)

/* `again` may be NULL. Returns what the decoder returned. */
typedef int CodecRead(Slice body, Arena *arena, WireError *error, Buffer *again);

typedef struct Codec {
        const char *type;
        CodecRead *read;
} Codec;

static Slice codec_default(Slice slice, Slice fallback) {
        return slice.data ? slice : fallback;
}

static int codec_trigger(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Trigger t;
        const int r = trigger_decode(body, &t, arena, error);

        if (r != 0 || !again)
                return r;

        t.workflow_id = codec_default(t.workflow_id, SLICE("adhoc"));
        t.agent_id = codec_default(t.agent_id, SLICE("a"));
        t.agent_exec_id = codec_default(t.agent_exec_id, SLICE("e"));
        t.dispatch.runtime_id = codec_default(t.dispatch.runtime_id, SLICE("r"));
        t.dispatch.dispatcher_id = codec_default(t.dispatch.dispatcher_id, SLICE("d"));
        t.dispatch.attempt = MAX_OF(t.dispatch.attempt, UINT64_C(1));
        trigger_encode_relay(again, &t);
        return 0;
}

static int codec_result(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Result result;
        const int r = result_decode(body, &result, arena, error);

        if (r == 0 && again)
                result_encode(again, &result, CODEC_NOW);
        return r;
}

static int codec_agents(Slice agents, Arena *arena, WireError *error) {
        size_t cursor = 0;
        Slice element;
        int r = 0;

        for (size_t i = 0; r == 0 && scan_next(agents, &cursor, &element); i++) {
                AgentSummary agent;

                r = agent_summary_decode(element, i, &agent, arena, error);
        }
        return r;
}

static int codec_registered(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Registration registration;
        int r = registration_decode(body, &registration, arena, error);

        if (r == 0)
                r = codec_agents(registration.agent_definitions, arena, error);
        if (r == 0 && again)
                registration_encode(again, &registration, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_updated(Slice body, Arena *arena, WireError *error, Buffer *again) {
        RuntimeUpdated updated;
        int r = runtime_updated_decode(body, &updated, arena, error);

        if (r == 0)
                r = codec_agents(updated.added, arena, error);
        if (r == 0 && again)
                runtime_updated_encode(again, &updated, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_heartbeat(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Heartbeat heartbeat;
        const int r = heartbeat_decode(body, &heartbeat, arena, error);

        if (r == 0 && again)
                heartbeat_encode(again, &heartbeat, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_deregistered(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Deregistration deregistration;
        const int r = deregistration_decode(body, &deregistration, arena, error);

        if (r == 0 && again)
                deregistration_encode(again, &deregistration, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_announce(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Announce announce;
        const int r = announce_decode(body, &announce, arena, error);

        if (r == 0 && again)
                announce_encode(again, &announce, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_report(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Report report;
        ReportCursor cursor = {};
        ExecutionReport execution;
        int r = report_decode(body, &report, arena, error);

        if (r == 0 && again)
                report_encode_head(again, &report, CODEC_NOW);
        while (r == 0) {
                r = execution_report_next(report.executions, &cursor, &execution, arena, error);
                if (r == 0 && again)
                        report_encode_execution(again, &execution);
        }
        if (r == SCAN_E_END && again)
                report_encode_tail(again, &report.load);
        return r == SCAN_E_END ? 0 : r;
}

static int codec_execution_event(Slice body, Arena *arena, WireError *error, Buffer *again) {
        ExecutionEvent event;
        const int r = execution_event_decode(body, &event, arena, error);

        if (r == 0 && again)
                execution_event_encode(again, &event, SLICE("ev"), SLICE("test"), CODEC_NOW);
        return r;
}

static int codec_runtime_update(Slice body, Arena *arena, WireError *error, Buffer *again) {
        RuntimeUpdate update;
        const int r = runtime_update_decode(body, &update, arena, error);

        if (r == 0 && again)
                runtime_update_encode(again, &update, SLICE("ev"), CODEC_NOW);
        return r;
}

static int codec_answer(Slice body, Arena *arena, WireError *error, Buffer *again) {
        Answer answer;
        const int r = answer_decode(body, &answer, arena, error);

        if (r != 0 || !again)
                return r;
        if (answer.ok)
                answer_encode_result(again, answer.result);
        else
                answer_encode_error(again, &(ErrorReply){ error_code_from_name(answer.error_code), answer.error_message,
                                                   answer.error_details });
        return 0;
}

static int codec_taken(Slice body, Arena *arena, WireError *error, Buffer *again) {
        RegistrationTaken taken;
        const int r = registration_taken_decode(body, &taken, arena, error);

        if (r == 0 && again)
                registration_taken_encode(again, &taken);
        return r;
}

static int codec_refused(Slice body, Arena *arena, WireError *error, Buffer *again) {
        RegistrationRefused refused;
        const int r = registration_refused_decode(body, &refused, arena, error);

        if (r == 0 && again)
                registration_refused_encode(again, &refused);
        return r;
}

static const Codec codecs[] = {
        { "TriggerAgent", codec_trigger },
        { "AgentExecutionResult", codec_result },
        { "AgentRuntimeRegistered", codec_registered },
        { "AgentRuntimeUpdated", codec_updated },
        { "AgentRuntimeHeartbeat", codec_heartbeat },
        { "AgentRuntimeDeregistered", codec_deregistered },
        { "AnnounceRuntimes", codec_announce },
        { "AgentExecutionReport", codec_report },
        { "AgentExecutionEvent", codec_execution_event },
        { "DispatcherRuntimeUpdate", codec_runtime_update },
        { "Answer", codec_answer },
        { "RegistrationTaken", codec_taken },
        { "RegistrationRefused", codec_refused },
};

static inline const Codec *codec_find(const char *type) {
        for (size_t i = 0; i < ELEMENTSOF(codecs); i++)
                if (strcmp(codecs[i].type, type) == 0)
                        return &codecs[i];
        return NULL;
}
