/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Agent: one hosted agent: its definition, lifecycle, mailbox, and the Run that carries its mail to a worker.
 *
 * Loop thread only, but for what Run says of a run that is out. The table of agents owns them.
 */

#include <bsd/sys/tree.h>
#include <uthash.h>

#include "common/instant.h"
#include "common/deadline.h"
#include "proto/cc.h"
#include "proto/registration.h"
#include "runtimed/definition.h"
#include "runtimed/mailbox.h"
#include "runtimed/run.h"

#define AGENT_STATES(X)                                                   \
        X(CREATED, "created", "known, its behaviour has no state yet")    \
        X(STARTING, "starting", "the behaviour's init is under way")      \
        X(RUNNING, "running", "handles its mail")                         \
        X(STOPPING, "stopping", "works off what it holds, takes no more") \
        X(STOPPED, "stopped", "holds nothing; may be started again")      \
        X(FAILED, "failed", "init failed; takes nothing")                 \
        X(DELETED, "deleted", "about to be forgotten")

typedef enum AgentState {
        AGENT_INVALID,
#define X(name, text, meaning) AGENT_##name,
        AGENT_STATES(X) _AGENT_STATE_MAX,
#undef X
} AgentState;

typedef enum AgentEvent {
        AGENT_EV_START,
        AGENT_EV_READY, /* init has succeeded */
        AGENT_EV_FAIL,  /* init has failed */
        AGENT_EV_STOP,
        AGENT_EV_IDLE, /* nothing is held any more */
        AGENT_EV_DELETE,
        _AGENT_EVENT_MAX,
} AgentEvent;

enum {
        AGENT_E_OK,

        AGENT_E_INVALID_TRANSITION, /* the state does not know that event */
        AGENT_E_INIT_FAILED,        /* the behaviour refused: the agent is failed */
};

typedef struct Execution Execution;

struct Agent {
        UT_hash_handle hh;       /* by id */
        RB_ENTRY(Agent) by_name; /* in the order of ids, for paging */
        Id id;
        Definition *definition;
        Definition *successor; /* takes the definition's place as soon as nothing is held; NULL: none */
        AgentState state;
        bool is_leaving; /* is deleted as soon as it is stopped */
        bool is_changed; /* dispatchers were not told yet */

        Mailbox mailbox;
        Run run;
        Execution *out_first, *out_last; /* what the run that is out carries, in order */
        uint32_t n_out, n_deferred;
        bool is_out;   /* the run is with a worker */
        bool is_ready; /* in the list of agents with something to do */
        Agent *next_ready;
        Deadline watch;         /* while out: when to look what the worker is at */
        uint64_t begun_usec;    /* when the watch last saw the worker take up a message */
        uint64_t watch_usec;    /* pause until the next look */
        unsigned watched_begun; /* what it saw */
        bool was_reported;      /* as blocking its worker */

        uint64_t n_handled, n_shed;
};

/* `definition` is taken on 0. */
int agent_new(Definition *definition, Agent **ret) _must_check_;

/* Calls the behaviour's stop, unless a run is out. */
Agent *agent_free(Agent *agent);

DEFINE_CLEANUP(Agent *, agent_free);

/* created or stopped → running or failed; on a failure `ret_why` says why. Returns 0, an outcome, -errno. */
int agent_start(Agent *agent, char *ret_why, size_t why_size);

/* running → stopping. */
int agent_stop(Agent *agent);

/* stopping → stopped, with the behaviour's stop hook, when nothing is held. Returns whether it is stopped now. */
bool agent_settle(Agent *agent);

/* → deleted */
int agent_delete(Agent *agent);

/* The successor's turn has come: the new definition, with a state of its own, takes the old one's place; the mailbox
 * stays. On failure the old one stays. */
int agent_replace(Agent *agent, char *ret_why, size_t why_size);

/* Does it hold nothing: no mail, no run, nothing deferred? */
bool agent_is_idle(const Agent *agent);

/* Moves up to a quantum of mail into its run and marks it out. Returns NULL when there is nothing to hand out. */
Run *agent_take_run(Agent *agent);

AgentSummary agent_summary(const Agent *agent);
const char *agent_state_name(AgentState state);

/* For tests that walk the whole table; AGENT_INVALID: not allowed. */
AgentState agent_next_state(AgentState state, AgentEvent event);

static inline Slice agent_id_slice(const Agent *agent) {
        return id_slice(&agent->id);
}
