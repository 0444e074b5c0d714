# SPDX-License-Identifier: MIT
"""The table of limits in docs/security.md, row by row: what is beyond one is refused, and the answer names what, how much, and the limit."""

import os
import re
import socket

from fakeruntime import FakeRuntime
from harness import PREFIX, VERBS, Case, exec_agent, scaled, wait_until

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"
RELAY = f"{PREFIX}.runtime.r1.trigger"
KIB64 = 65536


class Limits(Case):
    shared = True

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher(options={
            "limits.max_message_bytes": KIB64, "limits.max_runtimes": 3, "limits.max_agents": 20, "dispatcher.queue_limit": 4,
            "dispatcher.queue_bytes": KIB64})
        self.runtime = self.world.runtime("r1", options={
            "runtime.max_agents": 6, "runtime.max_in_flight": 2, "runtime.max_in_flight_bytes": KIB64, "limits.max_message_bytes": KIB64,
            "limits.max_subscriptions_per_agent": 2, "limits.max_subscriptions": 3, "limits.max_result_bytes": 1024,
            "limits.max_asks_per_agent": 2, "limits.max_timers_per_agent": 2})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.inbox = self.client.subscribe("limits.inbox.*")

    def assert_refused(self, answer, code, *words):
        """`answer`: of a verb, or a result."""
        error = answer.get("error") or answer["payload"]["result"].get("error")
        self.assertIsNotNone(error, answer)
        self.assertEqual(error["code"], code, error)
        for word in words:
            self.assertIn(str(word), error["message"])

    def refused_of(self, n, subject, n_refused, code, *words, exec_id="held-{}", filler=""):
        """Of n triggers for an agent that is paused, and so holds what it takes, so many are refused at once; the others are done later."""
        self.control("pause_agent", "tally")
        body = {"payload": {"context": {"input": filler}}}
        self.client.publish_many([self.client.encode(subject, dict(body, agent={"id": "tally", "exec_id": exec_id.format(number)}),
                                                     f"limits.inbox.{number}") for number in range(n)])
        for _ in range(n_refused):
            answer = self.inbox.next(scaled(10)).json()
            self.assertEqual(answer["payload"]["status"], "FAILURE")
            self.assert_refused(answer, code, *words)
        self.control("resume_agent", "tally")
        for _ in range(n - n_refused):
            self.assert_success(self.inbox.next(scaled(10)).json())

    def test_messages_and_their_fields(self):
        large = {"agent_id": "greeter", "x": "x" * KIB64}
        for subject in (f"{TRIGGER}.greeter", f"{VERBS}.explain", f"{PREFIX}.runtime.r1.control.get_agent", RELAY):
            answer = self.client.request(subject, dict(large, agent={"id": "greeter", "exec_id": "e"}), scaled(5)).json()
            self.assert_refused(answer, "INVALID_MESSAGE", "655", "max_message_bytes", KIB64)
        for body, *words in (
                ({"agent": {"exec_id": "x" * 65}}, "agent.exec_id", "1-64"),
                ({"metadata": {"correlation_id": "x" * 257}}, "correlation_id", 257, 256),
                ({"payload": {"reply_to_subject": "x" * 1025}}, "reply_to_subject", 1025, 1024),
                ({"payload": {"labels": {f"l{number}": "v" for number in range(17)}}}, "labels", 16),
                ({"payload": {"labels": {"n" * 65: "v"}}}, "labels", 65, 64), ({"payload": {"labels": {"n": "v" * 65}}}, "labels", 65, 64),
                ({"payload": {"priority": 101}}, "priority", 101, 100),
                ({"payload": {"deadline_ms": 86400001}}, "deadline_ms", 86400001, 86400000)):
            self.assert_refused(self.trigger("greeter", body), "INVALID_MESSAGE", *words)

    def test_registrations(self):
        client = self.world.client()
        fakes = [FakeRuntime(client, f"fake-{number}", agents=[f"fake-{number}-agent"]) for number in range(3)]
        self.assertEqual([fake.register()[0]["ok"] for fake in fakes], [True, True, False])
        last = fakes[-1]
        self.assert_refused(last.register()[0], "LIMIT_EXCEEDED", "max_runtimes", 3)
        self.assert_refused(self.verb("register_runtime", last.registration()), "LIMIT_EXCEEDED", "max_runtimes", 3)
        fakes[0].deregister()
        for code, change, *words in (
                ("LIMIT_EXCEEDED", {"agent_definitions": [{"agent_id": f"a{number}", "agent_type": "echo"} for number in range(20)]},
                 "max_agents", 20),
                ("INVALID_MESSAGE", {"part": {"index": 0, "count": 4097}}, "part.count", 4097, 4096),
                ("INVALID_MESSAGE", {"hostname": "h" * 257}, "hostname", 257, 256),
                ("INVALID_MESSAGE", {"labels": {f"l{number}": "v" for number in range(17)}}, "labels", 16),
                ("INVALID_MESSAGE", {"capacity": {"max_in_flight": 1000001}}, "max_in_flight", 1000001, 1000000),
                ("INVALID_MESSAGE", {"heartbeat_interval_ms": 3600001}, "heartbeat_interval_ms", 3600001, 3600000)):
            last.epoch += 1
            self.assert_refused(last.register(**change)[0], code, *words)
        for fake in fakes:
            fake.deregister()
        client.flush()
        wait_until("they are out again", lambda: set(self.runtimes()) == {"r1"}, 5)
        client.close()

    def test_triggers_that_wait_and_callers_of_one(self):
        trigger = f"{TRIGGER}.tally"
        self.refused_of(9, trigger, 3, "OVERLOADED", "queue_limit", 4, exec_id="a-{}")
        self.refused_of(4, trigger, 2, "OVERLOADED", "queue_bytes", KIB64, exec_id="b-{}", filler="x" * 25000)
        self.refused_of(7, trigger, 2, "LIMIT_EXCEEDED", "agent.exec_id", 5, exec_id="c")
        self.refused_of(10, RELAY, 2, "LIMIT_EXCEEDED", "agent.exec_id", 8, exec_id="d")
        self.refused_of(4, RELAY, 2, "OVERLOADED", "max_in_flight", 2, exec_id="e-{}")
        self.refused_of(2, RELAY, 1, "OVERLOADED", "max_in_flight_bytes", KIB64, exec_id="f-{}", filler="x" * 40000)

    def test_agents_and_their_definitions(self):
        for part, *words in (
                ({"subscribed_topics": ["a", "b", "c"]}, "subscribed_topics", 3, "max_subscriptions_per_agent", 2),
                ({"subscribed_topics": ["t" * 256]}, "subscribed_topics[0]", 256, 255), ({"capabilities": ["c"] * 65}, "capabilities", 64),
                ({"mailbox_capacity": 1000001}, "mailbox_capacity", 1000001, 1000000), ({"quantum": 65537}, "quantum", 65537, 65536),
                ({"mailbox_bytes": 2 ** 32 + 1}, "mailbox_bytes", 2 ** 32 + 1, 2 ** 32), ({"restart": {"max": 65}}, "restart.max", 65, 64),
                ({"max_concurrency": 1025}, "max_concurrency", 1025, 1024)):
            code = "LIMIT_EXCEEDED" if len(words) > 3 else "INVALID_MESSAGE"
            self.assert_refused(self.ask_runtime("create_agent", dict({"agent_id": "large", "agent_type": "echo"}, **part)), code, *words)
        for number in range(3):
            self.create(f"one-of-six-{number}")
        self.assert_refused(self.ask_runtime("create_agent", {"agent_id": "seventh", "agent_type": "echo"}),
                            "LIMIT_EXCEEDED", "max_agents", 6)
        for number in range(3):
            self.control("delete_agent", f"one-of-six-{number}")

    def test_subscriptions_and_mail(self):
        for agent, topic in (("first", "a"), ("first", "b"), ("second", "a")):
            if topic == "a":
                self.create(agent, mailbox_capacity=1)
            self.control("subscribe_agent", {"agent_id": agent, "topic": topic})
        for agent, key, limit in (("first", "max_subscriptions_per_agent", 2), ("second", "max_subscriptions", 3)):
            self.assert_refused(self.ask_runtime("subscribe_agent", {"agent_id": agent, "topic": "c"}), "LIMIT_EXCEEDED", '"c"', key, limit)
        self.assert_refused(self.ask_runtime("create_agent", {"agent_id": "third", "agent_type": "echo", "subscribed_topics": ["d"]}),
                            "LIMIT_EXCEEDED", "subscribed_topics", "max_subscriptions", 3)
        self.assert_refused(self.client.request("b", "x" * 1500, scaled(5)).json(), "LIMIT_EXCEEDED", 1500, "max_result_bytes", 1024)
        self.assert_refused(self.trigger_input("greeter", "x" * 1500), "LIMIT_EXCEEDED", 1502, "max_result_bytes", 1024)
        self.control("pause_agent", "first")
        self.client.publish("b", "kept", "limits.inbox.kept")
        self.assert_refused(self.client.request("b", "too much", scaled(5)).json(), "MAILBOX_FULL", "mailbox_capacity")
        self.assert_refused(self.trigger("first"), "MAILBOX_FULL", "mailbox_capacity")
        self.control("resume_agent", "first")
        self.assertEqual(self.inbox.next(scaled(5)).data, b"kept")
        self.control("delete_agent", "first")
        self.control("delete_agent", "second")

    def test_what_agents_wish(self):
        self.create("wisher", exec_agent())
        self.control("pause_agent", "greeter")
        ask = ("ask", {"agent_id": "greeter", "payload": 1, "timeout_ms": 60000})
        self.client.publish(f"{TRIGGER}.wisher", {"payload": {"context": {"input": {"do": "wishes", "of": [ask] * 4}}}}, "limits.inbox.wisher")
        refused = r"wisher was refused ask with LIMIT_EXCEEDED: .*limits\.max_asks_per_agent of 2"
        wait_until("two are refused", lambda: len(re.findall(refused, self.runtime.log())) == 2, 10)
        self.control("resume_agent", "greeter")
        result = self.inbox.next(scaled(10)).json()
        self.assert_success(result)
        codes = [answer.get("error", {}).get("data", {}).get("code") for answer in result["payload"]["result"]["output"]]
        self.assertEqual(sorted(map(str, codes)), ["LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "None", "None"])
        for number in range(4):
            self.trigger_input("wisher", {"do": "wish", "method": "set_timer", "params": {"token": number, "ms": 3600000}})
        self.runtime.wait_log("wisher was refused timer with LIMIT_EXCEEDED: .*limits.max_timers_per_agent of 2", 5)
        self.control("delete_agent", "wisher")

    def test_http(self):
        for daemon in (self.dispatcher, self.runtime):
            host, _, port = daemon.http().rpartition(":")
            for request, status in ((b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b"400"),
                                    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
                                    (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000, b"413"),
                                    (b"GET /readyz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 7000 + b"\r\nConnection: close\r\n\r\n", b"200")):
                with self.subTest(daemon=daemon.name, request=request[:20]), \
                        socket.create_connection((host, int(port)), scaled(5)) as connection:
                    connection.sendall(request)
                    self.assertEqual(connection.makefile("rb").readline().split()[1:2], [status])


class SmallServer(Case):
    def test_a_server_whose_messages_are_too_small_for_registrations_is_named_by_both_daemons(self):
        config = os.path.join(self.world.directory, "small.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write("max_payload: 4096\n")
        self.world.server(config=config)
        for daemon in (self.world.dispatcher(wait=False), self.world.runtime(wait=False)):
            daemon.wait_log(r"ERROR +NATS at .* takes messages of 4096 bytes at most, and 16384 are needed", 10)
