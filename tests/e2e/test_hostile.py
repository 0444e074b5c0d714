# SPDX-License-Identifier: MIT
"""Messages that nobody should send: each is refused by name where somebody can be told, and nothing else happens."""

import json
import random

from fakeruntime import FakeRuntime
from harness import DEFINITIONS, PREFIX, VERBS, Case, scaled, wait_until

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"


def nested(depth):
    return "[" * depth + "]" * depth


class Refused(Case):
    shared = True

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher(options={"limits.max_message_bytes": 65536, "limits.max_runtimes": 20})
        self.runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def tearDown(self):
        """What a test drained or left behind is no matter of the next one."""
        self.verb("resume_runtime", {"runtime_id": "r1"})
        for name in set(self.runtimes()) - {"r1"}:
            self.verb("deregister_runtime", {"runtime_id": name})
        self.wait_runtimes("r1")

    def refused(self, body, agent="greeter", workflow="adhoc", code="INVALID_MESSAGE"):
        message = self.client.request(f"{PREFIX}.commands.agent.{workflow}.trigger.{agent}", body, scaled(5))
        error = self.assert_failure(message.json(), code)
        self.assertIn("Nats-Service-Error-Code", message.headers)
        return error

    def test_triggers_that_are_no_json_object_are_refused_INVALID_MESSAGE(self):
        whole = json.dumps({"payload": {"context": {"input": "hi"}}}).encode()
        cases = [whole[:length] for length in range(1, len(whole))]
        cases += [b"[]", b"1", b"null", b'"text"', b"{]", b"{\"a\":}", b"{\"a\":1,}", b"\x00", b"{\"a\":\"\xff\xfe\"}", b"{} {}",
                  b"{\"a\":\"\n\"}", b"{\"a\":01}", b"{\"a\":NaN}", b"{'a':1}", b"\xef\xbb\xbf{}", b"{\"a\":\"\\ud800\"}", b"{\"a\":1e999999}x"]
        for body in cases:
            with self.subTest(body=body):
                self.refused(body)

    def test_mistyped_fields_are_refused_by_name(self):
        cases = [
            ("metadata", {"metadata": 1}), ("correlation_id", {"metadata": {"correlation_id": 5}}),
            ("workflow", {"workflow": "wf"}), ("agent", {"agent": []}), ("exec_id", {"agent": {"id": "greeter", "exec_id": 7}}),
            ("payload", {"payload": "hi"}), ("deadline_ms", {"payload": {"deadline_ms": "soon"}}),
            ("deadline_ms", {"payload": {"deadline_ms": -1}}), ("deadline_ms", {"payload": {"deadline_ms": 1.5}}),
            ("deadline_ms", {"payload": {"deadline_ms": 10 ** 30}}), ("retry", {"payload": {"retry": "sometimes"}}),
            ("retry", {"payload": {"retry": 1}}), ("priority", {"payload": {"priority": 101}}),
            ("priority", {"payload": {"priority": "high"}}), ("labels", {"payload": {"labels": ["zone"]}}),
            ("labels", {"payload": {"labels": {"zone": 1}}}), ("reply_to_subject", {"payload": {"reply_to_subject": 5}}),
            ("reply_to_subject", {"payload": {"reply_to_subject": "a b"}}), ("reply_to_subject", {"payload": {"reply_to_subject": "a..b"}}),
            ("reply_to_subject", {"payload": {"reply_to_subject": "a.>"}}), ("reply_to_subject", {"payload": {"reply_to_subject": "a.*"}}),
            ("context", {"payload": {"context": "input"}})]
        for field, body in cases:
            with self.subTest(field=field, body=str(body)):
                code = "INVALID_MESSAGE"
                error = self.refused(body, code=code)
                self.assertIn(field, error["message"])

    def test_ids_out_of_grammar_are_refused_by_name(self):
        for bad in ("", "a.b", "a b", "a*", ">", "x" * 65, "ü", "a\n", "a/b", "$a"):
            for field, body in (("agent.exec_id", {"agent": {"id": "greeter", "exec_id": bad}}), ("agent.id", {"agent": {"id": bad}}),
                                ("workflow.id", {"workflow": {"id": bad}})):
                with self.subTest(bad=bad, field=field):
                    self.assertIn(field, self.refused(body)["message"])

    def test_ids_out_of_grammar_in_the_subject_are_refused(self):
        for bad in ("gr$eter", "x" * 65, "grüter"):
            with self.subTest(bad=bad):
                for subject in (f"{TRIGGER}.{bad}", f"{PREFIX}.commands.agent.{bad}.trigger.greeter"):
                    answer = self.client.request(subject, {}, scaled(5))
                    self.assertIn("INVALID_MESSAGE", str(answer.json()))
                    self.assertIn("Nats-Service-Error-Code", answer.headers)

    def test_ids_that_contradict_the_subject_are_refused(self):
        self.assertIn("agent", self.refused({"agent": {"id": "sleeper"}})["message"])
        self.assertIn("workflow", self.refused({"workflow": {"id": "other"}})["message"])

    def test_nesting_up_to_32_is_taken_and_deeper_is_refused(self):
        # the body is an object (1) with payload (2), context (3) and the input inside
        self.assert_success(self.trigger("greeter", '{"payload":{"context":{"input":%s}}}' % nested(29)))
        for depth in (30, 33, 1000, 30000):
            with self.subTest(depth=depth):
                self.refused('{"payload":{"context":{"input":%s}}}' % nested(depth))
        self.refused("[" * 60000)
        self.refused('{"a":' * 10000)

    def test_a_body_over_the_limit_is_refused_with_the_limit(self):
        error = self.refused({"payload": {"context": {"input": "x" * 65536}}})
        self.assertIn("65536", error["message"])
        self.assert_success(self.trigger_input("greeter", "x" * 60000), "x" * 60000)

    def test_a_forbidden_reply_to_subject_is_answered_TOPIC_FORBIDDEN_on_the_reply_subject_and_never_written_to(self):
        for forbidden in (f"{PREFIX}.commands.agent_dispatcher.deregister_runtime", f"{PREFIX}.commands.agent.adhoc.trigger.sleeper",
                          f"{DEFINITIONS}.r1.deregistered", f"{PREFIX}.runtime.r1.control.drain", PREFIX + ".anything",
                          "$JS.API.STREAM.DELETE.COMPOZY_EVENTS", "$SYS.REQ.SERVER.PING", "$KV.compozy_runtimes.r1"):
            with self.subTest(subject=forbidden):
                spy = self.client.subscribe(forbidden)
                self.client.flush()
                self.refused({"payload": {"reply_to_subject": forbidden, "context": {"input": {"ms": 1}}}}, code="TOPIC_FORBIDDEN")
                self.refused({"payload": {"reply_to_subject": forbidden}}, agent="nobody", code="TOPIC_FORBIDDEN")
                self.trigger_input("greeter", "later")
                self.client.flush()
                self.assertEqual(spy.taken(), [])
                spy.unsubscribe()

    def test_a_forbidden_reply_subject_of_nats_itself_is_never_written_to(self):
        for forbidden in (f"{VERBS}.status.x", f"{DEFINITIONS}.r1.deregistered", "$JS.API.INFO"):
            with self.subTest(subject=forbidden):
                spy = self.client.subscribe(forbidden)
                for agent in ("greeter", "nobody"):
                    self.client.publish(f"{TRIGGER}.{agent}", {}, forbidden)
                self.trigger_input("greeter", "later")
                self.trigger_input("greeter", "later still")
                self.client.flush()
                self.assertEqual(spy.taken(), [])
                spy.unsubscribe()
        self.wait_runtimes("r1")

    def test_a_relay_by_hand_with_a_forbidden_reply_is_not_answered_there(self):
        for forbidden in (f"{DEFINITIONS}.r1.deregistered", "$JS.API.INFO"):
            with self.subTest(subject=forbidden):
                spy = self.client.subscribe(forbidden)
                self.client.publish(f"{PREFIX}.runtime.r1.trigger", {"agent": {"id": "greeter", "exec_id": "byhand"},
                                                                     "payload": {"reply_to_subject": forbidden}})
                self.client.publish(f"{PREFIX}.runtime.r1.trigger", {"agent": {"id": "greeter", "exec_id": "byhand2"},
                                    "dispatch": {"dispatcher_id": "x", "attempt": 1, "deadline_ms": 1000, "age_ms": 0,
                                                 "reply_to": forbidden, "report_to": forbidden},
                                    "agent_runtime": {"runtime_id": "r1", "epoch": self.runtimes()["r1"]["epoch"]}})
                self.trigger_input("greeter", "later")
                self.client.flush()
                self.assertEqual(spy.taken(), [])
                spy.unsubscribe()

    def test_verbs_with_nonsense_are_refused_INVALID_MESSAGE(self):
        for verb in ("get_runtime", "drain_runtime", "resume_runtime", "deregister_runtime", "explain", "register_runtime"):
            for body in (b"{", b"[]", b'{"runtime_id":5,"agent_id":5}', b'{"runtime_id":"a.b","agent_id":"a.b"}', nested(40).encode(), b"\xff"):
                with self.subTest(verb=verb, body=body):
                    answer = self.client.request(f"{VERBS}.{verb}", body, scaled(5)).json()
                    self.assertFalse(answer["ok"])
                    self.assertEqual(answer["error"]["code"], "INVALID_MESSAGE")

    def test_control_verbs_with_nonsense_are_refused_INVALID_MESSAGE(self):
        for verb in ("list_agents", "get_agent", "announce", "drain"):
            for body in (b"{", b"[]", nested(40).encode(), b"\xff"):
                with self.subTest(verb=verb, body=body):
                    answer = self.client.request(f"{PREFIX}.runtime.r1.control.{verb}", body, scaled(5)).json()
                    self.assertFalse(answer["ok"])
                    self.assertEqual(answer["error"]["code"], "INVALID_MESSAGE")

    def test_registrations_that_are_not_right_are_refused_and_change_nothing(self):
        client = self.world.client()
        fake = FakeRuntime(client, "wrong")
        fake.answers_roll_calls = False
        whole = fake.registration()

        def change(**changes):
            return fake.registration(**changes)

        cases = [b"{", b"[]", json.dumps(whole)[:-10].encode(), change(epoch="1"), change(epoch=-1), change(epoch=2 ** 60),
                 change(runtime_id="other"), change(runtime_id="a.b"), change(agent_definitions={}), change(agent_definitions=[1]),
                 change(agent_definitions=[{"agent_id": "a b"}]), change(labels=[1]), change(capacity={"max_in_flight": "many"}),
                 fake.registration(part={"index": 5, "count": 3}), fake.registration(part={"index": 0, "count": 10 ** 9}),
                 fake.registration(part={"index": -1, "count": 2})]
        for body in cases:
            with self.subTest(body=str(body)[-200:]):
                answers = fake.register(body=body, timeout=2.0)
                self.assertEqual([answer["ok"] for answer in answers], [False])
                self.assertEqual(answers[0]["error"]["code"], "INVALID_MESSAGE")
        self.assertEqual(set(self.runtimes()), {"r1"})
        fake.vanish()
        client.close()

    def test_a_runtime_cannot_direct_relays_at_a_forbidden_subject(self):
        client = self.world.client()
        fake = FakeRuntime(client, "crooked", agents=["crooked-agent"])
        spy = client.subscribe(f"{VERBS}.deregister_runtime.spy")
        answers = fake.register(subjects={"trigger": f"{VERBS}.deregister_runtime.spy", "control": f"{VERBS}"})
        if answers and answers[0]["ok"]:
            fake.start_beating()
            self.trigger_input("crooked-agent", 1, deadline_ms=500)
        client.flush()
        told = spy.taken()
        fake.deregister()
        fake.vanish()
        client.close()
        self.assertEqual(told, [])

    def test_registrations_past_the_limit_are_refused_LIMIT_EXCEEDED(self):
        client = self.world.client()
        taken, refused, limit = 0, 0, 20 - len(self.runtimes())
        fakes = [FakeRuntime(client, f"flood-{i}", interval_ms=10000) for i in range(60)]  # none is missed meanwhile
        for fake in fakes:
            fake.answers_roll_calls = False
            answer = fake.register()[0]
            if answer["ok"]:
                taken += 1
            else:
                self.assertEqual(answer["error"]["code"], "LIMIT_EXCEEDED", answer)
                self.assertIn("20", answer["error"]["message"])
                refused += 1
        self.assert_success(self.trigger_input("greeter", "still"), "still")
        for fake in fakes:
            fake.deregister()
        self.assertEqual((taken, refused), (limit, 60 - limit))
        client.flush()
        wait_until("they are out again", lambda: set(self.runtimes()) == {"r1"}, 5)
        last = fakes[-1]
        last.epoch += 1
        self.assertTrue(last.register()[0]["ok"])
        last.deregister()
        client.flush()
        wait_until("they are out again", lambda: set(self.runtimes()) == {"r1"}, 5)


class Garbage(Case):
    bound = 150.0

    def subjects(self):
        ids = ["greeter", "r1", "r2", "d1", "adhoc", "x" * 64, "x" * 65, "a$b", "wf"]
        pick = self.random.choice
        return pick([
            lambda: f"{PREFIX}.commands.agent.{pick(ids)}.trigger.{pick(ids)}",
            lambda: f"{PREFIX}.commands.agent.{pick(ids)}.cancel.{pick(ids)}",
            lambda: f"{VERBS}." + pick(["register_runtime", "deregister_runtime", "list_runtimes", "get_runtime", "drain_runtime", "resume_runtime",
                                        "list_agents", "explain", "status", "nonsense"]),
            lambda: f"{DEFINITIONS}.{pick(ids)}." + pick(["registered", "updated", "deregistered", "heartbeat", "nonsense"]),
            lambda: f"{PREFIX}.runtime.r1.trigger",
            lambda: f"{PREFIX}.runtime.r1.control." + pick(["status", "list_agents", "announce", "nonsense", "get_agent"]),
            lambda: f"{PREFIX}.commands.agent_runtime.announce",
            lambda: f"{PREFIX}.events.agent_dispatcher.d1.runtime_update",
            lambda: f"{self.inbox_of_dispatcher}"])()

    def body(self):
        dice = self.random.random()
        if dice < 0.3:
            return self.random.randbytes(self.random.randrange(200))
        if dice < 0.4:
            return nested(self.random.randrange(300)).encode()
        base = json.dumps(self.random.choice(self.seeds)).encode()
        if dice < 0.6:
            return base[:self.random.randrange(len(base))]
        damaged = bytearray(base)
        for _ in range(self.random.randrange(1, 6)):
            damaged[self.random.randrange(len(damaged))] = self.random.choice(b'{}[]",:0129eE-\\ \x00\xffaz')
        return bytes(damaged)

    def test_50000_messages_of_garbage_on_every_subject_leave_the_daemons_up_answering_and_small(self):
        self.random = random.Random(20240501)
        self.world.server()
        dispatcher = self.world.dispatcher(options={"limits.max_runtimes": 100})
        runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")
        relays = []
        watcher = self.world.client()
        fake = FakeRuntime(watcher, "probe", agents=["probe-agent"], on_relay=lambda fake, relay, _: (relays.append(relay), fake.finish(relay)))
        fake.register()
        self.trigger_input("probe-agent", 1)
        self.inbox_of_dispatcher = relays[0]["dispatch"]["report_to"]
        self.seeds = [relays[0], fake.registration(), {"metadata": {"type": "AgentExecutionReport"},
                      "agent_runtime": {"runtime_id": "probe", "epoch": fake.epoch},
                      "payload": {"executions": [{"exec_id": "e", "attempt": 1, "state": "done", "status": "SUCCESS"}],
                                  "load": {"in_flight": 3, "queued": 0, "agents": 2, "free_slots": 61}}},
                      {"payload": {"context": {"input": "hi"}, "deadline_ms": 2000, "priority": 3, "retry": "always", "labels": {"a": "b"}}},
                      {"agent_runtime": {"runtime_id": "r9", "epoch": 1, "revision": 1},
                       "payload": {"sequence": 1, "interval_ms": 100, "draining": True,
                                   "load": {"in_flight": 1, "queued": 1, "agents": 1, "free_slots": 1}}},
                      {"runtime_id": "stranger"}, {"agent_id": "greeter", "limit": 3}]
        fake.vanish()
        replies = self.world.client()
        n_replies = []
        replies.subscribe("garbage.inbox", lambda message: n_replies.append(1))
        replies.flush()
        before = {daemon.name: daemon.rss_kib() for daemon in (dispatcher, runtime)}
        for _ in range(100):
            self.client.publish_many([self.client.encode(self.subjects(), self.body(), self.random.choice([None, "garbage.inbox"]))
                                      for _ in range(500)])
            self.client.flush(scaled(20))
        wait_until("both are alive and answer", lambda: self.verb("status")["ok"] and
                   self.client.request(f"{PREFIX}.runtime.r1.control.status", {}).json()["ok"], 15)
        wait_until("refusals have come", lambda: len(n_replies) > 1000)
        wait_until("the runtime is live", lambda: self.runtimes().get("r1", {}).get("state") == "live", 15)
        self.assert_success(self.trigger_input("greeter", "after all that", deadline_ms=8000), "after all that")
        for daemon in (dispatcher, runtime):
            grown = daemon.rss_kib() - before[daemon.name]
            self.assertLess(grown, 64 * 1024 * (4 if "san" in daemon.arguments[0] else 1), f"{daemon.name} grew by {grown} KiB")
            n_lines = len(daemon.log().splitlines())
            self.assertLess(n_lines, 2000, f"{daemon.name} wrote {n_lines} lines")
