/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What decoders check besides the tables of scan.h. Each returns 0 or WIRE_E_INVALID. For proto/ itself.
 */

#include "proto/message.h"

#define INTERVAL_MS_MIN 10 /* faster heartbeats would be a load, not a sign of life */

/* A field left out, for members whose absence must be told from 0. */
#define U64_UNSET UINT64_MAX

/* A message may leave its type out, but not bear another one's. */
int check_type(const Metadata *metadata, const char *type, WireError *ret_error);

int check_at_least(const char *field, uint64_t value, uint64_t least, WireError *ret_error);

/* An interval, initialised to U64_UNSET: it becomes `fallback` when it was left out. */
int check_interval(const char *field, uint64_t *interval_ms, uint64_t fallback, WireError *ret_error);

/* An absent or empty body of a message that needs nothing stands for {}. */
Slice body_or_empty_object(Slice body);

/*
 * Tables for the sections that results and execution events share: workflow_fields, agent_fields, runtime_fields, and
 * error_fields for `payload…error`. The struct names its members alike in both.
 */
#define DEFINE_EXECUTION_SECTIONS(type_)                                                                            \
        static const ScanField workflow_fields[] = {                                                                \
                { .name = "id", .kind = SCAN_ID, .offset = offsetof(type_, workflow_id) },                          \
                { .name = "exec_id",                                                                                \
                        .kind = SCAN_TEXT,                                                                          \
                        .offset = offsetof(type_, workflow_exec_id),                                                \
                        .max = TEXT_MAX },                                                                          \
                { 0 },                                                                                              \
        };                                                                                                          \
        static const ScanField agent_fields[] = {                                                                   \
                { .name = "id", .kind = SCAN_ID, .offset = offsetof(type_, agent_id) },                             \
                { .name = "exec_id", .kind = SCAN_ID, .required = true, .offset = offsetof(type_, agent_exec_id) }, \
                { 0 },                                                                                              \
        };                                                                                                          \
        static const ScanField runtime_fields[] = {                                                                 \
                { .name = "runtime_id", .kind = SCAN_ID, .required = true, .offset = offsetof(type_, runtime_id) }, \
                { .name = "epoch", .kind = SCAN_U64, .offset = offsetof(type_, epoch), .max = EPOCH_MAX },          \
                { 0 },                                                                                              \
        };                                                                                                          \
        static const ScanField error_fields[] = {                                                                   \
                { .name = "code",                                                                                   \
                        .kind = SCAN_TEXT,                                                                          \
                        .required = true,                                                                           \
                        .offset = offsetof(type_, error_code),                                                      \
                        .max = TEXT_MAX },                                                                          \
                { .name = "message", .kind = SCAN_TEXT, .offset = offsetof(type_, error.message) },                 \
                { .name = "details", .kind = SCAN_RAW_OBJECT, .offset = offsetof(type_, error.details) },           \
                { 0 },                                                                                              \
        }
