# SPDX-License-Identifier: MIT
"""Agents' states across restarts, crashes and damage. The counter's outputs are the witness: its state is the count."""

import glob
import os
import random
import re
import time

from harness import Case, exec_agent, holds_for, scaled, wait_until
from load import Load

EACH = {"agent_type": "counter", "checkpoint_interval_ms": 0}  # no answer before it is durable
SELDOM = {"agent_type": "counter", "checkpoint_interval_ms": 600000}


class State(Case):
    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher()
        self.client = self.world.client()

    @property
    def path(self):
        return os.path.join(self.world.directory, "state.db")

    def start(self, agents, name="r1", path=None, wait=True):
        runtime = self.world.runtime(name, agents=agents, options={"runtime.state_store": f"sqlite:{path or self.path}"})
        if wait:
            self.wait_runtimes(*[process.id for process in self.world.processes if process.name.startswith("r")])
        return runtime

    def restart(self, runtime):
        runtime.start()
        self.wait_runtimes(runtime.id)

    def count(self, agent="tally", **payload):
        result = self.trigger_input(agent, 1, **payload)
        self.assert_success(result)
        return result["payload"]["result"]["output"]["count"]

    def counts(self, n, agent="tally"):
        return [self.count(agent) for _ in range(n)]

    def damage(self, change):
        """`change` gets the bytes of the database, after a stop that left all in one file, and returns others."""
        self.assertEqual([name for name in glob.glob(self.path + "*") if os.path.getsize(name) and not name.endswith(".db")], [])
        with open(self.path, "rb") as file:
            data = file.read()
        changed = change(data)
        self.assertNotEqual(changed, data)
        with open(self.path, "wb") as file:
            file.write(changed)


class Restarts(State):
    def test_a_count_goes_on_after_a_stop_however_seldom_it_is_kept(self):
        runtime = self.start({"tally": SELDOM, "each": EACH})
        for turn in range(3):
            self.assertEqual(self.counts(5), list(range(5 * turn + 1, 5 * turn + 6)))
            self.assertEqual(self.counts(2, "each"), [2 * turn + 1, 2 * turn + 2])
            self.assertEqual(runtime.terminate(), 0)
            self.restart(runtime)

    def test_a_stopped_agent_goes_on_with_its_count_when_it_is_started(self):
        self.start({"tally": SELDOM})
        self.assertEqual(self.counts(3), [1, 2, 3])
        self.control("stop_agent", "tally")
        self.control("start_agent", "tally")
        self.assertEqual(self.count(), 4)

    def test_an_interval_keeps_what_is_older_than_it(self):
        runtime = self.start({"tally": {"agent_type": "counter", "checkpoint_interval_ms": 50}})
        self.assertEqual(self.counts(5), [1, 2, 3, 4, 5])
        wait_until("it was kept", lambda: self.stored() == 5, 5)
        runtime.kill()
        self.restart(runtime)
        self.assertEqual(self.count(), 6)

    def stored(self):
        """The highest count in the files (of one digit: another number may stand behind it)."""
        found = [0]
        for name in glob.glob(self.path + "*"):
            with open(name, "rb") as file:
                found += [int(count) for count in re.findall(rb"counter 1 (\d)", file.read())]
        return max(found)

    def test_checkpoint_agent_answers_when_all_that_was_handled_survives_a_crash(self):
        runtime = self.start({"tally": SELDOM})
        self.counts(7)
        self.assertEqual(self.control("checkpoint_agent", "tally"), {"agent_id": "tally", "state": "running"})
        self.counts(3)
        runtime.kill()
        self.restart(runtime)
        self.assertEqual(self.count(), 8)

    def test_checkpoint_agent_of_one_that_keeps_nothing_says_so(self):
        self.start({"greeter": "echo"})
        self.assertIn("greeter", self.control_error("checkpoint_agent", "greeter", "STATE_ERROR")["message"])

    def test_a_deleted_agent_is_forgotten_unless_it_is_to_be_kept(self):
        self.start({})
        for keep, then in ((True, 4), (False, 1)):
            self.create("tally", EACH)
            self.counts(3 if keep else 1)
            self.control("delete_agent", {"agent_id": "tally", "keep_state": keep})
            self.create("tally", EACH)
            self.assertEqual(self.count(), then)
            if keep:
                self.control("delete_agent", {"agent_id": "tally", "keep_state": True})

    def test_a_child_process_gets_its_state_back_after_a_crash_and_after_a_restart(self):
        runtime = self.start({"snake": exec_agent(checkpoint_interval_ms=0, restart={"max": 5, "window_ms": 60000, "backoff_ms": 10})})
        self.wait_agent("snake")
        self.assertEqual([self.trigger_input("snake", {"do": "count"})["payload"]["result"]["output"]["count"] for _ in range(3)], [1, 2, 3])
        self.assert_failure(self.trigger_input("snake", {"do": "exit"}, retry="never"), "AGENT_CRASHED")
        self.assert_success(self.trigger_input("snake", {"do": "count"}), {"count": 4})
        runtime.kill()
        self.restart(runtime)
        self.wait_agent("snake")
        self.assert_success(self.trigger_input("snake", {"do": "count"}), {"count": 5})

    def test_many_agents_keep_their_counts_apart(self):
        runtime = self.start({f"tally-{number:03}": SELDOM for number in range(500)})
        load = Load(self.client, [(f"tally-{number:03}", 1, 1) for number in range(500)], outstanding=100, total=2500).start()
        load.finish(stop=False, timeout=scaled(30))
        self.assertEqual(load.counts(), {"SUCCESS": 2500})
        self.assertEqual(runtime.terminate(30), 0)
        self.restart(runtime)
        load = Load(self.client, [(f"tally-{number:03}", 1, 1) for number in range(500)], outstanding=100, total=500).start()
        load.finish(stop=False, timeout=scaled(30))
        self.assertEqual({record.output["count"] for record in load.records.values()}, {6})


class Crashes(State):
    bound = 120.0

    def test_counts_that_were_answered_never_come_again_through_ten_crashes_under_load(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        runtime = self.start({"tally": EACH, "other": EACH})
        load = Load(self.world.client("load"), [("tally", 1, 2), ("other", 1, 1)], outstanding=40, retry="never", deadline_ms=10000).start()

        def n_successes():
            return load.counts().get("SUCCESS", 0)

        for _ in range(10):
            wait_until("some are counted", lambda wanted=n_successes() + 60: n_successes() >= wanted)
            time.sleep(chance.uniform(0.0, 0.1))  # the random moment
            runtime.kill()
            self.restart(runtime)
        wait_until("some are counted", lambda wanted=n_successes() + 60: n_successes() >= wanted)
        load.finish()
        answered = sorted((record for record in load.records.values() if record.status == "SUCCESS"), key=lambda record: record.answered_at)
        highest = {"tally": 0, "other": 0}
        for record in answered:
            count = record.output["count"]
            self.assertGreater(count, highest[record.agent], f"seed {seed}: {record.agent} went back, or said a count twice")
            highest[record.agent] = count
        for agent, count in highest.items():
            self.assertGreater(self.count(agent), count, f"seed {seed}")
        # one who died between an answer and its report left the dispatcher to say that it was lost
        self.assertEqual([record.again for record in load.answered_twice() if any(status == "SUCCESS" for _, status, _ in record.again)], [])
        self.assertEqual(load.unanswered(), [])


class Damage(State):
    def prepare(self, **policies):
        """Agents named by their on_restore_error, each with two generations: 5 and 6."""
        agents = {policy: dict(EACH, on_restore_error=policy) for policy in ("fail", "fresh", "previous")}
        runtime = self.start(dict(agents, plain="echo", **policies))
        for agent in agents:
            self.assertEqual(self.counts(6, agent), [1, 2, 3, 4, 5, 6])
        self.assertEqual(runtime.terminate(), 0)
        return runtime

    def check_all(self, runtime, previous):
        """After damage to all records; `previous`: what the agent of that policy counts next, None: it has failed."""
        self.restart(runtime)
        self.assert_success(self.trigger_input("plain", "alive"), "alive")
        self.wait_agent("fail", "failed")
        runtime.wait_log(r"State of agent fail could not be restored.*on_restore_error: fail")
        self.assertIn("STATE_ERROR: its state could not be restored", self.control("get_agent", "fail")["failure"])
        self.assert_failure(self.trigger_input("fail", 1, deadline_ms=2000), "AGENT_FAILED")
        self.wait_agent("fresh")
        self.assertEqual(self.count("fresh"), 1)
        runtime.wait_log(r"State of agent fresh could not be restored.*on_restore_error: fresh")
        if previous:
            self.wait_agent("previous")
            self.assertEqual(self.count("previous"), previous)
        else:
            self.wait_agent("previous", "failed")

    def test_of_a_record_with_a_wrong_bit_the_policy_decides(self):
        runtime = self.prepare()

        def flip_all(data):
            places = [(int(match.group(1)), match.start(1)) for match in re.finditer(rb"counter 1 (\d)", data)]
            self.assertEqual(sorted(count for count, _ in places)[-3:], [6, 6, 6])
            changed = bytearray(data)
            for count, place in places:
                if count == 6:
                    changed[place] ^= 1
            return bytes(changed)

        self.damage(flip_all)
        self.check_all(runtime, previous=6)
        self.assertEqual(runtime.terminate(), 0)
        self.restart(runtime)
        self.wait_agent("fail", "failed")  # still the same damage, and nothing has written over it
        self.assertEqual(self.count("fresh"), 2)
        self.assertEqual(self.count("previous"), 7)

    def test_of_a_database_cut_in_half_the_policy_decides_and_nothing_is_lost_silently(self):
        runtime = self.prepare()
        self.damage(lambda data: data[:len(data) // 2])
        runtime.start()
        self.wait_runtimes("r1")
        self.assert_success(self.trigger_input("plain", "alive"), "alive")
        self.wait_agent("fail", "failed")
        for agent in ("fresh", "previous"):
            wait_until(f"{agent} is decided", lambda agent=agent: self.agent_state(agent) in ("running", "failed"), 10)
        runtime.wait_log(re.escape(self.path))

    def test_what_is_no_database_is_named_and_left_as_it_is(self):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("shopping list: eggs, milk\n" * 100)
        runtime = self.start({"fail": EACH, "fresh": dict(EACH, on_restore_error="fresh"), "plain": "echo"})
        self.assert_success(self.trigger_input("plain", "alive"), "alive")
        self.wait_agent("fail", "failed")
        runtime.wait_log(re.escape(self.path))
        self.assertEqual(runtime.terminate(), 0)
        with open(self.path, encoding="utf-8") as file:
            self.assertTrue(file.read().startswith("shopping list"))

    def test_a_directory_that_is_missing_is_named_and_the_agent_runs_once_it_is_there(self):
        directory = os.path.join(self.world.directory, "later")
        path = os.path.join(directory, "state.db")
        runtime = self.start({"tally": EACH, "plain": "echo"}, path=path)
        self.assert_success(self.trigger_input("plain", "alive"), "alive")
        self.wait_agent("tally", "failed")
        runtime.wait_log(re.escape(path))
        error = self.control_error("create_agent", dict(EACH, agent_id="new"), "STATE_ERROR")
        self.assertIn(path, error["message"])
        self.assertIsNone(self.agent_state("new"))
        os.mkdir(directory)
        self.assertEqual(self.control("start_agent", "tally")["state"], "running")
        self.assertEqual(self.counts(2), [1, 2])
        self.create("new", EACH)
        self.assertEqual(self.count("new"), 1)

    def test_while_nothing_can_be_kept_no_answer_claims_it_and_all_goes_on_when_it_can(self):
        directory = os.path.join(self.world.directory, "fragile")
        os.mkdir(directory)
        path = os.path.join(directory, "state.db")
        runtime = self.start({"tally": EACH, "strict": dict(EACH, on_checkpoint_error="stop"), "plain": "echo"}, path=path)
        self.assertEqual((self.counts(3), self.counts(1, "strict")), ([1, 2, 3], [1]))
        os.rename(directory, directory + ".away")
        with open(directory, "w", encoding="utf-8"):
            pass  # in its place, so that it can't be made again
        for agent in ("tally", "strict"):
            code = self.trigger_input(agent, 1, deadline_ms=700)["payload"]["result"]["error"]["code"]
            self.assertIn(code, ("DEADLINE_EXCEEDED", "STATE_ERROR", "AGENT_FAILED"))
        runtime.wait_log(r"State of agent tally could not be saved.*" + re.escape(path))
        self.wait_agent("strict", "failed")
        self.assertIn(path, self.control_error("checkpoint_agent", "tally", "STATE_ERROR")["message"])
        self.assert_success(self.trigger_input("plain", "alive"), "alive")
        self.assertEqual(self.agent_state("tally"), "running")
        os.unlink(directory)
        os.rename(directory + ".away", directory)
        runtime.wait_log(r"State of agent tally was saved after", 40)
        self.assertGreaterEqual(self.count(), 4)
        self.assertEqual(runtime.terminate(), 0)

    def test_a_bad_address_of_a_store_ends_the_start_and_is_named(self):
        for where in ("sqlite:", "nonsense", "jetstream:bucket", "sqlite"):
            runtime = self.world.runtime(f"r-{len(self.world.processes)}", agents={}, options={"runtime.state_store": where}, wait=False)
            self.assertNotEqual(runtime.wait(5), 0)
            self.assertIn("state_store", runtime.log())

    def test_of_two_runtimes_with_one_file_the_second_is_told(self):
        self.start({"tally": EACH})
        self.assertEqual(self.count(), 1)
        second = self.start({"rival": EACH, "plain": "echo"}, name="r2")
        self.wait_agent("rival", "failed", runtime="r2")
        second.wait_log(re.escape(self.path) + ".*in use")
        self.assert_success(self.trigger_input("plain", 1), 1)
        self.assertEqual(self.count(), 2)
        holds_for("the first goes on", lambda: self.agent_state("tally") == "running", 0.3)
        self.world.processes[2].terminate()
        self.assertEqual(self.control("start_agent", "rival", runtime="r2")["state"], "running")
        self.assertEqual(self.count("rival"), 1)

    def test_the_database_is_for_its_owner_alone(self):
        self.start({"tally": EACH})
        self.count()
        for name in glob.glob(self.path + "*"):
            self.assertEqual(os.stat(name).st_mode & 0o077, 0, name)
