# SPDX-License-Identifier: MIT
"""compozyctl events: those that are kept, those that come, and the seam between them."""

import json
import os
import re
import signal
import subprocess

from harness import BIN, FAST_HEARTBEAT, PREFIX, Case, scaled, wait_until


class Follower:
    """A compozyctl that goes on, with what it has printed so far."""

    def __init__(self, case, *words):
        self.case = case
        self.paths = [os.path.join(case.world.directory, f"follower-{id(self)}.{name}") for name in ("out", "err")]
        environment = {**os.environ, "HOME": case.world.directory, "NATS_URL": case.world.nats.url}
        files = [open(path, "wb") for path in self.paths]  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([os.path.join(BIN, "compozyctl"), *map(str, words)], env=environment, stdin=subprocess.DEVNULL,
                                        stdout=files[0], stderr=files[1], start_new_session=True)
        for file in files:
            file.close()
        case.addCleanup(self.kill)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def _read(self, index):
        with open(self.paths[index], encoding="utf-8") as file:
            return file.read()

    @property
    def out(self):
        return self._read(0)

    @property
    def err(self):
        return self._read(1)

    def wait_for(self, what, condition, timeout=15.0):
        def holds():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.out}{self.err}")
            return condition()

        try:
            wait_until(what, holds, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; it has printed {self.out[-500:]!r}, {self.err[-2000:]!r}") from None

    def end(self):
        """Ctrl-C; what it printed."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(scaled(10))
        self.case.assertEqual(status, 130, self.err)
        return self.out


class Kept(Case):
    """With JetStream."""

    shared = True

    def build(self):
        self.world.server(jetstream=True)
        self.world.dispatcher("d1")
        self.world.runtime("r1", options=FAST_HEARTBEAT)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        wait_until("the stream is there", lambda: self.client.js_stream("COMPOZY_EVENTS"))

    def n_kept(self):
        return self.client.js_stream("COMPOZY_EVENTS")["state"]["last_seq"]

    def run_some(self, agent, n, exec_id="x"):
        """Two events each: started, completed."""
        before = self.n_kept()
        for number in range(n):
            self.ctl_ok("trigger", agent, "--wait", "--exec-id", f"{exec_id}-{number}")
        wait_until("their events are kept", lambda: self.n_kept() >= before + 2 * n)

    def test_the_last_ones_are_shown_in_their_order(self):
        self.run_some("greeter", 3, "order")
        lines = self.ctl_ok("events", "-n", 4, "--agent", "greeter").splitlines()
        self.assertEqual([re.split(r" +", line)[1:5] for line in lines],
                         [[what, "greeter", "r1", f"order-{n}"] for n in (1, 2) for what in ("started", "completed")])
        events = [json.loads(line) for line in self.ctl_ok("--json", "events", "-n", 6, "-a", "greeter").splitlines()]
        self.assertEqual([event["agent"]["exec_id"] for event in events], [f"order-{n}" for n in (0, 0, 1, 1, 2, 2)])
        self.assertEqual(events[0]["metadata"]["type"], "AgentExecutionStarted")

    def test_each_filter_leaves_out_the_rest(self):
        self.ctl("trigger", "sleeper", '{"ms":"x"}', "--wait", "--exec-id", "broken-1")
        self.run_some("greeter", 2, "filter")
        wait_until("it is kept", lambda: self.ctl_ok("events", "-e", "broken-1", "-k", "failed"))
        self.assertRegex(self.ctl_ok("events", "-k", "failed", "-n", 1), r" failed +sleeper +r1 +broken-1 .*AGENT_ERROR INVALID_MESSAGE: ")
        self.assertEqual(len(self.ctl_ok("events", "--exec-id", "filter-1").splitlines()), 2)
        self.assertEqual(self.ctl("events", "--exec-id", "filter").stdout, "")
        self.assertRegex(self.ctl_ok("events", "-k", "runtime_update", "-k", "registered", "-n", "all"), r"registered .* r1 .*\n.* runtime_update .* r1 .*added")
        self.assertEqual(self.ctl("events", "--runtime", "r9").stderr, "no such events are kept\n")
        self.assertEqual(self.ctl_ok("events", "-n", 0), "")
        for words in (("-n", "all"), ("--since", "1h")):  # another one may come between the two looks
            wait_until(f"{words} shows all", lambda words=words: len(self.ctl_ok("events", *words).splitlines()) == self.n_kept())
        self.assertEqual(self.ctl_ok("events", "--since", "1us"), "")
        self.assertEqual(len(self.ctl_ok("events", "--since", "1h", "-n", 2).splitlines()), 2)

    def test_what_can_not_be_is_a_usage_error(self):
        for part, words in (("none of dispatched, started", ["-k", "x"]), ("neither a number up to 100000 nor all", ["-n", "many"]),
                            ("--agent: \"a b\" is no id", ["-a", "a b"]), ("--exec-id: \"*\" is no id", ["-e", "*"]),
                            ("heartbeats are not kept; --follow", ["-k", "heartbeat"]), ("takes no word", ["x"])):
            self.ctl_fails(2, part, "events", *words)

    def test_following_goes_on_from_the_past_without_gap_or_duplicate(self):
        self.run_some("greeter", 2, "past")
        follower = Follower(self, "--json", "events", "-f", "-n", 4, "-a", "greeter")
        follower.wait_for("the past", lambda: follower.out.count("\n") == 4)
        self.ctl_ok("trigger", "greeter", "-n", 2000)
        follower.wait_for("all are there", lambda: follower.out.count("\n") >= 4004)
        events = [json.loads(line) for line in follower.end().splitlines()]
        self.assertEqual(len(events), 4004)
        self.assertEqual(len({event["metadata"]["event_id"] for event in events}), 4004)
        self.assertEqual([event["agent"]["exec_id"] for event in events[:4]], ["past-0", "past-0", "past-1", "past-1"])

    def test_heartbeats_come_when_they_are_wanted(self):
        follower = Follower(self, "events", "-f", "-n", 0, "--all")
        follower.wait_for("heartbeats", lambda: follower.out.count(" heartbeat ") >= 2)
        self.ctl_ok("trigger", "greeter", "--wait")
        follower.wait_for("an execution", lambda: " completed " in follower.out)
        follower.end()
        follower = Follower(self, "events", "-f", "-k", "heartbeat", "-r", "r1")
        follower.wait_for("heartbeats", lambda: follower.out.count("\n") >= 2)
        self.assertEqual({line.split()[1] for line in follower.end().splitlines()}, {"heartbeat"})

    def test_texts_of_strangers_are_harmless(self):
        before = self.n_kept()
        self.client.publish(f"{PREFIX}.events.agent.instance.evil.failed", {"agent": {"id": "x\x1b[1m", "exec_id": "\u009b"}, "payload": {
            "error": {"code": "\x1b", "message": "\x1b]0;title\x07"}}})
        self.client.publish(f"{PREFIX}.events.agent.instance.evil.failed", b"no JSON")
        self.client.publish(f"{PREFIX}.events.agent.instance.evil.nonsense", b"{}")
        wait_until("they are kept", lambda: self.n_kept() >= before + 3)
        shown = self.ctl_ok("events", "-n", 3)
        self.assertNotIn("\x1b", shown)
        self.assertNotIn("\u009b", shown)
        self.assertIn("\\x1b]0;title\\x07", shown)
        self.assertEqual(self.ctl_ok("--json", "events", "-e", "evil"), "")  # that id is the subject's only


class Restarted(Case):
    waits = True

    def test_nothing_is_left_out_when_nats_restarts_meanwhile(self):
        self.world.server(jetstream=True)
        self.world.dispatcher("d1")
        runtime = self.world.runtime("r1", options=FAST_HEARTBEAT)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        wait_until("the stream is there", lambda: self.client.js_stream("COMPOZY_EVENTS"))
        follower = Follower(self, "events", "-f", "-a", "greeter")
        self.ctl_ok("trigger", "greeter", "--wait", "--exec-id", "before-1")
        follower.wait_for("the first", lambda: "completed" in follower.out)
        self.world.nats.kill()
        follower.wait_for("it notices", lambda: "the connection to NATS is lost" in follower.err)
        self.world.nats.start()
        follower.wait_for("it is back", lambda: "connected again; what happened meanwhile follows" in follower.err)
        wait_until("the runtime is back", lambda: runtime.is_ready() and self.ctl("trigger", "greeter", "-w", "--exec-id", "after-1").returncode == 0)
        follower.wait_for("the second", lambda: re.search("completed .*after-1", follower.out))
        out = follower.end()
        self.assertEqual([line.split()[1] for line in out.splitlines() if "before-1" in line], ["started", "completed"])
        self.assertEqual([line.split()[1] for line in out.splitlines() if "after-1" in line], ["started", "completed"])


class Live(Case):
    """Without JetStream, and without NATS."""

    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1", options=FAST_HEARTBEAT)
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def test_without_jetstream_there_is_no_past_and_it_says_so(self):
        self.assertIn("--follow shows those that come", self.ctl_fails(4, "NATS runs without JetStream (nats-server -js)", "events"))

    def test_without_jetstream_those_that_come_are_shown(self):
        follower = Follower(self, "events", "-f")
        follower.wait_for("the note", lambda: "-- only events that come, none of the past" in follower.err)

        def triggered():
            self.ctl_ok("trigger", "greeter", "--wait")
            return "completed" in follower.out

        follower.wait_for("an event", triggered)
        self.assertNotIn("heartbeat", follower.end())

    def test_without_nats_it_says_so(self):
        self.ctl_fails(3, "is nats-server running there?", "events", "-f", url="nats://127.0.0.1:1")
