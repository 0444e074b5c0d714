#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
An agent as a child process that does as its input says: {"do": NAME, ...}, one function below per name. Started by the runtime under test.

It keeps what it was told (topics' messages, timers) for {"do": "seen"}, and a count as its state. Each message has a thread, so that one
which waits does not keep others from being begun; how many there are at a time is the runtime's business. Parameters:

  refuse         initialize is refused with that sentence
  dies_beside    path: it exits before initialize while that file is there
  say_goodbye    path: a line with its id is added there at shutdown
  answers        topics' messages are answered with their input
  at_topic       what to do for each topic's message, as an input
  at_timer       the same for timers
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time


class AgentError(Exception):
    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


class Agent:
    def __init__(self):
        self.lock = threading.Lock()
        self.parameters = {}
        self.agent_id = None
        self.state = {"count": 0}
        self.seen = []
        self.waiting = {}
        self.n_requests = 0

    # what we say

    def write(self, **line):
        data = json.dumps(dict(line, jsonrpc="2.0"), separators=(",", ":")).encode() + b"\n"
        self.write_raw(data)

    def write_raw(self, data):
        with self.lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def request(self, method, params):
        """The whole response: {"result": ...} or {"error": ...}."""
        done, box = threading.Event(), []
        with self.lock:
            self.n_requests += 1
            number = f"wish-{self.n_requests}"
            self.waiting[number] = (done, box)
        self.write(id=number, method=method, params=params)
        done.wait()
        return box[0]

    # what we can do

    def do_echo(self, what, _):
        return what.get("value")

    def do_sleep(self, what, _):
        time.sleep(what["ms"] / 1000)
        return what

    def do_wait_for(self, what, _):
        """Until that file is there: a test decides when."""
        while not os.path.exists(what["path"]):
            time.sleep(0.005)
        return "waited"

    def do_count(self, *_):
        with self.lock:
            self.state["count"] += 1
            return {"count": self.state["count"]}

    def do_error(self, what, _):
        raise AgentError(what.get("message", "as you wished"), what.get("code"))

    def do_exit(self, what, _):
        if "words" in what:
            print(what["words"], file=sys.stderr, flush=True)
        os._exit(what.get("status", 1))

    def do_raise_signal(self, what, _):
        os.kill(os.getpid(), what.get("signal", signal.SIGSEGV))
        signal.pause()

    def do_say(self, what, _):
        """To stdout, as it stands."""
        self.write_raw(what["text"].encode())
        return "said"

    def do_say_endlessly(self, *_):
        while True:
            self.write_raw(b"x" * 65536)

    def do_complain(self, what, _):
        for number in range(what.get("times", 1)):
            print(what["text"], number, file=sys.stderr, flush=True)
        return "complained"

    def do_allocate(self, what, _):
        return len(bytearray(what["bytes"]))

    def do_hang(self, *_):
        threading.Event().wait()

    def do_fork(self, *_):
        """Its own child, which never ends by itself."""
        return {"pid": subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid}

    def do_parameters(self, *_):
        return self.parameters

    def do_pid(self, *_):
        return {"pid": os.getpid()}

    def do_environment(self, *_):
        return {"environment": dict(os.environ), "directory": os.getcwd(), "fds": sorted(os.listdir("/proc/self/fd"))}

    def do_wish(self, what, params):
        return self.request(what["method"], dict(what["params"], message_id=params["message_id"]))

    def do_wishes(self, what, params):
        """All of them at once, and then their answers."""
        message_id = params["message_id"]
        answers = [None] * len(what["of"])
        threads = []
        for place, (method, params) in enumerate(what["of"]):
            def ask(place=place, method=method, params=dict(params, message_id=message_id)):
                answers[place] = self.request(method, params)

            threads.append(threading.Thread(target=ask))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return answers

    def do_trigger_itself(self, what, params):
        """Again and again; in the end what the last was answered, and how many there were."""
        what = dict(what, depth=what["depth"] + 1)
        answer = self.request("trigger", {"agent_id": self.agent_id, "input": what, "timeout_ms": 20000,
                                           "message_id": params["message_id"]})
        return answer["result"] if "result" in answer else {"depth": what["depth"], "error": answer["error"]}

    def do_notify(self, what, _):
        self.write(method=what["method"], params=what["params"])
        return "notified"

    def do_seen(self, *_):
        with self.lock:
            return list(self.seen)

    # what we are told

    def perform(self, what, params):
        if not isinstance(what, dict) or "do" not in what:
            return what
        return getattr(self, "do_" + what["do"])(what, params)

    def handle(self, params):
        kind = params["kind"]
        if kind == "trigger":
            return {"output": self.perform(params["input"], params)}
        with self.lock:
            self.seen.append({key: params.get(key) for key in ("kind", "topic", "input", "encoding", "envelope", "token")})
        output = None
        if self.parameters.get("at_" + kind):
            output = self.perform(self.parameters["at_" + kind], params)
        if self.parameters.get("answers") and kind == "topic":
            output = params["input"]
        return {} if output is None else {"output": output}

    def initialize(self, params):
        self.agent_id, self.parameters = params["agent_id"], params["parameters"]
        if params.get("state"):
            self.state = params["state"]
        if self.parameters.get("refuse"):
            raise AgentError(self.parameters["refuse"])
        if os.path.exists(self.parameters.get("dies_beside", "")):
            print("died beside", self.parameters["dies_beside"], file=sys.stderr, flush=True)
            os._exit(7)
        return {"initialized": True}

    def checkpoint(self, _):
        with self.lock:
            return {"state": self.state}

    def shutdown(self, _):
        if self.parameters.get("say_goodbye"):
            with open(self.parameters["say_goodbye"], "a", encoding="utf-8") as file:
                file.write(self.agent_id + "\n")
        return {}

    def answer(self, line):
        try:
            result = {"handle": self.handle, "initialize": self.initialize, "checkpoint": self.checkpoint,
                      "shutdown": self.shutdown}[line["method"]](line.get("params") or {})
            self.write(id=line["id"], result=result)
        except AgentError as error:
            answer = {"code": 1, "message": str(error)}
            if error.code:
                answer["data"] = {"code": error.code}
            self.write(id=line["id"], error=answer)
        except Exception as error:  # a test's mistake
            self.write(id=line["id"], error={"code": 2, "message": repr(error)})

    def run(self):
        for text in sys.stdin.buffer:
            line = json.loads(text)
            if "method" not in line:
                with self.lock:
                    done, box = self.waiting.pop(line["id"])
                box.append({key: line[key] for key in ("result", "error") if key in line})
                done.set()
            elif line["method"] == "handle":
                threading.Thread(target=self.answer, args=(line,), daemon=True).start()
            else:
                self.answer(line)
        os._exit(0)


if __name__ == "__main__":
    Agent().run()
