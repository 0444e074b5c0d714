# SPDX-License-Identifier: MIT
"""What every section of the benchmark needs: processes that end with it, servers, daemons, and small questions about them."""

import ctypes
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_LIMIT_SECONDS = 10
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """What stopped the measurement, as a sentence."""


# processes


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Processes:
    """All that was started, ended in reverse order, whatever happened."""

    def __init__(self, directory):
        self.directory = directory
        self.items = []

    def start(self, name, arguments, environment=None, pipe=False):
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            preexec_fn=die_with_parent,
        )
        log.close()
        process.name = name
        self.items.append(process)
        return process

    def stop(self, process):
        self.items.remove(process)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()

    def stop_all(self):
        for process in reversed(list(self.items)):
            self.stop(process)

    def check(self):
        for process in self.items:
            if process.poll() is not None:
                raise BenchError(f"{process.name} ended with status {process.returncode}:\n{self.tail(process.name)}")

    def tail(self, name):
        lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in lines[-15:])


def wait_for(what, seconds, condition):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read().decode()


def cpu_seconds(pid):
    """Of all its threads so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii", errors="replace"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"No VmRSS of process {pid}")


class Server:
    def __init__(self, bench, name, jetstream=False, port=-1):
        directory = bench.directory / name
        directory.mkdir()
        arguments = [bench.nats_server, "-a", "127.0.0.1", "-p", port, "-m", "-1", "--ports_file_dir", directory]
        if jetstream:
            arguments += ["-js", "-sd", directory / "store"]
        self.name = name
        self.process = bench.processes.start(name, arguments)
        ports = wait_for(f"ports file of {name}", 10, lambda: self.ports(directory))
        self.url, self.monitoring = ports["nats"][0], ports["monitoring"][0]

    @staticmethod
    def ports(directory):
        for path in glob.glob(f"{directory}/*.ports"):
            try:
                return json.loads(pathlib.Path(path).read_text())
            except ValueError:
                pass  # half written
        return None

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def messages(self):
        figures = json.loads(fetch(f"{self.monitoring}/varz"))
        return figures["in_msgs"], figures["out_msgs"]

    def n_subscriptions(self):
        return json.loads(fetch(f"{self.monitoring}/varz"))["subscriptions"]

    def publish(self, subject, body):
        """One message, which the server has when this returns."""
        host, port = self.url.removeprefix("nats://").rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as s, s.makefile("rb") as lines:
            s.sendall(b'CONNECT {"verbose":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n' % (subject.encode(), len(body), body))
            while not lines.readline().startswith(b"PONG"):
                pass

    def request(self, subject, body=b"", seconds=30):
        """One request in plain NATS protocol: enough for the JetStream API."""
        host, port = self.url.removeprefix("nats://").rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=seconds) as s, s.makefile("rb") as lines:
            s.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.bench 1\r\n')
            s.sendall(b"PUB %s _INBOX.bench %d\r\n%s\r\n" % (subject.encode(), len(body), body))
            while True:
                line = lines.readline()
                if not line:
                    raise BenchError(f"{self.name} closed the connection of a request to {subject}")
                if line.startswith(b"MSG "):
                    return json.loads(lines.read(int(line.split()[-1])))


class Stage:
    """Where a section plays: a directory, and what was started in it."""

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.processes = Processes(directory)
        self.nats_server = os.environ.get("NATS_SERVER") or shutil.which("nats-server") or "/usr/sbin/nats-server"
        self.tools, self.bin = pathlib.Path(options.tools), pathlib.Path(options.bin)

    def start_daemon(self, kind, name, options, environment=None):
        arguments = [self.bin / f"compozy-{kind}"]
        for option in options:
            arguments += ["-o", option]
        return self.processes.start(name, arguments, environment)

    def start_until_ready(self, kind, name, options):
        path = self.directory / f"{name}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            notify.settimeout(READY_LIMIT_SECONDS)
            started = time.monotonic()
            process = self.start_daemon(kind, name, options, {"NOTIFY_SOCKET": str(path)})
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except socket.timeout:
                raise BenchError(f"{name} was not ready within {READY_LIMIT_SECONDS} s:\n{self.processes.tail(name)}") from None
            seconds = time.monotonic() - started
        path.unlink()
        return process, seconds

    error = BenchError

    def tool(self, name, *arguments, timeout=120):
        """Runs a program of this directory, which prints one line of JSON."""
        outcome = subprocess.run(
            [str(a) for a in (self.tools / name, *arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            preexec_fn=die_with_parent,
            timeout=timeout,
            check=False,
        )
        self.processes.check()
        if not outcome.stdout:
            raise BenchError(f"{name}: {outcome.stderr.strip()}")
        return json.loads(outcome.stdout)


def note(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
