# SPDX-License-Identifier: MIT
"""
A private world for each test: nats-server, dispatchers and runtimes, each with its own directory and log file.

Nothing here waits for a fixed time: whatever takes time is waited for as a condition with a bound (wait_until). Bounds are
multiplied by the environment's TIME_SCALE, for binaries built with sanitizers. Whatever was started is ended by its own pid, also
when a test fails or is interrupted, and by the kernel (PR_SET_PDEATHSIG) should this process be killed.

  NATS_SERVER   the server's path (nats-server)
  COMPOZY_BIN   where the daemons are (build/bin)
  TIME_SCALE    factor on every bound (1)
  KEEP_LOGS     keep the directories of worlds that failed
"""

import ctypes
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import natsclient

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NATS_SERVER = os.environ.get("NATS_SERVER") or shutil.which("nats-server") or "/usr/sbin/nats-server"
BIN = os.path.abspath(os.environ.get("COMPOZY_BIN") or os.path.join(ROOT, "build", "bin"))
TIME_SCALE = float(os.environ.get("TIME_SCALE") or 1)

PREFIX = "compozy"
VERBS = f"{PREFIX}.commands.agent_dispatcher"
DEFINITIONS = f"{PREFIX}.events.agent.definition"
INSTANCES = f"{PREFIX}.events.agent.instance"

# Windows that let a test see a verdict soon: suspect after 0.2 s of silence, probe and verdict after 0.5 s. For tests that need one: a runtime
# that stood still for so long gives up what it has.
SHORT_WINDOWS = {"liveness.dead_after": 5, "liveness.suspect_after": 2}
FAST_HEARTBEAT = {"runtime.heartbeat_interval_ms": 100}

SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:"
                       r"|Assertion .* failed|stack smashing detected|double free|malloc\(\)|free\(\):")

REPORT_LINES = 200

AGENTS = {"greeter": "echo", "sleeper": "delay", "tally": "counter"}
OBEDIENT = os.path.join(ROOT, "tests", "e2e", "agent.py")

_libc = ctypes.CDLL(None, use_errno=True)
_worlds = []
_bound = None  # of the wait_until() that is under way


def scaled(seconds):
    return seconds * TIME_SCALE


def in_time(seconds):
    """
    The bound for something that is to happen after so many seconds, or at once (0): late enough that a machine which stands still for some
    seconds does not break it. What a test tells apart with it must be further away than that, or not be told by the clock at all.
    """
    return seconds + scaled(5)


def wait_until(what, condition, timeout=10.0, longest_pause=0.05):
    """
    Waits until condition() is true and returns what it returned. An exception of the NATS client counts as "not yet", and what a verb is
    asked in there is soon asked again: an answer may be lost with a connection.
    """
    global _bound
    outer, _bound = _bound, scaled(timeout)
    try:
        return _wait_until(what, condition, timeout, longest_pause)
    finally:
        _bound = outer


def patience(timeout):
    """Seconds for one question."""
    return min(scaled(timeout), _bound / 4) if _bound else scaled(timeout)


def _wait_until(what, condition, timeout, longest_pause):
    started = time.monotonic()
    deadline = started + scaled(timeout)
    pause, value, trouble = 0.002, None, None
    while True:
        try:
            value, trouble = condition(), None
            if value:
                return value
        except (natsclient.TimedOut, natsclient.NoResponders) as error:
            trouble = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {scaled(timeout):.1f} s: {what} (last seen: {trouble or value!r:.2000})")
        time.sleep(pause)
        pause = min(pause * 1.5, longest_pause)


def holds_for(what, condition, seconds):
    """Watches that the condition stays true for so long (a bound on what must not happen; not scaled)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if not value:
            raise AssertionError(f"no longer true: {what}")
        time.sleep(0.02)


def show_lines(lines, n_lines):
    """The last ones, and before them a sanitizer's first report, whole."""
    first = next((i for i, line in enumerate(lines) if SANITIZER.search(line)), len(lines))
    if first < len(lines) - n_lines:
        print("\n".join(lines[first:first + REPORT_LINES]), "\n...", file=sys.stderr)
    print("\n".join(line[:400] for line in lines[-n_lines:]), file=sys.stderr)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)


def exec_agent(parameters=None, settings=None, **definition):
    """The definition of an agent that is a process of agent.py: it does as its input says."""
    given = {"agent_type": "exec", "exec": dict({"command": [sys.executable, OBEDIENT]}, **(settings or {}))}
    if parameters:
        given["parameters"] = parameters
    return dict(given, **definition)


def is_alive(pid):
    """Is there a process of that number that is not just waiting to be reaped?"""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Process:
    """One child with a log file. `expected`: a test said that it may end, so its end is no failure."""

    def __init__(self, world, name, arguments, environment=None):
        self.world, self.name, self.arguments = world, name, [str(argument) for argument in arguments]
        self.environment = environment
        self.log_path = os.path.join(world.directory, name + ".log")
        self.process = None
        self.expected = False
        self.started_at = 0.0
        self.log_start = 0  # where the log of the last start begins
        self.log_mark = 0

    def spawn(self):
        self.expected = False
        self.log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        environment = dict(os.environ, **(self.environment or {}))
        environment.pop("NATS_URL", None)
        environment.pop("NOTIFY_SOCKET", None)
        with open(self.log_path, "ab") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.world.directory,
                env=environment, start_new_session=True, preexec_fn=None if self.world.lingers else _die_with_parent)
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            self.expected = True
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL, and gone when this returns."""
        self.signal(signal.SIGKILL)
        self.process.wait(scaled(10))

    def pause(self):
        self.signal(signal.SIGSTOP)
        wait_until(f"{self.name} is stopped", lambda: self._stat_letter() in ("T", "t"))

    def resume(self):
        self.signal(signal.SIGCONT)

    def terminate(self, timeout=15.0):
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=15.0):
        self.expected = True
        try:
            return self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} (pid {self.pid}) did not end within {scaled(timeout):.0f} s") from None

    def end(self):
        if self.is_running():
            self.process.kill()
            self.process.wait(10)

    def _stat_letter(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def log(self, since=None):
        """What it wrote since its last start, or since that place in the file."""
        with open(self.log_path, "rb") as file:
            file.seek(self.log_start if since is None else since)
            return file.read().decode(errors="replace")

    def wait_log(self, pattern, timeout=10.0):
        """The first line since the last start that matches."""
        expression = re.compile(pattern)

        def find():
            was_running = self.is_running()  # asked first: what it says at its end is in the log by then
            found = expression.search(self.log())
            if not found and not was_running:
                raise AssertionError(f"{self.name} ended with {self.process.returncode} before saying /{pattern}/")
            return found

        return wait_until(f"{self.name} says /{pattern}/", find, timeout)


class Port:
    """
    A port that stays ours while a server is down. The socket is bound and never listens: with SO_REUSEADDR the server may listen there beside
    it, and nobody is given that port who asks for any, neither to listen nor to connect from.
    """

    def __init__(self):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()


class NatsServer(Process):
    """
    `monitored`: with its HTTP port, for subscriptions(). `config`: a file; what is given here wins over it. `access`: what a client of the
    tests has to show (arguments of natsclient.Client); with "url" a function from the port to the address.
    """

    def __init__(self, world, jetstream=False, name="nats", arguments=(), monitored=False, config=None, access=None):
        self.directory = os.path.join(world.directory, name)
        os.makedirs(self.directory)
        self.held = Port()
        self.port = self.held.number
        self.store = ["-js", "-sd", os.path.join(self.directory, "store")] if jetstream else []
        self.access = dict(access or {})
        self.address = self.access.pop("url", "nats://127.0.0.1:{}".format)
        self.extra = (["-c", config] if config else []) + list(arguments) + (["-m", "-1"] if monitored else [])
        super().__init__(world, name, [])

    def start(self):
        self.arguments = [NATS_SERVER, "-a", "127.0.0.1", "-p", str(self.port), "--ports_file_dir",
                          self.directory] + self.store + self.extra
        self.spawn()
        wait_until("nats-server tells its port", self._read_port, 15)
        wait_until("nats-server accepts", self._accepts, 15)
        return self

    def end(self):
        super().end()
        self.held.close()

    def _read_port(self, kind="nats"):
        if not self.is_running():
            raise AssertionError(f"nats-server ended with {self.process.returncode}")
        for path in glob.glob(os.path.join(self.directory, f"*_{self.pid}.ports")):
            try:
                with open(path, encoding="ascii") as file:
                    return int(json.load(file)[kind][0].rpartition(":")[2])
            except (OSError, ValueError, KeyError, IndexError):
                return None
        return None

    def monitor(self, path):
        """What its monitoring port answers, as JSON."""
        port = self._read_port("monitoring")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=scaled(5)) as answer:
            return json.load(answer)

    def subscriptions(self, word):
        """[(subject, queue group or "")] of all clients' subscriptions with that word in their subjects, sorted."""
        found = self.monitor("/subsz?subs=1&limit=1000000").get("subscriptions_list") or []
        return sorted((one["subject"], one.get("qgroup") or "") for one in found if word in one["subject"])

    def _accepts(self):
        try:
            natsclient.Client(self.url, **self.access).close()
            return True
        except (OSError, natsclient.NatsError):
            return False

    @property
    def url(self):
        return self.address(self.port)


class Daemon(Process):
    """A dispatcher or a runtime."""

    def __init__(self, world, program, name, options, url=None, arguments=()):
        self.id = name
        command = [os.path.join(BIN, program)]
        for key, value in dict({"nats.url": url or world.nats.url, "log.target": "journal" if world.journal else "stderr", "http.listen": "127.0.0.1:0"},
                               **options).items():
            command += ["-o", f"{key}={value}"]
        command += list(arguments)
        super().__init__(world, name, world.journal.wrapped(command) if world.journal else command,
                         {"ASAN_OPTIONS": "exitcode=66:abort_on_error=0", "TSAN_OPTIONS": f"exitcode=66 suppressions={ROOT}/tests/tsan.supp",
                          "UBSAN_OPTIONS": "print_stacktrace=1"})

    def start(self, wait=True):
        self.spawn()
        if wait:
            self.wait_ready()
        return self

    def http(self):
        """Where it serves /metrics, as its log says."""
        if self.world.journal:
            return next((entry["COMPOZY_HTTP"] for entry in self.world.journal.entries(_PID=self.pid) if "COMPOZY_HTTP" in entry), None)
        nats_port = str(self.world.nats.port) if self.world.nats else ""
        for line in self.log().splitlines():
            for port in re.findall(r"127\.0\.0\.1:(\d+)", line):
                if port != nats_port and "http" in line.lower():
                    return f"127.0.0.1:{port}"
        return None

    def get(self, path, timeout=5.0):
        """(HTTP status, text); (0, reason) when nobody answers."""
        address = self.http()
        if not address:
            return 0, "the log names no address"
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=scaled(timeout)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def wait_ready(self, timeout=15.0):
        def ready():
            if not self.is_running():
                raise AssertionError(f"{self.name} ended with {self.process.returncode} before it was ready")
            return self.is_ready()

        wait_until(f"{self.name} is ready", ready, timeout, longest_pause=0.005)
        return self

    def metrics(self):
        """{"name{labels}": value} of /metrics."""
        status, text = self.get("/metrics")
        if status != 200:
            raise AssertionError(f"{self.name}: /metrics answered {status} {text}")
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples


class World:
    """`lingers`: its processes may outlive this one (the demo's KEEP=1)."""

    def __init__(self, name, lingers=False):
        self.name, self.lingers = name, lingers
        self.directory = tempfile.mkdtemp(prefix=f"compozy-{name.rpartition('.')[2][:24]}-")
        self.nats = None
        self.journal = None  # of journal.py: then the daemons log to it
        self.processes = []
        self.clients = []
        self.failed = False
        self.keep_directory = False
        _worlds.append(self)

    def server(self, jetstream=False, arguments=(), monitored=False, config=None, access=None):
        server = NatsServer(self, jetstream, "nats", arguments, monitored, config, access)
        self.processes.append(server)
        self.nats = server
        return server.start()

    def add(self, process):
        self.processes.append(process)
        return process

    def dispatcher(self, name="d1", options=None, wait=True, url=None, arguments=()):
        options = dict({"dispatcher.id": name}, **(options or {}))
        return self.add(Daemon(self, "compozy-dispatcherd", name, options, url, arguments)).start(wait)

    def agents_dir(self, name, agents):
        """Writes definition files: {id: type} or {id: definition}."""
        directory = os.path.join(self.directory, name + ".agents.d")
        os.makedirs(directory, exist_ok=True)
        for agent, given in agents.items():
            definition = {"agent_id": agent, "agent_type": given} if isinstance(given, str) else dict(given, agent_id=agent)
            with open(os.path.join(directory, agent + ".json"), "w", encoding="utf-8") as file:
                json.dump(definition, file)
        return directory

    def runtime(self, name="r1", agents=None, options=None, wait=True, url=None, runtime_id=None, arguments=()):
        directory = self.agents_dir(name, AGENTS if agents is None else agents)
        options = dict({"runtime.id": runtime_id or name, "runtime.agents_dir": directory}, **(options or {}))
        return self.add(Daemon(self, "compozy-runtimed", name, options, url, arguments)).start(wait)

    def client(self, name="test", **access):
        client = natsclient.Client(self.nats.url, name, timeout=scaled(5), **(access or self.nats.access))
        self.clients.append(client)
        return client

    def complaints(self):
        """What no test may leave behind: a daemon that ended by itself, a sanitizer's report."""
        found = []
        for process in self.processes:
            if process.process is None:
                continue
            if not process.is_running() and not process.expected:
                found.append(f"{process.name} ended by itself with status {process.process.returncode}")
            report = SANITIZER.search(process.log(since=0)) if isinstance(process, Daemon) else None
            if report:
                found.append(f"{process.name} printed a report: {report.group(0)}")
        return found

    def mark_logs(self):
        """What is in the logs by now belongs to an earlier test."""
        for process in self.processes:
            process.log_mark = os.path.getsize(process.log_path) if os.path.exists(process.log_path) else 0

    def show_logs(self, n_lines=60):
        for process in self.processes:
            if not os.path.exists(process.log_path):
                continue
            lines = process.log(since=process.log_mark).splitlines()
            if isinstance(process, NatsServer):
                lines = lines[-5:]
            state = "running" if process.is_running() else f"ended: {process.process and process.process.returncode}"
            print(f"--- {process.name} ({state}): {' '.join(process.arguments)}", file=sys.stderr)
            show_lines(lines, n_lines)
        for path in sorted(glob.glob(os.path.join(self.directory, "*.log"))):
            if path in [process.log_path for process in self.processes]:
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                print(f"--- {os.path.basename(path)}", file=sys.stderr)
                show_lines(file.read().splitlines(), n_lines)
        if self.journal:
            print("--- the journal", file=sys.stderr)
            self.journal.show(sys.stderr)
        sys.stderr.flush()

    def close(self):
        for client in self.clients:
            client.close()
        if self.journal:
            self.journal.close()
        for process in reversed(self.processes):
            if process.process is not None:
                process.end()
        if self.keep_directory or self.failed and os.environ.get("KEEP_LOGS"):
            print(f"logs: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self in _worlds:
            _worlds.remove(self)


def close_all():
    """For the way out after an interrupt."""
    for world in list(_worlds):
        world.close()


class Case(unittest.TestCase):
    """
    One world per test, or one for all tests of a class where `shared` is set: then build() is called once. `waits`: mostly waiting, so
    run.py may run it beside the others. `bound`: seconds after which run.py ends the unit.
    """

    shared = False
    waits = False
    bound = 90.0
    maxDiff = None
    longMessage = True

    def build(self):
        """Starts what every test of the class needs."""

    @classmethod
    def tearDownClass(cls):
        world = cls.__dict__.get("_shared_world")
        if world:
            world.close()

    def setUp(self):
        cls = type(self)
        if self.shared and "_shared_world" in cls.__dict__:
            self.__dict__.update(cls._shared_state)
            self.world.mark_logs()
            return
        self.world = World(self.id())
        if self.shared:
            cls._shared_world = self.world
        else:
            self.addCleanup(self.world.close)
        before = set(self.__dict__)
        try:
            self.build()
        except BaseException:
            self._show()
            raise
        if self.shared:
            cls._shared_state = {name: value for name, value in self.__dict__.items() if name not in before}
            cls._shared_state["world"] = self.world

    def _show(self):
        self.world.failed = True
        print(f"=== {self.id()}", file=sys.stderr)
        self.world.show_logs()

    def _callTestMethod(self, method):
        try:
            method()
            complaints = self.world.complaints()
            if complaints:
                raise AssertionError("; ".join(complaints))
        except unittest.SkipTest:
            raise
        except BaseException:
            self._show()
            raise

    # the operator's tool

    def ctl(self, *words, stdin="", url=None, environment=None, timeout=30.0):
        """Runs compozyctl with a home of its own; stdout, stderr and returncode as subprocess.run() gives them."""
        home = os.path.join(self.world.directory, "home")
        os.makedirs(home, exist_ok=True)
        variables = {**os.environ, "HOME": home, "NATS_URL": url or self.world.nats.url, **(environment or {})}
        for name in ("XDG_CONFIG_HOME", "COMPOZY_CONTEXT"):
            if name not in (environment or {}):
                variables.pop(name, None)
        try:
            done = subprocess.run([os.path.join(BIN, "compozyctl"), *map(str, words)], input=stdin, env=variables, text=True,
                                  capture_output=True, timeout=scaled(timeout), check=False)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"compozyctl {words} did not end within {error.timeout:.0f} s: {error.stdout} {error.stderr}") from None
        if SANITIZER.search(done.stderr):
            raise AssertionError(f"compozyctl {words}: {done.stderr}")
        return done

    def ctl_ok(self, *words, **more):
        """What it prints on stdout."""
        done = self.ctl(*words, **more)
        self.assertEqual(done.returncode, 0, (words, done.stdout, done.stderr))
        return done.stdout

    def ctl_json(self, *words, **more):
        return json.loads(self.ctl_ok("--json", *words, **more))

    def ctl_fails(self, status, part, *words, **more):
        """It ends with that status, and says that on stderr, without which nobody knows what to do."""
        done = self.ctl(*words, **more)
        self.assertEqual(done.returncode, status, (words, done.stdout, done.stderr))
        self.assertIn(part, done.stderr)
        return done.stderr

    # what many tests ask

    def verb(self, name, body=None, client=None, timeout=5.0):
        """The answer of one dispatcher's verb, as a dict."""
        answer = (client or self.client).request(f"{VERBS}.{name}", body if body is not None else {}, patience(timeout))
        return answer.json()

    def verb_ok(self, name, body=None, client=None):
        answer = self.verb(name, body, client)
        self.assertIs(answer.get("ok"), True, f"{name} {body}: {answer}")
        return answer["result"]

    def verb_error(self, name, body=None, code=None, client=None):
        answer = self.verb(name, body, client)
        self.assertIs(answer.get("ok"), False, f"{name} {body}: {answer}")
        if code:
            self.assertEqual(answer["error"]["code"], code, answer)
        self.assertTrue(answer["error"].get("message"), answer)
        return answer["error"]

    def ask_runtime(self, verb, body=None, runtime="r1", client=None, timeout=10.0):
        """The answer of a runtime's control verb, as a dict."""
        subject = f"{PREFIX}.runtime.{runtime}.control.{verb}"
        return (client or self.client).request(subject, body if body is not None else {}, patience(timeout)).json()

    def control(self, verb, body=None, runtime="r1", client=None, timeout=10.0):
        """The result of a control verb; `body` may be just the agent's id."""
        body = {"agent_id": body} if isinstance(body, str) else body
        answer = self.ask_runtime(verb, body, runtime, client, timeout)
        self.assertIs(answer.get("ok"), True, f"{verb} {body}: {answer}")
        return answer["result"]

    def control_error(self, verb, body=None, code=None, runtime="r1", client=None):
        body = {"agent_id": body} if isinstance(body, str) else body
        answer = self.ask_runtime(verb, body, runtime, client)
        self.assertIs(answer.get("ok"), False, f"{verb} {body}: {answer}")
        if code:
            self.assertEqual(answer["error"]["code"], code, answer)
        self.assertTrue(answer["error"].get("message"), answer)
        return answer["error"]

    def create(self, agent, kind="echo", topics=(), runtime="r1", **definition):
        """create_agent; `kind`: an agent_type, or what a definition begins with."""
        given = dict({"agent_type": kind} if isinstance(kind, str) else kind, agent_id=agent, **definition)
        if topics:
            given["subscribed_topics"] = list(topics)
        return self.control("create_agent", given, runtime)

    def agent_state(self, agent, runtime="r1"):
        """Its state, or None: there is no such agent."""
        answer = self.ask_runtime("get_agent", {"agent_id": agent}, runtime)
        return answer["result"]["state"] if answer["ok"] else None

    def wait_agent(self, agent, state="running", runtime="r1", timeout=10.0):
        wait_until(f"agent {agent} is {state}", lambda: self.agent_state(agent, runtime) == state, timeout)

    def runtimes(self, client=None):
        """{runtime_id: record} as one dispatcher sees it; "gone" ones left out."""
        records = self.verb_ok("list_runtimes", client=client)["runtimes"]
        return {record["runtime_id"]: record for record in records if record.get("state") != "gone"}

    def wait_runtimes(self, *ids, state="live", timeout=10.0):
        """Until a dispatcher knows exactly these runtimes, all in that state."""

        def known():
            found = {key: record["state"] for key, record in self.runtimes().items()}
            return found == {key: state for key in ids} or False

        return wait_until(f"the runtimes {', '.join(ids)} are {state}", known, timeout)

    def trigger(self, agent, body=None, workflow="adhoc", timeout=10.0, client=None, headers=None):
        """A trigger with the NATS reply subject; returns the result as a dict."""
        subject = f"{PREFIX}.commands.agent.{workflow}.trigger.{agent}"
        message = (client or self.client).request(subject, body if body is not None else {}, scaled(timeout), headers)
        return message.json()

    def trigger_input(self, agent, value, timeout=10.0, **payload):
        return self.trigger(agent, {"payload": dict(payload, context={"input": value})}, timeout=timeout)

    def assert_success(self, result, output=None):
        self.assertEqual(result["metadata"]["type"], "AgentExecutionResult", result)
        self.assertEqual(result["payload"]["status"], "SUCCESS", result)
        if output is not None:
            self.assertEqual(result["payload"]["result"]["output"], output)

    def assert_failure(self, result, code, status="FAILURE"):
        self.assertEqual(result["metadata"]["type"], "AgentExecutionResult", result)
        self.assertEqual(result["payload"]["status"], status, result)
        error = result["payload"]["result"]["error"]
        self.assertEqual(error["code"], code, result)
        self.assertTrue(error["message"], result)
        return error
