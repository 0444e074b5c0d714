# SPDX-License-Identifier: MIT
"""Registration, its loss and its replay, against a runtime in Python that does exactly what it is told."""

import time

from fakeruntime import FakeRuntime
from harness import DEFINITIONS, PREFIX, SHORT_WINDOWS, VERBS, Case, holds_for, in_time, scaled, wait_until


class FakeFleet(Case):
    """One dispatcher, shared; each test has its own runtime ids."""

    shared = True

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher(options={"liveness.dead_after": 30, "dispatcher.rehost_wait_ms": 200})
        self.client = self.world.client()

    def fake(self, name, **options):
        client = self.world.client(name)
        fake = FakeRuntime(client, name, **options)
        self.addCleanup(client.close)
        self.addCleanup(fake.vanish)
        return fake

    def record(self, name):
        return self.runtimes().get(name)

    def wait_record(self, name, condition=lambda record: True, timeout=5):
        return wait_until(f"{name} is as it should be", lambda: (record := self.record(name)) and condition(record) and record, timeout)

    def test_a_registration_is_answered_by_the_dispatcher_that_took_it(self):
        fake = self.fake("answered")
        answers = fake.register()
        self.assertEqual(len(answers), 1)
        self.assertTrue(answers[0]["ok"], answers)
        result = answers[0]["result"]
        self.assertEqual((result["dispatcher_id"], result["runtime_id"]), ("d1", "answered"))
        self.assertEqual((result["epoch"], result["revision"], result["complete"]), (fake.epoch, 1, True))
        self.assertGreater(result["heartbeat_interval_ms"], 0)
        self.assertGreater(result["dead_after_ms"], 0)
        self.assertEqual(self.wait_record("answered")["epoch"], fake.epoch)

    def test_a_registered_runtime_gets_the_relays_as_the_protocol_says(self):
        fake = self.fake("relayed", agents=["relayed-agent"])
        fake.register()
        fake.start_beating()
        body = {"metadata": {"type": "TriggerAgent", "request_id": "q1", "correlation_id": "c1"},
                "task": {"id": "t1", "exec_id": "t1x"}, "payload": {"context": {"input": [1, 2]}, "deadline_ms": 60000}}
        result = self.trigger("relayed-agent", body, workflow="wf1",
                              headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
        self.assert_success(result, [1, 2])
        relay = fake.relays[0]
        self.assertEqual(relay["metadata"]["correlation_id"], "c1")
        self.assertEqual(relay["workflow"]["id"], "wf1")
        self.assertEqual(relay["agent"]["id"], "relayed-agent")
        self.assertTrue(relay["agent"]["exec_id"])
        self.assertEqual(relay["task"], body["task"])
        self.assertEqual(relay["payload"], body["payload"])
        self.assertEqual(relay["agent_runtime"], {"runtime_id": "relayed", "epoch": fake.epoch})
        dispatch = relay["dispatch"]
        self.assertEqual((dispatch["dispatcher_id"], dispatch["attempt"]), ("d1", 1))
        self.assertTrue(60000 - in_time(0) * 1000 < dispatch["deadline_ms"] <= 60000, dispatch)
        self.assertTrue(dispatch["reply_to"].startswith("_INBOX."), dispatch)
        self.assertTrue(dispatch["report_to"], dispatch)

    def test_traceparent_passes_through_the_dispatcher(self):
        seen = []
        fake = self.fake("traced", agents=["traced-agent"], on_relay=lambda fake, relay, message: (seen.append(message), fake.finish(relay)))
        fake.register()
        fake.start_beating()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        self.trigger("traced-agent", {}, headers={"traceparent": trace, "tracestate": "a=b"})
        self.assertEqual((seen[0].headers.get("traceparent"), seen[0].headers.get("tracestate")), (trace, "a=b"))

    def test_a_heartbeat_of_an_unknown_runtime_makes_the_dispatcher_ask_it_to_announce_itself(self):
        fake = self.fake("unheard")
        fake.beat()
        wait_until("the dispatcher asks", lambda: fake.announces, 5)
        self.wait_record("unheard", lambda record: record["state"] == "live" or fake.beat())

    def test_a_heartbeat_with_an_unknown_revision_makes_the_dispatcher_ask_it_to_announce_itself(self):
        fake = self.fake("revised")
        fake.register()
        fake.beat()
        fake.announces.clear()
        fake.revision = 5
        fake.agents.append({"agent_id": "new-in-5", "agent_type": "echo"})
        fake.beat()
        wait_until("the dispatcher asks", lambda: fake.announces, 5)
        self.wait_record("revised", lambda record: record["agents"] == 2)

    def test_a_heartbeat_with_a_newer_epoch_makes_the_dispatcher_ask_it_to_announce_itself(self):
        fake = self.fake("newer-epoch")
        fake.register()
        fake.announces.clear()
        fake.epoch += 10
        fake.beat()
        wait_until("the dispatcher asks", lambda: fake.announces, 5)
        self.wait_record("newer-epoch", lambda record: record["epoch"] == fake.epoch)

    def test_a_registration_of_a_lower_epoch_is_refused_and_changes_nothing(self):
        fake = self.fake("stale")
        fake.register()
        answers = fake.register(epoch=fake.epoch - 1, agent_definitions=[])
        self.assertEqual([answer["ok"] for answer in answers], [False])
        error = answers[0]["error"]
        self.assertEqual(error["code"], "RUNTIME_LOST")
        self.assertEqual(error["details"]["epoch"], fake.epoch)
        record = self.record("stale")
        self.assertEqual((record["epoch"], record["agents"]), (fake.epoch, 1))

    def test_a_deregistration_of_a_lower_epoch_is_ignored(self):
        fake = self.fake("stale-leave")
        fake.register()
        fake.start_beating()
        fake.deregister(epoch=fake.epoch - 1)
        fake.client.flush()
        holds_for("the runtime stays", lambda: self.record("stale-leave"), 0.5)

    def test_a_heartbeat_of_a_lower_epoch_does_not_keep_a_runtime_alive_nor_disturb_it(self):
        fake = self.fake("stale-beat")
        fake.register()
        fake.announces.clear()
        fake.beat(epoch=fake.epoch - 1)
        fake.client.flush()
        fake.beat()
        self.wait_record("stale-beat", lambda record: record["epoch"] == fake.epoch)
        self.assertEqual(len(fake.announces), 0)

    def test_a_higher_epoch_replaces_the_lower_one(self):
        fake = self.fake("reborn", agents=["old-agent"])
        fake.register()
        fake.epoch += 1000
        fake.agents = [{"agent_id": "reborn-agent", "agent_type": "echo"}]
        self.assertTrue(fake.register()[0]["ok"])
        fake.start_beating()
        self.assertEqual(self.record("reborn")["epoch"], fake.epoch)
        self.assert_success(self.trigger_input("reborn-agent", 1), 1)
        self.assert_failure(self.trigger_input("old-agent", 1, deadline_ms=2000), "AGENT_UNKNOWN")

    # parts

    def parts(self, fake, count, per_part=3):
        names = [[f"{fake.id}-{part}-{i}" for i in range(per_part)] for part in range(count)]
        return [fake.registration(part={"index": part, "count": count},
                                  agent_definitions=[{"agent_id": name, "agent_type": "echo"} for name in names[part]])
                for part in range(count)]

    def test_a_registration_in_parts_counts_when_all_have_arrived(self):
        fake = self.fake("parts")
        complete = [fake.register(body=part)[0]["result"]["complete"] for part in self.parts(fake, 3)]
        self.assertEqual(complete, [False, False, True])
        fake.start_beating()
        self.wait_record("parts", lambda record: record["agents"] == 9)
        self.assert_success(self.trigger_input("parts-1-1", "x"), "x")

    def test_parts_may_arrive_in_any_order_and_twice(self):
        fake = self.fake("shuffled")
        parts = self.parts(fake, 4)
        complete = [fake.register(body=parts[i])[0]["result"]["complete"] for i in (2, 0, 2, 3, 0, 1)]
        self.assertEqual(complete, [False, False, False, False, False, True])
        self.wait_record("shuffled", lambda record: record["agents"] == 12)

    def test_a_lost_part_is_made_good_by_the_next_registration(self):
        fake = self.fake("lost-part")
        parts = self.parts(fake, 3)
        fake.answers_roll_calls = False
        for part in (parts[0], parts[2]):
            fake.register(body=part)
        record = self.record("lost-part")
        self.assertTrue(record is None or record["state"] == "joining", record)
        fake.beat()
        wait_until("a heartbeat of an incomplete registration makes the dispatcher ask", lambda: fake.announces, 5)
        self.assertIn(True, [fake.register(body=part)[0]["result"]["complete"] for part in parts])
        self.wait_record("lost-part", lambda record: record["agents"] == 9)

    def test_parts_of_two_revisions_are_not_mixed(self):
        fake = self.fake("mixed")
        old = self.parts(fake, 2)
        fake.revision = 2
        new = self.parts(fake, 2, per_part=1)
        self.assertFalse(fake.register(body=old[0])[0]["result"]["complete"])
        self.assertFalse(fake.register(body=new[1])[0]["result"]["complete"])
        self.assertTrue(fake.register(body=new[0])[0]["result"]["complete"])
        self.wait_record("mixed", lambda record: record["agents"] == 2)

    # updates

    def test_an_update_adds_and_removes_agents(self):
        fake = self.fake("updated", agents=["updated-a", "updated-b"])
        fake.register()
        fake.start_beating()
        self.trigger_input("updated-a", 1)
        fake.update(1, 2, added=["updated-c"], removed=["updated-a"])
        fake.revision = 2
        fake.agents = [{"agent_id": name, "agent_type": "echo"} for name in ("updated-b", "updated-c")]
        wait_until("the new agent can be triggered",
                   lambda: self.trigger_input("updated-c", 1, deadline_ms=1000)["payload"]["status"] == "SUCCESS", 5)
        self.assert_failure(self.trigger_input("updated-a", 1, deadline_ms=2000), "AGENT_UNKNOWN")
        self.assert_success(self.trigger_input("updated-b", 1))

    def test_an_update_of_another_base_revision_makes_the_dispatcher_ask_for_all(self):
        fake = self.fake("based", agents=["based-a"])
        fake.register()
        fake.start_beating()
        fake.announces.clear()
        fake.agents.append({"agent_id": "based-lost", "agent_type": "echo"})
        fake.agents.append({"agent_id": "based-c", "agent_type": "echo"})
        fake.revision = 3
        fake.update(2, 3, added=["based-c"])
        wait_until("the dispatcher asks", lambda: fake.announces, 5)
        self.wait_record("based", lambda record: record["agents"] == 3)
        self.assert_success(self.trigger_input("based-lost", 1))

    # leaving, and being told

    def test_a_deregistration_takes_the_runtime_out_at_once(self):
        fake = self.fake("leaver", agents=["leaver-agent"])
        fake.register()
        fake.start_beating()
        self.assert_success(self.trigger_input("leaver-agent", 1))
        fake.stop_beating()
        fake.deregister()
        wait_until("it is out", lambda: not self.record("leaver"), 2)
        self.assert_failure(self.trigger_input("leaver-agent", 1, deadline_ms=2000), "AGENT_UNKNOWN")

    def test_the_dispatcher_tells_each_change_of_its_registry(self):
        updates = self.client.subscribe(f"{PREFIX}.events.agent_dispatcher.d1.runtime_update")
        self.client.flush()
        fake = self.fake("told")
        fake.register()
        fake.deregister()
        changes = []
        while "removed" not in changes:
            event = updates.next(scaled(5)).json()
            if event["agent_runtime"]["runtime_id"] == "told":
                self.assertEqual(event["metadata"]["type"], "DispatcherRuntimeUpdate")
                self.assertIn("runtimes_live", event["payload"])
                changes.append(event["payload"]["change"])
        self.assertEqual((changes[0], changes[-1]), ("added", "removed"))

    def test_the_verb_register_runtime_registers_as_the_event_does(self):
        fake = self.fake("by-verb", agents=["by-verb-agent"])
        result = self.verb_ok("register_runtime", fake.registration())
        self.assertEqual(result["runtime_id"], "by-verb")
        fake.start_beating()
        self.assert_success(self.trigger_input("by-verb-agent", "v"), "v")

    def test_the_verb_deregister_runtime_takes_a_runtime_out_and_tells_it_why(self):
        fake = self.fake("by-operator")
        fake.register()
        self.verb_ok("deregister_runtime", {"runtime_id": "by-operator"})
        wait_until("the runtime hears it", lambda: fake.verdicts, 5)
        self.assertEqual(fake.verdicts[0].json()["payload"]["context"]["reason"], "operator")
        wait_until("it is out", lambda: not self.record("by-operator"), 5)
        answers = fake.register()
        self.assertFalse(answers[0]["ok"], answers)
        self.assertEqual(answers[0]["error"]["details"]["reason"], "operator")

    def test_deregister_runtime_of_one_that_is_not_there_is_an_error(self):
        self.verb_error("deregister_runtime", {"runtime_id": "nobody"})


class RollCall(Case):
    def test_a_goodbye_in_its_name_does_not_keep_a_living_runtime_out(self):
        self.world.server()
        self.world.dispatcher()
        self.client = self.world.client()
        self.world.runtime("r1")
        self.wait_runtimes("r1")
        epoch = self.runtimes()["r1"]["epoch"]
        for reason in ("shutdown", None):
            self.client.publish(f"{DEFINITIONS}.r1.deregistered", {
                "agent_runtime": {"runtime_id": "r1", "epoch": self.runtimes()["r1"]["epoch"]}, "payload": {"context": {"reason": reason}}})
            wait_until("it is back, with a new epoch", lambda: self.runtimes().get("r1", {}).get("epoch", 0) > epoch)
            self.wait_runtimes("r1")
            epoch = self.runtimes()["r1"]["epoch"]
        self.assert_success(self.trigger_input("greeter", "hi"), "hi")

    def test_a_dispatcher_that_starts_later_learns_of_the_runtimes_within_a_second(self):
        self.world.server()
        self.client = self.world.client()
        fakes = [FakeRuntime(self.world.client(name), name, agents=[name + "-agent"]).start_beating() for name in ("f1", "f2", "f3")]
        self.world.runtime("r1", wait=False)
        wait_until("the real runtime listens", lambda: self.client.request(f"{PREFIX}.runtime.r1.control.status", {}), 10)
        self.world.dispatcher(wait=False)
        wait_until("it answers", lambda: self.client.request(f"{VERBS}.status", {}), 10)
        began = time.monotonic()
        self.wait_runtimes("f1", "f2", "f3", "r1")
        self.assertLess(time.monotonic() - began, in_time(1))
        self.assert_success(self.trigger_input("f2-agent", 1), 1)
        self.assertTrue(all(fake.announces for fake in fakes))

    def test_a_trigger_sent_to_a_dispatcher_that_has_just_started_waits_for_the_roll_call(self):
        self.world.server()
        self.client = self.world.client()
        self.world.runtime("r1", wait=False)
        wait_until("the runtime listens", lambda: self.client.request(f"{PREFIX}.runtime.r1.control.status", {}), 10)
        self.world.dispatcher(wait=False)

        def taken():
            return self.trigger_input("greeter", "early")

        self.assert_success(wait_until("somebody takes the trigger", taken, 10), "early")


class Verdicts(Case):
    """Short windows: a runtime that is silent for half a second is probed."""

    def build(self):
        self.world.server()
        self.world.dispatcher(options=SHORT_WINDOWS)
        self.client = self.world.client()
        self.verdicts = self.client.subscribe(f"{DEFINITIONS}.*.deregistered")

    def fake(self, name, **options):
        options.setdefault("interval_ms", 100)
        fake = FakeRuntime(self.world.client(name), name, agents=[name + "-agent"], **options)
        self.assertTrue(fake.register()[0]["ok"])
        return fake.start_beating()

    def test_a_runtime_that_vanished_while_idle_is_declared_dead_and_said_to_be(self):
        updates = self.client.subscribe(f"{PREFIX}.events.agent_dispatcher.d1.runtime_update")
        fake = self.fake("gone")
        self.fake("stays")
        holds_for("both stay while they beat", lambda: len(self.runtimes()) == 2, 1.0)
        began = time.monotonic()
        fake.vanish()
        event = self.verdicts.next(scaled(5)).json()
        took = time.monotonic() - began
        self.assertEqual(event["agent_runtime"]["runtime_id"], "gone")
        self.assertEqual(event["payload"]["context"]["reason"], "heartbeat_timeout")
        self.assertGreater(took, 0.3)
        self.assertLess(took, in_time(0.5))
        self.assertEqual(set(self.runtimes()), {"stays"})
        changes = [message.json()["payload"]["change"] for message in updates.taken()
                   if message.json()["agent_runtime"]["runtime_id"] == "gone"]
        self.assertEqual(changes[0], "added")
        self.assertIn("removed", changes)

    def test_a_runtime_whose_heartbeats_are_lost_but_that_answers_probes_is_kept(self):
        fake = self.fake("mute")
        self.fake("loud")
        fake.stop_beating()
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.5)
        self.assertEqual(set(self.runtimes()), {"mute", "loud"})
        self.assert_success(self.trigger_input("mute-agent", 1))

    def test_a_runtime_that_hangs_is_declared_dead_after_a_failed_probe(self):
        fake = self.fake("hung")
        self.fake("other")
        fake.answers_probes = False
        fake.obedient = False
        fake.stop_beating()
        event = self.verdicts.next(scaled(20)).json()
        self.assertEqual(event["agent_runtime"]["runtime_id"], "hung")

    def test_a_large_part_of_the_fleet_falling_silent_together_is_not_deregistered_in_the_usual_window(self):
        fakes = [self.fake(f"f{i}") for i in range(9)]
        for fake in fakes[:5]:
            fake.answers_probes = False
            fake.stop_beating()
        holds_for("nobody is declared dead", lambda: len(self.verdicts) == 0, 2.0)  # alone one is so after 1.5 s; together it takes 4
        for fake in fakes[:5]:
            fake.answers_probes = True
            fake.start_beating()
        self.wait_runtimes(*[fake.id for fake in fakes])
        self.assertEqual(len(self.verdicts), 0)

    def test_a_runtime_declared_dead_that_comes_back_with_its_old_epoch_is_refused(self):
        fake = self.fake("zombie")
        self.fake("other")
        fake.stop_beating()
        fake.answers_probes = False
        self.verdicts.next(scaled(20))
        answers = fake.register()
        self.assertFalse(answers[0]["ok"])
        self.assertEqual(answers[0]["error"]["details"]["reason"], "heartbeat_timeout")
        self.assertEqual(answers[0]["error"]["details"]["epoch"], fake.epoch)
        fake.epoch += 1
        self.assertTrue(fake.register()[0]["ok"])

    # what becomes of the work of a dead runtime

    def dies_holding(self, retry, tell):
        """A trigger on `frail`, which tells `tell` of it and vanishes; a second runtime hosts the agent too, and joins after the relay."""
        relayed = []

        def take(fake, relay, _):
            relayed.append(relay)
            for state in tell:
                fake.report(relay, state)

        frail = FakeRuntime(self.world.client("frail"), "frail", agents=["shared"], interval_ms=100, on_relay=take)
        self.assertTrue(frail.register()[0]["ok"])
        frail.start_beating()
        inbox = self.client.subscribe("caller.inbox")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.shared",
                            {"payload": {"retry": retry, "deadline_ms": 60000, "context": {"input": "again"}}}, "caller.inbox")
        wait_until("the first runtime has it", lambda: relayed, 5)
        second = FakeRuntime(self.world.client("second"), "second", agents=["shared"], interval_ms=100)
        second.register()
        second.start_beating()
        frail.vanish()
        result = inbox.next(scaled(20)).json()
        return result, second

    def test_an_execution_that_was_accepted_but_not_started_is_placed_again_when_its_runtime_dies(self):
        result, second = self.dies_holding("unstarted", ["accepted"])
        self.assert_success(result, "again")
        self.assertEqual(result["payload"]["attempt"], 2)
        self.assertEqual({relay["dispatch"]["attempt"] for relay in second.relays}, {2})

    def test_an_execution_that_was_reported_started_is_not_run_again_under_unstarted(self):
        result, second = self.dies_holding("unstarted", ["accepted", "started"])
        self.assert_failure(result, "RUNTIME_LOST")
        self.assertEqual(len(second.relays), 0)

    def test_an_execution_that_was_reported_started_is_run_again_under_always(self):
        result, second = self.dies_holding("always", ["accepted", "started"])
        self.assert_success(result, "again")
        self.assertEqual({relay["dispatch"]["attempt"] for relay in second.relays}, {2})

    def test_an_execution_is_not_run_again_under_never(self):
        result, second = self.dies_holding("never", ["accepted"])
        self.assert_failure(result, "RUNTIME_LOST")
        self.assertEqual(len(second.relays), 0)

    def test_an_execution_that_its_runtime_refused_is_placed_elsewhere_at_once(self):
        def refuse(fake, relay, _):
            fake.report(relay, "refused", code="RUNTIME_DRAINING")

        picky = FakeRuntime(self.world.client("picky"), "picky", agents=["shared"], interval_ms=100, on_relay=refuse)
        picky.register()
        picky.start_beating()
        willing = FakeRuntime(self.world.client("willing"), "willing", agents=["shared"], interval_ms=100, max_in_flight=1)
        willing.register()
        willing.start_beating()
        for i in range(20):
            began = time.monotonic()
            self.assert_success(self.trigger_input("shared", i), i)
            self.assertLess(time.monotonic() - began, in_time(0))

    def test_a_relay_to_a_runtime_that_has_just_vanished_is_placed_again_at_once(self):
        # its silence is noticed after a minute and a half
        gone = FakeRuntime(self.world.client("gone"), "gone", agents=["shared"], interval_ms=30000, max_in_flight=1000)
        gone.register()
        gone.start_beating()
        self.wait_runtimes("gone")
        there = FakeRuntime(self.world.client("there"), "there", agents=["shared"], interval_ms=100, max_in_flight=10)
        there.register()
        there.start_beating()
        gone.vanish()
        for i in range(10):
            began = time.monotonic()
            self.assert_success(self.trigger_input("shared", i), i)
            self.assertLess(time.monotonic() - began, in_time(0))

    def test_a_result_report_of_a_superseded_attempt_is_not_taken(self):
        relayed = []
        frail = FakeRuntime(self.world.client("frail"), "frail", agents=["shared"], interval_ms=100,
                            on_relay=lambda fake, relay, _: relayed.append(relay))
        frail.register()
        frail.start_beating()
        inbox = self.client.subscribe("caller.inbox")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.shared",
                            {"payload": {"retry": "always", "deadline_ms": 60000, "context": {"input": 1}}}, "caller.inbox")
        wait_until("the first runtime has it", lambda: relayed, 5)
        held = []
        second = FakeRuntime(self.world.client("second"), "second", agents=["shared"], interval_ms=100,
                             on_relay=lambda fake, relay, _: held.append(relay))
        second.register()
        second.start_beating()
        frail.answers_probes = False
        frail.stop_beating()
        wait_until("it is placed again", lambda: held, 20)
        self.assertEqual(held[0]["dispatch"]["attempt"], 2)
        frail.report(relayed[0], "done", "SUCCESS")
        frail.client.flush()
        second.finish(held[0])
        result = inbox.next(scaled(5)).json()
        self.assertEqual(result["payload"]["attempt"], 2)
