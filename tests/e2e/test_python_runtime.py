# SPDX-License-Identifier: MIT
"""examples/runtime/, which was written from docs/protocol.md: a runtime in Python among dispatchers and a runtime of ours."""

import json
import os
import re
import signal
import sys

from harness import DEFINITIONS, PREFIX, ROOT, Case, Process, scaled, wait_until

try:
    from jsonschema import Draft202012Validator
except ImportError:  # what is said is then not compared with the schemas
    Draft202012Validator = None

EXAMPLE = os.path.join(ROOT, "examples", "runtime", "runtime.py")
MINIMAL = os.path.join(ROOT, "examples", "runtime", "minimal.py")
VERDICT = {"liveness.suspect_after": 1.5, "liveness.dead_after": 2}  # of heartbeats that come once a second


def validate(kind, body):
    if Draft202012Validator:
        with open(os.path.join(ROOT, "proto", "schemas", kind + ".json"), encoding="utf-8") as file:
            Draft202012Validator(json.load(file)).validate(body)


def example(world, url, program=EXAMPLE):
    return world.add(Process(world, "python", [
        "env", f"NATS_URL={url}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, program, "python"])).spawn()


class Permissions(Case):
    waits = True

    def test_it_gets_by_with_the_permissions_of_a_runtime(self):
        made = os.path.join(self.world.directory, "made")
        self.ctl_ok("nats-config", "--output", made, "--runtime", "python", "--operator", "op", url="nats://127.0.0.1:1")
        accounts = os.path.join(made, "accounts.conf")
        with open(accounts, encoding="utf-8") as file:
            text, n = re.subn(r"(# runtime python:.*\n\s*\{\n\s*)nkey: \w+", r"\1user: python, password: secret", file.read())
        self.assertEqual(n, 1)
        with open(accounts, "w", encoding="utf-8") as file:
            file.write(text)
        with open(os.path.join(made, "keys", "operator-op.nk"), encoding="ascii") as file:
            access = {"seed": file.read(), "inbox": "_INBOX.operator.op"}
        self.world.server(config=os.path.join(made, "nats.conf"), access=access)
        self.world.dispatcher("d1", dict(VERDICT), arguments=["-c", f"{made}/dispatcher-main.conf"])
        python = example(self.world, self.world.nats.url.replace("//", "//python:secret@"))
        self.client = self.world.client(**access)
        self.wait_runtimes("python")
        self.assert_success(self.trigger_input("py-shout", "hi"), "HI!")
        self.verb_ok("drain_runtime", {"runtime_id": "python"})
        self.wait_runtimes("python", state="draining")
        self.verb_ok("resume_runtime", {"runtime_id": "python"})
        self.wait_runtimes("python")
        python.pause()
        wait_until("its probes fail", lambda: not self.runtimes(), 30)
        python.resume()
        self.wait_runtimes("python")
        self.assertEqual(python.terminate(), 0)
        self.assertNotIn("Violation", python.log())


class MinimalRuntime(Case):
    """What a hundred lines can do."""

    waits = True

    def test_it_registers_runs_triggers_once_drains_and_says_goodbye(self):
        self.world.server()
        dispatcher = self.world.dispatcher("d1", VERDICT)
        python = example(self.world, self.world.nats.url, MINIMAL)
        self.client = self.world.client()
        said = self.client.subscribe(f"{PREFIX}.>")
        self.wait_runtimes("python")
        self.assert_success(self.trigger_input("py-shout", "hi"), "HI!")
        self.assert_success(self.trigger_input("py-count", [1, 2, 3]), 3)
        failed = self.trigger_input("py-count", 7)
        self.assertEqual((failed["payload"]["status"], failed["payload"]["result"]["error"]["code"]), ("AGENT_ERROR", "INTERNAL"))
        body = {"agent": {"id": "py-shout", "exec_id": "once"}, "payload": {"context": {"input": "again"}}}
        answers = [self.client.request(f"{PREFIX}.commands.agent.adhoc.trigger.py-shout", body, scaled(5)).json() for _ in range(2)]
        self.assertEqual(answers[0]["metadata"]["result_id"], answers[1]["metadata"]["result_id"])
        self.verb_ok("drain_runtime", {"runtime_id": "python"})
        self.wait_runtimes("python", state="draining")
        self.verb_ok("resume_runtime", {"runtime_id": "python"})
        self.wait_runtimes("python")
        dispatcher.terminate()
        dispatcher.start()  # which calls the roll
        self.wait_runtimes("python")
        python.pause()
        wait_until("its probes fail", lambda: not self.runtimes(), 30)
        python.resume()  # and hears that it was declared dead
        self.wait_runtimes("python")
        self.assert_success(self.trigger_input("py-shout", "back"), "BACK!")
        self.assertEqual(python.terminate(), 0)
        wait_until("it is gone", lambda: not self.runtimes())
        for message in said.taken():
            body = message.json()
            if body.get("metadata", {}).get("type") in ("AgentRuntimeRegistered", "AgentRuntimeHeartbeat", "AgentRuntimeDeregistered",
                                                        "AgentExecutionReport"):
                validate(body["metadata"]["type"], body)


class PythonRuntime(Case):
    waits = True

    def build(self):
        self.world.server()
        self.client = self.world.client()
        self.said = self.client.subscribe(f"{PREFIX}.>")
        self.dispatchers = [self.world.dispatcher(name, VERDICT) for name in ("d1", "d2")]
        self.python = example(self.world, self.world.nats.url)

    def known(self, *ids):
        """Until both dispatchers know exactly these: verbs go to either."""
        for dispatcher in self.dispatchers:
            wait_until(f"{dispatcher.name} knows {ids}", lambda: dispatcher.metrics().get(
                'compozy_dispatcher_runtimes{state="live"}') == len(ids))
        self.wait_runtimes(*ids)

    def shout(self):
        result = self.trigger_input("py-shout", "hi", timeout=30)  # self.said hears all, so of the dead only a verdict tells
        validate("AgentExecutionResult", result)
        return result["agent_runtime"]["runtime_id"], result["payload"]["result"].get("output")

    def check_what_was_said(self):
        """All that the Python runtime published is as the schemas say."""
        kinds = set()
        for message in self.said.taken():
            if not message.data.startswith(b"{"):
                continue
            body = message.json()
            kind = (body.get("metadata") or {}).get("type")
            if not Draft202012Validator or (body.get("agent_runtime") or {}).get("runtime_id") != "python" or \
                    body["metadata"].get("source_component") == "compozy-dispatcherd" or kind == "TriggerAgent":
                continue
            validate(kind, body)
            kinds.add(kind)
        return kinds

    def test_it_works_beside_a_runtime_of_ours_drains_and_leaves_in_order(self):
        self.world.runtime("r1", {"py-shout": "echo", "greeter": "echo"})
        self.known("python", "r1")
        answers = [self.shout() for _ in range(40)]
        self.assertEqual(set(answers), {("python", "HI!"), ("r1", "hi")})
        considered = self.verb_ok("explain", {"agent_id": "py-shout"})["considered"]
        self.assertEqual({one["runtime_id"]: one["eligible"] for one in considered}, {"python": True, "r1": True})
        failed = self.trigger_input("py-nap", {})
        validate("AgentExecutionResult", failed)
        self.assertIn("'ms'", self.assert_failure(failed, "INTERNAL", "AGENT_ERROR")["message"])
        self.assert_failure(self.trigger_input("py-nap", {"ms": 60000}, deadline_ms=300), "DEADLINE_EXCEEDED")

        self.verb_ok("drain_runtime", {"runtime_id": "python"})
        wait_until("it says that it drains", lambda: self.ask_runtime("status", runtime="python")["result"]["draining"])
        self.assertEqual({self.shout() for _ in range(20)}, {("r1", "hi")})
        self.verb_ok("resume_runtime", {"runtime_id": "python"})
        wait_until("it is given work again", lambda: self.shout()[0] == "python")

        inbox, nap = self.client.subscribe("napping"), int(scaled(700))
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.py-nap", {"payload": {"context": {"input": {"ms": nap}}}}, "napping")
        wait_until("it naps", lambda: self.ask_runtime("status", runtime="python")["result"]["in_flight"] == 1)
        self.assertEqual(self.python.terminate(), 0)
        self.assert_success(inbox.next(scaled(5)).json(), {"slept_ms": nap})
        self.known("r1")
        goodbyes = [m.json() for m in self.said._kept if m.subject == f"{DEFINITIONS}.python.deregistered"]
        self.assertEqual([body["payload"]["context"]["reason"] for body in goodbyes], ["shutdown"])
        if Draft202012Validator:
            self.assertEqual(self.check_what_was_said(), {"AgentRuntimeRegistered", "AgentRuntimeHeartbeat", "AgentRuntimeDeregistered",
                                                          "AgentExecutionReport"})

    def test_its_end_by_sigkill_costs_nothing_and_is_noticed(self):
        self.world.runtime("r1", {"py-shout": "echo"})
        self.known("python", "r1")
        self.python.kill()
        self.assertEqual({self.shout() for _ in range(20)}, {("r1", "hi")})
        verdict = self.said.next_where(lambda m: m.subject == f"{DEFINITIONS}.python.deregistered", scaled(10)).json()
        self.assertEqual(verdict["payload"]["context"]["reason"], "heartbeat_timeout")
        self.known("r1")
        self.python.spawn()
        self.known("python", "r1")

    def test_it_is_known_again_after_dispatchers_or_nats_were_restarted(self):
        self.known("python")
        epoch = self.runtimes()["python"]["epoch"]
        for dispatcher in self.dispatchers:
            dispatcher.kill()
        for dispatcher in self.dispatchers:
            dispatcher.start()
        self.known("python")
        self.assertEqual(self.shout(), ("python", "HI!"))
        self.client.close()
        self.world.nats.kill()
        self.world.nats.start()
        self.client = self.world.client()
        wait_until("it answers again", lambda: self.shout() == ("python", "HI!"))
        self.known("python")
        self.assertEqual(self.runtimes()["python"]["epoch"], epoch, "it was declared dead")

    def test_paused_past_the_verdict_it_gives_up_what_it_held_and_comes_back_with_a_new_epoch(self):
        self.known("python")
        epoch = self.runtimes()["python"]["epoch"]
        inbox = self.client.subscribe("napping")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.py-nap", {"payload": {"context": {"input": {"ms": int(scaled(700))}}}}, "napping")
        wait_until("it naps", lambda: self.ask_runtime("status", runtime="python")["result"]["in_flight"] == 1)
        self.python.pause()
        self.assert_failure(inbox.next(scaled(10)).json(), "RUNTIME_LOST")
        self.python.resume()
        self.known("python")
        self.assertGreater(self.runtimes()["python"]["epoch"], epoch)
        self.assertEqual(self.shout(), ("python", "HI!"))
        self.assertEqual(len(inbox), 0, "the epoch that is over answered all the same")

    def test_what_is_sent_again_is_answered_from_memory_and_hostile_messages_do_no_harm(self):
        self.known("python")
        reports, answers = self.client.subscribe("reports"), self.client.subscribe("answers")
        relay = {"metadata": {"correlation_id": "c1"}, "agent": {"id": "py-nap", "exec_id": "e1"},
                 "agent_runtime": {"runtime_id": "python", "epoch": self.runtimes()["python"]["epoch"]},
                 "dispatch": {"dispatcher_id": "d9", "attempt": 1, "deadline_ms": 60000, "report_to": "reports", "reply_to": "answers"},
                 "payload": {"context": {"input": {"ms": 300}}}}

        def send(times=1, **changes):
            message = dict(relay, **changes)
            self.client.publish_many([self.client.encode(f"{PREFIX}.runtime.python.trigger", message)] * times)

        def reported():
            return reports.next(scaled(5)).json()["payload"]["executions"][0]

        send(times=2)  # the second is under way: no second nap
        self.assertEqual([reported()["state"] for _ in range(3)], ["started", "started", "done"])
        first = answers.next(scaled(5)).json()
        send(dispatch=dict(relay["dispatch"], attempt=2, age_ms=400))
        self.assertEqual(reported(), {"exec_id": "e1", "attempt": 2, "ask": 0, "state": "done", "status": "SUCCESS"})
        self.assertEqual(answers.next(scaled(5)).json(), first)
        send(agent_runtime={"runtime_id": "python", "epoch": 1}, agent={"id": "py-nap", "exec_id": "e2"})
        self.assertEqual((reported()["state"], len(answers)), ("refused", 0))

        mine, theirs = (self.client.subscribe(f"_INBOX.caller.{name}.1") for name in ("me", "them"))
        for reply_to in ("_INBOX.caller.me.1", "_INBOX.caller.them.1"):
            send(agent={"id": "py-shout", "exec_id": "e4"}, dispatch=dict(relay["dispatch"], reply_to=reply_to))
        states = [reported()["state"] for _ in range(3)]
        self.assertEqual(sorted(states), ["done", "refused", "started"])  # refused while it runs, or from memory
        self.assertEqual(states[0], "started")
        mine.next(scaled(5))
        self.assertEqual(len(theirs), 0, "an answer went to who knows the execution's id only")

        commands = self.client.subscribe(f"{PREFIX}.dispatcher.>")
        for place in ("report_to", "reply_to"):
            for subject in (f"{PREFIX}.dispatcher.d1.control.drain", f"{PREFIX}.dispatcher.d1.report.other", f"{PREFIX}.commands.agent.x.trigger.y", "$JS.API.X", "a b", 7):
                send(agent={"id": "py-nap", "exec_id": "e3"}, dispatch=dict(relay["dispatch"], **{place: subject}))
        for body in (b"", b"[]", b"\xff{", b'{"agent":7}', b'{"agent":{"id":"a","exec_id":"b"},"dispatch":{}}'):
            for what in ("trigger", "control.announce", "control.nonsense"):
                self.client.publish(f"{PREFIX}.runtime.python.{what}", body)
            self.client.publish(f"{DEFINITIONS}.python.deregistered", body)
        self.assertEqual(self.ask_runtime("status", runtime="python")["result"]["in_flight"], 0)
        self.assertEqual([message.subject for message in commands.taken() if not message.subject.endswith(".report.python")], [])
        self.assertEqual(self.shout(), ("python", "HI!"))
        self.client.publish(f"{DEFINITIONS}.python.deregistered", {
            "agent_runtime": relay["agent_runtime"], "payload": {"context": {"reason": "shutdown"}}})
        wait_until("a goodbye in its name gives it a new epoch",
                   lambda: self.runtimes().get("python", {}).get("epoch", 0) > relay["agent_runtime"]["epoch"])
        self.python.signal(signal.SIGTERM)
        self.assertEqual(self.python.wait(), 0)
