# SPDX-License-Identifier: MIT
"""
What the tests of the units share: a container per class with the programs installed, a NATS server with JetStream in it, and a client.

A class names in `files` what is there before the boot, and starts its units in set_up_box(). A test that fails leaves the end of the
container's journal in its report.
"""

import json
import os
import sys
import time
import unittest

import container

sys.path.insert(0, os.path.join(container.ROOT, "tests", "e2e"))

import natsclient  # noqa: E402

URL = "nats://127.0.0.1:4222"
NATS_CONF = "host: 127.0.0.1\nport: 4222\njetstream { store_dir: /var/lib/nats }\n"

tree = None  # of run.py
installed = None  # a directory with what `make install` makes


def wait_until(what, condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what} (last seen: {value!r:.2000})")
        time.sleep(0.05)


class Case(unittest.TestCase):
    files = {}
    longMessage = True

    @classmethod
    def new_box(cls):
        return container.Container(tree, layers=[installed])

    @classmethod
    def setUpClass(cls):
        cls.box = cls.new_box()
        cls.addClassCleanup(cls.box.close)
        cls.box.put("/etc/nats-server.conf", NATS_CONF)
        cls.box.put("/usr/lib/tmpfiles.d/nats.conf", "d /var/lib/nats 0700 nats nats\n")
        # Debian 13's server takes ten seconds to leave, which nobody here needs.
        cls.box.put("/etc/systemd/system/nats-server.service.d/stop.conf", "[Service]\nKillSignal=SIGINT\n")
        for path, content in cls.files.items():
            cls.box.put(path, content if isinstance(content, str) else json.dumps(content))
        cls.box.boot()
        cls.set_up_box()

    @classmethod
    def set_up_box(cls):
        cls.start("nats-server", "compozy-dispatcherd", "compozy-runtimed")

    def _callTestMethod(self, method):
        try:
            method()
        except BaseException:
            if self.box.leader:
                print(f"=== {self.id()}", self.box.run("journalctl", "-n", "60", "--no-hostname", "-u", "compozy*", check=False).stdout, sep="\n", file=sys.stderr)
                sys.stderr.flush()
            raise

    # units

    @classmethod
    def start(cls, *units):
        cls.box.run("systemctl", "start", *units)

    @classmethod
    def show(cls, unit, what):
        return cls.box.output("systemctl", "show", "--value", "-p", what, unit).strip()

    def status_text(self, unit):
        return self.show(unit, "StatusText")

    def wait_show(self, unit, what, wanted, timeout=15.0):
        """Until a property is that; `wanted` may be a condition."""
        good = wanted if callable(wanted) else lambda value: value == wanted
        held = {}

        def look():
            held["value"] = self.show(unit, what)
            return good(held["value"])

        try:
            wait_until("", look, timeout)
        except AssertionError:
            raise AssertionError(f"{what} of {unit} is {held['value']!r}, not {wanted} within {timeout:.0f} s") from None
        return held["value"]

    def journal(self, *matches, options=()):
        """The entries as dicts, oldest first."""
        text = self.box.output("journalctl", "--output=json", "--all", *options, *matches)
        return [json.loads(line) for line in text.splitlines()]

    # work

    def client(self):
        with self.box.network():
            client = natsclient.Client(URL)
        self.addCleanup(client.close)
        return client

    def trigger(self, agent, value=None, timeout=10.0, client=None):
        return self.ask(f"compozy.commands.agent.adhoc.trigger.{agent}", {"payload": {"context": {"input": value}}}, timeout, client)

    def ask(self, subject, body=None, timeout=10.0, client=None):
        return (client or self.client()).request(subject, {} if body is None else body, timeout).json()

    def output_of(self, result):
        self.assertEqual(result["payload"]["status"], "SUCCESS", result)
        return result["payload"]["result"]["output"]

    def runtimes(self):
        answer = self.ask("compozy.commands.agent_dispatcher.list_runtimes")
        return {one["runtime_id"]: one for one in answer["result"]["runtimes"] if one["state"] != "gone"}
