/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What every message has: the section `metadata`, limits, enumerations used by several families, and the
 * answer of control requests.
 *
 * In all decoded structs of proto/, slices are borrowed from the bytes and the arena that were decoded.
 */

#include "proto/arena.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/error_code.h"
#include "proto/scan.h"
#include "proto/slice.h"
#include "proto/wire_error.h"

#define MESSAGE_BYTES_MAX_DEFAULT (1024 * 1024)
#define MESSAGE_BYTES_MIN 16384             /* below it the parts of a registration, each with its head, do not fit */
#define LABELS_MAX 16                       /* labels of a runtime, or of a trigger */
#define LABEL_TEXT_MAX 64                   /* bytes of a label's name, and of its value */
#define EPOCH_MAX ((UINT64_C(1) << 53) - 1) /* what a double of another language still holds */
#define INTERVAL_MS_MAX (60 * 60 * 1000)
#define DEADLINE_MS_DEFAULT 30000
#define DEADLINE_MS_MAX (24 * 60 * 60 * 1000)
#define PRIORITY_MAX 100
#define PRIORITY_DEFAULT 50
#define TEXT_MAX 256 /* correlation ids, host names and other texts that are carried along */

typedef struct Metadata {
        Slice type;
        Slice event_id, request_id, result_id;
        Slice correlation_id;
        Slice event_timestamp;
        Slice source_component;
        Slice created_by;
} Metadata;

/* For the `fields` of a SCAN_OBJECT "metadata"; the struct's Metadata must be its first member. */
extern const ScanField metadata_fields[];

typedef enum MetadataIdKind {
        METADATA_EVENT_ID,
        METADATA_REQUEST_ID,
        METADATA_RESULT_ID,
} MetadataIdKind;

/* Emits the section; `type` is one of our own names, `id` goes where `kind` says. Absent slices are left out. */
void metadata_emit(Buffer *buffer, const char *type, MetadataIdKind kind, Slice id, Slice correlation_id,
        uint64_t real_usec, Slice source);

/* Emits one of the sections `workflow` and `agent`, with the comma before it; nothing when both are absent. `opening`
 * is e.g. SLICE(",\"agent\":{"). */
void ids_emit(Buffer *buffer, Slice opening, Slice id, Slice exec_id);

/* Emits the section `agent_runtime`, with the comma before it; nothing when `runtime_id` is absent. */
void runtime_ids_emit(Buffer *buffer, Slice runtime_id, uint64_t epoch);

typedef struct Label {
        Slice name, value;
} Label;

typedef struct Labels {
        Label items[LABELS_MAX];
        size_t n_items;
} Labels;

/* `raw` is an object of strings (or absent). Refuses more than LABELS_MAX, values that are no text, and texts too long.
 */
int labels_decode(Slice raw, const char *field, Arena *arena, Labels *ret, WireError *ret_error);

/* Are all of `wanted` among `given`? */
bool labels_match(const Labels *wanted, const Labels *given);

typedef enum RetryPolicy {
        RETRY_NONE_GIVEN,
        RETRY_NEVER,     /* never given to a second runtime once a first may have received it */
        RETRY_UNSTARTED, /* placed again only while no runtime reported it started */
        RETRY_ALWAYS,
        _RETRY_POLICY_MAX,
} RetryPolicy;

extern const char *const retry_policy_names[_RETRY_POLICY_MAX + 1];

typedef enum ResultStatus {
        STATUS_NONE,
        STATUS_SUCCESS,
        STATUS_AGENT_ERROR, /* the agent ran and reported an error */
        STATUS_FAILURE,     /* it was not run to an end */
        _RESULT_STATUS_MAX,
} ResultStatus;

extern const char *const result_status_names[_RESULT_STATUS_MAX + 1];

/* Errors as they travel: in results, answers and events. */
typedef struct ErrorReply {
        ErrorCode code;
        Slice message;
        Slice details; /* raw JSON object, or absent */
} ErrorReply;

/* The member `key`: {message, code, details}. */
void error_reply_emit(Buffer *buffer, const char *key, const ErrorReply *error);

/* The header block (see Outbox) that marks an error: Nats-Service-Error, Nats-Service-Error-Code. */
void error_reply_emit_headers(Buffer *buffer, const ErrorReply *error);

/* Answers of control requests: {"ok": true, "result": `result`} and {"ok": false, "error": {…}}. */
void answer_encode_result(Buffer *buffer, Slice result);
void answer_encode_error(Buffer *buffer, const ErrorReply *error);

typedef struct Answer {
        bool ok;
        Slice result;     /* raw object */
        Slice error_code; /* its name, also when it is none of ours */
        Slice error_message;
        Slice error_details; /* raw object */
} Answer;

int answer_decode(Slice body, Answer *ret, Arena *arena, WireError *ret_error);
