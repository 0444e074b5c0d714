#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
An agent in Python, without dependencies: docs/exec.md explains the protocol.

It summarizes texts: as a task ({"text": "..."}), or whatever is published to its topic, whose summary it publishes in turn. If its
parameters name a reviewer, it asks that agent what it thinks. It counts what it did, and the count survives a restart.
"""
import json
import re
import sys
from collections import deque

# The loop. Copy it; it is all one needs.


class Refused(Exception):
    """The message makes no sense: its sender is told why, with a code of ours."""

    def __init__(self, message, code="INVALID_MESSAGE"):
        super().__init__(message)
        self.code = code


waiting = deque()  # lines that came while we waited for an answer
next_id = 0


def send(**line):
    # One object per line, flushed at once. Nothing else may be printed to stdout: print(..., file=sys.stderr) ends in the log.
    print(json.dumps({"jsonrpc": "2.0", **line}), flush=True)


def receive():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)  # the runtime wants us gone
    return json.loads(line)


def call(method, **params):
    """Asks the runtime for something and waits for its answer; other messages wait meanwhile."""
    global next_id
    next_id += 1
    send(id=next_id, method=method, params=params)
    while True:
        line = receive()
        if "method" in line:
            waiting.append(line)
        elif "error" in line:
            raise RuntimeError(line["error"]["message"])
        else:
            return line["result"]


def run(methods):
    while True:
        line = waiting.popleft() if waiting else receive()
        method = methods.get(line["method"])
        if not method:
            send(id=line["id"], error={"code": -32601, "message": "no such method"})
            continue
        try:
            send(id=line["id"], result=method(line["params"]))
        except Refused as why:
            send(id=line["id"], error={"code": 1, "message": str(why), "data": {"code": why.code}})
        except Exception as why:  # a bug of ours costs one message, not the agent
            print(f"handling failed: {why!r}", file=sys.stderr)
            send(id=line["id"], error={"code": 1, "message": f"the summarizer failed: {why!r}"})


# The agent.

parameters = {}
count = 0


def initialize(params):
    global parameters, count
    parameters = params["parameters"]
    count = (params["state"] or {}).get("count", 0)  # what checkpoint() has returned last
    return {}


def checkpoint(params):
    return {"state": {"count": count}}


def shutdown(params):
    return {}


def summarize(text):
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]
    return {"summary": sentences[0] if sentences else "", "words": len(text.split()), "sentences": len(sentences)}


def handle(params):
    global count
    content = params["input"]
    text = content.get("text") if isinstance(content, dict) else content
    if not isinstance(text, str):
        raise Refused('a text is wanted, or an object {"text": "..."}')

    count += 1
    output = {**summarize(text), "count": count}
    if "reviewer" in parameters:
        output["review"] = call("ask", agent_id=parameters["reviewer"], payload=output, timeout_ms=5000)
    if params["kind"] == "topic":
        # It inherits the thread of the message that we are handling.
        call("publish", topic=parameters.get("publish_to", "summaries"), payload=output)
    return {"output": output}


run({"initialize": initialize, "handle": handle, "checkpoint": checkpoint, "shutdown": shutdown})
