# SPDX-License-Identifier: MIT
"""compozyctl send: application messages, and answers to them."""

import base64
import json
import os
import subprocess
import time

from harness import BIN, PREFIX, Case, holds_for, in_time, scaled


class Send(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def test_a_message_has_its_envelope_in_headers(self):
        heard = self.client.subscribe("news.>")
        self.client.flush()
        self.assertEqual(self.ctl("send", "news.today", "good morning").stderr, "sent 12 B to news.today\n")
        message = heard.next(scaled(5))
        self.assertEqual((message.data, message.reply), (b"good morning", None))
        self.assertEqual(message.headers["Compozy-Ttl"], "16")
        self.assertRegex(message.headers["Compozy-Timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertNotIn("Compozy-Sender", message.headers)
        told = self.ctl_json("send", "news.today", "--thread", "t1", "--correlation-id", "c 1", "--ttl", 3, "--reply-to", "here.please",
                             "-H", "X-Mine: a: b", "-H", "traceparent:00-x")
        self.assertEqual(told, {"subject": "news.today", "bytes": 0})
        message = heard.next(scaled(5))
        for name, value in (("Compozy-Thread-Id", "t1"), ("Compozy-Correlation-Id", "c 1"), ("Compozy-Ttl", "3"), ("X-Mine", "a: b"),
                            ("traceparent", "00-x")):
            self.assertEqual(message.headers[name], value)
        self.assertEqual((message.reply, message.data), ("here.please", b""))

    def test_a_payload_is_sent_as_it_is(self):
        heard = self.client.subscribe("raw.bytes")
        self.client.flush()
        payload = bytes(range(256))
        path = os.path.join(self.world.directory, "payload.bin")
        with open(path, "wb") as file:
            file.write(payload)
        self.ctl_ok("send", "raw.bytes", f"@{path}")
        self.assertEqual(heard.next(scaled(5)).data, payload)
        self.ctl_ok("send", "raw.bytes", "-", stdin="from\nstdin")
        self.assertEqual(heard.next(scaled(5)).data, b"from\nstdin")
        self.ctl_fails(2, "/no/such", "send", "raw.bytes", "@/no/such")

    def test_waiting_prints_the_first_answer_as_it_came(self):
        self.assertEqual(json.loads(self.ctl_ok("send", "agent.greeter.replies", '{"a":1}', "--wait")), {"a": 1})
        told = self.ctl_json("send", "agent.greeter.replies", "[true]", "--wait")
        self.assertEqual((told["payload"], told["headers"]["Compozy-Sender"]), ([True], "agent.greeter"))
        self.client.subscribe("bytes.please", lambda message: self.client.publish(message.reply, b"\xff\x00"))
        self.client.flush()
        environment = {**os.environ, "NATS_URL": self.world.nats.url, "HOME": self.world.directory}
        done = subprocess.run([os.path.join(BIN, "compozyctl"), "send", "bytes.please", "-w"], env=environment, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b"\xff\x00"), done.stderr)
        self.assertEqual(base64.b64decode(self.ctl_json("send", "bytes.please", "-w")["payload_base64"]), b"\xff\x00")

    def test_errors_that_are_answered_have_a_status_of_their_own(self):
        self.ctl_fails(6, "INVALID_MESSAGE: ", "send", "agent.sleeper.replies", '{"ms":"x"}', "--wait")
        self.client.subscribe("service.x", lambda message: self.client.publish(
            message.reply, b"whatever", headers={"Nats-Service-Error": "out of \x1b order", "Nats-Service-Error-Code": "503"}))
        self.client.flush()
        self.assertNotIn("\x1b", self.ctl_fails(6, "503: out of ", "send", "service.x", "--wait"))

    def test_nobody_there_and_nobody_answers_are_told_apart(self):
        self.ctl_fails(4, "nobody listens on agent.nosuch.replies", "send", "agent.nosuch.replies", "hi", "--wait")
        self.client.subscribe("black.hole")
        self.client.flush()
        began, ms = time.monotonic(), f"{scaled(200):.0f}"
        self.ctl_fails(5, f"no answer on black.hole within {ms} ms; --timeout gives it longer", "send", "black.hole", "-w", "-t", f"{ms}ms")
        self.assertLess(time.monotonic() - began, in_time(0.2))
        self.ctl_fails(3, "is nats-server running there?", "send", "a", "b", url="nats://127.0.0.1:1")

    def test_what_can_only_be_a_mistake_is_refused(self):
        heard = self.client.subscribe(f"{PREFIX}.results.>")
        for part, words in ((f"below {PREFIX}., where dispatchers and runtimes talk; `compozyctl trigger`", [f"{PREFIX}.results.agent.e1"]),
                            ("below mine.", ["mine.x", "-o", "nats.subject_prefix=mine"]), ("belongs to NATS", ["$SYS.x"]),
                            ("no wildcards", ["a.*"]), ("no wildcards", ["a..b"]), ("needs TOPIC", []),
                            ("--ttl: 256 is not within 0 to 255", ["a", "--ttl", 256]), ("--thread: 257 bytes, the limit is 256", ["a", "--thread", "x" * 257]),
                            ("control characters", ["a", "--correlation-id", "a\nb"]), ("\"Name: value\"", ["a", "-H", "x"]),
                            ("--reply-to sends answers elsewhere", ["a", "-w", "--reply-to", "b"]), ("is no subject", ["a", "--reply-to", "b c"])):
            self.ctl_fails(2, part, "send", *words)
        holds_for("nothing was sent", lambda: len(heard) == 0, 0.1)

    def test_a_message_that_is_too_long_says_what_the_limit_is(self):
        self.ctl_fails(1, "more than the server takes in a message: 1048576", "send", "a.b", "-", stdin="x" * (1 << 20))
