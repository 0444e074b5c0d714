# SPDX-License-Identifier: MIT
"""compozyctl: what operators type about dispatchers, runtimes and agents, and what it says when that is nonsense."""

import json
import os
import pty
import select
import shutil
import signal
import stat
import subprocess
import threading
import unittest

from harness import BIN, PREFIX, Case, exec_agent, scaled, wait_until


class Ctl(Case):
    shared = True

    def build(self):
        self.world.server()
        self.world.dispatcher("d1")
        self.world.dispatcher("d2")
        for name, zone in (("r1", "a"), ("r2", "b")):
            self.world.runtime(name, options={"runtime.labels": f"zone={zone}"})
        self.client = self.world.client()
        self.wait_runtimes("r1", "r2")

    def test_status_names_every_dispatcher(self):
        parts = ("d1", "d2", self.world.nats.url, "All is well.")
        wait_until(f"it says {parts}", lambda: all(part in self.ctl_ok("status") for part in parts))
        told = self.status_of_both()
        self.assertEqual(told["nats"], self.world.nats.url)
        self.assertGreater(told["rtt_us"], 0)

    def status_of_both(self):
        """Of all dispatchers that answered soon enough, and both did."""
        def told():
            answer = self.ctl_json("status")
            return answer if [one["dispatcher_id"] for one in answer["dispatchers"]] == ["d1", "d2"] else None

        return wait_until("both dispatchers are there", told)

    def test_not_all_is_well_while_an_agent_has_failed(self):
        runtime = self.world.runtime("r3", {"broken": {"agent_type": "exec", "exec": {"command": ["/nonexistent"]}}})
        self.addCleanup(runtime.terminate)
        wait_until("the status tells of it", lambda: "An agent has failed in 1 place, and takes no work there" in self.ctl_ok("status"))
        self.assertNotIn("All is well.", self.ctl_ok("status"))
        wait_until("both know it", lambda: [one["agents_failed"] for one in self.status_of_both()["dispatchers"]] == [1, 1])
        self.assertIn("broken has failed in r3: `compozyctl agent show broken --runtime r3` says why", self.ctl_ok("agents"))
        self.assertEqual([one["failed_in"] for one in self.ctl_json("agents")["agents"] if one["failed_in"]], [["r3"]])
        self.assertIn("the agent is stopped there, or has failed", self.ctl_ok("why", "broken"))
        runtime.terminate()
        wait_until("it is gone with its runtime", lambda: "All is well." in self.ctl_ok("status"))

    def test_runtimes_are_listed_and_filtered(self):
        lines = self.ctl_ok("runtimes").splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["RUNTIME", "r1", "r2"])
        self.assertIn("zone=b", lines[2])
        wait_until("both are live", lambda: len(self.ctl_json("runtimes", "--state", "live")["runtimes"]) == 2)
        self.assertEqual(self.ctl_json("runtimes", "--state", "draining")["runtimes"], [])
        self.assertEqual(self.ctl("runtimes", "--state", "draining").stdout, "")
        self.assertEqual(len(self.ctl_json("runtimes", "-n", 1)["runtimes"]), 1)

    def test_one_runtime_is_shown_from_both_sides(self):
        text = self.ctl_ok("runtime", "show", "r2")
        for part in ("zone=b", "Says of itself", "registered"):
            self.assertIn(part, text)
        told = self.ctl_json("runtime", "show", "r2")
        self.assertEqual(told["runtime"]["runtime_id"], told["status"]["runtime_id"])

    def test_a_drained_runtime_gets_nothing_until_it_is_resumed(self):
        self.assertIn("r1: drained", self.ctl_ok("runtime", "drain", "r1", "--wait"))
        self.assertIn("1 runtime is draining", self.ctl_ok("status"))
        self.assertIn("no ", [line for line in self.ctl_ok("why", "greeter").splitlines() if line.startswith("r1")][0])
        self.assertIn("r1: ", self.ctl_ok("runtime", "resume", "r1"))
        wait_until("r1 is live", lambda: self.ctl_json("runtime", "show", "r1")["runtime"]["state"] == "live")

    def test_a_drain_that_takes_longer_than_wanted_says_so_and_goes_on(self):
        gate = os.path.join(self.world.directory, "gate")
        self.create("holder", exec_agent(), runtime="r2")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.holder",
                            {"payload": {"deadline_ms": 60000, "context": {"input": {"do": "wait_for", "path": gate}}}}, "x.y")
        wait_until("r2 works on it", lambda: self.ctl_json("runtime", "show", "r2")["status"]["in_flight"] == 1)
        self.ctl_fails(5, "r2 still has 1 executions; it goes on draining", "runtime", "drain", "r2", "--wait", "--wait-timeout", "300ms")
        with open(gate, "w", encoding="ascii"):
            pass
        self.assertIn("r2: drained", self.ctl_ok("runtime", "drain", "r2", "--wait"))
        self.ctl_ok("runtime", "resume", "r2")
        self.control("delete_agent", "holder", "r2")

    def test_agents_are_listed_everywhere_and_in_one_runtime(self):
        everywhere = {one["agent_id"]: one["runtimes"] for one in self.ctl_json("agents")["agents"]}
        self.assertEqual(everywhere["greeter"], ["r1", "r2"])
        lines = [line for line in self.ctl_ok("agents", "--runtime", "r1").splitlines() if line.startswith("greeter")]
        self.assertIn("running", lines[0])

    def test_the_life_of_an_agent(self):
        self.assertEqual(self.ctl_ok("agent", "create", "--id", "tom", "--type", "echo", "--label", "zone=b"), "tom on r2: running\n")
        self.ctl_fails(6, "AGENT_EXISTS", "agent", "create", '{"agent_id":"tom","agent_type":"echo"}')
        self.assertIn("echo", self.ctl_ok("agent", "show", "tom"))
        self.assertIn("paused", self.ctl_ok("agent", "pause", "tom"))
        self.assertIn("running", self.ctl_ok("agent", "resume", "tom"))
        self.ctl_fails(6, "INVALID_TRANSITION", "agent", "resume", "tom")
        self.ctl_ok("agent", "subscribe", "tom", "news.*", "--qos", "realtime", "--queue", "readers")
        self.ctl_fails(6, "ALREADY_SUBSCRIBED", "agent", "subscribe", "tom", "news.*")
        told = {one["topic"]: one for one in self.ctl_json("agent", "subscriptions", "tom")["subscriptions"]}
        self.assertEqual((told["news.*"]["queue"], told["news.*"]["qos"]), ("readers", "realtime"))
        self.assertIn("agent.tom.replies", self.ctl_ok("agent", "subscriptions", "tom"))
        self.ctl_ok("agent", "unsubscribe", "tom", "news.*")
        self.ctl_fails(6, "REPLY_TOPIC_MANAGED", "agent", "unsubscribe", "tom", "agent.tom.replies")
        self.assertIn("stopped", self.ctl_ok("agent", "stop", "tom", "--mode", "discard"))
        self.assertIn("running", self.ctl_ok("agent", "start", "tom"))
        self.assertIn("deleted", self.ctl_ok("agent", "delete", "tom"))
        self.ctl_fails(6, "AGENT_UNKNOWN", "agent", "show", "tom")

    def test_a_definition_comes_from_a_file_or_standard_input(self):
        path = os.path.join(self.world.directory, "definition.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump({"agent_id": "filed", "agent_type": "counter"}, file)
        self.ctl_ok("agent", "create", f"@{path}")
        self.ctl_ok("agent", "create", "-", "--runtime", "r1", stdin='{"agent_id":"piped","agent_type":"echo"}')
        self.assertEqual(self.ctl_json("agent", "show", "piped")["runtime_id"], "r1")
        self.ctl_fails(6, "STATE_ERROR", "agent", "checkpoint", "filed")  # this runtime has no store
        for agent in ("filed", "piped"):
            self.ctl_ok("agent", "delete", agent)
        self.ctl_fails(2, "/no/such/file", "agent", "create", "@/no/such/file")
        self.ctl_fails(2, "no JSON: line 1", "agent", "create", "nonsense")
        self.ctl_fails(2, "a definition is a JSON object", "agent", "create", "[1]")

    def test_an_agent_in_several_places_must_be_pointed_at(self):
        self.assertIn("--runtime", self.ctl_fails(2, "greeter is in several places (r1, r2)", "agent", "pause", "greeter"))
        self.assertIn("paused", self.ctl_ok("agent", "pause", "greeter", "--runtime", "r1"))
        self.assertIn("running", self.ctl_ok("agent", "resume", "greeter", "-r", "r1"))

    def test_why_explains_agents_and_executions_whoever_took_them(self):
        self.assertIn("the less loaded of two random ones", self.ctl_ok("why", "greeter"))
        for number in range(6):
            answer = self.trigger_input("greeter", number)
            exec_id = answer.json()["agent"]["exec_id"] if hasattr(answer, "json") else answer["agent"]["exec_id"]
            wait_until("it has ended", lambda e=exec_id: self.ctl_json("why", e)["phase"] == "ended")
            self.assertIn("SUCCESS", self.ctl_ok("why", exec_id))
        self.ctl_fails(6, "no execution that a dispatcher remembers", "why", "nobody-knows")

    def test_nonsense_is_a_usage_error_that_names_what_is_wrong(self):
        for part, words in (("no such command", ["frobnicate"]), ("agent needs one of show, create", ["agent"]),
                            ("agent jump: no such command", ["agent", "jump"]), ("needs RUNTIME", ["runtime", "show"]),
                            ("takes no word \"more\"", ["status", "more"]), ("--no-such", ["status", "--no-such"]),
                            ("-n needs a value", ["runtimes", "-n"]), ("\"x\" is no number", ["runtimes", "-n", "x"]),
                            ("none of all, joining", ["runtimes", "--state", "odd"]), ("is no duration", ["status", "-t", "soon"]),
                            ('RUNTIME: "a.b" is no id', ["runtime", "show", "a.b"]), ('AGENT|EXEC_ID: "a b" is no id', ["why", "a b"]), ('AGENT: "*" is no id', ["agent", "show", "*"]),
                            ("NAME=VALUE", ["agent", "create", "--label", "x"]), ("nats.nonsense", ["status", "-o", "nats.nonsense=1"])):
            self.ctl_fails(2, part, *words)
        self.assertEqual(self.ctl("--help").returncode, 0)
        self.assertEqual(self.ctl().returncode, 2)
        self.assertIn("compozyctl 0.", self.ctl_ok("--version"))

    def test_every_command_has_help_and_errors_are_json_for_programs(self):
        told = self.ctl_json("help")
        self.assertGreater(len(told["commands"]), 20)
        for command in told["commands"]:
            text = self.ctl_ok(*command["name"].split(), "--help")
            self.assertTrue(text.startswith(f"Usage: compozyctl {command['name']}"), text)
            for option in command["options"]:
                self.assertIn(f"--{option['name']}", text)
                self.assertIn(option["help"], text)
        for words in (("agent", "--help"), ("--help", "agent"), ("help", "agent")):
            self.assertIn("agent unsubscribe", self.ctl_ok(*words))
        error = json.loads(self.ctl_fails(6, "AGENT_UNKNOWN", "--json", "agent", "show", "nobody"))["error"]
        self.assertEqual(error["code"], "AGENT_UNKNOWN")

    def test_completion_knows_commands_options_and_ids(self):
        def candidates(*words):
            return [line.split("\t")[0] for line in self.ctl_ok("__complete", "--", *words).splitlines()]

        def asks_for(wanted, *words):  # it waits for nobody longer than a keystroke may take: on a busy machine that is too short now and then
            wait_until(f"{words} gives {wanted}", lambda: candidates(*words) == wanted, 20)

        self.assertIn("runtimes", candidates("r"))
        self.assertEqual(candidates("runtime", "dr"), ["drain"])
        asks_for(["r1", "r2"], "runtime", "drain", "")
        asks_for(["r2"], "runtime", "drain", "r1", "r2")
        asks_for(["greeter"], "--json", "agent", "show", "g")
        asks_for(["r1", "r2"], "agent", "show", "-r", "")
        asks_for(["-rr1", "-rr2"], "agent", "show", "-rr")
        self.assertEqual(candidates("runtimes", "--state", "s"), ["suspect"])
        self.assertEqual(candidates("runtimes", "--state=s"), ["--state=suspect"])
        self.assertIn("--runtime", candidates("agent", "show", "--"))
        self.assertEqual(self.ctl("-s", "nats://127.0.0.1:1", "__complete", "--", "agent", "show", "").stdout, "")

    def completes_at_a_terminal(self, shell, environment, setup, cases):
        """Types each line into a real shell; Control-A puts what prints the line it has become in front of it."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM="vt100", PATH=f"{BIN}:{os.environ['PATH']}", HOME=self.world.directory, **environment)
            os.execvp(shell[0], shell)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.addCleanup(os.close, terminal)
        seen = bytearray()

        def shows(text):
            while select.select([terminal], [], [], 0)[0]:
                seen.extend(os.read(terminal, 65536))
            return text in seen

        os.write(terminal, f"{setup}; echo re''ady\n".encode())
        wait_until("the shell is ready", lambda: shows(b"ready"), 20)
        for number, (typed, completed) in enumerate(cases):
            tries = iter(range(100))

            def becomes():  # again where the machine was too busy for an answer in time
                mark = f"<{number}.{next(tries)}>"
                os.write(terminal, f"{typed}\x01printf '<%s>' {mark[1:-1]} \n".encode())
                wait_until("it was run", lambda: shows(mark.encode()), 20)
                return shows((mark + "".join(f"<{word}>" for word in completed.split())).encode())

            wait_until(f"{typed!r} becomes {completed!r}", becomes, 20)

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_the_script_for_bash_completes_at_a_terminal(self):
        url, nowhere = self.world.nats.url, "nats://127.0.0.1:1"
        self.completes_at_a_terminal(["bash", "--norc", "--noprofile", "-i"], {"NATS_URL": nowhere}, "source <(compozyctl completion bash)", [
            (f"compozyctl --server {url} agent sh\tgree\t --run\t", f"compozyctl --server {url} agent show greeter --runtime"),
            (f"compozyctl -s{url} why gree\t", f"compozyctl -s{url} why greeter"),
            (f"compozyctl '--server={url}' why gree\t", f"compozyctl --server={url} why greeter"),
            (f"compozyctl -o nats.url={url} runtime drain r1 r2\t", f"compozyctl -o nats.url={url} runtime drain r1 r2"),
            (f'X=1:2 compozyctl --option="nats.url={url}" why "gree\t', f"X=1:2 compozyctl --option=nats.url={url} why greeter"),
            ("compozyctl runtimes --state=s\t", "compozyctl runtimes --state=suspect"),
            (f"compozyctl -s {nowhere} why gree\t", f"compozyctl -s {nowhere} why gree"),
            ("compozyctl frobni\tx", "compozyctl frobnix")])

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_the_script_for_zsh_completes_at_a_terminal(self):
        functions = os.path.join(self.world.directory, "functions")
        os.makedirs(functions)
        with open(os.path.join(functions, "_compozyctl"), "w", encoding="ascii") as file:
            file.write(self.ctl_ok("completion", "zsh"))
        url = self.world.nats.url
        self.completes_at_a_terminal(["zsh", "-f", "-i"], {"ZDOTDIR": functions, "NATS_URL": "nats://127.0.0.1:1"},
                                     f"fpath=({functions} $fpath); autoload -U compinit; compinit -u -d {functions}/dump", [
            (f"compozyctl --server {url} agent sh\tgree\t--run\t", f"compozyctl --server {url} agent show greeter --runtime"),
            (f"compozyctl '--server={url}' why gree\t", f"compozyctl --server={url} why greeter")])


class TwoDispatchers(Case):
    def test_why_does_not_say_that_nobody_knows_when_one_did_not_answer(self):
        self.world.server()
        first = self.world.dispatcher("d1")
        self.world.dispatcher("d2")
        self.client = self.world.client()
        wait_until("both are found", lambda: len(self.ctl_json("status")["dispatchers"]) == 2)
        # d1 answers the discovery and nothing else
        first.terminate()
        pong = {"name": "compozy-dispatcher", "id": "d1", "version": "0.1.0", "metadata": {"subject_prefix": PREFIX}}
        self.client.subscribe("$SRV.PING.compozy-dispatcher", lambda message: self.client.publish(message.reply, json.dumps(pong).encode()))
        self.client.subscribe(f"{PREFIX}.dispatcher.d1.control.*")
        self.client.flush()
        self.ctl_fails(5, "no answer on compozy.dispatcher.d1.control.explain", "-t", f"{scaled(500):.0f}ms", "why", "some-execution")

    def test_why_finds_an_execution_of_which_only_a_dispatcher_knows_that_is_slow_to_be_found(self):
        self.world.server()
        self.world.dispatcher("d1")
        client = self.world.client()
        slow = {"id": "d2", "metadata": {"subject_prefix": PREFIX}}
        known = {"ok": True, "result": {"agent_exec_id": "e-1", "phase": "ended", "dispatcher_id": "d2"}}

        def answer_later(message):
            threading.Timer(0.4, lambda: client.publish(message.reply, slow)).start()

        client.subscribe("$SRV.PING.compozy-dispatcher", answer_later)
        client.subscribe(f"{PREFIX}.dispatcher.d2.control.explain", lambda message: client.publish(message.reply, known))
        client.flush()
        wait_until("it is found", lambda: self.ctl("--json", "why", "e-1").returncode == 0)


class Connections(Case):
    def build(self):
        self.world.server()

    def test_what_is_not_there_is_named_with_what_to_do(self):
        self.ctl_fails(4, "is compozy-dispatcherd running", "status")
        self.ctl_fails(4, "is compozy-dispatcherd running", "agents")
        self.ctl_fails(4, "no runtime r9 is listening on compozy.runtime.r9.control.list_agents", "agents", "-r", "r9")
        self.ctl_fails(3, "is nats-server running there?", "status", url="nats://127.0.0.1:1")
        self.assertNotIn("secret", self.ctl_fails(3, "***@127.0.0.1:1", "status", url="nats://me:secret@127.0.0.1:1"))

    def test_an_answer_that_never_comes_is_a_time_out(self):
        client = self.world.client()
        client.subscribe(f"{PREFIX}.commands.agent_dispatcher.*")
        client.flush()
        ms = f"{scaled(200):.0f}"
        self.ctl_fails(5, f"within {ms} ms", "runtimes", "--timeout", f"{ms}ms")

    def test_what_a_stranger_answers_can_not_write_to_the_terminal(self):
        client = self.world.client()
        evil = {"ok": True, "result": {"total": 1, "runtimes": [{"runtime_id": "\x1b]0;title\x07", "hostname": "\x9b31m\u009b\n", "state": 7}]}}
        client.subscribe(f"{PREFIX}.commands.agent_dispatcher.*", lambda message: client.publish(message.reply, json.dumps(evil).encode()))
        client.flush()
        text = self.ctl_ok("runtimes")
        self.assertIn("\\x1b]0;title\\x07", text)
        self.assertFalse([c for c in text if c != "\n" and (ord(c) < 32 or 0x7f <= ord(c) < 0xa0)])
        circle = {"ok": True, "result": {"total": 1, "next": "r1", "runtimes": [{"runtime_id": "r1"}]}}
        round_client = self.world.client()
        round_client.subscribe("round.commands.agent_dispatcher.*", lambda message: round_client.publish(message.reply, json.dumps(circle).encode()))
        round_client.flush()
        self.ctl_fails(1, "go round in circles", "-o", "nats.subject_prefix=round", "runtimes")
        for broken in (b"", b"{", b"[]", b'{"ok":1}', b'{"ok":true,"result":[]}', b'{"ok":false}', b"\xff"):
            evil_bytes = broken
            other = self.world.client()
            other.subscribe("odd.commands.agent_dispatcher.*", lambda message, o=other, b=evil_bytes: o.publish(message.reply, b))
            other.flush()
            self.assertIn(self.ctl("-o", "nats.subject_prefix=odd", "runtimes").returncode, (0, 1))
            other.close()

    def test_the_contexts_that_are_listed_are_those_that_completion_offers(self):
        for name in ("zeta", "alpha"):
            self.ctl_ok("context", "save", name)
        directory = os.path.join(self.world.directory, "home", ".config", "compozy", "contexts")
        for stray in ("a b.conf", ".conf", "alpha.conf~", "x" * 65 + ".conf", "conf"):
            with open(os.path.join(directory, stray), "w", encoding="ascii"):
                pass
        self.assertEqual([one["context"] for one in self.ctl_json("context", "list")], ["alpha", "zeta"])
        self.assertEqual(self.ctl_ok("__complete", "--", "context", "use", "").split(), ["alpha", "zeta"])
        self.assertEqual(self.ctl_ok("__complete", "--", "--context", "z").split(), ["zeta"])

    def test_a_context_is_saved_used_shown_and_forgotten(self):
        self.ctl_ok("--server", "nats://me:secret@127.0.0.1:1", "-o", "nats.subject_prefix=acme", "context", "save", "prod")
        path = os.path.join(self.world.directory, "home", ".config", "compozy", "contexts", "prod.conf")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.ctl_fails(2, "--force", "context", "save", "prod")
        text = self.ctl_ok("context", "show", "prod")
        self.assertIn("acme", text)
        self.assertNotIn("secret", text + self.ctl_ok("context", "list") + self.ctl_ok("--json", "context", "list"))
        self.assertIn("127.0.0.1:1", self.ctl_fails(3, "no connection", "--context", "prod", "status"))
        self.assertIn("127.0.0.1:1", self.ctl_fails(3, "no connection", "status", environment={"COMPOZY_CONTEXT": "prod"}))
        self.ctl_fails(4, "no dispatcher", "status")  # NATS_URL, as long as nobody names it
        self.ctl_ok("context", "use", "prod")
        self.ctl_fails(4, "no dispatcher", "status")  # the current context gives way to NATS_URL
        self.assertIn("127.0.0.1:1", self.ctl_fails(3, "no connection", "status", environment={"NATS_URL": ""}))
        self.assertEqual([(one["context"], one["current"]) for one in self.ctl_json("context", "list")], [("prod", True)])
        self.ctl_ok("context", "delete", "prod")
        self.ctl_fails(1, "prod", "context", "show", "prod")
        self.ctl_fails(2, "A-Z a-z", "context", "save", "../x")
        self.ctl_fails(2, "takes for a comment", "-o", "nats.tls_ca=a #b", "context", "save", "odd")
        self.ctl_fails(1, "", "context", "delete", "prod")
