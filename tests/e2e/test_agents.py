# SPDX-License-Identifier: MIT
"""Agents that come and go: the control API's verbs about them, while work goes on."""

import json
import os
import signal
import time

from harness import INSTANCES, PREFIX, Case, exec_agent, holds_for, in_time, is_alive, scaled, wait_until
from load import Load

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"
CONTROL = f"{PREFIX}.runtime.r1.control"


class Agents(Case):
    dispatchers = ("d1", "d2")  # whatever a verb has answered, all of them know

    def build(self):
        self.world.server(monitored=True)
        for name in self.dispatchers:
            self.world.dispatcher(name, options={"dispatcher.rehost_wait_ms": round(scaled(100))})
        self.runtime = self.world.runtime("r1")
        self.client = self.world.client()
        self.wait_runtimes("r1")

    def hosted(self):
        """{agent_id: record} as a dispatcher lists them."""
        found, after = {}, None
        while True:
            body = {"limit": 1000, "after": after} if after else {"limit": 1000}
            page = self.verb_ok("list_agents", body)["agents"]
            found.update((agent["agent_id"], agent) for agent in page)
            if not page or page[-1]["agent_id"] == after:
                return found
            after = page[-1]["agent_id"]

    def hold(self, agent, exec_id, value):
        """One trigger with that input, begun when this returns; its answers arrive in the subscription."""
        inbox = self.client.subscribe(f"held.{exec_id}")
        started = self.client.subscribe(f"{INSTANCES}.{exec_id}.started")
        self.client.publish(f"{TRIGGER}.{agent}", {"agent": {"id": agent, "exec_id": exec_id},
                                                   "payload": {"deadline_ms": 60000, "context": {"input": value}}}, f"held.{exec_id}")
        started.next(scaled(5))
        return inbox

    def hold_at_gate(self, agent, exec_id):
        """One trigger that takes until open_gate(); of an exec agent."""
        return self.hold(agent, exec_id, {"do": "wait_for", "path": self.gate(exec_id)})

    def gate(self, exec_id):
        return os.path.join(self.world.directory, f"gate-{exec_id}")

    def open_gate(self, exec_id):
        with open(self.gate(exec_id), "w", encoding="ascii"):
            pass


class Creating(Agents):
    shared = True

    def test_create_agent_answers_when_triggers_are_answered(self):
        for number in range(20):
            created = self.create(f"new-{number}")
            self.assertEqual(created, {"agent_id": f"new-{number}", "state": "running"})
            self.assert_success(self.trigger_input(f"new-{number}", number), number)

    def test_create_agent_answers_when_a_slow_init_is_over(self):
        directory = self.world.directory
        script = os.path.join(directory, "slow.py")
        gate = os.path.join(directory, "gate")
        with open(script, "w", encoding="utf-8") as file:
            file.write(f"import os, sys, time\n"
                       f"line = sys.stdin.readline()\n"
                       f"while not os.path.exists({gate!r}): time.sleep(0.01)\n"
                       "print('{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}', flush=True)\n"
                       "sys.stdin.read()\n")
        inbox = self.client.subscribe("slow.created")
        self.client.publish(f"{CONTROL}.create_agent", {"agent_id": "slow", "agent_type": "exec",
                                                        "exec": {"command": ["python3", script]}}, "slow.created")
        self.wait_agent("slow", "starting")
        self.assertNotIn("slow", self.hosted())
        self.assertEqual(len(inbox), 0)
        with open(gate, "w", encoding="utf-8"):
            pass
        self.assertEqual(inbox.next(scaled(5)).json()["result"], {"agent_id": "slow", "state": "running"})
        self.assertIn("slow", self.hosted())

    def test_an_agent_whose_init_fails_leaves_nothing_behind(self):
        definition = dict(exec_agent({"refuse": "I don't want to"}), agent_id="unwilling", subscribed_topics=["unwilling.topic"])
        error = self.control_error("create_agent", definition, "INIT_FAILED")
        self.assertIn("I don't want to", error["message"])
        self.assertIsNone(self.agent_state("unwilling"))
        self.assertEqual(self.world.nats.subscriptions("unwilling"), [])
        self.assertNotIn("unwilling", self.hosted())
        self.assert_failure(self.trigger_input("unwilling", 1), "AGENT_UNKNOWN")
        self.create("unwilling", subscribed_topics=["unwilling.topic"])
        self.assertEqual(self.world.nats.subscriptions("unwilling"),
                         [("agent.unwilling.replies", "agent.unwilling"), ("unwilling.topic", "")])
        self.assert_success(self.trigger_input("unwilling", 1), 1)

    def test_a_program_that_is_not_there_is_an_init_that_failed_and_names_it(self):
        error = self.control_error("create_agent", {"agent_id": "ghost", "agent_type": "exec", "exec": {"command": ["/no/such/program"]}},
                                   "INIT_FAILED")
        self.assertIn("/no/such/program", error["message"])
        self.assertIsNone(self.agent_state("ghost"))

    def test_an_agent_that_exists_is_not_created_again_and_goes_on(self):
        self.create("single", "counter")
        self.trigger_input("single", 1)
        error = self.control_error("create_agent", {"agent_id": "single", "agent_type": "counter"}, "AGENT_EXISTS")
        self.assertIn("single", error["message"])
        self.assert_success(self.trigger_input("single", 1), {"count": 2})

    def test_two_creations_of_one_id_at_the_same_time_make_one_agent(self):
        inbox = self.client.subscribe("twins.created.*")
        for number in range(10):
            definition = dict(exec_agent(), agent_id=f"twin-{number}")
            self.client.publish_many([self.client.encode(f"{CONTROL}.create_agent", definition, f"twins.created.{place}") for place in range(2)])
            answers = {}
            for _ in range(2):
                message = inbox.next(scaled(10))
                answers[message.subject[-1]] = message.json()
            self.assertTrue(answers["0"]["ok"], answers)
            self.assertEqual(answers["1"]["error"]["code"], "AGENT_EXISTS")
            self.control("delete_agent", f"twin-{number}")

    def test_definitions_that_make_no_sense_are_refused_with_the_key(self):
        for definition, word in (({"agent_type": "echo"}, "agent_id"), ({"agent_id": "x"}, "agent_type"),
                                 ({"agent_id": "x", "agent_type": "nonsense"}, "nonsense"),
                                 ({"agent_id": "x y", "agent_type": "echo"}, "agent_id"),
                                 ({"agent_id": "x", "agent_type": "echo", "mailbox_capacity": 0}, "mailbox_capacity"),
                                 ({"agent_id": "x", "agent_type": "echo", "colour": "red"}, "colour"),
                                 ({"agent_id": "x", "agent_type": "echo", "subscribed_topics": ["a..b"]}, "subscribed_topics"),
                                 ({"agent_id": "x", "agent_type": "exec", "exec": {}}, "command"),
                                 ({"agent_id": "x", "agent_type": "relay"}, "to")):
            error = self.ask_runtime("create_agent", definition)["error"]
            self.assertIn(error["code"], ("INVALID_MESSAGE", "INIT_FAILED"), definition)
            self.assertIn(word, error["message"], definition)
        self.control_error("create_agent", {"agent_id": "x", "agent_type": "echo", "subscribed_topics": ["compozy.commands.>"]},
                           "TOPIC_FORBIDDEN")
        self.assertIsNone(self.agent_state("x"))

    def test_agents_appear_in_and_vanish_from_the_dispatchers_list_before_the_verb_is_answered(self):
        for number in range(10):
            self.create(f"listed-{number}")
            self.assertEqual(self.hosted()[f"listed-{number}"]["agent_type"], "echo")
        for number in range(10):
            self.control("delete_agent", f"listed-{number}")
            self.assertNotIn(f"listed-{number}", self.hosted())
            self.assert_failure(self.trigger_input(f"listed-{number}", 1), "AGENT_UNKNOWN")

    def test_agents_are_listed_in_pages_that_miss_none(self):
        for number in range(25):
            self.create(f"paged-{number:02}")
        found, after = [], "paged-"
        while after:
            page = self.control("list_agents", {"after": after, "limit": 7})
            self.assertLessEqual(len(page["agents"]), 7)
            found += [agent["agent_id"] for agent in page["agents"] if agent["agent_id"].startswith("paged-")]
            after = page.get("next")
        self.assertEqual(found, [f"paged-{number:02}" for number in range(25)])

    def test_verbs_about_an_agent_that_is_not_there_say_so(self):
        for verb in ("delete_agent", "start_agent", "stop_agent", "pause_agent", "resume_agent", "checkpoint_agent", "get_agent",
                     "get_agent_subscriptions"):
            self.assertIn("nobody", self.control_error(verb, "nobody", "AGENT_NOT_FOUND")["message"])
            self.assertIn("agent_id", self.control_error(verb, {}, "INVALID_MESSAGE")["message"])
        for verb in ("subscribe_agent", "unsubscribe_agent"):
            self.control_error(verb, {"agent_id": "nobody", "topic": "a.b"}, "AGENT_NOT_FOUND")

    def test_an_unknown_verb_is_told_what_there_is(self):
        error = self.control_error("creat_agent" + "x" * 40, {}, "INVALID_MESSAGE")
        self.assertTrue(error["message"].startswith('verb "creat_agentxxx'), error)
        self.assertTrue(error["message"].endswith(", subscribe_agent, unsubscribe_agent"), error)  # to the last one


class Living(Agents):
    shared = True
    dispatchers = ("d1",)  # triggers of one caller keep their order only on the way through one of them

    def test_a_paused_agent_keeps_its_mail_and_handles_it_in_order_when_it_is_resumed(self):
        self.create("thinker", "counter")
        self.assertEqual(self.control("pause_agent", "thinker")["state"], "paused")
        inbox = self.client.subscribe("thinker.inbox.*")
        for number in range(50):
            self.client.publish(f"{TRIGGER}.thinker", {"payload": {"deadline_ms": 20000}}, f"thinker.inbox.{number}")
        wait_until("all are in its mailbox", lambda: self.control("get_agent", "thinker")["mailbox"]["queued"] == 50, 5)
        self.assertEqual(len(inbox), 0)
        self.assertEqual(self.control("get_agent", "thinker")["state"], "paused")
        self.assertEqual(self.control("resume_agent", "thinker")["state"], "running")
        counts = {}
        for _ in range(50):
            message = inbox.next(scaled(5))
            counts[int(message.subject.rpartition(".")[2])] = message.json()["payload"]["result"]["output"]["count"]
        self.assertEqual(counts, {number: number + 1 for number in range(50)})

    def test_pause_is_answered_when_nothing_is_being_handled_any_more(self):
        self.create("busy", exec_agent())
        inbox = self.hold_at_gate("busy", "busy-1")
        paused = self.client.subscribe("busy.paused")
        self.client.publish(f"{CONTROL}.pause_agent", {"agent_id": "busy"}, "busy.paused")
        wait_until("it is about to pause", lambda: self.agent_state("busy") != "running", 5)
        holds_for("that is not answered", lambda: len(paused) == 0, 0.1)
        self.open_gate("busy-1")
        self.assertEqual(paused.next(scaled(5)).json()["result"]["state"], "paused")
        self.assert_success(inbox.next(scaled(5)).json())

    def test_what_a_paused_agent_holds_past_its_deadline_is_answered_then(self):
        self.create("asleep")
        self.control("pause_agent", "asleep")
        began = time.monotonic()
        self.assert_failure(self.trigger_input("asleep", 1, deadline_ms=300), "DEADLINE_EXCEEDED")
        self.assertLess(time.monotonic() - began, in_time(0.3))

    def test_a_stopped_agent_takes_nothing_until_it_is_started(self):
        self.create("worker", "counter")
        self.trigger_input("worker", 1)
        self.assertEqual(self.control("stop_agent", "worker")["state"], "stopped")
        self.assert_failure(self.trigger_input("worker", 1), "AGENT_STOPPED")
        self.assertEqual(self.hosted()["worker"]["state"] if "state" in self.hosted()["worker"] else "stopped", "stopped")
        self.assertEqual(self.control("start_agent", "worker")["state"], "running")
        self.assert_success(self.trigger_input("worker", 1))

    def test_a_stop_lets_the_agent_finish_what_it_holds(self):
        self.create("finisher", "delay")
        began = time.monotonic()
        inbox = self.hold("finisher", "finish-1", {"ms": 400})
        self.assertEqual(self.control("stop_agent", "finisher")["state"], "stopped")
        self.assertGreaterEqual(time.monotonic() - began, 0.4)
        self.assert_success(inbox.next(scaled(5)).json())

    def test_a_stop_that_discards_answers_what_the_agent_holds_at_once(self):
        self.create("dropper", "delay")
        inbox = self.hold("dropper", "drop-1", {"ms": 50000})
        began = time.monotonic()
        self.control("stop_agent", {"agent_id": "dropper", "mode": "discard"})
        self.assert_failure(inbox.next(scaled(5)).json(), "AGENT_STOPPED")
        self.assertLess(time.monotonic() - began, in_time(0))

    def test_a_transition_that_is_none_is_refused_with_both_states(self):
        self.create("fickle")
        for prepare, verb, states in (([], "start_agent", ("running", "starting")), ([], "resume_agent", ("running", "running")),
                                      (["pause_agent"], "pause_agent", ("paused", "paused")), ([], "start_agent", ("paused", "starting")),
                                      (["resume_agent", "stop_agent"], "stop_agent", ("stopped", "stopped")),
                                      ([], "pause_agent", ("stopped", "paused")), ([], "resume_agent", ("stopped", "running"))):
            for step in prepare:
                self.control(step, "fickle")
            message = self.control_error(verb, "fickle", "INVALID_TRANSITION")["message"]
            for state in states:
                self.assertIn(state, message, f"{verb}: {message}")

    def test_a_verb_that_meets_another_under_way_is_answered_all_the_same(self):
        self.create("meeting", exec_agent())
        inbox = self.hold_at_gate("meeting", "meet-1")
        answers = self.client.subscribe("meeting.*")
        for number, verb in enumerate(("stop_agent", "stop_agent", "pause_agent", "start_agent", "delete_agent", "delete_agent", "start_agent")):
            self.client.publish(f"{CONTROL}.{verb}", {"agent_id": "meeting"}, f"meeting.{number}")
        self.control("status")  # it has met them all
        self.open_gate("meet-1")
        found = {}
        while len(found) < 7:
            message = answers.next(scaled(5))
            answer = message.json()
            found[int(message.subject[-1])] = "ok" if answer["ok"] else answer["error"]["code"]
        self.assertEqual(found[0], "ok")
        self.assertEqual({found[2], found[3], found[6]}, {"INVALID_TRANSITION"})
        self.assertIn(found[1], ("ok", "INVALID_TRANSITION"))
        self.assertEqual((found[4], found[5]), ("ok", "ok"))
        self.assert_success(inbox.next(scaled(5)).json())
        self.assertIsNone(self.agent_state("meeting"))

    def test_a_full_mailbox_answers_MAILBOX_FULL_and_counts_it(self):
        self.create("small", "echo", mailbox_capacity=5)
        self.create("lossy", "echo", mailbox_capacity=5, overflow="drop_oldest")
        for agent, kept in (("small", range(5)), ("lossy", range(15, 20))):
            self.control("pause_agent", agent)
            inbox = self.client.subscribe(f"{agent}.inbox.*")
            for number in range(20):
                self.client.publish(f"{TRIGGER}.{agent}", {"payload": {"deadline_ms": 20000}}, f"{agent}.inbox.{number}")
            refused = set()
            for _ in range(15):
                message = inbox.next(scaled(5))
                self.assert_failure(message.json(), "MAILBOX_FULL")
                refused.add(int(message.subject.rpartition(".")[2]))
            self.assertEqual(refused, set(range(20)) - set(kept))
            self.assertEqual(self.control("get_agent", agent)["mailbox"]["shed"], 15)
            self.control("resume_agent", agent)
            for number in kept:
                message = inbox.next(scaled(5))
                self.assert_success(message.json())
                self.assertEqual(message.subject, f"{agent}.inbox.{number}")

    def test_deleting_an_agent_runs_its_stop_hook_and_ends_its_process(self):
        path = os.path.join(self.world.directory, "goodbyes")
        for mode in ("drain", "discard"):
            self.create(f"leaver-{mode}", exec_agent({"say_goodbye": path}))
            pid = self.trigger_input(f"leaver-{mode}", {"do": "pid"})["payload"]["result"]["output"]["pid"]
            self.control("delete_agent", {"agent_id": f"leaver-{mode}", "mode": mode})
            self.assertFalse(is_alive(pid))
            with open(path, encoding="utf-8") as file:
                self.assertIn(f"leaver-{mode}", file.read().split())
            self.assertEqual(self.world.nats.subscriptions(f"leaver-{mode}"), [])


class Deleting(Agents):
    """Under load."""

    def check(self, mode, wanted):
        self.create("victim", "delay")
        load = Load(self.world.client("load"), [("victim", {"ms": 20}, 3), ("greeter", "x", 1)], outstanding=100, deadline_ms=8000).start()
        for _ in range(4):
            load.wait_answered(load.n_answered + 300, scaled(20))
            self.control("delete_agent", {"agent_id": "victim", "mode": mode})
            holds_for("it is gone", lambda: self.agent_state("victim") is None, 0.05)
            self.create("victim", "delay")
        load.wait_answered(load.n_answered + 100, scaled(20))
        load.finish()
        counts = load.counts()
        self.assertEqual(sum(counts.values()), load.n_sent)
        self.assertLessEqual(set(counts), wanted, counts)
        self.assertGreater(counts["SUCCESS"], 1000)
        self.assertEqual({record.outcome for record in load.records.values() if record.agent == "greeter"}, {"SUCCESS"})
        self.assertEqual(load.answered_differently(), [])

    def test_a_drained_deletion_under_load_answers_every_trigger(self):
        self.check("drain", {"SUCCESS", "FAILURE AGENT_UNKNOWN", "FAILURE AGENT_STOPPED"})

    def test_a_discarding_deletion_under_load_answers_every_trigger(self):
        self.check("discard", {"SUCCESS", "FAILURE AGENT_UNKNOWN", "FAILURE AGENT_STOPPED"})


class Reloading(Case):
    """Definitions that change in their directory, and a SIGHUP."""

    def start(self, agents):
        self.world.server()
        self.world.dispatcher(options={"dispatcher.rehost_wait_ms": round(scaled(100))})
        self.runtime = self.world.runtime("r1", agents=agents)
        self.client = self.world.client()
        self.wait_runtimes("r1")
        for agent in agents:
            self.wait_agent(agent)

    def reload(self, agents, gone=()):
        directory = self.world.agents_dir("r1", agents)
        for agent in gone:
            os.unlink(os.path.join(directory, agent + ".json"))
        n_before = self.runtime.log().count("was read again")
        self.runtime.signal(signal.SIGHUP)
        wait_until("it says so", lambda: self.runtime.log().count("was read again") > n_before, 10)

    def greeting(self, agent="greeter"):
        return self.trigger_input(agent, {"do": "parameters"})["payload"]["result"]["output"].get("greeting")

    def test_a_definition_that_changes_under_load_costs_no_trigger_and_no_state(self):
        self.start({"greeter": exec_agent({"greeting": 0}), "tally": "counter"})
        load = Load(self.world.client("load"), [("greeter", {"do": "count"}, 1), ("tally", 1, 1)], outstanding=20, deadline_ms=10000).start()
        for turn in range(1, 4):
            load.wait_answered(load.n_answered + 100, scaled(20))
            self.reload({"greeter": exec_agent({"greeting": turn}), "tally": {"agent_type": "counter", "parameters": {"start": turn}}})
            wait_until("it is what it is now", lambda turn=turn: self.greeting() == turn, 10)
        load.wait_answered(load.n_answered + 100, scaled(20))
        load.finish()
        self.assertEqual(load.counts(), {"SUCCESS": load.n_sent})
        for agent in ("greeter", "tally"):
            counts = [record.output["count"] for record in load.records.values() if record.agent == agent]
            self.assertEqual(sorted(counts), list(range(1, len(counts) + 1)))

    def test_a_definition_whose_init_fails_leaves_the_agent_as_it_was(self):
        self.start({"greeter": exec_agent({"greeting": "old"}, subscribed_topics=["hello.old"])})
        self.assert_success(self.trigger_input("greeter", {"do": "count"}), {"count": 1})
        self.reload({"greeter": exec_agent({"greeting": "new", "refuse": "not so"}, subscribed_topics=["hello.new"])})
        self.runtime.wait_log("greeter.*not so", 10)
        self.wait_agent("greeter")
        self.assertEqual(self.greeting(), "old")
        self.assert_success(self.trigger_input("greeter", {"do": "count"}), {"count": 2})
        topics = {one["topic"] for one in self.control("get_agent_subscriptions", "greeter")["subscriptions"]}
        self.assertEqual(topics, {"agent.greeter.replies", "hello.old"})

    def test_files_that_come_and_go_are_agents_that_come_and_go(self):
        self.start({"old": "echo", "kept": "counter"})
        self.assert_success(self.trigger_input("kept", 1), {"count": 1})
        self.reload({"new": "echo", "kept": "counter"}, gone=["old"])
        wait_until("the new one is known", lambda: self.trigger_input("new", 1, deadline_ms=500)["payload"]["status"] == "SUCCESS", 5)
        wait_until("the old one is gone", lambda: self.agent_state("old") is None, 5)
        self.assert_failure(self.trigger_input("old", 1), "AGENT_UNKNOWN")
        self.assert_success(self.trigger_input("kept", 1), {"count": 2})

    def test_an_agent_made_by_create_agent_outlives_a_reload(self):
        self.start({"filed": "echo"})
        self.create("made", "counter")
        self.assert_success(self.trigger_input("made", 1), {"count": 1})
        self.reload({"filed": "echo"})
        self.assert_success(self.trigger_input("made", 1), {"count": 2})


class Many(Agents):
    bound = 120.0

    def test_10000_agents_created_in_one_go_are_all_answered_and_all_known_with_few_messages(self):
        n = 10000
        before = self.runtime.metrics()
        creator = self.world.client("creator")
        answers = creator.subscribe("many.created.*")
        began = time.monotonic()
        batch = []
        for number in range(n):
            batch.append(creator.encode(f"{CONTROL}.create_agent", {"agent_id": f"many-{number:05}", "agent_type": "echo"},
                                        f"many.created.{number}"))
            if len(batch) == 1000:
                creator.publish_many(batch)
                batch = []
        first = None
        for _ in range(n):
            message = answers.next(scaled(30))
            self.assertTrue(json.loads(message.data)["ok"], message)
            first = first or message.subject.rpartition(".")[2]
        seconds = time.monotonic() - began
        # whoever acts upon an answer finds that everybody knows
        self.assert_success(self.trigger_input("many-09999", "last"), "last")
        wait_until("a dispatcher counts them all", lambda: self.runtimes()["r1"]["agents"] == n + 3, 5)
        hosted = self.hosted()
        self.assertEqual(sum(agent.startswith("many-") for agent in hosted), n)
        after = self.runtime.metrics()
        sent = {name: after[name] - before[name] for name in ("compozy_runtime_registrations_total", "compozy_runtime_updates_total")}
        self.assertLess(sent["compozy_runtime_registrations_total"], 50, sent)
        self.assertLess(sent["compozy_runtime_updates_total"], n / 4, sent)
        self.assertEqual(len(self.world.nats.subscriptions("agent.many-")), n)
        print(f"{n} agents created in {seconds:.2f} s, {sent}")

        for number in range(n):
            creator.publish(f"{CONTROL}.delete_agent", {"agent_id": f"many-{number:05}"}, "many.created.x")
        for _ in range(n):
            self.assertTrue(json.loads(answers.next(scaled(30)).data)["ok"])
        wait_until("a dispatcher has forgotten them all", lambda: self.runtimes()["r1"]["agents"] == 3, 5)
        wait_until("the server has, too", lambda: self.world.nats.subscriptions("agent.many-") == [], 5)
