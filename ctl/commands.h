/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Commands: the table of all subcommands, in the order of `compozyctl help`. Each is defined in ctl/cmd_<file>.c.
 */

#include "ctl/command.h"

#define COMMANDS(X)            \
        X(status)              \
        X(runtimes)            \
        X(runtime_show)        \
        X(runtime_drain)       \
        X(runtime_resume)      \
        X(agents)              \
        X(agent_show)          \
        X(agent_create)        \
        X(agent_delete)        \
        X(agent_start)         \
        X(agent_stop)          \
        X(agent_restart)       \
        X(agent_pause)         \
        X(agent_resume)        \
        X(agent_checkpoint)    \
        X(agent_subscribe)     \
        X(agent_unsubscribe)   \
        X(agent_subscriptions) \
        X(trigger)             \
        X(send)                \
        X(events)              \
        X(why)                 \
        X(top)                 \
        X(up)                  \
        X(bench)               \
        X(context_list)        \
        X(context_show)        \
        X(context_save)        \
        X(context_use)         \
        X(context_delete)      \
        X(nats_config)         \
        X(completion)          \
        X(complete)            \
        X(help)

#define X(name) extern const Command command_##name;
COMMANDS(X)
#undef X
