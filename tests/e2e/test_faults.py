# SPDX-License-Identifier: MIT
"""Processes killed, paused and restarted, most of it under load."""

import collections
import json
import signal
import time

from harness import DEFINITIONS, FAST_HEARTBEAT, INSTANCES, PREFIX, SHORT_WINDOWS, VERBS, Case, holds_for, scaled, wait_until
from load import Load

REPORTED_WITHIN = 0.25  # a millisecond, but for a busy machine
MIX = [("greeter", "hi", 3), ("sleeper", {"ms": 20}, 2)]


class Fleet(Case):
    jetstream = False
    dispatchers = ("d1",)

    def build(self):
        self.world.server(jetstream=self.jetstream)
        for name in self.dispatchers:
            self.world.dispatcher(name, SHORT_WINDOWS)
        self.r1 = self.world.runtime("r1", options=FAST_HEARTBEAT)
        self.r2 = self.world.runtime("r2", options=FAST_HEARTBEAT)
        self.d1 = self.world.processes[1]
        self.client = self.world.client()
        self.wait_runtimes("r1", "r2")
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")

    def epochs(self, client=None):
        return {name: record["epoch"] for name, record in self.runtimes(client).items()}

    def verdicts_told(self):
        return [(event["agent_runtime"]["runtime_id"], event["payload"]["context"]["reason"])
                for event in (message.json() for message in self.verdicts.taken())]

    def watch_starts(self):
        """
        {exec_id: [when]} of the started events; self.reported: of which a report said that they were. Reports leave before events, so one
        who dies in between has told the dispatcher alone.
        """
        started, self.reported = collections.defaultdict(list), set()
        watcher = self.world.client("watcher")
        watcher.subscribe(f"{INSTANCES}.*.started", lambda message: started[message.subject.split(".")[4]].append(message.at))
        watcher.subscribe(f"{PREFIX}.dispatcher.*.report.*", lambda message: self.reported.update(
            one["exec_id"] for one in message.json()["payload"]["executions"] if one["state"] == "started"))
        watcher.flush()
        self.watcher = watcher
        return started

    def assert_ran_once(self, started, lost_at):
        """
        Under `unstarted` an execution runs again only if its start had not been reported when its runtime was lost: so only what was started
        in the last moment. Returns the number of those.
        """
        self.watcher.flush(scaled(5))
        twice = [times for times in started.values() if len(times) > 1]
        self.assertEqual([times for times in twice if times[0] < lost_at - scaled(REPORTED_WITHIN)], [])
        self.assertEqual([times for times in twice if len(times) > 2], [])
        return len(twice)

    def load(self, mix=None, **options):
        options.setdefault("rate", 1500 / scaled(1))
        client = self.world.client("load")
        return Load(client, mix or MIX, **options).start()

    def assert_nothing_lost(self, load, killed_at=None):
        self.assertEqual([record.outcome for record in load.failed()], [], load.counts())
        self.assert_answered_once(load, killed_at)

    def assert_answered_once(self, load, killed_at=None):
        """`killed_at`: then a runtime died, perhaps between an answer and its report."""
        twice = [(record.exec_id, record.attempt, record.again) for record in load.answered_twice()]
        if killed_at:
            twice = load.answered_twice_without_need(killed_at, scaled(REPORTED_WITHIN))
        self.assertEqual(twice, [])


class RuntimeKilled(Fleet):
    def test_a_runtime_killed_under_load_loses_no_trigger_under_always(self):
        load = self.load(retry="always", deadline_ms=20000)
        load.wait_answered(500, scaled(20))
        killed_at = time.monotonic()
        self.r1.kill()
        wait_until("the dead runtime is out of the registry", lambda: set(self.runtimes()) == {"r2"}, 20)
        load.wait_answered(load.n_answered + 500, scaled(20))
        load.finish()
        self.assert_nothing_lost(load, killed_at)
        self.assertGreater(len(load.placed_again()), 0)
        self.assertEqual(self.verdicts_told(), [("r1", "heartbeat_timeout")])

    def test_a_runtime_killed_under_load_leaves_only_started_executions_unfinished_under_unstarted(self):
        started = self.watch_starts()
        load = self.load([("sleeper", {"ms": int(scaled(600))}, 1), ("greeter", 1, 6)], retry="unstarted", deadline_ms=15000, outstanding=64)
        load.wait_answered(500, scaled(20))
        killed_at = time.monotonic()
        self.r1.kill()
        wait_until("the dead runtime is out of the registry", lambda: set(self.runtimes()) == {"r2"}, 20)
        load.wait_answered(load.n_answered + 500, scaled(20))
        load.finish()
        self.assertEqual(load.unanswered(), [], load.counts())
        self.assert_answered_once(load, killed_at)
        self.assertEqual(load.late(), [])
        self.watcher.flush(scaled(5))
        for record in load.failed():
            self.assertEqual(record.outcome, "FAILURE RUNTIME_LOST")
            self.assertIn(record.exec_id, self.reported, "it was given up but no runtime had started it")
            self.assertLessEqual(len(started.get(record.exec_id, [])), 1, f"{record.exec_id} was started twice and given up")
        self.assert_ran_once(started, killed_at)
        self.assertGreater(load.counts()["SUCCESS"], 900)
        self.assertLessEqual(len(load.failed()), load.outstanding)

    def test_a_runtime_killed_while_idle_is_noticed_and_gets_no_work(self):
        killed_at = time.monotonic()
        self.r1.kill()
        wait_until("the dead runtime is out of the registry", lambda: set(self.runtimes()) == {"r2"}, 20)
        self.assertEqual(self.verdicts_told(), [("r1", "heartbeat_timeout")])
        for i in range(20):
            self.assertEqual(self.trigger_input("greeter", i)["agent_runtime"]["runtime_id"], "r2")

    def test_a_killed_runtime_that_is_started_again_gets_work_again(self):
        before = self.epochs()["r1"]
        self.r1.kill()
        self.r1.start()
        wait_until("it is back with a higher epoch", lambda: self.epochs().get("r1", 0) > before, 5)
        self.wait_runtimes("r1", "r2")
        wait_until("it is given work",
                   lambda: self.trigger_input("greeter", 1)["agent_runtime"]["runtime_id"] == "r1", 10)

    def test_both_runtimes_killed_leave_no_caller_hanging_and_work_resumes_when_they_return(self):
        load = self.load(retry="always", deadline_ms=int(scaled(4000)))
        load.wait_answered(300, scaled(20))
        self.r1.kill()
        self.r2.kill()
        inbox = self.client.subscribe("after.inbox")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", {"payload": {"deadline_ms": 3000}}, "after.inbox")
        inbox.next(3 + scaled(1)).json()
        load.finish()
        self.assertEqual(load.unanswered(), [], load.counts())
        self.assertEqual(load.late(), [])
        self.r1.start()
        self.r2.start()
        self.wait_runtimes("r1", "r2")
        self.assert_success(self.trigger_input("greeter", 1), 1)


class RuntimePaused(Fleet):
    def test_a_runtime_paused_under_load_comes_back_with_a_new_epoch_and_nothing_ran_twice(self):
        started = self.watch_starts()
        before = self.epochs()
        load = self.load([("tally", {}, 8), ("sleeper", {"ms": int(scaled(500))}, 1)], retry="unstarted", deadline_ms=15000, outstanding=64)
        load.wait_answered(500, scaled(20))
        paused_at = time.monotonic()
        self.r1.pause()
        wait_until("the paused runtime is out of the registry", lambda: set(self.runtimes()) == {"r2"}, 20)
        load.wait_answered(load.n_answered + 300, scaled(20))
        self.r1.resume()
        wait_until("it is back with a new epoch", lambda: self.epochs().get("r1", 0) > before["r1"], 10)
        self.wait_runtimes("r1", "r2")
        load.wait_answered(load.n_answered + 300, scaled(20))
        load.finish()
        self.assertEqual(load.unanswered(), [], load.counts())
        self.assert_answered_once(load, paused_at)
        for record in load.failed():
            self.assertEqual(record.outcome, "FAILURE RUNTIME_LOST")
        wait_until("work goes to it again", lambda: self.trigger_input("greeter", 1)["agent_runtime"]["runtime_id"] == "r1" or self.runtimes() and False, 10)
        n_twice = self.assert_ran_once(started, paused_at)
        # each runtime counted what it ran: together no more than was asked for
        n_run = 0
        for name in ("r1", "r2"):
            answer = self.client.request(f"{PREFIX}.runtime.{name}.trigger", {"agent": {"id": "tally", "exec_id": f"last-{name}"}}, scaled(5))
            n_run += answer.json()["payload"]["result"]["output"]["count"] - 1
        asked = [record for record in load.records.values() if record.agent == "tally"]
        self.assertLessEqual(n_run, len(asked) + n_twice)
        self.assertGreaterEqual(n_run, len([record for record in asked if record.status == "SUCCESS"]))
        self.assertEqual(self.epochs()["r2"], before["r2"])

    def test_a_runtime_paused_for_less_than_the_window_keeps_its_epoch(self):
        before = self.epochs()
        self.r1.pause()
        holds_for("it is paused", lambda: True, 0.25)
        self.r1.resume()
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 1.0)
        self.assertEqual(self.epochs(), before)


class DispatcherRestarted(Fleet):
    def test_a_dispatcher_stopped_and_started_under_load_loses_nothing_that_it_took(self):
        before = self.epochs()
        load = self.load(retry="always", deadline_ms=15000)
        load.wait_answered(300, scaled(20))
        self.assertEqual(self.d1.terminate(), 0)
        self.d1.start()
        load.wait_answered(load.n_answered + 500, scaled(20))
        load.finish()
        lost = [record.outcome for record in load.failed() if record.status != "NOT_TAKEN"]
        self.assertEqual(lost, [], load.counts())
        self.assert_answered_once(load)
        self.assertEqual(self.epochs(), before)
        self.assertEqual(self.verdicts_told(), [])

    def test_a_dispatcher_killed_and_started_again_knows_its_fleet_within_a_second(self):
        before = self.epochs()
        load = self.load(retry="always", deadline_ms=int(scaled(3000)))
        load.wait_answered(300, scaled(20))
        self.d1.kill()
        self.d1.start(wait=False)
        wait_until("it answers", lambda: self.client.request(f"{VERBS}.status", {}), 5)
        wait_until("it knows both runtimes", lambda: self.epochs() == before, 1.0)
        n_before = load.n_sent
        load.wait_answered(load.n_answered + 500, scaled(20))
        load.finish()
        self.assert_answered_once(load)
        late = [record for record in load.failed() if int(record.exec_id.rpartition("-")[2]) > n_before + load.outstanding]
        self.assertEqual(late, [], load.counts())
        self.assertEqual(self.verdicts_told(), [])


class DispatcherPaused(Fleet):
    waits = True
    bound = 120.0

    def test_a_dispatcher_paused_for_30_seconds_declares_no_healthy_runtime_dead(self):
        before = self.epochs()
        load = self.load(retry="always", deadline_ms=60000, rate=200)
        load.wait_answered(100, scaled(20))
        self.d1.pause()
        holds_for("the runtimes run", lambda: self.r1.is_running() and self.r2.is_running(), 30.0)
        self.d1.resume()
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.0)
        self.assertEqual(self.epochs(), before)
        self.wait_runtimes("r1", "r2")
        self.assert_success(self.trigger_input("greeter", "after"), "after")
        load.finish()
        self.assert_nothing_lost(load)
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.0)


    def test_a_dispatcher_paused_while_the_server_was_restarted_declares_nobody_dead_when_it_wakes(self):
        before = self.epochs()
        self.d1.pause()
        self.world.nats.kill()
        self.world.nats.start()
        self.client = self.world.client()
        for name in ("r1", "r2"):
            wait_until(f"{name} is connected again", lambda name=name: self.client.request(f"{PREFIX}.runtime.{name}.control.status", {}), 10)
        holds_for("the runtimes run", lambda: self.r1.is_running() and self.r2.is_running(), 2.0)
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")
        self.client.flush()
        self.d1.resume()
        wait_until("triggers work", lambda: self.trigger_input("greeter", 1)["payload"]["status"] == "SUCCESS", 8)
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.0)
        self.assertEqual(self.epochs(), before)


class ServerRestarted(Fleet):
    """The server's clients are cut off together; nobody may conclude from it that anybody died."""

    jetstream = True
    dispatchers = ("d1", "d2")

    def restart(self, number):
        before = self.epochs()
        load = self.load(retry="always", deadline_ms=5000)
        load.wait_answered(300, scaled(20))
        self.world.nats.signal(number)
        self.world.nats.wait()
        self.world.nats.start()
        load.finish(timeout=1)
        self.client = self.world.client()
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")
        wait_until("triggers work", lambda: self.trigger_input("greeter", 1)["payload"]["status"] == "SUCCESS", 6)
        self.wait_runtimes("r1", "r2")
        self.assertEqual(self.epochs(), before)
        load = self.load(retry="always", deadline_ms=5000, total=500)
        load.finish(stop=False, timeout=scaled(20))
        self.assert_nothing_lost(load)
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 1.5)
        for name in self.dispatchers:
            daemon = next(process for process in self.world.processes if process.name == name)
            self.assertNotIn("heartbeat_timeout", daemon.log())

    def test_the_server_killed_under_load_and_started_again_leaves_everybody_registered(self):
        self.restart(signal.SIGKILL)

    def test_the_server_stopped_under_load_and_started_again_leaves_everybody_registered(self):
        self.restart(signal.SIGTERM)

    def test_a_server_gone_for_longer_than_the_window_leaves_everybody_registered(self):
        before = self.epochs()
        self.world.nats.kill()
        holds_for("all wait for it", lambda: all(process.is_running() for process in self.world.processes[1:]), 2.0)
        self.world.nats.start()
        self.client = self.world.client()
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")
        wait_until("triggers work", lambda: self.trigger_input("greeter", 1)["payload"]["status"] == "SUCCESS", 8)
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 1.5)
        self.wait_runtimes("r1", "r2")
        self.assertEqual(self.epochs(), before)


class TwoDispatchers(Fleet):
    dispatchers = ("d1", "d2")

    def build(self):
        super().build()
        self.d2 = self.world.processes[2]

    def each_dispatchers(self, verb):
        """{dispatcher id: result} by asking until both have answered."""
        found = {}

        def ask():
            status = self.verb_ok("status")
            found.update({name: True for name in ("d1", "d2") if f"'{name}'" in str(status)})
            return len(found) == 2

        wait_until("both dispatchers answer verbs", ask, 10)
        return found

    def test_both_dispatchers_answer_verbs_and_know_every_runtime(self):
        self.each_dispatchers("status")
        for _ in range(20):
            self.assertEqual(set(self.runtimes()), {"r1", "r2"})

    def test_triggers_are_shared_out_between_the_dispatchers(self):
        from fakeruntime import FakeRuntime

        fake = FakeRuntime(self.world.client("fake"), "fake", agents=["watched"])
        self.assertEqual({answer["result"]["dispatcher_id"] for answer in fake.register(n_answers=2)}, {"d1", "d2"})
        fake.start_beating()
        for i in range(60):
            self.assert_success(self.trigger_input("watched", i), i)
        by = collections.Counter(relay["dispatch"]["dispatcher_id"] for relay in fake.relays)
        self.assertGreater(by["d1"], 5)
        self.assertGreater(by["d2"], 5)

    def test_a_runtime_killed_under_load_loses_no_trigger_of_either_dispatcher(self):
        load = self.load(retry="always", deadline_ms=20000)
        load.wait_answered(500, scaled(20))
        killed_at = time.monotonic()
        self.r1.kill()
        load.wait_answered(load.n_answered + 800, scaled(20))
        load.finish()
        self.assert_nothing_lost(load, killed_at)
        wait_until("both have it out", lambda: all(set(self.runtimes()) == {"r2"} for _ in range(8)), 20)

    def test_a_dispatcher_stopped_under_load_hands_over_to_the_other_without_a_loss(self):
        load = self.load(retry="always", deadline_ms=20000)
        load.wait_answered(300, scaled(20))
        self.assertEqual(self.d1.terminate(), 0)
        load.wait_answered(load.n_answered + 300, scaled(20))
        self.d1.start()
        load.wait_answered(load.n_answered + 300, scaled(20))
        load.finish()
        self.assert_nothing_lost(load)
        self.assertEqual(self.verdicts_told(), [])

    def test_a_dispatcher_killed_under_load_takes_only_what_it_held_with_it(self):
        load = self.load(retry="always", deadline_ms=int(scaled(3000)))
        load.wait_answered(300, scaled(20))
        self.d1.kill()
        load.wait_answered(load.n_answered + 500, scaled(20))
        load.finish()
        self.assertLessEqual(len(load.failed()), load.outstanding)
        self.assert_answered_once(load)
        self.assertEqual(self.verdicts_told(), [])
        self.assertEqual(set(self.runtimes()), {"r1", "r2"})

    def test_a_dispatcher_paused_while_the_other_works_declares_nobody_dead_when_it_wakes(self):
        before = self.epochs()
        self.d1.pause()
        holds_for("the runtimes run", lambda: self.r1.is_running(), 3.0)
        self.d1.resume()
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.0)
        for _ in range(10):
            self.assertEqual(self.epochs(), before)
        self.assert_success(self.trigger_input("greeter", 1), 1)

    def test_a_drain_told_to_one_dispatcher_is_known_to_the_other(self):
        self.verb_ok("drain_runtime", {"runtime_id": "r1"})
        wait_until("both say draining", lambda: all(self.runtimes()["r1"]["state"] == "draining" for _ in range(10)), 5)
        for i in range(20):
            self.assertEqual(self.trigger_input("greeter", i)["agent_runtime"]["runtime_id"], "r2")


class ManyEvents(Fleet):
    def test_every_execution_under_load_is_told_as_started_and_completed_exactly_once(self):
        told = collections.Counter()
        watcher = self.world.client("watcher")
        watcher.subscribe(f"{INSTANCES}.>", lambda message: told.update([json.loads(message.data)["metadata"]["type"]]))
        watcher.flush()
        load = self.load(total=2000, outstanding=128, rate=None)
        load.finish(stop=False, timeout=scaled(30))
        self.assert_nothing_lost(load)
        wait_until("all are told", lambda: told["AgentExecutionCompleted"] >= 2000, 10)
        self.assertEqual(dict(told), {"AgentExecutionStarted": 2000, "AgentExecutionCompleted": 2000})
