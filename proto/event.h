/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Events that observers read: AgentExecution{Dispatched,DispatchFailed,DeadLettered,Started,Completed,Failed} and
 * DispatcherRuntimeUpdate.
 */

#include "proto/message.h"

typedef enum ExecutionEventKind {
        EXECUTION_EVENT_NONE,
        EXECUTION_EVENT_DISPATCHED,
        EXECUTION_EVENT_DISPATCH_FAILED,
        EXECUTION_EVENT_DEAD_LETTERED,
        EXECUTION_EVENT_STARTED,
        EXECUTION_EVENT_COMPLETED,
        EXECUTION_EVENT_FAILED,
        _EXECUTION_EVENT_KIND_MAX,
} ExecutionEventKind;

/* The message's type, e.g. "AgentExecutionStarted". */
const char *execution_event_type(ExecutionEventKind kind);

typedef struct ExecutionEvent {
        Metadata metadata;
        ExecutionEventKind kind; /* decoding: from metadata.type */
        Slice workflow_id, workflow_exec_id;
        Slice agent_id, agent_exec_id;
        Slice runtime_id; /* absent when no runtime had it */
        uint64_t epoch;
        uint64_t attempt;
        unsigned status;    /* ResultStatus; COMPLETED and FAILED */
        double duration_ms; /* likewise */
        ErrorReply error;   /* FAILED, DISPATCH_FAILED, DEAD_LETTERED */
        Slice error_code;   /* decoding only */
} ExecutionEvent;

int execution_event_decode(Slice body, ExecutionEvent *ret, Arena *arena, WireError *ret_error);
void execution_event_encode(
        Buffer *buffer, const ExecutionEvent *event, Slice event_id, Slice source, uint64_t real_usec);

typedef enum RuntimeChange {
        RUNTIME_CHANGE_NONE,
        RUNTIME_CHANGE_ADDED,
        RUNTIME_CHANGE_UPDATED,
        RUNTIME_CHANGE_SUSPECT,
        RUNTIME_CHANGE_DRAINING,
        RUNTIME_CHANGE_REMOVED,
        _RUNTIME_CHANGE_MAX,
} RuntimeChange;

extern const char *const runtime_change_names[_RUNTIME_CHANGE_MAX + 1];

typedef struct RuntimeUpdate {
        Metadata metadata;
        Slice dispatcher_id; /* payload.dispatcher_id */
        unsigned change;     /* RuntimeChange */
        uint64_t runtimes_live;
        Slice reason;
        Slice agent_runtime; /* raw object: the runtime's record */
} RuntimeUpdate;

int runtime_update_decode(Slice body, RuntimeUpdate *ret, Arena *arena, WireError *ret_error);
void runtime_update_encode(Buffer *buffer, const RuntimeUpdate *update, Slice event_id, uint64_t real_usec);
