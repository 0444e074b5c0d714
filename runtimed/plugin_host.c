/* SPDX-License-Identifier: MIT */

/*
 * One Behavior, "plugin", stands for all plugins: which one it is stands in the definition's settings, and is looked up
 * when an agent is made. The list of what is loaded grows at its head and never shrinks, so that worker threads read it
 * without a lock while the loop thread adds to it.
 *
 * A file that was replaced is not loaded beside the old one: agents of one name would run two versions, and global
 * state would be there twice. So a definition that asks for it is refused until the runtime is restarted; agents
 * that run go on with what was loaded.
 */

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/scan.h"
#include "runtimed/plugin_call.h"
#include "runtimed/plugin_crash.h"
#include "runtimed/plugin_host.h"
#include "runtimed/plugin_library.h"

struct PluginHost {
        Behavior behavior;
        char *directory;
        _Atomic(PluginLibrary *) libraries;
};

/* An agent's state, as the core sees it. */
typedef struct PluginAgent {
        const PluginLibrary *library;
        void *state; /* the plugin's own */
        Id id;
} PluginAgent;

static_assert((int)COMPOZY_TRIGGER == MESSAGE_TRIGGER, "one is the other");
static_assert((int)COMPOZY_TOPIC == MESSAGE_TOPIC, "one is the other");
static_assert((int)COMPOZY_ANSWER == MESSAGE_ANSWER, "one is the other");
static_assert((int)COMPOZY_TIMER == MESSAGE_TIMER, "one is the other");
static_assert((int)COMPOZY_RESUME == MESSAGE_RESUME, "one is the other");

/* libraries */

static const PluginLibrary *find_library(const PluginHost *host, Slice name) {
        const PluginLibrary *library = atomic_load_explicit(&host->libraries, memory_order_acquire);

        while (library && !id_equal(&library->name, name))
                library = library->next;
        return library;
}

static int add_library(PluginHost *host, Slice name, WireError *ret_error) {
        const Id id = id_of(name);
        PluginLibrary *library = NULL;
        int r;

        r = plugin_library_open(host->directory, &id, &library, ret_error);
        if (r != 0)
                return r;

        plugin_crash_watch();
        library->next = atomic_load_explicit(&host->libraries, memory_order_relaxed);
        atomic_store_explicit(&host->libraries, library, memory_order_release);
        return 0;
}

/* The name as the definition's key "plugin" has it. */
static int read_name(Slice settings, Arena *arena, Slice *ret, WireError *ret_error) {
        int r;

        if (!settings.data)
                return wire_error(ret_error, "plugin: is missing; it names the file in runtime.plugins_dir");

        r = scan_text(settings, arena, ret);
        if (r < 0)
                return r;
        if (r > 0 || !id_is_valid(*ret))
                return wire_error(ret_error,
                        "plugin: must be the name of a plugin, 1-64 of A-Z a-z 0-9 _ -, without path and \".so\"");
        return 0;
}

static int plugin_check(const BehaviorStart *start, WireError *ret_error) {
        PluginHost *host = start->behavior->userdata;
        _cleanup_(arena_clear) Arena arena = {};
        const PluginLibrary *library;
        Slice name = SLICE_NONE;
        int r;

        r = read_name(start->settings, &arena, &name, ret_error);
        if (r != 0)
                return r;
        if (host->directory[0] == '\0')
                return wire_error(ret_error, "plugin: this runtime has none: runtime.plugins_dir is not set");

        library = find_library(host, name);
        return library ? plugin_library_check_file(library, host->directory, ret_error)
                       : add_library(host, name, ret_error);
}

/* hooks */

static void enter(const PluginAgent *agent, const char *hook) {
        plugin_crash_enter(hook, &agent->library->name, &agent->id);
}

static int refuse(char *ret_why, size_t why_size, Slice why) {
        (void)snprintf(ret_why, why_size, "%.*s", SLICE_ARG(why));
        return BEHAVIOR_E_REFUSED;
}

/* What init() of the plugin has returned, in our words. */
static int result_of_init(int r, const PluginCall *call, char *ret_why, size_t why_size) {
        if (r == COMPOZY_OK)
                return 0;
        if (r == COMPOZY_E_MEMORY)
                return -ENOMEM;

        if (call->verdict == BEHAVIOR_ERROR)
                (void)refuse(ret_why, why_size, buffer_slice(call->output));
        else
                (void)snprintf(ret_why, why_size, "init() returned %d and no reason", r);
        return r == COMPOZY_E_STATE ? BEHAVIOR_E_STATE : BEHAVIOR_E_REFUSED;
}

static int call_init(PluginAgent *agent, const BehaviorStart *start, char *ret_why, size_t why_size) {
        _cleanup_(buffer_done) Buffer sentence = {};
        PluginCall call = { .hook = PLUGIN_HOOK_INIT, .output = &sentence, .effects = start->effects };
        const compozy_start shown = {
                .size = sizeof(shown),
                .agent_id = bytes_of_slice(start->agent_id),
                .parameters = bytes_of_slice(start->parameters),
                .state = agent->library->table.checkpoint ? bytes_of_slice(start->state) : compozy_absent(),
        };
        int r;

        plugin_call_begin(&call);
        enter(agent, "init");
        r = agent->library->table.init(&call.shown, &shown, &agent->state);
        plugin_crash_leave();
        plugin_call_end(&call);

        if (r != COMPOZY_OK && start->effects)
                effects_clear(start->effects);
        return result_of_init(r, &call, ret_why, why_size);
}

static int plugin_init(const BehaviorStart *start, void **ret_state, char *ret_why, size_t why_size) {
        const PluginHost *host = start->behavior->userdata;
        _cleanup_(arena_clear) Arena arena = {};
        WireError error = {};
        PluginAgent *agent;
        Slice name = SLICE_NONE;
        int r;

        r = read_name(start->settings, &arena, &name, &error);
        if (r != 0)
                return r < 0 ? r : refuse(ret_why, why_size, slice_of(error.text));

        agent = calloc(1, sizeof(*agent));
        if (!agent)
                return -ENOMEM;

        agent->id = id_of(start->agent_id);
        agent->library = find_library(host, name);
        r = agent->library ? call_init(agent, start, ret_why, why_size)
                           : refuse(ret_why, why_size, SLICE("this plugin is not loaded"));
        if (r != 0) {
                free(agent);
                return r;
        }

        *ret_state = agent;
        return 0;
}

static void plugin_stop(void *state) {
        PluginAgent *agent = state;

        enter(agent, "stop");
        agent->library->table.stop(agent->state);
        plugin_crash_leave();
        free(agent);
}

static compozy_message shown_message(const BehaviorMessage *message) {
        const Envelope *envelope = message->envelope;

        return (compozy_message){
                .size = sizeof(compozy_message),
                .kind = (uint32_t)message->kind,
                .id = message->id,
                .token = message->token,
                .attempt = message->attempt,
                .agent_id = bytes_of_slice(message->agent_id),
                .exec_id = bytes_of_slice(message->exec_id),
                .topic = bytes_of_slice(message->topic),
                .input = bytes_of_slice(message->input),
                .error = error_code_name(message->code),
                .thread_id = bytes_of_slice(envelope->thread_id),
                .correlation_id = bytes_of_slice(envelope->correlation_id),
                .sender = bytes_of_slice(envelope->sender),
                .reply_to = bytes_of_slice(envelope->reply_to),
                .timestamp = bytes_of_slice(envelope->timestamp),
                .traceparent = bytes_of_slice(envelope->traceparent),
                .tracestate = bytes_of_slice(envelope->tracestate),
                .ttl = envelope->ttl,
                .hop = envelope->hop,
                .is_request = envelope->is_request,
        };
}

static bool is_of_trigger(const BehaviorMessage *message) {
        return message->kind == MESSAGE_TRIGGER || (message->kind == MESSAGE_RESUME && !message->topic.data);
}

static void plugin_handle(void *state, const BehaviorMessage *message, BehaviorReply *reply) {
        const compozy_message shown = shown_message(message);
        const PluginAgent *agent = state;
        PluginCall call = {
                .hook = PLUGIN_HOOK_HANDLE,
                .kind = message->kind,
                .output = &reply->output,
                .effects = &reply->effects,
        };

        plugin_call_begin(&call);
        enter(agent, "handle");
        agent->library->table.handle(agent->state, &call.shown, &shown);
        plugin_crash_leave();
        plugin_call_end(&call);

        if (call.verdict == BEHAVIOR_NONE && is_of_trigger(message))
                buffer_append_slice(&reply->output, SLICE("null"));
        reply->verdict = call.verdict == BEHAVIOR_NONE ? BEHAVIOR_DONE : call.verdict;
        reply->code = call.verdict == BEHAVIOR_ERROR ? call.code : ERROR_NONE;
        reply->defer_usec = call.defer_usec;
}

static int plugin_checkpoint(void *state, Buffer *ret) {
        const PluginAgent *agent = state;
        PluginCall call = { .hook = PLUGIN_HOOK_CHECKPOINT, .output = ret };
        int r;

        if (!agent->library->table.checkpoint)
                return 0;

        plugin_call_begin(&call);
        enter(agent, "checkpoint");
        r = agent->library->table.checkpoint(agent->state, &call.shown);
        plugin_crash_leave();
        plugin_call_end(&call);

        if (ret->failed || r == COMPOZY_E_MEMORY)
                return -ENOMEM;
        if (r == COMPOZY_OK && call.verdict != BEHAVIOR_ERROR)
                return 0;
        if (call.verdict != BEHAVIOR_ERROR) {
                buffer_clear(ret);
                buffer_printf(ret, "checkpoint() returned %d and no reason", r);
        }
        return BEHAVIOR_E_REFUSED;
}

/* the host */

int plugin_host_new(const char *directory, PluginHost **ret) {
        _cleanup_(plugin_host_freep) PluginHost *host = calloc(1, sizeof(*host));

        if (!host)
                return -ENOMEM;

        host->directory = strdup(directory);
        if (!host->directory)
                return -ENOMEM;

        host->behavior = (Behavior){
                .type = "plugin",
                .help = "a shared object of runtime.plugins_dir",
                .check = plugin_check,
                .init = plugin_init,
                .stop = plugin_stop,
                .handle = plugin_handle,
                .checkpoint = plugin_checkpoint,
                .userdata = host,
        };

        *ret = TAKE_PTR(host);
        return 0;
}

PluginHost *plugin_host_free(PluginHost *host) {
        PluginLibrary *library, *next;

        if (!host)
                return NULL;

        for (library = atomic_load(&host->libraries); library; library = next) {
                next = library->next;
                (void)plugin_library_free(library);
        }
        free(host->directory);
        free(host);
        return NULL;
}

const Behavior *plugin_host_behavior(const PluginHost *host) {
        return &host->behavior;
}
