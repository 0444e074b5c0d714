# SPDX-License-Identifier: MIT
"""compozyctl bench: what it measures, and what it leaves behind."""

import json
import os
import signal

from harness import PREFIX, Case, exec_agent, scaled, wait_until
from terminal import Terminal


class Bench(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def agents(self):
        return sorted(one["agent_id"] for one in self.ctl_json("agents")["agents"])

    def test_it_makes_an_agent_of_its_own_and_deletes_it(self):
        before = self.agents()
        done = self.ctl("bench", "-d", "1200ms")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?s)^[\d,]+ triggers of bench-\w+ in .*/s\nlatency: p50 .*SUCCESS [\d,]+\n$")
        self.assertRegex(done.stderr, r"(?s)agent bench-\w+ on r1, 64 at once, 256 B each, 1200 ms\n   1 s +[\d,.]+/s  p50 .*p99 .* 0 errors\n")
        self.assertEqual(self.agents(), before)

    def test_a_bare_pair_is_compared_with(self):
        told = self.ctl_json("bench", "-d", "300ms", "--compare", "--size", 1000, "--concurrency", 8)
        self.assertEqual((told["concurrency"], told["size"]), (8, 1000))
        for part in ("compozy", "bare"):
            self.assertGreaterEqual(told[part]["outcomes"]["SUCCESS"], 8)
            self.assertEqual(told[part]["errors"], {})
        self.assertAlmostEqual(told["ratio"], told["compozy"]["per_second"] / told["bare"]["per_second"], places=3)
        self.assertIn("of bare NATS", self.ctl_ok("bench", "-d", "100ms", "--compare"))

    def test_an_agent_that_is_there_is_triggered_with_an_input_of_that_size(self):
        heard = self.client.subscribe("compozy.commands.agent.bench.trigger.greeter")
        self.client.flush()
        self.ctl_ok("bench", "-d", "50ms", "-a", "greeter", "--size", 30, "-n", 1)
        self.assertEqual(len(heard.next(scaled(5)).json()["payload"]["context"]["input"]), 30)
        heard.unsubscribe()
        self.assertIn("greeter", self.agents())

    def test_errors_are_counted_and_have_the_status_of_the_worst(self):
        done = self.ctl("--json", "bench", "-d", "100ms", "-a", "nosuch")
        self.assertEqual(done.returncode, 6)
        self.assertEqual(list(json.loads(done.stdout)["compozy"]["errors"]), ["AGENT_UNKNOWN"])

    def test_ctrl_c_ends_it_with_a_summary_and_its_agent_goes_too(self):
        before = self.agents()
        terminal = Terminal(self, "bench", "-d", "60s")
        terminal.read_until(lambda shown: " 1 s " in shown)
        terminal.process.send_signal(signal.SIGINT)
        status, out = terminal.end()
        self.assertEqual(status, 130)
        self.assertIn("Interrupted: ", out)
        self.assertEqual(self.agents(), before, terminal.shown)
        self.assertNotIn("no answer", terminal.shown)

    def test_others_load_is_pointed_out(self):
        self.create("busy", exec_agent())
        gate = os.path.join(self.world.directory, "gate")
        held = self.client.subscribe("held.by.busy")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.busy", {"payload": {"context": {"input": {"do": "wait_for", "path": gate}}}},
                            "held.by.busy")
        wait_until("it is under way", lambda: self.verb_ok("status")["in_flight"] > 0)
        done = self.ctl("bench", "-d", "50ms")
        with open(gate, "w", encoding="ascii"):
            pass
        self.assert_success(held.next(scaled(5)).json())
        self.control("delete_agent", "busy")
        self.assertRegex(done.stderr, r"^note: others use this system: ")

    def test_what_can_not_be_is_told(self):
        self.ctl_fails(2, "--agent: \"a b\" is no id", "bench", "-a", "a b")
        self.ctl_fails(2, "0 is not within 1 to 65535", "bench", "-n", 0)
        self.ctl_fails(3, "is nats-server running there?", "bench", url="nats://127.0.0.1:1")


class Alone(Case):
    def test_without_a_dispatcher_it_says_so(self):
        self.world.server()
        self.ctl_fails(4, "no dispatcher is listening on", "bench")
