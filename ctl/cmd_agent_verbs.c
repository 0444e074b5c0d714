/* SPDX-License-Identifier: MIT */

/*
 * The verbs that change the state of one agent: alike but for their name and for `mode`.
 */

#include "ctl/agent_words.h"
#include "ctl/commands.h"
#include "ctl/fields.h"

typedef struct Options {
        const char *runtime;
        unsigned mode;
        bool keep_state;
} Options;

static const char *const modes[] = { "drain", "discard", NULL };

#define MODE_OPTION                                                                                        \
        {                                                                                                  \
                .name = "mode", .letter = 'm', .kind = OPTION_CHOICE, .offset = offsetof(Options, mode),   \
                .value = "MODE", .help = "What becomes of its mail", .fallback = "drain", .choices = modes \
        }

static const Option options[] = { AGENT_RUNTIME_OPTION(Options), {} };
static const Option stop_options[] = { AGENT_RUNTIME_OPTION(Options), MODE_OPTION, {} };
static const Option delete_options[] = {
        AGENT_RUNTIME_OPTION(Options),
        MODE_OPTION,
        { .name = "keep-state",
                .kind = OPTION_FLAG,
                .offset = offsetof(Options, keep_state),
                .help = "Leave its stored state for the next agent of that id" },
        {},
};

const Argument agent_argument[] = {
        { .name = "AGENT", .help = "Its id", .words = WORD_AGENT },
        {},
};

/* The answer's `state` is what the agent is now; `delete_agent` has none to tell. */
static CtlExit change(Ctl *ctl, const Invocation *invocation, const char *verb, bool has_mode, const char *past) {
        const Options *wanted = invocation->options;
        const char *agent_id = invocation->words[0];
        json_t *body = json_pack("{s:s}", "agent_id", agent_id), *result = NULL;
        char *runtime_id = NULL;
        CtlExit status = ctl_locate(ctl, agent_id, wanted->runtime, &runtime_id);

        if (has_mode)
                (void)json_object_set_new(body, "mode", json_string(modes[wanted->mode]));
        if (wanted->keep_state)
                (void)json_object_set_new(body, "keep_state", json_true());
        if (status == CTL_EXIT_OK)
                status = ctl_ask(ctl, THE_RUNTIME(runtime_id), verb, json_incref(body), &result);
        if (status == CTL_EXIT_OK && ctl->global.json)
                status = ctl_print_json(ctl, result);
        else if (status == CTL_EXIT_OK)
                ctl_say("%s on %s: %s", agent_id, runtime_id,
                        json_object_get(result, "state") && !past ? field_text(result, "state")
                        : past                                    ? past
                                                                  : "done");
        json_decref(result);
        json_decref(body);
        free(runtime_id);
        return status;
}

static CtlExit run_start(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "start_agent", false, NULL);
}

static CtlExit run_restart(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "restart_agent", false, NULL);
}

static CtlExit run_stop(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "stop_agent", true, NULL);
}

static CtlExit run_pause(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "pause_agent", false, NULL);
}

static CtlExit run_resume(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "resume_agent", false, NULL);
}

static CtlExit run_checkpoint(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "checkpoint_agent", false, "its state is stored");
}

static CtlExit run_delete(Ctl *ctl, const Invocation *invocation) {
        return change(ctl, invocation, "delete_agent", true, "deleted");
}

#define VERB(name_, summary_, options_, run_, ...) \
        const Command command_agent_##name_ = {    \
                .name = "agent " #name_,           \
                .summary = summary_,               \
                .arguments = agent_argument,       \
                .options = options_,               \
                .options_size = sizeof(Options),   \
                .run = run_,                       \
                ##__VA_ARGS__,                     \
        }

VERB(start, "Start a stopped or failed agent", options, run_start);
VERB(restart, "Start an agent again, with its mail and its state", options, run_restart,
        .details = "What it has begun is finished first; what comes meanwhile waits in its mailbox. One that has "
                   "failed is started;\n"
                   "one that was stopped stays so.");
VERB(stop, "Stop an agent: its stop hook runs, its definition stays", stop_options, run_stop,
        .details = "With --mode drain what is in its mailbox is handled first; with --mode discard it is answered "
                   "AGENT_STOPPED.");
VERB(pause, "Keep an agent's mail, and handle none of it", options, run_pause);
VERB(resume, "Handle mail again", options, run_resume);
VERB(checkpoint, "Store an agent's state now", options, run_checkpoint);
VERB(delete, "Remove an agent and, unless told otherwise, its stored state", delete_options, run_delete,
        .details = "An agent that a definition file describes comes back with the next reload or restart.");
