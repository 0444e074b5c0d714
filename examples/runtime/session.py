# SPDX-License-Identifier: MIT
"""
How a runtime is known to the dispatchers: docs/protocol.md, "A runtime's life". What it does with work is the subclass's: on_trigger(),
load(), agents(), and abandon(), which is told that an epoch is over.
"""

import asyncio
import os
import random
import socket
import time
import uuid

INTERVAL_S = 1.0  # of heartbeats


def clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


def is_open(subject, reporter=""):
    """May we publish there because somebody asked us to? Else anybody could have us give commands. `reporter`: whose reports may go there."""
    words = subject.split(".")
    is_result = words[1:2] == ["results"] and len(words) > 2 or words[1:2] + words[3:] == ["dispatcher", "report", reporter]
    return all(words) and words[0][0] != "$" and (words[0] != "compozy" or is_result) and not set(subject) & set("*> \t\r\n")


def owner(subject):
    """For whom a place for answers is kept; None: for nobody in particular."""
    words = subject.split(".")
    if words[0] == "_INBOX" and len(words) > 3 and words[1] in ("caller", "operator", "runtime", "observer", "service"):
        return words[1], words[2]
    return ("caller", words[3]) if words[:3] == ["compozy", "results", "caller"] and len(words) > 4 else None


class Session:
    def __init__(self, nats, runtime_id):
        self.nats, self.id, self.inbox = nats, runtime_id, f"_INBOX.runtime.{runtime_id}.{uuid.uuid4().hex}"
        self.epoch, self.sequence, self.dead_after_s, self.spoken = int(time.time() * 1000), 0, 5.0, clock()
        self.settled = asyncio.Event()  # is it beyond doubt that the dispatchers know this epoch?
        self.end = asyncio.Event()  # asked to stop, or replaced
        self.was_accepted = self.is_quiet = self.is_draining = False
        self.timer = asyncio.get_running_loop().call_later(0, lambda: None)
        nats.on_up, nats.on_down = self.register, self.settled.clear
        nats.subscribe(f"compozy.runtime.{runtime_id}.>", self.on_mine)
        nats.subscribe("compozy.commands.agent_runtime.announce", lambda message: self.on_announce(message.json()))
        nats.subscribe(f"compozy.events.agent.definition.{runtime_id}.deregistered", self.on_deregistered)
        nats.subscribe(f"{self.inbox}.*", self.on_registration_answer)

    def say(self, what, kind, runtime, payload, reply=""):
        if self.is_quiet:
            return
        body = {"metadata": {"type": kind, "event_id": uuid.uuid4().hex, "source_component": "runtime.py"},
                "agent_runtime": {"runtime_id": self.id, "epoch": self.epoch, **runtime}, "payload": payload}
        if self.nats.publish(f"compozy.events.agent.definition.{self.id}.{what}", body, reply):
            self.spoken = clock()

    def register(self, wait=1.0):
        """Again, ever more rarely, until a dispatcher has taken it."""
        self.register_in(wait * random.uniform(0.8, 1.2), min(2 * wait, 30.0))
        self.say("registered", "AgentRuntimeRegistered", {
            "revision": 1, "hostname": socket.gethostname(), "pid": os.getpid(), "heartbeat_interval_ms": int(1000 * INTERVAL_S),
            "agent_definitions": [{"agent_id": agent, "agent_type": "python"} for agent in self.agents()],
            "capacity": {"max_in_flight": self.load()["in_flight"] + self.load()["free_slots"], "max_agents": 0},
        }, {"status": "REGISTERED", "draining": self.is_draining}, reply=f"{self.inbox}.{self.epoch}")

    def register_in(self, seconds, wait=1.0):
        self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(seconds, self.register, wait)

    def on_registration_answer(self, message):
        if message.status or message.subject != f"{self.inbox}.{self.epoch}":
            return  # "503": there is no dispatcher yet; another epoch: it comes too late
        answer = message.json()
        if answer["ok"] and answer["result"]["complete"] and not self.is_quiet:
            self.timer.cancel()
            result = answer["result"]
            self.dead_after_s = INTERVAL_S * result["dead_after_ms"] / result["heartbeat_interval_ms"]
            self.was_accepted = True
            self.settled.set()
            print(f"{result['dispatcher_id']} knows {self.id}, epoch {self.epoch}", flush=True)
        elif not answer["ok"] and answer["error"]["code"] == "RUNTIME_LOST":
            self.on_lost(answer["error"]["details"]["reason"], answer["error"]["details"]["epoch"])
        elif not answer["ok"]:
            print(f"refused: {answer['error']['message']}", flush=True)  # register() goes on asking

    def on_deregistered(self, message):
        body = message.json()
        if body["agent_runtime"]["epoch"] == self.epoch:
            self.on_lost(body["payload"]["context"].get("reason") or "shutdown", self.epoch)

    def on_lost(self, reason, known_epoch):
        """Somebody says that our epoch is over."""
        if self.is_quiet or reason == "replaced" and known_epoch < self.epoch:
            return  # that is our own goodbye; or it is us who replace
        print(f"epoch {self.epoch} is over: {reason}", flush=True)
        self.epoch = max(int(time.time() * 1000), known_epoch + 1, self.epoch + 1)
        self.settled.clear()
        self.abandon()
        if reason == "replaced" and self.was_accepted:
            self.end.set()
        self.is_quiet = reason == "operator" or self.end.is_set()
        self.register()

    def notice_stall(self):
        """Silent for so long that we may have been declared dead: nothing is taken or answered until a dispatcher says no."""
        if clock() - self.spoken > self.dead_after_s and self.settled.is_set():
            self.settled.clear()
            self.register()

    def beat(self):
        self.notice_stall()
        self.sequence += 1
        self.say("heartbeat", "AgentRuntimeHeartbeat", {"revision": 1}, {
            "sequence": self.sequence, "interval_ms": int(1000 * INTERVAL_S), "draining": self.is_draining, "load": self.load()})

    async def beat_on(self):
        while True:
            self.beat()
            await asyncio.sleep(INTERVAL_S * random.uniform(0.9, 1.1))

    def on_announce(self, body):
        wish = body.get("payload") or {}
        if wish.get("register", True):
            self.register_in(random.uniform(0, wish.get("spread_ms") or 0) / 1000)

    def on_mine(self, message):
        self.notice_stall()
        what = message.subject.split(".", 3)[3]
        if what == "trigger":
            self.on_trigger(message.json(), message)
            return
        if what == "control.announce":
            self.on_announce(message.json())
        elif what in ("control.drain", "control.resume"):
            was_quiet, self.is_draining = self.is_quiet, what == "control.drain" or self.end.is_set()
            self.is_quiet = was_quiet and self.is_draining
            self.register() if was_quiet else self.beat()
        answer = {"ok": True, "result": {
            "runtime_id": self.id, "epoch": self.epoch, "revision": 1, "draining": self.is_draining, **self.load()}}
        if what not in ("control.announce", "control.drain", "control.resume", "control.status"):
            answer = {"ok": False, "error": {"code": "INVALID_MESSAGE", "message": f"this runtime has no {what}"}}
        if is_open(message.reply):
            self.nats.publish(message.reply, answer)

    def goodbye(self):
        self.timer.cancel()
        self.say("deregistered", "AgentRuntimeDeregistered", {}, {"context": {"reason": "shutdown", "seen_by": "runtime"}})
        self.is_quiet = True
