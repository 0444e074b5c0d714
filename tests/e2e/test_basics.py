# SPDX-License-Identifier: MIT
"""One dispatcher, one runtime, nothing goes wrong: what each is asked and how it answers."""

import time
import uuid

import natsclient
from harness import INSTANCES, PREFIX, Case, in_time, scaled, wait_until


class OneOfEach(Case):
    shared = True

    def build(self):
        self.world.server()
        self.dispatcher = self.world.dispatcher()
        self.runtime = self.world.runtime("r1", options={"runtime.labels": "zone=a,kind=test"})
        self.client = self.world.client()
        self.wait_runtimes("r1")

    # the registry's verbs

    def test_a_runtime_that_started_is_listed_with_what_it_said_about_itself(self):
        record = wait_until("r1 is idle", lambda: (one := self.runtimes()["r1"])["in_flight"] == 0 and one["state"] == "live" and one, 5)
        self.assertGreater(record["epoch"], 0)
        self.assertEqual(record["labels"], {"zone": "a", "kind": "test"})
        self.assertTrue(record["hostname"])
        self.assertEqual(record["agents"], 3)
        self.assertGreater(record["free_slots"], 0)
        self.assertLess(record["last_heartbeat_ms_ago"], in_time(2) * 1000)

    def test_get_runtime_tells_of_one_runtime(self):
        result = self.verb_ok("get_runtime", {"runtime_id": "r1"})
        record = result.get("runtime", result)
        self.assertEqual(record["runtime_id"], "r1")
        self.assertIn(record["state"], ("live", "suspect"))

    def test_get_runtime_of_one_that_is_not_there_is_an_error(self):
        self.verb_error("get_runtime", {"runtime_id": "nobody"})

    def test_get_runtime_without_an_id_names_the_field(self):
        error = self.verb_error("get_runtime", {}, "INVALID_MESSAGE")
        self.assertIn("runtime_id", error["message"])

    def test_list_agents_names_every_agent_and_where_it_is(self):
        agents = {agent["agent_id"]: agent for agent in self.verb_ok("list_agents")["agents"]}
        self.assertEqual(set(agents), {"greeter", "sleeper", "tally"})
        self.assertIn("r1", str(agents["greeter"]))

    def test_explain_tells_why_a_runtime_would_be_chosen(self):
        text = str(self.verb_ok("explain", {"agent_id": "greeter"}))
        self.assertIn("r1", text)

    def test_explain_tells_of_an_execution_that_is_over(self):
        result = self.trigger_input("greeter", 1)
        exec_id = result["agent"]["exec_id"]

        def told():
            answer = self.verb("explain", {"agent_exec_id": exec_id})
            return "r1" in str(answer) and "SUCCESS" in str(answer) and answer

        wait_until("explain knows the execution's end", told, 5)

    def test_status_tells_the_dispatchers_id_and_counts(self):
        status = self.verb_ok("status")
        self.assertIn("d1", str(status))

    def test_an_unknown_verb_is_answered_with_an_error(self):
        self.verb_error("make_coffee", {})

    def test_verbs_are_answered_when_the_body_is_empty(self):
        answer = self.client.request(f"{PREFIX}.commands.agent_dispatcher.list_runtimes", b"", scaled(5)).json()
        self.assertTrue(answer["ok"], answer)

    # triggers and their answers

    def test_a_bare_trigger_is_answered_with_the_output(self):
        result = self.trigger("greeter", {"payload": {"context": {"input": "hi"}}})
        self.assert_success(result, "hi")
        self.assertEqual(result["agent"]["id"], "greeter")
        self.assertTrue(result["agent"]["exec_id"])
        self.assertEqual(result["workflow"]["id"], "adhoc")
        self.assertEqual(result["agent_runtime"]["runtime_id"], "r1")
        self.assertEqual(result["payload"]["attempt"], 1)
        self.assertGreaterEqual(result["payload"]["duration_ms"], 0)

    def test_a_trigger_with_an_empty_body_is_run(self):
        subject = f"{PREFIX}.commands.agent.adhoc.trigger.greeter"
        self.assert_success(self.client.request(subject, b"", scaled(5)).json())

    def test_ids_that_the_caller_chose_come_back(self):
        body = {"metadata": {"type": "TriggerAgent", "request_id": "req-7", "correlation_id": "corr-7"},
                "workflow": {"id": "wf", "exec_id": "wf-exec-7"}, "agent": {"id": "greeter", "exec_id": uuid.uuid4().hex},
                "payload": {"context": {"input": 7}}}
        result = self.trigger("greeter", body, workflow="wf")
        self.assert_success(result, 7)
        self.assertEqual(result["metadata"]["correlation_id"], "corr-7")
        self.assertEqual(result["workflow"], body["workflow"])
        self.assertEqual(result["agent"], body["agent"])

    def test_any_json_comes_back_as_it_went(self):
        deep = "leaf"
        for _ in range(20):
            deep = [deep]
        for value in ("", "ünï\u2028cödé \U0001f600 \\ \" \n", 0, -1.5, 12345678901234567890, True, None, [], {}, {"a": {"b": [1, {"c": None}]}}, deep,
                      "x" * 200000):
            with self.subTest(value=str(value)[:40]):
                self.assert_success(self.trigger_input("greeter", value), value)

    def test_the_result_goes_to_reply_to_subject_and_nowhere_else(self):
        there = self.client.subscribe("elsewhere.results.1")
        here = self.client.subscribe("here.inbox")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter",
                            {"payload": {"reply_to_subject": "elsewhere.results.1", "context": {"input": "x"}}}, "here.inbox")
        self.assert_success(there.next(scaled(5)).json(), "x")
        self.trigger_input("greeter", "later")
        self.client.flush()
        self.assertEqual((len(there), len(here)), (0, 0))

    def test_a_result_may_go_to_the_results_subject(self):
        there = self.client.subscribe(f"{PREFIX}.results.agent.ex-1")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter",
                            {"payload": {"reply_to_subject": f"{PREFIX}.results.agent.ex-1", "context": {"input": 1}}})
        self.assert_success(there.next(scaled(5)).json(), 1)

    def test_a_trigger_without_any_reply_address_is_run(self):
        completed = self.client.subscribe(f"{INSTANCES}.no-reply-1.completed")
        self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.greeter", {"agent": {"id": "greeter", "exec_id": "no-reply-1"}})
        completed.next(scaled(5))

    def test_a_trigger_for_an_unknown_agent_is_answered_AGENT_UNKNOWN(self):
        message = self.client.request(f"{PREFIX}.commands.agent.adhoc.trigger.nobody", {}, scaled(5))
        error = self.assert_failure(message.json(), "AGENT_UNKNOWN")
        self.assertIn("nobody", error["message"])
        self.assertEqual(message.headers.get("Nats-Service-Error-Code"), "404")
        self.assertIn("Nats-Service-Error", message.headers)

    def test_a_trigger_that_takes_too_long_is_answered_DEADLINE_EXCEEDED_by_its_deadline(self):
        began = time.monotonic()
        result = self.trigger_input("sleeper", {"ms": 60000}, deadline_ms=500)
        took = time.monotonic() - began
        self.assert_failure(result, "DEADLINE_EXCEEDED")
        self.assertGreater(took, 0.3)
        self.assertLess(took, in_time(0.5))

    def test_the_sleeper_answers_after_the_time_it_was_given(self):
        began = time.monotonic()
        self.assert_success(self.trigger_input("sleeper", {"ms": 200}))
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.2)
        self.assertLess(took, in_time(0.2))

    def test_many_sleepers_sleep_at_the_same_time(self):
        inbox = self.client.subscribe("sleepers.inbox")
        began = time.monotonic()
        for _ in range(40):
            self.client.publish(f"{PREFIX}.commands.agent.adhoc.trigger.sleeper",
                                {"payload": {"context": {"input": {"ms": 800}}}}, "sleepers.inbox")
        for _ in range(40):
            self.assert_success(inbox.next(scaled(10)).json())
        self.assertLess(time.monotonic() - began, in_time(0.8))  # one after the other it takes 32 s

    def test_the_counter_counts(self):
        counts = [self.trigger_input("tally", {})["payload"]["result"]["output"]["count"] for _ in range(3)]
        self.assertEqual(counts, [counts[0], counts[0] + 1, counts[0] + 2])

    def test_a_repeated_execution_is_answered_from_memory_and_not_run_again(self):
        body = {"agent": {"id": "tally", "exec_id": uuid.uuid4().hex}}
        first = self.trigger("tally", body)
        second = self.trigger("tally", body)
        self.assert_success(second, first["payload"]["result"]["output"])
        third = self.trigger("tally", {})
        self.assertEqual(third["payload"]["result"]["output"]["count"], first["payload"]["result"]["output"]["count"] + 1)

    def test_labels_choose_the_runtime_and_none_matching_is_an_error(self):
        self.assert_success(self.trigger_input("greeter", 1, labels={"zone": "a"}))
        result = self.trigger_input("greeter", 1, labels={"zone": "b"}, deadline_ms=1000)
        self.assert_failure(result, "NO_RUNTIME")

    # events of executions

    def events_of(self, exec_id, last):
        events = self.client.subscribe(f"{INSTANCES}.{exec_id}.*")
        return events, lambda: events.next_where(lambda message: message.subject.endswith("." + last), scaled(5))

    def test_an_execution_is_told_by_events(self):
        exec_id = uuid.uuid4().hex
        events, _ = self.events_of(exec_id, "completed")
        self.trigger("greeter", {"agent": {"id": "greeter", "exec_id": exec_id}, "workflow": {"id": "adhoc", "exec_id": "w1"}})
        seen = {}
        while "completed" not in seen:
            message = events.next(scaled(5))
            seen[message.subject.rpartition(".")[2]] = message.json()
        self.assertEqual(set(seen), {"started", "completed"})
        self.assertEqual(seen["started"]["metadata"]["type"], "AgentExecutionStarted")
        self.assertEqual(seen["completed"]["metadata"]["type"], "AgentExecutionCompleted")
        for event in seen.values():
            self.assertEqual(event["agent"], {"id": "greeter", "exec_id": exec_id})
            self.assertEqual(event["workflow"], {"id": "adhoc", "exec_id": "w1"})
            self.assertEqual(event["agent_runtime"]["runtime_id"], "r1")
            self.assertRegex(event["metadata"]["event_timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(seen["completed"]["payload"]["status"], "SUCCESS")

    def test_an_execution_that_exceeds_its_deadline_is_told_as_failed(self):
        exec_id = uuid.uuid4().hex
        _, last = self.events_of(exec_id, "failed")
        self.trigger("sleeper", {"agent": {"id": "sleeper", "exec_id": exec_id},
                                 "payload": {"deadline_ms": 1000, "context": {"input": {"ms": 9000}}}})
        event = last().json()
        self.assertEqual(event["metadata"]["type"], "AgentExecutionFailed")
        self.assertIn("DEADLINE_EXCEEDED", str(event))

    def test_a_trigger_that_could_not_be_placed_is_told_as_dispatch_failed(self):
        exec_id = uuid.uuid4().hex
        _, last = self.events_of(exec_id, "dispatch_failed")
        self.trigger("nobody", {"agent": {"id": "nobody", "exec_id": exec_id}})
        event = last().json()
        self.assertEqual(event["metadata"]["type"], "AgentExecutionDispatchFailed")
        self.assertIn("AGENT_UNKNOWN", str(event))

    # the runtime's own interface

    def test_a_runtime_answers_status_on_its_control_subject(self):
        answer = self.client.request(f"{PREFIX}.runtime.r1.control.status", {}, scaled(5)).json()
        self.assertTrue(answer["ok"], answer)

    def test_a_runtime_lists_its_agents_on_its_control_subject(self):
        answer = self.client.request(f"{PREFIX}.runtime.r1.control.list_agents", {}, scaled(5)).json()
        self.assertTrue(answer["ok"], answer)
        self.assertEqual({agent["agent_id"] for agent in answer["result"]["agents"]}, {"greeter", "sleeper", "tally"})

    def test_a_runtime_refuses_an_unknown_control_verb(self):
        answer = self.client.request(f"{PREFIX}.runtime.r1.control.make_coffee", {}, scaled(5)).json()
        self.assertFalse(answer["ok"], answer)

    def test_a_relay_by_hand_without_the_section_dispatch_is_run_and_answered(self):
        body = {"agent": {"id": "greeter", "exec_id": uuid.uuid4().hex}, "payload": {"context": {"input": "by hand"}}}
        result = self.client.request(f"{PREFIX}.runtime.r1.trigger", body, scaled(5)).json()
        self.assert_success(result, "by hand")

    def test_a_runtime_that_is_not_there_has_no_responders(self):
        with self.assertRaises(natsclient.NoResponders):
            self.client.request(f"{PREFIX}.runtime.r9.control.status", {}, scaled(5))


class EventsWanted(Case):
    def check(self, wanted, subjects):
        """After one trigger those events come, and no others."""
        self.world.server()
        self.world.dispatcher(options={"events.executions": wanted})
        self.world.runtime("r1", options={"events.executions": wanted})
        self.client = self.world.client()
        self.wait_runtimes("r1")
        events = self.client.subscribe(f"{INSTANCES}.ex-1.*")
        self.trigger("greeter", {"agent": {"id": "greeter", "exec_id": "ex-1"}})
        found = []

        def all_are_there():
            found.extend(message.subject.rpartition(".")[2] for message in events.taken())
            return set(found) >= subjects

        wait_until(f"{subjects} are told", all_are_there, 5)
        self.trigger("greeter", {})  # what was said on the way of the first is here before the second one's answer
        self.client.flush()
        all_are_there()
        self.assertEqual(sorted(found), sorted(subjects))

    def test_events_executions_verbose_tells_of_the_dispatch_too(self):
        self.check("verbose", {"dispatched", "started", "completed"})

    def test_events_executions_outcomes_tells_only_the_end(self):
        self.check("outcomes", {"completed"})

    def test_events_executions_none_tells_nothing(self):
        self.check("none", set())
