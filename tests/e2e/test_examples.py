# SPDX-License-Identifier: MIT
"""The agents of examples/, as their pages say."""

import json
import os
import shutil
import subprocess
import unittest

from harness import ROOT, Case, scaled, wait_until
from test_plugin import Plugins


def examples(case, agent):
    """The examples' own definitions, from where they say that they are started."""
    case.world.server()
    case.world.dispatcher()
    case.client = case.world.client()
    options = {"runtime.agents_dir": "examples/exec/agents.d"}
    os.symlink(os.path.join(ROOT, "examples"), os.path.join(case.world.directory, "examples"))
    case.world.runtime("r1", options=options)
    case.wait_runtimes("r1")
    case.wait_agent(agent)


@unittest.skipUnless(shutil.which("jq"), "there is no jq")
class ShellExample(Case):
    def test_the_example_in_shell_works_as_documented(self):
        examples(self, "router")
        routed = self.client.subscribe("routed.*")
        self.client.publish("inbox.mail", {"kind": "bill", "sum": 5}, headers={"Compozy-Thread-Id": "t-1"})
        message = routed.next(scaled(5))
        self.assertEqual((message.subject, message.json()), ("routed.bill", {"kind": "bill", "sum": 5}))
        self.assertEqual((message.headers["Compozy-Sender"], message.headers["Compozy-Thread-Id"]), ("agent.router", "t-1"))


class PythonExample(Case):
    def test_the_example_in_python_works_as_documented(self):
        examples(self, "summarizer")
        summaries = self.client.subscribe("notes.summaries")
        result = self.trigger_input("summarizer", {"text": "One sentence. Another one."})
        self.assert_success(result)
        self.assertIn("One sentence.", json.dumps(result["payload"]["result"]["output"]))
        self.client.publish("notes.new", {"text": "First. Second."}, headers={"Compozy-Thread-Id": "t-2"})
        message = summaries.next(scaled(5))
        self.assertIn("First.", message.data.decode())
        self.assertEqual((message.headers["Compozy-Sender"], message.headers["Compozy-Thread-Id"]), ("agent.summarizer", "t-2"))


class PluginExample(Plugins):
    def test_wordcount_works_as_its_page_says(self):
        with open(os.path.join(ROOT, "examples", "plugin", "wordcount.c"), encoding="utf-8") as file:
            source = file.read()
        try:
            self.compile("wordcount", source, libraries=["-ljansson"])
        except subprocess.CalledProcessError:
            self.skipTest("there is no jansson to build it with")
        shutil.copytree(os.path.join(ROOT, "examples", "plugin", "agents.d"), os.path.join(self.world.directory, "r1.agents.d"))
        self.start({})
        self.assert_success(self.trigger_input("words", {"text": "to be or not to be"}), {"words": 6, "total_words": 6, "total_texts": 1})
        counted = self.client.subscribe("words.counted")
        self.client.publish("texts.news", "three more words")
        wait_until("it is counted", lambda: self.control("get_agent", "words")["handled"] == 2, 5)
        self.assertEqual(counted.next(scaled(5)).json(), {"words": 3, "total_words": 9, "total_texts": 2})
