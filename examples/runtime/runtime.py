#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A small runtime, written from docs/protocol.md alone; its agents are coroutines. This file is "A trigger's life", session.py "A runtime's
life", nats.py has nothing to do with Compozy.

  NATS_URL=nats://127.0.0.1:4222 examples/runtime/runtime.py [RUNTIME_ID]
"""

import asyncio
import collections
import json
import os
import signal
import sys
import types
import uuid

from nats import Nats
from session import Session, clock, is_open, owner

MAX_IN_FLIGHT, REMEMBERED_MAX, DRAIN_S = 16, 1000, 30


async def shout(text):
    return str(text).upper() + "!"


async def nap(wish):
    await asyncio.sleep(wish["ms"] / 1000)
    return {"slept_ms": wish["ms"]}


AGENTS = {"py-shout": shout, "py-nap": nap}


class Runtime(Session):
    def __init__(self, nats, runtime_id):
        super().__init__(nats, runtime_id)
        self.executions = collections.OrderedDict()  # by id: refused, started or done; the latest last
        self.forgot = 0.0  # when the last of them was forgotten

    def agents(self):
        return AGENTS

    def running(self):
        return [execution for execution in self.executions.values() if execution.state == "started"]

    def load(self):
        n = len(self.running())
        return {"in_flight": n, "queued": 0, "agents": len(AGENTS), "free_slots": MAX_IN_FLIGHT - n}

    def abandon(self):
        """What ran under an epoch that is over was answered or placed elsewhere by its dispatcher: it is nobody's any more."""
        for execution in self.running():
            execution.task.cancel()
            del self.executions[execution.id]

    def on_trigger(self, relay, message):
        exec_id, dispatch, agent_id = relay["agent"]["exec_id"], relay["dispatch"], relay["agent"]["id"]
        asker = dispatch.get("report_to") or message.reply, dispatch.get("reply_to") or "", dispatch["attempt"], dispatch.get("ask") or 0
        if not is_open(asker[0], reporter=self.id) or asker[1] and not is_open(asker[1]):
            raise ValueError(f"no answer may go to {asker[0]} or {asker[1]}")
        is_current = relay["agent_runtime"] == {"runtime_id": self.id, "epoch": self.epoch}
        known = self.executions.get(exec_id)
        if is_current and known and (known.state != "refused" or dispatch["attempt"] <= known.attempt):
            if known.state != "refused" and asker[1] and known.owner not in (None, owner(asker[1])):
                self.tell(self.refused(exec_id, asker, "INVALID_MESSAGE"), [asker])  # somebody has guessed an id
                return
            known.askers = [other for other in known.askers if other[:2] != asker[:2]] + [asker]
            self.tell(known, [asker])  # sent again: it hears how things stand, and nothing is run twice
            return
        code = self.why_not(agent_id, (dispatch.get("age_ms") or 0) / 1000) if is_current else "RUNTIME_LOST"
        execution = self.refused(exec_id, asker, code)
        if is_current:
            self.remember(execution)
        if not code:
            execution.state, execution.outcome = "started", {}
            execution.task = asyncio.create_task(self.run(execution, relay, message.headers))
        self.tell(execution, [asker])

    @staticmethod
    def refused(exec_id, asker, code):
        return types.SimpleNamespace(id=exec_id, attempt=asker[2], askers=[asker], owner=owner(asker[1]), state="refused", outcome={"code": code})

    def why_not(self, agent_id, age_s):
        """The code to refuse it with, or None. age_s: since it was first sent; we may have had it, and forgotten it."""
        if not self.settled.is_set() or age_s and clock() - age_s <= self.forgot:
            return "RUNTIME_LOST"
        if self.is_draining or self.is_quiet:
            return "RUNTIME_DRAINING"
        if agent_id not in AGENTS:
            return "AGENT_NOT_FOUND"
        return "OVERLOADED" if len(self.running()) >= MAX_IN_FLIGHT else None

    def remember(self, execution):
        self.executions[execution.id] = execution
        self.executions.move_to_end(execution.id)
        if len(self.executions) > REMEMBERED_MAX:
            del self.executions[next(old.id for old in self.executions.values() if old.state != "started")]
            self.forgot = clock()

    def tell(self, execution, askers):
        """The answer to whoever asked, the report to the dispatcher, in one write."""
        for report_to, reply_to, attempt, ask in askers:
            if execution.state == "done" and reply_to:
                self.nats.publish(reply_to, execution.answer, headers=execution.headers)
            news = {"exec_id": execution.id, "attempt": attempt, "ask": ask, "state": execution.state, **execution.outcome}
            self.nats.publish(report_to, {
                "metadata": {"type": "AgentExecutionReport"}, "agent_runtime": {"runtime_id": self.id, "epoch": self.epoch},
                "payload": {"executions": [news], "load": self.load()}})

    async def run(self, execution, relay, headers):
        began, left_s, error = clock(), relay["dispatch"]["deadline_ms"] / 1000, None
        context = (relay.get("payload") or {}).get("context") or {}
        try:
            async with asyncio.timeout(left_s) as limit:
                output = await AGENTS[relay["agent"]["id"]](context.get("input"))
            json.dumps(output)
            status, result = "SUCCESS", {"output": output}
        except Exception as problem:  # whatever an agent raises is its answer
            status, error = "AGENT_ERROR", {"code": "INTERNAL", "message": f"{type(problem).__name__}: {problem}"}
            if limit.expired():
                status, error = "FAILURE", {"code": "DEADLINE_EXCEEDED", "message": "not done by its deadline"}
        self.notice_stall()
        if not self.settled.is_set():
            try:
                await asyncio.wait_for(self.settled.wait(), began + left_s - clock())
            except TimeoutError:  # nobody is told: its dispatcher has answered by now
                del self.executions[execution.id]
                return
        execution.headers = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        if error:
            result = {"error": error}
            execution.headers["Nats-Service-Error"] = " ".join(error["message"].split())[:256]
            execution.headers["Nats-Service-Error-Code"] = "504" if status == "FAILURE" else "500"
        metadata = relay.get("metadata") or {}
        execution.answer = {
            "metadata": {"type": "AgentExecutionResult", "result_id": uuid.uuid4().hex, "source_component": "runtime.py",
                         "correlation_id": metadata.get("correlation_id") or metadata.get("request_id") or execution.id},
            "workflow": {"exec_id": execution.id, **(relay.get("workflow") or {})}, "agent": relay["agent"],
            "agent_runtime": {"runtime_id": self.id, "epoch": self.epoch},
            "payload": {"status": status, "result": result, "duration_ms": round(1000 * (clock() - began), 3),
                        "attempt": execution.attempt}}
        execution.state, execution.outcome = "done", {"status": status, **({"code": error["code"]} if error else {})}
        self.remember(execution)
        self.tell(execution, execution.askers)


async def main():
    nats = Nats(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), "runtime.py")
    runtime = Runtime(nats, sys.argv[1] if len(sys.argv) > 1 else "python")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, runtime.end.set)
    others = [asyncio.create_task(nats.run()), asyncio.create_task(runtime.beat_on())]
    await runtime.end.wait()
    runtime.is_draining = True  # takes nothing more, finishes what it holds, says goodbye
    runtime.beat()
    if runtime.running():
        await asyncio.wait([execution.task for execution in runtime.running()], timeout=DRAIN_S)
    runtime.goodbye()
    await nats.flush()
    for task in others:
        task.cancel()


asyncio.run(main())
