/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ExecLine: JSON-RPC 2.0 with a child process, one object per line: docs/exec.md has the protocol, this file both of
 * its directions.
 *
 * Pure. What is read borrows from the line and from the arena. What is written is a whole line with its end.
 */

#include "proto/arena.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/slice.h"
#include "proto/wire_error.h"
#include "runtimed/behavior.h"
#include "runtimed/effect.h"

#define EXEC_PROTOCOL 1
#define EXEC_ID_MAX 128 /* bytes of a request's id as it stands in the line: we have to repeat it */

/* JSON-RPC's own error codes, and ours for everything that an agent's wish can come to. */
#define EXEC_RPC_METHOD_NOT_FOUND (-32601)
#define EXEC_RPC_INVALID_PARAMS (-32602)
#define EXEC_RPC_FAILED (-32000)

/* from the child */

typedef struct ExecLine {
        Slice method; /* absent: it is a response */

        /* a request, or, without an id, a notification */
        Slice id;     /* as it stood: a text or a number */
        Slice params; /* raw object, or absent */

        /* a response */
        uint64_t response_to;
        Slice result; /* raw value, or absent */
        bool is_error;
        int64_t rpc_code;
        Slice message;
        ErrorCode code; /* by its name in error.data.code, if an agent may give that one; else ERROR_NONE */
} ExecLine;

/* Returns 0, WIRE_E_INVALID (it is no line of the protocol; the sentence says why), -ENOMEM. */
int exec_line_read(Slice line, Arena *arena, ExecLine *ret, WireError *ret_error);

enum {
        EXEC_WISH_E_OK,

        EXEC_WISH_E_METHOD = WIRE_E_INVALID + 1, /* no such method */
};

typedef struct ExecWish {
        uint64_t message_id; /* the request that it says it belongs to; 0: it does not say */
        bool is_answered;    /* by a MESSAGE_ANSWER, if it is wanted; else there is nothing to wait for */
        bool is_awaited;     /* by one if it is wanted or not */
} ExecWish;

/*
 * Appends what a request or notification wants to the list, without token. Bytes are borrowed from the line and from
 * the list's arena. Returns 0, WIRE_E_INVALID (its params make no sense), EXEC_WISH_E_METHOD, -ENOMEM; then the list is
 * as it was.
 */
int exec_wish_read(const ExecLine *line, EffectList *effects, ExecWish *ret, WireError *ret_error);

/* The answers to a message and to a checkpoint. Return 0, WIRE_E_INVALID, -ENOMEM. */
int exec_output_read(const ExecLine *line, MessageKind kind, Arena *arena, Slice *ret, WireError *ret_error);
int exec_state_read(const ExecLine *line, Arena *arena, Slice *ret, WireError *ret_error);

/* to the child */

/* `start->state` must be absent or valid JSON. */
void exec_put_initialize(Buffer *buffer, uint64_t id, const BehaviorStart *start);
void exec_put_handle(Buffer *buffer, uint64_t id, const BehaviorMessage *message);
void exec_put_request(Buffer *buffer, uint64_t id, const char *method); /* without params */

/* `id` as it stood in the request. */
void exec_put_result(Buffer *buffer, Slice id, Slice payload);
void exec_put_error(Buffer *buffer, Slice id, int rpc_code, ErrorCode code, Slice message);
