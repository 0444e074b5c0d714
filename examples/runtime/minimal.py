#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The shortest runtime that dispatchers work with: it registers, beats, answers questions about itself, runs triggers once, says goodbye.
Read it first; runtime.py and session.py beside it are what to start from, since this one knows no doubt: after a long pause it goes on with
work that others may have been given meanwhile.

  NATS_URL=nats://127.0.0.1:4222 examples/runtime/minimal.py [RUNTIME_ID]
"""

import asyncio
import os
import signal
import socket
import sys
import time
import uuid

from nats import Nats
from session import is_open

AGENTS = {"py-shout": lambda text: str(text).upper() + "!", "py-count": lambda items: len(items)}
SLOTS, REMEMBERED = 16, 1000


class Runtime:
    def __init__(self, nats, runtime_id):
        self.nats, self.id, self.epoch, self.sequence, self.done = nats, runtime_id, int(time.time() * 1000), 0, {}
        self.inbox = f"_INBOX.runtime.{runtime_id}.{uuid.uuid4().hex}"
        self.draining = False
        nats.on_up = self.register
        nats.subscribe(f"compozy.runtime.{runtime_id}.>", self.on_mine)
        nats.subscribe("compozy.commands.agent_runtime.announce", lambda message: self.register())
        nats.subscribe(self.inbox, self.on_registered)

    def head(self, **more):
        return {"runtime_id": self.id, "epoch": self.epoch, **more}

    def load(self):
        return {"in_flight": 0, "queued": 0, "agents": len(AGENTS), "free_slots": 0 if self.draining else SLOTS}

    def say(self, what, kind, head, payload, reply=""):
        body = {"metadata": {"type": kind}, "agent_runtime": head, "payload": payload}
        self.nats.publish(f"compozy.events.agent.definition.{self.id}.{what}", body, reply)

    def register(self):
        self.say("registered", "AgentRuntimeRegistered", self.head(
            revision=1, hostname=socket.gethostname(), pid=os.getpid(), heartbeat_interval_ms=1000,
            agent_definitions=[{"agent_id": agent, "agent_type": "python"} for agent in AGENTS],
            capacity={"max_in_flight": SLOTS, "max_agents": 0}), {"status": "REGISTERED", "draining": self.draining}, self.inbox)

    def on_registered(self, message):
        if message.status:
            return  # "503": no dispatcher yet; each one calls the roll when it starts
        answer = message.json()
        print("registered" if answer["ok"] else answer["error"]["message"], flush=True)
        if not answer["ok"] and answer["error"]["code"] == "RUNTIME_LOST":  # declared dead, or another runs under this id
            self.epoch = max(self.epoch, answer["error"]["details"]["epoch"]) + 1
            self.register()

    async def beat(self):
        while True:
            self.sequence += 1
            self.say("heartbeat", "AgentRuntimeHeartbeat", self.head(revision=1), {
                "sequence": self.sequence, "interval_ms": 1000, "draining": self.draining, "load": self.load()})
            await asyncio.sleep(1)

    def on_mine(self, message):
        what = message.subject.split(".", 3)[3]
        if what == "trigger":
            return self.on_trigger(message.json())
        if what == "control.announce":
            self.register()
        if what in ("control.drain", "control.resume"):
            self.draining = what == "control.drain"
        if is_open(message.reply):
            self.nats.publish(message.reply, {"ok": True, "result": self.head(revision=1, draining=self.draining, **self.load())})

    def on_trigger(self, relay):
        dispatch, exec_id = relay["dispatch"], relay["agent"]["exec_id"]
        news, answer = self.done.get(exec_id) or self.run(relay)  # a relay that is sent again is answered, not run again
        self.done[exec_id] = news, answer
        if len(self.done) > REMEMBERED:
            del self.done[next(iter(self.done))]
        if answer and is_open(dispatch.get("reply_to") or ""):
            self.nats.publish(dispatch["reply_to"], answer)
        if is_open(dispatch["report_to"], reporter=self.id):
            news = {"exec_id": exec_id, "attempt": dispatch["attempt"], "ask": dispatch.get("ask") or 0, **news}
            self.nats.publish(dispatch["report_to"], {"metadata": {"type": "AgentExecutionReport"}, "agent_runtime": self.head(),
                                                      "payload": {"executions": [news], "load": self.load()}})

    def run(self, relay):
        agent, began = AGENTS.get(relay["agent"]["id"]), time.monotonic()
        if relay["agent_runtime"]["epoch"] != self.epoch or self.draining or not agent:
            code = "AGENT_NOT_FOUND" if not agent else "RUNTIME_DRAINING" if self.draining else "RUNTIME_LOST"
            return {"state": "refused", "code": code}, None  # the dispatcher tells the caller, or asks another runtime
        try:
            status, result = "SUCCESS", {"output": agent(((relay.get("payload") or {}).get("context") or {}).get("input"))}
        except Exception as problem:
            status, result = "AGENT_ERROR", {"error": {"code": "INTERNAL", "message": str(problem)}}
        metadata = {"type": "AgentExecutionResult", "result_id": uuid.uuid4().hex, "correlation_id": relay["agent"]["exec_id"]}
        payload = {"status": status, "result": result, "attempt": relay["dispatch"]["attempt"],
                   "duration_ms": round(1000 * (time.monotonic() - began), 3)}
        news = {"state": "done", "status": status, **({} if status == "SUCCESS" else {"code": "INTERNAL"})}
        return news, {"metadata": metadata, "agent": relay["agent"], "agent_runtime": self.head(), "payload": payload}


async def main():
    nats, end = Nats(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), "minimal.py"), asyncio.Event()
    runtime = Runtime(nats, sys.argv[1] if len(sys.argv) > 1 else "minimal")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    tasks = [asyncio.create_task(nats.run()), asyncio.create_task(runtime.beat())]
    await end.wait()
    runtime.say("deregistered", "AgentRuntimeDeregistered", runtime.head(), {"context": {"reason": "shutdown", "seen_by": "runtime"}})
    await nats.flush()
    for task in tasks:
        task.cancel()


asyncio.run(main())
