# SPDX-License-Identifier: MIT
"""compozyctl top: on a pseudo terminal, as somebody would use it; and without one."""

import json
import os
import signal
import subprocess
import termios
import time
import unittest

from harness import BIN, PREFIX, Case, scaled, wait_until
from screen import Screen

CTL = os.path.join(BIN, "compozyctl")


class OnAScreen:
    def environment(self):
        return {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"}, "NATS_URL": self.world.nats.url}

    def top(self, *words, rows=24, columns=80):
        screen = Screen([CTL, "top", "--interval", "200ms", *words], self.environment(), rows, columns)
        self.addCleanup(screen.close)
        return screen

    def print_top(self, *words):
        done = subprocess.run([CTL, "top", "--interval", "300ms", *words], capture_output=True, text=True, env=self.environment(),
                              timeout=scaled(20), check=False)
        return done.returncode, done.stdout, done.stderr


class Failures(OnAScreen, Case):
    def test_agents_that_have_failed_are_counted_in_the_head(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1", agents={"ok": "echo", "broken": {"agent_type": "exec", "exec": {"command": ["/no/such/program"]}}})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        screen = self.top()
        screen.wait_for("Agents 2", "1 failed")
        screen.type("q")
        self.assertEqual(screen.wait_exit(), 0)


class Top(OnAScreen, Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1", options={"runtime.labels": "zone=a"})
        self.world.runtime("r2", options={"runtime.labels": "zone=b"})
        self.client = self.world.client()
        self.wait_runtimes("r1", "r2")

    def state(self, runtime):
        return self.runtimes()[runtime]["state"]

    def test_it_shows_the_fleet_and_leaves_the_terminal_as_it_was(self):
        screen = self.top()
        text = screen.wait_for("r1 ", "r2 ", "2 live", "answers in")
        self.assertIn(self.world.nats.url, text)
        self.assertNotIn("LABELS", text)  # no room
        screen.type("q")
        self.assertEqual(screen.wait_exit(), 0)
        self.assertEqual(termios.tcgetattr(screen.terminal), screen.before)

    def test_ctrl_c_leaves_the_terminal_as_it_was(self):
        screen = self.top()
        screen.wait_for("r1 ", "r2 ")
        self.assertNotEqual(termios.tcgetattr(screen.terminal), screen.before)
        screen.type(b"\x03")
        self.assertEqual(screen.wait_exit(), 0)
        self.assertEqual(termios.tcgetattr(screen.terminal), screen.before)

    def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(self):
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGQUIT):
            with self.subTest(number.name):
                environment = self.environment()
                for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):  # theirs would make an exit of it
                    environment[name] = environment.get(name, "") + " handle_segv=0 handle_sigbus=0 handle_abort=0"
                screen = Screen([CTL, "top"], environment, terminal="xterm")
                self.addCleanup(screen.close)
                screen.wait_bytes(b"live")
                self.assertNotEqual(termios.tcgetattr(screen.terminal), screen.before)
                os.kill(screen.process.pid, number)
                self.assertEqual(screen.wait_exit(), -number)
                self.assertEqual(termios.tcgetattr(screen.terminal), screen.before)
                self.assertTrue(screen.everything.endswith(b"\r\n"), screen.everything[-100:])
                for undone in (b"\x1b[?1l\x1b>", b"\x1b[?25h", b"\x1b[?1049l"):  # the keypad's mode, the hidden cursor, the second screen
                    self.assertIn(undone, screen.everything[screen.everything.rindex(b"live"):])

    def test_ctrl_z_lends_the_terminal_to_the_shell_until_it_is_called_back(self):
        shell = ("set -m; compozyctl top --interval 200ms; stty -a | grep -q ' icanon ' && echo STOPPED; read -r line; fg >/dev/null; "
                 "stty -a | grep -q ' icanon ' && echo ENDED $?")
        screen = Screen(["bash", "-c", shell], {**self.environment(), "PATH": f"{BIN}:{os.environ['PATH']}"})
        self.addCleanup(screen.close)
        screen.wait_for("r1 ", "r2 ", "2 live")
        screen.type(b"\x1a")
        screen.wait_for("STOPPED")
        screen.type("\n")
        text = screen.wait("it is drawn again", lambda text: "2 live" in text and "STOPPED" not in text)
        self.assertIn("/ filter", text)
        screen.type("?")
        screen.wait_for("look into it")
        screen.type("xq")
        screen.wait_for("ENDED 0")
        self.assertEqual(screen.wait_exit(), 0)

    def test_after_a_stop_that_it_was_not_told_of_it_takes_the_terminal_again(self):
        screen = self.top()
        screen.wait_for("r1 ", "r2 ")
        ours = termios.tcgetattr(screen.terminal)
        os.kill(screen.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED)
        termios.tcsetattr(screen.terminal, termios.TCSANOW, screen.before)
        screen.pump(0)
        screen.clear(24, 80)
        os.kill(screen.process.pid, signal.SIGCONT)
        screen.wait_for("r1 ", "r2 ", "/ filter")
        wait_until("the modes are its own", lambda: termios.tcgetattr(screen.terminal) == ours)
        screen.type("q")
        self.assertEqual(screen.wait_exit(), 0)

    def test_it_follows_the_size_of_the_terminal(self):
        screen = self.top()
        screen.wait_for("r1 ", "r2 ")
        screen.resize(40, 140)
        screen.wait_for("zone=a", "zone=b", "VERSION")
        screen.wait("the help at the bottom", lambda text: text.split("\n")[39].strip().endswith("q quit"))
        screen.resize(5, 15)
        screen.wait_for("too small")
        screen.resize(10, 40)
        screen.wait_for("RUNTIME", "r1 ")

    def test_one_looks_into_a_runtime_and_an_agent_and_back(self):
        self.assert_success(self.trigger_input("tally", None))
        screen = self.top(rows=40, columns=120)
        screen.wait_for("r1 ", "r2 ")
        screen.type("j\r")
        screen.wait_for("› r2", "Process", "greeter", "sleeper", "tally")
        screen.type("/tal\r")
        screen.wait("only one is left", lambda text: "tally" in text and "greeter" not in text)
        screen.type("\r")
        screen.wait_for("› r2 › tally", "Mailbox", "agent.tally.replies")
        screen.type(b"\x1b")
        screen.wait_for("1 of 3")
        screen.type(b"\x7f")
        screen.wait("the runtimes again", lambda text: "› r2" not in text and "r1 " in text)
        screen.type("2")
        screen.wait_for("AGENT", "greeter", "HANDLED/S")
        screen.type("3\r")
        screen.wait_for("› d1", "Counters", "Runs: from the attempt")
        screen.type("?")
        screen.wait_for("look into it")

    def test_a_runtime_is_drained_and_resumed_when_one_says_yes(self):
        screen = self.top()
        screen.wait_for("r1 ", "r2 ")
        screen.type("d")
        screen.wait_for("Drain runtime r1? (y/n)")
        screen.type("n")
        screen.wait("the question is gone", lambda text: "(y/n)" not in text)
        self.assertNotEqual(self.state("r1"), "draining")
        screen.type("dy")
        wait_until("r1 is draining", lambda: self.state("r1") == "draining")
        screen.wait("it shows that", lambda text: "draining" in screen.line("r1 "))
        screen.type("ry")
        wait_until("r1 is live", lambda: self.state("r1") == "live")
        screen.wait("it shows that", lambda text: "live" in screen.line("r1 "))

    def test_an_agent_is_paused_and_resumed(self):
        screen = self.top(columns=120)
        screen.wait_for("r1 ", "r2 ")
        screen.type("\r")
        screen.wait_for("› r1", "greeter")
        screen.type("/greeter\rpy")
        self.wait_agent("greeter", "paused")
        screen.wait("it shows that", lambda text: "paused" in screen.line("greeter "))
        screen.type("py")
        self.wait_agent("greeter")
        screen.wait("it shows that", lambda text: "running" in screen.line("greeter "))

    def test_rates_are_printed_without_a_terminal(self):
        process = subprocess.Popen([CTL, "top", "--json", "--interval", "1s"], stdout=subprocess.PIPE, text=True, env=self.environment())

        def load_and_look():
            self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", {"payload": {"context": {"input": 1}}}, "x.y")
            return process.poll() is not None

        wait_until("it has printed", load_and_look, 20, longest_pause=0.005)
        told = json.loads(process.communicate(timeout=scaled(20))[0])
        self.assertEqual(told["nats"], self.world.nats.url)
        self.assertEqual([one["runtime_id"] for one in told["runtimes"]], ["r1", "r2"])
        self.assertGreater(told["totals"]["triggers_per_s"], 0)
        self.assertGreater(sum(one["done_per_s"] for one in told["runtimes"]), 0)
        self.assertGreater(told["totals"]["execution_ms_p99"], 0)
        status, out, _ = self.print_top("--iterations", "2")
        self.assertEqual(status, 0)
        self.assertEqual(out.count("NATS at"), 2)
        self.assertEqual(len([line for line in out.splitlines() if line.startswith("r1 ")]), 2)

    def test_who_is_missing_is_said(self):
        self.assertEqual(self.print_top("-o", "nats.subject_prefix=odd")[::2],
                         (4, "compozyctl: no dispatcher is listening on odd.commands.agent_dispatcher.status at "
                             f"{self.world.nats.url}: is compozy-dispatcherd running, with the same nats.subject_prefix?\n"))
        screen = self.top("-o", "nats.subject_prefix=odd")
        screen.wait_for("no dispatcher answers")
        screen.type("djkG\r3\rpq")
        self.assertEqual(screen.wait_exit(), 0)

    def test_no_colour_is_no_colour(self):
        for variables, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
            screen = Screen([CTL, "top"], {**self.environment(), **variables}, terminal="xterm-256color")
            self.addCleanup(screen.close)
            screen.wait_bytes(b"live")
            screen.type("q")
            self.assertEqual(screen.wait_exit(), 0)
            self.assertEqual(b"\x1b[32m" in screen.everything, wanted)


class Restart(OnAScreen, Case):
    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def test_it_survives_a_restart_of_the_server_and_says_so(self):
        screen = self.top(columns=100)
        screen.wait_for("r1 ", "1 live")
        self.world.nats.kill()
        screen.wait_for("no connection for", "r1 ")
        self.world.nats.start()
        screen.wait_for("answers in", "r1 ")
        screen.type("q")
        self.assertEqual(screen.wait_exit(), 0)


class Fleet(OnAScreen, Case):
    """Ten thousand runtimes, and what they are called, as a dispatcher that is none tells."""

    def build(self):
        self.world.server()
        client = self.world.client("d1")
        records = [json.dumps({"runtime_id": f"r{number:05}", "state": "live", "hostname": "\u009b2J\x1b[2J", "labels": {"zone": "a" * 40},
                               "in_flight": number % 9, "capacity": {"max_in_flight": 8}, "last_heartbeat_ms_ago": 200, "done": 1,
                               "agent_types": ["exec", "echo", "counter"], "agents": 7}) for number in range(10000)]
        pages = {}
        for first in range(0, 10000, 1000):
            after = f"r{first - 1:05}" if first else ""
            following = "" if first == 9000 else f',"next":"r{first + 999:05}"'
            pages[after] = f'{{"ok":true,"result":{{"total":10000,"runtimes":[{",".join(records[first:first + 1000])}]{following}}}}}'.encode()
        status = {"ok": True, "result": {"dispatcher_id": "d1", "settled": True, "runtimes": {"live": 10000}, "counters": {"triggers": 5}}}

        def answer(message):
            if "list_runtimes" in message.subject:
                client.publish(message.reply, pages[json.loads(message.data).get("after", "")])
            else:
                client.publish(message.reply, status)

        client.subscribe(f"{PREFIX}.dispatcher.d1.control.*", answer)
        client.subscribe(f"{PREFIX}.commands.agent_dispatcher.status", answer)
        client.flush()

    def test_a_fleet_of_ten_thousand_does_not_keep_it_from_answering_keys(self):
        screen = self.top(columns=160)
        screen.wait_for("10000", "r00000", "\\x9b2J")
        self.assertNotIn(b"\x1b[2J", screen.everything.replace(b"\x1b[H\x1b[2J", b""))
        times = []
        for keys, word in (("G", "r09999"), ("g", "r00000"), ("/r0512\r", "r05129"), (b"\x1b", "r00000"), (">>", "r00008")):
            started = time.monotonic()
            screen.type(keys)
            screen.wait_for(word)
            times.append(time.monotonic() - started)
        self.assertLess(sorted(times)[2], scaled(1.0), times)  # the machine may stand still for a key or two
        screen.type("q")
        self.assertEqual(screen.wait_exit(), 0)


if __name__ == "__main__":
    unittest.main()
