# SPDX-License-Identifier: MIT
"""
Flow control: free slots, the dispatcher's queue, priorities, refusals. Where the slots have to be taken for a while, a runtime in Python keeps
its relays until it is told to answer them.
"""

import time

from fakeruntime import FakeRuntime
from harness import PREFIX, Case, scaled, wait_until
from load import Load

TRIGGER = f"{PREFIX}.commands.agent.adhoc.trigger"


class Flow(Case):
    def build(self):
        self.world.server()

    def start(self, slots, queue_limit=None):
        self.dispatcher = self.world.dispatcher(options={"dispatcher.queue_limit": queue_limit} if queue_limit else {})
        self.world.runtime("r1", options={"runtime.max_in_flight": slots})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        self.inbox = self.client.subscribe("flow.inbox.*")

    def start_with_keeper(self, slots, queue_limit=None):
        self.dispatcher = self.world.dispatcher(options={"dispatcher.queue_limit": queue_limit} if queue_limit else {})
        self.client = self.world.client()
        self.keeper = FakeRuntime(self.world.client("keeper"), "keeper", agents=["sleeper"], max_in_flight=slots, obedient=False)
        self.assertTrue(self.keeper.register()[0]["ok"])
        self.keeper.start_beating()
        self.wait_runtimes("keeper")
        self.inbox = self.client.subscribe("flow.inbox.*")

    def send(self, number, ms, **payload):
        self.client.publish(f"{TRIGGER}.sleeper", {"payload": dict(payload, context={"input": {"ms": ms}})}, f"flow.inbox.{number}")

    def kept(self):
        """What the keeper was given, in order; what it is asked about again counts once."""
        found = {}
        for relay in list(self.keeper.relays):
            found.setdefault(relay["agent"]["exec_id"], relay)
        return list(found.values())

    def wait_relayed(self, n):
        wait_until(f"{n} are with the keeper", lambda: len(self.kept()) >= n, 5)

    def wait_queued(self, n):
        wait_until(f"{n} are in the queue", lambda: self.dispatcher.metrics()["compozy_dispatcher_queue_depth"] == n, 5)

    def finish(self, n):
        """The keeper answers what it is given, until it has answered n of them."""
        for number in range(n):
            self.wait_relayed(number + 1)
            self.keeper.finish(self.kept()[number])

    def answers(self, n, timeout=20):
        """[(number, result)] in the order of arrival."""
        found = []
        for _ in range(n):
            message = self.inbox.next(scaled(timeout))
            found.append((int(message.subject.rpartition(".")[2]), message.json()))
        return found

    def test_what_fits_neither_slots_nor_queue_is_refused_OVERLOADED_with_a_hint_and_the_rest_is_run(self):
        self.start_with_keeper(slots=2, queue_limit=5)
        for number in range(30):
            self.send(number, 1)
        for _, result in self.answers(23):
            error = self.assert_failure(result, "OVERLOADED")
            self.assertGreater(error["details"]["retry_after_ms"], 0)
        self.finish(7)
        for _, result in self.answers(7):
            self.assert_success(result)
        self.assertEqual(len(self.inbox), 0)
        self.keeper.obedient = True
        self.assert_success(self.trigger_input("sleeper", "after"), "after")

    def test_a_runtime_is_never_sent_more_than_its_free_slots(self):
        self.world.dispatcher()
        self.client = self.world.client()
        fake = FakeRuntime(self.world.client("fake"), "fake", agents=["slow"], max_in_flight=4, obedient=False)
        fake.register()
        fake.start_beating()
        inbox = self.client.subscribe("flow.inbox")
        for _ in range(20):
            self.client.publish(f"{TRIGGER}.slow", {}, "flow.inbox")
        wait_until("the slots are full", lambda: len(fake.relays) >= 4, 5)
        self.client.request(f"{PREFIX}.commands.agent_dispatcher.status", {}, scaled(5))
        self.assertEqual(len({relay["agent"]["exec_id"] for relay in fake.relays}), 4)
        done = set()
        while len(done) < 20:
            waiting = {relay["agent"]["exec_id"]: relay for relay in list(fake.relays) if relay["agent"]["exec_id"] not in done}
            self.assertLessEqual(len(waiting), 4)
            wait_until("the next is relayed", lambda: {relay["agent"]["exec_id"] for relay in list(fake.relays)} - done, 5)
            for exec_id, relay in waiting.items():
                fake.finish(relay)
                done.add(exec_id)
        for _ in range(20):
            self.assert_success(inbox.next(scaled(5)).json())

    def test_high_priorities_go_first_and_low_ones_are_not_starved(self):
        self.start_with_keeper(slots=1)
        self.send(0, 1)
        self.wait_relayed(1)
        for number in range(100, 110):
            self.send(number, 1, priority=5)
        for number in range(200, 230):
            self.send(number, 1, priority=95)
        self.wait_queued(40)
        self.finish(41)
        order = [number for number, result in self.answers(41) if self.assert_success(result) is None][1:]
        rank_of_low = [order.index(number) for number in range(100, 110)]
        rank_of_high = [order.index(number) for number in range(200, 230)]
        self.assertLess(sum(rank_of_high) / 30, sum(rank_of_low) / 10)
        self.assertLess(rank_of_high[0], 5)

    def test_a_low_priority_is_served_while_high_ones_keep_the_queue_full(self):
        self.start(slots=1)
        load = Load(self.client, [("sleeper", {"ms": 3}, 1)], outstanding=20, payload={"priority": 100}, deadline_ms=30000).start()
        load.wait_answered(40, scaled(20))
        began = time.monotonic()
        self.send(1, 1, priority=1, deadline_ms=20000)
        [(_, result)] = self.answers(1)
        self.assert_success(result)
        self.assertLess(time.monotonic() - began, scaled(15))
        load.finish()
        self.assertEqual(load.failed(), [])

    def test_what_waits_in_the_queue_past_its_deadline_is_answered_then(self):
        self.start_with_keeper(slots=1)
        self.send(0, 1)
        self.wait_relayed(1)
        began = time.monotonic()
        for number in range(1, 6):
            self.send(number, 1, deadline_ms=500)
        for _, result in self.answers(5):  # while the slot is taken
            self.assert_failure(result, "DEADLINE_EXCEEDED")
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.finish(1)
        self.assert_success(self.answers(1)[0][1])
        self.assertEqual(len(self.kept()), 1)

    def test_thousands_of_triggers_through_few_slots_are_all_answered(self):
        self.start(slots=8)
        load = Load(self.client, [("greeter", "x", 3), ("sleeper", {"ms": 2}, 1)], outstanding=500, total=5000).start()
        load.finish(stop=False, timeout=scaled(40))
        self.assertEqual(load.counts(), {"SUCCESS": 5000})
        self.assertEqual(load.answered_differently(), [])
        wait_until("nothing is in flight afterwards", lambda: self.runtimes()["r1"]["in_flight"] == 0, 5)
        self.wait_runtimes("r1")
