# SPDX-License-Identifier: MIT
"""
The section "agents": one runtime with 100,000 agents (type echo), each with its reply topic and two topics that all share.

They are made in two ways, from files and by requests. What is measured: how long each step takes, how much processor time the daemons
need for it, how long their loops stood still meanwhile (the longest wait for an answer of /healthz, which the loop gives itself), and
what an agent costs in memory.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time

from benchlib import Server, cpu_seconds, free_port, note, resident_mb, wait_for

TOPICS = ("bench.all", "bench.some.>")
DEFINITION = {"agent_id": "bench-#", "agent_type": "echo", "subscribed_topics": list(TOPICS)}
CREATES_OUTSTANDING = 512
RANDOM_TRIGGERS = 20000
SETTLE_SECONDS = 120
POLL_SECONDS = 0.002  # between two questions to /healthz
TARGETS = {"made_seconds": 5, "back_seconds": 5, "gap_seconds": 2}
HEARTBEAT_SUBJECT = "compozy.events.agent.definition.bench.heartbeat"


class Stalls:
    """How long the loops of the daemons stand still: each asked over and over by a thread of its own."""

    def __init__(self, ports):
        self.worst = dict.fromkeys(ports, 0.0)
        self.rounds = dict.fromkeys(ports, 0)
        self.over = False
        self.threads = [threading.Thread(target=self._watch, args=item, daemon=True) for item in ports.items()]
        for thread in self.threads:
            thread.start()

    def _watch(self, name, port):
        while not self.over:
            started = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
                    s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                    while s.recv(4096):
                        pass
                self.worst[name] = max(self.worst[name], time.monotonic() - started)
            except OSError:
                pass  # it is not there yet, or not any more
            self.rounds[name] += 1
            time.sleep(POLL_SECONDS)

    def take(self):
        """What was seen since the last time, with the question that is under way now."""
        rounds = dict(self.rounds)
        wait_for("answers of /healthz", 60, lambda: all(self.rounds[name] > n for name, n in rounds.items()))
        worst = dict(self.worst)
        self.worst = dict.fromkeys(worst, 0.0)
        return worst

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join(60)


class Heartbeats:
    """The longest pause between two heartbeats of the runtime."""

    def __init__(self, server):
        self.gap = None  # until there were two
        host, port = server.url.removeprefix("nats://").rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(f'CONNECT {{"verbose":false}}\r\nSUB {HEARTBEAT_SUBJECT} 1\r\n'.encode())
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        last = None
        with contextlib.suppress(OSError), self.socket.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"PING"):
                    self.socket.sendall(b"PONG\r\n")
                if not line.startswith(b"MSG "):
                    continue
                now = time.monotonic()
                if last:
                    self.gap = max(self.gap or 0, now - last)
                last = now

    def end(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.socket.close()
        return self.gap


class Run:
    """One way of making them, from the start of a server to the end of the runtime."""

    def __init__(self, stage, way):
        self.stage, self.way, self.n = stage, way, stage.options.agents
        self.steps = {}
        self.is_back = False
        self.server = Server(stage, f"nats-agents-{way}")
        self.dispatcher_port, self.runtime_port = free_port(), free_port()
        self.dispatcher, _ = stage.start_until_ready(
            "dispatcherd", f"dispatcherd-{way}", self._options(self.dispatcher_port) + ["dispatcher.id=bench"]
        )
        self.runtime = self.notify = None
        self.heartbeats = Heartbeats(self.server)
        self.stalls = Stalls({"runtime": self.runtime_port, "dispatcher": self.dispatcher_port})

    def _options(self, port):
        return [f"nats.url={self.server.url}", f"http.listen=127.0.0.1:{port}", *self.stage.options.agents_option]

    def start_runtime(self, agents_dir):
        options = [*self._options(self.runtime_port), "runtime.id=bench", f"runtime.max_agents={max(self.n, 1)}"]
        if agents_dir:
            options.append(f"runtime.agents_dir={agents_dir}")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.stage.directory / f"{self.way}.notify")
        self.notify.bind(path)
        self.notify.settimeout(SETTLE_SECONDS)
        self.runtime = self.stage.start_daemon("runtimed", f"runtimed-{self.way}", options, {"NOTIFY_SOCKET": path})

    def wait_notified(self, what):
        while what not in self.notify.recv(4096):
            pass

    # steps

    @contextlib.contextmanager
    def step(self, name):
        """Wall time, the daemons' processor time, and how long their loops stood still."""
        note(f"{self.n:,} agents, {self.way}: {name}")
        pids = {"runtime": self.runtime, "dispatcher": self.dispatcher, "server": self.server.process}
        pids = {key: process.pid for key, process in pids.items() if process}
        before = {key: cpu_seconds(pid) for key, pid in pids.items()}
        self.stalls.take()
        started = time.monotonic()
        figures = self.steps[name] = {}
        yield figures
        figures["seconds"] = time.monotonic() - started
        if self.runtime and self.runtime.poll() is None:
            pids["runtime"] = self.runtime.pid
        figures["cpu"] = {
            key: cpu_seconds(pid) - before.get(key, 0) for key, pid in pids.items() if os.path.exists(f"/proc/{pid}/stat")
        }
        figures["stall"] = self.stalls.take()

    def ask(self, subject, body, n, window, *more):
        arguments = ["-n", n, "-a", self.n, "-w", window, *more, self.server.url, subject, json.dumps(body, separators=(",", ":"))]
        answers = self.stage.tool("bench_asker", *arguments)
        if answers["bad"] or answers["lost"]:
            raise self.stage.error(f"{subject}: {answers['bad']} bad answers, {answers['lost']} lost; {answers['first_bad']}")
        return answers

    def known_agents(self):
        try:  # nobody answers while the dispatcher is not connected
            answer = self.server.request("compozy.commands.agent_dispatcher.list_runtimes", seconds=2 if self.is_back else 0.2)
        except TimeoutError:
            return -1
        self.is_back = True
        listed = answer["result"]["runtimes"]
        return listed[0]["agents"] if listed and listed[0]["state"] == "live" else -1

    def wait_known(self, n):
        wait_for(f"{n} agents registered", SETTLE_SECONDS, lambda: self.known_agents() == n)

    def wait_subscribed(self):
        wait_for("all subscriptions at the server", SETTLE_SECONDS, lambda: self.server.n_subscriptions() > self.n)

    def queued(self):
        return self.server.request("compozy.runtime.bench.control.status")["result"]["queued"]

    def memory(self):
        return {"runtime": resident_mb(self.runtime.pid), "dispatcher": resident_mb(self.dispatcher.pid),
                "server": resident_mb(self.server.process.pid)}

    def make_from_files(self):
        directory = self.stage.directory / "many.agents.d"
        directory.mkdir()
        text = json.dumps(DEFINITION)
        for i in range(self.n):
            (directory / f"bench-{i:05}.json").write_text(text.replace("#", f"{i:05}"))
        with self.step("start") as figures:
            started = time.monotonic()
            self.start_runtime(directory)
            self.wait_notified(b"READY=1")
            figures["ready_seconds"] = time.monotonic() - started
            self.wait_known(self.n)
            self.wait_subscribed()

    def make_by_requests(self):
        self.start_runtime(None)
        self.wait_notified(b"READY=1")
        with self.step("create") as figures:
            figures["answers"] = self.ask("compozy.runtime.bench.control.create_agent", DEFINITION, self.n, CREATES_OUTSTANDING)
            figures["answered_seconds"] = figures["answers"]["seconds"]
            self.wait_known(self.n)
            self.wait_subscribed()

    def use(self):
        trigger = {"payload": {"context": {"input": "hi"}}}
        with self.step("triggers, one at a time") as figures:
            figures["answers"] = self.ask(
                "compozy.commands.agent.bench.trigger.bench-#", trigger, RANDOM_TRIGGERS // 20, 1, "-r", "-i", 10
            )
        with self.step("triggers, 64 outstanding") as figures:
            figures["answers"] = self.ask("compozy.commands.agent.bench.trigger.bench-#", trigger, RANDOM_TRIGGERS, 64, "-r")
        with self.step("requests to reply topics") as figures:
            figures["answers"] = self.ask("agent.bench-#.replies", "hi", RANDOM_TRIGGERS, 64, "-r")
        for name, subject in (("a message for all", TOPICS[0]), ("a message for all, wildcard", "bench.some.thing")):
            with self.step(name) as figures:
                self.server.publish(subject, b'"hello"')
                wait_for("all have handled it", SETTLE_SECONDS, lambda: self.queued() == 0)
            figures["messages_per_second"] = self.n / figures["seconds"]
        with self.step("a message that all answer") as figures:
            self.ask(TOPICS[0], "hi", 1, 1, "-e", self.n)
        figures["messages_per_second"] = self.n / figures["seconds"]

    def restart_server(self):
        self.stage.processes.stop(self.server.process)
        self.is_back = False
        started = time.monotonic()
        self.server = Server(self.stage, f"nats-agents-{self.way}-again", port=self.server.port)
        with self.step("server restarted") as figures:
            self.wait_subscribed()
            figures["subscribed_seconds"] = time.monotonic() - started
            self.wait_known(self.n)
            figures["registered_seconds"] = time.monotonic() - started
            self.ask("compozy.commands.agent.bench.trigger.bench-#", {}, 100, 1, "-r")

    def reload(self):
        with self.step("reload of unchanged files"):
            self.runtime.send_signal(signal.SIGHUP)
            self.wait_notified(b"RELOADING=1")
            self.wait_notified(b"READY=1")

    def delete(self):
        with self.step("delete") as figures:
            figures["answers"] = self.ask(
                "compozy.runtime.bench.control.delete_agent", {"agent_id": "bench-#"}, self.n, CREATES_OUTSTANDING
            )
            self.wait_known(0)

    def stop(self):
        with self.step("stop"):
            self.runtime.terminate()
            status = self.runtime.wait(SETTLE_SECONDS)
        self.stage.processes.items.remove(self.runtime)
        if status != 0:
            raise self.stage.error(f"the runtime ended with {status}:\n{self.stage.processes.tail(self.runtime.name)}")

    def end(self):
        self.stalls.end()
        self.heartbeats.end()
        if self.notify:
            self.notify.close()
        for process in (self.runtime, self.dispatcher, self.server.process):
            if process in self.stage.processes.items:
                self.stage.processes.stop(process)


def empty_memory(stage):
    """What the daemons use with one agent that has done everything once: the rest is what agents cost."""
    n, stage.options.agents = stage.options.agents, 1
    run = Run(stage, "one")
    try:
        run.make_by_requests()
        run.use()
        return run.memory()
    finally:
        stage.options.agents = n
        run.end()


def measure_way(stage, way, empty):
    run = Run(stage, way)
    try:
        if way == "files":
            run.make_from_files()
        else:
            run.make_by_requests()
        memory = run.memory()
        run.use()
        used = run.memory()
        if way == "files":
            run.reload()
        gap = run.heartbeats.end()
        run.restart_server()
        if way == "requests":
            run.delete()
        run.stop()
        per_agent = {key: (memory[key] - empty[key]) * 1024 * 1024 / run.n for key in memory}
        per_used = {key: (used[key] - empty[key]) * 1024 * 1024 / run.n for key in memory}
        return {"steps": run.steps, "bytes_per_agent": per_agent, "bytes_per_used_agent": per_used, "heartbeat_gap_seconds": gap}
    finally:
        run.end()


def measure(stage):
    empty = empty_memory(stage)
    return {"agents": stage.options.agents, "empty_mb": empty, **{way: measure_way(stage, way, empty) for way in ("files", "requests")}}


# what is printed


def step_line(name, figures):
    cpu, stall = figures["cpu"], figures["stall"]
    line = f"    {name:30}{figures['seconds']:8.2f}"
    line += "".join(f"{cpu[key]:10.2f}" if key in cpu else f"{'-':>10}" for key in ("runtime", "dispatcher", "server"))
    line += "".join(f"{stall[key] * 1e3:10,.0f}" for key in ("runtime", "dispatcher"))
    more = []
    if "answers" in figures:
        answers = figures["answers"]
        more.append(f"{answers['rate']:,.0f}/s, p50 {answers['p50_usec']:,.0f} µs, p99 {answers['p99_usec']:,.0f} µs")
    if "messages_per_second" in figures:
        more.append(f"{figures['messages_per_second']:,.0f} messages/s")
    more += [f"{key.partition('_')[0]} after {figures[key]:.2f} s" for key in figures if key.endswith("_seconds")]
    return line + "  " + "; ".join(more)


def report(result):
    lines = [
        f"{result['agents']:,} agents (echo) in one runtime, each with its reply topic and two shared topics",
        f"    {'':30}{'':8}{'CPU seconds of':>20}{'':10}{'longest stall, ms':>20}",
        f"    {'':30}{'seconds':>8}{'runtime':>10}{'dispatch.':>10}{'server':>10}{'runtime':>10}{'dispatch.':>10}",
    ]
    for way in ("files", "requests"):
        lines.append(f"  made from {way}")
        lines += [step_line(name, figures) for name, figures in result[way]["steps"].items()]
        for title, key in (("idle", "bytes_per_agent"), ("after that use", "bytes_per_used_agent")):
            figures = ", ".join(f"{name} {value:,.0f}" for name, value in result[way][key].items())
            lines.append(f"    bytes resident per agent, {title}: {figures}")
        gap = result[way]["heartbeat_gap_seconds"]
        lines.append(f"    longest pause between two heartbeats: {'too short to tell' if gap is None else f'{gap:.2f} s'}")
    return "\n".join(lines) + "\n"


def verdicts(result):
    n = f"{result['agents']:,} agents"
    for way in ("files", "requests"):
        steps, gap = result[way]["steps"], result[way]["heartbeat_gap_seconds"]
        made = steps["start" if way == "files" else "create"]["seconds"]
        back = steps["server restarted"]["registered_seconds"]
        for figure, target, what in (
            (made, TARGETS["made_seconds"], f"registered and subscribed in {made:.2f} s"),
            (back, TARGETS["back_seconds"], f"back {back:.2f} s after the server's restart"),
            (gap, TARGETS["gap_seconds"], f"heartbeats at most {gap or 0:.2f} s apart"),
        ):
            if figure is not None:
                yield figure < target, f"{n} from {way}: {what} (below {target})"
