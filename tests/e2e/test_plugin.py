# SPDX-License-Identifier: MIT
"""Agents that are shared objects: built here as an author would, with a C compiler and the public header."""

import os
import shlex
import shutil
import signal
import subprocess
import unittest

from harness import PREFIX, ROOT, Case, scaled
from load import Load

COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

# Remembers how often it was called; the parameters' text is its greeting.
GREETER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <compozy/behavior.h>

typedef struct Greeter {
        char greeting[64];
        unsigned times;
} Greeter;

static int greeter_init(compozy_call *call, const compozy_start *start, void **ret_agent) {
        Greeter *greeter = calloc(1, sizeof(*greeter));

        if (!greeter)
                return COMPOZY_E_MEMORY;
        if (!start->parameters.data || start->parameters.size >= sizeof(greeter->greeting)) {
                (void)call->host->fail(call, NULL, compozy_text("parameters of 1 to 63 bytes are wanted"));
                free(greeter);
                return COMPOZY_E_REFUSED;
        }
        memcpy(greeter->greeting, start->parameters.data, start->parameters.size);
        if (start->state.size == sizeof(greeter->times))
                memcpy(&greeter->times, start->state.data, sizeof(greeter->times));
        *ret_agent = greeter;
        return COMPOZY_OK;
}

static void greeter_stop(void *agent) {
        free(agent);
}

static void greeter_handle(void *agent, compozy_call *call, const compozy_message *message) {
        Greeter *greeter = agent;
        char text[128];

        if (message->kind == COMPOZY_RESUME) {
                (void)call->host->output(call, compozy_text("\"later\""));
        } else if (message->input.size == 7 && memcmp(message->input.data, "\"wrong\"", 7) == 0) {
                (void)call->host->fail(call, "INVALID_MESSAGE", compozy_text("that was wrong"));
        } else if (message->input.size == 7 && memcmp(message->input.data, "\"later\"", 7) == 0) {
                (void)call->host->defer(call, 50000);
        } else if (message->input.size == 6 && memcmp(message->input.data, "\"text\"", 6) == 0) {
                (void)call->host->output(call, compozy_text("no JSON"));
        } else {
                (void)snprintf(text, sizeof(text), "{\"greeting\":%s,\"times\":%u}", greeter->greeting, ++greeter->times);
                (void)call->host->output(call, compozy_text(text));
        }
}

static int greeter_checkpoint(void *agent, compozy_call *call) {
        const Greeter *greeter = agent;

        return call->host->output(call, compozy_bytes_of(&greeter->times, sizeof(greeter->times)));
}

const compozy_behavior compozy_behavior_table = {
        COMPOZY_BEHAVIOR_HEAD, PLUGIN_NAME, "greets", greeter_init, greeter_stop, greeter_handle, greeter_checkpoint,
};
"""


@unittest.skipUnless(COMPILER, "there is no C compiler")
class Plugins(Case):
    def build(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        self.plugins = os.path.join(self.world.directory, "plugins")
        os.mkdir(self.plugins, 0o755)

    def compile(self, name, source=GREETER, file_name=None, libraries=()):
        path = os.path.join(self.plugins, (file_name or name) + ".so")
        subprocess.run([*shlex.split(COMPILER), "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-DPLUGIN_NAME=\"{name}\"", "-I", ROOT, "-x", "c", "-",
                        "-o", path] + list(libraries), input=source.encode(), check=True)
        os.chmod(path, 0o755)
        return path

    def start(self, agents, **options):
        options = dict(options, **{"runtime.plugins_dir": self.plugins})
        self.runtime = self.world.runtime("r1", agents=agents, options=options)
        self.wait_runtimes("r1")
        return self.runtime

    @staticmethod
    def agent(plugin="greeter", parameters=None, **more):
        return dict({"agent_type": "plugin", "plugin": plugin, "parameters": parameters or {"a": 1}}, **more)


class Working(Plugins):
    def test_a_plugin_is_built_with_the_header_alone_and_answers_triggers_and_topics(self):
        self.compile("greeter")
        self.start({"polite": self.agent(subscribed_topics=["greetings"])})
        self.assert_success(self.trigger_input("polite", "hello"), {"greeting": {"a": 1}, "times": 1})
        self.assertEqual(self.client.request("greetings", "hello", scaled(5)).json(), {"greeting": {"a": 1}, "times": 2})
        error = self.assert_failure(self.trigger_input("polite", "wrong"), "INVALID_MESSAGE", "AGENT_ERROR")
        self.assertEqual(error["message"], "that was wrong")
        self.assert_success(self.trigger_input("polite", "later"), "later")
        self.assert_failure(self.trigger_input("polite", "text"), "INTERNAL", "AGENT_ERROR")
        self.assert_success(self.trigger_input("polite", "hello"), {"greeting": {"a": 1}, "times": 3})

    def test_its_state_survives_a_crash_of_the_runtime(self):
        self.compile("greeter")
        store = os.path.join(self.world.directory, "state.db")
        runtime = self.start({"polite": self.agent(checkpoint_interval_ms=0)}, **{"runtime.state_store": f"sqlite:{store}"})
        for times in (1, 2, 3):
            self.assert_success(self.trigger_input("polite", 1), {"greeting": {"a": 1}, "times": times})
        runtime.kill()
        runtime.start()
        self.wait_runtimes("r1")
        self.assert_success(self.trigger_input("polite", 1), {"greeting": {"a": 1}, "times": 4})

    def test_many_agents_of_one_plugin_keep_apart_under_load(self):
        self.compile("greeter")
        self.start({f"polite-{number}": self.agent(parameters={"n": number}) for number in range(20)})
        load = Load(self.client, [(f"polite-{number}", 1, 1) for number in range(20)], outstanding=100, total=4000).start()
        load.finish(stop=False, timeout=scaled(30))
        self.assertEqual(load.counts(), {"SUCCESS": 4000})
        times = {f"polite-{number}": [] for number in range(20)}
        for record in load.records.values():
            self.assertEqual(f"polite-{record.output['greeting']['n']}", record.agent)
            times[record.agent].append(record.output["times"])
        for agent, found in times.items():
            self.assertEqual(sorted(found), list(range(1, 201)), agent)

    def test_a_plugin_that_is_installed_later_is_found_by_create_agent(self):
        self.start({})
        error = self.control_error("create_agent", dict(self.agent(), agent_id="late"), "INVALID_MESSAGE")
        self.assertIn("greeter.so", error["message"])
        self.compile("greeter")
        self.create("late", self.agent())
        self.assert_success(self.trigger_input("late", 1), {"greeting": {"a": 1}, "times": 1})

    def test_parameters_that_a_plugin_refuses_are_an_init_that_failed_with_its_sentence(self):
        self.compile("greeter")
        self.start({})
        definition = dict(self.agent(parameters={"long": "x" * 100}), agent_id="refused")
        self.assertIn("parameters of 1 to 63 bytes", self.control_error("create_agent", definition, "INIT_FAILED")["message"])
        self.assertIsNone(self.agent_state("refused"))


class Crashing(Plugins):
    def test_a_plugin_that_takes_the_runtime_along_is_named_with_its_agent(self):
        self.compile("greeter", GREETER.replace("if (message->kind == COMPOZY_RESUME) {", "if (message->input.size == 7)\n                abort();\n"
                                                "        if (message->kind == COMPOZY_RESUME) {"))
        runtime = self.start({"polite": self.agent()})
        self.assert_success(self.trigger_input("polite", "hello, you"))
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.polite", {"payload": {"context": {"input": "crash"}}})
        self.assertEqual(runtime.wait(), -signal.SIGABRT)
        self.assertIn('SIGABRT in handle() of the plugin "greeter", agent "polite"\n', runtime.log())


class Refused(Plugins):
    def test_each_wrong_plugin_is_refused_with_its_reason_and_the_rest_runs(self):
        self.compile("greeter")
        self.compile("greeter", file_name="borrowed")
        self.compile("nothing", "int nothing;\n")
        head = "COMPOZY_ABI_MAGIC, sizeof(compozy_behavior), COMPOZY_ABI_MAJOR + 1, 0"
        self.compile("future", GREETER.replace("COMPOZY_BEHAVIOR_HEAD", head))
        self.compile("halved", GREETER.replace("static ", "").replace("greeter_handle, greeter_checkpoint", "NULL, NULL"))
        self.compile("needy", "void no_such_function(void);\n" + GREETER.replace("free(agent);", "free(agent);\n        no_such_function();"))
        with open(os.path.join(self.plugins, "text.so"), "w", encoding="utf-8") as file:
            file.write("this is no shared object")
        os.chmod(self.compile("open"), 0o777)
        wrong = {"borrowed": "greeter", "nothing": "compozy_behavior_table", "future": "version", "halved": "handle", "needy": "no_such_function",
                 "text": "text.so", "open": "open.so", "absent": "absent.so"}
        agents = {f"agent-{name}": self.agent(name) for name in wrong}
        runtime = self.start(dict(agents, good=self.agent(), plain="echo"))
        log = runtime.log()
        for name, word in wrong.items():
            lines = [line for line in log.splitlines() if f"agent-{name}" in line]
            self.assertTrue(any(word in line for line in lines), f"{name}: {lines}")
            self.assertIsNone(self.agent_state(f"agent-{name}"))
            self.assertIn(word, self.control_error("create_agent", dict(self.agent(name), agent_id=f"made-{name}"), "INVALID_MESSAGE")["message"])
        self.assert_success(self.trigger_input("good", 1), {"greeting": {"a": 1}, "times": 1})
        self.assert_success(self.trigger_input("plain", 1), 1)
        self.assertEqual(runtime.terminate(), 0)

    def test_without_a_directory_of_plugins_the_key_is_named(self):
        runtime = self.world.runtime("r1", agents={"polite": self.agent(), "plain": "echo"})
        self.wait_runtimes("r1")
        self.assert_success(self.trigger_input("plain", 1), 1)
        self.assertIn("runtime.plugins_dir", runtime.log())

    def test_names_that_lead_elsewhere_are_none(self):
        self.start({})
        for name in ("../greeter", "/etc/passwd", "", "a.b", "a b", "x" * 65):
            self.assertIn("plugin", self.control_error("create_agent", dict(self.agent(name), agent_id="x"), "INVALID_MESSAGE")["message"])
