# SPDX-License-Identifier: MIT
"""How daemons start and leave: drains, verbs of the operator, replacement, large registrations."""

import os
import signal
import time

from harness import AGENTS, DEFINITIONS, FAST_HEARTBEAT, INSTANCES, PREFIX, SHORT_WINDOWS, VERBS, Case, exec_agent, holds_for, scaled, wait_until
from load import Load

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"


class Leaving(Case):
    def build(self):
        self.world.server()
        self.d1 = self.world.dispatcher(options=dict(SHORT_WINDOWS, **{"dispatcher.rehost_wait_ms": 500}))
        self.client = self.world.client()

    def start(self, *names, options=None, agents=None):
        runtimes = [self.world.runtime(name, agents, options=dict(FAST_HEARTBEAT, **(options or {}))) for name in names]
        self.wait_runtimes(*names)
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")
        return runtimes

    def test_a_runtime_stopped_under_load_loses_nothing_and_says_goodbye(self):
        r1, _ = self.start("r1", "r2")
        load = Load(self.world.client("load"), [("greeter", "x", 3), ("sleeper", {"ms": 50}, 2)], rate=1000 / scaled(1), deadline_ms=15000).start()
        load.wait_answered(300, scaled(20))
        self.assertEqual(r1.terminate(), 0)
        event = self.verdicts.next(scaled(5)).json()
        self.assertEqual((event["agent_runtime"]["runtime_id"], event["payload"]["context"]["reason"]), ("r1", "shutdown"))
        load.wait_answered(load.n_answered + 300, scaled(20))
        load.finish()
        self.assertEqual(load.counts(), {"SUCCESS": load.n_sent})
        self.assertEqual(load.answered_differently(), [])
        self.assertEqual(set(load.by_runtime()), {"r1", "r2"})
        self.assertEqual(set(self.runtimes()), {"r2"})

    def test_a_runtime_that_is_stopped_finishes_what_it_holds_and_takes_nothing_new(self):
        [r1] = self.start("r1", agents=dict(AGENTS, patient=exec_agent()))
        done = os.path.join(self.world.directory, "done")
        inbox = self.client.subscribe("held.inbox")
        started = self.client.subscribe(f"{INSTANCES}.held.started")
        self.client.publish(f"{TRIGGER}.patient", {"agent": {"id": "patient", "exec_id": "held"},
                                                   "payload": {"context": {"input": {"do": "wait_for", "path": done}}}}, "held.inbox")
        started.next(scaled(5))
        r1.signal(signal.SIGTERM)
        wait_until("the dispatcher hears of it", lambda: self.runtimes().get("r1", {}).get("state") == "draining", 2)
        refused = self.trigger_input("greeter", 1, deadline_ms=300)["payload"]
        self.assertIn(refused["result"]["error"]["code"], ("NO_RUNTIME", "DEADLINE_EXCEEDED"))
        self.assertEqual(len(inbox), 0)
        open(done, "w", encoding="ascii").close()
        self.assert_success(inbox.next(scaled(5)).json())
        self.assertEqual(r1.wait(), 0)

    def test_a_drain_that_exceeds_its_time_answers_what_it_still_holds(self):
        [r1] = self.start("r1", options={"runtime.drain_timeout_ms": 400})
        inbox = self.client.subscribe("held.inbox")
        started = self.client.subscribe(f"{INSTANCES}.held.started")
        self.client.publish(f"{TRIGGER}.sleeper", {"agent": {"id": "sleeper", "exec_id": "held"},
                                                   "payload": {"retry": "unstarted", "deadline_ms": 20000,
                                                               "context": {"input": {"ms": 15000}}}}, "held.inbox")
        started.next(scaled(5))
        self.assertEqual(r1.terminate(5), 0)
        result = inbox.next(scaled(3)).json()
        self.assertEqual(result["payload"]["status"], "FAILURE", result)

    def test_a_second_SIGTERM_ends_a_runtime_at_once(self):
        [r1] = self.start("r1")
        started = self.client.subscribe(f"{INSTANCES}.held.started")
        self.client.publish(f"{TRIGGER}.sleeper", {"agent": {"id": "sleeper", "exec_id": "held"},
                                                   "payload": {"context": {"input": {"ms": 15000}}}})
        started.next(scaled(5))
        r1.signal(signal.SIGTERM)
        wait_until("it drains", lambda: self.runtimes().get("r1", {}).get("state") == "draining", 5)
        r1.signal(signal.SIGTERM)
        r1.wait(2)

    def test_an_idle_runtime_and_an_idle_dispatcher_end_with_status_0_at_once(self):
        [r1] = self.start("r1")
        for daemon in (r1, self.d1):
            began = time.monotonic()
            self.assertEqual(daemon.terminate(), 0)
            self.assertLess(time.monotonic() - began, scaled(2))

    def test_a_dispatcher_that_is_stopped_answers_what_it_took(self):
        self.start("r1", options={"runtime.max_in_flight": 2})
        inbox = self.client.subscribe("held.inbox")
        for _ in range(10):
            self.client.publish(f"{TRIGGER}.sleeper", {"payload": {"deadline_ms": 10000, "context": {"input": {"ms": 100}}}}, "held.inbox")
        self.client.flush()
        self.verb_ok("status")
        self.assertEqual(self.d1.terminate(), 0)
        for _ in range(10):
            self.assert_success(inbox.next(scaled(5)).json())

    # the operator's verbs

    def test_a_drained_runtime_gets_no_work_until_it_is_resumed(self):
        self.start("r1", "r2")
        self.verb_ok("drain_runtime", {"runtime_id": "r1"})
        wait_until("it is draining", lambda: self.runtimes()["r1"]["state"] == "draining", 5)
        for i in range(30):
            self.assertEqual(self.trigger_input("greeter", i)["agent_runtime"]["runtime_id"], "r2")
        holds_for("it stays so", lambda: self.runtimes()["r1"]["state"] == "draining", 0.5)
        self.verb_ok("resume_runtime", {"runtime_id": "r1"})
        self.wait_runtimes("r1", "r2")
        wait_until("it is given work", lambda: self.trigger_input("greeter", 1)["agent_runtime"]["runtime_id"] == "r1", 5)

    def test_a_trigger_finds_NO_RUNTIME_when_all_that_host_the_agent_drain(self):
        self.start("r1")
        self.verb_ok("drain_runtime", {"runtime_id": "r1"})
        wait_until("it is draining", lambda: self.runtimes()["r1"]["state"] == "draining", 5)
        self.assert_failure(self.trigger_input("greeter", 1, deadline_ms=1000), "NO_RUNTIME")
        self.assertIn("drain", str(self.verb_ok("explain", {"agent_id": "greeter"})).lower())

    def test_a_restart_of_the_dispatcher_does_not_resume_a_drained_runtime(self):
        self.start("r1", "r2")
        self.verb_ok("drain_runtime", {"runtime_id": "r1"})
        wait_until("it is draining", lambda: self.runtimes()["r1"]["state"] == "draining", 5)
        self.d1.kill()
        self.d1.start()
        wait_until("it is still draining", lambda: {name: record["state"] for name, record in self.runtimes().items()} ==
                   {"r1": "draining", "r2": "live"}, 5)

    def test_drain_runtime_of_one_that_is_not_there_is_an_error(self):
        self.verb_error("drain_runtime", {"runtime_id": "nobody"})
        self.verb_error("resume_runtime", {"runtime_id": "nobody"})
        self.verb_error("drain_runtime", {}, "INVALID_MESSAGE")

    def test_a_deregistered_runtime_stays_out_until_it_is_restarted(self):
        r1, _ = self.start("r1", "r2")
        self.verb_ok("deregister_runtime", {"runtime_id": "r1"})
        event = self.verdicts.next(scaled(5)).json()
        self.assertEqual((event["agent_runtime"]["runtime_id"], event["payload"]["context"]["reason"]), ("r1", "operator"))
        wait_until("it is out", lambda: set(self.runtimes()) == {"r2"}, 5)
        holds_for("it stays out", lambda: set(self.runtimes()) == {"r2"}, 1.5)
        self.assertTrue(r1.is_running())
        r1.terminate()
        r1.start()
        self.wait_runtimes("r1", "r2")

    def test_a_deregistered_runtime_comes_back_when_it_is_resumed(self):
        [r1] = self.start("r1")
        for resume in (f"{PREFIX}.runtime.r1.control.resume", f"{VERBS}.resume_runtime"):
            self.verb_ok("deregister_runtime", {"runtime_id": "r1"})
            wait_until("it is out", lambda: not self.runtimes(), 5)
            wait_until("it has heard of it", lambda: self.control("status")["state"] == "quiet", 5)
            answer = self.client.request(resume, {"runtime_id": "r1"}, scaled(5)).json()
            self.assertTrue(answer["ok"], answer)
            self.wait_runtimes("r1")
            self.assert_success(self.trigger_input("greeter", 1), 1)
        self.assertTrue(r1.is_running())

    def test_control_drain_of_a_runtime_drains_it(self):
        self.start("r1", "r2")
        answer = self.client.request(f"{PREFIX}.runtime.r1.control.drain", {}, scaled(5)).json()
        self.assertTrue(answer["ok"], answer)
        wait_until("it is draining", lambda: self.runtimes().get("r1", {}).get("state") in (None, "draining"), 5)
        for i in range(10):
            self.assertEqual(self.trigger_input("greeter", i)["agent_runtime"]["runtime_id"], "r2")

    # one id, one process

    def test_a_second_process_with_the_same_id_replaces_the_first_which_leaves_with_status_3(self):
        [r1] = self.start("r1")
        before = self.runtimes()["r1"]["epoch"]
        self.world.runtime("r1-again", runtime_id="r1", options=FAST_HEARTBEAT, agents={"greeter": "echo", "newcomer": "echo"})
        self.assertEqual(r1.wait(10), 3)
        self.wait_runtimes("r1")
        self.assertGreater(self.runtimes()["r1"]["epoch"], before)
        self.assert_success(self.trigger_input("newcomer", 1), 1)
        self.assert_failure(self.trigger_input("sleeper", {"ms": 1}, deadline_ms=2000), "AGENT_UNKNOWN")


class Starting(Case):
    def test_daemons_that_start_while_the_server_is_down_wait_for_it(self):
        self.world.server()
        self.world.nats.kill()
        dispatcher = self.world.dispatcher(wait=False)
        runtime = self.world.runtime("r1", wait=False)
        for daemon in (dispatcher, runtime):
            wait_until(f"{daemon.name} serves /healthz", lambda daemon=daemon: daemon.get("/healthz")[0] == 200, 10)
            self.assertEqual(daemon.get("/readyz")[0], 503)
        holds_for("both wait", lambda: dispatcher.is_running() and runtime.is_running(), 1.0)
        self.world.nats.start()
        dispatcher.wait_ready(10)
        runtime.wait_ready(10)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.assert_success(self.trigger_input("greeter", 1), 1)

    def test_daemons_that_wait_for_the_server_can_be_stopped(self):
        self.world.server()
        self.world.nats.kill()
        for daemon in (self.world.dispatcher(wait=False), self.world.runtime("r1", wait=False)):
            wait_until(f"{daemon.name} serves /healthz", lambda daemon=daemon: daemon.get("/healthz")[0] == 200, 10)
            self.assertEqual(daemon.terminate(5), 0)

    def test_a_runtime_that_starts_before_any_dispatcher_registers_when_one_comes(self):
        self.world.server()
        self.client = self.world.client()
        self.world.runtime("r1", wait=False, options=FAST_HEARTBEAT)
        wait_until("the runtime listens", lambda: self.client.request(f"{PREFIX}.runtime.r1.control.status", {}), 10)
        self.world.dispatcher()
        self.wait_runtimes("r1", timeout=3)
        self.assert_success(self.trigger_input("greeter", 1), 1)

    def test_another_subject_prefix_is_another_world(self):
        self.world.server()
        self.client = self.world.client()
        self.world.dispatcher()
        self.world.runtime("r1")
        self.wait_runtimes("r1")
        other = {"nats.subject_prefix": "acme.staging"}
        self.world.dispatcher("d2", options=other)
        self.world.runtime("r2", options=other)
        subject = "acme.staging.commands.agent_dispatcher.list_runtimes"

        def known():
            records = self.client.request(subject, {}, scaled(5)).json()["result"]["runtimes"]
            return [record["runtime_id"] for record in records] == ["r2"]

        wait_until("r2 is known there", known, 10)
        self.assertEqual(set(self.runtimes()), {"r1"})
        result = self.client.request("acme.staging.commands.agent.adhoc.trigger.greeter", {"payload": {"context": {"input": 2}}}, scaled(5)).json()
        self.assert_success(result, 2)
        self.assertEqual(result["agent_runtime"]["runtime_id"], "r2")

    def test_idle_daemons_stay_below_10_MB(self):  # how soon they are ready is for `make bench` to say
        self.world.server()
        dispatcher = self.world.dispatcher()
        runtime = self.world.runtime("r1")
        if "san" in dispatcher.arguments[0]:
            self.skipTest("a sanitizer's memory is not ours")
        self.client = self.world.client()
        self.wait_runtimes("r1")
        for daemon in (dispatcher, runtime):
            self.assertLess(daemon.rss_kib(), 10 * 1024, f"{daemon.name}: KiB")


class ManyAgents(Case):
    bound = 150.0

    def test_a_runtime_with_20000_agents_registers_and_each_can_be_triggered(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        agents = {f"agent-{i:05}-of-a-very-large-team": "echo" for i in range(20000)}
        runtime = self.world.runtime("r1", agents=agents, wait=False)
        runtime.wait_ready(40)
        self.wait_runtimes("r1", timeout=15)
        self.assertEqual(self.runtimes()["r1"]["agents"], 20000)
        for i in (0, 9999, 12345, 19999):
            self.assert_success(self.trigger_input(f"agent-{i:05}-of-a-very-large-team", i), i)
        self.assert_failure(self.trigger_input("agent-20000-of-a-very-large-team", 1), "AGENT_UNKNOWN")
        agents, after = set(), None
        while True:
            result = self.verb_ok("list_agents", {"after": after, "limit": 1000} if after else {"limit": 1000})
            page = [agent["agent_id"] for agent in result["agents"]]
            agents.update(page)
            if not page or page[-1] == after or len(agents) >= 20000:
                break
            after = page[-1]
        self.assertEqual(len(agents), 20000)
        self.world.dispatcher("d2")
        wait_until("a second dispatcher learns of all", lambda: all(self.runtimes().get("r1", {}).get("agents") == 20000 for _ in range(6)), 10)
