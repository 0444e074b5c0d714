# SPDX-License-Identifier: MIT
"""compozyctl trigger: one, many, and what it says when they fail."""

import json
import os
import re
import signal
import time

from harness import INSTANCES, PREFIX, Case, in_time, scaled, wait_until
from terminal import Terminal


def some_were_answered(shown):
    return re.search(r"[1-9][\d,]*/1,000,000 triggers", shown)


class Trigger(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1", options={"runtime.labels": "zone=a", "runtime.max_in_flight": 256})
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def commands(self, agent):
        """What is published for that agent from here on."""
        subscription = self.client.subscribe(f"{PREFIX}.commands.agent.*.trigger.{agent}")
        self.client.flush()
        return subscription

    def test_waiting_prints_the_output_alone_on_stdout(self):
        done = self.ctl("trigger", "greeter", '{"name":"Ada"}', "--wait")
        self.assertEqual((done.returncode, json.loads(done.stdout)), (0, {"name": "Ada"}), done.stderr)
        self.assertRegex(done.stderr, r"^SUCCESS in .* on r1 \([A-Za-z0-9]+\)\n$")
        self.assertEqual(self.ctl("trigger", "-q", "greeter", "-w", "7").stderr, "")
        result = self.ctl_json("trigger", "greeter", '"hi"', "--wait", "--exec-id", "mine-1")
        self.assertEqual((result["payload"]["result"]["output"], result["agent"]["exec_id"]), ("hi", "mine-1"))

    def test_numbers_are_shown_as_they_were_written(self):
        for numbers in ('{"a":0.1,"b":2.5,"c":9007199254740993}', "0.12345678901234568", '{"n":12345678901234567890}', "1e400"):
            self.assertEqual(self.ctl_ok("trigger", "greeter", numbers, "-w"), numbers + "\n")
        huge = '{"n":12345678901234567890}'
        self.client.subscribe("huge.commands.agent.*.trigger.*", lambda message: self.client.publish(message.reply, (
            '{"metadata":{"type":"AgentExecutionResult"},"workflow":{"id":"w"},"agent":{"id":"x","exec_id":"e"},'
            '"payload":{"status":"SUCCESS","result":{"output":%s},"duration_ms":1,"attempt":1}}' % huge).encode()))
        self.client.flush()
        self.assertEqual(self.ctl_ok("trigger", "x", "-w", "-o", "nats.subject_prefix=huge"), huge + "\n")
        self.assertIn(huge, self.ctl_ok("--json", "trigger", "x", "-w", "-o", "nats.subject_prefix=huge"))

    def test_without_waiting_it_prints_the_execution_s_id(self):
        exec_id = self.ctl_ok("trigger", "sleeper", '{"ms":25000}').strip()
        self.assertEqual(self.ctl_json("why", exec_id)["phase"], "in_flight")
        self.assertEqual(list(self.ctl_json("trigger", "greeter")), ["agent_exec_id"])

    def test_a_refusal_that_comes_at_once_is_told_without_waiting(self):
        self.ctl_fails(6, "AGENT_UNKNOWN", "trigger", "nosuch", "--wait")  # a dispatcher that has just started waits for news of it
        # "at once" is a tenth of a second, which a busy machine does not always give the dispatcher
        done = wait_until("it is told", lambda: (done := self.ctl("trigger", "nosuch")).returncode != 0 and done)
        self.assertEqual(done.returncode, 6, done.stderr)
        for part in ("AGENT_UNKNOWN: no runtime hosts agent nosuch", "`compozyctl agents`"):
            self.assertIn(part, done.stderr)

    def test_the_input_comes_from_a_file_or_standard_input(self):
        path = os.path.join(self.world.directory, "input.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump([1, 2], file)
        self.assertEqual(json.loads(self.ctl_ok("trigger", "greeter", f"@{path}", "-w")), [1, 2])
        self.assertEqual(json.loads(self.ctl_ok("trigger", "greeter", "-", "-w", stdin='{"a":null}')), {"a": None})
        self.ctl_fails(2, "no JSON: line 1", "trigger", "greeter", "nonsense", "-w")
        for more in ('},"x":{"y":1', ',"x":1', " 2", "x"):
            self.ctl_fails(2, "no JSON: line 1", "trigger", "greeter", "12345678901234567890" + more, "-w")
        self.ctl_fails(2, "more than 64 bits", "trigger", "greeter", '{"a":12345678901234567890}', "-n", "2", "--number")
        self.ctl_fails(2, "/no/such", "trigger", "greeter", "@/no/such", "-w")

    def test_each_option_is_in_the_message(self):
        heard = self.commands("greeter")
        self.ctl_ok("trigger", "greeter", "1", "--wait", "--priority", 80, "--label", "zone=a", "--retry", "always", "--workflow", "billing",
                    "--deadline", "7s", "--env", "A=1", "-e", "B=x=y", "--header", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        message = heard.next(scaled(5))
        body = message.json()
        self.assertEqual(message.subject, f"{PREFIX}.commands.agent.billing.trigger.greeter")
        self.assertEqual(message.headers["traceparent"], "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        self.assertEqual(body["payload"], {"deadline_ms": 7000, "retry": "always", "priority": 80, "labels": {"zone": "a"},
                                           "context": {"env": {"A": "1", "B": "x=y"}, "input": 1}})
        self.ctl_ok("trigger", "greeter", "--timeout", "2s")
        self.assertEqual(heard.next(scaled(5)).json()["payload"]["deadline_ms"], 1950)
        self.ctl_ok("trigger", "greeter")
        self.assertEqual(heard.next(scaled(5)).json()["payload"]["deadline_ms"], 29950)
        heard.unsubscribe()

    def test_the_result_goes_where_reply_to_says(self):
        subject = f"{PREFIX}.results.agent.somewhere"
        results = self.client.subscribe(subject)
        self.client.flush()
        exec_id = self.ctl_ok("trigger", "greeter", "5", "--reply-to", subject).strip()
        self.assertEqual(results.next(scaled(5)).json()["agent"]["exec_id"], exec_id)

    def test_the_status_tells_who_failed(self):
        self.ctl_fails(7, "the agent reported an error: INVALID_MESSAGE: ", "trigger", "sleeper", '{"ms":"x"}', "--wait")
        self.ctl_fails(6, "NO_RUNTIME", "trigger", "greeter", "--wait", "-l", "zone=none", "--deadline", "500ms")
        self.assertIn("compozyctl why ", self.ctl_fails(6, "DEADLINE_EXCEEDED", "trigger", "sleeper", '{"ms":9000}', "--wait", "--deadline", "300ms"))
        done = self.ctl("--json", "trigger", "sleeper", '{"ms":"x"}', "--wait")
        self.assertEqual((done.returncode, json.loads(done.stdout)["payload"]["status"]), (7, "AGENT_ERROR"))
        brief = f"{scaled(300):.0f}ms"
        self.ctl_fails(5, "no answer", "trigger", "sleeper", '{"ms":25000}', "--wait", "-t", brief, "--deadline", "30s")

    def test_what_can_not_be_is_a_usage_error(self):
        for part, words in (("AGENT: \"a.b\" is no id", ["a.b"]), ("--workflow: \"*\" is no id", ["greeter", "--workflow", "*"]),
                            ("--exec-id: \"\" is no id", ["greeter", "--exec-id", ""]), ("101 is not within 0 to 100", ["greeter", "-p", 101]),
                            ("none of unstarted, never, always", ["greeter", "--retry", "maybe"]), ("needs AGENT", []),
                            ("NAME=VALUE", ["greeter", "--env", "x"]), ("NAME=VALUE", ["greeter", "--label", "=x"]),
                            ("\"Name: value\"", ["greeter", "--header", "no colon"]), ("\"Name: value\"", ["greeter", "--header", "a: b\nc: d"]),
                            ("is no subject", ["greeter", "--reply-to", "a b"]), ("--wait and --count", ["greeter", "--reply-to", "a", "-w"]),
                            ("--count 2 makes more", ["greeter", "--exec-id", "e", "-n", 2]), ("--number", ["greeter", "[]", "-n", 2, "--number"])):
            self.ctl_fails(2, part, "trigger", *words)

    def test_texts_of_strangers_are_harmless(self):
        def answer(message):
            text = "red \x1b[31m and \u009b31m"
            self.client.publish(message.reply, {"agent": {"id": "x", "exec_id": text}, "payload": {
                "status": "FAILURE", "result": {"error": {"code": "BAD\x1b[1m", "message": text, "details": {"x": "\u009b"}}},
                "duration_ms": 1, "attempt": 0}})

        self.client.subscribe("evil.commands.agent.*.trigger.*", answer)
        self.client.flush()
        done = self.ctl("trigger", "x", "-w", "-o", "nats.subject_prefix=evil")
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertNotIn("\x1b", done.stderr)
        self.assertNotIn("\u009b", done.stderr)
        self.assertIn("\\x1b[31m", done.stderr)
        done = self.ctl("trigger", "x", "-n", 3, "-o", "nats.subject_prefix=evil")
        self.assertNotIn("\x1b", done.stdout + done.stderr)

    def test_an_answer_that_is_no_result_is_told(self):
        self.client.subscribe("strange.commands.agent.*.trigger.*", lambda message: self.client.publish(message.reply, b"what?"))
        self.client.flush()
        self.ctl_fails(1, "no AgentExecutionResult", "trigger", "x", "-w", "-o", "nats.subject_prefix=strange")

    # many

    def test_many_are_summed_up(self):
        done = self.ctl("trigger", "greeter", '{"a":1}', "--count", 3000)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?s)^3,000 triggers of greeter in .*/s\nlatency: p50 .* p90 .* p99 .* max .*SUCCESS 3,000\n$")
        told = self.ctl_json("trigger", "greeter", "-n", 500, "--concurrency", 7)
        self.assertEqual((told["count"], told["sent"], told["outcomes"]["SUCCESS"], told["errors"]), (500, 500, 500, {}))
        self.assertGreaterEqual(told["latency_ms"]["p99"], told["latency_ms"]["p50"])

    def test_each_of_many_has_its_number_and_its_id(self):
        heard = self.commands("greeter")
        self.ctl_ok("trigger", "greeter", '{"a":1}', "-n", 20, "--number", "-H", "Compozy-Thread-Id: t1")
        messages = [heard.next(scaled(5)) for _ in range(20)]
        heard.unsubscribe()
        self.assertEqual([m.json()["payload"]["context"]["input"] for m in messages], [{"a": 1, "n": n} for n in range(1, 21)])
        self.assertEqual(len({m.json()["agent"]["exec_id"] for m in messages}), 20)
        self.assertEqual({m.headers["Compozy-Thread-Id"] for m in messages}, {"t1"})

    def test_no_more_than_wanted_are_under_way_at_once(self):
        began = time.monotonic()
        self.ctl_ok("trigger", "sleeper", '{"ms":100}', "-n", 6, "--concurrency", 2)
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_a_rate_is_kept(self):
        told = self.ctl_json("trigger", "greeter", "-n", 100, "--rate", 200)
        self.assertGreater(told["seconds"], 0.45)
        self.assertLess(told["per_second"], 230)

    def test_errors_of_many_are_counted_by_code(self):
        done = self.ctl("trigger", "nosuch", "-n", 50)
        self.assertEqual(done.returncode, 6)
        self.assertIn("50 AGENT_UNKNOWN, as: no runtime hosts agent nosuch", done.stdout)
        self.assertIn("`compozyctl agents`", done.stderr)
        done = self.ctl("--json", "trigger", "sleeper", '{"ms":"x"}', "-n", 5)
        self.assertEqual((done.returncode, json.loads(done.stdout)["outcomes"]["AGENT_ERROR"]), (7, 5))
        done = self.ctl("--json", "trigger", "sleeper", '{"ms":25000}', "-n", 3, "-t", f"{scaled(300):.0f}ms", "--deadline", "30s")
        self.assertEqual((done.returncode, json.loads(done.stdout)["errors"]), (5, {"NO_ANSWER": 3}))

    def test_elsewhere_than_on_a_terminal_progress_is_lines(self):
        done = self.ctl("trigger", "greeter", "-n", 240, "--rate", 200)
        self.assertRegex(done.stderr, r"^( *\d+%  \d+/240 triggers  [^\n]*\n)+$")
        self.assertRegex(done.stderr, r"(?m)^ *\d+%  \d+/240 triggers  [\d.]+/s(  ETA \d+ s)?  p50 [^\n]*\n")
        self.assertEqual(self.ctl("-q", "trigger", "greeter", "-n", 240, "--rate", 200).stderr, "")

    def test_on_a_terminal_progress_is_a_bar_that_fits_and_goes(self):
        def drawn(shown):
            return [line.replace("\x1b[K", "") for line in shown.split("\r")]

        def bars(shown):
            return [line for line in drawn(shown) if "[" in line and "ETA" in line and "p99" in line and "/10,000 triggers" in line]

        terminal = Terminal(self, "trigger", "greeter", "-n", 10000, "--rate", 500, columns=90)
        terminal.read_until(lambda shown: len(bars(shown)) > 3)
        terminal.process.send_signal(signal.SIGINT)
        terminal.end()
        self.assertLess(max(len(line) for line in drawn(terminal.shown)), 90)
        terminal = Terminal(self, "trigger", "greeter", "-n", 100, "--rate", 500, columns=90)
        status, out = terminal.end()
        self.assertEqual(status, 0, terminal.shown)
        self.assertTrue(terminal.shown.endswith("\r\x1b[K"), "the bar is gone at the end")
        self.assertIn("SUCCESS 100", out)

    def test_ctrl_c_ends_many_with_a_summary_of_what_was_done(self):
        terminal = Terminal(self, "trigger", "greeter", "-n", 1000000, "--rate", 1000)
        terminal.read_until(some_were_answered)
        terminal.process.send_signal(signal.SIGINT)
        status, out = terminal.end()
        self.assertEqual(status, 130)
        self.assertRegex(out, r"(?s)^Interrupted: \d+ triggers of greeter.*SUCCESS \d")

    def test_ctrl_c_does_not_wait_for_what_takes_long(self):
        terminal = Terminal(self, "trigger", "sleeper", '{"ms":60000}', "-n", 4, "--timeout", "60s")
        terminal.read_until(lambda shown: "0/4 triggers" in shown)
        began = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        status, out = terminal.end()
        self.assertEqual(status, 130)
        self.assertLess(time.monotonic() - began, in_time(0))
        self.assertIn("unanswered 4", out)

    def test_ctrl_c_while_waiting_for_one_says_where_to_ask_on(self):
        terminal = Terminal(self, "trigger", "sleeper", '{"ms":20000}', "--wait", "--exec-id", "long-1")
        wait_until("it is under way", lambda: self.ctl("--json", "why", "long-1").returncode == 0)
        terminal.process.send_signal(signal.SIGINT)
        status, _ = terminal.end()
        self.assertEqual(status, 130)
        self.assertIn("compozyctl why long-1", terminal.shown)


class Alone(Case):
    """No dispatcher; no NATS; NATS that goes away."""

    shared = True

    def build(self):
        self.world.server()
        self.client = self.world.client()

    def test_without_a_dispatcher_it_says_so_at_once(self):
        for words in (["greeter"], ["greeter", "--wait"], ["greeter", "-n", 5]):
            began = time.monotonic()
            self.ctl_fails(4, f"no dispatcher is listening on {PREFIX}.commands.agent.adhoc.trigger.greeter at {self.world.nats.url}: "
                              "is compozy-dispatcherd running", "trigger", *words)
            self.assertLess(time.monotonic() - began, in_time(0))
        self.assertEqual(json.loads(self.ctl_fails(4, "NOBODY", "--json", "trigger", "greeter"))["error"]["code"], "NOBODY_LISTENS")

    def test_without_nats_it_says_so(self):
        for words in (["greeter"], ["greeter", "-n", 5]):
            self.ctl_fails(3, "is nats-server running there?", "trigger", *words, url="nats://127.0.0.1:1")


class Restart(Case):
    waits = True

    def test_many_go_on_when_nats_is_back(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")
        terminal = Terminal(self, "trigger", "greeter", "-n", 1000000, "--rate", 500, "--timeout", "2s")
        terminal.read_until(some_were_answered)
        self.world.nats.kill()
        terminal.read_until(lambda shown: "no connection" in shown)
        self.world.nats.start()
        seen = len(terminal.shown)
        self.world.client("again").subscribe(f"{INSTANCES}.*.completed").next(scaled(15))
        terminal.read_until(lambda shown: "p50" in shown[seen:])
        terminal.process.send_signal(signal.SIGINT)
        status, out = terminal.end()
        self.assertEqual(status, 130, out)
        self.assertIn("the connection was lost meanwhile", out)
