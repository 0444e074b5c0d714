# SPDX-License-Identifier: MIT
"""
A runtime in Python that speaks docs/protocol.md and does exactly what a test tells it: it registers, beats, takes relays, reports and
answers, or leaves out any of these.
"""

import collections
import itertools
import threading
import time

from harness import DEFINITIONS, PREFIX, scaled


class FakeRuntime:
    """
    `on_relay`: function(fake, relay dict, message) in place of answering at once with output = input. `announces`: what roll calls and
    control.announce said, in order; `relays`: what was relayed; `verdicts`: deregistrations about us.
    """

    _epochs = itertools.count(int(time.time() * 1000))

    def __init__(self, client, runtime_id, agents=("fake",), epoch=None, max_in_flight=16, interval_ms=200, on_relay=None,
                 obedient=True, labels=None, agent_types=()):
        self.client, self.id = client, runtime_id
        self.epoch = epoch or next(self._epochs)
        self.revision = 1
        self.sequence = 0
        self.agents = [agent if isinstance(agent, dict) else {"agent_id": agent, "agent_type": "echo"} for agent in agents]
        self.max_in_flight, self.interval_ms, self.labels = max_in_flight, interval_ms, labels or {}
        self.agent_types = list(agent_types)
        self.on_relay, self.obedient = on_relay, obedient
        self.free_slots = max_in_flight
        self.n_in_flight = 0
        self.draining = False
        self.answers_probes = True
        self.answers_roll_calls = True
        self.announces, self.relays, self.verdicts = (collections.deque() for _ in range(3))
        self._beating = threading.Event()
        self._end = threading.Event()
        self._thread = None
        self._subscriptions = [
            client.subscribe(f"{PREFIX}.runtime.{runtime_id}.>", self._on_mine),
            client.subscribe(f"{PREFIX}.commands.agent_runtime.announce", self._on_roll_call),
            client.subscribe(f"{DEFINITIONS}.{runtime_id}.deregistered", self.verdicts.append),
        ]
        client.flush()

    # registration

    def head(self, **changes):
        runtime = {
            "runtime_id": self.id, "epoch": self.epoch, "revision": self.revision, "hostname": "fake", "ip_address": "127.0.0.1",
            "pid": 1, "version": "0", "labels": self.labels, "agent_types": self.agent_types, "agent_definitions": self.agents,
            "subjects": {"trigger": f"{PREFIX}.runtime.{self.id}.trigger", "control": f"{PREFIX}.runtime.{self.id}.control"},
            "capacity": {"max_in_flight": self.max_in_flight, "max_agents": 100000}, "heartbeat_interval_ms": self.interval_ms}
        runtime.update(changes)
        return runtime

    @staticmethod
    def metadata(kind, **more):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        return dict({"type": kind, "event_timestamp": stamp, "source_component": "fake"}, **more)

    def registration(self, reason="start", part=None, **changes):
        payload = {"status": "REGISTERED", "context": {"reason": reason, "registration_timestamp": "2026-01-01T00:00:00.000000Z"}}
        if part:
            payload["part"] = part
        return {"metadata": self.metadata("AgentRuntimeRegistered", event_id=f"e{self.epoch}"),
                "agent_runtime": self.head(**changes), "payload": payload}

    def register(self, timeout=2.0, part=None, body=None, n_answers=1, **changes):
        """Returns the answers as dicts."""
        message = body if body is not None else self.registration(part=part, **changes)
        answers = self.client.request_many(f"{DEFINITIONS}.{self.id}.registered", message, scaled(timeout), n_answers)
        return [answer.json() for answer in answers]

    def update(self, base_revision, revision, added=(), removed=()):
        self.client.publish(f"{DEFINITIONS}.{self.id}.updated", {
            "metadata": self.metadata("AgentRuntimeUpdated"),
            "agent_runtime": {"runtime_id": self.id, "epoch": self.epoch, "revision": revision, "base_revision": base_revision,
                              "added": [{"agent_id": agent, "agent_type": "echo"} for agent in added],
                              "removed": list(removed)},
            "payload": {"base_revision": base_revision, "revision": revision,
                        "added": [{"agent_id": agent, "agent_type": "echo"} for agent in added], "removed": list(removed)}})

    def beat(self, epoch=None, revision=None):
        self.sequence += 1
        self.client.publish(f"{DEFINITIONS}.{self.id}.heartbeat", {
            "metadata": self.metadata("AgentRuntimeHeartbeat"),
            "agent_runtime": {"runtime_id": self.id, "epoch": epoch or self.epoch, "revision": revision or self.revision},
            "payload": {"sequence": self.sequence, "interval_ms": self.interval_ms, "draining": self.draining,
                        "load": self.load()}})

    def load(self):
        return {"in_flight": self.n_in_flight, "queued": 0, "agents": len(self.agents),
                "free_slots": max(0, self.free_slots - self.n_in_flight)}

    def start_beating(self):
        self._beating.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat_on, name="fake", daemon=True)
            self._thread.start()
        return self

    def stop_beating(self):
        self._beating.clear()

    def _beat_on(self):
        while not self._end.wait(self.interval_ms / 1000):
            if self._beating.is_set() and not self.client.closed:
                self.beat()

    def deregister(self, reason="shutdown", epoch=None):
        self.client.publish(f"{DEFINITIONS}.{self.id}.deregistered", {
            "metadata": self.metadata("AgentRuntimeDeregistered"),
            "agent_runtime": {"runtime_id": self.id, "epoch": epoch or self.epoch},
            "payload": {"context": {"reason": reason, "seen_by": "runtime"}}})

    # what is asked of it

    def _on_roll_call(self, message):
        self.announces.append(message)
        if self.answers_roll_calls:
            self._register_from_reader()

    def _register_from_reader(self):
        """On the reader thread: without waiting for the answers."""
        self.client.publish(f"{DEFINITIONS}.{self.id}.registered", self.registration("roll_call"), f"{self.client.inbox}.none")

    def _on_mine(self, message):
        what = message.subject.split(".", 3)[3]
        if what == "trigger":
            relay = message.json()
            self.relays.append(relay)
            if self.on_relay:
                self.on_relay(self, relay, message)
            elif self.obedient:
                self.finish(relay)
        elif what == "control.announce":
            self.announces.append(message)
            body = message.json() if message.data else {}
            if body.get("payload", {}).get("register", True) and self.answers_roll_calls:
                self._register_from_reader()
            if message.reply:
                self.client.publish(message.reply, {"ok": True, "result": {}})
        elif what == "control.status" and message.reply and self.answers_probes:
            self.client.publish(message.reply, {"ok": True, "result": {
                "runtime_id": self.id, "epoch": self.epoch, "revision": self.revision, "load": self.load()}})

    # executions

    def report(self, relay, state, status=None, code=None, epoch=None):
        execution = {"exec_id": relay["agent"]["exec_id"], "attempt": relay["dispatch"]["attempt"], "state": state}
        if status:
            execution["status"] = status
        if code:
            execution["code"] = code
        self.client.publish(relay["dispatch"]["report_to"], {
            "metadata": self.metadata("AgentExecutionReport"),
            "agent_runtime": {"runtime_id": self.id, "epoch": epoch or self.epoch},
            "payload": {"executions": [execution], "load": self.load()}})

    def answer(self, relay, output=None, status="SUCCESS"):
        if "reply_to" not in relay["dispatch"]:
            return
        self.client.publish(relay["dispatch"]["reply_to"], {
            "metadata": self.metadata("AgentExecutionResult", result_id="r1",
                                      correlation_id=relay["metadata"].get("correlation_id", "none")),
            "workflow": relay["workflow"], "agent": relay["agent"],
            "agent_runtime": {"runtime_id": self.id, "epoch": self.epoch},
            "payload": {"status": status, "result": {"output": output}, "duration_ms": 0.1,
                        "attempt": relay["dispatch"]["attempt"]}})

    def finish(self, relay):
        self.answer(relay, (relay.get("payload", {}).get("context") or {}).get("input"))
        self.report(relay, "done", "SUCCESS")

    def vanish(self):
        """As a crash: no more subscriptions, no more heartbeats."""
        self._end.set()
        for subscription in self._subscriptions:
            subscription.unsubscribe()
        if not self.client.closed:
            self.client.flush(scaled(5))
