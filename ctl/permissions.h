/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Permissions: what each kind of principal may publish and subscribe to, written as nats-server's configuration has it.
 *
 * Whatever is not allowed is forbidden. docs/security.md says what each line is for and what it can't prevent. Pure:
 * texts in, text out; reads no key and no file.
 */

#include "common/nkey.h"
#include "proto/buffer.h"
#include "proto/cc.h"
#include "proto/id.h"
#include "proto/subject.h"
#include "proto/wire_error.h"

#define ROLES(X)                                                                          \
        X(DISPATCHER, "dispatcher", "compozy-dispatcherd, any number of them")            \
        X(RUNTIME, "runtime", "compozy-runtimed with that runtime.id, and no other")      \
        X(OPERATOR, "operator", "compozyctl: asks and commands dispatchers and runtimes") \
        X(CALLER, "caller", "triggers agents, and hears their answers to itself")         \
        X(OBSERVER, "observer", "hears events and reads their history; commands nobody")  \
        X(SERVICE, "service", "provides capabilities: answers what agents invoke")

typedef enum Role {
#define X(name, text, meaning) ROLE_##name,
        ROLES(X) _ROLE_MAX,
#undef X
} Role;

extern const char *const role_names[_ROLE_MAX + 1]; /* ends with NULL */

#define PRINCIPALS_MAX 1024
#define TARGETS_MAX 64 /* of one principal, and of topics */

typedef struct Principal {
        Role role;
        Id name;
        Slice targets; /* "a,b": agents that it may trigger and ask, or, of a service, capabilities; "*" is any agent */
        char public_key[NKEY_PUBLIC_SIZE];
} Principal;

/*
 * `spec` is NAME or NAME:TARGET,TARGET…, and stays borrowed; the key is left empty. Without targets a caller may
 * trigger any agent, and the agents of a runtime none; a service must have some, other roles may not. Returns 0, or
 * WIRE_E_INVALID with a sentence that names the option and the text.
 */
int principal_parse(Role role, const char *spec, Principal *ret, WireError *ret_error);

/* A subject pattern that agents and callers may publish and subscribe to: nothing reserved, nothing that has rules of
 * its own here. Returns as before. */
int permissions_check_topic(Slice prefix, Slice topic, WireError *ret_error);

typedef struct Permissions {
        Slice prefix;
        const Principal *principals; /* with their keys */
        size_t n_principals;
        const char *const *topics; /* checked */
        size_t n_topics;
        bool has_jetstream;
} Permissions;

/* Appends the account: users with their public keys and permissions. */
void permissions_write(const Permissions *permissions, Buffer *buffer);

/* May that principal publish (or subscribe) there? For tests, and for whoever wants to explain. */
bool permissions_allow(const Permissions *permissions, const Principal *principal, bool is_publish, Slice subject);
