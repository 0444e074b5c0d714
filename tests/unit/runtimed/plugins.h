/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * For tests of plugins: where the built ones are, and one reply of an agent. Header only.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtimed/definition.h"
#include "runtimed/plugin_host.h"

/* Beside the test programs of the same variant. */
static inline const char *built_plugins(void) {
        static char path[4096];
        const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
        char *end;

        assert_true(n > 0);
        path[n] = '\0';
        end = strrchr(path, '/');
        assert_non_null(end);
        (void)snprintf(end, 64, "/../../plugins");
        return path;
}

static inline PluginHost *host_of(const char *directory) {
        PluginHost *host = NULL;

        assert_int_equal(plugin_host_new(directory, &host), 0);
        return host;
}

/* Does the definition of an agent with that plugin stand? */
static inline int check_plugin(const PluginHost *host, const char *settings, WireError *ret_error) {
        const BehaviorStart start = { .behavior = plugin_host_behavior(host), .settings = slice_of(settings) };

        return start.behavior->check(&start, ret_error);
}

static inline void *started(
        const PluginHost *host, const char *settings, const char *parameters, Slice saved, EffectList *effects) {
        const BehaviorStart start = {
                .behavior = plugin_host_behavior(host),
                .agent_id = SLICE("agent-7"),
                .parameters = slice_of(parameters),
                .settings = slice_of(settings),
                .state = saved,
                .effects = effects,
        };
        WireError error = {};
        void *agent = NULL;
        char why[256] = "";

        if (start.behavior->check(&start, &error) != 0)
                fail_msg("%s: %s", settings, error.text);
        if (start.behavior->init(&start, &agent, why, sizeof(why)) != 0)
                fail_msg("%s: %s", settings, why);
        return agent;
}

static inline BehaviorReply reply_to(const PluginHost *host, void *agent, MessageKind kind, Slice input) {
        static const Envelope envelope;
        const BehaviorMessage message = {
                .kind = kind,
                .agent_id = SLICE("agent-7"),
                .topic = kind == MESSAGE_TOPIC ? SLICE("some.topic") : SLICE_NONE,
                .input = input,
                .envelope = &envelope,
        };
        BehaviorReply reply = {};

        plugin_host_behavior(host)->handle(agent, &message, &reply);
        return reply;
}

static inline void assert_said(const BehaviorReply *reply, const char *text) {
        if (!slice_equal(buffer_slice(&reply->output), slice_of(text)))
                fail_msg("\"%.*s\" instead of \"%s\"", SLICE_ARG(buffer_slice(&reply->output)), text);
}
