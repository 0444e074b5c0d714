/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, continued (core.h): agents, their lives, their states, and their way to workers and back.
 */

#include "runtimed/core.h"

/* hosted.c */

Agent *core_find_agent(const Runtime *runtime, Slice agent_id);
Agent *core_agent_after(const Runtime *runtime, Slice agent_id); /* in the order of ids; an empty id: the first */
Agent *core_next_agent(Agent *agent);
void core_delete_agent(Runtime *runtime, Agent *agent, bool discards, bool keeps_record, Instant now);
void core_remove_agent(Runtime *runtime, Agent *agent);
bool core_is_announced(const Agent *agent);
void core_note_changed(Runtime *runtime, Agent *agent);
void core_free_agents(Runtime *runtime);
size_t core_n_agents(const Runtime *runtime);
int core_create_agent(Runtime *runtime, Slice definition, Slice reply, Instant now, ErrorCode *ret_code,
        WireError *ret_error); /* answers `reply` when it runs or could not be started; absent: nobody */

/* life.c */

void core_start_agent(Runtime *runtime, Agent *agent, Instant now);              /* it is created, stopped or failed */
int core_stop_agent(Runtime *runtime, Agent *agent, bool discards, Instant now); /* 0, AGENT_E_INVALID_TRANSITION */
/* In any state but stopping and stopped; takes the copy of its definition, and its `rarely` is there. */
void core_restart_agent(Runtime *runtime, Agent *agent, Definition *again, Instant now);
void core_note_unsettled(Runtime *runtime, Agent *agent); /* something ended: look at it when the turn ends */
void core_settle_agents(Runtime *runtime, Instant now);
void core_call(Runtime *runtime, Agent *agent, Control *control, Instant now); /* takes it */
Control *core_control_new(Agent *agent, MailKind kind);
void core_control_free(Control *control);
void core_on_control(Runtime *runtime, Control *control, Instant now);           /* takes it: its outcome is here */
void core_send_init(Runtime *runtime, Agent *agent, Buffer *state, Instant now); /* takes the state; NULL: none */
void core_on_init_failed(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now);
void core_fail_agent(Runtime *runtime, Agent *agent, ErrorCode code, Slice why, Instant now); /* while it runs */
/* Lately, as far as its supervision remembers. */
size_t core_n_restarts(const Agent *agent);
void core_on_restart_time(Runtime *runtime, Supervision *supervision, Instant now);

enum {
        WAIT_E_OK,

        WAIT_E_FULL, /* WAITERS_MAX requests wait for that agent */
};

#define WAITERS_MAX 256

int core_wait(Runtime *runtime, Agent *agent, WaitFor what, Slice reply); /* 0, WAIT_E_FULL, -ENOMEM */
/* For a checkpoint that the agent itself wants; takes a reference to the letter. */
int core_wait_with(Runtime *runtime, Agent *agent, uint64_t token, Letter *wish); /* 0, WAIT_E_FULL, -ENOMEM */
void core_forget_wish_waiters(Runtime *runtime, Agent *agent);
/* Those of that kind (and, for checkpoints, up to that sequence): code ERROR_NONE is good news. */
void core_answer_waiters(Runtime *runtime, Agent *agent, WaitFor what, uint64_t sequence, ErrorCode code, Slice why);
void core_give_up_waiters(Runtime *runtime); /* of all agents: the runtime leaves before they have come to their stop */

/* durable.c */

int core_durable_new(Runtime *runtime, Agent *agent);
void core_durable_free(Runtime *runtime, Agent *agent);
void core_load_state(
        Runtime *runtime, Agent *agent, Instant now); /* ends in core_send_init() or core_on_init_failed() */
/* The same, for a behaviour of another type than the one that wrote what is stored: that is none of its business. */
void core_load_generation(Runtime *runtime, Agent *agent, Instant now);
void core_refuse_state(Runtime *runtime, Agent *agent, Slice why, Instant now); /* its behaviour will not have it */
void core_note_handled(Runtime *runtime, Agent *agent, uint64_t n, Instant now);
void core_after_handling(Runtime *runtime, Agent *agent, Instant now); /* a batch is over: is a checkpoint due? */
bool core_must_wait_for_state(const Agent *agent);                     /* may no answer leave before it is durable? */
/* The outcome is taken; the answer leaves when what was handled so far is durable. */
int core_hold_execution(Runtime *runtime, Execution *execution);
int core_hold_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome);
void core_drop_hold(Execution *execution);
void core_ask_checkpoint(Runtime *runtime, Agent *agent, Instant now);
void core_go_on_saving(Runtime *runtime, Agent *agent, Instant now); /* it runs again: what was put off is done */
/* There is no behaviour any more that could be asked: its last state lies here. False: nothing is to be saved. */
bool core_save_left_state(Runtime *runtime, Agent *agent, Instant now);
void core_on_checkpoint(Runtime *runtime, Control *control, Instant now); /* takes it */
void core_on_checkpoint_time(Runtime *runtime, Deadline *due, Instant now);
/* The behaviour is gone: what was not durable never will be. */
void core_lose_state(Runtime *runtime, Agent *agent, ErrorCode code, Instant now);
void core_free_holds(Runtime *runtime, Agent *agent); /* at the end of all */
void core_free_requests(Runtime *runtime);
bool core_has_undurable(const Agent *agent); /* handled something since the last checkpoint */
bool core_is_storing(const Agent *agent);    /* the store owes an answer about it */
void core_forget_state(Runtime *runtime, Agent *agent, Instant now);
uint64_t core_durable_sequence(const Agent *agent);

/* schedule.c, outcome.c */

void core_end_run(Runtime *runtime, Agent *agent, Instant now);
void core_end_call(Runtime *runtime, Agent *agent, Mail *mail);                            /* to a remote behaviour */
int core_open_message(Runtime *runtime, uint64_t message_id, Mail *mail, bool is_pending); /* 0, -ENOMEM */
void core_note_news(Runtime *runtime, Execution *execution); /* for whoever asked for it */

void core_make_ready(Runtime *runtime, Agent *agent); /* after anything that may have opened a lane or brought mail */
void core_leave_line(Runtime *runtime, Agent *agent); /* of agents that are ready: before it goes or changes its kind */
int core_push_mail(Runtime *runtime, Agent *agent, Mail *mail); /* into its mailbox: 0, MAILBOX_E_FULL, -ENOMEM */
bool core_has_room(Runtime *runtime, Agent *agent, size_t n_bytes);
bool core_takes_mail(const Agent *agent);
void core_drop_oldest(Runtime *runtime, Agent *agent, size_t n_bytes, Instant now); /* until there is room */
void core_recall(Agent *agent); /* its run, if one is out, comes back soon */
void core_on_watch(Runtime *runtime, Run *run, Instant now);
void core_on_execution_time(Runtime *runtime, Execution *execution, Instant now);
void core_on_resume(Runtime *runtime, Deadline *deadline, Instant now);
void core_arm_execution(Runtime *runtime, Execution *execution);
OpenMessage *core_find_open(const Runtime *runtime, uint64_t message_id);
void core_close_message(Runtime *runtime, uint64_t message_id); /* it is not open any more */
void core_end_delivery(Runtime *runtime, Delivery *delivery, Outcome *outcome, Instant now); /* takes both */
void core_free_delivery(Runtime *runtime, Delivery *delivery);
/* Ends one that was left pending; false: there is none such of that agent. */
bool core_end_pending(Runtime *runtime, Agent *agent, uint64_t message_id, BehaviorReply *reply, Instant now);
/* Answers or drops every message that it holds and no worker has begun, with `code`. */
void core_discard_mail(Runtime *runtime, Agent *agent, ErrorCode code, Instant now);
/* What its behaviour had left pending: it is gone, and nobody will end that. */
void core_fail_pending(Runtime *runtime, Agent *agent, Instant now);
bool core_holds_mail(const Runtime *runtime); /* application messages that are to be handled yet */
void core_free_mail(Runtime *runtime);        /* at the end of all, without a word */
