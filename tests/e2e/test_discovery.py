# SPDX-License-Identifier: MIT
"""NATS service discovery: $SRV.PING, $SRV.INFO, $SRV.STATS, as ADR-32 of NATS describes them."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import unittest

import natsclient
from harness import ROOT, Case, scaled, wait_until

# What `nats.js` is today: a client that shares no code with us. Installed where `make clean` removes it.
NODE_MODULES = os.path.join(ROOT, "build", "node")
PACKAGES = ["@nats-io/transport-node@3.4.0", "@nats-io/services@3.0.0-25"]


def install_nats_js():
    """The directory with the packages; a test is skipped where there is no node or no registry to be reached."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise unittest.SkipTest("node and npm are not installed: nats.js can't be tried")
    os.makedirs(NODE_MODULES, exist_ok=True)
    with open(os.path.join(NODE_MODULES, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(NODE_MODULES, "node_modules", "@nats-io", "services", "package.json")):
            try:
                done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--no-save", "--prefix", ".", *PACKAGES],
                                      cwd=NODE_MODULES, capture_output=True, text=True, timeout=40, check=False)
            except subprocess.TimeoutExpired:
                shutil.rmtree(os.path.join(NODE_MODULES, "node_modules"), ignore_errors=True)
                raise unittest.SkipTest("npm did not get nats.js within 40 s") from None
            if done.returncode != 0:
                raise unittest.SkipTest(f"npm could not install nats.js: {done.stderr.strip().splitlines()[-1:]}")
    return NODE_MODULES


class Discovery(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.dispatcher("d2")
        self.world.runtime("r1", {"greeter": "echo"}, {"runtime.labels": "zone=a"})
        self.world.runtime("r2")
        self.client = self.world.client()
        for dispatcher in ("d1", "d2"):
            subject = f"compozy.dispatcher.{dispatcher}.control.list_runtimes"
            wait_until(f"{dispatcher} knows both runtimes", lambda subject=subject: [
                one["state"] for one in self.client.request(subject, {}, scaled(5)).json()["result"]["runtimes"]] == ["live"] * 2)

    def discover(self, subject, n, client=None):
        """The answers to one request, by id; waits for so many, and then for one more that should not be."""
        client = client or self.client
        inbox = client.subscribe(f"{client.inbox}.{subject.replace('$', '').replace('.', '-')}")
        client.publish(subject, reply=inbox.subject)
        answers = [inbox.next(scaled(5)).json() for _ in range(n)]
        try:
            further = inbox.next(0.05 if n > 0 else scaled(5))
            self.assertTrue(n == 0 and further.status == 503, f"one too many: {further}")
        except natsclient.TimedOut:
            self.assertGreater(n, 0)
        inbox.unsubscribe()
        self.assertEqual(len({(one["name"], one["id"]) for one in answers}), n)
        return {one["id"]: one for one in answers}

    def test_every_daemon_answers_a_ping_and_only_who_is_meant_one_with_a_name(self):
        for verb, kind in (("PING", "ping"), ("INFO", "info"), ("STATS", "stats")):
            for subject, wanted in ((f"$SRV.{verb}", {"d1", "d2", "r1", "r2"}), (f"$SRV.{verb}.compozy-dispatcher", {"d1", "d2"}),
                                    (f"$SRV.{verb}.compozy-runtime", {"r1", "r2"}), (f"$SRV.{verb}.compozy-runtime.r2", {"r2"}),
                                    (f"$SRV.{verb}.compozy-runtime.d1", set()), (f"$SRV.{verb}.compozy", set())):
                answers = self.discover(subject, len(wanted))
                self.assertEqual(set(answers), wanted, subject)
                for one in answers.values():
                    self.assertEqual(one["type"], f"io.nats.micro.v1.{kind}_response")
                    self.assertRegex(one["version"], r"^\d+\.\d+\.\d+")
                    self.assertRegex(one["name"], r"^[A-Za-z0-9_-]+$")
                    self.assertTrue(all(isinstance(value, str) for value in one["metadata"].values()), one)

    def test_metadata_and_endpoints_say_where_to_find_what(self):
        runtime = self.discover("$SRV.INFO.compozy-runtime.r1", 1)["r1"]
        record = self.verb_ok("get_runtime", {"runtime_id": "r1"})["runtime"]
        self.assertEqual(runtime["metadata"]["epoch"], str(record["epoch"]))
        self.assertEqual(runtime["metadata"]["labels"], "zone=a")
        self.assertRegex(runtime["metadata"]["http"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual({one["name"]: one["subject"] for one in runtime["endpoints"]},
                         {"trigger": "compozy.runtime.r1.trigger", "control": "compozy.runtime.r1.control.>"})
        dispatcher = self.discover("$SRV.INFO.compozy-dispatcher.d1", 1)["d1"]
        self.assertTrue(dispatcher["description"])
        self.assertRegex(dispatcher["metadata"]["http"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual([(one["name"], one["subject"], one.get("queue_group")) for one in dispatcher["endpoints"]],
                         [("trigger", "compozy.commands.agent.*.trigger.*", "compozy-dispatchers"),
                          ("verbs", "compozy.commands.agent_dispatcher.*", "compozy-dispatchers"),
                          ("control", "compozy.dispatcher.d1.control.*", None)])

    def endpoint(self, service, name):
        """The sum of an endpoint's numbers over all instances, and the last errors."""
        n = len(self.discover(f"$SRV.PING.{service}", 2))
        found = [end for one in self.discover(f"$SRV.STATS.{service}", n).values() for end in one["endpoints"] if end["name"] == name]
        return ({key: sum(end[key] for end in found) for key in ("num_requests", "num_errors", "processing_time")},
                [end["last_error"] for end in found], found)

    def test_stats_count_requests_errors_and_time(self):
        began = time.monotonic()
        before = [self.endpoint("compozy-dispatcher", "trigger")[0], self.endpoint("compozy-runtime", "trigger")[0]]
        for _ in range(5):
            self.assert_success(self.trigger_input("sleeper", {"ms": 20}))
        self.assert_failure(self.trigger_input("nobody-hosts-it", 1), "AGENT_UNKNOWN")

        def after():
            now = self.endpoint("compozy-dispatcher", "trigger")
            # how long it took is known with the runtime's report, which may come after its answer
            return now if now[0]["processing_time"] - before[0]["processing_time"] >= 5 * 20e6 else None

        now, errors, found = wait_until("six triggers are counted", after, 5)
        self.assertEqual((now["num_requests"] - before[0]["num_requests"], now["num_errors"] - before[0]["num_errors"]), (6, 1))
        self.assertTrue(any(re.match("AGENT_UNKNOWN: .*nobody-hosts-it", error) for error in errors), errors)
        elapsed = (time.monotonic() - began) * 1e9
        self.assertLessEqual(now["processing_time"] - before[0]["processing_time"], elapsed)
        for end in found:
            self.assertEqual(end["average_processing_time"], end["processing_time"] // max(end["num_requests"], 1))
        now, _, _ = self.endpoint("compozy-runtime", "trigger")
        self.assertEqual((now["num_requests"] - before[1]["num_requests"], now["num_errors"] - before[1]["num_errors"]), (5, 0))
        self.assertGreaterEqual(now["processing_time"] - before[1]["processing_time"], 5 * 20e6)

    def test_control_requests_and_their_errors_are_counted(self):
        before, _, _ = self.endpoint("compozy-runtime", "control")
        self.control_error("start_agent", "nobody", "AGENT_NOT_FOUND")
        self.control("status")
        now, errors, _ = self.endpoint("compozy-runtime", "control")
        self.assertGreaterEqual(now["num_requests"] - before["num_requests"], 2)
        self.assertEqual(now["num_errors"] - before["num_errors"], 1)
        self.assertGreater(now["processing_time"], before["processing_time"])
        self.assertTrue(any(error.startswith("AGENT_NOT_FOUND: ") for error in errors), errors)
        before, _, _ = self.endpoint("compozy-dispatcher", "verbs")
        self.verb_error("no_such_verb", code="INVALID_MESSAGE")
        now, _, _ = self.endpoint("compozy-dispatcher", "verbs")
        self.assertEqual(now["num_errors"] - before["num_errors"], 1)

    def test_nobody_is_made_to_answer_where_commands_are_given(self):
        watcher = self.client.subscribe("compozy.commands.agent_runtime.announce")
        self.client.publish("$SRV.PING", reply="compozy.commands.agent_runtime.announce")
        self.assertEqual(len(self.discover("$SRV.PING", 4)), 4)
        # a dispatcher calls the roll there after a pause of its own; nobody else says anything
        self.assertEqual([one for one in watcher.taken() if b"io.nats.micro" in one.data], [])
        watcher.unsubscribe()

    def test_the_services_client_of_nats_js_finds_and_reads_them(self):
        directory = install_nats_js()
        script = shutil.copy(os.path.join(ROOT, "tests", "e2e", "discover.mjs"), directory)
        for name, ids in (("compozy-dispatcher", ["d1", "d2"]), ("compozy-runtime", ["r1", "r2"])):
            done = subprocess.run(["node", script, self.world.nats.url, name, str(len(ids))], cwd=directory, capture_output=True, text=True,
                                  timeout=scaled(30), check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)
            for kind in ("ping", "info", "stats"):
                self.assertEqual([one["id"] for one in found[kind]], ids, found[kind])
            self.assertEqual([one["id"] for one in found["one"]], ids[:1])
            self.assertTrue(all(end["num_requests"] >= 0 for one in found["stats"] for end in one["endpoints"]))
