#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The demo: a private nats-server, one dispatcher, two runtimes; triggers, a runtime killed under load, another one drained. Then
agents in several languages on a third one (languages.py).

Everything runs on loopback, on ports that were free, in a directory of its own, so it can run twice at once. All that was
started is ended by its pid, also after Ctrl-C or a failure. KEEP=1 leaves it running and prints what to try.
Ends with status 1 when a promise was broken.
"""

import collections
import json
import os
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, os.pardir, "e2e"))

import harness  # noqa: E402
import natsclient  # noqa: E402
from harness import DEFINITIONS, INSTANCES, PREFIX, VERBS, World, wait_until  # noqa: E402
from languages import Languages  # noqa: E402
from load import Load  # noqa: E402
from stage import act, ms, say, short, step, table  # noqa: E402

AGENTS = os.path.join(ROOT, "examples", "agents.d")
WORKERS = ("worker-1", "worker-2")
MIX = [("greeter", "hi", 3), ("sleeper", {"ms": 5}, 1)]
N_TRIGGERS, RATE, OUTSTANDING = 8000, 2500, 64
HEARTBEAT_MS = 200  # a second by default: here a verdict should not take five


class Watcher:
    """What the events told: to whom work went and when, and who left."""

    def __init__(self, client):
        self.last_dispatch = {}
        self.n_dispatched = collections.Counter()
        self.left = []
        self.changed = threading.Event()
        client.subscribe(f"{INSTANCES}.*.dispatched", self._on_dispatched)
        client.subscribe(f"{DEFINITIONS}.*.deregistered", self._on_left)
        client.flush()

    def _on_dispatched(self, message):
        runtime = message.json()["agent_runtime"]["runtime_id"]
        self.last_dispatch[runtime] = message.at
        self.n_dispatched[runtime] += 1

    def _on_left(self, message):
        event = message.json()
        self.left.append((event["agent_runtime"]["runtime_id"], event["payload"]["context"]["reason"], message.at))

    def departure(self, runtime, since):
        return next(((reason, at) for name, reason, at in self.left if name == runtime and at >= since), None)


class Demo:
    def __init__(self, keep):
        self.keep = keep
        self.world = World("demo", lingers=keep)
        self.broken = []

    # asking

    def runtimes(self):
        answer = self.client.request(f"{VERBS}.list_runtimes", {}).json()
        return {record["runtime_id"]: record for record in answer["result"]["runtimes"] if record["state"] != "gone"}

    def live(self):
        return {name for name, record in self.runtimes().items() if record["state"] == "live"}

    def promise(self, kept, sentence):
        if not kept:
            self.broken.append(sentence)
            say(f"BROKEN: {sentence}")

    # the steps

    def daemon(self, program, name, options):
        daemon = self.world.add(harness.Daemon(self.world, program, name, options))
        self.start(daemon)
        return daemon

    def start(self, daemon):
        began = time.monotonic()
        daemon.start()
        program = os.path.basename(daemon.arguments[0])
        say(f"{program:<20} {daemon.name:<13} pid {daemon.pid:<8} ready after {ms(time.monotonic() - began)}")

    def start_all(self):
        step("Start everything")
        server = self.world.server(jetstream=True)
        say(f"{'nats-server':<20} {'':<13} pid {server.pid:<8} {server.url}, JetStream on")
        self.daemon("compozy-dispatcherd", "dispatcher-1", {"dispatcher.id": "dispatcher-1", "events.executions": "verbose"})
        self.workers = [
            self.daemon("compozy-runtimed", name, {
                "runtime.id": name, "runtime.agents_dir": AGENTS, "runtime.heartbeat_interval_ms": HEARTBEAT_MS})
            for name in WORKERS]
        self.client = self.world.client("demo")
        self.load_client = self.world.client("load")
        self.watcher = Watcher(self.world.client("watcher"))

    def show_runtimes(self):
        step("The runtimes have registered")
        wait_until("both runtimes are registered", lambda: self.live() == set(WORKERS), 10)
        rows = [[record["runtime_id"], record["state"], record["epoch"], record["agents"], record["free_slots"],
                 f"{record['last_heartbeat_ms_ago']} ms ago"] for record in sorted(self.runtimes().values(), key=lambda r: r["runtime_id"])]
        table(["runtime", "state", "epoch", "agents", "free slots", "heartbeat"], rows)

    def trigger_a_few(self):
        step("Trigger some agents")
        self.client.request(f"{PREFIX}.commands.agent.demo.trigger.nobody", {})  # a dispatcher that has just started waits before it calls an agent unknown
        rows = []
        for agent, value in (("greeter", "hi"), ("greeter", {"name": "Ada"}), ("sleeper", {"ms": 120}), ("nobody", "hello?")):
            began = time.monotonic()
            result = self.client.request(f"{PREFIX}.commands.agent.demo.trigger.{agent}", {"payload": {"context": {"input": value}}}).json()
            took = 1000 * (time.monotonic() - began)
            payload = result["payload"]
            if payload["status"] == "SUCCESS":
                answer = json.dumps(payload["result"]["output"])
            else:
                answer = payload["result"]["error"]["code"]
            self.promise((payload["status"] == "SUCCESS") == (agent != "nobody"), f"{agent} answered {payload}")
            rows.append([agent, json.dumps(value), payload["status"], short(answer), result.get("agent_runtime", {}).get("runtime_id", "-"),
                         f"{took:.1f} ms"])
        table(["agent", "input", "status", "answer", "by", "took"], rows)

    def account_of(self, load, killed=False):
        counts = ", ".join(f"{outcome} {n:,}" for outcome, n in sorted(load.counts().items(), key=lambda item: -item[1]))
        say(f"{'sent':<15}{load.n_sent:,}")
        say(f"{'answered':<15}{load.n_sent - len(load.unanswered()):,}: {counts}")
        say(f"{'placed again':<15}{len(load.placed_again()):,}")
        by = ", ".join(f"{name} {n:,}" for name, n in sorted(load.by_runtime().items(), key=str))
        say(f"{'answered by':<15}{by}")
        for agent, _, _ in MIX:
            say(f"{'latency':<15}{agent:<8} p50 {load.latency_ms(.5, agent):.1f} ms   p99 {load.latency_ms(.99, agent):.1f} ms   "
                f"longest {load.latency_ms(1, agent):.0f} ms")
        self.promise(not load.unanswered(), f"{len(load.unanswered())} triggers were not answered")
        if load.answered_twice():
            why = ": their first runtime died between its answer and its report" if killed else ""
            say(f"{'answered twice':<15}{len(load.answered_twice()):,}{why}")
        self.promise(killed or not load.answered_twice(), f"{len(load.answered_twice())} triggers were answered twice")
        self.promise(not load.failed(), f"{len(load.failed())} triggers were lost")

    def load(self):
        return Load(self.load_client, MIX, outstanding=OUTSTANDING, total=N_TRIGGERS, rate=RATE, retry="always", deadline_ms=15000,
                    workflow="demo").start()

    def kill_one(self):
        step(f"{N_TRIGGERS:,} triggers, at most {OUTSTANDING} at a time; {WORKERS[0]} is killed (SIGKILL) on the way")
        load = self.load()
        load.wait_answered(N_TRIGGERS // 4, 20)
        killed = time.monotonic()
        self.workers[0].kill()
        load.finish(stop=False, timeout=30)
        self.account_of(load, killed=True)
        given = max(0.0, self.watcher.last_dispatch.get(WORKERS[0], killed) - killed)
        departure = wait_until("the dispatcher gives its verdict", lambda: self.watcher.departure(WORKERS[0], killed), 10)
        say(f"{WORKERS[0]:<15}got its last work {ms(given)} after it was killed; deregistered after {ms(departure[1] - killed)} ({departure[0]})")
        self.promise(given < 2, f"a dead runtime was given work for {given:.1f} s")

    def start_again(self):
        step(f"{WORKERS[0]} is started again")
        before = time.monotonic()
        self.start(self.workers[0])
        wait_until("it is registered", lambda: self.live() == set(WORKERS), 10)
        say(f"registered {ms(time.monotonic() - before)} after its start, with epoch {self.runtimes()[WORKERS[0]]['epoch']}")

    def drain_other(self):
        step(f"{N_TRIGGERS:,} triggers again; {WORKERS[1]} is asked to stop (SIGTERM) on the way")
        load = self.load()
        load.wait_answered(N_TRIGGERS // 4, 20)
        asked = time.monotonic()
        status = self.workers[1].terminate(20)
        ended = time.monotonic()
        load.finish(stop=False, timeout=30)
        self.account_of(load)
        departure = wait_until("it says goodbye", lambda: self.watcher.departure(WORKERS[1], asked), 5)
        say(f"{WORKERS[1]:<15}finished what it held, deregistered ({departure[0]}) and ended with status {status} after {ms(ended - asked)}")
        self.promise(status == 0, f"{WORKERS[1]} ended with status {status}")
        self.promise(departure[0] == "shutdown", f"{WORKERS[1]} left with reason {departure[0]}")
        self.promise(self.live() == {WORKERS[0]}, "the registry does not show exactly the runtime that is left")

    def leave_running(self):
        step("It stays up (KEEP=1)")
        self.start(self.workers[1])
        say(f"{'server':<14}{self.world.nats.url}")
        for daemon in self.world.processes[1:]:
            say(f"{daemon.name:<14}http://{daemon.http()}/   {daemon.log_path}")
        say()
        say(f"export NATS_URL={self.world.nats.url} PATH={os.path.relpath(harness.BIN)}:$PATH")
        for words in ("status", "runtimes", "agents", "top", "events --follow", "trigger greeter '\"hi\"' --wait", "trigger sleeper '{\"ms\": 20}' --count 20000",
                      "why greeter", "runtime drain worker-1", "runtime resume worker-1", *self.languages.hints()):
            say(f"compozyctl {words}")
        say()
        say(f"to end it: kill {' '.join(str(process.pid) for process in reversed(self.world.processes))}; sleep 1; rm -r {self.world.directory}")

    def run(self):
        print("Compozy, first act: runtimes register, stay registered, and run what is triggered", flush=True)
        for part in (self.start_all, self.show_runtimes, self.trigger_a_few, self.kill_one, self.start_again, self.drain_other):
            part()
        act("Second act: agents in Python, shell and C; topics; crashes; a state that survives them")
        self.languages = Languages(self)
        self.languages.run()
        self.broken += self.world.complaints()
        if not self.broken and self.keep:
            self.leave_running()
        elif not self.broken:
            step("End")
            for daemon in (self.workers[0], self.workers[2], self.world.processes[1]):
                status = daemon.terminate(15)
                say(f"{daemon.name:<13} ended with status {status}")
                self.promise(status == 0, f"{daemon.name} ended with status {status}")


def main():
    keep = os.environ.get("KEEP") not in (None, "", "0")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    demo = Demo(keep)
    status = 1
    try:
        demo.run()
        for sentence in demo.broken:
            print(f"BROKEN: {sentence}")
        if not demo.broken:
            print(f"\nEvery trigger was answered, none was lost. {time.monotonic() - began:.0f} seconds.")
            status = 0
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        status = 130
    except (AssertionError, natsclient.NatsError, OSError, KeyError) as error:
        print(f"\nFAILED: {type(error).__name__}: {error}", flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if status == 1:
            demo.world.show_logs(15)
            demo.world.keep_directory = True
        if status != 0 or not keep:
            demo.world.close()
        else:
            for client in demo.world.clients:
                client.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
