# SPDX-License-Identifier: MIT
"""compozyctl up: a sandbox that is ready when it says so, follows what is edited, and leaves nothing behind."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import unittest

import natsclient
from harness import BIN, NATS_SERVER, PREFIX, ROOT, Case, is_alive, scaled, wait_until
from test_plugin import COMPILER, GREETER


def descendants(pid):
    """{pid: program} of all processes below that one."""
    parents = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                head, _, rest = file.read().rpartition(")")
                parents[int(entry)] = (int(rest.split()[1]), head.partition("(")[2])
        except (ValueError, OSError):
            pass
    found, todo = {}, [pid]
    while todo:
        one = todo.pop()
        for child, (parent, name) in parents.items():
            if parent == one:
                found[child] = name
                todo.append(child)
    return found


class Up(Case):
    def build(self):
        self.agents = self.world.agents_dir("up", {"greeter": "echo", "tally": "counter"})
        self.temporary = os.path.join(self.world.directory, "tmp")
        os.makedirs(self.temporary)
        self.environment = {key: value for key, value in os.environ.items() if key not in ("NATS_URL", "NO_COLOR")}
        self.environment["TMPDIR"] = self.temporary
        self.process = None

    def start(self, *words, **how):
        """The process, whose stdout is a pipe and whose stderr a file."""
        self.log_path = os.path.join(self.world.directory, "up.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BIN, "compozyctl"), "up", "--nats-server", NATS_SERVER, *words], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment, cwd=self.world.directory, start_new_session=True, **how)
        self.addCleanup(self.end)
        return self.process

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(scaled(10))
        self.process.stdout.close()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def start_ready(self, *words):
        """What it says of itself when it is ready, and a client."""
        self.start("--json", *words)
        line = self.process.stdout.readline()
        self.assertTrue(line, self.log())
        told = json.loads(line)
        self.client = natsclient.Client(told["nats_url"], "test", timeout=scaled(5))
        self.world.clients.append(self.client)
        self.started = descendants(self.process.pid)
        self.assertGreaterEqual(len(self.started), 3 if "--runtimes" not in words else 4, self.started)
        return told

    def run_up(self, *words):
        process = self.start(*words)
        out = process.communicate(timeout=scaled(30))[0]
        return process.returncode, out

    def assert_nothing_is_left(self):
        wait_until("all that it started is gone", lambda: not [pid for pid in self.started if is_alive(pid)])

    def output(self, agent, value):
        return self.trigger_input(agent, value)["payload"]["result"]["output"]

    def test_when_it_says_so_agents_answer_and_ctrl_c_ends_all_in_order(self):
        told = self.start_ready(self.agents, "--runtimes", "2")
        self.assertEqual(told["agents"], 2)
        self.assertEqual(self.output("greeter", "hi"), "hi")
        self.assertEqual({key for key in self.runtimes()}, {"r1", "r2"})
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(scaled(20)), 0, self.log())
        self.assert_nothing_is_left()
        self.assertEqual(os.listdir(self.temporary), [])
        order = [self.log().index(part) for part in ("Runtime r1 stopped", "Dispatcher d1 was asked to stop", "Dispatcher d1 stopped")]
        self.assertEqual(order, sorted(order))

    def test_what_is_edited_takes_effect(self):
        self.start_ready(self.agents)
        def is_read_again(times):
            wait_until(f"it was read again {times} times", lambda: self.log().count("Configuration was read again") == times)

        def replace(text):  # as editors do
            with open(os.path.join(self.agents, "new.json~"), "w", encoding="ascii") as file:
                file.write(text)
            os.rename(file.name, os.path.join(self.agents, "new.json"))

        replace('{"agent_id": "new", "agent_type": "echo"}')
        is_read_again(1)
        self.assertEqual(self.output("new", [1]), [1])
        os.unlink(os.path.join(self.agents, "tally.json"))
        is_read_again(2)
        wait_until("the old one is gone", lambda: {one["agent_id"] for one in self.verb_ok("list_agents")["agents"]} == {"greeter", "new"})
        with open(os.path.join(self.agents, ".new.json.swp"), "w", encoding="ascii"):
            pass
        replace("{")
        is_read_again(3)
        self.assertIn("Agent definition new.json was refused", self.log())

    def write_program(self, word):
        """Slow to start; the state is how often it has answered."""
        path = os.path.join(self.world.directory, "say.py")
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write("import json, sys, time\nn = 0\nfor line in sys.stdin:\n    request = json.loads(line)\n    result = {}\n"
                       "    if request['method'] == 'initialize':\n        n = request['params'].get('state') or 0\n        time.sleep(0.3)\n"
                       f"    elif request['method'] == 'handle':\n        n += 1\n        result = {{'output': ['{word}', n]}}\n"
                       "    elif request['method'] == 'checkpoint':\n        result = {'state': n}\n"
                       "    print(json.dumps({'id': request['id'], 'result': result}), flush=True)\n")
        os.rename(path + ".new", path)  # as editors do

    def test_an_agent_is_started_again_when_its_program_is_edited_and_refuses_nothing_meanwhile(self):
        self.write_program("first")
        with open(os.path.join(self.agents, "say.json"), "w", encoding="ascii") as file:
            json.dump({"agent_id": "say", "agent_type": "exec", "exec": {"command": [sys.executable, "say.py"]}}, file)
        self.start_ready(self.agents)
        self.assertEqual(self.output("say", 1), ["first", 1])
        self.write_program("second")
        answers = [["first", 1]]

        def next_answer():
            answer = self.trigger_input("say", 1)
            self.assert_success(answer)  # never AGENT_STOPPED
            answers.append(answer["payload"]["result"]["output"])
            return answers[-1][0]

        wait_until("the new program answers", lambda: next_answer() == "second")
        self.assertEqual([n for _, n in answers], list(range(1, len(answers) + 1)))
        self.assertEqual(self.log().count("starting agent say again"), 0)  # --json: no notes
        self.assertEqual(self.output("greeter", 2), 2)
        os.truncate(os.path.join(self.world.directory, "say.py"), 30)  # breaks it
        wait_until("it has failed", lambda: "Agent say has failed" in self.log(), 20)
        self.write_program("third")
        wait_until("it is repaired", lambda: self.trigger_input("say", 1)["payload"].get("result", {}).get("output", [""])[0] == "third", 20)

    @unittest.skipUnless(COMPILER, "there is no C compiler")
    def test_the_runtimes_are_started_again_when_a_plugin_is_edited(self):
        def compile_plugin(word):
            source = GREETER.replace('\\"greeting\\"', f'\\"{word}\\"')
            path = os.path.join(self.agents, "plugins", "greeter.so")
            subprocess.run([*shlex.split(COMPILER), "-shared", "-fPIC", '-DPLUGIN_NAME="greeter"', "-I", ROOT, "-x", "c", "-", "-o", path],
                           input=source.encode(), check=True)
            os.chmod(path, 0o755)

        os.makedirs(os.path.join(self.agents, "plugins"))
        compile_plugin("hello")
        with open(os.path.join(self.agents, "polite.json"), "w", encoding="ascii") as file:
            json.dump({"agent_id": "polite", "agent_type": "plugin", "plugin": "greeter", "parameters": {"a": 1}}, file)
        self.start_ready(self.agents)
        self.assertEqual(self.output("polite", 1), {"hello": {"a": 1}, "times": 1})
        compile_plugin("goodbye")
        wait_until("the new one answers", lambda: "goodbye" in (self.trigger_input("polite", 1)["payload"].get("result", {}).get("output") or {}), 20)
        self.assertNotIn("it is started again in a second", self.log())
        self.assertEqual(self.output("greeter", 2), 2)

    def test_what_dies_is_reported_and_started_again(self):
        self.start_ready(self.agents)
        for program in ("compozy-runtim", "compozy-dispatc", "nats-server"):
            pid = [pid for pid, name in descendants(self.process.pid).items() if name.startswith(program)][0]
            os.kill(pid, signal.SIGKILL)
            wait_until(f"{program} runs again",
                       lambda p=program, old=pid: [one for one, name in descendants(self.process.pid).items() if name.startswith(p) and one != old])
        self.client.close()
        self.client = wait_until("the server listens where it did", lambda: self.connect())
        wait_until("it answers", lambda: self.trigger_input("greeter", 1)["payload"]["status"] == "SUCCESS", 15)
        self.assertIn("r1 was killed by signal 9", self.log())
        self.started = descendants(self.process.pid)
        self.process.send_signal(signal.SIGHUP)  # the terminal was closed
        self.assertEqual(self.process.wait(scaled(20)), 0, self.log())
        self.assert_nothing_is_left()

    def connect(self):
        url = re.search(r"nats://127\.0\.0\.1:\d+", self.log()).group(0)
        try:
            client = natsclient.Client(url, "again", timeout=scaled(5))
        except (OSError, natsclient.NatsError):
            return None
        self.world.clients.append(client)
        return client

    def test_nothing_survives_its_death(self):
        self.start_ready(self.agents)
        self.process.kill()
        self.process.wait(10)
        self.assert_nothing_is_left()

    def test_a_command_runs_in_it_and_its_status_is_that_of_all(self):
        ctl = os.path.join(BIN, "compozyctl")
        status, out = self.run_up(self.agents, "--", "sh", "-c", f"{ctl} agents --json; echo $COMPOZY_CONTEXT; exit 42")
        self.assertEqual(status, 42, self.log())
        self.assertEqual([one["agent_id"] for one in json.loads(out.splitlines()[0])["agents"]], ["greeter", "tally"])
        self.assertEqual(self.log(), "")
        self.assertEqual(self.run_up(self.agents, "--", "sh", "-c", "kill -9 $$")[0], 137)
        self.assertEqual(self.run_up(self.agents, "--", "no-such-program")[0], 127)
        self.assertEqual(os.listdir(self.temporary), [])

    def test_beside_a_command_errors_are_shown_and_nothing_else(self):
        with open(os.path.join(self.agents, "broken.json"), "w", encoding="ascii") as file:
            file.write("{")
        self.assertEqual(self.run_up(self.agents, "--", "true")[0], 0)
        self.assertRegex(self.log(), r"\Ar1 .* ERROR +Agent definition broken.json was refused: [^\n]*\n\Z")

    def test_it_is_ready_when_agents_listen(self):
        program = os.path.join(self.world.directory, "slow.py")
        with open(program, "w", encoding="ascii") as file:
            file.write("import json, sys, time\nfor line in sys.stdin:\n    request = json.loads(line)\n"
                       "    if request['method'] == 'initialize':\n        time.sleep(0.7)\n"
                       "    result = {'output': 'heard'} if request['method'] == 'handle' else {}\n"
                       "    print(json.dumps({'id': request['id'], 'result': result}), flush=True)\n")
        with open(os.path.join(self.agents, "slow.json"), "w", encoding="ascii") as file:
            json.dump({"agent_id": "slow", "agent_type": "exec", "exec": {"command": [sys.executable, program]},
                       "subscribed_topics": ["slow.news"]}, file)
        status, out = self.run_up(self.agents, "--", os.path.join(BIN, "compozyctl"), "send", "slow.news", "1", "--wait")
        self.assertEqual((status, out.strip()), (0, '"heard"'), self.log())

    def test_it_suggests_an_agent_that_can_run(self):
        with open(os.path.join(self.agents, "broken.json"), "w", encoding="ascii") as file:
            json.dump({"agent_id": "broken", "agent_type": "exec", "exec": {"command": ["/no/such/program"]}}, file)
        process = self.start(self.agents)
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            self.assertTrue(lines[-1], self.log())
        text = "".join(lines)
        self.assertIn("The sandbox is ready: 3 agents: broken (failed), greeter, tally", text)
        self.assertIn("compozyctl trigger greeter ", text)

    def test_a_signal_for_it_reaches_the_command(self):
        ready = os.path.join(self.world.directory, "ready")
        self.start(self.agents, "--", sys.executable, "-c",
                   "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
                   f"open({ready!r}, 'w').close(); signal.pause()")
        wait_until("the command runs", lambda: os.path.exists(ready), 20)
        self.process.terminate()
        self.assertEqual(self.process.wait(scaled(20)), 7, self.log())

    def test_states_are_kept_where_it_is_told_to(self):
        state = os.path.join(self.world.directory, "state")
        ctl = os.path.join(BIN, "compozyctl")
        for wanted in (1, 2):
            self.start_ready(self.agents, "--state", state)
            self.assertEqual(self.output("tally", None), {"count": wanted})
            if wanted == 2:
                other = subprocess.run([ctl, "up", self.agents, "--state", state, "--nats-server", NATS_SERVER], capture_output=True, text=True,
                                       timeout=scaled(20), env=self.environment, check=False)
                self.assertEqual(other.returncode, 1)
                self.assertIn("another sandbox is using it", other.stderr)
            self.process.terminate()
            self.assertEqual(self.process.wait(scaled(20)), 0, self.log())

    def test_what_is_missing_or_wrong_is_said(self):
        for status, part, words in (
                (2, "there is no ./agents.d here", ()), (2, "No such file", ("nowhere",)), (2, "that is no directory", (os.path.abspath(__file__),)),
                (2, "a command stands behind \"--\"", (self.agents, "ls")), (1, "/no/server was not found", (self.agents, "--nats-server", "/no/server")),
                (2, "is not within 1 to 32", (self.agents, "--runtimes", "33")), (2, "have no meaning here", (self.agents, "-s", "nats://x")),
                (1, "r1 ended with status", (self.agents, "--runtime-option", "runtime.nonsense=1", "--logs", "none"))):
            with self.subTest(words=words):
                before = len(self.log()) if self.process else 0
                got, _ = self.run_up(*words)
                said = self.log()[before:]
                self.assertIn(part, said)
                self.assertEqual(got, status, said)
        self.assertIn("runtime.nonsense", self.log())  # the kept lines say why
        self.assertNotIn(PREFIX + "-up-", " ".join(os.listdir(self.temporary)))


if __name__ == "__main__":
    unittest.main()
