# SPDX-License-Identifier: MIT
"""Agents that are child processes, under the real runtime: what they say, how they die, and what of it others notice."""

import os
import signal
import sys
import time

from harness import INSTANCES, PREFIX, Case, exec_agent, in_time, is_alive, scaled, wait_until
from load import Load

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"
QUICK_RESTART = {"max": 5, "window_ms": 60000, "backoff_ms": 10}


class Exec(Case):
    shared = True

    def build(self):
        self.world.server(monitored=True)
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def make(self, agent, parameters=None, settings=None, **definition):
        return self.create(agent, exec_agent(parameters, settings, **dict({"restart": QUICK_RESTART}, **definition)))

    def tell(self, agent, do, timeout_ms=10000, **what):
        return self.trigger_input(agent, dict(what, do=do), deadline_ms=timeout_ms)

    def told(self, agent, do, **what):
        result = self.tell(agent, do, **what)
        self.assert_success(result)
        return result["payload"]["result"]["output"]

    def post(self, agent, inbox, do, **what):
        """A trigger whose answer goes to that subject."""
        payload = {"retry": "never", "deadline_ms": 20000, "context": {"input": dict(what, do=do)}}
        self.client.publish(f"{TRIGGER}.{agent}", {"payload": payload}, inbox)

    def make_shell(self, agent, script, **definition):
        """An agent that is a shell script."""
        path = os.path.join(self.world.directory, agent + ".sh")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        return self.create(agent, dict({"agent_type": "exec", "exec": {"command": ["sh", path]}, "restart": QUICK_RESTART}, **definition))


SHELL_ECHO = r"""
while read -r line; do
        id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
        case $line in
        *'"method":"handle"'*) output=$(printf '%s' "$line" | sed 's/.*"input":\("[^"]*"\).*/\1/') ;;
        *) output=null ;;
        esac
        printf '{"jsonrpc":"2.0","id":%s,"result":{"output":%s}}\n' "$id" "$output"
done
"""


class Talking(Exec):
    def test_a_trigger_of_an_agent_in_python_has_its_output(self):
        self.make("snake")
        for value in ("text", 1.5, None, {"a": [1, {"b": "ü€😀\n\u0000"}]}, [], "x" * 100000):
            self.assertEqual(self.told("snake", "echo", value=value), value)

    def test_an_agent_in_shell_answers_and_is_told_apart(self):
        self.make_shell("shell", SHELL_ECHO)
        for number in range(20):
            self.assert_success(self.trigger_input("shell", f"number {number}"), f"number {number}")

    def test_an_error_of_the_agent_is_an_AGENT_ERROR_with_its_message_and_code_and_the_agent_lives_on(self):
        self.make("critic")
        pid = self.told("critic", "pid")["pid"]
        error = self.assert_failure(self.tell("critic", "error", message="not like this"), "INTERNAL", "AGENT_ERROR")
        self.assertEqual(error["message"], "not like this")
        self.assert_failure(self.tell("critic", "error", code="INVALID_MESSAGE"), "INVALID_MESSAGE", "AGENT_ERROR")
        self.assert_failure(self.tell("critic", "error", code="RUNTIME_LOST"), "INTERNAL", "AGENT_ERROR")
        self.assertEqual(self.told("critic", "pid")["pid"], pid)

    def test_calls_of_an_agent_with_max_concurrency_overlap_and_without_it_they_do_not(self):
        self.make("juggler", max_concurrency=20)
        self.make("monk")
        inbox = self.client.subscribe("overlap.*")
        gate = os.path.join(self.world.directory, "overlap")
        for _ in range(20):
            self.post("juggler", "overlap.juggler", "wait_for", path=gate)
        wait_until("all are with it", lambda: self.control("get_agent", "juggler")["open"] == 20, 10)
        with open(gate, "w", encoding="ascii"):
            pass
        for _ in range(20):
            self.assert_success(inbox.next(scaled(10)).json())
        began = time.monotonic()
        for _ in range(3):
            self.post("monk", "overlap.monk", "sleep", ms=200)
        for _ in range(3):
            self.assert_success(inbox.next(scaled(10)).json())
        self.assertGreaterEqual(time.monotonic() - began, 0.6)

    def test_thousands_of_messages_to_several_children_are_all_answered_in_order(self):
        for number in range(4):
            self.make(f"mill-{number}", max_concurrency=8)
        load = Load(self.client, [(f"mill-{number}", {"do": "echo", "value": number}, 1) for number in range(4)], outstanding=64, total=3000).start()
        load.finish(stop=False, timeout=scaled(60))
        self.assertEqual(load.counts(), {"SUCCESS": 3000})
        self.assertEqual(load.answered_differently(), [])
        for record in load.records.values():
            self.assertEqual(f"mill-{record.output}", record.agent)

    def test_what_it_prints_to_stderr_is_in_the_log_under_its_name_and_bounded(self):
        self.make("grumbler")
        self.told("grumbler", "complain", text="everything is bad")
        self.runtime.wait_log(r"grumbler.*everything is bad 0", 5)
        self.told("grumbler", "complain", text="flood", times=3000)
        self.control("delete_agent", "grumbler")  # by then all that it has said was read
        lines = self.runtime.log().count("flood")
        self.assertLessEqual(lines, 200)  # a hundred in ten seconds, and these may be the last of ten and the first of the next
        self.assertGreater(lines, 10)

    def test_it_has_its_own_environment_and_no_descriptor_of_the_runtime(self):
        self.make("hermit", settings={"env": {"FLAVOUR": "sweet"}, "working_directory": "/tmp"})
        found = self.told("hermit", "environment")
        environment = found["environment"]
        self.assertEqual((environment["FLAVOUR"], environment["COMPOZY_AGENT_ID"], found["directory"]), ("sweet", "hermit", "/tmp"))
        self.assertLessEqual(set(environment) - {"LC_CTYPE"}, {"FLAVOUR", "COMPOZY_AGENT_ID", "PATH", "HOME", "LANG", "TZ"})
        self.assertLessEqual(set(found["fds"]), {"0", "1", "2", "3"})  # the last one lists them

    def test_a_limit_of_memory_costs_the_agent_its_call_only(self):
        self.make("glutton", settings={"limits": {"memory_bytes": 400 * 1024 * 1024}})
        self.assert_failure(self.tell("glutton", "allocate", bytes=1 << 30), "INTERNAL", "AGENT_ERROR")
        self.assertEqual(self.told("glutton", "echo", value=1), 1)

    def test_a_line_with_much_in_it_goes_both_ways(self):
        self.make("porter")
        value = "y" * 900000
        self.assertEqual(self.told("porter", "echo", value=value), value)


class Dying(Exec):
    def test_a_crash_answers_what_it_held_with_AGENT_CRASHED_and_the_next_trigger_finds_a_new_process(self):
        self.make("clumsy", max_concurrency=5)
        self.make("neighbour")
        ours, theirs = (self.told(agent, "pid")["pid"] for agent in ("clumsy", "neighbour"))
        for how in ({"do": "exit", "status": 3}, {"do": "raise_signal", "signal": int(signal.SIGSEGV)},
                    {"do": "raise_signal", "signal": int(signal.SIGKILL)}):
            inbox = self.client.subscribe("clumsy.inbox")
            for _ in range(4):
                self.post("clumsy", "clumsy.inbox", "hang")
            wait_until("they are with it", lambda: self.control("get_agent", "clumsy")["open"] == 4, 5)
            error = self.assert_failure(self.trigger_input("clumsy", how, retry="never"), "AGENT_CRASHED")
            self.assertIn("status 3" if how["do"] == "exit" else f"signal {how['signal']}", error["message"])
            for _ in range(4):
                self.assert_failure(inbox.next(scaled(5)).json(), "AGENT_CRASHED")
            inbox.unsubscribe()
            again = self.told("clumsy", "pid")["pid"]
            self.assertNotEqual(again, ours)
            ours = again
        self.assertEqual(self.told("neighbour", "pid")["pid"], theirs)
        self.assertEqual(self.control("get_agent", "clumsy")["restarts"], 3)

    def test_mail_that_it_had_not_begun_survives_a_crash(self):
        self.make("phoenix")
        inbox = self.client.subscribe("phoenix.inbox.*")
        self.post("phoenix", "phoenix.inbox.crash", "exit")
        for number in range(20):
            self.post("phoenix", f"phoenix.inbox.{number}", "echo", value=number)
        answers = {}
        for _ in range(21):
            message = inbox.next(scaled(10))
            answers[message.subject.rpartition(".")[2]] = message.json()
        self.assert_failure(answers.pop("crash"), "AGENT_CRASHED")
        for number, result in answers.items():
            self.assert_success(result, int(number))

    def test_too_many_crashes_end_in_failed_and_are_told_so_until_it_is_started_again(self):
        self.make("doomed", restart={"max": 3, "window_ms": 60000, "backoff_ms": 1}, subscribed_topics=["doomed.topic"])
        for _ in range(4):
            self.assert_failure(self.trigger_input("doomed", {"do": "exit"}, retry="never"), "AGENT_CRASHED")
        self.wait_agent("doomed", "failed")
        self.assert_failure(self.trigger_input("doomed", {"do": "pid"}), "AGENT_FAILED")
        answer = self.client.request("agent.doomed.replies", "hello", scaled(5))
        self.assertEqual(answer.json()["error"]["code"], "AGENT_FAILED")
        self.runtime.wait_log(r"doomed has failed", 5)
        self.control_error("stop_agent", "doomed", "INVALID_TRANSITION")
        self.assertEqual(self.control("start_agent", "doomed")["state"], "running")
        self.told("doomed", "pid")
        self.assertIn(("doomed.topic", ""), self.world.nats.subscriptions("doomed.topic"))

    def test_what_is_not_of_the_protocol_kills_that_child_only_and_the_log_shows_it(self):
        self.make("neighbour-2")
        pid = self.told("neighbour-2", "pid")["pid"]
        for number, (text, shown) in enumerate((("hello, I'm a banner\n", "banner"), ("{\"id\": 4711, \"result\": {}}\n", "4711"), ("[]\n", r"\[\]"),
                                                ("{\"jsonrpc\"\n", "jsonrpc"), ("\x00\x01\x02\n", "not of the protocol"),
                                                ("{\"id\":1,\"method\":" + "[" * 2000 + "\n", "not of the protocol"))):
            self.make(f"babbler-{number}")
            self.assert_failure(self.trigger_input(f"babbler-{number}", {"do": "say", "text": text}, retry="never"), "AGENT_CRASHED")
            self.runtime.wait_log(rf"babbler-{number}.*{shown}", 5)
            self.assertEqual(self.told(f"babbler-{number}", "echo", value=number), number)
        self.assertEqual(self.told("neighbour-2", "pid")["pid"], pid)

    def test_blank_lines_and_unknown_members_kill_nothing(self):
        self.make("airy")
        pid = self.told("airy", "pid")["pid"]
        self.assertEqual(self.told("airy", "say", text="\n  \n\r\n{\"method\":\"log\",\"params\":{\"message\":\"hi there\",\"x\":1},\"y\":2}\n"), "said")
        nonsense = "{\"method\":\"no_such_method\",\"params\":{}}\n{\"method\":\"publish\",\"params\":{\"topic\":5}}\n"
        self.assertEqual(self.told("airy", "say", text=nonsense), "said")
        self.assertEqual(self.told("airy", "pid")["pid"], pid)

    def test_an_endless_line_is_cut_off_at_its_limit_without_costing_memory(self):
        self.make("endless", settings={"max_line_bytes": 65536})
        before = self.runtime.rss_kib()
        self.assert_failure(self.trigger_input("endless", {"do": "say_endlessly"}, retry="never"), "AGENT_CRASHED")
        self.runtime.wait_log(r"endless.*65536", 5)
        self.assertLess(self.runtime.rss_kib() - before, 16 * 1024 * (4 if "san" in self.runtime.arguments[0] else 1))
        self.assertEqual(self.told("endless", "echo", value=1), 1)

    def test_a_call_that_takes_too_long_is_answered_TIMEOUT_and_its_child_replaced(self):
        self.make("dreamer", settings={"call_timeout_ms": 300}, restart=dict(QUICK_RESTART, max=50))

        def pid_of_it():  # a call that would be answered may take that long, too, on a busy machine
            payload = wait_until("it is answered", lambda: (
                payload := self.tell("dreamer", "pid")["payload"])["status"] == "SUCCESS" and payload)
            return payload["result"]["output"]["pid"]

        pid = pid_of_it()
        began = time.monotonic()
        self.assert_failure(self.trigger_input("dreamer", {"do": "hang"}, retry="never"), "TIMEOUT")
        self.assertLess(time.monotonic() - began, in_time(0.3))
        self.assertNotEqual(pid_of_it(), pid)
        wait_until("the old one is gone", lambda: not is_alive(pid), 5)

    def test_a_child_that_hangs_holds_up_nobody_who_discards(self):
        self.make("stuck", settings={"stop_timeout_ms": 200})
        pid = self.told("stuck", "pid")["pid"]
        inbox = self.client.subscribe("stuck.inbox")
        self.post("stuck", "stuck.inbox", "hang")
        wait_until("it is with the child", lambda: self.control("get_agent", "stuck")["open"] == 1, 5)
        began = time.monotonic()
        self.control("delete_agent", {"agent_id": "stuck", "mode": "discard"})
        self.assertLess(time.monotonic() - began, in_time(0.4))
        self.assert_failure(inbox.next(scaled(5)).json(), "AGENT_STOPPED")
        wait_until("it is gone", lambda: not is_alive(pid), 5)

    def test_a_deadline_is_answered_while_the_child_goes_on(self):
        self.make("late")
        began = time.monotonic()
        self.assert_failure(self.tell("late", "sleep", ms=800, timeout_ms=300), "DEADLINE_EXCEEDED")
        self.assertLess(time.monotonic() - began, in_time(0.3))
        self.assertEqual(self.told("late", "echo", value=2), 2)

    def test_a_start_that_takes_too_long_has_failed(self):
        began = time.monotonic()
        definition = {"agent_id": "mute", "agent_type": "exec", "exec": {"command": ["sleep", "1000"], "start_timeout_ms": 300}}
        error = self.control_error("create_agent", definition, "INIT_FAILED")
        self.assertIn("300", error["message"])
        self.assertLess(time.monotonic() - began, in_time(0.3))
        command = [sys.executable, "-c", "import sys; sys.exit('no configuration')"]
        definition = {"agent_id": "mute", "agent_type": "exec", "exec": {"command": command}}
        self.assertIn("no configuration", self.control_error("create_agent", definition, "INIT_FAILED")["message"])

    def test_one_that_can_not_be_started_again_is_tried_until_it_can_or_has_failed(self):
        path = os.path.join(self.world.directory, "obstacle")
        self.make("stubborn", {"dies_beside": path}, restart={"max": 50, "window_ms": 60000, "backoff_ms": 20})
        with open(path, "w", encoding="utf-8"):
            pass
        self.assert_failure(self.trigger_input("stubborn", {"do": "exit"}, retry="never"), "AGENT_CRASHED")
        self.wait_agent("stubborn", "starting")
        self.runtime.wait_log(r"stubborn.*died beside", 5)
        self.runtime.wait_log(r"stubborn was lost and will be restarted in \d+ ms \(restart 1\): its process exited with status 1", 5)
        self.runtime.wait_log(r"stubborn was lost and will be restarted in \d+ ms \(restart 2\): the agent's process exited with status 7 before", 5)
        inbox = self.client.subscribe("stubborn.inbox")
        self.post("stubborn", "stubborn.inbox", "echo", value="at last")
        self.client.flush()
        os.unlink(path)
        self.assert_success(inbox.next(scaled(10)).json(), "at last")

    def test_one_that_does_not_heed_its_end_is_killed_and_the_stop_goes_on(self):
        self.make_shell("deaf", "trap '' TERM\n" + SHELL_ECHO + "\nsleep 1000\n", exec={
            "command": ["sh", os.path.join(self.world.directory, "deaf.sh")], "stop_timeout_ms": 200})
        began = time.monotonic()
        self.control("delete_agent", "deaf")
        self.assertLess(time.monotonic() - began, in_time(0.2))
        self.assertIsNone(self.agent_state("deaf"))

    def test_its_own_children_die_with_it(self):
        self.make("parent")
        children = [self.told("parent", "fork")["pid"] for _ in range(3)]
        self.assertTrue(all(is_alive(pid) for pid in children))
        self.assert_failure(self.trigger_input("parent", {"do": "exit"}, retry="never"), "AGENT_CRASHED")
        wait_until("they are gone", lambda: not any(is_alive(pid) for pid in children), 5)
        child = self.told("parent", "fork")["pid"]
        self.control("stop_agent", "parent")
        wait_until("that one, too", lambda: not is_alive(child), 5)


class Runtimes(Case):
    """What becomes of children when their runtime ends; each with a world of its own."""

    tell, told, post = Exec.tell, Exec.told, Exec.post

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher()
        agents = {f"child-{number}": exec_agent(max_concurrency=4) for number in range(3)}
        self.runtime = self.world.runtime("r1", agents=agents)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        for number in range(3):
            self.wait_agent(f"child-{number}")
        self.pids = [self.told(f"child-{number}", "pid")["pid"] for number in range(3)]
        self.pids += [self.told(f"child-{number}", "fork")["pid"] for number in range(3)]
        self.assertTrue(all(is_alive(pid) for pid in self.pids))

    def check_gone(self, timeout=5):
        wait_until("nothing of them is left", lambda: not any(is_alive(pid) for pid in self.pids), timeout)

    def test_children_and_theirs_are_gone_after_SIGTERM(self):
        self.assertEqual(self.runtime.terminate(), 0)
        self.check_gone()

    def test_children_and_theirs_are_gone_after_SIGKILL(self):
        self.runtime.kill()
        self.check_gone()
        self.runtime.start()
        self.wait_runtimes("r1")
        self.assertEqual(self.told("child-0", "echo", value="back"), "back")

    def test_SIGTERM_lets_children_finish_what_they_hold(self):
        inbox = self.client.subscribe("held.inbox")
        started = self.client.subscribe(f"{INSTANCES}.*.started")
        for number in range(3):
            self.post(f"child-{number}", "held.inbox", "sleep", ms=500)
        for _ in range(3):
            started.next(scaled(5))
        self.assertEqual(self.runtime.terminate(), 0)
        for _ in range(3):
            self.assert_success(inbox.next(scaled(5)).json())
        self.check_gone()

    def test_a_second_SIGTERM_leaves_no_child_behind(self):
        self.post("child-0", None, "hang")
        wait_until("it is with the child", lambda: self.control("get_agent", "child-0")["open"] == 1, 5)
        self.runtime.signal(signal.SIGTERM)
        wait_until("it drains", lambda: self.runtimes().get("r1", {}).get("state") in (None, "draining"), 5)
        self.runtime.signal(signal.SIGTERM)
        self.runtime.wait(5)
        self.check_gone()

    def test_a_drain_that_exceeds_its_time_is_not_held_up_by_a_child_that_hangs(self):
        self.runtime.terminate()
        self.runtime.arguments += ["-o", "runtime.drain_timeout_ms=300"]
        self.runtime.start()
        self.wait_runtimes("r1")
        self.wait_agent("child-0")
        inbox = self.client.subscribe("held.inbox")
        self.post("child-0", "held.inbox", "hang")
        wait_until("it is with the child", lambda: self.control("get_agent", "child-0")["open"] == 1, 5)
        began = time.monotonic()
        self.assertEqual(self.runtime.terminate(15), 0)
        self.assertLess(time.monotonic() - began, 18)  # it hangs for 20
        self.assertEqual(inbox.next(scaled(5)).json()["payload"]["status"], "FAILURE")

    def test_a_runtime_that_is_stopped_and_resumed_finds_its_children_as_they_were(self):
        self.runtime.pause()
        self.runtime.resume()
        self.wait_runtimes("r1")
        self.assertEqual([self.told(f"child-{number}", "pid")["pid"] for number in range(3)], self.pids[:3])


class Starting(Case):
    def test_fifty_children_start_with_their_runtime_and_all_answer(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        script = os.path.join(self.world.directory, "echo.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write(SHELL_ECHO)
        agents = {f"team-{number}": {"agent_type": "exec", "exec": {"command": ["sh", script]}} for number in range(50)}
        runtime = self.world.runtime("r1", agents=agents)
        self.wait_runtimes("r1")
        wait_until("all run", lambda: sum(agent["state"] == "running" for agent in self.control("list_agents", {"limit": 100})["agents"]) == 50, 20)
        for number in range(50):
            self.assert_success(self.trigger_input(f"team-{number}", f"no. {number}"), f"no. {number}")
        self.assertEqual(runtime.terminate(), 0)

    def test_an_agent_whose_init_fails_at_the_start_is_failed_and_the_rest_runs(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        runtime = self.world.runtime("r1", agents={"good": exec_agent(), "bad": exec_agent({"refuse": "no licence"}), "plain": "echo"})
        self.wait_runtimes("r1")
        self.wait_agent("good")
        self.wait_agent("bad", "failed")
        runtime.wait_log("bad.*no licence")
        self.assert_success(self.trigger_input("good", {"do": "echo", "value": 1}), 1)
        self.assert_success(self.trigger_input("plain", 2), 2)
        self.assert_failure(self.trigger_input("bad", 1), "AGENT_FAILED")
