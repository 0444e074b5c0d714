# SPDX-License-Identifier: MIT
"""
The demo's second act: agents in Python, in shell and in C on one runtime, with topics, a crash, and a state that survives kill -9.

What runs is what lies in examples/, with its definitions as they are; the plugin is built as its author would, in a directory of its
own against an installed header.
"""

import collections
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from harness import PREFIX, ROOT, VERBS, is_alive, wait_until
from load import Load
from stage import ms, say, short, step, table

NAME = "worker-3"
EXAMPLES = os.path.join(ROOT, "examples")
N_COUNTED, OUTSTANDING = 400, 16
TEXT = "To be, or not to be. That is the question."

# Beside the examples: a durable counter that no answer leaves before it is saved, one that echoes, and two that share their work.
OWN = {
    "tally": {"agent_type": "counter", "checkpoint_interval_ms": 0, "subscribed_topics": ["texts.>"]},
    "scribe": {"agent_type": "echo"},
    "desk-1": {"agent_type": "echo", "subscribed_topics": [{"topic": "jobs.new", "queue": "desks"}]},
    "desk-2": {"agent_type": "echo", "subscribed_topics": [{"topic": "jobs.new", "queue": "desks"}]},
}


def descendants(pid):
    """The pids below it, whatever their order."""
    children = collections.defaultdict(list)
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                number, _, rest = file.read().partition(" ")
        except OSError:  # it has just ended
            continue
        children[int(rest.rpartition(")")[2].split()[1])].append(int(number))
    found, left = [], [pid]
    while left:
        below = children[left.pop()]
        found += below
        left += below
    return found


def is_child_of_agent(pid, agent):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"COMPOZY_AGENT_ID={agent}".encode() in file.read().split(b"\0")
    except OSError:
        return False


class Languages:
    def __init__(self, demo):
        self.demo, self.world, self.client = demo, demo.world, demo.client
        self.runtime = None

    # asking

    def control(self, verb, **body):
        answer = self.client.request(f"{PREFIX}.runtime.{NAME}.control.{verb}", body, 10).json()
        if not answer["ok"]:
            raise AssertionError(f"{verb} {body}: {answer['error']}")
        return answer["result"]

    def trigger(self, agent, value):
        return self.client.request(f"{PREFIX}.commands.agent.demo.trigger.{agent}", {"payload": {"context": {"input": value}}}, 15).json()["payload"]

    def output(self, agent, value):
        payload = self.trigger(agent, value)
        if payload["status"] != "SUCCESS":
            raise AssertionError(f"{agent} answered {payload}")
        return payload["result"]["output"]

    def child(self, agent):
        """The pid of the agent's process: the first of its group, should it have children of its own."""
        return wait_until(f"{agent} has a process",
                          lambda: next((pid for pid in sorted(descendants(self.runtime.pid)) if is_child_of_agent(pid, agent)), None))

    def answers(self, topic, payload, expected):
        """Publishes with a reply address and shows who answers what."""
        got = self.client.request_many(topic, payload, window=5, enough=len(expected))
        by = {answer.headers.get("Compozy-Sender", "").partition(".")[2]: answer.data.decode() for answer in got}
        table(["agent", "answer"], [[agent, short(by[agent], 60)] for agent in sorted(by)])
        self.demo.promise(set(by) == set(expected), f"{topic} was answered by {sorted(by)}, and not by {sorted(expected)}")

    # the steps

    def build_plugin(self):
        """Like an author: with what `make install` gives, and nothing of the source tree."""
        sdk, directory, plugins = (os.path.join(self.world.directory, name) for name in ("sdk", "plugin", "plugins"))
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        environment["PKG_CONFIG_PATH"] = os.path.join(sdk, "share", "pkgconfig")

        def make(*arguments):
            made = subprocess.run(["make", "-s", *arguments], env=environment, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                raise AssertionError(f"make {' '.join(arguments)}:\n{made.stdout}{made.stderr}")

        began = time.monotonic()
        make("-C", ROOT, "install-sdk", f"PREFIX={sdk}", "DESTDIR=")
        shutil.copytree(os.path.join(sdk, "share", "doc", "compozy", "examples", "plugin"), directory)
        make("-C", directory, "install", f"PLUGINS_DIR={plugins}", "DESTDIR=")
        say(f"{'wordcount.so':<20} was built against the installed header in {ms(time.monotonic() - began)}")
        return plugins

    def start(self):
        step("Agents in any language: a runtime with a directory of plugins and a store of states")
        plugins = self.build_plugin()
        agents = self.world.agents_dir(NAME, OWN)
        for path in glob.glob(os.path.join(EXAMPLES, "exec", "agents.d", "*.json")) + glob.glob(os.path.join(EXAMPLES, "plugin", "agents.d", "*.json")):
            shutil.copy(path, agents)
        os.symlink(EXAMPLES, os.path.join(self.world.directory, "examples"))  # their working directories are relative to the runtime's
        self.runtime = self.demo.daemon("compozy-runtimed", NAME, {
            "runtime.id": NAME, "runtime.agents_dir": agents, "runtime.plugins_dir": plugins,
            "runtime.state_store": f"sqlite:{os.path.join(self.world.directory, 'states.db')}"})
        self.demo.workers.append(self.runtime)
        self.wait_running()
        rows = [[agent, record["agent_type"], what] for agent, what in (
            ("summarizer", "Python: examples/exec/summarizer.py"), ("router", "shell and jq: examples/exec/router.sh"),
            ("words", "C: examples/plugin/wordcount.c"), ("tally", "built in; no answer leaves before its state is on disk"))
            for record in [self.control("get_agent", agent_id=agent)]]
        table(["agent", "type", "what it is"], rows)

    def wait_running(self):
        def states():
            return {agent["agent_id"]: agent["state"] for agent in self.control("list_agents")["agents"]}

        def known():
            answer = self.client.request(f"{VERBS}.list_agents", {}).json()
            return {agent["agent_id"] for agent in answer["result"]["agents"] if NAME in agent["runtimes"]}

        wait_until("all agents run", lambda: set(states().values()) == {"running"}, 15)
        wait_until("the dispatcher knows of them", lambda: set(states()) <= known())

    def trigger_each(self):
        step("Each does its work")
        rows = []
        for agent, value, holds in (("summarizer", {"text": TEXT}, lambda output: output["words"] == 10),
                                    ("summarizer", 42, None),
                                    ("router", {"kind": "invoice", "amount": 12}, lambda output: output == {"routed_to": "routed.invoice"}),
                                    ("words", {"text": TEXT}, lambda output: output["words"] == 10),
                                    ("tally", None, lambda output: output == {"count": 1})):
            began = time.monotonic()
            payload = self.trigger(agent, value)
            took = 1000 * (time.monotonic() - began)
            is_good = payload["status"] == "SUCCESS"
            result = payload["result"]
            self.demo.promise(holds(result["output"]) if is_good and holds else not is_good and not holds, f"{agent} answered {payload}")
            answer = json.dumps(result["output"]) if is_good else result["error"]["message"]
            rows.append([agent, short(json.dumps(value), 30), payload["status"], short(answer, 62), f"{took:.1f} ms"])
        table(["agent", "input", "status", "answer", "took"], rows)

    def topics(self):
        step("A message for all who are subscribed: published once to texts.news, with an address for answers")
        self.answers("texts.news", TEXT, ["words", "tally"])
        say("subscribe_agent {\"agent_id\": \"scribe\", \"topic\": \"texts.>\"}, while it runs; then once more")
        self.control("subscribe_agent", agent_id="scribe", topic="texts.>")
        self.answers("texts.news", TEXT, ["words", "tally", "scribe"])

        n = 20
        inbox = self.client.subscribe("demo.jobs.done")
        for number in range(n):
            self.client.publish("jobs.new", str(number), "demo.jobs.done")
        done = [inbox.next(5) for _ in range(n)]
        by = collections.Counter(message.headers.get("Compozy-Sender", "").partition(".")[2] for message in done)
        say(f"{n} messages to jobs.new, which two share as the queue \"desks\": " + ", ".join(f"{agent} got {by[agent]}" for agent in sorted(by)))
        self.demo.promise(sorted(int(message.data) for message in done) == list(range(n)), "a queue's message got lost or was handled twice")

        answer = self.client.request("agent.scribe.replies", "just for you", 5).data.decode()
        say(f"a request to agent.scribe.replies, which is its alone: \"{answer}\"")
        self.demo.promise(answer == "just for you", f"scribe answered {answer!r}")

    def publications(self):
        step("What agents publish themselves, while they handle a message")
        rows = []
        for topic, message, agent, to in (("notes.new", {"text": TEXT}, "summarizer", "notes.summaries"),
                                          ("inbox.mail", {"kind": "invoice", "amount": 12}, "router", "routed.invoice"),
                                          ("texts.news", TEXT, "words", "words.counted")):
            inbox = self.client.subscribe(to)
            self.client.publish(topic, message, headers={"Compozy-Thread-Id": "demo-thread"})
            got = inbox.next(10)
            inbox.unsubscribe()
            sender, thread = got.headers.get("Compozy-Sender"), got.headers.get("Compozy-Thread-Id")
            self.demo.promise((sender, thread) == (f"agent.{agent}", "demo-thread"), f"{to} came from {sender} in thread {thread}")
            rows.append([topic, sender, to, short(got.data.decode(), 60)])
        table(["published to", "handled by", "which published to", "what"], rows)
        say("all in the thread of the message that they handled")

    def crash(self):
        step("The Python process is killed while it works")
        count = self.output("summarizer", {"text": TEXT})["count"]
        self.control("checkpoint_agent", agent_id="summarizer")
        pid = self.child("summarizer")
        os.kill(pid, signal.SIGSTOP)  # so that the trigger finds it at work, and no answer slips out
        inbox = self.client.subscribe("demo.crashed")
        self.client.publish(f"{PREFIX}.commands.agent.demo.trigger.summarizer", {"payload": {"context": {"input": TEXT}}}, "demo.crashed")
        wait_until("it has the message", lambda: self.control("get_agent", agent_id="summarizer")["open"] == 1)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        error = inbox.next(10).json()["payload"]["result"]["error"]
        say(f"its caller    {error['code']} after {ms(time.monotonic() - killed)}: {error['message']}")
        self.demo.promise(error["code"] == "AGENT_CRASHED", f"the caller was told {error}")
        after = self.output("summarizer", {"text": TEXT})["count"]
        say(f"the next one  was answered {ms(time.monotonic() - killed)} after the kill, by pid {self.child('summarizer')} instead of {pid}; "
            f"its count went from {count} to {after}: the state is that of its last checkpoint")
        self.demo.promise(after == count + 1, f"the state that was saved is lost: {after} follows {count}")
        say("the log")
        for line in self.runtime.log().splitlines():
            if " summarizer" in line or " agent.summarizer" in line:
                say("  " + short(line.partition(" ")[2], 150))

    def kill_runtime(self):
        step(f"{N_COUNTED} triggers to the durable counter, {OUTSTANDING} at a time; its runtime is killed (SIGKILL) on the way and started again")
        children = [self.child(agent) for agent in ("summarizer", "router")]
        before = self.output("tally", None)["count"]
        load = Load(self.demo.load_client, [("tally", None, 1)], outstanding=OUTSTANDING, total=N_COUNTED, retry="always", deadline_ms=15000,
                    workflow="demo").start()
        load.wait_answered(N_COUNTED // 2, 20)
        self.runtime.kill()
        wait_until("its child processes are gone with it", lambda: not any(is_alive(pid) for pid in children), 5)
        say(f"its child processes ({', '.join(str(pid) for pid in children)}) are gone with it")
        self.demo.start(self.runtime)
        load.finish(stop=False, timeout=30)
        self.account_of(load, before)

    def account_of(self, load, before):
        promise = self.demo.promise
        promise(not load.failed(), f"{len(load.failed())} triggers were lost: {load.counts()}")
        counts = sorted(record.output["count"] for record in load.records.values() if record.output)
        last = self.output("tally", None)["count"]
        say(f"answered      {len(counts)}, of which {len(load.placed_again())} were placed again")
        say(f"counts        {counts[0]} to {counts[-1]}, no number twice; the next one is {last}")
        n_more = last - before - 1 - len(counts)
        if n_more > 0:
            say(f"counted more  {n_more}: what the runtime held when it died, or had not reported as done, was run again")
        promise(len(set(counts)) == len(counts), "two answers had the same count: one left before it was saved")
        promise(last > counts[-1], f"after {counts[-1]} came {last}: an answer left before it was saved")
        promise(0 <= n_more <= 2 * OUTSTANDING, f"the counter went from {before} to {last} with {len(counts)} answers")
        self.wait_running()

    def run(self):
        for part in (self.start, self.trigger_each, self.topics, self.publications, self.crash, self.kill_runtime):
            part()

    def hints(self):
        yield from ("trigger summarizer '{\"text\": \"One. Two.\"}' --wait", "trigger words '{\"text\": \"three little words\"}' --wait", "trigger tally --wait",
                    "send texts.news 'three little words' --wait", "send agent.scribe.replies hello --wait", "agent show summarizer",
                    "agent subscribe scribe jobs.new", "agent subscriptions scribe")
