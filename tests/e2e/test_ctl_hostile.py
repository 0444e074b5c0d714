# SPDX-License-Identifier: MIT
"""compozyctl before dispatchers that lie, and readers that go away."""

import json
import os
import socket
import subprocess
import threading
import time

from harness import BIN, PREFIX, Case, in_time, wait_until

ESCAPE = "\x1b]0;owned\x07\x9b31m"
NUMBERS = [-1, -(2**63), 2**63 - 1, 1e308, -1e308, 0.5, "7", None, [], {}, True]


def lie(kind, number, text=ESCAPE):
    """An answer in which each field is there, and none what it should be."""
    one = {name: number for name in (
        "agents", "in_flight", "free_slots", "queued", "last_heartbeat_ms_ago", "uptime_s", "waiting", "triggers", "n_runtimes", "total", "handled",
        "failed", "n_considered", "capacity", "max_in_flight", "pid", "epoch", "deadline_in_ms", "sent_ms_ago", "queue_limit", "slots", "count")}
    one.update({name: text for name in (
        "runtime_id", "agent_id", "dispatcher_id", "hostname", "version", "state", "agent_type", "why", "rule", "code", "phase", "http", "labels")})
    histogram = {"buckets": [number] * 3, "count": number, "sum_ms": number}
    one.update({"bucket_bounds_ms": [number, 1e308, -1e308], "dispatch_duration": histogram, "execution_duration": histogram})
    return {**one, "runtimes": [one, number, text] if kind == "list_runtimes" else {"live": number}, "agents": [one, number],
            "considered": [one, one, number], "attempts": [one, number], "runtime": one, "triggers_ended": {"SUCCESS": number}, "counters": one}


class Hostile(Case):
    shared = True
    lies = {}  # of all tests: what is answered now

    def answers(self, answer):
        self.lies["answer"] = answer

    def build(self):
        self.world.server()
        self.client = self.world.client()
        self.client.subscribe("$SRV.PING.compozy-dispatcher", self._on_ping)
        self.client.subscribe(f"{PREFIX}.>", self._on_verb)
        self.client.flush()

    def _on_ping(self, message):
        self.client.publish(message.reply, json.dumps({"id": "d1"}))
        self.client.publish(message.reply, b'{"id":["d2"]}')
        self.client.publish(message.reply, json.dumps({"id": ESCAPE}))

    def _on_verb(self, message):
        if message.reply:
            verb = message.subject.rsplit(".", 1)[-1]
            answer = self.lies["answer"](verb, message.json() if message.data else {})
            if answer is not None:
                self.client.publish(message.reply, answer if isinstance(answer, bytes) else json.dumps({"ok": True, "result": answer}))

    COMMANDS = (["status"], ["runtimes"], ["agents"], ["why", "greeter"], ["agent", "show", "greeter", "-r", "r1"], ["runtime", "show", "r1"],
                ["top", "-n", "1", "-i", "200ms"], ["agent", "pause", "greeter", "-r", "r1"], ["runtime", "resume", "r1"],
                ["agent", "create", '{"agent_id":"x"}'], ["agent", "subscriptions", "greeter", "-r", "r1"])

    def test_no_lie_of_a_dispatcher_crashes_it_or_reaches_the_terminal_as_it_is(self):
        for number in NUMBERS:
            self.answers(lambda verb, body, number=number: lie(verb, number))
            for words in self.COMMANDS if number in (-1, 1e308) else self.COMMANDS[:3]:
                with self.subTest(number=number, words=words):
                    done = self.ctl("-t", "2s", *words)
                    self.assertIn(done.returncode, range(8))
                    self.assertNotIn("\x1b", done.stdout + done.stderr)
                    self.assertNotIn("\x9b", done.stdout + done.stderr)
                    self.assertNotIn("18,446,744,073,709,551,6", done.stdout)
                    told = self.ctl("--json", "-t", "2s", *words)
                    for line in told.stdout.splitlines():
                        json.loads(line)

    def test_answers_that_are_none_are_called_so(self):
        for body in (b"", b"[]", b"\xff\xfe", b'{"ok":true', b'{"ok":1}', b'{"ok":false,"error":{"code":7}}', b"[" * 5000):
            self.answers(lambda verb, body, answer=body: answer)
            for words in (["runtimes"], ["status"], ["why", "greeter"]):
                with self.subTest(body=body[:20], words=words):
                    self.ctl_fails(1, "the answer on", *words)

    def test_a_list_without_an_end_is_given_up(self):
        numbers = iter(range(10**9))
        self.answers(lambda verb, body: {"agents": [{"agent_id": "x"}], "next": "a" + "b" * (next(numbers) + 1)})
        self.ctl_fails(1, "go round in circles", "agents", "--limit", "0")
        self.answers(lambda verb, body: {"agents": [{"agent_id": "x"}], "next": "a"})
        self.ctl_fails(1, "go round in circles", "agents", "--limit", "0")

    def test_a_list_of_many_pages_is_read_to_its_end(self):
        def page(_, body):
            n = int(body.get("after", "p0")[1:]) + 1
            return {"agents": [{"agent_id": f"a{n:03}{i:03}"} for i in range(100)], **({"next": f"p{n:03}"} if n < 9 else {})}

        self.answers(page)
        told = [one["agent_id"] for one in self.ctl_json("agents", "--limit", "0")["agents"]]
        self.assertEqual(told, [f"a{n:03}{i:03}" for n in range(1, 10) for i in range(100)])

    def test_no_more_are_listed_than_were_asked_for(self):
        numbers = iter(range(10**9))
        self.answers(lambda verb, body: {"agents": [{"agent_id": "x"}] * 1000, "next": f"a{next(numbers):09d}"})
        self.assertEqual(len(self.ctl_json("agents", "--limit", "1500")["agents"]), 1500)
        self.assertEqual(len(self.ctl_json("agents", "--limit", "3")["agents"]), 3)

    def test_no_id_that_a_shell_would_execute_is_offered_as_a_completion(self):
        mark = os.path.join(self.world.directory, "executed")
        evil = [f"$(touch {mark})", f"`touch {mark}`", "a b", "*", "x\ny", "../..", "$HOME", "greeter"]
        self.answers(lambda verb, body: {"agents": [{"agent_id": one, "agent_type": ESCAPE} for one in evil]})
        self.assertEqual([line.split("\t")[0] for line in self.ctl_ok("__complete", "--", "why", "").splitlines()], ["greeter"])
        # and were they offered, bash would not look into them
        fake = os.path.join(self.world.directory, "fake")
        os.makedirs(fake, exist_ok=True)
        with open(os.path.join(fake, "compozyctl"), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nprintf '%s\\n' '$(touch " + mark + ")' '`touch " + mark + "`'\n")
        os.chmod(file.name, 0o755)
        script = self.ctl_ok("completion", "bash") + "COMP_WORDS=(compozyctl why ''); COMP_CWORD=2; COMP_LINE='compozyctl why '; COMP_POINT=15; _compozyctl; printf '%s\\n' \"${COMPREPLY[@]}\""
        done = subprocess.run(["bash", "-c", script], env={**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True)
        self.assertIn("$(touch", done.stdout)
        self.assertFalse(os.path.exists(mark))

    def test_what_is_no_text_is_refused_and_not_left_out(self):
        self.answers(lambda verb, body: {"runtime_id": "r1", "state": "running"})
        for option, value in (("--runtime", b"\xff"), ("--id", b"\xff"), ("--type", b"\xff"), ("--label", b"a=\xff")):
            with self.subTest(option=option):
                done = subprocess.run([os.path.join(BIN, "compozyctl").encode(), b"-s", self.world.nats.url.encode(), b"agent", b"create",
                                       option.encode(), value, b'{"agent_id":"x"}'], capture_output=True, check=False)
                self.assertEqual(done.returncode, 2, done)
                self.assertIn(option.encode(), done.stderr)

    def test_events_end_when_nobody_reads_them_any_more(self):
        with subprocess.Popen([os.path.join(BIN, "compozyctl"), "-s", self.world.nats.url, "events", "-f"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as watching:
            stop = threading.Event()
            event = {"agent": {"id": "greeter", "exec_id": "e1"}}

            def publish():
                while not stop.wait(0.02):
                    self.client.publish(f"{PREFIX}.events.agent.instance.e1.started", json.dumps(event))

            publisher = threading.Thread(target=publish)
            publisher.start()
            try:
                self.assertIn("greeter", watching.stdout.readline())
                watching.stdout.close()
                wait_until("it has ended", lambda: watching.poll() is not None)
                self.assertEqual(watching.returncode, -13)  # SIGPIPE
            finally:
                stop.set()
                publisher.join()
                watching.kill()

    def test_what_could_not_be_written_is_no_success(self):
        self.answers(lambda verb, body: {"runtimes": [{"runtime_id": "r1"}]})
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([os.path.join(BIN, "compozyctl"), "-s", self.world.nats.url, "runtimes"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left on device", done.stderr)


class Stopped(Case):
    def test_a_server_that_hangs_costs_no_more_than_the_timeout(self):
        self.world.server()
        self.world.nats.pause()
        try:
            for words, status in ((["send", "a.b", "x"], (3, 5)), (["status"], (3, 5)), (["events"], (1, 3, 5))):
                began = time.monotonic()
                done = self.ctl("-t", "1s", *words)
                self.assertIn(done.returncode, status, done)
                self.assertLess(time.monotonic() - began, in_time(2))
        finally:
            self.world.nats.resume()

    def test_a_server_that_was_too_impatient_with_the_greeting_is_greeted_again_and_one_that_always_is_is_named(self):
        self.world.server()
        self.world.dispatcher()
        refusals = [2]  # then the connection is let through

        def refuse(client):
            client.sendall(b'INFO {"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}\r\n')
            while not client.recv(4096).endswith(b"PING\r\n"):
                pass
            client.sendall(b"-ERR 'Authentication Timeout'\r\n")
            client.close()

        def pump(source, sink):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

        def serve(listener):
            while True:
                client = listener.accept()[0]
                if refusals[0] > 0:
                    refusals[0] -= 1
                    refuse(client)
                    continue
                server = socket.create_connection(("127.0.0.1", self.world.nats.port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = "nats://127.0.0.1:%d" % listener.getsockname()[1]
        self.assertIn("d1", self.ctl_ok("status", url=url))
        self.assertEqual(refusals, [0])
        refusals[0] = 1 << 60
        self.ctl_fails(3, "Authentication Timeout", "-t", "300ms", "status", url=url)
